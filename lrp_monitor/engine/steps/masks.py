"""The companion mask: how relevance itself is carried where no values count.

In front of all weights, and in a prefix of the network (``until``), a mask of ones stands beside each tensor ``y``. It
is handed on from operation to operation as a linear map whose shares sum to one,

    y = [y] * u,   u_j = sum_i p_ij u_i,   sum_i p_ij = 1,

so that relevance R_j is shared out as R_i = sum_j p_ij R_j, whatever the values are. In front of all weights that is
how preprocessing passes relevance one to one, and how a rule for inputs reaches the input. In a prefix every weighted
map shares out by its rule for an input of ones, so that the map is as coarse as what lies behind the prefix.
"""

from __future__ import annotations

from dataclasses import replace

from keras import ops

from lrp_monitor.engine import backend
from lrp_monitor.engine.backend import Tensor, stop_gradient
from lrp_monitor.engine.gradients import straight_through
from lrp_monitor.engine.steps.axes import gathered_axis, product_axes
from lrp_monitor.engine.steps.maps import Map
from lrp_monitor.engine.steps.step import Made
from lrp_monitor.engine.trace.graph import Op


def normalised(share: Tensor) -> Tensor:
    """``share`` over its own value: 1, and 0 where nothing of the input arrives (padding alone)."""
    value = stop_gradient(share)
    nothing = ops.abs(value) < 1e-30
    # A factor of 0 and not of 1 / 0: relevance of what sees padding alone goes nowhere, and must not overflow there.
    return share * ops.where(nothing, 0.0, 1.0 / ops.where(nothing, 1.0, value))


def glue(value: Tensor, mask: Tensor) -> Tensor:
    """``value``, whose relevance goes to ``mask``."""
    return straight_through(stop_gradient(value) * ops.cast(mask, value.dtype), value)


def share(made: Made, weights: Map) -> Tensor:
    """The mask behind a weighted map of a prefix: what its rule makes of ones in place of the input."""
    companion, x = made.companion(weights.x), made.value(weights.x)
    affine = weights.affine(x, made.value, companion=companion, non_negative=True)
    of_ones = replace(
        affine, x=companion.mask, bias=None, rectified=False, _cache={"value": ops.ones_like(affine.value)}
    )  # fmt: skip
    return normalised(weights.rule.surrogate(of_ones))


def spread_over_vectors(op: Op, mask: Tensor) -> Tensor:
    """The mask behind a lookup: all relevance of a vector goes to its token."""
    shape, axis = op.outputs[0].shape, op.attribute("axis") if op.kind == "onehot" else -1
    if op.kind == "gather":  # what the table has before the axis of its vectors stands before the numbers
        shared_axes = op.attribute("batch_dims") or 0
        for _ in range(gathered_axis(op) - shared_axes):
            mask = ops.expand_dims(mask, shared_axes)
    for _ in range(len(shape) - len(mask.shape)):
        mask = ops.expand_dims(mask, axis)
    return ops.broadcast_to(mask, shape)


def picks(op: Op, kernel: int | None) -> bool:
    """Whether a product with this constant kernel, or none, only moves: each output is an input, such as in patches."""
    named = product_axes(op)
    if kernel is None:  # an einsum of one operand
        return set(named[0]) == set(named[1])
    value = backend.computed_constant(op.inputs[kernel]) if op.kind in ("conv", "matmul", "einsum") else None
    if value is None or set(named[1 - kernel]) - {*named[kernel], *named[-1]}:
        return False
    sums = value.sum(axis=tuple(axis for axis, name in enumerate(named[kernel]) if name not in named[-1]))
    return bool(((value == 0) | (value == 1)).all() and (sums == 1).all())
