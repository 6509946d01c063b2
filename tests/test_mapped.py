"""Large arrays of probes lie in a file that nobody else can reach, and are explained as they would be in memory."""

from __future__ import annotations

import copy
import os
import pickle
import tempfile
from io import FileIO
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


@pytest.mark.parametrize("room", [1 << 20, 2500, 0])
def test_rows_that_come_in_parts(
    room: int, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whatever the file takes: all, the first parts, nothing."""

    def write(file: FileIO, start: int, values: np.ndarray, plain: Any = mapped._write) -> None:
        if start + values.nbytes > room:
            plain(file, start, values[: room // 300])  # a disk that fills up takes a part
            raise OSError(28, "No space left on device")
        plain(file, start, values)

    monkeypatch.setattr(mapped, "_write", write)
    given = rng.normal(size=(50, 5, 3)).astype(np.float32)
    parts = mapped.Parts(given.shape, np.float32)
    for start in range(0, 50, 8):
        parts.put(start, given[start : start + 8].astype(np.float64))
    held = parts.whole()
    assert is_mapped(held) == (room > given.nbytes)
    assert held.dtype == np.float32
    mapped.let_go(held)
    np.testing.assert_array_equal(held, given)
    assert os.listdir(tmp_path) == []


def test_small_parts_and_those_of_callers_are_ordinary_arrays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for shape, in_file in (((50, 5), False), ((3, 5), True)):
        parts = mapped.Parts(shape, np.float64, in_file)
        parts.put(0, np.ones(shape))
        held = parts.whole()
        held += 1
        np.testing.assert_array_equal(held, 2)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    parts = mapped.Parts((50, 5), np.float64)
    parts.put(0, np.ones((50, 5)))
    assert not is_mapped(parts.whole())


def test_maps_of_others_keep_what_was_written_into_them(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((6, 8, 8, 3), np.float32))
    x = np.load(tmp_path / "x.npy", mmap_mode="c")
    x += 1  # in memory alone
    relevance = lrp.relevance(model(), x, 0, batch_size=2)
    np.testing.assert_array_equal(x, 2)
    np.testing.assert_array_equal(relevance, lrp.relevance(model(), np.array(x), 0, batch_size=2))


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


@pytest.mark.filterwarnings("ignore:LRPMonitor:RuntimeWarning")
@pytest.mark.parametrize("rate", [0.1, np.inf])
def test_a_fit_logs_the_same_from_files(
    rate: float, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Heatmaps, and all that is computed of them and of those of the log before, also where logits become NaN."""
    x, y = rng.uniform(size=(11, 8, 8, 3)).astype(np.float32), np.arange(11) % 3
    runs = {}
    for name, large in (("memory", 1 << 40), ("file", 1000)):
        monkeypatch.setattr(mapped, "LARGE", large)
        trained = model()
        trained.add(keras.layers.Softmax())
        trained.compile(keras.optimizers.SGD(rate), "sparse_categorical_crossentropy")
        probes = lrp.ProbeSet(x, labels=y, masks={"corner": (0, 0, 4, 4)})
        monitor = lrp.LRPMonitor(probes, tmp_path / name, encoding="float32", batch_size=4, verbose=0)
        seen: list[bool] = []

        def look(*_: Any, monitor: lrp.LRPMonitor = monitor, seen: list[bool] = seen) -> None:
            seen.append(is_mapped(monitor._fit_logger._record_builder.previous))

        watching = keras.callbacks.LambdaCallback(on_epoch_begin=look)
        trained.fit(x, y, epochs=2, batch_size=11, callbacks=[monitor, watching], verbose=0)
        assert seen == [name == "file"] * 2
        runs[name] = lrp.open_run(tmp_path / name)
    one, other = runs.values()
    assert one.steps == other.steps == [0, 1, 2]
    for step in one.steps:
        np.testing.assert_array_equal(one.heatmaps(step), other.heatmaps(step))
        assert np.isnan(one.heatmaps(step)).all() == (rate == np.inf and step > 0)
        for name in one.statistics:
            np.testing.assert_array_equal(one.statistic(name)[1], other.statistic(name)[1], name)
