"""Every model of keras.applications, small and with random weights: explained, finite, conserving, untouched.

By default the first stages of each family's smallest model, with every kind of block that it has; whole models, and
their deeper and wider siblings, with ``-m slow``.
"""

import keras
import numpy as np
import pytest
from keras import layers as kl

import lrp_monitor as lrp

# A family's smallest model: the smallest input that it takes, whether biases are all that is not homogeneous in it,
# and its siblings.
FAMILIES = {
    "VGG16": (32, True, ["VGG19"]),
    "ResNet50": (32, True, ["ResNet101", "ResNet152"]),
    "ResNet50V2": (32, True, ["ResNet101V2", "ResNet152V2"]),
    "DenseNet121": (32, True, ["DenseNet169", "DenseNet201"]),
    "InceptionV3": (75, True, []),
    "InceptionResNetV2": (75, True, []),
    "Xception": (71, True, []),
    "MobileNet": (32, True, []),
    "MobileNetV2": (32, True, []),
    # Its hard sigmoids are made of ReLU6(x + 3): the 3 is no bias to set to zero.
    "MobileNetV3Small": (32, False, ["MobileNetV3Large"]),
    "EfficientNetB0": (32, True, [f"EfficientNetB{size}" for size in range(1, 8)]),
    "EfficientNetV2B0": (32, True, [f"EfficientNetV2{size}" for size in ("B1", "B2", "B3", "S", "M", "L")]),
    "NASNetMobile": (32, True, ["NASNetLarge"]),
    "ConvNeXtTiny": (32, True, [f"ConvNeXt{size}" for size in ("Small", "Base", "Large", "XLarge")]),
}
SIBLINGS = {sibling: name for name, (_, _, siblings) in FAMILIES.items() for sibling in siblings}
# With statistics of two samples its activations would grow to 1e9 and rounding errors with them: 0 and 1 stay.
FRESH_STATISTICS = {"EfficientNetB0", "EfficientNetV2B0"}
# So deep that with random weights it is chaotic: 1e-7 of the input moves its logits by half of themselves, and Keras'
# own pass in float32 is 90 % off that in float64. Its logits say nothing; relevance conserves all the same.
CHAOTIC = {"EfficientNetV2L"}
# The layer whose output ends the first stages of a family's smallest model. VGG16 is small as it is.
STAGES = {
    "ResNet50": "conv3_block1_out",
    "ResNet50V2": "conv3_block1_out",
    "DenseNet121": "conv3_block1_concat",
    "InceptionV3": "mixed3",
    "InceptionResNetV2": "block35_1_ac",
    "Xception": "block5_sepconv2_act",
    "MobileNet": "conv_pw_6_relu",
    "MobileNetV2": "block_4_add",
    "MobileNetV3Small": "expanded_conv_4_add",
    "EfficientNetB0": "block3b_add",
    "EfficientNetV2B0": "block4b_add",
    "NASNetMobile": "normal_concat_0",
    "ConvNeXtTiny": "convnext_tiny_downsampling_block_0",
}
# Hundreds of operations also there: traced once, with one composite for both questions. So are all whole models.
LARGE = {"NASNetMobile", "DenseNet121", "InceptionResNetV2"}
TWICE_WHEN_SLOW = {"VGG16", "InceptionV3", "EfficientNetV2B0", "ConvNeXtTiny"}  # by both composites with ``-m slow``


def test_no_model_is_left_out():
    offered = {name for name in dir(keras.applications) if name[0].isupper()}
    assert offered == {*FAMILIES, *SIBLINGS}


def made(name, family):
    size = FAMILIES[family][0]
    make = getattr(keras.applications, name)
    return make(weights=None, input_shape=(size, size, 3), classes=5, classifier_activation=None)


# Of families whose blocks are made of the same operations one stands for the others, which run with ``-m slow``.
# VGG16's are a part of InceptionV3's, DenseNet121's of ResNet50V2's and InceptionV3's.
AS_ANOTHER = {
    *("VGG16", "NASNetMobile", "ResNet50", "InceptionResNetV2", "DenseNet121", "Xception"),
    *("MobileNet", "MobileNetV2", "EfficientNetB0"),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in AS_ANOTHER)) for name in FAMILIES]
)
def test_first_stages(name, rng):
    explained(first_stages(name), name, name, name in LARGE | TWICE_WHEN_SLOW, rng)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(TWICE_WHEN_SLOW))
def test_first_stages_by_two_composites(name, rng):
    explained(first_stages(name), name, name, False, rng)


def first_stages(name):
    model = made(name, name)
    if name not in STAGES:
        return model
    pooled = kl.GlobalAveragePooling2D()(model.get_layer(STAGES[name]).output)
    return keras.Model(model.inputs, kl.Dense(5)(pooled))


@pytest.mark.slow
@pytest.mark.parametrize("name", STAGES)
def test_family(name, rng):
    explained(made(name, name), name, name, True, rng)


@pytest.mark.slow
@pytest.mark.parametrize("name", SIBLINGS)
def test_sibling(name, rng):
    family = SIBLINGS[name]
    explained(made(name, family), name, family, True, rng)


def explained(model, name, family, once, rng):
    """Explain two samples of noise and look at all that must hold."""
    size, conserves, _ = FAMILIES[family]
    x = rng.uniform(0, 255, size=(2, size, size, 3)).astype(np.float32)
    settle(model, x, rng, statistics=family not in FRESH_STATISTICS)
    before, own = model.get_weights(), np.asarray(model(x))

    explainer = lrp.Explainer(model, "lrp_zero" if once else "epsilon_plus_flat")
    default = explainer.explain(x, [3, 1])
    assert default.relevance.shape == x.shape
    assert np.isfinite(default.relevance).all()
    assert np.abs(default.relevance).max() > 0
    # Keras' own logits of ResNet152 lie 4e-5 of the largest from those in float64.
    tolerance = (1e-4 if name in SIBLINGS else 1e-5) * np.abs(own).max()
    if name not in CHAOTIC:
        np.testing.assert_allclose(default.logits, own, rtol=1e-4, atol=tolerance)
    np.testing.assert_array_equal(default.logit, default.logits[[0, 1], [3, 1]])
    for found, kept in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(found, kept)

    if conserves:
        without_biases(model)
        zero = (explainer if once else lrp.Explainer(model, "lrp_zero")).explain(x, [3, 1])
        assert np.abs(zero.logit).min() > 0
        np.testing.assert_allclose(zero.conservation, 1, atol=1e-3)


def settle(model, x, rng, statistics=True):
    """Biases and scales off 0 and 1; statistics of normalisation of the size that these weights make.

    At 32 pixels the last maps are 1 x 1, and two samples alone have all but no variance: dividing by that would
    amplify rounding errors from layer to layer, so the second moment takes its place.
    """
    for variable in model.trainable_variables:
        if variable.name in ("bias", "beta"):
            variable.assign(0.1 * rng.normal(size=variable.shape))
        elif variable.name == "gamma":
            variable.assign(variable.numpy() * rng.uniform(0.7, 1.3, size=variable.shape))
    if not statistics:
        return
    norms = [layer for layer in model._flatten_layers() if isinstance(layer, kl.BatchNormalization)]
    for layer in norms:
        layer.momentum = 0.0
    if norms:
        model(x, training=True)
    for layer in norms:
        layer.moving_variance.assign(layer.moving_variance + layer.moving_mean**2)
        layer.moving_mean.assign(0.5 * layer.moving_mean)


def without_biases(model):
    for variable in model.variables:
        if variable.name in ("bias", "beta", "moving_mean"):
            variable.assign(np.zeros(variable.shape))
