"""What a page with its data inside holds of watched layers: the answers that its view of features asks for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from lrp_monitor.plugin import feature_answers
from lrp_monitor.store import records
from lrp_monitor.store.channels import leading
from lrp_monitor.store.reader import Run

MOST_ROWS = 32
"""Leading channels of a class whose probes are in the file, besides those with heatmaps."""
MOST_MAPS = 64
"""Probes of a class that each of them has at most."""

Key = tuple[str, dict[str, object]]


def answers(name: str, run: Run, steps: Sequence[int], probes: Sequence[int]) -> Iterator[tuple[Key, bytes]]:
    """(route and parameters, answer) of a run's layers at some steps; ``probes``: the places of those in the file."""
    yield ("features", {"run": name}), records.to_json(feature_answers.layers(name, run, steps))
    for layer in run.feature_layers:
        for of_class in run.channel_history(layer).explained:
            asked: dict[str, object] = {"run": name, "layer": layer, "class": "none" if of_class < 0 else of_class}
            everything = range(run.channel_history(layer).relevance.shape[-1])
            curves = feature_answers.curves(run, layer, of_class, everything, steps)
            yield ("channel_curves", asked), records.to_json(curves)
            for step in _held(run, layer, steps):
                yield from _of_step(run, layer, of_class, step, probes, asked)
    for session in _sessions(run):
        if run.references(session):
            yield ("references", {"run": name, "session": session}), feature_answers.references(run, session)


def about_bytes(run: Run, steps: Sequence[int], probes: Sequence[int]) -> float:
    """About how many bytes the answers take: those of the last step for each of the steps."""
    total = 0.0
    for layer in run.feature_layers:
        held = _held(run, layer, steps)
        for of_class in run.channel_history(layer).explained if held else ():
            found = _of_step(run, layer, of_class, held[-1], probes, {})
            total += len(held) * sum(len(body) for _, body in found)
    sessions = _sessions(run) if run.feature_layers else ()
    return total + sum(len(feature_answers.references(run, session)) for session in sessions)


def _sessions(run: Run) -> dict[str, None]:
    """The sessions of a run's steps, each once and in their order."""
    return dict.fromkeys(run.record(step).session for step in run.steps)


def _held(run: Run, layer: str, steps: Sequence[int]) -> list[int]:
    return np.intersect1d(run.channel_history(layer).steps, steps).tolist()


def _of_step(
    run: Run, layer: str, of_class: int, step: int, probes: Sequence[int], asked: dict[str, object]
) -> Iterator[tuple[Key, bytes]]:
    session, history = run.record(step).session, run.channel_history(layer)
    at = asked | {"step": step}
    yield ("channels", at), feature_answers.at_step(run, layer, of_class, step, session)
    row = run.feature_rows(run.record(step))[layer]
    mapped = row.channel[history.classes[row.probe] == of_class] if row.places is not None else row.channel[:0]
    share = history.shares[int(np.searchsorted(history.steps, step)), history.of_class(of_class)]
    channels = np.union1d(mapped, leading(share, MOST_ROWS)).tolist()
    maps = feature_answers.maps(run, layer, of_class, channels, MOST_MAPS, step, session, probes)
    yield ("channel_maps", at), maps
