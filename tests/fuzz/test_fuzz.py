"""A small share of `fuzz.py`, another one each week; and what only requests show, case by case."""

from __future__ import annotations

import urllib.parse
from pathlib import Path

import fuzz
import numpy as np
import pytest
from fuzz_mutations import Damage
from fuzz_store import Seen, log_run, read_everything
from fuzz_web import CANARY, PREFIX, Board, make_site, write_marker

from lrp_monitor.store.format import Histogram, StepRecord
from lrp_monitor.store.reader import open_run
from lrp_monitor.store.writer import RunWriter


@pytest.mark.parametrize(
    ("kind", "count"),
    [("files", 50), ("requests", 400), ("sockets", 100), ("probes", 150), ("baselines", 150), ("view", 100)],
)
def test_nothing_undocumented_comes_of_damaged_files_and_hostile_requests(
    kind: str, count: int, fuzz_seed: int
) -> None:
    found = fuzz.run(kind, fuzz_seed, 0, count)
    again = [f"--seed {fuzz_seed} --only {kind}:{finding['case']}: {finding['what']}" for finding in found["findings"]]
    assert not again, "python tests/fuzz/fuzz.py " + "\n".join(again)
    assert found["cases"] == count
    # Neither does everything fail before it is looked at, nor is everything harmless.
    outcomes = found["outcomes"]
    sockets = ("sockets", "view")
    good = {"files": "heatmaps: value", "requests": "GET 200: value"} | dict.fromkeys(sockets, "socket 200: value")
    bad = {"files": "heatmaps: StoreError", "requests": "GET 404: value"} | dict.fromkeys(sockets, "socket 404: value")
    loads = {"probes": "ProbeSet.load", "baselines": "Snapshot.load"}
    assert outcomes[good.get(kind) or f"{loads[kind]}: value"] >= count / 30
    if kind == "view":
        assert outcomes["socket 403: value"] >= count / 100
    if kind == "requests":
        assert min(outcomes[f"note {status}: value"] for status in (200, 403, 404)) >= 1
        assert min(outcomes[f"alone GET {status}: value"] for status in (200, 403, 404)) >= count / 100
    errors = {"probes": "ValueError", "baselines": "BaselineError"}
    assert outcomes[bad.get(kind) or f"{loads[kind]}: {errors[kind]}"] >= count / 30


def test_a_case_is_given_by_its_seed_and_number(tmp_path: Path) -> None:
    harm, _, _ = fuzz.cases("probes", tmp_path)
    done = []
    for number in (5, 6, 5):
        words = harm(Damage(np.random.default_rng([3, 3, number])))
        done.append((words, (tmp_path / "probes.npz").read_bytes()))
    assert done[0] == done[2]
    assert done[0] != done[1]


def test_the_canary_would_be_seen(tmp_path: Path) -> None:
    log_run(tmp_path / "x", 0, shape=(6, 5), encoding="sqrt8", mark=CANARY)
    damage = Damage(np.random.default_rng(0))
    with pytest.raises(AssertionError, match="content from outside the run"):
        read_everything(tmp_path / "x", Seen(), damage, within=tmp_path)


def test_a_run_that_leads_outside_is_listed_with_the_reason_and_nothing_else(tmp_path: Path) -> None:
    logs, _ = make_site(tmp_path)
    board = Board(logs)
    status, body = board.get(PREFIX + "runs")
    assert status == 200
    assert CANARY.encode() not in body
    for run, words in (("escaping/lrp", b"leads outside"), ("escaping file/lrp", b"leads outside")):
        for route in ("run", "timeline", "clusters"):
            status, body = board.get(PREFIX + route, f"run={urllib.parse.quote(run)}")
            assert (status, words in body, CANARY.encode() in body) == (404, True, False)


def test_a_name_with_half_a_surrogate_pair_is_no_error_of_the_server(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    log_run(logs / "run", 0, shape=(6, 5), encoding="sqrt8")
    write_marker(logs / "run" / "lrp")
    run = open_run(logs / "run")
    with RunWriter(logs / "run" / "lrp", run.probes, meta={}) as writer:
        names = Histogram("weight", "\ud800 kernel", 1, note="no gradient")
        writer.append(StepRecord(50, 1, 1, 1.0, histograms=[names], scalars={"\udfff": 1.0}, notes=["\ud800"]))
    board = Board(logs)
    status, body = board.get(PREFIX + "histogram", f"run=run/lrp&step=50&session={writer.session}&kind=weight&name=x")
    assert (status, rb"there are: \ud800 kernel" in body) == (404, True)
    assert board.get(PREFIX + "timeline", "run=run/lrp")[0] == 200
    assert board.get(PREFIX + "run", "run=run/lrp")[0] == 200


@pytest.mark.parametrize("path", ["index.js", "index.js/", "runs/"])
def test_a_slash_behind_a_route_is_no_error_of_the_server(tmp_path: Path, path: str) -> None:
    logs, _ = make_site(tmp_path)
    assert Board(logs).get(PREFIX + path)[0] == 200


def test_ids_of_experiments_that_requests_make_up_are_not_kept(tmp_path: Path) -> None:
    logs, _ = make_site(tmp_path)
    board = Board(logs)
    for number in range(60):
        assert board.get(f"/experiment/{number}{PREFIX}runs")[0] == 200
    assert len(board.plugin._readers._listed) <= 16
