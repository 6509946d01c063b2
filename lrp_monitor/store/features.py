"""Features of layers in a record: how they are packed and taken apart, and a run's channels over all its steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from lrp_monitor.store import codec, records
from lrp_monitor.store.access import RecordAccess
from lrp_monitor.store.channels import History, leading, needed
from lrp_monitor.store.format import (
    MOST_AXES,
    MOST_CHANNEL_MAPS,
    MOST_CHANNELS,
    MOST_PIXELS,
    Encoding,
    LayerFeatures,
    StoreError,
)
from lrp_monitor.store.index import Entry
from lrp_monitor.store.steps import StepHeader, chunks_length, chunks_start

Place = tuple[int, int]
_MOST_TOP = 1 << 10
_TOLD = 4
# Values of relevance by probe and channel that are kept of all steps of a layer: 1 GiB as float32.
_MOST_HISTORY = 1 << 28


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


class FeatureAccess(RecordAccess):
    """The features of a run's layers; see :class:`~lrp_monitor.store.reader.Run`."""

    _rows: dict[tuple[str, int], dict[str, FeatureRow]]
    _histories: dict[str, History]

    @property
    def feature_layers(self) -> list[str]:
        """The layers whose channels were logged at any step, in the order of their first appearance."""
        found: dict[str, None] = {}
        headers = [header for header in self._all_headers() if header.features is not None]
        sessions = {header.session: header for header in headers}
        for header in sessions.values():  # what is watched is settled when a session begins
            found |= dict.fromkeys(self.feature_rows(header))
        return list(found)

    def feature_rows(self, header: StepHeader) -> dict[str, FeatureRow]:
        """Layer -> its features without their arrays; empty for a step without."""
        entry = self._entry(self._view, header.step, header.session)
        key = (entry.file, entry.offset)
        if header.features is None:
            return {}
        with self._lock:
            known = self.__dict__.setdefault("_rows", {})
            if key in known:
                return known[key]  # type: ignore[no-any-return]
        offset, length, size = header.features
        chunk, what = self._chunk(entry, (offset, length)), f"{entry.what}, table of features"
        rows = self._once(
            entry, "features",
            lambda: parse(codec.inflate(chunk, size, what), chunks_length(entry), len(self._probes), what),
        )  # fmt: skip
        with self._lock:
            known[key] = rows
        return rows

    def features(self, layer: str, step: int) -> LayerFeatures:
        """What a step says of the channels of a layer. KeyError where they were not logged, with what was."""
        entry = self._entry(self._view, step)
        header = self._header(entry)
        row = self.feature_rows(header).get(layer)
        if row is None:
            known = self.feature_layers
            raise KeyError(
                f"no features of {layer!r} at step {step} of {self.path}; "
                + (f"there are those of {records.listed(known)}" if known else 'log some: LRPMonitor(features="auto")')
            )
        what = f"{entry.what}, features of {layer:.200}"
        maps = None
        if row.places is not None:
            stored = self.stored_maps([(header, row, at) for at in range(len(row.probe))])
            maps = np.zeros((len(stored), *row.shape), np.float32)
            for at, data in enumerate(stored):
                maps[at] = codec.decode_values(data, float(row.scale[at]), header.encoding, row.shape)
        top, values = self._top(entry, row, what) or (None, None)
        relevance = self._array(entry, row.relevance, "<f4", (len(self._probes), row.channels), what)
        return LayerFeatures(
            layer, relevance.astype(np.float32), self._fired(entry, row, what), row.probe, row.channel, maps,
            dict(row.masses), top, values,
        )  # fmt: skip

    def reference_samples(self, layer: str, step: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]] | None:
        """The reference samples with the most relevance in each channel, and that relevance, (channels, k) both.

        As they were seen last up to ``step``; None where none were.
        """
        for header in reversed([one for one in self._all_headers() if one.step <= step]):
            row = self.feature_rows(header).get(layer)
            if row is not None and row.top is not None:
                entry = self._entry(self._view, header.step, header.session)
                return self._top(entry, row, f"{entry.what}, features of {layer:.200}")
        return None

    def _top(
        self, entry: Entry, row: FeatureRow, what: str
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]] | None:
        if row.top is None:
            return None
        shape = (row.channels, row.top[0])
        numbers = self._array(entry, row.top[1], "<i8", shape, what).astype(np.int64)
        return numbers, self._array(entry, row.top[2], "<f4", shape, what).astype(np.float32)

    def channel_history(self, layer: str) -> History:
        """Relevance by probe and channel of a layer over all steps that hold it; see `channels.History`.

        KeyError where it was not logged. What was read before is kept; only later steps are read.
        """
        with self._lock:
            histories = self.__dict__.setdefault("_histories", {})
            known = histories.get(layer)
        headers = [header for header in self._all_headers() if header.features is not None]
        keys = [(header.step, header.session) for header in headers]
        if known is not None and known.keys != keys[: len(known.keys)]:
            known = None  # a later session has replaced some of them
        new = headers[0 if known is None else len(known.keys) :]
        steps, relevance, fired = [], [], []
        for header in new:
            row = self.feature_rows(header).get(layer)
            if row is None:
                continue
            entry = self._entry(self._view, header.step, header.session)
            what = f"{entry.what}, features of {layer:.200}"
            steps.append(header.step)
            relevance.append(self._array(entry, row.relevance, "<f4", (len(self._probes), row.channels), what))
            fired.append(self._fired(entry, row, what))
            if (len(steps) + (0 if known is None else len(known.steps))) * relevance[-1].size > _MOST_HISTORY:
                raise StoreError(
                    f"{self.path}: the channels of {layer!r} over all steps are too many to be read at once"
                )
        if known is None and not steps:
            raise KeyError(
                f"no features of {layer!r} in {self.path}; there are those of {records.listed(self.feature_layers)}"
            )
        parts = [] if known is None else [known]
        if steps:
            parts.append(
                History(
                    layer, np.array(steps, np.int64), np.stack(relevance), np.stack(fired), self.explained_classes, ()
                )
            )
        made = History.joined(parts, keys)
        with self._lock:
            histories[layer] = made
        return made

    def feature_summary(self) -> dict[str, dict[str, Any]]:
        """Layer -> its summary at its last step: counts, and the leading channels of each class."""
        found: dict[str, dict[str, Any]] = {}
        for layer in self.feature_layers:
            history = self.channel_history(layer)
            step = int(history.steps[-1])
            masses = {mask: self.channel_masses(layer, step, mask) for mask in self._probes.masks}
            classes = []
            for at, of_class in enumerate(history.explained):
                share, emerged = history.shares[-1, at], history.emerged[at]
                leaders = [
                    {
                        "channel": int(channel),
                        "share": float(share[channel]),
                        "emerged": int(emerged[channel]),
                        "masks": {
                            mask: float(values[at, channel])
                            for mask, values in masses.items()
                            if np.isfinite(values[at, channel])
                        },
                    }
                    for channel in leading(share, _TOLD)
                ]
                classes.append({"class": of_class, "leading": leaders})
            found[layer] = {
                "step": step,
                "channels": history.relevance.shape[-1],
                "needed": int(needed(history.overall[-1])),
                "unused": int(np.count_nonzero(history.unused[-1])),
                "dead": int(np.count_nonzero(~history.fired[-1])),
                "classes": classes,
            }
        return found

    def channel_masses(self, layer: str, step: int, mask: str) -> npt.NDArray[np.float64]:
        """(classes, channels) the mean share of the channels' own maps in a mask, at a step; NaN where none is stored.

        The classes are those of the layer's history. KeyError for a step without that layer.
        """
        history = self.channel_history(layer)
        row = self.feature_rows(self._header(self._entry(self._view, step)))[layer]
        total, count = np.zeros((2, len(history.explained), row.channels))
        values = row.masses.get(mask)
        if values is not None:
            known = np.isfinite(values)
            at = np.array([history.of_class(int(c)) for c in history.classes[row.probe]], np.int64)
            np.add.at(total, (at[known], row.channel[known]), values[known])
            np.add.at(count, (at[known], row.channel[known]), 1)
        with np.errstate(all="ignore"):
            return np.where(count > 0, total / count, np.nan)

    @property
    def explained_classes(self) -> npt.NDArray[np.int64]:
        """(n,) the class explained of each probe, as last logged; -1 for none and for a region."""
        for header in reversed(self._all_headers()):
            if "target" in header.statistics:
                targets = header.statistics["target"]
                return np.where(np.isfinite(targets), targets, -1).astype(np.int64)
        return np.full(len(self._probes), -1, np.int64)

    def _chunk(self, entry: Entry, place: Place) -> bytes:
        return self._storage.read(entry.file, chunks_start(entry) + place[0], place[1])

    def _array(self, entry: Entry, place: Place, dtype: str, shape: tuple[int, ...], what: str) -> npt.NDArray[Any]:
        chunk, size = self._chunk(entry, place), math.prod(shape) * np.dtype(dtype).itemsize
        return np.frombuffer(self._noting(lambda: codec.inflate(chunk, size, what)), dtype).reshape(shape)

    def _fired(self, entry: Entry, row: FeatureRow, what: str) -> npt.NDArray[np.bool_]:
        packed = self._array(entry, row.fired, "u1", ((row.channels + 7) // 8,), what)
        return np.unpackbits(packed, count=row.channels).astype(bool)

    def stored_maps(self, wanted: Sequence[tuple[StepHeader, FeatureRow, int]]) -> list[bytes]:
        """Channels' maps, each a row's and its place among its maps, as they are stored but inflated.

        A chunk that holds several of them is read and inflated once. StoreError where one is damaged.
        """
        places: dict[tuple[int, str, str, int], tuple[StepHeader, Place]] = {}
        keys = []
        for header, row, at in wanted:
            assert row.places is not None
            number = int(row.chunk[at])
            keys.append((header.step, header.session, row.layer, number))
            places[keys[-1]] = header, row.places[number]
        chunks = dict(zip(places, self.chunks(places.values()), strict=True))
        inflated: dict[tuple[int, str, str, int], bytes] = {}
        found = []
        for key, (header, row, at) in zip(keys, wanted, strict=True):
            size = math.prod(row.shape) * codec.bytes_a_pixel(header.encoding)
            first, end = (int(np.searchsorted(row.chunk, key[-1], side)) for side in ("left", "right"))
            if key not in inflated:
                what = f"step {header.step}, channels' maps of {row.layer:.200}"
                inflated[key] = self._noting(partial(codec.inflate, chunks[key], (end - first) * size, what))
            found.append(inflated[key][(at - first) * size : (at - first + 1) * size])
        return found
