"""Which run of a log directory a fit goes on with: one whose model it trains, or a new one beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from lrp_monitor.store.folders import new_run_folder
from lrp_monitor.store.format import StoreError
from lrp_monitor.training.options import Options
from lrp_monitor.training.probes.explained import ExplainedProbes, Targets
from lrp_monitor.training.record_builder import RecordBuilder
from lrp_monitor.training.steps.existing_run import ExistingRun, Norms
from lrp_monitor.training.steps.fit_end import Reached, Sample, reached_in, sample
from lrp_monitor.training.steps.position import Position, ResumePoint, resume_point


@dataclass
class Choice:
    """The run that a fit logs to, where it begins there, and the probes as explained at that point.

    Attributes:
        left: where an earlier fit of this process left this model in that run, or None.
        notice: the warning about another model that was there, or empty.
    """

    run_dir: str
    existing: ExistingRun
    start: ResumePoint
    explained: ExplainedProbes
    left: Reached | None = None
    notice: str = ""


class Chooser:
    """Chooses for one fit. Raises StoreError where the model is not that of a run and `on_other_model` is "raise".

    Args:
        steps: batches an epoch, None where not known.
        iterations: the optimizer's count.
        meta: of this session.
    """

    def __init__(
        self,
        options: Options,
        model: keras.Model,
        record_builder: RecordBuilder,
        meta: dict[str, Any],
        initial_epoch: int,
        steps: int | None,
        iterations: int,
    ) -> None:
        self._options, self._record_builder, self._model, self._meta = options, record_builder, model, meta
        self._fit = (initial_epoch, steps, iterations)
        self._explained: dict[bytes, ExplainedProbes] = {}
        self._norms: Norms | None = None
        self._sample: Sample | None = None

    def choose(self, runs: Sequence[tuple[str, ExistingRun]]) -> Choice:
        """runs: (folder, records) of those that are there, in the order in which they were begun."""
        fixed = self._record_builder.targets
        latest = runs[::-1]
        for attempt in (self._left, self._logged, self._believed):
            for run_dir, existing in latest[:1] if attempt == self._believed else latest:
                if existing.meta.get("classes", self._meta["classes"]) != self._meta["classes"]:
                    continue
                targets = existing.targets if fixed is None else fixed
                start = attempt(run_dir, existing, targets)
                if start is not None:
                    existing.check_axis(self._options.schedule.axis, run_dir)
                    left = reached_in(run_dir) if attempt == self._left else None
                    return self._chosen(run_dir, existing, start, targets, left)
        if not runs:
            return self._new(self._options.run_dir, fixed, "")
        run_dir, existing = latest[0]
        reason = f"the model is not the one last logged in {run_dir} ({self._difference(existing)})"
        if self._options.on_other_model == "raise":
            raise StoreError(
                f'{reason}, and on_other_model="raise" refuses it: give each model a log_dir of its own ("{{trial}}" '
                'in it is replaced by a number for each), or on_other_model="new_run" or "continue"'
            )
        if self._options.on_other_model == "continue":
            existing.check_axis(self._options.schedule.axis, run_dir)
            targets = existing.targets if fixed is None else fixed
            start = self._start(existing, targets, reached=existing.positions[-1])
            assert start is not None
            return self._chosen(run_dir, existing, start, targets, notice=f"{reason}: its log goes on with this one")
        folder = new_run_folder(self._options.log_dir)
        return self._new(
            folder,
            fixed,
            f"{reason}: this fit is logged as a run of its own, {folder}. Give each model a log_dir of its own "
            '("{trial}" in it is replaced by a number for each), or choose with on_other_model="continue" or "raise"',
        )

    # ---- the three ways in which a run can be this model's

    def _left(self, run_dir: str, existing: ExistingRun, targets: Targets) -> ResumePoint | None:
        """An earlier fit of this process left the model there, and it has not been set back to the run's start."""
        left, now = reached_in(run_dir), self._now()
        if left is None or not left.knows(self._model, now):
            return None
        first, last = existing.positions[0], existing.positions[-1]
        set_back = not left.unchanged(now) and self._same(existing, first, targets)
        if set_back and (left.position > last or not self._same(existing, last, targets)):
            return None
        # What was logged and then not reached again (a fit that was interrupted) is not logged a second time.
        return self._start(existing, targets, reached=max(left.position, last))

    def _logged(self, run_dir: str, existing: ExistingRun, targets: Targets) -> ResumePoint | None:
        """The model is that of the last record, or the one that `initial_epoch` names."""
        left = reached_in(run_dir)
        if (
            self._fit[0] == 0
            and left is not None
            and left.weights is not None
            and left.position > existing.positions[-1]
        ):
            return None  # the run went on behind its last record
        return self._start(existing, targets)

    def _believed(self, run_dir: str, existing: ExistingRun, targets: Targets) -> ResumePoint | None:
        """`initial_epoch` continues a training whose state was not logged."""
        other = existing.meta.get("parameters", self._meta["parameters"]) != self._meta["parameters"]
        if self._fit[0] == 0 or other:
            return None
        return self._start(existing, targets, believed=True)

    def _start(
        self,
        existing: ExistingRun,
        targets: Targets,
        reached: Position | None = None,
        believed: bool = False,
    ) -> ResumePoint | None:
        schedule, (initial_epoch, steps, iterations) = self._options.schedule, self._fit
        return resume_point(
            schedule.axis,
            initial_epoch,
            steps,
            iterations,
            existing.positions,
            lambda position: self._same(existing, position, targets),
            lambda position: schedule.due(position.epoch, position.batch),
            reached=reached,
            cut_off=existing.cut_off,
            believed=believed,
        )

    # ---- what the model is

    def _same(self, existing: ExistingRun, position: Position, targets: Targets) -> bool:
        return existing.same(position, self._explain(targets).statistics, self._weight_norms)

    def _explain(self, targets: Targets) -> ExplainedProbes:
        key = targets.tobytes() if isinstance(targets, np.ndarray) else str(id(targets)).encode()
        if key not in self._explained:
            self._record_builder.targets = targets
            self._explained[key] = self._record_builder.explain()
        return self._explained[key]

    def _weight_norms(self) -> Norms:
        if self._norms is None:
            self._norms = self._record_builder.weight_norms()
        return self._norms

    def _now(self) -> Sample:
        if self._sample is None:
            self._sample = sample(self._model)
        return self._sample

    def _difference(self, existing: ExistingRun) -> str:
        for key, what in (("parameters", "parameters"), ("classes", "classes")):
            if key in existing.meta and existing.meta[key] != self._meta[key]:
                return f"that one has {existing.meta[key]} {what}, this one {self._meta[key]}"
        return "its weights are others"

    # ---- the choice

    def _new(self, run_dir: str, targets: Targets, notice: str) -> Choice:
        start = self._start(ExistingRun(), targets)
        assert start is not None
        return self._chosen(run_dir, ExistingRun(), start, targets, notice=notice)

    def _chosen(
        self,
        run_dir: str,
        existing: ExistingRun,
        start: ResumePoint,
        targets: Targets,
        left: Reached | None = None,
        notice: str = "",
    ) -> Choice:
        explained = self._explain(targets)
        # A class that no log has fixed yet.
        unfixed = targets is None or (isinstance(targets, np.ndarray) and bool((targets < 0).any()))
        self._record_builder.targets = np.asarray(explained.explanation.target, np.int64) if unfixed else targets
        return Choice(run_dir, existing, start, explained, left, notice)
