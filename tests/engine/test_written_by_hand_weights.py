"""Weights of a layer of one's own, by every operation that multiplies: as Dense, Conv, EinsumDense with them."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from engine_helpers import in_turn, randomised, sweep
from hand_helpers import EVERY, TWO, Own, Reference, close, name_of, net, same, same_as, weight
from keras import layers as kl
from keras import ops

import lrp_monitor as lrp
from lrp_monitor import rules

VECTOR, STEPS, IMAGE = (5,), (4, 3), (5, 6, 3)


def own(kernel, bias, run, **options):
    """A layer with a kernel of this shape and a bias, ``run(x, kernel, bias)``."""

    def make(layer):
        weight(layer, "kernel", kernel, **options)
        if bias is not None:
            weight(layer, "bias", (bias,), **options)

    return Own(make, lambda layer, x: run(x, layer.kernel, getattr(layer, "bias", None)))


def tensordot(x, w, b):
    return ops.tensordot(x, w, axes=1) + b


def conv_bias(x, w, b):
    return tf.nn.bias_add(tf.nn.conv2d(x, tf.convert_to_tensor(w), 1, "SAME"), tf.convert_to_tensor(b))


def by_row(x, w):
    return ops.sum(x[..., None] * w, 1)


def by_step(x, w):
    """``x w`` of each step, of which those of all steps are summed: (steps, n, units)."""
    return ops.matmul(ops.transpose(x, (1, 0, 2)), w)


KNOWN = {
    "dense": (VECTOR, lambda: kl.Dense(4)),
    "dense without bias": (VECTOR, lambda: kl.Dense(4, use_bias=False)),
    "dense with gelu": (VECTOR, lambda: kl.Dense(4, activation="gelu")),
    "dense over time": (STEPS, lambda: kl.Dense(4)),
    "einsum": (STEPS, lambda: kl.EinsumDense("abc,cd->abd", output_shape=(4, 4), bias_axes="d")),
    "einsum over all": (STEPS, lambda: kl.EinsumDense("abc,bcd->ad", output_shape=(4,), bias_axes="d")),
    "einsum along time": (STEPS, lambda: kl.EinsumDense("abc,bd->adc", output_shape=(5, 3))),
    "conv": (IMAGE, lambda: kl.Conv2D(4, 3, padding="same")),
    "conv with strides": (IMAGE, lambda: kl.Conv2D(4, (3, 2), strides=2)),
    "conv over time": (STEPS, lambda: kl.Conv1D(4, 2, padding="causal")),
    "depthwise": (IMAGE, lambda: kl.DepthwiseConv2D(3, padding="same")),
    "transposed": (IMAGE, lambda: kl.Conv2DTranspose(2, 3, strides=2, padding="same")),
}  # fmt: skip
# name -> (Keras' layer, one's own layer)
FORMS = {
    "matmul": ("dense", lambda: own((5, 4), 4, lambda x, w, b: ops.matmul(x, w) + b)),
    "operator": ("dense", lambda: own((5, 4), 4, lambda x, w, b: x @ w + b)),
    "tf.matmul": ("dense", lambda: own((5, 4), 4, lambda x, w, b: tf.matmul(x, w) + b)),
    "bias first": ("dense", lambda: own((5, 4), 4, lambda x, w, b: b + ops.dot(x, w))),
    "over time": ("dense over time", lambda: own((3, 4), 4, lambda x, w, b: ops.matmul(x, w) + b)),
    "tensordot": ("dense over time", lambda: own((3, 4), 4, tensordot)),
    "einsum": ("einsum", lambda: own((3, 4), 4, lambda x, w, b: ops.einsum("abc,cd->abd", x, w) + b)),
    "einsum, kernel first": ("einsum", lambda: own((3, 4), 4, lambda x, w, b: ops.einsum("cd,abc->abd", w, x) + b)),
    "einsum with an ellipsis": (
        "dense over time", lambda: own((3, 4), 4, lambda x, w, b: ops.einsum("...c,cd->...d", x, w) + b),
    ),
    "einsum along time": (
        "einsum along time", lambda: own((4, 5), None, lambda x, w, b: ops.einsum("abc,bd->adc", x, w)),
    ),
    "no bias": ("dense without bias", lambda: own((5, 4), None, lambda x, w, b: x @ w)),
    "conv": ("conv", lambda: own((3, 3, 3, 4), 4, lambda x, w, b: ops.conv(x, w, padding="same") + b)),
    "conv with strides": (
        "conv with strides",
        lambda: own((3, 2, 3, 4), 4, lambda x, w, b: ops.conv(x, w, strides=2, padding="valid") + b),
    ),
    "tf.nn.conv2d": ("conv", lambda: own((3, 3, 3, 4), 4, conv_bias)),
    "conv over time": (
        "conv over time",
        lambda: own((2, 3, 4), 4, lambda x, w, b: ops.conv(ops.pad(x, ((0, 0), (1, 0), (0, 0))), w) + b),
    ),
    "depthwise": (
        "depthwise", lambda: own((3, 3, 3, 1), 3, lambda x, w, b: ops.depthwise_conv(x, w, padding="same") + b),
    ),
    "transposed": (
        "transposed", lambda: own((3, 3, 2, 3), 2, lambda x, w, b: ops.conv_transpose(x, w, 2, padding="same") + b),
    ),
    "shared matrix, transposed": (
        "dense", lambda: own((4, 5), 4, lambda x, w, b: ops.matmul(x, ops.transpose(w)) + b),
    ),
    "tf transpose_b": ("dense", lambda: own((4, 5), 4, lambda x, w, b: tf.matmul(x, w, transpose_b=True) + b)),
    "multiplied and summed": ("dense", lambda: own((5, 4), 4, lambda x, w, b: ops.sum(x[..., None] * w, 1) + b)),
    "multiplied, moved and summed": (
        "dense",
        lambda: own((5, 4), 4, lambda x, w, b: ops.sum(-2 * ops.transpose(w * x[..., None] / -2, (0, 2, 1)), 2) + b),
    ),
    "multiplied and summed in two parts": (
        "dense",
        lambda: own((5, 4), 4, lambda x, w, b: sum(by_row(x[:, i], w[i]) for i in (slice(2), slice(2, 5))) + b),
    ),
    "summed by steps": (
        "einsum over all", lambda: own((4, 3, 4), 4, lambda x, w, b: ops.sum(ops.einsum("abc,bcd->abd", x, w), 1) + b),
    ),
    "the mean by steps, each with a bias": (
        "einsum over all", lambda: own((4, 3, 4), 4, lambda x, w, b: ops.mean(4 * by_step(x, w) + b, 0)),
    ),
    "multiplied, and summed twice": (
        "einsum over all", lambda: own((4, 3, 4), 4, lambda x, w, b: ops.sum(ops.sum(x[..., None] * w, 2), 1) + b),
    ),
    "multiplied and moved together": (
        "einsum over all",
        lambda: own((4, 3, 4), 4, lambda x, w, b: by_row(ops.reshape(x, (-1, 12)), ops.reshape(w, (12, 4))) + b),
    ),
    "multiplied, moved apart and summed": (
        "einsum over all",
        lambda: own((4, 3, 4), 4, lambda x, w, b: ops.sum(ops.reshape(x[..., None] * w, (-1, 12, 4)), 1) + b),
    ),
    "multiplied, and their mean": (
        "dense over time", lambda: own((4, 3), 4, lambda x, w, b: 3 * ops.mean(w * x[:, :, None], -1) + b),
    ),
    "fused activation": (
        "dense with gelu", lambda: own((5, 4), 4, lambda x, w, b: ops.gelu(x @ w + b, approximate=False)),
    ),
}  # fmt: skip
TURNED = ("shared matrix, transposed", "tf transpose_b", "multiplied, and their mean")
SIGNS = lrp.Composite(conv=rules.AlphaBeta(2, 1), dense=rules.Gamma(0.25))


def around(shape, layer, behind=()):
    """The layer behind a convolution or dense layer, with ReLU, and what stands ``behind`` it."""
    first = kl.Conv2D(3, 2, padding="same", name="before") if shape == IMAGE else kl.Dense(shape[-1], name="before")
    return keras.Sequential(
        [keras.Input(shape), first, layer, *behind, kl.ReLU(), kl.Flatten(), kl.Dense(2, name="head")]
    )


@functools.cache
def reference(layer, normed=False):
    shape, make = KNOWN[layer]
    rng = np.random.default_rng(0)
    by_layers = randomised(rng, around(shape, make(), [kl.BatchNormalization()] * normed))
    return Reference(by_layers, rng.uniform(-3, 3, size=(2, *shape)).astype(np.float32))


def written(form, known, normed=False):
    """The network of the reference ``known`` with one's own layer."""
    by_hand = around(known.x.shape[1:], FORMS[form][1](), [kl.BatchNormalization()] * normed)
    for index, (one, other) in enumerate(zip(known.model.layers, by_hand.layers, strict=True)):
        values = one.get_weights()
        if index == 1 and form in TURNED:
            values[0] = values[0].T
        other.set_weights(values)
    return by_hand


@sweep("form composite", ["matmul", "conv"], EVERY, kept=in_turn)
def test_under_every_composite(form, composite):
    known = reference(FORMS[form][0])
    same_as(known, written(form, known), [composite])


@pytest.mark.parametrize("form", FORMS)
def test_in_every_spelling(form):
    known = reference(FORMS[form][0])
    same_as(known, written(form, known), [SIGNS])


@sweep("form composite", ["matmul", "conv", "over time", "no bias", "multiplied and summed"], TWO, kept=in_turn)
def test_with_a_normalisation_behind(form, composite):
    """A BatchNormalization behind it is folded, as behind Dense or Conv."""
    known = reference(FORMS[form][0], normed=True)
    same_as(known, written(form, known, normed=True), [composite])


def test_with_a_normalisation_behind_axes_that_are_not_named():
    known = reference("dense over time", normed=True)
    same_as(known, written("einsum with an ellipsis", known, normed=True), [SIGNS])


@pytest.mark.parametrize("run", [ops.matmul, lambda x, w: ops.sum(x[..., None] * w, 1)], ids=["matmul", "sum"])
@pytest.mark.parametrize(
    ("rule", "expected"),
    [(rules.Epsilon(0), [25, -5, 20, 0]), (rules.ZPlus(), [20, 0, 20, 0]), (rules.Flat(), [10, 10, 20, 0])],
    ids=["lrp-0", "z+", "flat"],
)
def test_a_product_of_the_input_with_weights_is_no_statistic_however_it_is_written(run, rule, expected):
    """(5 x 2 - 2 x 1) x 5 = 40: half of it to each factor, and of the first by the rule: 10 and -2 of 8."""

    def make(layer):
        weight(layer, "w", (2, 2), initializer=lambda shape, dtype=None: ops.array([[2.0, 0.0], [-1.0, 0.0]]))

    inputs = keras.Input((4,))
    layer = Own(make, lambda layer, x: ops.sum(run(x[:, :2], layer.w) * x[:, 2:], -1, keepdims=True))
    found = lrp.Explainer(keras.Model(inputs, layer(inputs)), lrp.Composite(first=rule))(np.float32([[5, 2, 5, 7]]), 0)
    np.testing.assert_allclose(found, [expected], rtol=1e-5)


@pytest.mark.parametrize("deep", [False, True])
def test_products_summed_in_one_layer_keep_the_rule_for_inputs(deep, rng, randomise):
    """x U + f(x) W, f(x) the input itself or a layer of it: as the sum of two Dense layers, flat for what reads x."""
    inputs = keras.Input((5,))
    before = kl.Dense(5, activation="tanh") if deep else kl.Identity()
    parts = [kl.Dense(4, use_bias=False) for _ in "ab"]
    by_layers = keras.Model(inputs, kl.Dense(2)(kl.Add()([parts[0](inputs), parts[1](before(inputs))])))

    def make(layer):
        weight(layer, "u", (5, 4))
        weight(layer, "w", (5, 4))

    layer = Own(make, lambda layer, x: ops.matmul(x, layer.u) + ops.matmul(before(x), layer.w))
    by_hand = keras.Model(inputs, kl.Dense(2)(layer(inputs)))
    randomise(by_layers)
    for one, other in zip((layer.u, layer.w), parts, strict=True):
        one.assign(other.kernel)
    by_hand.layers[-1].set_weights(by_layers.layers[-1].get_weights())
    same(by_layers, by_hand, rng.normal(size=(2, 5)).astype(np.float32), [lrp.Composite(first=rules.Flat())])


def _both(layer, x):
    return [ops.matmul(x[:, :4], layer.w[:4]), ops.matmul(x[:, 4:], layer.w[4:])]


def _halves(layer, x):
    one, two = _both(layer, x)
    return one + two


def _tokens(layer, x):
    """The first half of the data of both tokens at once, as what a recurrent layer makes of all steps before them."""
    before = ops.matmul(ops.stack([x[:, :4], x[:, 4:]], axis=1), layer.w[:4])
    return before[:, 0] + ops.matmul(x[:, 4:], layer.w[4:]) + layer.b


def _tokens_cut(layer, x):
    """As before, by an einsum, of which each half of the units takes its own part."""
    before = ops.split(ops.einsum("ntd,dk->ntk", ops.stack([x[:, :4], x[:, 4:]], axis=1), layer.w[:4]), 2, axis=-1)
    after = ops.split(ops.matmul(x[:, 4:], layer.w[4:]), 2, axis=-1)
    return ops.concatenate([one[:, 0] + two for one, two in zip(before, after, strict=True)], axis=-1) + layer.b


IN_PARTS = {
    "three": lambda layer, x: sum(ops.matmul(x[:, i:j], layer.w[i:j]) for i, j in ((0, 2), (2, 5), (5, 8))) + layer.b,
    "subtracted": lambda layer, x: ops.matmul(x[:, :4], layer.w[:4]) - ops.matmul(x[:, 4:], -layer.w[4:]) + layer.b,
    "bias between": lambda layer, x: ops.matmul(x[:, :4], layer.w[:4]) + layer.b + ops.matmul(x[:, 4:], layer.w[4:]),
    "of tokens": _tokens,
    "of tokens, cut": _tokens_cut,
    "transposed, cut": lambda layer, x: (
        ops.concatenate(
            [
                one + two
                for one, two in zip(
                    ops.split(tf.matmul(x[:, :6], ops.transpose(layer.w[:6]), transpose_b=True), 2, -1),
                    ops.split(ops.matmul(x[:, 6:], layer.w[6:]), 2, -1),
                    strict=True,
                )
            ],
            -1,
        )
        + layer.b
    ),
    "cut": lambda layer, x: ops.concatenate(
        [ops.split(_halves(layer, x), 2, -1)[i] + layer.b[3 * i : 3 * i + 3] for i in (0, 1)], -1
    ),
    "in heads": lambda layer, x: ops.reshape(
        ops.reshape(_halves(layer, x), (-1, 2, 3)) + ops.reshape(layer.b, (2, 3)), (-1, 6)
    ),
    "negated": lambda layer, x: -(-_halves(layer, x) - layer.b),
    "scaled": lambda layer, x: _halves(layer, x) / layer.scale * layer.scale + layer.b,
    "stacked and summed": lambda layer, x: ops.sum(ops.stack(_both(layer, x), -1), -1) + layer.b,
    "stacked and averaged": lambda layer, x: 2.0 * ops.mean(ops.stack(_both(layer, x)), 0, keepdims=True)[0] + layer.b,
    "laid side by side and summed": lambda layer, x: (
        ops.sum(ops.concatenate([y[:, None] for y in _both(layer, x)], 1), 1) + layer.b
    ),
    "cut, joined and shifted": lambda layer, x: ops.concatenate(ops.split(_halves(layer, x), 2, -1), -1) + layer.b,
}


THREE = [lrp.Composite(dense=rule) for rule in (rules.ZPlus(), rules.Gamma(0.5), rules.Epsilon())]


def normed_and_cut_off(run):
    def make(layer):
        for name, shape in {"w": (8, 6), "b": (6,), "scale": (6,)}.items():
            weight(layer, name, shape)

    return net((8,), lambda h: ops.relu(kl.BatchNormalization()(Own(make, run)(h))))


@functools.cache
def in_one():
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    known = randomised(rng, normed_and_cut_off(lambda layer, x: ops.matmul(x, layer.w) + layer.b))
    return Reference(known, rng.normal(size=(2, 8)).astype(np.float32))


@sweep("form composite", IN_PARTS, THREE, kept=in_turn)
def test_products_summed_in_one_call_are_the_product_of_what_they_multiply(form, composite):
    """x U + y W + b, in whatever parts, order and places, is [x, y] [U; W] + b: one denominator, one bias."""
    other = normed_and_cut_off(IN_PARTS[form])
    other.set_weights(in_one().model.get_weights())
    same_as(in_one(), other, [composite])


SPREAD = {
    "a query over tokens": lambda layer, x: ops.matmul(x, layer.w[:4]) + ops.matmul(x[:, 0], layer.w[4:])[:, None],
    "bias first, subtracted": lambda layer, x: (
        ops.matmul(x[:, :1], layer.w[4:]) + layer.b - ops.matmul(x, -layer.w[:4]) - layer.b
    ),
    "moved, and scaled behind": lambda layer, x: (
        ops.transpose(
            ops.transpose(ops.matmul(x, layer.w[:4]) + ops.matmul(x[:, :1], layer.w[4:]), (0, 2, 1)) * 2.0, (0, 2, 1)
        )
        / 2.0
    ),
}


@sweep("form composite", SPREAD, [*THREE, lrp.Composite(first=rules.Flat())], kept=in_turn)
def test_a_product_spread_over_another_is_one_with_it(form, composite, rng, randomise):
    """As additive attention adds a query to every key: the product of both side by side, also of the input itself."""

    def whole(layer, x):
        query = ops.broadcast_to(x[:, :1], ops.shape(x))
        return ops.matmul(ops.concatenate([x, query], -1), layer.w)

    def written(run):
        def make(layer):
            for name, shape in {"w": (8, 6), "b": (6,)}.items():
                weight(layer, name, shape)

        layer = Own(make, lambda layer, x: run(layer, x) + layer.b)
        behind = composite.first is None
        return net((3, 4), lambda h: ops.relu(kl.BatchNormalization()(layer(h))), before=behind)

    known, other = randomise(written(whole)), written(SPREAD[form])
    other.set_weights(known.get_weights())
    same(known, other, rng.normal(size=(3, 3, 4)).astype(np.float32), [composite])


DIAGONAL = (
    lambda layer, x, y: ops.matmul(x, layer.w) + y * layer.scale + layer.b,
    lambda layer, x, y: (layer.scale * y + layer.b) + ops.matmul(x, layer.w),
    lambda layer, x, y: ops.matmul(x, layer.w) - y * -layer.scale + layer.b,
)


@sweep("before turn", (True, False), range(3), kept=lambda _, turn: turn == 0)
def test_a_scale_by_weights_beside_a_product_is_one_with_it(before, turn, rng, randomise):
    """x W + y * s, as in independently recurrent cells, is [x, y] [W; diag(s)]."""

    def written(run):
        def make(layer):
            for name, shape in {"w": (4, 4), "b": (4,), "scale": (4,)}.items():
                weight(layer, name, shape)

        layer = Own(make, lambda layer, x: run(layer, x[:, :4], x[:, 4:]))
        return net((8,), lambda h: ops.relu(kl.BatchNormalization()(layer(h))), before=before)

    known = randomise(written(lambda layer, x, y: x @ layer.w + y @ ops.diag(layer.scale) + layer.b))
    reference = Reference(known, rng.normal(size=(3, 8)).astype(np.float32))
    for form, composite in zip(DIAGONAL, THREE[turn:] + THREE[:turn], strict=True):
        other = written(form)
        other.set_weights(known.get_weights())
        same_as(reference, other, [composite])


ADDED = {
    "+": lambda z: z + 1.5,
    "another layer": lambda z: kl.Rescaling(1.0, offset=1.5)(z),
    "two": lambda z: kl.Lambda(lambda t: t + 1.0)(z) + 0.5,
    "subtracted from": lambda z: 1.5 - kl.Lambda(lambda t: -t)(z),
    "moved between": lambda z: ops.transpose(ops.transpose(z + 1.0, (0, 2, 1, 3)) + 0.5, (0, 2, 1, 3)),
    "scaled before": lambda z: (z * 2.0 + 3.0) * 0.5,
}


@functools.cache
def with_a_bias_of_numbers():
    rng = np.random.default_rng(0)
    known = randomised(rng, around(IMAGE, kl.Conv2D(4, 3), [kl.BatchNormalization()]))
    known.layers[1].bias.assign(np.full(4, 1.5))
    return Reference(known, rng.uniform(-3, 3, size=(2, *IMAGE)).astype(np.float32))


@sweep("form composite", ADDED, [SIGNS, *THREE], kept=lambda _, composite: composite == 0)
def test_a_number_added_to_a_map_is_its_bias(form, composite):
    known = with_a_bias_of_numbers()
    inputs = keras.Input(IMAGE)
    h = kl.Conv2D(3, 2, padding="same")(inputs)
    h = ops.relu(kl.BatchNormalization()(ADDED[form](kl.Conv2D(4, 3, use_bias=False)(h))))
    other = keras.Model(inputs, kl.Dense(2)(kl.Flatten()(h)))
    weights = known.model.get_weights()
    other.set_weights([*weights[:3], *weights[4:]])
    same_as(known, other, [composite])


def test_a_number_read_by_more_than_a_function_is_a_bias():
    """Contributions are 4 and -2 and the number is 1, so that z+ gives 4 / (4 + 1) of the relevance 3 to x_0."""
    inputs = keras.Input((2,))
    h = kl.Dense(1, use_bias=False)(inputs) + 1.0
    model = keras.Model(inputs, kl.Dense(1, use_bias=False)(kl.Concatenate()([kl.ReLU(6.0)(h), h])))
    model.set_weights([np.array([[2.0], [-2.0]]), np.array([[0.0], [1.0]])])
    found = lrp.relevance(model, np.array([[2, 1]], np.float32), 0, lrp.Composite(dense=rules.ZPlus()))
    np.testing.assert_allclose(found, [[12 / 5, 0]], rtol=1e-5, atol=1e-6)


IMAGES_IN_PARTS = {
    "subtracted, bias between": lambda x, h, k, u, b: conv(x, k) + b - conv(h, -u),
    "cut, moved": lambda x, h, k, u, b: (
        ops.moveaxis(ops.moveaxis(conv(x, ops.tile(k, 2))[..., 4:], 1, 2) + ops.moveaxis(conv(h, u), 1, 2), 1, 2) + b
    ),
    "one of them pointwise, as a matrix": lambda x, h, k, u, b: ops.matmul(x, k[1, 1]) + conv(h, u) + b,
}


def conv(x, kernel):
    return ops.conv(x, kernel, padding="same")


@pytest.mark.parametrize("form", IMAGES_IN_PARTS)
def test_convolutions_summed_in_one_call_are_that_of_what_they_read(form, rng, randomise):
    """As with matrices, in a recurrent cell over images: of [x, h] with the kernels side by side."""
    pointwise = "pointwise" in form

    def make(layer):
        for name, shape in {"k": (3, 3, 2, 4), "u": (3, 3, 3, 4), "b": (4,)}.items():
            weight(layer, name, shape)

    def written(run):
        def middle(z):
            x, h = z[..., :2], ops.tanh(z[..., 2:])
            return ops.relu(kl.BatchNormalization()(Own(make, lambda layer, x: run(layer, *x))([x, h])))

        return net((4, 3, 5), middle)

    def whole(layer, x, h):
        mask = np.zeros((3, 3, 1, 1), np.float32)
        mask[1, 1] = 1
        k = layer.k * mask if pointwise else layer.k
        return conv(ops.concatenate([x, h], -1), ops.concatenate([k, layer.u], 2)) + layer.b

    known = randomise(written(whole))
    other = written(lambda layer, x, h: IMAGES_IN_PARTS[form](x, h, layer.k, layer.u, layer.b))
    other.set_weights(known.get_weights())
    x = rng.normal(size=(2, 4, 3, 5)).astype(np.float32)
    signs = (rules.ZPlus(), rules.AlphaBeta(2, 1), rules.Gamma(0.5), rules.Epsilon())
    same(known, other, x, [lrp.Composite(conv=rule, dense=rule) for rule in signs])


@pytest.mark.parametrize("form", ["of tokens", "in heads", "cut"])
def test_a_rule_for_inputs_is_refused_for_a_sum_behind_other_weights(form):
    model = normed_and_cut_off(IN_PARTS[form])
    name = next(layer.name for layer in model.layers if isinstance(layer, Own))
    with pytest.raises(lrp.UnsupportedModelError, match=rf"{name}.*Flat\(\) is for the first weighted layer alone"):
        lrp.Explainer(model, lrp.Composite(overrides={name: rules.Flat()}))(np.ones((1, 8), np.float32), 0)


@pytest.mark.parametrize("other", ["matrix", "scale"])
def test_a_sum_with_a_convolution_takes_the_rule_of_convolutions_in_any_order(other, rng, randomise):
    """With one rule for all kinds as with another rule for matrices, whichever comes first."""

    def make(layer):
        for name, shape in {"k": (3, 3, 3, 3), "u": (3, 3), "scale": (3,)}.items():
            weight(layer, name, shape)

    def written(turned):
        def run(layer, x):
            parts = [conv(x, layer.k), ops.tanh(x) * layer.scale if other == "scale" else ops.matmul(x, layer.u)]
            return ops.relu(parts[turned] + parts[1 - turned])

        return net((4, 3, 3), Own(make, run))

    known, turned = randomise(written(0)), written(1)
    turned.set_weights(known.get_weights())
    reference = Reference(known, rng.normal(size=(2, 4, 3, 3)).astype(np.float32))
    mixed = lrp.Composite(conv=rules.ZPlus(), dense=rules.Epsilon(0))
    (found,) = same_as(reference, turned, [mixed])
    dense = {layer.name: rules.Epsilon(0) for layer in known.layers if isinstance(layer, kl.Dense)}
    close(found, reference.relevance(lrp.Composite(conv=rules.ZPlus(), dense=rules.ZPlus(), overrides=dense)))


class TwoLayers(kl.Layer):
    def __init__(self):
        super().__init__()
        self.one, self.two = kl.Dense(1, use_bias=False), kl.Dense(1, use_bias=False)

    def call(self, x):
        return self.one(x[:, :2]) + self.two(x[:, 2:])


def test_two_layers_whose_outputs_are_added_are_two_maps():
    """Products 2 - 1 and 1 + 2: the layers get 1 and 3 of 4, the first (2, 0) / 2, the other (1, 2) / 3 of it."""
    inputs = keras.Input((4,))
    model = keras.Model(inputs, TwoLayers()(inputs))
    model.set_weights([np.array([[2.0], [-1.0]]), np.array([[1.0], [1.0]])])
    x = np.array([[1, 1, 1, 2]], np.float32)
    found = lrp.relevance(model, x, 0, lrp.Composite(dense=rules.ZPlus()))
    np.testing.assert_allclose(found, [[1, 0, 1, 2]], rtol=1e-5, atol=1e-6)


GATED = {
    "a gate before heads": (
        lambda layer, x: _gated(layer, x) + layer.b,
        lambda layer, x: ops.reshape(ops.reshape(_gated(layer, x), (-1, 2, 3)) + ops.reshape(layer.b, (2, 3)), (-1, 6)),
    ),
    "a step before a scale": (
        lambda layer, x: _halves(layer, x) * layer.scale + _step(x) * layer.scale + layer.b,
        lambda layer, x: (_halves(layer, x) + _step(x)) * layer.scale + layer.b,
    ),
    "a step within a sum before a scale": (
        lambda layer, x: _halves(layer, x) * layer.scale + _step(x) * layer.scale + layer.b,
        lambda layer, x: (
            (ops.matmul(x[:, :4], layer.w[:4]) + _step(x) + ops.matmul(x[:, 4:], layer.w[4:])) * layer.scale + layer.b
        ),
    ),
}


def _gated(layer, x):
    return ops.matmul(x[:, :4], layer.w[:4]) + ops.sigmoid(x[:, 2:]) * ops.matmul(x[:, 4:], layer.w[4:])


def _step(x):
    return ops.cast(x[:, 2:] > 0, "float32")


@pytest.mark.parametrize("form", GATED)
def test_what_each_sample_scales_or_shifts_within_a_sum_stays_where_it_is(form, rng, randomise):
    """By the epsilon rule one product by another, or all of them as one, gives the same."""

    def make(layer):
        for name, shape in {"w": (8, 6), "b": (6,), "scale": (6,)}.items():
            weight(layer, name, shape)

    known, other = (net((8,), lambda h, run=run: ops.relu(Own(make, run)(h))) for run in GATED[form])
    randomise(known)
    other.set_weights(known.get_weights())
    x = rng.normal(size=(2, 8)).astype(np.float32)
    same(known, other, x, [lrp.Composite(dense=rules.Epsilon(0), product="gate")])


@pytest.mark.parametrize("literal", [lambda x: 0.5 * x, lambda x: x / 2.0 + 0.0, kl.Rescaling(0.5)], ids=range(3))
def test_a_literal_between_leaves_what_is_folded(literal, rng, randomise):
    """Half of a convolution, and a bias and BatchNormalization behind: as of half of its kernel."""
    own_bias = Own(lambda layer: weight(layer, "bias", (4,)), lambda layer, x: x + layer.bias)
    halved = literal if isinstance(literal, kl.Layer) else kl.Lambda(literal)
    core = kl.Conv2D(4, 3, use_bias=False)
    by_hand = randomise(around(IMAGE, core, [halved, own_bias, kl.BatchNormalization()]))
    by_layers = around(IMAGE, kl.Conv2D(4, 3), [kl.BatchNormalization()])
    weights = by_hand.get_weights()  # of the first layer, the kernel, the bias
    by_layers.set_weights([*weights[:2], weights[2] / 2, *weights[3:]])
    same(by_layers, by_hand, rng.uniform(-3, 3, size=(2, *IMAGE)).astype(np.float32), [SIGNS])


def reshaped(h, *shape):
    return ops.reshape(h, (-1, *shape))


def moved(h, behind):
    """All that moves tokens and leaves channels in their order, one after the other."""
    h = reshaped(reshaped(reshaped(reshaped(h, 12), 2, 6), 6), 2, 6)
    h = ops.roll(ops.take(ops.flip(h[..., :][:, 0:2, 0:], axis=1), [1, 0], axis=1), 1, axis=1)  # turned three times
    h = ops.transpose(ops.tile(h[:, None, :, None], (1, 1, 2, 1, 1)), (0, 4, 3, 1, 2))[:, :, 0, 0, 1:3]
    return ops.transpose(behind(h, (6, 1)), (0, 2, 1))


# what a product of shape (n, 2, 6) goes through before it is ``behind``, and back
BETWEEN = [
    moved,
    lambda h, behind: reshaped(behind(reshaped(h, 2, 2, 3), (2, 3)), 2, 6),  # in heads, with scales and shifts of heads
    lambda h, behind: ops.stack([behind(token) for token in ops.unstack(h, axis=1)], axis=1),
    lambda h, behind: behind(ops.negative(-1.5 * h / 1.5), (6,), negated=True) * -1.0 / -1.0,
    lambda h, behind: behind(ops.negative(h) * -2.0 / 2.0),
    lambda h, behind: ops.take(
        behind(ops.take(h, [3, 1, 0, 5, 4, 2], -1), at=[3, 1, 0, 5, 4, 2]), [2, 1, 5, 0, 4, 3], -1
    ),
    lambda h, behind: ops.concatenate(
        [behind(h[..., :2], at=[0, 1]), ops.flip(behind(ops.flip(h[..., 2:], -1), at=[5, 4, 3, 2]), -1)], -1
    ),
    lambda h, behind: behind(ops.pad(h, ((0, 0), (1, 2), (0, 0))))[:, 1:3],
]


def test_what_moves_or_negates_a_product_leaves_what_folds_into_it(rng, randomise):
    """Bias and scale behind it are a part of it: each form, on its copy of the input, has z+ by its formula."""

    def make(layer):
        for name, shape in {"kernel": (3, 6), "bias": (6,), "scale": (6,)}.items():
            weight(layer, name, shape)

    def run(layer, x):
        def behind(h, shape=None, negated=False, at=range(6)):
            bias, scale = (ops.reshape(ops.take(w, at), shape or (-1,)) for w in (layer.bias, layer.scale))
            return (bias - ops.negative(h) if negated else h + bias) * scale

        forms = [form(ops.matmul(x[:, i], layer.kernel), behind) for i, form in enumerate(BETWEEN)]
        return ops.relu(reshaped(ops.stack(forms, axis=1), len(BETWEEN), 12))

    inputs = keras.Input((len(BETWEEN), 2, 3))
    layer, head = Own(make, run, name="own"), kl.Dense(2, use_bias=False)
    model = randomise(keras.Model(inputs, ops.sum(head(layer(inputs)), axis=1)))
    x = np.repeat(rng.normal(size=(2, 1, 2, 3)), len(BETWEEN), axis=1).astype(np.float32)
    found = lrp.relevance(model, x, 1, lrp.Composite(overrides={"own": rules.ZPlus()}))
    kernel, bias, scale = (w.astype(np.float64) for w in layer.get_weights())
    c = x[:, 0, :, :, None].astype(np.float64) * kernel * scale  # (n, tokens, 3, 6)
    z = c.sum(axis=2) + bias * scale
    share = np.maximum(c, 0) / (np.maximum(c, 0).sum(axis=2) + np.maximum(bias * scale, 0) + 1e-30)[:, :, None]
    expected = (share * (np.maximum(z, 0) * head.get_weights()[0][:, 1].reshape(2, 6))[:, :, None]).sum(axis=-1)
    for form in range(len(BETWEEN)):
        close(found[:, form], expected, 1e-4, name=f"form {form}")


# products of x with a kernel of 8 outputs, joined, shifted by a bias, and scaled, by two channels
JOINED = [
    lambda x, k, b, s: (ops.matmul(x, k) + ops.tile(b, 4)) * ops.tile(s, 4),
    lambda x, k, b, s: (
        (ops.concatenate([x @ k[:, :1], ops.concatenate([x @ k[:, 1:5], x @ k[:, 5:]], -1)], -1) + ops.tile(b, 4))
        * ops.tile(s, 4)
    ),
    lambda x, k, b, s: (ops.stack([x @ k[:, ::2], x @ k[:, 1::2]], -1) + b) * s,
    lambda x, k, b, s: (reshaped(uneven(x, k), 4, 2) + b) * s,
    lambda x, k, b, s: ops.transpose(
        (ops.transpose(ops.stack([x @ k[:, ::2], x @ k[:, 1::2]], -1), (0, 2, 1)) + b[:, None]) * s[:, None], (0, 2, 1)
    ),
    lambda x, k, b, s: ((ops.pad(uneven(x, k), ((0, 0), (2, 0))) + ops.tile(b, 5)) * ops.tile(s, 5))[:, 2:],
    lambda x, k, b, s: ops.concatenate(
        [-(ops.tile(-b, 2) - h) * ops.tile(s, 2) for h in ops.split(uneven(x, k), 2, -1)], -1
    ),
    lambda x, k, b, s: (reshaped(ops.stack([uneven(x, k)[:, :4], x @ k[:, 4:]], 1)[:, :, None], 4, 2) + b) * s,
    lambda x, k, b, s: (tf.nn.depth_to_space(reshaped(x @ k, 1, 1, 8), 2) + b) * s,
    lambda x, k, b, s: (tf.nn.depth_to_space(reshaped(uneven(x, k), 1, 1, 8), 2) + b) * s,
    lambda x, k, b, s: ops.swapaxes((ops.swapaxes(reshaped(x @ k, 2, 2, 2), 1, 2) + b) * s, 1, 2),
]


def uneven(x, k):
    return ops.concatenate([x @ k[:, :3], x @ k[:, 3:]], -1)


def test_what_follows_products_that_were_joined_folds_into_each(rng, randomise):
    """Also where they were moved then, or channels went to places: each form, on its copy, has z+ by its formula."""

    def make(layer):
        for name, shape in {"kernel": (3, 8), "bias": (2,), "scale": (2,)}.items():
            weight(layer, name, shape)

    def run(layer, x):
        weights = [ops.convert_to_tensor(w) for w in (layer.kernel, layer.bias, layer.scale)]
        return ops.relu(ops.stack([reshaped(form(x[:, i], *weights), 8) for i, form in enumerate(JOINED)], axis=1))

    inputs = keras.Input((len(JOINED), 3))
    layer, head = Own(make, run, name="own"), kl.Dense(2, use_bias=False)
    model = randomise(keras.Model(inputs, ops.sum(head(layer(inputs)), axis=1)))
    x = np.repeat(4.0 * rng.normal(size=(6, 1, 3)), len(JOINED), axis=1).astype(np.float32)
    found = lrp.relevance(model, x, 1, lrp.Composite(overrides={"own": rules.ZPlus()}))
    kernel, bias, scale = (w.astype(np.float64) for w in layer.get_weights())
    c = x[:, 0, :, None].astype(np.float64) * kernel * np.tile(scale, 4)  # (n, 3, 8)
    shift = np.tile(bias * scale, 4)
    total = np.maximum(c, 0).sum(axis=1) + np.maximum(shift, 0) + 1e-30
    given = np.maximum(c.sum(axis=1) + shift, 0) * head.get_weights()[0][:, 1] / total
    expected = (np.maximum(c, 0) * given[:, None]).sum(axis=-1)
    for form in range(len(JOINED)):
        close(found[:, form], expected, 1e-4, name=f"form {form}")


@pytest.mark.parametrize("moved", [False, True])
def test_relevance_of_layers_whose_outputs_were_joined_before_their_normalisation(moved, rng, randomise):
    """Relevance is that of the channels behind it; where no channel of one is let through, the other keeps its own."""
    inputs = keras.Input((4,))
    parts = [kl.Dense(width, name=f"part_{width}")(inputs) for width in (2, 3)]
    together = ops.concatenate([*parts, -parts[0]], axis=-1)
    norm = kl.BatchNormalization(axis=1, name="norm")
    normed = kl.Flatten()(norm(together[:, :, None])) if moved else norm(together)
    model = randomise(keras.Model(inputs, kl.Dense(2, name="head")(normed)))
    x = 3 * rng.normal(size=(20, 4)).astype(np.float32)
    explainer = lrp.Explainer(model, lrp.Composite(dense=rules.ZPlus()))
    read = explainer.inspect(x, 1)
    channels = read["norm"].channels
    assert channels.any(axis=0).all()
    close(read["part_2"].channels, channels[:, :2] + channels[:, 5:], 1e-6)  # float32 is summed
    np.testing.assert_array_equal(read["part_3"].channels, channels[:, 2:5])
    kept, none = explainer.conditional(x, [{"part_2": (0, 1)}, {"part_2": ()}], 1)
    close(kept, read.explanation.relevance, 1e-6)
    gamma, beta, mean, variance = (w[2:5].astype(np.float64) for w in model.get_layer("norm").get_weights())
    kernel, bias = (w.astype(np.float64) for w in model.get_layer("part_3").get_weights())
    factor = gamma / np.sqrt(variance + 1e-3)
    c = x[..., None] * kernel * factor
    total = np.maximum(c, 0).sum(axis=1) + np.maximum((bias - mean) * factor + beta, 0)
    close(none, (np.maximum(c, 0) * (channels[:, 2:5] / (total + 1e-30))[:, None]).sum(axis=-1), 1e-4)


@sweep("kind composite", ["dense", "conv"], TWO, kept=in_turn)
def test_a_scale_and_shift_of_channels_is_folded(kind, composite, rng, randomise):
    """LayerScale, an affine map of one's own, weights divided by their norm: one weighted map in the end."""
    shape = VECTOR if kind == "dense" else IMAGE
    core = (lambda: kl.Dense(4)) if kind == "dense" else (lambda: kl.Conv2D(4, 3))

    def make(layer):
        weight(layer, "gamma", (4,))
        weight(layer, "beta", (4,))

    scaled = Own(make, lambda layer, x: x * layer.gamma + layer.beta)
    by_hand = randomise(around(shape, core(), [scaled]))
    kernel, bias = by_hand.layers[1].get_weights()
    gamma, beta = scaled.get_weights()
    by_layers = around(shape, core())
    for name in ("before", "head"):
        by_layers.get_layer(name).set_weights(by_hand.get_layer(name).get_weights())
    by_layers.layers[1].set_weights([kernel * gamma, bias * gamma + beta])
    same(by_layers, by_hand, rng.uniform(-3, 3, size=(2, *shape)).astype(np.float32), [composite])


@pytest.mark.parametrize("composite", ["epsilon", lrp.Composite(dense=rules.AlphaBeta(2, 1))], ids=name_of)
def test_kernels_that_are_computed_from_weights(composite, rng, randomise):
    """Weight normalisation and weight standardisation: the kernel is what they make of it, and no gate."""

    def normalised(layer, x):
        v = layer.kernel
        return x @ (layer.gain * v / ops.sqrt(ops.sum(ops.square(v), axis=0))) + layer.bias

    def standardised(layer, x):
        mean, variance = ops.moments(layer.kernel, axes=(0,), keepdims=True)
        return x @ ((layer.kernel - mean) / ops.sqrt(variance + 1e-5) * layer.gain) + layer.bias

    def make(layer):
        weight(layer, "kernel", (5, 4))
        weight(layer, "gain", (4,))
        weight(layer, "bias", (4,))

    for run in (normalised, standardised):
        layer = Own(make, run)
        by_hand = randomise(around(VECTOR, layer))
        v, gain, bias = layer.get_weights()
        kernel = gain * v / np.sqrt((v**2).sum(axis=0))
        if run is standardised:
            kernel = (v - v.mean(axis=0)) / np.sqrt(v.var(axis=0) + 1e-5) * gain
        by_layers = around(VECTOR, kl.Dense(4))
        for name in ("before", "head"):
            by_layers.get_layer(name).set_weights(by_hand.get_layer(name).get_weights())
        by_layers.layers[1].set_weights([kernel, bias])
        same(by_layers, by_hand, rng.uniform(-3, 3, size=(8, *VECTOR)).astype(np.float32), [composite])


@pytest.mark.parametrize("composites", [TWO, pytest.param(EVERY, marks=pytest.mark.slow)], ids=["two", "every"])
def test_in_the_call_of_a_model_of_ones_own(composites, rng, randomise):
    """All weights by hand in a subclassed model, the input rule on the first of them."""

    class Net(keras.Model):
        def build(self, shape):
            self.w, self.b = self.add_weight(shape=(5, 4), name="w"), self.add_weight(shape=(4,), name="b")
            self.v, self.c = self.add_weight(shape=(4, 2), name="v"), self.add_weight(shape=(2,), name="c")
            self.built = True

        def call(self, x):
            return ops.softmax(ops.relu(x @ self.w + self.b) @ self.v + self.c)

    by_layers = randomise(
        keras.Sequential([keras.Input(VECTOR), kl.Dense(4, activation="relu"), kl.Dense(2, activation="softmax")])
    )
    by_hand = Net()
    by_hand.build((None, *VECTOR))
    by_hand.set_weights(by_layers.get_weights())
    x = rng.uniform(-3, 3, size=(3, *VECTOR)).astype(np.float32)
    same(by_layers, by_hand, x, composites)
    explainer = lrp.Explainer(by_hand, "epsilon")
    explainer(x)
    assert explainer.activation == "softmax"


# --- products with constants: linear maps, through which relevance passes by what arrives ---

ADJACENCY = np.random.default_rng(3).uniform(-1, 1, size=(4, 4)).astype(np.float32)
ANGLES = 2 * np.pi * np.outer(np.arange(4), np.arange(4)) / 4
FIXED = np.array([[[0.5]], [[0.25]]], np.float32) * np.eye(3, dtype=np.float32)
SUMS = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]], np.float32)
# name -> (function of (n, 4, 3), its matrix over the 4)
CONSTANTS = {
    "adjacency": (lambda x: ops.matmul(ADJACENCY, x), ADJACENCY),
    "adjacency by einsum": (lambda x: ops.einsum("ij,bjc->bic", ADJACENCY, x), ADJACENCY),
    "adjacency behind": (
        lambda x: ops.transpose(ops.matmul(ops.transpose(x, (0, 2, 1)), ADJACENCY.T), (0, 2, 1)), ADJACENCY,
    ),
    "adjacency by tf.linalg": (lambda x: tf.linalg.matmul(tf.constant(ADJACENCY), x), ADJACENCY),
    "adjacency normalised": (
        lambda x: ops.matmul(ADJACENCY / ops.sum(ops.abs(ops.convert_to_tensor(ADJACENCY)), axis=-1, keepdims=True), x),
        ADJACENCY / np.abs(ADJACENCY).sum(axis=-1, keepdims=True),
    ),
    "real part of FFT": (
        lambda x: ops.transpose(ops.rfft(ops.transpose(x, (0, 2, 1)), fft_length=4)[0], (0, 2, 1)),
        np.cos(ANGLES)[:3],
    ),
    "imaginary part of FFT": (
        lambda x: ops.transpose(ops.fft((ops.transpose(x, (0, 2, 1)), ops.transpose(0 * x, (0, 2, 1))))[1], (0, 2, 1)),
        -np.sin(ANGLES),
    ),
    "sum by einsum": (lambda x: ops.einsum("btc->bc", x)[:, None], np.ones((1, 4))),
    "running sum": (lambda x: ops.cumsum(x, axis=1), SUMS),
    "convolution with a fixed kernel": (
        lambda x: ops.conv(ops.pad(x, ((0, 0), (1, 0), (0, 0))), FIXED),
        0.5 * np.eye(4, k=-1) + 0.25 * np.eye(4),
    ),
    "constant scale of each step": (lambda x: x * np.float32([[1], [-2], [3], [0.5]]), np.diag([1, -2, 3, 0.5])),
}  # fmt: skip


@pytest.mark.parametrize("rule", [rules.Epsilon(0), rules.ZPlus()], ids=["lrp-0", "z+"])
def test_products_with_constants_are_linear_maps(rule, rng, randomise):
    """R_i = sum_j x_i a_ij G_j, G = R / value, whatever the rules of the weighted layers around are.

    All functions stand in one network, side by side, with an output each.
    """
    inputs = keras.Input(STEPS)
    h = kl.Dense(3, use_bias=False, name="one")(inputs)
    made = [
        kl.Lambda(function)(h) if name.startswith(("adjacency by tf", "imaginary", "real")) else function(h)
        for name, (function, _) in CONSTANTS.items()
    ]
    heads = [kl.Dense(1, use_bias=False, name=f"head_{index}") for index in range(len(CONSTANTS))]
    outputs = [head(kl.Flatten()(part)) for head, part in zip(heads, made, strict=True)]
    model = randomise(keras.Model(inputs, kl.Concatenate()(outputs)))
    x = rng.normal(size=(2, *STEPS)).astype(np.float32)
    composite = lrp.Composite(dense=rules.Epsilon(0), overrides={"one": rule})
    targets = np.repeat(np.arange(len(CONSTANTS)), len(x))
    every = lrp.relevance(model, np.tile(x, (len(CONSTANTS), 1, 1)), targets, composite)
    one = model.get_layer("one").get_weights()[0].astype(np.float64)
    z = x @ one
    for (name, (_, matrix)), head, found in zip(CONSTANTS.items(), heads, np.split(every, len(CONSTANTS)), strict=True):
        w = head.get_weights()[0].astype(np.float64).reshape(len(matrix), 3)
        g = np.einsum("ji,jc->ic", matrix, w)  # R / value in front of the constant
        if isinstance(rule, rules.ZPlus):
            parts = np.maximum(x[..., None] * one, 0)
            total = parts.sum(axis=-2)
            factor = np.divide(z * g, total, out=np.zeros_like(total), where=total > 0)
            expected = (parts * factor[:, :, None, :]).sum(axis=-1)
        else:
            expected = x * (g @ one.T)
        close(found, expected, 1e-4, name=name)


@pytest.mark.parametrize("rule", [rules.Flat(), rules.ZBox(-3, 3), rules.Epsilon(0)], ids=["flat", "zB", "lrp-0"])
def test_patches_are_movement(rule, rng, randomise):
    """Patches taken by a fixed convolution and a dense layer: a convolution whose stride is its kernel's size."""
    inputs = keras.Input((4, 6, 2))

    def model(front):
        return keras.Model(inputs, kl.Dense(2, name="head")(kl.Flatten()(kl.ReLU()(front(inputs)))))

    by_layers = randomise(model(kl.Conv2D(3, 2, strides=2, name="first")))
    patches = model(lambda x: kl.Dense(3, name="first")(ops.image.extract_patches(x, 2)))
    moves = model(
        lambda x: kl.Dense(3, name="first")(
            ops.reshape(ops.transpose(ops.reshape(x, (-1, 2, 2, 3, 2, 2)), (0, 1, 3, 2, 4, 5)), (-1, 2, 3, 8))
        )
    )
    kernel, bias = by_layers.get_layer("first").get_weights()
    known = Reference(by_layers, rng.uniform(-3, 3, size=(2, 4, 6, 2)).astype(np.float32))
    composite = lrp.Composite(conv=rules.Epsilon(0), dense=rules.Epsilon(0), first=rule)
    for by_hand in (patches, moves):
        by_hand.get_layer("first").set_weights([kernel.reshape(8, 3), bias])
        by_hand.get_layer("head").set_weights(by_layers.get_layer("head").get_weights())
        same_as(known, by_hand, [composite])


def test_a_box_behind_which_the_output_is_moved_for_so_many_samples(rng, randomise):
    """A first map whose output is reshaped with the number of samples as it is, and then gets its bias."""
    inputs = keras.Input((4, 6, 2))

    def model(front):
        return keras.Model(inputs, kl.Dense(2, name="head")(kl.Flatten()(kl.ReLU()(front(inputs)))))

    by_layers = randomise(model(kl.Conv2D(6, 2, name="first")))

    def run(layer, x):
        y = ops.conv(x, layer.kernel)
        n, height, width, _ = ops.shape(y)
        return ops.reshape(y, (n, height, width, 3, 2)) + layer.offset

    def make(layer):
        weight(layer, "kernel", (2, 2, 2, 6))
        weight(layer, "offset", (3, 2))

    by_hand = model(Own(make, run, name="first"))
    kernel, bias = by_layers.get_layer("first").get_weights()
    by_hand.get_layer("first").set_weights([kernel, bias.reshape(3, 2)])
    by_hand.get_layer("head").set_weights(by_layers.get_layer("head").get_weights())
    known = Reference(by_layers, rng.uniform(-3, 3, size=(2, 4, 6, 2)).astype(np.float32))
    same_as(known, by_hand, [lrp.Composite(first=rules.ZBox(-3, 3))])


def test_functions_of_complex_numbers(rng, randomise):
    """Of i x they are functions of x: exp gives the cosine, the square is -x^2, the size of the root that of |x|."""

    def net(function):
        inputs = keras.Input((4,))
        return keras.Model(inputs, kl.Dense(2)(kl.Lambda(function)(kl.Dense(6)(inputs))))

    def parts(x):
        i = tf.complex(0 * x, x)
        return tf.concat([tf.math.real(tf.exp(i)), tf.math.real(tf.square(i)), tf.abs(tf.sqrt(i))], axis=1)

    model = randomise(net(parts))
    real = net(lambda x: tf.concat([tf.cos(x), -tf.square(x), tf.sqrt(tf.abs(x))], axis=1))
    real.set_weights(model.get_weights())
    same(model, real, rng.normal(size=(3, 4)).astype(np.float32), ["lrp_zero", "epsilon_plus"])


def test_complex_weights(rng, randomise):
    """A layer of frequencies (Fourier neural operator): as four real products; a rule of signs is refused."""

    def parts(layer):
        weight(layer, "real", (3, 2, 2))
        weight(layer, "imaginary", (3, 2, 2))

    def product(x, kernel):
        return tf.einsum("bmc,mcd->bmd", x, kernel)

    def run(layer, x):
        frequencies = tf.signal.fft(tf.cast(tf.transpose(x, (0, 2, 1)), tf.complex64))
        f = tf.transpose(frequencies, (0, 2, 1))[:, :3]
        r, i = tf.convert_to_tensor(layer.real), tf.convert_to_tensor(layer.imaginary)
        a, b = tf.math.real(f), tf.math.imag(f)
        at_once = product(f, tf.complex(r, i))
        apart = tf.complex(product(a, r) - product(b, i), product(a, i) + product(b, r))
        made = [layer.head(ops.reshape(tf.math.real(y), (-1, 6))) for y in (at_once, apart)]
        return tf.concat(made, axis=-1)

    layer = Own(lambda layer: (parts(layer), setattr(layer, "head", kl.Dense(1))), run, name="frequencies")
    inputs = keras.Input((4, 2))
    model = randomise(keras.Model(inputs, layer(kl.Dense(2, activation="gelu")(inputs))))
    x = np.repeat(rng.normal(size=(1, 4, 2)).astype(np.float32), 2, axis=0)
    found = lrp.relevance(model, x, [0, 1], "lrp_zero")
    close(found[0], found[1], 1e-5)
    with pytest.raises(lrp.UnsupportedModelError, match=r"frequencies.*signs of contributions.*Epsilon\(\)"):
        lrp.relevance(model, x, [0, 1], lrp.Composite(overrides={"frequencies": rules.ZPlus()}))


# Of x, what signs make of it (a constant to relevance, never negative, of each sample), and weights w, u, b, g.
OF_EACH_SAMPLE = {
    "gated, then a bias": lambda x, m, w, u, b, g: x @ w * m + b,
    "gated, then subtracted": lambda x, m, w, u, b, g: b - x @ w * m,
    "gated, then a ReLU": lambda x, m, w, u, b, g: ops.relu(x @ w * m),
    "gated, then a scale": lambda x, m, w, u, b, g: x @ w * m * g,
    "gated, then a shift": lambda x, m, w, u, b, g: x @ w * m + m,
    "gated, biased, in a sum": lambda x, m, w, u, b, g: (x @ w * m + b) + x @ u,
    "shifted, then a scale": lambda x, m, w, u, b, g: (x @ w + m) * g,
    "a sum, subtracted": lambda x, m, w, u, b, g: b - (x @ w + x @ u),
    "a sum, scaled": lambda x, m, w, u, b, g: (x @ w + x @ u) * ops.sum(g),
}


def test_nothing_folds_into_a_product_across_what_differs_by_sample(rng, randomise):
    def form(run):
        def make(layer):
            for name, shape in (("w", (5, 4)), ("u", (5, 4)), ("b", (4,)), ("g", (4,))):
                weight(layer, name, shape)

        def call(layer, x):
            return run(x, ops.relu(ops.sign(x[:, :4])), layer.w, layer.u, layer.b, layer.g)

        return Own(make, call)

    inputs = keras.Input(VECTOR)
    made = [kl.Dense(1, name=f"of_{i}")(form(run)(inputs)) for i, run in enumerate(OF_EACH_SAMPLE.values())]
    model = randomise(keras.Model(inputs, kl.Concatenate()(made)))
    x = tf.constant(np.tile(rng.normal(size=(2, *VECTOR)).astype(np.float32), (len(made), 1)))
    target = np.repeat(np.arange(len(made)), 2)
    with tf.GradientTape() as tape:
        tape.watch(x)
        logits = tf.gather(model(x), target, batch_dims=1)
    found = lrp.Explainer(model, "lrp_zero").explain(x.numpy(), target)
    expected = (x * tape.gradient(logits, x)).numpy()
    for i, name in enumerate(OF_EACH_SAMPLE):
        own = target == i
        np.testing.assert_allclose(found.logit[own], logits[own], rtol=1e-5, atol=1e-5, err_msg=name)
        np.testing.assert_allclose(found.relevance[own], expected[own], atol=1e-5, err_msg=name)
