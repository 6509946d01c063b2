"""compare(): limits, masks, what cannot be compared, and how a comparison is reported."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from regression_helpers import RULES, checks_of, make_snapshot

import lrp_monitor as lrp
from lrp_monitor import BaselineError, compare
from lrp_monitor.regression.tiers import TIERS, limits_of
from lrp_monitor.store.format import ProbeInfo, StepRecord
from lrp_monitor.store.writer import RunWriter


def moved(snapshot, probes, by=1.0, seed=9):
    """The maps of the first `probes` probes mixed with noise."""
    maps = snapshot.heatmaps.copy()
    maps[:probes] += by * np.random.default_rng(seed).normal(size=maps[:probes].shape)
    return replace(snapshot, heatmaps=maps)


def stamped(snapshot, share, box=np.s_[:, :2, :2]):
    """Positive relevance put in a box so that it holds about `share` of it."""
    maps = snapshot.heatmaps.copy()
    maps[box] = 0
    positive = np.where(maps > 0, maps, 0).sum(axis=(1, 2))
    maps[box] = (positive * share / (1 - share) / 4)[:, None, None]
    return replace(snapshot, heatmaps=maps)


@pytest.mark.parametrize("tier", TIERS)
def test_the_same_snapshot_is_within_every_tier(tier):
    found = compare(make_snapshot(), make_snapshot(), tier=tier, masks={"stamp": (0, 0, 2, 2)})
    assert found.ok
    assert not found.failed.any()
    assert found.summary()["cosine"] == pytest.approx(1)
    assert checks_of(found)["mask stamp"]


def test_one_probe_that_moves_fails_the_strict_tier():
    now = moved(make_snapshot(), 1, by=0.01)
    found = compare(make_snapshot(), now)
    assert checks_of(found) == {"maps": False, "logits": True}
    assert found.failed.tolist() == [True] + [False] * 7
    assert found.metrics["relative_l2"][0] > 1e-3
    assert found.worst_first[0] == 0


def test_a_share_of_the_probes_may_fail_rounded_down():
    before = make_snapshot(n=15)
    assert compare(before, moved(before, 3), relative_l2=None, cosine=0.99, failing=0.2).ok
    assert not compare(before, moved(before, 4), relative_l2=None, cosine=0.99, failing=0.2).ok
    assert not compare(before, moved(before, 3), relative_l2=None, cosine=0.99, failing=0.19).ok
    hundred = make_snapshot(n=100)
    assert 0.29 * 100 < 29  # as floats
    assert compare(hundred, moved(hundred, 29), relative_l2=None, cosine=0.99, failing=0.29).ok


def test_logits_have_no_exceptions():
    before = make_snapshot()
    logits = before.logits.copy()
    logits[3, 1] += 0.2 * np.sqrt(np.mean(logits**2))
    found = compare(before, replace(before, logits=logits), tier="mixed_precision", failing=1.0)
    assert checks_of(found) == {"maps": True, "logits": False}
    assert found.metrics["logits"][3] == pytest.approx(0.2, rel=1e-4)


def test_flips_are_counted_in_whole_probes():
    before = make_snapshot(n=20)
    predictions = before.predictions.copy()
    predictions[:2] = (predictions[:2] + 1) % 4
    now = replace(before, predictions=predictions)
    assert compare(before, now, tier="retrained").ok  # 10 % of 20
    found = compare(before, now, tier="fine_tuned")  # 5 % of 20
    assert checks_of(found)["classes"] is False
    assert "2 of 20 predicted classes changed (1 may)" in str(found)


def test_a_mask_may_lose_relevance_but_not_gain_it():
    before, now = stamped(make_snapshot(), 0.05), stamped(make_snapshot(), 0.30)
    loose = {"tier": "retrained", "iou": None, "js": None, "masks": {"stamp": (0, 0, 2, 2)}}
    found = compare(before, now, **loose)
    assert not found.ok
    assert checks_of(found)["mask stamp"] is False
    line = next(line for line in str(found).splitlines() if "stamp" in line)
    assert found.risen("stamp").all()
    assert re.search(r"5\.0 -> 30\.0\*", str(found))
    assert "FAIL" in line
    assert "5.0 % -> 30.0 %" in line
    assert compare(now, before, **loose).ok
    assert compare(before, now, mask_mass=0.26, **loose).ok
    assert compare(before, now, mask_mass={"stamp": 0.26}, **loose).ok
    assert not compare(before, now, mask_mass={"stamp": 0.24}, **loose).ok
    assert compare(before, now, mask_mass={"stamp": None}, **loose).ok


def test_masks_of_the_probes_are_looked_at_unless_others_are_named():
    stamp, shape = np.zeros((8, 10, 10), bool), np.zeros((8, 10, 10), bool)
    stamp[:, :2, :2], shape[:, 4:, 4:] = True, True
    own = replace(make_snapshot(), masks={"stamp": stamp, "shape": shape})
    assert set(compare(own, own).mask_mass) == {"stamp", "shape"}
    assert set(compare(own, own, masks=["stamp"]).mask_mass) == {"stamp"}
    assert set(compare(own, own, masks="shape").mask_mass) == {"shape"}
    assert set(compare(own, own, masks=()).mask_mass) == set()
    with pytest.raises(ValueError, match="no mask 'stmp'; there are stamp, shape"):
        compare(own, own, masks=["stmp"])
    with pytest.raises(ValueError, match="mask_mass names 'stmp', but the masks are: stamp, shape"):
        compare(own, own, mask_mass={"stmp": 0.1})


def test_a_mask_on_some_probes_is_averaged_over_those():
    before, now = stamped(make_snapshot(), 0.0001), stamped(make_snapshot(), 0.4)
    mask = np.zeros((8, 10, 10), bool)
    mask[:2, :2, :2] = True
    found = compare(before, now, masks={"stamp": mask})
    assert np.isfinite(found.mask_mass["stamp"][1]).tolist() == [True, True] + [False] * 6
    assert found.summary()["mask_mass/stamp"] == pytest.approx(0.4, abs=1e-3)


def test_a_mask_that_nothing_can_be_measured_in_fails():
    negative = replace(make_snapshot(), heatmaps=-np.ones((8, 10, 10), np.float32))
    found = compare(negative, negative, masks={"stamp": (0, 0, 2, 2)})
    assert checks_of(found) == {"maps": True, "logits": True, "mask stamp": False}
    # 2 x 2 of 10 x 10 pixels
    assert (
        "FAIL mask stamp  not to be judged: none of 8 probes has enough positive relevance both times; of all "
        "|relevance| 4.0 % -> 4.0 %"
    ) in str(found)


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_maps_that_are_not_finite_fail_whatever_may_fail(value):
    maps = make_snapshot().heatmaps.copy()
    maps[5, 0, 0] = value
    found = compare(make_snapshot(), replace(make_snapshot(), heatmaps=maps), tier="retrained", failing=1.0)
    assert not found.ok
    assert "NaN or infinity in the heatmaps of 'probe 5'" in str(found)
    assert found.worst_first[0] == 5
    json.loads(found.to_json(), parse_constant=pytest.fail)


def test_limits_are_arguments_and_checked():
    assert limits_of("same_weights", {"cosine": 0.5}).cosine == 0.5
    assert limits_of("same_weights", {"cosine": 0.5}).relative_l2 == 1e-3
    for wrong, error, message in (
        ({"cosin": 0.5}, ValueError, "no limit 'cosin'.*did you mean 'cosine'"),
        ({"cosine": 1.5}, ValueError, "cosine=1.5: expected a number between -1 and 1"),
        ({"failing": None}, TypeError, "failing=None"),
        ({"js": "low"}, TypeError, "js='low'"),
        ({"iou": True}, TypeError, "iou=True"),
        ({"logits": float("nan")}, ValueError, "logits=nan"),
        ({"mask_mass": {"stamp": -1}}, ValueError, "mask_mass=-1"),
    ):
        with pytest.raises(error, match=message):
            compare(make_snapshot(), make_snapshot(), **wrong)
    with pytest.raises(ValueError, match=r"tier='retraind' is not one of .*did you mean 'retrained'"):
        compare(make_snapshot(), make_snapshot(), tier="retraind")


def test_what_cannot_be_compared_is_an_error_of_its_own():
    before = make_snapshot()
    other_input = replace(before, digests=(*before.digests[:6], "0" * 16, "1" * 16))
    reordered = replace(before, digests=before.digests[::-1])
    classes = replace(before, targets=np.where(np.arange(8) == 2, 3, before.targets))
    for now, kind, message in (
        (make_snapshot(n=7), "probes", "7 probes, the baseline has 8"),
        (make_snapshot(side=9), "probes", r"maps \(8, 9, 9\), the baseline's \(8, 10, 10\)"),
        (other_input, "probes", "the input is not the same at 'probe 6', 'probe 7'"),
        (reordered, "probes", "the probes come in another order"),
        (replace(before, meta={"composite_rules": [RULES[0], "  convolutions  Gamma(0.25)"]}), "composite",
         r"now convolutions Gamma\(0.25\), in the baseline convolutions ZPlus\(epsilon=1e-06\)"),
        (classes, "classes", "another class is explained at 'probe 2': 3, in the baseline 2"),
        (replace(before, logits=np.zeros((8, 5), np.float32)), "classes", "5 outputs, in the baseline 4"),
    ):  # fmt: skip
        with pytest.raises(BaselineError, match=message) as caught:
            compare(before, now)
        assert caught.value.kind == kind
        assert "To mend: " in str(caught.value)


def test_the_options_of_a_composite_count_as_well():
    options = {"attention": "attn_lrp", "norm": "epsilon"}
    before = make_snapshot(meta={"composite_rules": RULES, "composite_options": options})
    newer = make_snapshot(meta={"composite_rules": RULES, "composite_options": options | {"unheard_of": "yes"}})
    assert compare(before, newer).ok
    assert compare(newer, before).ok
    now = make_snapshot(meta={"composite_rules": RULES, "composite_options": options | {"attention": "cp_lrp"}})
    with pytest.raises(BaselineError, match="now attention=cp_lrp, in the baseline attention=attn_lrp"):
        compare(before, now)


def test_renamed_probes_and_other_versions_are_no_failure():
    before = make_snapshot(meta={"weights": "a", "architecture": "b", "versions": {"keras": "3.1", "numpy": "2"}})
    now = make_snapshot(
        names=tuple("abcdefgh"),
        meta={"weights": "c", "architecture": "b", "versions": {"keras": "3.2", "numpy": "2"}},
    )
    found = compare(before, now)
    assert found.ok
    assert found.notes == (
        "the weights are not the same: after training, choose tier fine_tuned or retrained",
        "versions: keras 3.1 -> 3.2",
    )


def test_what_is_no_source_is_refused():
    with pytest.raises(TypeError, match=r"Snapshot.of\(model, probes\) explains a model"):
        compare(make_snapshot(), 3)


def write_run(folder, snapshot, steps):
    probes = ProbeInfo(
        names=list(snapshot.names), labels=snapshot.labels, class_names=None, images=snapshot.images, masks={},
        map_shape=snapshot.heatmaps.shape[1:], hash=snapshot.meta["probes_hash"],
    )  # fmt: skip
    meta = {"composite": "epsilon_plus", "composite_rules": "\n".join(RULES)}
    writer = RunWriter(folder / "lrp", probes, meta=meta)
    for step, maps in steps.items():
        statistics = {"logit": snapshot.logit, "target": snapshot.targets, "prediction": snapshot.predictions}
        columns = {name: np.asarray(value, np.float64) for name, value in statistics.items()}
        writer.append(StepRecord(step, step, step, 0.0, heatmaps=maps, probes=columns))
    writer.close()


def test_runs_and_baselines_are_sources(tmp_path):
    snapshot = make_snapshot()
    write_run(tmp_path / "run", snapshot, {0: -snapshot.heatmaps, 5: snapshot.heatmaps})
    snapshot.save(tmp_path / "base")
    for source in (tmp_path / "run", lrp.open_run(tmp_path / "run"), (tmp_path / "run", 5)):
        found = compare(tmp_path / "base", source, tier="fine_tuned", iou=0.9)
        assert found.ok, str(found)
        assert 0 < found.metrics["relative_l2"].max() < 0.02  # the run's maps are int8
        assert found.metrics["logits"].max() == 0
    backwards = compare(str(tmp_path / "base.json"), (tmp_path / "run", 0))
    assert backwards.metrics["cosine"].max() < -0.999
    other = replace(snapshot, digests=None, meta={**snapshot.meta, "probes_hash": "cd" * 32})
    with pytest.raises(BaselineError, match="its hash is abababababab, that of the other cdcdcdcdcdcd"):
        compare(other, tmp_path / "run")


def test_the_table_is_short_and_cannot_steer_a_terminal():
    names = (f"\x1b[2J\n{'x' * 300}", *(f"probe {i}\t" for i in range(99)))
    before = make_snapshot(n=100, names=names)
    masks = {f"mask {i}\x07": np.s_[i : i + 1, :] for i in range(10)}
    masks |= {f"more {i}": (0, 0, 5, 5) for i in range(10)}
    text = str(compare(before, moved(before, 100, by=20), tier="retrained", masks=masks, mask_mass=0.0))
    assert len(text.splitlines()) <= 30
    assert all(char.isprintable() for line in text.splitlines() for char in line)
    assert max(map(len, text.splitlines())) <= 230
    assert text.startswith("heatmaps CHANGED: 100 probes, tier retrained\n  FAIL maps ")


def test_json_holds_every_number():
    before = make_snapshot()
    found = compare(before, moved(before, 2), masks={"stamp": (0, 0, 2, 2)})
    parsed = json.loads(found.to_json())
    assert parsed["ok"] is False
    assert parsed["limits"]["relative_l2"] == 1e-3
    assert [row["failed"] for row in parsed["probes"]] == [True, True] + [False] * 6
    assert parsed["probes"][0]["cosine"] == found.metrics["cosine"][0]
    assert parsed["probes"][0]["beyond"] == ["relative_l2", "cosine"]
    assert parsed["probes"][7]["mask_mass"]["stamp"] == [values[7] for values in found.mask_mass["stamp"]]
    assert parsed["summary"]["failing"] == 0.25
