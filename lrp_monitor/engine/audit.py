"""Which raw operations relevance may pass as they are: those for which the plain gradient x input conserves."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lrp_monitor.engine.backend import RawOperation

# Positively homogeneous in the data, which is their first input (or all of them): gradient x input conserves.
_HOMOGENEOUS = frozenset(
    {
        "Abs", "AvgPool", "AvgPool3D", "BatchToSpaceND", "BroadcastTo", "Cast", "Cumsum", "DepthToSpace",
        "ExpandDims", "GatherNd", "GatherV2", "Identity", "IdentityN", "LeakyRelu", "MatrixBandPart", "Max", "MaxPool",
        "MaxPool3D", "MaxPoolV2", "Mean", "Min", "Neg", "Pack", "Relu", "Reshape", "ResizeBicubic",
        "ResizeBilinear", "ResizeNearestNeighbor", "Reverse", "ReverseV2", "Roll", "Slice", "Snapshot",
        "SpaceToBatchND", "SpaceToDepth", "Split", "SplitV", "Squeeze", "StridedSlice", "Sum", "Tile", "Transpose",
        "Unpack", "Pad", "MirrorPad", "AddN",
        # A softmax keeps its own gradient (Achtibat et al. 2024).
        "Softmax", "LogSoftmax",
        # A constant added by hand is a bias: it absorbs its share, R_x = x / (x + c) R_y = x G_y.
        "Add", "AddV2", "Sub", "BiasAdd",
    }
)  # fmt: skip


def _extreme(op: RawOperation) -> str | None:
    if all(flag or zero for flag, zero in zip(op.dependent, op.zero, strict=True)):
        return None
    return "clips against a constant that is not zero; use a layer such as ReLU(max_value=...)"


def _product(op: RawOperation) -> str | None:
    if sum(op.dependent) == 1:
        return None
    return "multiplies two activations: without a rule the product counts its relevance twice"


def _quotient(op: RawOperation) -> str | None:
    if op.dependent == (True, False):
        return None
    return "divides by an activation"


def _select(op: RawOperation) -> str | None:
    if all(flag or zero for flag, zero in zip(op.dependent[1:], op.zero[1:], strict=True)):
        return None
    return "puts in a constant that is not zero, whose share of the relevance is unknown"


def _padded(op: RawOperation) -> str | None:
    return None if op.zero[2] else "pads with a constant that is not zero"


_WITH_CONDITION: dict[str, Callable[[RawOperation], str | None]] = {
    "ConcatV2": lambda op: _join(op),
    "Maximum": _extreme, "Minimum": _extreme, "Mul": _product, "MulNoNan": _product,
    "RealDiv": _quotient, "Div": _quotient, "DivNoNan": _quotient, "Select": _select, "SelectV2": _select,
    "PadV2": _padded,
}  # fmt: skip


def _join(op: RawOperation) -> str | None:
    # The last input is the axis. Constants that are joined on take no relevance from what is already there.
    return None if any(op.dependent[:-1]) else "joins nothing that depends on the input"


_WEIGHTED = frozenset(
    {"MatMul", "BatchMatMulV2", "BatchMatMulV3", "BatchMatMul", "Einsum", "Conv2D", "Conv3D", "Conv",
     "DepthwiseConv2dNative", "XlaDotV2"}
)  # fmt: skip
_CALLS = frozenset({"StatefulPartitionedCall", "PartitionedCall", "While", "StatelessWhile", "If", "StatelessIf"})


def is_passable(kind: str) -> bool:
    """Whether relevance can pass operations of this kind at all."""
    return kind in _HOMOGENEOUS or kind in _WITH_CONDITION or kind in _WEIGHTED


def _why(op: RawOperation) -> str | None:
    if op.kind in _HOMOGENEOUS:
        return None
    if op.kind in _WITH_CONDITION:
        return _WITH_CONDITION[op.kind](op)
    if op.kind in _WEIGHTED:
        if sum(op.dependent) > 1:
            return "multiplies two activations: without a rule the product counts its relevance twice"
        return "multiplies by weights outside a Keras layer, so no rule reaches them; use Dense, EinsumDense or Conv"
    if op.kind in _CALLS:
        return "is a compiled function, a loop or a branch of its own, into which relevance is not followed"
    if op.kind in ("StopGradient", "PreventGradient"):
        return "stops the gradient, so that relevance would be lost there"
    return "is not homogeneous (not a sum, a scaling, a selection, a pooling or a ReLU); use the Keras layer for it"


def audit(operations: Sequence[RawOperation]) -> list[str]:
    """What is wrong with each raw operation that relevance cannot pass; empty where it can pass all of them."""
    problems = []
    for op in operations:
        why = _why(op)
        if why is not None:
            where = f" at {op.call_site}" if op.call_site else ""
            problems.append(f"operation {op.name!r} ({op.kind}){where}: {why}")
    return problems
