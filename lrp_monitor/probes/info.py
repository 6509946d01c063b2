"""A probe set as it is shown to a person: what the store, a baseline's report and pictures know of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lrp_monitor.store.format import InputInfo, ProbeInfo

if TYPE_CHECKING:
    from lrp_monitor.probes.inputs import ProbeInput
    from lrp_monitor.probes.probe_set import ProbeSet


def probe_info(probes: ProbeSet, region: Any = None) -> ProbeInfo:
    """The probes as the store keeps them; region: what is explained of an output of maps, where that is a Region."""
    kept = region if isinstance(getattr(region, "where", None), np.ndarray) else None
    watched = [part for part in probes.parts if part.watched]
    return ProbeInfo(
        names=list(probes.names),
        labels=probes.labels,
        class_names=None if probes.class_names is None else list(probes.class_names),
        images=probes.images,
        masks=dict(probes.masks),
        map_shape=probes.map_shape,
        hash=probes.hash,
        input_shape=probes.sample_shape,
        statistics=probes.statistics,
        region=None if kept is None else kept.where,
        region_of=None if kept is None else np.broadcast_to(kept.of, len(probes)),
        inputs=[input_info(part, len(watched) > 1) for part in watched],
        numbers=probes.numbers,
        label_sets=probes.label_sets,
        label_maps=probes.label_maps,
        position=probes.position,
    )


def input_info(part: ProbeInput, is_one_of_several: bool) -> InputInfo:
    """An input as the store keeps it."""
    has_values = part.kind in ("series", "table", "tokens")
    names = part.feature_names
    return InputInfo(
        name=part.name,
        kind=part.kind,
        map_shape=part.map_shape,
        input_shape=part.sample_shape,
        feature_names=None if names is None else list(names),
        tokens=None if part.tokens is None else [list(texts) for texts in part.tokens],
        values=part.values.astype(np.float32) if has_values and part.channel_axis is None else None,
        pictures=part.pictures() if is_one_of_several and not has_values else None,
    )
