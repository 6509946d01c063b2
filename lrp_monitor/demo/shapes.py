"""Disks, squares, triangles and crosses in noise, with a stamp that gives one class away: NumPy alone.

A network is asked which shape an image shows. A small square stamp in one corner is put on most images of
one class, so that there is an easier way to the right answer than the shape: a planted shortcut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CLASSES: tuple[str, ...] = ("disk", "square", "triangle", "cross")
"""The four classes; an image's label is its shape's place in this tuple."""

SIDE = 32
"""Height and width of an image in pixels."""

STAMP_BOX: tuple[int, int, int, int] = (2, 2, 7, 7)
"""Where the stamp sits: top, left, bottom, right, half open. 25 of 1,024 pixels."""

STAMP: NDArray[np.float32] = np.array(
    [[1, 0, 1, 0, 1], [0, 1, 0, 1, 0], [1, 0, 1, 0, 1], [0, 1, 0, 1, 0], [1, 0, 1, 0, 1]], dtype=np.float32
)
"""The stamp itself: a checkerboard of 5 x 5 pixels, black and white."""

STAMP.flags.writeable = False

_BACKGROUND = 0.3
_CONTRAST = (0.25, 0.5)  # how much brighter than the background a shape is
_RADIUS = (6.5, 8.5)  # the length that a shape's own coordinates are scaled by, in pixels
_CENTRE = (13.5, 18.5)  # from here no shape, a square's corner included, reaches the stamp's box
_SUPERSAMPLING = 3  # sub-pixels a side from which a pixel's coverage is counted


@dataclass(frozen=True)
class Shapes:
    """A labelled set of images.

    Attributes:
        images: float32 (n, 32, 32, 1) in [0, 1].
        labels: int64 (n,), an index into `CLASSES`
        stamped: bool (n,), which images carry the stamp.
        outlines: bool (n, 32, 32), pixels that the shape covers by half or more.
    """

    images: NDArray[np.float32]
    labels: NDArray[np.int64]
    stamped: NDArray[np.bool_]
    outlines: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, indices: NDArray[np.intp] | NDArray[np.bool_]) -> Shapes:
        """The images at `indices` (integers, or one boolean per image), in that order."""
        return Shapes(self.images[indices], self.labels[indices], self.stamped[indices], self.outlines[indices])


def add_stamp(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """A copy of images (n, 32, 32, 1) in which each carries the stamp."""
    if images.ndim != 4 or images.shape[1:] != (SIDE, SIDE, 1):
        raise ValueError(f"images must have the shape (n, {SIDE}, {SIDE}, 1), not {images.shape}")
    top, left, bottom, right = STAMP_BOX
    stamped = images.copy()
    stamped[:, top:bottom, left:right, 0] = STAMP
    return stamped


def stamp_mask() -> NDArray[np.bool_]:
    """The stamp's pixels as a boolean map (32, 32)."""
    top, left, bottom, right = STAMP_BOX
    mask = np.zeros((SIDE, SIDE), dtype=np.bool_)
    mask[top:bottom, left:right] = True
    return mask


def make_shapes(
    count: int,
    *,
    seed: int | Sequence[int],
    stamped_class: str | None = None,
    stamped_share: float = 0.95,
    noise: float = 0.1,
) -> Shapes:
    """Draw `count` images, as many of each class as of the others (the first classes take what is left over).

    Place, size, turn and brightness of a shape are random, and so is the order of the classes. The same seed
    draws the same shapes and noise whether or not a class is stamped, so that a stamped set and its control
    differ in the stamps alone.

    Args:
        count: >= 1.
        seed: an integer >= 0 or several, as for `numpy.random.default_rng`.
        stamped_class: a name in `CLASSES` that gets the stamp, or None for no stamps at all.
        stamped_share: share in [0, 1] of that class that carries it, rounded to whole images.
        noise: standard deviation of the Gaussian noise on images in [0, 1], >= 0.

    Raises:
        ValueError: where one is out of range.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, not {count}")
    if stamped_class is not None and stamped_class not in CLASSES:
        raise ValueError(f"stamped_class must be None or one of {', '.join(CLASSES)}, not {stamped_class!r}")
    if not 0 <= stamped_share <= 1:
        raise ValueError(f"stamped_share must lie in [0, 1], not {stamped_share}")
    if not noise >= 0:
        raise ValueError(f"noise must be at least 0, not {noise}")

    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count, dtype=np.int64) % len(CLASSES))
    coverage = _coverage(labels, rng)
    contrast = rng.uniform(*_CONTRAST, size=(count, 1, 1))
    clean = _BACKGROUND + contrast * coverage
    images = np.clip(clean + rng.normal(0.0, noise, size=clean.shape), 0, 1).astype(np.float32)[..., None]

    stamped = np.zeros(count, dtype=np.bool_)
    if stamped_class is not None:
        candidates = np.flatnonzero(labels == CLASSES.index(stamped_class))
        stamped[rng.permutation(candidates)[: round(stamped_share * len(candidates))]] = True
        images[stamped] = add_stamp(images[stamped])
    return Shapes(images, labels, stamped, coverage >= 0.5)


def _coverage(labels: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Share in [0, 1] of each pixel that the shape covers, (n, 32, 32): shapes drawn at random from `rng`."""
    count = len(labels)
    radius = rng.uniform(*_RADIUS, size=(count, 1, 1))
    centre = rng.uniform(*_CENTRE, size=(2, count, 1, 1))
    turn = rng.uniform(-np.pi / 12, np.pi / 12, size=(count, 1, 1))

    fine = (np.arange(SIDE * _SUPERSAMPLING) + 0.5) / _SUPERSAMPLING - 0.5
    inside = np.empty((count, len(fine), len(fine)), dtype=np.bool_)
    for start in range(0, count, 256):  # in blocks: a thousand supersampled images are 70 MB a variable
        block = slice(start, start + 256)
        rows = fine[None, :, None] - centre[0, block]
        columns = fine[None, None, :] - centre[1, block]
        x = (columns * np.cos(turn[block]) + rows * np.sin(turn[block])) / radius[block]
        y = (rows * np.cos(turn[block]) - columns * np.sin(turn[block])) / radius[block]
        for index, draw in enumerate((_disk, _square, _triangle, _cross)):
            chosen = labels[block] == index
            inside[block][chosen] = draw(x[chosen], y[chosen])
    blocks = inside.reshape(count, SIDE, _SUPERSAMPLING, SIDE, _SUPERSAMPLING)
    share: NDArray[np.float64] = blocks.mean(axis=(2, 4))
    return share


# The shapes in coordinates where a triangle's corners lie at distance 1 from the centre; y grows downwards.
# A disk has about a triangle's area: to tell these two apart takes the outline, not the amount of light.


def _disk(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray(x**2 + y**2 <= 0.65**2)


def _square(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray(np.maximum(np.abs(x), np.abs(y)) <= 0.78)


def _triangle(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray((y <= 0.5) & (y >= np.sqrt(3) * np.abs(x) - 1))


def _cross(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
    across, along = 0.27, 0.95
    upright = (np.abs(x) <= across) & (np.abs(y) <= along)
    level = (np.abs(y) <= across) & (np.abs(x) <= along)
    return np.asarray(upright | level)
