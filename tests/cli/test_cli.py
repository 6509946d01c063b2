"""The command line on runs that the real store wrote, called in this process; once as a user runs it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import in_a_process, lrp_monitor
from numpy.typing import NDArray
from PIL import Image

from lrp_monitor.store.format import ProbeInfo, StepRecord
from lrp_monitor.store.writer import RunWriter

STEPS = (0, 1, 2, 4, 8)


def maps_at(step: int) -> NDArray[np.float32]:
    """Two maps of 4 x 6: a single pixel that moves right by one a log, the second map's negative."""
    maps = np.zeros((2, 4, 6), np.float32)
    maps[0, 1, STEPS.index(step)] = 1 + step
    maps[1, 1, STEPS.index(step)] = -1 - step
    return maps


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of five steps, two probes, one mask, in `tmp_path`/run."""
    mask = np.zeros((2, 4, 6), bool)
    mask[0, :2, :2] = True
    images = np.full((2, 4, 6, 1), 60, np.uint8)
    probes = ProbeInfo(
        names=["disk 0", "cross 0"],
        labels=np.array([0, 3]),
        class_names=["disk", "square", "triangle", "cross"],
        images=images,
        masks={"stamp": mask},
        map_shape=(4, 6),
        hash="ab" * 32,
        input_shape=(4, 6, 1),
    )
    meta = {"model": "tiny", "parameters": 1234, "composite": "epsilon", "axis": "batch"}
    writer = RunWriter(tmp_path / "run" / "lrp", probes, meta=meta, encoding="float32")
    for step in STEPS:
        scalars = {"lrp/mask_mass/stamp": step / 8, "weights/norm": 2.0}
        if step == 0:
            scalars["lrp/mask_mass/stamp"] = float("nan")
        writer.append(StepRecord(step, 0, step, 1e9 + step, heatmaps=maps_at(step), probes={}, scalars=scalars))
    writer.close()
    return tmp_path / "run"


class TestParsing:
    @pytest.mark.process
    def test_importing_the_command_line_imports_nothing_heavy(self) -> None:
        code = (
            "import sys, lrp_monitor.cli as cli\n"
            "try:\n    cli.main(['demo', '--help'])\nexcept SystemExit:\n    pass\n"
            "heavy = {'tensorflow', 'keras', 'numpy', 'PIL', 'tensorboard'} & set(sys.modules)\n"
            "assert not heavy, heavy"
        )
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)

    @pytest.mark.process
    def test_reading_runs_imports_no_tensorflow(self, run: Path) -> None:
        code = (
            "import sys, lrp_monitor.cli as cli\n"
            f"assert cli.main(['show', {str(run)!r}]) == 0\n"
            f"assert cli.main(['export', {str(run)!r}, '-o', {str(run / 'a.png')!r}]) == 0\n"
            "heavy = {'tensorflow', 'keras'} & set(sys.modules)\n"
            "assert not heavy, heavy"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    @pytest.mark.process
    def test_help_and_version_in_a_process(self) -> None:
        from lrp_monitor import __version__

        done = in_a_process("--help")
        assert (done.returncode, done.stderr) == (0, "")
        assert "Exit codes: 0 done, 1 failed" in done.stdout
        assert all(f"\n    {command} " in done.stdout for command in ("demo", "show", "export"))
        assert in_a_process("--version").stdout == f"lrp-monitor {__version__}\n"
        wrong = in_a_process("paint")
        assert (wrong.returncode, wrong.stdout) == (2, "")
        assert "invalid choice: 'paint'" in wrong.stderr

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ([], "the following arguments are required: COMMAND"),
            (["paint"], "invalid choice: 'paint'"),
            (["demo", "--epochs", "0"], "argument --epochs: must be at least 1, not 0"),
            (["demo", "--epochs", "two"], "argument --epochs: invalid whole number value: 'two'"),
            (["demo", "--seed", "-1"], "argument --seed: must be at least 0, not -1"),
            (["demo", "--images", "3"], "argument --images: must be at least 4, not 3"),
            (["show"], "the following arguments are required: RUN"),
            (["export", "a"], "the following arguments are required: -o/--output"),
            (
                ["export", "a", "-o", "b.png", "--scale", "each"],
                "argument --scale: invalid scale value: 'each'",
            ),
            (
                ["export", "a", "-o", "b.png", "--colormap", "jet"],
                "argument --colormap: invalid choice: 'jet'",
            ),
        ],
    )
    def test_wrong_usage_is_2(self, arguments: list[str], words: str) -> None:
        done = lrp_monitor(*arguments)
        assert done.returncode == 2
        assert words in done.stderr
        assert done.stdout == ""


class TestShow:
    def test_what_a_run_holds(self, run: Path) -> None:
        done = lrp_monitor("show", run)
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        assert "  model     tiny, 1,234 parameters, composite epsilon" in lines
        assert any(line.startswith("  steps     5, from 0 to 8 batches, 0.0 MB") for line in lines)
        assert "  probes    2 of 4 x 6: disk 0, cross 0" in lines
        assert "  masks     stamp" in lines
        assert [line.split() for line in lines[-6:]] == [
            ["step", "epoch", "mask_mass/stamp"],
            ["0", "0", "-"],
            ["1", "0", "0.125"],
            ["2", "0", "0.250"],
            ["4", "0", "0.500"],
            ["8", "0", "1.00"],
        ]

    def test_runs_of_other_models_beside_it(self, run: Path, tmp_path: Path) -> None:
        for name in ("lrp", "lrp-2"):
            shutil.copytree(run / "lrp", tmp_path / name)
        lines = lrp_monitor("show", tmp_path).stdout.splitlines()
        assert lines[0] == str(tmp_path / "lrp-2" / "plugins" / "lrp_monitor")
        assert f"  beside    {tmp_path / 'lrp'}: runs of other models" in lines

    def test_chosen_steps(self, run: Path) -> None:
        lines = lrp_monitor("show", run, "--steps", "8,1").stdout.splitlines()
        assert [line.split()[0] for line in lines[-3:]] == ["step", "1", "8"]

    def test_as_json(self, run: Path) -> None:
        found = json.loads(lrp_monitor("show", run / "lrp", "--json").stdout)
        assert found["steps"] == list(STEPS)
        assert found["probes"]["names"] == ["disk 0", "cross 0"]
        assert found["probes"]["map_shape"] == [4, 6]
        assert found["meta"]["composite"] == "epsilon"
        assert found["problems"] == []
        assert found["scalars"]["lrp/mask_mass/stamp"] == {
            "steps": list(STEPS),
            "values": [None, 0.125, 0.25, 0.5, 1.0],
        }
        store = run / "lrp" / "plugins" / "lrp_monitor"
        assert found["bytes"] == sum(file.stat().st_size for file in store.iterdir())

    def test_a_damaged_run_is_shown_with_its_problem(self, run: Path) -> None:
        segment = next((run / "lrp" / "plugins" / "lrp_monitor").glob("steps-*.tfrecord"))
        segment.write_bytes(segment.read_bytes()[:-10])
        done = lrp_monitor("show", run)
        assert done.returncode == 0
        assert "  steps     4, from 0 to 4 batches" in done.stdout
        assert "\n  problem   " in done.stdout

    @pytest.mark.process
    def test_a_reader_that_leaves_early_is_no_failure(self, run: Path) -> None:
        read, write = os.pipe()
        os.close(read)
        done = subprocess.run(
            [sys.executable, "-m", "lrp_monitor.cli", "show", str(run)],
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        os.close(write)
        assert (done.returncode, done.stderr) == (0, "")

    def test_one_line_and_1_where_there_is_no_run(self, run: Path) -> None:
        done = lrp_monitor("show", run.parent)
        assert done.returncode == 1
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1
        assert done.stderr.startswith("lrp-monitor: ")
        assert f"there are runs in {run}" in done.stderr

    @pytest.mark.parametrize(("steps", "words"), [("0,3", "no step 3"), ("0-3", "give numbers with commas between")])
    def test_steps_that_are_not_there(self, run: Path, steps: str, words: str) -> None:
        done = lrp_monitor("show", run, "--steps", steps)
        assert done.returncode == 1
        assert words in done.stderr
        assert done.stderr.count("\n") == 1


class TestExport:
    def test_arrays(self, run: Path, tmp_path: Path) -> None:
        out = tmp_path / "film.npz"
        done = lrp_monitor("export", run, "-o", out)
        assert done.returncode == 0, done.stderr
        with np.load(out, allow_pickle=False) as arrays:
            assert sorted(arrays.files) == ["images", "maps", "mask stamp", "names", "steps"]
            assert arrays["steps"].tolist() == list(STEPS)
            assert arrays["names"].tolist() == ["disk 0", "cross 0"]
            assert arrays["maps"].dtype == np.float32
            assert np.array_equal(arrays["maps"], np.stack([maps_at(step) for step in STEPS], axis=1))
            assert arrays["images"].shape == (2, 4, 6, 1)
            assert arrays["mask stamp"].sum() == 4

    def test_arrays_of_one_probe_at_chosen_steps(self, run: Path, tmp_path: Path) -> None:
        out = tmp_path / "film.npz"
        lrp_monitor("export", run, "-o", out, "--probe", "cross 0", "--steps", "2,8")
        with np.load(out, allow_pickle=False) as arrays:
            assert np.array_equal(arrays["maps"], np.stack([maps_at(2)[1:], maps_at(8)[1:]], axis=1))

    def test_a_sheet(self, run: Path, tmp_path: Path) -> None:
        out = tmp_path / "film.png"
        done = lrp_monitor("export", run, "-o", out, "--probe", "1", "--probe", "disk 0", "--mask", "stamp")
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"{out}: 5 steps, ")
        sheet = np.array(Image.open(out))
        # the one pixel of each map, enlarged by 19: whole in the cross's five, and in those three of the
        # disk's five that lie outside the mask's outline
        blue, red = (sheet == [0, 0, 77]).all(-1).sum(), (sheet == [128, 0, 0]).all(-1).sum()
        assert blue >= 5 * 19**2
        assert 3 * 19**2 <= red < 5 * 19**2

    def test_an_animation(self, run: Path, tmp_path: Path) -> None:
        out = tmp_path / "film.gif"
        done = lrp_monitor("export", run, run, "-o", out, "--steps", "0,4,8", "--milliseconds", "150")
        assert done.returncode == 0, done.stderr
        image = Image.open(out)
        assert image.n_frames == 3  # type: ignore[attr-defined]  # only of animated formats
        assert image.info["duration"] == 150

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["-o", "film.mp4"], "use one of .png, .gif, .npz"),
            (["-o", "film.png", "--probe", "star"], "no probe 'star'"),
            (["-o", "film.png", "--probe", "2"], "there are disk 0, cross 0"),
            (["-o", "film.png", "--mask", "hat"], "no mask 'hat'"),
            (["-o", "film.png", "--clip", "2"], "clip must be a quantile"),
            (["-o", "film.png", "--scale", "-1"], "scale must be"),
            (["-o", "film.png", "--steps", "5"], "nearest steps are 2, 4, 8"),
            (["-o", "nowhere/film.png"], "nowhere/film.png: No such file or directory"),
        ],
    )
    def test_failures_are_one_line_and_1(self, run: Path, arguments: list[str], words: str) -> None:
        done = lrp_monitor("export", run, *arguments)
        assert done.returncode == 1
        assert words in done.stderr
        assert done.stderr.count("\n") == 1
        assert done.stderr.startswith("lrp-monitor: ")
        assert not Path("film.png").exists()

    def test_what_was_written_as_json(self, run: Path, tmp_path: Path) -> None:
        out = tmp_path / "film.gif"
        done = lrp_monitor("export", run, "-o", out, "--steps", "1,4", "--json")
        assert json.loads(done.stdout) == {"output": str(out), "steps": [1, 4], "bytes": out.stat().st_size}
        assert done.stderr == ""

    def test_arrays_of_two_runs_are_refused(self, run: Path, tmp_path: Path) -> None:
        done = lrp_monitor("export", run, run, "-o", tmp_path / "film.npz")
        assert done.returncode == 1
        assert "one at a time" in done.stderr


class TestDemoFolder:
    """What the demo refuses to write into; it does so before it loads TensorFlow."""

    def test_a_folder_with_something_in_it(self, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("mine")
        done = lrp_monitor("demo", "--log-dir", tmp_path)
        assert done.returncode == 1
        assert done.stderr == (
            f"lrp-monitor: {tmp_path} is not empty (notes.txt): give another --log-dir, or --overwrite to "
            "replace what an earlier demo wrote there\n"
        )

    def test_overwrite_does_not_take_what_the_demo_has_not_written(self, tmp_path: Path) -> None:
        (tmp_path / "planted").mkdir()
        (tmp_path / "planted" / "model.keras").write_text("mine")
        for record in (None, "{}", "not json"):
            if record is not None:
                (tmp_path / "demo.json").write_text(record)
            done = lrp_monitor("demo", "--log-dir", tmp_path, "--overwrite")
            assert done.returncode == 1
            assert "does not say that the demo wrote it" in done.stderr
            assert (tmp_path / "planted" / "model.keras").read_text() == "mine"

    def test_a_file_in_the_way(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        done = lrp_monitor("demo", "--log-dir", tmp_path / "file")
        assert done.returncode == 1
        assert f"{tmp_path / 'file'}: File exists; give another --log-dir" in done.stderr
        assert done.stderr.count("\n") == 1


class TestNote:
    def test_a_note_is_kept_listed_and_removed(self, run: Path) -> None:
        assert "no notes yet" in lrp_monitor("note", run).stdout
        done = lrp_monitor("note", run, "last", "the stamp wins")
        assert (done.returncode, "step 8: the stamp wins" in done.stdout) == (0, True)
        (note,) = json.loads(lrp_monitor("note", run, "--json").stdout)["notes"]
        assert (note["step"], note["text"]) == (8, "the stamp wins")
        assert "no notes yet" in lrp_monitor("note", run, "--remove", note["name"]).stdout

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["3", "x"], "no step 3 in"),
            (["-"], "a note takes a step and a text"),
            (["first", "x"], "STEP must be a logged step or last, got 'first'"),
            (["--remove", "x"], "has no note 'x'"),
        ],
    )
    def test_what_is_wrong_is_reported(self, run: Path, words: list[str], message: str) -> None:
        done = lrp_monitor("note", run, *words)
        assert (done.returncode, message in done.stderr) == (1, True), done.stderr
