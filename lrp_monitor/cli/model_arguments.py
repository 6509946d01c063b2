"""Arguments that several commands share: how a saved model is opened, explained and fed. Imports nothing heavy."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from lrp_monitor.arguments import Colormap, Preset
from lrp_monitor.cli.arguments import whole

COMPOSITES: tuple[str, ...] = get_args(Preset)
COLORMAPS: tuple[str, ...] = get_args(Colormap)
# The names of model_inputs.SCALINGS, written out: --help need not wait for NumPy.
SCALINGS = ("auto", "0..1", "-1..1", "0..255", "torch", "caffe")

SOURCES = (
    "A source is a baseline (NAME.npz with NAME.json), a logged run (its log_dir, at its last step; log_dir@64 at\n"
    "another), or a saved model (.keras, .h5) together with --probes."
)
"""What compare and baseline take."""


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


def add_composite_options(parser: argparse.ArgumentParser, default: str | None = "auto") -> None:
    """Declares which rules relevance follows. default: None for that of what is compared with, where there is one."""
    usual = default or "that of the baseline, else auto"
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


def add_model(parser: argparse.ArgumentParser) -> None:
    """Declares the model's file, and how it is opened."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="a file that model.save wrote: .keras (or .h5)")
    add_model_options(parser)


def add_explaining_options(parser: argparse.ArgumentParser) -> None:
    """Declares how inputs are explained."""
    add_composite_options(parser)
    parser.add_argument("--batch-size", type=whole(1), help="samples explained at a time (default: by their size)")


def add_input_options(parser: argparse.ArgumentParser) -> None:
    """Declares how inputs are read."""
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


def add_source_options(parser: argparse.ArgumentParser) -> None:
    """Declares how a source that is a saved model is explained."""
    parser.add_argument(
        "--probes", type=Path, metavar="FILE", help="for a saved model: the probes, a file that ProbeSet.save wrote"
    )
    add_model_options(parser)
    add_composite_options(parser, default=None)
