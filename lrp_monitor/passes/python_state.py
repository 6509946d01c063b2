"""What layers keep in Python and change when they are traced or called, put back as it was.

A layer may count its calls, fill a list, write into an array or draw from a generator of its own: of all that the
training must not see that its model was looked at.
"""

from __future__ import annotations

import contextlib
import functools
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import is_dataclass
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from lrp_monitor.keras_internals import keep_losses, layers_of
from lrp_monitor.passes.shadows import shadows

_MOST = 64 << 20
"""Bytes of arrays that are kept."""
_CONTAINERS = (list, dict, set, deque, bytearray)


@contextlib.contextmanager
def unmarked(model: Any, called: bool = False) -> Iterator[None]:
    """What a trace of ``model`` leaves on its layers goes when the block ends: losses, what Python counted or kept.

    That is numbers, texts and arrays that were assigned, tensors of the trace, arrays that were written into (64 MiB of
    them all together), what was put into containers or taken out of them, the state of random generators, and all of
    that inside containers and plain objects. What a layer that is not built yet learns in its build stays, and so do
    layers and variables that it makes.

    Args:
        called: whether Python is called when the block runs a function, and may draw from the generators that all of
            Python and of NumPy share. Of a trace they are left alone: other threads may draw from them meanwhile.
    """
    layers = [layer for layer in layers_of(model) if layer.built]
    followed = _Followed()
    for layer in layers:
        followed.add_attributes(layer.__dict__, None if _is_keras_own(layer) else type(layer).__module__)
    if called:
        followed.add_shared()
    with shadows() as put:
        for layer in layers_of(model):
            keep_losses(put, layer)
        try:
            yield
        finally:
            for restore in followed.restore:
                restore()


def _is_keras_own(layer: Any) -> bool:
    return type(layer).__module__.split(".")[0] == "keras"


@functools.cache
def _of_every_layer() -> frozenset[str]:
    """The attributes that Keras gives to every layer or model, for itself."""
    return frozenset(vars(keras.layers.Layer())) | frozenset(vars(keras.Model()))


def _restore_attributes(now: dict[str, Any], before: dict[str, Any], own: bool) -> None:
    """Gives an object's attributes the values of ``before``, where neither layers nor variables have come in.

    Args:
        own: whether all that are not Keras' are given back; else numbers and texts.
    """

    def is_value(name: str, value: Any) -> bool:
        if type(value) in (int, float, str):
            return True
        followed = own and name not in _of_every_layer()
        return followed and (
            value is None or isinstance(value, bool | complex | bytes | tuple | np.generic | np.ndarray)
        )

    for name, value in list(now.items()):
        if (name in before and before[name] is value) or _holds_state(value):
            continue
        of_trace = isinstance(value, tf.Tensor) and not hasattr(value, "numpy")
        if name in before:
            if of_trace or is_value(name, before[name]):
                now[name] = before[name]
        elif of_trace or (own and is_value(name, value)):
            del now[name]


def _restore_contents(container: Any, kind: Any, before: Any) -> None:
    """Gives a container what it held before, unless layers or variables have come in."""
    # Tensors cannot be asked whether they are equal.
    same = container == before if kind in (set, bytearray) else _ids(container) == _ids(before)
    if same or _holds_state(container):
        return
    # By the plain types' methods: Keras' own lists look at all that they are given.
    kind.clear(container)
    put: Callable[[Any, Any], None] = kind.update if kind in (dict, set) else kind.extend
    put(container, before)


def _holds_state(value: Any) -> bool:
    """Whether a value is, or a container holds, a layer or a variable."""
    return any(isinstance(one, keras.layers.Layer | keras.Variable | tf.Variable) for one in (value, *_held(value)))


def _held(value: Any) -> Iterable[Any]:
    """What a container holds; nothing for anything else."""
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list | tuple | set | deque) else ()


def _ids(container: Any) -> Any:
    if isinstance(container, dict):
        return {key: id(value) for key, value in container.items()}
    return [id(value) for value in container]


class _Followed:
    """What can be changed in place, with functions that bring it back."""

    def __init__(self) -> None:
        self.restore: list[Callable[[], None]] = []
        self._seen: dict[int, Any] = {}
        self._room = _MOST

    def _later(self, restore: Callable[..., Any], *before: Any) -> None:
        self.restore.append(functools.partial(restore, *before))

    def add_attributes(self, namespace: dict[str, Any], module: str | None) -> None:
        """The attributes of a layer or object, and what they hold.

        Args:
            module: that of a layer of a user's own: objects of classes from there are its own, too. None for Keras'.
        """
        self._later(_restore_attributes, namespace, dict(namespace), module is not None)
        if module is not None:
            for name, value in list(namespace.items()):
                if name not in _of_every_layer():
                    self._add(value, module)

    def _add(self, value: Any, module: str) -> None:
        if id(value) in self._seen:
            return
        self._seen[id(value)] = value
        if isinstance(value, np.ndarray):
            if value.flags.writeable and value.nbytes <= self._room:
                self._room -= value.nbytes
                self._later(np.copyto, value, value.copy())
        elif isinstance(value, np.random.Generator):
            self._later(setattr, value.bit_generator, "state", value.bit_generator.state)
        elif isinstance(value, np.random.RandomState):
            self._later(value.set_state, value.get_state())
        elif isinstance(value, random.Random) and not isinstance(value, random.SystemRandom):
            self._later(value.setstate, value.getstate())
        elif isinstance(value, _CONTAINERS):
            kind: Any = next(t for t in _CONTAINERS if isinstance(value, t))
            self._later(_restore_contents, value, kind, kind(value))
            for held in _held(value):
                self._add(held, module)
        elif _is_plain(value, module):
            self.add_attributes(vars(value), module)

    def add_shared(self) -> None:
        """The generators of random numbers that Python and NumPy have for all."""
        self._later(random.setstate, random.getstate())
        self._later(np.random.set_state, np.random.get_state())


def _is_plain(value: Any, module: str) -> bool:
    """Whether an object is there to hold what a layer keeps: it changes by its attributes alone."""
    if isinstance(value, type | keras.layers.Layer | keras.Variable | tf.Module) or not hasattr(value, "__dict__"):
        return False
    return isinstance(value, SimpleNamespace) or is_dataclass(value) or type(value).__module__ == module
