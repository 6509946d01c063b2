"""Class sensitivity: a heatmap for one class should not be the heatmap for every other class too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrp_monitor.metrics import cosine
from lrp_monitor.plain import Result, plain
from lrp_monitor.sanity.randomisation import mean
from lrp_monitor.sanity.similarity import spearman
from lrp_monitor.sanity.subject import Subject
from lrp_monitor.text import number

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Sensitivity(Result):
    """Heatmaps of n probes for their class against those for m other classes, the strongest ones first.

    Attributes:
        others: int64 (n, m).
        cosine: float64 (n, m), between the heatmap for the class and the one for the other class.
        spearman: float64 (n, m), their rank correlation.
        maps: float32 (m, n, *map shape), those for the others.
        limit: what the mean cosine must lie below.
    """

    names: tuple[str, ...]
    others: NDArray[np.int64]
    cosine: Floats
    spearman: Floats
    maps: NDArray[np.float32]
    limit: float

    @property
    def ok(self) -> bool:
        """Whether the heatmaps depend on the class."""
        return mean(self.cosine) < self.limit

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain data; what is not finite is None."""
        return {
            "others": self.others.tolist(),
            "limit": self.limit,
            "cosine": plain(self.cosine),
            "spearman": plain(self.spearman),
        }

    def summary(self) -> str:
        """One line."""
        return (
            f"other classes: cosine {number(mean(self.cosine))}, rank correlation {number(mean(self.spearman))} "
            f"between the maps for a probe's class and for {self.others.shape[1]} other(s) "
            f"(limit of the cosine {self.limit:g})"
        )


def other_classes(
    subject: Subject, *, most: int = 3, limit: float = 0.9, advance: Callable[[int], None] | None = None
) -> Sensitivity | None:
    """Explains each probe for up to `most` other classes, those with the highest logits, at its place or region if any.

    None where the model has one output only and no classes, or the probes' target is weights of outputs. For a single
    sigmoid unit the other class's map is the negative of the first by definition: cosine -1. advance: is called for
    each class done. Source: the question of Adebayo et al. 2018, asked of classes; Nie, Zhang, Patel 2018. ValueError
    for most < 1.
    """
    if most < 1:
        raise ValueError(f"most={most}: must be at least 1")
    logits = subject.by_class
    is_one_number = subject.probes.numbers is not None and subject.explanation.is_binary
    if logits is None or logits.shape[1] < 2 or is_one_number:
        return None
    ranked = np.argsort(-logits, axis=1, kind="stable")
    others = np.stack([row[row != target] for row, target in zip(ranked, subject.targets, strict=True)])[:, :most]
    maps = []
    for column in others.T:
        maps.append(subject.heatmaps(column))
        if advance is not None:
            advance(1)
    return Sensitivity(
        subject.probes.names,
        others.astype(np.int64),
        np.stack([cosine(subject.maps, other) for other in maps], axis=1),
        np.stack([spearman(subject.maps, other) for other in maps], axis=1),
        np.stack(maps),
        limit,
    )
