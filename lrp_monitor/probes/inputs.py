"""The inputs of a probe set: each with its values, what kind of thing a sample of it is, and the form of its heatmap.

A model may take one array or several. Each input is watched, so that it has heatmaps, or is given to the model alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from lrp_monitor.mapped import let_go
from lrp_monitor.probes import checks as check
from lrp_monitor.probes.options import Kind

KINDS = get_args(Kind)

_SINGLE = "inputs"
# Of two axes (time, channels): so few channels, and at least twice as many times. Anything else is a picture.
_MOST_CHANNELS = 16


@dataclass(frozen=True)
class ProbeInput:
    """One input of the model for all probes.

    Attributes:
        values: (n, *sample shape), read-only.
        kind: one of KINDS.
        channel_axis: the axis of `values` that heatmaps are summed over, or None.
        watched: whether it has heatmaps.
        feature_names: one text for each value of a table's row, or each channel of a series.
        tokens: for each probe one text a token.
    """

    name: str
    values: NDArray[Any]
    kind: str
    channel_axis: int | None
    watched: bool = True
    feature_names: tuple[str, ...] | None = None
    tokens: tuple[tuple[str, ...], ...] | None = None

    def __len__(self) -> int:
        return len(self.values)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return tuple(self.values.shape[1:])

    @property
    def map_shape(self) -> tuple[int, ...]:
        """Shape of one heatmap: the sample's without its channel axis."""
        if self.channel_axis is None:
            return self.sample_shape
        at = self.channel_axis - 1
        return self.sample_shape[:at] + self.sample_shape[at + 1 :]

    @property
    def size(self) -> int:
        """Values of one heatmap."""
        return math.prod(self.map_shape)

    def heatmaps(self, relevance: Any) -> NDArray[np.float32]:
        """Relevance of samples (m, *sample shape) -> heatmaps (m, *map shape), summed over channels in float64.

        ValueError on another shape.
        """
        values = np.asarray(relevance)
        if values.ndim != self.values.ndim or values.shape[1:] != self.sample_shape:
            raise ValueError(
                f"relevance has shape {values.shape}; expected that of the {self.name}, {self.values.shape}, "
                "or another number of samples of it"
            )
        if self.channel_axis is None:
            return values.astype(np.float32)
        heatmaps = np.empty((len(values), *self.map_shape), np.float32)
        for heatmap, one in zip(heatmaps, values, strict=True):
            heatmap[...] = one.sum(axis=self.channel_axis - 1, dtype=np.float64)
        return heatmaps

    def by_channel(self, relevance: NDArray[Any]) -> NDArray[Any]:
        """Relevance of samples (m, *sample shape) -> the heatmaps' parts by channel, (m, *map shape, c), c >= 1."""
        return relevance[..., None] if self.channel_axis is None else np.moveaxis(relevance, self.channel_axis, -1)

    def pictures(self, ends: tuple[float, float] | None = None) -> NDArray[np.uint8]:
        """The samples as pictures, uint8 (n, H, W, 1 or 3); see `ProbeSet.images`.

        Args:
            ends: the values that are drawn as 0 and 255; those beyond are clipped. None: the smallest and the largest.
        """
        values = self.by_channel(self.values)
        if values.shape[-1] not in (1, 3):
            values = values.mean(axis=-1, keepdims=True, dtype=np.float64)
        drawn = montage(check.to_uint8(values, ends))
        let_go(self.values)
        return drawn

    @property
    def statistics(self) -> dict[str, list[float]]:
        """The values' "min", "max", "mean" and "std" per channel (one entry without a channel axis)."""
        values = self.by_channel(self.values)
        axes, count = tuple(range(values.ndim - 1)), values.size // values.shape[-1]
        mean = values.sum(axis=axes, dtype=np.float64) / count
        squares = np.zeros(values.shape[-1])
        for one in values:  # one by one: in float64 all of them take twice their memory and more
            squares += ((one - mean) ** 2).sum(axis=axes[:-1])
        found = {
            "min": values.min(axis=axes).astype(np.float64).tolist(),
            "max": values.max(axis=axes).astype(np.float64).tolist(),
            "mean": mean.tolist(),
            "std": np.sqrt(squares / count).tolist(),
        }
        let_go(self.values)
        return found

    def places(self, names: Sequence[str]) -> NDArray[np.bool_]:
        """Where features or tokens of these names are, boolean (n, *map shape). ValueError for a name of none."""
        found = np.zeros((len(self), *self.map_shape), bool)
        for name in names:
            if self.feature_names is not None and name in self.feature_names:
                found[..., self.feature_names.index(name)] = True
            elif self.tokens is not None and any(name in texts for texts in self.tokens):
                for row, texts in zip(found, self.tokens, strict=True):
                    row[np.array([text == name for text in texts])] = True
            else:
                known = "" if self.feature_names is None else f"; there are {', '.join(self.feature_names[:20])}"
                what = "feature" if self.tokens is None else "token"
                raise ValueError(f"{name!r} is no {what} of {self.name!r}{known}")
        return found

    def select(self, chosen: NDArray[np.intp]) -> ProbeInput:
        """The same of some probes."""
        tokens = None if self.tokens is None else tuple(self.tokens[int(i)] for i in chosen)
        values = check.read_only(self.values[chosen])
        return ProbeInput(self.name, values, self.kind, self.channel_axis, self.watched, self.feature_names, tokens)


def inputs_of(
    inputs: Any,
    *,
    kind: Any,
    channel_axis: Any,
    watch: Any,
    feature_names: Any,
    tokens: Any,
) -> tuple[tuple[ProbeInput, ...], Any]:
    """The inputs of a set, and the structure that they came in: a list, tuple or dict of positions, or 0 for one array.

    Args:
        inputs: as `ProbeSet` takes them, and so all the others: for one input the value itself, for several a dict by
            the input's name (its key, or its position in the list).

    Raises:
        ValueError: that names the argument.
    """
    named = _named(inputs)
    if named is None:
        leaves, structure = {_SINGLE: inputs}, 0
        asked = [{} if value is None else {_SINGLE: value} for value in (kind, feature_names, tokens)]
        axes: dict[str, Any] = {_SINGLE: channel_axis}
        watched = {_SINGLE}
        if watch is not None:
            raise ValueError(f"watch={watch!r}: the set has one input, which is watched; leave watch out")
    else:
        leaves, structure = named
        asked = [
            _by_name(argument, value, leaves)
            for argument, value in (("kind", kind), ("feature_names", feature_names), ("tokens", tokens))
        ]
        axes = {} if channel_axis == "auto" else _by_name("channel_axis", channel_axis, leaves)
        watched = _watched(watch, leaves)
    kinds, features, texts = asked
    found = []
    for name, given in leaves.items():
        what = "inputs" if named is None else f"inputs[{name!r}]"
        values = check.checked_inputs(given, what)
        found.append(
            _input(
                name, values, what, kinds.get(name), axes.get(name, "auto"), name in watched, features.get(name),
                texts.get(name),
            )
        )  # fmt: skip
    lengths = {part.name: len(part) for part in found}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name!r}: {length}" for name, length in lengths.items())
        samples = "; where each array is a sample, bring all to one shape" if isinstance(inputs, list) else ""
        raise ValueError(f"inputs hold different numbers of probes: {listed}; give every input of each probe{samples}")
    if not any(part.watched for part in found):
        raise ValueError(
            "inputs: none of them is watched, all being masks of booleans: name those to explain, "
            f"watch=[{next(iter(leaves))!r}]"
        )
    return tuple(found), structure


def arranged(structure: Any, leaves: Sequence[Any]) -> Any:
    """`leaves` in a structure of their positions."""
    if isinstance(structure, Mapping):
        return {name: leaves[place] for name, place in structure.items()}
    if isinstance(structure, list | tuple):
        return type(structure)(leaves[place] for place in structure)
    return leaves[structure]


def leaves_of(structure: Any, arranged: Any) -> list[Any]:
    """The leaves of what `arranged` gives, in their order."""
    if isinstance(structure, Mapping):
        return [arranged[name] for name in structure]
    return list(arranged) if isinstance(structure, list | tuple) else [arranged]


def _named(inputs: Any) -> tuple[dict[str, Any], Any] | None:
    """Several inputs by name, with their structure; None for one array."""
    if isinstance(inputs, Mapping):
        if not inputs or not all(isinstance(name, str) and name for name in inputs):
            raise ValueError("inputs: a dict of inputs needs a name, a non-empty text, for each array")
        return dict(inputs), {name: place for place, name in enumerate(inputs)}
    several = isinstance(inputs, list | tuple) and len(inputs) > 0 and all(_is_array(one) for one in inputs)
    # A list of samples is an array in the making; of arrays with a row a probe each it is several inputs.
    if several and (isinstance(inputs, tuple) or not _are_samples(inputs)):
        names = [str(place) for place in range(len(inputs))]
        return dict(zip(names, inputs, strict=True)), type(inputs)(range(len(inputs)))
    return None


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype") and len(value.shape) > 0


def _are_samples(arrays: Sequence[Any]) -> bool:
    """Whether a list of arrays is one of samples, all of one shape and type: np.stack makes the inputs of them."""
    return len({(tuple(one.shape), str(one.dtype)) for one in arrays}) == 1


def _by_name(argument: str, value: Any, leaves: Mapping[str, Any]) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        first = next(iter(leaves))
        raise ValueError(
            f"{argument}: the set has {len(leaves)} inputs ({', '.join(leaves)}); give a dict by input, such as "
            f"{argument}={{{first!r}: ...}}"
        )
    for name in value:
        if name not in leaves:
            raise ValueError(f"{argument}: {name!r} is none of the inputs; there are {', '.join(leaves)}")
    return dict(value)


def _watched(watch: Any, leaves: Mapping[str, Any]) -> set[str]:
    if watch is None:
        return {name for name, values in leaves.items() if np.asarray(values).dtype != np.bool_}
    names = [watch] if isinstance(watch, str) else list(watch)
    for name in names:
        if name not in leaves:
            raise ValueError(f"watch: {name!r} is none of the inputs; there are {', '.join(leaves)}")
    return set(names)


def _input(
    name: str, values: NDArray[Any], what: str, kind: Any, channel_axis: Any, watched: bool, features: Any, tokens: Any
) -> ProbeInput:
    chosen = _kind(what, values, kind, features is not None, tokens is not None)
    if isinstance(channel_axis, str) and channel_axis == "auto":
        has_channels = {"tokens": values.ndim == 3, "volume": values.ndim == 5}.get(chosen, values.ndim >= 4)
        channel_axis = values.ndim - 1 if has_channels else None
    axis = check.checked_channel_axis(channel_axis, values.ndim)
    part = ProbeInput(name, values, chosen, axis, watched)
    argument = "feature_names" if name == _SINGLE else f"feature_names[{name!r}]"
    names = None if features is None else _feature_names(argument, features, part)
    argument = "tokens" if name == _SINGLE else f"tokens[{name!r}]"
    texts = None if tokens is None else _tokens(argument, tokens, part)
    return ProbeInput(name, values, chosen, axis, watched, names, texts)


def _kind(what: str, values: NDArray[Any], kind: Any, has_features: bool, has_tokens: bool) -> str:
    axes = values.ndim - 1
    if kind is None:
        return _guessed(values, has_features, has_tokens)
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r}: expected one of {', '.join(map(repr, KINDS))}, or None to tell by the shape")
    needed = {"image": (2, 3), "volume": (3, 4), "series": (1, 2), "tokens": (1, 2), "table": (1,)}.get(kind)
    if needed is not None and axes not in needed:
        raise ValueError(
            f"kind={kind!r}: a sample of {what} has shape {values.shape[1:]}; it needs "
            f"{' or '.join(map(str, needed))} axes"
        )
    return str(kind)


def _guessed(values: NDArray[Any], has_features: bool, has_tokens: bool) -> str:
    shape = values.shape[1:]
    if has_tokens:
        return "tokens"
    if len(shape) == 1:
        ids = values.dtype.kind in "iu" and values.dtype.itemsize >= 4
        return "tokens" if ids and not has_features else "table"
    if len(shape) == 2:
        series = has_features or (shape[1] <= _MOST_CHANNELS and shape[0] >= 2 * shape[1])
        return "series" if series else "image"
    return "image" if len(shape) == 3 else "volume" if len(shape) == 4 else "grid"


def _feature_names(argument: str, names: Any, part: ProbeInput) -> tuple[str, ...]:
    if part.kind not in ("table", "series"):
        raise ValueError(f"{argument}: a sample of kind {part.kind!r} has no features to name; kind= says otherwise")
    if isinstance(names, str):
        raise TypeError(f"{argument}={names!r}: expected a sequence of texts, one a feature")
    found = tuple(str(name) for name in names)
    wanted = part.sample_shape[-1] if part.kind == "table" or len(part.sample_shape) == 2 else 1
    if len(found) != wanted:
        raise ValueError(f"{argument}: {len(found)} names for {wanted} features; give one a feature, in their order")
    twice = [name for place, name in enumerate(found) if name in found[:place]]
    if twice:
        raise ValueError(f"{argument}: {twice[0]!r} given more than once; names must be unique")
    return found


def _tokens(argument: str, tokens: Any, part: ProbeInput) -> tuple[tuple[str, ...], ...]:
    if part.kind != "tokens":
        raise ValueError(f"{argument}: a sample of kind {part.kind!r} has no tokens; kind= says otherwise")
    rows: list[Any] = [tokens(row) for row in part.values] if callable(tokens) else list(tokens)
    if len(rows) != len(part):
        raise ValueError(f"{argument}: texts of {len(rows)} probes for {len(part)}; give those of each")
    length, found = part.sample_shape[0], []
    for place, row in enumerate(rows):
        if isinstance(row, str | bytes):
            raise ValueError(
                f"{argument}: one text for probe {place}; give one a token (of a tokenizer, "
                "lambda ids: [tokenizer.id_to_token(i) for i in ids])"
            )
        texts = tuple(one.decode("utf-8", "replace") if isinstance(one, bytes) else str(one) for one in row)
        if len(texts) > length or (len(texts) < length and callable(tokens)):
            raise ValueError(f"{argument}: {len(texts)} texts for the {length} tokens of probe {place}")
        found.append(texts)
    _check_padding(argument, [len(texts) for texts in found], part.values)
    return tuple(texts + ("",) * (length - len(texts)) for texts in found)


def _check_padding(argument: str, lengths: Sequence[int], values: NDArray[Any]) -> None:
    """ValueError where tokens without a text are not padding behind the texts' ends.

    All of them are the same number (of embeddings the same row), which no token with a text has. Of texts that are
    padded in front, or of which a word is missing, each word would stand beside another token.
    """
    flat = values.reshape(*values.shape[:2], -1)
    behind = np.arange(flat.shape[1]) >= np.array(lengths)[:, None]
    if not behind.any():
        return
    padding = flat[behind][0]
    is_padding = (flat == padding).all(axis=2)
    # Zeros are padding wherever there are some.
    is_padding |= (flat == 0).all(axis=2)
    wrong, short = (is_padding != behind).any(axis=1), behind.any(axis=1)
    if wrong.any():
        place = int(np.argmax(wrong & short if (wrong & short).any() else short))
        raise ValueError(
            f"{argument}: {lengths[place]} texts for the {flat.shape[1]} tokens of probe {place}, and what has no text "
            "is not padding at the end (one and the same id, which no word of any probe has): give one text for each "
            'token, "" for those that have none'
        )


def iter_spans(parts: Sequence[ProbeInput]) -> Iterator[tuple[ProbeInput, slice]]:
    """The watched inputs, each with where its values lie in the heatmap of all of them, one after the other."""
    end = 0
    for part in parts:
        if part.watched:
            yield part, slice(end, end + part.size)
            end += part.size


def montage(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(n, *map axes, C) -> (n, H, W, C), laid out in the order that ProbeSet.images documents."""
    if pictures.ndim == 3:
        return pictures[:, None]
    if pictures.ndim == 4:
        return pictures
    n, (height, width, channels) = pictures.shape[0], pictures.shape[-3:]
    slices = pictures.reshape(n, -1, height, width, channels)
    columns = math.ceil(math.sqrt(slices.shape[1]))
    rows = math.ceil(slices.shape[1] / columns)
    sheet = np.zeros((n, rows * columns, height, width, channels), pictures.dtype)
    sheet[:, : slices.shape[1]] = slices
    grid = sheet.reshape(n, rows, columns, height, width, channels).transpose(0, 1, 3, 2, 4, 5)
    return np.ascontiguousarray(grid.reshape(n, rows * height, columns * width, channels))
