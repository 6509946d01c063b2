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
from lrp_monitor.pictures.classes import class_colour, class_name, classes_on, paint_classes
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
        labels: integers (*places), the class of each place of an output of maps, negative for none; or None.
        predicted: (s, *places), what is predicted there, one a step; or None.
        class_names: of the classes, for the key below.
    """

    title: str
    maps: NDArray[np.float32]
    captions: Sequence[str] = field(default_factory=tuple)
    picture: NDArray[np.uint8] | None = None
    mask: NDArray[np.bool_] | None = None
    draw: Callable[[NDArray[np.float32], float, Colormap], Picture] | None = None
    labels: NDArray[np.int64] | None = None
    predicted: NDArray[np.int64] | None = None
    class_names: Sequence[str] | None = None


@dataclass(frozen=True)
class Look:
    """How a film is drawn: colour map, scale and clip (see `render.limits`), laid over the picture or not."""

    colormap: Colormap = "seismic"
    scale: Scale = "map"
    clip: float = 1.0
    overlay: bool = False


@dataclass(frozen=True)
class _Row:
    """A strip as it is pasted: what stands before its first step by its heading, its maps, and what is below them."""

    before: dict[str, Picture]
    maps: Picture
    below: Picture | None


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
    headings = _headings(rows)
    start = left + len(headings) * (width + 2 * _GAP)
    captioned = [_LINE if strip.captions else 0 for strip in strips]
    below = [0 if row.below is None else _LINE + row.below.shape[1] for row in rows]

    key = _key(strips)
    top = _MARGIN + (_LINE + _GAP if title else 0) + _LINE
    total_width = start + len(labels) * (width + _GAP) - _GAP + _MARGIN
    total_width = max(total_width, _width(title, _TITLE) + 2 * _MARGIN, _legend_width() + 2 * _MARGIN)
    rows_height = sum(height + space + more + 2 * _GAP for space, more in zip(captioned, below, strict=True))
    page = _Page(total_width, top + rows_height + _LINE + _MARGIN + (_LINE + _GAP if key else 0), look.colormap)

    if title:
        page.text(title, _MARGIN, _MARGIN, _TITLE)
    for place, heading in enumerate(headings):
        page.centred(heading, left + place * (width + 2 * _GAP), width, top - _LINE, muted=True)
    for column, label in enumerate(labels):
        page.centred(label, start + column * (width + _GAP), width, top - _LINE)
    for strip, row, space, more in zip(strips, rows, captioned, below, strict=True):
        page.text(strip.title, _MARGIN, top + (height - _TITLE) // 2, _TITLE)
        for place, heading in enumerate(headings):
            if heading in row.before:
                page.paste(row.before[heading], left + place * (width + 2 * _GAP), top)
        for column, painted in enumerate(row.maps):
            x = start + column * (width + _GAP)
            page.paste(painted, x, top)
            if strip.captions:
                page.centred(strip.captions[column], x, width, top + height + 2)
            if row.below is not None:
                page.centred("predicted", x, width, top + height + space + 1, muted=True)
                page.paste(row.below[column], x, top + height + space + _LINE)
        top += height + space + more + 2 * _GAP
    # Below the maps, or as far to their left as it must to be whole: one column is narrower than it is.
    page.legend(min(start, total_width - _MARGIN - _legend_width()), top)
    if key:
        page.key(key, _MARGIN, top + _LINE + _GAP)
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
    blocks = [len(row.before) + 1 + (row.below is not None) for row in rows]
    widths = [count * (width + _GAP) - _GAP for count in blocks]
    key = _key(strips)
    total_width = 2 * _MARGIN + sum(widths) + (len(strips) - 1) * 4 * _GAP
    total_width = max(total_width, _width(title, _TITLE) + 2 * _MARGIN, _legend_width() + 2 * _MARGIN)
    top = _MARGIN + (_LINE + _GAP if title else 0) + _LINE + 2
    of_classes = any(row.below is not None or "labels" in row.before for row in rows)
    captioned = of_classes or any(strip.captions for strip in strips)
    below = top + height + (_LINE if captioned else 0) + 2 * _GAP
    total_height = below + 2 * _LINE + _GAP + _LINE + _MARGIN + (_LINE + _GAP if key else 0)

    shown = []
    for step, label in enumerate(labels):
        page = _Page(total_width, total_height, look.colormap)
        if title:
            page.text(title, _MARGIN, _MARGIN, _TITLE)
        x = _MARGIN
        for strip, row, block in zip(strips, rows, widths, strict=True):
            page.centred(strip.title, x, block, top - _LINE - 2)
            caption = strip.captions[step] if strip.captions else ""
            cells = [(picture, heading if of_classes else "") for heading, picture in row.before.items()]
            cells.append((row.maps[step], caption))
            if row.below is not None:
                cells.append((row.below[step], "predicted"))
            for place, (picture, words) in enumerate(cells):
                page.paste(picture, x + place * (width + _GAP), top)
                if words:
                    page.centred(words, x + place * (width + _GAP), width, top + height + 2)
            x += block + 4 * _GAP
        page.progress(_MARGIN, below, total_width - 2 * _MARGIN, (step + 1) / len(labels))
        page.centred(label, _MARGIN, total_width - 2 * _MARGIN, below + _GAP + 4)
        page.legend(_MARGIN, below + 2 * _LINE)
        if key:
            page.key(key, _MARGIN, below + 3 * _LINE + _GAP)
        shown.append(page.pixels)
    return shown


def spread(steps: Sequence[int], count: int) -> list[int]:
    """At most `count` of the steps, the first and the last among them, the rest evenly by position."""
    if len(steps) <= count:
        return list(steps)
    places = np.rint(np.linspace(0, len(steps) - 1, count)).astype(int)
    return [steps[place] for place in places]


def _cells(strips: Sequence[Strip], steps: int, look: Look) -> list[_Row]:
    """Each strip's picture and its maps as they are pasted: coloured, enlarged, outlined."""
    if not strips or not steps:
        raise ValueError("a film needs at least one strip and one step")
    for strip in strips:
        if len(strip.maps) != steps:
            raise ValueError(f"strip {strip.title!r} has {len(strip.maps)} maps, but there are {steps} labels")
        if strip.captions and len(strip.captions) != steps:
            raise ValueError(f"strip {strip.title!r} has {len(strip.captions)} captions, but {steps} maps")
        if strip.predicted is not None and len(strip.predicted) != steps:
            raise ValueError(f"strip {strip.title!r} has {len(strip.predicted)} predicted maps, but {steps} labels")
    scale = look.scale
    if scale == "shared":
        ends = [render.limits(strip.maps, "shared", look.clip)[0] for strip in strips]
        scale = float(max(ends)) or "map"
    return [_strip_cells(strip, scale, look) for strip in strips]


def _strip_cells(strip: Strip, scale: Scale, look: Look) -> _Row:
    if strip.draw is not None:
        ends = render.limits(strip.maps, scale, look.clip)
        drawn = [strip.draw(one, float(end), look.colormap) for one, end in zip(strip.maps, ends, strict=True)]
        return _with_classes(strip, {}, np.stack(drawn))
    over = None if strip.picture is None else strip.picture[None]
    painted = render.paint(
        strip.maps, scale=scale, colormap=look.colormap, clip=look.clip, over=over if look.overlay else None
    )
    zoom = _zoom(*painted.shape[1:3])
    cells = np.stack([render.enlarge(cell, zoom) for cell in painted])
    before = {} if over is None else {"input": _fitted(over[0], cells.shape[1], cells.shape[2])}
    if strip.mask is not None and strip.mask.any():
        mask = montage(strip.mask[None, ..., None].astype(np.uint8))[0, ..., 0] > 0
        cells = np.stack([render.outline(cell, mask, zoom) for cell in cells])
    return _with_classes(strip, before, cells)


def _with_classes(strip: Strip, before: dict[str, Picture], cells: Picture) -> _Row:
    """With the maps of classes, in the cells' width: as high as they, or in their own proportions beside a drawing."""
    below = None
    given = [one for one in (strip.labels, strip.predicted) if one is not None]
    if not given:
        return _Row(before, cells, None)
    height, width = cells.shape[1:3]
    if given[0].ndim - (given[0] is strip.predicted) == 1:
        height = _LEAST_HEIGHT
    ground = strip.picture if height > _LEAST_HEIGHT else None
    if strip.labels is not None:
        before = before | {"labels": paint_classes(strip.labels[None], ground, (height, width))[0]}
    if strip.predicted is not None:
        below = paint_classes(strip.predicted, ground, (height, width))
    return _Row(before, cells, below)


def _headings(rows: Sequence[_Row]) -> list[str]:
    return [heading for heading in ("input", "labels") if any(heading in row.before for row in rows)]


def _key(strips: Sequence[Strip]) -> list[tuple[str, render.Colour]]:
    """Name and colour of each class that is on any map."""
    names = next((strip.class_names for strip in strips if strip.class_names), None)
    maps = [one for strip in strips for one in (strip.labels, strip.predicted)]
    return [(class_name(label, names), class_colour(label)) for label in classes_on(*maps)]


def _zoom(height: int, width: int) -> tuple[int, int]:
    if height == 1:
        return _LEAST_HEIGHT, max(1, round(2 * CELL / width))
    zoom = max(1, round(CELL / max(height, width)))
    return zoom, zoom


def _fitted(picture: NDArray[np.uint8], height: int, width: int) -> Picture:
    """A picture at the size of the cells beside it."""
    rgb = np.ascontiguousarray(np.broadcast_to(picture, (*picture.shape[:2], 3)))
    return np.asarray(Image.fromarray(rgb).resize((width, height), Image.Resampling.NEAREST))


def _size(rows: Sequence[_Row]) -> tuple[int, int]:
    """Height and width of the largest cell."""
    return max(row.maps.shape[1] for row in rows), max(row.maps.shape[2] for row in rows)


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

    def key(self, classes: Sequence[tuple[str, render.Colour]], x: int, y: int) -> None:
        """Names of classes, each behind a square of its colour; those that have no room are counted."""
        right = self._image.width - _MARGIN
        for place, (name, colour) in enumerate(classes):
            wide, left = 14 + _width(name, _TEXT), len(classes) - place
            more = f"and {left} more"
            if x + wide + (_width(more, _TEXT) + 10 if left > 1 else 0) > right and place:
                self.text(more, x, y, muted=True)
                return
            self._draw.rectangle((x, y + 3, x + 9, y + 12), fill=colour)
            self.text(name, x + 14, y)
            x += wide + 10
