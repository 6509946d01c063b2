"""The pytest plugin, in test runs of its own: real files, and the entry point as pytest finds it."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import regression_helpers
from regression_helpers import make_snapshot

import lrp_monitor.regression.fixture  # noqa: F401 - it stays imported for the runs in this process

pytest_plugins = ["pytester"]

USUAL = """
    import os
    from dataclasses import replace
    import numpy as np, pytest
    from helpers import make_snapshot

    def snapshot(name):
        # What "the model" sees is told from outside: SEED_<name> changes the maps, PROBES and RULES what they are of.
        made = make_snapshot(seed=int(os.environ.get("SEED_" + name, 0)))
        if "PROBES" in os.environ:
            made = replace(made, digests=(*made.digests[:7], "changed"))
        if "RULES" in os.environ:
            made = replace(made, meta={**made.meta, "composite_rules": ["another composite"]})
        return made

    def test_a(lrp_baseline):
        lrp_baseline.check(snapshot("a"), masks={"stamp": (0, 0, 2, 2)})

    @pytest.mark.parametrize("what", ["x/y", "x y", "X:Y", "..", "plain"])
    def test_many(lrp_baseline, what):
        lrp_baseline.check(snapshot("many"))

    class TestInside:
        def test_b(self, lrp_baseline):
            lrp_baseline.check(snapshot("b"))
"""


@pytest.fixture
def project(pytester, monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    pytester.makepyfile(helpers=Path(regression_helpers.__file__).read_text())
    return pytester


def run(project, *arguments):
    """A test run in this process: what lrp_monitor needs stays imported, which saves a second a run."""
    return project.runpytest_inprocess("-p", "no:xdist", *arguments)


def run_apart(project, *arguments):
    """A test run as people start it."""
    return project.runpytest_subprocess(*arguments, timeout=120)


def baselines(project):
    root = project.path
    return {
        str(file.relative_to(root)): file.read_bytes() for file in root.rglob("lrp_baselines/**/*") if file.is_file()
    }


def stamps(project):
    return {file: file.stat().st_mtime_ns for file in project.path.rglob("lrp_baselines/**/*")}


def mending_command(result):
    """The one `pytest --lrp-update ...` that the output tells, as arguments."""
    told = set(re.findall(r"(?:pytest )(--lrp-update .*)", result.stdout.str()))
    assert len(told) == 1, result.stdout.str()
    return shlex.split(told.pop())


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


def break_file(kind):
    def breaks(project, monkeypatch):
        stem = project.path / "lrp_baselines/test_it/test_a"
        archive, about = stem.with_suffix(".npz"), stem.with_suffix(".json")
        if kind == "deleted":
            archive.unlink()
            about.unlink()
        elif kind == "half":
            archive.unlink()
        elif kind == "cut":
            archive.write_bytes(archive.read_bytes()[:700])
        elif kind == "corrupt":
            data = bytearray(archive.read_bytes())
            data[300] ^= 0xFF
            archive.write_bytes(bytes(data))
        elif kind == "newer":
            about.write_text(about.read_text().replace('"format": 1', '"format": 2'))
        elif kind == "pickle":
            np.savez(archive, maps=np.array([{}], dtype=object))
            archive.write_bytes(archive.read_bytes().ljust(9999, b"\0"))
        else:
            monkeypatch.setenv(*kind.split("="))

    return breaks


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("deleted", "test_it.py:16: lrp_baselines/test_it/test_a.json: there is no such baseline"),
        ("half", "test_a.npz: there is no such file, only test_a.json"),
        ("cut", "test_a.npz: cut off, 700 of"),
        ("corrupt", "test_a.npz: damaged"),
        ("newer", "test_a.json: written in format 2, this version reads up to 1"),
        ("pickle", "test_a.npz: entry 'maps' holds pickled objects"),
        ("PROBES=1", "another probe set: the input is not the same at 'probe 7'"),
        (
            "RULES=1",
            "another composite: now another composite, in the baseline composite epsilon_plus; convolutions ZPlus",
        ),
        ("SEED_a=1", "heatmaps CHANGED: 8 probes, tier same_weights"),
    ],
)
def test_each_failure_is_told_and_its_command_mends_it(project, monkeypatch, kind, said):
    project.makepyfile(test_it=USUAL)
    run(project, "--lrp-update")
    break_file(kind)(project, monkeypatch)
    failed = run(project, "-k", "test_a")
    failed.assert_outcomes(failed=1, deselected=6)
    assert said in failed.stdout.str()
    assert len(failed.stdout.lines) <= 40
    assert str(project.path) not in "\n".join(failed.stdout.lines[5:])  # paths as they are typed here
    command = mending_command(failed)
    if kind == "newer":
        run(project, *command).assert_outcomes(failed=1)
        for file in project.path.glob("lrp_baselines/test_it/test_a.*"):
            file.unlink()
    run(project, *command).assert_outcomes(passed=1)
    run(project, "-k", "test_a").assert_outcomes(passed=1, deselected=6)


def test_the_command_of_a_test_with_an_odd_name_can_be_pasted(project):
    project.makepyfile(test_it=USUAL)
    failed = run(project, "test_it.py::test_many[x/y]", "test_it.py::test_many[x y]")
    commands = re.findall(r"pytest (--lrp-update .*)", failed.stdout.str())
    assert len(commands) == 2
    for command in commands:
        run(project, *shlex.split(command)).assert_outcomes(passed=1)


def test_from_another_folder_the_command_is_relative_to_it(project, monkeypatch):
    folder = project.mkpydir("deep")
    (folder / "test_it.py").write_text(
        "from helpers import make_snapshot\ndef test_a(lrp_baseline): lrp_baseline.check(make_snapshot())\n"
    )
    project.makeini("[pytest]\npythonpath = .")
    monkeypatch.chdir(folder)
    failed = run(project)
    assert "pytest --lrp-update test_it.py::test_a" in failed.stdout.str()
    run(project, *mending_command(failed)).assert_outcomes(passed=1)
    assert (folder / "lrp_baselines/test_it/test_a.npz").is_file()


def test_a_failure_fits_on_one_screen_and_leaves_a_page(project, monkeypatch):
    project.makepyfile(
        test_it="""
        import os
        from helpers import make_snapshot

        def test_a(lrp_baseline):
            first = 1
            masks = {f"mask {i}": (i, 0, i + 2, 2) for i in range(8)}
            lrp_baseline.check(
                make_snapshot(n=64, seed=int(os.environ.get("SEED", 0))), tier="retrained", masks=masks, mask_mass=0,
            )
        """
    )
    run(project, "--lrp-update")
    monkeypatch.setenv("SEED", "1")
    failed = run(project, "--lrp-report-dir", "reports")
    assert len(failed.stdout.lines) <= 40
    failed.stdout.fnmatch_lines(
        ["test_it.py:7: heatmaps CHANGED: 64 probes, tier retrained", "  FAIL maps *", "  probe *",
         "Pictures: reports/test_it.test_a.html", "Where the change is meant: pytest --lrp-update test_it.py::test_a"]
    )  # fmt: skip
    assert not any(line.startswith(("E ", ">")) for line in failed.stdout.lines)
    assert "<title>test_it.py::test_a: changed</title>" in (project.path / "reports/test_it.test_a.html").read_text()
    assert not list(project.path.rglob("*.partial"))


def test_without_a_report_folder_the_page_is_in_pytests_cache(project, monkeypatch):
    project.makepyfile(test_it=USUAL)
    run(project, "--lrp-update")
    monkeypatch.setenv("SEED_a", "1")
    told = re.search(r"Pictures: (.*)", run(project).stdout.str())
    assert told[1] == ".pytest_cache/d/lrp-reports/test_it.test_a.html"
    assert (project.path / told[1]).is_file()
    project.makeini("[pytest]\nlrp_report_dir = from_ini")
    run(project)
    assert (project.path / "from_ini/test_it.test_a.html").is_file()


def test_a_report_that_cannot_be_written_does_not_hide_the_failure(project, monkeypatch):
    project.makepyfile(test_it=USUAL)
    run(project, "--lrp-update")
    monkeypatch.setenv("SEED_a", "1")
    (project.path / "taken").write_text("a file where the folder should be")
    failed = run(project, "--lrp-report-dir", "taken")
    failed.assert_outcomes(failed=1, passed=6)
    failed.stdout.fnmatch_lines(["*heatmaps CHANGED*", "The pictures could not be written: *"])


def test_a_test_that_never_checks_fails(project):
    project.makepyfile(
        """
        import pytest
        from helpers import make_snapshot

        def test_forgot(lrp_baseline):
            assert lrp_baseline

        @pytest.fixture
        def wrapped(lrp_baseline):
            return lrp_baseline

        def test_forgot_behind_a_fixture(wrapped):
            pass

        def test_not_reached(lrp_baseline):
            pytest.skip("no accelerator")

        def test_fails_before(lrp_baseline):
            assert 1 == 2

        def test_swallows_exceptions(lrp_baseline):
            try:
                lrp_baseline.check(make_snapshot())
            except Exception:
                pass
        """
    )
    done = run(project)
    done.assert_outcomes(failed=4, skipped=1)
    done.stdout.fnmatch_lines(["*::test_forgot takes the fixture lrp_baseline but never called lrp_baseline.check*"])
    done.stdout.fnmatch_lines(["*::test_forgot_behind_a_fixture takes the fixture lrp_baseline but never called*"])
    done.stdout.fnmatch_lines(["*assert 1 == 2*"])
    done.stdout.fnmatch_lines(["*test_swallows_exceptions.json: there is no such baseline*"])


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


def test_wrong_use_is_told(project):
    project.makepyfile(
        """
        import pytest
        from helpers import make_snapshot

        def test_twice(lrp_baseline):
            lrp_baseline.check(make_snapshot(), name="first")
            lrp_baseline.check(make_snapshot(seed=1), name="second")
            with pytest.raises(pytest.fail.Exception, match="called twice with name='first' in one test"):
                lrp_baseline.check(make_snapshot(), name="first")

        def test_types(lrp_baseline):
            with pytest.raises(TypeError, match="probes must be a ProbeSet, got NoneType"):
                lrp_baseline.check(object())
            with pytest.raises(TypeError, match="takes no probes and no composite"):
                lrp_baseline.check(make_snapshot(), name="b", composite="epsilon")

        def test_limit(lrp_baseline):
            lrp_baseline.check(make_snapshot(), cosin=.5)

        @pytest.mark.lrp_baseline("retrained")
        def test_marker(lrp_baseline):
            lrp_baseline.check(make_snapshot())

        def test_nothing(lrp_baseline):
            lrp_baseline.check(make_snapshot(), tier="retrained", iou=None, js=None, flips=None)
        """
    )
    updated = run(project, "--lrp-update")
    updated.assert_outcomes(passed=2, failed=3)
    updated.stdout.fnmatch_lines(["*no limit 'cosin'*did you mean 'cosine'?*"])
    updated.stdout.fnmatch_lines(["*takes keywords only, such as tier=*"])
    updated.stdout.fnmatch_lines(["*has no limit at all: nothing is tested*"])
    done = run(project)
    done.assert_outcomes(passed=2, failed=3)
    done.stdout.fnmatch_lines(["*test_limit.json: there is no such baseline"])  # so none was written above
    assert {Path(name).name for name in baselines(project) if "twice" in name} == {
        f"test_twice.{name}.{kind}" for name in ("first", "second") for kind in ("npz", "json")
    }


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


def test_properties_name_baseline_and_page_in_junit_files(project, monkeypatch):
    project.makepyfile(test_it=USUAL)
    run(project, "--lrp-update")
    monkeypatch.setenv("SEED_a", "1")
    run(project, "--junit-xml=junit.xml", "-k", "test_a")
    junit = (project.path / "junit.xml").read_text()
    assert '<property name="lrp_baseline" value="compared lrp_baselines/test_it/test_a.npz"' in junit
    assert '<property name="lrp_report" value=".pytest_cache/d/lrp-reports/test_it.test_a.html"' in junit


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


def test_a_model_whose_maps_are_not_finite_is_no_baseline(project):
    project.makepyfile(
        """
        import numpy as np
        from helpers import make_snapshot

        def test_it(lrp_baseline):
            lrp_baseline.check(make_snapshot(heatmaps=np.full((8, 10, 10), np.nan, np.float32)))
        """
    )
    done = run(project, "--lrp-update")
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["*not written, NaN or infinity*", "To mend: mend the model first*"])
    assert not baselines(project)


def test_a_baseline_made_in_python_is_the_same_as_one_made_by_pytest(project):
    project.makepyfile(test_it=USUAL)
    make_snapshot().save(project.path / "lrp_baselines/test_it/test_a")
    run(project, "-k", "test_a").assert_outcomes(passed=1, deselected=6)
    before = baselines(project)
    run(project, "-k", "test_a", "--lrp-update").stdout.fnmatch_lines(["0 written, 1 unchanged"])
    assert baselines(project) == before
