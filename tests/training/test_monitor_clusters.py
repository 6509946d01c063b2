"""Groups of heatmaps at log time, and the error before training where scikit-learn is missing."""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from monitor_helpers import make_probes, monitor

from lrp_monitor.probes import ProbeSet
from lrp_monitor.store.reader import open_run


def corners(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Class 0: a bright block in one corner; class 1: in the opposite one."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    images = rng.uniform(0, 0.05, (n, 8, 8, 1)).astype(np.float32)
    images[labels == 0, 0:3, 0:3] += 1
    images[labels == 1, 5:8, 5:8] += 1
    return images, labels


def test_probes_explained_by_other_places_are_other_groups(tmp_path: Path) -> None:
    x, y = corners(64)
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(2)])
    model.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    images, labels = corners(15, seed=1)
    images[-1] = 0  # nothing in it to explain
    watcher = monitor(tmp_path, ProbeSet(images, labels), clusters=True, composite="lrp_zero")
    model.fit(x, y, batch_size=8, epochs=3, verbose=0, callbacks=[watcher])
    run = open_run(tmp_path)
    steps, groups = run.statistic("cluster")
    assert steps.tolist() == [0, 1, 2, 3]
    assert groups.shape == (4, 15)
    last = groups[-1]
    assert last[-1] == -1
    assert len(set(last[:14:2])) == len(set(last[1:14:2])) == 1, last
    assert set(last[:14]) == {0.0, 1.0}


def test_a_missing_scikit_learn_is_reported_when_the_monitor_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("sklearn", "sklearn.cluster", "sklearn.neighbors"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModuleNotFoundError, match=r"lrp_monitor\[clusters\]"):
        monitor(tmp_path, make_probes(), clusters=True)
    assert list(tmp_path.iterdir()) == []
    monitor(tmp_path, make_probes())  # without groups nothing needs it
