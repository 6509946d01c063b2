"""Heatmaps as text: colour codes, signs, and when which; `show` in a terminal of its own."""

from __future__ import annotations

import io
import os
import pty
import sys
from pathlib import Path

import numpy as np
import pytest

from lrp_monitor.cli import terminal
from lrp_monitor.store.format import ProbeInfo, StepRecord
from lrp_monitor.store.writer import RunWriter


class Stream(io.StringIO):
    def __init__(self, is_terminal: bool = True, encoding: str = "utf-8") -> None:
        super().__init__()
        self._terminal, self._encoding = is_terminal, encoding

    def isatty(self) -> bool:
        return self._terminal

    @property
    def encoding(self) -> str:  # type: ignore[override]  # a text stream on a file has one
        return self._encoding


class TestDepth:
    @pytest.mark.parametrize(
        ("environment", "depth"),
        [
            ({"TERM": "xterm-256color", "COLORTERM": "truecolor"}, "truecolour"),
            ({"TERM": "xterm", "COLORTERM": "24bit"}, "truecolour"),
            ({"TERM": "xterm-direct"}, "truecolour"),
            ({"TERM": "xterm-256color"}, "256"),
            ({"TERM": "vt100"}, "none"),
            ({"TERM": "dumb", "COLORTERM": "truecolor"}, "none"),
            ({}, "none"),
            ({"TERM": "xterm-256color", "COLORTERM": "truecolor", "NO_COLOR": "1"}, "none"),
            ({"TERM": "xterm-256color", "COLORTERM": "truecolor", "NO_COLOR": ""}, "truecolour"),
        ],
    )
    def test_by_the_environment(self, environment: dict[str, str], depth: str) -> None:
        assert terminal.colour_depth(Stream(), environment) == depth

    def test_none_where_it_cannot_be_seen(self) -> None:
        environment = {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
        assert terminal.colour_depth(Stream(is_terminal=False), environment) == "none"
        assert terminal.colour_depth(Stream(encoding="ascii"), environment) == "none"


MAP = np.array([[1.0, -1.0], [0.0, 0.5]])


class TestLines:
    def test_two_rows_of_pixels_in_a_line(self) -> None:
        (line,) = terminal.heatmap_lines(MAP, "truecolour")
        assert line == (
            "\x1b[38;2;128;0;0;48;2;255;255;255m\u2580"  # red above white
            "\x1b[38;2;0;0;77;48;2;255;0;0m\u2580"  # blue above half red
            "\x1b[0m"
        )
        assert terminal.visible(line) == 2

    def test_256_colours(self) -> None:
        (line,) = terminal.heatmap_lines(MAP, "256")
        assert line.startswith("\x1b[38;5;88;48;5;231m\u2580\x1b[38;5;17;48;5;196m\u2580")

    def test_signs(self) -> None:
        values = [[1.0, 0.5, 0.49, 0.125], [0.1, 0.0, -0.1, -0.125], [-0.49, -0.5, -1.0, np.nan]]
        assert terminal.heatmap_lines(np.array(values), "none") == ["####++++", "      --", "--====??"]

    def test_an_odd_row_stands_over_the_page(self) -> None:
        lines = terminal.heatmap_lines(np.ones((3, 1)), "truecolour")
        assert len(lines) == 2
        assert "38;2;128;0;0;48;2;255;255;255" in lines[1]

    def test_zeros_and_volumes(self) -> None:
        assert terminal.heatmap_lines(np.zeros((2, 2)), "none") == ["", ""]
        assert terminal.heatmap_lines(np.ones(3), "none") == ["######"]
        assert len(terminal.heatmap_lines(np.ones((4, 2, 2)), "none")) == 4  # a montage of 2 x 2 slices

    def test_wide_maps_are_averaged(self) -> None:
        wide = np.arange(32.0).reshape(4, 8)
        assert terminal.shrunk(wide, 4).tolist() == [[4.5, 6.5, 8.5, 10.5], [20.5, 22.5, 24.5, 26.5]]
        assert terminal.shrunk(wide, 3).shape == (2, 3)
        assert terminal.shrunk(wide, 3)[0].tolist() == [4.5, 7, 10]  # columns 0-1, 2-4, 5-7 of rows 0 and 1
        assert len(terminal.heatmap_lines(np.ones((64, 64)), "none", columns=32)[0]) == 32

    def test_side_by_side(self) -> None:
        assert terminal.beside([["ab", "c"], ["\x1b[0mx"]], [3, 1]) == ["ab   \x1b[0mx", "c"]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two probes of 4 x 6 at steps 0 and 1, with their statistics."""
    probes = ProbeInfo(
        names=["disk 0", "cross 0"],
        labels=np.array([0, 1]),
        class_names=["disk", "cross"],
        images=np.zeros((2, 4, 6, 1), np.uint8),
        masks={},
        map_shape=(4, 6),
        hash="ab" * 32,
    )
    writer = RunWriter(tmp_path / "run" / "lrp", probes, meta={}, encoding="float32")
    for step in (0, 1):
        maps = np.zeros((2, 4, 6), np.float32)
        maps[0, 0, step], maps[1, 2, 5] = 1, -1
        found = {name: np.array([step + 0.25, 2.0]) for name in ("logit", "probability", "mask_mass/stamp")}
        found |= {"target": np.array([0.0, 1.0]), "prediction": np.array([1.0, np.nan])}
        writer.append(StepRecord(step, step, step, 1e9, heatmaps=maps, probes=found, scalars={"lrp/drift": 0.5}))
    writer.close()
    return tmp_path / "run"


def shown(run: Path, *arguments: str, colours: str = "truecolor", **environment: str) -> str:
    """What `show` writes to a terminal of 60 columns."""
    words = [sys.executable, "-m", "lrp_monitor.cli", "show", str(run), *arguments]
    given = os.environ | {"TERM": "xterm", "COLORTERM": colours, "COLUMNS": "60", "LINES": "24"} | environment
    child, terminal_end = pty.fork()
    if child == 0:
        os.execve(sys.executable, words, given)
    found = b""
    try:
        while part := os.read(terminal_end, 1 << 16):
            found += part
    except OSError:
        pass  # the way Linux says that the other end is closed
    os.close(terminal_end)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, found
    return found.decode().replace("\r\n", "\n")


class TestShow:
    def test_statistics_of_each_probe(self, run: Path) -> None:
        lines = shown(run, "--no-maps").splitlines()
        at = lines.index("  probes at step 1")
        assert [line.split() for line in lines[at + 1 :]] == [
            ["probe", "explained", "predicted", "logit", "probability", "mask_mass/stamp"],
            ["disk", "0", "disk", "cross", "1.25", "1.25", "1.25"],
            ["cross", "0", "cross", "none", "2.00", "2.00", "2.00"],
        ]

    def test_coloured_maps_in_a_terminal(self, run: Path) -> None:
        text = shown(run)
        assert "steps 0, 1" in text
        assert text.count("\u2580") == 2 * 2 * 2 * 6  # two probes, two steps, two lines of six columns
        assert text.count("38;2;128;0;0") == 2  # the disk's one pixel at each step
        assert shown(run, "--probe", "cross 0").count("\u2580") == 2 * 2 * 6

    def test_no_colours_where_they_are_not_wanted(self, run: Path) -> None:
        assert "\x1b" not in shown(run, NO_COLOR="1")
        assert "heatmaps" not in shown(run, NO_COLOR="1")
        signs = shown(run, "--maps", NO_COLOR="1").splitlines()
        assert signs[-11:] == [
            "  disk 0",
            "  ##" + 14 * " " + "##",
            *["", "", ""],
            "  cross 0",
            *["", ""],
            12 * " " + "==" + 12 * " " + "==",
            "",
            "  # + speak for the class, = - against it",
        ]
