"""A run in a notebook: a small picture as the value of a cell, the whole page in a frame, names as texts."""

from __future__ import annotations

import html
import re
from pathlib import Path

import numpy as np
import pytest

import lrp_monitor as lrp
from lrp_monitor.store.format import ProbeInfo, StepRecord
from lrp_monitor.store.writer import RunWriter

HOSTILE = ["</script><script>alert(1)", '" onload="alert(1)', "third"]


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three probes and thirty steps; one without steps beside it."""
    folder = tmp_path_factory.mktemp("notebook")
    rng = np.random.default_rng(1)
    for name, steps in (("<b>run", 30), ("empty", 0)):
        info = ProbeInfo(
            HOSTILE, None, None, rng.integers(0, 256, (3, 6, 8, 1), dtype=np.uint8), {}, (6, 8), hash="ab" * 32
        )
        with RunWriter(folder / name / "lrp", info, meta={"model": "<i>net", "composite": "epsilon_plus"}) as writer:
            for step in range(steps):
                maps = rng.standard_normal((3, 6, 8)).astype(np.float32)
                probes = {"absmax": np.abs(maps).max((1, 2)).astype(np.float64)}
                writer.append(StepRecord(step, step, step, 1.0, maps, probes=probes, scalars={"lrp/drift": step / 100}))
    return folder


def test_a_run_is_the_value_of_a_cell(logs: Path) -> None:
    shown = lrp.open_run(logs / "<b>run")._repr_html_()
    assert "30 logged steps, 3 probes, &lt;i&gt;net, epsilon_plus" in shown
    assert "<script" not in shown
    assert shown.startswith("<div><p><b>&lt;b&gt;run</b>: ")
    assert "<b>run" not in shown
    assert "at step 29" in shown
    assert ">0.29<" in shown
    assert shown.count("data:image/png;base64,") == 1
    assert len(shown) < 300_000
    assert "Nothing is logged yet" in lrp.open_run(logs / "empty")._repr_html_()


def test_the_whole_page_stands_in_a_frame_of_its_own(logs: Path) -> None:
    shown = lrp.open_run(logs / "<b>run").show(height=500, probes=["third", 0])._repr_html_()
    frame = re.fullmatch(r'<iframe title="[^"]*" sandbox="([^"]*)" style="([^"]*)" srcdoc="([^"]*)"></iframe>', shown)
    assert frame is not None
    assert frame[1] == "allow-scripts allow-downloads"  # no origin: nothing of the notebook is within its reach
    assert "height: 500px" in frame[2]
    page = html.unescape(frame[3])
    assert page.startswith("<!doctype html>")
    assert "<title>&lt;b&gt;run</title>" in page


def test_what_does_not_fit_is_left_out_and_named(logs: Path) -> None:
    run = lrp.open_run(logs / "<b>run")
    whole = len(run.show()._page)
    shown = run.show(max_mb=(whole - 3000) / 1e6)._repr_html_()
    assert re.match(r"<p>\d+ of 30 logged steps, evenly spread", shown)
    with pytest.raises(ValueError, match="the page would take"):
        run.show(max_mb=0.001)
    with pytest.raises(KeyError, match="no probe"):
        run.show(probes=["x"])
    with pytest.raises(lrp.StoreError, match="nothing is logged yet"):
        lrp.open_run(logs / "empty").show()
