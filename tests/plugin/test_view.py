"""`lrp-monitor view`: the routes without TensorBoard, to requests from this machine and its own page alone."""

from __future__ import annotations

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

from lrp_monitor.plugin.found import FoundRuns

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
