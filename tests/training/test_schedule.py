"""Which epochs and batches are due, against a count by hand over every batch."""

from __future__ import annotations

from typing import Any

import pytest

from lrp_monitor.training.steps.schedule import Schedule


def due_steps(schedule: Schedule, epochs: int, per_epoch: int, per_execution: int = 1) -> list[int]:
    """The batches after which a fit logs: the rule, walked through execution by execution."""
    logged, done = [0], 0
    for epoch in range(1, epochs + 1):
        in_epoch = 0
        while in_epoch < per_epoch:
            before = done
            in_epoch = min(in_epoch + per_execution, per_epoch)
            done = (epoch - 1) * per_epoch + in_epoch
            at_end = in_epoch == per_epoch and (schedule.epoch_due(epoch) or epoch == epochs)
            if schedule.batch_due(before, done, epoch == 1) or at_end:
                logged.append(done)
    return logged


def test_defaults_and_axes() -> None:
    assert Schedule.of(None, None, None) == Schedule(1, None, None)
    assert Schedule.of(None, 50, None) == Schedule(None, 50, None)
    assert Schedule.of(2, 50, None) == Schedule(2, 50, None)
    assert Schedule.of(3, None, None).axis == "epoch"
    assert Schedule.of(1, None, "log").axis == "batch"
    assert Schedule.of(None, 50, None).axis == "batch"
    assert str(Schedule.of(2, 50, "log")) == (
        "every 2 epochs and every 50 batches and batches 1, 2, 4, 8 ... of the first epoch"
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((0, None, None), r"every=0: expected a positive integer \(epochs between logs\)"),
        ((-1, None, None), "every=-1"),
        ((1, 0, None), r"batches=0: .*\(batches between logs\)"),
        ((1, None, "linear"), "first_epoch='linear'.*log"),
    ],
)
def test_bad_arguments_are_named(arguments: tuple, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Schedule.of(*arguments)


@pytest.mark.parametrize(("every", "batches"), [(1.5, None), (True, None), (1, "5")])
def test_arguments_of_wrong_types_are_named(every: Any, batches: Any) -> None:
    with pytest.raises(TypeError, match=r"(every=1\.5|every=True|batches='5'): expected a positive integer"):
        Schedule.of(every, batches, None)


def test_epochs() -> None:
    assert [e for e in range(8) if Schedule(3).epoch_due(e)] == [0, 3, 6]
    assert not Schedule(None, 5).epoch_due(3)


def test_batches_count_over_the_whole_run() -> None:
    assert due_steps(Schedule(None, 4), epochs=3, per_epoch=5) == [0, 4, 8, 12, 15]
    assert due_steps(Schedule(1, 4), epochs=2, per_epoch=5) == [0, 4, 5, 8, 10]


def test_powers_of_two_in_the_first_epoch_alone() -> None:
    assert due_steps(Schedule(1, None, "log"), epochs=3, per_epoch=20) == [0, 1, 2, 4, 8, 16, 20, 40, 60]
    schedule = Schedule(1, None, "log")
    assert [b for b in range(1, 140) if schedule.batch_due(b - 1, b, True)] == [1, 2, 4, 8, 16, 32, 64, 128]


def test_an_execution_of_many_batches_logs_once_where_a_due_batch_lies_in_it() -> None:
    assert due_steps(Schedule(None, 4), epochs=1, per_epoch=10, per_execution=3) == [0, 6, 9, 10]
    assert due_steps(Schedule(1, None, "log"), 1, 20, per_execution=3) == [0, 3, 6, 9, 18, 20]


@pytest.mark.parametrize("every", [None, 1, 3])
@pytest.mark.parametrize("batches", [None, 4, 7])
@pytest.mark.parametrize("first_epoch", [None, "log"])
def test_the_planned_count_is_the_number_of_logs(every, batches, first_epoch) -> None:
    schedule = Schedule.of(every, batches, first_epoch)
    for epochs in (1, 2, 5):
        for per_epoch in (1, 6, 8, 20):
            logged = due_steps(schedule, epochs, per_epoch)
            assert schedule.count(0, epochs, per_epoch) == len(logged), (epochs, per_epoch)
    if schedule.axis == "batch":
        assert schedule.count(0, 3, None) is None
