"""The hash of a probe set: whether two runs look at the same."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lrp_monitor.mapped import let_go
from lrp_monitor.probes.regions import parts

if TYPE_CHECKING:
    from lrp_monitor.probes.probe_set import ProbeSet


def hash_of(probes: ProbeSet) -> str:
    """SHA-256 (hexadecimal), see `ProbeSet.hash`."""
    digest = hashlib.sha256()

    def feed(part: str, value: NDArray[Any] | None) -> None:
        if value is None:
            digest.update(f"{part}:none\n".encode())
            return
        little = np.ascontiguousarray(value, dtype=value.dtype.newbyteorder("<"))
        digest.update(f"{part}:{little.dtype.str}:{little.shape}\n".encode())
        digest.update(little.reshape(-1).view(np.uint8).data)
        let_go(value)

    for part in probes.parts:
        # One array is fed as it always was: sets that were logged keep their hash.
        feed("inputs" if probes.is_single else f"input {json.dumps(part.name)}", part.values)
    feed("labels", probes.labels)
    for part_name in ("numbers", "label_sets", "label_maps", "position"):
        if (value := getattr(probes, part_name)) is not None:
            feed(part_name, value)
    feed("targets", probes.targets)
    for name, values in sorted(parts(probes.region).items() if probes.region is not None else ()):
        feed(f"region {name}", values)
    for name in sorted(probes.masks):
        feed(f"mask {json.dumps(name)}", probes.masks[name])
    digest.update(json.dumps(probes.names).encode())
    return digest.hexdigest()
