"""Strips of a film out of a logged run: what of a probe is drawn, whatever its kind."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lrp_monitor.pictures.film import Strip
from lrp_monitor.pictures.inputs import drawn_inputs
from lrp_monitor.store.format import ProbeInfo
from lrp_monitor.store.reader import Run


def strip_of(run: Run, probe: int, steps: Sequence[int], title: str, mask: NDArray[np.bool_] | None = None) -> Strip:
    """A probe, by its position, at steps that hold maps. Raises what reading them raises."""
    maps = np.stack([run.heatmap(probe, step) for step in steps])
    predicted = predicted_maps(run, [probe], steps)
    info = run.probes
    return Strip(
        title,
        maps,
        _captions(maps),
        info.images[probe],
        mask,
        drawn_inputs(info, probe),
        None if (labels := label_maps(info)) is None else labels[probe],
        None if predicted is None else predicted[0],
        info.class_names,
    )


def label_maps(info: ProbeInfo) -> NDArray[np.int64] | None:
    """The labels of all places that are drawn (n, *places).

    None where there are none, or where one of many tokens or times is explained, whose label is the probe's own.
    """
    maps = info.label_maps
    return None if maps is None or (info.position is not None and maps.ndim == 2) else maps


def predicted_maps(run: Run, probes: Sequence[int], steps: Sequence[int]) -> NDArray[np.int64] | None:
    """The predicted class of each place, (p, s, *places); None where a step holds none: the output is none of maps."""
    if any(run.record(step).predicted is None for step in steps):
        return None
    return np.stack([run.predicted_maps(step)[list(probes)] for step in steps], axis=1)


def _captions(maps: NDArray[np.float32]) -> list[str]:
    """What stands under maps (s, *map shape): which of them are not finite; nothing where all are."""
    finite = [bool(np.isfinite(one).all()) for one in maps]
    return [] if all(finite) else ["" if one else "not finite" for one in finite]
