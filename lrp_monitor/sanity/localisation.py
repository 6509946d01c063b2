"""How much of the relevance lies where it is known to belong: mass and rank accuracy against masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrp_monitor.regression.metrics import mask_mass

Floats = NDArray[np.float64]


def mass_accuracy(maps: NDArray[np.floating[Any]], mask: NDArray[np.bool_]) -> Floats:
    """Positive relevance inside the mask over all positive relevance, per map: 0 to 1, float64 (n,).

    maps (n, *map shape), mask boolean of that shape. NaN where the mask is empty or no relevance is positive.
    Arras, Osman, Samek 2022, equation 2 (relevance mass accuracy).
    """
    return mask_mass(maps, mask)


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
class Localisation:
    """One mask. names: its probes, m of them; mass, rank: float64 (m,); area: (m,) the mask's share of the map.

    The area is what a map without any idea of the mask gets, in the mean.
    """

    mask: str
    names: tuple[str, ...]
    mass: Floats
    rank: Floats
    area: Floats

    def summary(self) -> str:
        """One line."""
        return (
            f"relevance in {self.mask!r}: mass accuracy {np.nanmean(self.mass):.3f}, rank accuracy "
            f"{np.nanmean(self.rank):.3f}, its share of the area {np.mean(self.area):.3f} "
            f"(means over {len(self.names)} probes)"
        )


def localise(maps: NDArray[np.floating[Any]], name: str, mask: NDArray[np.bool_], names: Any) -> Localisation:
    """Both accuracies over the probes that carry the mask. ValueError where none does."""
    carried = mask.reshape(len(mask), -1).any(axis=1)
    if not carried.any():
        raise ValueError(f"mask {name!r} covers nothing on any probe")
    maps, mask = maps[carried], mask[carried]
    return Localisation(
        name,
        tuple(str(names[place]) for place in np.flatnonzero(carried)),
        mass_accuracy(maps, mask),
        rank_accuracy(maps, mask),
        mask.reshape(len(mask), -1).mean(axis=1),
    )
