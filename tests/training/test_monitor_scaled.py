"""Fits on several replicas and in several processes: one run, the gradients of the joined batch, no deadlock."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forked import Forked
from monitor_helpers import places

from lrp_monitor.store.reader import Run, open_run

pytestmark = pytest.mark.process

BATCHES = 4  # an epoch: 64 samples in batches of 16
CHILD = """
import runpy, signal, sys
signal.alarm(240)  # workers that wait for one another would never end
sys.argv = ["scaled_child", {given!r}]
runpy.run_path({program!r}, run_name="__main__")
"""


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


def trained(
    forked: Forked, kind: str, folder: Path, slow: float = 0.0, fail: bool = False, **options: Any
) -> list[dict[str, Any]]:
    """What each worker of a fit of three epochs reports: its weights and warnings, and what it printed."""
    count = 2 if kind == "workers" else 1
    watched = None if options.pop("unwatched", False) else options
    given = {"kind": kind, "ports": free_ports(2), "options": watched, "epochs": options.pop("epochs", 3), "fail": fail}
    processes = []
    for task in range(count):
        own = {"task": task, "folder": str(folder if task == 0 else f"{folder}-other"), "slow": slow * task}
        program = str(Path(__file__).with_name("scaled_child.py"))
        processes.append(forked.start(CHILD.format(given=json.dumps(given | own), program=program)))
    found = []
    for ended in [process.ended() for process in processes]:
        assert ended.returncode == 0, ended.stderr[-3000:]
        line = next(line for line in ended.stdout.splitlines() if line.startswith("RESULT"))
        found.append({**json.loads(line.removeprefix("RESULT")), "printed": ended.stdout})
    return found


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, forked: Forked) -> tuple[Run, list[Any]]:
    """The same fit in one process on the whole batch."""
    folder = tmp_path_factory.mktemp("alone")
    [result] = trained(forked, "alone", folder)
    return open_run(folder), result["weights"]


def same_run(run: Run, other: Run) -> None:
    assert run.steps == other.steps == [0, 1, 2, 3]
    for step in run.steps:
        assert run.tensors(step) == other.tensors(step)
        ours, theirs = run.record(step), other.record(step)
        assert ours.gradient_batch == theirs.gradient_batch
        assert set(ours.scalars) == set(theirs.scalars)
        for tag, value in theirs.scalars.items():
            assert ours.scalars[tag] == pytest.approx(value, rel=1e-4, abs=1e-4), (step, tag)
        for kind, name in run.tensors(step):
            mine, its = run.histogram(step, kind, name), other.histogram(step, kind, name)
            assert mine.norm == pytest.approx(its.norm, rel=1e-4, abs=1e-6), (step, kind, name)
            assert (mine.size, mine.note) == (its.size, its.note)
        np.testing.assert_allclose(
            run.heatmaps(step), other.heatmaps(step), atol=0.02 * np.abs(other.heatmaps(step)).max()
        )
    assert run.record(3).scalars["gradients/norm"] > 0.01


@pytest.mark.trains
def test_mirrored_replicas_log_the_run_of_the_joined_batch(
    tmp_path: Path, forked: Forked, alone: tuple[Run, list[Any]]
) -> None:
    [watched] = trained(forked, "mirrored", tmp_path / "run", relevance_layers="all")
    [unwatched] = trained(forked, "mirrored", tmp_path / "none", unwatched=True)
    assert watched["messages"] == []
    assert watched["weights"] == unwatched["weights"]
    run = open_run(tmp_path / "run")
    same_run(run, alone[0])
    assert "layer/dense" in run.record(3).statistics
    for mine, theirs in zip(watched["weights"], alone[1], strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.trains
def test_two_workers_one_of_them_slow_write_one_run_of_the_joined_batch(
    tmp_path: Path, forked: Forked, alone: tuple[Run, list[Any]]
) -> None:
    chief, other = trained(forked, "workers", tmp_path / "run", slow=0.3)
    assert chief["messages"] == other["messages"] == []
    assert chief["weights"] == other["weights"]
    unwatched, _ = trained(forked, "workers", tmp_path / "none", unwatched=True)
    assert chief["weights"] == unwatched["weights"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]  # the other worker has written nothing
    same_run(open_run(tmp_path / "run"), alone[0])
    assert "LRP monitor: 4 logs (epoch 0 to 3)" in chief["printed"]
    assert "LRP" not in other["printed"]


@pytest.mark.trains
def test_what_the_chief_decides_holds_for_all_workers(tmp_path: Path, forked: Forked) -> None:
    """A resumed run in batches, stopped by an alert: only the chief's disk knows where the run stands."""
    folder = tmp_path / "run"
    trained(forked, "workers", folder, batches=3, epochs=1)
    assert [step for step, _, _ in places(folder)] == [0, 3, 4]
    chief, other = trained(forked, "workers", folder, batches=3, alert={"left": 0.01}, stop_on_alert=True)
    assert chief["stopped"]
    assert other["stopped"]
    assert chief["weights"] == other["weights"]
    assert [text for text in chief["messages"] if "lies on 'left'" in text]
    assert other["messages"] == []
    held = [step for step, _, _ in places(folder)]
    # The same untrained model: the run starts over. Batch 3 is above the limit, batch 4 is the last one.
    assert held == [0, 3, 4]
    assert open_run(folder).record(4).gradient_batch == 4


@pytest.mark.trains
def test_a_chief_that_cannot_write_ends_every_worker_at_once(tmp_path: Path, forked: Forked) -> None:
    chief, other = trained(forked, "workers", tmp_path / "run", fail=True)
    assert "Not a directory" in chief["messages"][0]
    assert other["messages"] == [
        "RuntimeError: LRPMonitor: another worker could not begin to log; its own error says why"
    ]
