"""compare(): two snapshots of the same probes against the limits of a tier."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from lrp_monitor import metrics
from lrp_monitor.arguments import Tier
from lrp_monitor.probes.checks import checked_masks
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
        a: a `Snapshot`; the path of a baseline; a run (`open_run`'s, or the path of its log directory) at its last
            step, or the pair (run, step).
        b: as `a`
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
    flipped = _flipped(before, now)
    checks = [
        *_finite(broken, now),
        _maps(beyond, chosen, len(now)),
        _logit_check(found["logits"], beyond, chosen),
        _classes(flipped, now.predictions < 0, chosen),
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
    # Logits that are not finite have no predicted class to explain: reported as not finite, not as another class.
    chosen = (before.targets >= 0) & (now.targets >= 0)
    other = [int(i) for i in np.flatnonzero(chosen & (before.targets != now.targets))]
    if other:
        i = other[0]
        raise BaselineError(
            "classes",
            f"another class is explained at {_named(other, now.names)}: {now.targets[i]}, in the baseline "
            f"{before.targets[i]}",
        )
    if before.logits is not None and now.logits is not None and before.logits.shape != now.logits.shape:
        raise BaselineError(
            "classes", f"the model has {now.logits.shape[-1]} outputs, in the baseline {before.logits.shape[-1]}"
        )


def check_probes(before: Sequence[str], now: Sequence[str], names: Sequence[str]) -> None:
    """BaselineError where the inputs of two probe sets, given by their digests, are not the same in the same order."""
    if len(before) != len(now):
        raise BaselineError("probes", f"another probe set: {len(now)} probes, the baseline has {len(before)}")
    other = [i for i, (old, new) in enumerate(zip(before, now, strict=True)) if old != new]
    if other:
        what = "the probes come in another order" if sorted(before) == sorted(now) else "the input is not the same"
        raise BaselineError("probes", f"another probe set: {what} at {_named(other, names)}")


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


def _flipped(before: Snapshot, now: Snapshot) -> NDArray[np.bool_]:
    """(n,) where another class is predicted, or another set of labels."""
    old, new = before.predicted_sets, now.predicted_sets
    if old is not None and new is not None and old.shape == new.shape:
        return np.asarray((old != new).any(axis=1))
    return np.asarray(before.predictions != now.predictions)


def _logits(before: Snapshot, now: Snapshot) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    if before.logits is None or now.logits is None:
        return before.logit[:, None], now.logit[:, None]
    return before.logits, now.logits


def _broken(now: Snapshot) -> dict[str, NDArray[np.bool_]]:
    """{"heatmaps": (n,), "logits": (n,)} where they are not finite."""
    maps = np.asarray(np.isfinite(now.heatmaps.reshape(len(now), -1)).all(axis=1))
    logits = np.isfinite(now.logit if now.logits is None else now.logits).reshape(len(now), -1).all(axis=1)
    return {"heatmaps": ~maps, "logits": np.asarray(~logits | (now.predictions < 0))}


def _finite(broken: Mapping[str, NDArray[np.bool_]], now: Snapshot) -> list[Check]:
    parts = [
        f"the {what} of {_named([int(i) for i in np.flatnonzero(where)], now.names)}"
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


def _classes(flipped: NDArray[np.bool_], none: NDArray[np.bool_], limits: Limits) -> Check:
    text = f"{flipped.sum()} of {len(flipped)} predicted classes changed"
    if none.any():
        text += f", {none.sum()} probes have no prediction"
    if limits.flips is None:
        return Check("classes", True, text, limited=False)
    allowed = _allowed(limits.flips, len(flipped))
    return Check("classes", bool(flipped.sum() <= allowed), f"{text} ({allowed} may)")


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


def _named(indices: Sequence[int], names: Sequence[str]) -> str:
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
    return f"now {_some(come)}, in the baseline {_some(gone)}"


def _some(lines: Sequence[str], most: int = 10) -> str:
    """Lines for a message: the first ``most``, each cut off where it is long."""
    shown = "; ".join(line if len(line) <= 200 else f"{line[:197]}..." for line in lines[:most])
    return f"{shown}; and {len(lines) - most} more" if len(lines) > most else shown or "nothing"


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
        notes.append("versions: " + _some(changed).replace("; ", ", "))
    return tuple(notes)
