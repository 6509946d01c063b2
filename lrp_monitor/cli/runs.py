"""`lrp-monitor export`, and what the commands that read logged runs share: without TensorFlow."""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrp_monitor.cli.errors import CommandError
from lrp_monitor.console import Progress
from lrp_monitor.pictures import film, render
from lrp_monitor.store.folders import run_name
from lrp_monitor.store.format import StoreError
from lrp_monitor.store.reader import Run, open_run

_SHEET_STEPS = 8
_FORMATS = (".png", ".gif", ".npz")


def export(arguments: argparse.Namespace) -> None:
    """Writes a probe's heatmaps over training as a sheet (PNG), an animation (GIF) or arrays (NPZ)."""
    output: Path = arguments.output
    kind = output.suffix.lower()
    if kind not in _FORMATS:
        raise CommandError(f"{output}: the ending says what to write; use one of {', '.join(_FORMATS)}")
    try:
        runs = [open_run(path) for path in arguments.runs]
        steps = chosen_steps(arguments.steps, runs, _SHEET_STEPS if kind == ".png" else None)
        if not steps:
            raise CommandError("nothing to export: the runs have no step in common yet")
        with Progress(len(runs) * (len(arguments.probe or [0]) + 1), lines=False) as progress:
            if kind == ".npz":
                data = _arrays(runs, arguments, steps, progress)
            else:
                data = _drawn(runs, arguments, steps, progress, animate=kind == ".gif")
        render.write(output, data)
    except StoreError as error:
        raise CommandError(str(error)) from error
    except KeyError as error:
        raise CommandError(str(error.args[0])) from error
    except ValueError as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"{output}: {error.strerror or error}") from error
    if arguments.json:
        print(json.dumps({"output": str(output), "steps": steps, "bytes": len(data)}, indent=2))
    else:
        print(f"{output}: {len(steps)} steps, {len(data) / 1e3:.0f} kB")


def _drawn(
    runs: Sequence[Run], arguments: argparse.Namespace, steps: Sequence[int], progress: Progress, animate: bool
) -> bytes:
    look = film.Look(arguments.colormap, arguments.scale, arguments.clip, arguments.overlay)
    strips = []
    for run, path in zip(runs, arguments.runs, strict=True):
        for probe in arguments.probe or ["0"]:
            number = probe_number(run, probe)
            name = run.probes.names[number]
            mask = None if arguments.mask is None else _mask(run, arguments.mask)[number]
            title = name if len(runs) == 1 else f"{run_name(path)}: {name}"
            picture = run.probes.images[number]
            progress.part(f"reading {name}")
            maps = _maps(run, number, steps)
            strips.append(film.Strip(title, maps, _captions(maps), picture, mask))
            progress.advance()
    progress.part(f"drawing {len(steps)} steps")
    labels = [f"step {step}" for step in steps]
    if animate:
        return render.gif(film.frames(strips, labels, look=look), arguments.milliseconds, 2000)
    return render.png(film.sheet(strips, labels, look=look))


def _arrays(runs: Sequence[Run], arguments: argparse.Namespace, steps: Sequence[int], progress: Progress) -> bytes:
    """steps (s,), names (p,), maps (p, s, *map shape), images (p, H, W, C), "mask NAME" for each mask."""
    if len(runs) > 1:
        raise CommandError("an .npz holds one run; export the runs one at a time")
    run = runs[0]
    numbers = [probe_number(run, probe) for probe in arguments.probe or range(len(run.probes))]
    progress.part(f"reading {len(numbers)} probes at {len(steps)} steps")
    arrays: dict[str, NDArray[Any]] = {
        "steps": np.array(steps, np.int64),
        "names": np.array([run.probes.names[number] for number in numbers]),
        "maps": np.stack([_maps(run, number, steps) for number in numbers]),
        "images": run.probes.images[numbers],
    }
    for name, mask in run.probes.masks.items():
        arrays[f"mask {name}"] = mask[numbers]
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # the stubs mistake ** for allow_pickle
    return buffer.getvalue()


def _maps(run: Run, number: int, steps: Sequence[int]) -> NDArray[np.float32]:
    return np.stack([run.heatmap(number, step) for step in steps])


def _captions(maps: NDArray[np.float32]) -> list[str]:
    """What stands under maps (s, *map shape): which of them are not finite; nothing where all are."""
    finite = [bool(np.isfinite(one).all()) for one in maps]
    return [] if all(finite) else ["" if one else "not finite" for one in finite]


def probe_number(run: Run, probe: str | int) -> int:
    """A probe's place from its name, or from its number as text."""
    names = run.probes.names
    if isinstance(probe, str) and probe in names:
        return names.index(probe)
    if str(probe).isdecimal() and int(probe) < len(names):
        return int(probe)
    raise CommandError(f"no probe {probe!r} in {run.path}; there are {', '.join(names)}, or their numbers from 0")


def _mask(run: Run, name: str) -> NDArray[np.bool_]:
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
