"""Rank correlation of heatmaps, per sample; the other similarities are those of `lrp_monitor.metrics`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def spearman(before: NDArray[np.floating[Any]], now: NDArray[np.floating[Any]]) -> Floats:
    """Spearman's rank correlation of maps (n, ...): 1 the same order of pixels, 0 none in common, -1 reversed.

    float64 (n,); equal values share their mean rank. NaN where a map is constant or not finite. The similarity
    of Adebayo et al. 2018.
    """
    a, b = (ranks(np.asarray(maps, np.float64).reshape(len(maps), -1)) for maps in (before, now))
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    with np.errstate(all="ignore"):
        found = (a * b).sum(axis=1) / np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    finite = np.isfinite(before.reshape(len(before), -1)).all(axis=1) & np.isfinite(now.reshape(len(now), -1)).all(
        axis=1
    )
    return np.asarray(np.where(finite, found, np.nan))


def ranks(rows: Floats) -> Floats:
    """The rank of each value in its row (n, m), from 0; equal values share the mean of theirs."""
    result = np.empty(rows.shape)
    for row, values in enumerate(rows):
        _, place, count = np.unique(values, return_inverse=True, return_counts=True)
        after = np.cumsum(count)
        result[row] = (after - (count + 1) / 2)[place]
    return result
