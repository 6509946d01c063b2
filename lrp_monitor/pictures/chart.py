"""Line charts and bars, drawn with Pillow in the style of the films: for reports and scripts, not for exploring."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont

from lrp_monitor.arguments import Colormap
from lrp_monitor.pictures.render import Colour, Picture, colour_map
from lrp_monitor.text import percent

COLOURS: tuple[Colour, ...] = ((0, 90, 181), (213, 94, 0), (95, 99, 104), (0, 130, 95), (150, 60, 150), (190, 140, 0))
"""Colours of lines in their order, distinct with the common kinds of colour blindness."""

_FINER = 3  # lines are drawn this much larger and scaled down, so that they are smooth
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 34, 30, 58
_TEXT, _TITLE = 12, 14


@dataclass(frozen=True)
class Line:
    """One curve: x and y of one length; low and high, of that length, bound a band around it."""

    name: str
    x: ArrayLike
    y: ArrayLike
    low: ArrayLike | None = None
    high: ArrayLike | None = None


def chart(
    lines: Sequence[Line],
    *,
    title: str = "",
    x_label: str = "",
    y_label: str = "",
    x_ticks: Sequence[str] | None = None,
    size: tuple[int, int] = (640, 300),
    colormap: Colormap = "seismic",
) -> Picture:
    """Curves over a common axis: uint8 (height, width, 3). Points that are not finite leave a gap.

    Args:
        x_ticks: names of x = 0, 1, 2 ... in place of numbers.
        size: width and height in pixels.
        colormap: gives the page and ink.

    Raises:
        ValueError: without a finite point, or where a line's x and y differ in length.
    """
    for line in lines:
        if np.shape(line.x) != np.shape(line.y):
            raise ValueError(f"line {line.name!r}: {np.shape(line.x)} values of x, but {np.shape(line.y)} of y")
    xs = _finite([line.x for line in lines])
    ys = _finite([part for line in lines for part in (line.y, line.low, line.high) if part is not None])
    if not len(xs) or not len(ys):
        raise ValueError("a chart needs a line with at least one finite point")
    page = _Plot(size, _padded(xs, 0.0), _padded(ys, 0.06), colormap)
    page.axes(title, x_label, y_label, x_ticks)
    for place, line in enumerate(lines):
        page.line(line, COLOURS[place % len(COLOURS)])
    page.legend([line.name for line in lines])
    return page.pixels()


def bars(
    names: Sequence[str],
    values: ArrayLike,
    marks: ArrayLike | None = None,
    *,
    title: str = "",
    note: str = "",
    width: int = 640,
    colormap: Colormap = "seismic",
) -> Picture:
    """A horizontal bar a name, from 0 to 1, none where a value is not finite: uint8 (height, width, 3).

    Args:
        marks: a tick on each bar, such as what chance gives.
        note: a line below that says what the marks are.

    Raises:
        ValueError: where the lengths differ.
    """
    shares = np.asarray(values, np.float64)
    ticks = None if marks is None else np.asarray(marks, np.float64)
    if shares.shape != (len(names),) or (ticks is not None and ticks.shape != shares.shape):
        raise ValueError(f"{len(names)} names, but values of shape {shares.shape}; give one for each")
    colours, row = colour_map(colormap), 20
    left = 20 + max((round(_font(_TEXT).getlength(name)) for name in names), default=0)
    page = Image.new("RGB", (width, 34 + row * len(names) + (24 if note else 8)), colours.page)
    draw = ImageDraw.Draw(page)
    draw.text((14, 8), title, colours.ink, _font(_TITLE))
    span = width - left - 70
    for place, (name, value) in enumerate(zip(names, shares, strict=True)):
        top = 34 + row * place
        draw.text((14, top), name, colours.ink, _font(_TEXT))
        draw.rectangle((left, top + 2, left + span, top + 13), outline=colours.muted)
        if math.isfinite(value):
            draw.rectangle((left, top + 2, left + round(span * min(max(value, 0), 1)), top + 13), fill=COLOURS[0])
            draw.text((left + span + 8, top), percent(value), colours.ink, _font(_TEXT))
        if ticks is not None and math.isfinite(ticks[place]):
            at = left + round(span * min(max(float(ticks[place]), 0), 1))
            draw.line((at, top, at, top + 15), fill=COLOURS[1], width=2)
    if note:
        draw.text((14, 36 + row * len(names)), note, colours.muted, _font(_TEXT))
    return np.array(page)


def stack(pictures: Sequence[Picture], colormap: Colormap = "seismic") -> Picture:
    """Pictures below one another on one page: uint8 (sum of heights, largest width, 3). ValueError without any."""
    if not pictures:
        raise ValueError("nothing to stack: give at least one picture")
    width = max(picture.shape[1] for picture in pictures)
    page = np.array(colour_map(colormap).page, np.uint8)
    rows = []
    for picture in pictures:
        row = np.broadcast_to(page, (picture.shape[0], width, 3)).copy()
        row[:, : picture.shape[1]] = picture
        rows.append(row)
    return np.concatenate(rows)


def nice_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from low to high, at most `most` + 1 of them: steps of 1, 2 or 5 times a power of ten."""
    if not high > low:
        return [low]
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(step for step in (power, 2 * power, 5 * power, 10 * power) if step >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [round(n * step, 12) for n in range(first, math.floor(high / step + 1e-9) + 1)]


class _Plot:
    """A chart under way: data coordinates to pixels."""

    def __init__(
        self, size: tuple[int, int], x: tuple[float, float], y: tuple[float, float], colormap: Colormap
    ) -> None:
        self._size, self._x, self._y, self._colours = size, x, y, colour_map(colormap)
        self._fine = Image.new("RGB", (size[0] * _FINER, size[1] * _FINER), self._colours.page)
        self._texts: list[tuple[float, float, str, str, Colour, int]] = []

    def _at(self, x: float, y: float) -> tuple[float, float]:
        width, height = self._size[0] - _LEFT - _RIGHT, self._size[1] - _TOP - _BOTTOM
        across = (x - self._x[0]) / (self._x[1] - self._x[0])
        up = (y - self._y[0]) / (self._y[1] - self._y[0])
        return (_LEFT + width * across) * _FINER, (_TOP + height * (1 - up)) * _FINER

    def axes(self, title: str, x_label: str, y_label: str, x_ticks: Sequence[str] | None) -> None:
        """Frame, grid, numbers and labels."""
        draw, ink, muted = ImageDraw.Draw(self._fine), self._colours.ink, self._colours.muted
        grid = tuple((3 * a + b) // 4 for a, b in zip(self._colours.page, muted, strict=True))
        for value in nice_ticks(*self._y, most=5):
            left, y = self._at(self._x[0], value)
            right, _ = self._at(self._x[1], value)
            draw.line((left, y, right, y), fill=grid, width=_FINER)
            self._texts.append((_LEFT - 6, y / _FINER, f"{value:g}", "rm", muted, _TEXT))
        places = nice_ticks(*self._x) if x_ticks is None else self._every(x_ticks)
        for value in places:
            x, bottom = self._at(value, self._y[0])
            draw.line((x, bottom, x, bottom + 4 * _FINER), fill=muted, width=_FINER)
            name = f"{value:g}" if x_ticks is None else x_ticks[int(value)]
            self._texts.append((x / _FINER, bottom / _FINER + 6, name, "ma", muted, _TEXT))
        left, bottom = self._at(self._x[0], self._y[0])
        right, top = self._at(self._x[1], self._y[1])
        draw.line((left, top, left, bottom, right, bottom), fill=muted, width=_FINER)
        self._texts.append((12, 8, title, "la", ink, _TITLE))
        self._texts.append((self._size[0] - _RIGHT, self._size[1] - _BOTTOM + 24, x_label, "ra", muted, _TEXT))
        title_end = 24 + (_font(_TITLE).getlength(title) if title else 0)
        self._texts.append((title_end, 10, y_label, "la", muted, _TEXT))

    def _every(self, names: Sequence[str]) -> list[float]:
        """As many of the places 0, 1, 2 ... as their names have room for, the last one always."""
        room = self._size[0] - _LEFT - _RIGHT
        widest = max(_font(_TEXT).getlength(name) for name in names) + 10
        step = max(1, math.ceil(len(names) * widest / room))
        return [float(place) for place in range(len(names) - 1, -1, -step)]

    def line(self, line: Line, colour: Colour) -> None:
        """A curve, with its band."""
        x, y = np.asarray(line.x, np.float64), np.asarray(line.y, np.float64)
        draw = ImageDraw.Draw(self._fine, "RGBA")
        if line.low is not None and line.high is not None:
            low, high = np.asarray(line.low, np.float64), np.asarray(line.high, np.float64)
            kept = np.isfinite(x) & np.isfinite(low) & np.isfinite(high)
            edge = [self._at(*point) for point in zip(x[kept], high[kept], strict=True)]
            edge += [self._at(*point) for point in zip(x[kept][::-1], low[kept][::-1], strict=True)]
            if kept.sum() > 1:
                draw.polygon(edge, fill=(*colour, 48))
        for part in _parts(np.isfinite(x) & np.isfinite(y)):
            points = [self._at(*point) for point in zip(x[part], y[part], strict=True)]
            if len(points) > 1:
                draw.line(points, fill=(*colour, 255), width=2 * _FINER, joint="curve")
            if len(points) <= 40:
                radius = 2.5 * _FINER
                for px, py in points:
                    draw.ellipse((px - radius, py - radius, px + radius, py + radius), fill=(*colour, 255))

    def legend(self, names: Sequence[str]) -> None:
        """The lines' names below the chart, in their colours."""
        x = float(_LEFT)
        for place, name in enumerate(names):
            colour = COLOURS[place % len(COLOURS)]
            self._texts.append((x, self._size[1] - 16, name, "la", colour, _TEXT))
            x += _font(_TEXT).getlength(name) + 18

    def pixels(self) -> Picture:
        """The finished picture."""
        image = self._fine.resize(self._size, Image.Resampling.BOX)
        draw = ImageDraw.Draw(image)
        for x, y, text, anchor, colour, size in self._texts:
            draw.text((x, y), text, colour, _font(size), anchor=anchor)
        return np.array(image)


def _parts(kept: NDArray[np.bool_]) -> list[slice]:
    """The unbroken stretches of what is kept."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], kept, [False]]).astype(np.int8)))
    return [slice(int(start), int(stop)) for start, stop in zip(edges[::2], edges[1::2], strict=True)]


def _finite(values: Sequence[ArrayLike]) -> NDArray[np.float64]:
    flat = np.concatenate([np.asarray(value, np.float64).ravel() for value in values]) if values else np.zeros(0)
    return flat[np.isfinite(flat)]


def _padded(values: NDArray[np.float64], share: float) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    if low == high:
        return low - 0.5, high + 0.5
    return low - share * (high - low), high + share * (high - low)


def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow without FreeType cannot place text"
    return font
