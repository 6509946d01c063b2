"""One training step as a graph that also counts gradients, and the variables that it moves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from lrp_monitor.passes.python_state import unmarked
from lrp_monitor.passes.state import changes_variables_alone, draws_from_kernels, written


class CapturedStep:
    """``function``, from one batch to the outputs of a train step, traced here for batches of the type ``spec``.

    Args:
        counters: the variables in which it counts.
        updated: those that the optimizers own or train.
        apart: whether it counts gradients that are not applied, so that the training step is still to run.
    """

    def __init__(
        self, model: keras.Model, function: Callable[[Any], Any], spec: Any, counters: Sequence[Any],
        updated: Sequence[Any], apart: bool = False,
    ) -> None:  # fmt: skip
        self._call = tf.function(function, input_signature=[spec], autograph=False)
        with unmarked(model):
            traced = self._call.get_concrete_function()
        self.apart = apart
        own = {id(variable.handle) for variable in counters}
        trained = {id(getattr(variable, "value", variable).handle) for variable in updated}
        self.moved = [handle for handle in written(traced) if id(handle) not in own]
        """Handles of every variable that the step may assign."""
        self.aside = [handle for handle in self.moved if id(handle) not in trained]
        """Those of them that move whether or not an optimizer is applied: seeds, statistics, metrics."""
        self.draws_by_itself = draws_from_kernels(traced)
        """Whether it draws random numbers other than Keras' own function would (see ``draws_from_kernels``)."""
        self.restorable = changes_variables_alone(traced)
        """Whether nothing is left of a run once what it moved is put back."""

    def __call__(self, batch: Any) -> Any:
        """Run the step."""
        return self._call(batch)
