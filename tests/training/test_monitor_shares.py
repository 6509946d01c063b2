"""How many probes stand behind a mean share of relevance: counted, logged, shown; tiny shares left out."""

from __future__ import annotations

import contextlib
import io
import json
import warnings
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pytest
from monitor_helpers import CLASSES, data, fit, make_model, monitor

from lrp_monitor.cli.main import main
from lrp_monitor.metrics import LEAST_POSITIVE
from lrp_monitor.probes import ProbeSet
from lrp_monitor.store.reader import Run, open_run

N = 6


@dataclass
class Tuned:
    folder: Path
    printed: str
    warned: list[str]

    @property
    def run(self) -> Run:
        return open_run(self.folder)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Tuned:
    """A fine-tuning whose new head begins with negative logits for all but one class: no relevance is positive there.

    The last probe has no mask.
    """
    folder = tmp_path_factory.mktemp("tuned")
    model = make_model(optimizer=keras.optimizers.Adam(0.01))
    head = model.layers[-1]
    kernel = np.abs(head.kernel.numpy()) * np.array([0.1] + [-0.1] * (CLASSES - 1), np.float32)
    head.kernel.assign(kernel)
    images, labels = data(N, seed=9)
    labels[:] = [0, 0, 1, 1, 2, 2]
    mask = np.zeros((N, 8, 8), bool)
    mask[: N - 1, 0:6, 1:4] = True
    probes = ProbeSet(images, labels, masks={"block": mask})
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(model, monitor(folder, probes, verbose=1, alert={"block": 0.99}), epochs=4)
    return Tuned(folder, printed.getvalue(), [str(w.message) for w in caught if w.category is RuntimeWarning])


def test_the_store_holds_how_many_probes_a_mean_is_of(tuned: Tuned) -> None:
    run = tuned.run
    steps, counts = run.scalar("lrp/mask_probes/block")
    assert steps.tolist() == run.steps
    assert counts[0] == 2  # the probes of class 0
    assert counts[-1] > 2
    for step in run.steps:
        record = run.record(step)
        maps = run.heatmaps(step).reshape(N, -1).astype(np.float64)
        positive, size = np.maximum(maps, 0).sum(axis=1), np.abs(maps).sum(axis=1)
        shares, absolute = (record.statistics[f"{name}/block"] for name in ("mask_mass", "mask_absolute"))
        assert np.isnan(shares[N - 1])  # no mask
        clear = np.abs(positive / size - LEAST_POSITIVE) > 0.01  # beyond what 8 bits may have changed
        counted = (positive / size > LEAST_POSITIVE) & (np.arange(N) < N - 1)
        np.testing.assert_array_equal(np.isfinite(shares)[clear], counted[clear])
        assert record.scalars["lrp/mask_probes/block"] == np.isfinite(shares).sum()
        assert record.scalars["lrp/mask_mass/block"] == pytest.approx(np.nanmean(shares))
        inside = np.abs(maps.reshape(N, 8, 8)[:, 0:6, 1:4]).sum(axis=(1, 2))
        np.testing.assert_allclose(absolute[: N - 1], (inside / size)[: N - 1], atol=5e-3)
        assert np.isnan(absolute[N - 1])
        assert record.scalars["lrp/mask_absolute/block"] == pytest.approx(np.mean(absolute[: N - 1]))


def test_the_console_tells_it(tuned: Tuned) -> None:
    first = next(line for line in tuned.printed.splitlines() if "relevance on block:" in line)
    assert "(2 of 5 probes) -> " in first


def test_show_tells_it(tuned: Tuned, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(tuned.folder), "--no-maps", "--steps", "0"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    head = next(row for row in rows if row[:2] == ["step", "epoch"])
    first = next(row for row in rows if row[:2] == ["0", "0"])
    assert first[head.index("mask_probes/block")] == "2"
    assert float(first[head.index("mask_absolute/block")]) > 0
    probes = [row for row in rows if row[:1] == ["probe"] and len(row) > 3 and row[1].isdigit()]
    assert ["undefined" in row for row in probes] == [False, False, True, True, True, False]
    assert probes[-1][-2:] == ["no", "mask"]
    assert any(row[:1] == ["undefined:"] for row in [[row[0]] for row in rows if row])
    assert main(["show", str(tuned.folder), "--json"]) == 0
    parsed = json.loads(capsys.readouterr().out)
    assert parsed["scalars"]["lrp/mask_probes/block"]["values"][0] == 2
    assert parsed["statistics"]["mask_mass/block"]["values"][0][2] is None


def test_an_alert_that_cannot_be_judged_says_so_once(tmp_path: Path) -> None:
    """All probes explain a class whose logit is negative throughout: the rate is 0."""
    model = make_model(optimizer=keras.optimizers.SGD(0.0))
    head = model.layers[-1]
    head.kernel.assign(-np.abs(head.kernel.numpy()))
    probes = ProbeSet(data(3, seed=9)[0], target=1, masks={"block": np.s_[0:6, 1:4], "edge": np.s_[0:8, 6:8]})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(model, monitor(tmp_path, probes, alert={"block": 0.5}, stop_on_alert=True), epochs=2)
    messages = [str(w.message) for w in caught if w.category is RuntimeWarning]
    run = open_run(tmp_path)
    share = run.record(0).scalars["lrp/mask_absolute/block"]
    assert messages == [
        "LRPMonitor: the limit of 'block' cannot be judged at epoch 0: none of the 3 probes with this mask has enough "
        f"positive relevance to take a share of; of all |relevance| {100 * share:.1f} % lies there"
    ]
    assert [sum("cannot be judged" in note for note in run.record(step).notes) for step in run.steps] == [1, 0, 0]
    assert run.steps == [0, 1, 2]
    assert "lrp/mask_mass/block" not in run.record(2).scalars
    assert run.record(2).scalars["lrp/mask_probes/block"] == 0


def test_a_crossing_says_how_many_probes_it_is_of(tuned: Tuned, tmp_path: Path) -> None:
    from lrp_monitor.training.probes.alerts import Alerts

    scalars = {"lrp/mask_mass/stamp": 0.5, "lrp/mask_probes/stamp": 3.0}
    assert Alerts({"stamp": 0.25}, {"stamp": 8}).crossed(scalars, "epoch 1") == [
        "50.0 % of the positive relevance lies on 'stamp' at epoch 1, above the limit of 25 % (mean over 3 of 8 probes)"
    ]
