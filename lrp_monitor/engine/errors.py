"""The error that names everything in a model that relevance cannot pass through."""

from __future__ import annotations

from collections.abc import Sequence


class UnsupportedModelError(ValueError):
    """A model holds layers or operations without a relevance treatment.

    All of them are listed at once, each with the way out; ``problems`` holds them one string each.
    """

    def __init__(self, model_name: str, problems: Sequence[str]) -> None:
        self.problems = tuple(dict.fromkeys(problems))
        lines = "\n".join(f"  - {problem}" for problem in self.problems)
        super().__init__(
            f"relevance cannot be propagated through model {model_name!r}:\n{lines}\n"
            "Way out: replace the part by layers that are treated, give a rule for the named layer "
            "(Composite(overrides={'layer name': rule})), or pass on_unknown=\"gradient\" to let the plain "
            "gradient through there, which is recorded as a warning."
        )
