"""The log of one fit: when to log, at which position, and what to do when a log fails."""

from __future__ import annotations

import time
import weakref
from dataclasses import replace
from typing import Any

import keras

from lrp_monitor.metrics import carries
from lrp_monitor.store.folders import run_folders
from lrp_monitor.store.format import StepRecord
from lrp_monitor.store.writer import estimate_bytes
from lrp_monitor.text import describe
from lrp_monitor.training.options import Options
from lrp_monitor.training.output.console_report import ConsoleReport, LogSummary, step_bytes
from lrp_monitor.training.output.notices import Notices
from lrp_monitor.training.output.run_logger import NullRunLogger, RunLogger
from lrp_monitor.training.prepare import make_record_builder, open_run_logger, session_meta
from lrp_monitor.training.probes.alerts import Alerts
from lrp_monitor.training.probes.explained import ExplainedProbes
from lrp_monitor.training.probes.features import carriers_of
from lrp_monitor.training.probes.finiteness import Finiteness, loss_scalar
from lrp_monitor.training.probes.statistics import probe_scalars
from lrp_monitor.training.steps.due import DueLogs
from lrp_monitor.training.steps.existing_run import ExistingRun
from lrp_monitor.training.steps.fit_end import Reached, Sample, equal, leave, sample
from lrp_monitor.training.steps.position import Position
from lrp_monitor.training.steps.run_choice import Chooser
from lrp_monitor.training.worker_group import WorkerGroup


class FitLogger:
    """Logs one fit. Its constructor raises whatever is wrong; after the first epoch has begun nothing raises.

    Args:
        model: the model that is trained, as Keras gives it to callbacks.
        params: the fit's, as Keras gives them to callbacks.
        options: the monitor's.
        before: the fit before of the same monitor, where the state that it ended in is not logged: it is, once this fit
            turns out not to go on from there.
    """

    def __init__(
        self, model: keras.Model, params: dict[str, Any], options: Options, before: FitLogger | None = None
    ) -> None:
        self._model, self._params, self._options, self._before = model, params or {}, options, before
        self._axis = options.schedule.axis
        self._workers = WorkerGroup(model)
        self._run_logger: RunLogger | None = None if self._workers.is_chief else NullRunLogger()
        self.run_dir = options.run_dir
        """The folder of the run; of several in the log directory, once the first epoch has begun."""
        with self._workers.all_or_none("could not begin to log", self.close):
            self._open()
        self._existing = ExistingRun()
        self._notices = Notices(self._record_builder.probe_explainer.explainer.notes, self._workers.is_chief)
        self._masked = {name: int(carries(mask).sum()) for name, mask in options.probes.masks.items()}
        probes, classes = len(options.probes), self._record_builder.probe_explainer.explains == "class"
        verbose = options.verbose if self._workers.is_chief else 0
        self._report = ConsoleReport(self._axis, verbose, self._masked, probes if classes else 0)
        self._due: DueLogs | None = None  # from the first epoch on
        self._last_step: int | None = None
        self._ended: Sample | None = None  # the weights at the fit's end, where that is not logged
        self._alerts = Alerts(options.alerts, self._masked)
        self._finiteness = Finiteness(probes, self._axis, classes)
        self._loss: dict[str, float] = {}

    def _open(self) -> None:
        """Checks everything that training could fail on. A run that does not exist yet is begun."""
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
        """Keras' epoch number. The first call chooses the run and the position on its axis, and logs the initial state.

        That call raises StoreError where the run cannot be written, or is another model's and that is refused.
        """
        if self._due is None:
            self._due = self._start(epoch)
        self._report.print_logs()
        self._loss = {}
        per_execution = int(getattr(self._model, "steps_per_execution", 1) or 1)
        self._due.epoch_begin(epoch, self._params.get("steps"), per_execution, self._iterations())

    def batch_begin(self) -> None:
        """An execution (a batch, or steps_per_execution of them) is about to start."""
        try:
            self._batch_begin()
        except Exception as error:  # whatever fails here must not end a training
            self._notices.problem(f"watching a batch failed: {describe(error)}")

    def epoch_end(self, logs: dict[str, Any] | None = None) -> None:
        """The epoch's batches (and its validation) are done. logs: Keras' logs of the epoch, with its losses."""
        try:
            self._loss = loss_scalar(logs)
            self._epoch_end()
        except Exception as error:  # whatever fails here must not end a training
            self._notices.problem(f"watching the end of an epoch failed: {describe(error)}")

    def train_end(self) -> bool:
        """The fit is over: logs its end where that is still to do, writes what is queued, prints.

        Whether the state that it ended in is not logged, since another fit may go on from there (see `log_end`).
        """
        try:
            due, held = self._due, False
            if due is not None:
                unlogged = due.position.step(self._axis) != self._last_step and due.ran
                held = unlogged and due.end_may_wait
                if unlogged and not held:
                    self._log(due.position, last=True)
                weights = sample(self._model)
                self._leave(due.position, weights)
                self._ended = weights if held else None
            self._settle()
            looped = due is not None and due.in_loop
            if self._run_logger is not None and (self._run_logger.stored or not looped):
                self._report.end(self._run_logger.stored, self._run_logger.bytes_written, self._options.log_dir)
            return held
        except Exception as error:  # a trained model must not be lost over its log
            self._notices.problem(f"the end of the run failed: {describe(error)}")
            return False

    def log_end(self) -> None:
        """Logs the state that the fit ended in, which waited for a fit that goes on from there; closes the files.

        Calling it again does nothing. Where the weights have changed since, it warns: that state is gone.
        """
        ended, self._ended = self._ended, None
        if ended is None or self._due is None:
            return
        step = self._due.position.step(self._axis)
        if not equal(ended, sample(self._model)):
            self._notices.warn(
                f"the state that a fit ended in ({self._axis} {step}) is not logged: its weights were changed first. "
                "Where a training ends in a fit of one epoch, call the monitor's close(), or use it in a with statement"
            )
            return
        if self._workers.is_chief:
            self._run_logger = None  # closed when the fit ended
        self._take(self._due.position, None, last=True)
        self._settle()

    def interrupted(self) -> None:
        """The fit ended in an exception: notes how far it came, and closes the files."""
        if self._due is not None:
            self._leave(self._due.reached, None)
        self.close()

    def _leave(self, position: Position, weights: Sample | None) -> None:
        one_epoch = self._due is not None and self._due.one_epoch
        left = Reached(position, weakref.ref(self._model), weights, self._record_builder.previous, one_epoch)
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

    def _start(self, initial_epoch: int) -> DueLogs:
        epochs = int(self._params.get("epochs", 1))
        steps, ahead = self._params.get("steps"), max(0, epochs - initial_epoch)
        one_epoch = ahead <= 1
        fit = initial_epoch, steps, self._iterations()
        with self._workers.all_or_none("could not begin to log", self.close):
            chooser = Chooser(self._options, self._model, self._record_builder, self._meta, *fit)
            choice = chooser.choose(self._runs)
            before, self._before = self._before, None
            if before is not None and (choice.left is None or choice.run_dir != before.run_dir):
                before.log_end()  # this fit does not go on from there
            # In a loop of short fits most log nothing: no file for those.
            if choice.left is None or not one_epoch:
                self._log_to(choice.run_dir)
        self.run_dir, self._existing, explained = choice.run_dir, choice.existing, choice.explained
        start, changes = choice.start, self._existing.changes(self._meta)
        left = (choice.left is not None, choice.left is not None and choice.left.one_epoch)
        epoch, batch, log_initial, *known = self._workers.broadcast_from_chief(
            [*start.position, start.log_initial, *left]
        )
        start = replace(start, position=Position(int(epoch), int(batch)), log_initial=bool(log_initial))
        continues, in_loop = map(bool, known)
        due = DueLogs(
            self._options.schedule,
            start.position,
            int(self._params.get("epochs", 0)),
            one_epoch=one_epoch,
            continues=continues,
            in_loop=in_loop,
        )
        if self._existing.positions:
            self._record_builder.resume(self.run_dir)
        self._notices.notes += filter(None, [*changes, start.note, choice.notice])
        if choice.notice:
            self._notices.warn(choice.notice)
        note = "; ".join(filter(None, [*changes, start.note]))
        if note or not in_loop:
            self._plan(start.position, ahead, steps, note)
        self._report.first = LogSummary(start.position.step(self._axis), self._scalars(explained))
        if start.log_initial:
            self._log(start.position, explained)
        else:
            self._last_step = start.position.step(self._axis)
            # Of the log before, where the model has come from there and been left at another place.
            logged = None if choice.left is None else choice.left.heatmaps
            self._record_builder.previous = explained.heatmaps if logged is None else logged
        return due

    def _plan(self, start: Position, epochs: int, steps: int | None, note: str) -> None:
        probes, tensors = self._options.probes, len(self._record_builder.tensors)
        channels = probes.channels if self._options.channels else 0
        features = self._record_builder.probe_explainer.features
        more = 0 if features is None else features.pixels
        each = estimate_bytes(len(probes), probes.map_shape, self._options.encoding, tensors, channels, more)
        explainer = self._record_builder.probe_explainer.explainer
        composite = explainer.composite_name + (f" (auto: {explainer.choice})" if explainer.choice else "")
        self._report.plan(
            f"{len(probes)} probes, {composite}, {self._options.schedule}",
            self._options.schedule.count(start.epoch, start.epoch + epochs, steps),
            step_bytes(each, tensors if self._options.standard_summaries else 0),
            self.run_dir,
            self._record_builder.probe_explainer.needs,
        )
        if self._existing.positions:
            first, last = (self._existing.positions[at].step(self._axis) for at in (0, -1))
            self._report.continues(first, last, start.step(self._axis), note)

    # ---- batches and epochs

    def _batch_begin(self) -> None:
        due = self._due
        assert due is not None
        position = due.batch_begin(self._iterations)
        if position is not None:
            self._log(position)
        if self._record_builder.capture is not None and due.gradient_due(self._stopped):
            self._record_builder.arm(due.batch_after)

    def _epoch_end(self) -> None:
        assert self._due is not None
        end = self._due.epoch_end(self._iterations(), self._stopped)
        if end.note:
            self._notices.notes.append(end.note)
        if end.due and end.position.step(self._axis) != self._last_step:
            self._log(end.position, last=end.last)

    @property
    def _ran(self) -> bool:
        return self._due is not None and self._due.ran

    @property
    def _stopped(self) -> bool:
        return bool(getattr(self._model, "stop_training", False))

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
            explainer = self._record_builder.probe_explainer.explainer
            record = self._record_builder.record(position, step, explained, [], last)
            if (reason := self._record_builder.gradient_problem) is not None:
                self._notices.problem(
                    f"the {self._record_builder.whose_gradient} step {step} was not captured: {reason}"
                )
            for remark in (*self._record_builder.gradient_remarks, *explainer.passes.notes):
                self._notices.note_once(remark)
            record.scalars.update(self._loss)
            self._check_finiteness(step, record.scalars)
            self._check_alerts(step, record)
            self._notices.notes += self._record_builder.feature_notes()
            record.notes[:] = self._notices.notes
            taken = self._log_to(self.run_dir).log(record)
        except Exception as error:  # whatever fails in a log must not end a training
            self._notices.problem(f"step {step} was not logged: {describe(error)}")
            return
        if not taken:
            self._collect_problems()
            self._notices.problem(f"step {step} was not logged: it could not be handed to the writing thread")
            return
        self._notices.notes = []
        self._record_builder.previous = explained.heatmaps
        self._record_builder.forget_gradient()
        summary = LogSummary(step, record.scalars, self._finiteness.words(record.scalars))
        self._report.logged(summary, time.perf_counter() - began)

    def _scalars(self, explained: ExplainedProbes) -> dict[str, float]:
        return probe_scalars(explained.statistics, self._options.probes.labels) | explained.scalars

    def _check_finiteness(self, step: int, scalars: dict[str, float]) -> None:
        texts, new = self._finiteness.update(step, scalars)
        self._notices.notes += texts
        for text in new:
            self._notices.warn(text)

    def _check_alerts(self, step: int, record: StepRecord) -> None:
        where, scalars = f"{self._axis} {step}", record.scalars
        crossed = self._alerts.crossed(scalars, where, lambda mask: carriers_of(mask, record.features))
        for text in [*crossed, *self._alerts.unjudged(scalars, where)]:
            self._notices.notes.append(f"alert: {text}")
            self._notices.warn(text)
        if self._options.stop_on_alert and self._alerts.any_above and self._ran and not self._stopped:
            self._notices.notes.append("training is stopped by stop_on_alert")

    def _collect_problems(self) -> None:
        if self._run_logger is None:
            return
        problems, notes = self._run_logger.problems()
        self._notices.notes += notes
        for problem in problems:
            if self._notices.is_new(problem):
                self._notices.problem(problem)
        notice = self._run_logger.notice
        if notice is not None and self._notices.is_new("notice"):
            self._notices.warn(notice)
