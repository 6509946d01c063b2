"""Where a compiled training step leaves its gradient statistics."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from lrp_monitor.training.tensors.histograms import ROW

UNSEEN = -1
"""First column of a row that was not written since the last ``clear``: no count is negative."""


class StatisticsBuffer:
    """One row of statistics (see ``statistics_rows``) for each of some variables: int64 (variables, ROW).

    int64, because on a GPU int32 variables live on the host. Under a distribution ``strategy`` every replica
    writes a copy of its own, and the first is read: the numbers are those of the reduced gradients, the same
    on all of them. It must then be made outside of the replicas.
    """

    def __init__(self, variables: list[Any], strategy: Any) -> None:
        self.variables = variables
        self._place = {id(variable): place for place, variable in enumerate(variables)}
        self._strategy = strategy
        self._empty = np.full((len(variables), ROW), UNSEEN, np.int64)
        if strategy is None:
            with tf.init_scope():  # where it is made while a step is traced: lifted out of its graph
                self.rows = tf.Variable(self._empty, trainable=False, name="gradient_statistics")
            return
        with strategy.scope():
            self.rows = tf.Variable(
                self._empty,
                trainable=False,
                name="gradient_statistics",
                synchronization=tf.VariableSynchronization.ON_READ,
                aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
            )

    def holds(self, variables: list[Any]) -> bool:
        """Whether it has a row for each of these variables."""
        return all(id(variable) in self._place for variable in variables)

    def write(self, variables: list[Any], rows: tf.Tensor) -> Any:
        """Inside a step: put the rows of these variables in their places. Returns the assignment."""
        positions = [[self._place[id(variable)]] for variable in variables]
        return self.rows.assign(tf.tensor_scatter_nd_update(self.rows.read_value(), positions, rows))

    def read(self) -> Any:
        """All rows, NumPy int64 (variables, ROW). Waits for the step that writes them."""
        if self._strategy is None:
            return self.rows.numpy()
        return self._strategy.experimental_local_results(self.rows)[0].numpy()

    def clear(self) -> None:
        """Mark all rows as unseen."""
        self.rows.assign(self._empty)
