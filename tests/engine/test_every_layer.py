"""Relevance by layer: on a single path without biases every layer carries the logit, whatever it is wrapped in.

Several layers stand in one chain, so that one compiled pass looks at all of them.
"""

import keras
import numpy as np
import pytest
from keras import layers as kl

import lrp_monitor as lrp

CONSERVING = lrp.Composite(
    conv=lrp.rules.Epsilon(0), dense=lrp.rules.Epsilon(0), attention="cp_lrp", norm="identity", name="conserving"
)
RANDOM = 0.3  # of layers that do nothing in inference


def pair(layer):
    """A layer of two inputs on one path."""
    return lambda x: layer([x, x])


def attending(layer):
    return lambda x: layer(query=x, value=x) if "Query" in type(layer).__name__ else layer(x, x)


VECTORS = {
    "weights": lambda: [
        kl.Dense(6), kl.EinsumDense("ab,bc->ac", output_shape=7), kl.SpectralNormalization(kl.Dense(6)),
    ],
    "activations": lambda: [
        kl.Dense(6, activation="relu"), kl.ReLU(), kl.Dense(6), kl.LeakyReLU(), kl.PReLU(), kl.ELU(),
        kl.Activation("gelu"), kl.Activation(lambda z: z * keras.ops.sigmoid(z)), kl.Dense(6, activation="tanh"),
    ],
    "norms": lambda: [
        kl.Dense(6), kl.BatchNormalization(), kl.LayerNormalization(), kl.RMSNormalization(), kl.GroupNormalization(2),
        kl.UnitNormalization(),
    ],
    "structure": lambda: [
        kl.Dense(6), kl.Dropout(RANDOM), kl.GaussianDropout(RANDOM), kl.GaussianNoise(RANDOM), kl.AlphaDropout(RANDOM),
        kl.ActivityRegularization(), kl.Identity(), kl.Reshape((2, 3)), kl.Permute((2, 1)), kl.Flatten(),
        kl.RepeatVector(2), kl.Flatten(), kl.Lambda(lambda x: 2 * x),
    ],
    "joins": lambda: [
        kl.Dense(6), *map(pair, (kl.Add(), kl.Average(), kl.Maximum(), kl.Minimum(), kl.Concatenate(), kl.Multiply())),
        pair(kl.Dot(1)), kl.Dense(2),
    ],
    "models": lambda: [
        keras.Sequential([keras.Input((6,)), kl.Dense(4), keras.Sequential([keras.Input((4,)), kl.ReLU()])]), kl.ELU(),
    ],
}  # fmt: skip
SEQUENCES = {
    "weights": lambda: [
        kl.Conv1D(4, 3, padding="causal"), kl.DepthwiseConv1D(3, padding="same"),
        kl.SeparableConv1D(4, 3, padding="same"), kl.Conv1DTranspose(4, 3, padding="same"),
        kl.EinsumDense("abc,cd->abd", output_shape=(6, 4)),
    ],
    "structure": lambda: [
        kl.Conv1D(4, 3, padding="same"), kl.SpatialDropout1D(RANDOM), kl.ZeroPadding1D(1), kl.Cropping1D(1),
        kl.UpSampling1D(2), kl.MaxPooling1D(2), kl.ZeroPadding1D(2), kl.AveragePooling1D(2),
        kl.AdaptiveAveragePooling1D(4), kl.AdaptiveMaxPooling1D(2), kl.Masking(), kl.GlobalAveragePooling1D(),
        kl.Reshape((4, 1)), kl.GlobalMaxPooling1D(),
    ],
    "recurrent": lambda: [
        kl.Cropping1D((3, 0)), kl.LSTM(3, return_sequences=True), kl.GRU(3, return_sequences=True),
        kl.SimpleRNN(4, return_sequences=True), kl.Bidirectional(kl.LSTM(2, return_sequences=True)),
        kl.RNN([kl.GRUCell(3), kl.LSTMCell(3)]),
    ],
    "attention": lambda: [
        kl.Dense(4), attending(kl.MultiHeadAttention(2, 3)), attending(kl.GroupQueryAttention(2, 2, 1)),
        pair(kl.Attention()), pair(kl.AdditiveAttention()), kl.LayerNormalization(),
    ],
}  # fmt: skip
IMAGES = {
    "weights": lambda: [
        kl.Conv2D(4, 3, padding="same"), kl.BatchNormalization(), kl.ReLU(), kl.DepthwiseConv2D(3, padding="same"),
        kl.SeparableConv2D(4, 3, padding="same"), kl.Conv2DTranspose(2, 2, strides=2), kl.Conv2D(4, 3, groups=2),
    ],
    "structure": lambda: [
        kl.Conv2D(2, 3), kl.SpatialDropout2D(RANDOM), kl.ZeroPadding2D(1), kl.Cropping2D(1), kl.UpSampling2D(2),
        kl.MaxPooling2D(2), kl.Resizing(8, 8), kl.AveragePooling2D(2), kl.CenterCrop(3, 3), kl.RandomFlip(),
        kl.RandomRotation(0.1), kl.RandomTranslation(0.1, 0.1), kl.RandomZoom(0.1), kl.RandomContrast(0.1),
        kl.RandomBrightness(0.1), kl.RandomCrop(3, 3), kl.UpSampling2D(2), kl.AdaptiveMaxPooling2D(4),
        kl.AdaptiveAveragePooling2D(2), kl.GlobalAveragePooling2D(),
    ],
    "winners": lambda: [kl.GroupNormalization(2), kl.Conv2D(4, 3), kl.GlobalMaxPooling2D()],
    "volumes": lambda: [
        kl.Reshape((8, 8, 1, 2)), kl.Conv3D(2, (3, 3, 1), padding="same"), kl.SpatialDropout3D(RANDOM),
        kl.MaxPooling3D((2, 2, 1)), kl.ZeroPadding3D((1, 1, 0)), kl.Cropping3D((1, 1, 0)), kl.UpSampling3D((1, 1, 2)),
        kl.AveragePooling3D((2, 2, 1)), kl.Conv3DTranspose(2, (2, 2, 1)), kl.AdaptiveAveragePooling3D(2),
        kl.AdaptiveMaxPooling3D(2), kl.GlobalMaxPooling3D(),
    ],
    "recurrent": lambda: [
        kl.Cropping2D(2), kl.ConvLSTM1D(3, 2, return_sequences=True), kl.Reshape((4, 3, 3, 1)),
        kl.ConvLSTM2D(4, 2, padding="same", return_sequences=True), kl.Reshape((4, 3, 3, 2, 2)), kl.ConvLSTM3D(2, 2),
    ],
    "means of volumes": lambda: [kl.Reshape((8, 4, 4, 1)), kl.Conv3D(2, 2), kl.GlobalAveragePooling3D()],
}  # fmt: skip
CHAINS = {
    f"{shape}, {name}": (size, make)
    for shape, size, chains in (
        ("vectors", (6,), VECTORS), ("sequences", (6, 4), SEQUENCES), ("images", (8, 8, 2), IMAGES),
    )
    for name, make in chains.items()
}  # fmt: skip
TOKENS = {
    "embedding": lambda: [kl.Embedding(9, 4), kl.GRU(3)],
    "embedding with a mask": lambda: [kl.Embedding(9, 4, mask_zero=True), kl.LSTM(3)],
}


def check(shape, layers, rng, randomise, x=None, dtype="float32"):
    """Compares what every layer carries with the logit, and what all inputs take."""
    inputs = h = keras.Input(shape, dtype=dtype)
    for layer in layers:
        h = layer(h)
    model = keras.Model(inputs, kl.Dense(2, use_bias=False)(h if len(h.shape) == 2 else kl.Flatten()(h)))
    randomise(model, bias=False, scale=1.0)
    x = rng.normal(size=(3, *shape)).astype(np.float32) if x is None else x
    logit = model(x, training=False).numpy()[:, 1].astype(np.float64)
    assert np.count_nonzero(logit) > 1
    found = lrp.Explainer(model, CONSERVING).inspect(x, 1)
    scale = np.abs(logit).max()
    aside = ("/query", "/key")  # held constant with the attention weights
    carried = {layer.name: layer.total for layer in found.layers if not layer.name.endswith(aside)}
    wrong = {name: (total, logit) for name, total in carried.items() if np.abs(total - logit).max() > 2e-3 * scale}
    assert not wrong
    took = found.explanation.relevance.reshape(3, -1).sum(axis=1)
    np.testing.assert_allclose(took, logit, atol=2e-3 * scale)
    return found


@pytest.mark.parametrize("name", CHAINS)
def test_every_layer_of_a_chain_carries_the_logit(name, rng, randomise):
    shape, make = CHAINS[name]
    found = check(shape, make(), rng, randomise)
    assert len(found.layers) >= len(make())


@pytest.mark.parametrize("name", TOKENS)
def test_every_layer_behind_tokens_carries_the_logit(name, rng, randomise):
    check((3,), TOKENS[name](), rng, randomise, rng.integers(1, 9, size=(3, 3)), "int32")


SINGLE = [name for name in CHAINS if name.split(", ")[1] not in ("joins", "attention", "recurrent")]


@pytest.mark.parametrize("name", SINGLE)
def test_so_does_every_layer_that_is_applied_to_each_step(name, rng, randomise):
    """One behind the other, wrapped each by itself: what one makes, the next reads without the axis of time."""
    shape, make = CHAINS[name]
    check((2, *shape), [kl.TimeDistributed(layer) for layer in make()], rng, randomise)


def test_wrappers_in_front_of_other_layers(rng, randomise):
    layers = [
        kl.TimeDistributed(kl.Conv2D(2, 3)), kl.TimeDistributed(kl.MaxPooling2D()), kl.ReLU(),
        kl.TimeDistributed(kl.BatchNormalization()), kl.TimeDistributed(kl.Flatten()), kl.Dense(4),
        kl.TimeDistributed(kl.Dense(5)), kl.BatchNormalization(), kl.TimeDistributed(kl.LeakyReLU()),
        kl.TimeDistributed(kl.Dropout(RANDOM)), kl.Bidirectional(kl.GRU(3, return_sequences=True)),
        kl.TimeDistributed(keras.Sequential([keras.Input((6,)), kl.Dense(4), kl.ReLU()])),
        kl.TimeDistributed(kl.Dense(3)), kl.Flatten(),
    ]  # fmt: skip
    found = check((3, 8, 8, 1), layers, rng, randomise)
    assert sum(layer.kind == "TimeDistributed" for layer in found.layers) == 9


# No layers that compute by themselves, wrappers that are tried with layers inside, differences (0 on one path), softmax
# (its own gradient), layers that shift, and what has no relevance to pass on or no treatment.
ELSEWHERE = {
    "Layer", "InputLayer", "Wrapper", "TFSMLayer", "JaxLayer", "FlaxLayer", "TorchModuleWrapper", "Pipeline",
    "GRUCell", "LSTMCell", "SimpleRNNCell", "StackedRNNCells", "TimeDistributed",
    "Embedding", "ReversibleEmbedding", "Subtract", "Softmax", "Normalization", "Rescaling",
    "MelSpectrogram", "STFTSpectrogram",
    "CategoryEncoding", "Discretization", "HashedCrossing", "Hashing", "IntegerLookup", "StringLookup",
    "TextVectorization", "MaxNumBoundingBoxes", "AugMix", "AutoContrast",
    "ContrastLimitedAdaptiveHistogramEqualization", "CutMix", "Equalization", "MixUp", "RandAugment",
    "RandomColorDegeneration", "RandomColorJitter", "RandomElasticTransform", "RandomErasing", "RandomGaussianBlur",
    "RandomGrayscale", "RandomHue", "RandomInvert", "RandomPerspective", "RandomPosterization", "RandomSaturation",
    "RandomSharpness", "RandomShear", "Solarization",
}  # fmt: skip


def test_no_layer_of_keras_is_left_out():
    seen = set()
    for _, make in CHAINS.values():
        for part in make():
            layers = [part, *(cell.cell_contents for cell in getattr(part, "__closure__", None) or ())]
            seen |= {type(one).__name__ for one in layers}
    every = {one.__name__ for one in vars(kl).values() if isinstance(one, type) and issubclass(one, kl.Layer)}
    assert every - seen == ELSEWHERE & every
