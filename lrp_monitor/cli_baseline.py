"""The commands about baselines, `lrp-monitor compare` and `lrp-monitor baseline`: what they accept."""

from __future__ import annotations

from typing import Any


def add_compare(commands: Any) -> None:
    """Declares `compare`."""


def add_baseline(commands: Any) -> None:
    """Declares `baseline`."""
