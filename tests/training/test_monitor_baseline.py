"""Curves of similarity to a pinned baseline, as regression.compare gives them for the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from monitor_helpers import epochs_of, fit, make_model, make_probes, places
from monitor_helpers import monitor as monitor_of
from tensorboard.backend.event_processing import plugin_event_accumulator
from tensorboard.util import tensor_util

import lrp_monitor as lrp
from lrp_monitor.store.reader import open_run

NAMES = {"relative_l2", "cosine", "iou", "js", "logits", "flips", "mask_rise/block", "mask_probes/block"}


def monitor(*given: Any, **options: Any) -> lrp.LRPMonitor:
    """With the rules that are chosen: the baseline's."""
    return monitor_of(*given, **{"composite": "auto", **options})


class Keep(keras.callbacks.Callback):
    """The weights after each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.weights: list[list[np.ndarray]] = []

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:
        self.weights.append([np.array(w) for w in self.model.get_weights()])


@pytest.fixture(scope="module")
def pinned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The baseline of a trained model."""
    model = make_model()
    fit(model, epochs=4)
    path = tmp_path_factory.mktemp("baselines") / "good"
    lrp.Snapshot.of(model, make_probes()).save(path)
    return path


def test_curves_are_those_of_compare_in_store_and_tensorboard(tmp_path: Path, pinned: Path) -> None:
    keep = Keep()
    fit(make_model(), monitor(tmp_path, baseline=pinned), keep, epochs=4)
    assert places(tmp_path) == epochs_of(0, 1, 2, 3, 4)
    run = open_run(tmp_path)
    prefix = "lrp/baseline/"
    assert {tag.removeprefix(prefix) for tag in run.scalars if tag.startswith(prefix)} == NAMES
    fresh = make_model()
    for epoch in (1, 3):
        fresh.set_weights(keep.weights[epoch - 1])
        found = lrp.compare(pinned, lrp.Snapshot.of(fresh, make_probes()), tier="retrained").summary()
        logged = run.record(epoch).scalars
        for name in NAMES:
            expected = found[name.replace("mask_rise", "mask_mass")]
            assert logged[prefix + name] == pytest.approx(expected, rel=1e-3, abs=1e-5), (epoch, name)
    # The fit is the one that the baseline was made of: it ends there.
    _, cosine = run.scalar(prefix + "cosine")
    assert cosine[0] < 0.99
    assert cosine[4] == pytest.approx(1.0, abs=1e-6)
    assert run.scalar(prefix + "relative_l2")[1][4] < 1e-3
    assert run.scalar(prefix + "flips")[1][4] == 0
    assert run.scalar(prefix + "flips")[1][0] > 0
    # A mask's tag still goes by its short name.
    np.testing.assert_array_equal(run.scalar("mask_mass/block")[1], run.scalar("lrp/mask_mass/block")[1])
    guidance = {plugin_event_accumulator.TENSORS: 0}
    events = plugin_event_accumulator.EventAccumulator(str(tmp_path / "lrp"), guidance).Reload()
    drawn = [float(tensor_util.make_ndarray(event.tensor_proto)) for event in events.Tensors(prefix + "cosine")]
    np.testing.assert_allclose(drawn, cosine, rtol=1e-6)


def test_probes_without_labels_explain_the_baselines_classes(tmp_path: Path, pinned: Path) -> None:
    probes = make_probes(target="predicted")
    fit(make_model(), monitor(tmp_path, probes, baseline=lrp.Snapshot.load(pinned)), epochs=1)
    run = open_run(tmp_path)
    np.testing.assert_array_equal(run.record(0).statistics["target"], make_probes().labels)
    assert run.record(0).scalars["lrp/baseline/cosine"] < 0.99


def test_with_inspection_and_an_alert(tmp_path: Path, pinned: Path) -> None:
    watcher = monitor(tmp_path, baseline=pinned, relevance_layers="all", alert={"block": 0.05}, stop_on_alert=True)
    with pytest.warns(RuntimeWarning, match="lies on 'block' at epoch 0"):
        fit(make_model(), watcher, epochs=3)
    assert places(tmp_path) == epochs_of(0, 1)
    assert open_run(tmp_path).record(1).scalars["lrp/baseline/cosine"] < 1


def test_a_model_that_turns_nan_has_no_curve_and_goes_on(tmp_path: Path, pinned: Path) -> None:
    class Break(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
            if epoch == 1:
                self.model.layers[-1].kernel.assign(self.model.layers[-1].kernel * np.nan)

    with pytest.warns(RuntimeWarning, match="not finite at step 2"):
        fit(make_model(), monitor(tmp_path, baseline=pinned), Break(), epochs=2)
    run = open_run(tmp_path)
    assert places(tmp_path) == epochs_of(0, 1, 2)
    assert "lrp/baseline/cosine" in run.record(1).scalars
    assert "lrp/baseline/cosine" not in run.record(2).scalars


@pytest.mark.parametrize(
    ("probes", "options", "words"),
    [
        ({"n": 5}, {}, "another probe set: 5 probes, the baseline has 6"),
        ({}, {"composite": "epsilon"}, "another composite"),
        ({"target": [0, 0, 0, 0, 0, 0]}, {}, "another class is explained at"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_training(
    tmp_path: Path, pinned: Path, probes: dict, options: dict, words: str
) -> None:
    with pytest.raises(lrp.BaselineError, match=words):
        fit(make_model(), monitor(tmp_path, make_probes(**probes), baseline=pinned, **options), epochs=1)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_or_damaged_baseline_is_reported_when_the_monitor_is_made(tmp_path: Path, pinned: Path) -> None:
    with pytest.raises(lrp.BaselineError, match="there is no such baseline") as caught:
        monitor(tmp_path, baseline=tmp_path / "none")
    assert caught.value.kind == "missing"
    (tmp_path / "cut.json").write_bytes(pinned.with_suffix(".json").read_bytes())
    (tmp_path / "cut.npz").write_bytes(pinned.with_suffix(".npz").read_bytes()[:-40])
    with pytest.raises(lrp.BaselineError, match="cut off"):
        monitor(tmp_path, baseline=tmp_path / "cut")
    with pytest.raises(TypeError, match="expected a Snapshot"):
        monitor(tmp_path, baseline=3)
