"""Reading the operations of a trace, and making them again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf

from lrp_monitor.engine.backend.gradients import Tensor
from lrp_monitor.engine.backend.words import KINDS


def kind_of(raw: Any) -> str:
    """The engine's word for an operation of the framework; the framework's own where there is none."""
    return KINDS.get(raw.type, raw.type)


def attribute(raw: Any, *names: str) -> Any:
    """The first of these attributes that the operation has, None where it has none of them."""
    for name in names:
        if name in raw.node_def.attr:
            value = raw.get_attr(name)
            return value.decode() if isinstance(value, bytes) else value
    return None


def constant_value(tensor: Tensor) -> Any:
    """The array that ``tensor`` holds, where it is known when the graph is made; else None."""
    return tf.get_static_value(tensor)


def computed_constant(tensor: Tensor) -> Any:
    """The array that operations make of literals alone, such as a fixed kernel; None where more goes into it."""
    names, stack = set(), [tensor.op]
    while stack:
        op = stack.pop()
        if op.type in ("Placeholder", "ReadVariableOp") or op.op_def.is_stateful:
            return None
        if op.name not in names:
            names.add(op.name)
            stack += [t.op for t in op.inputs]
    part = tf.compat.v1.GraphDef(node=[op.node_def for op in operations() if op.name in names])
    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
        (found,) = tf.import_graph_def(part, return_elements=[tensor.name], name="")
        return session.run(found)


@contextlib.contextmanager
def inlined() -> Iterator[None]:
    """Compiled functions that the model calls are looked into: their operations become operations of the trace."""
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


def count_operations() -> int:
    """How many operations the trace has made until now."""
    count: int = tf.compat.v1.get_default_graph().num_operations()
    return count


def operations() -> list[Any]:
    """Every operation that the trace has made until now, in order."""
    found: list[Any] = tf.compat.v1.get_default_graph().get_operations()
    return found


_FRAMEWORK = ("/tensorflow/", "/keras/", "/lrp_monitor/engine/")


def call_site(raw: Any) -> str:
    """``file:line`` of the model's code that made the operation, empty where it cannot be known.

    The innermost frame of the user's own files; of an installed package where the user's own are not among them.
    """
    frames = [(frame.filename.replace("\\", "/"), frame.lineno) for frame in raw.traceback or ()]
    inside = max((i for i, (path, _) in enumerate(frames) if "/lrp_monitor/engine/" in path), default=-1)
    outside = [frame for frame in frames[inside + 1 :] if not any(part in frame[0] for part in _FRAMEWORK)]
    own = [frame for frame in outside if "/site-packages/" not in frame[0]] or outside
    return f"{own[-1][0].rsplit('/', 1)[-1]}:{own[-1][1]}" if own else ""


def repeat(raw: Any, inputs: Sequence[Tensor], kind: str | None = None) -> list[Tensor]:
    """The outputs of an operation like ``raw`` with these ``inputs``, which may be of another type of number.

    ``kind`` makes it one of the framework's other types that takes the same inputs, such as AvgPool for MaxPool.
    """
    if raw.type in ("Conv2D", "Conv3D") and not kind and _needs_compiler(raw, inputs):
        return [tf.function(lambda: _repeat(raw, inputs, None)[0], autograph=False, jit_compile=True)()]
    return _repeat(raw, inputs, kind)


def _needs_compiler(raw: Any, inputs: Sequence[Tensor]) -> bool:
    """Whether the CPU has this convolution, or its gradient, by way of XLA alone: grouped, or channels first in 3-D."""
    last = not raw.get_attr("data_format").startswith(b"NC")
    channels = inputs[0].shape[-1 if last else 1]
    return channels != inputs[1].shape[-2] or (raw.type == "Conv3D" and not last)


def _repeat(raw: Any, inputs: Sequence[Tensor], kind: str | None) -> list[Tensor]:
    # Attributes that begin with an underscore are the framework's own, such as a gradient hung on the operation.
    attributes = {name: value for name, value in raw.node_def.attr.items() if not name.startswith("_")}
    if kind in ("AvgPool", "AvgPool3D"):
        attributes.pop("explicit_paddings", None)
    types = [tensor.dtype for tensor in raw.outputs]
    changed = {old.dtype: new.dtype for old, new in zip(raw.inputs, inputs, strict=True) if old.dtype != new.dtype}
    for name in ("T", "Tparams") if changed else ():
        if name in attributes:
            before = tf.as_dtype(attributes[name].type)
            attributes[name] = type(attributes[name])(type=changed.get(before, before).as_datatype_enum)
    types = [changed.get(dtype, dtype) for dtype in types]
    graph = tf.compat.v1.get_default_graph()
    made = graph.create_op(kind or raw.type, [tf.convert_to_tensor(t) for t in inputs], types, attrs=attributes)
    return list(made.outputs)


# What takes its window's mean, in place of what takes its largest value, or its sum.
_MEANS = {"Max": "Mean", "MaxPool": "AvgPool", "MaxPool3D": "AvgPool3D", "Min": "Mean"}


def repeat_as_mean(raw: Any, inputs: Sequence[Tensor]) -> list[Tensor]:
    """The outputs of what takes the mean (or sum) over the same windows as ``raw``."""
    return repeat(raw, inputs, _MEANS.get(raw.type))
