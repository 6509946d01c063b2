"""Gates: tensors that say how much of another one counts, such as attention weights; what makes them, what keeps them.

A softmax's weights stay weights while they are moved, scaled, shifted by constants, masked, bent, added to or
multiplied by others, and mixed by a matrix along other axes than the one over which they were normalised ("talking
heads"). What that axis itself is contracted with is what they weight: a signal comes out, with a constant matrix, too
(a memory that is read, external attention).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lrp_monitor.engine.backend import Tensor, constant_value
from lrp_monitor.engine.steps.axes import free_spans, known_behind, spans_behind, summed_spans, sums_over_both
from lrp_monitor.engine.steps.moves import MOVES
from lrp_monitor.engine.steps.step import Fact
from lrp_monitor.engine.trace.graph import Graph, Op, number
from lrp_monitor.engine.trace.operations import PRODUCTS

STRICTEST = ("step", "softmax", "exp", "sigmoid", "similarity", "readout")
"""The kinds of gates, those first that are the gate where another one is the other factor.

``"step"``: constant almost everywhere, as a choice of experts is. ``"exp"``: weights that are not normalised, or not
yet; a number added to one makes another function of it. ``"readout"``: constants that a softmax
weighted, of which nothing but its weights comes from the input. ``"similarity"``: a bent function of a matrix product
of two activations, attention weights without a softmax (ReLU, sparsemax).
"""


def learn_gate(graph: Graph, op: Op, fact: Fact, given: Sequence[Fact], live: Sequence[Fact]) -> None:
    """Note which gate's values ``fact`` holds, and along which axes they are spread."""
    fact.paired = _is_paired(graph, op, fact, live)
    fact.gate = fact.gate or _gate_of(graph, op, given, live)
    if fact.gate == "softmax" and not fact.axes:
        behind = [spans_behind(op, given, f) for f in live if f.gate == "softmax" or op.kind == "softmax"]
        fact.axes = frozenset().union(*behind) if all(behind) else frozenset()
    elif fact.paired and not any(f.paired for f in live):
        fact.axes = free_spans(op)
    elif fact.gate == "similarity" or (fact.paired and not fact.gate):
        fact.axes = frozenset().union(*(known_behind(op, given, f) for f in live if f.gate in ("", "similarity")))


def _gate_of(graph: Graph, op: Op, given: Sequence[Fact], live: Sequence[Fact]) -> str:
    if op.kind in ("softmax", "sigmoid"):
        return op.kind
    if _of_sigmoid(graph, op) is not None or is_sigmoid_of_tanh(graph, op):
        return "sigmoid"
    if op.kind == "exp" or (op.kind == "pow" and given[1].live):
        return "exp"
    if not live[0].front and is_hard_sigmoid(graph, op):
        return "sigmoid"
    row = op.row
    if all(f.paired for f in live) and (row.form in ("bent", "function") or op.kind in ("maximum", "minimum")):
        return "similarity"
    gates = {f.gate for f in live if not (op.kind == "div" and f is live[-1] and f.statistic)}
    if op.kind == "mul" and len(live) == 2:  # a mask of whole numbers keeps a gate what it is
        gates = {f.gate for f in live if not f.whole}
    if not gates or "" in gates or op.kind in ("log", "log1p"):
        return ""
    if "readout" in gates or (op.kind in PRODUCTS and len(live) == 1 and not spans_behind(op, given, live[0])):
        return "readout" if gates <= {"softmax", "readout"} else ""
    shift = op.kind in ("add", "sub") and not all(f.live or graph.is_zero(f.tensor) for f in given)
    if "exp" in gates and shift:
        return ""
    if op.kind == "div" and given[1].statistic and gates == {"exp"}:
        return "softmax"
    return next(gate for gate in STRICTEST[1:] + STRICTEST[:1] if gate in gates)


def _is_paired(graph: Graph, op: Op, fact: Fact, live: Sequence[Fact]) -> bool:
    """Whether ``op`` gives a matrix product of two activations, as of queries and keys, or what is made of it.

    Neither a gate nor another such product has part in it, nor an input by itself, such as a graph's adjacency. What is
    made of it may be masked and counted by inputs.
    """
    if op.kind in PRODUCTS or (op.kind == "mul" and len(live) == 2 and sums_over_both(graph, op)):
        if len(live) < 2 or fact.divided or any(f.gate or f.paired for f in live):
            return False
        behind, by_itself = (graph.sources_of(f.tensor) for f in sorted(live, key=lambda f: f.front))
        return live[0].front == live[1].front or by_itself <= behind
    row = op.row
    kept = row.mask == "moved" or row.statistic or row.form is not None or op.kind == "cumsum"
    return kept and any(f.paired for f in live) and all(f.paired or f.whole for f in live)


def softmax_by_hand(graph: Graph, op: Op, given: Sequence[Fact], known: Callable[[Tensor], Fact]) -> Tensor | None:
    """Of what ``op`` makes the softmax, or its logarithm, where it ends a formula of one; else None."""
    parts = quotient(graph, op)
    if parts is not None and all(f.live for f in given):
        top, bottom = graph.op_of(parts[0]), graph.divided_by(parts[1])
        power, moved = _masked(graph, top, known)
        along = summed_spans(graph, parts[1])
        again = power.kind == "softmax" and not moved and along == {(1, power.inputs[0].shape[-1])}
        raised = power.kind in ("exp", "pow") or again
        if raised and bottom.kind in ("sum", "segmentsum") and _same(graph, top, bottom.inputs[0]):
            exponent = power.inputs[-1]
            return _in_front_of_maximum(graph, exponent) if graph.depends(exponent) else None
    if op.kind == "sub" and all(f.live for f in given) and given[1].statistic:
        root = _in_front_of_maximum(graph, given[0].tensor)
        return root if root is _exponents(graph, given[1].tensor, known) else None
    if op.kind == "exp":
        source = graph.op_of(given[0].tensor)
        return source.inputs[0] if source.kind == "logsoftmax" else given[0].normed
    return None


def quotient(graph: Graph, op: Op) -> tuple[Tensor, Tensor] | None:
    """What ``op`` divides and by what, also where it multiplies by one over that; None where it does not divide."""
    if op.kind == "div":
        return op.inputs[0], op.inputs[1]
    for factor, other in zip(op.inputs, op.inputs[::-1], strict=True) if op.kind == "mul" else ():
        below = _inverted(_maker(graph, other, ("select",)))
        if below is not None:
            return factor, below
    return None


def _inverted(op: Op) -> Tensor | None:
    """Of what ``op`` makes one over; None where it does not."""
    if op.kind == "reciprocal" or (op.kind == "pow" and number(op.inputs[1]) == -1):
        return op.inputs[0]
    return op.inputs[1] if op.kind == "div" and number(op.inputs[0]) == 1 else None


def is_softmax_shift(graph: Graph, op: Op) -> bool:
    """Whether ``op`` subtracts one number without a gradient from all that a softmax behind it is taken over.

    Such as the largest score, so that no exponential overflows: the softmax does not change by it, and the gradient of
    the softmax sums to zero there. So no relevance is lost by the gradient that was stopped.
    """
    if op.kind != "sub" or _maker(graph, op.inputs[1], ("select",)).kind != "stop":
        return False
    (made,) = op.outputs
    return op.inputs[1].shape[-1:] == (1,) and _ends_in_softmax(graph, made)


def is_own_mean(graph: Graph, op: Op) -> bool:
    """Whether ``op`` squares how far values lie from their mean without a gradient, and the variance alone is read.

    The gradient of the variance for that mean is zero, so that no relevance is lost by the one that was stopped.
    """
    x, subtracted = op.inputs
    mean, stopped = graph.op_of(subtracted), False
    while mean.kind in ("stop", "identity", "cast"):
        stopped |= mean.kind == "stop"
        mean = graph.op_of(mean.inputs[0])
    made, rank = [mean, *graph.readers(op.outputs[0])], len(x.shape)
    if not stopped or {one.kind for one in made} != {"mean"} or mean.inputs[0] is not x or len(subtracted.shape) < rank:
        return False
    known = [constant_value(one.inputs[1]) for one in made]
    if any(axes is None for axes in known):
        return False
    return len({frozenset(int(i) % rank for i in np.reshape(axes, -1)) for axes in known}) == 1


def _maker(graph: Graph, tensor: Tensor, through: Sequence[str] = ()) -> Op:
    """What made ``tensor``, looked for behind copies, what moves all its values, and the kinds ``through``."""
    op = graph.op_of(tensor)
    while (op.kind in MOVES and op.kind != "pad") or op.kind in through:
        op = graph.op_of(op.data[0])
    return op


def _ends_in_softmax(graph: Graph, tensor: Tensor) -> bool:
    """Whether ``tensor`` goes into softmaxes over its last axis alone; masked or shifted on the way."""
    readers = graph.readers(tensor)
    for reader in readers:
        if reader.kind not in ("softmax", "logsoftmax"):
            kept = reader.kind in ("add", "sub", "select", "identity", "cast")
            if not kept or not _ends_in_softmax(graph, reader.outputs[0]):
                return False
    return bool(readers)


def _masked(graph: Graph, op: Op, known: Callable[[Tensor], Fact]) -> tuple[Op, bool]:
    """What made the tensor that masks, on whatever side, turned into what ``op`` makes; and whether it was moved."""
    moved = False
    while op.kind in ("mul", "identity", "cast") or op.row.mask == "moved":
        live = [t for t in op.data if known(t).live and not known(t).whole]
        if len(live) != 1:
            break
        moved |= op.row.mask == "moved" and op.kind != "select"
        op = graph.op_of(live[0])
    return op, moved


def _exponents(graph: Graph, tensor: Tensor, known: Callable[[Tensor], Fact]) -> Tensor | None:
    """Of what ``tensor`` is the logarithm of summed exponentials, also where a largest value is added; else None."""
    op = graph.op_of(tensor)
    if op.kind == "log":
        total = graph.divided_by(op.inputs[0])
        power, moved = _masked(graph, graph.op_of(total.inputs[0]), known)
        return _in_front_of_maximum(graph, power.inputs[0]) if power.kind == "exp" and not moved else None
    inner = op.inputs if op.kind in ("identity", "add") or op.row.mask == "moved" else ()
    found = (_exponents(graph, t, known) for t in inner if graph.depends(t))
    return next((t for t in found if t is not None), None)


def sigmoid_by_hand(graph: Graph, op: Op) -> Tensor | None:
    """Of what ``op`` makes the sigmoid, written as a quotient or by its logarithm, see `_of_sigmoid`; else None."""
    z, inverse = _of_sigmoid(graph, op) or (None, False)
    if inverse:
        minus = _maker(graph, z)
        z = minus.inputs[0] if minus.kind == "neg" else None
    moved = z is not None and any(o.row.mask == "moved" for o in graph.between([z], op.outputs[0]))
    return None if moved else z


def _of_sigmoid(graph: Graph, op: Op) -> tuple[Tensor, bool] | None:
    """Of what ``op`` makes a sigmoid, and whether that falls with it; None where it makes none.

    ``exp(z) / (1 + exp(z))`` rises; ``1 / (1 + exp(z))`` falls, and so does what has the logarithm ``-softplus(z)``.
    """
    if op.kind == "exp":
        minus = _maker(graph, op.inputs[0])
        z = _of_softplus(graph, _maker(graph, minus.inputs[0])) if minus.kind == "neg" else None
        return None if z is None else (z, True)
    below = _inverted(op)
    if below is None and op.kind != "div":
        return None
    power = one_and_exponential(graph, op.inputs[1] if below is None else below)
    fits = power is not None and (below is not None or _same(graph, power, op.inputs[0]))
    return (power.inputs[0], below is not None) if power is not None and fits else None


def _of_softplus(graph: Graph, op: Op) -> Tensor | None:
    """Of what ``op`` makes the softplus, also written as ``log(1 + exp(z))``; None where it makes none."""
    if op.kind not in ("log", "log1p"):
        return op.inputs[0] if op.kind == "softplus" else None
    inner = op.inputs[0]
    power = one_and_exponential(graph, inner) if op.kind == "log" else _maker(graph, inner)
    return power.inputs[0] if power is not None and power.kind == "exp" else None


def is_sigmoid_of_tanh(graph: Graph, op: Op) -> bool:
    """Whether ``op`` makes ``c + c tanh(z)`` or ``c - c tanh(z)``, which are ``2 c`` times a sigmoid."""
    size, part = _one_number(op), op
    if op.kind in ("add", "sub") and size is not None:
        part = _maker(graph, next(t for t in op.inputs if number(t) is None))
        if part.kind == "mul" and _one_number(part) == size:
            size, part = 1, _maker(graph, next(t for t in part.inputs if number(t) is None))
    return size == 1 and part.kind == "tanh"


def _one_number(op: Op) -> Any:
    """The one number among the inputs of ``op``; None where there is not one."""
    numbers = [value for value in map(number, op.inputs) if value is not None]
    return numbers[0] if len(numbers) == 1 else None


def is_hard_sigmoid(graph: Graph, op: Op) -> bool:
    """Whether ``op`` cuts off, at 0 and above, what a number was added to, such as ``clip(z / 6 + 0.5, 0, 1)``."""
    source, cuts = op, []
    if op.kind == "relu6":
        source, cuts = _maker(graph, op.inputs[0]), [0, 6]
    while source.kind in ("maximum", "minimum"):
        rest = [t for t in source.inputs if number(t) is None]
        if len(rest) != 1:
            return False
        cuts += [number(t) for t in source.inputs if t is not rest[0]]
        source = _maker(graph, rest[0])
    cut = len(cuts) == 2 and min(cuts) == 0 < max(cuts)
    return cut and source.kind == "add" and any(number(t) not in (None, 0) for t in source.inputs)


def one_and_exponential(graph: Graph, tensor: Tensor) -> Op | None:
    """The exponential in ``1 + exp(z)``, which is one over a sigmoid; None where ``tensor`` is no such sum."""
    total = _maker(graph, tensor)
    numbers = [t for t in total.inputs if number(t) == 1]
    if total.kind != "add" or len(numbers) != 1:
        return None
    power = _maker(graph, next(t for t in total.inputs if t is not numbers[0]))
    return power if power.kind == "exp" else None


def _same(graph: Graph, one: Op, tensor: Tensor) -> bool:
    """Whether ``tensor`` is what ``one`` makes, or the same made again."""
    other = _maker(graph, tensor)
    return one.kind == other.kind and all(a is b for a, b in zip(one.inputs, other.inputs, strict=True))


def _in_front_of_maximum(graph: Graph, tensor: Tensor) -> Tensor:
    """What a largest value was subtracted from, so that the exponential does not overflow."""
    op = graph.op_of(tensor)
    if op.kind != "sub":
        return tensor
    largest = _maker(graph, op.inputs[1], ("select", "stop"))
    return op.inputs[0] if largest.kind in ("max", "segmentmax") else tensor
