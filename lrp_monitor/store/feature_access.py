"""Features of layers as a run holds them: of one step, and a run's channels over all its steps."""

from __future__ import annotations

import math
import re
from collections.abc import MutableMapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from lrp_monitor.store import codec, records
from lrp_monitor.store.access import RecordAccess
from lrp_monitor.store.channels import History, leading, needed
from lrp_monitor.store.features import FeatureRow, Place, parse
from lrp_monitor.store.format import LayerFeatures, ProbeInfo, StoreError
from lrp_monitor.store.index import Entry
from lrp_monitor.store.probes import parse_probes
from lrp_monitor.store.steps import StepHeader, chunks_length, chunks_start
from lrp_monitor.store.storage import Storage

_MOST_LEADING = 4
_NUMBER = re.compile(r"[0-9]{1,15}")
# Values of relevance by probe and channel that are kept of all steps of a layer: 1 GiB as float32.
_MOST_HISTORY = 1 << 28


class FeatureAccess(RecordAccess):
    """The features of a run's layers; see :class:`~lrp_monitor.store.reader.Run`."""

    def __init__(self, storage: Storage, shared: MutableMapping[bytes, ProbeInfo] | None = None) -> None:
        self._rows: dict[tuple[str, int], dict[str, FeatureRow]] = {}
        self._histories: dict[str, History] = {}
        self._references: dict[tuple[int, str], ProbeInfo] = {}
        super().__init__(storage, shared)

    def _forget(self) -> None:
        super()._forget()
        self._rows.clear()
        self._histories.clear()
        self._references.clear()

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
            if key in self._rows:
                return self._rows[key]
        offset, length, size = header.features
        chunk, what = self._chunk(entry, (offset, length)), f"{entry.what}, table of features"
        rows = self._once(
            entry, "features",
            lambda: parse(codec.inflate(chunk, size, what), chunks_length(entry), len(self._probes), what),
        )  # fmt: skip
        with self._lock:
            self._rows[key] = rows
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

    def reference_samples(
        self, layer: str, step: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32], str] | None:
        """The reference samples with the most relevance in each channel, and that relevance, (channels, k) both.

        As they were seen last up to ``step``, by the session that comes third; None where none were.
        """
        seen = [key for key in self.channel_history(layer).referenced if key[0] <= step]
        if not seen:
            return None
        entry = self._entry(self._view, *seen[-1])
        row = self.feature_rows(self._header(entry))[layer]
        found = self._top(entry, row, f"{entry.what}, features of {layer:.200}")
        return None if found is None else (*found, seen[-1][1])

    def references(self, session: str | None = None) -> dict[int, ProbeInfo]:
        """Number of a reference sample -> the sample as it is shown to a person, alone.

        Those that were kept: the most relevant ones of channels whose maps are logged, within some megabytes. The
        numbers are places in the `references` that the monitor was given in that session (default: the latest one).
        Parts that cannot be read are left out and stand among the problems.
        """
        found: dict[int, ProbeInfo] = {}
        session = self._view.sessions[-1].id if session is None and self._view.sessions else session
        for header in self._all_headers():
            if header.references is None or header.session != session:
                continue
            entry = self._entry(self._view, header.step, header.session)
            try:
                part = self._references.get((header.step, header.session)) or self._parse_references(entry, header)
            except StoreError:
                continue
            found |= {int(name): part.of([at]) for at, name in enumerate(part.names)}
        return found

    def _parse_references(self, entry: Entry, header: StepHeader) -> ProbeInfo:
        what = f"{entry.what}, reference samples"
        assert header.references is not None
        data = self._chunk(entry, header.references)

        def parse() -> ProbeInfo:
            part = parse_probes(data, what)
            if not all(_NUMBER.fullmatch(name) for name in part.names):
                raise StoreError(f"{what}: names that are no numbers")
            return part

        part = self._once(entry, "references", parse)
        with self._lock:
            self._references[header.step, header.session] = part
        return part

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
            known = self._histories.get(layer)
        headers = [header for header in self._all_headers() if header.features is not None]
        keys = [(header.step, header.session) for header in headers]
        if known is not None and known.keys != keys[: len(known.keys)]:
            known = None  # a later session has replaced some of them
        if known is not None and len(known.keys) == len(keys):
            return known  # with the shares that were made of it
        new = headers[0 if known is None else len(known.keys) :]
        steps, relevance, fired, referenced = [], [], [], []
        for header in new:
            row = self.feature_rows(header).get(layer)
            if row is None:
                continue
            entry = self._entry(self._view, header.step, header.session)
            what = f"{entry.what}, features of {layer:.200}"
            steps.append(header.step)
            if row.top is not None:
                referenced.append((header.step, header.session))
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
                    layer, np.array(steps, np.int64), np.stack(relevance), np.stack(fired), self.explained_classes, (),
                    referenced,
                )
            )  # fmt: skip
        made = History.joined(parts, keys)
        with self._lock:
            self._histories[layer] = made
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
                    for channel in leading(share, _MOST_LEADING)
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
