"""Relevance inside the network, layer by layer, in the same pass; and check(), a report on a whole model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from keras import ops
from numpy.typing import NDArray

from lrp_monitor.engine.backend import Tensor
from lrp_monitor.engine.explanation import Explanation
from lrp_monitor.engine.surrogates.carriers import Carrier, named, paths_of
from lrp_monitor.engine.surrogates.table import treatments_of
from lrp_monitor.plain import Result, plain

if TYPE_CHECKING:
    from lrp_monitor.engine.start import Start
    from lrp_monitor.engine.trace.recording import LayerCall


@dataclass(frozen=True)
class LayerRelevance(Result):
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
    """(n, channels) relevance summed over places; None for an output of one number a sample.

    Channels are a convolution's filters, a dense layer's units, the features of a token, the heads of an attention's
    queries, keys, values and weights.
    """
    fired: NDArray[np.bool_] | None
    """(n, channels) whether any value of the channel was not 0, behind the ReLU where one follows the layer."""
    map: NDArray[np.float32] | None
    """(n, *shape) relevance of every value of the output, for the layers asked for; else None."""

    def to_dict(self) -> dict[str, Any]:
        """What is known of each sample, but maps and channels, as plain data; what is not finite is None."""
        return {
            "name": self.name,
            "kind": self.kind,
            "treatment": self.treatment,
            "shape": list(self.shape),
            "of_the_logit": plain(self.conservation),
            "passed_on": None if self.kept is None else plain(self.kept),
        }

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
class Inspection(Result):
    """An explanation, and relevance at every layer that it passed, in the order in which the model ran them."""

    explanation: Explanation
    layers: tuple[LayerRelevance, ...]

    def to_dict(self) -> dict[str, Any]:
        """The explanation and its layers, but maps, as plain data; what is not finite is None."""
        return {"explanation": self.explanation.to_dict(), "layers": [layer.to_dict() for layer in self.layers]}

    def __getitem__(self, name: str) -> LayerRelevance:
        """The layer of this name (its path, or the end of it). Raises KeyError listing the names."""
        layers = {layer.name: layer for layer in self.layers}
        found = paths_of(name, layers)
        if len(found) != 1:
            why = "no layer" if not found else "several layers"
            raise KeyError(f"{why} {name!r}; relevance was read at {list(layers)}")
        return layers[found[0]]


def read_off(
    start: Start, model: str, names: Sequence[str], chosen: Sequence[LayerCall] | None = None
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Relevance at calls of layers: what is known of each now, and an explanation with ``"layers"``, to compute.

    Relevance at a tensor is the tensor times its gradient, so all of it comes out of the one reverse pass. ``names``
    are of layers whose maps are wanted, "all" for every one; ``chosen`` are the calls, by default all.
    """
    n, builder, layer_outputs = start.value.shape[0], start.found.builder, start.found.layer_outputs
    treatments = treatments_of(builder.plan)
    outputs_of = dict(layer_outputs.calls())
    paths = [call.name for call in outputs_of]
    mapped = {path for name in names for path in (paths if name == "all" else named(name, paths, model, "layers"))}
    calls = [(call, outputs_of[call]) for call in (outputs_of if chosen is None else chosen)]
    taps = {} if builder.taps is None else builder.taps.inputs
    at = Relevances(start, [t for _, outputs in calls for t in outputs], taps.values())
    known, results = [], []
    for call, outputs in calls:
        inputs = taps.get(id(call), [])
        here = [t for t in outputs if t.shape[0] == n]
        if not here or any(t.shape[0] != n for t in inputs):
            continue  # samples are folded into another axis here: there is no value by sample
        shape = tuple(here[0].shape[1:])
        known.append({"name": call.name, "kind": call.kind, "treatment": treatments[id(call)], "shape": shape})
        tensors: dict[str, Tensor] = {}
        maps = [at.output(t) for t in here]
        axis = layer_outputs.channel_axis(call, here[0])
        sums = [_by_channel(one, None) for one in maps]
        if axis is not None:
            tensors |= {"channels": _by_channel(maps[0], axis), "fired": at.fired(here[0], axis)}
            sums[0] = ops.sum(tensors["channels"], axis=1)
        tensors["total"] = sum(sums[1:], start=sums[0])
        if inputs:
            sums = [_by_channel(at.tensor(tensor), None) for tensor in inputs]
            tensors["leaving"] = sum(sums[1:], start=sums[0])
        if call.name in mapped:
            tensors["map"] = maps[0]
        results.append(tensors)
    return known, at.explanation | {"layers": results}


class Relevances:
    """Relevance at tensors between the layers: each times its gradient, so that one reverse pass gives all of them.

    Args:
        start: where relevance starts; ``explanation`` is that of it, by the same reverse pass.
        outputs: the recorded outputs of layers that will be asked for.
        more: groups of other tensors.
    """

    def __init__(self, start: Start, outputs: Sequence[Tensor], more: Iterable[Sequence[Tensor]] = ()) -> None:
        found = start.found

        def made(output: Tensor, carrier: Carrier) -> list[Tensor]:
            # What was done to the logits since is in those of the model.
            return (
                [found.logits] if id(output) in found.layer_outputs.explained else found.builder.carrier(carrier.tensor)
            )

        self._carriers = {
            id(t): [(carrier, tensor) for carrier in found.layer_outputs.carriers(t) for tensor in made(t, carrier)]
            for t in outputs
        }
        tensors = [tensor for pairs in self._carriers.values() for _, tensor in pairs]
        unique = {id(t): t for group in (found.masks, tensors, *more) for t in group}
        self._gradients = dict(zip(unique, start.gradients(list(unique.values())), strict=True))
        self.explanation = start.explanation([self._gradients[id(mask)] for mask in found.masks])

    def carried(self, output: Tensor) -> list[tuple[Carrier, Tensor, Tensor]]:
        """The tensors that carry the relevance of a layer's output, each with its gradient."""
        found = ((carrier, tensor, self._gradients[id(tensor)]) for carrier, tensor in self._carriers[id(output)])
        return [(carrier, tensor, gradient) for carrier, tensor, gradient in found if gradient is not None]

    def tensor(self, tensor: Tensor) -> Tensor:
        """Relevance at one of the tensors."""
        gradient = self._gradients[id(tensor)]
        return ops.zeros_like(tensor) if gradient is None else tensor * gradient

    def output(self, output: Tensor) -> Tensor:
        """Relevance at a layer's output, of its shape."""
        parts = [carrier.back(self.tensor(tensor), output) for carrier, tensor in self._carriers[id(output)]]
        return sum(parts[1:], start=parts[0]) if parts else ops.zeros_like(output)

    def fired(self, output: Tensor, axis: int) -> Tensor:
        """(n, channels) whether any value of a channel is not 0, behind the ReLU where one follows the layer."""
        active = ops.zeros(output.shape, "bool")
        for carrier, tensor in self._carriers[id(output)]:
            plain = not carrier.moves and tuple(tensor.shape) == tuple(output.shape)
            active = ops.logical_or(active, (tensor if plain else output) != 0)
        return ops.any(active, axis=_others(output, axis))


def _others(tensor: Tensor, axis: int | None) -> list[int]:
    """The axes of a tensor but that of samples, and ``axis``."""
    return [index for index in range(1, len(tensor.shape)) if index != axis]


def _by_channel(relevance: Tensor, axis: int | None) -> Tensor:
    """Relevance summed over all axes but ``axis`` and that of samples, in float64: (n, channels), (n,) for None."""
    return ops.sum(ops.cast(relevance, "float64"), axis=_others(relevance, axis))


def gathered(
    explanation: Explanation, known: Sequence[dict[str, Any]], found: Sequence[dict[str, NDArray[Any]]]
) -> Inspection:  # fmt: skip
    """The inspection made of what :func:`read_off` found and what its tensors turned out to be."""
    layers = []
    for about, values in zip(known, found, strict=True):
        with np.errstate(divide="ignore", invalid="ignore"):
            conservation = values["total"] / explanation.logit.astype(np.float64)
        fields: dict[str, Any] = dict.fromkeys(("leaving", "channels", "fired", "map")) | about | values
        layers.append(LayerRelevance(**fields, conservation=conservation))
    return Inspection(explanation, tuple(layers))
