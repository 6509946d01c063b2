"""A question to a model: some inputs, a target, and what is wanted of them; it is answered by one compiled pass."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrp_monitor.engine.backend import Tensor
from lrp_monitor.engine.explanation import without
from lrp_monitor.engine.inputs import Inputs, arranged
from lrp_monitor.mapped import let_go
from lrp_monitor.passes.compiled import Passes, Spec

Part = dict[str, NDArray[Any]]
"""The results of a pass for some samples, by name."""
_AS_COMPUTED = ("target", "logit", "logits", "output")


@dataclass(frozen=True)
class Question:
    """What is asked about some inputs, as a pass.

    Attributes:
        key: its name among the passes.
        compute: from the tensors of the inputs, and of what the pass takes ``beside``, to its results.
        beside: shape of a sample's row, and type; what the target takes comes first.
        wanted: gives arrays for what the target takes, once traced.
        known: what a trace found out, for all questions of this key.
    """

    passes: Passes
    key: Hashable
    given: Inputs
    compute: Callable[..., dict[str, Tensor]]
    beside: Sequence[Spec] = ()
    wanted: Callable[[], Sequence[NDArray[Any]]] = tuple
    known: list[Any] = field(default_factory=list)

    def ready(self, n: int | None, width: int = 1) -> None:
        """Trace the pass for ``n`` samples, without running it; see ``Passes.ready``."""
        self.passes.ready(self.key, self.compute, self._signature, n, width)

    def widest(self, wanted: int) -> int:
        """See ``Passes.widest``."""
        return self.passes.widest(self.key, self._signature, wanted)

    def run(
        self, samples: NDArray[np.int64] | None = None, more: Callable[[], Sequence[Any]] = tuple,
        reduced: Callable[[Part], Part] = dict, width: int = 1, in_file: bool = False,
    ) -> Part:  # fmt: skip
        """The results for ``samples`` (m,) of the inputs, by default all; NaN where the explained logit is not finite.

        ``more`` gives what the pass takes beside inputs and target, once it has been traced. For the rest see
        ``Passes.run``.
        """

        def rows(array: NDArray[Any]) -> Any:
            return array if samples is None else Rows(array, samples)

        def beside() -> list[Any]:
            return [*map(rows, self.wanted()), *more()]

        leaves = [rows(leaf) for leaf in self.given.leaves]
        return self.passes.run(
            self.key, self.compute, self._signature, leaves, beside, lambda part: reduced(_of_finite(part)), width,
            in_file,
        )  # fmt: skip

    def relevance(self, found: Part, name: str = "relevance") -> list[NDArray[Any]]:
        """What a pass found for each of the inputs."""
        return [found[f"{name} {number}"] for number in range(len(self.given.leaves))]

    def as_given(self, leaves: Sequence[NDArray[Any]]) -> Any:
        """An array for each of the inputs, in the structure in which they were given."""
        return arranged(self.given.given, leaves)

    def _signature(self, chunk: int) -> list[Spec]:
        rows = [*((shape, "float32") for shape in self.given.shapes), *self.beside]
        return [((chunk, *shape), dtype) for shape, dtype in rows]


def _of_finite(part: Part) -> Part:
    """Rules that carry shares give finite relevance also of a logit that is not finite: NaN in its place."""
    if "logit" not in part or np.isfinite(part["logit"]).all():
        return part
    broken = ~np.isfinite(part["logit"])
    return {
        name: values if name in _AS_COMPUTED or values.dtype.kind != "f" else without(values, broken)
        for name, values in part.items()
    }


class Rows:
    """Rows of an array, some of them often, of which slices alone are made: (m, ...)."""

    def __init__(self, array: NDArray[Any], which: NDArray[np.int64]) -> None:
        self._array, self._which = array, which

    def __len__(self) -> int:
        return len(self._which)

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        chosen: NDArray[Any] = self._array[self._which[rows]]
        let_go(self._array)
        return chosen
