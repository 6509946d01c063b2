"""The examples about runs and sanity checks, on the demo's runs made short."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from lrp_monitor.demo import train

pytestmark = pytest.mark.process

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both runs with their models, of two batches each."""
    folder = tmp_path_factory.mktemp("demo")
    for run in train.RUNS:
        model = train.train(run, folder / run, train.Settings(epochs=1, images=64)).model
        model.save(folder / run / "model.keras")
    return folder


def test_runs_in_a_notebook(demo: Path, tmp_path: Path) -> None:
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['example', {str(demo)!r}, {str(tmp_path / 'plots')!r}]\n"
        f"runpy.run_path({str(EXAMPLES / 'runs_in_a_notebook.py')!r}, run_name='__main__')\n"
        "assert 'tensorflow' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(file.name for file in (tmp_path / "plots").iterdir()) == ["classes.png", "film.png", "stamp.png"]
    assert "planted: 3 steps, 16 probes, masks stamp, shape\n" in done.stdout
    assert "of the positive relevance on the stamp at step 2\n" in done.stdout


def test_check_heatmaps(demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = importlib.util.spec_from_file_location("check_heatmaps", EXAMPLES / "check_heatmaps.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    report = module.main(demo / "planted" / "model.keras", tmp_path / "report.png")
    assert [place.name for place in report.occlusion[0].places] == [f"triangle {number}" for number in range(4)]
    assert (tmp_path / "report.png").stat().st_size > 10_000
    assert "covering 'stamp' takes" in capsys.readouterr().out
