"""The demo of texts, series, tables and segmentation: what is planted is found, and in the control it is not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lrp_monitor.cli.main import main
from lrp_monitor.demo.kinds import FEATURES, KINDS, WORDS
from lrp_monitor.store.reader import open_run


@pytest.mark.parametrize("kind", KINDS)
def test_the_shortcut_gives_the_class_away_in_the_planted_data_alone(kind: str) -> None:
    # What of a sample is the shortcut, by hand.
    there = {
        "text": lambda x: (x == len(WORDS) - 1).any(axis=1),
        "series": lambda x: x[:, 30:34, 0].mean(axis=1) > 3,
        "table": lambda x: x[:, FEATURES.index("account flag")] > 0,
        "segmentation": lambda x: x[:, 2:7, 2:7, 0].std(axis=(1, 2)) > 0.3,
    }[kind]
    of = {}
    for planted in (True, False):
        x, y = KINDS[kind].make(400, planted, np.random.default_rng(3))
        label = (y.reshape(len(y), -1).max(axis=1) > (1 if kind == "segmentation" else 0)).astype(int)
        of[planted] = abs(np.corrcoef(there(x), label)[0, 1]) if there(x).any() else 0.0
    assert of[True] > 0.85
    assert of[False] < 0.15


@pytest.mark.parametrize("kind", KINDS)
def test_the_probes_fit_the_model_and_their_mask_lies_on_the_shortcut(kind: str) -> None:
    of = KINDS[kind]
    probes, model = of.probes(), of.build()
    outputs = np.asarray(model(probes.inputs))
    assert len(outputs) == len(probes)
    assert outputs.shape[-1] == (3 if kind == "segmentation" else 2)
    mask = probes.masks[of.shortcut].reshape(len(probes), -1)
    x = np.asarray(probes.inputs).reshape(len(probes), -1)
    if kind == "text":
        assert mask.any()
        assert (x[mask] == len(WORDS) - 1).all()
    elif kind == "series":  # the spike, and what a window of the first layer sees of it
        assert mask[:4].sum(axis=1).tolist() == [12] * 4
        assert (x[:4, 30:34].mean(axis=1) > 3).all()
        assert not mask[4:].any()
    elif kind == "table":
        assert (mask == (np.arange(len(FEATURES)) == FEATURES.index("account flag"))).all()
        assert set(np.unique(x[:, FEATURES.index("account flag")])) == {-1.0, 1.0}


@pytest.mark.trains
@pytest.mark.parametrize(
    "kind", ["table", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("text", "series"))]
)
def test_half_of_the_relevance_is_on_what_was_planted(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--kind", kind, "--log-dir", str(tmp_path / "demo")]) == 0
    assert "relevance at the end" in capsys.readouterr().out
    found = json.loads((tmp_path / "demo" / "demo.json").read_text())
    assert (found["kind"], found["shortcut"]) == (kind, KINDS[kind].shortcut)
    planted, control = found["planted"], found["control"]
    assert planted["end"] >= 0.5
    assert control["end"] <= 0.1
    assert planted["accuracy"] > 0.9
    assert control["accuracy"] > 0.6
    runs = [open_run(tmp_path / "demo" / name) for name in ("planted", "control")]
    assert runs[0].probes.hash == runs[1].probes.hash
    assert runs[0].probes.inputs[0].kind == {"text": "tokens"}.get(kind, kind)
    assert (tmp_path / "demo" / "control" / "model.keras").exists()


@pytest.mark.slow  # by default the command is run above, and a segmentation is watched in test_example_kinds.py
@pytest.mark.trains
def test_the_command_runs_a_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = [
        "demo",
        "--kind",
        "segmentation",
        "--epochs",
        "1",
        "--images",
        "32",
        "--json",
        "--log-dir",
        str(tmp_path / "s"),
    ]
    assert main(run) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["kind"], found["shortcut"]) == ("segmentation", "stamp")
    assert open_run(tmp_path / "s" / "planted").meta["explains"] == "region"
    assert (tmp_path / "s" / "control" / "model.keras").exists()
