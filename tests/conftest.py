"""The seed of the fuzzed share, one a week, told at the top of every run; and less work for the garbage collector."""

from __future__ import annotations

import datetime
import gc
import os

import pytest

_VARIABLE = "LRP_FUZZ_SEED"


def _seed() -> int:
    """The ISO week, as 202648, so that CI sees other cases each week and all of one run the same; or the variable's."""
    year, week, _ = datetime.datetime.now(datetime.UTC).isocalendar()
    return int(os.environ.get(_VARIABLE) or 100 * year + week)


def pytest_report_header() -> str:
    return f"fuzz seed of this week: {_seed()} (another: {_VARIABLE}=4711)"


def pytest_collection_finish() -> None:
    """What is imported by now stays: collections, of which Keras and pytest ask for many, need not go through it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def fuzz_seed() -> int:
    return _seed()
