"""A run's numbers as columns of equal length: what data frames are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lrp_monitor.store.feature_access import FeatureAccess
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


def by_channel(run: FeatureAccess, masks: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
    """A row a step, watched layer, class and channel: statistics of channels (see `channels`).

    "step" (int64), "layer", "class" (int64, -1 for a region or none), "channel" (int64), "share" of the class's
    positive relevance (float64, NaN where that has none), "relevance" (float64, the mean over the class's probes),
    "fired", "unused" and "emerged" (of the whole run: the step, -1 where the last share is 0), and "mask_mass/<mask>":
    the mean share of the channel's own maps of that class, NaN where they are not stored.
    """
    found: dict[str, list[npt.NDArray[Any]]] = {}
    for layer in run.feature_layers:
        history = run.channel_history(layer)
        classes, (s, _, channels) = history.explained, history.relevance.shape
        shape = (s, len(classes), channels)
        member = np.stack([history.classes == number for number in classes]).astype(np.float64)
        mean = (member / member.sum(axis=1, keepdims=True)) @ history.relevance.astype(np.float64)
        columns: dict[str, npt.NDArray[Any]] = {
            "step": history.steps[:, None, None], "layer": np.array(layer), "class": np.array(classes)[None, :, None],
            "channel": np.arange(channels), "share": history.shares, "relevance": mean,
            "fired": history.fired[:, None], "unused": history.unused[:, None], "emerged": history.emerged[None],
        }  # fmt: skip
        for mask in masks:
            columns[f"mask_mass/{mask}"] = np.stack([run.channel_masses(layer, int(at), mask) for at in history.steps])
        for name, values in columns.items():
            found.setdefault(name, []).append(np.broadcast_to(values, shape).reshape(-1))
    names = ("step", "layer", "class", "channel", "share", "relevance", "fired", "unused", "emerged")
    return {name: np.concatenate(parts) for name, parts in found.items()} or {name: np.zeros(0) for name in names}


def _steps(headers: Sequence[StepHeader]) -> dict[str, npt.NDArray[Any]]:
    return {
        "step": np.array([header.step for header in headers], np.int64),
        "epoch": np.array([header.epoch for header in headers], np.int64),
        "batch": np.array([header.batch for header in headers], np.int64),
        "wall_time": np.array([header.wall_time for header in headers], np.float64),
        "session": np.array([header.session for header in headers], str),
    }
