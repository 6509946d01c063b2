"""All that the engine asks of TensorFlow: operations of a trace, read and repeated, and gradients of its own.

Gradients of its own pass straight through a value, are put off until relevance arrives, or are scaled.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf

Tensor = Any

stop_gradient: Callable[[Tensor], Tensor] = tf.stop_gradient
identity: Callable[[Tensor], Tensor] = tf.identity

# --- operations of a trace ---

# Those whose word is their own name in small letters ...
_OWN_WORD = (
    "Abs Acos AddN All Any ArgMax ArgMin Asin Asinh Atan Atanh Bucketize Cast Ceil Complex ComplexAbs Conj Cos Cosh "
    "Cumsum DepthToSpace Einsum Elu Equal Erf Erfc EuclideanNorm Exp ExpandDims Expm1 FFT FFT2D FFT3D Floor FloorDiv "
    "FloorMod GatherNd Greater GreaterEqual Identity IFFT IFFT2D IFFT3D Imag IRFFT IRFFT2D IsFinite IsInf IsNan "
    "LeakyRelu Less LessEqual Log Log1p LogicalAnd LogicalNot LogicalOr LogSoftmax LRN MatrixBandPart Max Maximum "
    "Mean Min Minimum MirrorPad Mul Neg NotEqual OneHot OnesLike Pad Pow Rank Real Relu Relu6 Reshape RFFT RFFT2D "
    "Roll Round Rsqrt ScatterNd Selu Shape ShapeN Sigmoid Sign Sin Sinh Size Slice Softmax Softplus Softsign "
    "SpaceToDepth Split Sqrt Square SquaredDifference Squeeze Sub Sum Tan Tanh Tile Transpose ZerosLike"
)
# ... and the others.
KINDS = {name: name.lower() for name in _OWN_WORD.split()} | {
    "Add": "add", "AddV2": "add", "BiasAdd": "add", "StopGradient": "stop",
    "PreventGradient": "stop", "IdentityN": "each", "EnsureShape": "identity", "CheckNumerics": "identity",
    "RealDiv": "div", "Div": "div", "DivNoNan": "div", "MulNoNan": "mul", "Inv": "reciprocal",
    "Reciprocal": "reciprocal", "Select": "select", "SelectV2": "select",
    "PadV2": "pad", "ConcatV2": "concat", "Pack": "stack", "Unpack": "unstack", "SplitV": "splitv",
    "GatherV2": "gather", "ResourceGather": "gather", "StridedSlice": "slice", "BroadcastTo": "broadcast",
    "Reverse": "reverse", "ReverseV2": "reverse", "SpaceToBatchND": "spacetobatch", "BatchToSpaceND": "batchtospace",
    "ExtractImagePatches": "patches", "MatMul": "matmul", "BatchMatMul": "matmul", "BatchMatMulV2": "matmul",
    "BatchMatMulV3": "matmul", "Conv2D": "conv", "Conv3D": "conv", "DepthwiseConv2dNative": "depthwise",
    "Conv2DBackpropInput": "convtranspose", "Conv3DBackpropInputV2": "convtranspose", "AvgPool": "avgpool",
    "AvgPool3D": "avgpool", "MaxPool": "maxpool", "MaxPool3D": "maxpool",
    "ResizeBicubic": "bicubic", "ScaleAndTranslate": "bicubic", "ResizeBilinear": "resize",
    "ResizeNearestNeighbor": "resize", "TopKV2": "topk",
    "TensorScatterUpdate": "scatterinto", "TensorScatterAdd": "scatteradd", "TensorScatterSub": "scattersub",
    "TensorScatterMax": "scattermax", "TensorScatterMin": "scattermin", "XlaDynamicUpdateSlice": "sliceinto",
    "UnsortedSegmentSum": "segmentsum", "UnsortedSegmentMax": "segmentmax", "UnsortedSegmentMin": "segmentmin",
    "SegmentSum": "segmentsum", "SegmentMean": "segmentmean", "SegmentMax": "segmentmax", "SegmentMin": "segmentmin",
    "ReverseSequence": "reversesequence",
    "SparseTensorDenseMatMul": "sparsematmul", "MatrixDiagV3": "diagonal", "MatrixDiagPartV3": "diagonalpart",
    "MatrixSetDiagV3": "setdiagonal",
    "FusedBatchNorm": "batchnorm", "FusedBatchNormV2": "batchnorm", "FusedBatchNormV3": "batchnorm",
    "While": "loop", "StatelessWhile": "loop", "TensorListFromTensor": "loop", "If": "loop",
    "StatelessIf": "loop", "Case": "loop", "StatelessCase": "loop", "TensorListSetItem": "listset",
    "TensorListGetItem": "listget", "TensorListStack": "liststack", "PartitionedCall": "call", "EagerPyFunc": "call",
    "StatefulPartitionedCall": "call", "ReadVariableOp": "variable",
}  # fmt: skip


def kind_of(raw: Any) -> str:
    """The engine's word for an operation of the framework; the framework's own where there is none."""
    return KINDS.get(raw.type, raw.type)


def attribute(raw: Any, *names: str) -> Any:
    """The first of these attributes that the operation has, None where it has none of them."""
    for name in names:
        if name in raw.node_def.attr:
            value = raw.get_attr(name)
            return value.decode() if isinstance(value, bytes) else value
    return None


def constant_value(tensor: Tensor) -> Any:
    """The array that ``tensor`` holds, where it is known when the graph is made; else None."""
    return tf.get_static_value(tensor)


def computed_constant(tensor: Tensor) -> Any:
    """The array that operations make of literals alone, such as a fixed kernel; None where more goes into it."""
    names, stack = set(), [tensor.op]
    while stack:
        op = stack.pop()
        if op.type in ("Placeholder", "ReadVariableOp") or op.op_def.is_stateful:
            return None
        if op.name not in names:
            names.add(op.name)
            stack += [t.op for t in op.inputs]
    part = tf.compat.v1.GraphDef(node=[op.node_def for op in operations() if op.name in names])
    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
        (found,) = tf.import_graph_def(part, return_elements=[tensor.name], name="")
        return session.run(found)


@contextlib.contextmanager
def inlined() -> Iterator[None]:
    """Compiled functions that the model calls are looked into: their operations become operations of the trace."""
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)


def count_operations() -> int:
    """How many operations the trace has made until now."""
    return int(tf.compat.v1.get_default_graph().num_operations())


def operations() -> list[Any]:
    """Every operation that the trace has made until now, in order."""
    return list(tf.compat.v1.get_default_graph().get_operations())


_FRAMEWORK = ("/tensorflow/", "/keras/", "/lrp_monitor/engine/")


def call_site(raw: Any) -> str:
    """``file:line`` of the model's code that made the operation, empty where it cannot be known.

    The innermost frame of the user's own files; of an installed package where the user's own are not among them.
    """
    found = entry(raw)
    return f"{found[0].rsplit('/', 1)[-1]}:{found[1]}" if found else ""


def entry(raw: Any) -> tuple[Any, ...]:
    """File and line of the model's code that made the operation, and the framework's function that is called there.

    Operations of one call of such a function share it; empty where it cannot be known.
    """
    frames = [(frame.filename.replace("\\", "/"), frame.lineno, frame.name) for frame in raw.traceback or ()]
    inside = max((i for i, (path, *_) in enumerate(frames) if "/lrp_monitor/engine/" in path), default=-1)
    behind = range(inside + 1, len(frames))
    outside = [i for i in behind if not any(part in frames[i][0] for part in _FRAMEWORK)]
    own = [i for i in outside if "/site-packages/" not in frames[i][0]] or outside
    called = [(path, name) for path, _, name in frames[own[-1] + 1 :] if "/util/" not in path] if own else []
    return (*frames[own[-1]][:2], *called[:1]) if own else ()


def repeat(raw: Any, inputs: Sequence[Tensor], kind: str | None = None) -> list[Tensor]:
    """The outputs of an operation like ``raw`` with these ``inputs``, which may be of another type of number.

    ``kind`` makes it one of the framework's other types that takes the same inputs, such as AvgPool for MaxPool.
    """
    if raw.type in ("Conv2D", "Conv3D") and not kind and _needs_compiler(raw, inputs):
        return [tf.function(lambda: _repeat(raw, inputs, None)[0], autograph=False, jit_compile=True)()]
    return _repeat(raw, inputs, kind)


def _needs_compiler(raw: Any, inputs: Sequence[Tensor]) -> bool:
    """Whether the CPU has this convolution, or its gradient, by way of XLA alone: grouped, or channels first in 3-D."""
    last = not raw.get_attr("data_format").startswith(b"NC")
    channels = inputs[0].shape[-1 if last else 1]
    return channels != inputs[1].shape[-2] or (raw.type == "Conv3D" and not last)


def _repeat(raw: Any, inputs: Sequence[Tensor], kind: str | None) -> list[Tensor]:
    # Attributes that begin with an underscore are the framework's own, such as a gradient hung on the operation.
    attributes = {name: value for name, value in raw.node_def.attr.items() if not name.startswith("_")}
    if kind in ("AvgPool", "AvgPool3D"):
        attributes.pop("explicit_paddings", None)
    if raw.type == "BiasAdd" and len(inputs[1].shape) > 1:
        kind = "AddV2"
        attributes.pop("data_format", None)
    types = [tensor.dtype for tensor in raw.outputs]
    changed = {old.dtype: new.dtype for old, new in zip(raw.inputs, inputs, strict=True) if old.dtype != new.dtype}
    for name in ("T", "Tparams") if changed else ():
        if name in attributes:
            before = tf.as_dtype(attributes[name].type)
            attributes[name] = type(attributes[name])(type=changed.get(before, before).as_datatype_enum)
    types = [changed.get(dtype, dtype) for dtype in types]
    graph = tf.compat.v1.get_default_graph()
    made = graph.create_op(kind or raw.type, [tf.convert_to_tensor(t) for t in inputs], types, attrs=attributes)
    return list(made.outputs)


# What takes its window's mean, in place of what takes its largest value, or its sum.
_MEANS = {"Max": "Mean", "MaxPool": "AvgPool", "MaxPool3D": "AvgPool3D", "Min": "Mean"}


def repeat_as_mean(raw: Any, inputs: Sequence[Tensor]) -> list[Tensor]:
    """The outputs of what takes the mean (or sum) over the same windows as ``raw``."""
    return repeat(raw, inputs, _MEANS.get(raw.type))


# --- gradients ---


def _with_gradient(value: Tensor, sources: Sequence[Tensor], gradient: Callable[[Tensor], Any]) -> Tensor:
    """``value``, from which ``gradient(upstream)`` passes on to ``sources``, to each its own, and nothing else does."""

    @tf.custom_gradient
    def node(*_: Tensor) -> tuple[Tensor, Callable[[Tensor], Any]]:
        return value, gradient

    return node(*sources)


def straight_through(surrogate: Tensor, value: Tensor) -> Tensor:
    """A tensor with the value of ``value`` and the gradient of ``surrogate`` (both of one shape).

    The surrogate's own value is needed by nobody, so that the compiler drops the arithmetic that makes it, for most
    rules a convolution; it would not in ``surrogate + stop_gradient(value - surrogate)``.
    """
    return _with_gradient(value, [surrogate], lambda upstream: upstream)


def divided(x: Tensor, divisor: Tensor) -> Tensor:
    """``x / divisor``, through which a gradient passes to ``x`` alone."""
    return _with_gradient(x / divisor, [x], lambda upstream: upstream / divisor)


_ARRANGING = (
    "Identity", "IdentityN", "Pad", "PadV2", "MirrorPad", "Reshape", "Transpose", "Cast", "Squeeze", "ExpandDims",
    "StopGradient",
)  # fmt: skip


def after(value: Tensor, tensor: Tensor) -> Tensor:
    """``value``, but not before ``tensor`` is there: what needs no input is made at once otherwise, and fills memory.

    It waits for what ``tensor`` was padded or arranged from: those operations may be fused with the convolution that
    they feed, and a kernel must not wait for its own convolution. Only this value waits, so that the constants of what
    is made of it do not: where the compiler drops a constant, such as a shape, it drops what that waited for, too.
    """
    while tensor.op.type in _ARRANGING and not tensor.op.control_inputs:
        tensor = tensor.op.inputs[tensor.value_index if tensor.op.type == "IdentityN" else 0]
    with tf.control_dependencies([tensor]):
        return tf.identity(value)


def deferred(
    value: Tensor,
    sources: Sequence[Tensor],
    surrogate: Callable[[Sequence[Tensor], Sequence[Tensor], Tensor], Tensor],
    *,
    rectified: bool = False,
    shown: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """``value``, or ``shown(value)``, with the gradient of ``surrogate(shapes, copies, value)``, made in reverse.

    ``shapes`` and ``copies`` are the sources, both differentiable. What reads of a source no more than its shape should
    read ``shapes``: ``copies`` come with the gradient, and until then keep the source in memory. Nothing else is kept
    but ``value``, and the surrogate's tensors live while the gradient passes. ``rectified``: value is the result of a
    ReLU, beyond which the gradient passes where it is > 0.
    """
    output = value if shown is None else shown(value)

    def gradient(upstream: Tensor) -> list[Tensor | None]:
        if rectified:
            upstream = tf.raw_ops.ReluGrad(gradients=upstream, features=output)
        shapes = [_of_shape(source) for source in sources]
        copies = [_again(source, shape, upstream) for source, shape in zip(sources, shapes, strict=True)]
        known = after(value, upstream)
        return tf.gradients(surrogate(shapes, copies, known), shapes, grad_ys=[upstream])  # type: ignore[no-any-return]

    return _with_gradient(output, sources, gradient)


_KEPT = "lrp_kept"


def kept(value: Tensor) -> Tensor:
    """``value``, of which a map keeps this very tensor for the reverse pass: nobody needs to make it again."""
    return tf.identity(value, name=_KEPT)


# What costs less to make again than to keep.
_CHEAP = ("Relu6", "LeakyRelu", "Pad", "PadV2")


def _of_shape(source: Tensor) -> Tensor:
    """A tensor of the source's shape; not the source itself, which whatever reads its shape would keep alive."""
    return tf.zeros(source.shape, source.dtype) if source.shape.is_fully_defined() else tf.identity(source)


def _again(source: Tensor, shape: Tensor, upstream: Tensor) -> Tensor:
    """``source``, made anew of the last tensor before cheap operations; its gradient is that of ``shape``.

    What is in front of a ReLU6 or of padding is kept anyhow by the layer that made it.
    """
    made, tensor = [], source
    while tensor.op.type in _CHEAP or tensor.op.type in ("Identity", "IdentityN", "StopGradient"):
        op = tensor.op
        if _KEPT in op.name:
            break
        if op.type in _CHEAP:
            made.append(op)
        tensor = op.inputs[tensor.value_index if op.type == "IdentityN" else 0]
    again = after(tensor, upstream)
    for op in reversed(made):
        (again,) = repeat(op, [again, *op.inputs[1:]])
    return straight_through(shape, again)


def scaled_gradient(
    z: Tensor, function: Callable[[Tensor], Tensor], factor: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """``function(z)`` with the gradient ``factor(z, function(z))``, element by element.

    Both are made anew in the reverse pass: ``z`` alone is kept for it.
    """

    def gradient(upstream: Tensor) -> Tensor:
        again = after(z, upstream)
        # The framework's gradient for a complex number is the conjugate of the derivative.
        return upstream * tf.math.conj(factor(again, function(again)))

    return _with_gradient(function(z), [z], gradient)


def with_bias(x: Tensor, bias: Tensor) -> Tensor:
    """``x + bias``, as an operation that the framework makes one with a convolution before it, where it has one."""
    if len(bias.shape) <= len(x.shape) and bias.shape[-1:] == x.shape[-1:] and bias.shape.num_elements() == x.shape[-1]:
        return tf.nn.bias_add(x, bias if len(bias.shape) == 1 else tf.reshape(bias, (-1,)))
    return x + bias


def gradients(of: Tensor, with_regard_to: Sequence[Tensor]) -> list[Tensor | None]:
    """The gradients of a scalar with regard to tensors, None where no path joins them; only under trace."""
    found = tf.gradients(of, list(with_regard_to))
    # That of a lookup comes as slices.
    return [None if gradient is None else tf.convert_to_tensor(gradient) for gradient in found]


def has_gradient(of: Sequence[Tensor], with_regard_to: Sequence[Tensor]) -> bool:
    """Whether a differentiable path joins any of these tensors; only under trace."""
    ends = [t for t in of if t.dtype.is_floating or t.dtype.is_complex]
    try:
        found = tf.gradients(ends, list(with_regard_to), grad_ys=[tf.ones_like(t) for t in ends]) if ends else []
    except (LookupError, NotImplementedError):  # an operation of which, or of whose arguments, there is no gradient
        return False
    return any(gradient is not None for gradient in found)


def gradients_of_rows(
    of: Sequence[Tensor],
    with_regard_to: Sequence[Tensor],
    rows: Tensor,
    weights: Callable[[Tensor], list[Tensor]],
) -> list[Tensor]:
    """The gradients of ``of``, weighted by ``weights(row)``, for each row of ``rows``: (rows, ...) each.

    All rows go through one reverse pass side by side, over the same values. Only under trace.
    """

    def of_row(row: Tensor) -> list[Tensor]:
        found = tf.gradients(list(of), list(with_regard_to), grad_ys=weights(row))
        pairs = zip(with_regard_to, found, strict=True)
        return [tf.zeros_like(t) if one is None else tf.convert_to_tensor(one) for t, one in pairs]

    result: list[Tensor] = tf.vectorized_map(of_row, rows, warn=False)  # of kinds that are done in a loop
    return result


def is_tensor(value: object) -> bool:
    """Whether ``value`` is a tensor of the framework."""
    return isinstance(value, tf.Tensor)


def is_float_tensor(value: object) -> bool:
    """Whether ``value`` is a tensor of real numbers, which can carry relevance."""
    return isinstance(value, tf.Tensor) and value.dtype.is_floating


def holds_data(tensor: Tensor) -> bool:
    """Whether ``tensor`` holds real or complex numbers, or arrays of them, as a loop over time does."""
    return tensor.dtype.is_floating or tensor.dtype.is_complex or tensor.dtype == tf.variant  # type: ignore[no-any-return]
