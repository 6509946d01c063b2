"""Every traced model in another form, which may change no heatmap: ``LRP_GRAPH=swapped`` or ``LRP_GRAPH=read``.

``swapped``: terms, factors and what a maximum chooses from come in the other order. ``read``: every tensor is read by
something else besides, which leads to no output. For whole runs of the engine's tests and the zoo.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
import tensorflow as tf

from lrp_monitor.engine.trace.graph import Graph

_COMMUTE = ("Add", "AddV2", "AddN", "Mul", "Maximum", "Minimum")


def put_on(form: str) -> None:
    """Have `Graph.read` give every graph in this form, for the rest of the process."""
    if form not in ("swapped", "read"):
        raise pytest.UsageError(f"LRP_GRAPH: expected swapped or read, got {form!r}")
    read = Graph.read

    def changed(sources: Iterable[Any], output: Any = None) -> Graph:
        if form == "read" and output is not None:
            _read_besides()
        graph = read(sources, output)
        for op in graph.ops:
            if form == "swapped" and op.type in _COMMUTE:
                op.inputs = op.inputs[::-1]
        return graph

    Graph.read = changed


def _read_besides() -> None:
    for op in tf.compat.v1.get_default_graph().get_operations():
        for t in op.outputs:
            if t.dtype == tf.float32 and t.shape.rank is not None:
                _ = tf.reduce_mean(t) * 2.0
