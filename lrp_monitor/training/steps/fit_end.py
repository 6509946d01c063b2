"""Where the fits of this process have left the runs that they log to, and which model it was."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from lrp_monitor.store.paths import is_url
from lrp_monitor.training.steps.position import Position
from lrp_monitor.training.tensors.names import tensor_names

# Values looked at of each weight: enough that two initialisations of a kernel differ in their correlation
# (of independent values below 0.5 but for one case in 30,000), and so few that ResNet50 takes 50 ms of a CPU, a
# dense model of 100 M parameters 2 ms.
_VALUES = 64
_FEWEST = 8
_RELATED = 0.5

Sample = Mapping[str, tuple[tuple[int, ...], NDArray[np.float32]]]
"""Of each floating-point weight by name: its shape, and up to 64 of its values at fixed places."""


def sample(model: keras.Model) -> Sample:
    """The present weights of a model, as far as is needed to know them again. Costs the same for every size."""
    named = tensor_names(model)
    shapes = {name: tuple(int(axis) for axis in variable.shape) for name, variable in named.items()}
    parts = []
    for name, variable in named.items():
        size = int(np.prod(shapes[name], dtype=np.int64))
        positions = np.linspace(0, max(0, size - 1), min(size, _VALUES)).astype(np.int64)
        values = tf.convert_to_tensor(variable.value if isinstance(variable, keras.Variable) else variable)
        parts.append(tf.cast(tf.gather(tf.reshape(values, [-1]), positions), tf.float32))
    if not parts:
        return {}
    ends = np.cumsum([int(part.shape[0]) for part in parts])[:-1]
    values = np.split(tf.concat(parts, 0).numpy(), ends)  # one wait for the device
    return {name: (shapes[name], part) for name, part in zip(named, values, strict=True)}


def equal(one: Sample, other: Sample) -> bool:
    """Whether two samples are of the same weights."""
    return _alike(one, other) and all(np.array_equal(one[name][1], other[name][1], equal_nan=True) for name in one)


def related(one: Sample, other: Sample) -> bool:
    """Whether the one model could have been trained on to become the other: no kernel has been drawn anew."""
    return _alike(one, other) and not any(_drawn_anew(one[name], other[name][1]) for name in one)


def _alike(one: Sample, other: Sample) -> bool:
    return {name: shape for name, (shape, _) in one.items()} == {name: shape for name, (shape, _) in other.items()}


def _drawn_anew(one: tuple[tuple[int, ...], NDArray[np.float32]], after: NDArray[np.float32]) -> bool:
    shape, before = one
    if len(shape) < 2 or len(before) < _FEWEST or not (np.isfinite(before).all() and np.isfinite(after).all()):
        return False
    a, b = before - before.mean(dtype=np.float64), after - after.mean(dtype=np.float64)
    spread = float(np.sqrt(np.sum(a * a) * np.sum(b * b)))
    return spread > 0 and float(np.sum(a * b)) < _RELATED * spread


@dataclass
class Reached:
    """The state in which a fit of this process left a model, on the axis of its run.

    Attributes:
        model: gives the model as long as it is there (a weak reference) and has not begun another run since.
        weights: None where the fit did not come to its end, so that they are not known.
        heatmaps: of the last log, None once the model is gone.
        one_epoch: whether the fit had one.
    """

    position: Position
    model: Callable[[], keras.Model | None]
    weights: Sample | None
    heatmaps: NDArray[np.float32] | None = None
    one_epoch: bool = False

    def knows(self, model: keras.Model, now: Sample) -> bool:
        """Whether a model with the weights `now` is the one left here, as it was or trained on elsewhere.

        Another object (loaded from a file, cloned) has to hold the very weights.
        """
        if self.model() is not model:
            return self.weights is not None and equal(self.weights, now)
        return self.weights is None or related(self.weights, now)

    def unchanged(self, now: Sample) -> bool:
        """Whether the weights `now` are those that were left."""
        return self.weights is not None and equal(self.weights, now)


_REACHED: dict[str, Reached] = {}


def reached_in(run_dir: str) -> Reached | None:
    """Where this process has left the run in a folder; None where it has not logged there."""
    return _REACHED.get(_key(run_dir))


def leave(run_dir: str, reached: Reached) -> None:
    """Notes where a fit has left the run in a folder. A model is in one run of a log directory: the latest."""
    key, model = _key(run_dir), reached.model()
    for other, known in _REACHED.items():
        if other != key and _parent(other) == _parent(key) and known.model() is model:
            known.model = lambda: None
        if known.model() is None:
            known.heatmaps = None
    _REACHED[key] = reached


def _parent(key: str) -> str:
    return key.replace(os.sep, "/").rpartition("/")[0]


def _key(run_dir: str) -> str:
    return run_dir if is_url(run_dir) else os.path.realpath(run_dir)
