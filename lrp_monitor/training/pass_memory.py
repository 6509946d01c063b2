"""The memory that passes over the probes may take beside a running ``fit``."""

from __future__ import annotations

from typing import Any

from lrp_monitor.keras_internals import layers_of, samples_of_fit
from lrp_monitor.passes.memory import Room, free_bytes, on_host

_FLOOR = 32 << 20
"""Bytes that a pass on the CPU may take whatever the training needs: little beside the process itself."""


def room_beside_training(model: Any, device: str | None) -> Room:
    """What the probes' passes may take, so that a fit's peak of memory stays about what it is without them.

    They run between steps, when what a step needed is free again. A sample takes about as much in a pass as in a
    training step, twice that where the step computes in 16 bits; half a batch leaves room for what an allocator loses.
    """
    samples = samples_of_fit() or 0
    replicas = int(getattr(getattr(model, "distribute_strategy", None), "num_replicas_in_sync", 1))
    share = 4 if any(layer.compute_dtype in ("float16", "bfloat16") for layer in layers_of(model)) else 2
    floor = _FLOOR if on_host(device) else max(2 * _FLOOR, (free_bytes(device) or 0) // 32)
    return Room(floor, samples // replicas // share)
