"""``composite="auto"``: the composite that fits what a network is, read off its operations.

The choice was measured (docs/how_to/composites.md): deletion of the most and least relevant regions, relevance inside
known objects, and randomisation of the last layer, on networks from two convolutions to an EfficientNet.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lrp_monitor.engine.rules import composites
from lrp_monitor.engine.rules.composites import Composite
from lrp_monitor.engine.steps.assign import Assigner
from lrp_monitor.engine.trace.graph import Graph, Op
from lrp_monitor.engine.trace.operations import CONVOLUTIONS
from lrp_monitor.engine.trace.recording import Recording


@dataclass(frozen=True)
class Choice:
    """A composite, and in a few words why it was chosen."""

    composite: Composite
    reason: str


@dataclass(frozen=True)
class Traits:
    """What the choice depends on.

    Attributes:
        depth: convolutions with a window on the longest way from an input to the output.
        attention: whether attention is among the operations.
    """

    depth: int
    attention: bool


def choose(recording: Recording) -> Choice:
    """The composite for what a recording holds."""
    found = traits(recording)
    if found.depth:
        many = f"{found.depth} convolution{'' if found.depth == 1 else 's'} deep"
        return Choice(composites.epsilon_gamma(), many)
    if found.attention:
        return Choice(composites.cp_lrp(), "attention without convolutions")
    return Choice(composites.epsilon(), "no convolutions")


def traits(recording: Recording) -> Traits:
    """What the choice depends on, of a recording."""
    graph = recording.graph
    depth: dict[int, int] = {}  # of each tensor: the convolutions behind which it lies
    for op in graph.ops:
        if any(graph.depends(t) for t in op.outputs):
            behind = max((depth.get(id(t), 0) for t in op.inputs), default=0)
            depth.update((id(t), behind + _convolves(graph, op)) for t in op.outputs)
    assigner = Assigner(recording, Composite())
    assigner.run()
    attention = any(step.note.startswith("attention:") for step in assigner.steps())
    return Traits(depth.get(id(recording.output), 0), attention)


def _convolves(graph: Graph, op: Op) -> bool:
    """Whether an operation is a convolution with learned weights that joins several places in each output."""
    if op.kind not in CONVOLUTIONS:
        return False
    kernel = next((t for t in op.inputs if not graph.depends(t) and graph.is_learned(t)), None)
    # Keras makes convolutions along one axis of those along two: an axis of length 1 is none.
    return kernel is not None and math.prod(size or 1 for size in list(kernel.shape)[:-2]) > 1
