"""Axes of tensors: where they lie behind an operation, which of them a product has, and over which it is summed."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lrp_monitor.engine import backend
from lrp_monitor.engine.backend import Tensor
from lrp_monitor.engine.steps.maps import axis_behind
from lrp_monitor.engine.steps.step import Fact
from lrp_monitor.engine.trace.graph import Graph, Op
from lrp_monitor.engine.trace.operations import CONVOLUTIONS, PRODUCTS, ROWS, Row

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

STOP = Row(form="linear")
"""What stops the gradient keeps values."""

Span = tuple[int, int]
"""An axis, also one that was merged with others: the number of elements that one step along it passes, its length."""


def spans_behind(graph: Graph, op: Op, given: Sequence[Fact], live: Fact) -> frozenset[Span]:
    """Along which axes of the output of ``op`` a softmax's weights in ``live`` are spread; empty where unknown."""
    if op.kind == "softmax":
        return frozenset([(1, live.tensor.shape[-1])])
    if op.kind == "div" and live is given[0] and given[1].statistic and not live.axes:
        return summed_spans(graph, given[1].tensor)
    found = {_span_behind(op, given.index(live), span) for span in live.axes}
    return frozenset(span for span in found if span is not None) if None not in found else frozenset()


def _span_behind(op: Op, data: int, span: Span) -> Span | None:
    """Where what is spread along ``span`` in the input ``data`` of ``op`` is in its output; None where unknown."""
    before, after = tuple(op.inputs[data].shape), tuple(op.outputs[0].shape)
    if op.kind in ("reshape", "squeeze", "expanddims"):
        return span
    step, length = span
    axis = next((i for i, n in enumerate(before) if _within(step, length, _step(before, i), n)), None)
    at = None if axis is None else _axis_behind(op, data, axis, before, after)
    if axis is None or at is None:
        return None
    if before[axis] == after[at]:
        return step // _step(before, axis) * _step(after, at), length
    return (_step(after, at), after[at]) if length == before[axis] else None


def _step(shape: Sequence[int], axis: int) -> int:
    return math.prod(shape[axis + 1 :])


def _within(step: int, length: int, outer: int, size: int | None) -> bool:
    return outer <= step and (size is None or step * length <= outer * size)


def _axis_behind(op: Op, data: int, axis: int, before: Sequence[int], after: Sequence[int]) -> int | None:
    """Where an axis of the input ``data`` of ``op`` lies in its output; None where it is contracted, or unknown."""
    if op.kind in PRODUCTS:
        return _behind_product(op, data, axis, before, after)
    if op.kind == "transpose":
        return axis_behind(op, axis, before, after)
    if op.kind in ("stack", "unstack"):
        at, change = op.attribute("axis") % max(len(before), len(after)), len(after) - len(before)
        return None if op.kind == "unstack" and at == axis else axis + change * (axis >= at)
    row = ROWS.get(op.kind, STOP)
    if op.kind in ("segmentsum", "segmentmax"):
        ids = len(op.inputs[1].shape)
        return None if axis < ids else axis - ids + 1
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


def _axes_of(op: Op) -> tuple[frozenset[object], frozenset[object], frozenset[object]] | None:
    """The axes, longer than one, of both factors of a product and of its output, by names; None where unknown."""
    shapes = [tuple(t.shape) for t in (*op.inputs[:2], op.outputs[0])]
    rank = len(shapes[2])
    if op.kind == "mul":
        names: list[Sequence[object]] = [range(rank - len(shape), rank) for shape in shapes]
    elif op.kind == "matmul":
        turned = [op.attribute(*pair) for pair in (("adj_x", "transpose_a"), ("adj_y", "transpose_b"))]
        ends = [("k", "m") if turned[0] else ("m", "k"), ("n", "k") if turned[1] else ("k", "n"), ("m", "n")]
        names = [(*range(rank - len(shape), rank - 2), *end) for shape, end in zip(shapes, ends, strict=True)]
    else:
        equation = (op.attribute("equation") or ".").replace(" ", "").replace("->", ",")
        names = equation.split(",")  # type: ignore[assignment]
    if any("." in named for named in names if isinstance(named, str)):
        return None
    one, two, out = (
        frozenset(name for name, length in zip(named, shape, strict=True) if length != 1)
        for named, shape in zip(names, shapes, strict=True)
    )
    return one, two, out


def sums_over_both(graph: Graph, op: Op) -> bool:
    """Whether a product of two tensors is summed over an axis of both, by itself or by what follows it alone."""
    axes = _axes_of(op)
    if axes is None or (axes[0] & axes[1]) - axes[2]:
        return True
    if op.kind != "mul":
        return False
    t = op.outputs[0]
    shared = (axis for axis in axes[0] & axes[1] if isinstance(axis, int))
    spans = {(_step(t.shape, axis), t.shape[axis]) for axis in shared}
    readers = graph.readers(t)
    while len(readers) == 1 and len(readers[0].outputs) == 1:
        (reader,) = readers
        row = ROWS.get(reader.kind, STOP)
        data = next(i for i, x in enumerate(reader.inputs) if x is t)
        linear = reader.kind in ("mul", "div", "neg", "identity", "cast", "sum", "mean", "segmentsum")
        alone = sum(graph.depends(x) for x in reader.inputs) == 1
        if not (alone and (linear or row.mask == "moved")) or (reader.kind == "div" and data == 1):
            return False
        behind = {_span_behind(reader, data, span) for span in spans}
        if None in behind:
            return row.statistic
        spans = {span for span in behind if span is not None}
        (t,) = reader.outputs
        readers = graph.readers(t)
    return False


def spread_factor(op: Op) -> int | None:
    """Which factor of a product, 0 or 1, is spread over the other, which has more axes; None where neither is."""
    axes = _axes_of(op)
    if axes is None or axes[0] == axes[1]:
        return None
    return 0 if axes[0] < axes[1] else 1 if axes[1] < axes[0] else None


def summed_spans(graph: Graph, total: Tensor) -> frozenset[Span]:
    """The axes over which ``total`` sums, which it keeps with length one; empty where it is no such sum."""
    op = graph.divided_by(total)
    axes = backend.constant_value(op.inputs[1]) if op.kind == "sum" else None
    if axes is None or not op.attribute("keep_dims"):
        return frozenset()
    shape = tuple(op.inputs[0].shape)
    return frozenset((_step(shape, axis), shape[axis]) for axis in {int(i) % len(shape) for i in axes.reshape(-1)})
