"""One fit's writing side: the run's store, its event file and the thread that fills both."""

from __future__ import annotations

import contextlib
import errno
import os
import time
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrp_monitor.store.format import Histogram, ProbeInfo, StepRecord
from lrp_monitor.store.writer import RunWriter
from lrp_monitor.text import describe
from lrp_monitor.training.output.event_file import EventWriter
from lrp_monitor.training.output.writer_thread import WriterThread
from lrp_monitor.training.tensors.histograms import gradient_rows, weight_rows

QUEUE = 4
"""Records that may wait for the disk before training waits."""

PATIENCE = 60.0
"""Seconds that training waits for a disk that takes nothing, before a record is given up."""

SLOW = 1.0
"""Seconds that a write may take to fail without training no longer waiting for the next ones."""


class RunLogger:
    """Writes the records of one fit. Opening it raises what the store raises; after that nothing raises.

    Once `log` has returned, the record is in its files and outlives the process, however that ends; the thread
    then has the system put it on the disk itself. Encoding and writing cost a small part of what explaining the
    probes does, so waiting for them is cheap; the thread is there for a disk that is slow or hangs.

    Args:
        run_dir: ``<log_dir>/lrp``.
        probes: gives what is kept of the probes, pictures among it; asked for where files are opened.
        gradients: "train" or "probe", which the tags of gradient summaries contain apart.
        summaries: whether scalars and histograms go to the event file, too; its marker always does.
    """

    def __init__(
        self,
        run_dir: str | os.PathLike[str],
        probes: Callable[[], ProbeInfo],
        meta: Mapping[str, Any],
        *,
        encoding: str,
        max_store_mb: float | None,
        gradients: str,
        summaries: bool,
    ) -> None:
        def open_files() -> tuple[RunWriter, EventWriter]:
            store = RunWriter(run_dir, probes(), meta=dict(meta), encoding=encoding, max_store_mb=max_store_mb)
            try:
                return store, EventWriter(run_dir)
            except Exception:  # whatever it is goes on to the caller, with the store closed
                store.close()
                raise

        sink = _RecordSink(open_files, "probe_gradients" if gradients == "probe" else "gradients", summaries, meta)
        self._sink = sink
        self._thread: WriterThread[StepRecord] = WriterThread(sink.write, QUEUE, PATIENCE)
        # The thread knows the sink alone, so a session that is dropped (a fit that raised) ends its thread.
        self._finalizer = weakref.finalize(self, _shut, self._thread, sink)
        self._stuck = False

    @property
    def bytes_written(self) -> int:
        """Bytes of records in the store, this session's."""
        return self._sink.store.bytes_written

    @property
    def notice(self) -> str | None:
        """Why maps are no longer stored, once that is so."""
        return self._sink.store.notice

    def log(self, record: StepRecord) -> bool:
        """Hands a record over and waits until it is written, or could not be (see `problems`).

        False where the thread is gone or the disk takes nothing, so that the record is lost.
        """
        # Training has waited long enough once: a disk that hangs, or a network that is down, is asked again, but not
        # waited for until it has caught up and takes records.
        self._stuck = self._stuck and (self._sink.failing or not self._thread.wait(lambda: False, patience=0.0))
        patience, began = 0.0 if self._stuck else None, time.monotonic()
        taken = self._thread.put(record, patience)
        finished = taken and self._thread.wait(lambda: record.step in self._sink.stored, patience)
        self._stuck = not finished or (self._sink.failing and time.monotonic() - began > SLOW)
        return taken

    def problems(self) -> tuple[list[str], list[str]]:
        """Errors of writing since the last call, as text, and the notes lost with them."""
        found, notes = self._sink.take_messages(), []
        for record, error in self._thread.failures():
            if record.step in self._sink.stored:
                found.append(f"the TensorBoard summaries of step {record.step} were not written: {describe(error)}")
            else:
                found.append(f"step {record.step} was not written: {describe(error)}")
                notes += record.notes
        if self._thread.died is not None:
            found.append(f"the writing thread ended: {describe(self._thread.died)}")
        elif self._stuck and not self._sink.failing:
            found.append(f"the disk has taken no record for {PATIENCE:.0f} s")
        return found, notes

    @property
    def stored(self) -> set[int]:
        """The steps that are in the store so far, this session's."""
        return set(self._sink.stored)

    def drain(self) -> bool:
        """Waits until everything logged is on disk. False where that does not happen."""
        return self._thread.drain()

    def close(self) -> None:
        """Writes what is queued, then closes the files. Calling it again does nothing."""
        self._finalizer()


class NullRunLogger(RunLogger):
    """The writing side of a worker that is not the chief: it takes records and writes nothing."""

    def __init__(self) -> None:
        self._stored: set[int] = set()

    bytes_written = 0
    notice = None

    def log(self, record: StepRecord) -> bool:
        """Forgets the record."""
        self._stored.add(record.step)
        return True

    def problems(self) -> tuple[list[str], list[str]]:
        """None: nothing is written."""
        return [], []

    @property
    def stored(self) -> set[int]:
        """The steps that were taken; the chief stores them."""
        return set(self._stored)

    def drain(self) -> bool:
        """There is nothing to wait for."""
        return True

    def close(self) -> None:
        """There is nothing to close."""


class _RecordSink:
    """What the thread does with a record."""

    def __init__(
        self,
        open_files: Callable[[], tuple[RunWriter, EventWriter]],
        gradients: str,
        summaries: bool,
        meta: Mapping[str, Any],
    ) -> None:
        self._open_files = open_files
        self.store, self._events = open_files()
        self._summaries = summaries
        self._version = meta["versions"]["lrp_monitor"]
        self._messages: list[str] = []
        self._known = self._sessions()
        self._started = False
        self.failing = False
        """Whether the store did not take the last record that it was given."""
        self.stored: set[int] = set()
        self._rows: dict[str, tuple[str, Callable[[Histogram], NDArray[np.float64]]]] = {
            "weight": ("weights", weight_rows),
            "gradient": (f"{gradients}_log10", gradient_rows),
        }

    def take_messages(self) -> list[str]:
        """The messages since the last call."""
        messages, self._messages = self._messages, []
        return messages

    def write(self, record: StepRecord) -> None:
        self._check_folder(record.step)
        # The event file first: a process killed in between leaves a step that is in the event file alone, which a
        # resumed fit logs again, and TensorBoard drops what the session before had of it. The other way round the
        # resumed fit would find the step in the store, and the event file would never get it.
        failed = None
        try:
            self._write_events(record)
        except Exception as error:  # whatever it is, the store takes its record; raised below
            failed = error
        try:
            self.store.append(record)
        except BaseException:
            self.failing = True
            raise
        self.failing = False
        self.stored.add(record.step)
        self.store.flush()
        if failed is not None:
            raise failed

    def _check_folder(self, step: int) -> None:
        """Begins anew where the files were removed, and notices others that write beside this one."""
        there = self._sessions()
        if self.store.session not in there:
            with contextlib.suppress(OSError):
                self.close()
            self.store, self._events = self._open_files()
            self._started = False
            self.stored.clear()
            self._messages.append(
                f"{self.store.path} was removed in mid-run: what was logged before is gone with it, step {step} and "
                "what follows is logged anew"
            )
        elif others := there - self._known:
            self._messages.append(
                f"another monitor logs to {self.store.path}, too, so that the steps of the one that began later count "
                f"(session {min(others)}): give each run a log_dir of its own"
            )
        self._known |= there | {self.store.session}

    def _sessions(self) -> set[str]:
        """The ids of the sessions that have files in the store's folder."""
        try:
            return self.store.sessions()
        except OSError as error:  # not ours to list, or not now: what is open may still be written
            return set() if error.errno == errno.ENOTDIR else {self.store.session}

    def _write_events(self, record: StepRecord) -> None:
        if not self._started:
            about = {"session": self.store.session, "version": self._version}
            self._events.start(record.step, record.wall_time, about)
            self._started = True
        if not self._summaries:
            return
        histograms = {}
        for histogram in record.histograms:
            prefix, rows = self._rows[histogram.kind]
            if not histogram.note and len(found := rows(histogram)):
                histograms[f"{prefix}/{histogram.name}"] = found
        self._events.write(record.step, record.wall_time, record.scalars, histograms)

    def close(self) -> None:
        try:
            self.store.close()
        finally:
            self._events.close()


def _shut(worker: WriterThread[StepRecord], sink: _RecordSink) -> None:
    # A thread that hangs in a write still uses the files: they are the operating system's to close then.
    if worker.close() or worker.died is not None:
        sink.close()
