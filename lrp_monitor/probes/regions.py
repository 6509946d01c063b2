"""What a probe set explains where that is no class: a target of `lrp_monitor.targets`, taken apart into arrays.

The targets are Keras' side; their parts are NumPy alone, so that a set can be hashed, saved and compared without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from lrp_monitor.engine.targets import Weighted

_OPEN = np.iinfo(np.int64).min
"""Stands for None in a slice."""


def is_region(target: Any) -> TypeGuard[Weighted]:
    """Whether `target` is one that weights outputs (a Region, Outputs or Difference), not classes."""
    return hasattr(target, "weights") and not isinstance(target, np.ndarray | type)


def is_position(target: Any) -> bool:
    """Whether `target` is a class at one place of an output of maps (a Position)."""
    return hasattr(target, "places") and hasattr(target, "of") and not isinstance(target, type)


def parts(target: Any) -> dict[str, NDArray[Any]]:
    """The target as arrays, each under the name of its part; `of_parts` makes it again."""
    if hasattr(target, "inner"):
        return parts(target.inner) | {"rows": np.asarray(target.rows, np.int64), "of_set": np.asarray(target.of)}
    if hasattr(target, "where"):
        return _place(target.where) | {"of": np.asarray(target.of)}
    if hasattr(target, "weights_over"):
        return {"weights": np.asarray(target.weights_over)}
    return {"first": np.asarray(target.first), "second": np.asarray(target.second)}


def of_parts(found: Mapping[str, NDArray[Any]]) -> Any:
    """The target whose parts these are. ValueError for parts of none."""
    from lrp_monitor.engine import targets  # Keras' side, for those who have such a set

    if "rows" in found:
        inner = of_parts({name: value for name, value in found.items() if name not in ("rows", "of_set")})
        return targets.Rows(inner, found["rows"].astype(np.int64), int(found["of_set"]))
    if "weights" in found:
        return targets.Outputs(found["weights"])
    if "first" in found and "second" in found:
        return targets.Difference(_classes(found["first"]), _classes(found["second"]))
    if "of" not in found or not {"where", "box"} & set(found):
        raise ValueError("a target of which a part is missing")
    where = found["where"] if "where" in found else _slices(found["box"])
    return targets.Region(where, _classes(found["of"]))


def position(at: NDArray[Any], of: Any) -> Any:
    """A Position of these places (n, axes)."""
    from lrp_monitor.engine import targets  # Keras' side, for those who have such a set

    return targets.Position(at, of)


def of_rows(target: Any, chosen: NDArray[Any], n: int) -> Any:
    """The target of some of n probes, by their positions."""
    found = parts(target)
    rows = found.get("rows", np.arange(n))[chosen]
    return of_parts(found | {"rows": rows, "of_set": found.get("of_set", np.asarray(n))})


def _place(where: Any) -> dict[str, NDArray[Any]]:
    axes = where if isinstance(where, tuple) else (where,)
    if not all(isinstance(part, slice | int | np.integer) and not isinstance(part, bool) for part in axes):
        return {"where": np.asarray(where)}
    rows = [
        [_number(part.start), _number(part.stop), _number(part.step), 0] if isinstance(part, slice) else [part, 0, 0, 1]
        for part in axes
    ]
    return {"box": np.array(rows, np.int64)}


def _number(value: Any) -> int:
    return _OPEN if value is None else int(value)


def _slices(box: NDArray[Any]) -> tuple[Any, ...]:
    if box.ndim != 2 or box.shape[1] != 4 or box.dtype.kind != "i":
        raise ValueError(f"a box of shape {box.shape}, {box.dtype}")

    def part(start: int, stop: int, step: int, is_number: int) -> Any:
        if is_number:
            return start
        return slice(*(None if value == _OPEN else value for value in (start, stop, step)))

    return tuple(part(*(int(value) for value in row)) for row in box)


def _classes(values: NDArray[Any]) -> Any:
    return int(values) if values.ndim == 0 else values
