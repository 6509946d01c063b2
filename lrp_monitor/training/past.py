"""What a log directory already holds of a run, as far as a new fit needs to know it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrp_monitor.store.finite import class_numbers
from lrp_monitor.store.format import StoreError
from lrp_monitor.store.index import PROBES_FILE
from lrp_monitor.store.reader import open_run
from lrp_monitor.store.storage import open_storage
from lrp_monitor.store.writer import store_folder
from lrp_monitor.training.axis import Place

# Two evaluations of the same weights differ by rounding (another batch size, another machine), weights one
# training step apart by more, except where training no longer moves anything.
_SAME = 1e-4
# Of the model alone: heatmaps also depend on the composite.
_FINGERPRINT = ("logit", "probability")

Columns = Mapping[str, NDArray[np.float64]]


@dataclass
class Past:
    """The records of a run directory: their places, ascending, and the probes' statistics at each."""

    places: list[Place] = field(default_factory=list)
    statistics: dict[Place, Columns] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, run_dir: str | os.PathLike[str], probes_hash: str) -> Past:
        """What is there; empty where nothing is. StoreError where it is there and cannot be read.

        probes_hash: of the probes given. Records of other probes say nothing about these (the store's writer
        refuses such a folder), so they count as none.
        """
        if not open_storage(store_folder(run_dir)).has(PROBES_FILE):
            return cls()
        run = open_run(run_dir)
        if run.probes.hash != probes_hash:
            return cls()
        headers = run.records()
        places = [Place(header.epoch, header.batch) for header in headers]
        return cls(places, {place: h.statistics for place, h in zip(places, headers, strict=True)}, dict(run.meta))

    @property
    def targets(self) -> NDArray[np.int64] | None:
        """The classes explained so far, (n,), -1 where none was yet; None where nothing is logged."""
        known: NDArray[np.int64] | None = None
        for place in reversed(self.places):
            target = self.statistics[place].get("target")
            if target is not None:
                found = class_numbers(target)
                known = found if known is None else np.where(known < 0, found, known)
                if (known >= 0).all():
                    break
        return known

    def check_axis(self, axis: str, log_dir: str) -> None:
        """StoreError where the run's steps count something else than this monitor's would."""
        held = self.meta.get("axis", axis)
        if self.places and held != axis:
            say = {"epoch": "epochs", "batch": "batches"}
            raise StoreError(
                f"{log_dir}: the run there counts its steps in {say.get(held, held)}, this monitor in "
                f"{say[axis]} (batches= or first_epoch= make it count batches): use the same schedule, "
                "or another log_dir"
            )

    def same(self, place: Place, now: Columns) -> bool:
        """Whether the model that gave the statistics `now` is the one of the record at `place`."""
        then = self.statistics[place]
        for name in _FINGERPRINT:
            if name not in then or name not in now:
                return False
            if name == "probability" and np.isnan(then[name]).all() and np.isnan(now[name]).all():
                continue  # an output without classes has none
            if not np.isfinite(then[name]).all():
                return False
            size = max(1e-12, float(np.abs(then[name]).max()))
            if not np.allclose(then[name], now[name], rtol=0, atol=_SAME * size):
                return False
        return True

    def changes(self, meta: Mapping[str, Any]) -> list[str]:
        """What is logged otherwise than by the session before, in words."""
        found = []
        for key in ("composite", "composite_rules", "gradients", "classes", "parameters"):
            if self.places and key in self.meta and self.meta[key] != meta.get(key):
                told = f"{key} changed from {self.meta[key]} to {meta.get(key)}"
                found.append("the composite's rules changed" if key == "composite_rules" else told)
        return found
