"""`lrp-monitor compare`: whether two models look at the same things, within the limits of a tier."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, get_args

from lrp_monitor.arguments import Tier
from lrp_monitor.cli.arguments import EXIT_CODES_OF_QUESTIONS, NO, OK, add_command, add_json
from lrp_monitor.cli.errors import CommandError, writing
from lrp_monitor.cli.model_arguments import SOURCES, add_source_options


def add(commands: Any) -> None:
    """Declares the command."""
    parser = add_command(
        commands,
        "compare",
        "whether two models look at the same things, within the limits of a tier",
        "Compares heatmaps and logits of B (now) with those of A (before) on the same probes, and prints a table.\n"
        f"{SOURCES}\n\n"
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
    parser.add_argument("--tier", choices=get_args(Tier), default="same_weights", help="default same_weights")
    parser.add_argument(
        "--limit",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="in place of the tier's: relative_l2, cosine, iou, js, logits, failing, flips, places, mask_mass "
        "or mask_mass/MASK",
    )
    parser.add_argument(
        "--mask", action="append", help="look at this mask only, once for each (default: all that the probes have)"
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="also write the pictures, as one page")
    add_source_options(parser)
    add_json(parser, "every figure")
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    """Prints the comparison; NO where it is beyond the limits. Raises CommandError."""
    from lrp_monitor.cli.sources import one_line, snapshot
    from lrp_monitor.console import Progress
    from lrp_monitor.regression import comparing

    limits = _limits(arguments.limit)
    with one_line(), Progress(3, lines=False) as progress:
        before = snapshot(arguments.before, arguments, None, progress)
        now = snapshot(arguments.now, arguments, before, progress, same_classes=True)
        progress.part("comparing")
        found = comparing.compare(before, now, tier=arguments.tier, masks=arguments.mask, **limits)
        if arguments.html is not None:
            with writing(arguments.html):
                found.write_html(arguments.html, f"{arguments.before} and {arguments.now}")
    if arguments.json:
        print(found.to_json(), end="")
    else:
        print(found)
        if arguments.html is not None:
            print(f"Pictures: {arguments.html}")
    return OK if found.ok else NO


def _limits(texts: list[str]) -> dict[str, Any]:
    """{"cosine": 0.9, "mask_mass": {"stamp": 0.02}} from "cosine=0.9" and "mask_mass/stamp=0.02"."""
    found: dict[str, Any] = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            number = float(value)
        except ValueError:
            raise CommandError(f"--limit {text}: give NAME=NUMBER, such as cosine=0.99") from None
        head, _, mask = name.partition("/")
        if not mask:
            found[name] = number
        elif head == "mask_mass" and isinstance(found.setdefault(head, {}), dict):
            found[head][mask] = number
        else:
            raise CommandError(f"--limit {text}: only mask_mass has parts, and either one limit or one for each mask")
    return found
