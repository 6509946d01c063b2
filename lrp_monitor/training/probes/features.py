"""The channels of layers that are watched: relevance by channel, the leading channels' own heatmaps, references."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike, NDArray

from lrp_monitor.arguments import argument_error
from lrp_monitor.engine.conditional import LayerChannels
from lrp_monitor.engine.explainer import Explainer
from lrp_monitor.engine.inspection import Inspection
from lrp_monitor.engine.surrogates.carriers import LayerOutput
from lrp_monitor.engine.targets import Target
from lrp_monitor.metrics import mask_mass
from lrp_monitor.probes import ProbeSet
from lrp_monitor.store.channels import leading, needed, shares, unused
from lrp_monitor.store.feature_access import FeatureAccess
from lrp_monitor.store.format import LayerFeatures, ProbeInfo
from lrp_monitor.text import percent
from lrp_monitor.training.probes.references import ReferencePictures, wanted_samples
from lrp_monitor.training.tensors.names import layer_names

AUTO = "auto"
CHANNELS = 4
"""Leading channels a class whose heatmaps are logged, where no number is given."""
MOST = 1.5
"""Times that number: channels of a class that are logged at most, those that led once among them.

Each costs a reverse pass and a map for each probe; with more a log would cost more than twice one without features.
"""
REFERENCES_EVERY = 10
"""Logs from one look at the reference samples to the next, besides the first and the last."""
TOP = 8
"""Reference samples that are named for each channel."""
SIDE = 64
"""Pixels a side that a channel's heatmap has at most; larger ones are summed over squares."""


def feature_counts(features: Any) -> dict[str, int]:
    """`features` as {layer: channels a class}, empty for None. ValueError for anything but names and numbers."""
    if features is None:
        return {}
    expected = 'a layer\'s name such as "conv_3", several, {"conv_3": 8} (channels a class), "auto", or None'
    named = dict.fromkeys([features] if isinstance(features, str) else (), CHANNELS)
    if isinstance(features, Mapping):
        named = dict(features)
    elif isinstance(features, list | tuple | set):
        named = dict.fromkeys(features, CHANNELS)
    if not named or not all(isinstance(name, str) and name for name in named):
        of_type = isinstance(features, str | Mapping | list | tuple | set)
        raise argument_error(of_type, f"features={features!r}: expected {expected}")
    for name, count in named.items():
        of_type = isinstance(count, int | np.integer) and not isinstance(count, bool)
        if not of_type or count < 1:
            text = f"features: {name!r} has {count!r} channels a class; expected a whole number >= 1"
            raise argument_error(of_type, text)
    return {name: int(count) for name, count in named.items()}


def reference_samples(
    references: ArrayLike | None, probes: ProbeSet, features: Mapping[str, int]
) -> NDArray[Any] | None:
    """`references` as an array; ValueError where they are of another shape than the probes, or not asked for."""
    if references is None:
        return None
    if not probes.is_single:
        raise ValueError("references: probes of several inputs take none; leave them out")
    found = np.asarray(references)
    if not features:
        raise ValueError(
            "references: they name samples for the channels of features=; give that, too, or leave them out"
        )
    if found.ndim < 1 or found.shape[1:] != probes.sample_shape or not len(found):
        raise ValueError(
            f"references: shape {found.shape}, the probes are of shape {probes.sample_shape} each: give an array "
            f"(samples, {', '.join(map(str, probes.sample_shape))})"
        )
    of_type = found.dtype.kind in "fiub"
    if not of_type or not np.isfinite(found).all():
        raise argument_error(of_type, f"references: expected finite numbers, got an array of {found.dtype}")
    return found


@dataclass
class LoggedFeatures:
    """The channels of some layers, log after log of a fit.

    Attributes:
        asked: {layer as it was named: leading channels a class}, see `feature_counts`.
        references: samples beyond the probes, (m, *sample shape), or None.
    """

    model: keras.Model
    explainer: Explainer
    probes: ProbeSet
    asked: Mapping[str, int]
    references: NDArray[Any] | None = None
    pictures: ReferencePictures | None = field(init=False, default=None)
    """What the session keeps of them; None without references."""
    notes: list[str] = field(default_factory=list)
    """What fell out of the logged channels since this was emptied last, as texts."""
    _names: dict[str, str] = field(default_factory=dict)  # path in the model -> name in the log
    _counts: dict[str, int] = field(default_factory=dict)  # name in the log -> channels a class
    _kept: dict[tuple[str, int], list[int]] = field(default_factory=dict)  # (name, class) -> channels, last led last
    _logs: int = 0
    _named: dict[str, NDArray[np.int64]] = field(default_factory=dict)  # path -> samples of each channel, seen last

    def __post_init__(self) -> None:
        if self.references is not None:
            self.pictures = ReferencePictures(self.references, self.probes, self.notes)

    @property
    def names(self) -> list[str]:
        """The layers as the log names them; empty before the first pass."""
        return list(self._counts)

    @property
    def pixels(self) -> int:
        """How many pixels the channels' maps of a log have at first, together."""
        each = self._smaller(np.zeros((1, *self.probes.map_shape), np.float32)).size
        return len(self.probes) * sum(self._counts.values()) * each

    def choose(self, outputs: Sequence[LayerOutput]) -> list[str]:
        """The paths of the layers asked for, among the outputs that a pass knows. Raises ValueError."""
        named = dict(zip((o.path for o in outputs), layer_names(self.model, [o.path for o in outputs]), strict=True))
        chosen: dict[str, tuple[str, int]] = {}
        for name, count in self.asked.items():
            path = self._auto(outputs) if name == AUTO and AUTO not in named else self._path(name, named)
            output = next(o for o in outputs if o.path == path)
            if output.channels is None:
                raise ValueError(
                    f"features: the output of layer {named[path]!r} ({output.kind}) has shape {(None, *output.shape)}, "
                    "which has no axis of channels; name another layer"
                )
            chosen[path] = named[path], count
        self._names = {path: name for path, (name, _) in chosen.items()}
        self._counts = dict(chosen.values())
        return list(chosen)

    def of(self, inspection: Inspection) -> list[LayerChannels]:
        """The layers asked for, out of an inspection of all. Raises what `choose` raises."""
        outputs = [
            LayerOutput(
                layer.name, layer.kind, layer.shape, None if layer.channels is None else layer.channels.shape[1]
            )
            for layer in inspection.layers
        ]
        return [LayerChannels.of(inspection[path]) for path in self.choose(outputs)]

    def _path(self, name: str, named: Mapping[str, str]) -> str:
        for tried in (
            [path for path, known in named.items() if name in (path, known)],
            [path for path, known in named.items() if path.endswith(f"/{name}") or known.endswith(f"/{name}")],
        ):
            if len(tried) == 1:
                return tried[0]
            if tried:
                raise ValueError(f"features: {name!r} names several layers: {', '.join(named[path] for path in tried)}")
        near = difflib.get_close_matches(name, list(named.values()), 5, 0.4)
        raise ValueError(
            f"features: the model runs no layer {name!r}; "
            + (f"near it: {', '.join(near)}; " if near else "")
            + f"there are {', '.join(named.values())}"
        )

    def _auto(self, outputs: Sequence[LayerOutput]) -> str:
        """The last convolution; with attention, the first dense layer of the last block's feed-forward part."""
        wide = [o for o in outputs if o.channels is not None]
        attention = [at for at, o in enumerate(wide) if "Attention" in o.kind]
        if attention:
            rank = len(wide[attention[-1]].shape)
            behind = [o for o in wide[attention[-1] + 1 :] if "Dense" in o.kind and len(o.shape) == rank]
            return (behind or [wide[attention[-1]]])[0].path
        convolutions = [o for o in wide if "Conv" in o.kind]
        dense = [o for o in wide[:-1] if "Dense" in o.kind]
        if not (convolutions or dense):
            raise ValueError(
                'features="auto": the model has no convolution, no attention and no hidden dense layer; name a layer: '
                f"{', '.join(o.path for o in wide)}"
            )
        return (convolutions or dense)[-1].path

    def resume(self, run: FeatureAccess) -> None:
        """Goes on with the channels that were logged last in a run."""
        headers = [header for header in run.records() if header.features is not None]
        classes = run.explained_classes
        for row in run.feature_rows(headers[-1]).values() if headers else ():
            for probe, channel in zip(row.probe, row.channel, strict=True):
                kept = self._kept.setdefault((row.layer, int(classes[probe])), [])
                if channel not in kept:
                    kept.append(int(channel))

    def prepare(self, target: Target) -> None:
        """Compiles the pass of channels' heatmaps, so that whatever is wrong with it is reported before training."""
        for path in self._names:
            self.explainer.single_channels(self.probes.inputs, path, target).prepare()

    def log(
        self, channels: Sequence[LayerChannels], classes: NDArray[np.int64], target: Target, last: bool
    ) -> tuple[list[LayerFeatures], ProbeInfo | None]:
        """What a step says of the layers, and the reference samples that it is the first to name.

        Args:
            channels: relevance by channel, as the pass gave it.
            classes: (n,) those explained, -1 for a region or none.
            target: what is explained.
            last: whether the fit ends here.
        """
        top: dict[str, tuple[NDArray[np.int64], NDArray[np.float32]]] = {}
        if self.references is not None and (last or self._logs % REFERENCES_EVERY == 0):
            top = self._top(self.references)
        self._logs += 1
        self._named |= {path: numbers for path, (numbers, _) in top.items()}
        found, logged = [], {}
        for one in channels:
            name = self._names[one.layer]
            samples, chosen = self._pairs(name, one.relevance, classes)
            maps, masses = self._maps(one.layer, samples, chosen, target)
            logged[one.layer] = chosen
            relevance, fired = one.relevance.astype(np.float32), np.asarray(one.fired.any(axis=0))
            made = LayerFeatures(
                name, relevance, fired, samples, chosen, maps, masses, *top.get(one.layer, (None, None)))  # fmt: skip
            found.append(made)
        pictures = None if self.pictures is None else self.pictures.take(wanted_samples(self._named, logged))
        return found, pictures

    def _pairs(
        self, name: str, relevance: NDArray[np.float64], classes: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The probes and channels whose maps are logged: those that lead in a probe's class, and that have led."""
        count = self._counts[name]
        explained = sorted({int(c) for c in classes})
        share = shares(relevance, classes, explained)
        samples: list[int] = []
        chosen: list[int] = []
        for number, of_class in zip(explained, share, strict=True):
            led, most = leading(of_class, count).tolist(), math.ceil(MOST * count)
            before = self._kept.get((name, number), [])
            kept = [channel for channel in before if channel not in led] + led[::-1]
            fallen, kept = kept[:-most], kept[-most:]
            self._kept[name, number] = kept
            if fallen:
                self.notes.append(
                    f"features: of {name!r} the heatmaps of channel {', '.join(map(str, fallen))} are no longer logged "
                    f"for {self._class(number)}: more than {most} channels have led there"
                )
            for probe in np.flatnonzero(classes == number):
                samples += [int(probe)] * len(kept)
                chosen += sorted(kept)
        return np.array(samples, np.int64), np.array(chosen, np.int64)

    def _class(self, number: int) -> str:
        names = self.probes.class_names
        return repr(names[number]) if names is not None and 0 <= number < len(names) else f"class {number}"

    def _maps(
        self, path: str, samples: NDArray[np.int64], channels: NDArray[np.int64], target: Target
    ) -> tuple[NDArray[np.float32], dict[str, NDArray[np.float64]]]:
        """The channels' heatmaps, made smaller where they are large, and the masks' shares of the whole ones."""
        masks, probes = self.probes.masks, self.probes
        shape = self._smaller(np.zeros((1, *probes.map_shape), np.float32)).shape[1:]

        def reduced(relevance: Any, of: NDArray[np.int64]) -> NDArray[np.float64]:
            whole = probes.heatmaps(relevance)
            shares = [mask_mass(whole, mask[of])[:, None] for mask in masks.values()]
            return np.concatenate([*shares, self._smaller(whole).reshape(len(of), -1)], axis=1, dtype=np.float64)

        found = np.zeros((0, len(masks) + math.prod(shape)))
        if len(samples):
            found = self.explainer.through(probes.inputs, path, samples, channels, target, reduced=reduced)
        maps = found[:, len(masks) :].astype(np.float32).reshape(-1, *shape)
        return maps, {name: found[:, number].copy() for number, name in enumerate(masks)}

    def _smaller(self, maps: NDArray[np.float32]) -> NDArray[np.float32]:
        """Maps of pictures made smaller; a series' times and channels are no pixels to be summed."""
        return smaller(maps) if self.probes.kind in ("image", "grid") else maps

    def _top(self, references: NDArray[Any]) -> dict[str, tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Path -> the reference samples with the most relevance in each channel for the class predicted of them."""
        found = {}
        for one in self.explainer.channels(references, self.choose)[1]:
            relevance = np.where(np.isfinite(one.relevance), one.relevance, -np.inf).T
            order = np.argsort(-relevance, axis=1, kind="stable")[:, :TOP].astype(np.int64)
            values = np.take_along_axis(relevance, order, axis=1)
            found[one.layer] = order, np.where(np.isfinite(values), values, 0).astype(np.float32)
        return found


def smaller(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Maps (m, height, width) of at most SIDE pixels a side, each the sum of a square; others as they are."""
    if maps.ndim != 3 or max(maps.shape[1:]) <= SIDE:
        return maps
    by = -(-max(maps.shape[1:]) // SIDE)
    height, width = (-(-side // by) for side in maps.shape[1:])
    padded = np.zeros((len(maps), height * by, width * by), np.float32)
    padded[:, : maps.shape[1], : maps.shape[2]] = maps
    return padded.reshape(len(maps), height, by, width, by).sum(axis=(2, 4), dtype=np.float32)


def feature_scalars(features: Sequence[LayerFeatures]) -> dict[str, float]:
    """Three scalars of each layer.

    lrp/features/<layer>/needed (channels for 90 % of the positive relevance of all probes), unused (without relevance
    on any probe) and dead (never fired).
    """
    scalars = {}
    for one in features:
        share = shares(one.relevance, np.zeros(len(one.relevance), np.int64), [0])[0]
        prefix = f"lrp/features/{one.layer}"
        scalars[f"{prefix}/needed"] = float(needed(share))
        scalars[f"{prefix}/unused"] = float(np.count_nonzero(unused(one.relevance)))
        scalars[f"{prefix}/dead"] = float(np.count_nonzero(~one.fired))
    return scalars


def carriers_of(mask: str, features: Sequence[LayerFeatures], most: int = 3) -> str:
    """The channels whose own maps lie in a mask most, as text for an alert; empty where none do.

    Ordered by what their maps hold in the mask together, over all probes; the text gives the mean share of those maps.
    """
    parts = []
    for one in features:
        values = one.masses.get(mask)
        if values is None or one.maps is None:
            continue
        flat = one.maps.reshape(len(one.maps), -1)
        inside = np.nan_to_num(values) * np.where(flat > 0, flat, 0).sum(axis=1, dtype=np.float64)
        amount = np.bincount(one.channel, inside, one.channels)
        for channel in leading(amount / amount.sum() if amount.sum() > 0 else np.zeros(one.channels), most):
            own = values[(one.channel == channel) & np.isfinite(values)]
            if len(own):
                parts.append(f"{channel} of {one.layer!r} ({percent(float(own.mean()))} of its own relevance)")
    return f"; carried by channel {', '.join(parts)}" if parts else ""
