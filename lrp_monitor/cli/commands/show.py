"""`lrp-monitor show`: what a logged run holds, its heatmaps among it where the terminal has colours."""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lrp_monitor.cli.arguments import OK, add_command, add_json, add_steps
from lrp_monitor.cli.errors import CommandError
from lrp_monitor.cli.model_arguments import COLORMAPS
from lrp_monitor.text import aligned, number

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lrp_monitor.arguments import Colormap
    from lrp_monitor.cli.terminal import Depth
    from lrp_monitor.store.reader import Run

_TABLE_STEPS = 12
_TABLE_PROBES = 16
_LOGGED = "lrp/"
_COUNTS = ("nonfinite/", "mask_probes/")
_STATISTICS = ("logit", "probability", "label_accuracy", "conservation", "drift", "absmax")
_MAPPED_PROBES = 4
_MAP_COLUMNS, _LEAST_COLUMNS = 32, 12


def add(commands: Any) -> None:
    """Declares the command."""
    parser = add_command(
        commands,
        "show",
        "what a logged run holds",
        "Prints a run's model, steps, probes and size, the scalars about relevance over its steps, what is known\n"
        "of each probe at the last of them, the leading channels of watched layers, and heatmaps where the terminal\n"
        "has colours (it has none for a pipe, nor where NO_COLOR is set).",
        "lrp-monitor show runs/demo/planted",
        'lrp-monitor show runs/demo/planted --probe "triangle 0" --steps 0,8,940',
    )
    parser.add_argument("run", metavar="RUN", help="the log_dir that the monitor was given")
    add_steps(parser, "12 of them")
    parser.add_argument("--probe", action="append", help="a probe's name or number, once for each (default: a few)")
    parser.add_argument(
        "--maps",
        action=argparse.BooleanOptionalAction,
        help="heatmaps in the terminal: coloured half blocks, or signs without colours (default: where it has colours)",
    )
    parser.add_argument("--colormap", choices=COLORMAPS, default="seismic")
    add_json(parser, "everything but maps")
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    """Prints what a run holds. Raises CommandError."""
    from lrp_monitor.cli import channel_lines, terminal
    from lrp_monitor.cli.logged_runs import chosen_steps, probe_number
    from lrp_monitor.store.format import StoreError
    from lrp_monitor.store.reader import open_run

    try:
        logged = open_run(arguments.run)
        steps = chosen_steps(arguments.steps, [logged], _TABLE_STEPS)
        if arguments.json:
            print(json.dumps(logged.to_dict(), indent=2))
            return OK
        probes = [probe_number(logged, probe) for probe in arguments.probe or []]
        lines = [_as_text(logged, steps), *_beside(arguments.run, logged)]
        if steps:
            lines += _statistics(logged, steps[-1], probes or range(len(logged.probes)))
            lines += channel_lines.lines(logged)
            depth = terminal.colour_depth(sys.stdout)
            if arguments.maps or (arguments.maps is None and depth != "none"):
                lines += _maps(logged, steps, probes, depth, arguments.colormap)
        print("\n".join(lines))
    except StoreError as error:
        raise CommandError(str(error)) from error
    return OK


def _beside(path: str, run: Run) -> list[str]:
    """A line on the other runs of the log directory, of other models, where there are any."""
    from lrp_monitor.store.folders import run_folders, store_folder
    from lrp_monitor.store.storage import open_storage

    others = [folder for folder in run_folders(path) if open_storage(store_folder(folder)).path != run.path]
    return [f"  beside    {', '.join(others)}: runs of other models"] if others else []


def _statistics(run: Run, step: int, probes: Sequence[int]) -> list[str]:
    """A table of the probes at a step; empty where nothing was logged of them."""
    from lrp_monitor.metrics import LEAST_POSITIVE
    from lrp_monitor.store.label_sets import of_columns, words

    found, info = run.record(step).statistics, run.probes
    shares = sorted(name for name in found if name.startswith(("mask_mass/", "mask_absolute/")))
    names = [name for name in (*_STATISTICS, *shares) if name in found]
    if not names:
        return []
    shown = probes[:_TABLE_PROBES]
    head = ["probe", *(["explained", "predicted"] if "target" in found else []), *names]
    body = []
    sets = None if info.label_sets is None else of_columns(found, info.label_sets.shape[1])
    for probe in shown:
        classes = [_class(run, found[key][probe]) for key in ("target", "prediction") if "target" in found]
        if sets is not None and math.isfinite(found["prediction"][probe]):
            classes[1] = words(sets[probe], info.class_names)
        body.append([info.names[probe], *classes, *(_cell(run, found, name, probe) for name in names)])
    left = 3 if "target" in found else 1
    lines = ["", f"  probes at step {step}", *(f"  {line}" for line in aligned([head, *body], left))]
    if len(probes) > len(shown):
        lines.append(f"  ... and {len(probes) - len(shown)} more: choose with --probe, or all with --json")
    if any("undefined" in row for row in body):
        lines.append(
            f"  undefined: less than {100 * LEAST_POSITIVE:g} % of the map's |relevance| is positive, too little to "
            "take shares of; mask_absolute is the mask's share of all |relevance|"
        )
    return lines


def _cell(run: Run, found: dict[str, NDArray[np.float64]], name: str, probe: int) -> str:
    """A statistic of a probe, or why it has no value."""
    value, total = found[name][probe], found.get("sum")
    if math.isnan(value) and not (name == "drift" and all(map(math.isnan, found["drift"]))):
        if total is not None and not math.isfinite(total[probe]):
            return "not finite"
        kind, _, mask = name.partition("/")
        if kind in ("mask_mass", "mask_absolute"):
            held = run.probes.masks.get(mask)
            return "no mask" if held is not None and not held[probe].any() else "undefined"
    return number(value)


def _class(run: Run, number: float) -> str:
    names = run.probes.class_names
    if not math.isfinite(number):
        return "none"
    return names[int(number)] if names and int(number) < len(names) else str(int(number))


def _maps(run: Run, steps: Sequence[int], probes: Sequence[int], depth: Depth, colormap: Colormap) -> list[str]:
    """Heatmaps of a few probes, a row each, at as many of the steps as the terminal has room for."""
    from lrp_monitor.cli import input_lines, terminal
    from lrp_monitor.pictures import film
    from lrp_monitor.pictures.classes import classes_on
    from lrp_monitor.pictures.logged import label_maps, predicted_maps

    width = shutil.get_terminal_size((100, 24)).columns - 2
    chosen = list(probes) or film.spread(range(len(run.probes)), _MAPPED_PROBES)
    held = [step for step in steps if run.record(step).maps]
    if not held:
        return ["", "  no maps are stored at these steps"]
    drawn = input_lines.are_drawn(run.probes)
    own = _MAP_COLUMNS if drawn else run.probes.map_shape[-1] * (1 if depth != "none" else 2)
    columns = max(_LEAST_COLUMNS, min(_MAP_COLUMNS, own, width))
    shown = film.spread(held, max(1, (width + 2) // (columns + 2)))
    lines = ["", f"  heatmaps, each by its own largest relevance; steps {', '.join(map(str, shown))}"]
    maps = predicted_maps(run, chosen, shown)
    predicted = None if maps is None else dict(zip(chosen, maps, strict=True))
    labels = label_maps(run.probes)
    for probe in chosen:
        blocks = [
            input_lines.lines(run.probes, probe, run.heatmap(probe, step), depth, columns, colormap) for step in shown
        ]
        lines += [f"  {run.probes.names[probe]}", *_side_by_side(blocks, columns, depth)]
        if predicted is not None:
            classes = [terminal.class_lines(one, depth, columns=columns) for one in predicted[probe]]
            lines += ["  predicted", *_side_by_side(classes, columns, depth)]
        if labels is not None:
            lines += [
                "  labels",
                *(f"  {line}" for line in terminal.class_lines(labels[probe], depth, columns=columns)),
            ]
    if depth == "none" and not drawn:
        lines.append("  # + speak for the class, = - against it")
    if predicted is not None or labels is not None:
        found = classes_on(labels, *(predicted or {}).values())
        shown_classes = [0, *found] if depth == "none" else found
        lines.append(f"  classes   {terminal.class_key(shown_classes, run.probes.class_names, depth)}")
    return lines


def _side_by_side(blocks: list[list[str]], columns: int, depth: Depth) -> list[str]:
    """Blocks of a row of the sheet, as wide as its columns."""
    from lrp_monitor.cli import terminal

    widths = [max(map(terminal.visible, block), default=0) for block in blocks]
    widths = [max(columns if depth == "none" else 0, one) for one in widths]
    return [f"  {line}".rstrip() for line in terminal.beside(blocks, widths)]


def _as_text(run: Run, chosen: Sequence[int]) -> str:
    probes, steps, meta = run.probes, run.steps, run.meta
    names = ", ".join(probes.names[:4]) + (", ..." if len(probes) > 4 else "")
    shape = " x ".join(map(str, probes.map_shape))
    parameters, reason = meta.get("parameters"), meta.get("composite_choice")
    model = [
        str(meta.get("model", "unnamed")),
        *([f"{parameters:,} parameters"] if isinstance(parameters, int) else []),
        f"composite {meta.get('composite', 'not noted')}" + (f" (auto: {reason})" if reason else ""),
    ]
    unit = {"batch": "batches", "epoch": "epochs"}.get(str(meta.get("axis")), "steps")
    span = f"{len(steps)}, from {steps[0]} to {steps[-1]} {unit}" if steps else "none logged yet"
    sessions = f", {len(run.sessions)} sessions" if len(run.sessions) > 1 else ""
    held = run.stored_bytes
    each = f" ({held / len(steps) / 1e3:.0f} kB a step)" if steps else ""
    lines = [
        run.path,
        f"  model     {', '.join(model)}",
        f"  steps     {span}{sessions}, {held / 1e6:.1f} MB{each}",
        f"  probes    {len(probes)} of {shape}: {names}",
        *([f"  masks     {', '.join(sorted(probes.masks))}"] if probes.masks else []),
        *(f"  NOT FINITE  {span}" for span in run.not_finite),
        *(f"  problem   {problem}" for problem in run.problems),
    ]
    if chosen:
        lines += ["", *_table(run, chosen)]
    return "\n".join(lines)


def _table(run: Run, chosen: Sequence[int]) -> list[str]:
    """The scalars about relevance at the chosen steps, a column each; of what is not finite only where any is."""
    records = [run.record(step) for step in chosen]
    tags = [
        tag
        for tag in run.scalars
        if tag.startswith(_LOGGED)
        and (not tag.startswith("lrp/nonfinite/") or any(record.scalars.get(tag) for record in records))
    ]
    head = ["step", "epoch", *(tag.removeprefix(_LOGGED) for tag in tags)]
    body = [
        [str(record.step), str(record.epoch), *(_scalar(record.scalars, tag) for tag in tags)] for record in records
    ]
    return [f"  {line}" for line in aligned([head, *body], 0)]


def _scalar(scalars: dict[str, float], tag: str) -> str:
    value = scalars.get(tag, math.nan)
    if math.isfinite(value) and tag.removeprefix(_LOGGED).startswith(_COUNTS):
        return f"{value:.0f}"
    return number(value)
