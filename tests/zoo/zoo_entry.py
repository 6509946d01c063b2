"""What an architecture of the zoo is: how it is built, what it takes, and its random inputs and weights.

Each builder returns a model whose output is logits: (n, classes), or (n, tokens, classes) for language models, or maps
(n, height, width, classes). Nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

TOKENS, VOCABULARY, CLASSES = 8, 17, 3


@dataclass(frozen=True)
class Entry:
    """One model of the zoo."""

    build: Callable[[], keras.Model]
    inputs: dict[str, tuple[int, ...]]
    """Shape of one sample by the input's name; a model of one input takes the array itself."""
    token_ids: tuple[str, ...] = ()
    """Inputs that hold token numbers, of which relevance is given per token."""
    masks: tuple[str, ...] = ()
    """Inputs of ones and zeros that say which tokens are no padding: they carry no relevance."""
    causal: bool = False
    """Whether a logit at position t depends on tokens up to t alone."""
    target: tuple[int, ...] = (1,)
    """Which number of a sample's output is explained: the class, or position and class."""
    samples: int = 2
    scale: float = 1.0
    """How large float inputs are."""
    named: bool = False
    """Whether the model takes a dict even of one input."""
    constants: tuple[str, ...] = ()
    """Parts of paths of further variables that offset their input: tokens put in, positions added."""
    keeps: str = ""
    """Why relevance does not sum to the logit even without offsets; empty where it does."""
    reads_padding: bool = False
    """Whether the model's logits depend on padded tokens, whatever its mask says."""
    output: str | None = None
    """The output that is explained, of a model of several."""
    composites: tuple[str, ...] = ("cp_lrp", "attn_lrp", "epsilon", "epsilon_plus")


def entry_inputs(entry: Entry, padded: int = 2) -> dict[str, np.ndarray]:
    """Random inputs by name; the last ``padded`` tokens of every sample are padding where the model takes a mask."""
    rng = np.random.default_rng(7)
    found: dict[str, np.ndarray] = {}
    for name, shape in entry.inputs.items():
        size = (entry.samples, *shape)
        if name in entry.masks:
            mask = np.ones(size, np.int32)
            mask[:, shape[0] - padded :] = 0
            found[name] = mask
        elif name in entry.token_ids:
            high = 2 if "segment" in name else VOCABULARY
            found[name] = rng.integers(0 if high == 2 else 1, high, size=size).astype(np.int32)
        else:
            found[name] = (entry.scale * rng.normal(size=size)).astype(np.float32)
    return found


def as_given(entry: Entry, arrays: dict[str, Any]) -> Any:
    """``arrays`` as the model takes them."""
    return arrays if entry.named or len(arrays) > 1 else next(iter(arrays.values()))


_OFFSETS = ("bias", "beta", "moving_mean", "position_emb", "class_token", "cls_token", "register", "distillation")


def randomise(model: keras.Model, offsets: bool, constants: tuple[str, ...] = ()) -> None:
    """Random weights of a size that keeps values near 1; without ``offsets`` all that is added or put in is zero."""
    rng = np.random.default_rng(3)
    for variable in model.variables:
        if not variable.dtype.startswith(("float", "bfloat")):
            continue
        path, shape = variable.path.lower().replace("token_and_position", "token"), tuple(variable.shape)
        name = path.rsplit("/", 1)[-1]
        fan_in = max(1, int(np.prod(shape[:-2] if "depthwise" in path else shape[:-1])))
        if "variance" in name:
            values = rng.uniform(0.5, 2.0, size=shape)
        elif any(part in name for part in _OFFSETS[:3]) or any(part in path for part in (*_OFFSETS[3:], *constants)):
            values = 0.3 * rng.normal(size=shape) if offsets else np.zeros(shape)
        elif "gamma" in name or "scale" in name or len(shape) == 0:
            values = rng.uniform(0.5, 1.5, size=shape)
        elif "embedding" in path and len(shape) == 2:
            values = rng.normal(size=shape)
        else:
            values = rng.normal(size=shape) * 1.4 / np.sqrt(fan_in)
        variable.assign(np.asarray(values, np.float32))
