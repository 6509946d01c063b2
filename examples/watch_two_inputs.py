"""Watch a network with two inputs, a picture and a row of numbers: which of them it lives on.

python examples/watch_two_inputs.py runs/two && tensorboard --logdir runs/two
"""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np
from keras import layers

import lrp_monitor as lrp
from lrp_monitor.demo.shapes import CLASSES, make_shapes

COLUMNS = ["camera", "hour", "shape code"]


def samples(n: int, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Shapes in noise, and what a file says of each: its last column gives most classes away."""
    drawn = make_shapes(n, seed=seed)
    about = np.random.default_rng(seed).normal(size=(n, 3)).astype("float32")
    about[:, 2] = drawn.labels - 1.5 + 0.3 * about[:, 2]
    return {"picture": drawn.images, "about": about}, drawn.labels


def main(log_dir: Path, epochs: int = 8) -> lrp.Run:
    x, y = samples(1200, seed=0)
    picture, about = keras.Input((32, 32, 1), name="picture"), keras.Input((3,), name="about")
    seen = layers.GlobalMaxPooling2D()(layers.Conv2D(12, 5, activation="relu")(picture))
    read = layers.Dense(12, activation="relu")(about)
    both = layers.Dense(16, activation="relu")(layers.Concatenate()([seen, read]))
    model = keras.Model({"picture": picture, "about": about}, layers.Dense(4, activation="softmax")(both))
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    held_out, labels = samples(8, seed=1)
    probes = lrp.ProbeSet(held_out, labels, class_names=CLASSES, feature_names={"about": COLUMNS})
    monitor = lrp.LRPMonitor(probes, log_dir, composite="epsilon", verbose=0)
    model.fit(x, y, batch_size=50, epochs=epochs, callbacks=[monitor], verbose=0)

    run = lrp.open_run(log_dir)
    parts = run.probes.split(run.heatmaps(run.steps[-1]))
    sums = {name: float(np.abs(maps).sum()) for name, maps in parts.items()}
    for name, amount in sums.items():
        print(f"{name}: {amount / sum(sums.values()):.0%} of the |relevance|")
    return run


if __name__ == "__main__":
    main(Path(sys.argv[1]))
