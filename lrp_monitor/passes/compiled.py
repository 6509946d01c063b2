"""Passes: functions of a model, traced once and run often, which leave its state as they found it."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from lrp_monitor import keras_internals
from lrp_monitor.mapped import Parts, let_go
from lrp_monitor.passes import memory
from lrp_monitor.passes.memory import OutOfMemoryError, Room, is_out_of_memory, on_device
from lrp_monitor.passes.python_state import unmarked
from lrp_monitor.passes.state import calls_python, kept, written
from lrp_monitor.text import first_line

_MOST = 64  # samples at a time: more gain nothing
_ALONE = Room(1 << 30)  # where nothing is known of a training beside
_SLACK = 1.25  # a pass that needs so much more than its room is not worth compiling again


Spec = tuple[tuple[int | None, ...], str]
"""Shape and type of a tensor that a pass takes."""


class Pass:
    """``function`` traced for the shapes of ``signature``; tracing happens here, and raises what ``function`` raises.

    Whatever ``model`` assigns while it is traced or run is as before afterwards: its variables (see
    :mod:`lrp_monitor.passes.state`), and what it keeps in Python (``python_state``). Everything that looks at a
    model goes through here: what is run eagerly draws from the random numbers of a training that runs eagerly, and
    nothing brings those back.
    """

    def __init__(
        self, model: Any, function: Callable[..., Any], signature: Sequence[Spec], jit_compile: bool = False,
        device: str | None = None,
    ) -> None:  # fmt: skip
        specs = [tf.TensorSpec(shape, dtype) for shape, dtype in signature]
        compiled = tf.function(function, autograph=False, jit_compile=jit_compile or None)
        self._device = device
        with unmarked(model), on_device(device):
            self._function = compiled.get_concrete_function(*specs)
        # Without this every trace would stay in memory for the life of the process.
        keras_internals.forget_custom_gradients(self._function.graph)
        # Held, since a graph does not: a generator that Keras made for the trace may be replaced by another.
        self._variables = self._function.variables
        self._written = written(self._function)
        self._looked_at = model if calls_python(self._function) else None

    @property
    def bytes(self) -> int:
        """What it holds at its peak, as far as its graph tells (:func:`memory.needed_bytes`)."""
        return memory.needed_bytes(self._function)

    def __call__(self, *tensors: Any) -> Any:
        """The function's results, as tensors."""
        # A tape of the caller's would ask for the gradient of the whole pass.
        as_it_was = contextlib.nullcontext() if self._looked_at is None else unmarked(self._looked_at, called=True)
        with on_device(self._device), as_it_was, kept(self._written), keras_internals.unrecorded():
            given: list[Any] = [tf.convert_to_tensor(tensor) for tensor in tensors]
            return self._function(*given)


Function = Callable[..., dict[str, Any]]
Signature = Callable[[int], Sequence[Spec]]
"""What a pass takes, from the number of samples that go through at a time."""


class Passes:
    """The passes over one model, compiled as they are needed, and how many samples go through them at a time.

    Where memory runs out it is halved, once and for all; ``notes`` and a RuntimeWarning say so.

    Args:
        asked: that number, None to choose it by what a pass needs.
        fixed: the one number that the model takes, or None.
    """

    def __init__(
        self, model: Any, asked: int | None = None, fixed: int | None = None, jit_compile: bool = False,
        device: str | None = None,
    ) -> None:  # fmt: skip
        self._model, self._asked, self._fixed = model, asked, fixed
        self._jit_compile, self._device = jit_compile, device
        self.room = _ALONE
        """What passes may take while nothing was asked for."""
        self.notes: list[str] = []
        """Texts for the user on how the passes went, such as memory that ran out."""
        self.last: tuple[int, int] | None = None
        """Of the pass used last: samples at a time, and bytes that it needs."""
        self._made: dict[tuple[Hashable, int], tuple[Pass, int]] = {}
        self._largest: dict[Hashable, int] = {}

    def __bool__(self) -> bool:
        return bool(self._made)

    def ready(
        self, key: Hashable, function: Function, signature: Signature, n: int | None, width: int = 1
    ) -> tuple[Pass, int]:
        """The pass called ``key`` for ``n`` samples, traced where it is not yet, and how many it takes at a time.

        ``width``: a sample takes as much as so many.
        """
        while True:
            chunk = self._chunk(key, signature, n, width)
            if (key, chunk) not in self._made:
                made = Pass(self._model, function, signature(chunk), self._jit_compile, self._device)
                self._made[key, chunk] = made, made.bytes
            made, size = self._made[key, chunk]
            self.last = chunk, size
            if self._fixed is not None or self._asked is not None or chunk == 1:
                return made, chunk
            fits = self.room.samples_of(size / chunk, self._device)
            if chunk <= _SLACK * fits:
                return made, chunk
            self._forget(key, chunk, _power_below(fits) * width)

    def widest(self, key: Hashable, signature: Signature, wanted: int) -> int:
        """As how many samples one may count: ``wanted``, or less where less goes through at a time."""
        if self._fixed is not None:
            return min(wanted, max(1, _MOST // self._fixed))
        return min(wanted, self._samples(key, signature))

    def run(
        self, key: Hashable, function: Function, signature: Signature, samples: Sequence[NDArray[Any]],
        beside: Callable[[], Sequence[NDArray[Any]]] = tuple,
        reduced: Callable[[dict[str, NDArray[Any]]], dict[str, NDArray[Any]]] = dict,
        width: int = 1,
        in_file: bool = False,
    ) -> dict[str, NDArray[Any]]:  # fmt: skip
        """The results for all samples, joined. ``beside`` gives what the pass takes besides, once it has been traced.

        ``reduced`` is applied to the results of the samples that went through together, before they are joined.
        ``width``: see `ready`. ``in_file``: whether large results may lie in a file, read-only. Raises
        OutOfMemoryError where one sample alone is too many; from then on `widest` gives half of a ``width`` above 1.
        """
        n, start = len(samples[0]), 0
        joined: dict[str, Parts] = {}
        more: Sequence[NDArray[Any]] | None = None
        with _full_precision():
            while start < n:
                # Whatever an error holds on to, tensors of the pass among it, is gone once its handler is left.
                failed: str | None = None
                try:
                    compute, chunk = self.ready(key, function, signature, n, width)
                    fill = max(0, start + chunk - n)
                    rows = slice(start, start + chunk)
                    more = beside() if more is None else more
                    given = [np.ascontiguousarray(array[rows], np.float32) for array in samples]
                    part = compute(*(_filled(array, fill) for array in (*given, *(array[rows] for array in more))))
                    for name, values in reduced({k: np.asarray(v)[: chunk - fill] for k, v in part.items()}).items():
                        if name not in joined:
                            joined[name] = Parts((n, *values.shape[1:]), values.dtype, in_file)
                        joined[name].put(start, values)
                    let_go(*samples)
                    start += chunk
                except Exception as error:  # out of memory comes in many types; anything else goes on as it is
                    if not is_out_of_memory(error):
                        raise
                    failed = first_line(error)
                if failed is not None:
                    self._halve(key, signature, n, failed, width)
        return {name: parts.whole() for name, parts in joined.items()}

    def _halve(self, key: Hashable, signature: Signature, n: int, why: str, width: int) -> None:
        chunk = self._chunk(key, signature, n, width)
        if self._fixed is not None or chunk * width == 1:
            raise OutOfMemoryError("one sample" if chunk == 1 else f"{chunk} samples (the model takes no fewer)", why)
        less = chunk * width // 2
        self._forget(key, chunk, less)
        for other in self._largest:
            self._largest[other] = min(self._largest[other], less)
        if self._asked is not None:
            self._asked = min(self._asked, less)
        if not self.notes:
            text = f"memory ran out with {chunk} samples at a time, so that fewer go through from now on ({why})"
            self.notes.append(text)
            warnings.warn(f"explaining {self._model.name!r}: {text}", RuntimeWarning, stacklevel=2)
        if chunk == 1:
            raise OutOfMemoryError("one sample", why)

    def _forget(self, key: Hashable, chunk: int, largest: int) -> None:
        self._made.pop((key, chunk), None)
        self._largest[key] = max(1, largest)

    def _chunk(self, key: Hashable, signature: Signature, n: int | None, width: int = 1) -> int:
        if self._fixed is not None:
            return self._fixed
        largest = self._samples(key, signature)
        largest = largest if width == 1 else _power_below(max(1, largest // width))
        # Powers of two: few compiled sizes serve every n, and a last smaller chunk is filled up instead of traced.
        return largest if n is None else min(largest, _power_above(n))

    def _samples(self, key: Hashable, signature: Signature) -> int:
        """The most samples, each of width 1, that go through at a time."""
        if self._asked is not None:
            return self._asked
        if key not in self._largest:
            values = sum(math.prod(size or 1 for size in shape) for shape, _ in signature(1))
            guess = self.room.samples_of(memory.guessed_bytes(self._model, values), self._device)
            self._largest[key] = min(_MOST, _power_below(guess), *self._largest.values())
        return self._largest[key]


@contextlib.contextmanager
def _full_precision() -> Iterator[None]:
    """Switch TensorFloat-32 off for the time of a pass: it moves single pixels by up to a quarter."""
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    if not before:
        yield
        return
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


def _power_below(n: int) -> int:
    return 1 << max(0, int(n).bit_length() - 1)


def _power_above(n: int) -> int:
    return 1 << max(0, int(n) - 1).bit_length()


def _filled(array: NDArray[Any], fill: int) -> NDArray[Any]:
    return array if not fill else np.concatenate([array, np.repeat(array[-1:], fill, axis=0)])
