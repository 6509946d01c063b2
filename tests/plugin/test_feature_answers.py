"""What the page is sent of watched layers, against what the store holds; and the records of features themselves."""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from plugin_helpers import COUNT, SHAPE, make_probes, make_record, write_run

from lrp_monitor.plugin import feature_answers
from lrp_monitor.store.format import LayerFeatures, StepRecord
from lrp_monitor.store.reader import Run, open_run
from lrp_monitor.store.writer import RunWriter

CHANNELS = 5
TARGETS = np.array([2.0, 0.0, 2.0])


def make_features(step: int) -> LayerFeatures:
    rng = np.random.default_rng(step)
    relevance = rng.normal(size=(COUNT, CHANNELS)).astype(np.float32)
    relevance[:, 4] = 0
    probe, channel = np.array([0, 0, 1, 2, 2]), np.array([1, 3, 0, 1, 3])
    return LayerFeatures(
        "conv_3", relevance, np.array([True, True, True, True, False]), probe, channel,
        rng.normal(size=(5, *SHAPE)).astype(np.float32), {"stamp": np.array([0.5, 0.25, np.nan, 0.75, 1.0])},
        *((np.arange(10).reshape(5, 2), rng.normal(size=(5, 2)).astype(np.float32)) if step == 0 else (None, None)),
    )  # fmt: skip


def with_features(step: int) -> StepRecord:
    record = make_record(step)
    return replace(record, probes=record.probes | {"target": TARGETS}, features=[make_features(step)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("features")
    with RunWriter(path / "lrp", make_probes(), meta={}, encoding="float32") as writer:
        for step in (0, 1, 4):
            writer.append(with_features(step))
        writer.append(make_record(6))  # a session may go on without
    return path


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    return open_run(folder)


def opened(answer: bytes) -> tuple[dict, bytes]:
    (length,) = struct.unpack("<I", answer[:4])
    return json.loads(answer[4 : 4 + length]), answer[4 + length :]


def floats(body: bytes, place: list[int]) -> np.ndarray:
    return np.frombuffer(zlib.decompress(body[place[0] : sum(place)]), "<f4")


def test_a_record_holds_what_was_written(run: Run) -> None:
    for step in (0, 1, 4):
        found, wanted = run.features("conv_3", step), make_features(step)
        for name in ("relevance", "fired", "probe", "channel", "maps"):
            np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
        np.testing.assert_array_equal(found.masses["stamp"], wanted.masses["stamp"])
        assert (found.top is None) == (step != 0)
    np.testing.assert_array_equal(run.features("conv_3", 0).top, make_features(0).top)
    np.testing.assert_array_equal(run.features("conv_3", 0).map(2, 3), make_features(0).maps[4])
    assert not run.verify()
    with pytest.raises(KeyError, match="no features of 'conv_3' at step 6"):
        run.features("conv_3", 6)


def test_a_record_without_features_is_what_it_was(tmp_path: Path) -> None:
    """Neither the header nor the chunks change; a reader that knows no features reads the rest of one with them."""
    sizes = []
    for name, record in (("a", make_record(1)), ("b", replace(make_record(1), features=[make_features(1)]))):
        with RunWriter(tmp_path / name / "lrp", make_probes(), meta={}) as writer:
            writer.append(record)
        run = open_run(tmp_path / name)
        header = run.record(1)
        sizes.append([header.places, header.channel_places, header.scalars, header.notes])
        (file,) = (tmp_path / name).rglob("steps-*.tfrecord")
        assert (b'"features"' in file.read_bytes()) == (name == "b")
    assert sizes[0] == sizes[1]


def test_steps_that_come_later_are_taken_in(tmp_path: Path) -> None:
    with RunWriter(tmp_path / "lrp", make_probes(), meta={}) as writer:
        writer.append(with_features(0))
        run = open_run(tmp_path)
        assert run.channel_history("conv_3").steps.tolist() == [0]
        writer.append(with_features(2))
        run.refresh()
        history = run.channel_history("conv_3")
        assert history.steps.tolist() == [0, 2]
        np.testing.assert_array_equal(history.relevance[1], make_features(2).relevance)
    with RunWriter(tmp_path / "lrp", make_probes(), meta={}) as writer:  # replaces step 2
        writer.append(with_features(1))
    run.refresh()
    history = run.channel_history("conv_3")
    assert history.steps.tolist() == [0, 1]
    np.testing.assert_array_equal(history.relevance[1], make_features(1).relevance)


@pytest.mark.parametrize(
    "change",
    [
        {"fired": np.ones(4, bool)},
        {"channel": np.array([1, 3, 0, 1, 5])},
        {"probe": np.array([0, 0, 1, 2, 3])},
        {"maps": np.zeros((4, *SHAPE), np.float32)},
        {"masses": {"stamp": np.zeros(4)}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_does_not_fit_is_not_written(tmp_path: Path, change: dict) -> None:
    record = replace(make_record(0), features=[replace(make_features(0), **change)])
    with (
        RunWriter(tmp_path / "lrp", make_probes(), meta={}) as writer,
        pytest.raises(ValueError, match="features of 'conv_3'"),
    ):
        writer.append(record)


def test_the_layers(run: Run) -> None:
    (layer,) = feature_answers.layers("a", run)["layers"]
    assert layer["classes"] == [0, 2]
    assert layer["steps"] == [0, 1, 4]
    assert layer["unused"] == [1, 1, 1]
    assert layer["dead"] == [1, 1, 1]
    # By hand: the four largest shares of each class at step 4 that were below half of that at step 0.
    expected = []
    for of_class, probes in ((0, [1]), (2, [0, 2])):
        rows = [np.maximum(make_features(step).relevance[probes], 0).sum(axis=0) for step in (0, 1, 4)]
        first, middle, last = (row / row.sum() for row in rows)
        for channel in sorted(np.flatnonzero(last), key=lambda c, last=last: -last[c])[:4]:
            if middle[channel] < last[channel] / 2:
                expected.append((of_class, channel, 4, pytest.approx(last[channel], rel=1e-6)))
            elif first[channel] < last[channel] / 2:
                expected.append((of_class, channel, 1, pytest.approx(last[channel], rel=1e-6)))
    assert [tuple(one.values()) for one in layer["emerged"]] == expected
    assert {step for _, _, step, _ in expected} == {1, 4}


def test_the_channels_at_a_step(run: Run) -> None:
    header, body = opened(feature_answers.at_step(run, "conv_3", 2, 1, run.session))
    positive = np.maximum(make_features(1).relevance[[0, 2]], 0).sum(axis=0)
    places = header["places"]
    np.testing.assert_allclose(floats(body, places["shares"]).reshape(2, 5)[1], positive / positive.sum(), rtol=1e-6)
    np.testing.assert_array_equal(floats(body, places["states"]), [0, 4, 0, 4, 3])
    np.testing.assert_array_equal(floats(body, places["mass stamp"]), [np.nan, 0.625, np.nan, 0.625, np.nan])
    with pytest.raises(KeyError, match="no probe of class 1"):
        feature_answers.at_step(run, "conv_3", 1, 1, run.session)
    with pytest.raises(KeyError, match="not of session"):
        feature_answers.at_step(run, "conv_3", 2, 1, "0123456789abcdef")


def test_maps_of_channels(run: Run) -> None:
    header, body = opened(feature_answers.maps(run, "conv_3", 2, [3, 0], 6, 0, run.session))
    wanted = make_features(0)
    row, other = header["rows"]
    by_relevance = sorted((0, 2), key=lambda probe: -wanted.relevance[probe, 3])
    assert row["probes"] == by_relevance
    assert row["top"] == [6, 7]
    assert other["scale"] == [None, None]
    maps = floats(body, header["codes"]).reshape(2, *SHAPE)
    for one, probe in zip(maps, by_relevance, strict=True):
        np.testing.assert_array_equal(one, wanted.map(probe, 3))
    with pytest.raises(KeyError, match="no channel 5"):
        feature_answers.maps(run, "conv_3", 2, [5], 6, 0, run.session)


def test_a_channels_film(run: Run) -> None:
    header, body = opened(feature_answers.film(run, "conv_3", 1, 0, [0, 4, 6]))
    assert [scale is None for scale in header["scale"]] == [False, False, True]
    maps = floats(body, header["codes"]).reshape(2, *SHAPE)
    np.testing.assert_array_equal(maps[1], make_features(4).map(0, 1))


def test_curves(run: Run) -> None:
    found = feature_answers.curves(run, "conv_3", 0, [2, 0])
    assert found["steps"] == [0, 1, 4]
    history = run.channel_history("conv_3")
    np.testing.assert_allclose(found["shares"]["2"], np.nan_to_num(history.shares[:, 0, 2]), atol=1e-5)


def test_a_run_without_features_has_no_layers(tmp_path: Path) -> None:
    write_run(tmp_path, [0])
    assert feature_answers.layers("a", open_run(tmp_path))["layers"] == []
    assert open_run(tmp_path).table("channel")["step"].shape == (0,)
