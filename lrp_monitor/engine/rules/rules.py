"""The propagation rules: how a weighted layer shares the relevance of its outputs out to its inputs.

A rule is written as a *surrogate* of the layer, ``s(x)``, whose ordinary gradient carries relevance. Let the
relevance of output j be ``R_j = z_j G_j``, where ``G`` is what arrives in the reverse pass and ``z`` the
pre-activation. Then ``x_i ds/dx_i`` (coefficients under ``stop_gradient``) must be the relevance of input i.
The value of the surrogate is replaced by z itself, so that the network computes what it always computed.

A rule of one's own is a subclass with one method::

    class Square(Rule):                                  # R_i = sum_j (x_i w_ij)^2 / sum_i (x_i w_ij)^2 R_j
        def surrogate(self, a: Affine) -> Tensor:
            x = stop_gradient(a.x)
            share = a.lin(a.x * x, a.kernel * a.kernel)  # x_i ds/dx_i = x_i^2 w_ij^2
            return share * stop_gradient(a.value / stabilise(share, 1e-9))
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops

from lrp_monitor.engine.backend import Tensor, after, stop_gradient
from lrp_monitor.engine.gradients import divided
from lrp_monitor.engine.rules.affine import Affine

__all__ = [
    "AlphaBeta", "Epsilon", "Flat", "Gamma", "Gradient", "Pass", "Rule", "WSquare", "ZBox", "ZPlus",
    "stabilise", "stop_gradient",
]  # fmt: skip


def stabilise(z: Tensor, epsilon: float) -> Tensor:
    """``z + epsilon * sign(z)`` with ``sign(0) = +1``: a denominator that is never zero."""
    return z + ops.where(z >= 0, epsilon, -epsilon)


class Rule(ABC):
    """A propagation rule for weighted layers."""

    takes_activation = False
    """Whether the surrogate is in proportion to ``a.result``, so that an activation behind the map is taken along."""
    needs_value = True
    """Whether the surrogate reads ``a.value`` for anything else."""
    input_only = False
    """Whether the rule needs the companion mask, which reaches the first weighted layer alone."""
    box: tuple[Any, ...] = ()
    """Of a rule that needs the corners of a box of inputs: its lowest and highest values."""

    def __init_subclass__(cls) -> None:
        """What a rule says of its surrogate does not hold for that of a subclass."""
        if "surrogate" in vars(cls):
            for name in ("takes_activation", "needs_value"):
                if name not in vars(cls):
                    setattr(cls, name, getattr(Rule, name))

    @abstractmethod
    def surrogate(self, a: Affine) -> Tensor:
        """A tensor of the output's shape whose gradient with regard to ``a.x`` carries relevance."""


def _finite(name: str, value: object, low: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.floating | np.integer):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not np.isfinite(value) or value < low:
        raise ValueError(f"{name} must be a finite number >= {low:g}, got {value!r}")
    return float(value)


# A sum of contributions of one sign counts as no less than this part of the pre-activation.
_LEAST_SUM = 1e-6


@dataclass(frozen=True)
class Epsilon(Rule):
    """LRP-epsilon: ``R_i = sum_j x_i w_ij / (z_j + epsilon sign(z_j)) R_j``.

    The bias sits in the denominator and absorbs its share. ``epsilon=0`` is LRP-0.
    Source: Bach et al. 2015, equations 56 (LRP-0) and 58.
    """

    epsilon: float = 1e-6

    def __post_init__(self) -> None:
        object.__setattr__(self, "epsilon", _finite("epsilon", self.epsilon, 0.0))

    @property
    def takes_activation(self) -> bool:  # type: ignore[override]
        """Whether the surrogate is in proportion to ``a.result``."""
        return self.epsilon > 0.0

    def surrogate(self, a: Affine) -> Tensor:
        if self.epsilon == 0.0:
            return a.linear
        if a.activation is not None and not a.rectified:
            return a.linear * stop_gradient(a.result / stabilise(a.value, self.epsilon))
        size = a.value if a.rectified else ops.abs(a.value)  # z / (z + epsilon sign(z)) without a sign to find
        return a.linear * stop_gradient((size if a.activation is None else a.result) / (size + self.epsilon))


@dataclass(frozen=True)
class AlphaBeta(Rule):
    """LRP-alpha-beta: positive and negative contributions apart, weighted alpha and -beta, alpha - beta = 1.

    With ``c = x_i w_ij``: ``R_i = sum_j (alpha c+ / (sum_i c+ + b_j+) - beta c- / (sum_i c- + b_j-)) R_j``.
    Both sums have a known sign, so neither needs a stabiliser of a fixed size: each counts as no less than 1e-6 of
    ``|z_j|``, at every scale of the network. ``epsilon`` >= 0 is added to the size of both.
    Raises ValueError where alpha - beta is not 1. Source: Bach et al. 2015, equation 60.
    """

    alpha: float = 2.0
    beta: float = 1.0
    epsilon: float = 0.0

    takes_activation = True

    @property
    def needs_value(self) -> bool:  # type: ignore[override]
        """Whether the surrogate reads the pre-activation."""
        return self.beta > 0

    def __post_init__(self) -> None:
        for name, low in (("alpha", 1.0), ("beta", 0.0), ("epsilon", 0.0)):
            object.__setattr__(self, name, _finite(name, getattr(self, name), low))
        if abs(self.alpha - self.beta - 1.0) > 1e-9:
            raise ValueError(f"alpha - beta must be 1, got alpha={self.alpha:g} and beta={self.beta:g}")

    def surrogate(self, a: Affine) -> Tensor:
        # The signs apart in two maps: by sums of all and of all absolute contributions it would take fewer
        # convolutions, but where positive ones are all but missing, their factor is huge and halves do not cancel.
        # The stabilisers' signs are known, and -(n + b- - epsilon) = p + b+ + epsilon - z. Below the least part of z a
        # sum is rounding, and shares over it would grow beyond what float32 holds: that of the positive ones only
        # where z < 0, that of the negative ones only where z > 0.
        total = a.positive + (a.positive_bias + (self.epsilon + 1e-30))
        if not self.beta:
            if a.rectified:
                return a.positive * stop_gradient(a.result / total)
            # The least sum as a bound of the quotient, which is made in place: no tensor holds it.
            quotient = ops.maximum(a.result / ops.maximum(total, 1e-30), -1.0 / _LEAST_SUM)
            if a.activation is not None:  # the sum is never less than z, but what is made of z may be larger
                quotient = ops.minimum(quotient, 1.0 / _LEAST_SUM)
            return a.positive * stop_gradient(quotient)
        # One after the other, in place: each of these is as large as the output.
        rest = total - a.value
        value = after(a.value, rest)
        least = _LEAST_SUM * (value if a.rectified else ops.abs(value))
        rest = ops.maximum(rest, least)
        total = after(total, rest) if a.rectified else ops.maximum(total, least)
        positive, negative = a.two(*(
            [kernel if factor == 1 else kernel * factor for kernel in a.of_sign(sign)]
            for sign, factor in ((+1, self.alpha), (-1, self.beta))
        ))  # fmt: skip
        # Times the result at the end: the reverse pass multiplies by it first, once for both signs.
        return (divided(positive, total) + divided(negative, rest)) * stop_gradient(a.result)


@dataclass(frozen=True)
class ZPlus(AlphaBeta):
    """LRP-z+: positive contributions alone, ``R_i = sum_j (x_i w_ij)+ / (sum_i (x_i w_ij)+ + b_j+) R_j``.

    It is alpha-beta with alpha 1 and beta 0. Source: Montavon et al. 2017, equation 15 (deep Taylor).
    """

    alpha: float = 1.0
    beta: float = 0.0

    def __repr__(self) -> str:
        return f"ZPlus(epsilon={self.epsilon:g})"


@dataclass(frozen=True)
class Gamma(Rule):
    """LRP-gamma, generalised to outputs of either sign: contributions of the output's own sign are favoured.

    ``R_i = sum_j (x_i w_ij + gamma (x_i w_ij)^s) / (z_j + gamma (sum_i (x_i w_ij)^s + b_j^s)) R_j``, where ``^s``
    keeps what has the sign of z_j. ``gamma`` >= 0. Source: Montavon et al. 2019, section 10.2.1; the generalised
    form: Andeol et al. 2021, appendix.
    """

    gamma: float = 0.25
    epsilon: float = 1e-6

    takes_activation = True

    def __post_init__(self) -> None:
        for name in ("gamma", "epsilon"):
            object.__setattr__(self, name, _finite(name, getattr(self, name), 0.0))

    def surrogate(self, a: Affine) -> Tensor:
        g, z = self.gamma, a.value
        if a.rectified and a.non_negative_input:
            # Relevance arrives only where z > 0: one convolution with w + gamma w+ is all that is needed, and where
            # z <= 0 the factor must only be finite.
            favoured = a.lin(a.x, a.kernel + g * ops.maximum(a.kernel, 0.0))
            biases = 0.0 if a.bias is None else a.bias + g * a.positive_bias
            least = self.epsilon or 1e-30
            return favoured * stop_gradient(a.result / ops.maximum(favoured + (biases + self.epsilon), least))
        # With m = sum_i |x_i w_ij| the favoured contributions are (z0 + m) / 2 where z > 0 and (z0 - m) / 2 where not,
        # so that R = (z0 + sign(z) k m) |q| with k = (g / 2) / (1 + g / 2) and q = z / (|z| + k (m + |b|)). Nothing
        # cancels, and an input of both signs needs no more convolutions than another.
        k = 0.5 * g / (1.0 + 0.5 * g)
        kernel, size = k * ops.abs(a.kernel), z if a.rectified else ops.abs(z)
        m = a.lin(a.x if a.non_negative_input else ops.abs(a.x), kernel)
        constant = self.epsilon / (1.0 + 0.5 * g) or 1e-30
        if a.bias is not None:
            constant = k * ops.abs(a.bias) + constant
        q = a.result / (size + (m + constant))
        if a.rectified:
            both = a.summed([a.x, ops.abs(a.x)], [a.kernel, kernel])
            return both * stop_gradient(q)
        of_linear = ops.abs(q) if a.activation is None else ops.where(z >= 0, q, -q)
        linear, m = a.two([a.kernel], [kernel]) if a.non_negative_input else (a.linear, m)
        return linear * stop_gradient(of_linear) + m * stop_gradient(q)


@dataclass(frozen=True)
class Flat(Rule):
    """Input-layer rule: every input of an output gets the same share, ``R_i = sum_j R_j / sum_i 1``.

    Values put in by padding get none. Source: Bach et al. 2016, section 2 ("flat" weight decomposition).
    """

    input_only = True
    takes_activation = True

    def surrogate(self, a: Affine) -> Tensor:
        mask = _companion(a, self).mask
        kernel = ops.ones_like(a.kernel)
        if a.one_output is not None:
            kernel = a.one_output(kernel)  # all output channels see the same inputs: one of them is enough
        share = a.lin(mask, kernel)  # its value counts the inputs: they differ where steps or samples are masked
        return share * stop_gradient(a.result / ops.maximum(share, 1e-9))


@dataclass(frozen=True)
class WSquare(Rule):
    """Input-layer rule for unbounded inputs: ``R_i = sum_j w_ij^2 / sum_i w_ij^2 R_j``.

    Source: Montavon et al. 2017, equation 11 (deep Taylor).
    """

    input_only = True
    takes_activation = True

    def surrogate(self, a: Affine) -> Tensor:
        mask = _companion(a, self).mask
        kernel = a.kernel * a.kernel
        share = a.lin(mask, kernel)
        return share * stop_gradient(a.result / ops.maximum(share, 1e-30))


@dataclass(frozen=True)
class ZBox(Rule):
    """Input-layer rule for inputs in a box ``low <= x <= high`` (zB).

    ``R_i = sum_j (x_i w_ij - low_i w_ij+ - high_i w_ij-) / sum_i (...) R_j``. The bounds are those of the *model's*
    input, numbers or arrays that broadcast to one sample; they are carried through leading preprocessing.
    Raises ValueError where low is not below high. Source: Montavon et al. 2017, equation 16 (deep Taylor).
    """

    low: Any
    high: Any
    epsilon: float = 1e-9

    input_only = True
    takes_activation = True

    def __post_init__(self) -> None:
        low, high = np.asarray(self.low, np.float32), np.asarray(self.high, np.float32)
        if not (np.isfinite(low).all() and np.isfinite(high).all()) or not (low <= high).all() or (low == high).all():
            raise ValueError(f"low must lie below high and both be finite, got low={self.low!r}, high={self.high!r}")
        object.__setattr__(self, "epsilon", _finite("epsilon", self.epsilon, 0.0))

    @property
    def box(self) -> tuple[Any, ...]:  # type: ignore[override]
        """The lowest and highest values."""
        return np.asarray(self.low, np.float32), np.asarray(self.high, np.float32)

    def surrogate(self, a: Affine) -> Tensor:
        companion = _companion(a, self)
        low, high = map(stop_gradient, companion.bounds(*self.box))
        of_low, of_high = companion.corners(*self.box)
        w_plus, w_minus = ops.maximum(a.kernel, 0.0), ops.minimum(a.kernel, 0.0)
        corner = a.lin(low, w_plus) + a.lin(high, w_minus)
        share = a.linear - a.lin(of_low, w_plus) - a.lin(of_high, w_minus)
        total = stabilise(a.linear - corner, self.epsilon)
        if not self.epsilon:
            total = ops.where(total == 0, np.inf, total)
        return share * stop_gradient(a.result / total)


@dataclass(frozen=True)
class Pass(Rule):
    """Relevance passes one to one: for a layer of one's own that maps each element by itself."""

    def surrogate(self, a: Affine) -> Tensor:
        raise TypeError("Pass is for elementwise layers; a weighted layer needs a rule that shares relevance out")


@dataclass(frozen=True)
class Gradient(Rule):
    """The plain gradient, so that relevance is input x gradient there: conserves where the layer is homogeneous."""

    def surrogate(self, a: Affine) -> Tensor:
        return a.linear


def _companion(a: Affine, rule: Rule) -> Any:
    if a.companion is None:
        raise TypeError(f"{type(rule).__name__} is a rule for the first weighted layer; this layer is not the first")
    return a.companion
