"""Small probes and records for the store's tests."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from lrp_monitor.store.format import Histogram, ProbeInfo, StepRecord

SHAPE = (6, 5)
COUNT = 3


def make_probes(seed: int = 0, count: int = COUNT, shape: tuple[int, ...] = SHAPE) -> ProbeInfo:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, 6, 5, 3), dtype=np.uint8)
    mask = np.zeros((count, *shape), bool)
    mask[:, 1:3] = True
    return ProbeInfo(
        names=[f"probe {i}" for i in range(count)],
        labels=np.arange(count, dtype=np.int64),
        class_names=["disk", "square", "triangle"],
        images=images,
        masks={"stamp": mask},
        map_shape=shape,
        hash=hashlib.sha256(images.tobytes()).hexdigest(),
        input_shape=(6, 5, 3),
        statistics={"min": [0.0, 0.1, 0.2], "max": [1.0, 1.0, 1.0]},
    )


def make_maps(step: int, count: int = COUNT, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(1000 + step).standard_normal((count, *shape)).astype(np.float32)


def make_record(step: int, **changes: object) -> StepRecord:
    rng = np.random.default_rng(step)
    fields: dict = {
        "step": step,
        "epoch": step // 2,
        "batch": 10 * step,
        "wall_time": 1.7e9 + step / 3,
        "heatmaps": make_maps(step),
        "probes": {"sum": rng.standard_normal(COUNT), "drift": np.full(COUNT, np.nan)},
        "scalars": {"lrp/conservation": 0.1 + step, "lrp/mask_mass/stamp": float(rng.random())},
        "histograms": [
            Histogram(
                kind="weight",
                name="conv2d/kernel",
                size=9,
                zeros=1,
                denormals=1,
                nan=1,
                inf=1,
                minimum=-0.5,
                maximum=float(step),
                norm=1.25,
                buckets=np.array([500, 508, 1530], np.uint16),
                counts=np.array([1, 3, step], np.int64),
            ),
            Histogram(kind="gradient", name="conv2d/kernel", size=9, note="no gradient"),
        ],
        "notes": [f"note {step}"],
        "gradient_batch": 32,
    }
    return StepRecord(**(fields | changes))


def segments(folder: str | Path) -> list[Path]:
    return sorted(Path(folder).glob("steps-*.tfrecord"))
