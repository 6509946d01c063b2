"""Pictures and arrays from files, brought to what a model takes. Knows NumPy and Pillow, not Keras."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from lrp_monitor.archives import (
    DAMAGE,
    MAX_ARRAY_BYTES,
    ArchiveError,
    array_names,
    read_array,
    read_arrays,
    read_file,
)
from lrp_monitor.arguments import shape_fits, shape_text
from lrp_monitor.probes import ProbeSet
from lrp_monitor.probes.folder import open_picture
from lrp_monitor.text import in_one_line

Shape = tuple[int | None, ...]

_MEAN, _DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
_CAFFE_MEAN = np.array([103.939, 116.779, 123.68])  # of blue, green, red
_ARRAYS = (".npy", ".npz")
_MOST_NAMES = 16 << 20
_MEND = {"size": "put what is to be explained into a file of its own", "pickle": "save numbers alone"}


class InputError(Exception):
    """An input cannot be used; the message is one line and names the file and the way out."""


@dataclass(frozen=True)
class Scaling:
    """How 8-bit pixels become a model's input, channels last: (pixel - offset) / divisor."""

    offset: Any = 0.0
    divisor: Any = 1.0
    reversed_channels: bool = False

    def apply(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 (..., C) -> float32 (..., C)."""
        values = pixels[..., ::-1] if self.reversed_channels else pixels
        return ((values.astype(np.float64) - self.offset) / self.divisor).astype(np.float32)

    @property
    def bounds(self) -> tuple[Any, Any]:
        """What black and white become: numbers, or float32 (C,)."""
        ends = [((np.float64(end) - self.offset) / self.divisor) for end in (0.0, 255.0)]
        low, high = (end.astype(np.float32) if np.ndim(end) else float(end) for end in ends)
        return low, high


SCALINGS: dict[str, Scaling] = {
    "0..1": Scaling(0.0, 255.0),
    "-1..1": Scaling(127.5, 127.5),
    "0..255": Scaling(),
    "torch": Scaling(255 * _MEAN, 255 * _DEVIATION),
    "caffe": Scaling(_CAFFE_MEAN, 1.0, reversed_channels=True),
}
"""By the names of the command line."""


@dataclass(frozen=True)
class Sample:
    """One sample as the model takes it, float32; its picture uint8 (H, W, 1 or 3); the class that its file names."""

    name: str
    values: NDArray[np.float32]
    picture: NDArray[np.uint8]
    target: int | None = None


@dataclass
class Reader:
    """Reads samples of the shape that a model takes (None where it leaves a size open).

    Attributes:
        notes: what was changed on the way, one line each.
        class_names: those that a probe set brought along.
    """

    shape: Shape
    scaling: Scaling
    fit: str = "stretch"
    array: str | None = None
    notes: list[str] = field(default_factory=list)
    class_names: tuple[str, ...] | None = None

    def read(self, paths: Sequence[Path]) -> list[Sample]:
        """All samples of all files, with distinct names. Raises InputError."""
        samples = [sample for path in paths for sample in self._file(path)]
        several, before = Counter(sample.name for sample in samples), Counter[str]()
        distinct = []
        for sample in samples:
            number, before[sample.name] = before[sample.name], before[sample.name] + 1
            distinct.append(sample if several[sample.name] == 1 else replace(sample, name=f"{sample.name} #{number}"))
        return distinct

    def _file(self, path: Path) -> list[Sample]:
        if not path.is_file():
            raise InputError(f"{path}: no such file")
        if path.suffix.lower() in _ARRAYS:
            return self._arrays(path)
        return [self._picture(path)]

    # --- pictures ---

    def _picture(self, path: Path) -> Sample:
        height, width, channels, first = self._layout(path)
        image = self._converted(_opened(path), channels, path)
        size = (width or image.width, height or image.height)
        if image.size != size:
            how = "its middle" if self.fit == "crop" else "stretched"
            kept = image.width * size[1] == image.height * size[0]
            self.notes.append(
                f"{path.name}: {image.width} x {image.height} resized to the model's {size[0]} x {size[1]}"
                f"{'' if kept else f', {how}'}"
            )
            if self.fit == "crop":
                image = ImageOps.fit(image, size, Image.Resampling.BILINEAR)
            else:
                image = image.resize(size, Image.Resampling.BILINEAR)
        pixels = np.array(image)
        pixels = pixels[..., None] if pixels.ndim == 2 else pixels
        values = self.scaling.apply(pixels)
        if len(self.shape) == 2:
            values = values[..., 0]
        elif first:
            values = np.moveaxis(values, -1, 0)
        shown = pixels[..., :3] if pixels.shape[-1] >= 3 else pixels[..., :1]
        return Sample(path.name, np.ascontiguousarray(values), np.ascontiguousarray(shown))

    def _layout(self, path: Path) -> tuple[int | None, int | None, int, bool]:
        """Height, width and channels of the model's input, and whether channels come first."""
        shape = self.shape
        if len(shape) == 2 and (shape[1] is None or shape[1] > 4):
            return shape[0], shape[1], 1, False
        if len(shape) == 3 and shape[2] in (1, 3, 4):
            return shape[0], shape[1], shape[2], False
        if len(shape) == 3 and shape[0] in (1, 3, 4):
            return shape[1], shape[2], shape[0], True
        raise InputError(
            f"{path}: the model takes samples of shape {shape_text(shape)}, not pictures; give .npy or .npz"
        )

    def _converted(self, image: Image.Image, channels: int, path: Path) -> Image.Image:
        if image.mode.startswith("I;16"):
            # Pillow's own conversion to 8 bits clips at 255.
            image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
        wanted = {1: "L", 3: "RGB", 4: "RGBA"}[channels]
        if channels != 4 and (image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info):
            self.notes.append(f"{path.name}: has transparent parts, put on white")
            layered = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", layered.size, (255, 255, 255, 255)), layered)
        if np.ndim(self.scaling.offset) and channels != 3:
            raise InputError(
                f"{path}: this scaling is of three channels, but the model takes {channels}; use --scaling 0..1"
            )
        return image.convert(wanted)

    # --- arrays ---

    def _arrays(self, path: Path) -> list[Sample]:
        try:
            data = read_file(path, MAX_ARRAY_BYTES)
            if path.suffix.lower() == ".npy":
                return self._of_array(path, read_array(data), path.stem)
            names = array_names(data)
            if "about" in names and "inputs" in names and self.array is None:
                return self._of_probes(path)
            chosen = self._chosen(path, names)
            return self._of_array(path, read_arrays(data, [chosen])[chosen], path.stem)
        except ArchiveError as error:
            raise InputError(f"{path}: {error}; {_MEND[error.kind]}") from error
        except DAMAGE as error:
            raise InputError(f"{path}: not a file of numbers that NumPy wrote ({in_one_line(error, 300)})") from error

    def _chosen(self, path: Path, names: Sequence[str]) -> str:
        if self.array is not None:
            if self.array not in names:
                raise InputError(f"{path}: no array {self.array!r}; there are: {', '.join(names) or 'none'}")
            return self.array
        if len(names) != 1:
            raise InputError(f"{path}: holds {len(names)} arrays; choose one with --array: {', '.join(names)}")
        return names[0]

    def _of_probes(self, path: Path) -> list[Sample]:
        probes = ProbeSet.load(path)
        if not probes.is_single:
            raise InputError(
                f"{path}: probes of {len(probes.parts)} inputs are explained alone: give that file and no other"
            )
        self._fits(path, probes.inputs)
        self.class_names = probes.class_names
        targets = [None] * len(probes) if probes.targets is None else [int(target) for target in probes.targets]
        parts = zip(probes.names, probes.inputs.astype(np.float32), probes.images, targets, strict=True)
        return [Sample(name, values, picture, target) for name, values, picture, target in parts]

    def _of_array(self, path: Path, values: NDArray[Any], name: str) -> list[Sample]:
        several = values.ndim == len(self.shape) + 1
        values = values if several else values[None]
        self._fits(path, values)
        if (taken := 4 * values.size) > MAX_ARRAY_BYTES:
            raise ArchiveError("size", f"takes {taken:,} bytes as float32; at most {MAX_ARRAY_BYTES:,} are read")
        try:
            probes = ProbeSet(values.astype(np.float32))
        except ValueError as error:
            raise InputError(f"{path}: {error}") from error
        parts = zip(probes.inputs, probes.images, strict=True)
        return [
            Sample(f"{name} {place}" if several and len(values) > 1 else name, one, picture)
            for place, (one, picture) in enumerate(parts)
        ]

    def _fits(self, path: Path, values: NDArray[Any]) -> None:
        if not shape_fits(values.shape[1:], self.shape):
            raise InputError(
                f"{path}: holds shape {values.shape}, but the model takes {shape_text(self.shape)}, or (n, ...) of it"
            )


def read_class_names(text: str) -> list[str]:
    """Class names from "a,b,c", or from a file: one a line, or JSON. Raises InputError.

    JSON is a list, or an object from class number to name (or to a list that ends in it).
    """
    path = Path(text)
    if not path.is_file():
        if "," not in text and (path.suffix or "/" in text):
            raise InputError(f"--class-names {text}: no such file")
        return [name.strip() for name in text.split(",")]
    try:
        content = read_file(path, _MOST_NAMES).decode("utf-8")
        if path.suffix.lower() != ".json":
            return [line.strip() for line in content.splitlines() if line.strip()]
        found = json.loads(content)
        if isinstance(found, dict):
            numbers = sorted(int(key) for key in found)
            if numbers != list(range(len(numbers))):
                raise InputError(f"--class-names {text}: the class numbers are not 0 to {len(numbers) - 1}")
            found = [found[str(number)] for number in numbers]
        return [str(name[-1] if isinstance(name, list) and name else name) for name in found]
    except DAMAGE as error:
        raise InputError(f"--class-names {text}: {in_one_line(error, 300)}") from error


def _opened(path: Path) -> Image.Image:
    try:
        return open_picture(path)
    except ValueError as error:
        raise InputError(str(error)) from error
