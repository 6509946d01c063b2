"""SIGKILL at random moments of a logging fit: nothing that was logged is lost, and a resumed fit closes the series.

Six kills here; tests/benchmarks/kills.py does two hundred, with a real TensorBoard beside them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from kill_helpers import Killer
from tensorboard.backend.event_processing import plugin_event_accumulator
from tensorboard.util import tensor_util

from lrp_monitor.store.reader import open_run

pytestmark = pytest.mark.process

KILLS = 6


# By default of one kill each: test_every_way_to_end_a_process_leaves_a_readable_run in test_monitor_faults.py, and of
# objects tests/objects/test_s3.py; a record cut off at any byte: tests/store/test_damage.py.
@pytest.mark.slow
@pytest.mark.trains
def test_what_was_logged_outlives_random_kills_and_a_resumed_fit_completes_the_series(tmp_path: Path) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    whole.mkdir()
    with Killer(seed=3) as killer:
        kills = [killer.kill_one(killed, spread=0.5) for _ in range(KILLS)]
        assert [kill.lost for kill in kills] == [set()] * KILLS
        logged = [max(kill.read, default=0) for kill in kills]
        assert sum(kill.started for kill in kills) >= KILLS // 2
        assert len(set(logged)) > 2, "the kills came before anything was logged"
        # Only the record that was being written may be cut off, and the reader says so.
        assert all("not complete" in problem for kill in kills for problem in kill.problems)
        last = max(logged) + 3
        killer.finish(killed, last)
        killer.finish(whole, last)
    run, alone = open_run(killed), open_run(whole)
    assert [(h.step, h.epoch, h.batch) for h in run.records()] == [(s, s, 2 * s) for s in range(last + 1)]
    assert len(run.sessions) > 2
    np.testing.assert_allclose(run.scalar("lrp/probability")[1], alone.scalar("lrp/probability")[1], rtol=1e-4)
    np.testing.assert_allclose(run.heatmaps(last), alone.heatmaps(last), rtol=0.05, atol=1e-3)
    # The event files tell the same story: each step once, none missing.
    guidance = {plugin_event_accumulator.TENSORS: 0}
    events = plugin_event_accumulator.EventAccumulator(str(killed / "lrp"), guidance).Reload()
    for tag, first in (("lrp/probability", 0), ("lrp/drift", 1), ("gradients/norm", 1)):
        found = events.Tensors(tag)
        assert [event.step for event in found] == list(range(first, last + 1)), tag
    values = [float(tensor_util.make_ndarray(event.tensor_proto)) for event in events.Tensors("lrp/probability")]
    np.testing.assert_allclose(values, run.scalar("lrp/probability")[1], rtol=1e-5)
