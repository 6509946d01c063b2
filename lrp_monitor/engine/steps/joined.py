"""Maps of several products: their sum in one call of a layer, or their outputs laid beside each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Any

from keras import ops

from lrp_monitor.engine import backend
from lrp_monitor.engine.backend import Tensor
from lrp_monitor.engine.rules.affine import Affine, Companion
from lrp_monitor.engine.rules.rules import Rule
from lrp_monitor.engine.steps.axes import leaves_order, product_axes, step_of
from lrp_monitor.engine.steps.maps import Cut, Map
from lrp_monitor.engine.steps.moves import joint_axis, moved, output_of
from lrp_monitor.engine.trace.graph import Op
from lrp_monitor.engine.trace.operations import CONVOLUTIONS


def sum_of(op: Op, maps: Sequence[Map], rule: Rule) -> Map | None:
    """The map that ``op`` makes of the outputs of maps: a sum of products, made in one call of a layer.

    Outputs of one product that are summed are mixed by constants, which are no part of a map.
    """
    first = min(maps, key=lambda made: made.op.kind not in CONVOLUTIONS)
    products = [one for made in maps for one in made.products]
    own = {(id(one.op), id(one.cut)) for one in products}
    if not any(one.is_product for one in products) or len(own) < len(products):
        return None
    parts = []
    for index, made in enumerate(maps):
        if made.beside or (made.summed and made.varies) or made.call is not first.call:
            return None
        part = made.spread_by(op, index)
        if part is None:
            return None
        parts.append(part.scaled(lambda: -1.0) if index and op.kind == "sub" else part)
    whole = Map(first.op, first.data, first.kernel, rule, first.call, {}, None, summed=tuple(parts))
    return replace(whole, of_first_step=any(part.of_first_step for part in parts))


def cut_apart(made: Map, joint: Op) -> list[Map]:
    """The products of which ``made``, of data that ``joint`` concatenates, is the sum; none where it does not sum so.

    ``[x, h] W`` is ``x U + h V`` with the rows ``U`` and ``V`` of ``W``.
    """
    named, axis = product_axes(made.op), joint_axis(joint)
    name, kernel = named[made.data][axis], made.op.inputs[made.kernel]
    at = named[made.kernel].index(name) if name in named[made.kernel] else None
    if at is None or name in named[-1] or kernel.shape[at] != joint.outputs[0].shape[axis]:
        return []
    parts, start = [], 0
    for x in joint.data:
        start, before = start + x.shape[axis], start
        parts.append(replace(made, cut=Cut(x, at, slice(before, start))))
    return parts


def summed_up(op: Op, made: Map) -> list[Map]:
    """The maps that ``op`` adds up, or of which it takes the mean, where they lie one upon another; else none."""
    joint = made.moved[0][0] if made.beside and not made.moved_together else None
    axes = None if joint is None else backend.constant_value(op.inputs[1])
    if joint is None or axes is None:
        return []
    axis, rank = joint_axis(joint), len(made.shape)
    whole = joint.kind == "stack" or all(part.shape[axis] == 1 for part in made.beside)
    if not whole or [int(i) % rank for i in axes.reshape(-1)] != [axis]:
        return []
    return [part.behind(joint, i).behind(op, 0) for i, part in enumerate(made.beside)]


def _cuts_of_columns(made: Map) -> list[tuple[Op, int]]:
    """What first cuts columns of ``x W`` out, and so can cut those of W: a matrix on the right, not transposed."""
    plain = made.kernel == 1 and product_axes(made.op) == [("m", "k"), ("k", "n"), ("m", "n")]
    return list(takewhile(lambda move: _cuts_columns(*move), made.moved)) if plain else []


def _cuts_columns(op: Op, index: int) -> bool:
    """Whether what moves a matrix leaves its rows as they are, so that it can move another one's columns so."""
    before, after = (tuple(t.shape) for t in (op.data[0], output_of(op, index)))
    rows = (step_of(before, 0), before[0])
    return len(before) == 2 and op.kind in ("slice", "split") and after[:-1] == before[:-1] and leaves_order(op, rows)


def beside(op: Op, parts: Sequence[Map | None]) -> Map | None:
    """The map of maps whose outputs ``op`` lays side by side or one upon another; None where it is none of them."""
    found = [part for part in parts if part is not None and not part.varies]
    if op.kind not in ("concat", "stack") or len(found) < len(parts) or any(part.of_first_step for part in found):
        return None
    first = found[0]
    return Map(op, 0, 0, first.rule, first.call, {}, None, moved=((op, 0),), beside=tuple(found))


def joined(
    made: Map, xs: Sequence[Tensor], value: Callable[[Tensor], Tensor], done: Sequence[bool],
    companions: Sequence[Companion],
) -> Affine:  # fmt: skip
    """A sum of maps of other data ``xs`` as rules see it: one map of all of them side by side.

    ``done`` says of each x whether it is that part's output already, which the map then leaves as it is;
    ``companions`` are those of all x, where the sum is the first weighted map.
    """
    parts = made.products
    factors = [None if part.factor is None else value(part.factor) for part in parts]
    cuts = [_cuts_of_columns(part) for part in parts]
    kernels = [
        ops.ones((1, *x.shape[1:])) if ready else moved(part.weights(), cut)  # cheaper than the product of all columns
        for x, ready, part, cut in zip(xs, done, parts, cuts, strict=True)
    ]
    data, parts_of_data = _laid_out(xs, 1)
    weights, parts_of_weights = _laid_out(kernels, 0)

    def lin(x: Tensor, kernel: Tensor) -> Tensor:
        terms = []
        for index, (values, own) in enumerate(zip(parts_of_data(x), parts_of_weights(kernel), strict=True)):
            part, cut, factor = parts[index], cuts[index], factors[index]
            if done[index]:
                y = values * own
            else:
                y = moved(ops.matmul(values, own), part.moved[len(cut) :]) if cut else part.lin(values, own)
            terms.append(y if factor is None else factor * y)
        return sum(terms[1:], start=terms[0])

    def laid_out(of: Callable[[Companion], Callable[[Tensor, Tensor], Sequence[Tensor]]]) -> Any:
        def both(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
            lows, highs = zip(*(of(companion)(low, high) for companion in companions), strict=True)
            return _laid_out(lows, 1)[0], _laid_out(highs, 1)[0]

        return both

    masks = [companion.mask for companion in companions]
    bounds, corners = laid_out(lambda one: one.by_sample().bounds), laid_out(lambda one: one.corners)
    companion = Companion(_laid_out(masks, 1)[0], bounds, corners) if masks else None
    biases = list(_biases(made, value))
    return Affine(
        x=data, weights=lambda _: weights, bias=sum(biases[1:], start=biases[0]) if biases else None, lin=lin,
        rectified=made.rectified, companion=companion,
    )  # fmt: skip


def _biases(made: Map, value: Callable[[Tensor], Tensor]) -> Iterator[Tensor]:
    """All that a sum of maps adds to the products."""
    own = made.full_bias(value)
    if own is not None:
        yield own if made.factor is None else value(made.factor) * own
    for part in made.summed:
        yield from _biases(part, value)


def _laid_out(tensors: Sequence[Tensor], axis: int) -> tuple[Tensor, Callable[[Tensor], list[Tensor]]]:
    """Tensors in one, matrices side by side along an axis, and what cuts another one so."""
    shapes = [tuple(t.shape) for t in tensors]
    fit = {len(shape) for shape in shapes} == {2} and len({shape[-1 - axis] for shape in shapes}) == 1
    if not fit:
        tensors, axis = [ops.reshape(t, (-1,)) for t in tensors], 0
    sizes = [t.shape[axis] for t in tensors]

    def cut(value: Tensor) -> list[Tensor]:
        pieces = backend.split(value, sizes, axis)
        return pieces if fit else [ops.reshape(t, shape) for t, shape in zip(pieces, shapes, strict=True)]

    return ops.concatenate(tensors, axis), cut
