"""Notes for the next record, and warnings: each kind at most once a fit."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

_PROBLEM = "problem"


class Notices:
    """What a fit's log has to report beyond its numbers.

    Args:
        notes: text for the next record.
        warns: whether this process warns, which one of several workers does.
    """

    def __init__(self, notes: Iterable[str], warns: bool) -> None:
        self.notes = list(notes)
        self._warns = warns
        self._reported: set[str] = set()

    def warn(self, text: str) -> None:
        """A RuntimeWarning."""
        if self._warns:
            warnings.warn(f"LRPMonitor: {text}", RuntimeWarning, stacklevel=3)

    def is_new(self, text: str) -> bool:
        """Whether this is the first call with this text."""
        new = text not in self._reported
        self._reported.add(text)
        return new

    def note_once(self, text: str | None) -> None:
        """A note at the first call with this text; None is none."""
        if text is not None and self.is_new(text):
            self.notes.append(text)

    def problem(self, text: str) -> None:
        """A failure in a log: noted in the next record, and the first of a fit is a warning too."""
        self.notes.append(text)
        if self.is_new(_PROBLEM):
            self.warn(f"{text}. Training goes on; what fails from here on is noted in the run alone")
