"""The demo of one kind: both trainings into one log directory, and what the runs then hold, as text or plain data."""

from __future__ import annotations

import math
import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lrp_monitor.console import Progress
from lrp_monitor.demo import folder
from lrp_monitor.demo.kinds import KINDS, RUNS, train_kind
from lrp_monitor.plain import Result, plain_number
from lrp_monitor.store.reader import open_run
from lrp_monitor.text import percent

_UNSEEN = 500


@dataclass(frozen=True)
class KindFigures:
    """The figures of one run.

    Accuracy on samples drawn like its training's, and the mean share of positive relevance on the shortcut before
    training and at the end (NaN where no probe has one), all in [0, 1]; seconds of training.
    """

    accuracy: float
    before: float
    end: float
    seconds: float


@dataclass(frozen=True)
class KindReport(Result):
    """Both runs of a kind, and where they are."""

    kind: str
    shortcut: str
    log_dir: str
    runs: dict[str, KindFigures]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain data; NaN is None."""
        return {
            "kind": self.kind,
            "shortcut": self.shortcut,
            "log_dir": self.log_dir,
            **{name: {key: plain_number(value) for key, value in vars(run).items()} for name, run in self.runs.items()},
            "tensorboard": self._command,
        }

    def as_text(self) -> str:
        """The report that a person reads."""
        lines = [f"  {'':<26}{'planted':>10}{'control':>10}"]
        titles = (
            ("accuracy", "accuracy on unseen samples"),
            ("before", "relevance before"),
            ("end", "relevance at the end"),
        )
        for key, title in titles:
            cells = "".join(f"{percent(getattr(self.runs[name], key)):>10}" for name in RUNS)
            lines.append(f"  {title:<26}{cells}" + ("" if key == "accuracy" else f"   on {self.shortcut}"))
        return "\n".join([*lines, f"  {self._command}"])

    @property
    def _command(self) -> str:
        return f"tensorboard --logdir {shlex.quote(self.log_dir)}"


def run_kind(
    kind: str, log_dir: Path, seed: int, epochs: int | None, samples: int | None, progress: Progress
) -> KindReport:
    """Trains and logs both runs of a kind into a folder that `folder.prepare` has made ready.

    Saves each model beside its run.

    Args:
        epochs: of each training; None for the kind's own number.
        samples: to train on; None for the kind's own number.
    """
    chosen = KINDS[kind]
    found = {}
    for name in RUNS:
        progress.part(f"training the {name} model")
        began = time.monotonic()
        model = train_kind(kind, name, log_dir / name, seed, epochs=epochs, samples=samples)
        seconds = round(time.monotonic() - began, 1)
        progress.advance()
        model.save(log_dir / name / folder.MODEL)
        x, y = chosen.make(_UNSEEN, name == "planted", np.random.default_rng((seed, 8)))
        accuracy = float(model.evaluate(x, y, batch_size=250, verbose=0, return_dict=True)["accuracy"])
        _, shares = open_run(log_dir / name).statistic(f"mask_mass/{chosen.shortcut}")
        found[name] = KindFigures(accuracy, _mean(shares[0]), _mean(shares[-1]), seconds)
    report = KindReport(kind, chosen.shortcut, str(log_dir), found)
    folder.record(log_dir, report.to_dict())
    return report


def _mean(shares: Any) -> float:
    known = shares[np.isfinite(shares)]
    return float(known.mean()) if len(known) else math.nan
