"""A probe set as one .npz file: written whole, read with bounds, nothing pickled."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lrp_monitor.archives import DAMAGE, MAX_ARRAY_BYTES, read_arrays, read_file
from lrp_monitor.files import write_whole
from lrp_monitor.probes.inputs import KINDS, ProbeInput, arranged
from lrp_monitor.probes.regions import of_parts, parts, position

if TYPE_CHECKING:
    from lrp_monitor.probes.probe_set import ProbeSet

# Sets of one array with labels of classes are written as format 1, which every version reads; those of several inputs,
# or with numbers for labels, as 2; those whose labels are sets or maps of classes, whose target is a place, or that lie
# behind a model's encodings, as 3.
_ONE_ARRAY, _SEVERAL, _NEWEST = 1, 2, 3
# Bytes of JSON with names and settings, each of which may become an object many times as large.
_MOST_ABOUT = 16 << 20
_HEADERS = 1 << 20
_REGION = "region_"
_STRUCTURES: dict[str, type] = {"dict": dict, "list": list, "tuple": tuple}


def save(
    path: str | os.PathLike[str], contents: Mapping[str, Any], inputs: Sequence[ProbeInput], structure: Any
) -> None:
    """Writes a set of these contents, ``ProbeSet._contents``. ValueError where it is larger than `load` reads."""
    single = not isinstance(structure, Mapping | list | tuple)
    labels: NDArray[Any] | None = contents["labels"]
    plain = single and (labels is None or labels.dtype.kind == "i")
    rows = labels is not None and labels.ndim > 1 and labels.dtype.kind != "f"
    newest = rows or contents["position"] is not None or contents["is_encoded"]
    about: dict[str, Any] = {
        "format": _NEWEST if newest else _ONE_ARRAY if plain else _SEVERAL,
        "names": contents["names"],
        "class_names": contents["class_names"],
        "masks": list(contents["masks"]),
        "target": contents["target"],
        "multi_label": contents["multi_label"],
        "is_encoded": contents["is_encoded"],
        "channel_axis": inputs[0].channel_axis if single else None,
        "structure": "array" if single else next(name for name, kind in _STRUCTURES.items() if type(structure) is kind),
        "inputs": [_about(part) for part in inputs],
    }
    arrays: dict[str, NDArray[Any]] = {"about": np.frombuffer(json.dumps(about).encode(), dtype=np.uint8)}
    for place, part in enumerate(inputs):
        arrays["inputs" if single else f"input_{place}"] = part.values
    for name in ("labels", "targets", "display", "position"):
        if contents[name] is not None:
            arrays[name] = contents[name]
    for place, mask in enumerate(contents["masks"].values()):
        arrays[f"mask_{place}"] = mask
    if contents["region"] is not None:
        arrays |= {f"{_REGION}{name}": part for name, part in parts(contents["region"]).items()}
    taken = sum(array.nbytes for array in arrays.values())
    if taken > MAX_ARRAY_BYTES - _HEADERS or arrays["about"].nbytes > _MOST_ABOUT:
        raise ValueError(
            f"{path}: the set takes {taken:,} bytes, at most {MAX_ARRAY_BYTES:,} are read again: save fewer or "
            f"smaller probes, and at most {_MOST_ABOUT:,} bytes of names"
        )
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # the stubs mistake ** for allow_pickle
    write_whole(path, buffer.getvalue())


def _about(part: ProbeInput) -> dict[str, Any]:
    return {
        "name": part.name,
        "kind": part.kind,
        "channel_axis": part.channel_axis,
        "watched": part.watched,
        "feature_names": part.feature_names,
        "tokens": part.tokens,
    }


def load(path: str | os.PathLike[str], make: type[ProbeSet]) -> ProbeSet:
    """Reads a set that `save` wrote. FileNotFoundError; ValueError (naming the file) on anything else."""
    try:
        arrays: dict[str, NDArray[Any]] = dict(read_arrays(read_file(path, MAX_ARRAY_BYTES)))
        if arrays["about"].nbytes > _MOST_ABOUT:
            raise ValueError(f"{arrays['about'].nbytes:,} bytes of names; at most {_MOST_ABOUT:,} are read")
        about = json.loads(arrays["about"].tobytes())
        if about["format"] not in (_ONE_ARRAY, _SEVERAL, _NEWEST):
            raise ValueError(f"format {about['format']!r:.40}, this version reads {_ONE_ARRAY} to {_NEWEST}")
        if not isinstance(about["target"], str):
            raise ValueError("a target that is no text")
        inputs, options, axes = _inputs(about, arrays)
        if any(arrays[f"mask_{place}"].ndim != axes for place in range(len(about["masks"]))):
            raise ValueError("a mask that is not one of each probe")
        found = make(
            inputs,
            arrays.get("labels"),
            names=about["names"],
            class_names=about["class_names"],
            masks={name: arrays[f"mask_{place}"] for place, name in enumerate(about["masks"])},
            target=_target(about["target"], arrays),
            display=arrays.get("display"),
            multi_label=about.get("multi_label"),
            **options,
        )
        found.is_encoded = about.get("is_encoded") is True
        return found
    except FileNotFoundError:
        raise
    except DAMAGE as error:
        raise ValueError(f"{path}: not a probe set that ProbeSet.save wrote ({error!s:.400})") from error


def _inputs(about: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> tuple[Any, dict[str, Any], int]:
    """The inputs, what ProbeSet takes of them besides, and the axes of a mask."""
    kind = about.get("structure", "array")
    known = about.get("inputs")
    if known is not None and not (isinstance(known, list) and known and all(_is_input(one) for one in known)):
        raise ValueError("inputs of another form than they are written in")
    if kind == "array":
        one = {} if known is None else known[0]
        options = {name: one.get(name) for name in ("kind", "feature_names", "tokens")}
        values = arrays["inputs"]
        return (
            values,
            options | {"channel_axis": about["channel_axis"]},
            values.ndim - (about["channel_axis"] is not None),
        )
    if kind not in _STRUCTURES or known is None:
        raise ValueError(f"inputs in a structure {kind!r:.40}")
    leaves = [arrays[f"input_{place}"] for place in range(len(known))]
    places = range(len(known))
    names = [one["name"] for one in known]
    structure: Any = dict(zip(names, places, strict=True)) if kind == "dict" else _STRUCTURES[kind](places)
    options = {
        argument: {one["name"]: one[argument] for one in known}
        for argument in ("kind", "channel_axis", "feature_names", "tokens")
    }
    watched = [one for one in known if one["watched"]]
    axes = 2
    if len(watched) == 1:
        place = known.index(watched[0])
        axes = leaves[place].ndim - (watched[0]["channel_axis"] is not None)
    return arranged(structure, leaves), options | {"watch": [one["name"] for one in watched]}, axes


def _is_input(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("name"), str)
        and value.get("kind") in KINDS
        and type(value.get("watched")) is bool
        and (value.get("channel_axis") is None or type(value["channel_axis"]) is int)
        and {"feature_names", "tokens"} <= value.keys()
    )


def _target(target: str, arrays: Mapping[str, NDArray[Any]]) -> Any:
    if "position" in arrays:
        return position(arrays["position"], arrays["targets"] if target == "given" else target)
    if target != "given":
        return target
    region = {name.removeprefix(_REGION): part for name, part in arrays.items() if name.startswith(_REGION)}
    return of_parts(region) if region else arrays["targets"]
