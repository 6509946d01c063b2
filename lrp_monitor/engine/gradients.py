"""Gradients of the engine's own, which pass straight through a value or are put off until relevance arrives."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from keras import ops

from lrp_monitor.engine import backend
from lrp_monitor.engine.backend import Tensor


def straight_through(surrogate: Tensor, value: Tensor) -> Tensor:
    """A tensor with the value of ``value`` and the gradient of ``surrogate`` (both of one shape).

    The surrogate's own value is needed by nobody, so that the compiler drops the arithmetic that makes it, for most
    rules a convolution; it would not in ``surrogate + stop_gradient(value - surrogate)``.
    """
    return backend.with_gradient(value, [surrogate], lambda upstream: [upstream])


def divided(x: Tensor, divisor: Tensor) -> Tensor:
    """``x / divisor``, through which a gradient passes to ``x`` alone."""
    return backend.with_gradient(x / divisor, [x], lambda upstream: [upstream / divisor])


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
            upstream = backend.through_relu(upstream, output)
        shapes = [_of_shape(source) for source in sources]
        copies = [straight_through(shape, _again(x, upstream)) for x, shape in zip(sources, shapes, strict=True)]
        made = surrogate(shapes, copies, backend.after(value, upstream))
        return backend.gradients([made], shapes, [upstream])

    return backend.with_gradient(output, sources, gradient)


def _of_shape(source: Tensor) -> Tensor:
    """A tensor of the source's shape; not the source itself, which whatever reads its shape would keep alive."""
    return backend.identity(source) if None in source.shape else ops.zeros(source.shape, source.dtype)


# What costs less to make again than to keep.
_CHEAP = ("relu6", "leakyrelu", "pad")
_KEPT = "lrp_kept"


def kept(value: Tensor) -> Tensor:
    """``value``, of which a map keeps this very tensor for the reverse pass: nobody needs to make it again."""
    return backend.identity(value, name=_KEPT)


def _again(source: Tensor, upstream: Tensor) -> Tensor:
    """``source`` when ``upstream`` is there, made anew of the last tensor before cheap operations.

    What is in front of a ReLU6 or of padding is kept anyhow by the layer that made it.
    """
    made, tensor = [], source
    raw, index = backend.made_by(tensor)
    while (kind := backend.kind_of(raw)) in (*_CHEAP, "identity", "each", "stop") and _KEPT not in raw.name:
        if kind in _CHEAP:
            made.append(raw)
        tensor = raw.inputs[index if kind == "each" else 0]
        raw, index = backend.made_by(tensor)
    found = backend.after(tensor, upstream)
    for raw in reversed(made):
        (found,) = backend.repeat(raw, [found, *raw.inputs[1:]])
    return found


def has_gradient(of: Sequence[Tensor], with_regard_to: Sequence[Tensor]) -> bool:
    """Whether a differentiable path joins any of these tensors; only under trace."""
    ends = [t for t in of if t.dtype.is_floating or t.dtype.is_complex]
    try:
        found = backend.gradients(ends, with_regard_to, [ops.ones_like(t) for t in ends]) if ends else []
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
        pairs = zip(with_regard_to, backend.gradients(list(of), with_regard_to, weights(row)), strict=True)
        return [ops.zeros_like(t) if one is None else one for t, one in pairs]

    return backend.each_row(of_row, rows)
