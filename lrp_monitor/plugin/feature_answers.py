"""What the page is told of watched layers: their channels at a step and over all steps, and the channels' heatmaps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lrp_monitor.plugin import wire
from lrp_monitor.store import channels, codec
from lrp_monitor.store.channels import History
from lrp_monitor.store.reader import Run
from lrp_monitor.store.steps import plain_list, plain_number

MOST_POINTS = 400
"""Steps that a curve has at most: those of long runs evenly spread, the last among them."""


def layers(name: str, run: Run) -> dict[str, Any]:
    """The watched layers, in the order of their first appearance, each with its classes and the steps that hold it."""
    found = []
    for layer in run.feature_layers:
        history = run.channel_history(layer)
        found.append(
            {
                "layer": layer,
                "channels": history.relevance.shape[-1],
                "classes": history.explained,
                "steps": history.steps.tolist(),
                "needed": channels.needed(history.overall).tolist(),
                "unused": np.count_nonzero(history.unused, axis=-1).tolist(),
                "dead": np.count_nonzero(~history.fired, axis=-1).tolist(),
            }
        )
    return {"run": name, "session": run.session or None, "layers": found}


def at_step(run: Run, layer: str, of_class: int, step: int, session: str) -> bytes:
    """All channels at a step: the arrays of ``arrays`` by name, zlib of float32, in the JSON's order.

    JSON: ``channels``, ``classes``, ``needed`` (of the class), ``masks`` and ``places``. Arrays: "shares" (classes x
    channels), "emerged" (channels, the step, -1 for none), "states" (channels: 1 unused, 2 never fired, 4 with maps
    here) and "mass <mask>" (channels, NaN where there are no maps), of the class asked for.
    """
    run.record(step, session)
    history = run.channel_history(layer)
    at, of = _at(history, step), history.of_class(of_class)
    row = run.feature_rows(run.record(step, session))[layer]
    member = history.classes[row.probe] == of_class
    mapped = np.zeros(row.channels, bool)
    if row.places is not None:
        mapped[row.channel[member]] = True
    states = history.unused[at] + 2 * ~history.fired[at] + 4 * mapped
    arrays = {"shares": history.shares[at], "emerged": history.emerged[of], "states": states} | {
        f"mass {mask}": run.channel_masses(layer, step, mask)[of] for mask in run.probes.masks
    }
    chunks, places, end = [], {}, 0
    for name, values in arrays.items():
        chunks.append(codec.deflate(np.ascontiguousarray(values, "<f4").tobytes()))
        places[name] = [end, len(chunks[-1])]
        end += len(chunks[-1])
    return wire.envelope(
        {
            "channels": row.channels,
            "classes": history.explained,
            "needed": int(channels.needed(history.shares[at, of])),
            "masks": list(run.probes.masks),
            "places": places,
        },
        chunks,
    )


def curves(run: Run, layer: str, of_class: int, asked: Sequence[int]) -> dict[str, Any]:
    """Shares of a class over the steps for some channels."""
    history = run.channel_history(layer)
    of = history.of_class(of_class)
    _check(history, asked)
    steps = np.unique(np.linspace(0, len(history.steps) - 1, min(MOST_POINTS, len(history.steps))).round().astype(int))
    shares = np.nan_to_num(history.shares[steps, of][:, list(asked)])
    return {
        "steps": history.steps[steps].tolist(),
        "shares": {str(channel): plain_list(shares[:, i].round(5)) for i, channel in enumerate(asked)},
    }


def maps(run: Run, layer: str, of_class: int, asked: Sequence[int], most: int, step: int, session: str) -> bytes:
    """For some channels the class's probes with the most relevance there, at most ``most`` each, and their maps.

    JSON: ``encoding``, ``shape``, and ``rows``, for each channel ``channel``, ``probes``, ``relevance``, ``maps``
    (places, null where none is stored), ``scale``, ``masses`` (mask to one number a probe), and ``top`` and
    ``top_relevance``, the reference samples as they were seen last up to that step, null without.
    """
    history = run.channel_history(layer)
    _check(history, asked)
    history.of_class(of_class)
    relevance = history.relevance[_at(history, step)]
    header = run.record(step, session)
    row = run.feature_rows(header)[layer]
    pairs = {pair: at for at, pair in enumerate(zip(row.probe.tolist(), row.channel.tolist(), strict=True))}
    of_these = np.flatnonzero(history.classes == of_class)
    top = run.reference_samples(layer, step)
    rows, wanted, end = [], [], 0
    for channel in asked:
        values = np.nan_to_num(relevance[of_these, channel], nan=-np.inf)
        probes = of_these[np.argsort(-values, kind="stable")][:most].tolist()
        places: list[list[int] | None] = []
        scales: list[float | None] = []
        at = [pairs.get((probe, channel)) for probe in probes]
        for one in at:
            if one is None or row.places is None:
                places.append(None)
                scales.append(None)
                continue
            wanted.append((header, row.places[one]))
            places.append([end, row.places[one][1]])
            scales.append(plain_number(float(row.scale[one])))
            end += row.places[one][1]
        rows.append(
            {
                "channel": channel,
                "probes": probes,
                "relevance": plain_list(relevance[probes, channel].astype(np.float64)),
                "maps": places,
                "scale": scales,
                "masses": {
                    mask: [None if one is None else plain_number(float(values[one])) for one in at]
                    for mask, values in row.masses.items()
                },
                "top": None if top is None else top[0][channel].tolist(),
                "top_relevance": None if top is None else plain_list(top[1][channel].astype(np.float64)),
            }
        )
    header_json = {"encoding": header.encoding, "shape": list(row.shape), "rows": rows}
    return wire.envelope(header_json, run.chunks(wanted))


def film(run: Run, layer: str, channel: int, probe: int, steps: Sequence[int]) -> bytes:
    """One channel's map of one probe at several steps; null where it is not stored."""
    frames: list[dict[str, Any]] = []
    wanted, end = [], 0
    shape: list[int] = []
    for step in steps:
        header = run.record(step)
        row = run.feature_rows(header).get(layer)
        frame: dict[str, Any] = {"step": step, "encoding": header.encoding, "map": None, "scale": None}
        if row is not None and row.places is not None:
            shape = list(row.shape)
            (found,) = np.nonzero((row.probe == probe) & (row.channel == channel))
            if len(found):
                place = row.places[int(found[0])]
                wanted.append((header, place))
                frame |= {"map": [end, place[1]], "scale": plain_number(float(row.scale[int(found[0])]))}
                end += place[1]
        frames.append(frame)
    return wire.envelope({"probe": probe, "channel": channel, "shape": shape, "frames": frames}, run.chunks(wanted))


def _at(history: History, step: int) -> int:
    """Where a step stands in a history. KeyError where it does not hold the layer."""
    at = int(np.searchsorted(history.steps, step))
    if at == len(history.steps) or history.steps[at] != step:
        raise KeyError(f"step {step} holds no features of {history.layer!r}")
    return at


def _check(history: History, asked: Sequence[int]) -> None:
    count = history.relevance.shape[-1]
    for channel in asked:
        if channel >= count:
            raise KeyError(f"{history.layer!r} has no channel {channel}; it has {count}: 0 to {count - 1}")
