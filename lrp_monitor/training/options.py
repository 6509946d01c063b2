"""The monitor's arguments, checked: what does not depend on a model."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lrp_monitor.probes import ProbeSet
from lrp_monitor.store.format import ENCODINGS
from lrp_monitor.training.schedule import Schedule, positive_int

if TYPE_CHECKING:
    from lrp_monitor.engine.composites import Composite


@dataclass(frozen=True)
class Options:
    """What LRPMonitor was asked to do; the meaning of each is told there."""

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

    def __post_init__(self) -> None:
        if not isinstance(self.probes, ProbeSet):
            raise ValueError(f"probes: expected a ProbeSet, got {type(self.probes).__name__}; make one: ProbeSet(x)")
        if not self.log_dir:
            raise ValueError("log_dir is empty; give the folder of this run")
        _one_of("gradients", self.gradients, ("train", "probe", "off"))
        _one_of("encoding", self.encoding, ENCODINGS)
        _one_of("on_unknown", self.on_unknown, ("raise", "gradient"))
        _one_of("verbose", self.verbose, (0, 1))
        if self.gradients == "probe" and self.probes.labels is None:
            raise ValueError(
                'gradients="probe" needs the loss of the probes, so labels in the ProbeSet; '
                'or use gradients="train" or "off"'
            )
        if self.output is not None and (isinstance(self.output, bool) or not isinstance(self.output, int | str)):
            raise ValueError(f"output={self.output!r}: expected an output's name or index, or None")
        limit = self.max_store_mb
        if limit is not None and (not isinstance(limit, int | float) or math.isnan(limit) or limit < 0):
            raise ValueError(f"max_store_mb={limit!r}: expected a number of megabytes >= 0, or None")
        if self.batch_size is not None:
            positive_int("batch_size", self.batch_size, "probes explained at a time")

    @property
    def run_dir(self) -> str:
        """The folder of the store and the event file."""
        return os.path.join(self.log_dir, "lrp")


def layer_names(layers: str | Sequence[str] | None) -> list[str] | None:
    """One name or several, as a list; None for all. ValueError for anything else."""
    if layers is None:
        return None
    names = [layers] if isinstance(layers, str) else list(layers)
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ValueError(
            f'layers={layers!r}: expected names such as "conv2d" or "dense/kernel", or None for all tensors'
        )
    return names


def _one_of(argument: str, value: Any, allowed: Sequence[Any]) -> None:
    if value not in allowed:
        raise ValueError(f"{argument}={value!r}: expected {' or '.join(map(repr, allowed))}")
