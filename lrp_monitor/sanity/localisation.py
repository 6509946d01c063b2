"""How much of the relevance lies where it is known to belong: mass and rank accuracy against masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrp_monitor.metrics import carries, mask_absolute, mask_mass
from lrp_monitor.plain import Result, plain
from lrp_monitor.text import number

Floats = NDArray[np.float64]


def rank_accuracy(maps: NDArray[np.floating[Any]], mask: NDArray[np.bool_]) -> Floats:
    """The share of the K pixels of highest relevance that lie in the mask, K the mask's size: 0 to 1, float64 (n,).

    maps (n, *map shape), mask boolean of that shape. Among pixels that tie at the K-th place the mean over all ways
    to choose counts, so that a map of zeros gets what chance gives. NaN where the mask is empty or a map is not
    finite. Arras, Osman, Samek 2022, equation 3 (relevance rank accuracy).
    """
    flat, inside = maps.reshape(len(maps), -1).astype(np.float64), mask.reshape(len(mask), -1)
    found = np.full(len(flat), np.nan)
    for row, values in enumerate(flat):
        region = inside[row]
        size = int(region.sum())
        if size == 0 or not np.isfinite(values).all():
            continue
        limit = np.partition(values, len(values) - size)[len(values) - size]
        above, tied = values > limit, values == limit
        left = (size - above.sum()) / tied.sum()
        found[row] = ((above & region).sum() + left * (tied & region).sum()) / size
    return found


@dataclass(frozen=True)
class Localisation(Result):
    """How much of the relevance lies in one mask, for the m probes that carry it.

    Attributes:
        names: those of the probes.
        mass: float64 (m,), `metrics.mask_mass`, NaN where a map has too little positive relevance to take shares of.
        absolute: float64 (m,), `metrics.mask_absolute`.
        rank: float64 (m,), `rank_accuracy`.
        area: (m,) the mask's share of the map, which is the mean share of a map that has nothing to do with it.
    """

    mask: str
    names: tuple[str, ...]
    mass: Floats
    absolute: Floats
    rank: Floats
    area: Floats

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain data; what is not finite is None."""
        return {
            "probes": list(self.names),
            "mass": plain(self.mass),
            "absolute": plain(self.absolute),
            "rank": plain(self.rank),
            "area": plain(self.area),
        }

    def summary(self) -> str:
        """One line: the means, and how many probes stand behind each."""
        means = ", ".join(
            f"{what} {self._mean(values)}"
            for what, values in (
                ("mass accuracy", self.mass),
                ("rank accuracy", self.rank),
                ("its share of |relevance|", self.absolute),
            )
        )
        return (
            f"relevance in {self.mask!r}: {means}, its share of the area {number(np.mean(self.area))} "
            f"(means over {len(self.names)} probes)"
        )

    def _mean(self, values: Floats) -> str:
        known = values[np.isfinite(values)]
        if len(known) == len(values):
            return f"{number(known.mean())}"
        return f"{number(known.mean())} (of {len(known)} probes)" if len(known) else "undefined (of no probe)"


def localise(maps: NDArray[np.floating[Any]], name: str, mask: NDArray[np.bool_], names: Any) -> Localisation:
    """Mass and rank accuracy over the probes that carry the mask. ValueError where none does."""
    carried = carries(mask)
    if not carried.any():
        raise ValueError(f"mask {name!r} covers nothing on any probe")
    maps, mask = maps[carried], mask[carried]
    return Localisation(
        name,
        tuple(str(names[place]) for place in np.flatnonzero(carried)),
        mask_mass(maps, mask),
        mask_absolute(maps, mask),
        rank_accuracy(maps, mask),
        mask.reshape(len(mask), -1).mean(axis=1),
    )
