"""Which tests are fast, the order of files, the seed of the fuzzed share, and less work for the garbage collector."""

from __future__ import annotations

import datetime
import gc
import os
from pathlib import Path

import pytest

# Workers share the cores: more threads within an operation than one would wait for each other.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")

_VARIABLE = "LRP_FUZZ_SEED"

FAST = {
    "engine": {
        "choosing", "compiling", "deferred", "inputs", "inspection", "norms", "refusals", "rows", "rules_by_hand",
        "targets",
    },
    "training": {
        "due", "event_file", "histograms", "monitor_alerts", "monitor_kinds", "names", "position", "schedule",
        "statistics", "tracebacks", "writer_thread",
    },
    "docs": {"reference"},
    "objects": {"object_store"},
    "browser": set(),
    "fuzz": set(),
}  # fmt: skip
"""Of these folders ``-m fast`` runs those files, of all others every one; in both what is not marked as below."""

_LONG = {
    "test_applications", "test_gradients", "test_gradients_armed", "test_monitor_faults", "test_monitor_runs",
    "test_monitor_scaled", "test_monitor_steps", "test_pages", "test_recurrent", "test_s3", "test_state",
}  # fmt: skip
"""Files that take most of a minute; so do those that train."""

_LONGER = ("browser", "process", "slow", "trains", "zoo")


def _seed() -> int:
    """The ISO week, as 202648, so that CI sees other cases each week and all of one run the same; or the variable's."""
    year, week, _ = datetime.datetime.now(datetime.UTC).isocalendar()
    return int(os.environ.get(_VARIABLE) or 100 * year + week)


def pytest_report_header() -> str:
    return f"fuzz seed of this week: {_seed()} (another: {_VARIABLE}=4711)"


def pytest_configure(config: pytest.Config) -> None:
    """Files run in the order below, also where pytest-xdist would begin with those of many tests."""
    config.option.loadscopereorder = False
    if form := os.environ.get("LRP_GRAPH"):
        from graph_forms import put_on

        put_on(form)
    named = {Path(__file__).parent / folder / f"test_{name}.py" for folder, names in FAST.items() for name in names}
    if gone := sorted(str(path) for path in named if not path.exists()):
        raise pytest.UsageError(f"tests/conftest.py names files that are not there: {gone}")


def pytest_itemcollected(item: pytest.Item) -> None:
    folder, name = item.path.parent.name, item.path.stem.removeprefix("test_")
    chosen = folder not in FAST or name in FAST[folder]
    if chosen and not any(item.get_closest_marker(marker) for marker in _LONGER):
        item.add_marker(pytest.mark.fast)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files come first: the last ones should be short, where workers share the files."""
    long: set[Path] = {item.path for item in items if item.path.stem in _LONG or item.get_closest_marker("trains")}
    items.sort(key=lambda item: item.path not in long)


def pytest_collection_finish() -> None:
    """What is imported by now stays: collections, of which Keras and pytest ask for many, need not go through it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def fuzz_seed() -> int:
    return _seed()
