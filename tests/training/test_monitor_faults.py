"""What goes wrong during a training: told once, noted in the run, and the training goes on."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from monitor_helpers import StopAt, epochs_of, fit, make_model, make_probes, monitor, places

from lrp_monitor.store.format import StepRecord, StoreOSError
from lrp_monitor.store.reader import open_run
from lrp_monitor.store.writer import RunWriter
from lrp_monitor.training import session
from lrp_monitor.training.recorder import Recorder


def warnings_of(run: Any) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run()
    return [str(w.message) for w in caught if w.category is RuntimeWarning and "LRPMonitor" in str(w.message)]


def test_a_failure_in_a_log_warns_once_is_noted_and_training_goes_on(tmp_path: Path, monkeypatch) -> None:
    explained = Recorder.look
    calls = []

    def look(self: Recorder) -> Any:
        calls.append(1)
        if len(calls) in (4, 5):  # the check, the baseline, then one an epoch
            raise MemoryError("no room for the maps")
        return explained(self)

    monkeypatch.setattr(Recorder, "look", look)
    watched, alone = make_model(), make_model()
    told = warnings_of(lambda: fit(watched, monitor(tmp_path), epochs=4))
    assert len(told) == 1
    assert "step 2 was not logged: MemoryError: no room for the maps" in told[0]
    assert places(tmp_path) == epochs_of(0, 1, 4)
    notes = open_run(tmp_path).record(4).notes
    assert [note.split(":")[0] for note in notes] == ["step 2 was not logged", "step 3 was not logged"]
    fit(alone, epochs=4)
    for mine, theirs in zip(watched.get_weights(), alone.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_failing_disk_warns_once_and_what_was_logged_stays(tmp_path: Path, monkeypatch, capsys) -> None:
    append = RunWriter.append

    def full(self: RunWriter, record: StepRecord) -> None:
        if record.step in (2, 3):
            raise StoreOSError(f"{self.path} cannot be written: No space left on device", 28)
        append(self, record)

    monkeypatch.setattr(RunWriter, "append", full)
    told = warnings_of(lambda: fit(make_model(), monitor(tmp_path, verbose=1), epochs=5))
    assert len(told) == 1
    assert "step 2 was not written: StoreOSError" in told[0]
    assert "No space left on device" in told[0]
    assert places(tmp_path) == epochs_of(0, 1, 4, 5)
    notes = [note for step in (4, 5) for note in open_run(tmp_path).record(step).notes]
    assert sum("step 2 was not written" in note for note in notes) == 1
    assert sum("step 3 was not written" in note for note in notes) == 1
    said = capsys.readouterr().out
    assert "LRP monitor: 4 logs (epoch 0 to 5), " in said
    assert "2 failed, see the warning and the run's notes" in said


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    """No file of the process may grow beyond a limit: what the system says when it refuses a write."""
    code = f"""
        import resource, signal, sys, warnings
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from pathlib import Path
        from monitor_helpers import fit, make_model, monitor
        model = make_model()
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (40000, resource.RLIM_INFINITY))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            history = fit(model, monitor(Path({str(tmp_path)!r})), epochs=25)
        told = [str(w.message) for w in caught if "LRPMonitor" in str(w.message)]
        assert len(history.history["loss"]) == 25
        assert len(told) == 1 and "File too large" in told[0], told
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    steps = [step for step, _, _ in places(tmp_path)]
    assert 3 < len(steps) < 26
    assert steps == list(range(len(steps)))


def test_the_log_directory_removed_in_mid_run(tmp_path: Path) -> None:
    class Remove(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            if epoch == 1:
                shutil.rmtree(tmp_path / "run")

    history = fit(make_model(), monitor(tmp_path / "run"), Remove(), epochs=4)
    assert len(history.history["loss"]) == 4


def test_a_writing_thread_that_dies_is_told_and_holds_nobody_up(tmp_path: Path, monkeypatch) -> None:
    append = RunWriter.append

    def die(self: RunWriter, record: StepRecord) -> None:
        if record.step == 2:
            raise SystemExit("killed")
        append(self, record)

    monkeypatch.setattr(RunWriter, "append", die)
    start = time.monotonic()
    told = warnings_of(lambda: fit(make_model(), monitor(tmp_path), epochs=5))
    assert time.monotonic() - start < 30
    assert len(told) == 1
    assert "the writing thread ended: SystemExit: killed" in told[0]
    assert places(tmp_path) == epochs_of(0, 1)


def test_a_disk_that_hangs_is_waited_for_once_and_catches_up(tmp_path: Path, monkeypatch) -> None:
    append, released = RunWriter.append, threading.Event()
    monkeypatch.setattr(session, "PATIENCE", 0.4)
    waited: list[float] = []

    def hang(self: RunWriter, record: StepRecord) -> None:
        if record.step == 2:
            released.wait(60)
        append(self, record)

    class Time(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            waited.append(time.monotonic())
            if epoch == 4:
                released.set()
            if epoch == 5:  # what was queued is written by now, and the next log is waited for again
                deadline = time.monotonic() + 20
                while 4 not in open_run(tmp_path).steps and time.monotonic() < deadline:
                    time.sleep(0.01)

    monkeypatch.setattr(RunWriter, "append", hang)
    told = warnings_of(lambda: fit(make_model(), monitor(tmp_path), Time(), epochs=6))
    assert [text.split(". Training")[0] for text in told] == ["LRPMonitor: the disk has taken no record for 0 s"]
    lasted = np.diff(waited)
    assert lasted[1] > 0.35  # the second epoch's log waited as long as it has patience
    assert lasted[2] < 0.35  # the third's did not
    assert places(tmp_path) == epochs_of(0, 1, 2, 3, 4, 5, 6)


def test_a_model_that_turns_nan(tmp_path: Path) -> None:
    class Break(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if epoch == 1:
                kernel = self.model.layers[-1].kernel
                kernel.assign(kernel * np.nan)

    told = warnings_of(lambda: fit(make_model(), monitor(tmp_path), Break(), epochs=3))
    assert len([text for text in told if "of the weights are not finite at step 2" in text]) == 1
    assert places(tmp_path) == epochs_of(0, 1, 2, 3)
    run = open_run(tmp_path)
    kernel = run.histogram(2, "weight", "dense/kernel")
    assert (kernel.nan, kernel.size) == (108, 108)
    assert run.record(2).scalars["weights/nonfinite/dense/kernel"] == 108
    assert run.record(1).scalars["weights/nonfinite"] == 0
    assert "weights/nonfinite/dense/kernel" not in run.record(1).scalars
    # Among values that are all NaN the pooling has no winner: what it does not pick keeps its 0.
    assert np.isnan(run.heatmaps(2)).any(axis=(1, 2)).all()
    assert np.isnan(run.record(2).statistics["sum"]).all()
    assert np.isfinite(run.record(1).statistics["sum"]).all()
    assert any("dense/kernel" in note for note in run.record(2).notes)


def test_max_store_mb_stops_the_maps_with_one_warning(tmp_path: Path) -> None:
    probes = make_probes(24)
    told = warnings_of(lambda: fit(make_model(), monitor(tmp_path, probes, max_store_mb=0.02), epochs=8))
    assert len(told) == 1
    assert "max_store_mb=0.02" in told[0]
    run = open_run(tmp_path)
    maps = [run.record(step).maps for step in run.steps]
    assert maps == sorted(maps, reverse=True)
    assert maps[0]
    assert not maps[-1]
    assert len(run.scalar("lrp/probability")[0]) == 9


def test_an_exception_in_training_leaves_whole_records(tmp_path: Path) -> None:
    watcher = monitor(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        fit(make_model(), watcher, StopAt(2, batch=1, error=KeyboardInterrupt()))
    deadline = time.monotonic() + 10
    while len(places(tmp_path)) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert places(tmp_path) == epochs_of(0, 1, 2)


KILLED = """
    import sys
    sys.path.insert(0, {tests!r})
    import os, signal, time
    from pathlib import Path
    import keras
    from lrp_monitor.store.writer import RunWriter
    from monitor_helpers import StopAt, fit, make_model, monitor

    # A test run started in the background of a shell ignores SIGINT, and its children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)

    # A slow disk: what a log call has returned for is written all the same.
    append = RunWriter.append
    RunWriter.append = lambda self, record: (time.sleep(0.4), append(self, record))

    class Kill(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 3:
                if {end!r} == "raise":
                    raise RuntimeError("broken")
                os.kill(os.getpid(), getattr(signal, {end!r}))

    fit(make_model(), monitor(Path({folder!r})), Kill(), epochs=5)
"""


@pytest.mark.parametrize("end", ["raise", "SIGINT", "SIGTERM", "SIGKILL"])
def test_every_way_to_end_a_process_leaves_a_readable_run(tmp_path: Path, end: str) -> None:
    code = textwrap.dedent(KILLED).format(tests=str(Path(__file__).parent), end=end, folder=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=300, check=False)
    assert done.returncode != 0
    if end.startswith("SIG") and end != "SIGINT":
        assert done.returncode == -getattr(signal, end)
    assert places(tmp_path) == epochs_of(0, 1, 2, 3)
