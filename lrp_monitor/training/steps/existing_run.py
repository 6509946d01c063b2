"""What a run's folder already holds, as far as a new fit needs to know it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrp_monitor.engine.targets import Region
from lrp_monitor.store.finite import class_numbers
from lrp_monitor.store.folders import store_folder
from lrp_monitor.store.format import StoreError
from lrp_monitor.store.index import PROBES_FILE
from lrp_monitor.store.reader import open_run
from lrp_monitor.store.storage import open_storage
from lrp_monitor.training.steps.position import Position

# Two evaluations of the same weights differ by rounding (another batch size, another machine), weights one
# training step apart by more, except where training no longer moves anything.
_SAME = 1e-4
# Of the model alone: heatmaps also depend on the composite.
_FINGERPRINT = ("logit", "probability")
_NORM = "weights/norm/"

Columns = Mapping[str, NDArray[np.float64]]
Norms = Mapping[str, float]


@dataclass
class ExistingRun:
    """The records of a run's folder: their places, ascending, and the probes' statistics at each.

    Attributes:
        norms: the Euclidean norms of the weights at each place, by name, where they are logged.
        cut_off: whether the last record is not the one that a fit ends with.
        region: what is explained of an output of maps, where the run keeps that.
    """

    positions: list[Position] = field(default_factory=list)
    statistics: dict[Position, Columns] = field(default_factory=dict)
    norms: dict[Position, Norms] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)
    cut_off: bool = False
    region: Region | None = None

    @classmethod
    def of(cls, run_dir: str | os.PathLike[str], probes_hash: str) -> ExistingRun:
        """What is there; empty where nothing is. StoreError where it is there and cannot be read.

        Args:
            probes_hash: of the probes given. Records of other probes say nothing about these (the store's writer
                refuses such a folder), so they count as none.
        """
        if not open_storage(store_folder(run_dir)).has(PROBES_FILE):
            return cls()
        run = open_run(run_dir)
        if run.probes.hash != probes_hash:
            return cls()
        existing = cls(meta=dict(run.meta))
        if run.probes.region is not None and run.probes.region_of is not None:
            existing.region = Region(run.probes.region, run.probes.region_of)
        for header in run.records():
            position = Position(header.epoch, header.batch)
            existing.positions.append(position)
            existing.statistics[position] = header.statistics
            existing.norms[position] = {tag: norm for tag, norm in header.scalars.items() if tag.startswith(_NORM)}
            existing.cut_off = not header.last_of_fit
        return existing

    @property
    def targets(self) -> NDArray[np.int64] | Region | None:
        """The classes explained so far, (n,), -1 where none was yet, or the region; None where nothing is logged."""
        if self.region is not None:
            return self.region
        known: NDArray[np.int64] | None = None
        for position in reversed(self.positions):
            target = self.statistics[position].get("target")
            if target is not None:
                found = class_numbers(target)
                known = found if known is None else np.where(known < 0, found, known)
                if (known >= 0).all():
                    break
        return known

    def check_axis(self, axis: str, log_dir: str) -> None:
        """StoreError where the run's steps count something else than this monitor's would."""
        held = self.meta.get("axis", axis)
        if self.positions and held != axis:
            say = {"epoch": "epochs", "batch": "batches"}
            raise StoreError(
                f"{log_dir}: the run there counts its steps in {say.get(held, held)}, this monitor in "
                f"{say[axis]} (batches= or first_epoch= make it count batches): use the same schedule, "
                "or another log_dir"
            )

    def same(self, position: Position, now: Columns, norms: Callable[[], Norms]) -> bool:
        """Whether the model that gave the statistics `now` is the one of the record at `position`.

        Args:
            norms: gives the norms of its weights, under the scalars' tags; asked where the statistics agree. Networks
                whose last layer begins with zeros, or that have diverged, differ in these alone.
        """
        then, comparable = self.statistics[position], False
        for name in _FINGERPRINT:
            if name == "probability" and (name not in then or name not in now):
                continue  # of maps and of numbers, which have none
            if name not in then or name not in now:
                return False
            finite = np.isfinite(then[name])
            if not np.array_equal(finite, np.isfinite(now[name])):
                return False
            comparable |= bool(finite.all())
            if not np.allclose(then[name][finite], now[name][finite], rtol=0, atol=_SAME * _size(then[name][finite])):
                return False
        held = self.norms[position]
        if not held:
            return comparable
        found = norms()
        shared = held.keys() & found.keys()
        return all(abs(held[tag] - found[tag]) <= _SAME * max(1e-12, abs(held[tag])) for tag in shared) and (
            comparable or bool(shared)
        )

    def changes(self, meta: Mapping[str, Any]) -> list[str]:
        """What this session logs otherwise than the one before, as text."""
        found = []
        for key in ("composite", "composite_rules", "gradients", "classes", "parameters"):
            if self.positions and key in self.meta and self.meta[key] != meta.get(key):
                text = f"{key} changed from {self.meta[key]} to {meta.get(key)}"
                found.append("the composite's rules changed" if key == "composite_rules" else text)
        return found


def _size(values: NDArray[np.float64]) -> float:
    return max(1e-12, float(np.abs(values).max(initial=0.0)))
