"""Channels of layers over a training: what is logged of them, how it is read, and that training does not notice."""

import json
import struct
import warnings
import zlib
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

import lrp_monitor as lrp
from lrp_monitor import metrics
from lrp_monitor.cli import main
from lrp_monitor.passes.compiled import Pass
from lrp_monitor.store import channels as statistics
from lrp_monitor.store.records import _FIELDS as FIELDS
from lrp_monitor.store.records import KIND_STEP
from lrp_monitor.training.probes import references
from lrp_monitor.training.probes.explained import ProbeExplainer
from lrp_monitor.training.probes.features import LoggedFeatures, smaller
from lrp_monitor.training.probes.layers import LoggedLayers
from lrp_monitor.training.probes.references import thumbnails

N, SIDE = 12, 8


def net():
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [keras.Input((SIDE, SIDE, 1)), layers.Conv2D(4, 3, activation="relu", name="conv_1"),
         layers.Conv2D(6, 3, activation="relu", name="conv_2"), layers.Flatten(name="flat"),
         layers.Dense(3, name="out")], name="net"
    )  # fmt: skip
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def data():
    rng = np.random.default_rng(0)
    y = np.arange(N) % 3
    x = rng.uniform(size=(N, SIDE, SIDE, 1)).astype(np.float32)
    x[y == 1, :3, :3] += 2
    return x, y


def probes():
    x, y = data()
    return lrp.ProbeSet(x[:6], labels=y[:6], masks={"corner": np.s_[:3, :3]})


def fit(model, epochs=2, callbacks=(), initial_epoch=0):
    x, y = data()
    model.fit(
        x,
        y,
        epochs=epochs,
        initial_epoch=initial_epoch,
        batch_size=4,
        shuffle=False,
        verbose=0,
        callbacks=list(callbacks),
    )
    return model


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    """A model trained beside a monitor of its features, and the run; and one trained alone."""
    folder, model = tmp_path_factory.mktemp("features") / "run", net()
    options = {"features": {"conv_2": 2, "out": 1}, "references": data()[0], "verbose": 0, "encoding": "float32"}
    options["composite"] = "epsilon_plus_flat"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(model, callbacks=[lrp.LRPMonitor(probes(), folder, alert={"corner": 0.01}, **options)])
    return model, lrp.open_run(folder), fit(net()), [str(w.message) for w in caught]


def test_training_is_bit_identical(logged):
    model, _, alone, _ = logged
    for one, other in zip(model.get_weights(), alone.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def stored(folder):
    """What a run holds, without clocks and names of sessions: records of its store, and values of its event file.

    A record is its version, kind, step, epoch and batch, its header, and its chunks. In a step's header the chunks of
    maps and histograms stand in place of their places, and its chunks are the others.
    """
    records = []
    for file in (next(folder.rglob("probes.tfrecord")), *sorted(folder.rglob("steps-*.tfrecord"))):
        data, at = file.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack_from("<Q", data, at)
            payload, at = data[at + 12 : at + 12 + length], at + 16 + length
            _, version, kind, *where, _, size, _ = FIELDS.unpack_from(payload)
            header, chunks = json.loads(payload[FIELDS.size : FIELDS.size + size]), payload[FIELDS.size + size :]
            header.pop("session", None)
            if kind == KIND_STEP:
                places = [*header["maps"], header["histograms"][:2]]
                (start, length), count = places[-1], len(header["maps"])
                rows = json.loads(zlib.decompress(chunks[start : start + length]))["histograms"]
                places += [row["chunk"] for row in rows]
                cut = [chunks[start : start + length] for start, length in places]
                header["maps"] = cut[:count]
                header["histograms"] = [
                    row | {"chunk": chunk} for row, chunk in zip(rows, cut[count + 1 :], strict=True)
                ]
                for start, length in sorted(places, reverse=True):
                    chunks = chunks[:start] + chunks[start + length :]
            records.append(((version, kind, *where), header, chunks))
    (file,) = folder.rglob("events.out.tfevents.*")
    values = [(event.step, one) for event in EventFileLoader(str(file)).Load() for one in event.summary.value]
    kept = [(step, one) for step, one in values if one.tag != "lrp_monitor/session"]
    return records, [(step, one.tag, one.SerializeToString(deterministic=True)) for step, one in kept]


def test_features_add_to_a_run_and_change_nothing_else(logged, tmp_path):
    plain, watched = tmp_path / "plain", tmp_path / "watched"
    more = {"features": "auto", "references": data()[0]}
    for folder, options in ((plain, {}), (watched, more)):
        model = fit(net(), callbacks=[lrp.LRPMonitor(probes(), folder, encoding="float32", verbose=0, **options)])
        for one, other in zip(model.get_weights(), logged[2].get_weights(), strict=True):  # of a fit without callbacks
            np.testing.assert_array_equal(one, other)
    assert lrp.open_run(watched).feature_layers == ["conv_2"]
    (records, events), (all_records, all_events) = stored(plain), stored(watched)
    assert [event for event in all_events if not event[1].startswith("lrp/features/")] == events
    assert [place for place, *_ in records] == [place for place, *_ in all_records]
    assert [place[1:3] for place, *_ in records] == [(1, 0), (3, 0), (2, 0), (2, 1), (2, 2)]  # probes, session, steps
    for (place, header, chunks), (_, with_features, more_chunks) in zip(records, all_records, strict=True):
        if place[1] == KIND_STEP:
            assert chunks == b""  # not a byte beside maps and histograms
            assert len(with_features.pop("features")) == 3
            with_features.pop("references", None)
            scalars = with_features["scalars"]
            with_features["scalars"] = {k: v for k, v in scalars.items() if not k.startswith("lrp/features/")}
            assert len(scalars) > len(with_features["scalars"])
        else:
            assert chunks == more_chunks
            assert with_features.get("meta", {"features": ["conv_2"]}).pop("features") == ["conv_2"]
        assert list(header) == list(with_features)
        assert header == with_features


def test_what_a_step_holds_is_what_the_model_says(logged):
    model, run, _, _ = logged
    found, own = run.features("conv_2", 2), probes()
    explainer = lrp.Explainer(model, "epsilon_plus_flat")
    inspected = explainer.inspect(own.inputs, own.labels)["conv_2"]
    np.testing.assert_allclose(found.relevance, inspected.channels, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found.fired, inspected.fired.any(axis=0))
    active = keras.Model(model.inputs, model.get_layer("conv_2").output)(own.inputs).numpy()
    np.testing.assert_array_equal(found.fired, active.any(axis=(0, 1, 2)))
    share = statistics.shares(found.relevance, own.labels, [0, 1, 2])
    for number in range(3):
        for probe in np.flatnonzero(own.labels == number):
            channels = set(found.channel[found.probe == probe].tolist())
            assert set(statistics.leading(share[number], 2).tolist()) <= channels
            for channel in channels:
                wanted = explainer.conditional(own.inputs, {"conv_2": channel}, own.labels)[probe].sum(axis=-1)
                np.testing.assert_allclose(found.map(probe, channel), wanted, rtol=1e-4, atol=1e-6)
                at = np.flatnonzero((found.probe == probe) & (found.channel == channel))[0]
                mass = metrics.mask_mass(wanted[None], own.masks["corner"][probe][None])[0]
                np.testing.assert_allclose(found.masses["corner"][at], mass, rtol=1e-4)
    with pytest.raises(KeyError, match="there are those of channels"):
        found.map(0, 99)


@pytest.mark.parametrize("inspects", [False, True])
def test_relevance_by_channel_comes_with_the_one_pass_of_the_heatmaps(logged, monkeypatch, inspects):
    model, run, _, _ = logged
    own, calls, call = probes(), [], Pass.__call__
    monkeypatch.setattr(Pass, "__call__", lambda self, *given: (calls.append(self), call(self, *given))[1])
    explainer = lrp.Explainer(model, "epsilon_plus_flat")
    watched = LoggedFeatures(model, explainer, own, {"conv_2": 2, "out": 1})
    looker = ProbeExplainer(explainer, own, LoggedLayers(model, ["all"]) if inspects else None, features=watched)
    found = looker.explain(own.labels, None)
    assert len(calls) == 1
    assert [one.layer for one in found.layer_channels] == ["conv_2", "out"]
    for one, name in zip(found.layer_channels, ("conv_2", "out"), strict=True):
        np.testing.assert_allclose(one.relevance, run.features(name, run.steps[-1]).relevance, rtol=1e-5, atol=1e-6)


def test_a_channel_once_logged_stays(logged):
    _, run, _, _ = logged
    for first, second in zip(run.steps, run.steps[1:], strict=False):
        before, now = run.features("conv_2", first), run.features("conv_2", second)
        assert {*zip(before.probe, before.channel, strict=True)} <= {*zip(now.probe, now.channel, strict=True)}


def test_channels_that_led_in_several_classes_fall_out_of_each_alone():
    few = lrp.ProbeSet(np.zeros((2, 4), np.float32), labels=[0, 1], class_names=["a", "b"])
    watched = LoggedFeatures(net(), None, few, {"layer": 1}, _counts={"layer": 1})
    classes = np.array([0, 1])
    for leader in range(5):  # of class 0 channels 0 to 4 lead, of class 1 channels 5 to 9
        relevance = np.zeros((2, 10))
        relevance[[0, 1], [leader, 5 + leader]] = 1
        samples, chosen = watched._pairs("layer", relevance, classes)
    kept = len(chosen) // 2
    assert kept in (2, 3)
    for probe, first in ((0, 0), (1, 5)):
        assert sorted(chosen[samples == probe]) == list(range(first + 5 - kept, first + 5))
    fallen = [(channel, name) for name, first in (("'a'", 0), ("'b'", 5)) for channel in range(first, first + 5 - kept)]
    words = [f"features: of 'layer' the heatmaps of channel {c} are no longer logged for {name}" for c, name in fallen]
    assert sorted(note.partition(": more")[0] for note in watched.notes) == sorted(words)


def test_references_are_those_with_the_most_relevance(logged):
    model, run, _, _ = logged
    found = run.features("conv_2", 2)
    _, (whole,) = lrp.Explainer(model, "epsilon_plus_flat").channels(data()[0], ["conv_2"])
    for channel in range(6):
        order = np.argsort(-whole.relevance[:, channel], kind="stable")[:8]
        np.testing.assert_allclose(found.top_relevance[channel], whole.relevance[order, channel], rtol=1e-4, atol=1e-6)
        values = whole.relevance[found.top[channel], channel]
        np.testing.assert_allclose(values, found.top_relevance[channel], rtol=1e-4, atol=1e-6)
    assert run.features("conv_2", 0).top is not None
    assert run.features("conv_2", 1).top is None  # neither the first, nor the last, nor a tenth


def test_references_that_logged_channels_name_are_kept_once_as_pictures(logged):
    _, run, _, _ = logged
    named, top = set(), {}
    for step in run.steps:
        for layer in run.feature_layers:
            found = run.features(layer, step)
            top[layer] = found.top if found.top is not None else top[layer]
            named |= set(top[layer][np.unique(found.channel)].ravel().tolist())
    kept = run.references()
    assert set(kept) == named
    low, high = probes().inputs.min(), probes().inputs.max()
    for number, info in kept.items():
        wanted = np.rint(255 * np.clip((data()[0][number].astype(np.float64) - low) / (high - low), 0, 1))
        np.testing.assert_array_equal(info.images[0], wanted)
    parts = [run._parse_references(run._entry(run._view, h.step), h) for h in run.records() if h.references]
    assert sum(map(len, parts)) == len(kept)  # none of them twice
    assert run.references("0" * 16) == {}


def test_pictures_of_references_are_small_and_within_a_limit(monkeypatch):
    large = np.arange(100 * 130, dtype=np.float64).reshape(1, 100, 130, 1) % 251
    small = thumbnails(large.astype(np.uint8))
    assert small.shape == (1, 34, 44, 1)
    assert small[0, 0, 0, 0] == np.rint(large[0, :3, :3].mean())
    assert small[0, -1, -1, 0] == large[0, -1, -1]  # one row and column are left: the last ones again
    monkeypatch.setattr(references, "MOST_BYTES", 5 * 8 * 8)
    pictures = references.ReferencePictures(data()[0], probes(), _left=5 * 8 * 8)
    assert pictures.take([3, 1, 3]).names == ["3", "1"]
    assert pictures.take([1, 2, 4, 5, 6]).names == ["2", "4", "5"]
    assert pictures.take([7]) is None
    assert "of 5 samples are kept" in pictures.notes[0]


def test_references_that_are_texts_and_tables_are_kept_as_such():
    words = lrp.ProbeSet(np.array([[1, 2], [2, 0]]), tokens=[["good", "film"], ["film", ""]])
    (kept,) = references.reference_info(words, np.array([[7, 7], [2, 9]]), [1]).inputs
    assert (kept.kind, kept.tokens) == ("tokens", [["film", "9"]])
    table = lrp.ProbeSet(np.zeros((2, 3), np.float32), feature_names=["a", "b", "c"])
    (kept,) = references.reference_info(table, np.eye(3), [2, 0]).inputs
    assert kept.feature_names == ["a", "b", "c"]
    np.testing.assert_array_equal(kept.values, [[0, 0, 1], [1, 0, 0]])


def test_reading_over_steps(logged):
    _, run, _, _ = logged
    assert run.feature_layers == ["conv_2", "out"]
    assert run.meta["features"] == ["conv_2", "out"]
    history = run.channel_history("conv_2")
    assert history.relevance.shape == (3, 6, 6)
    np.testing.assert_allclose(np.nansum(history.shares, axis=-1)[history.shares.any(axis=-1)], 1.0)
    table = run.table("channel")
    assert len(table["step"]) == 3 * 3 * (6 + 3)
    row = (table["step"] == 2) & (table["layer"] == "conv_2") & (table["class"] == 1) & (table["channel"] == 3)
    np.testing.assert_allclose(table["share"][row], history.shares[2, 1, 3])
    steps, values = run.scalar("lrp/features/conv_2/needed")
    np.testing.assert_array_equal(steps, [0, 1, 2])
    np.testing.assert_array_equal(values, statistics.needed(history.overall))
    with pytest.raises(KeyError, match=r"no features of 'conv_9' at step 1 .* conv_2, out"):
        run.features("conv_9", 1)
    assert not run.verify()


def test_the_command_line_tells_of_channels(logged, capsys, tmp_path):
    _, run, _, _ = logged
    folder = str(Path(run.path).parents[2])
    assert main(["show", folder]) == 0
    printed = capsys.readouterr().out
    assert "channels of conv_2 at step 2: " in printed
    assert "of class 1, emerged at" in printed
    assert main(["show", folder, "--json"]) == 0
    about = json.loads(capsys.readouterr().out)["features"]["conv_2"]
    history = run.channel_history("conv_2")
    leader = about["classes"][1]["leading"][0]
    assert leader["channel"] == history.shares[-1, 1].argmax()
    assert leader["share"] == pytest.approx(history.shares[-1, 1].max())
    assert main(["export", folder, "-o", str(tmp_path / "a.npz")]) == 0
    with np.load(tmp_path / "a.npz") as arrays:
        np.testing.assert_array_equal(arrays["features conv_2 relevance"], history.relevance)


def test_an_alert_names_the_channels(logged):
    *_, texts = logged
    assert any("carried by channel" in text and "of 'conv_2'" in text for text in texts)


def test_a_later_fit_goes_on_with_the_channels(logged, tmp_path):
    model, folder = net(), tmp_path / "run"
    fit(model, 1, [lrp.LRPMonitor(probes(), folder, features={"conv_2": 1}, verbose=0)])
    before = lrp.open_run(folder).features("conv_2", 1)
    both = {"features": {"conv_2": 1}, "inspect": "out"}  # read off the pass that inspects
    fit(model, 2, [lrp.LRPMonitor(probes(), folder, verbose=0, **both)], initial_epoch=1)
    now = lrp.open_run(folder).features("conv_2", 2)
    assert {*zip(before.probe, before.channel, strict=True)} <= {*zip(now.probe, now.channel, strict=True)}
    # Without features a record has no word of them.
    fit(model, 3, [lrp.LRPMonitor(probes(), folder, verbose=0)], initial_epoch=2)
    run = lrp.open_run(folder)
    assert run.record(3).features is None
    assert "features" not in run.meta
    (file,) = folder.rglob(f"steps-*-{run.session}-*.tfrecord")
    assert b"features" not in file.read_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": "conv_3"}, r"features: the model runs no layer 'conv_3'; near it: conv_1, conv_2|conv_2, conv_1"),
        ({"features": {"conv_2": 0}}, "'conv_2' has 0 channels a class"),
        ({"features": []}, r"features=\[\]: expected"),
        ({"references": np.zeros((4, 8, 8, 1))}, "references: .* features="),
        ({"features": "auto", "references": np.zeros((4, 9, 8, 1))}, r"references: shape \(4, 9, 8, 1\)"),
    ],
)
def test_bad_options_are_reported_before_training(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        fit(net(), 1, [lrp.LRPMonitor(probes(), tmp_path / "run", verbose=0, **options)])
    assert not (tmp_path / "run").exists()


def test_a_layer_without_channels_is_reported_before_training(tmp_path):
    x = keras.Input((SIDE, SIDE, 1))
    summed = layers.Lambda(lambda t: keras.ops.sum(t, axis=(1, 2, 3)), name="summed")(
        layers.Conv2D(2, 3, name="conv")(x)
    )
    model = keras.Model(x, layers.Dense(3, name="out")(layers.Reshape((1,))(summed)))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    message = r"features: the output of layer 'summed' .* has shape \(None,\), which has no axis of channels"
    with pytest.raises(ValueError, match=message):
        fit(model, 1, [lrp.LRPMonitor(probes(), tmp_path / "run", features=["conv", "summed"], verbose=0)])
    assert not (tmp_path / "run").exists()


def test_statistics_of_channels():
    relevance = np.float32([[[4, 1, -2, 0]], [[3, 3, 0, 0]], [[1, 7, 2, 0]], [[0, 6, 2, 0]]])  # (4 steps, 1 probe, 4)
    share = statistics.shares(relevance, np.array([5]), [5])[:, 0]
    np.testing.assert_allclose(share[0], [0.8, 0.2, 0, 0])
    np.testing.assert_allclose(share[-1], [0, 0.75, 0.25, 0])
    # The last share is .75: above half of it from the second step on (.5); .25: from the third (.2); 0 never.
    np.testing.assert_array_equal(statistics.emerged(share), [-1, 1, 2, -1])
    np.testing.assert_array_equal(statistics.needed(share), [2, 2, 2, 2])
    np.testing.assert_array_equal(statistics.unused(relevance)[0], [False, False, False, True])
    np.testing.assert_array_equal(statistics.leading(share[-1], 3), [1, 2])
    assert np.isnan(statistics.shares(-relevance[:1], np.array([5]), [4])).all()


def test_large_maps_are_summed_over_squares():
    maps = np.random.default_rng(0).normal(size=(2, 130, 70)).astype(np.float32)
    found = smaller(maps)
    assert found.shape == (2, 44, 24)
    np.testing.assert_allclose(found.sum(axis=(1, 2)), maps.sum(axis=(1, 2)), rtol=1e-4)
    np.testing.assert_allclose(found[0, 1, 2], maps[0, 3:6, 6:9].sum(), rtol=1e-5)
