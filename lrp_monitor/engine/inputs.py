"""The model's inputs as a user gives them: one array, or a list, tuple or dict of arrays for several inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from lrp_monitor.arguments import shape_fits
from lrp_monitor.encodings import BEHIND_ENCODING
from lrp_monitor.mapped import iter_blocks

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Inputs:
    """Checked inputs: numbers in the model's order, and the structures that they came from and go to.

    A pass takes them as float32; they are made that where they go through it, not all at once.
    """

    leaves: tuple[NDArray[Any], ...]
    given: Any
    """The user's structure, with leaves' numbers in place of arrays: relevance is returned in it."""
    taken: Any
    """The structure in which the model takes its inputs, likewise."""

    def __len__(self) -> int:
        return len(self.leaves[0])

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """The shape of one sample of each leaf."""
        return tuple(leaf.shape[1:] for leaf in self.leaves)


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
    if isinstance(batch_size, bool) or not isinstance(batch_size, int | np.integer):
        raise TypeError(f"batch_size must be a whole number >= 1, got {batch_size!r}")
    if batch_size < 1:
        raise ValueError(f"batch_size must be a whole number >= 1, got {batch_size!r}")
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
    expected = expected_shapes(model)
    if expected is not None and (len(expected) > 1 or isinstance(inputs, Mapping)):
        found = _of_several(model, inputs)
    elif expected is not None:
        found = ([_array(inputs, "inputs")], 0, model_structure(model))
    elif expected is None and (isinstance(inputs, Mapping) or _is_list_of_arrays(inputs)):
        flat = keras.tree.flatten(inputs)
        numbered = keras.tree.pack_sequence_as(inputs, list(range(len(flat))))
        found = ([_array(leaf, "inputs") for leaf in flat], numbered, numbered)
    else:
        found = ([_array(inputs, "inputs")], 0, 0)
    arrays, given, taken = found
    several = len(arrays) > 1
    names = input_names(model) if several and expected is not None else [str(index) for index in range(len(arrays))]
    leaves = []
    for index, x in enumerate(arrays):
        what = f"input {names[index]!r}" if several else "inputs"
        leaves.append(_checked(x, what, several, None if expected is None else expected[index], model.name))
    lengths = {len(leaf) for leaf in leaves}
    if len(lengths) > 1:
        listed = ", ".join(f"{name!r}: {len(leaf)}" for name, leaf in zip(names, leaves, strict=True))
        raise ValueError(f"inputs hold different numbers of samples: {listed}")
    return Inputs(tuple(leaves), given, taken)


def _of_several(model: Any, inputs: Any) -> tuple[list[NDArray[Any]], Any, Any]:
    taken, names = model_structure(model), input_names(model)
    count = len(names)
    if isinstance(inputs, Mapping):
        keys = dict(taken) if isinstance(taken, Mapping) else {name: index for index, name in enumerate(names)}
        if set(inputs) != set(keys):
            raise ValueError(f"inputs are named {sorted(inputs)}, but model {model.name!r} takes {sorted(keys)}")
        order = {keys[key]: key for key in keys}
        return [_array(inputs[order[i]], repr(order[i])) for i in range(count)], {k: keys[k] for k in inputs}, taken
    if not isinstance(inputs, list | tuple) or len(inputs) != count:
        got = f"{len(inputs)} of them" if isinstance(inputs, list | tuple) else type(inputs).__name__
        raise ValueError(
            f"model {model.name!r} has several inputs, {names}: pass a list of {count} arrays or a dict by name, "
            f"got {got}"
        )
    numbers = list(range(count))
    return [_array(x, repr(name)) for x, name in zip(inputs, names, strict=True)], type(inputs)(numbers), taken


def _is_list_of_arrays(inputs: Any) -> bool:
    return isinstance(inputs, list | tuple) and len(inputs) > 0 and all(hasattr(x, "shape") and x.ndim for x in inputs)


def _array(value: Any, name: str) -> NDArray[Any]:
    x = np.asarray(value)
    if x.dtype.kind in "USO" and all(isinstance(one, str | bytes) for one in x.flat):
        raise TypeError(f"{name} must be numbers, got an array of texts, which carry no relevance: {BEHIND_ENCODING}")
    if x.dtype.kind not in "fiub":
        raise TypeError(f"{name} must be numbers, got an array of {x.dtype}")
    return x


def _checked(
    x: NDArray[Any], what: str, several: bool, expected: tuple[int | None, ...] | None, model: str
) -> NDArray[Any]:
    verb = "has" if several else "have"
    if expected is not None and (x.ndim != len(expected) or not shape_fits(x.shape[1:], expected[1:])):
        sizes = ", ".join("any" if size is None else str(size) for size in expected[1:])
        raise ValueError(f"{what} {verb} shape {x.shape}, but model {model!r} takes (n, {sizes})")
    if x.ndim < (2 if expected is None else len(expected)) or x.size == 0:
        raise ValueError(f"{what} must hold at least one sample of shape (n, ...), got shape {x.shape}")
    start = 0
    for block in iter_blocks(x):
        finite = np.isfinite(np.asarray(block, np.float32).reshape(len(block), -1)).all(axis=1)
        if not finite.all():
            verb = "holds" if several else "hold"
            raise ValueError(f"{what} {verb} NaN or infinity in sample {start + int(np.flatnonzero(~finite)[0])}")
        start += len(block)
    return x
