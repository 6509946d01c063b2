"""Weighted maps among the operations: a product with weights, and what of the operations behind it folds into it.

A bias, a BatchNormalization, any scale and shift along the output's channels that no input changes make one map with
the product; so do two products that are summed (``x W + h U``). What merely moves the output is looked through.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from keras import ops

from lrp_monitor.engine import backend
from lrp_monitor.engine.backend import Tensor
from lrp_monitor.engine.rules.affine import Affine, Companion
from lrp_monitor.engine.rules.rules import Rule
from lrp_monitor.engine.steps.axes import Span, joins_others, lies_in, product_axes, size_of, step_of
from lrp_monitor.engine.steps.moves import is_move, joint_axis, moved, output_of, span_moved
from lrp_monitor.engine.trace.graph import Op, number
from lrp_monitor.engine.trace.operations import PRODUCTS

if TYPE_CHECKING:
    from lrp_monitor.engine.trace.recording import LayerCall

Make = Callable[[], Tensor | float]


@dataclass(frozen=True)
class Cut:
    """One of the tensors that were concatenated to a product's data, and what of the kernel multiplies it."""

    x: Tensor
    axis: int
    """The axis of the kernel over which the product sums."""
    rows: slice
    """The places along that axis."""


@dataclass(frozen=True, eq=False)
class Map:
    """A product of data with weights and what was folded into it; tensors are made when they are asked for."""

    op: Op
    data: int
    """Which input of the product carries data."""
    kernel: int
    rule: Rule
    call: LayerCall | None
    """The call of a layer in which the product was made."""
    axes: Mapping[Span, int]
    """What of the output is the kernel's own -> axes of the kernel; the last two of a depthwise one are one.

    Where all lies at one place of what it was joined into, that is known as well: -1.
    """
    one_output: Callable[[Tensor], Tensor] | None
    moved: tuple[tuple[Op, int], ...] = ()
    """What has moved the product's output, and which of its outputs is meant; of what joins, which of its inputs."""
    picked: bool = False
    """Whether some of what is the kernel's own was left out, or is in another order, or stands beside others."""
    cut: Cut | None = None
    """What of the data it multiplies, where that is a part alone."""
    scales: tuple[Callable[[Tensor], Tensor], ...] = ()
    """What multiplies the kernel."""
    bias: Make | None = None
    """The bias in a shape that broadcasts to the output."""
    factor: Tensor | None = None
    """What multiplies it as a part of a sum, of its shape: never negative, a constant to relevance, of each sample."""
    shift: Tensor | None = None
    """What is added to the map's output besides, of its shape: a constant to relevance, but of each sample."""
    summed: tuple[Map, ...] = ()
    """The maps of which this is the sum."""
    beside: tuple[Map, ...] = ()
    """The maps of which this lays the outputs side by side, or one upon another."""
    of_first_step: bool = False
    """Whether it is the first step of a loop, in which what weights make of no state is added to it."""
    problem: str = ""
    """What is wrong with the rule."""
    rectified: bool = False
    """Whether what follows makes 0 of all that is below 0."""
    activation: Callable[[Tensor], Tensor] | None = None
    """A function of each element that follows, taken along by the rule."""
    base: Map | None = None
    """The map of which this one was made."""

    @property
    def x(self) -> Tensor:
        """The recorded tensor that the product reads."""
        return self.op.inputs[self.data] if self.cut is None else self.cut.x

    @property
    def shape(self) -> Sequence[int]:
        """The shape of the map's output."""
        if self.summed:
            return self.summed[0].shape
        if self.moved:
            return tuple(output_of(*self.moved[-1]).shape)
        return tuple(self.op.outputs[0].shape)

    def all(self) -> Iterator[Map]:
        """This map and every one that it was made of."""
        made: Map | None = self
        while made is not None:
            yield made
            for part in made.beside or made.summed:
                yield from part.all()
            made = made.base

    @property
    def products(self) -> tuple[Map, ...]:
        """The maps of one product each that make it up."""
        return tuple(one for part in self.beside or self.summed for one in part.products) or (self,)

    def made_of(self, other: Map) -> bool:
        """Whether this map is ``other`` with something folded into it."""
        return any(part is other for part in self.all())

    def ways_from(self, other: Map) -> Iterator[tuple[tuple[Op, int], ...]]:
        """What has moved the output of ``other``, of which this is made, since: once for each place that it has."""
        parts = [(index, part) for index, part in enumerate(self.beside) if part.made_of(other)]
        for index, part in parts:
            ways = part.ways_from(other)
            yield from ways if self.moved_together else ((*way, (self.moved[0][0], index)) for way in ways)
        if not parts:
            one = other if self.beside else other.products[0]
            made = self if self.beside else next(part for part in self.products if part.made_of(one))
            yield made.moved[len(one.moved) :]

    def shifted(self, constant: Make) -> Map:
        """This map followed by an addition."""
        bias = self.bias
        if self.beside:
            return self._by_part(Map.shifted, constant)
        return replace(self, bias=constant if bias is None else lambda: bias() + constant(), base=self)

    @property
    def own(self) -> dict[Span, list[int]]:
        """What of the output is the kernel's own, from outer axes to inner ones, and the axes that make it up."""
        shape = self.shape
        steps = [step_of(shape, axis) for axis in range(len(shape))]
        found = {}
        for first, length in sorted(self.axes, reverse=True):
            inside = [i for i, n in enumerate(shape) if (n or 1) > 1 and lies_in((steps[i], n), (first, length))]
            if math.prod(shape[i] for i in inside) == length:
                found[first, length] = inside
        return found

    def takes(self, axes: Collection[int]) -> bool:
        """Whether what varies along these axes of the output alone can scale the kernel in its place."""
        if self.beside and not self.moved_together:
            op = self.moved[0][0]
            if op.kind == "stack":
                axis = joint_axis(op)
                axes = [i - (i > axis) for i in axes if i != axis]
        if self.beside or self.summed:
            return all(part.takes(axes) for part in self.beside or self.summed)
        return all(self._tells(axis) for axis in axes)

    def _tells(self, axis: int) -> bool:
        """Whether places along what is the kernel's own, in one or more spans, tell those along an axis."""
        at, length = step_of(self.shape, axis), self.shape[axis]
        if length is None:
            return False
        end = at * length
        while at < end:
            reach = max((first * n for first, n in self.axes if at % first == 0 and at < first * n), default=0)
            here, at = at, min(reach, end)
            if at <= here or at % here or reach % at:
                return False
        return True

    def scaled(self, factor: Make) -> Map:
        """This map times what broadcasts to its output, a number or what the map ``takes``."""
        if self.beside:
            return self._by_part(Map.scaled, factor)
        bias = self.bias
        scaled_bias = None if bias is None else lambda: bias() * factor()
        if self.summed:
            return replace(self, summed=tuple(part.scaled(factor) for part in self.summed), bias=scaled_bias, base=self)
        made, spread_out = self, factor
        if self.picked or len(self.own) < len(self.axes):
            made = map_of(self.op, self.data, self.kernel, self.rule)
            spread_out = partial(self._in_place, factor, made)
        own, shape = made.own, made.shape
        ours = {axis for inside in own.values() for axis in inside}
        spans = list(own)
        order = sorted(range(len(spans)), key=lambda i: made.axes[spans[i]])
        whole = [n if axis in ours else 1 for axis, n in enumerate(shape)]

        def scale(kernel: Tensor) -> Tensor:
            spread = ops.convert_to_tensor(spread_out())
            if size_of(spread.shape) < size_of(whole):
                spread = ops.broadcast_to(spread, whole)
            if order != sorted(order):
                spread = ops.transpose(ops.reshape(spread, [length for _, length in spans]), order)
            size = [1] * len(kernel.shape)
            for span in spans:
                size[made.axes[span]] = span[1]
            if self.op.kind == "depthwise" and spans:
                size[-2:] = kernel.shape[-2:]
            return kernel * (spread if list(spread.shape) == size else ops.reshape(spread, size))

        return replace(self, scales=(*self.scales, scale), bias=scaled_bias, base=self)

    def _in_place(self, factor: Make, before: Map) -> Tensor:
        """A factor of the map's output as one of the map ``before`` it was moved: 1 of what was left out."""
        place = backend.identity(self.op.outputs[0])
        spread = moved(place, self.moved)
        others = [i for i in range(len(place.shape)) if not before.takes((i,))]
        total, count = (
            ops.sum(backend.gradients(ops.sum(spread * ops.cast(one, spread.dtype)), [place])[0], others, keepdims=True)
            for one in (factor(), 1.0)
        )
        return ops.where(count > 0, total / ops.where(count > 0, count, 1.0), 1.0)

    def bare(self) -> Map:
        """The same product, and what cuts it, without a bias."""
        return replace(self, bias=None, shift=None, factor=None, rectified=False, activation=None, base=None)

    @property
    def moved_together(self) -> bool:
        """Whether the maps ``beside`` each other were moved since: each is of the whole, 0 where the others lie."""
        return bool(self.beside) and len(self.moved) > 1

    def _by_part(self, fold: Callable[[Map, Make], Map], value: Make) -> Map:
        """Each of the maps ``beside`` each other with what comes to it of what broadcasts to the whole."""
        op, rank = self.moved[0][0], len(self.shape)
        axis = joint_axis(op)
        sizes = [t.shape[axis] for t in op.data] if op.kind == "concat" else []

        def pieces() -> Sequence[Tensor]:
            if self.moved_together:  # what padding put in is the first one's
                whose = [*(ops.full_like(t, i) for i, t in enumerate(op.data)), *op.inputs[len(op.data) :]]
                lies = moved(backend.repeat(op.raw, whose)[0], self.moved[1:])
                return [ops.where(ops.equal(lies, i), value(), 0.0) for i in range(len(op.data))]
            whole = ops.convert_to_tensor(value())
            whole = ops.reshape(whole, [1] * (rank - len(whole.shape)) + list(whole.shape))
            whole = ops.broadcast_to(whole, [self.shape[i] if i == axis else n for i, n in enumerate(whole.shape)])
            return backend.split(whole, sizes, axis) if sizes else ops.unstack(whole, axis=axis)  # type: ignore[no-any-return]

        parts = tuple(fold(part, lambda i=i: pieces()[i]) for i, part in enumerate(self.beside))  # type: ignore[misc]
        return replace(self, beside=parts, base=self)

    @property
    def is_part(self) -> bool:
        """Whether something of the product's output was left out on the way, or more than it is there."""
        sums = [moved.outputs[0] for moved, _ in self.moved if moved.row.statistic]
        return bool(self.beside) or size_of(self.shape) < size_of((sums or self.op.outputs)[-1].shape)

    @property
    def is_product(self) -> bool:
        """Whether the product is more than a scale: a matrix product, in one operation or multiplied and summed."""
        return self.op.kind in PRODUCTS or any(moved.row.statistic for moved, _ in self.moved)

    def rectify(self) -> Map:
        """The same map, with the knowledge that a ReLU follows."""
        return replace(self, rectified=True, base=self)

    @property
    def varies(self) -> bool:
        """Whether it is scaled or shifted by what differs by sample."""
        return any(one.shift is not None or one.factor is not None for one in (self, *self.products))

    def moved_by(self, op: Op, index: int) -> Map | None:
        """This map followed by an operation that moves or negates its output; None where it is another."""
        if self.varies or not (op.kind == "neg" or is_move(op)):
            return None
        if op.kind == "neg":
            return self.scaled(lambda: -1.0)
        if op.kind == "identity":
            return self
        if op.kind == "pad" and any(number(t) != 0 for t in op.inputs[2:]):
            return None
        return self.behind(op, index)

    def spread_by(self, op: Op, index: int) -> Map | None:
        """This map with its output as large as that of ``op``, whose input ``index`` it is; None where that is another.

        The output of ``op`` may have neither other samples nor more axes.
        """
        size, spread = tuple(self.shape), tuple(op.outputs[0].shape)
        if size == spread:
            return self
        return None if self.varies or len(size) != len(spread) or size[0] != spread[0] else self.behind(op, index)

    def behind(self, op: Op, index: int) -> Map:
        """This map followed by ``op``, which moves, joins or spreads its output; ``index`` as in ``moved``."""
        if self.beside:
            joint, parts = self.moved[0][0], self.beside
            if not self.moved_together:
                parts = tuple(part.behind(joint, i) for i, part in enumerate(parts))
            parts = tuple(part.behind(op, index) for part in parts)
            return replace(self, moved=(*self.moved, (op, index)), beside=parts, base=self)
        bias = self.bias
        behind = None if bias is None else lambda: moved(ops.broadcast_to(bias(), self.shape), [(op, index)])
        if self.summed:
            return replace(self, summed=tuple(part.behind(op, index) for part in self.summed), bias=behind, base=self)
        axes, picked = {}, self.picked or joins_others(op)
        whole = [(step_of(self.shape, axis), n or 1) for axis, n in enumerate(self.shape)]
        for span, at in self.axes.items():
            # Where it goes apart, the axes of which it was made up go on by themselves.
            inside = [one for one in whole if one != span and one[1] != 1 and lies_in(one, span)]
            for one in (span, *inside):
                found, same = span_moved(op, index, one, one in whole)
                if found is not None:
                    axes[found] = at
                    picked |= not same or one != span
                    if one == span:
                        break
        if joins_others(op):
            axis, after = joint_axis(op), output_of(op, index).shape
            if op.kind == "stack" or self.shape[axis] == 1:  # the place of each is known by its others
                axes[step_of(after, axis), after[axis]] = -1
        axes = {span: at for span, at in axes.items() if span[1] is not None}
        moves = (*self.moved, (op, index))
        return replace(self, moved=moves, axes=axes, picked=picked, one_output=None, bias=behind, base=self)

    # --- as the rules see it -----------------------------------------------------------------------------------------

    def weights(self, tensor: Tensor | None = None) -> Tensor:
        """The kernel, scaled, in the product's own layout, made when ``tensor`` is there."""
        kernel = self.op.inputs[self.kernel]
        kernel = ops.cast(kernel if tensor is None else backend.after(kernel, tensor), "float32")
        if self.cut is not None:
            kernel = kernel[(*(slice(None),) * self.cut.axis, self.cut.rows)]
        for scale in self.scales:
            kernel = scale(kernel)
        return kernel

    def lin(self, x: Tensor, kernel: Tensor) -> Tensor:
        """The product, moved as its output is, of any data and kernel of these shapes."""
        inputs = list(self.op.inputs)
        inputs[self.data], inputs[self.kernel] = x, kernel
        if self.op.kind == "convtranspose":
            size = [x.shape[0], *self.op.outputs[0].shape[1:]]
            size[self.op.channel_axis] = kernel.shape[-2]
            inputs[0] = ops.convert_to_tensor(size, dtype="int32")
        (y,) = backend.repeat(self.op.raw, inputs)
        return moved(y, self.moved)

    def full_bias(self, value: Callable[[Tensor], Tensor]) -> Tensor | None:
        """All that is added to the products, of which ``value`` gives what differs by sample."""
        bias = None if self.bias is None else ops.cast(self.bias(), "float32")
        if self.shift is None:
            return bias
        return value(self.shift) if bias is None else bias + value(self.shift)

    def _channels(self) -> int | None:
        """The axis of channels of a convolution's data; None in groups of them, and of other products."""
        if self.op.kind != "conv":
            return None
        axis = self.op.channel_axis
        return axis if self.x.shape[axis] == self.op.inputs[self.kernel].shape[-2] else None

    def _varies_by_sample(self) -> bool:
        """Whether the kernel has rows of its own for each sample."""
        named, shape = product_axes(self.op), self.op.inputs[self.kernel].shape
        sample = named[self.data][0]
        return any(name == sample and n != 1 for name, n in zip(named[self.kernel], shape, strict=True))

    def affine(
        self, x: Tensor, value: Callable[[Tensor], Tensor], *, companion: Companion | None, non_negative: bool
    ) -> Affine:
        """The map of another ``x``, as rules see it."""
        axis = self._channels()
        if companion is not None and (self.moved or self._varies_by_sample()):  # made for as many samples as there are
            companion = companion.by_sample()

        def weights(tensor: Tensor | None) -> Tensor:
            # A scaled kernel, as large as the kernel, is made when its turn has come.
            return self.weights(x if tensor is None and self.scales else tensor)

        return Affine(
            x=x, weights=weights, bias=self.full_bias(value), lin=self.lin, one_output=self.one_output,
            non_negative_input=non_negative, rectified=self.rectified, companion=companion, activation=self.activation,
            summed_axes=None if axis is None else (axis, -2),
            channel_axes=None if axis is None or self.moved else (axis, -1),
        )  # fmt: skip


def map_of(op: Op, data: int, kernel: int, rule: Rule) -> Map:
    """The map that a product with weights is."""
    weights, named = op.inputs[kernel], product_axes(op)
    shape = tuple(op.outputs[0].shape)
    if op.kind == "depthwise":
        axes = {op.channel_axis: len(weights.shape) - 1}
    elif op.kind == "mul":  # a diagonal matrix
        axes = {len(shape) - len(weights.shape) + i: i for i, n in enumerate(weights.shape) if n != 1}
    else:
        axes = {axis: named[kernel].index(name) for axis, name in enumerate(named[-1]) if name not in named[data]}
    grouped = op.kind == "conv" and op.inputs[data].shape[op.channel_axis] != weights.shape[-2]
    first = tuple(slice(1) if at in axes.values() else slice(None) for at in range(len(weights.shape)))
    one_output = None if grouped or op.kind == "depthwise" else lambda made: made[first]
    spans = {(step_of(shape, axis), shape[axis]): at for axis, at in axes.items()}
    return Map(op, data, kernel, rule, op.call, spans, one_output)
