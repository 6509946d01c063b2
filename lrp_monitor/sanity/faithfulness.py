"""Faithfulness by perturbation: cover what the heatmap points to, and what it does not, and watch the logit."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrp_monitor.plain import Result, plain
from lrp_monitor.sanity.subject import Fill, Subject
from lrp_monitor.text import number

Floats = NDArray[np.float64]

_REGIONS = 64  # about as many as this, whatever the map's number of axes
_AT_ONCE = 256  # changed copies held in memory at a time
Advance = Callable[[int], None]


@dataclass(frozen=True)
class Faithfulness(Result):
    """Perturbation curves of n probes, at L + 1 points.

    Attributes:
        covered: (L + 1,) share of the regions covered, 0 to 1.
        most: float64 (n, L + 1), the explained logit with the most relevant regions covered first.
        least: float64 (n, L + 1), with the least relevant ones covered first.
        random: (draws, n, L + 1), in random orders.
        patch: the regions' size along every axis of the map; of several inputs those of each, one after the other.
        patches: the same as text.
    """

    names: tuple[str, ...]
    patch: tuple[int, ...]
    covered: Floats
    most: Floats
    least: Floats
    random: Floats
    patches: str = ""

    @property
    def aopc(self) -> dict[str, Floats]:
        """The area over each curve, float64 (n,): the mean over the points of logit at first - logit then.

        Samek et al. 2017, equation 12, one value per probe; under "random" the mean over the draws.
        """
        return {"most": area_over(self.most), "least": area_over(self.least), "random": area_over(self.random).mean(0)}

    @property
    def ok(self) -> bool:
        """Whether covering what is most relevant costs more than chance, and what is least relevant costs less."""
        most, least, chance = (number(np.mean(self.aopc[name])) for name in ("most", "least", "random"))
        return most > chance > least

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain data; what is not finite is None."""
        return {
            "patch": list(self.patch),
            "covered": plain(self.covered),
            "most": plain(self.most),
            "least": plain(self.least),
            "random": plain(self.random),
            "aopc": {name: plain(values) for name, values in self.aopc.items()},
        }

    def summary(self) -> str:
        """One line."""
        most, least, chance = (number(np.mean(self.aopc[name])) for name in ("most", "least", "random"))
        patches = self.patches or " x ".join(map(str, self.patch))
        return (
            f"faithfulness: area over the curve {most} covering the most relevant first, {chance} in random "
            f"order, {least} covering the least relevant first (logit, patches {patches})"
        )


def area_over(curves: Floats) -> Floats:
    """(..., L + 1) -> (...): the mean over all points of the first value less the point's."""
    return np.asarray((curves[..., :1] - curves).mean(axis=-1))


def patches(
    map_shape: Sequence[int], patch: int | Sequence[int] | None = None
) -> tuple[NDArray[np.int64], tuple[int, ...]]:
    """A partition of a map into boxes: int64 map of the region's number at each place, and the boxes' size.

    Args:
        patch: the size along every axis, or one for each; None: about 64 boxes in all. Boxes at the far ends are
            smaller where the size does not divide the map.

    Raises:
        ValueError: for sizes below 1, or of another number of axes.
    """
    if patch is None:
        along = round(_REGIONS ** (1 / len(map_shape)))
        sizes = tuple(max(1, math.ceil(size / along)) for size in map_shape)
    else:
        sizes = (patch,) * len(map_shape) if isinstance(patch, int) else tuple(patch)
    if len(sizes) != len(map_shape) or min(sizes) < 1:
        raise ValueError(
            f"patch={patch!r}: expected whole numbers >= 1, one for all axes of {tuple(map_shape)} or each"
        )
    labels = np.zeros(tuple(map_shape), np.int64)
    for axis, (size, step) in enumerate(zip(map_shape, sizes, strict=True)):
        along_axis = (np.arange(size) // step).reshape([-1 if a == axis else 1 for a in range(len(map_shape))])
        labels = labels * math.ceil(size / step) + along_axis
    return labels, sizes


def perturb(
    subject: Subject,
    *,
    patch: int | Sequence[int] | None = None,
    steps: int = 16,
    draws: int = 5,
    fill: Fill = "mean",
    seed: int = 0,
    advance: Advance | None = None,
) -> Faithfulness:
    """Perturbation curves over `steps` points besides the first, the last with everything covered.

    A region's relevance is the sum over its pixels. draws: random orders of each probe. fill: see
    Subject.filling. advance: is called with how many changed copies have been tried. Source: Samek et al. 2017.
    """
    if steps < 1 or draws < 1:
        raise ValueError(f"steps={steps}, draws={draws}: both must be at least 1")
    labels, sizes, words = _regions(subject, patch)
    count = int(labels.max()) + 1
    sums = np.stack([np.bincount(labels.ravel(), map_.ravel().astype(np.float64), count) for map_ in subject.maps])
    points = np.unique(np.rint(np.linspace(0, count, min(steps, count) + 1)).astype(np.int64))
    rng = np.random.default_rng(seed)
    by_relevance = np.argsort(-sums, axis=1, kind="stable")
    chance = [rng.permuted(np.tile(np.arange(count), (len(subject), 1)), axis=1) for _ in range(draws)]
    filling = subject.filling(fill, seed)
    found = [
        _curve(subject, labels, order, points, filling, advance)
        for order in (by_relevance, by_relevance[:, ::-1], *chance)
    ]
    return Faithfulness(subject.probes.names, sizes, points / count, found[0], found[1], np.stack(found[2:]), words)


def _regions(subject: Subject, patch: int | Sequence[int] | None) -> tuple[NDArray[np.int64], tuple[int, ...], str]:
    """As `patches`, and the boxes' sizes as text; of several inputs a partition of each, one after the other."""
    watched = [part for part in subject.probes.parts if part.watched]
    if len(watched) > 1 and not isinstance(patch, int | None):
        raise ValueError(f"patch={patch!r}: of several inputs a whole number, the size along every axis of each")
    found = [patches(part.map_shape, patch) for part in watched]
    if len(found) == 1:
        labels, sizes = found[0]
        return labels, sizes, " x ".join(map(str, sizes))
    end, flat = 0, []
    for labels, _ in found:
        flat.append(labels.ravel() + end)
        end += int(labels.max()) + 1
    words = [f"{part.name}: {' x '.join(map(str, sizes))}" for part, (_, sizes) in zip(watched, found, strict=True)]
    return np.concatenate(flat), tuple(size for _, sizes in found for size in sizes), "; ".join(words)


def _curve(
    subject: Subject,
    labels: NDArray[np.int64],
    order: NDArray[np.int64],
    points: NDArray[np.int64],
    filling: Sequence[NDArray[Any]],
    advance: Advance | None,
) -> Floats:
    """The explained logit (n, points) with the first `points` regions of each probe's order covered."""
    place = np.argsort(order, axis=1)  # of each region in the order
    of, step = (grid.ravel() for grid in np.meshgrid(np.arange(len(subject)), np.arange(len(points)), indexing="ij"))
    found = np.empty(len(of))
    for start in range(0, len(of), _AT_ONCE):
        block = slice(start, start + _AT_ONCE)
        covered = place[of[block]] < points[step[block], None]
        found[block] = subject.scores(subject.covered(of[block], covered[:, labels], filling), of[block])
        if advance is not None:
            advance(len(of[block]))
    return found.reshape(len(subject), len(points))
