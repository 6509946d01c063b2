"""Attention written by hand: the map of MultiHeadAttention with the same weights, under every composite."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from engine_helpers import close, randomised, sweep
from hand_helpers import EVERY, TWO, Own, Reference, name_of, net, same, same_as, share_ends, weight
from keras import layers as kl
from keras import ops

import lrp_monitor as lrp
from lrp_monitor import rules

HEADS, SIZE, WIDTH = 2, 3, 4
SCALE = SIZE**-0.5
MORE, FEWER = 6, 2
"""Tokens: more than units per head, and fewer."""


def dense_parts(layer):
    layer.q, layer.k, layer.v = (kl.Dense(HEADS * SIZE, name=name) for name in "qkv")
    layer.o = kl.Dense(WIDTH, name="o")


def one_product(layer):
    layer.qkv, layer.o = kl.Dense(3 * HEADS * SIZE, name="qkv"), kl.Dense(WIDTH, name="o")


def own_weights(layer):
    for name in "qkv":
        weight(layer, f"w{name}", (WIDTH, HEADS, SIZE))
        weight(layer, f"b{name}", (HEADS, SIZE))
    weight(layer, "wo", (HEADS, SIZE, WIDTH))
    weight(layer, "bo", (WIDTH,))


def heads(x):
    """(n, tokens, heads * size) -> (n, heads, tokens, size)."""
    return ops.transpose(ops.reshape(x, (-1, x.shape[1], HEADS, SIZE)), (0, 2, 1, 3))


def joined(x):
    return ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (-1, x.shape[2], HEADS * SIZE))


def plain(q, k, v):
    scores = ops.matmul(q, ops.transpose(k, (0, 1, 3, 2))) * SCALE
    return ops.matmul(ops.softmax(scores), v)


def matmul(layer, x):
    return layer.o(joined(plain(heads(layer.q(x)), heads(layer.k(x)), heads(layer.v(x)))))


def query_scaled(layer, x):
    q, k, v = heads(layer.q(x)) * SCALE, heads(layer.k(x)), heads(layer.v(x))
    return layer.o(joined(ops.softmax(q @ ops.swapaxes(k, -1, -2), axis=-1) @ v))


def divided(layer, x):
    q, k, v = heads(layer.q(x)), heads(layer.k(x)), heads(layer.v(x))
    scores = ops.matmul(q, ops.swapaxes(k, -1, -2)) / ops.sqrt(float(SIZE))
    return layer.o(joined(ops.matmul(ops.softmax(scores), v)))


def softmax_by_hand(layer, x):
    q, k, v = heads(layer.q(x)), heads(layer.k(x)), heads(layer.v(x))
    scores = ops.matmul(q, ops.swapaxes(k, -1, -2)) * SCALE
    raised = ops.exp(scores - ops.max(scores, axis=-1, keepdims=True))
    return layer.o(joined(ops.matmul(raised / ops.sum(raised, axis=-1, keepdims=True), v)))


def less_the_largest(layer, x, kept=lambda t: t):
    """The softmax's own step against overflow, written once more in front of it, and a mask between."""
    q, k, v = heads(layer.q(x)), heads(layer.k(x)), heads(layer.v(x))
    scores = ops.matmul(q, ops.swapaxes(k, -1, -2)) * SCALE
    scores = scores - kept(ops.max(scores, axis=-1, keepdims=True))
    allowed = np.ones((x.shape[1], x.shape[1]), bool)
    return layer.o(joined(ops.matmul(ops.softmax(ops.where(allowed, scores, -1e9)), v)))


def by_tensorflow(layer, x):
    q, k, v = heads(layer.q(x)), heads(layer.k(x)), heads(layer.v(x))
    scores = tf.matmul(q, k, transpose_b=True) / tf.math.sqrt(tf.cast(tf.shape(k)[-1], tf.float32))
    return layer.o(joined(tf.matmul(tf.nn.softmax(scores, axis=-1), v)))


def einsum(layer, x):
    q, k, v = (ops.reshape(part(x), (-1, x.shape[1], HEADS, SIZE)) for part in (layer.q, layer.k, layer.v))
    scores = ops.einsum("bqhd,bkhd->bhqk", q, k) * SCALE
    out = ops.einsum("bhqk,bkhd->bqhd", ops.softmax(scores), v)
    return layer.o(ops.reshape(out, (-1, x.shape[1], HEADS * SIZE)))


def fused(layer, x):
    q, k, v = (ops.reshape(part(x), (-1, x.shape[1], HEADS, SIZE)) for part in (layer.q, layer.k, layer.v))
    return layer.o(ops.reshape(ops.dot_product_attention(q, k, v), (-1, x.shape[1], HEADS * SIZE)))


def batch_of_heads(layer, x):
    q, k, v = (
        ops.reshape(heads(part(x)), (-1, x.shape[1], SIZE)) for part in (layer.q, layer.k, layer.v)
    )  # heads and samples in one axis
    out = ops.matmul(ops.softmax(ops.matmul(q, ops.transpose(k, (0, 2, 1))) * SCALE), v)
    return layer.o(joined(ops.reshape(out, (-1, HEADS, x.shape[1], SIZE))))


def head_by_head(layer, x):
    q, k, v = layer.q(x), layer.k(x), layer.v(x)
    made = []
    for h in range(HEADS):
        at = slice(h * SIZE, (h + 1) * SIZE)
        weights = ops.softmax(ops.matmul(q[..., at], ops.transpose(k[..., at], (0, 2, 1))) * SCALE)
        made.append(ops.matmul(weights, v[..., at]))
    return layer.o(ops.concatenate(made, axis=-1))


def heads_of_one_product(layer, x):
    parts = ops.reshape(layer.qkv(x), (-1, x.shape[1], 3, HEADS, SIZE))
    return ops.transpose(parts, (2, 0, 3, 1, 4))


def unstacked(layer, x):
    return layer.o(joined(plain(*ops.unstack(heads_of_one_product(layer, x), axis=0))))


def indexed(layer, x):
    parts = heads_of_one_product(layer, x)
    return layer.o(joined(plain(parts[0], parts[1], parts[2])))


def split(layer, x):
    return layer.o(joined(plain(*(heads(part) for part in ops.split(layer.qkv(x), 3, axis=-1)))))


def weights_of_ones_own(layer, x):
    q, k, v = (
        ops.einsum("btc,chd->bthd", x, getattr(layer, f"w{name}")) + getattr(layer, f"b{name}") for name in "qkv"
    )
    scores = ops.einsum("bqhd,bkhd->bhqk", q, k) * SCALE
    out = ops.einsum("bhqk,bkhd->bqhd", ops.softmax(scores), v)
    return ops.einsum("bqhd,hdc->bqc", out, layer.wo) + layer.bo


FORMS = {
    "matmul": (dense_parts, matmul), "query scaled": (dense_parts, query_scaled), "divided": (dense_parts, divided),
    "softmax by hand": (dense_parts, softmax_by_hand), "tf": (dense_parts, by_tensorflow),
    "less the largest, masked": (dense_parts, less_the_largest),
    "less the largest, stopped": (dense_parts, lambda layer, x: less_the_largest(layer, x, ops.stop_gradient)),
    "einsum": (dense_parts, einsum), "dot_product_attention": (dense_parts, fused),
    "heads in the batch": (dense_parts, batch_of_heads), "head by head": (dense_parts, head_by_head),
    "one product, unstacked": (one_product, unstacked), "one product, indexed": (one_product, indexed),
    "one product, split": (one_product, split), "one's own weights": (own_weights, weights_of_ones_own),
}  # fmt: skip


@functools.cache
def reference(tokens):
    """MultiHeadAttention between two dense layers."""
    rng = np.random.default_rng(tokens)
    attention = kl.MultiHeadAttention(HEADS, SIZE, name="attention")
    by_layers = randomised(rng, net((tokens, WIDTH), lambda h: attention(h, h)), scale=0.8)
    return Reference(by_layers, rng.uniform(-3, 3, size=(2, tokens, WIDTH)).astype(np.float32))


def written(form, known):
    """The network of the reference ``known`` with attention by hand."""
    layer = Own(*FORMS[form], name="by_hand")
    by_hand = net(known.x.shape[1:], layer)
    share_ends(known.model, by_hand)
    values = known.model.get_layer("attention").get_weights()
    wq, bq, wk, bk, wv, bv, wo, bo = values
    if hasattr(layer, "wq"):
        for name, value in zip(("wq", "bq", "wk", "bk", "wv", "bv", "wo", "bo"), values, strict=True):
            getattr(layer, name).assign(value)
        return by_hand
    flat = [(w.reshape(WIDTH, -1), b.reshape(-1)) for w, b in ((wq, bq), (wk, bk), (wv, bv))]
    if hasattr(layer, "qkv"):
        layer.qkv.set_weights([np.concatenate(parts, axis=-1) for parts in zip(*flat, strict=True)])
    else:
        for part, values in zip((layer.q, layer.k, layer.v), flat, strict=True):
            part.set_weights(values)
    layer.o.set_weights([wo.reshape(-1, WIDTH), bo])
    return by_hand


# By default every form with constant attention weights, and every composite with one of the forms on fewer tokens.
@sweep(
    "form tokens composite", FORMS, [MORE, FEWER], EVERY,
    kept=lambda form, fewer, c: c == (form if fewer else EVERY.index("cp_lrp")),
)  # fmt: skip
def test_in_every_spelling(form, tokens, composite):
    known = reference(tokens)
    same_as(known, written(form, known), [composite])


def test_as_nodes_of_a_functional_model(rng, randomise):
    """Projections by layers of the model itself, the rest by operators: Attention without projections."""
    inputs = keras.Input((MORE, WIDTH))

    def model(attend):
        q, k, v = (kl.Dense(SIZE, name=name)(inputs) for name in "qkv")
        return keras.Model(inputs, kl.Dense(2, name="head")(kl.Flatten()(attend(q, k, v))))

    by_layers = randomise(model(lambda q, k, v: kl.Attention()([q, v, k])), scale=0.8)
    by_hand = model(lambda q, k, v: ops.softmax(q @ ops.transpose(k, (0, 2, 1))) @ v)
    for layer in "qkv":
        by_hand.get_layer(layer).set_weights(by_layers.get_layer(layer).get_weights())
    share_ends(by_layers, by_hand)
    same(by_layers, by_hand, rng.normal(size=(2, MORE, WIDTH)).astype(np.float32), ["attn_lrp", "cp_lrp", "epsilon"])


@pytest.mark.parametrize("composite", TWO, ids=name_of)
def test_in_windows(composite, rng, randomise):
    """Swin: windows of two of the six tokens as samples of their own; in Keras attention along one axis of two."""
    reference = kl.MultiHeadAttention(HEADS, SIZE, attention_axes=(2,))
    by_layers = randomise(
        net((MORE, WIDTH), lambda h: (lambda t: reference(t, t))(kl.Reshape((3, 2, WIDTH))(h))), scale=0.8
    )

    def windows(layer, x):
        made = matmul(layer, ops.reshape(x, (-1, 2, WIDTH)))
        return ops.reshape(made, (-1, MORE, WIDTH))

    layer = Own(dense_parts, windows)
    by_hand = net((MORE, WIDTH), layer)
    share_ends(by_layers, by_hand)
    wq, bq, wk, bk, wv, bv, wo, bo = reference.get_weights()
    for part, w, b in ((layer.q, wq, bq), (layer.k, wk, bk), (layer.v, wv, bv)):
        part.set_weights([w.reshape(WIDTH, -1), b.reshape(-1)])
    layer.o.set_weights([wo.reshape(-1, WIDTH), bo])
    same(by_layers, by_hand, rng.uniform(-3, 3, size=(2, MORE, WIDTH)).astype(np.float32), [composite])


# --- against the rules written down, in float64 ---


def softmax(s):
    e = np.exp(s - s.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def attended(x, weights, head, conservative, turn=None, bias=0.0):
    """Output and relevance of one head's attention of x (tokens, width), LRP-0 around it; everything in float64.

    ``turn`` (tokens, size, size) turns queries and keys, ``bias`` is added to the scores. In terms of G = R / value: a
    linear map hands G on by its transpose, softmax by its own gradient, and each product to each factor half.
    """
    (wq, bq), (wk, bk), (wv, bv) = weights
    turn = np.broadcast_to(np.eye(SIZE), (len(x), SIZE, SIZE)) if turn is None else turn
    q, k = (np.einsum("tij,tj->ti", turn, x @ w + b) for w, b in ((wq, bq), (wk, bk)))
    v = x @ wv + bv
    a = softmax(q @ k.T * SCALE + bias)
    out = a @ v
    g_out = head
    if conservative:
        return out, x * ((a.T @ g_out) @ wv.T)
    g_v, g_a = a.T @ g_out / 2, g_out @ v.T / 2
    g_s = a * (g_a - (a * g_a).sum(axis=-1, keepdims=True)) * SCALE
    g_q, g_k = g_s @ k / 2, g_s.T @ q / 2
    g_q, g_k = (np.einsum("tij,ti->tj", turn, g) for g in (g_q, g_k))
    return out, x * (g_q @ wq.T + g_k @ wk.T + g_v @ wv.T)


def turning(half):
    """Rotary embedding of ``SIZE - 1`` of the units as matrices (tokens, size, size)."""
    angles = 0.7 * np.arange(MORE)
    turn = np.tile(np.eye(SIZE), (MORE, 1, 1))
    first, second = (0, 1)
    turn[:, first, first] = turn[:, second, second] = np.cos(angles)
    turn[:, first, second], turn[:, second, first] = -np.sin(angles), np.sin(angles)
    return turn


TURN = turning(1)


def rotated(x):
    """Rotary embedding as it is written in language models: x cos + rotate_half(x) sin."""
    cos = np.stack([TURN[:, 0, 0], TURN[:, 0, 0]], axis=-1).astype(np.float32)
    sin = np.stack([TURN[:, 1, 0], TURN[:, 1, 0]], axis=-1).astype(np.float32)
    first, rest = x[..., :2], x[..., 2:]
    half = ops.concatenate([-first[..., 1:], first[..., :1]], axis=-1)
    return ops.concatenate([first * cos + half * sin, rest], axis=-1)


def rotary(layer, q, k, v):
    return ops.matmul(ops.softmax(ops.matmul(rotated(q), ops.transpose(rotated(k), (0, 2, 1))) * SCALE), v)


def relative(layer, q, k, v):
    """A bias for each distance, looked up in a table."""
    distance = np.arange(MORE)[:, None] - np.arange(MORE)[None, :] + MORE - 1
    bias = ops.take(layer.table, distance, axis=0)
    return ops.matmul(ops.softmax(ops.matmul(q, ops.transpose(k, (0, 2, 1))) * SCALE + bias), v)


@pytest.mark.parametrize("conservative", [False, True], ids=["attn_lrp", "cp_lrp"])
@pytest.mark.parametrize("kind", ["rotary", "relative"])
def test_positions_within_attention(kind, conservative, rng, randomise):
    def parts(layer):
        layer.q, layer.k, layer.v = (kl.Dense(SIZE, name=name) for name in "qkv")
        if kind == "relative":
            weight(layer, "table", (2 * MORE - 1,))

    attend = {"rotary": rotary, "relative": relative}[kind]
    layer = Own(parts, lambda one, x: attend(one, one.q(x), one.k(x), one.v(x)))
    inputs = keras.Input((MORE, WIDTH))
    head = kl.Dense(2, use_bias=False)
    model = randomise(keras.Model(inputs, head(kl.Flatten()(layer(inputs)))), scale=0.8)
    x = rng.normal(size=(2, MORE, WIDTH)).astype(np.float32)
    composite = lrp.Composite(
        dense=rules.Epsilon(0), attention="cp_lrp" if conservative else "attn_lrp", product="half"
    )
    found = lrp.Explainer(model, composite).explain(x, 1)
    weights = [[value.astype(np.float64) for value in part.get_weights()] for part in (layer.q, layer.k, layer.v)]
    w = head.get_weights()[0].astype(np.float64)
    bias = 0.0
    if kind == "relative":
        bias = layer.table.numpy().astype(np.float64)[np.arange(MORE)[:, None] - np.arange(MORE) + MORE - 1]
    for sample, relevance, logits in zip(x.astype(np.float64), found.relevance, found.logits, strict=True):
        out, expected = attended(
            sample, weights, w[:, 1].reshape(MORE, SIZE), conservative, TURN if kind == "rotary" else None, bias
        )
        np.testing.assert_allclose(logits, out.reshape(-1) @ w, rtol=1e-4, atol=1e-4)
        assert np.abs(relevance - expected).max() <= 1e-4 * np.abs(expected).max()


def counted(layer, q, k, v, mask):
    """ALiBi: a bias by the number of tokens that a padding mask counts."""
    bias = SLOPE * ops.cast((ops.cumsum(mask, axis=-1) - 1) * mask, "float32")[:, None, :]
    return ops.matmul(ops.softmax((ops.matmul(q, ops.transpose(k, (0, 2, 1))) + bias) * SCALE), v)


def test_what_a_mask_adds_to_scores_takes_nothing(rng, randomise):
    def parts(layer):
        layer.q, layer.k, layer.v = (kl.Dense(SIZE, name=name) for name in "qkv")

    layer = Own(parts, lambda one, given: counted(one, *(part(given[0]) for part in (one.q, one.k, one.v)), given[1]))
    inputs = [keras.Input((MORE, WIDTH), name="tokens"), keras.Input((MORE,), name="mask", dtype="int32")]
    head = kl.Dense(2, use_bias=False)
    model = randomise(keras.Model(inputs, head(kl.Flatten()(layer(inputs)))), scale=0.8)
    x = rng.normal(size=(2, MORE, WIDTH)).astype(np.float32)
    mask = np.array([[1] * MORE, [1, 1, 0, 1, 0, 0]], np.int32)
    composite = lrp.Composite(dense=rules.Epsilon(0), attention="attn_lrp", product="half")
    found, of_mask = lrp.Explainer(model, composite).explain([x, mask], 1).relevance
    assert not of_mask.any()
    weights = [[value.astype(np.float64) for value in part.get_weights()] for part in (layer.q, layer.k, layer.v)]
    w = head.get_weights()[0].astype(np.float64)
    for sample, shown, relevance in zip(x.astype(np.float64), mask, found, strict=True):
        bias = SCALE * SLOPE * ((shown.cumsum() - 1) * shown)[None, :]
        _, expected = attended(sample, weights, w[:, 1].reshape(MORE, SIZE), False, None, bias)
        assert np.abs(relevance - expected).max() <= 1e-4 * np.abs(expected).max()


SLOPE = 0.5
LOWER = np.tril(np.ones((MORE, MORE), np.float32))
MIX = np.array([[0.7, -0.4], [0.3, 0.9]], np.float32)


def sparsemax(s):
    """The projection to the simplex (Martins and Astudillo 2016), in NumPy."""
    ordered = -np.sort(-s, axis=-1)
    sums, number = ordered.cumsum(axis=-1), np.arange(1, s.shape[-1] + 1)
    size = (1 + number * ordered > sums).sum(axis=-1, keepdims=True)
    return np.maximum(s - (np.take_along_axis(sums, size - 1, -1) - 1) / size, 0)


def sparsemax_by_hand(s):
    ordered, number = -ops.sort(-s, axis=-1), np.arange(1, MORE + 1, dtype=np.float32)
    inside = ops.cast(1 + number * ordered > ops.cumsum(ordered, axis=-1), "float32")
    size = ops.sum(inside, axis=-1, keepdims=True)
    return ops.relu(s - (ops.sum(ordered * inside, axis=-1, keepdims=True) - 1) / size)


def mixed_by_einsum(layer, s, t):
    return ops.einsum("bhqk,hg->bgqk", ops.stack([ops.softmax(s), ops.softmax(t)], axis=1), layer.mix)[:, 0]


def mixed_behind_sums(layer, s, t):
    e = [ops.exp(scores) for scores in (s, t)]
    weights = ops.stack([one / ops.sum(one, axis=-1)[..., None] for one in e], axis=1)
    return ops.einsum("bhqk,hg->bgqk", weights, layer.mix)[:, 0]


def mixed_by_dense(layer, s, t):
    return layer.dense(ops.stack([ops.softmax(s), ops.softmax(t)], axis=-1))[..., 0]


def mixed_by_matmul(layer, s, t):
    rows = ops.reshape(ops.stack([ops.softmax(s), ops.softmax(t)], axis=1), (-1, 2, MORE * MORE))
    return ops.reshape(ops.matmul(ops.transpose(layer.mix), rows), (-1, 2, MORE, MORE))[:, 0]


def chosen(layer, s, t):
    """The best of two maps of weights for each query."""
    best = ops.one_hot(ops.argmax(ops.stack([ops.sum(s, axis=-1), ops.sum(t, axis=-1)], axis=-1), axis=-1), 2)
    return ops.sum(ops.stack([ops.softmax(s), ops.softmax(t)], axis=-1) * best[:, :, None], axis=-1)


def mixed(s, t):
    return softmax(s) * MIX[0, 0] + softmax(t) * MIX[1, 0]


# Attention weights that are more than one softmax: (made of two maps of scores, the same in NumPy).
WEIGHTS = {
    "masked and made one again": (
        lambda _, s, t: (lambda a: a / ops.sum(a, axis=-1, keepdims=True))(ops.softmax(s) * LOWER),
        lambda s, _: softmax(s) * LOWER / (softmax(s) * LOWER).sum(axis=-1, keepdims=True),
    ),
    "the difference of two": (
        lambda _, s, t: ops.softmax(s) - 0.4 * ops.softmax(t), lambda s, t: softmax(s) - 0.4 * softmax(t),
    ),
    "capped": (lambda _, s, t: ops.softmax(2.0 * ops.tanh(s / 2.0)), lambda s, _: softmax(2 * np.tanh(s / 2))),
    "of cosines": (
        lambda _, s, t: ops.softmax(s / ops.norm(s, axis=-1, keepdims=True)),
        lambda s, _: softmax(s / np.linalg.norm(s, axis=-1, keepdims=True)),
    ),
    "heads mixed by einsum": (mixed_by_einsum, mixed),
    "heads mixed behind sums": (mixed_behind_sums, mixed),
    "heads mixed by Dense": (mixed_by_dense, mixed),
    "heads mixed by matmul": (mixed_by_matmul, mixed),
    "the best of two": (
        chosen, lambda s, t: np.where((s.sum(-1) >= t.sum(-1))[:, None], softmax(s), softmax(t)),
    ),
    "with the identity": (
        lambda _, s, t: ops.softmax(s) + np.eye(MORE, dtype=np.float32), lambda s, _: softmax(s) + np.eye(MORE),
    ),
    "sharpened": (
        lambda _, s, t: (lambda a: a / ops.sum(a, axis=-1, keepdims=True))(ops.square(ops.softmax(s))),
        lambda s, _: softmax(2 * s),
    ),
    "through a sigmoid": (
        lambda _, s, t: ops.softmax(s) * ops.sigmoid(t), lambda s, t: softmax(s) / (1 + np.exp(-t)),
    ),
    "rolled out": (lambda _, s, t: ops.matmul(ops.softmax(s), ops.softmax(t)), lambda s, t: softmax(s) @ softmax(t)),
    "one more in the sum": (
        lambda _, s, t: (lambda e: e / (1.0 + ops.sum(e, axis=-1, keepdims=True)))(ops.exp(s)),
        lambda s, _: np.exp(s) / (1 + np.exp(s).sum(axis=-1, keepdims=True)),
    ),
    "powers of two": (
        lambda _, s, t: (lambda e: e / ops.sum(e, axis=-1, keepdims=True))(2.0**s), lambda s, _: softmax(s * np.log(2)),
    ),
    "times a reciprocal": (
        lambda _, s, t: (lambda e: ops.reciprocal(ops.sum(e, axis=-1))[..., None] * e)(ops.exp(s)),
        lambda s, _: softmax(s),
    ),
    "exp of log_softmax": (lambda _, s, t: ops.exp(ops.log_softmax(s)), lambda s, _: softmax(s)),
    "ReLU": (lambda _, s, t: ops.relu(s) / MORE, lambda s, _: np.maximum(s, 0) / MORE),
    "sparsemax": (lambda _, s, t: sparsemax_by_hand(s), lambda s, _: sparsemax(s)),
}  # fmt: skip


@pytest.mark.parametrize("name", WEIGHTS)
def test_attention_weights_of_every_make_are_constants_under_cp_lrp(name, rng, randomise):
    """R_v = v (A^T G), G = R / value of the output, whatever A was made of."""
    made, known = WEIGHTS[name]

    def parts(layer):
        layer.q, layer.k, layer.v = (kl.Dense(WIDTH, use_bias=False, name=part) for part in "qkv")
        weight(layer, "mix", (2, 2))
        layer.dense = kl.Dense(2, use_bias=False)

    def run(layer, x):
        q, k = layer.q(x), layer.k(x)
        scores = [ops.matmul(q, ops.transpose(k, (0, 2, 1))), ops.matmul(k, ops.transpose(k, (0, 2, 1)))]
        return ops.matmul(made(layer, *scores), layer.v(x))

    layer = Own(parts, run)
    inputs = keras.Input((MORE, WIDTH))
    head = kl.Dense(2, use_bias=False)
    model = randomise(keras.Model(inputs, head(kl.Flatten()(layer(inputs)))))
    for kernel in (layer.mix, layer.dense.kernel if layer.dense.built else layer.mix):
        kernel.assign(MIX)
    x = rng.normal(size=(2, MORE, WIDTH)).astype(np.float32)
    product = "half" if name.startswith("heads") else "gate"  # of which attention weights are no factor
    found = lrp.relevance(model, x, 1, lrp.Composite(dense=rules.Epsilon(0), attention="cp_lrp", product=product))
    wq, wk, wv = (part.get_weights()[0].astype(np.float64) for part in (layer.q, layer.k, layer.v))
    g = head.get_weights()[0][:, 1].astype(np.float64).reshape(MORE, WIDTH)
    for sample, relevance in zip(x.astype(np.float64), found, strict=True):
        q, k = sample @ wq, sample @ wk
        expected = sample * ((known(q @ k.T, k @ k.T).T @ g) @ wv.T)
        assert np.abs(relevance - expected).max() <= 1e-4 * np.abs(expected).max()


def of_scores_masked(scores, mask):
    return ops.softmax(ops.where(mask, scores, -1e9))


def of_exponentials_masked(scores, mask):
    raised = ops.exp(scores - ops.max(scores, axis=-1, keepdims=True)) * ops.cast(mask, "float32")
    return raised / ops.sum(raised, axis=-1, keepdims=True)


def of_exponentials_masked_twice(scores, mask):
    """As where a mask is laid on rows, turned, and laid on columns; the one on rows leaves the weights as they are."""
    raised = ops.exp(scores) * ops.ones((scores.shape[-1], 1))
    raised = ops.transpose(ops.transpose(raised, (0, 2, 1)) * 3.0, (0, 2, 1)) * ops.cast(mask, "float32")
    return raised / (ops.sum(raised, axis=-1, keepdims=True) + 1e-9)


def of_weights_masked(scores, mask):
    weights = ops.softmax(scores) * ops.cast(mask, "float32")
    return weights / ops.sum(weights, axis=-1, keepdims=True)


MASKED = [of_exponentials_masked, of_exponentials_masked_twice, of_weights_masked]


@pytest.mark.parametrize(
    ("source", "form"),
    [
        pytest.param("causal", MASKED[0], marks=pytest.mark.slow),  # each is laid on the same way
        *(("padding", form) for form in MASKED),
    ],
)
def test_a_mask_that_multiplies_exponentials_is_one_on_scores(source, form, rng, randomise):
    """One map for all, whether the mask is a constant or counts the words of the input."""
    composites = ["epsilon", "attn_lrp", lrp.composites.cp_lrp()]
    ids = np.array([[3, 1, 4, 1, 0], [5, 2, 0, 0, 0]], np.float32)
    inputs = keras.Input((ids.shape[1],), dtype="int32")
    vectors = kl.Embedding(6, WIDTH)(inputs)
    parts = [kl.Dense(WIDTH, name=name) for name in "qkv"]

    def attended(weights):
        class Attention(kl.Layer):
            def call(self, x, ids):
                q, k, v = (part(x) for part in parts)
                mask = LOWER[: ids.shape[1], : ids.shape[1]] > 0 if source == "causal" else (ids != 0)[:, None, :]
                return ops.matmul(weights(ops.matmul(q, ops.transpose(k, (0, 2, 1))), mask), v)

        return keras.Model(inputs, head(kl.Flatten()(Attention()(vectors, inputs))))

    head = kl.Dense(2)
    one, other = (attended(weights) for weights in (of_scores_masked, form))
    randomise(one)
    for composite in composites:
        expected, found = (lrp.relevance(model, ids, 1, composite) for model in (one, other))
        close(found, expected)


def test_a_softmax_that_reads_a_memory_is_a_signal(rng, randomise):
    """Its own axis is contracted with weights: relevance passes it, as x df/dx in this net, and that is noted."""

    def parts(layer):
        layer.keys, layer.values = (kl.Dense(size, use_bias=False, name=f"to_{size}") for size in (5, WIDTH))

    layer = Own(parts, lambda layer, x: layer.values(ops.softmax(layer.keys(x))))
    inputs = keras.Input((MORE, WIDTH))
    head = kl.Dense(2, use_bias=False)
    model = randomise(keras.Model(inputs, head(kl.Flatten()(layer(inputs)))))
    x = rng.normal(size=(2, MORE, WIDTH)).astype(np.float32)
    explainer = lrp.Explainer(model, lrp.composites.cp_lrp(0.0))
    with pytest.warns(RuntimeWarning, match="this softmax is the signal itself"):
        found = explainer(x, 1)
    assert len(explainer.notes) == 1
    keys, values = (part.get_weights()[0].astype(np.float64) for part in (layer.keys, layer.values))
    g = values @ head.get_weights()[0][:, 1].astype(np.float64).reshape(MORE, WIDTH).T
    for sample, relevance in zip(x.astype(np.float64), found, strict=True):
        a = softmax(sample @ keys)
        back = a * (g.T - (a * g.T).sum(axis=-1, keepdims=True))
        expected = sample * (back @ keys.T)
        assert np.abs(relevance - expected).max() <= 1e-4 * np.abs(expected).max()
