"""One net written in several ways, and one layer used twice against two layers of the same weights; every composite."""

import functools

import engine_helpers
import keras
import numpy as np
import pytest
from engine_helpers import close, in_turn, randomised, sweep
from hand_helpers import Reference
from keras import layers as kl
from keras import ops

import lrp_monitor as lrp

IMAGE, SEQUENCE = (8, 7, 3), (5, 4)
COMPOSITES = [*engine_helpers.COMPOSITES, "attn_lrp", "cp_lrp"]


def kept_by_default(net, c):
    """Of images the first layer's rules and signs, of sequences what is done with attention and gates."""
    kept = ("epsilon_plus_flat", "epsilon_alpha2_beta1", "epsilon_gamma_box"), ("deep_taylor", "attn_lrp", "cp_lrp")
    names = [getattr(composite, "name", composite) for composite in COMPOSITES]
    assert {name for of_net in kept for name in of_net} <= set(names)
    return names[c] in kept[net]


def convolutional():
    """The layers of a net with normalisation, a residual sum and two pools."""
    return {
        "one": kl.Conv2D(4, 3, strides=2, padding="same"), "norm": kl.BatchNormalization(),
        "two": kl.DepthwiseConv2D(3, padding="same"), "norm_two": kl.BatchNormalization(),
        "three": kl.Conv2D(4, 1, activation="relu"), "head": kl.Dense(3, activation="softmax"),
    }  # fmt: skip


def of_images(part, x, raw):
    """By layers alone, or with operators where there are some for the same thing."""
    h = part["norm"](part["one"](x))
    h = ops.relu(h) if raw else kl.ReLU()(h)
    more = part["norm_two"](part["two"](h))
    h = h + more if raw else kl.Add()([h, more])
    h = part["three"](ops.max_pool(h, 2) if raw else kl.MaxPooling2D(2)(h))
    return part["head"](ops.mean(h, axis=(1, 2)) if raw else kl.GlobalAveragePooling2D()(h))


def transformer():
    return {
        "in": kl.Dense(4), "norm": kl.LayerNormalization(), "attention": kl.MultiHeadAttention(2, 3),
        "up": kl.Dense(6, activation="gelu"), "gate": kl.Dense(6, activation="sigmoid"), "down": kl.Dense(4),
        "head": kl.Dense(3),
    }  # fmt: skip


def of_sequences(part, x, raw):
    h = part["in"](x)
    normed = part["norm"](h)
    h = h + part["attention"](normed, normed) if raw else kl.Add()([h, part["attention"](normed, normed)])
    up, gate = part["up"](h), part["gate"](h)
    h = part["down"](up * gate if raw else kl.Multiply()([up, gate]))
    return part["head"](ops.mean(h, axis=1) if raw else kl.GlobalAveragePooling1D()(h))


NETS = {"images": (IMAGE, convolutional, of_images), "sequences": (SEQUENCE, transformer, of_sequences)}


def functional(shape, parts, run, raw=False):
    inputs = keras.Input(shape)
    return keras.Model(inputs, run(parts, inputs, raw))


class Subclassed(keras.Model):
    def __init__(self, parts, run):
        super().__init__()
        self.parts, self.run = parts, run
        for name, layer in parts.items():
            setattr(self, f"part_{name}", layer)

    def call(self, x):
        return self.run(self.parts, x, True)


def nested(shape, parts, run):
    """The net as a model in a model in a model."""
    inner = functional(shape, parts, run)
    return keras.Sequential([keras.Input(shape), keras.Sequential([keras.Input(shape), inner])])


def normalised_batch(layer, w, x):
    gamma, beta, mean, variance = w
    return (x - mean) / ops.sqrt(variance + layer.epsilon) * gamma + beta


def normalised_steps(layer, w, x):
    centre, variance = ops.moments(x, axes=[-1], keepdims=True)
    return (x - centre) * ops.rsqrt(variance + layer.epsilon) * w[0] + w[1]


def attended(layer, w, x, _):
    wq, bq, wk, bk, wv, bv, wo, bo = w
    q, k, v = (ops.einsum("btc,chd->bhtd", x, m) + b[:, None] for m, b in ((wq, bq), (wk, bk), (wv, bv)))
    weights = ops.softmax(ops.matmul(q, ops.transpose(k, (0, 1, 3, 2))) / ops.sqrt(float(wq.shape[-1])))
    return ops.einsum("bhtd,hdc->btc", ops.matmul(weights, v), wo) + bo


# What the layers of the nets above compute, written by hand: (layer for its options, weights, input).
BY_HAND = {
    kl.Conv2D: lambda layer, w, x: layer.activation(
        ops.conv(x, w[0], strides=layer.strides, padding=layer.padding) + w[1]
    ),
    kl.DepthwiseConv2D: lambda layer, w, x: ops.depthwise_conv(x, w[0], padding=layer.padding) + w[1],
    kl.BatchNormalization: normalised_batch,
    kl.LayerNormalization: normalised_steps,
    kl.Dense: lambda layer, w, x: layer.activation(ops.matmul(x, w[0]) + w[1]),
    kl.MultiHeadAttention: attended,
}


class OwnWeights(kl.Layer):
    """A layer of one's own with the weights and the function of ``known``."""

    def __init__(self, known):
        super().__init__()
        self.own = [self.add_weight(shape=w.shape, trainable=w.trainable, name=w.name) for w in known.weights]
        self.set_weights(known.get_weights())
        self.function = functools.partial(BY_HAND[type(known)], _Options(known))

    def build(self, *shapes):
        self.built = True

    def call(self, *inputs):
        return self.function(self.own, *inputs)


class _Options:
    """The options of a layer without its weights: the layer itself would become a part of what holds it."""

    def __init__(self, known):
        for name in ("activation", "strides", "padding", "epsilon"):
            setattr(self, name, getattr(known, name, None))


class ByHand(keras.Model):
    """All weights the model's own, and its call written out in operations."""

    def __init__(self, known, run):
        super().__init__()
        self.functions, self.net = {}, run
        for name, layer in known.items():
            own = [
                self.add_weight(shape=w.shape, trainable=w.trainable, name=f"{name}_{w.name}") for w in layer.weights
            ]
            for variable, w in zip(own, layer.weights, strict=True):
                variable.assign(w)
            self.functions[name] = functools.partial(BY_HAND[type(layer)], _Options(layer), own)

    def build(self, shape):
        self.built = True

    def call(self, x):
        return self.net(self.functions, x, True)


@functools.cache
def reference(net):
    """The net by layers, its parts, and an input."""
    shape, make, run = NETS[net]
    rng, parts = np.random.default_rng(0), make()
    model = randomised(rng, functional(shape, parts, run))
    return parts, Reference(model, rng.uniform(-3, 3, size=(2, *shape)).astype(np.float32))


def own_layers(shape, parts, run):
    return Subclassed({name: OwnWeights(layer) for name, layer in parts.items()}, run)


# name -> (whether it is made of Keras' layers, the model of its parts)
EQUIVALENT = {
    "operators": (True, lambda shape, parts, run: functional(shape, parts, run, raw=True)),
    "subclassed": (True, lambda shape, parts, run: Subclassed(parts, run)),
    "nested": (True, nested),
    "layers of one's own": (False, own_layers),
    "one model by hand": (False, lambda shape, parts, run: ByHand(parts, run)),
}


def in_turn_of(net, form, c):
    """The composites of ``kept_by_default``, of which each form has one."""
    chosen = [position for position in range(len(COMPOSITES)) if kept_by_default(net, position)]
    return c == chosen[form % len(chosen)]


@sweep("net form composite", NETS, EQUIVALENT, COMPOSITES, kept=in_turn_of)
def test_one_net_in_equivalent_forms(net, form, composite):
    shape, make, run = NETS[net]
    first, known = reference(net)
    of_layers, made = EQUIVALENT[form]
    parts = make() if of_layers else first
    other = made(shape, parts, run)
    found = np.asarray(other(known.x))
    if of_layers:
        for name, layer in parts.items():
            layer.set_weights(first[name].get_weights())
        found = np.asarray(other(known.x))
    close(found, known.output, 1e-4)
    map_ = lrp.relevance(other, known.x, known.target, composite)
    close(map_, known.relevance(composite), 1e-5 if of_layers else 1e-4)


@pytest.mark.parametrize("composite", [lrp.composites.deep_taylor(-3, 3), "epsilon_plus_flat"], ids=["z+", "flat"])
def test_a_residual_in_one_call_is_that_of_layers(composite, rng, randomise):
    """What is added to itself behind weights is no sum of products: each of both takes its rule, as layers do."""

    def run(part, x, _):
        h = part["in"](x)
        return part["head"](ops.relu(h + part["down"](ops.relu(h))))

    parts = {"in": kl.Dense(4), "down": kl.Dense(4), "head": kl.Dense(2)}
    model = randomise(functional((5,), parts, run))
    x = rng.uniform(-3, 3, size=(3, 5)).astype(np.float32)
    by_hand = ByHand(parts, run)
    close(np.asarray(by_hand(x)), np.asarray(model(x)))
    close(lrp.relevance(by_hand, x, 1, composite), lrp.relevance(model, x, 1, composite), 1e-4)


def block(shape):
    inputs = keras.Input(shape)
    if len(shape) == 3:
        h = kl.ReLU()(kl.BatchNormalization()(kl.Conv2D(shape[-1], 3, padding="same")(inputs)))
    else:
        h = kl.LayerNormalization()(inputs)
        h = kl.Dense(shape[-1], activation="gelu")(kl.MultiHeadAttention(2, 3)(h, h))
    return keras.Model(inputs, h)


@sweep("kind composite", NETS, COMPOSITES, kept=lambda kind, c: kept_by_default(kind, c) and in_turn(kind, c))
def test_a_block_used_twice_equals_two_blocks(kind, composite, rng, randomise):
    """Both uses in a row, and the first also past the second."""
    shape = NETS[kind][0]

    def net(shared):
        inputs = keras.Input(shape)
        h = (kl.Conv2D(3, 1) if len(shape) == 3 else kl.Dense(4))(inputs)
        one = block((*shape[:-1], h.shape[-1]))
        two = one if shared else block((*shape[:-1], h.shape[-1]))
        first = one(h)
        head = kl.Dense(2)
        model = keras.Model(inputs, head(kl.Flatten()(kl.Average()([first, two(first)]))))
        return model, [model.layers[1], one, two, head]

    model, parts = net(True)
    randomise(model)
    twice, others = net(False)
    for part, other in zip(parts, others, strict=True):
        other.set_weights(part.get_weights())
    x = rng.uniform(-3, 3, size=(2, *shape)).astype(np.float32)
    close(lrp.relevance(model, x, 0, composite), lrp.relevance(twice, x, 0, composite))


@sweep(
    "net composite",
    NETS,
    ["epsilon_plus_flat", "epsilon_alpha2_beta1", "deep_taylor", "attn_lrp"],
    kept=lambda net, composite: composite == 3 * net,
)
def test_alone_in_company_and_again(net, composite, rng, randomise):
    """7 samples in chunks of 3, 3 and 1: the same from call to call, and each as it is alone."""
    shape, make, run = NETS[net]
    model = randomise(functional(shape, make(), run))
    x = rng.uniform(-3, 3, size=(7, *shape)).astype(np.float32)
    if composite == "deep_taylor":
        composite = lrp.composites.deep_taylor(-3, 3)
    explainer = lrp.Explainer(model, composite, batch_size=3)
    together = explainer(x, 1)
    np.testing.assert_array_equal(together, explainer(x, 1))
    for index in (0, 4, 6):
        close(explainer(x[index : index + 1], 1)[0], together[index])
    close(lrp.Explainer(model, composite, batch_size=1)(x[4:5], 1)[0], together[4])


@sweep(
    "net composite policy",
    NETS,
    ["epsilon_plus_flat", "epsilon_alpha2_beta1", "attn_lrp", "cp_lrp"],
    ["mixed_float16", "mixed_bfloat16"],
    kept=lambda net, composite, policy: composite == 2 * net + policy,
)
def test_mixed_precision_is_explained_in_float32(net, composite, policy):
    shape, make, run = NETS[net]
    first, known = reference(net)
    keras.config.set_dtype_policy(policy)
    try:
        parts = make()
        mixed = functional(shape, parts, run)
    finally:
        keras.config.set_dtype_policy("float32")
    for name, layer in parts.items():
        layer.set_weights(first[name].get_weights())
    found = lrp.Explainer(mixed, composite).explain(known.x, known.target)
    assert found.relevance.dtype == np.float32
    close(found.relevance, known.relevance(composite))
    close(found.logits, known.explanation(composite).logits)
    assert {layer.compute_dtype for layer in parts.values()} == {policy.removeprefix("mixed_")}
