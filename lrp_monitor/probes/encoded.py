"""Probes of a model that takes texts: what its own encodings make of them, with the words that numbers stand for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def encoded_inputs(model: Any, inputs: Any, options: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The inputs of the model behind the encodings of `model`, and the options of ProbeSet that show them.

    Args:
        model: a model whose layers encode strings; see `lrp_monitor.encodings`.
        inputs: as the model takes them, strings and numbers; a column may be (n,).
        options: "kind", "feature_names" and "tokens" as ProbeSet takes them; what is given there stays.

    Raises:
        ValueError: or TypeError where the model or the inputs are not of this kind.
    """
    from lrp_monitor.encodings import encoded  # Keras' side, for those who have such a model

    found = encoded(model)
    if isinstance(inputs, list | tuple) and len(model.inputs) > 1:
        inputs = dict(zip((tensor.name for tensor in model.inputs), inputs, strict=False))
    values = found.encode(inputs)
    shown: dict[str, dict[str, Any]] = {"kind": {}, "feature_names": {}, "tokens": {}}
    for one in found.encodings:
        array = values[one.name]
        if one.layer is None:
            continue
        texts = _texts(inputs, one.sources)
        if array.ndim == 2 and array.dtype.kind in "iu":
            words = texts if texts is not None and texts.shape == array.shape else _words(array, one.vocabulary)
            if words is not None:
                shown["kind"][one.name], shown["tokens"][one.name] = "tokens", words.tolist()
        elif array.ndim == 2 and len(one.vocabulary) == array.shape[1] and len(set(one.vocabulary)) == array.shape[1]:
            shown["kind"][one.name], shown["feature_names"][one.name] = "table", one.vocabulary
    single = len(values) == 1
    own: dict[str, Any] = {}
    for argument, by_name in shown.items():
        given = options.get(argument)
        if given is not None:
            own[argument] = given if single or not isinstance(given, Mapping) else {**by_name, **given}
        else:
            own[argument] = (next(iter(by_name.values()), None) if single else by_name) or None
    return next(iter(values.values())) if single else values, own


def _texts(inputs: Any, sources: tuple[str, ...]) -> NDArray[Any] | None:
    """The strings that one input alone gives, (n, ...); (n,) as a column."""
    if len(sources) != 1:
        return None
    given = inputs.get(sources[0]) if isinstance(inputs, Mapping) else inputs
    array = np.asarray(given)
    if array.dtype.kind not in "OSU":
        return None
    return array[:, None] if array.ndim == 1 else array


def _words(ids: NDArray[Any], vocabulary: tuple[str, ...]) -> NDArray[Any] | None:
    """The word of each id; None where one has none."""
    if not vocabulary or ids.min() < 0 or ids.max() >= len(vocabulary):
        return None
    return np.array(vocabulary, object)[ids]
