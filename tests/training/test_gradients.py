"""Captured training gradients against an independent replay of the very step, in every mode of training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from gradient_helpers import (
    BATCH,
    Watch,
    adam,
    agree,
    compiled,
    data,
    layers,
    moves_agree,
    network,
    replayed,
    sgd,
    watched,
)

from lrp_monitor import mapped
from lrp_monitor.training.tensors.updates import WeightUpdates

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


# Of optimizers that change a gradient once they have been given it one stands for the others, which are slow.
AS_ANOTHER = {"clipped globally", "weight decay, average"}


@pytest.mark.parametrize("mode", [pytest.param(one, marks=[pytest.mark.slow] * (one in AS_ANOTHER)) for one in MODES])
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


# Under XLA and in steps executed together by default at once; either alone in test_monitor_coexistence.py, and here if
# asked for. A model that is built by its first batch is trained in a graph as one that was built before.
@pytest.mark.parametrize(
    "mode",
    [
        pytest.param("graph", marks=pytest.mark.slow),
        pytest.param("xla", marks=pytest.mark.slow),
        pytest.param("steps", marks=pytest.mark.slow),
        pytest.param("eager", marks=pytest.mark.slow),  # by default beside the monitor, in test_state.py
        *("xla steps", "unbuilt", "loss scale"),
    ],
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
