"""Files of arrays that nobody vouches for: probe sets and what they share with baselines."""

from __future__ import annotations

import io
import json
import os
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lrp_monitor import archives
from lrp_monitor.archives import ArchiveError, read_arrays, read_file
from lrp_monitor.probes import ProbeSet, files


def npy(header: str, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text + data


def packed(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return buffer.getvalue()


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    x = np.random.default_rng(0).random((4, 6, 5, 3)).astype(np.float32)
    ProbeSet(x, np.arange(4), masks={"stamp": (1, 1, 3, 3)}).save(tmp_path / "probes.npz")
    return tmp_path / "probes.npz"


def changed(path: Path, about: dict[str, Any] | None = None, **arrays: np.ndarray) -> None:
    """Writes the set again with other arrays, and other parts of what it says of itself."""
    with np.load(path) as archive:
        held = {name: archive[name] for name in archive.files} | arrays
    if about is not None:
        parsed = json.loads(held["about"].tobytes()) | about
        held["about"] = np.frombuffer(json.dumps(parsed).encode(), np.uint8)
    np.savez_compressed(path, **held)


def refusal(path: Path) -> str:
    with pytest.raises(ValueError, match=r"not a probe set that ProbeSet\.save wrote") as caught:
        ProbeSet.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value)) < 700
    return str(caught.value)


def test_arrays_of_numpys_own_making_come_back() -> None:
    rng = np.random.default_rng(0)
    arrays = {
        "a": rng.random((3, 4)).astype("<f4"),
        "b": np.asfortranarray(rng.integers(-5, 5, (3, 4, 2))),
        "c": rng.random((2, 2)).astype(">f8"),
        "d": np.array([True, False]),
        "e": np.array(7, np.uint8),
        "f": np.zeros((0, 3), np.float16),
    }
    for save in (np.savez, np.savez_compressed):
        buffer = io.BytesIO()
        save(buffer, **arrays)  # type: ignore[arg-type]  # the stubs mistake ** for allow_pickle
        found = read_arrays(buffer.getvalue())
        assert list(found) == list(arrays)
        for name, array in arrays.items():
            assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
            np.testing.assert_array_equal(found[name], array)


PLAIN = "{'descr': '<f4', 'fortran_order': False, 'shape': (%s), }"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (npy(PLAIN % "1000000000000000,"), "says 4,000,000,000,000,000 bytes and holds"),
        (npy(PLAIN % "2, 2", bytes(15)), "says 16 bytes and holds|not of the length"),
        (npy(PLAIN % "2, 2", bytes(17)), "not of the length"),
        (npy(PLAIN % "-1, 4", bytes(16)), "no plain array"),
        (npy(PLAIN % ("9" * 3000), bytes(16)), "no plain array"),
        (npy(PLAIN % ("1, " * 70), bytes(16)), "no plain array"),
        (npy(PLAIN % ("(" * 3000), bytes(16)), "no plain array"),
        (npy("'" * 3000), "no plain array"),
        (npy("{'descr': '<U100000000', 'fortran_order': False, 'shape': (3,), }"), "no plain array"),
        (npy("{'descr': '|V0', 'fortran_order': False, 'shape': (3,), }"), "no plain array"),
        (npy("{'descr': [('a', '<f4', (10,))], 'fortran_order': False, 'shape': (2,), }"), "no plain array"),
        (npy("{'descr': '<f99', 'fortran_order': False, 'shape': (2,), }"), "f99"),
        (npy("{'descr': '|O', 'fortran_order': False, 'shape': (2,), }", b"x" * 16), "pickled objects"),
        (npy("{'descr': '|b1', 'fortran_order': False, 'shape': (2,), }", b"\x01\x02"), "neither true nor false"),
        (npy(PLAIN % "2,", bytes(8), b"\x02\x00"), r"npy version \(2, 0\)"),
        (b"no npy file", "magic"),
        (b"", "magic"),
    ],
)
def test_headers_are_matched_not_evaluated(content: bytes, words: str) -> None:
    # An expression that tries every way to match would not come to an end.
    with pytest.raises((ValueError, TypeError), match=words):
        read_arrays(packed(("a.npy", content)))


def test_entries_that_numpy_does_not_write() -> None:
    good = npy(PLAIN % "1,", bytes(4))
    assert list(read_arrays(packed(("../../a.npy", good)))) == ["../../a"]  # a name, nothing is written to it
    with pytest.raises(ValueError, match="compressed in a way"):
        read_arrays(packed(("a.npy", good), method=zipfile.ZIP_LZMA))
    with pytest.raises(ValueError, match="unexpected entry 'a'"):
        read_arrays(packed(("a", good)))
    with pytest.warns(UserWarning, match="Duplicate"):
        twice = packed(("a.npy", good), ("a.npy", good))
    with pytest.raises(ValueError, match="unexpected entry"):
        read_arrays(twice)
    with pytest.raises(ArchiveError, match="300 entries; at most 256 are read"):
        read_arrays(packed(*((f"{i}.npy", good) for i in range(300))))
    directory = b"PK\x01\x02" + bytes(42)
    with pytest.raises(ArchiveError, match="100000 entries; at most 256"):
        read_arrays(directory * 100_000)


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npz")
    (tmp_path / "zero.npz").symlink_to("/dev/zero")
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "loop.npz").symlink_to("loop.npz")
    for name in ("pipe", "zero", "folder", "loop"):
        refusal(tmp_path / f"{name}.npz")
    with pytest.raises(FileNotFoundError):
        ProbeSet.load(tmp_path / "none.npz")
    (tmp_path / "hole.npz").touch()
    os.truncate(tmp_path / "hole.npz", 1 << 40)
    assert "1,099,511,627,776 bytes; at most 1,073,741,824 are read" in refusal(tmp_path / "hole.npz")
    (tmp_path / "five").write_bytes(b"12345")
    assert read_file(tmp_path / "five", 5) == b"12345"
    with pytest.raises(ArchiveError, match="5 bytes; at most 4"):
        read_file(tmp_path / "five", 4)


def test_json_in_a_set_that_recurses_or_runs_on(saved: Path) -> None:
    good = saved.read_bytes()
    with np.load(saved) as archive:
        held = {name: archive[name] for name in archive.files}
    held["about"] = np.frombuffer(b"[" * 100_000, np.uint8)
    np.savez_compressed(saved, **held)
    assert "recursion" in refusal(saved)
    saved.write_bytes(good)
    changed(saved, {"names": [["x" * 1000] * 1000] * 4})
    refusal(saved)
    saved.write_bytes(good)
    changed(saved, {"format": "y" * 100_000})
    assert "this version reads 1" in refusal(saved)


def test_texts_as_targets_do_not_become_one_wide_array(saved: Path) -> None:
    tracemalloc.start()
    changed(saved, {"target": ["x" * 200_000, *[""] * 5000]})  # as an array of texts 4 GB
    assert "a target that is no text" in refusal(saved)
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert taken < 8 << 20


def test_names_without_end_are_not_parsed(saved: Path) -> None:
    with np.load(saved) as archive:
        held = {name: archive[name] for name in archive.files}
    held["about"] = np.frombuffer(b'{"names":[' + b"[]," * (6 << 20) + b"1]}", np.uint8)
    np.savez_compressed(saved, **held)
    tracemalloc.start()
    assert "18,874,381 bytes of names; at most 16,777,216 are read" in refusal(saved)
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert taken < 3 * held["about"].nbytes


def test_very_many_names_are_compared_by_their_hashes() -> None:
    """Each against each would be 10^10 comparisons."""
    names = [f"{i}" for i in range(100_000)]
    assert len(ProbeSet(np.zeros((100_000, 1), np.uint8), names=names)) == 100_000
    with pytest.raises(ValueError, match="names: '7' given more than once"):
        ProbeSet(np.zeros((100_000, 1), np.uint8), names=[*names[:-1], "7"])
    labelled = ProbeSet(np.zeros((20_000, 1), np.uint8), np.arange(20_000), class_names=names)
    assert labelled.names[19_999] == "19999 0"


def test_one_mask_for_all_probes_is_not_spread_by_a_file(saved: Path) -> None:
    changed(saved, mask_0=np.ones((6, 5), bool))
    assert "a mask that is not one of each probe" in refusal(saved)
    changed(saved, mask_0=np.ones((4, 6, 5), bool))
    assert ProbeSet.load(saved).masks["stamp"].all()


def test_a_set_that_would_not_be_read_is_not_saved(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, before = ProbeSet.load(saved), saved.read_bytes()
    monkeypatch.setattr(files, "MAX_ARRAY_BYTES", 1000 + (1 << 20))
    with pytest.raises(ValueError, match=r"the set takes .* save fewer or smaller probes"):
        loaded.save(saved)
    assert saved.read_bytes() == before


def test_reading_takes_little_more_than_the_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    zeros = packed(("a.npy", npy(PLAIN % f"{16 << 18},", bytes(16 << 20))))
    assert len(zeros) < 20_000
    tracemalloc.start()
    found = read_arrays(zeros)["a"]
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.nbytes == 16 << 20
    assert taken < 40 << 20
    held = (len(npy(PLAIN % f"{16 << 18},")) + (16 << 20)).to_bytes(4, "little")
    assert zeros.count(held) == 2  # in front of the entry and in the directory
    liar = zeros.replace(held, (60_000).to_bytes(4, "little"))
    tracemalloc.start()
    with pytest.raises(ValueError, match="says 16,777,216 bytes and holds 60,000"):
        read_arrays(liar)
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert taken < 1 << 20
    monkeypatch.setattr(archives, "MAX_ARRAY_BYTES", 16 << 20)
    with pytest.raises(ArchiveError, match="inflates to 16,777,"):
        read_arrays(zeros)
