"""What must hold between a model and its probes, checked before training with one clear error each."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from numpy.typing import NDArray

from lrp_monitor.arguments import output_key, shape_fits, shape_text
from lrp_monitor.encodings import takes_texts
from lrp_monitor.engine.inputs import fixed_batch, take
from lrp_monitor.engine.start import outputs_of
from lrp_monitor.engine.targets import Position
from lrp_monitor.keras_internals import layers_of, symbolic_inputs
from lrp_monitor.passes.compiled import Pass
from lrp_monitor.passes.memory import OutOfMemoryError, is_out_of_memory
from lrp_monitor.probes import ProbeSet
from lrp_monitor.probes.inputs import ProbeInput
from lrp_monitor.text import first_line


class Explained(NamedTuple):
    """The output to explain: its shape for one probe, (classes,) or (..., classes).

    Attributes:
        batch_size: how many probes the model must be given at a time; None for any number, or where it says so itself
            (`keras.Input(batch_size=)`).
    """

    shape: tuple[int, ...]
    batch_size: int | None


def explained_output(model: keras.Model, probes: ProbeSet, output: int | str | None) -> Explained:
    """The output to explain, from calling the model, which builds it where it is not.

    It is called on one probe, or a batch of the size that it is made for, and where it cannot be run on that, on all
    probes together.

    ValueError where the probes do not fit the model's input, where it has several inputs, several outputs and
    no (or a wrong) choice of one, where it cannot be run on a probe, or where the probes name one class each for an
    output of maps.
    """
    inputs = _tensors(getattr(model, "inputs", None)) if model.built else []
    if takes_texts(model):
        raise ValueError(
            "the model takes texts, the probes hold numbers: give the texts and the model, ProbeSet(texts, labels, "
            "model=model)"
        )
    if len(inputs) > 1 and probes.is_single:
        names = [tensor.name for tensor in inputs]
        given = ", ".join(f"{name!r}: ..." for name in names)
        raise ValueError(
            f"the model takes {len(inputs)} inputs ({', '.join(names)}), probes hold one array; "
            f"give an array for each: ProbeSet({{{given}}})"
        )
    if inputs and not probes.is_single:
        try:
            take(model, probes.inputs)
        except ValueError as error:
            raise ValueError(f"probes: {error}") from error
    elif inputs:
        _check_shape(probes, tuple(inputs[0].shape[1:]))
    check_tokens(model, probes)
    result, batch_size = _run(model, probes)
    outputs = outputs_of(model, result)
    shape = tuple(outputs[output_key(list(outputs), output, model.name)].shape[1:])
    _check_places(probes, shape)
    if len(shape) > 1 and probes.targets is not None and probes.position is None:
        what = "labels" if probes.target == "label" else "target"
        raise ValueError(
            f"{what}: one class a probe does not say what to explain of maps, and the model's output is of shape "
            f"{('n', *shape)}: give target=lrp.targets.Region(where, of), which sums the logits of class `of` over a "
            "region, target=lrp.targets.Position(at), a class at one place, such as the last token's, or "
            'target="predicted", the region that is predicted when training begins'
        )
    if not shape:
        raise ValueError("the model's output has shape ('n',); explained are classes, (n, classes), or maps of them")
    return Explained(shape, batch_size)


def _check_places(probes: ProbeSet, shape: tuple[int, ...]) -> None:
    """ValueError where labels, or the explained one, are of places that the output (*places, classes) lacks."""
    if probes.position is not None:
        Position(probes.position).numbers(shape, len(probes))
    maps = probes.label_maps
    if maps is not None and maps.shape[1:] != shape[:-1]:
        single = "one label a probe" if len(shape) == 1 else f"labels {('n', *shape[:-1])}"
        one_hot = "; labels.argmax(axis=-1) makes classes of one-hot ones" if maps.shape[1:] == shape else ""
        raise ValueError(
            f"labels: {maps.shape}, a class of each place, but the model's output is of shape {('n', *shape)}: give "
            f"{single}{one_hot}"
        )


def _run(model: keras.Model, probes: ProbeSet) -> tuple[Any, int | None]:
    """What the model makes of some probes, and how many at a time it takes where that is not any number."""
    n, fixed = len(probes), fixed_batch(model)
    failed: Exception | None = None
    for count in dict.fromkeys((fixed,) if fixed is not None else (1, n)):
        try:
            result = _output_for(model, probes, np.arange(count) % n)
            return result, None if failed is None else n
        except Exception as error:  # a model may raise anything; the user needs to hear that the probes led to it
            failed = failed or error
    tried = f"{fixed} of them" if fixed is not None else f"one of them or all {n}" if n > 1 else "one of them"
    assert failed is not None
    if is_out_of_memory(failed):
        raise OutOfMemoryError("one sample" if fixed is None else tried, first_line(failed)) from failed
    shapes = ", ".join(str(part.sample_shape) for part in probes.parts)
    raise ValueError(
        f"probes: the model cannot be run on inputs of shape {shapes}, {tried} at a time: {first_line(failed)}"
    ) from failed


def _output_for(model: keras.Model, probes: ProbeSet, chosen: NDArray[Any]) -> Any:
    """What the model makes of some probes in inference; it is built by that where it is not, and nothing else moves."""
    leaves = [values[chosen] for values in probes.leaves]
    signature = [(leaf.shape, str(leaf.dtype)) for leaf in leaves]
    return Pass(model, lambda *given: model(probes.arranged(given), training=False), signature)(*leaves)


def check_tokens(model: keras.Model, probes: ProbeSet) -> None:
    """ValueError where an Embedding that takes an input as it is has no row for one of its ids."""
    for part, layer in _embeddings(model, probes):
        low, high = part.values.min(), part.values.max()
        if low < 0 or high >= layer.input_dim:
            at = int((part.values.reshape(len(part), -1).min(axis=1) < 0).argmax()) if low < 0 else None
            at = int(part.values.reshape(len(part), -1).max(axis=1).argmax()) if at is None else at
            raise ValueError(
                f"{'inputs' if probes.is_single else f'inputs[{part.name!r}]'}: {probes.names[at]!r} has token id "
                f"{low if low < 0 else high}, but layer {layer.name!r} has rows for {layer.input_dim} ids, 0 to "
                f"{layer.input_dim - 1}: give the ids of the model's own vocabulary"
            )


def _embeddings(model: keras.Model, probes: ProbeSet) -> Iterator[tuple[ProbeInput, Any]]:
    """The inputs of ids that go into an Embedding as they are, each with it."""
    tensors = _tensors(getattr(model, "inputs", None)) if model.built else []
    if len(tensors) != len(probes.parts):
        return
    names = {tensor.name: part for tensor, part in zip(tensors, probes.parts, strict=True)}
    if isinstance(probes.inputs, Mapping):
        names = {part.name: part for part in probes.parts}
    for layer in layers_of(model, itself=False, nested=False):
        for tensor in symbolic_inputs(layer) if isinstance(layer, keras.layers.Embedding) else ():
            if tensor.name in names and any(tensor is one for one in tensors):
                yield names[tensor.name], layer


def check_classes(probes: ProbeSet, classes: int, outputs: int) -> None:
    """ValueError where a label or target of the probes is no class of the model. outputs: its units."""
    for argument, values in (("labels", probes.labels), ("target", probes.targets)):
        if values is not None and values.max() >= classes:
            at = int(values.argmax())
            if outputs == 1 and argument == "labels":
                raise ValueError(
                    f"labels: {probes.names[at]!r} has class {values[at]}, but the model's output is one unit: of a "
                    "regression labels are numbers, labels.astype(float); of two classes the model ends in a sigmoid"
                )
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
            raise ValueError(f"histograms: {pattern!r} matches no tensor; there are {', '.join(known) or 'none'}")
        found |= matched
    return [name for name in known if name in found]


def _check_shape(probes: ProbeSet, wanted: tuple[int | None, ...]) -> None:
    shape = probes.sample_shape
    if not shape_fits(shape, wanted):
        raise ValueError(
            f"probes: inputs have shape {shape} each, but the model takes {shape_text(wanted)}; "
            "give the probes in the form that the model is trained on"
        )


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
    if probes.given_labels is None:
        raise ValueError(f'gradients="probe" needs the loss of the probes, so labels in the ProbeSet; or {way_out}')
    if not getattr(model, "compiled", False):
        raise ValueError(f'gradients="probe" needs a compiled model; or {way_out}')
    outputs = _tensors(getattr(model, "outputs", None)) or _tensors(_run(model, probes)[0])  # without a graph
    shapes = [tuple(t.shape) for t in outputs]
    if len(shapes) > 1:
        raise ValueError(
            f'gradients="probe": the loss takes labels of all {len(shapes)} outputs, the probes have those of one; '
            f"{way_out}"
        )
    if len(shapes[0]) > 2 and probes.label_maps is None:
        raise ValueError(
            f'gradients="probe": the loss takes a label of each place of the output, the probes have one each: give '
            f"labels of all places; or {way_out}"
        )
    if probes.numbers is not None:
        return probes.numbers.astype(np.float32)
    (loss,) = keras.tree.flatten(model.loss)  # it may be named by its output
    name = loss if isinstance(loss, str) else getattr(loss, "name", None) or getattr(loss, "__name__", "")
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", str(name)).lower()
    labels = probes.labels if probes.label_maps is None else probes.label_maps
    if "sparse" in name and labels is not None:
        return labels
    if name not in _DENSE_LOSSES:
        raise ValueError(f'gradients="probe": how the loss {name or loss!r} takes labels is not known; {way_out}')
    if probes.label_sets is not None:
        return probes.label_sets.astype(np.float32)
    assert labels is not None
    units: Any = shapes[0][-1]
    if units == 1:
        return labels[..., None].astype(np.float32)
    if labels.min() < 0 or labels.max() >= units:
        raise ValueError(f'gradients="probe": labels are not all classes of the model, 0 to {units - 1}; {way_out}')
    return np.eye(units, dtype=np.float32)[labels]
