"""A fixed pick of samples out of a data set, which is read once and in whatever order it gives them.

A sample's key is a hash of its content and a seed; the smallest keys are picked. So the pick depends neither on the
order of reading nor on the size of batches. Nothing here imports a framework: data sets are known by what they offer.
"""

from __future__ import annotations

import hashlib
import itertools
import warnings
from bisect import insort
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrp_monitor.keras_internals import data_pipeline
from lrp_monitor.probes.labels import checked_labels

LIMIT = 20_000
"""Samples that are read at most, unless asked otherwise."""

_PAIR = "expected (x, y) or (x, y, sample_weight) as Keras' fit takes them"
_NO_CLASSES = "pass count=, a number of samples in all, in place of per_class="


@dataclass
class Pick:
    """The samples picked: inputs in the structure of the data set's, (n, ...) each; labels (n, ...); what is known."""

    inputs: Any
    labels: NDArray[Any]
    names: list[str] | None = None
    class_names: list[str] | None = None


def pick(
    data: Any,
    *,
    per_class: int = 2,
    count: int | None = None,
    seed: int = 0,
    limit: int | None = LIMIT,
    batched: bool | None = None,
    class_names: Sequence[str] | None = None,
) -> Pick:
    """Reads a data set of (x, y) and picks samples of it.

    Args:
        data: a `tf.data.Dataset`, a Keras PyDataset, a torch DataLoader or map-style data set, or any iterable of (x,
            y).
        per_class: samples of each class.
        count: samples in all, instead of per_class, whatever the labels are.
        limit: samples read at most, None for all; a RuntimeWarning says so where the data set holds more.
        batched: whether elements are batches; None finds it out.
        class_names: one name a class, whose classes must all occur.

    Raises:
        ValueError: that names the argument, TypeError where `data` gives no pairs.
    """
    if count is None and per_class < 1:
        raise ValueError(f"per_class={per_class}: must be at least 1")
    if count is not None and count < 1:
        raise ValueError(f"count={count}: must be at least 1")
    if limit is not None and limit < 1:
        raise ValueError(f"limit={limit}: must be at least 1, or None for all samples")
    samples = _samples(data, batched)
    kept = _Kept(per_class if count is None else count, seed, by_class=count is None)
    number = -1
    for number, (x, y) in enumerate(samples if limit is None else itertools.islice(samples, limit)):
        kept.offer(number, x, y)
    if number < 0:
        raise ValueError("the data set gives no samples")
    if limit is not None and number + 1 == limit and next(samples, None) is not None:
        warnings.warn(
            f"from_dataset read the first {limit:,} samples (limit={limit}) and the data set holds more: of data in "
            "another order the pick is another. limit=None reads all",
            RuntimeWarning,
            stacklevel=3,
        )
    names = class_names if class_names is not None else _class_names(data)
    picked = kept.picked(number + 1, None if names is None else len(names))
    paths = _paths(data)
    return Pick(
        _stacked([x for _, _, x, _ in picked]),
        np.stack([y for _, _, _, y in picked]),
        None if paths is None else _file_names([paths[at] for _, at, _, _ in picked]),
        None if names is None else list(names),
    )


def pair_of_arrays(data: Any) -> tuple[Any, Any] | None:
    """(x, y) where `data` is a tuple of two arrays of as many samples, such as `load_data` gives; else None."""
    if not isinstance(data, tuple) or len(data) != 2:
        return None
    lengths = {len(leaf) for leaf in _leaves(data) if getattr(leaf, "ndim", 0)}
    arrays = all(getattr(leaf, "ndim", 0) for leaf in _leaves(data))
    return (data[0], data[1]) if arrays and len(lengths) == 1 else None


def frame_columns(data: Any, y: Any) -> tuple[Any, Any, list[str] | None]:
    """A DataFrame as (x, y, feature names): one float32 table where all columns are numbers, else a dict of columns.

    Args:
        y: a column's name, or the labels.

    Raises:
        ValueError: for a column that is not there or holds texts to be the labels.
    """
    columns = [str(column) for column in data.columns]
    if isinstance(y, str):
        if y not in columns:
            raise ValueError(f"y={y!r} is no column of the DataFrame; there are {', '.join(columns[:20])}")
        labels: Any = np.asarray(data.iloc[:, columns.index(y)])
        columns = [column for column in columns if column != y]
    else:
        labels = None if y is None else np.asarray(y)
    if labels is not None and labels.dtype.kind in "OSU":
        raise ValueError("y holds texts: give the class indices that the model is trained on, and class_names=")
    table = {column: np.asarray(data[column]) for column in columns}
    if all(values.dtype.kind in "biuf" for values in table.values()):
        return np.stack([values.astype(np.float32) for values in table.values()], axis=1), labels, columns
    return table, labels, None


def rows_of_arrays(
    x: Any, y: Any, *, per_class: int, count: int | None, seed: int, class_names: tuple[str, ...] | None
) -> NDArray[np.intp]:
    """Which rows of arrays are picked: of each class by its number, then as in the data; `count` as in the data.

    Raises:
        ValueError: where a class has fewer samples than asked for.
    """
    lengths = {len(leaf) for leaf in _leaves(x)}
    if len(lengths) != 1:
        raise ValueError(f"x: arrays of {', '.join(map(str, sorted(lengths)))} samples; expected as many each")
    n = lengths.pop()
    order = np.random.default_rng(seed).permutation(n)
    if count is not None:
        if not 1 <= count <= n:
            raise ValueError(f"count={count}: must be 1 to {n}, the samples that there are")
        return np.sort(order[:count])
    labels = checked_labels(y, n, class_names, argument="y")
    if labels is None:
        raise ValueError("y is None: from_dataset picks per class; use ProbeSet(x) without labels")
    if per_class < 1:
        raise ValueError(f"per_class={per_class}: must be at least 1")
    picked: list[int] = []
    for label in np.unique(labels):
        members = order[labels[order] == label][:per_class]
        if len(members) < per_class:
            raise ValueError(f"per_class={per_class}, but class {label} has {len(members)} sample(s); lower per_class")
        picked.extend(sorted(int(i) for i in members))
    return np.array(picked, np.intp)


def arrays(x: Any) -> Any:
    """Inputs of a whole data set with leaves that can be indexed. TypeError for what gives samples of itself."""
    if not isinstance(x, Mapping | list | tuple) and not hasattr(x, "__array__") and hasattr(x, "__iter__"):
        raise TypeError(f"y is given beside a {type(x).__name__}, which gives pairs (x, y) itself: leave y out")
    if isinstance(x, list) and not all(getattr(one, "ndim", 0) for one in x):
        return np.asarray(x)
    return x


def rows(structure: Any, chosen: NDArray[np.intp]) -> Any:
    """Some rows of arrays, in their structure."""
    return _mapped(structure, lambda leaf: np.asarray(leaf)[chosen])


class _Kept:
    """The samples with the smallest keys so far, by class or of all.

    Args:
        count: how many are kept.
        seed: of the keys.
    """

    def __init__(self, count: int, seed: int, by_class: bool) -> None:
        self._count, self._by_class = count, by_class
        self._seed = int(seed).to_bytes(8, "little", signed=True)
        self._groups: dict[int, list[tuple[bytes, int, Any, Any]]] = {}
        self._classes: int | None = None  # of one-hot labels

    def offer(self, number: int, x: Any, y: NDArray[Any]) -> None:
        """A sample, the one of that number in the order of reading."""
        label = self._class_of(y) if self._by_class else 0
        group = self._groups.setdefault(label, [])
        key = self._key(x, np.asarray(label) if self._by_class else y)
        if len(group) == self._count and key >= group[-1][0]:
            return
        if any(key == other for other, *_ in group):
            return  # the same sample again
        x = _mapped(x, lambda leaf: np.array(leaf))  # a copy: a sample must not keep its batch alive
        insort(group, (key, number, x, np.asarray(label) if self._by_class else np.array(y)), key=lambda one: one[0])
        del group[self._count :]

    def picked(self, read: int, classes: int | None) -> list[tuple[bytes, int, Any, Any]]:
        """What is kept, ordered by class and key. read: how many samples were; classes: how many there are, or None."""
        if not self._by_class:
            if len(self._groups[0]) < self._count:
                raise ValueError(
                    f"count={self._count}, but the data set holds {len(self._groups[0])} different samples"
                )
            return self._groups[0]
        known = classes if classes is not None else self._classes
        for label in sorted(self._groups if known is None else {*range(known), *self._groups}):
            found = len(self._groups.get(label, ()))
            if known is not None and label >= known:
                raise ValueError(f"class_names lists {known} classes, but a sample has the label {label}")
            if found < self._count:
                raise ValueError(
                    f"per_class={self._count}, but class {label} has {found} sample(s) among the {read:,} read; lower "
                    "per_class, or raise limit"
                )
        return [one for label in sorted(self._groups) for one in self._groups[label]]

    def _class_of(self, y: NDArray[Any]) -> int:
        if y.dtype.kind in "OSU":
            raise ValueError("y holds texts: give the class indices that the model is trained on, and class_names=")
        flat = y.reshape(-1)
        if y.ndim <= 1 and flat.size == 1:
            value = float(flat[0])
            if value < 0 or value != int(value) or (y.dtype.kind == "f" and value > 1):
                raise ValueError(f"y holds {value:g}, which is no class index; {_NO_CLASSES}")
            return int(value)
        if y.ndim == 1:
            ones = np.flatnonzero(flat == 1)
            if len(ones) != 1 or np.count_nonzero(flat) != 1:
                raise ValueError(f"y holds {_shown(flat)}, which is not one-hot; {_NO_CLASSES}")
            self._classes = len(flat)
            return int(ones[0])
        raise ValueError(f"y has the shape {y.shape} a sample, which is no class; {_NO_CLASSES}")

    def _key(self, x: Any, y: NDArray[Any]) -> bytes:
        digest = hashlib.blake2b(self._seed, digest_size=16)
        for leaf in (*_leaves(x), y):
            values = np.ascontiguousarray(leaf)
            digest.update(f"{values.dtype.str}{values.shape}".encode())
            digest.update(repr(values.tolist()).encode() if values.dtype.kind == "O" else values.tobytes())
        return digest.digest()


# ---- reading


def _samples(data: Any, batched: bool | None) -> Iterator[tuple[Any, NDArray[Any]]]:
    """(x, y) of one sample after the other."""
    elements = _elements(data)
    first = next(elements, None)
    if first is None:
        return
    pair = _pair(first)
    if batched is None:
        batched = _is_batched(data, *pair)
    for x, y in itertools.chain([pair], map(_pair, elements)):
        if not batched:
            yield x, y
            continue
        lengths = {len(leaf) if leaf.ndim else None for leaf in (*_leaves(x), y)}
        if len(lengths) != 1 or None in lengths:
            shapes = ", ".join(str(leaf.shape) for leaf in (*_leaves(x), y))
            raise ValueError(
                f"a batch holds arrays of the shapes {shapes}: not as many samples each; is batched=False?"
            )
        for at in range(len(y)):
            yield _mapped(x, lambda leaf, at=at: leaf[at]), np.asarray(y[at])


def _elements(data: Any) -> Iterator[Any]:
    if hasattr(data, "num_batches") and hasattr(data, "__getitem__"):  # a PyDataset, whose iteration never ends
        batches = data.num_batches
        return (data[at] for at in (itertools.count() if batches is None else range(batches)))
    if hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, Sequence):
        return (data[at] for at in range(len(data)))
    try:
        return iter(data)
    except TypeError as error:
        raise TypeError(
            f"from_dataset got {type(data).__name__} without y: expected arrays x and y, a tf.data.Dataset, PyDataset, "
            "DataLoader, DataFrame, or an iterable of (x, y)"
        ) from error


def _pair(element: Any) -> tuple[Any, NDArray[Any]]:
    if isinstance(element, Mapping):
        keys = ", ".join(map(repr, list(element)[:10]))
        raise TypeError(f"the data set gives dicts with the keys {keys}; {_PAIR}")
    if not isinstance(element, tuple | list) or len(element) not in (2, 3):
        given = f"{len(element)} values" if isinstance(element, tuple | list) else "x alone"
        raise TypeError(f"the data set gives {given} an element; {_PAIR}")
    return _mapped(element[0], _as_numpy), _as_numpy(element[1])


def _as_numpy(leaf: Any) -> NDArray[Any]:
    if hasattr(leaf, "detach"):  # a torch tensor
        leaf = leaf.detach().cpu()
    if hasattr(leaf, "to_tensor"):
        raise ValueError("the data set gives ragged or sparse tensors: pad them first, as the model takes them")
    return np.asarray(leaf.numpy() if hasattr(leaf, "numpy") else leaf)


def _is_batched(data: Any, x: Any, y: NDArray[Any]) -> bool:
    if not y.ndim:
        return False
    for step in _pipeline(data):
        if "Unbatch" in step:
            return False
        if "Batch" in step:
            return True
    lengths = {len(leaf) if leaf.ndim else None for leaf in (*_leaves(x), y)}
    return len(lengths) == 1 and None not in lengths


def _pipeline(data: Any) -> Iterator[str]:
    """The class names of a `tf.data.Dataset` and of those that it is made of, the last step first."""
    return (type(step).__name__ for step in data_pipeline(data))


# ---- what a data set knows


def _class_names(data: Any) -> list[str] | None:
    """Of `image_dataset_from_directory` and the like, and of torchvision's folders."""
    found = getattr(data, "class_names", None) or getattr(getattr(data, "dataset", data), "classes", None)
    return [str(name) for name in found] if isinstance(found, list | tuple) and found else None


def _paths(data: Any) -> list[str] | None:
    """The file of each sample in the order of reading, where that is known: not of a shuffled data set."""
    found = getattr(data, "file_paths", None)
    if not isinstance(found, list | tuple) or any("Shuffle" in step for step in _pipeline(data)):
        return None
    return [str(path) for path in found]


def _file_names(paths: Sequence[str]) -> list[str]:
    """Paths as names: as many of their last parts as tell them apart."""
    parts = [PurePath(path).parts for path in paths]
    for many in range(1, max(map(len, parts)) + 1):
        names = ["/".join(each[-many:]) for each in parts]
        if len(set(names)) == len(names):
            return names
    return list(paths)


# ---- structures


def _leaves(structure: Any) -> list[Any]:
    if isinstance(structure, Mapping):
        return [leaf for key in structure for leaf in _leaves(structure[key])]
    if isinstance(structure, tuple | list):
        return [leaf for part in structure for leaf in _leaves(part)]
    return [structure]


def _mapped(structure: Any, function: Any) -> Any:
    if isinstance(structure, Mapping):
        return {key: _mapped(part, function) for key, part in structure.items()}
    if isinstance(structure, tuple | list):
        return tuple(_mapped(part, function) for part in structure)
    return function(structure)


def _stacked(samples: Sequence[Any]) -> Any:
    first = samples[0]
    if isinstance(first, Mapping):
        return {key: _stacked([sample[key] for sample in samples]) for key in first}
    if isinstance(first, tuple):
        return tuple(_stacked([sample[at] for sample in samples]) for at in range(len(first)))
    shapes = {np.shape(sample) for sample in samples}
    if len(shapes) > 1:
        listed = ", ".join(map(str, sorted(shapes)[:4]))
        raise ValueError(f"samples of several shapes ({listed}): bring them to one, as the model takes them")
    return np.stack(samples)


def _shown(values: NDArray[Any]) -> str:
    text = ", ".join(f"{value:g}" for value in values[:8])
    return f"[{text}{', ...' if len(values) > 8 else ''}]"
