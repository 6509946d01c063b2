"""Large arrays outside of a process' memory: in a temporary file without a name, mapped where they are read."""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import tempfile
from collections.abc import Iterator
from io import FileIO
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

LARGE = 8 << 20
"""Bytes from which on an array is worth a file."""
_BLOCK = 4 << 20


class _Map(mmap.mmap):
    """A map of this module's: of others' the pages may be the only place of what was written into them."""


def mapped(values: NDArray[Any]) -> NDArray[Any]:
    """The same values, read-only: where they are large, in a file in the folder for temporary files (TMPDIR).

    Nobody else can reach the file, which is gone with the array. Where it cannot be written, the values stay in memory.
    """
    values = np.ascontiguousarray(values)
    if values.nbytes >= LARGE:
        with contextlib.suppress(OSError), _temporary() as file:
            _write(file, 0, values)
            return _settled(file, values.dtype, values.shape)
    values.flags.writeable = False
    return values


class Parts:
    """An array whose rows come some after the others: where it is large, in a file as of `mapped`.

    Where the file takes no more, all that it holds is brought to memory, where the array stays.

    Args:
        in_file: whether a large one may lie in a file.
    """

    def __init__(self, shape: tuple[int, ...], dtype: DTypeLike, in_file: bool = True) -> None:
        self._shape, self._dtype = shape, np.dtype(dtype)
        self._row = math.prod(shape[1:]) * self._dtype.itemsize
        self._file: FileIO | None = None
        if in_file and shape[0] * self._row >= LARGE:
            with contextlib.suppress(OSError):
                self._file = _temporary()
        self._values = np.empty(shape, self._dtype) if self._file is None else None

    def put(self, start: int, rows: NDArray[Any]) -> None:
        """Sets the rows from ``start`` on, of which no earlier one may be missing. OSError as of `whole`."""
        if self._file is not None:
            try:
                _write(self._file, start * self._row, np.ascontiguousarray(rows, self._dtype))
                return
            except OSError:
                file, self._file = self._file, None
                self._values = self._in_memory(file, start)
        assert self._values is not None
        self._values[start : start + len(rows)] = rows

    def whole(self) -> NDArray[Any]:
        """The array, read-only where it lies in a file. To be asked for once.

        Raises:
            OSError: where the system has lost what it had taken.
        """
        if self._values is not None:
            return self._values
        assert self._file is not None
        with self._file as file:
            return _settled(file, self._dtype, self._shape)

    def _in_memory(self, file: FileIO, rows: int) -> NDArray[Any]:
        values = np.empty(self._shape, self._dtype)
        with file:
            file.seek(0)
            rest = _bytes_of(values[:rows])
            while len(rest):
                if not (taken := file.readinto(rest)):
                    raise OSError("a temporary file lost what was written into it")
                rest = rest[taken:]
        return values


def _temporary() -> FileIO:
    return tempfile.TemporaryFile(prefix="lrp_monitor-", buffering=0)


def _bytes_of(values: NDArray[Any]) -> memoryview:
    return values.reshape(-1).view(np.uint8).data


def _write(file: FileIO, start: int, values: NDArray[Any]) -> None:
    rest = _bytes_of(values)
    file.seek(start)
    while len(rest):
        rest = rest[file.write(rest) :]


def _settled(file: FileIO, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """What a whole file holds."""
    os.fsync(file.fileno())  # whether there is room is settled here, not when pages are read
    held = _Map(file.fileno(), 0, access=mmap.ACCESS_READ)
    return np.frombuffer(held, dtype).reshape(shape)


def let_go(*arrays: Any) -> None:
    """Pages of arrays of this module leave the memory, to be read anew when they are asked for. Of others: nothing."""
    for values in arrays:
        held = values
        while isinstance(held, np.ndarray):
            held = held.base
        held = held.obj if isinstance(held, memoryview) else held
        if isinstance(held, _Map) and hasattr(held, "madvise"):  # Windows has none
            held.madvise(mmap.MADV_DONTNEED)


def iter_blocks(values: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """The rows of an array in blocks of some megabytes, each of which leaves the memory when the next one is asked for.

    For what is computed of all values: copies of all of them at once would take many times their memory.
    """
    rows = max(1, _BLOCK * len(values) // max(1, values.nbytes))
    for start in range(0, len(values), rows):
        yield values[start : start + rows]
        let_go(values)
