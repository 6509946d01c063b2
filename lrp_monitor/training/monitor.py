"""LRPMonitor: the callback that watches a fit."""

from __future__ import annotations

import atexit
import copy
import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

import keras
import numpy as np
from numpy.typing import ArrayLike

from lrp_monitor.arguments import OnUnknown, Preset, renamed
from lrp_monitor.engine.inputs import check_model
from lrp_monitor.probes import ProbeSet
from lrp_monitor.training.fit_logger import FitLogger
from lrp_monitor.training.options import Options, checked_probes, name_list
from lrp_monitor.training.probes.alerts import alert_limits
from lrp_monitor.training.probes.baseline import read_baseline
from lrp_monitor.training.probes.explained import groups
from lrp_monitor.training.probes.features import feature_counts, reference_samples
from lrp_monitor.training.steps.schedule import Schedule
from lrp_monitor.training.trials import Trials, placeholder

if TYPE_CHECKING:
    from lrp_monitor.engine.rules.composites import Composite
    from lrp_monitor.regression.snapshot import Snapshot


class _FormerNames(TypedDict, total=False):
    """Options under the names that they had before 0.1."""

    layers: str | Sequence[str] | None
    inspect: str | Sequence[str] | None


_RENAMED = {"layers": "histograms", "inspect": "relevance_layers"}


class LRPMonitor(keras.callbacks.Callback):  # type: ignore[misc]  # Keras ships no types
    """Logs heatmaps of fixed probes, weight and gradient histograms while a model trains.

    Goes into `callbacks=[...]` of `model.fit`, in any order with others; the trained weights are the same
    with and without it. Writes `<log_dir>/lrp`: a store of every logged step (read by
    `lrp_monitor.open_run`) and an event file for TensorBoard. What is wrong with arguments, model, probes
    or directory raises before training; a failure inside a log warns once (RuntimeWarning), is noted in the
    next record, and training goes on.

    Example:
        probes = lrp.ProbeSet.from_dataset((x_val, y_val), masks={"stamp": (2, 2, 7, 7)})
        monitor = lrp.LRPMonitor(probes, log_dir="runs/first", every=1, alert={"stamp": 0.25})
        model.fit(x, y, epochs=20, callbacks=[monitor])

    The state before training and the last one are always logged. In a loop of short fits the end of a fit is not the
    training's: where nothing was due in a fit of one epoch, or in any after the first, and in one of one epoch after
    another of one epoch, the last state is logged by `close()`, at the end of a `with` statement, when the process
    ends, or when another model is next, unless a fit goes on from there.

    Steps count completed epochs, or completed batches where `batches` or `first_epoch` is given, over all fits of a
    run: a second fit continues where the first one ended, or at `initial_epoch` or BackupAndRestore's epoch (see
    steps.position.resume_point). The record of a step holds the weights after it and the gradient of the last batch
    before it.

    Raises TypeError or ValueError that names the argument; BaselineError about a baseline; StoreError (an OSError where
    the system refused) about log_dir; UnsupportedModelError about layers.

    Args:
        probes: the ProbeSet to explain.
        log_dir: the run's folder, or its URL ("s3://bucket/run", extra "remote"); give each run its own. "{trial}" in
            it is replaced by KerasTuner's id of the trial, else by the number of the model, from 0, that this monitor
            and its copies have met; or a function from that to the folder.
        every: epochs between logs, counted over all fits of a run. Default 1, or no logs at ends of epochs where
            `batches` is given.
        batches: batches between logs, counted over the whole run.
        first_epoch: "log" adds batches 1, 2, 4, 8 ... of the run's first epoch.
        composite: a preset's name, a Composite, or "auto" for the preset that fits the model (see the documentation's
            page on composites); with a baseline, that of the baseline where it is a preset.
        output: which output to explain of a model with several (name or index).
        gradients: "train" (of the last training batch before the log, before clipping), "probe" (of the loss on the
            probes, in inference mode) or "off".
        weights: whether weights have histograms and norms and, with gradients="train", update ratios: how far the
            captured step moved them, over their norm.
        histograms: the tensors with histograms and norms, such as "conv2d", "conv2d/kernel", "conv*"; None for all.
        encoding: of the maps in the store: "sqrt8", "float16" or "float32".
        max_store_mb: stop storing maps (never statistics) once the store has this size, in 10**6 bytes.
        batch_size: probes explained at a time; None chooses by what a pass needs, the training batch and free memory.
            Where memory runs out it is halved, with a RuntimeWarning and a note in the run.
        device: where the probes are explained, such as "CPU:0"; None leaves it to TensorFlow.
        on_unknown: "raise", or "gradient" to let plain gradients through layers without a rule (noted in the run).
        standard_summaries: whether TensorBoard's own scalar and histogram tabs get their share.
        verbose: 1 prints a line per log and the TensorBoard command, 0 nothing.
        alert: {mask: limit}, limits in (0, 1]: a RuntimeWarning, once per crossing, where the mask's mean share of
            positive relevance (the scalar lrp/mask_mass/<mask>) is greater than its limit at a log, and once where no
            probe has such a share (see `metrics.mask_mass`), so that the limit cannot be checked.
        stop_on_alert: whether a log above a limit also ends the fit, as EarlyStopping does: after the batch or epoch
            that it was taken at, the last state logged as usual. A fit's first state only warns: nothing was trained.
        relevance_layers: "all", or the layers ("conv2d", "block1*", "base" for all inside it) whose relevance is logged
            for each probe: the sum at the layer's output over the explained logit, as statistic "layer/<layer>".
        channels: whether each heatmap's parts by input channel are stored besides; they take as much room as a map
            each. Of several inputs those of each, as many as the one with the most has.
        clusters: whether the heatmaps are grouped at each log (spectral relevance analysis, needs the extra
            "clusters"), as statistic "cluster": 0 the largest group, -1 no relevance. Groups are of their step, not
            tracked.
        baseline: a baseline's path (or a Snapshot, or a logged run) of the same probes: how like it the heatmaps are is
            drawn as lrp/baseline/cosine, iou, js, relative_l2, logits, flips, places and mask_rise/<mask>. Probes
            without labels or targets explain its classes, or its region of an output of maps.
        on_other_model: what to do where log_dir holds a run and the model is not the one last logged there: "new_run"
            begins one beside it (`<log_dir>/lrp-2`, ...), "continue" goes on in that run, each with a RuntimeWarning;
            "raise" refuses with a StoreError before training.
        features: the layers whose channels are watched: a name such as "conv_3", several, {"conv_3": 8}, or "auto" (the
            last convolution; with attention, the last block's feed-forward layer). Logged for each: relevance by probe
            and channel, whether a channel fired, and, for the channels that lead in a class (4, or the number given) or
            have led in it (together at most one and a half times that number), the channel's own heatmap of each probe
            of that class. See
            `Run.features`, `Run.table("channel")` and the scalars lrp/features/<layer>/needed, unused, dead.
        references: samples beyond the probes (m, *shape of a probe), up to some thousands, among which the ones with
            the most relevance in each channel of `features` are named: at the first, the last and every 10th log.
    """

    def __init__(
        self,
        probes: ProbeSet,
        log_dir: str | os.PathLike[str] | Callable[[str], str | os.PathLike[str]],
        *,
        every: int | None = None,
        batches: int | None = None,
        first_epoch: Literal["log"] | None = None,
        composite: Preset | Composite = "auto",
        output: int | str | None = None,
        gradients: Literal["train", "probe", "off"] = "train",
        weights: bool = True,
        histograms: str | Sequence[str] | None = None,
        encoding: Literal["sqrt8", "float16", "float32"] = "sqrt8",
        max_store_mb: float | None = None,
        batch_size: int | None = None,
        device: str | None = None,
        on_unknown: OnUnknown = "raise",
        standard_summaries: bool = True,
        verbose: int = 1,
        alert: Mapping[str, float] | None = None,
        stop_on_alert: bool = False,
        relevance_layers: str | Sequence[str] | None = None,
        channels: bool = False,
        clusters: bool = False,
        baseline: str | os.PathLike[str] | Snapshot | None = None,
        on_other_model: Literal["new_run", "continue", "raise"] = "new_run",
        features: str | Sequence[str] | Mapping[str, int] | None = None,
        references: ArrayLike | None = None,
        **former: Unpack[_FormerNames],
    ) -> None:
        super().__init__()
        present = {"histograms": histograms, "relevance_layers": relevance_layers}
        present |= renamed(LRPMonitor, former, _RENAMED, present)
        if clusters is True:
            groups(np.ones((1, 1), np.float32))  # raises now, not at the first log, where scikit-learn is missing
        self.options = Options(
            probes=checked_probes(probes),
            log_dir=placeholder(log_dir),
            schedule=Schedule.of(every, batches, first_epoch),
            composite=composite,
            output=output,
            gradients=gradients,
            weights=weights,
            histograms=name_list(
                "histograms",
                present["histograms"],
                'names such as "conv2d" or "dense/kernel", or None for all tensors',
            ),
            encoding=encoding,
            max_store_mb=max_store_mb,
            batch_size=batch_size,
            device=device,
            on_unknown=on_unknown,
            standard_summaries=standard_summaries,
            verbose=verbose,
            alerts=alert_limits(alert, probes),
            stop_on_alert=stop_on_alert,
            relevance_layers=name_list(
                "relevance_layers",
                present["relevance_layers"],
                '"all", names of layers such as "conv2d" or "block1*", or None',
            ),
            channels=channels,
            clusters=clusters,
            baseline=None if baseline is None else read_baseline(baseline, probes),
            on_other_model=on_other_model,
            features=feature_counts(features),
            references=reference_samples(references, probes, feature_counts(features)),
        )
        self._trials = Trials(log_dir)
        self._fit_logger: FitLogger | None = None
        self._before: FitLogger | None = None  # the last fit, whose end is not logged as long as another may follow
        self._run_dir = self.options.run_dir

    @property
    def run_dir(self) -> str:
        """The folder that holds the store and the event file of the present or last fit: `<log_dir>/lrp`.

        `<log_dir>/lrp-2` and so on for models that are logged beside another one (see `on_other_model`).
        """
        return self._run_dir if self._fit_logger is None else self._fit_logger.run_dir

    def close(self) -> None:
        """Logs the state that the last fit ended in where that was put off, and closes the files.

        It is put off at the end of fits that look like those of a loop (see `every`); a later fit goes on as ever.
        Also called at the end of a `with` statement and when the process ends.
        """
        unfinished, self._fit_logger = self._fit_logger, None
        if unfinished is not None:  # a fit that ended in an exception never came to on_train_end
            self._run_dir = unfinished.run_dir
            unfinished.interrupted()
        before, self._before = self._before, None
        if before is not None:
            before.log_end()

    def __enter__(self) -> LRPMonitor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __deepcopy__(self, memo: dict[int, Any]) -> LRPMonitor:
        """A monitor with the same options that has watched no fit; what tuners take for each trial."""
        copied = copy.copy(self)
        memo[id(self)] = copied
        copied._fit_logger = copied._before = copied._model = None
        copied._run_dir = copied.options.run_dir
        copied._trials = self._trials.copied(memo)
        ours = {"options", "_trials"}  # the rest are a subclass' own
        copied.__dict__.update(copy.deepcopy({k: v for k, v in copied.__dict__.items() if k not in ours}, memo))
        return copied

    def set_model(self, model: keras.Model) -> None:
        """Keras' call before all others. TypeError for a model that is not one of Keras 3."""
        check_model(model)
        super().set_model(model)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Checks everything that training could fail on, and opens the run."""
        unfinished, self._fit_logger = self._fit_logger, None
        if unfinished is not None:
            unfinished.interrupted()
        options = self._trials.placed(self.options, self, self.model)
        self._fit_logger = FitLogger(self.model, self.params, options, self._before)
        self._before = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """The first one: chooses the run, finds the position on its axis and logs the first state."""
        if self._fit_logger is not None:
            self._fit_logger.epoch_begin(epoch)

    # There is no on_train_batch_end: defining it would switch off Keras' asynchronous dispatch.
    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Logs what was due after the batch before, and has this one's gradient captured where it is due."""
        if self._fit_logger is not None:
            self._fit_logger.batch_begin()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Logs the end of the epoch where it is due."""
        if self._fit_logger is not None:
            self._fit_logger.epoch_end(logs)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Logs the last state where that is due or the training's end, and closes the run."""
        ended, self._fit_logger = self._fit_logger, None
        if ended is not None:
            self._run_dir = ended.run_dir
            if ended.train_end():
                self._before = ended
                _PUT_OFF.add(self)


_PUT_OFF: weakref.WeakSet[LRPMonitor] = weakref.WeakSet()


@atexit.register
def _log_ends() -> None:
    for monitor in list(_PUT_OFF):
        monitor.close()
