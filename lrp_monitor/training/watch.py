"""One fit as it is watched: when to log, on which place of the axis, and what to do when a log fails."""

from __future__ import annotations

import time
import warnings
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import lrp_monitor
from lrp_monitor.engine.explainer import Explainer
from lrp_monitor.metrics import carries
from lrp_monitor.probes import ProbeSet
from lrp_monitor.store.format import ProbeInfo
from lrp_monitor.store.writer import estimate_bytes
from lrp_monitor.training import report
from lrp_monitor.training.alerts import Alerts
from lrp_monitor.training.axis import EpochProgress, Place, start_of_fit
from lrp_monitor.training.baseline import Baseline
from lrp_monitor.training.checks import check_classes, explained_units
from lrp_monitor.training.crew import Crew
from lrp_monitor.training.finiteness import Finiteness, loss_scalar
from lrp_monitor.training.layerwise import LayerRelevance
from lrp_monitor.training.look import Lookout, View
from lrp_monitor.training.measures import probe_scalars
from lrp_monitor.training.options import Options
from lrp_monitor.training.past import Past
from lrp_monitor.training.recorder import Recorder
from lrp_monitor.training.session import Onlooker, Session
from lrp_monitor.words import said


class Watch:
    """Watches one fit. Making it raises whatever is wrong; after the first epoch has begun nothing raises.

    model, params: as Keras gives them to callbacks. again: whether the same monitor has watched a fit before.
    """

    def __init__(self, model: keras.Model, params: dict[str, Any], options: Options, again: bool) -> None:
        self._model, self._params, self._options, self._again = model, params or {}, options, again
        self._schedule, self._axis = options.schedule, options.schedule.axis
        self._crew = Crew(model)
        failed: BaseException | None = None
        try:
            meta = self._open()
        except BaseException as error:
            failed = error
            raise
        finally:
            # A worker that raises alone would leave the others waiting for it.
            if self._crew.any(failed is not None) and failed is None:
                self._session.close()
                raise RuntimeError("LRPMonitor: another worker could not begin to log; its own error says why")
        self._changes = self._past.changes(meta)
        self._notes = [*self._lookout.explainer.notes, *self._changes]
        self._masked = {name: int(carries(mask).sum()) for name, mask in options.probes.masks.items()}
        self._report = report.Report(self._axis, options.verbose if self._crew.is_chief else 0, self._masked)
        self._place: Place | None = None  # the last end of an epoch, on the run's axis
        self._last_step: int | None = None
        self._progress = EpochProgress(1, None, None, 0)
        self._learned: int | None = None
        self._seen = 0  # batches of the run up to which it is settled whether they are due
        self._keras_epoch = 0
        self._warned: set[str] = set()
        self._alerts = Alerts(options.alerts, self._masked)
        self._finiteness = Finiteness(len(options.probes), self._axis)
        self._loss: dict[str, float] = {}

    def _open(self) -> dict[str, Any]:
        """Looks at everything that training could founder on, opens the run and returns what it is told of."""
        options, writes = self._options, self._crew.is_chief
        self._past = Past.of(options.run_dir, options.probes.hash) if writes else Past()
        self._past.check_axis(self._axis, options.log_dir)
        self._recorder = self._make_recorder()
        meta = self._meta()
        self._session = (
            Onlooker()
            if not writes
            else Session(
                options.run_dir,
                probe_info(options.probes),
                meta,
                encoding=options.encoding,
                max_store_mb=options.max_store_mb,
                gradients=options.gradients,
                summaries=options.standard_summaries,
            )
        )
        return meta

    def _make_recorder(self) -> Recorder:
        options = self._options
        probes = options.probes
        units = explained_units(self._model, probes, options.output)
        check_classes(probes, max(units, 2))  # one unit with a sigmoid tells two classes apart
        explainer = Explainer(
            self._model,
            options.composite,
            output=options.output,
            batch_size=options.batch_size,
            on_unknown=options.on_unknown,
        )
        layerwise = None if options.inspect is None else LayerRelevance(self._model, options.inspect)
        self._lookout = Lookout(explainer, probes, layerwise, options.channels, options.clusters)
        recorder = Recorder(self._model, probes, self._lookout, options.gradients, options.weights, options.layers)
        recorder.targets = probes.targets if probes.targets is not None else self._past.targets
        if options.baseline is not None:
            baseline = Baseline(options.baseline, explainer, probes, recorder.targets)
            self._lookout.baseline, recorder.targets = baseline, baseline.targets
        # The whole pass once: it compiles, and whatever the model holds that cannot be explained is named
        # now.
        recorder.look()
        check_classes(probes, explainer.classes)
        return recorder

    def _meta(self) -> dict[str, Any]:
        explainer, options = self._lookout.explainer, self._options
        return {
            "composite": explainer.composite_name,
            "composite_rules": str(explainer.composite),
            "composite_table": str(explainer),
            "classes": explainer.classes,
            "activation": self._recorder.activation,
            "axis": self._axis,
            "schedule": str(self._schedule),
            "gradients": options.gradients,
            "target": options.probes.target,
            "alerts": dict(options.alerts),
            "layers": [] if self._lookout.layerwise is None else self._lookout.layerwise.names,
            "baseline": None if self._lookout.baseline is None else self._lookout.baseline.source,
            "model": self._model.name,
            "parameters": int(self._model.count_params()),
            "versions": {
                "lrp_monitor": lrp_monitor.__version__,
                "keras": keras.__version__,
                "tensorflow": tf.__version__,
                "numpy": np.__version__,
            },
        }

    # ---- Keras' calls

    def epoch_begin(self, epoch: int) -> None:
        """Keras' epoch number. The first call finds the place on the axis and logs the baseline."""
        if self._place is None:
            self._start(epoch)
        assert self._place is not None
        self._report.tell()
        self._keras_epoch, self._loss = epoch, {}
        self._seen = self._place.batch
        per_execution = int(getattr(self._model, "steps_per_execution", 1) or 1)
        self._progress = EpochProgress(per_execution, self._params.get("steps"), self._learned, self._iterations())

    def batch_begin(self) -> None:
        """An execution (a batch, or steps_per_execution of them) is about to start."""
        try:
            self._batch_begin()
        except Exception as error:  # whatever fails here must not end a training
            self._problem(f"watching a batch failed: {said(error)}")

    def epoch_end(self, logs: dict[str, Any] | None = None) -> None:
        """The epoch's batches (and its validation) are done. logs: what Keras tells of it, its losses among them."""
        try:
            self._loss = loss_scalar(logs)
            self._epoch_end()
        except Exception as error:  # whatever fails here must not end a training
            self._problem(f"watching the end of an epoch failed: {said(error)}")

    def train_end(self) -> None:
        """The fit is over: logs its end where that is still to do, writes what is queued, tells."""
        try:
            if self._place is not None and self._place.step(self._axis) != self._last_step and self._ran:
                self._log(self._place)
            self.close()
            self._ask_session()
            self._report.tell()
            self._report.end(self._session.stored, self._session.bytes_written, self._options.log_dir)
        except Exception as error:  # a trained model must not be lost over its log
            self._problem(f"the end of the run failed: {said(error)}")

    def close(self) -> None:
        """Writes what is queued and closes the files. Calling it again does nothing."""
        self._recorder.close()
        self._session.close()

    # ---- the start

    def _start(self, initial_epoch: int) -> None:
        view = self._recorder.look()
        if self._recorder.targets is None:
            self._recorder.targets = np.asarray(view.explanation.target, np.int64)
        steps = self._params.get("steps")
        start = start_of_fit(
            self._axis,
            initial_epoch,
            steps,
            self._iterations(),
            self._past.places,
            lambda place: self._past.same(place, view.statistics),
            self._due,
            self._again,
        )
        epoch, batch, baseline = self._crew.share([*start.place, start.baseline])
        start = replace(start, place=Place(int(epoch), int(batch)), baseline=bool(baseline))
        self._place = start.place
        if start.note:
            self._notes.append(start.note)
        ahead = max(0, int(self._params.get("epochs", 1)) - initial_epoch)
        told = "; ".join(filter(None, [*self._changes, start.note]))
        self._plan(start.place.epoch, start.place.epoch + ahead, steps, told)
        self._report.first = report.Told(start.place.step(self._axis), self._scalars(view))
        if start.baseline:
            self._log(start.place, view)
        else:
            self._last_step = start.place.step(self._axis)
            self._recorder.previous = view.heatmaps

    def _due(self, place: Place) -> bool:
        if self._schedule.epoch_due(place.epoch) and self._axis == "epoch":
            return True
        return self._axis == "batch" and self._schedule.batch_due(place.batch - 1, place.batch, False)

    def _plan(self, first: int, last: int, steps: int | None, note: str) -> None:
        assert self._place is not None
        probes, tensors = self._options.probes, len(self._recorder.tensors)
        channels = probes.inputs.shape[probes.channel_axis] if self._options.channels and probes.channel_axis else 0
        each = estimate_bytes(len(probes), probes.map_shape, self._options.encoding, tensors, channels)
        self._report.plan(
            f"{len(probes)} probes, {self._lookout.explainer.composite_name}, {self._schedule}",
            self._schedule.count(first, last, steps),
            report.step_bytes(each, tensors if self._options.standard_summaries else 0),
            self._options.run_dir,
        )
        if self._past.places:
            held = [place.step(self._axis) for place in (self._past.places[0], self._past.places[-1])]
            self._report.continues(held[0], held[1], self._place.step(self._axis), note)

    # ---- batches and epochs

    def _batch_begin(self) -> None:
        assert self._place is not None
        progress, first = self._progress, self._place.epoch == 0
        progress.begin()
        if self._axis == "batch":
            done = self._place.batch + progress.done(self._iterations)
            # What is done with the epoch's last batch is logged at its end, as a completed epoch.
            if done > self._seen and not progress.past_the_end(done - self._place.batch):
                if self._schedule.batch_due(self._seen, done, first):
                    self._log(Place(self._place.epoch, done))
                self._seen = done
        if self._recorder.capture is not None and self._gradient_due(first):
            self._recorder.arm(self._place.batch + progress.after())

    def _gradient_due(self, first: bool) -> bool:
        """Whether the execution that has just begun is the last one before a log."""
        assert self._place is not None
        progress, start = self._progress, self._place.batch
        if getattr(self._model, "stop_training", False):
            return True  # set by a log before this batch: it is the fit's last one
        if self._axis == "batch" and self._schedule.batch_due(
            start + progress.before(), start + progress.after(), first
        ):
            return True
        if not (self._schedule.epoch_due(self._place.epoch + 1) or self._is_last_epoch):
            return False
        last = progress.is_last()
        # Of a length not known yet, batches 1, 2, 4, 8 ... stand in, so that the epoch's record has a
        # recent one.
        return last if last is not None else progress.begun & (progress.begun - 1) == 0

    def _epoch_end(self) -> None:
        assert self._place is not None
        progress, before = self._progress, self._place
        stopped = bool(getattr(self._model, "stop_training", False))
        done = progress.completed(self._iterations(), stopped)
        if not stopped:
            self._learned = done
        elif progress.expected is not None and done < progress.expected:
            self._notes.append(f"training stopped after batch {done} of the {progress.expected} of this epoch")
        self._place = Place(before.epoch + 1, before.batch + done)
        due = self._schedule.epoch_due(self._place.epoch) or self._is_last_epoch or stopped
        if self._axis == "batch" and not due:
            due = self._schedule.batch_due(self._seen, self._place.batch, before.epoch == 0)
        if due and self._place.step(self._axis) != self._last_step:
            self._log(self._place)

    @property
    def _is_last_epoch(self) -> bool:
        return self._keras_epoch + 1 >= int(self._params.get("epochs", 0))

    @property
    def _ran(self) -> bool:
        """Whether any batch of this fit has begun."""
        return self._progress.begun > 0

    def _iterations(self) -> int:
        iterations = getattr(getattr(self._model, "optimizer", None), "iterations", None)
        return 0 if iterations is None else int(keras.ops.convert_to_numpy(iterations))

    # ---- a log

    def _log(self, place: Place, view: View | None = None) -> None:
        self._take(place, view)
        # Agreed on after the log, whether or not it failed: every worker comes by here.
        if self._options.stop_on_alert and self._ran and self._crew.share([self._alerts.any_above])[0]:
            self._model.stop_training = True

    def _take(self, place: Place, view: View | None) -> None:
        step, began = place.step(self._axis), time.perf_counter()
        self._last_step = step
        self._report.due += 1
        self._ask_session()
        try:
            view = view or self._recorder.look()
            record = self._recorder.record(place, step, view, [])
            reason = self._recorder.gradient_problem
            if reason is not None:
                self._problem(f"the training gradient before step {step} was not captured: {reason}")
            remark = self._recorder.gradient_remark
            if remark is not None and remark not in self._warned:
                self._warned.add(remark)
                self._notes.append(remark)
            record.scalars.update(self._loss)
            self._heed_finiteness(step, record.scalars)
            self._heed_alerts(step, record.scalars)
            record.notes[:] = self._notes
            taken = self._session.log(record)
        except Exception as error:  # whatever fails in a log must not end a training
            self._problem(f"step {step} was not logged: {said(error)}")
            return
        if not taken:
            self._ask_session()
            self._problem(f"step {step} was not logged: it could not be handed to the writing thread")
            return
        self._notes = []
        self._recorder.previous = view.heatmaps
        self._recorder.forget_gradient()
        told = report.Told(step, record.scalars, self._finiteness.words(record.scalars))
        self._report.logged(told, time.perf_counter() - began)

    def _scalars(self, view: View) -> dict[str, float]:
        return probe_scalars(view.statistics, self._options.probes.labels) | view.scalars

    def _heed_finiteness(self, step: int, scalars: dict[str, float]) -> None:
        texts, new = self._finiteness.heed(step, scalars)
        self._notes += texts
        for text in new:
            self._warn(text)

    def _heed_alerts(self, step: int, scalars: dict[str, float]) -> None:
        where = f"{self._axis} {step}"
        for text in [*self._alerts.crossed(scalars, where), *self._alerts.unjudged(scalars, where)]:
            self._notes.append(f"alert: {text}")
            self._warn(text)
        stopped = getattr(self._model, "stop_training", False)
        if self._options.stop_on_alert and self._alerts.any_above and self._ran and not stopped:
            self._notes.append("training is stopped by stop_on_alert")

    def _warn(self, text: str) -> None:
        if self._crew.is_chief:
            warnings.warn(f"LRPMonitor: {text}", RuntimeWarning, stacklevel=3)

    def _ask_session(self) -> None:
        problems, notes = self._session.problems()
        self._notes += notes
        for problem in problems:
            if problem not in self._warned:
                self._warned.add(problem)
                self._problem(problem)
        notice = self._session.notice
        if notice is not None and "notice" not in self._warned:
            self._warned.add("notice")
            self._warn(notice)

    def _problem(self, text: str) -> None:
        """Something failed in a log: warned of once a fit, noted in the next record."""
        self._notes.append(text)
        if "problem" not in self._warned:
            self._warned.add("problem")
            self._warn(f"{text}. Training goes on; what fails from here on is noted in the run alone")


def probe_info(probes: ProbeSet) -> ProbeInfo:
    """The probes as the store keeps them."""
    return ProbeInfo(
        names=list(probes.names),
        labels=probes.labels,
        class_names=None if probes.class_names is None else list(probes.class_names),
        images=probes.images,
        masks=dict(probes.masks),
        map_shape=probes.map_shape,
        hash=probes.hash,
        input_shape=probes.sample_shape,
        statistics=probes.statistics,
    )
