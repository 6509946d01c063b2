"""How like a pinned baseline the heatmaps are while a model trains: curves beside the others."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrp_monitor.engine.explainer import Explainer, Explanation
from lrp_monitor.probes import ProbeSet
from lrp_monitor.regression.comparing import check_comparable, check_probes, compare, snapshot_of
from lrp_monitor.regression.errors import BaselineError
from lrp_monitor.regression.snapshot import Snapshot, probe_digests

PREFIX = "lrp/baseline/"


def read_baseline(source: Any, probes: ProbeSet) -> Snapshot:
    """The baseline at a path (or a Snapshot, a logged run), of these probes.

    BaselineError where it is missing, damaged or of other probes; TypeError for what cannot be one.
    """
    snapshot = snapshot_of(source)
    if snapshot.digests is not None:
        check_probes(snapshot.digests, probe_digests(probes), probes.names)
    if snapshot.heatmaps.shape != (len(probes), *probes.map_shape):
        raise BaselineError(
            "probes",
            f"another probe set: maps {(len(probes), *probes.map_shape)}, the baseline's {snapshot.heatmaps.shape}",
        )
    none = np.flatnonzero(snapshot.targets < 0)
    if len(none):
        raise BaselineError(
            "classes",
            f"no class is explained at {len(none)} probes of the baseline, {probes.names[int(none[0])]!r} among them: "
            "its logits were not finite",
        )
    return snapshot


class BaselineSimilarity:
    """Compares the probes' heatmaps at each log with a baseline.

    Args:
        targets: the classes that are explained, None for the baseline's.

    Raises:
        BaselineError: where the maps could not be compared: another composite, other classes explained.
    """

    def __init__(
        self, before: Snapshot, explainer: Explainer, probes: ProbeSet, targets: NDArray[np.int64] | None
    ) -> None:
        self._before = before
        self._first = Snapshot.of(explainer, probes, target=before.targets if targets is None else targets)
        check_comparable(before, self._first)

    @property
    def targets(self) -> NDArray[np.int64]:
        """The classes explained in the baseline, (n,)."""
        return self._before.targets

    @property
    def source(self) -> str:
        """A description of what the baseline was made of."""
        return str(self._before.meta.get("source", "made by hand"))

    def scalars(
        self, explanation: Explanation, heatmaps: NDArray[np.float32], predicted_sets: NDArray[np.bool_] | None = None
    ) -> dict[str, float]:
        """Means over the probes, as scalars under lrp/baseline/.

        relative_l2, cosine, iou, js, logits (see `lrp_monitor.metrics`),
        flips (share of changed predictions), mask_rise/<mask> (rise of the mask's share) and mask_probes/<mask> (how
        many probes that is the mean of). Only what is finite.
        """
        now = replace(
            self._first,
            heatmaps=heatmaps,
            logit=explanation.logit,
            logits=explanation.logits,
            targets=explanation.target,
            predictions=explanation.prediction,
            predicted_sets=predicted_sets,
        )
        with np.errstate(all="ignore"):
            # The tier sets limits; the numbers are the same under each.
            found = compare(self._before, now, tier="retrained").summary()
        named = {name.replace("mask_mass/", "mask_rise/"): value for name, value in found.items() if name != "failing"}
        return {f"{PREFIX}{name}": value for name, value in named.items() if math.isfinite(value)}
