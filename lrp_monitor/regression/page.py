"""A comparison as one self-contained HTML page: pictures inside, nothing fetched, names only ever as text."""

from __future__ import annotations

import base64
import hashlib
import io
from html import escape
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lrp_monitor import metrics
from lrp_monitor.pictures.classes import class_colour, class_name, classes_on, paint_classes
from lrp_monitor.pictures.inputs import DrawnInputs, drawn_inputs
from lrp_monitor.pictures.render import colours, enlarge, outline, png
from lrp_monitor.probes import montage
from lrp_monitor.regression.comparison import LOWER_IS_WORSE, Comparison
from lrp_monitor.regression.table import predictions
from lrp_monitor.text import number, percent

_SHOWN = 100
_SIDE = 128  # the longest side of a picture on the page, in pixels
_STRIP = 24  # the height of the picture of a map with one axis
_HEADINGS = {
    "cosine": ("cosine", "1 equal, 0 nothing in common"),
    "iou": ("IoU", "of the tenth of the pixels with the highest relevance"),
    "js": ("JS", "Jensen-Shannon divergence of positive relevance: 0 equal, 1 nothing in common"),
    "relative_l2": ("rel. L2", "distance of the normalised maps over the norm of the earlier one"),
    "logits": ("logits", "largest change over the root mean square of the earlier logits"),
    "places": (
        "places %",
        "share of the places whose predicted class changed: in the region or outside of it, the larger",
    ),
}
_MAPS = ("before", "now", "difference")


def page(comparison: Comparison, title: str = "") -> str:
    """The page's HTML: verdict, checks, and the probes, worst first (at most 100 of them, with a word about it)."""
    script, style = _asset("page.js"), _asset("page.css")
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    heading = title or "heatmaps"
    verdict = "within the limits" if comparison.ok else "changed"
    order = comparison.worst_first[:_SHOWN]
    rest = len(comparison.now) - len(order)
    more = f"<p>The {_SHOWN} worst of {len(comparison.now)} probes are shown.</p>" if rest > 0 else ""
    pictures = _pictures(comparison, order)
    rows = "\n".join(
        _row(comparison, int(i), place, drawn) for place, (i, drawn) in enumerate(zip(order, pictures, strict=True))
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(heading)}: {verdict}</title>
<style>{style}</style>
</head>
<body>
<h1>{escape(heading)}: <span class="{"ok" if comparison.ok else "bad"}">{verdict}</span></h1>
<p>{len(comparison.now)} probes, tier <code>{escape(comparison.tier)}</code>. Before:
{escape(str(comparison.before.meta.get("source", "not named")))}. Now:
{escape(str(comparison.now.meta.get("source", "not named")))}.</p>
<ul class="checks">
{"".join(_check(check.name, check.ok, check.limited, check.text) for check in comparison.checks)}
{"".join(f"<li>note: {escape(note)}</li>" for note in comparison.notes)}
</ul>
<p class="legend">Maps are divided by the sum of their |relevance|; the three pictures of a probe share one scale. Red
speaks for the explained class, blue against it; in the difference red is what came, blue what went.
{"Masks are outlined. " if comparison.masks else ""}Numbers beyond a limit are marked with an asterisk.
Choose a heading to sort by it.</p>
{_key(comparison, order)}{more}
<table>
<thead><tr>{_heads(comparison, list(pictures[0]))}</tr></thead>
<tbody>
{rows}
</tbody>
</table>
<script>{script}</script>
</body>
</html>
"""


def _asset(name: str) -> str:
    return files("lrp_monitor.regression").joinpath("assets", name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode()


def _check(name: str, ok: bool, limited: bool, text: str) -> str:
    state = "fails" if not ok else "passes" if limited else "no limit"
    kind = "bad" if not ok else "ok" if limited else "none"
    return f'<li><strong class="{kind}">{state}</strong> {escape(name)}: {escape(text)}</li>\n'


def _key(comparison: Comparison, order: NDArray[np.intp]) -> str:
    """The colours of the classes on maps of them; nothing where there are none."""
    sides = [side.places for side in (comparison.before, comparison.now) if side.places is not None]
    maps = [one[order] for side in sides for one in (side.labels, side.predicted) if one is not None]
    names = comparison.now.meta.get("class_names")
    parts = [
        f'<img alt="" src="{_source(np.full((12, 12, 3), class_colour(label), np.uint8))}"> '
        f"{escape(class_name(label, names))}"
        for label in classes_on(*maps)
    ]
    return f'<p class="key">{" ".join(f"<span>{part}</span>" for part in parts)}</p>\n' if parts else ""


def _source(picture: NDArray[np.uint8]) -> str:
    return f"data:image/png;base64,{base64.b64encode(png(picture)).decode()}"


def _heads(comparison: Comparison, pictures: list[str]) -> str:
    heads = [
        _head("probe", "in the order of the set"),
        *(f'<th scope="col" class="picture">{escape(label)}</th>' for label in pictures),
    ]
    heads += [_head(*_HEADINGS[metric]) for metric in _metrics(comparison)]
    heads += [_head(f"{name} %", "share of the positive relevance inside the mask") for name in comparison.mask_mass]
    if comparison.now.explains == "number":
        heads.append(_head("value", "the explained number, before and now"))
    elif comparison.now.places is None:
        heads.append(_head("class", "the predicted class; changed ones last"))
    heads.append(_head("rank", "the page's own order, the worst first"))
    return "".join(heads)


def _metrics(comparison: Comparison) -> list[str]:
    return [metric for metric in _HEADINGS if metric in comparison.metrics]


def _head(label: str, title: str) -> str:
    return f'<th scope="col"><button type="button" title="{escape(title)}">{escape(label)}</button></th>'


def _row(comparison: Comparison, i: int, place: int, pictures: dict[str, NDArray[np.uint8]]) -> str:
    name = comparison.now.names[i]
    cells = [f'<th scope="row" data-value="{i}">{escape(name)}</th>']
    for label, picture in pictures.items():
        cells.append(f'<td><img alt="{label} of {escape(name)}" src="{_source(picture)}"></td>')
    for metric in _metrics(comparison):
        value = float(comparison.metrics[metric][i])
        bad = metric in comparison.beyond and bool(comparison.beyond[metric][i])
        # Sorted upwards every column ends in its worst.
        worst_last = -value if metric in LOWER_IS_WORSE else value
        cells.append(_cell(_figure(metric, value), worst_last, bad))
    for mask, (before, now) in comparison.mask_mass.items():
        known = np.isfinite(now[i])
        text = " → ".join(percent(side[i]).removesuffix(" %") for side in (before, now)) if known else "–"
        cells.append(_cell(text, float(now[i]) if known else -1.0, bool(comparison.risen(mask)[i])))
    if comparison.now.places is None:
        flipped, change = bool(comparison.flipped[i]), abs(float(comparison.now.logit[i] - comparison.before.logit[i]))
        order = change if comparison.now.explains == "number" else float(flipped)
        cells.append(_cell(" → ".join(predictions(comparison, i)), order, flipped))
    cells.append(_cell(str(place + 1), place, False))
    return f"<tr>{''.join(cells)}</tr>"


def _figure(metric: str, value: float) -> str:
    if metric == "cosine":
        return f"{value:.5f}"
    return percent(value).removesuffix(" %") if metric == "places" else number(value)


def _cell(text: str, value: float, bad: bool) -> str:
    # NaN is worse than any number.
    key = repr(float(value)) if np.isfinite(value) else "1e300"
    kind, mark = (' class="bad"', "*") if bad else ("", "")
    return f'<td data-value="{key}"{kind}>{escape(text)}{mark}</td>'


def _pictures(comparison: Comparison, order: NDArray[np.intp]) -> list[dict[str, NDArray[np.uint8]]]:
    """Input, of outputs of maps their classes, before, now, difference of the chosen probes, uint8 (H, W, 3) each."""
    before = metrics.normalised(comparison.before.heatmaps[order])
    now = metrics.normalised(comparison.now.heatmaps[order])
    both = np.abs(np.stack([before, now])).reshape(2, len(order), -1)
    ends = np.where(np.isfinite(both), both, 0).max(axis=(0, 2)).reshape(-1, *(1,) * (before.ndim - 1))
    ends = np.where(ends > 0, ends, 1.0)
    if (drawers := _drawers(comparison, order)) is not None:
        rows = []
        for k, (drawn, end) in enumerate(zip(drawers, ends.reshape(-1), strict=True)):
            maps = [drawn(one, float(end), "seismic") for one in (before[k], now[k], now[k] - before[k])]
            given = drawn(0 * before[k], 1.0, "seismic")
            rows.append(
                {"input": given} | _classes(comparison, int(order[k]), given) | dict(zip(_MAPS, maps, strict=True))
            )
        return rows
    with np.errstate(invalid="ignore"):
        maps = [montage(colours(values / ends)) for values in (before, now, now - before)]
    outlines = [montage(mask[order][..., None].astype(np.uint8))[..., 0] for mask in comparison.masks.values()]
    images = comparison.now.images[order]
    rows = []
    for k in range(len(order)):
        given = _fitted(np.ascontiguousarray(np.broadcast_to(images[k], (*images[k].shape[:2], 3))), [])
        shown = [_fitted(values[k], [mask[k].astype(np.bool_) for mask in outlines]) for values in maps]
        rows.append(
            {"input": given} | _classes(comparison, int(order[k]), given) | dict(zip(_MAPS, shown, strict=True))
        )
    return rows


def _classes(comparison: Comparison, probe: int, given: NDArray[np.uint8]) -> dict[str, NDArray[np.uint8]]:
    """Labels and predictions of all places over a probe's picture, in its size; of tokens and time steps as a band."""
    sides = [side.places for side in (comparison.before, comparison.now)]
    old, new = (None if side is None else side.predicted for side in sides)
    labels = next((side.labels for side in sides[::-1] if side is not None and side.labels is not None), None)
    found = {}
    for name, classes in (("labels", labels), ("predicted before", old), ("predicted now", new)):
        if classes is not None:
            is_band = classes.ndim == 2
            height, ground = (_STRIP, None) if is_band else (given.shape[0], given)
            found[name] = paint_classes(classes[probe : probe + 1], ground, (height, given.shape[1]))[0]
    return found


def _drawers(comparison: Comparison, order: NDArray[np.intp]) -> list[DrawnInputs] | None:
    """What draws each probe as words, bars or curves; None where probes are pictures, or are not known as more."""
    known = comparison.now.shown or comparison.before.shown
    drawers = [] if known is None else [drawn_inputs(known, int(i)) for i in order]
    return None if not drawers or any(one is None for one in drawers) else [one for one in drawers if one is not None]


def _fitted(picture: NDArray[np.uint8], masks: list[NDArray[np.bool_]]) -> NDArray[np.uint8]:
    """A picture in the size of the page: whole multiples of its pixels, or made smaller."""
    height, width = picture.shape[:2]
    zoom = max(1, _SIDE // max(height, width))
    rows = max(zoom, _STRIP) if height == 1 else zoom
    large = enlarge(picture, (rows, zoom))
    for mask in masks:
        large = outline(large, mask, (rows, zoom))
    if max(large.shape[:2]) <= 1.5 * _SIDE:
        return large
    image = Image.open(io.BytesIO(png(large)))
    image.thumbnail((_SIDE, _SIDE), Image.Resampling.BOX)
    return np.asarray(image)
