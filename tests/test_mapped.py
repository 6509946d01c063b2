"""Large arrays of probes lie in a file that nobody else can reach, and are explained as they would be in memory."""

from __future__ import annotations

import copy
import os
import pickle
import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import lrp_monitor as lrp
from lrp_monitor import mapped

MEBIBYTE = 1 << 20


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Arrays count as large early, and the folder for temporary files is the test's own."""
    monkeypatch.setattr(mapped, "LARGE", 1000)
    monkeypatch.setattr(mapped, "_BLOCK", 1000)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def is_mapped(values: np.ndarray) -> bool:
    while isinstance(values, np.ndarray):
        values = values.base
    return isinstance(values, memoryview)


def resident(kind: str) -> int:
    """Bytes of this process that are in memory now: "RssFile" of files, "RssAnon" of its own."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(kind)]
    return 1024 * int(line.split()[1])


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["float32", ">f8", "uint8", "bool"])
def test_values_are_those_given(dtype: str, order: Any, rng: np.random.Generator) -> None:
    given = np.asarray(rng.uniform(0, 2, size=(50, 5, 6)).astype(dtype), order=order)
    held = mapped.mapped(given.copy(order))
    assert is_mapped(held)
    assert held.dtype == given.dtype
    np.testing.assert_array_equal(held, given)
    mapped.let_go(held[3:])
    np.testing.assert_array_equal(held, given)
    blocks = list(mapped.iter_blocks(held))
    assert len(blocks) > 1
    np.testing.assert_array_equal(np.concatenate(blocks), given)
    for other in (copy.deepcopy(held), pickle.loads(pickle.dumps(held))):
        np.testing.assert_array_equal(other, given)


def test_nobody_can_change_them(tmp_path: Path) -> None:
    held = mapped.mapped(np.ones((50, 30), np.float32))
    with pytest.raises(ValueError, match="read-only"):
        held[0] = 2
    with pytest.raises(ValueError, match="WRITEABLE"):
        held.flags.writeable = True
    assert os.listdir(tmp_path) == []


def test_their_pages_leave_the_memory() -> None:
    held, before = mapped.mapped(np.ones((32, MEBIBYTE), np.uint8)), resident("RssFile")
    assert held.sum() == held.size
    assert resident("RssFile") - before > 24 * MEBIBYTE
    mapped.let_go(held[5])
    assert resident("RssFile") - before < 8 * MEBIBYTE
    assert sum(int(block.sum()) for block in mapped.iter_blocks(held)) == held.size
    assert resident("RssFile") - before < 8 * MEBIBYTE


def test_without_room_they_stay_in_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    held = mapped.mapped(np.ones((50, 30)))
    assert not is_mapped(held)
    assert not held.flags.writeable
    mapped.let_go(held)
    np.testing.assert_array_equal(held, 1)


def model() -> keras.Model:
    keras.utils.set_random_seed(0)
    convolution = keras.layers.Conv2D(4, 3, activation="relu")
    return keras.Sequential([keras.Input((8, 8, 3)), convolution, keras.layers.Flatten(), keras.layers.Dense(3)])


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
def test_probes_are_explained_as_from_memory(dtype: str, rng: np.random.Generator, tmp_path: Path) -> None:
    x, explained = rng.uniform(0, 9, size=(11, 8, 8, 3)).astype(dtype), model()
    probes = lrp.ProbeSet(x, labels=np.arange(11) % 3)
    assert is_mapped(probes.inputs)
    in_memory = lrp.relevance(explained, x.astype(np.float32), probes.targets, batch_size=4)
    np.testing.assert_array_equal(lrp.relevance(explained, probes.inputs, probes.targets, batch_size=4), in_memory)
    assert probes.hash == lrp.ProbeSet(probes.inputs[:], labels=probes.labels).hash
    assert probes.statistics["max"] == x.max(axis=(0, 1, 2)).tolist()
    np.testing.assert_array_equal(probes.select([7, 2]).inputs, x[[7, 2]])
    probes.save(tmp_path / "probes.npz")
    assert lrp.ProbeSet.load(tmp_path / "probes.npz").hash == probes.hash


def test_what_is_not_finite_is_named_by_its_place_in_all(rng: np.random.Generator) -> None:
    x = rng.uniform(size=(11, 8, 8, 3))
    x[9, 0, 0, 0] = 1e300  # none of float32's
    with np.errstate(over="ignore"), pytest.raises(ValueError, match="infinity in sample 9"):
        lrp.relevance(model(), x)
