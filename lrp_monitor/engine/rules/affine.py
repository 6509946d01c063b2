"""A weighted map ``z = lin(x, w) + b`` as the propagation rules see it, with normalisation folded in."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from keras import ops

from lrp_monitor.engine.backend import Tensor, stop_gradient, with_bias
from lrp_monitor.engine.gradients import straight_through


@dataclass(frozen=True)
class Companion:
    """The mask of ones that multiplies the model's input, carried to where relevance leaves the network.

    The heatmap is the gradient for this mask: that is right where the input is zero, and it lets relevance pass
    one to one through preprocessing, behind which the mask is attached.
    """

    mask: Tensor
    """The mask as it arrives at this tensor, of its shape; 0 where padding was put in."""
    bounds: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    """Carries bounds of the model's input (lowest and highest values, batch of 1) through the same preprocessing."""
    corners: Callable[[Tensor, Tensor], Sequence[Tensor]]
    """The same bounds, of every sample, as they carry relevance: of a sum, each term takes that of its own bounds."""

    def by_sample(self) -> Companion:
        """The same, with bounds of every sample."""

        def bounds(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
            low, high = (ops.broadcast_to(bound, self.mask.shape) for bound in self.bounds(low, high))
            return low, high

        return replace(self, bounds=bounds)


@dataclass
class Affine:
    """One weighted map, from its input to its pre-activation; tensors are made when a rule first asks for them.

    A rule reads it and returns a surrogate (see :mod:`lrp_monitor.engine.rules.rules`). That happens in the reverse
    pass, when the relevance of the output has arrived: what a rule makes lives for the time of this one layer.
    """

    x: Tensor
    """The input, (n, ...), float32."""
    weights: Callable[[Tensor | None], Tensor]
    """Makes the kernel, float32, in the layer's own layout, of weights that wait for the given tensor."""
    bias: Tensor | None
    """The bias in a shape that broadcasts to the output; normalisation is folded in."""
    lin: Callable[[Tensor, Tensor], Tensor]
    """``lin(x, kernel)``: the layer's linear map, without bias, for any input and kernel of these shapes."""
    summed_axes: tuple[int, int] | None = None
    """The axes of the input and of the kernel over which ``lin`` sums, of any length; None where it does not."""
    channel_axes: tuple[int, int] | None = None
    """The axes of the output and of the kernel along which it has channels, of any length; None where it has not."""
    one_output: Callable[[Tensor], Tensor] | None = None
    """Cuts a kernel down to one output channel, where every output channel sees the same inputs."""
    non_negative_input: bool = False
    """Whether x >= 0 is known, which halves the convolutions of the sign-splitting rules."""
    rectified: bool = False
    """Whether a ReLU follows, so that relevance arrives only where z > 0."""
    activation: Callable[[Tensor], Tensor] | None = None
    """A function of each element that follows, of which the rule shares out the relevance."""
    companion: Companion | None = None
    """Set where x is the model's input behind preprocessing: this is the first weighted layer in data flow."""
    shape_of_x: Tensor | None = None
    """In the reverse pass the same as x, to be read where no more than its shape matters: it keeps nothing alive."""
    _cache: dict[str, Any] = field(default_factory=dict)

    def _once(self, name: str, make: Callable[[], Any]) -> Any:
        if name not in self._cache:
            self._cache[name] = make()
        return self._cache[name]

    @property
    def kernel(self) -> Tensor:
        """The weights, float32, in the layer's own layout; normalisation is folded in."""
        return self._once("kernel", lambda: self.weights(None))

    @property
    def linear(self) -> Tensor:
        """``z0 = lin(x, w)``, differentiable with regard to x."""

        def make() -> Tensor:
            if self.shape_of_x is None:
                return self.lin(self.x, self.kernel)
            # Known already in the reverse pass: then only the gradient of this map is computed, not the map.
            return straight_through(self.lin(self.shape_of_x, self.kernel), self._known_linear())

        return self._once("linear", make)

    @property
    def positive(self) -> Tensor:
        """The sum of all positive contributions ``x_i w_ij > 0``, differentiable with regard to x."""
        return self._once("positive", lambda: self._lin(self.of_sign(+1)))

    @property
    def negative(self) -> Tensor:
        """The sum of all negative contributions ``x_i w_ij < 0``, differentiable with regard to x."""
        return self._once("negative", lambda: self._lin(self.of_sign(-1)))

    def of_sign(self, sign: int) -> list[Tensor]:
        """The kernels with which x makes contributions of one sign: of its positive part, and of the negative one.

        The first alone where x is known to be all positive.
        """

        def make() -> list[Tensor]:
            same, other = (ops.maximum, ops.minimum) if sign > 0 else (ops.minimum, ops.maximum)
            kernel = same(self.kernel, 0.0)
            return [kernel] if self.non_negative_input else [kernel, -other(self.kernel, 0.0)]

        return self._once(f"kernels of sign {sign}", make)  # type: ignore[no-any-return]

    def _lin(self, kernels: Sequence[Tensor]) -> Tensor:
        if len(kernels) == 1:
            return self.lin(self.x, kernels[0])
        return self.summed([ops.relu(self.x), ops.relu(-self.x)], kernels)

    def summed(self, xs: Sequence[Tensor], kernels: Sequence[Tensor]) -> Tensor:
        """The sum of ``lin`` of two inputs, each with its kernel."""
        if self.summed_axes is None:
            return self.lin(xs[0], kernels[0]) + self.lin(xs[1], kernels[1])
        # Side by side, one product sums both: its output, the largest tensor here, is written and read once.
        return self.lin(ops.concatenate(xs, self.summed_axes[0]), ops.concatenate(kernels, self.summed_axes[1]))

    def two(self, one: Sequence[Tensor], other: Sequence[Tensor]) -> Sequence[Tensor]:
        """``lin`` with two kernels (each of the positive and the negative part of x), of which gradients are wanted.

        Where the input is larger than the output one map makes both, whose gradient sums theirs: that saves passes over
        what is largest.
        """
        if self.channel_axes is None or _size(self.x) <= _size(self.value):
            return self._lin(one), self._lin(other)
        of_output, of_weights = self.channel_axes
        both = [ops.concatenate(kernels, of_weights) for kernels in zip(one, other, strict=True)]
        return ops.split(self._lin(both), 2, of_output)  # type: ignore[no-any-return]

    @property
    def value(self) -> Tensor:
        """``z``, the pre-activation that the model computes, without gradient.

        Where the map is ``rectified`` it reads 0 in place of z < 0: no relevance arrives there.
        """

        def make() -> Tensor:
            return stop_gradient(self.linear if self.bias is None else with_bias(self.linear, self.bias))

        return self._once("value", make)

    @property
    def result(self) -> Tensor:
        """What the relevance that arrives belongs to, without gradient: z, or what an activation makes of it.

        A rule that shares out in proportion to this (``Rule.takes_activation``) takes the activation along.
        """
        activation = self.activation
        return self.value if activation is None else self._once("result", lambda: stop_gradient(activation(self.value)))

    def _known_linear(self) -> Tensor:
        return self.value if self.bias is None else self.value - self.bias

    @property
    def positive_bias(self) -> Tensor | float:
        """The positive part of the bias, 0 where there is none."""
        return 0.0 if self.bias is None else ops.maximum(self.bias, 0.0)

    def known(self) -> Tensor:
        """What is kept of the map for the reverse pass: z, or ReLU(z) where the map is rectified."""
        return ops.relu(self.value) if self.rectified else self.value

    def reversed(self, x: Tensor, carried: Sequence[Tensor], output: Tensor, *, shape_of_x: Tensor) -> Affine:
        """This map in the reverse pass: reading copies of its input and of its mask and corners, its output known."""
        companion = self.companion
        if companion is not None:
            companion = Companion(carried[0], companion.bounds, lambda low, high: carried[1:])
        return replace(
            self,
            x=x,
            shape_of_x=shape_of_x,
            weights=lambda _: self.weights(output),
            companion=companion,
            _cache={"value": output},
        )


def _size(tensor: Tensor) -> int:
    return math.prod(size or 1 for size in tensor.shape)
