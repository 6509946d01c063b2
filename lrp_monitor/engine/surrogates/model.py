"""A model called once, with every operation made anew so that its gradient carries relevance."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from lrp_monitor.engine import backend
from lrp_monitor.engine.backend import Tensor
from lrp_monitor.engine.errors import UnsupportedModelError
from lrp_monitor.engine.gradients import has_gradient
from lrp_monitor.engine.rules.composites import AUTO, Composite
from lrp_monitor.engine.rules.rules import Gradient, Pass
from lrp_monitor.engine.steps.assign import NUMBERS, Assigner
from lrp_monitor.engine.steps.choosing import Choice, choose
from lrp_monitor.engine.steps.front import prefix_of
from lrp_monitor.engine.steps.gates import sigmoid_by_hand
from lrp_monitor.engine.steps.weights import STEPS, override
from lrp_monitor.engine.surrogates.build import Builder, Gates, Plan, Taps
from lrp_monitor.engine.surrogates.carriers import LayerOutputs
from lrp_monitor.engine.surrogates.table import Row, rows_of
from lrp_monitor.engine.trace.graph import Op
from lrp_monitor.engine.trace.recording import Recording, layer_paths, record
from lrp_monitor.keras_internals import layers_of


@dataclass(frozen=True)
class Traced:
    """The tensors of one traced call."""

    logits: Tensor
    output: Tensor
    activation: str | None
    masks: tuple[Tensor, ...]
    """The companion mask of each input: relevance is the gradient for it."""
    rows: list[Row]
    notes: tuple[str, ...]
    layer_outputs: LayerOutputs
    builder: Builder
    choice: Choice | None
    """What was chosen where the composite is `AUTO`."""


def _check_overrides(model: Any, composite: Composite, paths: Mapping[int, str]) -> None:
    """Raises ValueError where a key of the composite's overrides names none of the model's layers."""
    layers = [layer for layer in layers_of(model) if not isinstance(layer, keras.Model)]
    names = {name for layer in layers for name in (layer.name, getattr(layer, "path", None))} | set(paths.values())
    for key in composite.overrides:
        if isinstance(key, str) and key not in names:
            known = sorted(paths[id(layer)] for layer in layers)
            raise ValueError(f"overrides: model {model.name!r} has no layer {key!r}; its layers: {known}")


def run(
    model: Any,
    inputs: Sequence[Tensor],
    composite: Composite,
    on_unknown: str,
    call: Callable[[Any, list[Tensor]], Tensor],
    taps: Taps | None = None,
    gates: Callable[[LayerOutputs], Gates] | None = None,
) -> Traced:
    """Call ``model`` on its inputs and make what it computed anew, with the rules' gradients.

    ``call(model, inputs)`` gives the explained output. Raises UnsupportedModelError with everything in the model
    that has no rule. ``taps`` are put between the layers; ``gates`` says what relevance goes through, and where.
    """
    paths = layer_paths(model)
    recording = record(model, [backend.identity(x) for x in inputs], call, paths)
    choice = choose(recording) if composite is AUTO else None
    composite = composite if choice is None else choice.composite
    _check_overrides(model, composite, paths)
    assigner, head, activation, moves = _assigned(recording, composite, prefix_of(recording, composite, model.name))
    plan = Plan.to(assigner, [head], recording.output)
    notes = _checked(model, on_unknown, plan)
    masks = tuple(ops.ones_like(x) for x in inputs)
    explained = frozenset(id(t) for t in (recording.output, head, *(t for op in moves for t in op.outputs)))
    layer_outputs = LayerOutputs(plan, head, explained)
    builder = Builder(plan, masks, taps, {} if gates is None else gates(layer_outputs))
    builder.run()
    logits = builder.carrying(head)
    for op in reversed(moves):
        if op.kind in ("identity", "cast", "each"):
            continue
        logits = backend.repeat(op.raw, [logits, *(builder.value(t) for t in op.inputs[1:])])[0]
    for note in notes:
        warnings.warn(note, RuntimeWarning, stacklevel=2)
    output = builder.value(recording.output)
    return Traced(logits, output, activation, masks, rows_of(plan), notes, layer_outputs, builder, choice)


def _assigned(
    recording: Recording, composite: Composite, prefix: frozenset[int]
) -> tuple[Assigner, Tensor, str | None, list[Op]]:
    """Every operation with its step, and what `_head` tells.

    Which numbers are a part of a function, and which are biases, is known when every operation has a step: where there
    are biases, the steps are assigned anew.
    """
    biases: frozenset[int] = frozenset()
    known: frozenset[int] | None = None
    while known != biases:
        known = biases
        assigner = Assigner(recording, composite, prefix, known)
        assigner.run()
        activation, head, moves = _head(assigner, recording.output)
        biases = known | assigner.join_formulas(head)
    return assigner, head, activation, moves


def _head(assigner: Assigner, output: Tensor) -> tuple[str | None, Tensor, list[Op]]:
    """The softmax or sigmoid behind which ``output`` lies, its logits, and what moved the output since."""
    graph, t = assigner.graph, output
    moves: list[Op] = []
    while graph.depends(t):
        op = graph.op_of(t)
        if op.kind in ("softmax", "logsoftmax", "sigmoid"):
            return op.kind.removeprefix("log"), op.inputs[0], moves
        step = assigner.fact(t).step
        if step is not None and step.note.startswith("softmax:"):
            return "softmax", step.live[0], moves
        by_hand = sigmoid_by_hand(graph, op)
        if by_hand is not None:
            return "sigmoid", by_hand, moves
        if op.kind not in ("identity", "cast", "each", "reshape"):
            break
        moves.append(op)
        t = op.inputs[op.outputs.index(t)] if op.kind == "each" else op.inputs[0]
    return None, output, []


def _checked(model: Any, on_unknown: str, plan: Plan) -> tuple[str, ...]:
    """What is to be noted; raises UnsupportedModelError where relevance cannot pass."""
    recording, composite = plan.assigner.recording, plan.assigner.composite
    problems = list(recording.problems)
    if recording.refused:  # what lies behind them is looked at, too, so that everything is listed at once
        before = [t for made in recording.refused for t in made.inputs]
        plan = Plan.to(plan.assigner, [*before, recording.output], recording.output)
    steps = sorted({id(step): step for step in plan.steps.values()}.values(), key=lambda step: step.op.number)
    graph, refused = recording.graph, {n for made in recording.refused for n in range(made.start, made.stop)}
    for step in steps:
        inside = step.op.number in refused or (
            step.problem.startswith((NUMBERS, STEPS))  # it follows from the refusal
            and any(op.number in refused for op in graph.needed(step.op.inputs))
        )
        if step.problem and not inside:
            call = step.op.call if step.map is None else step.map.call
            where = "" if call is None or call.is_model else f"{call}: "
            whole = where and step.problem.startswith("rule ")
            problem = f"{step.problem}{step.way_out()}"
            problems.append(f"{where}{problem}" if whole else f"{where}{step.op}: {problem}")
    problems += _without_weights(plan.assigner)
    problems = list(dict.fromkeys(problems))
    differentiable = not problems or _has_gradient(plan)
    if problems and not (on_unknown == "gradient" and differentiable):
        raise UnsupportedModelError(model.name, problems, differentiable)
    notes = [f"plain gradient at {problem}" for problem in problems]
    notes += dict.fromkeys(f"layer {made.path!r} {note}" for made in recording.calls for note in made.notes)
    for step in steps if composite.attention == "cp_lrp" else ():
        if step.note.startswith("softmax:"):
            notes.append(
                f"{step.op}: composite {composite.name!r} holds attention weights constant, but this softmax is the "
                "signal itself, and relevance passes it by its own gradient, which does not conserve"
            )
    if composite.first is not None and not plan.reaches_input():
        notes.append(
            f"model {model.name!r}: no weighted layer takes the input itself or what preprocessing, movement or "
            f"pooling made of it, so that {composite.first!r}, the rule of composite {composite.name!r} for the first "
            "weighted layer, is applied nowhere: every layer takes the rule of its kind"
        )
    return tuple(notes)


def _has_gradient(plan: Plan) -> bool:
    """Whether a differentiable path leads from an input, or from what its numbers look up, to the output."""
    recording, steps = plan.assigner.recording, plan.steps.values()
    looked_up = [step.outputs[0] for step in steps if step.mask is not None and step.op.kind in ("gather", "onehot")]
    starts = [*recording.graph.sources, *looked_up]
    if not looked_up and not {id(t) for step in steps for t in step.live} & {id(t) for t in starts}:
        return False  # signs and comparisons have a gradient, which is 0
    if any(op.kind in ("loop", "call") for op in recording.graph.ops):  # asking for their gradient would change them
        return True
    return has_gradient([recording.output], starts)


def _without_weights(assigner: Assigner) -> list[str]:
    """What is wrong where a rule that shares out by weights is named for a layer that has none.

    One that is named for a class of Keras' own layers is for those of them that have weights.
    """
    composite, recording = assigner.composite, assigner.recording
    if not composite.overrides:
        return []
    weighted = [made.call for step in assigner.steps() if step.map is not None for made in step.map.products]
    others = (step for step in assigner.steps() if step.map is None)  # of complex numbers
    weighted += [step.op.call for step in others if step.note == repr(override(composite, step.op.call))]
    applied = {id(around) for call in weighted if call is not None for around in call.around()}
    found = []
    for call in recording.calls:
        rule = composite.override(call.layer, call.path) if not call.is_model else None
        own = "keras" not in type(call.layer).__module__.split(".")[:1]
        named = own or {call.path, call.layer.name} & {key for key in composite.overrides if isinstance(key, str)}
        if rule is None or isinstance(rule, Pass | Gradient) or not named or id(call) in applied:
            continue
        alike = all(assigner.one_source(t, call) is not None for t in call.outputs)
        found.append(
            f"{call}: rule {rule!r} shares out by weights, which this layer does not have or does not show; "
            f"name {'Pass() or ' if alike else ''}Gradient() for it"
        )
    return found
