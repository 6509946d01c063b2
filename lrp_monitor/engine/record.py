"""What passes through each layer while a model runs under trace: the tensors at which relevance is read off.

Relevance at a tensor is the tensor times its gradient, so all of it comes out of the one reverse pass. Two things
stand between a layer's output and the tensor that carries its relevance: a normalisation folded into the layer,
or a ReLU known to follow it, make its map anew, and then the new output carries relevance and the old one none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import keras

from lrp_monitor.engine import backend
from lrp_monitor.engine.affine import Affine, Companion
from lrp_monitor.engine.backend import Tensor

if TYPE_CHECKING:
    from lrp_monitor.engine.trace import Trace


def short_path(path: str, model: Any) -> str:
    """A path inside ``model``, without the model's own name, which Keras puts before some."""
    return path.removeprefix(f"{model.name}/")


def layer_paths(model: Any) -> dict[int, str]:
    """The path of every layer inside ``model`` by its id: the names of what it lies in, then its own: ``base/conv``.

    Each has one of its own, which Keras' paths are not: those lack the model in which a layer lies where the layer was
    built before it. A layer that lies in several models has the path with the fewest of them. Where two layers of one
    name lie side by side, the second is numbered as Keras numbers names, ``relu_1``.
    """
    found: dict[int, str] = {}
    taken: set[str] = set()
    level = [("", model)]
    while level:
        below = []
        for prefix, container in level:
            for layer in container._flatten_layers(include_self=False, recursive=False):
                if id(layer) in found or layer is model:
                    continue
                path = free = f"{prefix}{layer.name}"
                number = 0
                while free in taken:
                    number += 1
                    free = f"{path}_{number}"
                taken.add(free)
                found[id(layer)] = free
                below.append((f"{free}/", layer))
        level = below
    return found


@dataclass
class Passage:
    """One call of one layer."""

    name: str
    """The layer's path inside the model; its second and later calls in one pass are numbered ``#2``, ``#3``."""
    kind: str
    channel_axis: int | None
    """The axis of channels where the layer is a convolution, else None."""
    treatment: str = ""
    outputs: list[Tensor] = field(default_factory=list)
    inputs: list[tuple[Tensor, ...]] = field(default_factory=list)
    """What the layer alone reads: a tensor, or a tensor with the companion mask that stands beside it."""


@dataclass
class Recorder:
    """Collects passages in the order in which layers finish."""

    passages: list[Passage] = field(default_factory=list)
    _stack: list[tuple[Passage, bool]] = field(default_factory=list)
    _made: list[tuple[Affine, Tensor]] = field(default_factory=list)
    _count: dict[str, int] = field(default_factory=dict)

    def run(
        self, trace: Trace, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any], call: Callable[..., Any]
    ) -> Any:
        """Call a layer through ``call(*args, **kwargs)`` and record what went in and came out."""
        path = trace.path_of(layer)
        number = self._count[path] = self._count.get(path, 0) + 1
        is_conv = isinstance(layer, keras.layers.Layer) and "Conv" in type(layer).__name__
        first = getattr(layer, "data_format", None) == "channels_first"
        passage = Passage(
            name=path if number == 1 else f"{path}#{number}", kind=type(layer).__name__,
            channel_axis=(1 if first else -1) if is_conv else None,
        )  # fmt: skip
        rows = len(trace.rows)
        taps: dict[int, Tensor] = {}

        def tap(value: Any) -> Any:
            if not (backend.is_float_tensor(value) and trace.depends_on_input(value)):
                return value
            if id(value) not in taps:
                taps[id(value)] = backend.identity(value)
            return taps[id(value)]

        # What the engine knows a tensor by must reach the treatment as it is: its map is tapped instead.
        tensors = [value for value in keras.tree.flatten((args, kwargs)) if backend.is_float_tensor(value)]
        known = any(trace.is_known(value) for value in tensors)
        if not known:
            args, kwargs = keras.tree.map_structure(tap, (args, kwargs))
            passage.inputs = [(value,) for value in taps.values()]
        self._stack.append((passage, known))
        try:
            output = call(*args, **kwargs)
        finally:
            self._stack.pop()
        passage.outputs = [value for value in keras.tree.flatten(output) if backend.is_float_tensor(value)]
        passage.treatment = trace.rows[rows].treatment if len(trace.rows) > rows else "its operations one by one"
        self.passages.append(passage)
        return output

    def tapped(self, affine: Affine) -> Affine:
        """The same map reading its input through a tensor of its own, where it is the first of its layer."""
        if affine.base is not None or not self._stack:
            return affine
        passage, known = self._stack[-1]
        if not known or passage.inputs:
            return affine
        x, companion = backend.identity(affine.x), affine.companion
        if companion is not None:
            companion = Companion(backend.identity(companion.mask), companion.bounds)
        passage.inputs = [(x,) if companion is None else (x, companion.mask)]
        return replace(affine, x=x, companion=companion, _cache={})

    def made(self, affine: Affine, output: Tensor) -> None:
        """Record that ``affine`` made ``output``."""
        self._made.append((affine, output))

    def live(self, trace: Trace, tensor: Tensor) -> list[Tensor]:
        """``tensor`` and what was made anew in its place, each of which may carry a part of its relevance.

        In place of the output of a layer applied to every step stands the tensor with all steps as samples: of that
        the output is made, and the next layer that is applied to every step reads it directly.
        """
        steps = trace.steps_of(tensor)
        tensor = tensor if steps is None else steps
        made = trace.affine_of(tensor)
        if made is None:
            return [tensor]
        found = [tensor]
        for affine, output in self._made:
            base = affine.base
            while base is not None and base is not made[0]:
                base = base.base
            if base is not None:
                found.append(output)
        return found
