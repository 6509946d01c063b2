"""What moves or joins outputs: how a tensor is moved again, and where what varied along an axis lies behind it."""

from __future__ import annotations

from collections.abc import Sequence

from keras import ops

from lrp_monitor.engine import backend
from lrp_monitor.engine.backend import Tensor
from lrp_monitor.engine.steps.axes import Span, joins_others, leaves_order, span_behind, step_of
from lrp_monitor.engine.trace.graph import Op
from lrp_monitor.engine.trace.operations import PRODUCTS

MOVES = (
    "reshape", "transpose", "squeeze", "expanddims", "spacetobatch", "batchtospace", "depthtospace", "spacetodepth",
    "identity", "cast", "slice", "split", "splitv", "unstack", "gather", "tile", "broadcast", "reverse", "roll", "pad",
    "mirrorpad",
)  # fmt: skip
_JOINS = ("concat", "stack")
SUMS = ("add", "sub", "addn")
_SPREADS = (*SUMS, "mul", "div")
"""What spreads an output over the others that are added to it, or that scale it."""
_OF_SEVERAL = (*_JOINS, *_SPREADS, *PRODUCTS)
"""Of an entry of ``Map.moved`` with one of these the number is that of an input, not of an output."""


def is_move(op: Op) -> bool:
    """Whether ``op`` moves, repeats or leaves out values of one tensor, and does no more."""
    return op.kind in MOVES or (op.kind in _JOINS and not joins_others(op))


def moved(y: Tensor, moves: Sequence[tuple[Op, int]]) -> Tensor:
    """``y`` behind the operations of ``Map.moved``, or some of them; beside others it stands with zeros."""
    for op, index in moves:
        if op.kind in _SPREADS:
            y = ops.broadcast_to(y, [y.shape[0], *op.outputs[0].shape[1:]])
            continue
        if joins_others(op):
            inputs = [ops.zeros_like(t) if any(t is i for i in op.data) else t for t in op.inputs]
            inputs[index], index = y, 0
        elif op.kind in PRODUCTS:
            inputs, index = [y if i == index else t for i, t in enumerate(op.inputs)], 0
        else:
            inputs = [y if t is op.data[0] else t for t in op.inputs]
        y = backend.repeat(op.raw, inputs)[index]
    return y


def output_of(op: Op, index: int) -> Tensor:
    """The output of an entry of ``Map.moved``."""
    return op.outputs[0 if op.kind in _OF_SEVERAL else index]


def joint_axis(op: Op) -> int:
    """The axis along which ``op`` joins its inputs."""
    axis = op.attribute("axis") if op.kind == "stack" else backend.constant_value(op.inputs[-1])
    return int(axis) % len(op.outputs[0].shape)


def span_moved(op: Op, index: int, span: Span, whole: bool) -> tuple[Span | None, bool]:
    """Where what is the kernel's own, a ``whole`` axis or not, lies behind ``op``, and whether as it lay before."""
    data = index if op.kind in _OF_SEVERAL else next(i for i, t in enumerate(op.inputs) if t is op.data[0])
    if op.kind == "depthtospace":  # of the channels, the inner ones stay
        before, after = (
            (step_of(t.shape, op.channel_axis), t.shape[op.channel_axis]) for t in (op.inputs[data], op.outputs[0])
        )
        return after if span == before else None, False
    found = span_behind(op, data, span, 0 if op.kind in _OF_SEVERAL else index)
    same = found is not None and found[1] == span[1] and leaves_order(op, span)
    return found if same or (whole and _picks(op)) else None, same


def _picks(op: Op) -> bool:
    """Whether it gives no value twice, of what it moves, and so leaves each with a scale of its own."""
    if op.kind == "gather":
        places = backend.computed_constant(op.inputs[1])
        return places is not None and len(set(places.reshape(-1).tolist())) == places.size
    return op.kind in ("slice", "split", "splitv", "reverse", "roll", "pad") or joins_others(op)
