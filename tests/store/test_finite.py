"""Predictions of earlier versions where logits were not finite, and the steps at which a run was not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from store_samples import COUNT, make_probes, make_record

from lrp_monitor.plugin.wire import step_answer
from lrp_monitor.regression.snapshot import Snapshot
from lrp_monitor.store.finite import class_numbers
from lrp_monitor.store.reader import Run, open_run
from lrp_monitor.store.writer import RunWriter

NAN, INF = float("nan"), float("inf")


def written(folder: Path, *steps: dict) -> Run:
    writer = RunWriter(folder / "lrp", make_probes(), meta={})
    for step, changes in enumerate(steps):
        writer.append(make_record(step, **changes))
    writer.close()
    return open_run(folder)


def statistics(**columns: list[float]) -> dict:
    found = {"target": [0.0, 1, 2], "logit": [1.0, 2, 3], "prediction": [0.0, 1, 0], "sum": [1.0, 1, 1]} | columns
    return {"probes": {name: np.array(values) for name, values in found.items()}}


def test_a_guess_of_an_earlier_version_is_read_as_none(tmp_path: Path) -> None:
    run = written(
        tmp_path,
        statistics(),
        statistics(logit=[NAN, 2, -INF], prediction=[0, 1, 0]),
        # The explained logit is finite, another one is not: its probability is what tells.
        statistics(prediction=[0, 1, 0], prediction_probability=[0.5, NAN, 0.25]),
        # An output without classes has no probability at all.
        statistics(prediction=[0, 0, 0], prediction_probability=[NAN, NAN, NAN]),
        {"probes": {"sum": np.ones(COUNT)}},
    )
    expected = [[0, 1, 0], [NAN, 1, NAN], [0, NAN, 0], [0, 0, 0]]
    for step, values in enumerate(expected):
        np.testing.assert_array_equal(run.record(step).statistics["prediction"], values)
    steps, table = run.statistic("prediction")
    assert steps.tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(table, expected)
    assert Snapshot.of_run(run, 1).predictions.tolist() == [-1, 1, -1]
    assert run.table()["finite"].tolist() == [True, False, False, True, True]
    assert b'"prediction":[null,1.0,null]' in step_answer(run, 1)


def test_spans_of_what_is_not_finite(tmp_path: Path) -> None:
    broken = statistics(logit=[NAN, 1, 1], sum=[NAN, 1, 1])
    run = written(
        tmp_path,
        statistics(),
        broken,
        statistics(logit=[NAN, NAN, 1]),
        statistics(),
        {**statistics(), "scalars": {"weights/nonfinite": 1.0, "lrp/nonfinite/loss": 2.0}},
        {**broken, "scalars": {"weights/nonfinite": 4.0, "gradients/nonfinite": 2.0, "probe_gradients/nonfinite": NAN}},
    )
    assert [str(span) for span in run.not_finite] == [
        "logits of 2 probes not finite at steps 1 to 2",
        "heatmaps of 1 probe not finite at step 1",
        "4 weights not finite since step 4",
        "a loss of the epoch not finite at step 4",
        "logits of 1 probe not finite since step 5",
        "heatmaps of 1 probe not finite since step 5",
        "2 values of the gradient not finite since step 5",
    ]
    assert written(tmp_path / "empty").not_finite == []


@pytest.mark.filterwarnings("error")
def test_numbers_of_classes_that_are_none() -> None:
    values = np.array([0.0, 2.0, NAN, INF, -INF, 1e300, -1e300])
    assert class_numbers(values).tolist() == [0, 2, -1, -1, -1, -1, -1]
