"""The monitor over models that take texts: relevance begins behind their own encodings, shown as words."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import lrp_monitor as lrp
from lrp_monitor.probes import ProbeSet
from lrp_monitor.regression.snapshot import Snapshot

TEXTS = np.array(["a quiet river", "the river burns", "a quiet night", "burn the night"] * 4)
LABELS = np.array([0, 1, 0, 1] * 4)


def text_model() -> keras.Model:
    vectorize = layers.TextVectorization(max_tokens=20, output_sequence_length=5)
    vectorize.adapt(TEXTS)
    model = keras.Sequential(
        [
            keras.Input((1,), dtype="string"),
            vectorize,
            layers.Embedding(20, 4),
            layers.GlobalAveragePooling1D(),
            layers.Dense(2, use_bias=False),
        ]
    )
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def test_texts_have_relevance_at_their_words(tmp_path: Path) -> None:
    model = text_model()
    probes = ProbeSet(TEXTS[:3], LABELS[:3], model=model, masks={"river": ["river"]})
    assert (probes.kind, probes.map_shape, probes.is_encoded) == ("tokens", (5,), True)
    assert probes.parts[0].tokens[1] == ("the", "river", "burns", "", "")
    probes.save(tmp_path / "probes.npz")
    loaded = ProbeSet.load(tmp_path / "probes.npz")
    assert (loaded.hash, loaded.is_encoded, loaded.select([1]).is_encoded) == (probes.hash, True, True)
    monitor = lrp.LRPMonitor(
        loaded, tmp_path / "run", composite="lrp_zero", gradients="probe", encoding="float32", verbose=0
    )
    x = tf.constant(TEXTS[:, None])
    model.fit(x, LABELS, batch_size=16, epochs=1, verbose=0, callbacks=[monitor])
    run = lrp.open_run(tmp_path / "run")
    last = run.record(1)
    logits = model.predict(x[:3], verbose=0)
    np.testing.assert_allclose(last.statistics["logit"], logits[np.arange(3), LABELS[:3]], rtol=1e-4)
    np.testing.assert_allclose(run.heatmaps(1).sum(axis=1), last.statistics["logit"], rtol=1e-4)
    assert run.probes.inputs[0].tokens[0] == ["a", "quiet", "river", "", ""]
    assert "weights/norm/embedding/embeddings" in last.scalars
    assert last.scalars["probe_gradients/norm/embedding/embeddings"] > 0
    np.testing.assert_allclose(Snapshot.of(model, probes, "lrp_zero").heatmaps, run.heatmaps(1), rtol=1e-4, atol=1e-7)
    with pytest.raises(ValueError, match=r"the model takes texts.*ProbeSet\(texts, labels, model=model\)"):
        model.fit(
            x, LABELS, verbose=0, callbacks=[lrp.LRPMonitor(ProbeSet(np.ones((2, 5))), tmp_path / "x", verbose=0)]
        )


def test_columns_of_texts_and_numbers(tmp_path: Path) -> None:
    """What FeatureSpace makes of a table: categories by name, numbers as they are, crosses."""
    data = {
        "age": np.arange(8.0, dtype="float32")[:, None],
        "colour": np.array(["red", "blue"] * 4),
        "city": np.array(list("abcd") * 2)[:, None],
    }
    space = keras.utils.FeatureSpace(
        {
            "age": "float_normalized",
            "colour": "string_categorical",
            "city": keras.utils.FeatureSpace.string_hashed(num_bins=6),
        },
        crosses=[("colour", "city")],
        crossing_dim=4,
        output_mode="concat",
    )
    columns = {name: values.reshape(8, 1) for name, values in data.items()}
    space.adapt(tf.data.Dataset.from_tensor_slices(columns).batch(8))
    model = keras.Model(space.get_inputs(), layers.Dense(1)(space.get_encoded_features()))
    model.compile("sgd", "mse")
    probes = ProbeSet({name: values[:4] for name, values in data.items()}, np.ones(4), model=model)
    kinds = {part.name: (part.kind, part.map_shape) for part in probes.parts}
    assert kinds == {
        "age": ("table", (1,)),
        "city": ("table", (6,)),
        "colour": ("table", (3,)),
        "colour_X_city": ("table", (4,)),
    }
    assert probes.parts[[*kinds].index("colour")].feature_names == ("[UNK]", "red", "blue")
    x = {name: tf.constant(values) for name, values in columns.items()}
    monitor = lrp.LRPMonitor(probes, tmp_path, composite="epsilon", gradients="off", encoding="float32", verbose=0)
    model.fit(x, np.ones(8), epochs=1, verbose=0, callbacks=[monitor])
    run = lrp.open_run(tmp_path)
    maps = run.probes.split(run.heatmaps(1))
    kernel, bias = model.get_weights()[-2:]
    outputs = model.predict(x, verbose=0)[:4, 0]
    np.testing.assert_allclose(run.record(1).statistics["output"], outputs, rtol=1e-5)
    # One dense layer, no stabiliser to speak of: R = w x z / (z), so all but the bias' share.
    np.testing.assert_allclose(run.heatmaps(1).sum(axis=1), outputs - bias[0], rtol=1e-3, atol=1e-5)
    encoded = space(x).numpy()[:4]
    np.testing.assert_allclose(np.abs(maps["colour"]).argmax(axis=1), [1, 2, 1, 2])
    np.testing.assert_allclose(
        np.sort(np.concatenate([*maps.values()], axis=1)), np.sort(encoded * kernel[:, 0]), rtol=1e-3, atol=1e-5
    )


def inside() -> keras.Model:
    model = text_model()
    given = keras.Input((1,), dtype="string")
    return keras.Model(given, layers.Dense(1)(model(given)))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ProbeSet(TEXTS[:2]), TypeError, r"texts carry no relevance.*ProbeSet\(texts, labels, model=model\)"),
        (lambda: ProbeSet(np.ones((2, 5)), model=text_model()), TypeError, "takes strings, got an array of float64"),
        (lambda: ProbeSet({"x": TEXTS[:2]}, model=text_model()), ValueError, r"named \['x'\], but model"),
        (lambda: ProbeSet(TEXTS[:2], model=inside()), ValueError, r"inside 'sequential.*dataset\.map"),
        (
            lambda: ProbeSet(np.ones((2, 3)), model=keras.Sequential([keras.Input((3,)), layers.Dense(1)])),
            ValueError,
            "no layer that encodes",
        ),
    ],
)
def test_what_cannot_be_encoded_is_named(make, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()
