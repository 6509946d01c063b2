"""`lrp-monitor check`: whether a saved model can be explained, layer by layer."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from lrp_monitor.cli.arguments import EXIT_CODES_OF_QUESTIONS, NO, OK, add_command, add_json
from lrp_monitor.cli.errors import CommandError
from lrp_monitor.cli.model_arguments import add_explaining_options, add_input_options, add_model


def add(commands: Any) -> None:
    """Declares the command."""
    parser = add_command(
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
    add_model(parser)
    parser.add_argument("inputs", type=Path, nargs="*", metavar="INPUT", help="pictures, .npy or .npz files")
    parser.add_argument("--target", help="class to explain: its number or its name (default: the predicted one)")
    add_explaining_options(parser)
    add_input_options(parser)
    add_json(parser, "the table")
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    """Prints the report; NO where the model is not supported or not finite. Raises CommandError."""
    from lrp_monitor.cli.opened_model import one_line
    from lrp_monitor.console import Progress

    with one_line(arguments.model), Progress(4, lines=False) as progress:

        def part(name: str) -> None:
            progress.part(name)
            progress.advance()

        report = _report(arguments, part)
    print(json.dumps(report.to_dict(), indent=2) if arguments.json else report)
    return OK if report.ok else NO


def _report(arguments: argparse.Namespace, part: Any) -> Any:
    import numpy as np

    from lrp_monitor.cli.opened_model import opened, output_of

    names, arguments.class_names = arguments.class_names, None  # counting classes would need a model that is supported
    with_model = opened(arguments, part)
    from lrp_monitor.engine.checking import check as check_model  # TensorFlow is loaded by now, and quietly
    from lrp_monitor.engine.errors import UnsupportedModelError

    explainer = with_model.explainer
    part("trying every layer")
    shapes = {sample.values.shape for sample in with_model.samples}
    if len(shapes) > 1:
        raise CommandError("the inputs differ in size; check the model on one size at a time")
    values = np.stack([sample.values for sample in with_model.samples]) if shapes else None
    try:
        target = _target(arguments.target, names, with_model)
    except UnsupportedModelError:
        target = None  # the report says what is not supported
    return check_model(
        with_model.model,
        values,
        target,
        explainer.asked,
        output=output_of(arguments, with_model.model),
        batch_size=arguments.batch_size,
        on_unknown=arguments.on_unknown,
    )


def _target(text: str | None, names: str | None, with_model: Any) -> int | None:
    if names is not None:
        from lrp_monitor.cli.model_inputs import read_class_names

        with_model = replace(with_model, class_names=tuple(read_class_names(names)))
    return with_model.target(text)
