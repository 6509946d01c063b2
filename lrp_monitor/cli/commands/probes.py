"""`lrp-monitor probes`: a probe set out of a folder of pictures. Without TensorFlow."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from lrp_monitor.cli.arguments import OK, add_command, add_json, whole
from lrp_monitor.cli.errors import CommandError

_SCALES = {"0..255": (1.0, 0.0), "0..1": (1 / 255, 0.0), "-1..1": (1 / 127.5, -1.0)}


def add(commands: Any) -> None:
    """Declares the command."""
    parser = add_command(
        commands,
        "probes",
        "a probe set out of a folder of pictures",
        "Picks pictures of each class of a folder (one folder a class, numbered in alphabetical order as Keras'\n"
        "image_dataset_from_directory does) by their names and a seed, and writes them as a probe set for\n"
        "lrp.ProbeSet.load. NAME.MASK.png beside a picture is its mask of that name.",
        "lrp-monitor probes photos -o probes.npz --size 224x224",
        "lrp-monitor probes photos -o probes.npz --size 64x64 --per-class 4 --scaling 0..1",
    )
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="a folder of folders of pictures, or of pictures")
    parser.add_argument("-o", "--output", type=Path, required=True, help="FILE.npz")
    parser.add_argument("--per-class", type=whole(1), default=2, metavar="N", help="pictures of each class (default 2)")
    parser.add_argument("--count", type=whole(1), metavar="N", help="pictures in all, whatever their class")
    parser.add_argument("--seed", type=int, default=0, help="of the pick (default 0)")
    parser.add_argument("--size", type=_size, metavar="HxW", help="what the model takes; needed where they differ")
    parser.add_argument("--fit", choices=("stretch", "crop"), default="stretch", help="to that size (default stretch)")
    parser.add_argument("--color-mode", choices=("rgb", "grayscale", "rgba"), default="rgb")
    parser.add_argument(
        "--scaling", choices=tuple(_SCALES), default="0..255", help="of the values, as the model takes them"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace FILE.npz where it is there")
    add_json(parser, "what was written")
    parser.set_defaults(command=run)


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.lower().partition("x")
    return int(height), int(width)


_size.__name__ = "size"  # argparse names the type so in its message


def run(arguments: argparse.Namespace) -> int:
    """Picks, writes, prints. Raises CommandError."""
    from lrp_monitor.probes import ProbeSet

    if arguments.output.suffix != ".npz":
        raise CommandError(f"{arguments.output}: a probe set is an .npz file")
    if arguments.output.exists() and not arguments.overwrite:
        raise CommandError(f"{arguments.output} is there already: --overwrite replaces it")
    scale, offset = _SCALES[arguments.scaling]
    try:
        probes = ProbeSet.from_directory(
            arguments.folder,
            arguments.per_class,
            arguments.seed,
            count=arguments.count,
            size=arguments.size,
            color_mode=arguments.color_mode,
            fit=arguments.fit,
            scale=scale,
            offset=offset,
        )
        probes.save(arguments.output)
    except (TypeError, ValueError, OSError) as error:
        raise CommandError(str(error)) from error
    if arguments.json:
        about = {"file": str(arguments.output), "names": probes.names, "masks": list(probes.masks), "hash": probes.hash}
        print(json.dumps(about | {"class_names": probes.class_names, "shape": probes.sample_shape}, indent=2))
        return OK
    classes = "" if probes.class_names is None else f" of {len(probes.class_names)} classes"
    height, width, _ = probes.sample_shape
    masks = f", masks {', '.join(probes.masks)}" if probes.masks else ""
    print(f"{arguments.output}: {len(probes)} probes{classes}, {height} x {width} pixels{masks}")
    print(f"  lrp.ProbeSet.load({str(arguments.output)!r})")
    return OK
