"""The command line: `lrp-monitor`. Nothing heavy is imported before a command's arguments are read."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lrp_monitor import __version__
from lrp_monitor.cli import baseline, cluster, model, tensorboard
from lrp_monitor.cli.errors import CommandError
from lrp_monitor.cli.parts import EXIT_CODES, FAILED, OK, add, add_json, local_folder, whole


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command. Returns 0 (done), 1 (failed), 3 (its answer is no); exits with 2 on wrong usage."""
    arguments = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = arguments.command
    try:
        code = command(arguments)
        sys.stdout.flush()
        return code
    except (CommandError, ImportError) as error:  # a package that is missing, or Keras as it cannot be used
        print(f"lrp-monitor: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        logged = "; what was logged until then stays readable" if command is _demo else ""
        print(f"lrp-monitor: interrupted{logged}", file=sys.stderr)
        return FAILED
    except BrokenPipeError:
        # The reader of a pipe (`| head`) has left: nothing is wrong, and nothing more can be said to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lrp-monitor",
        description="Watch what a network looks at while it trains.",
        epilog=f"{EXIT_CODES} compare and check also 3: their answer is no. "
        "`lrp-monitor COMMAND --help` explains a command.",
    )
    parser.add_argument("--version", action="version", version=f"lrp-monitor {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_demo(commands)
    model.add_explain(commands)
    model.add_check(commands)
    _add_show(commands)
    _add_export(commands)
    cluster.add_cluster(commands)
    baseline.add_compare(commands)
    baseline.add_baseline(commands)
    tensorboard.add_tensorboard(commands)
    return parser


def _add_demo(commands: Any) -> None:
    parser = add(
        commands,
        "demo",
        "train a model with a planted shortcut and its control, and watch both",
        "Trains two small networks to tell disks, squares, triangles and crosses in noise apart. In the\n"
        "first, 95 % of the triangles carry a stamp in one corner; in the second, none does. Logs both with\n"
        "the callback, prints what their heatmaps show, and writes a film of one probe. Downloads nothing.",
        "lrp-monitor demo --log-dir runs/demo && tensorboard --logdir runs/demo",
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
    parser.add_argument("--seed", type=whole(0), default=0, help="of data and training (default 0)")
    parser.add_argument("--epochs", type=whole(1), default=10, help="of each training (default 10)")
    parser.add_argument("--images", type=whole(4), default=3000, help="to train on (default 3000; fewer show less)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.set_defaults(command=_demo)


def _demo(arguments: argparse.Namespace) -> int:
    started = time.monotonic()
    from lrp_monitor.console import Progress, quiet_tensorflow
    from lrp_monitor.demo import folder
    from lrp_monitor.store.format import StoreError

    try:
        folder.prepare(arguments.log_dir, arguments.overwrite)
        with quiet_tensorflow():
            from lrp_monitor.demo.run import run_demo
            from lrp_monitor.demo.train import RUNS, Settings
        settings = Settings(arguments.seed, arguments.epochs, arguments.images)
        with Progress(len(RUNS) * settings.batches) as progress:
            report = run_demo(arguments.log_dir, settings, progress, started)
    except (folder.FolderError, StoreError, OSError) as error:
        raise CommandError(str(error)) from error
    print(json.dumps(report.as_json(), indent=2) if arguments.json else report.as_text())
    return OK


def _add_show(commands: Any) -> None:
    parser = add(
        commands,
        "show",
        "what a logged run holds",
        "Prints a run's model, steps, probes and size, the scalars about relevance over its steps, what is known\n"
        "of each probe at the last of them, and heatmaps where the terminal has colours (it has none for a pipe,\n"
        "nor where NO_COLOR is set).",
        "lrp-monitor show runs/demo/planted",
        'lrp-monitor show runs/demo/planted --probe "triangle 0" --steps 0,8,940',
    )
    parser.add_argument("run", metavar="RUN", help="the log_dir that the monitor was given")
    _add_steps(parser, "12 of them")
    parser.add_argument("--probe", action="append", help="a probe's name or number, once for each (default: a few)")
    parser.add_argument(
        "--maps",
        action=argparse.BooleanOptionalAction,
        help="heatmaps in the terminal: coloured half blocks, or signs without colours (default: where it has colours)",
    )
    parser.add_argument("--colormap", choices=("seismic", "safe", "dark"), default="seismic")
    add_json(parser, "everything but maps")
    parser.set_defaults(command=_show)


def _show(arguments: argparse.Namespace) -> int:
    from lrp_monitor.cli import show

    show.show(arguments)
    return OK


def _add_export(commands: Any) -> None:
    parser = add(
        commands,
        "export",
        "heatmaps over training as a picture, an animation or arrays",
        "Writes the heatmaps of one probe or several over the steps that one run or several hold in common:\n"
        "a sheet (.png), an animation (.gif), or arrays of one run (.npz).",
        'lrp-monitor export runs/demo/planted --probe "triangle 0" --mask stamp -o film.png',
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="the log_dir that the monitor was given")
    parser.add_argument("-o", "--output", type=Path, required=True, help="FILE.png, FILE.gif or FILE.npz")
    parser.add_argument(
        "--probe",
        action="append",
        help="a probe's name or number, once for each (default: the first one; in an .npz: all)",
    )
    _add_steps(parser, "8 of them in a .png, all in a .gif or .npz")
    parser.add_argument("--mask", help="outline this mask")
    # The names of render.COLOUR_MAPS, written out: --help need not wait for Pillow.
    parser.add_argument("--colormap", choices=("seismic", "safe", "dark"), default="seismic")
    parser.add_argument(
        "--scale",
        type=_scale,
        default="map",
        help="what the ends of the colours stand for: the largest relevance of each map (map, the default), "
        "of each row (strip), of all (shared), or a number",
    )
    parser.add_argument(
        "--clip", type=float, default=1.0, help="quantile of |relevance| to scale by (default 1: the largest)"
    )
    parser.add_argument("--overlay", action="store_true", help="lay the colours over the probe's picture")
    parser.add_argument(
        "--milliseconds", type=whole(20), default=300, help="that each step stays in a .gif (default 300)"
    )
    add_json(parser, "what was written")
    parser.set_defaults(command=_export)


def _add_steps(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument("--steps", help=f"such as 0,64,940, or all (default: {default})")


def _scale(text: str) -> str | float:
    return text if text in ("map", "strip", "shared") else float(text)


_scale.__name__ = "scale"


def _export(arguments: argparse.Namespace) -> int:
    from lrp_monitor.cli import runs

    runs.export(arguments)
    return OK
