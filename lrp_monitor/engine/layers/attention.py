"""Attention: relevance through the softmax and the two products of activations (AttnLRP, CP-LRP)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from keras import layers as kl
from keras import ops

from lrp_monitor.engine import activations
from lrp_monitor.engine.backend import Tensor, stop_gradient
from lrp_monitor.engine.layers.common import Original, scale_gradient

if TYPE_CHECKING:
    from lrp_monitor.engine.trace import Trace

# The softmax's own gradient is its rule: x_i sum_j ds_j/dx_i R_j / s_j = x_i (R_i - s_i sum_j R_j), which is
# the softmax rule of Achtibat et al. 2024. Each of the two products of activations halves (the uniform rule): the value
# gets 1/2, the attention weights 1/2, of which query and key get a half each.
_VALUE, _QUERY_KEY = 0.5, 0.25


@contextlib.contextmanager
def _shadowed(target: Any, name: str, replacement: Callable[..., Any]) -> Iterator[None]:
    missing = object()
    before = target.__dict__.get(name, missing)
    target.__dict__[name] = replacement
    try:
        yield
    finally:
        if before is missing:
            del target.__dict__[name]
        else:
            target.__dict__[name] = before


def _row(trace: Trace) -> str:
    if trace.composite.attention == "cp_lrp":
        return "attention: its weights held constant (CP-LRP)"
    return "attention: 1/2 to the value, 1/4 to query and key (AttnLRP)"


def multi_head(trace: Trace, layer: Any, original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """MultiHeadAttention and GroupQueryAttention; their projections are EinsumDense layers with rules of their own.

    A gate on what attention makes is held constant as other gates are (``product="gate"``), and by CP-LRP.

    Source: Achtibat et al. 2024, the rules for the softmax and for bilinear products; CP-LRP: Ali et al. 2022.
    """
    own = kl.GroupQueryAttention if isinstance(layer, kl.GroupQueryAttention) else kl.MultiHeadAttention
    if type(layer)._compute_attention is not own._compute_attention:
        trace.refuse(layer, f"it computes attention in its own way, not in {own.__name__}'s")
        with trace.as_a_whole():
            return original(*args, **kwargs)
    trace.note_row(layer, _row(trace))
    attend = layer._compute_attention
    constant = trace.composite.attention == "cp_lrp"

    def compute(query: Tensor, key: Tensor, value: Tensor, *rest: Any, **options: Any) -> Any:
        if constant:
            return attend(stop_gradient(query), stop_gradient(key), value, *rest, **options)
        query, key = scale_gradient(query, _QUERY_KEY), scale_gradient(key, _QUERY_KEY)
        output, *scores = attend(query, key, scale_gradient(value, _VALUE), *rest, **options)
        return (scale_gradient(output, gated) if gated != 1.0 else output, *scores)

    gated, gate_constant = 1.0, constant or trace.composite.product == "gate"
    with contextlib.ExitStack() as stack:
        if getattr(layer, "_use_gate", False) or getattr(layer, "use_gate", False):
            gate = layer._gate_dense
            project = gate.call
            if not gate_constant:
                gated = 0.5

            def gate_call(*gate_args: Any, **gate_kwargs: Any) -> Tensor:
                made = project(*gate_args, **gate_kwargs)
                return stop_gradient(made) if gate_constant else scale_gradient(made, 0.5)

            stack.enter_context(_shadowed(gate, "call", gate_call))
        stack.enter_context(_shadowed(layer, "_compute_attention", compute))
        return original(*args, **kwargs)


def attention(trace: Trace, layer: Any, original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Attention and AdditiveAttention, which have no projections; the rules are those of :func:`multi_head`."""
    trace.note_row(layer, _row(trace))
    apply = layer._apply_scores
    constant = trace.composite.attention == "cp_lrp"

    def calculate(query: Tensor, key: Tensor) -> Tensor:
        additive = isinstance(layer, kl.AdditiveAttention)
        if not additive and layer.score_mode == "dot":
            return scores_of(scale_gradient(query, 0.5), scale_gradient(key, 0.5))
        # Additive scores: v . tanh(scale (q + k)), a sum of activations that relevance passes.
        total = ops.expand_dims(query, -2) + ops.expand_dims(key, -3)
        scale = 1.0 if layer.scale is None else layer.scale
        weight, total = (scale, total) if additive else (layer.concat_score_weight, scale * total)
        return ops.sum(weight * activations.pass_through(total, ops.tanh), axis=-1)

    scores_of = layer._calculate_scores

    def apply_scores(scores: Tensor, value: Tensor, *rest: Any, **options: Any) -> Any:
        if constant:
            return apply(stop_gradient(scores), value, *rest, **options)
        return apply(scale_gradient(scores, 0.5), scale_gradient(value, _VALUE), *rest, **options)

    with _shadowed(layer, "_calculate_scores", calculate), _shadowed(layer, "_apply_scores", apply_scores):
        return original(*args, **kwargs)
