"""What a record and the event file hold, against computations of their own on the trained model."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from monitor_helpers import CLASSES, SIDE, accumulate, check_events, data, fit, make_model, make_probes, monitor
from tensorboard.util import tensor_util

from lrp_monitor.engine.explainer import Explainer
from lrp_monitor.probes import ProbeSet
from lrp_monitor.store.reader import open_run


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[keras.Model, Path]:
    folder = tmp_path_factory.mktemp("run")
    model = make_model()
    fit(model, monitor(folder, encoding="float32"))
    return model, folder


def test_scalars_and_statistics_are_those_of_the_explainer_on_the_final_weights(trained) -> None:
    model, folder = trained
    probes, run = make_probes(), open_run(folder)
    explanation = Explainer(model, "epsilon_plus_flat").explain(probes.inputs, probes.labels)
    maps = np.asarray(explanation.relevance, np.float64).sum(axis=-1)
    assert run.probes.hash == probes.hash

    np.testing.assert_allclose(run.heatmaps(3), maps, rtol=0, atol=1e-6 * np.abs(maps).max())
    header = run.record(3)
    flat = maps.reshape(len(maps), -1)
    expected = {
        "sum": flat.sum(axis=1),
        "positive": np.maximum(flat, 0).sum(axis=1),
        "negative": np.minimum(flat, 0).sum(axis=1),
        "absmax": np.abs(flat).max(axis=1),
        "q90": np.quantile(np.abs(flat), 0.9, axis=1),
        "conservation": flat.sum(axis=1) / explanation.logit,
        "logit": explanation.logit,
        "target": probes.labels,
    }
    output = model.predict(probes.inputs, verbose=0)
    expected["prediction"] = output.argmax(axis=1)
    expected["probability"] = output[np.arange(len(probes)), probes.labels]
    inside = np.maximum(maps[:, 0:6, 1:4], 0).sum(axis=(1, 2))
    expected["mask_mass/block"] = inside / np.maximum(maps, 0).sum(axis=(1, 2))
    for name, values in expected.items():
        np.testing.assert_allclose(header.statistics[name], values, rtol=2e-4, atol=1e-6, err_msg=name)

    scalars = header.scalars
    assert scalars["lrp/mask_mass/block"] == pytest.approx(np.mean(expected["mask_mass/block"]), rel=1e-5)
    assert scalars["lrp/conservation"] == pytest.approx(np.median(expected["conservation"]), rel=2e-4)
    assert scalars["lrp/probability"] == pytest.approx(np.mean(expected["probability"]), rel=1e-5)
    assert scalars["lrp/accuracy"] == np.mean(expected["prediction"] == probes.labels)
    before = run.heatmaps(2).reshape(len(probes), -1).astype(np.float64)
    shares = [m / np.abs(m).sum(axis=1, keepdims=True) for m in (before, flat)]
    drift = np.abs(shares[0] - shares[1]).sum(axis=1) / 2
    np.testing.assert_allclose(header.statistics["drift"], drift, atol=1e-5)
    assert scalars["lrp/drift"] == pytest.approx(drift.mean(), abs=1e-5)
    steps, drifts = run.scalar("drift")
    np.testing.assert_array_equal(steps, [1, 2, 3])
    assert (drifts > 0).all()


def test_weight_norms_and_histograms_are_those_of_the_final_weights(trained) -> None:
    model, folder = trained
    run = open_run(folder)
    header = run.record(3)
    kernel, *_ = model.layers[0].get_weights()
    assert header.scalars["weights/norm/conv2d/kernel"] == pytest.approx(np.linalg.norm(kernel), rel=1e-6)
    whole = np.sqrt(sum((w.astype(np.float64) ** 2).sum() for w in model.get_weights() if w.dtype.kind == "f"))
    assert header.scalars["weights/norm"] == pytest.approx(whole, rel=1e-6)
    assert header.scalars["weights/nonfinite"] == 0
    histogram = run.histogram(3, "weight", "conv2d/kernel")
    assert (histogram.size, int(histogram.counts.sum()) + histogram.zeros) == (kernel.size, kernel.size)
    assert histogram.minimum == pytest.approx(float(kernel.min()), rel=1e-6)
    names = ["conv2d/kernel", "conv2d/bias", "dense/kernel", "dense/bias"]
    expected = [(kind, name) for kind in ("weight", "gradient") for name in names]
    assert all(run.tensors(step) == expected for step in run.steps)


def test_gradients_are_of_training_and_say_of_which_batch(trained) -> None:
    _, folder = trained
    run = open_run(folder)
    first = run.histogram(0, "gradient", "dense/kernel")
    assert (first.note, len(first.buckets), run.record(0).gradient_batch) == ("no training step yet", 0, None)
    assert not any(tag.startswith("gradients/") for tag in run.record(0).scalars)
    for step in (1, 2, 3):
        header = run.record(step)
        assert header.gradient_batch == 5 * step
        norms = [run.histogram(step, "gradient", name).norm for kind, name in run.tensors(step) if kind == "gradient"]
        assert header.scalars["gradients/norm"] == pytest.approx(np.linalg.norm(norms), rel=1e-9)
        assert header.scalars["gradients/norm"] > 0


def test_the_gradient_is_that_of_the_last_batch_of_the_epoch(tmp_path: Path) -> None:
    # Plain SGD: the last update of the epoch is -rate * gradient, so that weights alone tell.
    kept: list[list[np.ndarray]] = []

    class Keep(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch: int, logs: object = None) -> None:
            kept.append([np.array(w) for w in self.model.get_weights()])

    model = make_model(optimizer=keras.optimizers.SGD(0.1))
    fit(model, monitor(tmp_path), Keep(), epochs=1)
    gradients = [(b - a) / 0.1 for a, b in zip(model.get_weights(), kept[-1], strict=True)]
    norm = np.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in gradients))
    scalars = open_run(tmp_path).record(1).scalars
    assert scalars["gradients/norm"] == pytest.approx(norm, rel=1e-4)
    # The same step's update-to-weight ratio; biases were 0 before the first step, not before the last.
    pairs = [(b.astype(np.float64) - a, a) for a, b in zip(kept[-1], model.get_weights(), strict=True)]
    names = ["conv2d/kernel", "conv2d/bias", "dense/kernel", "dense/bias"]
    ratios = {name: np.linalg.norm(change) / np.linalg.norm(a) for name, (change, a) in zip(names, pairs, strict=True)}
    logged = {name: scalars[f"weights/update_ratio/{name}"] for name in names}
    assert logged == pytest.approx(ratios, rel=1e-6)
    sums = (sum((part**2).sum() for part in column) for column in zip(*pairs, strict=True))
    assert scalars["weights/update_ratio"] == pytest.approx(np.sqrt(np.divide(*sums)), rel=1e-6)


def test_gradients_of_the_probes_and_none(tmp_path: Path) -> None:
    model, probes = make_model(), make_probes()
    fit(model, monitor(tmp_path / "probe", gradients="probe"), epochs=1)
    run = open_run(tmp_path / "probe")
    tags = run.record(1).scalars
    assert not any(tag.startswith("gradients/") for tag in tags)
    with tf.GradientTape() as tape:
        loss = model.compute_loss(y=probes.labels, y_pred=model(probes.inputs, training=False))
    expected = np.sqrt(sum(float(tf.reduce_sum(g**2)) for g in tape.gradient(loss, model.trainable_variables)))
    assert tags["probe_gradients/norm"] == pytest.approx(expected, rel=1e-4)
    assert run.meta["gradients"] == "probe"

    fit(make_model(), monitor(tmp_path / "off", gradients="off", weights=False), epochs=1)
    run = open_run(tmp_path / "off")
    assert run.tensors(1) == []
    assert {tag.split("/")[0] for tag in run.record(1).scalars} == {"lrp"}


@pytest.mark.parametrize(
    ("loss", "units"),
    [("categorical_crossentropy", CLASSES), (keras.losses.CategoricalFocalCrossentropy(), CLASSES), ("mse", CLASSES),
     ("BinaryCrossentropy", 1)],
    ids=["categorical", "focal", "squares", "binary"],
)  # fmt: skip
def test_gradients_of_the_probes_for_losses_that_take_no_class_numbers(tmp_path: Path, loss, units: int) -> None:
    keras.utils.set_random_seed(1)
    ending = keras.layers.Dense(units, activation="sigmoid" if units == 1 else "softmax")
    model = keras.Sequential([keras.Input((SIDE, SIDE, 1)), keras.layers.Flatten(), ending])
    model.compile("sgd", loss)
    x, labels = data()
    probes = make_probes()
    if units == 1:
        labels, probes = (labels > 0).astype(int), ProbeSet(probes.inputs, (probes.labels > 0).astype(int))

    def as_taken(numbers: np.ndarray) -> np.ndarray:
        return numbers[:, None].astype(np.float32) if units == 1 else np.eye(units, dtype=np.float32)[numbers]

    model.fit(x, as_taken(labels), verbose=0, callbacks=[monitor(tmp_path, probes, gradients="probe")])
    with tf.GradientTape() as tape:
        value = model.compute_loss(y=as_taken(probes.labels), y_pred=model(probes.inputs, training=False))
    expected = np.sqrt(sum(float(tf.reduce_sum(g**2)) for g in tape.gradient(value, model.trainable_variables)))
    assert expected > 1e-3
    assert open_run(tmp_path).record(1).scalars["probe_gradients/norm"] == pytest.approx(expected, rel=1e-4)


def test_layers_choose_tensors(tmp_path: Path) -> None:
    fit(make_model(), monitor(tmp_path, histograms=["conv*", "dense/bias"]), epochs=1)
    run = open_run(tmp_path)
    weights = [name for kind, name in run.tensors(1) if kind == "weight"]
    assert weights == ["conv2d/kernel", "conv2d/bias", "dense/bias"]
    assert {name for kind, name in run.tensors(1) if kind == "gradient"} == set(weights)


@pytest.mark.parametrize("encoding", ["sqrt8", "float16"])
def test_maps_are_within_the_bound_of_their_encoding(trained, tmp_path: Path, encoding: str) -> None:
    model = make_model()
    fit(model, monitor(tmp_path, encoding=encoding))
    exact, stored = open_run(trained[1]).heatmaps(3), open_run(tmp_path).heatmaps(3)
    scale = np.abs(exact).max(axis=(1, 2), keepdims=True)
    root = np.sqrt(np.abs(exact) / scale)
    # sqrt8: half a step of 1/127 on the root; float16: 11 bits
    bound = scale * (root / 127 + 1 / 127**2) if encoding == "sqrt8" else np.abs(exact) * 2.0**-11 + scale * 1e-6
    assert (np.abs(stored - exact) <= bound + 1e-7 * scale).all()
    assert not np.array_equal(stored, exact)


def test_trained_weights_are_the_same_with_and_without(tmp_path: Path) -> None:
    # In a graph and under XLA in test_monitor_coexistence.py.
    for options in ({"run_eagerly": True}, {"steps_per_execution": 3}):
        watched, alone = make_model(**options), make_model(**options)
        fit(watched, monitor(tmp_path / str(options), batches=3, every=1, first_epoch="log"), shuffle=True)
        keras.utils.set_random_seed(1)
        fit(alone, shuffle=True)
        for mine, theirs in zip(watched.get_weights(), alone.get_weights(), strict=True):
            np.testing.assert_array_equal(mine, theirs, err_msg=str(options))


def test_the_event_file_holds_scalars_histograms_and_marker(trained) -> None:
    _, folder = trained
    run, loaded = open_run(folder), accumulate(folder)
    check_events(folder, run)
    kernels = loaded.Tensors("weights/dense/kernel")
    assert [event.step for event in kernels] == [0, 1, 2, 3]
    rows = tensor_util.make_ndarray(kernels[3].tensor_proto)
    assert rows.shape[1] == 3
    assert rows[:, 2].sum() == run.histogram(3, "weight", "dense/kernel").size
    gradients = loaded.Tensors("gradients_log10/dense/kernel")
    assert [event.step for event in gradients] == [1, 2, 3]
    assert loaded.SummaryMetadata("gradients_log10/dense/kernel").plugin_data.plugin_name == "histograms"
    marker = loaded.Tensors("lrp_monitor/session")
    assert json.loads(tensor_util.make_ndarray(marker[0].tensor_proto).item())["session"] == run.session
    assert [path.name.startswith("events.out.tfevents") for path in (folder / "lrp").glob("*events*")] == [True]


def test_without_standard_summaries_the_marker_alone_is_written(tmp_path: Path) -> None:
    fit(make_model(), monitor(tmp_path, standard_summaries=False), epochs=1)
    assert accumulate(tmp_path).Tags()["tensors"] == ["lrp_monitor/session"]


def test_what_is_printed(tmp_path: Path, capsys) -> None:
    folder = tmp_path / "a run"
    model = make_model()
    fit(model, monitor(folder, verbose=1), epochs=2, verbose=1)
    lines = capsys.readouterr().out.splitlines()
    plan = next(line for line in lines if line.startswith("LRP monitor: 6 probes"))
    assert "epsilon_plus_flat, every epoch: 3 logs, about " in plan
    assert plan.endswith(f"in {folder}/lrp")
    logs = [line for line in lines if line.startswith("LRP epoch")]
    assert [line.split(":")[0] for line in logs] == ["LRP epoch 0", "LRP epoch 1", "LRP epoch 2"]
    assert "drift" in logs[1]
    assert "block" in logs[1]
    first, last = (open_run(folder).record(step).scalars["lrp/mask_mass/block"] for step in (0, 2))
    assert f"  relevance on block: {100 * first:.1f} % -> {100 * last:.1f} %" in lines
    assert lines[-1] == f"  tensorboard --logdir '{folder}'"
    # Keras' bar is whole: the line of each epoch ends in its own newline, ours begin lines of their own
    assert sum(line.startswith("Epoch ") for line in lines) == 2

    fit(model, monitor(folder, verbose=0), epochs=1)
    assert capsys.readouterr().out == ""


def test_the_size_that_is_printed_is_about_right(tmp_path: Path, capsys) -> None:
    fit(make_model(), monitor(tmp_path, verbose=1), epochs=6)
    plan = capsys.readouterr().out.splitlines()[0]
    kilobytes = float(plan.split("about ")[1].split(" kB")[0])
    actual = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) / 1e3
    assert 0.5 < kilobytes / actual < 4
