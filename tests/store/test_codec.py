"""Heatmap encodings: the bounds on the error that decode_map promises, and damaged chunks."""

from __future__ import annotations

import tracemalloc
import zlib

import numpy as np
import pytest

from lrp_monitor.store import codec
from lrp_monitor.store.format import BUCKETS, StoreError, bucket_edges

ROUNDING = 2.0**-24  # one rounding to float32, relative


def round_trip(values: np.ndarray, encoding: str) -> tuple[np.ndarray, float, np.ndarray]:
    values = np.asarray(values, np.float32)
    chunk, scale = codec.encode_map(values, encoding)
    dtype = {"sqrt8": "i1", "float16": "<f2", "float32": "<f4"}[encoding]
    stored = np.frombuffer(zlib.decompress(chunk), dtype)
    return codec.decode_map(chunk, scale, encoding, values.shape, "map"), scale, stored


@pytest.mark.parametrize("magnitude", [1.0, 3e-12, 7e30])
def test_sqrt8_error_is_within_the_derived_bound_and_reaches_it(magnitude: float) -> None:
    # Pixels over the whole range, dense enough to fall halfway between two codes.
    ramp = np.linspace(-1.0, 1.0, 200_001) * magnitude
    decoded, scale, stored = round_trip(ramp, "sqrt8")
    values = ramp.astype(np.float32).astype(np.float64)
    assert scale == float(np.float32(magnitude))
    error = np.abs(decoded.astype(np.float64) - values)
    # q/127 is at most d = 1/254 from u = sqrt(|r|/a); |v^2 - u^2| = |v - u| (v + u) <= d (2u + d).
    u, d = np.sqrt(np.abs(values) / scale), 1 / 254
    bound = scale * d * (2 * u + d)
    assert np.all(error <= bound * (1 + 1e-9) + np.abs(decoded) * ROUNDING)
    assert np.all(bound <= (np.sqrt(scale * np.abs(values)) + scale / 508) / 127 * (1 + 1e-12))
    assert (error / bound).max() > 0.999
    assert error.max() < 0.0079 * scale
    assert error.max() > 0.0077 * scale
    assert np.array_equal(np.sign(stored[np.abs(stored) > 0]), np.sign(values[np.abs(stored) > 0]))


def test_sqrt8_keeps_zero_the_extremes_and_the_sign() -> None:
    values = np.array([[-2.5, 0.0, 2.5], [1.0, -1.0, 0.0]])
    decoded, scale, stored = round_trip(values, "sqrt8")
    assert scale == 2.5
    assert stored.tolist() == [-127, 0, 127, 80, -80, 0]  # 127 sqrt(1 / 2.5) = 80.32
    np.testing.assert_array_equal(decoded[0], np.float32([-2.5, 0.0, 2.5]))
    assert decoded[1, 0] == np.float32(2.5 * (80 / 127) ** 2) == -decoded[1, 1]


def test_sqrt8_loses_a_tenth_of_a_percent_of_the_absolute_relevance() -> None:
    values = np.random.default_rng(0).standard_normal((224, 224)) ** 3
    decoded, _, _ = round_trip(values, "sqrt8")
    assert abs(np.abs(decoded).sum(dtype=float) / np.abs(values).sum() - 1) < 1e-3


def test_float16_error_is_within_its_bound() -> None:
    values = (np.random.default_rng(1).standard_normal(50_000) ** 5 * 1e12).astype(np.float32)
    decoded, scale, _ = round_trip(values, "float16")
    error = np.abs(decoded.astype(np.float64) - values)
    bound = np.maximum(np.abs(values.astype(np.float64)) * 2.0**-11, scale * 2.0**-25)
    assert np.all(error <= bound + np.abs(decoded) * ROUNDING)
    assert (error / bound).max() > 0.99


def test_float32_is_exact_bit_for_bit() -> None:
    bits = np.random.default_rng(2).integers(0, 2**32, 4096, dtype=np.uint32)
    values = bits.view(np.float32)
    decoded, _, _ = round_trip(values, "float32")
    assert np.array_equal(decoded.view(np.uint32), bits)


@pytest.mark.parametrize("encoding", ["sqrt8", "float16", "float32"])
def test_not_finite_pixels_do_not_spoil_the_others(encoding: str) -> None:
    values = np.array([4.0, np.nan, -1.0, np.inf, -np.inf, 0.0])
    decoded, scale, stored = round_trip(values, encoding)
    assert scale == 4.0
    np.testing.assert_allclose(decoded[[0, 2, 5]], [4.0, -1.0, 0.0], atol=4 * 0.0079)
    if encoding == "sqrt8":
        assert stored[[1, 3, 4]].tolist() == [-128] * 3
        assert np.isnan(decoded[[1, 3, 4]]).all()
    else:
        np.testing.assert_array_equal(decoded[[1, 3, 4]], [np.nan, np.inf, -np.inf])


@pytest.mark.parametrize("encoding", ["sqrt8", "float16", "float32"])
@pytest.mark.parametrize("values", [np.zeros((2, 3)), np.zeros((0, 4)), np.full((2,), 1e-45), np.array(3.5)])
def test_degenerate_maps(encoding: str, values: np.ndarray) -> None:
    decoded, scale, _ = round_trip(values, encoding)
    assert decoded.dtype == np.float32
    np.testing.assert_array_equal(decoded, values.astype(np.float32))
    assert scale == np.abs(values.astype(np.float32)).max(initial=0)


def test_a_map_without_finite_pixels_is_all_nan() -> None:
    decoded, scale, _ = round_trip(np.full((2, 2), np.inf), "sqrt8")
    assert scale == 0.0
    assert np.isnan(decoded).all()


def test_unknown_encoding_is_named() -> None:
    with pytest.raises(ValueError, match="encoding must be one of sqrt8, float16, float32, got 'int4'"):
        codec.check_encoding("int4")


def test_inflation_never_goes_beyond_the_size_asked_for() -> None:
    bomb = zlib.compress(bytes(50_000_000), 9)
    with pytest.raises(StoreError, match="x: the compressed bytes do not hold the 1000 bytes"):
        codec.inflate(bomb, 1000, "x")
    with pytest.raises(StoreError, match="cannot hold 1000000000000 bytes"):
        codec.inflate(bomb, 10**12, "x")
    assert codec.inflate(bomb, 50_000_000, "x") == bytes(50_000_000)
    tracemalloc.start()
    with pytest.raises(StoreError):
        codec.inflate(bomb, 1000, "x")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 500_000


@pytest.mark.parametrize("size", [0, 1, 4095])
def test_inflation_wants_exactly_the_size(size: int) -> None:
    chunk = codec.deflate(bytes(range(256)) * 16)
    assert len(codec.inflate(chunk, 4096, "x")) == 4096
    with pytest.raises(StoreError):
        codec.inflate(chunk, size, "x")
    with pytest.raises(StoreError):
        codec.inflate(chunk, 4097, "x")
    with pytest.raises(StoreError):
        codec.inflate(chunk + b"x", 4096, "x")


def test_every_damaged_byte_of_a_chunk_is_noticed() -> None:
    data = np.random.default_rng(3).integers(0, 9, 300, dtype=np.uint8).tobytes()
    chunk = codec.deflate(data)
    for at in range(len(chunk)):
        damaged = bytearray(chunk)
        damaged[at] ^= 0x55
        try:
            assert codec.inflate(bytes(damaged), 300, "x") == data  # a don't-care bit of the stream
        except StoreError:
            continue
    for cut in range(len(chunk)):
        with pytest.raises(StoreError):
            codec.inflate(chunk[:cut], 300, "x")


@pytest.mark.parametrize(("top", "width"), [(2**32 - 1, "u4"), (2**32, "i8"), (2**62, "i8")])
def test_counts_round_trip(top: int, width: str) -> None:
    buckets, counts = np.array([0, 7, 2047], np.uint16), np.array([1, 0, top], np.int64)
    chunk, used = codec.encode_counts(buckets, counts)
    assert used == width
    found = codec.decode_counts(chunk, 3, used, "x")
    np.testing.assert_array_equal(found[0], buckets)
    np.testing.assert_array_equal(found[1], counts)
    assert (found[0].dtype, found[1].dtype) == (np.uint16, np.int64)


def test_counts_of_an_unknown_width_are_refused() -> None:
    with pytest.raises(StoreError, match="'f8' are not known"):
        codec.decode_counts(codec.deflate(b""), 0, "f8", "x")


def test_bucket_edges_equal_the_float_formats_own_values() -> None:
    for bucket in range(BUCKETS):
        low, high = bucket << 21, (bucket << 21) | 0x1FFFFF
        with np.errstate(invalid="ignore", over="ignore"):
            near, far = np.array([low, high], np.uint32).view(np.float32).astype(np.float64)
            beyond = float(np.nextafter(np.float32(far), np.float32(np.copysign(np.inf, far))))
        if not np.isfinite(near):
            with pytest.raises(ValueError, match="infinities and NaN"):
                bucket_edges(bucket)
            continue
        if np.isinf(beyond):
            beyond = np.copysign(2.0**128, beyond)
        expected = (near, beyond) if bucket < 1024 else (beyond, near)
        assert bucket_edges(bucket) == expected


def test_each_value_lies_in_the_bucket_of_its_top_bits() -> None:
    values = np.random.default_rng(4).standard_normal(2000).astype(np.float32) ** 7
    for value in values[np.abs(values) > 1e-37]:
        left, right = bucket_edges(int(value.view(np.uint32)) >> 21)
        assert left <= value <= right
        assert value != (right if value > 0 else left)


@pytest.mark.parametrize("bucket", [-1, 2048])
def test_buckets_outside_the_format_are_refused(bucket: int) -> None:
    with pytest.raises(ValueError, match="between 0 and 2047"):
        bucket_edges(bucket)
