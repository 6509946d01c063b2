"""`explain`, `check`, `compare` and `baseline` on saved models, called in this process; once as a user runs them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import get_args

import keras
import numpy as np
import pytest
from cli_helpers import Done, in_a_process, in_one_process, lrp_monitor
from PIL import Image

import lrp_monitor as lrp

NAMES = "disk,square,triangle"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Saved models of a kind each, a photograph, arrays and probes."""
    root = tmp_path_factory.mktemp("models")
    keras.utils.set_random_seed(1)
    layers = keras.layers

    def network(*extra: keras.layers.Layer, seed: int = 1) -> keras.Model:
        keras.utils.set_random_seed(seed)
        return keras.Sequential(
            [
                layers.Input((16, 16, 3)),
                *extra,
                layers.Conv2D(8, 3, activation="relu", name="stem"),
                layers.GlobalMaxPooling2D(name="pool"),
                layers.Dense(3, activation="softmax", name="head"),
            ],
            name="small",
        )

    network().save(root / "model.keras")
    network(seed=2).save(root / "other.keras")
    network(layers.Rescaling(1 / 255)).save(root / "scaled.keras")
    network(layers.Lambda(lambda x: 2.0 * x)).save(root / "lambda.keras")

    whole = network()
    flag = layers.Dense(2, name="flag")(whole.get_layer("pool").output)
    keras.Model(whole.inputs, [*whole.outputs, flag], name="two").save(root / "heads.keras")

    (root / "own_layers.py").write_text(
        "import keras\n\n\n@keras.saving.register_keras_serializable('own')\n"
        "class Doubled(keras.layers.Layer):\n    def call(self, x):\n        return 2.0 * x\n\n\n"
        "@keras.saving.register_keras_serializable('own')\n"
        "class Odd(keras.layers.Layer):\n    def call(self, x):\n        return keras.ops.reciprocal(x)\n"
    )
    sys.path.insert(0, str(root))
    try:
        import own_layers

        network(own_layers.Doubled()).save(root / "own.keras")
        odd = network()
        odd.pop()
        odd.add(own_layers.Odd(name="odd"))
        odd.add(layers.Dense(3))
        odd.save(root / "odd.keras")
    finally:
        sys.path.remove(str(root))

    rng = np.random.default_rng(0)
    photo = Image.fromarray(rng.integers(0, 255, (12, 16, 3), dtype=np.uint8)).resize(
        (640, 480), Image.Resampling.BICUBIC
    )
    photo.save(root / "photo.jpg")
    np.save(root / "batch.npy", rng.uniform(size=(4, 16, 16, 3)).astype(np.float32))
    lrp.ProbeSet(
        rng.uniform(size=(3, 16, 16, 3)),
        labels=[0, 1, 2],
        class_names=NAMES.split(","),
        masks={"corner": (0, 0, 4, 4)},
    ).save(root / "probes.npz")
    return root


def one_after_another(commands: list[list[str]], folder: Path) -> list[Done]:
    """Commands one after the other, in the folder."""
    return [lrp_monitor(*command, folder=folder) for command in commands]


def failed_in_one_line(done: Done) -> str:
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if not line.startswith("lrp-monitor: note: ")]
    assert len(lines) == 1, done.stderr
    return lines[0].removeprefix("lrp-monitor: ")


class TestParsing:
    @pytest.mark.process
    def test_help_loads_nothing_heavy(self) -> None:
        for command in ("explain", "check", "compare", "baseline", "cluster", "show"):
            code = (
                "import sys, lrp_monitor.cli as cli\n"
                f"try:\n    cli.main([{command!r}, '--help'])\nexcept SystemExit:\n    pass\n"
                "heavy = {'tensorflow', 'keras', 'numpy', 'PIL', 'tensorboard', 'sklearn'} & set(sys.modules)\n"
                "assert not heavy, heavy"
            )
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            assert "example" in done.stdout
            assert "Exit codes: 0 " in done.stdout

    def test_names_of_the_help_are_those_there_are(self) -> None:
        from lrp_monitor.arguments import Colormap, Preset, Tier
        from lrp_monitor.cli import model_arguments
        from lrp_monitor.cli.model_inputs import SCALINGS
        from lrp_monitor.engine.rules.composites import PRESETS
        from lrp_monitor.pictures import render
        from lrp_monitor.regression.tiers import TIERS

        assert ("auto", *PRESETS) == get_args(Preset)
        assert tuple(render.COLOUR_MAPS) == get_args(Colormap)
        assert ("auto", *SCALINGS) == model_arguments.SCALINGS
        assert tuple(TIERS) == get_args(Tier)

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["explain", "model.keras", "-o", "a.png"], "the following arguments are required: INPUT"),
            (["explain", "model.keras", "photo.jpg"], "the following arguments are required: -o/--output"),
            (["explain", "m", "a", "-o", "b.png", "--composite", "plus"], "invalid choice: 'plus'"),
            (["explain", "m", "a", "-o", "b.png", "--batch-size", "0"], "must be at least 1, not 0"),
            (["compare", "a"], "the following arguments are required: B"),
            (["baseline"], "the following arguments are required: create|update"),
        ],
    )
    def test_wrong_usage_is_2(self, folder: Path, arguments: list[str], words: str) -> None:
        done = lrp_monitor(*arguments, folder=folder)
        assert done.returncode == 2
        assert words in done.stderr


class TestExplain:
    @pytest.mark.process
    def test_a_photograph_as_a_picture_in_a_process(self, folder: Path) -> None:
        done = in_a_process(
            "explain", "model.keras", "photo.jpg", "-o", "out.png", "--class-names", NAMES, folder=folder
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr.splitlines() == [
            "lrp-monitor: note: the model does not scale pixels by itself: given in 0..1 (--scaling says otherwise)",
            "lrp-monitor: note: photo.jpg: 640 x 480 resized to the model's 16 x 16, stretched",
        ]
        first, last = done.stdout.splitlines()
        assert first.startswith("photo.jpg: ")
        assert first.split(": ")[1].split(",")[0] in NAMES.split(",")
        assert last.startswith("out.png: 1 heatmaps, ")
        sheet = np.array(Image.open(folder / "out.png"))
        assert (sheet == [128, 0, 0]).all(-1).any()  # a map's strongest pixel for the class

    def test_arrays_are_those_of_the_library(self, folder: Path) -> None:
        done = lrp_monitor(
            "explain", "model.keras", "batch.npy", "-o", "out.npz", "--target", "1", "--composite", "epsilon_plus",
            "--json", folder=folder,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        model, x = keras.saving.load_model(folder / "model.keras"), np.load(folder / "batch.npy")
        expected = lrp.Explainer(model, "epsilon_plus").explain(x, 1)
        with np.load(folder / "out.npz", allow_pickle=False) as arrays:
            assert arrays["relevance"] == pytest.approx(expected.relevance, rel=1e-4, abs=1e-7)
            assert arrays["heatmaps"].shape == (4, 16, 16)
            assert arrays["logits"] == pytest.approx(expected.logits, rel=1e-5)
            assert arrays["target"].tolist() == [1] * 4
            assert arrays["names"].tolist() == [f"batch {number}" for number in range(4)]
            assert np.array_equal(arrays["inputs"], x)
        found = json.loads(done.stdout)
        assert found["composite"] == "epsilon_plus"
        row = found["explanations"][2]
        assert (row["input"], row["target"], row["class"]) == ("batch 2", 1, "class 1")
        assert row["logit"] == pytest.approx(expected.logit[2], rel=1e-5)
        assert row["relevance_sum"] == pytest.approx(expected.relevance[2].sum(), rel=1e-4)

    def test_probes_bring_their_classes_and_targets_make_columns(self, folder: Path) -> None:
        one, two = one_after_another(
            [
                ["explain", "model.keras", "probes.npz", "-o", "one.png", "--json"],
                [
                    "explain", "model.keras", "probes.npz", "-o", "two.png", "--target", "disk", "--target", "2",
                    "--json", "--composite", "epsilon_gamma_box",
                ],
            ],
            folder,
        )  # fmt: skip
        assert one.returncode == 0, one.stderr
        rows = json.loads(one.stdout)["explanations"]
        assert [(row["input"], row["class"]) for row in rows] == [
            ("disk 0", "disk"), ("square 0", "square"), ("triangle 0", "triangle"),
        ]  # fmt: skip
        assert two.returncode == 0, two.stderr
        assert [row["target"] for row in json.loads(two.stdout)["explanations"]] == [0, 0, 0, 2, 2, 2]
        assert Image.open(folder / "two.png").width > Image.open(folder / "one.png").width

    def test_a_model_that_scales_by_itself_gets_pixels(self, folder: Path) -> None:
        Image.fromarray(np.full((16, 16, 3), 200, np.uint8)).save(folder / "plain.png")
        done = lrp_monitor("explain", "scaled.keras", "plain.png", "-o", "scaled.npz", folder=folder)
        assert "the model scales pixels by itself: given in 0..255" in done.stderr
        with np.load(folder / "scaled.npz") as arrays:
            assert (arrays["inputs"] == 200).all()

    def test_code_in_a_model_runs_only_where_it_is_trusted(self, folder: Path) -> None:
        command = ["explain", "lambda.keras", "batch.npy", "-o", "l.npz"]
        refused, trusted, again = one_after_another([command, [*command, "--trust-model"], command], folder)
        for one in (refused, again):
            words = failed_in_one_line(one)
            assert words.startswith("lambda.keras: holds Python code")
            assert words.endswith("add --trust-model")
        assert trusted.returncode == 0, trusted.stderr
        assert (folder / "l.npz").exists()

    def test_of_several_outputs_the_one_named(self, folder: Path) -> None:
        command = ["explain", "heads.keras", "batch.npy", "--target", "1", "-o"]
        done = one_after_another([[*command, "h.npz", "--head", "flag"], [*command, "i.npz", "--head", "1"]], folder)
        assert [one.returncode for one in done] == [0, 0], done[0].stderr
        model = keras.saving.load_model(folder / "heads.keras")
        expected = lrp.Explainer(model, output="flag").explain(np.load(folder / "batch.npy"), 1)
        for name in ("h.npz", "i.npz"):
            with np.load(folder / name, allow_pickle=False) as arrays:
                assert arrays["logits"].shape == (4, 2)
                assert arrays["relevance"] == pytest.approx(expected.relevance, rel=1e-4, abs=1e-7)

    @pytest.mark.process
    def test_own_layers_are_imported_by_name(self, folder: Path) -> None:
        """In a process that has not seen the layers; first without their module."""
        command = ["explain", "own.keras", "batch.npy", "-o", "o.npz"]
        done = in_one_process(command, [*command, "--import", "own_layers"], folder=folder)
        assert done.stdout.endswith("exits 1 0\n"), done.stdout + done.stderr
        (words,) = (line for line in done.stderr.splitlines() if not line.startswith("lrp-monitor: note: "))
        assert "Doubled" in words
        assert "--import MODULE" in words

    def test_failures_are_one_line_and_1(self, folder: Path) -> None:
        cases = [
            (["gone.keras", "batch.npy", "-o", "e.png"], "gone.keras: no such file; give a model that model.save"),
            (["probes.npz", "batch.npy", "-o", "e.png"], "probes.npz: not a model that Keras can open"),
            (
                ["model.keras", "batch.npy", "-o", "e.jpg"],
                "e.jpg: the ending says what to write; use one of .png, .npz",
            ),
            (["model.keras", "batch.npy", "-o", "no/e.png"], "no/e.png: there is no folder no"),
            (["model.keras", "gone.jpg", "-o", "e.png"], "gone.jpg: no such file"),
            (
                ["model.keras", "batch.npy", "-o", "e.png", "--target", "3"],
                "--target 3: no such class; give a number, 0 to 2",
            ),
            (
                ["model.keras", "batch.npy", "-o", "e.png", "--class-names", "a,b"],
                "2 class names for a model of 3 classes",
            ),
            (["model.keras", "batch.npy", "-o", "e.npz", "--target", "0", "--target", "1"], "an .npz holds one target"),
            (
                ["model.keras", "batch.npy", "-o", "e.png", "--composite", "deep_taylor", "--low", "0.5"],
                "lie outside the bounds of composite deep_taylor; give --low and --high",
            ),
            (
                ["heads.keras", "batch.npy", "-o", "e.png"],
                "model 'two' has 2 outputs: choose one with --head: head, flag",
            ),
            (
                ["heads.keras", "batch.npy", "-o", "e.png", "--head", "2"],
                "--head 2: the outputs of model 'two' are head, flag",
            ),
            (
                ["model.keras", "batch.npy", "-o", "e.png", "--head", "flag"],
                "--head flag: model 'small' has one output; leave --head out",
            ),
            (
                ["odd.keras", "batch.npy", "-o", "e.png", "--import", "own_layers"],
                "`lrp-monitor check odd.keras` lists all, --on-unknown gradient lets the plain gradient through",
            ),
        ]
        done = one_after_another([["explain", *arguments] for arguments, _ in cases], folder)
        for (_, words), one in zip(cases, done, strict=True):
            assert words in failed_in_one_line(one)
        assert not list(folder.glob("e.*"))


class TestCheck:
    def test_yes_with_the_table_no_with_what_is_refused(self, folder: Path) -> None:
        yes, no, figures, unchosen, chosen = one_after_another(
            [
                ["check", "model.keras"],
                ["check", "odd.keras", "photo.jpg", "--import", "own_layers", "--json"],
                ["check", "model.keras", "batch.npy", "--target", "0", "--json"],
                ["check", "heads.keras"],
                ["check", "heads.keras", "--head", "1"],
            ],
            folder,
        )
        assert (yes.returncode, yes.stderr) == (0, "")
        assert yes.stdout.startswith("model 'small' under composite 'epsilon_gamma': supported\n")
        assert [line.split()[0] for line in yes.stdout.splitlines()[3:]] == ["stem", "pool", "head"]

        assert no.returncode == 3, no.stderr
        found = json.loads(no.stdout)
        assert (found["ok"], found["supported"], found["layers"]) == (False, False, [])
        assert len(found["problems"]) == 1
        assert "odd" in found["problems"][0]

        assert "choose one with --head: head, flag" in failed_in_one_line(unchosen)
        assert chosen.returncode == 0, chosen.stderr
        of_the_logit = {line.split()[0]: line.split()[2] for line in chosen.stdout.splitlines()[3:]}
        assert (of_the_logit["flag"], of_the_logit["head"]) == ("1.000", "0")

        assert figures.returncode == 0, figures.stderr
        found = json.loads(figures.stdout)
        assert found["ok"] is True
        assert len(found["conservation"]) == 4
        assert found["layers"][-1]["name"] == "head"
        assert found["layers"][-1]["of_the_logit"] == pytest.approx([1] * 4)


class TestBaselines:
    def test_made_once_updated_where_it_changed_and_compared(self, folder: Path, tmp_path: Path) -> None:
        name, page, kept = str(tmp_path / "pinned" / "first"), str(tmp_path / "report.html"), tmp_path / "kept"
        probes = ["--probes", "probes.npz"]
        early, created, again, unchanged, same, changed = one_after_another(
            [
                ["baseline", "update", name, "model.keras", *probes],
                ["baseline", "create", name, "model.keras", *probes, "--json"],
                ["baseline", "create", name, "model.keras", *probes],
                ["baseline", "update", name, "model.keras", *probes],
                ["compare", name, "model.keras", *probes],
                ["compare", name, "other.keras", *probes, "--html", page],
            ],
            folder,
        )
        assert "no such baseline; `lrp-monitor baseline create` makes it" in failed_in_one_line(early)
        assert created.returncode == 0, created.stderr
        found = json.loads(created.stdout)
        assert (found["baseline"], found["probes"]) == ("written", 3)
        files = [Path(file) for file in found["files"]]
        assert sum(file.stat().st_size for file in files) == found["bytes"]
        assert "is there already" in failed_in_one_line(again)
        assert unchanged.stdout.startswith("unchanged: ")
        assert same.returncode == 0, same.stderr
        assert same.stdout.startswith("heatmaps same: 3 probes, tier same_weights\n")
        assert changed.returncode == 3
        assert changed.stdout.startswith("heatmaps CHANGED: ")
        assert changed.stdout.endswith(f"Pictures: {page}\n")
        assert Path(page).read_text().startswith("<!doctype html>")

        before = [file.read_bytes() for file in files]
        kept.mkdir()
        (kept / "first.npz").write_bytes(before[0][:-40])  # damaged: made anew
        (kept / "first.json").write_bytes(before[1])
        unchanged, written, mended = one_after_another(
            [
                ["baseline", "update", name, "model.keras", *probes],
                ["baseline", "update", name, "other.keras", *probes],
                ["baseline", "update", str(kept / "first"), "model.keras", *probes],
            ],
            folder,
        )
        assert unchanged.stdout.startswith("unchanged: ")
        assert written.stdout.startswith("written: ")
        assert [file.read_bytes() for file in files] != before
        assert mended.stdout.startswith("written: ")
        assert [(kept / file.name).read_bytes() for file in files] == before  # the same maps, the same bytes

    @pytest.mark.process
    def test_baselines_are_compared_without_tensorflow(self, folder: Path, tmp_path: Path) -> None:
        model = keras.saving.load_model(folder / "model.keras")
        probes = lrp.ProbeSet.load(folder / "probes.npz")
        lrp.Snapshot.of(model, probes).save(tmp_path / "a")
        code = (
            "import sys, lrp_monitor.cli as cli\n"
            f"a = {str(tmp_path / 'a')!r}\n"
            "assert cli.main(['compare', a, a + '.json', '--limit', 'mask_mass/corner=0.5', '--json']) == 0\n"
            "heavy = {'tensorflow', 'keras'} & set(sys.modules)\nassert not heavy, heavy"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert found["ok"] is True
        assert found["limits"]["mask_mass"] == {"corner": 0.5}

    def test_failures_are_one_line_and_1(self, folder: Path) -> None:
        cases = [
            (["gone", "gone"], "gone.json: there is no such baseline; to mend: make it with"),
            (["model.keras", "model.keras"], "model.keras: a model needs --probes FILE"),
            (["model.keras", "a", "--probes", "gone.npz"], "gone.npz: no such file"),
            (["model.keras", "a", "--probes", "batch.npy"], "batch.npy: not a probe set that ProbeSet.save wrote"),
            (["a", "b", "--limit", "cosine"], "--limit cosine: give NAME=NUMBER"),
            (["a", "b", "--limit", "cosine/stamp=1"], "only mask_mass has parts"),
        ]
        done = one_after_another([["compare", *arguments] for arguments, _ in cases], folder)
        for (_, words), one in zip(cases, done, strict=True):
            assert words in failed_in_one_line(one)
