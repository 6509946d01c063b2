"""Writes a run's store: one file of probes, then one record per logged step, appended."""

from __future__ import annotations

import hashlib
import math
import os
import secrets
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from lrp_monitor.mapped import iter_blocks
from lrp_monitor.store import codec, features, predicted, records
from lrp_monitor.store.folders import store_folder
from lrp_monitor.store.format import (
    BUCKETS,
    HISTOGRAM_KINDS,
    MOST_HISTOGRAMS,
    MOST_PIXELS,
    Histogram,
    ProbeInfo,
    StepRecord,
    StoreError,
)
from lrp_monitor.store.index import MOST_META, PROBES_FILE, Index, segment_name, session_of
from lrp_monitor.store.probes import pack_probes, read_probes
from lrp_monitor.store.records import number_to_json
from lrp_monitor.store.storage import Appendable, open_storage

MEGABYTE = 1_000_000
# Compressed bytes per pixel of a heatmap, and per histogram with its entry in the table: see
# tests/benchmarks/store.py, which prints them for noise-like relevance, the worst case met in practice.
_BYTES_PER_PIXEL = {"sqrt8": 0.87, "float16": 1.85, "float32": 3.95}
_BYTES_PER_HISTOGRAM = 420
_BYTES_PER_PROBE = 320
_BYTES_PER_STEP = 2000


def estimate_bytes(
    n_probes: int, map_shape: Sequence[int], encoding: str, n_tensors: int, channels: int = 0, more_pixels: int = 0
) -> int:
    """Bytes one logged step is likely to take: an estimate on the high side (smooth maps compress better).

    ``n_tensors`` counts the histograms: weights and gradients apart. ``channels``: maps by input channel that
    are stored besides each heatmap; ``more_pixels``: of other maps, all together. Raises ValueError for an unknown
    encoding.
    """
    per_pixel = _BYTES_PER_PIXEL[codec.check_encoding(encoding)]
    maps = (n_probes * (1 + channels) * math.prod(map_shape) + more_pixels) * per_pixel
    return round(maps + n_probes * _BYTES_PER_PROBE + n_tensors * _BYTES_PER_HISTOGRAM + _BYTES_PER_STEP)


class RunWriter:
    """Appends the steps of one process start (a session) to the store of a run.

    ``run_dir`` is the run's directory (``<log_dir>/lrp``), ``meta`` (JSON) is kept with the session. After
    ``segment_bytes`` a new file is begun. Once the store would grow beyond ``max_store_mb`` (10**6 bytes, all
    sessions counted) no more maps are stored, statistics and histograms go on; ``notice`` and the first such
    record's notes say so. Safe to use from several threads.

    Raises ValueError for wrong arguments; StoreError where the folder holds another probe set; StoreOSError
    (an OSError) where it cannot be written.
    """

    def __init__(
        self,
        run_dir: str | os.PathLike[str],
        probes: ProbeInfo,
        *,
        meta: dict[str, Any],
        encoding: str = "sqrt8",
        segment_bytes: int = 16 << 20,
        max_store_mb: float | None = None,
    ) -> None:
        self._encoding = codec.check_encoding(encoding)
        if segment_bytes < 1:
            raise ValueError(f"segment_bytes must be at least 1, got {segment_bytes}")
        if max_store_mb is not None and not max_store_mb >= 0:
            raise ValueError(f"max_store_mb must be a number >= 0 or None, got {max_store_mb}")
        self._segment_bytes, self._max_store_mb = segment_bytes, max_store_mb
        self._probe_count, self._map_shape = len(probes), tuple(probes.map_shape)
        self._lock = threading.Lock()
        self.session = secrets.token_hex(8)
        """This process start's id: 16 hexadecimal digits."""
        self._storage = open_storage(store_folder(run_dir))
        packed = pack_probes(probes)
        try:
            first = records.pack(records.KIND_SESSION, {"session": self.session, "meta": meta}, [])
        except (TypeError, ValueError) as error:
            raise ValueError(f"meta must be JSON (no NaN, no arrays): {error}") from error
        if len(first) > MOST_META:
            raise ValueError(f"meta takes {len(first)} bytes, the store takes {MOST_META}: leave its largest part out")
        records.shallow(meta, "meta")
        self._storage.make()
        if PROBES_FILE in self._storage.listing():
            self._check_probes(probes)
        else:
            self._storage.write_whole(PROBES_FILE, packed)
        index = Index(self._storage)
        index.refresh()
        self._last_step = index.highest_step()
        self._own_last: int | None = None
        self._ordinal = index.highest_ordinal() + 1
        self._number = 0
        self._total = sum(size for size, _ in self._storage.listing().values())
        self._written = 0
        self._segment_size = 0
        self._notice: str | None = None
        self._closed = False
        self._file: Appendable = self._storage.create(segment_name(self._ordinal, self.session, 0))
        self._put(first)

    @property
    def path(self) -> str:
        """The store's folder."""
        return self._storage.path

    @property
    def bytes_written(self) -> int:
        """Bytes of the records that this session has written."""
        return self._written

    @property
    def last_step(self) -> int | None:
        """The highest step any session of this store holds, None where there is none."""
        return self._last_step

    @property
    def notice(self) -> str | None:
        """Why maps are no longer stored, once that is so."""
        return self._notice

    def sessions(self) -> set[str]:
        """The ids of all sessions that have files here now: without this one where its files were removed.

        Raises:
            StoreOSError: where the folder cannot be listed.
        """
        found = {session for name in self._storage.listing() if (session := session_of(name)) is not None}
        # A listing may lag behind what was written.
        if self.session not in found and self._storage.has(segment_name(self._ordinal, self.session, 0)):
            found.add(self.session)
        return found

    def append(self, record: StepRecord) -> None:
        """Writes one step; readers see it at once.

        Raises ValueError where the record does not fit the probes or its step is not higher than this
        session's last one; StoreOSError where it cannot be written: the store then ends in the last whole
        record, and a later append may succeed.
        """
        with self._lock:
            if self._closed:
                raise StoreError(f"{self._storage.path}: this writer is closed")
            self._check(record)
            data = self._pack(record, record.heatmaps is not None and self._notice is None)
            limit = self._max_store_mb
            if (
                limit is not None
                and self._notice is None
                and record.heatmaps is not None
                and self._total + len(data) > limit * MEGABYTE
            ):
                self._notice = (
                    f"maps are not stored from step {record.step} on: the store has reached "
                    f"max_store_mb={limit:g}; statistics and histograms go on"
                )
                data = self._pack(record, False, [self._notice])
            full = self._segment_size and self._segment_size + len(data) > self._segment_bytes
            if full or not self._file.takes(len(data)):
                self._next_segment()
            self._put(data)
            self._own_last = record.step
            self._last_step = max(record.step, -1 if self._last_step is None else self._last_step)

    def flush(self) -> None:
        """Has the operating system put what was appended on the disk."""
        with self._lock:
            if not self._closed:
                self._file.sync()

    def close(self) -> None:
        """Ends the session. A session without a step leaves no file behind."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            try:
                self._file.sync()
            finally:
                self._file.close()
            if self._own_last is None:
                self._storage.remove(segment_name(self._ordinal, self.session, 0))

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_probes(self, probes: ProbeInfo) -> None:
        held = read_probes(self._storage)
        if held.hash != probes.hash:
            raise StoreError(
                f"{self._storage.path} holds another probe set ({len(held)} probes, hash {held.hash[:12]}) "
                f"than the one given ({len(probes)} probes, hash {probes.hash[:12]}): give another log_dir, "
                "log the same probes, or move that folder away"
            )
        if held.map_shape != self._map_shape:
            raise StoreError(
                f"{self._storage.path} holds maps of shape {held.map_shape}, the probes given have "
                f"{self._map_shape}: give another log_dir, or move that folder away"
            )

    def _check(self, record: StepRecord) -> None:
        if record.step < 0:
            raise ValueError(f"step must be >= 0, got {record.step}")
        if self._own_last is not None and record.step <= self._own_last:
            raise ValueError(f"step {record.step} is not higher than the last one written, {self._own_last}")
        shape = (self._probe_count, *self._map_shape)
        if record.heatmaps is not None and record.heatmaps.shape != shape:
            raise ValueError(f"heatmaps must have shape {shape}, got {record.heatmaps.shape}")
        if record.channels is not None and (
            record.heatmaps is None or record.channels.shape[:-1] != shape or record.channels.shape[-1] < 1
        ):
            raise ValueError(
                f"channels must come with heatmaps and have shape {(*shape, 'c')} with c >= 1, got "
                f"{record.channels.shape}{'' if record.heatmaps is not None else ' and no heatmaps'}"
            )
        for name, values in record.probes.items():
            if np.shape(values) != (self._probe_count,):
                raise ValueError(
                    f"statistic {name!r} must have one value for each of the {self._probe_count} probes, got "
                    f"shape {np.shape(values)}"
                )
        for count, most, what in (
            (0 if record.channels is None else record.channels.size, MOST_PIXELS, "pixels in all maps by channel"),
            (len(record.histograms), MOST_HISTOGRAMS, "histograms"),
        ):
            if count > most:
                raise ValueError(f"{count} {what}: the store takes {most} a step")
        for histogram in record.histograms:
            _check_histogram(histogram)
        if record.predicted_maps is not None:
            predicted.check(record.predicted_maps, self._probe_count)
        for one in record.features:
            features.check(one, self._probe_count)

    def _pack(self, record: StepRecord, with_maps: bool, notes: Sequence[str] = ()) -> bytes:
        chunks: list[bytes] = []
        end = 0

        def add(chunk: bytes) -> list[int]:
            nonlocal end
            chunks.append(chunk)
            end += len(chunk)
            return [end - len(chunk), len(chunk)]

        maps: list[list[int]] | None = None
        scales: list[float] | None = None
        if with_maps and record.heatmaps is not None:
            maps, scales = [], []
            for block in iter_blocks(record.heatmaps):
                for heatmap in block:
                    chunk, scale = codec.encode_map(heatmap, self._encoding)
                    maps.append(add(chunk))
                    scales.append(scale)
        predictions = None
        if with_maps and record.predicted_maps is not None:
            predictions = predicted.pack(record.predicted_maps, add)
        channels = None
        if with_maps and record.channels is not None:
            # Behind all maps, so that who wants only these reads no further.
            encoded = [
                [codec.encode_map(part[..., c], self._encoding) for c in range(part.shape[-1])]
                for part in record.channels
            ]
            channels = {
                "maps": [[add(chunk) for chunk, _ in parts] for parts in encoded],
                "scale": [[scale for _, scale in parts] for parts in encoded],
            }
        header: dict[str, Any] = {
            "session": self.session,
            "encoding": self._encoding,
            "map_shape": list(self._map_shape),
            "scale": scales,
            "maps": maps,
            "channels": channels,
            "probes": {
                name: [number_to_json(v) for v in np.asarray(values, np.float64).tolist()]
                for name, values in record.probes.items()
            },
            "scalars": {name: number_to_json(value) for name, value in record.scalars.items()},
            "notes": [*record.notes, *notes],
            "gradient_batch": record.gradient_batch,
            "histograms": None,
        }
        if predictions is not None:
            header["predicted"] = predictions
        if record.last_of_fit:
            header["last_of_fit"] = True
        if record.features:
            table = records.to_json(features.pack(record.features, self._encoding, with_maps, add))
            header["features"] = [*add(codec.deflate(table)), len(table)]
        if with_maps and record.references is not None:
            header["references"] = add(pack_probes(record.references))
        if record.histograms:
            table = records.to_json({"histograms": [_table_row(h, add) for h in record.histograms]})
            header["histograms"] = [*add(codec.deflate(table)), len(table)]
            header["tensors"] = _digest(record.histograms)
        return records.pack(
            records.KIND_STEP,
            header,
            chunks,
            step=record.step,
            epoch=record.epoch,
            batch=record.batch,
            wall_time=record.wall_time,
        )

    def _put(self, data: bytes) -> None:
        self._file.append(data)
        self._segment_size += len(data)
        self._written += len(data)
        self._total += len(data)

    def _next_segment(self) -> None:
        following = self._storage.create(segment_name(self._ordinal, self.session, self._number + 1))
        self._file.sync()
        self._file.close()
        self._file, self._number, self._segment_size = following, self._number + 1, 0


def _digest(histograms: Sequence[Histogram]) -> str:
    """Which tensors there are, in 16 hexadecimal digits: readers look up each different list once."""
    names = records.to_json({"tensors": [[h.kind, h.name] for h in histograms]})
    return hashlib.sha256(names).hexdigest()[:16]


def _check_histogram(histogram: Histogram) -> None:
    what = f"histogram {histogram.kind} {histogram.name!r}"
    if histogram.kind not in HISTOGRAM_KINDS:
        raise ValueError(f"{what}: kind must be one of {', '.join(HISTOGRAM_KINDS)}")
    if histogram.buckets.ndim != 1 or histogram.buckets.shape != histogram.counts.shape:
        raise ValueError(
            f"{what}: buckets and counts must be two vectors of one length, got shapes "
            f"{histogram.buckets.shape} and {histogram.counts.shape}"
        )
    if histogram.counts.size and int(histogram.counts.min()) < 0:
        raise ValueError(f"{what}: counts must not be negative")
    if len(histogram.buckets) > BUCKETS or int(histogram.buckets.max(initial=0)) >= BUCKETS:
        raise ValueError(f"{what}: buckets must be at most {BUCKETS}, from 0 to {BUCKETS - 1}")


def _table_row(histogram: Histogram, add: Any) -> dict[str, Any]:
    chunk, width = codec.encode_counts(histogram.buckets, histogram.counts)
    return {
        "kind": histogram.kind,
        "name": histogram.name,
        "size": int(histogram.size),
        "zeros": int(histogram.zeros),
        "denormals": int(histogram.denormals),
        "nan": int(histogram.nan),
        "inf": int(histogram.inf),
        "minimum": None if histogram.minimum is None else number_to_json(histogram.minimum),
        "maximum": None if histogram.maximum is None else number_to_json(histogram.maximum),
        "norm": number_to_json(histogram.norm),
        "note": histogram.note,
        "chunk": add(chunk),
        "buckets": len(histogram.buckets),
        "counts": width,
    }
