"""Names of weights: the same for the same code, unique, close to what the user wrote."""

from __future__ import annotations

import keras
import pytest

from lrp_monitor.training.tensors.names import naming, tensor_names

layers = keras.layers


def small_cnn() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(2, 3),
            layers.BatchNormalization(),
            layers.Conv2D(2, 3),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(3, name="head"),
        ]
    )


class Subclassed(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.first = layers.Dense(2)
        self.inner = keras.Sequential([layers.Dense(2)])
        self.more = [layers.Dense(2), layers.Dense(2)]
        self.scale = self.add_weight(shape=(2,), name="scale")

    def call(self, x):
        x = self.inner(self.first(x))
        for layer in self.more:
            x = layer(x)
        return x * self.scale


def built_subclassed() -> keras.Model:
    model = Subclassed()
    model(keras.ops.ones((1, 2)))
    return model


def nested() -> keras.Model:
    inputs = keras.Input((4,))
    unnamed = keras.Sequential([layers.Dense(4)])
    twins = [keras.Sequential([layers.Dense(4, name="same")]) for _ in range(2)]
    named = keras.Sequential([layers.Dense(4)], name="encoder")
    x = named(unnamed(inputs))
    for twin in twins:
        x = twin(x)
    x = layers.MultiHeadAttention(2, 2)(x[:, None], x[:, None])
    return keras.Model(inputs, x)


def test_names_of_a_sequential_model():
    assert list(tensor_names(small_cnn())) == [
        "conv2d/kernel",
        "conv2d/bias",
        "batch_normalization/gamma",
        "batch_normalization/beta",
        "batch_normalization/moving_mean",
        "batch_normalization/moving_variance",
        "conv2d_1/kernel",
        "conv2d_1/bias",
        "head/kernel",
        "head/bias",
    ]


def test_names_of_a_subclassed_model():
    assert list(tensor_names(built_subclassed())) == [
        "scale",
        "dense/kernel",
        "dense/bias",
        "dense_1/kernel",
        "dense_1/bias",
        "dense_2/kernel",
        "dense_2/bias",
        "dense_3/kernel",
        "dense_3/bias",
    ]


def test_inner_models_stay_in_the_name_where_needed():
    names = list(tensor_names(nested()))
    assert names[:8] == [
        "dense/kernel",
        "dense/bias",
        "encoder/dense_1/kernel",
        "encoder/dense_1/bias",
        "sequential_1/same/kernel",
        "sequential_1/same/bias",
        "sequential_2/same/kernel",
        "sequential_2/same/bias",
    ]
    assert names[8] == "multi_head_attention/query/kernel"


@pytest.mark.parametrize("build", [small_cnn, built_subclassed, nested])
def test_the_same_code_gives_the_same_names_again(build):
    first = build()
    layers.Dense(1), layers.Conv2D(1, 1), keras.Sequential()  # move Keras' counters on, unevenly
    second = build()
    assert [v.path for v in first.weights] != [v.path for v in second.weights]
    assert list(tensor_names(first)) == list(tensor_names(second))


@pytest.mark.parametrize("build", [small_cnn, built_subclassed, nested])
def test_every_weight_has_a_name_of_its_own(build):
    model = build()
    names = tensor_names(model)
    assert [id(v) for v in names.values()] == [id(v) for v in model.weights]


def test_freezing_and_trainable_only_do_not_rename():
    model = small_cnn()
    model.layers[0].trainable = False
    assert list(tensor_names(model, trainable_only=True)) == [
        "batch_normalization/gamma",
        "batch_normalization/beta",
        "conv2d_1/kernel",
        "conv2d_1/bias",
        "head/kernel",
        "head/bias",
    ]


def test_two_copies_of_one_named_model_are_reported_apart():
    copies = [
        keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(32, 32, 3), name=name)
        for name in ("left", "right")
    ]
    inputs = keras.Input((32, 32, 3))
    model = keras.Model(inputs, layers.Concatenate()([copy(inputs) for copy in copies]))
    names = list(tensor_names(model))
    assert len(set(names)) == len(names) == len(model.weights)
    assert names[0] == "Conv1/kernel"
    assert names[len(names) // 2] == "Conv1/kernel_1"


def test_naming_takes_a_mapping_or_a_function():
    model = small_cnn()
    kernel, bias = model.layers[0].weights
    assert naming(model, None)(kernel) == "conv2d/kernel"
    assert naming(model, {"mine": kernel})(kernel) == "mine"
    assert naming(model, {"mine": kernel})(bias) == bias.path
    assert naming(model, lambda variable: variable.path.upper())(bias) == bias.path.upper()
