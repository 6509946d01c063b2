"""Limits on a mask's share of relevance: checked before training, reported once per crossing, able to end the fit."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from monitor_helpers import data, epochs_of, fit, make_model, make_probes, monitor, places

from lrp_monitor.probes import ProbeSet
from lrp_monitor.store.reader import open_run
from lrp_monitor.training.monitor import LRPMonitor
from lrp_monitor.training.probes.alerts import Alerts


def watched(folder: Path, *others: Any, epochs: int = 5, **options: Any) -> list[str]:
    """The warnings about limits of a fit."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(make_model(), *others, monitor(folder, **options), epochs=epochs)
    return [str(w.message) for w in caught if w.category is RuntimeWarning and "above the limit" in str(w.message)]


@pytest.fixture(scope="module")
def shares(tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    """The share on the block after 0 to 5 epochs, by a fit without limits: it grows."""
    folder = tmp_path_factory.mktemp("free")
    assert watched(folder) == []
    _, values = open_run(folder).scalar("lrp/mask_mass/block")
    assert (np.diff(values) > 0.01).all()
    assert open_run(folder).meta["alerts"] == {}
    return values.tolist()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"alert": {"stamp": 0.2}}, "alert: 'stamp' is no mask of the probes; there are 'block'"),
        ({"alert": {"block": 0}}, "alert: the limit of 'block' is 0; expected the share"),
        ({"alert": {"block": 1.01}}, "the limit of 'block' is 1.01"),
        ({"alert": {"block": 25}}, "the limit of 'block' is 25"),
        ({"alert": {"block": float("nan")}}, "the limit of 'block' is nan"),
        ({"alert": {}}, "alert={}: expected limits by mask"),
        ({"stop_on_alert": True}, "stop_on_alert=True needs a limit to stop at"),
    ],
)
def test_limits_are_checked_when_the_monitor_is_made(tmp_path: Path, options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        LRPMonitor(make_probes(), tmp_path, **options)
    for wrong in (True, "0.5", None):
        with pytest.raises(TypeError, match=f"the limit of 'block' is {wrong!r}"):
            LRPMonitor(make_probes(), tmp_path, alert={"block": wrong})  # type: ignore[dict-item]  # the mistakes
    assert list(tmp_path.iterdir()) == []


def test_probes_without_masks_say_how_to_give_some(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'stamp' is no mask of the probes; there are none; give some: ProbeSet"):
        LRPMonitor(ProbeSet(data()[0][:2]), tmp_path, alert={"stamp": 0.2})


def test_a_crossing_is_reported_once_with_mask_share_limit_and_step(tmp_path: Path, shares: list[float]) -> None:
    limit = round((shares[1] + shares[2]) / 2, 4)
    probes = make_probes(masks={"block": np.s_[0:6, 1:4], "edge": np.s_[0:8, 6:8]})
    messages = watched(tmp_path, probes=probes, alert={"block": limit, "edge": 0.99})
    assert messages == [
        f"LRPMonitor: {100 * shares[2]:.1f} % of the positive relevance lies on 'block' at epoch 2, "
        f"above the limit of {100 * limit:g} %"
    ]
    run = open_run(tmp_path)
    assert run.meta["alerts"] == {"block": limit, "edge": 0.99}
    assert places(tmp_path) == epochs_of(0, 1, 2, 3, 4, 5)
    assert [len([n for n in run.record(s).notes if n.startswith("alert: ")]) for s in run.steps] == [0, 0, 1, 0, 0, 0]
    np.testing.assert_allclose(run.scalar("lrp/mask_mass/block")[1], shares, rtol=1e-6)


def test_each_mask_has_its_own_limit_and_its_own_warning(tmp_path: Path, shares: list[float]) -> None:
    probes = make_probes(masks={"block": np.s_[0:6, 1:4], "all": np.s_[0:8, 0:8]})
    messages = watched(tmp_path, probes=probes, alert={"block": (shares[3] + shares[4]) / 2, "all": 0.5})
    assert len(messages) == 2
    assert "100.0 % of the positive relevance lies on 'all' at epoch 0, above the limit of 50 %" in messages[0]
    assert "on 'block' at epoch 4" in messages[1]


def test_stop_on_alert_ends_the_fit_at_the_epoch_that_crosses(tmp_path: Path, shares: list[float]) -> None:
    limit = (shares[1] + shares[2]) / 2
    assert len(watched(tmp_path, alert={"block": limit}, stop_on_alert=True, epochs=9)) == 1
    assert places(tmp_path) == epochs_of(0, 1, 2)
    run = open_run(tmp_path)
    assert run.scalar("lrp/mask_mass/block")[1][-1] == pytest.approx(shares[2], rel=1e-6)
    assert "training is stopped by stop_on_alert" in run.record(2).notes


def test_stop_on_alert_inside_an_epoch_logs_the_last_state(tmp_path: Path, shares: list[float]) -> None:
    free = tmp_path / "free"
    watched(free, batches=3)
    steps, values = open_run(free).scalar("lrp/mask_mass/block")
    assert steps.tolist() == [0, 3, 6, 9, 12, 15, 18, 21, 24, 25]
    limit = (values[2] + values[3]) / 2  # crossed at batch 9, the fourth of the second epoch
    stopped = tmp_path / "stopped"
    messages = watched(stopped, batches=3, alert={"block": limit}, stop_on_alert=True)
    assert len(messages) == 1
    assert "at batch 9" in messages[0]
    # The log after batch 9 is taken as batch 10 begins; Keras stops after that one.
    assert places(stopped) == [(0, 0, 0), (3, 0, 3), (6, 1, 6), (9, 1, 9), (10, 2, 10)]
    run = open_run(stopped)
    assert run.record(10).gradient_batch == 10
    assert run.record(10).scalars["gradients/norm"] > 0


def test_the_state_before_training_warns_but_does_not_stop(tmp_path: Path, shares: list[float]) -> None:
    messages = watched(tmp_path, alert={"block": shares[0] / 2}, stop_on_alert=True)
    assert len(messages) == 1
    assert "at epoch 0" in messages[0]
    # Still above after the first epoch: no new crossing, but now there is something to stop.
    assert places(tmp_path) == epochs_of(0, 1)


def test_a_share_that_falls_and_rises_again_crosses_again() -> None:
    alerts = Alerts({"stamp": 0.25}, {"stamp": 8})
    seen = []
    for step, share in enumerate([0.1, 0.25, 0.26, 0.4, None, 0.5, 0.2, 0.3]):
        scalars = {} if share is None else {"lrp/mask_mass/stamp": share}
        seen.append((len(alerts.crossed(scalars, f"epoch {step}")), alerts.any_above))
    assert seen == [
        (0, False), (0, False), (1, True), (0, True), (0, True), (0, True), (0, False), (1, True)
    ]  # fmt: skip
