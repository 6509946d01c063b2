"""A run's numbers as columns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from store_samples import COUNT, make_probes, make_record

from lrp_monitor.store.reader import Run, open_run
from lrp_monitor.store.writer import RunWriter


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Three steps; the second has a scalar and a statistic that the others lack."""
    writer = RunWriter(tmp_path / "lrp", make_probes(), meta={})
    writer.append(make_record(0))
    late = make_record(2)
    late.scalars["lrp/drift"] = 0.25
    late.probes["logit"] = np.array([1.0, 2.0, 3.0])
    writer.append(late)
    writer.append(make_record(5))
    writer.close()
    return open_run(tmp_path)


def test_a_row_a_step(run: Run) -> None:
    columns = run.table()
    assert {len(values) for values in columns.values()} == {3}
    assert columns["step"].tolist() == [0, 2, 5]
    assert columns["epoch"].tolist() == [0, 1, 2]
    assert columns["batch"].tolist() == [0, 20, 50]
    assert columns["wall_time"].tolist() == [1.7e9, 1.7e9 + 2 / 3, 1.7e9 + 5 / 3]
    assert set(columns["session"]) == {run.session}
    assert columns["lrp/conservation"].tolist() == [0.1, 2.1, 5.1]
    assert columns["lrp/drift"].tolist()[1] == 0.25
    assert np.isnan(columns["lrp/drift"][[0, 2]]).all()
    assert list(columns)[:5] == ["step", "epoch", "batch", "wall_time", "session"]


def test_a_row_a_step_and_probe(run: Run) -> None:
    columns = run.table("probe")
    assert {len(values) for values in columns.values()} == {3 * COUNT}
    assert columns["step"].tolist() == [0, 0, 0, 2, 2, 2, 5, 5, 5]
    assert columns["probe"].tolist() == ["probe 0", "probe 1", "probe 2"] * 3
    assert columns["number"].tolist() == columns["label"].tolist() == [0, 1, 2] * 3
    assert columns["logit"][3:6].tolist() == [1, 2, 3]
    assert np.isnan(columns["logit"][[0, 1, 2, 6, 7, 8]]).all()
    _, sums = run.statistic("sum")
    assert np.array_equal(columns["sum"], sums.ravel())


def test_a_run_without_a_step_has_empty_columns(tmp_path: Path) -> None:
    RunWriter(tmp_path / "lrp", make_probes(), meta={}).close()
    run = open_run(tmp_path)
    for by in ("step", "probe"):
        assert {len(values) for values in run.table(by).values()} == {0}


def test_another_word_is_refused(run: Run) -> None:
    with pytest.raises(ValueError, match="by='epoch'"):
        run.table("epoch")
