"""Statistics of the heatmaps of one step: per probe, and as the scalars drawn over steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lrp_monitor.metrics import mask_absolute, mask_mass

if TYPE_CHECKING:
    from lrp_monitor.engine.explainer import Explanation
    from lrp_monitor.probes.label_sets import LabelSets

Floats = NDArray[np.float64]

MASS, ABSOLUTE, COUNT = "mask_mass/", "mask_absolute/", "mask_probes/"
"""What stands before a mask's name in statistics and, behind "lrp/", in scalars."""

NONFINITE_LOGITS = "lrp/nonfinite/logits"

MEAN_ERROR = "lrp/mean_absolute_error"

QUANTILES = {"q50": 0.5, "q90": 0.9, "q99": 0.99}


def probe_statistics(
    heatmaps: NDArray[np.float32],
    explanation: Explanation,
    masks: Mapping[str, NDArray[np.bool_]],
    previous: NDArray[np.float32] | None,
    numbers: Floats | None = None,
    sets: LabelSets | None = None,
) -> dict[str, Floats]:
    """Every per-probe statistic of a step, float64 (n,) each, computed in float64.

    sum, positive (sum of what is > 0), negative (sum of what is < 0, so <= 0), absmax, q50/q90/q99 (quantiles of |R|),
    logit, conservation, drift, mask_mass/<mask> and mask_absolute/<mask> (see `lrp_monitor.metrics`).

    Where a class is explained: probability (of that class), prediction, prediction_probability, target. prediction and
    target are NaN where there is none: logits that are not finite have no largest one. A sum of logits over a region of
    an output of maps has none of these: it is neither right nor wrong, and has no probability. Where a number is
    explained: output, the model's own, and error, output - number.

    Args:
        heatmaps: (n, *map_shape).
        explanation: of the same probes.
        masks: {name: (n, *map_shape)}.
        previous: the heatmaps of the log before, or None.
        numbers: what the explained units are to be, (n,), NaN where that is not known; None where a number is not
            explained.
        sets: the probes' labels where they are sets of classes.
    """
    maps = _flat(heatmaps)
    magnitude = np.abs(maps)
    # NaN in a map is a finding, kept as NaN; NumPy's warnings about it would only repeat that on stderr.
    with np.errstate(all="ignore"):
        found = {
            "sum": maps.sum(axis=1),
            "positive": _positive(maps).sum(axis=1),
            "negative": np.where(maps > 0, 0.0, maps).sum(axis=1),
            "absmax": magnitude.max(axis=1),
        }
        found |= {name: np.quantile(magnitude, q, axis=1) for name, q in QUANTILES.items()}
    found["logit"] = _float(explanation.logit)
    if numbers is not None:
        found["output"] = _float(explanation.output[np.arange(len(maps)), explanation.unit])
        if not np.isnan(numbers).all():
            found["error"] = found["output"] - numbers
    elif explanation.has_classes:
        found |= {
            "probability": _float(explanation.probability),
            "prediction": _class(explanation.prediction),
            "prediction_probability": _float(replace(explanation, target=explanation.prediction).probability),
            "target": _class(explanation.target),
        } | ({} if sets is None else sets.statistics(explanation))
    found |= {
        "conservation": _float(explanation.conservation),
        "drift": np.full(len(maps), np.nan) if previous is None else drift(previous, heatmaps),
    }
    found |= {f"{MASS}{name}": mask_mass(heatmaps, mask) for name, mask in masks.items()}
    found |= {f"{ABSOLUTE}{name}": mask_absolute(heatmaps, mask) for name, mask in masks.items()}
    return found


def drift(before: NDArray[np.float32], now: NDArray[np.float32]) -> Floats:
    """Half the L1 distance of the L1-normalised maps, (n,): 0 the same picture, 1 none of it in common.

    Two maps of zeros are the same; one such map beside another has nothing in common with it (1). NaN where a
    map is not finite.
    """
    a, b = _flat(before), _flat(now)
    mass_a, mass_b = np.abs(a).sum(axis=1), np.abs(b).sum(axis=1)
    with np.errstate(all="ignore"):
        distance = np.abs(a / mass_a[:, None] - b / mass_b[:, None]).sum(axis=1) / 2
    empty_a, empty_b = mass_a == 0, mass_b == 0
    distance = np.where(empty_a & empty_b, 0.0, np.where(empty_a ^ empty_b, 1.0, distance))
    return np.asarray(np.where(np.isfinite(mass_a) & np.isfinite(mass_b), distance, np.nan))


def probe_scalars(statistics: Mapping[str, Floats], labels: NDArray[np.int64] | None) -> dict[str, float]:
    """The scalars over all probes of a step, from its per-probe statistics; what is not finite is left out.

    lrp/conservation is the median over the probes, the others are means over those that have the value: lrp/drift,
    lrp/probability, lrp/accuracy (where there are labels; of the probes with a prediction; of sets of labels the share
    of probes whose set is predicted exactly), lrp/label_accuracy (of sets and maps of labels: the share of all that are
    right), lrp/mask_mass/<mask>, lrp/mask_absolute/<mask>. Counts of probes: lrp/mask_probes/<mask>, those behind
    lrp/mask_mass/<mask>; lrp/nonfinite/heatmaps, those whose heatmap is not finite.
    """
    scalars = {
        "lrp/conservation": _over(statistics["conservation"], np.median),
        "lrp/drift": _over(statistics["drift"], np.mean),
        "lrp/nonfinite/heatmaps": _unknown(statistics["sum"]),
    }
    if "probability" in statistics:
        scalars["lrp/probability"] = _over(statistics["probability"], np.mean)
    if "error" in statistics:
        scalars[MEAN_ERROR] = _over(np.abs(statistics["error"]), np.mean)
    if "right" in statistics:
        scalars["lrp/accuracy"] = _over(statistics["right"], np.mean)
    elif labels is not None and "prediction" in statistics:
        predicted = np.isfinite(statistics["prediction"])
        right = np.where(predicted, statistics["prediction"] == labels, np.nan)
        scalars["lrp/accuracy"] = _over(right, np.mean)
    if "label_accuracy" in statistics:
        scalars["lrp/label_accuracy"] = _over(statistics["label_accuracy"], np.mean)
    for name, values in statistics.items():
        if name.startswith((MASS, ABSOLUTE)):
            scalars[f"lrp/{name}"] = _over(values, np.mean)
        if name.startswith(MASS):
            scalars[f"lrp/{COUNT}{name.removeprefix(MASS)}"] = len(values) - _unknown(values)
    return {tag: value for tag, value in scalars.items() if np.isfinite(value)}


def logit_scalars(explanation: Explanation) -> dict[str, float]:
    """lrp/nonfinite/logits: the probes of which a logit, of whatever output unit or place, is not finite.

    Or the explained value: a sum over many places may overflow. Of a class there is no prediction then.
    """
    logits = explanation.logits
    finite = np.isfinite(logits.reshape(len(logits), -1)).all(axis=1) & np.isfinite(explanation.logit)
    return {NONFINITE_LOGITS: float(np.count_nonzero(~finite))}


def _unknown(values: Floats) -> float:
    """How many are not finite."""
    return float(np.count_nonzero(~np.isfinite(values)))


def _over(values: Floats, how: object) -> float:
    finite = values[np.isfinite(values)]
    return float(how(finite)) if len(finite) and callable(how) else float("nan")


def _flat(maps: NDArray[np.float32]) -> Floats:
    return maps.reshape(len(maps), -1).astype(np.float64)


def _positive(maps: Floats) -> Floats:
    """What is > 0, the rest 0; NaN stays NaN."""
    return np.asarray(np.where(maps < 0, 0.0, maps))


def _class(values: NDArray[np.int64]) -> Floats:
    """Numbers of classes, NaN for -1: none."""
    return np.where(values < 0, np.nan, values.astype(np.float64))


def _float(values: NDArray[np.generic]) -> Floats:
    return np.asarray(values, dtype=np.float64)
