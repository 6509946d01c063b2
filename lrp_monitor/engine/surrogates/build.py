"""Makes the recorded operations anew, each by its step: values are the model's own, gradients are the rules'."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from typing import Any

import numpy as np
from keras import ops
from numpy.typing import ArrayLike

from lrp_monitor.engine import backend
from lrp_monitor.engine.backend import Tensor, stop_gradient
from lrp_monitor.engine.gradients import deferred, kept
from lrp_monitor.engine.rules.affine import Affine, Companion
from lrp_monitor.engine.rules.rules import Rule
from lrp_monitor.engine.steps.assign import Assigner
from lrp_monitor.engine.steps.joined import joined
from lrp_monitor.engine.steps.maps import Map
from lrp_monitor.engine.steps.masks import glue
from lrp_monitor.engine.steps.step import Step
from lrp_monitor.engine.steps.weights import of_kind
from lrp_monitor.engine.trace.graph import Graph, Op
from lrp_monitor.engine.trace.recording import LayerCall

# Beside functions of each element, what makes one sample of one sample: bounds of the input go through as one.
_BY_SAMPLE = ("avgpool", "each", "maxpool", "mirrorpad", "pad", "resize")

# Into so many parts an interval is cut, to find the bounds of a function in it, and so often then the part around each.
_SAMPLES, _HALVINGS = 32, 8

Gates = Mapping[int, Sequence[Callable[[Tensor], Tensor]]]
"""Id of a recorded tensor -> what the tensors that carry its relevance go through."""


@dataclass
class Plan:
    """Which recorded tensors are made anew to explain some of them, and how."""

    assigner: Assigner
    steps: dict[int, Step]
    """Tensor's id -> the step that makes it: what relevance passes."""
    values: set[int]
    """Ids of tensors of which the value alone is wanted."""
    ops: list[Op]
    """The operations of all these tensors, in order of making."""
    made_of: list[Step]
    """The steps of maps that others of these steps took up: by folding, and for a ReLU that follows."""

    @classmethod
    def to(cls, assigner: Assigner, explained: Sequence[Tensor], output: Tensor) -> Plan:
        """The plan that makes ``explained`` with their relevance, and the value of ``output``."""
        graph = assigner.graph
        steps: dict[int, Step] = {}
        wanted: list[Tensor] = [output]
        stack = list(explained)
        while stack:
            t = stack.pop()
            step = assigner.fact(t).step
            if id(t) in steps or step is None:
                continue
            steps[id(t)] = step
            stack += step.live
            wanted += step.held
            if step.mask is not None:  # their values once, and not beside the recorded ones: time and memory alone
                wanted += (t, *(i for i in step.op.inputs if graph.depends(i)))
        sources = {id(source) for source in graph.sources}
        made = {known for known, step in steps.items() if step.mask is None}
        values, ids = set[int](), {id(t) for t in wanted}
        numbers = {step.op.number for step in steps.values()}
        for op in reversed(graph.ops):
            found = {id(t) for t in op.outputs if graph.depends(t)} & ids - made - sources
            if found:
                values |= found
                numbers.add(op.number)
                ids.update(id(t) for t in op.inputs)
        maps = {id(one) for step in steps.values() if step.map is not None for one in step.map.all()}
        taken = [step for step in assigner.steps() if id(step.map) in maps]
        return cls(assigner, steps, values, [graph.ops[number] for number in sorted(numbers)], taken)

    def reaches_input(self) -> bool:
        """Whether relevance meets a first weighted map, or a lookup of the input's numbers."""
        maps = (part for step in self.steps.values() if step.map is not None for part in step.map.products)
        looked_up = (step.op.kind == "gather" and step.mask is not None for step in self.steps.values())
        return any(self.assigner.fact(part.x).front for part in maps) or any(looked_up)

    def all_steps(self) -> list[Step]:
        """Every step that relevance takes, by itself or in another, in order."""
        steps = {id(step): step for step in (*self.made_of, *self.steps.values())}
        return sorted(steps.values(), key=lambda step: step.op.number)

    @property
    def weighted(self) -> list[tuple[Tensor, Map]]:
        """The weighted maps through which relevance passes, with the recorded tensors that they make."""
        return [(step.outputs[0], step.map) for step in self.steps.values() if step.map is not None]


@dataclass
class Builder:
    """The tensors that stand for recorded ones."""

    plan: Plan
    masks: Sequence[Tensor]
    """The companion mask of each of the model's inputs."""
    taps: Taps | None = None
    """Reads relevance off between the layers, where that was asked for."""
    gates: Gates = field(default_factory=dict)
    """Where only a part of the relevance passes."""
    _tensors: dict[int, Tensor] = field(default_factory=dict)
    _values: dict[int, Tensor] = field(default_factory=dict)
    _masks: dict[int, Tensor] = field(default_factory=dict)
    _corners: dict[tuple[int, bytes, bytes], list[Tensor]] = field(default_factory=dict)
    _once: dict[Hashable, Any] = field(default_factory=dict)
    _step: Step | None = None
    """The step that is being taken."""

    def run(self) -> None:
        """Make everything that the plan names."""
        for source, mask in zip(self.plan.assigner.graph.sources, self.masks, strict=True):
            self._values[id(source)], self._masks[id(source)] = source, self._gated(source, mask)
            self._tensors[id(source)] = source * self._masks[id(source)]
        for op in self.plan.ops:
            if any(id(t) in self.plan.values for t in op.outputs):
                made = backend.repeat(op.raw, [self.value(t) for t in op.inputs])
                self._values.update((id(old), stop_gradient(new)) for old, new in zip(op.outputs, made, strict=True))
            for index, t in enumerate(op.outputs):
                step = self.plan.steps.get(id(t))
                if step is None:
                    continue
                self._step = step
                if step.mask is not None:
                    self._masks[id(t)] = self._gated(t, backend.identity(step.mask(self)))
                else:
                    found = step.make(self)
                    self._tensors[id(t)] = self._gated(t, found[index] if len(found) == len(op.outputs) else found[0])

    def _gated(self, recorded: Tensor, made: Tensor) -> Tensor:
        for gate in self.gates.get(id(recorded), ()):
            made = gate(made)
        return made

    def tensor(self, recorded: Tensor) -> Tensor:
        """What carries relevance in place of ``recorded``, as the step reads it that is being taken."""
        return self._tapped(recorded, self.carrying(recorded), "tensor")

    def carrying(self, recorded: Tensor) -> Tensor:
        """What carries relevance in place of ``recorded``."""
        known = self._tensors.get(id(recorded))
        if known is not None:
            return known
        step = self.plan.steps.get(id(recorded))
        if step is None:
            return self.value(recorded)
        if not backend.is_float_tensor(recorded):
            made = self.value(recorded)
        elif step.glued:
            made = glue(self.value(recorded), self._masks[id(recorded)])
        else:
            reading, self._step = self._step, step
            outputs = step.make(self)
            self._step = reading
            made = self._gated(recorded, outputs[[id(t) for t in step.op.outputs].index(id(recorded))])
        self._tensors[id(recorded)] = made
        return made

    def value(self, recorded: Tensor) -> Tensor:
        """The value of ``recorded``, through which no relevance passes."""
        known = self._values.get(id(recorded))
        if known is None:
            made = self._tensors.get(id(recorded))
            known = recorded if made is None else stop_gradient(made)
            self._values[id(recorded)] = known
        return known

    def carrier(self, recorded: Tensor) -> list[Tensor]:
        """The tensors made anew that carry the relevance of ``recorded``: itself, or the mask beside it."""
        step = self.plan.steps.get(id(recorded))
        mask, made = self._masks.get(id(recorded)), self._tensors.get(id(recorded))
        glued = mask is not None and (step is None or step.glued)
        beside = [t for (known, *_), pair in self._corners.items() if known == id(recorded) for t in pair]
        return [t for t in (mask, None if glued else made, *beside) if t is not None]

    def bounds(self, recorded: Tensor, low: ArrayLike, high: ArrayLike) -> tuple[Tensor, Tensor]:
        """The bounds of what preprocessing makes of an input between ``low`` and ``high``."""
        low, high = (np.asarray(bound, np.float32) for bound in (low, high))
        graph = self.plan.assigner.graph
        read = graph.sources_of(recorded)
        sources = [source for source in graph.sources if id(source) in read]
        ways = graph.between(graph.sources, recorded)
        alone = all(op.kind in _BY_SAMPLE or op.row.form is not None for op in ways)
        n = 1 if len(sources) == 1 and alone else sources[0].shape[0]
        known = {
            id(source): tuple(ops.broadcast_to(bound, (n, *source.shape[1:])) for bound in (low, high))
            for source in sources
        }

        def of(t: Tensor) -> tuple[Tensor, Tensor]:
            if id(t) not in known:
                known[id(t)] = made(t) if graph.depends(t) else (t, t)
            return known[id(t)]  # type: ignore[return-value]

        def made(t: Tensor) -> tuple[Tensor, Tensor]:
            op, step = graph.op_of(t), self.plan.steps.get(id(t))
            if step is not None and not step.bounds:
                where = op.call if op.call is not None else op
                raise ValueError(
                    f"{where} stands in front of the first weighted layer: the bounds of the input do not tell those "
                    "of its results, so zB has no box; use Flat() or WSquare() there"
                )
            return self._box(t, of)

        return self.once((id(recorded), "bounds", low.tobytes(), high.tobytes()), lambda: of(recorded))  # type: ignore[no-any-return]

    def _box(self, t: Tensor, of: Callable[[Tensor], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """The bounds of ``t``, by those ``of`` what it was made of."""
        graph, fact = self.plan.assigner.graph, self.plan.assigner.fact(t)
        op = graph.op_of(t)
        if t.dtype.is_floating and fact.root is not None and fact.root is not t:
            return _bounds_of_function(graph.function(fact.root, t), *of(fact.root), straight=not fact.bent)
        if op.kind == "select" and graph.depends(op.inputs[0]):  # either of both, as the sample has it
            lows, highs = zip(*map(of, op.inputs[1:]), strict=True)
            return ops.minimum(*lows), ops.maximum(*highs)
        index = next(i for i, x in enumerate(op.outputs) if x is t)
        given = [of(x)[:: -1 if op.kind == "sub" and i else 1] for i, x in enumerate(op.inputs)]
        one, two = (backend.repeat(op.raw, inputs)[index] for inputs in zip(*given, strict=True))
        # A negative scale turns the box round.
        return (ops.minimum(one, two), ops.maximum(one, two)) if t.dtype.is_floating else (one, two)

    def corners(self, recorded: Tensor, low: ArrayLike, high: ArrayLike) -> tuple[Tensor, Tensor]:
        """The bounds of every sample, which carry relevance, as the step reads them that is being taken."""
        low, high = (np.asarray(bound, np.float32) for bound in (low, high))
        step, fact = self.plan.steps.get(id(recorded)), self.plan.assigner.fact(recorded)
        op = self.plan.assigner.graph.op_of(recorded)
        linear = not fact.bent and op.row.form in (None, "linear") and op.row.mask != "winner" and op.kind != "topk"
        if step is None or step.glued or not linear:  # all relevance goes to the mask
            mask = self._tapped(recorded, self._masks[id(recorded)], "mask")
            one, two = (bound * mask for bound in self.bounds(recorded, low, high))
            return one, two
        key = id(recorded), low.tobytes(), high.tobytes()
        if key not in self._corners:
            reading, self._step = self._step, step

            def of(t: Tensor) -> tuple[Tensor, Tensor]:
                return self.corners(t, low, high) if id(t) in self._masks else (self.value(t),) * 2

            made = self._box(recorded, of)
            self._step = reading
            self._corners[key] = [self._gated(recorded, corner) for corner in made]
        one, two = (self._tapped(recorded, corner, "corner") for corner in self._corners[key])
        return one, two

    def once(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What ``make()`` gave when it was asked for first."""
        if key not in self._once:
            self._once[key] = make()
        return self._once[key]

    def companion(self, recorded: Tensor) -> Companion:
        """The companion mask of ``recorded``."""
        mask = self._tapped(recorded, self._masks[id(recorded)], "mask")
        return Companion(mask, partial(self.bounds, recorded), partial(self.corners, recorded))

    def _tapped(self, recorded: Tensor, tensor: Tensor, what: str) -> Tensor:
        step = self._step
        if self.taps is None or step is None:
            return tensor
        call = step.op.call if step.map is None else step.map.call
        return self.taps.read(self.plan.assigner.graph, call, recorded, tensor, what)

    def weighted(self, made: Map) -> Tensor:
        """The output of a weighted map, behind its ReLU where it is rectified; the rule's surrogate is its gradient."""
        assigner, parts = self.plan.assigner, made.products
        if made.beside:
            step, outputs = self._step, []
            assert step is not None
            for part in made.beside:
                self._step = replace(step, map=part)
                outputs.append(self.weighted(part))
            self._step = step
            if made.moved_together:
                return sum(outputs[1:], start=outputs[0])
            op = made.moved[0][0]
            (y,) = backend.repeat(op.raw, [*outputs, *op.inputs[len(outputs) :]])
            return y
        first = all(part.rule.input_only for part in parts) and not made.of_first_step
        within = [part.rule.input_only and not first for part in parts]
        if len(parts) == 1 and not within[0]:
            return self._applied(self._affine(made), made.rule)
        rule = of_kind(assigner.composite, made.op) if made.rule.input_only and not first else made.rule
        xs: list[Tensor] = []
        for part, inside in zip(parts, within, strict=True):
            # First the part that came from x as a whole, then, by the rule for inputs, within x.
            xs.append(self._applied(self._affine(part.bare()), part.rule) if inside else self.tensor(part.x))
        companions = [self.companion(part.x) for part in parts] if first else []
        affine = joined(made, xs, self.value, within, companions)
        affine.non_negative_input = not any(within) and all(assigner.graph.is_non_negative(part.x) for part in parts)
        return self._applied(affine, rule)

    def _affine(self, made: Map) -> Affine:
        assigner = self.plan.assigner
        outermost = id(made.x) in self._masks and not assigner.fact(made.x).inner
        companion = self.companion(made.x) if outermost else None
        non_negative = assigner.graph.is_non_negative(made.x)
        return made.affine(self.tensor(made.x), self.value, companion=companion, non_negative=non_negative)

    def _applied(self, affine: Affine, rule: Rule) -> Tensor:
        companion = affine.companion
        sources = [affine.x] if companion is None else [affine.x, companion.mask]
        if companion is not None and rule.box:
            sources += companion.corners(*rule.box)

        def surrogate(shapes: Sequence[Tensor], copies: Sequence[Tensor], value: Tensor) -> Tensor:
            return rule.surrogate(affine.reversed(copies[0], copies[1:], value, shape_of_x=shapes[0]))

        known, shown = affine.known(), affine.activation
        if shown is not None and not rule.needs_value:
            # All that the rule wants is what the activation makes of z: no need to keep z as well.
            known, shown = kept(shown(affine.value)), None
            affine.activation = None
        # Where all is shared out in proportion to the output, nothing passes where that is 0.
        rectified = affine.rectified and not rule.takes_activation
        return deferred(known, sources, surrogate, rectified=rectified, shown=shown)


def _bounds_of_function(
    function: Callable[[Tensor], Tensor], low: Tensor, high: Tensor, *, straight: bool
) -> tuple[Tensor, Tensor]:
    """The bounds of a function of each element between ``low`` and ``high``; one that is not monotonic is sampled."""
    parts = (0.0, 1.0) if straight else [i / _SAMPLES for i in range(_SAMPLES + 1)]
    at = [low + (high - low) * part for part in parts]
    if not straight:
        at.append(ops.minimum(ops.maximum(low, 0.0), high))
    known = [(x, function(x)) for x in at]

    def outermost(better: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        def of_both(one: tuple[Tensor, Tensor], two: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            second = better(two[1], one[1])
            return ops.where(second, two[0], one[0]), ops.where(second, two[1], one[1])

        best = reduce(of_both, known)
        for halving in range(0 if straight else _HALVINGS):
            step = (high - low) / (_SAMPLES * 2.0 ** (halving + 1))
            beside = ops.maximum(best[0] - step, low), ops.minimum(best[0] + step, high)
            best = reduce(of_both, [(x, function(x)) for x in beside], best)
        return best[1]

    return outermost(ops.less), outermost(ops.greater)


@dataclass
class Taps:
    """Tensors through which one call of a layer alone reads what was made outside of it."""

    inputs: dict[int, list[Tensor]] = field(default_factory=dict)
    """Id of a call -> its taps."""
    _known: dict[tuple[int, int, str], Tensor] = field(default_factory=dict)

    def read(self, graph: Graph, call: LayerCall | None, recorded: Tensor, tensor: Tensor, what: str) -> Tensor:
        """``tensor`` as ``call`` reads it, and every call around it that did not make it."""
        number = graph.op_of(recorded).number
        around = [c for c in (call.around() if call is not None else ()) if not c.is_model and number < c.start]
        for outer in reversed(around):
            key = (id(outer), id(tensor), what)
            if key not in self._known:
                self._known[key] = backend.identity(tensor)
                self.inputs.setdefault(id(outer), []).append(self._known[key])
            tensor = self._known[key]
        return tensor
