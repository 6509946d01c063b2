"""Results as plain data: values that JSON can hold, and their text."""

from __future__ import annotations

import json
import math
from typing import Any, SupportsFloat

import numpy as np
from numpy.typing import ArrayLike


class Result:
    """What a function of the package returns: ``to_dict`` gives it as plain data, ``to_json`` as text."""

    def to_dict(self) -> dict[str, Any]:
        """Everything but maps and pictures as plain data; what is not finite is None."""
        raise NotImplementedError

    def to_json(self) -> str:
        """``to_dict`` as JSON, ending in a line feed."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def plain(values: ArrayLike) -> Any:
    """An array as nested lists, a number as Python's; NaN and infinities as None."""
    found = np.asarray(values)
    if found.dtype.kind != "f" or np.isfinite(found).all():
        return found.tolist()
    return [plain(one) for one in found] if found.ndim else None


def plain_number(value: SupportsFloat) -> float | None:
    """A float; NaN and infinities as None."""
    number = float(value)
    return number if math.isfinite(number) else None


def plain_class(number: int) -> int | None:
    """A class; None for -1, which stands for none."""
    return None if number < 0 else int(number)
