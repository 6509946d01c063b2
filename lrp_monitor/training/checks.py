"""What must hold between a model and its probes, checked before training with one clear error each."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from numpy.typing import NDArray

from lrp_monitor.engine.errors import OutOfMemoryError
from lrp_monitor.engine.inputs import fixed_batch
from lrp_monitor.engine.memory import is_out_of_memory
from lrp_monitor.engine.passes import Pass
from lrp_monitor.probes import ProbeSet
from lrp_monitor.text import first_line


class Explained(NamedTuple):
    """The output to explain: its shape for one probe, (classes,) or (..., classes).

    batch_size: how many probes the model must be given at a time; None for any number, or where it says so itself
    (`keras.Input(batch_size=)`).
    """

    shape: tuple[int, ...]
    batch_size: int | None


def explained_output(model: keras.Model, probes: ProbeSet, output: int | str | None) -> Explained:
    """The output to explain, from calling the model, which builds it where it is not: on one probe, or a batch of the
    size that it is made for, and where it cannot be run on that, on all probes together.

    ValueError where the probes do not fit the model's input, where it has several inputs, several outputs and
    no (or a wrong) choice of one, where it cannot be run on a probe, or where the probes name one class each for an
    output of maps.
    """
    inputs = _tensors(getattr(model, "inputs", None)) if model.built else []
    if len(inputs) > 1:
        listed = ", ".join(tensor.name for tensor in inputs)
        raise ValueError(
            f"the model takes {len(inputs)} inputs ({listed}), probes hold one array; "
            "only models with one input can be watched"
        )
    if inputs:
        _check_shape(probes, tuple(inputs[0].shape[1:]))
    result, batch_size = _run(model, probes)
    outputs = _outputs(model, result)
    names = list(outputs)
    if output is None and len(outputs) > 1:
        raise ValueError(
            f"the model has {len(outputs)} outputs ({', '.join(names)}): choose the one to explain, "
            f"output={names[0]!r} or output=0"
        )
    if isinstance(output, int) and 0 <= output < len(names):
        output = names[output]
    chosen = names[0] if output is None else output
    if chosen not in outputs:
        raise ValueError(f"output={output!r}: the model's outputs are {', '.join(names)}")
    shape = tuple(outputs[str(chosen)].shape[1:])
    if len(shape) > 1 and probes.targets is not None:
        what = "labels" if probes.target == "label" else "target"
        raise ValueError(
            f"{what}: one class a probe does not say what to explain of maps, and the model's output is of shape "
            f"{('n', *shape)}: give target=lrp.targets.Region(where, of), which sums the logits of class `of` over a "
            'region, or target="predicted", the region that is predicted when training begins'
        )
    if not shape:
        raise ValueError("the model's output has shape ('n',); explained are classes, (n, classes), or maps of them")
    return Explained(shape, batch_size)


def _run(model: keras.Model, probes: ProbeSet) -> tuple[Any, int | None]:
    """What the model makes of some probes, and how many at a time it takes where that is not any number."""
    n, fixed = len(probes), fixed_batch(model)
    failed: Exception | None = None
    for count in dict.fromkeys((fixed,) if fixed is not None else (1, n)):
        try:
            result = _output_for(model, probes.inputs[np.arange(count) % n])
            return result, None if failed is None else n
        except Exception as error:  # a model may raise anything; the user needs to hear that the probes led to it
            failed = failed or error
    tried = f"{fixed} of them" if fixed is not None else f"one of them or all {n}" if n > 1 else "one of them"
    assert failed is not None
    if is_out_of_memory(failed):
        raise OutOfMemoryError("one sample" if fixed is None else tried, first_line(failed)) from failed
    raise ValueError(
        f"probes: the model cannot be run on inputs of shape {probes.sample_shape}, {tried} at a time: "
        f"{first_line(failed)}"
    ) from failed


def _output_for(model: keras.Model, inputs: NDArray[Any]) -> Any:
    """What the model makes of ``inputs`` in inference; it is built by that where it is not, and nothing else moves."""
    return Pass(model, lambda x: model(x, training=False), [(inputs.shape, str(inputs.dtype))])(inputs)


def check_classes(probes: ProbeSet, classes: int) -> None:
    """ValueError where a label or target of the probes is no class of the model."""
    for argument, values in (("labels", probes.labels), ("target", probes.targets)):
        if values is not None and values.max() >= classes:
            at = int(values.argmax())
            raise ValueError(
                f"{argument}: {probes.names[at]!r} has class {values[at]}, but the model's outputs are "
                f"{classes} classes, 0 to {classes - 1}"
            )


def chosen_tensors(names: Iterable[str], layers: Sequence[str] | None) -> list[str]:
    """The tensors whose histograms are logged: all, or those that `layers` name.

    An entry is a tensor ("conv2d/kernel"), all of a layer ("conv2d"), or either with wildcards ("conv*").
    ValueError for an entry that names nothing.
    """
    known = list(names)
    if layers is None:
        return known
    found: set[str] = set()
    for pattern in layers:
        matched = {
            name for name in known if fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(name, f"{pattern}/*")
        }
        if not matched:
            raise ValueError(f"layers: {pattern!r} matches no tensor; there are {', '.join(known) or 'none'}")
        found |= matched
    return [name for name in known if name in found]


def _check_shape(probes: ProbeSet, wanted: tuple[int | None, ...]) -> None:
    shape = probes.sample_shape
    fits = len(shape) == len(wanted) and all(w is None or w == s for s, w in zip(shape, wanted, strict=True))
    if not fits:
        raise ValueError(
            f"probes: inputs have shape {shape} each, but the model takes {wanted}; "
            "give the probes in the form that the model is trained on"
        )


def _outputs(model: keras.Model, result: Any) -> dict[str, Any]:
    """The outputs by name, in their order."""
    if isinstance(result, Mapping):
        return {str(name): value for name, value in result.items()}
    tensors = _tensors(result)
    names = getattr(model, "output_names", None)
    if not names or len(names) != len(tensors):
        names = range(len(tensors))
    return {str(name): tensor for name, tensor in zip(names, tensors, strict=True)}


def _shapes(shapes: Any) -> list[tuple[int | None, ...]]:
    """The shapes in a model's `output_shape`, one tuple or a list or dict of them."""
    if isinstance(shapes, Mapping):
        return list(shapes.values())
    return list(shapes) if shapes and isinstance(shapes[0], tuple | list) else [shapes]


def _tensors(structure: Any) -> list[Any]:
    return [] if structure is None else list(keras.tree.flatten(structure))


_DENSE_LOSSES = {
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "categorical_hinge",
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "kl_divergence",
    "mean_squared_error",
    "mse",
    "mean_absolute_error",
    "mae",
    "cosine_similarity",
    "huber",
    "log_cosh",
    "poisson",
}


def loss_targets(model: keras.Model, probes: ProbeSet) -> NDArray[Any]:
    """The probes' labels as the model's loss takes them: integers (n,), floats (n, 1) or one-hot (n, k).

    ValueError without labels, for a loss whose form is not known, or a model that is not compiled.
    """
    way_out = 'use gradients="train" or "off"'
    if probes.labels is None:
        raise ValueError(f'gradients="probe" needs the loss of the probes, so labels in the ProbeSet; or {way_out}')
    if not getattr(model, "compiled", False):
        raise ValueError(f'gradients="probe" needs a compiled model; or {way_out}')
    if any(len(shape) > 2 for shape in _shapes(model.output_shape)):
        raise ValueError(f'gradients="probe": the probes have a label each, the loss takes maps of them; {way_out}')
    loss = model.loss
    name = loss if isinstance(loss, str) else getattr(loss, "name", None) or getattr(loss, "__name__", "")
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", str(name)).lower()
    if "sparse" in name:
        return probes.labels
    if name not in _DENSE_LOSSES:
        raise ValueError(f'gradients="probe": how the loss {name or loss!r} takes labels is not known; {way_out}')
    units = int(model.output_shape[-1])
    if units == 1:
        return probes.labels[:, None].astype(np.float32)
    return np.eye(units, dtype=np.float32)[probes.labels]
