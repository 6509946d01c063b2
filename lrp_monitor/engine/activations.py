"""How relevance passes an activation function: one to one, element by element."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from lrp_monitor.engine.backend import Tensor, scaled_gradient

# Elementwise functions of Keras. The sets say what a name alone tells.
ELEMENTWISE = frozenset(
    {
        "celu", "elu", "exponential", "gelu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_swish", "hard_tanh",
        "leaky_relu", "log_sigmoid", "mish", "relu", "relu6", "selu", "sigmoid", "silu", "soft_shrink", "softplus",
        "softsign", "sparse_plus", "sparse_sigmoid", "squareplus", "swish", "tanh", "tanh_shrink", "threshold",
    }
)  # fmt: skip
NON_NEGATIVE = frozenset(
    {"relu", "relu6", "sigmoid", "hard_sigmoid", "softplus", "exponential", "softmax", "sparse_plus",
     "sparse_sigmoid", "squareplus"}
)  # fmt: skip
ZERO_BELOW = frozenset({"relu", "relu6"})
# The same functions under the names that the framework below Keras gives them.
_FRAMEWORK_NAMES = ELEMENTWISE | {"softmax", "log_softmax", "linear", "identity"}


def name_of(activation: Any) -> str | None:
    """The name by which an activation is known: ``linear``, ``softmax``, an elementwise one; None if unknown."""
    if activation is None:
        return "linear"
    if isinstance(activation, keras.layers.Activation):
        return name_of(activation.activation)
    name = getattr(activation, "__name__", None)
    if name is None:
        return None
    if getattr(keras.activations, name, None) is activation or getattr(ops, name, None) is activation:
        return name if name in _FRAMEWORK_NAMES else None
    module = getattr(activation, "__module__", "") or ""
    if module.startswith(("tensorflow.python", "keras.")) and name in _FRAMEWORK_NAMES:
        return name
    return None


def is_elementwise(name: str) -> bool:
    """Whether the function of this name maps each element by itself."""
    return name in ELEMENTWISE


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
