"""The monitor's arguments, checked: what does not depend on a model."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from lrp_monitor.arguments import OnUnknown, Preset, argument_error, one_of
from lrp_monitor.engine.rules.composites import resolve
from lrp_monitor.passes.memory import check_device
from lrp_monitor.probes import ProbeSet
from lrp_monitor.store.folders import FIRST
from lrp_monitor.store.format import ENCODINGS
from lrp_monitor.store.paths import join
from lrp_monitor.training.steps.schedule import Schedule, positive_int

if TYPE_CHECKING:
    from lrp_monitor.engine.rules.composites import Composite
    from lrp_monitor.regression.snapshot import Snapshot


@dataclass(frozen=True)
class Options:
    """The options of LRPMonitor, which documents each."""

    probes: ProbeSet
    log_dir: str
    schedule: Schedule
    composite: Preset | Composite
    output: int | str | None
    gradients: str
    weights: bool
    histograms: list[str] | None
    encoding: str
    max_store_mb: float | None
    batch_size: int | None
    on_unknown: OnUnknown
    standard_summaries: bool
    verbose: int
    alerts: Mapping[str, float] = field(default_factory=dict)
    stop_on_alert: bool = False
    relevance_layers: list[str] | None = None
    channels: bool = False
    clusters: bool = False
    baseline: Snapshot | None = None
    on_other_model: str = "new_run"
    device: str | None = None
    features: Mapping[str, int] = field(default_factory=dict)
    references: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        resolve(self.composite)
        for name in ("weights", "standard_summaries", "stop_on_alert", "channels", "clusters"):
            one_of(name, getattr(self, name), (True, False))
        one_of("gradients", self.gradients, ("train", "probe", "off"))
        one_of("encoding", self.encoding, ENCODINGS)
        one_of("on_unknown", self.on_unknown, ("raise", "gradient"))
        one_of("on_other_model", self.on_other_model, ("new_run", "continue", "raise"))
        one_of("verbose", self.verbose, (0, 1))
        if self.gradients == "probe" and self.probes.given_labels is None:
            raise ValueError(
                'gradients="probe" needs the loss of the probes, so labels in the ProbeSet; '
                'or use gradients="train" or "off"'
            )
        if self.channels and self.probes.channels == 0:
            shapes = [str(part.sample_shape) for part in self.probes.parts if part.watched]
            raise ValueError(
                f"channels=True: probes of shape {' and '.join(shapes)} have no channel axis, a heatmap is all there "
                "is; give one (ProbeSet(..., channel_axis=-1)) or leave channels out"
            )
        if self.stop_on_alert and not self.alerts:
            raise ValueError('stop_on_alert=True needs a limit to stop at: alert={"mask": 0.25}')
        if self.output is not None and (isinstance(self.output, bool) or not isinstance(self.output, int | str)):
            raise TypeError(f"output={self.output!r}: expected an output's name or index, or None")
        limit = self.max_store_mb
        if limit is not None:
            of_type = isinstance(limit, int | float) and not isinstance(limit, bool)
            if not of_type or math.isnan(limit) or limit < 0:
                raise argument_error(of_type, f"max_store_mb={limit!r}: expected a number of megabytes >= 0, or None")
        check_device(self.device)
        if self.batch_size is not None:
            positive_int("batch_size", self.batch_size, "probes explained at a time")

    @property
    def run_dir(self) -> str:
        """The folder of the first run's store and event file."""
        return join(self.log_dir, FIRST)


def checked_probes(probes: Any) -> ProbeSet:
    """A ProbeSet as it is; TypeError for anything else."""
    if not isinstance(probes, ProbeSet):
        raise TypeError(f"probes: expected a ProbeSet, got {type(probes).__name__}; make one: ProbeSet(x)")
    return probes


def folder(log_dir: Any) -> str:
    """A path or URL as text, ~ expanded; TypeError for anything else, ValueError for an empty one."""
    if not isinstance(log_dir, str | os.PathLike) or not isinstance(os.fspath(log_dir), str):
        raise TypeError(f"log_dir={log_dir!r}: expected a path or a URL, the folder of this run")
    if not os.fspath(log_dir):
        raise ValueError("log_dir is empty; give the folder of this run")
    return os.path.expanduser(os.fspath(log_dir))


def name_list(argument: str, value: Any, expected: str) -> list[str] | None:
    """One name or several, as a list; None as it is.

    Raises:
        TypeError: for anything else, ValueError for no or an empty name, both saying what was expected.
    """
    if value is None:
        return None
    names = [value] if isinstance(value, str) else list(value) if isinstance(value, list | tuple | set) else None
    if names is None or not all(isinstance(name, str) for name in names):
        raise TypeError(f"{argument}={value!r}: expected {expected}")
    if not names or not all(names):
        raise ValueError(f"{argument}={value!r}: expected {expected}")
    return names
