"""What is chosen of logged runs: probes, masks and steps. Without TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lrp_monitor.cli.errors import CommandError
from lrp_monitor.pictures import film
from lrp_monitor.store.reader import Run


def probe_number(run: Run, probe: str | int) -> int:
    """A probe's place from its name, or from its number as text."""
    names = run.probes.names
    if isinstance(probe, str) and probe in names:
        return names.index(probe)
    if str(probe).isdecimal() and int(probe) < len(names):
        return int(probe)
    raise CommandError(f"no probe {probe!r} in {run.path}; there are {', '.join(names)}, or their numbers from 0")


def mask_of(run: Run, name: str) -> NDArray[np.bool_]:
    """A mask of all probes, (n, H, W). Raises CommandError where the run has none of this name."""
    masks = run.probes.masks
    if name not in masks:
        raise CommandError(f"no mask {name!r} in {run.path}; there are: {', '.join(sorted(masks)) or 'none'}")
    return masks[name]


def chosen_steps(wanted: str | None, runs: Sequence[Run], count: int | None) -> list[int]:
    """The steps that `wanted` names; None: those that all runs hold, at most `count` (None: all)."""
    common = sorted(set.intersection(*(set(run.steps) for run in runs)))
    if wanted is None and count is not None:
        return film.spread(common, count)
    if wanted in (None, "all"):
        return common
    try:
        steps = sorted({int(part) for part in str(wanted).split(",")})
    except ValueError:
        raise CommandError(f"--steps {wanted}: give numbers with commas between, such as 0,64,940, or all") from None
    for step in steps:
        for run in runs:
            if step not in run.steps:
                try:
                    run.record(step)
                except KeyError as error:
                    raise CommandError(str(error.args[0])) from error
    return steps
