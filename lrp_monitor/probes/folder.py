"""A probe set out of a folder of pictures, one folder a class, with masks beside the pictures where they are."""

from __future__ import annotations

import hashlib
import warnings
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from lrp_monitor.text import in_one_line

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
"""Of the files that are pictures."""

MODES = {"rgb": "RGB", "grayscale": "L", "rgba": "RGBA"}
FITS = ("stretch", "crop")
_DEEP = ("I;16", "I;16L", "I;16B", "I")
_MASK_FROM = 128  # of 8 bits: from half on a pixel belongs to a mask


@dataclass(frozen=True)
class Pictures:
    """Pictures of a folder: float32 (n, H, W, C) of 0 to 255; labels (n,) or None; masks bool (n, H, W) by name."""

    values: NDArray[np.float32]
    labels: NDArray[np.int64] | None
    names: list[str]
    class_names: list[str] | None
    masks: dict[str, NDArray[np.bool_]]


def read_folder(
    folder: str | Path,
    *,
    per_class: int = 2,
    count: int | None = None,
    seed: int = 0,
    size: tuple[int, int] | None = None,
    color_mode: str = "rgb",
    fit: str = "stretch",
) -> Pictures:
    """Picks pictures by their paths and a seed, and reads those alone.

    A file `NAME.MASK.png` beside a picture `NAME.*` is its mask of that name: what is brighter than half.

    Args:
        folder: with one folder a class, in alphabetical order as Keras' `image_dataset_from_directory` numbers them, or
            with pictures and no labels.
        per_class: pictures of each class, or of a folder without classes in all.
        count: pictures in all, instead of per_class.
        size: (height, width) to bring them to, as that function does: stretched, or cut to the middle of this form
            first (fit="crop").
        color_mode: "rgb", "grayscale" or "rgba".

    Raises:
        ValueError: that names the argument or file.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ValueError(f"{root}: no such folder")
    _check(color_mode, fit, size)
    if (per_class if count is None else count) < 1:
        raise ValueError(f"{f'{per_class=}' if count is None else f'{count=}'}: must be at least 1")
    found = _found(root)
    chosen = _chosen(root, found, per_class, count, seed)
    opened = [_opened(path) for _, path in chosen]
    sizes = {image.size for image in opened}
    if size is None and len(sizes) > 1:
        listed = ", ".join(f"{height} x {width}" for width, height in sorted(sizes)[:4])
        raise ValueError(f"{root}: pictures of several sizes ({listed}, ...): give size=(height, width)")
    width, height = sizes.pop() if size is None else (int(size[1]), int(size[0]))
    values = [_fitted(_channels(image, color_mode), (height, width), fit) for image in opened]
    masks: dict[str, NDArray[np.bool_]] = {}
    for row, ((_, path), image) in enumerate(zip(chosen, opened, strict=True)):
        for name, file in _masks_of(path):
            masks.setdefault(name, np.zeros((len(chosen), height, width), bool))[row] = _mask(
                file, image.size, (height, width), fit
            )
    classes = [name for name, _ in found]
    return Pictures(
        np.stack(values).astype(np.float32),
        np.array([label for label, _ in chosen], np.int64) if found[0][0] else None,
        [path.relative_to(root).as_posix() for _, path in chosen],
        classes if found[0][0] else None,
        masks,
    )


def _check(color_mode: str, fit: str, size: Any) -> None:
    if color_mode not in MODES:
        raise ValueError(f"color_mode={color_mode!r}: expected one of {', '.join(map(repr, MODES))}")
    if fit not in FITS:
        raise ValueError(f"fit={fit!r}: expected one of {', '.join(map(repr, FITS))}")
    if size is not None and (len(size) != 2 or min(size) < 1):
        raise ValueError(f"size={size!r}: expected (height, width), both at least 1")


def _found(root: Path) -> list[tuple[str, list[Path]]]:
    """(class name, pictures), of a folder without classes under the name ""."""
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    classes = [(path.name, list(_pictures(path))) for path in folders]
    if any(pictures for _, pictures in classes):
        empty = [name for name, pictures in classes if not pictures]
        if empty:
            raise ValueError(f"{root}: the folder {empty[0]!r} holds no picture ({', '.join(SUFFIXES)})")
        return classes
    flat = list(_pictures(root))
    if not flat:
        raise ValueError(f"{root}: holds no picture ({', '.join(SUFFIXES)})")
    return [("", flat)]


def _pictures(folder: Path) -> Iterator[Path]:
    """All below a folder that are no masks of others."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    stems = {(path.parent, path.stem) for path in files}
    for path in files:
        owner = path.stem.rpartition(".")[0]
        if not (path.suffix.lower() == ".png" and owner and (path.parent, owner) in stems):
            yield path


def _chosen(
    root: Path, found: Sequence[tuple[str, list[Path]]], per_class: int, count: int | None, seed: int
) -> list[tuple[int, Path]]:
    def key(path: Path) -> bytes:
        return hashlib.blake2b(f"{seed}/{path.relative_to(root).as_posix()}".encode(), digest_size=16).digest()

    if count is not None:
        every = [(label, path) for label, (_, paths) in enumerate(found) for path in paths]
        if len(every) < count:
            raise ValueError(f"count={count}, but {root} holds {len(every)} pictures")
        return sorted(sorted(every, key=lambda one: key(one[1]))[:count])
    picked = []
    for label, (name, paths) in enumerate(found):
        if len(paths) < per_class:
            what = f"the folder {name!r}" if name else str(root)
            raise ValueError(f"per_class={per_class}, but {what} holds {len(paths)} picture(s); lower per_class")
        picked += [(label, path) for path in sorted(sorted(paths, key=key)[:per_class])]
    return picked


def _masks_of(path: Path) -> Iterator[tuple[str, Path]]:
    for file in sorted(path.parent.iterdir()):
        owner, _, name = file.stem.rpartition(".")
        if file.suffix.lower() == ".png" and owner == path.stem and name and file != path:
            yield name, file


def open_picture(path: Path) -> Image.Image:
    """The first picture in a file, turned upright. ValueError that names the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                image.load()
                return ImageOps.exif_transpose(image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(f"{path}: {error}; make it smaller first") from error
    except (OSError, SyntaxError, ValueError, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: not a picture that Pillow can read ({in_one_line(error, 300)})") from error


def _opened(path: Path) -> Image.Image:
    image = open_picture(path)
    if image.mode in _DEEP:
        # Pillow's own conversion to 8 bits clips at 255.
        image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
    return image


def _channels(image: Image.Image, color_mode: str) -> NDArray[np.float32]:
    pixels = np.asarray(image.convert(MODES[color_mode]), np.float32)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _mask(path: Path, size: tuple[int, int], shape: tuple[int, int], fit: str) -> NDArray[np.bool_]:
    image = _opened(path)
    if image.size != size:
        raise ValueError(
            f"{path}: the mask has {image.height} x {image.width} pixels, its picture {size[1]} x {size[0]}"
        )
    shares = _fitted((_channels(image, "grayscale") >= _MASK_FROM).astype(np.float32), shape, fit)
    return np.asarray(shares[..., 0] >= 0.5)


def _fitted(pixels: NDArray[np.float32], shape: tuple[int, int], fit: str) -> NDArray[np.float32]:
    """Pixels (h, w, C) as (*shape, C): bilinear between pixel centres, without smoothing, as Keras resizes them."""
    (height, width), (to_height, to_width) = pixels.shape[:2], shape
    if fit == "crop":
        cut_height = min(height, int(float(width * to_height) / to_width))
        cut_width = min(width, int(float(height * to_width) / to_height))
        top, left = int(float(height - cut_height) / 2), int(float(width - cut_width) / 2)
        pixels = pixels[top : top + cut_height, left : left + cut_width]
    for axis, size in enumerate(shape):
        pixels = _resized(pixels, size, axis)
    return pixels


def _resized(pixels: NDArray[np.float32], size: int, axis: int) -> NDArray[np.float32]:
    length = pixels.shape[axis]
    if length == size:
        return pixels
    places = (np.arange(size, dtype=np.float32) + np.float32(0.5)) * np.float32(length / size) - np.float32(0.5)
    below = np.floor(places)
    share = (places - below).reshape([-1 if at == axis else 1 for at in range(pixels.ndim)])
    first, second = (np.clip(at, 0, length - 1).astype(np.intp) for at in (below, below + 1))
    low, high = np.take(pixels, first, axis), np.take(pixels, second, axis)
    return np.asarray(low + (high - low) * share, np.float32)
