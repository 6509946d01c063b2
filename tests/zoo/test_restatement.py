"""The restatement itself, on cases derived by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import restatement
import tensorflow as tf
from keras import layers as kl
from keras import ops

WEIGHTS = np.array([[1, -1], [-1, 2], [2, 1]], np.float32)  # 3 inputs, 2 outputs
BIAS = np.array([0.5, -0.5], np.float32)
X = np.array([[1.0, -2.0, 3.0]], np.float32)  # z = (9.5, -2.5)


def restated(model: keras.Model, x: np.ndarray, target: int, composite: str, **changes: object) -> np.ndarray:
    rules = restatement.Rules(**{**vars(restatement.COMPOSITES[composite]), **changes})
    found, logit = restatement.relevance(model, {"x": x}, (target,), rules, as_dict=False)
    np.testing.assert_allclose(logit, np.asarray(model(x))[:, target], rtol=1e-6)
    return found["x"][0]


def test_the_epsilon_rule_of_a_dense_layer() -> None:
    """R_i = x_i w_ij z_j / z_j: the contributions themselves, less what the bias has of z."""
    inputs = keras.Input((3,))
    model = keras.Model(inputs, kl.Dense(2)(inputs))
    model.set_weights([WEIGHTS, BIAS])
    np.testing.assert_allclose(restated(model, X, 0, "epsilon"), [1, 2, 6], rtol=1e-6)
    np.testing.assert_allclose(restated(model, X, 1, "epsilon"), [-1, -4, 3], rtol=1e-6)
    # A stabiliser of half of z takes a third: 9.5 / (9.5 + 4.75).
    np.testing.assert_allclose(restated(model, X, 0, "epsilon", epsilon=4.75), np.array([1, 2, 6]) / 1.5, rtol=1e-6)


def test_z_plus_of_a_convolution() -> None:
    """Contributions of positive sign share z, the positive bias too: 9.5 (1, 2, 6) / 9.5 and -2.5 (0, 0, 3) / 3."""
    inputs = keras.Input((3,))
    h = kl.Reshape((1, 1, 3))(inputs)
    model = keras.Model(inputs, kl.Flatten()(kl.Conv2D(2, 1)(h)))
    model.set_weights([WEIGHTS[None, None], BIAS])
    np.testing.assert_allclose(restated(model, X, 0, "epsilon_plus"), [1, 2, 6], rtol=1e-6)
    np.testing.assert_allclose(restated(model, X, 1, "epsilon_plus"), [0, 0, -2.5], rtol=1e-6, atol=1e-9)


def test_attention() -> None:
    """Tokens 1 and 2 with q = k = v = x: out = a_0 + 2 a_1, a = softmax(1, 2) = (.268941, .731059).

    CP-LRP: a_j x_j. AttnLRP: half of it to the values; G_a = x / 2, G_s = a (G_a - sum a G_a) = (-.098306, .098306),
    and half of s G_s to each of q_0 (.049153) and k (-.049153, .098306).
    """
    inputs = keras.Input((2,))
    x = ops.reshape(inputs, (-1, 2, 1))
    q, k, v = (kl.Dense(1, use_bias=False, kernel_initializer="ones")(x) for _ in range(3))
    out = ops.matmul(ops.softmax(ops.matmul(q, ops.transpose(k, (0, 2, 1)))), v)
    model = keras.Model(inputs, ops.reshape(out, (-1, 2)))
    tokens = np.array([[1.0, 2.0]], np.float32)
    np.testing.assert_allclose(restated(model, tokens, 0, "cp_lrp"), [0.268941, 1.462117], rtol=1e-5)
    np.testing.assert_allclose(restated(model, tokens, 0, "attn_lrp"), [0.134471, 0.829365], rtol=1e-5)


@pytest.mark.parametrize(
    ("gate", "size", "composite"),
    [(ops.sigmoid, 1 / (1 + np.exp(-1)), "epsilon"), (ops.hard_sigmoid, 4 / 6, "epsilon"), (ops.exp, np.e, "cp_lrp")],
)
def test_a_gate_and_a_function(gate: Callable[[Any], Any], size: float, composite: str) -> None:
    """gate(a) b, a = 1, b = 3: all to b, or half to each, which passes the gate one to one.

    An exponential is a softmax without its sum.
    """
    inputs = keras.Input((2,))
    h = kl.Dense(2, use_bias=False, kernel_initializer="identity")(inputs)
    model = keras.Model(inputs, gate(h[:, :1]) * h[:, 1:])
    x = np.array([[1.0, 3.0]], np.float32)
    np.testing.assert_allclose(restated(model, x, 0, composite), [0, 3 * size], rtol=1e-5)
    np.testing.assert_allclose(restated(model, x, 0, "attn_lrp"), [1.5 * size, 1.5 * size], rtol=1e-5)


def test_a_factor_that_is_spread_is_a_gate_however_it_is_multiplied() -> None:
    """a (b, c), 1 x (2, 3), as matrix products that sum over one place: all to (b, c), or half to each factor."""
    inputs = keras.Input((3,))
    h = kl.Dense(3, use_bias=False, kernel_initializer="identity")(inputs)
    a, bc = h[:, :1], h[:, 1:]
    forms = [
        a * bc, ops.matmul(a[:, None], bc[:, None])[:, 0], ops.matmul(bc[:, :, None], a[:, None])[:, :, 0],
        ops.einsum("ni,nj->nj", a, bc),
    ]  # fmt: skip
    x = np.array([[1.0, 2.0, 3.0]], np.float32)
    for made in forms:
        model = keras.Model(inputs, made)
        np.testing.assert_allclose(restated(model, x, 1, "epsilon"), [0, 0, 3], rtol=1e-5, atol=1e-9)
        np.testing.assert_allclose(restated(model, x, 1, "attn_lrp"), [1.5, 0, 1.5], rtol=1e-5, atol=1e-9)


def test_a_number_added_to_a_function() -> None:
    """1 - sigmoid(h) is one function of h, to which all of it goes; what is added to a ReLU absorbs: 1 of 1 + 2."""
    inputs = keras.Input((2,))
    h = kl.Dense(2, use_bias=False, kernel_initializer="identity")(inputs)
    model = keras.Model(inputs, ops.concatenate([1 - ops.sigmoid(h), 1 + ops.relu(h)], axis=-1))
    x = np.array([[1.0, 2.0]], np.float32)
    np.testing.assert_allclose(restated(model, x, 0, "epsilon"), [1 / (1 + np.e), 0], rtol=1e-5)
    np.testing.assert_allclose(restated(model, x, 3, "epsilon"), [0, 2], rtol=1e-5)


def test_signs_and_choices_are_parts_of_a_function() -> None:
    """h / 2 - sign(h) relu(1 - |h| / 4) and a choice by h >= 0 are functions of h, to which all of it goes."""
    inputs = keras.Input((2,))
    h = kl.Dense(2, use_bias=False, kernel_initializer="identity")(inputs)
    signed = h / 2 - ops.sign(h) * ops.relu(1 - ops.abs(h) / 4)
    chosen = ops.where(h >= 0, h + 0.5, ops.sigmoid(h))  # gates of minGRU
    model = keras.Model(inputs, ops.concatenate([signed, chosen], axis=-1))
    x = np.array([[1.0, 2.0]], np.float32)
    np.testing.assert_allclose(restated(model, x, 0, "epsilon"), [0.5 - 0.75, 0], rtol=1e-5)
    np.testing.assert_allclose(restated(model, x, 3, "epsilon"), [0, 2.5], rtol=1e-5)


def test_a_number_in_a_function_is_no_part_of_the_product_before_it() -> None:
    """hard_sigmoid(9.5) = 1, all of it to z = 9.5, of which a stabiliser of 4.75 takes a third."""
    inputs = keras.Input((3,))
    model = keras.Model(inputs, ops.hard_sigmoid(kl.Dense(2)(inputs)))
    model.set_weights([WEIGHTS, BIAS])
    np.testing.assert_allclose(restated(model, X, 0, "epsilon", epsilon=4.75), np.array([1, 2, 6]) / 14.25, rtol=1e-6)


def test_three_factors_get_a_third_each() -> None:
    """a b c, 1 x 2 x 3: a third of 6 to each. A sum between makes it two: (a c + b c) d, half to d."""
    inputs = keras.Input((4,))
    a, b, c, d = (kl.Dense(4, use_bias=False, kernel_initializer="identity")(inputs)[:, i : i + 1] for i in range(4))
    model = keras.Model(
        inputs, ops.concatenate([a * (b * c), ops.sum(ops.concatenate([a, b], -1) * c, -1, keepdims=True) * d], -1)
    )
    x = np.array([[1.0, 2.0, 3.0, 2.0]], np.float32)
    np.testing.assert_allclose(restated(model, x, 0, "attn_lrp"), [2, 2, 2, 0], rtol=1e-5)
    np.testing.assert_allclose(restated(model, x, 1, "attn_lrp"), [1.5, 3, 4.5, 9], rtol=1e-5)


def test_tensors_in_a_list() -> None:
    """What is written into a list of tensors and stacked is moved: 2 x + 3 x."""

    class Listed(kl.Layer):
        def call(self, x: tf.Tensor) -> tf.Tensor:
            rows = tf.TensorArray(tf.float32, size=2).write(0, 2 * x).write(1, 3 * x)
            return tf.reduce_sum(rows.stack(), axis=0)

    inputs = keras.Input((2,))
    model = keras.Model(inputs, Listed()(kl.Dense(2, use_bias=False, kernel_initializer="identity")(inputs)))
    x = np.array([[1.0, 2.0]], np.float32)
    np.testing.assert_allclose(restated(model, x, 1, "epsilon"), [0, 10], rtol=1e-5)
