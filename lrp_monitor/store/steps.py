"""One logged step as read back: its header, and the table of its histograms."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lrp_monitor.store import codec, predicted, records
from lrp_monitor.store.finite import without_guesses
from lrp_monitor.store.format import (
    BUCKETS,
    HISTOGRAM_KINDS,
    MOST_HISTOGRAMS,
    MOST_PIXELS,
    Encoding,
    Histogram,
    StoreError,
)
from lrp_monitor.store.index import Entry
from lrp_monitor.store.predicted import PredictedPlaces
from lrp_monitor.store.records import number_from_json

_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class StepHeader:
    """A step without its maps and histograms.

    ``wall_time`` in seconds; ``statistics`` maps a name to float64 (n,); ``maps`` says whether heatmaps are
    stored; ``scale`` (n,) is the largest absolute finite value of each map, NaN without maps; ``channels`` counts
    the maps by input channel that are stored for each probe, ``channel_scale`` (n, channels) is their scale;
    ``gradient_batch`` is the batch, counted over the whole run, whose gradient the histograms show.
    """

    step: int
    epoch: int
    batch: int
    wall_time: float
    session: str
    encoding: Encoding
    map_shape: tuple[int, ...]
    maps: bool
    scale: npt.NDArray[np.float64]
    statistics: dict[str, npt.NDArray[np.float64]]
    scalars: dict[str, float]
    notes: list[str]
    gradient_batch: int | None
    places: tuple[tuple[int, int], ...]
    """Offset and length of each map's chunk, from the start of the chunks."""
    table: tuple[int, int, int] | None
    """Offset, length and inflated length of the histograms' table."""
    channels: int
    channel_scale: npt.NDArray[np.float64]
    channel_places: tuple[tuple[tuple[int, int], ...], ...]
    """For each probe the places of its maps by channel."""
    tensors: str
    """Digest of the names in that table; empty in runs from before there was one."""
    last_of_fit: bool
    """Whether the fit ended in this state; False too in runs from before this was kept."""
    features: tuple[int, int, int] | None = None
    """Offset, length and inflated length of the table of layers' features, where there are any."""
    references: tuple[int, int] | None = None
    """Offset and length of the record of reference samples that this step brought, where it did."""
    predicted: PredictedPlaces | None = None
    """The places of the predicted maps, of an output of maps."""


@dataclass(frozen=True)
class HistogramRow:
    """A histogram without its counts, and the place of these: offset, length, buckets, width."""

    histogram: Histogram
    place: tuple[int, int]
    buckets: int
    width: str


def chunks_start(entry: Entry) -> int:
    """Byte of the file at which a record's chunks begin."""
    return entry.offset + records.FIELDS + entry.head.header_length


def chunks_length(entry: Entry) -> int:
    """Bytes of a record's chunks."""
    return entry.length - records.FIELDS - entry.head.header_length


def parse_step(entry: Entry, data: bytes, probes: int, map_shape: tuple[int, ...], what: str) -> StepHeader:
    """The header of a step from its fixed fields and JSON; raises StoreError, starting with ``what``."""
    fields, text = data[: records.FIELDS], data[records.FIELDS :]
    records.check_header(fields, text, entry.head, what)
    header = records.parse_json(text, what)
    try:
        return _header(entry, header, probes, map_shape, what)
    except records.MALFORMED as error:
        reason = records.quoted(error)
        raise StoreError(f"{what}: a part of the header is missing or of the wrong kind ({reason})") from error


def _header(entry: Entry, header: dict[str, Any], probes: int, map_shape: tuple[int, ...], what: str) -> StepHeader:
    if tuple(header["map_shape"]) != map_shape:
        raise ValueError(f"maps of shape {records.quoted(header['map_shape'])}, the probes have {map_shape}")
    available = chunks_length(entry)
    maps, table = header["maps"], header["histograms"]
    places: tuple[tuple[int, int], ...] = ()
    scale = np.full(probes, np.nan)
    if maps is not None:
        if len(maps) != probes:
            raise ValueError(f"{len(maps)} maps for {probes} probes")
        places = records.places(maps, available, what)
        scale = _scales(_vector(header["scale"], probes, "scale"))
    pixels = probes * math.prod(map_shape)
    channels, channel_scale, channel_places = _channels(header.get("channels"), probes, pixels, available, what)
    batch = header["gradient_batch"]
    return StepHeader(
        step=entry.head.step,
        epoch=entry.head.epoch,
        batch=entry.head.batch,
        wall_time=entry.head.wall_time,
        session=entry.session,
        encoding=codec.check_encoding(header["encoding"]),
        map_shape=map_shape,
        maps=maps is not None,
        scale=scale,
        statistics=without_guesses({name: _vector(v, probes, name) for name, v in header["probes"].items()}),
        scalars={name: number_from_json(value, what) for name, value in header["scalars"].items()},
        notes=[records.string(note) for note in header["notes"]],
        gradient_batch=None if batch is None else records.whole(batch),
        places=places,
        table=_table_place(table, available, what),
        channels=channels,
        channel_scale=channel_scale,
        channel_places=channel_places,
        tensors=records.string(header.get("tensors") or ""),
        last_of_fit=header.get("last_of_fit") is True,
        features=_table_place(header.get("features"), available, what),
        references=None if (place := header.get("references")) is None else records.place(place, available, what),
        predicted=predicted.unpack(header.get("predicted"), probes, available, what),
    )


def _table_place(value: Any, available: int, what: str) -> tuple[int, int, int] | None:
    """Offset, length and inflated length of a table; None where there is none."""
    if value is None:
        return None
    offset, length = records.place(value[:2], available, what)
    if type(value[2]) is not int or not 0 <= value[2] <= records.MOST_HEADER:
        raise ValueError(f"a table of {records.quoted(value[2])} bytes")
    return offset, length, value[2]


def _channels(
    value: Any, probes: int, pixels: int, available: int, what: str
) -> tuple[int, npt.NDArray[np.float64], tuple[tuple[tuple[int, int], ...], ...]]:
    """Number, scales and places of the maps by channel; none in records without them, as older ones are."""
    if value is None:
        return 0, np.zeros((probes, 0)), ()
    left, found = available, []
    for parts in value["maps"]:
        found.append(records.places(parts, available, what))
        left -= sum(length for _, length in found[-1])
        if left < 0:
            raise StoreError(f"{what}: the maps by channel overlap")
    places = tuple(found)
    scale = _scales(np.array(value["scale"], np.float64))
    counts = {len(parts) for parts in places}
    if len(places) != probes or len(counts) != 1 or counts == {0} or scale.shape != (probes, *counts):
        raise ValueError(f"maps by channel of {len(places)} probes, {sorted(counts)[:9]} each, scales {scale.shape}")
    if pixels * max(counts) > MOST_PIXELS:
        raise ValueError(f"{pixels * max(counts)} pixels by channel; at most {MOST_PIXELS} are read")
    return counts.pop(), scale, places


def parse_table(data: bytes, available: int, what: str) -> dict[tuple[str, str], HistogramRow]:
    """The histograms' table: (kind, name) -> row; raises StoreError, starting with ``what``."""
    table = records.parse_json(data, what)
    try:
        if len(table["histograms"]) > MOST_HISTOGRAMS:
            raise ValueError(f"{len(table['histograms'])} histograms; at most {MOST_HISTOGRAMS} are read")
        rows = [_row(value, available, what) for value in table["histograms"]]
    except records.MALFORMED as error:
        reason = records.quoted(error)
        raise StoreError(f"{what}: a part of the table is missing or of the wrong kind ({reason})") from error
    return {(row.histogram.kind, row.histogram.name): row for row in rows}


def _row(value: dict[str, Any], available: int, what: str) -> HistogramRow:
    kind = value["kind"]
    if kind not in HISTOGRAM_KINDS:
        raise ValueError(f"kind {records.quoted(kind)}")
    low, high = value["minimum"], value["maximum"]
    length = value["buckets"]
    if type(length) is not int or not 0 <= length <= BUCKETS:
        raise ValueError(f"{records.quoted(length)} buckets, there are {BUCKETS}")
    histogram = Histogram(
        kind=kind,
        name=records.string(value["name"]),
        size=records.whole(value["size"]),
        zeros=records.whole(value["zeros"]),
        denormals=records.whole(value["denormals"]),
        nan=records.whole(value["nan"]),
        inf=records.whole(value["inf"]),
        minimum=None if low is None else number_from_json(low, what),
        maximum=None if high is None else number_from_json(high, what),
        norm=number_from_json(value["norm"], what),
        note=records.string(value["note"]),
    )
    place = records.place(value["chunk"], available, what)
    return HistogramRow(histogram, place, length, records.string(value["counts"]))


def _vector(values: Any, length: int, name: str) -> npt.NDArray[np.float64]:
    vector = np.array(values, np.float64)  # None reads as NaN, "inf" and "-inf" as infinities
    if vector.shape != (length,):
        raise ValueError(f"{name!r:.100} has shape {vector.shape} for {length} probes")
    return vector


def _scales(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The largest absolute values of maps, which are float32."""
    if not ((values >= 0) & (values <= _LARGEST)).all():
        raise ValueError("a scale that is none of a float32 map")
    return values
