"""The demo's trainings for real: the figures that the documentation names, read back from the logged runs."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

import lrp_monitor as lrp
from lrp_monitor.demo import shapes, train

EXAMPLES = Path(__file__).parents[1] / "examples"
STEPS = [0, 1, 2, 4, 8, 16, 32, 64, *range(94, 941, 94)]  # 94 batches an epoch


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


@pytest.mark.slow
class TestSmall:
    """Eight batches of training: too little to learn, enough to see what is written."""

    arguments = ("--images", "64", "--epochs", "2", "--json")

    @pytest.fixture(scope="class")
    def small(self, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
        folder = tmp_path_factory.mktemp("small") / "demo"
        done = command("--log-dir", folder, *self.arguments)
        assert done.returncode == 0, done.stderr
        return folder, json.loads(done.stdout)

    def test_the_seed_decides(self, small: tuple[Path, dict[str, object]], tmp_path: Path) -> None:
        folder, found = small
        again = json.loads(command("--log-dir", tmp_path / "a", *self.arguments).stdout)
        other = json.loads(command("--log-dir", tmp_path / "b", *self.arguments, "--seed", "1").stdout)
        for run in ("planted", "control"):
            assert again[run]["stamp"] == found[run]["stamp"]  # type: ignore[index]  # JSON
            assert other[run]["stamp"] != found[run]["stamp"]  # type: ignore[index]  # JSON
            maps = lrp.open_run(folder / run).heatmaps(4)
            assert np.array_equal(lrp.open_run(tmp_path / "a" / run).heatmaps(4), maps)
            assert not np.array_equal(lrp.open_run(tmp_path / "b" / run).heatmaps(4), maps)

    def test_it_claims_no_shortcut(self, small: tuple[Path, dict[str, object]]) -> None:
        folder, found = small
        assert found["shortcut_found"] is False
        assert json.loads((folder / "demo.json").read_text()) == {"made_by": "lrp-monitor demo"} | found

    def test_again_only_with_overwrite_and_then_from_step_0(self, small: tuple[Path, dict[str, object]]) -> None:
        folder, _ = small
        refused = command("--log-dir", folder, *self.arguments)
        assert refused.returncode == 1
        assert refused.stdout == ""
        assert refused.stderr.count("\n") == 1
        assert "is not empty" in refused.stderr
        (folder / "notes.txt").write_text("mine")
        assert command("--log-dir", folder, *self.arguments, "--overwrite", "--epochs", "1").returncode == 0
        assert (folder / "notes.txt").read_text() == "mine"
        for run in ("planted", "control"):
            assert lrp.open_run(folder / run).steps == [0, 1, 2]
            assert len(lrp.open_run(folder / run).sessions) == 1
            assert len(list((folder / run / "lrp").glob("events.out.tfevents.*"))) == 1

    def test_the_example_runs(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        example("watch_a_shortcut").main(tmp_path, epochs=1, images=64)
        assert capsys.readouterr().out.count("of the relevance is on the stamp") == 6
        assert lrp.open_run(tmp_path / "planted").steps == [0, 1, 2]
        example("read_a_run").main(tmp_path / "control", tmp_path / "read.png")
        assert Image.open(tmp_path / "read.png").width > 500


@pytest.mark.slow
class TestWhole:
    """The demo as it is: its figures are those that the README promises."""

    @pytest.fixture(scope="class")
    def whole(self, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
        folder = tmp_path_factory.mktemp("whole") / "demo"
        done = command("--log-dir", folder)
        assert done.returncode == 0, done.stderr
        return folder, done.stdout, done.stderr

    def test_the_figures(self, whole: tuple[Path, str, str]) -> None:
        found = json.loads((whole[0] / "demo.json").read_text())
        planted, control = found["planted"], found["control"]
        assert planted["validation_accuracy"] >= 0.96
        assert control["validation_accuracy"] >= 0.98
        assert planted["recall_without_stamp"] <= 0.1
        assert control["recall_without_stamp"] >= 0.9
        assert planted["stamp_at_end"] >= 0.25
        assert control["stamp_at_end"] <= 0.02
        assert found["shortcut_found"] is True
        assert found["seconds"] < 180

    def test_the_runs_hold_what_was_printed(self, whole: tuple[Path, str, str]) -> None:
        folder, printed, _ = whole
        found = json.loads((folder / "demo.json").read_text())
        for name in ("planted", "control"):
            run = lrp.open_run(folder / name)
            assert run.steps == STEPS
            assert run.verify() == []
            assert run.meta["axis"] == "batch"
            maps, mask = run.heatmaps(940), run.probes.masks["stamp"]
            positive = np.maximum(maps, 0).astype(np.float64)
            share = (positive * mask).sum(axis=(1, 2))[:4] / positive.sum(axis=(1, 2))[:4]
            # maps are stored to 8 bits of their square root; the scalar is of the exact ones
            assert share.mean() == pytest.approx(found[name]["stamp_at_end"], abs=0.003)
            steps, values = run.scalar("lrp/mask_mass/stamp")
            assert steps.tolist() == STEPS == found[name]["steps"]
            assert values.tolist() == found[name]["stamp"]
            assert f"{100 * values[-1]:.1f} %" in printed
        assert printed.rstrip().endswith(f"tensorboard --logdir {folder}")

    def test_both_runs_look_at_the_same_probes(self, whole: tuple[Path, str, str]) -> None:
        planted, control = (lrp.open_run(whole[0] / name).probes for name in ("planted", "control"))
        assert planted.hash == control.hash == train.probe_set().hash
        assert np.array_equal(planted.masks["stamp"], control.masks["stamp"])
        assert np.array_equal(planted.masks["stamp"], train.probe_set().masks["stamp"])

    def test_the_control_looks_at_the_shapes(self, whole: tuple[Path, str, str]) -> None:
        _, planted = lrp.open_run(whole[0] / "planted").statistic("mask_mass/shape")
        _, control = lrp.open_run(whole[0] / "control").statistic("mask_mass/shape")
        assert control[-1, :4].mean() >= 0.5  # the stamped triangles
        assert planted[-1, :4].mean() <= 0.15
        assert control[-1].mean() >= 0.5  # all of them; a shape covers a tenth of the image

    def test_the_terminal_shows_nothing_but_what_is_being_done(self, whole: tuple[Path, str, str]) -> None:
        assert whole[2] == "training the planted model\ntraining the control model\ndrawing the films\n"

    def test_the_films(self, whole: tuple[Path, str, str]) -> None:
        sheet = Image.open(whole[0] / "planted_vs_control.png")
        assert sheet.width > 1000
        animation = Image.open(whole[0] / "planted_vs_control.gif")
        assert animation.n_frames == len(STEPS)  # type: ignore[attr-defined]  # only of animated formats

    def test_the_models_are_those_that_were_logged(self, whole: tuple[Path, str, str]) -> None:
        import keras

        probes = train.probe_set()
        for name in ("planted", "control"):
            model = keras.saving.load_model(whole[0] / name / "model.keras")
            run = lrp.open_run(whole[0] / name)
            logged = run.statistic("probability")[1][-1]
            assert probes.labels is not None
            now = model.predict(probes.inputs, verbose=0)[np.arange(16), probes.labels]
            assert now == pytest.approx(logged, abs=1e-5)
