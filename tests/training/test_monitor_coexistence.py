"""Beside everything else that a fit may have: the trained weights are the same, the log is whole."""

from __future__ import annotations

import asyncio
import csv
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from monitor_helpers import (
    CLASSES,
    SIDE,
    check_events,
    data,
    epochs_of,
    fit,
    make_model,
    make_probes,
    monitor,
    places,
)

from lrp_monitor.store.reader import open_run

Callbacks = list[keras.callbacks.Callback]


def others(folder: Path) -> Callbacks:
    """Keras' own callbacks that people have in a fit."""
    callbacks = keras.callbacks
    return [
        callbacks.TensorBoard(str(folder), update_freq=2, histogram_freq=1, write_images=False),
        callbacks.BackupAndRestore(str(folder / "backup")),
        callbacks.ModelCheckpoint(str(folder / "last.weights.h5"), save_weights_only=True),
        callbacks.ModelCheckpoint(str(folder / "best.keras"), monitor="loss"),
        callbacks.EarlyStopping("loss", patience=50, restore_best_weights=True),
        callbacks.LearningRateScheduler(lambda epoch: 0.01 / (1 + epoch)),
        callbacks.CSVLogger(str(folder / "log.csv")),
    ]


def equal(ours: keras.Model, theirs: keras.Model, what: str) -> None:
    """All weights and all of the optimizer's state, bit by bit."""
    pairs = [*zip(ours.weights, theirs.weights, strict=True)]
    pairs += zip(ours.optimizer.variables, theirs.optimizer.variables, strict=True)
    for mine, its in pairs:
        np.testing.assert_array_equal(mine.numpy(), its.numpy(), err_msg=f"{what}: {mine.path}")


@pytest.mark.trains
@pytest.mark.parametrize(
    ("options", "places_among"),
    [
        pytest.param({}, (0, 7), id="graph"),
        pytest.param({}, (3,), id="graph, in the middle", marks=pytest.mark.slow),
        pytest.param({"jit_compile": True}, (7,), id="xla", marks=pytest.mark.slow),  # which knows nothing of the order
    ],
)
def test_bit_identical_with_all_callbacks_in_any_order(
    tmp_path: Path, options: dict[str, Any], places_among: tuple[int, ...]
) -> None:
    alone = make_model(**options)
    (tmp_path / "alone").mkdir()
    fit(alone, *others(tmp_path / "alone"), shuffle=True)
    for place in places_among:
        folder = tmp_path / str(place)
        folder.mkdir()
        watched = monitor(
            folder,
            first_epoch="log",
            relevance_layers="all",
            channels=True,
            alert={"block": 0.9},
            composite="epsilon_plus",
        )
        callbacks = others(folder)
        random.Random(place).shuffle(callbacks)
        callbacks.insert(place, watched)
        order = ", ".join(type(callback).__name__ for callback in callbacks)
        model = make_model(**options)
        fit(model, *callbacks, shuffle=True)
        equal(model, alone, order)
        assert [step for step, _, _ in places(folder)] == [0, 1, 2, 4, 5, 10, 15], order
        run = open_run(folder)
        assert [run.record(step).gradient_batch for step in run.steps] == [None, 1, 2, 4, 5, 10, 15], order
        check_events(folder, run)
        with open(folder / "log.csv") as log:
            assert [row["epoch"] for row in csv.DictReader(log)] == ["0", "1", "2"]
        assert len(list((folder / "train").iterdir())) == 1  # what TensorBoard's own callback wrote


def test_two_monitors_with_two_composites_in_one_fit(tmp_path: Path) -> None:
    alone, model = make_model(), make_model()
    fit(alone, monitor(tmp_path / "alone", composite="epsilon"))
    fit(model, monitor(tmp_path / "plus"), monitor(tmp_path / "epsilon", composite="epsilon"))
    equal(model, alone, "two monitors")
    plus, epsilon, wanted = (open_run(tmp_path / name) for name in ("plus", "epsilon", "alone"))
    for run in (plus, epsilon):
        assert run.steps == wanted.steps == [0, 1, 2, 3]
        for kind, name in wanted.tensors(3):
            ours, theirs = (r.histogram(3, kind, name) for r in (run, wanted))
            assert ours.note == theirs.note == ""
            assert (ours.norm, ours.minimum, ours.maximum) == (theirs.norm, theirs.minimum, theirs.maximum)
            np.testing.assert_array_equal(ours.counts, theirs.counts)
    for step in wanted.steps:
        np.testing.assert_array_equal(epsilon.heatmaps(step), wanted.heatmaps(step))
        assert np.abs(plus.heatmaps(step) - wanted.heatmaps(step)).max() > 0


@pytest.mark.parametrize("update_freq", [1, pytest.param("batch", marks=pytest.mark.slow), "epoch"])
def test_every_update_frequency_of_keras_tensorboard(tmp_path: Path, update_freq: Any) -> None:
    tensorboard = keras.callbacks.TensorBoard(str(tmp_path), update_freq=update_freq)
    fit(make_model(), tensorboard, monitor(tmp_path), epochs=2)
    assert places(tmp_path) == epochs_of(0, 1, 2)


class Penalised(keras.Model):
    """A train_step of its own."""

    def train_step(self, batch: Any) -> dict[str, Any]:
        x, y = batch
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x, y, self(x, training=True)) + 1e-3 * tf.reduce_sum(self.layers[-1].kernel ** 2)
        self.optimizer.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
        return {"loss": loss}


def penalised() -> keras.Model:
    keras.utils.set_random_seed(1)
    inputs = keras.Input((SIDE, SIDE, 1))
    value = keras.layers.Flatten()(keras.layers.Conv2D(3, 3, activation="relu")(inputs))
    model = Penalised(inputs, keras.layers.Dense(CLASSES, "softmax")(value))
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    return model


def transferred() -> keras.Model:
    """A frozen base with BatchNormalization, nested, under a head that learns."""
    keras.utils.set_random_seed(1)
    base = keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 1)),
            keras.layers.Conv2D(4, 3, use_bias=False),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
        ],
        name="base",
    )
    base.trainable = False
    inputs = keras.Input((SIDE, SIDE, 1))
    value = keras.layers.GlobalAveragePooling2D()(base(inputs, training=False))
    model = keras.Model(inputs, keras.layers.Dense(CLASSES, "softmax", name="head")(value))
    model.compile(keras.optimizers.Adam(0.05), "sparse_categorical_crossentropy")
    return model


MODELS: dict[str, Callable[[], keras.Model]] = {
    "custom train_step": penalised,
    "frozen nested base": transferred,
    "gradient accumulation": lambda: make_model(optimizer=keras.optimizers.Adam(0.01, gradient_accumulation_steps=2)),
    "loss scale": lambda: make_model(
        optimizer=keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.01), initial_scale=1024.0)
    ),
    "steps_per_execution": lambda: make_model(steps_per_execution=3),
    "eager": lambda: make_model(run_eagerly=True),
    "clipping and averaging": lambda: make_model(
        optimizer=keras.optimizers.SGD(0.1, momentum=0.9, global_clipnorm=0.1, use_ema=True)
    ),
}


# By default of the capture alone: the weights and the gradients are those without it in test_gradients.py.
AS_CAPTURED = {"gradient accumulation", "loss scale", "eager"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in AS_CAPTURED)) for name in MODELS]
)
def test_ways_to_train(tmp_path: Path, name: str) -> None:
    watched = MODELS[name]()  # which sets the seed first
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # of the monitor: nothing is left out
        fit(watched, monitor(tmp_path, relevance_layers="all"), shuffle=True)
    alone = MODELS[name]()
    fit(alone, shuffle=True)
    equal(watched, alone, name)
    assert places(tmp_path) == epochs_of(0, 1, 2, 3)
    run = open_run(tmp_path)
    trained = [histogram for kind, histogram in run.tensors(3) if kind == "gradient"]
    listed = [run.histogram(3, "gradient", one) for one in trained]
    assert listed
    assert all(not histogram.note and histogram.norm > 0 for histogram in listed), [h.note for h in listed]
    assert run.record(3).gradient_batch == 15


def test_of_a_frozen_base_weights_are_logged_and_gradients_of_the_head_alone(tmp_path: Path) -> None:
    model = transferred()
    before = [np.array(w) for w in model.get_layer("base").get_weights()]
    fit(model, monitor(tmp_path, relevance_layers="base"))
    for now, then in zip(model.get_layer("base").get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)  # explaining has not moved a statistic
    run = open_run(tmp_path)
    weights = [name for kind, name in run.tensors(3) if kind == "weight"]
    assert "base/conv2d/kernel" in weights
    assert "base/batch_normalization/moving_mean" in weights
    assert [name for kind, name in run.tensors(3) if kind == "gradient"] == ["head/kernel", "head/bias"]
    assert run.meta["layers"] == ["base/conv2d", "base/batch_normalization", "base/re_lu"]
    # Unfrozen for a second fit, as one does: the base's gradients join, the run goes on.
    model.get_layer("base").trainable = True
    model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy")
    fit(model, monitor(tmp_path, relevance_layers="base"), epochs=1)
    run = open_run(tmp_path)
    assert places(tmp_path) == epochs_of(0, 1, 2, 3, 4)
    assert ("gradient", "base/conv2d/kernel") in run.tensors(4)
    assert run.histogram(4, "gradient", "base/conv2d/kernel").norm > 0


def test_accumulated_gradients_are_those_of_the_micro_batch(tmp_path: Path) -> None:
    rate, x, y = 0.1, *data()
    model = make_model(optimizer=keras.optimizers.SGD(rate, gradient_accumulation_steps=2))
    model.layers[3].rate = 0.0  # no dropout: the step can be told from the weights
    fit(model, monitor(tmp_path, batches=1), epochs=1)
    run = open_run(tmp_path)
    again = make_model()
    again.set_weights(model.get_weights())
    # Five batches: the fifth is accumulated, not applied. Its gradient is at the weights that are there now.
    with tf.GradientTape() as tape:
        loss = again.compute_loss(x[32:40], y[32:40], again(x[32:40], training=False))
    norms = [float(tf.norm(gradient)) for gradient in tape.gradient(loss, again.trainable_variables)]
    assert run.record(5).scalars["gradients/norm"] == pytest.approx(np.linalg.norm(norms), rel=1e-4)


def test_fit_inside_a_running_event_loop(tmp_path: Path) -> None:
    """As in a notebook, whose cells run inside one."""
    beats = []

    async def beat() -> None:
        while True:
            beats.append(1)
            await asyncio.sleep(0.01)

    async def cell() -> keras.Model:
        other = asyncio.create_task(beat())
        await asyncio.sleep(0.03)
        model = make_model()
        fit(model, monitor(tmp_path / "here"), epochs=2)
        await asyncio.to_thread(fit, model, monitor(tmp_path / "thread"), epochs=2)
        other.cancel()
        return model

    model = asyncio.run(cell())
    assert len(beats) > 3
    assert places(tmp_path / "here") == epochs_of(0, 1, 2)
    assert places(tmp_path / "thread") == epochs_of(0, 1, 2)
    last, probes = open_run(tmp_path / "thread").record(2), make_probes()
    output = model.predict(probes.inputs, verbose=0)
    shown = output[np.arange(len(probes)), probes.labels]
    np.testing.assert_allclose(last.statistics["probability"], shown, rtol=1e-5)
