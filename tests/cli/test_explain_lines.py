"""The lines that `explain` prints: small sums of relevance with their digits, and why they are small."""

from __future__ import annotations

from typing import Any

import pytest

from lrp_monitor.cli.commands.explain import _line, _why


def row(**changed: Any) -> dict[str, Any]:
    usual = {
        "input": "a.png",
        "target": 1,
        "class": "cat",
        "explains": "class",
        "prediction": 1,
        "predicted_class": "cat",
    }
    return {
        **usual,
        "logit": 12.3456,
        "probability": 0.00041,
        "relevance_sum": 0.005,
        "conservation": 0.0004123,
        **changed,
    }


def test_a_small_sum_has_its_digits() -> None:
    line = "a.png: cat, logit 12.35, probability 0.000410; sum of relevance / logit 0.000412"
    assert _line(row()) == line
    assert _line(row(logit=None, conservation=None, prediction=None, probability=None)) == (
        "a.png: cat (no prediction: the logits are not finite), logit not finite; sum of relevance / logit -"
    )


@pytest.mark.parametrize(("kept", "lines"), [(0.0004, 1), (1.3, 1), (-2.0, 1), (0.97, 0), (1.0, 0), (None, 0)])
def test_sums_far_from_one_say_why_once(kept: float | None, lines: int) -> None:
    found = _why([row(conservation=1.0), row(conservation=kept), row(conservation=kept)])
    assert len(found) == lines
    assert all("below 1 biases took their share" in line and "lrp-monitor check" in line for line in found)
