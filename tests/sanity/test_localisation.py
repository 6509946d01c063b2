"""Mass and rank accuracy, rank correlation: against numbers counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from lrp_monitor.sanity.localisation import localise, rank_accuracy
from lrp_monitor.sanity.similarity import ranks, spearman

MASK = np.array([[[True, True, False], [False, False, False]]])


class TestAccuracies:
    def test_shares_say_how_many_probes_they_are_of(self) -> None:
        # 3 of 3 + 1 + 2 positive, 8 of 11 in all; then a map that only speaks against the class, 2 of 8.
        maps = np.array([[[3.0, -5.0, 1.0], [2.0, 0.0, 0.0]], [[-1.0, -1.0, -6.0], [0.0, 0.0, 0.0]]])
        found = localise(maps, "top", np.repeat(MASK, 2, axis=0), ("a", "b"))
        np.testing.assert_allclose(found.mass, [0.5, np.nan])
        np.testing.assert_allclose(found.absolute, [8 / 11, 2 / 8])
        assert "mass accuracy 0.500 (of 1 probes), rank accuracy" in found.summary()
        assert f"its share of |relevance| {(8 / 11 + 2 / 8) / 2:.3f}, its share of the area" in found.summary()
        only = localise(maps[1:], "top", MASK, ("b",))
        assert "mass accuracy undefined (of no probe)" in only.summary()

    def test_rank_is_the_share_of_the_highest_pixels(self) -> None:
        maps = np.array([[[3.0, -5.0, 1.0], [2.0, 0.0, 0.0]]])
        assert rank_accuracy(maps, MASK).tolist() == [0.5]  # the two highest are 3 (inside) and 2 (outside)
        assert rank_accuracy(-maps, MASK).tolist() == [0.5 + 0.5 * 0.0]  # 5 (inside), then a 0 outside

    def test_ties_count_as_chance(self) -> None:
        # the highest is inside; of four pixels that tie for the second place one is inside
        maps = np.array([[[9.0, 1.0, 1.0], [1.0, 1.0, 0.0]]])
        assert rank_accuracy(maps, MASK).tolist() == [(1 + 1 / 4) / 2]
        # a map of zeros gets the mask's share of the area
        assert rank_accuracy(np.zeros((1, 2, 3)), MASK) == pytest.approx([2 / 6])

    def test_nothing_to_say(self) -> None:
        maps = np.ones((2, 2, 3))
        maps[1, 0, 0] = np.nan
        masks = np.concatenate([np.zeros_like(MASK), MASK])
        assert np.isnan(rank_accuracy(maps, masks)).all()

    def test_only_probes_that_carry_the_mask_count(self) -> None:
        maps = np.array([np.eye(2), [[0.0, 4.0], [0.0, 0.0]]])
        masks = np.zeros((2, 2, 2), bool)
        masks[1, 0] = True
        found = localise(maps, "top", masks, ("a", "b"))
        assert (found.names, found.mass.tolist(), found.area.tolist()) == (("b",), [1.0], [0.5])
        assert "mass accuracy 1.00, rank accuracy" in found.summary()
        with pytest.raises(ValueError, match="'none' covers nothing"):
            localise(maps, "none", np.zeros((2, 2, 2), bool), ("a", "b"))


class TestSpearman:
    def test_ranks_share_ties(self) -> None:
        assert ranks(np.array([[5.0, 1.0, 5.0, 7.0]])).tolist() == [[1.5, 0.0, 1.5, 3.0]]

    def test_by_hand(self) -> None:
        first = np.array([[1.0, 2.0, 3.0, 4.0]] * 3)
        second = np.array([[10.0, 20.0, 30.0, 1e9], [4.0, 3.0, 2.0, 1.0], [2.0, 1.0, 4.0, 3.0]])
        # the last: differences of ranks 1, 1, 1, 1: 1 - 6 * 4 / (4 * 15)
        assert spearman(first, second) == pytest.approx([1.0, -1.0, 0.6])

    def test_a_constant_or_broken_map_has_none(self) -> None:
        first = np.array([[1.0, 2.0], [1.0, 2.0]])
        assert np.isnan(spearman(first, np.array([[3.0, 3.0], [np.nan, 1.0]]))).all()
