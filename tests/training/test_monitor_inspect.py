"""Relevance by layer in the run: the numbers of the inspection, under stable names, compiled once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from monitor_helpers import CLASSES, SIDE, fit, make_model, make_probes, monitor, places

from lrp_monitor.engine.explainer import Explainer
from lrp_monitor.passes import compiled as passes
from lrp_monitor.store.reader import open_run
from lrp_monitor.training.probes.layers import LoggedLayers
from lrp_monitor.training.tensors.names import layer_names

LAYERS = ["conv2d", "max_pooling2d", "flatten", "dropout", "dense"]


@pytest.fixture
def traces(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    found: list[int] = []

    class Counted(passes.Pass):
        def __init__(self, *args: Any) -> None:
            found.append(1)
            super().__init__(*args)

    monkeypatch.setattr(passes, "Pass", Counted)
    return found


def test_columns_are_the_inspections_of_the_trained_model(tmp_path: Path, traces: list[int]) -> None:
    model, probes = make_model(), make_probes()
    fit(model, monitor(tmp_path, relevance_layers="all"), epochs=4)
    assert len(traces) == 1  # five logs and the check before them, one compiled pass
    run = open_run(tmp_path)
    assert run.meta["layers"] == LAYERS
    inspection = Explainer(model, "epsilon_plus_flat").inspect(probes.inputs, probes.labels)
    found = run.record(4).statistics
    assert [name for name in found if name.startswith("layer/")] == [f"layer/{name}" for name in LAYERS]
    for name, layer in zip(LAYERS, inspection.layers, strict=True):
        expected = layer.total / inspection.explanation.logit.astype(np.float64)
        np.testing.assert_allclose(found[f"layer/{name}"], expected, rtol=2e-4, err_msg=name)
    np.testing.assert_allclose(found["layer/dense"], 1.0, rtol=1e-5)
    np.testing.assert_allclose(found["layer/conv2d"], found["conservation"], rtol=1e-4)  # the input rule conserves
    assert np.abs(found["layer/conv2d"] - 1).max() > 0.01  # the dense layer's bias took or gave something
    steps, values = run.statistic("layer/conv2d")
    assert steps.tolist() == [0, 1, 2, 3, 4]
    assert values.shape == (5, len(probes))


def test_the_maps_are_those_of_a_run_without_inspection(tmp_path: Path) -> None:
    plain, inspected = make_model(), make_model()
    fit(plain, monitor(tmp_path / "plain", encoding="float32"))
    fit(inspected, monitor(tmp_path / "inspected", encoding="float32", relevance_layers="conv2d"))
    for mine, theirs in zip(inspected.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    ours, others = open_run(tmp_path / "inspected"), open_run(tmp_path / "plain")
    assert ours.meta["layers"] == ["conv2d"]
    assert others.meta["layers"] == []
    assert not any(name.startswith("layer/") for name in others.statistics)
    for step in (0, 3):
        a, b = ours.heatmaps(step), others.heatmaps(step)
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6 * np.abs(b).max())


def nested() -> keras.Model:
    keras.utils.set_random_seed(2)
    inner = keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 1)),
            keras.layers.Conv2D(3, 3, padding="same", activation="relu"),
            keras.layers.BatchNormalization(),
        ],
        name="base",
    )
    inputs = keras.Input((SIDE, SIDE, 1))
    shared = keras.layers.Conv2D(1, 3, padding="same", activation="relu", bias_initializer="ones", name="twice")
    value = shared(shared(inputs))
    value = keras.layers.Flatten()(inner(value))
    model = keras.Model(inputs, keras.layers.Dense(CLASSES, "softmax")(value))
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


def test_names_of_inner_models_shared_layers_and_a_second_run(tmp_path: Path) -> None:
    for run in ("first", "second"):  # Keras numbers the second model's layers on
        fit(nested(), monitor(tmp_path / run, relevance_layers=["twice", "base", "den*"]), epochs=1)
        meta = open_run(tmp_path / run).meta
        assert meta["layers"] == ["twice", "twice#2", "base/conv2d", "base/batch_normalization", "dense"], run
        assert places(tmp_path / run) == [(0, 0, 0), (1, 1, 5)]
    run_ = open_run(tmp_path / "first")
    model = nested()
    inspection = Explainer(model, "epsilon_plus_flat").inspect(make_probes().inputs, make_probes().labels)
    # The untrained model is the same one every time.
    first = inspection["twice"].conservation
    np.testing.assert_allclose(run_.record(0).statistics["layer/twice"], first, rtol=2e-4, atol=1e-6)
    second = inspection["twice#2"].conservation
    np.testing.assert_allclose(run_.record(0).statistics["layer/twice#2"], second, rtol=2e-4, atol=1e-6)
    assert np.abs(first - second).max() > 1e-3


def test_names_keep_their_call_numbers_and_unnamed_inner_models() -> None:
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(2)])
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(2)(inner(inputs)))
    first, second, outer = inner.layers[0].name, inner.layers[1].name, model.layers[-1].name
    paths = [f"{inner.name}/{first}", f"{inner.name}/{second}#2", inner.name, outer]
    # Numbers count from the model's first layer of each kind, in the order in which they were made.
    assert layer_names(model, paths) == ["dense", "dense_1#2", "sequential", "dense_2"]


def test_layers_of_a_functional_inner_model_by_its_name_by_path_and_by_the_end_of_it() -> None:
    inside = keras.Input((4,))
    inner = keras.Model(inside, keras.layers.ReLU(name="act")(keras.layers.Dense(4, name="first")(inside)), name="base")
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(2, name="head")(keras.layers.ReLU(name="act")(inner(inputs))))
    inspection = Explainer(model, "epsilon").inspect(np.ones((1, 4), np.float32), 0)
    for patterns, expected in {
        ("base",): ["base/first", "base/act"],
        ("base/act", "first"): ["base/first", "base/act"],
        ("act",): ["base/act", "act"],
        ("h*",): ["head"],
    }.items():
        chosen = LoggedLayers(model, patterns)
        assert list(chosen.columns(inspection)) == [f"layer/{name}" for name in expected], patterns


def test_a_layer_that_is_not_there_is_refused_before_training(tmp_path: Path) -> None:
    words = "relevance_layers: 'conv3d' matches no layer; there are conv2d, max_pooling2d, flatten, dropout, dense"
    with pytest.raises(ValueError, match=words):
        fit(make_model(), monitor(tmp_path, relevance_layers=["conv2d", "conv3d"]), epochs=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [[], [3], True, {"conv2d": 1}])
def test_arguments_that_name_no_layers(tmp_path: Path, wrong: Any) -> None:
    with pytest.raises(
        ValueError if wrong == [] else TypeError, match=r'relevance_layers=.*expected "all", names of layers'
    ):
        monitor(tmp_path, relevance_layers=wrong)
