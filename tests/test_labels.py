"""ProbeSet's labels that are more than a class a probe: sets of classes, and classes of places."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lrp_monitor.engine.targets import Position, Region
from lrp_monitor.probes import ProbeSet
from lrp_monitor.store.label_sets import as_columns, of_columns, words

X = np.arange(12.0).reshape(3, 4)
SETS = [[1, 0, 1], [0, 1, 0], [0, 1, 1]]
IDS = np.array([[0, 1, 2, 3], [3, 2, 1, 0], [1, 1, 2, -1]])


def same(a: ProbeSet, b: ProbeSet) -> None:
    assert (a.hash, a.target, repr(a)) == (b.hash, b.target, repr(b))
    for name in ("labels", "label_sets", "label_maps", "targets", "position", "numbers"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_sets_of_classes() -> None:
    probes = ProbeSet(X, SETS, class_names=["cat", "dog", "fox"])
    assert probes.labels is None
    np.testing.assert_array_equal(probes.label_sets, np.array(SETS) == 1)
    np.testing.assert_array_equal(probes.targets, [0, 1, 1])  # the first of each
    assert probes.names == ("cat 0", "dog 0", "dog 1")
    np.testing.assert_array_equal(ProbeSet(X, np.array(SETS, float), target=[2, 1, 2]).targets, [2, 1, 2])
    one = probes.select([1])  # a single label, which is a set still
    np.testing.assert_array_equal(one.label_sets, [[False, True, False]])
    assert ProbeSet(X, np.eye(3)).label_sets is None
    np.testing.assert_array_equal(ProbeSet(X, np.eye(3), multi_label=True).label_sets, np.eye(3) == 1)
    empty = ProbeSet(X, np.zeros((3, 2)), target="predicted")
    assert (empty.targets, empty.label_sets.sum()) == (None, 0)


def test_labels_of_places_and_the_one_explained() -> None:
    probes = ProbeSet(X, IDS, target=Position([3, -1, 0]))
    np.testing.assert_array_equal(probes.labels, [3, 0, 1])
    np.testing.assert_array_equal(probes.position, [[3], [-1], [0]])
    assert probes.target == "label"
    masked = ProbeSet(X, IDS, target=Position(np.eye(3, 4, dtype=bool), of=2))
    np.testing.assert_array_equal(masked.position[:, 0], [0, 1, 2])
    assert (masked.target, masked.targets.tolist()) == ("given", [2, 2, 2])
    assert ProbeSet(X, IDS, target=Position(of="predicted")).targets is None
    assert ProbeSet(X, target=Position()).target == "predicted"
    region = ProbeSet(X, IDS, target=Region(np.s_[1:3], 1))
    assert region.labels is None
    np.testing.assert_array_equal(region.label_maps, IDS)
    pixels = ProbeSet(X, np.ones((3, 2, 2, 1), np.float32))  # masks as Keras' losses take them
    assert (pixels.label_maps.shape, pixels.label_maps.dtype, pixels.target) == ((3, 2, 2), np.int64, "predicted")


@pytest.mark.parametrize(
    "probes",
    [
        ProbeSet(X, SETS),
        ProbeSet({"a": X, "b": X[:, :2]}, SETS, target="predicted"),
        ProbeSet(X, IDS, target=Position([3, -1, 0])),
        ProbeSet(X, IDS, target=Position(0, of=[1, 2, 0])),
        ProbeSet(X, IDS, target=Position(of="predicted")),
        ProbeSet(X, [2.5, 1.0, 0.0], target=Position(1)),
    ],
)
def test_file_hash_and_selection_keep_them(tmp_path: Path, probes: ProbeSet) -> None:
    probes.save(tmp_path / "probes.npz")
    same(ProbeSet.load(tmp_path / "probes.npz"), probes)
    same(probes.select([0, 1, 2]), probes)
    same(probes.select([2, 1]).select([1, 0]), probes.select([1, 2]))
    assert probes.hash != ProbeSet(X).hash


def test_a_file_keeps_labels_of_places_of_a_region(tmp_path: Path) -> None:
    probes = ProbeSet(X, np.ones((3, 2, 2), int), target=Region(np.s_[:1, :], 1))
    probes.save(tmp_path / "probes.npz")
    same(ProbeSet.load(tmp_path / "probes.npz"), probes)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ProbeSet(X, SETS, class_names=["a", "b"]), ValueError, "labels: 3 classes; class_names lists 2"),
        (lambda: ProbeSet(X, SETS, target=3), ValueError, "target: class 3 of labels of 3 classes"),
        (lambda: ProbeSet(X, [0, 1, 2], multi_label="yes"), TypeError, "multi_label='yes'"),
        (lambda: ProbeSet(X, IDS), ValueError, r"target=lrp.targets.Position\(at\)"),
        (
            lambda: ProbeSet(X, IDS, target=Position(4)),
            ValueError,
            r"position \[4\] of probe 0 lies outside its labels",
        ),
        (lambda: ProbeSet(X, IDS, target=Position()), ValueError, "probe 2 has -1 at position.*of="),
        (lambda: ProbeSet(X, IDS, target=Position((1, 2))), ValueError, "labels: shape .* position has 2 axes"),
        (lambda: ProbeSet(X, target=Position([1, 2])), ValueError, r"at has shape \(2,\)"),
        (lambda: ProbeSet(X, target=Position(IDS == 1)), ValueError, "True at 2 places of sample 2"),
        (lambda: ProbeSet(X, target=Position(1.5)), TypeError, "whole numbers"),
        (lambda: ProbeSet(X, np.full((3, 2, 2), 0.5)), ValueError, "labels: shape .* not whole"),
    ],
)
def test_what_does_not_fit_is_named(make, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def test_a_newer_file_is_named_by_its_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ProbeSet(X, SETS).save(tmp_path / "probes.npz")
    monkeypatch.setattr("lrp_monitor.probes.files._NEWEST", 2)
    with pytest.raises(ValueError, match="format 3, this version reads 1 to 2"):
        ProbeSet.load(tmp_path / "probes.npz")


def test_sets_in_columns() -> None:
    sets = np.random.default_rng(0).random((5, 70)) < 0.5
    columns = as_columns(sets)
    assert sorted(columns) == [f"predicted_labels/{i}" for i in range(3)]
    np.testing.assert_array_equal(of_columns(columns, 70), sets)
    broken = columns | {"predicted_labels/0": np.array([np.nan, -1.0, 2.0**40, 1.0, 0.0])}
    assert not of_columns(broken, 70)[:3, :32].any()
    assert of_columns({}, 70) is None
    assert (words(sets[0, :2] | True, ["a"]), words(sets[0] & False, None)) == ("a, 1", "none")
