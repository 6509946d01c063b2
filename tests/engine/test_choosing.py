"""composite="auto": what a network is decides, however it is written; the choice is reported and kept."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers as kl
from keras import ops

import lrp_monitor as lrp
from lrp_monitor.engine.rules.composites import AUTO, resolve


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
    "one": (lambda: convolutions(1), "1 convolution deep"),
    "nine": (lambda: convolutions(9), "9 convolutions deep"),
    "residual": (residual, "3 convolutions deep"),
    "by hand": (
        lambda: keras.Sequential([keras.Input((8, 8, 1)), ByHand(), ByHand(), kl.Flatten(), kl.Dense(2)]),
        "2 convolutions deep",
    ),
    "series": (
        lambda: keras.Sequential([keras.Input((20, 2)), kl.Conv1D(3, 5), kl.LSTM(3), kl.Dense(2)]),
        "1 convolution deep",
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
        "1 convolution deep",
    ),
    "table": (
        lambda: keras.Sequential([keras.Input((5,)), kl.Dense(4, activation="relu"), kl.Dense(2)]),
        "no convolutions",
    ),
    "one place": (
        lambda: keras.Sequential([keras.Input((5, 5, 3)), kl.Conv2D(4, 1), kl.Flatten(), kl.Dense(2)]),
        "no convolutions",
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
        "1 convolution deep",
    ),
    "attention": (lambda: attention(False), "attention without convolutions"),
    "attention by hand": (lambda: attention(True), "attention without convolutions"),
}


PRESET_OF = {"attention without convolutions": "cp_lrp", "no convolutions": "epsilon"}


@pytest.mark.parametrize("name", CASES)
def test_what_is_chosen(name: str) -> None:
    make, choice = CASES[name]
    explainer = lrp.Explainer(make())
    assert explainer.composite_name == PRESET_OF.get(choice, "epsilon_gamma")
    assert explainer.choice == choice


def test_the_choice_is_a_preset_and_its_maps_are_that_presets(rng: np.random.Generator, randomise: Any) -> None:
    model = randomise(convolutions(2))
    x = rng.uniform(size=(3, 12, 12, 1)).astype(np.float32)
    explainer = lrp.Explainer(model)
    assert explainer.choice == "2 convolutions deep"
    assert explainer.composite == resolve(explainer.composite_name)
    np.testing.assert_array_equal(explainer(x, 1), lrp.relevance(model, x, 1, composite=explainer.composite_name))
    assert f"composite {explainer.composite_name}\n" in str(explainer)
    assert "chosen by auto: 2 convolutions deep" in str(explainer)


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
