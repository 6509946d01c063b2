"""Baselines on disk: what comes back, byte for byte the same, and every way in which a file can be wrong."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import struct
import subprocess
import sys
import zipfile
import zlib
from dataclasses import replace

import numpy as np
import pytest
from regression_helpers import make_snapshot

from lrp_monitor import BaselineError, Snapshot, archives, compare
from lrp_monitor.regression import baseline


@pytest.fixture
def saved(tmp_path):
    make_snapshot().save(tmp_path / "base")
    return tmp_path / "base"


def files(path):
    return path.with_name(path.name + ".npz"), path.with_name(path.name + ".json")


def failure(path, kind):
    with pytest.raises(BaselineError) as caught:
        Snapshot.load(path)
    assert caught.value.kind == kind, str(caught.value)
    assert "\nTo mend: " in str(caught.value)
    return str(caught.value)


def describe(path, data):
    """Makes the json describe these bytes of the npz: what somebody who means harm would do."""
    archive, about = files(path)
    archive.write_bytes(data)
    parsed = json.loads(about.read_text())
    parsed["npz"] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    about.write_text(json.dumps(parsed))


def repacked(path, **changed):
    """The npz with entries changed (bytes of an npy file), added, or left out (None)."""
    archive = files(path)[0]
    with zipfile.ZipFile(archive) as old:
        entries = {name.removesuffix(".npy"): old.read(name) for name in old.namelist()} | changed
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
        for name, data in entries.items():
            if data is not None:
                new.writestr(f"{name}.npy", data)
    return buffer.getvalue()


def npy(array, **options):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, **options)
    return buffer.getvalue()


def test_everything_comes_back(tmp_path):
    mask = np.random.default_rng(0).random((8, 10, 10)) > 0.9
    made = make_snapshot(masks={"stamp": mask, "ünïcode/‮": ~mask}, names=tuple("abcdefgµ"))
    made.save(tmp_path / "deep" / "er" / "base")
    back = Snapshot.load(tmp_path / "deep" / "er" / "base")
    for name in ("logit", "logits", "targets", "predictions", "labels", "images"):
        np.testing.assert_array_equal(getattr(back, name), getattr(made, name), err_msg=name)
    assert (back.names, back.digests) == (made.names, made.digests)
    assert list(back.masks) == ["stamp", "ünïcode/‮"]
    for name, value in made.masks.items():
        np.testing.assert_array_equal(back.masks[name], value)
    assert {key: back.meta[key] for key in made.meta if key != "source"} == {
        key: value for key, value in made.meta.items() if key != "source"
    }
    found = compare(back, made, masks=())
    assert found.ok
    assert found.metrics["relative_l2"].max() < 1e-4


def test_maps_of_very_unlike_strength_stay_within_a_fifth_of_the_strictest_limit(tmp_path):
    # Most of a map's relevance in few pixels, over eight orders of magnitude: what the square root is there for.
    maps = (10 ** np.random.default_rng(0).uniform(-8, 0, size=(16, 40, 40))).astype(np.float32)
    maps[0] = 0
    maps[1] *= np.float32(1e-30)
    made = make_snapshot(n=16, side=40, heatmaps=maps)
    made.save(tmp_path / "base")
    found = compare(tmp_path / "base", made)
    assert found.ok
    assert found.metrics["relative_l2"].max() < 2e-4
    assert not Snapshot.load(tmp_path / "base").heatmaps[0].any()


def test_the_same_snapshot_gives_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        make_snapshot().save(tmp_path / name)
    assert files(tmp_path / "one")[0].read_bytes() == files(tmp_path / "two")[0].read_bytes()
    assert files(tmp_path / "one")[1].read_bytes() == files(tmp_path / "two")[1].read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.json", "one.npz", "two.json", "two.npz"]


def test_the_json_is_made_for_diffs(saved):
    lines = files(saved)[1].read_text().splitlines()
    rows = [line for line in lines if '"input"' in line]
    assert len(rows) == 8
    assert json.loads(rows[2].strip().rstrip(",")) == {
        "name": "probe 2", "input": "0" * 15 + "2", "target": 2, "prediction": 2,
    }  # fmt: skip
    assert max(map(len, lines)) < 120


def test_large_pictures_are_kept_as_thumbnails(tmp_path):
    images = np.zeros((2, 300, 150, 3), np.uint8)
    images[:, :150] = (200, 100, 50)
    make_snapshot(n=2, images=images).save(tmp_path / "base")
    back = Snapshot.load(tmp_path / "base").images
    assert back.shape == (2, 96, 48, 3)
    assert back[1, 10, 10].tolist() == [200, 100, 50]
    assert back[1, 90, 10].tolist() == [0, 0, 0]


@pytest.mark.parametrize("name", ["base", "base.npz", "base.json"])
def test_either_file_or_the_stem_names_it(saved, name):
    assert len(Snapshot.load(saved.with_name(name))) == 8


def test_a_name_with_dots_keeps_them(tmp_path):
    make_snapshot().save(tmp_path / "model-0.5")
    make_snapshot(seed=1).save(tmp_path / "model-0.7")
    assert not compare(tmp_path / "model-0.5", tmp_path / "model-0.7").ok


def test_what_is_not_finite_is_not_written(tmp_path):
    maps = make_snapshot().heatmaps.copy()
    maps[3, 0, 0] = np.nan
    with pytest.raises(BaselineError, match="not written, NaN or infinity in the heatmaps or logits of 'probe 3'"):
        replace(make_snapshot(), heatmaps=maps).save(tmp_path / "base")
    assert not list(tmp_path.iterdir())


def test_a_missing_baseline(tmp_path, saved):
    assert "none.json: there is no such baseline" in failure(tmp_path / "none", "missing")
    archive, about = files(saved)
    data = archive.read_bytes()
    archive.unlink()
    assert "base.npz: there is no such file, only base.json" in failure(saved, "missing")
    archive.write_bytes(data)
    about.unlink()
    assert "base.json: there is no such baseline, only base.npz" in failure(saved, "missing")


def test_every_cut_is_noticed(saved):
    archive = files(saved)[0]
    data = archive.read_bytes()
    for length in (0, 1, 100, len(data) // 2, len(data) - 1):
        archive.write_bytes(data[:length])
        message = failure(saved, "damaged")
        assert f"base.npz: cut off, {length:,} of {len(data):,} bytes are there" in message
        assert f"git checkout -- {archive} {files(saved)[1]}" in message


def test_every_flipped_byte_is_noticed(saved):
    archive = files(saved)[0]
    data = archive.read_bytes()
    kinds = set()
    for at in range(0, len(data), 7):
        damaged = bytearray(data)
        damaged[at] ^= 0x55
        archive.write_bytes(damaged)
        with pytest.raises(BaselineError) as caught:
            Snapshot.load(saved)
        assert "base.npz" in str(caught.value)
        kinds.add(caught.value.kind)
    assert kinds <= {"damaged", "mismatch", "size"}
    assert "damaged" in kinds


def test_every_cut_and_flipped_byte_of_the_json_is_noticed_or_harmless(saved):
    about = files(saved)[1]
    data = about.read_bytes()
    for at in range(0, len(data), 5):
        about.write_bytes(data[:at])
        assert "base.json: damaged" in failure(saved, "damaged")
        flipped = bytearray(data)
        flipped[at] ^= 0x01
        about.write_bytes(flipped)
        try:
            Snapshot.load(saved)
        except BaselineError as error:
            assert "base." in str(error)  # noqa: PT017 - many changes are harmless: a letter of a name


@pytest.mark.parametrize("text", ["", "[]", "null", '{"format": "1"}', '{"format": 0}', "{}", "[" * 100000, "\xff\xfe"])
def test_a_json_that_is_none_of_ours(saved, text):
    files(saved)[1].write_text(text, encoding="latin-1")
    assert "base.json: damaged" in failure(saved, "damaged")


@pytest.mark.parametrize("change", [{"npz": None}, {"npz": {"bytes": "many", "sha256": ""}}, {"probes": [{}]},
                                    {"probes": 3}, {"masks": ["stamp"]}, {"probes": []}])  # fmt: skip
def test_a_json_that_does_not_fit(saved, change):
    about = files(saved)[1]
    about.write_text(json.dumps(json.loads(about.read_text()) | change))
    assert "base.json" in failure(saved, "damaged")


def test_a_newer_format(saved):
    about = files(saved)[1]
    about.write_text(about.read_text().replace('"format": 1', '"format": 7'))
    message = failure(saved, "version")
    assert "written in format 7, this version reads up to 2" in message
    assert "pip install --upgrade lrp_monitor" in message


def test_files_of_two_commits(saved, tmp_path):
    make_snapshot(seed=1).save(tmp_path / "other")
    files(saved)[0].write_bytes(files(tmp_path / "other")[0].read_bytes().ljust(files(saved)[0].stat().st_size))
    failure(saved, "mismatch")


def test_a_pointer_of_git_lfs(saved):
    files(saved)[0].write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    assert "git lfs pull" in failure(saved, "damaged")


class Harm:
    """Unpickling it writes a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def test_pickled_objects_are_refused_unread(saved, tmp_path):
    harm = np.array([Harm(tmp_path / "harm")], dtype=object)
    assert pickle.loads(pickle.dumps(Harm(tmp_path / "proof"))).close() is None
    assert (tmp_path / "proof").exists()  # it would do harm
    describe(saved, repacked(saved, labels=npy(harm, allow_pickle=True)))
    assert "entry 'labels' holds pickled objects" in failure(saved, "pickle")
    assert not (tmp_path / "harm").exists()


def bomb(declared):
    """A zip file by hand: one entry that inflates to 3 GiB (an npy header, then zeros) and declares another size."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    head = npy(np.zeros(1, "<i2"), version=(1, 0))[:-2].replace(b"(1,), }         ", b"(1610612736,), }")
    start = squeeze.compress(head) + squeeze.flush(zlib.Z_FULL_FLUSH)
    block = squeeze.compress(bytes(1 << 24)) + squeeze.flush(zlib.Z_FULL_FLUSH)
    data, name = start + block * 192 + squeeze.flush(), b"maps.npy"
    sizes = (0, len(data), declared, len(name))
    local = struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 8, 0, 33, *sizes, 0) + name
    central = struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 8, 0, 33, *sizes, *[0] * 6) + name
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(central), len(local) + len(data), 0)
    return local + data + central + end


@pytest.mark.parametrize(
    ("declared", "kind", "message"),
    [
        ((3 << 30) + 128, "size", "inflates to 3,221,225,600 bytes"),
        (1 << 20, "damaged", "says 3,221,225,472 bytes and holds 1,048,576"),
    ],
)
def test_a_bomb_is_not_inflated(saved, declared, kind, message):
    describe(saved, bomb(declared))
    assert files(saved)[0].stat().st_size < 4 << 20
    script = (  # in a process that has less memory than the bomb would take
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (3 << 29, 3 << 29))\n"
        "from lrp_monitor import Snapshot, BaselineError\n"
        "try: Snapshot.load(sys.argv[1])\n"
        "except BaselineError as error: print(error.kind, error)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(saved)], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{kind} "), done.stdout
    assert message in done.stdout


def test_a_shape_beyond_what_is_there_is_not_allocated(saved):
    header = npy(np.zeros((1, 1, 1), "<i2")).replace(b"(1, 1, 1), }      ", b"(1, 99999, 99999)}")
    describe(saved, repacked(saved, maps=header))
    assert "says 19,999,600,002 bytes" in failure(saved, "damaged")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"maps": None}, "KeyError"),
        ({"maps": npy(np.zeros((8, 10, 10), "<f4"))}, "maps are float32"),
        ({"maps": npy(np.zeros((7, 10, 10), "<i2"))}, ""),
        ({"logits": npy(np.zeros((3, 4), "<f4"))}, "3 rows of logits for 8 maps"),
        ({"images": npy(np.zeros((8, 10), "u1"))}, "images (8, 10)"),
        ({"maps": npy(np.zeros((8, 10, 10), "<i2"), version=(2, 0))}, "npy version (2, 0)"),
        ({"maps": npy(np.zeros((8, 10, 10), "<i2"), version=(1, 0))[:-200]}, "says 1,600 bytes"),
        ({"maps": npy(np.zeros((8, 10, 10), "<i2"), version=(1, 0)) + b"more"}, "not of the length"),
        ({"maps": b"no npy file"}, "magic"),
        ({"../../evil": npy(np.zeros(3)), "maps": None}, "KeyError"),
    ],
)
def test_arrays_that_are_none_of_ours(saved, changed, message):
    describe(saved, repacked(saved, **changed))
    assert message in failure(saved, "damaged")


def test_too_many_entries(saved):
    describe(saved, repacked(saved, **{f"mask_{i}": npy(np.zeros(1)) for i in range(300)}))
    assert f"entries; at most {archives.MAX_ENTRIES} are read" in failure(saved, "size")


def test_a_json_beyond_all_bounds(saved):
    with files(saved)[1].open("r+b") as about:
        about.truncate(baseline.MAX_JSON_BYTES + 1)
    failure(saved, "size")
