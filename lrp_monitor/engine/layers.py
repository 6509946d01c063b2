"""What each Keras layer is to relevance: weighted, normalising, elementwise, preprocessing or structural."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import keras
from keras import layers as kl
from keras import ops

from lrp_monitor.engine import activations
from lrp_monitor.engine.affine import Affine, Companion
from lrp_monitor.engine.backend import Tensor, stop_gradient, straight_through
from lrp_monitor.engine.rules import Gradient, Pass, stabilise

if TYPE_CHECKING:
    from lrp_monitor.engine.surrogate import Trace

Original = Callable[..., Any]
Treatment = Callable[["Trace", Any, Original, tuple[Any, ...], dict[str, Any]], Any]

_SMALL = 1e-6


def _float32(value: Any) -> Tensor:
    return ops.cast(ops.convert_to_tensor(value), "float32")


def _along(axis: int, rank: int) -> Callable[[Tensor], Tensor]:
    """Shapes a vector over ``axis`` of a tensor of ``rank`` so that it multiplies that tensor."""
    shape = [1] * rank
    shape[axis] = -1
    return lambda vector: ops.reshape(vector, shape)


def _channel_axis(layer: Any, rank: int) -> int:
    return 1 if getattr(layer, "data_format", "channels_last") == "channels_first" else rank - 1


# --- weighted layers --------------------------------------------------------------------------------------------


def _weighted(
    trace: Trace, layer: Any, x: Tensor, kind: str, kernel: Any, bias: Any, lin: Callable[[Tensor, Tensor], Tensor],
    *, scale_kernel: Callable[[Tensor, Tensor], Tensor], channel_axis: int | None,
    one_output: Callable[[Tensor], Tensor] | None, part: str = "",
) -> Tensor:  # fmt: skip
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
        bias = _float32(bias)
        if channel_axis is not None:
            bias = _along(channel_axis, len(x.shape))(bias)
    affine = Affine(
        x=x, kernel=_float32(kernel), bias=bias, lin=lin, scale_kernel=scale_kernel, channel_axis=channel_axis,
        one_output=one_output, non_negative_input=trace.is_non_negative(x), companion=companion,
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


def _dense(trace: Trace, layer: Any, original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    x = args[0]
    z = _weighted(
        trace, layer, x, "dense", layer.kernel, layer.bias, ops.matmul, scale_kernel=_scale_last,
        channel_axis=len(x.shape) - 1, one_output=_first_of_last,
    )  # fmt: skip
    return trace.activate(layer, z, layer.activation)


def _einsum_dense(
    trace: Trace, layer: Any, original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Tensor:
    z = _weighted(
        trace, layer, args[0], "dense", layer.kernel, layer.bias,
        lambda x, kernel: ops.einsum(layer.equation, x, kernel),
        scale_kernel=_scale_last, channel_axis=None, one_output=None,
    )  # fmt: skip
    return trace.activate(layer, z, layer.activation)


def _conv(trace: Trace, layer: Any, original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    def lin(value: Tensor, kernel: Tensor) -> Tensor:
        padding = layer.padding
        if padding == "causal":  # done by hand in front of the convolution, as the layer does it
            value, padding = ops.pad(value, layer._compute_causal_padding()), "valid"
        return ops.conv(
            value, kernel, strides=list(layer.strides), padding=padding, dilation_rate=layer.dilation_rate,
            data_format=layer.data_format,
        )  # fmt: skip

    x = args[0]
    z = _weighted(
        trace, layer, x, "conv", layer.kernel, layer.bias, lin, scale_kernel=_scale_last,
        channel_axis=_channel_axis(layer, len(x.shape)), one_output=_first_of_last if layer.groups == 1 else None,
    )  # fmt: skip
    return trace.activate(layer, z, layer.activation)


def _conv_transpose(
    trace: Trace, layer: Any, original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Tensor:
    def lin(value: Tensor, kernel: Tensor) -> Tensor:
        return ops.conv_transpose(
            value, kernel, strides=list(layer.strides), padding=layer.padding, output_padding=layer.output_padding,
            dilation_rate=layer.dilation_rate, data_format=layer.data_format,
        )  # fmt: skip

    x = args[0]
    z = _weighted(
        trace, layer, x, "conv", layer.kernel, layer.bias, lin, scale_kernel=_scale_last_but_one,
        channel_axis=_channel_axis(layer, len(x.shape)), one_output=lambda kernel: kernel[..., :1, :],
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


def _depthwise(trace: Trace, layer: Any, original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    x = args[0]
    z = _weighted(
        trace, layer, x, "conv", layer.kernel, layer.bias, _depthwise_lin(layer), scale_kernel=_scale_depthwise,
        channel_axis=_channel_axis(layer, len(x.shape)), one_output=None,
    )  # fmt: skip
    return trace.activate(layer, z, layer.activation)


def _separable(trace: Trace, layer: Any, original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """Two weighted maps in a row, each with the rule: one per channel, then one across channels."""
    x = args[0]
    axis = _channel_axis(layer, len(x.shape))
    between = _weighted(
        trace, layer, x, "conv", layer.depthwise_kernel, None, _depthwise_lin(layer), scale_kernel=_scale_depthwise,
        channel_axis=axis, one_output=None, part="depthwise: ",
    )  # fmt: skip
    z = _weighted(
        trace, layer, between, "conv", layer.pointwise_kernel, layer.bias,
        lambda value, kernel: ops.conv(value, kernel, data_format=layer.data_format), scale_kernel=_scale_last,
        channel_axis=axis, one_output=_first_of_last, part="pointwise: ",
    )  # fmt: skip
    return trace.activate(layer, z, layer.activation)


# --- normalisation and elementwise affine maps ------------------------------------------------------------------


def _batch_norm(trace: Trace, layer: Any, original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    x = args[0]
    variance, mean = _float32(layer.moving_variance), _float32(layer.moving_mean)
    scale = ops.rsqrt(variance + layer.epsilon)
    if layer.scale:
        scale = scale * _float32(layer.gamma)
    shift = -mean * scale
    if layer.center:
        shift = shift + _float32(layer.beta)
    rank = len(x.shape)
    axis = layer.axis if layer.axis >= 0 else rank + layer.axis
    along = _along(axis, rank)
    made = trace.affine_of(x)
    if made is not None and made[0].channel_axis == axis:
        affine, rule = made
        trace.note_row(layer, "folded into the weighted layer before it")
        return trace.apply(affine.folded(scale, shift, along), rule)
    return _elementwise_affine(trace, layer, x, along(scale), original)


def _elementwise_affine(trace: Trace, layer: Any, x: Tensor, scale: Tensor, original: Original) -> Tensor:
    """A map ``scale * x + shift`` that cannot be folded into a weighted layer before it."""
    if trace.companion_of(x) is not None:
        return _preprocessed(trace, layer, x, original)
    y = stop_gradient(original(x))
    if trace.composite.norm == "identity":
        trace.note_row(layer, "identity (relevance passes one to one)")
        return activations.pass_through(x, lambda _: y)
    trace.note_row(layer, f"Epsilon(epsilon={_SMALL:g}) on its affine map")
    return straight_through(x * stop_gradient(scale * (y / stabilise(y, _SMALL))), y)


def _preprocessed(trace: Trace, layer: Any, x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """Scaling and shifting of the input itself: the mask is attached behind it, so relevance passes one to one."""
    companion = trace.companion_of(x)
    assert companion is not None
    output = function(stop_gradient(trace.attach(x))) * companion.mask
    trace.set_companion(output, Companion(companion.mask, lambda bound: function(companion.bounds(bound))))
    trace.note_row(layer, "preprocessing: relevance passes one to one")
    return output


def _rescaling(trace: Trace, layer: Any, original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    x = args[0]
    # The map of one minus the map of zero is the scale, whatever the layer's broadcasting.
    scale = original(ops.ones_like(x[:1])) - original(ops.zeros_like(x[:1]))
    return _elementwise_affine(trace, layer, x, scale, original)


# --- activations ------------------------------------------------------------------------------------------------


def _activation(trace: Trace, layer: Any, original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    trace.note_row(layer, "relevance passes the activation")
    return trace.activate(layer, args[0], layer.activation)


def _relu(trace: Trace, layer: Any, original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    trace.note_row(layer, "relevance passes the activation")
    plain = layer.max_value is None and not layer.negative_slope and not layer.threshold
    if plain:
        return trace.activate(layer, args[0], keras.activations.relu)
    return activations.pass_through(args[0], original)


def _elementwise(trace: Trace, layer: Any, original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    trace.note_row(layer, "relevance passes the activation")
    return activations.pass_through(args[0], original)


def _softmax(trace: Trace, layer: Any, original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    if layer.axis not in (-1, len(args[0].shape) - 1) or len(args) > 1 or kwargs.get("mask") is not None:
        trace.note_row(layer, "softmax: its own gradient")
        return original(*args, **kwargs)
    trace.note_row(layer, "softmax: the explanation starts before it, or its own gradient")
    return trace.activate(layer, args[0], keras.activations.softmax)


# --- layers that move, select, add or pool ----------------------------------------------------------------------


def _structural(trace: Trace, layer: Any, original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Homogeneous layers: the plain gradient x input conserves. The companion mask goes the same way."""
    output = original(*args, **kwargs)
    trace.note_row(layer, "passes as it is")
    x = args[0]
    companion = trace.companion_of(x) if not isinstance(x, list | tuple | dict) else None
    if companion is not None and output is not x:
        start = companion

        def bounds(value: Tensor) -> Tensor:
            return original(start.bounds(value), **kwargs)

        trace.set_companion(output, Companion(original(start.mask, *args[1:], **kwargs), bounds))
    return output


def _plain(trace: Trace, layer: Any, original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    trace.note_row(layer, "passes as it is")
    return original(*args, **kwargs)


def _max_pooling(trace: Trace, layer: Any, original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    trace.note_row(layer, "the winner takes all")
    return original(*args, **kwargs)


def unknown(trace: Trace, layer: Any, original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A layer without a treatment: the rule that the user named for it, or a refusal."""
    rule = trace.composite.override(layer)
    with trace.as_a_whole():
        if isinstance(rule, Pass):
            trace.note_row(layer, "relevance passes one to one (named)")
            return activations.pass_through(args[0], lambda z: original(z, *args[1:], **kwargs))
        if isinstance(rule, Gradient):
            trace.note_row(layer, "plain gradient (named)")
        elif rule is not None:
            trace.refuse(
                layer,
                f"rule {rule!r} shares out by weights, which this layer does not have or does not show; "
                "name Pass() or Gradient() for it",
            )
        else:
            trace.refuse(layer, "there is no treatment for this type of layer")
        return original(*args, **kwargs)


def _named(*names: str) -> tuple[type, ...]:
    return tuple(getattr(kl, name) for name in names if hasattr(kl, name))


_TREATMENTS: dict[type, Treatment] = {
    **dict.fromkeys(_named("Dense"), _dense),
    **dict.fromkeys(_named("EinsumDense"), _einsum_dense),
    **dict.fromkeys(_named("Conv1D", "Conv2D", "Conv3D"), _conv),
    **dict.fromkeys(_named("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"), _conv_transpose),
    **dict.fromkeys(_named("DepthwiseConv1D", "DepthwiseConv2D"), _depthwise),
    **dict.fromkeys(_named("SeparableConv1D", "SeparableConv2D"), _separable),
    **dict.fromkeys(_named("BatchNormalization"), _batch_norm),
    **dict.fromkeys(_named("Rescaling", "Normalization"), _rescaling),
    **dict.fromkeys(_named("Activation"), _activation),
    **dict.fromkeys(_named("ReLU"), _relu),
    **dict.fromkeys(_named("LeakyReLU", "PReLU", "ELU"), _elementwise),
    **dict.fromkeys(_named("Softmax"), _softmax),
    **dict.fromkeys(
        _named(
            "Flatten", "Reshape", "Permute", "RepeatVector", "ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D",
            "Cropping1D", "Cropping2D", "Cropping3D", "UpSampling1D", "UpSampling2D", "UpSampling3D", "Resizing",
            "CenterCrop", "Identity", "Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D",
            "GaussianNoise", "GaussianDropout", "AlphaDropout", "ActivityRegularization", "RandomFlip",
            "RandomRotation", "RandomTranslation", "RandomZoom", "RandomContrast", "RandomBrightness", "RandomCrop",
        ),
        _structural,
    ),
    **dict.fromkeys(
        _named(
            "Add", "Subtract", "Average", "Concatenate", "Maximum", "Minimum", "AveragePooling1D", "AveragePooling2D",
            "AveragePooling3D", "GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalAveragePooling3D",
        ),
        _plain,
    ),
    **dict.fromkeys(
        _named(
            "MaxPooling1D", "MaxPooling2D", "MaxPooling3D", "GlobalMaxPooling1D", "GlobalMaxPooling2D",
            "GlobalMaxPooling3D",
        ),
        _max_pooling,
    ),
}  # fmt: skip


def treatment_for(layer: Any) -> Treatment | None:
    """How ``layer`` is treated; None where the operations inside it are looked at one by one instead.

    A subclass counts as its parent only where it does not override ``call``. Layers of Keras without a treatment
    are refused by name when they are called.
    """
    for base in type(layer).__mro__:
        if base in _TREATMENTS:
            return _TREATMENTS[base] if getattr(type(layer), "call", None) is getattr(base, "call", None) else None
    is_keras = type(layer).__module__.startswith("keras.")
    return unknown if is_keras and not isinstance(layer, kl.InputLayer | kl.Lambda) else None


_WEIGHTED = frozenset({_dense, _einsum_dense, _conv, _conv_transpose, _depthwise, _separable})


def is_weighted(treatment: Treatment) -> bool:
    """Whether a treatment shares relevance out by weights, so that a rule of the composite applies to it."""
    return treatment in _WEIGHTED
