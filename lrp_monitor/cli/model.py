"""The commands that take a saved model, `lrp-monitor explain` and `lrp-monitor check`: what they accept.

What they do stands in `explain` and `check`, which are imported once the arguments are read.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lrp_monitor.cli.parts import EXIT_CODES_OF_QUESTIONS, add, add_json, whole

# Names of composites.PRESETS, render.COLOUR_MAPS and model_inputs.SCALINGS, written out: --help need not wait for
# TensorFlow, NumPy or Pillow.
COMPOSITES = (
    "lrp_zero", "epsilon", "epsilon_plus", "epsilon_plus_flat", "epsilon_alpha2_beta1", "epsilon_alpha2_beta1_flat",
    "epsilon_gamma_box", "deep_taylor", "attn_lrp", "cp_lrp",
)  # fmt: skip
COLOUR_MAPS = ("seismic", "safe", "dark")
SCALINGS = ("auto", "0..1", "-1..1", "0..255", "torch", "caffe")


def add_explain(commands: Any) -> None:
    """Declares `explain`."""
    parser = add(
        commands,
        "explain",
        "which pixels speak for a class, and which against it: a saved model on pictures or arrays",
        "Explains what a saved Keras model says about pictures (anything that Pillow reads) or arrays (.npy,\n"
        ".npz), and writes the heatmaps as a picture (.png) or as arrays (.npz). Red speaks for the class,\n"
        "blue against it; the sum of a heatmap is about the class's logit.\n\n"
        "Pictures are turned upright, brought to the model's input size and scaled to the range that --scaling\n"
        "names; what is changed is said on stderr. Arrays are taken as they are: one sample, or several along\n"
        "the first axis. An .npz that ProbeSet.save wrote brings its classes and names along.",
        "lrp-monitor explain model.keras photo.jpg -o heatmap.png --class-names labels.txt",
        "lrp-monitor explain model.keras photo.jpg --target cat --target dog --overlay -o cat_or_dog.png",
        "lrp-monitor explain model.keras batch.npy --composite epsilon_plus -o relevance.npz",
    )
    _add_model(parser)
    parser.add_argument("inputs", type=Path, nargs="+", metavar="INPUT", help="pictures, .npy or .npz files")
    parser.add_argument("-o", "--output", type=Path, required=True, help="FILE.png or FILE.npz")
    parser.add_argument(
        "--target",
        action="append",
        help="class to explain: its number or its name; once for each (default: the predicted one, or the probe's own)",
    )
    _add_composite(parser)
    _add_inputs(parser)
    parser.add_argument("--colormap", choices=COLOUR_MAPS, default="seismic")
    parser.add_argument(
        "--clip", type=float, default=1.0, help="quantile of |relevance| to scale colours by (default 1: the largest)"
    )
    parser.add_argument("--overlay", action="store_true", help="lay the colours over the picture")
    add_json(parser, "classes, logits and sums of relevance")
    parser.set_defaults(command=_explain)


def _explain(arguments: argparse.Namespace) -> int:
    from lrp_monitor.cli import explain

    return explain.explain(arguments)


def add_check(commands: Any) -> None:
    """Declares `check`."""
    parser = add(
        commands,
        "check",
        "whether a model can be explained, and what becomes of relevance in each layer",
        "Prints the table of a model's layers: how each is treated, what share of the explained logit arrives\n"
        "at it, and whether it absorbs relevance (a bias) or creates any. A layer or operation without a\n"
        "treatment is listed with the way out. Tried on INPUT, or on four samples of noise (in 0 to 1; in 0 to 255\n"
        "where the model takes bytes).",
        "lrp-monitor check model.keras",
        "lrp-monitor check model.keras photo.jpg --composite epsilon_alpha2_beta1 --json",
        codes=EXIT_CODES_OF_QUESTIONS + "\nYes: every layer has a treatment, and no weight or relevance is NaN.",
    )
    _add_model(parser)
    parser.add_argument("inputs", type=Path, nargs="*", metavar="INPUT", help="pictures, .npy or .npz files")
    parser.add_argument("--target", help="class to explain: its number or its name (default: the predicted one)")
    _add_composite(parser)
    _add_inputs(parser)
    add_json(parser, "the table")
    parser.set_defaults(command=_check)


def _check(arguments: argparse.Namespace) -> int:
    from lrp_monitor.cli import check

    return check.check(arguments)


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Declares how a model's file is opened."""
    parser.add_argument(
        "--trust-model",
        action="store_true",
        help="open a model file that holds Python code (Lambda layers) and run it: only where you trust its source",
    )
    parser.add_argument(
        "--import",
        dest="modules",
        action="append",
        default=[],
        metavar="MODULE",
        help="import this first: the module that registers the model's own layers with keras.saving",
    )
    parser.add_argument("--head", help="the output to explain, by name or number, of a model with several")


def add_composite_options(parser: argparse.ArgumentParser, default: str | None = "epsilon_plus_flat") -> None:
    """Declares which rules relevance follows. default: None for that of what is compared with, where there is one."""
    usual = default or "that of the baseline, else epsilon_plus_flat"
    parser.add_argument(
        "--composite",
        choices=COMPOSITES,
        default=default,
        metavar="NAME",
        help=f"which LRP rule for which layer (default {usual}): {', '.join(COMPOSITES)}",
    )
    for end, what in (("low", "smallest"), ("high", "largest")):
        parser.add_argument(
            f"--{end}",
            type=float,
            help=f"{what} value that an input can have, for epsilon_gamma_box and deep_taylor "
            "(default: that of the scaling)",
        )
    parser.add_argument(
        "--on-unknown",
        choices=("raise", "gradient"),
        default="raise",
        help="gradient: let the plain gradient through layers without a treatment",
    )


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, metavar="MODEL", help="a file that model.save wrote: .keras (or .h5)")
    add_model_options(parser)


def _add_composite(parser: argparse.ArgumentParser) -> None:
    add_composite_options(parser)
    parser.add_argument("--batch-size", type=whole(1), help="samples explained at a time (default: by their size)")


def _add_inputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--class-names",
        metavar="NAMES",
        help="a,b,c or a file: one a line, or JSON (a list, or an object from class number to name)",
    )
    parser.add_argument(
        "--scaling",
        choices=SCALINGS,
        default="auto",
        help="what the model was trained on: pixels in 0..1, -1..1 or 0..255; torch: 0..1 less ImageNet's mean over "
        "its deviation; caffe: blue, green, red less ImageNet's mean. auto: 0..255 where the model scales by "
        "itself, else 0..1. Pictures only",
    )
    parser.add_argument(
        "--fit",
        choices=("stretch", "crop"),
        default="stretch",
        help="how a picture of another shape is brought to the input's: stretch, or crop its middle",
    )
    parser.add_argument("--array", metavar="NAME", help="which array of an .npz to take, where it holds several")
