"""Operations of ``keras.ops`` and raw operators that stand as nodes in a functional model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import keras

from lrp_monitor.engine import activations, backend
from lrp_monitor.engine.layers.products import share_product

if TYPE_CHECKING:
    from lrp_monitor.engine.trace import Trace

# The classes behind keras.ops bear the functions' names in another spelling: HardSilu is ops.hard_silu.
_PRODUCTS = frozenset({"Multiply", "Matmul", "Dot", "Einsum"})


def _spelling(name: str) -> str:
    return name.replace("_", "").lower()


def operations_of(model: Any) -> Iterator[Any]:
    """Every node of ``model`` and of the functional models inside it that is an operation and no layer."""
    seen: set[int] = set()
    for part in model._flatten_layers():
        for node in getattr(part, "operations", ()) if isinstance(part, keras.Model) else ():
            if not isinstance(node, keras.layers.Layer) and id(node) not in seen:
                seen.add(id(node))
                yield node


def shadow_operation(trace: Trace, node: Any) -> Callable[..., Any] | None:
    """What takes the place of ``node.call``; None where its plain gradient is right or the audit has to say."""
    kind, original = _spelling(type(node).__name__), node.call
    if not type(node).__module__.startswith("keras."):
        return None
    whole = {"relu": keras.activations.relu, "sigmoid": keras.activations.sigmoid}
    if kind == "softmax" and getattr(node, "axis", -1) == -1:
        whole["softmax"] = keras.activations.softmax
    passes = kind in {_spelling(name) for name in activations.ELEMENTWISE}

    def call(*args: Any, **kwargs: Any) -> Any:
        if trace.muted or not any(backend.is_tensor(x) and trace.depends_on_input(x) for x in args):
            return original(*args, **kwargs)
        with backend.treated():
            if kind in whole:
                trace.note_row(node, "relevance passes the activation" if kind != "softmax" else "softmax")
                return trace.activate(node, args[0], whole[kind])
            trace.note_row(node, "relevance passes the activation")
            return activations.pass_through(args[0], lambda z: original(z, *args[1:], **kwargs))

    def product(*args: Any, **kwargs: Any) -> Any:
        tensors = [index for index, x in enumerate(args) if backend.is_tensor(x)]
        live = [index for index in tensors if trace.depends_on_input(args[index])]
        if trace.muted or len(live) < 2:
            return original(*args, **kwargs)  # by a constant: left to the audit, which knows weights from scales
        with backend.treated():
            factors, treatment = share_product(trace, [args[index] for index in live])
            given = list(args)
            for index, factor in zip(live, factors, strict=True):
                given[index] = factor
            trace.note_row(node, treatment)
            return original(*given, **kwargs)

    treat = product if type(node).__name__ in _PRODUCTS else call if kind in whole or passes else None
    if treat is None:
        return None
    chosen = treat

    def shadow(*args: Any, **kwargs: Any) -> Any:
        with trace.calling(node):  # in a prefix the mask is handed on from operation to operation
            return (original if trace.in_prefix else chosen)(*args, **kwargs)

    return shadow
