"""Occlusion of a region: cover it, and every other region of the same size and form, and compare what that costs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from lrp_monitor.arguments import Preset, check_keywords
from lrp_monitor.engine.explainer import Explainer, ExplainerOptions
from lrp_monitor.engine.rules.composites import Composite
from lrp_monitor.plain import Result, plain
from lrp_monitor.probes import checks as probe_checks
from lrp_monitor.probes.inputs import iter_spans
from lrp_monitor.sanity.subject import Fill, Subject
from lrp_monitor.text import number

Floats = NDArray[np.float64]

_AT_ONCE = 256
_POSITIONS = 2000  # per probe, above which `stride` must be chosen


@dataclass(frozen=True)
class ProbeOcclusion:
    """What covering the mask, and the same form elsewhere, costs one probe.

    Attributes:
        logit: the explained one with nothing covered.
        drop: what covering the mask takes from it.
        offsets: int64 (p, axes), where else the mask was moved to.
        drops: (p,) what covering it there takes.
        overlap: (p,) the share of its pixels that it has in common with the mask where it belongs, 0 to 1.
        span: of several inputs where the values of the one that holds the mask lie in the map.
        form: that input's map shape.
    """

    name: str
    mask: NDArray[np.bool_]
    logit: float
    drop: float
    offsets: NDArray[np.int64]
    drops: Floats
    overlap: Floats
    span: slice | None = None
    form: tuple[int, ...] = ()

    @property
    def largest_elsewhere(self) -> float:
        """The largest drop where nothing of the mask is covered; NaN where there is no such place."""
        return float(self.drops[self.overlap == 0].max(initial=-np.inf)) if (self.overlap == 0).any() else float("nan")

    @property
    def largest_other(self) -> float:
        """The largest drop anywhere else, places that overlap the mask among them; NaN where there is none."""
        return float(self.drops.max()) if len(self.drops) else float("nan")

    @property
    def rank(self) -> float:
        """The share of the places apart from the mask that cost less than the mask, 0 to 1."""
        apart = self.drops[self.overlap == 0]
        return float((apart < self.drop).mean()) if len(apart) else float("nan")

    def map(self) -> NDArray[np.float32]:
        """The mean drop over the covers that reach a place of the map: float32 (*map shape), 0 where none does."""
        mask = self.mask if self.span is None else self.mask[self.span].reshape(self.form)
        total, count = np.zeros(mask.shape), np.zeros(mask.shape)
        own = np.zeros((1, mask.ndim), np.int64)
        for offset, drop in zip(np.concatenate([own, self.offsets]), [self.drop, *self.drops], strict=True):
            where = _moved(mask, offset)
            total[where] += drop
            count[where] += 1
        found = np.zeros(self.mask.shape, np.float32)
        found[slice(None) if self.span is None else self.span] = (
            total / np.maximum(count, 1) if self.span is None else (total / np.maximum(count, 1)).ravel()
        )
        return found


@dataclass(frozen=True)
class Occlusion(Result):
    """What covering a mask costs, against covering as much anywhere else, for the probes that carry it."""

    mask: str
    places: tuple[ProbeOcclusion, ...]
    """One for each probe that carries the mask."""

    @property
    def drop(self) -> Floats:
        """(m,) what covering the mask takes from the explained logit."""
        return np.array([place.drop for place in self.places])

    @property
    def elsewhere(self) -> Floats:
        """(m,) the largest drop of all places apart from the mask."""
        return np.array([place.largest_elsewhere for place in self.places])

    @property
    def exceeds(self) -> NDArray[np.bool_]:
        """(m,) whether covering the mask costs more than covering any other region of its size apart from it."""
        return self.drop > self.elsewhere

    @property
    def relies(self) -> bool:
        """Whether that is so on every probe: the model relies on the masked region."""
        return bool(self.exceeds.all())

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain data; what is not finite is None."""
        return {
            "probes": [place.name for place in self.places],
            "drop": plain(self.drop),
            "largest_elsewhere": plain(self.elsewhere),
            "relies": self.relies,
        }

    def summary(self) -> str:
        """One line."""
        return (
            f"covering {self.mask!r} takes {number(np.mean(self.drop))} from the logit, the costliest other region of "
            f"its size {number(np.mean(self.elsewhere))} (means over {len(self.places)}); it costs most on "
            f"{int(self.exceeds.sum())} of {len(self.places)} probes"
        )


def occlude(
    model: Any,
    probes: Any,
    mask: Any,
    *,
    composite: Preset | Composite = "auto",
    fill: Fill = "mean",
    stride: int | None = None,
    seed: int = 0,
    advance: Callable[[int], None] | None = None,
    **options: Unpack[ExplainerOptions],
) -> Occlusion:
    """Covers a mask on every probe that carries it, and the same form at every other place inside its input's map.

    No heatmap plays a part here: it is the plain question of what the model uses. ValueError for a mask that is
    not there. Source of the idea: Zeiler, Fergus 2014, section 4.2.

    Args:
        mask: a name in `probes.masks`, or a region as ProbeSet takes them.
        stride: steps between places (1: every place; by default the least that leaves 2,000 of them a probe).
        fill: see Subject.filling.
        options: Explainer's.
    """
    check_keywords(occlude, options, Explainer)
    subject = Subject.of(model, probes, composite, **options)
    name, masks = _mask_of(subject, mask)
    if stride is not None and stride < 1:
        raise ValueError(f"stride={stride}: must be at least 1")
    filling = subject.filling(fill, seed)
    carried = np.flatnonzero(masks.reshape(len(masks), -1).any(axis=1))
    places = tuple(_place(subject, int(number), masks[number], stride, filling, advance) for number in carried)
    return Occlusion(name, places)


def _mask_of(subject: Subject, mask: Any) -> tuple[str, NDArray[np.bool_]]:
    probes = subject.probes
    if isinstance(mask, str):
        if mask not in probes.masks:
            raise ValueError(f"no mask {mask!r}; the probes have: {', '.join(probes.masks) or 'none'}")
        return mask, probes.masks[mask]
    return "mask", probe_checks.checked_masks({"mask": mask}, probes.map_shape, len(probes))["mask"]


def _place(
    subject: Subject,
    number: int,
    mask: NDArray[np.bool_],
    stride: int | None,
    filling: Sequence[NDArray[Any]],
    advance: Callable[[int], None] | None,
) -> ProbeOcclusion:
    span, form = _input_of(subject, mask)
    local = mask if span is None else mask[span].reshape(form)
    offsets = _offsets(local, stride)
    overlap, drops = np.empty(len(offsets)), np.empty(len(offsets))
    for start in range(0, len(offsets), _AT_ONCE):
        block = slice(start, start + _AT_ONCE)
        covers = np.stack([_moved(local, offset) for offset in offsets[block]])
        of = np.full(len(covers), number)
        overlap[block] = (covers & local).reshape(len(covers), -1).sum(axis=1) / mask.sum()
        if span is not None:
            whole = np.zeros((len(covers), *mask.shape), bool)
            whole[:, span] = covers.reshape(len(covers), -1)
            covers = whole
        drops[block] = subject.score[number] - subject.scores(subject.covered(of, covers, filling), of)
        if advance is not None:
            advance(len(covers))
    own = (offsets == 0).all(axis=1)
    return ProbeOcclusion(
        subject.probes.names[number],
        mask,
        float(subject.score[number]),
        float(drops[own][0]),
        offsets[~own],
        drops[~own],
        overlap[~own],
        span,
        form,
    )


def _input_of(subject: Subject, mask: NDArray[np.bool_]) -> tuple[slice | None, tuple[int, ...]]:
    """Where the input that holds a mask lies in a heatmap of several, and its map's shape; (None, ()) of one input."""
    spans = list(iter_spans(subject.probes.parts))
    if len(spans) == 1:
        return None, ()
    holding = [(part, span) for part, span in spans if mask[span].any()]
    if len(holding) > 1:
        names = " and ".join(repr(part.name) for part, _ in holding)
        raise ValueError(f"the mask lies in the inputs {names}: it cannot be moved as one; cover a mask of each")
    part, span = holding[0]
    return span, part.map_shape


def _offsets(mask: NDArray[np.bool_], stride: int | None) -> NDArray[np.int64]:
    """Every shift (p, axes) that keeps the whole mask inside the map, the shift by nothing among them."""
    ends = []
    for axis, size in enumerate(mask.shape):
        filled = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        ends.append((-int(filled[0]), size - 1 - int(filled[-1])))
    step = stride or 1
    while stride is None and np.prod([(high // step) + (-low // step) + 1 for low, high in ends]) > _POSITIONS:
        step += 1
    # Counted from the mask's own place in both directions, so that it is one of them at any stride.
    along = [range(-(-low // step) * step, high + 1, step) for low, high in ends]
    return np.array(list(itertools.product(*along)), np.int64)


def _moved(mask: NDArray[np.bool_], offset: NDArray[np.int64]) -> NDArray[np.bool_]:
    """The mask shifted; what is moved is known to stay inside."""
    return np.roll(mask, tuple(int(o) for o in offset), axis=tuple(range(mask.ndim)))
