"""The model's inputs as a user gives them: one array, or a list, tuple or dict of arrays for several inputs."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import keras
import numpy as np
from numpy.typing import NDArray

from lrp_monitor.arguments import argument_error, shape_fits
from lrp_monitor.encodings import behind_encodings
from lrp_monitor.mapped import iter_blocks
from lrp_monitor.passes.compiled import Spec

Shape = tuple[int, ...]
Result = TypeVar("Result")
_APART = 1 << 24  # float32 tells whole numbers up to this apart


@dataclass(frozen=True)
class ModelCall:
    """How a model is called on tensors in its order."""

    structure: Any
    """The structure in which it takes its inputs, with the tensors' numbers in their place."""
    types: tuple[str | None, ...]
    """What they are cast to; None: they are handed on as they are."""

    def __call__(self, tensors: Sequence[Any]) -> Any:
        pairs = zip(tensors, self.types, strict=True)
        cast = [tensor if dtype is None else keras.ops.cast(tensor, dtype) for tensor, dtype in pairs]
        return arranged(self.structure, cast)

    def tried(self, run: Callable[[ModelCall], Result]) -> Result:
        """What ``run`` gives: of integers, or where an operation takes none, such as a convolution, of floats.

        Raises what ``run`` raises of integers where floats do not fit either.
        """
        try:
            return run(self)
        except TypeError as error:
            if not any(self.types):
                raise
            of_integers = error
        try:
            return run(replace(self, types=(None,) * len(self.types)))
        except TypeError:
            raise of_integers from None


@dataclass(frozen=True)
class Inputs:
    """Checked inputs: numbers in the model's order, and the structure that they came from.

    A pass takes them as float32; they are made that where they go through it, not all at once.
    """

    leaves: tuple[NDArray[Any], ...]
    given: Any
    """The user's structure, with leaves' numbers in place of arrays: relevance is returned in it."""
    model_call: ModelCall
    """How a model takes them."""

    def __len__(self) -> int:
        return len(self.leaves[0])

    @property
    def specs(self) -> list[Spec]:
        """What a pass takes for each leaf."""
        return [(leaf.shape[1:], "float32") for leaf in self.leaves]

    @property
    def key(self) -> Hashable:
        """What passes differ in."""
        return tuple(self.specs), str(self.model_call)

    def as_given(self, leaves: Sequence[Any]) -> Any:
        """An array for each of the inputs, in the structure in which they were given."""
        return arranged(self.given, leaves)


def check_model(model: Any) -> None:
    """TypeError for anything but a model of Keras 3."""
    if isinstance(model, keras.Model):
        return
    if any(base.__module__.split(".")[0] == "tf_keras" for base in type(model).__mro__):
        raise TypeError(
            f"model {model.name!r} is one of legacy Keras (tf_keras, tf.keras under TF_USE_LEGACY_KERAS=1); "
            "lrp_monitor needs a model of Keras 3: unset TF_USE_LEGACY_KERAS, or make the model with `import keras`"
        )
    raise TypeError(f"model must be a Keras model, got {type(model).__name__}")


def arranged(structure: Any, leaves: Any) -> Any:
    """``leaves`` in a structure of their numbers."""
    return keras.tree.map_structure(lambda number: leaves[number], structure)


def alone(leaves: list[Any]) -> Any:
    """Arrays in the model's order as a user gives them: one by itself."""
    return leaves if len(leaves) > 1 else leaves[0]


def expected_shapes(model: Any) -> list[tuple[int | None, ...]] | None:
    """The shape of each of the model's inputs, in the model's order; None where they are known to no one."""
    tensors = getattr(model, "inputs", None)
    if isinstance(tensors, list) and tensors:
        return [tuple(tensor.shape) for tensor in tensors]
    return None


def fixed_batch(model: Any) -> int | None:
    """The number of samples that the model's inputs are made for (``keras.Input(batch_size=8)``); None for any."""
    sizes = {shape[0] for shape in expected_shapes(model) or [] if shape and shape[0] is not None}
    return int(next(iter(sizes))) if len(sizes) == 1 else None


def checked_batch(model: Any, batch_size: Any) -> int | None:
    """``batch_size`` as a number; TypeError or ValueError where it is none, or not the model's own."""
    if batch_size is None:
        return None
    of_type = isinstance(batch_size, int | np.integer) and not isinstance(batch_size, bool)
    if not of_type or batch_size < 1:
        raise argument_error(of_type, f"batch_size must be a whole number >= 1, got {batch_size!r}")
    fixed = fixed_batch(model)
    if fixed not in (None, batch_size):
        raise ValueError(
            f"batch_size={batch_size}: model {model.name!r} is made for batches of {fixed}; leave batch_size out"
        )
    return int(batch_size)


def has_known_shapes(model: Any) -> bool:
    """Whether the model says the whole shape of one sample of each input."""
    return not any(size is None for shape in expected_shapes(model) or [(None, None)] for size in shape[1:])


def known_shapes(model: Any) -> tuple[Shape, ...]:
    """The shape of one sample of each input. Raises ValueError where the model leaves a size open."""
    expected = expected_shapes(model)
    if expected is None:
        raise ValueError(
            f"the input shape of model {model.name!r} is not known before it sees data: call the explainer on inputs "
            "first, or prepare(input_shape)"
        )
    if any(size is None for shape in expected for size in shape[1:]):
        shown = expected[0][1:] if len(expected) == 1 else [shape[1:] for shape in expected]
        raise ValueError(
            f"model {model.name!r} takes inputs of shape {shown}, which leaves a size open: "
            "call the explainer on inputs first, or prepare(input_shape)"
        )
    return tuple(tuple(int(size) for size in shape[1:] if size is not None) for shape in expected)


def input_names(model: Any) -> list[str]:
    """The names of a functional model's inputs, in its order."""
    return [tensor.name for tensor in getattr(model, "inputs", None) or []]


def model_structure(model: Any) -> Any:
    """The structure in which a functional model takes its inputs, with numbers for leaves; 0 for a single array."""
    tensors = model.inputs
    if len(tensors) == 1 and (isinstance(model, keras.Sequential) or not isinstance(model.input, Mapping)):
        return 0
    number = {id(tensor): index for index, tensor in enumerate(tensors)}
    return keras.tree.map_structure(lambda tensor: number[id(tensor)], model.input)


def take(model: Any, inputs: Any) -> Inputs:
    """Check ``inputs`` against the model. Raises ValueError or TypeError, which names the input."""
    expected, names = expected_shapes(model), input_names(model)
    arrays, given, taken = _in_order(model, names, inputs)
    several, names = len(arrays) > 1, names or [str(index) for index in range(len(arrays))]
    leaves = []
    for index, array in enumerate(arrays):
        what = f"input {names[index]!r}" if several else "inputs"
        leaves.append(_checked(model, array, what, several, None if expected is None else expected[index]))
    lengths = {len(leaf) for leaf in leaves}
    if len(lengths) > 1:
        listed = ", ".join(f"{name!r}: {len(leaf)}" for name, leaf in zip(names, leaves, strict=True))
        raise ValueError(f"inputs hold different numbers of samples: {listed}")
    # as `fit` hands them on: what a model declares no type for comes as integers where it is given so
    types = [leaf.dtype.name if expected is None and leaf.dtype.kind in "iu" else None for leaf in leaves]
    declared = types if expected is None else [tensor.dtype for tensor in model.inputs]
    for name, leaf, dtype in zip(names, leaves, declared, strict=True):
        blocks = iter_blocks(leaf) if "int" in (dtype or "") else ()
        largest = max((max(int(block.max()), -int(block.min())) for block in blocks), default=0)
        if largest > _APART:
            raise ValueError(
                f"input {name!r} holds whole numbers as large as {largest:,}, and a pass takes float32, which tells "
                f"those up to {_APART:,} apart: {behind_encodings(model)}"
            )
    return Inputs(tuple(leaves), given, ModelCall(taken, tuple(types)))


def _in_order(model: Any, names: Sequence[str], inputs: Any) -> tuple[list[Any], Any, Any]:
    """What is given for each input in the model's order, and the structures of `Inputs`: given and taken."""
    count = len(names)
    if not count and not isinstance(inputs, Mapping) and not _is_list_of_arrays(inputs):
        return [inputs], 0, 0
    if not count:
        flat = keras.tree.flatten(inputs)
        numbered = keras.tree.pack_sequence_as(inputs, list(range(len(flat))))
        return flat, numbered, numbered
    taken = model_structure(model)
    if isinstance(inputs, Mapping):
        keys = dict(taken) if isinstance(taken, Mapping) else {name: index for index, name in enumerate(names)}
        if set(inputs) != set(keys):
            raise ValueError(f"inputs are named {sorted(inputs)}, but model {model.name!r} takes {sorted(keys)}")
        return [inputs[key] for key in sorted(keys, key=keys.__getitem__)], {key: keys[key] for key in inputs}, taken
    if count == 1:
        return [inputs], 0, taken
    if not isinstance(inputs, list | tuple) or len(inputs) != count:
        got = f"{len(inputs)} of them" if isinstance(inputs, list | tuple) else type(inputs).__name__
        raise ValueError(
            f"model {model.name!r} has several inputs, {names}: pass a list of {count} arrays or a dict by name, "
            f"got {got}"
        )
    return list(inputs), type(inputs)(range(count)), taken


def _is_list_of_arrays(inputs: Any) -> bool:
    return isinstance(inputs, list | tuple) and len(inputs) > 0 and all(hasattr(x, "shape") and x.ndim for x in inputs)


def _checked(
    model: Any, given: Any, what: str, several: bool, expected: tuple[int | None, ...] | None
) -> NDArray[Any]:  # fmt: skip
    x = np.asarray(given)
    if x.dtype.kind in "USO" and all(isinstance(one, str | bytes) for one in x.flat):
        out = behind_encodings(model)
        raise TypeError(f"{what} must be numbers, got an array of texts, which carry no relevance: {out}")
    if x.dtype.kind not in "fiub":
        raise TypeError(f"{what} must be numbers, got an array of {x.dtype}")
    verb = "has" if several else "have"
    if expected is not None and (x.ndim != len(expected) or not shape_fits(x.shape[1:], expected[1:])):
        sizes = ", ".join("any" if size is None else str(size) for size in expected[1:])
        raise ValueError(f"{what} {verb} shape {x.shape}, but model {model.name!r} takes (n, {sizes})")
    if not x.ndim or x.size == 0:
        raise ValueError(f"{what} must hold at least one sample of shape (n, ...), got shape {x.shape}")
    start = 0
    for block in iter_blocks(x):
        finite = np.isfinite(np.asarray(block, np.float32).reshape(len(block), -1)).all(axis=1)
        if not finite.all():
            verb = "holds" if several else "hold"
            raise ValueError(f"{what} {verb} NaN or infinity in sample {start + int(np.flatnonzero(~finite)[0])}")
        start += len(block)
    return x
