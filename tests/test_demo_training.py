"""The demo's trainings for real: what they show, read back from the logged runs, and the examples that read them.

By default it trains for 4 of its 10 epochs, from which on the runs differ as at the end; ``-m slow`` runs the whole of
it, with the figures that the documentation names.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import lrp_monitor as lrp
from lrp_monitor.cli import main
from lrp_monitor.demo import shapes, train
from lrp_monitor.store.channels import leading

EXAMPLES = Path(__file__).parents[1] / "examples"


@dataclass(frozen=True)
class Demo:
    """A demo: its folder, how many epochs its trainings took, and how the command that made it ended."""

    folder: Path
    epochs: int
    done: subprocess.CompletedProcess[str]

    @property
    def steps(self) -> list[int]:
        return [0, 1, 2, 4, 8, 16, 32, 64, *range(94, 94 * self.epochs + 1, 94)]  # 94 batches an epoch

    @property
    def whole(self) -> bool:
        return self.epochs == 10


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    return subprocess.run(
        [sys.executable, "-m", "lrp_monitor.cli", "demo", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=600,
        env=clean,
        check=False,
    )


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class TestParts:
    def test_the_probes(self) -> None:
        probes = train.probe_set()
        triangle, disk = shapes.CLASSES.index("triangle"), shapes.CLASSES.index("disk")
        assert len(probes) == 16
        assert probes.labels is not None
        assert probes.labels.tolist() == [triangle] * 4 + [disk] * 4 + [1] * 4 + [3] * 4
        assert list(probes.names[:5]) == ["triangle 0", "triangle 1", "triangle 2", "triangle 3", "disk 0"]
        stamp = probes.masks["stamp"]
        assert stamp.dtype == bool
        assert stamp.shape == (16, 32, 32)
        assert stamp.sum(axis=(1, 2)).tolist() == [25] * 4 + [0] * 12
        pixels = probes.inputs[..., 0]
        assert (pixels[:4, 2:7, 2:7] == shapes.STAMP).all()
        assert not (pixels[4:, 2:7, 2:7] == shapes.STAMP).all(axis=(1, 2)).any()
        shape = probes.masks["shape"]
        assert shape.any(axis=(1, 2)).all()
        # a shape is brighter than what lies around it
        assert (np.mean(pixels, where=shape, axis=(1, 2)) > 0.5).all()
        assert (np.mean(pixels, where=~shape, axis=(1, 2)) < 0.36).all()

    def test_the_model(self) -> None:
        model = train.build_model()
        assert model.count_params() == 23_556
        assert model.output_shape == (None, 4)

    def test_the_example_trains_the_same_model_on_the_same_probes(self) -> None:
        script = example("watch_a_shortcut")
        assert script.make_probes().hash == train.probe_set().hash
        assert (script.SEED, script.EPOCHS, script.IMAGES) == (0, 10, 3000)

        def layers(model: object) -> list[tuple[str, object]]:
            kept = ("filters", "kernel_size", "units", "activation", "rate", "pool_size", "padding")
            return [
                (type(layer).__name__, {key: layer.get_config().get(key) for key in kept})
                for layer in model.layers  # type: ignore[attr-defined]  # keras has no types
            ]

        assert layers(script.make_model()) == layers(train.build_model())


@pytest.fixture(scope="module", params=[4, pytest.param(10, marks=pytest.mark.slow)], ids=lambda n: f"{n} epochs")
def demo(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """The demo, run once as a user runs it."""
    folder, epochs = tmp_path_factory.mktemp("whole") / "demo", request.param
    return Demo(folder, epochs, command("--log-dir", folder, *(["--epochs", epochs] if epochs != 10 else [])))


@pytest.mark.trains
def test_watch_a_shortcut(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example("watch_a_shortcut").main(tmp_path, epochs=1, images=64)
    assert capsys.readouterr().out.count("of the relevance is on the stamp") == 6
    assert lrp.open_run(tmp_path / "planted").steps == [0, 1, 2]


@pytest.mark.trains
class TestExamples:
    """The examples that read the demo's runs and models."""

    def test_read_a_run(self, demo: Demo, tmp_path: Path) -> None:
        example("read_a_run").main(demo.folder / "control", tmp_path / "read.png")
        assert Image.open(tmp_path / "read.png").width > 500

    def test_one_unit_in_two_runs(self, demo: Demo, tmp_path: Path) -> None:
        example("one_unit_in_two_runs").main(demo.folder, tmp_path / "unit.png")
        assert Image.open(tmp_path / "unit.png").width > (1000 if demo.whole else 600)  # a column a step

    @pytest.mark.process
    def test_runs_in_a_notebook(self, demo: Demo, tmp_path: Path) -> None:
        code = (
            "import runpy, sys\n"
            f"sys.argv = ['example', {str(demo.folder)!r}, {str(tmp_path / 'plots')!r}]\n"
            f"runpy.run_path({str(EXAMPLES / 'runs_in_a_notebook.py')!r}, run_name='__main__')\n"
            "assert 'tensorflow' not in sys.modules"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        assert sorted(file.name for file in (tmp_path / "plots").iterdir()) == ["classes.png", "film.png", "stamp.png"]
        assert f"planted: {len(demo.steps)} steps, 16 probes, masks stamp, shape\n" in done.stdout
        assert f"of the positive relevance on the stamp at step {demo.steps[-1]}\n" in done.stdout

    def test_check_heatmaps(self, demo: Demo, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        report = example("check_heatmaps").main(demo.folder / "planted" / "model.keras", tmp_path / "report.png")
        assert [place.name for place in report.occlusion[0].places] == [f"triangle {number}" for number in range(4)]
        assert (tmp_path / "report.png").stat().st_size > 10_000
        assert "covering 'stamp' takes" in capsys.readouterr().out


@pytest.mark.trains
def test_the_demo_shows_what_the_documentation_says(demo: Demo) -> None:
    folder, done = demo.folder, demo.done
    assert done.returncode == 0, done.stderr
    # the terminal shows what is being done, and none of TensorFlow's messages
    assert done.stderr == "training the planted model\ntraining the control model\ndrawing the films\n"

    found = json.loads((folder / "demo.json").read_text())
    planted, control = found["planted"], found["control"]
    assert planted["validation_accuracy"] >= (0.96 if demo.whole else 0.9)
    assert control["validation_accuracy"] >= (0.98 if demo.whole else 0.96)
    assert planted["recall_without_stamp"] <= 0.1
    assert control["recall_without_stamp"] >= 0.9
    assert planted["stamp_at_end"] >= 0.85
    assert control["stamp_at_end"] <= 0.02
    assert found["shortcut_found"] is True
    assert found["seconds"] > 0

    for name in train.RUNS:
        the_run_holds_what_was_printed(demo, name, found[name])
        the_model_is_the_one_that_was_logged(folder / name)
    assert done.stdout.rstrip().endswith(f"tensorboard --logdir {folder}")
    both_runs_look_at_the_same_probes_and_only_the_control_at_the_shapes(folder)
    the_leading_channels_of_the_triangle_lie_in_the_stamp_of_the_planted_run_alone(demo)

    assert Image.open(folder / "planted_vs_control.png").width > 1000
    animation = Image.open(folder / "planted_vs_control.gif")
    assert animation.n_frames == len(demo.steps)  # type: ignore[attr-defined]  # only of animated formats


def the_run_holds_what_was_printed(demo: Demo, name: str, found: dict[str, Any]) -> None:
    run = lrp.open_run(demo.folder / name)
    assert run.steps == demo.steps
    assert run.verify() == []
    assert run.meta["axis"] == "batch"
    maps, mask = run.heatmaps(demo.steps[-1]), run.probes.masks["stamp"]
    positive = np.maximum(maps, 0).astype(np.float64)
    share = (positive * mask).sum(axis=(1, 2))[:4] / positive.sum(axis=(1, 2))[:4]
    # maps are stored to 8 bits of their square root; the scalar is of the exact ones
    assert share.mean() == pytest.approx(found["stamp_at_end"], abs=0.003)
    steps, values = run.scalar("lrp/mask_mass/stamp")
    assert steps.tolist() == demo.steps == found["steps"]
    assert values.tolist() == found["stamp"]
    assert f"{100 * values[-1]:.1f} %" in demo.done.stdout


def the_model_is_the_one_that_was_logged(log_dir: Path) -> None:
    probes = train.probe_set()
    assert probes.labels is not None
    model = keras.saving.load_model(log_dir / "model.keras")
    now = model.predict(probes.inputs, verbose=0)[np.arange(16), probes.labels]
    assert now == pytest.approx(lrp.open_run(log_dir).statistic("probability")[1][-1], abs=1e-5)


def both_runs_look_at_the_same_probes_and_only_the_control_at_the_shapes(folder: Path) -> None:
    runs = [lrp.open_run(folder / name) for name in ("planted", "control")]
    assert {run.probes.hash for run in runs} == {train.probe_set().hash}
    for run in runs:
        assert np.array_equal(run.probes.masks["stamp"], train.probe_set().masks["stamp"])
    planted, control = (run.statistic("mask_mass/shape")[1][-1] for run in runs)
    assert planted[:4].mean() <= 0.15  # the stamped triangles
    assert control[:4].mean() >= 0.5
    assert control.mean() >= 0.5  # of all probes; a shape covers a tenth of the image


def the_leading_channels_of_the_triangle_lie_in_the_stamp_of_the_planted_run_alone(demo: Demo) -> None:
    triangle, masses = shapes.CLASSES.index("triangle"), {}
    for name in train.RUNS:
        run = lrp.open_run(demo.folder / name)
        assert run.meta["composite_choice"] == "3 convolutions deep"  # by "auto": what a user gets who asks for none
        history = run.channel_history("conv_3")
        row = history.of_class(triangle)
        channels = leading(history.shares[-1, row], 4)
        masses[name] = run.channel_masses("conv_3", demo.steps[-1], "stamp")[row, channels]
        assert masses[name].shape == (4,)
    assert masses["planted"].min() >= 0.5, masses  # of every seed: tests/test_demo_features.py
    assert masses["control"].mean() <= 0.05, masses


class StopAfter(keras.callbacks.Callback):  # type: ignore[misc]  # keras has no types
    def __init__(self, batches: int) -> None:
        super().__init__()
        self._batches = batches

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self.model.stop_training = batch + 1 == self._batches


@pytest.mark.trains
def test_the_seed_decides_and_a_folder_is_not_written_to_twice(
    demo: Demo, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def maps(folder: Path, step: int) -> NDArray[np.float32]:
        return lrp.open_run(folder).heatmaps(step)

    folder = tmp_path / "demo"
    shutil.copytree(demo.folder, folder)
    small = ("demo", "--log-dir", str(folder), "--images", "64", "--epochs", "2")
    assert main(small) == 1
    refused = capsys.readouterr()
    assert refused.out == ""
    assert refused.err.count("\n") == 1
    assert "is not empty" in refused.err

    train.train("planted", tmp_path / "again", callbacks=[StopAfter(4)])  # in another process, the same course
    assert lrp.open_run(tmp_path / "again").steps == [0, 1, 2, 4]
    for step in (0, 1, 2, 4):
        assert np.array_equal(maps(tmp_path / "again", step), maps(demo.folder / "planted", step))

    (folder / "notes.txt").write_text("mine")
    code = main([*small, "--overwrite", "--seed", "1", "--json"])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    found = json.loads(printed.out)
    assert found["shortcut_found"] is False
    assert json.loads((folder / "demo.json").read_text()) == {"made_by": "lrp-monitor demo"} | found
    assert (folder / "notes.txt").read_text() == "mine"
    for name in train.RUNS:
        # before training, which the number of images has no part in
        assert found[name]["stamp"][0] != lrp.open_run(demo.folder / name).scalar("lrp/mask_mass/stamp")[1][0]
        assert not np.array_equal(maps(folder / name, 0), maps(demo.folder / name, 0))
        run = lrp.open_run(folder / name)
        assert run.steps == [0, 1, 2, 4]
        assert len(run.sessions) == 1
        assert len(list((folder / name / "lrp").glob("events.out.tfevents.*"))) == 1


@pytest.fixture(scope="module")
def models(demo: Demo) -> dict[str, keras.Model]:
    return {run: keras.saving.load_model(demo.folder / run / "model.keras") for run in train.RUNS}


@pytest.mark.trains
class TestCovering:
    """Covering the stamp against covering as much elsewhere, on the demo's two models."""

    def test_covering_the_stamp_costs_the_planted_model_most(self, models: dict[str, keras.Model]) -> None:
        found = lrp.occlude(models["planted"], train.probe_set(), "stamp")
        assert [place.name for place in found.places] == [f"triangle {number}" for number in range(4)]
        for place in found.places:
            assert len(place.drops) == 28 * 28 - 1  # every other place of a 5 x 5 box
            assert place.drop > place.largest_other  # also those that cover a part of the stamp
            assert place.drop > 3 * place.largest_elsewhere
            assert place.drop > 0.5 * place.logit
        assert found.relies

    def test_covering_it_costs_the_control_nothing(self, models: dict[str, keras.Model]) -> None:
        found = lrp.occlude(models["control"], train.probe_set(), "stamp")
        assert not found.exceeds.any()
        assert (np.abs(found.drop) < 0.2 * found.elsewhere).all()

    def test_the_report_says_so(self, models: dict[str, keras.Model], tmp_path: Path) -> None:
        before = [variable.numpy().tobytes() for variable in models["planted"].variables]
        report = lrp.sanity_check(models["planted"], train.probe_set(), cover="stamp")
        assert [variable.numpy().tobytes() for variable in models["planted"].variables] == before
        assert report.verdicts == {"randomisation": True, "sensitivity": True, "faithfulness": True}
        assert "it costs most on 4 of 4 probes" in str(report)
        stamp, shape = report.localisation
        assert (stamp.mask, shape.mask) == ("stamp", "shape")
        assert stamp.mass.min() > 5 * 25 / 1024
        assert stamp.rank.min() > 0.5
        found = report.to_dict()
        assert found["occlusion"]["stamp"]["relies"] is True
        assert found["randomisation"]["layers"] == ["classes", "conv_3", "conv_2", "conv_1"]
        report.write_plot(tmp_path / "report.png")
        assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")
