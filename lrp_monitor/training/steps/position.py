"""Where a fit stands on its run's axis: completed epochs and batches, over all fits of that run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple


class Position(NamedTuple):
    """A state of the model on the run's axis: completed epochs and completed batches."""

    epoch: int
    batch: int

    def step(self, axis: Literal["epoch", "batch"]) -> int:
        """The number that the axis shows for it."""
        return self.epoch if axis == "epoch" else self.batch


@dataclass(frozen=True)
class ResumePoint:
    """Where a fit begins, whether its first state is to be logged, and what a reader should know of it."""

    position: Position
    log_initial: bool
    note: str = ""


def resume_point(
    axis: Literal["epoch", "batch"],
    initial_epoch: int,
    per_epoch: int | None,
    iterations: int,
    logged: Sequence[Position],
    same: Callable[[Position], bool],
    due: Callable[[Position], bool],
    *,
    reached: Position | None = None,
    cut_off: bool = False,
    believed: bool = False,
) -> ResumePoint | None:
    """Where a fit that begins at `initial_epoch` continues the run whose records stand at `logged`.

    Nothing logged: at initial_epoch. A model that this process has left at `reached`: there, or at a later
    `initial_epoch`, or back at the record of `initial_epoch` where the model is that one. Any other model
    continues after the last record where it is the model of that record, or at the record of `initial_epoch`
    where it is that one. A model that is the one of the first record restarts a run that was cut off in its
    first epoch. `believed`: with `initial_epoch > 0` at that epoch, beyond the records, or among them where the
    optimizer has trained (a checkpoint of a state that was not logged, which supersedes the records from there
    on). None: the model is not this run's.

    Args:
        axis: what the run's steps count.
        initial_epoch: the fit's argument.
        per_epoch: batches an epoch, None where not known.
        iterations: the optimizer's count.
        logged: where the run's records stand, ascending.
        same: whether the model is the one of the record at a position.
        due: whether the schedule asks for a log at a position.
        reached: where an earlier fit of this process left this very model in this run, None where there was none.
        cut_off: whether the run's last fit did not come to its end.
        believed: whether `initial_epoch` is evidence enough that a model without a record is the run's.
    """
    if not logged:
        return ResumePoint(_position_at(axis, initial_epoch, per_epoch, iterations, logged, same), log_initial=True)
    first, last = logged[0], logged[-1]
    if initial_epoch > 0:
        position = _position_at(axis, initial_epoch, per_epoch, iterations, logged, same)
        record = {p.step(axis): p for p in logged}.get(position.step(axis))
        if record and same(record):
            return ResumePoint(position, log_initial=False)
        if reached is not None:
            return _joined(axis, max(position, reached), logged, same, due)
        if same(last):
            return (
                ResumePoint(last, log_initial=False)
                if initial_epoch < last.epoch
                else ResumePoint(position, log_initial=due(position))
            )
        if not believed or (not iterations and position.step(axis) <= last.step(axis)):
            return None
        if record is None:
            return ResumePoint(position, log_initial=due(position))
        return ResumePoint(
            position, log_initial=True, note=f"the state logged as step {position.step(axis)} before is superseded"
        )
    if reached is not None:
        return _joined(axis, reached, logged, same, due)
    if same(last):
        return ResumePoint(last, log_initial=False)
    if cut_off and last.epoch <= first.epoch + 1 and same(first):
        return ResumePoint(first, log_initial=False, note="started over: the run was cut off in its first epoch")
    return None


def _joined(
    axis: Literal["epoch", "batch"],
    position: Position,
    logged: Sequence[Position],
    same: Callable[[Position], bool],
    due: Callable[[Position], bool],
) -> ResumePoint:
    """A start at `position` of a run that goes on with the model it has had."""
    record = {p.step(axis): p for p in logged}.get(position.step(axis))
    if record is None:
        return ResumePoint(position, log_initial=due(position))
    if same(record):
        return ResumePoint(position, log_initial=False)
    note = f"the model at the start of this fit is not the one logged as step {position.step(axis)}"
    return ResumePoint(position, log_initial=False, note=note)


def _position_at(
    axis: Literal["epoch", "batch"],
    epoch: int,
    per_epoch: int | None,
    iterations: int,
    logged: Sequence[Position],
    same: Callable[[Position], bool],
) -> Position:
    """The place after `epoch` epochs: the batch count from a record, the epochs' length, or the optimizer."""
    here = [position for position in logged if position.epoch == epoch]
    if axis == "epoch" and here:
        return here[0]
    if epoch == 0:
        return Position(0, 0)
    if per_epoch is not None:
        return Position(epoch, epoch * per_epoch)
    match = next((position for position in here if same(position)), None)
    return match or Position(epoch, max(iterations, logged[-1].batch if logged else 0))


@dataclass
class EpochProgress:
    """Counts the batches of one epoch from the calls that Keras makes before each execution.

    Attributes:
        per_execution: batches an execution (steps_per_execution).
        length: batches of this epoch where Keras knows it, else None.
        learned: the length of the epoch before, where that ran to its end.
        iterations: the optimizer's count at the epoch's start.
    """

    per_execution: int
    length: int | None
    learned: int | None
    iterations: int
    begun: int = 0

    def begin(self) -> None:
        """An execution is about to start."""
        self.begun += 1

    @property
    def expected(self) -> int | None:
        """Batches this epoch is expected to have."""
        return self.length if self.length is not None else self.learned

    def before(self) -> int:
        """Batches completed when the execution that has just begun starts."""
        return (self.begun - 1) * self.per_execution

    def done(self, iterations: Callable[[], int]) -> int:
        """Batches completed so far, as the execution that has just begun starts.

        Args:
            iterations: reads the optimizer's count; called only where the calls do not determine it, which is after an
                execution that may have been cut short by the end of data of unknown length.
        """
        done, k = self.before(), self.per_execution
        if k == 1 or self.length is not None or not done:
            return done
        counted = iterations() - self.iterations
        return counted if done - k < counted < done else done

    def past_the_end(self, done: int) -> bool:
        """Whether `done` batches are likely all of this epoch: the execution that begins finds none."""
        return self.length is None and done == self.learned

    def after(self) -> int:
        """Batches that will be completed when the execution that has just begun ends."""
        ahead = self.begun * self.per_execution
        return ahead if self.expected is None else max(self.before() + 1, min(ahead, self.expected))

    def is_last(self) -> bool | None:
        """Whether the execution that has just begun is the epoch's last; None where not known."""
        if self.expected is None:
            return None
        return self.begun * self.per_execution >= self.expected

    def completed(self, iterations: int, stopped: bool) -> int:
        """Batches completed at the epoch's end. iterations: the optimizer's now; stopped: stop_training.

        Data of unknown length ends in an execution that finds none left, which begins like any other. With
        one batch an execution and no XLA the optimizer counts that one too, so its count does not distinguish an
        exhausted epoch from one that was stopped; then the length of the epoch before does, and in the
        first epoch a stop is taken for one between batches.
        """
        if self.begun == 0:
            return 0
        k = self.per_execution
        ahead = self.begun * k
        if self.length is not None and ahead >= self.length:
            return self.length
        counted = iterations - self.iterations
        if ahead - 2 * k < counted < ahead or (k > 1 and counted == ahead):
            return counted
        if stopped and not (self.learned is not None and self.begun - 1 == self.learned):
            return ahead
        return ahead - k
