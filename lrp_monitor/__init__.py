"""Watch learned features over training: LRP heatmaps, weight and gradient histograms in TensorBoard.

The public names are resolved on first use, so that ``import lrp_monitor`` (which TensorBoard does at every
start) imports neither TensorFlow nor Keras.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from lrp_monitor.engine import targets as targets
    from lrp_monitor.engine.checking import ModelReport as ModelReport
    from lrp_monitor.engine.checking import check as check
    from lrp_monitor.engine.conditional import LayerChannels as LayerChannels
    from lrp_monitor.engine.errors import UnsupportedModelError as UnsupportedModelError
    from lrp_monitor.engine.explainer import Explainer as Explainer
    from lrp_monitor.engine.explanation import Explanation as Explanation
    from lrp_monitor.engine.inspection import Inspection as Inspection
    from lrp_monitor.engine.inspection import LayerRelevance as LayerRelevance
    from lrp_monitor.engine.relevance import relevance as relevance
    from lrp_monitor.engine.rules import composites as composites
    from lrp_monitor.engine.rules import rules as rules
    from lrp_monitor.engine.rules.composites import Composite as Composite
    from lrp_monitor.engine.trace import treatments as treatments
    from lrp_monitor.notebook import Run as Run
    from lrp_monitor.notebook import open_run as open_run
    from lrp_monitor.passes.memory import OutOfMemoryError as OutOfMemoryError
    from lrp_monitor.probes import ProbeSet as ProbeSet
    from lrp_monitor.regression.comparing import compare as compare
    from lrp_monitor.regression.comparison import Comparison as Comparison
    from lrp_monitor.regression.errors import BaselineError as BaselineError
    from lrp_monitor.regression.snapshot import Snapshot as Snapshot
    from lrp_monitor.sanity.check import SanityReport as SanityReport
    from lrp_monitor.sanity.check import sanity_check as sanity_check
    from lrp_monitor.sanity.occlusion import Occlusion as Occlusion
    from lrp_monitor.sanity.occlusion import occlude as occlude
    from lrp_monitor.store.format import StoreError as StoreError
    from lrp_monitor.training.monitor import LRPMonitor as LRPMonitor

# name -> (module, attribute or None for the module itself)
_PUBLIC: dict[str, tuple[str, str | None]] = {
    "BaselineError": ("lrp_monitor.regression.errors", "BaselineError"),
    "Comparison": ("lrp_monitor.regression.comparison", "Comparison"),
    "Composite": ("lrp_monitor.engine.rules.composites", "Composite"),
    "Explainer": ("lrp_monitor.engine.explainer", "Explainer"),
    "Explanation": ("lrp_monitor.engine.explanation", "Explanation"),
    "Inspection": ("lrp_monitor.engine.inspection", "Inspection"),
    "LRPMonitor": ("lrp_monitor.training.monitor", "LRPMonitor"),
    "LayerChannels": ("lrp_monitor.engine.conditional", "LayerChannels"),
    "LayerRelevance": ("lrp_monitor.engine.inspection", "LayerRelevance"),
    "ModelReport": ("lrp_monitor.engine.checking", "ModelReport"),
    "Occlusion": ("lrp_monitor.sanity.occlusion", "Occlusion"),
    "OutOfMemoryError": ("lrp_monitor.passes.memory", "OutOfMemoryError"),
    "ProbeSet": ("lrp_monitor.probes", "ProbeSet"),
    "Run": ("lrp_monitor.notebook", "Run"),
    "Snapshot": ("lrp_monitor.regression.snapshot", "Snapshot"),
    "SanityReport": ("lrp_monitor.sanity.check", "SanityReport"),
    "StoreError": ("lrp_monitor.store.format", "StoreError"),
    "UnsupportedModelError": ("lrp_monitor.engine.errors", "UnsupportedModelError"),
    "check": ("lrp_monitor.engine.checking", "check"),
    "compare": ("lrp_monitor.regression.comparing", "compare"),
    "composites": ("lrp_monitor.engine.rules.composites", None),
    "occlude": ("lrp_monitor.sanity.occlusion", "occlude"),
    "open_run": ("lrp_monitor.notebook", "open_run"),
    "relevance": ("lrp_monitor.engine.relevance", "relevance"),
    "rules": ("lrp_monitor.engine.rules.rules", None),
    "sanity_check": ("lrp_monitor.sanity.check", "sanity_check"),
    "targets": ("lrp_monitor.engine.targets", None),
    "treatments": ("lrp_monitor.engine.trace.treatments", None),
}

__all__ = ["__version__", *sorted(_PUBLIC)]


if not TYPE_CHECKING:  # A type checker that saw it would take any misspelt name for Any.

    def __getattr__(name: str) -> Any:
        try:
            module_name, attribute = _PUBLIC[name]
        except KeyError:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
        module = importlib.import_module(module_name)
        value = module if attribute is None else getattr(module, attribute)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
