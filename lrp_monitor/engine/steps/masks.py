"""The companion mask: how relevance itself is carried where no values count.

In front of all weights, and in a prefix of the network (``until``), a mask of ones stands beside each tensor ``y``. It
is handed on from operation to operation as a linear map whose shares sum to one,

    y = [y] * u,   u_j = sum_i p_ij u_i,   sum_i p_ij = 1,

so that relevance R_j is shared out as R_i = sum_j p_ij R_j, whatever the values are. In front of all weights that is
how preprocessing passes relevance one to one, and how a rule for inputs reaches the input. In a prefix every weighted
map shares out by its rule for an input of ones, so that the map is as coarse as what lies behind the prefix.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from keras import ops

from lrp_monitor.engine import backend
from lrp_monitor.engine.backend import Tensor, stop_gradient, straight_through
from lrp_monitor.engine.rules.affine import Affine
from lrp_monitor.engine.rules.composites import Composite
from lrp_monitor.engine.rules.rules import Rule
from lrp_monitor.engine.steps.axes import product_axes
from lrp_monitor.engine.steps.products import shared
from lrp_monitor.engine.steps.step import Fact, Made, Step, plain
from lrp_monitor.engine.trace.graph import Graph, Op
from lrp_monitor.engine.trace.operations import PRODUCTS

# These are monotonic: what they make of the bounds of the input bounds what they make of it.
_BOUNDED = frozenset(
    {"add", "cast", "ceil", "div", "elu", "exp", "floor", "identity", "leakyrelu", "log", "log1p", "maximum", "minimum",
     "mul", "neg", "relu", "relu6", "round", "selu", "sigmoid", "softplus", "sqrt", "sub", "tanh"}
)  # fmt: skip


def normalised(share: Tensor) -> Tensor:
    """``share`` over its own value: 1, and 0 where nothing of the input arrives (padding alone)."""
    value = stop_gradient(share)
    nothing = ops.abs(value) < 1e-30
    # A factor of 0 and not of 1 / 0: relevance of what sees padding alone goes nowhere, and must not overflow there.
    return share * ops.where(nothing, 0.0, 1.0 / ops.where(nothing, 1.0, value))


def glue(value: Tensor, mask: Tensor) -> Tensor:
    """``value``, whose relevance goes to ``mask``."""
    return straight_through(stop_gradient(value) * mask, value)


def share_of_ones(affine: Affine, rule: Rule) -> Tensor:
    """The mask behind a weighted map of a prefix: what the rule makes of ones in place of the input."""
    given = affine.companion
    assert given is not None
    value = affine.value
    of_ones = replace(
        affine,
        x=given.mask,
        bias=None,
        rectified=False,
        non_negative_input=True,
        _cache={"value": ops.ones_like(value)},
    )
    return normalised(rule.surrogate(of_ones))


def spread_over_vectors(op: Op, mask: Tensor) -> Tensor:
    """The mask behind a lookup: all relevance of a vector goes to its token."""
    shape, axis = op.outputs[0].shape, op.attribute("axis") if op.kind == "onehot" else -1
    return ops.broadcast_to(ops.expand_dims(mask, axis) if len(shape) > len(mask.shape) else mask, shape)


def handed_on(
    graph: Graph, op: Op, index: int, given: Sequence[Fact], inside: bool, same_function: bool, composite: Composite
) -> Step | None:
    """The step that hands on the masks of the inputs of ``op``; ``inside``: it lies in a prefix. None where none is."""
    row, shape = op.row, op.outputs[index].shape
    live = [f for f in given[row.data] if f.live]

    def hand(
        mask: Callable[[Made], Tensor], note: str, glued: bool = True, bounds: bool = False, of: Sequence[Fact] = live
    ) -> Step:
        glued &= all(f.step is None or f.step.glued for f in of)
        reads = tuple(f.tensor for f in of)
        return replace(plain(graph, op, given), live=reads, mask=mask, note=note, glued=glued, bounds=bounds)

    if op.kind == "stop" and live[0].statistic:
        return hand(lambda made: made.companion(live[0].tensor).mask, _AS_IT_IS)
    fixed = next((i for i, f in enumerate(given) if not f.live), None) if op.kind in PRODUCTS else None
    weighs = op.kind in PRODUCTS and len(live) == 1
    if (row.mask is None and not (weighs and picks(op, fixed))) or op.outputs[index].dtype.is_complex:
        return None

    def spread(made: Made, fact: Fact) -> Tensor:
        mask = made.companion(fact.tensor).mask
        return mask if mask.shape == shape else ops.broadcast_to(mask, shape)

    if len(live) > 1 and row.form is not None and op.kind != "select":
        signals = [f for f in live if not f.statistic] or live
        # a function of one tensor, or a tensor normalised by statistics of the same inputs
        others = [
            f for f in live
            if f.statistic and not f.whole
            and not graph.sources_of(f.tensor) <= graph.sources_of(signals[0].tensor)
        ]  # fmt: skip
        if same_function or ((len(signals) == 1 or all(f.statistic for f in live)) and not others):
            return hand(lambda made: spread(made, signals[0]), _ONE_TO_ONE, of=signals[:1])
        if op.kind == "mul" and inside:
            fact = shared(composite, graph, op, given)
            assert fact.step is not None
            note = fact.step.note
            if len(fact.step.live) == 1:
                signal = next(f for f in live if f.tensor is fact.step.live[0])
                return hand(lambda made: spread(made, signal), note, of=(signal,))
            return hand(lambda made: normalised(sum(spread(made, f) for f in live)), note)
        if op.kind == "div" or not inside:
            return None
        return hand(lambda made: normalised(sum(spread(made, f) for f in live)), "equal parts to each", inside)
    held = [f.tensor for f in given if not f.live and graph.depends(f.tensor)]
    if row.mask == "kept" or (op.kind == "select" and same_function):
        divides = op.kind == "div" and not given[0].live  # by what may be 0

        def kept(made: Made) -> Tensor:
            mask = spread(made, live[0])
            nothing = held if op.kind == "mul" and not same_function else []  # steps that are masked out take nothing,
            if row.form != "linear" and live[0].tensor.dtype.is_floating:
                nothing = [live[0].tensor]  # and a function of zero has nothing to give relevance to
            for t in nothing:
                mask = ops.where(made.value(t) != 0, mask, 0.0)
            return mask

        bounds = op.kind == "select" or (op.kind in _BOUNDED and not held and not divides)
        return hand(kept, _ONE_TO_ONE, bounds=bounds)

    data = set(range(len(given))[row.data]) - {fixed}
    held_aside = any(graph.depends(f.tensor) for i, f in enumerate(given) if i not in data)

    def repeated(made: Made, mean: bool = False) -> Tensor:
        return made.once((op.number, mean), lambda: masks(made, mean))[index]

    def masks(made: Made, mean: bool) -> Sequence[Tensor]:
        inputs = [
            made.value(f.tensor) if i not in data
            else made.companion(f.tensor).mask if f.live
            else ops.zeros_like(f.tensor, dtype="float32")
            for i, f in enumerate(given)
        ]  # fmt: skip
        return (backend.repeat_as_mean if mean else backend.repeat)(op.raw, inputs)

    def ranked(made: Made) -> Tensor:
        return ops.take_along_axis(made.companion(live[0].tensor).mask, made.value(op.outputs[1]), -1)

    if op.kind == "topk":  # by the order of the values
        return hand(ranked, _AS_IT_IS, bounds=True)
    if (row.mask == "moved" and op.kind != "scatternd") or weighs:  # that sums what comes to one place
        return hand(repeated, _AS_IT_IS, bounds=op.kind == "select" or not held_aside)
    if row.mask != "winner" or inside:
        # An average lies within the bounds of its window.
        bounded = row.sign is not None
        return hand(lambda made: normalised(repeated(made, True)), "equal parts to the window", inside, bounded)

    def winner(made: Made) -> Tensor:
        value, mask = made.value(live[0].tensor), made.companion(live[0].tensor).mask
        # Of x + u - [u], which is x, the gradient with regard to u is that of the maximum: one, at the winner.
        inputs = [value + (mask - stop_gradient(mask)), *op.inputs[1:]]
        best = backend.repeat(op.raw, inputs)[index]
        return straight_through(best, ops.ones_like(best))

    return hand(winner, "the winner takes all", False, True)


def picks(op: Op, kernel: int | None) -> bool:
    """Whether a product with this constant kernel, or none, only moves: each output is an input, such as in patches."""
    named = product_axes(op)
    if kernel is None:  # an einsum of one operand
        return named is not None and set(named[0]) == set(named[1])
    value = backend.computed_constant(op.inputs[kernel]) if op.kind in ("conv", "matmul", "einsum") else None
    if named is None or value is None:
        return False
    sums = value.sum(axis=tuple(axis for axis, name in enumerate(named[kernel]) if name not in named[-1]))
    return bool(((value == 0) | (value == 1)).all() and (sums == 1).all())


_AS_IT_IS = "passes as it is"
_ONE_TO_ONE = "preprocessing: relevance passes one to one"
