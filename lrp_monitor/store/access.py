"""Finds, reads and checks the records of a store folder; keeps what it has parsed. ``reader`` gives it meaning."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, MutableMapping
from typing import TypeVar

from lrp_monitor.store import codec, records
from lrp_monitor.store.format import ProbeInfo, StoreError
from lrp_monitor.store.index import Entry, Index, View
from lrp_monitor.store.probes import read_probes
from lrp_monitor.store.steps import HistogramRow, StepHeader, chunks_length, chunks_start, parse_step, parse_table
from lrp_monitor.store.storage import Storage

_T = TypeVar("_T")
# Histograms whose rows are kept: some 100 MB.
_ROWS_KEPT = 100_000
# Names of tensors that are listed, and bytes of tables that are read for it: some seconds.
_TENSORS_LISTED = 1 << 16
_TABLES_READ = 256 << 20
_PROBLEMS_KEPT = 1000


class RecordAccess:
    """The records of a store as of the last ``refresh``, parsed once each; safe to use from several threads.

    ``KeyError`` is raised for a step that is not there, StoreError for damaged records, which are noted.
    """

    def __init__(self, storage: Storage, shared: MutableMapping[bytes, ProbeInfo] | None = None) -> None:
        self._storage = storage
        self._shared = shared
        self._lock = threading.RLock()
        self._parsing = threading.Lock()
        self._index = Index(storage)
        self._generation = 0
        self._headers: dict[tuple[str, int], StepHeader] = {}
        self._tables: dict[tuple[str, int], dict[tuple[str, str], HistogramRow]] = {}
        self._whole: set[tuple[str, int]] = set()
        self._broken: dict[tuple[str, int, str], str] = {}
        self._found: dict[str, None] = {}
        self._lists: dict[str, list[tuple[str, str]]] = {}
        self._probes = read_probes(storage, shared)
        self._index.refresh()
        self._view = self._index.view

    @property
    def path(self) -> str:
        """The store's folder."""
        return self._storage.path

    def refresh(self) -> bool:
        """Takes in what was written since; True where something changed. About 0.1 ms when nothing did."""
        with self._lock:
            changed = self._index.refresh()
            if self._index.generation != self._generation:
                probes = read_probes(self._storage, self._shared)
                self._forget()
                self._probes, self._generation = probes, self._index.generation
            self._view = self._index.view
            return changed

    def _forget(self) -> None:
        """Drops what was parsed of records: other ones are in their places now."""
        for cache in (self._headers, self._tables, self._lists, self._whole, self._found, self._broken):
            cache.clear()

    @property
    def stored_bytes(self) -> int:
        """Bytes of the run's files now: probes and all sessions."""
        return sum(size for name, (size, _) in self._storage.listing().items() if name.endswith(".tfrecord"))

    @property
    def annotations(self) -> str:
        """Digest of the notes and groups beside the records: another one when they have changed, "" without any."""
        return self._index.annotations

    def record(self, step: int, session: str | None = None) -> StepHeader:
        """What was logged at a step apart from maps and histograms; ``session``: only as written by that one."""
        return self._header(self._entry(self._view, step, session))

    def heads(self) -> list[Entry]:
        """Where the record of each step lies, ascending, with the fixed fields of it, which need no header."""
        view = self._view
        return [view.entries[step] for step in view.steps]

    def records(self, after: int | None = None) -> list[StepHeader]:
        """The headers of all steps (greater than ``after``), ascending; unreadable ones are left out."""
        return self._all_headers(after)

    def is_current(self, step: int, session: str | None = None) -> bool:
        """Whether a step is there and, where ``session`` is given, still counts as written by it."""
        entry = self._view.entries.get(step)
        return entry is not None and session in (None, entry.session)

    def all_tensors(self) -> list[tuple[str, str]]:
        """(kind, name) of every histogram that any step holds, in the order of their first appearance.

        One table is read for each different list of tensors, which a record's header names by its digest; in
        runs from before there were digests, one for each step. Steps that cannot be read are left out.
        """
        view = self._view
        found: dict[tuple[str, str], None] = {}
        seen: set[str] = set()
        left = _TABLES_READ
        for header in self._all_headers(view=view):
            entry = view.entries[header.step]
            digest = header.tensors or f"{entry.file}@{entry.offset}"
            if header.table is None or digest in seen:
                continue
            names = self._lists.get(digest)
            if names is None:
                left -= header.table[2]
                if left < 0 or len(found) > _TENSORS_LISTED:
                    self._note(f"the list of tensors ends before step {header.step}: it would take too long to read")
                    break
                try:
                    names = list(self._table(entry))
                except StoreError:
                    continue  # damaged: named among the problems
                with self._lock:
                    self._lists[digest] = names
            seen.add(digest)
            found |= dict.fromkeys(names)
        return list(found)

    def _entry(self, view: View, step: int, session: str | None = None) -> Entry:
        entry = view.entries.get(step)
        if entry is None:
            raise KeyError(f"no step {step} in {self.path}: {_nearest(view.steps, step)}")
        if session not in (None, entry.session):
            raise KeyError(f"step {step} of {self.path} is not of session {session}: a later one replaced it")
        return entry

    def _all_headers(self, after: int | None = None, view: View | None = None) -> list[StepHeader]:
        view = self._view if view is None else view
        wanted = [view.entries[step] for step in view.steps if after is None or step > after]
        with self._parsing:  # a second thread that needs them waits, and parses nothing twice
            missing = [
                entry
                for entry in wanted
                if (entry.file, entry.offset) not in self._headers
                and (entry.file, entry.offset, "header") not in self._broken
            ]
            texts = self._gather((e, e.offset, records.FIELDS + e.head.header_length) for e in missing)
            for entry, text in zip(missing, texts, strict=True):
                try:
                    self._parse(entry, text)
                except StoreError:
                    continue  # noted in problems
        found = []
        for entry in wanted:
            header = self._headers.get((entry.file, entry.offset))
            if header is not None:
                found.append(header)
        return found

    def _header(self, entry: Entry) -> StepHeader:
        header = self._headers.get((entry.file, entry.offset))
        if header is None:
            length = records.FIELDS + entry.head.header_length
            header = self._parse(entry, self._storage.read(entry.file, entry.offset, length))
        return header

    def _parse(self, entry: Entry, data: bytes) -> StepHeader:
        probes = self._probes
        header = self._once(entry, "header", lambda: parse_step(entry, data, len(probes), probes.map_shape, entry.what))
        with self._lock:
            self._headers[(entry.file, entry.offset)] = header
        return header

    def _table(self, entry: Entry) -> dict[tuple[str, str], HistogramRow]:
        key = (entry.file, entry.offset)
        table = self._tables.get(key)
        if table is not None:
            return table
        header = self._header(entry)
        table = {}
        if header.table is not None:
            offset, length, size = header.table
            chunk = self._storage.read(entry.file, chunks_start(entry) + offset, length)
            what = f"{entry.what}, table of histograms"
            table = self._once(
                entry, "table", lambda: parse_table(codec.inflate(chunk, size, what), chunks_length(entry), what)
            )
        with self._lock:
            self._tables[key] = table
            kept = sum(map(len, self._tables.values()))
            while kept > _ROWS_KEPT and len(self._tables) > 1:
                kept -= len(self._tables.pop(next(iter(self._tables))))
        return table

    def _payload(self, entry: Entry) -> bytes:
        """A whole record; its checksum is looked at the first time."""
        frame = self._storage.read(entry.file, entry.offset, entry.length + records.FRAME_TAIL)
        key = (entry.file, entry.offset)
        payload = frame[: entry.length]
        if key not in self._whole:
            if not records.payload_is_whole(payload, frame[entry.length :]):
                problem = f"{entry.what}: the record is damaged (its checksum is wrong)"
                self._note(problem)
                raise StoreError(f"{self.path}: {problem}")
            with self._lock:
                self._whole.add(key)
        return payload

    def _gather(self, ranges: Iterable[tuple[Entry, int, int]]) -> list[bytes]:
        """Ranges of many records, in their order, each file opened once."""
        grouped: dict[str, list[tuple[int, tuple[int, int]]]] = {}
        for position, (entry, offset, length) in enumerate(ranges):
            grouped.setdefault(entry.file, []).append((position, (offset, length)))
        read = self._storage.read_files({file: [place for _, place in places] for file, places in grouped.items()})
        found: dict[int, bytes] = {}
        for file, places in grouped.items():
            found.update(zip((position for position, _ in places), read[file], strict=True))
        return [found[position] for position in range(len(found))]

    def _once(self, entry: Entry, part: str, work: Callable[[], _T]) -> _T:
        """``work`` where it has not failed before: to find out again that a part is damaged may take a second."""
        key = (entry.file, entry.offset, part)
        if key in self._broken:
            raise StoreError(self._broken[key])
        try:
            return self._noting(work)
        except StoreError as error:
            with self._lock:
                self._broken[key] = str(error)
            raise

    def chunks(self, wanted: Iterable[tuple[StepHeader, tuple[int, int]]]) -> list[bytes]:
        """Single compressed maps of many steps, each by its step's header and one of that header's places."""
        view = self._view
        entries = ((self._entry(view, header.step, header.session), place) for header, place in wanted)
        return self._gather((entry, chunks_start(entry) + offset, length) for entry, (offset, length) in entries)

    def _noting(self, work: Callable[[], _T]) -> _T:
        try:
            return work()
        except StoreError as error:
            self._note(str(error))
            raise StoreError(f"{self.path}: {error}") from error

    def _note(self, problem: str) -> None:
        with self._lock:
            if len(self._found) < _PROBLEMS_KEPT:
                self._found[problem] = None


def _nearest(steps: list[int], step: int) -> str:
    if not steps:
        return "nothing is logged yet"
    below = [s for s in steps if s < step][-2:]
    above = [s for s in steps if s > step][:2]
    return f"the nearest steps are {', '.join(map(str, below + above))}"
