"""What every treatment of a layer shares: its signature and small helpers over tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from keras import ops

from lrp_monitor.engine.backend import Tensor, straight_through

if TYPE_CHECKING:
    from lrp_monitor.engine.trace import Trace

Original = Callable[..., Any]
"""A layer's own ``call``."""
Treatment = Callable[["Trace", Any, Original, tuple[Any, ...], dict[str, Any]], Any]
"""``treatment(trace, layer, original, args, kwargs)`` returns what ``original(*args, **kwargs)`` would."""

SMALL = 1e-6


def as_float32(value: Any) -> Tensor:
    return ops.cast(ops.convert_to_tensor(value), "float32")


def along(axis: int, rank: int) -> Callable[[Tensor], Tensor]:
    """Shapes a vector over ``axis`` of a tensor of ``rank`` so that it multiplies that tensor."""
    shape = [1] * rank
    shape[axis] = -1
    return lambda vector: ops.reshape(vector, shape)


def channel_axis(layer: Any, rank: int) -> int:
    return 1 if getattr(layer, "data_format", "channels_last") == "channels_first" else rank - 1


def scale_gradient(x: Tensor, factor: float) -> Tensor:
    """``x`` with ``factor`` times its gradient, hence with that part of the relevance."""
    return straight_through(x * factor, x)
