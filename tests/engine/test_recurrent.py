"""Recurrent layers against the rule restated step by step in float64, and against the same nets made by hand.

The restatement walks backward through time with relevance itself, no gradient, no surrogate: Arras et al. 2017
("Explaining Recurrent Neural Network Predictions in Sentiment Analysis") and Arras et al. 2019 ("Explaining and
Interpreting LSTMs", rule LRP-all): the epsilon rule on weighted maps, all relevance of gate * signal to the signal.
"""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from engine_helpers import close, in_turn, sweep
from hand_helpers import Reference
from keras import layers as kl
from keras import ops

import lrp_monitor as lrp
from lrp_monitor import rules
from lrp_monitor.engine.targets import Region
from lrp_monitor.engine.trace.graph import Graph

STEPS, FEATURES, UNITS = 3, 4, 3
EPS = 1e-3


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def epsilon_rule(values, weights, z, relevance, epsilon=EPS):
    """R_i = sum_j a_i w_ij / (z_j + epsilon sign(z_j)) R_j (Bach et al. 2015, equation 58), one sample."""
    share = values[:, None] * weights
    return share @ (relevance / (z + epsilon * np.where(z >= 0, 1, -1)))


def part(total, whole, relevance):
    """The share of one summand of a sum, 0 / 0 = 0."""
    return np.divide(total * relevance, whole, out=np.zeros_like(whole), where=whole != 0)


class Walk:
    """One sample through one layer, forward and then relevance backward; all float64."""

    def __init__(self, weights):
        self.w, self.u, self.b = (np.asarray(value, np.float64) for value in weights)

    def block(self, k):
        return slice(k * UNITS, (k + 1) * UNITS)

    def forward(self, x):
        states, self.tape = self.start(), []
        for x_t in x:
            states = self.step(x_t, states)
        return np.array([entry["h"] for entry in self.tape])

    def backward(self, relevance_h):
        """Relevance of x (steps, features) from that of every step's output."""
        found, ahead = [], [np.zeros(UNITS) for _ in self.start()]
        for entry, own in zip(reversed(self.tape), relevance_h[::-1], strict=True):
            ahead[0] = ahead[0] + own
            of_x, ahead = self.back(entry, ahead)
            found.append(of_x)
        return np.array(found[::-1])

    def map_back(self, entry, k, h, relevance, bias):
        """The map of the signal shares out to x and h together."""
        joined = np.concatenate([entry["x"], h])
        weights = np.concatenate([self.w[:, self.block(k)], bias])
        both = epsilon_rule(joined, weights, entry["z"], relevance)
        return both[:FEATURES], both[FEATURES:]


class LSTM(Walk):
    def start(self):
        return [np.zeros(UNITS), np.zeros(UNITS)]

    def step(self, x, states):
        h, c = states
        z = x @ self.w + h @ self.u + self.b
        i, f, o = (sigmoid(z[self.block(k)]) for k in (0, 1, 3))
        g = np.tanh(z[self.block(2)])
        after = f * c + i * g
        out = o * np.tanh(after)
        self.tape.append(
            {"x": x, "h_before": h, "z": z[self.block(2)], "old": f * c, "new": i * g, "c": after, "h": out}
        )
        return [out, after]

    def back(self, e, ahead):
        of_c = ahead[0] + ahead[1]  # h = o tanh(c): the signal c takes all; then both uses of c are summed
        of_x, of_h = self.map_back(e, 2, e["h_before"], part(e["new"], e["c"], of_c), self.u[:, self.block(2)])
        return of_x, [of_h, part(e["old"], e["c"], of_c)]


class GRU(Walk):
    reset_after = True

    def start(self):
        return [np.zeros(UNITS)]

    def step(self, x, states):
        (h,) = states
        b_in, b_rec = self.b if self.reset_after else (self.b, np.zeros_like(self.b))
        z_in, z_rec = x @ self.w + b_in, h @ self.u + b_rec
        update, reset = (sigmoid((z_in + z_rec)[self.block(k)]) for k in (0, 1))
        last = self.block(2)
        inner = z_in[last] + (reset * z_rec[last] if self.reset_after else (reset * h) @ self.u[:, last])
        old, new = update * h, (1 - update) * np.tanh(inner)
        self.tape.append({"x": x, "h_before": h, "reset": reset, "z": inner, "old": old, "new": new, "h": old + new})
        return [old + new]

    def back(self, e, ahead):
        u, reset = self.u[:, self.block(2)], e["reset"]
        # The reset gate is a constant factor: behind the matrix it scales columns, before it rows.
        weights = u * reset if self.reset_after else u * reset[:, None]
        of_x, of_h = self.map_back(e, 2, e["h_before"], part(e["new"], e["h"], ahead[0]), weights)
        return of_x, [of_h + part(e["old"], e["h"], ahead[0])]


class GRUBefore(GRU):
    reset_after = False


class SimpleRNN(Walk):
    def start(self):
        return [np.zeros(UNITS)]

    def step(self, x, states):
        z = x @ self.w + states[0] @ self.u + self.b
        self.tape.append({"x": x, "h_before": states[0], "z": z, "h": np.tanh(z)})
        return [np.tanh(z)]

    def back(self, e, ahead):
        of_x, of_h = self.map_back(e, 0, e["h_before"], ahead[0], self.u)
        return of_x, [of_h]


MAKES = {
    "lstm": (LSTM, lambda **o: kl.LSTM(UNITS, **o)),
    "gru": (GRU, lambda **o: kl.GRU(UNITS, **o)),
    "gru reset before": (GRUBefore, lambda **o: kl.GRU(UNITS, reset_after=False, **o)),
    "simple": (SimpleRNN, lambda **o: kl.SimpleRNN(UNITS, **o)),
}
EPSILON = lrp.Composite(conv=rules.Epsilon(EPS), dense=rules.Epsilon(EPS), overrides={"head": rules.Epsilon(0)})


def sequence(rng, n=2, features=FEATURES):
    return rng.normal(size=(n, STEPS, features)).astype(np.float32)


def net(*layers, features=FEATURES, bias=False):
    model = keras.Sequential(
        [keras.Input((STEPS, features)), *layers, kl.Flatten(), kl.Dense(2, use_bias=bias, name="head")]
    )
    rng = np.random.default_rng(7)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(size=variable.shape).astype(np.float32) * 0.6)
    return model


def own(model, x):
    """What the model itself computes."""
    return np.asarray(model(x))


@pytest.mark.parametrize("name", MAKES)
def test_against_the_rule_restated(name, rng):
    walk, make = MAKES[name]
    sequences = True
    layer = make(return_sequences=sequences)
    model = net(layer)
    x = sequence(rng)
    explainer = lrp.Explainer(model, EPSILON)
    explanation = explainer.explain(x, 1)
    if name in ("lstm", "gru"):
        close(explainer(x[:1], 1), explanation.relevance[:1])  # Keras adds what one sample makes by other operations
    close(explanation.logits, own(model, x))
    head = model.get_layer("head").get_weights()[0][:, 1].astype(np.float64)
    for sample, found in zip(x.astype(np.float64), explanation.relevance, strict=True):
        restated = walk(layer.get_weights())
        h = restated.forward(sample)
        start = np.zeros_like(h)
        if sequences:
            start = h * head.reshape(h.shape)
        else:
            start[-1] = h[-1] * head
        close(found, restated.backward(start), 1e-4)


@pytest.mark.parametrize(
    "name",
    # the others, of which the rule restated tells as much, are slow
    [pytest.param(name, marks=[pytest.mark.slow] * (name not in ("lstm", "gru"))) for name in MAKES],
)
def test_without_biases_all_relevance_arrives(name, rng):
    """LRP-0 with the biases of the signal zero: nothing is absorbed, whatever the gates' biases are."""
    layer = MAKES[name][1](return_sequences=True)
    model = net(layer)
    cell = layer.cell
    bias = cell.bias.numpy()
    bias[..., {"lstm": slice(2 * UNITS, 3 * UNITS), "simple": slice(None)}.get(name, slice(2 * UNITS, None))] = 0
    cell.bias.assign(bias)
    assert name == "simple" or np.abs(bias).max() > 0.1
    np.testing.assert_allclose(lrp.Explainer(model, "lrp_zero").explain(sequence(rng), 0).conservation, 1, atol=1e-4)


def layers_of_own_cells():
    return [kl.RNN([kl.LSTMCell(4), kl.GRUCell(3), kl.SimpleRNNCell(UNITS)], return_sequences=True)]


VALUES = {
    "stacked cells": layers_of_own_cells,
    "one cell": lambda: [kl.RNN(kl.GRUCell(UNITS), return_sequences=True, go_backwards=True)],
    "backwards": lambda: [kl.LSTM(UNITS, go_backwards=True)],
    "backwards, sequences": lambda: [kl.LSTM(UNITS, go_backwards=True, return_sequences=True)],
    "dropout": lambda: [kl.LSTM(UNITS, dropout=0.5, recurrent_dropout=0.5)],
    "no bias, unrolled": lambda: [kl.GRU(UNITS, use_bias=False, unroll=True)],
    "activations": lambda: [kl.LSTM(UNITS, activation="relu", recurrent_activation="hard_sigmoid")],
    "linear": lambda: [kl.SimpleRNN(UNITS, activation=None)],
    "masked": lambda: [kl.Masking(), kl.LSTM(UNITS)],
    "masked, sequences": lambda: [kl.Masking(), kl.GRU(UNITS, return_sequences=True, go_backwards=True)],
    "masked, zeros": lambda: [kl.Masking(), kl.LSTM(UNITS, return_sequences=True, zero_output_for_mask=True)],
    "masked both ways": lambda: [kl.Masking(), kl.Bidirectional(kl.GRU(UNITS, return_sequences=True)), kl.LSTM(2)],
    "masked stack": lambda: [kl.Masking(), *layers_of_own_cells()],
}


# What another one does as well, or two others: slow.
IN_OTHERS = {"one cell", "backwards", "masked stack"}


@pytest.mark.filterwarnings("ignore:Layer 'flatten:UserWarning")  # it ends the mask, as it should here
@pytest.mark.parametrize("name", [pytest.param(one, marks=[pytest.mark.slow] * (one in IN_OTHERS)) for one in VALUES])
def test_the_explained_logit_is_the_models_own_and_empty_steps_get_nothing(name, rng):
    model = net(*VALUES[name](), bias=True)
    x = sequence(rng, 3)
    x[0, 3:], x[1, 0], x[2, 2] = 0, 0, 0  # padded behind, before and between
    explanation = lrp.Explainer(model, "epsilon_plus_flat").explain(x, 1)
    close(explanation.logits, own(model, x))
    assert np.isfinite(explanation.relevance).all()
    # Masked steps are not seen; a step of zeros that is seen adds nothing to the map, so flat has nothing to share.
    empty = (x == 0).all(axis=-1)
    np.testing.assert_array_equal(explanation.relevance[empty], 0)
    assert np.abs(explanation.relevance[~empty]).max() > 0


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_masked_steps_are_as_if_they_were_not_there(name, rng):
    layer = MAKES[name][1]()
    masked, plain = net(kl.Masking(), layer), net(layer)
    x = sequence(rng, 1)
    x[0, 1] = 0
    short = keras.Sequential([keras.Input((2, FEATURES)), layer, plain.get_layer("head")])
    found = lrp.relevance(masked, x, 1, EPSILON)
    masked.get_layer("head").set_weights(plain.get_layer("head").get_weights())
    close(found[:, [0, 2]], lrp.relevance(short, x[:, [0, 2]], 1, EPSILON))


def test_states_carry_relevance_from_an_encoder_to_a_decoder(rng):
    """The decoder reads a constant: all its relevance comes through the states that the encoder hands over."""
    inputs = keras.Input((STEPS, FEATURES))
    _, h, c = kl.LSTM(UNITS, return_state=True, use_bias=False)(inputs)
    repeated = kl.RepeatVector(2)(kl.Dense(UNITS, use_bias=False, name="zero")(h))
    out, h2, c2 = kl.LSTM(UNITS, return_state=True, use_bias=False)(repeated, initial_state=[h, c])
    model = keras.Model(inputs, kl.Dense(2, use_bias=False)(kl.Concatenate()([out, h2, c2])))
    rng2 = np.random.default_rng(3)
    for variable in model.weights:
        variable.assign(rng2.normal(size=variable.shape).astype(np.float32))
    model.get_layer("zero").set_weights([np.zeros((UNITS, UNITS))])
    x = sequence(rng)
    explanation = lrp.Explainer(model, "lrp_zero").explain(x, 0)
    close(explanation.logits, own(model, x))
    np.testing.assert_allclose(explanation.conservation, 1, atol=1e-3)


# --- the layer as the first weighted one ------------------------------------------------------------------------

INPUT_RULES = {
    "flat": (rules.Flat(), lambda x, w: np.ones_like(x[:, None] * w)),
    "w2": (rules.WSquare(), lambda x, w: np.ones_like(x)[:, None] * w**2),
    "zB": (rules.ZBox(-4, 4), lambda x, w: x[:, None] * w + 4 * np.maximum(w, 0) - 4 * np.minimum(w, 0)),
}


@pytest.mark.parametrize("rule", INPUT_RULES)
def test_input_rules_share_out_within_x_what_epsilon_gives_x(rule, rng):
    """Per unit, x as a whole gets (x W) / (z + eps) R_z, then the rule's shares; h gets what epsilon gives it."""
    composite = lrp.Composite(
        dense=rules.Epsilon(EPS), first=INPUT_RULES[rule][0], overrides={"head": rules.Epsilon(0)}
    )
    shares = INPUT_RULES[rule][1]

    class First(SimpleRNN):
        def map_back(self, entry, k, h, relevance, bias):
            x, z = entry["x"], entry["z"]
            ratio = relevance / (z + EPS * np.where(z >= 0, 1, -1))
            pieces = shares(x, self.w)
            of_x = (pieces / pieces.sum(axis=0)) @ ((x @ self.w) * ratio)
            return of_x, epsilon_rule(h, bias, z, relevance)

    layer = kl.SimpleRNN(UNITS)
    model = net(layer)
    x = sequence(rng)
    x[0, 2] = 0
    explanation = lrp.Explainer(model, composite).explain(x, 0)
    close(explanation.logits, own(model, x))
    head = model.get_layer("head").get_weights()[0][:, 0].astype(np.float64)
    for sample, found in zip(x.astype(np.float64), explanation.relevance, strict=True):
        restated = First(layer.get_weights())
        h = restated.forward(sample)
        start = np.zeros_like(h)
        start[-1] = h[-1] * head
        close(found, restated.backward(start), 1e-4)


@functools.cache
def without_input_rule(name):
    reference = Reference(net(MAKES[name][1](return_sequences=True)), sequence(np.random.default_rng(0)), 0)
    return reference, reference.relevance(EPSILON).sum(axis=-1)


@sweep("name rule", ["lstm", "gru"], INPUT_RULES, kept=in_turn)
def test_input_rules_move_relevance_only_within_a_step(name, rule):
    known, expected = without_input_rule(name)
    composite = lrp.Composite(
        dense=rules.Epsilon(EPS), first=INPUT_RULES[rule][0], overrides={"head": rules.Epsilon(0)}
    )
    close(lrp.relevance(known.model, known.x, 0, composite).sum(axis=-1), expected, 1e-4)


@pytest.mark.parametrize("rule", [rules.ZPlus(), rules.AlphaBeta(2, 1), rules.Gamma(0.25)], ids=["z+", "ab", "gamma"])
def test_sign_splitting_rules_on_the_joined_contributions(rule, rng):
    """One step of a SimpleRNN with a given state is a dense layer on (x, h); relevance of both, by the dense layer."""
    inputs = keras.Input((FEATURES + UNITS,))
    x = kl.Reshape((1, FEATURES))(inputs[:, :FEATURES])
    rnn = kl.SimpleRNN(UNITS, activation="relu")
    dense, head = kl.Dense(UNITS, activation="relu"), kl.Dense(2, use_bias=False)
    one = keras.Model(inputs, head(rnn(x, initial_state=inputs[:, FEATURES:])))
    two = keras.Model(inputs, head(dense(inputs)))
    for variable in one.weights:
        variable.assign(rng.normal(size=variable.shape).astype(np.float32))
    w, u, b = rnn.get_weights()
    dense.set_weights([np.concatenate([w, u]), b])
    values = rng.normal(size=(3, FEATURES + UNITS)).astype(np.float32)
    composite = lrp.Composite(dense=rule)
    close(lrp.relevance(one, values, 1, composite), lrp.relevance(two, values, 1, composite))


def test_z_plus_behind_a_reset_gate(rng):
    """One step of a GRU with reset_after: the gate scales the state's contributions and its bias, then z+ shares."""
    inputs = keras.Input((FEATURES + UNITS,))
    gru, head = kl.GRU(UNITS), kl.Dense(1, use_bias=False)
    x = kl.Reshape((1, FEATURES))(inputs[:, :FEATURES])
    model = keras.Model(inputs, head(gru(x, initial_state=inputs[:, FEATURES:])))
    for variable in model.weights:
        variable.assign(rng.normal(size=variable.shape).astype(np.float32))
    values = rng.normal(size=(3, FEATURES + UNITS)).astype(np.float32)
    composite = lrp.Composite(dense=rules.ZPlus(), overrides={head.name: rules.Epsilon(0)})
    found = lrp.relevance(model, values, 0, composite)
    w = head.get_weights()[0][:, 0].astype(np.float64)
    for sample, map_ in zip(values.astype(np.float64), found, strict=True):
        walk, h = GRU(gru.get_weights()), sample[FEATURES:]
        walk.tape = []
        walk.step(sample[:FEATURES], [h])
        entry, last = walk.tape[0], walk.block(2)
        weights = np.concatenate([walk.w[:, last], walk.u[:, last] * entry["reset"]])
        positive = np.maximum(sample[:, None] * weights, 0)
        bias = walk.b[0, last] + entry["reset"] * walk.b[1, last]
        expected = positive @ (entry["new"] * w / (positive.sum(axis=0) + np.maximum(bias, 0) + 1e-6))
        expected[FEATURES:] += entry["old"] * w
        close(map_, expected, 1e-4)


SIGNS = {
    "states of both signs": lambda: kl.SimpleRNN(UNITS, return_sequences=True),
    "gates of both signs": lambda: kl.LSTM(UNITS, activation="softplus", recurrent_activation="tanh"),
    "states above zero": lambda: kl.LSTM(UNITS, activation="softplus"),
}


@pytest.mark.parametrize("name", SIGNS)
def test_a_short_cut_for_non_negative_values_is_none_where_states_have_both_signs(name, rng):
    """Behind a ReLU x is known not to be negative, on rectified x itself it is not: one map, with or without."""
    layer = SIGNS[name]()
    behind_relu = net(kl.ReLU(), layer)
    alone = keras.Sequential([keras.Input((STEPS, FEATURES)), layer, *behind_relu.layers[-2:]])
    x = np.maximum(sequence(rng), 0)
    composite = lrp.Composite(dense=rules.ZPlus(), overrides={"head": rules.Epsilon(0)})
    close(lrp.relevance(behind_relu, x, 1, composite), lrp.relevance(alone, x, 1, composite))


def test_a_first_step_from_nothing_is_a_dense_layer(rng):
    """x has both signs, the state is zero: z+ must not take x for non-negative because the state is."""
    rnn, dense = kl.SimpleRNN(UNITS, activation="relu"), kl.Dense(UNITS, activation="relu")
    model = keras.Sequential([keras.Input((1, FEATURES)), rnn, kl.Dense(2, use_bias=False)])
    by_hand = keras.Sequential([keras.Input((1, FEATURES)), kl.Flatten(), dense, model.layers[-1]])
    w, u, _ = rnn.get_weights()
    dense.set_weights([w, np.array([0.3, -0.2, 0.1])])
    rnn.set_weights([w, u, np.array([0.3, -0.2, 0.1])])
    x = rng.normal(size=(3, 1, FEATURES)).astype(np.float32)
    composite = lrp.Composite(dense=rules.ZPlus())
    close(lrp.relevance(model, x, 1, composite), lrp.relevance(by_hand, x, 1, composite))


class IndependentCell(kl.Layer):
    """Li et al. 2018: each unit reads its own state alone."""

    state_size = UNITS

    def build(self, shape):
        self.u = self.add_weight(shape=(shape[-1], UNITS))
        self.w = self.add_weight(shape=(UNITS,))
        self.b = self.add_weight(shape=(UNITS,))

    def call(self, x, states):
        h = ops.tanh(ops.matmul(x, self.u) + states[0] * self.w + self.b)
        return h, [h]


@sweep("rule first", [rules.AlphaBeta(2, 1), rules.Gamma(0.25)], [None, rules.Flat()], kept=lambda rule, _: rule == 0)
def test_an_independently_recurrent_cell_has_a_diagonal_matrix(rule, first, rng):
    by_hand, by_layers = net(kl.RNN(IndependentCell())), net(kl.SimpleRNN(UNITS))
    u, w, b, *rest = (rng.normal(size=value.shape).astype(np.float32) for value in by_hand.get_weights())
    by_hand.set_weights([u, w, b, *rest])
    by_layers.set_weights([u, np.diag(w), b, *rest])
    x = sequence(rng)
    composite = lrp.Composite(dense=rule, first=first)
    close(lrp.relevance(by_hand, x, 1, composite), lrp.relevance(by_layers, x, 1, composite))


def test_an_input_rule_within_what_z_plus_gives_x(rng):
    """One step from nothing: x as a whole gets (x W)+ / ((x W)+ + b+) of each unit, and flat shares it in quarters."""
    rnn, head = kl.SimpleRNN(UNITS, activation="relu"), kl.Dense(2, use_bias=False, name="head")
    model = keras.Sequential([keras.Input((1, FEATURES)), rnn, head])
    w, u, b = rnn.get_weights()
    b += 1.0
    rnn.set_weights([w, u, b])
    x = rng.normal(size=(4, 1, FEATURES)).astype(np.float32)
    composite = lrp.Composite(dense=rules.ZPlus(), first=rules.Flat(), overrides={"head": rules.Epsilon(0)})
    of_x = x[:, 0].astype(np.float64) @ w
    relevance = np.maximum(of_x + b, 0) * head.get_weights()[0][:, 1]
    assert ((of_x < 0) & (relevance != 0)).any()
    positive = np.maximum(of_x, 0)
    total = (positive / (positive + b + 1e-6) * relevance).sum(axis=1)
    close(lrp.relevance(model, x, 1, composite), np.tile(total[:, None, None] / FEATURES, (1, 1, FEATURES)), 1e-4)


def test_a_box_of_its_own_for_every_step(rng):
    """One unit: what a step gets is shared by x w - low w+ - high w-, with that step's low and high."""
    layer = kl.SimpleRNN(1)
    model = net(layer)
    x = sequence(rng)
    low, high = x.min(axis=0) - rng.uniform(size=x.shape[1:]), x.max(axis=0) + rng.uniform(size=x.shape[1:])
    options = {"dense": rules.Epsilon(EPS), "overrides": {"head": rules.Epsilon(0)}}
    found = lrp.relevance(model, x, 0, lrp.Composite(first=rules.ZBox(low, high), **options))
    of_step = lrp.relevance(model, x, 0, lrp.Composite(**options)).sum(axis=-1, keepdims=True)
    w = layer.get_weights()[0][:, 0].astype(np.float64)
    pieces = x * w - low * np.maximum(w, 0) - high * np.minimum(w, 0)
    close(found, of_step * pieces / pieces.sum(axis=-1, keepdims=True), 1e-4)


# --- wrappers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "sequences"),
    [
        ("concat", False),
        ("mul", True),
        (None, True),
        pytest.param("concat", True, marks=pytest.mark.slow),  # None, which joins what this one has joined
        pytest.param("sum", True, marks=pytest.mark.slow),  # with states in test_bidirectional_hands_states_in_and_out
        pytest.param("ave", True, marks=pytest.mark.slow),  # half the sum
    ],
    ids=str,
)
def test_bidirectional_is_two_layers_merged_by_hand(mode, sequences, rng):
    """What is merged does not depend on what the layer computes: the smallest one stands for all but in the default."""
    inputs = keras.Input((STEPS, FEATURES))
    one_way = kl.LSTM if mode == "concat" and not sequences else kl.SimpleRNN
    wrapped = kl.Bidirectional(one_way(UNITS, return_sequences=sequences), merge_mode=mode)
    ways = [one_way(UNITS, return_sequences=sequences, go_backwards=back) for back in (False, True)]
    merge = {"concat": kl.Concatenate(), "sum": kl.Add(), "ave": kl.Average(), "mul": kl.Multiply()}
    head = kl.Dense(2, name="head")
    merged = wrapped(inputs)
    ahead, back = (way(inputs) for way in ways)
    if sequences:
        back = back[:, ::-1]
    together = [kl.Flatten()(x) for x in ([merged] if mode else merged)]
    one = keras.Model(inputs, head(together[0] if mode else kl.Concatenate()(together)))
    parts = merge[mode]([ahead, back]) if mode else kl.Concatenate()([kl.Flatten()(ahead), kl.Flatten()(back)])
    two = keras.Model(inputs, head(kl.Flatten()(parts)))
    for variable in one.weights:
        variable.assign(rng.normal(size=variable.shape).astype(np.float32) * 0.5)
    for way, source in zip(ways, (wrapped.forward_layer, wrapped.backward_layer), strict=True):
        way.set_weights(source.get_weights())
    x = sequence(rng)
    composite = "epsilon" if mode in ("mul", "sum") else "epsilon_plus_flat"
    explanation = lrp.Explainer(one, composite).explain(x, 0)
    close(explanation.logits, own(one, x))
    close(explanation.relevance, lrp.relevance(two, x, 0, composite))


def test_bidirectional_hands_states_in_and_out(rng):
    inputs = keras.Input((STEPS, FEATURES))
    first = kl.Bidirectional(kl.GRU(UNITS, return_state=True, use_bias=False, return_sequences=True))
    y, *states = first(inputs)
    second = kl.Bidirectional(kl.GRU(UNITS, use_bias=False), merge_mode="sum")
    model = keras.Model(inputs, kl.Dense(2, use_bias=False)(second(y, initial_state=states)))
    for variable in model.weights:
        variable.assign(rng.normal(size=variable.shape).astype(np.float32) * 0.5)
    x = sequence(rng)
    explanation = lrp.Explainer(model, "lrp_zero").explain(x, 0)
    close(explanation.logits, own(model, x))
    np.testing.assert_allclose(explanation.conservation, 1, atol=1e-3)


def video(wrap, offset):
    """A convolutional net per frame, its layers one by one inside a wrapper, or as one model."""
    parts = [
        kl.Rescaling(0.5, offset),
        kl.ZeroPadding2D(1),
        kl.Conv2D(3, 3),
        kl.BatchNormalization(),
        kl.ReLU(),
        kl.MaxPooling2D(2),
        kl.Flatten(),
        kl.Dense(4, activation="relu"),
    ]
    frame = (6, 6, 2)
    inputs = keras.Input((STEPS, *frame))
    if wrap == "layers":
        y = inputs
        for one in parts:
            y = kl.TimeDistributed(one)(y)
    elif wrap == "model":
        y = kl.TimeDistributed(keras.Sequential([keras.Input(frame), *parts]))(inputs)
    else:
        inner = keras.Sequential([keras.Input(frame), *parts])
        y = ops.stack([inner(inputs[:, t]) for t in range(STEPS)], axis=1)
    return keras.Model(inputs, kl.Dense(2)(kl.LSTM(UNITS)(y)))


@pytest.mark.parametrize("composite", ["epsilon_plus", "epsilon_plus_flat"])
def test_time_distributed_is_the_net_applied_to_every_step(composite, rng, randomise):
    # Cut out of the input by hand, a frame is not the input itself: an offset would absorb there, flat not reach it.
    models = [randomise(video(w, 0.1 * (composite != "epsilon_plus"))) for w in ("layers", "model", "by hand")]
    for model in models[1:]:
        model.set_weights(models[0].get_weights())
    x = rng.uniform(-1, 1, size=(2, STEPS, 6, 6, 2)).astype(np.float32)
    explainers = [lrp.Explainer(model, composite) for model in models[:2]]
    found = [explainer.explain(x, 1) for explainer in explainers]
    for model, explanation in zip(models, found, strict=False):
        close(explanation.logits, own(model, x), 1e-4)
    close(found[0].relevance, found[1].relevance)
    text = str(explainers[0])
    assert "folded into the weighted layer before it" in text
    if composite == "epsilon_plus":
        close(found[0].relevance, lrp.relevance(models[2], x, 1, composite), 1e-4)
    else:
        assert "Flat()" in text.split("\n\n", 1)[1]


def test_flat_counts_what_each_step_holds(rng):
    """A step of padding in front: on real steps each of 4 inputs has a quarter, on the padded one nothing is there."""
    inputs = keras.Input((STEPS, FEATURES))
    dense = kl.Dense(1, use_bias=False)
    y = kl.TimeDistributed(dense)(kl.ZeroPadding1D((1, 0))(inputs))
    model = keras.Model(inputs, kl.Dense(1, use_bias=False, name="head")(kl.Flatten()(y)))
    x = sequence(rng)
    found = lrp.relevance(model, x, 0, lrp.Composite(dense=rules.Epsilon(0), first=rules.Flat()))
    w, head = dense.get_weights()[0], model.get_layer("head").get_weights()[0]
    expected = (x @ w) * head[1:] / FEATURES
    close(found, np.repeat(expected, FEATURES, axis=-1))


def test_softmax_of_every_step_is_looked_behind(rng):
    """TimeDistributed(Dense(softmax)) as the output: what is explained of one step is its logit."""
    inputs = keras.Input((STEPS, FEATURES))
    dense = kl.Dense(3, use_bias=False, activation="softmax")
    model = keras.Model(inputs, kl.TimeDistributed(dense)(inputs))
    x = sequence(rng)
    explanation = lrp.Explainer(model, "lrp_zero").explain(x, Region(2, of=1))
    assert explanation.activation == "softmax"
    expected = np.zeros_like(x)
    expected[:, 2] = x[:, 2] * dense.get_weights()[0][:, 1]
    close(explanation.relevance, expected)


# --- what is refused --------------------------------------------------------------------------------------------


class OwnCell(kl.Layer):
    state_size = output_size = UNITS

    def call(self, x, states, training=False):
        return x[:, :UNITS] + states[0], [x[:, :UNITS] + states[0]]


@keras.saving.register_keras_serializable()
class OwnLoop(kl.LSTM):
    def inner_loop(self, sequences, initial_state, mask, training=False):
        return super().inner_loop(sequences * 2.0, initial_state, mask, training)


REFUSED = {
    "negative gate": (lambda: kl.GRU(UNITS, recurrent_activation="tanh", name="odd"), r"odd.*reset_after=False"),
    "activation": (lambda: kl.LSTM(UNITS, activation=lambda z: 1.0 / z, name="odd"), r"odd.*divides by an activation"),
    "raw operation inside": (
        lambda: kl.TimeDistributed(kl.Lambda(lambda t: ops.cumprod(t[:, ::-1], axis=1)), name="odd"),
        r"\(Cumprod\) at test_recurrent.py:\d+: is of a kind that has no rule",
    ),
}


OWN = {
    "own cell": lambda: kl.RNN(OwnCell(), return_sequences=True),
    "own loop": lambda: OwnLoop(UNITS, use_bias=False),
    "own loop both ways": lambda: kl.Bidirectional(OwnLoop(UNITS, use_bias=False)),
    "own activation": lambda: kl.LSTM(UNITS, use_bias=False, activation=lambda z: z * 2.0),
}


@pytest.mark.parametrize("name", OWN)
def test_a_loop_of_ones_own_is_what_its_operations_are(name, rng):
    model, x = net(OWN[name]()), sequence(rng)
    explanation = lrp.Explainer(model, "lrp_zero").explain(x, 1)
    close(explanation.logits, own(model, x))
    np.testing.assert_allclose(explanation.conservation, 1, atol=1e-3)


@pytest.mark.parametrize(
    "composite",
    [
        lrp.Composite(dense=rules.ZPlus()), lrp.Composite(dense=rules.Gamma(0.5), first=rules.Flat()), "attn_lrp",
        pytest.param(EPSILON, marks=pytest.mark.slow),
    ],
    ids=["z+", "flat", "attn_lrp", "epsilon"],
)  # fmt: skip
def test_an_lstm_by_hand_is_keras_own(composite, rng):
    """A cell of one's own that computes what LSTMCell does, in keras.ops, also in a loop written out in Python."""

    class Own(kl.Layer):
        def __init__(self, **options):
            super().__init__(**options)
            self.state_size, self.output_size = [UNITS, UNITS], UNITS

        def build(self, shape):
            self.w, self.u = (self.add_weight(shape=(n, 4 * UNITS)) for n in (FEATURES, UNITS))
            self.b = self.add_weight(shape=(4 * UNITS,))

        def call(self, x, states, training=False):
            h, c = states
            i, f, g, o = ops.split(ops.matmul(x, self.w) + ops.matmul(h, self.u) + self.b, 4, axis=-1)
            c = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g)
            h = ops.sigmoid(o) * ops.tanh(c)
            return h, [h, c]

    class WrittenOut(kl.Layer):
        def __init__(self):
            super().__init__()
            self.cell = Own()

        def call(self, x):
            h, states = None, [ops.zeros((ops.shape(x)[0], UNITS))] * 2
            for t in range(STEPS):
                h, states = self.cell(x[:, t], states)
            return h

    keras_own, x = net(kl.LSTM(UNITS), bias=True), sequence(rng)
    # in a recurrent layer gates are constant, in a loop written out they get their half under attn_lrp
    expected = lrp.relevance(keras_own, x, 1, composite)
    for layer in [kl.RNN(Own())] + [WrittenOut()] * (composite != "attn_lrp"):
        by_hand = net(layer, bias=True)
        by_hand.set_weights(keras_own.get_weights())
        close(lrp.relevance(by_hand, x, 1, composite), expected)


class WrittenOutGRU(kl.Layer):
    """What GRU computes, in a loop written out in Python."""

    def build(self, shape):
        self.w, self.u = (self.add_weight(shape=(n, 3 * UNITS)) for n in (FEATURES, UNITS))
        self.b = self.add_weight(shape=(2, 3 * UNITS))

    def call(self, x):
        h = ops.zeros_like(x[:, 0, :UNITS])
        for t in range(STEPS):
            of_x = ops.split(ops.matmul(x[:, t], self.w) + self.b[0], 3, axis=-1)
            of_h = ops.split(ops.matmul(h, self.u) + self.b[1], 3, axis=-1)
            z, r = (ops.sigmoid(a + b) for a, b in zip(of_x[:2], of_h[:2], strict=True))
            h = z * h + (1 - z) * ops.tanh(of_x[2] + r * of_h[2])
        return h


@pytest.mark.parametrize("composite", [lrp.composites.epsilon_plus_flat(), lrp.Composite(dense=rules.AlphaBeta(2, 1))])
def test_a_gru_written_out_is_keras_own(composite, rng):
    """Its reset gate is held constant, at the first step too, and what it multiplies is one map with the input's."""
    keras_own, by_hand, x = net(kl.GRU(UNITS), bias=True), net(WrittenOutGRU(), bias=True), sequence(rng)
    by_hand.set_weights(keras_own.get_weights())
    close(lrp.relevance(by_hand, x, 1, composite), lrp.relevance(keras_own, x, 1, composite))


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(name, rng):
    make, words = REFUSED[name]
    with pytest.raises(lrp.UnsupportedModelError, match=words):
        lrp.relevance(net(make()), sequence(rng), 0, "epsilon")


STATEFUL = {
    "LSTM": lambda stateful: kl.LSTM(UNITS, stateful=stateful, name="memory"),
    "GRU": lambda stateful: kl.GRU(UNITS, stateful=stateful, name="memory"),
    "both ways": lambda stateful: kl.Bidirectional(kl.SimpleRNN(UNITS, stateful=stateful), name="memory"),
    "stacked": lambda stateful: kl.RNN([kl.LSTMCell(UNITS), kl.GRUCell(UNITS)], stateful=stateful, name="memory"),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in ("LSTM", "GRU") else []) for name in STATEFUL]
)
def test_a_stateful_layer_is_explained_from_fresh_states_in_its_own_batch(name, rng):
    """The same maps as of the same weights without states, whatever it saw before, for any number of samples."""
    batch = 4
    model, plain = (
        keras.Sequential(
            [
                keras.Input((STEPS, FEATURES), batch_size=batch if stateful else None),
                STATEFUL[name](stateful),
                kl.Dense(2),
            ]
        )
        for stateful in (True, False)
    )
    plain.set_weights([rng.normal(size=weight.shape) for weight in plain.get_weights()])
    for mine, theirs in zip(model.trainable_variables, plain.trainable_variables, strict=True):
        mine.assign(theirs)
    model.predict(rng.normal(size=(batch, STEPS, FEATURES)), batch_size=batch, verbose=0)
    before = [variable.numpy() for variable in model.non_trainable_variables]
    assert any(state.any() for state in before)
    x = rng.normal(size=(9, STEPS, FEATURES)).astype(np.float32)
    explainer = lrp.Explainer(model, "epsilon")
    with pytest.warns(RuntimeWarning, match=r"is stateful: explained is the model as after reset_state\(\)"):
        found = explainer.explain(x, 0)
    close(found.relevance, lrp.relevance(plain, x, 0, "epsilon"))
    close(found.logits, own(plain, x))
    close(explainer(x[:1], 0), found.relevance[:1])
    for variable, value in zip(model.non_trainable_variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
    with pytest.raises(ValueError, match=r"batch_size=3: model .* is made for batches of 4"):
        lrp.Explainer(model, "epsilon", batch_size=3)


@pytest.mark.filterwarnings("ignore:layer 'memory' is stateful:RuntimeWarning")
def test_a_stateful_loop_of_ones_own_is_explained_from_fresh_states(rng):
    """Whatever it computes and whatever rule is named for it: as the same weights without states; its own stay."""
    layer, plain = (OwnLoop(UNITS, stateful=stateful, name="memory") for stateful in (True, False))
    model, other = (
        keras.Sequential([keras.Input(batch_shape=(2, STEPS, FEATURES)), one, kl.Dense(2)]) for one in (layer, plain)
    )
    for mine, theirs in zip(model.trainable_variables, other.trainable_variables, strict=True):
        mine.assign(theirs)
    model.predict(sequence(rng), verbose=0)
    before = [state.numpy() for state in layer.states]
    assert any(state.any() for state in before)
    x = sequence(rng)
    for composite in ("epsilon", lrp.Composite(overrides={"memory": rules.Gradient()})):
        np.testing.assert_allclose(
            lrp.relevance(model, x, 0, composite), lrp.relevance(other, x, 0, composite), rtol=1e-5, atol=1e-7
        )
    for state, value in zip(layer.states, before, strict=True):
        np.testing.assert_array_equal(state.numpy(), value)


def independent(units, name):
    return kl.RNN(IndependentCell(), name=name)


@pytest.mark.parametrize("layer", [pytest.param(kl.SimpleRNN, marks=pytest.mark.slow), kl.GRU, independent])
def test_an_input_rule_that_is_named_is_that_of_x_alone(layer, rng):
    """What reads the state takes the composite's rule, as where the rule is that of every first layer."""
    model, x = net(layer(UNITS, name="memory")), sequence(rng)
    by_name = lrp.Composite(dense=rules.Gamma(0.5), overrides={"memory": rules.Flat()})
    close(
        lrp.relevance(model, x, 0, by_name),
        lrp.relevance(model, x, 0, lrp.Composite(dense=rules.Gamma(0.5), first=rules.Flat())),
    )


class OrderedCell(kl.Layer):
    """``h = tanh(x U + h W + b)``, added in the order that is asked for, or as ``[x, h]`` times both matrices."""

    state_size = output_size = UNITS

    def __init__(self, form, **options):
        super().__init__(**options)
        self.form = form

    def build(self, shape):
        self.u = self.add_weight(shape=(FEATURES, UNITS))
        self.w = self.add_weight(shape=(UNITS, UNITS))
        self.b = self.add_weight(shape=(UNITS,))

    def call(self, x, states):
        (h,) = states
        if self.form == "x first":
            z = ops.matmul(x, self.u) + ops.matmul(h, self.w) + self.b
        elif self.form == "h first":
            z = ops.matmul(h, self.w) + ops.matmul(x, self.u) + self.b
        else:
            z = ops.matmul(ops.concatenate([x, h], axis=-1), ops.concatenate([self.u, self.w])) + self.b
        h = ops.tanh(z)
        return h, [h]


class Written(kl.Layer):
    """A loop over time that is written out, from no state."""

    def __init__(self, cell, **options):
        super().__init__(**options)
        self.cell = cell

    def build(self, shape):
        self.cell.build(None)

    def call(self, x):
        states = [ops.zeros((x.shape[0] or 1, UNITS))]
        for step in range(STEPS):
            y, states = self.cell.call(x[:, step], states)
        return y


OF_FIRST = [rules.ZPlus(), rules.Flat(), rules.ZBox(-4, 4), rules.WSquare(), rules.Epsilon(0.25)]


@sweep("first form", OF_FIRST, ["h first", "joined"], kept=lambda first, form: first == form)
def test_the_rule_of_the_first_layer_is_that_of_a_step_however_it_is_written(first, form, rng):
    """Of ``x U + h W`` in either order, and of ``[x, h]`` times both, in RNN and in a loop that is written out."""
    x, composite = sequence(rng), lrp.Composite(dense=rules.Gamma(0.5), first=first)
    model = net(kl.SimpleRNN(UNITS))
    expected = lrp.relevance(model, x, 0, composite)
    for layer in (kl.RNN(OrderedCell(form)), Written(OrderedCell(form))):
        other = net(layer)
        other.set_weights(model.get_weights())
        close(lrp.relevance(other, x, 0, composite), expected)


class StatelessCell(kl.Layer):
    """``x U + b``, which reads no state."""

    state_size = output_size = UNITS

    def build(self, shape):
        self.u = self.add_weight(shape=(FEATURES, UNITS))
        self.b = self.add_weight(shape=(UNITS,))

    def call(self, x, states):
        return ops.matmul(x, self.u) + self.b, states


@pytest.mark.parametrize("first", OF_FIRST[1:4], ids=repr)
def test_a_cell_that_reads_no_state_is_the_layer_at_every_step(first, rng):
    """The rule of the first layer is that of a product of x alone, and not one within what another rule gives x."""
    x, composite = sequence(rng), lrp.Composite(dense=rules.ZPlus(), first=first)
    by_cell = net(kl.RNN(StatelessCell(), return_sequences=True), kl.ReLU())
    by_layer = net(kl.TimeDistributed(kl.Dense(UNITS)), kl.ReLU())
    by_layer.set_weights(by_cell.get_weights())
    close(lrp.relevance(by_cell, x, 0, composite), lrp.relevance(by_layer, x, 0, composite))


class PartsCell(kl.Layer):
    """``tanh(f(x U) + g(h W))`` with layers of their own: two dense ones, or matrices that are normalised apart."""

    state_size = output_size = UNITS

    def __init__(self, normed, **options):
        super().__init__(**options)
        make = kl.LayerNormalization if normed else kl.Dense
        self.normed = normed
        self.of_x, self.of_h = (make() if normed else make(UNITS) for _ in range(2))

    def build(self, shape):
        self.of_x.build((None, UNITS if self.normed else FEATURES))
        self.of_h.build((None, UNITS))
        if self.normed:
            self.u = self.add_weight(shape=(FEATURES, UNITS))
            self.w = self.add_weight(shape=(UNITS, UNITS))

    def call(self, x, states):
        (h,) = states
        if self.normed:
            x, h = ops.matmul(x, self.u), ops.matmul(h, self.w)
        h = ops.tanh(self.of_x(x) + self.of_h(h))
        return h, [h]


@sweep("normed first", [True, False], OF_FIRST[:4], kept=lambda normed, first: normed != first % 2)
def test_parts_of_a_step_in_layers_of_their_own_are_maps_of_their_own(normed, first, rng):
    """In RNN as in a loop that is written out, and of a sample alone as of many: no state has a row for each."""
    x, composite = sequence(rng), lrp.Composite(dense=rules.ZPlus(), first=first)
    model, written = net(kl.RNN(PartsCell(normed))), net(Written(PartsCell(normed)))
    written.set_weights(model.get_weights())
    found = lrp.relevance(model, x, 0, composite)
    close(found, lrp.relevance(written, x, 0, composite))
    close(found[:1], lrp.relevance(model, x[:1], 0, composite))


def test_open_number_of_steps(rng):
    """A length that the data fix is fine; one that only the run knows is refused with the way out."""
    open_ended = keras.Sequential([keras.Input((None, FEATURES)), kl.LSTM(UNITS), kl.Dense(2)])
    x = sequence(rng)
    close(lrp.Explainer(open_ended, "epsilon").explain(x, 0).logits, own(open_ended, x))

    class Cut(keras.Model):
        def __init__(self):
            super().__init__()
            self.memory, self.head = kl.LSTM(UNITS, name="memory"), kl.Dense(2)

        def call(self, x):
            return self.head(self.memory(tf.boolean_mask(x, tf.reduce_any(x != 0, axis=(0, 2)), axis=1)))

    model = Cut()
    model(x)
    with pytest.raises(lrp.UnsupportedModelError, match=r"memory.*time steps is not known.*Input its length"):
        lrp.relevance(model, x, 0, "epsilon")


def test_rules_by_name_reach_the_layer_its_cell_and_its_wrapper(rng):
    plus = rules.ZPlus()
    x = sequence(rng)
    plain = net(kl.SimpleRNN(UNITS, name="memory"))
    wrapped = net(kl.Bidirectional(kl.SimpleRNN(UNITS, name="memory"), name="both"))
    cell = plain.get_layer("memory").cell.name
    for model, keys in ((plain, ["memory", cell]), (wrapped, ["both", kl.SimpleRNN])):
        expected = lrp.relevance(model, x, 0, lrp.Composite(dense=plus, overrides={"head": rules.Epsilon()}))
        for key in keys:
            close(lrp.relevance(model, x, 0, lrp.Composite(overrides={key: plus})), expected)
    with pytest.raises(lrp.UnsupportedModelError, match=r"memory.*Pass\(\) is for elementwise layers"):
        lrp.relevance(plain, x, 0, lrp.Composite(overrides={"memory": rules.Pass()}))


def test_named_gradient_takes_the_layer_as_it_is(rng):
    model = net(kl.LSTM(UNITS, name="memory"))
    x = sequence(rng)
    variable = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(variable)
        logit = model(variable)[:, 1]
    zero = rules.Epsilon(0)
    found = lrp.relevance(model, x, 1, lrp.Composite(dense=zero, overrides={"memory": rules.Gradient()}))
    close(found, x * tape.gradient(logit, variable).numpy(), 1e-4)


OF_ONE_PLACE = {
    "hard gates": {"recurrent_activation": "hard_sigmoid"},
    "masked": {"return_sequences": True, "go_backwards": True, "use_bias": False, "zero_output_for_mask": True},
}


@pytest.mark.parametrize("name", OF_ONE_PLACE)
def test_a_convolutional_lstm_of_one_place_is_an_lstm(name, rng):
    """A convolution by a kernel of size 1 over images of one pixel is a matrix product, also summed with another."""

    def model(shape, make, *size):
        inputs = keras.Input((3, *shape))
        mask = inputs[(slice(None), slice(None), *(0 for _ in shape))] != 0 if name == "masked" else None
        h = make(5, *size, **OF_ONE_PLACE[name])(inputs, mask=mask)
        return keras.Model(inputs, kl.Dense(2, name="head")(kl.Flatten()(h)))

    known, other = model((4,), kl.LSTM), model((1, 1, 4), kl.ConvLSTM2D, 1)
    weights = [rng.normal(size=w.shape).astype(np.float32) * 0.7 for w in known.get_weights()]
    known.set_weights(weights)
    other.set_weights([w.reshape(v.shape) for w, v in zip(weights, other.weights, strict=True)])
    x = rng.normal(size=(2, 3, 4)).astype(np.float32)
    x[1, 1] = 0
    as_images = x[:, :, None, None]
    close(other(as_images), known(x), 1e-5)
    pairs = (rules.ZPlus(), rules.Flat()), (rules.AlphaBeta(2, 1), None), (rules.Epsilon(), rules.WSquare())
    for rule, first in pairs:
        by_epsilon = {"head": rules.Epsilon(0.1)}
        found = lrp.relevance(other, as_images, 1, lrp.Composite(conv=rule, dense=by_epsilon["head"], first=first))
        expected = lrp.relevance(known, x, 1, lrp.Composite(dense=rule, first=first, overrides=by_epsilon))
        close(found[:, :, 0, 0], expected, 1e-5)


def test_thousands_of_steps_are_asked_about_without_recursion():
    """Whether a state can be negative is read off the graph through every step before it."""
    answers = []

    @tf.function(autograph=False)
    def long(x, step):
        y = tf.nn.relu(x)
        for _ in range(1200):
            y = y + step(x)
        answers.append(Graph.read([x]).is_non_negative(y))
        return y

    long.get_concrete_function(tf.TensorSpec([1]), tf.nn.relu)
    long.get_concrete_function(tf.TensorSpec([1]), tf.nn.tanh)
    assert answers == [True, False]
