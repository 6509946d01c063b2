"""Compiled once: nothing is traced again while weights train, nor for a last smaller chunk; and nothing is left."""

import gc
import weakref
from dataclasses import dataclass, field
from itertools import pairwise

import keras
import numpy as np
import tensorflow as tf
from keras import layers as kl

import lrp_monitor as lrp
from lrp_monitor import rules
from lrp_monitor.engine.steps.formulas import pass_through

EPOCHS = 20


@dataclass(frozen=True)
class Counted(rules.Epsilon):
    """LRP-0 that counts how often its surrogate is built, which happens under trace alone."""

    built: list = field(default_factory=list)

    def surrogate(self, a):
        self.built.append(a.x.shape)
        return super().surrogate(a)


def test_no_retrace_over_twenty_epochs(rng):
    """11 samples in chunks of 4, 4 and 3 after each epoch; each map is that of the weights of that epoch."""
    model = keras.Sequential([keras.Input((5,)), kl.Dense(6, activation="relu"), kl.Dense(3, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", jit_compile=False)
    x = rng.normal(size=(11, 5)).astype(np.float32)
    rule = Counted(0.0)
    explainer = lrp.Explainer(model, lrp.Composite(dense=rule), batch_size=4)
    explainer(x, 1)
    after_first = list(rule.built)
    assert {shape[0] for shape in after_first} == {4}
    seen = []

    class Explain(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            found = explainer(x, 1)
            w1, b1, w2, _ = (w.astype(np.float64) for w in model.get_weights())
            wanted = x * (((x @ w1 + b1 > 0) * w2[:, 1]) @ w1.T)
            np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
            seen.append(found)
            explainer(x[: 4 + epoch % 7], 1)  # 4 to 10 samples: the last chunk is of every size

    model.fit(x, rng.integers(0, 3, size=11), epochs=EPOCHS, verbose=0, callbacks=[Explain()])
    assert len(seen) == EPOCHS
    assert all(np.abs(a - b).max() > 0 for a, b in pairwise(seen))
    assert rule.built == after_first


def test_factors_of_pointwise_functions_leave_no_tensor_of_constants_in_the_graph():
    # Grappler makes constants of them, as large as the activations, and they are held between the calls.
    @tf.function(autograph=False)
    def compute(z, upstream):
        return tf.gradients(pass_through(z, keras.ops.sigmoid), z, grad_ys=upstream)

    values = tf.TensorSpec((64, 64), tf.float32)
    concrete = compute.get_concrete_function(values, values)
    # Of what gradients make, that alone which the result is computed from.
    known = tf.compat.v1.graph_util.extract_sub_graph(concrete.graph.as_graph_def(), [concrete.outputs[0].op.name])
    kinds = {node.name: node.op for node in known.node}
    assert "Sigmoid" in kinds.values()
    assert [name for name, kind in kinds.items() if kind in ("ZerosLike", "OnesLike", "Fill")] == []


def test_what_was_traced_goes_with_the_explainer(rng):
    """TensorFlow registers custom gradients, which hold their graph, for the life of the process."""
    inside = [kl.Conv2D(2, 3, activation="silu"), kl.ReLU(), kl.Flatten(), kl.Dense(2)]
    model = keras.Sequential([keras.Input((5, 5, 1)), *inside])
    x = rng.normal(size=(2, 5, 5, 1)).astype(np.float32)
    explainer, graphs = lrp.Explainer(model, "epsilon_plus_flat"), []

    def kept(layer, inputs):
        graphs.append(weakref.ref(tf.compat.v1.get_default_graph()))
        return type(layer).call(layer, inputs)

    model.layers[0].call = lambda inputs: kept(model.layers[0], inputs)
    explainer.explain(x, 1)
    explainer.inspect(x, 1)
    del model.layers[0].call
    assert len(graphs) >= 2
    assert None not in [graph() for graph in graphs]
    del explainer
    gc.collect()
    assert [graph() for graph in graphs] == [None] * len(graphs)


def test_a_tape_of_the_callers_own_sees_the_model_and_no_pass(rng):
    model = keras.Sequential([keras.Input((5,)), kl.Dense(6, activation="silu"), kl.Dense(3)])
    x = rng.normal(size=(4, 5)).astype(np.float32)
    alone = lrp.relevance(model, x, 1, "epsilon_plus")
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(x) ** 2)
        found = lrp.relevance(model, x, 1, "epsilon_plus")
    np.testing.assert_array_equal(found, alone)
    with tf.GradientTape() as plain:
        same = tf.reduce_sum(model(x) ** 2)
    for mine, theirs in zip(
        tape.gradient(loss, model.trainable_variables), plain.gradient(same, model.trainable_variables), strict=True
    ):
        np.testing.assert_array_equal(mine, theirs)
