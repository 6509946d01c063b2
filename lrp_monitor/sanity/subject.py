"""What every check is about: a model, its probes, the explained classes, and the heatmaps that are questioned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lrp_monitor.arguments import Preset
from lrp_monitor.engine.explainer import Explainer, ExplainerOptions, Explanation
from lrp_monitor.engine.rules.composites import Composite
from lrp_monitor.probes import ProbeSet

Fill = str | float | ArrayLike


@dataclass(frozen=True)
class Subject:
    """maps: float32 (n, *map shape), the heatmaps of `inputs`, float32 (n, *sample shape), for `targets`, (n,)."""

    explainer: Explainer
    probes: ProbeSet
    inputs: NDArray[np.float32]
    targets: NDArray[np.int64]
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

        A Subject stands for itself. Raises what ProbeSet and Explainer raise.
        """
        if isinstance(model, Subject):
            return model
        probes = probes if isinstance(probes, ProbeSet) else ProbeSet(probes)
        if probes.region is not None or probes.position is not None:
            what = "region" if probes.position is None else "place"
            raise ValueError(
                f"probes: their target is a {what} of the output; sanity checks ask for a class of each probe"
            )
        if not probes.is_single or probes.numbers is not None:
            raise ValueError(
                "probes: sanity checks ask for one input and a class of each probe, not several or numbers"
            )
        explainer = Explainer(probes.model_behind(model), composite, **options)
        inputs = np.ascontiguousarray(probes.inputs, np.float32)
        explanation = explainer.explain(inputs, probes.targets)
        if explanation.logits.ndim != 2:
            raise ValueError(
                f"the model's output is of shape {explanation.logits.shape[1:]}; sanity checks need one row of logits "
                "per probe"
            )
        maps = probes.heatmaps(explanation.relevance)
        finite = np.isfinite(maps).reshape(len(maps), -1).all(axis=1) & (explanation.prediction >= 0)
        if not finite.all():
            broken = np.flatnonzero(~finite)
            raise ValueError(
                f"heatmaps or logits of {len(broken)} of {len(maps)} probes are not finite, "
                f"{probes.names[int(broken[0])]!r} among them: such heatmaps cannot be judged; lrp.check(model) "
                "says in which layer it begins"
            )
        return cls(explainer, probes, inputs, explanation.target, explanation, maps)

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def score(self) -> NDArray[np.float64]:
        """(n,) the explained logits."""
        return self.explanation.logit.astype(np.float64)

    def scores(self, inputs: NDArray[np.float32], of: NDArray[np.int64]) -> NDArray[np.float64]:
        """The explained logit of changed copies: inputs (m, *sample shape) of the probes `of`, (m,) -> float64 (m,)."""
        logits = self.explainer.logits(inputs).astype(np.float64)
        targets = self.targets[of]
        if self.explanation.is_binary:
            return np.where(targets == 0, -logits[:, 0], logits[:, 0])
        return np.asarray(logits[np.arange(len(logits)), targets])

    def filling(self, fill: Fill, seed: int = 0) -> NDArray[np.float32]:
        """What is seen where something is covered, for all probes: float32 (n, *sample shape).

        Args:
            fill: "mean": each channel's mean over all probes; "noise": uniform between each channel's least and largest
                value over all probes (Samek et al. 2017, section IV); a number, or an array that fits a sample.
        """
        axes = self._axes_without_channels()
        if not isinstance(fill, str):
            values = np.asarray(fill, np.float32)
            try:
                return np.array(np.broadcast_to(values, self.inputs.shape))
            except ValueError:
                raise ValueError(
                    f"fill has shape {values.shape}, which does not fit a sample of {self.inputs.shape[1:]}"
                ) from None
        if fill == "mean":
            mean = self.inputs.mean(axis=axes, keepdims=True, dtype=np.float64)
            return np.array(np.broadcast_to(mean.astype(np.float32), self.inputs.shape))
        if fill == "noise":
            low, high = self.inputs.min(axis=axes, keepdims=True), self.inputs.max(axis=axes, keepdims=True)
            drawn = np.random.default_rng(seed).uniform(size=self.inputs.shape)
            return np.asarray(low + (high - low) * drawn, np.float32)
        raise ValueError(f'fill={fill!r}: expected "mean", "noise", a number or an array that fits a sample')

    def _axes_without_channels(self) -> tuple[int, ...]:
        """The axes that a fill is taken over: all but the channels', or the probes' alone where there are none."""
        if self.probes.channel_axis is None:
            return (0,)
        return tuple(axis for axis in range(self.inputs.ndim) if axis != self.probes.channel_axis)

    def covered(
        self, of: NDArray[np.int64], masks: NDArray[np.bool_], filling: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Copies of the probes `of` (m,) with masks (m, *map shape) covered: float32 (m, *sample shape)."""
        axis = self.probes.channel_axis
        where = masks if axis is None else np.expand_dims(masks, axis)
        return np.where(where, filling[of], self.inputs[of])
