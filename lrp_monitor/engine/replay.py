"""Operations of a traced graph, made again on other tensors; with ``backend`` the only module to name TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from lrp_monitor.engine.backend import Spec, Tensor


def replay(op: Any, inputs: Sequence[Tensor], kind: str | None = None) -> list[Tensor]:
    """The outputs of an operation like ``op`` with these ``inputs``.

    ``kind`` makes it one of another type that takes the same inputs, such as AvgPool for MaxPool.
    """
    given, left = {}, list(inputs)
    inferred = set()
    for arg in op.op_def.input_arg:
        many = arg.number_attr or arg.type_list_attr
        inferred |= {arg.type_attr, arg.number_attr, arg.type_list_attr}
        if many:
            count = op.get_attr(many)
            count = count if isinstance(count, int) else len(count)
            given[arg.name], left = left[:count], left[count:]
        else:
            given[arg.name] = left.pop(0)
    function = getattr(tf.raw_ops, kind or op.type)
    for attr in op.op_def.attr:
        if attr.name not in inferred and (attr.name != "explicit_paddings" or op.get_attr(attr.name)):
            given[attr.name] = op.get_attr(attr.name)
    if kind == "AvgPool" and "input" in given:  # the name that MaxPool gives it
        given["value"] = given.pop("input")
    made = function(**given)
    return list(made) if isinstance(made, list | tuple) else [made]


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


def is_scalar_constant(tensor: Tensor) -> bool:
    """Whether ``tensor`` is one number that is known when the graph is made: a literal, not a weight."""
    value = tf.get_static_value(tensor)
    return value is not None and value.size == 1
