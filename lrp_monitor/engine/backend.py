"""The one module of the engine that names TensorFlow: gradients, straight-through values, compiling, graphs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

Tensor = Any

# Every operation that a treated layer makes lies below a name scope of this name: what lies outside is raw.
TREATED_SCOPE = "lrp_treated"

stop_gradient: Callable[[Tensor], Tensor] = tf.stop_gradient


def treated() -> contextlib.AbstractContextManager[Any]:
    """The name scope under which a treated layer makes its operations."""
    return tf.name_scope(TREATED_SCOPE)


def untreated() -> contextlib.AbstractContextManager[Any]:
    """Leaves :func:`treated` where a treatment calls a layer inside its own: raw operations there are looked at."""
    scope = tf.compat.v1.get_default_graph().get_name_scope()
    outer = [part for part in scope.split("/") if part and not part.startswith(TREATED_SCOPE)]
    return tf.name_scope("/".join([*outer, "inside"]) + "/")


@tf.custom_gradient
def _straight_through(surrogate: Tensor, value: Tensor) -> tuple[Tensor, Callable[[Tensor], Any]]:
    # A custom gradient rather than `surrogate + stop_gradient(value - surrogate)`: the surrogate's own value is
    # then needed by nobody, so the compiler drops the arithmetic (a convolution, for most rules) that makes it.
    def gradient(upstream: Tensor) -> tuple[Tensor, None]:
        return upstream, None

    return tf.identity(value), gradient


def straight_through(surrogate: Tensor, value: Tensor) -> Tensor:
    """A tensor with the value of ``value`` and the gradient of ``surrogate`` (both of one shape)."""
    return _straight_through(surrogate, tf.stop_gradient(value))


_ARRANGING = frozenset(
    {"Identity", "IdentityN", "Pad", "PadV2", "MirrorPad", "Reshape", "Transpose", "Cast", "Squeeze", "ExpandDims"}
)


def after(tensor: Tensor) -> contextlib.AbstractContextManager[Any]:
    """Operations made inside wait for ``tensor``: otherwise all that need no input start at once, and fill memory.

    They wait for what it was padded or arranged from: those operations may be fused with the convolution that they
    feed, and a kernel must not wait for its own convolution.
    """
    while tensor.op.type in _ARRANGING and not tensor.op.control_inputs:
        tensor = tensor.op.inputs[tensor.value_index if tensor.op.type == "IdentityN" else 0]
    return tf.control_dependencies([tensor])


def deferred(
    value: Tensor,
    sources: Sequence[Tensor],
    surrogate: Callable[[Sequence[Tensor], Sequence[Tensor], Tensor], Tensor],
    *,
    rectified: bool = False,
) -> Tensor:
    """``value`` with the gradient of ``surrogate(shapes, copies, value)``, which is made in the reverse pass.

    ``shapes`` and ``copies`` are the sources, both differentiable. What reads of a source no more than its shape should
    read ``shapes``: ``copies`` come with the gradient, and until then keep the source in memory. Nothing else is kept
    but ``value``, and the surrogate's tensors live while the gradient passes. ``rectified``: value is the result of a
    ReLU, beyond which the gradient passes where it is > 0.
    """

    @tf.custom_gradient
    def node(value: Tensor, *sources: Tensor) -> tuple[Tensor, Callable[[Tensor], Any]]:
        output = tf.identity(value)

        def gradient(upstream: Tensor) -> tuple[Tensor | None, ...]:
            if rectified:
                upstream = tf.raw_ops.ReluGrad(gradients=upstream, features=output)
            with after(upstream):
                shapes = [_of_shape(source) for source in sources]
                copies = [_again(source, shape) for source, shape in zip(sources, shapes, strict=True)]
                known = tf.identity(output)
            return (None, *tf.gradients(surrogate(shapes, copies, known), shapes, grad_ys=[upstream]))

        return output, gradient

    result: Tensor = node(tf.stop_gradient(value), *sources)
    return result


# What costs less to make again than to keep.
_CHEAP = frozenset({"Relu6", "LeakyRelu", "Pad", "PadV2"})


def _of_shape(source: Tensor) -> Tensor:
    """A tensor of the source's shape; not the source itself, which whatever reads its shape would keep alive."""
    return tf.zeros(source.shape, source.dtype) if source.shape.is_fully_defined() else tf.identity(source)


def _again(source: Tensor, shape: Tensor) -> Tensor:
    """``source``, made anew of the last tensor before cheap operations; its gradient is that of ``shape``.

    What is in front of a ReLU6 or of padding is kept anyhow by the layer that made it.
    """
    made, tensor = [], source
    while tensor.op.type in _CHEAP or tensor.op.type in ("Identity", "IdentityN", "StopGradient"):
        op = tensor.op
        if op.type in _CHEAP:
            made.append(op)
        tensor = op.inputs[tensor.value_index if op.type == "IdentityN" else 0]
    again = tf.identity(tensor)
    for op in reversed(made):
        again = _repeated(op, again)
    return straight_through(shape, again)


def _repeated(op: Any, tensor: Tensor) -> Tensor:
    """The operation once more, with another first input."""
    if op.type == "LeakyRelu":
        return tf.raw_ops.LeakyRelu(features=tensor, alpha=op.get_attr("alpha"))
    if op.type == "Relu6":
        return tf.raw_ops.Relu6(features=tensor)
    if op.type == "Pad":
        return tf.raw_ops.Pad(input=tensor, paddings=op.inputs[1])
    return tf.raw_ops.PadV2(input=tensor, paddings=op.inputs[1], constant_values=op.inputs[2])


def scaled_gradient(
    z: Tensor, function: Callable[[Tensor], Tensor], factor: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """``function(z)`` with the gradient ``factor(z, function(z))``, element by element.

    Both are made anew in the reverse pass: ``z`` alone is kept for it.
    """

    @tf.custom_gradient
    def node(value: Tensor, z: Tensor) -> tuple[Tensor, Callable[[Tensor], Any]]:
        def gradient(upstream: Tensor) -> tuple[None, Tensor]:
            with after(upstream):
                again = tf.identity(z)
            return None, upstream * factor(again, function(again))

        return tf.identity(value), gradient

    # Outside the node, which must not read variables: a function may have weights of its own.
    result: Tensor = node(tf.stop_gradient(function(tf.stop_gradient(z))), z)
    return result


def gradients(of: Tensor, with_regard_to: Sequence[Tensor], stop: Sequence[Tensor] = ()) -> list[Tensor | None]:
    """The gradients of a scalar with regard to tensors, None where no path joins them; only under trace.

    Nothing flows back beyond the tensors in ``stop``.
    """
    found: list[Tensor | None] = tf.gradients(of, list(with_regard_to), stop_gradients=list(stop) or None)
    return found


Spec = tuple[tuple[int | None, ...], str]


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
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


def is_tensor(value: object) -> bool:
    """Whether ``value`` is a tensor of the framework."""
    return isinstance(value, tf.Tensor)


def is_float_tensor(value: object) -> bool:
    """Whether ``value`` is a tensor of real numbers, which can carry relevance."""
    return isinstance(value, tf.Tensor) and value.dtype.is_floating


def identity(value: Tensor) -> Tensor:
    """The same tensor as a node of its own: its gradient is that of this one way."""
    return tf.identity(value)


# --- reading the graph that a trace has made -------------------------------------------------------------------

_ALWAYS_NON_NEGATIVE = frozenset({"Relu", "Relu6", "Sigmoid", "Softmax", "Softplus", "Exp", "Square", "Abs", "Sqrt"})
# operation -> how many of its leading inputs carry data (None: all)
_KEEPS_NON_NEGATIVE: dict[str, int | None] = {
    "Identity": 1, "IdentityN": None, "StopGradient": 1, "Reshape": 1, "Transpose": 1, "Squeeze": 1, "ExpandDims": 1,
    "Pad": 1, "MaxPool": 1, "AvgPool": 1, "MaxPool3D": 1, "AvgPool3D": 1, "Mean": 1, "Sum": 1, "Max": 1, "Min": 1,
    "AddV2": None, "Add": None, "AddN": None, "Mul": None, "Minimum": None, "Slice": 1, "StridedSlice": 1,
    "Tile": 1, "BroadcastTo": 1, "Pack": None, "ResizeNearestNeighbor": 1, "ResizeBilinear": 1, "GatherV2": 1,
    "Split": None, "Unpack": 1, "DepthToSpace": 1, "SpaceToDepth": 1,
}  # fmt: skip


def known_non_negative(tensor: Tensor, facts: set[int]) -> bool:
    """Whether the graph alone tells that no value of ``tensor`` is below zero; ``facts`` are ids known to be so."""
    stack: list[Tensor] = [tensor]
    seen: set[int] = set()
    while stack:  # no recursion: an unrolled loop over time is deep
        t = stack.pop()
        if id(t) in facts or id(t) in seen:
            continue
        seen.add(id(t))
        op = t.op
        if op.type in _ALWAYS_NON_NEGATIVE:
            continue
        if op.type == "ConcatV2":
            stack.extend(op.inputs[:-1])
        elif op.type == "Maximum":
            if not any(known_non_negative(source, facts) for source in op.inputs):
                return False
        elif op.type == "Const":
            value = tf.get_static_value(t)
            if value is None or value.dtype.kind not in "fiu" or not (value >= 0).all():
                return False
        elif op.type in _KEEPS_NON_NEGATIVE:
            count = _KEEPS_NON_NEGATIVE[op.type]
            stack.extend(list(op.inputs)[:count] if op.type != "Split" else list(op.inputs)[1:])
        else:
            return False
    return True


def output_activation(tensor: Tensor) -> tuple[str, Tensor] | None:
    """The softmax or sigmoid that made ``tensor`` as a raw operation, and its input; None where neither did."""
    while tensor.op.type in ("Identity", "Cast"):
        tensor = tensor.op.inputs[0]
    names = {"Softmax": "softmax", "Sigmoid": "sigmoid"}
    if tensor.op.type in names:
        return names[tensor.op.type], tensor.op.inputs[0]
    return None


def depends_on(tensor: Tensor, source: Tensor) -> bool:
    """Whether ``source`` is among the tensors from which ``tensor`` was computed."""
    stack, seen = [tensor], set()
    while stack:
        current = stack.pop()
        if current is source:
            return True
        if id(current.op) in seen:
            continue
        seen.add(id(current.op))
        stack.extend(current.op.inputs)
    return False


def is_static_zero(tensor: Tensor) -> bool:
    """Whether ``tensor`` is a constant known at trace time in which every value is zero."""
    value = tf.get_static_value(tensor)
    return value is not None and not value.any()


@dataclass(frozen=True)
class RawOperation:
    """An operation that was made outside every treated layer, on the way from the input to the logits."""

    kind: str
    """The framework's operation type, such as ``Mul``."""
    name: str
    """The operation's name: the scopes of the layers that it was called in."""
    call_site: str
    """``file:line`` of the innermost frame outside the framework, empty where it cannot be known."""
    dependent: tuple[bool, ...]
    """For each input whether it depends on the model's input."""
    zero: tuple[bool, ...]
    """For each input whether it is a constant zero."""


# Results that are constant almost everywhere: an index, a comparison or a shape carries no relevance.
PIECEWISE_CONSTANT = frozenset(
    {"Shape", "ShapeN", "Rank", "Size", "Greater", "GreaterEqual", "Less", "LessEqual", "Equal", "NotEqual",
     "ArgMax", "ArgMin", "Sign", "ZerosLike", "OnesLike", "LogicalAnd", "LogicalOr", "LogicalNot", "Any", "All",
     "IsFinite", "IsNan", "IsInf", "TensorShape", "Assert"}
)  # fmt: skip


def raw_operations(sources: Sequence[Tensor], result: Tensor) -> list[RawOperation]:
    """Every raw operation through which relevance runs from ``result`` back to ``sources``, in order of making."""
    needed: set[int] = set()
    stack = [result.op]
    while stack:
        op = stack.pop()
        if id(op) in needed:
            continue
        needed.add(id(op))
        # A treatment stops gradients on purpose: nothing flows back there, so nothing there needs a rule.
        if not (op.type == "StopGradient" and TREATED_SCOPE in op.name):
            stack.extend(t.op for t in op.inputs)
    dependent = {id(source) for source in sources}
    found = []
    for op in result.graph.get_operations():
        flags = tuple(id(t) in dependent for t in op.inputs)
        if not any(flags) or op.type in PIECEWISE_CONSTANT:
            continue
        is_treated = TREATED_SCOPE in op.name
        if not is_treated and id(op) in needed and not any(op.outputs[0] is source for source in sources):
            zero = tuple(not flag and is_static_zero(t) for flag, t in zip(flags, op.inputs, strict=True))
            found.append(RawOperation(op.type, op.name, call_site(op), flags, zero))
        if not (is_treated and op.type == "StopGradient"):
            dependent.update(id(t) for t in op.outputs)
    return found


_FRAMEWORK = ("/tensorflow/", "/keras/", "/lrp_monitor/engine/")


def call_site(op: Any) -> str:
    """``file:line`` of the innermost frame outside the framework that made ``op``, empty where it cannot be known."""
    for frame in reversed(op.traceback or ()):
        path = frame.filename.replace("\\", "/")
        if not any(part in path for part in _FRAMEWORK):
            return f"{path.rsplit('/', 1)[-1]}:{frame.lineno}"
    return ""
