"""Heatmaps as pictures: diverging colour maps centred on zero, PNG, filmstrips, animated GIF.

NumPy arrays in, pictures (uint8 arrays), bytes or files out; Pillow writes the files and the labels. The
colour maps are those of the dashboard: the same relevance has the same colour in both.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from lrp_monitor.arguments import Colormap
from lrp_monitor.files import write_whole
from lrp_monitor.probes import montage

Picture = NDArray[np.uint8]
Colour = tuple[int, int, int]
Scale = Literal["map", "strip", "shared"] | float


@dataclass(frozen=True)
class ColourMap:
    """A diverging colour map. anchors: (value in -1 ... 1, RGB), ascending; page, ink: colours around it."""

    title: str
    anchors: tuple[tuple[float, Colour], ...]
    page: Colour = (255, 255, 255)
    ink: Colour = (32, 33, 36)
    muted: Colour = (95, 99, 104)


COLOUR_MAPS: dict[Colormap, ColourMap] = {
    "seismic": ColourMap(
        "blue, white, red",
        ((-1, (0, 0, 77)), (-0.5, (0, 0, 255)), (0, (255, 255, 255)), (0.5, (255, 0, 0)), (1, (128, 0, 0))),
    ),
    "safe": ColourMap(
        "purple, white, orange: told apart with every kind of colour blindness",
        (
            (-1, (38, 14, 92)),
            (-0.5, (104, 84, 182)),
            (0, (248, 248, 246)),
            (0.5, (232, 132, 12)),
            (1, (120, 48, 4)),
        ),
    ),
    "dark": ColourMap(
        "blue, black, red, on a dark page",
        (
            (-1, (170, 214, 255)),
            (-0.5, (24, 110, 235)),
            (0, (10, 10, 12)),
            (0.5, (226, 52, 32)),
            (1, (255, 214, 150)),
        ),
        page=(24, 26, 29),
        ink=(232, 234, 237),
        muted=(154, 160, 166),
    ),
}
"""Names and colours; positive relevance is red (orange), negative blue (purple), zero the page's colour."""

NOT_FINITE: Colour = (128, 128, 128)
"""The colour of NaN and infinite relevance."""


def colour_map(name: Colormap) -> ColourMap:
    """The colour map of that name. ValueError that lists the names."""
    if name not in COLOUR_MAPS:
        raise ValueError(f"no colour map {name!r}; there are {', '.join(COLOUR_MAPS)}")
    return COLOUR_MAPS[name]


def colours(values: ArrayLike, colormap: Colormap = "seismic") -> Picture:
    """Colours of values in -1 ... 1 (beyond: clipped; not finite: grey): any shape -> uint8 (*shape, 3)."""
    anchors = colour_map(colormap).anchors
    given = np.asarray(values, dtype=np.float64)
    finite = np.isfinite(given)
    at = [value for value, _ in anchors]
    channels = [np.interp(np.where(finite, given, 0), at, [rgb[channel] for _, rgb in anchors]) for channel in range(3)]
    rgb = np.floor(np.stack(channels, axis=-1) + 0.5).astype(np.uint8)
    rgb[~finite] = NOT_FINITE
    return rgb


def limits(maps: ArrayLike, scale: Scale = "map", clip: float = 1.0) -> NDArray[np.float64]:
    """The relevance that stands at the ends of the colour map, for each of the maps (n, ...): float64 (n,).

    0 for a map of zeros.

    Args:
        scale: "map": each map's own largest |relevance|; "strip" or "shared": the largest of all these maps; a number >
            0: that.
        clip: quantile in (0, 1] of |relevance| to take instead of the largest, for maps in which few pixels outshine
            the rest.

    Raises:
        ValueError: where one is out of range.
    """
    if not 0 < clip <= 1:
        raise ValueError(f"clip must be a quantile in (0, 1], not {clip}")
    values = np.abs(np.asarray(maps, dtype=np.float64))
    if not isinstance(scale, str):
        if not (scale > 0 and np.isfinite(scale)):
            raise ValueError(f"scale must be 'map', 'strip', 'shared' or a number above 0, not {scale}")
        return np.full(len(values), float(scale))
    if scale not in ("map", "strip", "shared"):
        raise ValueError(f"scale must be 'map', 'strip', 'shared' or a number above 0, not {scale!r}")
    flat = values.reshape(len(values), -1)
    flat = np.where(np.isfinite(flat), flat, 0)
    each: NDArray[np.float64] = flat.max(axis=1) if clip == 1 else np.quantile(flat, clip, axis=1)
    # A quantile of a sparse map can be 0 although the map is not: its largest value then, never a blank map.
    each = np.where(each > 0, each, flat.max(axis=1))
    return each if scale == "map" else np.full(len(each), each.max(initial=0.0))


def paint(
    maps: ArrayLike,
    *,
    scale: Scale = "map",
    colormap: Colormap = "seismic",
    clip: float = 1.0,
    over: ArrayLike | None = None,
) -> Picture:
    """Heatmaps (n, *map shape) as pictures, uint8 (n, H, W, 3); 1-D maps, volumes: as `ProbeSet.images`.

    Args:
        scale: see `limits`.
        clip: see `limits`.
        over: pictures uint8 (n or 1, H, W, 1 or 3) to lay the colours on, in grey: the colour then says the sign and
            its opacity, the square root of the share of the limit, the strength. They are resized where their size is
            another.

    Raises:
        ValueError: on shapes and names that do not fit.
    """
    values = np.asarray(maps, dtype=np.float64)
    if values.ndim < 2:
        raise ValueError(f"maps must be (n, *map shape), not {values.shape}; use maps[None] for a single one")
    ends = limits(values, scale, clip).reshape(-1, *(1,) * (values.ndim - 1))
    share = np.divide(values, ends, out=np.zeros_like(values), where=(ends > 0) | ~np.isfinite(values))
    if over is None:
        return montage(colours(share, colormap))
    tint = montage(colours(np.where(np.isfinite(share), np.sign(share) * 0.5, share), colormap))
    alpha = np.where(np.isfinite(share), np.sqrt(np.minimum(np.abs(share), 1)), 1.0)
    opacity = montage(np.floor(255 * alpha + 0.5).astype(np.uint8)[..., None]) / 255
    ground = _grey(np.asarray(over), tint.shape)
    mixed = opacity * tint + (1 - opacity) * ground
    return np.asarray(np.floor(mixed + 0.5), dtype=np.uint8)


def _grey(pictures: NDArray[np.uint8], shape: tuple[int, ...]) -> Picture:
    """Pictures (n or 1, h, w, 1 or 3) as grey ones that broadcast against (n, H, W, 3)."""
    if pictures.ndim != 4 or pictures.shape[-1] not in (1, 3) or pictures.shape[0] not in (1, shape[0]):
        raise ValueError(f"over must be uint8 ({shape[0]} or 1, H, W, 1 or 3), not {pictures.shape}")
    if pictures.dtype != np.uint8:
        raise ValueError(f"over must be uint8, not {pictures.dtype}; ProbeSet.images has the right form")
    grey = []
    for picture in pictures:
        image = Image.fromarray(_rgb(picture)).convert("L")
        if picture.shape[:2] != shape[1:3]:
            image = image.resize((shape[2], shape[1]), Image.Resampling.BILINEAR)
        grey.append(np.asarray(image))
    return np.stack(grey)[..., None]


def _rgb(picture: NDArray[np.uint8]) -> Picture:
    return np.ascontiguousarray(np.broadcast_to(picture, (*picture.shape[:2], 3)))


_Pixel = TypeVar("_Pixel", bound=np.generic)


def enlarge(picture: NDArray[_Pixel], zoom: int | tuple[int, int]) -> NDArray[_Pixel]:
    """Every pixel becomes a block: (H, W, ...) -> (rows * H, columns * W, ...)."""
    rows, columns = (zoom, zoom) if isinstance(zoom, int) else zoom
    if rows < 1 or columns < 1:
        raise ValueError(f"zoom must be at least 1, not {zoom}")
    return picture.repeat(rows, axis=0).repeat(columns, axis=1)


def outline(picture: Picture, mask: ArrayLike, zoom: int | tuple[int, int] = 1) -> Picture:
    """Draws the edge of a mask: a black line just outside it and a white one just inside, one pixel wide.

    Both lines together are seen on any colour. Returns a copy.

    Args:
        picture: uint8 (H, W, 3), already enlarged by `zoom`
        mask: boolean (H / rows, W / columns).

    Raises:
        ValueError: where the sizes differ.
    """
    inside = enlarge(np.asarray(mask, dtype=np.bool_), zoom)
    if inside.shape != picture.shape[:2]:
        raise ValueError(f"mask enlarged by {zoom} is {inside.shape}, but the picture {picture.shape[:2]}")
    drawn = picture.copy()
    drawn[_grown(inside) & ~inside] = 0
    drawn[inside & _grown(~inside)] = 255
    return drawn


def _grown(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask and its eight-neighbours; what lies beyond the picture counts as not in it."""
    height, width = mask.shape
    padded = np.pad(mask, 1)
    grown = np.zeros_like(mask)
    for row in range(3):
        for column in range(3):
            grown |= padded[row : row + height, column : column + width]
    return grown


def png(picture: ArrayLike) -> bytes:
    """A picture, uint8 (H, W, 3), (H, W, 1) or (H, W), as the bytes of a PNG file, without loss."""
    pixels = np.asarray(picture)
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (1, 3)):
        raise ValueError(f"a picture is uint8 (H, W), (H, W, 1) or (H, W, 3), not {pixels.dtype} {pixels.shape}")
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def gif(frames: Sequence[Picture], milliseconds: int = 250, last: int = 1500) -> bytes:
    """Pictures uint8 (H, W, 3) of one size as the bytes of an endless animated GIF.

    One palette of 256 colours serves all frames, so that what does not change does not flicker. ValueError without
    frames or on unlike sizes.

    Args:
        milliseconds: how long a frame stays, in steps of 10.
        last: how long the last one stays.
    """
    if not frames or len({frame.shape for frame in frames}) != 1:
        raise ValueError("frames must be one picture or more, all of one size")
    palette = Image.fromarray(np.concatenate(list(frames))).quantize(256, dither=Image.Dither.NONE)
    images = [Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    buffer = io.BytesIO()
    durations = [milliseconds] * (len(images) - 1) + [last]
    # Frames that equal the one before are kept as frames of their own: one a logged step, by number.
    images[0].save(buffer, "GIF", save_all=True, append_images=images[1:], duration=durations, loop=0, optimize=False)
    return buffer.getvalue()


write = write_whole
"""For those who draw: the picture's bytes into a file, whole."""
