"""A file of probes that are more than a picture each, explained as a whole: texts, tables, series, several inputs."""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lrp_monitor.archives import DAMAGE, MAX_ARRAY_BYTES, ArchiveError, array_names, read_file
from lrp_monitor.cli import model_files, model_inputs
from lrp_monitor.cli.errors import CommandError
from lrp_monitor.cli.explained_samples import caption, label_of, row_of, set_of, short
from lrp_monitor.cli.opened_model import Opened, composite_of, output_of
from lrp_monitor.pictures import film, render
from lrp_monitor.pictures.inputs import drawn_inputs
from lrp_monitor.pictures.logged import label_maps
from lrp_monitor.probes import ProbeSet
from lrp_monitor.probes.info import probe_info
from lrp_monitor.probes.labels import explained_units


def lone_set(arguments: argparse.Namespace) -> ProbeSet | None:
    """The set that is a command's only input, where its probes are more than a picture of a class each.

    None for anything else. Raises CommandError for such a set among several inputs.
    """
    if arguments.array is not None:
        return None
    for path in arguments.inputs:
        probes = _read(path) if path.suffix.lower() == ".npz" and path.is_file() else None
        if probes is None or _is_plain(probes):
            continue
        if len(arguments.inputs) > 1:
            raise CommandError(f"{path}: probes like these are explained alone: give that file and no other")
        return probes
    return None


def _read(path: Path) -> ProbeSet | None:
    try:
        if "about" not in array_names(read_file(path, MAX_ARRAY_BYTES)):
            return None
        return ProbeSet.load(path)
    except (ArchiveError, OSError, *DAMAGE):
        return None  # what is wrong with it is reported where inputs are read


def _is_plain(probes: ProbeSet) -> bool:
    """Whether probes are pictures of classes, as samples are that are read from arrays and picture files."""
    of_class = all(one is None for one in (probes.position, probes.region, probes.label_maps, probes.numbers))
    if not of_class or not probes.is_single or not probes.is_picture or probes.is_encoded:
        return False
    return probes.channel_axis == set_of(probes.leaves[0][:1]).channel_axis


def explained(
    arguments: argparse.Namespace, probes: ProbeSet, targets: Sequence[str | None], part: Callable[[str], None]
) -> tuple[Opened, list[dict[str, Any]], bytes]:
    """The model opened, a row of plain data for each target and probe, and the file to write.

    Raises:
        CommandError: for a class to explain of an output of maps, and what the model and the arguments raise.
    """
    from lrp_monitor.engine.explainer import Explainer
    from lrp_monitor.engine.targets import Position, predicted_region

    part("opening the model")
    model = model_files.load_model(arguments.model, arguments.trust_model, arguments.modules)
    model = probes.model_behind(model)
    names = (
        probes.class_names if arguments.class_names is None else model_inputs.read_class_names(arguments.class_names)
    )
    composite = composite_of(arguments.composite, arguments.low, arguments.high, probes.leaves)
    explainer = Explainer(
        model,
        composite,
        output=output_of(arguments, model),
        batch_size=arguments.batch_size,
        on_unknown=arguments.on_unknown,
    )
    found = Opened(model, explainer, [], None if names is None else tuple(names))
    region = probes.region
    if region is None and probes.position is None and (logits := explainer.logits(probes.inputs)).ndim > 2:
        region = predicted_region(logits)
    explanations = []
    for number, text in enumerate(targets):
        part(f"explaining, {number + 1} of {len(targets)}")
        if region is not None and text is not None:
            raise CommandError(
                f"--target {text}: of an output of maps a region is explained, the probes' target or what is "
                "predicted; give the probes another, ProbeSet(..., target=lrp.targets.Region(where, of))"
            )
        wanted: Any = region
        if region is None:
            wanted = explained_units(probes, explainer) if text is None else found.target(text)
        if probes.position is not None:
            wanted = Position(probes.position, wanted)
        explanations.append(explainer.explain(probes.inputs, wanted))
    maps = [probes.heatmaps(one.relevance) for one in explanations]
    rows = [
        [
            row_of(found, name, one, place, float(values[place].sum(dtype=np.float64)), probes.numbers is not None)
            for place, name in enumerate(probes.names)
        ]
        for one, values in zip(explanations, maps, strict=True)
    ]
    part(f"writing {arguments.output}")
    if arguments.output.suffix.lower() == ".npz":
        data = _arrays(probes, explanations[0], maps[0], explanations[0].predicted_maps(probes.label_maps is not None))
    else:
        info = probe_info(probes)
        classes = [one.predicted_maps(probes.label_maps is not None) for one in explanations]
        labels_of = label_maps(info)
        look = film.Look(arguments.colormap, "map", arguments.clip, arguments.overlay)
        strips = [
            film.Strip(
                short(name),
                np.stack([values[place] for values in maps]),
                [caption(of_target[place]) for of_target in rows],
                probes.images[place],
                None,
                drawn_inputs(info, place),
                None if labels_of is None else labels_of[place],
                None if classes[0] is None else np.stack([one[place] for one in classes if one is not None]),
                found.class_names,
            )
            for place, name in enumerate(probes.names)
        ]
        own = "its label" if probes.targets is not None else "predicted class" if region is None else "its region"
        labels = [own if text is None else label_of(found, text) for text in targets]
        data = render.png(film.sheet(strips, labels, look=look))
    return found, [row for of_target in rows for row in of_target], data


def _arrays(probes: ProbeSet, one: Any, maps: Any, predicted: Any) -> bytes:
    """The first target as arrays; of several inputs "heatmaps NAME" of those watched, "inputs NAME" of all.

    Of an output of maps "predicted", the class of each place, and "labels" where there are any.
    """
    parts = probes.split(maps)
    several = {f"heatmaps {name}": values for name, values in parts.items()}
    several |= {f"inputs {part.name}": part.values for part in probes.parts}
    single = {"heatmaps": maps, "inputs": probes.leaves[0]}
    arrays: dict[str, Any] = {
        "names": np.array(probes.names),
        **(single if probes.is_single else several),
        "target": one.target,
        "logit": one.logit,
        "logits": one.logits,
        "output": one.output,
        "probability": one.probability,
        "conservation": one.conservation,
    }
    if predicted is not None:
        arrays["predicted"] = predicted
    if probes.label_maps is not None:
        arrays["labels"] = probes.label_maps
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()
