"""Every rule on every weighted layer against the rule's formula on the layer's matrix, in float64.

The layer's matrix A (outputs x inputs) is read off by feeding it unit vectors with its bias set to zero; then the
rule is its textbook formula over the contributions C_ji = A_ji x_i, with no convolution, no autodiff and no surrogate.
"""

import keras
import numpy as np
import pytest
from engine_helpers import in_turn, sweep
from keras import layers as kl

import lrp_monitor as lrp
from lrp_monitor import rules

EPS = 1e-6


def sign(z):
    return np.where(z >= 0, 1.0, -1.0)


def pos(a):
    return np.maximum(a, 0)


def neg(a):
    return np.minimum(a, 0)


def share(contributions, denominator, relevance):
    """sum_j c_ji / d_j R_j, with 0 / 0 = 0."""
    ratio = np.divide(relevance, denominator, out=np.zeros_like(relevance), where=denominator != 0)
    return (contributions * ratio[:, None]).sum(axis=0)


def oracle(rule, a, b, x, r):
    """Relevance of the inputs, all float64: matrix a (outputs, inputs), bias b, input x, relevance r of the outputs."""
    c = a * x
    z = c.sum(axis=1) + b
    if isinstance(rule, rules.AlphaBeta):  # z+ is alpha 1, beta 0
        least = 1e-6 * np.abs(z)
        p = np.maximum(pos(c).sum(axis=1) + pos(b) + rule.epsilon, least)
        n = np.minimum(neg(c).sum(axis=1) + neg(b) - rule.epsilon, -least)
        return rule.alpha * share(pos(c), p, r) - rule.beta * share(neg(c), n, r)
    if isinstance(rule, rules.Epsilon):
        return share(c, z + rule.epsilon * sign(z), r)
    if isinstance(rule, rules.Gamma):
        g = rule.gamma
        up, down = c + g * pos(c), c + g * neg(c)
        d_up, d_down = z + g * (pos(c).sum(axis=1) + pos(b)), z + g * (neg(c).sum(axis=1) + neg(b))
        return share(up, d_up + EPS * sign(d_up), np.where(z > 0, r, 0)) + share(
            down, d_down + EPS * sign(d_down), np.where(z > 0, 0, r)
        )
    if isinstance(rule, rules.Flat):
        reached = (a != 0).astype(float)
        return share(reached, reached.sum(axis=1), r)
    if isinstance(rule, rules.WSquare):
        return share(a * a, (a * a).sum(axis=1), r)
    assert isinstance(rule, rules.ZBox)
    q = c - rule.low * pos(a) - rule.high * neg(a)
    return share(q, q.sum(axis=1), r)


RULES = {
    "lrp-0": rules.Epsilon(0),
    "epsilon": rules.Epsilon(1e-6),
    "epsilon-large": rules.Epsilon(0.5),
    "z+": rules.ZPlus(),
    "z+-large": rules.ZPlus(epsilon=0.5),
    "alpha2beta1": rules.AlphaBeta(2, 1),
    "alpha1.5beta.5": rules.AlphaBeta(1.5, 0.5),
    "gamma": rules.Gamma(0.25),
    "gamma-large": rules.Gamma(3.0),
    "flat": rules.Flat(),
    "w2": rules.WSquare(),
    "zB": rules.ZBox(-2.5, 3.0),
}

LAYERS = {
    "dense": ((7,), lambda: kl.Dense(5)),
    "dense over time": ((4, 3), lambda: kl.Dense(5)),
    "einsum dense": ((4, 3), lambda: kl.EinsumDense("abc,cd->abd", output_shape=(4, 5), bias_axes="d")),
    "einsum dense heads": ((4, 3), lambda: kl.EinsumDense("abc,cde->abde", output_shape=(4, 2, 3), bias_axes="de")),
    "conv1d valid": ((9, 3), lambda: kl.Conv1D(4, 3)),
    "conv1d same stride": ((9, 3), lambda: kl.Conv1D(4, 4, strides=2, padding="same")),
    "conv1d causal dilated": ((9, 3), lambda: kl.Conv1D(4, 3, padding="causal", dilation_rate=2)),
    "conv2d valid": ((6, 5, 3), lambda: kl.Conv2D(4, 3)),
    "conv2d same stride 2": ((7, 6, 3), lambda: kl.Conv2D(4, (3, 2), strides=2, padding="same")),
    "conv2d dilated": ((7, 7, 2), lambda: kl.Conv2D(3, 3, dilation_rate=2, padding="same")),
    "conv2d groups": ((5, 5, 4), lambda: kl.Conv2D(6, 3, groups=2, padding="same")),
    "conv2d 1x1": ((4, 4, 5), lambda: kl.Conv2D(3, 1)),
    "conv3d": ((4, 4, 3, 2), lambda: kl.Conv3D(3, 2, padding="same", strides=(1, 2, 1))),
    "depthwise1d": ((8, 3), lambda: kl.DepthwiseConv1D(3, depth_multiplier=2, padding="same")),
    "depthwise2d": ((6, 6, 3), lambda: kl.DepthwiseConv2D(3, padding="same", depth_multiplier=2)),
    "depthwise2d stride": ((7, 6, 3), lambda: kl.DepthwiseConv2D(3, strides=2, padding="valid")),
    "depthwise2d dilated": ((7, 7, 2), lambda: kl.DepthwiseConv2D(3, dilation_rate=2, padding="same")),
    "conv1d transpose": ((5, 3), lambda: kl.Conv1DTranspose(4, 3, strides=2, padding="same")),
    "conv2d transpose": ((4, 4, 3), lambda: kl.Conv2DTranspose(2, 3, strides=2, padding="valid")),
    "conv3d transpose": ((3, 3, 2, 2), lambda: kl.Conv3DTranspose(2, 2, strides=2)),
}


def build(shape, make, rng, count=1, before=(), after=()):
    """``count`` layers of the same weights side by side, each with an output of its own, by one head for all."""
    inputs = h = keras.Input(shape)
    for layer in before:
        h = layer(h)
    layers, flat, head = [make() for _ in range(count)], kl.Flatten(), kl.Dense(1, use_bias=False, name="head")
    outputs = []
    for layer in layers:
        y = layer(h)
        for one in after:
            y = one(y)
        outputs.append(head(flat(y)))
    model = keras.Model(inputs, kl.Concatenate()(outputs) if count > 1 else outputs[0])
    for variable in model.weights:
        variable.assign(rng.normal(size=variable.shape).astype(np.float32))
    for layer in layers[1:]:
        layer.set_weights(layers[0].get_weights())
    return model, layers


def matrix_and_bias(layer, shape):
    """The layer's matrix and bias, flattened, exact: unit vectors pick single float32 weights."""
    size = int(np.prod(shape))
    kernel_weights = layer.get_weights()
    bias = layer(np.zeros((1, *shape), np.float32)).numpy().reshape(-1).astype(np.float64)
    layer.set_weights([kernel_weights[0], np.zeros_like(kernel_weights[1])])
    a = layer(np.eye(size, dtype=np.float32).reshape(size, *shape)).numpy().reshape(size, -1).T.astype(np.float64)
    layer.set_weights(kernel_weights)
    return a, bias


def composite_for(layers, chosen):
    """Each layer by its rule, and what stands behind them by LRP-0."""
    overrides = {layer.name: rule for layer, rule in zip(layers, chosen, strict=True)}
    return lrp.Composite(conv=rules.Epsilon(0), dense=rules.Epsilon(0), overrides=overrides)


def side_by_side(model, layers, names, x):
    """The maps of x of each layer under its rule, in one pass."""
    composite = composite_for(layers, [RULES[name] for name in names])
    copies = np.tile(x, (len(layers), *[1] * (x.ndim - 1)))
    maps = lrp.relevance(model, copies, np.repeat(np.arange(len(layers)), len(x)), composite)
    return dict(zip(names, np.split(maps, len(layers)), strict=True))


def check(found, expected, name=""):
    scale = np.abs(expected).max()
    assert scale > 0, name
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * scale, err_msg=name)


# By default two rules a layer, in turn, and each rule on layers of several kinds.
@sweep("layer_name sixth", LAYERS, range(6), kept=lambda layer, sixth: sixth == layer % 6)
def test_layer_with_negative_inputs_and_biases(layer_name, sixth, rng):
    shape, make = LAYERS[layer_name]
    names = list(RULES)[sixth::6]
    model, layers = build(shape, make, rng, len(names))
    x = rng.uniform(-2.5, 3.0, size=(2, *shape)).astype(np.float32)
    a, b = matrix_and_bias(layers[0], shape)
    head = model.get_layer("head").get_weights()[0][:, 0].astype(np.float64)
    for rule_name, found in side_by_side(model, layers, names, x).items():
        for sample, map_ in zip(x, found, strict=True):
            flat = sample.reshape(-1).astype(np.float64)
            relevance = (a @ flat + b) * head
            check(map_.reshape(-1), oracle(RULES[rule_name], a, b, flat, relevance), rule_name)


@sweep(
    "layer_name after",
    ["dense", "conv2d same stride 2", "depthwise2d", "conv2d transpose"],
    ["linear", "relu"],
    kept=in_turn,
)
def test_layer_with_non_negative_input(layer_name, after, rng):
    """Behind a ReLU the sign-splitting rules take a short cut with half the convolutions, in front of one another."""
    shape, make = LAYERS[layer_name]
    names = ["z+", "alpha2beta1", "gamma", "gamma-large"]
    model, layers = build(shape, make, rng, len(names), before=[kl.ReLU()], after=[kl.Activation(after)])
    x = rng.normal(size=(2, *shape)).astype(np.float32)
    a, b = matrix_and_bias(layers[0], shape)
    head = model.get_layer("head").get_weights()[0][:, 0].astype(np.float64)
    for rule_name, found in side_by_side(model, layers, names, x).items():
        for sample, map_ in zip(x, found, strict=True):
            flat = np.maximum(sample.reshape(-1).astype(np.float64), 0)
            z = a @ flat + b
            relevance = (np.maximum(z, 0) if after == "relu" else z) * head
            check(map_.reshape(-1), oracle(RULES[rule_name], a, b, flat, relevance), rule_name)


@pytest.mark.parametrize("rule_name", ["epsilon", "z+", "alpha2beta1", "gamma"])
def test_separable_convolution_is_two_maps_in_a_row(rule_name, rng):
    rule = RULES[rule_name]
    shape = (6, 5, 3)
    separable = kl.SeparableConv2D(4, 3, strides=2, padding="same", depth_multiplier=2)
    depthwise = kl.DepthwiseConv2D(3, strides=2, padding="same", depth_multiplier=2, use_bias=False)
    pointwise = kl.Conv2D(4, 1)
    head = kl.Dense(2, name="head")
    one = keras.Sequential([keras.Input(shape), separable, kl.Flatten(), head])
    two = keras.Sequential([keras.Input(shape), depthwise, pointwise, kl.Flatten(), head])
    for variable in one.weights:
        variable.assign(rng.normal(size=variable.shape).astype(np.float32))
    kernels = separable.get_weights()
    depthwise.set_weights([kernels[0]])
    pointwise.set_weights([kernels[1], kernels[2]])
    x = rng.normal(size=(2, *shape)).astype(np.float32)
    composite = lrp.Composite(conv=rule, dense=rules.Epsilon(0))
    np.testing.assert_allclose(
        lrp.relevance(one, x, 1, composite), lrp.relevance(two, x, 1, composite), rtol=1e-5, atol=1e-6
    )


def test_box_bounds_go_through_preprocessing(rng):
    """Pixels 0..255 behind Rescaling to -1..1: the box must be that of what the convolution sees, also turned round."""
    for scale, offset in ((1 / 127.5, -1.0), (-1 / 127.5, 1.0)):
        rescale = kl.Rescaling(scale, offset)
        shape = (5, 5, 2)
        model, (layer,) = build(shape, lambda: kl.Conv2D(3, 3), rng, before=[rescale])
        x = rng.uniform(0, 255, size=(2, *shape)).astype(np.float32)
        found = lrp.relevance(model, x, 0, composite_for([layer], [rules.ZBox(0, 255)]))
        a, b = matrix_and_bias(layer, shape)
        head = model.get_layer("head").get_weights()[0][:, 0].astype(np.float64)
        for sample, map_ in zip(x, found, strict=True):
            seen = sample.reshape(-1).astype(np.float64) * scale + offset
            check(map_.reshape(-1), oracle(rules.ZBox(-1.0, 1.0), a, b, seen, (a @ seen + b) * head))


def test_box_per_channel(rng):
    low, high = np.array([-1.0, -2.0], np.float32), np.array([1.0, 3.0], np.float32)
    shape = (4, 4, 2)
    model, (layer,) = build(shape, lambda: kl.Conv2D(3, 3), rng)
    x = rng.uniform(low, high, size=(1, *shape)).astype(np.float32)
    found = lrp.relevance(model, x, 0, composite_for([layer], [rules.ZBox(low, high)]))
    a, b = matrix_and_bias(layer, shape)
    head = model.get_layer("head").get_weights()[0][:, 0].astype(np.float64)
    flat = x.reshape(-1).astype(np.float64)
    lows, highs = (np.broadcast_to(bound, shape).reshape(-1).astype(np.float64) for bound in (low, high))
    q = a * flat - lows * pos(a) - highs * neg(a)
    check(found.reshape(-1), share(q, q.sum(axis=1), (a @ flat + b) * head))
