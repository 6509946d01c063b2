"""The monitor over models of several inputs, texts, series and numbers: what is logged, and what is refused before."""

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
from lrp_monitor.store.reader import Run

RNG = np.random.default_rng(5)


@pytest.fixture(autouse=True)
def _seed() -> None:
    """The same weights whatever ran before: a prediction near zero has no four digits."""
    keras.utils.set_random_seed(0)


def watched(model: keras.Model, x: object, y: object, probes: ProbeSet, log_dir: Path, **options: object) -> Run:
    options = {"gradients": "off", "encoding": "float32", "verbose": 0, "composite": "epsilon"} | options
    model.fit(x, y, batch_size=16, epochs=1, verbose=0, callbacks=[lrp.LRPMonitor(probes, log_dir, **options)])
    return lrp.open_run(log_dir)


def two_inputs() -> keras.Model:
    image, table = keras.Input((6, 6, 1), name="image"), keras.Input((3,), name="table")
    seen = layers.Flatten()(layers.Conv2D(2, 3, activation="relu", use_bias=False)(image))
    joined = layers.Concatenate()([seen, layers.Dense(4, activation="relu", use_bias=False)(table)])
    model = keras.Model({"image": image, "table": table}, layers.Dense(1, use_bias=False)(joined))
    model.compile("sgd", "mse")
    return model


def test_two_inputs_and_a_number_to_predict(tmp_path: Path) -> None:
    model = two_inputs()
    x = {"image": RNG.random((32, 6, 6, 1)), "table": RNG.random((32, 3))}
    y = x["table"].sum(axis=1)
    probes = ProbeSet(
        {name: values[:4] for name, values in x.items()},
        y[:4],
        feature_names={"table": ["a", "b", "c"]},
        masks={"corner": {"image": (0, 0, 3, 3)}, "a": {"table": ["a"]}},
    )
    run = watched(model, x, y, probes, tmp_path, gradients="probe", channels=True)
    assert (run.meta["explains"], run.steps) == ("number", [0, 1])
    np.testing.assert_array_equal(run.channels(1), run.heatmaps(1)[..., None])  # the image has one channel
    predicted = model.predict({name: values[:4] for name, values in x.items()}, verbose=0)[:, 0]
    statistics = run.record(1).statistics
    np.testing.assert_allclose(statistics["output"], predicted, rtol=1e-5)
    np.testing.assert_allclose(statistics["error"], predicted - y[:4], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(run.heatmaps(1).sum(axis=1), predicted, rtol=1e-4)
    assert not {"prediction", "probability", "target"} & set(statistics)
    assert run.scalar("lrp/mean_absolute_error")[1][1] == pytest.approx(np.abs(predicted - y[:4]).mean(), rel=1e-4)
    assert "lrp/accuracy" not in run.scalars
    parts = run.probes.split(run.heatmaps(1))
    assert (parts["image"].shape, parts["table"].shape) == ((4, 6, 6), (4, 3))
    alone = lrp.Explainer(model, "epsilon")({name: values[:4] for name, values in x.items()}, 0)
    np.testing.assert_allclose(parts["image"], alone["image"][..., 0], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(parts["table"], alone["table"], rtol=1e-4, atol=1e-6)
    assert run.probes.inputs[1].feature_names == ["a", "b", "c"]
    assert run.probes.numbers is not None
    # Another fit goes on in the same run.
    run = watched(model, x, y, probes, tmp_path, gradients="probe")
    assert run.steps == [0, 1, 2]


def test_a_text_with_a_padding_mask(tmp_path: Path) -> None:
    ids, padding = keras.Input((7,), dtype="int32", name="ids"), keras.Input((7,), dtype="bool", name="padding")
    seen = layers.Embedding(20, 6)(ids)
    seen = seen + layers.MultiHeadAttention(2, 3)(seen, seen, key_mask=padding)
    model = keras.Model([ids, padding], layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling1D()(seen)))
    model.compile("sgd", "sparse_categorical_crossentropy")
    x = (RNG.integers(1, 20, (32, 7)), np.arange(7)[None] < RNG.integers(3, 8, (32, 1)))
    y = RNG.integers(0, 3, 32)
    few = {"ids": x[0][:3], "padding": x[1][:3]}
    probes = ProbeSet(few, y[:3], tokens={"ids": lambda row: [f"w{i}" for i in row]})
    run = watched(model, x, y, probes, tmp_path, gradients="train")
    assert (run.probes.map_shape, run.probes.inputs[0].kind) == ((7,), "tokens")
    assert run.probes.inputs[0].tokens == [[f"w{i}" for i in row] for row in x[0][:3]]
    np.testing.assert_allclose(
        run.heatmaps(1), lrp.Explainer(model, "epsilon")(few, y[:3])["ids"], rtol=1e-4, atol=1e-7
    )
    assert run.scalar("lrp/accuracy")[1].shape == (2,)
    beyond = ProbeSet({"ids": x[0][:3] + 19, "padding": x[1][:3]})
    with pytest.raises(ValueError, match=r"inputs\['ids'\]: 'probe 0' has token id \d+, but layer 'embedding.*20 ids"):
        watched(model, x, y, beyond, tmp_path / "other")


def test_a_series_is_kept_with_its_channels(tmp_path: Path) -> None:
    model = keras.Sequential(
        [keras.Input((20, 2)), layers.Conv1D(3, 5, activation="relu"), layers.GlobalMaxPooling1D(), layers.Dense(2)]
    )
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x, y = RNG.normal(size=(32, 20, 2)), RNG.integers(0, 2, 32)
    run = watched(model, x, y, ProbeSet(x[:3], y[:3], feature_names=["left", "right"]), tmp_path)
    (series,) = run.probes.inputs
    assert (series.kind, series.map_shape, series.feature_names) == ("series", (20, 2), ["left", "right"])
    assert series.values is not None
    np.testing.assert_array_equal(series.values, x[:3].astype(np.float32))
    np.testing.assert_allclose(run.heatmaps(1), lrp.Explainer(model, "epsilon")(x[:3], y[:3]), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("probes", "words"),
    [
        (
            lambda: ProbeSet(np.ones((2, 6, 6, 1))),
            r"takes 2 inputs \(image, table\), probes hold one array.*ProbeSet\(",
        ),
        (
            lambda: ProbeSet({"image": np.ones((2, 6, 6, 1))}),
            r"probes: inputs are named \['image'\].*\['image', 'table'\]",
        ),
        (
            lambda: ProbeSet({"image": np.ones((2, 6, 6, 1)), "table": np.ones((2, 3)), "more": np.ones((2, 1))}),
            "named .*'more'",
        ),
        (lambda: ProbeSet((np.ones((2, 6, 6, 1)),)), "probes: .*pass a list of 2 arrays"),
        (lambda: ProbeSet((np.ones((2, 6, 6, 1)), np.ones((2, 4)))), r"'table' has shape \(2, 4\), but model"),
        (
            lambda: ProbeSet((np.ones((2, 6, 6, 1)), np.ones((2, 3))), [3, 0]),
            r"labels: 'probe 0' has class 3, but the model's output is one unit.*astype\(float\)",
        ),
        (lambda: ProbeSet((np.ones((2, 6, 6, 1)), np.ones((2, 3))), np.ones((2, 2)) * 5, target=0), "2 number.*1 unit"),
    ],
)
def test_probes_that_do_not_fit_are_refused_before_training(tmp_path: Path, probes, words: str) -> None:
    model = two_inputs()
    x, y = {"image": RNG.random((4, 6, 6, 1)), "table": RNG.random((4, 3))}, np.ones(4)
    with pytest.raises(ValueError, match=words):
        watched(model, x, y, probes(), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("units", "activation"), [(3, "softmax"), (1, "sigmoid"), (3, None)])
def test_floats_for_labels_of_classes_are_refused(tmp_path: Path, units: int, activation: str | None) -> None:
    model = keras.Sequential([keras.Input((4,)), layers.Dense(units, activation=activation)])
    model.compile("sgd", "mse")
    probes = ProbeSet(np.ones((2, 4)), [0.0, 1.0])
    with pytest.raises(ValueError, match=r"labels: .*labels\.astype\(int\)"):
        watched(model, np.ones((4, 4)), np.ones((4, units)), probes, tmp_path)
    with pytest.raises(ValueError, match=r"labels: .*labels\.astype\(int\)"):
        Snapshot.of(model, probes)


class LooksUp(keras.Model):
    """Token numbers into a table of its own, without a graph that says that they are integers."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = self.add_weight(shape=(9, 3), initializer="random_normal"), layers.Dense(2)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return self.head(keras.ops.mean(tf.gather(self.table, x), axis=1))


def test_token_numbers_of_a_model_without_a_graph(tmp_path: Path) -> None:
    """They reach its lookup as integers, as in `fit`, whose weights are those of a fit without the monitor."""
    x, y = RNG.integers(0, 9, (20, 4)), RNG.integers(0, 2, 20)
    models = []
    for _ in range(2):
        keras.utils.set_random_seed(0)
        models.append(LooksUp())
        models[-1].compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    models[0].fit(x, y, batch_size=16, epochs=1, verbose=0)
    model = models[1]
    run = watched(model, x, y, ProbeSet(x[:3], y[:3]), tmp_path, gradients="probe")
    for one, other in zip(model.get_weights(), models[0].get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    vectors = model.table.numpy()[x[:3]] / 4
    expected = np.einsum("ntd,dn->nt", vectors, model.head.kernel.numpy()[:, y[:3]])
    np.testing.assert_allclose(run.heatmaps(run.steps[-1]), expected, rtol=1e-3, atol=1e-6)
