"""How a test fails whose heatmaps changed, or whose baseline is not what it should be; and what mends it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from project_helpers import USUAL, baselines, mending_command, run

pytest_plugins = ["pytester"]


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
            about.write_text(about.read_text().replace('"format": 1', '"format": 3'))
        elif kind == "pickle":
            np.savez(archive, maps=np.array([{}], dtype=object))
            archive.write_bytes(archive.read_bytes().ljust(9999, b"\0"))
        else:
            monkeypatch.setenv(*kind.split("="))

    return breaks


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("deleted", "test_it.py:16: lrp_baselines/test_it/test_a.json: there is no such baseline"),
        ("half", "test_a.npz: there is no such file, only test_a.json"),
        ("cut", "test_a.npz: cut off, 700 of"),
        ("corrupt", "test_a.npz: damaged"),
        ("newer", "test_a.json: written in format 3, this version reads up to 2"),
        ("pickle", "test_a.npz: entry 'maps' holds pickled objects"),
        ("PROBES=1", "another probe set: the input is not the same at 'probe 7'"),
        (
            "RULES=1",
            "another composite: now another composite, in the baseline composite epsilon_plus; convolutions ZPlus",
        ),
        ("SEED_a=1", "heatmaps CHANGED: 8 probes, tier same_weights"),
    ],
)
def test_each_failure_is_reported_and_its_command_mends_it(project, monkeypatch, kind, message):
    project.makepyfile(test_it=USUAL)
    run(project, "--lrp-update")
    break_file(kind)(project, monkeypatch)
    failed = run(project, "-k", "test_a")
    failed.assert_outcomes(failed=1, deselected=6)
    assert message in failed.stdout.str()
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
    assert not list(project.path.rglob("*.tmp"))


def test_without_a_report_folder_the_page_is_in_pytests_cache(project, monkeypatch):
    project.makepyfile(test_it=USUAL)
    run(project, "--lrp-update")
    monkeypatch.setenv("SEED_a", "1")
    printed = re.search(r"Pictures: (.*)", run(project).stdout.str())
    assert printed[1] == ".pytest_cache/d/lrp-reports/test_it.test_a.html"
    assert (project.path / printed[1]).is_file()
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
            except Exception:  # what a careless test does, and must not pass by
                pass
        """
    )
    done = run(project)
    done.assert_outcomes(failed=4, skipped=1)
    done.stdout.fnmatch_lines(["*::test_forgot takes the fixture lrp_baseline but never called lrp_baseline.check*"])
    done.stdout.fnmatch_lines(["*::test_forgot_behind_a_fixture takes the fixture lrp_baseline but never called*"])
    done.stdout.fnmatch_lines(["*assert 1 == 2*"])
    done.stdout.fnmatch_lines(["*test_swallows_exceptions.json: there is no such baseline*"])


def test_wrong_use_is_reported(project):
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


def test_properties_name_baseline_and_page_in_junit_files(project, monkeypatch):
    project.makepyfile(test_it=USUAL)
    run(project, "--lrp-update")
    monkeypatch.setenv("SEED_a", "1")
    run(project, "--junit-xml=junit.xml", "-k", "test_a")
    junit = (project.path / "junit.xml").read_text()
    assert '<property name="lrp_baseline" value="compared lrp_baselines/test_it/test_a.npz"' in junit
    assert '<property name="lrp_report" value=".pytest_cache/d/lrp-reports/test_it.test_a.html"' in junit


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


def test_no_baseline_is_written_that_would_fail_against_itself(project):
    project.makepyfile(
        """
        import numpy as np
        from helpers import make_snapshot

        def test_it(lrp_baseline):
            maps = -np.ones((8, 10, 10), np.float32)  # nothing positive, so that no share of it lies in a mask
            lrp_baseline.check(make_snapshot(heatmaps=maps), masks={"stamp": (0, 0, 2, 2)})
        """
    )
    done = run(project, "--lrp-update")
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["*no baseline is written that fails against itself:", "*FAIL mask stamp*"])
    assert not baselines(project)
