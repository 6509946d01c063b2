"""What the declarations of commands share: exit codes, help texts, and types of arguments. Imports nothing heavy."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

OK, FAILED, USAGE, NO = 0, 1, 2, 3

EXIT_CODES = "Exit codes: 0 done, 1 failed (one line on stderr says why), 2 wrong usage."
EXIT_CODES_OF_QUESTIONS = (
    "Exit codes: 0 yes, 3 no (the answer is on stdout), 1 failed (one line on stderr says why), 2 wrong usage."
)


def add_command(
    commands: Any, name: str, summary: str, text: str, *examples: str, codes: str = EXIT_CODES
) -> argparse.ArgumentParser:
    """Declares a command: its line in the overview, its own help text, and examples of its use."""
    lines = "\n".join(f"  {example}" for example in examples)
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=text,
        epilog=f"{'examples' if len(examples) > 1 else 'example'}:\n{lines}\n\n{codes}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


def add_steps(parser: argparse.ArgumentParser, default: str) -> None:
    """Declares --steps of a logged run."""
    parser.add_argument("--steps", help=f"such as 0,64,940, or all (default: {default})")


def add_json(parser: argparse.ArgumentParser, what: str) -> None:
    """Declares --json."""
    parser.add_argument("--json", action="store_true", help=f"print {what} as JSON")


def whole(least: int) -> Callable[[str], int]:
    """The type of a whole number of at least `least`."""

    def whole(text: str) -> int:
        number = int(text)
        if number < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}, not {number}")
        return number

    whole.__name__ = "whole number"  # argparse names the type so in its message
    return whole


def local_folder(text: str) -> Path:
    """The type of a folder of the file system."""
    if "://" in text:
        raise argparse.ArgumentTypeError(f"{text} is no local folder")
    return Path(text)
