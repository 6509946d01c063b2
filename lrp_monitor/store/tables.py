"""A run's numbers as columns of equal length: what data frames are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lrp_monitor.store.finite import nonfinite
from lrp_monitor.store.format import ProbeInfo
from lrp_monitor.store.steps import StepHeader


def by_step(headers: Sequence[StepHeader]) -> dict[str, npt.NDArray[Any]]:
    """A row a step: "step", "epoch", "batch" (int64), "wall_time", "session", "finite", and every scalar by its tag.

    All (s,). "finite": whether all that was logged of the step is. A scalar is float64, NaN at steps where it was not
    logged.
    """
    columns: dict[str, npt.NDArray[Any]] = _steps(headers)
    columns["finite"] = np.array([not nonfinite(header) for header in headers], np.bool_)
    for tag in sorted({tag for header in headers for tag in header.scalars}):
        columns[tag] = np.array([header.scalars.get(tag, np.nan) for header in headers], np.float64)
    return columns


def by_probe(headers: Sequence[StepHeader], probes: ProbeInfo) -> dict[str, npt.NDArray[Any]]:
    """A row a step and probe, the probes of a step below one another: as `by_step`, with the probes' columns.

    All (s * n,). "probe" is its name, "number" its place, "label" (int64) is there where the set has labels. Then
    every statistic by its name, float64, NaN at steps where it was not logged and where it has no value: a probe whose
    logits are not finite has no prediction.
    """
    n = len(probes)
    columns = {name: values.repeat(n) for name, values in _steps(headers).items()}
    columns["probe"] = np.tile(np.array(probes.names, str), len(headers))
    columns["number"] = np.tile(np.arange(n, dtype=np.int64), len(headers))
    if probes.labels is not None:
        columns["label"] = np.tile(probes.labels, len(headers))
    missing = np.full(n, np.nan)
    for name in sorted({name for header in headers for name in header.statistics}):
        rows = [header.statistics.get(name, missing) for header in headers]
        columns[name] = np.concatenate(rows) if rows else np.zeros(0)
    return columns


def _steps(headers: Sequence[StepHeader]) -> dict[str, npt.NDArray[Any]]:
    return {
        "step": np.array([header.step for header in headers], np.int64),
        "epoch": np.array([header.epoch for header in headers], np.int64),
        "batch": np.array([header.batch for header in headers], np.int64),
        "wall_time": np.array([header.wall_time for header in headers], np.float64),
        "session": np.array([header.session for header in headers], str),
    }
