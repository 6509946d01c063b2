"""compare(): two snapshots of the same probes against the limits of a tier."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from lrp_monitor import metrics
from lrp_monitor.arguments import Tier
from lrp_monitor.probes.checks import checked_masks
from lrp_monitor.regression.comparable import check_comparable, named, some
from lrp_monitor.regression.comparison import LOWER_IS_WORSE, Check, Comparison, Floats
from lrp_monitor.regression.errors import BaselineError
from lrp_monitor.regression.snapshot import Snapshot
from lrp_monitor.regression.tiers import LimitOptions, Limits, limits_of
from lrp_monitor.store.channels import leading
from lrp_monitor.store.channels import shares as channel_shares
from lrp_monitor.store.paths import is_url
from lrp_monitor.store.reader import Run
from lrp_monitor.text import number, percent

Source = Snapshot | Run | str | os.PathLike[str] | tuple[Any, int]
Masks = Mapping[str, Any] | Iterable[str] | None

_SYMBOL = {"relative_l2": "<=", "js": "<=", "logits": "<=", "cosine": ">=", "iou": ">="}


def compare(
    a: Source, b: Source, *, tier: Tier = "same_weights", masks: Masks = None, **limits: Unpack[LimitOptions]
) -> Comparison:
    """Compare what a model looks at now (`b`) with what it looked at before (`a`), on the same probes.

    Args:
        a: what there was before: a `Snapshot`; the path of a baseline; a run (`open_run`'s, or the path of its log
            directory) at its last step, or the pair (run, step).
        b: what there is now, given as `a`.
        tier: one of `TIERS`.
        limits: those of `Limits`, in place of the tier's: ``cosine=.99``, ``failing=.1``, ``mask_mass={"stamp": .05}``.
        masks: regions that relevance should not move into: {name: region} as for `ProbeSet`, or names of the probe
            sets' own; by default all of those. A mask's share of the relevance may rise by the limit `mask_mass`, and
            fall freely; a tier cannot tell a shortcut from an honest retraining by anything else (Arras et al. 2022).

    Raises:
        BaselineError: where the two cannot be compared (another probe set, composite, or explained classes) or a
            baseline cannot be read, ValueError for an unknown tier or limit, or a mask that does not fit.
    """
    chosen = limits_of(tier, limits)
    before, now = snapshot_of(a), snapshot_of(b)
    check_comparable(before, now)
    regions = _masks(before, now, masks)
    if isinstance(chosen.mask_mass, Mapping) and (unknown := sorted(set(chosen.mask_mass) - set(regions))):
        raise ValueError(f"mask_mass names {unknown[0]!r}, but the masks are: {', '.join(regions) or 'none'}")

    found = {name: metric(before.heatmaps, now.heatmaps) for name, metric in metrics.PAIRWISE.items()}
    found["logits"] = metrics.logit_change(*_logits(before, now))
    mass = {
        name: (metrics.mask_mass(before.heatmaps, region), metrics.mask_mass(now.heatmaps, region))
        for name, region in regions.items()
    }
    broken = _broken(now)
    beyond: dict[str, NDArray[np.bool_]] = {"finite": np.logical_or.reduce([*broken.values()])}
    for name, values in found.items():
        limit = getattr(chosen, name)
        if limit is not None:
            # A metric that is NaN is within no limit.
            within = values >= limit if name in LOWER_IS_WORSE else values <= limit
            beyond[name] = np.asarray(~within)
    flipped, changed = _flipped(before, now, chosen)
    if changed is not None:
        found["places"] = changed.max(axis=1)
        if chosen.places is not None:
            beyond["places"] = flipped
    checks = [
        *_finite(broken, now),
        _maps(beyond, chosen, len(now)),
        _logit_check(found["logits"], beyond, chosen),
        *_predictions(before, now, flipped, changed, chosen),
        *(_channels(layer, before, now, chosen.channel_share) for layer in _watched(before, now)),
        *(_mask(name, regions[name], before, now, mass[name], chosen.mask_limit(name)) for name in regions),
    ]
    return Comparison(
        before, now, tier, chosen, found, mass, regions, beyond, flipped, tuple(checks), _notes(before, now, tier)
    )


def snapshot_of(source: Source) -> Snapshot:
    """The snapshot that a source stands for; see `compare`. TypeError for anything else."""
    if isinstance(source, Snapshot):
        return source
    if isinstance(source, Run):
        return Snapshot.of_run(source)
    if isinstance(source, tuple) and len(source) == 2 and isinstance(source[0], Run | str | os.PathLike):
        return Snapshot.of_run(source[0], int(source[1]))
    if isinstance(source, str | os.PathLike):
        # A folder can only be a run: a baseline is two files. So can a URL.
        if is_url(source) or (Path(source).is_dir() and not Path(f"{os.fspath(source)}.npz").is_file()):
            return Snapshot.of_run(source)
        return Snapshot.load(source)
    raise TypeError(
        f"expected a Snapshot, a baseline's path, a run or (run, step), got {type(source).__name__}; "
        "Snapshot.of(model, probes) explains a model"
    )


def replaceable(path: str | os.PathLike[str]) -> Snapshot | None:
    """The baseline that a new one is to replace; None where it is missing or damaged.

    Raises:
        BaselineError: where a newer version wrote it: what it holds is not this one's to throw away.
    """
    try:
        return Snapshot.load(path)
    except BaselineError as error:
        if error.kind == "version":
            raise
        return None


def says_the_same(before: Snapshot, now: Snapshot) -> bool:
    """Whether a baseline can stay: within the limits of same_weights; names, masks, layers equal."""
    try:
        alike = compare(before, now, masks=()).ok
    except BaselineError:
        return False
    same_masks = list(before.masks) == list(now.masks) and all(
        np.array_equal(before.masks[name], now.masks[name]) for name in now.masks
    )
    same_layers = list(before.features) == list(now.features)
    return alike and same_masks and same_layers and before.names == now.names


def _masks(before: Snapshot, now: Snapshot, masks: Masks) -> dict[str, NDArray[np.bool_]]:
    own = {**before.masks, **now.masks}
    if masks is None:
        return own
    if isinstance(masks, Mapping):
        return checked_masks(masks, tuple(now.heatmaps.shape[1:]), len(now))
    names = [masks] if isinstance(masks, str) else list(masks)
    for name in names:
        if name not in own:
            raise ValueError(f"masks: the probes have no mask {name!r}; there are {', '.join(own) or 'none'}")
    return {name: own[name] for name in names}


def _flipped(before: Snapshot, now: Snapshot, limits: Limits) -> tuple[NDArray[np.bool_], Floats | None]:
    """(n,) where another class is predicted, or another set of labels; of maps that and `Places.changed`.

    Numbers do not flip, nor do maps whose predictions are not known.
    """
    if before.places is not None and now.places is not None:
        changed = before.places.changed(now.places)
        if changed is None:
            return np.zeros(len(now), np.bool_), None
        return np.asarray(changed.max(axis=1) > (limits.places or 0)), changed
    if now.explains == "number":
        return np.zeros(len(now), np.bool_), None
    old, new = before.predicted_sets, now.predicted_sets
    if old is not None and new is not None and old.shape == new.shape:
        return np.asarray((old != new).any(axis=1)), None
    return np.asarray(before.predictions != now.predictions), None


def _logits(before: Snapshot, now: Snapshot) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    if before.logits is None or now.logits is None:
        return before.logit[:, None], now.logit[:, None]
    return before.logits, now.logits


def _broken(now: Snapshot) -> dict[str, NDArray[np.bool_]]:
    """{"heatmaps": (n,), "logits": (n,)} where they are not finite."""
    maps = np.asarray(np.isfinite(now.heatmaps.reshape(len(now), -1)).all(axis=1))
    logits = np.isfinite(now.logit if now.logits is None else now.logits).reshape(len(now), -1).all(axis=1)
    return {"heatmaps": ~maps, "logits": np.asarray(~logits | ~now.predicted)}


def _finite(broken: Mapping[str, NDArray[np.bool_]], now: Snapshot) -> list[Check]:
    parts = [
        f"the {what} of {named([int(i) for i in np.flatnonzero(where)], now.names)}"
        for what, where in broken.items()
        if where.any()
    ]
    return [Check("finite", False, f"NaN or infinity in {' and '.join(parts)}")] if parts else []


def _maps(beyond: Mapping[str, NDArray[np.bool_]], limits: Limits, n: int) -> Check:
    names = [name for name in metrics.PAIRWISE if name in beyond]
    if not names:
        return Check("maps", True, "no limit", limited=False)
    failing = np.logical_or.reduce([beyond[name] for name in names])
    allowed = _allowed(limits.failing, n)
    wanted = " and ".join(f"{name} {_SYMBOL[name]} {getattr(limits, name):g}" for name in names)
    text = f"{failing.sum()} of {n} probes beyond {wanted}" + (f" ({allowed} may be)" if allowed else "")
    return Check("maps", bool(failing.sum() <= allowed), text)


def _watched(before: Snapshot, now: Snapshot) -> list[str]:
    """The layers of either that both have. BaselineError for one that the other was not asked for.

    A logged run is asked for nothing: of it those are looked at that it holds.
    """
    missing = sorted(set(now.features) - set(before.features))
    if missing and before.digests is not None and now.digests is not None:
        raise BaselineError(
            "refused",
            f"features: the baseline holds no relevance by channel of {', '.join(missing)}",
            "make the baseline anew with features= (`pytest --lrp-update`), or leave features out",
        )
    return [layer for layer in before.features if layer in now.features]


_LEADING = 4


def _channels(layer: str, before: Snapshot, now: Snapshot, limit: float | None) -> Check:
    """How far the shares of the channels moved that lead in a class in the baseline."""
    old, new = before.features[layer], now.features[layer]
    name = f"channels {layer}"
    if old.shape[1] != new.shape[1]:
        return Check(name, False, f"{new.shape[1]} channels, in the baseline {old.shape[1]}")
    explained = sorted({int(target) for target in before.targets})
    shares = [np.nan_to_num(channel_shares(values, before.targets, explained)) for values in (old, new)]
    worst, where = 0.0, "no channel has a share"
    for of_class, was, is_now in zip(explained, *shares, strict=True):
        for channel in leading(was, _LEADING):
            change = abs(float(is_now[channel] - was[channel]))
            if change >= worst:
                worst = change
                where = (
                    f"channel {channel} of class {of_class} from {percent(was[channel])} to {percent(is_now[channel])}"
                )
    text = f"{_LEADING} leading channels a class, largest change of a share: {where}"
    if limit is None:
        return Check(name, True, text, limited=False)
    return Check(name, worst <= limit, f"{text} (limit {percent(limit)})")


def _logit_check(values: Floats, beyond: Mapping[str, NDArray[np.bool_]], limits: Limits) -> Check:
    worst = float(np.max(values)) if np.isfinite(values).all() else float("nan")
    text = f"largest change {number(worst, 2)} of their root mean square"
    if limits.logits is None:
        return Check("logits", True, text, limited=False)
    return Check("logits", not beyond["logits"].any(), f"{text} (limit {limits.logits:g})")


def _predictions(
    before: Snapshot, now: Snapshot, flipped: NDArray[np.bool_], changed: Floats | None, limits: Limits
) -> list[Check]:
    """How many probes flipped; nothing where there is no prediction to change."""
    if changed is not None:
        return [_places(changed, flipped, now, limits)]
    return [] if now.places is not None or now.explains == "number" else [_classes(flipped, ~now.predicted, limits)]


def _classes(flipped: NDArray[np.bool_], none: NDArray[np.bool_], limits: Limits) -> Check:
    text = f"{flipped.sum()} of {len(flipped)} predicted classes changed"
    if none.any():
        text += f", {none.sum()} probes have no prediction"
    if limits.flips is None:
        return Check("classes", True, text, limited=False)
    allowed = _allowed(limits.flips, len(flipped))
    return Check("classes", bool(flipped.sum() <= allowed), f"{text} ({allowed} may)")


def _places(changed: Floats, flipped: NDArray[np.bool_], now: Snapshot, limits: Limits) -> Check:
    worst = int(np.argmax(changed.max(axis=1)))
    inside, outside = (percent(share) for share in changed[worst])
    most = f"most at {now.names[worst]!r:.100}: {inside} of the region, {outside} outside of it"
    if limits.places is None:
        return Check("classes", True, f"predicted maps that changed: {flipped.sum()} of {len(now)}, {most}", False)
    allowed = _allowed(limits.flips or 0.0, len(now))
    beyond = (
        f"{flipped.sum()} of {len(now)} predicted maps changed at more than {100 * limits.places:g} % of the places"
    )
    return Check("classes", bool(flipped.sum() <= allowed), f"{beyond} ({allowed} may), {most}")


def _mask(
    name: str, region: NDArray[np.bool_], before: Snapshot, now: Snapshot, mass: tuple[Floats, Floats],
    limit: float | None,
) -> Check:  # fmt: skip
    known = np.isfinite(mass[0]) & np.isfinite(mass[1])
    carried = int(metrics.carries(region).sum())
    if not known.any():
        sides = [metrics.mask_absolute(side.heatmaps, region) for side in (before, now)]
        shares = [percent(float(np.mean(side[np.isfinite(side)]))) for side in sides if np.isfinite(side).any()]
        absolute = f"; of all |relevance| {' -> '.join(shares)}" if len(shares) == 2 else ""
        text = f"not to be judged: none of {carried} probes has enough positive relevance both times{absolute}"
        return Check(f"mask {name}", limit is None, text, limit is not None)
    rise = mass[1] - mass[0]
    worst = int(np.argmax(np.where(known, rise, -np.inf)))
    old, new = (float(side[known].mean()) for side in mass)
    text = f"share of the relevance {percent(old)} -> {percent(new)}"
    if known.sum() < carried:
        text += f", mean over {known.sum()} of {carried} probes"
    if limit is None:
        return Check(f"mask {name}", True, text, limited=False)
    ok = new - old <= limit
    text += f" (limit +{100 * limit:g} points)"
    return Check(
        f"mask {name}", ok, text if ok else f"{text}, most at {now.names[worst]!r}: {percent(float(mass[1][worst]))}"
    )


def _allowed(share: float, n: int) -> int:
    # Rounded down, but not by the representation of the share: a fifth of 15 probes is 3.
    return int(share * n + 1e-9)


def _notes(before: Snapshot, now: Snapshot, tier: str) -> tuple[str, ...]:
    notes = []
    old, new = before.meta, now.meta
    if old.get("architecture") and new.get("architecture") and old["architecture"] != new["architecture"]:
        notes.append(f"another architecture: {new.get('parameters')} parameters, before {old.get('parameters')}")
    elif old.get("weights") and new.get("weights"):
        same = old["weights"] == new["weights"]
        other = "the weights are not the same"
        if tier == "same_weights":
            other += ": after training, choose tier fine_tuned or retrained"
        notes.append("the weights are the same" if same else other)
    changed = [
        f"{name} {old['versions'].get(name)} -> {value}"
        for name, value in dict(new.get("versions") or {}).items()
        if old.get("versions") and old["versions"].get(name) not in (None, value)
    ]
    if changed:
        notes.append("versions: " + some(changed).replace("; ", ", "))
    return tuple(notes)
