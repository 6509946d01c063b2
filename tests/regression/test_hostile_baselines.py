"""Baselines made to harm: what is no file, masks of nothing, parts of another kind."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from regression_helpers import make_snapshot

from lrp_monitor import BaselineError, Snapshot, compare
from lrp_monitor.regression import baseline


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    mask = np.zeros((8, 10, 10), bool)
    mask[:, 2:4] = True
    make_snapshot(masks={"stamp": mask}).save(tmp_path / "base")
    return tmp_path / "base"


def kind(path: Path) -> tuple[str, str]:
    with pytest.raises(BaselineError) as caught:
        Snapshot.load(path)
    assert len(str(caught.value)) < 1500
    return caught.value.kind, str(caught.value)


def changed(path: Path, about: dict[str, Any] | None = None, **arrays: np.ndarray) -> None:
    """The baseline written again with other arrays and parts of its JSON, its checksum set right."""
    archive, text = path.with_suffix(".npz"), path.with_suffix(".json")
    with np.load(archive) as held:
        whole = {name: held[name] for name in held.files} | arrays
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **whole)
    archive.write_bytes(buffer.getvalue())
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    parsed = json.loads(text.read_text()) | {"npz": {"bytes": len(buffer.getvalue()), "sha256": digest}} | (about or {})
    text.write_text(json.dumps(parsed))


def test_what_is_no_file_is_not_waited_for(saved: Path) -> None:
    for name, words in (("base.json", "damaged"), ("base.npz", "cannot be read")):
        file = saved.with_name(name)
        content = file.read_bytes()
        file.unlink()
        os.mkfifo(file)
        assert kind(saved)[0] == "damaged"
        assert f"{name}: {words}" in kind(saved)[1]
        file.unlink()
        file.symlink_to("/dev/zero")
        assert kind(saved)[0] == "damaged"
        file.unlink()
        file.write_bytes(content)
    assert len(Snapshot.load(saved)) == 8


def test_a_mask_of_too_few_bits_is_not_filled_up(saved: Path) -> None:
    maps = np.zeros((8, 2000, 2000), np.int16)
    changed(saved, maps=maps, mask_0=np.zeros((8, 1), np.uint8))
    tracemalloc.start()
    found = kind(saved)
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found[0] == "damaged"
    assert "a mask of (8, 1) bytes for maps of (8, 2000, 2000)" in found[1]
    assert taken < 6 * maps.nbytes


def test_masks_and_maps_have_a_bound_together(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baseline, "MAX_ARRAY_BYTES", 5 * 800 - 1)
    changed(saved)
    archive = saved.with_suffix(".npz")
    assert kind(saved)[0] == "size"
    monkeypatch.setattr(baseline, "MAX_ARRAY_BYTES", archive.stat().st_size)
    assert archive.stat().st_size >= 5 * 800 or kind(saved)[0] == "size"
    monkeypatch.setattr(baseline, "MAX_ARRAY_BYTES", 1 << 20)
    assert len(Snapshot.load(saved)) == 8


@pytest.mark.parametrize(
    "about",
    [
        {"composite_rules": 0.5},
        {"composite_rules": [1, 2]},
        {"composite_rules": "text"},
        {"composite_options": ["a"]},
        {"composite_options": {"a": [[]]}},
        {"versions": {"numpy": 2}},
        {"versions": "2"},
        {"class_names": [["a"]]},
        {"composite": {"a": 1}},
        {"parameters": "many"},
        {"probes_hash": 10**400},
        {"masks": [["stamp"]]},
    ],
)
def test_parts_of_another_kind_are_found_when_it_is_read(saved: Path, about: dict) -> None:
    changed(saved)
    assert compare(saved, saved).ok
    changed(saved, about)
    assert kind(saved)[0] == "damaged"


def test_what_differs_is_reported_in_a_few_words(saved: Path) -> None:
    changed(saved, {"composite_rules": [f"rule {i} " + "x" * 5000 for i in range(2000)]})
    with pytest.raises(BaselineError, match="another composite: now") as caught:
        compare(saved, make_snapshot())
    assert "and 1990 more" in str(caught.value)
    assert len(str(caught.value)) < 3000


@pytest.mark.parametrize(
    ("name", "array", "words"),
    [
        ("scale", np.full(8, np.nan), "a scale that is none of a float32 map"),
        ("scale", np.full(8, 1e300), "a scale that is none of a float32 map"),
        ("scale", np.full((8, 1), 1.0), "their scales (8, 1)"),
        ("targets", np.full(8, np.nan), "targets (8,) of float64"),
        ("logit", np.zeros((8, 1), np.float32), "logit (8, 1)"),
        ("logits", np.zeros((8, 0), np.float32), "logits (8, 0)"),
        ("images", np.zeros((8, 10, 10, 2), np.uint8), "images (8, 10, 10, 2)"),
        ("predictions", np.zeros(8, complex), "no plain array of numbers"),
    ],
)
def test_arrays_of_another_kind(saved: Path, name: str, array: np.ndarray, words: str) -> None:
    changed(saved, **{name: array})
    assert kind(saved)[0] == "damaged"
    assert words in kind(saved)[1]


def test_an_entry_compressed_by_a_method_that_nobody_writes(saved: Path) -> None:
    archive = saved.with_suffix(".npz")
    with zipfile.ZipFile(archive) as held:
        members = [(name, held.read(name)) for name in held.namelist()]
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_LZMA) as made:
        for name, content in members:
            made.writestr(name, content)
    size = archive.stat().st_size
    text = saved.with_suffix(".json")
    parsed = json.loads(text.read_text()) | {"npz": {"bytes": size, "sha256": "0"}}
    text.write_text(json.dumps(parsed))
    archive.write_bytes(archive.read_bytes().replace(b"\x5d\x00\x00", b"\xff\xff\xff"))  # the stream's own settings
    assert kind(saved)[0] == "damaged"
