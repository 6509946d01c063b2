"""The monitor's arguments, checked: what does not depend on a model."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from lrp_monitor.engine.composites import resolve
from lrp_monitor.engine.memory import check_device
from lrp_monitor.probes import ProbeSet
from lrp_monitor.store.folders import FIRST
from lrp_monitor.store.format import ENCODINGS
from lrp_monitor.store.paths import join
from lrp_monitor.training.steps.schedule import Schedule, positive_int

if TYPE_CHECKING:
    from lrp_monitor.engine.composites import Composite
    from lrp_monitor.regression.snapshot import Snapshot


@dataclass(frozen=True)
class Options:
    """The options of LRPMonitor, which documents each."""

    probes: ProbeSet
    log_dir: str
    schedule: Schedule
    composite: str | Composite
    output: int | str | None
    gradients: str
    weights: bool
    layers: list[str] | None
    encoding: str
    max_store_mb: float | None
    batch_size: int | None
    on_unknown: str
    standard_summaries: bool
    verbose: int
    alerts: Mapping[str, float] = field(default_factory=dict)
    stop_on_alert: bool = False
    inspect: list[str] | None = None
    channels: bool = False
    clusters: bool = False
    baseline: Snapshot | None = None
    on_other_model: str = "new_run"
    device: str | None = None

    def __post_init__(self) -> None:
        resolve(self.composite)
        for name in ("weights", "standard_summaries", "stop_on_alert", "channels", "clusters"):
            _one_of(name, getattr(self, name), (True, False))
        _one_of("gradients", self.gradients, ("train", "probe", "off"))
        _one_of("encoding", self.encoding, ENCODINGS)
        _one_of("on_unknown", self.on_unknown, ("raise", "gradient"))
        _one_of("on_other_model", self.on_other_model, ("new_run", "continue", "raise"))
        _one_of("verbose", self.verbose, (0, 1))
        if self.gradients == "probe" and self.probes.labels is None and self.probes.numbers is None:
            raise ValueError(
                'gradients="probe" needs the loss of the probes, so labels in the ProbeSet; '
                'or use gradients="train" or "off"'
            )
        if self.channels and self.probes.channel_axis is None:
            if len([part for part in self.probes.parts if part.watched]) > 1:
                raise ValueError("channels=True: the probes have several watched inputs; leave channels out")
            raise ValueError(
                f"channels=True: probes of shape {self.probes.sample_shape} have no channel axis, a heatmap is all "
                "there is; give one (ProbeSet(..., channel_axis=-1)) or leave channels out"
            )
        if self.stop_on_alert and not self.alerts:
            raise ValueError('stop_on_alert=True needs a limit to stop at: alert={"mask": 0.25}')
        if self.output is not None and (isinstance(self.output, bool) or not isinstance(self.output, int | str)):
            raise ValueError(f"output={self.output!r}: expected an output's name or index, or None")
        limit = self.max_store_mb
        if limit is not None and (not isinstance(limit, int | float) or math.isnan(limit) or limit < 0):
            raise ValueError(f"max_store_mb={limit!r}: expected a number of megabytes >= 0, or None")
        check_device(self.device)
        if self.batch_size is not None:
            positive_int("batch_size", self.batch_size, "probes explained at a time")

    @property
    def run_dir(self) -> str:
        """The folder of the first run's store and event file."""
        return join(self.log_dir, FIRST)


def checked_probes(probes: Any) -> ProbeSet:
    """A ProbeSet as it is; ValueError for anything else."""
    if not isinstance(probes, ProbeSet):
        raise ValueError(f"probes: expected a ProbeSet, got {type(probes).__name__}; make one: ProbeSet(x)")
    return probes


def folder(log_dir: Any) -> str:
    """A path or URL as text, ~ expanded; ValueError for anything else, or nothing."""
    if not isinstance(log_dir, str | os.PathLike) or not isinstance(os.fspath(log_dir), str):
        raise ValueError(f"log_dir={log_dir!r}: expected a path or a URL, the folder of this run")
    if not os.fspath(log_dir):
        raise ValueError("log_dir is empty; give the folder of this run")
    return os.path.expanduser(os.fspath(log_dir))


def name_list(argument: str, value: Any, expected: str) -> list[str] | None:
    """One name or several, as a list; None as it is. ValueError that says what was expected for anything else."""
    if value is None:
        return None
    names = [value] if isinstance(value, str) else list(value) if isinstance(value, list | tuple | set) else []
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"{argument}={value!r}: expected {expected}")
    return names


def _one_of(argument: str, value: Any, allowed: Sequence[Any]) -> None:
    if not isinstance(value, str | int | np.bool_) or value not in allowed:  # an array is equal to many things
        raise ValueError(f"{argument}={value!r}: expected {' or '.join(map(repr, allowed))}")
