"""The channels of watched layers as a table for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lrp_monitor.text import percent

if TYPE_CHECKING:
    from lrp_monitor.store.reader import Run


def lines(run: Run) -> list[str]:
    """Of each watched layer a line, and one a leading channel of each class; empty where none is watched."""
    found = []
    for layer, about in run.feature_summary().items():
        found += [
            "",
            f"  channels of {layer} at step {about['step']}: {about['needed']} of {about['channels']} make 90 % of the "
            f"positive relevance, {about['unused']} unused, {about['dead']} dead",
        ]
        for one in about["classes"]:
            for leader in one["leading"]:
                masks = [f"{mask} {percent(value)}" for mask, value in leader["masks"].items()]
                parts = [
                    f"{percent(leader['share'])} of {_class(run, one['class'])}",
                    f"emerged at {leader['emerged']}",
                ]
                found.append(f"    channel {leader['channel']:>4}  {', '.join([*parts, *masks])}")
    return found


def _class(run: Run, of_class: int) -> str:
    names = run.probes.class_names
    if of_class < 0:
        return "what is explained"
    return repr(names[of_class]) if names and of_class < len(names) else f"class {of_class}"
