"""Tiny models, data and probes for real fits that take a second."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
from tensorboard.backend.event_processing import plugin_event_accumulator
from tensorboard.util import tensor_util

from lrp_monitor.probes import ProbeSet
from lrp_monitor.store.reader import Run, open_run
from lrp_monitor.training.monitor import LRPMonitor

SIDE, CLASSES, SAMPLES, BATCH = 8, 3, 40, 8  # five batches an epoch


def data(samples: int = SAMPLES, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Noise with a bright block whose place is the class: learned within an epoch or two."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, samples)
    images = rng.uniform(0, 0.5, (samples, SIDE, SIDE, 1)).astype(np.float32)
    for image, label in zip(images, labels, strict=True):
        image[2 * label : 2 * label + 2, 1:4] += 1.0
    return images, labels


def make_model(seed: int = 1, **compile_options: Any) -> keras.Model:
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 1)),
            keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(CLASSES, activation="softmax"),
        ]
    )
    options = {"optimizer": keras.optimizers.SGD(0.1), "loss": "sparse_categorical_crossentropy"}
    model.compile(**{**options, **compile_options})
    return model


def make_probes(n: int = 6, **options: Any) -> ProbeSet:
    images, labels = data(n, seed=9)
    options = {"masks": {"block": np.s_[0:6, 1:4]}, **options}
    return ProbeSet(images, labels, **options)


def monitor(folder: Path, probes: ProbeSet | None = None, **options: Any) -> LRPMonitor:
    return LRPMonitor(probes or make_probes(), folder, **{"verbose": 0, "composite": "epsilon_plus_flat", **options})


def fit(model: keras.Model, *callbacks: keras.callbacks.Callback, epochs: int = 3, **options: Any) -> Any:
    x, y = data()
    options = {"batch_size": BATCH, "verbose": 0, "shuffle": False, **options}
    return model.fit(x, y, epochs=epochs, callbacks=list(callbacks), **options)


def places(folder: Path) -> list[tuple[int, int, int]]:
    """(step, epoch, batch) of every record that counts, and that the run is undamaged."""
    run: Run = open_run(folder)
    assert run.verify() == []
    assert run.steps == sorted(set(run.steps))
    return [(header.step, header.epoch, header.batch) for header in run.records()]


def epochs_of(*steps: int, batches: int = SAMPLES // BATCH) -> list[tuple[int, int, int]]:
    return [(step, step, batches * step) for step in steps]


def accumulate(folder: Path) -> plugin_event_accumulator.EventAccumulator:
    guidance = {plugin_event_accumulator.TENSORS: 0}
    return plugin_event_accumulator.EventAccumulator(str(folder / "lrp"), guidance).Reload()


def check_events(folder: Path, run: Run) -> None:
    """The event file of a run holds each of its scalars, step by step."""
    loaded = accumulate(folder)
    for tag in run.scalars:
        steps, values = run.scalar(tag)
        events = loaded.Tensors(tag)
        assert [event.step for event in events] == steps.tolist(), tag
        shown = [float(tensor_util.make_ndarray(event.tensor_proto)) for event in events]
        np.testing.assert_allclose(shown, values, rtol=1e-6, err_msg=tag)
        assert loaded.SummaryMetadata(tag).plugin_data.plugin_name == "scalars"


def batches_of_unknown_length(count: int = 5) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    x, y = data(count * BATCH)
    for i in range(count):
        yield x[i * BATCH : (i + 1) * BATCH], y[i * BATCH : (i + 1) * BATCH]


class StopAt(keras.callbacks.Callback):
    """Sets stop_training at the end of a batch or an epoch, or raises there."""

    def __init__(self, epoch: int, batch: int | None = None, error: BaseException | None = None) -> None:
        super().__init__()
        self.at, self.batch, self.error, self.now = epoch, batch, error, 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.now = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if (self.now, batch) == (self.at, self.batch):
            self.act()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self.batch is None and epoch == self.at:
            self.act()

    def act(self) -> None:
        if self.error is not None:
            raise self.error
        self.model.stop_training = True
