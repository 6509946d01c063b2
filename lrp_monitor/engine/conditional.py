"""Relevance through chosen channels: conditions, the gates that they put into a pass, and relevance by channel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from keras import ops
from numpy.typing import NDArray

from lrp_monitor.engine.backend import Tensor
from lrp_monitor.engine.gradients import straight_through
from lrp_monitor.engine.inspection import LayerRelevance
from lrp_monitor.engine.question import Picked
from lrp_monitor.engine.surrogates.build import Gates
from lrp_monitor.engine.surrogates.carriers import LayerOutput, LayerOutputs, spread
from lrp_monitor.engine.trace.recording import LayerCall
from lrp_monitor.plain import Result, plain

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

    @classmethod
    def of(cls, layer: LayerRelevance) -> LayerChannels:
        """What was read off at a layer that has channels."""
        assert layer.channels is not None
        assert layer.fired is not None
        return cls(layer.name, layer.channels, layer.fired)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain data; what is not finite is None."""
        return {"layer": self.layer, "relevance": plain(self.relevance), "fired": plain(self.fired)}


def selected(layer: str, count: int, chosen: Selection | None) -> NDArray[np.float32]:
    """(count,) what passes of each channel of a layer; all of each where none is chosen.

    Raises ValueError or TypeError, which names the layer.
    """
    if chosen is None:
        return np.ones(count, np.float32)
    given, what = np.asarray(chosen), f"conditions: layer {layer!r}"
    if given.size == 0:
        return np.zeros(count, np.float32)
    if given.dtype.kind in "fb":
        if given.shape != (count,):
            raise ValueError(f"{what} has {count} channels, so that weights need shape ({count},), got {given.shape}")
        if not np.isfinite(given).all():
            raise ValueError(f"{what}: weights hold NaN or infinity")
        return given.astype(np.float32)
    if given.dtype.kind not in "iu" or given.ndim > 1:
        raise TypeError(
            f"{what}: expected a channel, several channels or one weight a channel (numbers with a point, or "
            f"booleans), got {chosen!r}"
        )
    wrong = given[(given < 0) | (given >= count)]
    if wrong.size:
        raise ValueError(f"{what} has no channel {int(wrong[0])}; it has {count}: 0 to {count - 1}")
    result = np.zeros(count, np.float32)
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

    def weights(self, counts: Sequence[int], n: int) -> list[Any]:
        """(conditions * n, channels) for each layer, of so many channels. Raises what `selected` raises."""
        which = np.repeat(np.arange(len(self.listed)), n)
        return [
            Picked(np.stack([selected(name, count, one.get(name)) for one in self.listed]), which)
            for name, count in zip(self.names, counts, strict=True)
        ]

    def calls(self, outputs: LayerOutputs, model: str) -> list[LayerCall]:
        """The calls of the layers. Raises ValueError for a name that is no layer's, and for two names of one layer."""
        calls = [outputs.call_of(name, model, "conditions") for name in self.names]
        if len(set(calls)) != len(calls):
            paths = [call.name for call in calls]
            raise ValueError(f"conditions: {list(self.names)} name one layer twice, by its name and its path: {paths}")
        return calls


def gates_of(outputs: LayerOutputs, calls: Sequence[LayerCall], weights: Sequence[Tensor]) -> Gates:
    """What ``weights``, (n, channels) for each call of a layer, let through: gates behind recorded tensors."""
    gates: dict[int, list[Callable[[Tensor], Tensor]]] = {}
    for call, of_channels in zip(calls, weights, strict=True):
        for t, axis in outputs.by_channel(call, "conditions")[1]:
            full = spread(of_channels, axis, tuple(t.shape))
            for carrier in outputs.carriers(t):
                passed = carrier.arranged(full)
                if carrier.moves:  # what lies beside it passes
                    passed += 1.0 - carrier.arranged(ops.ones_like(full))
                gates.setdefault(id(carrier.tensor), []).append(partial(_gate, passed))
    return gates


def _gate(weights: Tensor, made: Tensor) -> Tensor:
    """``made``, of whose relevance ``weights`` pass on."""
    return straight_through(made * ops.cast(ops.reshape(weights, made.shape), made.dtype), made)


LayerChoice = Sequence[str] | Callable[[Sequence[LayerOutput]], Sequence[str]]
"""Names or paths of layers, or a function that gives them for what there is."""
