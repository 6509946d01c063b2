"""Several runs in one log directory: their order, their names, the next free one."""

from __future__ import annotations

from pathlib import Path

import pytest
from store_samples import make_probes, make_record

from lrp_monitor.store.folders import new_run_folder, run_folders, run_label, run_name
from lrp_monitor.store.format import StoreOSError
from lrp_monitor.store.reader import open_run
from lrp_monitor.store.writer import RunWriter


def write(run_dir: Path, step: int) -> None:
    with RunWriter(run_dir, make_probes(), meta={}) as writer:
        writer.append(make_record(step))


def test_the_newest_run_of_a_log_directory_is_opened(tmp_path: Path) -> None:
    assert run_folders(tmp_path) == []
    for number, name in enumerate(("lrp-10", "lrp", "lrp-2", "lrp-01", "lrp2", "other-3")):
        write(tmp_path / name, number)
    (tmp_path / "lrp-11").mkdir()  # of another process that has not written yet
    assert run_folders(tmp_path) == [str(tmp_path / name) for name in ("lrp", "lrp-2", "lrp-10")]
    assert open_run(tmp_path).steps == [0]
    assert open_run(tmp_path / "lrp").steps == [1]
    assert open_run(tmp_path / "lrp-2").steps == [2]


def test_a_new_folder_is_nobody_elses(tmp_path: Path) -> None:
    write(tmp_path / "lrp", 0)
    (tmp_path / "lrp-4").mkdir()
    assert [new_run_folder(tmp_path) for _ in range(2)] == [str(tmp_path / "lrp-5"), str(tmp_path / "lrp-6")]
    (tmp_path / "lrp-7").write_text("a file in the way")
    assert new_run_folder(tmp_path) == str(tmp_path / "lrp-8")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreOSError, match=r"file/lrp-2 cannot be created: Not a directory"):
        new_run_folder(tmp_path / "file")


@pytest.mark.parametrize(
    ("path", "label"),
    [("a/lrp", "a"), ("b/a/lrp-2", "b/a-2"), ("lrp", ""), ("lrp-3", "-3"), ("a", "a"), ("a/lrp-x", "a/lrp-x")],
)
def test_labels(path: str, label: str) -> None:
    assert run_label(path) == label


def test_names(tmp_path: Path) -> None:
    assert [run_name(str(tmp_path / "a" / part)) for part in ("", "lrp", "lrp-2")] == ["a", "a", "a-2"]
    assert run_name("s3://bucket/runs/a/lrp-2") == "a-2"
