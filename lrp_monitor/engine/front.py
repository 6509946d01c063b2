"""What stands in front of the first weighted layer and is no weight: preprocessing, movement and pooling.

The companion mask of the input goes the same way as the input. Movement (reshape, slice, split, concatenation ...)
moves it; scaling and shifting by constants pass relevance one to one, so that the mask is attached behind them; a
mean hands its part on to each element of its window, as the linear map that it is; of a maximum the winner takes all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keras import ops

from lrp_monitor.engine import backend
from lrp_monitor.engine.affine import Companion
from lrp_monitor.engine.backend import Tensor, stop_gradient, straight_through
from lrp_monitor.engine.replay import replay

if TYPE_CHECKING:
    from lrp_monitor.engine.trace import Trace

_SCALING = frozenset({"Add", "AddV2", "Cast", "Identity", "Mul", "Neg", "RealDiv", "Sub"})
_MOVES = frozenset(
    {"BatchToSpaceND", "BroadcastTo", "ConcatV2", "DepthToSpace", "ExpandDims", "GatherNd", "GatherV2", "MirrorPad",
     "Pack", "Pad", "Reshape", "Reverse", "ReverseV2", "Roll", "Slice", "SpaceToBatchND", "SpaceToDepth", "Split",
     "SplitV", "Squeeze", "StridedSlice", "Tile", "Transpose", "Unpack"}
)  # fmt: skip
_AVERAGES = frozenset({"AvgPool", "AvgPool3D", "Mean"})
_MAXIMA = frozenset({"Max", "MaxPool", "MaxPool3D"})


@dataclass(frozen=True)
class Front:
    """A tensor in front of all weights, as a weighted layer reads it, and its mask."""

    tensor: Tensor
    companion: Companion


def winner(pool: Callable[[Tensor], Tensor], x: Tensor, mask: Tensor) -> Tensor:
    """The mask behind a maximum over windows of ``x``: that of each window's winner."""
    # Added to x without changing its value, so that the winners are those of x.
    return straight_through(pool(stop_gradient(x) + (mask - stop_gradient(mask))), pool(mask))


def behind(trace: Trace, x: Tensor) -> Front | None:
    """What operations outside of layers made of the input; None where ``x`` is no such thing."""
    known, in_prefix = trace.fronts, trace.in_prefix
    stack = [x]
    while stack:
        t = stack[-1]
        if (in_prefix, id(t)) in known:
            stack.pop()
            continue
        given = trace.outer_companion(t)
        if given is not None or not _is_passed(t.op, in_prefix):
            known[in_prefix, id(t)] = None if given is None else Front(t, given)
            trace.keep(t)
            stack.pop()
            continue
        waiting = [source for source in t.op.inputs if (in_prefix, id(source)) not in known]
        if waiting:
            stack += waiting
            continue
        made = _passed(trace, t.op, [known[in_prefix, id(source)] for source in t.op.inputs])
        for index, output in enumerate(t.op.outputs):
            known[in_prefix, id(output)] = None if made is None else made(index)
            trace.keep(output)
        stack.pop()
    return known[in_prefix, id(x)]


def _is_passed(op: Any, in_prefix: bool) -> bool:
    if backend.TREATED_SCOPE in op.name:
        return False
    # In a prefix (until=...) the winner of a maximum takes no more than the rest of its window.
    return op.type in _SCALING | _MOVES | _AVERAGES or (op.type in _MAXIMA and not in_prefix)


def _passed(trace: Trace, op: Any, given: list[Front | None]) -> Callable[[int], Front] | None:
    """Makes what stands for an output of ``op``; None where its inputs are constants, or no way leads through it."""
    fronts = [front for front in given if front is not None]
    beside = [t for t, front in zip(op.inputs, given, strict=True) if front is None]
    if not fronts or any(trace.depends_on_input(t) for t in beside):
        return None
    masks = [front.companion.mask for front in fronts]
    if op.type in _SCALING:
        start, output = fronts[0].companion, op.outputs[0]
        if len(fronts) > 1 or fronts[0].tensor.shape != output.shape or (op.type == "RealDiv" and given[0] is None):
            return None
        scaled = straight_through(stop_gradient(output) * masks[0], output) if _is_float(output) else output
        return lambda _: Front(scaled, Companion(masks[0], lambda bound: _again(op, given, [start.bounds(bound)])[0]))
    if op.type in _MAXIMA:
        after = [winner(lambda t: _again(op, given, [t])[0], fronts[0].tensor, masks[0])]
    else:  # constants that are joined on take no relevance
        after = replay(op, _filled(given, masks, [ops.zeros_like(t) if _is_float(t) else t for t in op.inputs]))

    def bounds_at(index: int) -> Callable[[Tensor], Tensor]:
        def bounds(bound: Tensor) -> Tensor:
            shaped = [ops.broadcast_to(front.companion.bounds(bound), front.tensor.shape) for front in fronts]
            return _again(op, given, shaped)[index]

        return bounds

    tensors = _again(op, given, [front.tensor for front in fronts])
    return lambda index: Front(tensors[index], Companion(after[index], bounds_at(index)))


def _is_float(t: Tensor) -> bool:
    return backend.is_float_tensor(t)


def _filled(given: list[Front | None], instead: Sequence[Tensor], otherwise: Sequence[Tensor]) -> list[Tensor]:
    """``otherwise``, with one of ``instead`` for each input that is given."""
    ways = iter(instead)
    return [t if front is None else next(ways) for front, t in zip(given, otherwise, strict=True)]


def _again(op: Any, given: list[Front | None], instead: Sequence[Tensor]) -> list[Tensor]:
    """The outputs of the same operation on other data."""
    inputs = _filled(given, instead, op.inputs)
    if all(t is before for t, before in zip(inputs, op.inputs, strict=True)):
        return list(op.outputs)
    return replay(op, inputs)
