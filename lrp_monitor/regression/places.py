"""Targets of a snapshot that are no class: a region of an output of maps with what is predicted there, and weights."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from lrp_monitor.engine.explanation import Explanation
    from lrp_monitor.engine.targets import Weighted
    from lrp_monitor.probes import ProbeSet


@dataclass(frozen=True)
class Places:
    """Of an output of maps (n, *places, classes): the region that is explained, and the classes of all places."""

    region: NDArray[np.bool_] | None
    """(n, *places): the places whose logits are summed; None where a logged run does not hold it."""
    predicted: NDArray[np.int64] | None
    """(n, *places) the predicted classes, -1 where logits are not finite; None of maps of numbers."""
    labels: NDArray[np.int64] | None = None
    """(n, *places), negative for none; None without labels of places."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the maps; empty where nothing of them is known."""
        found = (self.region, self.predicted, self.labels)
        return next((tuple(one.shape[1:]) for one in found if one is not None), ())

    @property
    def known(self) -> NDArray[np.bool_] | None:
        """(n,) whether every place has a prediction; None of maps of numbers."""
        found = self.predicted
        return None if found is None else np.asarray((found.reshape(len(found), -1) >= 0).all(axis=1))

    def to_dict(self) -> dict[str, Any]:
        """How many places are in each probe's region, None where it is not known, and the shape of the maps."""
        sizes = None if self.region is None else self.region.reshape(len(self.region), -1).sum(axis=1).tolist()
        return {"places": list(self.shape), "region_places": sizes}

    def changed(self, now: Places) -> NDArray[np.float64] | None:
        """(n, 2) the share of the places whose predicted class is another one now: in the region, and outside of it.

        0 where there is no such place. All places are in a region that is not known. None without predictions.
        """
        old, new = self.predicted, now.predicted
        if old is None or new is None:
            return None
        n = len(old)
        region = self.region if now.region is None else now.region
        inside = np.ones((n, old[0].size), np.bool_) if region is None else region.reshape(n, -1)
        moved = (old != new).reshape(n, -1)
        shares = [(moved & part).sum(axis=1) / np.maximum(part.sum(axis=1), 1) for part in (inside, ~inside)]
        return np.stack(shares, axis=1)


def parts_of(found: Explanation, probes: ProbeSet, target: Weighted | None) -> dict[str, Any]:
    """The fields of a snapshot that say what is explained and predicted.

    Args:
        target: what was explained where it was no class, a region with a mask and a class for each probe
            (`targets.as_region`); None where it was a class.
    """
    from lrp_monitor.engine.targets import Region, sums_by_class  # Keras' side, for those who explain

    fields = {"logit": found.logit, "logits": found.logits, "targets": found.target, "predictions": found.prediction}
    if target is None:
        return fields
    n, shape = len(found.logit), found.logits.shape[1:]
    if isinstance(target, Region):
        explained = region_digests(target.where, np.asarray(target.of))
        where, of = target.where, np.array(target.of, np.int64)
    else:
        weights = target.weights(shape, n)
        explained = tuple(_digest(shape[:-1], one.reshape(-1, shape[-1])) for one in weights)
        where, of = weights.any(axis=-1), np.full(n, -1, np.int64)
    fields["explained"] = explained
    if found.has_classes:
        return fields
    return fields | {
        "logits": sums_by_class(found.logits, where).astype(np.float32) if isinstance(target, Region) else None,
        "targets": of,
        "predictions": np.full(n, -1, np.int64),
        "places": Places(where, found.predicted_maps(probes.label_maps is not None), probes.label_maps),
    }


def region_digests(region: NDArray[np.bool_], of: NDArray[np.integer[Any]]) -> tuple[str, ...]:
    """The digests of `parts_of` of a region (n, *places) of the classes (n,)."""
    return tuple(
        _hash(region.shape[1:], np.flatnonzero(where), np.full(int(where.sum()), one), np.ones(int(where.sum())))
        for where, one in zip(region, np.broadcast_to(of, len(region)), strict=True)
    )


def _digest(places: tuple[int, ...], weights: NDArray[Any]) -> str:
    """Of weights (places, classes)."""
    at, of = np.nonzero(weights)
    return _hash(places, at, of, weights[at, of])


def _hash(places: tuple[int, ...], at: NDArray[Any], of: NDArray[Any], weights: NDArray[Any]) -> str:
    """16 hexadecimal digits of SHA-256 over the outputs that have a weight, and that weight."""
    digest = hashlib.sha256(str(tuple(int(side) for side in places)).encode())
    for values, kind in ((at, "<i8"), (of, "<i8"), (weights, "<f4")):
        digest.update(np.ascontiguousarray(values.astype(kind)).tobytes())
    return digest.hexdigest()[:16]
