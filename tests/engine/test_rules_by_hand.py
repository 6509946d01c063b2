"""The rules on one dense layer, worked out on paper.

W has a row per output, [[1, -1, 2], [-1, 2, 1]], b = [.5, -.5], x = [1, -2, 3]. The contributions x_i w_ij are
(1, 2, 6) for output 0 and (-1, -4, 3) for output 1, so z = (9 + .5, -2 - .5) = (9.5, -2.5), and relevance starts at z.
"""

import keras
import numpy as np
import pytest

import lrp_monitor as lrp
from lrp_monitor import rules

X = np.array([[1.0, -2.0, 3.0]], np.float32)
W = np.array([[1, -1, 2], [-1, 2, 1]], np.float32)
B = np.array([0.5, -0.5], np.float32)


@pytest.fixture(scope="module")
def model():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.layers[-1].set_weights([W.T, B])
    return model


CASES = {
    # R_i = x_i w_i z / z: the contributions themselves; output 1 starts at -2.5 = z as well.
    "lrp-0": (rules.Epsilon(0), (1, 2, 6), (-1, -4, 3)),
    "epsilon": (rules.Epsilon(1e-6), (1, 2, 6), (-1, -4, 3)),
    # Positive contributions over their sum plus b+: output 0: 9.5 (1, 2, 6) / (9 + .5); output 1: -2.5 (0, 0, 3) / 3.
    "z+": (rules.ZPlus(), (1, 2, 6), (0, 0, -2.5)),
    # Output 0: 2 z+ and nothing negative. Output 1: 2 (0, 0, -2.5) - (-2.5) (-1, -4, 0) / (-5 - .5).
    "alpha2beta1": (rules.AlphaBeta(2, 1), (2, 4, 12), (2.5 / 5.5, 10 / 5.5, -5)),
    # Output 0, z > 0: 1.25 (1, 2, 6) 9.5 / (9.5 + .25 * 9.5).
    # Output 1, z < 0: -2.5 (-1.25, -5, 3) / (-2.5 - .25 * 5.5).
    "gamma": (rules.Gamma(0.25), (1, 2, 6), (-2.5 * 1.25 / 3.875, -2.5 * 5 / 3.875, 2.5 * 3 / 3.875)),
    # x w - l w+ - h w-: output 0: (1 + 3, 2 + 3, 6 + 6) of 21; output 1: (-1 + 3, -4 + 6, 3 + 3) of 10.
    "zB": (rules.ZBox(-3, 3), (9.5 * 4 / 21, 9.5 * 5 / 21, 9.5 * 12 / 21), (-0.5, -0.5, -1.5)),
    # w^2 = (1, 1, 4) of 6 and (1, 4, 1) of 6.
    "w2": (rules.WSquare(), (9.5 / 6, 9.5 / 6, 9.5 * 4 / 6), (-2.5 / 6, -2.5 * 4 / 6, -2.5 / 6)),
    "flat": (rules.Flat(), (9.5 / 3,) * 3, (-2.5 / 3,) * 3),
}


@pytest.mark.parametrize("name", CASES)
def test_dense_layer(model, name):
    rule, *expected = CASES[name]
    composite = lrp.Composite(first=rule) if rule.input_only else lrp.Composite(dense=rule)
    explainer = lrp.Explainer(model, composite)
    for target in (0, 1):
        np.testing.assert_allclose(explainer(X, target)[0], expected[target], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_dense_layer_with_an_activation_whose_sign_is_not_that_of_its_input(model, name):
    """What arrives is the relevance of softplus(z), .0789 where z = -2.5: the shares are those of z."""
    rule, *expected = CASES[name]
    net = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, "softplus"), keras.layers.Dense(2, name="top")])
    net.set_weights([*model.get_weights(), np.eye(2), np.zeros(2)])
    role = {"first": rule} if rule.input_only else {"dense": rule}
    explainer = lrp.Explainer(net, lrp.Composite(**role, overrides={"top": rules.Epsilon(0)}))
    for target, z in enumerate((9.5, -2.5)):
        found = explainer(X, target)[0]
        np.testing.assert_allclose(found, np.log1p(np.exp(z)) / z * np.array(expected[target]), rtol=1e-5, atol=1e-6)


def test_design_constants_to_six_figures(model):
    """The same numbers as decimals, so that a slip in a fraction above cannot hide."""
    box = lrp.relevance(model, X, 0, lrp.Composite(first=rules.ZBox(-3, 3)))
    np.testing.assert_allclose(box[0], [1.809524, 2.261905, 5.428571], atol=1e-5)
    gamma = lrp.relevance(model, X, 1, lrp.Composite(dense=rules.Gamma(0.25)))
    np.testing.assert_allclose(gamma[0], [-0.806452, -3.225806, 1.935484], atol=1e-5)
    alpha = lrp.relevance(model, X, 1, lrp.Composite(dense=rules.AlphaBeta(2, 1)))
    np.testing.assert_allclose(alpha[0], [0.454545, 1.818182, -5], atol=1e-5)


def test_predicted_class_is_explained_by_default(model):
    explanation = lrp.Explainer(model, "epsilon").explain(X)
    assert explanation.target.tolist() == [0]
    assert explanation.logit.tolist() == pytest.approx([9.5])
    np.testing.assert_allclose(explanation.relevance[0], [1, 2, 6], rtol=1e-5)
    # 9 of 9.5: the bias keeps its share.
    assert explanation.conservation[0] == pytest.approx(9 / 9.5, rel=1e-5)


def test_overlapping_max_pooling():
    """Pool 2, stride 1 over (1, 3, 2): both windows are won by the 3, so it takes all: z = 3 * 2 + 3 * 5 = 21."""
    model = keras.Sequential(
        [
            keras.Input((3, 1)),
            keras.layers.MaxPooling1D(2, strides=1),
            keras.layers.Flatten(),
            keras.layers.Dense(1, use_bias=False),
        ]
    )
    model.layers[-1].set_weights([np.array([[2.0], [5.0]], np.float32)])
    found = lrp.relevance(model, np.array([[[1.0], [3.0], [2.0]]], np.float32), 0, "lrp_zero")
    np.testing.assert_allclose(found[0, :, 0], [0, 21, 0], rtol=1e-6)


def test_saturated_relu6_still_passes_all():
    """z = 2 * 5 = 10, y = 6, logit 3 * 6 = 18: ReLU6's own gradient is 0 there, its relevance is not."""
    model = keras.Sequential(
        [
            keras.Input((1,)),
            keras.layers.Dense(1, use_bias=False, activation="relu6"),
            keras.layers.Dense(1, use_bias=False),
        ]
    )
    model.layers[0].set_weights([np.array([[2.0]], np.float32)])
    model.layers[1].set_weights([np.array([[3.0]], np.float32)])
    assert lrp.relevance(model, np.array([[5.0]], np.float32), 0, "lrp_zero")[0, 0] == pytest.approx(18)


def test_residual_branches_that_cancel_do_not_explode():
    """y = x + f(x) with f(x) = -x + 1e-7: the branches share R by x G and f G, with no division by their sum."""
    inputs = keras.Input((2,))
    branch = keras.layers.Dense(2, use_bias=False)
    total = keras.layers.Add()([inputs, branch(inputs)])
    model = keras.Model(inputs, keras.layers.Dense(1, use_bias=False)(total))
    branch.set_weights([np.array([[-1 + 1e-6, 0], [0, -1 + 1e-6]], np.float32)])
    model.layers[-1].set_weights([np.array([[1.0], [1.0]], np.float32)])
    found = lrp.relevance(model, np.array([[3.0, 2.0]], np.float32), 0, "lrp_zero")
    assert np.abs(found).max() < 1e-4


def test_zero_padding_in_front_gets_nothing_from_flat():
    """Kernel 3 over (0, a, b, 0): outputs see 2 real pixels each, which share their relevance in halves."""
    model = keras.Sequential(
        [
            keras.Input((2, 1)),
            keras.layers.ZeroPadding1D(1),
            keras.layers.Conv1D(1, 3, use_bias=False),
            keras.layers.Flatten(),
            keras.layers.Dense(1, use_bias=False),
        ]
    )
    model.layers[1].set_weights([np.array([1.0, 2.0, 3.0], np.float32).reshape(3, 1, 1)])
    model.layers[3].set_weights([np.array([[1.0], [-1.0]], np.float32)])
    x = np.array([[[1.0], [2.0]]], np.float32)
    # z = (2 * 1 + 3 * 2, 1 * 1 + 2 * 2) = (8, 5); R = (8, -5); each pixel gets (8 - 5) / 2.
    found = lrp.relevance(model, x, 0, lrp.Composite(first=rules.Flat()))
    np.testing.assert_allclose(found[0, :, 0], [1.5, 1.5], rtol=1e-6)


STABILISED = {
    # What stands in the sums of CASES, .5 further from zero; output 1 of alpha-beta: p = 3, n - .5 = -5.5.
    "z+": (rules.ZPlus(epsilon=0.5), (0.95, 1.9, 5.7), (0, 0, -2.5 * 3 / 3.5)),
    "alpha2beta1": (rules.AlphaBeta(2, 1, epsilon=0.5), (1.9, 3.8, 11.4), (2.5 / 6, 10 / 6, -5 * 3 / 3.5)),
    "gamma": (
        rules.Gamma(0.25, epsilon=0.5),
        tuple(9.5 * 1.25 * c / (11.875 + 0.5) for c in (1, 2, 6)),
        (-2.5 * 1.25 / 4.375, -2.5 * 5 / 4.375, 2.5 * 3 / 4.375),
    ),
}


@pytest.mark.parametrize("name", STABILISED)
def test_a_large_stabiliser_takes_its_share(model, name):
    rule, *expected = STABILISED[name]
    explainer = lrp.Explainer(model, lrp.Composite(dense=rule))
    for target in (0, 1):
        np.testing.assert_allclose(explainer(X, target)[0], expected[target], rtol=1e-5, atol=1e-5)


def test_the_stabiliser_behind_a_relu():
    """z = 1 + 2 * .5 = 2 in front of the ReLU, 3 * 2 = 6 behind it.

    R = 6 * 6 / (6 + .5) at the ReLU; of that each input gets its contribution, 1 and 1, over 2 + .5. Of the unit
    that the ReLU closes, z = -1, nothing arrives.
    """
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Dense(2, activation="relu")(inputs)))
    model.set_weights([np.array([[1, 1], [0.5, -1]]), np.zeros(2), np.array([[3], [5]]), np.zeros(1)])
    found = lrp.relevance(model, np.array([[1, 2]], np.float32), 0, lrp.Composite(dense=rules.Epsilon(0.5)))
    np.testing.assert_allclose(found[0], [36 / 6.5 / 2.5, 36 / 6.5 / 2.5], rtol=1e-5)


def test_gamma_between_relus_is_stabilised_alike():
    """x = (1, 2), w = (1, -.25), b = .5: z = 1, favoured (1.25, -.5), denominator 1 + .25 (1 + .5) + .5 = 1.875."""
    dense, head = keras.layers.Dense(1, activation="relu"), keras.layers.Dense(1, use_bias=False)
    model = keras.Sequential([keras.Input((2,)), keras.layers.ReLU(), dense, head])
    dense.set_weights([np.array([[1.0], [-0.25]]), np.array([0.5])])
    head.set_weights([np.array([[1.0]])])
    composite = lrp.Composite(dense=rules.Gamma(0.25, epsilon=0.5), overrides={head.name: rules.Epsilon(0)})
    found = lrp.relevance(model, np.array([[1.0, 2.0]], np.float32), 0, composite)
    np.testing.assert_allclose(found[0], [1.25 / 1.875, -0.5 / 1.875], rtol=1e-5)


def test_the_stabiliser_of_zero_is_positive():
    found = rules.stabilise(keras.ops.convert_to_tensor([0.0, -0.0, 2.0, -2.0]), 0.5)
    np.testing.assert_array_equal(found, [0.5, 0.5, 2.5, -2.5])


NO_DIVISION_BY_ZERO = [
    rules.Epsilon(0), rules.Epsilon(), rules.ZPlus(), rules.ZPlus(epsilon=0), rules.AlphaBeta(2, 1),
    rules.AlphaBeta(2, 1, epsilon=0), rules.Gamma(), rules.Gamma(0.25, epsilon=0), rules.WSquare(), rules.ZBox(-3, 3),
    rules.ZBox(-3, 3, epsilon=0),
]  # fmt: skip


@pytest.mark.parametrize("rule", NO_DIVISION_BY_ZERO, ids=repr)
def test_a_unit_without_weights_gives_nothing(rule):
    """Output 1 has weights 0 and bias .5, output 2 weights and bias 0: all denominators but the first may be 0."""
    dense, head = keras.layers.Dense(3), keras.layers.Dense(1, use_bias=False)
    model = keras.Sequential([keras.Input((3,)), dense, head])
    alone = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    dense.set_weights([np.stack([W[1], 0 * W[0], 0 * W[0]], axis=1), np.array([0.25, 0.5, 0.0])])
    head.set_weights([np.ones((3, 1))])
    alone.set_weights([W[1:].T, np.array([0.25])])
    roles = {"first": rule} if rule.input_only else {}
    plain = rules.Epsilon(0) if rule.input_only else rule
    both = lrp.Composite(dense=plain, overrides={head.name: rules.Epsilon(0)}, **roles)
    expected = lrp.relevance(alone, X, 0, lrp.Composite(dense=plain, **roles))
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(lrp.relevance(model, X, 0, both), expected, rtol=1e-5)


SIGNED = [rules.ZPlus(), rules.AlphaBeta(2, 1)]


@pytest.mark.parametrize("rule", SIGNED, ids=["z+", "alpha2beta1"])
@pytest.mark.parametrize("scale", [1e-15, 1e-6, 1.0, 1e6, 1e15])
def test_the_signed_sums_need_no_stabiliser_of_a_fixed_size(model, rule, scale):
    """Input and biases at another scale: the published numbers at that scale, to float32's rounding."""
    expected = {"ZPlus": [(1, 2, 6), (0, 0, -2.5)], "AlphaBeta": [(2, 4, 12), (5 / 11, 20 / 11, -5)]}
    w, b = model.get_weights()
    other = keras.models.clone_model(model)
    other.set_weights([w, b * scale])
    explainer = lrp.Explainer(other, lrp.Composite(dense=rule))
    for target, wanted in enumerate(expected[type(rule).__name__]):
        np.testing.assert_allclose(explainer((X * scale).astype(np.float32), target)[0] / scale, wanted, rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 0.0), (2.0, 1.0)])
def test_alpha_beta_of_one_layer_is_the_formula_without_a_stabiliser(alpha, beta, scale):
    """Bach et al. 2015, equation 60, in float64 with nothing in its denominators: to 6e-6 of the largest relevance."""
    rng = np.random.default_rng(5)
    x, w = rng.normal(size=(8, 64)).astype(np.float32), rng.normal(size=(64, 10)).astype(np.float32)
    x, b = scale * x, scale * rng.normal(size=10).astype(np.float32)
    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(10)])
    model.layers[-1].set_weights([w, b])
    explainer = lrp.Explainer(model, lrp.Composite(dense=rules.AlphaBeta(alpha, beta)))
    c = x.astype(np.float64)[:, :, None] * w
    z = c.sum(axis=1) + b
    shares = alpha * np.maximum(c, 0) / (np.maximum(c, 0).sum(axis=1) + np.maximum(b, 0))[:, None]
    shares -= beta * np.minimum(c, 0) / (np.minimum(c, 0).sum(axis=1) + np.minimum(b, 0))[:, None]
    for target in (0, 3, 9):
        expected = shares[:, :, target] * z[:, target, None]
        found = explainer(x, target)
        assert np.abs(found - expected).max() <= 6e-6 * np.abs(expected).max()


@pytest.mark.parametrize("rule", SIGNED, ids=["z+", "alpha2beta1"])
def test_a_sum_that_is_rounding_takes_no_more_than_a_millionth(rule):
    """z = 1e-9 a - 1: the positive sum, 1e-9, counts as 1e-6; of alpha z = -alpha its input gets a thousandth."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False)])
    model.set_weights([np.array([[1e-9], [-1.0]])])
    found = lrp.relevance(model, np.array([[1.0, 1.0]], np.float32), 0, lrp.Composite(dense=rule))
    np.testing.assert_allclose(found[0], [-rule.alpha * 1e-3, rule.beta], rtol=1e-5)


@pytest.mark.parametrize("rule", SIGNED, ids=["z+", "alpha2beta1"])
def test_nothing_comes_of_inputs_that_are_zero(model, rule):
    explainer = lrp.Explainer(model, lrp.Composite(dense=rule))
    for target in (0, 1):
        np.testing.assert_array_equal(explainer(np.zeros_like(X), target), np.zeros_like(X))


@pytest.mark.parametrize("epsilon", [0.0, 1e-6])
def test_alpha_beta_where_no_contribution_is_negative(epsilon):
    """p and z are equal, large numbers: their difference, the sum of nothing, is rounding. R = 2 (300, 800)."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False)])
    model.set_weights([np.array([[300.0], [400.0]])])
    rule = rules.AlphaBeta(2, 1, epsilon=epsilon)
    found = lrp.relevance(model, np.array([[1.0, 2.0]], np.float32), 0, lrp.Composite(dense=rule))
    np.testing.assert_allclose(found[0], [600, 1600], rtol=1e-5)


def test_relevance_passes_an_activation_however_small_its_input():
    """softplus(z) = log 2 where z is all but zero: all of it goes to z; at zero itself there is nothing to carry it."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Activation("softplus"), keras.layers.Dense(1)])
    model.layers[-1].set_weights([np.array([[3.0]]), np.array([0.0])])
    x = np.array([[1e-3], [-1e-9], [1e-20], [0.0]], np.float32)
    found = lrp.relevance(model, x, 0, "lrp_zero")[:, 0]
    np.testing.assert_allclose(found, [3 * np.log1p(np.exp(1e-3)), 3 * np.log(2), 3 * np.log(2), 0], rtol=1e-5)


@pytest.mark.parametrize(
    ("rule", "x", "weight"),
    [
        (rules.Epsilon(0.25), (1.0, 0.0), (-0.25, 0.0)),  # z + epsilon = 0
        (rules.Gamma(2.0, 0.0), (1.0, -1.0), (0.5, 1.5)),  # contributions .5 and -1.5: z = -1 and k m = 2 / 2
    ],
)
@pytest.mark.parametrize("activation", ["relu", "relu6"])
def test_a_unit_that_is_off_gives_nothing_whatever_its_sums_are(activation, rule, x, weight):
    """The other unit passes x_0: R = (1, 0). Of z < 0 in place of ReLU(z) the share of the one that is off is 0 / 0."""
    net = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, activation, use_bias=False),
                            keras.layers.Dense(1, use_bias=False, name="top")])  # fmt: skip
    net.set_weights([np.array([[weight[0], 1.0], [weight[1], 0.0]]), np.ones((2, 1))])
    found = lrp.relevance(
        net, np.array([x], np.float32), 0, lrp.Composite(dense=rule, overrides={"top": rules.Epsilon(0.0)})
    )
    share = 1.0 / 1.25 if isinstance(rule, rules.Epsilon) else 1.0
    np.testing.assert_allclose(found, [[share, 0.0]], atol=1e-6)
