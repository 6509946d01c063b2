"""Arrays from .npz and .npy files that nobody vouches for: nothing is unpickled, evaluated, or inflated without end.

``numpy.load`` without pickle still allocates whatever a header claims, inflates without end and parses headers as
Python; here a header is matched letter by letter, and an array is read only where it is as large as it says.
"""

from __future__ import annotations

import io
import math
import os
import re
import stat
import zipfile
import zlib
from collections.abc import Collection
from typing import IO, Literal

import numpy as np
from numpy.typing import NDArray

MAX_ARRAY_BYTES = 1 << 30
"""What all arrays of a file may take in memory, together; the file itself is never larger."""
MAX_ENTRIES = 256
DAMAGE = (
    AttributeError, EOFError, LookupError, OSError, OverflowError, RuntimeError, SyntaxError, TypeError, ValueError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What a foreign or damaged file can raise on its way through zip, JSON and NumPy (RuntimeError: encrypted entries,
JSON nested too deep)."""

_MAGIC = b"\x93NUMPY"
_HEADER = re.compile(
    rb"\{'descr': '([<>|=]?)([biufO])(\d{0,2})', 'fortran_order': (True|False), "
    rb"'shape': \(((?:\d{1,18}(?:, ?|(?=\)))){0,32})\),? ?\} *\n"
)
_LONGEST_HEADER = 4096
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_DIRECTORY_ENTRY = b"PK\x01\x02"


class ArchiveError(ValueError):
    """A file that is not read; ``kind``: larger than is read, or holding pickled objects."""

    def __init__(self, kind: Literal["size", "pickle"], problem: str) -> None:
        self.kind = kind
        super().__init__(problem)


def read_file(path: str | os.PathLike[str], most: int) -> bytes:
    """The bytes of a regular file. ArchiveError where it has more than ``most``; OSError, also for a pipe or device."""
    # Not blocking: a pipe of that name would wait for a writer for ever.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with open(handle, "rb") as file:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise OSError("not a regular file")
        if status.st_size > most:
            raise ArchiveError("size", f"{status.st_size:,} bytes; at most {most:,} are read")
        return file.read(status.st_size)


def read_array(data: bytes) -> NDArray[np.generic]:
    """The array of an .npy file, as `read_arrays` reads each of its own."""
    return _array(io.BytesIO(data), len(data), "the array")


def array_names(data: bytes) -> list[str]:
    """The names of an .npz file's arrays; raises what `read_arrays` raises of its directory."""
    with _opened(data) as archive:
        return list(_entries(archive))


def read_arrays(data: bytes, only: Collection[str] | None = None) -> dict[str, NDArray[np.generic]]:
    """The arrays of an .npz file by name: booleans, integers and floats, read-only; ``only``: no others than those.

    Nothing is inflated before its size is known, and never beyond that. Raises ArchiveError for more than
    MAX_ARRAY_BYTES or MAX_ENTRIES and for pickled objects, one of DAMAGE for anything else that is wrong.
    """
    arrays = {}
    with _opened(data) as archive:
        entries = {name: entry for name, entry in _entries(archive).items() if only is None or name in only}
        total = sum(entry.file_size for entry in entries.values())
        if total > MAX_ARRAY_BYTES:
            raise ArchiveError("size", f"inflates to {total:,} bytes; at most {MAX_ARRAY_BYTES:,} are read")
        for name, entry in entries.items():
            if entry.compress_type not in _METHODS:
                raise ValueError(f"entry {name!r:.100} is compressed in a way that NumPy does not write")
            with archive.open(entry) as stream:
                arrays[name] = _array(stream, entry.file_size, f"entry {name!r:.100}")
    return arrays


def _opened(data: bytes) -> zipfile.ZipFile:
    # Each entry of the directory becomes an object: they are counted before.
    if (count := data.count(_DIRECTORY_ENTRY)) > 2 * MAX_ENTRIES:
        raise ArchiveError("size", f"{count} entries; at most {MAX_ENTRIES} are read")
    return zipfile.ZipFile(io.BytesIO(data))


def _entries(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    infos = archive.infolist()
    if len(infos) > MAX_ENTRIES:
        raise ArchiveError("size", f"{len(infos)} entries; at most {MAX_ENTRIES} are read")
    entries: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        name = info.filename.removesuffix(".npy")
        if name == info.filename or name in entries:
            raise ValueError(f"unexpected entry {info.filename!r:.100}")
        entries[name] = info
    return entries


def _array(stream: IO[bytes], held: int, what: str) -> NDArray[np.generic]:
    start = stream.read(len(_MAGIC) + 4)
    if start[: len(_MAGIC)] != _MAGIC:
        raise ValueError(f"{what} does not start with the magic of an npy file")
    if start[6:8] != b"\x01\x00":
        raise ValueError(f"{what}: npy version {tuple(start[6:8])}")
    header = stream.read(min(int.from_bytes(start[8:10], "little"), _LONGEST_HEADER))
    match = _HEADER.fullmatch(header)
    if match is None:
        if b"'|O'" in header:
            raise ArchiveError("pickle", f"{what} holds pickled objects")
        raise ValueError(f"{what} is no plain array of numbers: {header[:80]!r}")
    order, kind, width, fortran, sides = match.groups()
    if kind == b"O":
        raise ArchiveError("pickle", f"{what} holds pickled objects")
    dtype = np.dtype((order + kind + width).decode())
    shape = tuple(int(side) for side in sides.split(b",") if side.strip())
    wanted = dtype.itemsize * math.prod(shape)
    if wanted > held:
        raise ValueError(f"{what} says {wanted:,} bytes and holds {held:,}")
    content = stream.read(wanted)
    # One more byte, where the entry ends: only there does zipfile look at its checksum.
    if len(content) != wanted or stream.read(1):
        raise ValueError(f"{what} is not of the length that it says")
    if dtype.kind == "b" and np.frombuffer(content, np.uint8).max(initial=0) > 1:
        raise ValueError(f"{what} holds booleans that are neither true nor false")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran == b"True" else "C")
