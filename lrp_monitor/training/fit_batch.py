"""The batch size of a running ``fit``, which Keras does not pass to callbacks, and the memory left beside a batch."""

from __future__ import annotations

import sys
from typing import Any

from lrp_monitor.engine.memory import Room, free_bytes, on_host

_FLOOR = 32 << 20
"""Bytes that a pass on the CPU may take whatever the training needs: little beside the process itself."""


def samples_of_fit() -> int | None:
    """Samples in a batch of the ``fit`` that called this, over all replicas; None where it is not known.

    Read off the iterator among ``fit``'s own variables: the data that it was given may be an array, a data set or a
    generator of batches.
    """
    frame = sys._getframe()
    while frame is not None:
        found = frame.f_locals.get("epoch_iterator") if frame.f_code.co_name == "fit" else None
        adapter = getattr(found, "data_adapter", None)
        if adapter is not None:
            return _of_adapter(adapter)
        frame = frame.f_back  # type: ignore[assignment]  # None behind the outermost one
    return None


def _of_adapter(adapter: Any) -> int | None:
    given = getattr(adapter, "batch_size", None)
    if given is None:
        given = _of_dataset(getattr(adapter, "_dataset", None))
    return int(given) if given else None


def _of_dataset(dataset: Any) -> int | None:
    """The last batching among the steps that made a data set."""
    while dataset is not None:
        size = getattr(dataset, "_batch_size", None)
        if size is not None:
            return int(size)
        dataset = getattr(dataset, "_input_dataset", None)
    return None


def room_beside_training(model: Any, device: str | None) -> Room:
    """What the probes' passes may take, so that a fit's peak of memory stays about what it is without them.

    They run between steps, when what a step needed is free again. A sample takes about as much in a pass as in a
    training step, twice that where the step computes in 16 bits; half a batch leaves room for what an allocator loses.
    """
    samples = samples_of_fit() or 0
    replicas = int(getattr(getattr(model, "distribute_strategy", None), "num_replicas_in_sync", 1))
    share = 4 if any(layer.compute_dtype in ("float16", "bfloat16") for layer in model._flatten_layers()) else 2
    floor = _FLOOR if on_host(device) else max(2 * _FLOOR, (free_bytes(device) or 0) // 32)
    return Room(floor, samples // replicas // share)
