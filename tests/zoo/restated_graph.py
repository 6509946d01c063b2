"""The graph of a model's own call, every operation of it executed again in float64, for the restatement."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

_NO_RELEVANCE = frozenset(
    ["OnesLike", "Shape", "ShapeN", "Sign", "Size", "StopGradient", "ZerosLike", "OneHot", "Floor", "Round"]
)


def _wide(value: tf.Tensor) -> tf.Tensor:
    """``value`` in double precision."""
    if value.dtype in (tf.float16, tf.bfloat16, tf.float32):
        return tf.cast(value, tf.float64)
    return tf.cast(value, tf.complex128) if value.dtype == tf.complex64 else value


_WIDE_TYPES = {tf.float16: tf.float64, tf.bfloat16: tf.float64, tf.float32: tf.float64, tf.complex64: tf.complex128}


def execute(op: tf.Operation, inputs: list[Any]) -> list[tf.Tensor]:
    """The outputs of ``op`` on other inputs, computed now."""
    groups = inputs[0].shape[-1] // inputs[1].shape[-2] if op.type == "Conv2D" else 1
    if groups > 1:  # of which the framework has no gradient on a CPU
        parts = zip(*(tf.split(value, groups, axis=-1) for value in inputs), strict=True)
        return [tf.concat([execute(op, list(part))[0] for part in parts], axis=-1)]
    if op.type == "ScaleAndTranslate":  # how far it scales and moves is told in single precision alone
        inputs = [inputs[0], *(tf.cast(t, tf.float32) if t.dtype == tf.float64 else t for t in inputs[1:])]
    function = getattr(tf.raw_ops, op.type)
    names = [name for name in inspect.signature(function).parameters if name != "name"]
    arguments: dict[str, Any] = {}
    rest = list(inputs)
    for name, argument in zip(names, op.op_def.input_arg, strict=False):
        if argument.number_attr or argument.type_list_attr:
            kinds = op.get_attr(argument.number_attr or argument.type_list_attr)
            count = kinds if argument.number_attr else len(kinds)
            arguments[name], rest = rest[:count], rest[count:]
        else:
            arguments[name] = rest.pop(0)
    for name in names[len(arguments) :]:
        attribute = "squeeze_dims" if (op.type, name) == ("Squeeze", "axis") else name
        value = op.get_attr(attribute)
        arguments[name] = _WIDE_TYPES.get(value, value) if isinstance(value, tf.DType) else value
    made = function(**arguments)
    outputs = [made] if isinstance(made, tf.Tensor) else list(made) if isinstance(made, list | tuple) else []
    return [_wide(value) for value in outputs]


@dataclass(frozen=True)
class Step:
    """One operation, also of a function that the graph calls, with the keys of what it reads and makes."""

    op: tf.Operation
    inputs: list[Any]
    outputs: list[Any]

    @property
    def type(self) -> str:
        """The operation's type."""
        return str(self.op.type)


class Graph:
    """The operations of a traced call in order, the value of every tensor, and what it is to relevance."""

    def __init__(self, function: Any, named: dict[str, np.ndarray], token_ids: tuple[str, ...]) -> None:
        graph = function.graph
        self.steps: list[Step] = []
        self.value: dict[Any, Any] = {}
        self.live: set[Any] = set()
        """Tensors through which relevance flows to an input."""
        self.number: set[Any] = set()
        """Tensors of one value that no variable has part in."""
        self.weight: set[Any] = set()
        """Tensors that depend on a variable and not on the input."""
        self.source: dict[Any, str] = {}
        """Float inputs, and vectors looked up by token numbers: the name of the input."""
        self.inputs: list[Any] = []
        """The float inputs."""
        self._tokens: dict[Any, str] = {}
        self.key: dict[Any, int] = {}
        """The keys of the graph's own tensors."""
        captured = {placeholder.ref(): value for value, placeholder in graph.captures}
        free = [t for t in function.inputs if t.ref() not in captured]
        for number, placeholder in enumerate([*free, *(value.deref() for value in captured)]):
            self.key[placeholder.ref()] = number
        for placeholder, name in zip(free, sorted(named), strict=True):
            key = self.key[placeholder.ref()]
            self.value[key] = _wide(tf.constant(named[name]))
            if placeholder.dtype.is_floating:
                self.live.add(key)
                self.source[key] = name
                self.inputs.append(key)
            elif name in token_ids:
                self._tokens[key] = name
        for placeholder, value in captured.items():
            self.value[self.key[placeholder]] = value if value.dtype == tf.resource else _wide(value)
        self._count = len(self.key)
        self._enter(graph, self.key)

    def _enter(self, graph: Any, keys: dict[Any, int]) -> None:
        """Run all operations of ``graph``; ``keys`` has those of its arguments, and gets those of all its tensors."""

        def key(t: tf.Tensor) -> int:
            if t.ref() not in keys:
                self._count += 1
                keys[t.ref()] = self._count
            return keys[t.ref()]

        for op in graph.get_operations():
            if op.type in ("Placeholder", "NoOp"):
                continue
            inputs = [key(t) for t in op.inputs]
            if op.type in ("PartitionedCall", "StatefulPartitionedCall"):
                body = op.graph._get_function(op.get_attr("f").name).graph
                inside = {t.ref(): k for t, k in zip(body.inputs, inputs, strict=True)}
                self._enter(body, inside)
                keys.update({t.ref(): inside[r.ref()] for t, r in zip(op.outputs, body.outputs, strict=True)})
            else:
                self._run(Step(op, inputs, [key(t) for t in op.outputs]))

    def _run(self, step: Step) -> None:
        op, refs = step.op, step.inputs
        inputs = [self.value[ref] for ref in refs]
        if op.type == "Const":
            outputs = [_wide(tf.constant(tf.make_ndarray(op.get_attr("value"))))]
        elif op.type == "ReadVariableOp":
            outputs = [_wide(tf.raw_ops.ReadVariableOp(resource=inputs[0], dtype=op.get_attr("dtype")))]
        elif op.type == "ResourceGather":
            table = tf.raw_ops.ReadVariableOp(resource=inputs[0], dtype=op.get_attr("dtype"))
            outputs = [tf.gather(_wide(table), inputs[1], batch_dims=op.get_attr("batch_dims"))]
        elif op.type == "XlaDynamicUpdateSlice":
            array, start = inputs[0].numpy(), inputs[2].numpy()
            array[tuple(slice(at, at + n) for at, n in zip(start, inputs[1].shape, strict=True))] = inputs[1].numpy()
            outputs = [tf.constant(array)]
        else:
            outputs = execute(op, inputs)
        self.steps.append(step)
        for t, ref, value in zip(op.outputs, step.outputs, outputs, strict=False):
            self.value[ref] = value
            self._learn(op, t, ref, refs)

    def _learn(self, op: tf.Operation, t: tf.Tensor, ref: Any, refs: list[Any]) -> None:
        if op.type in ("ReadVariableOp", "ResourceGather") or any(r in self.weight for r in refs):
            self.weight.add(ref)
        if t.dtype.is_floating or t.dtype.is_complex or t.dtype == tf.variant:  # of these, lists of tensors
            if op.type in ("GatherV2", "ResourceGather") and refs[0] not in self.live and refs[1] in self._tokens:
                self.live.add(ref)
                self.source[ref] = self._tokens[refs[1]]
            elif op.type not in _NO_RELEVANCE and any(r in self.live for r in refs):
                self.live.add(ref)
        elif op.type not in ("Shape", "Size", "NotEqual", "Equal", "Less", "Greater") and t.dtype.is_integer:
            names = {self._tokens[r] for r in refs if r in self._tokens}
            if len(names) == 1 and t.shape == op.inputs[0].shape:  # token numbers cast or clipped
                self._tokens[ref] = names.pop()
        constant = ref not in self.live and ref not in self.weight and self.value[ref].dtype != tf.resource
        if constant and int(np.prod(self.value[ref].shape)) == 1:
            self.number.add(ref)
