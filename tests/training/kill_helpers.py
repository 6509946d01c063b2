"""Kills fits at random moments and looks at what they leave: for the test, and for the benchmark of 200 kills."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from lrp_monitor.store.reader import open_run


@dataclass
class Kill:
    """What one kill left. logged: steps whose log calls had returned, in this process or in one before."""

    started: bool
    logged: set[int]
    read: set[int]
    seconds: float
    problems: list[str] = field(default_factory=list)

    @property
    def lost(self) -> set[int]:
        """Steps whose log calls had returned and that the reader does not return."""
        return self.logged - self.read


class Killer:
    """A process with everything imported that forks fits, and the hand that kills them."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)
        code = str(Path(__file__).with_name("kill_child.py"))
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        self._process = subprocess.Popen(
            [sys.executable, code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        assert self._line() == "ready"

    def __enter__(self) -> Killer:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)

    def kill_one(self, folder: Path, spread: float) -> Kill:
        """Starts (or goes on with) the fit in `folder` and kills it.

        At a random moment: one time in ten while it starts, one in ten within `spread` seconds of its first epoch's
        begin, else within `spread` seconds of its first epoch's log.
        """
        folder.mkdir(parents=True, exist_ok=True)
        began, starts, logs = time.monotonic(), self._starts(folder), len(self.logged(folder))
        pid = self._start(folder, 10**6)
        kind = self._random.random()
        while kind >= 0.1 and (self._starts(folder) == starts or (kind >= 0.2 and len(self.logged(folder)) < logs + 2)):
            if time.monotonic() - began > 120:
                os.kill(pid, signal.SIGKILL)
                raise TimeoutError("the fit has not logged an epoch within two minutes")
            time.sleep(0.005)
        time.sleep(self._random.uniform(0, spread if kind >= 0.1 else 2.0))
        os.kill(pid, signal.SIGKILL)
        status = int(self._line())
        assert os.WIFSIGNALED(status), f"the fit ended by itself, status {status}"
        assert os.WTERMSIG(status) == signal.SIGKILL
        if not (folder / "lrp").exists():
            return Kill(False, set(), set(), time.monotonic() - began)
        run = open_run(folder)
        problems = [*run.verify(), *run.problems]
        logged = set(self.logged(folder))
        return Kill(self._starts(folder) > starts, logged, set(run.steps), time.monotonic() - began, problems)

    def finish(self, folder: Path, epochs: int) -> None:
        """Goes on with the fit up to `epochs`, unharmed."""
        self._start(folder, epochs)
        status = int(self._line())
        assert status == 0, f"the resumed fit ended with status {status}"

    @staticmethod
    def logged(folder: Path) -> list[int]:
        """The steps that the fits in `folder` reported as logged, in their order."""
        path = folder / "logged"
        lines = path.read_text().splitlines() if path.exists() else []
        return [int(line) for line in lines if line != "started"]

    @staticmethod
    def _starts(folder: Path) -> int:
        path = folder / "logged"
        return path.read_text().count("started\n") if path.exists() else 0

    def _start(self, folder: Path, epochs: int) -> int:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"folder": str(folder), "epochs": epochs}) + "\n")
        self._process.stdin.flush()
        return int(self._line())

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the process that forks the fits has ended"
        return line.strip()
