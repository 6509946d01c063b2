"""A probe's inputs as pictures that show their relevance: curves, words, bars, as the LRP tab draws them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from lrp_monitor.arguments import Colormap
from lrp_monitor.pictures import render
from lrp_monitor.pictures.render import Picture
from lrp_monitor.probes import montage
from lrp_monitor.store.format import InputInfo, ProbeInfo
from lrp_monitor.text import number

WIDTH = 260
_PAD = 4
_ROW, _BAND = 15, 46
_MOST_FEATURES, _MOST_LINES = 15, 9
_TEXT = 11


@dataclass(frozen=True)
class DrawnInputs:
    """Draws one probe of a run whose inputs are more than a picture.

    Called with a heatmap (*map shape), the relevance at full colour, and a colour map's name: uint8 (H, W, 3). All
    heatmaps of the probe give pictures of one size.
    """

    probes: ProbeInfo
    probe: int

    def __call__(self, heatmap: NDArray[Any], limit: float, colormap: Colormap) -> Picture:
        parts = self.probes.split(np.asarray(heatmap, np.float32)[None])
        drawn = []
        for info in self.probes.inputs:
            with np.errstate(invalid="ignore"):
                share = parts[info.name][0].astype(np.float64) / limit if limit > 0 else 0 * parts[info.name][0]
            drawn.append(_panel(info, self.probe, np.clip(share, -1, 1), parts[info.name][0], colormap))
        ground = render.colour_map(colormap).page
        height = sum(len(one) for one in drawn) + _PAD * (len(drawn) - 1)
        page = np.full((height, WIDTH, 3), ground, np.uint8)
        top = 0
        for one in drawn:
            page[top : top + len(one), : one.shape[1]] = one[:, :WIDTH]
            top += len(one) + _PAD
        return page


def drawn_inputs(probes: ProbeInfo, probe: int) -> DrawnInputs | None:
    """What draws a probe's inputs; None where it is one picture, which `render.paint` paints."""
    kinds = [info.kind for info in probes.inputs]
    plain = len(kinds) <= 1 and (not kinds or kinds[0] in ("image", "grid", "volume"))
    return None if plain else DrawnInputs(probes, probe)


def _panel(
    info: InputInfo, probe: int, share: NDArray[np.float64], relevance: NDArray[Any], colormap: Colormap
) -> Picture:
    if info.kind == "series":
        return _series(info, probe, share, colormap)
    if info.kind == "tokens":
        return _tokens(info, probe, share, colormap)
    if info.kind == "table":
        return _table(info, probe, share, relevance, colormap)
    painted = montage(render.colours(share, colormap)[None])[0]
    zoom = max(1, min(WIDTH // painted.shape[1], 160 // painted.shape[0]))
    if zoom == 1 and painted.shape[1] > WIDTH:
        size = (WIDTH, max(1, round(painted.shape[0] * WIDTH / painted.shape[1])))
        return np.asarray(Image.fromarray(painted).resize(size, Image.Resampling.NEAREST))
    return render.enlarge(painted, zoom)


def _page(height: int, colormap: Colormap) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", (WIDTH, height), render.colour_map(colormap).page)
    return image, ImageDraw.Draw(image)


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(_TEXT)


def _ink(share: float, colormap: Colormap) -> tuple[int, int, int]:
    """Text that is read on the colour of a share: black or white, by its brightness."""
    red, green, blue = (int(value) for value in render.colours(share, colormap))
    return (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else (255, 255, 255)


def _soft(share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shares that stay at the brighter half of the colours: what is drawn over them is to be seen."""
    return 0.5 * share


def _series(info: InputInfo, probe: int, share: NDArray[np.float64], colormap: Colormap) -> Picture:
    share = share.reshape(len(share), -1)
    times, channels = share.shape
    band = max(18, min(_BAND, 160 // channels))
    image, draw = _page(channels * band, colormap)
    columns = np.minimum(np.arange(WIDTH) * times // WIDTH, times - 1)
    ink = render.colour_map(colormap).ink
    for channel in range(channels):
        colours = render.colours(_soft(share[columns, channel]), colormap)
        image.paste(Image.fromarray(np.repeat(colours[None], band - 2, axis=0)), (0, channel * band))
        if info.values is None:
            continue
        curve = info.values[probe].reshape(times, -1)[:, channel].astype(np.float64)
        low, high = float(curve.min()), float(curve.max())
        level = (curve - low) / (high - low) if high > low else np.full(times, 0.5)
        points = [
            ((time + 0.5) * WIDTH / times, channel * band + 3 + (1 - float(at)) * (band - 9))
            for time, at in enumerate(level)
        ]
        draw.line(points, fill=ink, width=1)
    return np.array(image)


def _tokens(info: InputInfo, probe: int, share: NDArray[np.float64], colormap: Colormap) -> Picture:
    values = info.values
    texts = info.tokens[probe] if info.tokens is not None else [
        str(token) if values is None else f"{values[probe, token]:g}" for token in range(len(share))
    ]  # fmt: skip
    font = _font()
    shown = [place for place, text in enumerate(texts) if text]
    lines = _wrapped(texts, shown, font)
    if len(lines) > _MOST_LINES:  # what is around the most relevant tokens, as much as there is room for
        kept: set[int] = set()
        for place in np.argsort(-np.abs(np.nan_to_num(share[shown])), kind="stable"):
            more = kept | {at for at in range(place - 3, place + 4) if 0 <= at < len(shown)}
            if len(_wrapped(texts, [shown[at] for at in sorted(more)], font)) > _MOST_LINES:
                break
            kept = more
        lines = _wrapped(texts, [shown[at] for at in sorted(kept)], font)
    image, draw = _page(_ROW * max(1, min(_MOST_LINES, len(_wrapped(texts, shown, font)))), colormap)
    for row, line in enumerate(lines):
        for place, x, width in line:
            colour = tuple(int(value) for value in render.colours(_soft(share[place]), colormap))
            draw.rectangle((x, row * _ROW, x + width, row * _ROW + _ROW - 2), fill=colour)
            draw.text((x + 2, row * _ROW), texts[place], _ink(float(_soft(share[place])), colormap), font)
    return np.array(image)


def _wrapped(texts: Sequence[str], shown: Sequence[int], font: Any) -> list[list[tuple[int, int, int]]]:
    """Lines of (token, left, width)."""
    lines: list[list[tuple[int, int, int]]] = [[]]
    x = 0
    for place in shown:
        width = min(WIDTH - 1, math.ceil(font.getlength(texts[place][:60])) + 4)
        if x and x + width > WIDTH:
            lines.append([])
            x = 0
        lines[-1].append((place, x, width))
        x += width + 2
    return lines


def _table(
    info: InputInfo, probe: int, share: NDArray[np.float64], relevance: NDArray[Any], colormap: Colormap
) -> Picture:
    order = np.argsort(-np.abs(np.nan_to_num(relevance)), kind="stable")[:_MOST_FEATURES]
    image, draw = _page(_ROW * len(order), colormap)
    font, palette = _font(), render.colour_map(colormap)
    middle = 185
    for row, feature in enumerate(order):
        top = row * _ROW
        name = info.feature_names[feature] if info.feature_names else f"feature {feature}"
        while len(name) > 1 and font.getlength(name) > 84:
            name = name[:-2].rstrip() + "…"
        draw.text((0, top), name, palette.ink, font)
        if info.values is not None:
            value = number(float(info.values[probe, feature]))
            draw.text((110 - font.getlength(value), top), value, palette.muted, font)
        wide = float(share[feature]) * (WIDTH - middle - 2) if np.isfinite(share[feature]) else 0.0
        colour = tuple(int(one) for one in render.colours(math.copysign(0.5, wide), colormap))
        if abs(wide) >= 0.5:
            draw.rectangle((middle + min(0.0, wide), top + 2, middle + max(0.0, wide), top + _ROW - 4), fill=colour)
    draw.line((middle, 0, middle, _ROW * len(order)), fill=palette.muted)
    return np.array(image)
