"""`lrp-monitor export`: the heatmaps of logged runs as a page, a picture, an animation or arrays."""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrp_monitor.cli.arguments import OK, add_command, add_json, add_steps, whole
from lrp_monitor.cli.errors import CommandError
from lrp_monitor.cli.model_arguments import COLORMAPS
from lrp_monitor.files import write_whole

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lrp_monitor.console import Progress
    from lrp_monitor.store.reader import Run

_SHEET_STEPS = 8
_FORMATS = (".png", ".gif", ".npz", ".html")


def add(commands: Any) -> None:
    """Declares the command."""
    parser = add_command(
        commands,
        "export",
        "heatmaps over training as a page, a picture, an animation or arrays",
        "Writes the heatmaps of one probe or several over the steps that one run or several hold in common:\n"
        "a sheet (.png), an animation (.gif), or arrays of one run (.npz); or the page with its data inside, which\n"
        "opens from disk without server or network (.html).",
        "lrp-monitor export runs/demo/planted runs/demo/control -o run.html",
        'lrp-monitor export runs/demo/planted --probe "triangle 0" --mask stamp -o film.png',
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="the log_dir that the monitor was given")
    parser.add_argument("-o", "--output", type=Path, required=True, help="FILE.html, FILE.png, FILE.gif or FILE.npz")
    parser.add_argument(
        "--probe",
        action="append",
        help="a probe's name or number, once for each (default: the first one; in an .npz or .html: all)",
    )
    add_steps(parser, "8 of them in a .png, all in other files")
    parser.add_argument("--mask", help="outline this mask")
    parser.add_argument("--colormap", choices=COLORMAPS, default="seismic")
    parser.add_argument(
        "--scale",
        type=_scale,
        default="map",
        help="what the ends of the colours stand for: the largest relevance of each map (map, the default), "
        "of each row (strip), of all (shared), or a number",
    )
    parser.add_argument(
        "--clip", type=float, default=1.0, help="quantile of |relevance| to scale by (default 1: the largest)"
    )
    parser.add_argument("--overlay", action="store_true", help="lay the colours over the probe's picture")
    parser.add_argument(
        "--milliseconds", type=whole(20), default=300, help="that each step stays in a .gif (default 300)"
    )
    parser.add_argument("--most-steps", type=whole(1), metavar="N", help="N of the steps in an .html, evenly spread")
    parser.add_argument("--no-histograms", action="store_true", help="leave histograms out of an .html")
    parser.add_argument("--no-features", action="store_true", help="leave features out of an .html")
    parser.add_argument("--no-channels", action="store_true", help="leave heatmaps by input channel out of an .html")
    parser.add_argument("--max-mb", type=float, default=64.0, metavar="MB", help="largest .html to write (default 64)")
    add_json(parser, "what was written")
    parser.set_defaults(command=run)


def _scale(text: str) -> str | float:
    return text if text in ("map", "strip", "shared") else float(text)


_scale.__name__ = "scale"


def run(arguments: argparse.Namespace) -> int:
    """Writes heatmaps over training as a sheet (PNG), an animation (GIF), arrays (NPZ) or the page (HTML).

    Raises CommandError.
    """
    from lrp_monitor.cli.logged_runs import chosen_steps
    from lrp_monitor.console import Progress
    from lrp_monitor.store.format import StoreError
    from lrp_monitor.store.reader import open_run

    output: Path = arguments.output
    kind = output.suffix.lower()
    if kind not in _FORMATS:
        raise CommandError(f"{output}: the ending says what to write; use one of {', '.join(_FORMATS)}")
    try:
        runs = [open_run(path) for path in arguments.runs]
        if kind == ".html":
            _write_page(runs, arguments)
            return OK
        steps = chosen_steps(arguments.steps, runs, _SHEET_STEPS if kind == ".png" else None)
        if not steps:
            raise CommandError("nothing to export: the runs have no step in common yet")
        with Progress(len(runs) * (len(arguments.probe or [0]) + 1), lines=False) as progress:
            if kind == ".npz":
                data = _arrays(runs, arguments, steps, progress)
            else:
                data = _drawn(runs, arguments, steps, progress, animate=kind == ".gif")
        write_whole(output, data)
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
    return OK


def _write_page(runs: Sequence[Run], arguments: argparse.Namespace) -> None:
    """Writes the whole page with the runs in it; says its size before."""
    from lrp_monitor.cli.logged_runs import probe_number
    from lrp_monitor.plugin import page_file
    from lrp_monitor.store.folders import run_name

    chosen = [_page_steps(arguments, run, runs) for run in runs]
    names = [run_name(path) for path in arguments.runs]
    parts = []
    for i, (run, steps) in enumerate(zip(runs, chosen, strict=True)):
        if not steps:
            raise CommandError(f"{arguments.runs[i]}: nothing to export: no step is logged yet")
        probes = [probe_number(run, probe) for probe in arguments.probe or range(len(run.probes))]
        name = names[i] if names.count(names[i]) == 1 else f"{names[i]} ({i + 1})"
        kept = {name: not getattr(arguments, f"no_{name}") for name in ("histograms", "features", "channels")}
        parts.append(page_file.Part(name, run, steps, probes, **kept))
    content, words = page_file.build(parts, arguments.max_mb)
    summary = f"{arguments.output}: {len(content) / 1e6:.1f} MB, {words}"
    if arguments.json:
        steps = sorted({step for steps in chosen for step in steps})
        print(json.dumps({"output": str(arguments.output), "steps": steps, "bytes": len(content)}, indent=2))
    else:
        print(summary, flush=True)
    write_whole(arguments.output, content)


def _page_steps(arguments: argparse.Namespace, run: Run, runs: Sequence[Run]) -> list[int]:
    """The steps of a run that go into a page: all, those that are named, or so many of them evenly spread."""
    from lrp_monitor.cli.logged_runs import chosen_steps
    from lrp_monitor.pictures import film

    steps = run.steps if arguments.steps in (None, "all") else chosen_steps(arguments.steps, runs, None)
    return steps if arguments.most_steps is None else film.spread(steps, arguments.most_steps)


def _drawn(
    runs: Sequence[Run], arguments: argparse.Namespace, steps: Sequence[int], progress: Progress, animate: bool
) -> bytes:
    from lrp_monitor.cli.logged_runs import mask_of, probe_number
    from lrp_monitor.pictures import film, render
    from lrp_monitor.pictures.logged import strip_of
    from lrp_monitor.store.folders import run_name

    look = film.Look(arguments.colormap, arguments.scale, arguments.clip, arguments.overlay)
    strips = []
    for run, path in zip(runs, arguments.runs, strict=True):
        for probe in arguments.probe or ["0"]:
            number = probe_number(run, probe)
            name = run.probes.names[number]
            mask = None if arguments.mask is None else mask_of(run, arguments.mask)[number]
            title = name if len(runs) == 1 else f"{run_name(path)}: {name}"
            progress.part(f"reading {name}")
            strips.append(strip_of(run, number, steps, title, mask))
            progress.advance()
    progress.part(f"drawing {len(steps)} steps")
    labels = [f"step {step}" for step in steps]
    if animate:
        return render.gif(film.frames(strips, labels, look=look), arguments.milliseconds, 2000)
    return render.png(film.sheet(strips, labels, look=look))


def _arrays(runs: Sequence[Run], arguments: argparse.Namespace, steps: Sequence[int], progress: Progress) -> bytes:
    """steps (s,), names (p,), maps (p, s, *map shape), images (p, H, W, C), "mask NAME" for each mask.

    Of an output of maps labels (p, *places) where there are any, and predicted (p, s, *places), classes both.
    Of each watched layer "features LAYER steps" (t,), "... relevance" (t, p, channels) and "... fired" (t, channels).
    """
    import numpy as np

    from lrp_monitor.cli.logged_runs import probe_number
    from lrp_monitor.pictures.logged import predicted_maps

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
    if run.probes.label_maps is not None:
        arrays["labels"] = run.probes.label_maps[numbers]
    if (predicted := predicted_maps(run, numbers, steps)) is not None:
        arrays["predicted"] = predicted
    for layer in run.feature_layers:
        history = run.channel_history(layer)
        at = [i for i, step in enumerate(history.steps) if step in steps]
        arrays[f"features {layer} steps"] = history.steps[at]
        arrays[f"features {layer} relevance"] = history.relevance[np.ix_(at, numbers)]
        arrays[f"features {layer} fired"] = history.fired[at]
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # the stubs mistake ** for allow_pickle
    return buffer.getvalue()


def _maps(run: Run, number: int, steps: Sequence[int]) -> NDArray[np.float32]:
    import numpy as np

    return np.stack([run.heatmap(number, step) for step in steps])
