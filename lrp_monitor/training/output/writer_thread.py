"""The writing thread: takes finished records from the training thread and puts them on disk, in order."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class _Stop:
    """Asks the thread to end after what was put before it."""


class WriterThread(Generic[T]):
    """Runs `handle(item)` for every item, one after the other, in a daemon thread behind a bounded queue.

    The thread is a daemon, so that a hanging disk cannot keep a process from ending (an executor's threads would be
    waited for, and its queue has no bound); `close` makes sure that everything put has been handled. While the
    interpreter ends and refuses a thread, `put` handles items.

    Args:
        handle: what to do with an item; an exception it raises loses that item alone.
        capacity: items that may wait; `put` waits while the queue is full.
        patience: seconds that `put`, `drain` and `close` wait while no item is finished, before they give up.
    """

    def __init__(self, handle: Callable[[T], None], capacity: int = 4, patience: float = 60.0) -> None:
        self._handle = handle
        self._patience = patience
        self._queue: queue.Queue[T | _Stop] = queue.Queue(capacity)
        self._failures: list[tuple[T, Exception]] = []
        self._lock = threading.Lock()
        self._finished = 0
        self._submitted = 0
        self._closed = False
        self._died: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="lrp_monitor-writer", daemon=True)
        self._threaded = True
        try:
            self._thread.start()
        except RuntimeError:  # the process is ending: from Python 3.12 on no thread begins then
            self._threaded = False

    def put(self, item: T, patience: float | None = None) -> bool:
        """Queues an item. False (and the item is lost) where the thread is gone or stuck for `patience` s.

        Args:
            patience: for this call, instead of the thread's own.
        """
        if self._closed:
            return False
        if not self._threaded:
            self._take(item)
        elif not self._wait_for(lambda: self._try_put(item), patience):
            return False
        self._submitted += 1
        return True

    def drain(self) -> bool:
        """Waits until everything queued has been handled. False where the thread is gone or stuck."""
        return self.wait(lambda: False)

    def wait(self, enough: Callable[[], bool], patience: float | None = None) -> bool:
        """Waits until `enough()` or everything queued has been handled. False where the thread is gone or stuck."""
        return self._wait_for(lambda: enough() or self._finished >= self._submitted or None, patience)

    def close(self) -> bool:
        """Handles what is queued, then ends the thread. False where the thread is gone or stuck."""
        if self._closed:
            return self._died is None
        done = self.drain()
        self._closed = True
        if not self._threaded:
            return done
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(_Stop())
        if done:
            self._thread.join(self._patience)
        return done

    def failures(self) -> list[tuple[T, Exception]]:
        """Items whose handling failed since this was asked last, with their exceptions."""
        with self._lock:
            found, self._failures = self._failures, []
        return found

    @property
    def died(self) -> BaseException | None:
        """What ended the thread before its time, or None."""
        return self._died

    def _try_put(self, item: T) -> bool | None:
        try:
            self._queue.put(item, timeout=0.05)
        except queue.Full:
            return None
        return True

    def _wait_for(self, attempt: Callable[[], bool | None], patience: float | None = None) -> bool:
        """Repeats `attempt` until it answers; False once the thread is gone or finishes nothing for long."""
        patience = self._patience if patience is None else patience
        seen, since = self._finished, time.monotonic()
        while True:
            if self._threaded and not self._thread.is_alive():
                return False
            answer = attempt()
            if answer is not None:
                return answer
            time.sleep(0.002)
            if self._finished != seen:
                seen, since = self._finished, time.monotonic()
            elif time.monotonic() - since > patience:
                return False

    def _run(self) -> None:
        try:
            while True:
                item = self._queue.get()
                if isinstance(item, _Stop):
                    return
                self._take(item)
        except BaseException as error:
            self._died = error

    def _take(self, item: T) -> None:
        try:
            self._handle(item)
        except Exception as error:  # whatever a disk or a codec raises must not end the thread
            with self._lock:
                self._failures.append((item, error))
        self._finished += 1
