"""`lrp-monitor cluster`: groups printed, kept beside the run, errors in one line."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_spectral import planted_maps

from lrp_monitor.cli import main
from lrp_monitor.store.format import ProbeInfo, StepRecord
from lrp_monitor.store.reader import open_run
from lrp_monitor.store.writer import RunWriter

STAMPED, OTHERS = 5, 11


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Steps 0, 4 and 9 of planted maps; step 12 without maps."""
    images = np.zeros((STAMPED + OTHERS, 32, 32, 1), np.uint8)
    probes = ProbeInfo(
        names=[f"probe {i}" for i in range(STAMPED + OTHERS)],
        labels=None,
        class_names=None,
        images=images,
        masks={},
        map_shape=(32, 32),
        hash=hashlib.sha256(images.tobytes()).hexdigest(),
    )
    with RunWriter(tmp_path / "lrp", probes, meta={}, encoding="float32") as writer:
        for step in (0, 4, 9):
            maps, _ = planted_maps(STAMPED, OTHERS, step)
            writer.append(StepRecord(step, step, step, float(step), heatmaps=maps))
        writer.append(StepRecord(12, 12, 12, 12.0))
    return tmp_path


def test_the_last_step_with_maps_is_grouped_and_kept(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cluster", str(run)]) == 0
    found = open_run(run).clusters()
    assert list(found) == [9]
    is_stamped = planted_maps(STAMPED, OTHERS, 9)[1]
    (group,) = set(found[9].labels[is_stamped].tolist())
    assert group not in found[9].labels[~is_stamped]
    assert dict(found[9].settings) == {"groups": None, "neighbours": None, "side": 16}
    text = capsys.readouterr().out
    stamped = ", ".join(f"probe {i}" for i in np.flatnonzero(is_stamped))
    assert f"step 9: {found[9].count} groups" in text
    assert f"    {group + 1}  {STAMPED} probes: {stamped}\n" in text + "\n"


def test_all_steps_as_json_in_a_number_of_groups(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cluster", str(run), "--step", "all", "--groups", "2", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)["clusters"]
    assert [entry["step"] for entry in answer] == [0, 4, 9]
    for entry in answer:
        is_stamped = planted_maps(STAMPED, OTHERS, entry["step"])[1]
        assert (entry["count"], entry["labels"]) == (2, np.where(is_stamped, 1, 0).tolist())
        assert entry["labels"] == open_run(run).clusters()[entry["step"]].labels.tolist()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--step", "3"], "no step 3"),
        (["--step", "12"], "maps not stored at step 12"),
        (["--step", "first"], "--step must be a logged step, last or all, got 'first'"),
        (["--groups", "17"], "groups must be at most 16"),
    ],
)
def test_errors_are_one_line(run: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    assert main(["cluster", str(run), *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("lrp-monitor: ")
    assert (words in error, error.count("\n")) == (True, 1)
    assert not list((run / "lrp" / "plugins" / "lrp_monitor").glob("clusters-*"))


def test_without_scikit_learn_one_line_names_the_extra(run: Path) -> None:
    code = (
        "import sys; sys.modules['sklearn'] = None\nfrom lrp_monitor.cli import main\n"
        f"sys.exit(main(['cluster', {str(run)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1].endswith("pip install 'lrp_monitor[clusters]'")


def test_no_tensorflow_is_imported(run: Path) -> None:
    code = (
        "import sys\nfrom lrp_monitor.cli import main\n"
        f"assert main(['cluster', {str(run)!r}]) == 0\nassert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], timeout=120, check=True, capture_output=True)
