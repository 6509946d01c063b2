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


def choose(recording: Recording) -> Choice:
    """The composite for what a recording holds."""
    depth = _depth(recording)
    if depth:
        return Choice(composites.epsilon_gamma(), f"{depth} convolution{'' if depth == 1 else 's'} deep")
    if _attends(recording):
        return Choice(composites.cp_lrp(), "attention without convolutions")
    return Choice(composites.epsilon(), "no convolutions")


def _depth(recording: Recording) -> int:
    """How many convolutions with a window lie on the longest way from an input to the output."""
    graph = recording.graph
    depth: dict[int, int] = {}  # of each tensor: the convolutions behind which it lies
    for op in graph.ops:
        if any(graph.depends(t) for t in op.outputs):
            behind = max((depth.get(id(t), 0) for t in op.inputs), default=0)
            depth.update((id(t), behind + _convolves(graph, op)) for t in op.outputs)
    return depth.get(id(recording.output), 0)


def _attends(recording: Recording) -> bool:
    """Whether attention is among the operations on the way to the output."""
    assigner = Assigner(recording, Composite())
    assigner.run()
    leading = {op.number for op in recording.graph.needed([recording.output])}
    return any(step.note.startswith("attention:") and step.op.number in leading for step in assigner.steps())


def _convolves(graph: Graph, op: Op) -> bool:
    """Whether an operation is a convolution with learned weights that joins several places in each output."""
    if op.kind not in CONVOLUTIONS:
        return False
    kernel = next((t for t in op.inputs if not graph.depends(t) and graph.is_learned(t)), None)
    # Keras makes convolutions along one axis of those along two: an axis of length 1 is none.
    return kernel is not None and math.prod(size or 1 for size in list(kernel.shape)[:-2]) > 1
