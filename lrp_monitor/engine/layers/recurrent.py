"""LSTM, GRU, SimpleRNN and RNN of Keras' own cells: gates are constant, relevance follows the signal.

The loop over time is unrolled with the layer's own weights. At each step

* a product ``gate * signal`` passes all its relevance to the signal ("signal takes all"): the gate is a constant;
* the sums ``c_t = f c_{t-1} + i g`` (LSTM) and ``h_t = z h_{t-1} + (1 - z) g`` (GRU) share by contribution;
* the map ``z = x W + h U + b`` of the signal takes the composite's rule for dense layers, on the contributions of
  x and h together, with the bias in the denominator; its activation passes relevance one to one.

Source: Arras et al. 2017 ("Explaining Recurrent Neural Network Predictions in Sentiment Analysis"), weighted
connections and multiplicative interactions; Arras et al. 2019 ("Explaining and Interpreting LSTMs"), rule LRP-all.
Here the stabiliser stands in the weighted maps alone: the sums of states share by plain contribution.

An input rule (flat, w2, zB), where the layer is the first weighted one, says how the part of z that came from x is
shared out *within* x: how much came from x and how much from h is told by the rule for dense layers. So the earlier
steps keep the share that is theirs.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import keras
from keras import layers as kl
from keras import ops

from lrp_monitor.engine import activations
from lrp_monitor.engine.affine import Affine, Companion
from lrp_monitor.engine.backend import Tensor, stop_gradient
from lrp_monitor.engine.layers.common import Original, Treatment, as_float32
from lrp_monitor.engine.rules import Gradient, Pass, Rule

if TYPE_CHECKING:
    from lrp_monitor.engine.trace import Trace

_CELLS = (kl.LSTMCell, kl.GRUCell, kl.SimpleRNNCell, kl.StackedRNNCells)
_UNIT_INTERVAL = ("sigmoid", "hard_sigmoid")


def _known_cell(cell: Any) -> bool:
    """Whether ``cell`` computes what Keras' own cells compute."""
    if isinstance(cell, kl.StackedRNNCells):
        return type(cell).call is kl.StackedRNNCells.call and all(_known_cell(part) for part in cell.cells)
    return any(isinstance(cell, base) and type(cell).call is base.call for base in _CELLS)


def known(layer: Any) -> bool:
    """Whether ``layer`` is a recurrent layer of Keras, or a subclass that computes the same."""
    for base in (kl.LSTM, kl.GRU, kl.SimpleRNN, kl.RNN):
        if isinstance(layer, base):
            same = type(layer).call is base.call and type(layer).inner_loop is base.inner_loop
            return same and _known_cell(layer.cell)
    return False


@dataclass(frozen=True)
class _Signal:
    """The weighted map of a step that the signal is made of: ``z = x W + b + factor (h U)``."""

    trace: Trace
    kernel: Tensor
    recurrent: Tensor
    rule: Rule
    input_rule: Rule | None
    """Set where x is the model's input and the rule for it is one for inputs alone."""

    def __call__(
        self, x: Tensor, h: Tensor, companion: Companion | None, *, bias: Tensor | None,
        non_negative: bool, factor: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        source, kernel, width = x, self.kernel, x.shape[-1]
        if self.input_rule is not None:
            # First the part that came from x as a whole (a kernel of ones on its diagonal), then within x.
            part = Affine(
                x=x, weights=lambda: self.kernel, bias=None, lin=ops.matmul, scale_kernel=_scale_last,
                one_output=lambda k: k[:, :1], companion=companion,
            )  # fmt: skip
            source, width = self.trace.apply(part, self.input_rule), self.kernel.shape[-1]
            kernel, non_negative = ops.ones_like(self.kernel[:1]), False

        def lin(value: Tensor, weights: Tensor) -> Tensor:
            if self.input_rule is not None:
                of_x = value[:, :width] * weights[:1]
            else:
                of_x = ops.matmul(value[:, :width], weights[:width])
            of_h = ops.matmul(value[:, width:], weights[kernel.shape[0] :])
            return of_x + (of_h if factor is None else factor * of_h)

        joined = ops.concatenate([kernel, self.recurrent], axis=0)
        affine = Affine(
            x=ops.concatenate([source, h], axis=-1), weights=lambda: joined,
            bias=bias, lin=ops.matmul if self.input_rule is None and factor is None else lin,
            scale_kernel=_scale_last, channel_axis=1, non_negative_input=non_negative,
        )  # fmt: skip
        return self.trace.apply(affine, self.rule)


def _scale_last(kernel: Tensor, g: Tensor) -> Tensor:
    return kernel * g


class _Cell(ABC):
    """One cell with its weights in float32, stepping through surrogates."""

    signal: ClassVar[int]
    """Which block of the kernels makes the signal; the others make gates."""

    def __init__(self, trace: Trace, cell: Any, rule: Rule, input_rule: Rule | None) -> None:
        self.trace, self.cell = trace, cell
        names = [activations.name_of(getattr(cell, part, None)) for part in ("activation", "recurrent_activation")]
        # A state that starts at or above zero stays there: each new one is a sum of terms that do.
        self.keeps_sign = names[0] in activations.NON_NEGATIVE and (
            isinstance(cell, kl.SimpleRNNCell) or names[1] in _UNIT_INTERVAL
        )
        kernel, recurrent = as_float32(cell.kernel), as_float32(cell.recurrent_kernel)
        bias = None if cell.bias is None else as_float32(cell.bias)
        signal, units = self.signal, cell.units
        parts = kernel.shape[-1] // units

        def split(value: Tensor) -> list[Tensor]:
            return ops.split(value, parts, axis=-1)

        of_x, of_h = split(kernel), split(recurrent)
        self.bias = None if bias is None else split(bias)[signal]
        self.map = _Signal(trace, of_x[signal], of_h[signal], rule, input_rule)
        gates = [index for index in range(parts) if index != signal]
        self.gate_weights = [ops.concatenate([of_x[index], of_h[index]], axis=0) for index in gates]
        # GRU with reset_after has one bias for x and one for h, (2, units); in its gates they are only ever added.
        self.gate_biases = [
            0.0 if bias is None else ops.sum(ops.reshape(split(bias)[index], (-1, units)), axis=0) for index in gates
        ]

    def gates(self, x: Tensor, h: Tensor) -> list[Tensor]:
        """The values of the gates, which are constants to relevance."""
        both = stop_gradient(ops.concatenate([x, h], axis=-1))
        return [
            stop_gradient(self.cell.recurrent_activation(ops.matmul(both, weights) + bias))
            for weights, bias in zip(self.gate_weights, self.gate_biases, strict=True)
        ]

    def activate(self, z: Tensor) -> Tensor:
        return self.trace.activate(self.cell, z, self.cell.activation)

    @abstractmethod
    def step(
        self, x: Tensor, states: Sequence[Tensor], companion: Companion | None, non_negative: bool
    ) -> list[Tensor]:
        """The states after one step, the output first. ``non_negative``: neither x nor h is ever below zero."""


class _LSTM(_Cell):
    signal = 2  # i, f, c, o

    def step(
        self, x: Tensor, states: Sequence[Tensor], companion: Companion | None, non_negative: bool
    ) -> list[Tensor]:
        h, c = states
        i, f, o = self.gates(x, h)
        z = self.map(x, h, companion, bias=self.bias, non_negative=non_negative)
        c = f * c + i * self.activate(z)
        return [o * self.activate(c), c]


class _GRU(_Cell):
    signal = 2  # z, r, h

    def step(
        self, x: Tensor, states: Sequence[Tensor], companion: Companion | None, non_negative: bool
    ) -> list[Tensor]:
        (h,) = states
        update, reset = self.gates(x, h)
        if self.cell.reset_after:
            bias = None if self.bias is None else self.bias[0] + reset * self.bias[1]
            z = self.map(x, h, companion, bias=bias, non_negative=non_negative, factor=reset)
        else:
            z = self.map(x, reset * h, companion, bias=self.bias, non_negative=non_negative)
        return [update * h + (1.0 - update) * self.activate(z)]


class _Simple(_Cell):
    signal = 0

    def step(
        self, x: Tensor, states: Sequence[Tensor], companion: Companion | None, non_negative: bool
    ) -> list[Tensor]:
        return [self.activate(self.map(x, states[0], companion, bias=self.bias, non_negative=non_negative))]


def _kind(cell: Any) -> type[_Cell]:
    return _LSTM if isinstance(cell, kl.LSTMCell) else _GRU if isinstance(cell, kl.GRUCell) else _Simple


def _flat_cells(cell: Any) -> list[Any]:
    if isinstance(cell, kl.StackedRNNCells):
        return [inner for part in cell.cells for inner in _flat_cells(part)]
    return [cell]


def _why_not(layer: Any, x: Tensor, training: Any) -> str | None:
    if not known(layer):
        return "it or its cell is not one of Keras' own; write its step with treated layers, or name Gradient() for it"
    if x.shape[1] is None:
        return (
            "the number of time steps is not known when the model is traced, and the loop is unrolled over them; "
            "give the model's Input its length, or pad or crop to a fixed length in front of this layer"
        )
    for cell in _flat_cells(layer.cell):
        drops = cell.dropout or cell.recurrent_dropout
        name = activations.name_of(cell.activation)
        if name != "linear" and (name is None or not activations.is_elementwise(name)):
            return f"its activation {_shown(cell.activation)} is not one that is known to map each element by itself"
        if isinstance(cell, kl.GRUCell) and cell.reset_after:
            gate = activations.name_of(cell.recurrent_activation)
            if gate not in activations.NON_NEGATIVE:
                return (
                    f"its reset gate can be negative (recurrent_activation={_shown(cell.recurrent_activation)}), which "
                    "turns contributions round behind the matrix; use reset_after=False, or a sigmoid"
                )
        if training is True and drops:
            return "it is called with training=True and drops at random; call it without"
    return None


def _shown(function: Any) -> str:
    return repr(getattr(function, "__name__", function))


def _rules(trace: Trace, layer: Any, cell: Any, outer: Sequence[Any], first: bool) -> tuple[Rule, Rule | None]:
    """The rule of the step's map, and the rule within x where that is one for inputs alone."""
    for owner in (cell, layer, *outer):
        rule = trace.composite.override(owner)
        if rule is not None:
            break
    else:
        rule = trace.composite.rule_for(layer, "dense", first)
    if isinstance(rule, Pass) or (rule.input_only and not first):
        needs = "is for elementwise layers" if isinstance(rule, Pass) else "is for the first weighted layer alone"
        trace.refuse(layer, f"rule {rule!r} {needs}; name another rule for it")
        return Gradient(), None
    return (trace.composite.dense, rule) if rule.input_only else (rule, None)


def _by_step(companion: Companion | None, steps: int) -> list[Companion | None]:
    if companion is None:
        return [None] * steps
    start = companion

    def at(t: int, mask: Tensor) -> Companion:
        return Companion(mask, lambda bound: start.bounds(bound)[:, t])

    return [at(t, mask) for t, mask in enumerate(ops.unstack(start.mask, steps, axis=1))]


def recurrent(
    trace: Trace, layer: Any, original: Original, args: tuple[Any, ...], kwargs: dict[str, Any],
    outer: Sequence[Any] = (),
) -> Any:  # fmt: skip
    """A recurrent layer; ``outer`` are the wrappers around it, whose overrides count for it too."""
    given = inspect.signature(original).bind(*args, **kwargs).arguments
    named = next((rule for owner in (layer, *outer) if (rule := trace.composite.override(owner)) is not None), None)
    why = _why_not(layer, given["sequences"], given.get("training"))
    whole = isinstance(named, Gradient)
    if layer.stateful and (whole or why is not None):
        # Said whatever on_unknown is: run as a whole, the layer begins where the batch before left its states.
        trace.problems.append(
            f"layer {trace.path_of(layer)!r} ({type(layer).__name__}): it is stateful, so its output hangs on what it "
            "saw before; copy the weights into the same model with stateful=False"
        )
    elif not whole and why is None:
        if layer.stateful:
            trace.notes.append(
                f"layer {trace.path_of(layer)!r} is stateful: explained is the model as after reset_state(), and its "
                "states stay as they are"
            )
        return _unrolled(trace, layer, given, outer)
    if whole:
        trace.note_row(layer, "plain gradient (named)")
    elif why is not None:
        trace.refuse(layer, why)
    with trace.as_a_whole():
        return original(*args, **kwargs)


def _unrolled(trace: Trace, layer: Any, given: dict[str, Any], outer: Sequence[Any]) -> Any:
    x = trace.attach(given["sequences"])
    companion = trace.companion_of(x)
    if companion is not None:
        trace.first_layers += 1
    cells = []
    for index, cell in enumerate(_flat_cells(layer.cell)):
        rule, input_rule = _rules(trace, layer, cell, outer, companion is not None and index == 0)
        cells.append(_kind(cell)(trace, cell, rule, input_rule))
        inside = "" if input_rule is None else f"{input_rule!r} within x, "
        row = f"gates constant; {inside}{rule!r} on the map of the signal"
        trace.note_row(layer, row if layer.cell is cell else f"cell {index} ({type(cell).__name__}): {row}")

    structure = given.get("initial_state")
    if structure is None:
        structure = layer.get_initial_state(batch_size=x.shape[0])
    structure = list(structure) if isinstance(structure, list | tuple) else [structure]
    states = [as_float32(state) for state in keras.tree.flatten(structure)]
    bounds = [0]  # which states belong to which cell
    for one in cells:
        bounds.append(bounds[-1] + (2 if isinstance(one, _LSTM) else 1))
    spans = list(pairwise(bounds))
    signs = [
        trace.is_non_negative(states[start]) and one.keeps_sign for one, (start, _) in zip(cells, spans, strict=True)
    ]
    below = [trace.is_non_negative(x), *signs]

    mask = given.get("mask")
    if isinstance(mask, list | tuple):
        mask = mask[0]
    if mask is not None:
        mask = ops.reshape(ops.cast(mask, "bool"), (-1, x.shape[1], 1))

    outputs: list[Tensor] = []
    steps = range(x.shape[1])
    # Unstacked rather than sliced: the gradient of T slices is T tensors of the whole sequence's size.
    parts, companions = ops.unstack(x, len(steps), axis=1), _by_step(companion, len(steps))
    for t in reversed(steps) if layer.go_backwards else steps:
        output, first = parts[t], companions[t]
        after: list[Tensor] = []
        for index, (one, (start, stop)) in enumerate(zip(cells, spans, strict=True)):
            after += one.step(output, states[start:stop], first, below[index] and signs[index])
            output, first = after[start], None
        if mask is not None:  # a step that is masked out leaves the states as they are
            here = mask[:, t]
            kept = ops.zeros_like(output) if layer.zero_output_for_mask or not outputs else outputs[-1]
            output = ops.where(here, output, kept)
            after = [ops.where(here, new, old) for new, old in zip(after, states, strict=True)]
        outputs.append(output)
        states = after
    result = ops.stack(outputs, axis=1) if layer.return_sequences else outputs[-1]
    if layer.return_state:
        return (result, *keras.tree.pack_sequence_as(structure, states))
    return result


TREATMENTS: dict[type, Treatment] = dict.fromkeys((kl.LSTM, kl.GRU, kl.SimpleRNN, kl.RNN), recurrent)
