"""Products with weights among the operations: which rule each takes, and what behind it becomes a part of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from keras import ops

from lrp_monitor.engine import backend
from lrp_monitor.engine.backend import Tensor
from lrp_monitor.engine.gradients import straight_through
from lrp_monitor.engine.rules.composites import Composite
from lrp_monitor.engine.rules.rules import Epsilon, Gradient, Pass, Rule, stabilise
from lrp_monitor.engine.steps.axes import along, joins_others, summed_axes, sums_behind, varying_axes
from lrp_monitor.engine.steps.formulas import passed
from lrp_monitor.engine.steps.joined import beside, cut_apart, sum_of, summed_up
from lrp_monitor.engine.steps.maps import Make, Map, map_of
from lrp_monitor.engine.steps.moves import is_move
from lrp_monitor.engine.steps.step import Fact, Made, Step, plain
from lrp_monitor.engine.trace.graph import Graph, Op, number
from lrp_monitor.engine.trace.operations import CONSTANT, CONVOLUTIONS, PRODUCTS
from lrp_monitor.engine.trace.recording import LayerCall, Recording, leaf

SMALL = 1e-6
"""The stabiliser of the epsilon rule on a scale and shift of their own."""
SCALINGS = ("add", "sub", "mul", "div", "batchnorm")
STEPS = "multiplies weights with numbers that were made of activations by "


@dataclass(frozen=True)
class Weights:
    """Assigns steps to products with weights and to scales and shifts."""

    recording: Recording
    composite: Composite
    biases: frozenset[int] = frozenset()
    """The numbers of the operations that add a bias as one number."""

    @property
    def graph(self) -> Graph:
        return self.recording.graph

    def product(self, op: Op, given: list[Fact], data: Fact, first: bool, parts: Sequence[Fact] = ()) -> Fact:
        """A product of data with something else: by a rule where that is weights; ``first``: no weights before it.

        ``parts``: what one call concatenated to that data, where some of it is of the input and some is not.
        """
        at = given.index(data)
        kernels = [i for i in range(len(given)) if i != at and (op.kind != "convtranspose" or i == 1)]
        kernel = op.inputs[kernels[0]] if len(kernels) == 1 else None  # an einsum of one operand sums and moves
        if kernel is None or self.graph.depends(kernel) or not self.graph.is_learned(kernel):
            spread = kernel is not None and number(kernel) == 1 and not summed_axes(self.graph, op)
            made, summand = (_behind(one, op, at) if spread else None for one in (data.map, data.summand))
            step = plain(self.graph, op, given)  # a fixed linear map
            return Fact(op.outputs[0], True, map=made, summand=summand, step=step)
        if kernel.dtype.is_complex:
            return self.of_complex_numbers(op, given, self.rule(op, first)[0])
        made = self.product_map(op, at, kernels[0], first)
        if parts:
            made = self.beside_input(made, data.tensor, parts) or made
        return self.weighted(op, op.outputs[0], made, note=repr(made.rule))

    def beside_input(self, made: Map, joint: Tensor, parts: Sequence[Fact]) -> Map | None:
        """A product of the input laid beside a state, ``[x, h] W``, as ``x U + h V`` in one call; else None."""
        maps, cut = [], cut_apart(made, self.graph.op_of(joint))
        if not cut:
            return None
        for part, fact in zip(cut, parts, strict=True):
            if fact.live:
                rule, problem = self.rule(made.op, fact.front and not fact.inner)
                maps.append(replace(part, rule=rule, problem=problem))
            elif not self.graph.is_zero(fact.tensor):
                return None
        if len(maps) == 1 and maps[0].rule.input_only:  # of no state
            return replace(maps[0], of_first_step=True)
        alike = all(part.rule == maps[0].rule for part in maps)
        return None if alike else self.joint(made.op, maps)

    def joint(self, op: Op, maps: Sequence[Map]) -> Map | None:
        """The map that ``op`` makes of the outputs of maps in one call, by the first layer's rule where one takes that.

        A rule for inputs is that of their part alone. Where the kinds differ, the rule is that of convolutions.
        """
        if any(part.rule.input_only for made in maps for part in made.products):
            maps = [
                replace(made, rule=of_kind(self.composite, made.op), problem="") if made.problem else made
                for made in maps
            ]
        of_first = self.composite.first
        taken = min(maps, key=lambda m: (m.rule.input_only, m.rule is not of_first, m.op.kind not in CONVOLUTIONS))
        return sum_of(op, maps, taken.rule)

    def product_map(self, op: Op, data: int, kernel: int, first: bool) -> Map:
        """The map of a product with weights, by its rule."""
        rule, problem = self.rule(op, first)
        return replace(map_of(op, data, kernel, rule), problem=problem)

    def of_complex_numbers(self, op: Op, given: list[Fact], rule: Rule) -> Fact:
        """A product with complex weights, by the epsilon rule: contributions have an angle, but no sign."""
        step = plain(self.graph, op, given, note=repr(rule))
        if not isinstance(rule, Epsilon | Gradient):
            step.problem = (
                f"rule {rule!r} goes by the signs of contributions, which those of complex weights do not have; name "
                "Epsilon() for it"
            )
        make, epsilon = step.make, rule.epsilon if isinstance(rule, Epsilon) else 0.0

        def stabilised(made: Made) -> Sequence[Tensor]:
            (z,) = make(made)
            size = ops.abs(backend.stop_gradient(z))
            share = ops.where(size > 0, size / ops.maximum(size + epsilon, 1e-30), 0.0)
            return [straight_through(z * ops.cast(share, z.dtype), z)]

        return Fact(op.outputs[0], True, step=replace(step, make=stabilised))

    def contracts(self, op: Op) -> bool:
        """Whether it multiplies with weights what is summed then over an axis of both: a matrix product, in two."""
        sums = sums_behind(self.graph, op) if op.kind == "mul" and self.graph.has_weights(op) else iter(())
        by = next((by for by, _ in sums), None)
        if by is None or by.kind not in ("sum", "mean"):
            return False
        between = self.graph.between(op.outputs, by.outputs[0])[:-1]
        return all(o.kind in ("neg", *SCALINGS) or is_move(o) for o in between)

    def contraction(self, op: Op, z: Fact) -> Fact | None:
        """What sums up a product with weights over an axis of both, as the one product that they are; else None."""
        made = z.map or z.summand
        if made is None or made.beside or made.summed or (made.op.kind in PRODUCTS and made.call is not op.call):
            return None
        if op.kind not in ("sum", "mean") or all(by is not op for by, _ in sums_behind(self.graph, made.op)):
            return None
        return self.weighted(op, op.outputs[0], made.behind(op, 0), note=repr(made.rule))

    def begun(self, made: Map, added: Sequence[Tensor]) -> Map:
        """``made`` as a step of a loop, where a rule for inputs is its rule and weights made ``added`` of no state."""
        return replace(made, of_first_step=True) if made.rule.input_only and self.of_no_state(added) else made

    def of_no_state(self, tensors: Sequence[Tensor]) -> bool:
        """Whether they are what weights make of zeros, as in the first step of a loop that is written out."""
        made = (op for op in self.graph.needed(tensors) if op.kind in (*PRODUCTS, "mul"))
        return any(self.graph.is_zero(t) for op in made for t in op.inputs)

    def reads_steps(self, op: Op, given: Sequence[Fact]) -> bool:
        """Whether weights multiply numbers that activations are behind by steps alone: signs, comparisons, rounding."""
        constants = self.recording.constants
        multiplies = (op.kind in PRODUCTS and self.graph.has_weights(op)) or self.contracts(op)
        return multiplies and any(f.tainted and id(f.tensor) not in constants for f in given)

    def rule(self, op: Op, first: bool) -> tuple[Rule, str]:
        """The rule for a product with weights, and what is wrong with it."""
        rule = override(self.composite, op.call)
        if rule is None:
            rule = of_kind(self.composite, op)
            rule = self.composite.first if first and self.composite.first is not None else rule
        if isinstance(rule, Pass) or (rule.input_only and not first):
            needs = "is for elementwise layers" if isinstance(rule, Pass) else "is for the first weighted layer alone"
            return Gradient(), f"rule {rule!r} {needs}; name another rule for it"
        return rule, ""

    def weighted(self, op: Op, t: Tensor, made: Map, keep: bool = True, note: str = "") -> Fact:
        live, held = _reads(made)
        problem = next((one.problem for one in (made, *made.products) if one.problem), "")
        step = Step(op, (t,), live, held, lambda b: [b.weighted(made)], note, problem, map=made)
        return Fact(t, True, root=t, map=made if keep else None, step=step)

    def activated(self, op: Op, t: Tensor, root: Tensor, made: Map | None) -> Fact | None:
        """A function of each element behind a map whose rule takes it along; None where none does."""
        if made is None or not made.rule.takes_activation or made.of_first_step or made.summed or made.is_part:
            return None
        above = op.kind == "relu6" and op.inputs[0] is root  # 0 wherever the map's output is not above 0
        made = replace(made, activation=self.graph.function(root, t), base=made, rectified=above)
        return self.weighted(op, t, made, keep=False, note="relevance passes the activation")

    def scaled(self, op: Op, t: Tensor, given: list[Fact], z: Fact) -> Fact | None:
        """A scale or shift by constants: a part of the weighted map before it, or a map of its own."""
        made, others = z.map, [f.tensor for f in given if f is not z]
        if made is not None:
            made = None if self.contracts(op) else made.spread_by(op, given.index(z))
        if any(map(self.graph.depends, others)):
            return None if made is None else self.of_each_sample(op, t, given, made, others[0])
        scaling, learned = scaling_of(self.graph, op, given, z), any(map(self.graph.is_learned, others))
        if scaling is None:
            return None
        # a literal scales, or absorbs, by itself
        literal = op.kind != "batchnorm" and number(others[0]) is not None
        literal &= op.number not in self.biases
        scales = made is not None and all(one.shift is None for one in (made, *made.products))
        if made is not None and not literal:
            shifts = scaling.factor is None
            of_its_axes = made.takes(scaling.axes) or (shifts and made.call is op.call)
            if of_its_axes and (scales or shifts):
                return self.folded(op, t, made, scaling)
        found = self.affine(op, t, given, z, scaling, learned)
        summand = self.diagonal(op, given, z) if made is None else None
        if summand is not None:
            found = found or Fact(t, True, step=plain(self.graph, op, given))
            found.summand = summand
        if made is not None and literal and scales:  # which what follows may fold into
            found = found or Fact(t, True, step=plain(self.graph, op, given))
            if scaling.factor is None:
                found.map = made if self.graph.is_zero(others[0]) else None
            elif scaling.shift is None and number(others[0]) != 0:
                found.map = made.scaled(scaling.factor)
        return found

    def diagonal(self, op: Op, given: list[Fact], z: Fact, inside: bool = False) -> Map | None:
        """A scale of ``z`` by weights, then by numbers, or shifted: the product with a diagonal matrix that it is.

        ``inside``: in a prefix.
        """
        at, made = given.index(z), z.summand
        scaling = scaling_of(self.graph, op, given, z) if made is not None and made.factor is None else None
        if made is not None and scaling is not None:
            if scaling.factor is None and scaling.shift is not None:
                return made.shifted(scaling.shift)
            alike = made.call is op.call and tuple(made.shape) == tuple(op.outputs[0].shape)
            of_its_axes = alike and made.takes(scaling.axes)
            if scaling.factor is not None and not made.varies and (_by_number(op) or of_its_axes):
                return made.scaled(scaling.factor)
        if op.kind == "mul":
            other = op.inputs[1 - at]
            if not self.graph.depends(other) and self.graph.is_learned(other):
                return self.product_map(op, at, 1 - at, first=inside or (z.front and not z.inner))
        return None

    def folded(self, op: Op, t: Tensor, made: Map, scaling: Scaling) -> Fact:
        """A scale or shift behind a weighted map, as a part of it."""
        same = leaf(op.call) is leaf(made.call)
        if scaling.factor is not None:
            made = made.scaled(scaling.factor)
        if scaling.shift is not None:
            others = [other for other in op.inputs if not self.graph.depends(other)]
            joint = made.call is op.call  # two layers whose outputs are added are two maps, at the first step, too
            made = self.begun(made.shifted(scaling.shift), others) if joint else made.shifted(scaling.shift)
        return self.weighted(op, t, made, note="" if same else "folded into the weighted layer before it")

    def behind(self, op: Op, index: int, given: list[Fact], live: list[Fact]) -> Map | None:
        """The maps that made the data, followed by ``op``, where that moves, joins or scales them; else None."""
        if joins_others(op):
            return beside(op, [f.map for f in given[op.row.data]])
        z, *more = live
        if more and not is_move(op):
            return None
        if z.map is None or op.kind not in SCALINGS:
            return None if z.map is None else z.map.moved_by(op, index)
        found = self.scaled(op, op.outputs[0], given, z)
        return None if found is None else found.map

    def of_each_sample(self, op: Op, t: Tensor, given: list[Fact], made: Map, other: Tensor) -> Fact | None:
        """A scale or shift by what is a constant to relevance, but differs by sample, such as a gate."""
        if made.shift is not None or made.beside or made.call is not op.call:
            return None
        if op.kind == "add":
            return self.weighted(op, t, self.begun(replace(made, shift=other, base=made), [other]))
        if op.kind == "mul" and self.graph.is_non_negative(other):
            return Fact(t, True, summand=replace(made, factor=other, base=made), step=plain(self.graph, op, given))
        if op.kind == "mul" and id(other) in self.recording.constants:
            problem = (
                "its reset gate can be negative, which turns contributions round behind the matrix; use "
                "reset_after=False, or a sigmoid"
            )
            return Fact(t, True, step=plain(self.graph, op, given, problem=problem))
        return None

    def times_gate(self, op: Op, fact: Fact, given: list[Fact]) -> Fact:
        """A product of two activations, and what it is in a sum where one of them is a gate that is held constant."""
        live = fact.step.live if fact.step is not None else ()
        signals = [f for f in given if len(live) == 1 and f.tensor is live[0]]
        gates = [f.tensor for f in given if f not in signals]
        made = signals[0].map if op.kind == "mul" and len(signals) == len(gates) == 1 else None
        if made is not None and tuple(made.shape) == tuple(fact.tensor.shape):
            found = self.of_each_sample(op, fact.tensor, given, made, gates[0])
            fact.summand = None if found is None else found.summand
        return fact

    def summed(self, op: Op, t: Tensor, given: list[Fact]) -> Fact | None:
        maps = [made for f in given if (made := f.map or f.summand) is not None]
        if op.row.statistic and (found := self.contraction(op, given[0])) is not None:
            return found
        if op.row.statistic:
            given, maps = given[:1], summed_up(op, maps[0]) if maps else []
        if not maps or len(maps) < len(given) or any(map(self.is_read_besides, given)):
            return None
        made = self.joint(op, maps)
        return None if made is None else self.weighted(op, t, made)

    def is_read_besides(self, term: Fact) -> bool:
        """Whether more than one operation reads a term of a sum, which then is no part of one map, as in a residual."""
        return sum(op.kind not in CONSTANT for op in self.graph.readers(term.tensor)) > 1

    def affine(self, op: Op, t: Tensor, given: list[Fact], z: Fact, scaling: Scaling, learned: bool) -> Fact | None:
        """A scale or shift along one axis of its own: the epsilon rule on it, or one to one."""
        whole = op.kind == "batchnorm"
        if len(scaling.axes) > 1 or tuple(z.tensor.shape) != tuple(t.shape):
            return None
        if not whole and (z.statistic or any(self.graph.is_zero(f.tensor) for f in given)):
            return None  # a zero, as Python's sum() begins with
        root, scaled = z.affine or (z.tensor, False)
        scaled |= whole or (learned and op.kind in ("mul", "div"))
        step: Step | None = plain(self.graph, op, given)
        if scaled and self.composite.norm == "identity" and not z.divided:
            step = passed(self.graph, op, t, Fact(t, True, root), "identity (relevance passes one to one)").step
        elif scaling.shift is not None:
            note = f"Epsilon(epsilon={SMALL:g}) on its affine map" if scaled else ""
            factor = scaling.factor or (lambda: 1.0)

            def make(made: Made) -> Sequence[Tensor]:
                x = made.tensor(z.tensor)
                (y, *_) = backend.repeat(op.raw, [backend.stop_gradient(x) if i is z.tensor else i for i in op.inputs])
                part = x * backend.stop_gradient(factor() * y / stabilise(y, SMALL))
                return [straight_through(part, y)]

            step = Step(op, (t,), (z.tensor,), (), make, note)
        return Fact(t, True, affine=(root, scaled), divided=z.divided, step=step)


def _by_number(op: Op) -> bool:
    """Whether ``op`` multiplies or divides by a number, which is not 0."""
    factors = map(number, op.inputs[1:] if op.kind == "div" else op.inputs if op.kind == "mul" else ())
    return any(value not in (None, 0) for value in factors)


@dataclass(frozen=True)
class Scaling:
    """What multiplies a tensor and what is added to it then, by what no input changes: both broadcast to it."""

    axes: tuple[int, ...]
    """The axes along which they vary."""
    factor: Make | None = None
    shift: Make | None = None


def scaling_of(graph: Graph, op: Op, given: Sequence[Fact], z: Fact) -> Scaling | None:
    """By what ``op`` scales and shifts ``z``; None where ``z`` divides, and where the batch itself scales it."""
    shape, (other, *more) = tuple(op.outputs[0].shape), [f.tensor for f in given if f is not z]
    by_channel = op.kind == "batchnorm" or (op.type == "BiasAdd" and len(other.shape) == 1)
    varying = varying_axes(graph, other)
    axes = (op.channel_axis,) if by_channel else tuple(len(shape) - len(other.shape) + i for i in sorted(varying))
    spread_over = {i for i, n in enumerate(other.shape) if n != 1} - varying
    first = tuple(slice(1 if i in spread_over else None) for i in range(len(other.shape)))

    def spread(value: Tensor) -> Tensor:
        return along(value, op.channel_axis, len(shape)) if by_channel else value

    def constant() -> Tensor:
        return spread(ops.cast(other[first] if spread_over else other, "float32"))

    if op.kind == "batchnorm":

        def statistics() -> tuple[Tensor, Tensor]:
            scale, offset, mean, variance = (ops.cast(t, "float32") for t in (other, *more[:3]))
            factor = scale / ops.sqrt(variance + op.attribute("epsilon"))
            return factor, offset - mean * factor

        if op.attribute("is_training"):
            return None
        return Scaling(axes, lambda: spread(statistics()[0]), lambda: spread(statistics()[1]))
    if op.kind == "add":
        return Scaling(axes, shift=constant)
    if op.kind == "mul":
        return Scaling(axes, constant)
    if given[0] is z:
        return Scaling(axes, shift=lambda: -constant()) if op.kind == "sub" else Scaling(axes, lambda: 1.0 / constant())
    return Scaling(axes, lambda: -1.0, constant) if op.kind == "sub" else None


def moved_summand(op: Op, index: int, live: Sequence[Fact]) -> Map | None:
    """What the one tensor in ``live`` is in a sum, behind an operation that moves or negates it; else None."""
    made = live[0].summand if len({id(f.tensor) for f in live}) == 1 else None
    return None if made is None else made.moved_by(op, index)


def _behind(made: Map | None, op: Op, index: int) -> Map | None:
    return None if made is None or made.varies else made.behind(op, index)


def of_kind(composite: Composite, op: Op) -> Rule:
    """The composite's rule for a product of the kind of ``op``."""
    return composite.conv if op.kind in CONVOLUTIONS else composite.dense


def override(composite: Composite, call: LayerCall | None) -> Rule | None:
    """The rule that is named for the layer of ``call``, or for one around it."""
    for around in call.around() if call is not None else ():
        if not around.is_model:
            rule = composite.override(around.layer, around.path)
            if rule is not None:
                return rule
    return None


def _reads(made: Map) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    held = [t for part in (made, *made.products) for t in (part.factor, part.shift) if t is not None]
    return tuple(part.x for part in made.products), tuple(held)
