"""Samples with their heatmaps: explained in groups of one shape, and written as rows, a picture or arrays."""

from __future__ import annotations

import argparse
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrp_monitor.cli.errors import CommandError
from lrp_monitor.cli.model_inputs import Sample
from lrp_monitor.cli.opened_model import Opened
from lrp_monitor.pictures import film, render
from lrp_monitor.plain import plain_class, plain_number
from lrp_monitor.probes import ProbeSet
from lrp_monitor.text import number


class Group:
    """Samples of one shape, explained together."""

    def __init__(self, places: list[int], probes: ProbeSet, explanation: Any) -> None:
        self.places = places
        self.explanation = explanation
        self.maps: NDArray[np.float32] = probes.heatmaps(explanation.relevance)


def explained(with_model: Opened, text: str | None) -> list[Group]:
    """Explanations of all samples for one target, grouped by their shape."""
    target = with_model.target(text)
    shapes: dict[tuple[int, ...], list[int]] = {}
    for place, sample in enumerate(with_model.samples):
        shapes.setdefault(sample.values.shape, []).append(place)
    groups = []
    for places in shapes.values():
        samples = [with_model.samples[place] for place in places]
        values = np.stack([sample.values for sample in samples])
        groups.append(Group(places, set_of(values), _explain(with_model, values, samples, text, target)))
    return groups


def set_of(values: NDArray[Any]) -> ProbeSet:
    """Samples (n, ...) as probes, whose channels are the last axis, or the first where that alone looks like them."""
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


def rows_of(with_model: Opened, groups: Sequence[Group]) -> list[dict[str, Any]]:
    """One row of plain data a sample, in the samples' order."""
    rows: dict[int, dict[str, Any]] = {}
    for group in groups:
        one = group.explanation
        totals = group.maps.reshape(len(group.maps), -1).sum(axis=1, dtype=np.float64)
        for row, place in enumerate(group.places):
            rows[place] = row_of(with_model, with_model.samples[place].name, one, row, float(totals[row]))
    return [rows[place] for place in sorted(rows)]


def row_of(with_model: Opened, name: str, one: Any, row: int, total: float, of_numbers: bool = False) -> dict[str, Any]:
    """What an explanation holds of one of its samples, as plain data; of_numbers: whether labels are numbers."""
    is_number = one.has_classes and (of_numbers or (one.logits.shape[1] == 1 and not one.is_binary))
    # Of a region of a map nothing is predicted as a whole, and a number is no class.
    target, predicted = int(one.target[row]), int(one.prediction[row]) if one.has_classes and not is_number else -1
    return {
        "input": name,
        "explains": "region" if not one.has_classes else "number" if is_number else "class",
        "target": int(one.unit[row]) if is_number else plain_class(target),
        "class": None if target < 0 or is_number else with_model.class_name(target),
        "prediction": plain_class(predicted),
        "predicted_class": None if predicted < 0 else with_model.class_name(predicted),
        "logit": plain_number(one.logit[row]),
        "probability": None if is_number else plain_number(one.probability[row]),
        "relevance_sum": plain_number(total),
        "conservation": plain_number(one.conservation[row]),
    }


def picture(
    with_model: Opened, targets: Sequence[str | None], found: Sequence[list[Group]], arguments: argparse.Namespace
) -> bytes:
    """A row a sample, a column a target."""
    columns = [
        {place: one for group in groups for place, one in zip(group.places, group.maps, strict=True)}
        for groups in found
    ]
    captions = [[caption(row) for row in rows_of(with_model, groups)] for groups in found]
    look = film.Look(arguments.colormap, "map", arguments.clip, arguments.overlay)
    strips = [
        film.Strip(
            short(sample.name),
            np.stack([column[place] for column in columns]),
            [texts[place] for texts in captions],
            sample.picture,
        )
        for place, sample in enumerate(with_model.samples)
    ]
    labels = ["predicted class" if text in (None, "predicted") else label_of(with_model, str(text)) for text in targets]
    if targets == [None] and all(sample.target is not None for sample in with_model.samples):
        labels = ["its label"]
    return render.png(film.sheet(strips, labels, look=look))


def label_of(with_model: Opened, text: str) -> str:
    """What stands above the heatmaps for a target."""
    number = with_model.target(text)
    return text if number is None else with_model.class_name(number)


def caption(row: dict[str, Any]) -> str:
    """What stands below a heatmap: its class and probability."""
    strength = row["probability"] if row["probability"] is not None else row["logit"]
    name = row["class"] or explained_text(row)
    return f"{name}, not finite" if strength is None else f"{name} {number(strength, 2)}"


def explained_text(row: dict[str, Any]) -> str:
    """What is explained where it is no class."""
    return {"region": "a region", "number": f"unit {row['target']}"}.get(row["explains"], "no class")


def short(name: str) -> str:
    """A name, its middle left out where it is long."""
    return name if len(name) <= 28 else f"{name[:13]}…{name[-14:]}"


def arrays(with_model: Opened, groups: Sequence[Group]) -> bytes:
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
