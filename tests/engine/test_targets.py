"""What is explained: every kind of target against LRP-0 worked out in float64 NumPy.

On ReLU nets LRP-0 is input x gradient (Bach et al. 2015), so with g = df/dlogits the relevance of the input is
``x * W1 (1[z1 > 0] * W2 g)``.
"""

import functools

import engine_helpers
import keras
import numpy as np
import pytest
from keras import layers as kl
from keras import ops

import lrp_monitor as lrp
from lrp_monitor.engine.targets import Difference, Outputs, Region

N, CLASSES = 6, 4


@pytest.fixture
def net(randomise):
    return randomise(
        keras.Sequential(
            [keras.Input((5,)), kl.Dense(7, activation="relu"), kl.Dense(CLASSES, activation="softmax")], name="net"
        )
    )


@pytest.fixture
def x(rng):
    return rng.normal(size=(N, 5)).astype(np.float32)


def logits_of(net, x):
    w1, b1, w2, b2 = (w.astype(np.float64) for w in net.get_weights())
    return np.maximum(x @ w1 + b1, 0) @ w2 + b2


def expected(net, x, g):
    w1, b1, w2, _ = (w.astype(np.float64) for w in net.get_weights())
    return x * (((x @ w1 + b1 > 0) * (g @ w2.T)) @ w1.T)


close = functools.partial(engine_helpers.close, relative=1e-4)


def check(net, x, target, g, value):
    explanation = lrp.Explainer(net, "lrp_zero").explain(x, target)
    assert explanation.relevance.dtype == np.float32
    close(explanation.relevance, expected(net, x, g))
    close(explanation.logit, value)
    close(explanation.logits, logits_of(net, x))
    return explanation


def test_difference_of_two_classes(net, x):
    z = logits_of(net, x)
    first, second = np.array([0, 1, 2, 3, 0, 1]), np.array([3, 0, 1, 2, 2, 3])
    rows = np.arange(N)
    g = np.zeros((N, CLASSES))
    g[rows, first], g[rows, second] = 1, -1
    found = check(net, x, Difference(first, second), g, z[rows, first] - z[rows, second])
    np.testing.assert_array_equal(found.target, np.full(N, -1))
    assert np.isnan(found.probability).all()
    np.testing.assert_array_equal(found.prediction, z.argmax(axis=1))
    check(net, x, Difference(2, 0), np.tile([-1.0, 0, 1, 0], (N, 1)), z[:, 2] - z[:, 0])


def test_mask_over_outputs(net, x, rng):
    z = logits_of(net, x)
    check(net, x, Outputs([True, False, True, False]), np.tile([1.0, 0, 1, 0], (N, 1)), z[:, 0] + z[:, 2])
    weights = rng.normal(size=(N, CLASSES))
    check(net, x, Outputs(weights), weights, (weights * z).sum(axis=1))


def test_function_of_the_logits(net, x):
    z = logits_of(net, x)
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    check(net, x, lambda logits: ops.logsumexp(logits, axis=-1), p, np.log(np.exp(z).sum(axis=1)))
    check(net, x, lambda logits: logits[:, 1] - logits[:, 3], np.tile([0, 1.0, 0, -1], (N, 1)), z[:, 1] - z[:, 3])


def test_predicted(net, x):
    z = logits_of(net, x)
    g = np.eye(CLASSES)[z.argmax(axis=1)]
    for target in (None, "predicted", z.argmax(axis=1)):
        found = check(net, x, target, g, z.max(axis=1))
        np.testing.assert_array_equal(found.target, z.argmax(axis=1))


def test_targets_of_several_kinds_share_an_explainer_and_chunks(net, x):
    """Weights are cut into chunks like inputs are, and passes of different kinds do not disturb one another."""
    explainer = lrp.Explainer(net, "lrp_zero", batch_size=4)
    z, first = logits_of(net, x), np.array([0, 1, 2, 3, 0, 1])
    for _ in range(2):
        close(explainer(x, first), expected(net, x, np.eye(CLASSES)[first]))
        g = np.eye(CLASSES)[first] - np.eye(CLASSES)[(first + 1) % CLASSES]
        close(explainer(x, Difference(first, (first + 1) % CLASSES)), expected(net, x, g))
        close(explainer(x), expected(net, x, np.eye(CLASSES)[z.argmax(axis=1)]))
    assert len(explainer.passes.made) == 2  # one for classes, one for weights


def segmenter(randomise):
    return randomise(
        keras.Sequential(
            [
                keras.Input((5, 6, 2)),
                kl.Conv2D(4, 3, padding="same", activation="relu"),
                kl.Conv2D(3, 1, activation="softmax"),
            ]
        )
    )


def segmented(net, x, g):
    """Logits (n, H, W, 3) and LRP-0 for the start weights g of that shape, by loops over pixels, in float64."""
    w1, b1, w2, b2 = (w.astype(np.float64) for w in net.get_weights())
    padded = np.pad(x.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    n, height, width, _ = x.shape
    z = np.zeros((n, height, width, 4)) + b1
    for i in range(3):
        for j in range(3):
            z += padded[:, i : i + height, j : j + width] @ w1[i, j]
    logits = np.maximum(z, 0) @ w2[0, 0] + b2
    back = (z > 0) * (g @ w2[0, 0].T)
    result = np.zeros_like(padded)
    for i in range(3):
        for j in range(3):
            result[:, i : i + height, j : j + width] += back @ w1[i, j].T
    return logits, result[:, 1:-1, 1:-1] * x


def test_region_of_a_segmentation_map(rng, randomise):
    net = segmenter(randomise)
    x = rng.normal(size=(3, 5, 6, 2)).astype(np.float32)
    mask = rng.uniform(size=(3, 5, 6)) > 0.5
    corner = np.zeros((3, 5, 6), bool)
    corner[:, 4, 0] = True
    box = np.zeros((3, 5, 6), bool)
    box[:, 1:3, 2:6] = True
    row = np.zeros((3, 5, 6), bool)
    row[:, 2] = True
    explainer = lrp.Explainer(net, "lrp_zero")
    cases = [
        (Region((4, 0), 1), corner, [1, 1, 1]),
        (Region(np.s_[1:3, 2:6], [0, 1, 2]), box, [0, 1, 2]),
        (Region((2, slice(None)), 2), row, [2, 2, 2]),
        (Region(mask, 0), mask, [0, 0, 0]),
        (Region(mask[1], [2, 0, 1]), np.tile(mask[1], (3, 1, 1)), [2, 0, 1]),
    ]
    for target, inside, chosen in cases:
        g = inside[..., None] * np.eye(3)[chosen][:, None, None, :]
        logits, wanted = segmented(net, x, g)
        found = explainer.explain(x, target)
        close(found.relevance, wanted)
        close(found.logit, (g * logits).sum(axis=(1, 2, 3)))
        close(found.logits, logits)
    # A pixel's map is zero wherever its logit does not look.
    assert np.abs(explainer(x, Region((4, 0), 1))[:, :2]).max() == 0
    weights = rng.normal(size=(5, 6, 3))
    close(explainer(x, Outputs(weights)), segmented(net, x, np.tile(weights, (3, 1, 1, 1)))[1])
    with pytest.raises(ValueError, match=r"one row of logits a sample: for maps pass targets\.Region"):
        explainer(x, 1)


BAD = {
    "word": ("best", ValueError, '"predicted"'),
    "class": (Difference, TypeError, r"make a target of it: Difference\(...\)"),
    "difference of one": (Difference(1, 1), ValueError, "the two classes are the same for sample 0"),
    "difference outside": (Difference(0, 4), ValueError, "Difference 4 lies outside the outputs: 0 to 3"),
    "difference count": (Difference([0, 1], 2), ValueError, r"one class per sample, shape \(6,\)"),
    "mask shape": (Outputs([1, 0]), ValueError, r"the mask has shape \(2,\), the outputs \(4,\)"),
    "mask empty": (Outputs([0, 0, 0, 0]), ValueError, "the mask is empty"),
    "mask nan": (Outputs([0, np.nan, 0, 0]), ValueError, "NaN or infinity"),
    "mask words": (Outputs(["a"] * 4), TypeError, "boolean or numbers"),
    "region": (Region((0, 0), 1), ValueError, "a region needs an output of maps"),
    "function shape": (lambda z: z, ValueError, r"one value a sample, shape \(8,\)"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_target(name, net, x):
    target, error, words = BAD[name]
    with pytest.raises(error, match=words):
        lrp.relevance(net, x, target, "epsilon")


BAD_REGIONS = {
    "axes": (Region((1,), 0), ValueError, "names 1 axes, the map has 2"),
    "outside": (Region((5, 0), 0), ValueError, "lies outside the map"),
    "empty": (Region(np.s_[3:3, :], 0), ValueError, "holds no pixel"),
    "shape": (Region(np.ones((6, 5), bool), 0), ValueError, r"has shape \(6, 5\), the map \(5, 6\)"),
    "numbers": (Region(np.ones((5, 6)), 0), TypeError, "a boolean array"),
    "class": (Region((0, 0), 3), ValueError, "Region 3 lies outside the outputs: 0 to 2"),
}


@pytest.mark.parametrize("name", BAD_REGIONS)
def test_bad_region(name, rng, randomise):
    target, error, words = BAD_REGIONS[name]
    with pytest.raises(error, match=words):
        target.weights((5, 6, 3), 2)


def test_single_unit_has_no_difference(rng, randomise):
    net = randomise(keras.Sequential([keras.Input((5,)), kl.Dense(1, activation="sigmoid")]))
    with pytest.raises(ValueError, match="for a single unit the logit itself is the difference"):
        lrp.relevance(net, rng.normal(size=(2, 5)), Difference(0, 1), "epsilon")
