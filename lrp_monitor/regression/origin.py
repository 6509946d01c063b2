"""What a snapshot was made of: hashes of its probes and of the model, the composite, versions."""

from __future__ import annotations

import hashlib
import platform
import re
from dataclasses import fields
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from lrp_monitor.probes import ProbeSet

if TYPE_CHECKING:
    from lrp_monitor.engine.explainer import Explainer

_TEXTS = ("source", "probes_hash", "composite", "model", "architecture", "weights", "explains")
_LISTS = ("composite_rules", "class_names", "notes")
_TABLES = ("composite_options", "versions")


def checked_meta(meta: dict[str, Any]) -> dict[str, Any]:
    """``meta`` as read from a file; ValueError where a part of it is of another kind than what `Snapshot` notes."""
    for name, value in meta.items():
        if value is None:
            continue
        parts = [*value, *value.values()] if isinstance(value, dict) else value
        fits = (
            isinstance(value, str)
            if name in _TEXTS
            else isinstance(value, list | tuple) and all(isinstance(part, str) for part in parts)
            if name in _LISTS
            else isinstance(value, dict) and all(isinstance(part, str) for part in parts)
            if name in _TABLES
            else type(value) is int or name != "parameters"
        )
        if not fits:
            raise ValueError(f"{name!r:.60} is not what it should be: {type(value).__name__}")
    return meta


def probe_digests(probes: ProbeSet) -> tuple[str, ...]:
    """A hash of each probe's input: 16 hexadecimal digits of SHA-256 over dtype, shape and bytes.

    With the place of the output that is explained, where the probes name one.
    """
    digests = [hashlib.sha256() for _ in range(len(probes))]
    for part in probes.parts:
        inputs = np.ascontiguousarray(part.values, dtype=part.values.dtype.newbyteorder("<"))
        name = "" if probes.is_single else part.name
        head = f"{name}{inputs.dtype.str}{inputs.shape[1:]}".encode()
        for digest, sample in zip(digests, inputs, strict=True):
            digest.update(head + sample.tobytes())
    for digest, place in zip(digests, () if probes.position is None else probes.position, strict=False):
        digest.update(f"position{place.tolist()}".encode())
    return tuple(digest.hexdigest()[:16] for digest in digests)


def meta_of(explainer: Explainer, probes: ProbeSet) -> dict[str, Any]:
    """What is kept of the explainer and the probes, as plain JSON values: see `Snapshot.meta`."""
    import keras

    import lrp_monitor

    model, composite = explainer.model, explainer.composite
    backend = keras.backend.backend()
    return {
        "source": f"model {model.name!r}",
        "probes_hash": probes.hash,
        "class_names": None if probes.class_names is None else list(probes.class_names),
        "composite": composite.name,
        "composite_rules": rule_lines(str(composite)),
        "composite_options": {
            option.name: getattr(composite, option.name)
            for option in fields(composite)
            if option.name != "name" and isinstance(getattr(composite, option.name), str)
        },
        "notes": list(explainer.notes),
        "model": model.name,
        "parameters": int(model.count_params()),
        "architecture": _architecture(model),
        "weights": _weights(model),
        "versions": {
            "python": platform.python_version(),
            "lrp_monitor": lrp_monitor.__version__,
            "keras": keras.__version__,
            backend: version(backend),
            "numpy": np.__version__,
        },
    }


def rule_lines(composite: str) -> list[str]:
    """A composite in lines. An override by a nameless object prints its address, which every process gives anew."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", composite).splitlines()


def _architecture(model: Any) -> str:
    """Hash of the kinds of all layers and the shapes of all weights; names are left out, Keras numbers them."""
    digest = hashlib.sha256()

    def feed(layer: Any) -> None:
        digest.update(f"{type(layer).__name__}(".encode())
        for inner in getattr(layer, "layers", ()):
            feed(inner)
        digest.update(b")")

    feed(model)
    digest.update(str([tuple(weight.shape) for weight in model.weights]).encode())
    return digest.hexdigest()[:16]


def _weights(model: Any) -> str:
    """Hash of all weights' values, in the model's order."""
    digest = hashlib.sha256()
    for value in model.get_weights():
        array = np.ascontiguousarray(value)
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:16]
