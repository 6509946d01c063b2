"""A prefix of the network through which relevance passes whatever the values are: "flat until" a layer.

The companion mask of the input, ones, is handed on from layer to layer as a linear map normalised to one: behind a
weighted layer it is the rule's own surrogate for an input of ones, divided by its value. So the layer's output is

    y = [y] * u,   u_j = sum_i p_ij u_i,   sum_i p_ij = 1,

and relevance R_j = y_j G_j is shared out as R_i = sum_j p_ij R_j: exactly conserving, however deep the prefix is.
Outside the prefix ``y`` is a tensor like any other. Raw operations between layers hand the mask on likewise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from keras import ops

from lrp_monitor.engine import activations, backend
from lrp_monitor.engine.affine import Affine, Companion
from lrp_monitor.engine.backend import Tensor, stop_gradient, straight_through
from lrp_monitor.engine.layers.products import gate_of
from lrp_monitor.engine.replay import replay
from lrp_monitor.engine.rules import Rule

if TYPE_CHECKING:
    from lrp_monitor.engine.trace import Trace


def hand_on(trace: Trace, y: Tensor, mask: Tensor) -> Tensor:
    """``y`` of the prefix, whose relevance goes to ``mask``."""
    output = straight_through(stop_gradient(y) * mask, y)
    trace.set_inner(output, companion(mask))
    return output


def companion(mask: Tensor) -> Companion:
    """``mask`` as the companion of a tensor behind a weighted layer."""

    def no_bounds(value: Tensor) -> Tensor:
        raise TypeError("behind a weighted layer there are no bounds of the input")

    return Companion(mask, no_bounds)


def normalised(share: Tensor) -> Tensor:
    """``share`` over its own value: 1, and 0 where nothing of the input arrives (padding alone)."""
    value = stop_gradient(share)
    nothing = ops.abs(value) < 1e-30
    # A factor of 0 and not of 1 / 0: relevance of what sees padding alone goes nowhere, and must not overflow there.
    return share * ops.where(nothing, 0.0, 1.0 / ops.where(nothing, 1.0, value))


def share_out(trace: Trace, affine: Affine, rule: Rule) -> Tensor:
    """The output of a weighted map of the prefix: what the rule makes of ones in place of the input."""
    given = affine.companion
    assert given is not None
    value = affine.value
    of_ones = replace(
        affine, x=given.mask, bias=None, rectified=False, non_negative_input=True, base=affine,
        _cache={"value": ops.ones_like(value)},
    )  # fmt: skip
    return hand_on(trace, value, normalised(rule.surrogate(of_ones)))


def share_equally(masks: Sequence[Tensor]) -> Tensor:
    """The mask behind a sum: each of its terms takes the same part."""
    if len(masks) == 1 or all(mask is masks[0] for mask in masks):
        return masks[0]
    return normalised(sum(masks[1:], start=masks[0]))


def share_factors(trace: Trace, factors: Sequence[Tensor], masks: Sequence[Tensor]) -> tuple[Tensor, str]:
    """The mask behind a product: the signal takes all where the other is its gate, else each factor the same part."""
    gate = gate_of(trace, factors) if trace.composite.product == "gate" else None
    if gate is None:
        return share_equally(masks), f"product: 1/{len(factors)} to each factor"
    return masks[1 - gate], f"product: factor {gate} is the gate, held constant"


def activate(trace: Trace, layer: Any, z: Tensor, activation: Any) -> Tensor:
    """The activation of ``z`` of the prefix."""
    name, given = activations.name_of(activation), trace.companion_of(z)
    assert given is not None
    if name == "linear":
        return z
    if name is None:
        with backend.untreated():  # its operations are looked at one by one
            return activation(z)
    if not activations.is_elementwise(name):
        trace.refuse(
            layer, f"its activation {name!r} lies in the prefix (until=...) and does not map each element by itself; "
            "end the prefix before it",
        )  # fmt: skip
        return activation(z)
    return hand_on(trace, activation(stop_gradient(z)), given.mask)


# --- raw operations of the prefix ---

# One tensor of data, each element by itself: the mask is handed on as it is, or spread where a constant is wider.
_ELEMENTWISE = frozenset(
    {"Abs", "Add", "AddV2", "BiasAdd", "Cast", "Elu", "Erf", "Erfc", "Exp", "Expm1", "Identity", "IdentityN",
     "LeakyRelu", "Log", "Log1p", "Maximum", "Minimum", "Mul", "Neg", "Pow", "RealDiv", "Relu", "Relu6", "Rsqrt",
     "Selu", "Sigmoid", "Snapshot", "Softplus", "Softsign", "Sqrt", "Square", "Sub", "Tanh"}
)  # fmt: skip
_SUMS = frozenset({"Add", "AddN", "AddV2", "Maximum", "Minimum", "Sub"})
_MOVES = frozenset(
    {"BatchToSpaceND", "BroadcastTo", "ConcatV2", "DepthToSpace", "ExpandDims", "GatherNd", "GatherV2", "MirrorPad",
     "Pack", "Pad", "Reshape", "Reverse", "ReverseV2", "Roll", "Select", "SelectV2", "Slice", "SpaceToBatchND",
     "SpaceToDepth", "Split", "SplitV", "Squeeze", "StridedSlice", "Tile", "Transpose", "Unpack"}
)  # fmt: skip
# What takes its window's mean, or is taken for it: every element of the window has the same part.
_POOLS = {
    "AvgPool": "AvgPool", "AvgPool3D": "AvgPool3D", "Max": "Mean", "MaxPool": "AvgPool", "MaxPool3D": "AvgPool3D",
    "Mean": "Mean", "Min": "Mean", "ResizeBicubic": "ResizeBicubic", "ResizeBilinear": "ResizeBilinear",
    "ResizeNearestNeighbor": "ResizeNearestNeighbor", "Sum": "Sum",
}  # fmt: skip


def mask_behind(trace: Trace, x: Tensor) -> Tensor | None:
    """The mask at ``x``, which raw operations made of tensors of the prefix; None where it is made of none.

    An operation through which there is no way is refused by name and call site.
    """
    masks = trace.raw_masks
    stack = [x]
    while stack:
        t = stack[-1]
        if id(t) in masks:
            stack.pop()
            continue
        known = trace.mask_at(t)
        if known is not None or not trace.depends_on_input(t):
            masks[id(t)] = known
            trace.keep(t)
            stack.pop()
            continue
        waiting = [source for source in t.op.inputs if id(source) not in masks]
        if waiting:
            stack += waiting
            continue
        made = _handed_on(trace, t.op, [masks[id(source)] for source in t.op.inputs])
        for output, mask in zip(t.op.outputs, made, strict=True):
            masks[id(output)] = mask
            trace.keep(output)
        stack.pop()
    return masks[id(x)]


def _handed_on(trace: Trace, op: Any, masks: list[Tensor | None]) -> list[Tensor | None]:
    """The masks at the outputs of a raw operation, from those at its inputs (None: a constant)."""
    given = [mask for mask in masks if mask is not None]
    shape = op.outputs[0].shape

    def spread(mask: Tensor) -> Tensor:
        return mask if mask.shape == shape else ops.broadcast_to(mask, shape)

    if op.type == "IdentityN":
        return masks
    if len(given) == 1 and op.type in _ELEMENTWISE and not (op.type == "RealDiv" and masks[0] is None):
        return [spread(given[0])]
    if len(given) > 1 and op.type in _SUMS:
        return [share_equally([spread(mask) for mask in given])]
    if len(given) == 2 and op.type == "Mul":
        return [spread(share_factors(trace, list(op.inputs), given)[0])]
    if op.type in _MOVES or op.type in _POOLS:
        beside = [
            (ops.zeros_like(t) if t.dtype.is_floating else t) if mask is None else mask
            for t, mask in zip(op.inputs, masks, strict=True)
        ]
        if op.type in _MOVES:
            return list(replay(op, beside))
        return [normalised(made) for made in replay(op, beside, _POOLS[op.type])]
    site = backend.call_site(op)
    trace.refuse_operation(
        f"operation {op.name!r} ({op.type}){f' at {site}' if site else ''}: it lies in the prefix (until=...), through "
        "which relevance passes no such operation; end the prefix before it"
    )
    return [None for _ in op.outputs]
