"""Running a model once under trace: its operations, and in which call of which layer each was made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras

from lrp_monitor.engine import backend
from lrp_monitor.engine.backend import Tensor
from lrp_monitor.engine.trace.graph import Graph, Op
from lrp_monitor.engine.trace.treatments import is_loop, refusal_of, treatment_of
from lrp_monitor.keras_internals import add_by_sample, compute_in_float32, keep_losses, layers_of, order_of_one_sample
from lrp_monitor.passes.shadows import shadows


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
            for layer in layers_of(container, itself=False, nested=False):
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


@dataclass(eq=False)
class LayerCall:
    """One call of one layer."""

    layer: Any
    path: str
    """The layer's path inside the model."""
    number: int
    """Which call of this layer it is, from 0."""
    outer: LayerCall | None
    """The call in which it was made, None where that is the model's own."""
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    original: Callable[..., Any]
    """The layer's own ``call``."""
    is_model: bool
    """Whether the layer is a model, whose parts are what computes."""
    start: int = 0
    stop: int = 0
    """The numbers of the first operation that was made in it, and of the first that was made after it."""
    outputs: tuple[Tensor, ...] = ()
    constants: list[Tensor] = field(default_factory=list)
    """What its treatment says is a constant to relevance, such as the gates of a recurrent layer."""

    problems: list[str] = field(default_factory=list)
    """Why no rule covers it, or its treatment cannot write it in operations."""
    notes: list[str] = field(default_factory=list)
    """A note for every map of the model on the way in which the layer was run."""

    @property
    def name(self) -> str:
        """The path; from the second call on with its number, ``#2``."""
        return self.path if self.number == 0 else f"{self.path}#{self.number + 1}"

    @property
    def kind(self) -> str:
        """The layer's type."""
        return type(self.layer).__name__

    @property
    def inputs(self) -> list[Tensor]:
        """The tensors of real numbers among its arguments, each once."""
        given = keras.tree.flatten((self.args, self.kwargs))
        return list({id(t): t for t in given if backend.is_tensor(t)}.values())

    def around(self) -> Iterator[LayerCall]:
        """This call, then those in which it was made, from the innermost on."""
        call: LayerCall | None = self
        while call is not None:
            yield call
            call = call.outer

    def __str__(self) -> str:
        return f"layer {self.path!r} ({self.kind})"


@dataclass
class Recording:
    """What one call of the model did."""

    graph: Graph
    calls: list[LayerCall]
    """The calls of layers, in the order in which they began."""
    output: Tensor
    problems: list[str]
    """What is refused, whatever its operations are, on the way to the output."""
    refused: list[LayerCall]
    """The calls of layers among them that no rule covers."""
    constants: frozenset[int]
    """Ids of tensors that are constants to relevance."""


class _Recorder:
    def __init__(self, model: Any, paths: Mapping[int, str]) -> None:
        self.model, self.paths = model, paths
        self.calls: list[LayerCall] = []
        self.refused: list[LayerCall] = []
        self.nodes: list[tuple[str, range]] = []
        self._inner: LayerCall | None = None
        self._count: dict[int, int] = {}

    def shadow(self, layer: Any) -> Callable[..., Any]:
        """What stands in for ``layer.call``: the same, and written down."""
        original = layer.call
        treatment = treatment_of(layer)
        refusal = refusal_of(layer, self.model)

        def call(*args: Any, **kwargs: Any) -> Any:
            number = self._count[id(layer)] = self._count.get(id(layer), -1) + 1
            outer = self._inner
            made = LayerCall(
                layer, self.paths.get(id(layer)) or layer.name, number, outer, args, kwargs, original,
                isinstance(layer, keras.Model), start=backend.count_operations(),
            )  # fmt: skip
            self.calls.append(made)
            self._inner = made
            try:
                if refusal is not None:
                    self.refused.append(made)
                    made.problems.append(refusal)
                output = original(*args, **kwargs) if treatment is None else treatment(made)
            finally:
                self._inner = outer
            made.stop = backend.count_operations()
            made.outputs = tuple(t for t in keras.tree.flatten(output) if backend.is_tensor(t))
            return output

        return call

    def node(self, operation: Any) -> Callable[..., Any]:
        """What stands in for the ``call`` of a functional model's operation of Keras: the same, and written down."""
        original = operation.call

        def call(*args: Any, **kwargs: Any) -> Any:
            start = backend.count_operations()
            output = original(*args, **kwargs)
            self.nodes.append((operation.name, range(start, backend.count_operations())))
            return output

        return call


def record(
    model: Any, sources: Sequence[Tensor], call: Callable[[Any, list[Tensor]], Tensor], paths: Mapping[int, str]
) -> Recording:
    """Run ``call(model, sources)`` under trace, in float32, and leave no sign on the model."""
    recorder = _Recorder(model, paths)
    with shadows() as put, backend.inlined():
        add_by_sample(put)
        order_of_one_sample(put, sources[0].shape[0])
        problems = []
        for layer in layers_of(model):
            if getattr(layer, "quantization_mode", None) is not None:  # Keras calls another function of it
                path = paths.get(id(layer)) or layer.name
                problems.append(f"layer {path!r} ({type(layer).__name__}): it is quantised, which no rule covers")
            keep_losses(put, layer)
            if layer.compute_dtype in ("float16", "bfloat16", "float64"):
                compute_in_float32(put, layer)
        for layer in layers_of(model):
            if layer is not model:
                put(layer, "call", recorder.shadow(layer))
            for operation in getattr(layer, "operations", ()) if isinstance(layer, keras.Model) else ():
                if not isinstance(operation, keras.layers.Layer):
                    put(operation, "call", recorder.node(operation))
        output = call(model, list(sources))
    constants = frozenset(id(t) for made in recorder.calls for t in made.constants)
    of_layers = {id(t) for made in recorder.calls for t in made.outputs}
    graph = Graph.read(sources, output, constants | of_layers)
    _say_where(graph.ops, recorder.calls)
    for name, numbers in recorder.nodes:
        for op in graph.ops[numbers.start : numbers.stop]:
            op.node = name
    leading = {id(t) for op in graph.needed([output]) for t in op.outputs}
    taking_part = [made for made in recorder.calls if any(id(t) in leading for t in made.outputs)]
    problems += [f"{made}: {text}" for made in taking_part for text in made.problems]
    refused = [made for made in recorder.refused if made in taking_part]
    return Recording(graph, recorder.calls, output, problems, refused, constants)


def _say_where(ops: Sequence[Op], calls: Sequence[LayerCall]) -> None:
    for call in calls:  # inner calls begin after outer ones, and have the last word
        for op in ops[call.start : call.stop]:
            op.call = call


def leaf(call: LayerCall | None) -> LayerCall | None:
    """The innermost call that is not that of a model."""
    return next((c for c in call.around() if not c.is_model), None) if call is not None else None


def loop_around(call: LayerCall | None) -> LayerCall | None:
    """The call of a recurrent layer in which ``call`` was made; None where there is none."""
    return next((c for c in call.around() if is_loop(c.layer)), None) if call is not None else None
