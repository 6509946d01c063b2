"""Models that take one number of samples alone: stateful layers with a fixed batch, a batch written into a call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from monitor_helpers import monitor

import lrp_monitor as lrp
from lrp_monitor.probes import ProbeSet
from lrp_monitor.store.reader import open_run

BATCH, STEPS, FEATURES = 4, 3, 3
X = np.random.default_rng(0).normal(size=(16, STEPS, FEATURES)).astype(np.float32)
Y = np.arange(16) % 2


def stateful() -> keras.Model:
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.Input((STEPS, FEATURES), batch_size=BATCH),
            layers.LSTM(3, stateful=True),
            layers.Dense(2, activation="softmax"),
        ]
    )
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


def values(model: keras.Model) -> list[np.ndarray]:
    return [np.array(variable) for variable in model.variables]


def fit(model: keras.Model, *callbacks: Any) -> None:
    model.fit(X, Y, batch_size=BATCH, epochs=2, shuffle=False, verbose=0, callbacks=list(callbacks))


@pytest.mark.parametrize("gradients", ["train", "probe"])
@pytest.mark.filterwarnings("ignore:layer .* is stateful")
def test_a_stateful_model_is_watched_and_its_states_are_the_trainings(tmp_path: Path, gradients: Any) -> None:
    plain, model = stateful(), stateful()
    fit(plain)
    count = 6 if gradients == "train" else BATCH  # one chunk and a half
    probes = ProbeSet(X[:count], Y[:count])
    fit(model, monitor(tmp_path, probes, gradients=gradients))
    for mine, theirs in zip(values(model), values(plain), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert any(state.any() for state in (np.array(state) for state in model.layers[0].states))
    run = open_run(tmp_path)
    assert any("is stateful: explained is the model as after reset_state()" in note for note in run.record(0).notes)
    model.layers[0].reset_state()
    shown = np.concatenate([model.predict(np.resize(X[i : i + 1], (BATCH, STEPS, FEATURES)), verbose=0)[:1]
                            for i in range(count) if model.layers[0].reset_state() is None])  # fmt: skip
    probability = run.record(2).statistics["probability"]
    np.testing.assert_allclose(probability, shown[np.arange(count), Y[:count]], rtol=1e-5)


class Written(keras.Model):
    """Its batch is a number in its call."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = layers.Dense(4, activation="relu"), layers.Dense(2, activation="softmax")

    def call(self, x: Any) -> Any:
        return self.two(self.one(keras.ops.reshape(x, (6, STEPS * FEATURES))))


def test_a_model_is_tried_on_the_probes_own_number(tmp_path: Path) -> None:
    model = Written()
    model.compile("sgd", "sparse_categorical_crossentropy")

    def train(*callbacks: Any) -> None:
        model.fit(X[:12], Y[:12], batch_size=6, verbose=0, callbacks=list(callbacks))

    words = r"cannot be run on inputs of shape \(3, 3\), one of them or all 4 at a time: \w+.*[Rr]eshape"
    with pytest.raises(ValueError, match=words):
        train(monitor(tmp_path / "a", ProbeSet(X[:4])))
    train(monitor(tmp_path / "b", ProbeSet(X[:6], Y[:6]), encoding="float32"))
    expected = lrp.relevance(model, X[:6], Y[:6], composite="epsilon_plus_flat", batch_size=6)
    np.testing.assert_allclose(open_run(tmp_path / "b").heatmaps(1), expected, rtol=1e-5, atol=1e-7)
