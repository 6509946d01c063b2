"""sanity_check(): every check on one model and one set of probes, in one report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Unpack

import numpy as np
from numpy.typing import NDArray

from lrp_monitor.arguments import Preset, check_keywords
from lrp_monitor.engine.explainer import Explainer, ExplainerOptions
from lrp_monitor.engine.rules.composites import Composite
from lrp_monitor.files import write_whole
from lrp_monitor.plain import Result
from lrp_monitor.probes.info import probe_info
from lrp_monitor.sanity.faithfulness import Faithfulness, perturb
from lrp_monitor.sanity.localisation import Localisation, localise
from lrp_monitor.sanity.occlusion import Occlusion, occlude
from lrp_monitor.sanity.randomisation import Randomisation, randomise
from lrp_monitor.sanity.sensitivity import Sensitivity, other_classes
from lrp_monitor.sanity.subject import Fill, Subject
from lrp_monitor.store.format import ProbeInfo

CHECKS = ("randomisation", "sensitivity", "faithfulness", "localisation")
"""The checks of sanity_check by default."""


@dataclass(frozen=True)
class SanityReport(Result):
    """The checks' numbers; None (or empty) for those that were left out or do not apply.

    Attributes:
        names: those of the n probes.
        maps: their heatmaps, float32 (n, *map shape).
        pictures: uint8 (n, H, W, 1 or 3).
        shown: the probes with their words, features and curves, by which maps are drawn.
    """

    model: str
    composite: str
    names: tuple[str, ...]
    maps: NDArray[np.float32]
    pictures: NDArray[np.uint8]
    class_names: tuple[str, ...] | None
    targets: NDArray[np.int64]
    randomisation: Randomisation | None = None
    sensitivity: Sensitivity | None = None
    faithfulness: Faithfulness | None = None
    localisation: tuple[Localisation, ...] = ()
    occlusion: tuple[Occlusion, ...] = ()
    shown: ProbeInfo | None = field(default=None, repr=False, compare=False)

    @property
    def verdicts(self) -> dict[str, bool]:
        """Check -> whether the heatmaps pass it. Localisation and occlusion are about the model: no verdict."""
        return {name: one.ok for name, one in self._judged.items()}

    @property
    def _judged(self) -> dict[str, Randomisation | Sensitivity | Faithfulness]:
        found: dict[str, Randomisation | Sensitivity | Faithfulness] = {}
        if self.randomisation is not None:
            found["randomisation"] = self.randomisation
        if self.sensitivity is not None:
            found["sensitivity"] = self.sensitivity
        if self.faithfulness is not None:
            found["faithfulness"] = self.faithfulness
        return found

    @property
    def ok(self) -> bool:
        """Whether the heatmaps pass all checks that were made and have a verdict."""
        return all(self.verdicts.values())

    def __str__(self) -> str:
        lines = [f"model {self.model!r} under composite {self.composite!r}, {len(self.names)} probes"]
        lines += [f"  {'passed' if one.ok else 'FAILED'}  {one.summary()}" for one in self._judged.values()]
        lines += [f"          {one.summary()}" for one in self.localisation]
        lines += [f"          {one.summary()}" for one in self.occlusion]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Everything but maps and pictures as plain data; what is not finite is None."""
        parts: dict[str, Any] = {name: one.to_dict() for name, one in self._judged.items()}
        return {
            "model": self.model,
            "composite": self.composite,
            "probes": list(self.names),
            "ok": self.ok,
            "verdicts": self.verdicts,
            **parts,
            "localisation": {one.mask: one.to_dict() for one in self.localisation},
            "occlusion": {one.mask: one.to_dict() for one in self.occlusion},
        }

    def plot(self) -> NDArray[np.uint8]:
        """All checks as one picture, uint8 (height, width, 3)."""
        from lrp_monitor.sanity import plots  # Pillow is needed for pictures alone

        return plots.report(self)

    def write_plot(self, path: Any) -> None:
        """The picture as a PNG file. OSError."""
        from lrp_monitor.pictures import render

        write_whole(path, render.png(self.plot()))


def sanity_check(
    model: Any,
    probes: Any,
    *,
    composite: Preset | Composite = "auto",
    checks: Sequence[str] = CHECKS,
    cover: str | Sequence[str] = (),
    draws: int = 3,
    how: Literal["normal", "permute"] = "normal",
    classes: int = 3,
    patch: int | Sequence[int] | None = None,
    steps: int = 16,
    fill: Fill = "mean",
    stride: int | None = None,
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
    **options: Unpack[ExplainerOptions],
) -> SanityReport:
    """Asks of a model's heatmaps whether they depend on its weights, on the class, and on what it uses.

    The model's weights are randomised and restored bit by bit; do not use it elsewhere meanwhile.
    ValueError that names the argument.

    Args:
        probes: a ProbeSet (its target is explained, its masks measured), or an array of samples. Of an output of maps
            a region or a class at one place is explained, other classes there; of a regression its number.
        checks: which of CHECKS to make.
        cover: masks to cover against every other region of their size (`occlude`), which takes a forward pass a region.
        draws: how often weights are randomised, and regions are covered in random order.
        how: what randomised weights are, "normal" or "permute", see `randomisation.randomise`.
        classes: how many other classes are explained, those with the highest logits.
        patch: size of the regions that are covered one after the other, see `faithfulness.patches`.
        steps: points of the perturbation curves besides the first.
        fill: what is seen where something is covered, see `Subject.filling`.
        stride: steps between the places that a mask of `cover` is moved to, see `occlude`.
        seed: of everything random.
        progress: is called as work is done with the check, the units done and those there are.
        options: Explainer's.
    """
    unknown = sorted(set(checks) - set(CHECKS))
    if unknown:
        raise ValueError(f"checks: no check {', '.join(unknown)}; there are {', '.join(CHECKS)}")
    check_keywords(sanity_check, options, Explainer)
    subject = Subject.of(model, probes, composite, **options)
    masks = subject.probes.masks
    covered = (cover,) if isinstance(cover, str) else tuple(cover)
    for name in covered:
        if name not in masks:
            raise ValueError(f"cover: no mask {name!r}; the probes have: {', '.join(masks) or 'none'}")

    def advance(check: str, total: int) -> Callable[[int], None]:
        done = 0

        def advance(units: int) -> None:
            nonlocal done
            done += units
            if progress is not None:
                progress(check, min(done, total), total)

        return advance

    found: dict[str, Any] = {}
    if "randomisation" in checks:
        found["randomisation"] = randomise(
            subject, draws=draws, how=how, seed=seed, advance=advance("randomisation", draws * len(_layers(subject)))
        )
    if "sensitivity" in checks:
        found["sensitivity"] = other_classes(subject, most=classes, advance=advance("sensitivity", classes))
    if "faithfulness" in checks:
        tried = len(subject) * (steps + 1) * (draws + 2)
        found["faithfulness"] = perturb(
            subject, patch=patch, steps=steps, draws=draws, fill=fill, seed=seed, advance=advance("faithfulness", tried)
        )
    if "localisation" in checks:
        found["localisation"] = tuple(localise(subject.maps, name, masks[name], subject.probes.names) for name in masks)
    found["occlusion"] = tuple(
        occlude(subject, subject.probes, name, fill=fill, stride=stride, seed=seed) for name in covered
    )
    return SanityReport(
        subject.explainer.model.name,
        subject.explainer.composite_name,
        subject.probes.names,
        subject.maps,
        subject.probes.images,
        subject.probes.class_names,
        subject.targets,
        shown=probe_info(subject.probes),
        **found,
    )


def _layers(subject: Subject) -> list[Any]:
    from lrp_monitor.sanity.randomisation import weights_from_the_output

    return weights_from_the_output(subject)
