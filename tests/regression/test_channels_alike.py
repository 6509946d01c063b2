"""Baselines that pin which channels of a layer lead: kept in the files, and compared by the limit of a tier."""

import json

import keras
import numpy as np
import pytest
from keras import layers
from regression_helpers import checks_of, make_snapshot

import lrp_monitor as lrp
from lrp_monitor.regression import BaselineError, Snapshot, compare

RELEVANCE = np.float32([[8, 1, 1, -3], [8, 1, 1, 0], [0, 5, 5, 0], [0, 5, 5, 0]])
TARGETS = np.array([0, 0, 1, 1])


def snapshot(relevance, **more):
    made = make_snapshot(n=4, targets=TARGETS, **more)
    return Snapshot(**{**vars(made), "features": {"conv": np.float32(relevance)}})


@pytest.mark.parametrize(
    ("tier", "to", "ok"),
    [
        ("same_weights", 8.0, True),
        ("same_weights", 8.2, False),  # from 80 to 80.4 %
        ("mixed_precision", 8.2, True),
        ("mixed_precision", 9.0, False),  # to 81.8 %
        ("fine_tuned", 9.0, True),
        ("fine_tuned", 14.0, False),  # to 87.5 %
        ("retrained", 14.0, True),  # other units: no limit
    ],
)
def test_shares_of_leading_channels_have_a_limit_by_tier(tier, to, ok):
    now = RELEVANCE.copy()
    now[:2, 0] = to
    found = compare(snapshot(RELEVANCE), snapshot(now), tier=tier)
    assert found.ok is ok
    (check,) = [check for check in found.checks if check.name == "channels conv"]
    assert check.ok is ok
    assert check.limited == (tier != "retrained")
    if to != 8.0:
        assert f"channel 0 of class 0 from 80.0 % to {100 * to / (to + 2):.1f} %" in check.text


def test_the_limit_is_an_argument_and_a_layer_of_another_width_fails():
    now = RELEVANCE.copy()
    now[:2, 0] = 9.0
    assert not checks_of(compare(snapshot(RELEVANCE), snapshot(now), tier="retrained", channel_share=0.01))[
        "channels conv"
    ]
    found = compare(snapshot(RELEVANCE), snapshot(RELEVANCE[:, :3]))
    assert "3 channels, in the baseline 4" in str(found)
    assert not found.ok
    with pytest.raises(ValueError, match="limit channel_share=2"):
        compare(snapshot(RELEVANCE), snapshot(now), channel_share=2)


def test_it_is_kept_in_the_files(tmp_path):
    before = snapshot(RELEVANCE)
    before.save(tmp_path / "a")
    read = Snapshot.load(tmp_path / "a")
    np.testing.assert_array_equal(read.features["conv"], RELEVANCE)
    assert read.to_dict()["features"] == {"conv": 4}
    # A baseline without says nothing of them in its file, and cannot be asked for them.
    make_snapshot(n=4, targets=TARGETS).save(tmp_path / "b")
    assert "features" not in json.loads((tmp_path / "b.json").read_text())
    with pytest.raises(BaselineError, match="holds no relevance by channel of conv"):
        compare(Snapshot.load(tmp_path / "b"), before)


def test_a_model_is_asked_for_layers():
    keras.utils.set_random_seed(0)
    net = keras.Sequential(
        [keras.Input((4, 4, 1)), layers.Conv2D(3, 3, activation="relu", name="c"), layers.Flatten(), layers.Dense(2)]
    )
    probes = lrp.ProbeSet(np.random.default_rng(0).uniform(size=(3, 4, 4, 1)).astype(np.float32), labels=[0, 1, 1])
    explainer = lrp.Explainer(net, "epsilon")
    found = Snapshot.of(explainer, probes, features="c")
    inspected = explainer.inspect(probes.inputs, probes.labels)["c"]
    np.testing.assert_allclose(found.features["c"], inspected.channels, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(found.heatmaps, Snapshot.of(explainer, probes).heatmaps, rtol=1e-5, atol=1e-7)
    with pytest.raises(ValueError, match="runs no layer 'd'; its layers"):
        Snapshot.of(explainer, probes, features=["d"])
