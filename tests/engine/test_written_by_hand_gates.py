"""Gates written by hand: as Multiply of the same layers; routing, and recurrences written as operations."""

import functools

import keras
import numpy as np
import pytest
from engine_helpers import in_turn, randomised, sweep
from hand_helpers import EVERY, Own, Reference, close, same_as
from keras import layers as kl
from keras import ops

import lrp_monitor as lrp
from lrp_monitor import rules

SHAPE, WIDTH, IMAGE = (3, 4), 6, (3, 4, 4)
ZERO = rules.Epsilon(0)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


# name -> (activation of the gate, by hand of the halves of one product)
GATES = {
    "GLU": ("sigmoid", lambda a, b: a * ops.sigmoid(b)),
    "GLU of keras.ops": ("sigmoid", lambda a, b: ops.glu(ops.concatenate([a, b], axis=-1))),
    "GEGLU": (lambda z: ops.gelu(z, approximate=False), lambda a, b: a * ops.gelu(b, approximate=False)),
    "SwiGLU": ("silu", lambda a, b: ops.silu(b) * a),
    "SwiGLU in full": ("silu", lambda a, b: a * (b * ops.sigmoid(b))),
    "ReGLU": ("relu", lambda a, b: a * ops.relu(b)),
    "bilinear": ("linear", lambda a, b: a * b),
    "tanh and sigmoid": ("sigmoid", lambda a, b: ops.multiply(a, ops.sigmoid(b))),
}  # fmt: skip


def gated(product):
    inputs = keras.Input(SHAPE)
    h = product(kl.Dense(4, activation="gelu", name="before")(inputs))
    return keras.Model(inputs, kl.Dense(2, name="head")(kl.Flatten()(kl.Dense(4, name="down")(h))))


@functools.cache
def reference(activation):
    """Dense layers for signal and gate."""

    def product(h):
        signal, gate = kl.Dense(WIDTH, name="signal")(h), kl.Dense(WIDTH, name="gate")(h)
        return kl.Multiply()([signal, kl.Activation(activation)(gate)])

    rng = np.random.default_rng(0)
    by_layers = randomised(rng, gated(product))
    return Reference(by_layers, rng.uniform(-3, 3, size=(2, *SHAPE)).astype(np.float32))


# By default the composites in turn.
@sweep("name composite", GATES, EVERY, kept=lambda name, c: c % len(GATES) == name)
def test_in_every_spelling(name, composite):
    """One dense layer for both, whose output is split."""
    activation, function = GATES[name]
    known = reference(activation)
    layer = Own(
        lambda layer: setattr(layer, "both", kl.Dense(2 * WIDTH, name="both")),
        lambda layer, x: function(*ops.split(layer.both(x), 2, axis=-1)),
    )
    by_hand = gated(layer)
    for part in ("before", "down", "head"):
        by_hand.get_layer(part).set_weights(known.model.get_layer(part).get_weights())
    halves = [known.model.get_layer(part).get_weights() for part in ("signal", "gate")]
    layer.both.set_weights([np.concatenate(one, axis=-1) for one in zip(*halves, strict=True)])
    same_as(known, by_hand, [composite])


SQUEEZED = {
    "reshaped": lambda x, g: x * ops.reshape(g, (-1, 1, 1, 4)),
    "indexed": lambda x, g: g[:, None, None, :] * x,
    "expanded": lambda x, g: ops.multiply(x, ops.expand_dims(ops.expand_dims(g, 1), 1)),
    "einsum": lambda x, g: ops.einsum("bhwc,bc->bhwc", x, g),
}


def squeezed(join):
    inputs = keras.Input(IMAGE)
    h = kl.Conv2D(4, 2, padding="same", activation="relu", name="conv")(inputs)
    pooled = kl.Dense(2, activation="relu", name="squeeze")(ops.mean(h, axis=(1, 2)))
    gate = kl.Dense(4, activation="sigmoid", name="excite")(pooled)
    return keras.Model(inputs, kl.Dense(2, name="head")(kl.Flatten()(join(h, gate))))


@functools.cache
def squeezed_by_layers():
    rng = np.random.default_rng(0)
    by_layers = randomised(rng, squeezed(lambda x, g: kl.Multiply()([x, kl.Reshape((1, 1, 4))(g)])))
    return Reference(by_layers, rng.uniform(-3, 3, size=(2, *IMAGE)).astype(np.float32))


@sweep("name composite", SQUEEZED, ["epsilon_plus_flat", "attn_lrp"], kept=in_turn)
def test_squeeze_and_excite(name, composite):
    known, by_hand = squeezed_by_layers(), squeezed(SQUEEZED[name])
    by_hand.set_weights(known.model.get_weights())
    same_as(known, by_hand, [composite])


def softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def dense_mixture(layer, x):
    """Every expert, weighted by the router's softmax."""
    weights = ops.softmax(layer.router(x))
    made = ops.stack([expert(x) for expert in layer.experts], axis=1)
    return ops.sum(weights[..., None] * made, axis=1)


def einsum_mixture(layer, x):
    weights = ops.softmax(layer.router(x))
    return ops.einsum("be,bec->bc", weights, ops.stack([expert(x) for expert in layer.experts], axis=1))


def routed(layer, x):
    """The two best experts alone, their weights made one: top-k routing."""
    weights, chosen = ops.top_k(ops.softmax(layer.router(x)), 2)
    weights = weights / ops.sum(weights, axis=-1, keepdims=True)
    spread = ops.sum(ops.one_hot(chosen, 3) * weights[..., None], axis=1)
    made = ops.stack([expert(x) for expert in layer.experts], axis=1)
    return ops.sum(spread[..., None] * made, axis=1)


@pytest.mark.parametrize("form", [dense_mixture, einsum_mixture, routed])
def test_a_mixture_of_experts(form, rng, randomise):
    """The router's weights are held constant: R_e = g_e y_e / y R, and LRP-0 through each expert.

    A softmax is a gate in a product, and attention in a matrix product: constant in both here.
    """

    def parts(layer):
        layer.router = kl.Dense(3, name="router")
        layer.experts = [kl.Dense(4, activation="tanh", name=f"expert_{index}") for index in range(3)]

    layer = Own(parts, form)
    inputs = keras.Input((5,))
    model = randomise(keras.Model(inputs, kl.Dense(2, use_bias=False, name="head")(layer(inputs))))
    x = rng.normal(size=(3, 5)).astype(np.float32)
    found = lrp.relevance(model, x, 1, lrp.Composite(dense=ZERO, product="gate", attention="cp_lrp"))
    w, b = (v.astype(np.float64) for v in layer.router.get_weights())
    gate = softmax(x @ w + b)
    if form is routed:
        gate = np.where(gate >= np.sort(gate, axis=-1)[:, 1:2], gate, 0)
        gate /= gate.sum(axis=-1, keepdims=True)
    head = model.get_layer("head").get_weights()[0][:, 1].astype(np.float64)
    expected = np.zeros(x.shape)
    for index, expert in enumerate(layer.experts):
        w, b = (v.astype(np.float64) for v in expert.get_weights())
        z = x @ w + b
        expected += x * ((gate[:, index, None] * np.tanh(z) * head / z) @ w.T)
    close(found, expected, 1e-4)


def test_a_linear_recurrence_over_its_own_weights(rng, randomise):
    """h = h A + x B, step by step: one linear map, so under LRP-0 relevance is input times gradient."""

    def parts(layer):
        layer.a, layer.b = kl.Dense(4, use_bias=False, name="a"), kl.Dense(4, use_bias=False, name="b")

    def run(layer, x):
        first, *rest = ops.unstack(x, axis=1)
        state = layer.b(first)
        for part in rest:
            state = layer.a(state) + layer.b(part)
        return state

    layer = Own(parts, run)
    inputs = keras.Input(SHAPE)
    model = randomise(keras.Model(inputs, kl.Dense(2, use_bias=False, name="head")(layer(inputs))))
    x = rng.normal(size=(2, *SHAPE)).astype(np.float32)
    a, b = (part.get_weights()[0].astype(np.float64) for part in (layer.a, layer.b))
    g = model.get_layer("head").get_weights()[0][:, 0].astype(np.float64)
    expected = np.zeros(x.shape)
    for step in reversed(range(SHAPE[0])):
        expected[:, step] = x[:, step] * (g @ b.T)
        g = g @ a.T
    close(lrp.relevance(model, x, 0, "lrp_zero"), expected)


@pytest.mark.parametrize("weights_of_its_own", [False, True], ids=["Dense", "add_weight"])
def test_a_gated_recurrence(weights_of_its_own, rng, randomise):
    """Selective state: h = a h + (1 - a) u, a = sigmoid of the input: the gates are constants, the state carries."""

    def parts(layer):
        if weights_of_its_own:
            layer.gate_w, layer.gate_b = layer.add_weight(shape=(4, 4)), layer.add_weight(shape=(4,))
            layer.in_w, layer.in_b = layer.add_weight(shape=(4, 4)), layer.add_weight(shape=(4,))
        else:
            layer.gate, layer.into = kl.Dense(4, name="gate"), kl.Dense(4, name="into")

    def run(layer, x):
        if weights_of_its_own:
            gate, into = ops.sigmoid(x @ layer.gate_w + layer.gate_b), x @ layer.in_w + layer.in_b
        else:
            gate, into = ops.sigmoid(layer.gate(x)), layer.into(x)
        state = (1.0 - gate[:, 0]) * into[:, 0]
        for step in range(1, x.shape[1]):
            state = gate[:, step] * state + (1.0 - gate[:, step]) * into[:, step]
        return state

    layer = Own(parts, run)
    inputs = keras.Input(SHAPE)
    model = randomise(keras.Model(inputs, kl.Dense(2, use_bias=False, name="head")(layer(inputs))))
    x = rng.normal(size=(2, *SHAPE)).astype(np.float32)
    composite = lrp.Composite(dense=ZERO, product="gate")
    wg, bg, wi, _ = (v.astype(np.float64) for v in layer.get_weights())
    gate = sigmoid(x @ wg + bg)
    g = np.broadcast_to(model.get_layer("head").get_weights()[0][:, 1].astype(np.float64), (2, 4))
    expected = np.zeros(x.shape)
    for step in reversed(range(SHAPE[0])):
        expected[:, step] = x[:, step] * ((g * (1 - gate[:, step])) @ wi.T)
        g = g * gate[:, step]
    close(lrp.relevance(model, x, 1, composite), expected, 1e-4)
