"""How far one training step moves the weights: norms of their change and of what was there before."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from lrp_monitor import mapped
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
    `end()` a copy of the trainable weights is held, of many on the CPU in a temporary file. Nothing here raises:
    `problem` says why the last execution was not measured.
    """

    def __init__(self, model: keras.Model) -> None:
        self.problem: str | None = None
        self._model = model
        self._norms: Any = None  # compiled; traced once for each set of variables
        self._before: _Copies | None = None
        self._measured: tuple[list[Any], tf.Tensor] | None = None

    def begin(self) -> None:
        """Keeps the weights as they are now."""
        self.problem = self._measured = None
        try:
            self._before = _copies(self._model.trainable_variables)
        except Exception as error:  # memory may run out, or a variable not be there yet: the training goes on
            self._failed(error)

    def end(self) -> None:
        """Compares the weights of now with those of `begin`."""
        before, self._before = self._before, None
        try:
            if before is None or not before.variables:
                return
            if before.arrays:
                norms = tf.stack([_row_of(*pair) for pair in zip(before.arrays, before.variables, strict=True)])
            else:
                self._norms = self._norms or tf.function(_squares, autograph=False)
                norms = self._norms(before.tensors, [_value(variable) for variable in before.variables])
            self._measured = before.variables, norms
        except Exception as error:  # what was trained must not be lost over its log
            self._failed(error)

    def drop(self) -> None:
        """Lets go of the weights of `begin`, where the step has failed."""
        self._before = None

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
        self._before = self._measured = None
        self.problem = f"how far the training step moved the weights could not be measured: {first_line(error)}"


class _Copies(NamedTuple):
    """Variables and what they held: as tensors, or as flat arrays in one file."""

    variables: list[Any]
    tensors: list[tf.Tensor]
    arrays: list[NDArray[Any]]


def _copies(variables: list[Any]) -> _Copies:
    """On the CPU a tensor is the variable's own memory until that is written to: beside a file it takes no other."""
    tensors = [_value(variable) for variable in variables]
    sizes = [tensor.dtype.size * int(tf.size(tensor)) for tensor in tensors]
    if sum(sizes) < mapped.LARGE or not all("CPU" in tensor.device for tensor in tensors):
        return _Copies(variables, tensors, [])
    parts, ends = mapped.Parts((sum(sizes),), np.uint8), np.cumsum(sizes)
    for tensor, size, end in zip(tensors, sizes, ends, strict=True):
        parts.put(int(end) - size, np.asarray(tensor).reshape(-1).view(np.uint8))
    held = parts.whole()
    arrays = [
        held[end - size : end].view(tensor.dtype.as_numpy_dtype)
        for tensor, size, end in zip(tensors, sizes, ends, strict=True)
    ]
    return _Copies(variables, [], arrays)


def _row_of(old: NDArray[Any], variable: Any) -> tf.Tensor:
    found = _row(tf.convert_to_tensor(old), tf.reshape(_value(variable), [-1]))
    mapped.let_go(old)
    return found


def _value(variable: Any) -> tf.Tensor:
    return tf.convert_to_tensor(variable.value)


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
