"""Layers that share relevance out by weights: dense, convolutions of every kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from keras import ops

from lrp_monitor.engine.affine import Affine
from lrp_monitor.engine.backend import Tensor
from lrp_monitor.engine.layers.common import Original, along, as_float32, channel_axis
from lrp_monitor.engine.rules import Gradient, Pass

if TYPE_CHECKING:
    from lrp_monitor.engine.trace import Trace


def weighted_map(
    trace: Trace, layer: Any, x: Tensor, kind: str, kernel: Any, bias: Any, lin: Callable[[Tensor, Tensor], Tensor],
    *, scale_kernel: Callable[[Tensor, Tensor], Tensor], channel_axis: int | None,
    one_output: Callable[[Tensor], Tensor] | None, part: str = "",
) -> Tensor:  # fmt: skip
    """One weighted map with the rule that the composite names for it; its output is the pre-activation."""
    x = trace.attach(x)
    companion = trace.companion_of(x)
    rule = trace.composite.rule_for(layer, kind, companion is not None)
    if companion is not None:
        trace.first_layers += 1
    if isinstance(rule, Pass) or (rule.input_only and companion is None):
        needs = "is for elementwise layers" if isinstance(rule, Pass) else "is for the first weighted layer alone"
        trace.refuse(layer, f"rule {rule!r} {needs}; name another rule for it")
        rule = Gradient()
    if bias is not None:
        bias = as_float32(bias)
        if channel_axis is not None:
            bias = along(channel_axis, len(x.shape))(bias)
    affine = Affine(
        x=x, weights=lambda: as_float32(kernel), bias=bias, lin=lin, scale_kernel=scale_kernel,
        channel_axis=channel_axis, one_output=one_output, non_negative_input=trace.is_non_negative(x),
        companion=companion,
    )  # fmt: skip
    trace.note_row(layer, f"{part}{rule!r}")
    return trace.apply(affine, rule)


def _scale_last(kernel: Tensor, g: Tensor) -> Tensor:
    return kernel * g


def _scale_last_but_one(kernel: Tensor, g: Tensor) -> Tensor:
    return kernel * ops.expand_dims(g, -1)


def _scale_depthwise(kernel: Tensor, g: Tensor) -> Tensor:
    return kernel * ops.reshape(g, kernel.shape[-2:])


def _first_of_last(kernel: Tensor) -> Tensor:
    return kernel[..., :1]


def dense(trace: Trace, layer: Any, original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """``x W + b``."""
    x = args[0]
    z = weighted_map(
        trace, layer, x, "dense", layer.kernel, layer.bias, ops.matmul, scale_kernel=_scale_last,
        channel_axis=len(x.shape) - 1, one_output=_first_of_last,
    )  # fmt: skip
    return trace.activate(layer, z, layer.activation)


def einsum_dense(trace: Trace, layer: Any, original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """A dense layer along axes named by an equation."""
    z = weighted_map(
        trace, layer, args[0], "dense", layer.kernel, layer.bias,
        lambda x, kernel: ops.einsum(layer.equation, x, kernel),
        scale_kernel=_scale_last, channel_axis=None, one_output=None,
    )  # fmt: skip
    return trace.activate(layer, z, layer.activation)


def conv(trace: Trace, layer: Any, original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """A convolution over one, two or three axes, also grouped, dilated or causal."""

    def lin(value: Tensor, kernel: Tensor) -> Tensor:
        padding = layer.padding
        if padding == "causal":  # done by hand in front of the convolution, as the layer does it
            value, padding = ops.pad(value, layer._compute_causal_padding()), "valid"
        return ops.conv(
            value, kernel, strides=list(layer.strides), padding=padding, dilation_rate=layer.dilation_rate,
            data_format=layer.data_format,
        )  # fmt: skip

    x = args[0]
    z = weighted_map(
        trace, layer, x, "conv", layer.kernel, layer.bias, lin, scale_kernel=_scale_last,
        channel_axis=channel_axis(layer, len(x.shape)), one_output=_first_of_last if layer.groups == 1 else None,
    )  # fmt: skip
    return trace.activate(layer, z, layer.activation)


def conv_transpose(
    trace: Trace, layer: Any, original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Tensor:
    """A transposed convolution."""

    def lin(value: Tensor, kernel: Tensor) -> Tensor:
        return ops.conv_transpose(
            value, kernel, strides=list(layer.strides), padding=layer.padding, output_padding=layer.output_padding,
            dilation_rate=layer.dilation_rate, data_format=layer.data_format,
        )  # fmt: skip

    x = args[0]
    z = weighted_map(
        trace, layer, x, "conv", layer.kernel, layer.bias, lin, scale_kernel=_scale_last_but_one,
        channel_axis=channel_axis(layer, len(x.shape)), one_output=lambda kernel: kernel[..., :1, :],
    )  # fmt: skip
    return trace.activate(layer, z, layer.activation)


def _depthwise_lin(layer: Any) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda value, kernel: ops.depthwise_conv(
        value,
        kernel,
        strides=layer.strides,
        padding=layer.padding,
        dilation_rate=layer.dilation_rate,
        data_format=layer.data_format,
    )


def depthwise(trace: Trace, layer: Any, original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """A convolution of each channel by itself."""
    x = args[0]
    z = weighted_map(
        trace, layer, x, "conv", layer.kernel, layer.bias, _depthwise_lin(layer), scale_kernel=_scale_depthwise,
        channel_axis=channel_axis(layer, len(x.shape)), one_output=None,
    )  # fmt: skip
    return trace.activate(layer, z, layer.activation)


def separable(trace: Trace, layer: Any, original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """Two weighted maps in a row, each with the rule: one per channel, then one across channels."""
    x = args[0]
    axis = channel_axis(layer, len(x.shape))
    between = weighted_map(
        trace, layer, x, "conv", layer.depthwise_kernel, None, _depthwise_lin(layer), scale_kernel=_scale_depthwise,
        channel_axis=axis, one_output=None, part="depthwise: ",
    )  # fmt: skip
    z = weighted_map(
        trace, layer, between, "conv", layer.pointwise_kernel, layer.bias,
        lambda value, kernel: ops.conv(value, kernel, data_format=layer.data_format), scale_kernel=_scale_last,
        channel_axis=axis, one_output=_first_of_last, part="pointwise: ",
    )  # fmt: skip
    return trace.activate(layer, z, layer.activation)
