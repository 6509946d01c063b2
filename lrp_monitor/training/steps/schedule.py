"""When to log: every N epochs, every N batches, and powers of two inside the first epoch."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any, Literal

from lrp_monitor.arguments import argument_error


@dataclass(frozen=True)
class Schedule:
    """Which completed epochs and batches of a run are due. The state before training always is.

    Attributes:
        every: epochs between logs, None for no logs at ends of epochs.
        batches: batches between logs, counted over the whole run, or None.
        first_epoch: "log" adds batches 1, 2, 4, 8 ... of the run's first epoch.
    """

    every: int | None = 1
    batches: int | None = None
    first_epoch: Literal["log"] | None = None

    @classmethod
    def of(cls, every: Any, batches: Any, first_epoch: Any) -> Schedule:
        """From the monitor's arguments. `every=None` is 1, or no epoch logs where `batches` is given.

        ValueError that names the argument.
        """
        if first_epoch not in (None, "log"):
            raise argument_error(
                isinstance(first_epoch, str),
                f'first_epoch={first_epoch!r}: expected None or "log" (batches 1, 2, 4, 8 ... of epoch 1)',
            )
        checked = None if batches is None else positive_int("batches", batches, "batches between logs")
        if every is None:
            every = 1 if checked is None else None
        else:
            every = positive_int("every", every, "epochs between logs")
        return cls(every, checked, first_epoch)

    @property
    def axis(self) -> Literal["epoch", "batch"]:
        """What steps count: completed epochs, or completed batches where logs fall inside epochs."""
        return "epoch" if self.batches is None and self.first_epoch is None else "batch"

    def epoch_due(self, completed: int) -> bool:
        """Whether the state after `completed` epochs of the run is to be logged."""
        return self.every is not None and completed % self.every == 0

    def batch_due(self, before: int, after: int, in_first_epoch: bool) -> bool:
        """Whether a due batch lies in (before, after], both batches completed over the whole run.

        Args:
            in_first_epoch: whether they lie in the run's first epoch.
        """
        if self.batches is not None and after // self.batches > before // self.batches:
            return True
        # A power of two lies in (before, after] exactly where `after` has more binary digits.
        return self.first_epoch is not None and in_first_epoch and after.bit_length() > before.bit_length()

    def due(self, epochs: int, batches: int) -> bool:
        """Whether the state after so many completed epochs and batches of the run is to be logged, seen by itself."""
        return self.epoch_due(epochs) if self.axis == "epoch" else self.batch_due(batches - 1, batches, False)

    def count(self, start: int, end: int, per_epoch: int | None) -> int | None:
        """Logs between completed epochs `start` (the fit's first log included) and `end`; None where not known.

        Args:
            per_epoch: batches an epoch, where known.
        """
        if self.axis == "epoch":
            return 1 + sum(self.epoch_due(epoch) or epoch == end for epoch in range(start + 1, end + 1))
        if per_epoch is None:
            return None
        first, last = start * per_epoch, end * per_epoch
        steps = {first, last}
        if self.batches is not None:
            steps.update(range(-(-first // self.batches) * self.batches, last + 1, self.batches))
        if self.first_epoch is not None and start == 0:
            steps.update(1 << k for k in range(min(per_epoch, last).bit_length()))
        steps.update(e * per_epoch for e in range(start, end + 1) if self.epoch_due(e) and e > start)
        return len(steps)

    def __str__(self) -> str:
        parts = []
        if self.every is not None:
            parts.append("every epoch" if self.every == 1 else f"every {self.every} epochs")
        if self.batches is not None:
            parts.append("every batch" if self.batches == 1 else f"every {self.batches} batches")
        if self.first_epoch is not None:
            parts.append("batches 1, 2, 4, 8 ... of the first epoch")
        return " and ".join(parts)


def positive_int(argument: str, value: Any, meaning: str) -> int:
    """`value` as an int >= 1; TypeError or ValueError that names the argument and says what it means."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    of_type = number is not None and not isinstance(value, bool)
    if number is None or not of_type or number < 1:
        raise argument_error(of_type, f"{argument}={value!r}: expected a positive integer ({meaning})")
    return number
