"""Baselines of outputs of maps: what is explained is a region, and what is predicted is a map of classes."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import keras
import numpy as np
import pytest
from project_helpers import run
from regression_helpers import checks_of, make_snapshot

import lrp_monitor as lrp
from lrp_monitor import BaselineError, ProbeSet, Snapshot, compare
from lrp_monitor.cli import main
from lrp_monitor.engine.targets import Difference, Outputs, Region
from lrp_monitor.regression import baseline
from lrp_monitor.regression.places import Places, region_digests

pytest_plugins = ["pytester"]

N, SIDE = 4, 6
INPUTS = np.random.default_rng(0).normal(size=(N, SIDE, SIDE, 1)).astype(np.float32)
LABELS = (INPUTS[..., 0] > 0).astype(np.int64)
BOX = np.zeros((SIDE, SIDE), bool)
BOX[1:3, 2:5] = True
REGION = Region(np.s_[1:3, 2:5], of=2)


def network(seed=0, bias="zeros"):
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 1)),
            keras.layers.Conv2D(4, 3, padding="same", activation="relu"),
            keras.layers.Conv2D(3, 1, bias_initializer=bias, activation="softmax"),
        ]
    )


def logits_of(model, inputs=INPUTS):
    return np.log(model.predict(inputs, verbose=0).astype(np.float64))


@pytest.fixture(scope="module")
def model():
    return network()


@pytest.fixture(scope="module")
def probes():
    return ProbeSet(INPUTS, labels=LABELS, target=REGION, class_names=["ground", "disk", "ring"])


@pytest.fixture(scope="module")
def snapshot(model, probes):
    return Snapshot.of(model, probes, "epsilon")


def by_hand(predicted, region=None, **changes):
    """Two probes of 4 x 4 places with these predicted classes; the region is the upper left quarter."""
    where = np.zeros((2, 4, 4), bool)
    where[:, :2, :2] = True
    where = where if region is None else region
    made = make_snapshot(n=2, side=4, classes=3)
    return replace(
        made,
        predictions=np.full(2, -1),
        explained=region_digests(where, made.targets),
        places=Places(where, np.asarray(predicted)),
        meta={**made.meta, "explains": "region"},
        **changes,
    )


def test_a_probe_flips_by_the_larger_share_of_the_places_in_its_region_and_around_it():
    before = np.zeros((2, 4, 4), np.int64)
    now = before.copy()
    now[0, 0, 0] = 2  # 1 of 4 places of the region, none of 12 outside
    now[1, 3, :3] = 1  # none of the region, 3 of 12 outside
    now[1, 0, 1] = 1  # and 1 of 4 of the region
    found = compare(by_hand(before), by_hand(now), tier="retrained", places=0.25)
    np.testing.assert_allclose(by_hand(before).places.changed(by_hand(now).places), [[0.25, 0], [0.25, 0.25]])
    assert found.metrics["places"].tolist() == [0.25, 0.25]
    assert found.ok
    assert not found.flipped.any()
    now[1, 3, 3] = 1  # 4 of 12
    found = compare(by_hand(before), by_hand(now), tier="retrained", places=0.25)
    assert found.metrics["places"].tolist() == [0.25, pytest.approx(1 / 3)]
    assert found.flipped.tolist() == [False, True]
    assert checks_of(found)["classes"] is False
    assert found.summary()["flips"] == 0.5
    assert (
        "1 of 2 predicted maps changed at more than 25 % of the places (0 may), most at 'probe 1': 25.0 % of the "
        in (text := str(found))
    )
    assert "33.3 % outside of it" in text
    assert "33.3*" in text.splitlines()[-2]
    assert compare(by_hand(before), by_hand(now), tier="retrained", places=0.25, flips=0.5).ok
    assert compare(by_hand(before), by_hand(now), tier="retrained", places=None).ok
    # Without a region every place counts alike: 1 of 16, 5 of 16.
    unknown = [replace(by_hand(maps), places=Places(None, maps), explained=None) for maps in (before, now)]
    assert compare(*unknown).metrics["places"].tolist() == [1 / 16, 5 / 16]
    assert found.to_dict()["probes"][1]["beyond"] == ["places"]


def test_maps_of_numbers_have_no_flips():
    before, now = (replace(by_hand(np.zeros((2, 4, 4))), places=Places(None, None), explained=None) for _ in range(2))
    found = compare(before, now)
    assert found.ok
    assert "classes" not in checks_of(found)
    assert "places" not in found.metrics


def test_a_snapshot_holds_the_region_its_logits_and_all_predictions(model, probes, snapshot):
    logits = logits_of(model)
    # A softmax's logits are known up to a constant: differences of classes are compared.
    sums = logits[:, BOX].sum(axis=1)
    np.testing.assert_allclose(
        snapshot.logits[:, :2] - snapshot.logits[:, 2:], sums[:, :2] - sums[:, 2:], rtol=1e-4, atol=1e-4
    )
    np.testing.assert_allclose(snapshot.logit, snapshot.logits[:, 2], rtol=1e-6)
    np.testing.assert_array_equal(snapshot.places.predicted, logits.argmax(axis=-1))
    np.testing.assert_array_equal(snapshot.places.region, np.broadcast_to(BOX, (N, SIDE, SIDE)))
    np.testing.assert_array_equal(snapshot.places.labels, LABELS)
    assert snapshot.targets.tolist() == [2] * N
    assert snapshot.explains == "region"
    expected = lrp.relevance(model, INPUTS, REGION, "epsilon")
    np.testing.assert_array_equal(snapshot.heatmaps, expected[..., 0])
    assert snapshot.to_dict()["region_places"] == [6] * N


def test_a_baseline_of_a_region_is_read_as_it_was_and_older_versions_say_that_they_cannot(
    tmp_path, snapshot, monkeypatch
):
    snapshot.save(tmp_path / "first")
    read = Snapshot.load(tmp_path / "first")
    for name in ("region", "predicted", "labels"):
        np.testing.assert_array_equal(getattr(read.places, name), getattr(snapshot.places, name))
    assert read.explained == snapshot.explained
    assert compare(read, snapshot).ok
    about = json.loads((tmp_path / "first.json").read_text())
    assert about["format"] == 2
    assert about["places"] == [SIDE, SIDE]
    make_snapshot().save(tmp_path / "classes")
    assert json.loads((tmp_path / "classes.json").read_text())["format"] == 1
    monkeypatch.setattr(baseline, "FORMAT", 1)
    with pytest.raises(BaselineError, match=r"first\.json: written in format 2, this version reads up to 1") as caught:
        Snapshot.load(tmp_path / "first")
    assert caught.value.kind == "version"
    assert Snapshot.load(tmp_path / "classes").places is None


def test_one_region_in_two_spellings_is_the_same_and_another_is_refused(model, probes, snapshot):
    mask = ProbeSet(INPUTS, target=Region(np.broadcast_to(BOX, (N, SIDE, SIDE)), of=[2] * N))
    weights = np.zeros((SIDE, SIDE, 3))
    weights[BOX, 2] = 1
    for same in (mask, ProbeSet(INPUTS, target=Outputs(weights))):
        assert compare(snapshot, Snapshot.of(model, same, "epsilon")).ok
    for other in (Region(np.s_[1:3, 2:4], of=2), Region(np.s_[1:3, 2:5], of=1), Outputs(weights * 2)):
        with pytest.raises(BaselineError, match="another region is explained at 'probe 0', 'probe 1', 'probe 2'"):
            compare(snapshot, Snapshot.of(model, ProbeSet(INPUTS, target=other), "epsilon"))
    # The same inputs, one a classifier's: nothing of the two can be compared.
    with pytest.raises(BaselineError, match="what is explained is a class, in the baseline a region"):
        compare(snapshot, replace(snapshot, explained=None, places=None, meta={**snapshot.meta, "explains": None}))


def test_a_difference_of_classes_is_compared(tmp_path):
    keras.utils.set_random_seed(1)
    flat = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3), keras.layers.Softmax()])
    made = Snapshot.of(flat, ProbeSet(INPUTS[:, 0, :, 0], target=Difference(2, 0)), "epsilon")
    np.testing.assert_allclose(made.logit, made.logits[:, 2] - made.logits[:, 0], rtol=1e-5)
    made.save(tmp_path / "difference")
    read = Snapshot.load(tmp_path / "difference")
    assert read.places is None
    assert compare(read, made).ok
    with pytest.raises(BaselineError, match=r"another region is explained.*weights of the output"):
        compare(read, Snapshot.of(flat, ProbeSet(INPUTS[:, 0, :, 0], target=Difference(2, 1)), "epsilon"))


def test_what_was_predicted_is_explained_again_in_another_model(model):
    unnamed = ProbeSet(INPUTS)
    before = Snapshot.of(model, unnamed, "epsilon")
    predicted = logits_of(model).argmax(axis=-1)
    of = np.array([np.bincount(one.ravel()).argmax() for one in predicted])
    np.testing.assert_array_equal(before.places.region, predicted == of[:, None, None])
    now = Snapshot.of(network(seed=5), unnamed, "epsilon", target=before.target_for(unnamed))
    np.testing.assert_array_equal(now.places.region, before.places.region)
    assert not compare(before, now).ok
    with pytest.raises(BaselineError, match="another region is explained"):
        compare(before, Snapshot.of(network(seed=5), unnamed, "epsilon"))
    small = ProbeSet(INPUTS[:, :4, :4])
    keras.utils.set_random_seed(0)
    other = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Conv2D(3, 3)])
    with pytest.raises(BaselineError, match=r"not one of this model: Region: the mask has shape \(4, 6, 6\)"):
        Snapshot.of(other, small, "epsilon", target=before.target_for(small))


def test_the_page_shows_labels_and_both_predictions(tmp_path, snapshot):
    now = replace(snapshot, places=replace(snapshot.places, predicted=(snapshot.places.predicted + 1) % 3))
    found = compare(snapshot, now)
    assert checks_of(found)["classes"] is False
    found.write_html(tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    heads = re.findall(r'class="picture">([^<]+)<', text)
    assert heads == ["input", "labels", "predicted before", "predicted now", "before", "now", "difference"]
    for name in heads:
        assert text.count(f'<img alt="{name} of probe') == N
    assert "places %" in text
    assert ">100.0*</td>" in text
    assert "</span>" in text
    assert "ring</span>" in text


def test_a_fit_is_compared_with_a_baseline_and_its_run_with_the_model(tmp_path, capsys):
    trained = network(seed=3)
    trained.compile(keras.optimizers.Adam(0.05), "sparse_categorical_crossentropy")
    unnamed = ProbeSet(INPUTS, labels=LABELS, target="predicted")
    first = Snapshot.of(trained, unnamed)
    first.save(tmp_path / "base")
    monitor = lrp.LRPMonitor(unnamed, tmp_path / "run", baseline=tmp_path / "base", verbose=0, gradients="off")
    trained.fit(INPUTS, LABELS, epochs=2, verbose=0, callbacks=[monitor])
    logged = lrp.open_run(tmp_path / "run")
    assert logged.scalar("lrp/baseline/places")[1][0] == 0
    now = Snapshot.of(trained, unnamed, target=first.target_for(unnamed))
    shares = first.places.changed(now.places).max(axis=1)
    assert logged.scalar("lrp/baseline/places")[1][-1] == pytest.approx(shares.mean())
    assert logged.scalar("lrp/baseline/cosine")[1][0] > 0.999
    found = compare(logged, now, tier="mixed_precision")
    assert found.ok, str(found)
    np.testing.assert_array_equal(Snapshot.of_run(logged).places.predicted, now.places.predicted)
    trained.save(tmp_path / "now.keras")
    unnamed.save(tmp_path / "probes.npz")
    given = ["--probes", str(tmp_path / "probes.npz"), "--html", str(tmp_path / "page.html")]
    compared = ["compare", str(tmp_path / "run"), str(tmp_path / "now.keras"), *given]
    assert main([*compared, "--tier", "mixed_precision"]) == 0
    assert "predicted maps changed at more than 5 % of the places" in capsys.readouterr().out
    assert main(["compare", str(tmp_path / "base"), str(tmp_path / "now.keras"), *given, "--json"]) == 3
    row = json.loads(capsys.readouterr().out)["probes"][0]
    assert row["places"] == pytest.approx(shares[0])
    assert main(["baseline", "create", str(tmp_path / "kept"), str(tmp_path / "run")]) == 0
    assert compare(tmp_path / "kept", now, tier="mixed_precision").ok


def test_numbers_do_not_flip_and_keep_their_sign():
    keras.utils.set_random_seed(2)
    x = INPUTS[:, 0, :, 0]
    for units, activation, numbers in ((2, None, np.array([[1.0, 2.0]] * N)), (1, "sigmoid", np.full(N, 0.3))):
        regression = keras.Sequential([keras.Input((6,)), keras.layers.Dense(units, activation=activation)])
        given = ProbeSet(x, labels=numbers, target=0)
        before = Snapshot.of(regression, given, "epsilon")
        output = regression.predict(x, verbose=0)[:, 0]
        wanted = output if activation is None else np.log(output / (1 - output))
        np.testing.assert_allclose(before.logit, wanted, rtol=1e-4, atol=1e-5)
        turned = replace(before, predictions=1 - before.predictions, logit=before.logit + 1)
        found = compare(before, turned, tier="fine_tuned")
        assert found.ok
        assert not found.flipped.any()
        assert "classes" not in checks_of(found)
        row = found.to_dict()["probes"][0]
        assert row["value"] == pytest.approx([before.logit[0], before.logit[0] + 1])
        assert "prediction" not in row


def test_a_run_of_numbers_is_compared_and_drawn_beside_its_model(tmp_path):
    keras.utils.set_random_seed(2)
    x, numbers = INPUTS[:, 0, :, 0], np.array([[0.3, 2.0]] * N)
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    given = ProbeSet(x, labels=numbers, target=1)
    first = Snapshot.of(model, given)
    model.fit(x, numbers, verbose=0, callbacks=[lrp.LRPMonitor(given, tmp_path / "a", baseline=first, verbose=0)])
    run = lrp.open_run(tmp_path / "a")
    assert run.scalar("lrp/baseline/cosine")[1][0] == pytest.approx(1)
    assert run.scalar("lrp/baseline/flips")[1].tolist() == [0, 0]
    again = lrp.LRPMonitor(given, tmp_path / "b", baseline=run, verbose=0)
    model.fit(x, numbers, verbose=0, callbacks=[again])
    assert lrp.open_run(tmp_path / "b").scalar("lrp/baseline/cosine")[1][0] > 0.999
    found = compare((run, 0), first, tier="mixed_precision")
    assert found.ok, str(found)
    moved = compare((run, 0), run, tier="same_weights")
    assert not moved.ok
    assert re.search(r"value\n", str(moved).replace(" ", ""))
    moved.write_html(tmp_path / "page.html")
    assert ">value</button>" in (tmp_path / "page.html").read_text()


PROJECT = """
    import os
    import keras, numpy as np
    import lrp_monitor as lrp

    def test_map(lrp_baseline):
        keras.utils.set_random_seed(int(os.environ.get("SEED", 0)))
        model = keras.Sequential([keras.Input((6, 6, 1)), keras.layers.Conv2D(3, 3, padding="same")])
        probes = lrp.ProbeSet(np.random.default_rng(0).normal(size=(3, 6, 6, 1)))
        lrp_baseline.check(model, probes, tier="fine_tuned")
"""


@pytest.mark.process
def test_the_pytest_plugin_explains_the_region_of_the_baseline(project, monkeypatch):
    project.makepyfile(test_it=PROJECT)
    run(project, "--lrp-update").assert_outcomes(passed=1)
    run(project).assert_outcomes(passed=1)
    run(project, "--lrp-update").stdout.fnmatch_lines(["0 written, 1 unchanged"])
    monkeypatch.setenv("SEED", "1")
    failed = run(project, "--lrp-report-dir", "reports")
    failed.assert_outcomes(failed=1)
    failed.stdout.fnmatch_lines(["*3 of 3 predicted maps changed at more than 10 % of the places (0 may), most at*"])
    page = next((project.path / "reports").iterdir()).read_text()
    assert page.count('<img alt="predicted now of probe') == 3
    run(project, "--lrp-update").stdout.fnmatch_lines(["1 written, 0 unchanged"])
    run(project).assert_outcomes(passed=1)
