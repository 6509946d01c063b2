"""The demo's two trainings: one with a stamp on most triangles, and its control without any stamp."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np
from numpy.typing import NDArray

from lrp_monitor.demo.shapes import CLASSES, SIDE, make_shapes, stamp_mask
from lrp_monitor.probes import ProbeSet
from lrp_monitor.training.monitor import LRPMonitor

STAMPED_CLASS = "triangle"

RUNS: dict[str, str | None] = {"planted": STAMPED_CLASS, "control": None}
"""The runs by name, and the class whose training images carry the stamp."""

_VALIDATION_IMAGES = 1000
_PROBES_PER_CLASS = 4
_PROBE_SEED = 2026
_TRAINING, _VALIDATION = 0, 1  # which of a seed's data sets is drawn


@dataclass(frozen=True)
class Settings:
    """What can be chosen about the demo; the defaults give the figures that the documentation names.

    Attributes:
        seed: of data, initial weights and order of batches, >= 0.
        epochs: of each training, >= 1.
        images: to train on, >= 1.
        batch_size: >= 1.
    """

    seed: int = 0
    epochs: int = 10
    images: int = 3000
    batch_size: int = 32

    @property
    def batches(self) -> int:
        """Batches of one training."""
        return self.epochs * -(-self.images // self.batch_size)


@dataclass(frozen=True)
class Outcome:
    """A trained model and how it does on images it has not seen.

    Attributes:
        validation_accuracy: on 1,000 images drawn like the training images, stamps included, in [0, 1].
        recall_without_stamp: share of 250 triangles without the stamp that are recognised, in [0, 1].
    """

    model: keras.Model
    validation_accuracy: float
    recall_without_stamp: float


def build_model() -> keras.Model:
    """A small convolutional network, 23,556 parameters: images (n, 32, 32, 1) -> class probabilities (n, 4).

    Global max pooling keeps, for each feature, the one place where it is found most clearly, so that
    relevance points to places. Dropout keeps the few triangles without a stamp from being learned by heart.
    """
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Input((SIDE, SIDE, 1)),
            layers.Conv2D(16, 3, activation="relu", name="conv_1"),
            layers.MaxPooling2D(name="pool_1"),
            layers.Conv2D(32, 3, activation="relu", name="conv_2"),
            layers.MaxPooling2D(name="pool_2"),
            layers.Conv2D(64, 3, activation="relu", name="conv_3"),
            layers.GlobalMaxPooling2D(name="strongest"),
            layers.Dropout(0.6, name="dropout"),
            layers.Dense(len(CLASSES), activation="softmax", name="classes"),
        ],
        name="shapes",
    )


def probe_set() -> ProbeSet:
    """The 16 probes, the same for both runs and every seed: 4 of each class, the triangles first and stamped.

    Masks: "stamp", the stamp's 25 pixels on the probes that carry it (empty on the others, which leaves them
    out of its means), and "shape", the pixels of each probe's shape.
    """
    drawn = make_shapes(
        _PROBES_PER_CLASS * len(CLASSES), seed=_PROBE_SEED, stamped_class=STAMPED_CLASS, stamped_share=1.0
    )
    stamped_first = np.lexsort((drawn.labels, ~drawn.stamped))
    probes = drawn.select(stamped_first)
    return ProbeSet(
        probes.images,
        labels=probes.labels,
        class_names=CLASSES,
        masks={"stamp": probes.stamped[:, None, None] & stamp_mask(), "shape": probes.outlines},
    )


def train(
    run: str,
    log_dir: str | os.PathLike[str],
    settings: Settings | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> Outcome:
    """Trains one of `RUNS` and logs it to `log_dir`: before training, at batches 1, 2, 4 ... and every epoch.

    Sets the seeds of Python, NumPy and Keras. Errors are those of `LRPMonitor` and `Model.fit`.
    """
    settings = settings or Settings()
    stamped_class = RUNS[run]
    training = make_shapes(settings.images, seed=(settings.seed, _TRAINING), stamped_class=stamped_class)
    unseen = make_shapes(_VALIDATION_IMAGES, seed=(settings.seed, _VALIDATION), stamped_class=stamped_class)

    keras.utils.set_random_seed(settings.seed)
    model = build_model()
    model.compile(keras.optimizers.Adam(4.5e-4), "sparse_categorical_crossentropy", metrics=["accuracy"])
    monitor = LRPMonitor(
        probe_set(),
        log_dir,
        first_epoch="log",
        relevance_layers="all",
        features="auto",
        verbose=0,
    )
    model.fit(
        training.images,
        training.labels,
        batch_size=settings.batch_size,
        epochs=settings.epochs,
        callbacks=[monitor, *callbacks],
        verbose=0,
    )
    return Outcome(
        model,
        validation_accuracy=_share_right(model, unseen.images, unseen.labels),
        recall_without_stamp=recall_without_stamp(model, settings.seed),
    )


def recall_without_stamp(model: keras.Model, seed: int) -> float:
    """Share in [0, 1] of the validation images' 250 triangles that the model recognises without the stamp."""
    bare = make_shapes(_VALIDATION_IMAGES, seed=(seed, _VALIDATION))
    triangles = bare.select(bare.labels == CLASSES.index(STAMPED_CLASS))
    return _share_right(model, triangles.images, triangles.labels)


def _share_right(model: keras.Model, images: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    predicted = model.predict(images, batch_size=250, verbose=0).argmax(axis=1)
    return float(np.mean(predicted == labels))
