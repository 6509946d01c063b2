"""`lrp-monitor explain`: a saved model's heatmaps for pictures and arrays, as a picture or as arrays."""

from __future__ import annotations

import argparse
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrp_monitor.cli.errors import CommandError
from lrp_monitor.cli.model_inputs import Sample
from lrp_monitor.cli.opened import Opened, note, one_line, opened
from lrp_monitor.cli.parts import OK
from lrp_monitor.console import Progress
from lrp_monitor.pictures import film, render
from lrp_monitor.probes import ProbeSet
from lrp_monitor.text import number

_FORMATS = (".png", ".npz")
_MOST_ON_A_SHEET = 200
_FAR = 0.1
"""From 1, beyond which it is said why a sum of relevance is not its logit."""


def explain(arguments: argparse.Namespace) -> int:
    """Explains, writes the file, prints a line for each heatmap (or JSON). Raises CommandError."""
    kind = arguments.output.suffix.lower()
    targets: list[str | None] = arguments.target or [None]
    _check_output(arguments, kind, len(targets))
    with one_line(arguments.model), Progress(3 + len(targets), lines=False) as progress:

        def part(name: str) -> None:
            progress.part(name)
            progress.advance()

        with_model = opened(arguments, part)
        if kind == ".png" and len(with_model.samples) > _MOST_ON_A_SHEET:
            raise CommandError(
                f"{len(with_model.samples)} samples are too many for one picture (at most {_MOST_ON_A_SHEET}); "
                "write an .npz"
            )
        found = []
        for number, target in enumerate(targets):
            part(f"explaining, {number + 1} of {len(targets)}")
            found.append(_explained(with_model, target))
        for words in [*with_model.explainer.notes, *_not_finite(with_model, found)]:
            note(words)
        part(f"writing {arguments.output}")
        data = _arrays(with_model, found[0]) if kind == ".npz" else _picture(with_model, targets, found, arguments)
        _write(arguments.output, data)
    rows = [row for one in found for row in _rows(with_model, one)]
    if arguments.json:
        about = {"model": str(arguments.model), "composite": with_model.explainer.composite_name}
        print(json.dumps({**about, "output": str(arguments.output), "explanations": rows}, indent=2))
    else:
        written = f"{arguments.output}: {len(rows)} heatmaps, {len(data) / 1e3:.0f} kB"
        print("\n".join([*map(_line, rows), *_why(rows), written]))
    return OK


def _check_output(arguments: argparse.Namespace, kind: str, targets: int) -> None:
    output: Path = arguments.output
    if kind not in _FORMATS:
        raise CommandError(f"{output}: the ending says what to write; use one of {', '.join(_FORMATS)}")
    if kind == ".npz" and targets > 1:
        raise CommandError("an .npz holds one target; write one for each")
    if not output.parent.is_dir():
        raise CommandError(f"{output}: there is no folder {output.parent}")


class _Group:
    """Samples of one shape, explained together."""

    def __init__(self, places: list[int], probes: ProbeSet, explanation: Any) -> None:
        self.places = places
        self.explanation = explanation
        self.maps: NDArray[np.float32] = probes.heatmaps(explanation.relevance)


def _explained(with_model: Opened, text: str | None) -> list[_Group]:
    """Explanations of all samples for one target, grouped by their shape."""
    target = with_model.target(text)
    shapes: dict[tuple[int, ...], list[int]] = {}
    for place, sample in enumerate(with_model.samples):
        shapes.setdefault(sample.values.shape, []).append(place)
    groups = []
    for places in shapes.values():
        samples = [with_model.samples[place] for place in places]
        values = np.stack([sample.values for sample in samples])
        groups.append(_Group(places, _probes(values), _explain(with_model, values, samples, text, target)))
    return groups


def _probes(values: NDArray[np.float32]) -> ProbeSet:
    first = values.ndim == 4 and values.shape[-1] not in (1, 3, 4) and values.shape[1] in (1, 3, 4)
    return ProbeSet(values, channel_axis=1 if first else "auto")


def _explain(
    with_model: Opened, values: NDArray[np.float32], samples: Sequence[Sample], text: str | None, target: int | None
) -> Any:
    own = [sample.target for sample in samples]
    if text is not None or all(one is None for one in own):
        return with_model.explainer.explain(values, target)
    if None not in own:
        return with_model.explainer.explain(values, np.array(own))
    # Probes bring their class along, pictures beside them are explained for the predicted one.
    predicted = with_model.explainer.explain(values).prediction
    wanted = np.array([p if one is None else one for one, p in zip(own, predicted, strict=True)])
    return with_model.explainer.explain(values, np.maximum(wanted, 0)).without(wanted < 0)


def _rows(with_model: Opened, groups: Sequence[_Group]) -> list[dict[str, Any]]:
    """One row of plain data a sample, in the samples' order."""
    rows: dict[int, dict[str, Any]] = {}
    for group in groups:
        one = group.explanation
        totals = group.maps.reshape(len(group.maps), -1).sum(axis=1, dtype=np.float64)
        for row, place in enumerate(group.places):
            target, predicted = int(one.target[row]), int(np.ravel(one.prediction[row])[0])
            rows[place] = {
                "input": with_model.samples[place].name,
                "target": None if target < 0 else target,
                "class": None if target < 0 else with_model.class_name(target),
                "prediction": None if predicted < 0 else predicted,
                "predicted_class": None if predicted < 0 else with_model.class_name(predicted),
                "logit": _plain(one.logit[row]),
                "probability": _plain(one.probability[row]),
                "relevance_sum": _plain(totals[row]),
                "conservation": _plain(one.conservation[row]),
            }
    return [rows[place] for place in sorted(rows)]


def _not_finite(with_model: Opened, found: Sequence[Sequence[_Group]]) -> list[str]:
    """What is to be said of samples whose logits or heatmaps are not finite."""
    rows = [row for groups in found for row in _rows(with_model, groups)]
    broken = [row["input"] for row in rows if row["prediction"] is None or row["relevance_sum"] is None]
    names = list(dict.fromkeys(broken))
    if not names:
        return []
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return [
        f"logits or heatmaps of {', '.join(names[:3])}{more} are not finite; `lrp-monitor check` says in which layer"
    ]


def _plain(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _line(row: dict[str, Any]) -> str:
    probability = "" if row["probability"] is None else f", probability {number(row['probability'])}"
    instead = "" if row["prediction"] == row["target"] else f" (predicted: {row['predicted_class']})"
    if row["prediction"] is None:
        instead = " (no prediction: the logits are not finite)"
    kept = "-" if row["conservation"] is None else number(row["conservation"])
    logit = "not finite" if row["logit"] is None else number(row["logit"], 4)
    name = row["class"] or "no class"
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


def _picture(
    with_model: Opened, targets: Sequence[str | None], found: Sequence[list[_Group]], arguments: argparse.Namespace
) -> bytes:
    """A row a sample, a column a target."""
    columns = [
        {place: one for group in groups for place, one in zip(group.places, group.maps, strict=True)}
        for groups in found
    ]
    captions = [[_caption(row) for row in _rows(with_model, groups)] for groups in found]
    look = film.Look(arguments.colormap, "map", arguments.clip, arguments.overlay)
    strips = [
        film.Strip(
            _short(sample.name),
            np.stack([column[place] for column in columns]),
            [texts[place] for texts in captions],
            sample.picture,
        )
        for place, sample in enumerate(with_model.samples)
    ]
    labels = ["predicted class" if text in (None, "predicted") else _label(with_model, str(text)) for text in targets]
    if targets == [None] and all(sample.target is not None for sample in with_model.samples):
        labels = ["its label"]
    return render.png(film.sheet(strips, labels, look=look))


def _label(with_model: Opened, text: str) -> str:
    number = with_model.target(text)
    return text if number is None else with_model.class_name(number)


def _caption(row: dict[str, Any]) -> str:
    strength = row["probability"] if row["probability"] is not None else row["logit"]
    name = row["class"] or "no class"
    return f"{name}, not finite" if strength is None else f"{name} {number(strength, 2)}"


def _short(name: str) -> str:
    return name if len(name) <= 28 else f"{name[:13]}…{name[-14:]}"


def _arrays(with_model: Opened, groups: Sequence[_Group]) -> bytes:
    """The first target as arrays: relevance (n, *sample shape), heatmaps (n, *map shape), the rest (n, ...)."""
    if len(groups) > 1:
        raise CommandError("an .npz holds inputs of one size, and these differ; write one for each")
    one = groups[0].explanation
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        names=np.array([sample.name for sample in with_model.samples]),
        inputs=np.stack([sample.values for sample in with_model.samples]),
        relevance=one.relevance,
        heatmaps=groups[0].maps,
        target=one.target,
        logit=one.logit,
        logits=one.logits,
        output=one.output,
        probability=one.probability,
        conservation=one.conservation,
    )
    return buffer.getvalue()


def _write(output: Path, data: bytes) -> None:
    try:
        render.write(output, data)
    except OSError as error:
        raise CommandError(f"{output}: {error.strerror or error}") from error
