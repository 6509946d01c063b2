"""Activations with parameters of their own, and activations given as any function."""

import functools
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from engine_helpers import close, randomised, sweep
from hand_helpers import Reference
from keras import layers as kl
from keras import ops

import lrp_monitor as lrp

SHAPE = (4, 3, 5)


class Learnt(kl.Layer):
    """``act(x, parameter)``, one parameter a channel, with a value that training moves."""

    def __init__(self, act, **options):
        super().__init__(**options)
        self.act = act

    def build(self, shape):
        self.parameter = self.add_weight(shape=(shape[-1],), initializer=keras.initializers.Constant(0.3))

    def call(self, x):
        return self.act(x, self.parameter)


def alpha(value=0.3):
    return keras.initializers.Constant(value)


WITH_PARAMETERS = {
    "PReLU": lambda: kl.PReLU(alpha_initializer=alpha()),
    "PReLU with shared axes": lambda: kl.PReLU(alpha_initializer=alpha(), shared_axes=[1, 2]),
    "LeakyReLU": lambda: kl.LeakyReLU(negative_slope=0.3),
    "ELU": lambda: kl.ELU(alpha=0.3),
    "ReLU with slope and limit": lambda: kl.ReLU(max_value=2.0, negative_slope=0.1),
    "one's own PReLU": lambda: Learnt(lambda x, a: ops.maximum(x, 0) + a * ops.minimum(x, 0)),
    "one's own choice": lambda: Learnt(lambda x, a: ops.where(x > 0, x, a * x)),
    "one's own swish": lambda: Learnt(lambda x, a: x * ops.sigmoid(a * x)),
    "one's own scale": lambda: Learnt(lambda x, a: a * ops.tanh(x)),
}


def net(activation, rng):
    inputs = keras.Input(SHAPE)
    h = activation(kl.Conv2D(5, 2, padding="same", use_bias=False)(inputs))
    model = keras.Model(inputs, kl.Dense(3, use_bias=False)(kl.Flatten()(h)))
    for layer in model.layers:
        if "conv" in layer.name or "dense" in layer.name:
            layer.set_weights([rng.normal(size=w.shape).astype(np.float32) * 0.5 for w in layer.get_weights()])
    return model


@pytest.mark.parametrize("name", WITH_PARAMETERS)
def test_all_of_the_relevance_passes_to_what_each_element_was_made_of(name, rng):
    """LRP-0 without biases: R = x conv^T (y w / z), y the activation of z, in float64 by the layers' own gradients."""
    model = net(WITH_PARAMETERS[name](), rng)
    x = rng.normal(size=(3, *SHAPE)).astype(np.float32)
    found = lrp.relevance(model, x, 1, "lrp_zero")
    conv, head = (layer for layer in model.layers if "conv" in layer.name or "dense" in layer.name)
    z = conv(x)
    y = np.asarray(model.layers[2](z), np.float64)
    arrives = y * head.get_weights()[0][:, 1].reshape(y.shape[1:])
    with tf.GradientTape() as tape:
        tape.watch(given := tf.constant(x))
        carried = tf.reduce_sum(conv(given) * tf.constant((arrives / np.asarray(z)).astype(np.float32)))
    close(found, x * tape.gradient(carried, given).numpy(), 1e-4)
    np.testing.assert_allclose(found.sum(axis=(1, 2, 3)), model(x).numpy()[:, 1], rtol=1e-3, atol=1e-4)


LEAKY = {
    "LeakyReLU": lambda: kl.LeakyReLU(negative_slope=0.3),
    "PReLU": lambda: kl.PReLU(alpha_initializer=alpha()),
    "difference": lambda: Learnt(lambda z, a: ops.relu(z) - a * ops.relu(-z)),
    "difference of scales": lambda: Learnt(lambda z, a: ops.relu(2 * z) / 2 + a * ops.relu(-2 * z) / -2),
}


@pytest.mark.parametrize("name", LEAKY)
def test_z_plus_behind_a_leaky_relu_however_it_is_written(name):
    """z = (9.5, -2.5), y = (9.5, -.75): -.75 (0, 0, 3) / 3, the contributions to z that are positive, not to -z."""
    inputs = keras.Input((3,))
    model = keras.Model(inputs, LEAKY[name]()(kl.Dense(2, name="dense")(inputs)))
    model.get_layer("dense").set_weights([np.array([[1, -1], [-1, 2], [2, 1]]), np.array([0.5, -0.5])])
    x = np.array([[1.0, -2.0, 3.0]], np.float32)
    composite = lrp.Composite(dense=lrp.rules.ZPlus())
    np.testing.assert_allclose(lrp.relevance(model, x, 0, composite), [[1, 2, 6]], rtol=1e-5)
    np.testing.assert_allclose(lrp.relevance(model, x, 1, composite), [[0, 0, -0.75]], rtol=1e-5, atol=1e-6)


def test_trained_for_an_epoch_under_the_monitor(tmp_path: Path, rng):
    """All of them in one net: logged before and behind, each log the map of the model as it is then."""
    inputs = h = keras.Input(SHAPE)
    for make in WITH_PARAMETERS.values():
        h = make()(kl.Conv2D(5, 2, padding="same")(h))
    model = keras.Model(inputs, kl.Dense(3, activation="softmax")(kl.Flatten()(h)))
    model.compile("sgd", "sparse_categorical_crossentropy")
    x, y = rng.normal(size=(8, *SHAPE)).astype(np.float32), np.arange(8) % 3
    monitor = lrp.LRPMonitor(lrp.ProbeSet(x[:4], labels=y[:4]), tmp_path, verbose=0, encoding="float32")
    parameters = [weight.numpy() for layer in model.layers if isinstance(layer, Learnt) for weight in layer.weights]
    model.fit(x, y, batch_size=4, verbose=0, callbacks=[monitor])
    moved = [weight.numpy() for layer in model.layers if isinstance(layer, Learnt) for weight in layer.weights]
    assert all(np.abs(after - before).max() > 0 for after, before in zip(moved, parameters, strict=True))
    run = lrp.open_run(tmp_path)
    assert run.steps == [0, 1]
    close(run.heatmaps(1), lrp.relevance(model, x[:4], y[:4]).sum(axis=-1), 1e-4)  # a map sums over channels


@keras.saving.register_keras_serializable("tests")
def quick_gelu(z):
    return z * ops.sigmoid(1.702 * z)


# How an activation is given -> Keras' own function of the same meaning, by name.
GIVEN = {
    "tf.nn.relu": (tf.nn.relu, "relu"),
    "tf.nn.silu": (tf.nn.silu, "silu"),
    "tf.nn.leaky_relu": (tf.nn.leaky_relu, functools.partial(keras.activations.leaky_relu, negative_slope=0.2)),
    "tf.math.tanh": (tf.math.tanh, "tanh"),
    "keras.activations by object": (keras.activations.mish, "mish"),
    "keras.ops by object": (ops.softplus, "softplus"),
    "softplus by hand": (kl.Lambda(lambda z: ops.log1p(ops.exp(z))), "softplus"),
    "a layer": (kl.LeakyReLU(negative_slope=0.2), "leaky_relu"),
    "lambda": (lambda z: ops.relu(z), "relu"),
    "partial": (functools.partial(keras.activations.gelu, approximate=True), lambda z: ops.gelu(z, approximate=True)),
    "registered": (quick_gelu, lambda z: quick_gelu(z)),
    "ReLU by hand": (lambda z: ops.maximum(z, 0.0), "relu"),
    "leaky ReLU by hand": (lambda z: ops.where(z > 0, z, 0.2 * z), "leaky_relu"),
    "SiLU by hand": (lambda z: z * ops.sigmoid(z), "silu"),
    "mish by hand": (lambda z: z * ops.tanh(ops.softplus(z)), "mish"),
    "ELU by hand": (lambda z: ops.where(z > 0, z, ops.exp(z) - 1.0), "elu"),
    "hard sigmoid by hand": (lambda z: ops.relu6(z + 3.0) / 6.0, "hard_sigmoid"),
}


def activated(activation):
    return keras.Sequential(
        [keras.Input((5,)), kl.Dense(6, activation=activation), kl.Dense(4), kl.Activation(activation), kl.Dense(3)]
    )


@functools.cache
def reference(known):
    rng = np.random.default_rng(0)
    return Reference(randomised(rng, activated(known), scale=1.0), rng.normal(size=(4, 5)).astype(np.float32))


def by_default(name, composite):
    """The composites in turn, the same one for all of one meaning."""
    meanings = list(dict.fromkeys(known for _, known in GIVEN.values()))
    return meanings.index(list(GIVEN.values())[name][1]) % 2 == composite


@sweep("name composite", GIVEN, ["epsilon_plus_flat", "cp_lrp"], kept=by_default)
def test_an_activation_is_what_it_computes(name, composite):
    given, known = activated(GIVEN[name][0]), reference(GIVEN[name][1])
    given.set_weights(known.model.get_weights())
    close(given(known.x).numpy(), known.output)
    close(lrp.relevance(given, known.x, known.target, composite), known.relevance(composite))


HEADS = {
    "tf.nn.softmax": (tf.nn.softmax, "softmax"),
    "tf.nn.log_softmax": (tf.nn.log_softmax, "softmax"),
    "tf.sigmoid": (tf.sigmoid, "sigmoid"),
    "lambda": (lambda z: ops.softmax(z), "softmax"),
    "partial": (functools.partial(keras.activations.softmax, axis=-1), "softmax"),
    "a layer": (kl.Softmax(), "softmax"),
}


OF_CUT_OFF = [
    lambda z: ops.sigmoid(ops.maximum(z, 0.0)),
    lambda z: ops.cos(ops.relu6(z)),
    lambda z: ops.softplus(ops.where(z > 0, z, 0.0)),
    lambda z: ops.exp(-2.0 * ops.relu(z)) + 0.5,
    lambda z: ops.maximum(ops.relu(z / 3.0), 0.1),
]


@pytest.mark.parametrize("samples", [1, 2])
def test_a_formula_that_ends_in_a_sum_is_one_for_a_single_sample_too(samples):
    """f(h) = sign(h) relu(1 - |h| / 4) + h / 2 passes all: f(1) = .75 + .5. Keras adds one sample's h / 2 as a bias."""
    inputs = keras.Input((2,))
    h = kl.Dense(2, use_bias=False, kernel_initializer="identity")(inputs)
    f = ops.sign(h) * ops.relu(1 - ops.abs(h) / 4) + h / 2
    model = keras.Model(inputs, kl.Dense(1, use_bias=False, kernel_initializer="ones")(f))
    relevance = lrp.relevance(model, np.array([[1.0, 2.0]] * samples, np.float32), 0, "epsilon")
    np.testing.assert_allclose(relevance, [[1.25, 1.5]] * samples, rtol=1e-5)


def test_what_a_relu_cut_off_has_no_relevance_to_give(rng):
    """Whatever a function makes of it, as where the function is a layer of its own; the rest has all of its own."""
    inputs = keras.Input((len(OF_CUT_OFF), 6))
    same = kl.Dense(6, kernel_initializer="identity", use_bias=False)(inputs)
    made = kl.Lambda(lambda z: ops.stack([act(z[:, i]) for i, act in enumerate(OF_CUT_OFF)], axis=1))(same)
    head = kl.Dense(1, use_bias=False)
    model = keras.Model(inputs, head(kl.Flatten()(made)))
    x = rng.uniform(-4, 8, size=(3, len(OF_CUT_OFF), 6)).astype(np.float32)
    expected = np.stack([act(x[:, i]) for i, act in enumerate(OF_CUT_OFF)], axis=1) * (x > 0)
    expected *= head.kernel.numpy().reshape(x.shape[1:])
    close(lrp.relevance(model, x, 0, "epsilon"), expected, 1e-4)


@pytest.mark.parametrize("name", HEADS)
def test_relevance_starts_behind_an_output_function_however_it_is_given(name, rng, randomise):
    function, kind = HEADS[name]

    def made(activation):
        return keras.Sequential([keras.Input((5,)), kl.Dense(6, activation="relu"), kl.Dense(3, activation=activation)])

    logits, model = randomise(made(None)), made(function)
    model.set_weights(logits.get_weights())
    x = rng.normal(size=(4, 5)).astype(np.float32)
    explainer = lrp.Explainer(model, "epsilon")
    found = explainer.explain(x, 1)
    assert explainer.activation == kind
    close(found.logits, logits(x).numpy())
    close(found.relevance, lrp.relevance(logits, x, 1, "epsilon"))
