"""The file of a run's probes: one record with names and shapes in its header, images and masks as chunks."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import MutableMapping
from typing import Any

import numpy as np

from lrp_monitor.store import codec, records
from lrp_monitor.store.format import MOST_AXES, MOST_PICTURE_BYTES, MOST_PIXELS, ProbeInfo, StoreError
from lrp_monitor.store.index import PROBES_FILE
from lrp_monitor.store.inputs import check_inputs, pack_inputs, unpack_inputs
from lrp_monitor.store.labels import pack_labels, unpack_labels
from lrp_monitor.store.records import number_from_json, number_to_json
from lrp_monitor.store.storage import Storage

_HASH = re.compile(r"[0-9a-f]{8,128}")


def pack_probes(probes: ProbeInfo) -> bytes:
    """The record of the probes as a whole frame. Raises ValueError where its parts do not fit together."""
    n = len(probes)
    if n < 1:
        raise ValueError("probes: there must be at least one")
    images = np.asarray(probes.images)
    if images.dtype != np.uint8 or images.ndim != 4 or len(images) != n or images.shape[3] not in (1, 3):
        raise ValueError(
            f"images must be uint8 of shape ({n}, height, width, 1 or 3), got {images.dtype} {images.shape}"
        )
    if probes.labels is not None and np.shape(probes.labels) != (n,):
        raise ValueError(f"labels must have shape ({n},), got {np.shape(probes.labels)}")
    if not _HASH.fullmatch(probes.hash):
        raise ValueError(f"hash must be 8 to 128 hexadecimal digits, got {probes.hash!r}")
    if len(probes.map_shape) > MOST_AXES:
        raise ValueError(f"heatmaps of {len(probes.map_shape)} axes, the store takes {MOST_AXES}")
    _check_size(n, probes.map_shape, images.size, len(probes.masks))
    chunks = [codec.deflate(images.tobytes())]
    places = {}
    end = len(chunks[0])
    for name, mask in probes.masks.items():
        if np.shape(mask) != (n, *probes.map_shape):
            raise ValueError(f"mask {name!r} must have shape {(n, *probes.map_shape)}, got {np.shape(mask)}")
        chunk = codec.deflate(np.asarray(mask, np.bool_).tobytes())
        chunks.append(chunk)
        places[name] = [end, len(chunk)]
        end += len(chunk)
    region = None
    if probes.region is not None and probes.region_of is not None:
        flags = np.asarray(probes.region, np.bool_)
        if flags.ndim < 2 or len(flags) != n or np.shape(probes.region_of) != (n,):
            raise ValueError(f"region of shape {flags.shape}, of classes {np.shape(probes.region_of)}, for {n} probes")
        _check_size(n, flags.shape[1:], images.size, len(probes.masks) + 1)
        chunks.append(codec.deflate(flags.tobytes()))
        classes = [int(one) for one in probes.region_of]
        region = {"shape": list(flags.shape[1:]), "of": classes, "place": [end, len(chunks[-1])]}
    end = sum(map(len, chunks))

    def add(chunk: bytes) -> list[int]:
        nonlocal end
        chunks.append(chunk)
        end += len(chunk)
        return [end - len(chunk), len(chunk)]

    check_inputs(probes.inputs, n, tuple(probes.map_shape))
    numbers = None
    if probes.numbers is not None:
        if np.ndim(probes.numbers) != 2 or len(probes.numbers) != n:
            raise ValueError(f"numbers must have shape ({n}, units), got {np.shape(probes.numbers)}")
        numbers = [[number_to_json(value) for value in row] for row in probes.numbers.tolist()]
    header = {
        "names": list(probes.names),
        "labels": None if probes.labels is None else [int(label) for label in probes.labels],
        "class_names": None if probes.class_names is None else list(probes.class_names),
        "image_shape": list(images.shape),
        "map_shape": list(probes.map_shape),
        "input_shape": list(probes.input_shape),
        "hash": probes.hash,
        "statistics": {k: [number_to_json(v) for v in values] for k, values in probes.statistics.items()},
        "images": [0, len(chunks[0])],
        "masks": places,
        **({} if region is None else {"region": region}),
        "inputs": pack_inputs(probes.inputs, add),
        "numbers": numbers,
        **pack_labels(probes, add),
    }
    version = records.VERSION_OF_SEVERAL if len(probes.inputs) > 1 else records.VERSION
    return records.pack(records.KIND_PROBES, header, chunks, version=version)


def read_probes(storage: Storage, shared: MutableMapping[bytes, ProbeInfo] | None = None) -> ProbeInfo:
    """The probes of a store. Raises StoreError where their file is missing or damaged.

    ``shared``: sets that were read before, by `_identity`. Runs of the same probes then have one set, read once.
    """
    what = f"{storage.path}: {PROBES_FILE}"
    listing = storage.listing()
    if PROBES_FILE not in listing:
        raise StoreError(f"{what} is missing: the folder holds no run, or only part of one was copied")
    if listing[PROBES_FILE][0] > records.MOST_RECORD:
        raise StoreError(f"{what} has {listing[PROBES_FILE][0]} bytes; at most {records.MOST_RECORD} are read")
    size = listing[PROBES_FILE][0]
    identity = None if shared is None else _identity(storage, size)
    known = None if shared is None or identity is None else shared.get(identity)
    if known is not None:
        return known
    probes = parse_probes(storage.read(PROBES_FILE, 0, size), what)
    if shared is not None and identity is not None:
        shared[identity] = probes
    return probes


def _identity(storage: Storage, size: int) -> bytes | None:
    """What tells a file of probes from others without reading its pictures; None where it is damaged.

    Its size, its header, which holds the digest of the inputs, names, labels and the length of every chunk, and the
    checksum of all of it.
    """
    with storage.opened(PROBES_FILE) as read:
        start = read(0, records.FRAME_HEAD + records.FIELDS)
        length = records.frame_length(start[: records.FRAME_HEAD]) if len(start) >= records.FRAME_HEAD else None
        if length is None or size != records.FRAME_HEAD + length + records.FRAME_TAIL:
            return None
        try:
            head = records.parse_head(start[records.FRAME_HEAD :], length, PROBES_FILE)
        except StoreError:
            return None
        text = read(len(start), head.header_length)
        tail = read(size - records.FRAME_TAIL, records.FRAME_TAIL)
    return hashlib.sha256(b"".join([start, text, tail])).digest()


def parse_probes(data: bytes, what: str) -> ProbeInfo:
    """The probes of a record that `pack_probes` made. Raises StoreError, starting with ``what``."""
    start = records.FRAME_HEAD
    length = records.frame_length(data[:start]) if len(data) >= start else None
    if length is None or len(data) < start + length + records.FRAME_TAIL:
        raise StoreError(f"{what} is cut off or damaged: copy it again, or log into another folder")
    payload = memoryview(data)[start : start + length]  # slices of bytes would be copies, each as large as the file
    if not records.payload_is_whole(payload, data[start + length : start + length + records.FRAME_TAIL]):
        raise StoreError(f"{what} is damaged (its checksum is wrong): copy it again")
    head = records.parse_head(payload, length, what)
    if head.kind != records.KIND_PROBES:
        raise StoreError(f"{what} holds a record of kind {head.kind}, not the probes")
    end = records.FIELDS + head.header_length
    text = bytes(payload[records.FIELDS : end])
    records.check_header(bytes(payload[: records.FIELDS]), text, head, what)
    header = records.parse_json(text, what)
    try:
        return _unpack(header, payload[end:], what)
    except records.MALFORMED as error:
        reason = records.quoted(error)
        raise StoreError(f"{what}: a part of the header is missing or of the wrong kind ({reason})") from error


def _unpack(header: dict[str, Any], body: memoryview, what: str) -> ProbeInfo:
    names = _texts(header["names"])
    n = len(names)
    image_shape, map_shape = _shape(header["image_shape"]), _shape(header["map_shape"])
    if n < 1 or len(image_shape) != 4 or image_shape[0] != n or image_shape[3] not in (1, 3):
        raise ValueError(f"{n} names and images of shape {image_shape}")
    _check_size(n, map_shape, math.prod(image_shape), len(header["masks"]))

    def chunk(place: Any, shape: tuple[int, ...]) -> bytes:
        offset, length = records.place(place, len(body), what)
        return codec.inflate(body[offset : offset + length], math.prod(shape), what)

    images = np.frombuffer(chunk(header["images"], image_shape), np.uint8).reshape(image_shape)
    masks = {}
    for name, place in header["masks"].items():
        flags = np.frombuffer(chunk(place, (n, *map_shape)), np.uint8)
        masks[str(name)] = (flags != 0).reshape(n, *map_shape)
    region = region_of = None
    if (about := header.get("region")) is not None:
        shape = _shape(about["shape"])
        _check_size(n, shape, math.prod(image_shape), len(masks) + 1)
        flags = np.frombuffer(chunk(about["place"], (n, *shape)), np.uint8)
        region, region_of = (flags != 0).reshape(n, *shape), np.array(_classes(about["of"], n), np.int64)
    labels, class_names = header["labels"], header["class_names"]
    if labels is not None and len(labels) != n:
        raise ValueError(f"{len(labels)} labels for {n} probes")

    def take(place: Any, length: int) -> bytes:
        offset, stored = records.place(place, len(body), what)
        return codec.inflate(body[offset : offset + stored], length, what)

    inputs = unpack_inputs(header.get("inputs", []), n, map_shape, take, _shape)
    numbers = header.get("numbers")
    if numbers is not None:
        numbers = np.array([[number_from_json(value, what) for value in row] for row in numbers], np.float64)
        if numbers.ndim != 2 or len(numbers) != n:
            raise ValueError(f"numbers of shape {numbers.shape} for {n} probes")
    digest = header["hash"]
    if not isinstance(digest, str) or not _HASH.fullmatch(digest):
        raise ValueError("hash")
    return ProbeInfo(
        names=names,
        labels=None if labels is None else np.array([int(label) for label in labels], np.int64),
        class_names=None if class_names is None else _texts(class_names),
        images=images,
        masks=masks,
        map_shape=map_shape,
        hash=digest,
        input_shape=_shape(header["input_shape"], least=0),
        statistics={
            str(key): [number_from_json(value, what) for value in values]
            for key, values in header["statistics"].items()
        },
        region=region,
        region_of=region_of,
        inputs=inputs,
        numbers=numbers,
        **unpack_labels(header, n, take, _shape),
    )


def _classes(values: Any, n: int) -> list[int]:
    if not isinstance(values, list) or len(values) != n or not all(type(v) is int and 0 <= v < 1 << 53 for v in values):
        raise ValueError(f"{records.quoted(values)} are not the classes of {n} probes")
    return values


def _texts(values: Any) -> list[str]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError("names must be a list of texts")
    return values


def _shape(values: Any, least: int = 1) -> tuple[int, ...]:
    if (
        not isinstance(values, list)
        or len(values) > MOST_AXES
        or not all(type(v) is int and least <= v < 1 << 32 for v in values)
    ):
        raise ValueError(f"{records.quoted(values)} is not a shape")
    return tuple(values)


def _check_size(n: int, map_shape: tuple[int, ...], image_bytes: int, masks: int) -> None:
    """Raises ValueError for more than readers take in, whatever a file claims."""
    pixels = n * math.prod(map_shape)
    if pixels > MOST_PIXELS:
        raise ValueError(
            f"{n} heatmaps of shape {map_shape} have {pixels} pixels, the store takes {MOST_PIXELS}: log fewer or "
            "smaller probes"
        )
    if (taken := image_bytes + masks * pixels) > MOST_PICTURE_BYTES:
        raise ValueError(
            f"the probes' pictures and masks have {taken} bytes, the store takes {MOST_PICTURE_BYTES}: log fewer "
            "probes, fewer masks or smaller pictures"
        )
