"""A pass: a function of a model, traced once for fixed shapes, which leaves the model's state as it found it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from lrp_monitor.engine.backend import Spec, Tensor
from lrp_monitor.engine.state import kept, unmarked, written


class Pass:
    """``function`` traced for the shapes of ``signature``; tracing happens here, and raises what ``function`` raises.

    Whatever ``model`` assigns while it is traced or run is as before afterwards (see :mod:`lrp_monitor.engine.state`).
    Everything that looks at a model goes through here: what is run eagerly draws from the random numbers of a training
    that runs eagerly, and nothing brings those back.
    """

    def __init__(
        self, model: Any, function: Callable[..., Any], signature: Sequence[Spec], jit_compile: bool = False
    ) -> None:
        specs = [tf.TensorSpec(shape, dtype) for shape, dtype in signature]
        compiled = tf.function(function, autograph=False, jit_compile=jit_compile or None)
        with unmarked(model):
            self._function = compiled.get_concrete_function(*specs)
        # Held, since a graph does not: a generator that Keras made for the trace may be replaced by another.
        self._variables = self._function.variables
        self._written = written(self._function)

    def __call__(self, *tensors: Any) -> Any:
        """The function's results, as tensors."""
        given: list[Tensor] = [tf.convert_to_tensor(tensor) for tensor in tensors]
        with kept(self._written):
            return self._function(*given)
