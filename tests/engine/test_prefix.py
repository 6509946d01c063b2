"""Flat or w2 over a prefix of the network: exact matrices in float64, conservation, one net in several forms."""

import functools

import keras
import numpy as np
import pytest
from engine_helpers import close, in_turn, randomised, sweep
from hand_helpers import Reference
from keras import layers as kl
from keras import ops

import lrp_monitor as lrp
from lrp_monitor import rules

ZERO = rules.Epsilon(0)
SHAPE = (7, 6, 2)


def until(layer, rule=None, **options):
    return lrp.Composite(conv=ZERO, dense=ZERO, first=rule or rules.Flat(), until=layer, **options)


def images(rng, n=2, shape=SHAPE):
    return rng.normal(size=(n, *shape)).astype(np.float32)


# --- the oracle: the prefix as one explicit matrix that shares relevance out ---


def windows(shape, size, stride, same):
    """For each output pixel the input pixels that it sees, row by row."""
    height, width = shape
    if same:
        out = [-(-n // stride) for n in shape]
        total = [max((o - 1) * stride + size - n, 0) for o, n in zip(out, shape, strict=True)]
        before = [t // 2 for t in total]
    else:
        out, before = [(n - size) // stride + 1 for n in shape], [0, 0]
    found = []
    for i in range(out[0]):
        for j in range(out[1]):
            rows = range(i * stride - before[0], i * stride - before[0] + size)
            columns = range(j * stride - before[1], j * stride - before[1] + size)
            found.append([(r, c, r - rows[0], c - columns[0]) for r in rows for c in columns
                          if 0 <= r < height and 0 <= c < width])  # fmt: skip
    return out, found


def conv_share(shape, kernel, stride, same):
    """p[output, input] of a convolution, kernel (size, size, in, out) of non-negative weights."""
    height, width, channels = shape
    (h, w), seen = windows((height, width), kernel.shape[0], stride, same)
    p = np.zeros((h * w, kernel.shape[3], height, width, channels))
    for number, window in enumerate(seen):
        for r, c, i, j in window:
            p[number, :, r, c, :] += kernel[i, j].T
    p = p.reshape(h * w * kernel.shape[3], -1)
    return (h, w, kernel.shape[3]), p / p.sum(axis=1, keepdims=True)


def pool_share(shape, size):
    height, width, channels = shape
    (h, w), seen = windows((height, width), size, size, False)
    p = np.zeros((h * w, channels, height, width, channels))
    for number, window in enumerate(seen):
        for r, c, _, _ in window:
            for channel in range(channels):
                p[number, channel, r, c, channel] = 1 / len(window)
    return (h, w, channels), p.reshape(h * w * channels, -1)


@pytest.mark.parametrize("rule", [rules.Flat(), rules.WSquare()], ids=["flat", "w2"])
def test_prefix_is_the_product_of_the_matrices_of_its_layers(rule, rng, randomise):
    """Conv, BN, ReLU, max pooling, conv with silu; behind it a dense layer, in float64 with explicit matrices."""
    model = randomise(
        keras.Sequential(
            [
                keras.Input(SHAPE),
                kl.Conv2D(3, 3, padding="same", name="one"),
                kl.BatchNormalization(),
                kl.ReLU(),
                kl.MaxPooling2D(2),
                kl.Conv2D(4, 2, strides=1, activation="silu", name="two"),
                kl.Flatten(),
                kl.Dense(3, name="head"),
            ]
        )
    )

    def weights(name):
        kernel = model.get_layer(name).get_weights()[0].astype(np.float64)
        return np.ones_like(kernel) if isinstance(rule, rules.Flat) else kernel**2

    x = images(rng)
    shape, first = conv_share(SHAPE, weights("one"), 1, True)
    shape, pool = pool_share(shape, 2)
    shape, second = conv_share(shape, weights("two"), 1, False)
    behind = keras.Model(model.inputs[0], model.get_layer("two").output)(x).numpy().astype(np.float64)
    assert behind.shape[1:] == shape
    head, bias = (w.astype(np.float64) for w in model.get_layer("head").get_weights())
    explanation = lrp.Explainer(model, until("two", rule)).explain(x, 1)
    for sample, z, logit in zip(explanation.relevance, behind, explanation.logit, strict=True):
        relevance = z.reshape(-1) * head[:, 1]
        assert relevance.sum() + bias[1] == pytest.approx(logit, rel=1e-4)
        close(sample.reshape(-1), relevance @ second @ pool @ first, 2e-5)
        assert sample.sum() == pytest.approx(relevance.sum(), rel=1e-4)  # nothing is lost in the prefix


@pytest.mark.parametrize("end", ["conv", "norm", "relu"])
def test_normalisation_and_relu_behind_the_last_layer_are_part_of_it(end, rng, randomise):
    """A folded normalisation belongs to its layer, and a ReLU passes one to one: the three ends give one map."""

    def net():
        return keras.Sequential(
            [
                keras.Input(SHAPE), kl.Conv2D(3, 3, name="stem", activation="relu"), kl.Conv2D(3, 3, name="conv"),
                kl.BatchNormalization(name="norm"), kl.ReLU(name="relu"), kl.Flatten(), kl.Dense(2, use_bias=False),
            ]
        )  # fmt: skip

    model = randomise(net())
    x = images(rng)
    explanation = lrp.Explainer(model, until(end)).explain(x, 0)
    np.testing.assert_allclose(explanation.conservation, 1, atol=1e-4)
    close(explanation.relevance, lrp.relevance(model, x, 0, until("relu")))


@pytest.mark.parametrize(
    "relu", [lambda x: ops.where(x > 0, x, 0.0), lambda x: x * ops.cast(x > 0, x.dtype)], ids=["choice", "mask"]
)
def test_an_activation_by_comparisons_is_one(relu, rng, randomise):
    """Relevance passes it whatever the values are, in the prefix and in front of all weights, as it passes a ReLU."""

    def net(activation):
        one, two = kl.Dense(4), kl.Dense(3, name="two")
        return keras.Sequential([keras.Input((5,)), activation(), one, activation(), two, kl.ReLU(), kl.Dense(2)])

    known, by_hand = randomise(net(kl.ReLU)), net(lambda: kl.Lambda(relu))
    by_hand.set_weights(known.get_weights())
    x = rng.normal(size=(4, 5)).astype(np.float32)
    for composite in (until("two", rules.WSquare()), lrp.Composite(first=rules.WSquare())):
        close(lrp.relevance(by_hand, x, 0, composite), lrp.relevance(known, x, 0, composite))


def residual(form):
    """A residual net with two branches and a pooling, as layers, as raw operators in a subclassed model, or nested."""
    one, two = kl.Conv2D(4, 3, padding="same", name="one"), kl.Conv2D(4, 3, padding="same", name="two")
    three = kl.Conv2D(5, 2, name="three", activation="relu")
    norm, head = kl.BatchNormalization(name="norm"), kl.Dense(3, name="head")
    last = kl.Conv2D(3, 1, name="last")
    flat = kl.Flatten()
    if form in ("layers", "nodes", "nested"):
        inputs = keras.Input(SHAPE)
        a = kl.ReLU()(one(inputs)) if form != "nodes" else ops.relu(one(inputs))
        b = kl.Activation("tanh")(norm(two(a))) if form != "nodes" else ops.tanh(norm(two(a)))
        total = kl.Add()([a, b]) if form != "nodes" else a + b
        joined = kl.Concatenate()([total, b]) if form != "nodes" else ops.concatenate([total, b], axis=-1)
        pooled = kl.AveragePooling2D(2)(joined) if form != "nodes" else ops.average_pool(joined, 2)
        if form == "nested":
            block = keras.Model(inputs, three(kl.MaxPooling2D(2, strides=1)(pooled)), name="block")
            inputs = keras.Input(SHAPE)
            return keras.Model(inputs, head(flat(last(block(inputs)))))
        pooled = kl.MaxPooling2D(2, strides=1)(pooled) if form == "layers" else ops.max_pool(pooled, 2, strides=1)
        return keras.Model(inputs, head(flat(last(three(pooled)))))

    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.parts = [one, two, norm, three, last, head]

        def call(self, x):
            a = ops.relu(one(x))
            b = ops.tanh(norm(two(a)))
            pooled = ops.average_pool(ops.concatenate([a + b, b], axis=-1), 2)
            return head(ops.reshape(last(three(ops.max_pool(pooled, 2, strides=1))), (x.shape[0], -1)))

    net = Net()
    net(np.zeros((1, *SHAPE), np.float32))
    return net


RULES = {"flat": rules.Flat(), "w2": rules.WSquare()}


@functools.cache
def by_layers():
    rng = np.random.default_rng(0)
    return Reference(randomised(rng, residual("layers")), images(rng), 2)


@functools.cache
def until_three(rule):
    return until("three", RULES[rule])


@sweep("form rule", ["nodes", "nested", "subclassed"], RULES, kept=in_turn)
def test_one_prefix_in_four_forms(form, rule):
    known, composite, model = by_layers(), until_three(rule), residual(form)
    values = {tuple(weight.path.split("/")[-2:]): weight.numpy() for weight in known.model.weights}
    for weight in model.weights:
        weight.assign(values[tuple(weight.path.split("/")[-2:])])
    close(lrp.relevance(model, known.x, 2, composite), known.relevance(composite))
    if form == "nested":
        close(lrp.relevance(model, known.x, 2, until("block", RULES[rule])), known.relevance(composite))


def test_sums_and_joins_of_the_prefix_by_hand(rng, randomise):
    """y = [x + relu(x W), x W] with W (3, 3): each half of the sum in equal parts, the join as it is."""
    inputs = keras.Input((3,))
    h = kl.Dense(3, name="w")(inputs)
    total = kl.Add(name="sum")([inputs, kl.ReLU()(h)])
    model = keras.Model(inputs, kl.Dense(1, use_bias=False, name="head")(kl.Concatenate(name="join")([total, h])))
    randomise(model)
    x = rng.normal(size=(4, 3)).astype(np.float32)
    w, b = (value.astype(np.float64) for value in model.get_layer("w").get_weights())
    head = model.get_layer("head").get_weights()[0][:, 0].astype(np.float64)
    found = lrp.relevance(model, x, 0, until("join"))
    for sample, map_ in zip(x.astype(np.float64), found, strict=True):
        z = sample @ w + b
        of_sum, of_h = (sample + np.maximum(z, 0)) * head[:3], z * head[3:]
        # Half of the sum's relevance stays at its own element, half goes through the dense layer, which spreads it.
        close(map_, of_sum / 2 + (of_sum.sum() / 2 + of_h.sum()) / 3)


def test_what_lies_beside_the_prefix_takes_its_own_rules(rng, randomise):
    """A second branch from inside the prefix: its layer has the rule for its kind, and its relevance goes on flat."""

    def net():
        inputs = keras.Input((4,))
        stem = kl.Dense(5, activation="relu", name="stem")(inputs)
        inside = kl.Dense(3, name="inside")(stem)
        beside = kl.Dense(3, name="beside")(stem)
        total = kl.Add()([kl.Dense(2, use_bias=False, name="a")(inside), kl.Dense(2, use_bias=False, name="b")(beside)])
        return keras.Model(inputs, total)

    model = randomise(net())
    x = rng.normal(size=(3, 4)).astype(np.float32)
    weights = {layer.name: layer.get_weights() for layer in model.layers if layer.get_weights()}
    explainer = lrp.Explainer(model, until("inside"))
    rows = {line.split()[0].rsplit("/", 1)[-1]: line for line in str(explainer).splitlines() if "Dense " in line}
    assert "Flat()" in rows["stem"]
    assert "Flat()" in rows["inside"]
    assert "Epsilon" in rows["beside"]
    found = explainer(x, 0)
    for sample, map_ in zip(x.astype(np.float64), found, strict=True):
        w, b = weights["stem"]
        h = np.maximum(sample @ w + b, 0)
        z = h @ weights["inside"][0] + weights["inside"][1]
        relevance = (z * weights["a"][0][:, 0]).sum()  # spread flat over the stem and again over the input
        relevance += (h * (weights["beside"][0] @ weights["b"][0][:, 0])).sum()  # LRP-0, then flat
        close(map_, np.full(4, relevance / 4))


def test_padding_of_the_prefix_takes_nothing(rng, randomise):
    """Windows that see padding alone have nothing to give their relevance to; all else is conserved; no overflow."""
    model = randomise(
        keras.Sequential(
            [
                keras.Input((3, 3, 1)), kl.ZeroPadding2D(4), kl.Rescaling(0.5, 1.0), kl.Conv2D(2, 2, name="a"),
                kl.Conv2D(2, 2, activation="relu", name="b"), kl.Flatten(), kl.Dense(1, use_bias=False),
            ]
        )
    )  # fmt: skip
    x = images(rng, shape=(3, 3, 1))
    explanation = lrp.Explainer(model, until("b")).explain(x, 0)
    np.testing.assert_allclose(explanation.logits, model.predict(x, verbose=0), rtol=1e-5)
    behind = keras.Model(model.inputs[0], model.get_layer("b").output)(x).numpy()
    relevance = behind * model.layers[-1].get_weights()[0].reshape(behind.shape[1:])
    # Output (i, j) of b sees the padded rows i..i+2; the picture lies in rows 4..6.
    sees = np.array([2 <= i <= 6 for i in range(9)])
    np.testing.assert_allclose(
        explanation.relevance.sum(axis=(1, 2, 3)), (relevance * (sees[:, None] & sees)[..., None]).sum(axis=(1, 2, 3)),
        rtol=1e-4,
    )  # fmt: skip


def test_gates_normalisations_and_further_layers_of_a_prefix_conserve(rng, randomise):
    inputs = keras.Input((8, 8, 3))
    h = kl.Rescaling(2.0, -0.5)(inputs)
    h = kl.SeparableConv2D(6, 3, padding="same")(h)
    h = kl.LayerNormalization()(h)
    h = kl.PReLU(shared_axes=[1, 2])(h)
    gate = kl.Dense(6, activation="sigmoid")(kl.GlobalAveragePooling2D(keepdims=True)(h))
    h = kl.Multiply()([h, gate])
    h = kl.UpSampling2D(2, interpolation="bilinear")(h)
    h = kl.DepthwiseConv2D(3, strides=2)(kl.ZeroPadding2D(1)(h))
    h = kl.GroupNormalization(2)(h)
    h = kl.Maximum()([h, kl.Conv2DTranspose(6, 1, name="up")(h)])
    h = kl.GlobalMaxPooling2D(name="end")(kl.Dropout(0.5)(h))
    model = randomise(keras.Model(inputs, kl.Dense(2, use_bias=False)(h)))
    x = images(rng, shape=(8, 8, 3))
    for rule in (rules.Flat(), rules.WSquare()):
        for product in ("gate", "half"):
            explanation = lrp.Explainer(model, until("end", rule, product=product)).explain(x, 0)
            np.testing.assert_allclose(explanation.conservation, 1, atol=1e-4)
            np.testing.assert_allclose(explanation.logits, model.predict(x, verbose=0), rtol=1e-4, atol=1e-5)


def test_until_by_class_predicate_and_preset(rng, randomise):
    model = randomise(
        keras.Sequential(
            [
                keras.Input(SHAPE), kl.Conv2D(3, 2, name="a_one"), kl.MaxPooling2D(2, name="a_pool"),
                kl.Conv2D(3, 2, name="b_one"), kl.Flatten(), kl.Dense(2),
            ]
        )
    )  # fmt: skip
    x = images(rng)
    pooled = lrp.relevance(model, x, 0, until("a_pool"))
    close(lrp.relevance(model, x, 0, until(kl.MaxPooling2D)), pooled)
    close(lrp.relevance(model, x, 0, until(lambda layer: layer.name.startswith("a_"))), pooled)
    close(lrp.relevance(model, x, 0, until(kl.Conv2D)), lrp.relevance(model, x, 0, until("b_one")))
    # Until the first weighted layer itself: what first= alone means.
    first = lrp.Composite(conv=ZERO, dense=ZERO, first=rules.Flat())
    close(lrp.relevance(model, x, 0, until("a_one")), lrp.relevance(model, x, 0, first))
    preset = lrp.composites.epsilon_plus_flat(until="a_pool")
    assert "all until a_pool" in str(preset)
    by_hand = lrp.Composite(conv=rules.ZPlus(), first=rules.Flat(), until="a_pool")
    np.testing.assert_array_equal(lrp.relevance(model, x, 0, preset), lrp.relevance(model, x, 0, by_hand))
    assert not np.allclose(lrp.relevance(model, x, 0, preset), lrp.relevance(model, x, 0, "epsilon_plus_flat"))


def test_inspection_reads_relevance_inside_the_prefix(rng, randomise):
    model = randomise(
        keras.Sequential(
            [
                keras.Input(SHAPE), kl.Conv2D(3, 2, name="one", activation="relu"), kl.MaxPooling2D(2, name="pool"),
                kl.Conv2D(3, 2, name="two"), kl.Flatten(), kl.Dense(2, use_bias=False),
            ]
        )
    )  # fmt: skip
    x = images(rng)
    explainer = lrp.Explainer(model, until("two"))
    inspection = explainer.inspect(x, 1, layers="all")
    np.testing.assert_allclose(inspection.explanation.relevance, explainer(x, 1), rtol=1e-5, atol=1e-6)
    for layer in inspection.layers:
        np.testing.assert_allclose(layer.conservation, 1, atol=1e-4, err_msg=layer.name)
    one, pool = inspection["one"].map, inspection["pool"].map
    # The pooling of 2 x 2 windows hands a quarter to each; the seventh row and column are seen by none.
    shares = np.repeat(np.repeat(pool, 2, axis=1), 2, axis=2) / 4
    close(one[:, : shares.shape[1], : shares.shape[2]], shares)


def test_a_rule_of_ones_own_sees_ones(rng, randomise):
    class Absolute(rules.Rule):
        input_only = True

        def surrogate(self, a):
            share = a.lin(a.x, ops.abs(a.kernel))
            return share * rules.stop_gradient(a.value / rules.stabilise(share, 1e-9))

    model = randomise(keras.Sequential([keras.Input((3,)), kl.Dense(4, name="a"), kl.Dense(5, name="b"), kl.Dense(1)]))
    x = rng.normal(size=(2, 3)).astype(np.float32)
    (a, bias), (b, bias_b), (head, _) = (
        [value.astype(np.float64) for value in layer.get_weights()] for layer in model.layers
    )
    shares = [np.abs(w).T / np.abs(w).T.sum(axis=1, keepdims=True) for w in (a, b)]
    expected = (((x @ a + bias) @ b + bias_b) * head[:, 0]) @ shares[1] @ shares[0]
    close(lrp.relevance(model, x, 0, until("b", Absolute())), expected)


def test_vectors_of_tokens_in_the_prefix_hand_all_to_their_tokens(rng, randomise):
    inputs = keras.Input((5,))
    h = kl.Conv1D(3, 2, name="end")(kl.Embedding(7, 4)(inputs))
    model = randomise(keras.Model(inputs, kl.Dense(2, use_bias=False, name="head")(kl.Flatten()(h))))
    x = rng.integers(0, 7, size=(2, 5)).astype(np.float32)
    found = lrp.relevance(model, x, 1, until("end"))
    # Each output of the convolution sees two tokens with as many vector elements each: half to either (Flat).
    middle = keras.Model(inputs, h)(x).numpy().astype(np.float64)
    arrived = (middle.reshape(2, -1) * model.get_layer("head").get_weights()[0][:, 1]).reshape(2, 4, 3).sum(axis=2)
    expected = np.zeros((2, 5))
    expected[:, :4] += arrived / 2
    expected[:, 1:] += arrived / 2
    close(found, expected)


@pytest.mark.parametrize("raw", [False, True], ids=["layer", "raw"])
def test_a_model_inside_that_ends_the_prefix_with_an_operation(raw, rng, randomise):
    start = keras.Input((6,))
    h = kl.Dense(4, name="one")(start)
    inner = keras.Model(start, h[:, 1:] if raw else kl.Cropping1D((1, 0))(h[..., None])[..., 0], name="inner")
    inputs = keras.Input((6,))
    model = randomise(keras.Model(inputs, kl.Dense(2, use_bias=False, name="head")(inner(inputs))))
    x = rng.normal(size=(3, 6)).astype(np.float32)
    arrived = inner(x).numpy().astype(np.float64) * model.get_layer("head").get_weights()[0][:, 0]
    expected = np.repeat(arrived.sum(axis=1, keepdims=True) / 6, 6, axis=1)  # Flat: as much to each of six
    close(lrp.relevance(model, x, 0, until("inner")), expected)


REFUSED = {
    "attention": (lambda h: kl.MultiHeadAttention(2, 3)(h, h), r"MultiHeadAttention.*lies in the prefix"),
    "recurrent": (lambda h: kl.LSTM(4, return_sequences=True)(h), r"LSTM.*lies in the prefix"),
    "softmax": (lambda h: kl.Softmax()(h), r"Softmax.*prefix"),
    "softmax activation": (lambda h: kl.Dense(4, activation="softmax")(h), r"Dense.*\(Softmax\).*lies in the prefix"),
    "raw softmax": (lambda h: kl.Lambda(lambda t: ops.softmax(t))(h), r"Softmax.* at test_prefix.py:\d+: it lies"),
    "raw weights": (
        lambda h: kl.Lambda(lambda t: ops.matmul(t, np.full((4, 4), 0.5, "float32")))(h),
        "MatMul.*it lies",
    ),
    "division": (lambda h: h / (2.0 + kl.Dense(4, activation="sigmoid")(h)), "(RealDiv|Div).*lies in the prefix"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_way_through_a_prefix_is_refused_by_name(name, rng):
    function, words = REFUSED[name]
    inputs = keras.Input((5, 4))
    h = kl.Dense(4, name="end")(function(kl.Dense(4)(inputs)))
    model = keras.Model(inputs, kl.Dense(2)(kl.Flatten()(h)))
    with pytest.raises(lrp.UnsupportedModelError, match=words):
        lrp.relevance(model, rng.normal(size=(2, 5, 4)).astype(np.float32), 0, until("end"))


@pytest.mark.parametrize("behind", [kl.Identity, kl.BatchNormalization])
def test_an_activation_behind_the_prefix_conserves(behind, rng):
    """A layer of its own: the rule of the prefix's last layer does not take it along.

    A normalisation behind it, which is folded into nothing, absorbs: the prefix conserves what passes it, y - shift.
    """
    inputs = keras.Input(SHAPE)
    h = behind()(kl.Activation("gelu")(kl.Conv2D(3, 2, name="end")(kl.Conv2D(3, 2)(inputs))))
    model = randomised(rng, keras.Model(inputs, kl.Dense(2, use_bias=False, name="head")(kl.Flatten()(h))))
    x = images(rng)
    found = lrp.Explainer(model, until("end")).explain(x, 0)
    absorbed = 0
    if behind is kl.BatchNormalization:
        layer = model.layers[-3]
        gamma, beta, mean, variance = (v.astype(np.float64) for v in layer.get_weights())
        shift = np.broadcast_to(beta - mean * gamma / np.sqrt(variance + layer.epsilon), h.shape[1:])
        absorbed = shift.reshape(-1) @ model.get_layer("head").kernel.numpy()[:, 0]
    close(found.relevance.sum(axis=(1, 2, 3)), found.logit - absorbed, 1e-4)


@pytest.mark.parametrize("move", [kl.Reshape((10, 2, 3)), kl.Permute((2, 1, 3))], ids=["reshaped", "transposed"])
def test_a_normalisation_behind_movement_belongs_to_the_prefix(rng, move):
    """Moved in front of the normalisation or behind it: one network, one map."""
    inputs = keras.Input(SHAPE)
    last, normalise, head = kl.Conv2D(3, 2, name="end"), kl.BatchNormalization(), kl.Dense(2, use_bias=False)
    h = last(kl.Conv2D(3, 2)(inputs))
    models = [
        keras.Model(inputs, head(kl.Flatten()(kl.ReLU()(made)))) for made in (normalise(move(h)), move(normalise(h)))
    ]
    randomised(rng, models[0])
    x = images(rng)
    one, two = (lrp.relevance(model, x, 0, until("end")) for model in models)
    np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6 * np.abs(two).max())


def test_bad_until(rng):
    with pytest.raises(ValueError, match="give first"):
        lrp.Composite(until="block3")
    with pytest.raises(ValueError, match=r"first=Flat\(\) or first=WSquare\(\), got ZBox"):
        lrp.Composite(first=rules.ZBox(0, 1), until="block3")
    with pytest.raises(ValueError, match="got Epsilon"):
        lrp.Composite(first=rules.Epsilon(), until="block3")
    with pytest.raises(TypeError, match="until must be"):
        lrp.Composite(first=rules.Flat(), until=3)
    model = keras.Sequential([keras.Input((4,)), kl.Dense(3, name="one"), kl.Dense(2, name="two")], name="net")
    x = rng.normal(size=(2, 4)).astype(np.float32)
    with pytest.raises(ValueError, match=r"until='three'.*'net'.*'one', 'two'"):
        lrp.relevance(model, x, 0, until("three"))
    with pytest.raises(lrp.UnsupportedModelError, match=r"ZPlus.*no meaning in a prefix"):
        lrp.relevance(model, x, 0, until("two", overrides={"one": rules.ZPlus()}))
    assert not any("call" in layer.__dict__ for layer in model.layers)
