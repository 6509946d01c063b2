"""`lrp-monitor cluster`: groups the heatmaps of a logged run. Without TensorFlow."""

from __future__ import annotations

import argparse
import json
from typing import Any

from lrp_monitor.cli.arguments import OK, add_command, add_json, whole
from lrp_monitor.cli.errors import CommandError


def add(commands: Any) -> None:
    """Declares the command."""
    parser = add_command(
        commands,
        "cluster",
        "groups of probes whose heatmaps look alike",
        "Groups the probes of a logged run by their heatmaps (spectral relevance analysis, Lapuschkin et al.\n"
        "2019): probes that the model explains by a shortcut fall into a group of their own. Prints the groups\n"
        "and keeps them beside the run, where the LRP tab shows them in colours. Needs the extra `clusters`\n"
        "(scikit-learn).",
        "lrp-monitor cluster runs/demo/planted",
        "lrp-monitor cluster runs/demo/planted --step all --groups 2",
    )
    parser.add_argument("run", metavar="RUN", help="the log_dir that the monitor was given")
    parser.add_argument("--step", default="last", help="a logged step, `last` (the default) or `all`")
    parser.add_argument("--groups", type=whole(1), help="their number (default: found by the eigengap)")
    parser.add_argument(
        "--neighbours", type=whole(1), help="that each heatmap is joined to (default: log2 of the probes)"
    )
    parser.add_argument("--side", type=whole(1), default=16, help="pixels a heatmap is averaged down to (default 16)")
    add_json(parser, "the groups")
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    """Groups, keeps the groups beside the run, prints them. Raises CommandError."""
    from lrp_monitor import spectral
    from lrp_monitor.store.clusters import StepClusters
    from lrp_monitor.store.format import StoreError
    from lrp_monitor.store.reader import open_run

    settings = {"groups": arguments.groups, "neighbours": arguments.neighbours, "side": arguments.side}
    found = []
    try:
        logged = open_run(arguments.run)
        for step in _steps(logged, arguments.step):
            clusters = spectral.cluster(logged.heatmaps(step), **settings)
            session = logged.record(step).session
            found.append(StepClusters(step, session, clusters.labels, clusters.eigenvalues, settings))
            logged.write_clusters(found[-1])
    except KeyError as error:
        raise CommandError(str(error.args[0])) from error
    except (StoreError, ValueError, ModuleNotFoundError) as error:
        raise CommandError(str(error)) from error
    if arguments.json:
        print(json.dumps({"clusters": [clusters.to_dict() for clusters in found]}, indent=2))
    else:
        print(_as_text(logged, found))
    return OK


def _steps(run: Any, chosen: str) -> list[int]:
    """The steps meant, each with stored heatmaps where not named by number."""
    if chosen.isdecimal():
        return [int(chosen)]
    if chosen not in ("last", "all"):
        raise CommandError(f"--step must be a logged step, last or all, got {chosen!r}")
    stored = [header.step for header in run.records() if header.maps]
    if not stored:
        raise CommandError(f"{run.path}: no step with heatmaps is logged yet")
    return stored if chosen == "all" else stored[-1:]


def _as_text(run: Any, found: list[Any]) -> str:
    lines = [run.path]
    for clusters in found:
        lines.append(f"  step {clusters.step}: {clusters.count} group{'' if clusters.count == 1 else 's'}")
        for group in range(clusters.count):
            members = [name for name, label in zip(run.probes.names, clusters.labels, strict=True) if label == group]
            lines.append(f"    {group + 1}  {_some(members)}")
        without = [name for name, label in zip(run.probes.names, clusters.labels, strict=True) if label < 0]
        if without:
            lines.append(f"    -  {_some(without)}: no relevance")
    return "\n".join(lines)


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:8])
    return f"{len(names)} probe{'' if len(names) == 1 else 's'}: {shown}{', ...' if len(names) > 8 else ''}"
