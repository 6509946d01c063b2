"""Comparison: what a comparison of two snapshots found; as text, as JSON, as a page."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrp_monitor.files import write_whole
from lrp_monitor.plain import Result, plain_class, plain_number
from lrp_monitor.regression.snapshot import Snapshot
from lrp_monitor.regression.tiers import Limits

Floats = NDArray[np.float64]

LOWER_IS_WORSE = ("cosine", "iou")


@dataclass(frozen=True)
class Check:
    """One aspect of a comparison. text: the finding.

    name: "maps", "finite", "logits", "classes", "channels LAYER" or "mask NAME".
    """

    name: str
    ok: bool
    text: str
    limited: bool = True
    """False where the tier sets no limit: shown for information, always ok."""


@dataclass(frozen=True)
class Comparison(Result):
    """Two snapshots of the same probes, side by side. ``str()`` is a table of at most 30 lines."""

    before: Snapshot
    now: Snapshot
    tier: str
    limits: Limits
    metrics: Mapping[str, Floats]
    """Per probe, (n,): "relative_l2", "cosine", "iou", "js" and "logits", see `metrics`; of outputs of maps "places",
    the larger share of the places whose predicted class changed, in the explained region or outside of it."""
    mask_mass: Mapping[str, tuple[Floats, Floats]]
    """Per mask the share of positive relevance inside it, (n,) before and (n,) now; see `lrp_monitor.metrics`."""
    masks: Mapping[str, NDArray[np.bool_]]
    """The masks that were looked at, (n, *map shape) each."""
    beyond: Mapping[str, NDArray[np.bool_]]
    """Which probes are beyond the limit of a metric (of those that have one), or "finite": not finite."""
    flipped: NDArray[np.bool_]
    """(n,) where the predicted class changed, or of outputs of maps more of them than the limit `places`."""
    checks: tuple[Check, ...]
    notes: tuple[str, ...] = ()
    """What else differs, such as the weights or the versions: shown, never failing."""

    @property
    def ok(self) -> bool:
        """Whether all is within the limits."""
        return all(check.ok for check in self.checks)

    @property
    def failed(self) -> NDArray[np.bool_]:
        """(n,) probes that are beyond a limit of their own."""
        none = np.zeros(len(self.now), dtype=np.bool_)
        return np.logical_or.reduce([none, *self.beyond.values()])

    def risen(self, mask: str) -> NDArray[np.bool_]:
        """(n,) where a probe's own mass in the mask rose by more than what the mean may."""
        before, now = self.mask_mass[mask]
        limit = self.limits.mask_limit(mask)
        with np.errstate(invalid="ignore"):
            return np.asarray(now - before > (math.inf if limit is None else limit))

    @property
    def worst_first(self) -> NDArray[np.intp]:
        """Indices of the probes: those beyond a limit first, then by what their map and the masks say."""
        risen = np.zeros(len(self.now))
        for before, now in self.mask_mass.values():
            risen = np.maximum(risen, np.nan_to_num(now - before, nan=0.0))
        cosine = np.nan_to_num(self.metrics["cosine"], nan=-1.0)
        # A class that changed weighs like a map that has nothing in common with the earlier one.
        badness = (1 - cosine) + risen + self.flipped
        return np.lexsort((np.arange(len(self.now)), -badness, ~self.failed))

    def summary(self) -> dict[str, float]:
        """One number for each metric.

        The mean over probes of every metric, "flips" (share of probes whose class changed),
        "failing" (share beyond a limit of their own), "mask_mass/NAME" (rise of the mean mass, -1 to 1) and
        "mask_probes/NAME" (how many probes that is the mean of).

        What is not finite is left out of a mean; NaN where nothing is left.
        """
        found = {name: _mean(values) for name, values in self.metrics.items()}
        found["flips"] = float(self.flipped.mean())
        found["failing"] = float(self.failed.mean())
        for name, (before, now) in self.mask_mass.items():
            found[f"mask_mass/{name}"] = _mean(now - before)
            found[f"mask_probes/{name}"] = float(np.isfinite(now - before).sum())
        return found

    def to_dict(self) -> dict[str, Any]:
        """Everything but the maps as plain JSON values; numbers that are not finite are null."""
        probes = []
        for i, name in enumerate(self.now.names):
            row: dict[str, Any] = {"name": name, "failed": bool(self.failed[i])}
            row |= {metric: plain_number(values[i]) for metric, values in self.metrics.items()}
            row["beyond"] = [metric for metric, flags in self.beyond.items() if flags[i]]
            row["target"] = plain_class(self.now.targets[i])
            if self.now.explains == "number":
                row["value"] = [plain_number(self.before.logit[i]), plain_number(self.now.logit[i])]
            else:
                row["prediction"] = [plain_class(self.before.predictions[i]), plain_class(self.now.predictions[i])]
            sets = [side.predicted_sets for side in (self.before, self.now)]
            if any(found is not None for found in sets):
                row["predicted_labels"] = [None if f is None else np.flatnonzero(f[i]).tolist() for f in sets]
            row["mask_mass"] = {m: [plain_number(a[i]), plain_number(b[i])] for m, (a, b) in self.mask_mass.items()}
            probes.append(row)
        limits = asdict(self.limits)
        return {
            "ok": self.ok,
            "tier": self.tier,
            "limits": {name: _plain_limit(value) for name, value in limits.items()},
            "checks": [asdict(check) for check in self.checks],
            "summary": {name: plain_number(value) for name, value in self.summary().items()},
            "notes": list(self.notes),
            "before": self.before.meta.get("source"),
            "now": self.now.meta.get("source"),
            "probes": probes,
        }

    def __str__(self) -> str:
        from lrp_monitor.regression.table import table  # which draws comparisons: imported when needed

        return table(self)

    def write_html(self, path: str | os.PathLike[str], title: str = "") -> None:
        """Write one self-contained HTML page: input, before, now and difference of the worst probes first. OSError."""
        from lrp_monitor.regression.page import page

        write_whole(path, page(self, title).encode("utf-8"))


def _mean(values: Floats) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else math.nan


def _plain_limit(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain_limit(number) for name, number in value.items()}
    return None if value is None else plain_number(value)
