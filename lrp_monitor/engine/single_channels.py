"""The heatmaps of single channels: many of a sample in one reverse pass, over one forward pass."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops
from numpy.typing import NDArray

from lrp_monitor.engine import backend
from lrp_monitor.engine.backend import Tensor
from lrp_monitor.engine.conditional import ChannelLayer, Rows, find
from lrp_monitor.engine.errors import OutOfMemoryError
from lrp_monitor.engine.inputs import Inputs, arranged
from lrp_monitor.engine.inspection import Relevances
from lrp_monitor.engine.passes.compiled import Passes
from lrp_monitor.engine.start import explained, signature_of
from lrp_monitor.engine.surrogates.carriers import spread
from lrp_monitor.engine.surrogates.model import Traced

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
    """A pass that gives the heatmaps of single channels of a layer.

    Attributes:
        key: its name among the passes.
        start: the kind of target that is explained, see ``targets.start_of``.
        layer: what is known of the layer, once traced.
        model: the model's name.
        trace: traces the model on tensors for the inputs.
        wanted: gives what a pass takes beside the inputs, (n, ...) each, once traced.
    """

    passes: Passes
    key: Hashable
    given: Inputs
    start: Any
    layer: ChannelLayer
    model: str
    trace: Callable[[list[Tensor]], Traced]
    wanted: Callable[[], list[NDArray[Any]]]

    def prepare(self) -> None:
        """Traces the pass for all samples, without running it. Raises what is wrong with model or layer."""
        self.passes.ready(self.key, self._compute, self._signature, len(self.given), _WIDTH)

    def of(self, samples: NDArray[np.int64], channels: NDArray[np.int64], reduced: Reduced | None = None) -> Any:
        """See ``Explainer.through``."""
        pairs = Pairs.of(samples, channels)
        width, at = pairs.table.shape[1], 0
        parts: list[list[NDArray[Any]]] = []
        while at < width or not parts:
            wide = self.passes.widest(self.key, self._signature, width - at)
            few = pairs.table[:, at : at + wide]
            try:
                parts.append(self._run(pairs.samples, few, reduced, channels))
            except OutOfMemoryError:
                if self.passes.widest(self.key, self._signature, width - at) == wide:
                    raise
                continue
            at += wide
        joined = [np.concatenate(leaf, axis=1)[pairs.row, pairs.column] for leaf in zip(*parts, strict=True)]
        return joined[0] if reduced is not None else arranged(self.given.given, joined)

    def _signature(self, chunk: int) -> list[backend.Spec]:
        return [*signature_of(self.start, self.given.shapes, chunk), ((chunk, None), "int32")]

    def _compute(self, *tensors: Tensor) -> dict[str, Tensor]:
        count = len(self.given.leaves)
        found = self.trace(list(tensors[:count]))
        logit = explained(found, self.start, *tensors[count:-1])["logit"]
        return {"logit": logit} | read_through(found, self.layer, self.model, logit, tensors[-1])

    def _run(
        self, samples: NDArray[np.int64], table: NDArray[np.int32], reduced: Reduced | None,
        channels: NDArray[np.int64],
    ) -> list[NDArray[Any]]:  # fmt: skip
        """(samples, columns of the table, ...) of each input, or of what is made of them."""
        names, count = [f"through {number}" for number in range(len(self.given.leaves))], 0

        def beside() -> list[Any]:
            self.layer.weights(channels)  # whether there are such is known once the pass has been traced
            return [*(Rows(array, samples) for array in self.wanted()), table]

        def reduce(part: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
            nonlocal count
            leaves, broken = [part[name] for name in names], ~np.isfinite(part["logit"])
            if broken.any():
                leaves = [np.where(broken.reshape(-1, *[1] * (leaf.ndim - 1)), np.nan, leaf) for leaf in leaves]
            if reduced is None:
                return dict(zip(names, leaves, strict=True))
            n, k = leaves[0].shape[:2]
            these, count = np.repeat(samples[count : count + n], k), count + n
            flat = [leaf.reshape(n * k, *leaf.shape[2:]) for leaf in leaves]
            rows = reduced(arranged(self.given.given, flat), these)
            return {names[0]: rows.reshape(n, k, *rows.shape[1:])}

        leaves: list[Any] = [Rows(leaf, samples) for leaf in self.given.leaves]
        width = max(_WIDTH, table.shape[1])
        found = self.passes.run(self.key, self._compute, self._signature, leaves, beside, reduce, width)
        return list(found.values())


def read_through(found: Traced, layer: ChannelLayer, model: str, value: Tensor, channels: Tensor) -> dict[str, Tensor]:
    """Tensors "through <number>" of each input, (n, k, ...): its relevance that passes each of ``channels`` (n, k).

    One forward pass and the reverse pass down to the layer serve all of them; -1 stands for no channel.
    """
    n, layer_outputs = value.shape[0], found.layer_outputs
    ((call, axis),) = find(layer_outputs, [layer.name], n, model, "layer")
    outputs = [t for t in call.outputs if backend.is_float_tensor(t)]
    layer.path, layer.channels = call.name, int(outputs[0].shape[axis])
    at = Relevances(found, value, outputs)
    starts = []
    for t in outputs:
        own = layer_outputs.channel_axis(call, t)
        if own is None or t.shape[0] != n or t.shape[own] != layer.channels:
            raise ValueError(f"layer: {call} has outputs of several widths, channels of which differ")
        starts += [(own, tuple(t.shape), *carried) for carried in at.carried(t)]

    def weights(chosen: Tensor) -> list[Tensor]:
        return [
            gradient * ops.cast(carrier.arranged(spread(chosen, own, shape)), gradient.dtype)
            for own, shape, carrier, _, gradient in starts
        ]

    tensors = [tensor for *_, tensor, _ in starts]
    chosen = ops.swapaxes(ops.one_hot(channels, layer.channels), 0, 1)
    made = backend.gradients_of_rows(tensors, found.masks, chosen, weights)
    return {f"through {number}": ops.swapaxes(one, 0, 1) for number, one in enumerate(made)}
