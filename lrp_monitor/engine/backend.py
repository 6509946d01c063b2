"""All that the engine asks of TensorFlow: operations of a trace, read and repeated, and gradients of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf

Tensor = Any

stop_gradient: Callable[[Tensor], Tensor] = tf.stop_gradient
identity: Callable[..., Tensor] = tf.identity

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
_OTHERS = {
    "add": "Add AddV2 BiasAdd", "avgpool": "AvgPool AvgPool3D", "batchnorm": "FusedBatchNorm FusedBatchNormV2 "
    "FusedBatchNormV3", "batchtospace": "BatchToSpaceND", "bicubic": "ResizeBicubic ScaleAndTranslate",
    "broadcast": "BroadcastTo", "call": "PartitionedCall StatefulPartitionedCall EagerPyFunc", "clip": "ClipByValue",
    "concat": "ConcatV2", "conv": "Conv2D Conv3D", "convtranspose": "Conv2DBackpropInput Conv3DBackpropInputV2",
    "depthwise": "DepthwiseConv2dNative", "diagonal": "MatrixDiagV3", "diagonalpart": "MatrixDiagPartV3",
    "div": "RealDiv Div DivNoNan", "each": "IdentityN", "gather": "GatherV2 ResourceGather",
    "identity": "EnsureShape CheckNumerics", "listget": "TensorListGetItem", "listset": "TensorListSetItem",
    "liststack": "TensorListStack",
    "loop": "While StatelessWhile If StatelessIf Case StatelessCase TensorListFromTensor",
    "matmul": "MatMul BatchMatMul BatchMatMulV2 BatchMatMulV3", "maxpool": "MaxPool MaxPool3D", "mul": "MulNoNan",
    "pad": "PadV2", "patches": "ExtractImagePatches", "reciprocal": "Inv Reciprocal",
    "resize": "ResizeBilinear ResizeNearestNeighbor", "reverse": "Reverse ReverseV2", "reversesequence":
    "ReverseSequence", "scatteradd": "TensorScatterAdd", "scatterinto": "TensorScatterUpdate",
    "scattermax": "TensorScatterMax", "scattermin": "TensorScatterMin", "scattersub": "TensorScatterSub",
    "segmentmax": "SegmentMax UnsortedSegmentMax", "segmentmean": "SegmentMean",
    "segmentmin": "SegmentMin UnsortedSegmentMin", "segmentsum": "SegmentSum UnsortedSegmentSum",
    "select": "Select SelectV2", "setdiagonal": "MatrixSetDiagV3", "slice": "StridedSlice",
    "sliceinto": "XlaDynamicUpdateSlice", "spacetobatch": "SpaceToBatchND", "sparsematmul": "SparseTensorDenseMatMul",
    "splitv": "SplitV", "stack": "Pack", "stop": "StopGradient PreventGradient", "topk": "TopKV2", "unstack": "Unpack",
    "variable": "ReadVariableOp",
}  # fmt: skip
KINDS = {name: name.lower() for name in _OWN_WORD.split()} | {
    name: kind for kind, names in _OTHERS.items() for name in names.split()
}


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


def traceback(raw: Any) -> list[tuple[str, int, str]]:
    """File, line and function of each frame in which the operation was made, outermost first."""
    return [(frame.filename.replace("\\", "/"), frame.lineno, frame.name) for frame in raw.traceback or ()]


# What takes its window's mean, in place of what takes its largest value, or its sum.
MEANS = {"Max": "Mean", "MaxPool": "AvgPool", "MaxPool3D": "AvgPool3D", "Min": "Mean"}


def repeat(raw: Any, inputs: Sequence[Tensor], mean: bool = False) -> list[Tensor]:
    """The outputs of an operation like ``raw`` with these ``inputs``, which may be of another type of number.

    ``mean``: of one that takes the mean (or sum) over the same windows.
    """
    # Attributes that begin with an underscore are the framework's own, such as a gradient hung on the operation.
    attributes = {name: value for name, value in raw.node_def.attr.items() if not name.startswith("_")}
    kind = MEANS.get(raw.type, raw.type) if mean else raw.type
    if kind in ("AvgPool", "AvgPool3D"):
        attributes.pop("explicit_paddings", None)
    if raw.type == "BiasAdd" and len(inputs[1].shape) > 1:
        kind = "AddV2"
        attributes.pop("data_format", None)
    changed = {old.dtype: new.dtype for old, new in zip(raw.inputs, inputs, strict=True) if old.dtype != new.dtype}
    for name in ("T", "Tparams") if changed else ():
        if name in attributes:
            before = tf.as_dtype(attributes[name].type)
            attributes[name] = type(attributes[name])(type=changed.get(before, before).as_datatype_enum)
    types = [changed.get(tensor.dtype, tensor.dtype) for tensor in raw.outputs]

    def make() -> list[Tensor]:
        graph = tf.compat.v1.get_default_graph()
        made = graph.create_op(kind, [tf.convert_to_tensor(t) for t in inputs], types, attrs=attributes)
        return list(made.outputs)

    if raw.type in ("Conv2D", "Conv3D") and _needs_compiler(raw, inputs):
        return list(tf.function(make, autograph=False, jit_compile=True)())
    return make()


def _needs_compiler(raw: Any, inputs: Sequence[Tensor]) -> bool:
    """Whether the CPU has this convolution, or its gradient, by way of XLA alone: grouped, or channels first in 3-D."""
    last = not raw.get_attr("data_format").startswith(b"NC")
    channels = inputs[0].shape[-1 if last else 1]
    return channels != inputs[1].shape[-2] or (raw.type == "Conv3D" and not last)


def made_by(tensor: Tensor) -> tuple[Any, int]:
    """The operation that made ``tensor``, and which of its outputs that is."""
    return tensor.op, tensor.value_index


def split(value: Tensor, sizes: Sequence[int], axis: int) -> list[Tensor]:
    """``value`` in parts of these sizes; Keras is given where to cut, and computes sizes of it in twenty operations."""
    return tf.split(value, sizes, axis)  # type: ignore[no-any-return]


# --- gradients ---


_OWN = "lrp_monitor"


@tf.RegisterGradient(_OWN)  # type: ignore[untyped-decorator]
def _own_gradient(op: Any, upstream: Tensor, *_: Tensor) -> list[Any]:
    (gradient,) = op.graph.get_collection((_OWN, op.name))
    return [None, *gradient(upstream)]


def with_gradient(value: Tensor, sources: Sequence[Tensor], gradient: Callable[[Tensor], Sequence[Any]]) -> Tensor:
    """``value``, from which ``gradient(upstream)`` passes on to ``sources``, to each its own, and nothing else does."""
    graph = tf.compat.v1.get_default_graph()
    # Not by tf.custom_gradient: that searches the graph for variables, and keeps the graph for the life of the process.
    with graph.gradient_override_map({"IdentityN": _OWN}):
        made = tf.identity_n([value, *sources])[0]
    graph.add_to_collection((_OWN, made.op.name), gradient)
    return made


def through_relu(upstream: Tensor, output: Tensor) -> Tensor:
    """``upstream`` where the output of a ReLU is above 0, and 0 elsewhere."""
    return tf.raw_ops.ReluGrad(gradients=upstream, features=output)


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


def with_bias(x: Tensor, bias: Tensor) -> Tensor:
    """``x + bias``, as an operation that the framework makes one with a convolution before it, where it has one."""
    if len(bias.shape) <= len(x.shape) and bias.shape[-1:] == x.shape[-1:] and bias.shape.num_elements() == x.shape[-1]:
        return tf.nn.bias_add(x, bias if len(bias.shape) == 1 else tf.reshape(bias, (-1,)))
    return x + bias


def gradients(of: Any, with_regard_to: Sequence[Tensor], upstream: Sequence[Tensor] | None = None) -> list[Any]:
    """The gradients of a scalar with regard to tensors, None where no path joins them; only under trace.

    Of a list of tensors they are weighted by ``upstream`` and summed.
    """
    found = tf.gradients(of, list(with_regard_to), grad_ys=upstream)
    # That of a lookup comes as slices.
    return [None if gradient is None else tf.convert_to_tensor(gradient) for gradient in found]


def each_row(function: Callable[[Tensor], list[Tensor]], rows: Tensor) -> list[Tensor]:
    """What ``function`` makes of each row, all of them side by side."""
    result: list[Tensor] = tf.vectorized_map(function, rows, warn=False)  # of kinds that are done in a loop
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
