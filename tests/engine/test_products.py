"""Products of activations: what each factor gets, worked out from the tensors; other layers that join branches."""

import functools

import engine_helpers
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as kl
from keras import ops

import lrp_monitor as lrp
from lrp_monitor import rules

ZERO = rules.Epsilon(0)


close = functools.partial(engine_helpers.close, tolerance=1e-4)


def branches(join, activation=None, units=(4, 4), head_units=2):
    inputs = keras.Input((5,))
    a = kl.Dense(units[0], use_bias=False, name="a")(inputs)
    b = kl.Dense(units[1], use_bias=False, activation=activation, name="b")(inputs)
    joined = join([a, b])
    return keras.Model(inputs, kl.Dense(head_units, use_bias=False, name="head")(joined))


def weights(model):
    return [np.asarray(model.get_layer(name).kernel, np.float64) for name in ("a", "b", "head")]


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def sigmoid_of_copies(z):
    """A sigmoid by hand of which every part is a copy: checked, of a known shape, under a name of its own."""
    power = tf.debugging.check_numerics(tf.ensure_shape(tf.exp(tf.identity(-z)), z.shape), "finite")
    return tf.identity(1.0 / tf.identity(1.0 + power))


def sigmoid_there_and_back(z):
    """A sigmoid by hand of which a part is moved, and moved back."""
    power = ops.transpose(ops.reshape(ops.exp(-z), (-1, 2, z.shape[1] // 2)), (0, 2, 1))
    return 1.0 / (1.0 + ops.reshape(ops.transpose(power, (0, 2, 1)), (-1, z.shape[1])))


GATED = {
    "layer": lambda a, b: a * kl.Activation("sigmoid")(b),
    "over": lambda a, b: a * (1.0 / (1.0 + ops.exp(-b))),
    "reciprocal": lambda a, b: a * ops.reciprocal(ops.exp(-b) + 1.0),
    "share": lambda a, b: a * (ops.exp(b) / (1.0 + ops.exp(b))),
    "times -1": lambda a, b: a * (1.0 / (1.0 + ops.exp(b * -1.0))),
    "divided": lambda a, b: a / (1.0 + ops.exp(-b)),
    "power": lambda a, b: a * (1.0 + ops.exp(-b)) ** -1.0,
    "by its logarithm": lambda a, b: a * ops.exp(ops.log_sigmoid(b)),
    "by a logarithm by hand": lambda a, b: ops.exp(-ops.log(1 + ops.exp(-b))) * a,
    "one less": lambda a, b: a * (1 - ops.exp(-ops.softplus(b))),
    "tanh": lambda a, b: a * (0.5 * (1.0 + ops.tanh(b / 2))),
    "scaled tanh": lambda a, b: (0.5 - 0.5 * ops.tanh(b * -0.5)) * a,
    "pooled": lambda a, b: a * ops.average_pool(ops.sigmoid(b)[..., None], 1)[..., 0],  # over windows of one value
    "copied": lambda a, b: a * kl.Lambda(sigmoid_of_copies)(b),
    "there and back": lambda a, b: a * kl.Lambda(sigmoid_there_and_back)(b),
    "dropped": lambda a, b: a * (1.0 / (1.0 + kl.Dropout(0.5)(ops.exp(-b)))),
    "moved": lambda a, b: a * (1.0 / (1.0 + ops.exp(-b)[:, None]))[:, 0],
    "moved within": lambda a, b: a * (1.0 / (1.0 + ops.exp(-b)[:, None][:, 0])),
}


@pytest.mark.parametrize(
    ("product", "gate"),
    [*(("half", name) for name in ("layer", "divided", "there and back")), *(("gate", name) for name in GATED)],
)
def test_a_gate(product, gate, rng, randomise):
    """y = a s(b): half: R_a = R_b = R / 2, and s passes R_b on to its pre-activation; gate: R_a = R, R_b = 0."""
    model = randomise(branches(lambda parts: GATED[gate](*parts)))
    x = rng.normal(size=(4, 5)).astype(np.float32)
    explanation = lrp.Explainer(model, lrp.Composite(conv=ZERO, dense=ZERO, product=product)).explain(x, 1)
    wa, wb, head = weights(model)
    a, b = x @ wa, x @ wb
    relevance = a * sigmoid(b) * head[:, 1]
    to_a, to_b = (0.5, 0.5) if product == "half" else (1.0, 0.0)
    close(explanation.relevance, x * ((to_a * relevance / a) @ wa.T + (to_b * relevance / b) @ wb.T))
    np.testing.assert_allclose(explanation.conservation, 1, atol=1e-4)


@pytest.mark.parametrize("constant", [False, True])
def test_where_no_factor_is_the_gate(constant, rng, randomise):
    """Of two gates each gets half, s(a) s(b): R_a = R_b = R / 2; beside a constant all goes to what is none."""

    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.a, self.b = (kl.Dense(4, use_bias=False, activation="sigmoid") for _ in range(2))
            self.multiply, self.head = kl.Multiply(), kl.Dense(2, use_bias=False)

        def call(self, x):
            return self.head(self.multiply([self.a(x), 0.5 * ops.ones((x.shape[0], 4)) if constant else self.b(x)]))

    model, x = Net(), rng.normal(size=(3, 5)).astype(np.float32)
    model(x)
    wa, *wb, head = (value.astype(np.float64) for value in randomise(model).get_weights())
    found = lrp.relevance(model, x, 1, lrp.Composite(dense=ZERO, product="gate"))
    a = x @ wa
    if constant:
        close(found, x * ((sigmoid(a) / 2 * head[:, 1] / a) @ wa.T))
        return
    b = x @ wb[0]
    relevance = sigmoid(a) * sigmoid(b) * head[:, 1]
    close(found, x * ((relevance / 2 / a) @ wa.T + (relevance / 2 / b) @ wb[0].T))


@pytest.mark.parametrize("product", ["half", "gate"])
def test_squeeze_and_excite(product, rng, randomise):
    """The gate is known by its shape where it is spread over the other factor, whatever makes it."""
    inputs = keras.Input((3, 3, 2))
    a = kl.Conv2D(4, 1, use_bias=False, name="a")(inputs)
    gate = kl.Dense(4, use_bias=False, activation="hard_sigmoid", name="b")(kl.GlobalAveragePooling2D(keepdims=True)(a))
    scaled = kl.Multiply()([gate, a])
    model = randomise(keras.Model(inputs, kl.Dense(2, use_bias=False, name="head")(kl.Flatten()(scaled))))
    x = rng.normal(size=(2, 3, 3, 2)).astype(np.float32)
    found = lrp.relevance(model, x, 0, lrp.Composite(conv=ZERO, dense=ZERO, product=product))
    wa, wb, head = weights(model)
    a = x @ wa[0, 0]
    pooled = a.mean(axis=(1, 2), keepdims=True)
    b = pooled @ wb
    relevance = a * np.clip(b / 6 + 0.5, 0, 1) * head[:, 0].reshape(3, 3, 4)
    to_a = (0.5 if product == "half" else 1.0) * relevance / a
    if product == "half":
        at_gate = 0.5 * relevance.sum(axis=(1, 2), keepdims=True)
        to_a = to_a + (at_gate / b) @ wb.T / 9
    close(found, x * (to_a @ wa[0, 0].T))


HARD = {
    "activation": kl.Activation("hard_sigmoid"),
    "ReLU6 of a shift": lambda z: kl.ReLU(6.0)(z + 3.0) * (1 / 6),
    "clipped": lambda z: ops.clip(z / 6 + 0.5, 0, 1),
    "minimum of a maximum": lambda z: ops.minimum(ops.maximum(z + 3.0, 0.0), 6.0) / 6.0,
}


@pytest.mark.parametrize("form", HARD)
def test_a_hard_sigmoid_is_a_gate(form, rng, randomise):
    inputs = keras.Input((5,))
    a, b = (kl.Dense(4, use_bias=False, name=name)(inputs) for name in "ab")
    model = randomise(keras.Model(inputs, kl.Dense(2, use_bias=False, name="head")(a * HARD[form](b))))
    x = rng.normal(size=(3, 5)).astype(np.float32)
    wa, wb, head = weights(model)
    to_a = np.clip(x @ wb / 6 + 0.5, 0, 1) * head[:, 1]
    close(lrp.relevance(model, x, 1, lrp.Composite(dense=ZERO, product="gate")), x * (to_a @ wa.T))


def test_three_factors_share_in_thirds(rng, randomise):
    inputs = keras.Input((5,))
    names = ("a", "b", "c")
    parts = [kl.Dense(4, use_bias=False, name=name)(inputs) for name in names]
    model = randomise(keras.Model(inputs, kl.Dense(1, use_bias=False, name="head")(kl.Multiply()(parts))))
    x = rng.normal(size=(3, 5)).astype(np.float32)
    ws = [np.asarray(model.get_layer(name).kernel, np.float64) for name in (*names, "head")]
    relevance = (x @ ws[0]) * (x @ ws[1]) * (x @ ws[2]) * ws[3][:, 0]
    close(lrp.relevance(model, x, 0, "lrp_zero"), x * sum((relevance / 3 / (x @ w)) @ w.T for w in ws[:3]))


@pytest.mark.parametrize(
    "composite", ["attn_lrp", lrp.Composite(product="half", attention="cp_lrp")], ids=["factors", "attended"]
)
def test_what_is_joined_shares_in_either_order(composite, rng, randomise):
    """Of (a b, c) and of what attention gave beside a signal, times d: no part of it has the other's share."""

    def build(turned):
        inputs = keras.Input((5, 4))
        a, b, c, d, gate = (kl.Dense(3, name=name)(inputs) for name in ("a", "b", "c", "d", "gate"))
        first = a * b if composite == "attn_lrp" else kl.Attention()([a, b])
        d, gate = (d, gate) if composite == "attn_lrp" else map(kl.Activation("sigmoid"), (d, gate))
        parts = [(first, d), (c, gate)][:: -1 if turned else 1]
        values, factors = (kl.Concatenate()(list(one)) for one in zip(*parts, strict=True))
        heads = (kl.Dense(2, use_bias=False, name=name) for name in ("one", "two"))
        y = values * factors
        halves = (y[..., :3], y[..., 3:])[:: -1 if turned else 1]
        return keras.Model(inputs, kl.Flatten()(sum(head(half) for head, half in zip(heads, halves, strict=True))))

    model, other = randomise(build(False)), build(True)
    for layer in model.layers:
        if layer.get_weights():
            other.get_layer(layer.name).set_weights(layer.get_weights())
    x = rng.normal(size=(3, 5, 4)).astype(np.float32)
    close(lrp.relevance(model, x, 0, composite), lrp.relevance(other, x, 0, composite))


@pytest.mark.parametrize("product", ["half", "gate"])
def test_masked_steps_of_a_product(product, rng, randomise):
    """Keras puts ones in for a masked factor: they keep the half that would have been its own."""
    ids = [keras.Input((4,), dtype="int32", name=name) for name in ("one", "two")]
    vectors = [kl.Embedding(6, 3, mask_zero=True)(one) for one in ids]
    model = randomise(keras.Model(ids, kl.Dense(2, use_bias=False)(kl.Flatten()(kl.Multiply()(vectors)))))
    one, two = rng.integers(1, 6, size=(2, 2, 4))
    one[0, 1] = two[0, 3] = one[1, 2] = two[1, 2] = 0
    composite = lrp.Composite(dense=ZERO, product=product)
    explanation = lrp.Explainer(model, composite).explain([one, two], 1)
    close(explanation.logits, np.asarray(model([one, two])))
    a, b, head = (value.astype(np.float64) for value in model.get_weights())
    a, b = (np.where(i[..., None] > 0, table[i], 1.0) for i, table in ((one, a), (two, b)))
    of_both = (a * b * head[:, 1].reshape(4, 3)).sum(axis=-1)
    for found, i in zip(explanation.relevance, (one, two), strict=True):
        close(found, np.where(i > 0, of_both / 2, 0.0))


@pytest.mark.parametrize("normalize", [False, True])
def test_dot(normalize, rng, randomise):
    """y = <a, b>, a cosine with constant lengths where normalised: R_a = a_i b_i / 2 of each product."""
    model = randomise(branches(kl.Dot(axes=1, normalize=normalize), units=(4, 4)))
    x = rng.normal(size=(4, 5)).astype(np.float32)
    wa, wb, head = weights(model)
    a, b = x @ wa, x @ wb
    scale = 1 / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))[:, None] if normalize else 1.0
    relevance = a * b * scale * head[0, 1]
    close(lrp.relevance(model, x, 1, "lrp_zero"), x * (relevance / 2 / a @ wa.T + relevance / 2 / b @ wb.T))


@pytest.mark.parametrize(
    ("join", "share"),
    [
        (kl.Maximum, lambda a, b: (a >= b, a < b)),
        (kl.Minimum, lambda a, b: (a <= b, a > b)),
        (kl.Subtract, lambda a, b: (np.ones_like(a), -np.ones_like(b))),
        (kl.Average, lambda a, b: (np.full_like(a, 0.5), np.full_like(b, 0.5))),
    ],
)
def test_layers_that_join_branches(join, share, rng, randomise):
    """R_a = a ga / y R and R_b = b gb / y R, where y = ga a + gb b: the winner's, the difference's or the mean's."""
    model = randomise(branches(join()))
    x = rng.normal(size=(4, 5)).astype(np.float32)
    explanation = lrp.Explainer(model, "lrp_zero").explain(x, 1)
    wa, wb, head = weights(model)
    ga, gb = share(x @ wa, x @ wb)
    close(explanation.relevance, x * ((ga * head[:, 1]) @ wa.T + (gb * head[:, 1]) @ wb.T))
    np.testing.assert_allclose(explanation.conservation, 1, atol=1e-4)


def test_adaptive_pooling(rng, randomise):
    """5 values into 2 windows: (0, 1, 2) and (2, 3, 4)."""
    x = rng.normal(size=(2, 5, 1)).astype(np.float32)
    for layer, expected in (
        (kl.AdaptiveAveragePooling1D(2), lambda v, w: v * np.array([w[0], w[0], w[0] + w[1], w[1], w[1]]) / 3),
        (kl.AdaptiveMaxPooling1D(2), lambda v, w: np.bincount(
            [v[:3].argmax(), 2 + v[2:].argmax()], [v[:3].max() * w[0], v[2:].max() * w[1]], 5)),
    ):  # fmt: skip
        model = randomise(keras.Sequential([keras.Input((5, 1)), layer, kl.Flatten(), kl.Dense(1, use_bias=False)]))
        w = model.get_weights()[0][:, 0].astype(np.float64)
        for sample, found in zip(x, lrp.relevance(model, x, 0, "lrp_zero"), strict=True):
            close(found[:, 0], expected(sample[:, 0].astype(np.float64), w))


def windows(size, count):
    """Windows of adaptive pooling along one axis: from floor(i size / count) to ceil((i + 1) size / count)."""
    return [slice(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]


ADAPTIVE = {
    "average 2d": (kl.AdaptiveAveragePooling2D, (5, 4), (2, 3)),
    "maximum 2d": (kl.AdaptiveMaxPooling2D, (5, 4), (2, 3)),
    "average 3d": (kl.AdaptiveAveragePooling3D, (4, 3, 5), (3, 2, 2)),
    "maximum 3d": (kl.AdaptiveMaxPooling3D, (4, 3, 5), (3, 2, 2)),
}


@pytest.mark.parametrize("name", ADAPTIVE)
def test_adaptive_pooling_over_planes_and_volumes(name, rng, randomise):
    """Windows overlap: an average gives each value v w / n of each of its windows, a maximum all to its winner."""
    pooling, sizes, counts = ADAPTIVE[name]
    layers = [keras.Input((*sizes, 2)), pooling(counts), kl.Flatten(), kl.Dense(1, use_bias=False)]
    model = randomise(keras.Sequential(layers))
    x = rng.normal(size=(2, *sizes, 2)).astype(np.float32)
    head = model.get_weights()[0].astype(np.float64).reshape(*counts, 2)
    explanation = lrp.Explainer(model, "lrp_zero").explain(x, 0)
    close(explanation.logits, np.asarray(model(x)))
    for sample, found in zip(x.astype(np.float64), explanation.relevance, strict=True):
        expected = np.zeros_like(sample)
        for place in np.ndindex(*counts):
            window = tuple(windows(size, count)[i] for size, count, i in zip(sizes, counts, place, strict=True))
            for channel in range(2):
                inside, part = sample[(*window, channel)], np.zeros_like(sample[(*window, channel)])
                if name.startswith("average"):
                    part = inside / inside.size
                else:
                    part[np.unravel_index(inside.argmax(), inside.shape)] = inside.max()
                expected[(*window, channel)] += part * head[(*place, channel)]
        close(found, expected)


def test_a_constant_added_by_hand_absorbs_its_share_as_a_bias_does(rng, randomise):
    def net(by_hand):
        inputs = keras.Input((5,))
        h = kl.Dense(4, use_bias=not by_hand, name="a")(inputs)
        if by_hand:
            h = h + np.array([0.3, -0.2, 0.5, 3.0], np.float32)
        return keras.Model(inputs, kl.Dense(2, name="head")(kl.ReLU()(h)))

    layer, by_hand = randomise(net(False)), net(True)
    layer.get_layer("a").bias.assign([0.3, -0.2, 0.5, 3.0])
    by_hand.get_layer("a").kernel.assign(layer.get_layer("a").kernel)
    by_hand.get_layer("head").set_weights(layer.get_layer("head").get_weights())
    x = rng.normal(size=(4, 5)).astype(np.float32)
    for composite in ("lrp_zero", "epsilon"):
        close(lrp.relevance(by_hand, x, 1, composite), lrp.relevance(layer, x, 1, composite))


def test_subtracting_from_a_constant(rng, randomise):
    """y = 1 - h: R_h = -h / y R, the one takes the rest."""
    inputs = keras.Input((5,))
    model = keras.Model(inputs, kl.Dense(2, use_bias=False)(1.0 - kl.Dense(4, use_bias=False)(inputs)))
    randomise(model)
    x = rng.normal(size=(3, 5)).astype(np.float32)
    w, head = (value.astype(np.float64) for value in model.get_weights())
    close(lrp.relevance(model, x, 0, "lrp_zero"), x * (-head[:, 0] @ w.T))


def test_tokens(rng, randomise):
    """Relevance of a token is that of its vector: sum_d e_d G_d, here through a mean and a dense layer."""
    model = randomise(
        keras.Sequential(
            [keras.Input((6,), dtype="int32"), kl.Embedding(9, 4), kl.GlobalAveragePooling1D(), kl.Dense(3)]
        )
    )
    ids = rng.integers(0, 9, size=(5, 6))
    explanation = lrp.Explainer(model).explain(ids, 2)
    table, head, bias = (value.astype(np.float64) for value in model.get_weights())
    assert explanation.relevance.dtype == np.float32
    assert explanation.relevance.shape == ids.shape
    close(explanation.logit, (table[ids].mean(axis=1) @ head + bias)[:, 2])
    close(explanation.relevance, table[ids] @ head[:, 2] / 6)


def test_tokens_with_learned_positions(rng, randomise):
    """Vectors of positions are added: they take a share as a bias does."""
    inputs = keras.Input((6,), dtype="int32")
    vectors = kl.Embedding(9, 4, name="tokens")(inputs)
    places = kl.Embedding(6, 4, name="places")(np.arange(6)[None])
    model = keras.Model(inputs, kl.Dense(3, use_bias=False)(kl.Flatten()(vectors + places)))
    randomise(model)
    ids = rng.integers(0, 9, size=(5, 6))
    explanation = lrp.Explainer(model, "lrp_zero").explain(ids, 2)
    table = np.asarray(model.get_layer("tokens").embeddings, np.float64)
    head = model.get_weights()[-1].astype(np.float64)[:, 2].reshape(6, 4)
    close(explanation.relevance, (table[ids] * head).sum(axis=-1))


def test_composites_that_differ_in_products_or_attention_alone_say_so():
    # Runs and baselines keep this text: "the composite's rules changed" is found by it.
    usual = str(lrp.composites.epsilon()).splitlines()[1:]
    for composite, lines in (
        (lrp.composites.attn_lrp(), ["  products              half"]),
        (lrp.composites.cp_lrp(), ["  attention             cp_lrp"]),
        (lrp.Composite(norm="identity"), ["  lone normalisations   identity"]),
        (lrp.Composite(), []),
    ):
        assert str(composite).splitlines()[1:] == usual + lines


def weighted_sums(a, h):
    """The sum of the vectors ``h`` (n, tokens, units) weighted by ``a`` (n, tokens, 1), in every spelling."""
    turned = ops.transpose(a, (0, 2, 1))
    return [
        ops.sum(a * h, axis=1),
        ops.squeeze(ops.matmul(turned, h), 1),
        ops.squeeze(ops.matmul(ops.transpose(h, (0, 2, 1)), a), 2),
        ops.einsum("bnk,bnc->bc", a, h),
        3.0 * ops.mean(ops.transpose(ops.multiply(h, a), (0, 2, 1)), axis=-1),
        ops.sum(ops.reshape(2.0 * (h * a), (-1, 3, 2, 2)), axis=1, keepdims=True) / 2.0,
    ]


def scores(one, h):
    """The products of the vector ``one`` with each of ``h``."""
    return [
        ops.sum(one[:, None] * h, axis=-1, keepdims=True),
        ops.matmul(h, ops.expand_dims(one, -1)),
        ops.einsum("bc,bnc->bn", one, h)[..., None],
    ]


def outer(a, b):
    return [a[:, :, None] * b[:, None, :], ops.einsum("bi,bj->bij", a, b), a[:, :, None] @ b[:, None, :]]


@pytest.mark.parametrize("composite", ["epsilon", "cp_lrp"])
def test_a_product_is_what_it_computes_in_every_spelling(composite, rng, randomise):
    """Each spelling ends in a logit of its own, of one model: one map for all spellings of a product.

    Of what is linear, weighted by scores that are linear, R = x dy/dx / 2: each factor has half.
    """
    inputs = keras.Input((3, 2))
    h, a = kl.Dense(4, use_bias=False, name="a")(inputs), kl.Dense(1, use_bias=False, name="b")(inputs)
    one, head = kl.Dense(4)(inputs[:, 0]), kl.Dense(1, use_bias=False, name="head")
    soft, bent = ops.softmax(a, axis=1), ops.sigmoid(a)
    kinds = {
        "linear": weighted_sums(a, h),
        "softmax": [*weighted_sums(soft, h), sum(soft[:, i] * h[:, i] for i in range(3))],
        "sigmoid": [*weighted_sums(bent, h), sum(bent[:, i] * h[:, i] for i in range(3))],
        "ReLU of scores": [y for made in scores(one, h) for y in weighted_sums(ops.relu(made), h)[:4]],
        "outer product": outer(one, h[:, 1, :2]),
    }
    heads = {kind: head if kind != "outer product" else kl.Dense(1) for kind in kinds}
    logits = [heads[kind](kl.Flatten()(y)) for kind, made in kinds.items() for y in made]
    model = randomise(keras.Model(inputs, kl.Concatenate()(logits)))
    x = np.repeat(rng.normal(size=(1, 3, 2)).astype(np.float32), len(logits), axis=0)
    found = lrp.relevance(model, x, np.arange(len(logits)), composite)
    first = 0
    for made in kinds.values():
        maps = found[first : first + len(made)]
        engine_helpers.close(maps, np.broadcast_to(maps[:1], maps.shape), 1e-6)
        first += len(made)
    to_h, to_a, head = weights(model)
    by_vector = x[0] @ to_h @ head
    close(found[0], x[0] * ((x[0] @ to_a) * (to_h @ head).T + by_vector * to_a.T) / 2)


SOURCES, ENDS = np.array([0, 1, 2, 2, 0]), np.array([1, 2, 0, 1, 2])


def over_edges(scores, h):
    """Attention of a graph's edges: a softmax over those that end in one node."""
    at_ends, at_sources = ops.take(scores[0], ENDS, axis=0), ops.take(scores[1], SOURCES, axis=0)
    made = at_ends + at_sources
    raised = ops.exp(made - ops.take(ops.segment_max(made, ENDS, 3), ENDS, axis=0))
    weights = raised / ops.take(ops.segment_sum(raised, ENDS, 3), ENDS, axis=0)
    return ops.segment_sum(weights * ops.take(h, SOURCES, axis=0), ENDS, 3)


def over_nodes(scores, h):
    """The same as a softmax over all nodes, those without an edge masked."""
    joined = np.zeros((3, 3), np.float32)
    joined[ENDS, SOURCES] = 1.0
    made = ops.where(joined > 0, scores[0] + ops.transpose(scores[1]), -1e9)
    return ops.matmul(ops.softmax(made, axis=-1), h)


def test_attention_over_the_edges_of_a_graph_is_that_over_its_nodes(rng, randomise):
    class Net(keras.Model):
        """One graph, (1, nodes, features): a logit by each spelling."""

        def __init__(self):
            super().__init__()
            self.h, self.head = kl.Dense(4, use_bias=False), kl.Dense(1, use_bias=False)
            self.scores = [kl.Dense(1), kl.Dense(1)]

        def call(self, x):
            h = self.h(x[0])
            scores = [part(h) for part in self.scores]
            made = [self.head(ops.reshape(f(scores, h), (1, 12))) for f in (over_edges, over_nodes)]
            return ops.concatenate(made, axis=-1)

    model, x = Net(), rng.normal(size=(1, 3, 2)).astype(np.float32)
    model(x)
    explainer = lrp.Explainer(randomise(model), "attn_lrp")
    close(explainer(x, 0), explainer(x, 1))


def test_linear_attention_conserves(rng, randomise):
    """(f(q) sum f(k) v) / (f(q) sum f(k)): what divides is a constant, so that all relevance goes to the products."""
    inputs = keras.Input((3, 2))
    q, k, v = (kl.Dense(4, use_bias=False, activation="relu")(inputs) for _ in range(3))
    total = ops.einsum("bnd,bd->bn", q, ops.sum(k, axis=1))
    made = ops.einsum("bnd,bdc->bnc", q, ops.einsum("bmd,bmc->bdc", k, v)) / (total[..., None] + 1e-9)
    model = randomise(keras.Model(inputs, kl.Dense(2, use_bias=False)(kl.Flatten()(made))))
    found = lrp.Explainer(model, "lrp_zero").explain(rng.normal(size=(4, 3, 2)).astype(np.float32), 1)
    np.testing.assert_allclose(found.conservation, 1, atol=1e-4)


@pytest.mark.parametrize(("dtype", "composite"), [("int32", "attn_lrp"), ("float32", "cp_lrp")])
def test_a_mask_among_the_inputs_takes_nothing_in_every_spelling(dtype, composite, rng, randomise):
    """Whole numbers of the input mask activations; so do floats that weight vectors, where gates are constant."""
    vectors, mask = keras.Input((3, 2), name="vectors"), keras.Input((3,), dtype=dtype, name="mask")
    h, head = kl.Dense(4, activation="gelu")(vectors), kl.Dense(1)
    made = weighted_sums(ops.cast(mask, "float32")[..., None], h)
    model = randomise(keras.Model([vectors, mask], kl.Concatenate()([head(kl.Flatten()(y)) for y in made])))
    x = np.repeat(rng.normal(size=(1, 3, 2)).astype(np.float32), len(made), axis=0)
    given = {"vectors": x, "mask": np.repeat([[1, 1, 0]], len(made), axis=0).astype(dtype)}
    found = lrp.relevance(model, given, np.arange(len(made)), composite)
    assert not found["mask"].any()
    assert not found["vectors"][:, 2].any()
    engine_helpers.close(found["vectors"], np.broadcast_to(found["vectors"][:1], x.shape), 1e-6)


def test_whole_numbers_that_are_the_signal_are_no_mask(rng, randomise):
    """y = x s(x W), x of whole numbers as a picture's are: the gate is held constant, R_i = x_i s_i w_i."""
    inputs = keras.Input((4,), dtype="int32")
    x = ops.cast(inputs, "float32")
    gate = kl.Dense(4, activation="sigmoid", name="a")(0.1 * x)
    model = randomise(keras.Model(inputs, kl.Dense(2, use_bias=False, name="head")(x * gate)))
    given = rng.integers(1, 9, size=(2, 4))
    kernel, bias = model.get_layer("a").get_weights()
    expected = given * sigmoid(0.1 * given @ kernel + bias) * model.get_layer("head").get_weights()[0][:, 1]
    close(lrp.relevance(model, given, 1, "cp_lrp"), expected)


def turned(t):
    return ops.transpose(t, (0, 2, 1))


def near(t):
    """Of each of three tokens both neighbours and itself: (n, 3, 3, c)."""
    padded = ops.pad(t, [[0, 0], [1, 1], [0, 0]])
    return ops.stack([padded[:, at : at + 3] for at in range(3)], axis=2)


def headed(t):
    return ops.reshape(t, (-1, 3, 2, 2))


def similar(a, b):
    return ops.relu(ops.einsum("bqhd,bkhd->bhqk", headed(a), headed(b)))


def involved(kernel, t):
    """An involution: each token's own kernel weights its neighbours, in every channel alike."""
    return ops.einsum("bnk,bnkc->bnc", kernel[..., :3], near(t))


HALF = lrp.Composite(dense=ZERO, product="half", attention="cp_lrp")
GATE = lrp.Composite(dense=ZERO, product="gate", attention="cp_lrp")
MIXING = np.linspace(-1, 1, 16, dtype=np.float32).reshape(4, 4)
JOINED = {
    "a matrix product is one factor": (lambda a, b, c: a @ turned(b) @ c, (1 / 4, 1 / 4, 1 / 2)),
    "a number added to an exponential": (lambda a, b, c: (ops.exp(a) / 2.0 + 1.0) * b + 0.0 * c, (1 / 2, 1 / 2, 0)),
    "a gate on what attention gave out": (
        lambda a, b, c: ops.softmax(a @ turned(a)) @ b * 0.5 * ops.sigmoid(c), (0, 1, 0),
    ),
    "weights over a statistic": (
        lambda a, b, c: ops.softmax(a @ turned(a)) / (1.0 + ops.mean(c * c, axis=-1, keepdims=True)) @ b, (0, 1, 0),
    ),
    "a similarity of each element": (lambda a, b, c: ops.relu(a @ turned(b)) * (c @ turned(c)), (1 / 4, 1 / 4, 1 / 2)),
    "a similarity that weights": (lambda a, b, c: ops.relu(a @ turned(b)) @ c, (0, 0, 1)),
    "a similarity of some tokens each": (
        lambda a, b, c: ops.einsum("bnk,bnkc->bnc", ops.relu(ops.einsum("bnc,bnkc->bnk", a, near(b))), near(c)),
        (0, 0, 1),
    ),
    "a similarity over its sum": (
        lambda a, b, c: (lambda w: w / (ops.sum(w, -1, keepdims=True) + 1e-6) @ c)(ops.square(a @ turned(b))),
        (0, 0, 1),
    ),
    "a similarity that heads mix": (
        lambda a, b, c: ops.einsum(
            "bgqk,bkgc->bqgc", ops.einsum("bhqk,hg->bgqk", similar(a, b), MIXING[:2, :2]), headed(c)
        ), (0, 0, 1),
    ),
    "what a kernel of its own weighted": (
        lambda a, b, c: involved(c, ops.relu(involved(b, a))), (1 / 4, 1 / 4, 1 / 2),
    ),
    "a similarity of products": (lambda a, b, c: ops.relu(involved(b, a)) @ turned(c), (1 / 4, 1 / 4, 1 / 2)),
    "products for each pair of channels": (
        lambda a, b, c: ops.reshape(ops.relu(turned(a) @ b), (-1, 1, 16)) @ ops.reshape(turned(c) @ c, (-1, 16, 1)),
        (1 / 4, 1 / 4, 1 / 2),
    ),
    "how far vectors of one place agree": (
        lambda a, b, c: ops.einsum("bn,bnc->bc", ops.relu(ops.sum(a * b, -1)), c), (1 / 4, 1 / 4, 1 / 2),
    ),
    "what attention gave out is no similarity": (
        lambda a, b, c: ops.relu(ops.softmax(a @ turned(a)) @ b) @ turned(c), (0, 1 / 2, 1 / 2),
    ),
    "a logarithm of an exponential": (lambda a, b, c: ops.log1p(ops.exp(a)) * b + 0.0 * c, (1 / 2, 1 / 2, 0)),
    "a mixture of what is cut at 0 and 1": (
        lambda a, b, c: (ops.sigmoid(a) @ MIXING) * b + 0.0 * c, (1 / 2, 1 / 2, 0), GATE,
    ),
    "cut off, but not shifted": (
        lambda a, b, c: ops.clip(0.5 * a, 0, 1) * b + 0.0 * c, (1 / 2, 1 / 2, 0), GATE,
    ),
    "cut off, of a sum": (lambda a, b, c: ops.relu6(a + a) * b + 0.0 * c, (1 / 2, 1 / 2, 0), GATE),
}  # fmt: skip


@pytest.mark.parametrize("name", JOINED)
def test_which_factors_share(name, rng, randomise):
    """Halves for each product of two, but none for what weights the other: there it is held constant."""
    joined, expected, *composite = JOINED[name]
    inputs = keras.Input((3, 5))
    parts = [kl.Dense(4, use_bias=False, name=part)(inputs) for part in "abc"]
    model = randomise(keras.Model(inputs, kl.Dense(1, use_bias=False)(kl.Flatten()(joined(*parts)))))
    inspection = lrp.Explainer(model, *composite or [HALF]).inspect(rng.normal(size=(2, 3, 5)).astype(np.float32), 0)
    for part, share in zip("abc", expected, strict=True):
        np.testing.assert_allclose(inspection[part].conservation, share, atol=1e-4)


def test_an_adjacency_is_no_query(rng, randomise):
    """y = A relu(A h), A an input: half to each factor of both products, so that of R A gets 3/4 and h 1/4."""
    tokens, edges = keras.Input((3, 4), name="tokens"), keras.Input((3, 3), name="edges")
    made = edges @ ops.relu(edges @ kl.Dense(4, use_bias=False)(tokens))
    model = randomise(keras.Model([tokens, edges], kl.Dense(1, use_bias=False)(kl.Flatten()(made))))
    given = {"tokens": rng.normal(size=(2, 3, 4)), "edges": rng.uniform(0.1, 1, size=(2, 3, 3))}
    found = lrp.Explainer(model, HALF).explain(given, 0)
    np.testing.assert_allclose(found.relevance["edges"].sum((1, 2)) / found.logit, 3 / 4, atol=1e-4)
    np.testing.assert_allclose(found.relevance["tokens"].sum((1, 2)) / found.logit, 1 / 4, atol=1e-4)


def test_involutions_in_a_row_in_every_spelling(rng, randomise):
    """The input times its gradient, where each product p q of activations is ([q] p + [p] q) / 2; [.] a constant."""
    stop = tf.stop_gradient

    def elementwise(kernel, t, product=lambda p, q: p * q):
        return ops.sum(product(kernel[..., :3, None], near(t)), axis=2)

    def made(involution):
        inputs = keras.Input((3, 5))
        first, *kernels = (kl.Dense(4, use_bias=False)(inputs) for _ in range(3))
        y = involution(kernels[1], ops.relu(involution(kernels[0], first)))
        return keras.Model(inputs, kl.Dense(2, use_bias=False)(kl.Flatten()(y)))

    model, x = randomise(made(involved)), tf.constant(rng.normal(size=(2, 3, 5)).astype(np.float32))
    halved = functools.partial(elementwise, product=lambda p, q: (p * stop(q) + stop(p) * q) / 2)
    with tf.GradientTape() as tape:
        tape.watch(x)
        first, *kernels = (x @ w for w in model.get_weights()[:3])
        y = halved(kernels[1], tf.nn.relu(halved(kernels[0], first)))
        logit = tf.reshape(y, (2, 12)) @ model.get_weights()[3][:, 1:]
    # of ([q] p + [p] q) / 2 the value is p q, and the gradient is half of that of p q
    expected = x * tape.gradient(logit, x)
    for spelling in (involved, elementwise):
        written = made(spelling)
        written.set_weights(model.get_weights())
        close(lrp.relevance(written, x, 1, lrp.composites.cp_lrp(0)), expected)


def test_a_mask_of_attention_weights_takes_nothing(rng, randomise):
    """Whole numbers for each pair of tokens, an input of their own: the map is that of weights where they are 1."""
    tokens, mask = keras.Input((3, 4), name="tokens"), keras.Input((3, 3), dtype="int32", name="mask")
    h = kl.Dense(4)(tokens)
    y = ops.softmax(h @ turned(h)) * ops.cast(mask, "float32") @ h
    model = randomise(keras.Model([tokens, mask], kl.Dense(2)(kl.Flatten()(y))))
    x = rng.normal(size=(2, 3, 4)).astype(np.float32)
    for composite in ("attn_lrp", "cp_lrp"):
        found = lrp.relevance(model, {"tokens": x, "mask": np.ones((2, 3, 3), np.int32)}, 0, composite)
        assert found["tokens"].any()
        assert not found["mask"].any()


def test_a_number_of_pieces_is_no_mask(rng, randomise):
    """Whole numbers that are spread over others in front of all weights: y = n p, half to each."""
    count, price = keras.Input((1,), dtype="int32", name="count"), keras.Input((3,), name="price")
    model = randomise(keras.Model([count, price], kl.Dense(2, use_bias=False)(price * ops.cast(count, "float32"))))
    n, p = rng.integers(1, 9, size=(2, 1)), rng.normal(size=(2, 3)).astype(np.float32)
    found = lrp.relevance(model, {"count": n, "price": p}, 0, HALF)
    terms = n * p * model.get_weights()[0][:, 0]
    close(found["price"], terms / 2)
    close(found["count"], terms.sum(axis=1, keepdims=True) / 2)


@pytest.mark.parametrize("joined", [kl.Add(), lambda parts: parts[0] + ops.sign(parts[1])], ids=["sum", "steps"])
def test_the_sum_of_two_layers_is_shared_before_their_rule(joined, rng, randomise):
    """z+ of each by itself, of what it has of the sum: R_a = a / (a + b) R, not of all contributions together.

    Nor of what is added for each sample but carries no relevance: the bias of no layer.
    """
    model = randomise(branches(joined))
    x = rng.normal(size=(4, 5)).astype(np.float32)
    found = lrp.relevance(model, x, 1, lrp.Composite(dense=rules.ZPlus(), overrides={"head": ZERO}))
    wa, wb, head = weights(model)
    expected = 0
    for w in (wa, wb) if isinstance(joined, kl.Add) else (wa,):
        positive = np.maximum(x[:, :, None] * w, 0)
        share = positive / np.maximum(positive.sum(axis=1, keepdims=True), 1e-9)
        expected += (share * ((x @ w) * head[:, 1])[:, None]).sum(axis=2)
    close(found, expected)


def test_what_numbers_of_the_input_pick_is_looked_up(rng, randomise):
    """One-hot rows that multiply activations say which, as the indices of a gather do: they take nothing."""
    x, which = rng.normal(size=(3, 4, 5)).astype(np.float32), np.array([[2, 0], [1, 1], [3, 2]])

    def model(pick):
        inputs = [keras.Input((4, 5), name="x"), keras.Input((2,), dtype="int32", name="which")]
        h = kl.Dense(4, activation="relu", name="a")(inputs[0])
        return keras.Model(inputs, kl.Dense(2, name="head")(ops.sum(pick(h, inputs[1]), axis=1)))

    looked_up = randomise(model(lambda h, which: ops.take_along_axis(h, which[..., None], axis=1)))
    by_rows = model(lambda h, which: ops.matmul(ops.one_hot(which, 4), h))
    by_rows.set_weights(looked_up.get_weights())
    expected, found = (lrp.relevance(one, [x, which], 1, "attn_lrp") for one in (looked_up, by_rows))
    assert not found[1].any()
    close(found[0], expected[0])


def test_a_mask_on_one_hot_rows_takes_nothing(rng, randomise):
    """Rows that stand for words of the input keep all: R of a word is its row's part of the product with weights."""
    inputs = [keras.Input((3,), dtype="int32", name="words"), keras.Input((3,), dtype="int32", name="mask")]
    rows = ops.one_hot(inputs[0], 5) * ops.cast(inputs[1], "float32")[..., None]
    model = randomise(keras.Model(inputs, kl.Dense(2, use_bias=False)(kl.Flatten()(rows))))
    words, mask = np.array([[1, 4, 2], [3, 0, 1]]), np.array([[1, 1, 0], [1, 1, 1]])
    found = lrp.relevance(model, [words, mask], 1, "attn_lrp")
    kernel = model.get_weights()[0][:, 1].reshape(3, 5)
    assert not found[1].any()
    close(found[0], mask * kernel[np.arange(3), words])
