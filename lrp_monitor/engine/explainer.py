"""Explainer: compiling once, chunks, checks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypedDict, overload

import numpy as np
from keras import ops
from numpy.typing import NDArray

from lrp_monitor.arguments import OnUnknown, Preset, one_of, output_key
from lrp_monitor.engine import backend, conditional, inputs, inspection, targets
from lrp_monitor.engine.backend import Tensor
from lrp_monitor.engine.conditional import ChannelGates, ChannelLayer, Condition, LayerChannels, LayerChoice
from lrp_monitor.engine.explanation import Explanation, of_finite, sum_of_samples
from lrp_monitor.engine.inputs import Inputs, Shape, arranged, take
from lrp_monitor.engine.inspection import Inspection
from lrp_monitor.engine.passes.compiled import Passes
from lrp_monitor.engine.passes.memory import check_device
from lrp_monitor.engine.rules.composites import AUTO, Composite, resolve
from lrp_monitor.engine.single_channels import Reduced, SingleChannels
from lrp_monitor.engine.start import BESIDE, explained, outputs_of, signature_of
from lrp_monitor.engine.steps.choosing import Choice
from lrp_monitor.engine.surrogates.build import Taps
from lrp_monitor.engine.surrogates.model import Traced, run
from lrp_monitor.engine.surrogates.table import Row
from lrp_monitor.engine.targets import Target
from lrp_monitor.text import aligned

__all__ = ["Explainer", "Explanation", "Target"]


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
    ``tests/benchmarks/relevance.py --xla``.

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
        self.asked = self._composite = resolve(composite)
        """The composite that was asked for, also where ``"auto"`` chooses it."""
        self._choice: Choice | None = None
        self._output = output
        asked = inputs.checked_batch(model, batch_size)
        self._passes = Passes(model, asked, inputs.fixed_batch(model), bool(jit_compile), check_device(device))
        self._on_unknown = on_unknown
        self._conditioned: dict[tuple[Any, ...], list[ChannelLayer]] = {}
        self._read: dict[tuple[Any, ...], list[str]] = {}
        self._inspected: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
        self._rows: list[Row] = []
        self._notes: tuple[str, ...] = ()
        self._activation: str | None = None
        self._outputs: Shape = ()
        if any(rule.input_only for rule in self._composite.overrides.values()) and inputs.has_known_shapes(model):
            self.prepare(n=1)  # only a trace shows whether the named layers can take such a rule

    @property
    def composite(self) -> Composite:
        """The composite; of ``"auto"`` the one that was chosen. Raises what a call would raise about the model."""
        if self._composite is AUTO and self._choice is None:
            self.prepare()
        return self._composite if self._choice is None else self._choice.composite

    @property
    def composite_name(self) -> str:
        """The composite's name, ``"custom"`` for one made by hand."""
        return self.composite.name

    @property
    def choice(self) -> str:
        """Why ``"auto"`` chose the composite, such as "8 convolutions deep"; "" where a composite was given."""
        return "" if self.composite is self._composite or self._choice is None else self._choice.reason

    @property
    def passes(self) -> Passes:
        """The compiled passes: what they need, how many samples go through at a time, and what they may take."""
        return self._passes

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
        self.prepare()
        return 2 if self.is_binary else self._outputs[-1]

    @property
    def is_binary(self) -> bool:
        """Whether the explained output is a single sigmoid unit, at each place if any: it stands for two classes."""
        self.prepare()
        return self._activation == "sigmoid" and self._outputs[-1] == 1

    def prepare(self, input_shape: Any = None, n: int | None = None) -> None:
        """Trace and compile for ``n`` samples of ``input_shape`` (by default the model's own), without running.

        ``input_shape`` is the shape of one sample; for several inputs a list of them, in the model's order.
        Raises what a call would raise about the model.
        """
        if not self._passes or input_shape is not None:
            if input_shape is None:
                shapes = inputs.known_shapes(self.model)
            elif input_shape and isinstance(input_shape[0], tuple | list):
                shapes = tuple(tuple(shape) for shape in input_shape)
            else:
                shapes = (tuple(input_shape),)
            structure = inputs.model_structure(self.model) if inputs.expected_shapes(self.model) else 0
            key, compute, signature = self._explaining("classes", shapes, structure)
            self._passes.ready(key, compute, signature, n)

    def _explaining(
        self, start: Any, shapes: tuple[Shape, ...], structure: Any
    ) -> tuple[Any, Callable[..., dict[str, Tensor]], Callable[[int], list[backend.Spec]]]:
        """Key, function and signature of the pass that explains: see ``Passes.run``."""

        def compute(*given: Tensor) -> dict[str, Tensor]:
            leaves, wanted = list(given[: len(shapes)]), given[len(shapes) :]
            return explained(self._trace(leaves, structure), start, *wanted)

        return (start, shapes, str(structure)), compute, partial(signature_of, start, shapes)

    def _trace(
        self, leaves: list[Tensor], structure: Any, taps: Taps | None = None, gates: ChannelGates | None = None
    ) -> Traced:
        def call(model: Any, values: list[Tensor]) -> Tensor:
            outputs = outputs_of(model, model(arranged(structure, values), training=False))
            return outputs[output_key(list(outputs), self._output, model.name)]

        found = run(self.model, leaves, self._composite, self._on_unknown, call, taps, gates)
        self._rows, self._notes, self._choice = found.rows, found.notes, found.choice
        self._activation, self._outputs = found.activation, tuple(found.logits.shape[1:])
        if not self._outputs or None in self._outputs:
            raise ValueError(
                f"the explained output of model {self.model.name!r} has shape {tuple(found.logits.shape)}; an "
                "explanation needs (n, classes), or (n, ..., classes) for maps"
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
        given = take(self.model, inputs)
        start = targets.start_of(target)
        key, compute, signature = self._explaining(start, given.shapes, given.taken)
        wanted = partial(self._wanted, target, start, len(given))

        def reduce(part: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
            if reduced is None:
                return part
            parts = [part.pop(f"relevance {number}") for number in range(len(given.leaves))]
            relevance = arranged(given.given, of_finite(parts, part["logit"]))
            return part | {"reduced": reduced(relevance), "sum": sum_of_samples(relevance)}

        found = self._passes.run(key, compute, signature, given.leaves, wanted, reduce, in_file=bool(reduced))
        return self._explanation(given, found)

    def logits(self, inputs: Any) -> Any:
        """What the model computes for ``inputs`` before an output softmax or sigmoid: float32 (n, k), no relevance.

        For questions asked of many changed copies of a sample: a forward pass alone. Raises as :meth:`explain`.
        """
        given = take(self.model, inputs)

        def compute(*leaves: Tensor) -> dict[str, Tensor]:
            return {"logits": ops.cast(self._trace(list(leaves), given.taken).logits, "float32")}

        key, signature = ("logits", given.shapes, str(given.taken)), partial(signature_of, "logits", given.shapes)
        return self._passes.run(key, compute, signature, given.leaves)["logits"]

    def inspect(self, inputs: Any, target: Target = None, layers: Sequence[str] | str = ()) -> Inspection:
        """Explain, and read relevance off at every layer in the same pass: an :class:`Inspection`.

        It holds for each layer that the model ran the sum of its output's relevance, what it passes on to its
        inputs, conservation, and sums by channel. ``layers`` names those whose whole map is
        wanted besides (``"all"``: every one). Compiled apart from :meth:`explain`, once for each set of layers.
        Raises what :meth:`explain` raises, and ValueError for a layer that the model does not run.
        """
        given = take(self.model, inputs)
        start = targets.start_of(target)
        names = ("all",) if layers == "all" else (layers,) if isinstance(layers, str) else tuple(layers)
        key = ("inspect", start, given.shapes, str(given.taken), names)
        known = self._inspected.setdefault(key, [])

        def compute(*tensors: Tensor) -> dict[str, Tensor]:
            leaves, wanted = list(tensors[: len(given.leaves)]), tensors[len(given.leaves) :]
            found = self._trace(leaves, given.taken, Taps())
            result = explained(found, start, *wanted)
            known[:], tensors_of = inspection.read_off(found, self.model.name, result["logit"], names)
            return result | tensors_of

        signature = partial(signature_of, start, given.shapes)
        wanted = partial(self._wanted, target, start, len(given))
        found = self._passes.run(key, compute, signature, given.leaves, wanted)
        return inspection.gathered(self._explanation(given, found), known, found)

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
        given, asked = take(self.model, inputs), conditional.Conditions.of(conditions)
        n, count = len(given), len(asked.listed)
        rows = np.tile(np.arange(n), count)
        leaves = self._gated(given, target, asked.names, rows, lambda layers: asked.weights(layers, n))
        apart = leaves if asked.alone else [leaf.reshape(count, n, *leaf.shape[1:]) for leaf in leaves]
        return arranged(given.given, apart)

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
        given, start = take(self.model, inputs), targets.start_of(target)
        key = ("through", start, given.shapes, str(given.taken), layer)
        known = self._conditioned.setdefault(key, [ChannelLayer(layer)])[0]
        trace, wanted = partial(self._trace, structure=given.taken), partial(self._wanted, target, start, len(given))
        return SingleChannels(self._passes, key, given, start, known, self.model.name, trace, wanted)

    def _gated(
        self, given: Inputs, target: Target, names: tuple[str, ...], samples: NDArray[np.int64],
        weights: Callable[[Sequence[ChannelLayer]], list[Any]],
    ) -> list[NDArray[Any]]:  # fmt: skip
        """Relevance of inputs ``samples`` (m,), of which what ``weights`` gives, (m, channels), passes each layer."""
        start = targets.start_of(target)
        key = ("conditional", start, given.shapes, str(given.taken), names)
        layers = self._conditioned.setdefault(key, [ChannelLayer(name) for name in names])
        count, first = len(given.leaves), len(given.leaves) + len(BESIDE.get(start, ()))

        def compute(*tensors: Tensor) -> dict[str, Tensor]:
            gates = conditional.ChannelGates(layers, self.model.name, tensors[first:])
            found = self._trace(list(tensors[:count]), given.taken, gates=gates)
            made = explained(found, start, *tensors[count:first])
            return {name: tensor for name, tensor in made.items() if name.startswith("relevance") or name == "logit"}

        def signature(chunk: int) -> list[backend.Spec]:
            return [*signature_of(start, given.shapes, chunk), *(((chunk, None), "float32") for _ in layers)]

        def beside() -> list[Any]:
            wanted = self._wanted(target, start, len(given))
            return [*(conditional.Rows(array, samples) for array in wanted), *weights(layers)]

        rows: list[Any] = [conditional.Rows(leaf, samples) for leaf in given.leaves]
        found = self._passes.run(key, compute, signature, rows, beside)
        leaves = [found[f"relevance {number}"] for number in range(count)]
        for leaf in leaves:
            leaf[~np.isfinite(found["logit"])] = np.nan
        return leaves

    def channels(
        self, inputs: Any, layers: LayerChoice, target: Target = None
    ) -> tuple[Explanation, list[LayerChannels]]:
        """Explain, and read relevance by channel off at ``layers`` in the same pass.

        What :meth:`inspect` says of their channels, without the other layers, and whether each channel fired.
        ``layers`` are names or paths, or a function that gives them for a list of
        :class:`~lrp_monitor.engine.surrogates.carriers.LayerOutput`. Raises what :meth:`explain` raises, and ValueError
        for a layer that the model does not run or that has no channels.
        """
        given, start = take(self.model, inputs), targets.start_of(target)
        choice = layers if callable(layers) else tuple(layers)
        key = ("channels", start, given.shapes, str(given.taken), choice)
        paths = self._read.setdefault(key, [])

        def compute(*tensors: Tensor) -> dict[str, Tensor]:
            found = self._trace(list(tensors[: len(given.leaves)]), given.taken)
            result = explained(found, start, *tensors[len(given.leaves) :])
            paths[:], made = conditional.read_channels(found, choice, self.model.name, result["logit"])
            return result | made

        signature = partial(signature_of, start, given.shapes)
        wanted = partial(self._wanted, target, start, len(given))
        found = self._passes.run(key, compute, signature, given.leaves, wanted)
        return self._explanation(given, found), conditional.gathered(paths, found)

    def _explanation(self, given: Inputs, found: dict[str, NDArray[Any]]) -> Explanation:
        relevance = found.get("reduced")
        if relevance is None:
            leaves = [found[f"relevance {number}"] for number in range(len(given.leaves))]
            relevance = arranged(given.given, of_finite(leaves, found["logit"]))
        return Explanation(
            relevance=relevance,
            reduced_sum=found.get("sum"),
            target=found["target"].astype(np.int64),
            logit=found["logit"],
            logits=found["logits"],
            output=found["output"],
            activation=self._activation,
        )

    def _wanted(self, target: Any, start: str | Callable[[Any], Any], n: int) -> list[NDArray[Any]]:
        """What the compiled pass takes besides the inputs: classes, weights of the outputs, or nothing."""
        if start == "weights":
            return [target.weights(self._outputs, n).reshape(n, -1)]
        if start not in ("classes", "position"):
            return []
        places, of = ([target.numbers(self._outputs, n)], target.of) if start == "position" else ([], target)
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
