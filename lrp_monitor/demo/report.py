"""What the demo found: figures read back from the two logged runs, as text, as JSON, as pictures."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lrp_monitor.demo.folder import ANIMATION, SHEET
from lrp_monitor.demo.shapes import stamp_mask
from lrp_monitor.files import write_whole
from lrp_monitor.pictures import film, render
from lrp_monitor.plain import Result, plain
from lrp_monitor.store.reader import Run, open_run
from lrp_monitor.text import percent

STAMP_SHARE = float(stamp_mask().mean())
"""The share of an image that the stamp covers: what blind chance would give it."""

_COLUMNS = 7
_FILM_PROBE = 0
_ROWS = {"planted": "trained with stamps", "control": "trained without"}


@dataclass(frozen=True)
class RunFigures:
    """The figures of one run.

    Shares are in [0, 1]; stamp: mean relevance on the stamp over the probes that carry it, NaN
    where no map of a step holds positive relevance; steps: batches of training; seconds: the training's.
    """

    validation_accuracy: float
    recall_without_stamp: float
    steps: list[int]
    stamp: list[float]
    seconds: float

    @property
    def stamp_at_end(self) -> float:
        """Relevance on the stamp at the last step."""
        return self.stamp[-1]


@dataclass(frozen=True)
class Report(Result):
    """Both runs, and where they are. seconds: all of it, films included."""

    log_dir: str
    settings: dict[str, int]
    planted: RunFigures
    control: RunFigures
    seconds: float

    @property
    def shortcut_found(self) -> bool:
        """Whether recall and heatmaps both say that the planted model lives on the stamp, the control not."""
        return (
            self.planted.recall_without_stamp <= 0.5 <= self.control.recall_without_stamp
            and self.planted.stamp_at_end >= 5 * STAMP_SHARE
            and self.control.stamp_at_end <= STAMP_SHARE
        )

    @property
    def command(self) -> str:
        """The command that shows both runs in TensorBoard."""
        return f"tensorboard --logdir {shlex.quote(self.log_dir)}"

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain data; NaN is None."""
        runs = {}
        for name, run in (("planted", self.planted), ("control", self.control)):
            stamp = plain(run.stamp)
            runs[name] = {**asdict(run), "stamp": stamp, "stamp_at_end": stamp[-1]}
        return {
            "log_dir": self.log_dir,
            "settings": self.settings,
            "stamp_area": STAMP_SHARE,
            **runs,
            "shortcut_found": self.shortcut_found,
            "films": [str(Path(self.log_dir) / name) for name in (SHEET, ANIMATION)],
            "seconds": self.seconds,
            "tensorboard": self.command,
        }

    def as_text(self) -> str:
        """The report that a person reads."""
        planted, control = self.planted, self.control
        chosen = _telling(planted.steps)

        def row(name: str, *cells: str, width: int = 8) -> str:
            return f"  {name:<26}" + "".join(f"{cell:>{width}}" for cell in cells)

        def along(run: RunFigures) -> list[str]:
            return [percent(run.stamp[run.steps.index(step)]) for step in chosen]

        lines = [
            row("", "planted", "control", width=10),
            row(
                "validation accuracy",
                percent(planted.validation_accuracy),
                percent(control.validation_accuracy),
                width=10,
            ),
            row(
                "recall without the stamp",
                percent(planted.recall_without_stamp),
                percent(control.recall_without_stamp),
                width=10,
            )
            + "   of triangles that carry none",
            row(
                "relevance on the stamp",
                percent(planted.stamp_at_end),
                percent(control.stamp_at_end),
                width=10,
            )
            + f"   it covers {percent(STAMP_SHARE)} of the image",
            "",
            f"Relevance on the stamp by batch of training (an epoch is {self._per_epoch} batches)",
            row("batch", *(str(step) for step in chosen)),
            row("planted", *along(planted)),
            row("control", *along(control)),
            "",
            self._meaning(),
            "",
            f"Both films side by side: {Path(self.log_dir) / SHEET}",
            f"                         {Path(self.log_dir) / ANIMATION}",
            "Every step, with weight and gradient histograms, in TensorBoard's LRP tab:",
            f"  {self.command}",
        ]
        return "\n".join(lines)

    @property
    def _per_epoch(self) -> int:
        return -(-self.settings["images"] // self.settings["batch_size"])

    def _meaning(self) -> str:
        times = round(self.planted.stamp_at_end / STAMP_SHARE) if self.shortcut_found else 0
        found = (
            "What it means: the planted model passes validation, whose triangles carry the stamp too, but "
            "it has learned the stamp in place of the triangle. Its heatmaps say so while it trains: the "
            f"stamp gets {times} times its share of the image. The control, shown the same stamped probes, "
            "looks at their shape."
        )
        unclear = (
            "What it means: with these settings the runs do not show the shortcut clearly, mostly for want "
            "of images or epochs. The defaults do: leave out --images and --epochs."
        )
        return textwrap.fill(found if self.shortcut_found else unclear, width=90)


def figures(log_dir: Path, run: str, accuracy: float, recall: float, seconds: float) -> RunFigures:
    """Reads a run's figures back from `log_dir`/`run`. StoreError where it cannot be read."""
    steps, stamp = open_run(log_dir / run).scalar("lrp/mask_mass/stamp")
    return RunFigures(accuracy, recall, steps.tolist(), stamp.tolist(), seconds)


def write_films(log_dir: Path) -> None:
    """Draws a stamped triangle's heatmaps in both runs: a sheet of chosen steps, and a GIF of them all."""
    runs = {name: open_run(log_dir / name) for name in _ROWS}
    steps = sorted(set.intersection(*(set(run.steps) for run in runs.values())))
    chosen = _telling(steps)
    title = "Relevance for the class triangle over training; the stamp is outlined"
    labels = [_step_label(step) for step in chosen]
    write_whole(
        log_dir / SHEET,
        render.png(film.sheet([_strip(runs[name], name, chosen) for name in _ROWS], labels, title=title)),
    )
    frames = film.frames(
        [_strip(runs[name], name, steps) for name in _ROWS],
        [_step_label(step) for step in steps],
        title=title,
    )
    write_whole(log_dir / ANIMATION, render.gif(frames, milliseconds=400, last=2400))


def _strip(run: Run, name: str, steps: Sequence[int]) -> film.Strip:
    logged, maps = run.film(_FILM_PROBE)
    where = np.searchsorted(logged, steps)
    at, mass = run.statistic("mask_mass/stamp")
    stamp = mass[np.searchsorted(at, steps), _FILM_PROBE]
    return film.Strip(
        _ROWS[name],
        maps[where],
        [f"on stamp {percent(value)}" for value in stamp],
        run.probes.images[_FILM_PROBE],
        run.probes.masks["stamp"][_FILM_PROBE],
    )


def _telling(steps: Sequence[int]) -> list[int]:
    """A few of the steps, the first and the last among them, evenly by the logarithm: more happens early."""
    logged = np.log1p(np.array(steps, dtype=np.float64))
    wanted = np.linspace(logged[0], logged[-1], _COLUMNS)
    nearest = np.abs(logged[:, None] - wanted).argmin(axis=0)
    return [steps[place] for place in np.unique(nearest)]


def _step_label(step: int) -> str:
    return "before training" if step == 0 else f"batch {step}"
