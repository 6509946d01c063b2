"""Which trial a fit belongs to, and the log directory with the trial's name in it."""

from __future__ import annotations

import itertools
import os
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from lrp_monitor.training.options import Options, folder

TRIAL = "{trial}"
Folder = str | os.PathLike[str]


def placeholder(log_dir: Folder | Callable[[str], Folder]) -> str:
    """The log directory as text, with "{trial}" where the trial stands; TypeError for anything else."""
    return TRIAL if callable(log_dir) else folder(log_dir)


class Trials:
    """Gives each model that a monitor and its copies meet its log directory.

    Args:
        log_dir: a folder, in which "{trial}" stands for the trial, or a function from the trial's name to the folder.
    """

    def __init__(self, log_dir: Folder | Callable[[str], Folder]) -> None:
        self._log_dir = log_dir
        self._numbers: Iterator[int] = itertools.count()  # shared with copies
        self._model: Callable[[], Any] = lambda: None
        self._trial = ""
        self._lists: list[list[Any]] = []

    def copied(self, memo: dict[int, Any]) -> Trials:
        """For a copy of the monitor. memo: that of `copy.deepcopy`, which knows the lists the copy will be in.

        KerasTuner copies the list of callbacks for each trial, and then puts a callback of its own into it that
        holds the trial: nothing else tells a callback which trial it is in.
        """
        copied = Trials(self._log_dir)
        copied._numbers = self._numbers
        copied._lists = [value for key, value in memo.items() if isinstance(value, list) and key != id(memo)]
        return copied

    def placed(self, options: Options, callback: Any, model: Any) -> Options:
        """The monitor's options with the log directory for a fit of `model`. TypeError for what is no folder."""
        if TRIAL not in options.log_dir:
            return options
        if self._model() is not model:
            found = self._tuners_trial(callback)
            self._trial = str(next(self._numbers)) if found is None else found
            self._model = weakref.ref(model)
        if not callable(self._log_dir):
            return replace(options, log_dir=options.log_dir.replace(TRIAL, self._trial))
        return replace(options, log_dir=folder(self._log_dir(self._trial)))

    def _tuners_trial(self, callback: Any) -> str | None:
        for callbacks in self._lists:
            if any(other is callback for other in callbacks):
                for other in callbacks:
                    trial = getattr(getattr(other, "trial", None), "trial_id", None)
                    if trial is not None:
                        return str(trial)
        return None
