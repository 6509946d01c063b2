"""Attributes put in front of those of layers for the time of a trace, and taken away without a sign."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def shadows() -> Iterator[Callable[[Any, str, Any], None]]:
    """Gives ``put(target, name, value)``; everything put is as it was before when the block ends, however it ends."""
    restore: list[tuple[dict[str, Any], str, Any]] = []
    missing = object()

    def put(target: Any, name: str, value: Any) -> None:
        restore.append((target.__dict__, name, target.__dict__.get(name, missing)))
        target.__dict__[name] = value

    try:
        yield put
    finally:
        for namespace, name, before in reversed(restore):
            if before is missing:
                namespace.pop(name, None)
            else:
                namespace[name] = before
