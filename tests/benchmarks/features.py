"""What features="auto" adds to a log: python tests/benchmarks/features.py [demo] [resnet] [--side 224].

Two fits on the same data from the same weights, one without features and one with "auto", all else at its default,
whose epochs take turns: what a log takes (the end of the epoch, and what the captured step takes more than others), in
wall and in CPU time of all threads, and what it adds to the store. Medians over the epochs, the first one left out, in
which passes are traced. On a machine that does other work, too, CPU time alone means something. Nothing is asserted.

demo    the demo's network, 3,000 pictures of 32 x 32, 16 probes of four classes, 10 epochs.
resnet  ResNet50, batch 32, 16 probes of ten classes. `--side` shrinks the pictures.
"""

from __future__ import annotations

import argparse
import itertools
import os
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
from overhead import BATCH, PROBES, Clock, Spent, median, pictures, ratio

from lrp_monitor.demo import shapes, train
from lrp_monitor.probes import ProbeSet
from lrp_monitor.store.reader import open_run
from lrp_monitor.training.monitor import LRPMonitor


class Waits(keras.callbacks.Callback):
    """Begins every epoch but the first when it is this fit's turn."""

    def __init__(self, turn: threading.Semaphore) -> None:
        super().__init__()
        self._turn = turn

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        if epoch:
            self._turn.acquire()


class HandsOn(keras.callbacks.Callback):
    """Ends an epoch by giving the turn to the other fit."""

    def __init__(self, turn: threading.Semaphore) -> None:
        super().__init__()
        self._turn = turn

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:
        self._turn.release()


def logs(
    model: keras.Model, x: np.ndarray, y: np.ndarray, probes: ProbeSet, features: str | None, epochs: int,
    own: threading.Semaphore, other: threading.Semaphore,
) -> tuple[list[Spent], list[int], list[int]]:  # fmt: skip
    """Of each log behind the first epoch's: what it took, its bytes in the store, and its channels' maps."""
    before, behind = Clock(each_step=True), Clock()
    with tempfile.TemporaryDirectory() as folder:
        watcher = LRPMonitor(probes, folder, features=features, verbose=0)
        own.acquire()  # what the fit does before its first epoch is done in turn, too
        callbacks = [Waits(own), before, watcher, behind, HandsOn(other)]
        model.fit(x, y, batch_size=BATCH, epochs=epochs, verbose=0, callbacks=callbacks)
        run = open_run(folder)
        held = [run._view.entries[step].length for step in run.steps[2:]]
        maps = [0 if features is None else len(run.features(run.feature_layers[0], s).probe) for s in run.steps[2:]]
    per_epoch, plain, captured = -(-len(x) // BATCH), [], []
    for epoch in range(1, epochs):
        marks = [*before.steps[epoch * per_epoch : (epoch + 1) * per_epoch], before.epochs[epoch]]
        lasted = [b - a for a, b in itertools.pairwise(marks)]
        plain += lasted[:-1]
        captured.append(lasted[-1])
    step = median(plain)
    ends = [b - a for a, b in zip(before.epochs[1:], behind.epochs[1:], strict=True)]
    spent = [Spent(e.wall + c.wall - step.wall, e.cpu + c.cpu - step.cpu) for e, c in zip(ends, captured, strict=True)]
    return spent, held, maps


def compare(
    name: str, build: Callable[[], keras.Model], x: np.ndarray, y: np.ndarray, probes: ProbeSet, epochs: int
) -> None:
    """Prints what a log takes with features, and that over what it takes without."""
    models = build(), build()
    turns = threading.Semaphore(1), threading.Semaphore(0)
    with ThreadPoolExecutor(2) as pool:
        plain = pool.submit(logs, models[0], x, y, probes, None, epochs, *turns)
        auto = pool.submit(logs, models[1], x, y, probes, "auto", epochs, *turns[::-1])
        (without, bare, _), (spent, held, maps) = plain.result(), auto.result()
    print(f"{name}: a log of {len(probes)} probes without features {median(without).cpu:.2f} s of CPU")
    print(f'  with "auto" over without: {ratio(median(spent), median(without))}')
    print("  in turn:", "; ".join(ratio(a, b) for a, b in zip(spent, without, strict=True)))
    print(f"  the last log of {len(spent) + 1}, {maps[-1]} maps of channels: {ratio(spent[-1], median(without))}")
    stored = sum(held) / len(held), sum(bare) / len(bare)
    print(
        f"  bytes a log in the store: {stored[0]:,.0f} over {stored[1]:,.0f}: {stored[0] / stored[1]:.2f}; "
        f"the last {held[-1] / bare[-1]:.2f}"
    )


def demo() -> None:
    """The demo's planted training."""
    drawn = train.make_shapes(3000, seed=(0, 1), stamped_class=shapes.CLASSES[2])

    def build() -> keras.Model:
        keras.utils.set_random_seed(0)
        model = train.build_model()
        model.compile(keras.optimizers.Adam(4.5e-4), "sparse_categorical_crossentropy")
        return model

    compare("demo", build, drawn.images, drawn.labels, train.probe_set(), 10)


def resnet(side: int, epochs: int) -> None:
    """ResNet50 on pictures of noise."""

    def build() -> keras.Model:
        keras.utils.set_random_seed(1)
        model = keras.applications.ResNet50(weights=None, input_shape=(side, side, 3), classes=10)
        model.compile("adam", "sparse_categorical_crossentropy")
        return model

    x, y = pictures(2 * BATCH, side)
    compare(f"ResNet50 at {side} x {side}", build, x, y, ProbeSet(x[:PROBES], y[:PROBES]), epochs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help="demo, resnet; both without any")
    parser.add_argument("--side", type=int, default=224, help="side of ResNet50's pictures")
    parser.add_argument("--epochs", type=int, default=5, help="of ResNet50's training")
    given = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for part in given.parts or ["demo", "resnet"]:
        if part == "demo":
            demo()
        else:
            resnet(given.side, given.epochs)
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
