"""What the store holds, as plain data: probes, steps, histograms, and the store's errors."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Encoding = Literal["sqrt8", "float16", "float32"]
HistogramKind = Literal["weight", "gradient"]

ENCODINGS: tuple[Encoding, ...] = ("sqrt8", "float16", "float32")
HISTOGRAM_KINDS: tuple[HistogramKind, ...] = ("weight", "gradient")
PLUGIN_NAME = "lrp_monitor"
BUCKETS = 2048
"""Number of values that the top 11 bits of a float32 can take."""
MOST_PIXELS = 1 << 27
"""Pixels that all heatmaps of a step may have together, and all maps by channel: 512 MiB as float32.

What is read must have a bound that does not come from the file: deflate shrinks zeros a thousandfold."""
MOST_PICTURE_BYTES = 1 << 30
"""Bytes that the probes' pictures and masks may take together, one a pixel and channel."""
MOST_HISTOGRAMS = 1 << 16
"""Histograms that a step may hold."""
MOST_CHANNELS = 1 << 16
"""Channels that a layer may have whose features are logged."""
MOST_CHANNEL_MAPS = 1 << 16
"""Channels' own heatmaps that a step may hold of one layer."""
MOST_AXES = 16
"""Axes that a heatmap may have."""


class StoreError(Exception):
    """The store cannot do what was asked; the message names the path or the argument, and the way out."""


class StoreOSError(StoreError, OSError):
    """A store error that the operating system reported (no permission, disk full, not a directory ...)."""

    def __init__(self, message: str, errno: int | None = None) -> None:
        super().__init__(message)
        self.errno = errno
        self.message = message

    def __str__(self) -> str:
        return self.message


INPUT_KINDS = ("image", "volume", "series", "tokens", "table", "grid")
"""What a sample of an input can be; a reader draws a kind that it does not know as a grid."""


@dataclass
class InputInfo:
    """One watched input of the model, as it is shown to a person.

    ``kind`` is one of ``INPUT_KINDS``. ``map_shape`` is its heatmaps' shape, ``input_shape`` a sample's.
    ``feature_names`` name a table's columns or a series' channels. ``tokens`` has one text a token for each probe.
    ``values`` float32 (n, *input_shape) are there for series, tables and tokens; ``pictures`` uint8 (n, H, W, 1 or 3)
    for the others where there are several inputs (of one they are the probes' ``images``).
    """

    name: str
    kind: str
    map_shape: tuple[int, ...]
    input_shape: tuple[int, ...]
    feature_names: list[str] | None = None
    tokens: list[list[str]] | None = None
    values: npt.NDArray[np.float32] | None = None
    pictures: npt.NDArray[np.uint8] | None = None

    @property
    def channels(self) -> int:
        """How many channels its heatmaps are summed over; 1 where they are not."""
        return math.prod(self.input_shape) // max(1, math.prod(self.map_shape))

    def of(self, probes: list[int]) -> InputInfo:
        """The same of some probes."""
        return replace(
            self,
            tokens=None if self.tokens is None else [self.tokens[i] for i in probes],
            values=None if self.values is None else self.values[probes],
            pictures=None if self.pictures is None else self.pictures[probes],
        )


@dataclass
class ProbeInfo:
    """The probes of a run as they are shown to a person.

    ``images`` is uint8 (n, H, W, C) with C 1 or 3; ``masks`` maps a name to a boolean array (n, *map_shape);
    ``statistics`` holds per-channel ``min``, ``max``, ``mean`` and ``std`` of the inputs, in input units.
    ``hash`` (hexadecimal) says whether two runs look at the same probes. ``region`` (n, *map of the model's output),
    boolean, and ``region_of`` (n,) say of a model that gives maps which places of which of them are explained; None
    where a class is.
    """

    names: list[str]
    labels: npt.NDArray[np.int64] | None
    class_names: list[str] | None
    images: npt.NDArray[np.uint8]
    masks: dict[str, npt.NDArray[np.bool_]]
    map_shape: tuple[int, ...]
    hash: str
    input_shape: tuple[int, ...] = ()
    statistics: dict[str, list[float]] = field(default_factory=dict)
    region: npt.NDArray[np.bool_] | None = None
    region_of: npt.NDArray[np.int64] | None = None
    inputs: list[InputInfo] = field(default_factory=list)
    """The watched inputs; of several each heatmap is their maps, flattened, one after the other. Empty in runs from
    before they were kept: one input, shown as its picture."""
    numbers: npt.NDArray[np.float64] | None = None
    """What a regression is to predict, (n, units), in place of ``labels``."""
    label_sets: npt.NDArray[np.bool_] | None = None
    """Labels that are sets of classes, boolean (n, classes), in place of ``labels``."""
    label_maps: npt.NDArray[np.int64] | None = None
    """The class of each place of an output of maps, (n, *places), negative for none."""
    position: npt.NDArray[np.int64] | None = None
    """The place of an output of maps of which a class is explained, (n, axes), from the end where it is negative."""

    def __len__(self) -> int:
        return len(self.names)

    def of(self, chosen: Sequence[int]) -> ProbeInfo:
        """Some of the probes, by their places, as a set of their own; all of them in their order: the set itself."""
        at = list(chosen)
        if at == list(range(len(self))):
            return self
        others: dict[str, Any] = {
            name: values[at]
            for name in ("labels", "region", "region_of", "numbers", "label_sets", "label_maps", "position")
            if (values := getattr(self, name)) is not None
        }
        return replace(
            self,
            names=[self.names[i] for i in at],
            images=self.images[at],
            masks={name: flags[at] for name, flags in self.masks.items()},
            inputs=[one.of(at) for one in self.inputs],
            **others,
            hash=hashlib.sha256(json.dumps([self.hash, at]).encode()).hexdigest(),
        )

    @classmethod
    def joined(cls, parts: Sequence[ProbeInfo]) -> ProbeInfo:
        """Probes without labels and masks, of several sets of the same inputs, as one set."""

        def together(values: list[Any]) -> Any:
            return None if values[0] is None else np.concatenate(values)

        first = parts[0]
        inputs = [
            replace(
                one,
                tokens=None if one.tokens is None else [row for part in parts for row in part.inputs[at].tokens or ()],
                values=together([part.inputs[at].values for part in parts]),
                pictures=together([part.inputs[at].pictures for part in parts]),
            )
            for at, one in enumerate(first.inputs)
        ]
        names = [name for part in parts for name in part.names]
        digest = hashlib.sha256(json.dumps([part.hash for part in parts]).encode()).hexdigest()
        images = np.concatenate([part.images for part in parts])
        return replace(first, names=names, images=images, inputs=inputs, hash=digest)

    @property
    def label_lists(self) -> dict[str, list[list[int]]]:
        """Sets of labels and positions as plain data, by their names: a list of numbers a probe; what there is."""
        found = {}
        if self.label_sets is not None:
            found["label_sets"] = [np.flatnonzero(row).tolist() for row in self.label_sets]
        if self.position is not None:
            found["position"] = self.position.tolist()
        return found

    def split(self, heatmaps: npt.ArrayLike) -> dict[str, npt.NDArray[np.float32]]:
        """Heatmaps (m, *map_shape) by the inputs' names, each (m, *its own map shape).

        Or maps by channel (m, *map_shape, c), as `Run.channels` gives them: each then (m, *its own map shape, its own
        channels). ValueError on another shape.
        """
        maps = np.asarray(heatmaps, np.float32)
        axes = 1 + len(self.map_shape)
        if maps.shape[1:axes] != self.map_shape or maps.ndim > axes + 1:
            raise ValueError(f"heatmaps of shape {maps.shape}; those of these probes are (m, *{self.map_shape})")
        flat, found, end = maps.reshape(len(maps), -1, *maps.shape[axes:]), {}, 0
        for one in self.inputs:
            size = math.prod(one.map_shape)
            part = flat[:, end : end + size].reshape(-1, *one.map_shape, *maps.shape[axes:])
            found[one.name] = part if maps.ndim == axes else part[..., : one.channels]
            end += size
        return found or {"inputs": maps}


@dataclass
class Histogram:
    """Counts of one tensor's values in buckets of the float32 format.

    A finite normal value falls into bucket ``bits >> 21`` (sign, 8 bits of exponent, 2 of mantissa), see
    ``bucket_edges``. ``buckets`` is uint16 (m,), ``counts`` int64 (m,), only buckets that hold something need
    to be listed. Zeros, denormals, NaN and infinite values are counted apart. ``minimum``, ``maximum`` (None
    where there is no finite value) and ``norm`` (Euclidean) are over the finite values. A tensor without
    gradient has ``note`` "no gradient" and no counts.
    """

    kind: HistogramKind
    name: str
    size: int
    zeros: int = 0
    denormals: int = 0
    nan: int = 0
    inf: int = 0
    minimum: float | None = None
    maximum: float | None = None
    norm: float = 0.0
    buckets: npt.NDArray[np.uint16] = field(default_factory=lambda: np.zeros(0, np.uint16))
    counts: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    note: str = ""


@dataclass
class LayerFeatures:
    """What a step says of the channels of one layer.

    ``relevance`` is float32 (n, channels), the relevance at the layer's output by probe and channel; ``fired`` is
    boolean (channels,), whether the channel was not 0 for any probe. ``probe`` and ``channel`` (m,) name the channels'
    own heatmaps ``maps``, float32 (m, *shape), a map for each pair; their resolution may be lower than the probes'.
    ``masses`` maps a mask to float64 (m,), the share of each map's positive relevance inside. ``top`` (channels, k) are
    the reference samples with the most relevance in each channel, the largest first, and ``top_relevance`` (channels,
    k) that relevance; None where the step saw none.
    """

    layer: str
    relevance: npt.NDArray[np.float32]
    fired: npt.NDArray[np.bool_]
    probe: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    channel: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    maps: npt.NDArray[np.float32] | None = None
    masses: dict[str, npt.NDArray[np.float64]] = field(default_factory=dict)
    top: npt.NDArray[np.int64] | None = None
    top_relevance: npt.NDArray[np.float32] | None = None

    @property
    def channels(self) -> int:
        """How many channels the layer has."""
        return len(self.fired)

    def map(self, probe: int, channel: int) -> npt.NDArray[np.float32]:
        """A channel's own heatmap of a probe. KeyError that says what there is where it is not stored."""
        found = np.flatnonzero((self.probe == probe) & (self.channel == channel))
        if self.maps is None or not len(found):
            held = sorted({int(c) for p, c in zip(self.probe, self.channel, strict=True) if p == probe})
            raise KeyError(
                f"no map of channel {channel} of {self.layer!r} for probe {probe}: "
                + ("no maps are stored at this step" if self.maps is None else f"there are those of channels {held}")
            )
        return self.maps[int(found[0])]


@dataclass
class StepRecord:
    """One logged step.

    ``heatmaps`` is float32 (n, *map_shape) or None where no maps are to be stored; ``channels``, float32
    (n, *map_shape, c), are the parts of each heatmap by input channel, or None; ``probes`` maps the name of a
    statistic to float64 (n,); ``scalars`` maps a tag to a number; ``wall_time`` is in seconds since the epoch of
    the clock; ``gradient_batch`` is the batch, counted over the whole run, whose gradient the histograms show;
    ``last_of_fit`` says that the fit ended, as it was asked to, in this state; ``features`` are the channels of the
    layers that are watched.
    """

    step: int
    epoch: int
    batch: int
    wall_time: float
    heatmaps: npt.NDArray[np.float32] | None = None
    probes: dict[str, npt.NDArray[np.float64]] = field(default_factory=dict)
    scalars: dict[str, float] = field(default_factory=dict)
    histograms: list[Histogram] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    gradient_batch: int | None = None
    channels: npt.NDArray[np.float32] | None = None
    last_of_fit: bool = False
    features: list[LayerFeatures] = field(default_factory=list)
    predicted_maps: npt.NDArray[np.int64] | None = None
    """The predicted class of each place of an output of maps, (n, *places), -1 for none; kept where maps are."""
    references: ProbeInfo | None = None
    """Reference samples that `features` names and no earlier step of the session held, named by their numbers."""


def bucket_edges(bucket: int) -> tuple[float, float]:
    """The range of values of a histogram bucket: (left, right), left < right, both exact.

    Neighbouring buckets of one sign share an edge. The edge nearer to zero belongs to the bucket, the other
    one does not; the outermost edge is 2**128, just beyond the largest float32. Raises ValueError for a
    bucket outside 0..2047 and for the buckets of infinities and NaN.
    """
    if not 0 <= bucket < BUCKETS:
        raise ValueError(f"bucket must be between 0 and {BUCKETS - 1}, got {bucket}")
    negative, exponent, quarter = bucket >> 10, (bucket >> 2) & 0xFF, bucket & 3
    if exponent == 0xFF:
        raise ValueError(f"bucket {bucket} is that of infinities and NaN: it has no edges")
    # Exponent 0 is the format's denormal range: no hidden one, same unit as exponent 1.
    hidden = 0 if exponent == 0 else 4
    unit = max(exponent, 1) - 127 - 2
    near, far = math.ldexp(hidden + quarter, unit), math.ldexp(hidden + quarter + 1, unit)
    return (-far, -near) if negative else (near, far)
