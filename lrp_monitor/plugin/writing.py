"""The two routes that write, for `lrp-monitor view` alone: a person's note on a step is added to a run or removed.

TensorBoard answers under any host name and to any page, and may listen on a network: there the plugin only reads.
"""

from __future__ import annotations

import json
from typing import Any

from tensorboard import errors
from werkzeug import wrappers

from lrp_monitor.store import records
from lrp_monitor.store.format import StoreError
from lrp_monitor.store.notes import MOST_NOTES
from lrp_monitor.store.reader import Run

MOST_BYTES = 16 << 10
"""Bytes of a request: a note of the greatest length, each letter as an escape, and the name of a run."""
HEADER = "X-LRP-Monitor"
"""A header that no page of another origin can send without being asked about it first, which is refused."""
ADD: dict[str, type] = {"run": str, "step": int, "text": str}
"""Parts of a request that adds a note, with their types."""
REMOVE: dict[str, type] = {"run": str, "name": str}
"""Parts of a request that removes a note, with their types."""


class _RefusedError(errors.PublicError):  # type: ignore[misc]  # tensorboard ships no types
    """A request that is understood and not done; ``code``: its HTTP status."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.http_code = code


def request_parts(request: wrappers.Request, host: str, parts: dict[str, type]) -> dict[str, Any]:
    """The ``parts`` (`ADD` or `REMOVE`) of a request that the page itself has sent, and no other page.

    Raises:
        PublicError: (400, 403, 405, 411, 413, 415) for any other request.
    """
    environ = request.environ
    if request.method != "POST":
        error = _RefusedError(405, f"Method not allowed: {request.method}; this route answers POST")
        error.headers.append(("Allow", "POST"))
        raise error
    own = (environ.get("HTTP_ORIGIN"), environ.get("HTTP_SEC_FETCH_SITE", "same-origin"), request.headers.get(HEADER))
    if own != (f"http://{host}", "same-origin", "note"):
        raise errors.PermissionDeniedError("notes are taken from this server's own page alone")
    if environ.get("CONTENT_TYPE") != "application/json":
        raise _RefusedError(415, "a note is sent as application/json")
    length = environ.get("CONTENT_LENGTH", "")
    if environ.get("HTTP_TRANSFER_ENCODING") or not (length.isascii() and length.isdecimal() and len(length) < 10):
        raise _RefusedError(411, "a request about a note needs a Content-Length")
    if int(length) > MOST_BYTES:
        raise _RefusedError(413, f"a note takes at most {MOST_BYTES} bytes")
    body = environ["wsgi.input"].read(int(length))
    try:
        asked = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise errors.InvalidArgumentError("a note is a JSON object") from error
    if not isinstance(asked, dict) or {name: type(value) for name, value in asked.items()} != parts:
        named = ", ".join(f"{name} ({'a text' if kind is str else 'a number'})" for name, kind in parts.items())
        raise errors.InvalidArgumentError(f"the body is a JSON object of exactly {named}")
    return asked


def add(run: Run, step: int, text: str) -> bytes:
    """Writes a note beside a run; the answer.

    Raises:
        PublicError: (400, 404, 409) where the text is none, the step is not logged, or the folder takes no more notes
            or cannot be written.
    """
    if len(run.notes()) >= MOST_NOTES:
        raise _RefusedError(409, f"the run has {MOST_NOTES} notes, and no more are read")
    try:
        text.encode("utf-8")
        note = run.add_note(step, text)
    except KeyError as error:
        raise errors.NotFoundError(str(error.args[0])) from error
    except ValueError as error:
        halves = isinstance(error, UnicodeEncodeError)
        raise errors.InvalidArgumentError("the text holds half a character" if halves else str(error)) from error
    except StoreError as error:
        raise _RefusedError(409, str(error)) from error
    return records.to_json({"note": note.to_dict()})


def remove(run: Run, name: str) -> bytes:
    """Deletes a note beside a run, by its file's name; the answer. No other file is ever removed.

    Raises:
        PublicError: (404, 409) where there is no note of that name, or the folder cannot be written.
    """
    try:
        run.remove_note(name)
    except KeyError as error:
        raise errors.NotFoundError(str(error.args[0])) from error
    except StoreError as error:
        raise _RefusedError(409, str(error)) from error
    return records.to_json({"removed": name})
