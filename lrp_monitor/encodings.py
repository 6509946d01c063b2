"""Models that take texts: the model behind the layers that turn strings into numbers, where relevance can begin.

TextVectorization, StringLookup, Hashing, HashedCrossing and what FeatureSpace makes of them have no gradient: a string
is a name. Their outputs, ids or rows of numbers, are inputs of the rest of the model like any others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from lrp_monitor.keras_internals import layers_of, symbolic_calls

WAY_OUT = (
    "encode the data before the model, dataset.map(lambda x, y: (encoding(x), y)), train the model behind the "
    "encoding, and give its inputs to ProbeSet, with tokens= for the words"
)
ENCODINGS = (
    keras.layers.CategoryEncoding,
    keras.layers.Discretization,
    keras.layers.HashedCrossing,
    keras.layers.Hashing,
    keras.layers.IntegerLookup,
    keras.layers.StringLookup,
    keras.layers.TextVectorization,
)


def behind_encodings(model: Any) -> str:
    """The way out where such layers are inside a model that is to be explained: one that this model has."""
    inside = any(isinstance(layer, ENCODINGS) for layer in layers_of(model))
    parts = _parts(model)
    if getattr(model, "inputs", None) and (not inside or parts is not None):
        output = "model.outputs[0]" if isinstance(model, keras.Sequential) else "model.output"
        space = f"behind a FeatureSpace, keras.Model(space.get_encoded_features(), {output}) on space(inputs)"
        # A dict, by whose keys Keras names the new inputs; it cannot make them where names of tensors came twice.
        if parts is None or len(parts) == 1:
            return (
                f"explain the model behind the encoding, keras.Model(encoding.output, {output}), on encoding(inputs); "
                f"{space}"
            )
        if parts and len({tensor.name for tensor in parts.values()}) == len(parts):
            written = ", ".join(f"{name!r}: model.get_layer({name!r}).output" for name in parts)
            return (
                f"explain the model behind its encodings, keras.Model(parts, {output}), on keras.Model(model.inputs, "
                f"parts)(inputs), with parts = {{{written}}}; {space}"
            )
        return (
            "explain the model behind its encodings, probes.model_behind(model), on probes.inputs, with probes = "
            "lrp_monitor.ProbeSet(inputs, model=model)"
        )
    return (
        "explain what is computed behind the encoding, keras.Model(x, rest(x)) with x = keras.Input(encoded.shape[1:]),"
        " on encoded = encoding(inputs); rest calls the layers that the model calls on the encoding's output, or that "
        "of a FeatureSpace; for an encoding in a functional model inside, it calls "
        "keras.Model(encoding.output, inner.outputs[0]) first; of several encodings, on an x and an encoded of each"
    )


@dataclass(frozen=True)
class Encoding:
    """One input of the model behind: the layer that gives it, None for an input that the model takes as numbers."""

    name: str
    layer: Any
    sources: tuple[str, ...]
    """The whole model's inputs that it is made of."""
    vocabulary: tuple[str, ...] = ()
    """What the numbers of the last lookup stand for, where it has a vocabulary."""


@dataclass(frozen=True)
class Encoded:
    """A model taken apart at its encodings of strings.

    Attributes:
        behind: the model behind the encodings, with the same weights; its inputs are a dict by name, or one array.
        encodings: one for each of its inputs, in their order.
        encode: from the whole model's inputs to those of `behind`, arrays by name.
    """

    behind: Any
    encodings: tuple[Encoding, ...]
    encode: Callable[[Any], dict[str, NDArray[Any]]]


def takes_texts(model: Any) -> bool:
    """Whether an input of the model is one of strings."""
    return any(tensor.dtype == "string" for tensor in getattr(model, "inputs", None) or ())


def encoded(model: Any) -> Encoded:
    """The model taken apart.

    Raises:
        ValueError: where its graph has no place at which all strings have become numbers.
    """
    cuts = _cuts(model, words=True) if getattr(model, "inputs", None) else []
    found = [one for one in cuts if one[1].dtype != "string"]
    if not any(one.layer is not None for one, _ in found):
        raise ValueError(f"model {model.name!r} has no layer that encodes in its graph of layers: {WAY_OUT}")
    named = [(replace(one, name=_name(one, [other for other, _ in found])), tensor) for one, tensor in found]
    tensors = {one.name: tensor for one, tensor in named}
    outputs = model.outputs[0] if isinstance(model, keras.Sequential) else model.output
    front = keras.Model(model.inputs, tensors)
    alone = len(tensors) == 1
    before = [(tensor, tensor.name) for tensor in tensors.values()]
    try:
        for name, tensor in tensors.items():  # Keras calls the new inputs so; after clear_session() names come twice
            tensor.name = name
        behind = keras.Model(next(iter(tensors.values())) if alone else tensors, outputs, name=model.name)
    finally:
        for tensor, name in before:
            tensor.name = name
    order = [tensor.name for tensor in model.inputs]

    def encode(inputs: Any) -> dict[str, NDArray[Any]]:
        given = _by_name(model, inputs, order)
        found = front([keras.ops.convert_to_tensor(given[name]) for name in order])
        return {name: np.asarray(found[name]) for name in tensors}

    return Encoded(behind, tuple(one for one, _ in named), encode)


def _cuts(model: Any, words: bool = False) -> list[tuple[Encoding, Any]]:
    """The tensors behind the encodings, and the inputs that none encodes, with what gives them; vocabularies if asked.

    Raises:
        ValueError: where strings become numbers inside a layer that is more than an encoding.
    """
    # Tensors in front of the last encoding: what they were made of, and by which layer.
    front_of = {id(tensor): Encoding(tensor.name, None, (tensor.name,)) for tensor in model.inputs}
    cuts: dict[int, tuple[Encoding, Any]] = {}
    for layer in model.layers:  # in the order of the graph
        for given, made in symbolic_calls(layer):
            known = [front_of[id(tensor)] for tensor in given if id(tensor) in front_of]
            of_texts = any(tensor.dtype == "string" for tensor in given)
            if not known:
                continue
            if not of_texts and not isinstance(layer, ENCODINGS):
                cuts |= {id(tensor): (front_of[id(tensor)], tensor) for tensor in given if id(tensor) in front_of}
                continue
            if isinstance(layer, keras.Model) or layer.trainable_weights:
                raise ValueError(f"model {model.name!r}: its strings become numbers inside {layer.name!r}: {WAY_OUT}")
            sources = tuple(dict.fromkeys(name for one in known for name in one.sources))
            vocabulary = next((one.vocabulary for one in known if one.vocabulary), ())
            if words and hasattr(layer, "get_vocabulary"):
                vocabulary = tuple(map(str, layer.get_vocabulary()))
            front_of |= {id(tensor): Encoding("", layer, sources, vocabulary) for tensor in made}
    return list(cuts.values())


def _parts(model: Any) -> dict[str, Any] | None:
    """The inputs of the model behind its encodings by the layers that give them; empty where these do not tell them.

    None where the graph of the model's layers has no encodings, or no place at which all strings have become numbers.
    """
    try:
        found = _cuts(model) if getattr(model, "inputs", None) else []
    except ValueError:
        return None
    if not any(one.layer is not None for one, _ in found):
        return None
    named = {one.layer.name if one.layer is not None else one.name: tensor for one, tensor in found}
    known = {layer.name for layer in model.layers}
    return named if len(named) == len(found) and named.keys() <= known else {}


def _name(one: Encoding, every: Sequence[Encoding]) -> str:
    """The model input's own name, or those of several, where they are read at this place alone; else the layer's."""
    alone = sum(one.sources == other.sources for other in every) == 1
    return "_X_".join(one.sources) if alone or one.layer is None else str(one.layer.name)


def _by_name(model: Any, inputs: Any, order: Sequence[str]) -> dict[str, Any]:
    """The inputs by name, each (n, 1) where the model takes a column and they are (n,)."""
    if isinstance(inputs, Mapping):
        given = dict(inputs)
    else:
        leaves = list(inputs) if isinstance(inputs, list | tuple) and len(order) > 1 else [inputs]
        given = dict(zip(order, leaves, strict=False))
    if sorted(given) != sorted(order):
        raise ValueError(f"inputs are named {sorted(given)}, but model {model.name!r} takes {sorted(order)}")
    found = {}
    for tensor in model.inputs:
        values = np.asarray(given[tensor.name])
        is_text = values.dtype.kind in "OSU" and all(isinstance(one, str | bytes) for one in values.flat)
        if is_text != (tensor.dtype == "string"):
            wanted = "strings" if tensor.dtype == "string" else "numbers"
            what = f"input {tensor.name!r} of model {model.name!r}"
            raise TypeError(f"{what} takes {wanted}, got an array of {values.dtype}")
        values = values.astype(str) if values.dtype.kind == "O" and is_text else values
        found[tensor.name] = values[:, None] if values.ndim == 1 and len(tensor.shape) == 2 else values
    return found
