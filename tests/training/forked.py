"""Code in processes of its own, forked out of one that has imported everything: each import takes four seconds of CPU.

As a program: reads jobs as JSON, one a line, from standard input, {"code", "printed", "errors"} with the files to print
to, and answers each with the child's process id; {"wait": id} with its exit status once it has ended. Nothing of
TensorFlow runs in this process itself: its threads would not come along into a fork.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path


class Forked:
    """One process that forks others. Their code begins with ``tests/training`` on its path, and may end as it likes."""

    def __init__(self) -> None:
        self._files = tempfile.TemporaryDirectory()
        self._started = 0
        command, pipe = [sys.executable, str(Path(__file__))], subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        assert self._asked() == "ready"

    def start(self, code: str) -> Started:
        """Starts a process that runs ``code``, indented or not."""
        self._started += 1
        paths = [Path(self._files.name) / f"{self._started}.{kind}" for kind in ("printed", "errors")]
        job = {"code": textwrap.dedent(code), "printed": str(paths[0]), "errors": str(paths[1])}
        return Started(self, int(self._asked(job)), *paths)

    def run(self, code: str) -> subprocess.CompletedProcess[str]:
        """Runs ``code`` and waits for its end; ``returncode`` is that of a program, -N where signal N ended it."""
        return self.start(code).ended()

    def wait(self, pid: int) -> int:
        return os.waitstatus_to_exitcode(int(self._asked({"wait": pid})))

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        self._files.cleanup()

    def _asked(self, job: dict[str, object] | None = None) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if job is not None:
            self._process.stdin.write(json.dumps(job) + "\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the process that forks has ended"
        return line.strip()


class Started:
    """A process that runs."""

    def __init__(self, forked: Forked, pid: int, printed: Path, errors: Path) -> None:
        self._forked, self._printed, self._errors, self.pid = forked, printed, errors, pid

    def ended(self) -> subprocess.CompletedProcess[str]:
        """Waits for its end."""
        status = self._forked.wait(self.pid)
        return subprocess.CompletedProcess([], status, self._printed.read_text(), self._errors.read_text())


def main() -> None:
    import monitor_helpers  # noqa: F401  # Keras, TensorFlow and the monitor with it

    print("ready", flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        if "wait" in job:
            print(os.waitpid(job["wait"], 0)[1], flush=True)
            continue
        pid = os.fork()
        if pid == 0:
            for number, path in enumerate((os.devnull, job["printed"], job["errors"])):
                os.dup2(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), number)
            exec(compile(job["code"], "<forked>", "exec"), {"__name__": "__main__"})
            return  # and ends as a program does
        print(pid, flush=True)


if __name__ == "__main__":
    main()
