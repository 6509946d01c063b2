"""A probe's heatmap as lines of a terminal, by what its inputs are: words, a bar for each feature, or a picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lrp_monitor.arguments import Colormap
from lrp_monitor.cli import terminal
from lrp_monitor.cli.terminal import Depth
from lrp_monitor.pictures import render
from lrp_monitor.store.format import InputInfo, ProbeInfo
from lrp_monitor.text import number, printable

_MOST_FEATURES, _MOST_LINES = 8, 8
_BAR = 6


def are_drawn(probes: ProbeInfo) -> bool:
    """Whether probes are more than a picture each: several inputs, a text or a row of a table."""
    return len(probes.inputs) > 1 or any(one.kind in ("tokens", "table") for one in probes.inputs)


def lines(
    probes: ProbeInfo, probe: int, heatmap: NDArray[np.float32], depth: Depth, columns: int, colormap: Colormap
) -> list[str]:
    """The lines, of at most `columns` visible characters each; colours are of the heatmap's own largest |relevance|."""
    if not are_drawn(probes):
        return terminal.heatmap_lines(heatmap, depth, columns=columns, colormap=colormap)
    finite = np.abs(heatmap[np.isfinite(heatmap)])
    limit = float(finite.max(initial=0.0)) or 1.0
    found: list[str] = []
    for info, part in zip(probes.inputs, probes.split(heatmap[None]).values(), strict=True):
        share = part[0].astype(np.float64) / limit
        if len(probes.inputs) > 1:
            found.append(f"{printable(info.name)}:"[:columns])
        if info.kind == "tokens":
            found += _words(info, probe, share, depth, columns, colormap)
        elif info.kind == "table":
            found += _bars(info, probe, share, depth, columns, colormap)
        else:
            found += terminal.heatmap_lines(part[0], depth, columns=columns, colormap=colormap)
    return found


def _words(
    info: InputInfo, probe: int, share: NDArray[np.float64], depth: Depth, columns: int, colormap: Colormap
) -> list[str]:
    """Words in their order; of long texts the leading ones. Without colours each with + and - by its relevance."""
    texts = info.tokens[probe] if info.tokens is not None else _ids(info, probe, len(share))
    shown = [place for place, text in enumerate(texts) if text]
    made = {place: _word(printable(texts[place]), float(share[place]), depth, columns, colormap) for place in shown}
    wrapped = _wrapped([made[place] for place in shown], columns)
    if len(wrapped) > _MOST_LINES:
        strongest = sorted(shown, key=lambda place: -abs(np.nan_to_num(share[place])))
        count = len(strongest)
        while count > 1 and len(wrapped) > _MOST_LINES - 1:
            count //= 2
            wrapped = _wrapped([made[place] for place in sorted(strongest[:count])], columns)
        wrapped.append(f"the {count} leading of {len(shown)}"[:columns])
    return wrapped


def _word(text: str, share: float, depth: Depth, columns: int, colormap: Colormap) -> str:
    if depth == "none":
        signs = "?" if not np.isfinite(share) else ("+" if share > 0 else "-") * round(3 * min(1.0, abs(share)))
        return f"{text[: columns - 3]}{signs}"
    return terminal.on_colour(text[:columns], render.colours(np.float64(0.5 * share), colormap), depth)


def _wrapped(words: list[str], columns: int) -> list[str]:
    found, width = [""], 0
    for word in words:
        seen = terminal.visible(word)
        if width and width + 1 + seen > columns:
            found.append("")
            width = 0
        found[-1] += (" " if width else "") + word
        width += seen + (1 if width else 0)
    return found


def _ids(info: InputInfo, probe: int, count: int) -> list[str]:
    return [str(at) if info.values is None else f"{info.values[probe, at]:g}" for at in range(count)]


def _bars(
    info: InputInfo, probe: int, share: NDArray[np.float64], depth: Depth, columns: int, colormap: Colormap
) -> list[str]:
    """A line for each of the leading features: name, value, and a bar to the right for, to the left against."""
    order = np.argsort(-np.abs(np.nan_to_num(share)), kind="stable")[:_MOST_FEATURES]
    room = max(4, columns - 2 * _BAR - 10)
    found = []
    for at in order.tolist():
        name = printable(info.feature_names[at] if info.feature_names else f"feature {at}")
        value = "" if info.values is None else number(float(info.values[probe, at]), 3)
        size = round(_BAR * min(1.0, abs(float(share[at])))) if np.isfinite(share[at]) else 0
        sign = "?" if not np.isfinite(share[at]) else "#" if share[at] > 0 else "="
        bar = sign * size
        if depth != "none" and size:
            bar = terminal.on_colour(" " * size, render.colours(np.sign(share[at]) * np.float64(0.8), colormap), depth)
        against, speaking = (" " * _BAR, bar) if share[at] >= 0 else (" " * (_BAR - size) + bar, "")
        found.append(f"{name[:room]:<{room}} {value[:7]:>7} {against}|{speaking}")
    left = len(share) - len(order)
    return found + ([f"and {left} more"] if left > 0 else [])
