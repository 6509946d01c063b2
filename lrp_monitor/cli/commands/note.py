"""`lrp-monitor note`: what a person notes on a step of a run. Without TensorFlow."""

from __future__ import annotations

import argparse
import datetime
import json
from typing import Any

from lrp_monitor.cli.arguments import OK, add_command, add_json
from lrp_monitor.cli.errors import CommandError


def add(commands: Any) -> None:
    """Declares the command."""
    parser = add_command(
        commands,
        "note",
        "notes on the steps of a run, which the LRP tab lists",
        "Keeps a note on a step of a logged run, in the run's folder. The LRP tab shows it under Events, to all who\n"
        "open the run. Without STEP and TEXT the notes are listed.",
        "lrp-monitor note runs/demo/planted 64 'the stamp wins here'",
        "lrp-monitor note runs/demo/planted",
        "lrp-monitor note runs/demo/planted --remove note-1764190000000000000-1f2e3d4c.json",
    )
    parser.add_argument("run", metavar="RUN", help="the log_dir that the monitor was given")
    parser.add_argument("step", metavar="STEP", nargs="?", help="a logged step, or `last`")
    parser.add_argument("text", metavar="TEXT", nargs="?", help="the note")
    parser.add_argument("--remove", metavar="NAME", help="delete a note, by the name that the list gives")
    add_json(parser, "the notes")
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    """Writes or deletes a note where one is given, then prints all. Raises CommandError."""
    from lrp_monitor.store.format import StoreError
    from lrp_monitor.store.reader import open_run

    if (arguments.step is None) != (arguments.text is None):
        raise CommandError("a note takes a step and a text: lrp-monitor note RUN STEP TEXT")
    try:
        logged = open_run(arguments.run)
        if arguments.remove is not None:
            logged.remove_note(arguments.remove)
        if arguments.step is not None:
            logged.add_note(_step(logged, arguments.step), arguments.text)
        notes = logged.notes()
    except KeyError as error:
        raise CommandError(str(error.args[0])) from error
    except (StoreError, ValueError) as error:
        raise CommandError(str(error)) from error
    if arguments.json:
        print(json.dumps({"notes": [note.to_dict() for note in notes]}, indent=2))
        return OK
    print(logged.path if notes else f"{logged.path}: no notes yet")
    for note in notes:
        print(f"  step {note.step}: {note.text}  ({_when(note.wall_time)}, {note.name})")
    return OK


def _when(seconds: int) -> str:
    try:
        return datetime.datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")
    except (OverflowError, OSError, ValueError):
        return f"{seconds} s"  # a file of somebody else's making


def _step(run: Any, chosen: str) -> int:
    if chosen == "last":
        if not run.steps:
            raise CommandError(f"{run.path}: no step is logged yet")
        return int(run.steps[-1])
    if not (chosen.isascii() and chosen.isdecimal()):
        raise CommandError(f"STEP must be a logged step or last, got {chosen!r}")
    return int(chosen)
