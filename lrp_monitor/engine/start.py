"""Where relevance starts in a traced model, and the reverse pass to its inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from lrp_monitor.engine import backend, targets
from lrp_monitor.engine.backend import Tensor
from lrp_monitor.engine.surrogates.model import Traced

BESIDE: Mapping[Any, tuple[tuple[tuple[int | None, ...], str], ...]] = {
    "classes": (((), "int32"),),
    "weights": (((None,), "float32"),),
    "position": (((), "int32"), ((), "int32")),
}
"""What a pass takes beside the inputs, by the kind of its target: shape of a sample's row, and type."""


@dataclass(frozen=True)
class Start:
    """Where relevance starts in a traced model."""

    found: Traced
    logits: Tensor
    """Float32; with ``output``, of the explained place alone where the target is one."""
    output: Tensor
    target: Tensor
    """The explained class of each sample, -1 where it is none."""
    value: Tensor
    """The explained value of each sample."""
    of: Tensor
    """What the value was made of: the value itself, or the logits of which it is a sum."""
    weights: Tensor | None
    """The weights of that sum; None where ``of`` is the value."""

    def gradients(self, tensors: Sequence[Tensor]) -> list[Tensor | None]:
        """The gradients of the value with regard to tensors of the trace.

        They start at ``of``: to differentiate the sum as well would add dozens of operations to every trace.
        """
        return backend.gradients([self.of], tensors, None if self.weights is None else [self.weights])

    def explanation(self, gradients: Sequence[Tensor | None]) -> dict[str, Any]:
        """What an explanation holds, by the gradients for the mask of each input, which are its relevance.

        Raises ValueError where there is no such gradient.
        """
        if all(gradient is None for gradient in gradients):
            raise ValueError("no differentiable path leads from the model's input to what is explained")
        pairs = zip(self.found.masks, gradients, strict=True)
        relevance = [ops.zeros_like(mask) if gradient is None else gradient for mask, gradient in pairs]
        return {
            "relevance": relevance,
            "target": self.target,
            "logit": self.value,
            "logits": self.logits,
            "output": self.output,
        }


def start_at(found: Traced, kind: str | Callable[[Any], Any], *wanted: Tensor) -> Start:
    """Where relevance starts by a target of ``kind``, which takes ``wanted`` beside the inputs.

    Raises ValueError for logits of a shape in which the target names nothing.
    """
    logits, output = (ops.cast(t, "float32") for t in (found.logits, found.output))
    if kind == "position":
        logits, output = (targets.at_place(t, wanted[0]) for t in (logits, output))
    of, n = logits, logits.shape[0]
    if kind == "weights":
        weights = ops.reshape(wanted[0], logits.shape)
        return Start(found, logits, output, _no_class(n), targets.weighted_sum(logits, weights), logits, weights)
    if callable(kind):
        value = ops.cast(ops.convert_to_tensor(kind(logits)), "float32")
        if tuple(value.shape) != (n,):
            raise ValueError(
                f"a target function must turn logits {tuple(logits.shape)} into one value a sample, shape "
                f"({n},); this one returns shape {tuple(value.shape)}"
            )
        return Start(found, logits, output, _no_class(n), value, value, None)
    if len(logits.shape) != 2:
        raise ValueError(
            f"the explained output has shape {tuple(logits.shape)}; a class as target needs (n, classes), "
            "one row of logits a sample: for maps pass targets.Region(where, of), targets.Position(at), "
            "targets.Outputs(mask) or a function"
        )
    if found.activation == "sigmoid" and logits.shape[-1] == 1:
        of = ops.concatenate([-logits, logits], axis=-1)
    predicted = ops.where(ops.all(ops.isfinite(of), axis=-1), ops.squeeze(ops.top_k(of, 1)[1], -1), -1)
    chosen = ops.where(wanted[-1] < 0, predicted, wanted[-1])
    weights = ops.one_hot(chosen, of.shape[-1])
    value = ops.where(chosen < 0, float("nan"), targets.weighted_sum(of, weights))
    return Start(found, logits, output, chosen, value, of, weights)


def _no_class(n: int) -> Tensor:
    return ops.full((n,), -1, "int32")


def outputs_of(model: Any, result: Any) -> dict[Any, Any]:
    """The outputs in what a model gave, by their names (by position where they have none), in their order."""
    if isinstance(result, Mapping):
        return dict(result)
    tensors = [result] if backend.is_tensor(result) else list(keras.tree.flatten(result))
    names = getattr(model, "output_names", None) or ()
    return dict(zip(names if len(names) == len(tensors) else range(len(tensors)), tensors, strict=True))
