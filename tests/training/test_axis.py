"""Where a fit begins on the run's axis, and how many batches an epoch had."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lrp_monitor.training.axis import EpochProgress, Place, Start, start_of_fit

EPOCHS = [Place(e, 10 * e) for e in range(6)]  # steps 0 to 5, ten batches an epoch


def start(
    logged: list[Place],
    initial_epoch: int = 0,
    same: Callable[[Place], bool] = lambda place: False,
    axis: Any = "epoch",
    per_epoch: int | None = 10,
    iterations: int = 0,
    again: bool = False,
    every: int = 1,
) -> Start:
    return start_of_fit(axis, initial_epoch, per_epoch, iterations, logged, same, lambda p: p.epoch % every == 0, again)


def is_place(*places: Place) -> Callable[[Place], bool]:
    return lambda place: place in places


def test_an_empty_directory_starts_at_initial_epoch_with_a_baseline() -> None:
    assert start([]) == Start(Place(0, 0), True)
    assert start([], initial_epoch=3) == Start(Place(3, 30), True)
    assert start([], initial_epoch=3, per_epoch=None, iterations=27) == Start(Place(3, 27), True)


def test_the_same_monitor_continues_after_its_last_record() -> None:
    assert start(EPOCHS, again=True, same=is_place(Place(5, 50))) == Start(Place(5, 50), False)
    assert start(EPOCHS, initial_epoch=5, again=True, same=is_place(Place(5, 50))) == Start(Place(5, 50), False)
    # never back, whatever initial_epoch says, and a changed model is told
    back = start(EPOCHS, initial_epoch=2, again=True)
    assert (back.place, back.baseline) == (Place(5, 50), False)
    assert "not the one logged as step 5" in back.note
    assert start(EPOCHS, initial_epoch=7, again=True) == Start(Place(7, 70), True)
    # back only where the weights say the same: a checkpoint of epoch 2 was restored
    assert start(EPOCHS, initial_epoch=2, again=True, same=is_place(EPOCHS[2])) == Start(Place(2, 20), False)
    # compiling anew resets the optimizer; a model that equals the first record is still a second fit
    assert start(EPOCHS, again=True, same=is_place(EPOCHS[0])).place == Place(5, 50)


def test_a_resumed_run_continues_without_a_second_record_of_the_same_step() -> None:
    assert start(EPOCHS, initial_epoch=5, same=is_place(EPOCHS[5])) == Start(Place(5, 50), False)
    # killed after step 5 was logged, before the checkpoint of epoch 5 was: epoch 4 is resumed
    assert start(EPOCHS, initial_epoch=4, same=is_place(EPOCHS[4])) == Start(Place(4, 40), False)
    # not the weights of step 4: this session's own record of it wins from there on
    other = start(EPOCHS, initial_epoch=4)
    assert (other.place, other.baseline) == (Place(4, 40), True)
    assert "supersedes" in other.note


def test_a_resumed_second_fit_is_found_by_its_weights() -> None:
    # two fits of 5 and 3 epochs, resumed in the second: Keras says 2, the run stands at 5
    assert start(EPOCHS, initial_epoch=2, same=is_place(EPOCHS[5])) == Start(Place(5, 50), False)


def test_initial_epoch_beyond_the_records_is_logged_where_it_is_due() -> None:
    assert start(EPOCHS, initial_epoch=8) == Start(Place(8, 80), True)
    assert start(EPOCHS, initial_epoch=8, every=5) == Start(Place(8, 80), False)


def test_a_new_monitor_without_initial_epoch() -> None:
    # the trained model goes on
    assert start(EPOCHS, same=is_place(EPOCHS[5])) == Start(Place(5, 50), False)
    # the same untrained model again: the run starts over
    assert start(EPOCHS, same=is_place(EPOCHS[0])) == Start(Place(0, 0), False)
    # some other model: after what is there, and told
    other = start(EPOCHS)
    assert (other.place, other.baseline) == (Place(5, 50), False)
    assert "not the one logged as step 5" in other.note
    # nothing but a baseline is there: nothing to continue
    assert start(EPOCHS[:1]).place == Place(0, 0)
    assert start(EPOCHS[:1]).baseline


def test_batches_on_the_axis() -> None:
    logged = [Place(0, 0), Place(0, 4), Place(0, 8), Place(1, 12), Place(1, 16), Place(2, 20), Place(2, 24)]
    assert start(logged, axis="batch", again=True).place == Place(2, 24)
    assert start(logged, 2, axis="batch", same=is_place(Place(2, 20))) == Start(Place(2, 20), False)
    # length unknown: the record that holds this model tells, else the optimizer
    assert start(logged, 2, is_place(logged[5]), "batch", per_epoch=None).place == Place(2, 20)
    assert start(logged, 2, axis="batch", per_epoch=None, iterations=31).place == Place(2, 31)


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
