"""An object store in this process: a file system of fsspec that can do no more than an object store can."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import fsspec
from fsspec.spec import AbstractFileSystem


class ObjectStore(AbstractFileSystem):
    """Whole objects under ``objects://``: put, read by ranges, listed by prefix, deleted. The state is the class's.

    Listings go through fsspec's cache of them, as those of s3fs and gcsfs do. ``lag``: how many of the last changes a
    listing does not show. ``before``: called with (request, path) before a request, may raise; ``after``: the same,
    once a put has taken effect. Overwriting an object of which something was read before must not change that.
    """

    protocol = "objects"
    objects: ClassVar[dict[str, tuple[bytes, int]]] = {}
    history: ClassVar[list[dict[str, tuple[bytes, int]]]] = [{}]
    requests: ClassVar[list[tuple[str, str, int]]] = []
    lag: ClassVar[int] = 0
    before: ClassVar[Callable[[str, str], None] | None] = None
    after: ClassVar[Callable[[str, str], None] | None] = None

    @classmethod
    def count(cls, request: str) -> int:
        return sum(kind == request for kind, _, _ in cls.requests)

    @classmethod
    def bytes_put(cls) -> int:
        return sum(size for kind, _, size in cls.requests if kind == "put")

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        path = self._strip_protocol(path).strip("/")
        cached = self._ls_from_cache(path)
        if cached is None:
            self._ask("list", path)
            shown = self.history[max(0, len(self.history) - 1 - self.lag)]
            entries: dict[str, dict[str, Any]] = {}
            for key, (data, version) in shown.items():
                if key.startswith(path + "/"):
                    inner, *more = key[len(path) + 1 :].split("/")
                    name = f"{path}/{inner}"
                    kind = {"type": "directory", "size": 0} if more else {"type": "file", "size": len(data)}
                    entries[name] = {"name": name, "etag": str(version), **kind}
            if not entries:
                raise FileNotFoundError(path)
            cached = self.dircache[path] = [entries[name] for name in sorted(entries)]
        return cached if detail else [entry["name"] for entry in cached]

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        path = self._strip_protocol(path)
        self._ask("head", path)
        if path not in self.objects:
            raise FileNotFoundError(path)
        data, version = self.objects[path]
        return {"name": path, "size": len(data), "type": "file", "etag": str(version)}

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        path = self._strip_protocol(path)
        self._ask("get", path)
        if path not in self.objects:
            raise FileNotFoundError(path)
        data = self.objects[path][0]
        if start and start >= len(data):
            raise OSError(22, "The requested range is not satisfiable")
        return data[start:end]

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: Any) -> None:
        path = self._strip_protocol(path)
        self._ask("put", path, len(value))
        if path.endswith(".tfrecord") and path in self.objects:
            assert value.startswith(self.objects[path][0]), f"{path} changes under its readers"
        self._keep({**self.objects, path: (bytes(value), len(self.history))})
        if self.after is not None:
            type(self).after("put", path)

    def rm_file(self, path: str) -> None:
        path = self._strip_protocol(path)
        self._ask("delete", path)
        self._keep({key: held for key, held in self.objects.items() if key != path})

    def invalidate_cache(self, path: str | None = None) -> None:
        self.dircache.clear()

    def _open(self, path: str, mode: str = "rb", *_: Any, **__: Any) -> Any:
        raise NotImplementedError(f"{mode}: objects are put and read whole, or by ranges")

    def mv(self, *_: Any, **__: Any) -> None:
        raise NotImplementedError("an object cannot be renamed")

    def _ask(self, request: str, path: str, size: int = 0) -> None:
        self.requests.append((request, path, size))
        if self.before is not None:
            type(self).before(request, path)

    @classmethod
    def _keep(cls, objects: dict[str, tuple[bytes, int]]) -> None:
        cls.objects = objects
        cls.history.append(objects)


def down(seconds: float = 0.0) -> Callable[[str, str], None]:
    """What a network that is down does to a request."""

    def fail(request: str, path: str) -> None:
        time.sleep(seconds)
        raise TimeoutError(f"{request}: could not connect to the endpoint")

    return fail


@contextmanager
def object_store() -> Iterator[type[ObjectStore]]:
    """The store, empty and as it should be."""
    fsspec.register_implementation("objects", ObjectStore, clobber=True)
    ObjectStore.clear_instance_cache()
    ObjectStore.objects, ObjectStore.history, ObjectStore.requests = {}, [{}], []
    ObjectStore.lag, ObjectStore.before, ObjectStore.after = 0, None, None
    try:
        yield ObjectStore
    finally:
        ObjectStore.before = ObjectStore.after = None
