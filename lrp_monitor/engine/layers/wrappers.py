"""Layers around sequences: Bidirectional, TimeDistributed, Masking."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from keras import layers as kl
from keras import ops

from lrp_monitor.engine.affine import Companion
from lrp_monitor.engine.backend import Tensor, stop_gradient, straight_through, untreated
from lrp_monitor.engine.layers.common import Original, Treatment
from lrp_monitor.engine.layers.recurrent import known, recurrent
from lrp_monitor.engine.rules import Gradient

if TYPE_CHECKING:
    from lrp_monitor.engine.trace import Trace


def _merged(mode: str | None, y: Tensor, y_back: Tensor) -> Any:
    if mode == "concat":
        return ops.concatenate([y, y_back], axis=-1)
    if mode == "mul":
        # Neither factor is a gate of the other: half of the relevance to each (Achtibat et al. 2024, the uniform rule).
        return straight_through(0.5 * (y * stop_gradient(y_back) + stop_gradient(y) * y_back), y * y_back)
    if mode is None:
        return y, y_back
    return y + y_back if mode == "sum" else (y + y_back) / 2.0


def bidirectional(trace: Trace, layer: Any, original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Two recurrent layers, one each way. Merged by ``mul``, the two share the relevance in halves."""
    pair = (layer.forward_layer, layer.backward_layer)
    named = isinstance(trace.composite.override(layer), Gradient)
    if named or not all(known(part) for part in pair):
        if named:
            trace.note_row(layer, "plain gradient (named)")
        else:
            kinds = sorted({type(part).__name__ for part in pair})
            trace.refuse(layer, f"the layers inside it ({', '.join(kinds)}) are not recurrent layers of Keras")
        with trace.as_a_whole():
            return original(*args, **kwargs)
    given = inspect.signature(original).bind(*args, **kwargs).arguments
    states = given.get("initial_state")
    half = 0 if states is None else len(states) // 2
    trace.note_row(layer, f"both ways, merged by {layer.merge_mode!r}")
    found = []
    for part, own in zip(pair, (slice(None, half), slice(half, None)), strict=True):
        arguments: dict[str, Any] = {name: given[name] for name in ("mask", "training") if name in given}
        if states is not None:
            arguments["initial_state"] = list(states[own])
        call = type(part).call.__get__(part)  # its own: ``part.call`` is shadowed
        found.append(recurrent(trace, part, call, (given["sequences"],), arguments, outer=(layer,)))
    after: tuple[Any, ...] = ()
    if layer.return_state:
        after = (*found[0][1:], *found[1][1:])
        found = [one[0] for one in found]
    y, y_back = found
    if layer.return_sequences:
        y_back = ops.flip(y_back, axis=1)
    output = _merged(layer.merge_mode, y, y_back)
    if not layer.return_state:
        return output
    return (*output, *after) if layer.merge_mode is None else (output, *after)


def time_distributed(
    trace: Trace, layer: Any, original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """The layer (or model) inside sees all time steps as samples of their own, in one call."""
    given = inspect.signature(original).bind(*args, **kwargs).arguments
    outside, inside = given["inputs"], layer.layer
    named = isinstance(trace.composite.override(layer), Gradient)
    if named or outside.shape[1] is None:
        if named:
            trace.note_row(layer, "plain gradient (named)")
        else:
            trace.refuse(layer, "its number of time steps is not known when the model is traced; give Input its length")
        with trace.as_a_whole():
            return original(*args, **kwargs)
    steps = outside.shape[1]

    def joined(value: Tensor) -> Tensor:
        return ops.reshape(value, (-1, *value.shape[2:]))

    def parted(value: Tensor) -> Tensor:
        return ops.reshape(value, (-1, steps, *value.shape[1:]))

    outside = trace.attach(outside)
    x = trace.steps_of(outside)  # of a layer applied to every step before this one: a fold needs that very tensor
    if x is None:
        x = joined(outside)
        companion = trace.companion_of(outside)
        if companion is not None:
            trace.set_companion(x, _joined(companion, joined))
    arguments: dict[str, Any] = {}
    if given.get("mask") is not None and inside._call_has_mask_arg:
        arguments["mask"] = joined(given["mask"])
    if inside._call_has_training_arg:
        arguments["training"] = given.get("training")
    trace.note_row(layer, f"applies {inside.name!r} to every step")
    with untreated():
        y = inside.call(x, **arguments)
    output = trace.part_steps(y, steps)
    companion = trace.companion_of(y)
    if companion is not None:
        after = companion
        trace.set_companion(output, Companion(parted(after.mask), lambda value: parted(after.bounds(value))[:1]))
    return output


def _joined(companion: Companion, joined: Callable[[Tensor], Tensor]) -> Companion:
    mask = companion.mask

    def bounds(value: Tensor) -> Tensor:
        bound = companion.bounds(value)
        return joined(ops.broadcast_to(bound, (mask.shape[0], *bound.shape[1:])))

    return Companion(joined(mask), bounds)


def masking(trace: Trace, layer: Any, original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """Selects steps: what it puts zeros in for takes no relevance."""
    x = trace.attach(args[0])
    output = original(x, *args[1:], **kwargs)
    trace.note_row(layer, "passes as it is")
    companion = trace.companion_of(x)
    if companion is not None:
        here = ops.expand_dims(stop_gradient(layer.compute_mask(x)), -1)
        trace.set_companion(output, Companion(ops.where(here, companion.mask, 0.0), companion.bounds))
    return output


TREATMENTS: dict[type, Treatment] = {
    kl.Bidirectional: bidirectional, kl.TimeDistributed: time_distributed, kl.Masking: masking,
}  # fmt: skip
# What finds its rule itself, in the layers inside.
WEIGHTED: frozenset[Treatment] = frozenset({bidirectional, time_distributed})
