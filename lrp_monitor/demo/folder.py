"""The demo's log directory: what it writes there, and how it takes back that and nothing else."""

from __future__ import annotations

import json
import os
from pathlib import Path

from lrp_monitor.store.format import PLUGIN_NAME

RECORD = "demo.json"
"""The file that says that the runs beside it are the demo's, and at the end holds its figures."""

SHEET, ANIMATION = "planted_vs_control.png", "planted_vs_control.gif"
MODEL = "model.keras"
_RUNS = ("planted", "control")
_MADE_BY = "lrp-monitor demo"


class FolderError(Exception):
    """The log directory cannot be used; the message says why, and the way out."""


def prepare(log_dir: Path, overwrite: bool = False) -> None:
    """Makes the folder ready for the demo. FolderError where it holds something and `overwrite` is not set.

    Args:
        overwrite: what an earlier demo wrote there is deleted; everything else stays where it is.

    Raises:
        FolderError: where a name that the demo needs is taken by something that the demo has not written.
    """
    try:
        log_dir.mkdir(parents=True, exist_ok=True)
        entries = sorted(entry.name for entry in log_dir.iterdir())
        if entries and not overwrite:
            shown = ", ".join(entries[:4]) + (", ..." if len(entries) > 4 else "")
            raise FolderError(
                f"{log_dir} is not empty ({shown}): give another --log-dir, or --overwrite to replace what "
                "an earlier demo wrote there"
            )
        if entries:
            _clear(log_dir)
        record(log_dir, {})
    except OSError as error:
        raise FolderError(f"{log_dir}: {error.strerror or error}; give another --log-dir") from error


def record(log_dir: Path, figures: dict[str, object]) -> None:
    """Writes the file that marks the folder as the demo's, with the figures found so far."""
    text = json.dumps({"made_by": _MADE_BY} | figures, indent=2)
    (log_dir / RECORD).write_text(text + "\n", encoding="utf-8")


def _clear(log_dir: Path) -> None:
    """Deletes what the demo wrote. FolderError, before anything is deleted, where that is not certain."""
    names = (*_RUNS, SHEET, ANIMATION, RECORD)
    taken = [name for name in names if os.path.lexists(log_dir / name)]
    if not taken:
        return
    if not _is_ours(log_dir / RECORD):
        raise FolderError(
            f"{log_dir / taken[0]} is there, but {RECORD} does not say that the demo wrote it: "
            "give another --log-dir, or move it away"
        )
    links = [name for name in taken if (log_dir / name).is_symlink()]
    if links:
        raise FolderError(f"{log_dir / links[0]} is a link, which the demo never makes: move it away")
    for run in _RUNS:
        _clear_run(log_dir / run)
    for name in (SHEET, ANIMATION):
        (log_dir / name).unlink(missing_ok=True)


def _is_ours(file: Path) -> bool:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.get("made_by") == _MADE_BY


def _clear_run(folder: Path) -> None:
    """Deletes a run's model, event files and store; a folder goes where nothing else is left in it."""
    store = folder / "lrp" / "plugins" / PLUGIN_NAME
    written = [
        folder / MODEL,
        *(folder / "lrp").glob("events.out.tfevents.*"),
        *store.glob("*.tfrecord"),
    ]
    for file in written:
        file.unlink(missing_ok=True)
    for emptied in (store, store.parent, folder / "lrp", folder):
        if emptied.is_dir() and not any(emptied.iterdir()):
            emptied.rmdir()
