"""Where the relevance of a layer's output is carried, and along which axis its channels lie."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from lrp_monitor.engine import backend
from lrp_monitor.engine.backend import Tensor
from lrp_monitor.engine.steps.moves import moved
from lrp_monitor.engine.surrogates.build import Plan
from lrp_monitor.engine.surrogates.table import shown
from lrp_monitor.engine.trace.graph import Op
from lrp_monitor.engine.trace.recording import LayerCall

_ATTENTION = (keras.layers.MultiHeadAttention, keras.layers.GroupQueryAttention)


@dataclass(frozen=True)
class LayerOutput:
    """What a call of a layer gave."""

    path: str
    """The layer's path inside the model; of later calls in one pass with their number, ``#2``."""
    kind: str
    shape: tuple[int, ...]
    """Of one sample."""
    channels: int | None
    """How many channels it has; None for an output without an axis of them."""


@dataclass(frozen=True)
class LayerOutputs:
    """The outputs of layers in a recorded call of a model, and which tensors, made anew, carry their relevance."""

    plan: Plan
    head: Tensor
    """The recorded logits."""
    explained: frozenset[int]
    """Ids of the recorded tensors that stand for the logits: what was made of them at the output."""

    def calls(self) -> list[tuple[LayerCall, list[Tensor]]]:
        """The calls of layers with outputs of real numbers, and these outputs, in the order in which they finished."""
        calls = [call for call in self.plan.assigner.recording.calls if shown(call) is call]
        calls.sort(key=lambda call: call.stop)
        found = [(call, [t for t in call.outputs if backend.is_float_tensor(t)]) for call in calls]
        return [(call, outputs) for call, outputs in found if outputs]

    def described(self) -> list[LayerOutput]:
        """The calls of layers as their first outputs are, in the order in which they finished."""
        found, n = [], self.head.shape[0]
        for call, outputs in self.calls():
            axis = self.channel_axis(call, outputs[0]) if outputs[0].shape[0] == n else None
            shape = tuple(outputs[0].shape)
            found.append(LayerOutput(call.name, call.kind, shape[1:], None if axis is None else int(shape[axis])))
        return found

    def call_of(self, name: str, model: str, argument: str) -> LayerCall:
        """The call of a layer with channels that ``name`` means: its path, or the end of one alone.

        Raises:
            ValueError: of ``argument``, for the name of no layer or of several, and for a layer without channels.
        """
        calls = {call.name: (call, outputs[0]) for call, outputs in self.calls()}
        found = named(name, list(calls), model, argument)
        if len(found) != 1:
            raise ValueError(
                f"{argument}: model {model!r} runs several layers {name!r}: {found}; its layers: {list(calls)}"
            )
        call, output = calls[found[0]]
        if output.shape[0] != self.head.shape[0] or self.channel_axis(call, output) is None:
            raise ValueError(
                f"{argument}: the output of {call} has shape {tuple(output.shape)}, which has no axis of channels "
                "behind that of samples; name another layer"
            )
        return call

    def by_channel(self, call: LayerCall, argument: str) -> tuple[int, list[tuple[Tensor, int]]]:
        """How many channels the outputs of a call have, and these with their axes of them.

        Raises:
            ValueError: of ``argument``, where they differ in that.
        """
        outputs = [t for t in call.outputs if backend.is_float_tensor(t)]
        axes = [self.channel_axis(call, t) for t in outputs]
        found = [(t, axis) for t, axis in zip(outputs, axes, strict=True) if axis is not None]
        widths = {t.shape[axis] for t, axis in found}
        if len(widths) > 1 or len(found) < len(outputs) or any(t.shape[0] != self.head.shape[0] for t in outputs):
            raise ValueError(f"{argument}: {call} has outputs of several widths, channels of which differ")
        return int(widths.pop()), found

    def carriers(self, output: Tensor) -> list[Carrier]:
        """The recorded tensors at which relevance is that of ``output``, together.

        Something folded into a map, or a ReLU known to follow it, makes the map anew: then that output carries
        relevance.
        """
        if id(output) in self.explained:
            return [Carrier(self.head, ())]
        found, own = [Carrier(output, ())], self.plan.assigner.fact(output).map
        if own is not None:
            for t, later in self.plan.weighted:
                if later is not own and later.made_of(own):
                    found += [Carrier(t, way) for way in later.ways_from(own)]
        return found

    def channel_axis(self, call: LayerCall, output: Tensor) -> int | None:
        """The axis of the channels (units, heads) of an output; None for one number a sample."""
        rank = len(output.shape)
        if rank < 2:
            return None
        outer = call.outer
        if rank == 4 and outer is not None and isinstance(outer.layer, _ATTENTION):
            return 1 if isinstance(call.layer, keras.layers.Softmax) else 2
        axis = getattr(call.layer, "axis", None)
        if isinstance(call.layer, keras.layers.BatchNormalization) and isinstance(axis, int):
            return axis % rank
        layout = getattr(call.layer, "data_format", None) or self._layout(output)
        return 1 if layout == "channels_first" and rank > 2 else rank - 1

    def _layout(self, output: Tensor) -> str | None:
        """The layout of the tensor that ``output`` was made of one to one, where a convolution or a pooling made it."""
        graph, t = self.plan.assigner.graph, output
        while graph.depends(t) and id(t) not in {id(source) for source in graph.sources}:
            op = graph.op_of(t)
            maker = getattr(op.call.layer, "data_format", None) if op.call is not None else None
            if maker is not None:
                return str(maker)
            t = next((i for i in op.data if i.shape == t.shape and i.dtype == t.dtype), op.inputs[0])
            if t.shape != output.shape:
                return None
        return None


def paths_of(name: str, paths: Collection[str]) -> list[str]:
    """The paths of layers that ``name`` means: itself, or those that end in it."""
    return [name] if name in paths else [path for path in paths if path.endswith(f"/{name}")]


def named(name: str, paths: Sequence[str], model: str, argument: str) -> list[str]:
    """What `paths_of` gives; raises ValueError, of ``argument``, where there are none."""
    found = paths_of(name, paths)
    if not found:
        short = {path.rsplit("/", 1)[-1]: path for path in paths}
        near = difflib.get_close_matches(name, paths, 5, 0.4)
        near = near or [short[one] for one in difflib.get_close_matches(name, short, 5, 0.4)]
        rest = f"near it: {near}; " if near else ""
        raise ValueError(f"{argument}: model {model!r} runs no layer {name!r}; {rest}its layers: {list(paths)}")
    return found


@dataclass(frozen=True)
class Carrier:
    """A recorded tensor that carries the relevance of a layer's output, or a part of it."""

    tensor: Tensor
    moves: tuple[tuple[Op, int], ...]
    """What moved that output on the way to it."""

    def arranged(self, values: Tensor) -> Tensor:
        """Values in the output's shape as they lie in this tensor."""
        return ops.reshape(moved(values, self.moves), self.tensor.shape)

    def back(self, relevance: Tensor, like: Tensor) -> Tensor:
        """Relevance at this tensor as it lies in the output, ``like`` a tensor of its shape; 0 where it has no part."""
        if not self.moves:
            return ops.reshape(relevance, like.shape)
        place = backend.identity(ops.zeros_like(like))
        (found,) = backend.gradients(ops.sum(self.arranged(place) * relevance), [place])
        return ops.zeros_like(like) if found is None else found


def spread(weights: Tensor, axis: int, shape: Sequence[int]) -> Tensor:
    """Weights (n, channels) over a tensor of ``shape`` with its channels along ``axis``."""
    sizes: list[Any] = [1] * len(shape)
    sizes[0], sizes[axis] = shape[0], shape[axis]
    return ops.broadcast_to(ops.reshape(weights, sizes), shape)
