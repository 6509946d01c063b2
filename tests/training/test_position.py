"""Where a fit begins on the run's axis, and how many batches an epoch had."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lrp_monitor.training.steps.position import EpochProgress, Position, ResumePoint, resume_point

EPOCHS = [Position(e, 10 * e) for e in range(6)]  # steps 0 to 5, ten batches an epoch


def start(
    logged: list[Position],
    initial_epoch: int = 0,
    same: Callable[[Position], bool] = lambda place: False,
    axis: Any = "epoch",
    per_epoch: int | None = 10,
    iterations: int = 0,
    every: int = 1,
    **about: Any,
) -> ResumePoint | None:
    due = lambda place: place.epoch % every == 0  # noqa: E731
    return resume_point(axis, initial_epoch, per_epoch, iterations, logged, same, due, **about)


def is_place(*positions: Position) -> Callable[[Position], bool]:
    return lambda place: place in positions


def test_an_empty_directory_starts_at_initial_epoch_with_a_baseline() -> None:
    assert start([]) == ResumePoint(Position(0, 0), True)
    assert start([], initial_epoch=3) == ResumePoint(Position(3, 30), True)
    assert start([], initial_epoch=3, per_epoch=None, iterations=27) == ResumePoint(Position(3, 27), True)


def test_a_model_goes_on_where_this_process_has_left_it() -> None:
    left = Position(5, 50)
    assert start(EPOCHS, reached=left, same=is_place(left)) == ResumePoint(left, False)
    assert start(EPOCHS, initial_epoch=5, reached=left, same=is_place(left)) == ResumePoint(left, False)
    # never back, whatever initial_epoch says, and a changed model is reported
    back = start(EPOCHS, initial_epoch=2, reached=left)
    assert back is not None
    assert (back.position, back.log_initial) == (left, False)
    assert "not the one logged as step 5" in back.note
    assert start(EPOCHS, initial_epoch=7, reached=left) == ResumePoint(Position(7, 70), True)
    # back only where the weights say the same: a checkpoint of epoch 2 was restored
    assert start(EPOCHS, initial_epoch=2, reached=left, same=is_place(EPOCHS[2])) == ResumePoint(Position(2, 20), False)
    # beyond the last record, where the end of a fit was not due
    assert start(EPOCHS[:1], reached=Position(3, 30), every=10) == ResumePoint(Position(3, 30), False)
    assert start(EPOCHS[:1], reached=Position(10, 100), every=10) == ResumePoint(Position(10, 100), True)


def test_a_resumed_run_continues_without_a_second_record_of_the_same_step() -> None:
    assert start(EPOCHS, initial_epoch=5, same=is_place(EPOCHS[5])) == ResumePoint(Position(5, 50), False)
    # killed after step 5 was logged, before the checkpoint of epoch 5 was: epoch 4 is resumed
    assert start(EPOCHS, initial_epoch=4, same=is_place(EPOCHS[4])) == ResumePoint(Position(4, 40), False)


def test_initial_epoch_is_believed_beyond_the_records_and_of_an_optimizer_that_has_trained() -> None:
    # a checkpoint inside epoch 4, with the optimizer's state: this session's own record of step 4 wins from there on
    assert start(EPOCHS, initial_epoch=4, iterations=43) is None
    other = start(EPOCHS, initial_epoch=4, iterations=43, believed=True)
    assert other is not None
    assert (other.position, other.log_initial) == (Position(4, 40), True)
    assert "superseded" in other.note
    # without it the record of step 4 says that this is another model, and nothing is superseded
    assert start(EPOCHS, initial_epoch=4, believed=True) is None
    assert start(EPOCHS, initial_epoch=8) is None
    assert start(EPOCHS, initial_epoch=8, believed=True) == ResumePoint(Position(8, 80), True)
    assert start(EPOCHS, initial_epoch=8, believed=True, every=5) == ResumePoint(Position(8, 80), False)


def test_a_resumed_second_fit_is_found_by_its_weights() -> None:
    # two fits of 5 and 3 epochs, resumed in the second: Keras says 2, the run stands at 5
    assert start(EPOCHS, initial_epoch=2, same=is_place(EPOCHS[5])) == ResumePoint(Position(5, 50), False)
    assert start(EPOCHS, initial_epoch=8, same=is_place(EPOCHS[5])) == ResumePoint(Position(8, 80), True)


def test_a_model_that_this_process_has_not_seen() -> None:
    # the trained model goes on
    assert start(EPOCHS, same=is_place(EPOCHS[5])) == ResumePoint(Position(5, 50), False)
    # any other is not this run's, that of its beginning or middle among them
    assert start(EPOCHS) is None
    assert start(EPOCHS, same=is_place(EPOCHS[0])) is None
    assert start(EPOCHS, same=is_place(EPOCHS[3])) is None
    # but a fit that was cut off in its first epoch is begun again
    first = is_place(EPOCHS[0])
    assert start(EPOCHS[:1], same=first) == ResumePoint(Position(0, 0), False)
    again = start(EPOCHS[:2], same=first, cut_off=True)
    assert again is not None
    assert (again.position, again.log_initial) == (Position(0, 0), False)
    assert start(EPOCHS[:2], same=first) is None
    assert start(EPOCHS[:3], same=first, cut_off=True) is None
    assert start(EPOCHS[:1]) is None


def test_batches_on_the_axis() -> None:
    logged = [
        Position(0, 0),
        Position(0, 4),
        Position(0, 8),
        Position(1, 12),
        Position(1, 16),
        Position(2, 20),
        Position(2, 24),
    ]
    assert start(logged, axis="batch", reached=Position(2, 24)) == ResumePoint(
        Position(2, 24), False, "the model at the start of this fit is not the one logged as step 24"
    )
    assert start(logged, 2, axis="batch", same=is_place(Position(2, 20))) == ResumePoint(Position(2, 20), False)
    # length unknown: the record that holds this model tells, else the optimizer
    assert start(logged, 2, is_place(logged[5]), "batch", per_epoch=None) == ResumePoint(Position(2, 20), False)
    assert start(logged, 2, axis="batch", per_epoch=None, iterations=31, believed=True) == ResumePoint(
        Position(2, 31), True
    )


# ---- batches of one epoch


def run(progress: EpochProgress, executions: int) -> EpochProgress:
    for _ in range(executions):
        progress.begin()
    return progress


def test_known_length() -> None:
    progress = EpochProgress(per_execution=2, length=5, learned=None, iterations=0)
    seen = []
    for _ in range(3):
        progress.begin()
        seen.append((progress.before(), progress.after(), progress.is_last()))
    assert seen == [(0, 2, False), (2, 4, False), (4, 5, True)]
    assert progress.completed(5, stopped=False) == 5


@pytest.mark.parametrize(
    ("begun", "per_execution", "learned", "counted", "stopped", "completed"),
    [
        (6, 1, None, 6, False, 5),  # exhausted; without XLA the optimizer counts the empty execution
        (6, 1, None, 5, False, 5),  # with XLA it does not
        (6, 1, None, 5, True, 5),
        (3, 1, None, 3, True, 3),  # stopped between batches
        (6, 1, 5, 6, True, 5),  # exhausted, then stopped at the epoch's end
        (3, 1, 5, 3, True, 3),
        (4, 2, None, 5, False, 5),  # executions of two: 2, 2, 1 and one that finds nothing
        (3, 2, None, 5, False, 5),
        (2, 2, None, 4, True, 4),
        (0, 1, None, 0, False, 0),
    ],
)
def test_unknown_length(begun, per_execution, learned, counted, stopped, completed) -> None:
    progress = run(EpochProgress(per_execution, None, learned, iterations=100), begun)
    assert progress.completed(100 + counted, stopped) == completed
    assert progress.is_last() is (None if learned is None else begun * per_execution >= learned)
