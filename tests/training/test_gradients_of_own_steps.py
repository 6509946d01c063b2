"""Captured gradients of a train step, or a train function, of one's own."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from gradient_helpers import BATCH, Watch, agree, compiled, data, layers, network, replayed, sgd, watched


class Adversarial(keras.Model):
    """Two networks, two optimizers, one of them in a dict; the second loss sees the first one's update."""

    def __init__(self) -> None:
        super().__init__()
        self.critic = keras.Sequential([keras.Input((3,)), layers.Dense(1, name="critic_out")])
        self.maker = keras.Sequential([keras.Input((2,)), layers.Dense(3, name="maker_out")])
        self.rates = {"critic": sgd(), "maker": sgd()}

    def critic_loss(self, noise: Any, real: Any) -> Any:
        return tf.reduce_mean(tf.square(self.critic(real) - 1)) + tf.reduce_mean(
            tf.square(self.critic(self.maker(noise)))
        )

    def maker_loss(self, noise: Any) -> Any:
        return tf.reduce_mean(tf.square(self.critic(self.maker(noise)) - 1))

    def train_step(self, batch: Any) -> Any:
        noise, real = batch
        weights = self.critic.trainable_variables
        for _ in range(2):  # the critic trains twice
            with tf.GradientTape() as tape:
                loss = self.critic_loss(noise, real)
            self.rates["critic"].apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        weights = self.maker.trainable_variables
        with tf.GradientTape() as tape:
            loss = self.maker_loss(noise)
        self.rates["maker"].apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        return {"loss": loss}


@pytest.mark.parametrize("jit", [False, True], ids=["graph", "xla"])
def test_every_optimizer_of_a_custom_train_step_is_captured(jit):
    rng = np.random.default_rng(2)
    noise = rng.normal(size=(48, 2)).astype(np.float32)
    real = rng.normal(size=(48, 3)).astype(np.float32)
    model = Adversarial()
    model.compile(jit_compile=jit)
    watch = Watch((0, 2))
    model.fit(noise, real, batch_size=16, shuffle=False, verbose=0, callbacks=[watch])
    # the first step makes the optimizers' variables: it is Keras' own
    assert len(watch.problems) == 1
    assert "from the next one on" in watch.problems[0]
    (histograms,) = watch.taken

    twin = Adversarial()
    twin.set_weights(watch.weights[1])
    batch = tf.constant(noise[32:]), tf.constant(real[32:])
    expected = {}
    for part, loss, times in (("critic", lambda: twin.critic_loss(*batch), 2), ("maker", None, 1)):
        weights = getattr(twin, part).trainable_variables
        for _ in range(times):
            with tf.GradientTape() as tape:
                value = loss() if loss else twin.maker_loss(batch[0])
            gradients = tape.gradient(value, [weight.value for weight in weights])
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.assign_sub(0.1 * gradient)
                expected[f"{part}_out/{weight.name}"] = float(np.linalg.norm(gradient))
    # what cancels in the gradient of a bias leaves a rounding of its terms
    assert {h.name: h.norm for h in histograms} == pytest.approx(expected, rel=1e-5, abs=1e-6 * max(expected.values()))
    assert not any("apply" in optimizer.__dict__ for optimizer in model.rates.values())
    assert [h.size for h in histograms] == [3, 1, 6, 3]


class Alternating(keras.Model):
    """Updates one of its layers at every step, the other at every second one."""

    def __init__(self) -> None:
        super().__init__()
        self.always, self.sometimes = layers.Dense(2, name="always"), layers.Dense(1, name="sometimes")
        self.optimizers = [sgd(), sgd()]

    def call(self, x: Any) -> Any:
        return self.sometimes(self.always(x))

    def train_step(self, batch: Any) -> Any:
        x, y = batch
        with tf.GradientTape(persistent=True) as tape:
            loss = tf.reduce_mean(tf.square(self(x, training=True) - y[:, None]))

        def update(layer: Any, optimizer: Any) -> Any:
            weights = layer.trainable_variables
            optimizer.apply(tape.gradient(loss, weights), weights)
            return tf.constant(0)

        first, second = self.optimizers
        # the counter as it was before this step
        even = tf.equal(first.iterations.value % 2, 0)
        update(self.always, first)
        tf.cond(even, lambda: update(self.sometimes, second), lambda: tf.constant(0))
        return {"loss": loss}


def test_only_what_the_step_updated_is_listed():
    model = Alternating()
    model(np.ones((1, 2), np.float32))
    for optimizer, layer in zip(model.optimizers, (model.always, model.sometimes), strict=True):
        optimizer.build(layer.trainable_variables)
    model.compile(model.optimizers[0], jit_compile=False)
    watch = Watch((0, 1, 2))
    x = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)
    model.fit(x, np.ones(6, np.float32), batch_size=2, shuffle=False, verbose=0, callbacks=[watch])
    always = ["always/kernel", "always/bias"]
    listed = [[h.name for h in histograms] for histograms in watch.taken]
    assert listed == [[*always, "sometimes/kernel", "sometimes/bias"], always, listed[0]]


class ByHand(keras.Model):
    """Updates its weights without any optimizer."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = layers.Dense(1)

    def call(self, x: Any) -> Any:
        return self.dense(x)

    def train_step(self, batch: Any) -> Any:
        x, y = batch
        loss = tf.reduce_mean(tf.square(self(x, training=True) - y[:, None]))
        for weight in self.trainable_variables:
            weight.assign(weight * 0.5)
        return {"loss": loss}


def test_a_step_without_optimizer_is_reported_and_trained_once():
    model = ByHand()
    model(np.ones((1, 2), np.float32))
    model.compile(sgd(), jit_compile=False)
    before = model.get_weights()[0]
    watch = Watch((0, 2))
    x = np.ones((6, 2), np.float32)
    model.fit(x, np.ones(6, np.float32), batch_size=2, verbose=0, callbacks=[watch])
    assert watch.taken == []
    assert "from the next one on" in watch.problems[0]
    assert "no gradients through an optimizer" in watch.problems[1]
    np.testing.assert_allclose(model.get_weights()[0], before / 8, rtol=1e-6)


class OwnTrainFunction(keras.Model):
    """A train function of its own make, which takes what it wants of the iterator."""

    def make_train_function(self, force: bool = False) -> Any:
        if self.train_function is not None and not force:
            return self.train_function
        step = tf.function(self.train_step)

        def train_function(iterator: Any) -> Any:
            return step(next(iterator))

        self.train_function = train_function
        return train_function


def test_a_train_function_of_ones_own_make_is_captured():
    def make() -> keras.Model:
        inner = network()
        return OwnTrainFunction(inner.inputs, inner.outputs)

    model = compiled(make(), sgd())
    watch = watched(model, (0, 3))
    assert watch.problems == []
    assert watch.capture.samples is None  # what it took of the iterator cannot be told
    for histograms, weights, batch in zip(watch.taken, watch.weights, (0, 3), strict=True):
        agree(histograms, replayed(make, weights, batch))
    plain = compiled(make(), sgd())
    plain.set_weights(watch.weights[0])
    x, y = data()
    plain.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0)
    for ours, theirs in zip(model.weights, plain.weights, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy(), err_msg=ours.path)
