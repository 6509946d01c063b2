"""Raw operations between layers: what a subclassed ``call``, a Lambda or an operator in a functional model computes.

Most of them are homogeneous, and there the plain gradient carries relevance. The others are taken to be what the layer
of the same meaning is, however they are written, since they are read off the traced graph:

* a function of each element by itself (``gelu(h)``, ``h * sigmoid(h)``, ``clip(h, 0, 6)``) has one input alone, which
  takes all relevance: factor ``y / h`` on the gradient, as behind an Activation layer;
* a product of two activations (also a matrix product) is shared as the composite's ``product`` says, as by Multiply;
* a softmax keeps its own gradient (Achtibat et al. 2024, the rule for the softmax).

A layer that reads what raw operations made is given it *settled*: of the same value, with the gradient so set right.
What is none of these stays as it is, and the audit refuses it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import keras

from lrp_monitor.engine import activations, backend
from lrp_monitor.engine.audit import is_passable
from lrp_monitor.engine.backend import PIECEWISE_CONSTANT, TREATED_SCOPE, RawOperation, Tensor
from lrp_monitor.engine.layers.products import share_product
from lrp_monitor.engine.replay import constant_value, replay

if TYPE_CHECKING:
    from lrp_monitor.engine.trace import Trace

# Functions of one element that do not vanish with it in proportion, and pass relevance by themselves ...
_FUNCTIONS = frozenset(
    {"Elu", "Erf", "Erfc", "Expm1", "Pow", "Relu6", "Selu", "Sigmoid", "Softplus", "Softsign", "Square", "Tanh"}
)
# ... and those that only do so as a part of a longer formula: alone they are signs of a normalisation made by hand.
_PARTS = frozenset({"Exp", "Inv", "Log", "Log1p", "Reciprocal", "Rsqrt", "Sqrt"})
# Elementwise and homogeneous, but bent.
_BENT = frozenset({"Abs", "LeakyRelu", "Relu"})
_LINEAR = frozenset({"Add", "AddV2", "Cast", "Identity", "Mul", "Neg", "RealDiv", "Snapshot", "Sub"})
_CHOICES = frozenset({"Maximum", "Minimum", "Select", "SelectV2"})
_COMPARISONS = frozenset(
    {"Equal", "Greater", "GreaterEqual", "Less", "LessEqual", "LogicalAnd", "LogicalNot", "LogicalOr", "NotEqual"}
)
_ELEMENTWISE = _FUNCTIONS | _PARTS | _BENT | _LINEAR | _CHOICES | _COMPARISONS
_PRODUCTS = frozenset({"BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum", "MatMul", "Mul"})


@dataclass(frozen=True)
class _Known:
    """What is known of a tensor."""

    tensor: Tensor
    """The tensor as relevance passes it."""
    live: bool
    """Whether relevance runs through it to the model's input."""
    root: Tensor | None
    """The tensor, as relevance passes it, of which elementwise operations and numbers alone made this.

    None where this is a number."""
    bent: bool = False
    """Whether the way from the root is not a straight line."""
    shifted: bool = False
    """Whether the way from the root is not homogeneous."""


@dataclass
class RawOperations:
    """Settles raw operations of one trace."""

    trace: Trace
    replayed: dict[str, Any] = field(default_factory=dict)
    """Name of an operation made again -> the operation that it stands for."""
    _known: dict[int, _Known] = field(default_factory=dict)
    _alive: list[Tensor] = field(default_factory=list)
    _dependent: dict[int, bool] = field(default_factory=dict)

    def settle(self, structure: Any) -> Any:
        """Every tensor of real numbers in ``structure`` settled."""
        return keras.tree.map_structure(
            lambda value: self._settled(value) if backend.is_float_tensor(value) else value, structure
        )

    def fix(self, structure: Any) -> Any:
        """``structure``, whose tensors are from now on taken as they are: the border of a layer."""
        for value in keras.tree.flatten(structure):
            if backend.is_float_tensor(value):
                self._learn(value, _Known(value, self._depends(value), value))
        return structure

    def _depends(self, tensor: Tensor) -> bool:
        """Whether ``tensor`` was computed from any input of the model; asked of every layer, so kept by operation."""
        known = self._dependent
        if not known:
            known.update((id(source.op), True) for source in self.trace.sources)
        stack = [tensor.op]
        while stack:
            op = stack[-1]
            if id(op) in known:
                stack.pop()
                continue
            sources = [source.op for source in op.inputs]
            waiting = [source for source in sources if id(source) not in known]
            if waiting:
                stack += waiting
            else:
                known[id(op)] = any(known[id(source)] for source in sources)
                stack.pop()
        return known[id(tensor.op)]

    def original(self, operation: RawOperation) -> RawOperation:
        """``operation`` under the name and call site of that for which it was made again."""
        op = self.replayed.get(operation.name)
        return operation if op is None else replace(operation, name=op.name, call_site=backend.call_site(op))

    def _learn(self, tensor: Tensor, known: _Known) -> None:
        self._known[id(tensor)] = known
        # What is settled must not be settled again.
        self._known.setdefault(id(known.tensor), known)
        self._alive += [tensor, known.tensor]

    def _settled(self, x: Tensor) -> Tensor:
        if TREATED_SCOPE in x.op.name:
            return x
        stack = [x]
        while stack:
            t = stack[-1]
            if id(t) in self._known:
                stack.pop()
                continue
            if TREATED_SCOPE in t.op.name or not t.op.inputs or any(t is source for source in self.trace.sources):
                self._learn(t, self._border(t))
                stack.pop()
                continue
            waiting = [source for source in t.op.inputs if id(source) not in self._known]
            if waiting:
                stack += waiting
                continue
            given = [self._known[id(source)] for source in t.op.inputs]
            for index, output in enumerate(t.op.outputs):
                if id(output) not in self._known:
                    self._learn(output, self._of(t.op, index, given))
            stack.pop()
        made = self._known[id(x)].tensor
        mask = getattr(x, "_keras_mask", None)
        if made is not x and mask is not None:
            made._keras_mask = mask
        return made

    def _border(self, t: Tensor) -> _Known:
        live = backend.is_float_tensor(t) and self._depends(t)
        return _Known(t, live, None if not live and constant_value(t) is not None else t)

    def _of(self, op: Any, index: int, given: list[_Known]) -> _Known:
        """What is known of an output of a raw operation."""
        t = op.outputs[index]
        if op.type == "IdentityN":  # a gradient of the framework's own hangs on it, which is none of ours
            return given[index]
        live = [known for known in given if known.live]
        number = constant_value(t)
        if not live and number is not None:
            return _Known(t, False, None)
        way = self._way(op, given)
        if op.type in PIECEWISE_CONSTANT or not live or not t.dtype.is_floating:
            return _Known(t, False, t if way is None else way.root)
        if way is not None and self._is_function(op, way, live):
            return self._passed(op, t, way)
        if op.type in _FUNCTIONS and (op.type != "Pow" or (given[0].live and given[1].root is None)):
            return self._passed(op, t, given[0], way)
        if op.type in _PRODUCTS and len(live) == 2:
            return self._shared(op, t, given)
        made = self._again(op, index, given)
        if op.type in ("Softmax", "LogSoftmax"):
            self.trace.remember_head("softmax", given[0].tensor, made)
        if op.type == "Relu" and self.trace.affine_of(given[0].tensor) is not None:
            with backend.treated():
                made = self.trace.activate(None, given[0].tensor, keras.activations.relu)
        if way is None or way.root is None:
            return _Known(made, True, made)
        return _Known(made, True, way.root, way.bent, way.shifted)

    def _way(self, op: Any, given: list[_Known]) -> _Known | None:
        """The way to the output from the one root of all inputs; None where they have not one alone."""
        if op.type not in _ELEMENTWISE:
            return None
        roots = [known.root for known in given if known.root is not None]
        shape = op.outputs[0].shape
        if not roots or any(root is not roots[0] for root in roots) or roots[0].shape != shape:
            return None
        data = given[1:] if op.type in ("Select", "SelectV2") else given
        numbers = [known for known in data if known.root is None]
        many = sum(known.live for known in data) > 1
        adds = op.type in ("Add", "AddV2", "Sub") or op.type in _CHOICES
        shifts = adds and any(constant_value(known.tensor) != 0 for known in numbers)
        curved = op.type in ("Mul", "RealDiv") and (many or (op.type == "RealDiv" and given[1].root is not None))
        inhomogeneous = op.type in _FUNCTIONS or op.type in _PARTS or curved
        return _Known(
            op.outputs[0], True, roots[0],
            bent=inhomogeneous or op.type in _BENT or op.type in _CHOICES or any(known.bent for known in given),
            shifted=inhomogeneous or shifts or any(known.shifted for known in data),
        )  # fmt: skip

    def _is_function(self, op: Any, way: _Known, live: list[_Known]) -> bool:
        """Whether here ends a formula that maps each element of its root by itself and is not homogeneous."""
        if not (way.bent and way.shifted):
            return False
        if op.type in ("Maximum", "Minimum"):
            limits = [number for number in map(constant_value, op.inputs) if number is not None]
            return len(live) > 1 or any(number != 0 for number in limits)
        if op.type == "RealDiv":
            return self._known[id(op.inputs[0])].live and self._known[id(op.inputs[1])].root is not None
        return op.type in ("Relu6", "Select", "SelectV2") or (len(live) > 1 and op.type in _LINEAR)

    def _passed(self, op: Any, t: Tensor, source: _Known, way: _Known | None = None) -> _Known:
        """An elementwise function of ``source`` (of its root where it is a way)."""
        z = source.root if way is None else source.tensor
        with backend.treated():
            made = activations.pass_through(z, lambda _: t)
        self.trace.note_operation(op.name, op.type, "relevance passes the activation")
        if op.type == "Sigmoid":
            self.trace.remember_head("sigmoid", z, made)
        self._mark(t, made)
        way = source if way is None else way
        return _Known(made, True, way.root, way.bent, way.shifted)

    def _shared(self, op: Any, t: Tensor, given: list[_Known]) -> _Known:
        with backend.treated():
            factors, treatment = share_product(self.trace, [known.tensor for known in given])
            made = replay(op, factors)[0]
        self.trace.note_operation(op.name, op.type, treatment)
        self._mark(t, made)
        return _Known(made, True, made)

    def _again(self, op: Any, index: int, given: list[_Known]) -> Tensor:
        """The output of the same operation on its inputs as they are settled."""
        t = op.outputs[index]
        if all(known.tensor is source for known, source in zip(given, op.inputs, strict=True)):
            return t
        if not is_passable(op.type):
            return t  # the audit refuses it
        outputs = replay(op, [known.tensor for known in given])
        for made in outputs:
            self.replayed[made.op.name] = op
        for output, made in zip(op.outputs, outputs, strict=True):
            self._mark(output, made)
            if output is not t:
                self._learn(output, _Known(made, True, made))
        return outputs[index]

    def _mark(self, t: Tensor, made: Tensor) -> None:
        if self.trace.is_non_negative(t):
            self.trace.know_non_negative(made)
