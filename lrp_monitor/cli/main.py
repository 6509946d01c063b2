"""The entry point of `lrp-monitor`: reads the arguments, runs the command, and turns its failure into one line."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from lrp_monitor import __version__
from lrp_monitor.cli.arguments import EXIT_CODES, FAILED, OK
from lrp_monitor.cli.commands import (
    baseline,
    check,
    cluster,
    compare,
    demo,
    explain,
    export,
    note,
    probes,
    show,
    tensorboard,
    view,
)
from lrp_monitor.cli.errors import CommandError

COMMANDS = (demo, explain, check, probes, show, export, note, cluster, compare, baseline, tensorboard, view)
"""In the order of the overview."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command. Returns 0 (done), 1 (failed), 3 (its answer is no); exits with 2 on wrong usage."""
    arguments = parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = arguments.command
    try:
        code = command(arguments)
        sys.stdout.flush()
        return code
    except (CommandError, ImportError) as error:  # a package that is missing, or Keras as it cannot be used
        print(f"lrp-monitor: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        remains = f"; {arguments.remains}" if "remains" in arguments else ""
        print(f"lrp-monitor: interrupted{remains}", file=sys.stderr)
        return FAILED
    except BrokenPipeError:
        # The reader of a pipe (`| head`) has left: nothing is wrong, and nothing more can be written to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK


def parser() -> argparse.ArgumentParser:
    """The parser of all commands; its result has ``command``, what the named command runs."""
    parser = argparse.ArgumentParser(
        prog="lrp-monitor",
        description="Watch what a network looks at while it trains.",
        epilog=f"{EXIT_CODES} compare and check also 3: their answer is no. "
        "`lrp-monitor COMMAND --help` explains a command.",
    )
    parser.add_argument("--version", action="version", version=f"lrp-monitor {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add(commands)
    return parser
