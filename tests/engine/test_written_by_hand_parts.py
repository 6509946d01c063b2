"""Parts of networks that Keras has no layer for, or another one: as the same network written otherwise, or refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hand_helpers import TWO, Own, Reference, name_of, net, same, same_as, share_ends
from keras import layers as kl
from keras import ops

import lrp_monitor as lrp
from lrp_monitor import rules

ZERO = lrp.composites.cp_lrp(0.0)
IDENTITY = lrp.Composite(norm="identity", name="identity")
TOKENS, WIDTH = 5, 4


def nothing(layer):
    """A layer of one's own without parts."""


def of_dense(function, **options):
    """A net without biases whose middle is ``function`` of what a dense layer makes."""
    inputs = keras.Input((TOKENS, WIDTH))
    h = kl.Dense(WIDTH, use_bias=False)(inputs)
    h = Own(nothing, lambda _, x: function(x), name="own", **options)(h)
    return keras.Model(inputs, kl.Dense(2, use_bias=False)(h if len(h.shape) == 2 else kl.Flatten()(h)))


def conserves(model, x, composite=ZERO):
    return conserved(lrp.Explainer(model, composite).explain(x, 1))


def conserved(found):
    total = found.relevance.reshape(len(found.relevance), -1).sum(axis=1, dtype=np.float64)
    np.testing.assert_allclose(total, found.logit, rtol=1e-3)
    assert np.abs(found.logit).min() > 1e-3
    return found.relevance


@pytest.fixture
def x(rng):
    return rng.normal(size=(2, TOKENS, WIDTH)).astype(np.float32)


class RawNormalization(kl.Layer):
    """Normalisation by moving statistics as one operation of TensorFlow."""

    def build(self, shape):
        for name in ("gamma", "beta", "moving_mean", "moving_variance"):
            setattr(self, name, self.add_weight(shape=(shape[-1],), name=name, initializer="ones"))

    def call(self, x):
        four = (ops.convert_to_tensor(w) for w in (self.gamma, self.beta, self.moving_mean, self.moving_variance))
        return tf.compat.v1.nn.fused_batch_norm(x, *four, epsilon=1e-3, is_training=False)[0]


@pytest.mark.parametrize("composite", [*TWO, IDENTITY], ids=name_of)
def test_a_normalisation_in_one_operation(composite, rng, randomise):
    """Folded behind a convolution and a depthwise one, and alone behind a sum."""

    def model(norm):
        inputs = keras.Input((6, 6, 3))
        h = ops.relu(norm()(kl.Conv2D(4, 3)(inputs)))
        h = norm()(h + kl.Conv2D(4, 1)(h))
        h = ops.relu(norm()(kl.DepthwiseConv2D(3)(h)))
        return keras.Model(inputs, kl.Dense(3)(kl.GlobalAveragePooling2D()(h)))

    by_layers, by_hand = randomise(model(kl.BatchNormalization)), model(RawNormalization)
    by_hand.set_weights(by_layers.get_weights())
    same(by_layers, by_hand, rng.normal(size=(2, 6, 6, 3)).astype(np.float32), [composite])


@pytest.mark.parametrize("composite", TWO, ids=name_of)
def test_sums_over_segments(composite, rng, randomise):
    """A graph's messages, summed by where they go: as a product with its matrix."""
    source, target = np.array([0, 1, 2, 3, 0]), np.array([1, 2, 0, 0, 3])
    matrix = np.zeros((4, 4), np.float32)
    np.add.at(matrix, (target, source), 1)

    def model(run):
        inputs = keras.Input(batch_shape=(4, WIDTH))
        h = kl.Dense(WIDTH, activation="gelu", name="before")(inputs)
        return keras.Model(inputs, kl.Dense(2, name="head")(Own(nothing, run)(h)))

    by_layers = randomise(model(lambda _, h: ops.matmul(matrix, h)))
    by_hand = model(lambda _, h: ops.segment_sum(ops.take(h, source, axis=0), target, num_segments=4))
    share_ends(by_layers, by_hand)
    same(by_layers, by_hand, rng.normal(size=(4, WIDTH)).astype(np.float32), [composite])


def exp_twice(z):
    return ops.exp(z) / ops.sum(ops.exp(z), axis=-1, keepdims=True)


def stable(z):
    e = ops.exp(z - ops.max(z, axis=-1, keepdims=True))
    return e / (ops.sum(e, axis=-1, keepdims=True) + 1e-7)


def times_inverse(z):
    e = ops.exp(z)
    return e * (1.0 / ops.sum(e, axis=-1, keepdims=True))


OUTPUTS = {
    "times one over the sum": ("softmax", 3, times_inverse),
    "exp twice": ("softmax", 3, exp_twice),
    "stable": ("softmax", 3, stable),
    "1 / (1 + exp(-z))": ("sigmoid", 1, lambda z: 1 / (1 + ops.exp(-z))),
    "reciprocal": ("sigmoid", 1, lambda z: ops.reciprocal(ops.exp(-z) + 1)),
    "exp(-log1p(exp(-z)))": ("sigmoid", 1, lambda z: ops.exp(-ops.log1p(ops.exp(-z)))),
    "exp(z) / (1 + exp(z))": ("sigmoid", 1, lambda z: ops.exp(z) / (1 + ops.exp(z))),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_relevance_starts_before_an_output_by_hand(name, x, randomise):
    activation, units, function = OUTPUTS[name]
    by_layers = randomise(net((TOKENS, WIDTH), lambda h: h, head=units))
    by_hand = keras.Model(by_layers.inputs, function(by_layers.outputs[0]))
    explainer = lrp.Explainer(by_hand, ZERO)
    expected = lrp.relevance(by_layers, x, units - 1, ZERO)
    np.testing.assert_allclose(explainer(x, 1 if units == 1 else 2), expected, rtol=1e-5, atol=1e-6)
    assert explainer.activation == activation


def test_token_numbers_computed_from_token_numbers(rng, randomise):
    """Also where a number is 0, a token as any other."""

    def model(own, rest):
        ids = keras.Input((6,), dtype="int32")
        tables = kl.Embedding(7, WIDTH)(own(ids)), kl.Embedding(5, WIDTH)(rest(ids))
        return keras.Model(ids, kl.Dense(2)(kl.Flatten()(kl.Add()(tables))))

    by_hand = randomise(model(lambda i: (i * 3 + 1) % 7, lambda i: i // 3))
    numbers = np.array([[0, 1, 2, 3, 4, 5], [6, 0, 9, 11, 2, 0]])
    found = lrp.Explainer(by_hand, "epsilon").explain(numbers, 1)
    first, second, kernel, bias = (w.astype(np.float64) for w in by_hand.get_weights())
    vectors = first[(numbers * 3 + 1) % 7] + second[numbers // 3]
    terms = (vectors * kernel[:, 1].reshape(6, WIDTH)).sum(axis=-1)
    np.testing.assert_allclose(found.logit, terms.sum(axis=1) + bias[1], rtol=1e-5)
    np.testing.assert_allclose(found.relevance, terms, rtol=1e-4, atol=1e-5)


LOOPS = {
    "scan": lambda x: ops.scan(lambda c, t: (c + t, c + t), ops.zeros_like(x[:, 0]), ops.transpose(x, (1, 0, 2)))[0],
    "map": lambda x: ops.sum(ops.map(lambda t: 2 * t, x), axis=1),
    "fori_loop": lambda x: ops.fori_loop(0, 3, lambda i, c: c / 2, x[:, 0]),
}


@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_is_refused_by_name_also_beside_another_way(name):
    """Beside a way that relevance can go, nothing else would show that it does not go there."""
    model = of_dense(lambda x: x[:, 0] + LOOPS[name](x))
    with pytest.raises(lrp.UnsupportedModelError, match=r"(?s)own.*is a loop or a branch.*keras.layers.RNN"):
        lrp.Explainer(model, "epsilon").prepare()


STEPS = {
    "sign": ops.sign,
    "comparison": lambda x: ops.cast(x > 0, "float32"),
    "choice": lambda x: ops.where(x >= 0, 1.0, -1.0),
}


@pytest.mark.parametrize("name", STEPS)
def test_weights_do_not_multiply_steps_in_silence(name, x, randomise):
    """Refused also beside another way; Pass() for the layer takes them one to one."""
    inputs = keras.Input((TOKENS, WIDTH))
    h = kl.Dense(WIDTH, use_bias=False)(inputs)
    steps = Own(nothing, lambda _, x: STEPS[name](x), name="steps")(h)
    h = kl.Flatten()(h + kl.Dense(WIDTH, use_bias=False, name="behind")(steps))
    model = randomise(keras.Model(inputs, kl.Dense(2, use_bias=False)(h)))
    with pytest.raises(lrp.UnsupportedModelError, match=r"behind.*activations by operation .*'steps'.*a sign, a comp"):
        lrp.Explainer(model, "epsilon").prepare()
    passed = lrp.Composite(conv=rules.Epsilon(0), dense=rules.Epsilon(0), overrides={"steps": rules.Pass()})
    found = conserves(model, x, passed)
    first, second, head = (w.astype(np.float64) for w in model.get_weights())
    g = head[:, 1].reshape(TOKENS, WIDTH)
    for sample, relevance in zip(x.astype(np.float64), found, strict=True):
        z = sample @ first
        y = {"sign": np.sign(z), "comparison": z > 0, "choice": np.where(z >= 0, 1, -1)}[name]
        expected = sample * ((g + y / z * (g @ second.T)) @ first.T)
        assert np.abs(relevance - expected).max() <= 1e-4 * np.abs(expected).max()


def test_what_is_put_into_an_array_keeps_its_relevance(x, randomise):
    def model(put):
        inputs = keras.Input(batch_shape=(2, TOKENS, WIDTH))
        h = kl.Dense(WIDTH, activation="gelu", name="before")(inputs)
        return keras.Model(inputs, kl.Dense(2, name="head")(kl.Flatten()(Own(nothing, put)(h))))

    def scattered(_, h):
        swapped = ops.transpose(h, (1, 0, 2))
        return ops.transpose(ops.scatter_update(swapped, [[1], [3]], 2 * swapped[:2]), (1, 0, 2))

    by_layers = randomise(model(lambda _, h: ops.stack([h[:, 0], 2 * h[:, 0], h[:, 2], 2 * h[:, 1], h[:, 4]], axis=1)))
    by_hand = model(scattered)
    share_ends(by_layers, by_hand)
    same(by_layers, by_hand, x, TWO)


def test_a_value_computed_for_padding_is_not_lost_in_silence():
    model = of_dense(lambda x: tf.pad(x, [[0, 0], [1, 1], [0, 0]], constant_values=tf.reduce_mean(x)))
    with pytest.raises(lrp.UnsupportedModelError, match="where to or how depends on the model's input"):
        lrp.Explainer(model, "epsilon").prepare()


FUNCTIONS = {
    "elu(z) + 1": lambda z: ops.elu(z) + 1.0,
    "(1 + tanh(z)) / 2": lambda z: (1.0 + ops.tanh(z)) / 2.0,
    "exp(z) - 1": lambda z: ops.exp(z) - 1.0,
    "log(1 + exp(z))": lambda z: ops.log(1.0 + ops.exp(z)),
    "exp(z)": ops.exp,
    "sqrt(z z + 1)": lambda z: ops.sqrt(z * z + 1.0),
    "2 sigmoid(z) - 1": lambda z: 2.0 * ops.sigmoid(z) - 1.0,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_number_added_behind_a_function_is_a_part_of_it(name, x, randomise):
    """By hand as in a Dense layer's activation: relevance passes it whole, R_z = R_y."""
    function = FUNCTIONS[name]
    by_hand = randomise(of_dense(function))
    inputs = keras.Input((TOKENS, WIDTH))
    h = kl.Dense(WIDTH, activation=function, use_bias=False)(inputs)
    by_layers = keras.Model(inputs, kl.Dense(2, use_bias=False)(kl.Flatten()(h)))
    by_layers.set_weights(by_hand.get_weights())
    known = Reference(by_hand, x)
    conserved(known.explanation(ZERO))
    same_as(known, by_layers, [ZERO])


OVER_LAYERS = {
    "hard sigmoid": (
        lambda z: ops.relu6(z + 3.0) / 6.0,
        lambda z: kl.ReLU(6.0)(z + 3.0) / 6.0,
    ),
    "hard swish": (
        lambda z: z * ops.relu6(z + 3.0) / 6.0,
        lambda z: kl.Multiply()([z, kl.ReLU(6.0)(z + 3.0)]) / 6.0,
    ),
    "scaled by a layer, moved, cut off by another": (
        lambda z: ops.clip(z * 0.2 + 0.5, 0, 1),
        lambda z: kl.Permute((2, 1))(Own(nothing, lambda _, v: ops.clip(v, 0, 1))(kl.Permute((2, 1))(shift(z)))),
    ),
    "a sum read twice": (
        lambda z: (z + 0.5) * ops.sigmoid(z + 0.5),
        lambda z: (lambda s: kl.Multiply()([s, kl.Activation("sigmoid")(s)]))(z + 0.5),
    ),
    "a difference of two": (
        lambda z: ops.relu(z + 1.0) - ops.relu(z - 1.0),
        lambda z: kl.Subtract()([kl.ReLU()(z + 1.0), kl.ReLU()(z - 1.0)]),
    ),
    "added behind a difference": (
        lambda z: ops.softplus(2 * z) - z - 0.693,
        lambda z: kl.Subtract()([kl.Activation("softplus")(2 * z), z]) - 0.693,
    ),
    "no function": (
        lambda z: ops.relu(z + 0.5),
        lambda z: kl.ReLU()(z + 0.5),
    ),
}  # fmt: skip


def shift(z):
    return kl.Rescaling(0.2, 0.5, name="shift")(z)


@pytest.mark.parametrize("name", OVER_LAYERS)
def test_a_formula_over_several_layers_is_that_of_one(name, x, randomise):
    """A number that is added within a function absorbs nothing, whichever layer adds it; in front of a ReLU it does."""
    one, several = OVER_LAYERS[name]
    models = []
    for function in (Own(nothing, lambda _, z: one(z)), several):
        inputs = keras.Input((TOKENS, WIDTH))
        h = function(kl.Dense(WIDTH)(inputs))
        models.append(keras.Model(inputs, kl.Dense(2, use_bias=False)(kl.Flatten()(h))))
    in_one, over_layers = models
    over_layers.set_weights(randomise(in_one).get_weights())
    same_as(Reference(in_one, x), over_layers, [ZERO, lrp.composites.deep_taylor(-3, 3), "attn_lrp"])


def test_a_number_in_front_of_an_output_by_sigmoid_absorbs():
    """Relevance starts before the sigmoid: of the logit 2 1 - 1 1 + 1, the number's 1 is absorbed, 2 and -1 are not."""
    inputs = keras.Input((2,))
    model = keras.Model(inputs, kl.Activation("sigmoid")(kl.Dense(1, use_bias=False)(inputs) + 1.0))
    model.set_weights([np.array([[1.0], [-1.0]])])
    found = lrp.Explainer(model, ZERO).explain(np.array([[2, 1]], np.float32), 1)
    np.testing.assert_allclose(found.logit, 2, rtol=1e-6)
    np.testing.assert_allclose(found.relevance, [[2, -1]], rtol=1e-5)


def test_a_layer_within_a_formula_carries_what_passes_it(x, randomise):
    inputs = keras.Input((TOKENS, WIDTH))
    h = kl.ReLU(6.0, name="cut")(shift(kl.Dense(WIDTH, use_bias=False, name="before")(inputs))) / 6.0
    model = randomise(keras.Model(inputs, kl.Dense(2, use_bias=False)(kl.Flatten()(h))))
    found = lrp.Explainer(model, ZERO).inspect(x, 1)
    for layer in ("cut", "shift", "before"):
        np.testing.assert_allclose(found[layer].conservation, 1, rtol=1e-4)


def test_a_number_added_behind_another_layers_function_belongs_to_that(x, randomise):
    """1 - t, of a gate t that a Dense layer made, also moved: as of one made by hand; half to each factor."""

    def model(gate):
        inputs = keras.Input((TOKENS, WIDTH))
        t = gate(kl.Dense(WIDTH, use_bias=False), inputs)
        return keras.Model(
            inputs, kl.Dense(2, use_bias=False)(kl.Flatten()(t * kl.Dense(WIDTH, use_bias=False)(inputs)))
        )

    def by_activation(dense, inputs):
        dense.activation = keras.activations.sigmoid
        return 1.0 - kl.Permute((2, 1))(kl.Permute((2, 1))(dense(inputs)))

    one = Own(nothing, lambda _, z: 1.0 - ops.sigmoid(z))
    by_layers, by_hand = randomise(model(by_activation)), model(lambda dense, inputs: one(dense(inputs)))
    by_hand.set_weights(by_layers.get_weights())
    half = lrp.Composite(conv=rules.Epsilon(0), dense=rules.Epsilon(0), product="half")
    known = Reference(by_hand, x)
    conserved(known.explanation(half))
    same_as(known, by_layers, [half, ZERO])


def test_a_kernel_that_a_softmax_mixed_is_no_signal(x, randomise):
    """Kernels weighted by attention over them (Chen et al. 2020): nothing but those weights comes from the input."""

    def bank(layer):
        layer.kernels = layer.add_weight(shape=(3, WIDTH * WIDTH), name="kernels", initializer="random_normal")
        layer.scores = kl.Dense(3, use_bias=False)

    def run(layer, h):
        mixed = ops.matmul(ops.softmax(layer.scores(ops.mean(h, axis=1))), layer.kernels)
        return ops.matmul(h, ops.reshape(mixed, (-1, WIDTH, WIDTH)))

    inputs = keras.Input((TOKENS, WIDTH))
    layer = Own(bank, run)
    head = kl.Dense(2, use_bias=False)
    model = randomise(keras.Model(inputs, head(kl.Flatten()(layer(inputs)))))
    found = conserves(model, x)
    kernels, scores, g = (
        w.astype(np.float64) for w in (layer.kernels.numpy(), layer.scores.get_weights()[0], head.get_weights()[0])
    )
    for sample, relevance in zip(x.astype(np.float64), found, strict=True):
        e = np.exp(sample.mean(axis=0) @ scores)
        mixed = (e / e.sum() @ kernels).reshape(WIDTH, WIDTH)
        expected = sample * (g[:, 1].reshape(TOKENS, WIDTH) @ mixed.T)
        assert np.abs(relevance - expected).max() <= 1e-4 * np.abs(expected).max()


def test_the_logarithm_of_a_softmax_over_some(x, randomise):
    """By its own gradient: of y = s - log sum_k m_k e^s_k it is G_s = G_y - p sum(G_y), p_k = m_k e^s_k / sum."""
    mask = np.float32([1, 0, 1, 1])
    model = randomise(of_dense(lambda s: s - ops.log(ops.sum(ops.exp(s) * mask, axis=-1, keepdims=True))))
    found = lrp.relevance(model, x, 1, "lrp_zero")
    first, head = (w.astype(np.float64) for w in model.get_weights())
    g = head[:, 1].reshape(TOKENS, WIDTH)
    raised = np.exp(x.astype(np.float64) @ first) * mask
    share = raised / raised.sum(axis=-1, keepdims=True)
    expected = x * ((g - share * g.sum(axis=-1, keepdims=True)) @ first.T)
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


def test_a_norm_is_a_signal(x, randomise):
    """The root of a sum of squares is homogeneous: relevance passes it to the squares in proportion."""
    model = randomise(of_dense(lambda x: ops.sqrt(ops.sum(ops.square(x), axis=1))))
    found = conserves(model, x)
    first, head = (w.astype(np.float64) for w in model.get_weights())
    for sample, relevance in zip(x.astype(np.float64), found, strict=True):
        z = sample @ first
        expected = sample * ((z / np.sqrt((z**2).sum(axis=0)) * head[:, 1]) @ first.T)
        assert np.abs(relevance - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("form", ["at once", "step by step"])
def test_sums_weighted_by_exponentials(form, x, randomise):
    """Numerator and denominator by themselves: as a softmax over the tokens, whose weights are constants."""

    def weighted(h):
        scores, values = h[..., :1], h
        if form == "at once":
            e = ops.exp(scores)
            return ops.sum(e * values, axis=1) / ops.sum(e, axis=1)
        above = below = 0.0
        for t in range(TOKENS):
            e = ops.exp(scores[:, t])
            above, below = above + e * values[:, t], below + e
        return above / below

    by_hand = randomise(of_dense(weighted))
    by_layers = of_dense(lambda h: ops.sum(ops.softmax(h[..., :1], axis=1) * h, axis=1))
    by_layers.set_weights(by_hand.get_weights())
    known = Reference(by_hand, x)
    conserved(known.explanation(ZERO))
    same_as(known, by_layers, [ZERO])


def test_a_selective_recurrence_written_out(x, randomise):
    """h = exp(-softplus(d)) h + d x, from a state of zeros made of the input's shape: nothing of it is refused."""

    def run(h):
        state = ops.zeros_like(h[:, 0, :1])
        for t in range(TOKENS):
            size = ops.softplus(h[:, t, 1:2])
            state = ops.exp(-size) * state + size * h[:, t, :1]
        return state * ops.silu(h[:, -1])

    conserves(randomise(of_dense(run)), x)


def test_where_both_factors_are_gates_the_softmax_is_the_gate(x, randomise):
    """Probabilities of frames, weighted by attention (Kong et al. 2020): the relevance is the probabilities' own."""
    model = randomise(of_dense(lambda h: ops.sum(ops.softmax(h[..., :2], axis=1) * ops.sigmoid(h[..., 2:]), axis=1)))
    found = conserves(model, x)
    first, head = (w.astype(np.float64) for w in model.get_weights())
    for sample, relevance in zip(x.astype(np.float64), found, strict=True):
        z = sample @ first
        e = np.exp(z[:, :2])
        passed = e / e.sum(axis=0) / (1 + np.exp(-z[:, 2:])) * head[:, 1]
        expected = sample * ((passed / z[:, 2:]) @ first[:, 2:].T)
        assert np.abs(relevance - expected).max() <= 1e-4 * np.abs(expected).max()


FIXED = np.array([[0.0, 2.0, 0.0], [1.0, 0.0, -1.0]], np.float32)
ONES, BAND = np.eye(4, dtype=np.float32), np.tri(4, 4, 1, np.float32) * np.tri(4, 4, 1, np.float32).T
RARE = {
    "diagonal of a matrix": (lambda t: tf.linalg.diag_part(t[:, :4]), lambda t: ops.einsum("bii->bi", t[:, :4])),
    "matrix of a diagonal": (lambda t: tf.linalg.diag(t[:, 0]), lambda t: t[:, 0, :, None] * ONES),
    "diagonal put in": (
        lambda t: tf.linalg.set_diag(t[:, :4], t[:, 4]),
        lambda t: ops.where(ONES > 0, ops.repeat(t[:, 4:5], 4, axis=1), t[:, :4]),
    ),
    "values added in places": (
        lambda t: tf.tensor_scatter_nd_add(t[0], [[1], [0]], t[1, :2])[None],
        lambda t: (t[0] + ops.concatenate([t[1, 1:2], t[1, :1], ops.zeros((3, 4))], axis=0))[None],
    ),
    "sparse matrix": (
        lambda t: tf.sparse.sparse_dense_matmul(tf.sparse.from_dense(FIXED), t[0, :3])[None],
        lambda t: ops.matmul(FIXED, t[0, :3])[None],
    ),
    "sums of segments": (
        lambda t: tf.math.segment_sum(t[0], [0, 0, 1, 1, 1])[None],
        lambda t: ops.stack([ops.sum(t[0, :2], axis=0), ops.sum(t[0, 2:], axis=0)])[None],
    ),
    "Euclidean norm": (
        lambda t: tf.math.reduce_euclidean_norm(t, axis=1), lambda t: ops.sqrt(ops.sum(ops.square(t), axis=1)),
    ),
    "divided by a norm": (
        lambda t: t / tf.math.reduce_euclidean_norm(t, axis=1, keepdims=True),
        lambda t: t / ops.sqrt(ops.sum(ops.square(t), axis=1, keepdims=True)),
    ),
    "local response": (
        lambda t: tf.nn.local_response_normalization(t[:, None], 1, 1.0, 0.5)[:, 0],
        lambda t: t / ops.sqrt(1.0 + 0.5 * ops.matmul(ops.square(t), BAND)),
    ),
    "median": (lambda t: ops.median(t, axis=1), lambda t: ops.sort(t, axis=1)[:, TOKENS // 2]),
    "largest number": (lambda t: ops.nanmax(t, axis=1), lambda t: ops.max(t, axis=1)),
    "area sine": (tf.math.asinh, lambda t: ops.log(t + ops.sqrt(t * t + 1.0))),
}  # fmt: skip


def test_operations_seldom_used_are_what_they_compute(rng, randomise):
    """Each ends in a logit of its own, as does the same written otherwise: equal maps, which sum to the logit."""

    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.h = kl.Dense(WIDTH, use_bias=False)
            self.heads = {name: kl.Dense(1, use_bias=False) for name in RARE}

        def call(self, x):
            h = self.h(x)
            made = [(self.heads[name], f(h)) for name, forms in RARE.items() for f in forms]
            logits = [ops.sum(head(ops.reshape(y, (y.shape[0], -1))), axis=0) for head, y in made]
            return ops.tile(ops.concatenate(logits)[None], (x.shape[0], 1))

    model, x = Net(), rng.normal(size=(2, TOKENS, WIDTH)).astype(np.float32)
    model(x)
    explainer = lrp.Explainer(randomise(model), ZERO)
    logits = np.asarray(model(x))[0]
    for number, name in enumerate(RARE):
        one, two = (explainer(x, 2 * number + form) for form in (0, 1))
        np.testing.assert_allclose(one, two, rtol=0, atol=1e-5 * np.abs(two).max(), err_msg=name)
        np.testing.assert_allclose(one.sum() / 2, logits[2 * number], rtol=1e-4, err_msg=name)


def test_an_exponential_before_weights_is_no_part_of_a_normalisation_behind_them(x, randomise):
    """A function as any other, which passes all of its relevance."""

    def over_its_length(t):
        return t / ops.sqrt(ops.sum(t * t, axis=-1, keepdims=True))

    model = randomise(
        keras.Sequential(
            [
                keras.Input(x.shape[1:]), kl.Dense(WIDTH, use_bias=False), kl.Lambda(ops.exp),
                kl.Dense(WIDTH, use_bias=False), kl.Lambda(over_its_length), kl.Flatten(), kl.Dense(2, use_bias=False),
            ]
        )
    )  # fmt: skip
    np.testing.assert_allclose(lrp.Explainer(model, "lrp_zero").explain(x, 0).conservation, 1, atol=1e-4)


def test_what_tells_the_shape_of_a_tensor_is_read(x, randomise):
    """A number that Python computes has no shape but the one that is told behind it; it is a constant."""

    def damped(z):
        half = tf.numpy_function(lambda _: np.float32(0.5), [tf.stop_gradient(z)], tf.float32)
        return z * tf.stop_gradient(tf.ensure_shape(half, ()))

    by_python, by_number = (
        net((WIDTH,), Own(nothing, lambda _, z, f=function: f(z))) for function in (damped, lambda z: z * 0.5)
    )
    by_number.set_weights(randomise(by_python).get_weights())
    same(by_number, by_python, x[:, 0], [ZERO])
