"""A user's own error in fit is shown as without the monitor: type, words, and no frame of this package."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from monitor_helpers import BATCH, SAMPLES, data, make_model, monitor

LAST = SAMPLES // BATCH
"""The step that is captured: the last one of the fit."""


class Own(Exception):
    pass


class FailsAtTheLastStep(keras.Sequential):
    """In eager mode, once: the step must not be tried again without the monitor."""

    done = 0

    def train_step(self, batch: Any) -> Any:
        self.done += 1
        if self.done == LAST:
            raise Own("the user's own")
        return super().train_step(batch)


def failing_batches() -> Iterator[Any]:
    x, y = data()
    for start in range(0, SAMPLES - BATCH, BATCH):
        yield x[start : start + BATCH], y[start : start + BATCH]
    raise OSError("the user's own, in the data")


def in_the_train_step(*callbacks: Any) -> None:
    layers = make_model().layers
    model = FailsAtTheLastStep([keras.Input((8, 8, 1)), *layers])
    model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    model.fit(*data(), batch_size=BATCH, verbose=0, callbacks=list(callbacks))


def in_a_data_set(*callbacks: Any) -> None:
    spec = (tf.TensorSpec((BATCH, 8, 8, 1)), tf.TensorSpec((BATCH,), tf.int64))
    rows = tf.data.Dataset.from_generator(failing_batches, output_signature=spec)
    make_model().fit(rows, steps_per_epoch=LAST, verbose=0, callbacks=list(callbacks))


def in_the_loss(*callbacks: Any) -> None:
    x, _ = data()
    make_model().fit(x, np.full(SAMPLES, 99), batch_size=SAMPLES, verbose=0, callbacks=list(callbacks))


def shown(work: Callable[..., None], *callbacks: Any) -> tuple[str, list[str]]:
    """The error's type, and the files that its traceback leads through, from the call of fit on."""
    with pytest.raises(Exception) as caught:  # any: two are compared
        work(*callbacks)
    assert "with_traceback" not in vars(caught.value)
    files = [Path(frame.filename).name for frame in traceback.extract_tb(caught.value.__traceback__)]
    return type(caught.value).__name__, files


CASES = {"train step": in_the_train_step, "data set": in_a_data_set, "loss": in_the_loss}


@pytest.mark.parametrize("name", CASES)
def test_an_error_is_the_users(name: str, tmp_path: Path) -> None:
    error, files = shown(CASES[name])
    watched, through = shown(CASES[name], monitor(tmp_path))
    assert watched == error
    assert through[:-1] == files[:-1]
    assert through[-1] == files[-1] or {through[-1], files[-1]} <= {"execute.py", "ops.py"}  # TensorFlow's two ways


def test_every_frame_is_shown_where_keras_filters_none(tmp_path: Path) -> None:
    keras.config.disable_traceback_filtering()
    try:
        with pytest.raises(Own) as caught:
            in_the_train_step(monitor(tmp_path))
    finally:
        keras.config.enable_traceback_filtering()
    frames = traceback.extract_tb(caught.value.__traceback__)
    assert frames[-1].name == "train_step"
    assert Path(frames[-1].filename) == Path(__file__)
    assert any("lrp_monitor" in frame.filename for frame in frames)
