"""Raw operations, as nodes of a functional model and in a subclassed ``call``: what the layers of that meaning give."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from engine_helpers import close, in_turn, randomised, sweep
from hand_helpers import Reference
from keras import layers as kl
from keras import ops

import lrp_monitor as lrp
from lrp_monitor import rules
from lrp_monitor.engine import backend
from lrp_monitor.engine.trace.graph import Graph

COMPOSITES = (
    "lrp_zero", lrp.Composite(dense=rules.Gamma(0.25), name="gamma"), lrp.Composite(product="half", name="half"),
)  # fmt: skip


class Subclassed(keras.Model):
    """Three dense layers with a function between the first two; the function sees tensors, never symbols."""

    def __init__(self, function, nested=False):
        super().__init__()
        self.one, self.two, self.head, self.flat = kl.Dense(4), kl.Dense(4), kl.Dense(3), kl.Flatten()
        self.inner = Inner(function) if nested else None
        self.function = function

    def call(self, x):
        h = self.one(x)
        return self.head(self.flat(self.two(self.function(h) if self.inner is None else self.inner(h))))


class Inner(keras.Model):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def call(self, x):
        return self.function(x)


def functional(function):
    inputs = keras.Input((5, 4))
    h = kl.Dense(4)(function(kl.Dense(4)(inputs)))
    return keras.Model(inputs, kl.Dense(3)(kl.Flatten()(h)))


def subclassed(function, weights, nested=False):
    model = Subclassed(function, nested)
    model(np.zeros((1, 5, 4), np.float32))
    model.set_weights(weights)
    return model


FORMS = {
    "nodes": lambda function, weights: functional(function),
    "subclassed": subclassed,
    "nested": lambda function, weights: subclassed(function, weights, nested=True),
    "Lambda": lambda function, weights: functional(kl.Lambda(function)),
}


ACTIVATIONS = [
    "celu", "elu", "gelu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_tanh", "leaky_relu", "log_sigmoid",
    "relu", "relu6", "selu", "sigmoid", "silu", "soft_shrink", "softmax", "softplus", "softsign", "sparse_plus",
    "sparse_sigmoid", "squareplus", "tanh", "tanh_shrink",
]  # fmt: skip


def function_of_keras(name):
    # ops.gelu takes an approximation where the activation of that name is exact
    exact = {"approximate": False} if name == "gelu" else {}
    return lambda t: getattr(ops, name)(t, **exact)


BY_HAND = {
    "tf gelu": ("gelu", tf.nn.gelu),
    "approximate gelu": (lambda t: ops.gelu(t, approximate=True), lambda t: tf.nn.gelu(t, approximate=True)),
    "gelu by formula": ("gelu", lambda t: 0.5 * t * (1.0 + ops.erf(t / 2.0**0.5))),
    "tf silu": ("silu", tf.nn.silu),
    "silu by product": ("silu", lambda t: t * ops.sigmoid(t)),
    "silu by division": ("silu", lambda t: t / (1.0 + ops.exp(-t))),
    "tf relu": ("relu", tf.nn.relu),
    "relu as a maximum": ("relu", lambda t: ops.maximum(t, 0.0)),
    "relu as a choice": ("relu", lambda t: ops.where(t > 0, t, 0.0)),
    "relu as a product": ("relu", lambda t: t * ops.cast(t > 0, "float32")),
    "clip": ("relu6", lambda t: ops.clip(t, 0.0, 6.0)),
    "tanh": ("tanh", tf.math.tanh),
    "square": (lambda t: t * t, lambda t: t**2),
    "mish": ("mish", lambda t: t * tf.math.tanh(tf.math.softplus(t))),
    "softmax": ("softmax", lambda t: tf.nn.softmax(t)),
    "keras.activations": ("hard_silu", keras.activations.hard_silu),
}


def eager(function):
    """Functions of TensorFlow do not take symbols: as nodes they stand inside a Lambda."""
    return lambda t: kl.Lambda(function)(t) if isinstance(t, keras.KerasTensor) else function(t)


# name -> (activation of Keras, function that computes the same)
FUNCTIONS = {
    **{name: (name, function_of_keras(name)) for name in ACTIVATIONS},
    **{f"{name} by hand": (activation, eager(function)) for name, (activation, function) in BY_HAND.items()},
}
IN_EVERY_FORM = ("gelu", "softmax", "relu as a choice by hand")


@functools.cache
def layered(activation):
    rng = np.random.default_rng(0)
    layer = kl.Activation(activation) if isinstance(activation, str) else activation
    return Reference(randomised(rng, functional(layer)), rng.normal(size=(2, 5, 4)).astype(np.float32))


def by_default(name, form, composite):
    """Three activations in all forms, and all in one form by one composite, the same for all of one meaning."""
    name = list(FUNCTIONS)[name]
    if name in IN_EVERY_FORM:
        return composite == (form + IN_EVERY_FORM.index(name)) % len(COMPOSITES)
    meanings = list(dict.fromkeys(activation for activation, _ in FUNCTIONS.values()))
    in_turn = meanings.index(FUNCTIONS[name][0]) % len(COMPOSITES)
    return composite == in_turn and form == list(FUNCTIONS).index(name) % len(FORMS)


@sweep("name form composite", FUNCTIONS, FORMS, COMPOSITES, kept=by_default)
def test_activation(name, form, composite):
    """The raw function in that form gives what the layer of that meaning gives."""
    activation, function = FUNCTIONS[name]
    known = layered(activation)
    weights = known.model.get_weights()
    model = FORMS[form](function, weights)
    model.set_weights(weights)
    np.testing.assert_allclose(model(known.x), known.output, rtol=1e-4, atol=1e-5)
    close(lrp.relevance(model, known.x, known.target, composite), known.relevance(composite))


@pytest.mark.parametrize("name", ["tanh", "square", "clip", "gelu by formula", "silu by division"])
def test_a_function_of_each_element_conserves(name, rng, randomise):
    """R_z = R_y: the heatmap is that of a net in which the function is a constant factor y / z."""
    function = BY_HAND[name][1]
    model = Subclassed(function)
    model(np.zeros((1, 5, 4), np.float32))
    randomise(model)
    x = rng.normal(size=(2, 5, 4)).astype(np.float32)
    w = [value.astype(np.float64) for value in model.get_weights()]
    found = lrp.relevance(model, x, 2, "lrp_zero")
    for sample, map_ in zip(x.astype(np.float64), found, strict=True):
        z = sample @ w[0] + w[1]
        y = np.asarray(function(ops.convert_to_tensor(z)), np.float64)
        head = w[4].reshape(5, 4, 3)[:, :, 2]
        close(map_, sample * ((y / z * (head @ w[2].T)) @ w[0].T), 1e-4)


@sweep("by product", ["ops", "operator", "tf"], ["half", "gate"], kept=in_turn)
def test_product(by, product, rng, randomise):
    multiply = {"ops": ops.multiply, "operator": lambda a, b: a * b, "tf": tf.multiply}[by]

    class ChannelGates(keras.Model):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.head = kl.Dense(3), kl.Dense(3), kl.Dense(2)

        def call(self, x):
            return self.head(multiply(self.a(x), ops.sigmoid(self.b(x))))

    def build(layers):
        inputs = keras.Input((4,))
        a, b = kl.Dense(3, name="a"), kl.Dense(3, name="b")
        if layers:
            h = kl.Multiply()([a(inputs), kl.Activation("sigmoid")(b(inputs))])
        else:
            h = ops.multiply(a(inputs), ops.sigmoid(b(inputs)))
        return keras.Model(inputs, kl.Dense(2, name="head")(h))

    layered, nodes, model = randomise(build(True)), build(False), ChannelGates()
    x = rng.normal(size=(3, 4)).astype(np.float32)
    model(x)
    for name in ("a", "b", "head"):
        for layer in (nodes.get_layer(name), getattr(model, name)):
            layer.set_weights(layered.get_layer(name).get_weights())
    composite = lrp.Composite(product=product)
    expected = lrp.relevance(layered, x, 0, composite)
    close(lrp.relevance(nodes, x, 0, composite), expected)
    close(lrp.relevance(model, x, 0, composite), expected)


def test_squeeze_and_excite_by_hand(rng, randomise):
    """x * sigmoid(W mean(x)) with raw operators: the gate is what is spread over the other, as in Multiply."""

    class Squeeze(keras.Model):
        def __init__(self, raw):
            super().__init__()
            self.conv, self.gate, self.head, self.raw = kl.Conv2D(4, 3), kl.Dense(4), kl.Dense(2), raw
            self.pool = kl.GlobalAveragePooling2D(keepdims=True)
            self.multiply, self.sigmoid = kl.Multiply(), kl.Activation("sigmoid")
            self.last = kl.GlobalAveragePooling2D()

        def call(self, x):
            h = self.conv(x)
            if not self.raw:
                return self.head(self.last(self.multiply([h, self.sigmoid(self.gate(self.pool(h)))])))
            h = h * tf.sigmoid(self.gate(tf.reduce_mean(h, axis=(1, 2), keepdims=True)))
            return self.head(ops.mean(h, axis=(1, 2)))

    layered, raw = Squeeze(False), Squeeze(True)
    x = rng.normal(size=(2, 6, 6, 3)).astype(np.float32)
    layered(x), raw(x)
    raw.set_weights(randomise(layered).get_weights())
    for composite in ("epsilon", "epsilon_plus_flat", "attn_lrp"):
        close(lrp.relevance(raw, x, 1, composite), lrp.relevance(layered, x, 1, composite))


class Attending(keras.Model):
    """softmax(q k^T) v by hand."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.head = (kl.Dense(4) for _ in range(4))

    def call(self, x):
        weights = ops.softmax(self.q(x) @ ops.transpose(self.k(x), (0, 2, 1)), axis=-1)
        return self.head(ops.reshape(weights @ self.v(x), (x.shape[0], -1)))


def test_attention_written_in_operations_is_attn_lrp(rng, randomise):
    """softmax(q k^T) v from ops.matmul and ops.softmax: what the Attention layer gives."""

    def build(attend):
        inputs = keras.Input((5, 4))
        q, k, v = (kl.Dense(4, name=name)(inputs) for name in "qkv")
        return keras.Model(inputs, kl.Dense(2)(kl.Flatten()(attend(q, k, v))))

    def by_hand(q, k, v):
        return ops.matmul(ops.softmax(ops.matmul(q, ops.transpose(k, (0, 2, 1)))), v)

    layered = randomise(build(lambda q, k, v: kl.Attention()([q, v, k])))
    x = rng.normal(size=(2, 5, 4)).astype(np.float32)
    einsum = build(lambda q, k, v: ops.einsum("bqk,bkd->bqd", ops.softmax(ops.einsum("bqd,bkd->bqk", q, k)), v))
    nodes, attending = build(by_hand), Attending()
    attending.head = kl.Dense(2)
    attending(x)
    for name in "qkv":
        weights = layered.get_layer(name).get_weights()
        nodes.get_layer(name).set_weights(weights)
        einsum.get_layer(name).set_weights(weights)
        getattr(attending, name).set_weights(weights)
    for head in (nodes.layers[-1], einsum.layers[-1], attending.head):
        head.set_weights(layered.layers[-1].get_weights())
    expected = lrp.relevance(layered, x, 0, "attn_lrp")
    for model in (nodes, einsum, attending):
        close(lrp.relevance(model, x, 0, "attn_lrp"), expected)


def test_einsum_of_two_activations(rng, randomise):
    """y_bt = sum_d a_btd b_bd: each product gives a half of its relevance to either factor."""
    inputs = keras.Input((5, 4))
    a, b = kl.Dense(3, name="a")(inputs), kl.Dense(3, name="b")(kl.GlobalAveragePooling1D()(inputs))
    model = keras.Model(inputs, kl.Dense(2, use_bias=False, name="head")(ops.einsum("btd,bd->bt", a, b)))
    randomise(model)
    x = rng.normal(size=(3, 5, 4)).astype(np.float32)
    explanation = lrp.Explainer(model, lrp.Composite(dense=rules.Epsilon(0), product="half")).explain(x, 1)
    (wa, ca), (wb, cb), (head,) = (
        [value.astype(np.float64) for value in model.get_layer(name).get_weights()] for name in ("a", "b", "head")
    )
    for sample, found, logits in zip(x.astype(np.float64), explanation.relevance, explanation.logits, strict=True):
        a, b = sample @ wa + ca, sample.mean(axis=0) @ wb + cb
        close(logits, (a @ b) @ head, 1e-4)
        relevance = a * b * head[:, 1:]  # of every product
        to_a, to_b = relevance / 2, relevance.sum(axis=0) / 2
        close(found, sample * (to_a / a @ wa.T) + sample / len(sample) * (to_b / b @ wb.T), 1e-4)


@pytest.mark.parametrize("product", ["half", "gate"])
def test_einsum_of_three_activations_conserves(product, rng, randomise):
    """The framework makes two products of it, in an order of its own choice: each is shared."""
    inputs = keras.Input((4,))
    a, b, c = (kl.Dense(3, use_bias=False, name=name)(inputs) for name in "abc")
    model = keras.Model(inputs, kl.Dense(1, use_bias=False)(ops.einsum("bd,bd,be->be", a, b, c)))
    randomise(model)
    x = rng.normal(size=(3, 4)).astype(np.float32)
    zero = rules.Epsilon(0)
    explanation = lrp.Explainer(model, lrp.Composite(dense=zero, product=product)).explain(x, 0)
    np.testing.assert_allclose(explanation.conservation, 1, atol=1e-4)


class Factorised(kl.Layer):
    """Factorised weights, by einsums: each of what the one before it gave with as many factors as it takes."""

    def __init__(self, *equations):
        super().__init__()
        self.equations = equations

    def build(self, shape):
        self.factors = [self.add_weight(shape=(n, 3), name=name) for n, name in ((shape[-1], "i"), (4, "j"), (5, "k"))]

    def call(self, x):
        factors = list(self.factors)
        for equation in self.equations:
            taken = equation.count(",")
            x, factors = ops.einsum(equation, x, *factors[:taken]), factors[taken:]
        return x


@pytest.mark.parametrize("equation", ["bi,ir,jr,kr->bjk", "...i,ir,jr,kr->...jk"])
def test_an_einsum_of_many_operands_has_one_map_for_one_sample_and_for_many(equation, rng, randomise):
    """For 60 samples TensorFlow would multiply the last factors first, and make one map of both."""

    def net(*equations):
        inputs = keras.Input((6,))
        hidden = kl.Flatten()(kl.Activation("relu")(Factorised(*equations)(inputs)))
        return keras.Model(inputs, kl.Dense(2)(hidden))

    model, one_by_one = randomise(net(equation)), net("bi,ir->br", "br,jr->brj", "brj,kr->bjk")
    one_by_one.set_weights(model.get_weights())
    x = rng.normal(size=(60, 6)).astype(np.float32)
    composite = lrp.Composite(dense=rules.ZPlus())
    explainer = lrp.Explainer(model, composite)
    found = explainer(x, 0)
    close(found[:1], explainer(x[:1], 0))
    close(found, lrp.relevance(one_by_one, x, 0, composite))


@pytest.mark.parametrize("composite", ["epsilon", lrp.Composite(dense=rules.ZPlus())], ids=["epsilon", "z+"])
def test_a_product_with_constants_is_a_linear_map(composite, rng, randomise):
    """No rule shares out by constants: what arrives passes, as through a sum or a mean. R_h = h (C^T R_y / y)."""
    constant = rng.normal(size=(4, 3)).astype(np.float32)
    inputs = keras.Input((5, 4))
    one, two = kl.Dense(4, use_bias=False), kl.Dense(2, use_bias=False)
    model = keras.Model(inputs, two(kl.Flatten()(ops.einsum("btc,cd->btd", one(inputs), constant))))
    by_hand = keras.Model(inputs, two(kl.Flatten()(ops.stack(
        [sum(float(c) * h for c, h in zip(column, ops.unstack(one(inputs), 4, axis=-1), strict=True))
         for column in constant.T], axis=-1,
    ))))  # fmt: skip
    randomise(model)
    x = rng.normal(size=(2, 5, 4)).astype(np.float32)
    close(lrp.relevance(model, x, 0, composite), lrp.relevance(by_hand, x, 0, composite))


@pytest.mark.parametrize("rule", [rules.ZPlus(), rules.AlphaBeta(), rules.Gamma()], ids=["z+", "a2b1", "gamma"])
def test_bicubic_interpolation_makes_negative_values_of_a_relu(rule, rng, randomise):
    """As the matrix does that it is, along rows and along columns."""
    rows = tf.image.resize(np.eye(4, dtype=np.float32)[:, None, :, None], (1, 8), "bicubic").numpy()[:, 0, :, 0]

    def net(enlarge):
        inputs = keras.Input((4, 4, 1))
        h = enlarge(kl.Conv2D(2, 3, padding="same", activation="relu")(inputs))
        return keras.Model(inputs, kl.Dense(2)(kl.Flatten()(kl.Conv2D(2, 3)(h)))), keras.Model(inputs, h)

    (model, before), (by_hand, _) = (
        net(kl.UpSampling2D(2, interpolation="bicubic")),
        net(lambda h: ops.einsum("bhwc,hy,wx->byxc", h, rows, rows)),
    )
    by_hand.set_weights(randomise(model).get_weights())
    x = rng.normal(size=(3, 4, 4, 1)).astype(np.float32)
    assert np.min(before(x)) < -0.01
    close(lrp.relevance(model, x, 0, lrp.Composite(rule)), lrp.relevance(by_hand, x, 0, lrp.Composite(rule)), 1e-4)


def test_bias_by_hand_absorbs_what_a_layers_bias_absorbs(rng, randomise):
    class Biased(keras.Model):
        def __init__(self):
            super().__init__()
            self.one, self.head = kl.Dense(4, use_bias=False), kl.Dense(2)
            self.bias = self.add_weight(shape=(4,), name="bias")

        def call(self, x):
            return self.head(ops.tanh(self.one(x) + self.bias))

    layered = randomise(keras.Sequential([keras.Input((5,)), kl.Dense(4, activation="tanh"), kl.Dense(2)]))
    model, x = Biased(), rng.normal(size=(3, 5)).astype(np.float32)
    model(x)
    model.one.set_weights(layered.layers[0].get_weights()[:1])
    model.bias.assign(layered.layers[0].get_weights()[1])
    model.head.set_weights(layered.layers[1].get_weights())
    for composite in ("lrp_zero", "epsilon"):
        close(lrp.relevance(model, x, 0, composite), lrp.relevance(layered, x, 0, composite))


@pytest.mark.parametrize("ending", ["softmax", "sigmoid", "log_softmax"])
def test_explanation_starts_before_a_raw_ending(ending, rng, randomise):
    class Ending(keras.Model):
        def __init__(self, ending):
            super().__init__()
            self.one, self.head, self.ending = kl.Dense(4), kl.Dense(1 if ending == "sigmoid" else 3), ending

        def call(self, x):
            h = self.head(ops.silu(self.one(x)))
            return h if self.ending is None else getattr(ops, self.ending)(h)

    x = rng.normal(size=(3, 5)).astype(np.float32)
    model, plain = Ending(ending), Ending(ending)
    plain.ending = None
    model(x), plain(x)
    plain.set_weights(randomise(model).get_weights())
    target = 0 if ending == "sigmoid" else 2
    found = lrp.Explainer(model).explain(x, target)
    sign = -1 if ending == "sigmoid" else 1  # class 0 of a sigmoid is the negated logit
    expected = lrp.Explainer(plain).explain(x, target)
    close(found.relevance, sign * expected.relevance)
    close(found.logits, expected.logits)
    close(found.output, np.asarray(model(x)))


def test_table_names_raw_operations_and_nothing_is_left_behind(rng, randomise):
    model = subclassed(lambda t: ops.gelu(t) * ops.softmax(t), randomise(functional(ops.relu)).get_weights())
    table = str(prepared(model, rng))
    assert "relevance passes the activation" in table
    assert "attention: 1/2 to the value" in table
    assert not any("call" in layer.__dict__ for layer in model._flatten_layers())


def prepared(model, rng):
    explainer = lrp.Explainer(model, "epsilon")
    explainer(rng.normal(size=(2, 5, 4)).astype(np.float32), 0)
    return explainer


def test_inspection_reads_relevance_around_raw_operations(rng, randomise):
    """Relevance at the layers around a gelu by hand, and at a layer of one's own that computes it."""

    class Gelu(kl.Layer):
        def call(self, x):
            return 2.0 * ops.gelu(x)

    inputs = keras.Input((4,))
    h = Gelu(name="own")(kl.Dense(5, name="one", use_bias=False)(inputs))
    model = randomise(keras.Model(inputs, kl.Dense(2, use_bias=False, name="two")(ops.silu(h))))
    x = rng.normal(size=(3, 4)).astype(np.float32)
    explainer = lrp.Explainer(model, "lrp_zero")
    inspection = explainer.inspect(x, 0)
    for name in ("one", "own", "two"):
        np.testing.assert_allclose(inspection[name].conservation, 1, atol=1e-4, err_msg=name)
    np.testing.assert_allclose(inspection.explanation.relevance, explainer(x, 0), rtol=1e-5, atol=1e-6)


def test_an_operation_behind_a_settled_one_is_refused_at_its_own_call_site(rng):
    model = subclassed(lambda t: ops.reciprocal(ops.flip(ops.gelu(t), axis=1)), functional(ops.relu).get_weights())
    with pytest.raises(
        lrp.UnsupportedModelError, match=r"\(Reciprocal\) at test_operations.py:\d+: is not homogeneous"
    ):
        lrp.relevance(model, rng.normal(size=(2, 5, 4)).astype(np.float32), 0, "epsilon")


SOFTMAXES = {
    "last axis": (lambda: kl.Softmax(), None, (2,)),
    "over steps": (lambda: kl.Softmax(axis=1), None, (1,)),
    "over both": (lambda: kl.Softmax(axis=(1, 2)), None, (1, 2)),
    "masked": (lambda: kl.Softmax(), np.array([True, False, True, True]), (2,)),
}


@pytest.mark.filterwarnings("ignore:Layer 'flatten:UserWarning")  # it ends the mask, as it should here
@pytest.mark.parametrize("name", SOFTMAXES)
def test_a_softmax_inside_the_net_keeps_its_own_gradient(name, rng, randomise):
    """y = softmax(h) along its axes: R_h = h y (G - sum y G), where G is what arrives at y."""
    make, mask, axes = SOFTMAXES[name]
    first, head, inputs = kl.Dense(4, use_bias=False), kl.Dense(2), keras.Input((5, 4))
    softmax = make()
    h = first(inputs)
    y = softmax(h) if mask is None else softmax(h, mask=np.broadcast_to(mask, (1, 5, 4)))
    model = randomise(keras.Model(inputs, head(kl.Flatten()(y))))
    x = rng.normal(size=(3, 5, 4)).astype(np.float32)
    explanation = lrp.Explainer(model, "lrp_zero").explain(x, 1)
    close(explanation.logits, np.asarray(model(x)))
    w, g = np.asarray(first.kernel, np.float64), np.asarray(head.kernel, np.float64)[:, 1].reshape(5, 4)
    e = np.exp(x @ w) * (1 if mask is None else mask)
    y = e / e.sum(axis=axes, keepdims=True)
    close(explanation.relevance, x * ((y * (g - (y * g).sum(axis=axes, keepdims=True))) @ w.T), 1e-4)


BENT = {
    "threshold": (lambda: kl.ReLU(threshold=0.5), lambda z: np.where(z >= 0.5, z, 0)),
    "slope": (lambda: kl.ReLU(negative_slope=0.3), lambda z: np.where(z >= 0, z, 0.3 * z)),
    "limit": (lambda: kl.ReLU(max_value=0.7), lambda z: np.clip(z, 0, 0.7)),
    "all three": (
        lambda: kl.ReLU(max_value=0.7, negative_slope=0.3, threshold=0.2),
        lambda z: np.where(z < 0.2, 0.3 * (z - 0.2), np.minimum(z, 0.7)),
    ),
}


@pytest.mark.parametrize("name", BENT)
def test_relu_with_options_passes_relevance_one_to_one(name, rng, randomise):
    make, function = BENT[name]
    first, head = kl.Dense(6), kl.Dense(2)
    model = randomise(keras.Sequential([keras.Input((5,)), first, make(), head]))
    x = rng.normal(size=(4, 5)).astype(np.float32)
    (w, b), (v, c) = ([value.astype(np.float64) for value in layer.get_weights()] for layer in (first, head))
    z = x @ w + b
    explanation = lrp.Explainer(model, "lrp_zero").explain(x, 1)
    close(explanation.logits, function(z) @ v + c)
    close(explanation.relevance, x * ((function(z) / z * v[:, 1]) @ w.T), 1e-4)


NON_NEGATIVE = (
    "relu", "relu6", "sigmoid", "hard_sigmoid", "softplus", "exponential", "softmax",
)  # fmt: skip


def test_what_is_declared_non_negative_is():
    """On it rests the short cut of the sign-splitting rules."""
    grid = np.linspace(-20, 20, 4001, dtype=np.float32)
    declared = set()
    for name in dir(keras.activations):
        function = getattr(keras.activations, name)
        if (
            name.startswith("_")
            or not callable(function)
            or name in ("get", "glu", "serialize", "deserialize", "threshold")
        ):
            continue

        @tf.function(autograph=False)
        def asked(x, name=name, function=function):
            with backend.inlined():
                y = function(x)
            if Graph.read([x]).is_non_negative(y):
                declared.add(name)
            return y

        values = np.asarray(asked(tf.constant(grid[None])))
        assert name not in declared or values.min() >= 0, name
    assert set(NON_NEGATIVE) <= declared


SIGNED = {
    "relu": (lambda x: tf.nn.relu(x), True),
    "sum": (lambda x: tf.nn.relu(x) + tf.abs(x), True),
    "sum with x": (lambda x: tf.nn.relu(x) + x, False),
    "sum with a constant": (lambda x: tf.nn.relu(x) + 1.0, True),
    "sum with a negative constant": (lambda x: tf.nn.relu(x) + tf.constant([1.0, -1.0, 0.0]), False),
    "product": (lambda x: tf.nn.relu(x) * tf.sigmoid(x), True),
    "product with x": (lambda x: tf.sigmoid(x) * x, False),
    "joined": (lambda x: tf.concat([tf.nn.relu(x), tf.exp(x)], 0), True),
    "joined with x": (lambda x: tf.concat([tf.nn.relu(x), x], 0), False),
    "larger": (lambda x: tf.maximum(x, tf.nn.relu(x)), True),
    "larger of two signs": (lambda x: tf.maximum(x, x - 1.0), False),
    "smaller": (lambda x: tf.minimum(tf.nn.relu(x), tf.nn.softplus(x)), True),
    "smaller with x": (lambda x: tf.minimum(tf.nn.relu(x), x), False),
    "moved": (lambda x: tf.reduce_mean(tf.reshape(tf.nn.relu(x), (1, 3)), axis=1), True),
    "difference": (lambda x: tf.nn.relu(x) - tf.nn.relu(-x), False),
}


@pytest.mark.parametrize("name", SIGNED)
def test_whether_a_value_can_be_negative_is_read_off_the_graph(name, rng):
    function, expected = SIGNED[name]
    answers = []

    @tf.function(autograph=False)
    def asked(x):
        y = function(x)
        answers.append(Graph.read([x]).is_non_negative(y))
        return y

    least = min(asked(tf.constant(values)).numpy().min() for values in rng.normal(size=(50, 3)).astype(np.float32))
    assert answers == [expected]
    assert (least >= 0) == expected


@pytest.mark.parametrize(
    ("layer", "non_negative"),
    [(kl.ReLU(6.0), True), (kl.ReLU(6.0, threshold=1.0), True), (kl.ReLU(negative_slope=0.1), False)],
    ids=["max_value", "threshold", "slope"],
)
def test_a_relu_with_bounds_is_known_to_be_non_negative_also_behind_padding(layer, non_negative, rng):
    """It halves the convolutions of the rules that split signs; a slope below zero does not allow it."""
    seen = []

    class Watched(rules.Epsilon):
        def surrogate(self, a):
            seen.append(a.non_negative_input)
            return super().surrogate(a)

    inner = kl.Conv2D(3, 3, name="inner")
    model = keras.Sequential([keras.Input((7, 7, 2)), kl.Conv2D(2, 3), layer, kl.ZeroPadding2D(), inner, kl.Flatten()])
    x = rng.normal(size=(2, 7, 7, 2)).astype(np.float32)
    expected = lrp.relevance(model, x, 1, "epsilon")
    found = lrp.relevance(model, x, 1, lrp.Composite(overrides={"inner": Watched()}))
    assert set(seen) == {non_negative}
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
