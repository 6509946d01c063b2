"""Every traced model in another form, which may change no heatmap: ``LRP_GRAPH=swapped``, ``read`` or ``copied``.

``swapped``: terms, factors and what a maximum chooses from come in the other order. ``read``: every tensor is read by
something else besides, which leads to no output. ``copied``: every tensor is read by way of a copy. For whole runs of
the engine's tests and the zoo.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import pytest
import tensorflow as tf
from tensorflow.python.framework import op_callbacks

from lrp_monitor.engine.surrogates import model
from lrp_monitor.engine.trace.graph import Graph

_COMMUTE = ("Add", "AddV2", "AddN", "Mul", "Maximum", "Minimum")


def put_on(form: str) -> None:
    """Have every model be traced in this form, for the rest of the process."""
    if form not in ("swapped", "read", "copied"):
        raise pytest.UsageError(f"LRP_GRAPH: expected swapped, read or copied, got {form!r}")
    read, record = Graph.read, model.record

    def changed(sources: Iterable[Any], output: Any = None, kept: Collection[int] = ()) -> Graph:
        if form == "read" and output is not None:
            _read_besides()
        graph = read(sources, output, kept)
        for op in graph.ops:
            if form == "swapped" and op.type in _COMMUTE:
                op.inputs = op.inputs[::-1]
        return graph

    def copied(*args: Any) -> Any:
        op_callbacks.add_op_callback(_copies)
        try:
            return record(*args)
        finally:
            op_callbacks.remove_op_callback(_copies)

    Graph.read = changed
    if form == "copied":
        model.record = copied


def _read_besides() -> None:
    for op in tf.compat.v1.get_default_graph().get_operations():
        for t in op.outputs:
            if t.dtype == tf.float32 and t.shape.rank is not None:
                _ = tf.reduce_mean(t) * 2.0


def _copies(kind: str, inputs: Sequence[Any], _: Any, outputs: Sequence[Any], **about: Any) -> list[Any] | None:
    """What stands for the outputs of an operation that is being made; what reads no tensor is no part of a formula."""
    if about["graph"] is None or not inputs or kind == "IdentityN":
        return None
    return [tf.identity(t) if t.dtype == tf.float32 else t for t in outputs]
