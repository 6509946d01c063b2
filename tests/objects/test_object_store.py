"""Runs on an object store: written by whole objects, read back as from a disk; errors that name what fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from object_store import ObjectStore, down
from store_samples import make_maps, make_probes, make_record

from lrp_monitor.plugin.runs import Folders, Readers
from lrp_monitor.plugin.wire import step_answer
from lrp_monitor.store import objects
from lrp_monitor.store.clusters import StepClusters
from lrp_monitor.store.format import StoreError, StoreOSError
from lrp_monitor.store.reader import Run, open_run
from lrp_monitor.store.storage import open_storage
from lrp_monitor.store.writer import RunWriter

URL = "objects://bucket/runs/a"
FOLDER = "bucket/runs/a/lrp/plugins/lrp_monitor"


def writer(folder: object = URL, value: float = 0.0, **options: object) -> RunWriter:
    run_dir = f"{folder}/lrp" if isinstance(folder, str) else folder / "lrp"
    return RunWriter(run_dir, make_probes(), meta={"value": value}, **options)


def session(folder: object, steps: list[int], value: float) -> None:
    with writer(folder, value) as file:
        for step in steps:
            file.append(make_record(step, scalars={"v": value}))


def contents(run: Run) -> list[object]:
    """What a run holds, apart from ids."""
    steps, values = run.scalar("v")
    places = [(s.ordinal, s.first_step, s.last_step, s.steps, s.meta) for s in run.sessions]
    return [run.steps, steps.tolist(), values.tolist(), places, run.meta, run.verify()]


def segments(store: type[ObjectStore]) -> dict[str, int]:
    return {key: len(data) for key, (data, _) in store.objects.items() if "/steps-" in key}


def test_what_was_written_is_read_back(store: type[ObjectStore]) -> None:
    with writer() as file:
        for step in range(4):
            file.append(make_record(step))
    run = open_run(URL)
    assert run.path == f"objects://{FOLDER}"
    assert run.steps == [0, 1, 2, 3]
    np.testing.assert_allclose(run.heatmaps(3), make_maps(3), atol=0.05)
    steps, film = run.film("probe 1")
    assert steps.tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(film, np.stack([run.heatmap(1, step) for step in range(4)]))
    assert run.histogram(2, "weight", "conv2d/kernel").counts.tolist() == [1, 3, 2]
    assert run.stored_bytes == sum(len(data) for data, _ in store.objects.values())
    assert run.verify() == []


def test_sessions_overlap_rewind_and_resume_as_on_a_disk(store: type[ObjectStore], tmp_path: Path) -> None:
    for folder in (URL, tmp_path):
        for value, steps in enumerate([[0, 1, 2, 3, 4, 5], [3, 5], [7], [], [2, 3]]):
            session(folder, steps, float(value))
    assert contents(open_run(URL)) == contents(open_run(tmp_path))
    assert open_run(URL).steps == [0, 1, 2, 3]
    with writer() as file:
        assert file.last_step == 7
    with pytest.raises(StoreError, match="another probe set"):
        RunWriter(f"{URL}/lrp", make_probes(seed=1), meta={})


def test_killed_after_any_put_every_step_whose_append_had_returned_is_there(store: type[ObjectStore]) -> None:
    returned = {0: 0}  # puts so far -> steps whose append had returned
    with writer() as file:
        for step in range(40):
            file.append(make_record(step))
            returned[len(store.history) - 1] = step + 1
    seen = 0
    for puts, state in enumerate(store.history[1:], 1):
        store.objects, store.history = state, [*store.history[:puts], state]
        seen = max(seen, returned.get(puts, 0))
        if "probes.tfrecord" in "".join(state):
            run = open_run(URL)
            assert run.steps == list(range(seen))
            assert run.verify() == []
    assert seen == 40


@pytest.mark.parametrize(("side", "steps"), [(20, 150), (300, 12)])
def test_a_step_costs_one_put_of_bounded_size(store: type[ObjectStore], side: int, steps: int) -> None:
    shape = (side, side)
    maps = np.random.default_rng(0).standard_normal((3, *shape)).astype(np.float32)
    with RunWriter(f"{URL}/lrp", make_probes(shape=shape), meta={}, encoding="float32") as file:
        store.requests.clear()
        for step in range(steps):
            file.append(make_record(step, heatmaps=maps, histograms=[]))
        assert store.count("put") == steps
        assert {kind for kind, _, _ in store.requests} == {"put"}
        each = (file.bytes_written - 300) / steps
    puts = [size for _, _, size in store.requests]
    assert max(puts) <= max(objects.PUT_BYTES, each * 1.01)
    assert sum(puts) / steps <= each + objects.PUT_BYTES / 2
    per_object = max(1, int(objects.PUT_BYTES // each))
    assert len(segments(store)) == pytest.approx(steps / per_object, abs=2)
    run = open_run(URL)
    assert run.steps == list(range(steps))
    assert run.problems == []


def test_opening_a_run_takes_few_requests(store: type[ObjectStore]) -> None:
    maps = np.random.default_rng(0).standard_normal((3, 300, 300)).astype(np.float32)
    with RunWriter(f"{URL}/lrp", make_probes(shape=(300, 300)), meta={}, encoding="float32") as file:
        for step in range(10):
            file.append(make_record(step, heatmaps=maps))
    assert len(segments(store)) == 11
    store.requests.clear()
    run = open_run(URL)
    run.records()
    assert store.count("get") == 1 + 11 + 10  # the probes, the head of each object, the headers of the steps
    store.requests.clear()
    run.refresh()
    assert [kind for kind, _, _ in store.requests] == ["list"]
    run.heatmaps(4)
    assert store.count("get") == 1
    small = open_run_of_small_steps(store)
    assert len(small.steps) == 60
    assert store.count("get") < 12


def open_run_of_small_steps(store: type[ObjectStore]) -> Run:
    with writer("objects://bucket/small") as file:
        for step in range(60):
            file.append(make_record(step))
    store.requests.clear()
    run = open_run("objects://bucket/small")
    run.records()
    return run


def test_a_reader_sees_each_step_though_listings_are_cached(store: type[ObjectStore]) -> None:
    with writer() as file:
        run = open_run(URL)
        for step in range(30):
            file.append(make_record(step))
            run._storage._fs.ls(FOLDER)  # as some other user of the same file system would fill its cache
            assert run.refresh()
            assert not run.refresh()
            assert run.steps == list(range(step + 1))
    assert run.problems == []


def test_a_listing_that_lags_is_caught_up_with(store: type[ObjectStore]) -> None:
    with writer() as file:
        for step in range(6):
            file.append(make_record(step))
        run = open_run(URL)
        store.lag = 4
        run.refresh()
        assert run.steps == [0, 1]
        store.lag = len(store.history)
        assert file.sessions() == {file.session}  # not taken for removed
        store.lag = 0
        run.refresh()
        assert run.steps == [0, 1, 2, 3, 4, 5]
        store.objects.clear()
        assert file.sessions() == set()


@pytest.mark.parametrize("arrived", [False, True])
def test_a_put_that_failed_costs_its_step_alone_even_where_it_arrived(store: type[ObjectStore], arrived: bool) -> None:
    with writer() as file:
        run = open_run(URL)
        for step in range(6):
            if step in (2, 3):
                setattr(store, "after" if arrived else "before", down())
                with pytest.raises(StoreOSError, match=r"objects://.*steps-.* cannot be written: put: could not conn"):
                    file.append(make_record(step))
                store.before = store.after = None
                run.refresh()
            else:
                file.append(make_record(step))
        run.refresh()
        expected = [0, 1, 2, 3, 4, 5] if arrived else [0, 1, 4, 5]
        assert run.steps == expected
    assert open_run(URL).steps == expected
    assert open_run(URL).verify() == []


def test_a_failed_put_may_be_tried_again(store: type[ObjectStore]) -> None:
    with writer() as file:
        file.append(make_record(0))
        store.after = down()
        with pytest.raises(StoreOSError):
            file.append(make_record(1, scalars={"v": 1.0}))
        store.after = None
        file.append(make_record(1, scalars={"v": 2.0}))
    run = open_run(URL)
    assert run.steps == [0, 1]
    assert run.scalar("v")[1].tolist() == [2.0]


def test_reading_tells_what_failed(store: type[ObjectStore]) -> None:
    with writer() as file:
        file.append(make_record(0))
    run = open_run(URL)
    store.before = down()
    with pytest.raises(StoreOSError, match="cannot be listed: list: could not connect"):
        run.refresh()
    with pytest.raises(StoreOSError, match=r"steps-0001.* cannot be read: get: could not connect"):
        run.heatmaps(0)
    with pytest.raises(StoreOSError, match="could not connect"):
        writer()
    store.before = None
    assert run.heatmaps(0).shape == (3, 6, 5)


def test_ranges_are_those_that_were_asked_for(store: type[ObjectStore]) -> None:
    folder = open_storage("objects://bucket/x")
    data = np.random.default_rng(0).integers(0, 256, 1_000_000, np.uint8).tobytes()
    folder.write_whole("a", data)
    ranges = [(5, 10), (0, 3), (900_000, 7), (999_998, 50), (1_000_000, 4), (2_000_000, 1), (12, 0), (400_000, 100)]
    store.requests.clear()
    assert folder.read_many("a", ranges) == [data[o : o + n] for o, n in ranges]
    assert store.count("get") == 4  # near the start, in the middle, near the end; behind it
    with pytest.raises(StoreOSError, match=r"objects://bucket/x/b cannot be read"):
        folder.read("b", 0, 5)
    with pytest.raises(StoreError, match="not the name of a file"):
        folder.read("../a", 0, 5)


def test_groups_are_kept_beside_a_run(store: type[ObjectStore]) -> None:
    session(URL, [0, 1], 1.0)
    run = open_run(URL)
    for labels in ([0, 0, 1], [0, 1, 1]):
        run.write_clusters(StepClusters(1, run.session, np.array(labels)))
        assert run.clusters()[1].labels.tolist() == labels


def test_what_lies_beneath_is_named(store: type[ObjectStore]) -> None:
    session("objects://bucket/runs/b", [0], 1.0)
    session(URL, [0], 1.0)
    with pytest.raises(StoreError, match=r"no run .* there are runs in objects://bucket/runs/a, objects://bucket/runs"):
        open_run("objects://bucket/runs")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nosuch://bucket/run", "nosuch://bucket/run.*Protocol not known"),
        ("s3:/bucket/run", "one slash of the URL is gone"),
        ("objects://bucket/../other", "'..'"),
        ("objects://bucket/./run", "'..'"),
        ("objects://bucket//run", "an empty part"),
        ("objects://", "an empty part"),
        ("simplecache::objects://bucket/run", "chained"),
    ],
)
def test_a_url_that_cannot_be_served_is_described(store: type[ObjectStore], url: str, message: str) -> None:
    with pytest.raises(StoreError, match=message):
        open_run(url)


def test_a_path_that_lost_its_slash_is_not_taken_for_a_folder(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreError, match="give the URL as text"):
        RunWriter(Path("s3://bucket/run") / "lrp", make_probes(), meta={})
    assert list(tmp_path.iterdir()) == []


def test_file_urls_are_local_folders(tmp_path: Path) -> None:
    session(f"file://{tmp_path}", [0, 1], 1.0)
    assert open_run(tmp_path).steps == open_run(f"file://{tmp_path}").steps == [0, 1]


def test_without_fsspec_the_extra_is_named(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(StoreError, match=r's3://bucket/run.*pip install "lrp_monitor\[remote\]"'):
        open_run("s3://bucket/run")


def test_local_runs_do_not_import_fsspec(tmp_path: Path) -> None:
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[1] / "store")!r})
from store_samples import make_probes, make_record
from lrp_monitor.store.reader import open_run
from lrp_monitor.store.writer import RunWriter
import lrp_monitor.plugin.app
with RunWriter({str(tmp_path / "lrp")!r}, make_probes(), meta={{}}) as writer:
    writer.append(make_record(0))
assert open_run({str(tmp_path)!r}).steps == [0]
print([name for name in ("fsspec", "s3fs", "lrp_monitor.store.objects") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100)
    assert done.stdout.strip() == "[]"


def test_a_folder_keeps_its_reader_inside(store: type[ObjectStore], tmp_path: Path) -> None:
    session(URL, [0], 1.0)
    assert open_run(URL, within="objects://bucket/runs").steps == [0]
    for within in ("objects://bucket/run", "objects://other", "s3://bucket/runs", str(tmp_path)):
        with pytest.raises(StoreError, match="leads outside"):
            open_run(URL, within=within)
    with pytest.raises(StoreError, match="leads outside"):
        open_run(tmp_path, within="objects://bucket")


class TestPlugin:
    """From TensorBoard's names of runs to the folders of an object store."""

    def test_runs_are_found_below_the_log_directory(self, store: type[ObjectStore]) -> None:
        session(URL, [0], 1.0)
        folders = Folders("objects://bucket/runs/", None)
        assert folders.locate("a/lrp") == (f"{URL}/lrp", "objects://bucket/runs/")
        assert folders.display_name("a/lrp") == "a"
        assert Folders(URL, None).display_name("lrp") == "a"
        assert Folders(f"{URL}/lrp", None).locate(".")[0] == f"{URL}/lrp"
        assert Folders(f"{URL}/lrp", None).display_name(".") == "a"
        assert Readers(folders).reader("a/lrp").steps == [0]

    @pytest.mark.parametrize("run", ["../secret", "a/../../secret", "a//lrp", "./a", "objects://x/y", "x::objects://y"])
    def test_no_name_leads_out_of_it(self, store: type[ObjectStore], run: str) -> None:
        with pytest.raises(StoreError):
            Folders("objects://bucket/runs", None).locate(run)
        assert store.requests == []

    def test_several_log_directories_local_ones_among_them(self, store: type[ObjectStore], tmp_path: Path) -> None:
        session(URL, [0], 1.0)
        session("objects://bucket/other/b", [0, 1], 1.0)
        session(tmp_path / "c", [0, 1, 2], 1.0)
        spec = f"x:objects://bucket/runs,objects://bucket/other,{tmp_path}"
        readers = Readers(Folders(None, spec))
        assert [readers.reader(run).steps for run in ("x/a/lrp", "b/lrp", "c/lrp")] == [[0], [0, 1], [0, 1, 2]]

    def test_a_page_asking_for_many_steps_lists_once(self, store: type[ObjectStore], monkeypatch) -> None:
        session(URL, [0, 1, 2], 1.0)
        readers = Readers(Folders("objects://bucket/runs", None))
        readers.reader("a/lrp")
        store.requests.clear()
        for step in (0, 1, 2):
            step_answer(readers.reader("a/lrp"), step)
        assert store.count("list") <= 1
        session(URL, [3], 1.0)
        monkeypatch.setattr("lrp_monitor.plugin.runs._REFRESH_SECONDS", 0.0)
        assert readers.reader("a/lrp").steps == [0, 1, 2, 3]
