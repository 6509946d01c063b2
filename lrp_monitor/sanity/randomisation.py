"""Cascading parameter randomisation: a heatmap that survives random weights says nothing about the trained ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from keras import ops
from numpy.typing import NDArray

from lrp_monitor.arguments import one_of
from lrp_monitor.engine.trace.recording import layer_paths
from lrp_monitor.keras_internals import layers_of, variables_made_trainable
from lrp_monitor.metrics import cosine
from lrp_monitor.plain import Result, plain
from lrp_monitor.sanity.similarity import spearman
from lrp_monitor.sanity.subject import Subject
from lrp_monitor.text import number

Floats = NDArray[np.float64]
_OTHER = "(other weights)"


@dataclass(frozen=True)
class Randomisation(Result):
    """What became of n heatmaps while weights were randomised layer after layer, from the output down.

    Attributes:
        layers: L names in that order.
        spearman: float64 (draws, L, n), rank correlation with the trained model's maps, this layer and all those before
            it randomised.
        cosine: float64 (draws, L, n), the cosine with them.
        maps: float32 (L, n, *map shape), those of the first draw.
        limit: what the mean size of the rank correlation must have fallen below at the end: its size, for a random last
            layer turns the sign of a whole map as often as not, and a map that only turned its sign has survived.
    """

    names: tuple[str, ...]
    layers: tuple[str, ...]
    spearman: Floats
    cosine: Floats
    maps: NDArray[np.float32]
    limit: float

    @property
    def at_the_end(self) -> float:
        """Mean |rank correlation| over draws and probes with all weights random; constant maps are left out.

        0 where all maps became constant: nothing is left of the trained ones.
        """
        return mean(np.abs(self.spearman[:, -1]))

    @property
    def ok(self) -> bool:
        """Whether the heatmaps depend on the weights."""
        return self.at_the_end < self.limit

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain data; what is not finite is None."""
        return {
            "layers": list(self.layers),
            "limit": self.limit,
            "at_the_end": self.at_the_end,
            "spearman": plain(self.spearman),
            "cosine": plain(self.cosine),
        }

    def summary(self) -> str:
        """One line."""
        return (
            f"randomised weights: |rank correlation| with the trained model's maps "
            f"{number(mean(np.abs(self.spearman[:, 0])))} after {self.layers[0]}, {number(self.at_the_end)} after all "
            f"{len(self.layers)} layers ({len(self.spearman)} draws; limit {self.limit:g})"
        )


def randomise(
    subject: Subject,
    *,
    draws: int = 3,
    how: Literal["normal", "permute"] = "normal",
    limit: float = 0.5,
    seed: int = 0,
    advance: Callable[[int], None] | None = None,
) -> Randomisation:
    """Randomises the layers' weights one after the other, from the output down, and explains after each.

    Source: Adebayo et al. 2018 (Sanity Checks for Saliency Maps), section 3.
    ValueError for draws below 1, an unknown `how`, or a model without weights.

    Args:
        how: "normal": a tensor of two axes or more becomes Gaussian with mean 0 and its own root mean square, so that
            activations keep their scale; a vector (bias, scale) is shuffled. "permute": every tensor is shuffled, which
            keeps its distribution exactly. Statistics that are not trained (batch normalisation's) stay. The weights
            are restored bit by bit, also when something fails in between.
        advance: is called for each layer done.
    """
    if draws < 1:
        raise ValueError(f"draws={draws}: must be at least 1")
    one_of("how", how, ("normal", "permute"))
    groups = weights_from_the_output(subject)
    if not groups:
        raise ValueError(f"model {subject.explainer.model.name!r} has no weights to randomise")
    shape = (draws, len(groups), len(subject))
    ranks, cosines = np.empty(shape), np.empty(shape)
    maps = np.empty((len(groups), *subject.maps.shape), np.float32)
    for draw in range(draws):
        rng = np.random.default_rng((seed, draw))
        with restored([variable for _, variables in groups for variable in variables]):
            for layer, (_, variables) in enumerate(groups):
                for variable in variables:
                    variable.assign(_random(_values(variable), how, rng))
                now = subject.heatmaps()
                ranks[draw, layer] = spearman(subject.maps, now)
                cosines[draw, layer] = cosine(subject.maps, now)
                if draw == 0:
                    maps[layer] = now
                if advance is not None:
                    advance(1)
    return Randomisation(subject.probes.names, tuple(name for name, _ in groups), ranks, cosines, maps, limit)


def mean(values: Floats) -> float:
    """The mean of what is finite; 0 where nothing is."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else 0.0


@contextmanager
def restored(variables: list[Any]) -> Iterator[None]:
    """Gives variables their values back at the end, bit by bit, whatever happens inside."""
    kept = [_values(variable).copy() for variable in variables]
    try:
        yield
    finally:
        for variable, values in zip(variables, kept, strict=True):
            variable.assign(values)


def weights_from_the_output(subject: Subject) -> list[tuple[str, list[Any]]]:
    """(layer, its trainable floating-point variables, frozen ones among them), against the data flow.

    A layer that is called twice stands where it is called first; weights that belong to no layer come last.
    """
    model = subject.explainer.model
    paths = layer_paths(model)
    known = {paths[id(layer)]: layer for layer in layers_of(model, itself=False)}
    taken: set[int] = set()

    def untaken(layer: Any) -> list[Any]:
        found = []
        for part in layers_of(layer):
            # A frozen layer's variables are in this list still, its moving statistics never are.
            for variable in variables_made_trainable(part):
                if id(variable) not in taken and "float" in str(variable.dtype):
                    taken.add(id(variable))
                    found.append(variable)
        return found

    groups = []
    for row in subject.explainer.inspect(subject.probes.rows(slice(1)), subject.target(row=0)).layers:
        layer = known.get(row.name.split("#")[0])
        variables = [] if layer is None else untaken(layer)
        if variables:
            groups.append((row.name, variables))
    left = untaken(model)
    return [*groups[::-1], *([(_OTHER, left)] if left else [])]


def _values(variable: Any) -> NDArray[Any]:
    return np.asarray(ops.convert_to_numpy(variable))


def _random(values: NDArray[Any], how: str, rng: np.random.Generator) -> NDArray[Any]:
    if how == "permute" or values.ndim < 2:
        return rng.permutation(values.ravel()).reshape(values.shape)
    wide = values.astype(np.float64)
    return rng.normal(0.0, float(np.sqrt((wide**2).mean())), values.shape).astype(values.dtype)
