"""Relevance inside the network against float64 NumPy; the report of check()."""

import functools

import engine_helpers
import keras
import numpy as np
import pytest
from keras import layers as kl
from keras import ops

import lrp_monitor as lrp
from lrp_monitor import rules

N = 5


close = functools.partial(engine_helpers.close, tolerance=1e-4)


def dense_net(randomise):
    return randomise(
        keras.Sequential(
            [
                keras.Input((4,)),
                kl.Dense(6, activation="relu", name="a"),
                kl.Dense(5, name="b"),
                kl.ReLU(name="r"),
                kl.Dense(3, activation="softmax", name="c"),
            ],
            name="dense",
        )
    )


def back(x, w, b, relevance, epsilon):
    """LRP-epsilon through one dense layer as it is written down: sum_j x_i w_ij / (z_j + eps sign z_j) R_j."""
    z = x @ w + b
    return x * ((relevance / (z + epsilon * np.where(z >= 0, 1, -1))) @ w.T)


def test_every_layer_of_a_dense_net(rng, randomise):
    net, epsilon = dense_net(randomise), 0.3
    x = rng.normal(size=(N, 4)).astype(np.float32)
    w1, b1, w2, b2, w3, b3 = (w.astype(np.float64) for w in net.get_weights())
    h1 = np.maximum(x @ w1 + b1, 0)
    h2 = np.maximum(h1 @ w2 + b2, 0)
    z3 = h2 @ w3 + b3
    target = np.array([0, 1, 2, 0, 1])
    r3 = np.eye(3)[target] * z3
    r2 = back(h2, w3, b3, r3, epsilon)
    r1 = back(h1, w2, b2, r2, epsilon)
    r0 = back(x, w1, b1, r1, epsilon)
    composite = lrp.Composite(dense=rules.Epsilon(epsilon))
    found = lrp.Explainer(net, composite, batch_size=2).inspect(x, target, layers="all")
    assert [layer.name for layer in found.layers] == ["a", "b", "r", "c"]
    for name, wanted in {"a": r1, "b": r2, "r": r2, "c": r3}.items():
        close(found[name].map, wanted)
        assert found[name].map.dtype == np.float32
        close(found[name].total, wanted.sum(axis=1))
        close(found[name].conservation, wanted.sum(axis=1) / r3.sum(axis=1))
    for name, wanted in {"a": r0, "b": r1, "c": r2}.items():
        close(found[name].leaving, wanted.sum(axis=1))
        close(found[name].kept, wanted.sum(axis=1) / found[name].total)
    assert found["r"].leaving is None  # it passes what the dense layer before it has
    close(found.explanation.relevance, r0)
    np.testing.assert_allclose(found.explanation.relevance, lrp.relevance(net, x, target, composite), rtol=1e-6)


def conv_same(x, w):
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    height, width = x.shape[1:3]
    return sum(padded[:, i : i + height, j : j + width] @ w[i, j] for i in range(3) for j in range(3))


def test_channel_sums_and_folded_layers(rng, randomise):
    """Conv, BatchNormalization, ReLU, mean, Dense under LRP-0: R = z' 1[z' > 0] w / (H W) at the folded z'."""
    net = randomise(
        keras.Sequential(
            [
                keras.Input((6, 5, 2)),
                kl.Conv2D(4, 3, padding="same", name="conv"),
                kl.BatchNormalization(name="bn"),
                kl.ReLU(name="relu"),
                kl.GlobalAveragePooling2D(name="mean"),
                kl.Dense(2, name="out"),
            ]
        )
    )
    x = rng.normal(size=(N, 6, 5, 2)).astype(np.float32)
    found = lrp.Explainer(net, "lrp_zero").inspect(x, 1, layers=["conv", "mean"])
    kernel, bias = (w.astype(np.float64) for w in net.get_layer("conv").get_weights())
    gamma, beta, mean, variance = (w.astype(np.float64) for w in net.get_layer("bn").get_weights())
    w, b = (v.astype(np.float64) for v in net.get_layer("out").get_weights())
    z = (conv_same(x.astype(np.float64), kernel) + bias - mean) * gamma / np.sqrt(
        variance + net.get_layer("bn").epsilon
    ) + beta
    wanted = np.maximum(z, 0) * w[:, 1] / 30
    for name in ("conv", "bn", "relu"):
        close(found[name].total, wanted.sum(axis=(1, 2, 3)))
    close(found["conv"].channels, wanted.sum(axis=(1, 2)))
    close(found["conv"].map, wanted)
    close(found["mean"].map, wanted.sum(axis=(1, 2)))
    close(found["relu"].channels, found["conv"].channels)
    close(found["mean"].channels, wanted.sum(axis=(1, 2)))
    assert found["bn"].map is None
    close(found["conv"].leaving, found.explanation.relevance.sum(axis=(1, 2, 3)))
    close(found["conv"].conservation, wanted.sum(axis=(1, 2, 3)) / (np.maximum(z, 0).mean(axis=(1, 2)) @ w + b)[:, 1])


def test_residual_branches_share_and_shared_layers_are_numbered(rng, randomise):
    inputs = keras.Input((4,))
    shared = kl.Dense(4, activation="relu", name="shared", use_bias=False)
    once = shared(inputs)
    total = kl.Add(name="sum")([once, shared(once)])
    net = randomise(keras.Model(inputs, kl.Dense(2, use_bias=False, name="out")(total)))
    x = rng.normal(size=(N, 4)).astype(np.float32)
    found = lrp.Explainer(net, "lrp_zero").inspect(x, 0, layers=["shared#2", "sum"])
    w, out = (v.astype(np.float64) for v in net.get_weights())
    h1 = np.maximum(x @ w, 0)
    h2 = np.maximum(h1 @ w, 0)
    close(found["shared#2"].map, h2 * out[:, 0])
    close(found["sum"].map, (h1 + h2) * out[:, 0])
    # The first call feeds the sum and the second call.
    close(found["shared"].total, ((h1 + h2) * out[:, 0]).sum(axis=1))
    close(found["shared#2"].leaving, (h2 * out[:, 0]).sum(axis=1))
    close(found["sum"].leaving, found["sum"].total)


def block(name):
    inputs = keras.Input((4,))
    return keras.Model(inputs, kl.ReLU(name="act")(kl.Dense(4, use_bias=False, name="dense")(inputs)), name=name)


def test_layers_of_inner_models_are_reported_apart_by_their_paths(rng, randomise):
    """A functional model is built by itself, and a ReLU never: Keras has no path for either that knows the models."""
    inputs = keras.Input((4,))
    deeper = keras.Sequential([keras.Input((4,)), block("deep"), kl.ReLU(name="act")], name="deeper")
    top = kl.ReLU(name="top")(deeper(block("base")(inputs)))
    net = randomise(keras.Model(inputs, kl.Dense(2, use_bias=False, name="out")(top)), bias=False)
    x = rng.normal(size=(N, 4)).astype(np.float32)
    found = lrp.Explainer(net, "lrp_zero").inspect(x, 0, layers=["base/act", "deep/dense"])
    assert [layer.name for layer in found.layers] == [
        "base/dense", "base/act", "deeper/deep/dense", "deeper/deep/act", "deeper/act", "top", "out",
    ]  # fmt: skip
    w1, w2, out = (v.astype(np.float64) for v in net.get_weights())
    h1 = np.maximum(x @ w1, 0)
    h2 = np.maximum(h1 @ w2, 0)
    close(found["base/act"].map, h1 * (((h1 @ w2 > 0) * out[:, 0]) @ w2.T))
    close(found["deep/dense"].map, h2 * out[:, 0])
    close(found["top"].total, (h2 * out[:, 0]).sum(axis=1))
    with pytest.raises(KeyError, match="several layers 'act'"):
        found["act"]


def test_a_path_names_one_layer_for_a_rule_and_for_the_end_of_a_prefix(rng, randomise):
    """Two inner models of the same layers: by path one of them is meant, by name all, also one outside of both."""
    inputs = keras.Input((4,))
    deeper = keras.Sequential([keras.Input((4,)), block("deep")], name="deeper")
    net = randomise(keras.Model(inputs, kl.Dense(2, name="dense")(deeper(block("base")(inputs)))))
    one, two, out = net.get_layer("base").get_layer("dense"), deeper.layers[0].get_layer("dense"), net.layers[-1]
    x = rng.normal(size=(N, 4)).astype(np.float32)

    def found(key, **options):
        return lrp.relevance(net, x, 0, lrp.Composite(overrides={key: rules.AlphaBeta(2, 1)}, **options))

    maps = [found("base/dense"), found("deeper/deep/dense"), found("dense")]
    for by_path, layers in zip(maps, ([one], [two], [one, two, out]), strict=True):
        np.testing.assert_array_equal(by_path, found(lambda layer, chosen=layers: any(layer is c for c in chosen)))
    assert all(np.abs(a - b).max() > 1e-3 for a, b in ((maps[0], maps[1]), (maps[1], maps[2]), (maps[0], maps[2])))

    def until(key):
        return lrp.relevance(net, x, 0, lrp.Composite(first=rules.WSquare(), until=key))

    np.testing.assert_array_equal(until("base/dense"), until(lambda layer: layer is one))
    np.testing.assert_array_equal(until("deeper/deep"), until("deep"))
    assert np.abs(until("base/dense") - until("deeper/deep/dense")).max() > 1e-3
    with pytest.raises(ValueError, match=r"no layer 'deep/dense'; its layers: .*'base/dense'.*'deeper/deep/dense'"):
        found("deep/dense")


def test_layers_of_one_name_side_by_side_are_numbered():
    class Twins(keras.Model):
        def __init__(self):
            super().__init__()
            self.parts = [
                kl.Dense(3, name="dense"),
                kl.ReLU(name="act"),
                kl.Dense(3, name="dense"),
                kl.Dense(2, name="out"),
            ]

        def call(self, x):
            for part in (*self.parts[:3], self.parts[1], self.parts[3]):
                x = part(x)
            return x

    net, x = Twins(), np.ones((1, 3), np.float32)
    net(x)
    names = [layer.name for layer in lrp.Explainer(net, "epsilon").inspect(x, 0).layers]
    assert names == ["dense", "act", "dense_1", "act#2", "out"]


@pytest.mark.parametrize("composite", ["epsilon_plus_flat", "lrp_zero", lrp.composites.epsilon_gamma_box(-3, 3)])
def test_layers_in_front_of_the_first_weighted_one(composite, rng, randomise):
    """Preprocessing passes what arrives at the input, whether a rule reads the input, its mask, or both."""
    net = randomise(
        keras.Sequential(
            [
                keras.Input((6, 5, 2)),
                kl.Rescaling(0.5, -0.25, name="scale"),
                kl.ZeroPadding2D(1, name="pad"),
                kl.AveragePooling2D(1, name="pool"),  # of windows of one value
                kl.Conv2D(3, 3, activation="relu", name="conv"),
                kl.Flatten(),
                kl.Dense(2),
            ]
        )
    )
    x = rng.uniform(-3, 3, size=(N, 6, 5, 2)).astype(np.float32)
    found = lrp.Explainer(net, composite).inspect(x, 1, layers="all")
    relevance = found.explanation.relevance
    close(found["scale"].map, relevance)
    close(found["pad"].map[:, 1:-1, 1:-1], relevance)
    close(found["pool"].map, found["pad"].map)
    assert np.abs(found["pad"].map).sum() == pytest.approx(np.abs(relevance).sum(), rel=1e-5)  # nothing on the border
    close(found["conv"].leaving, relevance.sum(axis=(1, 2, 3), dtype=np.float64))


def test_inspecting_does_not_change_what_is_explained_and_leaves_nothing_behind(rng, randomise):
    net = dense_net(randomise)
    before = [dict(layer.__dict__) for layer in net.layers]
    explainer = lrp.Explainer(net, "epsilon")
    x = rng.normal(size=(N, 4)).astype(np.float32)
    plain = explainer(x, 1)
    np.testing.assert_allclose(explainer.inspect(x, 1).explanation.relevance, plain, rtol=1e-6)
    np.testing.assert_array_equal(explainer(x, 1), plain)
    for layer, namespace in zip(net.layers, before, strict=True):
        assert "call" not in layer.__dict__
        assert set(layer.__dict__) == set(namespace)
    with pytest.raises(ValueError, match=r"runs no layer 'd'; its layers: \['a', 'b', 'r', 'c'\]"):
        explainer.inspect(x, 1, layers=["d"])
    with pytest.raises(KeyError, match="no layer 'd'"):
        explainer.inspect(x, 1)["d"]


def one_dense(w, b):
    net = keras.Sequential([keras.Input((3,)), kl.Dense(2, name="dense")], name="one")
    net.layers[-1].set_weights([np.array(w, np.float32).T, np.array(b, np.float32)])
    return net


X = np.array([[1.0, -2.0, 3.0]], np.float32)


def test_report_tells_what_a_bias_absorbs_and_what_a_rule_creates():
    """The layer of test_rules_by_hand: z = (9.5, -2.5) with biases (.5, -.5)."""
    net = one_dense([[1, -1, 2], [-1, 2, 1]], [0.5, -0.5])
    report = lrp.check(net, X, 0, "epsilon")
    assert report.ok
    assert report.absorbed == pytest.approx({"dense": 0.5 / 9.5}, rel=1e-4)
    assert report.created == {}
    assert "0.9474 absorbs" in str(report)
    # alpha 2, beta 1 at output 1: (2.5 + 10) / 5.5 - 5 of -2.5.
    report = lrp.check(net, X, 1, lrp.Composite(dense=rules.AlphaBeta(2, 1)))
    assert report.created == pytest.approx({"dense": (12.5 / 5.5 - 5) / -2.5 - 1}, rel=1e-4)
    assert report.absorbed == {}
    assert "creates" in str(report)
    without = lrp.check(one_dense([[1, -1, 2], [-1, 2, 1]], [0, 0]), X, 0, "epsilon")
    assert (without.absorbed, without.created) == ({}, {})


def test_report_of_a_supported_model(rng, randomise):
    net = randomise(
        keras.Sequential(
            [
                keras.Input((6, 5, 2)),
                kl.Conv2D(4, 3, name="conv"),
                kl.BatchNormalization(name="bn"),
                kl.ReLU(),
                kl.Flatten(),
                kl.Dense(2, activation="softmax"),
            ],
            name="small",
        )
    )
    report = lrp.check(net)  # on noise of its own
    assert report.ok
    assert report.folded == ("bn",)
    text = str(report)
    assert text.startswith("model 'small' under composite 'epsilon_gamma': supported")
    assert "folded into the weighted layer before it" in text
    assert len(text.splitlines()) == 8


@pytest.mark.parametrize("kind", ["uint8", "int32"])
def test_the_noise_that_a_report_is_made_on_fills_what_the_model_takes(kind, randomise):
    inputs = keras.Input((6, 5), dtype=kind)
    start = kl.Rescaling(1 / 255)(inputs) if kind == "uint8" else kl.Embedding(2, 3)(inputs)
    net = randomise(keras.Model(inputs, kl.Dense(2, use_bias=False)(kl.Flatten()(start))))
    report = lrp.check(net, target=1, composite="lrp_zero")
    assert report.ok
    result = report.inspection.explanation
    assert len(np.unique(result.logit)) == 4  # four samples that differ
    np.testing.assert_allclose(result.conservation, 1, atol=1e-4)  # without a bias nothing is lost
    if kind == "uint8":  # uniform in 0..255, of which the weights see a 255th: else the logits were near zero
        kernel = net.layers[-1].get_weights()[0][:, 1]
        assert np.abs(result.logit).max() > 0.1 * np.abs(kernel).sum() / np.sqrt(kernel.size)


def test_report_of_a_model_that_is_not_supported():
    class Inverse(kl.Layer):
        def call(self, x):
            return ops.reciprocal(x)

    net = keras.Sequential(
        [keras.Input((4,)), kl.Dense(4, activation="softplus"), Inverse(name="inverse"), kl.Dense(1)], name="odd"
    )
    report = lrp.check(net, composite="epsilon")
    assert not report.supported
    assert len(report.problems) == 1
    assert "Reciprocal" in report.problems[0]
    assert "not supported, 1 without a treatment" in str(report)
    assert lrp.check(net, composite="epsilon", on_unknown="raise").inspection is None
    with pytest.warns(RuntimeWarning, match="Reciprocal"):
        tried = lrp.check(net, composite="epsilon", on_unknown="gradient")
    assert tried.notes
    # The inverse is homogeneous of degree -1: its plain gradient turns what passes round.
    assert tried.absorbed["inverse"] == pytest.approx(2.0, rel=1e-4)


def test_report_names_what_is_not_finite(rng, randomise):
    net = dense_net(randomise)
    kernel, bias = net.get_layer("b").get_weights()
    kernel[2, 3] = np.nan
    net.get_layer("b").set_weights([kernel, bias])
    report = lrp.check(net, composite="epsilon")
    assert not report.ok
    assert report.bad_weights == ("b/kernel",)
    assert "a" in report.nonfinite
    assert "NOT FINITE" in str(report)


def test_relevance_is_read_between_two_activations(rng, randomise):
    """Each of them is a layer: the second one's function begins at the first one's output."""
    model = keras.Sequential(
        [
            keras.Input((3,)), kl.Dense(4, use_bias=False), kl.Activation("tanh", name="between"),
            kl.Activation("gelu"), kl.Dense(1, use_bias=False),
        ]
    )  # fmt: skip
    inspection = lrp.Explainer(randomise(model), "lrp_zero").inspect(rng.normal(size=(2, 3)).astype(np.float32), 0)
    np.testing.assert_allclose(inspection["between"].conservation, 1, atol=1e-4)


def test_a_layer_that_turns_its_product_and_one_that_scales_it(rng, randomise):
    """The normalisation becomes a part of the product, and passes relevance one to one: the maps of both are equal."""

    class Turned(kl.Layer):
        def build(self, shape):
            self.kernel = self.add_weight(shape=(shape[-1], 4), name="kernel")

        def call(self, x):
            return ops.transpose(ops.matmul(x, self.kernel), (0, 2, 1))

    inputs = keras.Input((3, 5))
    h = kl.BatchNormalization(axis=1, center=False, name="norm")(Turned(name="turned")(inputs))
    model = randomise(keras.Model(inputs, kl.Dense(2, use_bias=False)(kl.Flatten()(h))), bias=False)
    x = rng.normal(size=(2, 3, 5)).astype(np.float32)
    found = lrp.Explainer(model, "lrp_zero").inspect(x, 0, layers=["turned", "norm"])
    expected = np.asarray(keras.Model(inputs, h)(x)) * model.layers[-1].get_weights()[0][:, 0].reshape(4, 3)
    for name in ("turned", "norm"):
        close(found[name].map, expected)
    close(found["norm"].channels, expected.sum(axis=2))
    assert found["turned"].fired.all()


def test_the_relevance_of_several_outputs_is_counted_together(rng, randomise):
    class Halves(kl.Layer):
        def call(self, x):
            return x[:, :2], x[:, 2:]

    inputs = keras.Input((3,))
    one, two = Halves(name="halves")(kl.Dense(4, use_bias=False)(inputs))
    model = randomise(keras.Model(inputs, kl.Dense(1, use_bias=False)(kl.Concatenate()([two, one]))))
    found = lrp.Explainer(model, "lrp_zero").inspect(rng.normal(size=(2, 3)).astype(np.float32), 0)
    np.testing.assert_allclose(found["halves"].conservation, 1, atol=1e-4)


def test_channels_that_fired_of_what_is_moved_and_scaled_later(rng, randomise):
    """The product is made anew where it is scaled, with its channels along another axis; one of them is off."""
    inputs = keras.Input((3, 5))
    h = kl.Permute((2, 1))(kl.Dense(4, use_bias=False, name="first")(inputs))
    h = kl.BatchNormalization(axis=1, center=False)(h)
    model = randomise(keras.Model(inputs, kl.Dense(2)(kl.Flatten()(h))), bias=False)
    kernel = model.get_layer("first").get_weights()[0]
    kernel[:, 1] = 0.0
    model.get_layer("first").set_weights([kernel])
    found = lrp.Explainer(model, "lrp_zero").inspect(rng.normal(size=(2, 3, 5)).astype(np.float32), 0)
    np.testing.assert_array_equal(found["first"].fired, [[True, False, True, True]] * 2)
