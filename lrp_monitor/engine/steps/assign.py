"""Gives every operation that relevance meets the step by which it is made anew: what an operation is has a rule."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from keras import layers as kl

from lrp_monitor.engine import backend
from lrp_monitor.engine.backend import Tensor
from lrp_monitor.engine.rules.composites import Composite
from lrp_monitor.engine.rules.rules import Gradient, Pass, Rule
from lrp_monitor.engine.steps import products
from lrp_monitor.engine.steps.formulas import cut_off, is_function, own_gradient, passed, squared_difference, way_to
from lrp_monitor.engine.steps.front import Front
from lrp_monitor.engine.steps.gates import is_own_mean, is_softmax_shift, learn_gate, quotient, softmax_by_hand
from lrp_monitor.engine.steps.step import Fact, Step, plain
from lrp_monitor.engine.steps.ways_out import is_differentiable, way_out, way_past
from lrp_monitor.engine.steps.weights import SCALINGS, STEPS, Weights, moved_summand
from lrp_monitor.engine.trace.graph import Graph, Op, number
from lrp_monitor.engine.trace.operations import CONSTANT, PRODUCTS, REFUSED, UNKNOWN
from lrp_monitor.engine.trace.recording import LayerCall, Recording, leaf, loop_around
from lrp_monitor.engine.trace.treatments import is_loop

# Layers of Keras whose one weighted map takes the rule that is named for the layer.
_BASIC = (
    kl.Dense, kl.EinsumDense, kl.Conv1D, kl.Conv2D, kl.Conv3D, kl.Conv1DTranspose, kl.Conv2DTranspose,
    kl.Conv3DTranspose, kl.DepthwiseConv1D, kl.DepthwiseConv2D, kl.SeparableConv1D, kl.SeparableConv2D,
)  # fmt: skip
_ROUNDING = ("round", "floor", "ceil", "floordiv")
_HIDDEN = -1e4  # the largest factor of additive attention masks: float16 holds no -1e9, so code for it uses -1e4
_ASIDE = "one of its inputs that say where to or how depends on the model's input, and relevance does not follow there"
_INHOMOGENEOUS = "is not homogeneous (not a sum, a scaling, a selection, a pooling or a ReLU)"
_PLACES = "looks vectors up by lists of numbers, each of which is a place; use ops.take of the numbers themselves"
NUMBERS = "its token numbers are computed from activations, which carry no relevance"


@dataclass
class Assigner:
    """Walks the operations of a recording once, in order of making."""

    recording: Recording
    composite: Composite
    prefix: frozenset[int] = frozenset()
    """The numbers of the operations that make up the prefix of the composite's ``until``."""
    biases: frozenset[int] = frozenset()
    """The numbers of the operations that add a bias to a weighted map as one number, see `join_formulas`."""
    _facts: dict[int, Fact] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._weights = Weights(self.recording, self.composite, self.biases)
        self._front = Front(self.graph, self.composite, self._weights, self.prefix)

    @property
    def graph(self) -> Graph:
        return self.recording.graph

    def run(self) -> None:
        """Assign a step to every operation that depends on the input."""
        for source in self.graph.sources:
            self._facts[id(source)] = Fact(source, live=True, root=source, front=True)
        for op in self.graph.ops:
            if any(self.graph.depends(t) for t in op.outputs) and not any(id(t) in self._facts for t in op.outputs):
                for fact in self._of(op):
                    self._facts[id(fact.tensor)] = fact

    def fact(self, tensor: Tensor) -> Fact:
        """What is known of ``tensor``."""
        known = self._facts.get(id(tensor))
        if known is None:
            known = Fact(tensor, root=None if number(tensor) is not None else tensor)
            self._facts[id(tensor)] = known
        return known

    def steps(self) -> list[Step]:
        """Every step that was assigned."""
        return [fact.step for fact in self._facts.values() if fact.step is not None]

    def join_formulas(self, head: Tensor) -> frozenset[int]:
        """Numbers that any layer adds within a function on the way to ``head`` take nothing: relevance starts there.

        The result names the operations that add the others to what a weighted map made: those numbers are its biases.
        """
        within = {op.number: op for op in self._within_functions(head)}
        for op in within.values():
            (made, *_), live = map(self.fact, op.outputs), [f for f in map(self.fact, op.inputs) if f.live]
            if len(live) == 1 and not (made.formula or made.front):
                made.step = passed(self.graph, op, made.tensor, Fact(made.tensor, True, live[0].tensor)).step
        others = (op for op in self.graph.needed([head]) if op.number not in within and _adds_number(op))
        return frozenset(op.number for op in others if any(self.fact(t).map for t in op.inputs))

    def _within_functions(self, head: Tensor) -> Iterator[Op]:
        """The operations on the way to ``head`` that add a number within a function that alone reads the sum."""
        needed = self.graph.needed([head])
        numbers = {op.number for op in needed}
        for end in needed:
            for fact in map(self.fact, end.outputs):
                given = [self.fact(i) for i in end.inputs]
                way, live = fact.over_layers, [f for f in given if f.live]
                if way is None or fact.front or not self._is_function(end, way, given, live):
                    continue
                ways = self._ways(way.root, fact.tensor)
                inside = {op.number for op in ways}
                for op in filter(_adds_number, ways):
                    readers = self.graph.readers(op.outputs[0]) if op is not end else ()
                    if all(r.number in inside or r.number not in numbers or r.kind in CONSTANT for r in readers):
                        yield op

    def _ways(self, root: Tensor, t: Tensor) -> list[Op]:
        """The operations between ``t`` and what was moved to ``root``, of which it is a function."""
        while self.graph.depends(root) and (inner := self.graph.op_of(root)).row.mask == "moved":
            moved = [f for f in map(self.fact, inner.inputs) if f.live]
            if len(moved) != 1:
                break
            root = (moved[0].over_layers or moved[0]).root
        return self.graph.between([root], t)

    # --- one operation ---

    def _seen(self, op: Op, tensor: Tensor) -> Fact:
        """What ``op`` sees of a tensor: the way on which another layer made it does not count."""
        fact = self.fact(tensor)
        if fact.root is None or fact.root is tensor or leaf(op.call) is leaf(self.graph.op_of(tensor).call):
            return fact
        return replace(fact, root=tensor, bent=False, shifted=False, formula=False)

    def _of(self, op: Op) -> list[Fact]:
        given = [self._seen(op, t) for t in op.inputs]
        tainted = any(f.tainted or (f.live and not f.front) for f in given)
        if op.kind == "each":  # the gradient that the framework hung on it is none of ours
            return [self._alias(op, index, f) for index, f in enumerate(given)]
        way = way_to(op, given)
        live = [f for f in given[op.row.data] if f.live]
        aside = [f.tensor for f in given if f.live and f not in live and backend.holds_data(f.tensor)]
        indices = op.kind in ("gather", "onehot") and given[1 if op.kind == "gather" else 0]
        # as with the state before the first step of a loop that is written out
        vanishes = op.kind == "mul" and any(self.graph.is_zero(f.tensor) for f in given if not f.live)
        if op.kind == "mul" and [f.gate for f in live] == ["sigmoid"] and self._option(op).product == "gate":
            vanishes |= self._weights.of_no_state([f.tensor for f in given if not f.live])  # a gate times a constant
        tainted &= not vanishes
        free = self._named(op) is None  # no rule is named that takes the layer as a whole
        facts = []
        for index, t in enumerate(op.outputs):
            numbers = backend.holds_data(t) or (t.dtype.is_integer and all(f.front for f in live))
            silent = (
                (id(t) in self.recording.constants and free)
                or (op.kind in CONSTANT and op.kind not in _ROUNDING)
                or (op.kind == "topk" and index == 1)  # places, as argmax gives them
                or _hides(op, given)
                or vanishes
            )
            named = self._passed_over(op, t)
            if named is not None:
                facts.append(named)
            elif isinstance(indices, Fact) and (not live or op.kind == "onehot") and (indices.live or indices.tainted):
                found = self._front.looked_up(op, given, indices) if indices.live else self._computed(op, given, free)
                facts.append(found)
            elif free and not silent and not live and self._weights.reads_steps(op, given):
                facts.append(Fact(t, True, root=t, step=plain(self.graph, op, given, problem=self._of_steps(op))))
            elif free and op.kind == "gathernd" and not live and given[1].live and self.graph.is_learned(op.inputs[0]):
                facts.append(Fact(t, True, root=t, step=plain(self.graph, op, given, problem=_PLACES)))
            elif silent or not (live or aside) or not numbers:
                root = t if way is None else way.root
                facts.append(Fact(t, root=root, tainted=tainted, step=plain(self.graph, op, given)))
            elif aside:
                step = plain(self.graph, op, given, problem=_ASIDE)
                facts.append(Fact(t, True, root=t, step=replace(step, way_out=self._way_out(op))))
            else:
                facts.append(self._live(op, index, given, live, way))
        for made in facts:
            made.tainted |= tainted
        return facts

    def _of_steps(self, op: Op) -> str:
        """What is wrong with a product of weights with what carries no relevance, and what made that of activations."""
        is_step = (o for o in reversed(self.graph.needed(op.inputs)) if any(self.fact(t).live for t in o.inputs))
        made = next(is_step)
        where = "" if made.call is None or made.call.is_model else f" of {made.call}"
        alike = any(self.fact(t).live and t.shape == made.outputs[0].shape for t in made.inputs)
        way = "; put those, as floats, into a layer of their own and name Pass() for it" if alike else ""
        return f"{STEPS}{made}{where} (a sign, a comparison, rounding), which carry no relevance{way}"

    def _passed_over(self, op: Op, t: Tensor) -> Fact | None:
        """The output of a layer for which Pass is named, whatever made it, such as a sign."""
        named = self._named(op) if backend.holds_data(t) else None
        return self._one_to_one(op, t, named[0]) if named is not None and isinstance(named[1], Pass) else None

    def _one_to_one(self, op: Op, t: Tensor, call: LayerCall) -> Fact | None:
        """The output of a layer for which Pass is named; None where ``t`` is none, or of no one input of its shape."""
        source = self.one_source(t, call)
        if source is None or not any(t is output for output in call.outputs):
            return None
        return passed(self.graph, op, t, Fact(t, True, source), "relevance passes one to one (named)")

    def one_source(self, t: Tensor, call: LayerCall) -> Tensor | None:
        """The one input of a layer of the shape of its output ``t``; None where there is none, or several are."""
        inputs = [x for x in call.inputs if self.fact(x).live and x.shape == t.shape]
        return inputs[0] if len(inputs) == 1 else None

    def _computed(self, op: Op, given: list[Fact], free: bool) -> Fact:
        """Vectors for numbers that were computed from activations."""
        refused = free and self.graph.is_learned(op.inputs[0])
        step = plain(self.graph, op, given, problem=NUMBERS if refused else "")
        step.way_out = lambda: way_past(op)
        return Fact(op.outputs[0], refused, op.outputs[0], gate="step" if op.kind == "onehot" else "", step=step)

    def _alias(self, op: Op, index: int, source: Fact) -> Fact:
        tensor, before = op.outputs[index], source.tensor
        step = Step(op, (tensor,), (before,), (), lambda made: [made.tensor(before)])
        if source.front:
            glued = source.step is None or source.step.glued
            step = replace(step, mask=lambda made: made.companion(before).mask, glued=glued, bounds=True)
        return replace(source, tensor=tensor, step=step)

    def _live(self, op: Op, index: int, given: list[Fact], live: list[Fact], way: Fact | None) -> Fact:
        t = op.outputs[index]
        named = self._named(op)
        if named is not None and not t.dtype.is_integer:  # numbers of a lookup find their vectors under any rule
            return self._whole(op, t, given, *named)
        fact = self._front.assigned(op, index, given, live, way, lambda: self._stepped(op, index, given, live, way))
        if fact.root is None:
            fact.along(way or Fact(t, root=t))
        fact.over_layers = way_to(op, [f.over_layers or f for f in map(self.fact, op.inputs)])
        self._learn(op, fact, given, live)
        return fact

    def _stepped(self, op: Op, index: int, given: list[Fact], live: list[Fact], way: Fact | None) -> Fact:
        t = op.outputs[index]
        softmax = softmax_by_hand(self.graph, op, given, self.fact)
        if softmax is not None:
            return own_gradient(self.graph, op, t, softmax, (quotient(self.graph, op) or op.inputs)[-1])
        if way is not None and self._is_function(op, way, given, live):
            return self._passed(op, t, way)
        if op.kind == "squareddifference":
            calls = [made.call for f in live if (made := f.map or f.summand) is not None]
            if is_own_mean(self.graph, op):
                return squared_difference(self.graph, op, t, live[:1])
            if len(live) > 1 and not (len(calls) > 1 and calls[0] is calls[1]):  # those would be one map
                return squared_difference(self.graph, op, t, live)
        if op.kind in PRODUCTS and len(live) == 1:
            first = live[0].front and not live[0].inner
            return self._weights.product(op, given, live[0], first, self._beside_input(op, live[0].tensor))
        if len(live) == 1 and op.kind in SCALINGS and index == 0 and not t.dtype.is_complex:
            found = self._weights.scaled(op, t, given, live[0])
            if found is not None:
                return found
        if (op.kind in ("add", "sub", "addn") and len(live) > 1) or op.kind in ("sum", "mean"):
            found = self._weights.summed(op, t, given)
            if found is not None:
                return found
        if is_softmax_shift(self.graph, op):
            return Fact(t, True, step=plain(self.graph, op, given, hold=1, note="a softmax does not change by it"))
        bias = products.score_bias(op, given)
        if bias is not None:
            note = "what counts and masks add to attention's scores takes nothing"
            return Fact(t, True, step=plain(self.graph, op, given, hold=bias, note=note))
        product = products.product(self._option(op), self.graph, op, given, live, self.fact)
        if product is not None:
            return self._weights.times_gate(op, product, given)
        made = live[0].map if op.kind == "relu" and not live[0].front else None
        before = live[0].step  # of the map itself, and not of what moved or negated it
        if made is not None and before is not None and before.map is made and not made.is_part:
            return self._weights.weighted(op, t, made.rectify(), keep=False, note="relevance passes the activation")
        return self._default(op, index, given, live)

    def _beside_input(self, op: Op, data: Tensor) -> list[Fact]:
        """What the call around ``op`` concatenated to its data, where some of it is of the input and some is not."""
        joint = self.graph.op_of(data)
        call = leaf(joint.call)
        as_layer = call is not None and any(data is t for t in call.outputs) and loop_around(op.call) is None
        if joint.kind != "concat" or call is None or as_layer:
            return []
        parts = [self.fact(t) for t in joint.data]
        return parts if len({f.front and not f.inner for f in parts}) > 1 else []

    def _is_function(self, op: Op, way: Fact, given: list[Fact], live: list[Fact]) -> bool:
        """Whether ``op`` ends a function of each element of the root of ``way``, alone or with what is before it."""
        if is_function(op, way, given, live):
            return True
        in_keras_layer = op.call is not None and isinstance(op.call.layer, (*_BASIC, kl.Activation))
        power = op.kind == "pow" and given[1].live
        part = in_keras_layer or ((op.kind == "exp" or power) and not self.graph.divides_later(op))
        forms = ("function", "part") if part else () if power else ("function",)
        return len(live) == 1 and op.row.form in forms

    def _passed(self, op: Op, t: Tensor, way: Fact) -> Fact:
        """A function of each element of the root of ``way``; the map that made the root takes it along where it can."""
        root = way.root
        assert root is not None
        if op.kind != "minimum":  # which leaves a 0 as it is
            root = cut_off(self.graph, root, t)
        before = self.fact(root)
        fact = None if before.front else self._weights.activated(op, t, root, before.map)
        return (fact or passed(self.graph, op, t, replace(way, root=root))).along(way)

    def _default(self, op: Op, index: int, given: list[Fact], live: list[Fact]) -> Fact:
        t = op.outputs[index]
        step = plain(self.graph, op, given)
        if not op.row.plain:
            what = "is of a kind that has no rule" if op.row is UNKNOWN else _INHOMOGENEOUS
            step.problem = REFUSED.get(op.kind, (what, ""))[0]
        elif op.kind == "sparsematmul" and self.graph.is_learned(op.inputs[1]):
            step.problem = "multiplies with weights in a sparse matrix, for which there is no rule; make it a dense one"
        else:
            step.problem = _condition(op, given, live)
        step.way_out = self._way_out(op) if step.problem else str
        if op.kind in ("softmax", "logsoftmax"):
            step.note = "softmax: the explanation starts before it, or its own gradient"
        elif op.kind in ("maxpool", "max"):
            step.note = "the winner takes all"
        elif op.row.form == "bent":
            step.note = "relevance passes the activation"
        made = self._weights.behind(op, index, given, live)
        return Fact(t, True, map=made, summand=moved_summand(op, index, live), step=step)

    def _way_out(self, op: Op) -> Callable[[], str]:
        return lambda: way_out(self.graph, op, _BASIC)

    # --- what is named for layers, and what follows ---

    def _named(self, op: Op) -> tuple[LayerCall, Rule] | None:
        """The call of a layer that is taken as a whole, by a rule that was named for it."""
        for call in op.call.around() if op.call is not None else ():
            if call.is_model:
                continue
            rule = self.composite.override(call.layer, call.path)
            if isinstance(rule, Pass | Gradient) and not isinstance(call.layer, _BASIC):
                return (call, rule) if isinstance(rule, Gradient) or not is_loop(call.layer) else None
        return None

    def _whole(self, op: Op, t: Tensor, given: list[Fact], call: LayerCall, rule: Rule) -> Fact:
        step = plain(self.graph, op, given, note="plain gradient (named)")
        if isinstance(rule, Pass) and any(t is output for output in call.outputs):
            step.problem = f"rule {rule!r} needs one input of the shape of the output; name Gradient() for it"
        elif isinstance(rule, Gradient) and op.row is UNKNOWN and not is_differentiable(op):
            step.problem = f"has no gradient, so that {rule!r} passes nothing"
        return Fact(t, True, root=t, step=step)

    def _option(self, op: Op) -> Composite:
        """The composite, as far as it speaks of products: inside a loop over time gates are constant."""
        return self.composite if loop_around(op.call) is None else replace(self.composite, product="gate")

    def _learn(self, op: Op, fact: Fact, given: list[Fact], live: list[Fact]) -> None:
        learn_gate(self.graph, op, fact, given, live)
        products.learn_statistic(self.graph, op, fact, given, live)
        moves = op.row.mask == "moved" or op.kind in ("identity", "cast")
        if moves or (op.kind in ("mul", "div") and len(live) == 1):
            fact.attended |= all(f.attended for f in live)
            fact.factors = live[0].factors if len({f.factors for f in live}) == 1 else 1
        fact.curved |= moves and all(f.curved for f in live)
        fact.divided |= moves and all(f.divided for f in live)
        fact.whole = fact.tensor.dtype.is_integer or (fact.front and not fact.inner and all(f.whole for f in live))


def _adds_number(op: Op) -> bool:
    return op.kind in ("add", "sub") and any(number(i) not in (None, 0) for i in op.inputs)


def _hides(op: Op, given: list[Fact]) -> bool:
    """Whether ``op`` makes an additive attention mask, ``(1 - mask) * -1e9``, from an input.

    Such a mask carries no relevance: otherwise it would take that of a learned position bias which is added to it.
    Preprocessing does not scale data by a number of this size and sign.
    """
    if op.kind != "mul" or not all(f.front for f in given if f.live):
        return False
    factor = min((value for value in map(number, op.inputs) if value is not None), default=0)
    return bool(factor <= _HIDDEN)


def _condition(op: Op, given: list[Fact], live: list[Fact]) -> str:
    """What is wrong with an operation of a kind that is homogeneous under a condition; empty where nothing is."""
    constants = [f.tensor for f in given if not f.live]
    if op.kind in ("maximum", "minimum"):
        if any(number(c) != 0 for c in constants):
            return "clips against a constant that is not zero; use a layer such as ReLU(max_value=...)"
    elif op.kind == "select":
        data = [f for f in given[1:] if not f.live]
        if given[0].tainted and any(not _is_filler(number(f.tensor)) for f in data):
            return "puts in a constant that is not zero, whose share of the relevance is unknown"
    elif op.kind in ("pad", "diagonal", "diagonalpart") and len(given) > 2:
        if given[-1].live:
            return _ASIDE
        if not _is_filler(number(given[-1].tensor)):
            return "pads with a constant that is not zero"
    elif op.kind in ("mul", *PRODUCTS) and len(live) > 1:
        return "multiplies two activations: without a rule the product counts its relevance twice"
    elif op.kind == "div" and given[1].live:
        return "divides by an activation"
    elif op.kind == "batchnorm":
        return "normalises by statistics of the batch: call it with is_training=False"
    return ""


def _is_filler(value: Any) -> bool:
    """Whether a constant stands for nothing: zero, NaN, or so low that no maximum and no softmax takes it."""
    return value is not None and (value == 0 or not value > -1e4)
