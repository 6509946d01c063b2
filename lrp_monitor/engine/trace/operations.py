"""What every kind of operation is to relevance: one row a kind. A kind without a row is refused.

Kinds are words of the engine's own; a framework's module says which of its operations each of them is.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """What an operation of one kind is to relevance."""

    span: tuple[int | None, ...] = (None, None)
    """The inputs that carry data, as in a slice; the others say where to and how."""
    plain: bool = True
    """Whether gradient x input conserves: it is positively homogeneous in all its data together."""
    form: str | None = None
    """How it acts where it maps each element by itself.

    ``"linear"``, ``"bent"`` (homogeneous, but bent), ``"choice"`` between data, ``"function"``: vanishes not in
    proportion to its input, and passes relevance by itself; ``"part"``: a function that does so as a part of a longer
    formula alone, since by itself it is the sign of a normalisation by hand; ``"step"``: constant almost everywhere;
    ``"held"``: keeps values, as constants.
    """
    mask: str | None = None
    """What becomes of the companion mask of an input that stands before all weights, or in a prefix.

    ``"moved"``: as the data is; ``"kept"`` as it is, of several an equal part of each; ``"mean"``: by the mean of the
    window; ``"winner"``: to the maximum of the window, in a prefix by its mean.
    """
    sign: str | None = None
    """Whether results are known not to be negative: ``"never"`` negative, or not where the data (``"all"`` of it,
    or ``"any"`` of it) is not; None where nothing is known."""
    statistic: bool = False
    """Whether it sums up many values in one."""
    in_place: bool = False
    """Whether what moves data leaves every axis where it is, where it leaves their number."""

    @property
    def data(self) -> slice:
        """The inputs that carry data."""
        return slice(*self.span)


_FIRST = (0, 1)


def _rows(words: str, *args: object, **options: object) -> dict[str, Row]:
    return {word: Row(*args, **options) for word in words.split()}  # type: ignore[arg-type]


ROWS: dict[str, Row] = {
    # what moves data
    **_rows(
        "reshape transpose squeeze expanddims gathernd unstack depthtospace spacetodepth spacetobatch batchtospace "
        "patches reversesequence", _FIRST, mask="moved", sign="all",
    ),
    **_rows(
        "slice gather tile broadcast mirrorpad reverse roll matrixbandpart topk splitv",
        _FIRST, mask="moved", sign="all", in_place=True,
    ),
    "pad": Row((0, None, 2), mask="moved", sign="all", in_place=True),  # what it puts in is data, too
    "diagonal": Row((0, None, 4), mask="moved", sign="all"),
    "diagonalpart": Row((0, None, 2), mask="moved", sign="all"),
    "split": Row((1, 2), mask="moved", sign="all", in_place=True),
    "stack": Row(mask="moved", sign="all"),
    "concat": Row((0, -1), mask="moved", sign="all", in_place=True),
    "scatterinto": Row((0, 3, 2), mask="moved", sign="all"),
    "scatternd": Row((1, 2), mask="moved", sign="all"),
    "setdiagonal": Row((0, 2), mask="moved", sign="all"),
    # arrays of tensors, written and read at known places
    "listset": Row((0, None, 2)),
    **_rows("listget liststack", _FIRST),
    # what maps each element by itself
    "identity": Row(form="linear", mask="kept", sign="all"),
    "stop": Row(plain=False, form="held", sign="all"),
    "cast": Row(form="linear", mask="kept", sign="all"),
    "neg": Row(form="linear", mask="kept"),
    "add": Row(form="linear", mask="kept", sign="all"),
    "sub": Row(form="linear", mask="kept"),
    "addn": Row(form="linear", mask="kept", sign="all"),
    "mul": Row(form="linear", mask="kept", sign="all"),
    "div": Row(form="linear", mask="kept", sign="all"),
    "batchnorm": Row(_FIRST, form="linear", mask="kept"),
    "maximum": Row(form="choice", mask="kept", sign="any"),
    "minimum": Row(form="choice", mask="kept", sign="all"),
    "select": Row((1, None), form="choice", mask="moved", sign="all"),
    **_rows("abs relu", form="bent", mask="kept", sign="never"),
    "leakyrelu": Row(form="bent", mask="kept", sign="all"),
    # among them the root, though that of a sum of squares is a norm, which is homogeneous
    **_rows(
        "cosh erfc relu6 sigmoid softplus sqrt square squareddifference", plain=False, form="function", mask="kept",
        sign="never",
    ),
    **_rows(
        "acos asin asinh atan atanh cos elu erf expm1 floormod pow selu sin sinh softsign tan tanh", plain=False,
        form="function", mask="kept",
    ),
    "clip": Row(_FIRST, plain=False, form="function", mask="kept"),
    # a normalisation in one operation: all relevance of each element to it, as its divisor is a constant
    "lrn": Row(plain=False, form="function", mask="kept", sign="all"),
    **_rows("exp rsqrt", plain=False, form="part", mask="kept", sign="never"),
    **_rows("log log1p reciprocal", plain=False, form="part", mask="kept"),
    **_rows(
        "equal greater greaterequal less lessequal logicaland logicalnot logicalor notequal sign isfinite "
        "isinf isnan", plain=False, form="step",
    ),
    **_rows("ceil floor floordiv round", plain=False, form="step", mask="kept"),
    **_rows("all any argmax argmin bucketize rank shape shapen size zeroslike oneslike", plain=False),
    # what joins many values in one
    **_rows("sum mean", _FIRST, mask="mean", sign="all", statistic=True),
    "euclideannorm": Row(_FIRST, sign="never", statistic=True),
    **_rows("max min", _FIRST, mask="winner", sign="all", statistic=True),
    **_rows("avgpool resize", _FIRST, mask="mean", sign="all"),
    "bicubic": Row(_FIRST, mask="mean"),  # some of its shares are negative
    "maxpool": Row(_FIRST, mask="winner", sign="all"),
    "cumsum": Row(_FIRST, mask="mean", sign="all"),
    **_rows("segmentsum segmentmean", _FIRST, sign="all", statistic=True),
    **_rows("scatteradd scattermax scattermin", (0, 3, 2), sign="all"),
    "scattersub": Row((0, 3, 2)),
    "sparsematmul": Row((3, 4)),
    **_rows("segmentmax segmentmin", _FIRST, statistic=True),  # of no values it is the lowest or highest number
    # fixed linear maps, and the size of a complex number, which is homogeneous
    **_rows("fft fft2d fft3d ifft ifft2d ifft3d rfft rfft2d irfft irfft2d real imag conj", _FIRST),
    "complex": Row(),
    "complexabs": Row(_FIRST, sign="never"),
    # a softmax keeps its own gradient, which in the form of input x gradient is its rule (Achtibat et al. 2024)
    "softmax": Row(_FIRST, sign="never"),
    "logsoftmax": Row(_FIRST),
    # products with a kernel, or of two activations
    **_rows("matmul einsum", sign="all"),
    **_rows("conv depthwise", (0, 2), sign="all"),
    "convtranspose": Row((1, 3), sign="all"),
}  # fmt: skip
UNKNOWN = Row(plain=False)
"""Of the kinds without a row."""

PRODUCTS = frozenset({"matmul", "einsum", "conv", "depthwise", "convtranspose"})
CONVOLUTIONS = frozenset({"conv", "depthwise", "convtranspose"})
# Results that are constant almost everywhere, or integers: they carry no relevance.
CONSTANT = frozenset(word for word, row in ROWS.items() if not row.plain and row.form in (None, "step"))
# What else there is to say of a kind that is refused, and how the user may write it.
REFUSED: dict[str, tuple[str, str]] = {
    "loop": (
        "is a loop or a branch of its own, into which relevance is not followed",
        "write a loop of a known number of steps in Python or as keras.layers.RNN over a cell, a branch as ops.where",
    ),
    "call": ("is a function of its own, compiled or of Python, into which relevance is not followed", ""),
    "stop": ("stops the gradient, so that relevance would be lost there", ""),
    "sliceinto": (
        "has no gradient in TensorFlow",
        "write it as ops.concatenate of the parts or as ops.scatter_update",
    ),
}
