"""How much memory a traced function needs, how much there is, and which errors say that it was not enough."""

from __future__ import annotations

import contextlib
import functools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from lrp_monitor.keras_internals import inner_functions, layers_of, memory_limits, variables_made_trainable

# Their outputs are the input's memory, seen otherwise.
_VIEWS = frozenset(
    {"Identity", "IdentityN", "StopGradient", "PreventGradient", "Reshape", "Squeeze", "ExpandDims", "ReadVariableOp",
     "Snapshot", "EnsureShape", "CheckNumerics"}
)  # fmt: skip
# They write over an input that nobody needs any more.
_IN_PLACE = frozenset(
    {"Abs", "Add", "AddN", "AddV2", "BiasAdd", "Cast", "Div", "DivNoNan", "Exp", "FusedBatchNormV3", "Maximum",
     "Minimum", "Mul", "Neg", "RealDiv", "Relu", "Relu6", "ReluGrad", "Rsqrt", "SelectV2", "Sigmoid", "Softmax",
     "Sqrt", "Square", "Sub", "Tanh", "ZerosLike"}
)  # fmt: skip


def needed_bytes(function: Any) -> int:
    """Bytes of the tensors that a concrete function holds at its peak, variables and arguments not counted.

    Counted over the operations in the order of their making, in which they run by and large; what a kernel works with
    besides, and what an allocator loses, are not in it.
    """
    return _peak(function.graph, {})


def _peak(graph: Any, known: dict[str, int]) -> int:
    functions = inner_functions(graph)
    results = [tensor for tensor in graph.outputs if tensor is not None]
    wanted: set[Any] = set()
    stack = [tensor.op for tensor in results] + list(graph.control_outputs)
    while stack:
        op = stack.pop()
        if op not in wanted:
            wanted.add(op)
            stack += [tensor.op for tensor in op.inputs] + list(op.control_inputs)
    places: dict[int, tuple[int, int]] = {}  # id of a tensor -> the memory it lies in: (number, bytes)
    last: dict[int, int] = {}
    at: list[tuple[Any, list[tuple[int, int]], list[tuple[int, int]]]] = []
    for step, op in enumerate(op for op in graph.get_operations() if op in wanted):
        read = [places[id(tensor)] for tensor in op.inputs if id(tensor) in places]
        made: list[tuple[int, int]] = []
        for tensor in op.outputs:
            if op.type in _VIEWS:
                source = op.inputs[tensor.value_index if op.type == "IdentityN" else 0]
                if id(source) in places:
                    places[id(tensor)] = places[id(source)]
            elif op.type not in ("Placeholder", "Const"):
                places[id(tensor)] = place = (len(last), _bytes_of(tensor))
                last[place[0]] = step
                made.append(place)
        for number, _ in read:
            last[number] = step
        at.append((op, read, made))
    for tensor in results:
        if id(tensor) in places:
            last[places[id(tensor)][0]] = len(at)
    live = peak = 0
    for step, (op, read, made) in enumerate(at):
        done = {place for place in (*read, *made) if last[place[0]] == step}
        over = sum(size for _, size in done.intersection(read))
        live += sum(size for _, size in made)
        within = _called(op, functions, known) if functions else 0
        peak = max(peak, live + within - (over if op.type in _IN_PLACE else 0))
        live -= sum(size for _, size in done)
    return peak


def _called(op: Any, functions: Mapping[str, Any], known: dict[str, int]) -> int:
    """What the functions need that an operation calls, the largest of them."""
    names = [value.func.name for value in op.node_def.attr.values() if value.HasField("func")]
    for name in names:
        if name not in known:
            inner = functions.get(name)
            known[name] = 0 if inner is None or inner.graph is None else _peak(inner.graph, known)
    return max((known[name] for name in names), default=0)


def _bytes_of(tensor: Any) -> int:
    size = tensor.shape.num_elements()
    if size is None or tensor.dtype in (tf.resource, tf.variant, tf.string):
        return 0
    return int(size) * int(tensor.dtype.size)


# --- how much there is ---


@dataclass(frozen=True)
class Room:
    """How much a pass may take.

    Attributes:
        floor: bytes that it may always take.
        samples: as many samples as it may take whatever they need.
    """

    floor: int
    samples: int = 0

    def samples_of(self, size: float, device: str | None) -> int:
        """How many samples of ``size`` bytes each may go through a pass at a time, at least one."""
        allowed = max(self.floor / max(size, 1.0), self.samples)
        free = free_bytes(device)
        if free is not None:
            allowed = min(allowed, 0.5 * free / max(size, 1.0))
        return max(1, math.floor(min(allowed, 1 << 20)))


def free_bytes(device: str | None) -> int | None:
    """Bytes that can still be allocated on a device (None: the first GPU, or the CPU); None where it does not tell."""
    if on_host(device):
        return _free_on_host()
    name = _name(device)
    with contextlib.suppress(ValueError, RuntimeError, tf.errors.OpError):  # not every kind of device counts
        total = _totals().get(name)
        if total:
            return max(0, total - int(tf.config.experimental.get_memory_info(name)["current"]))
    return None


def on_host(device: str | None) -> bool:
    """Whether a device (None: the first GPU, or the CPU) is the CPU."""
    return "CPU" in _name(device)


def _name(device: str | None) -> str:
    """Such as "GPU:0"."""
    if device is None:
        return "GPU:0" if tf.config.list_logical_devices("GPU") else "CPU:0"
    found = re.search(r"([A-Za-z]+)(?::(\d+))?$", device)
    return "CPU:0" if found is None else f"{found[1].upper()}:{found[2] or 0}"


@functools.cache
def _totals() -> dict[str, int]:
    """What TensorFlow may allocate on each device, in bytes."""
    return {_name(name): limit for name, limit in memory_limits().items()}


def _free_on_host() -> int | None:
    """Of the machine and of the control group that the process is confined to; None where neither tells."""
    found = []
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                found.append(1024 * int(line.split()[1]))
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        with contextlib.suppress(OSError, ValueError):  # "max" is no number: there is no limit
            found.append(max(0, int(Path(limit).read_text()) - int(Path(used).read_text())))
    return min(found, default=None)


# --- when it was not enough ---


class OutOfMemoryError(MemoryError):
    """Memory is not enough for a pass over as few samples as there can be."""

    def __init__(self, samples: str, why: str) -> None:
        super().__init__(
            f"a pass over {samples} runs out of memory, so that a smaller batch_size= is no way out: take smaller "
            f'inputs, or another device (device="CPU:0"). {why}'
        )


_WORDS = re.compile(
    r"out of memory|\bOOM\b|ALLOC_FAILED|failed to allocate|CUDNN_STATUS_(NOT_INITIALIZED|INTERNAL_ERROR)|"
    r"No algorithm worked|RESOURCE_EXHAUSTED",
    re.IGNORECASE,
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory was not enough: Python's, TensorFlow's, or that of a library below it."""
    if isinstance(error, MemoryError | tf.errors.ResourceExhaustedError):
        return True
    others = (
        tf.errors.InternalError,
        tf.errors.NotFoundError,
        tf.errors.UnknownError,
        tf.errors.FailedPreconditionError,
    )
    return isinstance(error, others) and _WORDS.search(str(error)) is not None


def on_device(device: str | None) -> contextlib.AbstractContextManager[Any]:
    """Operations inside run on ``device``; None leaves the choice to the framework."""
    return contextlib.nullcontext() if device is None else tf.device(device)


def check_device(device: Any) -> str | None:
    """``device`` in TensorFlow's form; TypeError or ValueError that lists the devices for what is none of them."""
    if device is None:
        return None
    known = [logical.name.removeprefix("/device:") for logical in tf.config.list_logical_devices()]
    if not isinstance(device, str):
        raise TypeError(f"device={device!r}: expected None or one of {known}")
    if not re.fullmatch(r"(/|/device:|/physical_device:)?[A-Za-z]+(:\d+)?", device):
        raise ValueError(f"device={device!r}: expected None or one of {known}")
    if _name(device) not in known:
        raise ValueError(f"device={device!r}: there is no such device; there are {known}")
    return f"/device:{_name(device)}"


def guessed_bytes(model: Any, values: int) -> float:
    """Bytes that a pass over a sample of so many ``values`` may need, before anything is traced.

    What the layers with kernels put out, and half of it again for gradients; twenty times the input where they do not
    know their output.
    """
    made = 0
    for layer in layers_of(model):
        if any(len(variable.shape) > 1 for variable in variables_made_trainable(layer)):
            try:
                made += math.prod(size or 1 for size in layer.output.shape[1:])
            except (AttributeError, ValueError):  # not called on symbolic tensors, or several times
                return 4.0 * 20 * values
    return 4.0 * (values + 1.5 * made) if made else 4.0 * 20 * values
