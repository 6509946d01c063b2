"""Which steps are captured: armed once or for several, after recompiling, over data sets of any shape, on replicas."""

from __future__ import annotations

import json
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from gradient_helpers import BATCH, Watch, agree, compiled, data, layers, network, replayed, sgd, watched

from lrp_monitor.store.format import Histogram
from lrp_monitor.training.tensors.capture import GradientCapture


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


# By default of the monitor: test_mirrored_replicas_log_the_run_of_the_joined_batch in test_monitor_scaled.py.
@pytest.mark.slow
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
