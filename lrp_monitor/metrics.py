"""How far two sets of heatmaps lie apart, and how much of their relevance lies in a mask, per probe.

NumPy alone, computed in float64. Every function takes maps (n, *map shape), the comparing ones `before` and `now`, and
returns float64 (n,). A map is compared after division by its L1 norm, so that a stronger logit alone changes nothing.
A map of zeros equals another one and has nothing in common with any other; a map that is not finite gives NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Maps = NDArray[np.floating[Any]]

TOP_SHARE = 0.1
"""The share of a map's pixels that `iou` compares."""

LEAST_POSITIVE = 0.05
"""Positive relevance that is a smaller share than this of all |relevance| is too little to take shares of.

Moving a part d of a map's |relevance| moves a share of its positive relevance by up to d / p, where p is the positive
part. Maps are known to about a thousandth (8 bits in the store, the tier `same_weights`), so that at p = 0.05 a share
is known to two points of a hundred; at p = 0.001 it is arbitrary. Such a map says what speaks against the class."""


def normalised(maps: Maps) -> Floats:
    """Maps divided by their L1 norms, of the same shape; a map of zeros stays."""
    flat = _flat(maps)
    mass = np.abs(flat).sum(axis=1, keepdims=True)
    with np.errstate(all="ignore"):
        return np.asarray(np.where(mass > 0, flat / mass, flat * 1.0)).reshape(maps.shape)


def relative_l2(before: Maps, now: Maps) -> Floats:
    """Euclidean distance of the L1-normalised maps over the norm of the earlier one: 0 equal, no upper bound.

    0 for two maps of zeros; infinite where only the earlier one is.
    """
    a, b = _pair(before, now)
    return _ratio(_norm(b - a), _norm(a), both_zero=0.0)


def cosine(before: Maps, now: Maps) -> Floats:
    """Cosine of the angle between the maps as vectors: 1 equal up to strength, 0 orthogonal, -1 opposed."""
    a, b = _pair(before, now)
    both_empty = ~(a.any(axis=1) | b.any(axis=1))
    # Scaled before multiplying: the squares of an L1-normalised map of millions of pixels are tiny.
    product = (_ratio(a, _norm(a)[:, None], 0.0) * _ratio(b, _norm(b)[:, None], 0.0)).sum(axis=1)
    return np.asarray(np.where(both_empty, 1.0, np.clip(product, -1, 1)))


def iou(before: Maps, now: Maps, share: float = TOP_SHARE) -> Floats:
    """Intersection over union of the pixels of highest relevance: 1 the same pixels, 0 none in common.

    The `share` of a map's pixels (rounded to whole ones, at least one) with the largest relevance, only positive
    relevance counting; equal values are taken in the order of the pixels. The top-k intersection of Ghorbani,
    Abid, Zou 2019 (Interpretation of Neural Networks is Fragile), as a Jaccard index.
    """
    a, b = _pair(before, now)
    top_a, top_b = _top(a, share), _top(b, share)
    common = (top_a & top_b).sum(axis=1).astype(np.float64)
    either = (top_a | top_b).sum(axis=1).astype(np.float64)
    return _with_nan(_ratio(common, either, both_zero=1.0), a, b)


def js(before: Maps, now: Maps) -> Floats:
    """Jensen-Shannon divergence of the positive relevance as distributions over pixels, in bits: 0 to 1.

    0 the same distribution, 1 no pixel in common (Lin 1991, equation 4.1, with logarithms to base 2); the
    divergence itself, not its square root. 0 where neither map has positive relevance, 1 where only one has.
    """
    a, b = _pair(before, now)
    p, q = _distribution(a), _distribution(b)
    empty_p, empty_q = ~p.any(axis=1), ~q.any(axis=1)
    middle = (p + q) / 2
    divergence = (_kl(p, middle) + _kl(q, middle)) / 2
    divergence = np.where(empty_p & empty_q, 0.0, np.where(empty_p ^ empty_q, 1.0, divergence))
    return _with_nan(np.clip(divergence, 0, 1), a, b)


def mask_mass(maps: Maps, mask: NDArray[np.bool_]) -> Floats:
    """Positive relevance inside the mask over all positive relevance: 0 to 1, (n,).

    Relevance mass accuracy of Arras, Osman, Samek 2022 (Information Fusion 81), of positive relevance alone. NaN where
    the mask is empty, where the map is not finite, and where its positive relevance is zero or a smaller part than
    LEAST_POSITIVE of its |relevance|.

    Args:
        mask: (n, *map shape).
    """
    flat = _flat(maps)
    with np.errstate(all="ignore"):
        positive = np.where(flat < 0, 0.0, flat)
        enough = positive.sum(axis=1) >= LEAST_POSITIVE * np.abs(flat).sum(axis=1)
    return np.where(enough, _share_inside(positive, mask), np.nan)


def mask_absolute(maps: Maps, mask: NDArray[np.bool_]) -> Floats:
    """|Relevance| inside the mask over all |relevance|, whatever it speaks for: 0 to 1, (n,).

    NaN where the mask is empty, or the map has no relevance or is not finite.

    Args:
        mask: (n, *map shape).
    """
    return _share_inside(np.abs(_flat(maps)), mask)


def carries(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(n,) whether a probe has the mask at all: one that covers nothing has no share. mask: (n, *map shape)."""
    return np.asarray(mask.reshape(len(mask), -1).any(axis=1))


def logit_change(before: NDArray[Any], now: NDArray[Any]) -> Floats:
    """Largest change of a probe's logits over the root mean square of all earlier logits: 0 equal, no upper bound.

    The scale is that of the whole set: a single probe whose logits lie near 0 (an undecided one) would turn rounding
    into a large relative change. Infinite where all earlier logits are 0 and one is not.

    Args:
        before: (n, k).
        now: (n, k).
    """
    a, b = np.asarray(before, np.float64), np.asarray(now, np.float64)
    scale = np.sqrt(np.mean(a**2, keepdims=True)).ravel()
    return _ratio(np.abs(b - a).max(axis=1), np.broadcast_to(scale, len(a)), both_zero=0.0)


PAIRWISE: dict[str, Callable[[Maps, Maps], Floats]] = {
    "relative_l2": relative_l2,
    "cosine": cosine,
    "iou": iou,
    "js": js,
}
"""The metrics of two sets of maps, by the names that limits have."""


def _flat(maps: Maps) -> Floats:
    return np.asarray(maps).reshape(len(maps), -1).astype(np.float64)


def _share_inside(amounts: Floats, mask: NDArray[np.bool_]) -> Floats:
    """The part of (n, pixels) amounts, none negative, that lies inside: NaN where the mask is empty, or all are 0."""
    inside = mask.reshape(len(mask), -1)
    with np.errstate(all="ignore"):
        share = (amounts * inside).sum(axis=1) / amounts.sum(axis=1)
    return np.asarray(np.where(carries(mask), share, np.nan))


def _pair(before: Maps, now: Maps) -> tuple[Floats, Floats]:
    if np.shape(before) != np.shape(now):
        raise ValueError(f"heatmaps of shapes {np.shape(before)} and {np.shape(now)} cannot be compared")
    return _flat(normalised(before)), _flat(normalised(now))


def _norm(flat: Floats) -> Floats:
    return np.asarray(np.sqrt((flat**2).sum(axis=1)))


def _ratio(above: Floats, below: Floats, both_zero: float) -> Floats:
    with np.errstate(all="ignore"):
        return np.asarray(np.where((above == 0) & (below == 0), both_zero, above / below))


def _top(flat: Floats, share: float) -> NDArray[np.bool_]:
    count = max(1, round(share * flat.shape[1]))
    order = np.argsort(-flat, axis=1, kind="stable")[:, :count]
    top = np.zeros(flat.shape, dtype=np.bool_)
    np.put_along_axis(top, order, True, axis=1)
    return top & (flat > 0)


def _distribution(flat: Floats) -> Floats:
    positive = np.where(flat > 0, flat, 0.0)
    return _ratio(positive, positive.sum(axis=1, keepdims=True), both_zero=0.0)


def _kl(p: Floats, q: Floats) -> Floats:
    """Kullback-Leibler divergence in bits; q is above 0 wherever p is."""
    safe = np.where(p > 0, p, 1.0)
    return np.asarray((p * np.log2(safe / np.where(p > 0, q, 1.0))).sum(axis=1))


def _with_nan(values: Floats, a: Floats, b: Floats) -> Floats:
    finite = np.isfinite(a).all(axis=1) & np.isfinite(b).all(axis=1)
    return np.asarray(np.where(finite, values, np.nan))
