"""Randomised weights and other classes: which weights, that they come back, and similarities by hand."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from sanity_helpers import PIXELS, WEIGHTS, linear, probe

import lrp_monitor as lrp
from lrp_monitor.sanity.randomisation import _random, randomise, weights_from_the_output
from lrp_monitor.sanity.sensitivity import other_classes
from lrp_monitor.sanity.similarity import spearman
from lrp_monitor.sanity.subject import Subject


def convolutional() -> keras.Model:
    keras.utils.set_random_seed(3)
    inner = keras.Sequential(
        [
            keras.layers.Conv2D(4, 3, activation="relu", name="deep"),
            keras.layers.BatchNormalization(beta_initializer="random_normal", name="norm"),
        ],
        name="inner",
    )
    return keras.Sequential(
        [
            keras.layers.Input((8, 8, 1)),
            keras.layers.Conv2D(3, 3, activation="relu", name="first"),
            inner,
            keras.layers.GlobalMaxPooling2D(),
            keras.layers.Dense(3, activation="softmax", name="head"),
        ]
    )


def images(n: int = 2) -> np.ndarray:
    return np.random.default_rng(0).uniform(size=(n, 8, 8, 1)).astype(np.float32)


def state(model: keras.Model) -> list[bytes]:
    return [variable.numpy().tobytes() for variable in model.variables]


class TestWeights:
    def test_from_the_output_down_frozen_ones_too_moving_statistics_not(self) -> None:
        model = convolutional()
        model.get_layer("first").trainable = False
        groups = weights_from_the_output(Subject.of(model, images()))
        assert [(name.split("/")[-1], [v.name for v in variables]) for name, variables in groups] == [
            ("head", ["kernel", "bias"]),
            ("norm", ["gamma", "beta"]),
            ("deep", ["kernel", "bias"]),
            ("first", ["kernel", "bias"]),
        ]

    def test_random_values(self) -> None:
        rng = np.random.default_rng(0)
        kernel = np.full((200, 300), 0.5, np.float32)
        drawn = _random(kernel, "normal", rng)
        assert drawn.dtype == np.float32
        assert drawn.mean() == pytest.approx(0, abs=0.01)
        assert drawn.std() == pytest.approx(0.5, rel=0.01)
        bias = np.arange(50, dtype=np.float32)
        for values, how in ((bias, "normal"), (np.arange(60.0).reshape(6, 10), "permute")):
            shuffled = _random(values, how, rng)
            assert shuffled.shape == values.shape
            assert (shuffled != values).any()
            assert np.array_equal(np.sort(shuffled, axis=None), np.sort(values, axis=None))


class TestRandomisation:
    def test_similarities_by_hand(self) -> None:
        subject = Subject.of(linear(WEIGHTS, (0, 0, 0, 1)), probe(), "lrp_zero")
        found = randomise(subject, draws=2, how="permute", seed=7)
        assert found.layers == ("logits",)
        for draw in range(2):
            kernel = np.stack([WEIGHTS, (0, 0, 0, 1)], axis=1).astype(np.float32)
            drawn = np.random.default_rng((7, draw)).permutation(kernel.ravel()).reshape(kernel.shape)
            terms = drawn[:, 0].reshape(1, 2, 2) * PIXELS
            trained = np.array([[[4.0, 2.0], [-3.0, 3.0]]])
            assert found.spearman[draw, 0] == pytest.approx(spearman(trained, terms))
            cosine = (trained * terms).sum() / np.sqrt((trained**2).sum() * (terms**2).sum())
            assert found.cosine[draw, 0] == pytest.approx([cosine], rel=1e-5)
            if draw == 0:
                assert found.maps[0] == pytest.approx(terms)

    def test_weights_come_back_bit_by_bit(self) -> None:
        model = convolutional()
        before = state(model)
        found = randomise(Subject.of(model, images()), draws=2)
        assert found.spearman.shape == (2, 4, 2)
        assert state(model) == before

    def test_also_when_it_fails_in_between(self) -> None:
        model = convolutional()
        before, reported = state(model), []

        def advance(units: int) -> None:
            reported.append(state(model))
            if len(reported) == 3:
                raise RuntimeError("stop")

        with pytest.raises(RuntimeError, match="stop"):
            randomise(Subject.of(model, images()), advance=advance)
        assert len({tuple(one) for one in [before, *reported]}) == 4  # other weights each time
        assert state(model) == before

    def test_the_same_seed_draws_the_same(self) -> None:
        model = convolutional()
        subject = Subject.of(model, images())
        first, again, other = (randomise(subject, draws=1, seed=seed).spearman for seed in (1, 1, 2))
        assert np.array_equal(first, again)
        assert not np.array_equal(first, other)

    def test_a_heatmap_that_does_not_depend_on_weights_fails(self) -> None:
        # behind average pooling every pixel's relevance is its value times one number, whatever the weights
        model = keras.Sequential(
            [
                keras.layers.Input((2, 2, 1)),
                keras.layers.GlobalAveragePooling2D(),
                keras.layers.Dense(2, use_bias=False),
            ]
        )
        found = randomise(Subject.of(model, probe(), "lrp_zero"))
        assert found.at_the_end == pytest.approx(1)
        assert not found.ok
        report = lrp.sanity_check(model, probe(), composite="lrp_zero", checks=["randomisation"])
        assert not report.ok
        assert "FAILED  randomised weights" in str(report)

    def test_wrong_arguments(self) -> None:
        subject = Subject.of(linear(WEIGHTS), probe())
        with pytest.raises(ValueError, match="draws=0"):
            randomise(subject, draws=0)
        with pytest.raises(ValueError, match="how='zero'"):
            randomise(subject, how="zero")


class TestOtherClasses:
    def test_by_hand(self) -> None:
        # logits 6, 12, -6, 2; relevance of the classes: r, 2 r, -r, and (0, 2, 0, 0)
        double, negated = np.multiply(WEIGHTS, 2), np.multiply(WEIGHTS, -1)
        subject = Subject.of(linear(WEIGHTS, double, negated, (0, 1, 0, 0)), probe(), "lrp_zero")
        found = other_classes(subject, most=3)
        assert found is not None
        assert found.others.tolist() == [[1, 3, 2]]
        assert found.cosine[0] == pytest.approx([1, 2 / np.sqrt(4**2 + 2**2 + 3**2 + 3**2), -1])
        assert found.spearman[0, [0, 2]] == pytest.approx([1, -1])
        assert found.maps[1, 0].tolist() == [[0, 2], [0, 0]]

    def test_the_same_map_for_every_class_fails(self) -> None:
        subject = Subject.of(linear(WEIGHTS, np.multiply(WEIGHTS, 2)), probe(), "lrp_zero")
        found = other_classes(subject)
        assert found is not None
        assert not found.ok

    def test_a_regression_has_no_other_class(self) -> None:
        subject = Subject.of(linear(WEIGHTS), probe(), "lrp_zero")
        assert other_classes(subject) is None
        assert lrp.sanity_check(linear(WEIGHTS), probe(), composite="lrp_zero").sensitivity is None


class TestReport:
    def test_progress_and_choice_of_checks(self) -> None:
        reported: list[tuple[str, int, int]] = []
        report = lrp.sanity_check(
            linear(WEIGHTS, (0, 0, 0, 1)),
            probe(masks={"first": (0, 0, 1, 1)}),
            composite="lrp_zero",
            checks=["randomisation", "localisation"],
            draws=2,
            progress=lambda *step: reported.append(step),
        )
        assert reported == [("randomisation", 1, 2), ("randomisation", 2, 2)]
        assert report.sensitivity is None
        assert report.faithfulness is None
        assert report.localisation[0].mass == pytest.approx([4 / 9])  # of 4 + 2 + 3
        assert report.plot().shape[2] == 3

    def test_wrong_arguments(self) -> None:
        with pytest.raises(ValueError, match="no check colour; there are randomisation"):
            lrp.sanity_check(linear(WEIGHTS), probe(), checks=["colour"])
        with pytest.raises(ValueError, match="cover: no mask 'hat'; the probes have: none"):
            lrp.sanity_check(linear(WEIGHTS), probe(), cover="hat")

    def test_logits_are_those_of_the_explanation(self) -> None:
        model, x = convolutional(), images(5)
        explainer = lrp.Explainer(model)
        assert explainer.logits(x) == pytest.approx(explainer.explain(x).logits, rel=1e-6)
        assert np.exp(explainer.logits(x)) / np.exp(explainer.logits(x)).sum(1, keepdims=True) == pytest.approx(
            model.predict(x, verbose=0), rel=1e-4
        )
