"""What cannot be treated is refused by name, all of it at once, and with the way out; never a silently wrong map."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as kl
from keras import ops

import lrp_monitor as lrp
from lrp_monitor import rules

X = np.linspace(-1, 1, 24, dtype=np.float32).reshape(2, 3, 4)
WEIGHT = keras.Variable(np.ones(4, np.float32))


class Middle(keras.Model):
    """A dense layer, a raw function of its output, a dense layer."""

    def __init__(self, function):
        super().__init__()
        self.one, self.two, self.function = kl.Dense(4), kl.Dense(3), function

    def call(self, x):
        return self.two(ops.mean(self.function(self.one(x)), axis=1))


def run(function, composite="attn_lrp", **options):
    keras.utils.set_random_seed(1)
    model = Middle(function)
    model(X)
    return lrp.Explainer(model, composite, **options).explain(X, 0)


REFUSED = {
    "reciprocal": (lambda t: ops.reciprocal(t), "not homogeneous"),
    "division": (lambda t: 1.0 / t, "divides by an activation"),
    "division by another": (lambda t: t / t[:, ::-1], "divides by an activation"),
    "division by an inverse": (
        lambda t: t / ops.reciprocal(ops.mean(ops.square(t), axis=-1, keepdims=True)),
        "divides by an activation",
    ),
    "product of all": (lambda t: ops.cumprod(t, axis=1), "has no rule"),
    "stopped": (lambda t: ops.stop_gradient(t), "stops the gradient"),
    "filled": (lambda t: ops.where(t[:, ::-1] > 0, t, 1.0), "puts in a constant"),
    "exponentials over others": (
        lambda t: ops.exp(t) / ops.sum(ops.exp(t[:, ::-1]), axis=-1, keepdims=True),
        "not homogeneous",
    ),
    "powers over others": (
        lambda t: 2.0**t / ops.sum(2.0 ** t[:, ::-1], axis=-1, keepdims=True),
        "not homogeneous",
    ),
    "exponentials over the largest": (
        lambda t: ops.exp(t) / ops.max(ops.exp(t), axis=-1, keepdims=True),
        "not homogeneous",
    ),
    "stopped before no softmax": (
        lambda t: t - ops.stop_gradient(ops.max(t, axis=-1, keepdims=True)),
        "stops the gradient",
    ),
    "filled with numbers": (lambda t: ops.where(t[:, ::-1] > 0, t, np.arange(1.0, 5)), "puts in a constant"),
    "difference from a weight": (lambda t: tf.math.squared_difference(t, WEIGHT), "not homogeneous"),
    "division by a product of each element": (
        lambda t: t / ops.einsum("bti,bti->bti", t, t[:, ::-1]),
        "divides by an activation",
    ),
    "sparse values": (
        lambda t: t * tf.sparse.sparse_dense_matmul(tf.SparseTensor([[0, 0]], t[0, 0, :1], (1, 1)), [[1.0]]),
        "where to or how",
    ),
    "logarithm of others' exponentials": (
        lambda t: t - ops.log(ops.sum(ops.exp(t[:, ::-1]), axis=-1, keepdims=True)),
        "not homogeneous",
    ),
    "logarithm of a sum": (lambda t: t - ops.log(ops.sum(ops.abs(t), axis=-1, keepdims=True)), "not homogeneous"),
    "logarithm": (lambda t: ops.log(t), "not homogeneous"),
    "padded": (lambda t: ops.pad(t, [[0, 0], [0, 1], [0, 0]], constant_values=2.0), "pads with a constant"),
    "loop": (lambda t: tf.while_loop(lambda i, s: i < 3, lambda i, s: (i + 1, s * 2.0), (0, t))[1], "a loop"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_raw_operation_is_refused_with_its_call_site(name):
    function, words = REFUSED[name]
    with pytest.raises(lrp.UnsupportedModelError, match=words) as caught:
        run(function)
    assert "way out" in str(caught.value).lower()
    assert ("no way out" in str(caught.value)) == (name == "stopped")
    assert any("test_refusals.py:" in problem for problem in caught.value.problems)


def test_the_rule_that_is_named_for_what_joins_elements_works():
    """Pass() is for what maps each by itself; of a product of three the gradient times the input is three times it."""
    inputs = keras.Input((3, 4))
    product = kl.Lambda(lambda t: ops.prod(t, axis=1), name="own")(kl.Dense(4, use_bias=False)(inputs))
    model = keras.Model(inputs, kl.Dense(2, use_bias=False)(product))
    with pytest.raises(lrp.UnsupportedModelError, match=r"own.*name Gradient\(\) for that"):
        lrp.Explainer(model, "lrp_zero").prepare()
    named = lrp.Composite(dense=rules.Epsilon(0), overrides={"own": rules.Gradient()})
    np.testing.assert_allclose(lrp.Explainer(model, named).explain(X, 0).conservation, 3, rtol=1e-4)


def between(function, name="own"):
    """A function in a layer of its own, or in the graph where that has no name, between two dense layers."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((3, 4), batch_size=2)
    x = kl.Dense(4, use_bias=False)(inputs)
    x = kl.Lambda(function, name=name)(x) if name else function(x)
    return keras.Model(inputs, kl.Dense(2, use_bias=False)(kl.Flatten()(x)))


def refusal(model):
    with pytest.raises(lrp.UnsupportedModelError) as caught:
        lrp.Explainer(model, "lrp_zero").prepare()
    return caught.value


PASS, GRADIENT = rules.Pass(), rules.Gradient()
# function, how it is refused, the rule that is named there, and what passes it then: as much, or a function's degree
NAMED = {
    "each": (lambda t: 1.0 / t, r"name Pass\(\) for that$", PASS, 1),
    "part": (lambda t: ops.log(ops.abs(t)), r"of a keras.layers.Activation, or.* Pass\(\)", PASS, 1),
    "numbers": (lambda t: ops.one_hot(ops.argmax(t, -1), 4), r"computed from.*name Pass\(\) for its layer", PASS, 1),
    "cumulative": (lambda t: ops.cumprod(t, axis=1), r"name Gradient\(\) or Pass\(\), where", PASS, 1),
    "matrix": (lambda t: ops.det(t[:, :2, :2])[:, None], r"no rule; put.* name Gradient\(\) for", GRADIENT, 2),
    "call": (lambda t: ops.norm(t, ord=3, axis=-1), r"Pow.*own and name Gradient\(\) for", GRADIENT, 1),
    "loop": (lambda t: ops.fori_loop(0, 2, lambda _, s: s * 2, t), r"in Python .*, or .*Gradient\(\)", GRADIENT, 1),
    "branch": (lambda t: ops.switch(1, [ops.relu, ops.abs], t), r"\(StatelessCase\).*Gradient\(\)", GRADIENT, 1),
    "contrast": (lambda t: tf.image.adjust_contrast(t[..., None], 2)[..., 0], "AdjustContrast", PASS, 1),
    "python": (
        lambda t: tf.ensure_shape(tf.numpy_function(lambda a: 2 * a, [t], "float32"), t.shape), "PyFunc", PASS, 1,
    ),
}  # fmt: skip


def test_the_rules_that_are_named_work():
    keras.utils.set_random_seed(1)
    inputs = keras.Input((3, 4), batch_size=2)
    h = kl.Dense(4, use_bias=False)(inputs)
    parts = [kl.Flatten()(kl.Lambda(row[0], name=name)(h)) for name, row in NAMED.items()]
    model = keras.Model(inputs, kl.Dense(2, use_bias=False)(kl.Concatenate()(parts)))
    problems = refusal(model).problems
    for name, (_, words, *_) in NAMED.items():
        assert any(f"{name!r} (Lambda)" in problem and re.search(words, problem) for problem in problems), name
    named = lrp.Composite(dense=rules.Epsilon(0), overrides={name: row[2] for name, row in NAMED.items()})
    found = lrp.Explainer(model, named).inspect(X, 0)
    for name, (_, _, rule, degree) in NAMED.items():
        np.testing.assert_allclose(found[name].kept, degree, rtol=1e-3, err_msg=f"{name}: {rule!r}")


@pytest.mark.parametrize("take", [lambda table, i: ops.take(table, i, 0), lambda table, i: ops.one_hot(i, 5) @ table])
def test_a_codebook_with_a_straight_through_gradient_passes_by_it(take):
    """``x + [code - x]`` has the gradient of x, by which LRP-0 of the linear rest gives ``x (A B)``."""
    table = keras.Variable(np.random.default_rng(2).normal(size=(5, 4)), dtype="float32")

    def function(t):
        nearest = ops.argmin(ops.sum((t[:, :, None] - table) ** 2, -1), -1)
        return t + ops.stop_gradient(take(table, nearest) - t)

    model = between(function)
    assert "computed from activations, which carry no relevance; name Pass() for its layer" in str(refusal(model))
    named = lrp.Composite(dense=rules.Epsilon(0), overrides={"own": GRADIENT})
    one, two = (layer.kernel.numpy() for layer in model.layers if isinstance(layer, kl.Dense))
    expected = X * np.einsum("ij,tj->ti", one, two[:, 0].reshape(3, 4))
    np.testing.assert_allclose(lrp.relevance(model, X, 0, named), expected, rtol=1e-5, atol=1e-7)


def test_what_made_numbers_without_relevance_is_named_where_weights_read_them():
    def function(t):
        return ops.cast(t > 0, "float32")

    (problem,) = refusal(between(function)).problems
    assert re.search(r"MatMul.*\(Greater\) at test_refusals.py:\d+ of layer 'own' .* name Pass\(\) for it$", problem)
    named = lrp.Composite(dense=rules.Epsilon(0), overrides={"own": PASS})
    np.testing.assert_allclose(lrp.Explainer(between(function), named).explain(X, 0).conservation, 1, rtol=1e-3)
    problem = str(refusal(between(lambda t: ops.cast(ops.argmax(t, axis=-1), "float32"))))
    assert "(ArgMax) at test_refusals.py" in problem
    assert "of their own" not in problem  # nothing passes one to one


def test_a_function_that_is_given_to_an_activation_passes():
    inputs = keras.Input((4,))
    h = kl.Activation(lambda t: ops.log(ops.abs(t)))(kl.Dense(4, use_bias=False)(inputs))
    model = keras.Model(inputs, kl.Dense(2, use_bias=False)(h))
    np.testing.assert_allclose(lrp.Explainer(model, "lrp_zero").explain(X[0], 0).conservation, 1, rtol=1e-3)


def test_no_rule_is_named_that_would_pass_nothing():
    """Neither the gradient nor one to one passes a resampling without a gradient; named, it is refused again."""

    def function(t):
        return tf.image.resize(t[..., None], (2, 2), "area")[..., 0]

    text = str(refusal(between(function)))
    assert "(ResizeArea)" in text
    assert "put another operation in its place, as it has no gradient either" in text
    assert "of its own" not in text
    assert 'on_unknown="gradient" is no way out' in text
    with pytest.raises(lrp.UnsupportedModelError, match=r"own.*\(ResizeArea\).*has no gradient"):
        lrp.Explainer(between(function), lrp.Composite(overrides={"own": GRADIENT})).prepare()


def test_a_layer_that_users_do_not_write_takes_a_rule_as_a_whole():
    keras.utils.set_random_seed(1)
    mel = kl.MelSpectrogram(8, 4, 8, num_mel_bins=3, sampling_rate=100, name="mel")
    inputs = keras.Input((32,))
    model = keras.Model(inputs, kl.Dense(2, use_bias=False)(kl.Flatten()(mel(kl.Dense(32, use_bias=False)(inputs)))))
    (problem,) = refusal(model).problems
    assert "layer 'mel' (MelSpectrogram): operation" in problem
    assert problem.endswith("; name Gradient() for its layer, Composite(overrides={'mel': Gradient()})")
    x = tf.constant(np.linspace(-1, 1, 64, dtype=np.float32).reshape(2, 32) ** 3)
    named = lrp.Composite(dense=rules.Epsilon(0), overrides={"mel": GRADIENT})
    found = lrp.Explainer(model, named).explain(x.numpy(), 0).relevance
    with tf.GradientTape() as tape:  # dense layers without biases under LRP-0: the gradient from end to end
        tape.watch(x)
        logit = model(x)[:, 0]
    expected = x * tape.gradient(logit, x)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_an_operation_of_a_functional_model_has_the_name_of_the_summary():
    model = between(lambda t: ops.log(ops.abs(t)), None)
    (name,) = [one.name for one in model.operations if type(one).__name__ == "Log"]
    (problem,) = refusal(model).problems
    assert f"(Log), {name!r} of a functional model: is not homogeneous" in problem
    assert all("call" not in vars(one) for one in model.operations)


@pytest.mark.parametrize("function", [ops.stop_gradient, ops.sign], ids=["stopped", "sign"])
def test_the_gradient_is_no_way_out_where_there_is_none(function):
    with pytest.raises(lrp.UnsupportedModelError, match="no differentiable path leads from the model's input"):
        run(lambda t: function(t), on_unknown="gradient")


def test_the_gradient_passes_a_loop():
    with pytest.warns(RuntimeWarning, match="a loop"):
        found = run(REFUSED["loop"][0], "lrp_zero", on_unknown="gradient")
    np.testing.assert_allclose(found.conservation, 1, atol=1e-4)


def written_and_read(array, t):
    for step in range(3):
        array = array.write(step, t[:, step])
    return ops.transpose(array.stack(), (1, 0, 2)) + array.read(1)[:, None]


HOMOGENEOUS = {
    "scaled": lambda t: 3.0 * t / 2.0,
    "negated sum": lambda t: -t + t[:, :, ::-1],
    "where": lambda t: ops.where(t > 0, t, 0.1 * t),
    "maximum with zero": lambda t: ops.maximum(t, 0.0),
    "reshaped": lambda t: ops.reshape(ops.transpose(t, (0, 2, 1)), (2, 3, 4)),
    "stacked": lambda t: ops.sum(ops.stack([t, ops.relu(t)], axis=0), axis=0),
    "rolled and padded": lambda t: ops.roll(ops.pad(t, [[0, 0], [1, 0], [0, 0]]), 1, axis=1),
    "maxima": lambda t: ops.max(t, axis=1, keepdims=True) + t,
    "gathered": lambda t: ops.take(t, [2, 0], axis=1),
    "absolute": lambda t: ops.abs(t),
    "checked": lambda t: tf.debugging.check_numerics(tf.ensure_shape(t, t.shape), "no number"),
    "conjugate": lambda t: tf.math.real(tf.math.conj(tf.complex(t, t))),
    "turned": lambda t: tf.math.imag(tf.cast(t, "complex64") * 1j),
    "array of steps": lambda t: written_and_read(tf.TensorArray("float32", 3), t),
}


@pytest.mark.parametrize("name", HOMOGENEOUS)
def test_homogeneous_raw_operation_conserves(name):
    explanation = run(HOMOGENEOUS[name], "lrp_zero")  # Dense starts with zero biases
    np.testing.assert_allclose(explanation.conservation, 1, atol=1e-4)


def test_everything_is_listed_at_once():
    inputs = keras.Input((3, 4))
    x = kl.Lambda(lambda t: ops.reciprocal(t), name="growth")(kl.Dense(4)(inputs))
    x = kl.Discretization([0.0, 1.0], output_mode="one_hot", name="bins")(x[:, :, 0])
    x = ops.cumprod(kl.Dense(4, activation=lambda t: 1.0 / t, name="own")(x), axis=1)
    x = kl.SimpleRNN(2, activation=lambda t: 1.0 / t, name="memory")(x[:, :1])
    model = keras.Model(inputs, kl.Dense(2)(x), name="mixed")
    with pytest.raises(lrp.UnsupportedModelError) as caught:
        lrp.relevance(model, X, 0)
    text, problems = str(caught.value), caught.value.problems
    for part in ("'mixed'", "growth", "(Reciprocal)", "bins", "(Discretization)", "own", "(RealDiv)", "on_unknown"):
        assert part in text
    order = ["layer 'bins'", "layer 'growth'", "layer 'own'", "(Cumprod), 'cumprod", "layer 'memory/simple_rnn_cell'"]
    assert all(part in problem for part, problem in zip(order, problems, strict=True)), problems


def odd_twice():
    """Two inner models whose layers have the same names; each was built before it lay in a model."""

    def inner(name):
        inputs = keras.Input((4,))
        return keras.Model(inputs, kl.Dense(4, name="odd")(inputs), name=name)

    inputs = keras.Input((4,))
    return keras.Model(inputs, kl.Dense(2, name="head")(inner("right")(inner("left")(inputs))))


def test_layers_of_inner_models_are_reported_apart_by_their_paths_in_errors_and_in_the_table():
    elementwise = lrp.Composite(overrides={kl.Dense: rules.Pass()})
    with pytest.raises(lrp.UnsupportedModelError) as refused:
        lrp.relevance(odd_twice(), np.ones((1, 4), np.float32), 0, elementwise)
    assert [problem.split()[:3] for problem in refused.value.problems] == [
        ["layer", "'left/odd'", "(Dense):"],
        ["layer", "'right/odd'", "(Dense):"],
        ["layer", "'head'", "(Dense):"],
    ]
    with pytest.warns(RuntimeWarning, match="left/odd|right/odd|head"):
        table = str(lrp.Explainer(odd_twice(), elementwise, on_unknown="gradient"))
    named = [line.split()[0] for line in table.splitlines() if "  Dense  " in line and not line.startswith(" ")]
    assert list(dict.fromkeys(named)) == ["left/odd", "right/odd", "head"]


def test_gradient_is_let_through_on_request_and_noted():
    with pytest.warns(RuntimeWarning, match="divides by an activation"):
        explanation = run(lambda t: t * t[:, :, ::-1] / t, "lrp_zero", on_unknown="gradient")
    # The product shares its relevance out, but the division takes as much again away as it has, as announced.
    np.testing.assert_allclose(explanation.conservation, 0, atol=1e-3)


def test_named_rules_for_a_layer_without_treatment():
    class Inverse(kl.Layer):
        def call(self, x):
            return 1.0 / x

    def net():
        keras.utils.set_random_seed(3)
        return keras.Sequential([keras.Input((4,)), kl.Dense(4), Inverse(name="inverse"), kl.Dense(1)])

    x = X[0, :3]
    with pytest.raises(lrp.UnsupportedModelError, match=r"inverse.*RealDiv"):
        lrp.relevance(net(), x, 0, "lrp_zero")
    zero = rules.Epsilon(0)
    passed = lrp.Composite(conv=zero, dense=zero, overrides={"inverse": rules.Pass()})
    np.testing.assert_allclose(lrp.Explainer(net(), passed).explain(x, 0).conservation, 1, atol=1e-4)
    gradient = lrp.Composite(conv=zero, dense=zero, overrides={Inverse: rules.Gradient()})
    # 1 / x is homogeneous of degree -1: its plain gradient turns the relevance round.
    np.testing.assert_allclose(lrp.Explainer(net(), gradient).explain(x, 0).conservation, -1, atol=1e-3)
    with pytest.raises(lrp.UnsupportedModelError, match="shares out by weights"):
        lrp.relevance(net(), x, 0, lrp.Composite(overrides={"inverse": rules.Epsilon()}))


@pytest.mark.parametrize("name", ["normalised", "cut", "alone", "pooled"])
def test_a_rule_for_weights_is_refused_for_a_layer_of_keras_without_them(name):
    """Also where the layer is folded into the one before it; named for a class it is for those that have weights."""
    inputs = keras.Input((6, 6, 2))
    h = kl.ReLU(name="cut")(kl.BatchNormalization(name="normalised")(kl.Conv2D(3, 2)(inputs)))
    h = kl.BatchNormalization(name="alone")(h)  # by the epsilon rule on its own affine map, whatever is named
    model = keras.Model(inputs, kl.Dense(2)(kl.GlobalAveragePooling2D(name="pooled")(h)))
    x = np.ones((1, 6, 6, 2), np.float32)
    ways = [rules.Gradient()] if name == "pooled" else [rules.Pass(), rules.Gradient()]
    said = " or ".join(map(repr, ways))
    with pytest.raises(lrp.UnsupportedModelError, match=rf"{name}.*Gamma.*show; name {re.escape(said)} for it"):
        lrp.relevance(model, x, 0, lrp.Composite(overrides={name: rules.Gamma()}))
    for way in ways:
        lrp.relevance(model, x, 0, lrp.Composite(overrides={name: way}))
    by_class = lrp.Composite(overrides={type(model.get_layer(name)): rules.Gamma()})
    np.testing.assert_array_equal(lrp.relevance(model, x, 0, by_class), lrp.relevance(model, x, 0, lrp.Composite()))


def test_what_is_named_for_a_lookup_leaves_the_lookup_as_it_is():
    inputs = keras.Input((4,))  # numbers that the layer casts itself
    model = keras.Model(inputs, kl.Dense(2)(kl.Flatten()(kl.Embedding(5, 3, name="table")(inputs))))
    x = np.array([[0, 1, 4, 2]], np.float32)
    for rule in (rules.Pass(), rules.Gradient()):
        found = lrp.relevance(model, x, 0, lrp.Composite(overrides={"table": rule}))
        np.testing.assert_array_equal(found, lrp.relevance(model, x, 0, lrp.Composite()))


def test_a_rule_that_a_weighted_layer_cannot_take_is_refused_by_that_layers_name():
    """And not by that of the ReLU that was found to follow."""
    model = keras.Sequential([keras.Input((3,)), kl.Dense(3, name="weighted"), kl.ReLU(), kl.Dense(1)])
    with pytest.raises(lrp.UnsupportedModelError, match=r"'weighted' \(Dense\): rule Pass\(\) is for elementwise"):
        lrp.relevance(model, np.ones((1, 3), np.float32), 0, lrp.Composite(overrides={"weighted": rules.Pass()}))


class Centred(kl.Layer):
    def call(self, x, by=None):
        return ops.mean(x, axis=-1, keepdims=True) if by is None else ops.tanh(x - by)


@pytest.mark.parametrize("inputs", [1, 2])
def test_one_to_one_is_from_one_input_of_the_shape_of_the_output(inputs):
    """Of two inputs the first took all, and of a mean the input took its relevance once for each of its values."""
    given = keras.Input((4,))
    middle = Centred(name="centred")(*(kl.Dense(3)(given) for _ in range(inputs)))
    model = keras.Model(given, kl.Dense(2)(middle))
    with pytest.raises(lrp.UnsupportedModelError, match=r"'centred' .* Pass\(\) needs one input of the shape"):
        lrp.Explainer(model, lrp.Composite(overrides={Centred: rules.Pass()})).prepare()


def test_subclass_with_its_own_call_is_not_taken_for_its_parent():
    class Doubled(kl.Dense):
        def call(self, x):
            return super().call(x) * 2.0 + 1.0

    model = keras.Sequential([keras.Input((4,)), Doubled(3), kl.Dense(1)])
    plain = keras.Sequential([keras.Input((4,)), kl.Dense(3), kl.Lambda(lambda t: t * 2.0 + 1.0), kl.Dense(1)])
    plain.set_weights(model.get_weights())
    found = lrp.relevance(model, X[0, :3], 0, "epsilon")
    np.testing.assert_allclose(found, lrp.relevance(plain, X[0, :3], 0, "epsilon"), rtol=1e-5, atol=1e-7)


class Renumbered(keras.Model):
    """Looks up vectors for the numbers of the largest of four values: no relevance can pass such a choice."""

    def __init__(self):
        super().__init__()
        self.dense, self.table, self.head = kl.Dense(4), kl.Embedding(4, 3), kl.Dense(2)

    def call(self, x):
        values = self.dense(x)
        return self.head(self.table(ops.round(values))[:, 0, 0] + ops.mean(values, axis=(1, 2))[:, None])


def test_tokens_computed_from_activations_are_refused():
    model = Renumbered()
    model(X)
    with pytest.raises(lrp.UnsupportedModelError, match="token numbers are computed from activations"):
        lrp.Explainer(model, "epsilon").explain(X, 0)


def test_tokens_looked_up_by_places_are_refused_with_the_way_out():
    inputs = keras.Input((3, 1), dtype="int32")
    vectors = tf.Variable(tf.ones((7, 4)))
    look_up = kl.Lambda(lambda ids: tf.gather_nd(tf.convert_to_tensor(vectors), ids), output_shape=(3, 4), name="own")
    model = keras.Model(inputs, kl.Dense(2)(kl.Flatten()(look_up(inputs))))
    with pytest.raises(lrp.UnsupportedModelError, match=r"own.*use ops\.take"):
        lrp.Explainer(model).prepare()


def test_vectors_of_constant_tokens_are_constants():
    inputs = keras.Input((5,))
    table = kl.Embedding(3, 4, name="table")
    values = kl.Dense(4, use_bias=False, name="one")(inputs)
    biased = kl.Lambda(lambda v: v + table(tf.constant(1)))
    model = keras.Model(inputs, kl.Dense(2, use_bias=False, name="two")(biased(values)))
    x = np.linspace(-1, 2, 10, dtype=np.float32).reshape(2, 5)
    found = lrp.Explainer(model, "lrp_zero").explain(x, 0).relevance
    # a bias in the middle: LRP-0 gives the input its own part, x_i * (W V)_i0, and the table the rest
    one, two = (np.asarray(model.get_layer(name).kernel, np.float64) for name in ("one", "two"))
    np.testing.assert_allclose(found, x * (one @ two)[:, 0], rtol=1e-4, atol=1e-6)


def test_what_leads_to_another_output_alone_is_not_refused(rng):
    """A loop over a number of steps that only the run knows, on the way to the second output."""
    inputs = keras.Input((4,))
    ragged = kl.Lambda(lambda x: tf.boolean_mask(x, x[:, 0] > 0)[None], output_shape=(None, 4))(inputs)
    y = kl.Dense(2, name="head")(inputs)
    model = keras.Model(inputs, [y, kl.LSTM(3, name="memory")(ragged)])
    x = rng.normal(size=(3, 4)).astype(np.float32)
    known = lrp.relevance(keras.Model(inputs, y), x, 0, "epsilon")
    np.testing.assert_array_equal(lrp.relevance(model, x, 0, "epsilon", output=0), known)
    with pytest.raises(lrp.UnsupportedModelError, match=r"memory.*time steps"):
        lrp.relevance(model, x, 0, "epsilon", output=1)


def test_a_quantised_layer_is_refused():
    model = keras.Sequential([keras.Input((4,)), kl.Dense(3, name="small"), kl.Dense(2)])
    model.get_layer("small").quantize("int8")
    with pytest.raises(lrp.UnsupportedModelError, match=r"small.*it is quantised"):
        lrp.Explainer(model, "epsilon").explain(X[:, 0], 0)


def test_an_activation_is_what_it_computes():
    """A function that nobody has named is refused only where it has no rule."""

    def net(activation):
        keras.utils.set_random_seed(5)
        return keras.Sequential([keras.Input((4,)), kl.Dense(3, activation=activation, name="own"), kl.Dense(1)])

    found = lrp.relevance(net(lambda t: t * ops.sigmoid(t)), X[0, :3], 0)
    np.testing.assert_allclose(found, lrp.relevance(net("silu"), X[0, :3], 0), rtol=1e-5, atol=1e-7)
    with pytest.raises(lrp.UnsupportedModelError, match=r"own.*\(RealDiv\).*divides by an activation"):
        lrp.relevance(net(lambda t: 1.0 / t), X[0, :3], 0)


def dense_model(**options):
    return keras.Sequential([keras.Input((4,)), kl.Dense(3, **options)], name="net")


BAD_INPUTS = {
    "rank": (np.zeros((2, 3, 4), np.float32), None, ValueError, r"inputs have shape \(2, 3, 4\), but model 'net'"),
    "size": (np.zeros((2, 5), np.float32), None, ValueError, "takes \\(n, 4\\)"),
    "empty": (np.zeros((0, 4), np.float32), None, ValueError, "at least one sample"),
    "nan": (np.array([[0, 0, 0, 0], [0, np.nan, 0, 0]], np.float32), None, ValueError, "in sample 1"),
    "words": (np.array([["a", "b", "c", "d"]]), None, TypeError, "must be numbers"),
    "target too high": (np.zeros((2, 4), np.float32), 3, ValueError, "target 3 lies outside .* 0 to 2"),
    "target negative": (np.zeros((2, 4), np.float32), [0, -1], ValueError, "target -1 lies outside"),
    "target count": (np.zeros((2, 4), np.float32), [0, 1, 2], ValueError, "one class per sample"),
    "target float": (np.zeros((2, 4), np.float32), 1.5, TypeError, "whole numbers"),
}


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_bad_input(name):
    x, target, error, words = BAD_INPUTS[name]
    with pytest.raises(error, match=words):
        lrp.relevance(dense_model(), x, target)


def test_integer_inputs_are_taken_as_numbers():
    model = dense_model()
    x = np.arange(8).reshape(2, 4)
    np.testing.assert_array_equal(lrp.relevance(model, x, 0), lrp.relevance(model, x.astype(np.float32), 0))


def test_models_that_cannot_be_explained():
    with pytest.raises(ValueError, match="has no weights yet"):
        lrp.Explainer(keras.Sequential([kl.Dense(3)]))
    with pytest.raises(TypeError, match="must be a Keras model"):
        lrp.Explainer("net")
    inputs = keras.Input((4,))
    two = keras.Model(inputs, {"a": kl.Dense(3, name="a")(inputs), "b": kl.Dense(2, name="b")(inputs)}, name="two")
    with pytest.raises(ValueError, match=r"has 2 outputs: choose one with output=: a, b"):
        lrp.relevance(two, X[0], 0)
    with pytest.raises(ValueError, match="output='c': the outputs of model 'two' are a, b"):
        lrp.relevance(two, X[0], 0, output="c")
    for choice, width in (("a", 3), (0, 3), ("b", 2), (1, 2)):
        assert lrp.Explainer(two, output=choice).explain(X[0], 0).logits.shape == (3, width)
    steps = keras.Model(inputs, kl.Lambda(lambda t: ops.reshape(t, (-1, 2)))(kl.Dense(4)(inputs)), name="steps")
    with pytest.raises(ValueError, match=r"'steps' has shape \(4, 2\) of 2 samples; .* one row a sample"):
        lrp.relevance(steps, X[[0, 0], 0], 0)
    sequence = keras.Sequential([keras.Input((3, 4)), kl.Dense(2)])
    with pytest.raises(ValueError, match="one row of logits a sample"):
        lrp.relevance(sequence, X, 0)


def test_input_rule_that_finds_no_first_layer():
    """Behind a fixed matrix: the rule of the kind in place of the first layer's, said in a warning that is kept."""
    inputs = keras.Input((4,))
    matrix = np.arange(12, dtype=np.float32).reshape(4, 3) / 6 - 1
    model = keras.Model(inputs, kl.Dense(2)(ops.matmul(inputs, matrix)))
    explainer = lrp.Explainer(model, "epsilon_plus_flat")
    with pytest.warns(RuntimeWarning, match=r"no weighted layer takes the input itself.*Flat\(\).*applied nowhere"):
        found = explainer(X[0], 0)
    (note,) = explainer.notes
    assert "Flat()" in note
    assert note in str(explainer)
    np.testing.assert_array_equal(found, lrp.relevance(model, X[0], 0, "epsilon_plus"))


def test_an_input_rule_reaches_the_input_through_a_pooling():
    model = keras.Sequential([keras.Input((3, 4)), kl.AveragePooling1D(2), kl.Flatten(), kl.Dense(2, use_bias=False)])
    explanation = lrp.Explainer(model, "epsilon_plus_flat").explain(X, 0)
    # flat over four means, each of them in equal parts to its two steps; the third step is seen by none
    expected = np.zeros_like(X)
    expected[:, :2] = explanation.logit[:, None, None] / 8
    np.testing.assert_allclose(explanation.relevance, expected, rtol=1e-5, atol=1e-7)


COMPOSITES = {
    "typo": (lambda: lrp.Explainer(dense_model(), "epsilon_plus_flt"), ValueError, "did you mean 'epsilon_plus_flat'"),
    "bounds": (
        lambda: lrp.Explainer(dense_model(), "epsilon_gamma_box"),
        ValueError,
        r"epsilon_gamma_box\(low, high\)",
    ),
    "not a rule": (lambda: lrp.Composite(conv="z+"), TypeError, "conv must be a rule"),
    "a class": (lambda: lrp.Composite(conv=rules.ZPlus), TypeError, r"make a rule of it: ZPlus\(...\)"),
    "no such layer": (
        lambda: lrp.relevance(dense_model(), X[0], 0, lrp.Composite(overrides={"conv9": rules.Flat()})),
        ValueError,
        "has no layer 'conv9'",
    ),
    "flat of a pooling": (
        lambda: lrp.Composite(overrides={kl.AveragePooling2D: rules.Flat()}),
        ValueError,
        "weights between a layer's inputs and outputs, which AveragePooling2D does not have",
    ),
    "alpha beta": (lambda: rules.AlphaBeta(2, 2), ValueError, "alpha - beta must be 1"),
    "epsilon": (lambda: rules.Epsilon(-1), ValueError, "epsilon must be a finite number >= 0"),
    "gamma": (lambda: rules.Gamma(float("nan")), ValueError, "gamma must be a finite number"),
    "box": (lambda: rules.ZBox(1, 1), ValueError, "low must lie below high"),
    "norm": (lambda: lrp.Composite(norm="zero"), ValueError, "norm='zero': expected 'epsilon'"),
    "batch size": (lambda: lrp.Explainer(dense_model(), batch_size=0), ValueError, "batch_size must be"),
    "on unknown": (
        lambda: lrp.Explainer(dense_model(), on_unknown="skip"),
        ValueError,
        "on_unknown='skip': expected 'raise' or",
    ),
}


@pytest.mark.parametrize("name", COMPOSITES)
def test_bad_composite(name):
    make, error, words = COMPOSITES[name]
    with pytest.raises(error, match=words):
        make()


def test_input_rule_named_for_a_later_layer_is_refused():
    model = keras.Sequential(
        [keras.Input((4,)), kl.Dense(3, activation="relu", name="early"), kl.Dense(2, name="last")]
    )
    with pytest.raises(lrp.UnsupportedModelError, match=r"last.*Flat\(\) is for the first weighted layer"):
        lrp.Explainer(model, lrp.Composite(overrides={"last": rules.Flat()}))
    lrp.Explainer(model, lrp.Composite(overrides={"early": rules.Flat()}))


@pytest.mark.process
def test_importing_the_package_imports_no_tensorflow():
    import subprocess
    import sys

    code = "import sys, lrp_monitor; print({'tensorflow', 'keras'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "set()\n"
