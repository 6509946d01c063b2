"""Tokens: embeddings of every make, positions, and masks however they are computed."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from engine_helpers import in_turn, randomised, sweep
from hand_helpers import EVERY, Own, Reference, close, name_of, same, same_as, weight
from keras import layers as kl
from keras import ops

import lrp_monitor as lrp
from lrp_monitor import rules

WORDS, WIDTH, TOKENS = 7, 4, 5
ZERO = rules.Epsilon(0)


class Scaled(kl.Embedding):
    """A subclass with a call of its own, as language models have it."""

    def call(self, inputs):
        return super().call(inputs) * WIDTH**0.5


class Tokens(kl.Embedding):
    """A subclass that computes nothing else."""


class Positions(kl.Layer):
    """Tokens and positions: a table of constant numbers beside that of the tokens."""

    def __init__(self, mask=False, **options):
        super().__init__(**options)
        self.token, self.position = kl.Embedding(WORDS, WIDTH, mask_zero=mask), kl.Embedding(TOKENS, WIDTH)
        self.supports_masking = True

    def call(self, ids):
        return self.token(ids) + self.position(ops.arange(TOKENS))

    def compute_mask(self, ids, mask=None):
        return self.token.compute_mask(ids)


def table(layer, vector=(WIDTH,)):
    weight(layer, "table", (WORDS, *vector))


def number(x):
    return ops.cast(x, "int32")


# name -> (layer, factor of the table's vectors)
EMBEDDINGS = {
    "Embedding": (lambda: kl.Embedding(WORDS, WIDTH), 1.0),
    "subclass": (lambda: Tokens(WORDS, WIDTH), 1.0),
    "subclass with a call": (lambda: Scaled(WORDS, WIDTH), WIDTH**0.5),
    "ReversibleEmbedding": (lambda: kl.ReversibleEmbedding(WORDS, WIDTH, tie_weights=True), 1.0),
    "take": (lambda: Own(table, lambda layer, x: ops.take(layer.table, number(x), axis=0)), 1.0),
    "tf.gather": (lambda: Own(table, lambda layer, x: tf.gather(tf.convert_to_tensor(layer.table), number(x))), 1.0),
    "embedding_lookup": (
        lambda: Own(table, lambda layer, x: tf.nn.embedding_lookup(tf.convert_to_tensor(layer.table), number(x))), 1.0,
    ),
    "tf.gather of a variable": (lambda: Own(table, lambda layer, x: tf.gather(layer.table.value, number(x))), 1.0),
    "numbers": (lambda: Own(lambda n: table(n, ()), lambda layer, x: ops.take(layer.table, number(x))), 1.0),
    "matrices": (lambda: Own(lambda n: table(n, (2, 3)), lambda layer, x: ops.take(layer.table, number(x), 0)), 1.0),
    "take along the last axis": (
        lambda: Own(table, lambda n, x: ops.transpose(ops.take(ops.transpose(n.table), number(x), -1), (1, 2, 0))), 1.0,
    ),
    "take, scaled": (lambda: Own(table, lambda layer, x: 2.0 * ops.take(layer.table, number(x), axis=0)), 2.0),
}  # fmt: skip


@pytest.mark.parametrize("first", [None, rules.Flat()], ids=["lrp-0", "flat"])
def test_all_relevance_of_a_vector_goes_to_its_token(first, rng, randomise):
    """All embeddings stand in one network, side by side, with an output each."""
    inputs = keras.Input((TOKENS,), dtype="int32")
    layers = [make() for make, _ in EMBEDDINGS.values()]
    heads = [kl.Dense(1, use_bias=False, name=f"head_{index}") for index in range(len(layers))]
    outputs = [head(kl.Flatten()(layer(inputs))) for head, layer in zip(heads, layers, strict=True)]
    model = randomise(keras.Model(inputs, kl.Concatenate()(outputs)))
    x, composite = rng.integers(0, WORDS, size=(3, TOKENS)), lrp.Composite(dense=rules.Epsilon(0), first=first)
    targets = np.repeat(np.arange(len(layers)), len(x))
    maps = np.split(lrp.relevance(model, np.tile(x, (len(layers), 1)), targets, composite), len(layers))
    for (name, (_, factor)), layer, head, found in zip(EMBEDDINGS.items(), layers, heads, maps, strict=True):
        vectors, weights = layer.get_weights()[0][x].reshape(*x.shape, -1), head.get_weights()[0].reshape(TOKENS, -1)
        close(found, (factor * vectors * weights).sum(axis=-1), name=name)


def test_positions_absorb_their_share(rng, randomise):
    """y = E[x] + P: a token gets what its own vector gives; positions are constants, by layer, weight or table."""

    def own(layer):
        weight(layer, "positions", (TOKENS, WIDTH))
        layer.token = kl.Embedding(WORDS, WIDTH)

    inputs = keras.Input((TOKENS,), dtype="int32")

    def model(front):
        return keras.Model(inputs, kl.Dense(2, use_bias=False, name="head")(kl.Flatten()(front(inputs))))

    by_layer = randomise(model(Positions()))
    by_weight = model(Own(own, lambda layer, ids: layer.token(ids) + layer.positions))
    layer = by_weight.layers[1]
    tokens, positions = by_layer.layers[1].token.get_weights()[0], by_layer.layers[1].position.get_weights()[0]
    layer.token.set_weights([tokens])
    layer.positions.assign(positions)
    by_constant = model(lambda ids: kl.Embedding(WORDS, WIDTH, name="token")(ids) + positions)
    by_constant.get_layer("token").set_weights([tokens])
    x = rng.integers(0, WORDS, size=(3, TOKENS))
    head = by_layer.get_layer("head").get_weights()[0]
    expected = (tokens[x] * head[:, 0].reshape(TOKENS, WIDTH)).sum(axis=-1)
    for one in (by_layer, by_weight, by_constant):
        one.get_layer("head").set_weights([head])
        close(lrp.relevance(one, x, 0, "lrp_zero"), expected)


@pytest.mark.parametrize(
    "composite", [EVERY[1], EVERY[2], *(pytest.param(EVERY[at], marks=pytest.mark.slow) for at in (0, -2, -1))],
    ids=name_of,
)  # fmt: skip
def test_a_language_model_whose_output_is_its_embedding_turned_round(composite, rng, randomise):
    """ReversibleEmbedding(reverse=True): a dense layer over the words with the transposed table."""
    inputs = keras.Input((TOKENS,), dtype="int32")

    def model(tied):
        embedding = kl.ReversibleEmbedding(WORDS, WIDTH, tie_weights=True, name="words")
        if not tied:
            embedding = kl.Embedding(WORDS, WIDTH, name="words")
        h = kl.GlobalAveragePooling1D()(kl.Dense(WIDTH, activation="gelu", name="middle")(embedding(inputs)))
        return keras.Model(
            inputs, embedding(h, reverse=True) if tied else kl.Dense(WORDS, use_bias=False, name="out")(h)
        )

    by_layers, tied = randomise(model(False)), model(True)
    words = by_layers.get_layer("words").get_weights()[0]
    by_layers.get_layer("out").set_weights([words.T])
    tied.get_layer("words").set_weights([words])
    tied.get_layer("middle").set_weights(by_layers.get_layer("middle").get_weights())
    same(by_layers, tied, rng.integers(0, WORDS, size=(3, TOKENS)), [composite])


# --- masks ---

LENGTHS = np.array([5, 3, 1])


def padded(rng):
    x = rng.integers(1, WORDS, size=(3, TOKENS))
    x[np.arange(TOKENS) >= LENGTHS[:, None]] = 0
    return x


FRONTS = {
    "Embedding": lambda: kl.Embedding(WORDS, WIDTH, mask_zero=True),
    "subclass": lambda: Scaled(WORDS, WIDTH, mask_zero=True),
    "ReversibleEmbedding": lambda: kl.ReversibleEmbedding(WORDS, WIDTH, tie_weights=True, mask_zero=True),
    "with positions": lambda: Positions(mask=True),
}
BEHIND = {
    "average": lambda h: kl.GlobalAveragePooling1D()(h),
    "LSTM": lambda h: kl.LSTM(3)(h),
    "attention": lambda h: kl.GlobalAveragePooling1D()(kl.MultiHeadAttention(2, 2)(h, h)),
    "dense and average": lambda h: kl.GlobalAveragePooling1D()(kl.Dense(3, activation="tanh")(kl.Dropout(0.1)(h))),
}


# Subclasses are masked as the embedding is, so that layers that read a mask stand behind two of the others alone.
PADDED = [
    (front, behind) for front in FRONTS for behind in BEHIND
    if front in ("Embedding", "with positions") or behind not in ("LSTM", "attention")
]  # fmt: skip
BY_DEFAULT = ("Embedding", "average"), ("subclass", "dense and average"), ("ReversibleEmbedding", "average")


@pytest.mark.parametrize(
    ("front", "behind"),
    [
        pytest.param(*pair, marks=[] if pair in BY_DEFAULT or pair[0] == "with positions" else pytest.mark.slow)
        for pair in PADDED
    ],
)
def test_padded_tokens_get_exactly_nothing(front, behind, rng, randomise):
    """The mask of an embedding survives what stands between, as in Keras; the rest is what a shorter sequence gets."""
    inputs = keras.Input((TOKENS,), dtype="int32")
    model = randomise(keras.Model(inputs, kl.Dense(2)(BEHIND[behind](FRONTS[front]()(inputs)))))
    x = padded(rng)
    found = lrp.Explainer(model, "epsilon").explain(x, 1)
    close(found.logits, model(x).numpy(), 1e-4)
    assert not found.relevance[x == 0].any()
    assert np.abs(found.relevance[x != 0]).min() > 0


def scores_of(layer, x):
    return ops.matmul(layer.q(x), ops.transpose(layer.k(x), (0, 2, 1))) * WIDTH**-0.5


def kept(ids):
    return ops.not_equal(ids, 0)


# ways to say which scores count: (scores (n, q, k), ids (n, k)) -> scores
MASKS = {
    "where": lambda s, ids: ops.where(kept(ids)[:, None, :], s, -1e9),
    "where, minimum of the type": lambda s, ids: tf.where(kept(ids)[:, None, :], s, s.dtype.min),
    "added": lambda s, ids: s + (1.0 - ops.cast(kept(ids), "float32"))[:, None, :] * -1e9,
    "integer arithmetic": lambda s, ids: s + ops.cast((1 - ops.cast(ids > 0, "int32")) * -10000, "float32")[:, None, :],
    "of both sides": lambda s, ids: ops.where(
        ops.logical_or(ops.logical_and(kept(ids)[:, None, :], kept(ids)[:, :, None]), ops.eye(TOKENS, dtype="bool")),
        s, -1e9,
    ),
    "product of integers": lambda s, ids: ops.where(
        ops.cast(kept(ids), "int32")[:, None, :] * ops.ones((1, TOKENS, 1), "int32") == 1, s, -1e9
    ),
    "lengths": lambda s, ids: ops.where(
        ops.arange(TOKENS)[None, None, :] < ops.sum(ops.cast(kept(ids), "int32"), axis=-1)[:, None, None], s, -1e9
    ),
}  # fmt: skip


class Masked(kl.Layer):
    """Attention by hand over padded tokens, and the mean over what is not padding."""

    def __init__(self, mask, causal=False, **options):
        super().__init__(**options)
        self.table = kl.Embedding(WORDS, WIDTH, name="table")
        self.q, self.k, self.v = (kl.Dense(WIDTH, name=name) for name in "qkv")
        self.mask = mask

    def call(self, ids):
        x = self.table(ids)
        scores = self.mask(scores_of(self, x), number(ids))
        out = ops.matmul(ops.softmax(scores), self.v(x))
        keep = ops.cast(kept(number(ids)), "float32")[:, :, None]
        return ops.sum(out * keep, axis=1) / ops.sum(keep, axis=1)


ATTENTION = [lrp.Composite(dense=ZERO, attention=kind, name=kind) for kind in ("attn_lrp", "cp_lrp")]


@functools.cache
def masked_by_keras():
    rng = np.random.default_rng(0)
    inputs = keras.Input((TOKENS,), dtype="int32")
    attention = kl.MultiHeadAttention(1, WIDTH, name="attention")
    h = kl.Embedding(WORDS, WIDTH, mask_zero=True, name="table")(inputs)
    by_layers = keras.Model(inputs, kl.Dense(2, name="head")(kl.GlobalAveragePooling1D()(attention(h, h))))
    randomised(rng, by_layers, scale=0.8)
    wq, bq, wk, bk, wv, bv, _, bo = attention.get_weights()
    attention.set_weights([wq, bq, wk, bk, wv, bv, np.eye(WIDTH).reshape(1, WIDTH, WIDTH), 0 * bo])
    return Reference(by_layers, padded(rng))


@sweep("name composite", MASKS, ATTENTION, kept=in_turn)
def test_masks_of_every_make(name, composite):
    """Padded tokens get exactly nothing, and the rest is what MultiHeadAttention with Keras' own mask gives."""
    known, layer = masked_by_keras(), Masked(MASKS[name])
    inputs = keras.Input((TOKENS,), dtype="int32")
    by_hand = keras.Model(inputs, kl.Dense(2, name="head")(layer(inputs)))
    wq, bq, wk, bk, wv, bv, _, _ = known.model.get_layer("attention").get_weights()
    for part, w, b in ((layer.q, wq, bq), (layer.k, wk, bk), (layer.v, wv, bv)):
        part.set_weights([w.reshape(WIDTH, -1), b.reshape(-1)])
    layer.table.set_weights(known.model.get_layer("table").get_weights())
    by_hand.get_layer("head").set_weights(known.model.get_layer("head").get_weights())
    (found,) = same_as(known, by_hand, [composite])
    assert not found[known.x == 0].any()


CAUSAL = {
    "by Keras": None,
    "where": lambda s, _: ops.where(np.tril(np.ones((TOKENS, TOKENS), bool)), s, -1e9),
    "added": lambda s, _: s + np.triu(np.full((TOKENS, TOKENS), -1e9, np.float32), 1),
    "arange": lambda s, _: ops.where(ops.arange(TOKENS)[:, None] >= ops.arange(TOKENS)[None, :], s, -1e9),
    "band": lambda s, _: tf.where(tf.linalg.band_part(tf.ones((TOKENS, TOKENS)), -1, 0) > 0, s, -1e9),
    "with padding": lambda s, ids: ops.where(
        ops.logical_and(kept(ids)[:, None, :], ops.tril(ops.ones((TOKENS, TOKENS), "bool"))), s, -1e9
    ),
}  # fmt: skip


# By default the composites in turn.
@sweep("name composite", CAUSAL, ["cp_lrp", "attn_lrp", "epsilon"], kept=lambda name, c: c == name % 3)
def test_relevance_of_a_causal_model_never_reaches_later_tokens(name, composite, rng, randomise):
    inputs = keras.Input((TOKENS,), dtype="int32")
    if CAUSAL[name] is None:
        h = kl.Embedding(WORDS, WIDTH)(inputs)
        h = kl.MultiHeadAttention(2, 3)(h, h, use_causal_mask=True)
    else:

        def parts(layer):
            layer.table = kl.Embedding(WORDS, WIDTH)
            layer.q, layer.k, layer.v = (kl.Dense(WIDTH, name=part) for part in "qkv")

        def run(layer, ids):
            x = layer.table(ids)
            return ops.matmul(ops.softmax(CAUSAL[name](scores_of(layer, x), number(ids))), layer.v(x))

        h = Own(parts, run)(inputs)
    model = randomise(keras.Model(inputs, kl.Dense(WORDS)(h)), scale=0.8)
    explainer = lrp.Explainer(model, composite)
    x = rng.integers(1, WORDS, size=(2, TOKENS))
    for step in (0, 2, TOKENS - 1):
        mask = np.zeros((TOKENS, WORDS))
        mask[step, 3] = 1
        found = explainer(x, lrp.targets.Outputs(mask))
        assert not found[:, step + 1 :].any()
        assert np.abs(found[:, step]).min() > 0


@pytest.mark.parametrize(
    "composite", [EVERY[2], EVERY[5], *(pytest.param(one, marks=pytest.mark.slow) for one in EVERY[3:5])], ids=name_of
)
def test_minus_infinity_in_front_of_a_maximum(composite, rng, randomise):
    """Padding with -inf and pooling without padding is pooling with padding "same"."""
    inputs = keras.Input((5, 5, 2))

    def model(pool):
        h = kl.Conv2D(3, 2, padding="same", name="conv")(inputs)
        return keras.Model(inputs, kl.Dense(2, name="head")(kl.Flatten()(pool(h))))

    def by_hand(h):
        return ops.max_pool(ops.pad(h, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf), 3, strides=2)

    by_layers = randomise(model(kl.MaxPooling2D(3, strides=2, padding="same")))
    padded_by_hand = model(by_hand)
    padded_by_hand.set_weights(by_layers.get_weights())
    same(by_layers, padded_by_hand, rng.uniform(-3, 3, size=(2, 5, 5, 2)).astype(np.float32), [composite])


class Hidden(kl.Layer):
    """Attention with a learned bias of positions, of which a mask that is an input hides some."""

    def __init__(self, hide, **options):
        super().__init__(**options)
        self.table = kl.Embedding(WORDS, WIDTH, name="table")
        self.q, self.k, self.v = (kl.Dense(WIDTH, name=name) for name in "qkv")
        self.hide = hide
        weight(self, "positions", (TOKENS, TOKENS))

    def call(self, ids, mask):
        x = self.table(ids)
        scores = self.hide(scores_of(self, x), ops.convert_to_tensor(self.positions), mask[:, None, :])
        return ops.matmul(ops.softmax(scores), self.v(x))[:, 0]


HIDING = {
    "with the bias": lambda s, bias, mask: s + (bias + (1.0 - ops.cast(mask, "float32")) * -1e9),
    "in half precision's size": lambda s, bias, mask: s + (bias + (1.0 - ops.cast(mask, "float32")) * -10000.0),
    "by itself": lambda s, bias, mask: (s + bias) + -1e9 * (1 - ops.cast(mask, "float32")),
    "where": lambda s, bias, mask: ops.where(ops.cast(mask, "bool"), s + bias, -1e9),
}


def hidden(hide, kind):
    ids, mask = keras.Input((TOKENS,), dtype="int32", name="ids"), keras.Input((TOKENS,), dtype=kind, name="mask")
    return keras.Model({"ids": ids, "mask": mask}, kl.Dense(2, name="head")(Hidden(hide)(ids, mask)))


@functools.cache
def hidden_by_choice(kind):
    rng = np.random.default_rng(0)
    seen = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0]])
    model = randomised(rng, hidden(HIDING["where"], kind), scale=0.8)
    return Reference(model, {"ids": rng.integers(1, WORDS, (3, TOKENS)), "mask": seen})


@sweep("name kind composite", list(HIDING)[:-1], ["int32", "float32"], ATTENTION, kept=in_turn)
def test_a_mask_that_is_an_input_gets_nothing_of_a_bias_that_is_added_to_it(name, kind, composite):
    known, model = hidden_by_choice(kind), hidden(HIDING[name], kind)
    model.set_weights(known.model.get_weights())
    found, expected = lrp.relevance(model, known.x, known.target, composite), known.relevance(composite)
    assert not found["mask"].any()
    assert not found["ids"][known.x["mask"] == 0].any()
    close(found["ids"], expected["ids"])
