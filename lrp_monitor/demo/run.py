"""The whole demo: both trainings into one log directory, figures read back from it, films drawn."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

import keras

from lrp_monitor.console import Progress
from lrp_monitor.demo import folder
from lrp_monitor.demo.report import Report, RunFigures, figures, write_films
from lrp_monitor.demo.train import RUNS, Settings, train


class _Advance(keras.callbacks.Callback):  # type: ignore[misc]  # keras has no types
    """Moves a progress bar. At a batch's begin: a hook at its end would make Keras wait for each batch."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress = progress

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self._progress.advance()


def run_demo(log_dir: Path, settings: Settings, progress: Progress, started: float) -> Report:
    """Trains and logs both runs into a folder that `folder.prepare` has made ready.

    Saves each model beside its run.

    Args:
        started: `time.monotonic()` when the command began.
    """
    found: dict[str, RunFigures] = {}
    for name in RUNS:
        progress.part(f"training the {name} model")
        before = time.monotonic()
        outcome = train(name, log_dir / name, settings, callbacks=[_Advance(progress)])
        seconds = time.monotonic() - before
        outcome.model.save(log_dir / name / folder.MODEL)
        found[name] = figures(
            log_dir, name, outcome.validation_accuracy, outcome.recall_without_stamp, round(seconds, 1)
        )
    progress.part("drawing the films")
    write_films(log_dir)
    report = Report(
        str(log_dir),
        asdict(settings),
        found["planted"],
        found["control"],
        round(time.monotonic() - started, 1),
    )
    folder.record(log_dir, report.to_dict())
    return report
