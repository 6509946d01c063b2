"""Relevance inside the network, layer by layer, in the same pass; and check(), a report on a whole model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from lrp_monitor.engine import backend
from lrp_monitor.engine.backend import Tensor
from lrp_monitor.engine.explanation import Explanation
from lrp_monitor.engine.table import shown, treatments_of

if TYPE_CHECKING:
    from lrp_monitor.engine.surrogate import Traced


@dataclass(frozen=True)
class LayerRelevance:
    """Relevance at one call of one layer; arrays have one row per sample."""

    name: str
    """The layer's path inside the model; its second and later calls in one pass are numbered ``#2``, ``#3``."""
    kind: str
    treatment: str
    shape: tuple[int, ...]
    """The shape of one sample of the layer's output."""
    total: NDArray[np.float64]
    """(n,) the sum of relevance of the layer's output. Behind a branch it is that branch's part."""
    leaving: NDArray[np.float64] | None
    """(n,) the sum of what this layer passes on to its inputs; None where the layer shares it with its neighbour.

    That is so for activations and structural layers behind a weighted one, which pass relevance as it is.
    """
    conservation: NDArray[np.float64]
    """(n,) ``total`` over the explained logit."""
    channels: NDArray[np.float64] | None
    """(n, channels) relevance summed over places, for convolutions; None for other layers."""
    map: NDArray[np.float32] | None
    """(n, *shape) relevance of every value of the output, for the layers asked for; else None."""

    @property
    def kept(self) -> NDArray[np.float64] | None:
        """(n,) ``leaving / total``: below 1 relevance was absorbed (by a bias), above 1 it was created."""
        if self.leaving is None:
            return None
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.leaving / self.total

    @property
    def is_finite(self) -> bool:
        """Whether no value of relevance here is NaN or infinite."""
        return bool(np.isfinite(self.total).all() and (self.leaving is None or np.isfinite(self.leaving).all()))


@dataclass(frozen=True)
class Inspection:
    """An explanation, and relevance at every layer that it passed, in the order in which the model ran them."""

    explanation: Explanation
    layers: tuple[LayerRelevance, ...]

    def __getitem__(self, name: str) -> LayerRelevance:
        """The layer of this name (its path, or the end of it). Raises KeyError listing the names."""
        found = [layer for layer in self.layers if layer.name == name]
        found = found or [layer for layer in self.layers if layer.name.endswith("/" + name)]
        if len(found) != 1:
            why = "no layer" if not found else "several layers"
            raise KeyError(f"{why} {name!r}; relevance was read at {[layer.name for layer in self.layers]}")
        return found[0]


def is_named(path: str, names: Sequence[str]) -> bool:
    """Whether one of ``names`` is this layer's: its path, or the end of it."""
    return any(name in ("all", path) or path.endswith("/" + name) for name in names)


def _check_names(names: Sequence[str], known: Sequence[str], model: str) -> None:
    """Raises ValueError for names of layers at which no relevance passes."""
    for name in names:
        if not any(is_named(path, [name]) for path in known):
            raise ValueError(f"layers: model {model!r} runs no layer {name!r}; its layers: {list(known)}")


def _carriers(found: Traced, output: Tensor) -> list[Tensor]:
    """The tensors whose relevance is that of ``output`` together.

    Something folded into a map, or a ReLU known to follow it, makes the map anew: then that output carries relevance.
    """
    builder = found.builder
    if id(output) in found.explained:
        return [found.logits]
    fact = builder.assigner.fact(output)
    made = [builder.carrier(output)]
    if fact.map is not None:
        made += [
            builder.carrier(t)
            for t, later in builder.plan.weighted
            if later is not fact.map and later.made_of(fact.map)
        ]
    return [tensor for group in made for tensor in group]


def read_off(
    found: Traced, model: str, value: Tensor, names: Sequence[str]
) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
    """Relevance at every call of a layer: what is known of it now, and the tensors to compute, keyed by its number.

    Relevance at a tensor is the tensor times its gradient, so all of it comes out of the one reverse pass.
    """
    n, builder = value.shape[0], found.builder
    treatments = treatments_of(found.recording, builder.plan)
    calls = [call for call in found.recording.calls if not call.is_model and shown(call) is call]
    calls.sort(key=lambda call: call.stop)  # in the order in which they finished
    outputs = {id(call): [t for t in call.outputs if backend.is_float_tensor(t)] for call in calls}
    calls = [call for call in calls if outputs[id(call)]]
    if names != ("all",):
        _check_names(names, [call.name for call in calls], model)
    assert builder.taps is not None
    carriers = {id(t): _carriers(found, t) for call in calls for t in outputs[id(call)]}
    inputs = {id(call): builder.taps.inputs.get(id(call), []) for call in calls}
    unique = {id(t): t for group in (*carriers.values(), *inputs.values()) for t in group}
    gradients = (
        dict(zip(unique, backend.gradients(ops.sum(value), list(unique.values())), strict=True)) if unique else {}
    )

    def relevance(tensor: Tensor) -> Tensor:
        gradient = gradients[id(tensor)]
        return ops.zeros_like(tensor) if gradient is None else tensor * gradient

    known, tensors = [], {}
    for number, call in enumerate(calls):
        here = [t for t in outputs[id(call)] if t.shape[0] == n]
        if not here or any(t.shape[0] != n for t in inputs[id(call)]):
            continue  # samples are folded into another axis here: nothing can be said by sample
        maps = []
        for t in here:
            live = [ops.reshape(relevance(one), t.shape) for one in carriers[id(t)]]
            maps.append(sum(live[1:], start=live[0]) if live else ops.zeros_like(t))
        known.append(
            {"number": number, "name": call.name, "kind": call.kind, "treatment": treatments[id(call)],
             "shape": tuple(here[0].shape[1:])}
        )  # fmt: skip
        tensors[f"{number} total"] = sum((_by_sample(one) for one in maps[1:]), start=_by_sample(maps[0]))
        if inputs[id(call)]:
            parts = [_by_sample(relevance(tensor)) for tensor in inputs[id(call)]]
            tensors[f"{number} leaving"] = sum(parts[1:], start=parts[0])
        if "Conv" in call.kind and isinstance(call.layer, keras.layers.Layer):
            first = getattr(call.layer, "data_format", None) == "channels_first"
            axis = (1 if first else -1) % len(here[0].shape)
            others = [index for index in range(1, len(here[0].shape)) if index != axis]
            tensors[f"{number} channels"] = ops.sum(ops.cast(maps[0], "float64"), axis=others)
        if is_named(call.name, names):
            tensors[f"{number} map"] = maps[0]
    return known, tensors


def _by_sample(relevance: Tensor) -> Tensor:
    return ops.sum(ops.cast(ops.reshape(relevance, (relevance.shape[0], -1)), "float64"), axis=1)


def gathered(explanation: Explanation, known: Sequence[dict[str, Any]], found: dict[str, NDArray[Any]]) -> Inspection:
    """The inspection made of what :func:`read_off` said and what its tensors turned out to be."""
    layers = []
    broken = ~np.isfinite(explanation.logit)
    for row in known if broken.any() else ():
        for what in ("total", "leaving", "channels", "map"):
            if (values := found.get(f"{row['number']} {what}")) is not None:
                values[broken] = np.nan
    for row in known:
        total, number = found[f"{row['number']} total"], row["number"]
        with np.errstate(divide="ignore", invalid="ignore"):
            conservation = total / explanation.logit.astype(np.float64)
        layers.append(
            LayerRelevance(
                name=row["name"], kind=row["kind"], treatment=row["treatment"], shape=row["shape"], total=total,
                leaving=found.get(f"{number} leaving"), conservation=conservation,
                channels=found.get(f"{number} channels"), map=found.get(f"{number} map"),
            )
        )  # fmt: skip
    return Inspection(explanation, tuple(layers))
