"""What is known of a recorded tensor, and the step that makes it anew so that its gradient carries relevance."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from lrp_monitor.engine import backend
from lrp_monitor.engine.backend import Tensor
from lrp_monitor.engine.trace.graph import Graph, Op

if TYPE_CHECKING:
    from lrp_monitor.engine.rules.affine import Companion
    from lrp_monitor.engine.steps.maps import Map


class Made(Protocol):
    """What a step may ask while it is taken: the tensors that stand for recorded ones."""

    def tensor(self, recorded: Tensor) -> Tensor:
        """What carries relevance in place of ``recorded``."""

    def value(self, recorded: Tensor) -> Tensor:
        """The value of ``recorded``, through which no relevance passes."""

    def weighted(self, made: Map) -> Tensor:
        """The output of a weighted map."""

    def once(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What ``make()`` gave when it was asked for first."""

    def companion(self, recorded: Tensor) -> Companion:
        """The companion mask of ``recorded``, which stands in front of all weights or in a prefix."""


@dataclass(eq=False)
class Step:
    """How outputs of an operation are made."""

    op: Op
    outputs: tuple[Tensor, ...]
    """The recorded tensors for which it makes new ones."""
    live: tuple[Tensor, ...]
    """The recorded tensors to which it passes relevance on."""
    held: tuple[Tensor, ...]
    """What else it reads that depends on the input: constants to relevance."""
    make: Callable[[Made], Sequence[Tensor]]
    note: str = ""
    """What the table says of it."""
    problem: str = ""
    """Why relevance cannot pass it."""
    way_out: Callable[[], str] = str
    """What lets relevance pass, behind a semicolon: asked where it is refused, as most problems meet no relevance."""
    map: Map | None = None
    """The weighted map that it is."""
    mask: Callable[[Made], Tensor] | None = None
    """In front of all weights, or in a prefix: makes the companion mask of its output, through which relevance goes."""
    glued: bool = False
    """Whether relevance of such an output goes to that mask alone, whoever reads it."""
    bounds: bool = False
    """Whether the bounds of the input can be carried through it."""


@dataclass(eq=False)
class Fact:
    """What is known of a recorded tensor."""

    tensor: Tensor
    live: bool = False
    """Whether relevance runs through it to the model's input."""
    root: Tensor | None = None
    """The tensor of which elementwise operations and numbers alone made this; None where this is a number."""
    bent: bool = False
    """Whether the way from the root is not a straight line."""
    shifted: bool = False
    """Whether the way from the root is not homogeneous."""
    curved: bool = False
    """Whether such a function made it that is not homogeneous, or the tensor that was moved here."""
    formula: bool = False
    """Whether a number was added behind such a function, which then is a part of a longer one, as in ``elu(x) + 1``."""
    over_layers: Fact | None = None
    """The way to it on which layers do not count; None where it is a root itself."""
    front: bool = False
    """Whether it stands in front of all weights, or in a prefix: a companion mask stands beside it."""
    whole: bool = False
    """Whether whole numbers of the input alone made it, such as masks and counts."""
    inner: bool = False
    """Whether it lies in a prefix behind more than preprocessing."""
    tainted: bool = False
    """Whether it was computed from activations, and not from the input alone."""
    map: Map | None = None
    """The weighted map that made it."""
    summand: Map | None = None
    """What is one in a sum with such a map: another times what differs by sample, or a scale by weights alone."""
    gate: str = ""
    """Which gate's values it holds (gates.py): one of ``gates.STRICTEST``, or none."""
    axes: frozenset[tuple[int, int]] = frozenset()
    """The axes over which the softmax in it is normalised, or that one of two paired activations alone has (axes.Span).

    As far as they are known.
    """
    paired: bool = False
    """Whether a matrix product of two activations made it, or what was made of one, such as attention's scores."""
    attended: bool = False
    """Whether it is what attention gave out."""
    statistic: bool = False
    """Whether it sums up many values in one, such as a mean."""
    inverse: bool = False
    """Whether it is one over a statistic."""
    divided: bool = False
    """Whether a statistic of the input divided it, as in a layer normalisation, or that was scaled or shifted."""
    normed: Tensor | None = None
    """The tensor of which this is the logarithm of the softmax."""
    joined: int = 1
    """Of how many tensors in front of all weights, or in a prefix, it is the sum, product or maximum."""
    factors: int = 1
    """Of how many activations it is the product."""
    affine: tuple[Tensor, bool] | None = None
    """Where scales and shifts along one axis made it: of what, and whether learned ones scaled it."""
    step: Step | None = field(default=None, repr=False)

    def along(self, way: Fact) -> Fact:
        """This fact, of a tensor that lies where ``way`` leads from its root."""
        self.root, self.bent, self.shifted, self.curved, self.formula = (
            way.root, way.bent, way.shifted, way.curved, way.formula
        )  # fmt: skip
        return self


def plain(
    graph: Graph, op: Op, given: Sequence[Fact], hold: int | None = None, note: str = "", problem: str = ""
) -> Step:
    """The same operation; the input ``hold`` is a constant to relevance."""
    live = [i for i in range(len(given))[op.row.data] if given[i].live and i != hold]
    held = [f.tensor for i, f in enumerate(given) if i not in live and graph.depends(f.tensor)]

    def make(made: Made) -> Sequence[Tensor]:
        inputs = [made.tensor(t) if i in live else made.value(t) for i, t in enumerate(op.inputs)]
        return made.once(op.number, lambda: backend.repeat(op.raw, inputs))  # type: ignore[no-any-return]

    return Step(op, op.outputs, tuple(op.inputs[i] for i in live), tuple(held), make, note, problem)
