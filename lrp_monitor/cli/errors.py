"""How a command of the command line fails."""

from __future__ import annotations


class CommandError(Exception):
    """A command failed; the message is the one line that the user sees."""
