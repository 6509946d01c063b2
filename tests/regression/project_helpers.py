"""Test runs inside of tests: the files of a small project, and what a run leaves."""

from __future__ import annotations

import re
import shlex

import lrp_monitor.regression.fixture  # noqa: F401 - imported here, it stays for all runs in this process

USUAL = """
    import os
    from dataclasses import replace
    import numpy as np, pytest
    from helpers import make_snapshot

    def snapshot(name):
        # What "the model" sees is set from outside: SEED_<name> changes the maps, PROBES and RULES what they are of.
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
    commands = set(re.findall(r"(?:pytest )(--lrp-update .*)", result.stdout.str()))
    assert len(commands) == 1, result.stdout.str()
    return shlex.split(commands.pop())
