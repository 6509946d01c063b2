"""Every metric against numbers derived by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lrp_monitor import metrics

# Normalised: a = (.75, .25, 0, 0), b = (.25, .25, .5, 0).
A = np.array([[3.0, 1, 0, 0]], np.float32)
B = np.array([[1.0, 1, 2, 0]], np.float32)


def test_normalised_maps_have_a_sum_of_magnitudes_of_one():
    maps = np.array([[[3, -1], [0, 0]], [[0, 0], [0, 0]]], np.float32)
    assert metrics.normalised(maps).tolist() == [[[0.75, -0.25], [0, 0]], [[0, 0], [0, 0]]]


def test_relative_l2_by_hand():
    # |(-.5, 0, .5, 0)|^2 = .5 over |a|^2 = .5625 + .0625
    assert metrics.relative_l2(A, B) == pytest.approx(math.sqrt(0.5 / 0.625))
    assert metrics.relative_l2(B, A) == pytest.approx(math.sqrt(0.5 / 0.375))


def test_cosine_by_hand():
    assert metrics.cosine(A, B) == pytest.approx(4 / math.sqrt(10 * 6))
    assert metrics.cosine(A, -A) == pytest.approx(-1)


def test_js_by_hand():
    # middle (.5, .25, .25, 0): KL(p, m) = .75 log2 1.5, KL(q, m) = .25 log2 .5 + .5 log2 2
    assert metrics.js(A, B) == pytest.approx((0.75 * math.log2(1.5) + 0.25) / 2)
    assert metrics.js(B, A) == metrics.js(A, B)


def test_js_looks_at_positive_relevance_alone():
    assert metrics.js(A, np.array([[3.0, 1, -9, 0]])) == pytest.approx(0)
    assert metrics.js(A, np.array([[0, 0, 5.0, -3]])) == pytest.approx(1)  # no pixel in common


def test_iou_by_hand():
    # A tenth of 20 pixels: 2. The best of a are 0 and 1, of b 1 and 2: 1 in common of 3.
    a, b = np.zeros((1, 20)), np.zeros((1, 20))
    a[0, :3] = 3, 2, 1
    b[0, :3] = 1, 2, 3
    assert metrics.iou(a, b) == pytest.approx(1 / 3)


def test_iou_counts_positive_relevance_alone():
    a, b = np.zeros((1, 20)), np.zeros((1, 20))
    a[0, 0], b[0, 19] = 1, 1
    # Each has one positive pixel; were pixels of zero relevance filled in, both would share pixel 0 or 1.
    assert metrics.iou(a, b) == 0
    b[0, 0] = 0.5
    assert metrics.iou(a, b) == 0.5


def test_iou_of_a_tiny_map_compares_one_pixel():
    assert metrics.iou(A, B) == 0
    assert metrics.iou(A, A) == 1


def test_mask_mass_by_hand():
    maps = np.array([[3.0, 1, -5, 4], [0, 0, -1, 0], [1, 1, 1, 1], [np.nan, 1, 1, 1]], np.float32)
    mask = np.array([[1, 0, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0], [0, 1, 0, 0]], bool)
    # 3 of 8; no positive relevance; an empty mask; not finite.
    np.testing.assert_allclose(metrics.mask_mass(maps, mask), [0.375, np.nan, np.nan, np.nan])


def test_a_share_of_next_to_nothing_is_none():
    mask = np.array([[1, 0, 0]], bool)
    for positive, known in ((0.05, True), (0.049, False), (1e-3, False), (1e-9, False)):
        maps = np.array([[positive, 0.0, positive - 1.0]])  # positive relevance is that part of all |relevance|
        np.testing.assert_allclose(metrics.mask_mass(maps, mask), [1.0 if known else np.nan])
        np.testing.assert_allclose(metrics.mask_absolute(maps, mask), [positive])


def test_mask_absolute_by_hand():
    maps = np.array([[3.0, 1, -5, 4], [0, 0, -1, 0], [1, 1, 1, 1], [np.nan, 1, 1, 1], [0, 0, 0, 0]])
    mask = np.array([[1, 0, 1, 0], [0, 0, 1, 1], [0, 0, 0, 0], [0, 1, 0, 0], [1, 1, 1, 1]], bool)
    # 8 of 13; all of a negative map; an empty mask; not finite; no relevance
    np.testing.assert_allclose(metrics.mask_absolute(maps, mask), [8 / 13, 1, np.nan, np.nan, np.nan])
    assert metrics.carries(mask).tolist() == [True, True, False, True, True]


def test_logit_change_by_hand():
    before, now = np.array([[3, 4], [0, 0]]), np.array([[3, 5], [0.5, 0]])
    # root mean square of 3, 4, 0, 0: 2.5
    assert metrics.logit_change(before, now) == pytest.approx([0.4, 0.2])
    assert metrics.logit_change(np.zeros((1, 2)), np.zeros((1, 2))) == 0
    assert metrics.logit_change(np.zeros((1, 2)), np.ones((1, 2))) == np.inf


@pytest.mark.parametrize("name", metrics.PAIRWISE)
def test_strength_alone_changes_nothing(name):
    maps = np.random.default_rng(0).normal(size=(4, 6, 5))
    same = 1.0 if name in ("cosine", "iou") else 0.0
    metric = metrics.PAIRWISE[name]
    assert metric(maps, 37 * maps) == pytest.approx([same] * 4, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "both_empty", "now_empty", "before_empty"),
    [("relative_l2", 0, 1, np.inf), ("cosine", 1, 0, 0), ("iou", 1, 0, 0), ("js", 0, 1, 1)],
)
def test_maps_of_zeros(name, both_empty, now_empty, before_empty):
    zeros, metric = np.zeros_like(A), metrics.PAIRWISE[name]
    assert metric(zeros, zeros) == both_empty
    assert metric(A, zeros) == now_empty
    assert metric(zeros, A) == before_empty


@pytest.mark.parametrize("name", metrics.PAIRWISE)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_gives_nan_and_leaves_the_other_probes_alone(name, value):
    now = np.concatenate([A, A])
    now[0, 2] = value
    found = metrics.PAIRWISE[name](np.concatenate([A, A]), now)
    assert np.isnan(found[0])
    assert found[1] == pytest.approx(1 if name in ("cosine", "iou") else 0)


def test_tiny_relevance_is_compared_like_any_other():
    maps = np.random.default_rng(1).normal(size=(2, 50)).astype(np.float32)
    for name, metric in metrics.PAIRWISE.items():
        np.testing.assert_allclose(metric(maps[:1], maps[1:]), metric(maps[:1] * 1e-30, maps[1:] * 1e-30), 1e-5, 1e-9)
        assert np.isfinite(metric(maps[:1], maps[1:])).all(), name


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match=r"\(1, 4\) and \(1, 5\)"):
        metrics.cosine(A, np.ones((1, 5)))
