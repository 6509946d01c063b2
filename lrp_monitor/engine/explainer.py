"""Explainer and relevance(): targets, compiling once, chunks, checks, conservation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops
from numpy.typing import ArrayLike, NDArray

from lrp_monitor.engine import backend
from lrp_monitor.engine.backend import Tensor
from lrp_monitor.engine.composites import Composite, resolve
from lrp_monitor.engine.surrogate import Row, Traced, run

Target = int | Sequence[int] | NDArray[Any] | None

# A chunk holds about this many input values; 224 x 224 x 3 gives chunks of 8.
_CHUNK_VALUES = 1 << 20
_MAX_CHUNK = 64


@dataclass(frozen=True)
class Explanation:
    """What one call of an explainer found; arrays have one row per sample."""

    relevance: NDArray[np.float32]
    """Relevance of every input value, of the inputs' shape."""
    target: NDArray[np.int64]
    """(n,) the explained class."""
    logit: NDArray[np.float32]
    """(n,) the explained logit, from which relevance starts; for class 0 of a single sigmoid unit its negative."""
    logits: NDArray[np.float32]
    """(n, k) what the model computes before an output softmax or sigmoid."""
    output: NDArray[np.float32]
    """(n, k) the model's own output."""
    activation: str | None
    """``"softmax"`` or ``"sigmoid"`` where the model ends in one, else None."""

    @property
    def conservation(self) -> NDArray[np.float64]:
        """(n,) sum of relevance over the explained logit: 1 where nothing was absorbed or created."""
        total = self.relevance.reshape(len(self.relevance), -1).sum(axis=1, dtype=np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            return total / self.logit.astype(np.float64)

    @property
    def prediction(self) -> NDArray[np.int64]:
        """(n,) the predicted class."""
        if self.is_binary:
            return (self.logits[:, 0] > 0).astype(np.int64)
        return self.logits.argmax(axis=1).astype(np.int64)

    @property
    def is_binary(self) -> bool:
        """Whether the model ends in a single sigmoid unit, which stands for two classes."""
        return self.activation == "sigmoid" and self.logits.shape[1] == 1

    @property
    def probability(self) -> NDArray[np.float64]:
        """(n,) probability of the explained class; NaN for a single output without sigmoid, which has none."""
        rows = np.arange(len(self.target))
        z = self.logits.astype(np.float64)
        if self.activation == "sigmoid":
            explained = np.where(self.target == 0, -z[:, 0], z[:, 0]) if self.is_binary else z[rows, self.target]
            with np.errstate(over="ignore"):
                return 1.0 / (1.0 + np.exp(-explained))
        if z.shape[1] == 1:
            return np.full(len(z), np.nan)
        z = np.exp(z - z.max(axis=1, keepdims=True))
        return z[rows, self.target] / z.sum(axis=1)


class Explainer:
    """Explains a model's predictions, compiled once and called often while the weights train.

    ``model`` is a built Keras model with one input and an output of shape (n, classes); ``composite`` a preset's
    name or a :class:`Composite`; ``output`` chooses by name or position where a model has several outputs;
    ``batch_size`` bounds memory (samples a pass; chosen from the input's size by default); ``jit_compile`` compiles
    with XLA; ``on_unknown="gradient"`` lets the plain gradient through layers without a treatment, with a warning
    that is kept in ``notes``.

    ``explainer(inputs, target)`` gives relevance as float32 of the inputs' shape; ``explainer.explain(...)`` gives
    an :class:`Explanation`. Relevance is propagated in float32, with TensorFloat-32 switched off.

    Raises UnsupportedModelError where a layer or operation has no treatment, ValueError or TypeError where an
    argument does not fit. Source: Bach et al. 2015; computed as input x gradient of a surrogate network.
    """

    def __init__(
        self,
        model: Any,
        composite: str | Composite = "epsilon_plus_flat",
        *,
        output: str | int | None = None,
        batch_size: int | None = None,
        jit_compile: bool = False,
        on_unknown: str = "raise",
    ) -> None:
        if not (hasattr(model, "layers") and callable(model)):
            raise TypeError(f"model must be a Keras model, got {type(model).__name__}")
        if on_unknown not in ("raise", "gradient"):
            raise ValueError(f'on_unknown must be "raise" or "gradient", got {on_unknown!r}')
        if batch_size is not None and (isinstance(batch_size, bool) or int(batch_size) != batch_size or batch_size < 1):
            raise ValueError(f"batch_size must be a whole number >= 1, got {batch_size!r}")
        if not model.built:
            raise ValueError(
                f"model {model.name!r} has no weights yet: give its first layer a shape (keras.Input), call "
                "model.build(input_shape), or call it once on data"
            )
        if isinstance(getattr(model, "inputs", None), list) and len(model.inputs) > 1:
            names = [tensor.name for tensor in model.inputs]
            raise ValueError(
                f"model {model.name!r} has several inputs, {names}: relevance is computed for models with one input; "
                "wrap it in a model that takes one and makes the others"
            )
        self.model = model
        self.composite = resolve(composite)
        self._output = output
        self._batch_size = None if batch_size is None else int(batch_size)
        self._jit_compile = bool(jit_compile)
        self._on_unknown = on_unknown
        self._passes: dict[tuple[int, ...], Callable[..., Any]] = {}
        self._rows: list[Row] = []
        self._notes: tuple[str, ...] = ()
        self._activation: str | None = None
        self._width = 0

    @property
    def composite_name(self) -> str:
        """The composite's name, ``"custom"`` for one made by hand."""
        return self.composite.name

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
        """How many classes a target may name; 2 for a single sigmoid unit."""
        self.prepare()
        return 2 if self._activation == "sigmoid" and self._width == 1 else self._width

    def prepare(self, input_shape: tuple[int, ...] | None = None, n: int | None = None) -> None:
        """Trace and compile for ``n`` samples of ``input_shape`` (by default the model's own), without running.

        Raises what a call would raise about the model.
        """
        if not self._passes or input_shape is not None:
            shape = self._sample_shape() if input_shape is None else tuple(input_shape)
            self._pass_for(shape, self._chunk(shape, n))

    def _sample_shape(self) -> tuple[int, ...]:
        shape = getattr(self.model, "input_shape", None) if _has_known_input(self.model) else None
        if shape is None or isinstance(shape, list | dict) or (shape and isinstance(shape[0], tuple | list)):
            raise ValueError(
                f"the input shape of model {self.model.name!r} is not known before it sees data (or it has several "
                "inputs): call the explainer on inputs first, or prepare(input_shape)"
            )
        if any(size is None for size in shape[1:]):
            raise ValueError(
                f"model {self.model.name!r} takes inputs of shape {tuple(shape[1:])}, which leaves a size open: "
                "call the explainer on inputs first, or prepare(input_shape)"
            )
        return tuple(shape[1:])

    def _chunk(self, shape: tuple[int, ...], n: int | None) -> int:
        if self._batch_size is not None:
            largest = self._batch_size
        else:
            largest = min(_MAX_CHUNK, _power_of_two(_CHUNK_VALUES // max(1, int(np.prod(shape)))))
        # Powers of two: few compiled sizes serve every n, and a last smaller chunk is filled up instead of traced.
        return largest if n is None else min(largest, _power_of_two(n))

    def _pass_for(self, shape: tuple[int, ...], chunk: int) -> Callable[..., Any]:
        key = (chunk, *shape)
        if key not in self._passes:
            traced: list[Traced] = []

            def compute(x: Tensor, target: Tensor) -> dict[str, Tensor]:
                mask = ops.ones_like(x)
                found = run(self.model, x, mask, self.composite, self._on_unknown, self._choose)
                self._check_output(found.logits)
                traced.append(found)
                return _explain(found, mask, target)

            signature = [((chunk, *shape), "float32"), ((chunk,), "int32")]
            self._passes[key] = backend.trace(compute, signature, self._jit_compile)
            found = traced[-1]
            self._rows, self._notes = found.rows, tuple(found.notes)
            self._activation, self._width = found.activation, int(found.logits.shape[-1])
        return self._passes[key]

    def _choose(self, output: Any) -> Tensor:
        if backend.is_tensor(output):
            if self._output not in (None, 0):
                names = getattr(self.model, "output_names", None) or [0]
                if self._output not in names:
                    raise ValueError(f"output={self._output!r}: model {self.model.name!r} has one output, {names[0]!r}")
            return output
        if isinstance(output, Mapping):
            named = dict(output)
        else:
            names = getattr(self.model, "output_names", None) or range(len(output))
            named = dict(zip(names, output, strict=True))
        if len(named) == 1 and self._output is None:
            return next(iter(named.values()))
        if self._output is None:
            raise ValueError(
                f"model {self.model.name!r} has several outputs: choose one with output=, by name or position: "
                f"{list(named)}"
            )
        if self._output in named:
            return named[self._output]
        if isinstance(self._output, int) and 0 <= self._output < len(named):
            return list(named.values())[self._output]
        raise ValueError(f"output={self._output!r} is none of model {self.model.name!r}'s outputs: {list(named)}")

    def _check_output(self, logits: Tensor) -> None:
        if len(logits.shape) != 2 or logits.shape[-1] is None:
            raise ValueError(
                f"the explained output of model {self.model.name!r} has shape {tuple(logits.shape)}; an explanation "
                "needs (n, classes): one row of logits a sample"
            )

    def __call__(self, inputs: ArrayLike, target: Target = None) -> NDArray[np.float32]:
        """Relevance of ``inputs`` (n, ...) for ``target``, float32 of the inputs' shape; see :meth:`explain`."""
        return self.explain(inputs, target).relevance

    def explain(self, inputs: ArrayLike, target: Target = None) -> Explanation:
        """Explain ``inputs`` (n, ...): ``target`` is None (the predicted class), a class, or one class per sample.

        Raises ValueError for inputs that are empty, not finite or of another shape than the model's, and for
        targets outside the model's outputs; TypeError for inputs or targets that are not numbers.
        """
        x = self._checked_inputs(inputs)
        n, shape = len(x), x.shape[1:]
        chunk = self._chunk(shape, n)
        compute = self._pass_for(shape, chunk)
        wanted = self._checked_target(target, n)
        parts: list[dict[str, NDArray[Any]]] = []
        with backend.full_precision():
            for start in range(0, n, chunk):
                stop = min(start + chunk, n)
                fill = start + chunk - stop
                part = compute(*(_filled(array[start:stop], fill) for array in (x, wanted)))
                parts.append({key: np.asarray(value)[: stop - start] for key, value in part.items()})
        joined = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
        return Explanation(
            relevance=joined["relevance"],
            target=joined["target"].astype(np.int64),
            logit=joined["logit"],
            logits=joined["logits"],
            output=joined["output"],
            activation=self._activation,
        )

    def _checked_inputs(self, inputs: ArrayLike) -> NDArray[np.float32]:
        x = np.asarray(inputs)
        if x.dtype.kind not in "fiub":
            raise TypeError(f"inputs must be numbers, got an array of {x.dtype}")
        expected = self.model.input_shape if _has_known_input(self.model) else None
        if isinstance(expected, tuple) and expected and not isinstance(expected[0], tuple | list):
            fits = x.ndim == len(expected) and all(
                want in (None, got) for want, got in zip(expected[1:], x.shape[1:], strict=True)
            )
            if not fits:
                raise ValueError(
                    f"inputs have shape {x.shape}, but model {self.model.name!r} takes (n, "
                    f"{', '.join('any' if size is None else str(size) for size in expected[1:])})"
                )
        if x.ndim < 2 or x.size == 0:
            raise ValueError(f"inputs must hold at least one sample of shape (n, ...), got shape {x.shape}")
        x = np.ascontiguousarray(x, dtype=np.float32)
        finite = np.isfinite(x.reshape(len(x), -1)).all(axis=1)
        if not finite.all():
            raise ValueError(f"inputs hold NaN or infinity in sample {int(np.flatnonzero(~finite)[0])}")
        return x

    def _checked_target(self, target: Target, n: int) -> NDArray[np.int32]:
        if target is None:
            return np.full(n, -1, np.int32)
        wanted = np.asarray(target)
        if wanted.dtype.kind not in "iu":
            raise TypeError(f"target must be None, a class or one class per sample, all whole numbers, got {target!r}")
        if wanted.ndim == 0:
            wanted = np.full(n, wanted)
        if wanted.shape != (n,):
            raise ValueError(f"target must be one class per sample, shape ({n},), got shape {wanted.shape}")
        if wanted.min() < 0 or wanted.max() >= self.classes:
            bad = wanted[(wanted < 0) | (wanted >= self.classes)][0]
            raise ValueError(
                f"target {bad} lies outside the outputs of model {self.model.name!r}: 0 to {self.classes - 1}"
            )
        return wanted.astype(np.int32)

    def __str__(self) -> str:
        """The table layer -> treatment for this model."""
        self.prepare()
        widths = [max(len(getattr(row, column)) for row in self._rows) for column in ("layer", "kind")]
        lines = [f"{r.layer:<{widths[0]}}  {r.kind:<{widths[1]}}  {r.treatment}" for r in self._rows]
        start = f"behind its {self._activation}" if self._activation else "its output"
        lines.append(f"relevance starts from the logits of model {self.model.name!r} ({start})")
        return "\n".join([str(self.composite), "", *lines, *(f"note: {note}" for note in self._notes)])


def relevance(
    model: Any,
    inputs: ArrayLike,
    target: Target = None,
    composite: str | Composite = "epsilon_plus_flat",
    **options: Any,
) -> NDArray[np.float32]:
    """Relevance of ``inputs`` for ``target``: float32 of the inputs' shape, summing to (about) the explained logit.

    A short form of ``Explainer(model, composite, **options)(inputs, target)``, which see; to explain more than once,
    make the Explainer, which compiles once.
    """
    return Explainer(model, composite, **options)(inputs, target)


def _explain(found: Traced, mask: Tensor, target: Tensor) -> dict[str, Tensor]:
    logits = ops.cast(found.logits, "float32")
    width = logits.shape[-1]
    if found.activation == "sigmoid" and width == 1:
        predicted = ops.cast(logits[:, 0] > 0, "int32")
        chosen = ops.where(target < 0, predicted, target)
        logit = ops.where(chosen == 0, -logits[:, 0], logits[:, 0])
    else:
        predicted = ops.cast(ops.argmax(logits, axis=-1), "int32")
        chosen = ops.where(target < 0, predicted, target)
        logit = ops.sum(logits * ops.one_hot(chosen, width), axis=-1)
    result = backend.gradient(ops.sum(logit), mask)
    if result is None:
        raise ValueError("no differentiable path leads from the model's input to its output")
    return {
        "relevance": result, "target": chosen, "logit": logit, "logits": logits,
        "output": ops.cast(found.output, "float32"),
    }  # fmt: skip


def _has_known_input(model: Any) -> bool:
    try:
        return model.input_shape is not None
    except AttributeError:  # Keras raises it for subclassed models, which have no symbolic input
        return False


def _power_of_two(n: int) -> int:
    return 1 << max(0, int(n) - 1).bit_length()


def _filled(array: NDArray[Any], fill: int) -> NDArray[Any]:
    return array if not fill else np.concatenate([array, np.repeat(array[-1:], fill, axis=0)])
