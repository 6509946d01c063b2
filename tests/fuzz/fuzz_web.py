"""Hostile requests: to the whole WSGI application in this process, and to a TensorBoard process over sockets."""

from __future__ import annotations

import argparse
import io
import json
import re
import shutil
import socket
import sys
import time
import urllib.parse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from fuzz_mutations import Damage
from fuzz_store import CANARY, Seen, log_run
from tensorboard.backend import application
from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
from tensorboard.compat import tf
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.plugins import base_plugin
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util import tensor_util
from tensorboard_process import TensorBoard
from werkzeug.test import run_wsgi_app

from lrp_monitor.plugin.app import LRPPlugin
from lrp_monitor.plugin.server import Site
from lrp_monitor.store.folders import store_folder
from lrp_monitor.store.format import PLUGIN_NAME
from lrp_monitor.store.reader import open_run

PREFIX = "/data/plugin/lrp_monitor/"
ANSWERS = {200, 301, 302, 304, 308, 400, 404, 405}
"""What the application may answer. A server in front of it refuses malformed requests with more codes."""
NOTE_ANSWERS = {200, 400, 403, 404, 405, 409, 411, 413, 415}
"""What `lrp-monitor view` may answer to a note."""
SERVER_ANSWERS = ANSWERS | {408, 411, 413, 414, 417, 431, 501, 505}
LARGEST_ANSWER = 4 << 20
"""Bytes; the whole site of these requests has a tenth of it on disk."""
ROUTES = (
    "runs", "run", "probes", "step", "film", "timeline", "histogram", "histograms", "notes", "clusters", "index.js",
    "ProbeView.js", "add_note", "remove_note",
)  # fmt: skip


def write_marker(run_dir: Path) -> None:
    """The event file by which TensorBoard finds a run."""
    run_dir.mkdir(parents=True, exist_ok=True)
    metadata = summary_pb2.SummaryMetadata(data_class=summary_pb2.DATA_CLASS_TENSOR)
    metadata.plugin_data.plugin_name = PLUGIN_NAME
    summary = summary_pb2.Summary()
    tensor = tensor_util.make_tensor_proto(np.array(1.0, np.float32))
    summary.value.add(tag="lrp_monitor/session", tensor=tensor, metadata=metadata)
    with open(run_dir / "events.out.tfevents.1700000000.host", "wb") as file:
        writer = RecordWriter(file)
        for event in (event_pb2.Event(wall_time=1.0, file_version="brain.Event:2"), event_pb2.Event(summary=summary)):
            writer.write(event.SerializeToString())


class Board:
    """The plugin inside TensorBoard's own WSGI application, over a log directory."""

    def __init__(self, logs: Path) -> None:
        multiplexer = plugin_event_multiplexer.EventMultiplexer()
        multiplexer.AddRunsFromDirectory(str(logs))
        multiplexer.Reload()
        self._provider = data_provider.MultiplexerDataProvider(multiplexer, str(logs))
        self._logs = str(logs)
        self.open()
        self.site = Site(self._logs)
        assert tf.__version__  # imported here, where TensorBoard would import it in the midst of some request

    def open(self) -> None:
        """A fresh plugin, which has read nothing yet."""
        flags = argparse.Namespace(logdir=self._logs, logdir_spec="", path_prefix="")
        self.plugin = LRPPlugin(base_plugin.TBContext(data_provider=self._provider, logdir=self._logs, flags=flags))
        self.app = application.TensorBoardWSGI([self.plugin], "", self._provider)

    def get(
        self,
        path: str,
        query: str = "",
        method: str = "GET",
        *,
        alone: bool = False,
        body: bytes = b"x" * 100,
        **headers: str,
    ) -> tuple[int, bytes]:
        """(status, body). An error that TensorBoard (``alone``: the page without it) lets through is raised."""
        environ = {
            "REQUEST_METHOD": method, "SCRIPT_NAME": "", "PATH_INFO": path, "QUERY_STRING": query,
            "SERVER_NAME": "127.0.0.1", "SERVER_PORT": "6006", "SERVER_PROTOCOL": "HTTP/1.1", "HTTP_HOST": "localhost",
            "wsgi.version": (1, 0), "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(body),
            "wsgi.errors": sys.stderr, "wsgi.multithread": True, "wsgi.multiprocess": False, "wsgi.run_once": False,
            **headers,
        }  # fmt: skip
        parts, status, _ = run_wsgi_app(self.site if alone else self.app, environ, buffered=True)
        return int(status.split()[0]), b"".join(parts)


def ask_everything(board: Board, seen: Seen, run: str) -> None:
    """Each route once as the page asks, of a run that may be harmed."""
    name = urllib.parse.quote(run)

    def ask(route: str, query: str) -> bytes:
        status, body = board.get(PREFIX + route, query)
        seen.attempt(f"{route}: {status}", lambda: None, ())
        if status not in ANSWERS:
            raise AssertionError(f"{route}?{query}: {status}")
        seen.look(body)
        return body if status == 200 else b""

    ask("runs", "")
    text = ask("run", f"run={name}")
    ask("timeline", f"run={name}&columns=sum,logit")
    ask("timeline", f"run={name}&since=1&session={'ab' * 8}&probe=1")
    ask("clusters", f"run={name}")
    ask("notes", f"run={name}")
    if not text:
        return
    about = json.loads(text)
    session = urllib.parse.quote(about["session"] or "0" * 16)
    ask("probes", f"run={name}&hash={about['probes']['hash']}")
    for row in [*about["steps"][:2], *about["steps"][-1:]]:
        asked = f"run={name}&step={row['step']}&session={row['session']}"
        ask("step", asked)
        ask("step", asked + "&channels=1")
        for tensor in about["tensors"][:2]:
            words = urllib.parse.urlencode(tensor, errors="replace")
            ask("histogram", f"{asked}&{words}")
        ask("histograms", f"{asked}&kind=weight")
    steps = ",".join(str(row["step"]) for row in about["steps"][:10]) or "0"
    ask("film", f"run={name}&session={session}&probe=0&steps={steps}&channels=1")
    board.plugin.is_active()


def make_site(folder: Path) -> tuple[Path, dict[str, str]]:
    """A log directory with good, broken and escaping runs; returns it and run -> latest session of the good ones."""
    logs, outside = folder / "logs", folder / "outside"
    log_run(outside, 0, shape=(6, 5), encoding="sqrt8", channels=True, mark=CANARY)
    (folder / "secret.txt").write_text(CANARY)
    sessions = {}
    for number, (name, options) in enumerate(
        {
            "good": {"shape": (6, 5), "encoding": "sqrt8", "channels": True},
            "gööd\n\u202e run": {"shape": (7,), "encoding": "float16"},
        }.items()
    ):
        log_run(logs / name, number, **options)
        write_marker(logs / name / "lrp")
        sessions[f"{name}/lrp"] = open_run(logs / name).session
    for name in ("empty", "escaping", "escaping file", "looping"):
        write_marker(logs / name / "lrp")
    theirs = outside / "lrp" / "plugins"
    (logs / "escaping" / "lrp" / "plugins").symlink_to(theirs)
    ours = Path(store_folder(logs / "escaping file" / "lrp"))
    ours.mkdir(parents=True)
    for path in (theirs / "lrp_monitor").iterdir():
        if path.name.startswith("steps"):
            (ours / path.name).symlink_to(path)
        else:
            shutil.copy(path, ours / path.name) if path.suffix == ".json" else (ours / path.name).symlink_to(path)
    loop = Path(store_folder(logs / "looping" / "lrp"))
    loop.mkdir(parents=True)
    (loop / "probes.tfrecord").symlink_to(loop / "probes.tfrecord")
    (logs / "good" / "secret").symlink_to(folder / "secret.txt")
    return logs, sessions


class Asker:
    """Makes up requests for a site."""

    def __init__(self, logs: Path, sessions: dict[str, str]) -> None:
        self._sessions = sessions
        self._runs = [*sessions, "empty/lrp", "escaping/lrp", "escaping file/lrp", "looping/lrp"]
        run = open_run(logs / "good")
        self._hash, self._steps = run.probes.hash, run.steps
        self._numbers = [
            "0",
            "1",
            "-1",
            "1e3",
            "٣",
            "9" * 18,
            "9" * 19,
            "9" * 5000,
            "NaN",
            "",
            " 1",
            "0x1",
            "1.0",
            "+1",
        ]
        self._paths = [
            "../../../../etc/passwd", "/etc/passwd", "../secret.txt", "..%2f..%2fsecret.txt", "good/secret", "\x00",
            "good/lrp\x00", "good/lrp/../../outside/lrp", "good/lrp/../../../outside/lrp", ".", "", "~", "C:\\",
            "good/lrp/", "//good/lrp", "x" * 5000, "\U0001f600", "%",
            "%00", "%ff%fe", "good\\lrp", "escaping/lrp/plugins", "gs://x/y", "escaping", "\r\nSet-Cookie: a=b",
        ]  # fmt: skip

    def request(self, damage: Damage) -> tuple[str, str, str, dict[str, str]]:
        """(method, path, query, headers), path and query percent-encoded or not quite."""
        route = damage.one(ROUTES)
        asked = self._parameters(damage, route)
        for _ in range(damage.below(3)):
            self._harm(damage, asked)
        quote = urllib.parse.quote_plus
        parts = [f"{quote(name)}={quote(value[:100_000], errors='replace')}" for name, value in asked]
        query = damage.one(["&"] * 9 + [";"]).join(parts)[:60_000]  # a server takes no longer ones
        if damage.chance(0.1):
            query = damage.harm(query.encode(), b"%00%ff&&==#?;run=good/lrp").decode("latin-1")
        if damage.chance(0.02):
            query += "&run=a" * damage.one([1000, 9000])
        path = PREFIX + route
        if damage.chance(0.15):
            path = damage.one(
                [
                    PREFIX + damage.one(self._paths), f"/experiment/{damage.below(10**9)}{path}", "/data/plugin/",
                    PREFIX + route + "/", PREFIX + "%2e%2e/" + route, path.upper(), "/" + path, path + "%00",
                    "/data/plugins_listing", "/data/plugin_entry.html", PREFIX + "../../" + route, path + "/../secret",
                    PREFIX + "x" * 70_000, "*", "http://evil.test" + path, "/" * 1000, path + "\u202e",
                ]
            )  # fmt: skip
        method = damage.one(
            ["GET"] * 12 + ["HEAD"] * 2 + ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "get", "X-Y"]
        )
        return method, path, query, self._headers(damage)

    def note(self, damage: Damage, names: Sequence[str] = ()) -> tuple[str, bytes, dict[str, str]]:
        """(method, body, variables of the environment) of a note, most often harmed.

        ``names``: of notes that there are, one of which is to be removed; without, one is to be added.
        """
        asked: dict[str, object] = {"run": damage.one([*self._sessions, *self._runs])}
        asked |= {"name": damage.one(names)} if names else {"text": "seen", "step": damage.one(self._steps)}
        for _ in range(damage.below(2)):
            odd = [
                *self._paths,
                *self._numbers,
                0,
                -1,
                10**30,
                1.5,
                True,
                None,
                [],
                {},
                "x" * 2001,
                "\ud800",
                "\x00",
                " ",
            ]
            asked[damage.one([*asked, "more"])] = damage.one([*odd, "probes.tfrecord", "../" + "".join(names[:1])])
        body = json.dumps(asked).encode()
        if damage.chance(0.2):
            body = damage.one([damage.harm(body), b"[" * 9000, b"", b"null", b'{"run": 1' + b"0" * 5000, body * 900])
        variables = {
            "HTTP_ORIGIN": "http://localhost",
            "HTTP_X_LRP_MONITOR": "note",
            "CONTENT_TYPE": "application/json",
            "CONTENT_LENGTH": str(len(body)),
        }
        if damage.chance(0.4):
            odd_ones = [
                "",
                "http://evil.test",
                "null",
                "1",
                "text/plain",
                "-1",
                "5",
                "9" * 40,
                "1_0",
                "\xb2",
                "cross-site",
            ]
            name = damage.one([*variables, "HTTP_SEC_FETCH_SITE", "HTTP_TRANSFER_ENCODING", "HTTP_HOST"])
            variables[name] = damage.one(odd_ones)
        return damage.one(["POST"] * 9 + ["GET", "PUT", "HEAD"]), body, variables

    def _parameters(self, damage: Damage, route: str) -> list[tuple[str, str]]:
        run = damage.one([*self._sessions, *self._runs])
        session = self._sessions.get(run, "0" * 16)
        step = str(damage.one(self._steps))
        wanted = {
            "run": [("since", step), ("session", session)][: damage.below(3)],
            "probes": [("hash", self._hash)],
            "step": [
                ("step", step),
                ("session", session),
                damage.one([("channels", "1"), ("probes", "0"), ("probes", "1,0"), ("probes", "")]),
            ],
            "film": [
                ("session", session),
                ("probe", "0"),
                ("steps", ",".join(map(str, self._steps))),
                ("channels", "1"),
            ],
            "timeline": [("columns", "sum,logit"), ("probe", "1"), ("since", step)][: damage.below(4)],
            "histogram": [("step", step), ("session", session), ("kind", "weight"), ("name", "a/kernel")],
            "histograms": [("step", step), ("session", session), ("kind", "gradient")],
        }.get(route, [])
        return [("run", run), *wanted]

    def _harm(self, damage: Damage, asked: list[tuple[str, str]]) -> None:
        at = damage.below(len(asked))
        name, value = asked[at]
        act = damage.below(8)
        if act == 0:
            del asked[at]
        elif act == 1:
            asked.append((name, damage.one(self._paths + self._numbers)))
        elif act == 2:
            asked[at] = (name, value[:100] * damage.one([2, 100, 3000]))
        elif act == 3:
            asked.append(
                (
                    damage.one(["column", "columns", "name", "hash", "kind", "x" * 3000, ""]),
                    "a,*,/*," * damage.one([1, 5000]),
                )
            )
        elif act == 4:
            asked[at] = (name, ",".join([value[:40]] * damage.one([2, 512, 513, 9000])))
        else:
            asked[at] = (name, damage.one(self._numbers if damage.chance(0.5) else self._paths))
        asked[:] = [(name, value[:100_000]) for name, value in asked] or [("run", "x")]

    def _headers(self, damage: Damage) -> dict[str, str]:
        headers = {}
        for _ in range(damage.below(4)):
            name, values = damage.one(
                [
                    ("Host", ["", "evil.test", "a" * 9000, "localhost:99999", "[::1", "\x01", "a b", "127.0.0.1:1@x"]),
                    ("Range", ["bytes=0-1", "bytes=-1", "bytes=0-" + "9" * 400, "bytes=" + "0-1," * 2000, "x"]),
                    ("Accept-Encoding", ["gzip", "gzip;q=nan", "identity;q=0, *;q=0", "x" * 9000, "gzip;q=1e999", ","]),
                    ("If-None-Match", ["*", '"x"', "W/", '"' * 5000]),
                    ("If-Modified-Since", ["x", "Thu, 99 Foo 99999 99:99:99 GMT", "0"]),
                    ("Content-Length", ["0", "-1", "9" * 40, "x", "1_0", "5"]),
                    ("Content-Type", ["multipart/form-data; boundary=" + "x" * 3000, "application/json", "\xff"]),
                    ("X-Forwarded-Prefix", ["/../..", "x" * 5000]),
                    # Not JSON that recurses or overflows: TensorBoard's own code fails at that before ours is asked.
                    ("X-TensorBoard-Feature-Flags", ["{", "null", '{"a":1}', "\xff"]),
                    ("Cookie", ["a=b;" * 2000, "\xff=\xfe", "=;;="]),
                    ("Transfer-Encoding", ["identity", "x"]),
                    ("Authorization", ["Basic " + "A" * 4000, "Basic \xff", "Bearer"]),
                    ("Referer", ["http://evil.test", "\xff"]),
                    ("Origin", ["http://evil.test", "null", "http://localhost", "http://127.0.0.1", "", "\xff"]),
                ]
            )  # fmt: skip
            headers[name] = damage.one(values)
        return headers


class RequestFuzz:
    """Requests to the application in this process."""

    def __init__(self, folder: Path) -> None:
        self.logs, sessions = make_site(folder)
        self.board, self.asker = Board(self.logs), Asker(self.logs, sessions)
        self._notes = [open_run(self.logs / run).add_note(0, "stays") for run in sessions]
        self._before = set(self.logs.parent.rglob("note-*"))

    def case(self, damage: Damage, seen: Seen) -> str:
        """One request, whose answer must be one of those there are; returns it as text."""
        if damage.chance(0.1):
            return self._note(damage, seen) if damage.chance(0.5) else self._removal(damage, seen)
        method, path, query, headers = self.asker.request(damage)
        variables = {
            (name if name.startswith("Content-") else "Http-" + name).upper().replace("-", "_"): value
            for name, value in headers.items()
        }
        plain = urllib.parse.unquote(path).encode("utf-8", "replace").decode("latin-1")
        status, body = self.board.get(plain, query.encode("utf-8", "replace").decode("latin-1"), method, **variables)
        check_answer(method, plain, status, body, ANSWERS)
        seen.look(body)
        # TensorBoard gives its list of tabs and its front page whatever the method; ours answer to GET and HEAD alone.
        whose = "" if PREFIX in plain else ", TensorBoard's own"
        seen.attempt(f"{method if method.isupper() else 'odd'} {status}{whose}", lambda: None, ())
        self._ask_alone(method, plain, query, variables, seen)
        return f"{method} {path[:90]}?{query[:200]}"

    def _note(self, damage: Damage, seen: Seen) -> str:
        """A note to `lrp-monitor view`, harmed or not, and the same to TensorBoard, which takes none."""
        method, body, variables = self.asker.note(damage)
        path = PREFIX + "add_note"
        status, answer = self.board.get(path, method=method, alone=True, body=body, **variables)
        seen.look(answer)
        kept = sorted(set(self.logs.parent.rglob("note-*")) - self._before)
        if status not in NOTE_ANSWERS or (status == 200) != (len(kept) == 1):
            raise AssertionError(f"{status}, {len(kept)} notes: {answer[:300]!r}")
        if status == 200:
            own = {"HTTP_ORIGIN": "http://localhost", "HTTP_X_LRP_MONITOR": "note", "CONTENT_TYPE": "application/json"}
            if method != "POST" or {name: variables.get(name) for name in own} != own:
                raise AssertionError(f"{method} with {variables} was answered")
            folder = Path(store_folder(self.logs / json.loads(body)["run"]))
            if kept[0].resolve().parent != folder.resolve() or self.logs.resolve() not in kept[0].resolve().parents:
                raise AssertionError(f"written to {kept[0]}")
            kept[0].unlink()
        seen.attempt(f"note {status}", lambda: None, ())
        status, answer = self.board.get(path, method=method, body=body, **variables)
        check_answer("GET" if method in ("GET", "HEAD") else method, path, status, answer, ANSWERS)
        if set(self.logs.parent.rglob("note-*")) != self._before:
            raise AssertionError(f"TensorBoard has kept a note: {status}")
        return f"note {method} {variables} {body[:200]!r}"

    def _removal(self, damage: Damage, seen: Seen) -> str:
        """A removal of a note by `lrp-monitor view`, harmed or not, and the same by TensorBoard, which removes none."""
        method, body, variables = self.asker.note(damage, [note.name for note in self._notes])
        path = PREFIX + "remove_note"
        before = {file: file.read_bytes() for file in self.logs.parent.rglob("*") if file.is_file()}
        status, answer = self.board.get(path, method=method, body=body, **variables)
        check_answer("GET" if method in ("GET", "HEAD") else method, path, status, answer, ANSWERS)
        if {file for file in self.logs.parent.rglob("*") if file.is_file()} != set(before):
            raise AssertionError(f"TensorBoard has removed a file: {status}")
        status, answer = self.board.get(path, method=method, alone=True, body=body, **variables)
        seen.look(answer)
        gone = [file for file in before if not file.exists()]
        if status not in NOTE_ANSWERS or (status == 200) != (len(gone) == 1):
            raise AssertionError(f"{status}, {len(gone)} files are gone: {answer[:300]!r}")
        for file in gone:
            own = {"HTTP_ORIGIN": "http://localhost", "HTTP_X_LRP_MONITOR": "note", "CONTENT_TYPE": "application/json"}
            if method != "POST" or {name: variables.get(name) for name in own} != own:
                raise AssertionError(f"{method} with {variables} was answered")
            asked = json.loads(body)
            folder = Path(store_folder(self.logs / asked["run"]))
            if file not in self._before or file.resolve().parent != folder.resolve() or file.name != asked["name"]:
                raise AssertionError(f"{file} was removed by {asked}")
            file.write_bytes(before[file])
        seen.attempt(f"removal {status}", lambda: None, ())
        return f"removal {method} {variables} {body[:200]!r}"

    def _ask_alone(self, method: str, path: str, query: str, variables: dict[str, str], seen: Seen) -> None:
        """The same of the server of `lrp-monitor view`, which answers to this machine's names alone."""
        query = query.encode("utf-8", "replace").decode("latin-1")
        status, body = self.board.get(path, query, method, alone=True, **variables)
        check_sender(status, variables.get("HTTP_HOST", "localhost"), variables.get("HTTP_ORIGIN"))
        check_answer(method, path, status, body, ANSWERS | {403})
        seen.look(body)
        seen.attempt(f"alone {method if method.isupper() else 'odd'} {status}", lambda: None, ())


def check_sender(status: int, host: str, origin: str | None) -> None:
    """Raises AssertionError where `lrp-monitor view` answers to a name that is not this machine's, or another page."""
    if status == 403:
        return
    if not re.fullmatch(r"(localhost|127\.0\.0\.1|\[::1\])(:[0-9]*)?", host):
        raise AssertionError(f"{status} to the host {host[:90]!r}")
    if origin is not None and origin != f"http://{host}":
        raise AssertionError(f"{status} to the origin {origin[:90]!r} at {host}")


def check_answer(method: str, path: str, status: int, body: bytes, allowed: set[int]) -> None:
    """Raises AssertionError for an answer that must not be; of our routes, to a method other than GET and HEAD."""
    if status not in allowed:
        raise AssertionError(f"status {status}: {body[:300]!r}")
    if status == 200 and method.upper() not in ("GET", "HEAD") and PREFIX in path:
        raise AssertionError(f"{method} {path[:90]} was answered: {body[:200]!r}")
    if len(body) > LARGEST_ANSWER or (method == "HEAD" and status == 200 and body):
        raise AssertionError(f"{len(body)} bytes in answer to {method}")


class SocketFuzz:
    """Requests as bytes to a TensorBoard of our own on loopback; ``alone``: to `lrp-monitor view` in its place."""

    def __init__(self, folder: Path, *, alone: bool = False) -> None:
        self.logs, sessions = make_site(folder)
        self.asker = Asker(self.logs, sessions)
        self._alone = alone
        command = [sys.executable, "-m", "lrp_monitor.cli", "view", str(self.logs)] if alone else None
        self._board = TensorBoard(self.logs, "--load_fast=false", log=folder / "log.txt", command=command)
        self._port = int(self._board.url.rsplit(":", 1)[1])
        end = time.monotonic() + 120
        asked = b"GET " + PREFIX.encode() + b"runs HTTP/1.0\r\nHost: localhost\r\n\r\n"
        while b'"good/lrp"' not in self._send(asked):
            if time.monotonic() > end:
                raise RuntimeError(f"TensorBoard shows no runs: {self._board.printed}")
            time.sleep(0.3)

    def case(self, damage: Damage, seen: Seen) -> str:
        """One request over a socket of its own."""
        method, path, query, headers = self.asker.request(damage)
        if self._alone:  # which answers to nobody without a name
            headers = {"Host": f"127.0.0.1:{self._port}"} | headers
        target = f"{path}?{query}".encode("utf-8", "replace")
        if damage.chance(0.95):
            target = re.sub(rb"[\x00-\x20]", b"%20", target)
        version = damage.one([b"HTTP/1.1"] * 8 + [b"HTTP/1.0", b"HTTP/9.9", b"HTP", b""])
        lines = [method.encode() + b" " + target + b" " + version, b"Connection: close"]
        lines += [name.encode() + b": " + value.encode("utf-8", "replace") for name, value in headers.items()]
        if damage.chance(0.02):
            lines += [b"X-%d: y" % i for i in range(damage.one([50, 500]))]
        data = b"\r\n".join(lines) + b"\r\n\r\n"
        if harmed := damage.chance(0.05):
            data = damage.harm(data)
        answer = self._send(data)
        found = re.match(rb"HTTP/[0-9.]+ (\d+)", answer)
        status = int(found[1]) if found else 0
        if found:
            body = answer.partition(b"\r\n\r\n")[2]
            try:
                allowed = SERVER_ANSWERS | ({403} if self._alone else set())
                check_answer("GET" if harmed else method, urllib.parse.unquote(path), status, body, allowed)
                if self._alone and status == 200 and not harmed:
                    check_sender(status, headers["Host"], headers.get("Origin"))
            except AssertionError as error:
                raise AssertionError(f"{error}\n{self._board.printed[-2000:]}") from None
        seen.look(answer)
        if self._board.process.poll() is not None:
            raise AssertionError(f"TensorBoard ended: {self._board.printed[-3000:]}")
        seen.attempt(f"socket {status or 'closed'}", lambda: None, ())
        return repr(data[:300])

    def _send(self, data: bytes) -> bytes:
        parts: list[bytes] = []
        with socket.create_connection(("127.0.0.1", self._port), timeout=30) as connection:
            try:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                while part := connection.recv(1 << 16):
                    parts.append(part)
                    if sum(map(len, parts)) > LARGEST_ANSWER * 2:
                        raise AssertionError("an answer without end")
            except TimeoutError:
                raise
            except OSError:
                pass  # closed by the server before it had read all, or after
        return b"".join(parts)

    def peak(self) -> int:
        """Peak resident memory of that process, MiB."""
        text = Path(f"/proc/{self._board.process.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", text)
        return int(found[1]) >> 10 if found else 0

    def close(self) -> None:
        """Ends it."""
        self._board.stop()
        trouble = re.findall(r"Traceback[\s\S]{0,2000}", self._board.printed)
        if trouble:
            raise AssertionError(f"{len(trouble)} tracebacks in TensorBoard's log, the first:\n{trouble[0]}")
