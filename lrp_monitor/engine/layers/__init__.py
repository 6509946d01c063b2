"""What each Keras layer is to relevance: weighted, normalising, elementwise, preprocessing or structural."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keras import layers as kl

from lrp_monitor.engine import activations
from lrp_monitor.engine.layers import attention, norms, products, recurrent, structural, weighted, wrappers
from lrp_monitor.engine.layers.common import Original, Treatment
from lrp_monitor.engine.rules import Gradient, Pass

if TYPE_CHECKING:
    from lrp_monitor.engine.trace import Trace


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
    **dict.fromkeys(_named("Dense"), weighted.dense),
    **dict.fromkeys(_named("EinsumDense"), weighted.einsum_dense),
    **dict.fromkeys(_named("Conv1D", "Conv2D", "Conv3D"), weighted.conv),
    **dict.fromkeys(_named("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"), weighted.conv_transpose),
    **dict.fromkeys(_named("DepthwiseConv1D", "DepthwiseConv2D"), weighted.depthwise),
    **dict.fromkeys(_named("SeparableConv1D", "SeparableConv2D"), weighted.separable),
    **dict.fromkeys(_named("BatchNormalization"), norms.batch_norm),
    **dict.fromkeys(_named("Rescaling", "Normalization"), norms.rescaling),
    **dict.fromkeys(_named("LayerNormalization"), norms.layer_norm),
    **dict.fromkeys(_named("RMSNormalization"), norms.rms_norm),
    **dict.fromkeys(_named("GroupNormalization"), norms.group_norm),
    **dict.fromkeys(_named("UnitNormalization"), norms.unit_norm),
    **dict.fromkeys(_named("SpectralNormalization"), structural.inside),
    **dict.fromkeys(_named("Multiply"), products.multiply),
    **dict.fromkeys(_named("Dot"), products.dot),
    **dict.fromkeys(_named("MultiHeadAttention", "GroupQueryAttention"), attention.multi_head),
    **dict.fromkeys(_named("Attention", "AdditiveAttention"), attention.attention),
    **dict.fromkeys(_named("Embedding"), structural.embedding),
    **recurrent.TREATMENTS,
    **wrappers.TREATMENTS,
    **dict.fromkeys(_named("Activation"), structural.activation),
    **dict.fromkeys(_named("ReLU"), structural.relu),
    **dict.fromkeys(_named("LeakyReLU", "PReLU", "ELU"), structural.elementwise),
    **dict.fromkeys(_named("Softmax"), structural.softmax),
    **dict.fromkeys(
        _named(
            "Flatten", "Reshape", "Permute", "RepeatVector", "ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D",
            "Cropping1D", "Cropping2D", "Cropping3D", "UpSampling1D", "UpSampling2D", "UpSampling3D", "Resizing",
            "CenterCrop", "Identity", "Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D",
            "GaussianNoise", "GaussianDropout", "AlphaDropout", "ActivityRegularization", "RandomFlip",
            "RandomRotation", "RandomTranslation", "RandomZoom", "RandomContrast", "RandomBrightness", "RandomCrop",
        ),
        structural.structural,
    ),
    **dict.fromkeys(
        _named(
            "AveragePooling1D", "AveragePooling2D", "AveragePooling3D", "GlobalAveragePooling1D",
            "GlobalAveragePooling2D", "GlobalAveragePooling3D", "AdaptiveAveragePooling1D",
            "AdaptiveAveragePooling2D", "AdaptiveAveragePooling3D",
        ),
        structural.average_pooling,
    ),
    **dict.fromkeys(_named("Add", "Subtract", "Average", "Maximum", "Minimum"), structural.plain),
    **dict.fromkeys(_named("Concatenate"), structural.concatenate),
    **dict.fromkeys(
        _named(
            "MaxPooling1D", "MaxPooling2D", "MaxPooling3D", "GlobalMaxPooling1D", "GlobalMaxPooling2D",
            "GlobalMaxPooling3D", "AdaptiveMaxPooling1D", "AdaptiveMaxPooling2D", "AdaptiveMaxPooling3D",
        ),
        structural.max_pooling,
    ),
}  # fmt: skip


def treatment_for(layer: Any) -> Treatment | None:
    """How ``layer`` is treated; None where the operations inside it are looked at one by one instead.

    A subclass counts as its parent only where it does not override ``call``. Layers of Keras without a treatment
    are refused by name when they are called.
    """
    for base in type(layer).__mro__:
        if base in _TREATMENTS:
            if getattr(type(layer), "call", None) is getattr(base, "call", None):
                return _TREATMENTS[base]
            break
    module = type(layer).__module__
    # The layers that keras.applications brings along scale, add or drop; their operations are looked at.
    is_keras = module.startswith("keras.") and not module.startswith(("keras.src.applications.", "keras.applications."))
    return unknown if is_keras and not isinstance(layer, kl.InputLayer | kl.Lambda) else None


_WEIGHTED = frozenset(
    {weighted.dense, weighted.einsum_dense, weighted.conv, weighted.conv_transpose, weighted.depthwise,
     weighted.separable, *recurrent.TREATMENTS.values(), *wrappers.WEIGHTED}
)  # fmt: skip


def is_weighted(treatment: Treatment) -> bool:
    """Whether a treatment shares relevance out by weights, so that a rule of the composite applies to it."""
    return treatment in _WEIGHTED
