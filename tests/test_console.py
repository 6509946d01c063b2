"""Progress on a terminal and off one, and TensorFlow's start-up messages."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lrp_monitor.console import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def in_a_process(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        env=clean | environment,
        check=False,
    )


class TestProgress:
    def test_a_line_a_part_where_there_is_no_terminal(self) -> None:
        stream = io.StringIO()
        with Progress(10, stream) as progress:
            progress.part("one")
            progress.advance(10)
            progress.part("two")
        assert stream.getvalue() == "one\ntwo\n"

    def test_nothing_at_all_where_lines_are_not_wanted(self) -> None:
        stream = io.StringIO()
        with Progress(2, stream, lines=False) as progress:
            progress.part("one")
            progress.advance(2)
        assert stream.getvalue() == ""

    def test_a_bar_that_is_taken_off_again(self) -> None:
        stream = Terminal()
        with Progress(8, stream) as progress:
            progress.part("the first half, with a long name")
            progress.advance(4)
            progress.part("second")
            progress.advance(9)
            progress.part("done")
        drawn = stream.getvalue().split("\r")
        assert drawn[1].startswith("[............................]   0 %")
        assert drawn[-4].startswith("[##############..............]  50 %")
        assert drawn[-3].startswith("[############################] 100 %")
        assert "second" in drawn[-4]
        # a shorter line covers a longer one before it, and nothing is left at the end
        assert len(drawn[-4]) == len(drawn[1])
        assert set(drawn[-2]) == {" "}
        assert drawn[-1] == ""
        assert "\n" not in stream.getvalue()


class TestQuietTensorflow:
    def test_the_messages_of_its_import_are_kept_off(self) -> None:
        code = "from lrp_monitor.console import quiet_tensorflow\nwith quiet_tensorflow():\n    import tensorflow"
        done = in_a_process(code)
        assert done.returncode == 0
        assert done.stderr == ""

    def test_errors_afterwards_are_seen(self) -> None:
        code = (
            "import os, sys\nfrom lrp_monitor.console import quiet_tensorflow\n"
            "with quiet_tensorflow():\n    print('hidden', file=sys.stderr)\nprint('seen', file=sys.stderr)\n"
            "print(os.environ['TF_CPP_MIN_LOG_LEVEL'])"
        )
        done = in_a_process(code)
        assert done.stderr == "seen\n"
        assert done.stdout == "3\n"

    def test_where_the_import_fails_everything_is_shown(self, tmp_path: Path) -> None:
        (tmp_path / "broken.py").write_text("import os\nos.write(2, b'the reason\\n')\nraise ImportError('broken')\n")
        code = "from lrp_monitor.console import quiet_tensorflow\nwith quiet_tensorflow():\n    import broken"
        done = in_a_process(code, PYTHONPATH=str(tmp_path))
        assert done.returncode == 1
        assert done.stderr.startswith("the reason\nTraceback")

    @pytest.mark.parametrize("level", ["0", "2"])
    def test_the_users_own_setting_stands(self, level: str) -> None:
        code = (
            "import os\nfrom lrp_monitor.console import quiet_tensorflow\n"
            "with quiet_tensorflow():\n    os.write(2, b'seen')\nprint(os.environ['TF_CPP_MIN_LOG_LEVEL'])"
        )
        done = in_a_process(code, TF_CPP_MIN_LOG_LEVEL=level)
        assert (done.stderr, done.stdout) == ("seen", f"{level}\n")
