"""How far one training step moves the weights: norms of their change and of what was there before."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from lrp_monitor.text import first_line
from lrp_monitor.training.tensors.names import Names, naming

_CHUNK = 1 << 18  # values of a large tensor squared at a time: bounds the memory


class Update(NamedTuple):
    """One variable's: Euclidean norms, float64, NaN where a value is not finite."""

    change: float
    """Of the weights after the step minus those before it."""
    before: float
    """Of the weights before the step."""


class WeightUpdates:
    """Measures one execution of the train function (`steps_per_execution` training steps), any number of times.

    `begin()` before it, `end()` behind it, then `take()`. The weights are read, nothing of the model is changed; until
    `end()` a copy of the trainable weights is held. Nothing here raises: `problem` says why the last execution was not
    measured.
    """

    def __init__(self, model: keras.Model) -> None:
        self.problem: str | None = None
        self._model = model
        self._norms: Any = None  # compiled; traced once for each set of variables
        self._before: list[tuple[Any, tf.Tensor]] = []
        self._measured: tuple[list[Any], tf.Tensor] | None = None

    def begin(self) -> None:
        """Keeps the weights as they are now."""
        self.problem = self._measured = None
        try:
            self._before = [(v, tf.convert_to_tensor(v.value)) for v in self._model.trainable_variables]
        except Exception as error:  # memory may run out, or a variable not be there yet: the training goes on
            self._failed(error)

    def end(self) -> None:
        """Compares the weights of now with those of `begin`."""
        before, self._before = self._before, []
        try:
            self._norms = self._norms or tf.function(_squares, autograph=False)
            after = [tf.convert_to_tensor(variable.value) for variable, _ in before]
            if before:
                self._measured = [variable for variable, _ in before], self._norms([old for _, old in before], after)
        except Exception as error:  # what was trained must not be lost over its log
            self._failed(error)

    def drop(self) -> None:
        """Lets go of the weights of `begin`, where the step has failed."""
        self._before = []

    def share(self, other: WeightUpdates) -> None:
        """Takes over what another one has measured."""
        self.problem, self._measured = other.problem, other._measured

    def take(self, names: Names | None = None) -> dict[str, Update]:
        """Name -> update of the last execution that was measured, once; empty where there is none. Raises nothing."""
        measured, self._measured = self._measured, None
        if measured is None:
            return {}
        try:
            name_of = naming(self._model, names)
            norms = tf.sqrt(measured[1]).numpy()
            return {name_of(v): Update(*map(float, row)) for v, row in zip(measured[0], norms, strict=True)}
        except Exception as error:  # the counting on the device or the names failed; training goes on without them
            self._failed(error)
            return {}

    def _failed(self, error: Exception) -> None:
        self._before, self._measured = [], None
        self.problem = f"how far the training step moved the weights could not be measured: {first_line(error)}"


def _squares(before: list[tf.Tensor], after: list[tf.Tensor]) -> tf.Tensor:
    """Sums of squares of each variable's change and of what was there before: float64 (variables, 2)."""
    rows: list[tf.Tensor] = []
    for old, new in zip(before, after, strict=True):
        with tf.control_dependencies(rows[-1:]):  # one after the other: their temporaries would add up
            rows.append(_row(tf.reshape(old, [-1]), tf.reshape(new, [-1])))
    return tf.stack(rows)


def _row(old: tf.Tensor, new: tf.Tensor) -> tf.Tensor:
    def of(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
        first, second = tf.cast(first, tf.float64), tf.cast(second, tf.float64)
        return tf.stack([tf.reduce_sum(tf.square(second - first)), tf.reduce_sum(tf.square(first))])

    size = int(old.shape[0])
    if size <= _CHUNK:
        return of(old, new)
    chunks = size // _CHUNK

    def body(index: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        place = slice(index * _CHUNK, (index + 1) * _CHUNK)
        return index + 1, total + of(old[place], new[place])

    start = (tf.constant(0), of(old[chunks * _CHUNK :], new[chunks * _CHUNK :]))
    return tf.while_loop(lambda index, _: index < chunks, body, start, parallel_iterations=1)[1]
