"""Histograms of float tensors, counted in one compiled function, and their form for TensorBoard.

A value's bucket is the top 11 bits of its float32 form (sign, exponent, 2 bits of mantissa): 2048 buckets
that are the same for every tensor and step, so that histograms can be added and compared. All integer work
is done on the bits themselves, because processors that flush denormal numbers would take them for zeros.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from lrp_monitor.keras_internals import is_deterministic
from lrp_monitor.store.format import BUCKETS, Histogram, HistogramKind, bucket_edges
from lrp_monitor.training.tensors.names import tensor_names

_ZERO, _INFINITE = BUCKETS, BUCKETS + 1  # two more buckets, so that one pass counts everything
_COUNTS = BUCKETS + 2
ROW = _COUNTS + 3
"""Columns of a row: counts, smallest and largest key of a finite value, bits of the sum of squares."""

_CHUNK = 1 << 18  # elements of a large tensor counted at a time: fits the cache, bounds the memory
_SMALL = 1 << 16  # tensors up to this size are counted together
_GROUP = 1 << 18  # and so many elements of them at a time

_MAGNITUDE, _INFINITY_BITS = 0x7FFFFFFF, 0x7F800000
_NO_MINIMUM, _NO_MAXIMUM = 0x7FFFFFFF, -0x80000000
_NORMAL = slice(4, 1020)  # magnitudes: below are the denormals, above infinities and NaN


def statistics_rows(tensors: Sequence[Any]) -> tf.Tensor:
    """Count the values of float tensors, eagerly or inside a compiled function (plain or XLA).

    ``tensors`` are tensors or variables of any float type (counted as float32) with static shapes. Returns
    int64 (len(tensors), ROW), to be read by ``histogram_from_row``. Sums of squares are accumulated in
    float64. Apart from the result it needs a few MB, whatever the size of the tensors. Raises ValueError for
    other types.
    """
    sizes = [_checked_size(tensor) for tensor in tensors]
    rows: list[tf.Tensor] = []
    order: list[int] = []
    group: list[int] = []

    def after_the_last() -> Any:
        # One after the other: run side by side, their temporaries would add up.
        return tf.control_dependencies(rows[-1:])

    def count_group() -> None:
        if group:
            with after_the_last():
                rows.append(_count_group([_flat(tensors[i]) for i in group], [sizes[i] for i in group]))
            order.extend(group)
            group.clear()

    # From the last to the first, as gradients arrive: one that is counted can go.
    for index in reversed(range(len(tensors))):
        if sizes[index] <= _SMALL:
            if sum(sizes[i] for i in group) + sizes[index] > _GROUP:
                count_group()
            group.append(index)
            continue
        with after_the_last():
            flat = tf.reshape(tf.convert_to_tensor(tensors[index]), [-1])
            counter = _counter(flat.dtype.name, _wide().name, is_deterministic(), sizes[index] > _CHUNK)
            rows.append(counter(flat)[None])
        order.append(index)
    count_group()
    if not rows:
        return tf.zeros([0, ROW], tf.int64)
    return tf.gather(tf.concat(rows, 0), np.argsort(order).astype(np.int64))


def histogram_from_row(row: npt.NDArray[np.int64], kind: HistogramKind, name: str, size: int) -> Histogram:
    """The histogram that one row of ``statistics_rows`` holds, NumPy only; ``size`` is the tensor's."""
    counts = row[:_COUNTS].copy()
    by_sign = counts[:BUCKETS].reshape(2, 1024)
    denormals, nan = int(by_sign[:, : _NORMAL.start].sum()), int(by_sign[:, _NORMAL.stop :].sum())
    by_sign[:, : _NORMAL.start] = by_sign[:, _NORMAL.stop :] = 0
    zeros, inf = int(counts[_ZERO]), int(counts[_INFINITE])
    buckets = np.flatnonzero(counts[:BUCKETS])
    finite = size > nan + inf
    return Histogram(
        kind=kind,
        name=name,
        size=size,
        zeros=zeros,
        denormals=denormals,
        nan=nan,
        inf=inf,
        minimum=_value_of_key(row[_COUNTS]) if finite else None,
        maximum=_value_of_key(row[_COUNTS + 1]) if finite else None,
        norm=float(np.sqrt(row[_COUNTS + 2 : _COUNTS + 3].view(np.float64)[0])),
        buckets=buckets.astype(np.uint16),
        counts=counts[buckets],
    )


class TensorStatistics:
    """Histograms of a set of variables, again and again while they train.

    ``source`` maps names to float variables (Keras' or TensorFlow's), or is a function that gives such a
    mapping, asked at every call: layers may be added, unfrozen or rebuilt. The float64 sums make the norm exact to
    about 1e-12 relative; denormals may count as zero in it (an error below 1.2e-38 each). Non-floating variables
    raise ValueError with their name.
    """

    def __init__(
        self, source: Mapping[str, Any] | Callable[[], Mapping[str, Any]], *, kind: HistogramKind = "weight"
    ) -> None:
        self._source = source
        self._kind: HistogramKind = kind

    @classmethod
    def for_model(cls, model: keras.Model, *, trainable_only: bool = False) -> TensorStatistics:
        """Statistics of a model's float weights, named by ``tensor_names``, followed through rebuilds."""
        return cls(lambda: tensor_names(model, trainable_only=trainable_only))

    def __call__(self) -> list[Histogram]:
        """Count now. Returns one Histogram for each variable, in the source's order, NumPy only."""
        source = self._source() if callable(self._source) else self._source
        tensors = {name: _tensor_like(variable) for name, variable in source.items()}
        for name, tensor in tensors.items():
            if not tensor.dtype.is_floating:
                dtype = tensor.dtype.name
                raise ValueError(f"tensor {name!r} is {dtype}: only floating-point tensors have a histogram")
        # Eagerly: one compiled function over all tensors stays in memory, 60 MB of it for ResNet50.
        rows = statistics_rows(list(tensors.values())).numpy()
        return [
            histogram_from_row(row, self._kind, name, _size(tensor))
            for row, (name, tensor) in zip(rows, tensors.items(), strict=True)
        ]


def weight_rows(histogram: Histogram, max_rows: int = 200) -> npt.NDArray[np.float64]:
    """A histogram on the axis of values, for TensorBoard: float64 (k, 3) of left, right, count.

    At most ``max_rows`` rows; they ascend and do not overlap, the outermost edges are the exact minimum and
    maximum, the counts sum to the number of finite values. Neighbouring buckets are merged where they are
    finer than the axis can show. Zeros and denormals are a row of no width at 0.
    """
    rows = sorted(
        [*bucket_edges(int(bucket)), float(count)]
        for bucket, count in zip(histogram.buckets, histogram.counts, strict=True)
    )
    nearly_zero = histogram.zeros + histogram.denormals
    if nearly_zero:
        rows = sorted([*rows, [0.0, 0.0, float(nearly_zero)]])
    if not rows or histogram.minimum is None or histogram.maximum is None:
        return np.zeros((0, 3))
    rows[0][0] = max(rows[0][0], histogram.minimum)
    rows[-1][1] = min(rows[-1][1], histogram.maximum)
    width = (rows[-1][1] - rows[0][0]) / max_rows
    merged = rows
    while len(merged) > max_rows:
        merged = _merge(rows, width)
        width *= 1.25
    return np.array(merged)


def gradient_rows(histogram: Histogram, max_rows: int = 200) -> npt.NDArray[np.float64]:
    """A histogram of log10 of the magnitude, for TensorBoard: float64 (k, 3) of left, right, count.

    At most ``max_rows`` rows; they ascend and do not overlap, the counts sum to the number of finite values.
    Zeros and denormals have no place on this axis: they are the leftmost row, half a decade wide, apart from
    the others by at least half a decade (from -38.5 to -38 where there is nothing else).
    """
    magnitudes = np.zeros(1024, np.int64)
    np.add.at(magnitudes, histogram.buckets.astype(np.int64) & 1023, histogram.counts)
    step = 1
    while int(np.count_nonzero(_summed(magnitudes, step))) > max_rows - 1:
        step *= 2  # aligned pairs, so that rows of different steps still share their edges
    summed = _summed(magnitudes, step)
    rows = []
    for index in np.flatnonzero(summed):
        first, last = int(index) * step, min((int(index) + 1) * step, _NORMAL.stop) - 1
        left, right = bucket_edges(max(first, _NORMAL.start))[0], bucket_edges(last)[1]
        rows.append([np.log10(left), np.log10(right), float(summed[index])])
    if rows and histogram.minimum is not None and histogram.maximum is not None:
        largest = max(-histogram.minimum, histogram.maximum)
        rows[-1][1] = max(rows[-1][0], min(rows[-1][1], np.log10(largest)))
    nearly_zero = histogram.zeros + histogram.denormals
    if nearly_zero:
        left = float(np.floor(rows[0][0])) - 1.0 if rows else -38.5
        rows.insert(0, [left, left + 0.5, float(nearly_zero)])
    return np.array(rows).reshape(-1, 3)


def _merge(rows: list[list[float]], width: float) -> list[list[float]]:
    merged: list[list[float]] = []
    for left, right, count in rows:
        if merged and right - merged[-1][0] <= width:
            merged[-1][1] = right
            merged[-1][2] += count
        else:
            merged.append([left, right, count])
    return merged


def _summed(counts: npt.NDArray[np.int64], step: int) -> npt.NDArray[np.int64]:
    summed: npt.NDArray[np.int64] = counts.reshape(-1, step).sum(axis=1)
    return summed


def _value_of_key(key: np.int64) -> float:
    bits = np.array(key, np.int64).astype(np.int32)
    bits = bits ^ ((bits >> np.int32(31)) & np.int32(_MAGNITUDE))
    return float(bits.view(np.float32)) + 0.0  # -0.0 becomes 0.0


def _tensor_like(variable: Any) -> Any:
    """The TensorFlow variable behind a Keras variable; anything else unchanged."""
    return variable.value if isinstance(variable, keras.Variable) else variable


def _size(tensor: Any) -> int:
    return int(np.prod([int(axis) for axis in tensor.shape], dtype=np.int64))


def _checked_size(tensor: Any) -> int:
    if not tensor.dtype.is_floating:
        raise ValueError(f"only floating-point tensors have a histogram, got {tensor.dtype.name}")
    return _size(tensor)


def _flat(tensor: Any) -> tf.Tensor:
    return tf.cast(tf.reshape(tf.convert_to_tensor(tensor), [-1]), tf.float32)


def _wide() -> tf.DType:
    """The integer type of the bit arithmetic: on a GPU comparisons of int32 would run on the host."""
    return tf.int64 if tf.config.list_physical_devices("GPU") else tf.int32


def _bits(values: tf.Tensor, wide: tf.DType) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Of float32 values: bucket, whether finite, order-preserving key, square (0 where not finite)."""

    def constant(value: int) -> tf.Tensor:
        return tf.constant(value, wide)

    bits = tf.cast(tf.bitcast(values, tf.int32), wide)
    magnitude = tf.bitwise.bitwise_and(bits, constant(_MAGNITUDE))
    finite = magnitude < constant(_INFINITY_BITS)
    bucket = tf.bitwise.bitwise_and(tf.bitwise.right_shift(bits, constant(21)), constant(BUCKETS - 1))
    infinite = tf.equal(magnitude, constant(_INFINITY_BITS))
    bucket = tf.where(infinite, constant(_INFINITE), bucket)
    bucket = tf.where(tf.equal(magnitude, constant(0)), constant(_ZERO), bucket)
    negative = tf.bitwise.right_shift(bits, constant(31))  # arithmetic: all ones for a negative number
    key = tf.bitwise.bitwise_xor(bits, tf.bitwise.bitwise_and(negative, constant(_MAGNITUDE)))
    double = tf.cast(tf.where(finite, values, 0.0), tf.float64)
    return bucket, finite, key, double * double


def _bincount(buckets: tf.Tensor, size: int, deterministic: bool) -> tf.Tensor:
    if deterministic:  # the GPU kernel of DenseBincount refuses to run then
        ones = tf.ones_like(buckets, tf.int64)
        return tf.math.unsorted_segment_sum(ones, buckets, size)
    counts = tf.raw_ops.DenseBincount(
        input=buckets,
        size=tf.constant(size, buckets.dtype),
        weights=tf.zeros([0], tf.int32),
        binary_output=False,
    )
    return tf.cast(counts, tf.int64)


def _count_group(flats: list[tf.Tensor], sizes: list[int]) -> tf.Tensor:
    """Rows of a few small float32 tensors at once: the graph does not grow with their number."""
    wide, groups = _wide(), len(flats)
    # Computed, not a constant as large as the tensors: the runtime copies a graph many times before it first runs.
    places = tf.range(tf.constant(sum(sizes), wide))
    owner = tf.searchsorted(tf.constant(np.cumsum(sizes), wide), places, side="right", out_type=wide)
    bucket, finite, key, square = _bits(tf.concat(flats, 0), wide)
    counts = _bincount(bucket + owner * _COUNTS, groups * _COUNTS, is_deterministic())
    low = tf.math.unsorted_segment_min(tf.where(finite, key, tf.constant(_NO_MINIMUM, wide)), owner, groups)
    high = tf.math.unsorted_segment_max(tf.where(finite, key, tf.constant(_NO_MAXIMUM, wide)), owner, groups)
    total = tf.math.unsorted_segment_sum(square, owner, groups)
    ends = [tf.cast(low, tf.int64), tf.cast(high, tf.int64), tf.bitcast(total, tf.int64)]
    return tf.concat([tf.reshape(counts, [groups, _COUNTS]), tf.stack(ends, axis=1)], axis=1)


@functools.cache
def _counter(dtype: str, wide_name: str, deterministic: bool, chunked: bool) -> Any:
    """A compiled function from a flat tensor to its row, shared by all tensors; chunked: for large ones."""
    wide = tf.as_dtype(wide_name)

    def chunk_row(values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        bucket, finite, key, square = _bits(tf.cast(values, tf.float32), wide)
        low = tf.reduce_min(tf.where(finite, key, tf.constant(_NO_MINIMUM, wide)))
        high = tf.reduce_max(tf.where(finite, key, tf.constant(_NO_MAXIMUM, wide)))
        counts = _bincount(bucket, _COUNTS, deterministic)
        return counts, tf.cast(low, tf.int64), tf.cast(high, tf.int64), tf.reduce_sum(square)

    def add(old: Sequence[tf.Tensor], new: Sequence[tf.Tensor]) -> tuple[tf.Tensor, ...]:
        return old[0] + new[0], tf.minimum(old[1], new[1]), tf.maximum(old[2], new[2]), old[3] + new[3]

    def row(sums: Sequence[tf.Tensor]) -> tf.Tensor:
        counts, low, high, total = sums
        return tf.concat([counts, tf.stack([low, high, tf.bitcast(total, tf.int64)])], 0)

    def count(flat: tf.Tensor) -> tf.Tensor:
        if not chunked:
            return row(chunk_row(flat))
        chunks = tf.size(flat, tf.int64) // _CHUNK
        start = (
            tf.zeros([_COUNTS], tf.int64),
            tf.constant(_NO_MINIMUM, tf.int64),
            tf.constant(_NO_MAXIMUM, tf.int64),
            tf.constant(0.0, tf.float64),
        )

        def body(index: tf.Tensor, *sums: tf.Tensor) -> tuple[tf.Tensor, ...]:
            return index + 1, *add(sums, chunk_row(tf.slice(flat, [index * _CHUNK], [_CHUNK])))

        sums = tf.while_loop(
            lambda index, *_: index < chunks, body, (tf.constant(0, tf.int64), *start), parallel_iterations=1
        )[1:]
        return row(add(sums, chunk_row(flat[chunks * _CHUNK :])))

    # Not inlined: a copy of its graph for every tensor takes 20 MB of a captured step of ResNet50.
    kept_whole = {"_noinline": True}
    return tf.function(
        count, input_signature=[tf.TensorSpec([None], dtype)], autograph=False, experimental_attributes=kept_whole
    )
