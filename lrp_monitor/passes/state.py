"""Variables that move when a model is traced or run, put back as they were.

A layer may assign variables in inference: the state of a seed generator, a counter, a codebook, a metric. They belong
to the training, which must not see that its model was looked at.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf

from lrp_monitor.keras_internals import inner_functions, read_only_inputs, variable_type


def written(function: Any) -> list[Any]:
    """The handles of all variables that a concrete function may assign, in its inner functions and loops too.

    Variables of any origin: Keras', TensorFlow's own, those of a ``tf.random.Generator``. What the framework does not
    mark as read only counts as assigned.
    """
    graph = function.graph
    read = set(map(id, read_only_inputs(graph)))
    return [handle for handle, inside in graph.captures if id(inside) not in read and variable_type(handle) is not None]


class Values:
    """The present values of variables, to be put back.

    Costs no copy: a value that was read shares the variable's memory until either is assigned.
    """

    def __init__(self, handles: Sequence[Any]) -> None:
        self._of = [
            (handle, tf.raw_ops.ReadVariableOp(resource=handle, dtype=variable_type(handle)))
            for handle in handles
        ]  # fmt: skip

    def put_back(self) -> None:
        """Give every variable its value again."""
        for handle, value in self._of:
            tf.raw_ops.AssignVariableOp(resource=handle, value=value)


@contextlib.contextmanager
def kept(handles: Sequence[Any]) -> Iterator[None]:
    """Gives variables their values back when the block ends, however it ends."""
    values = Values(handles)
    try:
        yield
    finally:
        values.put_back()


def draws_from_kernels(function: Any) -> bool:
    """Whether a concrete function draws reproducible random numbers from operations that hold their state themselves.

    That is what ``tf.random.normal`` and its like do under a global seed or with one of their own. Their state can be
    neither read nor put back: another function draws from a sequence of its own. Without a seed, and under XLA, they
    draw other numbers in every process anyway.
    """
    return any(
        any(op.node_def.attr[name].i for name in ("seed", "seed2") if name in op.node_def.attr)
        for op in _stateful(function, by_xla=False)
    )


def calls_python(function: Any) -> bool:
    """Whether a run of a concrete function calls Python, such as by ``tf.numpy_function``."""
    return any("PyFunc" in op.type for op in _stateful(function))


# What acts on variables alone, calls (whose own operations are looked at), and what does no more than raise.
_RESTORABLE = re.compile(
    r"\w+VariableOp|Resource(Gather|Scatter|Apply|SparseApply)\w*|Rng(ReadAnd)?Skip|VarIsInitializedOp|VariableShape|"
    r"(Stateful)?PartitionedCall|(Stateless)?(If|While|Case)|Assert"
)


def changes_variables_alone(function: Any) -> bool:
    """Whether variables are all that a run of a concrete function changes, so that it can be undone.

    Not where it calls Python, prints, draws from ``tf.random`` or writes to a table.
    """
    return all(_RESTORABLE.fullmatch(op.type) for op in _stateful(function))


def _stateful(function: Any, by_xla: bool = True) -> Iterator[Any]:
    """The operations with a state of their own, or that of a resource, of a concrete function and those it calls.

    Args:
        by_xla: also of those that are compiled by XLA.
    """
    graphs, seen = [function.graph], set()
    while graphs:
        graph = graphs.pop()
        yield from (op for op in graph.get_operations() if op.op_def.is_stateful)
        for name, inner in inner_functions(graph).items():
            attributes = inner.cached_definition.attr
            compiled = "_XlaMustCompile" in attributes and attributes["_XlaMustCompile"].b
            if name not in seen and (by_xla or not compiled) and inner.graph is not None:
                seen.add(name)
                graphs.append(inner.graph)
