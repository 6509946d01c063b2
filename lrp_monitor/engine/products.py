"""Products of activations: gates, attention, normalisation. Without a rule they would count relevance twice."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lrp_monitor.engine import backend
from lrp_monitor.engine.backend import Tensor
from lrp_monitor.engine.composites import Composite
from lrp_monitor.engine.functions import scale_gradient
from lrp_monitor.engine.graph import Graph, Op, number
from lrp_monitor.engine.operations import Row
from lrp_monitor.engine.steps import Fact, Made, Step

_CARRY = ("identity", "cast", "neg", "stop")


def _size(x: Tensor) -> int:
    return math.prod(length or 1 for length in x.shape[1:])


def shared(composite: Composite, op: Op, given: Sequence[Fact]) -> Fact:
    """A product of two activations whose relevance is shared and not multiplied.

    * Attention (a softmax that weights values in a matrix product): half to each factor, as in every product of its
      scores (``"attn_lrp"``, Achtibat et al. 2024, the rules for the softmax and for bilinear products), or its weights
      are constants (``"cp_lrp"``, Ali et al. 2022), and so is a gate on what it gives out.
    * ``"gate"``: a gate (what a softmax or sigmoid made, or what is spread over the other factor) is a constant and the
      signal gets all (Arras et al. 2017, section 2.2). Where neither factor can be told to be one, each gets half.
    * ``"half"``: each of n factors gets 1/n (Achtibat et al. 2024, the uniform rule).
    """
    t = op.outputs[0]
    one, two = (index for index, f in enumerate(given) if f.live)
    gates = [index for index in (one, two) if given[index].gate]
    attends = op.kind != "mul" and sum(given[index].gate == "softmax" for index in (one, two)) == 1
    hold: int | None = None
    note = "product: 1/2 to each factor"
    if attends:
        note = "attention: 1/2 to the value, 1/4 to query and key (AttnLRP)"
        if composite.attention == "cp_lrp":
            hold = next(index for index in (one, two) if given[index].gate == "softmax")
            note = "attention: its weights held constant (CP-LRP)"
    elif composite.product == "gate" or (
        composite.attention == "cp_lrp" and any(given[i].attended for i in (one, two))
    ):
        if len(gates) == 1:
            hold = gates[0]
        elif composite.product == "gate" and op.kind == "mul":
            sizes = [_size(given[index].tensor) for index in (one, two)]
            if sizes[0] != sizes[1]:
                hold = one if sizes[0] < sizes[1] else two
        if hold is not None:
            note = f"product: factor {hold} is the gate, held constant"
    if hold is not None:
        signal = one if hold == two else two
        return Fact(t, True, root=t, attended=attends, step=_held(op, given, signal, hold, note))
    counts = {one: given[one].factors, two: given[two].factors} if op.kind == "mul" else {one: 1, two: 1}
    total = sum(counts.values())
    if total > 2:
        note = f"product: 1/{total} to each factor"

    def make(made: Made) -> Sequence[Tensor]:
        inputs = list(op.inputs)
        for index, count in counts.items():
            inputs[index] = scale_gradient(made.tensor(op.inputs[index]), count / total)
        return backend.repeat(op.raw, inputs)

    step = Step(op, op.outputs, (op.inputs[one], op.inputs[two]), (), make, note)
    return Fact(t, True, root=t, attended=attends, factors=total if op.kind == "mul" else 1, step=step)


def _held(op: Op, given: Sequence[Fact], signal: int, hold: int, note: str) -> Step:
    def make(made: Made) -> Sequence[Tensor]:
        inputs = list(op.inputs)
        inputs[signal] = made.tensor(op.inputs[signal])
        inputs[hold] = made.value(op.inputs[hold])
        return backend.repeat(op.raw, inputs)

    return Step(op, op.outputs, (op.inputs[signal],), (op.inputs[hold],), make, note)


def gate_behind(op: Op, row: Row | None, given: Sequence[Fact], live: Sequence[Fact]) -> str:
    """Which gate's values the output holds: moved, scaled by numbers or masked, taken from one, or the sum of two."""
    if op.kind in ("softmax", "sigmoid"):
        return op.kind
    gates = {f.gate for f in live if not (op.kind == "div" and f is live[-1] and f.statistic)}
    if len(gates) != 1 or row is None:
        return ""
    carries = row.mask == "moved" or op.kind in _CARRY
    if op.kind in ("mul", "div", "add", "sub"):
        others = [f.tensor for f in given if not f.live]
        carries = len(live) == 1 and (op.kind == "mul" or all(number(t) is not None for t in others))
        carries |= op.kind == "div" and live[-1].statistic  # the shares of the best few, made to sum to one
        carries |= op.kind in ("add", "sub") and len(live) == len(given)
    return gates.pop() if carries else ""


def divisor(op: Op, given: Sequence[Fact]) -> int | None:
    """Which factor is a statistic of the input that divides the other: it is a constant to relevance.

    So normalisation passes relevance one to one (Achtibat et al. 2024, the identity rule); what is subtracted and what
    scales the result are linear.
    """
    if op.kind == "div":
        return 1 if given[0].live and given[1].statistic and not given[1].inverse else None
    if op.kind == "mul":
        inverses = [index for index, f in enumerate(given) if f.live and f.inverse]
        return inverses[0] if len(inverses) == 1 else None
    return None


def learn_statistic(op: Op, row: Row | None, fact: Fact, given: Sequence[Fact], live: Sequence[Fact]) -> None:
    """Note whether ``fact`` sums up many values in one, and how."""
    if row is not None and row.statistic:
        fact.statistic = True
        fact.logged = live[0].logged
        return
    elementwise = op.kind == "stop" or (row is not None and (row.form is not None or row.mask == "moved"))
    if not elementwise or not all(f.statistic for f in live):
        return
    fact.statistic = True
    fact.logged = op.kind == "log" or any(f.logged for f in live)
    turned = op.kind in ("rsqrt", "reciprocal")
    if op.kind == "div":
        turned = not given[0].live
    if op.kind == "pow":
        exponent = number(given[1].tensor)
        turned = exponent is not None and exponent < 0
    inverse = any(f.inverse for f in live)
    if op.kind in ("mul", "div") and len(live) > 1:
        inverse = False  # a statistic, normalised
    fact.inverse = (not inverse) if turned else inverse


def softmax_by_hand(graph: Graph, op: Op, given: Sequence[Fact]) -> Tensor | None:
    """Of what ``op`` makes the softmax, or its logarithm, where it ends a formula of one; else None."""
    if op.kind == "div" and all(f.live for f in given):
        top, bottom = graph.op_of(given[0].tensor), graph.op_of(given[1].tensor)
        while bottom.kind in ("identity", "broadcast", "reshape", "expanddims"):
            bottom = graph.op_of(bottom.inputs[0])
        if top.kind == "exp" and bottom.kind == "sum" and bottom.inputs[0] is given[0].tensor:
            return _in_front_of_maximum(graph, top.inputs[0])
    if op.kind == "sub" and all(f.live for f in given) and given[1].statistic and given[1].logged:
        return given[0].tensor
    if op.kind == "exp":
        return given[0].normed
    return None


def _in_front_of_maximum(graph: Graph, tensor: Tensor) -> Tensor:
    """What a largest value was subtracted from, so that the exponential does not overflow."""
    op = graph.op_of(tensor)
    if op.kind != "sub":
        return tensor
    largest = graph.op_of(op.inputs[1])
    while largest.kind in ("identity", "stop", "select", "broadcast", "reshape", "expanddims"):
        largest = graph.op_of(largest.inputs[1 if largest.kind == "select" else 0])
    return op.inputs[0] if largest.kind == "max" and graph.depends(op.inputs[1]) else tensor
