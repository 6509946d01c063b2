"""Which run of a log directory a fit goes on with: one whose model it trains, or a new one beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from lrp_monitor.store.folders import new_run_folder
from lrp_monitor.store.format import StoreError
from lrp_monitor.training.axis import Place, Start, start_of_fit
from lrp_monitor.training.look import Targets, View
from lrp_monitor.training.options import Options
from lrp_monitor.training.past import Norms, Past
from lrp_monitor.training.reached import Reached, Sample, reached_in, sample
from lrp_monitor.training.recorder import Recorder


@dataclass
class Choice:
    """The run that a fit logs to, where it begins there, and what the model says of the probes at that point.

    left: where an earlier fit of this process left this model in that run, or None. notice: what has to be told of
    another model that was there, or empty.
    """

    run_dir: str
    past: Past
    start: Start
    view: View
    left: Reached | None = None
    notice: str = ""


class Chooser:
    """Chooses for one fit. Raises StoreError where the model is not that of a run and `on_other_model` is "raise".

    steps: batches an epoch, None where not known. iterations: the optimizer's count. meta: of this session.
    """

    def __init__(
        self,
        options: Options,
        model: keras.Model,
        recorder: Recorder,
        meta: dict[str, Any],
        initial_epoch: int,
        steps: int | None,
        iterations: int,
    ) -> None:
        self._options, self._recorder, self._model, self._meta = options, recorder, model, meta
        self._fit = (initial_epoch, steps, iterations)
        self._views: dict[bytes, View] = {}
        self._norms: Norms | None = None
        self._sample: Sample | None = None

    def choose(self, runs: Sequence[tuple[str, Past]]) -> Choice:
        """runs: (folder, records) of those that are there, in the order in which they were begun."""
        fixed = self._recorder.targets
        latest = runs[::-1]
        for attempt in (self._left, self._logged, self._believed):
            for run_dir, past in latest[:1] if attempt == self._believed else latest:
                if past.meta.get("classes", self._meta["classes"]) != self._meta["classes"]:
                    continue
                targets = past.targets if fixed is None else fixed
                start = attempt(run_dir, past, targets)
                if start is not None:
                    past.check_axis(self._options.schedule.axis, run_dir)
                    left = reached_in(run_dir) if attempt == self._left else None
                    return self._chosen(run_dir, past, start, targets, left)
        if not runs:
            return self._new(self._options.run_dir, fixed, "")
        run_dir, past = latest[0]
        reason = f"the model is not the one last logged in {run_dir} ({self._difference(past)})"
        if self._options.on_other_model == "raise":
            raise StoreError(
                f'{reason}, and on_other_model="raise" refuses it: give each model a log_dir of its own ("{{trial}}" '
                'in it is replaced by a number for each), or on_other_model="new_run" or "continue"'
            )
        if self._options.on_other_model == "continue":
            past.check_axis(self._options.schedule.axis, run_dir)
            targets = past.targets if fixed is None else fixed
            start = self._start(past, targets, reached=past.places[-1])
            assert start is not None
            return self._chosen(run_dir, past, start, targets, notice=f"{reason}: its log goes on with this one")
        folder = new_run_folder(self._options.log_dir)
        return self._new(
            folder,
            fixed,
            f"{reason}: this fit is logged as a run of its own, {folder}. Give each model a log_dir of its own "
            '("{trial}" in it is replaced by a number for each), or choose with on_other_model="continue" or "raise"',
        )

    # ---- the three ways in which a run can be this model's

    def _left(self, run_dir: str, past: Past, targets: Targets) -> Start | None:
        """An earlier fit of this process left the model there, and it has not been set back to the run's start."""
        left, now = reached_in(run_dir), self._now()
        if left is None or not left.knows(self._model, now):
            return None
        first, last = past.places[0], past.places[-1]
        set_back = not left.unchanged(now) and self._same(past, first, targets)
        if set_back and (left.place > last or not self._same(past, last, targets)):
            return None
        # What was logged and then not reached again (a fit that was interrupted) is not logged a second time.
        return self._start(past, targets, reached=max(left.place, last))

    def _logged(self, run_dir: str, past: Past, targets: Targets) -> Start | None:
        """The model is that of the last record, or the one that `initial_epoch` names."""
        left = reached_in(run_dir)
        if self._fit[0] == 0 and left is not None and left.weights is not None and left.place > past.places[-1]:
            return None  # the run went on behind its last record
        return self._start(past, targets)

    def _believed(self, run_dir: str, past: Past, targets: Targets) -> Start | None:
        """`initial_epoch` says that a training goes on whose state was not logged."""
        other = past.meta.get("parameters", self._meta["parameters"]) != self._meta["parameters"]
        if self._fit[0] == 0 or other:
            return None
        return self._start(past, targets, believed=True)

    def _start(
        self,
        past: Past,
        targets: Targets,
        reached: Place | None = None,
        believed: bool = False,
    ) -> Start | None:
        schedule, (initial_epoch, steps, iterations) = self._options.schedule, self._fit
        return start_of_fit(
            schedule.axis,
            initial_epoch,
            steps,
            iterations,
            past.places,
            lambda place: self._same(past, place, targets),
            lambda place: schedule.due(place.epoch, place.batch),
            reached=reached,
            cut_off=past.cut_off,
            believed=believed,
        )

    # ---- what the model is

    def _same(self, past: Past, place: Place, targets: Targets) -> bool:
        return past.same(place, self._look(targets).statistics, self._weight_norms)

    def _look(self, targets: Targets) -> View:
        key = targets.tobytes() if isinstance(targets, np.ndarray) else str(id(targets)).encode()
        if key not in self._views:
            self._recorder.targets = targets
            self._views[key] = self._recorder.look()
        return self._views[key]

    def _weight_norms(self) -> Norms:
        if self._norms is None:
            self._norms = self._recorder.weight_norms()
        return self._norms

    def _now(self) -> Sample:
        if self._sample is None:
            self._sample = sample(self._model)
        return self._sample

    def _difference(self, past: Past) -> str:
        for key, what in (("parameters", "parameters"), ("classes", "classes")):
            if key in past.meta and past.meta[key] != self._meta[key]:
                return f"that one has {past.meta[key]} {what}, this one {self._meta[key]}"
        return "its weights are others"

    # ---- the choice

    def _new(self, run_dir: str, targets: Targets, notice: str) -> Choice:
        start = self._start(Past(), targets)
        assert start is not None
        return self._chosen(run_dir, Past(), start, targets, notice=notice)

    def _chosen(
        self,
        run_dir: str,
        past: Past,
        start: Start,
        targets: Targets,
        left: Reached | None = None,
        notice: str = "",
    ) -> Choice:
        view = self._look(targets)
        # A class that no log has fixed yet.
        unfixed = targets is None or (isinstance(targets, np.ndarray) and bool((targets < 0).any()))
        self._recorder.targets = np.asarray(view.explanation.target, np.int64) if unfixed else targets
        return Choice(run_dir, past, start, view, left, notice)
