"""Maps by input channel in the run: the parts that the heatmap is the sum of."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from monitor_helpers import CLASSES, monitor

from lrp_monitor.engine.explainer import Explainer
from lrp_monitor.probes import ProbeSet
from lrp_monitor.store.reader import open_run


def colours(n: int = 24) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, n)
    images = rng.uniform(0, 0.3, (n, 6, 5, 3)).astype(np.float32)
    for image, label in zip(images, labels, strict=True):
        image[..., label] += 0.5  # the class is the colour
    return images, labels


def trained(folder: Path, probes: ProbeSet, **options: object) -> keras.Model:
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Conv2D(4, 3, activation="relu"), keras.layers.Flatten(), keras.layers.Dense(CLASSES)]
    model = keras.Sequential([keras.Input((6, 5, 3)), *layers])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x, y = colours()
    model.fit(x, y, batch_size=8, epochs=2, verbose=0, callbacks=[monitor(folder, probes, **options)])
    return model


def test_channels_add_up_to_the_heatmap_and_are_the_relevance(tmp_path: Path) -> None:
    x, y = colours(5)
    model = trained(tmp_path, ProbeSet(x, y), channels=True, encoding="float32", composite="epsilon")
    run = open_run(tmp_path)
    parts = run.channels(2)
    assert parts.shape == (5, 6, 5, 3)
    relevance = Explainer(model, "epsilon")(x, y)
    np.testing.assert_allclose(parts, relevance, rtol=0, atol=1e-5 * np.abs(relevance).max())
    np.testing.assert_allclose(parts.sum(axis=-1), run.heatmaps(2), atol=1e-5)
    # The channels differ: that is what they are logged for.
    assert np.abs(parts[..., 0] - parts[..., 1]).max() > 0.01


def test_a_channel_axis_in_front_comes_last_in_the_run(tmp_path: Path) -> None:
    x, y = colours(5)
    first = np.moveaxis(x, -1, 1)
    keras.utils.set_random_seed(1)
    dense = [keras.layers.Flatten(), keras.layers.Dense(CLASSES)]
    model = keras.Sequential([keras.Input((3, 6, 5)), *dense])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    probes = ProbeSet(first, y, channel_axis=1)
    watcher = monitor(tmp_path, probes, channels=True, encoding="float32")
    model.fit(np.moveaxis(colours()[0], -1, 1), colours()[1], epochs=1, verbose=0, callbacks=[watcher])
    relevance = Explainer(model, "epsilon_plus_flat")(first, y)
    parts = open_run(tmp_path).channels(1)
    np.testing.assert_allclose(parts, np.moveaxis(relevance, 1, -1), rtol=0, atol=1e-5 * np.abs(relevance).max())


def test_the_size_that_is_printed_counts_the_channels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x, y = colours(5)
    sizes = {}
    for channels in (False, True):
        folder = tmp_path / str(channels)
        trained(folder, ProbeSet(x, y), channels=channels, verbose=1, encoding="float32")
        plan = capsys.readouterr().out.splitlines()[0]
        sizes[channels] = float(plan.split("about ")[1].split(" kB")[0])
    # Three maps of 6 x 5 more for each of five probes at three logs, in kB; zlib takes a little off.
    assert sizes[True] - sizes[False] == pytest.approx(3 * 5 * 3 * 6 * 5 * 3.95 / 1e3, abs=1.1)


def test_probes_without_a_channel_axis_are_refused(tmp_path: Path) -> None:
    probes = ProbeSet(np.ones((2, 4), np.float32))
    with pytest.raises(ValueError, match=r"channels=True: probes of shape \(4,\) have no channel axis"):
        monitor(tmp_path, probes, channels=True)
