"""Where in the model's code an operation was made."""

from __future__ import annotations

from typing import Any

from lrp_monitor.engine import backend

_FRAMEWORK = ("/tensorflow/", "/keras/", "/lrp_monitor/engine/")


def call_site(raw: Any) -> str:
    """``file:line`` of the model's code that made the operation, empty where it cannot be known.

    The innermost frame of the user's own files; of an installed package where the user's own are not among them.
    """
    found = entry(raw)
    return f"{found[0].rsplit('/', 1)[-1]}:{found[1]}" if found else ""


def entry(raw: Any) -> tuple[Any, ...]:
    """File and line of the model's code that made the operation, and the framework's function that is called there.

    Operations of one call of such a function share it; empty where it cannot be known.
    """
    frames = backend.traceback(raw)
    inside = max((i for i, (path, *_) in enumerate(frames) if "/lrp_monitor/engine/" in path), default=-1)
    behind = range(inside + 1, len(frames))
    outside = [i for i in behind if not any(part in frames[i][0] for part in _FRAMEWORK)]
    own = [i for i in outside if "/site-packages/" not in frames[i][0]] or outside
    called = [(path, name) for path, _, name in frames[own[-1] + 1 :] if "/util/" not in path] if own else []
    return (*frames[own[-1]][:2], *called[:1]) if own else ()
