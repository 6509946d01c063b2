"""The one place where the store touches a file system: a narrow interface, and local files behind it.

The other implementation, for object stores, is in `objects`.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from lrp_monitor.files import write_whole
from lrp_monitor.store.format import StoreError, StoreOSError
from lrp_monitor.store.paths import local_path

ReadAt = Callable[[int, int], bytes]
"""Reads up to so many bytes (second) of a file from an offset (first); fewer only where it ends."""


class Appendable(Protocol):
    """A file being written from its start: whole records go in, or nothing."""

    def takes(self, size: int) -> bool: ...

    def append(self, data: bytes) -> None: ...

    def sync(self) -> None: ...

    def close(self) -> None: ...


class Storage(Protocol):
    """A flat folder of files, read by ranges and written by appending.

    ``read_ahead``: bytes that cost hardly more than fewer do. ``whole``: files come into being whole, so that no
    tail can be missing. `Appendable.takes`: whether more should go into that file, or a new one be begun.
    """

    @property
    def path(self) -> str: ...

    @property
    def read_ahead(self) -> int: ...

    @property
    def whole(self) -> bool: ...

    def listing(self) -> dict[str, tuple[int, int]]: ...

    def folders(self) -> list[str]: ...

    def has(self, name: str) -> bool: ...

    def opened(self, name: str) -> contextlib.AbstractContextManager[ReadAt]: ...

    def read(self, name: str, offset: int, length: int) -> bytes: ...

    def read_many(self, name: str, ranges: list[tuple[int, int]]) -> list[bytes]: ...

    def read_files(self, ranges: Mapping[str, Sequence[tuple[int, int]]]) -> dict[str, list[bytes]]: ...

    def create(self, name: str) -> Appendable: ...

    def write_whole(self, name: str, data: bytes) -> None: ...

    def remove(self, name: str) -> None: ...

    def make(self) -> None: ...


def open_storage(path: str | os.PathLike[str], *, within: str | None = None) -> Storage:
    """The storage behind a folder's path: local files, or for a URL (``s3://`` ...) an object store's.

    ``within``: no file whose real path lies outside that folder is read. Raises StoreError for a URL that cannot be
    served (see `objects.ObjectStorage`).
    """
    text = local_path(path)
    if text is not None:
        root = None if within is None else local_path(within)
        if within is not None and root is None:
            raise StoreError(f"{text}: leads outside {within}")
        return LocalStorage(text, within=root)
    from lrp_monitor.store.objects import ObjectStorage  # few runs need it

    return ObjectStorage(os.fspath(path), within=within)


class LocalStorage:
    """A folder on a local (or mounted) file system."""

    read_ahead = 32 << 10
    whole = False

    def __init__(self, path: str, *, within: str | None = None) -> None:
        self._path = os.path.abspath(os.path.expanduser(path))
        self._within = None if within is None else os.path.realpath(within)
        self._checked: dict[str, tuple[int, int]] = {}

    @property
    def path(self) -> str:
        return self._path

    def listing(self) -> dict[str, tuple[int, int]]:
        """Name -> (bytes, time of change in ns) of each regular file; empty where the folder is not there."""
        found = {}
        try:
            with os.scandir(self._path) as entries:
                for entry in entries:
                    try:
                        status = entry.stat()
                    except OSError:
                        continue  # gone since, or a link that leads nowhere or to itself
                    if stat.S_ISREG(status.st_mode):
                        found[entry.name] = (status.st_size, status.st_mtime_ns)
            return found
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise _os_error(error, self._path, "cannot be read") from error

    def folders(self) -> list[str]:
        """The paths of the folders in this one, sorted; none where it cannot be listed."""
        try:
            with os.scandir(self._path) as entries:
                return sorted(entry.path for entry in entries if entry.is_dir())
        except OSError:
            return []

    def has(self, name: str) -> bool:
        """Whether there is a file of that name."""
        return os.path.isfile(self._file(name))

    def read(self, name: str, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes from ``offset``; fewer only where the file ends."""
        return self.read_many(name, [(offset, length)])[0]

    @contextlib.contextmanager
    def opened(self, name: str) -> Iterator[ReadAt]:
        """A file that is opened once for several reads."""
        path = self._file(name)
        try:
            # Not blocking: a pipe of that name would wait for a writer for ever.
            handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
            try:
                status = os.fstat(handle)
                if not stat.S_ISREG(status.st_mode):
                    raise StoreError(f"{path}: not a regular file")
                self._keep_within(name, path, status)
                # Never ask for more than there is: the length may come from a damaged file.
                yield lambda offset, length: _read_at(handle, offset, max(0, min(length, status.st_size - offset)))
            finally:
                os.close(handle)
        except StoreError:
            raise  # of whoever reads, and with its own words
        except OSError as error:
            raise _os_error(error, path, "cannot be read") from error

    def read_many(self, name: str, ranges: list[tuple[int, int]]) -> list[bytes]:
        """Several (offset, length) of one file, opened once."""
        with self.opened(name) as read:
            return [read(offset, length) for offset, length in ranges]

    def read_files(self, ranges: Mapping[str, Sequence[tuple[int, int]]]) -> dict[str, list[bytes]]:
        """Several (offset, length) of several files, each opened once."""
        return {name: self.read_many(name, list(places)) for name, places in ranges.items()}

    def create(self, name: str) -> Appendable:
        """A new file; it must not exist."""
        path = self._file(name)
        try:
            return _LocalFile(path)
        except OSError as error:
            raise _os_error(error, path, "cannot be written") from error

    def write_whole(self, name: str, data: bytes) -> None:
        """Puts a file in place in one go: readers see all of it or nothing."""
        path = self._file(name)
        try:
            write_whole(path, data)
        except OSError as error:
            raise _os_error(error, path, "cannot be written") from error

    def remove(self, name: str) -> None:
        """Deletes a file."""
        path = self._file(name)
        try:
            os.unlink(path)
        except OSError as error:
            raise _os_error(error, path, "cannot be removed") from error

    def make(self) -> None:
        """Creates the folder and those above it where they are missing."""
        try:
            os.makedirs(self._path, exist_ok=True)
        except OSError as error:
            raise _os_error(error, self._path, "cannot be created") from error

    def _file(self, name: str) -> str:
        if os.path.basename(name) != name or name in ("", ".", ".."):
            raise StoreError(f"{self._path}: {name!r} is not the name of a file in this folder")
        return os.path.join(self._path, name)

    def _keep_within(self, name: str, path: str, status: os.stat_result) -> None:
        """Raises StoreError unless the file that was opened lies within the folder it has to stay in."""
        identity = (status.st_dev, status.st_ino)
        if self._within is None or self._checked.get(name) == identity:
            return
        # The path may by now lead elsewhere than to what was opened: that file itself must be the one inside.
        real = os.path.realpath(path)
        found = os.stat(real)
        if os.path.commonpath([self._within, real]) != self._within or (found.st_dev, found.st_ino) != identity:
            raise StoreError(f"{path}: leads outside {self._within}")
        self._checked[name] = identity


class _LocalFile:
    """A local file open for appending; after a failed append it ends where the last whole one ended."""

    def __init__(self, path: str) -> None:
        self._path = path
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        self._handle: int | None = os.open(path, flags, 0o666)
        self._end = 0

    def takes(self, size: int) -> bool:
        """True: a local file may grow as long as its writer likes."""
        return True

    def append(self, data: bytes) -> None:
        if self._handle is None:
            raise StoreError(f"{self._path}: already closed")
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._handle, view) :]
        except OSError as error:
            # Half a record in the middle would hide all that is appended after it.
            os.ftruncate(self._handle, self._end)
            os.lseek(self._handle, self._end, os.SEEK_SET)
            raise _os_error(error, self._path, "cannot be written") from error
        self._end += len(data)

    def sync(self) -> None:
        if self._handle is not None:
            try:
                os.fsync(self._handle)
            except OSError as error:
                raise _os_error(error, self._path, "cannot be written") from error

    def close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


_pread = getattr(os, "pread", None)  # not on Windows


def _read_at(handle: int, offset: int, length: int) -> bytes:
    data = _read_part(handle, offset, length)
    if len(data) == length:
        return data
    parts = [data]
    missing = length - len(data)
    while missing and parts[-1]:  # one call reads 2 GB at most
        parts.append(_read_part(handle, offset + length - missing, missing))
        missing -= len(parts[-1])
    return b"".join(parts)


def _read_part(handle: int, offset: int, length: int) -> bytes:
    if _pread is not None:
        found: bytes = _pread(handle, length, offset)
        return found
    os.lseek(handle, offset, os.SEEK_SET)
    return os.read(handle, length)


def _os_error(error: OSError, path: str, what: str) -> StoreOSError:
    return StoreOSError(f"{path} {what}: {error.strerror or error}", error.errno)
