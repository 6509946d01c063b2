"""A network, captures of its gradients, and their independent replay: for the tests of captured gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from lrp_monitor.store.format import Histogram
from lrp_monitor.training.tensors.capture import GradientCapture
from lrp_monitor.training.tensors.names import tensor_names
from lrp_monitor.training.tensors.updates import Update

layers = keras.layers


BATCH = 16


def data(samples: int = 100) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(samples, 8, 8, 3)).astype(np.float32), rng.integers(0, 5, size=samples)


def network(*, dropout: float = 0.0, with_input: bool = True) -> keras.Model:
    return keras.Sequential(
        [
            *([keras.Input((8, 8, 3))] if with_input else []),
            layers.Conv2D(8, 3),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Dropout(dropout),
            layers.Conv2D(8, 3, kernel_regularizer=keras.regularizers.L2(1e-2)),
            layers.GlobalAveragePooling2D(),
            layers.Dense(5),
        ]
    )


def compiled(model: keras.Model, optimizer: Any = "sgd", **options: Any) -> keras.Model:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, metrics=["accuracy"], **{"jit_compile": False, **options})
    return model


class Watch(keras.callbacks.Callback):
    """Captures the given batches of each epoch, with the weights as they were before the step."""

    def __init__(self, due: tuple[int, ...], names: Any = None) -> None:
        super().__init__()
        self.due, self.names = due, names
        self.taken: list[list[Histogram]] = []
        self.problems: list[str] = []
        self.weights: list[list[np.ndarray]] = []
        self.after: list[list[np.ndarray]] = []
        self.updates: list[dict[str, Update]] = []
        self.restored: list[bool] = []

    def on_train_begin(self, logs: Any = None) -> None:
        self.capture = GradientCapture(self.model, names=self.names, updates=True)
        self.plain = self.model.train_function

    def collect(self) -> None:
        histograms = self.capture.take()
        if len(self.after) < len(self.weights):
            self.after.append(self.model.get_weights())
            self.updates.append(self.capture.take_updates())
        if histograms is not None:
            self.taken.append(histograms)
        elif self.capture.problem is not None and len(self.taken) + len(self.problems) < len(self.weights):
            self.problems.append(self.capture.problem)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if len(self.weights) > len(self.restored):
            shadowed = "apply" in self.model.optimizer.__dict__
            self.restored.append(self.model.train_function is self.plain and not shadowed)
        self.collect()
        if batch in self.due:
            self.weights.append(self.model.get_weights())
            self.capture.arm()
            assert self.model.train_function is not self.plain

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.collect()


def watched(model: keras.Model, due: tuple[int, ...], *, epochs: int = 1, **fit: Any) -> Watch:
    watch = Watch(due)
    x, y = data()
    model.fit(x, y, batch_size=BATCH, epochs=epochs, shuffle=False, verbose=0, callbacks=[watch], **fit)
    return watch


def replayed(make: Callable[[], keras.Model], weights: list[np.ndarray], batch: int) -> dict[str, np.ndarray]:
    """The gradients of that batch by an ordinary tape: another model, no train function, no optimizer."""
    model = make()
    model.build((None, 8, 8, 3))
    model.set_weights(weights)
    x, y = (part[batch * BATCH : (batch + 1) * BATCH] for part in data())
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    with tf.GradientTape() as tape:
        total = loss(y, model(x, training=True)) + sum(model.losses)
    variables = model.trainable_variables
    gradients = tape.gradient(total, [variable.value for variable in variables])
    return {
        variable.path.split("/", 1)[1]: gradient.numpy()
        for variable, gradient in zip(variables, gradients, strict=True)
    }


def buckets(values: np.ndarray) -> np.ndarray:
    bits = values.astype(np.float32).ravel().view(np.uint32)
    magnitude = bits & 0x7FFFFFFF
    return np.bincount(bits[(magnitude >= 0x00800000) & (magnitude < 0x7F800000)] >> 21, minlength=2048)


def agree(histograms: list[Histogram], gradients: dict[str, np.ndarray], tolerance: float = 2e-6) -> None:
    wanted = list(gradients.values())
    assert [h.size for h in histograms] == [gradient.size for gradient in wanted]
    total = np.sqrt(sum(np.linalg.norm(gradient.astype(np.float64)) ** 2 for gradient in wanted))
    assert total > 0.1
    for histogram, gradient in zip(histograms, wanted, strict=True):
        assert histogram.kind == "gradient"
        assert histogram.note == ""
        assert histogram.norm == pytest.approx(np.linalg.norm(gradient), rel=tolerance, abs=tolerance * total)
        if np.abs(gradient).max() < 1e-6:
            continue  # the bias in front of the normalisation: its gradient is rounding alone
        got = np.zeros(2048, np.int64)
        got[histogram.buckets] = histogram.counts
        # a value at a bucket's edge may fall to either side
        assert np.abs(got - buckets(gradient)).sum() <= 2 * np.ceil(0.005 * gradient.size)
        assert histogram.minimum == pytest.approx(gradient.min(), rel=1e-4, abs=tolerance)
        assert histogram.maximum == pytest.approx(gradient.max(), rel=1e-4, abs=tolerance)


def moves_agree(watch: Watch, tolerance: float = 1e-6) -> None:
    """What was measured of the weights' changes, against the weights before and after each step."""
    names = {name: id(variable) for name, variable in tensor_names(watch.model, trainable_only=True).items()}
    places = {id(variable): place for place, variable in enumerate(watch.model.weights)}
    for updates, before, after in zip(watch.updates, watch.weights, watch.after, strict=True):
        assert list(updates) == list(names)
        for name, update in updates.items():
            old, new = (values[places[names[name]]].astype(np.float64) for values in (before, after))
            assert update.before == pytest.approx(np.linalg.norm(old), rel=tolerance)
            assert update.change == pytest.approx(np.linalg.norm(new - old), rel=tolerance)


def sgd(**options: Any) -> keras.optimizers.Optimizer:
    return keras.optimizers.SGD(0.1, **options)


def adam() -> keras.optimizers.Optimizer:
    return keras.optimizers.Adam()
