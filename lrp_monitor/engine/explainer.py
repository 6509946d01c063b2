"""Explainer: compiling once, chunks, checks."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import Any, TypedDict, overload

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from lrp_monitor.arguments import OnUnknown, Preset, one_of, output_key
from lrp_monitor.engine import inputs, inspection, targets
from lrp_monitor.engine.backend import Tensor
from lrp_monitor.engine.conditional import Condition, Conditions, LayerChannels, LayerChoice, gates_of
from lrp_monitor.engine.explanation import Explanation, sum_of_samples
from lrp_monitor.engine.inputs import Inputs, ModelCall, Shape, take
from lrp_monitor.engine.inspection import Inspection
from lrp_monitor.engine.question import Part, Question
from lrp_monitor.engine.rules.composites import AUTO, Composite, resolve
from lrp_monitor.engine.single_channels import Reduced, SingleChannels, read_through
from lrp_monitor.engine.start import BESIDE, Start, outputs_of, start_at
from lrp_monitor.engine.steps.choosing import Choice
from lrp_monitor.engine.surrogates.build import Gates, Taps
from lrp_monitor.engine.surrogates.carriers import LayerOutputs
from lrp_monitor.engine.surrogates.model import Traced, run
from lrp_monitor.engine.surrogates.table import Row
from lrp_monitor.engine.targets import Target
from lrp_monitor.engine.trace.recording import LayerCall
from lrp_monitor.passes.compiled import Passes, Spec
from lrp_monitor.passes.memory import check_device
from lrp_monitor.text import aligned

__all__ = ["Explainer", "Explanation", "Target"]

Tensors = dict[str, Any]
Read = Callable[[Start, Sequence[Tensor]], tuple[list[Any], Tensors]]


class ExplainerOptions(TypedDict, total=False):
    """The keywords of `Explainer`, for functions that hand them on to it."""

    output: str | int | None
    batch_size: int | None
    jit_compile: bool
    on_unknown: OnUnknown
    device: str | None


class Explainer:
    """Explains a model's predictions, compiled once and called often while the weights train.

    ``model`` is a built Keras model; ``composite`` a preset's name or a :class:`Composite`; ``output`` chooses by
    name or position where a model has several outputs; ``batch_size`` bounds memory (samples a pass; by default as
    many as take about 1 GiB, or the batch that the model's inputs are made for), and is halved where memory runs out,
    with a warning; ``device`` is where passes run, such as "CPU:0"; ``on_unknown="gradient"`` lets the plain gradient
    through layers without a treatment, with a warning that is kept in ``notes``. ``jit_compile`` compiles with
    XLA. It is off by default: on two CPU cores it took 2.3 times the CPU time on three small convolutions (32 x 32, 64
    samples), and its first call 76 s instead of 8 s on MobileNetV2 (batch 8); on other devices measure it with
    ``tests/benchmarks/relevance.py --xla``. On a GPU, XLA cannot read a variable of integers, which TensorFlow keeps
    on the CPU.

    ``explainer(inputs, target)`` gives relevance as float32 of the inputs' shape; ``explainer.explain(...)`` gives
    an :class:`Explanation`. A model with several inputs takes a list, tuple or dict of arrays and gives relevance in
    the same structure. Relevance is propagated in float32, with TensorFloat-32 switched off.

    Raises UnsupportedModelError where a layer or operation has no treatment, ValueError or TypeError where an
    argument does not fit, OutOfMemoryError where memory is not enough for one sample. Source: Bach et al. 2015;
    computed as input x gradient of a surrogate network.
    """

    def __init__(
        self,
        model: Any,
        composite: Preset | Composite = "auto",
        *,
        output: str | int | None = None,
        batch_size: int | None = None,
        jit_compile: bool = False,
        on_unknown: OnUnknown = "raise",
        device: str | None = None,
    ) -> None:
        inputs.check_model(model)
        one_of("on_unknown", on_unknown, ("raise", "gradient"))
        if not model.built:
            raise ValueError(
                f"model {model.name!r} has no weights yet: give its first layer a shape (keras.Input), call "
                "model.build(input_shape), or call it once on data"
            )
        self.model = model
        self.asked = resolve(composite)
        """The composite that was asked for, also where ``"auto"`` chooses it."""
        self._choice: Choice | None = None
        self._output = output
        asked = inputs.checked_batch(model, batch_size)
        self.passes = Passes(model, asked, inputs.fixed_batch(model), bool(jit_compile), check_device(device))
        """The compiled passes: what they need, how many samples go through at a time, and what they may take."""
        self._on_unknown = on_unknown
        self._rows: list[Row] = []
        self._notes: tuple[str, ...] = ()
        self._activation: str | None = None
        self._outputs: Shape = ()
        if any(rule.input_only for rule in self.asked.overrides.values()) and inputs.has_known_shapes(model):
            self.prepare(n=1)  # only a trace shows whether the named layers can take such a rule

    @property
    def composite(self) -> Composite:
        """The composite; of ``"auto"`` the one that was chosen. Raises what a call would raise about the model."""
        if self.asked is AUTO and self._choice is None:
            self.prepare()
        return self.asked if self._choice is None else self._choice.composite

    @property
    def composite_name(self) -> str:
        """The composite's name, ``"custom"`` for one made by hand."""
        return self.composite.name

    @property
    def choice(self) -> str:
        """Why ``"auto"`` chose the composite, such as "8 convolutions deep"; "" where a composite was given."""
        return "" if self.composite is self.asked or self._choice is None else self._choice.reason

    @property
    def notes(self) -> tuple[str, ...]:
        """Warnings that belong to every map of this explainer: where the plain gradient was let through."""
        self.prepare()
        return self._notes

    @property
    def activation(self) -> str | None:
        """``"softmax"`` or ``"sigmoid"`` where the model ends in one, else None."""
        self.prepare()
        return self._activation

    @property
    def classes(self) -> int:
        """How many classes a target may name, at each place of an output of maps; 2 for a single sigmoid unit."""
        return 2 if self.is_binary else self._outputs[-1]

    @property
    def is_binary(self) -> bool:
        """Whether the explained output is a single sigmoid unit, at each place if any: it stands for two classes."""
        self.prepare()
        return self._activation == "sigmoid" and self._outputs[-1] == 1

    def prepare(self, input_shape: Any = None, n: int | None = None) -> None:
        """Trace and compile for ``n`` samples of ``input_shape`` (by default the model's own), without running.

        ``input_shape`` is the shape of one sample; for several inputs a list or tuple of them, in the model's order,
        or a dict, as the model takes them, and of floats where it says nothing of their types. Raises what a call would
        raise about the model.
        """
        if self.passes.made and input_shape is None:
            return
        shapes = inputs.known_shapes(self.model) if input_shape is None else input_shape

        def blank(shape: Any) -> NDArray[np.float32]:
            return np.broadcast_to(np.float32(0), (1, *shape))

        given: Any
        if isinstance(shapes, Mapping):
            given = {name: blank(shape) for name, shape in shapes.items()}
        elif shapes and isinstance(shapes[0], tuple | list):
            given = inputs.alone([blank(shape) for shape in shapes])
            given = tuple(given) if len(shapes) > 1 and isinstance(shapes, tuple) else given
        else:
            given = blank(shapes)
        self._question("explain", take(self.model, given), None).compiled.ready(n)

    def _question(
        self, name: str, given: Inputs, target: Target, asked: Hashable = None, read: Read | None = None, *,
        beside: Sequence[Spec] = (), taps: bool = False, gates: Callable[..., Gates] | None = None,
    ) -> Question:  # fmt: skip
        """What is asked about inputs and a target, and of ``asked`` besides.

        ``read`` makes what is known from now on, and the results, of where relevance starts in a trace, and of what the
        pass takes ``beside``; by default the results are those of an explanation. ``taps``: whether relevance is read
        off between the layers. ``gates``, of what is taken beside and of the layers' outputs, says what relevance
        goes through.
        """
        kind, model_call, count = targets.start_of(target), given.model_call, len(given.leaves)
        of_target = BESIDE.get(kind, ())
        last = count + len(of_target)
        known: list[Any] = []

        def compute(*tensors: Tensor) -> Tensors:
            put = None if gates is None else partial(gates, tensors[last:])
            traced = self._trace(tensors[:count], model_call, Taps() if taps else None, put)
            start = start_at(traced, kind, *tensors[count:last])
            if read is None:
                return start.explanation(start.gradients(traced.masks))
            known[:], result = read(start, tensors[last:])
            return result

        takes = [*given.specs, *of_target, *beside]
        compiled = self.passes.of((name, kind, given.key, asked), compute, takes, known)
        return Question(compiled, given, partial(self._wanted, target, kind, len(given)))

    def _trace(
        self, leaves: Sequence[Tensor], model_call: ModelCall, taps: Taps | None = None,
        gates: Callable[[LayerOutputs], Gates] | None = None,
    ) -> Traced:  # fmt: skip
        def call(how: ModelCall, model: Any, values: list[Tensor]) -> Tensor:
            outputs = outputs_of(model, model(how(values), training=False))
            return outputs[output_key(list(outputs), self._output, model.name)]

        found = model_call.tried(
            lambda how: run(self.model, leaves, self.asked, self._on_unknown, partial(call, how), taps, gates)
        )
        self._rows, self._notes, self._choice = found.rows, found.notes, found.choice
        self._activation, self._outputs = found.activation, tuple(found.logits.shape[1:])
        if not self._outputs or None in self._outputs:
            raise ValueError(
                f"the explained output of model {self.model.name!r} has shape {tuple(found.logits.shape)}; an "
                "explanation needs (n, classes), or (n, ..., classes) for maps"
            )
        if found.logits.shape[0] not in (None, leaves[0].shape[0]):
            raise ValueError(
                f"the explained output of model {self.model.name!r} has shape {tuple(found.logits.shape)} of "
                f"{leaves[0].shape[0]} samples; an explanation needs one row a sample: explain a part of the model "
                "that gives it, keras.Model(model.inputs, a layer's output)"
            )
        return found

    @overload
    def __call__(self, inputs: NDArray[Any], target: Target = None) -> NDArray[np.float32]: ...
    @overload
    def __call__(self, inputs: Any, target: Target = None) -> Any: ...
    def __call__(self, inputs: Any, target: Target = None) -> Any:
        """Relevance of ``inputs`` (n, ...) for ``target``, float32 of the inputs' shape; see :meth:`explain`."""
        return self.explain(inputs, target).relevance

    def explain(
        self, inputs: Any, target: Target = None, *, reduced: Callable[[Any], NDArray[Any]] | None = None
    ) -> Explanation:
        """Explain ``inputs`` (n, ...), an array, or a list, tuple or dict of arrays for a model with several inputs.

        ``target`` is None or "predicted" (the predicted class), a class, one class per sample, or one of
        :mod:`lrp_monitor.targets`: a difference of two logits, a mask over outputs, a region of a map or a class at one
        place of it, a function of the logits (compiled once for each). ``reduced`` makes of the relevance of some
        samples an array with a row for each, which takes its place: that of all is never in memory at once. Such an
        array may be read-only.

        Raises ValueError for inputs that are empty, not finite or of another shape than the model's, and for
        targets outside the model's outputs; TypeError for inputs or targets that are not numbers.
        """

        def reduce(part: Part) -> Part:
            if reduced is None:
                return part
            relevance = part["relevance"]
            return part | {"relevance": reduced(relevance), "reduced_sum": sum_of_samples(relevance)}

        question = self._question("explain", take(self.model, inputs), target)
        return self._explanation(question.run(reduced=reduce, in_file=bool(reduced)))

    def logits(self, inputs: Any) -> Any:
        """What the model computes for ``inputs`` before an output softmax or sigmoid: float32 (n, k), no relevance.

        For questions asked of many changed copies of a sample: a forward pass alone. Raises as :meth:`explain`.
        """
        given = take(self.model, inputs)
        model_call = given.model_call

        def compute(*leaves: Tensor) -> Tensor:
            return ops.cast(self._trace(leaves, model_call).logits, "float32")

        return self.passes.of(("logits", given.key), compute, given.specs, []).run(given.leaves)

    def inspect(self, inputs: Any, target: Target = None, layers: Sequence[str] | str = ()) -> Inspection:
        """Explain, and read relevance off at every layer in the same pass: an :class:`Inspection`.

        It holds for each layer that the model ran the sum of its output's relevance, what it passes on to its
        inputs, conservation, and sums by channel. ``layers`` names those whose whole map is
        wanted besides (``"all"``: every one). Compiled apart from :meth:`explain`, once for each set of layers.
        Raises what :meth:`explain` raises, and ValueError for a layer that the model does not run.
        """
        names = (layers,) if isinstance(layers, str) else tuple(layers)
        return self._inspected("inspect", inputs, target, names, lambda _: None, names)

    def _inspected(
        self, name: str, inputs: Any, target: Target, asked: Hashable,
        chosen: Callable[[LayerOutputs], list[LayerCall] | None], maps: Sequence[str] = (),
    ) -> Inspection:  # fmt: skip
        """Explain, and read relevance off at the calls of layers that are ``chosen``, with ``maps`` of some.

        None stands for all calls: then what each passes on to its inputs is read off, too.
        """

        def read(start: Start, _: Sequence[Tensor]) -> tuple[list[Any], Tensors]:
            return inspection.read_off(start, self.model.name, maps, chosen(start.found.layer_outputs))

        question = self._question(name, take(self.model, inputs), target, asked, read, taps=name == "inspect")
        found = question.run()
        return inspection.gathered(self._explanation(found), question.compiled.known, found["layers"])

    def conditional(self, inputs: Any, conditions: Condition | Sequence[Condition], target: Target = None) -> Any:
        """The heatmap of the relevance that passes through chosen channels (concept relevance propagation).

        ``conditions`` maps layers (a name or path that :meth:`inspect` knows) to a channel, several channels, or an
        array of weights over all channels (floats or booleans); ``()`` lets nothing through. Relevance at the layer's
        output, times that selection, is propagated on by the composite's rules; where several layers are named, each
        lets through what it selects, and layers that are not named all of it. Gives float32 of the inputs' shape; for
        a list of such mappings one map more in front, (conditions, n, ...). Compiled once for each set of layers,
        whatever is selected. Relevance that runs past a layer, beside it or on a skip connection, is not held back:
        what a channel alone carries there is its map minus that of ``()``.
        Raises as :meth:`explain`; ValueError or TypeError for conditions that do not fit. Source: Achtibat et al. 2023.
        """
        given, asked = take(self.model, inputs), Conditions.of(conditions)

        def gates(weights: Sequence[Tensor], outputs: LayerOutputs) -> Gates:
            return gates_of(outputs, asked.calls(outputs, self.model.name), weights)

        def read(start: Start, _: Sequence[Tensor]) -> tuple[list[Any], Tensors]:
            outputs = start.found.layer_outputs
            counts = [outputs.by_channel(call, "conditions")[0] for call in asked.calls(outputs, self.model.name)]
            result = start.explanation(start.gradients(start.found.masks))
            return counts, {name: result[name] for name in ("logit", "relevance")}

        weights: list[Spec] = [((None,), "float32") for _ in asked.names]
        question = self._question("conditional", given, target, asked.names, read, beside=weights, gates=gates)
        n, count = len(given), len(asked.listed)
        found = question.run(np.tile(np.arange(n), count), lambda: asked.weights(question.compiled.known, n))
        if asked.alone:
            return found["relevance"]
        return keras.tree.map_structure(lambda leaf: leaf.reshape(count, n, *leaf.shape[1:]), found["relevance"])

    def through(
        self, inputs: Any, layer: str, samples: NDArray[np.int64], channels: NDArray[np.int64], target: Target = None,
        *, reduced: Reduced | None = None,
    ) -> Any:  # fmt: skip
        """The heatmaps of single channels: one for each pair of a sample and a channel of ``layer``.

        ``samples`` (m,) are positions in ``inputs``, ``channels`` (m,) channels; ``target`` is that of the
        inputs. Gives float32 (m, ...): the relevance that passes through that channel alone, without what runs past
        the layer. The maps of all channels of a sample sum to its heatmap less that. A sample runs forward once for all
        its channels. ``reduced(relevance, samples)`` makes of the relevance of some pairs an array with a row for each,
        which takes its place. Raises as :meth:`conditional`.
        """
        return self.single_channels(inputs, layer, target).of(samples, channels, reduced)

    def single_channels(self, inputs: Any, layer: str, target: Target = None) -> SingleChannels:
        """What :meth:`through` asks, to be prepared first or asked several times. Raises as :meth:`explain`."""

        def read(start: Start, more: Sequence[Tensor]) -> tuple[list[Any], Tensors]:
            return read_through(start, layer, self.model.name, *more)

        given = take(self.model, inputs)
        question = self._question("through", given, target, layer, read, beside=[((None,), "int32")])
        return SingleChannels(layer, question)

    def channels(
        self, inputs: Any, layers: LayerChoice, target: Target = None
    ) -> tuple[Explanation, list[LayerChannels]]:
        """Explain, and read relevance by channel off at ``layers`` in the same pass.

        What :meth:`inspect` says of their channels, without the other layers, and whether each channel fired.
        ``layers`` are names or paths, or a function that gives them for a list of
        :class:`~lrp_monitor.engine.surrogates.carriers.LayerOutput`. Raises what :meth:`explain` raises, and ValueError
        for a layer that the model does not run or that has no channels.
        """
        choice = layers if callable(layers) else tuple(layers)

        def chosen(outputs: LayerOutputs) -> list[LayerCall]:
            names = choice(outputs.described()) if callable(choice) else choice
            return [outputs.call_of(name, self.model.name, "layers") for name in names]

        found = self._inspected("channels", inputs, target, choice, chosen)
        return found.explanation, [LayerChannels.of(layer) for layer in found.layers]

    def _explanation(self, found: Part) -> Explanation:
        parts: dict[str, Any] = {
            name: found.get(name) for name in ("relevance", "logit", "logits", "output", "reduced_sum")
        }
        return Explanation(**parts, target=found["target"].astype(np.int64), activation=self._activation)

    def _wanted(self, target: Any, kind: str | Callable[[Any], Any], n: int) -> list[NDArray[Any]]:
        """What the compiled pass takes besides the inputs: classes, weights of the outputs, or nothing."""
        if kind == "weights":
            return [target.weights(self._outputs, n).reshape(n, -1)]
        if kind not in ("classes", "position"):
            return []
        places, of = ([target.numbers(self._outputs, n)], target.of) if kind == "position" else ([], target)
        if of is None or isinstance(of, str):
            return [*places, np.full(n, -1, np.int32)]
        return [*places, targets.classes(of, n, self.classes, "target", f" of model {self.model.name!r}")]

    def __str__(self) -> str:
        """The table layer -> treatment for this model."""
        self.prepare()
        lines = aligned([(row.layer, row.kind, row.treatment) for row in self._rows], 3) if self._rows else []
        start = f"behind its {self._activation}" if self._activation else "its output"
        lines.append(f"relevance starts from the logits of model {self.model.name!r} ({start})")
        chosen = [f"  chosen by auto: {self.choice}"] if self.choice else []
        return "\n".join([str(self.composite), *chosen, "", *lines, *(f"note: {note}" for note in self._notes)])
