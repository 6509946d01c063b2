"""Heatmaps of texts, tables and several inputs as lines of a terminal, and on a comparison's page."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from lrp_monitor.cli import input_lines
from lrp_monitor.cli.terminal import visible
from lrp_monitor.probes import ProbeSet
from lrp_monitor.probes.info import probe_info
from lrp_monitor.regression.comparing import compare
from lrp_monitor.regression.snapshot import Snapshot

WORDS = [["a", "quiet", "ri\x1bver", "burns", ""]]
MAP = np.array([0.0, 1.0, -2.0, np.nan, 0.0], np.float32)
FEATURES = [f"column {i}" for i in range(12)]


def text() -> ProbeSet:
    return ProbeSet(np.array([[1, 2, 3, 4, 0]]), tokens=WORDS)


def test_words_have_signs_or_colours() -> None:
    plain = input_lines.lines(probe_info(text()), 0, MAP, "none", 16, "seismic")
    assert plain == ["a quiet++", "ri?ver--- burns?"]
    coloured = input_lines.lines(probe_info(text()), 0, MAP, "truecolour", 32, "seismic")
    assert re.sub("\x1b\\[[0-9;]*m", "", coloured[0]) == "a quiet ri?ver burns"
    codes = re.findall(r"48;2;(\d+);(\d+);(\d+)m(\S+?)\x1b", coloured[0])
    colour = {word: tuple(map(int, rgb)) for *rgb, word in codes}
    assert colour["quiet"][0] > colour["quiet"][2]  # for the class: red
    assert colour["ri?ver"][2] > colour["ri?ver"][0]  # against it: blue
    many = ProbeSet(np.zeros((1, 300), np.int64), tokens=[[f"w{i}" for i in range(300)]])
    heatmap = np.zeros(300, np.float32)
    heatmap[[250, 7]] = 2, -1
    found = input_lines.lines(probe_info(many), 0, heatmap, "none", 30, "seismic")
    assert len(found) <= 8
    assert "w250+++" in " ".join(found)
    assert "of 300" in found[-1]
    assert all(visible(line) <= 30 for line in found)


def test_a_table_is_a_bar_for_each_leading_feature() -> None:
    probes = ProbeSet(np.arange(12.0)[None], feature_names=FEATURES)
    heatmap = np.linspace(0, 0.1, 12, dtype=np.float32)
    heatmap[[3, 5]] = 4, -2
    found = input_lines.lines(probe_info(probes), 0, heatmap, "none", 40, "seismic")
    assert found[0] == "column 3              3.00       |######"
    assert found[1] == "column 5              5.00    ===|"
    assert found[-1] == "and 4 more"
    coloured = input_lines.lines(probe_info(probes), 0, heatmap, "256", 40, "seismic")
    assert [visible(line) for line in coloured[:2]] == [len(line) for line in found[:2]]


def test_several_inputs_are_named() -> None:
    probes = ProbeSet({"picture": np.zeros((1, 4, 4, 1)), "row": np.ones((1, 2))}, feature_names={"row": ["a", "b"]})
    heatmap = np.zeros(18, np.float32)
    heatmap[16] = 1
    found = input_lines.lines(probe_info(probes), 0, heatmap, "none", 32, "seismic")
    assert found[0] == "picture:"
    assert found[found.index("row:") + 1].startswith("a ")


def test_a_comparison_draws_words_and_bars(tmp_path: Path) -> None:
    """Pictures as wide as words need them, alike in size for each probe; a row of pixels would be 24 high."""
    for probes in (text(), ProbeSet(np.arange(12.0)[None], feature_names=FEATURES)):
        maps = np.nan_to_num(np.resize(MAP, (1, *probes.map_shape)))
        one = Snapshot(
            heatmaps=maps,
            logit=np.ones(1, np.float32),
            targets=np.zeros(1, np.int64),
            predictions=np.zeros(1, np.int64),
            names=probes.names,
            images=probes.images,
            shown=probe_info(probes),
        )
        compare(one, replace(one, heatmaps=2 * maps)).write_html(tmp_path / "page.html")
        page = (tmp_path / "page.html").read_text("utf-8")
        drawn = [Image.open(io.BytesIO(base64.b64decode(data))) for data in re.findall(r"base64,([^\"]+)\"", page)]
        assert {picture.width for picture in drawn} == {260}
        assert len({picture.height for picture in drawn}) == 1
        given, before, now, difference = (np.asarray(picture.convert("RGB"), int) for picture in drawn)
        assert (before != given).any()
        np.testing.assert_array_equal(before, now)  # the same shares
        assert (difference != before).any()
