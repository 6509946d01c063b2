"""What `compare` and `baseline` take: a baseline, a logged run or a saved model, each as a snapshot."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lrp_monitor.arguments import Preset
from lrp_monitor.cli import model_files, opened_model
from lrp_monitor.cli.errors import CommandError
from lrp_monitor.cli.opened_model import composite_of, output_of
from lrp_monitor.console import Progress
from lrp_monitor.probes import ProbeSet
from lrp_monitor.regression import comparing
from lrp_monitor.regression.errors import BaselineError
from lrp_monitor.regression.snapshot import Snapshot
from lrp_monitor.store.format import StoreError
from lrp_monitor.text import in_one_line

_MODELS = (".keras", ".h5", ".hdf5")


def snapshot(
    text: str,
    arguments: argparse.Namespace,
    before: Snapshot | None,
    progress: Progress,
    same_classes: bool = False,
) -> Snapshot:
    """What a source stands for. before: what it is compared with, whose composite is taken over.

    Args:
        same_classes: and what it explains, where the probes do not name that.
    """
    progress.part(f"reading {text}")
    progress.advance()
    path = Path(text)
    if path.suffix.lower() in _MODELS:
        return _of_model(path, arguments, before, same_classes, progress)
    at_step = re.fullmatch(r"(.+)@(\d+)", text)
    if at_step is not None and not path.exists():
        return Snapshot.of_run(at_step[1], int(at_step[2]))
    return comparing.snapshot_of(text)


def _of_model(
    path: Path, arguments: argparse.Namespace, before: Snapshot | None, same_classes: bool, progress: Progress
) -> Snapshot:
    if arguments.probes is None:
        raise CommandError(f"{path}: a model needs --probes FILE, which ProbeSet.save wrote: probes.save('probes.npz')")
    try:
        probes = ProbeSet.load(arguments.probes)
    except FileNotFoundError:
        raise CommandError(f"{arguments.probes}: no such file") from None
    composite: Preset = arguments.composite or (None if before is None else before.preset) or "auto"
    model = model_files.load_model(path, arguments.trust_model, arguments.modules)
    progress.part(f"explaining {path}")
    with opened_model.one_line(path):
        return Snapshot.of(
            model,
            probes,
            composite_of(composite, arguments.low, arguments.high, probes.leaves),
            target=before.target_for(probes) if before is not None and same_classes else None,
            output=output_of(arguments, model),
            on_unknown=arguments.on_unknown,
        )


@contextmanager
def one_line() -> Iterator[None]:
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
        raise CommandError(in_one_line(error)) from error
