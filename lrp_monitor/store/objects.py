"""Folders of object stores (``s3://``, ``gs://`` ...) behind the storage's interface, through fsspec.

An object is put whole or not at all, there is no appending and no renaming. So a file that grows is put anew with
each append, up to a bound (`PUT_BYTES`), after which its writer begins the next one: an append costs one request and
on average its own bytes and half of that bound. Readers see whole objects only.

fsspec is imported once such a folder is opened. Its caches of listings are passed by.
"""

from __future__ import annotations

import contextlib
import hashlib
import posixpath
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from lrp_monitor.store import paths
from lrp_monitor.store.format import StoreError, StoreOSError
from lrp_monitor.store.storage import ReadAt

PUT_BYTES = 512 << 10
"""A file that grows is not put anew once it would be larger than this."""

_EXTRA = 'pip install "lrp_monitor[remote]", and what serves the scheme: s3fs for s3://, gcsfs for gs://'
# What tells one content of an object from another, by the names that different stores give it.
_VERSION_KEYS = ("ETag", "etag", "generation", "md5Hash", "LastModified", "last_modified", "mtime", "created")
# A request takes as long as some hundred KB more in the one before.
_GAP = 128 << 10
_LARGEST_READ = 8 << 20

_T = TypeVar("_T")


class ObjectStorage:
    """A folder of an object store. ``within``: the folder that it must lie in.

    Raises:
        StoreError: for a URL that cannot be served: fsspec or the package of the scheme missing, an unknown scheme, a
            URL with ``..`` in it.
    """

    read_ahead = 256 << 10
    whole = True

    def __init__(self, url: str, *, within: str | None = None) -> None:
        self._url = paths.checked_url(url)
        if within is not None and not paths.is_below(self._url, within):
            raise StoreError(f"{self._url}: leads outside {within}")
        self._fs, self._root = _file_system(self._url)

    @property
    def path(self) -> str:
        return self._url

    def listing(self) -> dict[str, tuple[int, int]]:
        """Name -> (bytes, a number that changes with the content) of each object; empty where there is none."""
        return {
            posixpath.basename(entry["name"]): (int(entry["size"] or 0), _version(entry))
            for entry in self._entries()
            if entry["type"] == "file"
        }

    def folders(self) -> list[str]:
        """The paths of the folders in this one, sorted."""
        names = [posixpath.basename(e["name"].rstrip("/")) for e in self._entries() if e["type"] != "file"]
        return [paths.join(self._url, name) for name in sorted(names)]

    def has(self, name: str) -> bool:
        """Whether there is an object of that name: asked of the object itself, not of a listing."""
        path = self._object(name)

        def ask() -> bool:
            self._fs.invalidate_cache(self._root)
            try:
                return bool(self._fs.info(path)["type"] == "file")
            except FileNotFoundError:
                return False

        return self._asked(ask, name, "cannot be read")

    @contextlib.contextmanager
    def opened(self, name: str) -> Iterator[ReadAt]:
        """An object to read several times: each of them is a request."""
        yield lambda offset, length: self.read(name, offset, length)

    def read(self, name: str, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes from ``offset``; fewer only where the object ends."""
        return self.read_many(name, [(offset, length)])[0]

    def read_many(self, name: str, ranges: list[tuple[int, int]]) -> list[bytes]:
        """Several (offset, length) of one object."""
        return self.read_files({name: ranges})[name]

    def read_files(self, ranges: Mapping[str, Sequence[tuple[int, int]]]) -> dict[str, list[bytes]]:
        """Several (offset, length) of several objects, asked for side by side."""
        wanted = [(name, first, last) for name, places in ranges.items() for first, last in _spans(places)]
        paths_of = [self._object(name) for name, _, _ in wanted]
        got = self._asked(
            lambda: self._fs.cat_ranges(
                paths_of, [first for _, first, _ in wanted], [last for _, _, last in wanted], on_error="return"
            ),
            next(iter(ranges), ""),
            "cannot be read",
        )
        spans: dict[str, list[tuple[int, bytes]]] = {name: [] for name in ranges}
        for (name, first, _), data in zip(wanted, got, strict=True):
            spans[name].append((first, self._content(name, first, data)))
        return {name: [_cut(spans[name], place) for place in places] for name, places in ranges.items()}

    def create(self, name: str) -> GrowingObject:
        """A new object, which is there from the first append on."""
        path = self._object(name)
        return GrowingObject(
            f"{self._url}/{name}",
            lambda data: self._asked(lambda: self._fs.pipe_file(path, data), name, "cannot be written"),
        )

    def write_whole(self, name: str, data: bytes) -> None:
        """Puts an object in place: readers see all of it or nothing."""
        path = self._object(name)
        self._asked(lambda: self._fs.pipe_file(path, data), name, "cannot be written")

    def remove(self, name: str) -> None:
        """Deletes an object."""
        path = self._object(name)
        self._asked(lambda: self._fs.rm_file(path), name, "cannot be removed")

    def make(self) -> None:
        """Nothing: a folder is what its objects' names begin with."""

    def _entries(self) -> list[dict[str, Any]]:
        def ask() -> list[dict[str, Any]]:
            self._fs.invalidate_cache(self._root)
            try:
                found: list[dict[str, Any]] = self._fs.ls(self._root, detail=True)
            except FileNotFoundError:
                return []
            # Some stores list an object that marks the folder itself.
            return [e for e in found if posixpath.dirname(e["name"].strip("/")) == self._root.strip("/")]

        return self._asked(ask, "", "cannot be listed")

    def _content(self, name: str, first: int, data: Any) -> bytes:
        """What a read returned, b"" where it began behind the end."""
        if not isinstance(data, BaseException):
            return bytes(data)

        def look() -> bytes:
            try:
                ended = not isinstance(data, FileNotFoundError) and self._fs.info(self._object(name))["size"] <= first
            except Exception:  # asking failed, too: the first error says more
                ended = False
            if not ended:
                raise data
            return b""

        return self._asked(look, name, "cannot be read")

    def _object(self, name: str) -> str:
        if posixpath.basename(name) != name or name in ("", ".", ".."):
            raise StoreError(f"{self._url}: {name!r} is not the name of a file in this folder")
        return f"{self._root.rstrip('/')}/{name}"

    def _asked(self, ask: Callable[[], _T], name: str, what: str) -> _T:
        """Does a request; whatever a client raises (each has errors of its own) becomes the store's error."""
        try:
            return ask()
        except StoreError:
            raise
        except Exception as error:  # no two clients share a class: OSError, botocore's, aiohttp's, google.auth's
            where = f"{self._url}/{name}" if name else self._url
            text = str(error).strip() or type(error).__name__
            raise StoreOSError(f"{where} {what}: {text}", getattr(error, "errno", None)) from error


class GrowingObject:
    """An object that is put anew with each append. Nothing is lost by not closing it.

    Once a put has failed, the object takes nothing any more: that put may have arrived after all, or arrive late, and
    what readers have found in an object must not change under them.
    """

    def __init__(self, path: str, put: Callable[[bytes], None]) -> None:
        self._path, self._put = path, put
        self._parts: list[bytes] = []
        self._size = 0
        self._usable = True

    def takes(self, size: int) -> bool:
        """Whether so many bytes more should go into this object; an empty one takes any number."""
        return self._usable and (not self._parts or self._size + size <= PUT_BYTES)

    def append(self, data: bytes) -> None:
        if not self._usable:
            raise StoreError(f"{self._path}: closed, or a write failed; begin another file")
        try:
            self._put(b"".join([*self._parts, data]))
        except BaseException:
            self._usable = False
            raise
        self._parts.append(data)
        self._size += len(data)

    def sync(self) -> None:
        """Nothing: what was put is there."""

    def close(self) -> None:
        self._usable, self._parts = False, []


def _file_system(url: str) -> tuple[Any, str]:
    """fsspec's file system of a URL, and the path in it."""
    try:
        import fsspec
    except ModuleNotFoundError as error:
        raise StoreError(f"{url}: paths with a scheme are read and written through fsspec: {_EXTRA}") from error
    try:
        fs, root = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise StoreError(f"{url}: {error}") from error  # names the package to install
    except Exception as error:  # an unknown scheme (ValueError), or what a client raises over its settings
        raise StoreError(f"{url} cannot be opened: {error}") from error
    return fs, str(root)


def _version(entry: dict[str, Any]) -> int:
    version = repr([entry[key] for key in _VERSION_KEYS if key in entry])
    return int.from_bytes(hashlib.sha256(version.encode()).digest()[:8], "little")


def _spans(places: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The (first, end) to ask for so that all (offset, length) are in: neighbours in one go."""
    found: list[tuple[int, int]] = []
    for offset, length in sorted(places):
        if length < 1:
            continue
        if found and offset - found[-1][1] <= _GAP and offset + length - found[-1][0] <= _LARGEST_READ:
            found[-1] = (found[-1][0], max(found[-1][1], offset + length))
        else:
            found.append((offset, offset + length))
    return found


def _cut(spans: Sequence[tuple[int, bytes]], place: tuple[int, int]) -> bytes:
    offset, length = place
    if length < 1:
        return b""
    first, data = next((f, d) for f, d in reversed(spans) if f <= offset)
    return data[offset - first : offset - first + length]
