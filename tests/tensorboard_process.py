"""A real TensorBoard for tests: on loopback, at a port the system chose, stopped by its own process id."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

LOOPBACK = ("--host=127.0.0.1", "--port=0", "--reload_interval=1")

_WITHOUT_TENSORFLOW = """
import sys, types
sys.modules["tensorboard.compat.notf"] = types.ModuleType("notf")
from tensorboard.main import run_main
run_main()
"""


def board(*flags: str, tensorflow: bool) -> list[str]:
    """The command of a TensorBoard. Without ``tensorflow`` as where that is not installed: it takes 4 s of CPU less."""
    start = ["-m", "tensorboard.main"] if tensorflow else ["-c", _WITHOUT_TENSORFLOW]
    return [sys.executable, *start, *LOOPBACK, *flags]


class TensorBoard:
    """A process that serves ``url``. logdir: also a URL of an object store; log: the file that takes its output.

    tensorflow: as in ``board``.
    command: what to start in its place, which tells its address in the same words or begins a line with it.
    """

    def __init__(
        self, logdir: Path | str, *flags: str, log: Path, tensorflow: bool = True, command: Sequence[str] | None = None
    ) -> None:
        self.log = log
        words = command or board(f"--logdir={logdir}", *flags, tensorflow=tensorflow)
        with log.open("wb") as output:
            self.process = subprocess.Popen(words, stdout=output, stderr=subprocess.STDOUT)
        self.url = self._wait_for_url()

    def _wait_for_url(self, seconds: float = 120) -> str:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if found := re.search(r"(?:^|TensorBoard \S+ at )(http://127\.0\.0\.1:\d+/\S*)", self.printed, re.M):
                return found[1].rstrip("/")
            if self.process.poll() is not None:
                raise AssertionError(f"TensorBoard ended with {self.process.returncode}:\n{self.printed}")
            time.sleep(0.1)
        self.stop()
        raise AssertionError(f"TensorBoard gave no address within {seconds} s:\n{self.printed}")

    @property
    def printed(self) -> str:
        """All that it has written so far."""
        return self.log.read_text(errors="replace")

    def terminate(self) -> None:
        """Asks the process to end; `stop` waits until it has."""
        self.process.terminate()

    def stop(self) -> None:
        """Ends the process."""
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
