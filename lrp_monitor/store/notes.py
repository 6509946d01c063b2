"""What people note on steps of a run: small JSON files beside the run's records, one a note."""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import dataclass
from typing import Any

from lrp_monitor.plain import Result
from lrp_monitor.store import records
from lrp_monitor.store.access import RecordAccess
from lrp_monitor.store.format import StoreError
from lrp_monitor.store.storage import Storage

FORMAT = 1
MOST_LETTERS = 2000
MOST_NOTES = 1000
"""Notes of a run that are read at most: the newest, by the names of their files."""
_NAME = re.compile(r"note-\d{19}-[0-9a-f]{8}\.json")
_MOST_BYTES = 64 << 10


@dataclass(frozen=True)
class StepNote(Result):
    """A person's note on a step. ``name``: its file's. ``wall_time``: when it was written, in seconds since 1970."""

    step: int
    text: str
    wall_time: int
    name: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The note as plain data."""
        return {"name": self.name, "step": self.step, "text": self.text, "wall_time": self.wall_time}


def write_note(storage: Storage, step: int, text: str) -> StepNote:
    """Puts a note beside the run's records: a file of its own, so that notes made at the same time are all kept.

    Raises ValueError for a text that is empty or longer than `MOST_LETTERS`, StoreError, StoreOSError.
    """
    text = text.strip()
    if not text or len(text) > MOST_LETTERS:
        raise ValueError(f"a note has 1 to {MOST_LETTERS} letters, this one {len(text)}")
    now = time.time_ns()
    note = StepNote(step, text, now // 10**9, f"note-{now:019d}-{secrets.token_hex(4)}.json")
    content = {"format": FORMAT, "step": step, "text": text, "wall_time": note.wall_time}
    storage.write_whole(note.name, records.to_json(content))
    return note


def remove_note(storage: Storage, name: str) -> None:
    """Deletes a note. Raises KeyError where there is none of that name, StoreOSError."""
    if _NAME.fullmatch(name) is None or name not in storage.listing():
        raise KeyError(f"{storage.path} has no note {name!r:.200}")
    storage.remove(name)


def read_notes(storage: Storage) -> tuple[list[StepNote], list[str]]:
    """(the notes in the order they were written, what is wrong with those that cannot be read)."""
    names = sorted(name for name in storage.listing() if _NAME.fullmatch(name))[-MOST_NOTES:]
    found, problems = [], []
    for name, text in _texts(storage, names):
        try:
            if isinstance(text, StoreError):
                raise text
            found.append(_parse(name, text))
        except StoreError as error:
            problems.append(str(error))
    return found, problems


def _texts(storage: Storage, names: list[str]) -> list[tuple[str, bytes | StoreError]]:
    """The files at once; one by one where any cannot be read, so that the others still are."""
    part = [(0, _MOST_BYTES + 1)]
    try:
        read = storage.read_files(dict.fromkeys(names, part))
        return [(name, read[name][0]) for name in names]
    except StoreError:
        return [(name, _text(storage, name)) for name in names]


def _text(storage: Storage, name: str) -> bytes | StoreError:
    try:
        return storage.read(name, 0, _MOST_BYTES + 1)
    except StoreError as error:
        return error


def _parse(name: str, data: bytes) -> StepNote:
    try:
        content = records.parse_content(data, name, FORMAT, _MOST_BYTES)
        text, when = records.string(content["text"]), records.whole(content["wall_time"])
        return StepNote(records.whole(content["step"]), text[:MOST_LETTERS], when, name)
    except records.MALFORMED as error:
        raise StoreError(f"{name}: a part is missing or of the wrong kind ({records.quoted(error)})") from error


class NoteAccess(RecordAccess):
    """The notes on a run's steps; see :class:`~lrp_monitor.store.reader.Run`."""

    def notes(self) -> list[StepNote]:
        """What people have noted on steps, in the order of writing; what cannot be read is among the problems."""
        found, problems = read_notes(self._storage)
        for problem in problems:
            self._note(problem)
        return found

    def add_note(self, step: int, text: str) -> StepNote:
        """Keeps a note on a step beside the run; the LRP tab shows it among the events.

        Raises KeyError for a step that is not logged, ValueError for a text that is empty or too long, StoreError and
        StoreOSError where the run's folder cannot be written.
        """
        self._entry(self._view, step)
        return write_note(self._storage, step, text)

    def remove_note(self, name: str) -> None:
        """Deletes a note by its ``name``. Raises KeyError where there is none of it, StoreOSError."""
        remove_note(self._storage, name)
