"""The event file as TensorBoard's own loaders read it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing import event_file_loader, plugin_event_accumulator
from tensorboard.context import RequestContext
from tensorboard.data import server_ingester
from tensorboard.util import grpc_util, tensor_util

from lrp_monitor.store.format import StoreError
from lrp_monitor.training.output.event_file import MARKER_TAG, EventWriter

ROWS = np.array([[-1.0, 0.0, 3.0], [0.0, 0.5, 2.0]])


def events(path: Path) -> list:
    return list(event_file_loader.EventFileLoader(str(path)).Load())


def accumulate(folder: Path) -> plugin_event_accumulator.EventAccumulator:
    """The run as TensorBoard's Python loader holds it, every step kept."""
    guidance = {plugin_event_accumulator.TENSORS: 0}
    return plugin_event_accumulator.EventAccumulator(str(folder), guidance).Reload()


def series(folder: Path, tag: str) -> list[tuple[int, float]]:
    return [(e.step, tensor_util.make_ndarray(e.tensor_proto).item()) for e in accumulate(folder).Tensors(tag)]


def test_scalars_histograms_and_marker_are_read_back(tmp_path: Path) -> None:
    writer = EventWriter(tmp_path / "lrp")
    writer.start(0, 12.5, {"session": "abc", "ä": 1})
    for step in range(3):
        writer.write(step, 20.0 + step, {"lrp/drift": step / 4, "weights/norm": 3.0}, {"weights/k": ROWS + step})
    writer.close()
    writer.close()

    loaded = accumulate(tmp_path / "lrp")
    assert loaded.Tags()["tensors"] == [MARKER_TAG, "lrp/drift", "weights/norm", "weights/k"]
    assert series(tmp_path / "lrp", "lrp/drift") == [(0, 0.0), (1, 0.25), (2, 0.5)]
    assert loaded.Tensors("lrp/drift")[1].wall_time == 21.0
    third = loaded.Tensors("weights/k")[2]
    np.testing.assert_array_equal(tensor_util.make_ndarray(third.tensor_proto), ROWS + 2)

    drift, histogram, marker = (loaded.SummaryMetadata(t) for t in ("lrp/drift", "weights/k", MARKER_TAG))
    assert drift.plugin_data.plugin_name == "scalars"
    assert "L1 distance" in drift.summary_description
    assert histogram.plugin_data.plugin_name == "histograms"
    assert marker.plugin_data.plugin_name == "lrp_monitor"
    content = tensor_util.make_ndarray(loaded.Tensors(MARKER_TAG)[0].tensor_proto).item()
    assert json.loads(content) == {"session": "abc", "ä": 1}


def test_every_write_is_on_disk_when_it_returns(tmp_path: Path) -> None:
    writer = EventWriter(tmp_path)
    writer.write(1, 1.0, {"a": 1.0}, {})
    assert [e.step for e in events(tmp_path / writer.name)] == [0, 1]
    writer.close()


def test_a_later_session_supersedes_from_its_first_step_on(tmp_path: Path) -> None:
    for first, last in ((0, 4), (3, 5)):
        writer = EventWriter(tmp_path)
        writer.start(first, time.time(), {})
        for step in range(first, last + 1):
            writer.write(step, time.time(), {"a": 10 * first + step}, {})
        writer.close()
    assert series(tmp_path, "a") == [(0, 0), (1, 1), (2, 2), (3, 33), (4, 34), (5, 35)]


def test_the_fast_loader_reads_the_same(tmp_path: Path) -> None:
    for first, last in ((0, 4), (3, 5)):
        writer = EventWriter(tmp_path / "run")
        writer.start(first, time.time(), {"session": str(first)})
        for step in range(first, last + 1):
            writer.write(step, time.time(), {"a": 10 * first + step}, {"h": ROWS + step})
        writer.close()
    ingester = server_ingester.SubprocessServerDataIngester(
        server_binary=server_ingester.get_server_binary(),
        logdir=str(tmp_path),
        reload_interval=60,
        channel_creds_type=grpc_util.ChannelCredsType.LOCAL,
        samples_per_plugin={"scalars": 100, "histograms": 100, "lrp_monitor": 100},
    )
    ingester.start()
    about = {"experiment_id": "", "downsample": 100}
    context = RequestContext()
    provider = ingester.data_provider
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        scalars = provider.read_scalars(context, plugin_name="scalars", **about)
        if len(scalars.get("run", {}).get("a", [])) == 6:
            break
        time.sleep(0.1)
    found = [(datum.step, datum.value) for datum in scalars["run"]["a"]]
    assert found == [(0, 0), (1, 1), (2, 2), (3, 33), (4, 34), (5, 35)]
    histograms = provider.read_tensors(context, plugin_name="histograms", **about)["run"]["h"]
    assert [datum.step for datum in histograms] == [0, 1, 2, 3, 4, 5]
    np.testing.assert_array_equal(histograms[5].numpy, ROWS + 5)
    assert list(provider.list_tensors(context, experiment_id="", plugin_name="lrp_monitor")) == ["run"]
    marker = provider.read_tensors(context, plugin_name="lrp_monitor", **about)["run"][MARKER_TAG]
    assert json.loads(marker[-1].numpy.item()) == {"session": "3"}


def test_a_file_sorts_after_those_that_are_there_whatever_the_clock_says(tmp_path: Path) -> None:
    future = tmp_path / "events.out.tfevents.9000000000.host.1.0.lrp"
    future.write_bytes(b"")
    writer = EventWriter(tmp_path)
    writer.close()
    assert sorted(p.name for p in tmp_path.iterdir()) == [future.name, writer.name]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file"):
        EventWriter(tmp_path / "file" / "lrp")


def test_rows_of_another_shape_are_refused(tmp_path: Path) -> None:
    writer = EventWriter(tmp_path)
    with pytest.raises(ValueError, match=r"histogram 'h': rows of shape \(3,\)"):
        writer.write(0, 0.0, {}, {"h": np.zeros(3)})
    writer.close()
