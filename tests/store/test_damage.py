"""Cut-off, damaged and hostile files: what is whole stays readable, what is not is named."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest
from store_samples import make_maps, make_probes, make_record, segments

from lrp_monitor.store import records
from lrp_monitor.store.format import StoreError
from lrp_monitor.store.reader import open_run
from lrp_monitor.store.writer import RunWriter


def write(folder: Path, steps: list[int], **options: object) -> Path:
    """The one segment of a run with these steps."""
    with RunWriter(folder / "lrp", make_probes(), meta={"model": "net"}, **options) as writer:
        for step in steps:
            writer.append(make_record(step))
    return segments(writer.path)[-1]


def frames(path: Path) -> list[tuple[int, int]]:
    """(offset, length) of each frame of a file."""
    data, found, at = path.read_bytes(), [], 0
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        found.append((at, 16 + length))
        at += 16 + length
    return found


def test_a_tail_torn_at_any_byte_loses_the_last_record_alone(tmp_path: Path) -> None:
    path = write(tmp_path, [0, 1, 2])
    data = path.read_bytes()
    start, length = frames(path)[-1]
    assert start + length == len(data)
    for cut in range(start, len(data)):
        path.write_bytes(data[:cut])
        run = open_run(tmp_path)
        assert run.steps == [0, 1], cut
        assert len(run.problems) == (cut > start), cut
        if cut > start:
            assert f"{path.name}: the last record is not complete ({cut - start} bytes)" in run.problems[0]
    path.write_bytes(data)
    run = open_run(tmp_path)
    assert run.steps == [0, 1, 2]
    assert run.problems == []


def test_a_tail_that_never_reached_the_disk_is_left_out(tmp_path: Path) -> None:
    path = write(tmp_path, [0, 1, 2])
    data = bytearray(path.read_bytes())
    start, length = frames(path)[-1]
    for at in (start, start + 9, start + 20, start + length // 2, start + length - 1):
        damaged = data.copy()
        damaged[at] ^= 0xFF
        path.write_bytes(damaged)
        run = open_run(tmp_path)
        assert run.steps == [0, 1], at
        assert len(run.problems) == 1
    path.write_bytes(data[:start] + bytes(length))
    assert open_run(tmp_path).steps == [0, 1]


def test_a_torn_tail_is_taken_in_once_it_is_whole(tmp_path: Path) -> None:
    path = write(tmp_path, [0, 1, 2])
    data = path.read_bytes()
    path.write_bytes(data[:-7])
    run = open_run(tmp_path)
    assert (run.steps, len(run.problems)) == ([0, 1], 1)
    path.write_bytes(data)
    assert run.refresh() is True
    assert (run.steps, run.problems) == ([0, 1, 2], [])
    assert run.refresh() is False


def test_a_new_session_never_appends_to_a_torn_segment(tmp_path: Path) -> None:
    path = write(tmp_path, [0, 1, 2])
    path.write_bytes(path.read_bytes()[:-7])
    before = path.read_bytes()
    write(tmp_path, [2, 3])
    assert path.read_bytes() == before
    run = open_run(tmp_path)
    assert run.steps == [0, 1, 2, 3]
    assert "not complete" in run.problems[0]


def test_damage_in_the_middle_is_named_and_costs_that_step_alone(tmp_path: Path) -> None:
    path = write(tmp_path, [0, 1, 2])
    data = bytearray(path.read_bytes())
    start, length = frames(path)[2]
    data[start + length - 40] ^= 1
    path.write_bytes(data)
    run = open_run(tmp_path)
    assert run.steps == [0, 1, 2]
    with pytest.raises(StoreError, match=rf"{path.name}, step 1 .*checksum is wrong"):
        run.heatmaps(1)
    with pytest.raises(StoreError, match="checksum is wrong"):
        run.map_chunks(1)
    assert len(run.problems) == 1
    assert run.record(1).scalars["lrp/conservation"] == 1.1
    assert np.abs(run.heatmaps(2) - make_maps(2)).max() < 0.05
    assert len(open_run(tmp_path).verify()) >= 1


def test_a_damaged_header_in_the_middle_leaves_that_step_out(tmp_path: Path) -> None:
    path = write(tmp_path, [0, 1, 2])
    data = bytearray(path.read_bytes())
    start, _ = frames(path)[2]
    data[start + 12 + records.FIELDS + 5] ^= 1
    path.write_bytes(data)
    run = open_run(tmp_path)
    assert run.steps == [0, 2]
    assert run.problems == [f"{path.name}, byte {start + 12}: the header is damaged (its checksum is wrong); "
                            "the record is left out"]  # fmt: skip


def test_a_damaged_frame_in_the_middle_ends_that_file_and_says_so(tmp_path: Path) -> None:
    path = write(tmp_path, [0, 1, 2])
    data = bytearray(path.read_bytes())
    start, _ = frames(path)[2]
    data[start] ^= 1
    path.write_bytes(data)
    run = open_run(tmp_path)
    assert run.steps == [0]
    assert f"the frame at byte {start} is damaged" in run.problems[0]
    write(tmp_path, [1, 2])
    run.refresh()
    assert run.steps == [0, 1, 2]


@pytest.mark.parametrize("length", [2**63, 2**40, 10**9])
def test_an_oversized_frame_length_with_a_right_checksum_is_no_more_than_a_torn_tail(
    tmp_path: Path, length: int
) -> None:
    path = write(tmp_path, [0])
    head = struct.pack("<Q", length)
    with open(path, "ab") as file:
        file.write(head + struct.pack("<I", records.masked(records.crc32c(head))) + b"LRPM")
    run = open_run(tmp_path)
    assert run.steps == [0]
    assert "not complete (16 bytes)" in run.problems[0]


def forge(path: Path, **changes: object) -> None:
    """Appends a step record whose checksums are right but whose header says what ``changes`` say."""
    run = open_run(path.parent)
    raw = run.record(run.steps[-1])
    body = path.read_bytes()[frames(path)[-1][0] :][12:-4]
    head = records.parse_head(body, len(body), "x")
    end = records.FIELDS + head.header_length
    header = records.parse_json(body[records.FIELDS : end], "x") | changes
    data = records.pack(records.KIND_STEP, header, [body[end:]], step=raw.step + 1)
    with open(path, "ab") as file:
        file.write(data)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"maps": [[0, 10**15], [0, 1], [0, 1]]}, "not inside its record"),
        ({"maps": [[-5, 10], [0, 1], [0, 1]]}, "not inside its record"),
        ({"maps": [[0, 1.5], [0, 1], [0, 1]]}, "not inside its record"),
        ({"maps": [[0, 1]]}, "1 maps for 3 probes"),
        ({"map_shape": [10**9, 10**9]}, "maps of shape"),
        ({"scale": [1.0]}, "'scale' has shape"),
        ({"scale": [[1.0]] * 3}, "'scale' has shape"),
        ({"probes": {"sum": [1.0] * 4}}, "'sum' has shape"),
        ({"probes": 7}, "wrong kind"),
        ({"scalars": {"a": "many"}}, "not a number"),
        ({"scalars": {"a": 10**400}}, "not a number"),
        ({"encoding": "pickle"}, "encoding must be one of"),
        ({"histograms": [0, 10**12, 5]}, "not inside its record"),
        ({"histograms": [0, 5, 10**12]}, "a table of 1000000000000 bytes"),
    ],
)
def test_headers_that_lie_are_refused_in_words(tmp_path: Path, changes: dict, words: str) -> None:
    path = write(tmp_path, [0])
    forge(path, **changes)
    run = open_run(tmp_path)
    assert run.steps == [0, 1]
    for read in (run.record, run.heatmaps, run.map_chunks, run.tensors):
        with pytest.raises(StoreError, match=words):
            read(1)
    assert run.heatmaps(0).shape == (3, 6, 5)
    assert run.scalar("lrp/conservation")[0].tolist() == [0]
    assert any(words in problem for problem in run.problems)


def test_a_map_that_inflates_to_too_much_is_refused(tmp_path: Path) -> None:
    from lrp_monitor.store.codec import deflate

    path = write(tmp_path, [0])
    chunk = deflate(bytes(10_000_000))
    header = {"session": "0" * 16, "encoding": "sqrt8", "map_shape": [6, 5], "scale": [1.0] * 3}
    header |= {"maps": [[i * len(chunk), len(chunk)] for i in range(3)], "probes": {}, "scalars": {}, "notes": []}
    header |= {"gradient_batch": None, "histograms": None}
    with open(path, "ab") as file:
        file.write(records.pack(records.KIND_STEP, header, [chunk] * 3, step=1))
    with pytest.raises(StoreError, match="do not hold the 30 bytes"):
        open_run(tmp_path).heatmaps(1)


def test_json_that_nests_without_end_and_header_lengths_beyond_the_record(tmp_path: Path) -> None:
    path = write(tmp_path, [0])
    text = b"[" * 200_000
    plain = struct.pack("<4sHHqqqdI", b"LRPM", 1, 2, 1, 0, 0, 0.0, len(text))
    too_long = struct.pack("<4sHHqqqdII", b"LRPM", 1, 2, 2, 0, 0, 0.0, 2**32 - 1, 0)
    with open(path, "ab") as file:
        file.write(records.frame([plain, struct.pack("<I", records.crc32c(plain, text)), text]))
        file.write(records.frame([too_long]))
        file.write(records.frame([b"LRPM"]))
        file.write(records.frame([b"\x80\x04pickle" + bytes(80)]))
        file.write(records.frame([struct.pack("<4sHHqqqdII", b"LRPM", 9, 2, 3, 0, 0, 0.0, 0, 0)]))
    run = open_run(tmp_path)
    assert run.steps == [0, 1]
    with pytest.raises(StoreError, match="not valid JSON"):
        run.record(1)
    words = " ".join(run.problems)
    assert "claims 4294967295 bytes" in words
    assert "too short" in words
    assert "not a record of the store" in words
    assert "written in format 9, this lrp_monitor reads formats 1 and 2" in words


@pytest.mark.parametrize("cut", [0, 5, 40, -1])
def test_a_cut_off_probes_file_is_named(tmp_path: Path, cut: int) -> None:
    store = write(tmp_path, [0]).parent
    data = (store / "probes.tfrecord").read_bytes()
    (store / "probes.tfrecord").write_bytes(data[:cut])
    with pytest.raises(StoreError, match=r"probes.tfrecord is cut off or damaged"):
        open_run(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"image_shape": [3, 10**6, 10**6, 3]},
        {"image_shape": [2, 6, 5, 3]},
        {"map_shape": [-1, 5]},
        {"masks": {"stamp": [0, 10**12]}},
        {"names": "abc"},
        {"labels": [1, 2]},
        {"hash": "../x"},
        {"statistics": {"min": ["x"]}},
    ],
)
def test_probes_whose_header_lies_are_refused(tmp_path: Path, changes: dict) -> None:
    path = write(tmp_path, [0]).parent / "probes.tfrecord"
    body = path.read_bytes()[12:-4]
    head = records.parse_head(body, len(body), "x")
    end = records.FIELDS + head.header_length
    header = records.parse_json(body[records.FIELDS : end], "x")
    path.write_bytes(records.pack(records.KIND_PROBES, header | changes, [body[end:]]))
    with pytest.raises(StoreError, match=r"probes.tfrecord"):
        open_run(tmp_path)


def test_files_that_are_none_of_the_stores_are_left_alone(tmp_path: Path) -> None:
    store = write(tmp_path, [0]).parent
    (store / "steps-0001-nothex-000000.tfrecord").write_bytes(b"x")
    (store / "events.out.tfevents.1").write_bytes(b"x")
    (store / "steps-0002-0123456789abcdef-000000.tfrecord").mkdir()
    os.mkfifo(store / "steps-0003-0123456789abcdef-000000.tfrecord")
    run = open_run(tmp_path)
    assert (run.steps, run.problems) == ([0], [])


def test_a_link_out_of_the_allowed_folder_is_not_followed(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    path = write(inside, [0])
    outside.mkdir()
    path.rename(outside / path.name)
    path.symlink_to(outside / path.name)
    assert open_run(inside).steps == [0]
    with pytest.raises(StoreError, match="leads outside"):
        open_run(inside, within=str(inside))
    assert open_run(inside, within=str(tmp_path)).steps == [0]


@pytest.mark.parametrize(
    "value", [[0], [0, 1, 2], [-1, 2], [0, 101], [60, 41], [2**62, 2**62], [2**63, 0], [0.0, 1], ["0", 1], None, 7]
)
def test_a_place_outside_the_record_is_refused_in_any_list(value: object) -> None:
    assert records.places([[0, 60], [60, 40]], 100, "x") == ((0, 60), (60, 40))
    assert records.places([], 100, "x") == ()
    with pytest.raises((StoreError, *records.MALFORMED)):
        records.places([[0, 60], value], 100, "x")
    with pytest.raises((StoreError, *records.MALFORMED)):
        records.places([value], 100, "x")
