"""Filmstrips: one probe's heatmaps over training, beside its picture, for one run or several.

A sheet shows every chosen step at once (for a PNG), the frames one step each (for a GIF).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from lrp_monitor.arguments import Colormap
from lrp_monitor.pictures import render
from lrp_monitor.pictures.render import Picture, Scale
from lrp_monitor.probes import montage

CELL = 112
"""Pixels that the longer side of an enlarged picture comes close to."""

_GAP, _MARGIN, _LINE = 6, 14, 16
_TEXT, _TITLE = 12, 14
_BAR = (128, 10)
_LEAST_HEIGHT = 24  # of a map that has a single row


@dataclass(frozen=True)
class Strip:
    """One row of a film.

    Attributes:
        title: what stands beside it.
        maps: float (s, *map shape), one a step.
        captions: s strings to stand under the maps, or none.
        picture: uint8 (H, W, 1 or 3), the probe as shown to a person.
        mask: boolean (*map shape) to outline, or None.
        draw: makes the picture of a map in place of its colours: called with the map, the relevance at full colour and
            the colour map (see `inputs.drawn_inputs`); picture and mask are then not shown.
    """

    title: str
    maps: NDArray[np.float32]
    captions: Sequence[str] = field(default_factory=tuple)
    picture: NDArray[np.uint8] | None = None
    mask: NDArray[np.bool_] | None = None
    draw: Callable[[NDArray[np.float32], float, Colormap], Picture] | None = None


@dataclass(frozen=True)
class Look:
    """How a film is drawn: colour map, scale and clip (see `render.limits`), laid over the picture or not."""

    colormap: Colormap = "seismic"
    scale: Scale = "map"
    clip: float = 1.0
    overlay: bool = False


def sheet(strips: Sequence[Strip], labels: Sequence[str], *, title: str = "", look: Look | None = None) -> Picture:
    """All strips below one another, a column a step: uint8 (height, width, 3).

    Args:
        labels: one a step, above the columns.

    Raises:
        ValueError: where a strip has another number of maps or captions.
    """
    look = look or Look()
    rows = _cells(strips, len(labels), look)
    height, width = _size(rows)
    left = _MARGIN + max(_width(strip.title, _TITLE) for strip in strips) + 2 * _GAP
    pictured = any(strip.picture is not None and strip.draw is None for strip in strips)
    start = left + (width + 2 * _GAP if pictured else 0)
    captioned = [_LINE if strip.captions else 0 for strip in strips]

    top = _MARGIN + (_LINE + _GAP if title else 0) + _LINE
    total_width = start + len(labels) * (width + _GAP) - _GAP + _MARGIN
    total_width = max(total_width, _width(title, _TITLE) + 2 * _MARGIN, _legend_width() + 2 * _MARGIN)
    rows_height = sum(height + space + 2 * _GAP for space in captioned)
    page = _Page(total_width, top + rows_height + _LINE + _MARGIN, look.colormap)

    if title:
        page.text(title, _MARGIN, _MARGIN, _TITLE)
    if pictured:
        page.centred("input", left, width, top - _LINE, muted=True)
    for column, label in enumerate(labels):
        page.centred(label, start + column * (width + _GAP), width, top - _LINE)
    for strip, (picture, maps), space in zip(strips, rows, captioned, strict=True):
        page.text(strip.title, _MARGIN, top + (height - _TITLE) // 2, _TITLE)
        if picture is not None:
            page.paste(picture, left, top)
        for column, painted in enumerate(maps):
            x = start + column * (width + _GAP)
            page.paste(painted, x, top)
            if strip.captions:
                page.centred(strip.captions[column], x, width, top + height + 2)
        top += height + space + 2 * _GAP
    # Below the maps, or as far to their left as it must to be whole: one column is narrower than it is.
    page.legend(min(start, total_width - _MARGIN - _legend_width()), top)
    return page.pixels


def frames(
    strips: Sequence[Strip], labels: Sequence[str], *, title: str = "", look: Look | None = None
) -> list[Picture]:
    """One picture a step, the strips side by side: uint8 (height, width, 3), of one size, for `render.gif`.

    Args:
        labels: one a step, under a bar that shows how far training is.

    Raises:
        ValueError: as `sheet`.
    """
    look = look or Look()
    rows = _cells(strips, len(labels), look)
    height, width = _size(rows)
    pictured = any(strip.picture is not None and strip.draw is None for strip in strips)
    block = width * (2 if pictured else 1) + (_GAP if pictured else 0)
    total_width = 2 * _MARGIN + len(strips) * block + (len(strips) - 1) * 4 * _GAP
    total_width = max(total_width, _width(title, _TITLE) + 2 * _MARGIN, _legend_width() + 2 * _MARGIN)
    top = _MARGIN + (_LINE + _GAP if title else 0) + _LINE + 2
    captioned = any(strip.captions for strip in strips)
    below = top + height + (_LINE if captioned else 0) + 2 * _GAP
    total_height = below + 2 * _LINE + _GAP + _LINE + _MARGIN

    shown = []
    for step, label in enumerate(labels):
        page = _Page(total_width, total_height, look.colormap)
        if title:
            page.text(title, _MARGIN, _MARGIN, _TITLE)
        for place, (strip, (picture, maps)) in enumerate(zip(strips, rows, strict=True)):
            x = _MARGIN + place * (block + 4 * _GAP)
            page.centred(strip.title, x, block, top - _LINE - 2)
            if picture is not None:
                page.paste(picture, x, top)
            x += block - width
            page.paste(maps[step], x, top)
            if strip.captions:
                page.centred(strip.captions[step], x, width, top + height + 2)
        page.progress(_MARGIN, below, total_width - 2 * _MARGIN, (step + 1) / len(labels))
        page.centred(label, _MARGIN, total_width - 2 * _MARGIN, below + _GAP + 4)
        page.legend(_MARGIN, below + 2 * _LINE)
        shown.append(page.pixels)
    return shown


def spread(steps: Sequence[int], count: int) -> list[int]:
    """At most `count` of the steps, the first and the last among them, the rest evenly by position."""
    if len(steps) <= count:
        return list(steps)
    places = np.rint(np.linspace(0, len(steps) - 1, count)).astype(int)
    return [steps[place] for place in places]


def _cells(strips: Sequence[Strip], steps: int, look: Look) -> list[tuple[Picture | None, NDArray[np.uint8]]]:
    """Each strip's picture and its maps as they are pasted: coloured, enlarged, outlined."""
    if not strips or not steps:
        raise ValueError("a film needs at least one strip and one step")
    for strip in strips:
        if len(strip.maps) != steps:
            raise ValueError(f"strip {strip.title!r} has {len(strip.maps)} maps, but there are {steps} labels")
        if strip.captions and len(strip.captions) != steps:
            raise ValueError(f"strip {strip.title!r} has {len(strip.captions)} captions, but {steps} maps")
    scale = look.scale
    if scale == "shared":
        ends = [render.limits(strip.maps, "shared", look.clip)[0] for strip in strips]
        scale = float(max(ends)) or "map"
    return [_strip_cells(strip, scale, look) for strip in strips]


def _strip_cells(strip: Strip, scale: Scale, look: Look) -> tuple[Picture | None, NDArray[np.uint8]]:
    if strip.draw is not None:
        ends = render.limits(strip.maps, scale, look.clip)
        drawn = [strip.draw(one, float(end), look.colormap) for one, end in zip(strip.maps, ends, strict=True)]
        return None, np.stack(drawn)
    over = None if strip.picture is None else strip.picture[None]
    painted = render.paint(
        strip.maps, scale=scale, colormap=look.colormap, clip=look.clip, over=over if look.overlay else None
    )
    zoom = _zoom(*painted.shape[1:3])
    cells = np.stack([render.enlarge(cell, zoom) for cell in painted])
    picture = None if over is None else _fitted(over[0], cells.shape[1], cells.shape[2])
    if strip.mask is not None and strip.mask.any():
        mask = montage(strip.mask[None, ..., None].astype(np.uint8))[0, ..., 0] > 0
        cells = np.stack([render.outline(cell, mask, zoom) for cell in cells])
    return picture, cells


def _zoom(height: int, width: int) -> tuple[int, int]:
    if height == 1:
        return _LEAST_HEIGHT, max(1, round(2 * CELL / width))
    zoom = max(1, round(CELL / max(height, width)))
    return zoom, zoom


def _fitted(picture: NDArray[np.uint8], height: int, width: int) -> Picture:
    """A picture at the size of the cells beside it."""
    rgb = np.ascontiguousarray(np.broadcast_to(picture, (*picture.shape[:2], 3)))
    return np.asarray(Image.fromarray(rgb).resize((width, height), Image.Resampling.NEAREST))


def _size(rows: Sequence[tuple[Picture | None, NDArray[np.uint8]]]) -> tuple[int, int]:
    """Height and width of the largest cell."""
    return max(maps.shape[1] for _, maps in rows), max(maps.shape[2] for _, maps in rows)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _width(text: str, size: int) -> int:
    return round(_font(size).getlength(text)) if text else 0


_LEGEND = ("against the class", "for it")


def _legend_width() -> int:
    return _width(_LEGEND[0], _TEXT) + _width(_LEGEND[1], _TEXT) + _BAR[0] + 2 * _GAP


class _Page:
    """A picture under way: a page of the colour map's own background to paste and write on."""

    def __init__(self, width: int, height: int, colormap: Colormap) -> None:
        self._colormap, self._colours = colormap, render.colour_map(colormap)
        self._image = Image.new("RGB", (width, height), self._colours.page)
        self._draw = ImageDraw.Draw(self._image)

    @property
    def pixels(self) -> Picture:
        return np.array(self._image)

    def paste(self, picture: Picture, x: int, y: int) -> None:
        """Places a picture, with a thin frame around it (a blank map is else lost on the page)."""
        height, width = picture.shape[:2]
        self._draw.rectangle((x - 1, y - 1, x + width, y + height), outline=self._colours.muted)
        self._image.paste(Image.fromarray(picture), (x, y))

    def text(self, text: str, x: int, y: int, size: int = _TEXT, muted: bool = False) -> None:
        self._draw.text((x, y), text, self._colours.muted if muted else self._colours.ink, _font(size))

    def centred(self, text: str, x: int, width: int, y: int, muted: bool = False) -> None:
        """Text in the middle of a column, shortened to the column's width."""
        shown = text
        while len(shown) > 1 and _width(shown, _TEXT) > width:
            shown = shown[:-2].rstrip() + "…"
        self.text(shown, x + max(0, width - _width(shown, _TEXT)) // 2, y, muted=muted)

    def progress(self, x: int, y: int, width: int, share: float) -> None:
        self._draw.rectangle((x, y, x + width - 1, y + 2), fill=self._colours.muted)
        self._draw.rectangle((x, y, x + max(1, round(share * width)) - 1, y + 2), fill=self._colours.ink)

    def legend(self, x: int, y: int) -> None:
        """The colour map as a bar, with what its two ends mean."""
        width, height = _BAR
        bar = render.colours(np.linspace(-1, 1, width), self._colormap)[None].repeat(height, axis=0)
        self.text(_LEGEND[0], x, y, muted=True)
        x += _width(_LEGEND[0], _TEXT) + _GAP
        self.paste(bar, x, y + 3)
        self.text(_LEGEND[1], x + width + _GAP, y, muted=True)
