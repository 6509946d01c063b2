"""Passes: functions of a model, traced once and run often, which leave its state as they found it."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import cached_property
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

    @cached_property
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


class Passes:
    """The passes over one model: what they may take, and how many samples go through them at a time.

    Where memory runs out it is halved, once and for all; ``notes`` and a RuntimeWarning say so.

    Args:
        asked: that number, None to choose it by what a pass needs.
        fixed: the one number that the model takes, or None.
    """

    def __init__(
        self, model: Any, asked: int | None = None, fixed: int | None = None, jit_compile: bool = False,
        device: str | None = None,
    ) -> None:  # fmt: skip
        self.model, self.asked, self.fixed = model, asked, fixed
        self.jit_compile, self.device = jit_compile, device
        self.room = _ALONE
        """What passes may take while nothing was asked for."""
        self.notes: list[str] = []
        """Texts for the user on how the passes went, such as memory that ran out."""
        self.last: tuple[int, int] | None = None
        """Of the pass used last: samples at a time, and bytes that it needs."""
        self.compiled: dict[Hashable, Compiled] = {}

    @property
    def made(self) -> dict[tuple[Hashable, int], Pass]:
        """The passes that there are, by key and by samples at a time."""
        return {(key, size): made for key, one in self.compiled.items() for size, made in one.made.items()}

    def of(self, key: Hashable, function: Callable[..., Any], takes: Sequence[Spec], known: list[Any]) -> Compiled:
        """What is called ``key``, as it was given first; see `Compiled`."""
        return self.compiled.setdefault(key, Compiled(self, function, takes, known))


class Compiled:
    """A function of a model, compiled for each number of samples that go through at a time.

    Args:
        takes: shape of a sample's row, and type, of each of its arguments.
        known: what the function finds out when it is traced.
    """

    def __init__(self, passes: Passes, function: Callable[..., Any], takes: Sequence[Spec], known: list[Any]) -> None:
        self._passes, self._function, self._takes, self.known = passes, function, takes, known
        self.made: dict[int, Pass] = {}
        self.largest: int | None = None
        """The most samples, each of width 1, that go through at a time, where that was not asked for."""

    def ready(self, n: int | None, width: int = 1) -> tuple[Pass, int]:
        """The pass for ``n`` samples, traced where it is not yet, and how many it takes at a time.

        ``width``: a sample takes as much as so many.
        """
        passes = self._passes
        while True:
            chunk = self._chunk(n, width)
            if chunk not in self.made:
                signature = [((chunk, *shape), dtype) for shape, dtype in self._takes]
                self.made[chunk] = Pass(passes.model, self._function, signature, passes.jit_compile, passes.device)
            made = self.made[chunk]
            passes.last = chunk, made.bytes
            if passes.fixed is not None or passes.asked is not None or chunk == 1:
                return made, chunk
            fits = passes.room.samples_of(made.bytes / chunk, passes.device)
            if chunk <= _SLACK * fits:
                return made, chunk
            del self.made[chunk]
            self.largest = _power_below(fits) * width

    def widest(self, wanted: int) -> int:
        """As how many samples one may count: ``wanted``, or less where less goes through at a time."""
        fixed = self._passes.fixed
        return min(wanted, self._samples() if fixed is None else max(1, _MOST // fixed))

    def run(
        self, samples: Sequence[NDArray[Any]], beside: Callable[[], Sequence[NDArray[Any]]] = tuple,
        reduced: Callable[[Any], Any] = lambda part: part, width: int = 1, in_file: bool = False,
    ) -> Any:  # fmt: skip
        """The results for all samples, joined, in the structure in which the function gives them.

        ``beside`` gives what it takes besides, once it has been traced. ``reduced`` is applied to the results of the
        samples that went through together, before they are joined. ``width``: see `ready`. ``in_file``: whether large
        results may lie in a file, read-only. Raises OutOfMemoryError where one sample alone is too many; from then on
        `widest` gives half of a ``width`` above 1.
        """
        n, start = len(samples[0]), 0
        given: list[NDArray[Any]] = []
        part: Any = None
        joined: list[Parts] = []
        with _full_precision():
            while start < n:
                # Whatever an error holds on to, tensors of the pass among it, is gone once its handler is left.
                failed: str | None = None
                try:
                    compute, chunk = self.ready(n, width)
                    given = given or [*samples, *beside()]
                    rows, fill = slice(start, start + chunk), max(0, start + chunk - n)
                    found = compute(*(
                        _filled(np.ascontiguousarray(array[rows], dtype), fill)
                        for array, (_, dtype) in zip(given, self._takes, strict=True)
                    ))  # fmt: skip
                    values = [np.asarray(leaf)[: chunk - fill] for leaf in tf.nest.flatten(found)]
                    part = reduced(tf.nest.pack_sequence_as(found, values))
                    values = tf.nest.flatten(part)
                    joined = joined or [Parts((n, *leaf.shape[1:]), leaf.dtype, in_file) for leaf in values]
                    for leaf, whole in zip(values, joined, strict=True):
                        whole.put(start, leaf)
                    let_go(*samples)
                    start += chunk
                except Exception as error:  # out of memory comes in many types; anything else goes on as it is
                    if not is_out_of_memory(error):
                        raise
                    failed = first_line(error)
                if failed is not None:
                    self._halve(n, failed, width)
        return tf.nest.pack_sequence_as(part, [whole.whole() for whole in joined])

    def _halve(self, n: int, why: str, width: int) -> None:
        passes, chunk = self._passes, self._chunk(n, width)
        if passes.fixed is not None or chunk * width == 1:
            raise OutOfMemoryError("one sample" if chunk == 1 else f"{chunk} samples (the model takes no fewer)", why)
        self.made.pop(chunk, None)
        self.largest = less = chunk * width // 2
        for other in passes.compiled.values():
            other.largest = None if other.largest is None else min(other.largest, less)
        passes.asked = None if passes.asked is None else min(passes.asked, less)
        if not passes.notes:
            text = f"memory ran out with {chunk} samples at a time, so that fewer go through from now on ({why})"
            passes.notes.append(text)
            warnings.warn(f"explaining {passes.model.name!r}: {text}", RuntimeWarning, stacklevel=2)
        if chunk == 1:
            raise OutOfMemoryError("one sample", why)

    def _chunk(self, n: int | None, width: int) -> int:
        if self._passes.fixed is not None:
            return self._passes.fixed
        largest = self._samples()
        largest = largest if width == 1 else _power_below(max(1, largest // width))
        # Powers of two: few compiled sizes serve every n, and a last smaller chunk is filled up instead of traced.
        return largest if n is None else min(largest, _power_above(n))

    def _samples(self) -> int:
        """The most samples, each of width 1, that go through at a time."""
        passes = self._passes
        if passes.asked is not None:
            return passes.asked
        if self.largest is None:
            values = sum(math.prod(size or 1 for size in shape) for shape, _ in self._takes)
            guess = passes.room.samples_of(memory.guessed_bytes(passes.model, values), passes.device)
            others = [other.largest for other in passes.compiled.values() if other.largest is not None]
            self.largest = min(_MOST, _power_below(guess), *others)
        return self.largest


@contextlib.contextmanager
def _full_precision() -> Iterator[None]:
    """Switch TensorFloat-32 off for the time of a pass: it moves single pixels by up to a quarter."""
    before = tf.config.experimental.tensor_float_32_execution_enabled()
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
