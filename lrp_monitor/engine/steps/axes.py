"""Axes of tensors: where they lie behind an operation, which of them a product has, and over which it is summed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from keras import ops

from lrp_monitor.engine import backend
from lrp_monitor.engine.backend import Tensor
from lrp_monitor.engine.steps.step import Fact
from lrp_monitor.engine.trace.graph import Graph, Op
from lrp_monitor.engine.trace.operations import PRODUCTS

Span = tuple[int, int]
"""An axis, also one that was merged with others: the number of elements that one step along it passes, its length."""


def spans_behind(op: Op, given: Sequence[Fact], live: Fact) -> frozenset[Span]:
    """Along which axes of the output of ``op`` weights in ``live`` are spread; empty where one is not known."""
    if op.kind == "softmax":
        return frozenset([(1, live.tensor.shape[-1])])
    found = known_behind(op, given, live)
    return found if len(found) == len(live.axes) else frozenset()


def known_behind(op: Op, given: Sequence[Fact], live: Fact) -> frozenset[Span]:
    """Where those axes of scores in ``live`` lie in the output of ``op`` that are still known there."""
    found = (span_behind(op, given.index(live), span) for span in live.axes)
    return frozenset(span for span in found if span is not None)


def span_behind(op: Op, data: int, span: Span, index: int = 0) -> Span | None:
    """Where what is spread along ``span`` in the input ``data`` of ``op`` is in an output; None where unknown."""
    before, after = tuple(op.inputs[data].shape), tuple(op.outputs[index].shape)
    if op.kind in ("reshape", "squeeze", "expanddims"):
        return span
    step, length = span
    axis = next((i for i, n in enumerate(before) if lies_in(span, (step_of(before, i), n))), None)
    at = None if axis is None else axis_behind(op, axis, before, after, data)
    if axis is None or at is None or not 0 <= at < len(after):  # of a statistic besides, as of a BatchNormalization
        return None
    if before[axis] == after[at] or op.kind == "tile":
        return step // step_of(before, axis) * step_of(after, at), length
    return (step_of(after, at), after[at]) if length == before[axis] else None


def step_of(shape: Sequence[int], axis: int) -> int:
    """The number of elements that one step along ``axis`` passes."""
    return math.prod(n or 1 for n in shape[axis + 1 :])


def along(vector: Tensor, axis: int, rank: int) -> Tensor:
    """A vector over ``axis`` of a tensor of ``rank``, in a shape that multiplies that tensor."""
    if axis == rank - 1:
        return vector
    shape = [1] * rank
    shape[axis] = -1
    return ops.reshape(vector, shape)


def size_of(shape: Sequence[int]) -> int:
    """The number of elements of a tensor, of one sample where their number is open."""
    return math.prod(n or 1 for n in shape)


def leaves_order(op: Op, span: Span) -> bool:
    """Whether what lies along ``span`` of the data lies there in the same order behind movement that keeps it."""
    if op.kind == "slice":
        strides = backend.constant_value(op.inputs[3]) if op.type == "StridedSlice" else None
        return strides is None or bool((strides > 0).all())
    if op.kind not in ("gather", "reverse", "roll"):
        return True
    axes = backend.constant_value(op.inputs[-1])
    if axes is None or axes.dtype == bool:
        return False
    shape = op.inputs[0].shape
    moved = ((step_of(shape, axis), shape[axis]) for axis in {int(i) % len(shape) for i in axes.reshape(-1)})
    return not any(step < span[0] * span[1] and span[0] < step * length for step, length in moved)


def lies_in(span: Span, outer: tuple[int, int | None]) -> bool:
    """Whether the places along ``outer``, an axis of any length where that is None, tell those along ``span``."""
    (step, n), (first, length) = span, outer
    if length is None or not n:
        return length is None and first <= step
    return first <= step and step * n <= first * length and step % first == first * length % (step * n) == 0


def axis_behind(op: Op, axis: int, before: Sequence[int], after: Sequence[int], data: int = 0) -> int | None:
    """Where an axis of the input ``data`` of ``op`` lies in its output; None where it is summed over, or unknown."""
    if op.kind in PRODUCTS:
        named = product_axes(op)
        name = named[data][axis]
        return named[-1].index(name) if name in named[-1] else None
    if op.kind == "transpose":
        order = backend.constant_value(op.inputs[1])
        return None if order is None else list(order).index(axis)
    if op.kind in ("reshape", "squeeze", "expanddims"):
        behind, length = step_of(before, axis), before[axis]
        for at, size in enumerate(after):
            if size == length and step_of(after, at) == behind:
                return at
        return None
    if op.kind in ("spacetobatch", "batchtospace"):
        return axis if axis == len(before) - 1 else None
    if op.kind in ("stack", "unstack"):
        at, change = op.attribute("axis") % max(len(before), len(after)), len(after) - len(before)
        return None if op.kind == "unstack" and at == axis else axis + change * (axis >= at)
    row = op.row
    if op.kind.startswith("segment"):
        ids = len(op.inputs[1].shape)
        return None if axis < ids else axis - ids + 1
    if row.statistic:
        gone = backend.constant_value(op.inputs[1])
        gone = None if gone is None else {int(i) % len(before) for i in gone.reshape(-1)}
        if gone is None or axis in gone:
            return None
        return axis if op.attribute("keep_dims") else axis - sum(i < axis for i in gone)
    more = len(after) - len(before)
    if row.form is not None or op.kind == "broadcast":  # axes are counted from the last on
        return axis + more
    if op.kind == "gather":
        return axis + more if axis > gathered_axis(op) else axis if axis < gathered_axis(op) or not more else None
    if op.type == "StridedSlice":
        return _axes_behind_slice(op, len(before))[axis]
    return axis if row.in_place and not more else None


def joins_others(op: Op) -> bool:
    """Whether ``op`` joins different tensors; one that is joined to itself is repeated, as by a tile."""
    return op.kind in ("stack", "concat") and any(t is not op.data[0] for t in op.data)


def gathered_axis(op: Op) -> int:
    """The axis of a table along which a lookup takes vectors."""
    return int(backend.constant_value(op.inputs[2])) % len(op.inputs[0].shape) if len(op.inputs) > 2 else 0


# What varies along an axis of its output only where its data do.
_SPREADS = (
    "reshape", "squeeze", "expanddims", "transpose", "slice", "split", "splitv", "unstack", "reverse", "roll", "gather",
    "tile", "broadcast", "stack", "concat", "sum", "mean", "matmul", "einsum",
)  # fmt: skip


def varying_axes(graph: Graph, tensor: Tensor) -> frozenset[int]:
    """The axes of a tensor along which it may vary: longer than one, and not those over which it was spread."""
    if not graph.varying:
        for op in graph.ops:
            graph.varying.update((id(t), _varying(graph, op, index)) for index, t in enumerate(op.outputs))
    found, shape = graph.varying[id(tensor)], tuple(tensor.shape)
    if None in shape:
        return frozenset(axis for axis, n in enumerate(shape) if n != 1)
    spans = ((axis, step_of(shape, axis), n) for axis, n in enumerate(shape) if n != 1)
    meets = (axis for axis, step, n in spans if any(step < first * m and first < step * n for first, m in found))
    return frozenset(meets)


def _varying(graph: Graph, op: Op, index: int) -> frozenset[Span]:
    """Along what an output of an operation may vary, of the whole axes or parts of them."""
    t, inputs = op.outputs[index], [x for x in op.inputs if op.row.form is not None or any(x is d for d in op.data)]
    if any(x.shape.rank is None for x in (t, *inputs)):
        return frozenset()
    shape = tuple(t.shape)
    whole = frozenset((step_of(shape, axis), n) for axis, n in enumerate(shape) if n != 1)
    value = None if graph.depends(t) else backend.constant_value(t)
    if value is not None and value.size:
        differ = [axis for axis in range(len(shape)) if (value != value.take([0], axis)).any()]
        return frozenset((step_of(shape, axis), shape[axis]) for axis in differ)
    if not (op.kind in _SPREADS or (op.row.form is not None and inputs)):
        return whole
    unknown = any(None in tuple(x.shape) for x in (t, *inputs))
    if joins_others(op) or unknown or (op.row.statistic and backend.constant_value(op.inputs[1]) is None):
        return whole
    found: set[Span] = set()
    for x in inputs:
        data, before = next(i for i, other in enumerate(op.inputs) if other is x), tuple(x.shape)
        for span in graph.varying[id(x)]:
            axis = next((i for i, n in enumerate(before) if lies_in(span, (step_of(before, i), n))), None)
            if op.kind == "gather" and axis == gathered_axis(op) and not graph.varying[id(op.inputs[1])]:
                continue  # all numbers are the same: each place has the same vector
            behind = span_behind(op, data, span, index)
            if behind is not None:
                found.add(behind)
            elif not (op.row.statistic or op.kind in PRODUCTS):  # those sum over the axis
                return whole
    return frozenset(found)


def _axes_behind_slice(op: Op, rank: int) -> list[int | None]:
    """Where each of ``rank`` axes lies behind slices, new axes, an ellipsis and places, as Python's brackets say it."""
    ellipsis, new, place = (op.attribute(f"{name}_mask") for name in ("ellipsis", "new_axis", "shrink_axis"))
    entries = [1 << i for i in range(op.inputs[1].shape[0])]
    if not ellipsis:  # then there is one at the end
        entries.append(ellipsis := 1 << len(entries))
    rest = rank - sum(not bit & (ellipsis | new) for bit in entries)
    found: list[int | None] = []
    after = 0
    for bit in entries:
        if bit & ellipsis:
            found += range(after, after + rest)
            after += rest
        elif bit & new:
            after += 1
        elif bit & place:
            found.append(None)
        else:
            found.append(after)
            after += 1
    return found


Names = tuple[Any, ...]


def product_axes(op: Op) -> list[Names]:
    """Names of the axes of each input of a product, and of its output: along those of one name it runs in step.

    An axis of inputs that the output does not have is summed over.
    """
    ranks = [len(t.shape) for t in (*op.inputs, op.outputs[0])]
    if op.kind in ("mul", "div"):
        return [tuple(range(ranks[-1] - rank, ranks[-1])) for rank in ranks]
    if op.kind == "matmul":
        turned = [op.attribute(*pair) for pair in (("adj_x", "transpose_a"), ("adj_y", "transpose_b"))]
        ends = [("k", "m") if turned[0] else ("m", "k"), ("n", "k") if turned[1] else ("k", "n"), ("m", "n")]
        return [(*range(ranks[-1] - rank, ranks[-1] - 2), *end) for rank, end in zip(ranks, ends, strict=True)]
    if op.kind == "einsum":
        terms = op.attribute("equation").replace(" ", "").replace("->", ",").split(",")
        return [_named(term, rank) for term, rank in zip(terms, ranks, strict=True)]
    channels, places = op.channel_axis, range(ranks[-1])
    given, out = (tuple(name if i == channels else i for i in places) for name in ("in", "out"))
    window = tuple(f"window {i}" for i in places[2:])
    kernels: dict[str, Names] = {"conv": ("in", "out"), "depthwise": ("in", "each"), "convtranspose": ("out", "in")}
    kernel = window + kernels[op.kind]
    return [("size",), kernel, given, out] if op.kind == "convtranspose" else [given, kernel, out]


def _named(term: str, rank: int) -> Names:
    """Names of the axes in a term of an einsum; those of its ellipsis, which is spread, are counted from the last."""
    before, _, after = term.partition("...")
    return (*before, *range(len(before) + len(after) - rank, 0), *after)


def _factors(op: Op) -> tuple[frozenset[Any], frozenset[Any], frozenset[Any]]:
    """The axes, longer than one, of both factors of a product and of its output, by names."""
    *factors, out = (
        frozenset(name for name, length in zip(names, t.shape, strict=True) if length != 1)
        for names, t in zip(product_axes(op), (*op.inputs, op.outputs[0]), strict=True)
    )
    return factors[-2:][0], factors[-1], out  # an einsum of one operand is a product with nothing else


def free_spans(op: Op) -> frozenset[Span]:
    """The axes of the output of a product along which one of its two factors alone runs."""
    one, two, _ = _factors(op)
    shape, named = op.outputs[0].shape, enumerate(product_axes(op)[-1])
    return frozenset((step_of(shape, axis), shape[axis]) for axis, name in named if name in one ^ two)


def weighs(graph: Graph, op: Op, one: int, two: int, free: frozenset[Span]) -> bool:
    """Whether the factor ``one`` of a product weights ``two``, as attention does.

    It does where all axes over which the product is summed, and all that ``two`` does not have, are among ``free``:
    those that only the queries or only the keys had. Where both factors have the same axes, neither weights the other.
    """
    axes, shape = product_axes(op), op.inputs[one].shape
    summed = summed_axes(graph, op)
    has, other = ({name for name, n in zip(axes[i], op.inputs[i].shape, strict=True) if n != 1} for i in (one, two))
    asked = summed | (has - other)
    own = [(step_of(shape, at), shape[at]) for at, name in enumerate(axes[one]) if name in asked and shape[at] != 1]
    return bool(summed) and has != other and all(any(lies_in(span, outer) for outer in free) for span in own)


def sums_over_both(graph: Graph, op: Op) -> bool:
    """Whether a product of two tensors is summed over an axis of both, by itself or by what follows it alone."""
    return bool(summed_axes(graph, op))


def summed_axes(graph: Graph, op: Op) -> frozenset[Any]:
    """The axes of both factors of a product over which it is summed, by itself or by what follows it alone."""
    one, two, out = _factors(op)
    by_itself = (one & two) - out
    first = next(sums_behind(graph, op), None) if not by_itself and op.kind not in PRODUCTS else None
    return by_itself if first is None else first[1]


def sums_behind(graph: Graph, op: Op) -> Iterator[tuple[Op, frozenset[Any]]]:
    """What follows a product alone and sums it over axes that both factors have, and the names of these axes."""
    one, two, _ = _factors(op)
    t, named = op.outputs[0], product_axes(op)[-1]
    shared = ((name, named.index(name)) for name in one & two if name in named)
    spans = [(name, (step_of(t.shape, axis), t.shape[axis])) for name, axis in shared]
    while spans and len(readers := graph.readers(t)) == 1 and len(readers[0].outputs) == 1:
        (reader,) = readers
        data = next(i for i, x in enumerate(reader.inputs) if x is t)
        linear = reader.row.form == "linear" and (reader.kind != "div" or data == 0)
        linear |= reader.kind in ("sum", "mean", "segmentsum")
        alone = sum(graph.depends(x) for x in reader.inputs) == 1
        if not (alone and (linear or reader.row.mask == "moved")):
            return
        parts = ((name, part) for name, span in spans for part in _apart(span, t.shape))
        behind = [(name, span_behind(reader, data, part)) for name, part in parts]
        gone = frozenset(name for name, span in behind if span is None)
        if gone and not reader.row.statistic:
            return
        if gone:
            yield reader, gone
        spans = [(name, span) for name, span in behind if span is not None]
        (t,) = reader.outputs


def _apart(span: Span, shape: Sequence[int]) -> list[Span]:
    """The axes of a tensor of ``shape`` that make up ``span``; itself where they do not, or it is one of them."""
    axes = ((step_of(shape, axis), n or 1) for axis, n in enumerate(shape))
    inside = [one for one in axes if one[1] != 1 and lies_in(one, span)]
    return inside if math.prod(n for _, n in inside) == span[1] else [span]


def spread_factor(graph: Graph, op: Op) -> int | None:
    """Which factor of a product, 0 or 1, is spread over the other, which has more axes; None where neither is.

    Where both have the same axes, those count along which they vary: one was spread before.
    """
    one, two, _ = _factors(op)
    if one == two and op.kind in ("mul", "div"):
        one, two = (
            frozenset(names[axis] for axis in varying_axes(graph, t))
            for names, t in zip(product_axes(op)[:2], op.inputs, strict=True)
        )
    return 0 if one < two else 1 if two < one else None


def summed_spans(graph: Graph, total: Tensor) -> frozenset[Span]:
    """The axes over which ``total`` sums, as they lie in what it sums; empty where it is no such sum."""
    op = graph.divided_by(total)
    axes = backend.constant_value(op.inputs[1]) if op.kind == "sum" else None
    if axes is None:
        return frozenset()
    shape = tuple(op.inputs[0].shape)
    return frozenset((step_of(shape, axis), shape[axis]) for axis in {int(i) % len(shape) for i in axes.reshape(-1)})
