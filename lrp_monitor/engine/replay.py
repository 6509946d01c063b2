"""Operations of a traced graph, made again on other tensors; with ``backend`` the only module to name TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from lrp_monitor.engine.backend import Spec, Tensor


def replay(op: Any, inputs: Sequence[Tensor], kind: str | None = None) -> list[Tensor]:
    """The outputs of an operation like ``op`` with these ``inputs``.

    ``kind`` makes it one of another type that takes the same inputs, such as AvgPool for MaxPool. The data may be of
    another type than that of ``op``: what moves token numbers moves their mask likewise.
    """
    # Attributes that begin with an underscore are the framework's own, such as a gradient hung on the operation.
    attributes = {name: value for name, value in op.node_def.attr.items() if not name.startswith("_")}
    if kind in ("AvgPool", "AvgPool3D"):
        attributes.pop("explicit_paddings", None)
    types = [tensor.dtype for tensor in op.outputs]
    changed = {old.dtype: new.dtype for old, new in zip(op.inputs, inputs, strict=True) if old.dtype != new.dtype}
    if changed:
        types = [changed.get(dtype, dtype) for dtype in types]
        for name in ("T", "Tparams"):
            if name in attributes:
                before = tf.as_dtype(attributes[name].type)
                attributes[name] = type(attributes[name])(type=changed.get(before, before).as_datatype_enum)
    made = op.graph.create_op(kind or op.type, list(inputs), types, attrs=attributes)
    return list(made.outputs)


def scratch(function: Callable[..., Any], signature: Sequence[Spec]) -> None:
    """Run ``function`` under trace in a graph of its own, which is thrown away."""
    with tf.init_scope():
        specs = [tf.TensorSpec(shape, dtype) for shape, dtype in signature]
        tf.function(function, autograph=False).get_concrete_function(*specs)


def operations_behind(tensors: Sequence[Tensor]) -> set[int]:
    """The ids of all operations from which ``tensors`` were computed, their own among them."""
    found: set[int] = set()
    stack = [tensor.op for tensor in tensors]
    while stack:
        op = stack.pop()
        if id(op) not in found:
            found.add(id(op))
            stack.extend(tensor.op for tensor in op.inputs)
    return found


def constant_value(tensor: Tensor) -> Any:
    """The one number that ``tensor`` holds (everywhere), where it is known when the graph is made; else None.

    A literal is such a number; a weight or an array of different numbers is not.
    """
    value = tf.get_static_value(tensor)
    if value is None or not value.size or not (value == value.flat[0]).all():
        return None
    return value.flat[0]
