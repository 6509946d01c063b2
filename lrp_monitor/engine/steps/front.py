"""What stands in front of all weights, or in a prefix of the network (``until``): a mask carries its relevance.

Which operations are in it and what becomes of the mask in each (masks.py) is known here alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from keras import ops

from lrp_monitor.engine import backend
from lrp_monitor.engine.backend import Tensor, stop_gradient
from lrp_monitor.engine.gradients import straight_through
from lrp_monitor.engine.rules.composites import Composite, fits_prefix
from lrp_monitor.engine.steps.masks import normalised, picks, share, spread_over_vectors
from lrp_monitor.engine.steps.moves import SUMS
from lrp_monitor.engine.steps.products import shared
from lrp_monitor.engine.steps.step import Fact, Made, Step, plain
from lrp_monitor.engine.steps.weights import SCALINGS, Weights, moved_summand, override
from lrp_monitor.engine.trace.graph import Graph, Op, number
from lrp_monitor.engine.trace.operations import CONSTANT, PRODUCTS
from lrp_monitor.engine.trace.recording import Recording, leaf, loop_around

_SUMS = (*SUMS, "sum", "cumsum")
_AS_IT_IS = "passes as it is"
_ONE_TO_ONE = "preprocessing: relevance passes one to one"
_WINNER = "the winner takes all"


def prefix_of(recording: Recording, composite: Composite, model: str) -> frozenset[int]:
    """The numbers of the operations that make up the prefix: all from which the outputs of ``until`` are computed."""
    if composite.until is None:
        return frozenset()
    ends = [t for made in recording.calls if composite.ends_prefix(made.layer, made.path) for t in made.outputs]
    graph = recording.graph
    if not any(graph.depends(t) for t in ends):
        which = getattr(composite.until, "__name__", composite.until)
        names = list(dict.fromkeys(made.layer.name for made in recording.calls))
        raise ValueError(
            f"until={which!r}: model {model!r} runs no such layer on its input; the layers that it runs: {names}"
        )
    return frozenset(op.number for op in graph.needed(ends))


@dataclass(frozen=True)
class Front:
    """Assigns steps to what stands in front of all weights, and in a prefix."""

    graph: Graph
    composite: Composite
    weights: Weights
    prefix: frozenset[int]
    """The numbers of the operations that make up the prefix."""
    _places: dict[int, bool] = field(default_factory=dict)
    """Id of a tensor -> whether it is read as numbers of vectors alone."""

    def assigned(
        self, op: Op, index: int, given: list[Fact], live: list[Fact], way: Fact | None, stepped: Callable[[], Fact]
    ) -> Fact:
        """The output ``index`` of an operation; ``stepped`` makes the step that it has behind weights."""
        t, front, in_loop = op.outputs[index], all(f.front for f in live), loop_around(op.call) is not None
        folded = self.weights.behind(op, index, given, live) if front else None
        # what folds into the last map of a prefix belongs to it
        inside = op.number in self.prefix or (folded is not None and not in_loop)
        if not inside and (not front or any(f.inner for f in live)):
            return stepped()
        step = None
        if front and not (inside and in_loop):
            fact = self.weights.contraction(op, live[0])
            if inside and op.kind in PRODUCTS and len(live) == 1:
                fact = self.weights.product(op, given, live[0], first=True)
            if fact is not None and fact.map is not None:
                return self._shared_out(fact, op) if inside else fact
            step = self._handed_on(op, index, given, live, inside, way is not None)
        if step is None:
            if not inside:
                return stepped()
            problem = (
                f"it lies in the prefix (until=...), through which relevance passes no such operation as {op.kind!r}; "
                "end the prefix before it"
            )
            return Fact(t, True, step=plain(self.graph, op, given, problem=problem))
        if not step.glued:  # how much of it the input's values have is known to the operation's own step
            own = stepped().step
            assert own is not None
            own = replace(own, mask=step.mask, note=step.note, bounds=step.bounds, map=None)
            step = replace(own, live=(*own.live, *step.live))
        inner, scales = any(f.inner for f in live), len(live) == 1 and op.kind in SCALINGS
        scale = self.weights.diagonal(op, given, live[0], inside) if scales else None
        summand = scale or moved_summand(op, index, live)
        joined = sum(self._joined(op, live))
        return Fact(t, True, front=True, inner=inner, map=folded, summand=summand, joined=joined, step=step)

    def looked_up(self, op: Op, given: list[Fact], indices: Fact) -> Fact:
        """Vectors for numbers of the input: each token has the relevance of its vector."""
        t, before = op.outputs[0], indices.tensor
        step = replace(
            plain(self.graph, op, given, note="all relevance of a vector to its token"), live=(before,), held=(),
            mask=lambda made: spread_over_vectors(op, made.companion(before).mask), glued=True,
        )  # fmt: skip
        inside = op.number in self.prefix
        hot = op.kind == "onehot"  # of activations it picks some, as a lookup in them does
        return Fact(t, True, root=t, front=hot or inside, step=step, inner=inside, gate="step" if hot else "")

    def _shared_out(self, fact: Fact, op: Op) -> Fact:
        """A weighted map of the prefix: its rule shares out by weights alone."""
        made, step = fact.map, fact.step
        assert made is not None
        assert step is not None
        if not fits_prefix(made.rule):
            rule = override(self.composite, op.call)
            step.problem = f"rule {rule!r} has no meaning in a prefix (until=...): name Flat() or WSquare() for it"
        step.mask, step.glued, step.live = lambda b: share(b, made), True, (made.x,)
        fact.front, fact.inner = True, True
        return fact

    # --- the mask behind an operation, by what becomes of it there ---

    def _handed_on(
        self, op: Op, index: int, given: list[Fact], live: list[Fact], inside: bool, function: bool
    ) -> Step | None:
        """The step that hands on the masks of the inputs, where there is one; ``function``: of one tensor alone."""
        row, t = op.row, op.outputs[index]
        many = len(live) > 1 or row.statistic or op.kind == "cumsum"
        if t.dtype.is_integer and not inside and many and op.kind in _SUMS and not self._says_where(t):
            return self._hand(op, given, live, lambda made: _contributed(made, op, live), "in parts of the sum")
        if op.kind == "stop" and live[0].statistic:
            return self._hand(op, given, live, lambda made: made.companion(live[0].tensor).mask, _AS_IT_IS)
        kernel = next((i for i, f in enumerate(given) if not f.live), None) if op.kind in PRODUCTS else None
        moves = op.kind in PRODUCTS and len(live) == 1 and picks(op, kernel)
        if (row.mask is None and not moves) or t.dtype.is_complex:
            return None
        if len(live) > 1 and row.form is not None and op.kind != "select":
            return self._several(op, given, live, inside, function)
        if row.mask == "kept" or (op.kind == "select" and function):
            return self._kept(op, given, live, function)
        return self._repeated(op, index, given, live, inside, kernel)

    def _hand(
        self, op: Op, given: Sequence[Fact], of: Sequence[Fact], mask: Callable[[Made], Tensor], note: str,
        glued: bool = True, bounds: bool = False,
    ) -> Step:  # fmt: skip
        glued &= all(f.step is None or f.step.glued for f in of)
        reads = tuple(f.tensor for f in of)
        return replace(plain(self.graph, op, given), live=reads, mask=mask, note=note, glued=glued, bounds=bounds)

    def _several(self, op: Op, given: list[Fact], live: list[Fact], inside: bool, function: bool) -> Step | None:
        """Of several tensors, element by element: one to one from the signal, or equal parts to each."""
        shape, places = op.outputs[0].shape, self._says_where(op.outputs[0])
        signals = [f for f in live if not f.statistic] or live
        # a function of one tensor, or a tensor normalised by statistics of the same inputs
        sources = self.graph.sources_of(signals[0].tensor)
        others = [f for f in live if not f.whole and not self.graph.sources_of(f.tensor) <= sources]
        joined, statistics = self._joined(op, live), all(f.statistic for f in live)

        def equal(made: Made) -> Tensor:
            return normalised(sum(_spread(made, f, shape) * n for f, n in zip(live, joined, strict=True)))

        if function or ((len(signals) == 1 or (statistics and op.kind == "div")) and not others):
            signal = signals[0]
        elif op.kind == "mul" and (inside or (op.outputs[0].dtype.is_integer and not places)):
            step = shared(self.composite, self.graph, op, given).step
            assert step is not None
            if len(step.live) > 1:
                return self._hand(op, given, live, equal, step.note)
            signal = next(f for f in live if f.tensor is step.live[0])
            return self._hand(op, given, [signal], lambda made: _spread(made, signal, shape), step.note)
        elif op.kind in ("maximum", "minimum") and not inside:
            return self._hand(op, given, live, lambda made: _winner(made, op, live), _WINNER, False, True)
        else:
            sums = op.kind in SUMS and (statistics or not any(f.statistic for f in live))
            places &= op.kind in _SUMS
            alike = statistics and not others
            if op.kind == "div" or not (inside or sums or places or alike):
                return None
            return self._hand(op, given, live, equal, "equal parts to each", inside or places, sums)
        bounds = function and not self._has_pole(op, given)
        return self._hand(op, given, [signal], lambda made: _spread(made, signal, shape), _ONE_TO_ONE, bounds=bounds)

    def _joined(self, op: Op, live: list[Fact]) -> list[int]:
        """Of each input, how many tensors operations like ``op`` made it of, in the same layer; else 1."""
        kinds = SUMS if op.kind in SUMS else (op.kind,)
        before = [self.graph.op_of(f.tensor) for f in live]
        alike = [made.kind in kinds and leaf(made.call) is leaf(op.call) for made in before]
        return [f.joined if same else 1 for f, same in zip(live, alike, strict=True)]

    def _has_pole(self, op: Op, given: list[Fact]) -> bool:
        """Whether what ``op`` makes has no bounds where an input of it is 0, which that may be."""
        below = {"div": 1, "reciprocal": 0, "rsqrt": 0}.get(op.kind)
        exponent = number(op.inputs[1]) if op.kind == "pow" else 0
        if exponent is None or exponent < 0:
            below = 0
        return below is not None and given[below].live and not self.graph.is_non_negative(op.inputs[below])

    def _says_where(self, t: Tensor) -> bool:
        """Whether ``t`` becomes numbers by which vectors are looked up, and nothing else: then values do not count."""
        known = self._places.get(id(t))
        if known is None:
            known = self._places[id(t)] = self._reads_as_places(t)
        return known

    def _reads_as_places(self, t: Tensor) -> bool:
        readers = [op for op in self.graph.readers(t) if op.kind not in CONSTANT or op.row.mask == "kept"]
        return bool(readers) and all(
            (op.kind in ("gather", "onehot") and op.inputs[op.kind == "gather"] is t)
            or ((op.row.form or op.row.mask == "moved") and all(map(self._says_where, op.outputs)))
            for op in readers
        )

    def _kept(self, op: Op, given: list[Fact], live: list[Fact], function: bool) -> Step:
        """Each element by itself: as it is, but for what vanishes."""
        held = [f.tensor for f in given if not f.live and self.graph.depends(f.tensor)]
        nothing = held if op.kind == "mul" and not function else []  # steps that are masked out take nothing
        # and neither does a zero of which a function makes something else
        of_zero = op.row.form != "linear" and live[0].tensor.dtype.is_floating and not self._says_where(op.outputs[0])

        def kept(made: Made) -> Tensor:
            mask = _spread(made, live[0], op.outputs[0].shape)
            for t in nothing:
                mask = ops.where(made.value(t) != 0, mask, 0.0)
            if of_zero:
                made_of_nothing = ops.logical_and(made.value(live[0].tensor) == 0, made.value(op.outputs[0]) != 0)
                mask = ops.where(made_of_nothing, 0.0, mask)
            return mask

        bounds = op.kind == "select" or function or (op.row.form in ("linear", "choice") and not held)
        bounds &= not self._has_pole(op, given)
        return self._hand(op, given, live, kept, _ONE_TO_ONE, bounds=bounds)

    def _repeated(
        self, op: Op, index: int, given: list[Fact], live: list[Fact], inside: bool, kernel: int | None
    ) -> Step:
        """By the operation itself, done to the masks: what moves data, averages it, or takes the largest of it."""
        data = set(range(len(given))[op.row.data]) - {kernel}
        aside = any(self.graph.depends(f.tensor) for i, f in enumerate(given) if i not in data)

        def of_masks(made: Made, mean: bool = False) -> Tensor:
            def outputs() -> Sequence[Tensor]:
                inputs = [
                    made.value(f.tensor) if i not in data
                    else made.companion(f.tensor).mask if f.live
                    else ops.zeros_like(f.tensor, dtype="float32")
                    for i, f in enumerate(given)
                ]  # fmt: skip
                return backend.repeat(op.raw, inputs, mean)

            return made.once((op.number, mean), outputs)[index]

        def moved(made: Made) -> Tensor:
            if op.kind != "topk":
                return of_masks(made)
            # by the order of the values
            return ops.take_along_axis(made.companion(live[0].tensor).mask, made.value(op.outputs[1]), -1)

        def averaged(made: Made) -> Tensor:
            return normalised(of_masks(made, mean=True))

        if op.kind in PRODUCTS or (op.row.mask == "moved" and op.kind != "scatternd"):  # that sums what comes together
            bounds = op.kind in ("select", "topk") or not aside
            return self._hand(op, given, live, moved, _AS_IT_IS, bounds=bounds)
        if op.row.mask != "winner" or inside:
            # An average lies within the bounds of its window.
            bounds = op.row.sign is not None
            return self._hand(op, given, live, averaged, "equal parts to the window", inside, bounds)
        return self._hand(op, given, live, lambda made: _winner(made, op, live), _WINNER, False, True)


def _spread(made: Made, fact: Fact, shape: Sequence[int]) -> Tensor:
    mask = made.companion(fact.tensor).mask
    return mask if mask.shape == shape else ops.broadcast_to(mask, shape)


def _winner(made: Made, op: Op, of: Sequence[Fact]) -> Tensor:
    # Of x + u - [u], which is x, the gradient with regard to u is that of the maximum: one, at the winner.
    masks = {id(f.tensor): made.companion(f.tensor).mask for f in of}
    inputs = [t if (u := masks.get(id(t))) is None else made.value(t) + (u - stop_gradient(u)) for t in op.inputs]
    best = backend.repeat(op.raw, inputs)[0]
    return straight_through(best, ops.ones_like(best))


def _contributed(made: Made, op: Op, of: Sequence[Fact]) -> Tensor:
    """Of integers, which have no gradient: as the gradient of the same sum of floats is."""
    data = {id(f.tensor) for f in of}
    inputs = [
        ops.cast(made.value(t), "float32") * (made.companion(t).mask if id(t) in data else 1.0)
        if i in range(len(op.inputs))[op.row.data] else t
        for i, t in enumerate(op.inputs)
    ]  # fmt: skip
    return normalised(backend.repeat(op.raw, inputs)[0])
