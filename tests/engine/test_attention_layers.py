"""Every attention layer of Keras against its rules written down independently, in NumPy and float64.

The reference carries relevance R itself backwards (Achtibat et al. 2024, "AttnLRP"; CP-LRP: Ali et al. 2022):

* projections and sums: the epsilon rule with epsilon 0, R_i = sum_j x_i W_ij / z_j R_j, bias in z_j;
* output of attention, O = A V, the uniform rule: half to A, half to V, each entry by its product's share of O;
* softmax: R_s = s (R_A - A sum R_A);
* scores that are products, s = scale q k: half to q, half to k; scores that are sums of tanh(q + k): by each term's
  share of s, through tanh one to one, and by the share of q and k in their sum;
* CP-LRP: A is constant, V gets everything.
"""

import keras
import numpy as np
from engine_helpers import in_turn, sweep
from keras import layers as kl

import lrp_monitor as lrp
from lrp_monitor import rules

STEPS, WIDTH = 5, 4
HEADS, GROUPS, SIZE = 4, 2, 3


def share(part, whole, relevance):
    """Relevance of the parts of a sum, whose last axes are summed: part / whole R."""
    return part * (relevance / whole)[..., None]


def softmax(s):
    e = np.exp(s - s.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def attend(scores, value, r_out, conservative):
    """Relevance of scores (q, k) and values (k, d) from that of the output (q, d)."""
    a = softmax(scores)
    products = a[:, :, None] * value  # q, k, d
    ratio = r_out / products.sum(axis=1)
    shares = products * ratio[:, None, :]
    if conservative:
        return np.zeros_like(scores), shares.sum(axis=0)
    r_a = shares.sum(axis=2) / 2
    return scores * (r_a - a * r_a.sum(axis=-1, keepdims=True)), shares.sum(axis=0) / 2


def of_products(query, key, scores, r_scores, scale):
    terms = scale * query[:, None, :] * key  # q, k, d
    r = share(terms, scores, r_scores) / 2
    return r.sum(axis=1), r.sum(axis=0)


def of_tanh(query, key, scores, r_scores, outer, inner):
    total = query[:, None, :] + key
    r = share(outer * np.tanh(inner * total), scores, r_scores)
    return (r * query[:, None, :] / total).sum(axis=1), (r * key / total).sum(axis=0)


SCORES = {
    "dot": (lambda: kl.Attention(), 1.0, None),
    "scaled dot": (lambda: kl.Attention(use_scale=True), 0.7, None),
    "concat": (lambda: kl.Attention(score_mode="concat"), None, (-1.3, 1.0)),
    "scaled concat": (lambda: kl.Attention(score_mode="concat", use_scale=True), None, (-1.3, 0.7)),
    "additive": (lambda: kl.AdditiveAttention(use_scale=False), None, (1.0, 1.0)),
    "scaled additive": (lambda: kl.AdditiveAttention(), None, ("vector", 1.0)),
}


@sweep("name composite", SCORES, ["attn_lrp", "cp_lrp"], kept=in_turn)
def test_attention_without_projections(name, composite, rng, randomise):
    make, scale, tanh = SCORES[name]
    layer = make()
    inputs = keras.Input((STEPS, WIDTH))
    q, v, k = (kl.Dense(WIDTH, name=part)(inputs) for part in "qvk")
    head = kl.Dense(2, name="head")
    model = randomise(keras.Model(inputs, head(kl.Flatten()(layer([q, v, k])))))
    vector = rng.normal(size=WIDTH).astype(np.float32)
    if layer.scale is not None:
        layer.scale.assign(vector if name == "scaled additive" else 0.7)
    if getattr(layer, "score_mode", None) == "concat":
        layer.concat_score_weight.assign(-1.3)
    x = rng.normal(size=(3, STEPS, WIDTH)).astype(np.float32)
    explanation = lrp.Explainer(model, getattr(lrp.composites, composite)(0.0)).explain(x, 1)
    (wq, bq), (wv, bv), (wk, bk), (w, b) = (
        [values.astype(np.float64) for values in model.get_layer(part).get_weights()]
        for part in ("q", "v", "k", "head")
    )
    for sample, found, logits in zip(x.astype(np.float64), explanation.relevance, explanation.logits, strict=True):
        query, value, key = sample @ wq + bq, sample @ wv + bv, sample @ wk + bk
        if tanh is None:
            scores = scale * query @ key.T
        else:
            outer, inner = (vector.astype(np.float64) if tanh[0] == "vector" else tanh[0]), tanh[1]
            scores = (outer * np.tanh(inner * (query[:, None, :] + key))).sum(axis=-1)
        out = softmax(scores) @ value
        np.testing.assert_allclose(logits, out.reshape(-1) @ w + b, rtol=1e-4, atol=1e-5)
        r_out = out * w[:, 1].reshape(STEPS, WIDTH)
        r_scores, r_value = attend(scores, value, r_out, composite == "cp_lrp")
        if tanh is None:
            r_query, r_key = of_products(query, key, scores, r_scores, scale)
        else:
            r_query, r_key = of_tanh(query, key, scores, r_scores, outer, inner)
        expected = sample * (r_query / query @ wq.T + r_value / value @ wv.T + r_key / key @ wk.T)
        assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


ZERO = rules.Epsilon(0)
COMPOSITES = {
    "attn_lrp": lrp.composites.attn_lrp(0.0),
    "cp_lrp": lrp.composites.cp_lrp(0.0),
    "attn_lrp, gates constant": lrp.Composite(dense=ZERO, product="gate"),
    "cp_lrp, other products halved": lrp.Composite(dense=ZERO, attention="cp_lrp", product="half"),
}


GROUPED = {
    **{name: (name, False) for name in ("attn_lrp", "cp_lrp")},
    **{f"{name}, gated": (name, True) for name in COMPOSITES},
}


@sweep("name scores", GROUPED, ["fused", "open"], kept=in_turn)
def test_grouped_queries(name, scores, rng, randomise):
    """Query heads 0 and 1 read key and value head 0, heads 2 and 3 read head 1; a gate takes half of its product."""
    (composite, gated), open_scores = GROUPED[name], scores == "open"
    layer = kl.GroupQueryAttention(SIZE, HEADS, GROUPS, use_gate=gated, dropout=0.2 if open_scores else 0.0)
    inputs = keras.Input((STEPS, WIDTH))
    head = kl.Dense(2, name="head")
    model = randomise(keras.Model(inputs, head(kl.Flatten()(layer(inputs, inputs)))))
    x = rng.normal(size=(2, STEPS, WIDTH)).astype(np.float32)
    explanation = lrp.Explainer(model, COMPOSITES[composite]).explain(x, 0)

    def weights(part):
        return [np.asarray(value, np.float64) for value in (part.kernel, part.bias)]

    (wq, bq), (wk, bk), (wv, bv), (wo, bo) = (
        weights(part) for part in (layer._query_dense, layer._key_dense, layer._value_dense, layer._output_dense)
    )
    w, b = weights(head)
    conservative = composite.startswith("cp_lrp")
    for sample, found, logits in zip(x.astype(np.float64), explanation.relevance, explanation.logits, strict=True):
        query, key, value = (np.einsum("td,dhe->the", sample, m) + c for m, c in ((wq, bq), (wk, bk), (wv, bv)))
        one_for_two = [h * GROUPS // HEADS for h in range(HEADS)]
        scores = [query[:, h] @ key[:, g].T / np.sqrt(SIZE) for h, g in enumerate(one_for_two)]
        out = np.stack([softmax(s) @ value[:, g] for s, g in zip(scores, one_for_two, strict=True)], axis=1)
        gate = np.ones_like(out)
        if gated:
            wg, bg = weights(layer._gate_dense)
            before_gate = np.einsum("td,dhe->the", sample, wg) + bg
            gate = 1 / (1 + np.exp(-before_gate))
        y = np.einsum("the,hed->td", out * gate, wo) + bo
        np.testing.assert_allclose(logits, y.reshape(-1) @ w + b, rtol=1e-4, atol=1e-5)
        ratio = w[:, 0].reshape(STEPS, WIDTH)  # R_y / y
        r_out = out * gate * np.einsum("td,hed->the", ratio, wo)
        expected = np.zeros_like(sample)
        if gated and composite == "attn_lrp":  # cp_lrp holds the gate constant as it holds attention weights
            r_out = r_out / 2
            expected += sample * np.einsum("the,dhe->td", r_out / before_gate, wg)
        r_query, r_key, r_value = np.zeros_like(query), np.zeros_like(key), np.zeros_like(value)
        for h, g in enumerate(one_for_two):
            r_scores, to_value = attend(scores[h], value[:, g], r_out[:, h], conservative)
            to_query, to_key = of_products(query[:, h], key[:, g], scores[h], r_scores, 1 / np.sqrt(SIZE))
            r_query[:, h] += to_query
            r_key[:, g] += to_key
            r_value[:, g] += to_value
        for r, made, m in ((r_query, query, wq), (r_key, key, wk), (r_value, value, wv)):
            expected += sample * np.einsum("the,dhe->td", r / made, m)
        assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()
