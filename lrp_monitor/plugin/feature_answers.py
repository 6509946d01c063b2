"""The routes' answers on watched layers: their channels at a step and over all steps, and the channels' heatmaps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrp_monitor.plain import plain, plain_number
from lrp_monitor.plugin import wire
from lrp_monitor.store import channels, codec
from lrp_monitor.store.channels import History
from lrp_monitor.store.features import FeatureRow
from lrp_monitor.store.format import ProbeInfo, StoreError
from lrp_monitor.store.reader import Run
from lrp_monitor.store.steps import StepHeader

MOST_POINTS = 400
"""Steps that a curve has at most: those of long runs evenly spread, the last among them."""
MOST_EMERGED = 4
"""Leading channels of a class whose emergence is given."""


def layers(name: str, run: Run, steps: Sequence[int] | None = None) -> dict[str, Any]:
    """The watched layers, in the order of their first appearance, each with its classes and the steps that hold it.

    ``steps``: of these alone, where they are given.
    """
    found = []
    for layer in run.feature_layers:
        history = run.channel_history(layer)
        at = _chosen(history, steps)
        found.append(
            {
                "layer": layer,
                "channels": history.relevance.shape[-1],
                "classes": history.explained,
                "steps": history.steps[at].tolist(),
                "needed": channels.needed(history.overall[at]).tolist(),
                "unused": np.count_nonzero(history.unused[at], axis=-1).tolist(),
                "dead": np.count_nonzero(~history.fired[at], axis=-1).tolist(),
                "emerged": _emerged(history),
                "references": len(history.referenced) > 0,
            }
        )
    return {"run": name, "session": run.session or None, "layers": found}


def _chosen(history: History, steps: Sequence[int] | None) -> NDArray[np.int64]:
    """The places of some steps in a history; of all without."""
    held = np.ones(len(history.steps), bool) if steps is None else np.isin(history.steps, steps)
    return np.flatnonzero(held)


def _emerged(history: History) -> list[dict[str, Any]]:
    """The channels that lead in each class at the last step and emerged after the first one, with that step.

    ``share`` is the channel's at the last step, of the class's positive relevance.
    """
    return [
        {"class": of_class, "channel": int(channel), "step": int(step), "share": float(history.shares[-1, at, channel])}
        for at, of_class in enumerate(history.explained)
        for channel in channels.leading(history.shares[-1, at], MOST_EMERGED)
        if (step := history.emerged[at, channel]) > history.steps[0]
    ]


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


def curves(
    run: Run, layer: str, of_class: int, asked: Sequence[int], chosen: Sequence[int] | None = None
) -> dict[str, Any]:
    """Shares of a class over the steps, or those of them that are ``chosen``, for some channels."""
    history = run.channel_history(layer)
    of = history.of_class(of_class)
    _check(history, asked)
    held = _chosen(history, chosen)
    steps = held[np.unique(np.linspace(0, len(held) - 1, min(MOST_POINTS, len(held))).round().astype(int))]
    shares = np.nan_to_num(history.shares[steps, of][:, list(asked)])
    return {
        "steps": history.steps[steps].tolist(),
        "shares": {str(channel): plain(shares[:, i].round(5)) for i, channel in enumerate(asked)},
    }


def maps(
    run: Run,
    layer: str,
    of_class: int,
    asked: Sequence[int],
    most: int,
    step: int,
    session: str,
    shown: Sequence[int] | None = None,
) -> bytes:
    """For some channels the class's probes with the most relevance there, at most ``most`` each, and their maps.

    Of the probes ``shown`` alone, where they are given, numbered by their places among these.

    JSON: ``encoding``, ``shape``, ``codes`` (see `_joined`), and ``rows``, for each channel ``channel``, ``probes``,
    ``relevance``, ``scale`` (null where no map is stored), ``masses`` (mask to one number a probe), and ``top`` and
    ``top_relevance``, the reference samples as they were seen last up to that step, null without. ``top_session``: the
    session whose samples these are.
    """
    history = run.channel_history(layer)
    _check(history, asked)
    history.of_class(of_class)
    relevance = history.relevance[_at(history, step)]
    header = run.record(step, session)
    row = run.feature_rows(header)[layer]
    pairs = _pairs(row)
    place = {probe: i for i, probe in enumerate(range(len(history.classes)) if shown is None else shown)}
    of_these = np.array([p for p in np.flatnonzero(history.classes == of_class).tolist() if p in place], np.int64)
    top = run.reference_samples(layer, step)
    rows: list[dict[str, Any]] = []
    wanted: list[tuple[StepHeader, FeatureRow, int | None]] = []
    for channel in asked:
        values = np.nan_to_num(relevance[of_these, channel], nan=-np.inf)
        probes = of_these[np.argsort(-values, kind="stable")][:most].tolist()
        at = [pairs.get((probe, channel)) for probe in probes]
        wanted += [(header, row, one) for one in at]
        rows.append(
            {
                "channel": channel,
                "probes": [place[probe] for probe in probes],
                "relevance": plain(relevance[probes, channel].astype(np.float64)),
                "scale": [_scale(row, one) for one in at],
                "masses": {
                    mask: [None if one is None else plain_number(float(values[one])) for one in at]
                    for mask, values in row.masses.items()
                },
                "top": None if top is None else top[0][channel].tolist(),
                "top_relevance": None if top is None else plain(top[1][channel].astype(np.float64)),
            }
        )
    return _joined(run, {"rows": rows, "top_session": None if top is None else top[2]}, wanted)


def references(run: Run, session: str, asked: Sequence[int] | None = None) -> bytes:
    """Some reference samples of a session, or all: those of them that were kept, as `wire.probes_answer` gives probes.

    The JSON has ``numbers`` besides, the samples' in the order of the pictures.
    """
    kept = run.references(session)
    numbers = [number for number in (kept if asked is None else dict.fromkeys(asked)) if number in kept]
    if not numbers:
        return wire.envelope({"numbers": []}, [])
    return wire.probes_answer(ProbeInfo.joined([kept[number] for number in numbers]), numbers=numbers)


def film(run: Run, layer: str, channel: int, probe: int, steps: Sequence[int]) -> bytes:
    """One channel's map of one probe at several steps: ``encoding``, ``shape``, ``codes``, ``scale`` (null: none)."""
    wanted: list[tuple[StepHeader, FeatureRow, int | None]] = []
    scales = []
    for step in steps:
        header = run.record(step)
        row = run.feature_rows(header).get(layer)
        at = None if row is None else _pairs(row).get((probe, channel))
        scales.append(None if row is None else _scale(row, at))
        if row is not None:
            wanted.append((header, row, at))
    return _joined(run, {"scale": scales}, wanted)


def _pairs(row: FeatureRow) -> dict[tuple[int, int], int]:
    """(probe, channel) -> which of the stored maps."""
    if row.places is None:
        return {}
    return {pair: at for at, pair in enumerate(zip(row.probe.tolist(), row.channel.tolist(), strict=True))}


def _scale(row: FeatureRow, at: int | None) -> float | None:
    return None if at is None else plain_number(float(row.scale[at]))


def _joined(run: Run, header: dict[str, Any], wanted: Sequence[tuple[StepHeader, FeatureRow, int | None]]) -> bytes:
    """An answer whose maps lie one behind the other in one chunk, ``codes``: a browser inflates it many times faster.

    Codes of "sqrt8" as they are stored; other encodings as float32. Raises StoreError where encodings or
    shapes differ between steps.
    """
    stored = [(about, row, at) for about, row, at in wanted if at is not None and row.places is not None]
    shape: tuple[int, ...] = stored[0][1].shape if stored else ()
    encoding = stored[0][0].encoding if stored else "sqrt8"
    parts = []
    for (about, row, at), data in zip(stored, run.stored_maps(stored), strict=True):
        what = f"step {about.step}, a channel's map of {row.layer:.200}"
        if row.shape != shape or about.encoding != encoding:
            raise StoreError(f"{what}: steps hold maps of several shapes or encodings; ask for one of them")
        if encoding == "sqrt8":
            parts.append(data)
        else:
            parts.append(codec.decode_values(data, float(row.scale[at]), encoding, shape).astype("<f4").tobytes())
    joined = codec.deflate(b"".join(parts)) if parts else b""
    codes = [0, len(joined)] if parts else None
    return wire.envelope({"encoding": encoding, "shape": list(shape), "codes": codes} | header, [joined])


def _at(history: History, step: int) -> int:
    """The index of a step in a history. KeyError where it does not hold the layer."""
    at = int(np.searchsorted(history.steps, step))
    if at == len(history.steps) or history.steps[at] != step:
        raise KeyError(f"step {step} holds no features of {history.layer!r}")
    return at


def _check(history: History, asked: Sequence[int]) -> None:
    count = history.relevance.shape[-1]
    for channel in asked:
        if channel >= count:
            raise KeyError(f"{history.layer!r} has no channel {channel}; it has {count}: 0 to {count - 1}")
