"""Charts and bars, down to where a line's pixels are."""

from __future__ import annotations

import numpy as np
import pytest

from lrp_monitor.pictures import chart

BLUE, ORANGE = chart.COLOURS[:2]


def where(picture: np.ndarray, colour: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    return np.nonzero((picture == colour).all(axis=-1))


class TestTicks:
    @pytest.mark.parametrize(
        ("low", "high", "ticks"),
        [
            (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
            (-3, 12, [0, 5, 10]),
            (0, 940, [0, 200, 400, 600, 800]),
            (2, 2, [2]),
        ],
    )
    def test_round_numbers(self, low: float, high: float, ticks: list[float]) -> None:
        assert chart.nice_ticks(low, high) == ticks


class TestChart:
    def test_a_line_goes_where_its_numbers_say(self) -> None:
        picture = chart.chart([chart.Line("up", [0, 1], [0, 1])], size=(400, 300))
        assert picture.shape == (300, 400, 3)
        rows, columns = where(picture[:240], BLUE)  # the legend below has its colour too
        assert rows[columns.argmin()] > 200  # starts low
        assert rows[columns.argmax()] < 50  # ends high
        slope = np.polyfit(columns, rows, 1)[0]
        assert slope == pytest.approx(-(300 - 88) / 1.12 / (400 - 96), rel=0.03)

    def test_what_is_not_finite_leaves_a_gap(self) -> None:
        picture = chart.chart([chart.Line("gap", range(5), [1, 1, np.nan, 1, 1])], size=(400, 300))
        columns = set(where(picture[:240], BLUE)[1])
        assert columns
        assert not columns & set(range(62 + 304 // 4 + 6, 62 + 3 * 304 // 4 - 6))

    def test_errors(self) -> None:
        with pytest.raises(ValueError, match=r"line 'a': \(2,\) values of x, but \(3,\) of y"):
            chart.chart([chart.Line("a", [0, 1], [1, 2, 3])])
        with pytest.raises(ValueError, match="at least one finite point"):
            chart.chart([chart.Line("a", [0.0], [np.nan])])


class TestBars:
    def test_lengths(self) -> None:
        picture = chart.bars(["a", "b", "c"], [0.5, 1.0, np.nan], [0.25, 0.25, 0.25])
        lengths = [int((picture[34 + 20 * row + 7] == BLUE).all(axis=-1).sum()) for row in range(3)]
        assert lengths[0] == pytest.approx(lengths[1] / 2, abs=3)
        assert lengths[2] == 0
        assert (picture[34 + 7] == ORANGE).all(axis=-1).sum() == 2

    def test_one_value_a_name(self) -> None:
        with pytest.raises(ValueError, match="2 names, but values of shape"):
            chart.bars(["a", "b"], [1.0])


def test_stacked_on_one_page() -> None:
    page = chart.stack([np.zeros((2, 3, 3), np.uint8), np.zeros((1, 5, 3), np.uint8)])
    assert page.shape == (3, 5, 3)
    assert (page[:2, 3:] == 255).all()
    with pytest.raises(ValueError, match="nothing to stack"):
        chart.stack([])
