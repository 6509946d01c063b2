"""Relevance through chosen channels: conditions, the gates that they put into a pass, and relevance by channel."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from keras import ops
from numpy.typing import NDArray

from lrp_monitor.engine import backend
from lrp_monitor.engine.backend import Tensor
from lrp_monitor.engine.inspection import Relevances, by_channel
from lrp_monitor.engine.surrogates.carriers import LayerOutput, LayerOutputs, spread
from lrp_monitor.engine.trace.recording import LayerCall
from lrp_monitor.mapped import let_go
from lrp_monitor.plain import Result, plain

if TYPE_CHECKING:
    from lrp_monitor.engine.surrogates.model import Traced

Selection = int | Sequence[int] | NDArray[Any]
"""A channel, several channels, or weights over all channels of a layer; ``()`` lets nothing through."""
Condition = Mapping[str, Selection]
"""Names or paths of layers -> what of the relevance at their outputs passes."""


@dataclass(frozen=True)
class LayerChannels(Result):
    """Relevance at a layer's output by channel, one row per sample."""

    layer: str
    """The layer's path inside the model."""
    relevance: NDArray[np.float64]
    """(n, channels) summed over all other places."""
    fired: NDArray[np.bool_]
    """(n, channels) whether any value of the channel was not 0, behind the ReLU where one follows the layer."""

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain data; what is not finite is None."""
        return {"layer": self.layer, "relevance": plain(self.relevance), "fired": plain(self.fired)}


@dataclass
class ChannelLayer:
    """A layer whose channels are asked for, and what the trace found of it."""

    name: str
    """As it was asked for."""
    path: str = ""
    channels: int = 0

    def weights(self, chosen: Selection | None) -> NDArray[np.float32]:
        """(channels,) what passes of each; all of each where none is chosen. Raises ValueError or TypeError."""
        if chosen is None:
            return np.ones(self.channels, np.float32)
        given = np.asarray(chosen)
        what = f"conditions: layer {self.name!r}"
        if given.size == 0:
            return np.zeros(self.channels, np.float32)
        if given.dtype.kind in "fb":
            if given.shape != (self.channels,):
                raise ValueError(
                    f"{what} has {self.channels} channels, so that weights need shape ({self.channels},), "
                    f"got {given.shape}"
                )
            if not np.isfinite(given).all():
                raise ValueError(f"{what}: weights hold NaN or infinity")
            return given.astype(np.float32)
        if given.dtype.kind not in "iu" or given.ndim > 1:
            raise TypeError(
                f"{what}: expected a channel, several channels or one weight a channel (numbers with a point, or "
                f"booleans), got {chosen!r}"
            )
        given = given.reshape(-1)
        wrong = given[(given < 0) | (given >= self.channels)]
        if wrong.size:
            raise ValueError(f"{what} has no channel {int(wrong[0])}; it has {self.channels}: 0 to {self.channels - 1}")
        result = np.zeros(self.channels, np.float32)
        result[given] = 1.0
        return result


@dataclass(frozen=True)
class Conditions:
    """Conditions as they were given, checked as far as that goes without the model."""

    listed: tuple[Condition, ...]
    alone: bool
    """Whether it was one, and not a list."""

    @classmethod
    def of(cls, given: Any) -> Conditions:
        """TypeError or ValueError for anything but a mapping from names to selections, or a list of them."""
        alone = isinstance(given, Mapping)
        listed = [given] if alone else given
        if not isinstance(listed, list | tuple) or not all(isinstance(one, Mapping) for one in listed):
            raise TypeError(
                'conditions: expected a mapping from layers to channels, such as {"conv_3": 7}, or a list of them, got '
                f"{given!r}"
            )
        if not listed or not any(listed):
            raise ValueError('conditions: none is given; name layers and channels, such as {"conv_3": 7}')
        for name in (name for one in listed for name in one):
            if not isinstance(name, str):
                raise TypeError(f"conditions: layers are named by texts, got {name!r}")
        return cls(tuple(listed), alone)

    @property
    def names(self) -> tuple[str, ...]:
        """The layers that are named in any."""
        return tuple(sorted({name for one in self.listed for name in one}))

    def weights(self, layers: Sequence[ChannelLayer], n: int) -> list[Any]:
        """(conditions * n, channels) for each layer. Raises what ``ChannelLayer.weights`` raises."""
        which = np.repeat(np.arange(len(self.listed)), n)
        return [Rows(np.stack([layer.weights(one.get(layer.name)) for one in self.listed]), which) for layer in layers]


def find(
    layer_outputs: LayerOutputs, names: Sequence[str], n: int, model: str, argument: str
) -> list[tuple[LayerCall, int]]:
    """The call of a layer that each name means, and its axis of channels.

    Raises:
        ValueError: for a name that is no layer's or several layers', and for a layer without channels of samples.
    """
    calls = {call.name: (call, outputs) for call, outputs in layer_outputs.calls()}
    found = []
    for name in names:
        paths = [name] if name in calls else [path for path in calls if path.endswith("/" + name)]
        if len(paths) != 1:
            near = paths or difflib.get_close_matches(name, calls, 5, 0.4)
            short = {path.rsplit("/", 1)[-1]: path for path in calls}
            near = near or [short[one] for one in difflib.get_close_matches(name, short, 5, 0.4)]
            why = f"runs several layers {name!r}" if paths else f"runs no layer {name!r}"
            rest = f"; near it: {near}" if near and not paths else f": {near}" if paths else ""
            raise ValueError(f"{argument}: model {model!r} {why}{rest}; its layers: {list(calls)}")
        call, outputs = calls[paths[0]]
        axis = None if outputs[0].shape[0] != n else layer_outputs.channel_axis(call, outputs[0])
        if axis is None:
            raise ValueError(
                f"{argument}: the output of {call} has shape {tuple(outputs[0].shape)}, which has no axis of channels "
                "behind that of samples; name another layer"
            )
        found.append((call, axis))
    return found


@dataclass
class ChannelGates:
    """Puts the gates of named layers into a pass, whose weights are among its arguments."""

    layers: Sequence[ChannelLayer]
    model: str
    weights: Sequence[Tensor] = field(default=())
    """(n, channels) for each layer, tensors of the trace that is being made."""

    def __call__(self, layer_outputs: LayerOutputs) -> dict[int, list[Callable[[Tensor], Tensor]]]:
        """The gates, by the ids of the recorded tensors behind which they stand."""
        gates: dict[int, list[Callable[[Tensor], Tensor]]] = {}
        names, n = [layer.name for layer in self.layers], self.weights[0].shape[0]
        found = find(layer_outputs, names, n, self.model, "conditions")
        paths = [call.name for call, _ in found]
        if len(set(paths)) != len(paths):
            raise ValueError(f"conditions: {names} name one layer twice, by its name and its path: {paths}")
        for layer, weights, (call, axis) in zip(self.layers, self.weights, found, strict=True):
            outputs = [t for t in call.outputs if backend.is_float_tensor(t)]
            layer.path, layer.channels = call.name, int(outputs[0].shape[axis])
            for t in outputs:
                own = layer_outputs.channel_axis(call, t)
                if own is None or t.shape[0] != n or t.shape[own] != layer.channels:
                    raise ValueError(f"conditions: {call} has outputs of several widths, channels of which differ")
                full = spread(weights, own, tuple(t.shape))
                for carrier in layer_outputs.carriers(t):
                    gates.setdefault(id(carrier.tensor), []).append(partial(_gate, carrier.arranged(full)))
        return gates


def _gate(weights: Tensor, made: Tensor) -> Tensor:
    """``made``, of whose relevance ``weights`` pass on."""
    return backend.straight_through(made * ops.cast(ops.reshape(weights, made.shape), made.dtype), made)


class Rows:
    """Rows of an array, some of them often, of which slices alone are made: (m, ...)."""

    def __init__(self, array: NDArray[Any], which: NDArray[np.int64]) -> None:
        self._array, self._which = array, which

    def __len__(self) -> int:
        return len(self._which)

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        chosen: NDArray[Any] = self._array[self._which[rows]]
        let_go(self._array)
        return chosen


LayerChoice = Sequence[str] | Callable[[Sequence[LayerOutput]], Sequence[str]]
"""Names or paths of layers, or a function that gives them for what there is."""


def read_channels(found: Traced, layers: LayerChoice, model: str, value: Tensor) -> tuple[list[str], dict[str, Tensor]]:
    """The paths of the layers that ``layers`` names, and tensors "<number> channels" and "<number> fired" for each."""
    n, layer_outputs = value.shape[0], found.layer_outputs
    names = layers(layer_outputs.described()) if callable(layers) else layers
    calls = find(layer_outputs, names, n, model, "layers")
    outputs = [next(t for t in call.outputs if backend.is_float_tensor(t)) for call, _ in calls]
    at, tensors = Relevances(found, value, outputs), {}
    for number, (output, (_, axis)) in enumerate(zip(outputs, calls, strict=True)):
        tensors[f"{number} channels"] = by_channel(at.output(output), axis)
        tensors[f"{number} fired"] = at.fired(output, axis)
    return [call.name for call, _ in calls], tensors


def gathered(names: Sequence[str], found: Mapping[str, NDArray[Any]]) -> list[LayerChannels]:
    """What the tensors of :func:`read_channels` turned out to be; NaN where the explained logit is not finite."""
    made, broken = [], ~np.isfinite(found["logit"])
    for number, name in enumerate(names):
        relevance = found[f"{number} channels"]
        relevance[broken] = np.nan
        made.append(LayerChannels(name, relevance, found[f"{number} fired"]))
    return made
