"""Sanity checks of several inputs, texts, regressions, and of places and regions of an output of maps: by hand."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers
from sanity_helpers import PIXELS, WEIGHTS

import lrp_monitor as lrp
from lrp_monitor.sanity.subject import Subject

ROW, COLUMN = np.array([1.0, 2.0, 3.0], np.float32), (5.0, -1.0, 2.0)  # relevance (5, -2, 6)
STEPS = np.arange(1.0, 7.0, dtype=np.float32).reshape(1, 3, 2)
KERNEL = np.array([[1.0, -1.0], [2.0, 3.0]], np.float32)


def of_two() -> tuple[keras.Model, lrp.ProbeSet]:
    """The logit is that of the four pixels, 6, plus that of the row, 9."""
    image, row, mask = keras.Input((2, 2, 1), name="image"), keras.Input((3,), name="row"), keras.Input((1,), name="on")
    both = layers.Concatenate()([layers.Flatten()(image), row])
    model = keras.Model({"image": image, "row": row, "on": mask}, layers.Dense(1, use_bias=False, name="logit")(both))
    model.get_layer("logit").kernel.assign(np.array([[*WEIGHTS, *COLUMN]], np.float32).T)
    given = {"image": PIXELS[None, ..., None], "row": ROW[None], "on": np.ones((1, 1), bool)}
    names = ["a", "leak", "c"]
    probes = lrp.ProbeSet(given, labels=[15.0], masks={"c": {"row": ["c"]}}, feature_names={"row": names})
    return model, probes


def per_step() -> keras.Model:
    """Logits (3 steps, 2 classes), each step by itself: x @ KERNEL."""
    model = keras.Sequential([keras.Input((3, 2)), layers.Dense(2, use_bias=False)])
    model.layers[0].kernel.assign(KERNEL)
    return model


def test_several_inputs_are_covered_each_in_its_own_map() -> None:
    model, probes = of_two()
    found = lrp.sanity_check(
        model, probes, composite="lrp_zero", fill=0.0, patch=1, cover="c", checks=("faithfulness", "localisation")
    )
    terms = np.array([4, 2, -3, 3, 5, -2, 6])
    np.testing.assert_array_equal(found.maps[0], terms)
    assert found.faithfulness is not None
    np.testing.assert_allclose(found.faithfulness.most[0], 15 - np.cumsum([0, 6, 5, 4, 3, 2, -2, -3]))
    assert "patches image: 1 x 1; row: 1" in found.faithfulness.summary()
    (place,) = found.occlusion[0].places
    assert (place.drop, place.drops.tolist()) == (6, [5, -2])  # moved over the row alone
    np.testing.assert_array_equal(place.map(), [0, 0, 0, 0, 5, -2, 6])
    assert found.localisation[0].mass[0] == pytest.approx(6 / 20)
    assert found.plot().shape[2] == 3
    mixed = Subject.of(model, probes).filling({"row": 7.0})
    np.testing.assert_array_equal(mixed[1], [[7, 7, 7]])
    assert mixed[0].mean() == pytest.approx(2.5)
    np.testing.assert_array_equal(mixed[2], [[True]])  # not watched: as it is
    with pytest.raises(ValueError, match="no watched input 'on'; there are image, row"):
        Subject.of(model, probes).filling({"on": 0.0})
    with pytest.raises(ValueError, match="of several inputs a whole number"):
        lrp.sanity_check(model, probes, patch=(1, 1), checks=("faithfulness",))
    across = lrp.ProbeSet(
        probes.inputs, masks={"both": {"row": ["c"], "image": (0, 0, 1, 1)}}, feature_names={"row": ["a", "b", "c"]}
    )
    with pytest.raises(ValueError, match="lies in the inputs 'image' and 'row'"):
        lrp.occlude(model, across, "both")


def test_the_weights_of_two_inputs_matter_and_come_back() -> None:
    model, probes = of_two()
    before = model.get_weights()[0].copy()
    found = lrp.sanity_check(model, probes, checks=("randomisation", "sensitivity"), draws=2)
    assert found.randomisation is not None
    assert found.randomisation.spearman.shape == (2, 1, 1)
    assert found.sensitivity is None  # one number
    np.testing.assert_array_equal(model.get_weights()[0], before)


@pytest.mark.parametrize(
    ("target", "places", "explained"),
    [
        (lrp.targets.Position(1, of=1), [1], 1),
        (lrp.targets.Region(np.array([[True, False, True]]), 1), [0, 2], 1),
        (lrp.targets.Region(np.s_[0:2], 0), [0, 1], 0),
        (None, [0, 1, 2], 0),  # the region that is predicted: class 0 at every step
    ],
)
def test_a_class_at_a_place_or_in_a_region(target: object, places: list[int], explained: int) -> None:
    probes = lrp.ProbeSet(STEPS, target=target)
    subject = Subject.of(per_step(), probes, "lrp_zero")

    def maps(of: int) -> np.ndarray:
        wanted = np.zeros((3, 2), np.float32)
        wanted[places] = STEPS[0, places] * KERNEL[:, of]
        return wanted

    np.testing.assert_allclose(subject.maps[0], maps(explained), rtol=1e-6)
    assert subject.targets.tolist() == [explained]
    assert subject.score[0] == pytest.approx(maps(explained).sum())
    found = lrp.sanity_check(per_step(), probes, composite="lrp_zero", fill=0.0, patch=1, draws=1)
    assert found.sensitivity is not None
    assert found.sensitivity.others.tolist() == [[1 - explained]]
    np.testing.assert_allclose(found.sensitivity.maps[0, 0], maps(1 - explained), rtol=1e-6)
    assert found.faithfulness is not None
    in_order = np.sort(maps(explained).ravel())[::-1]
    curve = maps(explained).sum() - np.concatenate([[0], np.cumsum(in_order)])
    np.testing.assert_allclose(found.faithfulness.most[0], curve, atol=1e-5)
    assert found.faithfulness.most[0, -1] == 0
    assert found.randomisation is not None
    assert "class 1" not in str(found)
    assert found.plot().size


def test_weights_of_outputs_have_no_other_class() -> None:
    weights = np.array([[0.0, 1], [0, 0], [2, 0]])
    probes = lrp.ProbeSet(np.repeat(STEPS, 2, 0), target=lrp.targets.Outputs(weights))
    found = lrp.sanity_check(per_step(), probes, composite="lrp_zero", fill=0.0, patch=1, draws=1)
    assert found.sensitivity is None
    assert found.randomisation is not None
    score = (STEPS[0] @ KERNEL * weights).sum()
    assert found.faithfulness is not None
    np.testing.assert_allclose(found.faithfulness.random[:, :, 0], score)


def test_token_ids_are_covered_by_padding_or_by_other_words() -> None:
    model = keras.Sequential(
        [keras.Input((4,), dtype="int32"), layers.Embedding(6, 3), layers.Flatten(), layers.Dense(2)]
    )
    ids = np.array([[1, 5, 2, 2], [3, 3, 5, 1]])
    subject = Subject.of(model, lrp.ProbeSet(ids, target=[0, 1]))
    (mean,) = subject.filling("mean")
    assert (mean.dtype.kind, mean.max()) == ("i", 0)
    (noise,) = subject.filling("noise")
    assert noise.dtype.kind == "i"
    assert set(noise.ravel()) <= {1, 2, 3, 5}
    of = np.array([1, 0])
    masks = np.array([[True, False, False, False], [False, False, True, True]])
    np.testing.assert_array_equal(subject.covered(of, masks, [mean]), [[0, 3, 5, 1], [1, 5, 0, 0]])
    logits = np.asarray(model(np.array([[0, 3, 5, 1], [1, 5, 0, 0]])))
    np.testing.assert_allclose(
        subject.scores(subject.covered(of, masks, [mean]), of), [logits[0, 1], logits[1, 0]], rtol=1e-5
    )
