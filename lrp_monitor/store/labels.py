"""The labels of a run's probes that are more than a class each, as kept in the file of its probes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from lrp_monitor.store import codec, records
from lrp_monitor.store.format import MOST_AXES, MOST_PICTURE_BYTES, ProbeInfo

_MOST_CLASSES = 1 << 24


def pack_labels(probes: ProbeInfo, add: Callable[[bytes], list[int]]) -> dict[str, Any]:
    """The header's part, empty where there are none; ``add`` takes a chunk and gives its place.

    Raises:
        ValueError: where they do not fit the probes.
    """
    n, found = len(probes), {}
    if (sets := probes.label_sets) is not None:
        if sets.ndim != 2 or len(sets) != n or sets.dtype != np.bool_:
            raise ValueError(f"label_sets must be boolean ({n}, classes), got {sets.dtype} {sets.shape}")
        found["label_sets"] = {"classes": sets.shape[1], "of": [np.flatnonzero(row).tolist() for row in sets]}
    if (position := probes.position) is not None:
        if position.ndim != 2 or len(position) != n:
            raise ValueError(f"position must have shape ({n}, axes), got {position.shape}")
        found["position"] = position.tolist()
    if (maps := probes.label_maps) is not None:
        if maps.ndim < 2 or len(maps) != n or 4 * maps.size > MOST_PICTURE_BYTES:
            raise ValueError(f"label_maps of shape {maps.shape} for {n} probes, at most {MOST_PICTURE_BYTES} bytes")
        whole = np.clip(maps, -1, np.iinfo(np.int32).max).astype("<i4")
        found["label_maps"] = {"shape": list(maps.shape[1:]), "place": add(codec.deflate(whole.tobytes()))}
    return found


def unpack_labels(
    header: dict[str, Any], n: int, take: Callable[[Any, int], bytes], shape: Callable[[Any], tuple[int, ...]]
) -> dict[str, npt.NDArray[Any]]:
    """What ``pack_labels`` wrote, by the names of ``ProbeInfo``. ``take`` gives a place's bytes, inflated to a length.

    Raises:
        ValueError: for anything else.
    """
    found: dict[str, npt.NDArray[Any]] = {}
    if (about := header.get("label_sets")) is not None:
        classes, rows = records.whole(about["classes"]), about["of"]
        if len(rows) != n or n * classes > _MOST_CLASSES:
            raise ValueError(f"{len(rows)} sets of {classes} classes for {n} probes")
        sets = np.zeros((n, classes), np.bool_)
        for row, chosen in zip(sets, rows, strict=True):
            row[_whole_numbers(chosen, 0, classes)] = True
        found["label_sets"] = sets
    if (rows := header.get("position")) is not None:
        found["position"] = np.array([_whole_numbers(row, -(1 << 53), 1 << 53) for row in rows], np.int64)
        if len(rows) != n or found["position"].ndim != 2 or found["position"].shape[1] > MOST_AXES:
            raise ValueError(f"positions of shape {found['position'].shape} for {n} probes")
    if (about := header.get("label_maps")) is not None:
        size = 4 * n * math.prod(full := shape(about["shape"]))
        if size > MOST_PICTURE_BYTES:
            raise ValueError(f"labels of {size} bytes")
        maps = np.frombuffer(take(about["place"], size), "<i4").reshape(n, *full)
        found["label_maps"] = maps.astype(np.int64)
    return found


def _whole_numbers(values: Any, low: int, high: int) -> list[int]:
    if not isinstance(values, list) or not all(type(value) is int and low <= value < high for value in values):
        raise ValueError(f"{records.quoted(values)} are not whole numbers from {low} to {high - 1}")
    return values
