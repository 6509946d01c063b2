"""Which logs of a fit are due, decided from the calls that Keras makes to a callback alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from lrp_monitor.training.steps.position import EpochProgress, Position
from lrp_monitor.training.steps.schedule import Schedule


class EpochEnd(NamedTuple):
    """The end of an epoch: whether its state is logged, whether the fit ends with it, a note on a stop or empty."""

    position: Position
    due: bool
    last: bool
    note: str = ""


class DueLogs:
    """Follows one fit from its first epoch on.

    Args:
        schedule: when logs are due.
        position: where the fit begins on the run's axis.
        epochs: the fit's argument, the number of epochs that Keras counts to.
        one_epoch: whether the fit has one epoch.
        continues: whether it continues an earlier fit of this process.
        in_loop: whether that one had one epoch.
    """

    def __init__(
        self, schedule: Schedule, position: Position, epochs: int, *, one_epoch: bool, continues: bool, in_loop: bool
    ) -> None:
        self._schedule, self._epochs = schedule, epochs
        self.position = position
        """The last end of an epoch; before the first one, where the fit begins."""
        self.one_epoch, self._continues, self.in_loop = one_epoch, continues, in_loop
        self._progress = EpochProgress(1, None, None, 0)
        self._length: int | None = None  # of the epoch before
        self._decided = position.batch  # batches of the run up to which it is decided whether they are due
        self._keras_epoch = 0
        self._inside = False  # an epoch
        self._scheduled = False  # whether the schedule has asked for a log in this fit

    def epoch_begin(self, epoch: int, steps: int | None, per_execution: int, iterations: int) -> None:
        """epoch: Keras' number. steps: its batches where Keras knows them. iterations: the optimizer's count."""
        self._keras_epoch, self._inside, self._decided = epoch, True, self.position.batch
        self._progress = EpochProgress(per_execution, steps, self._length, iterations)

    def batch_begin(self, iterations: Callable[[], int]) -> Position | None:
        """An execution is about to start. Returns the position before it where a log is due there."""
        progress = self._progress
        progress.begin()
        if self._schedule.axis != "batch":
            return None
        done = self.position.batch + progress.done(iterations)
        # What is done with the epoch's last batch is logged at its end, as a completed epoch.
        if done <= self._decided or progress.past_the_end(done - self.position.batch):
            return None
        due = self._schedule.batch_due(self._decided, done, self.position.epoch == 0)
        self._decided = done
        self._scheduled |= due
        return Position(self.position.epoch, done) if due else None

    def gradient_due(self, stopped: bool) -> bool:
        """Whether the execution that has just begun is the last one before a log.

        Args:
            stopped: the model's stop_training.
        """
        if stopped:
            return not self.end_may_wait  # set by a log before this batch: it is the fit's last one
        progress, start = self._progress, self.position.batch
        if self._schedule.axis == "batch" and self._schedule.batch_due(
            start + progress.before(), self.batch_after, self.position.epoch == 0
        ):
            return True
        ends = self._is_last_epoch and not self.end_may_wait
        if not (self._schedule.epoch_due(self.position.epoch + 1) or ends):
            return False
        last = progress.is_last()
        # Where the length is not known yet, batches 1, 2, 4, 8 ... are captured, so that the epoch's record has a
        # recent gradient.
        return last if last is not None else progress.begun & (progress.begun - 1) == 0

    def epoch_end(self, iterations: int, stopped: bool) -> EpochEnd:
        """The epoch's batches are done. iterations: the optimizer's count; stopped: the model's stop_training."""
        progress, before, self._inside = self._progress, self.position, False
        done, note = progress.completed(iterations, stopped), ""
        if not stopped:
            self._length = done
        elif progress.expected is not None and done < progress.expected:
            note = f"training stopped after batch {done} of the {progress.expected} of this epoch"
        self.position = position = Position(before.epoch + 1, before.batch + done)
        due, last = self._schedule.epoch_due(position.epoch), self._is_last_epoch or stopped
        if self._schedule.axis == "batch" and not due:
            due = self._schedule.batch_due(self._decided, position.batch, before.epoch == 0)
        self._scheduled |= due
        return EpochEnd(position, due or (last and not self.end_may_wait), last, note)

    @property
    def batch_after(self) -> int:
        """The run's batch that the execution that has just begun ends with."""
        return self.position.batch + self._progress.after()

    @property
    def reached(self) -> Position:
        """How far the fit has come, also inside of an epoch."""
        done = self._progress.before() if self._inside and self.ran else 0
        return Position(self.position.epoch, self.position.batch + done)

    @property
    def ran(self) -> bool:
        """Whether any batch of the epoch, or of the one that ended last, has begun."""
        return self._progress.begun > 0

    @property
    def end_may_wait(self) -> bool:
        """Whether this fit is likely one of a loop, so that its end is not the training's.

        One in which nothing was due, if it has one epoch or another fit came before it; or one of one epoch that comes
        after another one of one epoch.
        """
        if self.one_epoch and self.in_loop:
            return True
        return not self._scheduled and (self.one_epoch or self._continues)

    @property
    def _is_last_epoch(self) -> bool:
        return self._keras_epoch + 1 >= self._epochs
