"""check(model): what LRP can do with a model, in one report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Unpack

import keras
import numpy as np
from numpy.typing import NDArray

from lrp_monitor.arguments import Preset, check_keywords
from lrp_monitor.engine.errors import UnsupportedModelError
from lrp_monitor.engine.explainer import Explainer, ExplainerOptions
from lrp_monitor.engine.inputs import alone, known_shapes
from lrp_monitor.engine.inspection import Inspection, LayerRelevance
from lrp_monitor.engine.rules.composites import Composite, resolve
from lrp_monitor.engine.targets import Target
from lrp_monitor.engine.trace.recording import short_path
from lrp_monitor.plain import Result, plain
from lrp_monitor.text import aligned, number

# Shares of relevance that differ from 1 by less than this are rounding.
_ROUNDING = 1e-3


@dataclass(frozen=True)
class ModelReport(Result):
    """What a model is to LRP: which layers have a treatment, and what becomes of relevance in each of them."""

    model: str
    composite: str
    problems: tuple[str, ...]
    """What cannot be treated, empty where everything can."""
    notes: tuple[str, ...]
    inspection: Inspection | None
    """Relevance at every layer for the inputs that were tried; None where the model is not supported."""
    bad_weights: tuple[str, ...]
    """Variables that hold NaN or infinity."""

    @property
    def supported(self) -> bool:
        """Whether relevance passes every layer and operation."""
        return not self.problems

    @property
    def ok(self) -> bool:
        """Whether the model is supported and nothing in it is NaN or infinite."""
        return self.supported and not self.bad_weights and not self.nonfinite and not self.unpredicted

    @property
    def folded(self) -> tuple[str, ...]:
        """Layers folded into the weighted layer before them."""
        return tuple(layer.name for layer in self._layers if layer.treatment.startswith("folded"))

    @property
    def nonfinite(self) -> tuple[str, ...]:
        """Layers whose relevance is NaN or infinite for the inputs that were tried."""
        return tuple(layer.name for layer in self._layers if not layer.is_finite)

    @property
    def unpredicted(self) -> int:
        """Of the inputs that were tried, those with a logit that is NaN or infinite."""
        if self.inspection is None:
            return 0
        logits = self.inspection.explanation.logits
        return int(np.count_nonzero(~np.isfinite(logits.reshape(len(logits), -1)).all(axis=1)))

    @property
    def absorbed(self) -> dict[str, float]:
        """Layer -> share of its relevance that goes no further, where there is one (a bias, a stabiliser)."""
        return {layer.name: -change for layer in self._layers if (change := _change(layer)) < 0}

    @property
    def created(self) -> dict[str, float]:
        """Layer -> what it adds to its relevance, as a share of it, where it adds any."""
        return {layer.name: change for layer in self._layers if (change := _change(layer)) > 0}

    @property
    def _layers(self) -> tuple[LayerRelevance, ...]:
        return () if self.inspection is None else self.inspection.layers

    def to_dict(self) -> dict[str, Any]:
        """Everything but maps as plain data; what is not finite is None."""
        same = ("model", "composite", "ok", "supported", "problems", "notes", "bad_weights", "nonfinite", "folded")
        found = {name: plain(getattr(self, name)) for name in (*same, "absorbed", "created")}
        conservation = None if self.inspection is None else plain(self.inspection.explanation.conservation)
        return found | {"conservation": conservation, "layers": [layer.to_dict() for layer in self._layers]}

    def __str__(self) -> str:
        lines = [f"model {self.model!r} under composite {self.composite!r}: " + self._verdict()]
        lines += [f"  - {problem}" for problem in self.problems]
        lines += [f"  weights hold NaN or infinity: {name}" for name in self.bad_weights]
        if self.inspection is not None:
            logit = self.inspection.explanation.logit
            lines.append(
                f"  tried on {len(logit)} samples; the sum of relevance over the explained logit is "
                f"{_number(_middle(self.inspection.explanation.conservation))} at the input (medians throughout); what "
                "is missing was absorbed by biases and stabilisers, where it says so below"
            )
            head = ("layer", "kind", "of the logit", "passed on", "treatment")
            rows = [
                (layer.name, layer.kind, _number(_middle(layer.conservation)), self._passed(layer), layer.treatment)
                for layer in self._layers
            ]
            lines += [f"  {line}" for line in aligned([head, *rows], len(head))]
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join(lines)

    def _verdict(self) -> str:
        if self.problems:
            return f"not supported, {len(self.problems)} without a treatment"
        where = [*self.bad_weights, *self.nonfinite]
        if self.unpredicted:
            where.append(f"the logits of {self.unpredicted} samples")
        return f"supported, but not finite at {', '.join(where)}" if where else "supported"

    def _passed(self, layer: LayerRelevance) -> str:
        if not layer.is_finite:
            return "NOT FINITE"
        word = {-1: " absorbs", 1: " creates"}.get(int(np.sign(_change(layer))), "")
        return f"{_number(_middle(layer.kept))}{word}"


def _change(layer: LayerRelevance) -> float:
    """What a layer adds to its relevance, as a share of it: below 0 what goes no further, 0 where that is rounding."""
    kept = _middle(layer.kept)
    return 0.0 if kept is None or abs(kept - 1.0) <= _ROUNDING else kept - 1.0


def _middle(values: NDArray[np.float64] | None) -> float | None:
    """The median of the finite values, None where there are none."""
    if values is None:
        return None
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else None


def _number(value: float | None) -> str:
    return "-" if value is None else number(value, 4)


def check(
    model: Any,
    inputs: Any = None,
    target: Target = None,
    composite: Preset | Composite = "auto",
    **options: Unpack[ExplainerOptions],
) -> ModelReport:
    """Try a model and report: what is supported, what is folded where, where relevance is absorbed or created.

    ``inputs`` (n, ...) are the samples to try it on; by default four samples of uniform noise in 0..1 (of whole
    numbers in 0..255 where the model takes unsigned bytes, of 0 and 1 where it takes other integers). ``options`` are
    those of :class:`Explainer`. Returns a :class:`ModelReport` that prints itself; a model that cannot be explained is
    reported, not raised. Raises ValueError or TypeError for arguments that do not fit, as Explainer does.
    """
    check_keywords(check, options, Explainer)
    explainer = Explainer(model, composite, **options)
    if inputs is None:
        rng = np.random.default_rng(0)
        shapes = known_shapes(model)
        kinds = [str(tensor.dtype) for tensor in getattr(model, "inputs", None) or ()] or ["float32"] * len(shapes)
        inputs = alone([_noise(rng, (4, *shape), kind) for shape, kind in zip(shapes, kinds, strict=True)])
    bad = tuple(
        short_path(variable.path, model)
        for variable in model.variables
        if "float" in str(variable.dtype) and not np.isfinite(np.asarray(keras.ops.cast(variable, "float32"))).all()
    )
    try:
        inspection = explainer.inspect(inputs, target)
    except UnsupportedModelError as error:
        return ModelReport(model.name, resolve(composite).name, error.problems, (), None, bad)
    return ModelReport(model.name, explainer.composite_name, (), explainer.notes, inspection, bad)


def _noise(rng: np.random.Generator, shape: tuple[int, ...], kind: str) -> NDArray[np.float32]:
    if "int" not in kind:
        return rng.uniform(size=shape).astype(np.float32)
    return rng.integers(0, 256 if kind == "uint8" else 2, size=shape).astype(np.float32)
