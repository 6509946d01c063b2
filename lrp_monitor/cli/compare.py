"""`lrp-monitor compare` and `lrp-monitor baseline`: what regression.compare and baselines do, from the shell."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrp_monitor.cli import model_files
from lrp_monitor.cli.errors import CommandError
from lrp_monitor.cli.opened import composite_of, head_of, one_line
from lrp_monitor.cli.parts import NO, OK
from lrp_monitor.console import Progress
from lrp_monitor.probes import ProbeSet
from lrp_monitor.regression import comparing
from lrp_monitor.regression.baseline import paths_of, read_baseline, write_baseline
from lrp_monitor.regression.errors import BaselineError
from lrp_monitor.regression.snapshot import Snapshot
from lrp_monitor.store.format import StoreError

_MODELS = (".keras", ".h5", ".hdf5")
_COMPOSITE = "epsilon_plus_flat"


def compare(arguments: argparse.Namespace) -> int:
    """Prints the comparison; NO where it is beyond the limits. Raises CommandError."""
    limits = _limits(arguments.limit)
    with _in_words(), Progress(3, lines=False) as progress:
        before = _source(arguments.before, arguments, None, progress)
        now = _source(arguments.now, arguments, before, progress, same_classes=True)
        progress.part("comparing")
        found = comparing.compare(before, now, tier=arguments.tier, masks=arguments.mask, **limits)
        if arguments.html is not None:
            try:
                found.write_html(arguments.html, f"{arguments.before} and {arguments.now}")
            except OSError as error:
                raise CommandError(f"{arguments.html}: {error.strerror or error}") from error
    if arguments.json:
        print(found.to_json(), end="")
    else:
        print(found)
        if arguments.html is not None:
            print(f"Pictures: {arguments.html}")
    return OK if found.ok else NO


def create(arguments: argparse.Namespace) -> int:
    """Writes a new baseline. Raises CommandError, also where there is one already."""
    for file in paths_of(arguments.baseline):
        if file.exists():
            raise CommandError(
                f"{file} is there already; `lrp-monitor baseline update` writes it anew where it has changed"
            )
    with _in_words(), Progress(2, lines=False) as progress:
        now = _source(arguments.source, arguments, None, progress)
        _write(now, arguments.baseline)
    return _written(arguments, now, "written")


def update(arguments: argparse.Namespace) -> int:
    """Writes a baseline anew unless it still says the same. Raises CommandError."""
    with _in_words(), Progress(2, lines=False) as progress:
        if not any(file.exists() for file in paths_of(arguments.baseline)):
            raise CommandError(f"{arguments.baseline}: no such baseline; `lrp-monitor baseline create` makes it")
        before = _readable(arguments.baseline)
        now = _source(arguments.source, arguments, before, progress)
        if before is not None and _is_same(before, now):
            return _written(arguments, now, "unchanged")
        _write(now, arguments.baseline)
    return _written(arguments, now, "written")


def _readable(path: Path) -> Snapshot | None:
    """The baseline; None where it is damaged, and is to be made anew. BaselineError where it is a newer version's."""
    try:
        return read_baseline(path)
    except BaselineError as error:
        if error.kind == "version":
            raise
        return None


def _is_same(before: Snapshot, now: Snapshot) -> bool:
    try:
        alike = comparing.compare(before, now, masks=()).ok
    except BaselineError:
        return False
    masks = before.masks.keys() == now.masks.keys() and all(
        np.array_equal(before.masks[name], now.masks[name]) for name in now.masks
    )
    return alike and masks and before.names == now.names


def _source(
    text: str,
    arguments: argparse.Namespace,
    before: Snapshot | None,
    progress: Progress,
    same_classes: bool = False,
) -> Snapshot:
    """What a source stands for. before: what it is compared with, whose composite is taken over.

    same_classes: and the classes that it explains, where the probes name none.
    """
    progress.part(f"reading {text}")
    progress.advance()
    path = Path(text)
    if path.suffix.lower() in _MODELS:
        targets = before.targets if before is not None and same_classes else None
        return _of_model(path, arguments, arguments.composite or _composite_of(before), targets, progress)
    at_step = re.fullmatch(r"(.+)@(\d+)", text)
    if at_step is not None and not path.exists():
        return Snapshot.of_run(at_step[1], int(at_step[2]))
    return comparing.snapshot_of(text)


def _of_model(
    path: Path, arguments: argparse.Namespace, composite: str, targets: NDArray[np.int64] | None, progress: Progress
) -> Snapshot:
    if arguments.probes is None:
        raise CommandError(f"{path}: a model needs --probes FILE, which ProbeSet.save wrote: probes.save('probes.npz')")
    try:
        probes = ProbeSet.load(arguments.probes)
    except FileNotFoundError:
        raise CommandError(f"{arguments.probes}: no such file") from None
    model = model_files.load_model(path, arguments.trust_model, arguments.modules)
    progress.part(f"explaining {path}")
    with one_line(path):
        return Snapshot.of(
            model,
            probes,
            composite_of(composite, arguments.low, arguments.high, [probes.inputs]),
            targets=targets if probes.targets is None else None,
            output=head_of(arguments, model),
            on_unknown=arguments.on_unknown,
        )


def _composite_of(before: Snapshot | None) -> str:
    """The preset that a snapshot was made with."""
    from lrp_monitor.cli.model import COMPOSITES

    name = None if before is None else before.meta.get("composite")
    return str(name) if name in COMPOSITES else _COMPOSITE


def _write(now: Snapshot, path: Path) -> None:
    try:
        write_baseline(now, path)
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror or error}") from error


def _written(arguments: argparse.Namespace, now: Snapshot, what: str) -> int:
    archive, about = paths_of(arguments.baseline)
    size = sum(file.stat().st_size for file in (archive, about))
    if arguments.json:
        files = [str(archive), str(about)]
        print(json.dumps({"baseline": what, "files": files, "probes": len(now), "bytes": size}, indent=2))
    else:
        print(f"{what}: {archive} and {about.name}, {len(now)} probes, {size / 1e3:.0f} kB")
    return OK


def _limits(texts: list[str]) -> dict[str, Any]:
    """{"cosine": 0.9, "mask_mass": {"stamp": 0.02}} from "cosine=0.9" and "mask_mass/stamp=0.02"."""
    found: dict[str, Any] = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            number = float(value)
        except ValueError:
            raise CommandError(f"--limit {text}: give NAME=NUMBER, such as cosine=0.99") from None
        head, _, mask = name.partition("/")
        if not mask:
            found[name] = number
        elif head == "mask_mass" and isinstance(found.setdefault(head, {}), dict):
            found[head][mask] = number
        else:
            raise CommandError(f"--limit {text}: only mask_mass has parts, and either one limit or one for each mask")
    return found


@contextmanager
def _in_words() -> Iterator[None]:
    """Turns what sources and comparisons raise into a command's one line."""
    try:
        yield
    except BaselineError as error:
        raise CommandError(f"{error.problem}; to mend: {error.mend}") from error
    except KeyError as error:
        raise CommandError(str(error.args[0])) from error
    except (StoreError, model_files.ModelFileError) as error:
        raise CommandError(str(error)) from error
    except (ValueError, TypeError) as error:
        raise CommandError(" ".join(str(error).split())) from error
