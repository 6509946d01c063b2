"""The heatmaps of single channels: many of a sample in one reverse pass, over one forward pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from lrp_monitor.engine.backend import Tensor
from lrp_monitor.engine.conditional import selected
from lrp_monitor.engine.gradients import gradients_of_rows
from lrp_monitor.engine.inspection import Relevances
from lrp_monitor.engine.question import Part, Question
from lrp_monitor.engine.start import Start
from lrp_monitor.engine.surrogates.carriers import spread
from lrp_monitor.passes.memory import OutOfMemoryError

Reduced = Callable[[Any, NDArray[np.int64]], NDArray[Any]]
"""What makes of the relevance of some pairs, and their samples, an array with a row for each."""

_WIDTH = 8
"""Channels that a sample counts as at least: up to so many, none more changes how many samples go through together."""


@dataclass(frozen=True)
class SingleChannels:
    """The heatmaps of single channels of ``layer``, as a question to its model."""

    layer: str
    question: Question

    def prepare(self) -> None:
        """Traces the pass for all samples, without running it. Raises what is wrong with model or layer."""
        self.question.compiled.ready(len(self.question.given), _WIDTH)

    def of(self, samples: NDArray[np.int64], channels: NDArray[np.int64], reduced: Reduced | None = None) -> Any:
        """See ``Explainer.through``."""
        given, compiled = self.question.given, self.question.compiled
        if not len(samples):
            none = given.as_given([np.zeros((0, *leaf.shape[1:]), np.float32) for leaf in given.leaves])
            return none if reduced is None else reduced(none, samples)
        each, row, column, table = _table(samples, channels)
        parts: list[Any] = []
        width, at = table.shape[1], 0
        while at < width:
            wide = compiled.widest(width - at)
            try:
                parts.append(self._run(each, table[:, at : at + wide], reduced, channels))
            except OutOfMemoryError:
                if compiled.widest(width - at) == wide:
                    raise
                continue
            at += wide
        return keras.tree.map_structure(lambda *leaves: np.concatenate(leaves, axis=1)[row, column], *parts)

    def _run(
        self, samples: NDArray[np.int64], table: NDArray[np.int32], reduced: Reduced | None,
        channels: NDArray[np.int64],
    ) -> Any:  # fmt: skip
        """(samples, columns of the table, ...) of each input, or of what is made of them."""
        width, count = table.shape[1], 0

        def more() -> list[Any]:
            # Whether there are such is known once the pass has been traced.
            selected(self.layer, self.question.compiled.known[0], channels)
            return [table]

        def reduce(part: Part) -> Part:
            nonlocal count
            relevance = part["relevance"]
            if reduced is not None:
                n = len(part["logit"])
                these, count = np.repeat(samples[count : count + n], width), count + n
                flat = keras.tree.map_structure(lambda leaf: leaf.reshape(n * width, *leaf.shape[2:]), relevance)
                rows = reduced(flat, these)
                relevance = rows.reshape(n, width, *rows.shape[1:])
            return {"relevance": relevance}

        return self.question.run(samples, more, reduce, max(_WIDTH, width))["relevance"]


def _table(samples: NDArray[np.int64], channels: NDArray[np.int64]) -> tuple[NDArray[Any], ...]:
    """Pairs (m,) as a table of each sample's channels.

    Gives the samples, each once, (s,); where the pairs stand in it, rows and columns, (m,); and the table itself, (s,
    k), -1 where a sample has fewer channels.
    """
    each, row = np.unique(samples, return_inverse=True)
    order = np.argsort(row, kind="stable")
    count = np.bincount(row)
    column = np.empty(len(row), np.int64)
    column[order] = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    table = np.full((len(each), count.max()), -1, np.int32)
    table[row, column] = channels
    return each, row, column, table


def read_through(start: Start, name: str, model: str, channels: Tensor) -> tuple[list[Any], dict[str, Any]]:
    """How many channels the named layer has; its relevance that passes each of ``channels`` (n, k), for each input.

    That is (n, k, ...), 0 for -1, which stands for no channel. One forward pass and the reverse pass down to the layer
    serve all of them.
    """
    found, layer_outputs = start.found, start.found.layer_outputs
    call = layer_outputs.call_of(name, model, "layer")
    count, outputs = layer_outputs.by_channel(call, "layer")
    at = Relevances(start, [t for t, _ in outputs])
    starts = [(axis, tuple(t.shape), *carried) for t, axis in outputs for carried in at.carried(t)]

    def weights(chosen: Tensor) -> list[Tensor]:
        return [
            gradient * ops.cast(carrier.arranged(spread(chosen, own, shape)), gradient.dtype)
            for own, shape, carrier, _, gradient in starts
        ]

    tensors = [tensor for *_, tensor, _ in starts]
    chosen = ops.swapaxes(ops.one_hot(channels, count), 0, 1)
    made = gradients_of_rows(tensors, found.masks, chosen, weights)
    return [count], {"logit": start.value, "relevance": [ops.swapaxes(one, 0, 1) for one in made]}
