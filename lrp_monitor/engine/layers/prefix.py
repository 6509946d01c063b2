"""What each layer is to relevance inside a prefix of the network (``until``), where no values count."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
from keras import layers as kl
from keras import ops

from lrp_monitor.engine import backend
from lrp_monitor.engine.backend import Tensor
from lrp_monitor.engine.composites import fits_prefix
from lrp_monitor.engine.layers import norms, products, structural, weighted
from lrp_monitor.engine.layers.common import Original, Treatment
from lrp_monitor.engine.prefix import hand_on, normalised, share_equally, share_factors
from lrp_monitor.engine.rules import Pass

if TYPE_CHECKING:
    from lrp_monitor.engine.trace import Trace

_WEIGHTED: frozenset[Treatment] = frozenset(
    {weighted.dense, weighted.einsum_dense, weighted.conv, weighted.conv_transpose, weighted.depthwise,
     weighted.separable}
)  # fmt: skip
# Their own treatment of what stands in front of the first weighted layer hands the mask on.
_HAND_ON: frozenset[Treatment] = frozenset(
    {norms.batch_norm, norms.rescaling, norms.layer_norm, norms.rms_norm, norms.group_norm, norms.unit_norm,
     structural.structural, structural.activation, structural.inside}
)  # fmt: skip
_ELEMENTWISE: frozenset[Treatment] = frozenset({structural.relu, structural.elementwise})


def treat(
    trace: Trace, layer: Any, treatment: Treatment | None, original: Original, args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:  # fmt: skip
    """One call of a layer of the prefix."""
    tensors = [x for x in keras.tree.flatten(args) if backend.is_float_tensor(x) and trace.depends_on_input(x)]
    companions = [trace.companion_of(x) for x in tensors]
    if treatment is None or not tensors:
        return original(*args, **kwargs)
    if any(companion is None for companion in companions):  # what came before was refused
        return treatment(trace, layer, original, args, kwargs)
    masks = [companion.mask for companion in companions if companion is not None]
    rule = trace.composite.override(layer)
    if rule is not None and (treatment in _WEIGHTED or not isinstance(rule, Pass)) and not fits_prefix(rule):
        trace.refuse(layer, f"rule {rule!r} has no meaning in a prefix (until=...): name Flat() or WSquare() for it")
        return original(*args, **kwargs)
    inner = trace.is_inner(tensors[0])
    if treatment in _WEIGHTED or (treatment in _HAND_ON and not (inner and treatment is norms.batch_norm)):
        output = treatment(trace, layer, original, args, kwargs)
        companion = trace.companion_of(output) if inner and backend.is_tensor(output) else None
        if companion is not None:
            trace.set_inner(output, companion)
        return output
    with trace.as_a_whole():
        y = original(*args, **kwargs)
    if treatment in _ELEMENTWISE or treatment is norms.batch_norm or isinstance(rule, Pass):
        trace.note_row(layer, "relevance passes one to one")
        return hand_on(trace, y, masks[0])
    if treatment is structural.embedding:
        output = treatment(trace, layer, original, args, kwargs)
        return hand_on(trace, output, ops.broadcast_to(ops.expand_dims(masks[0], -1), output.shape))
    shared = _shared(trace, layer, treatment, original, args, kwargs, tensors, masks)
    if shared is None:
        trace.refuse(
            layer,
            "it lies in the prefix (until=...), through which relevance passes weights, normalisations, elementwise "
            "activations, sums, products and poolings alone; end the prefix before it",
        )
        return y
    mask, row = shared
    trace.note_row(layer, row)
    return hand_on(trace, y, mask)


def _shared(
    trace: Trace, layer: Any, treatment: Treatment, original: Original, args: tuple[Any, ...],
    kwargs: dict[str, Any], tensors: list[Tensor], masks: list[Tensor],
) -> tuple[Tensor, str] | None:  # fmt: skip
    """The mask behind a layer that joins or pools, and what to say of it; None where there is no such thing."""
    if treatment is products.multiply:
        mask, row = share_factors(trace, tensors, masks)
        return mask, row
    if isinstance(layer, kl.Concatenate):
        beside = {id(x): mask for x, mask in zip(tensors, masks, strict=True)}
        given = [beside[id(x)] if id(x) in beside else ops.zeros_like(x) for x in args[0]]
        return original(given, *args[1:], **kwargs), "passes as it is"
    if isinstance(layer, kl.Add | kl.Subtract | kl.Average | kl.Maximum | kl.Minimum):
        return share_equally(masks), "equal parts to each"
    if treatment is structural.max_pooling:
        average = _average_of(layer)
        return normalised(average(masks[0])), "equal parts to the window"
    if treatment is structural.average_pooling:
        return normalised(original(masks[0], *args[1:], **kwargs)), "equal parts to the window"
    return None


def _average_of(layer: Any) -> Any:
    """The average pooling over the same windows as a maximum pooling."""
    base = next(base for base in type(layer).__mro__ if base.__module__.startswith("keras.") and "Max" in base.__name__)
    config = layer.get_config() | {"dtype": "float32"}
    config.pop("name")
    return getattr(kl, base.__name__.replace("Max", "Average")).from_config(config)
