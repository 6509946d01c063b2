"""Runs a model once with every layer replaced by its surrogate, and finds the logits in what it returns."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
from keras import ops

from lrp_monitor.engine import activations, backend
from lrp_monitor.engine.affine import Affine, Companion
from lrp_monitor.engine.audit import audit
from lrp_monitor.engine.backend import Tensor, stop_gradient, straight_through
from lrp_monitor.engine.composites import Composite
from lrp_monitor.engine.errors import UnsupportedModelError
from lrp_monitor.engine.layers import is_weighted, treatment_for, unknown
from lrp_monitor.engine.layers.operations import operations_of, shadow_operation
from lrp_monitor.engine.record import Recorder
from lrp_monitor.engine.rules import Gradient, Pass, Rule


@dataclass(frozen=True)
class Row:
    """One line of the table that tells how a layer of this model was treated."""

    layer: str
    kind: str
    treatment: str


@dataclass
class Trace:
    """What is known about the tensors of one call of the model while it runs under trace."""

    model: Any
    composite: Composite
    on_unknown: str
    sources: tuple[Tensor, ...]
    """The model's inputs, each times its companion mask."""
    rows: list[Row] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    first_layers: int = 0
    recorder: Recorder | None = None
    """Records what passes through each layer, where that was asked for."""
    muted: bool = False
    """Inside a layer that is taken (or refused) as a whole: its parts run as they are."""
    _companions: dict[int, Companion] = field(default_factory=dict)
    _affines: dict[int, tuple[Affine, Rule]] = field(default_factory=dict)
    _heads: dict[int, tuple[str, Tensor]] = field(default_factory=dict)
    _non_negative: set[int] = field(default_factory=set)
    _steps: dict[int, Tensor] = field(default_factory=dict)
    # An id is only good for as long as its tensor lives.
    _alive: list[Tensor] = field(default_factory=list)

    # --- what a treatment may ask and tell ---

    def companion_of(self, x: Tensor) -> Companion | None:
        """The companion mask of ``x`` where x is the model's input behind preprocessing alone."""
        known = self._companions.get(id(x))
        if known is None:
            source = self._source_behind(x)
            known = None if source is None else self._companions[id(source)]
        return known

    def _source_behind(self, x: Tensor) -> Tensor | None:
        """The input of the model that raw scaling and shifting alone made ``x`` of."""
        return next((source for source in self.sources if backend.elementwise_from(x, source)), None)

    def depends_on_input(self, x: Tensor) -> bool:
        """Whether ``x`` was computed from any input of the model."""
        return any(backend.depends_on(x, source) for source in self.sources)

    def is_known(self, x: Tensor) -> bool:
        """Whether something is recorded of this very tensor, which another of the same value would not have."""
        by_id = (self._affines, self._heads, self._steps)
        return any(id(x) in known for known in by_id) or self.companion_of(x) is not None

    def attach(self, x: Tensor) -> Tensor:
        """``x`` itself, or, where raw scaling and shifting lies between the input and x, x with the mask behind it."""
        source = None if id(x) in self._companions else self._source_behind(x)
        if source is None:
            return x
        start = self._companions[id(source)]
        attached = stop_gradient(x) * start.mask
        raw = x

        def bounds(value: Tensor) -> Tensor:
            return backend.replay_elementwise(raw, source, start.bounds(value))

        self.set_companion(attached, Companion(start.mask, bounds))
        return attached

    def set_companion(self, x: Tensor, companion: Companion) -> None:
        """Record that ``x`` is the model's input behind preprocessing alone."""
        self._companions[id(x)] = companion
        self._alive.append(x)

    def is_non_negative(self, x: Tensor) -> bool:
        """Whether no value of ``x`` can be below zero, as far as the graph tells."""
        return backend.known_non_negative(x, self._non_negative)

    def note_row(self, layer: Any, treatment: str) -> None:
        """Add ``layer`` to the table of treatments."""
        self.rows.append(Row(getattr(layer, "path", None) or layer.name, type(layer).__name__, treatment))

    def refuse(self, layer: Any, why: str) -> None:
        """Record that ``layer`` cannot be treated, or, with on_unknown="gradient", that the gradient passes there."""
        problem = f"layer {path_of(layer)!r} ({type(layer).__name__}): {why}"
        if self.on_unknown == "gradient":
            self.notes.append(f"plain gradient at {problem}")
            self.note_row(layer, "plain gradient (no rule)")
        else:
            self.problems.append(problem)

    @contextlib.contextmanager
    def as_a_whole(self) -> Iterator[None]:
        """Run a layer without treating the layers inside it."""
        before, self.muted = self.muted, True
        try:
            yield
        finally:
            self.muted = before

    def apply(self, affine: Affine, rule: Rule) -> Tensor:
        """The output of a weighted map: its own value, with the gradient of the rule's surrogate."""
        if self.recorder is not None:
            affine = self.recorder.tapped(affine)
        surrogate = rule.surrogate(affine)
        output = straight_through(surrogate, affine.value)
        self._affines[id(output)] = (affine, rule)
        if self.recorder is not None:
            self.recorder.made(affine, output)
        self._alive.append(output)
        return output

    def affine_of(self, z: Tensor) -> tuple[Affine, Rule] | None:
        """The weighted map and the rule that made ``z``, None where none did."""
        return self._affines.get(id(z))

    def activate(self, layer: Any, z: Tensor, activation: Any) -> Tensor:
        """The activation of ``z``, through which relevance passes."""
        name = activations.name_of(activation)
        if name == "linear":
            return z
        if name in ("softmax", "log_softmax"):
            # At the output the explanation starts at the logits; elsewhere the softmax keeps its own gradient
            # (AttnLRP, Achtibat et al. 2024, the rule for the softmax).
            y = activation(z)
            self._remember_head("softmax", z, y)
            return y
        if name is None or not activations.is_elementwise(name):
            shown = getattr(activation, "__name__", repr(activation))
            self.refuse(layer, f"its activation {shown!r} is not one that is known to map each element by itself")
            return activation(z)
        if name == "relu":
            made = self._affines.get(id(z))
            y = activation(z if made is None else self.apply(made[0].rectify(), made[1]))
        else:
            y = activations.pass_through(z, activation)
        if name == "sigmoid":
            self._remember_head("sigmoid", z, y)
        if name in activations.NON_NEGATIVE:
            self._non_negative.add(id(y))
            self._alive.append(y)
        return y

    def _remember_head(self, kind: str, z: Tensor, y: Tensor) -> None:
        self._heads[id(y)] = (kind, z)
        self._alive.append(y)

    def remember_steps(self, output: Tensor, y: Tensor, parted: Callable[[Tensor], Tensor]) -> None:
        """Record that ``output`` is ``parted(y)``, where the samples of y are all time steps of all samples."""
        self._steps[id(output)] = y
        self._alive.append(output)
        if id(y) in self._heads:
            kind, z = self._heads[id(y)]
            self._remember_head(kind, parted(z), output)

    def steps_of(self, x: Tensor) -> Tensor | None:
        """``x`` with all time steps as samples, where a layer applied to every step made it."""
        return self._steps.get(id(x))

    def head_of(self, y: Tensor) -> tuple[str | None, Tensor]:
        """The softmax or sigmoid behind which ``y`` lies and its logits; (None, y) where there is none."""
        return self._heads.get(id(y)) or backend.output_activation(y) or (None, y)


def path_of(layer: Any) -> str:
    """The layer's path inside its model, or its name where it has no path yet."""
    return getattr(layer, "path", None) or layer.name


def _leaves(model: Any) -> Iterator[Any]:
    """Every layer that computes by itself; containers are run as they are, and their parts are met inside."""
    for layer in model._flatten_layers():
        if layer is not model and not isinstance(layer, keras.Model):
            yield layer


def _shadow(trace: Trace, layer: Any) -> Callable[..., Any] | None:
    rule = trace.composite.override(layer)
    treatment = treatment_for(layer)
    if (isinstance(rule, Pass | Gradient) and not (treatment is not None and is_weighted(treatment))) or (
        treatment is None and rule is not None
    ):
        treatment = unknown
    original, recorder = layer.call, trace.recorder
    if treatment is None:
        return (
            None
            if recorder is None
            else lambda *args, **kwargs: (
                original(*args, **kwargs) if trace.muted else recorder.run(trace, layer, args, kwargs, original)
            )
        )
    chosen = treatment

    def treat(*args: Any, **kwargs: Any) -> Any:
        return chosen(trace, layer, original, args, kwargs)

    def call(*args: Any, **kwargs: Any) -> Any:
        if trace.muted:
            return original(*args, **kwargs)
        with backend.treated():
            return treat(*args, **kwargs) if recorder is None else recorder.run(trace, layer, args, kwargs, treat)

    return call


@contextlib.contextmanager
def _shadowed(trace: Trace) -> Iterator[None]:
    """Shadow ``call`` of every treated layer and the dtype policy of every layer; leave no sign afterwards."""
    policy = keras.DTypePolicy("float32")
    restore: list[tuple[dict[str, Any], str, Any]] = []
    missing = object()

    def put(target: Any, name: str, value: Any) -> None:
        restore.append((target.__dict__, name, target.__dict__.get(name, missing)))
        target.__dict__[name] = value

    try:
        for layer in trace.model._flatten_layers():
            if getattr(layer, "quantization_mode", None) is not None:
                trace.refuse(layer, "it is quantised, which no rule covers")
            put(layer, "_losses", list(layer.__dict__.get("_losses", ())))
            put(layer, "_loss_ids", set(layer.__dict__.get("_loss_ids", ())))
            if layer.compute_dtype in ("float16", "bfloat16", "float64"):
                put(layer, "_dtype_policy", policy)
        for layer in _leaves(trace.model):
            call = _shadow(trace, layer)
            if call is not None:
                put(layer, "call", call)
        for node in operations_of(trace.model):
            call = shadow_operation(trace, node)
            if call is not None:
                put(node, "call", call)
        yield
    finally:
        for namespace, name, before in reversed(restore):
            if before is missing:
                namespace.pop(name, None)
            else:
                namespace[name] = before


@dataclass(frozen=True)
class Traced:
    """The tensors of one traced call."""

    logits: Tensor
    output: Tensor
    activation: str | None
    masks: tuple[Tensor, ...]
    """The companion mask of each input: relevance is the gradient for it."""
    trace: Trace


def _check_overrides(model: Any, composite: Composite) -> None:
    layers = list(_leaves(model))
    names = {layer.name for layer in layers} | {path_of(layer) for layer in layers}
    for key in composite.overrides:
        if isinstance(key, str) and key not in names:
            raise ValueError(f"overrides: model {model.name!r} has no layer {key!r}; its layers: {sorted(names)}")


def run(
    model: Any,
    inputs: Sequence[Tensor],
    composite: Composite,
    on_unknown: str,
    call: Callable[[Any, list[Tensor]], Tensor],
    recorder: Recorder | None = None,
) -> Traced:
    """Call ``model`` on its inputs times their companion masks, with surrogates in place of layers.

    ``call(model, inputs)`` gives the explained output. Raises UnsupportedModelError with everything in the model
    that has no treatment. A ``recorder`` is told of every tensor at which relevance can be read off.
    """
    masks = tuple(ops.ones_like(x) for x in inputs)
    trace = Trace(model, composite, on_unknown, tuple(x * mask for x, mask in zip(inputs, masks, strict=True)))
    trace.recorder = recorder
    for source, mask in zip(trace.sources, masks, strict=True):
        trace.set_companion(source, Companion(mask, _for_one_sample(mask)))
    _check_overrides(model, composite)
    with _shadowed(trace):
        output = call(model, list(trace.sources))
    activation, logits = trace.head_of(output)
    problems = audit(backend.raw_operations((*trace.sources, *masks), logits))
    if on_unknown == "gradient":
        trace.notes += [f"plain gradient at {problem}" for problem in problems]
    else:
        trace.problems += problems
    if trace.problems:
        raise UnsupportedModelError(model.name, trace.problems)
    if composite.first is not None and trace.first_layers == 0:
        message = (
            f"model {model.name!r}: composite {composite.name!r} has a rule for the first weighted layer, but no "
            "weighted layer takes the input itself or the input behind preprocessing; pass a composite with first=None"
        )
        if on_unknown != "gradient":
            raise ValueError(message)
        trace.notes.append(message)
    trace.notes = list(dict.fromkeys(trace.notes))
    for note in trace.notes:
        warnings.warn(note, RuntimeWarning, stacklevel=2)
    return Traced(logits, output, activation, masks, trace)


def _for_one_sample(mask: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda value: ops.broadcast_to(value, (1, *mask.shape[1:]))
