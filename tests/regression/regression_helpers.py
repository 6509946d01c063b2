"""Snapshots made by hand, for what needs no model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from lrp_monitor import Snapshot

RULES = ["composite epsilon_plus", "  convolutions          ZPlus(epsilon=1e-06)"]


def make_snapshot(n: int = 8, side: int = 10, classes: int = 4, seed: int = 0, **changes: Any) -> Snapshot:
    """n probes with random maps (side, side) of both signs; probe i is of class i modulo classes, and so predicted."""
    rng = np.random.default_rng(seed)
    target = np.arange(n) % classes
    logits = rng.normal(size=(n, classes)).astype(np.float32)
    logits[np.arange(n), target] += 6
    made = Snapshot(
        heatmaps=rng.normal(size=(n, side, side)).astype(np.float32),
        logit=logits[np.arange(n), target],
        logits=logits,
        targets=target,
        predictions=logits.argmax(axis=1),
        names=tuple(f"probe {i}" for i in range(n)),
        images=rng.integers(0, 255, size=(n, side, side, 1), dtype=np.uint8),
        labels=target,
        digests=tuple(f"{i:016x}" for i in range(n)),
        meta={"composite": "epsilon_plus", "composite_rules": RULES, "probes_hash": "ab" * 32, "source": "a test"},
    )
    return replace(made, **changes)


def checks_of(comparison: Any) -> dict[str, bool]:
    """The checks that have a limit, by name."""
    return {check.name: check.ok for check in comparison.checks if check.limited}
