"""The monitor over models whose labels are more than a class a probe: sets of them, and classes of places."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

import lrp_monitor as lrp
from lrp_monitor.probes import ProbeSet
from lrp_monitor.regression.comparing import compare
from lrp_monitor.regression.snapshot import Snapshot
from lrp_monitor.store.label_sets import of_columns
from lrp_monitor.store.reader import Run

RNG = np.random.default_rng(7)
N, TIMES, WORDS = 4, 5, 9


def fit(model: keras.Model, x: object, y: object, probes: ProbeSet, folder: Path, **options: object) -> Run:
    options = {"encoding": "float32", "verbose": 0, "composite": "epsilon"} | options
    model.fit(x, y, batch_size=32, epochs=1, verbose=0, callbacks=[lrp.LRPMonitor(probes, folder, **options)])
    return lrp.open_run(folder)


@pytest.fixture(scope="module")
def multi_label(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, keras.Model, ProbeSet]:
    model = keras.Sequential([keras.Input((6,)), layers.Dense(5, activation="sigmoid")])
    model.compile("sgd", "binary_crossentropy")
    x = RNG.normal(size=(32, 6))
    y = (x[:, :5] > 0).astype("float32")
    y[:N] = model.predict(x[:N], verbose=0) > 0.5
    y[0, 0] = 1 - y[0, 0]
    probes = ProbeSet(x[:N], y[:N], class_names=list("abcde"), target=[0, 1, 2, 3])
    return fit(model, x, y, probes, tmp_path_factory.mktemp("sets"), gradients="probe"), model, probes


def test_sets_of_labels(multi_label: tuple[Run, keras.Model, ProbeSet]) -> None:
    run, model, probes = multi_label
    np.testing.assert_array_equal(run.probes.label_sets, probes.label_sets)
    first, last = run.record(0), run.record(1)
    assert first.statistics["right"].tolist() == [0, 1, 1, 1]
    np.testing.assert_allclose(first.statistics["label_accuracy"], [0.8, 1, 1, 1])
    assert first.scalars["lrp/accuracy"] == pytest.approx(0.75)
    assert first.scalars["lrp/label_accuracy"] == pytest.approx(0.95)
    chances = model.predict(probes.inputs, verbose=0)
    np.testing.assert_array_equal(of_columns(last.statistics, 5), chances > 0.5)
    np.testing.assert_allclose(last.statistics["probability"], chances[np.arange(N), np.arange(N)], rtol=1e-5)
    np.testing.assert_array_equal(last.statistics["prediction"], chances.argmax(axis=1))
    np.testing.assert_array_equal(last.statistics["target"], np.arange(N))
    assert "probe_gradients/norm" in last.scalars
    assert run.to_dict()["probes"]["label_sets"][1] == np.flatnonzero(probes.label_sets[1]).tolist()


def test_a_baseline_of_sets_of_labels(multi_label: tuple[Run, keras.Model, ProbeSet], tmp_path: Path) -> None:
    run, model, probes = multi_label
    now = Snapshot.of(model, probes, "epsilon")
    np.testing.assert_array_equal(now.predicted_sets, model.predict(probes.inputs, verbose=0) > 0.5)
    np.testing.assert_array_equal(now.predicted_sets, Snapshot.of_run(run).predicted_sets)
    now.save(tmp_path / "baseline")
    before = Snapshot.load(tmp_path / "baseline")
    np.testing.assert_array_equal(before.predicted_sets, now.predicted_sets)
    assert compare(before, now).ok
    weights = [w.copy() for w in model.get_weights()]
    weights[1] += 100 * np.eye(5, dtype="float32")[4]  # one label more in every set, the top one the same or not
    changed = keras.models.clone_model(model)
    changed.set_weights(weights)
    found = compare(before, Snapshot.of(changed, probes, "epsilon"), tier="retrained")
    flipped = ~now.predicted_sets[:, 4]
    np.testing.assert_array_equal(found.flipped, flipped)
    assert flipped.any()
    assert ", e" in str(found)


@pytest.mark.parametrize(
    ("activation", "loss", "units", "message"),
    [
        ("softmax", "categorical_crossentropy", 5, "the model ends in a softmax, by which each probe is of one class"),
        (None, "categorical_crossentropy", 5, "is trained with the loss categorical_crossentropy"),
        ("sigmoid", "binary_crossentropy", 4, r"sets of 5 classes, but the model's output has 4 unit\(s\)"),
    ],
)
def test_sets_of_labels_need_such_a_model(
    tmp_path: Path, activation: str | None, loss: str, units: int, message: str
) -> None:
    model = keras.Sequential([keras.Input((6,)), layers.Dense(units, activation=activation)])
    model.compile("sgd", loss)
    probes = ProbeSet(np.ones((2, 6)), [[1, 0, 1, 0, 0]] * 2)
    with pytest.raises(ValueError, match=message):
        fit(model, np.ones((2, 6)), np.ones((2, units)), probes, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("activation", "loss"),
    [
        (None, keras.losses.BinaryCrossentropy(from_logits=True)),
        ("hard_sigmoid", "binary_crossentropy"),
    ],
)
def test_one_half_is_that_of_the_probability(tmp_path: Path, activation: str | None, loss: object) -> None:
    model = keras.Sequential([keras.Input((6,)), layers.Dense(3, activation=activation)])
    model.compile("sgd", loss)
    x = RNG.normal(size=(8, 6))
    run = fit(model, x, np.ones((8, 3)), ProbeSet(x, np.ones((8, 3)), target=0), tmp_path, gradients="off")
    out = model.predict(x, verbose=0)
    wanted = out > (0 if activation is None else 0.5)
    assert wanted.any()
    assert not wanted.all()
    np.testing.assert_array_equal(of_columns(run.record(1).statistics, 3), wanted)


@pytest.fixture(scope="module")
def language_model() -> tuple[keras.Model, np.ndarray, np.ndarray]:
    given = keras.Input((TIMES,), dtype="int32")
    seen = layers.Conv1D(6, 2, padding="causal", activation="relu")(layers.Embedding(WORDS, 6)(given))
    model = keras.Model(given, layers.Dense(WORDS)(seen))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    ids = RNG.integers(0, WORDS, (32, TIMES))
    return model, ids, np.roll(ids, -1, axis=1)


def test_a_position_of_a_language_model(
    tmp_path: Path, language_model: tuple[keras.Model, np.ndarray, np.ndarray]
) -> None:
    model, ids, following = language_model
    at = np.array([-1, 2, 0, 4])
    probes = ProbeSet(ids[:N], following[:N], target=lrp.targets.Position(at))
    run = fit(model, ids, following, probes, tmp_path, gradients="probe")
    rows, labels = np.arange(N), following[np.arange(N), at]
    logits = model.predict(ids[:N], verbose=0)[rows, at].astype(np.float64)
    found = run.record(1).statistics
    np.testing.assert_array_equal(found["target"], labels)
    np.testing.assert_allclose(found["logit"], logits[rows, labels], rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(found["prediction"], logits.argmax(axis=1))
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found["probability"], chances[rows, labels], rtol=1e-4)
    assert run.record(1).scalars["lrp/accuracy"] == np.mean(logits.argmax(axis=1) == labels)
    assert "probe_gradients/norm" in run.record(1).scalars
    # The same as a weight of 1 at that place and class.
    weights = np.zeros((N, TIMES, WORDS))
    weights[rows, at, labels] = 1
    wanted = lrp.Explainer(model, "epsilon")(ids[:N], lrp.targets.Outputs(weights))
    np.testing.assert_allclose(run.heatmaps(1), wanted, rtol=1e-4, atol=1e-7)
    assert not run.heatmaps(1)[2, 1:].any()  # nothing behind the place can have a part in it
    np.testing.assert_array_equal(run.probes.position[:, 0], at)
    # A baseline keeps the place apart: that of another is another probe set.
    now = Snapshot.of(model, probes, "epsilon")
    np.testing.assert_allclose(now.heatmaps, run.heatmaps(1), rtol=1e-4, atol=1e-7)
    other = ProbeSet(ids[:N], following[:N], target=lrp.targets.Position(1, of=labels))
    with pytest.raises(lrp.BaselineError, match="another probe set"):
        compare(now, Snapshot.of(model, other, "epsilon"))


@pytest.mark.parametrize(
    ("probes", "message"),
    [
        (lambda ids, y: ProbeSet(ids, y[:, :3], target=lrp.targets.Position(1)), r"labels: \(4, 3\), a class of each"),
        (lambda ids, _: ProbeSet(ids, target=lrp.targets.Position(7)), r"Position: \[7\] of sample 0 lies outside"),
        (lambda ids, _: ProbeSet(ids, target=lrp.targets.Position((1, 1))), "at has 2 axes"),
        (lambda ids, _: ProbeSet(ids, np.ones((N, TIMES, WORDS), int)), r"argmax\(axis=-1\)"),
        (lambda ids, y: ProbeSet(ids, y[:, 0]), r"target=lrp\.targets\.Position"),
    ],
)
def test_places_that_the_output_lacks_are_refused(
    tmp_path: Path, language_model: tuple[keras.Model, np.ndarray, np.ndarray], probes, message: str
) -> None:
    model, ids, following = language_model
    with pytest.raises(ValueError, match=message):
        fit(model, ids, following, probes(ids[:N], following[:N]), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_position_of_binary_steps(tmp_path: Path) -> None:
    """One sigmoid unit at each step stands for two classes: class 0 is its negative logit."""
    model = keras.Sequential([keras.Input((TIMES, 2)), layers.Dense(1, activation="sigmoid", use_bias=False)])
    x, y = RNG.normal(size=(8, TIMES, 2)), RNG.integers(0, 2, (8, TIMES, 1))
    y[:2, 1, 0] = 0, 1
    model.compile("sgd", "binary_crossentropy")
    run = fit(model, x, y, ProbeSet(x[:2], y[:2], target=lrp.targets.Position(1)), tmp_path, gradients="probe")
    found, z = run.record(1).statistics, x[:2, 1] @ model.get_weights()[0][:, 0]
    np.testing.assert_allclose(found["logit"], z * [-1, 1], rtol=1e-4)
    np.testing.assert_array_equal(found["prediction"], z > 0)
    np.testing.assert_allclose(found["probability"], 1 / (1 + np.exp(-z * [-1, 1])), rtol=1e-4)
    np.testing.assert_allclose(run.heatmaps(1).reshape(2, -1).sum(axis=1), found["logit"], rtol=1e-4)


@pytest.mark.parametrize("channels", [3, 1])
def test_labels_of_pixels(tmp_path: Path, channels: int) -> None:
    last = layers.Conv2D(channels, 1, activation="softmax" if channels > 1 else "sigmoid")
    model = keras.Sequential([keras.Input((4, 4, 2)), last])
    model.compile("sgd", "sparse_categorical_crossentropy" if channels > 1 else "binary_crossentropy")
    x, y = RNG.normal(size=(8, 4, 4, 2)), RNG.integers(0, max(2, channels), (8, 4, 4))
    labels = y[:N].copy()
    labels[0, 0] = -1  # of no class
    run = fit(model, x, y[..., None], ProbeSet(x[:N], labels), tmp_path)
    out = model.predict(x[:N], verbose=0)
    wanted = out.argmax(axis=-1) if channels > 1 else (out[..., 0] > 0.5).astype(int)
    np.testing.assert_array_equal(run.predicted_maps(1), wanted)
    np.testing.assert_array_equal(run.probes.label_maps, labels)
    right = [np.mean((p == t)[t >= 0]) for p, t in zip(wanted, labels, strict=True)]
    np.testing.assert_allclose(run.record(1).statistics["label_accuracy"], right)
    assert run.record(1).scalars["lrp/label_accuracy"] == pytest.approx(np.mean(right))
    assert run.meta["explains"] == "region"
