"""relevance(): an Explainer made and called once."""

from __future__ import annotations

from typing import Any, Unpack, overload

import numpy as np
from numpy.typing import NDArray

from lrp_monitor.arguments import Preset, check_keywords
from lrp_monitor.engine.explainer import Explainer, ExplainerOptions
from lrp_monitor.engine.rules.composites import Composite
from lrp_monitor.engine.targets import Target


@overload
def relevance(
    model: Any,
    inputs: NDArray[Any],
    target: Target = None,
    composite: Preset | Composite = "auto",
    **options: Unpack[ExplainerOptions],
) -> NDArray[np.float32]: ...
@overload
def relevance(
    model: Any,
    inputs: Any,
    target: Target = None,
    composite: Preset | Composite = "auto",
    **options: Unpack[ExplainerOptions],
) -> Any: ...
def relevance(
    model: Any,
    inputs: Any,
    target: Target = None,
    composite: Preset | Composite = "auto",
    **options: Unpack[ExplainerOptions],
) -> Any:
    """Relevance of ``inputs`` for ``target``: float32 of the inputs' shape, summing to (about) the explained logit.

    A short form of ``Explainer(model, composite, **options)(inputs, target)``, which see; to explain more than once,
    make the Explainer, which compiles once.
    """
    check_keywords(relevance, options, Explainer)
    return Explainer(model, composite, **options)(inputs, target)
