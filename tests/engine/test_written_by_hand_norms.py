"""Normalisations written by hand: as Keras' layers with the same weights, in every usual spelling."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from engine_helpers import close, randomised, sweep
from hand_helpers import EVERY, Own, Reference, net, same, same_as, share_ends, weight
from keras import layers as kl
from keras import ops

import lrp_monitor as lrp

EPS = 1e-3
STEPS, IMAGE = (3, 4), (3, 2, 4)


def gain(layer):
    weight(layer, "gamma", (4,), initializer="ones")


def gain_and_shift(layer):
    gain(layer)
    weight(layer, "beta", (4,), initializer="zeros")


def nothing(layer):
    pass


def mean(x, axis=-1):
    return ops.mean(x, axis=axis, keepdims=True)


def moments(layer, x):
    centre, variance = ops.moments(x, axes=[-1], keepdims=True)
    return (x - centre) * ops.rsqrt(variance + EPS) * layer.gamma + layer.beta


def tf_moments(layer, x):
    centre, variance = tf.nn.moments(x, axes=[-1], keepdims=True)
    return tf.nn.batch_normalization(x, centre, variance, layer.beta, layer.gamma, EPS)


def by_deviation(layer, x):
    centred = x - mean(x)
    return layer.gamma * centred / ops.sqrt(mean(centred * centred) + EPS) + layer.beta


def by_difference_of_squares(layer, x):
    variance = mean(ops.square(x)) - ops.square(mean(x))
    return (x - mean(x)) / ops.sqrt(variance + EPS) * layer.gamma + layer.beta


def by_power(layer, x):
    return (x - mean(x)) * (ops.var(x, axis=-1, keepdims=True) + EPS) ** -0.5 * layer.gamma + layer.beta


def folded(layer, x):
    """Scale and shift computed first, as in tf.nn.batch_normalization."""
    scale = layer.gamma * ops.rsqrt(ops.var(x, axis=-1, keepdims=True) + EPS)
    return x * scale + (layer.beta - mean(x) * scale)


def groups(layer, x):
    parts = ops.reshape(x, (-1, 3, 2, 2, 2))
    centre, variance = ops.moments(parts, axes=[1, 2, 4], keepdims=True)
    return ops.reshape((parts - centre) / ops.sqrt(variance + EPS), (-1, *IMAGE)) * layer.gamma + layer.beta


def length(x):
    return ops.sqrt(ops.sum(ops.square(x), axis=-1, keepdims=True))


KNOWN = {
    "rms": (STEPS, lambda: kl.RMSNormalization(epsilon=EPS)),
    "layer": (STEPS, lambda: kl.LayerNormalization(epsilon=EPS)),
    "group": (IMAGE, lambda: kl.GroupNormalization(2, epsilon=EPS)),
    "L2": (STEPS, kl.UnitNormalization),
}
# Keras' layer, and how it is written -> (weights, by hand)
FORMS = {
    "rms, rsqrt": (gain, lambda n, x: x * ops.rsqrt(mean(ops.square(x)) + EPS) * n.gamma),
    "rms, division": (gain, lambda n, x: n.gamma * (x / ops.sqrt(mean(x * x) + EPS))),
    "rms, power": (gain, lambda n, x: n.gamma * x * (mean(x**2) + EPS) ** -0.5),
    "rms, reciprocal": (gain, lambda n, x: x * (1.0 / ops.sqrt(mean(ops.square(x)) + EPS)) * n.gamma),
    "rms, tf": (
        gain, lambda n, x: x * tf.math.rsqrt(tf.reduce_mean(x * x, -1, keepdims=True) + EPS) * n.gamma,
    ),
    "rms, keras.ops": (gain, lambda n, x: ops.rms_normalization(x, n.gamma, axis=-1, epsilon=EPS)),
    "layer, moments": (gain_and_shift, moments),
    "layer, tf.nn": (gain_and_shift, tf_moments),
    "layer, deviation": (gain_and_shift, by_deviation),
    "layer, mean of squares": (gain_and_shift, by_difference_of_squares),
    "layer, power": (gain_and_shift, by_power),
    "layer, folded": (gain_and_shift, folded),
    "group, moments": (gain_and_shift, groups),
    "L2, division": (nothing, lambda n, x: x / length(x)),
    "L2, norm": (nothing, lambda n, x: x / ops.norm(x, axis=-1, keepdims=True)),
    "L2, rsqrt of maximum": (
        nothing,
        lambda n, x: x * ops.rsqrt(ops.maximum(ops.sum(ops.square(x), axis=-1, keepdims=True), 1e-12)),
    ),
    "L2, clipped": (nothing, lambda n, x: x / ops.maximum(length(x), 1e-6)),
    "L2, two roots": (nothing, lambda n, x: x * (ops.rsqrt(length(x)) * ops.rsqrt(length(x)))),
    "L2, einsum": (nothing, lambda n, x: x / ops.einsum("abc->ab", x * x)[..., None] ** 0.5),
    "L2, einsum with itself": (nothing, lambda n, x: x / ops.sqrt(ops.einsum("abc,abc->ab", x, x)[..., None])),
    "L2, matmul with itself": (
        nothing, lambda n, x: x * ops.rsqrt(ops.matmul(x[..., None, :], x[..., :, None])[..., 0]),
    ),
    "L2, ops.normalize": (nothing, lambda n, x: ops.normalize(x, axis=-1)),
    "L2, tf.nn": (nothing, lambda n, x: tf.nn.l2_normalize(x, axis=-1)),
}  # fmt: skip


@functools.cache
def reference(layer):
    shape, make = KNOWN[layer]
    rng = np.random.default_rng(0)
    by_layers = randomised(rng, net(shape, make()))
    return Reference(by_layers, rng.uniform(-3, 3, size=(2, *shape)).astype(np.float32))


# By default the composites in turn, each for two forms; and powers where a factor that is none takes a half.
@sweep(
    "form composite", FORMS, EVERY,
    kept=lambda form, c: c == form // 2 % len(EVERY)
    or (EVERY[c] == "attn_lrp" and list(FORMS)[form].endswith("power")),
)  # fmt: skip
def test_in_every_spelling(form, composite):
    known, layer = reference(form.split(",")[0]), Own(*FORMS[form])
    by_hand = net(known.x.shape[1:], layer)
    by_hand.set_weights(known.model.get_weights())
    same_as(known, by_hand, [composite])


def test_its_own_scale_and_shift_are_no_lone_normalisation(rng, randomise):
    """Under ``norm="identity"``, too: as of the layer, the shift keeps its share; also where moves are between."""

    def run(layer, x):
        centre, variance = ops.moments(x, axes=[-1], keepdims=True)
        normed = ops.transpose((x - centre) * ops.rsqrt(variance + EPS), (0, 2, 1))
        return ops.transpose(normed, (0, 2, 1)) * layer.gamma + layer.beta

    by_layers, by_hand = (net(STEPS, norm) for norm in (kl.LayerNormalization(), Own(gain_and_shift, run)))
    by_hand.set_weights(randomise(by_layers).get_weights())
    same(by_layers, by_hand, rng.normal(size=(2, *STEPS)).astype(np.float32), [lrp.Composite(norm="identity")])


def test_as_nodes_of_a_functional_model(rng, randomise):
    by_layers = randomise(net(STEPS, kl.UnitNormalization()))
    by_hand = net(STEPS, lambda x: x / ops.sqrt(ops.sum(x * x, axis=-1, keepdims=True)))
    share_ends(by_layers, by_hand)
    same(by_layers, by_hand, rng.uniform(-3, 3, size=(2, *STEPS)).astype(np.float32), ["epsilon", "attn_lrp"])


def test_statistics_kept_by_ones_own_layer(rng, randomise):
    """A BatchNormalization by hand, its mean and variance weights: folded into the convolution before it."""

    def statistics(layer):
        gain_and_shift(layer)
        weight(layer, "mean", (4,), trainable=False)
        weight(layer, "variance", (4,), initializer="ones", trainable=False)

    def run(layer, x):
        return (x - layer.mean) / ops.sqrt(layer.variance + 1e-3) * layer.gamma + layer.beta

    def model(norm):
        return keras.Sequential(
            [keras.Input((4, 3, 2)), kl.Conv2D(4, 2), norm, kl.ReLU(), kl.Flatten(), kl.Dense(2, name="head")]
        )

    by_layers, by_hand = randomise(model(kl.BatchNormalization(epsilon=1e-3))), model(Own(statistics, run))
    for one, other in zip(by_layers.layers, by_hand.layers, strict=True):
        other.set_weights(one.get_weights())
    x = rng.uniform(-3, 3, size=(2, 4, 3, 2)).astype(np.float32)
    same(by_layers, by_hand, x, ["epsilon_plus_flat", "epsilon_alpha2_beta1", "cp_lrp"])


RESPONSES = {
    "by division": lambda size: size / mean(size),
    "by a product": lambda size: size * ops.reciprocal(mean(size)),
}


@pytest.mark.parametrize("form", RESPONSES)
def test_a_statistic_normalised_is_no_divisor(form, rng, randomise):
    """Responses over their mean (Woo et al. 2023), y = h n, n = s / mean(s): half to h, half through n to s, a norm."""
    responses = Own(nothing, lambda _, x: x * RESPONSES[form](ops.sqrt(ops.sum(ops.square(x), axis=1, keepdims=True))))
    model = randomise(net(STEPS, responses))
    x = rng.uniform(-3, 3, size=(2, *STEPS)).astype(np.float32)
    composite = lrp.Composite(dense=lrp.rules.Epsilon(0), product="half")
    found = lrp.Explainer(model, composite).inspect(x, 1, layers=["before"])["before"].map
    h = np.asarray(model.get_layer("before")(x), np.float64)
    squares = (h**2).sum(axis=1, keepdims=True)
    n = np.sqrt(squares) / np.sqrt(squares).mean(axis=-1, keepdims=True)
    relevance = h * n * model.get_layer("head").get_weights()[0][:, 1].reshape(STEPS)
    close(found, relevance / 2 + h**2 / squares * relevance.sum(axis=1, keepdims=True) / 2, 1e-4)


def test_a_variance_is_a_signal_in_every_spelling(rng, randomise):
    """``tf.nn.moments``, whose mean has no gradient, and squared differences, as what pools statistics reads them."""

    def of(spread, far):
        def pooled(x):
            return ops.concatenate([ops.mean(x, 1), ops.sqrt(spread(x) + EPS), far(x[..., :2], x[..., 2:])[:, 0]], -1)

        return net(STEPS, kl.Lambda(pooled))

    def by_hand(x):
        return ops.mean(ops.square(x - ops.mean(x, 1, keepdims=True)), 1)

    def far_from_a_mean(x):
        mean = tf.stop_gradient(tf.reduce_mean(x, 1, keepdims=True))
        return tf.reduce_mean(tf.math.squared_difference(x, mean), 2)

    model = randomise(of(by_hand, lambda one, two: ops.square(one - two)))
    moments = of(lambda x: tf.nn.moments(x, [1])[1], tf.math.squared_difference)
    moments.set_weights(model.get_weights())
    x = rng.uniform(-3, 3, size=(2, *STEPS)).astype(np.float32)
    same(model, moments, x, ["epsilon_plus"])
    axis = tf.Variable([1])  # read when the model runs, so that nobody knows over what the mean is taken

    def over_a_variable(x):
        mean = tf.stop_gradient(tf.reduce_mean(x, axis, keepdims=True))
        return tf.reshape(tf.reduce_mean(tf.math.squared_difference(x, mean), axis), (-1, STEPS[1]))

    for refused, shape in ((far_from_a_mean, STEPS[:1]), (over_a_variable, STEPS[1:])):
        model = net(STEPS, kl.Lambda(refused, output_shape=shape))
        with pytest.raises(lrp.UnsupportedModelError, match="stops the gradient"):
            lrp.relevance(model, x, 1)
