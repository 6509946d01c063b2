"""All that the engine asks of TensorFlow: recording and repeating operations, and gradients of its own."""

from lrp_monitor.engine.backend.gradients import (
    Tensor,
    after,
    deferred,
    gradients,
    gradients_of_rows,
    holds_data,
    identity,
    is_float_tensor,
    is_tensor,
    kept,
    scaled_gradient,
    stop_gradient,
    straight_through,
    with_bias,
)
from lrp_monitor.engine.backend.recorded import (
    attribute,
    call_site,
    computed_constant,
    constant_value,
    count_operations,
    inlined,
    kind_of,
    operations,
    repeat,
    repeat_as_mean,
)

__all__ = [
    "Tensor", "after", "attribute", "call_site", "computed_constant", "constant_value", "count_operations",
    "deferred", "gradients", "gradients_of_rows", "holds_data", "identity", "inlined",
    "is_float_tensor", "is_tensor", "kept", "kind_of", "operations", "repeat", "repeat_as_mean", "scaled_gradient",
    "stop_gradient", "straight_through", "with_bias",
]  # fmt: skip
