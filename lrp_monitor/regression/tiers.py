"""Tiers: how far heatmaps may move before it counts as a change, by what was meant to change."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, TypedDict

from lrp_monitor.arguments import Tier, argument_error, suggestion


@dataclass(frozen=True)
class Limits:
    """What a comparison may find. None: measured and shown, but without a limit.

    Attributes:
        relative_l2: what `metrics.relative_l2` may be at most.
        js: what `metrics.js` may be at most.
        logits: what `metrics.logit_change` may be at most.
        cosine: what `metrics.cosine` must be at least.
        iou: what `metrics.iou` must be at least.
        failing: share of the probes, rounded down to whole ones, that may be beyond the limits of their maps; never
            beyond that of their logits.
        flips: share of the probes that may flip, whose predicted class may change; of outputs of maps see `places`.
        places: of outputs of maps the share of the places whose predicted class may change, in the explained region and
            outside of it; a probe flips that is beyond it in either. As many may as `flips` says, none where that is
            None.
        channel_share: by how much the share of a channel that leads in the baseline may change, of the positive
            relevance of a class, in the layers of ``features=``.
        mask_mass: by how much the share of positive relevance inside a mask may rise, as a mean over the probes that
            have the mask; one number, or {mask: number or None}.
    """

    relative_l2: float | None = None
    cosine: float | None = None
    iou: float | None = None
    js: float | None = None
    logits: float | None = None
    failing: float = 0.0
    flips: float | None = None
    places: float | None = None
    channel_share: float | None = None
    mask_mass: float | Mapping[str, float | None] | None = None

    def mask_limit(self, mask: str) -> float | None:
        """The limit of one mask."""
        return self.mask_mass.get(mask) if isinstance(self.mask_mass, Mapping) else self.mask_mass


class LimitOptions(TypedDict, total=False):
    """The limits as keywords, for functions that hand them on to `limits_of`."""

    relative_l2: float | None
    cosine: float | None
    iou: float | None
    js: float | None
    logits: float | None
    failing: float
    flips: float | None
    places: float | None
    channel_share: float | None
    mask_mass: float | Mapping[str, float | None] | None


TIERS: dict[Tier, Limits] = {
    "same_weights": Limits(
        relative_l2=1e-3, cosine=0.9999, logits=1e-3, places=0.01, channel_share=0.001, mask_mass=0.01
    ),
    "mixed_precision": Limits(
        relative_l2=5e-2, cosine=0.999, logits=5e-2, failing=0.05, places=0.05, channel_share=0.01, mask_mass=0.05
    ),
    "fine_tuned": Limits(
        cosine=0.95, iou=0.75, failing=0.10, flips=0.05, places=0.10, channel_share=0.05, mask_mass=0.05
    ),
    "retrained": Limits(iou=0.15, js=0.60, failing=0.20, flips=0.10, places=0.25, mask_mass=0.10),
}
"""same_weights: refactoring, another machine, a new TensorFlow. mixed_precision: bfloat16, TF32, quantised weights.
fine_tuned: a little more training of a converged model. retrained: a new seed, or new data of the same kind; there
channels are other units, so that their shares have no limit."""

# Limit -> the range it may have.
_RANGES: dict[str, tuple[float, float]] = {
    "relative_l2": (0, math.inf),
    "cosine": (-1, 1),
    "iou": (0, 1),
    "js": (0, 1),
    "logits": (0, math.inf),
    "failing": (0, 1),
    "flips": (0, 1),
    "places": (0, 1),
    "channel_share": (0, 1),
    "mask_mass": (0, 1),
}


def limits_of(tier: Tier, given: Mapping[str, Any] | None = None) -> Limits:
    """The tier's limits, with those in `given` in place of its own.

    ValueError for an unknown tier or limit (naming the nearest), or one out of its range.
    """
    if tier not in TIERS:
        raise ValueError(f"tier={tier!r} is not one of {', '.join(TIERS)}{suggestion(tier, TIERS)}")
    known = {field.name for field in fields(Limits)}
    for name, value in (given or {}).items():
        if name not in known:
            raise ValueError(f"no limit {name!r}; there are {', '.join(sorted(known))}{suggestion(name, known)}")
        values = value.values() if name == "mask_mass" and isinstance(value, Mapping) else [value]
        for number in values:
            _check(name, number)
    return replace(TIERS[tier], **dict(given or {}))


def _check(name: str, number: Any) -> None:
    low, high = _RANGES[name]
    if number is None and name != "failing":
        return
    of_type = isinstance(number, numbers.Real) and not isinstance(number, bool)
    if not of_type or not low <= number <= high:
        raise argument_error(of_type, f"limit {name}={number!r}: expected a number between {low:g} and {high:g}")
