"""How a baseline can fail other than by its numbers: each kind apart, with what mends it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import Literal

Kind = Literal[
    "missing", "probes", "composite", "classes", "damaged", "mismatch", "version", "size", "pickle", "refused"
]
"""missing: no such baseline. probes, composite, classes: of another probe set, of other rules, of other classes
explained, so that the maps cannot be compared. damaged: cut off, corrupt, not a baseline at all. mismatch: its two
files do not belong together. version: written in a newer format. size: larger than will be read. pickle: holds
pickled objects. refused: not to be written here."""

_MENDS: dict[str, str] = {
    "missing": "make it with Snapshot.of(model, probes).save(path), `lrp-monitor baseline create`, or "
    "`pytest --lrp-update`",
    "probes": "compare the same probes, or make the baseline anew (`pytest --lrp-update`, `lrp-monitor baseline "
    "update`) where the change is meant",
    "composite": "explain with the baseline's composite, or make the baseline anew (`pytest --lrp-update`, "
    "`lrp-monitor baseline update`) where the change is meant",
    "classes": "explain the same classes (Snapshot.of(..., target=baseline.targets)), or make the baseline anew",
    "damaged": "restore both files, `git checkout -- {files}`, or make the baseline anew",
    "mismatch": "restore both files from one commit, `git checkout HEAD -- {files}`, or make the baseline anew",
    "version": "upgrade with `pip install --upgrade lrp_monitor`, or make the baseline anew",
    "size": "restore both files, `git checkout -- {files}`, or make the baseline anew with fewer or smaller probes",
    "pickle": "pickled objects can run code and are never read: restore both files, `git checkout -- {files}`, or make "
    "the baseline anew",
    "refused": "see the message",
}


class BaselineError(ValueError):
    """A baseline cannot be read, written or compared; ``kind`` says in one word why.

    Args:
        problem: what is wrong, naming the file.
        mend: what to do; by default that of the kind.
        files: those of the baseline, for the command that mends it.
    """

    def __init__(self, kind: Kind, problem: str, mend: str | None = None, files: Iterable[object] = ()) -> None:
        self.kind = kind
        self.problem = problem
        named = " ".join(shlex.quote(str(file)) for file in files) or "FILE.npz FILE.json"
        self.mend = mend or _MENDS[kind].replace("{files}", named)
        super().__init__(f"{problem}\nTo mend: {self.mend}")
