"""Pictures and arrays as a model takes them: sizes, scalings and refusals, without TensorFlow."""

from __future__ import annotations

import json
import os
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import lrp_monitor as lrp
from lrp_monitor.archives import MAX_ARRAY_BYTES
from lrp_monitor.cli import model_inputs
from lrp_monitor.cli.model_inputs import SCALINGS, InputError, Reader, Sample, read_class_names


def saved(path: Path, pixels: Any, **options: Any) -> Path:
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path, **options)
    return path


def one(path: Path, shape: tuple[int | None, ...], scaling: str = "0..255", **options: Any) -> tuple[Sample, Reader]:
    reader = Reader(shape, SCALINGS[scaling], **options)
    (sample,) = reader.read([path])
    return sample, reader


COLOURED = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [51, 102, 153]]])


class TestPictures:
    @pytest.mark.parametrize(
        ("scaling", "value"),
        [
            ("0..1", [0.2, 0.4, 0.6]),
            ("-1..1", [-0.6, -0.2, 0.2]),
            ("0..255", [51, 102, 153]),
            ("torch", [(0.2 - 0.485) / 0.229, (0.4 - 0.456) / 0.224, (0.6 - 0.406) / 0.225]),
            ("caffe", [153 - 103.939, 102 - 116.779, 51 - 123.68]),
        ],
    )
    def test_scalings(self, tmp_path: Path, scaling: str, value: list[float]) -> None:
        sample, reader = one(saved(tmp_path / "a.png", COLOURED), (2, 2, 3), scaling)
        assert sample.values.dtype == np.float32
        assert sample.values[1, 1] == pytest.approx(value, rel=1e-6, abs=1e-6)
        assert np.array_equal(sample.picture, COLOURED)
        assert reader.notes == []

    @pytest.mark.parametrize(
        ("scaling", "low", "high"),
        [
            ("0..1", 0, 1),
            ("-1..1", -1, 1),
            ("torch", [-2.117904, -2.035714, -1.804444], [2.248908, 2.428571, 2.64]),
            ("caffe", [-103.939, -116.779, -123.68], [151.061, 138.221, 131.32]),
        ],
    )
    def test_bounds(self, scaling: str, low: object, high: object) -> None:
        found = SCALINGS[scaling].bounds
        assert found[0] == pytest.approx(low, rel=1e-5)
        assert found[1] == pytest.approx(high, rel=1e-5)

    def test_resized_with_a_word_about_it(self, tmp_path: Path) -> None:
        path = saved(tmp_path / "wide.png", np.repeat([[0, 255]], 4, axis=0).repeat(4, axis=1))  # 8 x 4
        sample, reader = one(path, (4, 4, 1))
        assert reader.notes == ["wide.png: 8 x 4 resized to the model's 4 x 4, stretched"]
        assert (sample.values[:, 0] == 0).all()
        assert (sample.values[:, 3] == 255).all()
        middle, cropping = one(path, (2, 2, 1), fit="crop")
        assert cropping.notes == ["wide.png: 8 x 4 resized to the model's 2 x 2, its middle"]
        assert middle.values[:, 0, 0] == pytest.approx([0, 0], abs=40)
        assert middle.values[:, 1, 0] == pytest.approx([255, 255], abs=40)

    def test_a_model_that_leaves_the_size_open_takes_the_picture_as_it_is(self, tmp_path: Path) -> None:
        sample, reader = one(saved(tmp_path / "a.png", np.zeros((5, 7, 3))), (None, None, 3))
        assert sample.values.shape == (5, 7, 3)
        assert reader.notes == []

    def test_channels(self, tmp_path: Path) -> None:
        path = saved(tmp_path / "a.png", COLOURED)
        assert one(path, (2, 2, 1))[0].values[0, :, 0].tolist() == [76, 150]  # the usual weights of red and green
        assert one(path, (2, 8))[0].values.shape == (2, 8)  # two axes: grey, stretched
        first = one(path, (3, 2, 2))[0]
        assert first.values[:, 1, 1].tolist() == [51, 102, 153]
        assert first.picture.shape == (2, 2, 3)

    def test_turned_upright(self, tmp_path: Path) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6  # turned a quarter to the left
        path = saved(tmp_path / "a.png", [[0, 255], [0, 255], [0, 255]], exif=exif)
        sample, _ = one(path, (2, 3, 1))
        assert sample.values[..., 0].tolist() == [[0, 0, 0], [255, 255, 255]]

    def test_sixteen_bits_are_scaled_not_clipped(self, tmp_path: Path) -> None:
        path = tmp_path / "deep.png"
        Image.fromarray(np.array([[0, 32768], [65535, 257]], np.uint16)).save(path)
        assert one(path, (2, 2, 1))[0].values[..., 0].tolist() == [[0, 127], [255, 1]]

    def test_transparent_parts_are_white(self, tmp_path: Path) -> None:
        path = saved(tmp_path / "a.png", [[[9, 9, 9, 0], [9, 9, 9, 255]]])
        sample, reader = one(path, (1, 2, 3))
        assert sample.values[0, :, 0].tolist() == [255, 9]
        assert reader.notes == ["a.png: has transparent parts, put on white"]

    def test_refusals(self, tmp_path: Path) -> None:
        (tmp_path / "text.jpg").write_text("no picture")
        whole = saved(tmp_path / "whole.png", np.random.default_rng(0).integers(0, 255, (64, 64, 3)))
        (tmp_path / "cut.png").write_bytes(whole.read_bytes()[:3000])
        for name, shape, words in (
            ("gone.png", (2, 2, 3), "gone.png: no such file"),
            ("text.jpg", (2, 2, 3), "text.jpg: not a picture that Pillow can read"),
            ("cut.png", (2, 2, 3), "cut.png: not a picture that Pillow can read"),
            ("whole.png", (10,), r"takes samples of shape \(10,\), not pictures"),
        ):
            with pytest.raises(InputError, match=words):
                one(tmp_path / name, shape)
        with pytest.raises(InputError, match="this scaling is of three channels, but the model takes 1"):
            one(whole, (64, 64, 1), "torch")

    def test_names_are_reported_apart(self, tmp_path: Path) -> None:
        path = saved(tmp_path / "a.png", COLOURED)
        samples = Reader((2, 2, 3), SCALINGS["0..1"]).read([path, path])
        assert [sample.name for sample in samples] == ["a.png #0", "a.png #1"]


class TestArrays:
    def test_one_sample_or_several(self, tmp_path: Path) -> None:
        values = np.arange(24, dtype=np.float64).reshape(2, 3, 4)
        np.save(tmp_path / "one.npy", values[0])
        np.save(tmp_path / "two.npy", values)
        single, _ = one(tmp_path / "one.npy", (3, None))
        assert (single.name, single.values.dtype) == ("one", np.float32)
        assert np.array_equal(single.values, values[0])
        both = Reader((3, 4), SCALINGS["0..1"]).read([tmp_path / "two.npy"])
        assert [sample.name for sample in both] == ["two 0", "two 1"]
        assert np.array_equal(np.stack([sample.values for sample in both]), values)  # no scaling of arrays

    def test_npz(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "a.npz", x=np.ones((2, 3)), y=np.zeros((1, 3)))
        with pytest.raises(InputError, match="holds 2 arrays; choose one with --array: x, y"):
            one(tmp_path / "a.npz", (3,))
        assert one(tmp_path / "a.npz", (3,), array="y")[0].values.tolist() == [0, 0, 0]
        with pytest.raises(InputError, match="no array 'z'; there are: x, y"):
            one(tmp_path / "a.npz", (3,), array="z")

    def test_a_probe_set_brings_classes_and_names(self, tmp_path: Path) -> None:
        lrp.ProbeSet(np.ones((2, 3)), labels=[1, 0], class_names=["cat", "dog"]).save(tmp_path / "p.npz")
        reader = Reader((3,), SCALINGS["0..1"])
        samples = reader.read([tmp_path / "p.npz"])
        assert [(sample.name, sample.target) for sample in samples] == [("dog 0", 1), ("cat 0", 0)]
        assert reader.class_names == ("cat", "dog")

    def test_refusals(self, tmp_path: Path) -> None:
        np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
        np.save(tmp_path / "words.npy", np.array([["a", "b", "c"]]))
        np.save(tmp_path / "shape.npy", np.ones((2, 4)))
        np.save(tmp_path / "nan.npy", np.array([[1.0, np.nan, 1.0]]))
        (tmp_path / "text.npz").write_text("no archive")
        for name, words in (
            ("objects.npy", "objects.npy: the array holds pickled objects; save numbers alone"),
            ("text.npz", "text.npz: not a file of numbers"),
            (
                "words.npy",
                r"words.npy: not a file of numbers that NumPy wrote \(the array is no plain array of numbers",
            ),
            ("shape.npy", r"holds shape \(2, 4\), but the model takes \(3,\), or \(n, ...\) of it"),
            ("nan.npy", "NaN or infinity in probe 0"),
        ):
            with pytest.raises(InputError, match=words):
                one(tmp_path / name, (3,))

    def test_beside_objects_and_texts_the_chosen_array_is_read(self, tmp_path: Path) -> None:
        objects = np.array([{}], object)
        np.savez(tmp_path / "a.npz", x=np.ones((1, 3)), names=np.array(["cat"]), odd=objects, allow_pickle=True)
        assert one(tmp_path / "a.npz", (3,), array="x")[0].values.tolist() == [1, 1, 1]
        with pytest.raises(InputError, match=r"a\.npz: entry 'odd' holds pickled objects; save numbers alone"):
            one(tmp_path / "a.npz", (3,), array="odd")
        with pytest.raises(InputError, match="entry 'names' is no plain array of numbers"):
            one(tmp_path / "a.npz", (3,), array="names")

    @pytest.mark.parametrize("ending", ["npy", "npz"])
    def test_no_more_is_taken_in_than_there_is(self, tmp_path: Path, ending: str) -> None:
        """A header that claims a terabyte, and zeros that inflate to a quarter of one as float32."""
        path = tmp_path / f"a.{ending}"

        def put(shape: str, kind: str, data: bytes) -> None:
            header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': ({shape}), }}\n".encode()
            content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data
            if ending == "npy":
                path.write_bytes(content)
            else:
                with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                    archive.writestr("x.npy", content)

        put("2, 3", "<f4", np.arange(6, dtype="<f4").tobytes())
        assert [s.values.tolist() for s in Reader((3,), SCALINGS["0..1"]).read([path])] == [[0, 1, 2], [3, 4, 5]]
        tracemalloc.start()
        put("100000000000, 3", "<f4", bytes(24))
        with pytest.raises(InputError, match=r"says 1,200,000,000,000 bytes and holds \d+"):
            one(path, (3,))
        put(f"{100 << 20}, 3", "|u1", b"")
        os.truncate(path, MAX_ARRAY_BYTES + 1)
        with pytest.raises(InputError, match="at most 1,073,741,824 are read; put what is to be explained into a file"):
            one(path, (3,))
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
        tracemalloc.stop()

    def test_bytes_are_not_unfolded_to_floats_without_end(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        np.savez_compressed(tmp_path / "a.npz", np.zeros((300_000, 3), np.uint8))
        monkeypatch.setattr(model_inputs, "MAX_ARRAY_BYTES", 1 << 20)
        with pytest.raises(InputError, match="takes 3,600,000 bytes as float32; at most 1,048,576 are read; put what"):
            one(tmp_path / "a.npz", (3,))


class TestClassNames:
    def test_ways_to_give_them(self, tmp_path: Path) -> None:
        (tmp_path / "lines.txt").write_text("cat\ndog\n\n")
        (tmp_path / "list.json").write_text(json.dumps(["cat", "dog"]))
        (tmp_path / "index.json").write_text(json.dumps({"1": ["n2", "dog"], "0": ["n1", "cat"]}))
        for text in ("cat, dog", *(str(tmp_path / name) for name in ("lines.txt", "list.json", "index.json"))):
            assert read_class_names(text) == ["cat", "dog"]

    def test_refusals(self, tmp_path: Path) -> None:
        (tmp_path / "gap.json").write_text(json.dumps({"0": "cat", "2": "dog"}))
        (tmp_path / "broken.json").write_text("{")
        for text, words in (
            (str(tmp_path / "gap.json"), "the class numbers are not 0 to 1"),
            (str(tmp_path / "broken.json"), "Expecting property name"),
            ("names.txt", "names.txt: no such file"),
        ):
            with pytest.raises(InputError, match=words):
                read_class_names(text)
