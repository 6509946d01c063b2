"""Contents of the routes' answers on a run, for every server that gives them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lrp_monitor.plain import plain, plain_number
from lrp_monitor.store.finite import nonfinite
from lrp_monitor.store.format import Histogram, ProbeInfo, StoreError
from lrp_monitor.store.reader import Run
from lrp_monitor.store.records import Head
from lrp_monitor.store.steps import StepHeader

_SCALES = ("absmax", "q99", "q90")
_OF_TENSOR = re.compile(r"(weights|gradients|probe_gradients)/[a-z_]+/.", re.DOTALL)


def listing(name: str, display: str, run: Run | None, wanted: Callable[[str], bool] | None = None) -> dict[str, Any]:
    """A run in the list; ``run`` None: one that cannot be read. ``wanted``: of which scalars to give the last."""
    entry: dict[str, Any] = {
        "run": name,
        "name": display,
        "session": None,
        "steps": 0,
        "last_step": None,
        "probes_hash": None,
        "problems": [],
        "annotations": "",
    }
    if run is None:
        return entry
    steps = run.steps
    entry |= {
        "session": run.session or None,
        "steps": len(steps),
        "last_step": steps[-1] if steps else None,
        "probes_hash": run.probes.hash,
        "problems": run.problems,
        "annotations": run.annotations,
    }
    if not steps:
        return entry
    first, last = (run.record(steps[at]) for at in (0, -1))
    entry |= {
        "first_logged": plain_number(first.wall_time),
        "last_logged": plain_number(last.wall_time),
        "ended": last.last_of_fit,
    } | _if_broken(last)
    if wanted is not None:
        entry["values"] = {tag: plain_number(value) for tag, value in last.scalars.items() if wanted(tag)}
    return entry


def run(name: str, run: Run, headers: Sequence[StepHeader], probes: ProbeInfo) -> dict[str, Any]:
    """A run with these steps and probes."""
    steps = [
        _step(header, header.session) | {"maps": header.maps, "notes": header.notes} | _if_broken(header)
        for header in headers
    ]
    return _about(name, run, steps, run.all_tensors(), probes)


def brief_run(name: str, run: Run) -> dict[str, Any]:
    """A run as far as it is known without the headers of its steps, which take long to read: for its first heatmaps.

    Of every step it is as if maps were stored, and nothing noted; the tensors are those of the last step.
    """
    steps = [_step(entry.head, entry.session) | {"maps": True, "notes": []} for entry in run.heads()]
    try:
        tensors = run.tensors(run.steps[-1]) if run.steps else []
    except StoreError:
        tensors = []  # the last step is damaged, which the whole answer has among its problems
    return _about(name, run, steps, tensors, run.probes) | {"brief": True}


def _step(place: StepHeader | Head, session: str) -> dict[str, Any]:
    """Where a step lies in its training."""
    return {
        "step": place.step,
        "epoch": place.epoch,
        "batch": place.batch,
        "wall_time": plain_number(place.wall_time),
        "session": session,
    }


def _about(
    name: str, run: Run, steps: list[dict[str, Any]], tensors: list[tuple[str, str]], probes: ProbeInfo
) -> dict[str, Any]:
    return {
        "run": name,
        "session": run.session or None,
        "meta": run.meta,
        "steps": steps,
        "probes": {
            "names": probes.names,
            "labels": None if probes.labels is None else probes.labels.tolist(),
            **probes.label_lists,
            "class_names": probes.class_names,
            "map_shape": list(probes.map_shape),
            "image_shape": list(probes.images.shape[1:]),
            "inputs": [
                {
                    "name": one.name,
                    "kind": one.kind,
                    "map_shape": list(one.map_shape),
                    "channels": one.channels,
                    "feature_names": one.feature_names,
                }
                for one in probes.inputs
            ],
            "masks": list(probes.masks),
            "carried": {
                name: int(flags.reshape(len(flags), -1).any(axis=1).sum()) for name, flags in probes.masks.items()
            },
            "hash": probes.hash,
        },
        "tensors": [{"kind": kind, "name": tensor} for kind, tensor in tensors],
        "problems": run.problems,
        "replaced": run.replaced,
    }


def largest(headers: Sequence[StepHeader], probes: Sequence[int] | None = None) -> dict[str, list[float]]:
    """The largest value over steps of the statistics that colours are scaled by; 0 where there is none.

    ``probes``: of which; None: of all.
    """
    found = {}
    for name in _SCALES:
        rows = [row for row in (header.statistics.get(name) for header in headers) if row is not None]
        if rows:
            values = np.stack(rows)
            most = np.where(np.isfinite(values), values, 0.0).max(0, initial=0.0)
            found[name] = [float(value) for value in (most if probes is None else most[list(probes)])]
    return found


def columns(headers: Sequence[StepHeader]) -> list[str]:
    """The names of the statistics per probe that any of the steps has, sorted."""
    return sorted({name for header in headers for name in header.statistics})


def timeline(
    run: Run,
    headers: Sequence[StepHeader],
    wanted: Sequence[str],
    probes: Sequence[int] | None,
    *,
    of_tensors: Callable[[str], bool] | None = None,
    medians: Callable[[str], bool] | None = None,
) -> dict[str, Any]:
    """The scalars over the steps, and the ``wanted`` statistics of some probes; None: of all.

    ``of_tensors``: of the scalars of single tensors those that it names; the tags of all are in ``tags``. ``medians``:
    of which statistics to give the median over the probes that have a value.
    """
    tags = sorted({tag for header in headers for tag in header.scalars})
    given = tags if of_tensors is None else [tag for tag in tags if of_tensors(tag) or not _OF_TENSOR.match(tag)]
    known = columns(headers)
    chosen: Any = slice(None) if probes is None else list(probes)
    answer = {
        "steps": [header.step for header in headers],
        "session": run.session or None,
        "scalars": {tag: plain(np.array([h.scalars.get(tag, np.nan) for h in headers])) for tag in given},
        "tags": tags,
        "columns": known,
        "probes": {name: _rows([h.statistics.get(name) for h in headers], chosen) for name in wanted},
    }
    if medians is not None:
        named = [name for name in known if medians(name)]
        answer["medians"] = {name: _medians([h.statistics.get(name) for h in headers]) for name in named}
    return answer


def _medians(rows: Sequence[npt.NDArray[np.float64] | None]) -> list[float | None]:
    finite = [row[np.isfinite(row)] if row is not None else np.zeros(0) for row in rows]
    return [float(np.median(row)) if row.size else None for row in finite]


def histogram(found: Histogram) -> dict[str, Any]:
    """A histogram."""
    return {
        "size": found.size,
        "zeros": found.zeros,
        "denormals": found.denormals,
        "nan": found.nan,
        "inf": found.inf,
        "minimum": None if found.minimum is None else plain_number(found.minimum),
        "maximum": None if found.maximum is None else plain_number(found.maximum),
        "norm": plain_number(found.norm),
        "note": found.note,
        "buckets": found.buckets.tolist(),
        "counts": found.counts.tolist(),
    }


def histograms(found: Mapping[str, Histogram]) -> dict[str, Any]:
    """All histograms of a kind at a step, in the order of the log."""
    return {"histograms": [{"name": name} | histogram(one) for name, one in found.items()]}


def notes(name: str, run: Run) -> dict[str, Any]:
    """What people have noted on the run's steps."""
    return {"run": name, "notes": [note.to_dict() for note in run.notes()]}


def clusters(name: str, run: Run, probes: Sequence[int] | None = None) -> dict[str, Any]:
    """The groups of alike heatmaps of every step that has any, of some probes; None: of all."""
    found = [
        {
            "step": step.step,
            "session": step.session,
            "count": step.count,
            "labels": (step.labels if probes is None else step.labels[list(probes)]).tolist(),
            "logged": not step.settings,
        }
        for step in run.clusters().values()
    ]
    return {"run": name, "clusters": found}


def _if_broken(header: StepHeader) -> dict[str, Any]:
    """What is not finite at a step, where anything is."""
    found = nonfinite(header)
    return {"nonfinite": found} if found else {}


def _rows(rows: list[npt.NDArray[np.float64] | None], chosen: Any) -> list[list[float | None]]:
    """A column step by step for a browser; empty at the steps that lack it."""
    if rows and all(row is not None for row in rows):
        values = np.stack([row[chosen] for row in rows if row is not None])
        if np.isfinite(values).all():
            numbers: list[list[float | None]] = values.tolist()
            return numbers
    return [[] if row is None else plain(row[chosen]) for row in rows]
