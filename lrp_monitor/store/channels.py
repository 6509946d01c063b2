"""Statistics of a layer's channels, from relevance by probe and channel: shares, leaders, when they emerged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

PART = 0.9
"""The part of the positive relevance for which `needed` counts the channels."""
_NOTHING = 1e-6


def shares(relevance: npt.NDArray[np.floating], classes: npt.NDArray[np.int64], explained: Sequence[int]) -> Floats:
    """The channels' shares of each class's positive relevance, (..., classes, channels).

    What is positive is summed over a class's probes. NaN where a class has no positive relevance; values that are not
    finite count as none.

    Args:
        relevance: (..., n, channels).
        classes: (n,) the class explained of each probe.
        explained: the classes asked for.
    """
    positive = np.where(np.isfinite(relevance), np.maximum(relevance, 0), 0).astype(np.float64)
    member = (classes[None, :] == np.asarray(explained, np.int64)[:, None]).astype(np.float64)
    of_class = member @ positive
    total = of_class.sum(axis=-1, keepdims=True)
    with np.errstate(all="ignore"):
        return np.where(total > 0, of_class / total, np.nan)


def leading(share: Floats, count: int) -> npt.NDArray[np.int64]:
    """The channels with the largest shares, (at most count,), the largest first; none without a share."""
    order = np.argsort(-np.nan_to_num(share), kind="stable")[:count]
    return order[np.nan_to_num(share)[order] > 0].astype(np.int64)


def needed(share: Floats, part: float = PART) -> npt.NDArray[np.int64]:
    """How many channels, the largest first, make ``part`` of the positive relevance, (...,); 0 where there is none."""
    known = np.nan_to_num(share)
    ordered = -np.sort(-known, axis=-1)
    reached = np.cumsum(ordered, axis=-1) >= part - 1e-12
    return np.where(known.any(axis=-1), reached.argmax(axis=-1) + 1, 0).astype(np.int64)


def unused(relevance: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
    """(..., channels) whether no probe has relevance there: at most a millionth of the layer's largest.

    Args:
        relevance: (..., n, channels).
    """
    size = np.abs(np.where(np.isfinite(relevance), relevance, np.inf)).max(axis=-2)
    finite = np.where(np.isfinite(size), size, 0).max(axis=-1, keepdims=True)
    return np.asarray(size <= _NOTHING * finite)


def emerged(curve: Floats) -> npt.NDArray[np.int64]:
    """At which of the steps a share emerged, (...,): the first from which it stays at or above half of its last one.

    -1 where the last share is 0.

    Args:
        curve: (s, ...), shares over steps, NaN counting as 0.
    """
    known = np.nan_to_num(curve)
    below = known < known[-1] / 2
    last_below = np.where(below.any(axis=0), len(known) - 1 - below[::-1].argmax(axis=0), -1)
    return np.where(known[-1] > 0, last_below + 1, -1).astype(np.int64)


@dataclass(frozen=True)
class History:
    """A layer's channels over training.

    Attributes:
        steps: (s,).
        relevance: float32 (s, n, channels).
        fired: (s, channels), whether any probe had a value that was not 0.
        classes: (n,) the class explained of each probe, -1 for none.
    """

    layer: str
    steps: npt.NDArray[np.int64]
    relevance: npt.NDArray[np.float32]
    fired: npt.NDArray[np.bool_]
    classes: npt.NDArray[np.int64]
    keys: Sequence[tuple[int, str]]
    """The steps and sessions that were read for it."""
    referenced: Sequence[tuple[int, str]]
    """Those of them that saw the reference samples."""

    @classmethod
    def joined(cls, parts: Sequence[History], keys: Sequence[tuple[int, str]]) -> History:
        """One history of several that follow each other."""
        steps, relevance, fired = (
            np.concatenate([getattr(one, name) for one in parts]) if len(parts) > 1 else getattr(parts[0], name)
            for name in ("steps", "relevance", "fired")
        )
        referenced = [key for part in parts for key in part.referenced]
        return cls(parts[0].layer, steps, relevance, fired, parts[-1].classes, list(keys), referenced)

    @cached_property
    def explained(self) -> list[int]:
        """The classes explained of any probe, ascending; -1 stands for a region, and for probes without a class."""
        return sorted({int(c) for c in self.classes})

    @cached_property
    def shares(self) -> Floats:
        """(s, classes, channels) each channel's share of the class's positive relevance."""
        return shares(self.relevance, self.classes, self.explained)

    @cached_property
    def overall(self) -> Floats:
        """(s, channels) each channel's share of the positive relevance of all probes."""
        return shares(self.relevance, np.zeros(len(self.classes), np.int64), [0])[:, 0]

    @cached_property
    def emerged(self) -> npt.NDArray[np.int64]:
        """(classes, channels) the step at which each channel's share emerged, -1 where it has none at the end."""
        at = emerged(self.shares)
        return np.where(at >= 0, self.steps[np.maximum(at, 0)], -1).astype(np.int64)

    @cached_property
    def unused(self) -> npt.NDArray[np.bool_]:
        """(s, channels) whether no probe has relevance in the channel."""
        return unused(self.relevance)

    def of_class(self, number: int) -> int:
        """Where a class stands among those explained; KeyError that lists them for another one."""
        if number not in self.explained:
            raise KeyError(f"no probe of class {number} is explained; there are {self.explained}")
        return self.explained.index(number)
