"""The writing thread: order, failures that lose one item alone, death and hanging that hold nobody up."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest

from lrp_monitor.training.output.writer_thread import WriterThread


def test_items_are_handled_in_order_in_another_thread() -> None:
    seen: list[tuple[int, str]] = []
    worker = WriterThread(lambda item: seen.append((item, threading.current_thread().name)), capacity=2)
    for i in range(50):
        assert worker.put(i)
    assert worker.drain()
    assert [item for item, _ in seen] == list(range(50))
    assert {name for _, name in seen} == {"lrp_monitor-writer"}
    assert worker.close()
    assert worker.close()
    assert not worker.put(51)


def test_put_waits_while_the_queue_is_full() -> None:
    gate = threading.Event()
    worker = WriterThread(lambda item: gate.wait(), capacity=1)
    assert worker.put(0)
    time.sleep(0.05)  # taken by the thread, which now waits
    assert worker.put(1)
    timer = threading.Timer(0.3, gate.set)
    timer.start()
    start = time.monotonic()
    assert worker.put(2)
    assert time.monotonic() - start > 0.2
    assert worker.close()


def test_a_failure_loses_its_item_alone() -> None:
    done = []

    def handle(item: int) -> None:
        if item % 2:
            raise OSError(28, f"no space for {item}")
        done.append(item)

    worker = WriterThread(handle)
    for i in range(5):
        assert worker.put(i)
    assert worker.drain()
    assert done == [0, 2, 4]
    failed = worker.failures()
    assert [item for item, _ in failed] == [1, 3]
    assert isinstance(failed[0][1], OSError)
    assert worker.failures() == []
    assert worker.close()
    assert worker.died is None


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_dead_thread_holds_nobody_up() -> None:
    def handle(item: int) -> None:
        raise SystemExit("killed")

    worker = WriterThread(handle, capacity=1)
    assert worker.put(0)
    while worker.died is None:
        time.sleep(0.01)
    assert isinstance(worker.died, SystemExit)
    assert not worker.put(1)
    assert not worker.drain()
    assert not worker.close()


def test_a_hanging_handler_is_given_up_after_patience() -> None:
    gate = threading.Event()
    worker = WriterThread(lambda item: gate.wait(), capacity=1, patience=0.3)
    assert worker.put(0)
    time.sleep(0.05)
    assert worker.put(1)
    start = time.monotonic()
    assert not worker.put(2)
    assert time.monotonic() - start > 0.25
    assert not worker.close()
    gate.set()


def test_a_slow_handler_is_not_given_up_while_it_finishes_items() -> None:
    worker = WriterThread(lambda item: time.sleep(0.1), capacity=1, patience=0.25)
    assert all(worker.put(i) for i in range(8))
    assert worker.close()


def test_a_hanging_handler_does_not_keep_the_process() -> None:
    code = (
        "import threading\n"
        "from lrp_monitor.training.output.writer_thread import WriterThread\n"
        "worker = WriterThread(lambda item: threading.Event().wait(), patience=0.2)\n"
        "worker.put(1); worker.close()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=20)


def test_without_a_thread_items_are_handled_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """From Python 3.12 on no thread begins while the process ends."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    handled: list[int] = []

    def handle(item: int) -> None:
        if item == 2:
            raise OSError("full")
        handled.append(item)

    worker = WriterThread(handle)
    assert [worker.put(item) for item in (1, 2, 3)] == [True] * 3
    assert worker.drain()
    assert handled == [1, 3]
    ((item, error),) = worker.failures()
    assert (item, str(error)) == (2, "full")
    assert worker.close()
    assert not worker.put(4)
