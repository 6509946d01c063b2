"""Targets: what is explained, that is where relevance starts.

A target is None or ``"predicted"`` (the predicted class of each sample), a class, one class per sample, or one of

* :class:`Difference`: the difference of two logits, "why this class rather than that one";
* :class:`Outputs`: a mask, or weights, over all outputs;
* :class:`Region`: a pixel or a region of one map of a segmentation net;
* :class:`Position`: a class at one place of such an output, such as the next token after the last one;
* a function of the logits, ``f(logits) -> (n,)``, written with ``keras.ops``.

Relevance starts as ``R_j = z_j df/dz_j`` at every logit z_j, where f is the explained value: for a weighted sum of
logits these are its terms, and they sum to f. A function of one's own sums to f where it is homogeneous
(``f(a z) = a f(z)``); elsewhere ``conservation`` is not 1 from the start.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops
from numpy.typing import ArrayLike, NDArray

__all__ = ["Difference", "Outputs", "Position", "Region", "Target"]


@dataclass(frozen=True)
class Difference:
    """The logit of class ``first`` minus that of class ``second``; each is a class or one class per sample."""

    first: int | Sequence[int] | NDArray[Any]
    second: int | Sequence[int] | NDArray[Any]

    def weights(self, shape: tuple[int, ...], n: int) -> NDArray[np.float32]:
        """(n, *shape): 1 at the first class, -1 at the second. Raises ValueError for an output that is not (k,)."""
        if len(shape) != 1 or shape[0] < 2:
            raise ValueError(
                f"target {self!r}: a difference needs an output of two classes or more, this one has shape {shape}; "
                "for a single unit the logit itself is the difference"
            )
        first, second = (classes(value, n, shape[0], "Difference") for value in (self.first, self.second))
        if (first == second).any():
            sample = int(np.flatnonzero(first == second)[0])
            raise ValueError(f"target {self!r}: the two classes are the same for sample {sample}")
        one = np.eye(shape[0], dtype=np.float32)
        return one[first] - one[second]


@dataclass(frozen=True)
class Outputs:
    """The sum of outputs under a mask: boolean, or numbers that weight the outputs.

    ``weights_over`` has the output's shape for one sample, (k,) for a classifier, or (n, k) with a row per sample.
    """

    weights_over: ArrayLike

    def weights(self, shape: tuple[int, ...], n: int) -> NDArray[np.float32]:
        """(n, *shape) the weight of every output. Raises ValueError for a mask of another shape, or an empty one."""
        given = np.asarray(self.weights_over)
        if given.dtype.kind not in "fiub":
            raise TypeError(f"Outputs: the mask must be boolean or numbers, got an array of {given.dtype}")
        if given.shape not in (shape, (n, *shape)):
            raise ValueError(f"Outputs: the mask has shape {given.shape}, the outputs {shape} (or {(n, *shape)})")
        result = np.array(np.broadcast_to(given, (n, *shape)), np.float32)
        if not np.isfinite(result).all():
            raise ValueError("Outputs: the mask holds NaN or infinity")
        if not result.reshape(n, -1).any(axis=1).all():
            raise ValueError("Outputs: the mask is empty, so nothing would be explained")
        return result


@dataclass(frozen=True)
class Region:
    """A pixel or a region of one map, for outputs (n, ..., k) such as a segmentation net's: the sum of its logits.

    ``where`` is a pixel (a whole number per axis of the map), a box (a slice per axis, as np.s_[2:7, 3:8] makes
    it; numbers and slices may be mixed), or a boolean array of the map's shape or (n, *map shape). ``of`` is the
    class whose map is meant, or one class per sample.
    """

    where: Any
    of: int | Sequence[int] | NDArray[Any]

    def weights(self, shape: tuple[int, ...], n: int) -> NDArray[np.float32]:
        """(n, *shape): 1 in the region of the map. Raises ValueError for a region outside the map, or an empty one."""
        inside, chosen = self.placed(shape, n)
        of = np.arange(shape[-1]) == chosen.reshape(n, *(1,) * len(shape))
        return (inside[..., None] & of).astype(np.float32)

    def placed(self, shape: tuple[int, ...], n: int) -> tuple[NDArray[np.bool_], NDArray[np.int32]]:
        """The region as a mask of each sample's map, (n, *map shape), and its class, (n,). Raises as `weights`."""
        if len(shape) < 2:
            raise ValueError(f"target {self!r}: a region needs an output of maps (n, ..., k), this one has {shape}")
        return self._inside(shape[:-1], n), classes(self.of, n, shape[-1], "Region")

    def _inside(self, size: tuple[int, ...], n: int) -> NDArray[np.bool_]:
        where = self.where if isinstance(self.where, tuple) else (self.where,)
        if all(isinstance(part, slice | int | np.integer) and not isinstance(part, bool) for part in where):
            if len(where) != len(size):
                raise ValueError(f"Region: where={self.where!r} names {len(where)} axes, the map has {len(size)}")
            for part, limit in zip(where, size, strict=True):
                if not isinstance(part, slice) and not 0 <= part < limit:
                    raise ValueError(f"Region: where={self.where!r} lies outside the map of shape {size}")
            inside = np.zeros(size, bool)
            inside[where] = True
        else:
            inside = np.asarray(self.where)
            if inside.dtype != bool:
                raise TypeError(
                    f"Region: where must be a pixel, slices, or a boolean array, got an array of {inside.dtype}"
                )
            if inside.shape not in (size, (n, *size)):
                raise ValueError(f"Region: the mask has shape {inside.shape}, the map {size} (or {(n, *size)})")
        result: NDArray[np.bool_] = np.broadcast_to(inside, (n, *size))
        if not result.reshape(n, -1).any(axis=1).all():
            raise ValueError(f"Region: where={self.where!r} holds no pixel of the map of shape {size}")
        return result


@dataclass(frozen=True)
class Position:
    """A class at one place of an output of maps (n, *places, k): of a token, a time step or a pixel.

    ``at`` is a whole number (from the end where it is negative), a tuple of them for an output with several axes of
    places, an array with a row for each sample, or a boolean array (n, *places), True at one place of each, such as
    ``ids == mask_id``; by default the last one. ``of`` is the class, or one per sample; None for the predicted one, or
    in a probe set for that of its labels, if it has any.

    Logits, prediction and probability of an explanation are then those of that place alone.
    """

    at: Any = -1
    of: int | str | Sequence[int] | NDArray[Any] | None = None

    def places(self, n: int) -> NDArray[np.int64]:
        """(n, axes) the place of each sample. Raises TypeError or ValueError for anything but one each."""
        given = np.asarray(self.at)
        if given.dtype.kind not in "iub":
            raise TypeError(f"Position: at must be whole numbers or a boolean array, got {self.at!r}")
        if given.dtype == bool:
            if given.ndim < 2 or len(given) != n:
                raise ValueError(f"Position: the boolean array at has shape {given.shape}; expected ({n}, *places)")
            many = given.reshape(n, -1).sum(axis=1)
            if (many != 1).any():
                sample = int(np.flatnonzero(many != 1)[0])
                raise ValueError(f"Position: at is True at {many[sample]} places of sample {sample}, it must be at one")
            return np.argwhere(given)[:, 1:]
        rows = given.reshape(1, -1) if given.ndim == 0 or isinstance(self.at, tuple) else given
        rows = rows[:, None] if rows.ndim == 1 else rows
        if rows.ndim != 2 or len(rows) not in (1, n) or rows.shape[1] == 0:
            raise ValueError(
                f"Position: at has shape {given.shape}; expected a number, a tuple with one for each axis of places, "
                f"or an array of {n} rows"
            )
        return np.array(np.broadcast_to(rows, (n, rows.shape[1])), np.int64)

    def numbers(self, shape: tuple[int, ...], n: int) -> NDArray[np.int32]:
        """(n,) the number of each sample's place in an output (*places, k), places counted one after the other."""
        size, rows = np.array(shape[:-1], np.int64), self.places(n)
        if not len(size):
            raise ValueError(f"Position: a place needs an output of maps (n, *places, k), this one has {shape}")
        if rows.shape[1] != len(size):
            raise ValueError(
                f"Position: at has {rows.shape[1]} axes, the output's places {shape[:-1]} have {len(size)}"
            )
        outside = ((rows < -size) | (rows >= size)).any(axis=1)
        if outside.any():
            sample = int(np.flatnonzero(outside)[0])
            raise ValueError(
                f"Position: {rows[sample].tolist()} of sample {sample} lies outside the places {shape[:-1]}"
            )
        return np.ravel_multi_index(tuple((rows % size).T), shape[:-1]).astype(np.int32)


@dataclass(frozen=True)
class Rows:
    """The target of some samples of a set: of the weights that ``inner`` gives ``of`` samples, the rows ``rows``."""

    inner: Difference | Outputs | Region
    rows: NDArray[np.int64]
    of: int

    def weights(self, shape: tuple[int, ...], n: int) -> NDArray[np.float32]:
        """(n, *shape). Raises ValueError for another number of samples than rows."""
        if n != len(self.rows):
            raise ValueError(f"the target is of {len(self.rows)} samples, not {n}")
        return self.inner.weights(shape, self.of)[self.rows]


Weighted = Difference | Outputs | Region | Rows
"""Targets that say how much each output counts: ``weights(shape, n)``."""
Target = None | str | int | Sequence[int] | NDArray[Any] | Weighted | Position | Callable[[Any], Any]


def predicted_region(logits: NDArray[Any]) -> Region:
    """Of an output of maps, logits (n, ..., k): for each sample the places predicted as the class that most are.

    For a single channel the places whose logit is above 0 (a sigmoid's 1), or all where there are none. Raises
    ValueError where logits are not finite: then nothing is predicted.
    """
    flat = logits.reshape(len(logits), -1)
    broken = np.flatnonzero(~np.isfinite(flat).all(axis=1))
    if len(broken):
        raise ValueError(
            f"the model's output for sample {broken[0]} is not finite, so that no region of it is predicted; name what "
            "to explain: target=Region(where, of)"
        )
    if logits.shape[-1] == 1:
        inside = logits[..., 0] > 0
        inside[~inside.reshape(len(inside), -1).any(axis=1)] = True
        return Region(inside, 0)
    predicted = logits.argmax(axis=-1)
    of = np.array([np.bincount(one.ravel()).argmax() for one in predicted])
    return Region(predicted == of.reshape(-1, *(1,) * (predicted.ndim - 1)), of)


def as_region(target: Weighted, shape: tuple[int, ...], n: int) -> Weighted:
    """A region with a mask and a class for each of n samples of an output of ``shape``; other weights as they are.

    Raises what `Region.weights` raises.
    """
    if isinstance(target, Rows):
        whole = as_region(target.inner, shape, target.of)
        return (
            Region(whole.where[target.rows], np.asarray(whole.of)[target.rows]) if isinstance(whole, Region) else target
        )
    return Region(*target.placed(shape, n)) if isinstance(target, Region) else target


def sums_by_class(logits: NDArray[Any], where: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Of an output of maps, logits (n, ..., k), the sum of each class over a region (n, ...): (n, k)."""
    n, inside = len(logits), where.reshape(len(logits), -1, 1)
    sums: NDArray[np.float64] = np.where(inside, logits.reshape(n, -1, logits.shape[-1]), 0).sum(axis=1, dtype=float)
    return sums


def start_of(target: Target) -> str | Callable[[Any], Any]:
    """The kind of compiled pass that a target needs: ``"classes"``, ``"weights"``, ``"position"``, or a function."""
    if isinstance(target, Weighted):
        return "weights"
    if isinstance(target, Position):
        return "position"
    if isinstance(target, type) and issubclass(target, Weighted | Position):
        raise TypeError(f"target {target.__name__} is a class; make a target of it: {target.__name__}(...)")
    if callable(target):
        return target
    if isinstance(target, str) and target != "predicted":
        raise ValueError(f'target {target!r}: the one word for a target is "predicted"')
    return "classes"


def classes(target: Any, n: int, count: int, name: str, of: str = "") -> NDArray[np.int32]:
    """One class per sample, (n,) int32, checked; ``count`` classes there are. Raises TypeError or ValueError."""
    wanted = np.asarray(target)
    if wanted.dtype.kind not in "iu":
        raise TypeError(f"{name} must be a class or one class per sample, all whole numbers, got {target!r}")
    if wanted.ndim == 0:
        wanted = np.full(n, wanted)
    if wanted.shape != (n,):
        raise ValueError(f"{name} must be one class per sample, shape ({n},), got shape {wanted.shape}")
    if wanted.min() < 0 or wanted.max() >= count:
        bad = wanted[(wanted < 0) | (wanted >= count)][0]
        raise ValueError(f"{name} {bad} lies outside the outputs{of}: 0 to {count - 1}")
    return wanted.astype(np.int32)


def at_place(values: Any, number: Any) -> Any:
    """Of values (n, *places, k) those at one place of each sample, (n, k); number: (n,), see `Position.numbers`."""
    flat = ops.reshape(values, (values.shape[0], -1, values.shape[-1]))
    return ops.take_along_axis(flat, ops.reshape(number, (-1, 1, 1)), axis=1)[:, 0]


def weighted_sum(logits: Any, weights: Any) -> Any:
    """(n,) the sum of weighted outputs. A weight of 0 leaves its output out: 0 times NaN would be NaN."""
    terms = ops.where(weights == 0, 0.0, logits * weights)
    return ops.sum(ops.reshape(terms, (logits.shape[0], -1)), axis=-1)
