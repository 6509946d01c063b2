"""Groups of heatmaps kept beside a run: read back, replaced, left out where damaged or their step was replaced."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from store_samples import COUNT, make_probes, make_record

from lrp_monitor.store.clusters import StepClusters, clusters_name
from lrp_monitor.store.reader import Run, open_run
from lrp_monitor.store.writer import RunWriter


def write(folder: Path, steps: list[int], **changes: object) -> str:
    with RunWriter(folder, make_probes(), meta={}) as writer:
        for step in steps:
            writer.append(make_record(step, **changes))
    return writer.session


def keep(run: Run, step: int, labels: list[int]) -> None:
    session = run.record(step).session
    run.write_clusters(StepClusters(step, session, np.array(labels), np.array([0.0, 0.5]), {"side": 16}))


def test_groups_are_kept_and_replaced_step_by_step(tmp_path: Path) -> None:
    session = write(tmp_path, [0, 1, 5])
    run = open_run(tmp_path)
    assert run.clusters() == {}
    keep(run, 5, [0, 1, 0])
    keep(run, 1, [-1, -1, -1])
    found = run.clusters()
    assert list(found) == [1, 5]
    assert (found[5].labels.tolist(), found[5].count, found[5].session) == ([0, 1, 0], 2, session)
    assert (found[5].eigenvalues.tolist(), dict(found[5].settings)) == ([0.0, 0.5], {"side": 16})
    assert found[1].count == 0
    keep(run, 5, [2, 1, 0])
    assert run.clusters()[5].labels.tolist() == [2, 1, 0]
    assert open_run(tmp_path).clusters()[5].labels.tolist() == [2, 1, 0]
    assert open_run(tmp_path).steps == [0, 1, 5]


def test_groups_of_a_step_that_a_later_session_replaced_do_not_count(tmp_path: Path) -> None:
    write(tmp_path, [0, 1, 2])
    run = open_run(tmp_path)
    for step in (0, 2):
        keep(run, step, [0, 0, 1])
    write(tmp_path, [1, 2])
    run.refresh()
    assert list(run.clusters()) == [0]
    keep(run, 2, [0, 1, 2])
    assert run.clusters()[2].labels.tolist() == [0, 1, 2]


def test_groups_that_were_logged_count_unless_found_again_afterwards(tmp_path: Path) -> None:
    write(tmp_path, [0, 1], probes={"cluster": np.array([0.0, 1.0, np.nan])})
    run = open_run(tmp_path)
    assert {step: found.labels.tolist() for step, found in run.clusters().items()} == {0: [0, 1, -1], 1: [0, 1, -1]}
    assert dict(run.clusters()[1].settings) == {}
    keep(run, 1, [0, 0, 0])
    assert run.clusters()[1].labels.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels": [0, 1]}, "not one group for each of the 3 probes"),
        ({"labels": [0, 1, 3]}, "not one group for each of the 3 probes"),
        ({"labels": [0, 1, True]}, "not one group for each of the 3 probes"),
        ({"labels": None}, "a part is missing or of the wrong kind"),
        ({"format": 2}, "written in format 2, this lrp_monitor reads 1"),
        ({"step": 4}, "holds the groups of step 4 of session"),
        ({"settings": 3}, "a part is missing or of the wrong kind"),
    ],
)
def test_damaged_groups_are_left_out_and_named(tmp_path: Path, change: dict, words: str) -> None:
    write(tmp_path, [0, 1])
    run = open_run(tmp_path)
    keep(run, 0, [0, 0, 1])
    keep(run, 1, [0, 0, 1])
    file = Path(run.path) / clusters_name(1, run.session)
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    assert list(run.clusters()) == [0]
    assert [words in problem and file.name in problem for problem in run.problems] == [True]


def test_text_that_is_no_json_is_named(tmp_path: Path) -> None:
    write(tmp_path, [0])
    run = open_run(tmp_path)
    (Path(run.path) / clusters_name(0, run.session)).write_text("[" * 100_000)
    assert run.clusters() == {}
    assert "not valid JSON" in run.problems[0]


def test_groups_for_what_is_not_there_are_refused(tmp_path: Path) -> None:
    write(tmp_path, [0])
    run = open_run(tmp_path)
    labels = np.zeros(COUNT, np.int64)
    with pytest.raises(KeyError, match="no step 3"):
        run.write_clusters(StepClusters(3, run.session, labels))
    with pytest.raises(KeyError, match="not of session"):
        run.write_clusters(StepClusters(0, "0" * 16, labels))
    with pytest.raises(ValueError, match=r"labels must have shape \(3,\), got \(4,\)"):
        run.write_clusters(StepClusters(0, run.session, np.zeros(4, np.int64)))
    assert not list(Path(run.path).glob("clusters-*"))
