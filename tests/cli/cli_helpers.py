"""A command of `lrp-monitor`: in this process, which has TensorFlow loaded, or in one of its own as a user has it."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from lrp_monitor import cli

Done = subprocess.CompletedProcess[str]


def lrp_monitor(*arguments: str | Path, folder: Path | None = None) -> Done:
    """The command in this process, from `folder`: its code and what it printed."""
    words, out, err = list(map(str, arguments)), io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), contextlib.chdir(folder or "."):
        try:
            code = cli.main(words)
        except SystemExit as end:  # of argparse, on wrong usage
            code = int(end.code or 0)
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


def in_a_process(*arguments: str | Path, folder: Path | None = None) -> Done:
    """The command as it is called from a shell."""
    return _run("-m", "lrp_monitor.cli", *map(str, arguments), folder=folder)


def in_one_process(*commands: Sequence[str], folder: Path) -> Done:
    """One command after another in a process of their own: the imports take longest. Its exit code is the last."""
    code = f"from lrp_monitor.cli import main\nprint('exits', *[code := main(one) for one in {commands!r}])\nexit(code)"
    return _run("-c", code, folder=folder)


def _run(*words: str, folder: Path | None) -> Done:
    clean = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, cwd=folder, env=clean, check=False)
