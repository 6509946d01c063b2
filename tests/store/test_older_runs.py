"""Runs that an older lrp_monitor wrote stay readable: the files below data/ are never written anew."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from store_samples import make_maps, make_record

from lrp_monitor.plugin.wire import step_answer
from lrp_monitor.store.format import StoreError
from lrp_monitor.store.reader import open_run

FIRST = Path(__file__).parent / "data" / "first_format"
"""Of the first version of the format, without digests of tensors: steps 0, 1, 2 and 5."""


def test_a_run_of_the_first_format_reads_as_ever() -> None:
    run = open_run(FIRST)
    assert (run.steps, run.meta, run.verify()) == ([0, 1, 2, 5], {"composite": "epsilon_plus"}, [])
    for step in run.steps:
        np.testing.assert_array_equal(run.record(step).statistics["sum"], make_record(step).probes["sum"])
        scale = np.abs(make_maps(step)).max((1, 2), keepdims=True)
        assert np.all(np.abs(run.heatmaps(step) - make_maps(step)) <= 0.0079 * scale)


def test_its_tensors_are_all_listed_without_digests() -> None:
    run = open_run(FIRST)
    assert all(header.tensors == "" for header in run.records())
    kernel = "conv2d/kernel"
    assert run.all_tensors() == [("weight", kernel), ("gradient", kernel), ("gradient", "late/kernel")]


def test_it_has_no_maps_by_channel_and_says_so() -> None:
    run = open_run(FIRST)
    assert [header.channels for header in run.records()] == [0, 0, 0, 0]
    with pytest.raises(StoreError, match="holds no maps by channel"):
        run.channels(1)
    assert step_answer(run, 1, channels=True)[4:].startswith(b'{"step":1')
