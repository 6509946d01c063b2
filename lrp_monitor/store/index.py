"""Which steps a store folder holds, and where: found by reading the records' headers alone.

Files ``steps-<ordinal>-<session>-<segment>.tfrecord`` hold the records of one process start (a session) in
segments. Ordinals count the sessions of a folder, so that the clock plays no part in their order.
"""

from __future__ import annotations

import hashlib
import re
import struct
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Any

from lrp_monitor.store import records
from lrp_monitor.store.format import StoreError
from lrp_monitor.store.storage import ReadAt, Storage

PROBES_FILE = "probes.tfrecord"
_SEGMENT = re.compile(r"steps-(\d{4,9})-([0-9a-f]{8,64})-(\d{6,12})\.tfrecord")
# So many bytes take in the frame's head, the fixed fields and nearly every header.
_HEADERS = 32 << 10
# Bytes of a record before its header, and by how much that may be longer than the one of the record before.
_HEAD_MARGIN = 1 << 10
MOST_META = 4 << 20
"""Bytes of what a session may note about its model and versions."""
MOST_UNREADABLE = 100
"""Records of a file that cannot be read before the rest of it is given up."""
_BLOCK = 1 << 20
# Files whose new parts are asked for side by side.
_AT_ONCE = 64


def segment_name(ordinal: int, session: str, number: int) -> str:
    """The file name of a segment."""
    return f"steps-{ordinal:04d}-{session}-{number:06d}.tfrecord"


def session_of(name: str) -> str | None:
    """The session that wrote a file, None for a file that is no segment."""
    match = _SEGMENT.fullmatch(name)
    return None if match is None else match[2]


@dataclass(frozen=True, slots=True)
class Entry:
    """Where one record lies: ``offset`` and ``length`` (bytes) are those of its payload in ``file``."""

    session: str
    file: str
    offset: int
    length: int
    head: records.Head

    @property
    def what(self) -> str:
        """The record as text, for messages."""
        return f"{self.file}, step {self.head.step} (byte {self.offset})"


@dataclass(frozen=True)
class SessionInfo:
    """One process start that wrote into the store: its id, place in the order, steps written, and meta."""

    id: str
    ordinal: int
    first_step: int | None
    last_step: int | None
    steps: int
    meta: dict[str, Any]


@dataclass(frozen=True)
class View:
    """The steps that count: where sessions overlap, the later one from its first step on."""

    steps: list[int] = field(default_factory=list)
    entries: dict[int, Entry] = field(default_factory=dict)
    sessions: list[SessionInfo] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class _Segment:
    """What is known of one file, from its start up to ``_offset``."""

    def __init__(self, name: str, ordinal: int, session: str, number: int) -> None:
        self.name, self.ordinal, self.session, self.number = name, ordinal, session, number
        self.size = 0
        self.entries: list[Entry] = []
        self.meta: dict[str, Any] = {}
        self.problems: list[str] = []
        self.tail: str | None = None
        self._offset = 0
        self._dead = False

    @property
    def known(self) -> int:
        """The bytes from the start on whose records are known; all that are worth reading of a damaged file."""
        return self.size if self._dead else self._offset

    def extend(self, storage: Storage, size: int, head: bytes, *, is_last: bool) -> None:
        """Takes in the records between what is known and ``size``; ``head``: what is read of the file from there.

        ``is_last``: of its session's segments. Only there may the end be missing: the writer has the disk take each
        segment in whole before it begins the next one.
        """
        with storage.opened(self.name) as read:
            self._extend(read, size, head, storage.read_ahead, check_last=is_last and not storage.whole)

    def _extend(self, read: ReadAt, size: int, head: bytes, read_ahead: int, *, check_last: bool) -> None:
        self.tail = None
        last: tuple[int, Entry] | None = None
        window, at, ahead = head, self._offset, read_ahead
        while not self._dead and self._offset < size:
            start = self._offset
            if start - at + _HEADERS > len(window) and at + len(window) < size:
                window, at = read(start, ahead), start
            data = window[start - at : start - at + _HEADERS]
            if len(data) < records.FRAME_HEAD:
                self.tail = self._torn(size - start)
                break
            length = records.frame_length(data[: records.FRAME_HEAD])
            if length is None:
                self._dead = True
                self.problems.append(
                    f"{self.name}: the frame at byte {start} is damaged; the {size - start} bytes from there "
                    "on cannot be read"
                )
                break
            if start + records.FRAME_HEAD + length + records.FRAME_TAIL > size:
                self.tail = self._torn(size - start)
                break
            self._dead = length > records.MOST_RECORD or len(self.problems) >= MOST_UNREADABLE
            if self._dead:
                large = f"a record of {length} bytes, and at most {records.MOST_RECORD} are read"
                reason = large if length > records.MOST_RECORD else f"{MOST_UNREADABLE} before cannot be read"
                self.problems.append(f"{self.name}: given up at byte {start}: {reason}")
                break
            self._offset = start + records.FRAME_HEAD + length + records.FRAME_TAIL
            entry = self._take(read, data, start + records.FRAME_HEAD, length)
            last = None if entry is None else (start, entry)
            # Of records that lie further apart than what is read ahead no more is read than the next header may have.
            next_header = entry.head.header_length if entry is not None and length > read_ahead else read_ahead
            ahead = min(read_ahead, _HEAD_MARGIN + next_header)
        ends = check_last and last is not None and self._offset == size
        if ends and last is not None and not self._is_whole(read, last[1]):
            # A frame of the right length whose bytes never reached the disk.
            self.entries.pop()
            self._offset = last[0]
            self.tail = self._torn(size - last[0])
        self.size = size

    def _take(self, read: ReadAt, data: bytes, offset: int, length: int) -> Entry | None:
        what = f"{self.name}, byte {offset}"
        body = data[records.FRAME_HEAD : records.FRAME_HEAD + length]
        try:
            head = records.parse_head(body, length, what)
            end = records.FIELDS + head.header_length
            text = body[records.FIELDS : end]
            if len(text) < head.header_length:
                text += read(offset + records.FIELDS + len(text), head.header_length - len(text))
            records.check_header(body, text, head, what)
            if head.kind == records.KIND_SESSION:
                if head.header_length > MOST_META:
                    raise StoreError(f"{what}: {head.header_length} bytes of meta; at most {MOST_META} are read")
                meta = records.parse_json(text, what).get("meta")
                self.meta = records.shallow(meta, what) if isinstance(meta, dict) else {}
                return None
            if head.kind != records.KIND_STEP:
                raise StoreError(f"{what}: a record of kind {head.kind}, which is none of a step")
        except StoreError as error:
            if isinstance(error, OSError):
                raise
            self.problems.append(f"{error}; the record is left out")
            return None
        entry = Entry(self.session, self.name, offset, length, head)
        self.entries.append(entry)
        return entry

    def _is_whole(self, read: ReadAt, entry: Entry) -> bool:
        end, crc = entry.offset + entry.length, 0
        for start in range(entry.offset, end, _BLOCK):
            crc = records.crc32c(read(start, min(_BLOCK, end - start)), start=crc)
        return read(end, records.FRAME_TAIL) == struct.pack("<I", records.masked(crc))

    def _torn(self, length: int) -> str:
        return f"{self.name}: the last record is not complete ({length} bytes): cut off, or still being written"


class Index:
    """The records of a store folder, kept up to date by ``refresh``. Not thread-safe: the caller locks."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._segments: dict[str, _Segment] = {}
        self._probes: tuple[int, int] | None = None
        self.view = View()
        self.generation = 0
        """Counts how often files that were known have vanished, shrunk or been replaced."""
        self.annotations = ""
        """Digest of the files beside the records (notes, groups): another one when they change, "" without any.

        Their changes count: one that is taken back leaves the files as they were before, but whoever read them in
        between has to read them again.
        """
        self._beside: dict[str, tuple[int, int]] = {}
        self._changes = 0

    def refresh(self) -> bool:
        """Takes in what has been written since; True where ``view`` or the probes' file has changed."""
        listing = self._storage.listing()
        probes = listing.get(PROBES_FILE)
        gone = any(name not in listing or listing[name][0] < segment.size for name, segment in self._segments.items())
        replaced = self._probes is not None and probes != self._probes
        if gone or replaced:
            self._segments.clear()
            self.generation += 1
        changed = gone or probes != self._probes
        self._probes = probes
        grown: list[tuple[_Segment, int]] = []
        beside: dict[str, tuple[int, int]] = {}
        for name, (size, changed_at) in listing.items():
            segment = self._segments.get(name)
            if segment is None:
                match = _SEGMENT.fullmatch(name)
                if match is None:
                    if name != PROBES_FILE:
                        beside[name] = size, changed_at
                    continue
                segment = _Segment(name, int(match[1]), match[2], int(match[3]))
                self._segments[name] = segment
            if size != segment.size:
                grown.append((segment, size))
        if beside != self._beside:
            self._beside = beside
            self._changes += 1
            states = repr((self._changes, sorted(beside.items()))).encode("utf-8", "backslashreplace")
            self.annotations = hashlib.sha256(states).hexdigest()[:16] if beside else ""
        newest: dict[tuple[int, str], int] = {}
        for segment in self._segments.values():
            session = segment.ordinal, segment.session
            newest[session] = max(segment.number, newest.get(session, 0))
        for first in range(0, len(grown), _AT_ONCE):
            group = grown[first : first + _AT_ONCE]
            # Of objects side by side, as each is a request; local files are read when they are opened.
            wanted = {s.name: [(s.known, self._storage.read_ahead)] for s, _ in group} if self._storage.whole else {}
            heads = self._storage.read_files(wanted) if wanted else {}
            for segment, size in group:
                is_last = segment.number == newest[segment.ordinal, segment.session]
                segment.extend(self._storage, size, heads.get(segment.name, [b""])[0], is_last=is_last)
                changed = True
        if changed:
            self.view = self._build()
        return changed

    def highest_ordinal(self) -> int:
        """The ordinal of the latest session, 0 where there is none."""
        return max((segment.ordinal for segment in self._segments.values()), default=0)

    def highest_step(self) -> int | None:
        """The highest step that any session holds, also where a later session hides it."""
        return max((e.head.step for s in self._segments.values() for e in s.entries), default=None)

    def _build(self) -> View:
        view = View()
        grouped: dict[tuple[int, str], list[_Segment]] = {}
        for segment in sorted(self._segments.values(), key=lambda s: (s.ordinal, s.session, s.number)):
            grouped.setdefault((segment.ordinal, segment.session), []).append(segment)
            view.problems.extend(segment.problems)
            if segment.tail is not None:
                view.problems.append(segment.tail)
        steps: list[int] = []
        for (ordinal, session), segments in grouped.items():
            written = {entry.head.step: entry for segment in segments for entry in segment.entries}
            own = sorted(written)
            if own:
                del steps[bisect_left(steps, own[0]) :]
                steps.extend(own)
                view.entries.update(written)
            view.sessions.append(
                SessionInfo(
                    session,
                    ordinal,
                    own[0] if own else None,
                    own[-1] if own else None,
                    len(own),
                    next((s.meta for s in segments if s.meta), {}),
                )
            )
        view.steps.extend(steps)
        shown = set(steps)
        for step in [step for step in view.entries if step not in shown]:
            del view.entries[step]
        return view
