"""Whether two snapshots can be compared at all: the same probes, composite and targets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lrp_monitor.regression.errors import BaselineError
from lrp_monitor.regression.snapshot import Snapshot


def check_comparable(before: Snapshot, now: Snapshot) -> None:
    """BaselineError where maps of the two say nothing about each other, naming what differs."""
    if before.digests is not None and now.digests is not None:
        check_probes(before.digests, now.digests, now.names)
    if before.heatmaps.shape != now.heatmaps.shape:
        raise BaselineError(
            "probes",
            f"another probe set: maps {now.heatmaps.shape}, the baseline's {before.heatmaps.shape}",
        )
    known = before.digests is not None and now.digests is not None
    if not known and before.meta.get("probes_hash") != now.meta.get("probes_hash"):
        raise BaselineError(
            "probes",
            f"another probe set: its hash is {_short(now)}, that of the other {_short(before)} (of inputs, labels, "
            "names and masks: a logged run does not keep them apart)",
        )
    old, new = _composite(before, now), _composite(now, before)
    if old and new and old != new:
        raise BaselineError("composite", f"another composite: {_difference(old, new)}")
    _check_explained(before, now)
    # Logits that are not finite have no predicted class to explain: reported as not finite, not as another class.
    chosen = (before.targets >= 0) & (now.targets >= 0)
    other = [int(i) for i in np.flatnonzero(chosen & (before.targets != now.targets))]
    if other:
        i = other[0]
        raise BaselineError(
            "classes",
            f"another class is explained at {named(other, now.names)}: {now.targets[i]}, in the baseline "
            f"{before.targets[i]}",
        )
    if before.logits is not None and now.logits is not None and before.logits.shape != now.logits.shape:
        raise BaselineError(
            "classes", f"the model has {now.logits.shape[-1]} outputs, in the baseline {before.logits.shape[-1]}"
        )


def _check_explained(before: Snapshot, now: Snapshot) -> None:
    """BaselineError where one explains other outputs than the other, or it is not known whether it does."""
    ways = [side.explains for side in (before, now)]
    if "region" in ways and ways != ["region", "region"]:
        raise BaselineError("classes", f"what is explained is a {ways[1]}, in the baseline a {ways[0]}")
    if before.explained is not None and now.explained is not None:
        other = [i for i, (old, new) in enumerate(zip(before.explained, now.explained, strict=True)) if old != new]
        if other:
            raise BaselineError(
                "classes",
                f"another region is explained at {named(other, now.names)}: other places, classes or weights of the "
                "output than in the baseline",
                "explain the same (Snapshot.of(..., target=baseline.target_for(probes)), or ProbeSet(..., "
                "target=Region(where, of))), or make the baseline anew",
            )
    old, new = (None if side.places is None else side.places.predicted for side in (before, now))
    if old is not None and new is not None and old.shape != new.shape:
        raise BaselineError("classes", f"the output's maps have shape {new.shape[1:]}, in the baseline {old.shape[1:]}")


def check_probes(before: Sequence[str], now: Sequence[str], names: Sequence[str]) -> None:
    """BaselineError where the inputs of two probe sets, given by their digests, are not the same in the same order."""
    if len(before) != len(now):
        raise BaselineError("probes", f"another probe set: {len(now)} probes, the baseline has {len(before)}")
    other = [i for i, (old, new) in enumerate(zip(before, now, strict=True)) if old != new]
    if other:
        what = "the probes come in another order" if sorted(before) == sorted(now) else "the input is not the same"
        raise BaselineError("probes", f"another probe set: {what} at {named(other, names)}")


def named(indices: Sequence[int], names: Sequence[str]) -> str:
    """Probes by their names, the first three of them."""
    shown = ", ".join(f"{names[i]!r:.100}" for i in indices[:3])
    return shown if len(indices) <= 3 else f"{shown} and {len(indices) - 3} more"


def _short(snapshot: Snapshot) -> str:
    return str(snapshot.meta.get("probes_hash", "unknown"))[:12]


def _composite(snapshot: Snapshot, other: Snapshot) -> list[str]:
    """The composite in lines, empty where it is not known.

    An option that the other snapshot does not know is left out: the version of lrp_monitor that made it had none.
    """
    rules = list(snapshot.meta.get("composite_rules") or ())
    known = dict(other.meta.get("composite_options") or {})
    options = dict(snapshot.meta.get("composite_options") or {})
    return rules and [*rules, *(f"{name}={options[name]}" for name in sorted(options) if name in known)]


def _difference(old: Sequence[str], new: Sequence[str]) -> str:
    """What two descriptions of a composite differ in, in one line."""
    before, now = ([" ".join(line.split()) for line in lines] for lines in (old, new))
    held, holds = set(before), set(now)
    gone, come = [line for line in before if line not in holds], [line for line in now if line not in held]
    if not gone and not come:
        return "the same rules in another order"
    return f"now {some(come)}, in the baseline {some(gone)}"


def some(lines: Sequence[str], most: int = 10) -> str:
    """Lines for a message: the first ``most``, each cut off where it is long."""
    shown = "; ".join(line if len(line) <= 200 else f"{line[:197]}..." for line in lines[:most])
    return f"{shown}; and {len(lines) - most} more" if len(lines) > most else shown or "nothing"
