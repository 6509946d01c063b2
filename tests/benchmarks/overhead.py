"""What the monitor costs a training: python tests/benchmarks/overhead.py [small] [resnet] [wide] [memory] [--side 224].

Ratios are taken inside one run, from epochs and steps that alternate, in wall time and in CPU time (user and system,
all threads); on a machine that does other work, too, only the latter mean something. Nothing is asserted. Where the
quartiles of an epoch's wall time lie far apart, its threads share cores at one time and not at another: pin the process
to one core then (`taskset -c 0 python ...`).

small   a CNN of 0.1 M parameters, epochs of 200 steps: epochs that end in a log of 16 probes against epochs that do
        not, and those against epochs of a fit without the monitor.
resnet  ResNet50, batch 32: a log of 16 probes in training steps. `--side` shrinks the pictures.
wide    101 M parameters in four dense layers, batch 32: the same.
memory  resident memory from log 20 to log 200 of the small CNN, and bytes a step on disk.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import os
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from lrp_monitor.probes import ProbeSet
from lrp_monitor.training.monitor import LRPMonitor

PROBES, BATCH = 16, 32


class Spent(NamedTuple):
    """Seconds."""

    wall: float
    cpu: float

    def __sub__(self, other: tuple[float, ...]) -> Spent:  # type: ignore[override]  # differences, not a set of tuples
        return Spent(self.wall - other[0], self.cpu - other[1])


def now() -> Spent:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return Spent(time.perf_counter(), used.ru_utime + used.ru_stime)


def median(spent: list[Spent]) -> Spent:
    return Spent(statistics.median(s.wall for s in spent), statistics.median(s.cpu for s in spent))


def ratio(a: Spent, b: Spent) -> str:
    return f"wall {a.wall / b.wall:.3f}, CPU {a.cpu / b.cpu:.3f}"


class Clock(keras.callbacks.Callback):
    """Notes when steps and epochs begin and end; waits for the device first. One stands before, one behind the monitor.

    each_step: without it steps run on undisturbed, and only epochs are noted.
    """

    def __init__(self, each_step: bool = False) -> None:
        super().__init__()
        self.steps: list[Spent] = []
        self.epochs: list[Spent] = []
        self.begins: list[Spent] = []
        self.each_step = each_step

    def _now(self) -> Spent:
        self.model.optimizer.iterations.numpy()
        return now()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.begins.append(self._now())

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if self.each_step:
            self.steps.append(self._now())

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.epochs.append(self._now())

    def on_train_end(self, logs: Any = None) -> None:
        self.begins.append(self._now())


def small_model() -> keras.Model:
    keras.utils.set_random_seed(1)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(64, "relu"),
            layers.Dense(10),
        ]
    )
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def pictures(count: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(count, side, side, 3)).astype(np.float32), rng.integers(0, 10, count)


def small(rounds: int, epochs: int) -> None:
    """Blocks with and without the monitor in turn; the monitor logs at every second epoch."""
    x, y = pictures(200 * BATCH, 32)
    spent: dict[str, list[Spent]] = {"none": [], "off": [], "log": []}
    for _ in range(rounds):
        for watched in (False, True):
            model, clock = small_model(), Clock()
            callbacks: list[Any] = [clock]
            with tempfile.TemporaryDirectory() as folder:
                if watched:
                    callbacks.append(LRPMonitor(ProbeSet(x[:PROBES], y[:PROBES]), folder, every=2, verbose=0))
                model.fit(x, y, batch_size=BATCH, epochs=epochs + 3, verbose=0, callbacks=callbacks)
            # From one epoch's begin to the next one's, the log and the waiting for it included. The first ones trace.
            lasted = [b - a for a, b in itertools.pairwise(clock.begins)]
            for epoch in range(2, epochs + 2):
                spent["none" if not watched else "log" if epoch % 2 else "off"].append(lasted[epoch])
    none, off, log = (median(spent[name]) for name in ("none", "off", "log"))
    first, _, third = statistics.quantiles([s.wall for s in spent["none"]], n=4)
    print(
        f"small CNN, epochs of 200 steps without the monitor: {none.wall:.2f} s (quartiles {first:.2f} and "
        f"{third:.2f}), {none.cpu:.2f} s of CPU"
    )
    print(f"  epochs without a log over epochs without the monitor: {ratio(off, none)}")
    print(f"  epochs with a log of {PROBES} probes (every=1) over epochs without a log: {ratio(log, off)}")
    tenth = Spent(off.wall + (log.wall - off.wall) / 10, off.cpu + (log.cpu - off.cpu) / 10)
    print(f"  every=10, from these: {ratio(tenth, off)}")


def steps_of(name: str, model: keras.Model, x: np.ndarray, y: np.ndarray, epochs: int) -> None:
    """A log in training steps: what the end of the epoch took, and what the captured step took more than others."""
    before, behind = Clock(each_step=True), Clock()
    with tempfile.TemporaryDirectory() as folder:
        watcher = LRPMonitor(ProbeSet(x[:PROBES], y[:PROBES] % 10), folder, verbose=0)
        model.fit(x, y, batch_size=BATCH, epochs=epochs, verbose=0, callbacks=[before, watcher, behind])
        written = sum(path.stat().st_size for path in Path(folder).rglob("*.tfrecord")) / (epochs + 1)
    per_epoch = len(x) // BATCH
    plain, captured = [], []
    for epoch in range(1, epochs):  # the first one traces
        marks = [*before.steps[epoch * per_epoch : (epoch + 1) * per_epoch], before.epochs[epoch]]
        lasted = [b - a for a, b in itertools.pairwise(marks)]
        plain += lasted[:-1]
        captured.append(lasted[-1])
    step, extra = median(plain), median(captured)
    logs = [b - a for a, b in zip(before.epochs[1:], behind.epochs[1:], strict=True)]
    log = median(logs)
    cost = Spent(log.wall + extra.wall - step.wall, log.cpu + extra.cpu - step.cpu)
    print(f"{name}, {model.count_params() / 1e6:.0f} M parameters, batch {BATCH}: a step {step.wall:.2f} s wall")
    print(
        f"  a log of {PROBES} probes: {cost.wall / step.wall:.2f} steps of wall time, {cost.cpu / step.cpu:.2f} of CPU "
        f"time (the captured step alone {ratio(extra, step)}); {written / 1e3:.0f} kB a step in the store"
    )


def resnet(side: int) -> None:
    """ResNet50 on pictures of noise."""
    keras.utils.set_random_seed(1)
    model = keras.applications.ResNet50(weights=None, input_shape=(side, side, 3), classes=10)
    model.compile("adam", "sparse_categorical_crossentropy")
    x, y = pictures(4 * BATCH, side)
    steps_of(f"ResNet50 at {side} x {side}", model, x, y, epochs=3)


def wide() -> None:
    """Dense layers of 5,300 units."""
    keras.utils.set_random_seed(1)
    dense = [keras.layers.Dense(5300, "relu") for _ in range(4)]
    model = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Flatten(), *dense, keras.layers.Dense(10)])
    model.compile(keras.optimizers.SGD(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x, y = pictures(8 * BATCH, 32)
    steps_of("four dense layers", model, x, y, epochs=4)


def memory() -> None:
    """Resident memory after 20 and after 200 logs."""
    held: dict[int, float] = {}

    class Resident(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            if epoch + 1 in (20, 50, 100, 150, 200):
                gc.collect()
                pages = int(Path("/proc/self/statm").read_text().split()[1])
                held[epoch + 1] = pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    x, y = pictures(4 * BATCH, 32)
    with tempfile.TemporaryDirectory() as folder:
        watcher = LRPMonitor(ProbeSet(x[:PROBES], y[:PROBES]), folder, verbose=0)
        small_model().fit(x, y, batch_size=BATCH, epochs=200, verbose=0, callbacks=[watcher, Resident()])
        store = sum(path.stat().st_size for path in Path(folder).rglob("*.tfrecord")) / 201
        events = sum(path.stat().st_size for path in Path(folder).rglob("events*")) / 201
    print("resident memory after logs: " + ", ".join(f"{log}: {size:.0f} MB" for log, size in held.items()))
    print(f"  log 200 over log 20: {held[200] / held[20]:.3f}")
    print(f"  a step of {PROBES} probes of 32 x 32: {store / 1e3:.1f} kB in the store, {events / 1e3:.1f} kB of events")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help="small, resnet, wide, memory; all of them without any")
    parser.add_argument("--side", type=int, default=224, help="side of ResNet50's pictures")
    parser.add_argument("--rounds", type=int, default=3, help="blocks of the small CNN, with and without the monitor")
    parser.add_argument("--epochs", type=int, default=8, help="epochs of a block that are measured, an even number")
    given = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for part in given.parts or ["small", "resnet", "wide", "memory"]:
        run = {
            "small": lambda: small(given.rounds, given.epochs),
            "resnet": lambda: resnet(given.side),
            "wide": wide,
            "memory": memory,
        }
        run[part]()
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
