"""The predicted class of each place of an output of maps, as a step keeps it: a map of whole numbers a probe."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lrp_monitor.store import codec, records
from lrp_monitor.store.format import MOST_AXES, MOST_PIXELS

_TYPES = ("i1", "i2", "i4")


@dataclass(frozen=True)
class PredictedPlaces:
    """Where a step's predicted maps are: their shape, the type of their numbers, and the place of each."""

    shape: tuple[int, ...]
    type: str
    places: tuple[tuple[int, int], ...]

    def read(self, chunks: memoryview, what: str) -> npt.NDArray[np.int64]:
        """All maps, (n, *shape). Raises StoreError, starting with ``what``, where chunks do not hold them."""
        kind, size = np.dtype(f"<{self.type}"), math.prod(self.shape)
        parts = [codec.inflate(chunks[at : at + length], size * kind.itemsize, what) for at, length in self.places]
        return np.stack([np.frombuffer(part, kind).reshape(self.shape) for part in parts]).astype(np.int64)


def check(maps: npt.NDArray[np.int64], probes: int) -> None:
    """ValueError where maps are not those of so many probes, or more than the store takes."""
    if maps.ndim < 2 or len(maps) != probes or maps.size > MOST_PIXELS or maps.ndim > MOST_AXES:
        raise ValueError(
            f"predicted_maps of shape {maps.shape} for {probes} probes; the store takes {MOST_PIXELS} pixels"
        )
    if maps.size and not (maps.min() >= -1 and maps.max() <= np.iinfo(np.int32).max):
        raise ValueError("predicted_maps hold numbers that are no classes")


def pack(maps: npt.NDArray[np.int64], add: Callable[[bytes], list[int]]) -> dict[str, Any]:
    """The header's part; ``add`` takes a chunk and gives its place."""
    kind = next(name for name in _TYPES if maps.max(initial=0) <= np.iinfo(name).max)
    places = [add(codec.deflate(one.astype(f"<{kind}").tobytes())) for one in maps]
    return {"shape": list(maps.shape[1:]), "type": kind, "maps": places}


def unpack(value: Any, probes: int, available: int, what: str) -> PredictedPlaces | None:
    """What ``pack`` wrote; None where there is none. Raises StoreError or ValueError for anything else."""
    if value is None:
        return None
    shape, kind = value["shape"], value["type"]
    if not isinstance(shape, list) or not 1 <= len(shape) < MOST_AXES or kind not in _TYPES:
        raise ValueError(f"predicted maps of shape {records.quoted(shape)}, type {records.quoted(kind)}")
    size = probes * math.prod(records.whole(side) for side in shape)
    places = records.places(value["maps"], available, what)
    if len(places) != probes or size > MOST_PIXELS:
        raise ValueError(f"{len(places)} predicted maps of {probes} probes, {size} pixels")
    return PredictedPlaces(tuple(shape), kind, places)
