"""Reference samples as they are shown to a person: those that logged channels name, each kept once, small."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrp_monitor.probes import ProbeSet
from lrp_monitor.probes.info import input_info
from lrp_monitor.probes.inputs import ProbeInput
from lrp_monitor.store.format import ProbeInfo

SIDE = 64
"""Pixels a side that a reference sample's picture has at most; larger ones are averaged over squares."""
MOST_BYTES = 8 << 20
"""Bytes of pictures and values that a session keeps of reference samples at most, before they are deflated."""


@dataclass
class ReferencePictures:
    """What a session keeps of the reference samples.

    Attributes:
        samples: all of them, (m, *sample shape).
        notes: texts on what is not kept, since this was emptied last.
    """

    samples: NDArray[Any]
    probes: ProbeSet
    notes: list[str] = field(default_factory=list)
    _kept: set[int] = field(default_factory=set)
    _left: int = MOST_BYTES

    def take(self, numbers: Sequence[int]) -> ProbeInfo | None:
        """Those of some samples that were not taken before, while there is room; None without any."""
        new = [number for number in dict.fromkeys(numbers) if number not in self._kept]
        if not new or self._left <= 0:
            return None
        info = reference_info(self.probes, self.samples, new[:1])
        each = info.images.nbytes + sum(one.values.nbytes for one in info.inputs if one.values is not None)
        fitting = new[: self._left // max(1, each)]
        if len(fitting) < len(new):
            self._left = 0
            self.notes.append(
                f"references: the pictures of {len(self._kept) + len(fitting)} samples are kept, with "
                f"{MOST_BYTES >> 20} MB as many as there is room for; others are named by their numbers"
            )
        if not fitting:
            return None
        self._left -= each * len(fitting)
        self._kept.update(fitting)
        return reference_info(self.probes, self.samples, fitting)


def wanted_samples(top: Mapping[str, NDArray[np.int64]], channels: Mapping[str, NDArray[np.int64]]) -> list[int]:
    """The samples that channels name: the first of each, then the second of each, and so on.

    Args:
        top: layer -> (all channels, k), the numbers of samples, the most relevant first.
        channels: layer -> those whose samples are asked for.
    """
    named = [top[layer][np.unique(chosen)] for layer, chosen in channels.items() if layer in top and len(chosen)]
    if not named:
        return []
    depth = max(one.shape[1] for one in named)
    order = [one[:, place] for place in range(depth) for one in named if place < one.shape[1]]
    return list(dict.fromkeys(np.concatenate(order).tolist()))


def reference_info(probes: ProbeSet, samples: NDArray[Any], numbers: Sequence[int]) -> ProbeInfo:
    """Some reference samples as the store keeps them, drawn as the probes are; their names are their numbers."""
    (like,) = probes.parts
    values = samples[list(numbers)]
    tokens = _texts(like, values)
    part = ProbeInput(like.name, values, like.kind, like.channel_axis, True, like.feature_names, tokens)
    images = thumbnails(part.pictures(_range(like.values)))
    return ProbeInfo(
        names=[str(number) for number in numbers],
        labels=None,
        class_names=None,
        images=images,
        masks={},
        map_shape=probes.map_shape,
        hash=hashlib.sha256(images.tobytes()).hexdigest(),
        input_shape=probes.sample_shape,
        inputs=[input_info(part, False)],
    )


def _range(values: NDArray[Any]) -> tuple[float, float]:
    return float(values.min()), float(values.max())


def _texts(like: ProbeInput, values: NDArray[Any]) -> tuple[tuple[str, ...], ...] | None:
    """The samples' tokens as texts, as far as the probes' tell what an id stands for; else the ids."""
    if like.tokens is None or like.values.ndim != 2:
        return None
    known: dict[Any, str] = {}
    for ids, texts in zip(like.values.tolist(), like.tokens, strict=True):
        for number, text in zip(ids, texts, strict=True):
            known.setdefault(number, text)
    return tuple(tuple(known.get(number, str(number)) for number in ids) for ids in values.tolist())


def thumbnails(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pictures (n, height, width, channels) of at most SIDE pixels a side, each the mean of a square."""
    height, width = images.shape[1:3]
    by = -(-max(height, width) // SIDE)
    if by <= 1:
        return images
    # Where a square reaches beyond the edge, the picture's last row and column are repeated.
    rows, columns = -(-height // by), -(-width // by)
    beyond = ((0, 0), (0, rows * by - height), (0, columns * by - width), (0, 0))
    padded = np.pad(images, beyond, mode="edge")
    squares = padded.reshape(len(images), rows, by, columns, by, images.shape[3])
    return np.rint(squares.mean(axis=(2, 4), dtype=np.float64)).astype(np.uint8)
