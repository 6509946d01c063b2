"""How like a pinned baseline the heatmaps are while a model trains: curves beside the others."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrp_monitor.engine.explainer import Explainer, Explanation
from lrp_monitor.engine.targets import Region, Weighted
from lrp_monitor.probes import ProbeSet
from lrp_monitor.regression.comparable import check_comparable, check_probes
from lrp_monitor.regression.comparing import compare, snapshot_of
from lrp_monitor.regression.errors import BaselineError
from lrp_monitor.regression.origin import probe_digests
from lrp_monitor.regression.places import parts_of
from lrp_monitor.regression.snapshot import Snapshot

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
    if len(none) and snapshot.explains == "class":
        raise BaselineError(
            "classes",
            f"no class is explained at {len(none)} probes of the baseline, {probes.names[int(none[0])]!r} among them: "
            "its logits were not finite",
        )
    return snapshot


class BaselineSimilarity:
    """Compares the probes' heatmaps at each log with a baseline.

    Raises:
        BaselineError: where the maps could not be compared: another composite, other classes or regions explained.
    """

    def __init__(self, before: Snapshot, explainer: Explainer, probes: ProbeSet) -> None:
        self._before, self._probes = before, probes
        predicted = before.target_for(probes)
        self._first = Snapshot.of(explainer, probes, target=predicted)
        check_comparable(before, self._first)
        self.targets: NDArray[np.int64] | Region | None = self._first.targets if before.explained is None else predicted
        """What is explained in the baseline, where the probes do not say so themselves: classes (n,), or a region."""

    @property
    def source(self) -> str:
        """A description of what the baseline was made of."""
        return str(self._before.meta.get("source", "made by hand"))

    def scalars(
        self,
        explanation: Explanation,
        heatmaps: NDArray[np.float32],
        predicted_sets: NDArray[np.bool_] | None = None,
        region: Weighted | None = None,
    ) -> dict[str, float]:
        """Means over the probes, as scalars under lrp/baseline/.

        relative_l2, cosine, iou, js, logits (see `lrp_monitor.metrics`), flips (share of the probes whose prediction
        changed), of outputs of maps places (share of the places whose prediction changed, the larger one of those in
        the region and outside of it), mask_rise/<mask> (rise of the mask's share) and mask_probes/<mask> (how many
        probes that is the mean of). Only what is finite.

        Args:
            region: what was explained where it was no class.
        """
        now = replace(
            self._first,
            heatmaps=heatmaps,
            predicted_sets=predicted_sets,
            **parts_of(explanation, self._probes, region),
        )
        with np.errstate(all="ignore"):
            # The tier sets limits; the numbers are the same under each.
            found = compare(self._before, now, tier="retrained").summary()
        named = {name.replace("mask_mass/", "mask_rise/"): value for name, value in found.items() if name != "failing"}
        return {f"{PREFIX}{name}": value for name, value in named.items() if math.isfinite(value)}
