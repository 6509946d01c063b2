"""Covering a mask against covering as much elsewhere, by hand; on the demo's models: tests/test_demo_training.py."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from sanity_helpers import PIXELS, WEIGHTS, linear, probe

import lrp_monitor as lrp


class TestByHand:
    def test_one_pixel(self) -> None:
        probes = probe(masks={"first": (0, 0, 1, 1), "second": (0, 1, 1, 2)})
        first = lrp.occlude(linear(WEIGHTS), probes, "first", fill=0.0)
        place = first.places[0]
        assert (place.logit, place.drop) == (6, 4)
        assert place.offsets.tolist() == [[0, 1], [1, 0], [1, 1]]
        assert place.drops.tolist() == [2, -3, 3]
        assert (place.largest_elsewhere, place.largest_other, place.rank) == (3, 3, 1)
        assert first.relies
        assert place.map().tolist() == [[4, 2], [-3, 3]]
        second = lrp.occlude(linear(WEIGHTS), probes, "second", fill=0.0)
        assert second.drop.tolist() == [2]
        assert second.elsewhere.tolist() == [4]
        assert not second.relies
        assert second.places[0].rank == pytest.approx(1 / 3)
        assert "takes 2.00 from the logit, the costliest other region of its size 4.00" in second.summary()

    def test_overlap_and_stride(self) -> None:
        model = linear(np.arange(16.0), shape=(4, 4, 1))
        probes = lrp.ProbeSet(np.ones((1, 4, 4, 1)), target=0)
        whole = lrp.occlude(model, probes, (1, 1, 3, 3), fill=0.0).places[0]
        assert len(whole.drops) == 8
        assert whole.drop == 5 + 6 + 9 + 10
        corners = np.abs(whole.offsets).sum(axis=1) == 2
        assert whole.overlap[corners].tolist() == [0.25] * 4
        assert whole.overlap[~corners].tolist() == [0.5] * 4
        assert np.isnan(whole.largest_elsewhere)  # no place of a 4 x 4 map is apart from its middle
        assert whole.largest_other == 10 + 11 + 14 + 15
        coarse = lrp.occlude(model, probes, (0, 0, 2, 2), fill=0.0, stride=2).places[0]
        assert coarse.offsets.tolist() == [[0, 2], [2, 0], [2, 2]]
        assert coarse.drops.tolist() == [2 + 3 + 6 + 7, 8 + 9 + 12 + 13, 10 + 11 + 14 + 15]
        # the mean over the covers that reach a pixel; the mask's own place among them
        assert coarse.map()[0].tolist() == [10, 10, 18, 18]

    def test_a_form_that_is_no_box_keeps_its_form(self) -> None:
        corner = np.zeros((3, 3), bool)
        corner[1:, 1] = corner[2, 2] = True
        found = lrp.occlude(linear(2.0 ** np.arange(9), shape=(3, 3, 1)), np.ones((1, 3, 3, 1)), corner, fill=0.0)
        place = found.places[0]
        assert place.drop == 2**4 + 2**7 + 2**8
        assert dict(zip(map(tuple, place.offsets), place.drops, strict=True)) == {
            (-1, -1): 2**0 + 2**3 + 2**4, (-1, 0): 2**1 + 2**4 + 2**5, (0, -1): 2**3 + 2**6 + 2**7,
        }  # fmt: skip

    def test_a_single_sigmoid_unit_explained_for_its_class_0(self) -> None:
        model = keras.Sequential(
            [keras.layers.Input((2, 2, 1)), keras.layers.Flatten(), keras.layers.Dense(1, "sigmoid", use_bias=False)]
        )
        model.layers[-1].kernel.assign(np.array(WEIGHTS, np.float32)[:, None])
        place = lrp.occlude(model, probe(), (0, 0, 1, 1), fill=0.0).places[0]
        assert (place.logit, place.drop) == (-6, -4)
        assert place.drops.tolist() == [-2, 3, -3]

    def test_only_probes_that_carry_the_mask(self) -> None:
        mask = np.zeros((2, 2, 2), bool)
        mask[1, 0, 0] = True
        probes = lrp.ProbeSet(np.stack([PIXELS, PIXELS])[..., None], target=0, names=["a", "b"], masks={"m": mask})
        assert [place.name for place in lrp.occlude(linear(WEIGHTS), probes, "m").places] == ["b"]

    def test_wrong_arguments(self) -> None:
        with pytest.raises(ValueError, match="no mask 'hat'; the probes have: m"):
            lrp.occlude(linear(WEIGHTS), probe(masks={"m": (0, 0, 1, 1)}), "hat")
        with pytest.raises(ValueError, match="stride=0"):
            lrp.occlude(linear(WEIGHTS), probe(), (0, 0, 1, 1), stride=0)
        with pytest.raises(ValueError, match=r"half open, inside the map's shape"):
            lrp.occlude(linear(WEIGHTS), probe(), (0, 0, 3, 3))

    def test_a_large_map_is_searched_coarsely(self) -> None:
        model = linear(np.ones(60 * 60), shape=(60, 60, 1))
        place = lrp.occlude(model, np.ones((1, 60, 60, 1)), (10, 10, 13, 13)).places[0]
        assert len(place.offsets) < 2000  # 58 x 58 places at a stride of 1
        assert set(np.unique(place.offsets % 2)) == {0}
