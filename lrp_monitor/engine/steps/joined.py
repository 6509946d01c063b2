"""Maps of several products: their sum in one call of a layer, or their outputs laid beside each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate

from keras import ops

from lrp_monitor.engine.backend import Tensor
from lrp_monitor.engine.rules.affine import Affine
from lrp_monitor.engine.rules.rules import Rule
from lrp_monitor.engine.steps.axes import leaves_order, step_of
from lrp_monitor.engine.steps.maps import Map, moved
from lrp_monitor.engine.trace.graph import Op


def sum_of(one: Map, two: Map, rule: Rule) -> Map | None:
    """The map that the sum of two is: products of matrices with equal outputs, made in one call of a layer."""
    for part in (one, two):
        plain = part.op.kind == "matmul" and part.kernel == 1 and len(part.op.outputs[0].shape) == 2
        flags = ("adj_x", "adj_y", "transpose_a", "transpose_b")
        if not plain or part.summed is not None or any(part.op.attribute(flag) for flag in flags):
            return None
        if not all(_cuts_columns(op, index) for op, index in part.moved):
            return None
    if one.call is not two.call or tuple(one.shape) != tuple(two.shape):
        return None
    return Map(one.op, one.data, one.kernel, rule, one.call, {}, None, summed=(one, two), in_loop=one.in_loop)


def _cuts_columns(op: Op, index: int) -> bool:
    """Whether what moves a matrix leaves its rows as they are, so that it can move another one's columns so."""
    before, after = (tuple(t.shape) for t in (op.data[0], op.outputs[index]))
    rows = (step_of(before, 0), before[0])
    return op.kind in ("slice", "split") and after[:-1] == before[:-1] and leaves_order(op, rows)


def beside(op: Op, parts: Sequence[Map | None]) -> Map | None:
    """The map of maps whose outputs ``op`` lays side by side or one upon another; None where it is none of them."""
    found = [part for part in parts if part is not None and part.summed is None and part.shift is None]
    if op.kind not in ("concat", "stack") or len(found) < len(parts) or any(part.in_loop for part in found):
        return None
    first = found[0]
    return Map(op, 0, 0, first.rule, first.call, {}, None, moved=((op, 0),), beside=tuple(found))


def joined(made: Map, xs: Sequence[Tensor], value: Callable[[Tensor], Tensor], done: Sequence[bool]) -> Affine:
    """A sum of maps of other data ``xs`` as rules see it: one map of all of them side by side.

    ``done`` says of each x whether it is that part's output already, which the map then leaves as it is.
    """
    parts = made.summed or (made,)
    factors = [None if part.factor is None else value(part.factor) for part in parts]
    kernels = [moved(part.weights(), part.moved) for part in parts]
    kernels = [ops.ones_like(kernel[:1]) if ready else kernel for kernel, ready in zip(kernels, done, strict=True)]
    widths = list(accumulate((x.shape[-1] for x in xs), initial=0))
    rows = list(accumulate((kernel.shape[0] for kernel in kernels), initial=0))

    def lin(value: Tensor, kernel: Tensor) -> Tensor:
        terms = []
        for index, factor in enumerate(factors):
            part = value[:, widths[index] : widths[index + 1]]
            weights = kernel[rows[index] : rows[index + 1]]
            y = part * weights if done[index] else ops.matmul(part, weights)
            terms.append(y if factor is None else factor * y)
        return sum(terms[1:], start=terms[0])

    found = [] if made.summed is None else [made.full_bias(value)]
    for part, factor in zip(parts, factors, strict=True):
        own = part.full_bias(value)
        found.append(own if factor is None or own is None else factor * own)
    biases = [bias for bias in found if bias is not None]
    return Affine(
        x=ops.concatenate(list(xs), axis=-1), weights=lambda _: ops.concatenate(kernels, axis=0),
        bias=sum(biases[1:], start=biases[0]) if biases else None, lin=lin, rectified=made.rectified,
    )  # fmt: skip
