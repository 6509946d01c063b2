"""Activations, and layers that move, select, add or pool: what needs no weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import keras
from keras import ops

from lrp_monitor.engine import activations
from lrp_monitor.engine.affine import Companion
from lrp_monitor.engine.backend import Tensor, stop_gradient
from lrp_monitor.engine.front import winner
from lrp_monitor.engine.layers.common import Original

if TYPE_CHECKING:
    from lrp_monitor.engine.trace import Trace


def activation(trace: Trace, layer: Any, original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """The Activation layer."""
    trace.note_row(layer, "relevance passes the activation")
    return trace.activate(layer, args[0], layer.activation)


def relu(trace: Trace, layer: Any, original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """ReLU in all its forms."""
    trace.note_row(layer, "relevance passes the activation")
    plain = layer.max_value is None and not layer.negative_slope and not layer.threshold
    if plain:
        return trace.activate(layer, args[0], keras.activations.relu)
    zero_below = not layer.negative_slope and layer.threshold >= 0
    y = activations.pass_through(args[0], original, zero_below)
    if zero_below:
        trace.know_non_negative(y)
    return y


def elementwise(trace: Trace, layer: Any, original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """An activation layer with parameters of its own."""
    trace.note_row(layer, "relevance passes the activation")
    return activations.pass_through(args[0], original)


def softmax(trace: Trace, layer: Any, original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """A softmax: the output's, or one inside the network."""
    if layer.axis not in (-1, len(args[0].shape) - 1) or len(args) > 1 or kwargs.get("mask") is not None:
        trace.note_row(layer, "softmax: its own gradient")
        return original(*args, **kwargs)
    trace.note_row(layer, "softmax: the explanation starts before it, or its own gradient")
    return trace.activate(layer, args[0], keras.activations.softmax)


def structural(trace: Trace, layer: Any, original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Homogeneous layers: the plain gradient x input conserves. The companion mask goes the same way."""
    trace.note_row(layer, "passes as it is")
    x = args[0]
    if isinstance(x, list | tuple | dict):
        return original(*args, **kwargs)
    return _carried(trace, original, [x], args[1:], kwargs, lambda values: values[0])


def plain(trace: Trace, layer: Any, original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Homogeneous in all its inputs together: the plain gradient x input conserves."""
    trace.note_row(layer, "passes as it is")
    return original(*args, **kwargs)


def average_pooling(trace: Trace, layer: Any, original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Linear; in front of all weights the mask of a mean is the mean of its window's masks."""
    return structural(trace, layer, original, args, kwargs)


def concatenate(trace: Trace, layer: Any, original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Moves tensors side by side."""
    trace.note_row(layer, "passes as it is")
    return _carried(trace, original, list(args[0]), args[1:], kwargs, lambda values: values)


def max_pooling(trace: Trace, layer: Any, original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The maximum of each window takes the whole relevance."""
    trace.note_row(layer, "the winner takes all")
    return _carried(trace, original, [args[0]], args[1:], kwargs, lambda values: values[0], winner)


def _carried(
    trace: Trace, original: Original, given: list[Tensor], args: tuple[Any, ...], kwargs: dict[str, Any],
    arranged: Callable[[list[Tensor]], Any], behind: Callable[..., Tensor] | None = None,
) -> Any:  # fmt: skip
    """The output of a layer that moves or pools; where all of ``given`` has a companion mask, so has the output."""

    def apply(values: list[Tensor]) -> Any:
        return original(arranged(values), *args, **kwargs)

    given = [trace.attach(x) for x in given]
    output = apply(given)
    starts = [companion for x in given if (companion := trace.companion_of(x)) is not None]
    if len(starts) == len(given) and not any(output is x for x in given):
        masks = [start.mask for start in starts]

        def bounds(value: Tensor) -> Tensor:
            found = [start.bounds(value) for start in starts]
            if len(found) > 1:
                found = [ops.broadcast_to(bound, x.shape) for bound, x in zip(found, given, strict=True)]
            return apply(found)

        mask = apply(masks) if behind is None else behind(lambda x: apply([x]), given[0], masks[0])
        trace.set_companion(output, Companion(mask, bounds))
    return output


def inside(trace: Trace, layer: Any, original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A wrapper whose inner layer does all the work and has a treatment of its own."""
    trace.note_row(layer, "the layer inside it is treated")
    return original(*args, **kwargs)


def embedding(trace: Trace, layer: Any, original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """One vector per token: the mask of the input is attached behind it, so each token gets its vector's relevance.

    An embedding is the first weighted layer itself: on one-hot tokens every rule gives the token all of it.
    """
    companion = trace.companion_of(args[0])
    if companion is None:
        if trace.depends_on_input(args[0]):
            trace.refuse(layer, "its token numbers are computed from activations, which carry no relevance")
        return original(*args, **kwargs)
    trace.first_layers += 1
    trace.note_row(layer, "all relevance of a vector to its token")
    vectors = original(ops.cast(ops.round(stop_gradient(args[0])), "int32"), *args[1:], **kwargs)
    return vectors * ops.expand_dims(companion.mask, -1)
