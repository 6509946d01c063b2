"""The table of operations: every claim of a row, of every name that the framework has for its kind, on numbers."""

import inspect
import math

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import op_def_registry

from lrp_monitor.engine.backend import KINDS, MEANS
from lrp_monitor.engine.steps.axes import axis_behind
from lrp_monitor.engine.trace.graph import Graph
from lrp_monitor.engine.trace.operations import CONSTANT, CONVOLUTIONS, PRODUCTS, REFUSED, ROWS

RNG = np.random.default_rng(0)
A, B = 4 * RNG.normal(size=(2, 2, 3, 4)).astype(np.float32)
IMAGE, VOLUME = RNG.normal(size=(2, 4, 4, 2)).astype(np.float32), RNG.normal(size=(1, 4, 4, 4, 2)).astype(np.float32)
ANGLES = (A + 1j * B).astype(np.complex64)
ONES, NONE = np.ones(2, np.float32), np.zeros(2, np.float32)
WINDOW, CUBE = [1, 2, 2, 1], [1, 2, 2, 2, 1]


def kernel(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def whole(values):
    return np.array(values, np.int32)


NORMS = ([IMAGE, ONES * 2, NONE, NONE, ONES], {"is_training": False})  # a shift is what an addition of a constant is
SEGMENTS = whole([0, 0, 1, 1])
STRIDES, DEEP = {"strides": [1] * 4, "padding": "SAME"}, {"strides": [1] * 5, "padding": "SAME"}
# framework's name -> inputs, and what else it takes; of other names the inputs are A, or A and B
EXAMPLES = {
    "All": ([A > 0, 1], {}), "Any": ([A > 0, 1], {}), "ArgMax": ([A, 1], {}), "ArgMin": ([A, 1], {}),
    "AvgPool": ([IMAGE], {"ksize": WINDOW, "strides": WINDOW, "padding": "VALID"}),
    "AvgPool3D": ([VOLUME], {"ksize": CUBE, "strides": CUBE, "padding": "SAME"}),
    "BatchMatMul": ([A, kernel(2, 4, 3)], {}), "BatchMatMulV2": ([A, kernel(2, 4, 3)], {}),
    "BatchMatMulV3": ([A, kernel(2, 4, 3)], {"Tout": tf.float32}),
    "BatchToSpaceND": ([kernel(4, 2, 2, 1), whole([2, 2]), whole([[0, 1], [0, 0]])], {}),
    "BiasAdd": ([A, kernel(4)], {}), "BroadcastTo": ([A[:, :1], whole([2, 2, 3, 4])], {}),
    "Bucketize": ([A], {"boundaries": [0.0, 1.0]}), "Cast": ([A], {"DstT": tf.float64}),
    "ComplexAbs": ([ANGLES], {}), "ConcatV2": ([A, B, 2], {}),
    "Conv2D": ([IMAGE, kernel(2, 2, 2, 3)], STRIDES), "Conv3D": ([VOLUME, kernel(2, 2, 2, 2, 1)], DEEP),
    "Conv2DBackpropInput": ([whole(IMAGE.shape), kernel(2, 2, 2, 3), kernel(2, 4, 4, 3)], STRIDES),
    "Conv3DBackpropInputV2": ([whole(VOLUME.shape), kernel(2, 2, 2, 2, 3), kernel(1, 4, 4, 4, 3)], DEEP),
    "CheckNumerics": ([A], {"message": ""}), "ClipByValue": ([A, np.float32(-1), np.float32(2)], {}),
    "EnsureShape": ([A], {"shape": A.shape}),
    "Cumsum": ([A, 1], {}), "DepthToSpace": ([kernel(1, 2, 2, 4)], {"block_size": 2}),
    "DepthwiseConv2dNative": ([IMAGE, kernel(2, 2, 2, 2)], STRIDES),
    "Einsum": ([A, kernel(4, 3)], {"equation": "abc,cd->dab"}), "EuclideanNorm": ([A, 1], {}),
    "ExpandDims": ([A, 1], {}),
    "ExtractImagePatches": ([IMAGE], {"ksizes": WINDOW, "strides": WINDOW, "rates": [1] * 4, "padding": "VALID"}),
    **{name: ([ANGLES], {}) for name in ("Conj", "FFT", "FFT2D", "FFT3D", "IFFT", "IFFT2D", "IFFT3D", "Imag", "Real")},
    "FusedBatchNorm": NORMS, "FusedBatchNormV2": NORMS, "FusedBatchNormV3": NORMS,
    "GatherV2 of tables": ([A, whole([[2, 0], [1, 1]]), 2], {}), "GatherNd": ([A, whole([[1, 0], [0, 2]])], {}),
    "GatherV2": ([A, whole([2, 0]), 1], {}),
    "IRFFT": ([ANGLES, whole([6])], {}), "IRFFT2D": ([ANGLES, whole([3, 6])], {}),
    "LogicalAnd": ([A > 0, B > 0], {}), "LogicalNot": ([A > 0], {}), "LogicalOr": ([A > 0, B > 0], {}),
    "LRN": ([IMAGE], {}), "MatMul": ([A[0], kernel(4, 3)], {}), "MatrixBandPart": ([A, 0, 1], {}),
    "MatrixDiagPartV3": ([A, whole([0, 1]), np.float32(0)], {}), "MatrixDiagV3": ([A, 0, -1, -1, np.float32(0)], {}),
    "MatrixSetDiagV3": ([A, kernel(2, 3), 0], {}),
    "MirrorPad": ([A, whole([[0, 0], [1, 0], [0, 2]])], {"mode": "REFLECT"}),
    **{name: ([A, 1], {}) for name in ("Max", "Mean", "Min", "Sum")},
    "MaxPool": ([IMAGE], {"ksize": WINDOW, "strides": WINDOW, "padding": "SAME"}),
    "MaxPool3D": ([VOLUME], {"ksize": CUBE, "strides": CUBE, "padding": "SAME"}),
    "Pack": ([A, B], {"axis": 1}), "Pad": ([A, whole([[0, 0], [1, 0], [0, 2]])], {}),
    "PadV2": ([A, whole([[0, 0], [1, 0], [0, 2]]), np.float32(0)], {}), "Reshape": ([A, whole([6, 4])], {}),
    **{name: ([IMAGE, whole([8, 6])], {}) for name in ("ResizeBicubic", "ResizeBilinear", "ResizeNearestNeighbor")},
    "Reverse": ([A, np.array([False, True, False])], {}), "ReverseSequence": ([A, whole([3, 2])], {"seq_dim": 1}),
    "ReverseV2": ([A, whole([1])], {}),
    "RFFT": ([A, whole([4])], {}), "RFFT2D": ([A, whole([3, 4])], {}), "Roll": ([A, whole([1]), whole([1])], {}),
    "ScaleAndTranslate": ([IMAGE, whole([8, 6]), np.float32([2, 1.5]), NONE], {"kernel_type": "lanczos3"}),
    "ScatterNd": ([whole([[1], [0], [1]]), kernel(3, 4), whole([2, 4])], {}),
    **{name: ([kernel(4, 4), SEGMENTS], {}) for name in ("SegmentMax", "SegmentMean", "SegmentMin", "SegmentSum")},
    "Select": ([RNG.normal(size=A.shape) > 0, A, B], {}), "SelectV2": ([RNG.normal(size=(3, 1)) > 0, A, B], {}),
    "Slice": ([A, whole([0, 1, 0]), whole([2, 2, 3])], {}),
    "SpaceToBatchND": ([IMAGE, whole([2, 2]), whole([[1, 1], [0, 0]])], {}),
    "SpaceToDepth": ([IMAGE], {"block_size": 2}),
    "SparseTensorDenseMatMul": ([np.array([[0, 1], [1, 0]]), ONES, [2, 3], A[0]], {}),
    "Split": ([2, A], {"num_split": 2}), "SplitV": ([A, whole([1, 3]), 2], {"num_split": 2}),
    "Squeeze": ([A[:, :1]], {"axis": [1]}), "StridedSlice": ([A, whole([0, 2]), whole([2, 0]), whole([1, -1])], {}),
    "TensorListGetItem": ([A[0], 1, whole([4])], {"element_dtype": tf.float32}),
    "TensorListSetItem": ([A[0], 1, B[0, 0]], {}),
    "TensorListStack": ([A[0], whole([4])], {"element_dtype": tf.float32}),
    **{f"TensorScatter{name}": ([A[0], whole([[1], [1]]), kernel(2, 4)], {}) for name in ("Add", "Max", "Min", "Sub")},
    "TensorScatterUpdate": ([A[0], whole([[1], [0]]), kernel(2, 4)], {}),
    "Tile": ([A, whole([1, 2, 1])], {}), "TopKV2": ([A, 2], {}), "Transpose": ([A, whole([2, 0, 1])], {}),
    "Unpack": ([A], {"num": 3, "axis": 1}),
    **{f"UnsortedSegment{name}": ([kernel(4, 4), SEGMENTS, 2], {}) for name in ("Max", "Min", "Sum")},
}  # fmt: skip

WITHOUT = {
    "IdentityN": "each output is its input by another name",
    "OneHot": "a lookup of numbers",
    "ResourceGather": "its data is a variable, as GatherV2 of what ReadVariableOp gives",
    "ReadVariableOp": "gives weights, which no input changes",
}
"""Names without a claim that could be asked, and why."""
BY_ITSELF = {**dict.fromkeys(("mul", *PRODUCTS), (0, 1)), "div": (0,), "floormod": (0,)}
"""Homogeneous in each of these of their data alone: two activations share relevance, or one of them is held."""
OWN_RULE = {"softmax", "logsoftmax"}
"""Their own gradient is their rule, as Achtibat et al. 2024 derive it, though they are not homogeneous."""
NEIGHBOURS = {"lrn"}
"""Divides each element by its neighbours, which are constants to relevance: a function of the element then."""
BY_VALUE, SUMMED = {"topk"}, {"scatternd"}
"""Moved, but by the order of values, and added where two come to one place: `masks` says so of both."""
ASIDE = {
    "batchnorm": "statistics and weights",
    "sparsematmul": "weights",
    "clip": "bounds",
    "bicubic": "how far it scales and moves",
}
"""Kinds with real numbers among what is not their data."""


def of_arrays(operation):
    """An operation on arrays of tensors, given and giving what they hold."""

    def call(input_handle, **given):
        held = tf.raw_ops.TensorListFromTensor(tensor=input_handle, element_shape=input_handle.shape[1:])
        made = operation(input_handle=held, **given)
        if made.dtype != tf.variant:
            return made
        return tf.raw_ops.TensorListStack(input_handle=made, element_shape=[-1], element_dtype=tf.float32)

    return call


class Example:
    """An operation of one name, on its example's inputs, of which the data may be other ones."""

    def __init__(self, example):
        name = example.split()[0]
        definition = op_def_registry.get(name)
        self.name, self.kind, self.operation = name, KINDS[name], getattr(tf.raw_ops, name)
        self.arguments = list(inspect.signature(self.operation).parameters)[: len(definition.input_arg)]
        if name.startswith("TensorList"):
            self.operation = of_arrays(self.operation)
        inputs, self.options = EXAMPLES.get(example) or ([A, B][: len(self.arguments)], {})
        self.inputs = [np.asarray(value) for value in inputs]
        self.row = row = ROWS[self.kind]
        self.is_constant = not row.plain and row.form in (None, "step")
        self.of = range(len(inputs))[self.row.data]
        self.data = [self.inputs[i] for i in self.of]
        self.many = next((argument.name for argument in definition.input_arg if argument.number_attr), None)

    def __call__(self, *data):
        """Its outputs of real or complex numbers."""
        given = list(self.inputs)
        for i, value in zip(self.of, data, strict=True):
            given[i] = value
        if self.many is not None:
            rest = len(given) - len(self.arguments) + 1
            given = [given[:rest], *given[rest:]]
        made = self.operation(**dict(zip(self.arguments, given, strict=True)), **self.options)
        found = tf.nest.flatten(made)[:1] if self.kind == "batchnorm" else tf.nest.flatten(made)
        return [t for t in found if t.dtype.is_floating or t.dtype.is_complex]

    def of_data(self, function):
        return [t.numpy() for t in self(*(function(value) for value in self.data))]

    def alone(self):
        """Ways to scale data that scale the results: of all data, or of one with the others as they are."""
        parts = BY_ITSELF.get(self.kind)
        return [set(range(len(self.data)))] if parts is None else [{i} for i in parts]

    def scaled(self, by, part):
        given = (value * np.float32(by) if i in part else value for i, value in enumerate(self.data))
        return [t.numpy() for t in self(*given)]


NAMES = [name for name, kind in KINDS.items() if kind in ROWS and name not in WITHOUT]
NAMES += [name for name in EXAMPLES if name not in NAMES]


def equal(found, expected, tolerance=1e-4):
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


def check_sign(example):
    cases = {
        None: [],
        "never": [lambda value: value, lambda value: -np.abs(value)],
        "all": [lambda value: np.maximum(value, 0)],
        "any": [lambda value, i=i: np.maximum(value, 0) if value is example.data[i] else value for i in range(2)],
    }
    for made in cases[example.row.sign]:
        for found in example.of_data(made):
            assert found.size > 0
            assert not (found < 0).any()


def check_plain(example):
    """Homogeneous, and what gradient x data sums to is the value; what is not plain is neither, or is constant."""
    row = example.row
    assert row.form is None or row.plain == (row.form in ("linear", "bent", "choice"))
    if example.kind in OWN_RULE or example.is_constant or row.form == "held":
        return
    for part in example.alone():
        before, after = example.scaled(1, part), example.scaled(3, part)
        if not row.plain:
            same = [np.allclose(a, 3 * b, 1e-4, 1e-4, equal_nan=True) for a, b in zip(after, before, strict=True)]
            assert not all(same)
            continue
        equal(after, [3 * value for value in before])
        if np.iscomplexobj(example.data[0]) or np.iscomplexobj(before[0]):
            continue
        chosen = [tf.constant(value) for value in example.data]
        with tf.GradientTape() as tape:
            tape.watch(chosen)
            results = example(*chosen)
            weights = [np.cos(np.arange(1, math.prod(t.shape) + 1)).reshape(t.shape) for t in results]
            total = sum(tf.reduce_sum(tf.cast(t, tf.float64) * w) for t, w in zip(results, weights, strict=True))
        found = tape.gradient(total, chosen)
        spread = [np.sum(chosen[i].numpy() * found[i], dtype=float) for i in part if found[i] is not None]
        assert spread
        np.testing.assert_allclose(sum(spread), total, rtol=1e-4, atol=1e-4)


def sums_up(example, part):
    """Whether it maps a sum of data to the sum of what it maps each to."""
    other = [value[::-1].copy() if value.ndim else value * 2 for value in example.data]
    plus = [a + b if i in part else a for i, (a, b) in enumerate(zip(example.data, other, strict=True))]
    other = [b if i in part else a for i, (a, b) in enumerate(zip(example.data, other, strict=True))]
    parts = zip(example(*example.data), example(*other), strict=True)
    return all(np.allclose(t, a + b, 1e-4, 1e-4) for t, (a, b) in zip(example(*plus), parts, strict=True))


def check_form(example):
    """Each element by itself, wherever it stands; and linear, bent, a choice or constant as it is said."""
    form, (first, *rest) = example.row.form, example.data
    if form is None:
        return
    before = example.of_data(lambda value: value)
    if example.kind not in NEIGHBOURS and before:
        (known,) = before
        at, one = (1, 2, 1, *[0] * (first.ndim - 3)), first.copy()
        one[at] += 3.7
        (changed,) = (t.numpy() for t in example(one, *rest))
        changed[at] = known[at]
        np.testing.assert_array_equal(changed, known)
        inputs, example.inputs = example.inputs, [turned(value, first) for value in example.inputs]
        np.testing.assert_array_equal(*example.of_data(lambda value: turned(value, first)), known[::-1])
        example.inputs = inputs
    if form in ("linear", "bent"):
        assert all(sums_up(example, part) == (form == "linear") for part in example.alone())
    elif form == "choice":
        assert np.logical_or(*(before[0] == value for value in example.data)).all()
    elif form == "held":
        equal(before, example.data, 0)
    else:
        assert form in ("step", "function", "part")


def turned(value, like):
    return value[::-1] if value.shape == like.shape else value


def check_constant(example):
    if example.is_constant:
        assert example.kind in CONSTANT
        moved = example.of_data(lambda value: value + 1e-5 if value.dtype.kind == "f" else value)
        for one, other in zip(example.of_data(lambda value: value), moved, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-7)


def numbered(value):
    return np.arange(1, value.size + 1, dtype=np.float32).reshape(value.shape)


def check_mask(example):
    mask, kind = example.row.mask, example.kind
    if mask == "moved" and kind not in SUMMED | BY_VALUE:
        once = example.of_data(numbered)
        equal(example.of_data(lambda value: numbered(value) ** 3), [t**3 for t in once], 0)
        equal(example.of_data(lambda value: -numbered(value)), [-t for t in once], 0)
    elif mask == "mean" or kind in SUMMED:
        assert sums_up(example, set(range(len(example.data))))
        ones = example.of_data(np.ones_like)
        assert all((t > 0).all() for t in ones)
        if kind not in SUMMED | {"cumsum", "sum"}:
            equal(ones, [np.ones_like(t) for t in ones], 1e-6)
    elif mask == "winner" or kind in BY_VALUE:
        assert all(np.isin(t, example.data[0]).all() for t in example.of_data(lambda value: value))
        assert kind in BY_VALUE or example.name in MEANS
    else:
        assert mask is None or (mask == "kept" and example.row.form is not None)


def check_statistic(example):
    if example.row.statistic:
        assert sum(t.size for t in example.of_data(lambda v: v)) < sum(value.size for value in example.data)


def check_axes(example):
    """What varies along one axis of the data alone varies along the axis of the results that is said to be the same."""
    if example.kind in CONVOLUTIONS or not example.data[0].ndim or example.data[0].dtype.kind != "f":
        return
    with tf.Graph().as_default():
        example(*example.data)
        (op,) = (op for op in Graph.read([]).ops if op.kind == example.kind)
        before, after = (tuple(t.shape) for t in (op.inputs[example.of[0]], op.outputs[0]))
        axes = [axis_behind(op, axis, before, after, example.of[0]) for axis in range(len(before))]
    assert None not in axes or not example.row.in_place or len(before) != len(after)
    alike = example.kind in PRODUCTS or (example.row.form is not None and example.kind != "select")
    others = [np.ones_like(value) if alike else np.zeros_like(value) for value in example.data[1:]]
    for axis, behind in enumerate(axes):
        steps = np.arange(1, before[axis] + 1, dtype=np.float32) / 10
        along = steps.reshape(-1, *[1] * (len(before) - 1 - axis)) * np.ones_like(example.data[0])
        for found in () if behind is None else example(along, *others):
            for one in np.moveaxis(found.numpy(), behind, 0):
                assert not one.any() or np.ptp(one[one != 0]) <= 1e-5


def check_span(example):
    aside = [value for i, value in enumerate(example.inputs) if i not in example.of and value.dtype.kind in "fc"]
    assert not aside or example.kind in ASIDE


CLAIMS = [check_sign, check_plain, check_form, check_constant, check_mask, check_statistic, check_axes, check_span]


@pytest.mark.parametrize("name", NAMES)
def test_what_the_row_says(name):
    for check in CLAIMS:
        check(Example(name))


def test_every_name_has_a_row_or_a_reason():
    assert {kind for name, kind in KINDS.items() if name not in WITHOUT} == ROWS.keys() | REFUSED.keys()
    assert [name for name in KINDS if op_def_registry.get(name) is None] == []
    assert {name.split()[0] for name in EXAMPLES} | WITHOUT.keys() <= KINDS.keys()
