"""What `explain` and `check` begin with: the model opened, its explainer made, its inputs read."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from lrp_monitor.arguments import Preset, output_key
from lrp_monitor.cli import model_files, model_inputs
from lrp_monitor.cli.errors import CommandError
from lrp_monitor.cli.model_inputs import Reader, Sample, Scaling
from lrp_monitor.keras_internals import layers_of
from lrp_monitor.text import in_one_line

_SCALED_BY_THE_MODEL = ("Rescaling", "Normalization")
_BOUNDED = ("epsilon_gamma_box", "deep_taylor")
_SCAN = 4  # preprocessing stands among a model's first layers


@contextmanager
def one_line(model: object = "MODEL") -> Iterator[None]:
    """Turns what models, files and arguments raise into a command's one line."""
    try:
        yield
    except (model_files.ModelFileError, model_inputs.InputError) as error:
        raise CommandError(str(error)) from error
    except (ValueError, TypeError) as error:
        problems: Sequence[str] = getattr(error, "problems", ())
        if problems:
            more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
            raise CommandError(
                f"{model}: cannot be explained: {problems[0]}{more}; `lrp-monitor check {model}` lists all, "
                "--on-unknown gradient lets the plain gradient through"
            ) from error
        raise CommandError(f"{model}: {in_one_line(error)}") from error


def note(words: str) -> None:
    """Says on stderr what a user may want to know about a result."""
    print(f"lrp-monitor: note: {words}", file=sys.stderr)


@dataclass(frozen=True)
class Opened:
    """A model with what its command line says about it."""

    model: Any
    explainer: Any
    samples: list[Sample]
    class_names: tuple[str, ...] | None

    @property
    def classes(self) -> int:
        """How many classes there are. To say so the explainer compiles: for the very inputs that it will be given."""
        if self.samples:
            shape = self.samples[0].values.shape
            self.explainer.prepare(shape, sum(sample.values.shape == shape for sample in self.samples))
        return int(self.explainer.classes)

    def target(self, text: str | None) -> int | None:
        """A class from its number or its name; None: the predicted one. Raises CommandError."""
        if text is None or text == "predicted":
            return None
        names = self.class_names or ()
        if text in names:
            return names.index(text)
        if text.isdecimal() and int(text) < self.classes:
            return int(text)
        known = f", or a name: {', '.join(names[:20])}{', ...' if len(names) > 20 else ''}" if names else ""
        raise CommandError(f"--target {text}: no such class; give a number, 0 to {self.classes - 1}{known}")

    def class_name(self, number: int) -> str:
        """A class as shown to a person."""
        return self.class_names[number] if self.class_names and number < len(self.class_names) else f"class {number}"


def opened(arguments: argparse.Namespace, part: Any) -> Opened:
    """Opens the model and reads the inputs that a command names. part: is called with what is being done."""
    part("opening the model")
    model = model_files.load_model(arguments.model, arguments.trust_model, arguments.modules)
    samples: list[Sample] = []
    names: Sequence[str] | None = None
    scaling_name = _scaling_name(model) if arguments.scaling == "auto" else arguments.scaling
    scaling = model_inputs.SCALINGS[scaling_name]
    if arguments.class_names is not None:
        names = model_inputs.read_class_names(arguments.class_names)
    if arguments.inputs:
        part("reading the inputs")
        reader = Reader(_sample_shape(model), scaling, arguments.fit, arguments.array)
        samples = reader.read(arguments.inputs)
        names = names or reader.class_names
        is_picture = any(path.suffix.lower() not in (".npy", ".npz") for path in arguments.inputs)
        if is_picture and arguments.scaling == "auto":
            does = "scales" if scaling_name == "0..255" else "does not scale"
            note(f"the model {does} pixels by itself: given in {scaling_name} (--scaling says otherwise)")
        for words in reader.notes:
            note(words)
    explainer = _explainer(model, arguments, scaling, samples)
    found = Opened(model, explainer, samples, None if names is None else tuple(names))
    if names is not None and len(names) != found.classes:
        raise CommandError(f"{len(names)} class names for a model of {found.classes} classes")
    return found


def _scaling_name(model: Any) -> str:
    leaves = [layer for layer in layers_of(model, itself=False) if not getattr(layer, "layers", None)]
    return "0..255" if any(type(layer).__name__ in _SCALED_BY_THE_MODEL for layer in leaves[:_SCAN]) else "0..1"


def _sample_shape(model: Any) -> tuple[int | None, ...]:
    from lrp_monitor.engine.inputs import expected_shapes

    shapes = expected_shapes(model)
    if shapes is None:
        raise CommandError(f"the input shape of model {model.name!r} is not known from its file; use lrp.Explainer")
    if len(shapes) > 1:
        raise CommandError(f"model {model.name!r} has {len(shapes)} inputs; explain it in Python, with lrp.Explainer")
    return tuple(shapes[0][1:])


def _explainer(model: Any, arguments: argparse.Namespace, scaling: Scaling, samples: Sequence[Sample]) -> Any:
    from lrp_monitor.engine.explainer import Explainer

    low, high = scaling.bounds
    low = low if arguments.low is None else arguments.low
    high = high if arguments.high is None else arguments.high
    composite = composite_of(arguments.composite, low, high, [sample.values for sample in samples])
    return Explainer(
        model,
        composite,
        output=output_of(arguments, model),
        batch_size=arguments.batch_size,
        on_unknown=arguments.on_unknown,
    )


def output_of(arguments: argparse.Namespace, model: Any) -> str | int | None:
    """The output to explain, by number where it is one. Raises CommandError where the model has no such output."""
    given: str | None = arguments.head
    head = int(given) if given is not None and given.isdecimal() else given
    names = list(getattr(model, "output_names", None) or ())  # a subclassed model has none before it is run
    if names or len(getattr(model, "outputs", None) or ()) == 1:
        try:
            output_key(names or [0], head, model.name, "--head ")
        except ValueError as error:
            raise CommandError(str(error)) from error
    return head


def composite_of(name: Preset, low: Any, high: Any, inputs: Sequence[NDArray[Any]]) -> Any:
    """A preset; where it needs the bounds of the input, with these. Raises CommandError where inputs leave them."""
    from lrp_monitor.engine.rules import composites

    if name not in _BOUNDED:
        return name
    if low is None or high is None:
        raise CommandError(f"composite {name} needs the bounds of the model's input: give --low and --high")
    for values in inputs:
        if (values < low).any() or (values > high).any():
            raise CommandError(
                f"inputs from {values.min():g} to {values.max():g} lie outside the bounds of composite {name}; give "
                "--low and --high"
            )
    return composites.PRESETS[name](low, high)
