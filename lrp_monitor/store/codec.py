"""How arrays become chunks of bytes and back: heatmap encodings, images, masks, histograms.

Every chunk is one zlib stream of level 1, so that damage inside it is noticed (Adler-32) and a browser can
inflate it by itself.
"""

from __future__ import annotations

import math
import reprlib
import zlib

import numpy as np
import numpy.typing as npt

from lrp_monitor.store.format import BUCKETS, ENCODINGS, Encoding, StoreError

NON_FINITE = -128
"""The byte of sqrt8 that stands for a pixel that was not finite."""

COARSE = 16
"""Steps to each side of 0 in which small maps are stored as ``sqrt8``."""

_LEVEL = 1
# Deflate cannot expand its input by more than about 1032 times (a 258-byte match in two bits). A chunk that
# claims more is not what it says, and is refused before any memory is taken for it.
_MOST_EXPANSION = 1040
_DTYPES: dict[str, np.dtype[np.generic]] = {
    "sqrt8": np.dtype("<i1"),
    "float16": np.dtype("<f2"),
    "float32": np.dtype("<f4"),
}
_SQUARES = np.sign(np.arange(-128, 128)) * (np.arange(-128, 128) / 127.0) ** 2
_SQUARES[0] = np.nan


def check_encoding(encoding: str) -> Encoding:
    """Returns ``encoding`` as one of the known ones; raises ValueError that lists them."""
    for known in ENCODINGS:
        if encoding == known:
            return known
    raise ValueError(f"encoding must be one of {', '.join(ENCODINGS)}, got {reprlib.repr(encoding)}")


def deflate(data: bytes) -> bytes:
    """One zlib stream of ``data``."""
    return zlib.compress(data, _LEVEL)


def inflate(chunk: bytes | memoryview, size: int, what: str) -> bytes:
    """The ``size`` bytes of a zlib stream, never more; else StoreError, starting with ``what``."""
    if not 0 <= size <= _MOST_EXPANSION * (len(chunk) + 1):
        raise StoreError(f"{what}: {len(chunk)} compressed bytes cannot hold {size} bytes")
    stream = zlib.decompressobj()
    try:
        data = stream.decompress(chunk, size) if size else b""
        # The end of the stream, with its checksum, is only seen when one more byte is asked for.
        rest = stream.decompress(stream.unconsumed_tail if size else chunk, 1)
    except zlib.error as error:
        raise StoreError(f"{what}: the compressed bytes are damaged ({error})") from error
    if len(data) != size or rest or not stream.eof or stream.unused_data:
        raise StoreError(f"{what}: the compressed bytes do not hold the {size} bytes they should")
    return data


def encode_map(values: npt.NDArray[np.float32], encoding: Encoding) -> tuple[bytes, float]:
    """One heatmap as (chunk, scale), scale the largest absolute value a among the finite pixels.

    - ``sqrt8``: q = round(127 sign(r) sqrt(|r| / a)) as int8; not finite is -128.
    - ``float16``: r / a in half precision.
    - ``float32``: r itself.
    """
    flat = np.ascontiguousarray(values, dtype=np.float32).reshape(-1)
    finite = np.isfinite(flat)
    whole = bool(finite.all())
    scale = float(np.abs(flat if whole else flat[finite]).max(initial=0.0))
    if encoding == "float32":
        return deflate(flat.astype("<f4").tobytes()), scale
    # Float64 throughout: a ratio of float32 denormals would round, and 1/scale could overflow.
    ratio = flat.astype(np.float64)
    if scale > 0.0:
        ratio /= scale
    if encoding == "float16":
        return deflate(ratio.astype("<f2").tobytes()), scale
    if not whole:
        ratio[~finite] = 0.0
    codes = np.rint(127.0 * np.copysign(np.sqrt(np.abs(ratio)), ratio)).astype(np.int8)
    if not whole:
        codes[~finite] = NON_FINITE
    return deflate(codes.tobytes()), scale


def encode_small_maps(maps: npt.NDArray[np.float32], encoding: Encoding) -> tuple[bytes, list[float]]:
    """Maps (m, ...) one behind the other as (chunk, their scales), for many that are looked at as pictures.

    As ``encode_map``, but of ``sqrt8`` in COARSE steps to each side of 0: the codes are the same, and fewer of them
    are in use, so that they take about half the bytes. Half a step is 3.1 % of the square root of the largest pixel.
    """
    parts, scales = [], []
    for values in maps:
        chunk, scale = encode_map(values, encoding)
        scales.append(scale)
        codes = inflate(chunk, values.size * _DTYPES[encoding].itemsize, "a map")
        if encoding == "sqrt8":
            fine = np.frombuffer(codes, np.int8)
            steps = np.rint(np.rint(fine * (COARSE / 127.0)) * (127.0 / COARSE)).astype(np.int8)
            codes = np.where(fine == NON_FINITE, fine, steps).tobytes()
        parts.append(codes)
    # Most pixels are 0: runs of them are all that is worth looking for.
    stream = zlib.compressobj(_LEVEL, strategy=zlib.Z_RLE if encoding == "sqrt8" else zlib.Z_DEFAULT_STRATEGY)
    return stream.compress(b"".join(parts)) + stream.flush(), scales


def bytes_a_pixel(encoding: Encoding) -> int:
    """Bytes that a pixel takes before it is deflated."""
    return _DTYPES[encoding].itemsize


def decode_map(
    chunk: bytes | memoryview, scale: float, encoding: Encoding, shape: tuple[int, ...], what: str
) -> npt.NDArray[np.float32]:
    """The heatmap of ``encode_map``: float32 of ``shape``.

    Bounds on the error, besides one rounding to float32, for a pixel r of a map with scale a:
    sqrt8: (sqrt(a |r|) + a / 508) / 127 (half a code away in sqrt space; at most 0.79 % of a, 0 stays 0, a
    stays a); float16: the larger of |r| 2**-11 and a 2**-25; float32: none.
    Raises StoreError, starting with ``what``, where the chunk does not hold that many pixels.
    """
    return decode_values(inflate(chunk, math.prod(shape) * bytes_a_pixel(encoding), what), scale, encoding, shape)


def decode_values(data: bytes, scale: float, encoding: Encoding, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """``decode_map`` of what its chunk inflates to."""
    stored = np.frombuffer(data, _DTYPES[encoding])
    if encoding == "sqrt8":
        table = (_SQUARES * scale).astype(np.float32)
        # Seen as unsigned, code q is q modulo 256: rolling the table by half saves an addition per pixel.
        values = np.take(np.roll(table, 128), stored.view(np.uint8))
    elif encoding == "float16" and scale > 0.0:
        values = (stored.astype(np.float64) * scale).astype(np.float32)
    else:
        values = stored.astype(np.float32)
    return values.reshape(shape)


def encode_counts(buckets: npt.NDArray[np.uint16], counts: npt.NDArray[np.int64]) -> tuple[bytes, str]:
    """Histogram counts as (chunk, width): u16 buckets, then counts as "u4" or, where needed, "i8"."""
    width = "u4" if counts.size == 0 or int(counts.max()) < 2**32 else "i8"
    return deflate(buckets.astype("<u2").tobytes() + counts.astype("<" + width).tobytes()), width


def decode_counts(
    chunk: bytes, length: int, width: str, what: str
) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.int64]]:
    """The (buckets, counts) of ``encode_counts``; raises StoreError for anything else."""
    if width not in ("u4", "i8"):
        raise StoreError(f"{what}: counts of width {width!r:.40} are not known")
    data = inflate(chunk, length * (2 + int(width[1])), what)
    buckets = np.frombuffer(data, "<u2", length).astype(np.uint16)
    counts = np.frombuffer(data, "<" + width, length, 2 * length).astype(np.int64)
    if buckets.max(initial=0) >= BUCKETS or counts.min(initial=0) < 0:
        raise StoreError(f"{what}: buckets up to {buckets.max()}, counts down to {counts.min()}")
    return buckets, counts
