"""The pytest plugin, in test runs of its own: real files, and the entry point as pytest finds it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from project_helpers import USUAL, baselines, run, run_apart, stamps
from regression_helpers import make_snapshot

pytest_plugins = ["pytester"]

pytestmark = pytest.mark.process


def test_baselines_are_made_compared_and_left_alone(project):
    project.makepyfile(test_it=USUAL)
    run(project).assert_outcomes(failed=7)
    first = run_apart(project, "--lrp-update")
    first.assert_outcomes(passed=7)
    first.stdout.fnmatch_lines(["7 written, 0 unchanged"])
    names = {Path(name).name for name in baselines(project)}
    assert {"test_a.npz", "test_a.json", "test_many-plain.npz", "TestInside.test_b.json"} <= names
    assert len(names) == 14
    assert all(re.fullmatch(r"[A-Za-z0-9_=+-][A-Za-z0-9._=+-]*", name) for name in names)
    assert {str(Path(name).parent) for name in baselines(project)} == {"lrp_baselines/test_it"}

    before = stamps(project)
    run(project).assert_outcomes(passed=7)
    again = run_apart(project, "--lrp-update")
    again.stdout.fnmatch_lines(["0 written, 7 unchanged"])
    assert stamps(project) == before


def test_an_update_changes_only_what_changed(project, monkeypatch):
    project.makepyfile(test_it=USUAL)
    run(project, "--lrp-update")
    before = baselines(project)
    monkeypatch.setenv("SEED_b", "3")
    run(project).assert_outcomes(passed=6, failed=1)
    assert baselines(project) == before
    run(project, "--lrp-update").stdout.fnmatch_lines(
        ["written: lrp_baselines/test_it/TestInside.test_b.npz", "1 written, 6 unchanged"]
    )
    changed = {name for name, data in baselines(project).items() if data != before[name]}
    assert changed == {f"lrp_baselines/test_it/TestInside.test_b.{kind}" for kind in ("npz", "json")}
    run(project).assert_outcomes(passed=7)


def test_changed_masks_are_taken_in(project):
    project.makepyfile(
        test_it="""
        import os
        import numpy as np
        from helpers import make_snapshot

        def test_a(lrp_baseline):
            mask = np.zeros((8, 10, 10), bool)
            mask[:, :int(os.environ.get("ROWS", 2))] = True
            lrp_baseline.check(make_snapshot(masks={"stamp": mask}))
        """
    )
    run(project, "--lrp-update").stdout.fnmatch_lines(["1 written, 0 unchanged"])
    project._monkeypatch.setenv("ROWS", "3")
    run(project).assert_outcomes(passed=1)
    run(project, "--lrp-update").stdout.fnmatch_lines(["1 written, 0 unchanged"])
    run(project, "--lrp-update").stdout.fnmatch_lines(["0 written, 1 unchanged"])


@pytest.mark.parametrize("value", ["true", "1", "woodpecker"])
def test_ci_refuses_to_update(project, monkeypatch, value):
    project.makepyfile(test_it=USUAL)
    monkeypatch.setenv("CI", value)
    refused = run_apart(project, "--lrp-update")
    assert refused.ret == pytest.ExitCode.USAGE_ERROR
    refused.stderr.fnmatch_lines(["*--lrp-update is refused: CI is set*--lrp-update-in-ci forces it*"])
    assert not baselines(project)
    run(project, "--lrp-update", "--lrp-update-in-ci").assert_outcomes(passed=7)
    run(project).assert_outcomes(passed=7)


@pytest.mark.parametrize("value", ["", "false", "0"])
def test_ci_that_says_no_is_none(project, monkeypatch, value):
    project.makepyfile(test_it=USUAL)
    monkeypatch.setenv("CI", value)
    run(project, "--lrp-update").assert_outcomes(passed=7)


def test_tiers_limits_and_masks_come_from_call_marker_or_ini(project):
    project.makeini("[pytest]\nlrp_tier = fine_tuned\nlrp_baseline_dir = all/of/them\naddopts = --strict-markers")
    project.makepyfile(
        """
        import pytest
        from helpers import make_snapshot

        pytestmark = pytest.mark.lrp_baseline(tier="mixed_precision", masks={"module": (0, 0, 1, 1)}, cosine=.5)

        def limits(found):
            return found and (found.tier, set(found.mask_mass), found.limits.cosine, found.limits.relative_l2)

        def test_marked(lrp_baseline):
            assert limits(lrp_baseline.check(make_snapshot())) in (
                None, ("mixed_precision", {"module"}, .5, 5e-2))

        @pytest.mark.lrp_baseline(tier="retrained", relative_l2=None)
        def test_nearest(lrp_baseline):
            assert limits(lrp_baseline.check(make_snapshot())) in (None, ("retrained", {"module"}, .5, None))

        def test_called(lrp_baseline):
            found = lrp_baseline.check(make_snapshot(), tier="same_weights", masks={"call": (0, 0, 1, 1)}, cosine=.7)
            assert limits(found) in (None, ("same_weights", {"call"}, .7, 1e-3))
        """
    )
    project.makepyfile(
        test_ini="""
        from helpers import make_snapshot

        def test_ini(lrp_baseline):
            found = lrp_baseline.check(make_snapshot())
            assert found is None or found.tier == "fine_tuned"
        """
    )
    run(project, "--lrp-update").assert_outcomes(passed=4)
    run(project).assert_outcomes(passed=4)
    assert (project.path / "all/of/them/test_ini/test_ini.npz").is_file()
    run(project, "--markers").stdout.fnmatch_lines(["@pytest.mark.lrp_baseline(tier=*"])


def test_under_xdist_every_worker_tells_what_it_wrote(project, monkeypatch):
    project.makepyfile(test_it=USUAL)
    parallel = ("-p", "xdist", "-n", "2")
    first = run_apart(project, *parallel, "--lrp-update")
    first.assert_outcomes(passed=7)
    first.stdout.fnmatch_lines(["written: lrp_baselines/test_it/test_a.npz", "7 written, 0 unchanged"])
    monkeypatch.setenv("SEED_a", "1")
    failed = run_apart(project, *parallel)
    failed.assert_outcomes(passed=6, failed=1)
    failed.stdout.fnmatch_lines(["*test_it.py:16: heatmaps CHANGED*", "*pytest --lrp-update test_it.py::test_a"])
    monkeypatch.setenv("CI", "true")
    assert run_apart(project, *parallel, "--lrp-update").ret == pytest.ExitCode.USAGE_ERROR


def test_other_peoples_tests_pay_nothing(project):
    project.makepyfile(
        """
        import sys

        def test_it():
            heavy = {"tensorflow", "keras", "numpy", "PIL", "tensorboard", "google_crc32c"} & set(sys.modules)
            assert heavy == set()
            ours = sorted(name for name in sys.modules if name.startswith("lrp_monitor"))
            assert ours == ["lrp_monitor", "lrp_monitor.regression", "lrp_monitor.regression.pytest_plugin"]
        """
    )
    run_apart(project).assert_outcomes(passed=1)
    run_apart(project, "--lrp-update").assert_outcomes(passed=1)


def test_comparing_snapshots_imports_no_framework(project):
    project.makepyfile(
        """
        import sys
        from helpers import make_snapshot

        def test_it(lrp_baseline):
            lrp_baseline.check(make_snapshot())
            assert {"tensorflow", "keras", "tensorboard"} & set(sys.modules) == set()
        """
    )
    run_apart(project, "--lrp-update").assert_outcomes(passed=1)
    run_apart(project).assert_outcomes(passed=1)


def test_the_plugin_can_be_left_out(project):
    project.makepyfile("def test_it(): pass")
    run_apart(project, "-p", "no:lrp_monitor").assert_outcomes(passed=1)
    assert "--lrp-update" not in run_apart(project, "-p", "no:lrp_monitor", "--help").stdout.str()
    assert "--lrp-update" in run_apart(project, "--help").stdout.str()


MODELS = """
    import os
    import keras, numpy as np, pytest
    import lrp_monitor as lrp

    INPUTS = np.random.default_rng(0).random((6, 8, 8, 1)).astype("float32")
    COMPOSITE = os.environ.get("COMPOSITE", "epsilon_plus")

    @pytest.fixture(scope="module")
    def model():
        keras.utils.set_random_seed(int(os.environ.get("SEED", 0)))
        layers = [keras.Input((8, 8, 1)), keras.layers.Conv2D(4, 3, activation="relu"), keras.layers.Flatten(),
                  keras.layers.Dense(3, activation="softmax")]
        return keras.Sequential(layers)

    def test_labels(lrp_baseline, model):
        probes = lrp.ProbeSet(INPUTS, labels=np.arange(6) % 3)
        lrp_baseline.check(model, probes, composite=COMPOSITE, masks={"corner": (0, 0, 3, 3)})

    def test_predicted(lrp_baseline, model):
        probes = lrp.ProbeSet(INPUTS)
        found = lrp_baseline.check(lrp.Explainer(model, COMPOSITE), probes, **LOOSE)
        if found is not None:
            # What is explained now is what the baseline explained, whatever is predicted now.
            assert found.now.targets.tolist() == found.before.predictions.tolist()
            assert found.flipped.any() == ("SEED" in os.environ)

    LOOSE = {"relative_l2": None, "cosine": -1, "logits": None}

    def test_changed_probe(lrp_baseline, model):
        inputs = INPUTS.copy()
        inputs[4, 0, 0] += float(os.environ.get("NUDGE", 0))
        lrp_baseline.check(model, lrp.ProbeSet(inputs, labels=np.arange(6) % 3), composite=COMPOSITE)
"""


def test_models_are_explained_and_compared(project, monkeypatch):
    import lrp_monitor.engine.explainer  # noqa: F401 - imported here, it stays for the runs below

    project.makepyfile(test_it=MODELS)
    run(project, "--lrp-update").assert_outcomes(passed=3)
    about = json.loads((project.path / "lrp_baselines/test_it/test_labels.json").read_text())
    assert (about["composite"], about["parameters"], len(about["probes"])) == ("epsilon_plus", 475, 6)
    before = stamps(project)

    run(project, "--lrp-update").stdout.fnmatch_lines(["0 written, 3 unchanged"])
    assert stamps(project) == before
    with monkeypatch.context() as changed:
        changed.setenv("NUDGE", "0.001")
        done = run(project)
        done.assert_outcomes(passed=2, failed=1)
        done.stdout.fnmatch_lines(["*another probe set: the input is not the same at 'probe 4'"])
    with monkeypatch.context() as changed:
        changed.setenv("SEED", "1")
        done = run(project)
        done.assert_outcomes(passed=1, failed=2)  # test_predicted sets no limit that another model could break
        done.stdout.fnmatch_lines(["*note the weights are not the same: after training, choose tier*"])
    with monkeypatch.context() as changed:
        changed.setenv("COMPOSITE", "epsilon")
        done = run(project)
        done.assert_outcomes(failed=3)
        done.stdout.fnmatch_lines(["*another composite: now composite epsilon; convolutions Epsilon(*in the baseline*"])


def test_a_baseline_made_in_python_is_the_same_as_one_made_by_pytest(project):
    project.makepyfile(test_it=USUAL)
    make_snapshot().save(project.path / "lrp_baselines/test_it/test_a")
    run(project, "-k", "test_a").assert_outcomes(passed=1, deselected=6)
    before = baselines(project)
    run(project, "-k", "test_a", "--lrp-update").stdout.fnmatch_lines(["0 written, 1 unchanged"])
    assert baselines(project) == before
