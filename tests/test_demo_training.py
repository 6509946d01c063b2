"""The demo's trainings for real: the figures that the documentation names, read back from the logged runs."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
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
STEPS = [0, 1, 2, 4, 8, 16, 32, 64, *range(94, 941, 94)]  # 94 batches an epoch

Demo = tuple[Path, subprocess.CompletedProcess[str]]
"""The demo's folder, and how the command that made it ended."""


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


class Small:
    """Eight batches of training: too little to learn, enough to see what is written."""

    arguments = ("--images", "64", "--epochs", "2", "--json")

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def run(self, folder: Path, *more: str) -> dict[str, Any]:
        code = main(["demo", "--log-dir", str(folder), *self.arguments, *more])
        printed = self._capsys.readouterr()
        assert code == 0, printed.err
        found: dict[str, Any] = json.loads(printed.out)
        return found

    @staticmethod
    def maps(folder: Path) -> list[NDArray[np.float32]]:
        return [lrp.open_run(folder / name).heatmaps(4) for name in train.RUNS]


@pytest.mark.trains
def test_the_seed_decides_and_a_folder_is_not_written_to_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two, small = tmp_path / "one", tmp_path / "two", Small(capsys)
    first = small.run(one)
    assert first["shortcut_found"] is False
    assert json.loads((one / "demo.json").read_text()) == {"made_by": "lrp-monitor demo"} | first
    before = small.maps(one)

    assert main(["demo", "--log-dir", str(one), *small.arguments]) == 1
    refused = capsys.readouterr()
    assert refused.out == ""
    assert refused.err.count("\n") == 1
    assert "is not empty" in refused.err

    train.train("planted", two, train.Settings(epochs=2, images=64))
    assert np.array_equal(lrp.open_run(two).heatmaps(4), before[list(train.RUNS).index("planted")])

    (one / "notes.txt").write_text("mine")
    other = small.run(one, "--overwrite", "--seed", "1")
    assert (one / "notes.txt").read_text() == "mine"
    for name, maps, again in zip(train.RUNS, before, small.maps(one), strict=True):
        assert other[name]["stamp"] != first[name]["stamp"]
        assert not np.array_equal(maps, again)
        run = lrp.open_run(one / name)
        assert run.steps == [0, 1, 2, 4]
        assert len(run.sessions) == 1
        assert len(list((one / name / "lrp").glob("events.out.tfevents.*"))) == 1


@pytest.mark.trains
def test_the_examples_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example("watch_a_shortcut").main(tmp_path, epochs=1, images=64)
    assert capsys.readouterr().out.count("of the relevance is on the stamp") == 6
    assert lrp.open_run(tmp_path / "planted").steps == [0, 1, 2]
    example("read_a_run").main(tmp_path / "control", tmp_path / "read.png")
    assert Image.open(tmp_path / "read.png").width > 500


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """The whole demo, run once as a user runs it."""
    folder = tmp_path_factory.mktemp("whole") / "demo"
    return folder, command("--log-dir", folder)


@pytest.mark.trains
def test_the_whole_demo_shows_what_the_documentation_says(demo: Demo, tmp_path: Path) -> None:
    folder, done = demo
    assert done.returncode == 0, done.stderr
    # the terminal shows what is being done, and none of TensorFlow's messages
    assert done.stderr == "training the planted model\ntraining the control model\ndrawing the films\n"

    found = json.loads((folder / "demo.json").read_text())
    planted, control = found["planted"], found["control"]
    assert planted["validation_accuracy"] >= 0.96
    assert control["validation_accuracy"] >= 0.98
    assert planted["recall_without_stamp"] <= 0.1
    assert control["recall_without_stamp"] >= 0.9
    assert planted["stamp_at_end"] >= 0.85
    assert control["stamp_at_end"] <= 0.02
    assert found["shortcut_found"] is True
    assert found["seconds"] > 0

    for name in train.RUNS:
        the_run_holds_what_was_printed(folder / name, found[name], done.stdout)
        the_model_is_the_one_that_was_logged(folder / name)
    assert done.stdout.rstrip().endswith(f"tensorboard --logdir {folder}")
    both_runs_look_at_the_same_probes_and_only_the_control_at_the_shapes(folder)
    the_leading_channels_of_the_triangle_lie_in_the_stamp_of_the_planted_run_alone(folder)

    assert Image.open(folder / "planted_vs_control.png").width > 1000
    example("one_unit_in_two_runs").main(folder, tmp_path / "unit.png")
    assert Image.open(tmp_path / "unit.png").width > 1000
    animation = Image.open(folder / "planted_vs_control.gif")
    assert animation.n_frames == len(STEPS)  # type: ignore[attr-defined]  # only of animated formats


def the_run_holds_what_was_printed(log_dir: Path, found: dict[str, Any], printed: str) -> None:
    run = lrp.open_run(log_dir)
    assert run.steps == STEPS
    assert run.verify() == []
    assert run.meta["axis"] == "batch"
    maps, mask = run.heatmaps(940), run.probes.masks["stamp"]
    positive = np.maximum(maps, 0).astype(np.float64)
    share = (positive * mask).sum(axis=(1, 2))[:4] / positive.sum(axis=(1, 2))[:4]
    # maps are stored to 8 bits of their square root; the scalar is of the exact ones
    assert share.mean() == pytest.approx(found["stamp_at_end"], abs=0.003)
    steps, values = run.scalar("lrp/mask_mass/stamp")
    assert steps.tolist() == STEPS == found["steps"]
    assert values.tolist() == found["stamp"]
    assert f"{100 * values[-1]:.1f} %" in printed


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


def the_leading_channels_of_the_triangle_lie_in_the_stamp_of_the_planted_run_alone(folder: Path) -> None:
    triangle, masses = shapes.CLASSES.index("triangle"), {}
    for name in train.RUNS:
        run = lrp.open_run(folder / name)
        assert run.meta["composite_choice"] == "3 convolutions deep"  # by "auto": what a user gets who asks for none
        history = run.channel_history("conv_3")
        row = history.of_class(triangle)
        channels = leading(history.shares[-1, row], 4)
        masses[name] = run.channel_masses("conv_3", STEPS[-1], "stamp")[row, channels]
        assert masses[name].shape == (4,)
    assert masses["planted"].min() >= 0.5, masses  # of every seed: tests/test_demo_features.py
    assert masses["control"].mean() <= 0.05, masses


@pytest.fixture(scope="module")
def models(demo: Demo) -> dict[str, keras.Model]:
    return {run: keras.saving.load_model(demo[0] / run / "model.keras") for run in train.RUNS}


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
