"""What every check is about: a model, its probes, what of them is explained, and the heatmaps that are questioned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lrp_monitor.arguments import Preset
from lrp_monitor.engine.explainer import Explainer, ExplainerOptions, Explanation
from lrp_monitor.engine.rules.composites import Composite
from lrp_monitor.engine.targets import (
    Position,
    Region,
    Target,
    Weighted,
    as_region,
    predicted_region,
    sums_by_class,
)
from lrp_monitor.probes import ProbeSet
from lrp_monitor.probes.inputs import ProbeInput
from lrp_monitor.probes.labels import explained_units
from lrp_monitor.probes.regions import of_rows

Fill = str | float | ArrayLike | Mapping[str, str | float | ArrayLike]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Subject:
    """A model and its probes, explained once.

    Attributes:
        leaves: the arrays of all inputs, (n, *sample shape): floats as float32, token ids as they are.
        targets: (n,) the explained classes, or units; of a region of a map the class whose map is meant; -1 for none.
        region: what is explained of an output of maps where it is no class at one place, else None.
        maps: float32 (n, *map shape), the probes' heatmaps.
    """

    explainer: Explainer
    probes: ProbeSet
    leaves: tuple[NDArray[Any], ...]
    targets: NDArray[np.int64]
    region: Weighted | None
    explanation: Explanation
    maps: NDArray[np.float32]

    @classmethod
    def of(
        cls,
        model: Any,
        probes: Any,
        composite: Preset | Composite = "auto",
        **options: Unpack[ExplainerOptions],
    ) -> Subject:
        """Explains the probes once. probes: a ProbeSet, or an array of samples, explained for the predicted class.

        Of an output of maps without a target the predicted region is explained, see `targets.predicted_region`. A
        Subject stands for itself. Raises what ProbeSet and Explainer raise.
        """
        if isinstance(model, Subject):
            return model
        probes = probes if isinstance(probes, ProbeSet) else ProbeSet(probes)
        explainer = Explainer(probes.model_behind(model), composite, **options)
        leaves = tuple(_as_taken(part) for part in probes.parts)
        inputs = probes.arranged(leaves)
        logits, targets = explainer.logits(inputs), explained_units(probes, explainer)
        region = probes.region
        if region is None and probes.position is None and logits.ndim > 2:
            region = predicted_region(logits)
        if region is not None:
            region = as_region(region, logits.shape[1:], len(probes))
            of = region.of if isinstance(region, Region) else -1
            targets = np.array(np.broadcast_to(of, len(probes)), np.int64)
        explanation = explainer.explain(inputs, _target(probes, region, targets))
        maps = probes.heatmaps(explanation.relevance)
        finite = np.isfinite(maps).reshape(len(maps), -1).all(axis=1) & np.isfinite(explanation.logit)
        if explanation.has_classes:
            finite &= explanation.prediction >= 0
        if not finite.all():
            broken = np.flatnonzero(~finite)
            raise ValueError(
                f"heatmaps or logits of {len(broken)} of {len(maps)} probes are not finite, "
                f"{probes.names[int(broken[0])]!r} among them: such heatmaps cannot be judged; lrp.check(model) "
                "says in which layer it begins"
            )
        chosen = explanation.target if region is None else targets
        return cls(explainer, probes, leaves, np.asarray(chosen, np.int64), region, explanation, maps)

    def __len__(self) -> int:
        return len(self.probes)

    @property
    def inputs(self) -> Any:
        """The probes as the model takes them."""
        return self.probes.arranged(self.leaves)

    def target(self, classes: NDArray[Any] | None = None, row: int | None = None) -> Target:
        """What is explained: of each probe, or of one alone; for other classes (n,) at the same place or region."""
        return _target(self.probes, self.region, self.targets if classes is None else classes, row)

    def heatmaps(self, classes: NDArray[Any] | None = None) -> NDArray[np.float32]:
        """(n, *map shape) with the model's present weights, for what is explained or other classes (n,)."""
        return self.probes.heatmaps(self.explainer(self.inputs, self.target(classes)))

    @property
    def score(self) -> Floats:
        """(n,) the explained logits."""
        return self.explanation.logit.astype(np.float64)

    @property
    def by_class(self) -> Floats | None:
        """(n, k) the logit of every class that may be explained; None where what is explained has no class.

        Of a region of a map the sum of each class there.
        """
        logits = self.explanation.logits.astype(np.float64)
        if self.region is None:
            return np.concatenate([-logits, logits], axis=1) if self.explanation.is_binary else logits
        return sums_by_class(logits, self.region.where) if isinstance(self.region, Region) else None

    def scores(self, inputs: Any, of: NDArray[np.int64]) -> Floats:
        """The explained logit of changed copies of the probes `of`, (m,), as `covered` makes them: float64 (m,)."""
        logits = self.explainer.logits(inputs).astype(np.float64)
        rows = np.arange(len(logits))
        if self.region is not None:
            weights = self.region.weights(logits.shape[1:], len(self))[of]
            found: Floats = np.where(weights == 0, 0.0, logits * weights).reshape(len(rows), -1).sum(axis=1)
            return found
        if self.probes.position is not None:
            places = Position(self.probes.position).numbers(logits.shape[1:], len(self))
            logits = logits.reshape(len(rows), -1, logits.shape[-1])[rows, places[of]]
        targets = self.targets[of]
        if self.explanation.is_binary:
            return np.where(targets == 0, -logits[:, 0], logits[:, 0])
        return np.asarray(logits[rows, targets])

    def filling(self, fill: Fill, seed: int = 0) -> list[NDArray[Any]]:
        """What is seen where something is covered, for all probes: an array (n, *sample shape) for each input.

        Args:
            fill: "mean": each channel's mean over all probes, of token ids 0, which most vocabularies pad with;
                "noise": uniform between each channel's least and largest value over all probes (Samek et al. 2017,
                section IV); a number, or an array that fits a sample. Of several inputs one for all, or a dict of them
                by the inputs' names, where the others have "mean".
        """
        names = [part.name for part in self.probes.parts if part.watched]
        if isinstance(fill, Mapping) and (unknown := sorted(set(fill) - set(names))):
            raise ValueError(f"fill: no watched input {unknown[0]!r}; there are {', '.join(names)}")
        found = []
        for place, (part, values) in enumerate(zip(self.probes.parts, self.leaves, strict=True)):
            own = fill.get(part.name, "mean") if isinstance(fill, Mapping) else fill
            found.append(_filled(part, values, own, (seed, place) if place else seed) if part.watched else values)
        return found

    def covered(self, of: NDArray[np.int64], masks: NDArray[np.bool_], filling: Sequence[NDArray[Any]]) -> Any:
        """Copies of the probes `of` (m,) with masks (m, *map shape) covered, as the model takes them."""
        by_name = self.probes.split(masks)
        copies = []
        for part, values, other in zip(self.probes.parts, self.leaves, filling, strict=True):
            if not part.watched:
                copies.append(values[of])
                continue
            mask = by_name[part.name]
            where = mask if part.channel_axis is None else np.expand_dims(mask, part.channel_axis)
            copies.append(np.where(where, other[of], values[of]))
        return self.probes.arranged(copies)


def _target(probes: ProbeSet, region: Weighted | None, classes: NDArray[Any] | None, row: int | None = None) -> Target:
    """Classes (None: the predicted ones) as a target: at the probes' place of the output or in a region, if any."""
    rows = slice(None) if row is None else slice(row, row + 1)
    if isinstance(region, Region):
        return Region(region.where[rows], np.asarray(classes)[rows])
    if region is not None:
        return region if row is None else of_rows(region, np.array([row]), len(probes))
    wanted = None if classes is None else classes[rows]
    return wanted if probes.position is None else Position(probes.position[rows], wanted)


def _is_ids(part: ProbeInput, values: NDArray[Any]) -> bool:
    return part.kind == "tokens" and values.dtype.kind in "iu"


def _as_taken(part: ProbeInput) -> NDArray[Any]:
    values = part.values
    return values if not part.watched or _is_ids(part, values) else np.ascontiguousarray(values, np.float32)


def _filled(part: ProbeInput, values: NDArray[Any], fill: Any, seed: Any) -> NDArray[Any]:
    """What covers one input; see `Subject.filling`."""
    # The axes that a fill is taken over: all but the channels', or the probes' alone where there are none.
    axis = part.channel_axis
    axes = (0,) if axis is None else tuple(other for other in range(values.ndim) if other != axis)
    if not isinstance(fill, str):
        given = np.asarray(fill, values.dtype)
        try:
            return np.array(np.broadcast_to(given, values.shape))
        except ValueError:
            raise ValueError(
                f"fill has shape {given.shape}, which does not fit a sample of {part.sample_shape}"
            ) from None
    ids = _is_ids(part, values)
    if fill == "mean" and ids:
        return np.zeros_like(values)
    if fill == "mean":
        mean = values.mean(axis=axes, keepdims=True, dtype=np.float64)
        return np.array(np.broadcast_to(mean.astype(np.float32), values.shape))
    if fill == "noise":
        rng = np.random.default_rng(seed)
        if ids:
            return rng.choice(np.unique(values), values.shape)
        low, high = values.min(axis=axes, keepdims=True), values.max(axis=axes, keepdims=True)
        return np.asarray(low + (high - low) * rng.uniform(size=values.shape), np.float32)
    raise ValueError(f'fill={fill!r}: expected "mean", "noise", a number or an array that fits a sample')
