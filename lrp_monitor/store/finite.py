"""Which of a run's steps hold numbers that are not finite, and of what: a model that diverged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from lrp_monitor.store.steps import StepHeader

_LARGEST_CLASS = 2.0**53
_SCALARS = {"weights": ("weights/nonfinite",), "gradients": ("gradients/nonfinite", "probe_gradients/nonfinite")}
_WORDS = {"logits": "logits of {} probe{s}", "heatmaps": "heatmaps of {} probe{s}", "weights": "{} weight{s}",
          "gradients": "{} value{s} of the gradient", "loss": "a loss of the epoch"}  # fmt: skip


def class_numbers(values: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Stored numbers of classes, -1 for those that are none."""
    known = np.isfinite(values) & (np.abs(values) < _LARGEST_CLASS)
    return np.where(known, values, -1.0).astype(np.int64)


def without_guesses(statistics: dict[str, npt.NDArray[np.float64]]) -> dict[str, npt.NDArray[np.float64]]:
    """The statistics of a step, with NaN for the prediction of probes whose logits are not finite.

    Earlier versions logged class 0 there, or the class of the NaN. They tell by the explained logit, and by a
    probability that is NaN where those of other probes are not.
    """
    prediction, logit = statistics.get("prediction"), statistics.get("logit")
    if prediction is None or logit is None:
        return statistics
    broken = ~np.isfinite(logit)
    probability = statistics.get("prediction_probability")
    if probability is not None and np.isfinite(probability).any():
        broken |= np.isnan(probability)
    return {**statistics, "prediction": np.where(broken, np.nan, prediction)} if broken.any() else statistics


def nonfinite(header: StepHeader) -> dict[str, int]:
    """What is not finite at a step.

    {"logits": probes, "heatmaps": probes, "weights": values, "gradients": values,
    "loss": 1}, without what is.
    """
    statistics, scalars = header.statistics, header.scalars
    found = {
        kind: int(np.count_nonzero(~np.isfinite(statistics[name])))
        for kind, name in (("logits", "prediction" if "prediction" in statistics else "logit"), ("heatmaps", "sum"))
        if name in statistics
    }
    # Of numbers and maps the scalar counts other units and places than the explained ones, too.
    found["logits"] = max(found.get("logits", 0), _count(scalars.get("lrp/nonfinite/logits", 0.0)))
    found |= {kind: int(sum(_count(scalars.get(tag, 0.0)) for tag in tags)) for kind, tags in _SCALARS.items()}
    found["loss"] = _count(scalars.get("lrp/nonfinite/loss", 0.0))
    return {kind: count for kind, count in found.items() if count}


def _count(value: float) -> int:
    return int(value) if np.isfinite(value) and value > 0 else 0


@dataclass(frozen=True)
class Span:
    """Logged steps in a row at which something was not finite.

    Attributes:
        kind: what is not finite, one of the keys of `nonfinite`.
        first: the first of these steps.
        last: the last one.
        lasts: whether `last` is the last logged step.
        most: the largest count among them.
    """

    kind: str
    first: int
    last: int
    lasts: bool
    most: int

    @property
    def where(self) -> str:
        """Such as "since step 3", "at step 3" or "at steps 3 to 5"."""
        if self.lasts:
            return f"since step {self.first}"
        return f"at step {self.first}" if self.first == self.last else f"at steps {self.first} to {self.last}"

    def __str__(self) -> str:
        return f"{_WORDS[self.kind].format(self.most, s='' if self.most == 1 else 's')} not finite {self.where}"


def spans(headers: Sequence[StepHeader]) -> list[Span]:
    """Where a run was not finite, in the order of the steps and, at one step, of the kinds."""
    found: list[Span] = []
    open_: dict[str, Span] = {}
    for header in headers:
        counts = nonfinite(header)
        found += [open_.pop(kind) for kind in list(open_) if kind not in counts]
        for kind, count in counts.items():
            begun = open_.get(kind)
            first, most = (header.step, count) if begun is None else (begun.first, max(begun.most, count))
            open_[kind] = Span(kind, first, header.step, False, most)
    found += [Span(one.kind, one.first, one.last, True, one.most) for one in open_.values()]
    order = list(_WORDS)
    return sorted(found, key=lambda span: (span.first, order.index(span.kind)))
