"""Large arrays outside of a process' memory: in a temporary file without a name, mapped where they are read."""

from __future__ import annotations

import contextlib
import mmap
import os
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGE = 64 << 20
"""Bytes from which on an array is worth a file."""
_BLOCK = 16 << 20


def mapped(values: NDArray[Any]) -> NDArray[Any]:
    """The same values, read-only: where they are large, in a file in the folder for temporary files (TMPDIR).

    Nobody else can reach the file, which is gone with the array. Where it cannot be written, the values stay in memory.
    """
    values = np.ascontiguousarray(values)
    if values.nbytes >= LARGE:
        with contextlib.suppress(OSError), tempfile.TemporaryFile(prefix="lrp_monitor-") as file:
            file.write(values.reshape(-1).view(np.uint8).data)
            file.flush()
            os.fsync(file.fileno())  # whether there is room is settled here, not when pages are read
            held = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            return np.frombuffer(held, values.dtype).reshape(values.shape)
    values.flags.writeable = False
    return values


def let_go(values: Any) -> None:
    """Pages of a mapped array leave the memory, to be read anew when they are asked for. Of others: nothing."""
    while isinstance(values, np.ndarray):
        values = values.base
    held = values.obj if isinstance(values, memoryview) else values
    if isinstance(held, mmap.mmap) and hasattr(held, "madvise"):  # Windows has none
        held.madvise(mmap.MADV_DONTNEED)


def iter_blocks(values: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """The rows of an array in blocks of some megabytes, each of which leaves the memory when the next one is asked for.

    For what is computed of all values: copies of all of them at once would take many times their memory.
    """
    rows = max(1, _BLOCK * len(values) // max(1, values.nbytes))
    for start in range(0, len(values), rows):
        yield values[start : start + rows]
        let_go(values)
