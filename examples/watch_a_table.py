"""Watch a regression on a table: how much each column moves the prediction, and whether one gives the answer away.

python examples/watch_a_table.py runs/table && tensorboard --logdir runs/table
"""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np

import lrp_monitor as lrp

COLUMNS = ["rooms", "area", "age", "distance", "garden", "floor", "agent", "asking price"]


def table(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Houses and their prices. The asking price was set by somebody who knew the price: a leak."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, len(COLUMNS))).astype("float32")
    price = 0.6 * x[:, 1] + 0.3 * x[:, 0] - 0.4 * x[:, 3] + rng.normal(0, 0.3, n)
    x[:, -1] = price + rng.normal(0, 0.1, n)
    return x, price


def main(log_dir: Path, epochs: int = 10) -> lrp.Run:
    x, price = table(2000, seed=0)
    x_held_out, price_held_out = table(12, seed=1)
    model = keras.Sequential([keras.Input((len(COLUMNS),)), keras.layers.Dense(16, "relu"), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(3e-3), "mse")
    # Labels that are floats are numbers to predict. A flat first rule would give every column the same: epsilon.
    probes = lrp.ProbeSet(x_held_out, price_held_out, feature_names=COLUMNS)
    monitor = lrp.LRPMonitor(probes, log_dir, composite="epsilon", verbose=0)
    model.fit(x, price, batch_size=50, epochs=epochs, callbacks=[monitor], verbose=0)

    run = lrp.open_run(log_dir)
    share = np.abs(run.heatmaps(run.steps[-1])).mean(axis=0)
    for column in np.argsort(-share):
        print(f"{COLUMNS[column]:>14}: {share[column] / share.sum():.0%} of the |relevance|")
    return run


if __name__ == "__main__":
    main(Path(sys.argv[1]))
