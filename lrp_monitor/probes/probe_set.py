"""ProbeSet: the fixed, small set of samples whose heatmaps are watched over training.

Knows NumPy alone. Everything about the set is settled (and checked) when it is made: inputs, labels, names,
masks and which class is explained, so that the same probes mean the same thing at every step, in every run
and on every machine; `ProbeSet.hash` says so in 64 hexadecimal digits.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lrp_monitor.probes import checks as check
from lrp_monitor.probes import files
from lrp_monitor.probes.digest import hash_of
from lrp_monitor.probes.encoded import encoded_inputs
from lrp_monitor.probes.from_data import FromData
from lrp_monitor.probes.inputs import ProbeInput, arranged, inputs_of, iter_spans, leaves_of
from lrp_monitor.probes.labels import read_labels
from lrp_monitor.probes.masks import located
from lrp_monitor.probes.options import ChannelAxes, FeatureNames, Kinds, Tokens
from lrp_monitor.probes.regions import is_region, of_rows, position

if TYPE_CHECKING:
    from lrp_monitor.probes.options import ProbeTarget


class ProbeSet(FromData):
    """A fixed set of n samples to explain again and again.

    kind, channel_axis, feature_names and tokens are dicts by input where there are several.

    Raises TypeError or ValueError that names the argument and the way out.

    Args:
        inputs: (n, ...) finite floats, integers or booleans, as the model takes them, or for a model with several
            inputs a tuple, list or dict of such arrays (a list of arrays of one shape and type is a list of samples);
            kept as a read-only copy, from 8 MiB on in a temporary file. Heatmaps of several inputs are kept as one row
            of values each, see `split`.
        labels: (n,) integers >= 0, or one-hot (n, k), of classes; rows (n, k) of 0 and 1 that are not all one-hot are
            sets of classes (see `label_sets`, `multi_label`); whole numbers (n, *places) are classes of all places of
            an output of maps, such as pixels, tokens or time steps (see `label_maps`; of a single axis of places with
            a target that names one); floats (n,), (n, 1) or (n, units) are numbers that a regression is to predict (see
            `numbers`); None where there are none.
        names: n unique strings. Default "probe 0", "probe 1", ... or, with labels and class_names, "triangle 0",
            "triangle 1", ...
        class_names: one string a class.
        masks: {name: region}; a region is a boolean (or 0/1) array of the map's shape or (n, *map shape), a tuple of
            slices (``np.s_[2:7, 3:8]``), four integers (top, left, bottom, right), half open, or names of features or
            tokens (``["age"]``); of several inputs {input: region}. A probe whose mask is empty has no mask mass and is
            left out of means.
        target: the class explained: "label" (the default where labels are given), "predicted" (argmax at the first log,
            kept ever after; the default without labels), one integer, n integers, or, for an output of maps such as a
            segmentation net's, a `targets.Region(where, of)` or `targets.Outputs(weights)`, whose logits are summed
            ("predicted" is then the region that is predicted when the run begins, see `targets.predicted_region`), or a
            `targets.Position(at, of)`, a class at one place of such an output. Of labels that are numbers the unit of
            the output; needed where there are several. Of sets of classes "label" is the first of each.
        channel_axis: axis of `inputs` that heatmaps are summed over; "auto" is the last one where a sample has three
            axes or more, else none. None: no axis (the map has the sample's shape).
        display: (n, H, W), (n, H, W, 1) or (n, H, W, 3) pictures to show in place of the inputs.
        kind: what a sample is, which says how it is shown: "image", "volume", "series" (time, channels), "tokens" (ids
            of them, or embeddings where `tokens` are given), "table" (a row of features) or "grid". None tells by the
            shape: one axis is a row of a table, or of 32-bit integers and wider a text of tokens; two are a series
            where there are at most 16 channels and twice as many times, else a picture; three a picture, four a volume.
        feature_names: the names of a table's features, or a series' channels.
        tokens: n sequences of texts, one a token, or a function from a sample's ids to them. A sequence may end before
            its sample where what follows is padding, the same id throughout, which no token with a text has.
        watch: of several inputs the names of those that are explained (a list's are "0", "1" ...); the others are given
            to the model alone. None: all that are not boolean.
        multi_label: whether labels (n, k) of 0 and 1 are sets of classes, for a model whose classes do not exclude each
            other. None: where not all of them are one-hot.
        model: of a model that takes texts (its layers are TextVectorization, StringLookup, FeatureSpace's) the model
            itself; `inputs` are then as it takes them, strings among them, and what these layers make of them has
            heatmaps, with the words as tokens. See `model_behind`.
    """

    def __init__(
        self,
        inputs: Any,
        labels: ArrayLike | None = None,
        *,
        names: Sequence[str] | None = None,
        class_names: Sequence[str] | None = None,
        masks: Mapping[str, Any] | None = None,
        target: ProbeTarget = None,
        channel_axis: ChannelAxes = "auto",
        display: ArrayLike | None = None,
        kind: Kinds = None,
        feature_names: FeatureNames = None,
        tokens: Tokens = None,
        watch: Sequence[str] | str | None = None,
        multi_label: bool | None = None,
        model: Any = None,
    ) -> None:
        self.is_encoded = model is not None
        """Whether the inputs are those behind a model's own encodings of strings."""
        if model is not None:
            shown: dict[str, Any] = {"kind": kind, "feature_names": feature_names, "tokens": tokens}
            inputs, shown = encoded_inputs(model, inputs, shown)
            kind, feature_names, tokens = shown["kind"], shown["feature_names"], shown["tokens"]
        self.parts, self._structure = inputs_of(
            inputs, kind=kind, channel_axis=channel_axis, watch=watch, feature_names=feature_names, tokens=tokens
        )
        """All inputs of the model, in the order given; those with `watched` have heatmaps."""
        n = len(self)
        self.class_names = check.checked_class_names(class_names)
        found = read_labels(labels, n, self.class_names, target, multi_label)
        self.given_labels = found.given
        """The labels, whatever form they have of those below; None without labels."""
        self.labels = found.classes
        """The class of each probe, int64 (n,); None where labels are something else, or not given."""
        self.label_sets = found.sets
        """Labels that are sets of classes: boolean (n, classes). None for others."""
        self.numbers = found.numbers
        """Labels of a regression: float64 (n, units). None for others."""
        self.label_maps = found.maps
        """Classes of all places of an output of maps: int64 (n, *places), negative for none. None for others."""
        self.target, self.targets = found.target, found.targets
        self.position = found.position
        """The place of an output of maps of which a class is explained: int64 (n, axes). None without one."""
        named = self.targets if self.label_sets is not None else self.labels
        self.names = check.checked_names(names, n, named, self.class_names)
        self.masks = check.checked_masks(located(masks, self.parts, self.map_shape), self.map_shape, n)
        self.region = target if is_region(target) else None
        """What is explained where it is no class: a target of `lrp_monitor.targets`; else None."""
        self._display = None if display is None else check.checked_display(display, n)

    def __len__(self) -> int:
        return len(self.parts[0])

    def __repr__(self) -> str:
        masks = f", masks {', '.join(self.masks)}" if self.masks else ""
        shapes = ", ".join(
            f"{'' if self.is_single else f'{part.name!r} '}{part.sample_shape} {part.values.dtype}"
            for part in self.parts
        )
        what = "of shape" if self.is_single else "of inputs"
        return f"ProbeSet({len(self)} probes {what} {shapes}, target {self.target}{masks})"

    @property
    def is_single(self) -> bool:
        """Whether the set was made of one array."""
        return not isinstance(self._structure, Mapping | list | tuple)

    @property
    def inputs(self) -> Any:
        """The inputs as the model takes them: an array (n, ...), or the structure of arrays that was given."""
        return self.arranged(self.leaves)

    def rows(self, chosen: Any) -> Any:
        """The inputs of some probes, an index or a slice, as the model takes them."""
        return self.arranged([values[chosen] for values in self.leaves])

    @property
    def leaves(self) -> list[NDArray[Any]]:
        """The arrays of all inputs, in the order given."""
        return [part.values for part in self.parts]

    def arranged(self, leaves: Sequence[Any]) -> Any:
        """Leaves in the structure of the inputs: as `inputs` has the arrays of `leaves`."""
        return arranged(self._structure, leaves)

    @property
    def shown(self) -> ProbeInput:
        """The input that stands for a probe where there is room for one: the first watched one that is a picture."""
        watched = [part for part in self.parts if part.watched]
        return next((part for part in watched if part.kind in ("image", "volume")), watched[0])

    @property
    def kind(self) -> str:
        """What a sample is: "image", "volume", "series", "tokens", "table" or "grid"; of several inputs `shown`'s."""
        return self.shown.kind

    @property
    def is_picture(self) -> bool:
        """Whether a probe is a picture, or a volume of them, and nothing else."""
        kinds = [part.kind for part in self.parts if part.watched]
        return len(kinds) == 1 and kinds[0] in ("image", "grid", "volume")

    @property
    def channel_axis(self) -> int | None:
        """The axis of the one watched input that heatmaps are summed over; None where there is none, or several."""
        watched = [part for part in self.parts if part.watched]
        return watched[0].channel_axis if len(watched) == 1 else None

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one sample; of several inputs that of the shown one."""
        return self.shown.sample_shape

    @property
    def map_shape(self) -> tuple[int, ...]:
        """Shape of one heatmap: the sample's without its channel axis.

        Of several watched inputs (values,): their maps, each flattened, one after the other; see `split`.
        """
        spans = list(iter_spans(self.parts))
        return spans[0][0].map_shape if len(spans) == 1 else (spans[-1][1].stop,)

    def heatmaps(self, relevance: Any) -> NDArray[np.float32]:
        """Relevance of inputs -> heatmaps, summed over channels in float64.

        Returns float32 (m, *map_shape). ValueError on another shape.

        Args:
            relevance: (m, *sample_shape), any m, or for several inputs the structure of such arrays that they are in.
        """
        leaves = leaves_of(self._structure, relevance)
        maps = [part.heatmaps(leaf) for part, leaf in zip(self.parts, leaves, strict=True) if part.watched]
        if len(maps) == 1:
            return maps[0]
        return np.concatenate([each.reshape(len(each), -1) for each in maps], axis=1)

    @property
    def channels(self) -> int:
        """How many channels the heatmaps are summed over; of several inputs the most of any. 0 where there are none."""
        axes = [(part.values.shape, part.channel_axis) for part in self.parts if part.watched]
        return max((shape[axis] for shape, axis in axes if axis is not None), default=0)

    def by_channel(self, relevance: Any) -> NDArray[np.float32] | None:
        """The heatmaps' parts by channel, (m, *map_shape, c); None where they are not summed over channels.

        Of several inputs c is `channels`: one that has fewer, or none, has 0 behind its own; see `ProbeInfo.split`.
        """
        if self.channels == 0:
            return None
        leaves = leaves_of(self._structure, relevance)
        parts = [part.by_channel(leaf) for part, leaf in zip(self.parts, leaves, strict=True) if part.watched]
        if len(parts) == 1:
            return parts[0]
        found = np.zeros((len(parts[0]), *self.map_shape, self.channels), np.float32)
        for part, (_, span) in zip(parts, iter_spans(self.parts), strict=True):
            found[:, span, : part.shape[-1]] = part.reshape(len(part), -1, part.shape[-1])
        return found

    def split(self, heatmaps: ArrayLike) -> dict[str, NDArray[Any]]:
        """Heatmaps (m, *map_shape) by the watched inputs' names, each (m, *its own map shape)."""
        flat = np.asarray(heatmaps)
        flat = flat.reshape(len(flat), -1)
        return {part.name: flat[:, span].reshape(-1, *part.map_shape) for part, span in iter_spans(self.parts)}

    @property
    def images(self) -> NDArray[np.uint8]:
        """The probes as pictures, uint8 (n, H, W, 1 or 3).

        `display` where it was given, else the inputs. uint8 values are kept; anything else is mapped
        linearly with one range for the whole set: its minimum is 0, its maximum 255 (a constant set is 0).
        Three channels are red, green, blue; one is grey; any other number is averaged to grey. (F,) becomes
        one row (1, F), (T, C) an image of T rows, a volume (D, H, W) a montage of its D slices, row by row
        in a grid of ceil(sqrt(D)) columns, the rest 0 (further leading axes are flattened into D). Of several
        inputs `shown` is drawn.
        """
        return check.read_only(self.shown.pictures()) if self._display is None else self._display

    @property
    def statistics(self) -> dict[str, list[float]]:
        """The inputs' "min", "max", "mean" and "std" per channel (one entry without a channel axis); `shown`'s."""
        return self.shown.statistics

    @property
    def hash(self) -> str:
        """SHA-256 (hexadecimal) over dtype, shape, bytes of inputs, labels, targets, masks, and names."""
        return hash_of(self)

    def select(self, indices: ArrayLike) -> ProbeSet:
        """The probes at `indices` (integers, or a boolean (n,)), in that order, as a set of their own.

        Masks that cover none of them are dropped. ValueError where nothing is selected.
        """
        wanted = np.atleast_1d(np.asarray(indices))
        chosen = np.arange(len(self))[wanted if wanted.size else slice(0)]
        if not len(chosen):
            raise ValueError("indices select no probe; a set needs at least one")
        labels = self.given_labels
        found = ProbeSet(
            self.rows(chosen),
            None if labels is None else labels[chosen],
            names=[self.names[i] for i in chosen],
            class_names=self.class_names,
            masks={name: mask[chosen] for name, mask in self.masks.items() if mask[chosen].any()},
            target=self._target_of(chosen),
            display=None if self._display is None else self._display[chosen],
            multi_label=self.label_sets is not None or None,
            **self._options([part.select(chosen) for part in self.parts]),
        )
        found.is_encoded = self.is_encoded
        return found

    def model_behind(self, model: Any) -> Any:
        """The model whose inputs the probes are: `model`, or of an encoded set the part behind its encodings.

        ValueError where it has no such part.
        """
        if not self.is_encoded:
            return model
        from lrp_monitor.encodings import encoded  # Keras' side, for those who have such a model

        return encoded(model).behind

    def _options(self, parts: Sequence[ProbeInput]) -> dict[str, Any]:
        """What `__init__` takes besides for these inputs."""
        options = ("kind", "channel_axis", "feature_names", "tokens")
        by_name = {option: {part.name: getattr(part, option) for part in parts} for option in options}
        if self.is_single:
            return {argument: next(iter(values.values())) for argument, values in by_name.items()}
        return by_name | {"watch": [part.name for part in parts if part.watched]}

    def _target_of(self, chosen: NDArray[Any]) -> Any:
        if self.region is not None:
            return of_rows(self.region, chosen, len(self))
        of = self.targets[chosen] if self.target == "given" and self.targets is not None else self.target
        return of if self.position is None else position(self.position[chosen], of)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the set to one .npz file (no pickle), in one step: a reader never sees half of it.

        ValueError where it is larger than `load` reads.
        """
        files.save(path, self._contents(), self.parts, self._structure)

    def _contents(self) -> dict[str, Any]:
        return {
            "names": self.names,
            "class_names": self.class_names,
            "masks": self.masks,
            "target": self.target,
            "labels": self.given_labels,
            "targets": self.targets,
            "position": self.position,
            "multi_label": self.label_sets is not None or None,
            "is_encoded": self.is_encoded,
            "display": self._display,
            "region": self.region,
        }

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ProbeSet:
        """Read a set that `save` wrote: at most `archives.MAX_ARRAY_BYTES` of arrays, nothing unpickled.

        FileNotFoundError; ValueError (naming the file) on anything else.
        """
        return files.load(path, cls)
