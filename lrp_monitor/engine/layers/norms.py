"""Normalising layers and elementwise affine maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from keras import ops

from lrp_monitor.engine import activations
from lrp_monitor.engine.affine import Companion
from lrp_monitor.engine.backend import Tensor, stop_gradient, straight_through
from lrp_monitor.engine.layers.common import SMALL, Original, along, as_float32
from lrp_monitor.engine.rules import stabilise

if TYPE_CHECKING:
    from lrp_monitor.engine.trace import Trace


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
    steps = trace.steps_of(x)
    made = None if steps is None else trace.affine_of(steps)
    if made is not None and made[0].channel_axis == axis - 1:  # a layer applied to every step made x
        affine, rule = made
        trace.note_row(layer, "folded into the weighted layer before it")
        folded = affine.folded(scale, shift, along(axis - 1, rank - 1))
        return trace.part_steps(trace.apply(folded, rule), x.shape[1])
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
    y = function(stop_gradient(trace.attach(x)))
    output = straight_through(y * companion.mask, y)  # the mask is 0 where padding was put in; the value is y there too
    trace.set_companion(output, Companion(companion.mask, lambda bound: function(companion.bounds(bound))))
    trace.note_row(layer, "preprocessing: relevance passes one to one")
    return output


def rescaling(trace: Trace, layer: Any, original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """A fixed scale and shift per element."""
    x = args[0]
    # The map of one minus the map of zero is the scale, whatever the layer's broadcasting.
    scale = original(ops.ones_like(x[:1])) - original(ops.zeros_like(x[:1]))
    return elementwise_affine(trace, layer, x, scale, original)


# Normalising by statistics of the sample itself: the scale factor is a constant, so that the normalisation passes
# relevance one to one (Achtibat et al. 2024); subtracting the mean and scaling by gamma are linear,
# and beta is a bias: it absorbs its share, y = lin(x) + beta, R_x = x dlin/dx R_y / y.


def _constant_scale(trace: Trace, layer: Any, x: Tensor, lin: Tensor, y: Tensor, beta: bool) -> Tensor:
    """``y``, the normalised x, with the gradient of ``lin``; in front of all weights relevance passes one to one."""
    companion = trace.companion_of(x)
    if companion is None:
        trace.note_row(layer, "its scale factor is a constant" + ("; beta absorbs its share" if beta else ""))
        return straight_through(lin, y)
    output = straight_through(stop_gradient(y) * companion.mask, y)

    def no_bounds(value: Tensor) -> Tensor:
        raise ValueError(
            f"layer {layer.name!r} ({type(layer).__name__}) stands in front of the first weighted layer: what it makes "
            "of the bounds of the input depends on the sample, so zB has none; use Flat() or WSquare() there"
        )

    trace.set_companion(output, Companion(companion.mask, no_bounds))
    trace.note_row(layer, "preprocessing: relevance passes one to one")
    return output


def _axes(axis: int | Sequence[int], rank: int) -> list[int]:
    return sorted(a % rank for a in ([axis] if isinstance(axis, int) else axis))


def _over(vector: Any, axes: list[int], shape: Sequence[int]) -> Tensor:
    """``vector``, whose shape is that of ``axes``, so that it multiplies a tensor of ``shape``."""
    return ops.reshape(as_float32(vector), [size if a in axes else 1 for a, size in enumerate(shape)])


def layer_norm(trace: Trace, layer: Any, original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """LayerNormalization."""
    x = args[0]
    axes = _axes(layer.axis, len(x.shape))
    centred = x - ops.mean(x, axis=axes, keepdims=True)
    scale = ops.rsqrt(ops.mean(ops.square(centred), axis=axes, keepdims=True) + layer.epsilon)
    if layer.rms_scaling:  # Keras scales by the variance of x and does not subtract the mean then
        centred, scale = x, ops.rsqrt(ops.var(x, axis=axes, keepdims=True) + layer.epsilon)
    if layer.gamma is not None:
        scale = scale * _over(layer.gamma, axes, x.shape)
    return _constant_scale(
        trace,
        layer,
        x,
        centred * stop_gradient(scale),
        original(*args, **kwargs),
        layer.beta is not None and not layer.rms_scaling,
    )


def rms_norm(trace: Trace, layer: Any, original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """RMSNormalization."""
    x = args[0]
    axes = _axes(layer.axis, len(x.shape))
    scale = ops.rsqrt(ops.mean(ops.square(x), axis=axes, keepdims=True) + layer.epsilon)
    scale = scale * _over(layer.scale, axes, x.shape)
    return _constant_scale(trace, layer, x, x * stop_gradient(scale), original(*args, **kwargs), False)


def unit_norm(trace: Trace, layer: Any, original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """UnitNormalization: every vector has length 1."""
    x = args[0]
    axes = _axes(layer.axis, len(x.shape))
    scale = ops.rsqrt(ops.maximum(ops.sum(ops.square(x), axis=axes, keepdims=True), 1e-12))
    return _constant_scale(trace, layer, x, x * stop_gradient(scale), original(*args, **kwargs), False)


def group_norm(trace: Trace, layer: Any, original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """GroupNormalization: statistics over each group of channels of a sample."""
    x = args[0]
    rank = len(x.shape)
    axis = layer.axis % rank
    channels = x.shape[axis]
    groups = channels if layer.groups == -1 else layer.groups
    # The channels' axis becomes (groups, channels of a group).
    split = [-1, *x.shape[1:axis], groups, channels // groups, *x.shape[axis + 1 :]]
    grouped = ops.reshape(x, split)
    inside = [a for a in range(1, rank + 1) if a != axis]
    centred = grouped - ops.mean(grouped, axis=inside, keepdims=True)
    scale = ops.rsqrt(ops.mean(ops.square(centred), axis=inside, keepdims=True) + layer.epsilon)
    lin = ops.reshape(centred * stop_gradient(scale), [-1, *x.shape[1:]])
    if layer.scale:
        lin = lin * _over(layer.gamma, [axis], x.shape)
    return _constant_scale(trace, layer, x, lin, original(*args, **kwargs), layer.center)
