"""Limits on the share of relevance inside a mask, and what happens when a run crosses one."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping
from typing import Any

from lrp_monitor.arguments import argument_error
from lrp_monitor.probes import ProbeSet
from lrp_monitor.text import percent
from lrp_monitor.training.probes.statistics import ABSOLUTE, COUNT, MASS


def alert_limits(alert: Any, probes: ProbeSet) -> dict[str, float]:
    """`alert` as {mask: limit}, empty for None.

    TypeError for anything but a mapping, ValueError for an empty one and for what are no masks of the probes and
    limits above 0 and at most 1.
    """
    if alert is None:
        return {}
    if not isinstance(alert, Mapping) or not alert:
        raise argument_error(
            isinstance(alert, Mapping), f'alert={alert!r}: expected limits by mask, such as {{"stamp": 0.25}}, or None'
        )
    known = ", ".join(map(repr, probes.masks)) or 'none; give some: ProbeSet(..., masks={"stamp": box})'
    limits = {}
    for mask, limit in alert.items():
        if mask not in probes.masks:
            raise ValueError(f"alert: {mask!r} is no mask of the probes; there are {known}")
        number = float(limit) if isinstance(limit, numbers.Real) and not isinstance(limit, bool) else None
        if number is None or not 0 < number <= 1:
            raise argument_error(
                number is not None,
                f"alert: the limit of {mask!r} is {limit!r}; expected the share of positive relevance inside the "
                "mask that is still fine, above 0 and at most 1, such as 0.25",
            )
        limits[mask] = number
    return limits


class Alerts:
    """Compares the masks' shares of relevance with their limits, log after log of one fit.

    Args:
        limits: {mask: limit}, each in (0, 1]. A share is above its limit where it is greater.
        probes: {mask: probes that carry it}.
    """

    def __init__(self, limits: Mapping[str, float], probes: Mapping[str, int]) -> None:
        self._limits, self._probes = dict(limits), dict(probes)
        self._above: set[str] = set()
        self._unjudged: set[str] = set()

    @property
    def any_above(self) -> bool:
        """Whether a share was above its limit when it was last known."""
        return bool(self._above)

    def crossed(
        self, scalars: Mapping[str, float], where: str, carriers: Callable[[str], str] = lambda mask: ""
    ) -> list[str]:
        """A text for each mask whose limit was crossed upwards since the log before; a first log above it counts, too.

        Args:
            scalars: those of a step; a share that is not among them (no map has enough positive relevance) changes
                nothing.
            where: the step as text.
            carriers: what to add for a mask, such as the channels that carry it.
        """
        found = []
        for mask, limit in self._limits.items():
            share = scalars.get(f"lrp/{MASS}{mask}", math.nan)
            if math.isnan(share):
                continue
            if share <= limit:
                self._above.discard(mask)
            elif mask not in self._above:
                self._above.add(mask)
                behind = of_probes(scalars, mask, self._probes.get(mask))
                found.append(
                    f"{percent(share)} of the positive relevance lies on {mask!r} at {where}, "
                    f"above the limit of {100 * limit:g} %{f' (mean over {behind})' if behind else ''}{carriers(mask)}"
                )
        return found

    def unjudged(self, scalars: Mapping[str, float], where: str) -> list[str]:
        """A text for each mask whose limit cannot be checked, the first time it cannot.

        Args:
            scalars: those of a step.
            where: the step as text.
        """
        found = []
        for mask in self._limits:
            if f"lrp/{MASS}{mask}" not in scalars and mask not in self._unjudged:
                self._unjudged.add(mask)
                share = scalars.get(f"lrp/{ABSOLUTE}{mask}")
                absolute = "" if share is None else f"; of all |relevance| {percent(share)} lies there"
                found.append(
                    f"the limit of {mask!r} cannot be judged at {where}: none of the {self._probes.get(mask, 0)} "
                    f"probes with this mask has enough positive relevance to take a share of{absolute}"
                )
        return found


def of_probes(scalars: Mapping[str, float], mask: str, all_of_them: int | None) -> str:
    """Such as "3 of 8 probes", those behind the mean share of a mask; empty where it is all of them, or not known."""
    behind = scalars.get(f"lrp/{COUNT}{mask}")
    return "" if behind is None or behind == all_of_them else f"{behind:.0f} of {all_of_them} probes"
