"""The inputs of a run's probes as kept in the file of its probes: what each is, and its values, pictures and texts."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from lrp_monitor.store import codec, records
from lrp_monitor.store.format import INPUT_KINDS, MOST_PICTURE_BYTES, InputInfo

MOST_INPUTS = 64
"""Inputs that a model may have of which a run keeps heatmaps."""
MOST_TEXT = 64 << 20
"""Bytes of JSON that the texts of an input's tokens may take."""

Add = Callable[[bytes], list[int]]
Take = Callable[[Any, int], bytes]
Shape = Callable[[Any], tuple[int, ...]]


def check_inputs(inputs: list[InputInfo], n: int, map_shape: tuple[int, ...]) -> None:
    """ValueError where the inputs do not fit the probes: their maps fill a heatmap one after the other."""
    if len(inputs) > MOST_INPUTS:
        raise ValueError(f"{len(inputs)} inputs, the store takes {MOST_INPUTS}")
    if len(inputs) == 1 and inputs[0].map_shape != map_shape:
        raise ValueError(f"an input with maps of shape {inputs[0].map_shape}, the heatmaps have {map_shape}")
    total = sum(math.prod(one.map_shape) for one in inputs)
    if len(inputs) > 1 and map_shape != (total,):
        raise ValueError(f"inputs with {total} values of heatmaps together, the heatmaps have shape {map_shape}")
    if len({one.name for one in inputs}) != len(inputs):
        raise ValueError("inputs of one name")
    for one in inputs:
        what = f"input {one.name!r:.100}"
        if one.kind not in INPUT_KINDS:
            raise ValueError(f"{what}: kind must be one of {', '.join(INPUT_KINDS)}")
        if one.values is not None and (one.values.dtype != np.float32 or len(one.values) != n):
            raise ValueError(f"{what}: values must be float32 of {n} probes, got {one.values.dtype} {one.values.shape}")
        if one.pictures is not None and (
            one.pictures.dtype != np.uint8 or one.pictures.ndim != 4 or len(one.pictures) != n
        ):
            raise ValueError(f"{what}: pictures must be uint8 ({n}, H, W, C), got {one.pictures.shape}")
        if one.tokens is not None and (
            len(one.tokens) != n or any(len(texts) != one.map_shape[0] for texts in one.tokens)
        ):
            raise ValueError(f"{what}: there must be {one.map_shape[0]} texts for each of {n} probes")
    taken = sum(0 if a is None else a.nbytes for one in inputs for a in (one.values, one.pictures))
    if taken > MOST_PICTURE_BYTES:
        raise ValueError(
            f"the inputs' values have {taken} bytes, the store takes {MOST_PICTURE_BYTES}: log fewer probes"
        )


def pack_inputs(inputs: list[InputInfo], add: Add) -> list[dict[str, Any]]:
    """The header's part; ``add`` takes a chunk and gives its place."""

    def array(values: Any, kind: str) -> dict[str, Any] | None:
        if values is None:
            return None
        return {"shape": list(values.shape[1:]), "place": add(codec.deflate(values.astype(kind).tobytes()))}

    def texts(tokens: Any) -> list[int] | None:
        if tokens is None:
            return None
        data = records.to_json({"tokens": [list(row) for row in tokens]})
        if len(data) > MOST_TEXT:
            raise ValueError(
                f"the texts of tokens have {len(data)} bytes, the store takes {MOST_TEXT}: log fewer probes"
            )
        return [*add(codec.deflate(data)), len(data)]

    return [
        {
            "name": one.name,
            "kind": one.kind,
            "map_shape": list(one.map_shape),
            "input_shape": list(one.input_shape),
            "feature_names": one.feature_names,
            "values": array(one.values, "<f4"),
            "pictures": array(one.pictures, "u1"),
            "tokens": texts(one.tokens),
        }
        for one in inputs
    ]


def unpack_inputs(listed: Any, n: int, map_shape: tuple[int, ...], take: Take, shape: Shape) -> list[InputInfo]:
    """What ``pack_inputs`` wrote. ``take`` gives the bytes of a place, inflated to a length.

    Raises:
        ValueError: for anything else.
    """
    if not isinstance(listed, list) or len(listed) > MOST_INPUTS:
        raise ValueError("inputs")
    found = []
    left = MOST_PICTURE_BYTES
    for one in listed:
        arrays: dict[str, Any] = {}
        for name, dtype in (("values", np.dtype("<f4")), ("pictures", np.dtype("u1"))):
            about = one[name]
            if about is None:
                continue
            size = n * math.prod(full := shape(about["shape"])) * dtype.itemsize
            left -= size
            if left < 0:
                raise ValueError("more values of inputs than are read")
            arrays[name] = (
                np.frombuffer(take(about["place"], size), dtype).reshape(n, *full).astype(dtype.newbyteorder("="))
            )
        names = one["feature_names"]
        found.append(
            InputInfo(
                name=records.string(one["name"]),
                kind=records.string(one["kind"]),
                map_shape=shape(one["map_shape"]),
                input_shape=shape(one["input_shape"]),
                feature_names=None if names is None else [records.string(name) for name in names],
                tokens=None if one["tokens"] is None else _texts(one["tokens"], take),
                **arrays,
            )
        )
    check_inputs(found, n, map_shape)
    return found


def _texts(place: list[int], take: Take) -> list[list[str]]:
    if type(place[2]) is not int or not 0 <= place[2] <= MOST_TEXT:
        raise ValueError(f"texts of {records.quoted(place[2])} bytes")
    data = take(place[:2], place[2])
    rows = records.parse_json(data, "texts of tokens")["tokens"]
    return [[records.string(text) for text in row] for row in rows]
