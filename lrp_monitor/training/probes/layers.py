"""Relevance at the layers inside the model, as statistics of each probe."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

import keras
import numpy as np

from lrp_monitor.engine.inspection import Inspection
from lrp_monitor.training.probes.statistics import Floats
from lrp_monitor.training.tensors.names import layer_names


class LoggedLayers:
    """Picks the layers to log out of an inspection, under names that stay the same from run to run.

    Args:
        patterns: "all", names ("conv2d"; of a layer inside an inner model its path, "base/conv2d", or the end of it),
            names with wildcards ("block1*"), or an inner model's or block's name for all that is inside it.
    """

    def __init__(self, model: keras.Model, patterns: Sequence[str]) -> None:
        self._model, self._patterns = model, list(patterns)
        self._chosen: dict[str, str] = {}  # path in the inspection -> name

    @property
    def names(self) -> list[str]:
        """The layers that are logged, in the order in which the model runs them; empty before `columns`."""
        return list(self._chosen.values())

    def columns(self, inspection: Inspection) -> dict[str, Floats]:
        """{"layer/<name>": (n,)}: the relevance at each chosen layer's output over the explained logit.

        1 where nothing was absorbed behind the layer. ValueError for a pattern that names no layer.
        """
        paths = [layer.name for layer in inspection.layers]
        if not self._chosen:
            self._chosen = self._choose(paths)
        return {
            f"layer/{self._chosen[layer.name]}": np.asarray(layer.conservation, np.float64)
            for layer in inspection.layers
            if layer.name in self._chosen
        }

    def _choose(self, paths: list[str]) -> dict[str, str]:
        named = dict(zip(paths, layer_names(self._model, paths), strict=True))
        found: set[str] = set()
        for pattern in self._patterns:
            own = (pattern, f"{pattern}#*", f"{pattern}/*")
            forms = ("*",) if pattern == "all" else (*own, *(f"*/{form}" for form in own))
            matched = {p for p, name in named.items() if any(fnmatch.fnmatchcase(name, form) for form in forms)}
            if not matched:
                raise ValueError(
                    f"relevance_layers: {pattern!r} matches no layer; there are {', '.join(named.values())}"
                )
            found |= matched
        return {path: name for path, name in named.items() if path in found}
