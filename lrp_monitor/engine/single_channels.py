"""The heatmaps of single channels: many of a sample in one reverse pass, over one forward pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops
from numpy.typing import NDArray

from lrp_monitor.engine import backend
from lrp_monitor.engine.backend import Tensor
from lrp_monitor.engine.conditional import ChannelLayer
from lrp_monitor.engine.inspection import Relevances
from lrp_monitor.engine.question import Part, Question
from lrp_monitor.engine.surrogates.carriers import spread
from lrp_monitor.engine.surrogates.model import Traced
from lrp_monitor.passes.memory import OutOfMemoryError

Reduced = Callable[[Any, NDArray[np.int64]], NDArray[Any]]
"""What makes of the relevance of some pairs, and their samples, an array with a row for each."""

_WIDTH = 8
"""Channels that a sample counts as at least: up to so many, none more changes how many samples go through together."""


@dataclass(frozen=True)
class Pairs:
    """Pairs of a sample and a channel, as a table of the channels of each sample.

    Attributes:
        samples: (s,) the samples, each once.
        table: (s, k) their channels, -1 where a sample has fewer.
        row: (m,) where the pairs stand in it.
        column: as `row`
    """

    samples: NDArray[np.int64]
    table: NDArray[np.int32]
    row: NDArray[np.int64]
    column: NDArray[np.int64]

    @classmethod
    def of(cls, samples: NDArray[np.int64], channels: NDArray[np.int64]) -> Pairs:
        """The table of some pairs (m,)."""
        each, row = np.unique(samples, return_inverse=True)
        order = np.argsort(row, kind="stable")
        count = np.bincount(row, minlength=len(each))
        column = np.empty(len(row), np.int64)
        column[order] = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
        table = np.full((len(each), count.max(initial=0)), -1, np.int32)
        table[row, column] = channels
        return cls(each, table, row, column)


@dataclass(frozen=True)
class SingleChannels:
    """The heatmaps of single channels of a layer, as a question to its model."""

    question: Question

    def prepare(self) -> None:
        """Traces the pass for all samples, without running it. Raises what is wrong with model or layer."""
        self.question.ready(len(self.question.given), _WIDTH)

    def of(self, samples: NDArray[np.int64], channels: NDArray[np.int64], reduced: Reduced | None = None) -> Any:
        """See ``Explainer.through``."""
        pairs = Pairs.of(samples, channels)
        width, at = pairs.table.shape[1], 0
        parts: list[list[NDArray[Any]]] = []
        while at < width or not parts:
            wide = self.question.widest(width - at)
            few = pairs.table[:, at : at + wide]
            try:
                parts.append(self._run(pairs.samples, few, reduced, channels))
            except OutOfMemoryError:
                if self.question.widest(width - at) == wide:
                    raise
                continue
            at += wide
        joined = [np.concatenate(leaf, axis=1)[pairs.row, pairs.column] for leaf in zip(*parts, strict=True)]
        return joined[0] if reduced is not None else self.question.as_given(joined)

    def _run(
        self, samples: NDArray[np.int64], table: NDArray[np.int32], reduced: Reduced | None,
        channels: NDArray[np.int64],
    ) -> list[NDArray[Any]]:  # fmt: skip
        """(samples, columns of the table, ...) of each input, or of what is made of them."""
        question, count = self.question, 0

        def more() -> list[Any]:
            question.known[0].weights(channels)  # whether there are such is known once the pass has been traced
            return [table]

        def reduce(part: Part) -> Part:
            nonlocal count
            leaves = question.relevance(part, "through")
            if reduced is None:
                return {name: values for name, values in part.items() if name != "logit"}
            n, k = leaves[0].shape[:2]
            these, count = np.repeat(samples[count : count + n], k), count + n
            rows = reduced(question.as_given([leaf.reshape(n * k, *leaf.shape[2:]) for leaf in leaves]), these)
            return {"through 0": rows.reshape(n, k, *rows.shape[1:])}

        found = question.run(samples, more, reduce, max(_WIDTH, table.shape[1]))
        return list(found.values())


def read_through(
    found: Traced, name: str, model: str, value: Tensor, channels: Tensor
) -> tuple[ChannelLayer, dict[str, Tensor]]:
    """The named layer, and tensors "through <number>" of each input, (n, k, ...).

    They are its relevance that passes each of ``channels`` (n, k). One forward pass and the reverse pass down to the
    layer serve all of them; -1 stands for no channel.
    """
    call = found.layer_outputs.call_of(name, model, "layer")
    count, outputs = found.layer_outputs.by_channel(call, "layer")
    at = Relevances(found, value, [t for t, _ in outputs])
    starts = [(axis, tuple(t.shape), *carried) for t, axis in outputs for carried in at.carried(t)]

    def weights(chosen: Tensor) -> list[Tensor]:
        return [
            gradient * ops.cast(carrier.arranged(spread(chosen, own, shape)), gradient.dtype)
            for own, shape, carrier, _, gradient in starts
        ]

    tensors = [tensor for *_, tensor, _ in starts]
    chosen = ops.swapaxes(ops.one_hot(channels, count), 0, 1)
    made = backend.gradients_of_rows(tensors, found.masks, chosen, weights)
    return ChannelLayer(name, count), {f"through {number}": ops.swapaxes(one, 0, 1) for number, one in enumerate(made)}
