"""Records in a file: TFRecord framing, and inside each frame the fixed fields, a JSON header and chunks.

Frame (the TFRecord format of TensorFlow): u64 length, u32 masked CRC-32C of the length, payload, u32 masked
CRC-32C of the payload. Payload: the fixed fields of ``_FIELDS``, the JSON header, then the chunks, whose
places the header gives as [offset, length] from the end of the header. The fixed fields end in a CRC-32C over
themselves and the header, so that an index can be built from the headers alone. All little-endian.
"""

from __future__ import annotations

import json
import math
import reprlib
import struct
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import google_crc32c
import numpy as np

from lrp_monitor.store.format import StoreError

MAGIC = b"LRPM"
VERSION, VERSION_OF_SEVERAL = 1, 2
"""Formats that are read. Probes of several watched inputs are of the second: their heatmaps are rows of values, which a
reader of the first would show as pictures."""
KIND_PROBES, KIND_STEP, KIND_SESSION = 1, 2, 3
FRAME_HEAD, FRAME_TAIL = 12, 4
MOST_HEADER = 64 << 20
"""Largest JSON header, bytes: a bound on what a damaged length field can make a reader take in."""

MOST_RECORD = 1 << 30
"""Largest record, bytes. A file may claim, or have as a hole, far more than anybody has written."""
MOST_VALUES = 4 << 20
"""Most values in a JSON text: each takes up to some 80 bytes of memory, however few it takes in the text."""
MOST_NESTING = 32
"""Deepest nesting of lists and objects in the parts of a header that are handed on as they are."""
_PIECE = 1 << 20
MOST_MESSAGE = 400
"""Characters that a message quotes of a file's content."""

MALFORMED = (LookupError, TypeError, ValueError, OverflowError, AttributeError, RecursionError)
"""What taking a header apart raises where a part is missing or of another kind than it should be."""

# magic, version, kind, step, epoch, batch, wall time (s), header length, CRC of these and of the header
_FIELDS = struct.Struct("<4sHHqqqdII")
FIELDS = _FIELDS.size
_LARGEST = sys.float_info.max
_PLAIN = struct.Struct("<4sHHqqqdI")


@dataclass(frozen=True)
class Head:
    """The fixed fields of a record."""

    kind: int
    step: int
    epoch: int
    batch: int
    wall_time: float
    header_length: int
    crc: int


def crc32c(*parts: bytes | memoryview, start: int = 0) -> int:
    """CRC-32C of the parts joined, following on bytes whose own is ``start``."""
    value = start
    for part in parts:
        # The library takes bytes alone: copies of pieces, since one of a whole view may be large.
        pieces = [part] if isinstance(part, bytes) else (part[at : at + _PIECE] for at in range(0, len(part), _PIECE))
        for piece in pieces:
            value = int(google_crc32c.extend(value, bytes(piece)))
    return value


def masked(crc: int) -> int:
    """The masked form in which TFRecord keeps a CRC."""
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def frame(parts: list[bytes]) -> bytes:
    """One TFRecord frame around the joined parts."""
    head = struct.pack("<Q", sum(len(part) for part in parts))
    return b"".join([head, struct.pack("<I", masked(crc32c(head))), *parts, struct.pack("<I", masked(crc32c(*parts)))])


def frame_length(head: bytes) -> int | None:
    """The payload length that the first 12 bytes of a frame give; None where their checksum is wrong."""
    length, crc = struct.unpack("<QI", head)
    return int(length) if crc == masked(crc32c(head[:8])) else None


def payload_is_whole(payload: bytes | memoryview, tail: bytes) -> bool:
    """Whether the last 4 bytes of a frame are the checksum of its payload."""
    return tail == struct.pack("<I", masked(crc32c(payload)))


def pack(
    kind: int,
    header: dict[str, Any],
    chunks: list[bytes],
    *,
    step: int = 0,
    epoch: int = 0,
    batch: int = 0,
    wall_time: float = 0.0,
    version: int = VERSION,
) -> bytes:
    """A whole frame. Raises StoreError where the header or the record is larger than readers accept."""
    text = to_json(header)
    if len(text) > MOST_HEADER:
        raise StoreError(
            f"the header of step {step} has {len(text)} bytes, the store takes {MOST_HEADER}: "
            "log fewer probes or fewer statistics"
        )
    plain = _PLAIN.pack(MAGIC, version, kind, step, epoch, batch, wall_time, len(text))
    if (size := FIELDS + len(text) + sum(map(len, chunks))) > MOST_RECORD:
        raise StoreError(
            f"step {step} takes {size} bytes, the store takes {MOST_RECORD} in a record: log fewer or smaller probes, "
            'no channels, or encoding="sqrt8"'
        )
    return frame([plain + struct.pack("<I", crc32c(plain, text)), text, *chunks])


def parse_head(data: bytes | memoryview, payload_length: int, what: str) -> Head:
    """The fixed fields; raises StoreError, starting with ``what``, for another format or version."""
    if len(data) < FIELDS:
        raise StoreError(f"{what}: a record of {payload_length} bytes is too short to be one of the store's")
    magic, version, kind, step, epoch, batch, wall_time, length, crc = _FIELDS.unpack_from(data)
    if magic != MAGIC:
        raise StoreError(f"{what}: not a record of the store")
    if version not in (VERSION, VERSION_OF_SEVERAL):
        raise StoreError(
            f"{what}: written in format {version}, this lrp_monitor reads formats {VERSION} and {VERSION_OF_SEVERAL}: "
            "read it with the version that wrote it, or a newer one"
        )
    if length > min(payload_length - FIELDS, MOST_HEADER):
        raise StoreError(f"{what}: the header claims {length} bytes, more than there can be")
    return Head(kind, step, epoch, batch, wall_time, length, crc)


def check_header(fields: bytes, text: bytes, head: Head, what: str) -> None:
    """Raises StoreError, starting with ``what``, unless the header's checksum is right."""
    if len(text) != head.header_length or crc32c(fields[: _PLAIN.size], text) != head.crc:
        raise StoreError(f"{what}: the header is damaged (its checksum is wrong)")


def to_json(value: dict[str, Any]) -> bytes:
    """Compact JSON in ASCII. Raises ValueError or TypeError for what JSON cannot hold."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode("ascii")


def parse_json(text: bytes, what: str) -> dict[str, Any]:
    """A JSON object; raises StoreError, starting with ``what``, for anything else, or for more than MOST_VALUES."""
    if len(text) > MOST_VALUES and sum(map(text.count, (b",", b"[", b"{"))) > MOST_VALUES:
        raise StoreError(f"{what}: more than {MOST_VALUES} values in {len(text)} bytes of JSON")
    try:
        header = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{what}: not valid JSON ({quoted(error)})") from error
    if not isinstance(header, dict):
        raise StoreError(f"{what}: not a JSON object")
    return header


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not a JSON number")


def parse_content(data: bytes, what: str, written_as: int, most_bytes: int) -> dict[str, Any]:
    """A JSON object of a file of its own, in the format ``written_as``. Raises StoreError, or one of MALFORMED."""
    if len(data) > most_bytes:
        raise StoreError(f"{what}: more than {most_bytes} bytes")
    content = parse_json(data, what)
    if content["format"] != written_as:
        raise StoreError(f"{what}: written in format {quoted(content['format'])}, this lrp_monitor reads {written_as}")
    return content


def quoted(value: object) -> str:
    """A value or an error for a message: never long, however large or deep it is."""
    text = str(value) if isinstance(value, BaseException) else reprlib.repr(value)
    return text if len(text) <= MOST_MESSAGE else f"{text[: MOST_MESSAGE - 4]} ..."


def listed(names: Iterable[str], most: int = 40) -> str:
    """Names for a message, comma separated: the first ``most`` of them, each cut off where it is long."""
    first = list(islice(names, most + 1))
    text = ", ".join(name if len(name) <= 100 else f"{name[:97]}..." for name in first[:most])
    return f"{text}, ..." if len(first) > most else text or "none"


def shallow(value: Any, what: str) -> Any:
    """The value, which may hold anything that JSON can; StoreError where it nests deeper than MOST_NESTING.

    Neither may it hold a number that only reads as infinity, such as 1e999: what is read must be fit to be written.
    """
    level = [value]
    for _ in range(MOST_NESTING):
        if not all(math.isfinite(v) for v in level if type(v) is float):
            raise StoreError(f"{what}: a number beyond double precision")
        inner = [list(v.values()) if isinstance(v, dict) else v for v in level if isinstance(v, dict | list)]
        level = [part for parts in inner for part in parts]
    if level:
        raise StoreError(f"{what}: nested more than {MOST_NESTING} deep")
    return value


def whole(value: Any) -> int:
    """A whole number >= 0 of 63 bits; raises ValueError for anything else."""
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise ValueError(f"{quoted(value)} is not a whole number >= 0")
    return value


def string(value: Any) -> str:
    """A text; raises ValueError for anything else."""
    if not isinstance(value, str):
        raise ValueError(f"{quoted(value)} is not a text")
    return value


def place(value: Any, available: int, what: str) -> tuple[int, int]:
    """A chunk's [offset, length] checked against the bytes there are; raises StoreError."""
    if (
        not isinstance(value, list)
        or len(value) != 2
        or not all(type(part) is int and part >= 0 for part in value)
        or sum(value) > available
    ):
        raise StoreError(f"{what}: the place {quoted(value)} of a chunk is not inside its record")
    return value[0], value[1]


def places(values: Any, available: int, what: str) -> tuple[tuple[int, int], ...]:
    """Several chunks' places as ``place`` checks each, many times faster where nothing is wrong with them.

    Raises:
        StoreError: too, where the chunks together are longer than what is there, as they only are where they overlap: a
            few bytes on disk must not be read as many maps.
    """
    found: tuple[tuple[int, int], ...]
    # Types first: an array of texts takes as much for each as for the longest one.
    if type(values) is list and {*map(type, values)} <= {list} and {*map(type, chain.from_iterable(values))} <= {int}:
        try:
            table = np.array(values, np.int64)
        except (ValueError, OverflowError):  # of several lengths, or beyond 64 bits
            table = np.zeros(0, np.int64)
        if (
            table.ndim == 2
            and table.shape[1] == 2
            and table.min() >= 0
            and table.max() <= available  # each part first: a sum of two that are too large could wrap around
            and table.sum(axis=1).max() <= available
        ):
            found = tuple(map(tuple, table.tolist()))
        else:
            found = tuple(place(value, available, what) for value in values)
    else:
        found = tuple(place(value, available, what) for value in values)
    if (total := sum(length for _, length in found)) > available:
        raise StoreError(f"{what}: chunks overlap ({total} bytes of them in {available})")
    return found


def number_to_json(value: float) -> float | str | None:
    """A float for JSON without loss: NaN as None, infinities as "inf" and "-inf"."""
    number = float(value)
    if math.isfinite(number):
        return number
    return None if math.isnan(number) else ("inf" if number > 0 else "-inf")


def number_from_json(value: Any, what: str) -> float:
    """The float of ``number_to_json``; raises StoreError, starting with ``what``, for anything else."""
    if value is None:
        return math.nan
    if value in ("inf", "-inf"):
        return float(value)
    # A whole number of any length is valid JSON, and 1e999 reads as infinity.
    if type(value) not in (int, float) or not -_LARGEST <= value <= _LARGEST:
        raise StoreError(f"{what}: {quoted(value)} is not a number of double precision")
    return float(value)
