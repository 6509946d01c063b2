"""Runs a model once with every layer replaced by its surrogate, and finds the logits in what it returns."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from lrp_monitor.engine import backend
from lrp_monitor.engine.affine import Companion
from lrp_monitor.engine.audit import audit
from lrp_monitor.engine.backend import Tensor
from lrp_monitor.engine.composites import Composite
from lrp_monitor.engine.errors import UnsupportedModelError
from lrp_monitor.engine.layers import is_weighted, treatment_for, unknown
from lrp_monitor.engine.layers import prefix as prefix_layers
from lrp_monitor.engine.prefix import hand_on
from lrp_monitor.engine.raw import RawOperations
from lrp_monitor.engine.reach import calls_until
from lrp_monitor.engine.record import Recorder, layer_paths
from lrp_monitor.engine.rules import Gradient, Pass
from lrp_monitor.engine.shadows import keep_losses, shadows
from lrp_monitor.engine.trace import Trace


def _leaves(model: Any) -> Iterator[Any]:
    """Every layer that computes by itself; containers are run as they are, and their parts are met inside."""
    for layer in model._flatten_layers():
        if layer is not model and not isinstance(layer, keras.Model):
            yield layer


def _shadow(trace: Trace, raw: RawOperations, layer: Any) -> Callable[..., Any]:
    rule = trace.composite.override(layer)
    treatment = treatment_for(layer)
    if (isinstance(rule, Pass | Gradient) and not (treatment is not None and is_weighted(treatment))) or (
        treatment is None and rule is not None
    ):
        treatment = unknown
    original, recorder, chosen = layer.call, trace.recorder, treatment

    def treat(*args: Any, **kwargs: Any) -> Any:
        if trace.in_prefix:
            output = prefix_layers.treat(trace, layer, chosen, original, args, kwargs)
            return _sealed(trace, output) if trace.composite.ends_prefix(layer) else output
        if chosen is None:  # raw operations inside are its own
            return raw.fix(raw.settle(original(*raw.fix(args), **raw.fix(kwargs))))
        return raw.settle(chosen(trace, layer, original, args, kwargs))  # an activation may be any function

    def call(*args: Any, **kwargs: Any) -> Any:
        with trace.calling(layer):
            if trace.muted:
                return original(*args, **kwargs)
            if not trace.in_prefix:  # there the mask is handed on from operation to operation
                args, kwargs = raw.settle((args, kwargs))
            with contextlib.nullcontext() if chosen is None else backend.treated():
                return treat(*args, **kwargs) if recorder is None else recorder.run(trace, layer, args, kwargs, treat)

    return call


def _sealing(trace: Trace, container: Any) -> Callable[..., Any]:
    """A model inside the model that ends the prefix: what it returns is a tensor like any other."""
    original = container.call

    def call(*args: Any, **kwargs: Any) -> Any:
        with trace.calling(container):
            output = original(*args, **kwargs)
            return _sealed(trace, output) if trace.in_prefix else output

    return call


def _sealed(trace: Trace, output: Any) -> Any:
    """The output of the prefix, also where raw operations made it, with its relevance going to its mask."""

    def seal(value: Any) -> Any:
        if not backend.is_float_tensor(value) or trace.mask_at(value) is not None:
            return value
        companion = trace.companion_of(value)
        if companion is None:
            return value
        with backend.treated():
            return hand_on(trace, value, companion.mask)

    return keras.tree.map_structure(seal, output)


@contextlib.contextmanager
def _shadowed(trace: Trace, raw: RawOperations) -> Iterator[None]:
    """Shadow ``call`` of every treated layer and the dtype policy of every layer; leave no sign afterwards."""
    policy = keras.DTypePolicy("float32")
    with shadows() as put:
        for layer in trace.model._flatten_layers():
            if getattr(layer, "quantization_mode", None) is not None:
                trace.refuse(layer, "it is quantised, which no rule covers")
            keep_losses(put, layer)
            if layer.compute_dtype in ("float16", "bfloat16", "float64"):
                put(layer, "_dtype_policy", policy)
        for layer in _leaves(trace.model):
            put(layer, "call", _shadow(trace, raw, layer))
        if trace.prefix:
            for part in trace.model._flatten_layers():
                if part is not trace.model and isinstance(part, keras.Model) and trace.composite.ends_prefix(part):
                    put(part, "call", _sealing(trace, part))
        yield


@dataclass(frozen=True)
class Traced:
    """The tensors of one traced call."""

    logits: Tensor
    output: Tensor
    activation: str | None
    masks: tuple[Tensor, ...]
    """The companion mask of each input: relevance is the gradient for it."""
    trace: Trace


def _within(model: Any, composite: Composite, paths: Mapping[int, str]) -> Composite:
    """``composite`` for this model. Raises ValueError where a key of its overrides names none of its layers."""
    inside = {paths[id(layer)]: layer for layer in model._flatten_layers(include_self=False)}
    layers = list(_leaves(model))
    names = {name for layer in layers for name in (layer.name, getattr(layer, "path", None))}
    for key in composite.overrides:
        if isinstance(key, str) and key not in names and key not in inside:
            known = sorted(paths[id(layer)] for layer in layers)
            raise ValueError(f"overrides: model {model.name!r} has no layer {key!r}; its layers: {known}")
    return composite.within(inside)


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
    paths = layer_paths(model)
    composite = _within(model, composite, paths)
    masks = tuple(ops.ones_like(x) for x in inputs)
    trace = Trace(model, composite, on_unknown, tuple(x * mask for x, mask in zip(inputs, masks, strict=True)), paths)
    trace.recorder = recorder
    for source, mask in zip(trace.sources, masks, strict=True):
        trace.set_companion(source, Companion(mask, _for_one_sample(mask)))
    if composite.until is not None:
        signature = [(tuple(x.shape), "float32") for x in inputs]
        trace.prefix = calls_until(model, signature, composite, call)
    raw = RawOperations(trace)
    with _shadowed(trace, raw):
        output = raw.settle(call(model, list(trace.sources)))
    activation, logits = trace.head_of(output)
    problems = audit([raw.original(op) for op in backend.raw_operations((*trace.sources, *masks), logits)])
    if on_unknown == "gradient":
        trace.notes += [f"plain gradient at {problem}" for problem in problems]
    else:
        trace.problems += problems
    if trace.problems:
        raise UnsupportedModelError(model.name, trace.problems)
    if composite.first is not None and trace.first_layers == 0:
        trace.notes.append(
            f"model {model.name!r}: no weighted layer takes the input itself or what preprocessing, movement or "
            f"pooling made of it, so that {composite.first!r}, the rule of composite {composite.name!r} for the first "
            "weighted layer, is applied nowhere: every layer takes the rule of its kind"
        )
    trace.notes = list(dict.fromkeys(trace.notes))
    for note in trace.notes:
        warnings.warn(note, RuntimeWarning, stacklevel=2)
    return Traced(logits, output, activation, masks, trace)


def _for_one_sample(mask: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda value: ops.broadcast_to(value, (1, *mask.shape[1:]))
