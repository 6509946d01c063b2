"""Whole models: folding, conservation, equal nets in other forms, nothing left behind."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from engine_helpers import COMPOSITES, close, in_turn, sweep
from keras import layers as kl
from keras import ops

import lrp_monitor as lrp
from lrp_monitor import rules

SHAPE = (12, 11, 3)


def images(rng, n=3, shape=SHAPE):
    return rng.uniform(-3, 3, size=(n, *shape)).astype(np.float32)


def conv_bn_net(fused=False):
    return keras.Sequential(
        [
            keras.Input(SHAPE),
            kl.Conv2D(5, 3, strides=2, padding="same"),
            kl.BatchNormalization(),
            kl.ReLU(),
            kl.DepthwiseConv2D(3, padding="same", depth_multiplier=2),
            kl.BatchNormalization(scale=False),
            kl.ReLU(max_value=6.0),
            kl.Conv2D(6, 1, use_bias=False),
            kl.BatchNormalization(center=False),
            kl.LeakyReLU(0.1),
            kl.Conv2DTranspose(4, 3, strides=2),
            kl.BatchNormalization(),
            kl.Activation("silu"),
            kl.GlobalAveragePooling2D(),
            kl.Dense(7),
            kl.BatchNormalization(),
            kl.Dropout(0.5),
            kl.Dense(4, activation="softmax"),
        ]
    )


def folded_by_hand(net):
    """The same net with every BatchNormalization multiplied into the layer before it, in float64."""
    layers, weights = [keras.Input(SHAPE)], []
    kept = net.layers
    for index, layer in enumerate(kept):
        if isinstance(layer, kl.BatchNormalization):
            continue
        config = layer.get_config()
        follows = kept[index + 1] if index + 1 < len(kept) else None
        if isinstance(follows, kl.BatchNormalization):
            config["use_bias"] = True
        config["name"] = layer.name + "_folded"
        copy = type(layer).from_config(config)
        layers.append(copy)
        if not layer.weights:
            continue
        kernel = layer.get_weights()[0].astype(np.float64)
        outputs = (kernel.shape[-1] * kernel.shape[-2] if isinstance(layer, kl.DepthwiseConv2D) else
                   kernel.shape[-2] if isinstance(layer, kl.Conv2DTranspose) else kernel.shape[-1])  # fmt: skip
        bias = layer.get_weights()[1].astype(np.float64) if layer.use_bias else np.zeros(outputs)
        if isinstance(follows, kl.BatchNormalization):
            gamma = follows.gamma.numpy().astype(np.float64) if follows.scale else 1.0
            beta = follows.beta.numpy().astype(np.float64) if follows.center else 0.0
            g = gamma / np.sqrt(follows.moving_variance.numpy().astype(np.float64) + follows.epsilon)
            bias = (bias - follows.moving_mean.numpy()) * g + beta
            if isinstance(layer, kl.DepthwiseConv2D):
                kernel = kernel * g.reshape(kernel.shape[-2:])
            elif isinstance(layer, kl.Conv2DTranspose):
                kernel = kernel * g[:, None]
            else:
                kernel = kernel * g
        weights.append((copy, [kernel.astype(np.float32), bias.astype(np.float32)]))
    model = keras.Sequential(layers)
    for copy, values in weights:
        copy.set_weights(values)
    return model


# Of composites that take the same rules behind the first layer one stands for the others.
AS_ANOTHER = ("lrp_zero", "epsilon_plus", "epsilon_alpha2_beta1")


@pytest.mark.parametrize(
    "composite",
    [pytest.param(one, marks=[pytest.mark.slow] * (one in AS_ANOTHER)) for one in COMPOSITES],
    ids=lambda c: getattr(c, "name", c),
)
def test_batch_norm_is_folded_as_by_hand(composite, rng, randomise):
    net = randomise(conv_bn_net())
    assert any((layer.gamma.numpy() < 0).any() for layer in net.layers if getattr(layer, "gamma", None) is not None)
    x = images(rng)
    close(lrp.relevance(net, x, 2, composite), lrp.relevance(folded_by_hand(net), x, 2, composite), 2e-4)


def test_folding_does_not_disturb_a_second_consumer(rng, randomise):
    """The convolution's output goes into a BatchNormalization and, past it, into an addition."""

    def net(twice):
        inputs = keras.Input(SHAPE)
        conv = kl.Conv2D(4, 3, name="conv")
        a = conv(inputs)
        b = kl.Conv2D(4, 3, name="copy")(inputs) if twice else a
        total = kl.Add()([kl.ReLU()(kl.BatchNormalization()(a)), b])
        return keras.Model(inputs, kl.Dense(3)(kl.Flatten()(total)))

    one, two = randomise(net(False)), net(True)
    by_name = {layer.name: layer for layer in one.layers}
    for layer in two.layers:
        name = "conv" if layer.name == "copy" else layer.name
        source = by_name.get(name) or next(x for x in one.layers if type(x) is type(layer))
        layer.set_weights(source.get_weights())
    x = images(rng)
    for composite in ("epsilon", "epsilon_plus", "epsilon_alpha2_beta1"):
        close(lrp.relevance(one, x, 0, composite), lrp.relevance(two, x, 0, composite))


def relu_net(**options):
    return keras.Sequential(
        [
            keras.Input(SHAPE),
            kl.ZeroPadding2D(((1, 0), (0, 2))),
            kl.Conv2D(6, 3, strides=2, activation="relu", **options),
            kl.MaxPooling2D(3, strides=2, padding="same"),
            kl.Conv2D(8, 3, padding="same", activation="relu", **options),
            kl.AveragePooling2D(2),
            kl.Flatten(),
            kl.Dense(9, activation="relu", **options),
            kl.Dense(5, **options),
        ]
    )


def test_lrp_zero_is_input_times_gradient_on_a_relu_net(rng, randomise):
    x = images(rng)
    with_bias = randomise(relu_net())
    variable = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(variable)
        logit = with_bias(variable)[:, 3]
    close(lrp.relevance(with_bias, x, 3, "lrp_zero"), x * tape.gradient(logit, variable).numpy())
    without = lrp.Explainer(randomise(relu_net(use_bias=False)), "lrp_zero").explain(x, 3)
    np.testing.assert_allclose(without.conservation, 1, atol=1e-4)
    close(without.logit, without.logits[:, 3])


class Raw(keras.Model):
    """Raw operators in call: a residual sum, a ReLU, a mean, a concatenation, slices."""

    def __init__(self):
        super().__init__()
        self.first = kl.Conv2D(6, 3, padding="same", use_bias=False)
        self.second = kl.Conv2D(6, 3, padding="same", use_bias=False)
        self.head = kl.Dense(3, use_bias=False)

    def call(self, x):
        x = x / 2.0
        a = ops.relu(self.first(x))
        b = tf.nn.relu(self.second(a) + a)
        b = ops.concatenate([b, -0.5 * a[..., :2]], axis=-1)
        return self.head(ops.mean(b, axis=(1, 2)))


def functional_residual():
    inputs = keras.Input(SHAPE)
    a = kl.Conv2D(6, 3, padding="same", use_bias=False)(inputs)
    a = kl.ReLU()(a)
    b = kl.ReLU()(kl.Add()([kl.Conv2D(6, 3, padding="same", use_bias=False)(a), a]))
    b = kl.Concatenate()([b, kl.Lambda(lambda t: t * 0.5)(a)])
    b = kl.ReLU(max_value=6.0)(b)
    return keras.Model(inputs, kl.Dense(3, use_bias=False)(kl.GlobalAveragePooling2D()(b)))


def multi_activation():
    layers = [keras.Input(SHAPE)]
    for activation in ("relu6", "leaky_relu", "gelu", "silu", "tanh", "elu"):
        layers.append(kl.Conv2D(5, 3, padding="same", use_bias=False, activation=activation))
    layers += [kl.Flatten(), kl.Dense(3, use_bias=False)]
    return keras.Sequential(layers)


BIAS_FREE = {"raw": Raw, "residual": functional_residual, "activations": multi_activation}


@sweep("name composite", BIAS_FREE, ["lrp_zero", "epsilon_plus", "epsilon_plus_flat"], kept=in_turn)
def test_bias_free_nets_conserve(name, composite, rng, randomise):
    model = BIAS_FREE[name]()
    x = images(rng)
    model(x)
    randomise(model)
    explanation = lrp.Explainer(model, composite).explain(x, 1)
    np.testing.assert_allclose(explanation.conservation, 1, atol=1e-3)
    close(explanation.logit, np.asarray(model(x))[:, 1], 1e-4)


@pytest.mark.parametrize(
    "composites",
    [
        ["epsilon", "epsilon_plus_flat", "epsilon_alpha2_beta1", COMPOSITES[-2]],
        pytest.param(COMPOSITES, marks=pytest.mark.slow),
    ],
    ids=["four", "every"],
)
def test_shared_layer_equals_the_layer_duplicated(composites, rng, randomise):
    def net(shared):
        inputs = keras.Input((6, 6, 3))
        conv = kl.Conv2D(3, 3, padding="same", activation="relu")
        first = conv(inputs)
        second = (conv if shared else kl.Conv2D(3, 3, padding="same", activation="relu"))(first)
        return keras.Model(inputs, kl.Dense(2)(kl.Flatten()(kl.Average()([first, second]))))

    one, two = randomise(net(True)), net(False)
    conv, dense = one.get_weights()[:2], one.get_weights()[2:]
    two.set_weights([*conv, *conv, *dense])
    x = images(rng, shape=(6, 6, 3))
    for composite in composites:
        close(lrp.relevance(one, x, 0, composite), lrp.relevance(two, x, 0, composite))


@pytest.mark.parametrize(
    "composite", ["epsilon_plus_flat", "epsilon_plus", lrp.composites.epsilon_gamma_box(0, 255)], ids=str
)
def test_preprocessing_passes_relevance_one_to_one(composite, rng, randomise):
    """Relevance of a net with preprocessing inside is that of the net behind it, on preprocessed input."""
    normalise = kl.Normalization(mean=[10.0, 100.0, 30.0], variance=[50.0**2, 80.0**2, 70.0**2])
    layers = [kl.Conv2D(4, 3, activation="relu"), kl.Flatten(), kl.Dense(3)]
    inner = randomise(keras.Sequential([keras.Input(SHAPE), *layers]))
    outer = keras.Sequential([keras.Input(SHAPE), kl.Rescaling(2.0, -5.0), normalise, *layers])
    x = rng.integers(0, 256, size=(2, *SHAPE)).astype(np.float32)
    x[0, 3:6] = 0.0
    seen = np.asarray(normalise(2.0 * x - 5.0))
    if not isinstance(composite, str):
        low, high = (np.asarray(normalise(np.full((1, *SHAPE), 2.0 * v - 5.0)))[0] for v in (0, 255))
        expected = lrp.relevance(inner, seen, 0, lrp.composites.epsilon_gamma_box(low, high))
    else:
        expected = lrp.relevance(inner, seen, 0, composite)
    found = lrp.relevance(outer, x, 0, composite)
    close(found, expected)
    assert np.abs(found[0, 3:6]).max() > 0  # also where the pixel is zero


@sweep(
    "composite padding",
    ["epsilon_plus_flat", "epsilon", lrp.composites.epsilon_gamma_box(0, 255)],
    ["padded", "as it is"],
    kept=in_turn,
)
def test_preprocessing_by_raw_operators_is_the_same(composite, padding, rng, randomise):
    class ByHand(keras.Model):
        def __init__(self, layers):
            super().__init__()
            self.parts = layers

        def call(self, x):
            x = x / 127.5 - 1.0
            for layer in self.parts:
                x = layer(x)
            return x

    layers = [
        *([kl.ZeroPadding2D(2)] if padding == "padded" else []),
        kl.Conv2D(4, 3, activation="relu"),
        kl.Flatten(),
        kl.Dense(3),
    ]
    with_layer = randomise(keras.Sequential([keras.Input(SHAPE), kl.Rescaling(1 / 127.5, -1.0), *layers]))
    by_hand = ByHand(layers)
    x = rng.integers(0, 256, size=(2, *SHAPE)).astype(np.float32)
    by_hand(x)
    close(lrp.relevance(by_hand, x, 1, composite), lrp.relevance(with_layer, x, 1, composite))


def test_leading_batch_norm_counts_as_preprocessing(rng, randomise):
    layers = [kl.Conv2D(4, 3, activation="relu", use_bias=False), kl.Flatten(), kl.Dense(3, use_bias=False)]
    norm = kl.BatchNormalization()
    model = randomise(keras.Sequential([keras.Input(SHAPE), norm, *layers]), bias=True)
    inner = keras.Sequential([keras.Input(SHAPE), *layers])
    x = images(rng)
    close(
        lrp.relevance(model, x, 0, "epsilon_plus_flat"),
        lrp.relevance(inner, np.asarray(norm(x)), 0, "epsilon_plus_flat"),
    )


@pytest.mark.parametrize("norm", ["epsilon", "identity"])
def test_batch_norm_before_activation_that_follows_no_weighted_layer(norm, rng, randomise):
    """DenseNet's order. identity conserves; epsilon is R_x = x scale R_y / y, worked out here from the tensors."""
    inputs = keras.Input((4,))
    pre = kl.Dense(5, activation="relu", use_bias=False)(inputs)
    middle = kl.BatchNormalization()
    model = keras.Model(inputs, kl.Dense(3, use_bias=False)(kl.ReLU()(middle(pre))))
    randomise(model)
    middle.beta.assign([0.3, -0.2, 0.5, 0.1, -0.4])
    x = rng.normal(size=(6, 4)).astype(np.float32)
    zero = rules.Epsilon(0)
    explanation = lrp.Explainer(model, lrp.Composite(conv=zero, dense=zero, norm=norm)).explain(x, 0)
    w1, w2 = model.layers[1].get_weights()[0].astype(np.float64), model.layers[-1].get_weights()[0].astype(np.float64)
    h = np.maximum(x @ w1, 0)
    scale = middle.gamma.numpy() / np.sqrt(middle.moving_variance.numpy() + middle.epsilon).astype(np.float64)
    y = h * scale + (middle.beta.numpy() - middle.moving_mean.numpy() * scale)
    relevance_y = np.maximum(y, 0) * w2[:, 0]
    factor = h * scale / (y + 1e-6 * np.where(y >= 0, 1, -1)) if norm == "epsilon" else (h != 0)
    relevance_h = relevance_y * factor
    ratio = np.divide(relevance_h, h, out=np.zeros_like(h), where=h != 0)
    close(explanation.relevance, x * (ratio @ w1.T), 1e-4)


def test_nothing_is_left_on_the_model(rng, randomise):
    model = randomise(conv_bn_net())
    model.compile("adam", "sparse_categorical_crossentropy")
    model.layers[0].activity_regularizer = keras.regularizers.L2(0.1)
    x = images(rng)
    expected = np.asarray(model(x))
    losses = len(model.losses)
    assert losses == 1
    before = [dict(layer.__dict__) for layer in [model, *model._flatten_layers(include_self=False)]]
    weights, optimizer = model.get_weights(), [v.numpy() for v in model.optimizer.variables]
    lrp.relevance(model, x)
    for layer, state in zip([model, *model._flatten_layers(include_self=False)], before, strict=True):
        assert layer.__dict__.keys() == state.keys(), layer.name
        assert [k for k in state if layer.__dict__[k] is not state[k]] == [], layer.name
    assert len(model.losses) == losses
    for a, b in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(optimizer, model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(a, b.numpy())
    np.testing.assert_array_equal(np.asarray(model(x)), expected)


def test_training_does_not_retrace_and_maps_follow_the_weights(rng, randomise):
    model = randomise(relu_net())
    explainer = lrp.Explainer(model, "epsilon_plus")
    x = images(rng, n=5)
    first = explainer(x, 1)
    passes = dict(explainer.passes.made)
    model.compile("sgd", "mse")
    model.fit(x, np.zeros((5, 5)), epochs=1, verbose=0)
    second = explainer(x, 1)
    assert explainer.passes.made == passes
    assert len(passes) == 1
    assert np.abs(first - second).max() > 0
    close(second, lrp.relevance(model, x, 1, "epsilon_plus"))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "float64", "bfloat16"])
def test_other_dtype_policies_are_explained_in_float32(policy, rng, randomise):
    def net():
        return keras.Sequential(
            [
                keras.Input(SHAPE),
                kl.Rescaling(0.5),
                kl.Conv2D(4, 3),
                kl.BatchNormalization(),
                kl.ReLU(),
                kl.Flatten(),
                kl.Dense(3, activation="softmax", dtype="float32"),
            ]
        )

    plain = randomise(net())
    if policy == "bfloat16":  # stored in bfloat16: give the float32 net the same rounded weights
        for v in plain.variables:
            v.assign(ops.cast(ops.cast(v, "bfloat16"), "float32"))
    keras.config.set_dtype_policy(policy)
    try:
        other = net()
    finally:
        keras.config.set_dtype_policy("float32")
    other.set_weights(plain.get_weights())
    x = images(rng)
    found = lrp.relevance(other, x, 0)
    assert found.dtype == np.float32
    close(found, lrp.relevance(plain, x, 0))
    assert {layer.dtype_policy.name for layer in other.layers[:-1]} == {policy}


@pytest.mark.parametrize("ending", ["fused", "layer", "activation", "raw", "logits"])
def test_explanation_starts_at_the_logits(ending, rng, randomise):
    inputs = keras.Input((5,))
    h = kl.Dense(6, activation="relu")(inputs)
    z = kl.Dense(4, activation="softmax" if ending == "fused" else None)(h)
    out = {"layer": kl.Softmax(), "activation": kl.Activation("softmax"), "raw": ops.softmax}.get(ending, lambda t: t)(
        z
    )
    model = keras.Model(inputs, out)
    randomise(model)
    x = rng.normal(size=(7, 5)).astype(np.float32)
    explanation = lrp.Explainer(model, "epsilon").explain(x)
    w1, b1, w2, b2 = model.get_weights()
    z = np.maximum(x @ w1 + b1, 0) @ w2 + b2
    close(explanation.logits, z)
    assert explanation.activation == (None if ending == "logits" else "softmax")
    np.testing.assert_array_equal(explanation.target, z.argmax(axis=1))
    np.testing.assert_array_equal(explanation.prediction, z.argmax(axis=1))
    p = np.exp(z - z.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    np.testing.assert_allclose(explanation.probability, p.max(axis=1), rtol=1e-5)
    close(explanation.output, z if ending == "logits" else p)


def test_single_sigmoid_unit_has_two_classes(rng, randomise):
    model = randomise(
        keras.Sequential([keras.Input((5,)), kl.Dense(4, activation="relu"), kl.Dense(1, activation="sigmoid")])
    )
    x = rng.normal(size=(8, 5)).astype(np.float32)
    explainer = lrp.Explainer(model, "epsilon")
    assert explainer.classes == 2
    one, zero, best = explainer.explain(x, 1), explainer.explain(x, 0), explainer.explain(x)
    close(zero.relevance, -one.relevance)
    np.testing.assert_allclose(zero.logit, -one.logit)
    assert (best.logit >= 0).all()
    np.testing.assert_array_equal(best.target, best.prediction)
    np.testing.assert_allclose(one.probability, np.asarray(model(x))[:, 0], rtol=1e-5)
    np.testing.assert_allclose(one.probability + zero.probability, 1)


def test_one_target_per_sample(rng, randomise):
    model = randomise(relu_net())
    x = images(rng)
    explainer = lrp.Explainer(model, "epsilon_plus")
    together = explainer(x, [0, 4, 2])
    for index, target in enumerate((0, 4, 2)):
        close(together[index], explainer(x, target)[index])


def test_xla_gives_the_same_map(rng, randomise):
    model = randomise(conv_bn_net())
    x = images(rng)
    close(lrp.relevance(model, x, 1, jit_compile=True), lrp.relevance(model, x, 1), 1e-4)


def test_overrides_by_name_type_and_predicate(rng, randomise):
    model = randomise(relu_net())
    conv_1, conv_2 = (layer for layer in model.layers if isinstance(layer, kl.Conv2D))
    x = images(rng)
    plus, zero = rules.ZPlus(), rules.Epsilon(0)
    expected = lrp.relevance(model, x, 0, lrp.Composite(conv=zero, dense=zero, overrides={conv_2.name: plus}))
    by_predicate = lrp.Composite(conv=zero, dense=zero, overrides={lambda layer: layer is conv_2: plus})
    by_type = lrp.Composite(conv=plus, dense=plus, overrides={conv_1.name: zero, kl.Dense: zero})
    close(lrp.relevance(model, x, 0, by_predicate), expected)
    close(lrp.relevance(model, x, 0, by_type), expected)
    assert np.abs(expected - lrp.relevance(model, x, 0, "lrp_zero")).max() > 0


def test_a_rule_of_ones_own(rng, randomise):
    """The example in the rules' module docstring: shares by the square of each contribution."""

    class Square(rules.Rule):
        def surrogate(self, a):
            x = rules.stop_gradient(a.x)
            share = a.lin(a.x * x, a.kernel * a.kernel)
            return share * rules.stop_gradient(a.value / rules.stabilise(share, 1e-9))

    model = randomise(keras.Sequential([keras.Input((5,)), kl.Dense(3)]))
    x = rng.normal(size=(2, 5)).astype(np.float32)
    w, b = model.get_weights()
    squares = (x * w[:, 1]) ** 2
    expected = squares / squares.sum(axis=1, keepdims=True) * (x @ w + b)[:, 1:2]
    close(lrp.relevance(model, x, 1, lrp.Composite(dense=Square())), expected)


def test_table_names_every_layer_and_what_was_folded(randomise):
    text = str(lrp.Explainer(randomise(conv_bn_net()), "epsilon_plus_flat"))
    assert text.count("folded into the weighted layer before it") == 5
    assert text.count("Flat()") == 2  # in the composite's head and at the first convolution
    assert text.count("ZPlus(") == 4
    assert "behind its softmax" in text


@pytest.mark.parametrize("rank", [2, 3])
def test_a_number_of_each_sample_is_no_bias_where_samples_are_as_many_as_channels(rank, rng, randomise):
    """Keras takes (n, 1) for a bias of n channels where n is known, as in a pass; asked is each sample alone."""
    inputs = keras.Input((4,) if rank == 2 else (5, 4))
    h = kl.Dense(4)(inputs)
    total = ops.mean(h, axis=tuple(range(1, rank)), keepdims=True)
    model = randomise(keras.Model(inputs, kl.Dense(2)(kl.Flatten()(kl.Add()([h + total, total])))))
    x = rng.normal(size=(4, *inputs.shape[1:])).astype(np.float32)
    found = lrp.Explainer(model, "lrp_zero").explain(x, 1)
    explainer = lrp.Explainer(model, "lrp_zero")
    samples = [x[i : i + 1] for i in range(4)]
    close(found.logits, np.concatenate([model(sample) for sample in samples]))
    close(found.relevance, np.concatenate([explainer(sample, 1) for sample in samples]))


class Shown(kl.Layer):
    """Gives what it computed on the way besides, which another output of the model reads."""

    def __init__(self, form):
        super().__init__()
        self.form = form

    def build(self, shape):
        self.u, self.w = (self.add_weight(shape=(4, 4), name=name) for name in "uw")

    def call(self, x):
        if self.form == "terms of a sum":
            on_the_way = ops.matmul(x, self.u)
            return on_the_way + ops.matmul(ops.flip(x, axis=1), self.w), on_the_way
        if self.form == "products":
            on_the_way = x[..., None] * self.u
            return ops.sum(on_the_way, axis=-2), on_the_way
        scores = ops.matmul(ops.matmul(x, self.u), ops.transpose(x, (0, 2, 1)))
        on_the_way = scores - ops.stop_gradient(ops.max(scores, axis=-1, keepdims=True))
        return ops.matmul(ops.softmax(on_the_way), ops.matmul(x, self.w)), on_the_way


@pytest.mark.parametrize("form", ["terms of a sum", "products", "scores"])
def test_another_output_of_the_model_changes_nothing(form, rng, randomise):
    inputs = keras.Input((3, 4))
    y, on_the_way = Shown(form)(inputs)
    y = kl.Dense(2)(kl.Flatten()(kl.Activation("relu")(y)))
    alone = randomise(keras.Model(inputs, y))
    both = keras.Model(inputs, [y, kl.Dense(3)(kl.Flatten()(on_the_way))])
    x = rng.normal(size=(2, 3, 4)).astype(np.float32)
    for composite in (lrp.Composite(dense=rules.AlphaBeta(), product="half"), "attn_lrp"):
        close(lrp.relevance(both, x, 0, composite, output=0), lrp.relevance(alone, x, 0, composite))
