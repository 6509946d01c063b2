"""Where relevance starts in a traced model, and the reverse pass to its inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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


def _start(
    logits: Tensor, activation: str | None, start: str | Callable[[Any], Any], wanted: tuple[Tensor, ...]
) -> tuple[Tensor, Tensor]:
    """The explained class of each sample (-1 where it is none) and the explained value, of float32 ``logits``."""
    none = ops.cast(ops.zeros_like(ops.reshape(logits, (logits.shape[0], -1))[:, 0]), "int32") - 1
    if start == "weights":
        weights = ops.reshape(wanted[0], logits.shape)
        return none, targets.weighted_sum(logits, weights)
    if callable(start):
        value = ops.cast(ops.convert_to_tensor(start(logits)), "float32")
        if tuple(value.shape) != (logits.shape[0],):
            raise ValueError(
                f"a target function must turn logits {tuple(logits.shape)} into one value a sample, shape "
                f"({logits.shape[0]},); this one returns shape {tuple(value.shape)}"
            )
        return none, value
    if len(logits.shape) != 2:
        raise ValueError(
            f"the explained output has shape {tuple(logits.shape)}; a class as target needs (n, classes), "
            "one row of logits a sample: for maps pass targets.Region(where, of), targets.Position(at), "
            "targets.Outputs(mask) or a function"
        )
    if activation == "sigmoid" and logits.shape[-1] == 1:
        logits = ops.concatenate([-logits, logits], axis=-1)
    predicted = ops.where(ops.all(ops.isfinite(logits), axis=-1), ops.cast(ops.argmax(logits, axis=-1), "int32"), -1)
    chosen = ops.where(wanted[-1] < 0, predicted, wanted[-1])
    value = targets.weighted_sum(logits, ops.one_hot(chosen, logits.shape[-1]))
    return chosen, ops.where(chosen < 0, float("nan"), value)


def explained(found: Traced, start: str | Callable[[Any], Any], *wanted: Tensor) -> dict[str, Any]:
    """What an explanation holds, as tensors: ``"relevance"`` (of each input), target, logit, logits, output."""
    logits, output = (ops.cast(t, "float32") for t in (found.logits, found.output))
    if start == "position":
        logits, output = (targets.at_place(t, wanted[0]) for t in (logits, output))
    chosen, value = _start(logits, found.activation, start, wanted)
    results = backend.gradients(ops.sum(value), found.masks)
    if all(result is None for result in results):
        raise ValueError("no differentiable path leads from the model's input to what is explained")
    relevance = [
        ops.zeros_like(mask) if result is None else result for mask, result in zip(found.masks, results, strict=True)
    ]
    return {"relevance": relevance, "target": chosen, "logit": value, "logits": logits, "output": output}


def outputs_of(model: Any, result: Any) -> dict[Any, Any]:
    """The outputs in what a model gave, by their names (by position where they have none), in their order."""
    if isinstance(result, Mapping):
        return dict(result)
    tensors = [result] if backend.is_tensor(result) else list(keras.tree.flatten(result))
    names = getattr(model, "output_names", None) or ()
    return dict(zip(names if len(names) == len(tensors) else range(len(tensors)), tensors, strict=True))
