"""Normalisation by a sample's own statistics, against the rule written as a matrix in float64.

With the scale factor s held constant, a normalisation is y = C x + beta with a matrix C, and relevance is
R_i = sum_j x_i C_ij / y_j R_j: the epsilon rule of a linear map whose bias beta absorbs its share
(Achtibat et al. 2024, the identity rule for normalisation).
"""

import keras
import numpy as np
import pytest
from keras import layers as kl

import lrp_monitor as lrp

SHAPE = (3, 4)  # positions, channels


def centring(blocks):
    """The matrix that subtracts each block's mean from its members."""
    matrix = np.eye(len(blocks))
    for block in set(blocks):
        members = np.asarray(blocks) == block
        matrix -= np.outer(members, members) / members.sum()
    return matrix


def over(blocks, function, x):
    """``function`` of each block of x, spread over the block's members."""
    blocks = np.asarray(blocks)
    return np.array([function(x[blocks == block]) for block in blocks])


def by_variance(layer, blocks):
    return lambda x: centring(blocks) / np.sqrt(over(blocks, np.var, x) + layer.epsilon)[:, None]


def by_square(layer, blocks):
    return lambda x: np.diag(1 / np.sqrt(over(blocks, lambda v: np.mean(v**2), x) + layer.epsilon))


def by_length(layer, blocks):
    return lambda x: np.diag(1 / np.sqrt(over(blocks, lambda v: np.sum(v**2), x)))


PER_POSITION = [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]
PER_GROUP = [0, 0, 1, 1] * 3
PER_CHANNEL = [0, 1, 2, 3] * 3
WHOLE = [0] * 12
CASES = {
    "layer": (lambda: kl.LayerNormalization(), by_variance, PER_POSITION),
    "layer without beta": (lambda: kl.LayerNormalization(center=False), by_variance, PER_POSITION),
    "layer without gamma": (lambda: kl.LayerNormalization(scale=False), by_variance, PER_POSITION),
    "layer over both axes": (lambda: kl.LayerNormalization(axis=(1, 2)), by_variance, WHOLE),
    "layer over positions": (lambda: kl.LayerNormalization(axis=1), by_variance, PER_CHANNEL),
    "rms": (lambda: kl.RMSNormalization(), by_square, PER_POSITION),
    "unit": (lambda: kl.UnitNormalization(), by_length, PER_POSITION),
    "group": (lambda: kl.GroupNormalization(groups=2), by_variance, PER_GROUP),
    "instance": (lambda: kl.GroupNormalization(groups=-1), by_variance, PER_CHANNEL),
    "one group": (lambda: kl.GroupNormalization(groups=1), by_variance, WHOLE),
    "group over the first axis": (
        lambda: kl.GroupNormalization(groups=3, axis=1), by_variance, PER_POSITION,
    ),
}  # fmt: skip


def spread(variable, layer):
    """gamma or beta as a vector over all 12 values."""
    axes = [layer.axis] if isinstance(layer.axis, int) else layer.axis
    shape = [size if index + 1 in [a % 3 for a in axes] else 1 for index, size in enumerate(SHAPE)]
    return np.broadcast_to(np.asarray(variable, np.float64).reshape(shape), SHAPE).reshape(-1)


@pytest.mark.parametrize("name", CASES)
def test_normalisation(name, rng, randomise):
    make, matrix_of, blocks = CASES[name]
    layer = make()
    first, head = kl.Dense(4, use_bias=False), kl.Dense(2, use_bias=False)
    model = randomise(keras.Sequential([keras.Input(SHAPE), first, layer, kl.Flatten(), head]))
    x = rng.normal(size=(3, *SHAPE)).astype(np.float32)
    explanation = lrp.Explainer(model, "lrp_zero").explain(x, 1)
    np.testing.assert_allclose(explanation.logits, np.asarray(model(x)), rtol=1e-5, atol=1e-6)
    w1, w2 = (np.asarray(part.kernel, np.float64) for part in (first, head))
    gamma = getattr(layer, "gamma", None) if not isinstance(layer, kl.RMSNormalization) else layer.scale
    beta = getattr(layer, "beta", None)
    for sample, found in zip(x.astype(np.float64), explanation.relevance, strict=True):
        h = (sample @ w1).reshape(-1)
        c = matrix_of(layer, blocks)(h)
        if gamma is not None:
            c = spread(gamma, layer)[:, None] * c
        y = c @ h + (0 if beta is None else spread(beta, layer))
        relevance_y = y * w2[:, 1]
        relevance_h = (c * h / y[:, None]).T @ relevance_y
        expected = sample * ((relevance_h / h).reshape(SHAPE) @ w1.T)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("norm", [kl.BatchNormalization(epsilon=0.25), kl.Rescaling(2.0, 5e-7)])
def test_an_affine_map_of_its_own_is_stabilised(norm):
    """R_x = scale x / (y + 1e-6 sign(y)) R_y: where y is no larger than the stabiliser, half of it stays."""
    layers = [kl.Dense(3, use_bias=False), kl.ReLU(), norm, kl.Dense(1, use_bias=False)]
    model = keras.Sequential([keras.Input((3,)), *layers])
    scale, offset = 2.0, getattr(norm, "offset", 0.0)  # a scale alone, without an offset, passes one to one
    if isinstance(norm, kl.BatchNormalization):
        norm.gamma.assign([scale] * 3)
        norm.moving_variance.assign([0.75] * 3)
    layers[0].set_weights([np.eye(3)])
    layers[-1].set_weights([np.array([[1.0], [3.0], [-2.0]])])
    y = np.array([[1e-6, 3e-6, 1.0]])
    found = lrp.relevance(model, ((y - offset) / scale).astype(np.float32), 0, "lrp_zero")
    np.testing.assert_allclose(found, (y - offset) * [[1.0, 3.0, -2.0]] * y / (y + 1e-6), rtol=1e-4)


@pytest.mark.parametrize("wrap", [lambda layer: layer, kl.TimeDistributed], ids=["dense", "dense of every step"])
def test_a_batch_normalisation_along_another_axis_is_not_folded(wrap, rng, randomise):
    """One scale and shift per position: y = s h + t behind a dense layer over channels, R_h = s h / y R_y."""
    dense, norm, head = kl.Dense(4, use_bias=False), kl.BatchNormalization(axis=1), kl.Dense(2, use_bias=False)
    model = randomise(keras.Sequential([keras.Input(SHAPE), wrap(dense), norm, kl.Flatten(), head]))
    x = rng.normal(size=(3, *SHAPE)).astype(np.float32)
    explanation = lrp.Explainer(model, "lrp_zero").explain(x, 1)
    np.testing.assert_allclose(explanation.logits, np.asarray(model(x)), rtol=1e-4, atol=1e-5)
    w, v = (np.asarray(layer.kernel, np.float64) for layer in (dense, head))
    variance, mean, gamma, beta = (
        np.asarray(value, np.float64) for value in (norm.moving_variance, norm.moving_mean, norm.gamma, norm.beta)
    )
    s = (gamma / np.sqrt(variance + norm.epsilon))[:, None]
    y = s * (x @ w) + beta[:, None] - s * mean[:, None]
    ratio = s * y / (y + 1e-6 * np.where(y >= 0, 1, -1)) * v[:, 1].reshape(SHAPE)
    expected = x * (ratio @ w.T)
    np.testing.assert_allclose(explanation.relevance, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_spectral_normalization_is_the_layer_inside_it(rng, randomise):
    def net(wrap):
        conv = kl.Conv1D(3, 2, activation="relu")
        return keras.Sequential([keras.Input(SHAPE), kl.SpectralNormalization(conv) if wrap else conv, kl.Flatten(),
                                 kl.Dense(2)])  # fmt: skip

    plain, wrapped = randomise(net(False)), net(True)
    kernel, bias, *head = plain.get_weights()
    inner = wrapped.layers[0].layer
    inner.kernel.assign(kernel)
    inner.bias.assign(bias)
    wrapped.layers[-1].set_weights(head)
    x = rng.normal(size=(2, *SHAPE)).astype(np.float32)
    for composite in ("epsilon_plus_flat", "epsilon_alpha2_beta1"):
        np.testing.assert_allclose(
            lrp.relevance(wrapped, x, 0, composite), lrp.relevance(plain, x, 0, composite), rtol=1e-5, atol=1e-6
        )


@pytest.mark.parametrize("layer", [kl.LayerNormalization, kl.RMSNormalization, lambda: kl.GroupNormalization(2)])
def test_normalisation_of_the_input_itself_counts_as_preprocessing(layer, rng, randomise):
    norm = layer()
    rest = [kl.Conv1D(3, 2, activation="relu"), kl.Flatten(), kl.Dense(2)]
    outer = randomise(keras.Sequential([keras.Input(SHAPE), norm, *rest]))
    inner = keras.Sequential([keras.Input(SHAPE), *rest])
    x = rng.normal(size=(2, *SHAPE)).astype(np.float32)
    seen = np.asarray(norm(x))
    for composite in ("epsilon_plus_flat", "epsilon"):
        np.testing.assert_allclose(
            lrp.relevance(outer, x, 0, composite), lrp.relevance(inner, seen, 0, composite), rtol=1e-5, atol=1e-6
        )
    with pytest.raises(ValueError, match="stands in front of the first weighted layer"):
        lrp.relevance(outer, x, 0, lrp.composites.epsilon_gamma_box(-3, 3))
