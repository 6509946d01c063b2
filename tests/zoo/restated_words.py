"""TensorFlow's operations by what they are to relevance, for the restatement."""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


MOVES = _words(
    "BatchToSpaceND BroadcastTo Cast DepthToSpace ExpandDims GatherNd GatherV2 Identity IdentityN MirrorPad "
    "Pack Pad PadV2 Reshape Reverse ReverseV2 Roll Slice SpaceToBatchND SpaceToDepth Split SplitV Squeeze "
    "StridedSlice Tile Transpose Unpack ConcatV2 TensorListGetItem TensorListSetItem TensorListStack"
)
HOMOGENEOUS = _words(
    "AddN AddV2 AvgPool AvgPool3D BiasAdd Cumsum LeakyRelu MatrixBandPart Max MaxPool MaxPool3D Mean Min Neg "
    "Relu ResizeBicubic ResizeBilinear ResizeNearestNeighbor ScaleAndTranslate Select SelectV2 Softmax Sub Sum TopKV2 "
    "Complex FFT FFT2D FFT3D IFFT IFFT2D RFFT IRFFT Real Imag"
)
WEIGHTED = _words(
    "BatchMatMul BatchMatMulV2 BatchMatMulV3 Conv2D Conv2DBackpropInput Conv3D DepthwiseConv2dNative Einsum MatMul"
)
CONVOLUTIONS = _words("Conv2D Conv2DBackpropInput Conv3D DepthwiseConv2dNative")
FUNCTIONS = _words("Abs Elu Erf Erfc Exp Expm1 Log Log1p Pow Relu6 Selu Sigmoid Softplus Softsign Square Sqrt Tanh")
CURVED = FUNCTIONS - _words("Abs") | _words("Inv Reciprocal Rsqrt")
"""Functions of each element that are not homogeneous."""
STEPS = _words(
    "Cast Equal Floor Greater GreaterEqual Less LessEqual LogicalAnd LogicalNot LogicalOr NotEqual OnesLike Round Sign "
    "ZerosLike"
)
"""Functions of each element that are constant almost everywhere, and what makes numbers of them."""
QUOTIENTS = _words("Div DivNoNan RealDiv")
DIVISORS = _words("Inv Reciprocal Rsqrt")
_ARITHMETIC = QUOTIENTS | _words("AddV2 Maximum Minimum Mul Neg Relu LeakyRelu Sub SquaredDifference SelectV2")
ELEMENTWISE = FUNCTIONS | DIVISORS | _ARITHMETIC
KEEPS_KIND = MOVES | QUOTIENTS | _words("TopKV2 Mul AddV2 SelectV2 Minimum Maximum Neg Sub Sum")
