"""Activations, and layers that move, select, add or pool: what needs no weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
from keras import ops

from lrp_monitor.engine import activations
from lrp_monitor.engine.affine import Companion
from lrp_monitor.engine.backend import Tensor, stop_gradient
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
    x = trace.attach(x)
    output = original(x, *args[1:], **kwargs)
    companion = trace.companion_of(x)
    if companion is not None and output is not x:
        start = companion

        def bounds(value: Tensor) -> Tensor:
            return original(start.bounds(value), **kwargs)

        trace.set_companion(output, Companion(original(start.mask, *args[1:], **kwargs), bounds))
    return output


def plain(trace: Trace, layer: Any, original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Homogeneous in all its inputs together: the plain gradient x input conserves."""
    trace.note_row(layer, "passes as it is")
    return original(*args, **kwargs)


def max_pooling(trace: Trace, layer: Any, original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The maximum of each window takes the whole relevance."""
    trace.note_row(layer, "the winner takes all")
    return original(*args, **kwargs)


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
