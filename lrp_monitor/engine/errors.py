"""The error that lists everything in a model that relevance cannot pass through."""

from __future__ import annotations

from collections.abc import Sequence


class UnsupportedModelError(ValueError):
    """A model holds layers or operations without a relevance treatment.

    All of them are listed at once, each with the way out; ``problems`` holds them one string each. ``differentiable``
    says whether the plain gradient passes them, so that ``on_unknown="gradient"`` is a way out.
    """

    def __init__(self, model_name: str, problems: Sequence[str], differentiable: bool = True) -> None:
        self.problems = tuple(dict.fromkeys(problems))
        lines = "\n".join(f"  - {problem}" for problem in self.problems)
        gradient = (
            'pass on_unknown="gradient" to let the plain gradient through there, which is recorded as a warning.'
            if differentiable
            else 'explain a part of the model; on_unknown="gradient" is no way out, since no differentiable path leads '
            "from the model's input to what is explained."
        )
        super().__init__(
            f"relevance cannot be propagated through model {model_name!r}:\n{lines}\n"
            "Way out: what a line names, or replace the part by layers that are treated, give Pass() or Gradient() for "
            f"the layer that holds it (Composite(overrides={{'layer name': rule}})), or {gradient}"
        )
