"""Maps of classes as pictures: labels and predictions of an output of maps, in the colours of the LRP tab."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lrp_monitor.pictures.render import NOT_FINITE, Colour, Picture
from lrp_monitor.probes import montage

_STRENGTH = 150 / 255
"""Opacity of a class over its picture; class 0, mostly the ground, lets the picture through."""


def class_colour(label: int) -> Colour:
    """The colour of a class above 0: hues that lie far apart for classes that follow each other. Grey for no class."""
    if label < 0:
        return NOT_FINITE
    hue = (200 + 137.508 * (label - 1)) % 360

    def channel(offset: int) -> int:
        k = (offset + hue / 30) % 12
        return math.floor(255 * (0.55 - 0.4 * max(-1.0, min(k - 3, 9 - k, 1.0))) + 0.5)

    return channel(0), channel(8), channel(4)


def paint_classes(classes: NDArray[np.integer], picture: Picture | None, size: tuple[int, int]) -> Picture:
    """Maps of classes (n, *places) over a picture in grey: uint8 (n, height, width, 3).

    Args:
        picture: uint8 (H, W, 1 or 3); None: over white.
        size: height and width of what is returned. Volumes are laid out as `ProbeSet.images`.
    """
    sheets = montage(np.asarray(classes)[..., None])[..., 0]  # type: ignore[arg-type]  # of any number of bytes
    height, width = size
    if picture is None:
        ground = np.full((height, width), 255, np.uint8)
    else:
        grey = Image.fromarray(np.ascontiguousarray(np.broadcast_to(picture, (*picture.shape[:2], 3)))).convert("L")
        ground = np.asarray(grey.resize((width, height), Image.Resampling.NEAREST))
    found = []
    for sheet in sheets:
        shown = Image.fromarray(sheet.astype(np.int32)).resize((width, height), Image.Resampling.NEAREST)
        labels = np.asarray(shown)
        mixed = np.repeat(ground[..., None].astype(np.float64), 3, axis=2)
        for label in np.unique(labels).tolist():
            if label != 0:
                where = labels == label
                mixed[where] += _STRENGTH * (np.array(class_colour(label)) - mixed[where])
        found.append(np.floor(mixed + 0.5).astype(np.uint8))
    return np.stack(found)


def classes_on(*maps: NDArray[np.integer] | None) -> list[int]:
    """The classes above 0 on any of the maps, ascending."""
    return sorted({int(label) for one in maps if one is not None for label in np.unique(one) if label > 0})


def class_name(label: int, names: Sequence[str] | None) -> str:
    """A class by its name, or by its number where it has none."""
    return names[label] if names and label < len(names) else str(label)
