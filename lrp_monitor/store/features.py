"""Features of layers in a record: how they are packed and taken apart."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lrp_monitor.store import codec, records
from lrp_monitor.store.format import (
    MOST_AXES,
    MOST_CHANNEL_MAPS,
    MOST_CHANNELS,
    MOST_PIXELS,
    Encoding,
    LayerFeatures,
    StoreError,
)

Place = tuple[int, int]
_MOST_TOP = 1 << 10


@dataclass(frozen=True)
class FeatureRow:
    """A layer's features without their arrays, and the places of these."""

    layer: str
    channels: int
    relevance: Place
    fired: Place
    probe: npt.NDArray[np.int64]
    channel: npt.NDArray[np.int64]
    places: tuple[Place, ...] | None
    """Of the chunks that hold the channels' maps; None where none are stored."""
    chunk: npt.NDArray[np.int64]
    """(m,) which of them each map is in, ascending: that of its probe, or one of its own."""
    scale: npt.NDArray[np.float64]
    shape: tuple[int, ...]
    masses: dict[str, npt.NDArray[np.float64]]
    top: tuple[int, Place, Place] | None
    """Reference samples a channel, the place of their numbers and of their relevance."""


def check(features: LayerFeatures, probes: int) -> None:
    """ValueError where the parts do not fit each other or the probes, or are more than the store takes."""
    channels, what = len(features.fired), f"features of {features.layer!r}"
    if features.relevance.shape != (probes, channels) or not 0 < channels <= MOST_CHANNELS:
        raise ValueError(f"{what}: relevance of shape {features.relevance.shape}, {probes} probes, {channels} channels")
    pairs = len(features.probe)
    if features.channel.shape != (pairs,) or pairs > MOST_CHANNEL_MAPS:
        raise ValueError(f"{what}: {pairs} probes and {len(features.channel)} channels of maps")
    if features.maps is not None and (len(features.maps) != pairs or features.maps.size > MOST_PIXELS):
        raise ValueError(f"{what}: maps of shape {features.maps.shape} for {pairs} pairs")
    for values, limit in ((features.probe, probes), (features.channel, channels)):
        if pairs and not (values.min() >= 0 and values.max() < limit):
            raise ValueError(f"{what}: a map of a probe or channel that there is not")
    if any(values.shape != (pairs,) for values in features.masses.values()):
        raise ValueError(f"{what}: a mask's shares are not one for each map")


def pack(
    features: Sequence[LayerFeatures], encoding: Encoding, with_maps: bool, add: Callable[[bytes], list[int]]
) -> dict[str, Any]:
    """The table of a step's features; ``add`` takes a chunk and gives its place."""
    rows = []
    for one in features:
        places: list[list[int]] | None = None
        scale: list[float] | None = None
        if with_maps and one.maps is not None:
            places, scale = [], []
            for maps in np.split(one.maps, np.flatnonzero(np.diff(one.probe)) + 1) if len(one.maps) else ():
                chunk, scales = codec.encode_small_maps(maps, encoding)
                places.append(add(chunk))
                scale += scales
        row: dict[str, Any] = {
            "layer": one.layer,
            "channels": one.channels,
            "relevance": add(codec.deflate(one.relevance.astype("<f4").tobytes())),
            "fired": add(codec.deflate(np.packbits(one.fired).tobytes())),
            "probe": one.probe.tolist(),
            "channel": one.channel.tolist(),
            "maps": places,
            "joined": True,
            "scale": scale,
            "shape": [] if one.maps is None else list(one.maps.shape[1:]),
            "masses": {
                name: [records.number_to_json(float(f"{v:.6g}")) for v in values] for name, values in one.masses.items()
            },
        }
        if one.top is not None and one.top_relevance is not None:
            numbers, values = one.top.astype("<i8"), one.top_relevance.astype("<f4")
            row["top"] = [one.top.shape[1], *(add(codec.deflate(part.tobytes())) for part in (numbers, values))]
        rows.append(row)
    return {"layers": rows}


def parse(data: bytes, available: int, probes: int, what: str) -> dict[str, FeatureRow]:
    """Layer -> row of the table of a step's features; raises StoreError, starting with ``what``."""
    table = records.parse_json(data, what)
    try:
        rows = [_row(value, available, probes, what) for value in table["layers"]]
    except records.MALFORMED as error:
        raise StoreError(f"{what}: a part is missing or of the wrong kind ({records.quoted(error)})") from error
    return {row.layer: row for row in rows}


def _row(value: dict[str, Any], available: int, probes: int, what: str) -> FeatureRow:
    channels = records.whole(value["channels"])
    if not 0 < channels <= MOST_CHANNELS or channels * probes > MOST_PIXELS:
        raise ValueError(f"{channels} channels of {probes} probes")
    probe, channel = _numbers(value["probe"], probes), _numbers(value["channel"], channels)
    pairs, places, scale = len(probe), None, np.zeros(0)
    shape = tuple(records.whole(side) for side in value["shape"])
    # Those of a probe stand together in a chunk; in older records each has one of its own.
    joined = value.get("joined", False) is True
    chunk = np.cumsum(np.diff(probe, prepend=probe[:1]) != 0) if joined else np.arange(pairs)
    if value["maps"] is not None:
        places = records.places(value["maps"], available, what)
        scale = np.array([records.number_from_json(one, what) for one in value["scale"]])
        if (
            len(places) != (chunk[-1] + 1 if pairs else 0)
            or scale.shape != (pairs,)
            or len(shape) > MOST_AXES
            or not (scale >= 0).all()
        ):
            raise ValueError(
                f"{len(places)} chunks of maps and {len(scale)} scales of {pairs} pairs, of shape {shape[:20]}"
            )
        if pairs * math.prod(shape) > MOST_PIXELS:
            raise ValueError(f"{pairs} maps of shape {shape[:20]}; at most {MOST_PIXELS} pixels are read")
    if len(channel) != pairs or pairs > MOST_CHANNEL_MAPS:
        raise ValueError(f"{pairs} probes and {len(channel)} channels of maps")
    masses = {
        records.string(name): np.array([records.number_from_json(one, what) for one in values])
        for name, values in value["masses"].items()
    }
    if any(values.shape != (pairs,) for values in masses.values()):
        raise ValueError("shares of masks that are not one for each map")
    top = value.get("top")
    if top is not None:
        count = records.whole(top[0])
        if not 0 < count <= _MOST_TOP:
            raise ValueError(f"{count} reference samples a channel")
        top = (count, records.place(top[1], available, what), records.place(top[2], available, what))
    return FeatureRow(
        records.string(value["layer"]), channels, records.place(value["relevance"], available, what),
        records.place(value["fired"], available, what), probe, channel, places, chunk, scale, shape, masses,
        top,
    )  # fmt: skip


def _numbers(values: Any, limit: int) -> npt.NDArray[np.int64]:
    if type(values) is not list or any(type(one) is not int or not 0 <= one < limit for one in values):
        raise ValueError(f"{records.quoted(values)}: whole numbers below {limit} are expected")
    return np.array(values, np.int64)
