"""Times the store on a run of 200 steps x 64 probes x 224 x 224: python tests/benchmarks/store.py [folder].

Prints milliseconds (median of some repeats) and bytes; nothing is asserted. About 0.5 GB of disk.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np

from lrp_monitor.plugin.wire import step_answer
from lrp_monitor.store.format import Histogram, ProbeInfo, StepRecord
from lrp_monitor.store.reader import open_run
from lrp_monitor.store.writer import RunWriter, estimate_bytes

STEPS, PROBES, SIDE, TENSORS = 200, 64, 224, 32


def milliseconds(work: Callable[[], object], repeats: int = 9) -> float:
    """Median wall time of ``work``."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return 1e3 * sorted(times)[repeats // 2]


def relevance(rng: np.random.Generator) -> np.ndarray:
    """Heatmaps as noisy as those of the epsilon rule: heavy-tailed pixels under a smooth envelope."""
    grid = np.linspace(-1, 1, SIDE)
    centres = rng.uniform(-0.5, 0.5, (PROBES, 2, 1))
    bump_y = np.exp(-6 * (grid - centres[:, 0]) ** 2)
    bump_x = np.exp(-6 * (grid - centres[:, 1]) ** 2)
    noise = rng.standard_normal((PROBES, SIDE, SIDE), dtype=np.float32)
    return (noise**3 * bump_y[:, :, None] * bump_x[:, None, :]).astype(np.float32)


def probes(rng: np.random.Generator) -> ProbeInfo:
    """64 probes of random images, one mask."""
    images = rng.integers(0, 256, (PROBES, SIDE, SIDE, 3), dtype=np.uint8)
    mask = np.zeros((PROBES, SIDE, SIDE), bool)
    mask[:, 3:20, 3:20] = True
    return ProbeInfo(
        names=[f"probe {i}" for i in range(PROBES)],
        labels=np.arange(PROBES) % 10,
        class_names=[f"class {i}" for i in range(10)],
        images=images,
        masks={"stamp": mask},
        map_shape=(SIDE, SIDE),
        hash=hashlib.sha256(images.tobytes()).hexdigest(),
        input_shape=(SIDE, SIDE, 3),
    )


def record(step: int, maps: np.ndarray, rng: np.random.Generator) -> StepRecord:
    """A full record: 13 statistics a probe, a scalar per tensor, a histogram per tensor and kind."""
    histograms = [
        Histogram(
            kind=kind,
            name=f"block{i // 4}/conv{i % 4}/kernel",
            size=1_000_000,
            minimum=-1.0,
            maximum=1.0,
            norm=3.0,
            buckets=np.sort(rng.choice(2048, 110, replace=False)).astype(np.uint16),
            counts=rng.integers(1, 100_000, 110),
        )
        for kind in ("weight", "gradient")
        for i in range(TENSORS)
    ]
    names = "sum positive negative absmax q50 q90 q99 logit probability prediction conservation drift stamp"
    return StepRecord(
        step=step,
        epoch=step,
        batch=100 * step,
        wall_time=1.7e9 + step,
        heatmaps=maps,
        probes={name: rng.standard_normal(PROBES) for name in names.split()},
        scalars={f"weights/norm/{i}": float(rng.standard_normal()) for i in range(TENSORS)},
        histograms=histograms,
    )


def main(folder: str) -> None:
    """Writes the run and prints the figures."""
    rng = np.random.default_rng(0)
    pool = [relevance(rng) for _ in range(4)]
    info = probes(rng)
    for encoding in ("float32", "float16", "sqrt8"):
        with RunWriter(f"{folder}/{encoding}/lrp", info, meta={}, encoding=encoding) as writer:
            begun = writer.bytes_written
            start = time.perf_counter()
            writer.append(record(0, pool[0], rng))
            print(
                f"{encoding}: one step {1e3 * (time.perf_counter() - start):.0f} ms to write, "
                f"{writer.bytes_written - begun} bytes, "
                f"estimated {estimate_bytes(PROBES, (SIDE, SIDE), encoding, 2 * TENSORS)}"
            )
            if encoding == "sqrt8":
                for step in range(1, STEPS):
                    writer.append(record(step, pool[step % 4], rng))
                print(f"{STEPS} steps: {writer.bytes_written / 1e6:.0f} MB")
    path = f"{folder}/sqrt8"
    run = open_run(path)
    steps = iter(np.tile(np.arange(STEPS), 9).tolist())
    fresh = open_run(path)
    print(f"index from scratch, with probes: {milliseconds(lambda: open_run(path)):.1f} ms")
    print(f"refresh, nothing new:            {milliseconds(run.refresh, 99):.3f} ms")
    print(f"raw step, first time:            {milliseconds(lambda: step_answer(fresh, next(steps)), 99):.2f} ms")
    print(f"raw step, again:                 {milliseconds(lambda: step_answer(fresh, 7), 99):.2f} ms")
    print(f"heatmaps of a step, decoded:     {milliseconds(lambda: run.heatmaps(7)):.1f} ms")
    print(f"one map:                         {milliseconds(lambda: run.heatmap(3, 8), 99):.2f} ms")
    tensor = run.tensors(9)[0]
    print(f"one histogram:                   {milliseconds(lambda: run.histogram(9, *tensor)):.2f} ms")
    print(f"all headers, first time:         {milliseconds(lambda: open_run(path).records(), 5):.1f} ms")
    print(f"film of a probe, {STEPS} maps:     {milliseconds(lambda: run.film(5), 5):.1f} ms")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(sys.argv[1])
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(temporary)
