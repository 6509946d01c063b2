"""Reads a run's store: steps, heatmaps, statistics, scalars, histograms; also while it is being written."""

from __future__ import annotations

import math
import os
from collections.abc import MutableMapping
from typing import Any

import numpy as np
import numpy.typing as npt

from lrp_monitor.arguments import one_of
from lrp_monitor.plain import Result, plain
from lrp_monitor.store import codec, finite, records, tables
from lrp_monitor.store.clusters import StepClusters, list_clusters, read_clusters, write_clusters
from lrp_monitor.store.feature_access import FeatureAccess
from lrp_monitor.store.folders import run_folders, store_folder
from lrp_monitor.store.format import PLUGIN_NAME, ProbeInfo, StoreError
from lrp_monitor.store.histograms import HistogramAccess
from lrp_monitor.store.index import PROBES_FILE, Entry, SessionInfo
from lrp_monitor.store.notes import NoteAccess
from lrp_monitor.store.steps import StepHeader, chunks_start
from lrp_monitor.store.storage import Storage, open_storage

MOST_FILM_PIXELS = 1 << 29
"""Pixels that the maps of one probe through training may have together: 2 GiB as float32."""
_MOST_PROBLEMS = 200

# Of the folders beneath one that is no run: how many are looked at, and named where they are.
_LOOKED_AT, _NAMED = 100, 5


def open_run(path: str | os.PathLike[str], *, within: str | None = None) -> Run:
    """Opens a logged run for reading.

    ``path``: the log directory given to the monitor, a run's directory in it (``<log_dir>/lrp``), or the store's
    folder; or the URL of one (``s3://bucket/run``). Of a log directory with several runs (``lrp``, ``lrp-2`` ...) the
    one that was begun last is opened. ``within``: files that lead outside that folder are not read.
    Raises StoreError where there is no run, naming those beneath ``path``, or where its probes are damaged.
    """
    return Run(run_storage(path, within=within))


def run_storage(path: str | os.PathLike[str], *, within: str | None = None) -> Storage:
    """The files of a logged run, found as `open_run` does. Raises StoreError where there is no run."""
    text = os.fspath(path)
    for folder in _candidates(text):
        storage = open_storage(folder, within=within)
        if PROBES_FILE in storage.listing():
            return storage
    beneath = _runs_beneath(text)
    hint = f"; there are runs in {', '.join(beneath)}" if beneath else ""
    raise StoreError(
        f"{text}: no run of {PLUGIN_NAME} here (looked for {os.path.join('lrp', 'plugins', PLUGIN_NAME)})"
        f"{hint or ': give the log_dir that the monitor was given'}"
    )


def _candidates(path: str) -> list[str]:
    return [*map(store_folder, reversed(run_folders(path))), store_folder(path), path]


def _runs_beneath(path: str) -> list[str]:
    found: list[str] = []
    for folder in open_storage(path).folders()[:_LOOKED_AT]:
        if len(found) < _NAMED and any(open_storage(c).has(PROBES_FILE) for c in _candidates(folder)):
            found.append(folder)
    return found


class Run(FeatureAccess, HistogramAccess, NoteAccess, Result):
    """A logged run. What it shows is the state at the last ``refresh``; safe to use from several threads.

    Where sessions (process starts) overlap, the later one counts from its first step on. ``KeyError`` is
    raised for a step, probe, statistic, scalar or tensor that is not there, StoreError for damaged records.
    ``shared``: probe sets that other runs have read, see `read_probes`.
    """

    def __init__(self, storage: Storage, shared: MutableMapping[bytes, ProbeInfo] | None = None) -> None:
        super().__init__(storage, shared)
        self._clusters: dict[str, tuple[tuple[int, int], StepClusters]] = {}

    @property
    def steps(self) -> list[int]:
        """All steps, ascending."""
        return list(self._view.steps)

    @property
    def sessions(self) -> list[SessionInfo]:
        """The process starts that wrote here, in order."""
        return list(self._view.sessions)

    @property
    def replaced(self) -> int:
        """How many logged steps no longer count: a later session has logged from an earlier step on."""
        return sum(session.steps for session in self._view.sessions) - len(self._view.steps)

    @property
    def session(self) -> str:
        """The id of the latest session that wrote a step; empty where none did."""
        return next((s.id for s in reversed(self._view.sessions) if s.steps), "")

    @property
    def meta(self) -> dict[str, Any]:
        """What the latest session noted about model, composite and versions."""
        sessions = self._view.sessions
        chosen = next((s for s in reversed(sessions) if s.steps), sessions[-1] if sessions else None)
        return {} if chosen is None else dict(chosen.meta)

    @property
    def problems(self) -> list[str]:
        """Texts on records that could not be read: cut off or damaged; of very many the first."""
        with self._lock:
            found = [*self._view.problems, *self._found]
        more = len(found) - _MOST_PROBLEMS
        return [*found[:_MOST_PROBLEMS], f"and {more} more"] if more > 0 else found

    @property
    def probes(self) -> ProbeInfo:
        """The probes as shown to a person, with names, labels and masks."""
        return self._probes

    @property
    def scalars(self) -> list[str]:
        """The tags of all scalars, sorted."""
        return sorted({tag for header in self._all_headers() for tag in header.scalars})

    @property
    def statistics(self) -> list[str]:
        """The names of all statistics per probe, sorted."""
        return sorted({name for header in self._all_headers() for name in header.statistics})

    @property
    def not_finite(self) -> list[finite.Span]:
        """Where logits, heatmaps, weights, gradients or the loss were not finite; empty where all is well.

        Each as text: "logits of 8 probes not finite since step 3".
        """
        return finite.spans(self._all_headers())

    def to_dict(self) -> dict[str, Any]:
        """Everything but maps, pictures and histograms as plain data; what is not finite is None."""
        scalars = {}
        for tag in self.scalars:
            steps, values = self.scalar(tag)
            scalars[tag] = {"steps": steps.tolist(), "values": plain(values)}
        statistics = {}
        for name in self.statistics:
            steps, table = self.statistic(name)
            statistics[name] = {"steps": steps.tolist(), "values": plain(table)}
        probes = self.probes
        return {
            "path": self.path,
            "steps": self.steps,
            "sessions": [session.id for session in self.sessions],
            "probes": {
                "names": probes.names,
                "labels": None if probes.labels is None else probes.labels.tolist(),
                **probes.label_lists,
                "class_names": probes.class_names,
                "input_shape": list(probes.input_shape),
                "map_shape": list(probes.map_shape),
                "masks": sorted(probes.masks),
                "hash": probes.hash,
            },
            "meta": self.meta,
            "scalars": scalars,
            "statistics": statistics,
            "not_finite": [
                {"kind": span.kind, "first": span.first, "last": span.last, "lasts": span.lasts, "most": span.most}
                for span in self.not_finite
            ],
            "problems": self.problems,
            "bytes": self.stored_bytes,
        } | ({"features": features} if (features := self.feature_summary()) else {})

    def heatmaps(self, step: int) -> npt.NDArray[np.float32]:
        """All maps of a step: float32 (n, *map_shape). StoreError where ``max_store_mb`` had stopped them."""
        entry = self._entry(self._view, step)
        header = self._header(entry)
        self._need_maps(header)
        payload = memoryview(self._payload(entry))[records.FIELDS + entry.head.header_length :]
        maps = np.zeros((0, *self._probes.map_shape), np.float32)
        for i, (offset, length) in enumerate(header.places):
            decoded = self._decode(payload[offset : offset + length], header, i, entry.what)
            if i == 0:  # only a chunk that inflates to a whole map vouches for map_shape
                maps = np.empty((len(header.places), *decoded.shape), np.float32)
            maps[i] = decoded
        return maps

    def heatmap(self, probe: int | str, step: int) -> npt.NDArray[np.float32]:
        """One probe's map at a step: float32 of map_shape. ``probe``: position or name."""
        entry = self._entry(self._view, step)
        header = self._header(entry)
        number = self._probe(probe)
        self._need_maps(header)
        offset, length = header.places[number]
        chunk = self._storage.read(entry.file, chunks_start(entry) + offset, length)
        return self._decode(chunk, header, number, entry.what)

    def film(self, probe: int | str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """One probe through training: (steps (s,), maps float32 (s, *map_shape)), where maps are stored."""
        number = self._probe(probe)
        view = self._view
        found: list[tuple[Entry, StepHeader]] = []
        for step in view.steps:
            header = self._header(view.entries[step])
            if header.maps:
                found.append((view.entries[step], header))
        chunks = self.chunks((header, header.places[number]) for _, header in found)
        pixels = len(found) * math.prod(self._probes.map_shape)
        if pixels > MOST_FILM_PIXELS:
            raise StoreError(
                f"{self.path}: {len(found)} maps have {pixels} pixels, a film takes {MOST_FILM_PIXELS}: read them "
                "one by one with heatmap(probe, step)"
            )
        # Only a chunk that inflates to a whole map vouches for map_shape: no array is made before.
        maps = np.zeros((0, *self._probes.map_shape), np.float32)
        for i, ((entry, header), chunk) in enumerate(zip(found, chunks, strict=True)):
            decoded = self._decode(chunk, header, number, entry.what)
            if i == 0:
                maps = np.empty((len(found), *decoded.shape), np.float32)
            maps[i] = decoded
        return np.array([header.step for _, header in found], np.int64), maps

    def scalar(self, name: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """(steps, values) of a scalar: its exact tag, or an end of it that only one tag has (after a "/")."""
        headers = self._all_headers()
        tags = {tag for header in headers for tag in header.scalars}
        if name not in tags:
            ending = sorted(tag for tag in tags if tag.endswith("/" + name))
            if len(ending) != 1:
                several = f"is the end of {records.listed(ending)}" if ending else "is none of the scalars"
                raise KeyError(f"{name!r} {several}; there are: {records.listed(sorted(tags))}")
            name = ending[0]
        pairs = [(header.step, header.scalars[name]) for header in headers if name in header.scalars]
        return np.array([s for s, _ in pairs], np.int64), np.array([v for _, v in pairs], np.float64)

    def statistic(self, name: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """(steps (s,), values float64 (s, n)) of a statistic per probe."""
        headers = [header for header in self._all_headers() if name in header.statistics]
        if not headers:
            raise KeyError(f"{name!r} is none of the statistics; there are: {records.listed(self.statistics)}")
        return (
            np.array([header.step for header in headers], np.int64),
            np.stack([header.statistics[name] for header in headers]),
        )

    def table(self, by: str = "step") -> dict[str, npt.NDArray[Any]]:
        """All numbers as columns of equal length, for ``pandas.DataFrame(run.table())``.

        ``by``: "step", a row a step with every scalar; "probe", a row a step and probe with every statistic; "channel",
        a row a step, watched layer, class and channel. See `tables`. Raises ValueError or TypeError for anything else.
        """
        one_of("by", by, ("step", "probe", "channel"))
        if by == "step":
            return tables.by_step(self._all_headers())
        if by == "channel":
            return tables.by_channel(self, list(self._probes.masks))
        return tables.by_probe(self._all_headers(), self._probes)

    def predicted_maps(self, step: int) -> npt.NDArray[np.int64]:
        """The predicted class of each place of an output of maps, int64 (n, *places), -1 for none.

        StoreError where none are stored: the model gives no maps of classes.
        """
        entry = self._entry(self._view, step)
        found = self._header(entry).predicted
        if found is None:
            raise StoreError(f"step {step} of {self.path} holds no predicted maps: its model gives no maps of classes")
        payload = memoryview(self._payload(entry))[records.FIELDS + entry.head.header_length :]
        return self._noting(lambda: found.read(payload, f"{entry.what}, predicted map"))

    def channels(self, step: int) -> npt.NDArray[np.float32]:
        """The parts of all maps by input channel: float32 (n, *map_shape, c). StoreError where none are stored."""
        entry = self._entry(self._view, step)
        header = self._header(entry)
        self._need_maps(header)
        if header.channels == 0:
            raise StoreError(
                f"step {step} of {self.path} holds no maps by channel: log with LRPMonitor(..., channels=True)"
            )
        payload = self._payload(entry)
        start = records.FIELDS + entry.head.header_length
        probes = []
        for probe, places in enumerate(header.channel_places):
            parts = [
                self._decode(payload[start + o : start + o + n], header, probe, f"{entry.what}, channel {c}", c)
                for c, (o, n) in enumerate(places)
            ]
            probes.append(np.stack(parts, axis=-1))
        return np.stack(probes)

    def clusters(self) -> dict[int, StepClusters]:
        """Step -> groups of its heatmaps, ascending: found afterwards, else as logged (statistic ``cluster``)."""
        view = self._view
        found = {}
        for header in self._all_headers(view=view):
            logged = header.statistics.get("cluster")
            if logged is not None:
                found[header.step] = StepClusters(header.step, header.session, finite.class_numbers(logged))
        for name, (step, session, state) in list_clusters(self._storage).items():
            entry = view.entries.get(step)
            if entry is None or entry.session != session:
                continue  # of a step that a later session replaced
            known = self._clusters.get(name)
            if known is None or known[0] != state:
                try:
                    known = (state, read_clusters(self._storage, name, len(self._probes)))
                except StoreError as error:
                    self._note(str(error))
                    continue
                with self._lock:
                    self._clusters[name] = known
            found[step] = known[1]
        return dict(sorted(found.items()))

    def write_clusters(self, clusters: StepClusters) -> None:
        """Keeps the groups of a step beside the run. Raises ValueError, KeyError, StoreError, StoreOSError."""
        self._entry(self._view, clusters.step, clusters.session)
        if clusters.labels.shape != (len(self._probes),):
            raise ValueError(f"labels must have shape {(len(self._probes),)}, got {clusters.labels.shape}")
        write_clusters(self._storage, clusters)

    def map_chunks(self, step: int, session: str | None = None, *, channels: bool = False) -> bytes:
        """The maps of a step as they lie on disk, compressed; empty where none are stored.

        ``places`` of the step's header are ranges of it, and with ``channels`` also ``channel_places``. ``session``:
        only as written by that one.
        """
        entry = self._entry(self._view, step, session)
        header = self._header(entry)
        if not header.maps:
            return b""
        places = [*header.places, *(() if header.predicted is None else header.predicted.places)]
        if channels:
            places += [place for parts in header.channel_places for place in parts]
        start = records.FIELDS + entry.head.header_length
        return self._payload(entry)[start : start + max(offset + length for offset, length in places)]

    def verify(self) -> list[str]:
        """Reads every record of every step that counts and returns a text on each problem."""
        view = self._view
        for step in view.steps:
            entry = view.entries[step]
            try:
                self._payload(entry)
                header = self._header(entry)
                if header.maps:
                    self.heatmaps(step)
                if header.predicted is not None:
                    self.predicted_maps(step)
                if header.channels:
                    self.channels(step)
                for kind, name in self._table(entry):
                    self.histogram(step, kind, name)
                for layer in self.feature_rows(header):
                    self.features(layer, step)
            except StoreError:
                continue  # noted in problems by the call that raised it
        return self.problems

    def _probe(self, probe: int | str) -> int:
        names = self._probes.names
        if isinstance(probe, str):
            if probe not in names:
                raise KeyError(f"no probe {probe!r}; there are: {records.listed(names)}")
            return names.index(probe)
        if not 0 <= probe < len(names):
            raise KeyError(f"no probe {probe}: there are {len(names)}, counted from 0")
        return int(probe)

    def _need_maps(self, header: StepHeader) -> None:
        if not header.maps:
            reason = next((note[:400] for note in header.notes if "max_store_mb" in note), "")
            raise StoreError(
                f"maps not stored at step {header.step} of {self.path}"
                f"{': ' + reason if reason else '; its statistics and histograms are there'}"
            )

    def _decode(
        self, chunk: bytes | memoryview, header: StepHeader, probe: int, what: str, channel: int | None = None
    ) -> npt.NDArray[np.float32]:
        scale = float(header.scale[probe] if channel is None else header.channel_scale[probe, channel])
        what = f"{what}, map of probe {self._probes.names[probe]!r:.200}"
        return self._noting(lambda: codec.decode_map(chunk, scale, header.encoding, header.map_shape, what))
