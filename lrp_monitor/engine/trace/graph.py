"""The operations of one traced call of a model: what each depends on, walks along them, and they on other tensors."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from lrp_monitor.engine import backend
from lrp_monitor.engine.backend import Tensor
from lrp_monitor.engine.trace.call_sites import call_site
from lrp_monitor.engine.trace.operations import PRODUCTS, ROWS, UNKNOWN, Row

if TYPE_CHECKING:
    from lrp_monitor.engine.trace.recording import LayerCall


SAME_ORDER = ("reshape", "squeeze", "expanddims")
"""Of the kinds that move values those that leave them in the same order."""


@dataclass(eq=False)
class Op:
    """One operation of the trace."""

    kind: str
    """What it is, in the engine's own words (operations.py)."""
    name: str
    type: str
    """What the framework calls it."""
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    raw: Any
    """The framework's object."""
    number: int
    """Its place in the order of making."""
    call: LayerCall | None = None
    """The innermost call of a layer in which it was made."""
    node: str = ""
    """The name that a functional model, and its summary, gives the operation of Keras which made it."""

    def attribute(self, *names: str) -> Any:
        """The first of these attributes of the framework's operation, None where it has none of them."""
        return backend.attribute(self.raw, *names)

    @property
    def row(self) -> Row:
        """What its kind is to relevance."""
        return ROWS.get(self.kind, UNKNOWN)

    @property
    def data(self) -> tuple[Tensor, ...]:
        """The inputs that carry data."""
        return self.inputs[self.row.data]

    @property
    def channel_axis(self) -> int:
        """The axis of channels of what an operation on images takes and gives: the last, unless it says otherwise."""
        first = (self.attribute("data_format") or "").startswith("NC")
        return 1 if first else len(self.outputs[0].shape) - 1

    def __str__(self) -> str:
        site = call_site(self.raw)
        node = f", {self.node!r} of a functional model" if self.node else ""
        return f"operation {self.name!r} ({self.type}){f' at {site}' if site else ''}{node}"


@dataclass
class Graph:
    """All operations of a trace, in order of making."""

    ops: list[Op]
    sources: tuple[Tensor, ...]
    """The model's inputs."""
    output: Tensor | None = None
    """What is explained: what leads to other outputs alone, or nowhere, changes nothing."""
    varying: dict[int, frozenset[tuple[int, int]]] = field(default_factory=dict)
    """Id of a tensor -> along what it varies, see steps.axes.varying_axes."""
    _made_by: dict[int, Op] = field(default_factory=dict)
    _dependent: set[int] = field(default_factory=set)
    _learned: set[int] = field(default_factory=set)
    _signs: dict[int, bool] = field(default_factory=dict)
    _readers: dict[int, list[Op]] = field(default_factory=dict)

    @classmethod
    def read(
        cls, sources: Iterable[Tensor], output: Tensor | None = None, kept: Collection[int] = frozenset()
    ) -> Graph:
        """The graph of the trace that is being made.

        A copy of a tensor (an identity, a check of its numbers, what was moved and moved back) is not read: what reads
        it reads the tensor itself. ``kept``: ids of tensors that stay, such as the outputs of layers.
        """
        ops = [
            Op(backend.kind_of(raw), raw.name, raw.type, tuple(raw.inputs), tuple(raw.outputs), raw, number)
            for number, raw in enumerate(backend.operations())
        ]
        graph = cls(ops, tuple(sources), output)
        graph._dependent.update(id(source) for source in graph.sources)
        kept = {*kept, *graph._dependent}
        for op in ops:
            graph._made_by.update((id(t), op) for t in op.outputs)
            op.inputs = tuple(graph._copied(t, kept) for t in op.inputs)
            op.inputs = graph._added_whole(op)
            if any(id(t) in graph._dependent for t in op.inputs):
                graph._dependent.update(id(t) for t in op.outputs)
            reads = op.kind == "variable" or op.type == "ResourceGather"
            if reads or any(id(t) in graph._learned for t in op.inputs):
                graph._learned.update(id(t) for t in op.outputs)
        return graph

    def _copied(self, tensor: Tensor, kept: Collection[int]) -> Tensor:
        """Of what ``tensor`` is a copy, or was moved and moved back; itself where it is none."""
        alike = SAME_ORDER if self._made_by[id(tensor)].kind in SAME_ORDER else ("identity", "transpose")
        t, rank, axes = tensor, tensor.shape.rank, np.arange(tensor.shape.rank or 0)
        shape = None if rank is None else tuple(tensor.shape)
        while id(t) not in kept and (op := self._made_by[id(t)]).kind in alike:
            t = op.inputs[0]
            if op.kind == "transpose":
                order = backend.constant_value(op.inputs[1])
                if order is None:
                    break
                axes = order[axes]
            if shape != (None if t.shape.rank is None else tuple(t.shape)):
                continue  # also where an identity tells the shape
            if op.kind == "identity" or (shape and shape.count(None) < 2 and (axes == np.arange(rank)).all()):
                return t
        return tensor

    def _added_whole(self, op: Op) -> tuple[Tensor, ...]:
        """The inputs of ``op``; what Keras squeezes of one sample, to add it as a bias, as it was before."""
        before = self._made_by.get(id(op.inputs[1])) if op.kind == "add" else None
        if before is None or before.kind != "squeeze" or not self.depends(before.inputs[0]):
            return op.inputs
        first, whole = op.inputs[0], before.inputs[0]
        return (first, whole) if first.shape == whole.shape else op.inputs

    def op_of(self, tensor: Tensor) -> Op:
        """The operation that made ``tensor``."""
        return self._made_by[id(tensor)]

    def depends(self, tensor: Tensor) -> bool:
        """Whether ``tensor`` was computed from any input of the model."""
        return id(tensor) in self._dependent

    def is_learned(self, tensor: Tensor) -> bool:
        """Whether ``tensor`` was computed from weights."""
        return id(tensor) in self._learned

    def has_weights(self, op: Op) -> bool:
        """Whether an input of ``op`` is computed from weights alone."""
        return any(self.is_learned(t) and not self.depends(t) for t in op.inputs)

    def needed(self, tensors: Iterable[Tensor], among: Sequence[Op] | None = None) -> list[Op]:
        """The operations (of those ``among`` all) from which ``tensors`` are computed, in order of making."""
        wanted = {id(t) for t in tensors}
        found = []
        for op in reversed(self.ops if among is None else among):
            if any(id(t) in wanted for t in op.outputs):
                found.append(op)
                wanted.update(id(t) for t in op.inputs)
        return found[::-1]

    def sources_of(self, tensor: Tensor) -> frozenset[int]:
        """The ids of the model's inputs from which ``tensor`` is computed."""
        read = {id(t) for op in self.needed([tensor]) for t in op.inputs} | {id(tensor)}
        return frozenset(id(source) for source in self.sources if id(source) in read)

    def divided_by(self, tensor: Tensor) -> Op:
        """What made a divisor, but for how it is moved and spread, and for what keeps it from 0."""
        op = self.op_of(tensor)
        while op.kind in ("identity", "add", "maximum") or op.row.mask == "moved":
            inner = [t for t in op.inputs if self.depends(t)]
            if len(inner) != 1:
                break
            op = self.op_of(inner[0])
        return op

    def readers(self, tensor: Tensor) -> Sequence[Op]:
        """The operations on the way to the output that read ``tensor``."""
        if not self._readers:
            for reader in self.ops if self.output is None else self.needed([self.output]):
                for t in {id(t): t for t in reader.inputs}.values():
                    self._readers.setdefault(id(t), []).append(reader)
        return self._readers.get(id(tensor), ())

    def divides_later(self, op: Op) -> bool:
        """Whether what ``op`` makes, or sums of it, divide or are divided, or their logarithm is taken.

        Then it is a part of a normalisation. Looked at is what follows up to products with weights.
        """
        stack: list[Tensor] = list(op.outputs)
        seen: set[int] = set()
        while stack:
            t = stack.pop()
            for reader in self.readers(t):
                divides = reader.kind == "div" and self.depends(reader.inputs[1])
                if divides or reader.kind in ("log", "reciprocal"):
                    return True
                if reader.number not in seen and not (reader.kind in PRODUCTS and self.has_weights(reader)):
                    seen.add(reader.number)
                    stack += reader.outputs
        return False

    def between(self, starts: Sequence[Tensor], end: Tensor) -> list[Op]:
        """The operations on all ways from ``starts`` to ``end``, in order of making."""
        made, behind = {id(start) for start in starts}, []
        for op in self.ops[min(self.op_of(start).number for start in starts) + 1 : self.op_of(end).number + 1]:
            if any(id(t) in made for t in op.inputs):
                behind.append(op)
                made.update(id(t) for t in op.outputs)
        return self.needed([end], behind)

    def function(self, start: Tensor, end: Tensor) -> Callable[[Tensor], Tensor]:
        """What the operations between make of another ``start``."""
        ways = self.between([start], end)

        def made(other: Tensor) -> Tensor:
            known = {id(start): other}
            for op in ways:
                outputs = backend.repeat(op.raw, [known.get(id(t), t) for t in op.inputs])
                known.update((id(old), new) for old, new in zip(op.outputs, outputs, strict=True))
            return known[id(end)]

        return made

    def is_zero(self, tensor: Tensor) -> bool:
        """Whether ``tensor`` is known to hold zeros alone."""
        op = self.op_of(tensor)
        if op.row.mask == "moved" or op.kind in ("identity", "mul"):
            return (any if op.kind == "mul" else all)(self.is_zero(t) for t in op.data)
        return op.kind == "zeroslike" or number(op.outputs[0]) == 0

    def is_non_negative(self, tensor: Tensor) -> bool:
        """Whether no value of ``tensor`` can be below zero, as far as the operations tell."""
        if not self._signs:
            for op in self.ops:
                self._signs.update((id(t), self._has_sign(op, index)) for index, t in enumerate(op.outputs))
        return self._signs[id(tensor)]

    def _has_sign(self, op: Op, index: int) -> bool:
        sign, data = op.row.sign, op.data
        if op.kind == "each":
            sign, data = "all", op.inputs[index : index + 1]
        elif op.kind == "mul" and data[0] is data[1]:
            sign = "never"
        if sign in ("all", "any"):
            return (all if sign == "all" else any)(self._signs[id(t)] for t in data)
        value = backend.constant_value(op.outputs[index]) if not op.inputs else None
        at_least_zero = value is not None and value.dtype.kind in "fiu" and bool((value >= 0).all())
        return sign == "never" or at_least_zero


def number(tensor: Tensor) -> Any:
    """The one number that ``tensor`` holds (everywhere), where it is known when the graph is made; else None.

    A literal is such a number; a weight or an array of different numbers is not.
    """
    value = backend.constant_value(tensor)
    if value is None or not value.size or value.dtype.kind not in "fiub":
        return None
    first = value.flat[0]
    return first if (value == first).all() or (value != value).all() else None
