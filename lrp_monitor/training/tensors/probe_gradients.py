"""Histograms of the loss gradient on a fixed batch, the model in inference mode."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from lrp_monitor.keras_internals import compiled_loss, loss_of_training, takes_training
from lrp_monitor.passes.compiled import Pass
from lrp_monitor.store.format import Histogram
from lrp_monitor.training.tensors.histograms import histogram_from_row, statistics_rows
from lrp_monitor.training.tensors.names import Names, naming

NO_GRADIENT = "no gradient"
"""The note of a histogram of a trainable variable that the loss does not depend on."""


class ProbeGradients:
    """The loss gradient on one batch, again and again while a model trains; nothing of the model is changed.

    ``x``, ``y`` are the inputs and targets as ``fit`` takes them, whole: they are one batch. The loss is the
    compiled one, with regularisation; layers run with ``training=False`` (Dropout off, BatchNormalization on
    its moving statistics, which ``True`` would move). Compiled once; built anew when the model was compiled
    again or other variables train. ``called`` is what is called on ``x`` where that is not the model itself: the
    part of it behind encodings. Raises ValueError for a model that is not built or not compiled.
    """

    def __init__(
        self, model: keras.Model, x: Any, y: Any, *, names: Names | None = None, called: keras.Model | None = None
    ) -> None:
        if not model.compiled:
            raise ValueError("probe gradients need a loss: call model.compile(loss=...) first")
        if not model.built:
            raise ValueError("probe gradients need a model that is built: call it on a batch first")
        self._model, self._called = model, model if called is None else called
        self._batch = tf.nest.map_structure(tf.convert_to_tensor, (x, y))
        self._names = names
        self._variables: list[Any] = []
        self._loss: Any = None
        self._without: set[int] = set()
        self._rows: Any = None
        self.traces = 0
        """How many times the gradient was traced."""

    def __call__(self) -> list[Histogram]:
        """One Histogram (kind "gradient") for each trainable variable, noted where it has no gradient."""
        model = self._model
        variables = list(model.trainable_variables)
        same = len(variables) == len(self._variables) and all(
            new is old for new, old in zip(variables, self._variables, strict=True)
        )
        loss = compiled_loss(model)
        if not same or self._loss is not loss:
            self._variables, self._loss, self._without = variables, loss, set()
            # With several outputs the loss updates a running mean for each of them: a pass puts those back, too.
            leaves = tf.nest.flatten(self._batch)
            signature = [(tuple(leaf.shape), leaf.dtype.name) for leaf in leaves]
            self._rows = Pass(model, self._count, signature)
        counted = iter(self._rows(*tf.nest.flatten(self._batch)).numpy())
        name_of = naming(model, self._names)
        result = []
        for place, variable in enumerate(variables):
            name, size = name_of(variable), int(np.prod(variable.shape, dtype=np.int64))
            if place in self._without:
                result.append(Histogram("gradient", name, size, note=NO_GRADIENT))
            else:
                result.append(histogram_from_row(next(counted), "gradient", name, size))
        return result

    def _count(self, *leaves: Any) -> tf.Tensor:
        self.traces += 1
        x, y = tf.nest.pack_sequence_as(self._batch, leaves)
        model = self._model
        values = [variable.value for variable in self._variables]
        with tf.GradientTape() as tape:
            predicted = self._called(x, training=False) if takes_training(self._called) else self._called(x)
            loss = loss_of_training(model, x, y, predicted)
        gradients = tape.gradient(loss, values)
        self._without.update(place for place, gradient in enumerate(gradients) if gradient is None)
        taken = [(grad, value) for grad, value in zip(gradients, values, strict=True) if grad is not None]
        return statistics_rows([tf.ensure_shape(tf.convert_to_tensor(grad), value.shape) for grad, value in taken])


def probe_gradients(model: keras.Model, x: Any, y: Any, *, names: Names | None = None) -> list[Histogram]:
    """Histograms of the loss gradient on one batch, once: see ``ProbeGradients``."""
    return ProbeGradients(model, x, y, names=names)()
