"""composite="auto": what a network is decides, however it is written; the choice is reported and kept."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers as kl
from keras import ops

import lrp_monitor as lrp
from lrp_monitor.engine.rules.composites import AUTO, PRESETS, resolve
from lrp_monitor.engine.steps.choosing import Traits, traits


def recorded(model: keras.Model, monkeypatch: pytest.MonkeyPatch) -> Traits:
    """The traits that a choice for the model is made by."""
    found: list[Traits] = []

    def spy(recording: Any) -> Traits:
        found.append(traits(recording))
        return found[-1]

    monkeypatch.setattr("lrp_monitor.engine.steps.choosing.traits", spy)
    assert lrp.Explainer(model).composite_name in PRESETS
    return found[-1]


def convolutions(count: int) -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((12, 12, 1)),
            *(kl.Conv2D(3, 3, padding="same", activation="relu") for _ in range(count)),
            kl.GlobalAveragePooling2D(),
            kl.Dense(3),
        ]
    )


def residual() -> keras.Model:
    """Two convolutions on one way, one of one place and one with a window on the other; a stem before both."""
    given = keras.Input((12, 12, 1))
    x = kl.ReLU()(kl.BatchNormalization()(kl.Conv2D(3, 3, padding="same", use_bias=False)(given)))
    y = kl.Conv2D(3, 3, padding="same")(kl.ReLU()(kl.DepthwiseConv2D(3, padding="same")(x)))
    x = kl.Conv2D(3, 1)(x)
    return keras.Model(given, kl.Dense(2)(kl.Flatten()(x + y)))


class ByHand(keras.layers.Layer):
    """A convolution of a layer's own weights."""

    def build(self, shape: Any) -> None:
        self.kernel = self.add_weight(shape=(3, 3, shape[-1], 4), name="kernel")

    def call(self, x: Any) -> Any:
        return ops.relu(ops.conv(x, self.kernel, padding="same"))


def attention(by_hand: bool) -> keras.Model:
    given = keras.Input((6, 4))
    if by_hand:
        q, k, v = (kl.Dense(4)(given) for _ in range(3))
        x = ops.matmul(ops.softmax(ops.matmul(q, ops.transpose(k, (0, 2, 1)))), v)
    else:
        x = kl.MultiHeadAttention(2, 2)(given, given)
    return keras.Model(given, kl.Dense(2)(kl.GlobalAveragePooling1D()(x)))


CASES = {
    "one": (lambda: convolutions(1), Traits(1, False)),
    "nine": (lambda: convolutions(9), Traits(9, False)),
    "residual": (residual, Traits(3, False)),
    "by hand": (
        lambda: keras.Sequential([keras.Input((8, 8, 1)), ByHand(), ByHand(), kl.Flatten(), kl.Dense(2)]),
        Traits(2, False),
    ),
    "series": (
        lambda: keras.Sequential([keras.Input((20, 2)), kl.Conv1D(3, 5), kl.LSTM(3), kl.Dense(2)]),
        Traits(1, False),
    ),
    "dense first": (
        lambda: keras.Sequential(
            [
                keras.Input((8, 8, 1)),
                kl.Flatten(),
                kl.Dense(16),
                kl.Reshape((4, 4, 1)),
                kl.Conv2D(2, 3),
                kl.Flatten(),
                kl.Dense(2),
            ]
        ),
        Traits(1, False),
    ),
    "table": (
        lambda: keras.Sequential([keras.Input((5,)), kl.Dense(4, activation="relu"), kl.Dense(2)]),
        Traits(0, False),
    ),
    "one place": (
        lambda: keras.Sequential([keras.Input((5, 5, 3)), kl.Conv2D(4, 1), kl.Flatten(), kl.Dense(2)]),
        Traits(0, False),
    ),
    "words": (
        lambda: keras.Sequential(
            [
                keras.Input((9,), dtype="int32"),
                kl.Embedding(7, 4),
                kl.Conv1D(3, 3),
                kl.GlobalMaxPooling1D(),
                kl.Dense(2),
            ]
        ),
        Traits(1, False),
    ),
    "attention": (lambda: attention(False), Traits(0, True)),
    "attention by hand": (lambda: attention(True), Traits(0, True)),
}


@pytest.mark.parametrize("name", CASES)
def test_traits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make, wanted = CASES[name]
    assert recorded(make(), monkeypatch) == wanted


def test_the_choice_is_a_preset_and_its_maps_are_that_presets(rng: np.random.Generator, randomise: Any) -> None:
    model = randomise(convolutions(2))
    x = rng.uniform(size=(3, 12, 12, 1)).astype(np.float32)
    explainer = lrp.Explainer(model)
    assert explainer.choice == "2 convolutions deep"
    assert explainer.composite == resolve(explainer.composite_name)
    np.testing.assert_array_equal(explainer(x, 1), lrp.relevance(model, x, 1, composite=explainer.composite_name))
    assert f"composite {explainer.composite_name}\n" in str(explainer)
    assert "chosen by auto: 2 convolutions deep" in str(explainer)


@pytest.mark.parametrize(
    ("name", "preset", "choice"),
    [
        ("nine", "epsilon_gamma", "9 convolutions deep"),
        ("words", "epsilon_gamma", "1 convolution deep"),
        ("attention", "cp_lrp", "attention without convolutions"),
        ("table", "epsilon", "no convolutions"),
    ],
)
def test_what_is_chosen(name: str, preset: str, choice: str) -> None:
    explainer = lrp.Explainer(CASES[name][0]())
    assert (explainer.composite_name, explainer.choice) == (preset, choice)


def test_a_composite_that_was_given_is_not_chosen() -> None:
    explainer = lrp.Explainer(convolutions(1), "epsilon_plus_flat")
    assert (explainer.composite_name, explainer.choice) == ("epsilon_plus_flat", "")
    assert lrp.Explainer(convolutions(1), "auto").choice == "1 convolution deep"
    assert resolve("auto") is AUTO
    with pytest.raises(ValueError, match=r"unknown composite 'autom'; did you mean 'auto'\?"):
        lrp.Explainer(convolutions(1), "autom")


def test_what_cannot_be_explained_is_reported_without_a_choice() -> None:
    class Logarithm(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return ops.log(x)

    model = keras.Sequential([keras.Input((4,)), kl.Dense(3), Logarithm()])
    report = lrp.check(model)
    assert report.problems
    assert report.composite == "auto"
