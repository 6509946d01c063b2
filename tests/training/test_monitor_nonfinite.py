"""Models that turn NaN: every place where a person would look says so, and none counts a broken probe as an answer."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from monitor_helpers import CLASSES, data, fit, make_model, make_probes, monitor

import lrp_monitor as lrp
from lrp_monitor.cli.main import main
from lrp_monitor.probes import ProbeSet
from lrp_monitor.regression import BaselineError, write_baseline
from lrp_monitor.store.reader import Run, open_run

ALL = 6  # the probes of `make_probes`


class Explode(keras.callbacks.Callback):
    """From the second epoch on the learning rate is what no network survives."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if epoch == 1:
            self.model.optimizer.learning_rate = 1e36


@dataclass
class Diverged:
    folder: Path
    recovered: Path
    model: keras.Model
    printed: str
    warned: list[str]

    @property
    def run(self) -> Run:
        return open_run(self.folder)


@pytest.fixture(scope="module")
def diverged(tmp_path_factory: pytest.TempPathFactory) -> Diverged:
    """Finite at steps 0 and 1, not at 2 and 3; `recovered` goes on from the weights of step 1 to steps 4 and 5."""
    folder, recovered = tmp_path_factory.mktemp("diverged"), tmp_path_factory.mktemp("recovered")
    model = make_model(optimizer=keras.optimizers.SGD(0.1))
    watcher = monitor(recovered, verbose=1, alert={"block": 0.9})
    keep = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: kept.update({epoch: model.get_weights()}) if epoch == 0 else None
    )
    kept: dict[int, Any] = {}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(model, keep, Explode(), watcher, epochs=3)
    shutil.copytree(recovered, folder, dirs_exist_ok=True)
    broken = keras.models.clone_model(model)
    broken.set_weights(model.get_weights())
    model.set_weights(kept[0])
    model.optimizer.learning_rate = 0.1
    with contextlib.redirect_stdout(io.StringIO()):
        fit(model, watcher, initial_epoch=3, epochs=5)
    messages = [str(w.message) for w in caught if w.category is RuntimeWarning]
    return Diverged(folder, recovered, broken, printed.getvalue(), messages)


def test_no_prediction_is_stored_and_none_counts_as_right_or_wrong(diverged: Diverged) -> None:
    run = diverged.run
    assert run.steps == [0, 1, 2, 3]
    for step in (0, 1):
        record = run.record(step)
        assert np.isfinite(record.statistics["prediction"]).all()
        assert record.scalars["lrp/nonfinite/logits"] == 0
        assert record.scalars["lrp/accuracy"] == np.mean(record.statistics["prediction"] == run.probes.labels)
    for step in (2, 3):
        record = run.record(step)
        for name in ("prediction", "logit", "probability", "prediction_probability", "sum", "mask_mass/block"):
            assert np.isnan(record.statistics[name]).all(), name
        assert np.isfinite(record.statistics["target"]).all()  # the labels are what they were
        for tag in ("lrp/accuracy", "lrp/probability", "lrp/mask_mass/block", "lrp/drift"):
            assert tag not in record.scalars
        assert record.scalars["lrp/nonfinite/logits"] == record.scalars["lrp/nonfinite/heatmaps"] == ALL
        assert record.scalars["lrp/nonfinite/loss"] >= 1
        assert record.scalars["lrp/mask_probes/block"] == 0
        assert not np.isfinite(run.heatmaps(step)).any()


def test_the_run_says_since_which_step(diverged: Diverged) -> None:
    assert {span.kind: (span.first, span.last, span.lasts) for span in diverged.run.not_finite} == dict.fromkeys(
        ("logits", "heatmaps", "weights", "gradients", "loss"), (2, 3, True)
    )
    assert f"logits of {ALL} probes not finite since step 2" in map(str, diverged.run.not_finite)
    assert diverged.run.table()["finite"].tolist() == [True, True, False, False]
    by_probe = diverged.run.table("probe")
    assert np.isnan(by_probe["prediction"]).tolist() == [False] * 2 * ALL + [True] * 2 * ALL


def test_a_run_that_recovers_says_from_when_to_when(diverged: Diverged) -> None:
    run = open_run(diverged.recovered)
    assert run.steps == [0, 1, 2, 3, 4, 5]
    assert {str(span) for span in run.not_finite} >= {
        f"logits of {ALL} probes not finite at steps 2 to 3",
        f"heatmaps of {ALL} probes not finite at steps 2 to 3",
    }
    assert "lrp/accuracy" in run.record(4).scalars
    assert np.isfinite(run.record(5).statistics["prediction"]).all()


def test_console_and_warnings(diverged: Diverged) -> None:
    lines = diverged.printed.splitlines()
    assert [line for line in lines if "not finite" in line and "epoch 1:" in line] == []
    at = next(line for line in lines if line.startswith("LRP epoch 3:"))
    assert f"not finite since epoch 2: logits of {ALL} of {ALL} probes, heatmaps of {ALL} of {ALL} probes" in at
    assert f"block undefined (0 of {ALL} probes)" in at
    assert "no predictions" in at
    assert "right" not in at
    assert any(line.startswith("  not finite since epoch 2: logits of") for line in lines)
    assert any(
        line.startswith("  relevance on block: ") and line.endswith(f"undefined (0 of {ALL} probes)") for line in lines
    )
    for words in (
        f"the logits of {ALL} of {ALL} probes are not finite at step 2: they have no prediction",
        f"the heatmaps of {ALL} of {ALL} probes are not finite at step 2",
        "values of the weights are not finite at step 2: ",
        "a loss, of training or validation, is not finite in the epoch that ends at step 2",
        f"the limit of 'block' cannot be judged at epoch 2: none of the {ALL} probes with this mask has enough",
    ):
        assert len([text for text in diverged.warned if words in text]) == 1, words
        assert any(words in note for note in diverged.run.record(2).notes), words
    assert not any("not finite" in note for note in diverged.run.record(3).notes)  # it has been said


def test_show(diverged: Diverged, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(diverged.folder), "--no-maps"]) == 0
    text = capsys.readouterr().out
    assert f"  NOT FINITE  logits of {ALL} probes not finite since step 2\n" in text
    rows = [line.split() for line in text.splitlines()]
    head = next(row for row in rows if row[:2] == ["step", "epoch"])
    last = next(row for row in rows if row[:2] == ["3", "3"])
    assert last[head.index("accuracy")] == "-"
    assert last[head.index("nonfinite/logits")] == str(ALL)
    assert last[head.index("mask_probes/block")] == "0"
    probe = text.splitlines()[text.splitlines().index("  probes at step 3") + 2]
    assert probe.split()[:4] == ["probe", "0", str(diverged.run.probes.labels[0]), "none"]
    assert "not finite" in probe
    assert "no mask" not in text
    assert main(["show", str(diverged.folder), "--json"]) == 0
    parsed = json.loads(capsys.readouterr().out)
    assert parsed["statistics"]["prediction"]["values"][3] == [None] * ALL
    assert {"kind": "logits", "first": 2, "last": 3, "lasts": True, "most": ALL} in parsed["not_finite"]


def test_explain_and_check_of_the_saved_model(
    diverged: Diverged, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, inputs = tmp_path / "broken.keras", tmp_path / "x.npy"
    diverged.model.save(model)
    np.save(inputs, data(2)[0])
    words = ["explain", str(model), str(inputs), "-o", str(tmp_path / "x.png")]
    assert main([*words]) == 0
    shown = capsys.readouterr()
    assert shown.out.count("no class (no prediction: the logits are not finite), logit not finite") == 2
    assert "are not finite; `lrp-monitor check` says in which layer" in shown.err
    assert main([*words, "--target", "1", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["explanations"]
    assert [(row["target"], row["prediction"], row["predicted_class"], row["logit"]) for row in rows] == [
        (1, None, None, None)
    ] * 2
    assert main(["check", str(model)]) == 3
    shown = capsys.readouterr()
    assert "supported, but not finite at" in shown.out
    assert "the logits of 4 samples" in shown.out


def test_export_marks_the_maps(diverged: Diverged, tmp_path: Path) -> None:
    from lrp_monitor.pictures.logged import strip_of

    assert list(strip_of(diverged.run, 0, (0, 2), "probe 0").captions) == ["", "not finite"]
    assert list(strip_of(diverged.run, 0, (0,), "probe 0").captions) == []
    assert main(["export", str(diverged.folder), "--steps", "0,2", "-o", str(tmp_path / "film.png")]) == 0


def test_regression_tests_and_compare(diverged: Diverged, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, now = (lrp.Snapshot.of_run(diverged.folder, step) for step in (1, 2))
    assert now.predictions.tolist() == [-1] * ALL
    found = lrp.compare(before, now, tier="retrained", failing=1.0, flips=1.0, masks=())
    assert not found.ok
    assert (
        "FAIL finite   NaN or infinity in the heatmaps of 'probe 0', 'probe 1', 'probe 2' and 3 more and the logits of"
        in str(found)
    )
    assert f"{ALL} of {ALL} predicted classes changed, {ALL} probes have no prediction" in str(found)
    assert "-> none" in str(found)
    assert [probe["prediction"][1] for probe in found.to_dict()["probes"]] == [None] * ALL
    found.write_html(tmp_path / "page.html")
    assert "→ none" in (tmp_path / "page.html").read_text(encoding="utf-8")
    runs = [f"{diverged.folder}@{step}" for step in (1, 2)]
    assert main(["compare", *runs, "--tier", "retrained"]) == 3
    assert "NaN or infinity" in capsys.readouterr().out
    with pytest.raises(BaselineError, match="NaN or infinity"):
        write_baseline(now, tmp_path / "baseline")
    with pytest.raises(
        ValueError, match=f"heatmaps or logits of {ALL} of {ALL} probes are not finite, 'probe 0' among"
    ):
        lrp.sanity_check(diverged.model, make_probes())


def test_a_model_without_classes_to_explain_is_reported_as_not_finite(diverged: Diverged, tmp_path: Path) -> None:
    """Probes that explain the predicted class: a broken model has none, which is no other class."""
    probes = make_probes(target="predicted")
    before, now = (lrp.Snapshot.of(model, probes) for model in (make_model(), diverged.model))
    assert now.targets.tolist() == [-1] * ALL
    found = lrp.compare(before, now, tier="retrained", masks=())
    assert "NaN or infinity in the heatmaps of 'probe 0'" in str(found)
    assert found.to_dict()["probes"][0]["target"] is None
    with pytest.raises(BaselineError, match=f"no class is explained at {ALL} probes of the baseline, 'probe 0' among"):
        monitor(tmp_path, probes, baseline=now)


def test_one_broken_probe_among_others(tmp_path: Path) -> None:
    """An input that overflows has no prediction; the others do, and means are over them."""
    images, labels = data(4, seed=9)
    images[2] = 3e38
    probes = ProbeSet(images, labels, masks={"block": np.s_[0:6, 1:4]}, target="predicted")
    model = make_model()
    model.layers[0].kernel.assign(model.layers[0].kernel * 100)
    with pytest.warns(RuntimeWarning, match="the logits of 1 of 4 probes are not finite at step 0"):
        fit(model, monitor(tmp_path, probes), epochs=1)
    run = open_run(tmp_path)
    for step in run.steps:
        record = run.record(step)
        assert np.isnan(record.statistics["prediction"]).tolist() == [False, False, True, False]
        assert np.isnan(record.statistics["target"]).tolist() == [False, False, True, False]
        assert np.isnan(record.statistics["probability"]).tolist() == [False, False, True, False]
        assert np.isnan(run.heatmaps(step)).all(axis=(1, 2)).tolist() == [False, False, True, False]
        assert record.scalars["lrp/nonfinite/logits"] == 1
        known = [0, 1, 3]
        assert record.scalars["lrp/accuracy"] == np.mean((record.statistics["prediction"] == labels)[known])
        assert record.scalars["lrp/probability"] == pytest.approx(np.mean(record.statistics["probability"][known]))
    np.testing.assert_array_equal(run.record(0).statistics["target"], run.record(1).statistics["target"])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_one_class_that_is_not_finite_takes_the_prediction(value: float) -> None:
    model, (images, _) = make_model(), data(3, seed=9)
    whole = lrp.Explainer(model).explain(images, 0)
    model.layers[-1].bias.assign([0.0] * (CLASSES - 1) + [value])
    found = lrp.Explainer(model).explain(images, 0)
    # The explained class has its own logit still; the layer's rule divides by all of its values, one of which is none.
    np.testing.assert_allclose(found.logit, whole.logit, rtol=1e-6)
    assert found.prediction.tolist() == [-1] * 3
    assert np.isnan(found.probability).all()
    predicted = lrp.Explainer(model).explain(images)
    assert predicted.target.tolist() == [-1] * 3
    assert np.isnan(predicted.relevance).all()
    assert np.isnan(predicted.logit).all()
    difference = lrp.Explainer(model).explain(images, lrp.targets.Difference(0, 1))
    assert np.isfinite(difference.logit).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_single_sigmoid_unit(value: float) -> None:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, activation="sigmoid")])
    model.layers[0].bias.assign([value])
    found = lrp.Explainer(model).explain(np.ones((2, 4), np.float32))
    assert found.prediction.tolist() == found.target.tolist() == [-1, -1]
    assert np.isnan(found.relevance).all()
    assert np.isnan(found.probability).all()


def test_a_loss_that_is_nan_alone_is_reported_and_marks_nothing_else(tmp_path: Path) -> None:
    def loss(y: Any, p: Any) -> Any:
        return keras.losses.sparse_categorical_crossentropy(y, p) + keras.ops.stop_gradient(p[:, 0] * float("nan"))

    with pytest.warns(RuntimeWarning, match="is not finite in the epoch that ends at step 1"):
        fit(make_model(loss=loss), monitor(tmp_path), epochs=2)
    run = open_run(tmp_path)
    assert [str(span) for span in run.not_finite] == ["a loss of the epoch not finite since step 1"]
    assert np.isfinite(run.record(2).statistics["prediction"]).all()
    assert "lrp/accuracy" in run.record(2).scalars


def test_weights_that_are_nan_where_logits_are_finite(tmp_path: Path) -> None:
    """A unit of a second head that nothing explained depends on."""
    image = keras.Input((8, 8, 1))
    flat = keras.layers.Flatten()(image)
    outputs = {
        "a": keras.layers.Dense(CLASSES, activation="softmax", name="a")(flat),
        "b": keras.layers.Dense(1, name="b")(flat),
    }
    model = keras.Model(image, outputs)
    model.compile("sgd", {"a": "sparse_categorical_crossentropy", "b": "mse"}, loss_weights={"a": 1.0, "b": 0.0})
    x, y = data()
    model.get_layer("b").kernel.assign(np.full((64, 1), np.nan, np.float32))
    with pytest.warns(RuntimeWarning, match="64 values of the weights are not finite at step 0: b/kernel"):
        model.fit(x, {"a": y, "b": y}, verbose=0, callbacks=[monitor(tmp_path, output="a", gradients="off")])
    run = open_run(tmp_path)
    assert any("weights not finite since step 0" in str(span) for span in run.not_finite)
    assert "logits" not in {span.kind for span in run.not_finite}
    assert run.record(0).scalars["lrp/nonfinite/heatmaps"] == 0
    assert np.isfinite(run.record(0).statistics["prediction"]).all()


OTHER_OUTPUTS: dict[str, tuple[list[keras.layers.Layer], tuple[int, ...], Any, float, float, list[str], list[str]]] = {
    # Layers, sample shape, labels, the second probe's values, the first unit's bias; what is printed, and what is not.
    "another number": (
        [keras.layers.Dense(2)], (3,), np.full((3, 2), 2.5), 1, np.nan,
        ["logits of 3 of 3 probes", "mean absolute error"], ["prediction"],
    ),
    "a sum over places": (
        [keras.layers.Conv2D(2, 1)], (4, 4, 1), np.zeros((3, 4, 4), int), 1e38, 0,
        ["logits of 1 of 3 probes", "labels right"], ["prediction"],
    ),
    "places beside the region": (
        [keras.layers.Conv2D(2, 1)], (4, 4, 1), np.ones((3, 4, 4), int), 1, np.nan,
        ["logits of 3 of 3 probes"], ["prediction", "labels right"],
    ),
    "classes without labels": (
        [keras.layers.Dense(2)], (9,), None, 3e38, 0,
        ["logits of 1 of 3 probes", "1 without a prediction"], ["no predictions", "right"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHER_OUTPUTS)
def test_other_outputs_than_labelled_classes(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever logit is not finite is counted, and nobody says "no prediction" of what is no class, or has one."""
    layers, shape, labels, value, bias, printed, not_printed = OTHER_OUTPUTS[name]
    model = keras.Sequential([keras.Input(shape), *(type(one).from_config(one.get_config()) for one in layers)])
    model.layers[0].kernel.assign(np.ones(model.layers[0].kernel.shape))
    model.layers[0].bias.assign([bias, 0])
    classes = labels is None or labels.ndim > 2
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True) if classes else "mse")
    x = np.ones((3, *shape), np.float32)
    x[1] = value
    region = lrp.targets.Region(labels == 1, 1) if name.startswith("places") else None
    target = {"another number": 1}.get(name, "label" if labels is None else region)
    options = {} if target is None or labels is None else {"target": target}
    probes = ProbeSet(x, labels=labels, **options)
    y = np.zeros((3, *model.output_shape[1:]) if not classes else (3, *model.output_shape[1:-1]))
    watcher = monitor(tmp_path, probes, verbose=1, composite="epsilon", gradients="off")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(np.ones_like(x), y, epochs=1, verbose=0, callbacks=[watcher])
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("LRP epoch 0:"))
    assert [text for text in printed if text not in line] == []
    assert [text for text in not_printed if text in line] == []
    run, count = open_run(tmp_path), int(printed[0].split()[2])
    assert run.record(0).scalars["lrp/nonfinite/logits"] == count
    assert f"logits of {count} probe" in next(str(span) for span in run.not_finite if span.kind == "logits")
    (warned,) = [str(w.message) for w in caught if f"logits of {count} of 3" in str(w.message)]
    assert ("they have no prediction" in warned) == (labels is None)
