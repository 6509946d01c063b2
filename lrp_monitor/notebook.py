"""A logged run as a notebook shows it: a small picture as the value of a cell, the whole page in a frame."""

from __future__ import annotations

import base64
import html
import math
import os
import re
from collections.abc import Sequence
from typing import Any

from lrp_monitor.store import reader
from lrp_monitor.store.folders import run_name
from lrp_monitor.store.format import PLUGIN_NAME, StoreError

_PROBES, _STEPS, _CURVES = 4, 8, 6
_TELLING = ("mask_mass", "drift", "probability", "accuracy", "conservation")


def open_run(path: str | os.PathLike[str], *, within: str | None = None) -> Run:
    """Opens a logged run for reading.

    ``path``: the log directory given to the monitor, a run's directory in it (``<log_dir>/lrp``), or the store's
    folder; or the URL of one (``s3://bucket/run``). Of a log directory with several runs (``lrp``, ``lrp-2`` ...) the
    one that was begun last is opened. ``within``: files that lead outside that folder are not read.
    Raises StoreError where there is no run, naming those beneath ``path``, or where its probes are damaged.
    """
    return Run(reader.run_storage(path, within=within))


class Run(reader.Run):
    """A logged run that shows itself in notebooks: as the value of a cell, and with ``show()``."""

    def _repr_html_(self) -> str:
        """What the run is, how its curves stand, and a few heatmaps over training; no script, and small."""
        name, steps = self._name, self.steps
        about = [f"{len(steps)} logged steps", f"{len(self.probes)} probes"]
        about += [str(self.meta[key]) for key in ("model", "composite") if self.meta.get(key)]
        body = f"<p><b>{html.escape(name)}</b>: {html.escape(', '.join(about))}</p>"
        if not steps:
            return f"<div>{body}<p>Nothing is logged yet.</p></div>"
        body += self._strips_html() + self._curves_html()
        return f"<div>{body}<p>The whole page: <code>run.show()</code></p></div>"

    def show(self, *, height: int = 760, max_mb: float = 16.0, probes: Sequence[int | str] | None = None) -> Frame:
        """The whole page with this run, in a frame of the notebook; as the last value of a cell.

        The frame holds the data itself and asks for nothing: it shows what is logged now, stays as it is in a saved
        notebook, and takes at most ``max_mb`` of it. Where all would take more, fewer steps are shown, evenly spread,
        or no histograms, then no heatmaps by channel, then no features: the frame says so. ``height`` in pixels;
        ``probes``: numbers or names, default all. Raises StoreError where nothing is logged yet, KeyError for a probe
        that is not there, ValueError where a single step does not fit.
        """
        from lrp_monitor.pictures import film
        from lrp_monitor.plugin import page_file

        if not self.steps:
            raise StoreError(f"{self.path}: nothing is logged yet")
        chosen = list(range(len(self.probes))) if probes is None else [self._probe(probe) for probe in probes]
        has = {"channels": page_file.has_channels(self, self.steps), "features": bool(self.feature_layers)}
        count, kept = len(self.steps), ["histograms", *(part for part, there in has.items() if there)]
        left_out: list[str] = []
        while True:
            steps = film.spread(self.steps, count)
            some = {part: part in kept for part in ("histograms", "channels", "features")}
            file = page_file.Part(self._name, self, steps, chosen, **some)
            try:
                content, _ = page_file.build([file], max_mb)
            except page_file.TooLargeError:
                if count == 1 and not kept:
                    raise
                if kept and count <= len(self.steps) // 4 + 1:
                    left_out.append(kept.pop(0))
                    count = len(self.steps)
                else:
                    count = max(1, count // 2)
                continue
            notes = [] if count == len(self.steps) else [f"{count} of {len(self.steps)} logged steps, evenly spread"]
            notes += [f"without {part}" for part in left_out]
            return Frame(content.decode("utf-8"), height, "; ".join(notes))

    @property
    def _name(self) -> str:
        """The run as a person calls it, by the folder above the store's own two."""
        return run_name(re.sub(rf"[/\\]plugins[/\\]{PLUGIN_NAME}[/\\]?$", "", self.path))

    def _strips_html(self) -> str:
        from lrp_monitor.pictures import film, render
        from lrp_monitor.pictures.logged import strip_of

        stored = [step for step in film.spread(self.steps, _STEPS) if self.record(step).maps]
        if not stored:
            return ""
        strips = []
        for number in range(min(_PROBES, len(self.probes))):
            strips.append(strip_of(self, number, stored, self.probes.names[number][:40]))
        picture = render.png(film.sheet(strips, [f"step {step}" for step in stored]))
        data = base64.b64encode(picture).decode("ascii")
        words = (
            f"Heatmaps of {len(strips)} probes at {len(stored)} steps: red speaks for the explained class, blue against"
        )
        return f'<img alt="{words}" title="{words}" style="max-width: 100%" src="data:image/png;base64,{data}">'

    def _curves_html(self) -> str:
        last = self.record(self.steps[-1])
        rank = {kind: place for place, kind in enumerate(_TELLING)}
        known = [tag for tag in last.scalars if tag.split("/")[:2][-1] in rank and tag.startswith("lrp/")]
        telling = sorted(known, key=lambda tag: (rank[tag.split("/")[1]], tag))[:_CURVES]
        rows = "".join(
            f"<tr><td style='text-align: left'>{html.escape(tag)}</td><td>{_number(last.scalars[tag])}</td></tr>"
            for tag in telling
        )
        return f"<table><tr><th>at step {last.step}</th><th></th></tr>{rows}</table>" if rows else ""


class Frame:
    """The page in a frame: what `Run.show` gives. A notebook displays it."""

    def __init__(self, page: str, height: int, note: str) -> None:
        self._page, self._height, self._note = page, height, note

    def _repr_html_(self) -> str:
        # Without an origin of its own: what the page does cannot reach the notebook around it.
        note = f"<p>{html.escape(self._note)}</p>" if self._note else ""
        style = f"width: 100%; height: {int(self._height)}px; border: 0"
        return (
            f'{note}<iframe title="The LRP page of this run" sandbox="allow-scripts allow-downloads" style="{style}" '
            f'srcdoc="{html.escape(self._page)}"></iframe>'
        )


def _number(value: Any) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "not finite"
