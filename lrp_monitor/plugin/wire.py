"""The binary answers that the page takes: u32 length of the JSON, JSON, compressed chunks one after the other.

The JSON gives each chunk as [offset, length] from its own end; NaN and infinities are null in it.
``plugin_assets/src/data`` decodes it.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lrp_monitor.plain import plain, plain_number
from lrp_monitor.store import codec, records
from lrp_monitor.store.format import ProbeInfo, StoreError
from lrp_monitor.store.reader import Run
from lrp_monitor.store.steps import StepHeader

MOST_FILM_BYTES = 1 << 30
"""Bytes of compressed maps that are given at once."""

_MOST_KEPT_BYTES = 64 << 20


def step_answer(
    run: Run, step: int, session: str | None = None, *, probes: Sequence[int] | None = None, channels: bool = False
) -> bytes:
    """A step: its header and maps. Histograms are left out, and so are the maps by channel unless ``channels``.

    ``probes``: the places of those whose maps are given; of the others ``maps`` has null. None: all; only then may
    ``channels`` be asked for.

    Raises:
        KeyError: where the step is not there, or not of ``session``, StoreError where it is damaged.
    """
    header = run.record(step, session)
    about = _step_json(header, channels)
    if probes is None:
        return envelope(about, [run.map_chunks(step, header.session, channels=channels)])
    maps, predicted, chunks = _of_probes(run, header, probes)
    about["maps"] = _at(probes, maps, len(header.scale))
    if header.predicted is not None:
        about["predicted"] |= {"maps": _at(probes, predicted, len(header.scale))}
    return envelope(about, chunks)


def part_of_step(run: Run, header: StepHeader, probes: Sequence[int], *, channels: bool = False) -> bytes:
    """A step as `step_answer` gives it, of some probes by their positions, without the maps by channel.

    ``channels``: whether these are given elsewhere, by `channels_of_step`.
    """
    about = _step_json(header, channels=False)
    maps, predicted, chunks = _of_probes(run, header, probes)
    about |= {
        "maps": maps,
        "scale": [about["scale"][probe] for probe in probes],
        "probes": {name: [values[probe] for probe in probes] for name, values in about["probes"].items()},
        "channels": header.channels if channels else 0,
    }
    if header.predicted is not None:
        about["predicted"] |= {"maps": predicted}
    return envelope(about, chunks)


def channels_of_step(run: Run, header: StepHeader, probes: Sequence[int]) -> bytes:
    """The maps of a step by channel, of some probes by their positions: ``channel_maps``, ``channel_scale``."""
    wanted = [header.channel_places[probe] for probe in probes]
    places: list[list[list[int]]] = []
    end = 0
    for parts in wanted:
        places.append([])
        for _, length in parts:
            places[-1].append([end, length])
            end += length
    about = {"channel_maps": places, "channel_scale": [plain(header.channel_scale[probe]) for probe in probes]}
    return envelope(about, run.chunks([(header, place) for parts in wanted for place in parts]))


def _of_probes(
    run: Run, header: StepHeader, probes: Sequence[int]
) -> tuple[list[list[int] | None], list[list[int] | None], list[bytes]]:
    """The places of the maps, and of the predicted ones, of some probes, and these one behind the other as stored."""
    stored = [header.places[probe] for probe in probes] if header.maps else []
    predicted = [] if header.predicted is None else [header.predicted.places[probe] for probe in probes]
    places: list[list[int] | None] = []
    end = 0
    for _, length in [*stored, *predicted]:
        places.append([end, length])
        end += length
    maps: list[list[int] | None] = places[: len(stored)] if header.maps else [None] * len(probes)
    return maps, places[len(stored) :], run.chunks([(header, place) for place in [*stored, *predicted]])


def _at(probes: Sequence[int], places: Sequence[list[int] | None], length: int) -> list[list[int] | None]:
    """A list with places at those of some probes."""
    found: list[list[int] | None] = [None] * length
    for probe, place in zip(probes, places, strict=True):
        found[probe] = place
    return found


def film_answer(run: Run, probe: int, steps: Sequence[int], *, channels: bool = False) -> bytes:
    """One probe, by its position, at several steps.

    The JSON has ``probe``, ``map_shape`` and one entry a step in ``frames``: ``step``, ``session``, ``encoding``,
    ``scale``, ``map`` (null where not stored), of an output of maps ``predicted`` (``shape``, ``type``, ``map``), and
    with ``channels`` the lists ``channel_maps`` and ``channel_scale``. Raises KeyError where a step is not there,
    StoreError where one is damaged or the answer would be too large.
    """
    frames: list[dict[str, Any]] = []
    wanted: list[tuple[StepHeader, tuple[int, int]]] = []
    end = 0

    def take(header: StepHeader, place: tuple[int, int]) -> list[int]:
        nonlocal end
        wanted.append((header, place))
        end += place[1]
        return [end - place[1], place[1]]

    for step in steps:
        header = run.record(step)
        frame: dict[str, Any] = {
            "step": step,
            "session": header.session,
            "encoding": header.encoding,
            "scale": plain_number(float(header.scale[probe])),
            "map": take(header, header.places[probe]) if header.maps else None,
        }
        if (predicted := header.predicted) is not None:
            place = take(header, predicted.places[probe])
            frame["predicted"] = {"shape": list(predicted.shape), "type": predicted.type, "map": place}
        if channels:
            parts = header.channel_places[probe] if header.channels else ()
            frame["channel_maps"] = [take(header, place) for place in parts]
            frame["channel_scale"] = plain(header.channel_scale[probe])
        frames.append(frame)
    if end > MOST_FILM_BYTES:
        raise StoreError(
            f"{run.path}: {len(frames)} steps of a probe have {end} bytes, at most {MOST_FILM_BYTES} are given at "
            "once: ask for fewer"
        )
    return envelope({"probe": probe, "map_shape": list(run.probes.map_shape), "frames": frames}, run.chunks(wanted))


def probes_answer(probes: ProbeInfo, chosen: Sequence[int] | None = None, **more: Any) -> bytes:
    """The probes' pictures and masks, and their inputs' values, pictures and texts; ``more`` of the JSON.

    ``chosen``: the places of those that are given, which ``of`` lists; None: all.
    """
    count, probes = len(probes), probes if chosen is None else probes.of(chosen)
    more |= {} if chosen is None else {"of": list(chosen)}
    chunks = [codec.deflate(probes.images.tobytes())]
    end = len(chunks[0])
    masks = {}
    for mask, flags in probes.masks.items():
        chunks.append(codec.deflate(flags.tobytes()))
        masks[mask] = [end, len(chunks[-1])]
        end += len(chunks[-1])

    def add(values: npt.NDArray[Any] | None, kind: str) -> dict[str, Any] | None:
        nonlocal end
        if values is None:
            return None
        chunks.append(codec.deflate(values.astype(kind).tobytes()))
        end += len(chunks[-1])
        return {"shape": list(values.shape[1:]), "place": [end - len(chunks[-1]), len(chunks[-1])]}

    labels = None if probes.label_maps is None else np.clip(probes.label_maps, -1, np.iinfo(np.int32).max)
    header = {
        "images": [0, len(chunks[0])],
        "label_maps": add(labels, "<i4"),
        "masks": masks,
        "inputs": [
            {"values": add(one.values, "<f4"), "pictures": add(one.pictures, "u1"), "tokens": one.tokens}
            for one in probes.inputs
        ],
        "shape": [count, *probes.images.shape[1:]],
        "map_shape": list(probes.map_shape),
    } | more
    return envelope(header, chunks)


class ProbeAnswers:
    """Answers of whole probe sets, the last few of them: to deflate a large one takes longer than to send it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[int, tuple[ProbeInfo, bytes]] = {}

    def of(self, probes: ProbeInfo) -> bytes:
        """What `probes_answer` gives for all of them. Safe to use from several threads."""
        with self._lock:
            known = self._kept.get(id(probes))  # its own key as long as it is kept here
        if known is not None:
            return known[1]
        answer = probes_answer(probes)
        with self._lock:
            self._kept[id(probes)] = (probes, answer)
            while len(self._kept) > 1 and sum(len(one) for _, one in self._kept.values()) > _MOST_KEPT_BYTES:
                del self._kept[next(iter(self._kept))]
        return answer


def envelope(header: dict[str, Any], chunks: Iterable[bytes]) -> bytes:
    """An answer of a header and chunks."""
    text = records.to_json(header)
    return b"".join([struct.pack("<I", len(text)), text, *chunks])


def _step_json(header: StepHeader, channels: bool) -> dict[str, Any]:
    more: dict[str, Any] = {}
    if (found := header.predicted) is not None:
        places = [list(place) for place in found.places]
        more["predicted"] = {"shape": list(found.shape), "type": found.type, "maps": places}
    if channels:
        more |= {
            "channel_maps": [[list(place) for place in parts] for parts in header.channel_places],
            "channel_scale": [plain(scale) for scale in header.channel_scale],
        }
    return {
        "step": header.step,
        "epoch": header.epoch,
        "batch": header.batch,
        "wall_time": plain_number(header.wall_time),
        "session": header.session,
        "encoding": header.encoding,
        "map_shape": list(header.map_shape),
        "scale": plain(header.scale),
        "maps": [list(place) for place in header.places] if header.maps else [None] * len(header.scale),
        "probes": {name: plain(values) for name, values in header.statistics.items()},
        "scalars": {name: plain_number(value) for name, value in header.scalars.items()},
        "notes": header.notes,
        "gradient_batch": header.gradient_batch,
        "channels": header.channels,
    } | more
