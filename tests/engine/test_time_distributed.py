"""A net applied to every step against the same net written with an axis more, and scaling in front of it."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from engine_helpers import close, in_turn, sweep
from keras import layers as kl

import lrp_monitor as lrp

FRAMES = (3, 6, 5, 2)
COMPOSITES = [
    "lrp_zero",
    "epsilon",
    "epsilon_plus_flat",
    "epsilon_alpha2_beta1_flat",
    lrp.composites.epsilon_gamma_box(-3, 3),
    lrp.composites.deep_taylor(-3, 3),
]


def video(convolution, wrap, norm, activate):
    """Convolution, normalisation and ReLU of every frame, twice."""
    inputs = y = keras.Input(FRAMES)
    for filters in (4, 3):
        y = wrap(convolution(filters))(y)
        y = activate(kl.ReLU())(norm(kl.BatchNormalization())(y))
    return keras.Model(inputs, kl.Dense(2)(kl.Flatten()(y)))


def each(layer):
    return kl.TimeDistributed(layer)


def whole(layer):
    return layer


BEHIND = {"wrapped": each, "as they are": whole}
"""Normalisation and ReLU behind a convolution of every frame."""


# Of composites with the same rules in the same places one stands for the others: the zero rule, z+, alpha-beta.
AS_ANOTHER = ("lrp_zero", "epsilon_plus", "epsilon_alpha2_beta1")


@sweep("composite behind", COMPOSITES, BEHIND, kept=lambda c, b: in_turn(c, b) and COMPOSITES[c] not in AS_ANOTHER)
def test_convolution_of_every_frame_is_one_with_an_axis_more(composite, behind, rng, randomise):
    volume = randomise(video(lambda n: kl.Conv3D(n, (1, 3, 3), padding="same"), whole, whole, whole))
    x = rng.uniform(-3, 3, size=(2, *FRAMES)).astype(np.float32)
    expected = lrp.Explainer(volume, composite).inspect(x, 1)
    frames = video(lambda n: kl.Conv2D(n, 3, padding="same"), each, BEHIND[behind], BEHIND[behind])
    frames.set_weights([w[0] if w.ndim == 5 else w for w in volume.get_weights()])
    explainer = lrp.Explainer(frames, composite)
    inspection = explainer.inspect(x, 1)
    close(inspection.explanation.relevance, expected.explanation.relevance)
    assert str(explainer).count("folded into the weighted layer before it") == 2
    convolutions = [layer for layer in expected.layers if layer.kind == "Conv3D"]
    wrapped = [layer for layer in inspection.layers if layer.shape[-1] in (4, 3) and len(layer.shape) == 4]
    close(wrapped[0].total, convolutions[0].total, 1e-4)


class ByHand(keras.Model):
    """Scaling by raw operators, then a convolution."""

    def __init__(self, scaling):
        super().__init__()
        self.conv, self.scaling = kl.Conv2D(3, 3, activation="relu"), scaling

    def call(self, x):
        return self.conv(self.scaling(x))

    def compute_output_shape(self, input_shape):
        return self.conv.compute_output_shape(input_shape)


SCALINGS = {
    "function": lambda x: each(kl.Conv2D(3, 3, activation="relu"))(each(kl.Lambda(lambda t: t / 2.0 - 0.7))(x)),
    "model": lambda x: each(ByHand(lambda t: t * 0.5 - 0.7))(x),
}


@sweep("composite scaling", COMPOSITES, SCALINGS, kept=in_turn)
def test_raw_scaling_of_every_frame_counts_as_preprocessing(composite, scaling, rng, randomise):
    def net(scaled):
        inputs = keras.Input(FRAMES)
        return keras.Model(inputs, kl.Dense(2)(kl.Flatten()(scaled(kl.ZeroPadding3D((1, 0, 0))(inputs)))))

    layered = randomise(net(lambda x: each(kl.Conv2D(3, 3, activation="relu"))(kl.Rescaling(0.5, -0.7)(x))))
    model = net(SCALINGS[scaling])
    x = rng.uniform(-3, 3, size=(2, *FRAMES)).astype(np.float32)
    model(x)
    model.set_weights(layered.get_weights())
    found = lrp.Explainer(model, composite).explain(x, 1)
    close(found.logits, np.asarray(model(x)))
    close(found.relevance, lrp.relevance(layered, x, 1, composite))


@pytest.mark.parametrize("composite", COMPOSITES, ids=lambda c: getattr(c, "name", c))
def test_raw_scaling_behind_other_preprocessing_counts_as_such(composite, rng, randomise):
    """Padding, scaling by a layer, by operators: what stands in front of all weights passes one to one."""

    def net(by_hand):
        inputs = keras.Input(FRAMES[1:])
        x = kl.Rescaling(2.0, 0.3)(kl.ZeroPadding2D(1)(inputs))
        x = x * 0.25 - 0.7 if by_hand else kl.Rescaling(0.25, -0.7)(x)
        return keras.Model(inputs, kl.Dense(2)(kl.Flatten()(kl.Conv2D(3, 3, activation="relu")(x))))

    layered, by_hand = randomise(net(False)), net(True)
    by_hand.set_weights(layered.get_weights())
    x = rng.uniform(-3, 3, size=(2, *FRAMES[1:])).astype(np.float32)
    found = lrp.Explainer(by_hand, composite).explain(x, 0)
    close(found.logits, np.asarray(by_hand(x)))
    close(found.relevance, lrp.relevance(layered, x, 0, composite))


def test_plain_gradient_named_for_it(rng, randomise):
    inside = keras.Sequential([keras.Input((4,)), kl.Dense(3, activation="tanh"), kl.Dense(2)], name="inside")
    model = randomise(
        keras.Sequential([keras.Input((3, 4)), kl.TimeDistributed(inside, name="each"), kl.Flatten(), kl.Dense(2)])
    )
    x = rng.normal(size=(2, 3, 4)).astype(np.float32)
    named = lrp.Composite(
        conv=lrp.rules.Epsilon(0), dense=lrp.rules.Epsilon(0), overrides={"each": lrp.rules.Gradient()}
    )
    found = lrp.Explainer(model, named).explain(x, 1).relevance
    with tf.GradientTape() as tape:  # behind it all is linear: input x gradient of the whole
        tape.watch(given := tf.constant(x))
        logit = model(given)[:, 1]
    close(found, x * tape.gradient(logit, given).numpy())


def test_a_mask_reaches_the_layer_inside(rng, randomise):
    inputs = keras.Input((3, 4, 2))
    masked = kl.Masking()(inputs)  # a step of a step that holds only zeros
    summed = kl.TimeDistributed(kl.LSTM(3), name="each")(masked)
    model = randomise(keras.Model(inputs, kl.Dense(2)(kl.Flatten()(summed))))
    x = rng.normal(size=(2, 3, 4, 2)).astype(np.float32)
    x[:, :, 1] = 0
    result = lrp.Explainer(model, "epsilon").explain(x, 0)
    close(result.logits, model(x).numpy())
    assert np.all(result.relevance[:, :, 1] == 0)
    # without the step that is masked it is the same net on three of them
    shorter = keras.Input((3, 3, 2))
    after = kl.Dense(2)
    same = keras.Model(shorter, after(kl.Flatten()(kl.TimeDistributed(kl.LSTM(3))(shorter))))
    same.set_weights(model.get_weights())
    kept = [0, 2, 3]
    expected = lrp.Explainer(same, "epsilon").explain(x[:, :, kept], 0)
    close(result.relevance[:, :, kept], expected.relevance)


def test_a_number_of_steps_that_the_model_leaves_open(rng, randomise):
    def net(steps):
        return keras.Sequential([keras.Input((steps, 4)), kl.TimeDistributed(kl.Dense(3)), kl.LSTM(2)])

    model, fixed = randomise(net(None)), net(3)
    fixed.set_weights(model.get_weights())
    x = rng.normal(size=(2, 3, 4)).astype(np.float32)
    close(lrp.relevance(model, x, 0, "epsilon"), lrp.relevance(fixed, x, 0, "epsilon"))
