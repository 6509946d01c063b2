"""Masks that name features or tokens, or lie in one of several inputs, as boolean arrays of the heatmaps' shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrp_monitor.probes import checks as check
from lrp_monitor.probes.inputs import ProbeInput, iter_spans


def located(masks: Any, parts: Sequence[ProbeInput], map_shape: tuple[int, ...]) -> Any:
    """Masks as `checked_masks` takes them: regions by name or by input as boolean arrays, others as given.

    Raises:
        ValueError: for names of no feature, token or watched input.
    """
    if not isinstance(masks, Mapping):
        return masks
    return {name: _region(f"masks[{name!r}]", region, parts, map_shape) for name, region in masks.items()}


def _region(what: str, region: Any, parts: Sequence[ProbeInput], map_shape: tuple[int, ...]) -> Any:
    spans, n = list(iter_spans(parts)), len(parts[0])
    if not isinstance(region, Mapping):
        if len(spans) == 1:
            return _places(what, spans[0][0], region) if _is_named(region) else region
        if np.shape(region) == (n, *map_shape):
            return region
        listed = ", ".join(repr(part.name) for part, _ in spans)
        raise ValueError(f"{what}: say in which input it lies, {{input: region}}; the watched ones are {listed}")
    known = {part.name: (part, span) for part, span in spans}
    found = np.zeros((n, spans[-1][1].stop), bool)
    for name, inner in region.items():
        if name not in known:
            raise ValueError(f"{what}: {name!r} is no watched input; there are {', '.join(known)}")
        part, span = known[name]
        where = _places(what, part, inner) if _is_named(inner) else inner
        found[:, span] = check.checked_masks({name: where}, part.map_shape, n)[name].reshape(n, -1)
    return found.reshape(n, *map_shape)


def _is_named(region: Any) -> bool:
    """Whether a region is a name of a feature or token, or several."""
    several = isinstance(region, list | tuple) and bool(region) and all(isinstance(one, str) for one in region)
    return isinstance(region, str) or several


def _places(what: str, part: ProbeInput, names: str | Sequence[str]) -> NDArray[np.bool_]:
    """Where features or tokens of these names are."""
    try:
        return part.places([names] if isinstance(names, str) else list(names))
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from error
