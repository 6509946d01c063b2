"""The runs below a folder, found without TensorBoard; in the place of its data provider."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

from lrp_monitor.store.format import PLUGIN_NAME
from lrp_monitor.store.index import PROBES_FILE

# Looking through a folder with many files takes a while: at most so often, and never endlessly.
_SECONDS = 3.0
_MOST_FOLDERS = 50_000


class FoundRuns:
    """Names of the runs below a folder, as TensorBoard names them: paths from there, "." for the folder itself.

    Links to folders are not followed, so that no circle of them is walked for ever.
    """

    def __init__(self, logdir: str) -> None:
        self._logdir = logdir
        self._lock = threading.Lock()
        self._at = -_SECONDS
        self._names: list[str] = []

    def list_tensors(self, _context: Any = None, **_: Any) -> list[str]:
        """The names, sorted; looked for anew where that was a while ago."""
        with self._lock:
            if time.monotonic() - self._at >= _SECONDS:
                self._names = self._look()
                self._at = time.monotonic()
            return list(self._names)

    def _look(self) -> list[str]:
        names = []
        for seen, (folder, folders, _) in enumerate(os.walk(self._logdir)):
            if seen >= _MOST_FOLDERS:
                break
            if os.path.isfile(os.path.join(folder, "plugins", PLUGIN_NAME, PROBES_FILE)):
                names.append(os.path.relpath(folder, self._logdir).replace(os.sep, "/"))
            folders[:] = [name for name in folders if name != "plugins" and not name.startswith(".")]
        return sorted(names)
