"""A baseline on disk: NAME.npz with the arrays, NAME.json with what they are; no pickle, nothing trusted.

The maps are int16 of the signed square root, scaled to each map's largest |relevance|: half of float32's size, and
about 1e-4 off by the measure of the strictest tier (relative L2, limit 1e-3). Pictures are thumbnails, for reports.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lrp_monitor.archives import DAMAGE, MAX_ARRAY_BYTES, ArchiveError, read_arrays, read_file
from lrp_monitor.files import write_whole
from lrp_monitor.regression.errors import BaselineError, Kind
from lrp_monitor.regression.origin import checked_meta
from lrp_monitor.regression.places import Places
from lrp_monitor.regression.snapshot import Snapshot
from lrp_monitor.text import in_one_line

FORMAT = 2
"""The newest format. A baseline of classes and numbers is written in format 1, which every version reads."""
_OF_CLASSES = 1
MAX_JSON_BYTES = 16 << 20

_LEVELS = 32767
_KINDS = {
    "logit": (np.float32, 1), "targets": (np.int64, 1), "predictions": (np.int64, 1), "images": (np.uint8, 4),
    "logits": (np.float32, 2), "labels": (np.int64, 1), "predicted_sets": (np.uint8, 2),
}  # fmt: skip
_OPTIONAL = ("logits", "labels", "predicted_sets")
_CLASS_TYPES = (np.int8, np.int16, np.int32)
_THUMBNAIL = 96
_LFS_POINTER = b"version https://git-lfs"


def paths_of(path: str | os.PathLike[str]) -> tuple[Path, Path]:
    """The two files of a baseline, npz and json, whichever of them (or their common stem) is named."""
    text = os.fspath(path)
    stem = text.removesuffix(".npz").removesuffix(".json")
    return Path(f"{stem}.npz"), Path(f"{stem}.json")


def write_baseline(snapshot: Snapshot, path: str | os.PathLike[str]) -> None:
    """Write a snapshot as a baseline, making its folder. The same snapshot gives the same bytes.

    Raises BaselineError (kind "refused") for maps or logits that are not finite: nothing could be compared with
    them; OSError where it cannot be written.
    """
    archive_path, about_path = paths_of(path)
    flat = snapshot.heatmaps.reshape(len(snapshot), -1)
    finite = np.isfinite(flat).all(axis=1) & np.isfinite(snapshot.logit) & snapshot.predicted
    if not finite.all():
        broken = ", ".join(repr(snapshot.names[i]) for i in np.flatnonzero(~finite)[:3])
        raise BaselineError(
            "refused",
            f"{archive_path}: not written, NaN or infinity in the heatmaps or logits of {broken}",
            "mend the model first: a baseline of it would pin the fault",
        )
    archive = _pack(snapshot)
    about = {
        "format": FORMAT if snapshot.explains == "region" else _OF_CLASSES,
        "npz": {"bytes": len(archive), "sha256": hashlib.sha256(archive).hexdigest()},
        **{key: snapshot.meta[key] for key in sorted(snapshot.meta) if key != "source"},
        **({} if snapshot.places is None or not snapshot.places.shape else {"places": list(snapshot.places.shape)}),
        "masks": list(snapshot.masks),
        **({"features": list(snapshot.features)} if snapshot.features else {}),
        "probes": [
            {
                "name": name,
                "input": None if snapshot.digests is None else snapshot.digests[i],
                "target": int(snapshot.targets[i]),
                "prediction": int(snapshot.predictions[i]),
                **({} if snapshot.explained is None else {"explained": snapshot.explained[i]}),
            }
            for i, name in enumerate(snapshot.names)
        ],
    }
    archive_path.parent.mkdir(parents=True, exist_ok=True)
    # The json last: where writing is cut off between the two, its checksum tells.
    write_whole(archive_path, archive)
    write_whole(about_path, _json(about).encode("utf-8"))


def _error(kind: Kind, file: Path, what: str, mend: str | None = None) -> BaselineError:
    return BaselineError(kind, f"{file}: {what}", mend, files=paths_of(file))


def read_baseline(path: str | os.PathLike[str]) -> Snapshot:
    """Read a baseline. BaselineError, of the kind that it is, names the file and what mends it."""
    archive_path, about_path = paths_of(path)
    about = read_about(path)
    try:
        given = about["npz"]
        expected, digest = int(given["bytes"]), str(given["sha256"])
    except DAMAGE as error:
        raise _error("damaged", about_path, f"damaged ({_reason(error)})") from error
    try:
        data = read_file(archive_path, MAX_ARRAY_BYTES)
    except FileNotFoundError as error:
        raise _error("missing", archive_path, f"there is no such file, only {about_path.name}") from error
    except ArchiveError as error:
        raise _error(error.kind, archive_path, str(error)) from error
    except OSError as error:
        raise _error("damaged", archive_path, f"cannot be read ({_reason(error)})") from error
    if data.startswith(_LFS_POINTER):
        raise _error("damaged", archive_path, "a pointer of Git LFS, not the file itself", "fetch it: `git lfs pull`")
    if len(data) < expected:
        raise _error("damaged", archive_path, f"cut off, {len(data):,} of {expected:,} bytes are there")
    try:
        # Read before the checksum is looked at: pickled objects and bombs are named as what they are.
        arrays: dict[str, NDArray[Any]] = dict(read_arrays(data))
    except ArchiveError as error:
        raise _error(error.kind, archive_path, str(error)) from error
    except DAMAGE as error:
        raise _error("damaged", archive_path, f"damaged ({_reason(error)})") from error
    if hashlib.sha256(data).hexdigest() != digest:
        raise _error("mismatch", archive_path, f"not the file that {about_path.name} describes (its checksum)")
    try:
        return _snapshot(arrays, about, os.fspath(path))
    except ArchiveError as error:
        raise _error(error.kind, archive_path, str(error)) from error
    except DAMAGE as error:
        raise _error("damaged", about_path, f"it does not fit {archive_path.name} ({_reason(error)})") from error


def read_about(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The json of a baseline. BaselineError where it is missing, damaged, too large or of a newer format."""
    archive_path, about_path = paths_of(path)
    try:
        about = json.loads(read_file(about_path, MAX_JSON_BYTES).decode("utf-8"))
        if not isinstance(about, dict):
            raise TypeError("not an object")
        version = about["format"]
        if not isinstance(version, int) or version < 1:
            raise ValueError(f"format {version!r:.40}")
    except ArchiveError as error:
        raise _error(error.kind, about_path, str(error)) from error
    except FileNotFoundError as error:
        beside = f", only {archive_path.name}" if archive_path.is_file() else ""
        raise _error("missing", about_path, f"there is no such baseline{beside}") from error
    except DAMAGE as error:
        raise _error("damaged", about_path, f"damaged ({_reason(error)})") from error
    if version > FORMAT:
        raise _error("version", about_path, f"written in format {version!r:.40}, this version reads up to {FORMAT}")
    return about


def _json(about: Mapping[str, Any]) -> str:
    """JSON that a diff can show: keys in order, one line a probe."""
    rows = [json.dumps(row, ensure_ascii=False) for row in about["probes"]]
    head = json.dumps({**about, "probes": []}, indent=2, ensure_ascii=False)
    return head.replace('"probes": []', '"probes": [\n    ' + ",\n    ".join(rows) + "\n  ]") + "\n"


def _pack(snapshot: Snapshot) -> bytes:
    n = len(snapshot)
    maps = snapshot.heatmaps.reshape(n, -1).astype(np.float64)
    scale = np.abs(maps).max(axis=1)
    share = np.divide(maps, scale[:, None], out=np.zeros_like(maps), where=scale[:, None] > 0)
    levels = np.rint(_LEVELS * np.sign(share) * np.sqrt(np.abs(share))).astype("<i2")
    arrays: dict[str, NDArray[Any]] = {
        "maps": levels.reshape(snapshot.heatmaps.shape),
        "scale": scale.astype("<f8"),
        "logit": snapshot.logit.astype("<f4"),
        "targets": snapshot.targets.astype("<i8"),
        "predictions": snapshot.predictions.astype("<i8"),
        "images": _thumbnails(snapshot.images),
    }
    if snapshot.logits is not None:
        arrays["logits"] = snapshot.logits.astype("<f4")
    if snapshot.labels is not None:
        arrays["labels"] = snapshot.labels.astype("<i8")
    if snapshot.predicted_sets is not None:
        arrays["predicted_sets"] = snapshot.predicted_sets.astype(np.uint8)
    arrays |= {} if snapshot.places is None else _packed_places(snapshot.places)
    for i, mask in enumerate(snapshot.masks.values()):
        arrays[f"mask_{i}"] = np.packbits(mask.reshape(n, -1), axis=1)
    for i, relevance in enumerate(snapshot.features.values()):
        arrays[f"feature_{i}"] = relevance.astype("<f4")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            # A fixed date and system: the same arrays give the same bytes, anywhere.
            entry = zipfile.ZipInfo(f"{name}.npy")
            entry.compress_type, entry.create_system = zipfile.ZIP_DEFLATED, 3
            content = io.BytesIO()
            np.lib.format.write_array(content, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
            archive.writestr(entry, content.getvalue(), compresslevel=9)
    return buffer.getvalue()


def _thumbnails(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    longest = max(images.shape[1:3])
    if longest <= _THUMBNAIL:
        return images
    size = [max(1, round(side * _THUMBNAIL / longest)) for side in images.shape[2:0:-1]]
    small = [
        np.asarray(Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).resize(size, Image.Resampling.BOX))
        for image in images
    ]
    return np.stack(small).reshape(len(images), size[1], size[0], images.shape[-1])


def _snapshot(arrays: dict[str, NDArray[Any]], about: dict[str, Any], source: str) -> Snapshot:
    levels, scale = arrays["maps"], arrays["scale"]
    if levels.dtype.kind != "i" or levels.ndim < 2 or levels.size == 0 or scale.shape != (len(levels),):
        raise ValueError(f"maps are {levels.dtype} {levels.shape}, their scales {scale.shape}")
    n, rows = len(levels), about["probes"]
    if not ((scale >= 0) & (scale <= np.finfo(np.float32).max)).all():
        raise ValueError("a scale that is none of a float32 map")
    for name, (dtype, axes) in _KINDS.items():
        array = arrays.get(name)
        if array is None and name in _OPTIONAL:
            continue
        if array is None:
            raise ValueError(f"no {name}")
        if array.dtype != dtype or array.ndim != axes or array.size == 0:
            raise ValueError(f"{name} {array.shape} of {array.dtype}, maps {levels.shape}")
    # Inflated once more, from packed bits and half precision: what that takes has the same bound.
    shape = None if about.get("places") is None else _checked_shape(about["places"])
    taken = (len(about["masks"]) + 4) * levels.size + (0 if shape is None else 17 * n * math.prod(shape))
    if taken > MAX_ARRAY_BYTES:
        raise ArchiveError("size", f"maps and masks take {taken:,} bytes; at most {MAX_ARRAY_BYTES:,} are read")
    digests, explained = [row["input"] for row in rows], [row.get("explained") for row in rows]
    known = {"format", "npz", "masks", "features", "probes", "places"}
    features = {_text(name): arrays[f"feature_{i}"] for i, name in enumerate(about.get("features", ()))}
    for name, relevance in features.items():
        if relevance.dtype != np.float32 or relevance.ndim != 2 or len(relevance) != n or relevance.shape[1] == 0:
            raise ValueError(f"features of {name!r:.60}: {relevance.dtype} {relevance.shape}")
    snapshot = Snapshot(
        heatmaps=np.stack([_decoded(row, factor) for row, factor in zip(levels, scale, strict=True)]),
        logit=arrays["logit"].astype(np.float32),
        logits=arrays["logits"].astype(np.float32) if "logits" in arrays else None,
        targets=arrays["targets"].astype(np.int64),
        predictions=arrays["predictions"].astype(np.int64),
        names=tuple(_text(row["name"]) for row in rows),
        images=arrays["images"].astype(np.uint8),
        labels=arrays["labels"].astype(np.int64) if "labels" in arrays else None,
        predicted_sets=arrays["predicted_sets"] != 0 if "predicted_sets" in arrays else None,
        masks={_text(name): _unpacked(arrays[f"mask_{i}"], levels.shape) for i, name in enumerate(about["masks"])},
        features=features,
        explained=None if None in explained else tuple(_text(digest) for digest in explained),
        places=None if shape is None else _places(arrays, (n, *shape)),
        digests=None if None in digests else tuple(_text(digest) for digest in digests),
        meta=checked_meta(
            {"source": f"baseline {source}"} | {key: value for key, value in about.items() if key not in known}
        ),
    )
    for name in ("logit", "targets", "predictions", "names", "images", "logits", "labels", "predicted_sets"):
        value = getattr(snapshot, name)
        if value is not None and len(value) != n:
            raise ValueError(f"{len(value)} rows of {name} for {n} maps")
    if snapshot.images.shape[3] not in (1, 3) or len(rows) != n:
        raise ValueError(f"images {snapshot.images.shape}, {len(rows)} rows of probes")
    return snapshot


def _packed_places(places: Places) -> dict[str, NDArray[Any]]:
    """The arrays of an output of maps; those that are not known are left out."""
    found: dict[str, NDArray[Any]] = {}
    for name, classes in (("predicted", places.predicted), ("label_maps", places.labels)):
        if classes is not None:
            kind = next(kind for kind in _CLASS_TYPES if classes.max(initial=0) <= np.iinfo(kind).max)
            found[name] = np.maximum(classes, -1).astype(np.dtype(kind).newbyteorder("<"))
    if places.region is not None:
        found["region"] = np.packbits(places.region.reshape(len(places.region), -1), axis=1)
    return found


def _places(arrays: Mapping[str, NDArray[Any]], shape: tuple[int, ...]) -> Places:
    """What `_packed_places` made of maps (n, *places). ValueError for anything else."""
    classes: dict[str, NDArray[np.int64] | None] = {}
    for name in ("predicted", "label_maps"):
        found = arrays.get(name)
        if found is not None and (found.dtype not in _CLASS_TYPES or found.shape != shape or found.min(initial=0) < -1):
            raise ValueError(f"{name} {found.shape} of {found.dtype}, places {shape}")
        classes[name] = None if found is None else found.astype(np.int64)
    region = _unpacked(arrays["region"], shape) if "region" in arrays else None
    return Places(region, classes["predicted"], classes["label_maps"])


def _checked_shape(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or not 0 < len(value) < 32 or not all(type(s) is int and s > 0 for s in value):
        raise ValueError(f"places {value!r:.60} are no shape")
    return tuple(value)


def _decoded(levels: NDArray[Any], scale: float) -> NDArray[np.float32]:
    share = levels.astype(np.float64) / _LEVELS
    decoded: NDArray[np.float32] = (np.sign(share) * share**2 * scale).astype(np.float32)
    return decoded


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.60} is not a text")
    return value


def _unpacked(bits: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    pixels = math.prod(shape[1:])
    if bits.shape != (shape[0], -(-pixels // 8)):  # what is missing would be filled up, however much it is
        raise ValueError(f"a mask of {bits.shape} bytes for maps of {shape}")
    return np.unpackbits(bits, axis=1, count=pixels).astype(np.bool_).reshape(shape)


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {in_one_line(error, 160)}"
