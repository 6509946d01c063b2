"""A baseline on disk: NAME.npz with the arrays, NAME.json with what they are; no pickle, nothing trusted.

The maps are int16 of the signed square root, scaled to each map's largest |relevance|: half of float32's size, and
about 1e-4 off by the measure of the strictest tier (relative L2, limit 1e-3). Pictures are thumbnails, for reports.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lrp_monitor.regression.errors import BaselineError, Kind
from lrp_monitor.regression.snapshot import Snapshot
from lrp_monitor.render import write

FORMAT = 1
MAX_JSON_BYTES = 16 << 20
MAX_ARRAY_BYTES = 1 << 30
"""What all arrays of a baseline may take in memory, together."""
MAX_ENTRIES = 256

_LEVELS = 32767
_THUMBNAIL = 96
_LFS_POINTER = b"version https://git-lfs"
# What a foreign or damaged file can raise on its way through zip, npy and JSON (RuntimeError: encrypted entries,
# methods of compression that zipfile does not know, JSON nested too deep).
_DAMAGE = (
    AttributeError, EOFError, LookupError, OSError, OverflowError, RuntimeError, SyntaxError, TypeError, ValueError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip


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
    finite = np.isfinite(flat).all(axis=1) & np.isfinite(snapshot.logit)
    if not finite.all():
        broken = ", ".join(repr(snapshot.names[i]) for i in np.flatnonzero(~finite)[:3])
        raise BaselineError(
            "refused",
            f"{archive_path}: not written, NaN or infinity in the heatmaps or logits of {broken}",
            "mend the model first: a baseline of it would pin the fault",
        )
    archive = _pack(snapshot)
    about = {
        "format": FORMAT,
        "npz": {"bytes": len(archive), "sha256": hashlib.sha256(archive).hexdigest()},
        **{key: snapshot.meta[key] for key in sorted(snapshot.meta) if key != "source"},
        "masks": list(snapshot.masks),
        "probes": [
            {
                "name": name,
                "input": None if snapshot.digests is None else snapshot.digests[i],
                "target": int(snapshot.targets[i]),
                "prediction": int(snapshot.predictions[i]),
            }
            for i, name in enumerate(snapshot.names)
        ],
    }
    archive_path.parent.mkdir(parents=True, exist_ok=True)
    # The json last: where writing is cut off between the two, its checksum tells.
    write(archive_path, archive)
    write(about_path, _json(about).encode("utf-8"))


def _error(kind: Kind, file: Path, what: str, mend: str | None = None) -> BaselineError:
    return BaselineError(kind, f"{file}: {what}", mend, files=paths_of(file))


def read_baseline(path: str | os.PathLike[str]) -> Snapshot:
    """Read a baseline. BaselineError, of the kind that it is, names the file and what mends it."""
    archive_path, about_path = paths_of(path)
    about = read_about(path)
    if not archive_path.is_file():
        raise _error("missing", archive_path, f"there is no such file, only {about_path.name}")
    try:
        given = about["npz"]
        expected, digest = int(given["bytes"]), str(given["sha256"])
        size = archive_path.stat().st_size
        if size > MAX_ARRAY_BYTES:
            raise _error("size", archive_path, f"{size:,} bytes; at most {MAX_ARRAY_BYTES:,} are read")
        data = archive_path.read_bytes()
    except BaselineError:
        raise
    except _DAMAGE as error:
        raise _error("damaged", about_path, f"damaged ({_said(error)})") from error
    if data.startswith(_LFS_POINTER):
        raise _error("damaged", archive_path, "a pointer of Git LFS, not the file itself", "fetch it: `git lfs pull`")
    if len(data) < expected:
        raise _error("damaged", archive_path, f"cut off, {len(data):,} of {expected:,} bytes are there")
    try:
        # Read before the checksum is looked at: pickled objects and bombs are named as what they are.
        arrays = _unpack(data, archive_path)
    except BaselineError:
        raise
    except _DAMAGE as error:
        raise _error("damaged", archive_path, f"damaged ({_said(error)})") from error
    if hashlib.sha256(data).hexdigest() != digest:
        raise _error("mismatch", archive_path, f"not the file that {about_path.name} describes (its checksum)")
    try:
        return _snapshot(arrays, about, os.fspath(path))
    except _DAMAGE as error:
        raise _error("damaged", about_path, f"it does not fit {archive_path.name} ({_said(error)})") from error


def read_about(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The json of a baseline. BaselineError where it is missing, damaged, too large or of a newer format."""
    archive_path, about_path = paths_of(path)
    try:
        size = about_path.stat().st_size
        if size > MAX_JSON_BYTES:
            raise _error("size", about_path, f"{size:,} bytes; at most {MAX_JSON_BYTES:,} are read")
        about = json.loads(about_path.read_bytes().decode("utf-8"))
        if not isinstance(about, dict):
            raise TypeError("not an object")
        version = about["format"]
        if not isinstance(version, int) or version < 1:
            raise ValueError(f"format {version!r}")
    except BaselineError:
        raise
    except FileNotFoundError as error:
        beside = f", only {archive_path.name}" if archive_path.is_file() else ""
        raise _error("missing", about_path, f"there is no such baseline{beside}") from error
    except _DAMAGE as error:
        raise _error("damaged", about_path, f"damaged ({_said(error)})") from error
    if version > FORMAT:
        raise _error("version", about_path, f"written in format {version}, this version reads up to {FORMAT}")
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
    for i, mask in enumerate(snapshot.masks.values()):
        arrays[f"mask_{i}"] = np.packbits(mask.reshape(n, -1), axis=1)
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


def _unpack(data: bytes, file: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an npz file. Nothing is inflated before its size is known, and never beyond that."""
    arrays: dict[str, NDArray[Any]] = {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
        if len(entries) > MAX_ENTRIES:
            raise _error("size", file, f"{len(entries)} entries; at most {MAX_ENTRIES} are read")
        total = sum(entry.file_size for entry in entries)
        if total > MAX_ARRAY_BYTES:
            raise _error("size", file, f"inflates to {total:,} bytes; at most {MAX_ARRAY_BYTES:,} are read")
        for entry in entries:
            name = entry.filename.removesuffix(".npy")
            if name == entry.filename or name in arrays:
                raise ValueError(f"unexpected entry {entry.filename!r}")
            with archive.open(entry) as stream:
                shape, dtype = _head(stream)
                if dtype.hasobject:
                    raise _error("pickle", file, f"entry {name!r} holds pickled objects")
                if any(side < 0 for side in shape):
                    raise ValueError(f"entry {name!r} has the shape {shape}")
                wanted = dtype.itemsize * int(np.prod([int(side) for side in shape], dtype=object))
                if wanted > entry.file_size:
                    raise ValueError(f"entry {name!r} says {wanted:,} bytes and holds {entry.file_size:,}")
                content = stream.read(wanted)
                # One more byte, where the entry ends: only there does zipfile look at its checksum.
                if len(content) != wanted or stream.read(1):
                    raise ValueError(f"entry {name!r} is not of the length that it says")
                arrays[name] = np.frombuffer(content, dtype).reshape(shape)
    return arrays


def _head(stream: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):
        raise ValueError(f"npy version {version}")
    shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream, max_header_size=4096)
    if fortran_order and len(shape) > 1:
        raise ValueError("an array in Fortran order")
    return shape, dtype


def _snapshot(arrays: dict[str, NDArray[Any]], about: dict[str, Any], source: str) -> Snapshot:
    levels = arrays["maps"]
    n = len(levels)
    share = levels.astype(np.float64) / _LEVELS
    scale = arrays["scale"].reshape(n, *(1,) * (levels.ndim - 1))
    rows = about["probes"]
    digests = [row["input"] for row in rows]
    known = {"format", "npz", "masks", "probes"}
    snapshot = Snapshot(
        heatmaps=(np.sign(share) * share**2 * scale).astype(np.float32),
        logit=arrays["logit"].astype(np.float32),
        logits=arrays["logits"].astype(np.float32) if "logits" in arrays else None,
        targets=arrays["targets"].astype(np.int64),
        predictions=arrays["predictions"].astype(np.int64),
        names=tuple(str(row["name"]) for row in rows),
        images=arrays["images"].astype(np.uint8),
        labels=arrays["labels"].astype(np.int64) if "labels" in arrays else None,
        masks={str(name): _unpacked(arrays[f"mask_{i}"], levels.shape) for i, name in enumerate(about["masks"])},
        digests=None if None in digests else tuple(str(digest) for digest in digests),
        meta={"source": f"baseline {source}"} | {key: value for key, value in about.items() if key not in known},
    )
    for name in ("logit", "targets", "predictions", "names", "images", "logits", "labels"):
        value = getattr(snapshot, name)
        if value is not None and len(value) != n:
            raise ValueError(f"{len(value)} rows of {name} for {n} maps")
    if levels.dtype.kind != "i" or levels.ndim < 2 or n == 0 or snapshot.images.ndim != 4:
        raise ValueError(f"maps are {levels.dtype} {levels.shape}, images {snapshot.images.shape}")
    return snapshot


def _unpacked(bits: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    pixels = int(np.prod(shape[1:]))
    return np.unpackbits(bits, axis=1, count=pixels).astype(np.bool_).reshape(shape)


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error)[:160]}"
