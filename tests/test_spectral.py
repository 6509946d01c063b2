"""Groups of heatmaps: users of a stamp apart from users of the shape, whatever the strength, order and size of maps."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from lrp_monitor.spectral import Clusters, cluster


def planted_maps(stamped: int, others: int, seed: int, side: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Heatmaps as in the demo, float32 (n, side, side), and which of them are of probes explained by a stamp.

    All hold noise and a shape at a place of its own; the stamped ones hold most of their relevance in one corner.
    Their strengths differ by four orders of magnitude.
    """
    rng = np.random.default_rng(seed)
    grid = np.arange(side) * 32 / side
    maps, is_stamped = [], rng.permutation(np.arange(stamped + others) < stamped)
    for stamp in is_stamped:
        heat = 0.15 * rng.standard_normal((side, side))
        row, column = rng.uniform(9, 23, 2)
        shape = np.exp(-((grid[:, None] - row) ** 2 + (grid - column) ** 2) / 18)
        if stamp:
            corner = (grid >= 2) & (grid < 7)
            heat += 0.3 * shape + 3 * rng.uniform(0.5, 1.5) * np.outer(corner, corner)
        else:
            heat += 2 * shape * np.abs(rng.standard_normal((side, side)))
        maps.append(heat * 10 ** rng.uniform(-2, 2))
    return np.array(maps, np.float32), is_stamped


def parts(labels: np.ndarray) -> set[frozenset[int]]:
    """The groups as sets of places, without their numbers."""
    return {frozenset(np.flatnonzero(labels == label).tolist()) for label in set(labels.tolist()) - {-1}}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("stamped", "others"), [(4, 12), (4, 4), (8, 8), (16, 48), (3, 5)])
def test_stamp_users_are_a_group_of_their_own(stamped: int, others: int, seed: int) -> None:
    maps, is_stamped = planted_maps(stamped, others, seed)
    found = cluster(maps)
    assert 2 <= found.count <= 8
    assert frozenset(np.flatnonzero(is_stamped).tolist()) in parts(found.labels)


def test_two_groups_on_request_are_stamp_and_shape() -> None:
    maps, is_stamped = planted_maps(6, 10, 1)
    found = cluster(maps, groups=2)
    assert found.count == 2
    np.testing.assert_array_equal(found.labels, np.where(is_stamped, 1, 0))


def test_the_same_maps_give_the_same_groups_in_any_order_and_unit() -> None:
    maps, _ = planted_maps(5, 11, 3)
    first = cluster(maps)
    again = cluster(maps)
    np.testing.assert_array_equal(first.labels, again.labels)
    np.testing.assert_array_equal(first.eigenvalues, again.eigenvalues)
    for unit in (1e-30, 1e30):
        np.testing.assert_array_equal(cluster(maps * np.float32(unit)).labels, first.labels)
    order = np.random.default_rng(0).permutation(16)
    moved = np.empty(16, np.int64)
    moved[order] = cluster(maps[order]).labels
    assert parts(moved) == parts(first.labels)


def test_the_largest_group_is_number_0_and_eigenvalues_ascend_from_0() -> None:
    maps, _ = planted_maps(4, 12, 0)
    found = cluster(maps)
    sizes = [int((found.labels == group).sum()) for group in range(found.count)]
    assert sizes == sorted(sizes, reverse=True)
    assert sum(sizes) == 16
    assert found.eigenvalues[0] == pytest.approx(0.0, abs=1e-9)
    assert (np.diff(found.eigenvalues) >= 0).all()
    gaps = np.diff(found.eigenvalues)
    assert int(gaps.argmax()) + 1 == found.count


def test_maps_that_are_all_alike_are_one_group() -> None:
    rng = np.random.default_rng(2)
    one = rng.standard_normal((16, 16))
    maps = np.stack([one + 0.01 * rng.standard_normal((16, 16)) for _ in range(12)])
    assert cluster(np.stack([one] * 12)).count == 1
    assert cluster(maps, groups=1).labels.tolist() == [0] * 12


def test_an_opposite_sign_is_another_group() -> None:
    rng = np.random.default_rng(4)
    one = rng.standard_normal((16, 16))
    maps = [sign * one + 0.05 * rng.standard_normal((16, 16)) for sign in (1, -1) for _ in range(6)]
    assert parts(cluster(np.array(maps)).labels) == {frozenset(range(6)), frozenset(range(6, 12))}


def test_a_map_far_from_a_block_of_equal_ones_stands_alone() -> None:
    maps = np.zeros((9, 4, 4))
    maps[:8, 0, 0] = 1.0
    maps[8, 3, 3] = 1.0
    assert parts(cluster(maps).labels) == {frozenset(range(8)), frozenset({8})}


def test_maps_without_relevance_or_with_nan_belong_to_no_group() -> None:
    maps, is_stamped = planted_maps(5, 9, 0)
    maps[2] = 0.0
    maps[7, 3, 3] = np.nan
    maps[9, 0, 0] = np.inf
    found = cluster(maps)
    assert np.flatnonzero(found.labels == -1).tolist() == [2, 7, 9]
    inside = [i for i in np.flatnonzero(is_stamped) if i not in (2, 7, 9)]
    assert frozenset(map(int, inside)) in parts(found.labels)
    assert cluster(np.zeros((4, 3, 3))).labels.tolist() == [-1] * 4
    assert cluster(np.zeros((4, 3, 3))).count == 0


@pytest.mark.parametrize(("count", "labels"), [(1, [0]), (2, [0, 0])])
def test_one_or_two_maps_are_one_group(count: int, labels: list[int]) -> None:
    found = cluster(np.random.default_rng(0).standard_normal((count, 5, 5)))
    assert (found.labels.tolist(), found.count) == (labels, 1)


def test_maps_of_any_number_of_axes_and_an_odd_size() -> None:
    small, is_stamped = planted_maps(6, 10, 5)
    large = np.repeat(np.repeat(small, 7, axis=1), 7, axis=2)[:, :223, :219]
    assert frozenset(np.flatnonzero(is_stamped).tolist()) in parts(cluster(large).labels)
    volume = np.stack([small] * 3, axis=1)
    assert parts(cluster(volume).labels) == parts(cluster(small).labels)
    rng = np.random.default_rng(1)
    series = np.concatenate([np.eye(40)[[3] * 5], np.eye(40)[[30] * 5]]) + 0.01 * rng.standard_normal((10, 40))
    assert parts(cluster(series).labels) == {frozenset(range(5)), frozenset(range(5, 10))}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"heatmaps": np.zeros(4)}, r"heatmaps must be numbers of shape \(n, \.\.\.\)"),
        ({"heatmaps": np.zeros((0, 4, 4))}, "heatmaps must be numbers"),
        ({"heatmaps": np.array([["a"]])}, "heatmaps must be numbers"),
        ({"side": 0}, "side must be at least 1, got 0"),
        ({"neighbours": 0}, "neighbours must be at least 1, got 0"),
        ({"groups": 0}, "groups must be at least 1, got 0"),
        ({"groups": 9}, "groups must be at most 8, the number of heatmaps with relevance, got 9"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict, words: str) -> None:
    maps = arguments.pop("heatmaps", planted_maps(4, 4, 0)[0])
    with pytest.raises(ValueError, match=words):
        cluster(maps, **arguments)


def test_without_scikit_learn_the_error_names_the_extra() -> None:
    code = (
        "import sys; sys.modules['sklearn'] = None\n"
        "import numpy as np\n"
        "from lrp_monitor.spectral import cluster\n"
        "cluster(np.ones((4, 3, 3)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "pip install 'lrp_monitor[clusters]'" in done.stderr.splitlines()[-1]


def test_clusters_are_plain_arrays() -> None:
    found = cluster(planted_maps(4, 4, 0)[0])
    assert isinstance(found, Clusters)
    assert (found.labels.dtype, found.eigenvalues.dtype) == (np.int64, np.float64)
