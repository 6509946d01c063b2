"""Surrogates are made in the reverse pass: once for each weighted layer, in the order in which relevance arrives."""

import keras
import numpy as np
from keras import layers as kl
from tensorflow.python.eager import context

import lrp_monitor as lrp
from lrp_monitor import rules


class Counted(rules.Rule):
    """LRP-0 that remembers the kernels' shapes in the order of asking, and whether the output was known by then."""

    def __init__(self):
        self.kernels = []

    def surrogate(self, a):
        self.kernels.append(tuple(a.kernel.shape))
        return a.linear


def net():
    x = inputs = keras.Input((8, 8, 1))
    x = kl.ReLU()(kl.BatchNormalization()(kl.Conv2D(2, 3)(x)))
    branch = kl.BatchNormalization()(kl.Conv2D(2, 5, padding="same", activation="relu")(x))
    x = kl.ReLU()(kl.Add()([x, kl.BatchNormalization()(kl.Conv2D(2, 1)(branch))]))
    return keras.Model(inputs, kl.Dense(3)(kl.GlobalAveragePooling2D()(x)))


def test_one_surrogate_a_layer_last_layer_first():
    # Folding a normalisation and learning of a ReLU make a map anew; only the one that carries relevance is asked for.
    keras.utils.set_random_seed(0)
    rule = Counted()
    lrp.relevance(net(), np.ones((1, 8, 8, 1), np.float32), 0, lrp.Composite(conv=rule, dense=rule, first=None))
    assert rule.kernels == [(2, 3), (1, 1, 2, 2), (5, 5, 2, 2), (3, 3, 1, 2)]


class Known(rules.Rule):
    """LRP-0 times what the value that is known in the reverse pass is to the value made anew: one."""

    def surrogate(self, a):
        # z / (z0 + b) is one wherever relevance arrives, whether a ReLU follows (value reads 0 for z < 0) or not.
        bias = 0.0 if a.bias is None else a.bias
        known = rules.stop_gradient((a.value + 1e-20) / (a.linear + bias + 1e-20))
        return a.linear * known


def test_known_values_are_those_of_the_model():
    keras.utils.set_random_seed(1)
    model = net()
    x = np.random.default_rng(0).normal(size=(4, 8, 8, 1)).astype(np.float32)
    rule = Known()
    found = lrp.relevance(model, x, 1, lrp.Composite(conv=rule, dense=rule, first=None))
    np.testing.assert_allclose(found, lrp.relevance(model, x, 1, "lrp_zero"), rtol=1e-4, atol=1e-7)


def test_the_compiler_keeps_the_order_of_the_reverse_pass():
    # What a rule makes of kernels and inputs could be made in the forward pass, and would stay in memory from then on:
    # it waits for the relevance of the output, also in the graph that the compiler has made smaller. It drops reshapes
    # that change nothing, such as those of scales along axis=3.
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((8, 8, 4))
    for _ in range(3):
        x = kl.ReLU()(kl.BatchNormalization(axis=3)(kl.Conv2D(4, 3)(x)))
    model = keras.Model(inputs, kl.Dense(3)(kl.GlobalAveragePooling2D()(x)))
    explainer = lrp.Explainer(model, "epsilon_plus", batch_size=1)
    context.context().enable_graph_collection()
    try:
        explainer(np.ones((1, 8, 8, 4), np.float32), 0)
        found = context.context().export_run_metadata().function_graphs
    finally:
        context.context().disable_graph_collection()
    graph = max((graph for function in found for graph in function.partition_graphs), key=lambda graph: len(graph.node))
    nodes = {node.name: node for node in graph.node}
    again = [name for name in nodes if name.startswith("gradients/") and nodes[name].op.endswith("Conv2D")]
    assert len(again) == 3
    for name in again:
        stack, before = [name], set()
        while stack:
            node = nodes.get(stack.pop().lstrip("^").split(":")[0])
            if node is not None and node.name not in before:
                before.add(node.name)
                stack += node.input
        assert any(nodes[n].op.endswith("MatMul") for n in before), name  # the logits
