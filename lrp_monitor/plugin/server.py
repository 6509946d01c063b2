"""The page without TensorBoard: its routes on the loopback interface, for the runs below a folder. No TensorFlow."""

from __future__ import annotations

import argparse
import json
import socket
from collections.abc import Callable, Iterable
from typing import Any

from tensorboard import errors
from tensorboard.plugins import base_plugin
from werkzeug import serving, wrappers

from lrp_monitor.plugin import writing
from lrp_monitor.plugin.app import LRPPlugin, MethodNotAllowedError
from lrp_monitor.plugin.found_runs import FoundRuns
from lrp_monitor.store.format import StoreError

HOST = "127.0.0.1"
_NAMES = ("127.0.0.1", "localhost", "[::1]")
_PREFIX = "/data/plugin/lrp_monitor"
_RUNS = "/data/runs"
_ADD_NOTE, _REMOVE_NOTE = f"{_PREFIX}/add_note", f"{_PREFIX}/remove_note"
_START = b'import("./index.js").then(({ render }) => render());\n'
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "connect-src 'self'; font-src 'self'; base-uri 'self'; form-action 'none'; "
    "frame-ancestors 'self' http://localhost:* http://127.0.0.1:* vscode-webview: https://*.vscode-cdn.net"
)
PAGE = b"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>LRP</title>
<link rel="icon" href="data:,">
<base href="data/plugin/lrp_monitor/">
</head>
<body><script type="module" src="start.js"></script></body>
</html>
"""


class Site:
    """A WSGI application: the page at "/", the plugin's routes where TensorBoard has them, and nothing else.

    Requests are answered that name the loopback interface as their host, and come from the page itself or from no page:
    a page of another origin cannot read the runs, by whatever name it may reach this server. ``writes``: whether notes
    that are made on the page are kept in the runs' folders; without, all of it only reads.
    """

    def __init__(self, logdir: str, *, writes: bool = True) -> None:
        self._runs = runs = FoundRuns(logdir)
        flags = argparse.Namespace(logdir=logdir, logdir_spec="")
        context = base_plugin.TBContext(data_provider=runs, logdir=logdir, flags=flags)
        self._plugin = LRPPlugin(context)
        self._routes = {_PREFIX + path: app for path, app in self._plugin.get_plugin_apps().items()}
        self._writes = writes

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answers one request."""
        request = wrappers.Request(environ)
        try:
            _check_origin(environ)
            found = self._routes.get(request.path) or self._own(request)
            answer: Iterable[bytes] = found(environ, _with_policy(start_response))
            return answer
        except errors.PublicError as error:
            return _refused(error, environ, start_response)

    def _own(self, request: wrappers.Request) -> wrappers.Response:
        if request.path in (_ADD_NOTE, _REMOVE_NOTE) and self._writes:
            return self._note(request)
        kinds = {"/": "text/html; charset=utf-8", f"{_PREFIX}/start.js": "text/javascript", _RUNS: "application/json"}
        kind = kinds.get(request.path)
        if kind is None:
            raise errors.NotFoundError("there is nothing at this address")
        if request.method not in ("GET", "HEAD"):
            raise MethodNotAllowedError(request.method)
        if request.path == "/":
            body = PAGE.replace(b"<base", b'<meta name="lrp-notes" content="kept">\n<base') if self._writes else PAGE
        elif request.path == _RUNS:
            body = json.dumps(self._runs.list_tensors()).encode("ascii")
        else:
            body = _START
        return wrappers.Response(body, content_type=kind, headers={"Cache-Control": "no-cache"})

    def _note(self, request: wrappers.Request) -> wrappers.Response:
        """Adds or removes a note."""
        adds = request.path == _ADD_NOTE
        host = str(request.environ.get("HTTP_HOST", ""))
        asked = writing.request_parts(request, host, writing.ADD if adds else writing.REMOVE)
        try:
            run = self._plugin.run(request, asked["run"])
        except StoreError as error:
            raise errors.NotFoundError(str(error)) from error
        body = writing.add(run, asked["step"], asked["text"]) if adds else writing.remove(run, asked["name"])
        return wrappers.Response(body, content_type="application/json", headers={"Cache-Control": "no-store"})


def _refused(error: Any, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The answer to a request that is refused: why, as text."""
    words = str(error).encode("utf-8", "backslashreplace").decode("utf-8")
    response = wrappers.Response(words, error.http_code, content_type="text/plain; charset=utf-8")
    for name, value in error.headers:
        response.headers[name] = value
    return response(environ, _with_policy(start_response))


def _check_origin(environ: dict[str, Any]) -> None:
    """Raises PublicError (403) for a request that does not name the loopback interface, or is another page's."""
    host = str(environ.get("HTTP_HOST", ""))
    name, _, port = host.rpartition(":") if not host.endswith("]") and ":" in host else (host, "", "")
    if name.lower() not in _NAMES or not (port == "" or (port.isascii() and port.isdecimal())):
        raise errors.PermissionDeniedError("this server answers to 127.0.0.1 and localhost alone")
    origin = environ.get("HTTP_ORIGIN")
    if origin is not None and origin != f"http://{host}":
        raise errors.PermissionDeniedError("this server answers to its own page alone")


def _with_policy(start_response: Callable[..., Any]) -> Callable[..., Any]:
    def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
        headers = [
            *headers,
            ("Content-Security-Policy", _POLICY),
            ("Cross-Origin-Resource-Policy", "same-origin"),
            ("Referrer-Policy", "no-referrer"),
        ]
        if all(name.lower() != "x-content-type-options" for name, _ in headers):
            headers.append(("X-Content-Type-Options", "nosniff"))
        return start_response(status, headers, *more)

    return start


class _Quiet(serving.WSGIRequestHandler):
    """Answers without a line on the console for each request."""

    def log(self, type: str, message: str, *arguments: Any) -> None:
        """Writes nothing: requests are not logged."""


def serve(logdir: str, port: int = 0, *, writes: bool = True) -> serving.BaseWSGIServer:
    """A server on the loopback interface, bound but not yet answering: ``serve_forever`` does. ``port`` 0: a free one.

    ``writes``: whether notes that are made on the page are kept in the runs' folders.

    Raises:
        OSError: where the port is taken.
    """
    site = Site(logdir, writes=writes)
    # Bound here: werkzeug ends the process where it cannot bind.
    with socket.create_server((HOST, port)) as bound:
        return serving.make_server(HOST, port, site, threaded=True, request_handler=_Quiet, fd=bound.fileno())


def address(server: serving.BaseWSGIServer) -> str:
    """Where a server's page is."""
    return f"http://{HOST}:{server.port}/"
