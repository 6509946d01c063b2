"""`lrp-monitor view`: the routes without TensorBoard, to requests from this machine and its own page alone."""

from __future__ import annotations

import errno
import json
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from plugin_helpers import PREFIX, Answer, Server, make_probes, write_run
from werkzeug.test import Client

from lrp_monitor.plugin import writing
from lrp_monitor.plugin.found_runs import FoundRuns
from lrp_monitor.plugin.server import Site
from lrp_monitor.store import storage
from lrp_monitor.store.folders import store_folder
from lrp_monitor.store.reader import open_run

COMMAND = [sys.executable, "-m", "lrp_monitor.cli", "view"]
# Shells have what they start in the background ignore Ctrl+C, and so does whatever that starts.
_START = """import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from lrp_monitor.cli.main import main
sys.exit(main())"""
STARTED = [sys.executable, "-c", _START, "view"]


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs, one of them in the folder itself, and a link that leads to one outside."""
    folder = tmp_path_factory.mktemp("view")
    write_run(folder / "logs", [0, 1])
    write_run(folder / "logs" / "deep" / "down", [0, 1, 2])
    write_run(folder / "outside", [0])
    (folder / "logs" / "link").symlink_to(folder / "outside")
    (folder / "logs" / "planted" / "lrp").mkdir(parents=True)
    (folder / "logs" / "planted" / "lrp" / "plugins").symlink_to(folder / "outside" / "lrp" / "plugins")
    return folder / "logs"


@pytest.fixture(scope="module")
def server(logs: Path) -> Iterator[Server]:
    """The command as a user starts it; it must end by Ctrl+C without a word of error."""
    with subprocess.Popen([*STARTED, str(logs)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.match(r"(http://127\.0\.0\.1:\d+/) ", line)
            assert found, line
            yield Server(found[1])
            process.send_signal(signal.SIGINT)
            _, trouble = process.communicate(timeout=30)
        finally:
            process.kill()  # where it has not ended by itself
    assert (process.returncode, trouble) == (0, "")


def ask(server: Server, path: str, **headers: str) -> Answer:
    request = urllib.request.Request(server.url + path, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return Answer(response.status, dict(response.headers), response.read())
    except urllib.error.HTTPError as error:
        return Answer(error.code, dict(error.headers), error.read())


def test_the_page_and_its_routes(server: Server) -> None:
    page = server.at("")
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "default-src 'none'; script-src 'self';" in page.headers["Content-Security-Policy"]
    assert 'src="start.js"' in page.text
    assert "index.js" in server.get("start.js").text
    assert "render" in server.get("index.js").text
    assert server.at("data/runs").json == ["deep/down/lrp", "lrp", "planted/lrp"]
    runs = {run["run"]: run for run in server.get("runs").json["runs"]}
    assert {name: run["steps"] for name, run in runs.items()} == {"lrp": 2, "deep/down/lrp": 3, "planted/lrp": 0}
    assert "leads outside the log directory" in runs["planted/lrp"]["error"]
    assert server.get("run", run="deep/down/lrp").json["probes"]["hash"] == make_probes().hash
    found = server.get("probes", run="lrp", hash=make_probes().hash)
    assert "immutable" in found.headers["Cache-Control"]
    assert found.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("nothing", "GET", 404),
        (PREFIX + "../../x", "GET", 404),
        (PREFIX + "step", "GET", 400),
        (PREFIX + "run?run=link/lrp", "GET", 404),
        (PREFIX + "run?run=planted/lrp", "GET", 404),
        ("", "POST", 405),
        (PREFIX + "runs", "POST", 405),
        (PREFIX + "start.js", "PUT", 405),
    ],
)
def test_refusals_are_words(server: Server, path: str, method: str, status: int) -> None:
    answer = server.at(path, method)
    assert answer.status == status
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert answer.text.strip()


def test_other_hosts_and_other_pages_are_refused(server: Server) -> None:
    own = server.url.removeprefix("http://").rstrip("/")
    port = own.rpartition(":")[2]
    for host in (
        "evil.test",
        f"evil.test:{port}",
        "127.0.0.1.evil.test",
        f"127.0.0.1@evil.test:{port}",
        "127.0.0.1:x",
        "::1",
    ):
        assert ask(server, PREFIX + "runs", Host=host).status == 403, host
    for host in (f"localhost:{port}", f"LOCALHOST:{port}", f"[::1]:{port}", "127.0.0.1"):
        assert ask(server, PREFIX + "runs", Host=host).status == 200, host
    assert ask(server, PREFIX + "runs", Origin=f"http://{own}").status == 200
    for origin in ("http://evil.test", f"https://{own}", "null", f"http://localhost:{port}", "http://127.0.0.1:1"):
        assert ask(server, PREFIX + "runs", Origin=origin).status == 403, origin


def test_wrong_arguments_are_reported_in_a_line(logs: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for arguments, words in (
            ([str(logs / "no folder")], "no such folder"),
            ([str(logs), "--port", "70000"], "from 1 to 65535"),
            ([str(logs), "--port", port], "in use"),
        ):
            done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode == 1
            assert words in done.stderr
            assert done.stderr.count("\n") == 1


def test_neither_framework_is_loaded(logs: Path) -> None:
    code = (
        "import sys; from lrp_monitor.plugin.server import Site; "
        f"site = Site({str(logs)!r}); print([m for m in ('tensorflow', 'keras', 'torch', 'jax') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_runs_are_found_like_tensorboard_names_them(logs: Path) -> None:
    assert FoundRuns(str(logs / "deep" / "down" / "lrp")).list_tensors() == ["."]
    assert FoundRuns(str(logs / "nothing")).list_tensors() == []


ADD, REMOVE = PREFIX + "add_note", PREFIX + "remove_note"


def send(server: Server, body: bytes | str, route: str = ADD, **headers: str | None) -> Answer:
    """A request about a note as the page sends it; ``headers``: others in their place, None: without."""
    own = server.url.rstrip("/")
    given = {
        "Origin": own,
        "X-LRP-Monitor": "note",
        "Content-Type": "application/json",
        "Sec-Fetch-Site": "same-origin",
    }
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    data = body.encode() if isinstance(body, str) else body
    sent = {name: value for name, value in given.items() if value is not None}
    request = urllib.request.Request(server.url + route, data=data, headers=sent)
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return Answer(response.status, dict(response.headers), response.read())
    except urllib.error.HTTPError as error:
        return Answer(error.code, dict(error.headers), error.read())


def added(run: str = "deep/down/lrp", step: object = 1, text: object = "seen") -> str:
    return json.dumps({"run": run, "step": step, "text": text})


def removed(name: object, run: str = "deep/down/lrp") -> str:
    return json.dumps({"run": run, "name": name})


def test_a_note_of_the_page_is_kept_in_the_runs_folder(server: Server, logs: Path) -> None:
    text = "the stamp wins <b>here</b> \u2603"
    answer = send(server, added(text=text))
    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "no-store"
    kept = [note.to_dict() for note in open_run(logs / "deep" / "down").notes()]
    assert [(note["step"], note["text"]) for note in kept] == [(1, text)]
    assert answer.json["note"] == kept[0]
    assert server.get("notes", run="deep/down/lrp").json["notes"] == kept
    assert 'name="lrp-notes"' in server.at("").text


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (403, added(), {"Origin": None}),
        (403, added(), {"Origin": "http://evil.test"}),
        (403, added(), {"Origin": "null"}),
        (403, added(), {"Host": "evil.test"}),
        (403, added(), {"Sec_Fetch_Site": "cross-site"}),
        (403, added(), {"X_LRP_Monitor": None}),
        (403, added(), {"X_LRP_Monitor": "1"}),
        (415, added(), {"Content_Type": "text/plain"}),
        (415, added(), {"Content_Type": "application/x-www-form-urlencoded"}),
        (411, added(), {"Content_Length": "-1"}),
        (411, added(), {"Content_Length": "1_0"}),
        (411, added(), {"Transfer_Encoding": "chunked"}),
        (413, added(text="x" * 20_000), {}),
        (400, added(text="x" * 2_001), {}),
        (400, added(text="  "), {}),
        (400, added(text="\ud800"), {}),
        (400, added(text=3), {}),
        (400, added(step=True), {}),
        (400, added(step="1"), {}),
        (400, added(step=1.0), {}),
        (400, "[1]", {}),
        (400, "{", {}),
        (400, "[" * 9_000, {}),
        (400, b"\xff", {}),
        (400, added()[:-1] + ', "more": 1}', {}),
        (400, '{"run": "lrp", "step": ' + "9" * 6_000 + ', "text": "x"}', {}),
        (404, added(step=7), {}),
        (404, added(step=-1), {}),
        (404, added(step=10**30), {}),
        (404, added(run="no such run"), {}),
        (404, added(run="\ud800"), {}),
        (404, added(run="link/lrp"), {}),
        (404, added(run="planted/lrp"), {}),
        (404, added(run="../outside/lrp"), {}),
    ],
)
def test_no_other_note_is_taken(server: Server, logs: Path, status: int, body: str | bytes, headers: dict) -> None:
    before = sorted(logs.parent.rglob("note-*"))
    answer = send(server, body, **headers)
    assert answer.status == status, answer.text
    assert answer.text.strip()
    assert sorted(logs.parent.rglob("note-*")) == before


def files_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_note_is_removed_and_nothing_else(server: Server, logs: Path) -> None:
    run = open_run(logs / "deep" / "down")
    first, second = run.add_note(1, "first"), run.add_note(2, "second")
    before = files_of(logs)
    listed = {one["run"]: one["annotations"] for one in server.get("runs").json["runs"]}
    answer = send(server, removed(first.name), REMOVE)
    assert (answer.status, answer.json) == (200, {"removed": first.name})
    assert answer.headers["Cache-Control"] == "no-store"
    after = files_of(logs)
    assert {path.name for path in before.keys() - after.keys()} == {first.name}
    assert after == {path: content for path, content in before.items() if path in after}
    # The list tells that the notes of this run are others now.
    relisted = {one["run"]: one["annotations"] for one in server.get("runs").json["runs"]}
    assert {name for name in listed if listed[name] != relisted[name]} == {"deep/down/lrp"}
    assert send(server, removed(first.name), REMOVE).status == 404
    # A note that was there while its run was read, and between two lists alone, may have been answered: they differ.
    third = run.add_note(1, "third")
    assert third.name in [note["name"] for note in server.get("notes?run=deep%2Fdown%2Flrp").json["notes"]]
    run.remove_note(third.name)
    again = {one["run"]: one["annotations"] for one in server.get("runs").json["runs"]}
    assert {name for name in listed if again[name] != relisted[name]} == {"deep/down/lrp"}
    run.remove_note(second.name)


@pytest.mark.parametrize(
    ("status", "name", "headers"),
    [
        (403, "NAME", {"Origin": None}),
        (403, "NAME", {"Origin": "http://evil.test"}),
        (403, "NAME", {"Origin": "null"}),
        (403, "NAME", {"Host": "evil.test"}),
        (403, "NAME", {"Sec_Fetch_Site": "cross-site"}),
        (403, "NAME", {"X_LRP_Monitor": None}),
        (415, "NAME", {"Content_Type": "text/plain"}),
        (411, "NAME", {"Content_Length": "-1"}),
        (413, "x" * 20_000, {}),
        (400, 3, {}),
        (400, None, {}),
        (400, ["NAME"], {}),
        (404, "", {}),
        (404, "note-1.json", {}),
        (404, "probes.tfrecord", {}),
        (404, "SEGMENT", {}),
        (404, "../lrp_monitor/NAME", {}),
        (404, "NAME\n", {}),
        (404, "NAME\u0000", {}),
        (404, "\ud800", {}),
        (404, "OTHER", {}),
        (404, "FOLDER", {}),
    ],
)
def test_nothing_else_is_removed(server: Server, logs: Path, status: int, name: object, headers: dict) -> None:
    run, other = open_run(logs / "deep" / "down"), open_run(logs)
    note, foreign = run.add_note(1, "stays"), other.add_note(1, "another run's")
    store = Path(run.path)
    folder = store / "note-1111111111111111111-00000000.json"
    folder.mkdir(exist_ok=True)
    segment = next(path.name for path in store.iterdir() if path.name.startswith("steps-"))
    stands = {"NAME": note.name, "SEGMENT": segment, "OTHER": foreign.name, "FOLDER": folder.name}
    if isinstance(name, str):
        for word, meant in stands.items():
            name = name.replace(word, meant)
    before = files_of(logs)
    answer = send(server, removed(name), REMOVE, **headers)
    assert answer.status == status, answer.text
    assert answer.text.strip()
    assert files_of(logs) == before
    assert folder.is_dir()
    run.remove_note(note.name)
    other.remove_note(foreign.name)


def test_notes_of_runs_that_are_not_listed_stay(server: Server, logs: Path) -> None:
    run = open_run(logs.parent / "outside")
    note = run.add_note(0, "outside")
    for name in ("no such run", "link/lrp", "planted/lrp", "../outside/lrp", "\ud800"):
        assert send(server, removed(note.name, name), REMOVE).status == 404
    more = removed(note.name)[:-1] + ', "more": 1}'
    assert send(server, more, REMOVE).status == 400
    assert [one.name for one in run.notes()] == [note.name]
    run.remove_note(note.name)


def test_other_methods_and_a_server_that_only_reads(server: Server, logs: Path) -> None:
    for route in (ADD, REMOVE):
        for method in ("GET", "PUT", "DELETE", "OPTIONS"):
            answer = server.at(route, method)
            assert (answer.status, answer.headers["Allow"]) == (405, "POST")
    site = Client(Site(str(logs), writes=False))
    assert b"lrp-notes" not in site.get("/", headers={"Host": "localhost"}).data
    own = {"Host": "localhost", "Origin": "http://localhost", "X-LRP-Monitor": "note"}
    run = open_run(logs / "deep" / "down")
    note = run.add_note(1, "stays")
    assert site.post("/" + ADD, json=json.loads(added()), headers=own).status_code == 404
    assert site.post("/" + REMOVE, json=json.loads(removed(note.name)), headers=own).status_code == 404
    assert note.name in [one.name for one in run.notes()]
    run.remove_note(note.name)


def test_a_folder_that_takes_no_more_notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path / "a", [0])
    site = Client(Site(str(tmp_path)))
    own = {"Host": "localhost", "Origin": "http://localhost", "X-LRP-Monitor": "note"}
    body = {"run": "a/lrp", "step": 0, "text": "x"}
    store = Path(store_folder(tmp_path / "a" / "lrp"))
    monkeypatch.setattr(writing, "MOST_NOTES", 1)
    assert site.post("/" + ADD, json=body, headers=own).status_code == 200
    full = site.post("/" + ADD, json=body, headers=own)
    assert (full.status_code, full.text) == (409, "the run has 1 notes, and no more are read")
    for path in store.glob("note-*"):
        path.unlink()
    files = {path.name for path in store.iterdir()}
    with monkeypatch.context() as patched:  # root may write to any folder: the system's refusal, without one
        patched.setattr(storage, "write_whole", refuse)
        answer = site.post("/" + ADD, json=body, headers=own)
    assert (answer.status_code, "cannot be written" in answer.text) == (409, True)
    assert {path.name for path in store.iterdir()} == files
    name = open_run(tmp_path / "a").add_note(0, "stays").name
    with monkeypatch.context() as patched:
        patched.setattr(storage.os, "unlink", refuse)
        answer = site.post("/" + REMOVE, json={"run": "a/lrp", "name": name}, headers=own)
    assert (answer.status_code, "cannot be removed" in answer.text) == (409, True)
    assert {path.name for path in store.iterdir()} == {*files, name}


def refuse(path: str, data: bytes = b"") -> None:
    raise PermissionError(errno.EACCES, "Permission denied", path)
