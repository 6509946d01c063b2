"""What a refusal says of the way out: what the model's author can write there, or name for a layer."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from typing import Any

from keras import layers as kl

from lrp_monitor.engine import backend, gradients
from lrp_monitor.engine.backend import Tensor
from lrp_monitor.engine.trace.call_sites import entry
from lrp_monitor.engine.trace.graph import Graph, Op
from lrp_monitor.engine.trace.operations import REFUSED, UNKNOWN
from lrp_monitor.engine.trace.recording import LayerCall, leaf, loop_around


def way_out(graph: Graph, op: Op, basic: tuple[type, ...]) -> str:
    """What lets relevance pass ``op``, behind a semicolon; empty where a rule for a layer does not.

    ``basic`` are the layers whose rules speak of their weights alone.
    """
    call = leaf(op.call)
    if call is not None and _is_installed(type(call.layer)) and not isinstance(call.layer, (*basic, kl.Lambda)):
        call = loop_around(call) or call
        return _named("Gradient()", call) if is_differentiable(op) else way_past(op)
    written = REFUSED.get(op.kind, ("", ""))[1]
    one = _made_with(graph, op)
    inputs, outputs = _ends(graph, one)
    rules = ["Gradient()"] if is_differentiable(*one, inputs=inputs, outputs=outputs) else []
    if len(inputs) == len(outputs) == 1 and inputs[0].shape == outputs[0].shape:
        if all(o.row.form is not None for o in one):
            rules = ["Pass()"]
        elif op.row is UNKNOWN and not written:
            rules.append("Pass(), where it maps each element by itself,")
    ways = [written] if written else []
    if op.row.form == "part" and one == [op]:
        ways.append("make it the function of a keras.layers.Activation")
    if rules:
        ways.append(f"put it into a layer of its own and name {' or '.join(rules)} for that")
    if op.row is UNKNOWN and not ways:
        ways.append("put another operation in its place, as it has no gradient either")
    return f"; {', or '.join(ways)}" if ways else ""


def way_past(op: Op) -> str:
    """What lets relevance pass the layer around ``op`` one to one, behind a semicolon; empty where none does."""
    call = leaf(op.call)
    fits = call is not None and len(call.inputs) == 1 and call.inputs[0].shape in [t.shape for t in call.outputs]
    return _named("Pass()", call) if call is not None and fits else ""


def _named(rule: str, call: LayerCall) -> str:
    return f"; name {rule} for its layer, Composite(overrides={{{call.path!r}: {rule}}})"


def is_differentiable(*ops: Op, inputs: Sequence[Tensor] = (), outputs: Sequence[Tensor] = ()) -> bool:
    """Whether the framework can differentiate operations; it can loops and functions, which asking would change.

    Asked are the gradients between ``inputs`` and ``outputs``, by default those of the first operation.
    """
    if any(op.kind in ("loop", "call") for op in ops):
        return True
    return gradients.has_gradient(outputs or ops[0].outputs, inputs or ops[0].inputs)


def _made_with(graph: Graph, op: Op) -> list[Op]:
    """The operations that depend on the input which one call in the model's code, or one node, made with ``op``."""
    made_at = entry(op.raw)

    def same(other: Op) -> bool:
        alike = other.call is op.call and other.node == op.node
        return alike and bool(made_at or op.node) and entry(other.raw) == made_at

    before = itertools.takewhile(same, reversed(graph.ops[: op.number]))
    found = [*reversed([*before]), op, *itertools.takewhile(same, graph.ops[op.number + 1 :])]
    return [o for o in found if any(graph.depends(t) for t in o.outputs)]


def _ends(graph: Graph, ops: list[Op]) -> tuple[list[Tensor], list[Tensor]]:
    """The data that operations take from others, and what others take of them."""
    made = {id(t): t for op in ops for t in op.outputs}
    taken = {id(t): t for op in ops for t in op.inputs if id(t) not in made and graph.depends(t)}
    numbers = {op.number for op in ops}
    given = [t for t in made.values() if any(reader.number not in numbers for reader in graph.readers(t))]
    return [t for t in taken.values() if backend.holds_data(t)], [t for t in given if backend.holds_data(t)]


def _is_installed(layer_type: Any) -> bool:
    """Whether a class comes with an installed package, so that its users do not write in it."""
    path = getattr(sys.modules.get(layer_type.__module__), "__file__", None) or ""
    return any(part in path.replace("\\", "/") for part in ("/site-packages/", "/dist-packages/"))
