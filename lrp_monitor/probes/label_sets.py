"""Probes of several labels each: what is predicted of them, and whether it is right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lrp_monitor.store.label_sets import as_columns

if TYPE_CHECKING:
    from lrp_monitor.engine.explanation import Explanation

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LabelSets:
    """The probes' labels, boolean (n, classes), and whether the model's outputs are their probabilities themselves."""

    labels: NDArray[np.bool_]
    are_probabilities: bool = False

    def of(self, rows: slice) -> LabelSets:
        """The same of some probes."""
        return LabelSets(self.labels[rows], self.are_probabilities)

    def statistics(self, explanation: Explanation) -> dict[str, Floats]:
        """What is predicted of the probes (n,): the labels whose probability is above one half.

        probability (of the explained label), right (1 where exactly the probe's labels are predicted, else 0),
        label_accuracy (the share of all labels that are predicted where the probe has them, and not where not), and the
        predicted labels, see `store.label_sets`. All are NaN where logits are not finite.
        """
        chances = self._probabilities(explanation)
        finite = np.isfinite(chances).all(axis=1)
        predicted = chances > 0.5
        rows, target = np.arange(len(chances)), np.maximum(explanation.target, 0)
        top = np.where(finite, chances[rows, np.maximum(explanation.prediction, 0)], np.nan)
        agree = predicted == self.labels
        found = {
            "probability": np.where(explanation.target >= 0, chances[rows, target], np.nan),
            "prediction_probability": top,
            "right": agree.all(axis=1).astype(np.float64),
            "label_accuracy": agree.mean(axis=1),
        } | as_columns(predicted)
        return {name: np.where(finite, values, np.nan) for name, values in found.items()}

    def predicted(self, explanation: Explanation) -> NDArray[np.bool_]:
        """(n, classes) the labels that are predicted; none where logits are not finite."""
        return np.asarray(self._probabilities(explanation) > 0.5)

    def _probabilities(self, explanation: Explanation) -> Floats:
        """(n, classes), each label's own."""
        if self.are_probabilities:
            return np.asarray(explanation.output, np.float64)
        with np.errstate(over="ignore"):
            return np.asarray(1 / (1 + np.exp(-explanation.logits.astype(np.float64))))


def label_sets(labels: NDArray[np.bool_], units: int, activation: str | None, loss: Any) -> LabelSets:
    """The labels of probes, for a model that ends in so many units and this activation, trained with this loss.

    Raises:
        ValueError: where the model cannot be one of labels that do not exclude each other.
    """
    way_out = "for one class a probe give labels as integers (n,), or one-hot"
    if activation == "softmax" or "categorical" in _name(loss):
        why = "ends in a softmax" if activation == "softmax" else f"is trained with the loss {_name(loss)}"
        raise ValueError(
            f"labels: sets of classes, but the model {why}, by which each probe is of one class alone: {way_out}"
        )
    if labels.shape[1] != units:
        raise ValueError(
            f"labels: sets of {labels.shape[1]} classes, but the model's output has {units} unit(s); {way_out}"
        )
    return LabelSets(labels, activation is None and _takes_probabilities(loss))


def loss_of(model: Any, output: int | str | None) -> Any:
    """The loss that an output is trained with, as `compile` was given it; None where there is none."""
    loss = getattr(model, "loss", None)
    if isinstance(loss, Mapping):
        return loss.get(output)
    if isinstance(loss, list | tuple):
        names = list(getattr(model, "output_names", None) or ())
        at = names.index(output) if output in names else output if isinstance(output, int) else 0
        return loss[at] if at < len(loss) else None
    return loss


def _name(loss: Any) -> str:
    return str(loss if isinstance(loss, str) else getattr(loss, "name", None) or getattr(loss, "__name__", ""))


def _takes_probabilities(loss: Any) -> bool:
    """Whether a loss takes the model's outputs as probabilities; False where that is not known."""
    of_logits = getattr(loss, "from_logits", None)
    if of_logits is None:  # a name, or a function with its defaults
        return "binary" in _name(loss) or _name(loss) == "bce"
    return not of_logits
