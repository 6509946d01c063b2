"""ProbeSet of several inputs, of series, texts, tables and numbers to predict: forms, masks, errors, file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lrp_monitor.probes import ProbeSet
from lrp_monitor.probes.info import probe_info

RNG = np.random.default_rng(3)


def two(n: int = 3) -> dict[str, np.ndarray]:
    return {"image": RNG.random((n, 4, 5, 3)).astype(np.float32), "meta": RNG.random((n, 2)).astype(np.float32)}


WORDS = (("the", "red", "fox"), ("a", "red"), ("fox", "fox", "fox"))
IDS = np.array([[1, 2, 3], [4, 2, 0], [3, 3, 3]])


@pytest.mark.parametrize(
    ("values", "options", "kind", "map_shape"),
    [
        (np.zeros((2, 8, 8, 3)), {}, "image", (8, 8)),
        (np.zeros((2, 8, 8, 7)), {}, "image", (8, 8)),
        (np.zeros((2, 28, 28)), {}, "image", (28, 28)),
        (np.zeros((2, 200, 1)), {}, "series", (200, 1)),
        (np.zeros((2, 200, 3)), {}, "series", (200, 3)),
        (np.zeros((2, 20, 12)), {}, "image", (20, 12)),
        (np.zeros((2, 20, 12)), {"kind": "series"}, "series", (20, 12)),
        (np.zeros((2, 20, 12)), {"feature_names": list("abcdefghijkl")}, "series", (20, 12)),
        (np.zeros((2, 30)), {}, "table", (30,)),
        (np.zeros((2, 30)), {"kind": "series"}, "series", (30,)),
        (np.zeros((2, 30), np.int64), {}, "tokens", (30,)),
        (np.zeros((2, 30), np.uint8), {}, "table", (30,)),
        (np.zeros((2, 3), np.int64), {"feature_names": list("abc")}, "table", (3,)),
        (np.zeros((2, 3, 8)), {"tokens": [list("abc")] * 2}, "tokens", (3,)),
        (np.zeros((2, 6, 7, 8, 1)), {}, "volume", (6, 7, 8)),
        (np.zeros((2, 6, 7, 8)), {"kind": "volume"}, "volume", (6, 7, 8)),
        (np.zeros((2, 2, 2, 2, 2, 2)), {}, "grid", (2, 2, 2, 2)),
    ],
)
def test_kinds_are_reported_by_shape(values: np.ndarray, options: dict, kind: str, map_shape: tuple[int, ...]) -> None:
    probes = ProbeSet(values, **options)
    assert (probes.kind, probes.map_shape) == (kind, map_shape)


def test_several_inputs_have_one_row_of_relevance_each() -> None:
    given = two()
    probes = ProbeSet(given, [0, 1, 0], masks={"sky": {"image": (0, 0, 2, 5)}, "both": {"meta": np.s_[1:]}})
    assert (probes.map_shape, probes.channel_axis) == ((22,), None)
    relevance = {name: RNG.normal(size=values.shape).astype(np.float32) for name, values in given.items()}
    maps = probes.heatmaps(relevance)
    assert maps.shape == (3, 22)
    parts = probes.split(maps)
    np.testing.assert_allclose(parts["image"], relevance["image"].sum(axis=-1), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(parts["meta"], relevance["meta"])
    masks = probes.split(probes.masks["sky"])
    assert masks["image"][:, :2].all()
    assert not masks["image"][:, 2:].any()
    assert not masks["meta"].any()
    assert set(probes.inputs) == {"image", "meta"}
    assert probes.rows(slice(1))["image"].shape == (1, 4, 5, 3)
    assert probes.images.shape == (3, 4, 5, 3)


def test_what_is_given_but_not_watched_has_no_heatmap() -> None:
    ids, padding = RNG.integers(0, 9, (3, 6)), np.ones((3, 6), bool)
    probes = ProbeSet({"ids": ids, "padding": padding})
    assert (probes.kind, probes.map_shape, [part.watched for part in probes.parts]) == ("tokens", (6,), [True, False])
    assert probes.heatmaps({"ids": np.ones((3, 6)), "padding": np.zeros((3, 6))}).shape == (3, 6)
    other = ProbeSet((ids, ids.astype(np.int32)), watch=["1"])
    assert isinstance(other.inputs, tuple)
    assert [part.watched for part in other.parts] == [False, True]


def test_a_list_of_samples_is_one_array() -> None:
    assert ProbeSet([np.zeros((4, 4, 1)), np.ones((4, 4, 1))]).is_single
    assert not ProbeSet((np.zeros((4, 4, 1)), np.ones((4, 4, 1)))).is_single
    assert not ProbeSet([np.zeros((4, 4, 1)), np.ones((4, 2))]).is_single


def test_masks_by_names_of_features_and_tokens() -> None:
    table = ProbeSet(RNG.random((3, 4)), feature_names=list("abcd"), masks={"leak": ["c"], "two": ["a", "d"]})
    np.testing.assert_array_equal(table.masks["leak"][1], [False, False, True, False])
    np.testing.assert_array_equal(table.masks["two"][0], [True, False, False, True])
    text = ProbeSet(IDS, tokens=WORDS, masks={"red": "red"})
    np.testing.assert_array_equal(text.masks["red"], [[0, 1, 0], [0, 1, 0], [0, 0, 0]])
    assert text.parts[0].tokens is not None
    assert text.parts[0].tokens[1] == ("a", "red", "")
    embedded = ProbeSet(np.array([[[1.0, 2.0], [-1.0, -1.0]], [[3.0, 4.0], [5.0, 6.0]]]), tokens=[["a"], ["b", "c"]])
    assert embedded.parts[0].tokens == (("a", ""), ("b", "c"))
    assert ProbeSet(np.array([[1, 2]]), tokens=lambda ids: [f"w{i}" for i in ids]).parts[0].tokens == (("w1", "w2"),)


def test_labels_that_are_numbers() -> None:
    probes = ProbeSet(RNG.random((3, 4)), [0.5, 1.0, 7.25])
    assert probes.labels is None
    assert probes.numbers is not None
    np.testing.assert_array_equal(probes.numbers, [[0.5], [1.0], [7.25]])
    assert probes.target == "given"
    assert probes.targets is not None
    assert not probes.targets.any()
    units = ProbeSet(RNG.random((3, 4)), RNG.normal(size=(3, 2)), target=1)
    assert units.targets is not None
    assert units.targets.tolist() == [1, 1, 1]
    assert ProbeSet(RNG.random((3, 4)), np.eye(3)).numbers is None  # one-hot, in floats as Keras makes it


def test_hash_and_file_and_selection_keep_everything(tmp_path: Path) -> None:
    made = [
        ProbeSet(two(), [0.5, 1.5, 2.5], masks={"sky": {"image": (0, 0, 2, 5)}}, feature_names={"meta": ["a", "b"]}),
        ProbeSet(IDS, [0, 1, 0], tokens=WORDS, class_names=["x", "y"], masks={"red": "red"}),
        ProbeSet((np.ones((3, 6), int), np.ones((3, 6), bool)), names=list("uvw")),
        ProbeSet(RNG.random((3, 9, 9)), kind="grid"),
    ]
    for probes in made:
        probes.save(tmp_path / "set.npz")
        read = ProbeSet.load(tmp_path / "set.npz")
        assert read.hash == probes.hash
        assert repr(read) == repr(probes)
        for one, other in ((probes, read), (probes.select([0, 1, 2]), probes)):
            assert [(p.name, p.kind, p.channel_axis, p.watched, p.feature_names, p.tokens) for p in one.parts] == [
                (p.name, p.kind, p.channel_axis, p.watched, p.feature_names, p.tokens) for p in other.parts
            ]
        assert probes.select([2, 0]).names == (probes.names[2], probes.names[0])
    assert len({probes.hash for probes in made}) == len(made)
    changed = two()
    assert ProbeSet(changed).hash != ProbeSet(changed | {"meta": changed["meta"] + 1}).hash


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ProbeSet({"a": np.ones((3, 2)), "b": np.ones((2, 2))}), "different numbers of probes: 'a': 3, 'b': 2"),
        (lambda: ProbeSet([np.ones((3, 2)), np.ones((2, 2))]), "where each array is a sample, bring all to one shape"),
        (lambda: ProbeSet({"a": np.ones((3, 2), bool)}), "none of them is watched.*watch="),
        (lambda: ProbeSet({}), "dict of inputs needs a name"),
        (
            lambda: ProbeSet(two(), watch=["image", "depth"]),
            "watch: 'depth' is none of the inputs; there are image, meta",
        ),
        (lambda: ProbeSet(np.ones((3, 2)), watch=["a"]), "one input, which is watched"),
        (lambda: ProbeSet(two(), kind="image"), "kind: the set has 2 inputs.*dict by input"),
        (lambda: ProbeSet(two(), kind={"depth": "image"}), "kind: 'depth' is none of the inputs"),
        (lambda: ProbeSet(two(), masks={"a": (0, 0, 1, 1)}), r"masks\['a'\]: say in which input.*'image', 'meta'"),
        (lambda: ProbeSet(two(), masks={"a": {"depth": (0, 0, 1, 1)}}), "'depth' is no watched input"),
        (lambda: ProbeSet(two(), masks={"a": {"image": (0, 0, 9, 9)}}), "inside the map's shape"),
        (lambda: ProbeSet(np.ones((3, 2)), kind="picture"), "kind='picture': expected one of 'image'"),
        (lambda: ProbeSet(np.ones((3, 2)), kind="volume"), "kind='volume': a sample of inputs has shape"),
        (lambda: ProbeSet(np.ones((3, 2)), feature_names=["a"]), "1 names for 2 features"),
        (lambda: ProbeSet(np.ones((3, 2)), feature_names=["a", "a"]), "'a' given more than once"),
        (lambda: ProbeSet(np.ones((3, 9, 9)), kind="image", feature_names=["a"]), "has no features to name"),
        (lambda: ProbeSet(np.ones((3, 2), int), tokens=[["a", "b"]]), "texts of 1 probes for 3"),
        (lambda: ProbeSet(np.ones((2, 2), int), tokens=["a b", "c d"]), "one text for probe 0; give one a token"),
        (lambda: ProbeSet(np.ones((1, 2), int), tokens=[["a", "b", "c"]]), "3 texts for the 2 tokens of probe 0"),
        (lambda: ProbeSet(IDS[:, ::-1], tokens=WORDS), r"tokens: 2 texts for the 3 tokens of probe 1.*not padding"),
        (
            lambda: ProbeSet(np.array([[5, 6], [7, 6]]), tokens=[["a"], ["b", "c"]]),
            "1 texts for the 2 tokens of probe 0",
        ),
        (
            lambda: ProbeSet(np.array([[0, 6]]), tokens=[["a"]]),
            "1 texts for the 2 tokens of probe 0.*give one text for",
        ),
        (lambda: ProbeSet(np.array([[5, 6, 9], [7, 9, 8]]), tokens=[["a", "b"], ["c"]]), "probe 1"),
        (lambda: ProbeSet(np.ones((3, 2)), feature_names=["a", "b"], masks={"m": ["c"]}), "'c' is no feature.*a, b"),
        (lambda: ProbeSet(IDS, tokens=WORDS, masks={"m": ["blue"]}), "'blue' is no token"),
    ],
)
def test_bad_arguments_are_named(make, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


def test_maps_by_channel_of_several_inputs() -> None:
    given = {"image": np.zeros((2, 2, 2, 3)), "row": np.zeros((2, 4)), "first": np.zeros((2, 2, 5, 5))}
    probes = ProbeSet(given, kind={"first": "image"}, channel_axis={"first": 1, "image": -1, "row": None})
    relevance = {name: np.random.default_rng(0).normal(size=one.shape).astype("f") for name, one in given.items()}
    parts = probes.by_channel(relevance)
    assert (probes.channels, parts.shape) == (3, (2, 4 + 4 + 25, 3))
    np.testing.assert_allclose(parts.sum(axis=-1), probes.heatmaps(relevance), rtol=1e-5, atol=1e-6)
    by_name = probe_info(probes).split(parts)
    np.testing.assert_array_equal(by_name["image"], relevance["image"])
    np.testing.assert_array_equal(by_name["row"], relevance["row"][..., None])
    np.testing.assert_array_equal(by_name["first"], np.moveaxis(relevance["first"], 1, -1))
    with pytest.raises(ValueError, match="heatmaps of shape"):
        probe_info(probes).split(parts[..., None])
    without = ProbeSet({"a": np.zeros((2, 4)), "b": np.zeros((2, 3))})
    assert (without.channels, without.by_channel({"a": np.zeros((2, 4)), "b": np.zeros((2, 3))})) == (0, None)
