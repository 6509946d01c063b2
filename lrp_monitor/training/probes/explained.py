"""The probes as explained at a log: explanation, heatmaps and statistics."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrp_monitor.engine.conditional import LayerChannels
from lrp_monitor.engine.explainer import Explainer, Explanation
from lrp_monitor.engine.targets import Position, Region, Target, Weighted, as_region, predicted_region
from lrp_monitor.mapped import let_go
from lrp_monitor.probes import ProbeSet
from lrp_monitor.probes.label_sets import LabelSets, label_sets
from lrp_monitor.probes.labels import check_numbers
from lrp_monitor.training.output.console_report import size
from lrp_monitor.training.probes.baseline import BaselineSimilarity
from lrp_monitor.training.probes.features import LoggedFeatures
from lrp_monitor.training.probes.layers import LoggedLayers
from lrp_monitor.training.probes.statistics import Floats, logit_scalars, probe_statistics

_AT_A_TIME = 4 << 20
"""Bytes of float64 maps whose statistics are computed together."""

Targets = NDArray[np.int64] | Region | None
"""The classes explained, or a run's region of maps; None where that is still to be chosen."""


@dataclass
class ExplainedProbes:
    """The probes as the model sees them now.

    Attributes:
        heatmaps: (n, *map_shape).
        statistics: (n,) each.
        channels: (n, *map_shape, c), the heatmaps' parts by input channel, where asked for.
        scalars: values over all probes beyond the means of the statistics.
    """

    explanation: Explanation
    heatmaps: NDArray[np.float32]
    statistics: dict[str, Floats]
    channels: NDArray[np.float32] | None = None
    scalars: dict[str, float] = field(default_factory=dict)
    layer_channels: list[LayerChannels] = field(default_factory=list)
    """Relevance by channel of the layers whose features are logged."""
    predicted_maps: NDArray[np.int64] | None = None
    """(n, *places) the predicted class of each place of an output of maps."""
    target: Target = None
    """What the pass explained; the class of a probe that has none yet is not in it."""


@dataclass
class ProbeExplainer:
    """Explains the probes, in one compiled pass.

    layerwise: the layers whose relevance is read off besides, or None. channels: whether the parts by input channel
    are kept. clusters: whether the heatmaps are grouped. baseline: what they are compared with, or None. region: what
    is explained where it is no class, see `ProbeSet.region`. is_number: whether it is a number, not a class' logit.
    features: the layers whose channels are logged, or None. sets: the probes' labels where they are sets of classes.
    """

    explainer: Explainer
    probes: ProbeSet
    logged_layers: LoggedLayers | None = None
    channels: bool = False
    clusters: bool = False
    baseline: BaselineSimilarity | None = None
    region: Weighted | None = None
    is_number: bool = False
    features: LoggedFeatures | None = None
    sets: LabelSets | None = None

    @property
    def explains(self) -> str:
        """What is explained of the probes: "class", "region" (of an output of maps) or "number" (of a regression)."""
        return "region" if self.region is not None else "number" if self.is_number else "class"

    @property
    def needs(self) -> str:
        """The number of probes, of probes per pass, and a pass's memory; known after the first pass."""
        chunk, needed = self.explainer.passes.last or (len(self.probes), 0)
        many = "all" if chunk >= len(self.probes) else str(chunk)
        return f"{len(self.probes)} probes, {many} at a time, about {size(needed)} of memory a pass"

    def explain(self, targets: Targets, previous: NDArray[np.float32] | None) -> ExplainedProbes:
        """With the model's present weights.

        Args:
            targets: the classes to explain, None for the predicted ones, and -1 for that of a single probe, which had
                none so far; or the region that the run explains, in place of `region`.
            previous: the log before's heatmaps.
        """
        probes = self.probes
        layers: dict[str, Floats] = {}
        region = targets if isinstance(targets, Region) else self.region
        classes = None if region is not None or isinstance(targets, Region) else targets
        if classes is not None and (classes < 0).any():
            predicted = self.explainer.explain(probes.inputs, self._placed(None), reduced=probes.heatmaps).prediction
            classes = np.where(classes < 0, predicted, classes)
        known: Target = (
            region if region is not None else self._placed(None if classes is None else np.maximum(classes, 0))
        )
        channels: list[LayerChannels] = []
        if self.features is not None and self.logged_layers is None:
            explanation, channels = self.explainer.channels(probes.inputs, self.features.choose, known)
        elif self.logged_layers is None:
            reduced = None if self.channels else probes.heatmaps
            explanation = self.explainer.explain(probes.inputs, known, reduced=reduced)
        if self.logged_layers is not None:
            inspection = self.explainer.inspect(probes.inputs, known)
            explanation, layers = inspection.explanation, self.logged_layers.columns(inspection)
            if self.features is not None:
                channels = self.features.of(inspection)
        if classes is not None and (none := classes < 0).any():
            explanation = explanation.without(none)
            layers = {name: np.where(none, np.nan, values) for name, values in layers.items()}
            for one in channels:
                one.relevance[none] = np.nan
        is_reduced = explanation.reduced_sum is not None
        heatmaps = explanation.relevance if is_reduced else probes.heatmaps(explanation.relevance)
        explained = ExplainedProbes(
            explanation, heatmaps, self._statistics(heatmaps, explanation, previous) | layers, layer_channels=channels,
            scalars=logit_scalars(explanation), target=known,
        )  # fmt: skip
        explained.predicted_maps = explanation.predicted_maps(probes.label_maps is not None)
        if explained.predicted_maps is not None and probes.label_maps is not None:
            explained.statistics["label_accuracy"] = share_right(explained.predicted_maps, probes.label_maps)
        if self.channels:
            explained.channels = probes.by_channel(explanation.relevance)
        if self.clusters:
            explained.statistics["cluster"] = groups(heatmaps)
        if self.baseline is not None:
            sets = None if self.sets is None else self.sets.predicted(explanation)
            explained.scalars |= self.baseline.scalars(explanation, heatmaps, sets, region)
        return explained

    def _placed(self, classes: NDArray[np.int64] | None) -> Target:
        """Classes (None: the predicted ones) as a target: of the place of the output that the probes name, if any."""
        return classes if self.probes.position is None else Position(self.probes.position, classes)

    def settle_region(self, shape: tuple[int, ...], of_maps: bool) -> None:
        """Fixes what is explained where that is no class: the probes' own target, or what is predicted now.

        Args:
            shape: of the explained output, for one probe.
            of_maps: whether it is one of maps, of which no place is named.

        Raises:
            ValueError: where it is not finite, or the region lies outside of it.
        """
        self.region = self.probes.region
        if of_maps and self.region is None:
            self.region = predicted_region(self.explainer.logits(self.probes.inputs))
        elif of_maps and self.region is not None:
            self.region = as_region(self.region, shape, len(self.probes))

    def settle_number(self, targets: Targets, of_maps: bool) -> Targets:
        """Whether a number is explained, and its unit: the targets to go on with. After a first look.

        It is where the labels are numbers, or the output is one unit without a sigmoid. Raises ValueError where the
        labels are numbers and the output cannot be.
        """
        explainer, numbers = self.explainer, self.probes.numbers
        if of_maps:
            return targets
        units = 1 if explainer.is_binary else explainer.classes
        check_numbers(numbers, units, explainer.activation)
        self.is_number = numbers is not None or (units == 1 and not explainer.is_binary)
        # Of one unit with a sigmoid class 1 is its logit, class 0 the negative.
        return np.ones(len(self.probes), np.int64) if self.is_number and explainer.is_binary else targets

    def settle_labels(self, loss: Any) -> None:
        """Takes the probes' labels where they are sets of classes. After a first look.

        Args:
            loss: that the explained output is trained with.

        Raises:
            ValueError: where the model's classes exclude each other.
        """
        if self.probes.label_sets is not None:
            units = 1 if self.explainer.is_binary else self.explainer.classes
            self.sets = label_sets(self.probes.label_sets, units, self.explainer.activation, loss)

    def _numbers(self, explanation: Explanation) -> Floats | None:
        """What the explained units are to be, (n,), NaN without labels; None where no number is explained."""
        if not self.is_number:
            return None
        numbers, n = self.probes.numbers, len(self.probes)
        return np.full(n, np.nan) if numbers is None else numbers[np.arange(n), explanation.unit]

    def _statistics(
        self, heatmaps: NDArray[np.float32], explanation: Explanation, previous: NDArray[np.float32] | None
    ) -> dict[str, Floats]:
        """Of some probes after the others: in float64 and with copies, of all at once they take a log's most memory."""
        parts, numbers = [], self._numbers(explanation)
        rows = max(1, _AT_A_TIME // (8 * max(1, heatmaps[0].size)))
        for start in range(0, len(heatmaps), rows):
            few = slice(start, start + rows)
            masks = {name: mask[few] for name, mask in self.probes.masks.items()}
            before = None if previous is None else previous[few]
            wanted = None if numbers is None else numbers[few]
            sets = None if self.sets is None else self.sets.of(few)
            parts.append(probe_statistics(heatmaps[few], explanation.of(few), masks, before, wanted, sets))
            let_go(heatmaps, previous)
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def share_right(predicted: NDArray[np.int64], labels: NDArray[np.int64]) -> Floats:
    """The share of a probe's labelled places, of those with a prediction, that are right, (n,); NaN without any."""
    known = (labels >= 0) & (predicted >= 0)
    flat = (known.reshape(len(known), -1), (known & (predicted == labels)).reshape(len(known), -1))
    with np.errstate(all="ignore"):
        return np.asarray(flat[1].sum(axis=1) / flat[0].sum(axis=1))


def groups(heatmaps: NDArray[np.float32]) -> Floats:
    """The group of each heatmap, (n,): 0 the largest, -1 for a map without relevance. See `spectral.cluster`.

    ModuleNotFoundError that names the extra where scikit-learn is not installed.
    """
    from lrp_monitor.spectral import cluster  # for those who asked: scikit-learn is an extra

    return cluster(heatmaps).labels.astype(np.float64)
