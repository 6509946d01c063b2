"""What is known about the tensors of one call of a model, and what treatments of layers may ask and tell."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from keras import ops

from lrp_monitor.engine import activations, backend, front, prefix
from lrp_monitor.engine.affine import Affine, Companion
from lrp_monitor.engine.backend import Tensor
from lrp_monitor.engine.composites import Composite
from lrp_monitor.engine.record import Recorder
from lrp_monitor.engine.rules import Rule


@dataclass(frozen=True)
class Row:
    """One line of the table that tells how a layer of this model was treated."""

    layer: str
    kind: str
    treatment: str


@dataclass
class Trace:
    """What is known about the tensors of one call of the model while it runs under trace."""

    model: Any
    composite: Composite
    on_unknown: str
    sources: tuple[Tensor, ...]
    """The model's inputs, each times its companion mask."""
    paths: Mapping[int, str] = field(default_factory=dict)
    """The path of every layer inside the model by its id (record.layer_paths)."""
    rows: list[Row] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    first_layers: int = 0
    recorder: Recorder | None = None
    """Records what passes through each layer, where that was asked for."""
    prefix: frozenset[tuple[int, int]] = frozenset()
    """The calls of layers that lie in the prefix of the composite's ``until``: layer's id, number of the call."""
    in_prefix: bool = False
    """Whether the layer that runs now lies in the prefix."""
    raw_masks: dict[int, Tensor | None] = field(default_factory=dict)
    """The masks at raw tensors of the prefix, as far as they were asked for."""
    fronts: dict[tuple[bool, int], front.Front | None] = field(default_factory=dict)
    """What raw operations made of the input in front of all weights, in the prefix or not, by the tensor's id."""
    muted: bool = False
    """Inside a layer that is taken (or refused) as a whole: its parts run as they are."""
    _companions: dict[int, Companion] = field(default_factory=dict)
    # Tensors behind a weighted layer of the prefix: only what lies in the prefix itself sees their masks.
    _inner: set[int] = field(default_factory=set)
    _calls: dict[int, int] = field(default_factory=dict)
    _affines: dict[int, tuple[Affine, Rule]] = field(default_factory=dict)
    _heads: dict[int, tuple[str, Tensor]] = field(default_factory=dict)
    _non_negative: set[int] = field(default_factory=set)
    _steps: dict[int, Tensor] = field(default_factory=dict)
    # An id is only good for as long as its tensor lives.
    _alive: list[Tensor] = field(default_factory=list)

    # --- what a treatment may ask and tell ---

    def companion_of(self, x: Tensor) -> Companion | None:
        """The companion mask of ``x`` where x is the model's input behind preprocessing (or its prefix) alone."""
        known = self._companions.get(id(x))
        if known is not None:
            return known if self.in_prefix or id(x) not in self._inner else None
        found = self._front_of(x)
        if found is not None:
            return found.companion
        if self.in_prefix and backend.is_tensor(x):
            with backend.treated():
                mask = prefix.mask_behind(self, x)
            if mask is not None:
                self.set_inner(x, prefix.companion(mask))
        return self._companions.get(id(x))

    def beside(self, x: Tensor) -> Companion | None:
        """The companion mask that takes relevance in place of ``x`` itself, also inside the prefix."""
        return self._companions.get(id(x)) or self.companion_of(x)

    def mask_at(self, x: Tensor) -> Tensor | None:
        """The mask that is recorded for this very tensor."""
        known = self._companions.get(id(x))
        return None if known is None else known.mask

    def set_inner(self, x: Tensor, companion: Companion) -> None:
        """Record the mask that stands for ``x`` inside the prefix."""
        self.set_companion(x, companion)
        self._inner.add(id(x))

    def is_inner(self, x: Tensor) -> bool:
        """Whether ``x`` lies in the prefix behind more than preprocessing."""
        return id(x) in self._inner

    @contextlib.contextmanager
    def calling(self, layer: Any) -> Iterator[None]:
        """Count a call of ``layer`` and tell whether it lies in the prefix, while it runs."""
        number = self._calls[id(layer)] = self._calls.get(id(layer), -1) + 1
        before, self.in_prefix = self.in_prefix, (id(layer), number) in self.prefix
        try:
            yield
        finally:
            self.in_prefix = before

    def keep(self, x: Tensor) -> None:
        """Keep ``x`` alive, whose id is a key."""
        self._alive.append(x)

    def outer_companion(self, x: Tensor) -> Companion | None:
        """The mask that is recorded for this very tensor where it lies in front of all weights."""
        return None if id(x) in self._inner else self._companions.get(id(x))

    def _front_of(self, x: Tensor) -> front.Front | None:
        """What raw operations made of the input in front of all weights."""
        if not backend.is_tensor(x):
            return None
        with backend.treated():
            return front.behind(self, x)

    def depends_on_input(self, x: Tensor) -> bool:
        """Whether ``x`` was computed from any input of the model."""
        return any(backend.depends_on(x, source) for source in self.sources)

    def is_known(self, x: Tensor) -> bool:
        """Whether something is recorded of this very tensor, which another of the same value would not have."""
        by_id = (self._affines, self._heads, self._steps)
        return any(id(x) in known for known in by_id) or self.companion_of(x) is not None

    def attach(self, x: Tensor) -> Tensor:
        """``x`` itself, or, where raw scaling and shifting lies between the input and x, x with the mask behind it."""
        found = None if id(x) in self._companions else self._front_of(x)
        if found is None:
            return x
        self.set_companion(found.tensor, found.companion)
        return found.tensor

    def set_companion(self, x: Tensor, companion: Companion) -> None:
        """Record that ``x`` is the model's input behind preprocessing, movement and pooling alone."""
        self._companions[id(x)] = companion
        self.keep(x)

    def is_non_negative(self, x: Tensor) -> bool:
        """Whether no value of ``x`` can be below zero, as far as the graph tells."""
        return backend.known_non_negative(x, self._non_negative)

    def path_of(self, layer: Any) -> str:
        """The layer's path inside the model, by which inspection, overrides and until know it, too."""
        return self.paths.get(id(layer)) or layer.name

    def note_row(self, layer: Any, treatment: str) -> None:
        """Add ``layer`` to the table of treatments."""
        self.rows.append(Row(self.path_of(layer), type(layer).__name__, treatment))

    def note_operation(self, name: str, kind: str, treatment: str) -> None:
        """Add a raw operation to the table of treatments."""
        self.rows.append(Row(name, kind, treatment))

    def refuse(self, layer: Any, why: str) -> None:
        """Record that ``layer`` cannot be treated, or, with on_unknown="gradient", that the gradient passes there."""
        if self.on_unknown == "gradient":
            self.note_row(layer, "plain gradient (no rule)")
        self.refuse_operation(f"layer {self.path_of(layer)!r} ({type(layer).__name__}): {why}")

    def refuse_operation(self, problem: str) -> None:
        """Record a problem in words, or, with on_unknown="gradient", that the gradient passes there."""
        if self.on_unknown == "gradient":
            self.notes.append(f"plain gradient at {problem}")
        else:
            self.problems.append(problem)

    @contextlib.contextmanager
    def as_a_whole(self) -> Iterator[None]:
        """Run a layer without treating the layers inside it."""
        before, self.muted = self.muted, True
        try:
            yield
        finally:
            self.muted = before

    def apply(self, affine: Affine, rule: Rule) -> Tensor:
        """The output of a weighted map, behind its ReLU where it is rectified; the rule's surrogate is its gradient."""
        if self.recorder is not None:
            affine = self.recorder.tapped(affine)
        if self.in_prefix and affine.companion is not None:
            output = prefix.share_out(self, affine, rule)
            self._affines[id(output)] = (affine, rule)  # for a normalisation to fold that follows the last layer
            if self.recorder is not None:
                self.recorder.made(affine, output)
            return output
        made = affine.companion
        sources = [affine.x] if made is None else [affine.x, made.mask]

        def surrogate(shapes: Sequence[Tensor], copies: Sequence[Tensor], value: Tensor) -> Tensor:
            mask = copies[1] if len(copies) > 1 else None
            return rule.surrogate(affine.reversed(copies[0], mask, value, shape_of_x=shapes[0]))

        output = backend.deferred(affine.output(), sources, surrogate, rectified=affine.rectified)
        if not affine.rectified:
            self._affines[id(output)] = (affine, rule)
        if self.recorder is not None:
            self.recorder.made(affine, output)
        self._alive.append(output)
        return output

    def affine_of(self, z: Tensor) -> tuple[Affine, Rule] | None:
        """The weighted map and the rule that made ``z``, None where none did."""
        return self._affines.get(id(z))

    def activate(self, layer: Any, z: Tensor, activation: Any) -> Tensor:
        """The activation of ``z``, through which relevance passes."""
        if self.in_prefix and self.companion_of(z) is not None:
            return prefix.activate(self, layer, z, activation)
        name = activations.name_of(activation)
        if name == "linear":
            return z
        if name in ("softmax", "log_softmax"):
            # At the output the explanation starts at the logits; elsewhere the softmax keeps its own gradient
            # (AttnLRP, Achtibat et al. 2024, the rule for the softmax).
            y = activation(z)
            self.remember_head("softmax", z, y)
            return y
        if name is None or not activations.is_elementwise(name):
            with backend.untreated():  # its operations are looked at one by one
                return activation(z)
        if name == "relu":
            made = self._affines.get(id(z))
            y = activation(z) if made is None else self.apply(made[0].rectify(), made[1])
        else:
            y = activations.pass_through(z, activation, zero_below=name in activations.ZERO_BELOW)
        if name == "sigmoid":
            self.remember_head("sigmoid", z, y)
        if name in activations.NON_NEGATIVE:
            self.know_non_negative(y)
        return y

    def know_non_negative(self, y: Tensor) -> None:
        """Record that no value of ``y`` is below zero."""
        self._non_negative.add(id(y))
        self._alive.append(y)

    def remember_head(self, kind: str, z: Tensor, y: Tensor) -> None:
        """Record that ``y`` is the softmax or sigmoid of ``z``."""
        self._heads[id(y)] = (kind, z)
        self._alive.append(y)

    def part_steps(self, y: Tensor, steps: int) -> Tensor:
        """``y``, whose samples are all time steps of all samples, with time as an axis of its own."""
        output = ops.reshape(y, (-1, steps, *y.shape[1:]))
        self._steps[id(output)] = y
        self._alive.append(output)
        if id(y) in self._heads:
            kind, z = self._heads[id(y)]
            self.remember_head(kind, ops.reshape(z, (-1, steps, *z.shape[1:])), output)
        return output

    def steps_of(self, x: Tensor) -> Tensor | None:
        """``x`` with all time steps as samples, where a layer applied to every step made it."""
        return self._steps.get(id(x))

    def head_of(self, y: Tensor) -> tuple[str | None, Tensor]:
        """The softmax or sigmoid behind which ``y`` lies and its logits; (None, y) where there is none."""
        return self._heads.get(id(y)) or backend.output_activation(y) or (None, y)
