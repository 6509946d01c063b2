"""Which values of a fit stop being finite, and which become finite again: reported once each time."""

from __future__ import annotations

import math
from collections.abc import Mapping

_TENSORS = ("weights", "gradients", "probe_gradients")
_PROBES = ("logits", "heatmaps")
LOSS = "lrp/nonfinite/loss"


class Finiteness:
    """Follows, log after log of one fit, how much is not finite.

    Args:
        probes: how many there are.
        axis: "epoch" or "batch", what steps count.
        classes: whether each probe has a predicted class.
    """

    def __init__(self, probes: int, axis: str, classes: bool = True) -> None:
        self._probes, self._axis, self._classes = probes, axis, classes
        self._since: dict[str, int] = {}
        self._messages: set[str] = set()

    def update(self, step: int, scalars: Mapping[str, float]) -> tuple[list[str], list[str]]:
        """Changes since the log before, as text.

        Returns all of them, and those that occur for the first time in the fit. What is not among the scalars
        has not changed.
        """
        texts, new = [], []
        for kind, tag in self._tags(scalars):
            count = scalars[tag]
            if count and kind not in self._since:
                self._since[kind] = step
                texts.append(self._begun(kind, count, step, scalars))
                if kind not in self._messages:
                    self._messages.add(kind)
                    new.append(texts[-1])
            elif not count and kind in self._since:
                texts.append(self._ended(kind, self._since.pop(kind), step))
        return texts, new

    def words(self, scalars: Mapping[str, float]) -> str:
        """For a line about a log: "not finite since epoch 3: logits of 8 of 8 probes, weights"; "" where all is."""
        begun = []
        for kind, since in self._since.items():
            many = f" of {scalars.get(f'lrp/nonfinite/{kind}', 0):.0f} of {self._probes} probes"
            begun.append((since, f"{kind.replace('_', ' ')}{many if kind in _PROBES else ''}"))
        steps = sorted({since for since, _ in begun})
        return "; ".join(
            f"not finite since {self._axis} {step}: {', '.join(text for since, text in begun if since == step)}"
            for step in steps
        )

    @staticmethod
    def _tags(scalars: Mapping[str, float]) -> list[tuple[str, str]]:
        tags = [(kind, f"lrp/nonfinite/{kind}") for kind in (*_PROBES, "loss")]
        tags += [(kind, f"{kind}/nonfinite") for kind in _TENSORS]
        return [(kind, tag) for kind, tag in tags if tag in scalars]

    def _begun(self, kind: str, count: float, step: int, scalars: Mapping[str, float]) -> str:
        if kind in _TENSORS:
            prefix = f"{kind}/nonfinite/"
            names = [tag.removeprefix(prefix) for tag, n in scalars.items() if tag.startswith(prefix) and n]
            many = "1 value" if count == 1 else f"{count:.0f} values"
            verb = "is" if count == 1 else "are"
            text = f"{many} of the {kind.replace('_', ' ')} {verb} not finite at step {step}"
            return f"{text}: {', '.join(names)}"
        if kind == "loss":
            return f"a loss, of training or validation, is not finite in the epoch that ends at step {step}"
        text = f"the {kind} of {count:.0f} of {self._probes} probes are not finite at step {step}"
        predicted = kind == "logits" and self._classes
        return f"{text}: they have no prediction, right or wrong" if predicted else text

    def _ended(self, kind: str, since: int, step: int) -> str:
        if kind == "loss":
            return f"the losses are finite again at step {step}; they were not from step {since} on"
        return f"the {kind.replace('_', ' ')} are finite again at step {step}; they were not from step {since} on"


def loss_scalar(logs: Mapping[str, object] | None) -> dict[str, float]:
    """The number of an epoch's losses (of training and of validation) that are not finite, as a scalar.

    Args:
        logs: as `on_epoch_end` gets them; empty where they hold no loss.
    """
    losses = [value for name, value in (logs or {}).items() if name == "loss" or name.endswith("_loss")]
    numbers = [float(value) for value in losses if isinstance(value, int | float)]
    return {LOSS: float(sum(not math.isfinite(number) for number in numbers))} if numbers else {}
