"""What a ProbeSet accepts: each argument brought to one form, or a ValueError with the way out."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lrp_monitor.arguments import argument_error
from lrp_monitor.mapped import iter_blocks, mapped


def read_only(values: NDArray[Any]) -> NDArray[Any]:
    """`values` itself, no longer writable."""
    values.flags.writeable = False
    return values


def to_uint8(values: NDArray[Any], ends: tuple[float, float] | None = None) -> NDArray[np.uint8]:
    """uint8 as it is; anything else linearly from its minimum (0) to its maximum (255), or between other ``ends``."""
    if values.dtype == np.uint8:
        return values.copy()
    low, high = _ends(values) if ends is None else ends
    if high <= low:
        return np.zeros(values.shape, np.uint8)
    made = np.empty(values.shape, np.uint8)
    rows = (one for block in iter_blocks(values) for one in block)
    for row, one in zip(made, rows, strict=True):  # one by one: in float64 all of them take many times their memory
        # Each side is halved before the difference is taken: high - low of float64's extremes would overflow.
        scaled = (one.astype(np.float64) / 2 - low / 2) / (high / 2 - low / 2)
        row[...] = np.rint(scaled * 255 if ends is None else np.clip(scaled, 0, 1) * 255)
    return made


def _ends(values: NDArray[Any]) -> tuple[float, float]:
    ranges = [(block.min(), block.max()) for block in iter_blocks(values)]
    return float(min(low for low, _ in ranges)), float(max(high for _, high in ranges))


def checked_inputs(inputs: ArrayLike, argument: str = "inputs") -> NDArray[Any]:
    """(n, ...) finite floats, integers or booleans, as a read-only copy, a large one in a file (see `mapped`)."""
    try:
        values = np.array(inputs)
    except ValueError as error:
        raise ValueError(
            f"{argument}: the samples do not form one array ({error}); give them all one shape, and several inputs of "
            "a model as a tuple or a dict of arrays"
        ) from error
    if values.dtype.kind in "OSU" and all(isinstance(one, str | bytes) for one in values.flat):
        raise TypeError(
            f"{argument}: texts carry no relevance, what a model makes of them does: give the model whose layers "
            "encode them, ProbeSet(texts, labels, model=model), or the ids behind the encoding, with tokens= for words"
        )
    if values.dtype.kind not in "fiub":
        raise TypeError(f"{argument}: dtype {values.dtype} is not supported; give floats, integers or booleans")
    if values.ndim < 2:
        raise ValueError(
            f"{argument}: shape {values.shape}; expected (n, ...), the probes along the first axis "
            "(inputs[None] where there is one)"
        )
    if values.size == 0:
        raise ValueError(f"{argument}: shape {values.shape} holds no values; a set needs at least one probe")
    if values.dtype.kind == "f":
        broken = np.flatnonzero(~np.isfinite(values).all(axis=tuple(range(1, values.ndim))))
        if len(broken):
            shown = ", ".join(map(str, broken[:8])) + (" ..." if len(broken) > 8 else "")
            raise ValueError(
                f"{argument}: NaN or infinity in probe {shown}; leave such samples out or replace the values"
            )
    return mapped(values)


def checked_class_names(class_names: Sequence[str] | None) -> tuple[str, ...] | None:
    """One string a class, or None."""
    if class_names is None:
        return None
    if isinstance(class_names, str):
        raise TypeError(f"class_names={class_names!r}: expected a sequence of strings, one a class")
    return tuple(str(name) for name in class_names)


def checked_names(
    names: Sequence[str] | None,
    n: int,
    labels: NDArray[np.int64] | None,
    class_names: tuple[str, ...] | None,
) -> tuple[str, ...]:
    """n unique strings; made from the classes' names where none are given."""
    if names is None:
        return tuple(_default_names(n, labels, class_names))
    if isinstance(names, str):
        raise TypeError(f"names={names!r}: expected a sequence of strings, one per probe")
    result = tuple(str(name) for name in names)
    if len(result) != n:
        raise ValueError(f"names: {len(result)} names for {n} probes; give one per probe")
    twice = sorted(name for name, times in Counter(result).items() if times > 1)
    if twice:
        raise ValueError(f"names: {', '.join(map(repr, twice))} given more than once; names must be unique")
    return result


def _default_names(n: int, labels: NDArray[np.int64] | None, class_names: tuple[str, ...] | None) -> Iterator[str]:
    seen: dict[int, int] = {}
    times = Counter(class_names)
    for i in range(n):
        if labels is None or class_names is None:
            yield f"probe {i}"
            continue
        label = int(labels[i])
        # Counted by class index: two classes of one name must still give unique probe names.
        shown = class_names[label]
        if times[shown] > 1:
            shown = f"{shown} ({label})"
        yield f"{shown} {seen.get(label, 0)}"
        seen[label] = seen.get(label, 0) + 1


def checked_channel_axis(channel_axis: int | str | None, ndim: int) -> int | None:
    """The axis of inputs to sum over (1 to ndim - 1), or None."""
    if channel_axis == "auto":
        return ndim - 1 if ndim >= 4 else None
    if channel_axis is None:
        return None
    if isinstance(channel_axis, str | bool):
        raise argument_error(
            isinstance(channel_axis, str), f'channel_axis={channel_axis!r}: expected "auto", None or an axis of inputs'
        )
    axis = operator.index(channel_axis)
    axis = axis + ndim if axis < 0 else axis
    if not 1 <= axis < ndim:
        raise ValueError(
            f"channel_axis={channel_axis}: inputs have axes 1 to {ndim - 1} beside the probes' own (0); -1 is the last"
        )
    if ndim == 2:
        raise ValueError(f"channel_axis={channel_axis}: samples have one axis; summing it leaves no map. Use None")
    return axis


def checked_masks(masks: Mapping[str, Any] | None, map_shape: tuple[int, ...], n: int) -> dict[str, NDArray[np.bool_]]:
    """{name: bool (n, *map_shape)} from masks and boxes."""
    if masks is None:
        return {}
    if not isinstance(masks, Mapping):
        raise TypeError(
            f"masks: expected a dict from name to region, got {type(masks).__name__}; "
            'for example masks={"stamp": box}'
        )
    result = {}
    for name, region in masks.items():
        if not isinstance(name, str) or not name:
            raise argument_error(isinstance(name, str), f"masks: {name!r} is not a name; use non-empty strings")
        mask = _mask(name, region, map_shape, n)
        if not mask.any():
            raise ValueError(f"masks[{name!r}] covers nothing on any probe (map shape {map_shape})")
        result[name] = read_only(mask)
    return result


def _mask(name: str, region: Any, map_shape: tuple[int, ...], n: int) -> NDArray[np.bool_]:
    box = _as_box(name, region, map_shape)
    if box is not None:
        mask = np.zeros((n, *map_shape), bool)
        mask[(slice(None), *box)] = True
        return mask
    values = np.asarray(region)
    if values.shape not in (map_shape, (n, *map_shape)):
        raise ValueError(
            f"masks[{name!r}] has shape {values.shape}; expected the map shape {map_shape} or "
            f"{(n, *map_shape)}, a tuple of slices, or (top, left, bottom, right)"
        )
    if values.dtype != bool:
        if values.dtype.kind not in "fiu" or not np.isin(values, (0, 1)).all():
            raise ValueError(f"masks[{name!r}]: values other than 0 and 1; give a boolean array")
        values = values.astype(bool)
    return np.array(np.broadcast_to(values, (n, *map_shape)))


def _as_box(name: str, region: Any, map_shape: tuple[int, ...]) -> tuple[slice, ...] | None:
    """The region as slices where it is a box, else None. ValueError where a box leaves the map."""
    if isinstance(region, slice):
        region = (region,)
    if isinstance(region, tuple) and region and all(isinstance(part, slice) for part in region):
        if len(region) > len(map_shape):
            raise ValueError(f"masks[{name!r}]: {len(region)} slices for a map of shape {map_shape}")
        for part, size in zip(region, map_shape, strict=False):
            if part.stop is not None and part.stop > size:
                raise ValueError(f"masks[{name!r}]: {part} reaches beyond the map's shape {map_shape}")
        return region
    if not isinstance(region, tuple | list) or len(region) != 4 or len(map_shape) != 2:
        return None
    if not all(isinstance(value, int | np.integer) for value in region):
        return None
    top, left, bottom, right = (int(value) for value in region)
    if not (0 <= top < bottom <= map_shape[0] and 0 <= left < right <= map_shape[1]):
        raise ValueError(
            f"masks[{name!r}] = {(top, left, bottom, right)}: expected (top, left, bottom, right), "
            f"half open, inside the map's shape {map_shape}"
        )
    return slice(top, bottom), slice(left, right)


def checked_display(display: ArrayLike, n: int) -> NDArray[np.uint8]:
    """uint8 (n, H, W, 1 or 3)."""
    values = np.asarray(display)
    given = values.shape
    if values.ndim == 3:
        values = values[..., None]
    if values.ndim != 4 or len(values) != n or values.shape[-1] not in (1, 3) or values.size == 0:
        raise ValueError(
            f"display: shape {given}; expected ({n}, H, W), ({n}, H, W, 1) or ({n}, H, W, 3), one picture a probe"
        )
    numbers = values.dtype.kind in "fiu"
    if not numbers or not np.isfinite(values).all():
        raise argument_error(numbers, f"display: expected finite numbers, got {values.dtype}")
    return read_only(to_uint8(values))
