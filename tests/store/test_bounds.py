"""What a file may cost its reader: memory and messages have bounds that do not come from the file."""

from __future__ import annotations

import os
import struct
import threading
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from store_samples import make_maps, make_probes, make_record, segments

from lrp_monitor.plugin import wire
from lrp_monitor.store import access, codec, reader, records, steps, writer
from lrp_monitor.store.format import BUCKETS, Histogram, StoreError
from lrp_monitor.store.index import MOST_META, MOST_UNREADABLE
from lrp_monitor.store.reader import open_run
from lrp_monitor.store.writer import RunWriter


def write(folder: Path, steps: list[int], **options: Any) -> Path:
    with RunWriter(folder / "lrp", make_probes(), meta={"model": "net"}, **options) as made:
        for step in steps:
            made.append(make_record(step))
    return segments(made.path)[-1]


def parts(path: Path) -> tuple[dict[str, Any], bytes]:
    """Header and chunks of the last record of a file."""
    data, at = path.read_bytes(), 0
    while (end := at + 16 + int.from_bytes(data[at : at + 8], "little")) < len(data):
        at = end
    body = data[at + 12 : -4]
    head = records.parse_head(body, len(body), "x")
    end = records.FIELDS + head.header_length
    return records.parse_json(body[records.FIELDS : end], "x"), body[end:]


def forge(path: Path, changes: dict[str, Any], more: bytes = b"", step: int = 1) -> None:
    """Appends a step whose checksums are right and whose header says what ``changes`` say."""
    header, chunks = parts(path)
    with open(path, "ab") as file:
        file.write(records.pack(records.KIND_STEP, header | changes, [chunks + more], step=step))


def forge_probes(path: Path, changes: dict[str, Any], more: bytes = b"") -> None:
    file = path.parent / "probes.tfrecord"
    header, chunks = parts(file)
    file.write_bytes(records.pack(records.KIND_PROBES, header | changes, [chunks + more]))


def peak(work: Callable[[], Any]) -> int:
    """Bytes of Python's and NumPy's memory that ``work`` takes at most."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def refused(read: Callable[[], Any], words: str) -> None:
    with pytest.raises(StoreError, match=words) as caught:
        read()
    assert len(str(caught.value)) < 1500


def test_a_chunk_is_not_read_as_many_maps(tmp_path: Path) -> None:
    path = write(tmp_path, [0])
    header, chunks = parts(path)
    place = header["maps"][0]
    longest = [0, len(chunks)]
    forge(path, {"maps": [longest] * 3})
    channels = {"maps": [[place] * 400] * 3, "scale": [[1.0] * 400] * 3}
    forge(path, {"channels": channels}, step=2)
    run = open_run(tmp_path)
    refused(lambda: run.heatmaps(1), "chunks overlap")
    refused(lambda: run.map_chunks(2, channels=True), "overlap")
    assert run.heatmaps(0).shape == (3, 6, 5)


def test_maps_by_channel_do_not_share_their_chunks_nor_run_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, [0])
    _, chunks = parts(path)
    forge(path, {"channels": {"maps": [[[0, len(chunks)]]] * 3, "scale": [[1.0]] * 3}})
    forge(path, {"channels": {"maps": [[[0, 9], [9, 9]]] * 3, "scale": [[1.0] * 2] * 3}}, step=2)
    refused(lambda: open_run(tmp_path).record(1), "the maps by channel overlap")
    assert open_run(tmp_path).record(2).channels == 2
    monkeypatch.setattr(steps, "MOST_PIXELS", 2 * 3 * 30 - 1)
    refused(lambda: open_run(tmp_path).record(2), "180 pixels by channel; at most 179 are read")


def test_texts_where_places_should_be_do_not_become_one_wide_array() -> None:
    values = ["x" * 200_000, *[""] * 5000]  # as an array of texts 4 GB

    def read() -> None:
        refused(lambda: records.places(values, 100, "x"), "not inside its record")
        refused(lambda: records.places([[0, 1], values], 100, "x"), "not inside its record")

    assert peak(read) < 5 << 20


@pytest.mark.parametrize("odd", [[[0, 1], [0.5, 1]], [[0, 1], [True, 1]], [[0, 1], [0, 1, 2]], [[0, 2**64]], {"a": 1}])
def test_places_are_pairs_of_whole_numbers(odd: Any) -> None:
    assert records.places([[0, 1], [7, 2]], 9, "x") == ((0, 1), (7, 2))
    refused(lambda: records.places(odd, 9, "x"), "not inside its record")


def test_json_of_a_few_bytes_a_value_is_not_unfolded(tmp_path: Path) -> None:
    text = b'{"a":[' + b"[]," * (2 << 20) + b"1]}"

    def read() -> None:
        refused(lambda: records.parse_json(text, "x"), "more than 4194304 values")

    assert peak(read) < 1 << 20
    table = codec.deflate(text)
    path = write(tmp_path, [0])
    _, chunks = parts(path)
    forge(path, {"histograms": [len(chunks), len(table), len(text)]}, table)
    assert len(table) < 50_000
    refused(lambda: open_run(tmp_path).tensors(1), "more than 4194304 values")


def test_what_is_damaged_is_found_out_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, [0])
    forge(path, {"notes": 7})
    run = open_run(tmp_path)
    parsed = []
    parse = records.parse_json

    def counted(text: bytes, what: str) -> dict[str, Any]:
        parsed.append(what)
        return parse(text, what)

    monkeypatch.setattr(records, "parse_json", counted)
    for _ in range(3):
        assert run.scalar("lrp/conservation")[0].tolist() == [0]
        refused(lambda: run.record(1), "wrong kind")
    assert sum("step 1" in what for what in parsed) == 1
    write(tmp_path, [1])
    run.refresh()
    assert run.record(1).notes == ["note 1"]


def test_very_many_histograms_in_one_table(tmp_path: Path) -> None:
    path = write(tmp_path, [0])
    _, chunks = parts(path)
    text = b'{"histograms":[' + b"1," * 70_000 + b"1]}"
    forge(path, {"histograms": [len(chunks), len(codec.deflate(text)), len(text)]}, codec.deflate(text))
    refused(lambda: open_run(tmp_path).tensors(1), "70001 histograms; at most 65536 are read")


def test_the_list_of_tensors_is_read_for_a_bounded_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with RunWriter(tmp_path / "lrp", make_probes(), meta={}) as made:
        for step in range(8):
            name = f"layer {step}/kernel"
            made.append(make_record(step, histograms=[Histogram("weight", name, 9, note="no gradient")]))
    assert len(open_run(tmp_path).all_tensors()) == 8
    monkeypatch.setattr("lrp_monitor.store.access._TABLES_READ", 700)
    run = open_run(tmp_path)
    assert 2 <= len(run.all_tensors()) <= 4
    assert "the list of tensors ends before step" in run.problems[0]


def test_thousands_of_records_of_nothing_end_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, [0, 1])
    with open(path, "ab") as file:
        file.write(records.frame([b""]) * 20_000)
    forge_after = path.stat().st_size
    assert forge_after > 300_000
    run = open_run(tmp_path)
    assert run.steps == [0, 1]
    assert len(run.problems) == MOST_UNREADABLE + 1
    assert "given up at byte" in run.problems[-1]
    write(tmp_path, [2])
    assert run.refresh()
    assert run.steps == [0, 1, 2]


def test_a_terabyte_of_hole_is_not_read(tmp_path: Path) -> None:
    path = write(tmp_path, [0])
    head = (1 << 39).to_bytes(8, "little")
    with open(path, "ab") as file:
        file.write(head + records.masked(records.crc32c(head)).to_bytes(4, "little") + b"LRPM")
    os.truncate(path, 1 << 40)

    def read() -> None:
        run = open_run(tmp_path)
        assert run.steps == [0]
        assert f"a record of {1 << 39} bytes, and at most {records.MOST_RECORD} are read" in run.problems[0]

    assert peak(read) < 4 << 20
    probes = path.parent / "probes.tfrecord"
    os.truncate(probes, 1 << 40)
    refused(lambda: open_run(tmp_path), f"has {1 << 40} bytes; at most {records.MOST_RECORD} are read")


def test_a_large_last_record_is_checked_piece_by_piece(tmp_path: Path) -> None:
    path = write(tmp_path, [0])
    forge(path, {}, os.urandom(24 << 20))
    assert peak(lambda: open_run(tmp_path)) < 8 << 20
    assert open_run(tmp_path).steps == [0, 1]
    data = bytearray(path.read_bytes())
    data[-9_000_000] ^= 1
    path.write_bytes(data)
    assert open_run(tmp_path).steps == [0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"map_shape": [1] * 70, "masks": {}}, "not a shape"),
        ({"map_shape": [0], "masks": {}}, "not a shape"),
        ({"map_shape": [10**6, 10**6], "masks": {}}, "heatmaps of shape .* the store takes 134217728"),
        ({"image_shape": [3, 20_000, 20_000, 3]}, "pictures and masks have 3600000090 bytes"),
        ({"masks": {str(i): [0, 9] for i in range(20_000)}, "map_shape": [500, 500]}, "pictures and masks have"),
        ({"labels": [2**70, 0, 1]}, "wrong kind"),
        ({"names": ["x" * 100_000, 1, 2]}, "names must be"),
    ],
)
def test_probes_that_would_take_all_memory_are_refused(tmp_path: Path, changes: dict, words: str) -> None:
    path = write(tmp_path, [0])
    forge_probes(path, changes)
    assert peak(lambda: refused(lambda: open_run(tmp_path), words)) < 20 << 20


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"notes": [[[["deep"]]]]}, "is not a text"),
        ({"gradient_batch": "7"}, "not a whole number"),
        ({"gradient_batch": 10**400}, "not a whole number"),
        ({"scale": [1.0, 1e300, 1.0]}, "a scale that is none of a float32 map"),
        ({"scale": [1.0, "inf", 1.0]}, "a scale that is none"),
        ({"scale": [1.0, None, 1.0]}, "a scale that is none"),
        ({"encoding": "x" * 100_000}, "encoding must be one of"),
        ({"map_shape": ["x" * 100_000]}, "maps of shape"),
        ({"tensors": ["x"]}, "is not a text"),
        ({"maps": [["x" * 100_000, 0]] * 3}, "not inside its record"),
        ({"probes": {"x" * 100_000: [1.0]}}, "has shape"),
        ({"probes": {"sum": ["x" * 100_000] * 3}}, "could not convert"),
    ],
)
def test_hostile_headers_are_refused_in_a_few_words(tmp_path: Path, changes: dict, words: str) -> None:
    path = write(tmp_path, [0])
    forge(path, changes)
    run = open_run(tmp_path)
    for read in (run.record, run.heatmaps, run.map_chunks, run.tensors):
        refused(lambda read=read: read(1), words)  # type: ignore[misc]  # bound at once
    assert sum(map(len, run.problems)) < 3000
    assert run.heatmap(0, 0).shape == (6, 5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"buckets": 5000}, "5000 buckets, there are 2048"),
        ({"name": ["a"]}, "is not a text"),
        ({"size": -1}, "not a whole number"),
        ({"zeros": 1e300}, "not a whole number"),
    ],
)
def test_rows_of_histograms_that_lie(tmp_path: Path, change: dict, words: str) -> None:
    path = write(tmp_path, [0])
    header, chunks = parts(path)
    offset, length, size = header["histograms"]
    table = records.parse_json(codec.inflate(chunks[offset : offset + length], size, "x"), "x")
    table["histograms"][0] |= change
    text = records.to_json(table)
    forge(path, {"histograms": [len(chunks), len(codec.deflate(text)), len(text)]}, codec.deflate(text))
    refused(lambda: open_run(tmp_path).tensors(1), words)


def test_buckets_that_no_float_has_are_refused() -> None:
    good, width = codec.encode_counts(np.array([3, BUCKETS - 1], np.uint16), np.array([1, 2]))
    assert codec.decode_counts(good, 2, width, "x")[0].tolist() == [3, BUCKETS - 1]
    bad, width = codec.encode_counts(np.array([3, BUCKETS], np.uint16), np.array([1, 2]))
    refused(lambda: codec.decode_counts(bad, 2, width, "x"), "buckets up to 2048")
    less, width = codec.encode_counts(np.array([3], np.uint16), np.array([2**40]))
    assert width == "i8"
    negative = codec.deflate(np.array([3], "<u2").tobytes() + np.array([-1], "<i8").tobytes())
    refused(lambda: codec.decode_counts(negative, 1, "i8", "x"), "counts down to -1")
    assert codec.decode_counts(less, 1, "i8", "x")[1].tolist() == [2**40]


def test_meta_that_nests_without_end_is_left_out(tmp_path: Path) -> None:
    path = write(tmp_path, [0])
    rest = path.read_bytes()
    rest = rest[16 + int.from_bytes(rest[:8], "little") :]
    deep: list[Any] = []
    for _ in range(500):
        deep = [deep]
    path.write_bytes(records.pack(records.KIND_SESSION, {"session": "x", "meta": {"a": deep}}, []) + rest)
    run = open_run(tmp_path)
    assert (run.steps, run.meta) == ([0], {})
    assert "nested more than 32 deep" in run.problems[0]
    text = records.to_json({"session": "x", "meta": {"a": ["@"]}}).replace(b'"@"', b"1e999")
    plain = struct.pack("<4sHHqqqdI", b"LRPM", 1, 3, 0, 0, 0, 0.0, len(text))
    path.write_bytes(records.frame([plain, struct.pack("<I", records.crc32c(plain, text)), text]) + rest)
    run = open_run(tmp_path)
    assert (run.steps, run.meta) == ([0], {})
    assert "a number beyond double precision" in run.problems[0]
    large = {"session": "x", "meta": {"a": "x" * MOST_META}}
    path.write_bytes(records.pack(records.KIND_SESSION, large, []) + rest)
    assert "bytes of meta; at most" in open_run(tmp_path).problems[0]


def test_a_film_of_more_than_there_is_room_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, [0, 1, 2])
    run = open_run(tmp_path)
    monkeypatch.setattr(reader, "MOST_FILM_PIXELS", 3 * 30)
    assert run.film(0)[1].shape == (3, 6, 5)
    size = len(wire.film_answer(run, 0, [0, 1, 2]))
    monkeypatch.setattr(reader, "MOST_FILM_PIXELS", 3 * 30 - 1)
    refused(lambda: run.film(0), r"3 maps have 90 pixels.*heatmap\(probe, step\)")
    monkeypatch.setattr(wire, "MOST_FILM_BYTES", size)
    refused(lambda: wire.film_answer(run, 0, [0, 1, 2] * 100), "ask for fewer")


def test_messages_list_the_first_names_only(tmp_path: Path) -> None:
    with RunWriter(tmp_path / "lrp", make_probes(), meta={}) as made:
        made.append(make_record(0, scalars={f"scalar {i:05}" + "x" * 500: 0.0 for i in range(2000)}))
    run = open_run(tmp_path)
    with pytest.raises(KeyError, match="is none of the scalars; there are: scalar 00000x") as caught:
        run.scalar("none")
    assert len(str(caught.value)) < 6000


def test_a_link_to_itself_hides_no_run(tmp_path: Path) -> None:
    path = write(tmp_path, [0])
    (path.parent / "steps-0002-0123456789abcdef-000000.tfrecord").symlink_to(
        "steps-0002-0123456789abcdef-000000.tfrecord"
    )
    assert open_run(tmp_path).steps == [0]


def test_a_file_changed_for_a_link_outwards_after_it_was_read(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    path, theirs = write(inside, [0]), write(outside, [0])
    run = open_run(inside, within=str(inside))
    np.testing.assert_allclose(run.heatmap(0, 0), make_maps(0)[0], atol=0.05)
    path.unlink()
    path.symlink_to(theirs)
    refused(lambda: run.heatmap(0, 0), "leads outside")
    path.unlink()
    path.write_bytes(theirs.read_bytes())
    assert run.heatmap(0, 0).shape == (6, 5)


def test_a_file_changed_for_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    path = write(tmp_path, [0])
    run = open_run(tmp_path)
    path.unlink()
    os.mkfifo(path)
    messages: list[str] = []

    def read() -> None:
        try:
            run.heatmap(0, 0)
        except StoreError as error:
            messages.append(str(error))

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(30)
    assert messages == [f"{path}: not a regular file"]


def test_groups_of_more_bytes_than_there_can_be_are_not_parsed(tmp_path: Path) -> None:
    path = write(tmp_path, [0])
    run = open_run(tmp_path)
    file = path.parent / f"clusters-0-{run.session}.json"
    file.write_bytes(b'{"labels":[' + b"0," * (3 << 20) + b"0]}")
    assert peak(lambda: run.clusters()) < 20 << 20
    assert run.problems == [f"{file.name}: more than {4 << 20} bytes"]


def test_problems_and_tables_are_kept_up_to_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, list(range(6)))
    for step in range(6, 12):
        forge(path, {"notes": 7}, step=step)
    monkeypatch.setattr(access, "_PROBLEMS_KEPT", 4)
    monkeypatch.setattr(access, "_ROWS_KEPT", 2 * len(open_run(tmp_path).tensors(0)))
    run = open_run(tmp_path)
    names = [run.tensors(step) for step in range(6)]
    assert names[0]
    assert sum(map(len, run._tables.values())) == 2 * len(names[0])
    assert [run.tensors(step) for step in range(6)] == names
    assert len(run.records()) == 6
    assert len(run.problems) == 4


def test_the_writer_writes_nothing_that_would_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"meta takes .* leave its largest part out"):
        RunWriter(tmp_path / "a", make_probes(), meta={"x": "y" * MOST_META})
    with pytest.raises(ValueError, match=r"heatmaps of shape \(40000, 40000\).*log fewer or smaller"):
        RunWriter(tmp_path / "b", replace(make_probes(), map_shape=(40_000, 40_000), masks={}), meta={})
    with RunWriter(tmp_path / "c", make_probes(), meta={}) as made:
        many = Histogram("weight", "a", 1, buckets=np.array([BUCKETS], np.uint16), counts=np.array([1]))
        with pytest.raises(ValueError, match="buckets must be at most 2048"):
            made.append(make_record(0, histograms=[many]))
        monkeypatch.setattr(writer, "MOST_PIXELS", 3 * 30)
        with pytest.raises(ValueError, match="180 pixels in all maps by channel: the store takes 90"):
            made.append(make_record(0, channels=np.zeros((3, 6, 5, 2), np.float32)))
        monkeypatch.setattr(records, "MOST_RECORD", 500)
        with pytest.raises(StoreError, match=r"step 0 takes \d+ bytes.*encoding=\"sqrt8\""):
            made.append(make_record(0))
        monkeypatch.undo()
        made.append(make_record(0))
    assert open_run(tmp_path / "c").steps == [0]
