"""Relevance through chosen channels: by hand, against gradients of two halves of a net, and as a sum of channels."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from engine_helpers import close
from keras import layers

import lrp_monitor as lrp
from lrp_monitor.engine.rules.composites import PRESETS

EPSILON = lrp.Composite(conv=lrp.rules.Epsilon(), dense=lrp.rules.Epsilon())


@pytest.fixture(scope="module")
def by_hand():
    """W1 and W2 on one input, concatenated, then one unit: the case of the documentation."""
    x = keras.Input((2,))
    first, second = (layers.Dense(2, use_bias=False, name=name) for name in ("first", "second"))
    out = layers.Dense(1, use_bias=False, name="out")
    net = keras.Model(x, out(layers.Concatenate(name="both")([first(x), second(x)])))
    first.set_weights([np.float32([[1, 2], [0, 1]]).T])
    second.set_weights([np.float32([[2, 3], [0, 0]]).T])
    out.set_weights([np.float32([[1, 4, 5, 0]]).T])
    return lrp.Explainer(net, EPSILON)


X = np.float32([[-1, 1]])


@pytest.mark.parametrize(
    ("condition", "wanted"),
    [
        ({"first": 0, "second": ()}, (-1, 2)),
        ({"first": 0, "second": 0}, (-11, 17)),
        ({"first": 0}, (-11, 17)),  # what runs beside a layer is not held back
        ({"first": [0, 1]}, (-11, 21)),
        ({"first": (), "second": ()}, (0, 0)),
        ({"first": np.array([0.5, 2.0]), "second": ()}, (-0.5, 9)),
        ({"second": np.array([True, False]), "first": ()}, (-10, 15)),
        ({"both": 1}, (0, 4)),
        ({"out": 0}, (-11, 21)),
    ],
)
def test_by_hand(by_hand, condition, wanted):
    np.testing.assert_allclose(by_hand.conditional(X, condition, 0), [wanted], atol=1e-4)


def test_relevance_by_channel_by_hand(by_hand):
    explanation, (first, second) = by_hand.channels(X, ["first", "second"], 0)
    np.testing.assert_allclose(explanation.relevance, [[-11, 21]], atol=1e-4)
    np.testing.assert_allclose(first.relevance, [[1, 4]], atol=1e-5)
    np.testing.assert_allclose(second.relevance, [[5, 0]], atol=1e-5)
    assert first.fired.tolist() == [[True, True]]
    assert second.fired.tolist() == [[True, False]]
    inspected = by_hand.inspect(X, 0)
    np.testing.assert_allclose(inspected["second"].channels, [[5, 0]], atol=1e-5)


def test_several_conditions_in_one_pass_and_no_second_trace(by_hand):
    x = np.float32([[-1, 1], [2, 1], [0, 3]])
    conditions = [{"first": 0, "second": ()}, {"second": 1}, {"first": (), "second": [0, 1]}]
    found = by_hand.conditional(x, conditions, 0)
    assert found.shape == (3, 3, 2)
    assert found.dtype == np.float32
    for one, condition in zip(found, conditions, strict=True):
        close(one, by_hand.conditional(x, {"first": [0, 1], "second": [0, 1], **condition}, 0))
    known = set(by_hand.passes.made)
    by_hand.conditional(x, [{"first": 1, "second": 0}, {"first": np.float32([3, 4]), "second": ()}, {"second": 0}], 0)
    assert set(by_hand.passes.made) == known


@pytest.mark.parametrize(
    ("condition", "error", "message"),
    [
        ({"frist": 0}, ValueError, r"conditions: model .* runs no layer 'frist'; near it: \['first'\]"),
        ({"first": 2}, ValueError, "layer 'first' has no channel 2; it has 2: 0 to 1"),
        ({"first": [-1]}, ValueError, "has no channel -1"),
        ({"first": np.ones(3)}, ValueError, r"weights need shape \(2,\), got \(3,\)"),
        ({"first": np.array([np.nan, 1])}, ValueError, "weights hold NaN or infinity"),
        ({"first": "all"}, TypeError, "expected a channel, several channels or one weight"),
        ({"first": [[0, 1]]}, TypeError, "expected a channel, several channels or one weight"),
        ({3: 0}, TypeError, "layers are named by texts, got 3"),
        ([], ValueError, "none is given"),
        ("first", TypeError, "expected a mapping from layers to channels"),
    ],
)
def test_bad_conditions(by_hand, condition, error, message):
    with pytest.raises(error, match=message):
        by_hand.conditional(X, condition, 0)


def test_against_the_gradients_of_two_halves(rng, randomise):
    """On a ReLU net LRP-0 is input times gradient: through channel c it is that of the net below, started at c.

    Relevance of "b" is carried behind a BatchNormalization, which is folded into it, and there the channels come first.
    """
    net = randomise(
        keras.Sequential(
            [keras.Input((5, 4, 2)), layers.Conv2D(3, 2, activation="relu", name="a"), layers.Conv2D(3, 2, name="b"),
             layers.Permute((3, 1, 2)), layers.BatchNormalization(axis=1, name="bn"), layers.ReLU(name="r"),
             layers.Flatten(), layers.Dense(3, name="out")]
        )
    )  # fmt: skip
    x = rng.normal(size=(3, 5, 4, 2)).astype(np.float32)
    explainer = lrp.Explainer(net, "lrp_zero", batch_size=2)
    found = explainer.conditional(x, [{name: c} for name in ("a", "b") for c in range(3)], 1)
    inspected = explainer.inspect(x, 1, layers="b")
    parts = keras.Model(net.inputs, [net.get_layer(name).output for name in ("a", "r", "out")])
    with tf.GradientTape(persistent=True) as tape:
        given = tf.constant(x)
        tape.watch(given)
        first, second, logits = parts(given)
        logit = logits[:, 1]
    for name, middle, axis, maps in (("a", first, -1, found[:3]), ("b", second, 1, found[3:])):
        start = tape.gradient(logit, middle)
        relevance = np.moveaxis((middle * start).numpy(), axis, -1)
        for c in range(3):
            shape = [1, 1, 1, 3] if axis == -1 else [1, 3, 1, 1]
            chosen = start * tf.reshape(tf.one_hot(c, 3), shape)
            close(maps[c], x * tape.gradient(middle, given, output_gradients=chosen))
        close(inspected[name].channels, relevance.sum(axis=(1, 2)))
    close(inspected["b"].map, relevance)


@pytest.fixture(scope="module")
def all_kinds():
    """A plain convolution, one with BatchNormalization, a residual block and attention, one behind the other."""
    keras.utils.set_random_seed(3)
    x = keras.Input((6, 6, 2))
    plain = layers.Conv2D(3, 3, activation="relu", name="plain")(x)
    normed = layers.ReLU()(layers.BatchNormalization(name="bn")(layers.Conv2D(4, 2, name="normed")(plain)))
    inner = layers.Conv2D(4, 3, padding="same", activation="relu", name="inner")(normed)
    block = layers.Add(name="block")([normed, layers.Conv2D(4, 1, name="branch")(inner)])
    tokens = layers.Reshape((9, 4))(block)
    attended = layers.MultiHeadAttention(2, 3, name="mha")(tokens, tokens)
    tokens = layers.Add(name="sum")([tokens, attended])
    net = keras.Model(x, layers.Dense(3, name="out")(layers.GlobalAveragePooling1D(name="pooled")(tokens)))
    rng = np.random.default_rng(0)
    for variable in net.variables:
        if variable.dtype == "float32":
            values = rng.uniform(0.5, 1.5, variable.shape)
            variable.assign(values if "variance" in variable.name or "gamma" in variable.name else values - 1.0)
    return net, rng.normal(size=(2, 6, 6, 2)).astype(np.float32)


BOUNDED = {"epsilon_gamma_box", "deep_taylor"}
# Layers that all relevance passes, and layers beside which some of it runs.
CUTS = {"plain": 3, "normed": 4, "bn": 4, "block": 4, "sum": 4, "pooled": 4}
BESIDE = {"inner": 4, "branch": 4, "mha": 4, "mha/value": 2, "mha/query": 2}


# Of composites that take the same rules in another place one stands for the others.
AS_ANOTHER = {"lrp_zero", "epsilon", "epsilon_plus", "epsilon_alpha2_beta1_flat", "epsilon_gamma"}


@pytest.mark.parametrize(
    "preset", [pytest.param(preset, marks=[pytest.mark.slow] * (preset in AS_ANOTHER)) for preset in PRESETS]
)
def test_the_channels_of_a_layer_sum_to_the_heatmap(all_kinds, preset):
    net, x = all_kinds
    explainer = lrp.Explainer(net, PRESETS[preset](-3, 3) if preset in BOUNDED else preset)
    whole = explainer(x, 1)
    sizes = CUTS | BESIDE
    conditions = [{name: c} for name, size in sizes.items() for c in (*range(size), (), np.full(size, 0.5))]
    found = iter(explainer.conditional(x, conditions, 1))
    limit = 1e-5 * np.abs(whole).max()
    for name, size in sizes.items():
        maps = [next(found) for _ in range(size)]
        none, half = next(found), next(found)
        if name in CUTS:
            assert np.abs(none).max() == 0
        np.testing.assert_allclose(sum(maps) - (size - 1) * none, whole, rtol=0, atol=limit, err_msg=name)
        np.testing.assert_allclose(half, (whole + none) / 2, rtol=0, atol=limit, err_msg=name)  # each once, not twice


def test_heads_and_layers_without_channels(all_kinds):
    net, x = all_kinds
    explainer = lrp.Explainer(net, "attn_lrp")
    found = explainer.inspect(x, 1)
    assert found["mha/value"].channels.shape == (2, 2)
    assert found["mha/value"].shape == (9, 2, 3)
    assert found["mha/attention_output"].channels.shape == (2, 4)
    for layer in found.layers:
        np.testing.assert_allclose(layer.channels.sum(axis=1), layer.total, rtol=1e-9, atol=1e-9)
    x = keras.Input((3,))
    one = layers.Lambda(lambda t: keras.ops.sum(t, axis=1), name="one")(layers.Dense(2, name="d")(x))
    scalar = keras.Model(x, layers.Dense(2)(layers.Reshape((1,))(one)))
    with pytest.raises(ValueError, match=r"conditions: the output of layer 'one' .* no axis of channels"):
        lrp.Explainer(scalar, "lrp_zero").conditional(np.ones((2, 3)), {"one": 0}, 0)


def test_single_channels_of_single_samples(all_kinds):
    """Each pair's map is the channel's condition less what runs past the layer."""
    net, x = all_kinds
    explainer = lrp.Explainer(net, "epsilon")
    samples, channels = np.array([1, 0, 1, 1]), np.array([2, 0, 0, 3])
    for name, past in (("block", False), ("inner", True)):
        found = explainer.through(x, name, samples, channels, [1, 2])
        whole = explainer.conditional(x, [{name: c} for c in range(4)] + [{name: ()}], [1, 2])
        assert (np.abs(whole[4]).max() > 0) == past
        for one, sample, channel in zip(found, samples, channels, strict=True):
            close(one, whole[channel, sample] - whole[4, sample])
    with pytest.raises(ValueError, match="has no channel 4"):
        explainer.through(x, "block", samples, channels + 1)
    none = np.zeros(0, np.int64)
    assert explainer.through(x, "block", none, none).shape == (0, *x.shape[1:])
    sums = explainer.through(x, "block", none, none, reduced=lambda maps, of: maps.sum((1, 2, 3)) + of)
    assert sums.shape == (0,)


def test_few_at_a_time_and_nothing_traced_anew(all_kinds):
    """Channels of a sample beyond what may go through together come after one another."""
    net, x = all_kinds
    samples, channels = np.array([0, 0, 0, 1, 0]), np.array([3, 1, 0, 2, 2])
    explainer, few = lrp.Explainer(net, "epsilon"), lrp.Explainer(net, "epsilon", batch_size=3)
    whole = explainer.through(x, "block", samples, channels, [1, 2])
    close(few.through(x, "block", samples, channels, [1, 2]), whole)
    made = set(explainer.passes.made)
    close(explainer.through(x, "block", samples[1:], channels[1:], [1, 2]), whole[1:])
    sums = explainer.through(
        x, "block", samples, channels, [1, 2], reduced=lambda maps, of: maps.sum((1, 2, 3)) + 100 * of
    )
    np.testing.assert_allclose(sums, whole.sum((1, 2, 3)) + 100 * samples, rtol=1e-4)
    assert set(explainer.passes.made) == made


@pytest.mark.parametrize("kind", ["loop", "volume"])
def test_single_channels_of_layers_that_are_done_one_after_the_other(kind):
    """A loop over time, and a convolution that is not vectorised over channels."""
    keras.utils.set_random_seed(5)
    head = [layers.GlobalMaxPooling1D(), layers.Dense(2)]
    inner = [layers.LSTM(3, return_sequences=True), layers.Dense(3, activation="relu", name="t"), *head]
    shape = (4, 2)
    if kind == "volume":
        shape = (4, 4, 4, 1)
        volumes = [layers.Conv3D(2, 2, activation="relu"), layers.Conv3D(3, 2, activation="relu", name="t")]
        inner = [*volumes, layers.Reshape((8, 3)), *head]
    net = keras.Sequential([keras.Input(shape), *inner])
    x = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    explainer = lrp.Explainer(net, "epsilon")
    found = explainer.through(x, "t", np.array([0, 1, 0]), np.array([0, 1, 2]), 1)
    whole = explainer.conditional(x, [{"t": c} for c in range(3)], 1)
    assert np.abs(whole).max() > 0
    close(found, np.stack([whole[0, 0], whole[1, 1], whole[2, 0]]))
