"""Several process starts in one store, limits of size, folders that cannot be written, readers at work."""

from __future__ import annotations

import dataclasses
import os
import resource
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
from store_samples import COUNT, make_maps, make_probes, make_record, segments

from lrp_monitor.store.format import Histogram, StoreError
from lrp_monitor.store.reader import Run, open_run
from lrp_monitor.store.writer import RunWriter


def session(folder: Path, steps: list[int], value: float, **options: object) -> str:
    with RunWriter(folder / "lrp", make_probes(), meta={"value": value}, **options) as writer:
        for step in steps:
            writer.append(make_record(step, scalars={"v": value}))
    return writer.session


def values(run: Run) -> list[tuple[int, float]]:
    steps, found = run.scalar("v")
    return list(zip(steps.tolist(), found.tolist(), strict=True))


def test_the_later_session_wins_from_its_first_step_on(tmp_path: Path) -> None:
    first = session(tmp_path, [0, 1, 2, 3, 4, 5], 1.0)
    run = open_run(tmp_path)
    second = session(tmp_path, [3, 5], 2.0)
    assert run.is_current(3, first)
    assert run.refresh()
    assert values(run) == [(0, 1), (1, 1), (2, 1), (3, 2), (5, 2)]  # step 4 of the first was undone
    assert not run.is_current(3, first)
    assert run.is_current(3, second)
    assert run.is_current(2, first)
    assert [run.record(step).session for step in run.steps] == [first] * 3 + [second] * 2
    assert run.session == second
    assert run.meta == {"value": 2.0}
    session(tmp_path, [7], 3.0)
    session(tmp_path, [2], 4.0)
    run.refresh()
    assert values(run) == [(0, 1), (1, 1), (2, 4)]
    assert [(s.ordinal, s.first_step, s.last_step, s.steps) for s in run.sessions] == [
        (1, 0, 5, 6),
        (2, 3, 5, 2),
        (3, 7, 7, 1),
        (4, 2, 2, 1),
    ]
    assert values(open_run(tmp_path)) == values(run)


def test_the_order_of_sessions_is_counted_not_clocked(tmp_path: Path) -> None:
    session(tmp_path, [0, 1], 1.0)
    session(tmp_path, [1], 2.0)
    store = tmp_path / "lrp/plugins/lrp_monitor"
    for age, path in enumerate(segments(store)):  # the older session gets the newer time
        os.utime(path, (2e9 - age, 2e9 - age))
    assert values(open_run(tmp_path)) == [(0, 1), (1, 2)]


def test_last_step_is_the_highest_that_any_session_holds(tmp_path: Path) -> None:
    with RunWriter(tmp_path / "lrp", make_probes(), meta={}) as writer:
        assert writer.last_step is None
        writer.append(make_record(9))
        assert writer.last_step == 9
    with RunWriter(tmp_path / "lrp", make_probes(), meta={}) as writer:
        assert writer.last_step == 9
        writer.append(make_record(2))
        assert writer.last_step == 9
    assert open_run(tmp_path).steps == [2]
    with RunWriter(tmp_path / "lrp", make_probes(), meta={}) as writer:
        assert writer.last_step == 9


def test_a_session_without_steps_leaves_nothing_behind(tmp_path: Path) -> None:
    kept = session(tmp_path, [0], 1.0)
    session(tmp_path, [], 2.0)
    run = open_run(tmp_path)
    assert [s.id for s in run.sessions] == [kept]
    assert run.meta == {"value": 1.0}


def test_a_session_just_begun_does_not_hide_the_one_that_has_steps(tmp_path: Path) -> None:
    kept = session(tmp_path, [0], 1.0)
    with RunWriter(tmp_path / "lrp", make_probes(), meta={"value": 2.0}):
        run = open_run(tmp_path)
        assert (run.session, run.meta, run.steps) == (kept, {"value": 1.0}, [0])


def test_steps_of_one_session_only_go_up(tmp_path: Path) -> None:
    with RunWriter(tmp_path, make_probes(), meta={}) as writer:
        writer.append(make_record(3))
        for step in (3, 2):
            with pytest.raises(ValueError, match=f"step {step} is not higher than the last one written, 3"):
                writer.append(make_record(step))
        with pytest.raises(ValueError, match="step must be >= 0"):
            writer.append(dataclasses.replace(make_record(4), step=-1))
    with pytest.raises(StoreError, match="closed"):
        writer.append(make_record(4))


def test_max_store_mb_stops_maps_but_not_statistics_and_says_so_once(tmp_path: Path) -> None:
    info, shape = make_probes(shape=(40, 40)), (40, 40)

    def append(writer: RunWriter, step: int) -> None:
        writer.append(make_record(step, heatmaps=make_maps(step, COUNT, shape)))

    with RunWriter(tmp_path, info, meta={}, max_store_mb=0.03) as writer:
        for step in range(12):
            append(writer, step)
            assert (writer.notice is None) == open_run(tmp_path).record(step).maps
    run = open_run(tmp_path)
    stored = [step for step in run.steps if run.record(step).maps]
    assert run.steps == list(range(12))
    assert 2 <= len(stored) < 8
    assert stored == list(range(len(stored)))
    with_maps = [p.stat().st_size for p in Path(run.path).iterdir()]
    assert sum(with_maps) < 30_000 + 12 * 1500
    first = len(stored)
    text = (
        f"maps are not stored from step {first} on: the store has reached max_store_mb=0.03; "
        "statistics and histograms go on"
    )
    assert writer.notice == text
    assert [step for step in run.steps if text in run.record(step).notes] == [first]
    assert run.statistic("sum")[0].tolist() == list(range(12))
    assert run.histogram(11, "weight", "conv2d/kernel").counts.tolist() == [1, 3, 11]
    assert run.film(0)[0].tolist() == stored
    with pytest.raises(StoreError, match=rf"maps not stored at step {first} .*max_store_mb=0.03"):
        run.heatmaps(first)
    with pytest.raises(StoreError, match="maps not stored at step 11"):
        run.heatmap(0, 11)
    assert run.map_chunks(11) == b""
    with RunWriter(tmp_path, info, meta={}, max_store_mb=0.03) as again:  # the limit counts all sessions
        append(again, 12)
        assert again.notice is not None
    with RunWriter(tmp_path, info, meta={}) as freed:
        append(freed, 13)
        assert freed.notice is None


def test_a_record_without_maps_is_a_record(tmp_path: Path) -> None:
    with RunWriter(tmp_path, make_probes(), meta={}) as writer:
        writer.append(make_record(0, heatmaps=None))
    run = open_run(tmp_path)
    assert run.record(0).maps is False
    assert np.isnan(run.record(0).scale).all()
    assert run.film(0)[1].shape == (0, 6, 5)
    with pytest.raises(StoreError, match="maps not stored at step 0"):
        run.heatmaps(0)


def test_another_probe_set_is_refused_and_nothing_is_touched(tmp_path: Path) -> None:
    session(tmp_path, [0], 1.0)
    before = {p: p.read_bytes() for p in (tmp_path / "lrp").rglob("*") if p.is_file()}
    other = make_probes(seed=1)
    with pytest.raises(StoreError) as raised:
        RunWriter(tmp_path / "lrp", other, meta={})
    words = str(raised.value)
    assert str(tmp_path) in words
    assert make_probes().hash[:12] in words
    assert other.hash[:12] in words
    assert "give another log_dir" in words
    assert {p: p.read_bytes() for p in (tmp_path / "lrp").rglob("*") if p.is_file()} == before


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ({"encoding": "int8"}, "encoding must be one of"),
        ({"segment_bytes": 0}, "segment_bytes must be at least 1"),
        ({"max_store_mb": -1}, "max_store_mb must be"),
        ({"max_store_mb": float("nan")}, "max_store_mb must be"),
        ({"meta": {"x": float("nan")}}, "meta must be JSON"),
        ({"meta": {"x": np.zeros(2)}}, "meta must be JSON"),
    ],
)
def test_wrong_arguments_are_named_before_anything_is_written(tmp_path: Path, argument: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        RunWriter(tmp_path / "lrp", make_probes(), **({"meta": {}} | argument))
    assert list(tmp_path.iterdir()) == []


def test_records_that_do_not_fit_the_probes_are_refused(tmp_path: Path) -> None:
    with RunWriter(tmp_path, make_probes(), meta={}) as writer:
        with pytest.raises(ValueError, match=r"heatmaps must have shape \(3, 6, 5\), got \(3, 5, 6\)"):
            writer.append(make_record(0, heatmaps=np.zeros((3, 5, 6), np.float32)))
        with pytest.raises(ValueError, match="statistic 'sum' must have one value for each of the 3 probes"):
            writer.append(make_record(0, probes={"sum": np.zeros(2)}))
        bad = Histogram("weight", "k", 3, buckets=np.zeros(2, np.uint16), counts=np.zeros(3, np.int64))
        with pytest.raises(ValueError, match="histogram weight 'k': buckets and counts"):
            writer.append(make_record(0, histograms=[bad]))
        writer.append(make_record(0))
    run = open_run(tmp_path)
    assert (run.steps, run.problems) == ([0], [])


def test_a_path_that_is_no_folder_is_an_os_error_with_the_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    words = rf"{tmp_path}/file/lrp/plugins/lrp_monitor cannot be created: Not a directory"
    for cls in (StoreError, OSError):
        with pytest.raises(cls, match=words):
            RunWriter(tmp_path / "file/lrp", make_probes(), meta={})


def test_a_folder_without_write_permission_is_named() -> None:
    # Permissions do not bind a superuser: where the tests run as one, a child process steps down first.
    code = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from store_samples import make_probes
from lrp_monitor.store.format import StoreError
from lrp_monitor.store.writer import RunWriter
if os.geteuid() == 0:
    os.setgid(65534); os.setuid(65534)
try:
    RunWriter(sys.argv[1] + "/lrp", make_probes(), meta={{}})
except StoreError as error:
    print(isinstance(error, PermissionError) or isinstance(error, OSError), error)
"""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, stat.S_IRUSR | stat.S_IXUSR | stat.S_IROTH | stat.S_IXOTH)
        command = [sys.executable, "-c", code, folder]
        found = subprocess.run(command, capture_output=True, text=True, check=True)
        assert found.stdout.strip() == (f"True {folder}/lrp/plugins/lrp_monitor cannot be created: Permission denied")


def test_a_full_disk_ends_in_the_last_whole_record_and_writing_can_go_on(tmp_path: Path) -> None:
    with RunWriter(tmp_path, make_probes(), meta={}) as writer:
        writer.append(make_record(0))
        size = segments(writer.path)[0].stat().st_size
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, limits[1]))  # in the middle of the next record
        try:
            with pytest.raises(OSError, match=rf"{tmp_path}.*cannot be written: File too large"):
                writer.append(make_record(1))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert segments(writer.path)[0].stat().st_size == size
        writer.append(make_record(2))
    run = open_run(tmp_path)
    assert (run.steps, run.problems) == ([0, 2], [])
    assert np.abs(run.heatmaps(2) - make_maps(2)).max() < 0.05


def test_a_killed_writer_leaves_all_that_it_had_appended(tmp_path: Path) -> None:
    code = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from store_samples import make_probes, make_record
from lrp_monitor.store.writer import RunWriter
writer = RunWriter({str(tmp_path)!r}, make_probes(), meta={{}})
for step in range(5):
    writer.append(make_record(step))
os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    run = open_run(tmp_path)
    assert (run.steps, run.problems, run.verify()) == ([0, 1, 2, 3, 4], [], [])


def test_readers_follow_a_writer_without_a_wrong_map(tmp_path: Path) -> None:
    last = 120
    writer = RunWriter(tmp_path, make_probes(), meta={}, encoding="float32", segment_bytes=20_000)
    run, failures, seen = open_run(tmp_path), [], set()

    def read(number: int) -> None:
        rng = np.random.default_rng(number)
        try:
            while not (run.steps and run.steps[-1] == last):
                run.refresh()
                steps = run.steps
                if not steps:
                    continue
                assert steps == list(range(len(steps)))
                step = int(rng.choice(steps))
                np.testing.assert_array_equal(run.heatmaps(step), make_maps(step))
                assert run.scalar("lrp/conservation")[1][step] == 0.1 + step
                assert run.histogram(step, "weight", "conv2d/kernel").maximum == step
                seen.add(step)
        except BaseException as failure:
            failures.append(failure)
            raise

    threads = [threading.Thread(target=read, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for step in range(last + 1):
        writer.append(make_record(step))
    writer.close()
    for thread in threads:
        thread.join(timeout=60)
    assert not failures
    assert len(seen) > 5
    assert run.problems == []
    assert len(segments(writer.path)) > 5


def test_a_log_directory_that_was_deleted_and_used_again_is_read_anew(tmp_path: Path) -> None:
    session(tmp_path, [0, 1, 2], 1.0)
    run = open_run(tmp_path)
    assert values(run) == [(0, 1), (1, 1), (2, 1)]
    for path in Path(run.path).iterdir():
        path.unlink()
    other = make_probes(seed=9)
    with RunWriter(tmp_path / "lrp", other, meta={}) as writer:
        writer.append(make_record(0, scalars={"v": 5.0}))
    assert run.refresh()
    assert values(run) == [(0, 5)]
    assert run.probes.hash == other.hash


def test_flush_has_the_file_synced_and_close_twice_is_fine(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path, make_probes(), meta={})
    writer.append(make_record(0))
    writer.flush()
    writer.close()
    writer.close()
    writer.flush()
    assert open_run(tmp_path).steps == [0]
