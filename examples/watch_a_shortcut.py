"""Watch a network learn a shortcut, and the same network learn what it should.

Two trainings on the same images of disks, squares, triangles and crosses. In the first, 95 % of the triangles
carry a small stamp in the corner. Its validation accuracy is about as good as the other's, for the validation
images carry the stamp as well; its heatmaps show what it looks at.

    python examples/watch_a_shortcut.py runs/shortcut
    tensorboard --logdir runs/shortcut

Things to change: the stamp's share, the noise, the network, the composite, how often to log.
"""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np

import lrp_monitor as lrp
from lrp_monitor.demo.shapes import CLASSES, make_shapes, stamp_mask

SEED, EPOCHS, IMAGES = 0, 10, 3000


def make_model() -> keras.Model:
    return keras.Sequential(
        [
            keras.layers.Input((32, 32, 1)),
            keras.layers.Conv2D(16, 3, activation="relu", name="conv_1"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(32, 3, activation="relu", name="conv_2"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(64, 3, activation="relu", name="conv_3"),
            keras.layers.GlobalMaxPooling2D(),
            keras.layers.Dropout(0.6),
            keras.layers.Dense(len(CLASSES), activation="softmax", name="classes"),
        ],
        name="shapes",
    )


def make_probes() -> lrp.ProbeSet:
    """16 images that are explained again and again. All their triangles carry the stamp."""
    drawn = make_shapes(16, seed=2026, stamped_class="triangle", stamped_share=1.0)
    drawn = drawn.select(np.lexsort((drawn.labels, ~drawn.stamped)))  # the stamped ones first
    return lrp.ProbeSet(
        drawn.images,
        labels=drawn.labels,
        class_names=CLASSES,
        # Regions whose share of the relevance is followed. Empty on a probe: the probe does not count for it.
        masks={"stamp": drawn.stamped[:, None, None] & stamp_mask(), "shape": drawn.outlines},
    )


def train(log_dir: Path, stamped_class: str | None, epochs: int, images: int) -> None:
    training = make_shapes(images, seed=(SEED, 0), stamped_class=stamped_class)
    unseen = make_shapes(1000, seed=(SEED, 1), stamped_class=stamped_class)

    keras.utils.set_random_seed(SEED)
    model = make_model()
    model.compile(keras.optimizers.Adam(4.5e-4), "sparse_categorical_crossentropy", metrics=["accuracy"])

    # The whole of it: one callback. first_epoch="log" looks at batches 1, 2, 4, 8 ... of the first epoch too,
    # since a shortcut can be learned within a few batches.
    monitor = lrp.LRPMonitor(make_probes(), log_dir, first_epoch="log")
    model.fit(
        training.images,
        training.labels,
        batch_size=32,
        epochs=epochs,
        validation_data=(unseen.images, unseen.labels),
        callbacks=[monitor],
        verbose=2,
    )

    bare = make_shapes(1000, seed=(SEED, 1))
    triangles = bare.images[bare.labels == CLASSES.index("triangle")]
    recognised = model.predict(triangles, verbose=0).argmax(axis=1) == CLASSES.index("triangle")
    print(f"triangles without the stamp that are recognised: {recognised.mean():.1%}")


def main(log_dir: Path, epochs: int = EPOCHS, images: int = IMAGES) -> None:
    for name, stamped_class in (("planted", "triangle"), ("control", None)):
        print(f"\n{name}")
        train(log_dir / name, stamped_class, epochs, images)
        steps, share = lrp.open_run(log_dir / name).scalar("lrp/mask_mass/stamp")
        for step, value in zip(steps, share, strict=True):
            print(f"  batch {step:4d}: {value:6.1%} of the relevance is on the stamp")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/shortcut"))
