"""Layers whose state moves whenever they are run, in inference too, and small models of them."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

SHAPE, CLASSES = (6, 6, 1), 3


class Noise(layers.Layer):
    """Noise from a seed generator of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.seed_generator = keras.random.SeedGenerator(1)

    def call(self, x: Any) -> Any:
        return x + 0.1 * keras.random.normal(ops.shape(x), seed=self.seed_generator)


class GlobalNoise(layers.Layer):
    """Noise from the seed generator that all layers share."""

    def call(self, x: Any) -> Any:
        return x + 0.1 * keras.random.normal(ops.shape(x))


class GeneratorNoise(layers.Layer):
    """Noise from a generator of TensorFlow's, which Keras does not know."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = tf.random.Generator.from_seed(4)

    def call(self, x: Any) -> Any:
        return x + 0.1 * self.generator.normal(tf.shape(x))


class TensorFlowNoise(layers.Layer):
    """Noise from TensorFlow's random operations, whose state is in their kernels."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__()
        self.seed = seed

    def call(self, x: Any) -> Any:
        return x + 0.1 * tf.random.normal(tf.shape(x), seed=self.seed)


class Sampling(layers.Layer):
    """The latent sample of a variational autoencoder, with its loss."""

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.log_variance = layers.Dense(4), layers.Dense(4)
        self.seed_generator = keras.random.SeedGenerator(2)

    def build(self, shape: Any) -> None:
        self.mean.build(shape)
        self.log_variance.build(shape)

    def call(self, x: Any) -> Any:
        mean, log_variance = self.mean(x), self.log_variance(ops.stop_gradient(x))
        self.add_loss(-0.05 * ops.mean(1 + log_variance - ops.square(mean) - ops.exp(log_variance)))
        deviation = ops.stop_gradient(ops.exp(0.5 * log_variance))
        return mean + deviation * keras.random.normal(ops.shape(mean), seed=self.seed_generator)


class Codebook(layers.Layer):
    """A vector quantiser whose codes follow what it sees, as does its count of calls."""

    def build(self, shape: Any) -> None:
        self.codes = self.add_weight(shape=(5, shape[-1]), initializer=keras.initializers.RandomNormal(seed=3),
                                     trainable=False)  # fmt: skip
        self.calls = self.add_weight(shape=(), dtype="int32", initializer="zeros", trainable=False)

    def call(self, x: Any) -> Any:
        seen = ops.stop_gradient(x)
        distance = ops.sum(ops.square(ops.expand_dims(seen, 1) - self.codes), axis=-1)
        nearest = ops.argmin(distance, axis=-1)
        chosen = ops.one_hot(nearest, 5, dtype=x.dtype)
        mean = ops.matmul(ops.transpose(chosen), seen) / (ops.expand_dims(ops.sum(chosen, axis=0), -1) + 1.0)
        quantised = ops.take(self.codes, nearest, axis=0)
        self.codes.assign(0.9 * self.codes + 0.1 * mean)
        self.calls.assign_add(1)
        return x + ops.stop_gradient(0.1 * (quantised - x))


class Counter(layers.Layer):
    """Damps its input with every call: counts in a plain variable, a number of Python's and a metric."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = tf.Variable(0.0, trainable=False)
        self.traces = 0
        self.metric = keras.metrics.Mean()

    def call(self, x: Any) -> Any:
        self.traces += 1
        self.calls.assign_add(1.0)
        self.metric.update_state(x)
        return x * (1.0 / (1.0 + 0.1 * self.calls))


class Drift(layers.Layer):
    """Assigns a weight that is trained besides."""

    def build(self, shape: Any) -> None:
        self.scale = self.add_weight(shape=(shape[-1],), initializer="ones")

    def call(self, x: Any) -> Any:
        self.scale.assign(0.99 * self.scale)
        return x * ops.stop_gradient(self.scale) + 0.0 * ops.sum(self.scale)


STATEFUL = {
    "noise": Noise, "global noise": GlobalNoise, "generator noise": GeneratorNoise, "sampling": Sampling,
    "codebook": Codebook, "counter": Counter,
}  # fmt: skip


def stateful_model(*inside: Any, **compile_options: Any) -> keras.Model:
    """A classifier with layers before its last one, as after a restart: the same each time it is made."""
    keras.utils.set_random_seed(3)
    tf.random.set_global_generator(tf.random.Generator.from_seed(5))
    model = keras.Sequential(
        [
            keras.Input(SHAPE),
            layers.RandomFlip("horizontal"),
            layers.Conv2D(2, 3, activation="relu", name="conv"),
            layers.Flatten(),
            layers.Dense(6, activation="relu"),
            *[make() for make in inside],
            layers.Dropout(0.2),
            layers.Dense(CLASSES, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), "sparse_categorical_crossentropy", **compile_options)
    return model


def stateful_data(n: int = 24) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, *SHAPE)).astype(np.float32), rng.integers(0, CLASSES, n)
