"""Statistics of maps against numbers worked out by hand."""

from __future__ import annotations

import numpy as np

from lrp_monitor.engine.explainer import Explanation
from lrp_monitor.training.probes import statistics as measures

NAN = float("nan")


def explanation(n: int) -> Explanation:
    logits = np.stack([np.full(n, 1.0), np.arange(n) - 1.0, np.zeros(n)], axis=1).astype(np.float32)
    target = np.ones(n, np.int64)
    return Explanation(
        relevance=np.outer(np.arange(n) * (np.arange(n) - 0.5), [1, 1]).astype(np.float32),  # sums (2 i - 1) logit
        target=target,
        logit=np.arange(n, dtype=np.float32),
        logits=logits,
        output=logits,
        activation=None,
    )


MAPS = np.array([[[4, -1], [3, 0]], [[0, 0], [0, 0]], [[-2, -2], [-2, 6]]], np.float32)


def test_statistics_by_hand() -> None:
    found = measures.probe_statistics(MAPS, explanation(3), {}, None)
    np.testing.assert_array_equal(found["sum"], [6, 0, 0])
    np.testing.assert_array_equal(found["positive"], [7, 0, 6])
    np.testing.assert_array_equal(found["negative"], [-1, 0, -6])
    np.testing.assert_array_equal(found["absmax"], [4, 0, 6])
    np.testing.assert_array_equal(found["q50"], [2, 0, 2])
    np.testing.assert_allclose(found["q90"], [3.7, 0, 4.8])
    np.testing.assert_array_equal(found["logit"], [0, 1, 2])
    # Logits (1, n - 1, 0): the explained class is 1, the prediction 0 until n - 1 > 1 (a tie goes to the first).
    e = np.exp([[1, -1, 0], [1, 0, 0], [1, 1, 0]])
    np.testing.assert_allclose(found["probability"], e[:, 1] / e.sum(axis=1), rtol=1e-6)
    np.testing.assert_array_equal(found["prediction"], [0, 0, 0])
    np.testing.assert_allclose(found["prediction_probability"], e[:, 0] / e.sum(axis=1), rtol=1e-6)
    assert np.isnan(found["drift"]).all()
    assert all(column.dtype == np.float64 and column.shape == (3,) for column in found.values())


def test_large_maps_are_summed_in_float64() -> None:
    maps = np.full((1, 1000, 1000), 0.1, np.float32)
    maps[0, 0, 0] = 1e7
    found = measures.probe_statistics(maps, explanation(1), {}, None)
    exact = 1e7 + (10**6 - 1) * float(np.float32(0.1))
    np.testing.assert_allclose(found["sum"], exact, rtol=1e-13)


def test_mask_mass() -> None:
    mask = np.zeros((3, 2, 2), bool)
    mask[:, 0] = True
    np.testing.assert_array_equal(measures.mask_mass(MAPS, mask), [4 / 7, NAN, 0])
    mask[0] = False
    np.testing.assert_array_equal(measures.mask_mass(MAPS, mask), [NAN, NAN, 0])
    broken = MAPS.copy()
    broken[2, 0, 0] = np.nan
    assert np.isnan(measures.mask_mass(broken, np.ones((3, 2, 2), bool))[2])


def test_drift() -> None:
    same, other = MAPS[:1], np.array([[[0, 0], [0, 5]]], np.float32)
    assert measures.drift(same, 3 * same) == [0]
    assert measures.drift(same, other) == [1]
    np.testing.assert_allclose(measures.drift(same, -same), [1])
    np.testing.assert_allclose(measures.drift(same, np.array([[[4, -1], [0, 0]]], np.float32)), [3 / 8])
    zero = np.zeros_like(same)
    assert measures.drift(zero, zero) == [0]
    assert measures.drift(zero, same) == [1]
    assert np.isnan(measures.drift(same * np.nan, same)).all()
    assert np.isnan(measures.drift(same, np.full_like(same, np.inf))).all()


def test_scalars_leave_out_what_has_no_value() -> None:
    stats = measures.probe_statistics(MAPS, explanation(3), {"m": MAPS > 3, "n": MAPS < -3}, None)
    np.testing.assert_array_equal(stats["conservation"], [NAN, 1, 3])  # the first logit is zero
    scalars = measures.probe_scalars(stats, np.array([0, 1, 0]))
    assert scalars["lrp/conservation"] == 2.0
    assert scalars["lrp/accuracy"] == 2 / 3  # predictions are all 0
    np.testing.assert_allclose(scalars["lrp/probability"], sum(stats["probability"]) / 3)
    np.testing.assert_allclose(scalars["lrp/mask_mass/m"], (4 / 7 + 1) / 2)
    assert "lrp/mask_mass/n" not in scalars
    assert "lrp/drift" not in scalars
    assert "lrp/accuracy" not in measures.probe_scalars(stats, None)


def test_a_map_with_nan_is_reported_by_its_own_numbers_alone(recwarn) -> None:
    maps = MAPS.copy()
    maps[0, 0, 0] = np.nan
    found = measures.probe_statistics(maps, explanation(3), {}, MAPS)
    for name in ("sum", "positive", "negative", "absmax", "q50", "drift"):
        assert np.isnan(found[name][0]), name
        assert np.isfinite(found[name][1:]).all(), name
    assert not len(recwarn)
