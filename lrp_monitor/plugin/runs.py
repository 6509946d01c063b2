"""From the runs that TensorBoard lists to open stores: names to folders, checked, and readers kept open."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable
from weakref import WeakValueDictionary

from lrp_monitor.store.folders import run_label, run_name, store_folder
from lrp_monitor.store.format import ProbeInfo, StoreError
from lrp_monitor.store.index import PROBES_FILE
from lrp_monitor.store.paths import is_below, is_url, join
from lrp_monitor.store.reader import Run
from lrp_monitor.store.storage import open_storage

# Listing the runs asks TensorBoard's data server; a page asks for many steps in a row.
_LISTING_SECONDS = 1.0
# Headers read ahead at most: a few seconds of work, and some 4 KB each with 16 probes.
_WARM_STEPS = 20_000
_MOST_LISTINGS = 16
# A page asks for many steps in a row, and each listing of an object store is a request.
_REFRESH_SECONDS = 1.0


def parse_logdir_spec(spec: str) -> list[tuple[str | None, str]]:
    """(name or None, folder) of each part of ``--logdir_spec``: ``name:/path`` or ``/path``, split at commas.

    As TensorBoard reads it: a part that starts with "/", a scheme or a drive letter has no name, and a later
    part with the same folder replaces the earlier one.
    """
    found: dict[str, str | None] = {}
    for part in spec.split(","):
        name: str | None = None
        folder = part
        if ":" in part and not part.startswith("/") and not is_url(part) and not os.path.splitdrive(part)[0]:
            name, _, folder = part.partition(":")
        if not is_url(folder):
            folder = os.path.realpath(os.path.expanduser(folder))
        found[folder] = name
    return [(name, folder) for folder, name in found.items()]


class Folders:
    """Where the runs of a TensorBoard lie: below ``--logdir`` or the parts of ``--logdir_spec``."""

    def __init__(self, logdir: str | None, logdir_spec: str | None) -> None:
        self._bases: list[tuple[str | None, str]] = []
        if logdir:
            self._bases = [(None, os.path.expanduser(logdir))]
        elif logdir_spec:
            self._bases = parse_logdir_spec(logdir_spec)
        self._found: set[str] = set()

    def locate(self, run: str) -> tuple[str, str]:
        """(folder of the run, log directory it must stay in). Raises StoreError, which names the way out.

        Links are followed as long as they stay inside that log directory; object stores (``s3://`` ...) have none.
        """
        inside: list[tuple[str, str]] = []
        outside = None
        for name, base in self._bases:
            relative = run
            if name is not None:
                if run != name and not run.startswith(name + "/"):
                    continue
                relative = run[len(name) + 1 :] or "."
            if is_url(base):
                folder = base if relative == "." else join(base, relative)
                if not is_below(folder, base):
                    outside = f"run {run!r} leads outside the log directory {base}: its heatmaps are not read"
                elif len(self._bases) == 1 or self._holds_store(folder):
                    return folder, base
                else:
                    inside.append((folder, base))
                continue
            folder = os.path.normpath(os.path.join(base, relative))
            root, real = os.path.realpath(base), os.path.realpath(store_folder(folder))
            if os.path.commonpath([root, real]) != root:
                outside = (
                    f"run {run!r} leads outside the log directory {base}: its heatmaps are not read; "
                    f"start TensorBoard with --logdir_spec NAME:{os.path.dirname(os.path.dirname(real))}"
                )
                continue
            if os.path.isdir(real):
                return folder, base
            inside.append((folder, base))
        if inside:
            return inside[0]
        raise StoreError(outside or f"run {run!r} is below none of the log directories of this TensorBoard")

    def _holds_store(self, folder: str) -> bool:
        """Whether a store is there, of an object store's folder: asked until it is."""
        if folder not in self._found and open_storage(store_folder(folder)).has(PROBES_FILE):
            self._found.add(folder)
        return folder in self._found

    def display_name(self, run: str) -> str:
        """The run as a person calls it: without the monitor's own ``lrp`` at its end."""
        name = run.removesuffix("/.")
        label = "" if name == "." else run_label(name)
        if label and not label.startswith("-"):
            return label
        base = next((base for part, base in self._bases if part is None), "")
        return run_name(base if name in (".", "") else join(base, name)) or run


class Readers:
    """Open stores by run name, listed runs only. Safe to use from several threads."""

    def __init__(self, folders: Folders) -> None:
        self._folders = folders
        self._lock = threading.Lock()
        self._open: dict[str, tuple[str, Run]] = {}
        self._listed: dict[str, tuple[float, list[str]]] = {}
        self._warmed: set[str] = set()
        self._refreshed: dict[str, float] = {}
        self._probes: WeakValueDictionary[bytes, ProbeInfo] = WeakValueDictionary()

    def listed(self, experiment: str, ask: Callable[[], list[str]]) -> list[str]:
        """The names of the runs of an experiment, asked for at most once a second."""
        now = time.monotonic()
        with self._lock:
            known = self._listed.get(experiment)
        if known is not None and now - known[0] < _LISTING_SECONDS:
            return known[1]
        names = sorted(ask())
        with self._lock:
            if len(self._listed) >= _MOST_LISTINGS:
                self._listed.clear()  # any id that a request names is an experiment
            self._listed[experiment] = (now, names)
            gone = set(self._open) - {name for _, known in self._listed.values() for name in known}
            for name in gone:
                del self._open[name]
        return names

    def warm(self, names: list[str]) -> None:
        """Reads the headers of runs in the background, once each: the tab then opens without waiting for them."""
        with self._lock:
            fresh = [name for name in names if name not in self._warmed]
            self._warmed.update(fresh)
        if not fresh:
            return
        threading.Thread(target=self._warm, args=(fresh,), name="lrp_monitor", daemon=True).start()

    def _warm(self, names: list[str]) -> None:
        opened: list[tuple[float, Run]] = []
        for name in names:
            try:
                run = self.reader(name)
                opened.append((run.record(run.steps[-1]).wall_time if run.steps else -math.inf, run))
            except StoreError:
                continue  # the route that reads it answers with the error
        left = _WARM_STEPS
        for _, run in sorted(opened, key=lambda one: one[0], reverse=True):  # what is looked at first
            left -= len(run.steps)
            if left < 0:
                return
            try:
                run.records()
                run.all_tensors()
            except StoreError:
                continue

    def reader(self, run: str) -> Run:
        """The reader of a listed run, brought up to date. Raises StoreError where no store can be read."""
        folder, base = self._folders.locate(run)
        with self._lock:
            known = self._open.get(run)
        if known is not None and known[0] == folder:
            now = time.monotonic()
            if not is_url(folder) or now - self._refreshed.get(folder, 0.0) > _REFRESH_SECONDS:
                self._refreshed[folder] = now
                known[1].refresh()
            return known[1]
        reader = Run(open_storage(store_folder(folder), within=base), self._probes)
        with self._lock:
            # Another thread may have been first: all share one reader and its cache.
            known = self._open.get(run)
            if known is not None and known[0] == folder:
                return known[1]
            self._open[run] = (folder, reader)
        return reader
