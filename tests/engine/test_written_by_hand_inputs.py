"""Functions that are compiled by themselves within a call, and layers that encode values as numbers of classes."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hand_helpers import TWO, close, same
from keras import layers as kl
from keras import ops

import lrp_monitor as lrp
from lrp_monitor import encodings


@tf.function
def inner(z):
    return tf.nn.silu(z) * 2.0


@tf.function
def outer(z):
    return inner(z) + z


def plain(z):
    return tf.nn.silu(z) * 2.0 + z


class Compiled(kl.Layer):
    """A call that is a tf.function itself, with weights."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], 4), name="kernel")
        self.bias = self.add_weight(shape=(4,), name="bias")

    @tf.function
    def call(self, x):
        return outer(tf.matmul(x, self.kernel) + self.bias)


class Named(keras.Model):
    def __init__(self):
        super().__init__()
        self.one, self.two = kl.Dense(4), kl.Dense(2)
        self.one.build((None, 5))  # variables that a compiled call makes are constants to it
        self.two.build((None, 4))

    @tf.function
    def call(self, x):
        return self.two(outer(self.one(x)))


CALLS = {
    "a function of a function": lambda: keras.Sequential(
        [keras.Input((5,)), kl.Dense(4), kl.Lambda(outer, output_shape=(4,)), kl.Dense(2)]
    ),
    "an activation": lambda: keras.Sequential([keras.Input((5,)), kl.Dense(4, activation=outer), kl.Dense(2)]),
    "a layer's call": lambda: keras.Sequential([keras.Input((5,)), Compiled(), kl.Dense(2)]),
    "a model's call": Named,
}


@pytest.mark.parametrize("name", CALLS)
def test_functions_that_are_compiled_by_themselves(name, rng, randomise):
    """tf.function within a call: as if it had been written out."""
    written_out = randomise(
        keras.Sequential([keras.Input((5,)), kl.Dense(4), kl.Lambda(plain, output_shape=(4,)), kl.Dense(2)])
    )
    model = CALLS[name]()
    x = rng.uniform(-3, 3, size=(3, 5)).astype(np.float32)
    model(x)
    model.set_weights(written_out.get_weights())
    same(written_out, model, x, TWO)


# --- what encodes values as numbers of classes ---


def outcome(error, call):
    """What ``call`` returns, or what the ``error`` that it raises says."""
    try:
        return call(), ""
    except error as raised:
        return None, str(raised)


ENCODINGS = {
    "Discretization": (lambda: kl.Discretization([-1.0, 0.0, 1.0], output_mode="one_hot"), "float32"),
    "CategoryEncoding": (lambda: kl.CategoryEncoding(6, output_mode="multi_hot"), "int32"),
    "IntegerLookup": (lambda: kl.IntegerLookup(vocabulary=[1, 2, 3, 4], output_mode="multi_hot"), "int32"),
    "Hashing": (lambda: kl.Hashing(6, output_mode="multi_hot"), "int32"),
    "one_hot by hand": (
        lambda: kl.Lambda(lambda x: ops.reshape(ops.one_hot(ops.cast(x, "int32"), 6), (-1, 24)), output_shape=(24,)),
        "int32",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ENCODINGS)
def test_an_encoding_is_explained_by_what_it_gives_out_or_refused_with_the_way_out(name, rng, randomise):
    make, dtype = ENCODINGS[name]
    inputs = keras.Input((4,), dtype=dtype)
    encoding = make()
    encoded = encoding(inputs)
    behind = kl.Dense(2, use_bias=False)
    model = randomise(keras.Model(inputs, behind(encoded if len(encoded.shape) == 2 else kl.Flatten()(encoded))))
    x = rng.integers(1, 5, size=(3, 4)) if dtype == "int32" else rng.normal(size=(3, 4)).astype(np.float32)
    found, refused = outcome(lrp.UnsupportedModelError, lambda: lrp.relevance(model, x, 1, "lrp_zero"))
    if refused:
        assert "explain the model behind the encoding, keras.Model(encoding.output, model.output)" in refused
        assert 'on_unknown="gradient" is no way out' in refused
        assert refused.count("\n  - ") == 1  # what only follows from it is not reported
        assert encoding.name in refused
    else:
        assert found.shape == x.shape
        close(found.sum(axis=1), np.asarray(model(x))[:, 1], 1e-4)
    # The way out works: the model behind the encoding, on what that gives out.
    rest = keras.Model(encoding.output, model.output)
    seen = np.asarray(encoding(x), np.float32)
    close(lrp.relevance(rest, seen, 1, "lrp_zero").reshape(3, -1).sum(axis=1), np.asarray(model(x))[:, 1], 1e-4)


@pytest.mark.parametrize("texts", [False, True])
def test_a_feature_space_is_refused_with_the_way_out(texts, rng, randomise):
    kinds = keras.utils.FeatureSpace
    features = {"pay": kinds.float_rescaled(0.1), "code": kinds.integer_hashed(3)}
    x = {"pay": rng.normal(size=(3, 1)).astype(np.float32), "code": rng.integers(0, 9, size=(3, 1))}
    if texts:
        features["job"], x["job"] = kinds.string_hashed(4), np.array([["a"], ["b"], ["c"]])
    space = keras.utils.FeatureSpace(features, output_mode="concat")
    encoded = space.get_encoded_features()
    model = randomise(keras.Model(space.get_inputs(), kl.Dense(2, use_bias=False)(encoded)))
    with pytest.raises(TypeError if texts else lrp.UnsupportedModelError, match=r"space.get_encoded_features\(\)"):
        lrp.relevance(model, x, 1)
    behind = keras.Model(space.get_encoded_features(), model.output)
    seen = np.asarray(space({name: tf.constant(value) for name, value in x.items()}))
    close(lrp.relevance(behind, seen, 1, "lrp_zero"), seen * model.get_weights()[-1][:, 1], 1e-6)


@pytest.mark.parametrize("cleared", [False, True])
def test_behind_encodings_of_some_of_several_inputs(cleared, randomise):
    """By the way out that is printed, and as a probe set takes the model apart."""
    if cleared:
        keras.backend.clear_session()
    word, ids = keras.Input((1,), dtype="string", name="word"), keras.Input((1,), dtype="int64", name="ids")
    words = kl.StringLookup(vocabulary=["a", "b"], output_mode="one_hot", name="words")(word)
    if cleared:  # Keras counts names of tensors anew, and cannot clone two of one name
        keras.backend.clear_session()
    numbers, n = (
        kl.IntegerLookup(vocabulary=[7, 8], output_mode="one_hot", name="places")(ids),
        keras.Input((2,), name="n"),
    )
    model = keras.Model([word, ids, n], kl.Dense(2, use_bias=False)(kl.Concatenate()([words, numbers, n])))
    randomise(model)
    x = {
        "word": np.array([["a"], ["b"]]), "ids": np.array([[8], [7]]), "n": np.array([[1, -2], [3, 0.5]], np.float32),
    }  # fmt: skip
    with pytest.raises(TypeError, match="texts") as refused:
        lrp.relevance(model, x, 1)
    taken = encodings.encoded(model)
    seen = taken.encode(x)
    logit = np.asarray(model([tf.constant(x[name]) for name in ("word", "ids", "n")]))[:, 1]
    found = lrp.relevance(taken.behind, seen, 1, "lrp_zero")
    close(sum(value.sum(axis=1) for value in found.values()), logit, 1e-6)
    assert [tensor.name for tensor in model.inputs] == ["word", "ids", "n"]
    assert ("parts = {" in str(refused.value)) != cleared
    if not cleared:
        parts = {name: model.get_layer(name).output for name in ("words", "places", "n")}
        written = ", ".join(f"{name!r}: model.get_layer({name!r}).output" for name in parts)
        assert "keras.Model(parts, model.output), on keras.Model(model.inputs, parts)(inputs)" in str(refused.value)
        assert f"parts = {{{written}}}" in str(refused.value)
        given = dict(zip(parts, (seen["word"], seen["ids"], seen["n"]), strict=True))
        again = lrp.relevance(keras.Model(parts, model.output), given, 1, "lrp_zero")
        close(sum(value.sum(axis=1) for value in again.values()), logit, 1e-6)


@pytest.mark.parametrize("texts", [True, False])
def test_behind_an_encoding_that_is_called_twice(texts, randomise):
    """Its output is no one tensor; the way out that is printed is a probe set, here of a list of inputs."""
    dtype, lookup = ("string", kl.StringLookup) if texts else ("int64", kl.IntegerLookup)
    x = [np.array([["a"], ["b"]]), np.array([["b"], ["b"]])] if texts else [np.array([[7], [8]]), np.array([[8], [8]])]
    home, away = (keras.Input((1,), dtype=dtype, name=name) for name in ("home", "away"))
    teams = lookup(vocabulary=["a", "b"] if texts else [7, 8], output_mode="one_hot")
    model = keras.Model([home, away], kl.Dense(2, use_bias=False)(kl.Concatenate()([teams(home), teams(away)])))
    randomise(model)
    with pytest.raises((TypeError, lrp.UnsupportedModelError)) as refused:
        lrp.relevance(model, x, 1)
    said = "probes.model_behind(model), on probes.inputs, with probes = lrp_monitor.ProbeSet(inputs, model=model)"
    assert said in str(refused.value)
    probes = lrp.ProbeSet(x, model=model)
    found = lrp.relevance(probes.model_behind(model), probes.inputs, 1, "lrp_zero")
    kernel = model.get_weights()[-1][:, 1]
    for name, given, part in zip(("home", "away"), x, (kernel[:3], kernel[3:]), strict=True):
        close(found[name], np.asarray(teams(given)) * part, 1e-6)


def test_an_encoding_inside_beside_one_of_the_graph_is_no_output_of_the_graph(randomise):
    """The strings of one input become numbers in a model inside: no one model lies behind all encodings."""
    given = [keras.Input((1,), dtype="string", name=name) for name in ("user", "film")]
    users, films = (kl.StringLookup(vocabulary=["a", "b"], output_mode="one_hot") for _ in range(2))
    user = keras.Sequential([users, kl.Dense(3, use_bias=False)])
    rest = kl.Dense(2, use_bias=False)
    model = randomise(keras.Model(given, rest(kl.Concatenate()([user(given[0]), films(given[1])]))))
    x = [np.array([["a"], ["b"]]), np.array([["b"], ["b"]])]
    with pytest.raises(TypeError, match=r"keras.Model\(x, rest\(x\)\).*of several encodings, on an x"):
        lrp.relevance(model, x, 1)
    encoded = [np.asarray(lookup(one)) for lookup, one in zip((users, films), x, strict=True)]
    one, two = (keras.Input(values.shape[1:]) for values in encoded)
    inner = keras.Model(users.output, user.outputs[0])
    behind = keras.Model([one, two], rest(kl.Concatenate()([inner(one), two])))
    found = lrp.relevance(behind, encoded, 1, "lrp_zero")
    close(sum(map(np.sum, found)), np.asarray(model([tf.constant(one) for one in x]))[:, 1].sum(), 1e-5)


class Encoded(keras.Model):
    """A model without a graph of layers, which encodes inside."""

    def __init__(self, encoding: keras.layers.Layer) -> None:
        super().__init__()
        self.encoding, self.head = encoding, kl.Dense(2, use_bias=False)

    def call(self, x):
        return self.head(self.encoding(x))


def texts_looked_up():
    encoding = kl.StringLookup(vocabulary=["a", "b"], output_mode="one_hot")
    return encoding, encoding, np.array([["b"], ["a"]]), lambda x: x


def space_of_features():
    kinds = keras.utils.FeatureSpace
    space = kinds({"pay": kinds.float_rescaled(0.1), "code": kinds.integer_hashed(3)}, output_mode="concat")
    space.get_encoded_features()
    return space, space, {"pay": np.float32([[1], [2]]), "code": np.array([[4], [7]])}, lambda x: x


def part_with_a_graph():
    encoding, inputs = kl.IntegerLookup(vocabulary=[3, 4], output_mode="one_hot"), keras.Input((1,), dtype="int64")
    inner = keras.Model(inputs, kl.Dense(3, use_bias=False)(encoding(inputs)))
    return inner, encoding, np.array([[3], [4]]), lambda x: keras.Model(encoding.output, inner.outputs[0])(x)


@pytest.mark.parametrize("make", [texts_looked_up, space_of_features, part_with_a_graph])
def test_of_a_model_without_a_graph_another_way_out_is_named_which_works(make, randomise):
    inside, encoding, inputs, front = make()
    model = Encoded(inside)
    model(keras.tree.map_structure(tf.constant, inputs))  # makes its weights
    randomise(model)
    whole = np.asarray(model(keras.tree.map_structure(tf.constant, inputs)))
    with pytest.raises((TypeError, lrp.UnsupportedModelError)) as caught:
        lrp.relevance(model, inputs, 1)
    assert "keras.Model(x, rest(x)) with x = keras.Input(encoded.shape[1:]), on encoded = encoding(inputs)" in str(
        caught.value
    )
    assert "keras.Model(encoding.output, inner.outputs[0])" in str(caught.value)
    assert "model.output" not in str(caught.value)
    encoded = encoding(keras.tree.map_structure(tf.constant, inputs))
    x = keras.Input(encoded.shape[1:])
    behind = keras.Model(x, model.head(front(x)))
    close(lrp.relevance(behind, np.asarray(encoded), 1, "lrp_zero").sum(axis=1), whole[:, 1], 1e-5)


def test_of_a_sequence_of_layers_the_way_out_works(randomise):
    encoding = kl.StringLookup(vocabulary=["a", "b"], output_mode="one_hot")
    model = randomise(keras.Sequential([keras.Input((1,), dtype="string"), encoding, kl.Dense(2, use_bias=False)]))
    x = np.array([["b"], ["a"]])
    with pytest.raises(TypeError, match=r"keras.Model\(encoding.output, model.outputs\[0\]\), on encoding\(inputs\)"):
        lrp.relevance(model, x, 1)
    behind, seen = keras.Model(encoding.output, model.outputs[0]), np.asarray(encoding(x))
    close(lrp.relevance(behind, seen, 1, "lrp_zero"), seen * model.get_weights()[-1][:, 1], 1e-6)


def test_a_feature_space_of_numbers_is_explained_column_by_column(rng, randomise):
    kinds = keras.utils.FeatureSpace
    features = {"pay": kinds.float_rescaled(0.1, 0.5), "age": kinds.float_normalized(), "raw": kinds.float()}
    x = {name: rng.normal(size=(6, 1)).astype(np.float32) for name in features}
    space = kinds(features, output_mode="concat")
    space.adapt(tf.data.Dataset.from_tensor_slices({name: values[:, 0] for name, values in x.items()}))
    encoded = space.get_encoded_features()
    model = randomise(keras.Model(space.get_inputs(), kl.Dense(2, use_bias=False)(encoded)))
    found = lrp.relevance(model, x, 1, "lrp_zero")
    alone = {name: space.preprocessors[name](values) for name, values in x.items()}
    kernel = dict(zip(sorted(features), model.get_weights()[-1][:, 1], strict=True))  # columns lie by name
    for name in features:
        close(found[name], np.asarray(alone[name]) * kernel[name], 1e-5)
