"""TensorFlow's names for the kinds of operations of which the engine speaks (operations.py)."""

from __future__ import annotations

# Those whose word is their own name in small letters ...
_OWN_WORD = (
    "Abs Acos AddN All Any ArgMax ArgMin Asin Asinh Atan Atanh Bitcast Bucketize Cast Ceil Complex ComplexAbs Cos "
    "Cosh Cumsum DepthToSpace Einsum Elu Equal Erf Erfc EuclideanNorm Exp ExpandDims Expm1 FFT FFT2D Floor FloorDiv "
    "FloorMod GatherNd Greater GreaterEqual Identity IFFT IFFT2D Imag IRFFT IRFFT2D IsFinite IsInf IsNan LeakyRelu "
    "Less LessEqual Log Log1p LogicalAnd LogicalNot LogicalOr LogicalXor LogSoftmax LRN MatrixBandPart Max Maximum "
    "Mean Min Minimum MirrorPad Mul Neg NotEqual OneHot OnesLike Pad Pow Rank Real Relu Relu6 Reshape RFFT RFFT2D "
    "Roll Round Rsqrt ScatterNd Selu Shape ShapeN Sigmoid Sign Sin Sinh Size Slice Softmax Softplus Softsign "
    "SpaceToDepth Split Sqrt Square SquaredDifference Squeeze Sub Sum Tan Tanh Tile Transpose ZerosLike"
)
# ... and the others.
KINDS = {name: name.lower() for name in _OWN_WORD.split()} | {
    "Add": "add", "AddV2": "add", "BiasAdd": "add", "Snapshot": "identity", "StopGradient": "stop",
    "PreventGradient": "stop", "IdentityN": "each", "RealDiv": "div", "Div": "div", "DivNoNan": "div",
    "MulNoNan": "mul", "Inv": "reciprocal", "Reciprocal": "reciprocal", "Select": "select", "SelectV2": "select",
    "PadV2": "pad", "ConcatV2": "concat", "Pack": "stack", "Unpack": "unstack", "SplitV": "splitv",
    "GatherV2": "gather", "ResourceGather": "gather", "StridedSlice": "slice", "BroadcastTo": "broadcast",
    "Reverse": "reverse", "ReverseV2": "reverse", "SpaceToBatchND": "spacetobatch", "BatchToSpaceND": "batchtospace",
    "ExtractImagePatches": "patches", "MatMul": "matmul", "BatchMatMul": "matmul", "BatchMatMulV2": "matmul",
    "BatchMatMulV3": "matmul", "Conv2D": "conv", "Conv3D": "conv", "DepthwiseConv2dNative": "depthwise",
    "Conv2DBackpropInput": "convtranspose", "Conv3DBackpropInputV2": "convtranspose", "AvgPool": "avgpool",
    "AvgPool3D": "avgpool", "MaxPool": "maxpool", "MaxPoolV2": "maxpool", "MaxPool3D": "maxpool",
    "ResizeBicubic": "bicubic", "ResizeBilinear": "resize", "ResizeNearestNeighbor": "resize", "TopKV2": "topk",
    "TensorScatterUpdate": "scatterinto", "TensorScatterAdd": "scatteradd", "UnsortedSegmentSum": "segmentsum",
    "UnsortedSegmentMax": "segmentmax", "SegmentSum": "segmentsum", "SegmentMax": "segmentmax",
    "SparseTensorDenseMatMul": "sparsematmul", "MatrixDiagV3": "diagonal", "MatrixDiagPartV3": "diagonalpart",
    "MatrixSetDiagV3": "setdiagonal",
    "FusedBatchNorm": "batchnorm", "FusedBatchNormV2": "batchnorm", "FusedBatchNormV3": "batchnorm",
    "While": "loop", "StatelessWhile": "loop", "TensorListFromTensor": "loop", "If": "loop",
    "StatelessIf": "loop", "PartitionedCall": "call", "StatefulPartitionedCall": "call", "ReadVariableOp": "variable",
}  # fmt: skip
