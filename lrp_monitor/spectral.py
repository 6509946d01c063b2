"""Spectral relevance analysis: groups of probes whose heatmaps look alike, found without labels or masks.

A model that uses a shortcut explains some probes in another way than the rest; these then form a group of their own
(Lapuschkin et al., "Unmasking Clever Hans predictors and assessing what machines really learn", 2019). The groups are
found by spectral clustering (von Luxburg, "A tutorial on spectral clustering", 2007). Needs the extra ``clusters``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

MOST_GROUPS = 8
NO_RELEVANCE = -1
"""The label of a heatmap without relevance, or with pixels that are not finite: it belongs to no group."""


@dataclass(frozen=True)
class Clusters:
    """Groups of heatmaps.

    ``labels`` is int64 (n,): 0 for the largest group, and so on, ``NO_RELEVANCE`` for a map that has none.
    ``count`` is the number of groups. ``eigenvalues`` float64 are the smallest ones of the graph's normalised
    Laplacian, ascending, 0 to 2: the first large gap between two of them, after the count-th, gave the number.
    """

    labels: npt.NDArray[np.int64]
    count: int
    eigenvalues: npt.NDArray[np.float64]


def cluster(
    heatmaps: npt.NDArray[Any],
    *,
    groups: int | None = None,
    neighbours: int | None = None,
    side: int = 16,
) -> Clusters:
    """Groups heatmaps (n, *map_shape) by where and with which sign they hold relevance, whatever its amount.

    Each map is averaged down to at most ``side`` pixels an axis and scaled to length 1. The graph joins each map to
    its ``neighbours`` nearest ones (default log2 n, rounded up, at least 2), with weight
    exp(-d^2 / (s_i s_j)), s the distance to the last neighbour (Zelnik-Manor and Perona, 2004). ``groups`` is their
    number; without it the largest gap between the first eigenvalues gives it, at least 1, at most 8. The maps are
    separated by k-means on the rows, scaled to length 1, of the first eigenvectors (Ng, Jordan and Weiss, 2001).
    The same maps always give the same groups.

    Raises:
        ValueError: for arguments that cannot be, ModuleNotFoundError that names the extra without scikit-learn.
    """
    maps = np.asarray(heatmaps)
    if maps.ndim < 2 or maps.dtype.kind not in "fiu" or 0 in maps.shape:
        raise ValueError(f"heatmaps must be numbers of shape (n, ...) with n >= 1, got {maps.dtype} {maps.shape}")
    if side < 1:
        raise ValueError(f"side must be at least 1, got {side}")
    if neighbours is not None and neighbours < 1:
        raise ValueError(f"neighbours must be at least 1, got {neighbours}")
    if groups is not None and groups < 1:
        raise ValueError(f"groups must be at least 1, got {groups}")
    kmeans, kneighbors_graph = _scikit_learn()
    features, usable = _features(maps, side)
    found = int(usable.sum())
    if groups is not None and groups > max(found, 1):
        raise ValueError(f"groups must be at most {found}, the number of heatmaps with relevance, got {groups}")
    labels = np.full(len(maps), NO_RELEVANCE, np.int64)
    if found < 3:
        # Two maps have no neighbourhood to speak of: together, unless a number is given.
        labels[usable] = 0 if groups in (None, 1) else np.arange(found)
        return Clusters(labels, int(labels.max()) + 1, np.zeros(found))
    nearest = min(found - 1, neighbours or max(2, math.ceil(math.log2(found))))
    values, vectors = np.linalg.eigh(_laplacian(_affinity(features, nearest, kneighbors_graph)))
    values = np.clip(values, 0.0, 2.0)  # rounding makes the zero a little negative
    most = min(MOST_GROUPS, found - 1)
    count = groups or int(np.argmax(np.diff(values[: most + 1]))) + 1
    rows = vectors[:, :count]
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    parts = kmeans(n_clusters=count, n_init=10, random_state=0).fit_predict(rows)
    labels[usable] = _by_size(parts)
    return Clusters(labels, int(labels.max()) + 1, values[: max(most, count) + 1])


def _scikit_learn() -> tuple[Any, Any]:
    try:
        from sklearn.cluster import KMeans
        from sklearn.neighbors import kneighbors_graph
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "grouping heatmaps needs scikit-learn, which is not installed: pip install 'lrp_monitor[clusters]'",
            name=error.name,
        ) from error
    return KMeans, kneighbors_graph


def _features(maps: npt.NDArray[Any], side: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """(rows of length 1 of the maps that have relevance, which these are)."""
    flat = maps.reshape(len(maps), -1)
    largest = np.abs(flat.astype(np.float64)).max(axis=1)
    finite = np.isfinite(largest)
    scale = np.where(finite & (largest > 0), largest, 1.0)
    # Divided by the largest first: squares of the smallest float32 relevance would vanish.
    small = np.where(finite[:, None], flat, 0.0) / scale[:, None]
    small = small.reshape(maps.shape)
    for axis in range(1, maps.ndim):
        small = _average(small, axis, side)
    small = small.reshape(len(maps), -1)
    length = np.linalg.norm(small, axis=1)
    usable = finite & (length > 0)
    return small[usable] / length[usable, None], usable


def _average(values: npt.NDArray[np.float64], axis: int, side: int) -> npt.NDArray[np.float64]:
    """Means over ``side`` parts of an axis, as equal as they can be; unchanged where it is not longer than that."""
    length = values.shape[axis]
    if length <= side:
        return values
    edges = np.arange(side + 1) * length // side
    sizes = np.diff(edges).astype(np.float64)
    return np.add.reduceat(values, edges[:-1], axis=axis) / np.expand_dims(sizes, tuple(range(1, values.ndim - axis)))


def _affinity(features: npt.NDArray[np.float64], nearest: int, kneighbors_graph: Any) -> npt.NDArray[np.float64]:
    """Symmetric weights (n, n) in 0 ... 1, 0 where neither of two maps is among the other's neighbours."""
    near = kneighbors_graph(features, nearest, mode="distance").tocoo()
    distance = np.sqrt(np.maximum(0.0, 2.0 - 2.0 * features @ features.T))
    reach = np.zeros(len(features))
    np.maximum.at(reach, near.row, near.data)
    joined = np.zeros(distance.shape, bool)
    joined[near.row, near.col] = True
    joined |= joined.T
    # Maps that are all but the same have no reach: the width is that of rounding then.
    width = np.maximum(reach[:, None] * reach[None, :], 1e-12)
    weights = np.where(joined, np.exp(-(distance**2) / width), 0.0)
    # Beside a block of equal maps the weight of a map that is far from all of them rounds to 0: it stands alone.
    alone = weights.sum(axis=1) == 0.0
    weights[alone, alone] = 1.0
    return weights


def _laplacian(weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The symmetric normalised Laplacian 1 - D^-1/2 W D^-1/2."""
    root = 1.0 / np.sqrt(weights.sum(axis=1))
    return np.eye(len(weights)) - root[:, None] * weights * root[None, :]


def _by_size(parts: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.int64]:
    """The same groups numbered by size, the largest first; of two as large the one with the first map."""
    names, first, inverse, counts = np.unique(parts, return_index=True, return_inverse=True, return_counts=True)
    order = np.lexsort((first, -counts))
    place = np.empty(len(names), np.int64)
    place[order] = np.arange(len(names))
    return place[inverse]
