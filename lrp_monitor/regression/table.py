"""A comparison as a short table for a terminal."""

from __future__ import annotations

import numpy as np

from lrp_monitor.regression.comparison import Comparison
from lrp_monitor.regression.snapshot import Snapshot
from lrp_monitor.store.label_sets import words
from lrp_monitor.text import aligned, number, percent, printable

_WORST = 6
_MASKS = 2
_NAME = 24
_HEADINGS = {"cosine": "cosine", "iou": "IoU", "js": "JS", "relative_l2": "rel. L2", "logits": "logits"}
_PLACES = {"places": "places %"}


def table(comparison: Comparison) -> str:
    """The verdict, every check, and the worst probes with their numbers; `*` marks what is beyond its limit.

    At most 30 lines, and 110 columns unless a check says more.
    """
    verdict = "same" if comparison.ok else "CHANGED"
    n = len(comparison.now)
    lines = [f"heatmaps {verdict}: {n} probe{'s' * (n != 1)}, tier {comparison.tier}"]
    width = max(len(_safe(check.name)) for check in comparison.checks)
    shown = sorted(comparison.checks, key=lambda check: check.ok)
    for check in shown[:12]:
        state = "FAIL" if not check.ok else "ok" if check.limited else "--"
        text = check.text if check.limited else f"{check.text} (no limit in this tier)"
        lines.append(f"  {state:<4} {_safe(check.name, 32):<{min(width, 32)}}  {_safe(text, 200)}")
    if len(shown) > 12:
        lines.append(f"  ... and {len(shown) - 12} checks more")
    lines += [f"  note {_safe(note, 200)}" for note in comparison.notes[:3]]
    if not comparison.ok:
        lines += ["", *_probes(comparison)]
    return "\n".join(lines)


def _probes(comparison: Comparison) -> list[str]:
    masks = sorted(comparison.mask_mass, key=lambda mask: _is_ok(comparison, mask))[:_MASKS]
    of_maps = comparison.now.places is not None
    headings = _HEADINGS | (_PLACES if "places" in comparison.metrics else {})
    last = [] if of_maps else ["value" if comparison.now.explains == "number" else "class"]
    heads = [*headings.values(), *(f"{_safe(mask, 12)} %" for mask in masks), *last]
    rows = [["", *heads]]
    for i in comparison.worst_first[:_WORST]:
        row = [_safe(comparison.now.names[i], _NAME)]
        for metric in headings:
            mark = "*" if metric in comparison.beyond and comparison.beyond[metric][i] else " "
            row.append(_number(comparison.metrics[metric][i], metric) + mark)
        for mask in masks:
            before, now = comparison.mask_mass[mask]
            mark = "*" if comparison.risen(mask)[i] else " "
            row.append(f"{_percent(before[i])} -> {_percent(now[i])}{mark}" if np.isfinite(now[i]) else "- ")
        if not of_maps:
            row.append(" -> ".join(_safe(text, 14) for text in predictions(comparison, int(i))))
        rows.append(row)
    drawn = [f"  {line}" for line in aligned(rows)]
    left = len(comparison.now) - _WORST
    return [*drawn, f"  ... and {left} probes more"] if left > 0 else drawn


def _is_ok(comparison: Comparison, mask: str) -> bool:
    return all(check.ok for check in comparison.checks if check.name == f"mask {mask}")


def predictions(comparison: Comparison, probe: int) -> list[str]:
    """What is predicted of a probe now; what was and is where it is a number, or changed."""
    both = [_predicted(comparison, side, probe) for side in (comparison.before, comparison.now)]
    return both if comparison.flipped[probe] or comparison.now.explains == "number" else both[1:]


def _predicted(comparison: Comparison, side: Snapshot, probe: int) -> str:
    """What one side predicts: the class, by its name where there is one, the labels of a set, a number, or "none"."""
    if comparison.now.explains == "number":
        return number(float(side.logit[probe]))
    names = comparison.now.meta.get("class_names") or ()
    if side.predicted_sets is not None and comparison.now.predicted_sets is not None:
        return words(side.predicted_sets[probe], names)
    index = int(side.predictions[probe])
    if index < 0:
        return "none"
    return str(names[index]) if index < len(names) else str(index)


def _number(value: float, metric: str) -> str:
    if not np.isfinite(value):
        return str(value)
    if metric == "cosine":
        return f"{value:.5f}"  # its limits lie at .9999
    if metric == "places":
        return _percent(value)
    return number(value)


def _percent(share: float) -> str:
    return percent(share).removesuffix(" %")


def _safe(text: str, width: int = _NAME) -> str:
    """Text without what moves a terminal's cursor or colours it, cut to a width."""
    plain = printable(text)
    return plain if len(plain) <= width else plain[: width - 1] + "…"
