"""Sets of classes as statistics of probes: 32 classes in a number, exact in float64, in as many columns as it takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

PREDICTED = "predicted_labels/"
"""What stands before the number of a column of predicted classes; bit b of column c is class 32 c + b."""
_BITS = 32


def as_columns(sets: npt.NDArray[np.bool_]) -> dict[str, npt.NDArray[np.float64]]:
    """Sets (n, classes) as columns (n,)."""
    found = {}
    for column, start in enumerate(range(0, sets.shape[1], _BITS)):
        part = sets[:, start : start + _BITS]
        found[f"{PREDICTED}{column}"] = part.astype(np.float64) @ 2.0 ** np.arange(part.shape[1])
    return found


def of_columns(statistics: Mapping[str, npt.NDArray[np.float64]], classes: int) -> npt.NDArray[np.bool_] | None:
    """Predicted sets (n, classes) from a step's statistics, empty where there is none; None where they hold no sets."""
    if f"{PREDICTED}0" not in statistics:
        return None
    n = len(statistics[f"{PREDICTED}0"])
    sets = np.zeros((n, classes), np.bool_)
    for at in range(classes):
        values = statistics.get(f"{PREDICTED}{at // _BITS}")
        if values is None:
            continue
        whole = np.where(np.isfinite(values) & (values >= 0) & (values < 2.0**_BITS), values, 0.0)
        sets[:, at] = (whole.astype(np.int64) >> (at % _BITS)) & 1 == 1
    return sets


def words(chosen: npt.NDArray[np.bool_], class_names: Sequence[str] | None) -> str:
    """One set (classes,) as text: names, or numbers, of its classes; "none"."""
    names = [
        class_names[i] if class_names and i < len(class_names) else str(i) for i in np.flatnonzero(chosen).tolist()
    ]
    return ", ".join(names) or "none"
