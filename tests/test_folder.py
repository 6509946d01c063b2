"""Probe sets out of folders of pictures, against Keras' own reading of the same folder."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from lrp_monitor.cli import main
from lrp_monitor.probes import ProbeSet


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of four pictures of 12 x 10 and 9 x 16 pixels; two of them with masks."""
    rng = np.random.default_rng(1)
    for kind in ("cat", "dog"):
        (tmp_path / "pictures" / kind).mkdir(parents=True)
        for number in range(4):
            shape = (12, 10, 3) if number % 2 else (9, 16, 3)
            Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(tmp_path / f"pictures/{kind}/{number}.png")
    for file, box in (("cat/1", np.s_[2:8, 3:9]), ("dog/0", np.s_[:, 8:])):
        size = Image.open(tmp_path / f"pictures/{file}.png").size
        mask = np.zeros(size[::-1], np.uint8)
        mask[box] = 255
        Image.fromarray(mask).save(tmp_path / f"pictures/{file}.box.png")
    return tmp_path / "pictures"


@pytest.mark.parametrize("fit", ["stretch", "crop"])
def test_the_values_are_those_that_keras_trains_on(folder: Path, fit: str) -> None:
    for mask in folder.glob("*/*.box.png"):  # Keras takes them for pictures
        mask.unlink()
    probes = ProbeSet.from_directory(folder, per_class=4, size=(8, 6), fit=fit)
    data = keras.utils.image_dataset_from_directory(
        str(folder), image_size=(8, 6), crop_to_aspect_ratio=fit == "crop", shuffle=False, verbose=False
    )
    (x, y), *_ = list(data)
    assert probes.names == tuple(f"{kind}/{number}.png" for kind in ("cat", "dog") for number in range(4))
    np.testing.assert_array_equal(probes.labels, y)
    np.testing.assert_allclose(probes.inputs, x, rtol=0, atol=1e-3)  # of 255, in float32


def test_the_pick_depends_on_names_and_seed_alone(folder: Path) -> None:
    first = ProbeSet.from_directory(folder, size=(8, 8), seed=3)
    assert first.class_names == ("cat", "dog")
    np.testing.assert_array_equal(first.labels, [0, 0, 1, 1])
    assert ProbeSet.from_directory(str(folder), size=(8, 8), seed=3).hash == first.hash
    picks = {ProbeSet.from_directory(folder, size=(8, 8), seed=seed).names for seed in range(6)}
    assert len(picks) > 1
    # One more picture displaces at most itself: a picture's key is its own.
    Image.new("RGB", (8, 8)).save(folder / "cat" / "new.png")
    again = ProbeSet.from_directory(folder, size=(8, 8), seed=3)
    assert len(set(again.names) - set(first.names) - {"cat/new.png"}) == 0


def test_masks_beside_the_pictures(folder: Path) -> None:
    probes = ProbeSet.from_directory(folder, per_class=4, size=(12, 10))
    assert list(probes.masks) == ["box"]
    mask = probes.masks["box"]
    assert [name for name, one in zip(probes.names, mask, strict=True) if one.any()] == ["cat/1.png", "dog/0.png"]
    wanted = np.zeros((12, 10), bool)
    wanted[2:8, 3:9] = True
    np.testing.assert_array_equal(mask[probes.names.index("cat/1.png")], wanted)
    # The right half of 16 columns is the right half of 10.
    np.testing.assert_array_equal(mask[probes.names.index("dog/0.png")], np.arange(10)[None] >= np.full((12, 1), 5))


def test_a_folder_without_classes(folder: Path) -> None:
    probes = ProbeSet.from_directory(folder / "cat", per_class=3, size=(8, 8), color_mode="grayscale", scale=1 / 255)
    assert probes.labels is None
    assert probes.sample_shape == (8, 8, 1)
    assert 0 <= probes.inputs.min() < probes.inputs.max() <= 1
    assert len(ProbeSet.from_directory(folder, count=5, size=(8, 8))) == 5


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, r"pictures of several sizes \(.*\): give size=\(height, width\)"),
        ({"size": (8, 8), "per_class": 5}, r"per_class=5, but the folder 'cat' holds 4 picture\(s\)"),
        ({"size": (8, 8), "count": 9}, r"count=9, but .* holds 8 pictures"),
        ({"size": (8, 0)}, r"size=\(8, 0\)"),
        ({"size": (8, 8), "per_class": 0}, r"per_class=0"),
        ({"size": (8, 8), "color_mode": "cmyk"}, r"color_mode='cmyk': expected one of 'rgb'"),
        ({"size": (8, 8), "fit": "pad"}, r"fit='pad': expected one of 'stretch', 'crop'"),
    ],
)
def test_what_cannot_be_read_is_named(folder: Path, options: dict, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        ProbeSet.from_directory(folder, **options)


def test_files_that_are_no_pictures_are_named(folder: Path) -> None:
    (folder / "cat" / "0.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"0\.png: not a picture that Pillow can read"):
        ProbeSet.from_directory(folder, per_class=4, size=(8, 8))
    (folder / "cat" / "0.png").unlink()
    Image.new("L", (3, 3)).save(folder / "cat" / "1.box.png")
    with pytest.raises(ValueError, match=r"1\.box\.png: the mask has 3 x 3 pixels, its picture 12 x 10"):
        ProbeSet.from_directory(folder, per_class=3, size=(8, 8))
    (folder / "none").mkdir()
    with pytest.raises(ValueError, match=r"the folder 'none' holds no picture"):
        ProbeSet.from_directory(folder, size=(8, 8))
    with pytest.raises(ValueError, match="no such folder"):
        ProbeSet.from_directory(folder / "nowhere")


def test_the_command_writes_the_same_set(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "probes.npz"
    given = ["probes", str(folder), "-o", str(file), "--size", "8x6", "--seed", "2", "--scaling", "0..1"]
    assert main(given) == 0
    wanted = ProbeSet.from_directory(folder, seed=2, size=(8, 6), scale=1 / 255)
    assert ProbeSet.load(file).hash == wanted.hash
    assert "4 probes of 2 classes, 8 x 6 pixels" in capsys.readouterr().out
    assert main(given) == 1
    assert "is there already: --overwrite" in capsys.readouterr().err
    assert main([*given, "--overwrite", "--per-class", "9"]) == 1
    assert "per_class=9, but the folder 'cat' holds 4" in capsys.readouterr().err
    assert ProbeSet.load(file).hash == wanted.hash
