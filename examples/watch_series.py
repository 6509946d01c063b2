"""Watch two networks read series, a convolution and an LSTM: which times speak for the class.

python examples/watch_series.py runs/series && tensorboard --logdir runs/series
"""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np
from keras import layers

import lrp_monitor as lrp

TIMES, SENSORS = 60, ["pressure", "current"]


def series(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Noise of two sensors; in class 1 the current jumps for six times, somewhere. The third array says where."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n, TIMES, 2)).astype("float32"), rng.integers(0, 2, n)
    jumps = np.zeros(x.shape, bool)
    for sample, start in enumerate(rng.integers(0, TIMES - 6, n)):
        jumps[sample, start : start + 6, 1] = y[sample] == 1
    x[jumps] += 2.5
    return x, y, jumps


def networks() -> dict[str, keras.Model]:
    return {
        "convolution": keras.Sequential(
            [
                keras.Input((TIMES, 2)),
                layers.Conv1D(8, 5, activation="relu"),
                layers.GlobalMaxPooling1D(),
                layers.Dense(2, activation="softmax"),
            ]
        ),
        "lstm": keras.Sequential([keras.Input((TIMES, 2)), layers.LSTM(12), layers.Dense(2, activation="softmax")]),
    }


def main(log_dir: Path, epochs: int = 5) -> dict[str, lrp.Run]:
    x, y, jumps = series(1500, seed=0)
    few = [*np.flatnonzero(y == 1)[:4], *np.flatnonzero(y == 0)[:4]]
    probes = lrp.ProbeSet(
        x[few], y[few], class_names=["calm", "jump"], feature_names=SENSORS, masks={"jump": jumps[few]}
    )
    runs = {}
    for name, model in networks().items():
        model.compile(keras.optimizers.Adam(5e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
        monitor = lrp.LRPMonitor(probes, log_dir / name, composite="epsilon_plus", verbose=0)
        model.fit(x, y, batch_size=50, epochs=epochs, callbacks=[monitor], verbose=0)
        runs[name] = lrp.open_run(log_dir / name)
        share = np.nanmean(runs[name].statistic("mask_mass/jump")[1][-1])
        print(f"{name}: {share:.0%} of the positive relevance lies on the jump, of {6 / TIMES / 2:.0%} of the values")
    return runs


if __name__ == "__main__":
    main(Path(sys.argv[1]))
