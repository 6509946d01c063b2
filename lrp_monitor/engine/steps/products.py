"""Products of activations: gates, attention, normalisation. Without a rule they would count relevance twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lrp_monitor.engine import backend
from lrp_monitor.engine.backend import Tensor
from lrp_monitor.engine.gradients import straight_through
from lrp_monitor.engine.rules.composites import Composite
from lrp_monitor.engine.steps.axes import free_spans, size_of, spread_factor, sums_over_both, weighs
from lrp_monitor.engine.steps.gates import one_and_exponential
from lrp_monitor.engine.steps.step import Fact, Made, Step, plain
from lrp_monitor.engine.trace.graph import SAME_ORDER, Graph, Op, number
from lrp_monitor.engine.trace.operations import PRODUCTS

_IN_ORDER = (*SAME_ORDER, "slice")  # of slices those that leave nothing out


def product(
    composite: Composite, graph: Graph, op: Op, given: Sequence[Fact], live: Sequence[Fact],
    known: Callable[[Tensor], Fact],
) -> Fact | None:  # fmt: skip
    """What activations give that one multiplies or divides by another; None where ``op`` does neither."""
    if len(live) < 2:
        return None
    gated = op.kind == "div" and one_and_exponential(graph, op.inputs[1]) is not None  # a / (1 + exp(-b))
    held = None if gated else _divisor(graph, op, given, known)
    if held is not None:
        step = plain(graph, op, given, hold=held, note="its scale factor is a constant")
        return Fact(op.outputs[0], True, divided=True, step=step)
    multiplies = gated or op.kind == "mul" or op.kind in PRODUCTS
    return shared(composite, graph, op, given) if multiplies and len(live) == 2 else None


def shared(composite: Composite, graph: Graph, op: Op, given: Sequence[Fact]) -> Fact:
    """A product of two activations whose relevance is shared and not multiplied.

    What a product is does not depend on how it is written: an elementwise product of which a sum over an axis of both
    factors follows is a matrix product.

    * Attention (a softmax that weights values): half to each factor, as in every product of its
      scores (``"attn_lrp"``, Achtibat et al. 2024, the rules for the softmax and for bilinear products), or its weights
      are constants (``"cp_lrp"``, Ali et al. 2022), and so is a gate on what it gives out.
    * ``"gate"``: a gate (what a sigmoid made, or what is spread over the other factor) is a constant and the
      signal gets all (Arras et al. 2017, section 2.2). Where neither factor is known to be one, each gets half.
    * ``"half"``: each of n factors gets 1/n (Achtibat et al. 2024, the uniform rule).
    """
    t = op.outputs[0]
    one, two = (index for index, f in enumerate(given) if f.live)
    gates = [given[index].gate.replace("exp", "softmax") for index in (one, two)]
    if op.kind == "div":
        gates[1] = "sigmoid"
    weights = "softmax" if "softmax" in gates else "similarity"
    contracts = sums_over_both(graph, op)
    attends = gates.count(weights) == 1
    if attends and weights == "similarity":
        which = gates.index(weights)
        attends = weighs(graph, op, (one, two)[which], (two, one)[which], given[(one, two)[which]].axes)
    hold: int | None = None
    masked = _mask(graph, op, given, one, two)
    note = "product: 1/2 to each factor"
    if masked is not None:
        hold, attends = masked, False
        note = f"product: factor {hold} is a mask, held constant"
    elif gates.count("step") == 1:  # constant almost everywhere, as a choice of experts is: nobody's relevance
        hold, attends = (one, two)[gates.index("step")], False
        note = f"product: factor {hold} is constant almost everywhere"
    elif attends:
        note = "attention: 1/2 to the value, 1/4 to query and key (AttnLRP)"
        if composite.attention == "cp_lrp":
            hold = (one, two)[gates.index(weights)]
            note = "attention: its weights held constant (CP-LRP)"
    elif composite.product == "gate" or (
        composite.attention == "cp_lrp" and any(given[i].attended for i in (one, two))
    ):
        if gates.count("sigmoid") == 1:
            hold = (one, two)[gates.index("sigmoid")]
        elif composite.product == "gate" and (spread := spread_factor(graph, op)) is not None:
            gate, other = (one, two)[spread], (two, one)[spread]
            # of vectors that are summed, weights that are an input themselves, such as a mask
            hold = gate if not contracts or (given[gate].front and not given[other].front) else None
        if hold is None and composite.attention == "cp_lrp" and gates.count("readout") == 1 and gates.count("") == 1:
            hold = (one, two)[gates.index("readout")]
        if hold is not None:
            note = f"product: factor {hold} is the gate, held constant"
    if hold is not None:
        return Fact(t, True, root=t, attended=attends, step=plain(graph, op, given, hold, note))
    counts = {one: 1, two: 1} if attends else {one: given[one].factors, two: given[two].factors}
    total = sum(counts.values())
    if total > 2:
        note = f"product: 1/{total} to each factor"

    def make(made: Made) -> Sequence[Tensor]:
        inputs = list(op.inputs)
        for index, count in counts.items():
            x = made.tensor(op.inputs[index])
            share = -count / total if op.kind == "div" and index == 1 else count / total  # what divides is 1 / gate
            inputs[index] = straight_through(x * share, x)
        return backend.repeat(op.raw, inputs)

    step = Step(op, op.outputs, (op.inputs[one], op.inputs[two]), (), make, note)
    return Fact(t, True, root=t, attended=attends, factors=1 if attends or contracts else total, step=step)


def _mask(graph: Graph, op: Op, given: Sequence[Fact], one: int, two: int) -> int | None:
    """Which factor is a mask of the other one: whole numbers of the input alone that are spread over activations.

    Those that multiply attention weights of their own shape are one, too; an image of whole numbers is none.
    """
    spread = spread_factor(graph, op)
    for place, (mask, other) in enumerate(((one, two), (two, one))):
        fits = spread == place or (spread is None and given[other].gate in ("softmax", "exp"))
        if fits and given[mask].whole and (not given[other].front or given[other].gate == "step"):
            return mask
    return None


def score_bias(op: Op, given: Sequence[Fact]) -> int | None:
    """Which term is a bias that whole numbers of the input add to attention's scores; None where there is none.

    Distances counted along a padding mask (ALiBi) and additive masks are no signal: as a factor, a mask takes none.
    """
    if op.kind not in ("add", "sub") or not all(f.live for f in given):
        return None
    biases = [i for i, f in enumerate(given) if f.whole and not f.paired]
    return biases[0] if len(biases) == 1 and given[1 - biases[0]].paired else None


def _divisor(graph: Graph, op: Op, given: Sequence[Fact], known: Callable[[Tensor], Fact]) -> int | None:
    """Which factor is a statistic of the input that divides the other: it is a constant to relevance.

    A matrix product without weights is one, as where linear attention divides by the sum of its own. So normalisation
    passes relevance one to one (Achtibat et al. 2024, the identity rule); what is subtracted and what scales the result
    are linear.
    """
    if op.kind == "div":  # sums of exponentials are such statistics, too, summed step by step as they may be
        made = graph.divided_by(given[1].tensor)
        divides = (given[1].statistic and not given[1].inverse) or known(made.outputs[0]).gate == "exp"
        divides |= made.kind in PRODUCTS and not graph.has_weights(made) and sums_over_both(graph, made)
        return 1 if divides else None
    if op.kind == "mul":
        inverses = [index for index, f in enumerate(given) if f.inverse]
        return inverses[0] if len(inverses) == 1 else None
    return None


def learn_statistic(graph: Graph, op: Op, fact: Fact, given: Sequence[Fact], live: Sequence[Fact]) -> None:
    """Note whether ``fact`` sums up many values in one, and how.

    A fixed matrix sums up powers and other functions of activations, as where neighbours normalise each other; of
    activations themselves it is a linear map as any other. A product of a tensor with itself sums up squares.
    """
    curved = len(live) == 1 and live[0].curved
    if op.kind in PRODUCTS and not graph.has_weights(op) and (curved or _squares(graph, op, live)):
        fact.statistic = sums_over_both(graph, op)
        return
    if op.row.statistic:
        fact.statistic = fact.map is None  # and no product with weights
        return
    if (op.row.form is None and op.row.mask != "moved") or not all(f.statistic for f in live):
        return
    fact.statistic = True
    turned = op.kind in ("rsqrt", "reciprocal") or (op.kind == "pow" and (number(given[1].tensor) or 0) < 0)
    # One over a statistic times another is a statistic, normalised.
    fact.inverse = turned != all(f.inverse != (op.kind == "div" and f is given[1]) for f in live)


def _squares(graph: Graph, op: Op, live: Sequence[Fact]) -> bool:
    """Whether both factors of a product are one tensor, which runs in step with itself along all axes."""
    tensors = [f.tensor for f in live]
    for index, t in enumerate(tensors):
        while (made := graph.op_of(t)).kind in _IN_ORDER and size_of(made.data[0].shape) == size_of(t.shape):
            t = tensors[index] = made.data[0]
    return len(tensors) == 2 and tensors[0] is tensors[1] and not free_spans(op)
