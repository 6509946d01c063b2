"""Run names to folders: --logdir_spec, a log directory that is the run itself, and ways out of it."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from plugin_helpers import Start, make_probes, make_record, write_run
from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
from tensorboard.plugins.base_plugin import TBContext
from werkzeug.test import Client

from lrp_monitor.plugin.app import LRPPlugin
from lrp_monitor.plugin.loader import LRPLoader
from lrp_monitor.plugin.runs import Folders, Readers, parse_logdir_spec
from lrp_monitor.store.format import StoreError
from lrp_monitor.store.writer import RunWriter


@pytest.mark.process
def test_logdir_spec_with_named_and_unnamed_parts(start: Start, tmp_path: Path) -> None:
    sessions = {name: write_run(tmp_path / name, [0, 1]) for name in ("a", "b", "c/deep", "second model")}
    (tmp_path / "second model" / "lrp").rename(tmp_path / "c" / "deep" / "lrp-2")
    spec = f"first:{tmp_path}/a,second:{tmp_path}/b/lrp,{tmp_path}/c"
    server = start(f"--logdir_spec={spec}")
    runs = {run["run"]: run for run in server.wait_for_runs(4)}
    assert {name: run["session"] for name, run in runs.items()} == {
        "first/lrp": sessions["a"],
        "second/.": sessions["b"],
        "deep/lrp": sessions["c/deep"],
        "deep/lrp-2": sessions["second model"],
    }
    assert [run["name"] for run in runs.values()] == ["deep", "deep-2", "first", "second"]
    for name, run in runs.items():
        assert server.get("step", run=name, step=1, session=run["session"]).status == 200
    assert server.at("data/plugins_listing").json["lrp_monitor"]["enabled"] is True


@pytest.mark.process
def test_the_log_directory_may_be_the_run_itself(start: Start, tmp_path: Path) -> None:
    session = write_run(tmp_path / "a", [0])
    server = start(f"--logdir={tmp_path}/a/lrp")
    (run,) = server.wait_for_runs(1)
    assert (run["run"], run["session"]) == (".", session)
    assert server.get("step", run=".", step=0, session=session).status == 200
    assert run["name"] == "a"


@pytest.mark.process
def test_links_inside_are_followed_and_links_out_are_refused(start: Start, tmp_path: Path) -> None:
    logs, elsewhere = tmp_path / "logs", tmp_path / "elsewhere"
    session = write_run(logs / "real", [0])
    secret = write_run(elsewhere / "secret", [0])
    (logs / "inside").symlink_to(logs / "real")
    (logs / "outside").symlink_to(elsewhere / "secret")
    store = Path("lrp/plugins/lrp_monitor")
    write_run(logs / "files", [0])
    for path in (logs / "files" / store).iterdir():
        path.unlink()
    for path in (elsewhere / "secret" / store).iterdir():
        (logs / "files" / store / path.name).symlink_to(path)
    server = start(f"--logdir={logs}")
    runs = {run["name"]: run for run in server.wait_for_runs(4)}
    assert runs["inside"]["session"] == runs["real"]["session"] == session
    for name, words in (("outside", "leads outside the log directory"), ("files", "leads outside")):
        assert words in runs[name]["error"]
        assert runs[name]["session"] is None
        for route, parameters in (("run", {}), ("step", {"step": 0, "session": secret})):
            answer = server.get(route, run=f"{name}/lrp", **parameters)
            assert (answer.status, words in answer.text) == (404, True)
    assert f"--logdir_spec NAME:{elsewhere}/secret/lrp" in runs["outside"]["error"]


def served(multiplexer: plugin_event_multiplexer.EventMultiplexer, logdir: Path) -> tuple[LRPPlugin, dict]:
    """The plugin on TensorBoard's own Python data provider, without a server."""
    provider = data_provider.MultiplexerDataProvider(multiplexer, str(logdir))
    plugin = LRPLoader().load(TBContext(data_provider=provider, logdir=str(logdir)))
    return plugin, {path: Client(app) for path, app in plugin.get_plugin_apps().items()}


def test_a_listed_name_that_climbs_out_is_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "outside", [0])
    (tmp_path / "logs").mkdir()
    multiplexer = plugin_event_multiplexer.EventMultiplexer()
    names = ("../outside/lrp", str(tmp_path / "outside" / "lrp"))
    for name in names:
        multiplexer.AddRun(str(tmp_path / "outside" / "lrp"), name)
    multiplexer.Reload()
    plugin, clients = served(multiplexer, tmp_path / "logs")
    assert plugin.is_active()
    found = clients["/runs"].get("/runs").json["runs"]
    assert sorted(run["run"] for run in found) == sorted(names)
    for run in found:
        assert "leads outside the log directory" in run["error"]


def test_without_runs_the_tab_is_not_active(tmp_path: Path) -> None:
    multiplexer = plugin_event_multiplexer.EventMultiplexer()
    multiplexer.Reload()
    plugin, clients = served(multiplexer, tmp_path)
    assert plugin.is_active() is False
    assert clients["/runs"].get("/runs").json["runs"] == []
    alone = LRPPlugin(TBContext())
    assert alone.is_active() is False
    assert alone.frontend_metadata().es_module_path == "/index.js"
    assert alone.frontend_metadata().tab_name == "LRP"


def test_many_threads_share_one_reader(tmp_path: Path) -> None:
    session = write_run(tmp_path / "a", list(range(12)))
    multiplexer = plugin_event_multiplexer.EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(tmp_path))
    multiplexer.Reload()
    _, clients = served(multiplexer, tmp_path)

    def ask(number: int) -> tuple[int, bytes]:
        step = number % 12
        if number % 3 == 0:
            return step, clients["/timeline"].get("/timeline", query_string={"run": "a/lrp"}).data
        query = {"run": "a/lrp", "step": step, "session": session}
        return step, clients["/step"].get("/step", query_string=query).data

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(120)))
    for number, (step, body) in enumerate(answers):
        if number % 3:
            assert body == ask(number)[1]
            assert f'"step":{step},'.encode() in body
        else:
            assert np.frombuffer(body, np.uint8).size == len(answers[0][1])


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("/a/b", [(None, "/a/b")]),
        ("x:/a/b", [("x", "/a/b")]),
        ("x:/a/b,y:/c,/d:e/f", [("x", "/a/b"), ("y", "/c"), (None, "/d:e/f")]),
        ("x:/a:b", [("x", "/a:b")]),
        ("gs://bucket/a,x:gs://bucket/b", [(None, "gs://bucket/a"), ("x", "gs://bucket/b")]),
        ("x:/a,y:/a", [("y", "/a")]),
    ],
)
def test_logdir_spec_is_read_as_tensorboard_reads_it(spec: str, expected: list[tuple[str | None, str]]) -> None:
    from tensorboard.backend.event_processing.data_ingester import _parse_event_files_spec

    assert parse_logdir_spec(spec) == expected
    assert {path: name for name, path in expected} == _parse_event_files_spec(spec)


def test_folders_that_are_not_named_are_refused(tmp_path: Path) -> None:
    assert Folders(None, "x:gs://bucket/a").locate("x/lrp") == ("gs://bucket/a/lrp", "gs://bucket/a")
    with pytest.raises(StoreError, match="below none of the log directories"):
        Folders(None, f"x:{tmp_path}").locate("y/lrp")
    with pytest.raises(StoreError, match="below none of the log directories"):
        Folders(None, None).locate("y/lrp")


@pytest.mark.parametrize(
    ("base", "run", "name"),
    [
        ("logs", "planted/lrp", "planted"),
        ("logs", "a/b/lrp", "a/b"),
        ("logs", "a/b/lrp-2", "a/b-2"),
        ("logs/planted", "lrp-2", "planted-2"),
        ("logs/planted/lrp-3", ".", "planted-3"),
        ("logs", "plain", "plain"),
        ("logs/planted", "lrp", "planted"),
        ("logs/planted/lrp", ".", "planted"),
        ("logs/planted", ".", "planted"),
    ],
)
def test_runs_are_called_by_the_folder_that_a_person_named(tmp_path: Path, base: str, run: str, name: str) -> None:
    assert Folders(str(tmp_path / base), None).display_name(run) == name


@pytest.mark.process
@pytest.mark.parametrize("module", ["lrp_monitor.plugin.loader", "lrp_monitor.plugin.app"])
def test_the_plugin_imports_neither_tensorflow_nor_keras(module: str) -> None:
    code = (
        f"import sys, {module}; names = {{m.split('.')[0] for m in sys.modules}}; "
        "print(sorted(names & {'tensorflow', 'keras', 'jax', 'torch'}), "
        f"{module.endswith('app')} or 'numpy' not in names)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split("\n")[0] == "[] True"


def test_the_entry_point_names_the_loader() -> None:
    from importlib.metadata import entry_points

    (entry,) = [e for e in entry_points(group="tensorboard_plugins") if e.name == "lrp_monitor"]
    assert entry.load() is LRPLoader
    assert make_probes().hash  # the runs above are of this one probe set


@pytest.mark.process
def test_a_bare_checkout_serves_the_bundle_of_its_source_folder(tmp_path: Path) -> None:
    import shutil

    import lrp_monitor

    root = Path(lrp_monitor.__file__).parents[1]
    shutil.copytree(root / "lrp_monitor", tmp_path / "lrp_monitor")
    (tmp_path / "plugin_assets" / "dist").mkdir(parents=True)
    (tmp_path / "plugin_assets" / "dist" / "index.js").write_text("export {};")
    code = (
        "import sys; sys.meta_path = [f for f in sys.meta_path if 'editable' not in str(f).lower()]; "
        "from lrp_monitor.plugin.app import assets; print((assets() / 'index.js').resolve())"
    )
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert found.stdout.strip() == str((tmp_path / "plugin_assets/dist/index.js").resolve())


def test_headers_are_read_ahead_once_and_a_broken_run_stops_nothing(tmp_path: Path) -> None:
    write_run(tmp_path / "a", [0, 1, 2])
    write_run(tmp_path / "c", [0, 4])
    readers = Readers(Folders(str(tmp_path), None))
    for _ in range(2):
        readers.warm(["a/lrp", "b/lrp", "c/lrp"])
    end = time.monotonic() + 20
    while time.monotonic() < end and any(t.name == "lrp_monitor" for t in threading.enumerate()):
        time.sleep(0.02)
    assert [len(readers.reader(name)._headers) for name in ("a/lrp", "c/lrp")] == [3, 2]
    assert readers.reader("a/lrp") is readers.reader("a/lrp")


def test_runs_of_the_same_probes_share_them(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_run(tmp_path / name, [0])
    other = replace(make_probes(), masks={"stamp": ~make_probes().masks["stamp"]})  # of the same hash
    with RunWriter(tmp_path / "c" / "lrp", other, meta={}) as writer:
        writer.append(make_record(0))
    readers = Readers(Folders(str(tmp_path), None))
    a, b, c = (readers.reader(f"{name}/lrp").probes for name in "abc")
    assert a is b
    assert c.hash == a.hash
    np.testing.assert_array_equal(c.masks["stamp"], ~a.masks["stamp"])
