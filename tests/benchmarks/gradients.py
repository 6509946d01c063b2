"""What capturing training gradients costs: ``python tests/benchmarks/gradients.py [xla]``. Not a test.

Epochs of a small convolutional net: nothing due (the capture object exists, as in the callback), one due step
an epoch, every step due. The ratio is to epochs of a fit without any capture, taken in turn so that a busy
machine weighs on all alike. Also the cost of one captured step with ``take()``.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import keras
import numpy as np

from lrp_monitor.training.tensors.capture import GradientCapture

STEPS, BATCH, ROUNDS = 100, 32, 8


class Due(keras.callbacks.Callback):
    def __init__(self, every: int) -> None:
        super().__init__()
        self.every = every
        self.capture: GradientCapture | None = None

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if self.capture is None:
            self.capture = GradientCapture(self.model)
        if self.every and batch % self.every == 0:
            self.capture.take()
            self.capture.arm()


def network(xla: bool) -> keras.Model:
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            *(keras.layers.Conv2D(width, 3, activation="relu", strides=2) for width in (32, 64, 128)),
            keras.layers.Flatten(),
            keras.layers.Dense(256, activation="relu"),
            keras.layers.Dense(10),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, jit_compile=xla)
    return model


def main() -> None:
    xla = "xla" in sys.argv[1:]
    rng = np.random.default_rng(0)
    x = rng.normal(size=(STEPS * BATCH, 32, 32, 3)).astype(np.float32)
    y = rng.integers(0, 10, size=len(x))
    cases = {"no capture": None, "none due": Due(0), "one step due": Due(STEPS), "every step due": Due(1)}
    models = {title: network(xla) for title in cases}
    times: dict[str, list[float]] = {title: [] for title in cases}
    cpu: dict[str, list[float]] = {title: [] for title in cases}  # steadier where the machine has other work
    for turn in range(ROUNDS + 1):
        for title, due in cases.items():
            start, start_cpu = time.perf_counter(), time.process_time()
            models[title].fit(x, y, batch_size=BATCH, verbose=0, callbacks=[due] if due else [])
            seconds = time.perf_counter() - start
            if turn:  # the first one traces
                times[title].append(seconds)
                cpu[title].append(time.process_time() - start_cpu)
            else:
                print(f"{title:16s} first epoch {seconds:6.2f} s")
    base = np.median(times["no capture"])
    mode = "XLA" if xla else "graph"
    print(f"{models['no capture'].count_params()} parameters, {mode}, {STEPS} steps of {BATCH}")
    for title, values in times.items():
        ratio = np.median(np.array(values) / np.array(times["no capture"]))
        used = np.median(np.array(cpu[title]) / np.array(cpu["no capture"]))
        print(f"{title:16s} {np.median(values):6.3f} s an epoch, ratio {ratio:5.3f}, of CPU time {used:5.3f}")
    step = base / STEPS
    more = (np.median(times["every step due"]) - base) / STEPS
    print(f"a step {step * 1e3:.2f} ms; captured and taken {more * 1e3:.2f} ms more")


if __name__ == "__main__":
    main()
