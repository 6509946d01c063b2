"""`lrp-monitor demo`: trains a model with a planted shortcut and its control, and logs both."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from lrp_monitor.cli.arguments import OK, add_command, local_folder, whole
from lrp_monitor.cli.errors import CommandError


def add(commands: Any) -> None:
    """Declares the command."""
    parser = add_command(
        commands,
        "demo",
        "train a model with a planted shortcut and its control, and watch both",
        "Trains two small networks to tell disks, squares, triangles and crosses in noise apart. In the\n"
        "first, 95 % of the triangles carry a stamp in one corner; in the second, none does. Logs both with\n"
        "the callback, prints what their heatmaps show, and writes a film of one probe. Downloads nothing.",
        "lrp-monitor demo --log-dir runs/demo && tensorboard --logdir runs/demo",
        "lrp-monitor demo --kind table --log-dir runs/table",
    )
    parser.add_argument(
        "--log-dir",
        type=local_folder,
        default=Path("runs/demo"),
        metavar="DIR",
        help="a new or empty folder (default runs/demo)",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace what an earlier demo wrote in DIR; keeps all else"
    )
    parser.add_argument(
        "--kind",
        choices=("picture", "text", "series", "table", "segmentation"),
        default="picture",
        help="what is learned (default picture): a text with a planted word, a series with a spike, a table with a "
        "column that gives the label away, pictures to segment with a stamp",
    )
    parser.add_argument("--seed", type=whole(0), default=0, help="of data and training (default 0)")
    parser.add_argument("--epochs", type=whole(1), help="of each training (default 10; a kind's own)")
    parser.add_argument(
        "--images", type=whole(4), help="samples to train on (default 3000; a kind's own; fewer show less)"
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.set_defaults(command=run, remains="what was logged until then stays readable")


def run(arguments: argparse.Namespace) -> int:
    """Trains, logs, prints the figures. Raises CommandError where the folder cannot be used."""
    started = time.monotonic()
    from lrp_monitor.console import Progress, quiet_tensorflow
    from lrp_monitor.demo import folder
    from lrp_monitor.store.format import StoreError

    try:
        folder.prepare(arguments.log_dir, arguments.overwrite)
        with quiet_tensorflow():
            from lrp_monitor.demo.kind_run import KindReport, run_kind
            from lrp_monitor.demo.report import Report
            from lrp_monitor.demo.run import run_demo
            from lrp_monitor.demo.train import RUNS, Settings
        report: Report | KindReport
        if arguments.kind != "picture":
            with Progress(len(RUNS)) as progress:
                chosen = arguments.kind, arguments.log_dir, arguments.seed, arguments.epochs, arguments.images
                report = run_kind(*chosen, progress)
        else:
            settings = Settings(arguments.seed, arguments.epochs or 10, arguments.images or 3000)
            with Progress(len(RUNS) * settings.batches) as progress:
                report = run_demo(arguments.log_dir, settings, progress, started)
    except (folder.FolderError, StoreError, OSError) as error:
        raise CommandError(str(error)) from error
    print(json.dumps(report.to_dict(), indent=2) if arguments.json else report.as_text())
    return OK
