"""keras.ops and operators as nodes of a functional model give what the layers of the same name give."""

import keras
import numpy as np
import pytest
from keras import layers as kl
from keras import ops

import lrp_monitor as lrp


def net(function, wrap):
    inputs = keras.Input((5, 4))
    h = kl.Dense(4)(inputs)
    h = kl.Dense(4)(wrap(function)(h))
    return keras.Model(inputs, kl.Dense(3)(kl.Flatten()(h)))


ACTIVATIONS = ["relu", "relu6", "gelu", "silu", "sigmoid", "tanh", "elu", "selu", "softplus", "hard_sigmoid",
               "hard_silu", "leaky_relu", "softsign", "softmax"]  # fmt: skip


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_as_a_node(name, rng, randomise):
    layered = randomise(net(name, lambda f: kl.Activation(f)))
    # ops.gelu takes an approximation where the activation of that name is exact
    exact = {"approximate": False} if name == "gelu" else {}
    node = net(name, lambda f: lambda t: getattr(ops, f)(t, **exact))
    node.set_weights(layered.get_weights())
    x = rng.normal(size=(2, 5, 4)).astype(np.float32)
    for composite in ("lrp_zero", lrp.Composite(dense=lrp.rules.Gamma(0.25))):
        expected = lrp.relevance(layered, x, 1, composite)
        assert np.abs(expected).max() > 0
        np.testing.assert_allclose(
            lrp.relevance(node, x, 1, composite), expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max()
        )


@pytest.mark.parametrize("product", ["half", "gate"])
@pytest.mark.parametrize("by", [ops.multiply, lambda a, b: a * b])
def test_product_as_a_node(by, product, rng, randomise):
    def build(multiply):
        inputs = keras.Input((4,))
        a, gate = kl.Dense(3)(inputs), kl.Dense(3, activation="sigmoid")(inputs)
        return keras.Model(inputs, kl.Dense(2)(multiply(a, gate)))

    layered, node = randomise(build(lambda a, b: kl.Multiply()([a, b]))), build(by)
    node.set_weights(layered.get_weights())
    x = rng.normal(size=(3, 4)).astype(np.float32)
    composite = lrp.Composite(product=product)
    expected = lrp.relevance(layered, x, 0, composite)
    np.testing.assert_allclose(lrp.relevance(node, x, 0, composite), expected, rtol=1e-5, atol=1e-6)


def test_attention_written_in_operations_is_attn_lrp(rng, randomise):
    """softmax(q k^T) v from ops.matmul and ops.softmax: what the Attention layer gives."""

    def build(attend):
        inputs = keras.Input((5, 4))
        q, k, v = (kl.Dense(4, name=name)(inputs) for name in "qkv")
        return keras.Model(inputs, kl.Dense(2)(kl.Flatten()(attend(q, k, v))))

    layered = randomise(build(lambda q, k, v: kl.Attention()([q, v, k])))
    node = build(lambda q, k, v: ops.matmul(ops.softmax(ops.matmul(q, ops.transpose(k, (0, 2, 1)))), v))
    for name in [*"qkv"]:
        node.get_layer(name).set_weights(layered.get_layer(name).get_weights())
    node.layers[-1].set_weights(layered.layers[-1].get_weights())
    x = rng.normal(size=(2, 5, 4)).astype(np.float32)
    expected = lrp.relevance(layered, x, 0, "attn_lrp")
    np.testing.assert_allclose(lrp.relevance(node, x, 0, "attn_lrp"), expected, rtol=1e-4, atol=1e-5)


def test_nothing_is_left_on_a_node(rng, randomise):
    model = randomise(net("gelu", lambda f: getattr(ops, f)))
    nodes = [node for node in model.operations if not isinstance(node, keras.layers.Layer)]
    assert nodes
    lrp.relevance(model, rng.normal(size=(2, 5, 4)).astype(np.float32), 0, "epsilon")
    assert not any("call" in node.__dict__ for node in nodes)


def test_weights_outside_a_layer_are_still_refused(rng):
    weight = rng.normal(size=(4, 3)).astype(np.float32)
    inputs = keras.Input((4,))
    model = keras.Model(inputs, kl.Dense(2)(ops.matmul(kl.Dense(4)(inputs), weight)))
    with pytest.raises(lrp.UnsupportedModelError, match="multiplies by weights outside"):
        lrp.relevance(model, rng.normal(size=(2, 4)).astype(np.float32), 0, "epsilon")
