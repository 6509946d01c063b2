"""Normalising layers and elementwise affine maps."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from keras import ops

from lrp_monitor.engine import activations
from lrp_monitor.engine.affine import Companion
from lrp_monitor.engine.backend import Tensor, stop_gradient, straight_through
from lrp_monitor.engine.layers.common import SMALL, Original, along, as_float32
from lrp_monitor.engine.rules import stabilise

if TYPE_CHECKING:
    from lrp_monitor.engine.surrogate import Trace


def batch_norm(trace: Trace, layer: Any, original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """Folded into the weighted layer before it where there is one; an elementwise affine map where not."""
    x = args[0]
    variance, mean = as_float32(layer.moving_variance), as_float32(layer.moving_mean)
    scale = ops.rsqrt(variance + layer.epsilon)
    if layer.scale:
        scale = scale * as_float32(layer.gamma)
    shift = -mean * scale
    if layer.center:
        shift = shift + as_float32(layer.beta)
    rank = len(x.shape)
    axis = layer.axis if layer.axis >= 0 else rank + layer.axis
    shape = along(axis, rank)
    made = trace.affine_of(x)
    if made is not None and made[0].channel_axis == axis:
        affine, rule = made
        trace.note_row(layer, "folded into the weighted layer before it")
        return trace.apply(affine.folded(scale, shift, shape), rule)
    return elementwise_affine(trace, layer, x, shape(scale), original)


def elementwise_affine(trace: Trace, layer: Any, x: Tensor, scale: Tensor, original: Original) -> Tensor:
    """A map ``scale * x + shift`` that cannot be folded into a weighted layer before it."""
    if trace.companion_of(x) is not None:
        return _preprocessed(trace, layer, x, original)
    y = stop_gradient(original(x))
    if trace.composite.norm == "identity":
        trace.note_row(layer, "identity (relevance passes one to one)")
        return activations.pass_through(x, lambda _: y)
    trace.note_row(layer, f"Epsilon(epsilon={SMALL:g}) on its affine map")
    return straight_through(x * stop_gradient(scale * (y / stabilise(y, SMALL))), y)


def _preprocessed(trace: Trace, layer: Any, x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """Scaling and shifting of the input itself: the mask is attached behind it, so relevance passes one to one."""
    companion = trace.companion_of(x)
    assert companion is not None
    output = function(stop_gradient(trace.attach(x))) * companion.mask
    trace.set_companion(output, Companion(companion.mask, lambda bound: function(companion.bounds(bound))))
    trace.note_row(layer, "preprocessing: relevance passes one to one")
    return output


def rescaling(trace: Trace, layer: Any, original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """A fixed scale and shift per element."""
    x = args[0]
    # The map of one minus the map of zero is the scale, whatever the layer's broadcasting.
    scale = original(ops.ones_like(x[:1])) - original(ops.zeros_like(x[:1]))
    return elementwise_affine(trace, layer, x, scale, original)
