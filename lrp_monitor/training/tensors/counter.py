"""Counts of the gradients that the optimizers of a model are given while a step is traced or run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from lrp_monitor.keras_internals import strategy_of, variables_made_trainable
from lrp_monitor.store.format import Histogram
from lrp_monitor.text import first_line
from lrp_monitor.training.tensors.buffer import UNSEEN, StatisticsBuffer
from lrp_monitor.training.tensors.histograms import histogram_from_row, statistics_rows
from lrp_monitor.training.tensors.names import Names, naming
from lrp_monitor.training.tensors.probe_gradients import NO_GRADIENT


class Counts(NamedTuple):
    """Where the counts of a step lie until they are read; they stay there when the counter forgets them."""

    stashes: list[StatisticsBuffer]
    without: dict[int, Any]
    """Variables that were applied without a gradient, by identity."""

    def histograms(self, model: keras.Model, names: Names | None) -> list[Histogram] | None:
        """Histograms (kind "gradient") in the order of ``model.trainable_variables``; None without a single gradient.

        Waits for the step to finish.
        """
        rows: dict[int, Any] = {}
        variables: dict[int, Any] = dict(self.without)
        for buffer in self.stashes:
            for variable, row in zip(buffer.variables, buffer.read(), strict=True):
                if row[0] != UNSEEN:
                    rows[id(variable)] = row
                    variables[id(variable)] = variable
        if not rows:
            return None
        order = {id(v): place for place, v in enumerate(model.trainable_variables)}
        name_of = naming(model, names)
        result = []
        for key in sorted(variables, key=lambda key: order.get(key, len(order))):
            variable = variables[key]
            size = int(np.prod(variable.shape, dtype=np.int64))
            if key in rows:
                result.append(histogram_from_row(rows[key], "gradient", name_of(variable), size))
            else:
                result.append(Histogram("gradient", name_of(variable), size, note=NO_GRADIENT))
        return result


class GradientCounter:
    """Counts what a train step hands to ``optimizer.apply``, of every optimizer among the model's attributes.

    ``begin()`` before a train function is traced the first time, outside of replicas; ``clear()`` before each
    step; the step runs inside ``counting()``; then ``problem`` says why it could not be counted, or ``counts``
    is where its counts lie. ``forget()`` before another train function.
    """

    def __init__(self, model: keras.Model) -> None:
        self.problem: str | None = None
        """Why the gradients of the last step were not counted, or None."""
        self.traces = 0
        """How many times ``apply`` was traced (or, eagerly, run) with counting."""
        self.counts = Counts([], {})
        self._model = model

    @property
    def variables(self) -> list[Any]:
        """The variables that hold the counts."""
        return [buffer.rows for buffer in self.counts.stashes]

    def begin(self) -> None:
        """Make room for the model's trainable variables."""
        self.counts.stashes.append(StatisticsBuffer(list(self._model.trainable_variables), strategy_of(self._model)))

    def clear(self) -> None:
        """Mark all variables as unseen."""
        for buffer in self.counts.stashes:
            buffer.clear()
        self.problem = None

    def forget(self) -> None:
        """Begin anew; counts that were handed out stay as they are."""
        self.counts = Counts([], {})

    @contextmanager
    def counting(self, *, applied: bool = True) -> Iterator[None]:
        """Shadow ``apply`` on the optimizer instances while the train function is traced or run.

        Args:
            applied: whether the gradients are applied, once they are counted.
        """
        optimizers = optimizers_of(self._model)
        before = [optimizer.__dict__.get("apply") for optimizer in optimizers]
        try:
            for optimizer in optimizers:
                optimizer.__dict__["apply"] = self._hook(optimizer, optimizer.apply if applied else _not_applied)
            yield
        finally:
            for optimizer, own in zip(optimizers, before, strict=True):
                if own is None:
                    optimizer.__dict__.pop("apply", None)
                else:
                    optimizer.__dict__["apply"] = own

    def _hook(self, optimizer: Any, apply: Any) -> Any:
        def counting_apply(grads: Any, trainable_variables: Any = None) -> Any:
            grads = list(grads)
            if trainable_variables is not None:
                trainable_variables = list(trainable_variables)
            try:
                variables = trainable_variables
                if variables is None:
                    variables = variables_made_trainable(optimizer)
                counted = self._count(optimizer, grads, variables)
            except Exception as error:  # counting is optional, the update is not
                self.problem = f"the gradients could not be counted: {first_line(error)}"
                return apply(grads, trainable_variables)
            # Counted before anything is updated: if counting fails at run time, the step can be repeated.
            with tf.control_dependencies(counted):
                return apply(grads, trainable_variables)

        return counting_apply

    def _count(self, optimizer: Any, grads: list[Any], applied: list[Any]) -> list[Any]:
        self.traces += 1
        variables, dense = [], []
        own = {id(v): v for v in self._model.trainable_variables}
        own.update({id(v.value): v for v in self._model.trainable_variables})
        for grad, target in zip(grads, applied, strict=True):
            variable = own.get(id(target), target)
            if grad is None or getattr(variable, "overwrite_with_gradient", False):
                self.counts.without[id(variable)] = variable
                continue
            self.counts.without.pop(id(variable), None)
            value = tf.convert_to_tensor(grad)  # an embedding's sparse slices add up here
            # That of a dense layer on tokens or pixels has no static shape where batches differ in size.
            value = tf.ensure_shape(value, variable.shape)
            variables.append(variable)
            dense.append(tf.cast(value, tf.float32) if value.dtype.size < 4 else value)
        if not variables:
            return []
        context = tf.distribute.get_replica_context()
        if context is not None and context.num_replicas_in_sync > 1:
            dense = list(context.all_reduce(tf.distribute.ReduceOp.SUM, dense))
        scale = _loss_scale(optimizer)
        if scale is not None:
            dense = [grad / tf.cast(scale, grad.dtype) for grad in dense]
        buffer = next((buffer for buffer in self.counts.stashes if buffer.holds(variables)), None)
        if buffer is None:
            if strategy_of(self._model) is not None:  # there variables cannot be made while replicas run
                raise ValueError("the step updates variables that are not among the model's")
            buffer = StatisticsBuffer(variables, None)
            self.counts.stashes.append(buffer)
        return [buffer.write(variables, statistics_rows(dense))]


def _not_applied(grads: Any, trainable_variables: Any = None) -> None:
    """Takes the place of ``optimizer.apply``."""


def optimizers_of(model: keras.Model) -> list[Any]:
    """The optimizers among a model's attributes, ``model.optimizer`` first; not those wrapped by another."""
    found: dict[int, Any] = {}
    for value in [getattr(model, "optimizer", None), *vars(model).values()]:
        members = value.values() if isinstance(value, dict) else value
        for member in members if isinstance(value, list | tuple | dict) else [value]:
            if isinstance(member, keras.optimizers.Optimizer):
                found[id(member)] = member
    wrapped = {id(getattr(optimizer, "inner_optimizer", None)) for optimizer in found.values()}
    return [optimizer for key, optimizer in found.items() if key not in wrapped]


def _loss_scale(optimizer: Any) -> Any:
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return optimizer.dynamic_scale.value if optimizer.built else optimizer.initial_scale
    return optimizer.loss_scale_factor
