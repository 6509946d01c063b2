"""A model whose output is a map, watched in fit: a region of it is explained, the same one ever after."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from monitor_helpers import monitor

import lrp_monitor as lrp
from lrp_monitor.engine.targets import Outputs, Region
from lrp_monitor.probes import ProbeSet
from lrp_monitor.store.format import StoreError
from lrp_monitor.store.reader import open_run

SIDE, N = 8, 5
X = np.random.default_rng(3).normal(size=(24, SIDE, SIDE, 2)).astype(np.float32)
CLASS_STATISTICS = {"target", "prediction", "prediction_probability", "probability"}


def net(classes: int = 1, seed: int = 1) -> keras.Model:
    """Classes by 4 x 4 places of 8 x 8 pixels; the logits are a layer's own output."""
    keras.utils.set_random_seed(seed)
    image = keras.Input((SIDE, SIDE, 2))
    hidden = layers.Conv2D(4, 3, padding="same", activation="relu")(image)
    logits = layers.Conv2D(classes, 2, strides=2, name="logits")(hidden)
    model = keras.Model(image, layers.Activation("sigmoid" if classes == 1 else "softmax")(logits))
    model.compile(keras.optimizers.Adam(0.01), "binary_crossentropy" if classes == 1 else "categorical_crossentropy")
    return model


def logits_of(model: keras.Model, x: np.ndarray = X[:N]) -> np.ndarray:
    inner = keras.Model(model.inputs, model.get_layer("logits").output)
    return np.asarray(inner([x]))


def fit(model: keras.Model, *callbacks: Any, epochs: int = 2) -> None:
    classes = model.output_shape[-1]
    y = (X[:, ::2, ::2, :1] > 0).astype("f") if classes == 1 else np.eye(classes)[(X[:, ::2, ::2, 0] > 0).astype(int)]
    model.fit(X, y, batch_size=8, epochs=epochs, verbose=0, callbacks=list(callbacks))


def at_pixels(region: Any, logits: np.ndarray) -> np.ndarray:
    return (region.weights(logits.shape[1:], len(logits)) * logits).reshape(len(logits), -1).sum(axis=1)


def test_one_channel_is_explained_where_it_is_predicted_when_training_begins(tmp_path: Path) -> None:
    model = net()
    model.get_layer("logits").bias.assign([-0.3])
    before = logits_of(model)[..., 0] > 0
    empty = np.zeros((1, SIDE, SIDE, 2), np.float32)  # nothing is predicted there: all of the map is explained
    probes = ProbeSet(np.concatenate([X[: N - 1], empty]), masks={"half": np.s_[:4]})
    before[N - 1] = True
    assert 0 < before[: N - 1].mean() < 1
    fit(model, monitor(tmp_path, probes, encoding="float32", relevance_layers="all", channels=True))
    run = open_run(tmp_path)
    np.testing.assert_array_equal(run.probes.region, before)
    np.testing.assert_array_equal(run.probes.region_of, np.zeros(N))
    assert run.meta["explains"] == "region"
    region = Region(before, 0)
    logits = logits_of(model, probes.inputs)
    statistics = run.record(2).statistics
    assert not CLASS_STATISTICS & set(statistics)
    np.testing.assert_allclose(statistics["logit"], at_pixels(region, logits), rtol=1e-5, atol=1e-6)
    expected = probes.heatmaps(lrp.relevance(model, probes.inputs, region, "epsilon_plus_flat"))
    np.testing.assert_allclose(run.heatmaps(2), expected, rtol=1e-5, atol=1e-6)
    scalars = run.record(2).scalars
    assert {"lrp/conservation", "lrp/drift", "lrp/mask_mass/half"} <= set(scalars)
    assert not {"lrp/probability", "lrp/accuracy"} & set(scalars)
    assert scalars["lrp/nonfinite/logits"] == 0
    assert lrp.compare(
        run, lrp.Snapshot.of(model, probes, "epsilon_plus_flat", target=region), tier="mixed_precision"
    ).ok


def test_a_run_goes_on_with_its_region(tmp_path: Path) -> None:
    probes = ProbeSet(X[:N])
    model = net(classes=3)
    predicted = logits_of(model).argmax(axis=-1)
    of = np.array([np.bincount(one.ravel(), minlength=3).argmax() for one in predicted])
    fit(model, monitor(tmp_path, probes))
    logits = logits_of(model)
    assert (logits.argmax(axis=-1) != predicted).any()  # it would choose another region now
    fit(model, monitor(tmp_path, probes))
    run = open_run(tmp_path)
    assert run.steps == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(run.probes.region, predicted == of[:, None, None])
    np.testing.assert_array_equal(run.probes.region_of, of)
    region = Region(predicted == of[:, None, None], of)
    np.testing.assert_allclose(run.record(2).statistics["logit"], at_pixels(region, logits), rtol=1e-5, atol=1e-6)
    last = at_pixels(region, logits_of(model))
    np.testing.assert_allclose(run.record(4).statistics["logit"], last, rtol=1e-5, atol=1e-6)


def test_the_region_can_be_given(tmp_path: Path) -> None:
    weights = np.random.default_rng(0).normal(size=(4, 4, 3))
    for name, target in (("box", Region(np.s_[1:3, :], of=2)), ("weights", Outputs(weights))):
        model = net(classes=3)
        fit(model, monitor(tmp_path / name, ProbeSet(X[:N], target=target)), epochs=1)
        run = open_run(tmp_path / name)
        expected = at_pixels(target, logits_of(model))
        np.testing.assert_allclose(run.record(1).statistics["logit"], expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(StoreError, match=r"probes"):
        fit(net(classes=3), monitor(tmp_path / "box", ProbeSet(X[:N], target=Region(np.s_[1:3, :], of=1))))


@pytest.mark.parametrize(
    ("probes", "options", "words"),
    [
        ({"labels": np.arange(N) % 2}, {}, r"^labels: one class a probe.*maps.*\('n', 4, 4, 1\).*Region\(where, of\)"),
        ({"target": 0}, {}, '^target: one class a probe.*target="predicted"'),
        (
            {"labels": np.arange(N), "target": "predicted"},
            {"gradients": "probe"},
            'have one each: .*or use gradients="train" or',
        ),
        ({"target": Region(np.s_[:9, 7], of=0)}, {}, r"lies outside the map of shape \(4, 4\)"),
        ({"target": Region(np.s_[:2, 1], of=3)}, {}, "Region 3 lies outside the outputs"),
    ],
)
def test_what_does_not_fit_is_reported_before_training(tmp_path: Path, probes: Any, options: Any, words: str) -> None:
    model = net()
    before = [np.array(weight) for weight in model.get_weights()]
    with pytest.raises(ValueError, match=words):
        fit(model, monitor(tmp_path, ProbeSet(X[:N], **probes), **options))
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert list(tmp_path.iterdir()) == []


def test_no_region_is_predicted_of_what_is_not_finite(tmp_path: Path) -> None:
    model = net()
    model.get_layer("logits").bias.assign([np.nan])
    with pytest.raises(ValueError, match=r"output for sample 0 is not finite.*target=Region\(where, of\)"):
        fit(model, monitor(tmp_path, ProbeSet(X[:N])))


def test_a_difference_is_watched_in_a_classifier(tmp_path: Path) -> None:
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((6,)), layers.Dense(4, activation="relu"), layers.Dense(3), layers.Softmax()])
    model.compile("sgd", "sparse_categorical_crossentropy")
    x, labels = X.reshape(24, -1)[:, :6], np.arange(24) % 3
    probes = ProbeSet(x[:N], labels[:N], target=lrp.targets.Difference(2, 0))
    model.fit(x, labels, verbose=0, callbacks=[monitor(tmp_path, probes)])
    statistics = open_run(tmp_path).record(1).statistics
    logits = np.log(model.predict(x[:N], verbose=0))
    np.testing.assert_allclose(statistics["logit"], logits[:, 2] - logits[:, 0], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(statistics["prediction"], logits.argmax(axis=1))
    assert np.isnan(statistics["target"]).all()
    assert np.isnan(statistics["probability"]).all()
