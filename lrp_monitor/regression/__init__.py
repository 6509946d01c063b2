"""Regression tests on probe heatmaps: what a model looks at, pinned like its outputs."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lrp_monitor.regression.baseline import read_baseline as read_baseline
    from lrp_monitor.regression.baseline import write_baseline as write_baseline
    from lrp_monitor.regression.comparing import compare as compare
    from lrp_monitor.regression.comparison import Comparison as Comparison
    from lrp_monitor.regression.errors import BaselineError as BaselineError
    from lrp_monitor.regression.snapshot import Snapshot as Snapshot
    from lrp_monitor.regression.tiers import TIERS as TIERS
    from lrp_monitor.regression.tiers import Limits as Limits

# Resolved on first use: pytest imports this package at every start, for its plugin.
_PUBLIC = {
    "BaselineError": "errors",
    "Comparison": "comparison",
    "Limits": "tiers",
    "Snapshot": "snapshot",
    "TIERS": "tiers",
    "compare": "comparing",
    "read_baseline": "baseline",
    "write_baseline": "baseline",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    globals()[name] = value
    return value
