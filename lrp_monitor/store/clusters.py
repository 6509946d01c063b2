"""Groups of heatmaps found after a run was logged: one small JSON file a step beside the run's records."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from lrp_monitor.plain import Result, plain
from lrp_monitor.store import records
from lrp_monitor.store.format import StoreError
from lrp_monitor.store.storage import Storage

FORMAT = 1
_NAME = re.compile(r"clusters-(\d{1,18})-([0-9a-f]{8,64})\.json")
_MOST_BYTES = 4 << 20


@dataclass(frozen=True)
class StepClusters(Result):
    """The groups of the heatmaps of one step as ``session`` wrote it.

    ``labels`` is int64 (n,): the group of each probe, the largest group first, -1 for none. ``eigenvalues`` and
    ``settings`` (JSON) say how they were found; both are empty where the groups were logged with the step.
    """

    step: int
    session: str
    labels: npt.NDArray[np.int64]
    eigenvalues: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Number of groups."""
        return int(self.labels.max(initial=-1)) + 1

    def to_dict(self) -> dict[str, Any]:
        """The groups as plain data."""
        return {
            "step": self.step,
            "session": self.session,
            "count": self.count,
            "labels": self.labels.tolist(),
            "eigenvalues": plain(self.eigenvalues),
        }


def clusters_name(step: int, session: str) -> str:
    """The file of a step's groups; a later session that replaces the step gets a file of its own."""
    return f"clusters-{step}-{session}.json"


def write_clusters(storage: Storage, clusters: StepClusters) -> None:
    """Puts the groups of a step in place, in one go, instead of older ones. Raises StoreError, StoreOSError."""
    content = {
        "format": FORMAT,
        "step": clusters.step,
        "session": clusters.session,
        "labels": clusters.labels.tolist(),
        "eigenvalues": clusters.eigenvalues.tolist(),
        "settings": dict(clusters.settings),
    }
    storage.write_whole(clusters_name(clusters.step, clusters.session), records.to_json(content))


def list_clusters(storage: Storage) -> dict[str, tuple[int, str, tuple[int, int]]]:
    """File -> (step, session, (bytes, time of change)) of all groups that a store holds."""
    found = {}
    for name, state in storage.listing().items():
        match = _NAME.fullmatch(name)
        if match is not None:
            found[name] = (int(match[1]), match[2], state)
    return found


def read_clusters(storage: Storage, name: str, probes: int) -> StepClusters:
    """The groups in a file, for ``probes`` probes. Raises StoreError, starting with the file, where they are not."""
    text = storage.read(name, 0, _MOST_BYTES + 1)
    try:
        content = records.parse_content(text, name, FORMAT, _MOST_BYTES)
        labels = content["labels"]
        if len(labels) != probes or not all(type(label) is int and -1 <= label < probes for label in labels):
            raise StoreError(f"{name}: not one group for each of the {probes} probes")
        found = StepClusters(
            step=records.whole(content["step"]),
            session=records.string(content["session"]),
            labels=np.array(labels, np.int64),
            eigenvalues=np.array(content["eigenvalues"], np.float64),
            settings=dict(records.shallow(content["settings"], name)),
        )
    except records.MALFORMED as error:
        raise StoreError(f"{name}: a part is missing or of the wrong kind ({records.quoted(error)})") from error
    if clusters_name(found.step, found.session) != name:
        raise StoreError(f"{name}: holds the groups of step {found.step} of session {records.quoted(found.session)}")
    return found
