"""Captured training gradients against an independent replay of the very step, in every mode of training."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from lrp_monitor import mapped
from lrp_monitor.store.format import Histogram
from lrp_monitor.training.tensors.capture import GradientCapture
from lrp_monitor.training.tensors.names import tensor_names
from lrp_monitor.training.tensors.probe_gradients import ProbeGradients, probe_gradients
from lrp_monitor.training.tensors.updates import Update, WeightUpdates

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


MODES: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "graph": (adam, {}),
    "xla": (adam, {"jit_compile": True}),
    "eager": (adam, {"run_eagerly": True}),
    "loss scale": (lambda: keras.optimizers.LossScaleOptimizer(adam(), initial_scale=1024.0), {}),
    "fixed loss scale": (lambda: sgd(loss_scale_factor=512.0), {}),
    "clipped": (lambda: sgd(clipnorm=1e-3), {}),
    "clipped globally": (lambda: sgd(global_clipnorm=1e-3), {}),
    "accumulated": (lambda: sgd(gradient_accumulation_steps=2), {}),
    "weight decay, average": (lambda: keras.optimizers.AdamW(use_ema=True), {}),
}


@pytest.mark.parametrize("mode", MODES)
def test_the_captured_gradient_is_that_of_the_step(mode):
    make_optimizer, options = MODES[mode]
    model = compiled(network(), make_optimizer(), **options)
    watch = watched(model, (0, 3, 6), epochs=2)  # batch 6 is the last, smaller one
    assert watch.problems == []
    assert len(watch.taken) == 6
    for index, (histograms, weights) in enumerate(zip(watch.taken, watch.weights, strict=True)):
        batch = (0, 3, 6)[index % 3]
        agree(histograms, replayed(network, weights, batch), tolerance=2e-5 if mode == "xla" else 2e-6)
    assert [h.name for h in watch.taken[0]] == [
        "conv2d/kernel",
        "conv2d/bias",
        "batch_normalization/gamma",
        "batch_normalization/beta",
        "conv2d_1/kernel",
        "conv2d_1/bias",
        "dense/kernel",
        "dense/bias",
    ]
    moves_agree(watch)
    moved = [max(update.change for update in updates.values()) > 0 for updates in watch.updates]
    every_second = [(7 * epoch + batch) % 2 == 1 for epoch in (0, 1) for batch in (0, 3, 6)]
    assert moved == (every_second if mode == "accumulated" else [True] * 6)
    assert watch.capture.samples == 4  # 100 samples: the last batch of 16 has 4
    assert all(watch.restored)
    assert model.train_function is watch.plain
    if not options.get("run_eagerly"):
        assert watch.capture.traces == 1


# Under XLA by default in steps executed together; single ones in test_monitor_coexistence.py, and here if asked for.
@pytest.mark.parametrize(
    "mode",
    ["graph", pytest.param("xla", marks=pytest.mark.slow), "eager", "steps", "xla steps", "unbuilt", "loss scale"],
)
def test_weights_are_bit_identical_with_and_without_capture(mode):
    def trained(due: tuple[int, ...]) -> tuple[keras.Model, dict[str, list[float]], Watch]:
        keras.utils.set_random_seed(7)
        optimizer = keras.optimizers.LossScaleOptimizer(adam()) if mode == "loss scale" else adam()
        model = compiled(
            network(dropout=0.3, with_input=mode != "unbuilt"),
            optimizer,
            jit_compile="xla" in mode,
            run_eagerly=mode == "eager",
            steps_per_execution=3 if "steps" in mode else 1,
        )
        watch = Watch(due)
        x, y = data()
        callbacks = [watch] if due else []
        history = model.fit(x, y, batch_size=BATCH, epochs=3, verbose=0, callbacks=callbacks)
        return model, history.history, watch

    plain, plain_history, _ = trained(())
    model, history, watch = trained((0, 3, 6))
    assert len(watch.taken) == 9
    everything = [*plain.variables, *plain.optimizer.variables]
    ours = [*model.variables, *model.optimizer.variables]
    assert len(everything) == len(ours) > 20
    for expected, variable in zip(everything, ours, strict=True):
        np.testing.assert_array_equal(variable.numpy(), expected.numpy(), err_msg=variable.path)
    assert history == plain_history


def test_the_change_of_a_large_tensor_is_summed_in_parts_and_what_is_not_finite_is_nan(monkeypatch):
    model = keras.Sequential([keras.Input((1200,)), layers.Dense(500), layers.Dense(2)])  # over two chunks of 2**18
    (old, *rest), rng = model.get_weights(), np.random.default_rng(0)
    new = old + rng.normal(size=old.shape).astype(np.float32) * 1e-20
    found = []
    for large in (1 << 40, 1 << 20):  # in memory, in a file
        monkeypatch.setattr(mapped, "LARGE", large)
        model.set_weights([old, *rest])
        updates = WeightUpdates(model)
        updates.begin()
        assert bool(updates._before.arrays) == (large == 1 << 20)
        model.set_weights([new, np.full(500, np.nan), rest[1] + 1, rest[2]])
        updates.end()
        found.append(updates.take())
        assert updates.take() == {}
    kernel, bias, kernel_2, bias_2 = found[0].values()
    assert kernel.change == pytest.approx(np.linalg.norm(new.astype(np.float64) - old), rel=1e-9)
    assert kernel.before == pytest.approx(np.linalg.norm(old.astype(np.float64)), rel=1e-9)
    assert np.isnan(bias.change)
    assert bias.before == 0
    assert kernel_2.before == pytest.approx(np.linalg.norm(rest[1].astype(np.float64)), rel=1e-9)
    assert bias_2 == (0, 0)
    np.testing.assert_array_equal(list(found[1].values()), list(found[0].values()))


def test_of_steps_executed_together_the_last_is_captured():
    model = compiled(network(), sgd(), steps_per_execution=3)
    watch = watched(model, (3,))
    # the weights before batch 5 come from a model trained on the batches before it alone
    before = compiled(network(), sgd())
    before.set_weights(watch.weights[0])
    x, y = (part[3 * BATCH : 5 * BATCH] for part in data())
    before.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0)
    (histograms,) = watch.taken
    agree(histograms, replayed(network, before.get_weights(), 5))
    moves_agree(watch)  # of the three steps together
    assert int(model.optimizer.iterations.numpy()) == 7


def test_non_finite_gradients_are_counted_and_training_goes_on():
    model = keras.Sequential([keras.Input((8, 8, 3)), layers.Flatten(), layers.Dense(5)])
    compiled(model, keras.optimizers.LossScaleOptimizer(sgd()))
    x, y = data()
    x[3] = np.nan
    watch = Watch((0, 1))
    model.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0, callbacks=[watch])
    kernel, bias = watch.taken[0]
    assert (kernel.nan, kernel.size, bias.nan) == (192 * 5, 192 * 5, 5)
    assert (kernel.norm, kernel.minimum, kernel.maximum, kernel.counts.size) == (0.0, None, None, 0)
    assert [h.nan + h.inf for h in watch.taken[1]] == [0, 0]
    # the optimizer left that step out, and only that one
    for before, after in zip(*watch.weights, strict=True):
        np.testing.assert_array_equal(before, after)
    assert int(model.optimizer.iterations.numpy()) == 6
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


def test_half_precision_gradients():
    policy = keras.dtype_policies.DTypePolicy("float16")
    inputs = keras.Input((4,), dtype="float16")
    model = keras.Model(inputs, layers.Dense(3, dtype=policy)(inputs))
    model.compile(sgd(), "mse", jit_compile=False)
    watch = Watch((0,))
    x = np.linspace(-1, 1, 32).reshape(8, 4).astype(np.float16)
    y = np.ones((8, 3), np.float16)
    model.fit(x, y, batch_size=8, verbose=0, callbacks=[watch])
    kernel, bias = watch.weights[0]
    error = x.astype(np.float64) @ kernel + bias - y
    expected = x.T.astype(np.float64) @ error * 2 / error.size
    assert watch.taken[0][0].norm == pytest.approx(np.linalg.norm(expected), rel=2e-3)


class Unused(layers.Layer):
    def build(self, shape: Any) -> None:
        self.idle = self.add_weight(shape=(3, 4), name="idle")

    def call(self, x: Any) -> Any:
        return x


def test_variables_without_gradient_are_listed_and_frozen_ones_are_not():
    model = network()
    model.layers[0].trainable = False
    inputs = keras.Input((8, 8, 3))
    model = compiled(keras.Model(inputs, Unused()(model(inputs))))
    histograms = watched(model, (1,)).taken[0]
    idle = histograms[-1]
    assert (idle.name, idle.size, idle.note, idle.counts.size) == ("unused/idle", 12, "no gradient", 0)
    assert [h.note for h in histograms[:-1]] == [""] * 6
    assert "conv2d/kernel" not in [h.name for h in histograms]
    assert "conv2d_1/kernel" in [h.name for h in histograms]


def test_sparse_gradients_of_an_embedding_add_up():
    model = keras.Sequential(
        [keras.Input((6,), dtype="int32"), layers.Embedding(10, 4), layers.Flatten(), layers.Dense(1)]
    )
    model.compile(sgd(), "mse", jit_compile=False)
    x = np.random.default_rng(1).integers(0, 7, size=(12, 6))
    y = np.arange(12.0, dtype=np.float32)
    watch = Watch((0,))
    model.fit(x, y, batch_size=12, verbose=0, callbacks=[watch])
    table, kernel, bias = watch.weights[0]
    error = table[x].reshape(12, 24) @ kernel + bias - y[:, None]
    back = (2 / 12 * error @ kernel.T).reshape(12, 6, 4)
    expected = np.zeros((10, 4))
    np.add.at(expected, x, back)
    histogram = watch.taken[0][0]
    assert histogram.norm == pytest.approx(np.linalg.norm(expected), rel=1e-5)
    assert histogram.zeros == 12  # words 7, 8 and 9 do not occur


def test_a_dense_layer_on_places_is_captured_where_batches_differ_in_size():
    model = keras.Sequential([keras.Input((4, 3)), layers.Dense(2)])
    model.compile(sgd(), "mse", jit_compile=False)
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(5, 4, 3)).astype(np.float32), rng.normal(size=(5, 4, 2)).astype(np.float32)
    watch = Watch((0,))
    model.fit(x, y, batch_size=3, shuffle=False, verbose=0, callbacks=[watch])  # 3 and 2: no static batch
    assert watch.problems == []
    kernel, bias = watch.weights[0]
    error = 2 / (3 * 4 * 2) * (x[:3] @ kernel + bias - y[:3])
    expected = np.einsum("bti,bto->io", x[:3], error)
    assert watch.taken[0][0].norm == pytest.approx(np.linalg.norm(expected), rel=1e-5)


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
    assert {h.name: h.norm for h in histograms} == pytest.approx(expected, rel=1e-5)
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


class Suspicious(keras.Sequential):
    """A train step that, as user code may, does not bear an optimizer that was touched."""

    def train_step(self, batch: Any) -> Any:
        if "apply" in vars(self.optimizer):
            raise RuntimeError("somebody changed the optimizer")
        return super().train_step(batch)


@pytest.mark.parametrize("steps", [1, 3])
def test_where_capturing_fails_keras_own_step_runs_exactly_once(steps):
    def trained(kind: type[keras.Sequential], due: tuple[int, ...]) -> tuple[keras.Model, Watch]:
        keras.utils.set_random_seed(11)
        model = kind([keras.Input((8, 8, 3)), layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(5)])
        compiled(model, adam(), steps_per_execution=steps)
        watch = Watch(due)
        x, y = data()
        model.fit(x, y, batch_size=BATCH, epochs=2, verbose=0, callbacks=[watch])
        return model, watch

    plain, _ = trained(keras.Sequential, ())
    model, watch = trained(Suspicious, (0, 3))
    assert watch.taken == []
    # first the step that makes variables, then the failing trace, which is not tried again
    assert len(watch.problems) == 4
    assert "RuntimeError: " in watch.problems[1]
    assert "somebody changed the optimizer" in watch.problems[1]
    assert watch.problems[1:] == [watch.problems[1]] * 3
    assert int(model.optimizer.iterations.numpy()) == 14
    for expected, weight in zip(plain.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(weight, expected, rtol=1e-5, atol=1e-6)
    assert all(watch.restored)


@pytest.mark.parametrize("eager", [False, True], ids=["graph", "eager"])
def test_an_error_of_the_training_itself_is_raised_and_everything_restored(eager):
    class Checked(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            tf.debugging.assert_less(tf.reduce_max(x), 100.0, message="a sample out of range")
            return x

    model = keras.Sequential([keras.Input((8, 8, 3)), Checked(), *network().layers])
    compiled(model, run_eagerly=eager)
    x, y = data()
    x[3 * BATCH] = 1e6
    watch = Watch((3,))
    with pytest.raises(tf.errors.InvalidArgumentError, match="a sample out of range"):
        model.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0, callbacks=[watch])
    assert "apply" not in model.optimizer.__dict__
    assert model.train_function is watch.plain
    assert watch.capture.take() is None
    # Keras' own graph may count the failing step before the check fails; nothing counts it twice
    assert int(model.optimizer.iterations.numpy()) in ((3,) if eager else (3, 4))
    # and it trains on, captured again
    x[3 * BATCH] = 0.0
    watch = Watch((3,))
    model.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0, callbacks=[watch])
    assert len(watch.taken) == 1


def test_an_interrupted_step_restores_everything():
    class Interrupted(keras.Sequential):
        def train_step(self, batch: Any) -> Any:
            if int(self.optimizer.iterations.numpy()) == 2:
                raise KeyboardInterrupt
            return super().train_step(batch)

    model = compiled(Interrupted(network().layers), run_eagerly=True)
    watch = Watch((2,))
    x, y = data()
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, batch_size=BATCH, verbose=0, callbacks=[watch])
    assert "apply" not in model.optimizer.__dict__
    assert model.train_function is watch.plain


def test_failing_names_do_not_stop_the_training():
    def fail(variable: Any) -> str:
        raise KeyError(variable.path)

    model = compiled(network())
    watch = Watch((1,), names=fail)
    x, y = data()
    model.fit(x, y, batch_size=BATCH, verbose=0, callbacks=[watch])
    assert watch.taken == []
    assert len(watch.problems) == 1
    assert "could not be read: KeyError" in watch.problems[0]
    assert model.variables[0].path in watch.problems[0]
    assert watch.updates == [{}]
    assert "could not be measured: KeyError" in watch.capture.update_problem
    assert int(model.optimizer.iterations.numpy()) == 7


def test_given_names_are_used():
    model = compiled(network())
    watch = Watch((1,), names=lambda variable: f"mine/{variable.name}")
    x, y = data()
    model.fit(x, y, batch_size=BATCH, verbose=0, callbacks=[watch])
    assert [h.name for h in watch.taken[0]][:2] == ["mine/kernel", "mine/bias"]


def test_arming_disarming_and_closing():
    model = compiled(network())
    capture = GradientCapture(model)
    capture.arm()
    assert "inside fit" in str(capture.problem)
    assert capture.take() is None
    x, y = data()
    model.fit(x, y, batch_size=BATCH, verbose=0)
    plain = model.train_function
    for _ in range(2):
        capture.arm()
        capture.arm()
        assert model.train_function is not plain
        capture.disarm()
        capture.disarm()
        assert model.train_function is plain
    capture.arm()
    capture.close()
    capture.close()
    assert model.train_function is plain
    assert capture.take() is None


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="graph"),
        pytest.param({"jit_compile": True}, id="xla", marks=pytest.mark.slow),
        pytest.param({"run_eagerly": True}, id="eager"),
    ],
)
def test_captures_armed_for_one_step_share_it(options):
    model = compiled(network(), sgd(), **options)
    first, second = Watch((0, 3)), Watch((1, 3), names=lambda variable: f"second {variable.name}")
    x, y = data()
    model.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0, epochs=2, callbacks=[first, second])
    for watch in (first, second):
        assert watch.problems == []
        assert len(watch.taken) == 4
        assert [len(updates) for updates in watch.updates] == [8 if watch is first else 4] * 4  # of the same names, one
        for index, (histograms, weights) in enumerate(zip(watch.taken, watch.weights, strict=True)):
            agree(histograms, replayed(network, weights, watch.due[index % 2]), 2e-5 if options else 2e-6)
    assert model.train_function is first.plain
    assert first.taken[0][0].name == "conv2d/kernel"
    assert second.taken[0][0].name == "second kernel"
    if "run_eagerly" not in options:
        assert (first.capture.traces, second.capture.traces) == (1, 1)


def test_who_leads_may_leave_before_and_after_the_step():
    model = compiled(network(), sgd())
    x, y = data()
    model.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0)
    plain, before = model.train_function, model.get_weights()
    batches = iter(tf.data.Dataset.from_tensor_slices((x, y)).batch(BATCH))
    captures = [GradientCapture(model) for _ in range(3)]
    for capture in captures:
        capture.arm()
    captures[0].close()  # before: the second one leads now
    captures[2].disarm()
    captures[2].arm()
    model.train_function(batches)
    captures[1].close()  # after: what the third one shared is still to be read
    assert model.train_function is plain
    assert [capture.take() for capture in captures[:2]] == [None, None]
    taken = captures[2].take()
    assert taken is not None
    agree(taken, replayed(network, before, 0))
    assert captures[2].samples == BATCH
    assert captures[2].take() is None


def test_what_could_not_be_captured_is_reported_to_all_that_shared_the_step():
    class Plain(keras.Model):
        def train_step(self, batch):
            return {"loss": tf.reduce_mean(self(batch[0]))}

    inputs = keras.Input((8, 8, 3))
    model = Plain(inputs, layers.Dense(1)(layers.Flatten()(inputs)))
    model.compile("sgd", "mse")
    watches = [Watch((0, 1)), Watch((0, 1))]
    x, y = data(2 * BATCH)
    model.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0, callbacks=watches)
    assert watches[0].problems == watches[1].problems
    assert len(watches[0].problems) == 2


def test_an_armed_step_is_captured_once_and_taken_once():
    watch = watched(compiled(network()), (2,), epochs=2)
    assert len(watch.taken) == 2
    assert watch.capture.take() is None


def test_a_recompiled_and_unfrozen_model_is_captured_anew():
    model = network()
    model.layers[0].trainable = False
    compiled(model, sgd())
    watch = Watch((1,))
    x, y = data()
    model.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0, callbacks=[watch])
    capture = watch.capture
    assert len(watch.taken[0]) == 6
    model.layers[0].trainable = True
    compiled(model, sgd())
    seen: list[list[Histogram]] = []
    weights: list[list[np.ndarray]] = []

    def begin(batch: int, logs: Any = None) -> None:
        if batch == 1:
            weights.append(model.get_weights())
            capture.arm()
        if batch == 2:
            seen.append(capture.take() or [])

    callback = keras.callbacks.LambdaCallback(on_train_batch_begin=begin)
    model.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0, callbacks=[callback])
    agree(seen[0], replayed(network, weights[0], 1))
    assert capture.traces == 2


def test_datasets_of_other_shapes_and_without_end():
    model = keras.Sequential([keras.Input((None, None, 3)), layers.Conv2D(4, 3), layers.GlobalMaxPooling2D()])
    compiled(model)
    capture = GradientCapture(model)
    sizes = []

    def begin(batch: int, logs: Any = None) -> None:
        if batch == 1:
            capture.arm()
        if batch == 2:
            sizes.append((capture.samples, len(capture.take() or [])))

    for side, samples in ((8, 6), (12, 5)):
        images = np.ones((samples, side, side, 3), np.float32)
        batches = tf.data.Dataset.from_tensors((images, np.zeros(samples)))
        callback = keras.callbacks.LambdaCallback(on_train_batch_begin=begin)
        model.fit(batches.repeat(), steps_per_epoch=3, verbose=0, callbacks=[callback])
    assert sizes == [(6, 2), (5, 2)]
    assert capture.problem is None


MIRRORED = """
    import json
    import keras, numpy as np, tensorflow as tf
    devices = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], devices)
    from lrp_monitor.training.tensors.capture import GradientCapture
    from lrp_monitor.training.tensors.probe_gradients import probe_gradients

    layers = keras.layers

    def trained(replicas, due, scaled):
        keras.utils.set_random_seed(5)
        strategy = tf.distribute.MirroredStrategy([f"/cpu:{i}" for i in range(replicas)])
        with strategy.scope():
            inner = [layers.Conv2D(4, 3, activation="relu"), layers.Flatten(), layers.Dense(3)]
            model = keras.Sequential([keras.Input((6, 6, 1)), *inner])
            optimizer = keras.optimizers.SGD(0.05, momentum=0.9)
            if scaled:
                optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=256.0)
            model.compile(optimizer, "mse", jit_compile=False)
        rng = np.random.default_rng(0)
        x, y = rng.normal(size=(44, 6, 6, 1)).astype("float32"), rng.normal(size=(44, 3)).astype("float32")
        capture, seen, moved = GradientCapture(model, updates=True), [], []

        def begin(batch, logs=None):
            taken = capture.take()
            if taken is not None:
                moved.extend([name, *update] for name, update in capture.take_updates().items())
                seen.append([[h.name, h.norm, h.zeros, h.size, capture.samples] for h in taken])
            if batch in due:
                capture.arm()

        callback = keras.callbacks.LambdaCallback(on_train_batch_begin=begin)
        model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0, callbacks=[callback])
        plain_again = "apply" not in model.optimizer.__dict__
        weights = [w.numpy().ravel().tolist() for w in [*model.weights, *model.optimizer.variables]]
        probe = [[h.name, h.norm] for h in probe_gradients(model, x[:8], y[:8])]
        result = {"seen": seen, "weights": weights, "problem": capture.problem, "probe": probe}
        return {**result, "restored": plain_again, "moved": moved}

    print("RESULT" + json.dumps([
        trained(1, (2, 4), False), trained(2, (2, 4), False), trained(2, (), False), trained(2, (2, 4), True)
    ]))
"""


@pytest.mark.process
def test_mirrored_replicas_give_the_reduced_gradient(forked):
    process = forked.run(MIRRORED)
    assert process.returncode == 0, process.stderr[-3000:]
    line = next(line for line in process.stdout.splitlines() if line.startswith("RESULT"))
    single, double, uncaptured, scaled = json.loads(line.removeprefix("RESULT"))
    assert double["problem"] is None
    assert double["restored"]
    assert double["weights"] == uncaptured["weights"]
    assert len(double["seen"]) == len(single["seen"]) == 4
    for run in (double, scaled):
        for together, alone in zip(run["seen"], single["seen"], strict=True):
            for ours, theirs in zip(together, alone, strict=True):
                assert ours[0] == theirs[0]
                assert ours[1] == pytest.approx(theirs[1], rel=1e-4)
                assert ours[2:] == theirs[2:]
    assert len(double["moved"]) == 4 * 4
    for ours, theirs in zip(double["moved"], single["moved"], strict=True):
        assert ours[0] == theirs[0]
        assert ours[1:] == pytest.approx(theirs[1:], rel=1e-4)
    assert {row[4] for step in double["seen"] for row in step} == {8}
    for (name, norm), (expected_name, expected) in zip(double["probe"], single["probe"], strict=True):
        assert name == expected_name
        assert norm == pytest.approx(expected, rel=1e-4)


def inference_gradients(model: keras.Model, x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    with tf.GradientTape() as tape:
        total = loss(y, model(x, training=False)) + sum(model.losses)
    values = [variable.value for variable in model.trainable_variables]
    gradients = tape.gradient(total, values)
    return {v.path: g.numpy() for v, g in zip(model.trainable_variables, gradients, strict=True)}


def test_probe_gradients_are_those_of_inference_and_change_nothing():
    model = compiled(network(dropout=0.5))
    x, y = data()
    model.fit(x, y, batch_size=BATCH, verbose=0)
    before = [variable.numpy() for variable in [*model.variables, *model.optimizer.variables]]
    probe = ProbeGradients(model, x[:6], y[:6])
    agree(probe(), inference_gradients(model, x[:6], y[:6]))
    for old, variable in zip(before, [*model.variables, *model.optimizer.variables], strict=True):
        np.testing.assert_array_equal(variable.numpy(), old, err_msg=variable.path)
    model.fit(x, y, batch_size=BATCH, verbose=0)
    agree(probe(), inference_gradients(model, x[:6], y[:6]))
    assert probe.traces == 1
    model.layers[0].trainable = False
    compiled(model)
    assert [h.name for h in probe()] == [h.name for h in probe_gradients(model, x[:6], y[:6])]
    assert probe.traces == 2


def test_probe_gradients_of_a_model_with_several_outputs_leave_its_metrics_alone():
    inputs = keras.Input((4,))
    hidden = layers.Dense(3)(inputs)
    outputs = {name: layers.Dense(2, name=name)(hidden) for name in "abc"}
    model = keras.Model(inputs, outputs)
    model.compile(sgd(), {"a": "mse", "b": "mae"}, jit_compile=False)
    x = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
    y = {name: np.ones((8, 2), np.float32) for name in "abc"}
    model.fit(x, y, verbose=0)
    before = [variable.numpy() for variable in model.metrics_variables]
    histograms = probe_gradients(model, x, y)
    assert [h.note for h in histograms] == [""] * 6 + ["no gradient"] * 2
    assert [h.name for h in histograms][-1] == "c/bias"
    assert len(before) > 4  # a running mean of each loss
    for old, variable in zip(before, model.metrics_variables, strict=True):
        np.testing.assert_array_equal(variable.numpy(), old)


def test_probe_gradients_say_what_is_missing():
    x, y = data(4)
    with pytest.raises(ValueError, match="compile"):
        probe_gradients(network(), x, y)
    with pytest.raises(ValueError, match="built"):
        probe_gradients(compiled(network(with_input=False)), x, y)
