"""Attention: a small vision transformer against AttnLRP written down independently, in NumPy and float64.

The reference carries relevance R itself backwards, rule by rule, from Achtibat et al. 2024 ("AttnLRP: Attention-Aware
Layer-Wise Relevance Propagation for Transformers"):

* linear maps and sums, the epsilon rule: R_i = sum_j x_i W_ij / z_j R_j, bias in z_j;
* elementwise activations: R passes one to one (identity rule);
* softmax: R_i = x_i (R_i - s_i sum_j R_j);
* a product of two matrices, the uniform rule, O = A V: R_A = sum over outputs of A V / (2 O) R, and R_V alike;
* normalisation, the identity rule: the factor 1 / sqrt(var) passes R one to one; the mean is a linear map.
"""

import keras
import numpy as np
import pytest
from engine_helpers import sweep
from keras import layers as kl
from keras import ops

import lrp_monitor as lrp

PATCHES, WIDTH, HEADS, SIZE = 4, 6, 2, 3


def vision_transformer():
    inputs = keras.Input((8, 8, 2))
    x = kl.Conv2D(WIDTH, 4, strides=4, name="patches")(inputs)
    x = kl.Reshape((PATCHES, WIDTH))(x)
    for block in ("one", "two"):
        normed = kl.LayerNormalization(name=f"{block}_norm_a")(x)
        x = kl.Add()([x, kl.MultiHeadAttention(HEADS, SIZE, name=f"{block}_attention")(normed, normed)])
        normed = kl.LayerNormalization(name=f"{block}_norm_b")(x)
        hidden = kl.Dense(2 * WIDTH, activation="gelu", name=f"{block}_up")(normed)
        x = kl.Add()([x, kl.Dense(WIDTH, name=f"{block}_down")(hidden)])
    x = kl.LayerNormalization(name="norm")(x)
    return keras.Model(inputs, kl.Dense(3, name="head")(kl.GlobalAveragePooling1D()(x)))


class Reference:
    """Forward and relevance backward of the net above, one sample, float64; every step returns (value, backward)."""

    def __init__(self, model, conservative):
        self.model, self.conservative = model, conservative

    def weights(self, name):
        return [value.astype(np.float64) for value in self.model.get_layer(name).get_weights()]

    def linear(self, x, w, b, flat_in=1, flat_out=1):
        """Equation 8 on the last ``flat_in`` axes of x."""
        shape, out_shape = x.shape, w.shape[flat_in:]
        w2, b2 = w.reshape(int(np.prod(w.shape[:flat_in])), -1), b.reshape(-1)
        rows = x.reshape(-1, w2.shape[0])
        z = rows @ w2 + b2

        def backward(r):
            return (rows * ((r.reshape(z.shape) / z) @ w2.T)).reshape(shape)

        return z.reshape(*shape[: len(shape) - flat_in], *out_shape), backward

    def norm(self, x, name):
        """The identity rule for the factor, then the epsilon rule on gamma (x - mean) s + beta."""
        gamma, beta = self.weights(name)
        scale = gamma / np.sqrt(x.var(axis=-1, keepdims=True) + self.model.get_layer(name).epsilon)
        y = (x - x.mean(axis=-1, keepdims=True)) * scale + beta
        matrix = np.eye(WIDTH) - 1 / WIDTH

        def backward(r):
            return x * ((r / y * scale) @ matrix)

        return y, backward

    def attention(self, x, name):
        wq, bq, wk, bk, wv, bv, wo, bo = self.weights(name)
        (q, back_q), (k, back_k), (v, back_v) = (self.linear(x, w, b) for w, b in ((wq, bq), (wk, bk), (wv, bv)))
        scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(SIZE)
        a = np.exp(scores - scores.max(axis=-1, keepdims=True))
        a /= a.sum(axis=-1, keepdims=True)
        o = np.einsum("hqk,khd->qhd", a, v)
        y, back_o = self.linear(o, wo, bo, flat_in=2)

        def backward(r):
            share = back_o(r) / o
            if self.conservative:  # the weights are constants: everything goes to the value
                return back_v(np.einsum("hqk,khd,qhd->khd", a, v, share))
            r_v = np.einsum("hqk,khd,qhd->khd", a, v, share) / 2  # the uniform rule
            r_a = np.einsum("hqk,khd,qhd->hqk", a, v, share) / 2
            r_s = scores * (r_a - a * r_a.sum(axis=-1, keepdims=True))  # the softmax rule
            share = r_s / scores / np.sqrt(SIZE)
            r_q = np.einsum("hqk,qhd,khd->qhd", share, q, k) / 2  # the uniform rule again
            r_k = np.einsum("hqk,qhd,khd->khd", share, q, k) / 2
            return back_v(r_v) + back_q(r_q) + back_k(r_k)

        return y, backward

    def perceptron(self, x, block):
        up, down = self.weights(f"{block}_up"), self.weights(f"{block}_down")
        h, back_up = self.linear(x, *up)
        from math import erf

        g = h * 0.5 * (1 + np.vectorize(erf)(h / np.sqrt(2)))
        y, back_down = self.linear(g, *down)
        return y, lambda r: back_up(back_down(r))  # gelu: identity rule

    @staticmethod
    def residual(x, y, r):
        """Equation 8 on x + y."""
        share = r / (x + y)
        return x * share, y * share

    def relevance(self, image, target):
        kernel, bias = self.weights("patches")
        cut = image.reshape(2, 4, 2, 4, 2).transpose(0, 2, 1, 3, 4).reshape(PATCHES, -1)
        x, back_patches = self.linear(cut, kernel.reshape(-1, WIDTH), bias)
        steps = []
        for block in ("one", "two"):
            for name, part in (
                (f"{block}_norm_a", lambda t, b=block: self.attention(t, f"{b}_attention")),
                (f"{block}_norm_b", lambda t, b=block: self.perceptron(t, b)),
            ):
                normed, back_norm = self.norm(x, name)
                y, back_part = part(normed)
                steps.append((x, y, back_norm, back_part))
                x = x + y
        normed, back_norm = self.norm(x, "norm")
        pooled = normed.mean(axis=0)
        logits, back_head = self.linear(pooled[None], *self.weights("head"))
        r = back_head(np.eye(3)[target][None] * logits)
        r = normed / PATCHES * (r / pooled)  # the epsilon rule on the mean
        r = back_norm(r)
        for x, y, back_norm, back_part in reversed(steps):
            r, r_y = self.residual(x, y, r)
            r = r + back_norm(back_part(r_y))
        r = back_patches(r)
        return r.reshape(2, 2, 4, 4, 2).transpose(0, 2, 1, 3, 4).reshape(8, 8, 2), logits[0]


@pytest.mark.parametrize("composite", ["attn_lrp", "cp_lrp"])
def test_vision_transformer(composite, rng, randomise):
    model = randomise(vision_transformer())
    x = rng.normal(size=(3, 8, 8, 2)).astype(np.float32)
    rules = getattr(lrp.composites, composite)(0.0)
    explanation = lrp.Explainer(model, rules).explain(x, [0, 1, 2])
    reference = Reference(model, composite == "cp_lrp")
    for index, (sample, found) in enumerate(zip(x, explanation.relevance, strict=True)):
        expected, logits = reference.relevance(sample.astype(np.float64), index)
        np.testing.assert_allclose(explanation.logits[index], logits, rtol=1e-4, atol=1e-5)
        assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()
    stabilised = lrp.relevance(model, x, [0, 1, 2], composite)
    assert np.abs(stabilised - explanation.relevance).max() <= 1e-2 * np.abs(stabilised).max()


def without_biases(model):
    for variable in model.trainable_variables:
        if variable.name in ("bias", "beta"):
            variable.assign(np.zeros(variable.shape))


@pytest.mark.slow  # by default of each attention layer by itself: test_every_attention_layer
def test_constant_attention_weights_conserve(rng, randomise):
    """Sum of R over the logit: 1 with CP-LRP; AttnLRP's softmax takes or gives a share of its own."""
    model = randomise(vision_transformer())
    without_biases(model)
    x = rng.normal(size=(3, 8, 8, 2)).astype(np.float32)
    np.testing.assert_allclose(lrp.Explainer(model, "cp_lrp").explain(x, 0).conservation, 1, atol=1e-3)
    assert np.abs(lrp.Explainer(model, "attn_lrp").explain(x, 0).conservation - 1).max() > 1e-3


def sequence_net(layer, *, gated=False, masked=None):
    inputs = keras.Input((5, 4))
    options = {} if masked is None else {"attention_mask": masked}
    if gated == "causal":
        options = {"use_causal_mask": True}
    if isinstance(layer, kl.Attention):
        y = layer([kl.Dense(4, name="q")(inputs), kl.Dense(4, name="v")(inputs)])
    else:
        y = layer(inputs, inputs, **options)
    return keras.Model(inputs, kl.Dense(2)(kl.Flatten()(y)))


LAYERS = {
    "multi-head": (lambda: kl.MultiHeadAttention(2, 3), {}),
    "one key for two queries": (lambda: kl.GroupQueryAttention(3, 4, 2), {}),
    "dropout makes it compute in the open": (lambda: kl.MultiHeadAttention(2, 3, dropout=0.3), {}),
    "causal": (lambda: kl.MultiHeadAttention(2, 3), {"gated": "causal"}),
    "masked": (lambda: kl.MultiHeadAttention(2, 3), {"masked": np.tri(5, dtype=bool)[None]}),
    "gated": (lambda: kl.MultiHeadAttention(2, 3, use_gate=True), {}),
    "gated groups": (lambda: kl.GroupQueryAttention(3, 4, 2, use_gate=True), {}),
    "plain dot": (lambda: kl.Attention(use_scale=True), {}),
    "plain concat": (lambda: kl.Attention(score_mode="concat"), {}),
    "additive": (lambda: kl.AdditiveAttention(), {}),
}


# By default constant weights, under which all is conserved, and the other composite on every other layer.
@sweep("name composite", LAYERS, ["cp_lrp", "attn_lrp"], kept=lambda name, c: c == 0 or name % 2 == 0)
def test_every_attention_layer(name, composite, rng, randomise):
    """The logits are the model's own, and with constant weights and no biases nothing is lost or made."""
    make, options = LAYERS[name]
    model = randomise(sequence_net(make(), **options))
    without_biases(model)
    x = rng.normal(size=(3, 5, 4)).astype(np.float32)
    explanation = lrp.Explainer(model, composite).explain(x, 1)
    np.testing.assert_allclose(explanation.logits, np.asarray(model(x)), rtol=1e-4, atol=1e-5)
    assert np.isfinite(explanation.relevance).all()
    if composite == "cp_lrp":
        np.testing.assert_allclose(explanation.conservation, 1, atol=1e-3)


def test_causal_attention_is_the_same_as_with_a_mask(rng, randomise):
    causal = randomise(sequence_net(kl.MultiHeadAttention(2, 3), gated="causal"))
    masked = sequence_net(kl.MultiHeadAttention(2, 3), masked=np.tri(5, dtype=bool)[None])
    masked.set_weights(causal.get_weights())
    x = rng.normal(size=(2, 5, 4)).astype(np.float32)
    np.testing.assert_allclose(
        lrp.relevance(causal, x, 0, "attn_lrp"), lrp.relevance(masked, x, 0, "attn_lrp"), rtol=1e-4, atol=1e-5
    )


def test_nothing_is_left_on_an_attention_layer(rng, randomise):
    layer = kl.MultiHeadAttention(2, 3, use_gate=True)
    model = randomise(sequence_net(layer))
    before = [dict(part.__dict__) for part in model._flatten_layers()]
    lrp.relevance(model, rng.normal(size=(2, 5, 4)).astype(np.float32), 0, "attn_lrp")
    for part, state in zip(model._flatten_layers(), before, strict=True):
        assert part.__dict__.keys() == state.keys(), part.name


def test_an_attention_of_ones_own_is_what_it_computes(rng, randomise):
    class Squared(kl.MultiHeadAttention):
        def _compute_attention(self, query, key, value, *args, **kwargs):
            output, scores = super()._compute_attention(query, key, value, *args, **kwargs)
            return ops.square(output), scores

    model = randomise(sequence_net(Squared(2, 3)))
    without_biases(model)
    x = rng.normal(size=(3, 5, 4)).astype(np.float32)
    explanation = lrp.Explainer(model, "cp_lrp").explain(x, 1)
    np.testing.assert_allclose(explanation.logits, np.asarray(model(x)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(explanation.conservation, 1, atol=1e-3)  # the square passes one to one
