"""A question to a model: some inputs, a target, and what is wanted of them; it is answered by one compiled pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from lrp_monitor.engine.explanation import without
from lrp_monitor.engine.inputs import Inputs
from lrp_monitor.mapped import let_go
from lrp_monitor.passes.compiled import Compiled

Part = dict[str, Any]
"""The results of a pass for some samples by name: arrays, lists of them, or dicts."""
_AS_COMPUTED = ("target", "logit", "logits", "output")


@dataclass(frozen=True)
class Question:
    """What is asked about some inputs.

    Attributes:
        compiled: from the inputs, what the target takes, and what is taken besides, to the results.
        wanted: gives arrays for what the target takes, once traced.
    """

    compiled: Compiled
    given: Inputs
    wanted: Callable[[], Sequence[NDArray[Any]]]

    def run(
        self, samples: NDArray[np.int64] | None = None, more: Callable[[], Sequence[Any]] = tuple,
        reduced: Callable[[Part], Part] = dict, width: int = 1, in_file: bool = False,
    ) -> Part:  # fmt: skip
        """The results for ``samples`` (m,) of the inputs, by default all; NaN where the explained logit is not finite.

        ``more`` gives what is taken besides, once it has been traced. For the rest see ``Compiled.run``.
        """

        def rows(array: NDArray[Any]) -> Any:
            return array if samples is None else Picked(array, samples)

        found: Part = self.compiled.run(
            [rows(leaf) for leaf in self.given.leaves], lambda: [*map(rows, self.wanted()), *more()],
            lambda part: reduced(self._of_finite(part)), width, in_file,
        )  # fmt: skip
        return found

    def _of_finite(self, part: Part) -> Part:
        """Relevance as the inputs were given, and NaN where the logit is not finite: shares of it may well be."""
        part = part | {"relevance": self.given.as_given(part["relevance"])}
        broken = ~np.isfinite(part["logit"])
        if not broken.any():
            return part

        def known(leaf: NDArray[Any]) -> NDArray[Any]:
            return leaf if leaf.dtype.kind != "f" else without(leaf, broken)

        return {
            name: found if name in _AS_COMPUTED else keras.tree.map_structure(known, found)
            for name, found in part.items()
        }


class Picked:
    """Picked of an array, some of them often, of which slices alone are made: (m, ...)."""

    def __init__(self, array: NDArray[Any], which: NDArray[np.int64]) -> None:
        self._array, self._which = array, which

    def __len__(self) -> int:
        return len(self._which)

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        chosen: NDArray[Any] = self._array[self._which[rows]]
        let_go(self._array)
        return chosen
