"""What is due in a fit, by the calls that Keras makes: no model, no fit."""

from __future__ import annotations

import pytest

from lrp_monitor.training.steps.due import DueLogs
from lrp_monitor.training.steps.position import Position
from lrp_monitor.training.steps.schedule import Schedule


class Fit:
    """Makes Keras' calls for epochs of `length` batches; `logged` are the positions at which a log was due.

    known: whether Keras knows the length before the first epoch. captured: the last batches of the executions at whose
    begin a gradient was due.
    """

    def __init__(self, due: DueLogs, length: int, known: bool = True) -> None:
        self.due, self.length, self.known = due, length, known
        self.logged: list[tuple[int, int]] = []
        self.captured: list[int] = []
        self.batches = 0

    def run(self, epochs: int, stop_in: int | None = None) -> Fit:
        """stop_in: the batch of the last epoch after which stop_training is set."""
        for epoch in range(epochs):
            last = epoch == epochs - 1
            self.due.epoch_begin(epoch, self.length if self.known else None, 1, self.batches)
            for batch in range(self.length + (not self.known)):  # data of unknown length end in a call for one more
                found = self.due.batch_begin(lambda: self.batches)
                if found is not None:
                    self.logged.append(found)
                if self.due.gradient_due(False):
                    self.captured.append(self.due.batch_after)
                if batch < self.length:
                    self.batches += 1
                if last and batch + 1 == stop_in:
                    break
            end = self.due.epoch_end(self.batches, stopped=last and stop_in is not None)
            if end.due:
                self.logged.append(end.position)
        return self


def due(schedule: Schedule, epochs: int, **known: bool) -> DueLogs:
    defaults = {"one_epoch": epochs == 1, "continues": False, "in_loop": False}
    return DueLogs(schedule, Position(0, 0), epochs, **(defaults | known))


def test_epochs_that_the_schedule_names_and_the_last_one() -> None:
    fit = Fit(due(Schedule.of(2, None, None), 5), length=3).run(5)
    assert fit.logged == [(2, 6), (4, 12), (5, 15)]
    assert fit.captured == [6, 12, 15]  # the last batch before each log


def test_batches_that_the_schedule_names_and_the_end() -> None:
    # Every 3rd of 2 x 4 batches; the fit's end is batch 8.
    fit = Fit(due(Schedule.of(None, 3, None), 2), length=4).run(2)
    assert fit.logged == [(0, 3), (1, 6), (2, 8)]
    assert fit.captured == [3, 6, 8]


def test_a_log_that_falls_on_the_end_of_an_epoch_counts_it_as_completed() -> None:
    fit = Fit(due(Schedule.of(None, 4, None), 2), length=4).run(2)
    assert fit.logged == [(1, 4), (2, 8)]


def test_of_unknown_length_the_first_epoch_captures_powers_of_two() -> None:
    # The call for a sixth batch finds none: five are counted.
    fit = Fit(due(Schedule.of(1, None, None), 2), length=5, known=False).run(2)
    assert fit.logged == [(1, 5), (2, 10)]
    assert fit.captured == [1, 2, 4, 10, 11]  # the second epoch has the first one's length; its sixth call finds none


def test_a_stop_logs_the_last_state_and_notes_what_is_missing() -> None:
    follows = due(Schedule.of(10, None, None), 3)
    fit = Fit(follows, length=4).run(2, stop_in=3)
    assert fit.logged == [(2, 7)]
    follows.epoch_begin(2, 4, 1, 7)
    follows.batch_begin(lambda: 7)
    end = follows.epoch_end(8, stopped=True)
    assert end.last
    assert end.note == "training stopped after batch 1 of the 4 of this epoch"


@pytest.mark.parametrize(
    ("known", "logged"),
    [
        ({}, []),  # nothing was due in a fit of one epoch
        ({"continues": True, "in_loop": True}, []),
    ],
)
def test_the_end_of_a_short_fit_may_wait(known: dict[str, bool], logged: list[tuple[int, int]]) -> None:
    follows = due(Schedule.of(10, None, None), 1, **known)
    assert Fit(follows, length=2).run(1).logged == logged
    assert follows.end_may_wait
    assert follows.ran


def test_a_fit_that_logged_ends_with_a_log_unless_it_is_one_of_a_loop() -> None:
    # Batch 2 of 3 is due: the first fit's end is the training's, that of a loop's fit is not.
    alone = due(Schedule.of(None, 2, None), 1)
    assert Fit(alone, length=3).run(1).logged == [(0, 2), (1, 3)]
    looped = due(Schedule.of(None, 2, None), 1, continues=True, in_loop=True)
    assert Fit(looped, length=3).run(1).logged == [(0, 2)]


def test_how_far_an_interrupted_fit_came() -> None:
    follows = due(Schedule.of(1, None, None), 2)
    assert not follows.ran
    Fit(follows, length=4).run(1)
    follows.epoch_begin(1, 4, 1, 4)
    for _ in range(3):  # the third has begun, two are done
        follows.batch_begin(lambda: 6)
    assert follows.reached == (1, 6)
