"""The monitor, the reader, the commands and TensorBoard on a real S3-compatible server."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import s3fs
from monitor_helpers import epochs_of, fit, make_model, monitor, places
from s3_helpers import s3_server
from store_samples import make_probes
from tensorboard_process import LOOPBACK, TensorBoard

from lrp_monitor.cli import main
from lrp_monitor.plugin.wire import step_answer
from lrp_monitor.store.format import StoreError, StoreOSError
from lrp_monitor.store.reader import open_run
from lrp_monitor.store.writer import RunWriter

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def s3() -> Iterator[s3fs.S3FileSystem]:
    with s3_server() as files:
        yield files


@pytest.mark.slow  # by default on a store of objects in memory, test_monitor_objects.py; below of a fit that is killed
def test_a_fit_and_its_resumption_are_as_on_a_disk(s3: s3fs.S3FileSystem, tmp_path: Path, capsys) -> None:
    url = "s3://bucket/resumed"
    for folder in (url, tmp_path):
        model = make_model()
        fit(model, monitor(folder), epochs=2)
        fit(model, monitor(folder), epochs=4, initial_epoch=2)
    assert places(url) == places(tmp_path) == epochs_of(*range(5))
    here, there = open_run(url), open_run(tmp_path)
    for step in here.steps:
        np.testing.assert_array_equal(here.heatmaps(step), there.heatmaps(step))
    assert here.scalar("weights/norm")[1].tolist() == there.scalar("weights/norm")[1].tolist()

    assert main(["show", url, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["steps"] == [0, 1, 2, 3, 4]
    assert shown["bytes"] == s3.du(f"{url}/lrp/plugins/lrp_monitor")
    assert main(["export", url, "--steps", "all", "-o", str(tmp_path / "film.npz")]) == 0
    assert np.load(tmp_path / "film.npz")["maps"].shape == (6, 5, 8, 8)
    assert main(["compare", f"{url}@4", f"{tmp_path}@4"]) == 0

    s3.get(url, str(tmp_path / "copy"), recursive=True)
    assert places(tmp_path / "copy") == epochs_of(*range(5))


def test_every_step_reported_before_a_kill_is_there_and_the_fit_resumes(s3: s3fs.S3FileSystem) -> None:
    url = "s3://bucket/killed"
    child = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("s3_child.py")), url], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    logged = [int(child.stdout.readline()) for _ in range(4)]
    time.sleep(0.03)  # somewhere between two puts, or in one
    child.send_signal(signal.SIGKILL)
    logged += [int(line) for line in child.stdout.read().split()]
    assert child.wait(20) == -signal.SIGKILL
    steps = open_run(url).steps
    assert open_run(url).verify() == []
    assert steps == list(range(len(steps)))
    assert steps[-1] >= logged[-1]
    last = steps[-1]
    # The weights went with the process: what is trained from here on is another model, which goes on in the run.
    fit(make_model(), monitor(url, on_other_model="continue"), epochs=last + 2, initial_epoch=last)
    assert open_run(url).steps == list(range(last + 3))


def test_what_cannot_be_reached_is_reported_before_training(s3: s3fs.S3FileSystem, monkeypatch, capsys) -> None:
    with pytest.raises(StoreOSError, match=r"s3://missing/run.*cannot be written.*bucket does not exist"):
        fit(make_model(), monitor("s3://missing/run"), epochs=1)
    with pytest.raises(StoreError, match=r"s3://bucket/nothing: no run of lrp_monitor here"):
        open_run("s3://bucket/nothing")
    assert main(["show", "s3://bucket/nothing"]) == 1
    assert "no run of lrp_monitor here" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    with pytest.raises(StoreError, match=r"s3://bucket/run.*[Ii]nstall s3fs"):
        RunWriter("s3://bucket/run/lrp", make_probes(), meta={})


class Shown:
    """What `lrp-monitor tensorboard` serves."""

    def __init__(self, url: str) -> None:
        self._url = url

    def get(self, route: str, **parameters: Any) -> bytes:
        query = "?" + urllib.parse.urlencode(parameters) if parameters else ""
        with urllib.request.urlopen(f"{self._url}data/plugin/{route}{query}", timeout=30) as response:
            return response.read()

    def wait_for(self, steps: int) -> dict[str, Any]:
        end = time.monotonic() + 40
        while time.monotonic() < end:
            runs = json.loads(self.get("lrp_monitor/runs"))["runs"]
            scalars = json.loads(self.get("scalars/tags"))
            if runs and runs[0]["steps"] == steps and "run/lrp" in scalars:
                shown = json.loads(self.get("scalars/scalars", run="run/lrp", tag="weights/norm"))
                if len(shown) == steps:
                    return runs[0]
            time.sleep(0.3)
        raise AssertionError(f"not {steps} steps after 40 s: {runs}")


@pytest.fixture
def shown(s3: s3fs.S3FileSystem, tmp_path: Path) -> Iterator[Shown]:
    command = [sys.executable, "-m", "lrp_monitor.cli", "tensorboard", "s3://bucket/shown", "--", *LOOPBACK]
    tensorboard = TensorBoard("", log=tmp_path / "log.txt", command=command)
    yield Shown(tensorboard.url + "/")
    tensorboard.stop()


def test_tensorboard_shows_a_run_and_what_is_added_to_it(shown: Shown) -> None:
    url = "s3://bucket/shown/run"
    model = make_model()
    fit(model, monitor(url), epochs=2)
    first = shown.wait_for(3)
    assert (first["run"], first["name"], first["last_step"]) == ("run/lrp", "run", 2)
    run = open_run(url)
    body = shown.get("lrp_monitor/step", run="run/lrp", step=1, session=run.session)
    assert body == step_answer(run, 1)
    fit(model, monitor(url), epochs=4, initial_epoch=2)
    assert shown.wait_for(5)["problems"] == []
    timeline = json.loads(shown.get("lrp_monitor/timeline", run="run/lrp"))
    assert timeline["steps"] == [0, 1, 2, 3, 4]
