"""`lrp-monitor explain`: a saved model's heatmaps for pictures and arrays, as a picture or as arrays."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrp_monitor.cli.arguments import OK, add_command, add_json
from lrp_monitor.cli.errors import CommandError, writing
from lrp_monitor.cli.model_arguments import COLORMAPS, add_explaining_options, add_input_options, add_model
from lrp_monitor.files import write_whole
from lrp_monitor.text import number

if TYPE_CHECKING:
    from lrp_monitor.cli.opened_model import Opened

_FORMATS = (".png", ".npz")
_MOST_ON_A_SHEET = 200
_FAR = 0.1
"""How far from 1 a sum of relevance by its logit may lie before the output explains why."""


def add(commands: Any) -> None:
    """Declares the command."""
    parser = add_command(
        commands,
        "explain",
        "which pixels speak for a class, and which against it: a saved model on pictures or arrays",
        "Explains what a saved Keras model says about pictures (anything that Pillow reads) or arrays (.npy,\n"
        ".npz), and writes the heatmaps as a picture (.png) or as arrays (.npz). Red speaks for the class,\n"
        "blue against it; the sum of a heatmap is about the class's logit.\n\n"
        "Pictures are turned upright, brought to the model's input size and scaled to the range that --scaling\n"
        "names; changes are printed on stderr. Arrays are taken as they are: one sample, or several along\n"
        "the first axis. An .npz that ProbeSet.save wrote brings its classes and names along; where its probes\n"
        "are texts, tables, series or several inputs, or labelled at every pixel, it is given alone and drawn so.",
        "lrp-monitor explain model.keras photo.jpg -o heatmap.png --class-names labels.txt",
        "lrp-monitor explain model.keras photo.jpg --target cat --target dog --overlay -o cat_or_dog.png",
        "lrp-monitor explain model.keras batch.npy --composite epsilon_plus -o relevance.npz",
    )
    add_model(parser)
    parser.add_argument("inputs", type=Path, nargs="+", metavar="INPUT", help="pictures, .npy or .npz files")
    parser.add_argument("-o", "--output", type=Path, required=True, help="FILE.png or FILE.npz")
    parser.add_argument(
        "--target",
        action="append",
        help="class to explain: its number or its name; once for each (default: the predicted one, or the probe's own)",
    )
    add_explaining_options(parser)
    add_input_options(parser)
    parser.add_argument("--colormap", choices=COLORMAPS, default="seismic")
    parser.add_argument(
        "--clip", type=float, default=1.0, help="quantile of |relevance| to scale colours by (default 1: the largest)"
    )
    parser.add_argument("--overlay", action="store_true", help="lay the colours over the picture")
    add_json(parser, "classes, logits and sums of relevance")
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    """Explains, writes the file, prints a line for each heatmap (or JSON). Raises CommandError."""
    from lrp_monitor.cli import explained_probes
    from lrp_monitor.cli.opened_model import note, one_line
    from lrp_monitor.console import Progress

    kind = arguments.output.suffix.lower()
    targets: list[str | None] = arguments.target or [None]
    _check_output(arguments, kind, len(targets))
    with one_line(arguments.model), Progress(3 + len(targets), lines=False) as progress:

        def part(name: str) -> None:
            progress.part(name)
            progress.advance()

        probes = explained_probes.lone_set(arguments)
        if probes is not None:
            with_model, rows, data = explained_probes.explained(arguments, probes, targets, part)
        else:
            with_model, rows, data = _of_samples(arguments, kind, targets, part)
        for words in [*with_model.explainer.notes, *_not_finite(rows)]:
            note(words)
        with writing(arguments.output):
            write_whole(arguments.output, data)
    if arguments.json:
        about = {"model": str(arguments.model), "composite": with_model.explainer.composite_name}
        print(json.dumps({**about, "output": str(arguments.output), "explanations": rows}, indent=2))
    else:
        written = f"{arguments.output}: {len(rows)} heatmaps, {len(data) / 1e3:.0f} kB"
        print("\n".join([*map(_line, rows), *_why(rows), written]))
    return OK


def _of_samples(
    arguments: argparse.Namespace, kind: str, targets: list[str | None], part: Callable[[str], None]
) -> tuple[Opened, list[dict[str, Any]], bytes]:
    """Pictures and arrays: the model opened, a row for each target and sample, and the file to write."""
    from lrp_monitor.cli.explained_samples import arrays, explained, picture, rows_of
    from lrp_monitor.cli.opened_model import opened

    with_model = opened(arguments, part)
    if kind == ".png" and len(with_model.samples) > _MOST_ON_A_SHEET:
        raise CommandError(
            f"{len(with_model.samples)} samples are too many for one picture (at most {_MOST_ON_A_SHEET}); "
            "write an .npz"
        )
    found = []
    for place, target in enumerate(targets):
        part(f"explaining, {place + 1} of {len(targets)}")
        found.append(explained(with_model, target))
    rows = [row for one in found for row in rows_of(with_model, one)]
    part(f"writing {arguments.output}")
    data = arrays(with_model, found[0]) if kind == ".npz" else picture(with_model, targets, found, arguments)
    return with_model, rows, data


def _check_output(arguments: argparse.Namespace, kind: str, targets: int) -> None:
    output: Path = arguments.output
    if kind not in _FORMATS:
        raise CommandError(f"{output}: the ending says what to write; use one of {', '.join(_FORMATS)}")
    if kind == ".npz" and targets > 1:
        raise CommandError("an .npz holds one target; write one for each")
    if not output.parent.is_dir():
        raise CommandError(f"{output}: there is no folder {output.parent}")


def _not_finite(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Warnings on samples whose logits or heatmaps are not finite."""
    broken = [
        row["input"]
        for row in rows
        if (row["prediction"] is None and row["explains"] == "class")
        or row["logit"] is None
        or row["relevance_sum"] is None
    ]
    names = list(dict.fromkeys(broken))
    if not names:
        return []
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return [
        f"logits or heatmaps of {', '.join(names[:3])}{more} are not finite; `lrp-monitor check` says in which layer"
    ]


def _line(row: dict[str, Any]) -> str:
    from lrp_monitor.cli.explained_samples import explained_text

    probability = "" if row["probability"] is None else f", probability {number(row['probability'])}"
    instead = ""
    if row["explains"] == "class" and row["prediction"] is None:
        instead = " (no prediction: the logits are not finite)"
    elif row["explains"] == "class" and row["prediction"] != row["target"]:
        instead = f" (predicted: {row['predicted_class']})"
    kept = "-" if row["conservation"] is None else number(row["conservation"])
    logit = "not finite" if row["logit"] is None else number(row["logit"], 4)
    name = row["class"] or explained_text(row)
    return f"{row['input']}: {name}{instead}, logit {logit}{probability}; sum of relevance / logit {kept}"


def _why(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Where sums of relevance are far from the logits: what makes them so, in a line."""
    kept = [row["conservation"] for row in rows if row["conservation"] is not None]
    if all(abs(share - 1) <= _FAR for share in kept):
        return []
    return [
        "sum of relevance / logit: below 1 biases took their share (most of it is usual with z+ and flat), above 1 or "
        "below 0 a rule that is no plain sharing out (alpha-beta); `lrp-monitor check` says in which layers"
    ]
