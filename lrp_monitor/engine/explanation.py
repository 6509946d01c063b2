"""What one call of an explainer found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from lrp_monitor.plain import Result, plain, plain_class, plain_number


def sum_of_samples(relevance: Any) -> NDArray[np.float64]:
    """(n,) the sum over all values of a sample, of all inputs."""
    leaves: list[NDArray[Any]] = keras.tree.flatten(relevance)
    total: NDArray[np.float64] = sum(leaf.reshape(len(leaf), -1).sum(axis=1, dtype=np.float64) for leaf in leaves)
    return total


def without(values: NDArray[Any], rows: NDArray[np.bool_], by: float = np.nan) -> NDArray[Any]:
    """The values with ``by`` in those rows."""
    if not rows.any():
        return values
    return np.where(rows.reshape(-1, *(1,) * (values.ndim - 1)), np.asarray(by, values.dtype), values)


@dataclass(frozen=True)
class Explanation(Result):
    """What one call of an explainer found; arrays have one row per sample."""

    relevance: NDArray[np.float32]
    """Relevance of every input value, of the inputs' shape; for several inputs the same structure of arrays.

    What was made of it, an array with a row per sample, where the explainer was asked to reduce it.
    """
    target: NDArray[np.int64]
    """(n,) the explained class; -1 where the target was not a class, or was the predicted one and there is none."""
    logit: NDArray[np.float32]
    """(n,) the explained logit, from which relevance starts; for class 0 of a single sigmoid unit its negative.

    For a target that is not a class: its value, such as the difference of two logits.
    """
    logits: NDArray[np.float32]
    """(n, k) what the model computes before an output softmax or sigmoid; (n, ..., k) for an output of maps."""
    output: NDArray[np.float32]
    """(n, k) the model's own output."""
    activation: str | None
    """``"softmax"`` or ``"sigmoid"`` where the model ends in one, else None."""
    reduced_sum: NDArray[np.float64] | None = None
    """(n,) the sum of relevance that was reduced, else None."""

    def to_dict(self) -> dict[str, Any]:
        """All but maps as plain data, a row a sample; what is not finite, and a class that is none, is None."""
        total = self._total
        samples: list[dict[str, Any]] = []
        for row, target in enumerate(self.target):
            samples.append(
                {
                    "target": plain_class(target),
                    "logit": plain_number(self.logit[row]),
                    "relevance_sum": plain_number(total[row]),
                    "conservation": plain_number(self.conservation[row]),
                }
            )
            if self.has_classes:
                samples[-1] |= {
                    "prediction": plain_class(self.prediction[row]),
                    "probability": plain_number(self.probability[row]),
                    "logits": plain(self.logits[row]),
                }
        return {"activation": self.activation, "samples": samples}

    def of(self, rows: slice) -> Explanation:
        """The same of some samples alone."""
        found = self._changed(lambda values: values[rows])
        return replace(found, target=self.target[rows], logits=self.logits[rows], output=self.output[rows])

    def without(self, rows: NDArray[np.bool_]) -> Explanation:
        """The same without a result for some samples, (n,): target -1, logit and relevance NaN."""
        return replace(self._changed(lambda values: without(values, rows)), target=without(self.target, rows, -1))

    def _changed(self, change: Callable[[NDArray[Any]], NDArray[Any]]) -> Explanation:
        """The same with other relevance and logits."""
        total = None if self.reduced_sum is None else change(self.reduced_sum)
        relevance = keras.tree.map_structure(change, self.relevance)
        return replace(self, relevance=relevance, reduced_sum=total, logit=change(self.logit))

    @property
    def conservation(self) -> NDArray[np.float64]:
        """(n,) sum of relevance over the explained logit: 1 where nothing was absorbed or created."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self._total / self.logit.astype(np.float64)

    @property
    def _total(self) -> NDArray[np.float64]:
        """(n,) the sum of relevance."""
        return sum_of_samples(self.relevance) if self.reduced_sum is None else self.reduced_sum

    @property
    def prediction(self) -> NDArray[np.int64]:
        """(n,) the predicted class; for an output of maps (n, ...), one for each of its places.

        -1 where there is none: among logits that are not all finite no one is the largest.
        """
        return self._predicted(self.is_binary)

    def _predicted(self, binary: bool) -> NDArray[np.int64]:
        largest = self.logits[..., 0] > 0 if binary else self.logits.argmax(axis=-1)
        return np.where(np.isfinite(self.logits).all(axis=-1), largest, -1).astype(np.int64)

    def predicted_maps(self, labelled: bool) -> NDArray[np.int64] | None:
        """The predicted class of each place of an output of maps, (n, *places), -1 for none; None for other outputs.

        One channel without a sigmoid tells two classes apart where the places are ``labelled``, else it is a map of
        numbers, None.
        """
        one = self.logits.shape[-1] == 1
        if self.has_classes or (one and self.activation != "sigmoid" and not labelled):
            return None
        return self._predicted(binary=one)

    @property
    def unit(self) -> NDArray[np.int64]:
        """(n,) the explained column of the output; of a single sigmoid unit, which stands for two classes, 0."""
        return np.zeros_like(self.target) if self.is_binary else np.maximum(self.target, 0)

    @property
    def has_classes(self) -> bool:
        """Whether each sample has one row of logits, so that it has a prediction; not so for an output of maps."""
        return self.logits.ndim == 2

    @property
    def is_binary(self) -> bool:
        """Whether the model ends in a single sigmoid unit, which stands for two classes."""
        return self.activation == "sigmoid" and self.logits.ndim == 2 and self.logits.shape[1] == 1

    @property
    def probability(self) -> NDArray[np.float64]:
        """(n,) probability of the explained class; NaN where there is none.

        There is none for a single output without sigmoid, for a target that is not a class, and where a logit that
        it depends on is not finite.
        """
        known = self.target >= 0
        z = self.logits.astype(np.float64)
        if not known.any() or (z.shape[1] == 1 and self.activation != "sigmoid"):
            return np.full(len(self.target), np.nan)
        rows, target = np.arange(len(self.target)), np.where(known, self.target, 0)
        with np.errstate(over="ignore", invalid="ignore"):
            if self.activation == "sigmoid":
                explained = np.where(target == 0, -z[:, 0], z[:, 0]) if self.is_binary else z[rows, target]
                found = 1.0 / (1.0 + np.exp(-explained))
                known &= np.isfinite(explained)
            else:
                z = np.exp(z - z.max(axis=1, keepdims=True))
                found = z[rows, target] / z.sum(axis=1)
        return np.where(known, found, np.nan)
