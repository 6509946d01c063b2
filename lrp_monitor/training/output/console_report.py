"""What the monitor prints on standard output: before the fit, a line per log, and at the end.

Nothing is printed while Keras' progress bar is drawn: lines wait for the end of the epoch, when the bar's own
line is complete.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from typing import NamedTuple

from lrp_monitor.store.paths import is_url
from lrp_monitor.text import number, percent
from lrp_monitor.training.probes.alerts import of_probes
from lrp_monitor.training.probes.statistics import MASS, MEAN_ERROR, NONFINITE_LOGITS

# What a histogram takes in the event file (at most 200 rows of 24 bytes, usually far fewer), and its scalars.
_EVENT_BYTES_PER_TENSOR = 2900
_EVENT_BYTES_PER_STEP = 1500


class LogSummary(NamedTuple):
    """The part of a log that is printed."""

    step: int
    scalars: dict[str, float]
    not_finite: str = ""
    """What is not finite, and since when; empty where all is."""


def size(byte_count: float) -> str:
    """Bytes as text, decimal: "12 kB", "3.4 MB"."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if byte_count >= factor:
            return f"{byte_count / factor:.1f} {unit}"
    return f"{max(1, round(byte_count / 1e3))} kB"


def step_bytes(store_bytes: int, tensors: int) -> int:
    """Bytes a log takes, store and event file: an estimate. tensors: histograms in the event file."""
    return store_bytes + _EVENT_BYTES_PER_STEP + tensors * _EVENT_BYTES_PER_TENSOR


class ConsoleReport:
    """Prints, and keeps what the summary needs. verbose 0: prints nothing.

    Args:
        axis: "epoch" or "batch", what steps count.
        masks: {mask: probes that carry it}.
        predicted: probes of which a class is predicted, 0 where the output is of another kind.
    """

    def __init__(self, axis: str, verbose: int, masks: Mapping[str, int], predicted: int) -> None:
        self._axis, self._verbose, self._masks, self._predicted = axis, verbose, masks, predicted
        self.first: LogSummary | None = None
        """The state at the fit's start, logged or not."""
        self.last: LogSummary | None = None
        """The last log."""
        self.due = 0
        """Logs that were due so far."""
        self._waiting: list[int] = []
        self._seconds = 0.0

    def plan(self, what: str, logs: int | None, each: int, folder: str, needs: str) -> None:
        """Before training: what is logged, how often, the size it is likely to have, and what explaining needs."""
        much = f"{size(each)} a log" if logs is None else f"{logs} logs, about {size(each * logs)}"
        self._print(f"LRP monitor: {what}: {much} in {folder}")
        self._print(f"LRP monitor: {needs}")

    def continues(self, first: int, last: int, position: int, note: str) -> None:
        """Before training, where the directory holds a run already."""
        held = f"{self._axis} {first}" if first == last else f"{self._axis} {first} to {last}"
        remark = f" ({note})" if note else ""
        self._print(f"LRP monitor: the run there holds {held}; this fit begins at {self._axis} {position}{remark}")

    def logged(self, log: LogSummary, seconds: float) -> None:
        """A log was taken, which cost the training thread so many seconds."""
        self.last = log
        self._waiting.append(log.step)
        self._seconds += seconds

    def print_logs(self) -> None:
        """One line for the logs since the last call, where there were any."""
        if self._waiting and self.last is not None:
            many = len(self._waiting)
            steps = f"{self._axis} {self._waiting[-1]}"
            where = steps if many == 1 else f"{many} logs, {self._axis} {self._waiting[0]} to {self._waiting[-1]}"
            self._print(f"LRP {where}: {', '.join(self._figures(self.last))} ({self._seconds:.2f} s)")
        self._waiting, self._seconds = [], 0.0

    def end(self, stored: set[int], written: int, log_dir: str) -> None:
        """After training: what was logged, how the mask mass moved, and the command that shows it.

        Args:
            stored: the steps that reached the store.
            written: bytes there.
        """
        if stored:
            many, start, stop = len(stored), min(stored), max(stored)
            span = f"{self._axis} {start}" if many == 1 else f"{self._axis} {start} to {stop}"
            text = f"LRP monitor: {many} {'log' if many == 1 else 'logs'} ({span}), {size(written)} in the store"
        else:
            text = "LRP monitor: nothing logged in this fit"
        lost = self.due - len(stored)
        self._print(text + (f"; {lost} failed, see the warning and the run's notes" if lost else ""))
        if self.first is not None and self.last is not None and self.first.step != self.last.step:
            if self.last.not_finite:
                self._print(f"  {self.last.not_finite}")
            for mask in self._masks:
                before, now = (self._share(log.scalars, mask) for log in (self.first, self.last))
                self._print(f"  relevance on {mask}: {before} -> {now}")
        shown = "lrp-monitor tensorboard" if is_url(log_dir) else "tensorboard --logdir"
        self._print(f"  {shown} {shlex.quote(log_dir)}")

    def _print(self, text: str) -> None:
        if self._verbose:
            print(text, flush=True)

    def _figures(self, log: LogSummary) -> list[str]:
        scalars = log.scalars
        found = [log.not_finite] if log.not_finite else []
        found += [f"drift {number(scalars['lrp/drift'], 2)}"] if "lrp/drift" in scalars else []
        found += [f"{mask} {self._share(scalars, mask)}" for mask in self._masks]
        if "lrp/baseline/cosine" in scalars:
            found.append(f"cosine to the baseline {number(scalars['lrp/baseline/cosine'], 2)}")
        broken = int(scalars.get(NONFINITE_LOGITS, 0)) if self._predicted else 0
        without = f"{broken} without a prediction" if broken < self._predicted else "no predictions"
        if "lrp/accuracy" in scalars:
            found.append(f"probes right {percent(scalars['lrp/accuracy'])}{f' ({without})' if broken else ''}")
        elif broken:
            found.append(without)
        if "lrp/label_accuracy" in scalars:
            found.append(f"labels right {percent(scalars['lrp/label_accuracy'])}")
        if MEAN_ERROR in scalars:
            found.append(f"mean absolute error {number(scalars[MEAN_ERROR], 2)}")
        if "lrp/probability" in scalars:
            found.append(f"probability {number(scalars['lrp/probability'], 2)}")
        return found or ["logged"]

    def _share(self, scalars: Mapping[str, float], mask: str) -> str:
        """The mean share on a mask, with the number of probes behind it where these are not all that carry it."""
        behind = of_probes(scalars, mask, self._masks[mask])
        share = scalars.get(f"lrp/{MASS}{mask}", math.nan)
        if math.isnan(share):
            return f"undefined ({behind})" if behind else "undefined"
        return f"{percent(share)} ({behind})" if behind else percent(share)
