"""`lrp-monitor baseline create` and `baseline update`: pins what a model looks at, to compare with later."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrp_monitor.cli.arguments import OK, add_command, add_json
from lrp_monitor.cli.errors import CommandError, writing
from lrp_monitor.cli.model_arguments import SOURCES, add_source_options

if TYPE_CHECKING:
    from lrp_monitor.regression.snapshot import Snapshot


def add(commands: Any) -> None:
    """Declares `baseline create` and `baseline update`."""
    parser = add_command(
        commands,
        "baseline",
        "pin what a model looks at, to compare with later",
        "Writes the heatmaps and logits of a model on its probes as a baseline: NAME.npz and NAME.json, small,\n"
        "without pickle, the same bytes for the same maps. `lrp-monitor compare` and pytest's fixture\n"
        "lrp_baseline compare with it.",
        "lrp-monitor baseline create baselines/first model.keras --probes probes.npz",
        "lrp-monitor baseline update baselines/first model.keras --probes probes.npz",
    )
    actions = parser.add_subparsers(metavar="create|update", required=True)
    for name, text, action in (
        ("create", "Writes a new baseline; one that is there already is left as it is.", _create),
        (
            "update",
            "Writes a baseline anew where it is no longer the same; one that still is stays untouched.",
            _update,
        ),
    ):
        part = add_command(
            actions,
            name,
            text.split(";")[0].rstrip("."),
            f"{text}\n{SOURCES}",
            f"lrp-monitor baseline {name} baselines/first model.keras --probes probes.npz",
            f"lrp-monitor baseline {name} baselines/run runs/demo/control",
        )
        part.add_argument("baseline", type=Path, metavar="NAME", help="of the baseline: NAME.npz and NAME.json")
        part.add_argument("source", metavar="SOURCE", help="a saved model or a run")
        add_source_options(part)
        add_json(part, "what was written")
        part.set_defaults(command=action)


def _create(arguments: argparse.Namespace) -> int:
    """Writes a new baseline. Raises CommandError, also where there is one already."""
    from lrp_monitor.cli.sources import one_line, snapshot
    from lrp_monitor.console import Progress
    from lrp_monitor.regression.baseline import paths_of, write_baseline

    for file in paths_of(arguments.baseline):
        if file.exists():
            raise CommandError(
                f"{file} is there already; `lrp-monitor baseline update` writes it anew where it has changed"
            )
    with one_line(), Progress(2, lines=False) as progress:
        now = snapshot(arguments.source, arguments, None, progress)
        with writing(arguments.baseline):
            write_baseline(now, arguments.baseline)
    return _written(arguments, now, "written")


def _update(arguments: argparse.Namespace) -> int:
    """Writes a baseline anew unless it still says the same. Raises CommandError."""
    from lrp_monitor.cli.sources import one_line, snapshot
    from lrp_monitor.console import Progress
    from lrp_monitor.regression.baseline import paths_of, write_baseline
    from lrp_monitor.regression.comparing import replaceable, says_the_same

    with one_line(), Progress(2, lines=False) as progress:
        if not any(file.exists() for file in paths_of(arguments.baseline)):
            raise CommandError(f"{arguments.baseline}: no such baseline; `lrp-monitor baseline create` makes it")
        before = replaceable(arguments.baseline)
        now = snapshot(arguments.source, arguments, before, progress)
        if before is not None and says_the_same(before, now):
            return _written(arguments, now, "unchanged")
        with writing(arguments.baseline):
            write_baseline(now, arguments.baseline)
    return _written(arguments, now, "written")


def _written(arguments: argparse.Namespace, now: Snapshot, what: str) -> int:
    from lrp_monitor.regression.baseline import paths_of

    archive, about = paths_of(arguments.baseline)
    size = sum(file.stat().st_size for file in (archive, about))
    if arguments.json:
        files = [str(archive), str(about)]
        print(json.dumps({"baseline": what, "files": files, "probes": len(now), "bytes": size}, indent=2))
    else:
        print(f"{what}: {archive} and {about.name}, {len(now)} probes, {size / 1e3:.0f} kB")
    return OK
