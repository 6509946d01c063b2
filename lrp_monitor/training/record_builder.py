"""From the model's present state to one record: explain the probes, count the weights, add the gradient."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from lrp_monitor.passes.memory import is_out_of_memory
from lrp_monitor.probes import ProbeSet
from lrp_monitor.store.format import Histogram, LayerFeatures, ProbeInfo, StepRecord
from lrp_monitor.store.reader import open_run
from lrp_monitor.text import first_line
from lrp_monitor.training.checks import chosen_tensors, loss_targets
from lrp_monitor.training.probes.explained import ExplainedProbes, ProbeExplainer, Targets
from lrp_monitor.training.probes.features import feature_scalars
from lrp_monitor.training.probes.statistics import probe_scalars
from lrp_monitor.training.steps.position import Position
from lrp_monitor.training.tensors.capture import GradientCapture
from lrp_monitor.training.tensors.histograms import TensorStatistics
from lrp_monitor.training.tensors.names import tensor_names
from lrp_monitor.training.tensors.probe_gradients import ProbeGradients
from lrp_monitor.training.tensors.updates import Update

NO_STEP_YET = "no training step yet"
NOT_CAPTURED = "not captured: at the last batch it was not known that a log would follow"


@dataclass
class CapturedGradient:
    """Histograms of a gradient, the run's batch it is of (None: none), why there is none, and what its step changed."""

    histograms: list[Histogram] | None = None
    batch: int | None = None
    reason: str = NO_STEP_YET
    updates: dict[str, Update] = field(default_factory=dict)


@dataclass
class RecordBuilder:
    """Builds the records of one model and one probe set.

    Attributes:
        probe_explainer: explains the probes.
        gradients: "train", "probe" or "off".
        layers: which tensors have histograms, None for all.
        targets: the classes explained, (n,), -1 for a probe that has none yet, or a run's region; None until the first
            log.
        previous: the heatmaps of the log before.
        capture: the training gradient's, where asked for.
        activation: what the model ends in.
        gradient_problem: why the last record holds no gradient, where that failed.
    """

    model: keras.Model
    probes: ProbeSet
    probe_explainer: ProbeExplainer
    gradients: str
    weights: bool
    layers: list[str] | None
    targets: Targets = None
    previous: NDArray[np.float32] | None = None
    capture: GradientCapture | None = field(init=False, default=None)
    _pending: CapturedGradient = field(init=False, default_factory=CapturedGradient)
    _armed: int | None = field(init=False, default=None)
    activation: str | None = field(init=False, default=None)
    gradient_problem: str | None = field(init=False, default=None)
    _nonfinite: set[str] = field(init=False, default_factory=set)

    def __post_init__(self) -> None:
        if self.gradients == "train":
            self.capture = GradientCapture(self.model, updates=self.weights)
        # Asked for again at every log: unfreezing or replacing a layer between fits changes what there is.
        self._statistics = TensorStatistics(lambda: self._chosen(trainable_only=False))
        self._probe_gradients: ProbeGradients | None = None
        if self.gradients == "probe":
            targets = loss_targets(self.model, self.probes)
            behind = self.probe_explainer.explainer.model
            self._probe_gradients = ProbeGradients(self.model, self.probes.inputs, targets, called=behind)

    @property
    def tensors(self) -> list[tuple[str, str]]:
        """(kind, name) of every histogram of a record."""
        found = [("weight", name) for name in self._chosen(trainable_only=False)] if self.weights else []
        if self.gradients != "off":
            found += [("gradient", name) for name in self._chosen(trainable_only=True)]
        return found

    def explain(self) -> ExplainedProbes:
        """Explains the probes with the present weights."""
        explained = self.probe_explainer.explain(self.targets, self.previous)
        if isinstance(self.targets, np.ndarray) and (self.targets < 0).any():
            self.targets = explained.explanation.target  # a probe's class is fixed once there is one
        self.activation = explained.explanation.activation
        return explained

    # ---- the training gradient

    def arm(self, batch: int) -> None:
        """Captures the gradient of the step that is about to run; `batch` is its last batch, run-wide."""
        self.collect()
        if self.capture is not None:
            self.capture.arm()
            self._armed = batch

    def collect(self) -> None:
        """Keeps what the armed step has captured, if it has run."""
        if self.capture is None or self._armed is None:
            return
        batch, self._armed = self._armed, None
        histograms, updates = self.capture.take(), self.capture.take_updates()
        self.capture.disarm()
        if histograms is not None:
            self._pending = CapturedGradient(histograms, batch, updates=updates)
        elif self._pending.histograms is None:
            self._pending = CapturedGradient(reason=self.capture.problem or NOT_CAPTURED, updates=updates)

    @property
    def gradient_remarks(self) -> list[str]:
        """What is to be known of the last captured step."""
        found = [] if self.capture is None else [self.capture.remark, self.capture.update_problem]
        return [remark for remark in found if remark is not None]

    @property
    def whose_gradient(self) -> str:
        """Which gradient a step's record holds, as text before the step's number."""
        return "probes' gradient at" if self.gradients == "probe" else "training gradient before"

    def forget_gradient(self, reason: str = NOT_CAPTURED) -> None:
        """A record holds the gradient of a step since the record before it, or none."""
        self._pending = CapturedGradient(reason=reason)

    # ---- the record

    def record(
        self, position: Position, step: int, explained: ExplainedProbes, notes: list[str], last_of_fit: bool = False
    ) -> StepRecord:
        """The record of a place on the run's axis, from what `explain` saw there. last_of_fit: the fit ends with it."""
        gradient = self._gradient(position)
        expected = gradient.histograms is not None or gradient.reason in (NO_STEP_YET, NOT_CAPTURED)
        self.gradient_problem = None if expected or self.gradients == "off" else gradient.reason
        weights = self._statistics() if self.weights else []
        histograms = weights + self._gradient_histograms(gradient)
        scalars = probe_scalars(explained.statistics, self.probes.labels) | explained.scalars
        if self.weights:
            scalars |= self._tensor_scalars("weights", weights)
            scalars |= self._update_scalars(gradient.updates)
        if gradient.histograms is not None:
            prefix = "probe_gradients" if self.gradients == "probe" else "gradients"
            chosen = [h for h in histograms if h.kind == "gradient" and not h.note]
            scalars |= self._tensor_scalars(prefix, chosen)
        features, references = self._features(explained, last_of_fit)
        scalars |= feature_scalars(features)
        return StepRecord(
            step=step,
            epoch=position.epoch,
            batch=position.batch,
            wall_time=time.time(),
            heatmaps=explained.heatmaps,
            channels=explained.channels,
            probes=explained.statistics,
            scalars=scalars,
            histograms=histograms,
            notes=notes,
            gradient_batch=gradient.batch,
            last_of_fit=last_of_fit,
            features=features,
            predicted_maps=explained.predicted_maps,
            references=references,
        )

    def resume(self, run_dir: str) -> None:
        """Goes on with the channels that are logged in a run that is there already."""
        if self.probe_explainer.features is not None:
            self.probe_explainer.features.resume(open_run(run_dir))

    def feature_notes(self) -> list[str]:
        """What is to be noted of the channels that are logged, since this was asked last."""
        watched = self.probe_explainer.features
        found = [] if watched is None else list(watched.notes)
        if watched is not None:
            watched.notes.clear()
        return found

    def _features(self, explained: ExplainedProbes, last: bool) -> tuple[list[LayerFeatures], ProbeInfo | None]:
        watched = self.probe_explainer.features
        if watched is None:
            return [], None
        target = explained.statistics.get("target", np.full(len(self.probes), np.nan))
        classes = np.where(np.isfinite(target), target, -1).astype(np.int64)  # as they are read from the record
        return watched.log(explained.layer_channels, classes, explained.target, last)

    def _gradient(self, position: Position) -> CapturedGradient:
        if self._probe_gradients is not None:
            try:
                return CapturedGradient(self._probe_gradients(), position.batch)
            except Exception as error:  # out of memory comes in many types; anything else goes on as it is
                if not is_out_of_memory(error):
                    raise
                return CapturedGradient(
                    reason=f"memory ran out for the gradient on all probes at once: {first_line(error)}"
                )
        self.collect()
        return self._pending

    def _gradient_histograms(self, gradient: CapturedGradient) -> list[Histogram]:
        if self.gradients == "off":
            return []
        wanted = self._chosen(trainable_only=True)
        if gradient.histograms is not None:
            return [histogram for histogram in gradient.histograms if histogram.name in wanted]
        return [
            Histogram("gradient", name, int(np.prod(variable.shape)), note=gradient.reason)
            for name, variable in wanted.items()
        ]

    def weight_norms(self) -> dict[str, float]:
        """The norms of the present weights by their scalars' tags, as a record holds them."""
        return self._tensor_scalars("weights", self._statistics()) if self.weights else {}

    def _tensor_scalars(self, prefix: str, histograms: list[Histogram]) -> dict[str, float]:
        """Norms, zero fractions (of gradients) and counts of what is not finite."""
        norms = {h.name: h.norm for h in histograms}
        scalars = {f"{prefix}/norm": float(np.sqrt(sum(norm**2 for norm in norms.values())))}
        scalars |= {f"{prefix}/norm/{name}": norm for name, norm in norms.items()}
        scalars[f"{prefix}/nonfinite"] = float(sum(h.nan + h.inf for h in histograms))
        for h in histograms:
            if prefix != "weights" and h.size:
                scalars[f"{prefix}/zero_fraction/{h.name}"] = h.zeros / h.size
            tag = f"{prefix}/nonfinite/{h.name}"
            if h.nan + h.inf or tag in self._nonfinite:
                self._nonfinite.add(tag)
                scalars[tag] = float(h.nan + h.inf)
        return scalars

    def _update_scalars(self, updates: dict[str, Update]) -> dict[str, float]:
        """Norm of the change in the captured step over the norm before it; none where that is 0."""
        wanted = self._chosen(trainable_only=True)
        norms = {name: update for name, update in updates.items() if name in wanted}
        if not norms:
            return {}
        whole = Update(*(float(np.linalg.norm(column)) for column in zip(*norms.values(), strict=True)))
        tags = {"weights/update_ratio": whole} | {f"weights/update_ratio/{name}": one for name, one in norms.items()}
        return {tag: one.change / one.before for tag, one in tags.items() if one.before != 0}

    def _chosen(self, *, trainable_only: bool) -> dict[str, Any]:
        every = tensor_names(self.model)
        chosen = set(chosen_tensors(every, self.layers))
        named = tensor_names(self.model, trainable_only=True) if trainable_only else every
        return {name: variable for name, variable in named.items() if name in chosen}

    def close(self) -> None:
        """Puts Keras' train function back where a capture was still due."""
        if self.capture is not None:
            self.capture.close()
