"""Maps by input channel: stored behind the maps, read back, left out of what does not ask for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from store_samples import COUNT, SHAPE, make_probes, make_record, segments

from lrp_monitor.store.format import StepRecord, StoreError
from lrp_monitor.store.reader import open_run
from lrp_monitor.store.steps import chunks_start
from lrp_monitor.store.writer import RunWriter, estimate_bytes

CHANNELS = 2


def make_channels(step: int) -> np.ndarray:
    return np.random.default_rng(50 + step).standard_normal((COUNT, *SHAPE, CHANNELS)).astype(np.float32)


def record(step: int, **changes: object) -> StepRecord:
    return make_record(step, channels=make_channels(step), heatmaps=make_channels(step).sum(-1), **changes)


def write(folder: Path, steps: list[int], **options: object) -> None:
    with RunWriter(folder, make_probes(), meta={}, **options) as writer:
        for step in steps:
            writer.append(record(step))


@pytest.mark.parametrize(("encoding", "tolerance"), [("sqrt8", 0.0079), ("float16", 2.0**-11), ("float32", 0.0)])
def test_they_come_back_within_the_encodings_error(tmp_path: Path, encoding: str, tolerance: float) -> None:
    write(tmp_path, [0, 3], encoding=encoding)
    run = open_run(tmp_path)
    for step in (0, 3):
        true = make_channels(step)
        found = run.channels(step)
        assert (found.shape, found.dtype) == ((COUNT, *SHAPE, CHANNELS), np.float32)
        scale = np.abs(true).max((1, 2), keepdims=True)
        assert np.all(np.abs(found - true) <= tolerance * scale)
        np.testing.assert_array_equal(run.record(step).channel_scale, scale[:, 0, 0].astype(np.float64))
        assert np.abs(run.heatmaps(step) - true.sum(-1)).max() <= tolerance * np.abs(true.sum(-1)).max()
    assert run.verify() == []


def test_a_step_without_them_says_how_to_get_them(tmp_path: Path) -> None:
    with RunWriter(tmp_path, make_probes(), meta={}) as writer:
        writer.append(make_record(0))
        writer.append(record(1))
    run = open_run(tmp_path)
    assert [header.channels for header in run.records()] == [0, CHANNELS]
    with pytest.raises(StoreError, match=r"step 0 of .* holds no maps by channel: log with .*channels=True"):
        run.channels(0)


def test_max_store_mb_stops_them_with_the_maps(tmp_path: Path) -> None:
    write(tmp_path, [0, 1], max_store_mb=0.0)
    run = open_run(tmp_path)
    assert [header.channels for header in run.records()] == [0, 0]
    with pytest.raises(StoreError, match=r"maps not stored at step 1 of .*max_store_mb"):
        run.channels(1)


@pytest.mark.parametrize(
    "changes",
    [
        {"channels": np.zeros((COUNT, *SHAPE), np.float32)},
        {"channels": np.zeros((COUNT, *SHAPE, 0), np.float32)},
        {"channels": np.zeros((COUNT + 1, *SHAPE, 2), np.float32)},
        {"channels": make_channels(0), "heatmaps": None},
    ],
)
def test_channels_of_another_shape_are_refused(tmp_path: Path, changes: dict) -> None:
    with (
        RunWriter(tmp_path, make_probes(), meta={}) as writer,
        pytest.raises(ValueError, match=r"channels must come with heatmaps and have shape \(3, 6, 5, 'c'\)"),
    ):
        writer.append(make_record(0, **changes))


def test_a_channel_that_was_changed_on_disk_is_a_problem_in_words(tmp_path: Path) -> None:
    write(tmp_path, [0, 1])
    file = segments(tmp_path / "plugins" / "lrp_monitor")[0]
    run = open_run(tmp_path)
    entry = run._view.entries[0]
    offset, length = run.record(0).channel_places[1][1]
    data = bytearray(file.read_bytes())
    data[chunks_start(entry) + offset + length // 2] ^= 0xFF
    file.write_bytes(bytes(data))
    again = open_run(tmp_path)
    with pytest.raises(StoreError, match=r"step 0 .*the record is damaged"):
        again.channels(0)
    assert again.channels(1).shape == (COUNT, *SHAPE, CHANNELS)


def test_the_estimate_counts_them() -> None:
    one = estimate_bytes(4, (100, 100), "sqrt8", 0)
    assert estimate_bytes(4, (100, 100), "sqrt8", 0, channels=3) == one + 3 * 4 * 8700
