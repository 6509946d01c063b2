"""What the writer took, the reader gives back."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from store_samples import COUNT, SHAPE, make_maps, make_probes, make_record, segments

from lrp_monitor.plugin.wire import step_answer
from lrp_monitor.store import storage
from lrp_monitor.store.folders import store_folder
from lrp_monitor.store.format import Histogram, ProbeInfo, StoreError
from lrp_monitor.store.reader import Run, open_run
from lrp_monitor.store.storage import open_storage
from lrp_monitor.store.writer import RunWriter, estimate_bytes


def write(folder: Path, steps: list[int], **options: object) -> RunWriter:
    with RunWriter(folder / "lrp", make_probes(), meta={"composite": "epsilon_plus"}, **options) as writer:
        for step in steps:
            writer.append(make_record(step))
    return writer


@pytest.mark.parametrize(("encoding", "tolerance"), [("sqrt8", 0.0079), ("float16", 2.0**-11), ("float32", 0.0)])
def test_maps_come_back_within_the_encodings_error(tmp_path: Path, encoding: str, tolerance: float) -> None:
    write(tmp_path, [0, 3, 4], encoding=encoding)
    run = open_run(tmp_path)
    assert run.steps == [0, 3, 4]
    for step in run.steps:
        maps = run.heatmaps(step)
        assert maps.shape == (COUNT, *SHAPE)
        assert maps.dtype == np.float32
        scale = np.abs(make_maps(step)).max((1, 2), keepdims=True)
        assert np.all(np.abs(maps - make_maps(step)) <= tolerance * scale)
        np.testing.assert_array_equal(run.heatmap("probe 2", step), maps[2])
        np.testing.assert_array_equal(run.record(step).scale, scale.ravel().astype(np.float64))
    steps, film = run.film(1)
    assert steps.tolist() == [0, 3, 4]
    np.testing.assert_array_equal(film, np.stack([run.heatmaps(step)[1] for step in run.steps]))


def test_tensors_that_few_steps_have_are_listed_and_each_list_is_read_once(tmp_path: Path) -> None:
    names = {3: ["late"], 4: ["late", "later"], 6: []}
    with RunWriter(tmp_path / "lrp", make_probes(), meta={}) as writer:
        for step in range(10):
            own = [Histogram("weight", name, 4) for name in ["always", *names.get(step, [])]]
            writer.append(make_record(step, histograms=[] if step == 6 else own))
    run = open_run(tmp_path)
    assert run.all_tensors() == [("weight", "always"), ("weight", "late"), ("weight", "later")]
    digests = [header.tensors for header in run.records()]
    assert digests[6] == ""
    assert len(set(digests) - {""}) == 3
    assert len(run._tables) == 3


def test_statistics_and_scalars_come_back_bit_for_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    bits = rng.integers(0, 2**64, (40, COUNT), dtype=np.uint64)
    odd = [np.nan, np.inf, -np.inf]
    with RunWriter(tmp_path / "lrp", make_probes(), meta={}) as writer:
        for step in range(40):
            values = bits[step].view(np.float64)
            writer.append(
                make_record(
                    step,
                    probes={"logit": values, "odd": np.array(odd)},
                    scalars={"a/x": float(values[0]), "odd": odd[step % 3]},
                )
            )
    run = open_run(tmp_path)
    steps, logits = run.statistic("logit")
    assert steps.tolist() == list(range(40))
    expected = bits.view(np.float64)
    np.testing.assert_array_equal(np.nan_to_num(logits), np.nan_to_num(expected))
    np.testing.assert_array_equal(run.statistic("odd")[1], np.tile(odd, (40, 1)))
    np.testing.assert_array_equal(run.scalar("a/x")[1], expected[:, 0])
    np.testing.assert_array_equal(run.scalar("odd")[1][:3], odd)
    assert run.statistics == ["logit", "odd"]


def test_the_whole_record_comes_back(tmp_path: Path) -> None:
    writer = write(tmp_path, [0, 7])
    run = open_run(tmp_path)
    record = run.record(7)
    assert (record.step, record.epoch, record.batch, record.wall_time) == (7, 3, 70, 1.7e9 + 7 / 3)
    assert (record.notes, record.gradient_batch, record.maps, record.session) == (
        ["note 7"],
        32,
        True,
        writer.session,
    )
    assert run.tensors(7) == [("weight", "conv2d/kernel"), ("gradient", "conv2d/kernel")]
    weight = run.histogram(7, "weight", "conv2d/kernel")
    assert (weight.size, weight.zeros, weight.denormals, weight.nan, weight.inf) == (9, 1, 1, 1, 1)
    assert (weight.minimum, weight.maximum, weight.norm, weight.note) == (-0.5, 7.0, 1.25, "")
    assert weight.buckets.tolist() == [500, 508, 1530]
    assert weight.counts.tolist() == [1, 3, 7]
    gradient = run.histogram(7, "gradient", "conv2d/kernel")
    assert (gradient.note, gradient.minimum, gradient.counts.size) == ("no gradient", None, 0)
    assert run.meta == {"composite": "epsilon_plus"}
    assert run.session == writer.session
    assert run.problems == []
    assert run.verify() == []


def test_probes_come_back(tmp_path: Path) -> None:
    write(tmp_path, [0])
    info, found = make_probes(), open_run(tmp_path).probes
    np.testing.assert_array_equal(found.images, info.images)
    np.testing.assert_array_equal(found.masks["stamp"], info.masks["stamp"])
    assert found.masks["stamp"].dtype == np.bool_
    assert found.labels is not None
    assert found.labels.tolist() == [0, 1, 2]
    for name in ("names", "class_names", "map_shape", "hash", "input_shape", "statistics"):
        assert getattr(found, name) == getattr(info, name)


def test_a_region_of_maps_comes_back(tmp_path: Path) -> None:
    """Of the model's output, whose size need not be the heatmaps'."""
    region = np.random.default_rng(3).random((3, 4, 7)) < 0.5
    info = replace(make_probes(), region=region, region_of=np.array([2, 0, 5]))
    RunWriter(tmp_path / "lrp", info, meta={}).close()
    found = open_run(tmp_path).probes
    np.testing.assert_array_equal(found.region, region)
    np.testing.assert_array_equal(found.region_of, [2, 0, 5])
    with pytest.raises(ValueError, match=r"region of shape \(2, 4, 7\), of classes \(3,\), for 3 probes"):
        RunWriter(tmp_path / "other", replace(info, region=region[:2]), meta={})


def test_a_run_without_labels_masks_or_channels(tmp_path: Path) -> None:
    info = ProbeInfo(["a"], None, None, np.zeros((1, 1, 4, 1), np.uint8), {}, (4,), "0" * 64)
    maps = np.array([[1.0, -2.0, 0.0, 0.5]], np.float32)
    with RunWriter(tmp_path, info, meta={}, encoding="float32") as writer:
        writer.append(make_record(0, heatmaps=maps, probes={}, histograms=[]))
    run = open_run(tmp_path)
    np.testing.assert_array_equal(run.heatmaps(0), maps)
    assert run.probes.labels is None
    assert run.probes.masks == {}
    assert run.tensors(0) == []


@pytest.mark.parametrize("part", ["", "lrp", "lrp/plugins/lrp_monitor"])
def test_a_run_opens_by_log_dir_run_or_store_folder(tmp_path: Path, part: str) -> None:
    write(tmp_path, [0, 1])
    assert open_run(tmp_path / part).steps == [0, 1]


def test_no_run_names_the_runs_beneath(tmp_path: Path) -> None:
    write(tmp_path / "planted", [0])
    with pytest.raises(StoreError, match=r"no run of lrp_monitor here.*there are runs in .*planted"):
        open_run(tmp_path)
    with pytest.raises(StoreError, match="give the log_dir that the monitor was given"):
        open_run(tmp_path / "nothing")
    with pytest.raises(StoreError, match=r"nosuch://bucket/a.*nosuch"):
        open_run("nosuch://bucket/a")


def test_names_that_are_not_there_are_answered_with_those_that_are(tmp_path: Path) -> None:
    write(tmp_path, [0, 2, 4, 6, 8])
    run = open_run(tmp_path)
    with pytest.raises(KeyError, match=r"no step 5 .*the nearest steps are 2, 4, 6, 8"):
        run.heatmaps(5)
    with pytest.raises(KeyError, match=r"no probe 'x'.*probe 0, probe 1"):
        run.heatmap("x", 0)
    with pytest.raises(KeyError, match="no probe 3: there are 3"):
        run.film(3)
    with pytest.raises(KeyError, match="'y' is none of the scalars; there are: lrp/conservation"):
        run.scalar("y")
    with pytest.raises(KeyError, match="none of the statistics; there are: drift, sum"):
        run.statistic("y")
    with pytest.raises(KeyError, match="no weight histogram of 'z' at step 2; there are: conv2d/kernel"):
        run.histogram(2, "weight", "z")
    with pytest.raises(ValueError, match="kind='weights': expected 'weight' or 'gradient'; did you mean 'weight'"):
        run.histograms(2, "weights")


def test_a_scalar_is_found_by_a_unique_end_of_its_tag(tmp_path: Path) -> None:
    with RunWriter(tmp_path, make_probes(), meta={}) as writer:
        writer.append(make_record(0, scalars={"a/norm": 1.0, "b/norm": 2.0, "lrp/mask_mass/stamp": 3.0}))
        writer.append(make_record(1, scalars={"lrp/mask_mass/stamp": 4.0}))
    run = open_run(tmp_path)
    steps, values = run.scalar("mask_mass/stamp")
    assert (steps.tolist(), values.tolist()) == ([0, 1], [3.0, 4.0])
    assert (steps.dtype, values.dtype) == (np.int64, np.float64)
    assert run.scalar("a/norm")[0].tolist() == [0]
    with pytest.raises(KeyError, match="'norm' is the end of a/norm, b/norm"):
        run.scalar("norm")
    with pytest.raises(KeyError, match="none of the scalars"):
        run.scalar("tamp")


def test_hostile_names_come_back_as_they_were(tmp_path: Path) -> None:
    names = ["../../etc/passwd", "<script>alert(1)</script>"]
    names += ["a\x00b\n\"'\\", "\ud800 lone", "名前\u202e" * 50]
    info = make_probes(count=5)
    info.names, info.class_names = names, names
    info.masks = {names[0]: info.masks["stamp"]}
    with RunWriter(tmp_path, info, meta={names[2]: names[3]}) as writer:
        writer.append(make_record(0, heatmaps=make_maps(0, 5), probes={n: np.arange(5.0) for n in names}, notes=names))
    run = open_run(tmp_path)
    assert run.probes.names == run.probes.class_names == run.record(0).notes == names
    assert list(run.probes.masks) == [names[0]]
    assert run.meta == {names[2]: names[3]}
    assert sorted(run.record(0).statistics) == sorted(names)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["plugins"]
    answer = step_answer(run, 0)
    length = struct.unpack("<I", answer[:4])[0]
    assert json.loads(answer[4 : 4 + length])["notes"] == names


def test_segments_roll_over_and_read_as_one_run(tmp_path: Path) -> None:
    writer = write(tmp_path, list(range(30)), segment_bytes=5000)
    files = segments(writer.path)
    assert len(files) > 5
    assert all(file.stat().st_size <= 5000 for file in files)
    assert files[0].name == f"steps-0001-{writer.session}-000000.tfrecord"
    assert files[-1].name == f"steps-0001-{writer.session}-{len(files) - 1:06d}.tfrecord"
    assert writer.bytes_written == sum(file.stat().st_size for file in files)
    run = open_run(tmp_path)
    assert run.steps == list(range(30))
    assert run.film(0)[1].shape == (30, *SHAPE)
    assert run.scalar("lrp/conservation")[1].tolist() == [0.1 + step for step in range(30)]


def test_opening_reads_headers_and_the_last_record_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of maps that were taken in whole before the next segment was begun nothing is read, nor of pictures known."""
    info = make_probes(count=4, shape=(96, 96))
    for name in ("a", "b"):
        with RunWriter(tmp_path / name, info, meta={}, encoding="float32", segment_bytes=300_000) as writer:
            for step in range(12):
                maps = make_maps(step, 4, (96, 96))
                writer.append(make_record(step, heatmaps=maps, probes={"sum": np.ones(4)}, histograms=[]))
    files = segments(writer.path)
    record = files[-1].stat().st_size // 2
    assert len(files) == 6
    assert record > 130_000
    got: list[int] = []
    plain = storage._read_at
    monkeypatch.setattr(storage, "_read_at", lambda *place: got.append(len(found := plain(*place))) or found)
    shared: dict[bytes, ProbeInfo] = {}
    first = Run(open_storage(store_folder(tmp_path / "a")), shared)
    assert sum(got) > record + info.images.nbytes // 2
    got.clear()
    second = Run(open_storage(store_folder(tmp_path / "b")), shared)
    assert second.probes is first.probes
    # At most 32 KB where a file begins, less for each record behind, and the last segment.
    assert sum(got) < record + 13 * (32 << 10)
    assert sum(got) > record
    assert second.steps == list(range(12))
    for step in (0, 5, 11):
        np.testing.assert_array_equal(second.heatmaps(step), make_maps(step, 4, (96, 96)))


def test_probes_that_differ_in_anything_are_not_shared(tmp_path: Path) -> None:
    """Also where the digest of the inputs is the same, and every chunk has the same length."""
    info = make_probes()
    name = next(iter(info.masks))
    turned = ~info.masks[name]
    others = [
        replace(info, masks={name: turned}),
        replace(info, names=[*info.names[:-1], "other"]),
        replace(info, labels=info.labels + 1),
        replace(info, images=255 - info.images),
    ]
    shared: dict[bytes, ProbeInfo] = {}
    for i, one in enumerate([info, *others, info]):
        RunWriter(tmp_path / str(i), one, meta={}).close()
        read = Run(open_storage(store_folder(tmp_path / str(i))), shared).probes
        assert (read.names, read.labels.tolist()) == (one.names, one.labels.tolist())
        np.testing.assert_array_equal(read.images, one.images)
        np.testing.assert_array_equal(read.masks[name], one.masks[name])
    assert len(shared) == 5


def test_a_record_larger_than_a_segment_gets_one_of_its_own(tmp_path: Path) -> None:
    writer = write(tmp_path, [0, 1, 2], segment_bytes=1)
    assert len(segments(writer.path)) == 4  # the session's own record, then one a step
    assert open_run(tmp_path).steps == [0, 1, 2]


def test_records_can_be_read_by_the_event_file_reader_of_tensorboard(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader

    writer = write(tmp_path, [0, 1, 2])
    payloads = list(RawEventFileLoader(str(segments(writer.path)[0])).Load())
    assert len(payloads) == 4
    assert all(bytes(payload)[:4] == b"LRPM" for payload in payloads)


def test_estimates_are_close_for_noise_and_never_far_below(tmp_path: Path) -> None:
    info = make_probes(count=4, shape=(96, 96))
    for encoding in ("sqrt8", "float16", "float32"):
        with RunWriter(tmp_path / encoding, info, meta={}, encoding=encoding) as writer:
            before = writer.bytes_written
            writer.append(make_record(0, heatmaps=make_maps(0, 4, (96, 96)), probes={"sum": np.ones(4)}, histograms=[]))
            taken = writer.bytes_written - before
        estimate = estimate_bytes(4, (96, 96), encoding, 0)
        assert 0.95 * taken <= estimate <= 1.35 * taken


def test_the_store_imports_neither_tensorflow_nor_keras() -> None:
    code = (
        "import sys, lrp_monitor.store.reader, lrp_monitor.store.writer; "
        "names = {m.split('.')[0] for m in sys.modules}; "
        "print('lrp_monitor' in names, sorted(names & {'tensorflow', 'keras', 'tensorboard', 'jax'}))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "True []"
