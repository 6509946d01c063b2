"""What the command line shows besides its results: progress, and not TensorFlow's start-up messages."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

_LEVEL = "TF_CPP_MIN_LOG_LEVEL"


@contextmanager
def quiet_tensorflow() -> Iterator[None]:
    """Keeps TensorFlow's start-up messages off stderr where it is first imported inside.

    They are shown after all where the import fails, and always where the user has set TF_CPP_MIN_LOG_LEVEL.
    Part of them is written by C++ code before it reads any setting, hence the file descriptor is redirected.
    """
    if _LEVEL in os.environ or "tensorflow" in sys.modules:
        yield
        return
    os.environ[_LEVEL] = "3"
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as swallowed:
        os.dup2(swallowed.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(kept, 2)
            swallowed.seek(0)
            os.write(2, swallowed.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)


class Progress:
    """A progress bar on one line of a terminal; where the stream is none, a line at the start of each part.

    Args:
        total: units of work in all, >= 1.
        stream: stderr by default, so that results on stdout stay alone.
        lines: False for no lines off a terminal either, where the work is a matter of seconds.
    """

    _WIDTH = 28
    _EVERY = 0.1  # seconds between two drawings

    def __init__(self, total: int, stream: TextIO | None = None, *, lines: bool = True) -> None:
        self._total = max(1, total)
        self._stream = stream or sys.stderr
        self._live, self._lines = self._stream.isatty(), lines
        self._part, self._done, self._drawn, self._length = "", 0, 0.0, 0
        self._start = time.monotonic()

    def part(self, name: str) -> None:
        """Says what is being worked on from here."""
        self._part = name
        if self._live:
            self._draw()
        elif self._lines:
            self._stream.write(f"{name}\n")
            self._stream.flush()

    def advance(self, units: int = 1) -> None:
        """Counts finished work."""
        self._done = min(self._total, self._done + units)
        if self._live and time.monotonic() - self._drawn >= self._EVERY:
            self._draw()

    def close(self) -> None:
        """Takes the bar off the terminal again."""
        if self._live and self._length:
            self._stream.write("\r" + " " * self._length + "\r")
            self._stream.flush()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        filled = self._WIDTH * self._done // self._total
        elapsed = self._drawn - self._start
        line = (
            f"[{'#' * filled}{'.' * (self._WIDTH - filled)}] {100 * self._done // self._total:3d} %  "
            f"{elapsed:3.0f} s  {self._part}"
        )
        self._stream.write("\r" + line.ljust(self._length))
        self._stream.flush()
        self._length = len(line)
