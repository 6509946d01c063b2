"""How relevance passes a function of each element by itself: one to one."""

from __future__ import annotations

from collections.abc import Callable

from keras import ops

from lrp_monitor.engine.backend import Tensor, scaled_gradient, straight_through

SMALL = 1e-6


def pass_through(z: Tensor, function: Callable[[Tensor], Tensor], zero_below: bool = False) -> Tensor:
    """``y = function(z)`` with the gradient factor ``y / z``, so that ``R_z = z G_z = y G_y = R_y``.

    ReLU's own gradient is that factor already; for a saturated ReLU6 or a sigmoid it is not. ``zero_below``: the
    function is known to be 0 wherever z <= 0, which makes the factor cheap.
    """
    return scaled_gradient(z, function, _factor_above_zero if zero_below else _factor)


def _factor_above_zero(z: Tensor, value: Tensor) -> Tensor:
    return value / ops.maximum(z, 1e-30)


def _factor(z: Tensor, value: Tensor) -> Tensor:
    # Where z is (all but) zero the factor could overflow; relevance z * G_z vanishes there anyhow. Scalars, not
    # tensors of z's shape: TensorFlow turns those into constants of the graph and holds them as long as it lives.
    is_zero = ops.abs(z) < 1e-30
    return ops.where(is_zero, 0.0, value / ops.where(is_zero, 1.0, z))


def scale_gradient(x: Tensor, factor: float) -> Tensor:
    """``x`` with ``factor`` times its gradient, hence with that part of the relevance."""
    return straight_through(x * factor, x)
