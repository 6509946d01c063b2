"""ProbeSet: what it accepts, what it refuses and with which words, its maps, pictures, hash and file."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lrp_monitor.engine.targets import Outputs, Region
from lrp_monitor.probes import ProbeSet

RNG = np.random.default_rng(7)


def images(n: int = 4, h: int = 5, w: int = 6, c: int = 3) -> np.ndarray:
    return RNG.normal(size=(n, h, w, c)).astype(np.float32)


# ---- inputs, labels, names


def test_inputs_are_a_read_only_copy() -> None:
    x = images()
    probes = ProbeSet(x)
    x[:] = 0
    assert probes.inputs.std() > 0.5
    with pytest.raises(ValueError, match="read-only"):
        probes.inputs[0] = 1
    assert len(probes) == 4
    assert probes.sample_shape == (5, 6, 3)


def test_labels_from_integers_columns_and_one_hot_are_the_same() -> None:
    labels = np.array([2, 0, 1, 2])
    for given in (
        labels,
        labels[:, None],
        np.eye(3)[labels],
        np.eye(3, dtype=np.uint8)[labels],
        list(labels),
    ):
        probes = ProbeSet(images(), given)
        assert probes.labels is not None
        assert probes.labels.dtype == np.int64
        np.testing.assert_array_equal(probes.labels, labels)


def test_names() -> None:
    x = images()
    assert ProbeSet(x).names == ("probe 0", "probe 1", "probe 2", "probe 3")
    assert ProbeSet(x, [1, 0, 1, 1]).names == ("probe 0", "probe 1", "probe 2", "probe 3")
    named = ProbeSet(x, [1, 0, 1, 1], class_names=["disk", "cross"])
    assert named.names == ("cross 0", "disk 0", "cross 1", "cross 2")
    assert ProbeSet(x, [0, 1, 0, 1], class_names=["a", "a"]).names == (
        "a (0) 0",
        "a (1) 0",
        "a (0) 1",
        "a (1) 1",
    )
    assert ProbeSet(x, names=list("wxyz")).names == ("w", "x", "y", "z")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: ProbeSet(np.where(np.arange(4)[:, None] == 2, np.nan, images(4, 1, 1, 6)[:, 0, 0])),
            "NaN.*probe 2",
        ),
        (lambda: ProbeSet(np.full((20, 3), np.inf)), r"infinity in probe 0, 1, .*7 \.\.\."),
        (lambda: ProbeSet(np.zeros((0, 3))), r"inputs: shape \(0, 3\) holds no values"),
        (lambda: ProbeSet(np.zeros(3)), r"inputs\[None\]"),
        (lambda: ProbeSet([[1.0, 2.0], [3.0]]), "inputs: the samples do not form one array"),
        (lambda: ProbeSet(images(), [0, 1]), r"labels: shape \(2,\) for 4 samples"),
        (lambda: ProbeSet(images(), [0, 1, 2, -1]), "labels: -1 is negative"),
        (lambda: ProbeSet(images(), [0.5, np.nan, 2.0, 3.0]), "labels: NaN or infinity for probe 1"),
        (lambda: ProbeSet(images(), [0.5, 1.0, 2.0, 3.0], target="label"), r"the labels are numbers.*target=0"),
        (lambda: ProbeSet(images(), RNG.normal(size=(4, 2))), "labels are 2 numbers each; name the unit"),
        (lambda: ProbeSet(images(), RNG.normal(size=(4, 2)), target=2), "unit 2 of labels that are 2 numbers"),
        (
            lambda: ProbeSet(images(), [[1, 0], [1, 1], [0, 1], [0, 1]], multi_label=False),
            "row 1 names 2 classes.*multi_label.*target=, one class",
        ),
        (lambda: ProbeSet(images(), np.diag([1, 1, 0, 1])), "labels: probe 2 has none.*target="),
        (lambda: ProbeSet(images(), [0, 1, 2, 3], multi_label=True), r"multi_label=True needs labels \(4, classes\)"),
        (lambda: ProbeSet(images(), [[0.9, 0.1]] * 4), r"other than 0 and 1.*argmax\(axis=1\).*target="),
        (lambda: ProbeSet(images(), [[0], [0, 1], [1], []]), "labels: not one array.*target="),
        (lambda: ProbeSet.from_dataset(images(), np.ones((4, 3), int)), r"^y: .*ProbeSet\(x\[rows\], target=\.\.\.\)"),
        (lambda: ProbeSet(images(), [0, 1, 2, 3], class_names=["a", "b"]), "label 3 has no name.*2 classes"),
        (lambda: ProbeSet(images(), names=["a", "b", "a", "c"]), "names: 'a' given more than once"),
        (lambda: ProbeSet(images(), names=["a"]), "names: 1 names for 4 probes"),
        (lambda: ProbeSet(images(), channel_axis=0), "channel_axis=0: inputs have axes 1 to 3"),
        (lambda: ProbeSet(images(), channel_axis=4), "channel_axis=4"),
        (lambda: ProbeSet(images(), channel_axis="last"), "channel_axis='last'"),
        (lambda: ProbeSet(np.zeros((2, 3)), channel_axis=1), "leaves no map"),
        (lambda: ProbeSet(images(), target="label"), 'target="label" needs labels'),
        (lambda: ProbeSet(images(), target="best"), r"target='best'.*class_names\.index"),
        (lambda: ProbeSet(images(), target=[1, 2]), r"target: int64 of shape \(2,\)"),
        (lambda: ProbeSet(images(), target=-1), "target: -1 is negative"),
        (lambda: ProbeSet(images(), display=np.zeros((3, 5, 6))), r"display: shape \(3, 5, 6\)"),
        (lambda: ProbeSet(images(), display=np.full((4, 5, 6), np.nan)), "display: expected finite"),
    ],
)
def test_bad_arguments_are_named(make, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ProbeSet(np.array([["a"], ["b"]])), "inputs: texts carry no relevance"),
        (
            lambda: ProbeSet(images(), [0.0, 1.0, 2.0, 3.0], class_names=list("abcd")),
            r"labels: dtype float64.*astype\(int\)",
        ),
        (
            lambda: ProbeSet(images(), [0.5, 1.0, 2.0, 3.0], class_names=list("abcd")),
            "labels: dtype float64.*no class indices.*target=",
        ),
        (lambda: ProbeSet(images(), [True, False, True, True]), r"labels: dtype bool.*astype\(int\)"),
        (lambda: ProbeSet(images(), list("abca")), r"labels: strings.*np\.unique\(labels, return_inverse=True\)"),
        (lambda: ProbeSet(images(), list("abca"), class_names=["a", "b", "c"]), r"class_names\.index\(name\)"),
        (
            lambda: ProbeSet(images(), [0, None, 1, 2]),
            "labels: NoneType objects are not.*leave labels out.*target=",
        ),
        (lambda: ProbeSet(images(), np.array([0, 1, 2, 1], object)), r"labels: dtype object.*astype\(int\)"),
        (lambda: ProbeSet(images(), class_names="abcd"), "class_names='abcd'"),
        (lambda: ProbeSet(images(), names="abcd"), "names='abcd': expected a sequence"),
        (lambda: ProbeSet(images(), target=1.5), "target: float64"),
        (lambda: ProbeSet(images(), channel_axis=True), "channel_axis=True"),
        (lambda: ProbeSet(images(), display=np.full((4, 5, 6), "a")), "display: expected finite"),
        (lambda: ProbeSet(images(), masks={3: np.s_[0:2, 0:2]}), "masks: 3 is not a name"),
    ],
)
def test_arguments_of_wrong_types_are_named(make, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        make()


# ---- target


def test_target_is_settled() -> None:
    x, labels = images(), [3, 1, 0, 2]
    assert ProbeSet(x).target == "predicted"
    assert ProbeSet(x).targets is None
    labelled = ProbeSet(x, labels)
    assert labelled.target == "label"
    np.testing.assert_array_equal(labelled.targets, labels)
    assert ProbeSet(x, labels, target="predicted").targets is None
    np.testing.assert_array_equal(ProbeSet(x, target=5).targets, [5, 5, 5, 5])
    np.testing.assert_array_equal(ProbeSet(x, labels, target=[0, 0, 1, 1]).targets, [0, 0, 1, 1])


# ---- masks


def test_masks_in_every_form() -> None:
    x = images()
    whole = np.zeros((5, 6), bool)
    whole[1:3, 2:5] = True
    each = np.zeros((4, 5, 6))
    each[2, 0, 0] = 1
    probes = ProbeSet(
        x,
        masks={
            "slices": np.s_[1:3, 2:5],
            "box": (1, 2, 3, 5),
            "array": whole,
            "numbers": whole.astype(np.uint8),
            "each": each,
            "rows": np.s_[1:3],
        },
    )
    for name in ("slices", "box", "array", "numbers"):
        assert probes.masks[name].dtype == bool
        np.testing.assert_array_equal(probes.masks[name], np.broadcast_to(whole, (4, 5, 6)), err_msg=name)
    assert probes.masks["each"].sum() == 1
    assert probes.masks["each"][2, 0, 0]
    assert probes.masks["rows"].sum() == 4 * 2 * 6
    with pytest.raises(ValueError, match="read-only"):
        probes.masks["each"][0] = True


def test_a_list_of_four_on_a_one_dimensional_map_is_a_mask() -> None:
    probes = ProbeSet(np.ones((2, 4)), masks={"m": [0, 1, 1, 0]})
    np.testing.assert_array_equal(probes.masks["m"], [[False, True, True, False]] * 2)


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (np.ones((6, 5), bool), r"masks\['m'\] has shape \(6, 5\); expected the map shape \(5, 6\)"),
        ((1, 2, 3, 7), r"masks\['m'\] = \(1, 2, 3, 7\)"),
        ((3, 2, 1, 5), "half open, inside"),
        (np.s_[1:3, 2:7], r"reaches beyond the map's shape \(5, 6\)"),
        (np.s_[1:3, 2:4, 0:1], "3 slices for a map"),
        (np.full((5, 6), 2), "values other than 0 and 1"),
        (np.zeros((5, 6), bool), "covers nothing"),
        (np.s_[2:2, 0:3], "covers nothing"),
    ],
)
def test_bad_masks_are_named(mask, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ProbeSet(images(), masks={"m": mask})


def test_masks_must_be_a_dict_with_names() -> None:
    with pytest.raises(TypeError, match="masks: expected a dict"):
        ProbeSet(images(), masks=[np.s_[0:2, 0:2]])  # type: ignore[arg-type]  # the mistake under test
    with pytest.raises(ValueError, match="not a name"):
        ProbeSet(images(), masks={"": np.s_[0:2, 0:2]})


# ---- maps and pictures


@pytest.mark.parametrize(
    ("shape", "axis", "map_shape"),
    [
        ((2, 5, 6, 3), "auto", (5, 6)),
        ((2, 7, 4), "auto", (7, 4)),
        ((2, 9), "auto", (9,)),
        ((2, 3, 4, 5, 2), "auto", (3, 4, 5)),
        ((2, 3, 5, 6), 1, (5, 6)),
        ((2, 7, 4), -1, (7,)),
        ((2, 5, 6, 3), None, (5, 6, 3)),
    ],
)
def test_map_shape_and_heatmaps(shape: tuple[int, ...], axis, map_shape: tuple[int, ...]) -> None:
    probes = ProbeSet(np.ones(shape), channel_axis=axis)
    assert probes.map_shape == map_shape
    relevance = RNG.normal(size=(3, *shape[1:])).astype(np.float32)
    maps = probes.heatmaps(relevance)
    assert maps.dtype == np.float32
    assert maps.shape == (3, *map_shape)
    summed = relevance.astype(np.float64)
    if probes.channel_axis is not None:
        summed = summed.sum(axis=probes.channel_axis)
    np.testing.assert_array_equal(maps, summed.astype(np.float32))


def test_channels_are_summed_in_float64() -> None:
    relevance = np.array([1e8, 1.0, -1e8], np.float32).reshape(1, 1, 1, 3)
    assert ProbeSet(np.ones((1, 1, 1, 3))).heatmaps(relevance).item() == 1.0


def test_heatmaps_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"relevance has shape \(4, 6, 5, 3\)"):
        ProbeSet(images()).heatmaps(np.zeros((4, 6, 5, 3)))


def test_images_keep_uint8_and_scale_the_whole_set_with_one_range() -> None:
    pixels = RNG.integers(0, 200, (3, 4, 4, 3)).astype(np.uint8)
    np.testing.assert_array_equal(ProbeSet(pixels).images, pixels)
    values = np.array([-1.0, 0.0, 0.5, 3.0]).reshape(2, 1, 2, 1)
    np.testing.assert_array_equal(ProbeSet(values).images.ravel(), [0, 64, 96, 255])
    assert ProbeSet(np.full((1, 2, 2, 1), 7.0)).images.max() == 0
    extreme = np.array([np.finfo(float).min, 0, np.finfo(float).max]).reshape(1, 1, 3, 1)
    np.testing.assert_array_equal(ProbeSet(extreme).images.ravel(), [0, 128, 255])


def test_images_of_other_shapes() -> None:
    assert ProbeSet(RNG.normal(size=(2, 9))).images.shape == (2, 1, 9, 1)
    assert ProbeSet(RNG.normal(size=(2, 7, 4))).images.shape == (2, 7, 4, 1)
    assert ProbeSet(RNG.normal(size=(2, 3, 5, 6)), channel_axis=1).images.shape == (2, 5, 6, 3)
    assert ProbeSet(RNG.normal(size=(2, 7, 4)), channel_axis=-1).images.shape == (2, 1, 7, 1)
    two = np.array([[0.0, 2.0], [4.0, 4.0]]).reshape(1, 2, 1, 2)
    np.testing.assert_array_equal(ProbeSet(two).images.ravel(), [0, 255])


def test_a_volume_is_a_montage_of_its_slices() -> None:
    volume = np.arange(5, dtype=np.uint8)[None, :, None, None, None] * np.ones((1, 1, 2, 3, 1), np.uint8) + 1
    sheet = ProbeSet(volume).images
    assert sheet.shape == (1, 4, 9, 1)
    np.testing.assert_array_equal(sheet[0, ::2, ::3, 0], [[1, 2, 3], [4, 5, 0]])


def test_display_replaces_the_inputs() -> None:
    shown = RNG.integers(0, 255, (2, 8, 8)).astype(np.uint8)
    probes = ProbeSet(RNG.normal(size=(2, 9)), display=shown)
    np.testing.assert_array_equal(probes.images, shown[..., None])


def test_statistics_are_per_channel() -> None:
    x = images()
    statistics = ProbeSet(x).statistics
    np.testing.assert_allclose(statistics["mean"], x.astype(float).mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(statistics["std"], x.astype(float).std(axis=(0, 1, 2)), rtol=1e-12)
    assert statistics["max"] == [float(x[..., c].max()) for c in range(3)]
    assert len(ProbeSet(np.ones((2, 9))).statistics["min"]) == 1


# ---- identity


def test_the_hash_sees_every_part() -> None:
    x = images()
    base = {"labels": [0, 1, 2, 0], "names": list("abcd"), "masks": {"m": (0, 0, 2, 2)}}
    variants = [
        ProbeSet(x, **base),
        ProbeSet(np.nextafter(x, 9), **base),
        ProbeSet(x.astype(np.float64), **base),
        ProbeSet(x.reshape(4, 6, 5, 3), **base),
        ProbeSet(x, **{**base, "labels": [0, 1, 2, 1]}),
        ProbeSet(x, **{**base, "names": list("abce")}),
        ProbeSet(x, **{**base, "masks": {"m": (0, 0, 2, 3)}}),
        ProbeSet(x, **{**base, "masks": {"n": (0, 0, 2, 2)}}),
        ProbeSet(x, **base, target="predicted"),
        ProbeSet(x, **base, target=[0, 1, 2, 1]),
    ]
    assert len({probes.hash for probes in variants}) == len(variants)
    assert variants[0].hash == ProbeSet(x.copy(), **base).hash
    assert len(variants[0].hash) == 64


def test_the_hash_is_the_same_in_another_process_and_byte_order() -> None:
    x = np.arange(12, dtype=np.float32).reshape(2, 6)
    mine = ProbeSet(x, [0, 1]).hash
    assert ProbeSet(x.astype(">f4"), np.array([0, 1], ">i4")).hash == mine
    code = (
        "import numpy as np, sys; from lrp_monitor.probes import ProbeSet;"
        "print(ProbeSet(np.arange(12, dtype=np.float32).reshape(2, 6), [0, 1]).hash);"
        "assert not {'keras', 'tensorflow'} & set(sys.modules), 'probes.py is NumPy alone'"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == mine


# ---- parts, files, picks


def test_select_keeps_everything_of_the_chosen() -> None:
    masks = {"m": (0, 0, 2, 2), "second": np.arange(4)[:, None, None] == np.ones((1, 5, 6))}
    probes = ProbeSet(images(), [0, 1, 2, 0], class_names=list("abc"), masks=masks)
    part = probes.select([3, 0])
    assert part.names == ("a 1", "a 0")
    np.testing.assert_array_equal(part.inputs, probes.inputs[[3, 0]])
    assert list(part.masks) == ["m"]
    assert part.target == "label"
    assert probes.select(np.array([False, True, False, False])).masks["second"].all()
    given = ProbeSet(images(), target=[3, 2, 1, 0])
    np.testing.assert_array_equal(given.select([2, 3]).targets, [1, 0])
    assert ProbeSet(images()).select(1).targets is None
    with pytest.raises(ValueError, match="select no probe"):
        probes.select([])


REGIONS = {
    "box": lambda: Region(np.s_[1:3, 0], of=1),
    "mask": lambda: Region(np.arange(24).reshape(4, 3, 2) % 5 == 0, of=[0, 2, 1, 1]),
    "outputs": lambda: Outputs(np.linspace(-1, 1, 18).reshape(3, 2, 3)),
    "step": lambda: Region(np.s_[:, ::-1], of=np.array([2, 2, 0, 1])),
}


@pytest.mark.parametrize("name", REGIONS)
def test_a_region_of_maps_is_kept_in_parts_and_files(tmp_path: Path, name: str) -> None:
    given, shape = REGIONS[name](), (3, 2, 3)  # two axes of the output's map, and its classes
    probes = ProbeSet(images(), target=given)
    assert (probes.target, probes.targets, probes.region) == ("given", None, given)
    weights = given.weights(shape, 4)
    part = probes.select([3, 1, 0])
    np.testing.assert_array_equal(part.region.weights(shape, 3), weights[[3, 1, 0]])
    np.testing.assert_array_equal(part.select([0, 2]).region.weights(shape, 2), weights[[3, 0]])
    with pytest.raises(ValueError, match="of 3 samples, not 4"):
        part.region.weights(shape, 4)
    for one in (probes, part):
        one.save(tmp_path / "set")
        again = ProbeSet.load(tmp_path / "set")
        assert again.hash == one.hash
        np.testing.assert_array_equal(again.region.weights(shape, len(one)), one.region.weights(shape, len(one)))
    others = [ProbeSet(probes.inputs), *(ProbeSet(probes.inputs, target=make()) for make in REGIONS.values())]
    assert len({other.hash for other in others}) == len(others)


@pytest.mark.parametrize("target", ["label", "predicted", [2, 2, 1, 0]])
def test_save_and_load_give_the_same_set(tmp_path: Path, target) -> None:
    probes = ProbeSet(
        images(),
        [0, 1, 2, 0],
        class_names=["ä", "b", "c"],
        masks={"stamp/left": (0, 0, 2, 2)},
        target=target,
        channel_axis=-2,
        display=RNG.integers(0, 255, (4, 5, 6, 3)).astype(np.uint8),
    ) if target != "label" else ProbeSet(images(), [0, 1, 2, 0], masks={"m": (0, 0, 2, 2)})  # fmt: skip
    file = tmp_path / "probes"
    probes.save(file)
    assert [path.name for path in tmp_path.iterdir()] == ["probes"]
    again = ProbeSet.load(file)
    assert again.hash == probes.hash
    assert again.class_names == probes.class_names
    assert (again.target, again.channel_axis, again.map_shape) == (
        probes.target,
        probes.channel_axis,
        probes.map_shape,
    )
    np.testing.assert_array_equal(again.images, probes.images)


def test_load_refuses_what_is_not_a_probe_set(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ProbeSet.load(tmp_path / "none.npz")
    file = tmp_path / "x.npz"
    ProbeSet(images()).save(file)
    whole = file.read_bytes()

    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was loaded",))

    objects = np.empty(1, object)
    objects[0] = Trap()
    for content in (b"", b"junk", whole[: len(whole) // 2], pickle.dumps(Trap())):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=r"x\.npz: not a probe set"):
            ProbeSet.load(file)
    np.savez(file, inputs=images())
    with pytest.raises(ValueError, match=r"x\.npz: not a probe set"):
        ProbeSet.load(file)
    np.savez(file, inputs=objects, allow_pickle=True)
    with pytest.raises(ValueError, match=r"x\.npz: not a probe set"):
        ProbeSet.load(file)


def test_from_dataset_picks_the_same_k_per_class() -> None:
    x = np.arange(60, dtype=np.float32)[:, None]
    y = np.tile([2, 0, 1], 20)
    probes = ProbeSet.from_dataset(x, y, per_class=3, seed=4, class_names=list("abc"))
    assert probes.labels is not None
    np.testing.assert_array_equal(probes.labels, [0, 0, 0, 1, 1, 1, 2, 2, 2])
    np.testing.assert_array_equal(y[probes.inputs[:, 0].astype(int)], probes.labels)
    assert len(np.unique(probes.inputs)) == 9
    one_hot = ProbeSet.from_dataset(x, np.eye(3)[y], per_class=3, seed=4, class_names=list("abc"))
    assert one_hot.hash == probes.hash
    assert ProbeSet.from_dataset(x, y, per_class=3, seed=5, class_names=list("abc")).hash != probes.hash
    with pytest.raises(ValueError, match="per_class=21, but class 0 has 20"):
        ProbeSet.from_dataset(x, y, per_class=21)
    with pytest.raises(ValueError, match="per_class=0"):
        ProbeSet.from_dataset(x, y, per_class=0)
    with pytest.raises(ValueError, match=r"y: shape \(3,\) for 60 samples"):
        ProbeSet.from_dataset(x, y[:3])
