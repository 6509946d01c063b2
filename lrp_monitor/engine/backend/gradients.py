"""Gradients of the engine's own: straight through a value, put off until relevance arrives, or scaled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

Tensor = Any

stop_gradient: Callable[[Tensor], Tensor] = tf.stop_gradient
identity: Callable[[Tensor], Tensor] = tf.identity


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
    {
        "Identity",
        "IdentityN",
        "Pad",
        "PadV2",
        "MirrorPad",
        "Reshape",
        "Transpose",
        "Cast",
        "Squeeze",
        "ExpandDims",
        "StopGradient",
    }
)


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
    shown: Callable[[Tensor], Tensor] = tf.identity,
) -> Tensor:
    """``shown(value)`` with the gradient of ``surrogate(shapes, copies, value)``, which is made in the reverse pass.

    ``shapes`` and ``copies`` are the sources, both differentiable. What reads of a source no more than its shape should
    read ``shapes``: ``copies`` come with the gradient, and until then keep the source in memory. Nothing else is kept
    but ``value``, and the surrogate's tensors live while the gradient passes. ``rectified``: value is the result of a
    ReLU, beyond which the gradient passes where it is > 0.
    """

    @tf.custom_gradient
    def node(value: Tensor, *sources: Tensor) -> tuple[Tensor, Callable[[Tensor], Any]]:
        output = shown(value)

        def gradient(upstream: Tensor) -> tuple[Tensor | None, ...]:
            if rectified:
                upstream = tf.raw_ops.ReluGrad(gradients=upstream, features=output)
            shapes = [_of_shape(source) for source in sources]
            copies = [_again(source, shape, upstream) for source, shape in zip(sources, shapes, strict=True)]
            known = after(output if shown is tf.identity else value, upstream)
            return (None, *tf.gradients(surrogate(shapes, copies, known), shapes, grad_ys=[upstream]))

        return output, gradient

    result: Tensor = node(tf.stop_gradient(value), *sources)
    return result


_KEPT = "lrp_kept"


def kept(value: Tensor) -> Tensor:
    """``value``, of which a map keeps this very tensor for the reverse pass: nobody needs to make it again."""
    return tf.identity(value, name=_KEPT)


# What costs less to make again than to keep.
_CHEAP = frozenset({"Relu6", "LeakyRelu", "Pad", "PadV2"})


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
            again = after(z, upstream)
            return None, upstream * factor(again, function(again))

        return tf.identity(value), gradient

    # Outside the node, which must not read variables: a function may have weights of its own.
    result: Tensor = node(tf.stop_gradient(function(tf.stop_gradient(z))), z)
    return result


def with_bias(x: Tensor, bias: Tensor) -> Tensor:
    """``x + bias``, as an operation that the framework makes one with a convolution before it, where it has one."""
    if len(bias.shape) <= len(x.shape) and bias.shape[-1:] == x.shape[-1:] and bias.shape.num_elements() == x.shape[-1]:
        return tf.nn.bias_add(x, tf.reshape(bias, (-1,)))
    return x + bias


def gradients(of: Tensor, with_regard_to: Sequence[Tensor], stop: Sequence[Tensor] = ()) -> list[Tensor | None]:
    """The gradients of a scalar with regard to tensors, None where no path joins them; only under trace.

    Nothing flows back beyond the tensors in ``stop``.
    """
    found: list[Tensor | None] = tf.gradients(of, list(with_regard_to), stop_gradients=list(stop) or None)
    return found


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
        return [tf.zeros_like(t) if one is None else one for t, one in zip(with_regard_to, found, strict=True)]

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
