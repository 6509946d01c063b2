"""Perturbation curves of a linear model, whose every point is a sum of relevance."""

from __future__ import annotations

import numpy as np
import pytest
from sanity_helpers import PIXELS, WEIGHTS, linear, probe

import lrp_monitor as lrp
from lrp_monitor.sanity.faithfulness import Faithfulness, area_over, patches, perturb
from lrp_monitor.sanity.subject import Subject


def curves(**options: object) -> Faithfulness:
    subject = Subject.of(linear(WEIGHTS, (0, 0, 0, 1)), probe(), "lrp_zero")
    return perturb(subject, **{"patch": 1, "fill": 0.0, "steps": 4, **options})  # type: ignore[arg-type]


class TestPatches:
    def test_boxes_number_by_number(self) -> None:
        labels, sizes = patches((3, 6), (2, 4))
        assert labels.tolist() == [[0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 1, 1], [2, 2, 2, 2, 3, 3]]
        assert sizes == (2, 4)

    @pytest.mark.parametrize(
        ("shape", "sizes", "count"),
        [((32, 32), (4, 4), 64), ((10,), (1,), 10), ((640,), (10,), 64), ((8, 8, 8), (2,) * 3, 64)],
    )
    def test_about_sixty_four(self, shape: tuple[int, ...], sizes: tuple[int, ...], count: int) -> None:
        labels, found = patches(shape)
        assert found == sizes
        assert sorted(set(labels.ravel())) == list(range(count))

    @pytest.mark.parametrize("patch", [0, (2,), (1, 1, 1)])
    def test_sizes_that_do_not_fit(self, patch: int | tuple[int, ...]) -> None:
        with pytest.raises(ValueError, match="patch="):
            patches((4, 4), patch)


class TestCurves:
    def test_most_and_least_relevant_first(self) -> None:
        found = curves()
        # relevance 4, 2, -3, 3 of a logit of 6: what is covered is taken from it
        assert found.covered.tolist() == [0, 0.25, 0.5, 0.75, 1]
        assert found.most.tolist() == [[6, 2, -1, -3, 0]]
        assert found.least.tolist() == [[6, 9, 7, 4, 0]]
        assert found.aopc["most"].tolist() == [26 / 5]  # 0 + 4 + 7 + 9 + 6
        assert found.aopc["least"].tolist() == [4 / 5]  # 0 - 3 - 1 + 2 + 6
        assert area_over(np.array([6.0, 2, -1, -3, 0])) == 26 / 5

    def test_random_orders(self) -> None:
        found = curves(draws=300)
        assert found.random.shape == (300, 1, 5)
        assert (found.random[..., 0] == 6).all()
        assert (found.random[..., -1] == 0).all()
        steps = -np.diff(found.random[:, 0], axis=1)
        assert (np.sort(steps, axis=1) == [-3, 2, 3, 4]).all()  # every region once, in each order
        # the mean drop after k of 4 regions is 6 k / 4
        assert found.aopc["random"] == pytest.approx([3.0], abs=0.2)
        assert found.ok

    def test_a_heatmap_turned_round_fails(self) -> None:
        subject = Subject.of(linear(WEIGHTS), probe(), "lrp_zero")
        turned = Subject(**{**subject.__dict__, "maps": -subject.maps})
        found = perturb(turned, patch=1, fill=0.0, steps=4)
        assert found.most.tolist() == [[6, 9, 7, 4, 0]]
        assert not found.ok

    def test_fewer_points_than_regions(self) -> None:
        assert curves(steps=2).most.tolist() == [[6, -1, 0]]

    def test_fills(self) -> None:
        # every pixel becomes the mean 2.5: sum of the weights 4.75 times that
        assert curves(fill="mean").most[0, -1] == pytest.approx(2.5 * 4.75)
        assert curves(fill="mean").most[0, 1] == pytest.approx(6 - 4 + 4 * 2.5)
        (noise,) = Subject.of(linear(WEIGHTS), probe(), "lrp_zero").filling("noise", seed=1)
        assert PIXELS.min() <= noise.min() < noise.max() <= PIXELS.max()
        assert curves(fill=PIXELS[..., None]).most.tolist() == [[6] * 5]  # covered by itself

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"fill": "grey"}, "fill='grey'"),
            ({"fill": np.ones(3)}, "which does not fit a sample of"),
            ({"steps": 0}, "steps=0"),
            ({"draws": 0}, "draws=0"),
        ],
    )
    def test_wrong_arguments(self, options: dict[str, object], words: str) -> None:
        with pytest.raises(ValueError, match=words):
            curves(**options)

    def test_samples_without_channels(self) -> None:
        model = linear((1, 2, 3), shape=(3,))
        subject = Subject.of(model, lrp.ProbeSet(np.array([[1.0, 1, 1], [3.0, 1, 1]]), target=0), "lrp_zero")
        # no axis of channels: a feature is filled with its own mean over the probes, 2, 1, 1
        assert subject.filling("mean")[0].tolist() == [[2, 1, 1]] * 2
        assert perturb(subject, fill=0.0, steps=3).most.tolist() == [[6, 3, 1, 0], [8, 5, 2, 0]]
