"""One fit as it is watched: when to log, on which place of the axis, and what to do when a log fails."""

from __future__ import annotations

import time
import warnings
import weakref
from dataclasses import replace
from typing import Any

import keras

from lrp_monitor.metrics import carries
from lrp_monitor.store.folders import run_folders
from lrp_monitor.store.writer import estimate_bytes
from lrp_monitor.text import describe
from lrp_monitor.training.options import Options
from lrp_monitor.training.output.console_report import ConsoleReport, LogSummary, step_bytes
from lrp_monitor.training.output.run_logger import NullRunLogger, RunLogger
from lrp_monitor.training.prepare import make_record_builder, open_run_logger, session_meta
from lrp_monitor.training.probes.alerts import Alerts
from lrp_monitor.training.probes.explained import ExplainedProbes
from lrp_monitor.training.probes.finiteness import Finiteness, loss_scalar
from lrp_monitor.training.probes.statistics import probe_scalars
from lrp_monitor.training.steps.existing_run import ExistingRun
from lrp_monitor.training.steps.fit_end import Reached, Sample, equal, leave, sample
from lrp_monitor.training.steps.position import EpochProgress, Position
from lrp_monitor.training.steps.run_choice import Chooser
from lrp_monitor.training.worker_group import WorkerGroup


class FitLogger:
    """Watches one fit. Making it raises whatever is wrong; after the first epoch has begun nothing raises.

    model, params: as Keras gives them to callbacks. before: the fit before of the same monitor, where the state that
    it ended in is not logged: it is, once this fit turns out not to go on from there.
    """

    def __init__(
        self, model: keras.Model, params: dict[str, Any], options: Options, before: FitLogger | None = None
    ) -> None:
        self._model, self._params, self._options, self._before = model, params or {}, options, before
        self._schedule, self._axis = options.schedule, options.schedule.axis
        self._workers = WorkerGroup(model)
        self._run_logger: RunLogger | None = None if self._workers.is_chief else NullRunLogger()
        self.run_dir = options.run_dir
        """The folder of the run; of several in the log directory, once the first epoch has begun."""
        with self._workers.all_or_none("could not begin to log", self.close):
            self._open()
        self._existing = ExistingRun()
        self._notes = list(self._record_builder.probe_explainer.explainer.notes)
        self._masked = {name: int(carries(mask).sum()) for name, mask in options.probes.masks.items()}
        self._report = ConsoleReport(self._axis, options.verbose if self._workers.is_chief else 0, self._masked)
        self._position: Position | None = None  # the last end of an epoch, on the run's axis
        self._last_step: int | None = None
        self._progress = EpochProgress(1, None, None, 0)
        self._learned: int | None = None
        self._seen = 0  # batches of the run up to which it is settled whether they are due
        self._keras_epoch = 0
        self._one_epoch = False
        self._continues = self._in_loop = False  # after a fit of this process, or one of one epoch
        self._inside = False  # an epoch
        self._scheduled = False  # whether the schedule has asked for a log in this fit
        self._ended: Sample | None = None  # the weights at the fit's end, where that is not logged
        self._warned: set[str] = set()
        self._alerts = Alerts(options.alerts, self._masked)
        self._finiteness = Finiteness(len(options.probes), self._axis)
        self._loss: dict[str, float] = {}

    def _open(self) -> None:
        """Looks at everything that training could founder on. A run that is not there yet is begun."""
        options = self._options
        self._runs: list[tuple[str, ExistingRun]] = []
        read: list[tuple[str, ExistingRun]] = []
        if self._workers.is_chief:
            read = [(folder, ExistingRun.of(folder, options.probes.hash)) for folder in run_folders(options.log_dir)]
            self._runs = [(folder, existing) for folder, existing in read if existing.positions]
        self._record_builder = make_record_builder(self._model, options)
        self._meta = session_meta(self._model, options, self._record_builder)
        if not self._runs:
            # A run that was begun and never logged keeps the region that was predicted then.
            region = next((existing.region for folder, existing in read if folder == options.run_dir), None)
            if region is not None and options.probes.region is None:
                self._record_builder.probe_explainer.region = region
            self._log_to(options.run_dir)

    def _log_to(self, run_dir: str) -> RunLogger:
        """The writing side, opened where it is not."""
        options, self.run_dir = self._options, run_dir
        session = self._run_logger
        if session is None:
            session = self._run_logger = open_run_logger(
                options, run_dir, self._meta, self._record_builder.probe_explainer.region
            )
        return session

    # ---- Keras' calls

    def epoch_begin(self, epoch: int) -> None:
        """Keras' epoch number. The first call chooses the run and the place on its axis, and logs the baseline.

        That call raises StoreError where the run cannot be written, or is another model's and that is refused.
        """
        if self._position is None:
            self._start(epoch)
        assert self._position is not None
        self._report.print_logs()
        self._keras_epoch, self._inside, self._loss = epoch, True, {}
        self._seen = self._position.batch
        per_execution = int(getattr(self._model, "steps_per_execution", 1) or 1)
        self._progress = EpochProgress(per_execution, self._params.get("steps"), self._learned, self._iterations())

    def batch_begin(self) -> None:
        """An execution (a batch, or steps_per_execution of them) is about to start."""
        try:
            self._batch_begin()
        except Exception as error:  # whatever fails here must not end a training
            self._problem(f"watching a batch failed: {describe(error)}")

    def epoch_end(self, logs: dict[str, Any] | None = None) -> None:
        """The epoch's batches (and its validation) are done. logs: what Keras tells of it, its losses among them."""
        try:
            self._loss = loss_scalar(logs)
            self._epoch_end()
        except Exception as error:  # whatever fails here must not end a training
            self._problem(f"watching the end of an epoch failed: {describe(error)}")

    def train_end(self) -> bool:
        """The fit is over: logs its end where that is still to do, writes what is queued, tells.

        Whether the state that it ended in is not logged, since another fit may go on from there (see `log_end`).
        """
        try:
            unlogged = self._position is not None and self._position.step(self._axis) != self._last_step and self._ran
            held = unlogged and self._end_may_wait
            if self._position is not None:
                if unlogged and not held:
                    self._log(self._position, last=True)
                weights = sample(self._model)
                self._leave(self._position, weights)
                self._ended = weights if held else None
            self._settle()
            if self._run_logger is not None and (self._run_logger.stored or not self._in_loop):
                self._report.end(self._run_logger.stored, self._run_logger.bytes_written, self._options.log_dir)
            return held
        except Exception as error:  # a trained model must not be lost over its log
            self._problem(f"the end of the run failed: {describe(error)}")
            return False

    def log_end(self) -> None:
        """Logs the state that the fit ended in, which waited for a fit that goes on from there; closes the files.

        Calling it again does nothing. Where the weights have changed since, it warns: that state is gone.
        """
        ended, self._ended = self._ended, None
        if ended is None or self._position is None:
            return
        step = self._position.step(self._axis)
        if not equal(ended, sample(self._model)):
            self._warn(
                f"the state that a fit ended in ({self._axis} {step}) is not logged: its weights were changed first. "
                "Where a training ends in a fit of one epoch, call the monitor's close(), or use it in a with statement"
            )
            return
        if self._workers.is_chief:
            self._run_logger = None  # closed when the fit ended
        self._take(self._position, None, last=True)
        self._settle()

    def interrupted(self) -> None:
        """The fit ended in an exception: notes how far it came, and closes the files."""
        if self._position is not None:
            done = self._progress.before() if self._inside and self._ran else 0
            self._leave(Position(self._position.epoch, self._position.batch + done), None)
        self.close()

    def _leave(self, position: Position, weights: Sample | None) -> None:
        left = Reached(position, weakref.ref(self._model), weights, self._record_builder.previous, self._one_epoch)
        leave(self.run_dir, left)

    def close(self) -> None:
        """Writes what is queued and closes the files. Calling it again does nothing."""
        self._record_builder.close()
        if self._run_logger is not None:
            self._run_logger.close()

    def _settle(self) -> None:
        self.close()
        self._collect_problems()
        self._report.print_logs()

    # ---- the start

    def _start(self, initial_epoch: int) -> None:
        steps, ahead = self._params.get("steps"), max(0, int(self._params.get("epochs", 1)) - initial_epoch)
        self._one_epoch = ahead <= 1
        fit = initial_epoch, steps, self._iterations()
        with self._workers.all_or_none("could not begin to log", self.close):
            chooser = Chooser(self._options, self._model, self._record_builder, self._meta, *fit)
            choice = chooser.choose(self._runs)
            before, self._before = self._before, None
            if before is not None and (choice.left is None or choice.run_dir != before.run_dir):
                before.log_end()  # this fit does not go on from there
            # In a loop of short fits most log nothing: no file for those.
            if choice.left is None or not self._one_epoch:
                self._log_to(choice.run_dir)
        self.run_dir, self._existing, explained = choice.run_dir, choice.existing, choice.explained
        start, changes = choice.start, self._existing.changes(self._meta)
        left = (choice.left is not None, choice.left is not None and choice.left.one_epoch)
        epoch, batch, log_initial, *known = self._workers.broadcast_from_chief(
            [*start.position, start.log_initial, *left]
        )
        start = replace(start, position=Position(int(epoch), int(batch)), log_initial=bool(log_initial))
        self._position, (self._continues, self._in_loop) = start.position, map(bool, known)
        self._notes += filter(None, [*changes, start.note, choice.notice])
        if choice.notice:
            self._warn(choice.notice)
        told = "; ".join(filter(None, [*changes, start.note]))
        if told or not self._in_loop:
            self._plan(start.position.epoch, start.position.epoch + ahead, steps, told)
        self._report.first = LogSummary(start.position.step(self._axis), self._scalars(explained))
        if start.log_initial:
            self._log(start.position, explained)
        else:
            self._last_step = start.position.step(self._axis)
            # Of the log before, where the model has come from there and been left at another place.
            logged = None if choice.left is None else choice.left.heatmaps
            self._record_builder.previous = explained.heatmaps if logged is None else logged

    def _plan(self, first: int, last: int, steps: int | None, note: str) -> None:
        assert self._position is not None
        probes, tensors = self._options.probes, len(self._record_builder.tensors)
        channels = probes.inputs.shape[probes.channel_axis] if self._options.channels and probes.channel_axis else 0
        each = estimate_bytes(len(probes), probes.map_shape, self._options.encoding, tensors, channels)
        self._report.plan(
            f"{len(probes)} probes, {self._record_builder.probe_explainer.explainer.composite_name}, {self._schedule}",
            self._schedule.count(first, last, steps),
            step_bytes(each, tensors if self._options.standard_summaries else 0),
            self.run_dir,
            self._record_builder.probe_explainer.needs,
        )
        if self._existing.positions:
            held = [
                position.step(self._axis) for position in (self._existing.positions[0], self._existing.positions[-1])
            ]
            self._report.continues(held[0], held[1], self._position.step(self._axis), note)

    # ---- batches and epochs

    def _batch_begin(self) -> None:
        assert self._position is not None
        progress, first = self._progress, self._position.epoch == 0
        progress.begin()
        if self._axis == "batch":
            done = self._position.batch + progress.done(self._iterations)
            # What is done with the epoch's last batch is logged at its end, as a completed epoch.
            if done > self._seen and not progress.past_the_end(done - self._position.batch):
                if self._schedule.batch_due(self._seen, done, first):
                    self._scheduled = True
                    self._log(Position(self._position.epoch, done))
                self._seen = done
        if self._record_builder.capture is not None and self._gradient_due(first):
            self._record_builder.arm(self._position.batch + progress.after())

    def _gradient_due(self, first: bool) -> bool:
        """Whether the execution that has just begun is the last one before a log."""
        assert self._position is not None
        progress, start = self._progress, self._position.batch
        if getattr(self._model, "stop_training", False):
            return not self._end_may_wait  # set by a log before this batch: it is the fit's last one
        if self._axis == "batch" and self._schedule.batch_due(
            start + progress.before(), start + progress.after(), first
        ):
            return True
        ends = self._is_last_epoch and not self._end_may_wait
        if not (self._schedule.epoch_due(self._position.epoch + 1) or ends):
            return False
        last = progress.is_last()
        # Of a length not known yet, batches 1, 2, 4, 8 ... stand in, so that the epoch's record has a
        # recent one.
        return last if last is not None else progress.begun & (progress.begun - 1) == 0

    def _epoch_end(self) -> None:
        assert self._position is not None
        progress, before, self._inside = self._progress, self._position, False
        stopped = bool(getattr(self._model, "stop_training", False))
        done = progress.completed(self._iterations(), stopped)
        if not stopped:
            self._learned = done
        elif progress.expected is not None and done < progress.expected:
            self._notes.append(f"training stopped after batch {done} of the {progress.expected} of this epoch")
        self._position = Position(before.epoch + 1, before.batch + done)
        due, ends = self._schedule.epoch_due(self._position.epoch), self._is_last_epoch or stopped
        if self._axis == "batch" and not due:
            due = self._schedule.batch_due(self._seen, self._position.batch, before.epoch == 0)
        self._scheduled |= due
        if (due or (ends and not self._end_may_wait)) and self._position.step(self._axis) != self._last_step:
            self._log(self._position, last=ends)

    @property
    def _is_last_epoch(self) -> bool:
        return self._keras_epoch + 1 >= int(self._params.get("epochs", 0))

    @property
    def _end_may_wait(self) -> bool:
        """Whether this fit looks like one of a loop, so that its end is not the training's.

        One in which nothing was due, if it has one epoch or another fit came before it; or one of one epoch that comes
        after another one of one epoch.
        """
        if self._one_epoch and self._in_loop:
            return True
        return not self._scheduled and (self._one_epoch or self._continues)

    @property
    def _ran(self) -> bool:
        """Whether any batch of this fit has begun."""
        return self._progress.begun > 0

    def _iterations(self) -> int:
        iterations = getattr(getattr(self._model, "optimizer", None), "iterations", None)
        return 0 if iterations is None else int(keras.ops.convert_to_numpy(iterations))

    # ---- a log

    def _log(self, position: Position, explained: ExplainedProbes | None = None, last: bool = False) -> None:
        self._take(position, explained, last)
        # Agreed on after the log, whether or not it failed: every worker comes by here.
        if (
            self._options.stop_on_alert
            and self._ran
            and self._workers.broadcast_from_chief([self._alerts.any_above])[0]
        ):
            self._model.stop_training = True

    def _take(self, position: Position, explained: ExplainedProbes | None, last: bool) -> None:
        step, began = position.step(self._axis), time.perf_counter()
        self._last_step = step
        self._report.due += 1
        self._collect_problems()
        try:
            explained = explained or self._record_builder.explain()
            record = self._record_builder.record(position, step, explained, [], last)
            if (reason := self._record_builder.gradient_problem) is not None:
                self._problem(f"the {self._record_builder.whose_gradient} step {step} was not captured: {reason}")
            for remark in (
                self._record_builder.gradient_remark,
                *self._record_builder.probe_explainer.explainer.passes.told,
            ):
                if remark is not None and remark not in self._warned:
                    self._warned.add(remark)
                    self._notes.append(remark)
            record.scalars.update(self._loss)
            self._check_finiteness(step, record.scalars)
            self._check_alerts(step, record.scalars)
            record.notes[:] = self._notes
            taken = self._log_to(self.run_dir).log(record)
        except Exception as error:  # whatever fails in a log must not end a training
            self._problem(f"step {step} was not logged: {describe(error)}")
            return
        if not taken:
            self._collect_problems()
            self._problem(f"step {step} was not logged: it could not be handed to the writing thread")
            return
        self._notes = []
        self._record_builder.previous = explained.heatmaps
        self._record_builder.forget_gradient()
        told = LogSummary(step, record.scalars, self._finiteness.words(record.scalars))
        self._report.logged(told, time.perf_counter() - began)

    def _scalars(self, explained: ExplainedProbes) -> dict[str, float]:
        return probe_scalars(explained.statistics, self._options.probes.labels) | explained.scalars

    def _check_finiteness(self, step: int, scalars: dict[str, float]) -> None:
        texts, new = self._finiteness.update(step, scalars)
        self._notes += texts
        for text in new:
            self._warn(text)

    def _check_alerts(self, step: int, scalars: dict[str, float]) -> None:
        where = f"{self._axis} {step}"
        for text in [*self._alerts.crossed(scalars, where), *self._alerts.unjudged(scalars, where)]:
            self._notes.append(f"alert: {text}")
            self._warn(text)
        stopped = getattr(self._model, "stop_training", False)
        if self._options.stop_on_alert and self._alerts.any_above and self._ran and not stopped:
            self._notes.append("training is stopped by stop_on_alert")

    def _warn(self, text: str) -> None:
        if self._workers.is_chief:
            warnings.warn(f"LRPMonitor: {text}", RuntimeWarning, stacklevel=3)

    def _collect_problems(self) -> None:
        if self._run_logger is None:
            return
        problems, notes = self._run_logger.problems()
        self._notes += notes
        for problem in problems:
            if problem not in self._warned:
                self._warned.add(problem)
                self._problem(problem)
        notice = self._run_logger.notice
        if notice is not None and "notice" not in self._warned:
            self._warned.add("notice")
            self._warn(notice)

    def _problem(self, text: str) -> None:
        """Something failed in a log: warned of once a fit, noted in the next record."""
        self._notes.append(text)
        if "problem" not in self._warned:
            self._warned.add("problem")
            self._warn(f"{text}. Training goes on; what fails from here on is noted in the run alone")
