"""Probe sets out of what people have: data sets of TensorFlow, Keras and torch, tables, generators."""

from __future__ import annotations

import inspect
import itertools
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from PIL import Image

from lrp_monitor.probes import ProbeSet
from lrp_monitor.probes.options import ProbeOptions

X = np.arange(24 * 4, dtype=np.float32).reshape(24, 2, 2)
Y = np.tile([2, 0, 1], 8)


def pairs() -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices((X, Y))


class Batches(keras.utils.PyDataset):
    """The data in batches of 5 and the rest."""

    def __len__(self) -> int:
        return 5

    def __getitem__(self, at: int) -> tuple[np.ndarray, np.ndarray]:
        return X[5 * at : 5 * at + 5], Y[5 * at : 5 * at + 5]


class Tensor:
    """As torch's: no array before it is detached and on the host."""

    def __init__(self, values: np.ndarray) -> None:
        self._values, self.ready = values, False

    def detach(self) -> Tensor:
        return self

    def cpu(self) -> Tensor:
        self.ready = True
        return self

    def numpy(self) -> np.ndarray:
        assert self.ready
        return self._values


class Loader:
    """As torch's DataLoader over an ImageFolder: batches of tensors, in an order of its own at each reading."""

    def __init__(self) -> None:
        self.dataset = type("Folder", (), {"classes": ["cat", "dog", "fox"]})()
        self._rng = np.random.default_rng(3)

    def __len__(self) -> int:
        return 4

    def __iter__(self) -> Iterator[list[Tensor]]:
        order = self._rng.permutation(24)
        for rows in order.reshape(4, 6):
            yield [Tensor(X[rows]), Tensor(Y[rows])]


def generator(order: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for start in range(0, len(order), size):
        yield X[order[start : start + size]], Y[order[start : start + size]]


def test_the_same_samples_whatever_the_order_and_the_batches() -> None:
    wanted = ProbeSet.from_dataset(pairs(), per_class=3, seed=7)
    np.testing.assert_array_equal(wanted.labels, [0, 0, 0, 1, 1, 1, 2, 2, 2])
    rows = (wanted.inputs[:, 0, 0] / 4).astype(int)
    np.testing.assert_array_equal(Y[rows], wanted.labels)
    assert len(set(rows)) == 9
    order = np.random.default_rng(0).permutation(24)
    others: list[Any] = [
        pairs().shuffle(24, seed=1),
        pairs().batch(5),
        pairs().shuffle(24).batch(7).prefetch(2),
        pairs().batch(8, drop_remainder=True).map(lambda x, y: (x, y)),
        pairs().batch(6).unbatch(),
        pairs().batch(4).map(lambda x, y: (x, y, tf.ones_like(y))),
        Batches(),
        Loader(),
        generator(order, 5),
        [(x, y) for x, y in zip(X, Y, strict=True)],
        pairs().concatenate(pairs()),  # a sample that comes twice is picked once
    ]
    for data in others:
        found = ProbeSet.from_dataset(data, per_class=3, seed=7)
        np.testing.assert_array_equal(found.inputs, wanted.inputs)
        np.testing.assert_array_equal(found.labels, wanted.labels)
    assert not np.array_equal(ProbeSet.from_dataset(pairs(), per_class=3, seed=8).inputs, wanted.inputs)


@pytest.mark.parametrize("labels", [np.eye(3, dtype=np.float32)[Y], Y[:, None], Y.astype(np.float64)[:, None] / 2])
def test_forms_of_labels(labels: np.ndarray) -> None:
    data = tf.data.Dataset.from_tensor_slices((X, labels)).batch(5)
    if labels.dtype == np.float64:  # 0, .5 and 1 are numbers to predict
        with pytest.raises(ValueError, match=r"y holds 0\.5, which is no class index; pass count="):
            ProbeSet.from_dataset(data)
        found = ProbeSet.from_dataset(data, count=4)
        assert len(found) == 4
        return
    found = ProbeSet.from_dataset(data, per_class=2)
    np.testing.assert_array_equal(found.labels, [0, 0, 1, 1, 2, 2])


def test_one_hot_labels_of_one_sample_an_element_are_no_batch() -> None:
    # Two rows of a sample and two classes: only the pipeline says that this is no batch of two.
    labels = np.eye(2, dtype=np.float32)[Y % 2]
    found = ProbeSet.from_dataset(tf.data.Dataset.from_tensor_slices((X, labels)), batched=False)
    np.testing.assert_array_equal(found.labels, [0, 0, 1, 1])
    assert found.sample_shape == (2, 2)


def test_inputs_by_name_keep_their_structure() -> None:
    both = {"picture": X, "size": np.arange(24, dtype=np.float32)[:, None]}
    found = ProbeSet.from_dataset(tf.data.Dataset.from_tensor_slices((both, Y)).batch(5), per_class=1)
    assert set(found.inputs) == {"picture", "size"}
    rows = found.inputs["size"][:, 0].astype(int)
    np.testing.assert_array_equal(found.inputs["picture"], X[rows])
    of_arrays = ProbeSet.from_dataset(both, Y, per_class=1)
    np.testing.assert_array_equal(of_arrays.inputs["picture"], X[of_arrays.inputs["size"][:, 0].astype(int)])


def test_a_folder_of_pictures_as_keras_reads_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for kind in ("cat", "dog"):
        (tmp_path / kind).mkdir()
        for number in range(3):
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(tmp_path / kind / f"{number}.png")
    read = {"directory": str(tmp_path), "image_size": (8, 8), "batch_size": 4, "verbose": False}
    found = ProbeSet.from_dataset(keras.utils.image_dataset_from_directory(**read, shuffle=False))
    assert found.class_names == ("cat", "dog")
    np.testing.assert_array_equal(found.labels, [0, 0, 1, 1])
    for name, values in zip(found.names, found.inputs, strict=True):
        (file,) = tmp_path.glob(f"*/{name}" if "/" not in name else name)
        np.testing.assert_array_equal(values, np.asarray(Image.open(file)))
    shuffled = ProbeSet.from_dataset(keras.utils.image_dataset_from_directory(**read, seed=1))
    np.testing.assert_array_equal(shuffled.inputs, found.inputs)
    assert shuffled.names == ("cat 0", "cat 1", "dog 0", "dog 1")  # which file is which is not known


def test_reading_ends_and_says_so() -> None:
    endless = pairs().repeat().batch(5)
    with pytest.warns(RuntimeWarning, match=r"read the first 40 samples \(limit=40\) and the data set holds more"):
        found = ProbeSet.from_dataset(endless, limit=40)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        whole = ProbeSet.from_dataset(pairs(), limit=24)
    np.testing.assert_array_equal(found.inputs, whole.inputs)
    assert len(ProbeSet.from_dataset(itertools.repeat((X[:3], Y[:3]), 9), per_class=1, limit=None)) == 3


def test_tables() -> None:
    frame = pd.DataFrame({"age": np.arange(24), "height": np.linspace(0, 1, 24), "label": Y})
    found = ProbeSet.from_dataset(frame, "label", per_class=1)
    assert found.sample_shape == (2,)
    assert found.parts[0].feature_names == ("age", "height")
    rows = found.inputs[:, 0].astype(int)
    np.testing.assert_array_equal(Y[rows], found.labels)
    with pytest.raises(ValueError, match=r"y='size' is no column of the DataFrame; there are age, height, label"):
        ProbeSet.from_dataset(frame, "size")
    assert ProbeSet.from_dataset(frame[["age", "height"]], frame["label"], per_class=1).hash == found.hash
    texts = frame.assign(label=frame["label"].map({0: "a", 1: "b", 2: "c"}))
    with pytest.raises(ValueError, match="y holds texts: give the class indices"):
        ProbeSet.from_dataset(texts, "label")


def test_a_tuple_of_arrays_is_the_data() -> None:
    assert ProbeSet.from_dataset((X, Y)).hash == ProbeSet.from_dataset(X, Y).hash


@pytest.mark.parametrize(
    ("data", "options", "error", "text"),
    [
        (lambda: pairs().map(lambda x, y: x), {}, TypeError, r"x alone an element; expected \(x, y\)"),
        (lambda: pairs().map(lambda x, y: {"image": x, "label": y}), {}, TypeError, r"the keys 'image', 'label'"),
        (lambda: 7, {}, TypeError, r"got int without y"),
        # Before anything is read.
        (
            lambda: 7,
            {"class_nams": []},
            TypeError,
            r"^ProbeSet.from_dataset\(\) .*'class_nams'; did you mean 'class_names'",
        ),
        (pairs, {"y": Y}, TypeError, r"leave y out"),
        (lambda: X, {}, ValueError, r"y is None"),
        (pairs, {"per_class": 9}, ValueError, r"class 0 has 8 sample\(s\) among the 24 read"),
        (pairs, {"class_names": list("abcd")}, ValueError, r"class 3 has 0 sample\(s\)"),
        (pairs, {"class_names": list("ab")}, ValueError, r"lists 2 classes, but a sample has the label 2"),
        (pairs, {"limit": 0}, ValueError, r"limit=0"),
        (pairs, {"count": 25}, ValueError, r"count=25, but the data set holds 24"),
        (lambda: pairs().take(0), {}, ValueError, r"gives no samples"),
        (lambda: pairs().map(lambda x, y: (x, "a")), {}, ValueError, r"y holds texts"),
        (lambda: pairs().map(lambda x, y: (x, tf.ones(3))), {}, ValueError, r"\[1, 1, 1\], which is not one-hot"),
        (lambda: [(X[:3], Y[:2])], {"batched": True}, ValueError, r"not as many samples each"),
        (lambda: [(X[0], 0), (X[0, :1], 1)], {"per_class": 1}, ValueError, r"several shapes \(\(1, 2\), \(2, 2\)\)"),
    ],
)
def test_what_gives_no_pick_says_why(data: Any, options: dict[str, Any], error: type[Exception], text: str) -> None:
    given = data()
    with pytest.raises(error, match=text):
        ProbeSet.from_dataset(given, **options)


def test_the_options_handed_on_are_those_of_a_probe_set() -> None:
    taken = inspect.signature(ProbeSet).parameters.values()
    assert sorted(ProbeOptions.__annotations__) == sorted(one.name for one in taken if one.kind is one.KEYWORD_ONLY)
    with pytest.raises(TypeError, match=r"^ProbeSet.from_directory\(\) .*'fitt'; did you mean 'fit'"):
        ProbeSet.from_directory("nowhere", fitt="crop")  # type: ignore[call-arg]
