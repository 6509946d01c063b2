"""`lrp-monitor explain` on a file of probes that are more than a picture each."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

import lrp_monitor as lrp
from lrp_monitor.cli import main
from lrp_monitor.pictures.classes import class_colour
from lrp_monitor.probes import ProbeSet

RNG = np.random.default_rng(3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of two inputs and a language model, with probes of each."""
    folder = tmp_path_factory.mktemp("explained")
    image, table = keras.Input((4, 4, 1), name="image"), keras.Input((3,), name="table")
    joined = layers.Concatenate()([layers.Flatten()(image), table])
    keras.Model({"image": image, "table": table}, layers.Dense(2, activation="softmax")(joined)).save(
        folder / "two.keras"
    )
    given = {"image": RNG.random((3, 4, 4, 1)), "table": RNG.random((3, 3))}
    names = {"table": ["age", "income", "debt"]}
    ProbeSet(given, [0, 1, 0], class_names=["no", "yes"], feature_names=names).save(folder / "two.npz")
    ids = keras.Input((4,), dtype="int32")
    keras.Model(ids, layers.Dense(6)(layers.Embedding(6, 3)(ids))).save(folder / "words.keras")
    text = RNG.integers(0, 6, (2, 4))
    at = lrp.targets.Position([1, 3])
    ProbeSet(text, target=at, tokens=[[f"w{i}" for i in row] for row in text]).save(folder / "words.npz")
    ProbeSet(text, target=lrp.targets.Region(np.s_[:2], 1)).save(folder / "region.npz")
    keras.Sequential([keras.Input((4, 4, 1)), layers.Conv2D(2, 3, padding="same")]).save(folder / "pixels.keras")
    ProbeSet(given["image"], labels=RNG.integers(0, 2, (3, 4, 4)), class_names=["a", "b"]).save(folder / "pixels.npz")
    given_size = keras.Sequential([keras.Input((3,)), layers.Dense(1, activation="sigmoid")])
    given_size.save(folder / "size.keras")
    ProbeSet(given["table"], labels=np.array([0.2, 0.4, 0.9])).save(folder / "size.npz")
    return folder


def test_several_inputs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, probes = str(folder / "two.keras"), ProbeSet.load(folder / "two.npz")
    options = ["explain", model, str(folder / "two.npz"), "--composite", "epsilon"]
    assert main([*options, "-o", str(folder / "two.png"), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["explanations"]
    wanted = lrp.Explainer(keras.models.load_model(model), "epsilon").explain(probes.inputs, [0, 1, 0])
    assert [row["class"] for row in rows] == ["no", "yes", "no"]
    np.testing.assert_allclose([row["logit"] for row in rows], wanted.logit, rtol=1e-5)
    np.testing.assert_allclose([row["conservation"] for row in rows], wanted.conservation, rtol=1e-5)
    with Image.open(folder / "two.png") as picture:
        assert picture.width > 260  # drawn as a picture and bars, not as a row of pixels
        assert picture.height > 3 * 45
    assert main([*options, "--target", "yes", "-o", str(folder / "out.npz")]) == 0
    with np.load(folder / "out.npz") as found:
        other = lrp.Explainer(keras.models.load_model(model), "epsilon").explain(probes.inputs, 1)
        np.testing.assert_allclose(found["heatmaps table"], other.relevance["table"], rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(found["heatmaps image"], other.relevance["image"][..., 0], rtol=1e-4, atol=1e-7)
        np.testing.assert_array_equal(found["inputs table"], probes.inputs["table"])


def test_a_place_of_a_text(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = keras.models.load_model(folder / "words.keras")
    output = str(folder / "words.png")
    assert main(["explain", str(folder / "words.keras"), str(folder / "words.npz"), "-o", output, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["explanations"]
    logits = model.predict(ProbeSet.load(folder / "words.npz").inputs, verbose=0)[[0, 1], [1, 3]]
    assert [row["prediction"] for row in rows] == logits.argmax(axis=1).tolist()
    np.testing.assert_allclose([row["logit"] for row in rows], logits.max(axis=1), rtol=1e-5)


def test_a_region_of_a_text(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["explain", str(folder / "words.keras"), str(folder / "region.npz"), "-o", str(folder / "x.png")]
    assert main([*arguments, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["explanations"]
    inputs = ProbeSet.load(folder / "region.npz").inputs
    logits = keras.models.load_model(folder / "words.keras").predict(inputs, verbose=0)
    np.testing.assert_allclose([row["logit"] for row in rows], logits[:, :2, 1].sum(axis=1), rtol=1e-5)
    assert [(row["explains"], row["prediction"], row["class"]) for row in rows] == [("region", None, None)] * 2
    assert main([*arguments, "--target", "1"]) == 1
    assert "of an output of maps a region is explained" in capsys.readouterr().err


def test_pixels_are_drawn_with_labels_and_predictions(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, probes = str(folder / "pixels.keras"), ProbeSet.load(folder / "pixels.npz")
    options = ["explain", model, str(folder / "pixels.npz"), "-o"]
    assert main([*options, str(folder / "pixels.out.npz")]) == 0
    shown = capsys.readouterr()
    assert ": a region, logit" in shown.out
    assert "not finite" not in shown.out + shown.err
    predicted = keras.models.load_model(model).predict(probes.inputs, verbose=0).argmax(axis=-1)
    with np.load(folder / "pixels.out.npz") as found:
        np.testing.assert_array_equal(found["predicted"], predicted)
        np.testing.assert_array_equal(found["labels"], probes.label_maps)
    assert main([*options, str(folder / "pixels.png")]) == 0
    with Image.open(folder / "pixels.png") as picture:
        colours = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    assert (colours == class_colour(1)).all(axis=1).sum() >= 90  # the key of class b


def test_a_number_behind_a_sigmoid_is_explained_with_its_own_sign(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["explain", str(folder / "size.keras"), str(folder / "size.npz"), "-o", str(folder / "size.png")]
    assert main([*arguments, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["explanations"]
    output = keras.models.load_model(folder / "size.keras").predict(
        ProbeSet.load(folder / "size.npz").inputs, verbose=0
    )
    np.testing.assert_allclose([row["logit"] for row in rows], np.log(output / (1 - output))[:, 0], rtol=1e-4)
    assert [(row["explains"], row["target"], row["class"], row["prediction"]) for row in rows] == [
        ("number", 0, None, None)
    ] * 3
    assert main(arguments) == 0
    assert "probe 0: unit 0, logit " in capsys.readouterr().out


def test_channels_are_summed_over_the_axis_that_the_probes_name(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Four rows and two channels: of bare arrays the first axis would be taken for the channels.
    keras.Sequential([keras.Input((4, 8, 2)), layers.Flatten(), layers.Dense(2)]).save(folder / "rows.keras")
    probes = ProbeSet(RNG.normal(size=(2, 4, 8, 2)), [0, 1])
    probes.save(folder / "rows.npz")
    arguments = ["explain", str(folder / "rows.keras"), str(folder / "rows.npz"), "--composite", "epsilon"]
    assert main([*arguments, "-o", str(folder / "rows.out.npz")]) == 0
    wanted = lrp.relevance(keras.models.load_model(folder / "rows.keras"), probes.inputs, probes.labels, "epsilon")
    with np.load(folder / "rows.out.npz") as found:
        np.testing.assert_allclose(found["heatmaps"], wanted.sum(axis=-1), rtol=1e-4, atol=1e-6)
    arguments.insert(3, str(folder / "pixels.npz"))
    assert main([*arguments, "-o", str(folder / "x.png")]) == 1
    assert "are explained alone: give that file and no other" in capsys.readouterr().err
