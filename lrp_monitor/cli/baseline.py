"""The commands about baselines, `lrp-monitor compare` and `lrp-monitor baseline`: what they accept.

What they do stands in `compare`, which is imported once the arguments are read.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lrp_monitor.cli.model import add_composite_options, add_model_options
from lrp_monitor.cli.parts import EXIT_CODES_OF_QUESTIONS, add, add_json

# Names of regression.tiers.TIERS, written out: --help need not wait for NumPy.
TIERS = ("same_weights", "mixed_precision", "fine_tuned", "retrained")

_SOURCES = (
    "A source is a baseline (NAME.npz with NAME.json), a logged run (its log_dir, at its last step; log_dir@64 at\n"
    "another), or a saved model (.keras, .h5) together with --probes."
)


def add_compare(commands: Any) -> None:
    """Declares `compare`."""
    parser = add(
        commands,
        "compare",
        "whether two models look at the same things, within the limits of a tier",
        "Compares heatmaps and logits of B (now) with those of A (before) on the same probes, and prints a table.\n"
        f"{_SOURCES}\n\n"
        "Tiers, from strict to loose: same_weights (refactoring, another machine), mixed_precision (bfloat16,\n"
        "quantised weights), fine_tuned (a little more training), retrained (another seed). No measure of\n"
        "likeness tells an honest retraining from a shortcut; the share of relevance inside a mask does.",
        "lrp-monitor compare baselines/first model.keras --probes probes.npz",
        "lrp-monitor compare runs/demo/control runs/demo/planted --tier retrained --html report.html",
        "lrp-monitor compare runs/a@10 runs/a@20 --tier fine_tuned --limit cosine=0.9 --limit mask_mass/stamp=0.02",
        codes=EXIT_CODES_OF_QUESTIONS + "\nYes: all within the limits.",
    )
    parser.add_argument("before", metavar="A", help="what it was: a baseline, a run or a model")
    parser.add_argument("now", metavar="B", help="what it is")
    parser.add_argument("--tier", choices=TIERS, default="same_weights", help="default same_weights")
    parser.add_argument(
        "--limit",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="in place of the tier's: relative_l2, cosine, iou, js, logits, failing, flips, mask_mass or "
        "mask_mass/MASK",
    )
    parser.add_argument(
        "--mask", action="append", help="look at this mask only, once for each (default: all that the probes have)"
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="also write the pictures, as one page")
    _add_probes(parser)
    add_json(parser, "every figure")
    parser.set_defaults(command=_compare)


def _compare(arguments: argparse.Namespace) -> int:
    from lrp_monitor.cli import compare

    return compare.compare(arguments)


def add_baseline(commands: Any) -> None:
    """Declares `baseline create` and `baseline update`."""
    parser = add(
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
        part = add(
            actions,
            name,
            text.split(";")[0].rstrip("."),
            f"{text}\n{_SOURCES}",
            f"lrp-monitor baseline {name} baselines/first model.keras --probes probes.npz",
            f"lrp-monitor baseline {name} baselines/run runs/demo/control",
        )
        part.add_argument("baseline", type=Path, metavar="NAME", help="of the baseline: NAME.npz and NAME.json")
        part.add_argument("source", metavar="SOURCE", help="a saved model or a run")
        _add_probes(part)
        add_json(part, "what was written")
        part.set_defaults(command=action)


def _create(arguments: argparse.Namespace) -> int:
    from lrp_monitor.cli import compare

    return compare.create(arguments)


def _update(arguments: argparse.Namespace) -> int:
    from lrp_monitor.cli import compare

    return compare.update(arguments)


def _add_probes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--probes", type=Path, metavar="FILE", help="for a saved model: the probes, a file that ProbeSet.save wrote"
    )
    add_model_options(parser)
    add_composite_options(parser, default=None)
