"""Layer-wise relevance propagation restated, in float64, by modified gradients on a model's own graph of operations.

Nothing of the engine is imported, and no layer is known: the model is called once under ``tf.function``, every
operation of the graph is executed again in float64, and one walk back from the explained number applies the rules.
``G`` stands for the modified gradient; the relevance of a tensor is its value times its G.

* Linear and homogeneous operations: their own gradient. An added constant absorbs its share by that.
* A product with weights (the kernel is no function of the input): the rule of the composite, z with its bias and with
  what normalises its channels.
* An elementwise function y of one tensor x, however many operations write it: all relevance, ``G_x = y / x G_y``. What
  a number is added to is a part of it (``1 - sigmoid(x)``), but for straight lines and ReLUs, where it absorbs. So are
  signs and comparisons of that tensor, and what is chosen by them.
* What a statistic of the input divides by is a constant.
* A product of two tensors that both depend on the input: attention (one factor is a softmax, or an exponential, which
  is weights without their sum): the weights are constants (cp_lrp), or half to each factor. A gate (a sigmoid, also
  a hard one or shifted, or what is broadcast over the other factor and not summed over an axis of both) is a constant,
  or half to each factor. Where nothing is a gate, half to each; of n factors that no sum lies between, 1/n to each.
* A softmax: its own gradient.
* Integers, comparisons, masks: no relevance. Token numbers: the sum over the looked-up vector of value times G.
* In front of the first weights, scaling, shifting and normalising pass relevance one to one.
* What is none of these raises NotImplementedError.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import restated_words as words
import tensorflow as tf
from restated_graph import Graph, Step, execute


@dataclass(frozen=True)
class Rules:
    """What distinguishes one composite from another."""

    epsilon: float = 1e-6
    conv: str = "epsilon"
    """``"epsilon"`` or ``"z+"``."""
    attention: str = "half"
    """``"half"`` or ``"constant"``: what attention weights get."""
    product: str = "constant"
    """``"half"`` or ``"constant"``: what gates get."""


COMPOSITES = {
    "cp_lrp": Rules(epsilon=0.0, attention="constant"),
    "attn_lrp": Rules(product="half"),
    "epsilon": Rules(),
    "epsilon_plus": Rules(conv="z+"),
}


def relevance(
    model: Any, named: dict[str, np.ndarray], position: tuple[int, ...], rules: Rules,
    token_ids: tuple[str, ...] = (), output: str | None = None, as_dict: bool = True,
) -> tuple[dict[str, np.ndarray], np.ndarray]:  # fmt: skip
    """Relevance of every input by name, and the explained number of each sample.

    ``position`` says which number of a sample's output is explained, ``token_ids`` names the inputs that hold token
    numbers, ``as_dict`` says whether the model takes a dict or, of its one input, the array itself.
    """

    def call(values: dict[str, Any]) -> Any:
        result = model(values if as_dict else next(iter(values.values())), training=False)
        return result if output is None else result[output]

    specs = {name: tf.TensorSpec(value.shape, value.dtype, name=f"given_{name}") for name, value in named.items()}
    function = tf.function(call, autograph=False).get_concrete_function(specs)
    graph = Graph(function, named, token_ids)
    result = function.outputs[0]
    logits = graph.value[graph.key[result.ref()]].numpy()
    index = (slice(None), *position)
    start = np.zeros_like(logits)
    start[index] = 1.0
    return _Walk(graph, rules).back(graph.key[result.ref()], tf.constant(start)), logits[index]


class _Walk:
    """One walk back through the graph."""

    def __init__(self, graph: Graph, rules: Rules) -> None:
        self.graph, self.rules = graph, rules
        self.consumers: dict[Any, list[Step]] = defaultdict(list)
        self.root: dict[Any, Any] = {}
        """Tensor -> the tensor of which elementwise operations and numbers alone made it; itself where none did."""
        self.kind: dict[Any, str] = {}
        """Tensors that are a softmax, an exponential, a sigmoid or a divisor, also behind moves, scales and sums."""
        self.curved: set[Any] = set()
        """Tensors that a function that is not homogeneous made of their root."""
        self.shifted: set[Any] = set()
        """Tensors to which a number was added last."""
        self.factors: dict[Any, int] = {}
        """Of how many tensors such a product of several is one."""
        self.before: dict[Any, str] = {}
        """In front of all weights: ``"input"`` for the input as it is moved, scaled, normalised; ``"statistic"``."""
        self.shape: dict[Any, tuple[int, ...]] = {}
        for ref in graph.live:
            self.shape[ref] = tuple(graph.value[ref].shape)
            self.root[ref] = ref
        self.before.update(dict.fromkeys(graph.inputs, "input"))
        for step in graph.steps:
            for ref in step.inputs:
                self.consumers[ref].append(step)
        for step in graph.steps:
            for ref in step.outputs:
                if ref in graph.live and ref not in graph.source:
                    self._classify(step, ref, step.inputs)
                elif step.type in words.STEPS and (root := self._one_root(step.inputs, ref)) is not None:
                    self.root[ref] = root
        self.folded = {t for step in graph.steps for t in self._folded_behind(step)}
        """What is part of the product with weights before it."""

    def _folded_behind(self, step: Step) -> list[Any]:
        kernels = [r for r in step.inputs if r in self.graph.weight and r not in self.graph.live]
        if step.type not in words.WEIGHTED or len(kernels) != 1 or step.outputs[0] not in self.graph.live:
            return []
        chain, _ = self._chain(step.outputs[0], self._free_axes(step, kernels[0]))
        return [following.outputs[0] for following in chain]

    def _classify(self, op: Step, ref: Any, refs: list[Any]) -> None:
        live = [r for r in refs if r in self.graph.live]
        if op.type == "AddV2" and self.graph.number.intersection(refs):
            self.shifted.add(ref)
        if op.type in words.ELEMENTWISE and (root := self._one_root(refs, ref)) is not None:
            self.root[ref] = root
            several = op.type in ("Mul", *words.QUOTIENTS) and len(live) + (refs[0] == refs[-1]) > 1
            if op.type in words.CURVED or several or self.curved.intersection(live):
                self.curved.add(ref)
        if op.type in words.MOVES or (op.type in ("Mul", *words.QUOTIENTS) and len(live) == 1):
            self.factors[ref] = self.factors.get(live[0], 1) if live else 1
        elif op.type in ("Mul", *words.WEIGHTED) and len(set(live)) == 2 and self.root[ref] == ref:
            held, counts = self._shares(op, refs)
            weights = {"Softmax", "Exp"}.intersection(self.kind.get(r) for r in refs)
            alone = held is None and not weights and not self._sums_over_both(op, refs)
            self.factors[ref] = sum(counts) if alone else 1
        if op.type in ("Softmax", "Sigmoid", "Exp"):
            self.kind[ref] = op.type
        elif op.type == "Relu6" and refs[0] in self.shifted:  # a hard sigmoid
            self.kind[ref] = "Sigmoid"
        elif op.type in words.DIVISORS:
            self.kind[ref] = "divisor"
        elif op.type in words.KEEPS_KIND:
            kinds = {self.kind.get(r) for r in (live[:1] if op.type in words.QUOTIENTS else live)}
            shifts = op.type in ("AddV2", "Sub")
            adds = shifts and any(np.any(self.graph.value[r] != 0) for r in refs if r not in live)
            if len(kinds) == 1 and None not in kinds and (not adds or kinds == {"Sigmoid"}):
                self.kind[ref] = kinds.pop()
        self._place(op, ref, live)

    def _one_root(self, refs: list[Any], ref: Any) -> Any:
        """Of which tensor of the shape of ``ref`` all of ``refs`` are made, element by element; None where of none."""
        roots = {self.root.get(r) for r in refs if r not in self.graph.number}
        root = roots.pop() if len(roots) == 1 else None
        return root if root is not None and self.shape[root] == tuple(self.graph.value[ref].shape) else None

    def _place(self, op: Step, ref: Any, live: list[Any]) -> None:
        places = {self.before.get(r) for r in live}
        fixed = op.type in words.CONVOLUTIONS and op.inputs[1] not in self.graph.weight
        if None in places:
            return
        if op.type in words.MOVES or fixed:
            if len(live) == 1:
                self.before[ref] = places.pop()
        elif op.type in ("Mean", "Sum", "Max", "Min"):
            self.before[ref] = "statistic"
        elif op.type in words.ELEMENTWISE:
            shapes = {self.shape[r] for r in live if self.before[r] == "input"}
            if not shapes:
                self.before[ref] = "statistic"
            elif shapes == {self.shape[ref]}:
                self.before[ref] = "input"

    # --- the walk ---

    def back(self, result: int, start: tf.Tensor) -> dict[str, np.ndarray]:
        """Relevance of every input, where ``start`` is the gradient of what is explained for ``result``."""
        gradient: dict[Any, Any] = {result: start}
        passed: dict[Any, Any] = {}  # relevance itself, in front of all weights
        found: dict[str, np.ndarray] = {}

        def add(to: dict[Any, Any], ref: Any, value: Any) -> None:
            if ref in self.graph.live and value is not None:
                to[ref] = value if ref not in to else to[ref] + value

        def finish(ref: Any) -> None:
            total = self._relevance(ref, gradient, passed)
            if total is None:
                return
            name, total = self.graph.source[ref], total.numpy()
            if ref not in self.graph.inputs:
                total = total.sum(axis=-1)
            found[name] = found.get(name, 0.0) + total

        for op in reversed(self.graph.steps):
            outputs = [ref for ref in op.outputs if ref in self.graph.live]
            for ref in outputs:
                if ref in self.graph.source:
                    finish(ref)
            outputs = [ref for ref in outputs if ref not in self.graph.source and (ref in gradient or ref in passed)]
            if not outputs:
                continue
            if all(self.before.get(ref) == "input" for ref in outputs):
                self._preprocess(op, outputs, gradient, passed, add)
                continue
            upstream = [gradient.get(ref) for ref in op.outputs]
            for ref, value in self._step(op, upstream):
                add(gradient, ref, value)
        for ref in self.graph.inputs:
            finish(ref)
        return found

    def _relevance(self, ref: Any, gradient: dict[Any, Any], passed: dict[Any, Any]) -> Any:
        parts = [passed[ref]] if ref in passed else []
        if ref in gradient:
            parts.append(self.graph.value[ref] * gradient[ref])
        return sum(parts[1:], parts[0]) if parts else None

    def _preprocess(
        self, op: Step, outputs: list[Any], gradient: dict[Any, Any], passed: dict[Any, Any],
        add: Callable[[dict[Any, Any], Any, Any], None],
    ) -> None:  # fmt: skip
        upstream = [self._relevance(ref, gradient, passed) if ref in outputs else None for ref in op.outputs]
        inputs = [ref for ref in op.inputs if self.before.get(ref) == "input"]
        if op.type in words.ELEMENTWISE:
            for ref in inputs:
                add(passed, ref, upstream[0] / len(inputs))
        else:
            for ref, value in self._own(op, upstream, inputs[:1]):
                add(passed, ref, value)

    def _own(self, op: Step, upstream: list[Any], wanted: list[Any]) -> list[tuple[Any, Any]]:
        """The operation's own gradient for the inputs ``wanted``."""
        if op.type in ("ResizeBilinear", "ResizeBicubic", "ResizeNearestNeighbor", "ScaleAndTranslate"):
            return self._resized(op, upstream[0], wanted)
        refs = op.inputs
        values = [self.graph.value[ref] for ref in refs]
        with tf.GradientTape() as tape:
            values = [tf.identity(v) if ref in wanted else v for ref, v in zip(refs, values, strict=True)]
            tape.watch([values[i] for i, ref in enumerate(refs) if ref in wanted])
            outputs = execute(op.op, values)
            pairs = [(y, g) for y, g in zip(outputs, upstream, strict=False) if g is not None]
        places = [i for i, ref in enumerate(refs) if ref in wanted]
        grads = tape.gradient([y for y, _ in pairs], [values[i] for i in places], [g for _, g in pairs])
        return [(refs[i], grad) for i, grad in zip(places, grads, strict=True)]

    def _resized(self, op: Step, upstream: Any, wanted: list[Any]) -> list[tuple[Any, Any]]:
        """Resizing is done in single precision by the framework: its matrix, row by row, is exact enough in it."""
        value = tf.cast(self.graph.value[op.inputs[0]], tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(value)
            output = execute(op.op, [value, *(self.graph.value[ref] for ref in op.inputs[1:])])[0]
        return [(wanted[0], tf.cast(tape.gradient(output, value, upstream), tf.float64))]

    def _step(self, op: Step, upstream: list[Any]) -> list[tuple[Any, Any]]:
        refs = op.inputs
        live = list(dict.fromkeys(r for r in refs if r in self.graph.live))
        out, value = op.outputs[0], self.graph.value
        if op.type in words.MOVES or (op.type in words.HOMOGENEOUS and not self._function_of_one(op, out, live, refs)):
            return self._own(op, upstream, live)
        if op.type in ("Maximum", "Minimum") and all(r in live or not np.any(value[r]) for r in refs):
            return self._own(op, upstream, live)
        if op.type in words.ELEMENTWISE and self.root[out] != out and self._function_of_one(op, out, live, refs):
            x = value[self.root[out]]
            zero = tf.abs(x) < 1e-300
            return [(self.root[out], tf.where(zero, 0.0, upstream[0] * value[out] / tf.where(zero, 1.0, x)))]
        if op.type in words.QUOTIENTS:
            return self._own(op, upstream, [refs[0]])
        if op.type in ("Mul", *words.WEIGHTED):
            if len(live) == 1 and refs.count(live[0]) == 1:
                return self._weighted(op, out, upstream[0], refs, live[0])
            return self._product(op, upstream, refs)
        raise NotImplementedError(f"{op.type} {op.op.name}")

    def _function_of_one(self, op: Step, out: Any, live: list[Any], refs: list[Any]) -> bool:
        """Whether ``op`` ends a formula: an elementwise function of one tensor, more than a scale or a shift of it."""
        if op.type not in words.ELEMENTWISE or self.root[out] == out:
            return False
        several = sum(r in self.graph.live for r in refs) > 1
        shifts = op.type in ("AddV2", "Sub") and bool(self.curved.intersection(live))
        return op.type in words.FUNCTIONS or several or shifts or op.type in ("Maximum", "Minimum", "SelectV2")

    def _product(self, op: Step, upstream: list[Any], refs: list[Any]) -> list[tuple[Any, Any]]:
        if refs[0] == refs[1]:
            raise NotImplementedError(f"product of a tensor with itself: {op.op.name}")
        held, counts = self._shares(op, refs)
        if held is not None:
            return self._own(op, upstream, [refs[1 - held]])
        share = dict(zip(refs, counts, strict=True))
        return [(ref, share[ref] / sum(counts) * grad) for ref, grad in self._own(op, upstream, refs)]

    def _shares(self, op: Step, refs: list[Any]) -> tuple[int | None, list[int]]:
        """Which factor of a product is a constant, if one is, and of how many factors each is the product."""
        kinds, option, gate = [self.kind.get(r) for r in refs], self.rules.product, None
        kinds = ["Softmax" if kind == "Exp" else kind for kind in kinds]
        counts = [self.factors.get(r, 1) for r in refs]
        if op.type == "Mul" and "divisor" in kinds:
            option, gate = "constant", kinds.index("divisor")
        elif kinds.count("Softmax") == 1:
            option, gate, counts = self.rules.attention, kinds.index("Softmax"), [1, 1]
        elif kinds.count("Sigmoid") == 1:
            gate = kinds.index("Sigmoid")
        else:
            gate = self._spread(op, refs)
        return gate if option == "constant" else None, counts

    def _spread(self, op: Step, refs: list[Any]) -> int | None:
        """Which factor of a product is broadcast over the other, unless it is summed over an axis of both."""
        one, two = self._own_axes(op, refs)
        if self._sums_over_both(op, refs):
            return None
        return 0 if one < two else 1 if two < one else None

    def _own_axes(self, op: Step, refs: list[Any]) -> list[set[Any]]:
        """The axes of each factor that are longer than 1, in names of their product's; of a matrix product too."""
        if op.type == "Einsum":
            names = [list(term) for term in op.op.get_attr("equation").decode().split("->")[0].split(",")]
        elif op.type == "Mul":
            return [self._long_axes(r) for r in refs]
        else:
            ends = [["row", "sum"], ["sum", "column"]]
            turned = ("transpose_a", "transpose_b") if op.type == "MatMul" else ("adj_x", "adj_y")
            ends = [end[::-1] if op.op.get_attr(name) else end for end, name in zip(ends, turned, strict=True)]
            names = [[*range(2 - len(self.shape[r]), 0), *end] for r, end in zip(refs, ends, strict=True)]
        return [
            {name for name, n in zip(own, self.shape[r], strict=True) if n != 1}
            for own, r in zip(names, refs, strict=True)
        ]

    def _long_axes(self, ref: Any) -> set[int]:
        return {i - len(self.shape[ref]) for i, n in enumerate(self.shape[ref]) if n != 1}

    def _sums_over_both(self, op: Step, refs: list[Any]) -> bool:
        """Whether a product of two tensors is summed over an axis of both, by itself or by what follows it alone."""
        if op.type == "Einsum":
            left, made = op.op.get_attr("equation").decode().split("->")
            both = set.intersection(*(set(term) for term in left.split(","))) - set(made)
            return any(self.shape[refs[0]][left.split(",")[0].index(letter)] != 1 for letter in both)
        if op.type != "Mul":
            turned = op.op.get_attr("transpose_a" if op.type == "MatMul" else "adj_x")
            return self.shape[refs[0]][-2 if turned else -1] != 1
        rank, out = len(self.shape[op.outputs[0]]), self.consumers[op.outputs[0]]
        if len(out) != 1 or out[0].type not in ("Sum", "Mean"):
            return False
        axes = {int(axis) for axis in np.reshape(self.graph.value[out[0].inputs[1]].numpy(), -1)}
        return bool(self._long_axes(refs[0]) & self._long_axes(refs[1]) & {a - rank if a >= 0 else a for a in axes})

    # --- weights ---

    def _weighted(self, op: Step, out: Any, upstream: Any, refs: list[Any], x: Any) -> list[tuple[Any, Any]]:
        kernel = refs[1 - refs.index(x)] if op.type != "Conv2DBackpropInput" else refs[1]
        if op.type == "Mul":
            return self._own(op, [upstream * self._lone_normalisation(out, kernel)], [x])
        if kernel not in self.graph.weight:
            return self._own(op, [upstream], [x])
        scale, shift, z = self._folded(op, out, kernel)
        eps = self.rules.epsilon
        if op.type not in words.CONVOLUTIONS or self.rules.conv == "epsilon":
            return self._own(op, [upstream * z / _stabilised(z, eps)], [x])
        # z+: contributions of positive sign, with what follows folded in: a negative scale turns signs round.
        # upstream is G at the product's own output, so that G at z is upstream / scale.
        sign, values = tf.sign(scale), [self.graph.value[r] for r in refs]
        at_x, at_w = refs.index(x), refs.index(kernel)

        def lin(inputs: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
            given = list(values)
            given[at_x], given[at_w] = inputs, weights
            return execute(op.op, given)[0]

        v, w = values[at_x], values[at_w]
        up, down = tf.maximum(w, 0), tf.minimum(w, 0)
        above, below = tf.Variable(tf.maximum(v, 0)), tf.Variable(tf.minimum(v, 0))
        with tf.GradientTape(persistent=True) as tape:
            p = lin(above, up) + lin(below, down)
            n = lin(above, down) + lin(below, up)
        total = scale * tf.where(sign > 0, p, n) + tf.maximum(shift, 0)
        total = tf.maximum(total, tf.maximum(1e-6 * tf.abs(z), 1e-300))  # counts as no less than 1e-6 of z
        share = upstream * z / total  # R_z / total x scale: R_z = z upstream / scale
        to_p, to_n = tf.where(sign > 0, share, 0.0), tf.where(sign > 0, 0.0, share)

        def gradient(part: tf.Variable) -> tf.Tensor:
            return tape.gradient([p, n], part, [to_p, to_n])

        result = tf.where(v > 0, gradient(above), tf.where(v < 0, gradient(below), 0.0))
        return [(x, result)]

    def _lone_normalisation(self, out: Any, scale: Any) -> Any:
        """A scale and shift of channels that no product with weights stands before: the epsilon rule, 1e-6."""
        following = self.consumers[out]
        if out in self.folded or scale not in self.graph.weight or not self._varies_along(scale, {-1}):
            return 1.0
        if len(following) != 1 or following[0].type not in ("AddV2", "Sub"):
            return 1.0
        others = [r for r in following[0].inputs if r != out]
        if any(r in self.graph.live or r not in self.graph.weight for r in others):
            return 1.0
        return (z := self.graph.value[following[0].outputs[0]]) / _stabilised(z, 1e-6)

    def _chain(self, out: Any, free: set[int]) -> tuple[list[Step], bool]:
        """What follows a product and is folded into it, and whether that moves values."""
        chain: list[Step] = []
        ref, moved = out, False
        while len(self.consumers[ref]) == 1:
            following = self.consumers[ref][0]
            others = [r for r in following.inputs if r != ref]
            if any(r in self.graph.live for r in others):
                break
            if following.type in ("Squeeze", "BatchToSpaceND", "Identity", "Reshape"):
                channels = self._channels_after(free, self.shape[ref], self.shape[following.outputs[0]])
                if not channels:
                    break
                free, moved = channels, True
            elif (
                following.type not in ("AddV2", "BiasAdd", "Mul", "Sub")
                or others[0] in self.graph.number  # a part of the function that follows, or it absorbs by itself
                or not self._varies_along(others[0], free)
            ):
                break
            chain.append(following)
            ref = following.outputs[0]
        return chain, moved

    def _folded(self, op: Step, out: Any, kernel: Any) -> tuple[Any, Any, Any]:
        """Scale and shift of the product's output by what follows it: bias, normalisation by constants; and z."""
        chain, moved = self._chain(out, self._free_axes(op, kernel))

        def replay(value: tf.Tensor) -> tf.Tensor:
            at = out
            for following in chain:
                given = [value if r == at else self.graph.value[r] for r in following.inputs]
                value, at = execute(following.op, given)[0], following.outputs[0]
            return value

        z0 = self.graph.value[out]
        shift = replay(tf.zeros_like(z0))
        scale = replay(tf.ones_like(z0)) - shift
        if moved:  # the channels are the last axis of the product's output, whatever was done to the others
            scale, shift = (tf.reshape(v, (-1, z0.shape[-1]))[0] for v in (scale, shift))
        return scale, shift, z0 * scale + shift

    def _channels_after(self, free: set[int], before: tuple[int, ...], after: tuple[int, ...]) -> set[int]:
        """The axes of channels behind a move of ``before`` to ``after``; empty where that cannot be told."""
        channels = int(np.prod([before[axis] for axis in free]))
        if free != set(range(-len(free), 0)):
            return set()
        for count in range(1, len(after) + 1):
            if int(np.prod(after[-count:])) == channels:
                return set(range(-count, 0))
        return set()

    def _free_axes(self, op: Step, kernel: Any) -> set[int]:
        """The axes of the product's output, counted from the end, that the kernel alone provides."""
        if op.type != "Einsum":
            return {-1}
        inputs, made = op.op.get_attr("equation").decode().split("->")
        terms = inputs.split(",")
        own = op.inputs.index(kernel)
        made = made.replace("...", "")
        return {i - len(made) for i, letter in enumerate(made) if letter in terms[own] and letter not in terms[1 - own]}

    def _varies_along(self, constant: Any, axes: set[int]) -> bool:
        shape = tuple(self.graph.value[constant].shape)
        return all(n == 1 or i - len(shape) in axes for i, n in enumerate(shape))


def _stabilised(z: tf.Tensor, epsilon: float) -> tf.Tensor:
    made = tf.where(z >= 0, z + epsilon, z - epsilon)
    return made if epsilon else tf.where(z == 0, tf.constant(np.inf, z.dtype), made)
