"""The runs of a log directory: ``lrp``, and beside it ``lrp-2``, ``lrp-3`` ... of other models."""

from __future__ import annotations

import os
import re

from lrp_monitor.store.format import PLUGIN_NAME, StoreOSError
from lrp_monitor.store.index import PROBES_FILE
from lrp_monitor.store.paths import is_url, join, local_path
from lrp_monitor.store.storage import open_storage

FIRST = "lrp"
_RUN = re.compile(r"lrp(?:-([1-9]\d{0,8}))?")


def run_folders(log_dir: str | os.PathLike[str]) -> list[str]:
    """The run folders in a log directory that hold a store, in the order in which they were begun."""
    return [folder for _, folder in _numbered(log_dir) if open_storage(store_folder(folder)).has(PROBES_FILE)]


def new_run_folder(log_dir: str | os.PathLike[str]) -> str:
    """A run folder that is in use by nobody: the number after the highest one there.

    A local folder is created, so that of two processes that ask at once each gets its own. StoreOSError where that
    is refused.
    """
    number = max((number for number, _ in _numbered(log_dir)), default=1)
    local = local_path(log_dir)
    while True:
        number += 1
        folder = join(log_dir, f"{FIRST}-{number}")
        if local is None:
            return folder
        try:
            os.makedirs(os.path.join(local, f"{FIRST}-{number}"))
            return folder
        except FileExistsError:
            continue
        except OSError as error:
            raise StoreOSError(f"{folder} cannot be created: {error.strerror or error}", error.errno) from error


def run_label(path: str) -> str:
    """A run's path as a person calls it: "b/a/lrp" is "b/a", "b/a/lrp-2" is "b/a-2"; "lrp" by itself is empty."""
    return re.sub(rf"(?:^|/){_RUN.pattern}$", lambda match: f"-{match[1]}" if match[1] else "", path)


def run_name(folder: str) -> str:
    """The last part of the `run_label` of a run's folder or its log directory, wherever that lies."""
    path = folder.rstrip("/") if is_url(folder) else os.path.realpath(folder).replace(os.sep, "/")
    return run_label(path).rpartition("/")[2]


def store_folder(run_dir: str | os.PathLike[str]) -> str:
    """The store's folder inside a run's directory."""
    return join(run_dir, "plugins", PLUGIN_NAME)


def _numbered(log_dir: str | os.PathLike[str]) -> list[tuple[int, str]]:
    """(number, path) of each folder that has the name of a run's, ascending."""
    found = []
    for folder in open_storage(log_dir).folders():
        match = _RUN.fullmatch(os.path.basename(folder.rstrip("/")))
        if match is not None:
            number = 1 if match[1] is None else int(match[1])
            found.append((number, join(log_dir, os.path.basename(folder.rstrip("/")))))
    return sorted(found)
