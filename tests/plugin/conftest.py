"""Real TensorBoard processes for the plugin's tests."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from plugin_helpers import Server, Start


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Starts TensorBoards on free loopback ports; each is stopped by its own process id."""
    running: list[subprocess.Popen[str]] = []

    def launch(*arguments: str) -> Server:
        log = tmp_path_factory.mktemp("tensorboard") / "log.txt"
        command = [sys.executable, "-m", "tensorboard.main", "--host=127.0.0.1", "--port=0"]
        command += ["--reload_interval=1", *arguments]
        with open(log, "w") as output:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, text=True)
        running.append(process)
        end = time.monotonic() + 60
        while time.monotonic() < end and process.poll() is None:
            found = re.search(r" at (http://127\.0\.0\.1:\d+/\S*)", log.read_text())
            if found:
                return Server(found[1].rstrip("/") + "/")
            time.sleep(0.1)
        raise AssertionError(f"TensorBoard did not start: {log.read_text()}")

    yield launch
    for process in running:
        process.terminate()
    for process in running:
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=10)
