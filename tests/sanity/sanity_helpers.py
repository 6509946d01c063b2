"""Models so small that every number about them can be written down by hand."""

from __future__ import annotations

import keras
import numpy as np
from numpy.typing import ArrayLike

import lrp_monitor as lrp

# Four pixels; with the kernel's first column (4, 1, -1, 0.75) their relevance is (4, 2, -3, 3), the logit 6.
PIXELS = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
WEIGHTS = (4.0, 1.0, -1.0, 0.75)


def linear(*columns: ArrayLike, shape: tuple[int, ...] = (2, 2, 1)) -> keras.Model:
    """logit c = sum of pixel * columns[c]; with LRP-0 a pixel's relevance is its term of that sum."""
    model = keras.Sequential(
        [
            keras.layers.Input(shape),
            keras.layers.Flatten(),
            keras.layers.Dense(len(columns), use_bias=False, name="logits"),
        ],
        name="linear",
    )
    model.get_layer("logits").kernel.assign(np.stack([np.asarray(one, np.float32) for one in columns], axis=1))
    return model


def probe(**options: object) -> lrp.ProbeSet:
    """The four pixels as a set of one probe, explained for class 0."""
    return lrp.ProbeSet(PIXELS[None, ..., None], target=0, **options)  # type: ignore[arg-type]  # options of many types
