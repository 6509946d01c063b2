"""Fits that log to an object store: as to a disk, and nothing is lost where the store cannot be reached for a while."""

from __future__ import annotations

import threading
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from monitor_helpers import StopAt, epochs_of, fit, make_model, monitor, places
from object_store import ObjectStore, down
from tensorboard.backend.event_processing import plugin_event_accumulator
from tensorboard.util import tensor_util

from lrp_monitor.store import objects
from lrp_monitor.store.format import StoreOSError
from lrp_monitor.store.reader import open_run
from lrp_monitor.training.output import run_logger

URL = "objects://bucket/run"


def copy(store: type[ObjectStore], folder: Path) -> Path:
    """The whole store as local files."""
    for key, (data, _) in store.objects.items():
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder / "bucket" / "run"


def series(run_dir: Path, tag: str) -> list[tuple[int, float]]:
    guidance = {plugin_event_accumulator.TENSORS: 0}
    loaded = plugin_event_accumulator.EventAccumulator(str(run_dir), guidance).Reload()
    return [(e.step, tensor_util.make_ndarray(e.tensor_proto).item()) for e in loaded.Tensors(tag)]


def messages_of(run: Any) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run()
    return [str(w.message) for w in caught if w.category is RuntimeWarning and "LRPMonitor" in str(w.message)]


class Around(keras.callbacks.Callback):
    """Does something at the begin of an epoch (counted from 0), and something else behind the monitor at its end."""

    def __init__(self, begin: dict[int, Any], end: dict[int, Any] | None = None) -> None:
        super().__init__()
        self.begin, self.end = begin, end or {}

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.begin.get(epoch, int)()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.end.get(epoch, int)()


def test_a_fit_and_its_resumption_are_as_on_a_disk(store: type[ObjectStore], tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(objects, "PUT_BYTES", 15_000)  # a few steps to a file
    for folder in (URL, tmp_path / "disk"):
        model = make_model()
        with pytest.raises(RuntimeError, match="cut"):
            fit(model, monitor(folder), StopAt(3, 2, RuntimeError("cut")), epochs=6)
        fit(model, monitor(folder), epochs=8, initial_epoch=2)
    assert places(URL) == places(tmp_path / "disk") == epochs_of(*range(9))
    here, there = open_run(URL), open_run(tmp_path / "disk")
    assert len(here.sessions) == len(there.sessions) == 2
    for step in here.steps:
        np.testing.assert_array_equal(here.heatmaps(step), there.heatmaps(step))

    names = [key.rpartition("/")[2] for key in store.objects]
    assert sum(name.startswith("steps-") for name in names) > 4
    assert sum(name.startswith("events.") for name in names) > 4
    run_dir = copy(store, tmp_path)
    assert places(run_dir) == places(URL)
    for tag in ("weights/norm", "lrp/probability", "lrp/drift"):
        assert series(run_dir / "lrp", tag) == series(tmp_path / "disk" / "lrp", tag)
    assert [step for step, _ in series(run_dir / "lrp", "weights/norm")] == list(range(9))


def test_a_log_is_two_puts_and_a_listing(store: type[ObjectStore]) -> None:
    counts: list[int] = []

    def look() -> None:
        counts.append(len(store.requests))

    fit(make_model(), monitor(URL), Around({3: look}, {3: look}), epochs=5)
    kinds = [kind for kind, _, _ in store.requests[counts[0] : counts[1]]]
    assert kinds == ["list", "put", "put"]


def test_a_network_that_is_down_warns_once_and_what_was_logged_stays(store: type[ObjectStore]) -> None:
    def fail() -> None:
        store.before = down()

    def heal() -> None:
        store.before = None

    watched, alone = make_model(), make_model()
    messages = messages_of(lambda: fit(watched, monitor(URL), Around({1: fail, 3: heal}), epochs=5))
    assert len(messages) == 1
    assert "step 2 was not written: StoreOSError: objects://bucket/run/lrp/plugins/lrp_monitor/steps-" in messages[0]
    assert "could not connect to the endpoint" in messages[0]
    assert places(URL) == epochs_of(0, 1, 4, 5)
    notes = " ".join(note for step in (4, 5) for note in open_run(URL).record(step).notes)
    assert "step 2 was not written" in notes
    assert "step 3 was not written" in notes
    fit(alone, epochs=5)
    for mine, theirs in zip(watched.get_weights(), alone.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_slow_failure_is_waited_for_once(store: type[ObjectStore], monkeypatch) -> None:
    monkeypatch.setattr(run_logger, "SLOW", 0.1)
    go, waited = threading.Event(), []

    def slow(request: str, path: str) -> None:
        down(0.2)(request, path)

    def hang(request: str, path: str) -> None:
        if not go.wait(20):
            waited.append(path)
        raise TimeoutError("could not connect")

    def begin(what: Any) -> Any:
        return lambda: setattr(store, "before", what)

    # From epoch 2 on each request hangs until epoch 4 has ended: training that waited would never come there.
    around = Around({1: begin(slow), 2: begin(hang), 6: begin(None)}, {4: go.set})
    messages = messages_of(lambda: fit(make_model(), monitor(URL), around, epochs=8))
    assert waited == []
    assert len(messages) == 1
    steps = [step for step, _, _ in places(URL)]
    assert steps[:2] == [0, 1]
    assert steps[-1] == 8
    assert not {2, 3} & set(steps)


def test_what_is_wrong_at_the_start_is_reported_before_training(store: type[ObjectStore]) -> None:
    def refuse(request: str, path: str) -> None:
        if request == "put":
            raise PermissionError(13, "Access Denied")

    store.before = refuse
    model = make_model()
    before = [weight.copy() for weight in model.get_weights()]
    with pytest.raises(StoreOSError, match=r"objects://bucket/run.*cannot be written.*Access Denied"):
        fit(model, monitor(URL))
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)
    store.before = None
    with pytest.raises(Exception, match="one slash of the URL is gone"):
        fit(model, monitor(Path("s3://bucket/run")))


def test_objects_removed_in_mid_run_are_begun_anew(store: type[ObjectStore]) -> None:
    messages = messages_of(lambda: fit(make_model(), monitor(URL), Around({2: lambda: store._keep({})}), epochs=4))
    assert len(messages) == 1
    assert "lrp_monitor was removed in mid-run" in messages[0]
    assert places(URL) == epochs_of(3, 4)


def test_the_command_that_shows_a_run_is_one_that_works(store: type[ObjectStore], capsys) -> None:
    fit(make_model(), monitor(URL, verbose=1), epochs=1)
    assert capsys.readouterr().out.splitlines()[-1] == f"  lrp-monitor tensorboard {URL}"
