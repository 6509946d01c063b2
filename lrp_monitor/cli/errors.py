"""How a command of the command line fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class CommandError(Exception):
    """A command failed; the message is the one line that the user sees."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns what the system refuses about a file that is written into the command's one line."""
    try:
        yield
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror or error}") from error
