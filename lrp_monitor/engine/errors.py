"""Errors: everything in a model that relevance cannot pass through, and memory that is not enough."""

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


class OutOfMemoryError(MemoryError):
    """Memory is not enough for a pass over as few samples as there can be."""

    def __init__(self, samples: str, why: str) -> None:
        super().__init__(
            f"a pass over {samples} runs out of memory, so that a smaller batch_size= is no way out: take smaller "
            f'inputs, or another device (device="CPU:0"). {why}'
        )
