"""What goes wrong during a training: reported once, noted in the run, and the training goes on."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import monitor_helpers
import numpy as np
import pytest
from forked import Forked
from monitor_helpers import StopAt, accumulate, epochs_of, fit, make_model, make_probes, places

from lrp_monitor.store.folders import run_folders
from lrp_monitor.store.format import StepRecord, StoreOSError
from lrp_monitor.store.reader import open_run
from lrp_monitor.store.writer import RunWriter
from lrp_monitor.training.monitor import LRPMonitor
from lrp_monitor.training.output import run_logger
from lrp_monitor.training.record_builder import RecordBuilder


def monitor(folder: Path, *probes: Any, **options: Any) -> LRPMonitor:
    """A monitor without gradients, whose capture traces the training step besides: they are for comparing weights."""
    return monitor_helpers.monitor(folder, *probes, **{"gradients": "off", **options})


def warnings_of(run: Any) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run()
    return [str(w.message) for w in caught if w.category is RuntimeWarning and "LRPMonitor" in str(w.message)]


def test_a_failure_in_a_log_warns_once_is_noted_and_training_goes_on(tmp_path: Path, monkeypatch) -> None:
    explained = RecordBuilder.explain
    calls = []

    def look(self: RecordBuilder) -> Any:
        calls.append(1)
        if len(calls) in (4, 5):  # the check, the baseline, then one an epoch
            raise MemoryError("no room for the maps")
        return explained(self)

    monkeypatch.setattr(RecordBuilder, "explain", look)
    watched, alone = make_model(), make_model()
    messages = warnings_of(lambda: fit(watched, monitor(tmp_path, gradients="train"), epochs=4))
    assert len(messages) == 1
    assert "step 2 was not logged: MemoryError: no room for the maps" in messages[0]
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
    messages = warnings_of(lambda: fit(make_model(), monitor(tmp_path, verbose=1), epochs=5))
    assert len(messages) == 1
    assert "step 2 was not written: StoreOSError" in messages[0]
    assert "No space left on device" in messages[0]
    assert places(tmp_path) == epochs_of(0, 1, 4, 5)
    notes = [note for step in (4, 5) for note in open_run(tmp_path).record(step).notes]
    assert sum("step 2 was not written" in note for note in notes) == 1
    assert sum("step 3 was not written" in note for note in notes) == 1
    printed = capsys.readouterr().out
    assert "LRP monitor: 4 logs (epoch 0 to 5), " in printed
    assert "2 failed, see the warning and the run's notes" in printed


@pytest.mark.process
def test_a_disk_that_is_really_full(tmp_path: Path, forked: Forked) -> None:
    """No file of the process may grow beyond a limit: what the system says when it refuses a write."""
    code = f"""
        import resource, signal, warnings
        from pathlib import Path
        from monitor_helpers import fit, make_model, monitor
        model = make_model()
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (40000, resource.RLIM_INFINITY))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            history = fit(model, monitor(Path({str(tmp_path)!r})), epochs=25)
        messages = [str(w.message) for w in caught if "LRPMonitor" in str(w.message)]
        assert len(history.history["loss"]) == 25
        assert len(messages) == 1 and "File too large" in messages[0], messages
    """
    done = forked.run(code)
    assert done.returncode == 0, done.stderr[-3000:]
    steps = [step for step, _, _ in places(tmp_path)]
    assert 3 < len(steps) < 26
    assert steps == list(range(len(steps)))


class At(keras.callbacks.Callback):
    """Does something at the end of an epoch (counted from 0)."""

    def __init__(self, epoch: int, act: Callable[[], object]) -> None:
        super().__init__()
        self.at, self.act = epoch, act

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if epoch == self.at:
            self.act()


@contextlib.contextmanager
def small_disk(folder: Path, size: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A file system of that many bytes; where none may be mounted, writes that fail half-way as on a full one."""
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=False)
    if mounted.returncode == 0:
        try:
            yield
        finally:
            subprocess.run(["umount", "-l", str(folder)], check=True)
        return
    room, write = int(size), os.write

    def short(handle: int, data: Any) -> int:
        nonlocal room
        if not os.readlink(f"/proc/self/fd/{handle}").startswith(str(folder)):
            return write(handle, data)
        if room == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done = write(handle, bytes(data)[:room])
        room -= done
        return done

    monkeypatch.setattr(os, "write", short)
    yield
    monkeypatch.setattr(os, "write", write)


def test_a_full_file_system_ends_the_log_not_the_training(tmp_path: Path, monkeypatch) -> None:
    watched, alone, disk = make_model(), make_model(), tmp_path / "disk"
    with small_disk(disk, "65536", monkeypatch):
        messages = warnings_of(lambda: fit(watched, monitor(disk, gradients="train"), epochs=12))
        assert len(messages) == 1
        assert "No space left on device" in messages[0]
        steps = [step for step, _, _ in places(disk)]
        assert 1 < len(steps) < 12
        assert steps == list(range(len(steps)))
        assert np.isfinite(open_run(disk).heatmaps(steps[-1])).all()
    fit(alone, epochs=12)
    for mine, theirs in zip(watched.get_weights(), alone.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_run_goes_on_once_there_is_room_again(tmp_path: Path, monkeypatch) -> None:
    model, append, full = make_model(), RunWriter.append, True

    def refuse(self: RunWriter, record: StepRecord) -> None:
        if full and record.step >= 2:
            raise StoreOSError(f"{self.path} cannot be written: No space left on device", 28)
        append(self, record)

    monkeypatch.setattr(RunWriter, "append", refuse)
    assert len(warnings_of(lambda: fit(model, monitor(tmp_path), epochs=3))) == 1
    assert places(tmp_path) == epochs_of(0, 1)
    full = False
    fit(model, monitor(tmp_path), epochs=5, initial_epoch=3)
    assert places(tmp_path) == epochs_of(0, 1, 3, 4, 5)


def test_a_step_that_the_event_file_alone_has_is_logged_again(tmp_path: Path, monkeypatch) -> None:
    """What a kill between the two writes leaves: a resumed fit closes the gap, and draws no step twice."""
    model, append = make_model(), RunWriter.append

    def refuse(self: RunWriter, record: StepRecord) -> None:
        if record.step == 3:
            raise StoreOSError(f"{self.path} cannot be written", 28)
        append(self, record)

    monkeypatch.setattr(RunWriter, "append", refuse)
    warnings_of(lambda: fit(model, monitor(tmp_path), epochs=3))
    monkeypatch.setattr(RunWriter, "append", append)
    assert places(tmp_path) == epochs_of(0, 1, 2)
    assert drawn(tmp_path) == [0, 1, 2, 3]
    fit(model, monitor(tmp_path), epochs=5, initial_epoch=3)
    assert places(tmp_path) == epochs_of(0, 1, 2, 3, 4, 5)
    assert drawn(tmp_path) == [0, 1, 2, 3, 4, 5]


def drawn(folder: Path) -> list[int]:
    """The steps that TensorBoard draws of a scalar."""
    return [event.step for event in accumulate(folder).Tensors("lrp/probability")]


def test_the_log_directory_removed_in_mid_run_is_begun_anew(tmp_path: Path) -> None:
    watched, alone, folder = make_model(), make_model(), tmp_path / "run"
    messages = warnings_of(
        lambda: fit(watched, At(1, lambda: shutil.rmtree(folder)), monitor(folder, gradients="train"), epochs=4)
    )
    assert len(messages) == 1
    assert "was removed in mid-run" in messages[0]
    assert places(folder) == epochs_of(2, 3, 4)
    assert any("step 2 and what follows is logged anew" in note for note in open_run(folder).record(3).notes)
    assert len(list((folder / "lrp").glob("events*"))) == 1
    fit(alone, epochs=4)
    for mine, theirs in zip(watched.get_weights(), alone.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_file_in_place_of_the_log_directory_is_reported_and_training_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "run"

    def replace() -> None:
        shutil.rmtree(folder)
        folder.write_text("in the way")

    messages = warnings_of(lambda: fit(make_model(), At(1, replace), monitor(folder), epochs=4))
    assert len(messages) == 1
    assert "step 2 was not written: StoreOSError" in messages[0]
    assert folder.read_text() == "in the way"


@pytest.mark.process
def test_a_log_directory_made_read_only_in_mid_run_loses_nothing(forked: Forked) -> None:
    """As another user where the test runs as root, who may write anywhere. What is open stays open."""
    # A folder of its own: pytest closes its own to other users whenever another pytest starts.
    with tempfile.TemporaryDirectory() as own:
        os.chmod(own, 0o755)
        folder = Path(own) / "run"
        folder.mkdir()
        if os.geteuid() == 0:
            os.chown(folder, 65534, 65534)
        made_read_only(folder, forked)
        assert places(folder) == epochs_of(0, 1, 2, 3, 4)


def made_read_only(folder: Path, forked: Forked) -> None:
    code = f"""
        import os, sys, warnings
        from pathlib import Path
        from monitor_helpers import fit, make_model, monitor
        from test_monitor_faults import At
        folder, model = Path({str(folder)!r}), make_model()
        if os.geteuid() == 0:
            os.setuid(65534)
        def close():
            for path in [*folder.rglob("*"), folder]:
                os.chmod(path, 0o555 if path.is_dir() else 0o444)
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        fit(model, monitor(folder), At(1, close), epochs=4)
        try:
            fit(model, monitor(folder), epochs=6, initial_epoch=4)
        except OSError as error:
            sys.exit(0 if "Permission denied" in str(error) else str(error))
        sys.exit("not refused")
    """
    done = forked.run(code)
    assert done.returncode == 0, done.stderr[-3000:]


TOGETHER = """
    import time, warnings
    from pathlib import Path
    import keras
    from monitor_helpers import fit, make_model, monitor

    class InStep(keras.callbacks.Callback):
        # Both processes log an epoch before either goes on to the next one.
        def on_epoch_end(self, epoch, logs=None):
            (Path({meet!r}) / f"{{{me}}}-{{epoch}}").touch()
            end = time.monotonic() + 60
            while not (Path({meet!r}) / f"{{1 - {me}}}-{{epoch}}").exists() and time.monotonic() < end:
                time.sleep(0.01)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        history = fit(make_model(seed={me}), monitor(Path({folder!r})), InStep(), epochs=5)
    messages = [str(w.message) for w in caught if "LRPMonitor" in str(w.message)]
    assert len(history.history["loss"]) == 5
    assert len(messages) <= 1, messages
    assert all("another monitor logs to" in t or "a run of its own" in t for t in messages), messages
    print("WARNINGS", len(messages))
"""


@pytest.mark.process
def test_two_processes_in_one_log_directory(tmp_path: Path, forked: Forked) -> None:
    """One finds the other's run and begins one beside it, or both began at once and one reports the other."""
    meet, folder = tmp_path / "meet", tmp_path / "run"
    meet.mkdir()
    values = {"meet": str(meet), "folder": str(folder)}
    processes = [forked.start(TOGETHER.format(**values, me=me)) for me in (0, 1)]
    ended = [process.ended() for process in processes]
    assert [one.returncode for one in ended] == [0, 0], ended[0].stderr[-2000:] + ended[1].stderr[-2000:]
    assert sum(int(one.stdout.split("WARNINGS ")[1]) for one in ended) >= 1
    if len(begun := run_folders(folder)) == 2:
        assert [places(Path(run)) for run in begun] == [epochs_of(*range(6))] * 2
        return
    assert [step for step, _, _ in places(folder)][-1] == 5
    run = open_run(folder)
    assert len(run.sessions) == 2
    assert all(np.isfinite(run.heatmaps(step)).all() for step in run.steps)
    written = [session.steps for session in run.sessions]
    assert min(written) >= 5


def test_a_clock_that_goes_backwards(tmp_path: Path, monkeypatch) -> None:
    model, clock = make_model(), time.time
    fit(model, monitor(tmp_path), epochs=2)
    shift = [-86400.0]

    def behind() -> float:
        shift[0] -= 3600.0  # an hour back at each look
        return clock() + shift[0]

    monkeypatch.setattr(time, "time", behind)
    fit(model, monitor(tmp_path), epochs=2)
    monkeypatch.setattr(time, "time", clock)
    assert places(tmp_path) == epochs_of(0, 1, 2, 3, 4)
    run = open_run(tmp_path)
    assert run.record(4).wall_time < run.record(0).wall_time
    assert drawn(tmp_path) == [0, 1, 2, 3, 4]


def test_a_writing_thread_that_dies_is_reported_and_holds_nobody_up(tmp_path: Path, monkeypatch) -> None:
    append = RunWriter.append

    def die(self: RunWriter, record: StepRecord) -> None:
        if record.step == 2:
            raise SystemExit("killed")
        append(self, record)

    monkeypatch.setattr(RunWriter, "append", die)
    messages = warnings_of(lambda: fit(make_model(), monitor(tmp_path), epochs=5))
    assert len(messages) == 1
    assert "the writing thread ended: SystemExit: killed" in messages[0]
    assert places(tmp_path) == epochs_of(0, 1)


def test_a_disk_that_hangs_is_waited_for_once_and_catches_up(tmp_path: Path, monkeypatch) -> None:
    append, released = RunWriter.append, threading.Event()
    monkeypatch.setattr(run_logger, "PATIENCE", 2.0)
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
    messages = warnings_of(lambda: fit(make_model(), monitor(tmp_path), Time(), epochs=6))
    assert [text.split(". Training")[0] for text in messages] == ["LRPMonitor: the disk has taken no record for 2 s"]
    lasted = np.diff(waited)
    assert lasted[1] > 1.9  # the second epoch's log waited as long as it has patience
    assert lasted[2] < lasted[1]  # the third's did not
    assert places(tmp_path) == epochs_of(0, 1, 2, 3, 4, 5, 6)


def test_a_model_that_turns_nan(tmp_path: Path) -> None:
    class Break(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if epoch == 1:
                kernel = self.model.layers[-1].kernel
                kernel.assign(kernel * np.nan)

    messages = warnings_of(lambda: fit(make_model(), monitor(tmp_path), Break(), epochs=3))
    assert len([text for text in messages if "of the weights are not finite at step 2" in text]) == 1
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
    messages = warnings_of(
        lambda: fit(make_model(), monitor(tmp_path, probes, gradients="train", max_store_mb=0.02), epochs=8)
    )
    assert len(messages) == 1
    assert "max_store_mb=0.02" in messages[0]
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

    watcher = monitor(Path("{folder}"), gradients="off")
    fit(make_model(), watcher, keras.callbacks.BackupAndRestore("{backup}"), Kill(), epochs=5)
"""


@pytest.mark.process
@pytest.mark.parametrize(
    "end", ["SIGINT", "SIGKILL", *(pytest.param(one, marks=pytest.mark.slow) for one in ("raise", "SIGTERM"))]
)  # by an error of Python's, and by none: of each pair one is slow
def test_every_way_to_end_a_process_leaves_a_readable_run(tmp_path: Path, end: str, forked: Forked) -> None:
    folder, backup = tmp_path / "run", tmp_path / "backup"
    done = forked.run(KILLED.format(end=end, folder=folder, backup=backup))
    assert done.returncode != 0
    if end.startswith("SIG") and end != "SIGINT":
        assert done.returncode == -getattr(signal, end)
    assert places(folder) == epochs_of(0, 1, 2, 3)

    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    model = make_model()
    model.optimizer.build(model.trainable_variables)
    model.load_weights(backup / "latest.weights.h5")
    fit(model, monitor(copy), epochs=5, initial_epoch=3)
    fit(make_model(), monitor(folder), keras.callbacks.BackupAndRestore(str(backup)), epochs=5)
    for resumed in (copy, folder):
        assert places(resumed) == epochs_of(0, 1, 2, 3, 4, 5)
        run = open_run(resumed)
        sessions = [run.record(step).session for step in run.steps]
        assert sessions[:4] == [sessions[0]] * 4
        assert sessions[4:] == [run.session] * 2
        assert not any(run.record(step).notes for step in run.steps)
