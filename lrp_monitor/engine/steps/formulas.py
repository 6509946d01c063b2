"""Formulas that map each element by itself: functions of one tensor, read off the operations that make them up."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from keras import ops

from lrp_monitor.engine import backend
from lrp_monitor.engine.backend import Tensor
from lrp_monitor.engine.steps.axes import summed_spans
from lrp_monitor.engine.steps.step import Fact, Made, Step
from lrp_monitor.engine.trace.graph import Graph, Op, number


def pass_through(z: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """``y = function(z)`` with the gradient factor ``y / z``, so that ``R_z = z G_z = y G_y = R_y``.

    ReLU's own gradient is that factor already; for a saturated ReLU6 or a sigmoid it is not.
    """

    def gradient(upstream: Tensor) -> list[Tensor]:
        again = backend.after(z, upstream)  # made anew in reverse: z alone is kept for it
        # A gradient for a complex number is the conjugate of the derivative.
        return [upstream * ops.conjugate(_factor(again, function(again)))]

    return backend.with_gradient(function(z), [z], gradient)


def _factor(z: Tensor, value: Tensor) -> Tensor:
    # Where z is (all but) zero the factor could overflow; relevance z * G_z vanishes there anyhow. Scalars, not
    # tensors of z's shape: TensorFlow turns those into constants of the graph and holds them as long as it lives.
    is_zero = ops.abs(z) < 1e-30
    return ops.where(is_zero, 0.0, value / ops.where(is_zero, 1.0, z))


def way_to(op: Op, given: list[Fact]) -> Fact | None:
    """The way to the output from the one root of all inputs; None where they have not one alone."""
    row = op.row
    if row.form in (None, "held"):
        return None
    shape = op.outputs[0].shape
    roots = [f.root for f in given if f.root is not None]
    if len({id(root) for root in roots}) != 1 or roots[0].shape != shape:
        return None
    data = given[1:] if op.kind == "select" else given
    numbers = [f for f in data if f.root is None]
    many = sum(f.live for f in data) > 1
    adds = op.kind in ("add", "sub") or row.form == "choice"
    shifts = adds and bool(numbers)
    curved = op.kind in ("mul", "div") and (many or (op.kind == "div" and given[1].root is not None))
    inhomogeneous = row.form in ("function", "part") or curved
    formula = any(f.formula or (f.curved and op.kind in ("add", "sub", "log1p")) for f in data)
    return Fact(
        op.outputs[0], True, roots[0],
        bent=inhomogeneous or row.form in ("bent", "choice") or any(f.bent for f in given),
        shifted=inhomogeneous or shifts or any(f.shifted for f in data),
        curved=inhomogeneous or any(f.curved for f in data), formula=formula,
    )  # fmt: skip


def cut_off(graph: Graph, root: Tensor, t: Tensor) -> Tensor:
    """What a ReLU made of ``root`` on the one way to ``t``, which is a function of that; else ``root`` itself.

    What was cut off is 0 and has no relevance to give, whatever the function makes of it.
    """
    ways = [op for op in graph.between([root], t) if op.row.form != "step"]
    found = at = root
    for op in ways[:-1]:
        others = [number(i) for i in op.data if i is not at]
        cuts = op.kind in ("relu", "relu6") or (op.kind in ("maximum", "minimum", "select") and others == [0])
        scales = op.kind in ("mul", "div") and op.inputs[0] is at and others != [None]
        alone = sum(any(i is at for i in reader.inputs) for reader in ways) == 1 and any(i is at for i in op.data)
        if not alone or not (cuts or scales or len(op.inputs) == 1):
            break
        (at,) = op.outputs
        found = at if cuts else found
    return found


def is_function(op: Op, way: Fact, given: Sequence[Fact], live: Sequence[Fact]) -> bool:
    """Whether here ends a formula that maps each element of its root by itself and is not homogeneous."""
    if way.formula:
        return True
    if not (way.bent and way.shifted):
        return False
    if op.kind in ("maximum", "minimum"):
        limits = [value for value in map(number, op.inputs) if value is not None]
        return len(live) > 1 or any(value != 0 for value in limits)
    if op.kind == "div":
        return given[0].live and given[1].root is not None
    if op.kind == "select" and given[0].root is None:
        return False  # a constant mask: what it lets through is as it was, also where it is 0
    return op.kind in ("relu6", "select") or (len(live) > 1 and op.row.form == "linear")


def passed(graph: Graph, op: Op, t: Tensor, way: Fact, note: str = "relevance passes the activation") -> Fact:
    """An elementwise function of the root of ``way``."""
    root = way.root
    assert root is not None
    function = graph.function(root, t)
    step = Step(op, (t,), (root,), (), lambda made: [pass_through(made.tensor(root), function)], note)
    return Fact(t, True, step=step).along(way)


def squared_difference(graph: Graph, op: Op, t: Tensor, live: Sequence[Fact]) -> Fact:
    """The square of a difference, of which it is a function: of what is not ``live`` a constant to relevance."""
    read = tuple(f.tensor for f in live)
    held = tuple(x for x in op.inputs if all(x is not one for one in read) and graph.depends(x))

    def make(made: Made) -> Sequence[Tensor]:
        one, two = (made.tensor(x) if any(x is i for i in read) else made.value(x) for x in op.inputs)
        return [pass_through(one - two, ops.square)]

    return Fact(t, True, root=t, curved=True, step=Step(op, (t,), read, held, make, "relevance passes the activation"))


def own_gradient(graph: Graph, op: Op, t: Tensor, root: Tensor, below: Tensor) -> Fact:
    """A softmax of ``root`` written as a formula that divides by ``below``."""
    function = graph.function(root, t)
    note = "softmax: the explanation starts before it, or its own gradient"
    fact = Fact(t, True, root=t, step=Step(op, (t,), (root,), (), lambda made: [function(made.tensor(root))], note))
    if op.kind == "sub":
        fact.normed = root
    else:
        fact.gate = "softmax"
        fact.axes = summed_spans(graph, below)
    return fact
