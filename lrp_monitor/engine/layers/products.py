"""Products of activations: gates, squeeze-excite, dot products. Without a rule they would count relevance twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from keras import layers as kl
from keras import ops

from lrp_monitor.engine.backend import Tensor, stop_gradient
from lrp_monitor.engine.layers.common import Original, scale_gradient

if TYPE_CHECKING:
    from lrp_monitor.engine.trace import Trace


def _size(x: Tensor) -> int:
    size = 1
    for length in x.shape[1:]:
        size *= length or 1
    return size


def gate_of(trace: Trace, factors: Sequence[Tensor]) -> int | None:
    """Which of two factors is the gate: the one that is spread over the other, or the sigmoid or softmax."""
    if len(factors) != 2:
        return None
    sizes = [_size(x) for x in factors]
    if sizes[0] != sizes[1]:
        return 0 if sizes[0] < sizes[1] else 1
    gates = [index for index, x in enumerate(factors) if trace.head_of(x)[0] is not None]
    return gates[0] if len(gates) == 1 else None


def share_product(trace: Trace, factors: Sequence[Tensor]) -> tuple[list[Tensor], str]:
    """The factors of a product with gradients such that the product's relevance is shared and not multiplied.

    ``"half"``: each of n factors gets 1/n of the relevance (Achtibat et al. 2024, the uniform rule).
    ``"gate"``: the gate is held constant and the signal gets all of it (Arras et al. 2017, section 2.2). Where
    neither factor can be told to be the gate, each gets half. Constants get nothing.
    """
    live = [index for index, x in enumerate(factors) if trace.depends_on_input(x)]
    shared = list(factors)
    if len(live) < 2:
        return shared, "scales"
    gate = gate_of(trace, factors) if trace.composite.product == "gate" else None
    if gate is not None:
        shared[gate] = keep_mask(stop_gradient(factors[gate]), factors[gate])
        return shared, f"product: factor {gate} is the gate, held constant"
    for index in live:
        shared[index] = keep_mask(scale_gradient(factors[index], 1.0 / len(live)), factors[index])
    return shared, f"product: 1/{len(live)} to each factor"


def keep_mask(made: Tensor, source: Tensor) -> Tensor:
    """``made`` with the padding mask that Keras hung on ``source``."""
    mask = getattr(source, "_keras_mask", None)
    if mask is not None:
        made._keras_mask = mask
    return made


def multiply(trace: Trace, layer: Any, original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """An elementwise product of two or more activations."""
    factors, treatment = share_product(trace, list(args[0]))
    trace.note_row(layer, treatment)
    return original(factors, *args[1:], **kwargs)


def dot(trace: Trace, layer: Any, original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """A dot product of two activations; for a cosine the two lengths are constants."""
    factors = list(args[0])
    product = original
    if layer.normalize:
        axes = [layer.axes] * 2 if isinstance(layer.axes, int) else layer.axes
        factors = [
            x * stop_gradient(ops.rsqrt(ops.maximum(ops.sum(ops.square(x), axis=axis, keepdims=True), 1e-12)))
            for x, axis in zip(factors, axes, strict=True)
        ]
        product = kl.Dot(axes=layer.axes)
    factors, treatment = share_product(trace, factors)
    trace.note_row(layer, treatment)
    return product(factors)
