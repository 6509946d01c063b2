"""Watch a network that segments pictures: what speaks for the pixels of one object being what they are.

python examples/watch_a_segmentation.py runs/segmentation && tensorboard --logdir runs/segmentation
"""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np
from keras import layers

import lrp_monitor as lrp
from lrp_monitor.demo.shapes import make_shapes

NOTHING, DISK, SQUARE = 0, 1, 2


def pictures(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Disks and squares in noise, and for each pixel what it is."""
    drawn = make_shapes(2 * n, seed=seed)
    chosen = np.flatnonzero(drawn.labels < 2)[:n]
    return drawn.images[chosen], drawn.outlines[chosen] * (1 + drawn.labels[chosen])[:, None, None]


def main(log_dir: Path, epochs: int = 8) -> lrp.Run:
    x, maps = pictures(600, seed=0)
    x_held_out, maps_held_out = pictures(6, seed=1)
    image = keras.Input((32, 32, 1))
    fine = layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    coarse = layers.Conv2D(16, 5, strides=4, padding="same", activation="relu")(fine)
    joined = layers.Concatenate()([fine, layers.UpSampling2D(4)(coarse)])
    mixed = layers.Conv2D(16, 3, padding="same", activation="relu")(joined)
    model = keras.Model(image, layers.Conv2D(3, 1, activation="softmax")(mixed))
    model.compile(keras.optimizers.Adam(5e-3), "sparse_categorical_crossentropy")
    # Explained is the sum of the logits of the object's own class over its own pixels.
    inside = maps_held_out > 0
    target = lrp.targets.Region(inside, maps_held_out.reshape(len(inside), -1).max(axis=1))
    probes = lrp.ProbeSet(
        x_held_out,
        labels=maps_held_out,
        class_names=["nothing", "disk", "square"],
        masks={"object": inside},
        target=target,
    )
    monitor = lrp.LRPMonitor(probes, log_dir, composite="epsilon_plus", verbose=0)
    model.fit(x, maps, batch_size=30, epochs=epochs, callbacks=[monitor], verbose=0)

    run = lrp.open_run(log_dir)
    _, absolute = run.statistic("mask_absolute/object")
    print(
        f"{np.nanmean(absolute[-1]):.0%} of the |relevance| lies in the objects, {inside.mean():.0%} of the pixels do"
    )
    return run


if __name__ == "__main__":
    main(Path(sys.argv[1]))
