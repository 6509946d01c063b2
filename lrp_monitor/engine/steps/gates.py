"""Gates: tensors that say how much of another one counts, such as attention weights; what makes them, what keeps them.

A softmax's weights stay weights while they are moved, scaled, shifted by constants, masked, bent, added to or
multiplied by others, and mixed by a matrix along other axes than the one over which they were normalised ("talking
heads"). What that axis itself is contracted with is what they weight: a signal comes out, with a constant matrix, too
(a memory that is read, external attention).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from lrp_monitor.engine import backend
from lrp_monitor.engine.backend import Tensor
from lrp_monitor.engine.steps.step import Fact
from lrp_monitor.engine.trace.graph import Graph, Op, number
from lrp_monitor.engine.trace.operations import CONVOLUTIONS, PRODUCTS, ROWS, Row

STRICTEST = ("step", "softmax", "exp", "sigmoid", "similarity", "readout")
"""The kinds of gates, those first that are the gate where another one is the other factor.

``"step"``: constant almost everywhere, as a choice of experts is. ``"exp"``: weights that are not normalised, or not
yet; a number added to one makes another function of it. ``"readout"``: constants that a softmax
weighted, of which nothing but its weights comes from the input. ``"similarity"``: a bent function of a matrix product
of two activations, attention weights without a softmax (ReLU, sparsemax).
"""
# What leaves every axis where it is, or the number of axes from the last on.
_IN_PLACE = frozenset(
    [
        "broadcast",
        "concat",
        "gather",
        "matrixbandpart",
        "mirrorpad",
        "pad",
        "reverse",
        "roll",
        "split",
        "splitv",
        "tile",
        "topk",
    ]
)

_STOP = Row(form="linear")  # what stops the gradient keeps values


def learn_gate(graph: Graph, op: Op, fact: Fact, given: Sequence[Fact], live: Sequence[Fact]) -> None:
    """Note which gate's values ``fact`` holds, and along which axes they are spread."""
    row = ROWS.get(op.kind)
    fact.paired = _is_paired(op, row, live)
    fact.gate = fact.gate or _gate_of(graph, op, row, given, live)
    if fact.gate == "softmax" and not fact.axes:
        behind = [spans_behind(graph, op, given, f) for f in live if f.gate == "softmax" or op.kind == "softmax"]
        fact.axes = frozenset().union(*behind) if all(behind) else frozenset()


def _gate_of(graph: Graph, op: Op, row: Row | None, given: Sequence[Fact], live: Sequence[Fact]) -> str:
    if op.kind in ("softmax", "sigmoid"):
        return op.kind
    if op.kind == "exp" or (op.kind == "pow" and given[1].live):
        return "exp"
    if sigmoid_by_hand(graph, op) is not None:
        return "sigmoid"
    if row is None and op.kind != "stop":
        return ""
    row = row or _STOP
    if all(f.paired for f in live) and (row.form in ("bent", "function") or op.kind in ("maximum", "minimum")):
        return "similarity"
    gates = {f.gate for f in live if not (op.kind == "div" and f is live[-1] and f.statistic)}
    if not gates or "" in gates or op.kind in ("log", "log1p"):
        return ""
    carries = row.mask == "moved" or row.statistic or (row.form is not None and row.form != "step")
    if op.kind in PRODUCTS and len(live) == 1 and not spans_behind(graph, op, given, live[0]):
        return "readout" if gates <= {"softmax", "readout"} else ""
    carries |= op.kind in PRODUCTS
    if "readout" in gates:
        return "readout" if carries and gates <= {"softmax", "readout"} else ""
    shift = op.kind in ("add", "sub") and not all(f.live or graph.is_zero(f.tensor) for f in given)
    if not carries or ("exp" in gates and shift):
        return ""
    if op.kind == "div" and given[1].statistic and gates == {"exp"}:
        return "softmax"
    return next(gate for gate in STRICTEST[1:] + STRICTEST[:1] if gate in gates)


def _is_paired(op: Op, row: Row | None, live: Sequence[Fact]) -> bool:
    """Whether ``op`` gives a matrix product of two activations that no gate has part in, or what is made of it."""
    if op.kind in PRODUCTS:
        return len(live) == 2 and not any(f.gate for f in live)
    kept = row is not None and (row.mask == "moved" or row.statistic or row.form is not None or op.kind == "cumsum")
    return kept and all(f.paired for f in live)


Span = tuple[int, int]
"""An axis, also one that was merged with others: the number of elements that one step along it passes, its length."""


def spans_behind(graph: Graph, op: Op, given: Sequence[Fact], live: Fact) -> frozenset[Span]:
    """Along which axes of the output of ``op`` a softmax's weights in ``live`` are spread; empty where unknown."""
    before, after = tuple(live.tensor.shape), tuple(op.outputs[0].shape)
    if op.kind == "softmax":
        return frozenset([(1, before[-1])])
    if op.kind == "div" and live is given[0] and given[1].statistic and not live.axes:
        return summed_spans(graph, given[1].tensor)
    if op.kind in ("reshape", "squeeze", "expanddims"):
        return live.axes
    found = set()
    for step, length in live.axes:
        axis = next((i for i, n in enumerate(before) if _within(step, length, _step(before, i), n)), None)
        at = None if axis is None else _axis_behind(op, given.index(live), axis, before, after)
        if axis is None or at is None:
            return frozenset()
        if before[axis] == after[at]:
            found.add((step // _step(before, axis) * _step(after, at), length))
        elif length == before[axis]:
            found.add((_step(after, at), after[at]))
        else:
            return frozenset()
    return frozenset(found)


def _step(shape: Sequence[int], axis: int) -> int:
    return math.prod(shape[axis + 1 :])


def _within(step: int, length: int, outer: int, size: int | None) -> bool:
    return outer <= step and (size is None or step * length <= outer * size)


def _axis_behind(op: Op, data: int, axis: int, before: Sequence[int], after: Sequence[int]) -> int | None:
    """Where an axis of the input ``data`` of ``op`` lies in its output; None where it is contracted, or unknown."""
    if op.kind in PRODUCTS:
        return _behind_product(op, data, axis, before, after)
    if op.kind == "transpose":
        order = backend.constant_value(op.inputs[1])
        return None if order is None else list(order).index(axis)
    if op.kind in ("stack", "unstack"):
        at, change = op.attribute("axis") % max(len(before), len(after)), len(after) - len(before)
        return None if op.kind == "unstack" and at == axis else axis + change * (axis >= at)
    row = ROWS.get(op.kind, _STOP)
    if row.statistic:
        gone = backend.constant_value(op.inputs[1])
        gone = None if gone is None else {int(i) % len(before) for i in gone.reshape(-1)}
        if gone is None or axis in gone:
            return None
        return axis if op.attribute("keep_dims") else axis - sum(i < axis for i in gone)
    masks = ("new_axis_mask", "shrink_axis_mask", "ellipsis_mask")
    if op.kind == "slice" and (len(before) != len(after) or any(op.attribute(mask) for mask in masks)):
        return None
    in_place = op.kind in _IN_PLACE or op.kind == "slice" or row.form is not None
    return axis + len(after) - len(before) if in_place and len(after) >= len(before) else None


def _behind_product(op: Op, data: int, axis: int, before: Sequence[int], after: Sequence[int]) -> int | None:
    if op.kind in CONVOLUTIONS:
        channels = 1 if (op.attribute("data_format") or "NHWC").startswith("NC") else len(before) - 1
        return None if axis == channels else axis
    if op.kind == "einsum":
        terms, result = (op.attribute("equation") or "").replace(" ", "").split("->")
        own = terms.split(",")[data]
        at = -1 if "." in own + result else result.find(own[axis])
        return at if at >= 0 else None
    from_end = axis - len(before)
    if from_end < -2:
        return len(after) + from_end
    turned = op.attribute(*(("adj_x", "transpose_a") if data == 0 else ("adj_y", "transpose_b")))
    contracted = -1 if (data == 0) != bool(turned) else -2
    return None if from_end == contracted else len(after) - (2 if data == 0 else 1)


def summed_spans(graph: Graph, total: Tensor) -> frozenset[Span]:
    """The axes over which ``total`` sums, which it keeps with length one; empty where it is no such sum."""
    op = graph.op_of(total)
    while op.kind in ("identity", "broadcast", "add", "maximum") and op.inputs:
        op = graph.op_of(next((t for t in op.inputs if graph.depends(t)), op.inputs[0]))
    axes = backend.constant_value(op.inputs[1]) if op.kind == "sum" else None
    if axes is None or not op.attribute("keep_dims"):
        return frozenset()
    shape = tuple(op.inputs[0].shape)
    return frozenset((_step(shape, axis), shape[axis]) for axis in {int(i) % len(shape) for i in axes.reshape(-1)})


def softmax_by_hand(graph: Graph, op: Op, given: Sequence[Fact]) -> Tensor | None:
    """Of what ``op`` makes the softmax, or its logarithm, where it ends a formula of one; else None."""
    if op.kind == "div" and all(f.live for f in given):
        top, bottom = graph.op_of(given[0].tensor), graph.op_of(given[1].tensor)
        while bottom.kind in ("identity", "broadcast", "reshape", "expanddims", "add", "maximum"):
            inner = [t for t in bottom.inputs if graph.depends(t)]  # what is added keeps the sum from 0
            if len(inner) != 1:
                break
            bottom = graph.op_of(inner[0])
        if top.kind in ("exp", "pow") and bottom.kind == "sum" and _same(graph, top, bottom.inputs[0]):
            exponent = top.inputs[-1]
            return _in_front_of_maximum(graph, exponent) if graph.depends(exponent) else None
    if op.kind == "sub" and all(f.live for f in given) and given[1].statistic and given[1].logged:
        return given[0].tensor
    if op.kind == "exp":
        source = graph.op_of(given[0].tensor)
        return source.inputs[0] if source.kind == "logsoftmax" else given[0].normed
    return None


def sigmoid_by_hand(graph: Graph, op: Op) -> Tensor | None:
    """Of what ``op`` makes the sigmoid, written ``1 / (1 + exp(-z))`` or ``exp(z) / (1 + exp(z))``; else None."""
    if op.kind not in ("div", "reciprocal"):
        return None
    one, below = op.inputs if op.kind == "div" else (None, op.inputs[0])
    total = graph.op_of(below)
    numbers = [t for t in total.inputs if number(t) == 1]
    if total.kind != "add" or len(numbers) != 1:
        return None
    power = graph.op_of(next(t for t in total.inputs if t is not numbers[0]))
    if power.kind != "exp":
        return None
    inner = graph.op_of(power.inputs[0])
    if one is None or number(one) == 1:
        return inner.inputs[0] if inner.kind == "neg" else None
    return power.inputs[0] if _same(graph, power, one) else None


def _same(graph: Graph, one: Op, tensor: Tensor) -> bool:
    """Whether ``tensor`` is what ``one`` makes, or the same made again."""
    other = graph.op_of(tensor)
    return one is other or (
        one.kind == other.kind and all(a is b for a, b in zip(one.inputs, other.inputs, strict=True))
    )


def _in_front_of_maximum(graph: Graph, tensor: Tensor) -> Tensor:
    """What a largest value was subtracted from, so that the exponential does not overflow."""
    op = graph.op_of(tensor)
    if op.kind != "sub":
        return tensor
    largest = graph.op_of(op.inputs[1])
    while largest.kind in ("identity", "stop", "select", "broadcast", "reshape", "expanddims"):
        largest = graph.op_of(largest.inputs[1 if largest.kind == "select" else 0])
    return op.inputs[0] if largest.kind == "max" and graph.depends(op.inputs[1]) else tensor
