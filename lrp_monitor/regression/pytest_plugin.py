"""The pytest plugin: fixture `lrp_baseline`, its options and marker.

pytest imports this at every start, also where no test has to do with heatmaps: it imports pytest alone, and whatever
is heavier when a test takes the fixture. A wrong word here would break other people's test runs.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from lrp_monitor.regression.fixture import LRPBaseline

OPTION_UPDATE = "--lrp-update"
OPTION_UPDATE_IN_CI = "--lrp-update-in-ci"
MARKER = "lrp_baseline"

_FIXTURE: pytest.StashKey[LRPBaseline] = pytest.StashKey()
_WRITTEN, _UNCHANGED = "written", "unchanged"
PROPERTY, REPORT_PROPERTY = "lrp_baseline", "lrp_report"
"""Names of the properties that a test's report carries (also from xdist's workers, and into JUnit files)."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declares the command line's and the ini file's options."""
    group = parser.getgroup("lrp", "heatmap baselines (lrp_monitor)")
    group.addoption(
        OPTION_UPDATE,
        action="store_true",
        dest="lrp_update",
        help="write the baselines that are missing or differ from what the tests see now; refused where CI is set",
    )
    group.addoption(
        OPTION_UPDATE_IN_CI,
        action="store_true",
        dest="lrp_update_in_ci",
        help="let --lrp-update write where CI is set, too",
    )
    group.addoption(
        "--lrp-report-dir",
        metavar="DIR",
        dest="lrp_report_dir",
        help="folder for the HTML pages of failed comparisons (default: the ini option lrp_report_dir, else a folder "
        "in pytest's cache)",
    )
    parser.addini("lrp_report_dir", "folder for the HTML pages of failed heatmap comparisons, from the rootdir")
    parser.addini(
        "lrp_baseline_dir",
        "folder of all heatmap baselines, from the rootdir (default: lrp_baselines beside each test file)",
    )
    parser.addini("lrp_tier", "tier of heatmap comparisons that name none", default="same_weights")
    parser.addini(
        "lrp_composite", "LRP preset of heatmap comparisons that name none (the baseline's, else auto)", default=""
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declares the marker."""
    config.addinivalue_line(
        "markers",
        f"{MARKER}(tier=..., masks=..., composite=..., LIMIT=...): what lrp_baseline.check takes where the call "
        "does not say",
    )
    if config.getoption("lrp_update") and _in_ci() and not config.getoption("lrp_update_in_ci"):
        raise pytest.UsageError(
            f"{OPTION_UPDATE} is refused: CI is set, and a baseline that is accepted unseen tests nothing. Run it "
            f"where you can look at the heatmaps, and commit the baselines; {OPTION_UPDATE_IN_CI} forces it"
        )


def _in_ci() -> bool:
    return os.environ.get("CI", "").strip().lower() not in ("", "0", "false", "no")


@pytest.fixture
def lrp_baseline(request: pytest.FixtureRequest) -> LRPBaseline:
    """Compares a model's heatmaps with the test's baseline.

    ``lrp_baseline.check(model, probes, tier="retrained", masks={"stamp": box})``; see LRPBaseline.check.
    """
    from lrp_monitor.regression.fixture import LRPBaseline

    fixture = LRPBaseline(request)
    request.node.stash[_FIXTURE] = fixture
    return fixture


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Fails a test that asked for the fixture and compared nothing."""
    result = yield
    fixture = item.stash.get(_FIXTURE, None)
    if fixture is not None and not fixture.checked:
        pytest.fail(
            f"{item.nodeid} takes the fixture lrp_baseline but never called lrp_baseline.check(model, probes): nothing "
            "was compared. Call it, or leave the fixture out",
            pytrace=False,
        )
    return result


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Lists the baselines that were written or left as they were."""
    found: dict[str, list[str]] = {_WRITTEN: [], _UNCHANGED: []}
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) != "call":
                continue
            for name, value in getattr(report, "user_properties", ()):
                state, _, path = str(value).partition(" ") if name == PROPERTY else ("", "", "")
                if state in found:
                    found[state].append(path)
    if not config.getoption("lrp_update") or not any(found.values()):
        return
    terminalreporter.section("heatmap baselines")
    for path in sorted(found[_WRITTEN]):
        terminalreporter.write_line(f"written: {path}")
    terminalreporter.write_line(f"{len(found[_WRITTEN])} written, {len(found[_UNCHANGED])} unchanged")
