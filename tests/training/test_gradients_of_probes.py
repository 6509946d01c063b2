"""Gradients of the loss on the probes."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from gradient_helpers import BATCH, agree, compiled, data, layers, network, sgd

from lrp_monitor.training.tensors.probe_gradients import ProbeGradients, probe_gradients


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
