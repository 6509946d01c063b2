"""Which calls of layers make up a prefix of a model: everything from which the output of its last layer is computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras

from lrp_monitor.engine import backend
from lrp_monitor.engine.backend import Tensor
from lrp_monitor.engine.composites import Composite
from lrp_monitor.engine.replay import operations_behind, scratch
from lrp_monitor.engine.shadows import keep_losses, shadows

Call = tuple[int, int]
"""One call of one layer: the layer's id, and how many calls of it came before."""


def _logged(layer: Any, log: Callable[[Any, Any], None]) -> Callable[..., Any]:
    original = layer.call

    def call(*args: Any, **kwargs: Any) -> Any:
        output = original(*args, **kwargs)
        log(layer, output)
        return output

    return call


def calls_until(
    model: Any, signature: Sequence[backend.Spec], composite: Composite, call: Callable[[Any, list[Tensor]], Any]
) -> frozenset[Call]:
    """The calls of layers that make up the prefix: all from which the outputs of ``until`` are computed.

    Found by running the model once as it is, in a graph that is thrown away. Raises ValueError where ``until`` names
    no layer that the model runs on its input.
    """
    outputs: dict[Call, list[Tensor]] = {}
    ends: list[Tensor] = []
    names: list[str] = []
    found: set[Call] = set()
    count: dict[int, int] = {}

    def log(layer: Any, output: Any) -> None:
        number = count[id(layer)] = count.get(id(layer), -1) + 1
        tensors = [value for value in keras.tree.flatten(output) if backend.is_float_tensor(value)]
        outputs[id(layer), number] = tensors
        names.append(layer.name)
        if composite.ends_prefix(layer):
            ends.extend(tensors)

    def run(*inputs: Tensor) -> None:
        sources = [backend.identity(x) for x in inputs]
        call(model, sources)
        behind = operations_behind(ends)
        if not any(id(source.op) in behind for source in sources):
            which = getattr(composite.until, "__name__", composite.until)
            raise ValueError(
                f"until={which!r}: model {model.name!r} runs no such layer on its input; the layers that it runs: "
                f"{list(dict.fromkeys(names))}"
            )
        found.update(key for key, tensors in outputs.items() if any(id(tensor.op) in behind for tensor in tensors))

    with shadows() as put:
        for layer in model._flatten_layers():
            keep_losses(put, layer)
            if layer is not model:
                put(layer, "call", _logged(layer, log))
        scratch(run, signature)
    return frozenset(found)
