"""Names of a model's variables that stay the same from run to run."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras

from lrp_monitor.keras_internals import layers_of

Names = Mapping[str, Any] | Callable[[Any], str]
"""Stable names: a mapping from name to variable, or a function from variable to name."""

_NUMBERED = re.compile(r"^(?P<base>.*?)(?:_(?P<number>\d+))?$")


def tensor_names(model: keras.Model, *, trainable_only: bool = False) -> dict[str, Any]:
    """The floating-point weights of a model by their stable names, in the order of ``model.weights``.

    A name is the variable's path without the model's own name: ``sequential_3/conv2d_7/kernel`` becomes
    ``conv2d/kernel``. Keras numbers unnamed layers over the whole process; here each kind counts from the
    model's first one, so that the same code gives the same names every time it runs. (A name given by hand
    that looks like such a number, ``dense_1``, looks the same and counts alike.) Unnamed inner models
    are left out of the name unless two names would coincide. Seed generators, metrics and quantised integer
    weights are not listed. ``trainable_only`` leaves out frozen weights and moving statistics.

    Returns a dict of unique names to Keras variables; it is empty for a model that is not built.
    """
    variables = [
        variable
        for variable in (model.trainable_weights if trainable_only else model.weights)
        if keras.backend.is_float_dtype(variable.dtype)
    ]
    # Numbering looks at every weight, so that freezing a layer does not rename the others.
    long, short = _canonical_paths(model, [v.path for v in model.weights])
    names_of_all = _unique([short[v.path] for v in model.weights], [long[v.path] for v in model.weights])
    by_identity = {id(v): name for v, name in zip(model.weights, names_of_all, strict=True)}
    return {by_identity[id(variable)]: variable for variable in variables}


def layer_names(model: keras.Model, paths: Iterable[str]) -> list[str]:
    """Stable names of layers, by the same rules as those of tensors: ``conv2d_7#2`` becomes ``conv2d#2``.

    ``paths`` are unique, those of the engine's inspection: a layer's path, ``#k`` behind it for its k-th call.
    """
    paths = list(paths)
    calls = [path.partition("#") for path in paths]
    bases = list(dict.fromkeys(base for base, _, _ in calls))
    long, short = _canonical_paths(model, bases)
    # An unnamed inner model's own path is nothing but what the short form leaves out.
    names = _unique([short[base] or long[base] for base in bases], [long[base] for base in bases])
    name_of = dict(zip(bases, names, strict=True))
    return [f"{name_of[base]}{mark}{number}" for base, mark, number in calls]


def naming(model: keras.Model, names: Names | None) -> Callable[[Any], str]:
    """A function from variable to name, out of ``names`` or, by default, of ``tensor_names(model)``.

    A variable that the mapping does not list goes by its own path.
    """
    if callable(names):
        return names
    mapping = tensor_names(model) if names is None else names
    by_identity = {id(variable): name for name, variable in mapping.items()}
    return lambda variable: by_identity.get(id(variable)) or str(getattr(variable, "path", variable.name))


def _canonical_paths(model: keras.Model, paths: Iterable[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Each path with auto-numbers counted from the model's first: (with, without) unnamed inner models."""
    numbers: dict[str, int] = {}  # kind of layer -> its lowest number in this model
    automatic: set[str] = set()
    unnamed_models: set[str] = set()
    for layer in layers_of(model):
        if not _is_automatic(layer):
            continue
        automatic.add(layer.name)
        if isinstance(layer, keras.Model):
            unnamed_models.add(layer.name)
    paths = list(paths)
    # Variables without a name of their own are numbered by Keras in the same way.
    parts_of_paths = [part for path in paths for part in path.split("/")]
    automatic.update(part for part in parts_of_paths if re.fullmatch(r"variable(_\d+)?", part))
    for name in automatic - ({model.name} if model.name in unnamed_models else set()):
        base, number = _split(name)
        numbers[base] = min(number, numbers.get(base, number))

    def part_name(part: str) -> str:
        if part not in automatic:
            return part
        base, number = _split(part)
        # The model's own name may be of the same kind as an inner model's, and be numbered below it.
        offset = number - numbers.get(base, number)
        return f"{base}_{offset}" if offset > 0 else base

    long, short = {}, {}
    for path in paths:
        parts = path.split("/")
        if len(parts) > 1 and parts[0] == model.name:
            parts = parts[1:]
        long[path] = "/".join(part_name(part) for part in parts)
        short[path] = "/".join(part_name(part) for part in parts if part not in unnamed_models)
    return long, short


def _is_automatic(layer: Any) -> bool:
    """Whether a layer's name is what Keras makes of its class, such as ``multi_head_attention_2``."""
    base, _ = _split(layer.name)
    return base.replace("_", "") == re.sub(r"\W|_", "", type(layer).__name__).lower()


def _split(name: str) -> tuple[str, int]:
    match = _NUMBERED.match(name)
    if match is None or not match["base"]:
        return name, 0
    return match["base"], int(match["number"] or 0)


def _unique(short: list[str], long: list[str]) -> list[str]:
    """The short names where they are unique, else the long ones, else the long ones with a count."""
    repeated = Counter(short)
    names = [s if repeated[s] == 1 else w for s, w in zip(short, long, strict=True)]
    taken = set(names)
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            count = 1
            while f"{name}_{count}" in taken:
                count += 1
            names[index] = f"{name}_{count}"
            taken.add(names[index])
        seen.add(name)
    return names
