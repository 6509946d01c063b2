"""Histogram counts against NumPy's bit arithmetic, and their form for TensorBoard."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from lrp_monitor.store.format import Histogram, bucket_edges
from lrp_monitor.training.tensors import histograms
from lrp_monitor.training.tensors.histograms import (
    TensorStatistics,
    gradient_rows,
    histogram_from_row,
    statistics_rows,
    weight_rows,
)

SPECIAL = np.array(
    [
        *(0, -0.0, 1e-45, -1e-40, 1.1e-38, 1.2e-38, np.inf, -np.inf, np.inf, np.nan, -np.nan),
        *(3.4e38, -3.4e38, 1, -1),
    ],
    np.float32,
)
# Signalling and quiet NaN with small and large payloads, of both signs.
NANS = np.array([0x7F800001, 0x7FFFFFFF, 0xFF800001, 0xFFC00000, 0x7FA00000], np.uint32).view(np.float32)


def counted(values: np.ndarray) -> dict[str, object]:
    """What a histogram of float32 values must hold, from the bits."""
    values = values.astype(np.float32, copy=False).ravel()
    bits = values.view(np.uint32)
    magnitude = bits & 0x7FFFFFFF
    normal = (magnitude >= 0x00800000) & (magnitude < 0x7F800000)
    finite = values[magnitude < 0x7F800000].astype(np.float64)
    counts = np.bincount(bits[normal] >> 21, minlength=2048)
    return {
        "size": values.size,
        "zeros": int((magnitude == 0).sum()),
        "denormals": int(((magnitude > 0) & (magnitude < 0x00800000)).sum()),
        "inf": int((magnitude == 0x7F800000).sum()),
        "nan": int((magnitude > 0x7F800000).sum()),
        "minimum": finite.min() if finite.size else None,
        "maximum": finite.max() if finite.size else None,
        "buckets": np.flatnonzero(counts).tolist(),
        "counts": counts[counts > 0].tolist(),
    }


def same(histogram: Histogram, values: np.ndarray) -> None:
    wanted = counted(values)
    got = {key: getattr(histogram, key) for key in wanted}
    got["buckets"], got["counts"] = histogram.buckets.tolist(), histogram.counts.tolist()
    assert got == wanted
    assert histogram.buckets.dtype == np.uint16
    assert histogram.counts.dtype == np.int64
    flat = values.astype(np.float32, copy=False).ravel()
    norm = np.linalg.norm(flat[np.isfinite(flat)].astype(np.float64))
    assert histogram.norm == pytest.approx(norm, rel=1e-12, abs=0)


def one(values: np.ndarray) -> Histogram:
    values = np.asarray(values, np.float32)
    return histogram_from_row(statistics_rows([tf.constant(values)]).numpy()[0], "weight", "x", values.size)


def arrays(rng: np.random.Generator) -> list[np.ndarray]:
    def normal(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    wide = (rng.normal(size=5000) * 10.0 ** rng.uniform(-37, 37, size=5000)).astype(np.float32)
    return [
        SPECIAL,
        NANS,
        wide,
        np.zeros((0, 3), np.float32),
        np.float32(-3.5) * np.ones((), np.float32),
        np.zeros(5, np.float32),
        normal(3, 3, 8, 16),
        normal(65537),  # just too large to be counted together with others
        np.concatenate([normal(2**18), SPECIAL]),  # one chunk and a bit
        np.concatenate([NANS, normal(2**19 - 5)]),  # chunks without remainder
        rng.integers(0, 2**32, size=70001, dtype=np.uint32).view(np.float32),  # any bits at all
    ]


@pytest.mark.parametrize(
    ("wide", "deterministic", "jit"),
    [
        pytest.param(
            wide,
            deterministic,
            jit,
            id=f"{wide.name}-{deterministic}-{'xla' if jit else 'graph'}",
            # XLA takes seconds to compile: by default each value once
            marks=[pytest.mark.slow] * (jit and (wide is tf.int32) == deterministic),
        )
        for wide in (tf.int32, tf.int64)
        for deterministic in (False, True)
        for jit in (False, True)
    ],
)
def test_counts_equal_the_bits(monkeypatch, wide, deterministic, jit):
    monkeypatch.setattr(histograms, "_wide", lambda: wide)
    monkeypatch.setattr(histograms, "is_deterministic", lambda: deterministic)
    values = arrays(np.random.default_rng(1))
    variables = [tf.Variable(value) for value in values]
    rows = tf.function(lambda: statistics_rows(variables), jit_compile=jit, autograph=False)().numpy()
    for row, value in zip(rows, values, strict=True):
        same(histogram_from_row(row, "weight", "x", value.size), value)


def test_counts_in_eager_mode():
    value = np.concatenate([SPECIAL, NANS])
    same(one(value), value)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_floats_are_counted_as_float32(dtype):
    value = tf.cast(np.random.default_rng(2).normal(size=300_000), dtype)
    variables = {"large": tf.Variable(value), "small": tf.Variable(value[:100])}
    large, small = TensorStatistics(variables)()
    same(large, tf.cast(value, tf.float32).numpy())
    same(small, tf.cast(value[:100], tf.float32).numpy())


def test_many_small_tensors_keep_their_order():
    rng = np.random.default_rng(3)
    sizes = rng.integers(1, 9000, size=100)
    values = {f"t{i}": (rng.normal(size=n) * 2.0**i).astype(np.float32) for i, n in enumerate(sizes)}
    result = TensorStatistics({name: tf.Variable(value) for name, value in values.items()})()
    assert [histogram.name for histogram in result] == list(values)
    for histogram, value in zip(result, values.values(), strict=True):
        same(histogram, value)


def test_counts_beyond_the_integers_of_float32():
    size = 2**24 + 2**20 + 3
    value = np.ones(size, np.float32)
    value[:7] = 0
    value[-5:] = np.nan
    (histogram,) = TensorStatistics({"large": tf.Variable(value)})()
    assert histogram.counts.tolist() == [size - 12]
    assert (histogram.zeros, histogram.nan) == (7, 5)
    assert histogram.norm == np.sqrt(np.float64(size - 12))


def test_norms_where_float32_squares_would_overflow_or_vanish():
    variables = {"huge": tf.Variable([3e30, 4e30]), "tiny": tf.Variable([3e-30, 4e-30])}
    huge, tiny = TensorStatistics(variables)()
    assert huge.norm == pytest.approx(5e30, rel=1e-6)
    assert tiny.norm == pytest.approx(5e-30, rel=1e-6)


def test_counting_sees_weights_as_they_train():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(2)])
    statistics = TensorStatistics.for_model(model)
    before = statistics()
    assert [h.name for h in before] == ["dense/kernel", "dense/bias", "dense_1/kernel", "dense_1/bias"]
    for weight in model.weights:
        weight.assign_add(np.full(weight.shape, 0.5, np.float32))
    for histogram, weight in zip(statistics(), model.weights, strict=True):
        same(histogram, weight.numpy())


def test_added_and_unfrozen_variables_are_followed():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(2)])
    model.layers[0].trainable = False
    statistics = TensorStatistics.for_model(model, trainable_only=True)
    assert [h.name for h in statistics()] == ["dense_1/kernel", "dense_1/bias"]
    model.layers[0].trainable = True
    assert [h.name for h in statistics()] == ["dense/kernel", "dense/bias", "dense_1/kernel", "dense_1/bias"]
    model.add(keras.layers.Dense(7))
    last = statistics()[-2]
    assert (last.name, last.size) == ("dense_2/kernel", 14)
    same(last, model.weights[-2].numpy())
    assert TensorStatistics({})() == []


def test_integer_tensors_are_refused_by_name():
    with pytest.raises(ValueError, match=r"'steps' is int64.*floating-point"):
        TensorStatistics({"steps": tf.Variable(3, dtype=tf.int64)})()


def check_rows(rows: np.ndarray, finite: int) -> None:
    assert rows.dtype == np.float64
    assert rows.shape[1] == 3
    assert len(rows) <= 200
    assert rows[:, 2].sum() == finite
    assert (rows[:, 2] > 0).all()
    assert (rows[:, 0] <= rows[:, 1]).all()
    assert (rows[:-1, 1] <= rows[1:, 0]).all()


@pytest.mark.parametrize("index", range(11))
def test_rows_for_tensorboard_keep_every_finite_value(index):
    values = arrays(np.random.default_rng(4))[index]
    finite = int(np.isfinite(values).sum())
    check_rows(weight_rows(one(values)), finite)
    check_rows(gradient_rows(one(values)), finite)


def test_weight_rows_follow_the_values():
    values = np.random.default_rng(5).normal(0.3, 1.0, size=200_000).astype(np.float32)
    rows = weight_rows(one(values))
    assert rows[0, 0] == values.min()
    assert rows[-1, 1] == values.max()
    for left, right, count in rows:
        inside = ((values >= left) & (values < right)).sum()
        # a bucket's edge of its own value belongs to the side away from zero
        assert abs(inside - count) <= 2
    # no row is so wide that a 30-bin display would be wrong by more than its own bin, except far from zero
    narrow = rows[np.abs(rows[:, 0]) < 1]
    assert (narrow[:, 1] - narrow[:, 0]).max() <= (values.max() - values.min()) / 30


def test_rows_of_one_value_zeros_and_nothing():
    np.testing.assert_array_equal(weight_rows(one([2.5, 2.5])), [[2.5, 2.5, 2]])
    np.testing.assert_array_equal(weight_rows(one([0.0, -0.0, 0.0])), [[0, 0, 3]])
    assert weight_rows(one([np.nan])).shape == (0, 3)
    assert gradient_rows(one([np.inf])).shape == (0, 3)
    assert gradient_rows(Histogram("gradient", "x", 9, note="no gradient")).shape == (0, 3)
    np.testing.assert_array_equal(gradient_rows(one([0.0, 1e-40])), [[-38.5, -38, 2]])


def test_gradient_rows_are_on_the_logarithm_of_the_magnitude():
    values = np.array([1.0, -1.0, 1.1, -1e-3, 0.0, 0.0, 0.0], np.float32)
    rows = gradient_rows(one(values))
    low, high = bucket_edges(int(np.float32(1e-3).view(np.uint32) >> 21))
    expected = [[-5.0, -4.5, 3], [np.log10(low), np.log10(high), 1], [0.0, np.log10(np.float32(1.1)), 3]]
    # log10(0.0009765625) = -3.01: the zeros stand a decade below its floor
    np.testing.assert_allclose(rows, expected, rtol=1e-7)


def test_gradient_rows_over_the_whole_range_are_merged_in_aligned_pairs():
    values = 10.0 ** np.random.default_rng(6).uniform(-37.5, 38, size=100_000)
    rows = gradient_rows(one(values))
    check_rows(rows, 100_000)
    assert len(rows) > 100
    widths = rows[1:-1, 1] - rows[1:-1, 0]
    np.testing.assert_allclose(widths, 2 * np.log10(2), rtol=0.05)
