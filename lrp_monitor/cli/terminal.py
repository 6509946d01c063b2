"""Heatmaps as text: two rows of pixels in a line of half blocks where a terminal has colours, signs where not."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TextIO

import numpy as np
from numpy.typing import NDArray

from lrp_monitor.arguments import Colormap
from lrp_monitor.pictures import render
from lrp_monitor.pictures.classes import class_colour, class_name
from lrp_monitor.probes import montage
from lrp_monitor.text import printable

Depth = Literal["truecolour", "256", "none"]

_HALF, _RESET = "\u2580", "\x1b[0m"
_CUBE = np.array([0, 95, 135, 175, 215, 255])  # the levels of each channel of the 256 colours from 16 on
_SIGNS = ((0.5, "#", "="), (0.125, "+", "-"))  # share of the largest |relevance|, its sign for and against


def colour_depth(stream: TextIO, environment: Mapping[str, str] | None = None) -> Depth:
    """What colours may be written to a stream: none to a pipe or file, nor where NO_COLOR is set or TERM is dumb.

    Source of the rule for NO_COLOR: https://no-color.org (set and not empty).
    """
    env = os.environ if environment is None else environment
    term = env.get("TERM", "")
    if not stream.isatty() or env.get("NO_COLOR") or term in ("", "dumb") or not _writes(stream, _HALF):
        return "none"
    if env.get("COLORTERM", "").lower() in ("truecolor", "24bit") or term.endswith("-direct"):
        return "truecolour"
    return "256" if "256" in term else "none"


def _writes(stream: TextIO, text: str) -> bool:
    try:
        text.encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def heatmap_lines(
    heatmap: NDArray[np.floating[Any]], depth: Depth, *, columns: int = 32, colormap: Colormap = "seismic"
) -> list[str]:
    """One heatmap as lines of at most `columns` characters, scaled by its own largest |relevance|.

    Args:
        heatmap: (*map shape); one axis is a row, a volume a montage as in pictures. Wider maps are averaged down. With
            colours a line holds two rows of pixels; without, a pixel is two characters wide: # and + for the class from
            half and an eighth of the largest on, = and - against it, ? where it is not finite.
    """
    one: Any = np.asarray(heatmap, np.float64)[None, ..., None]
    picture: NDArray[Any] = montage(one)[0, ..., 0]
    small = shrunk(picture, columns if depth != "none" else max(1, columns // 2))
    limit = np.abs(small[np.isfinite(small)]).max(initial=0.0)
    shares = small / limit if limit > 0 else np.where(np.isfinite(small), 0.0, np.nan)
    if depth == "none":
        return ["".join(2 * _sign(value) for value in row).rstrip() for row in shares]
    pixels = render.colours(shares, colormap)
    if len(pixels) % 2:
        page = np.array(render.colour_map(colormap).page, np.uint8)
        pixels = np.concatenate([pixels, np.broadcast_to(page, (1, *pixels.shape[1:]))])
    return [_line(above, below, depth) for above, below in zip(pixels[::2], pixels[1::2], strict=True)]


_CLASS_SIGNS = ".123456789abcdefghijklmnopqrstuvwxyz"


def class_lines(classes: NDArray[np.integer[Any]], depth: Depth, *, columns: int = 32) -> list[str]:
    """One map of classes as lines of at most `columns` characters, in the colours of the classes.

    Args:
        classes: (*places), negative for none; laid out as `heatmap_lines` does. Of wider maps every so many places are
            shown. Without colours a place is two characters wide: its number to 9, then letters, a point for class 0
            and ? for none.
    """
    one: Any = np.asarray(classes, np.int64)[None, ..., None]
    sheet: NDArray[Any] = montage(one)[0, ..., 0]
    room = columns if depth != "none" else max(1, columns // 2)
    width = min(room, sheet.shape[1])
    rows = max(1, round(sheet.shape[0] * width / sheet.shape[1]))
    small = sheet[np.arange(rows)[:, None] * sheet.shape[0] // rows, np.arange(width)[None] * sheet.shape[1] // width]
    if depth == "none":
        return ["".join(2 * _class_sign(int(label)) for label in row) for row in small]
    ground = np.array([255, 255, 255], np.uint8)
    palette = {label: np.array(class_colour(label), np.uint8) for label in np.unique(small).tolist() if label != 0}
    pixels = np.array([[palette.get(label, ground) for label in row] for row in small.tolist()], np.uint8)
    if len(pixels) % 2:
        pixels = np.concatenate([pixels, np.broadcast_to(ground, (1, *pixels.shape[1:]))])
    return [_line(above, below, depth) for above, below in zip(pixels[::2], pixels[1::2], strict=True)]


def class_key(classes: Sequence[int], names: Sequence[str] | None, depth: Depth) -> str:
    """What stands for which class: its colour or its sign, and its name."""
    parts = []
    for label in classes:
        name = printable(class_name(label, names))
        colour = np.array(class_colour(label), np.uint8)
        parts.append(f"{_class_sign(label)} {name}" if depth == "none" else f"{on_colour('  ', colour, depth)} {name}")
    return ", ".join(parts)


def _class_sign(label: int) -> str:
    return "?" if label < 0 else _CLASS_SIGNS[label] if label < len(_CLASS_SIGNS) else "+"


def on_colour(text: str, colour: NDArray[np.uint8], depth: Depth) -> str:
    """A text on a colour (3,), in black or white, whichever is read on it."""
    red, green, blue = (int(channel) for channel in colour)
    ink = np.zeros(3, np.uint8) if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else np.full(3, 255, np.uint8)
    return f"\x1b[{_code(38, ink, depth)};{_code(48, colour, depth)}m{text}{_RESET}"


def shrunk(picture: NDArray[np.float64], columns: int) -> NDArray[np.float64]:
    """A picture (H, W) of at most `columns` columns, of the same proportions: means over the pixels of each block."""
    height, width = picture.shape
    if width <= columns:
        return picture
    rows = max(1, round(height * columns / width))
    across = np.add.reduceat(picture, np.arange(columns) * width // columns, axis=1)
    both = np.add.reduceat(across, np.arange(rows) * height // rows, axis=0)
    widths = np.diff([*(np.arange(columns) * width // columns), width])
    heights = np.diff([*(np.arange(rows) * height // rows), height])
    return np.asarray(both / (heights[:, None] * widths))


def beside(blocks: list[list[str]], widths: list[int], gap: str = "  ") -> list[str]:
    """Blocks of lines side by side; widths: the visible characters of each block's lines."""
    height = max(len(block) for block in blocks)
    lines = []
    for number in range(height):
        cells = []
        for block, width in zip(blocks, widths, strict=True):
            cell = block[number] if number < len(block) else ""
            cells.append(cell + " " * max(0, width - visible(cell)))
        lines.append(gap.join(cells).rstrip(" "))
    return lines


def visible(text: str) -> int:
    """How many characters of a text are seen, its colour codes left out."""
    seen, inside = 0, False
    for character in text:
        if character == "\x1b":
            inside = True
        elif inside:
            inside = character != "m"
        else:
            seen += 1
    return seen


def _line(above: NDArray[np.uint8], below: NDArray[np.uint8], depth: Depth) -> str:
    parts, last = [], ""
    for top, bottom in zip(above, below, strict=True):
        code = f"\x1b[{_code(38, top, depth)};{_code(48, bottom, depth)}m"
        parts.append(_HALF if code == last else code + _HALF)
        last = code
    return "".join(parts) + _RESET


def _code(ground: int, colour: NDArray[np.uint8], depth: Depth) -> str:
    if depth == "truecolour":
        return f"{ground};2;{';'.join(str(int(channel)) for channel in colour)}"
    red, green, blue = (int(np.abs(_CUBE - int(channel)).argmin()) for channel in colour)
    return f"{ground};5;{16 + 36 * red + 6 * green + blue}"


def _sign(share: float) -> str:
    if not np.isfinite(share):
        return "?"
    for least, positive, negative in _SIGNS:
        if abs(share) >= least:
            return positive if share > 0 else negative
    return " "
