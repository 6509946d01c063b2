"""What relevance costs next to the plain gradient: ``python tests/benchmarks/relevance.py``. Not a test.

For each net and composite: the time of one pass over that of the compiled gradient of the same logits with regard
to the same input, in wall time and in CPU time of the whole process; the first call (tracing and compiling
included); the peak memory of a process that does nothing else, over that of one that takes the gradient alone.
Passes are interleaved, so that a busy machine weighs on all alike; results are fetched to NumPy, so that work
on a GPU counts whole. ``--nets``, ``--composites``, ``--batch``, ``--rounds``, ``--xla`` and ``--no-memory``
take subsets. On a GPU the wall time is the device's, and peak memory is the device allocator's.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
from keras import layers as kl

import lrp_monitor as lrp

Pass = Callable[[np.ndarray], np.ndarray]

COMPOSITES: dict[str, Any] = {
    "epsilon": "epsilon",
    "epsilon_plus": "epsilon_plus",
    "epsilon_plus_flat": "epsilon_plus_flat",
    "epsilon_alpha2_beta1": "epsilon_alpha2_beta1",
    "epsilon_gamma_box": lrp.composites.epsilon_gamma_box(0.0, 1.0),
}


def vit(size: int = 224, patch: int = 16, width: int = 192, heads: int = 3, depth: int = 12) -> keras.Model:
    """A vision transformer of the size of ViT-Tiny; tokens are averaged, positions left out (they cost nothing)."""
    inputs = keras.Input((size, size, 3))
    x = kl.Conv2D(width, patch, strides=patch)(inputs)
    x = kl.Reshape((-1, width))(x)
    for _ in range(depth):
        y = kl.LayerNormalization(epsilon=1e-6)(x)
        x = kl.Add()([x, kl.MultiHeadAttention(heads, width // heads)(y, y)])
        y = kl.LayerNormalization(epsilon=1e-6)(x)
        y = kl.Dense(4 * width, activation="gelu")(y)
        x = kl.Add()([x, kl.Dense(width)(y)])
    x = kl.GlobalAveragePooling1D()(kl.LayerNormalization(epsilon=1e-6)(x))
    return keras.Model(inputs, kl.Dense(1000)(x), name="vit")


NETS: dict[str, Callable[[], keras.Model]] = {
    "VGG16": lambda: keras.applications.VGG16(weights=None),
    "ResNet50": lambda: keras.applications.ResNet50(weights=None),
    "MobileNetV2": lambda: keras.applications.MobileNetV2(weights=None),
    "ViT": vit,
}
GRADIENT = "gradient"


def network(name: str) -> keras.Model:
    keras.utils.set_random_seed(0)
    return NETS[name]()


def images(model: keras.Model, batch: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(size=(batch, *model.input_shape[1:])).astype(np.float32)


def plain_gradient(model: keras.Model, xla: bool) -> Pass:
    """The gradient of the predicted class's output before its softmax with regard to the input, compiled once."""
    last = model.layers[-1]
    if getattr(last, "activation", None) is keras.activations.softmax:
        last.activation = keras.activations.linear

    @tf.function(jit_compile=xla or None, autograph=False)
    def compute(x: Any) -> Any:
        logits = model(x, training=False)
        return tf.gradients(tf.reduce_sum(tf.reduce_max(logits, axis=-1)), x)[0]

    return lambda x: compute(tf.constant(x)).numpy()


def make(model: keras.Model, composite: str, batch: int, xla: bool) -> Pass:
    if composite == GRADIENT:
        return plain_gradient(model, xla)
    return lrp.Explainer(model, COMPOSITES[composite], batch_size=batch, jit_compile=xla)


def clocked(function: Pass, x: np.ndarray) -> tuple[float, float]:
    """Seconds of wall time and of the process's CPU time of one call, its result on the host."""
    start, start_cpu = time.perf_counter(), time.process_time()
    function(x)
    return time.perf_counter() - start, time.process_time() - start_cpu


def peak_alone(net: str, composite: str, batch: int, xla: bool) -> float:
    """Peak memory in MiB of a fresh process that makes the net and calls one pass three times."""
    command = [sys.executable, __file__, "--peak", json.dumps([net, composite, batch, xla])]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise SystemExit(f"measuring memory of {composite} on {net} failed:\n{result.stderr[-2000:]}")
    return float(result.stdout.split()[-1])


def print_peak(net: str, composite: str, batch: int, xla: bool) -> None:
    """The peak above what the process holds when the net has been made."""
    model = network(net)
    x = images(model, batch)
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        with open("/proc/self/clear_refs", "w") as highest:
            highest.write("5")  # forget how high it was while the weights were drawn (Linux)
    before = 0 if gpus else _resident_mib("VmRSS")
    compute = make(model, composite, batch, xla)
    for _ in range(3):
        compute(x)
    if gpus:
        print(tf.config.experimental.get_memory_info("GPU:0")["peak"] / 2**20)
    else:
        print(_resident_mib("VmHWM") - before)


def _resident_mib(field: str) -> float:
    """Resident memory of this process now (``VmRSS``) or at its highest (``VmHWM``).

    Not getrusage's maximum: that one counts the parent's memory at the moment of the fork.
    """
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field)) / 1024


def measure(net: str, composites: list[str], batch: int, rounds: int, xla: bool, memory: bool) -> list[list[str]]:
    """The rows of the table for one net."""
    model = network(net)
    x = images(model, batch)
    passes: dict[str, Pass] = {}
    first: dict[str, tuple[float, float]] = {}
    for name in [GRADIENT, *composites]:
        start, start_cpu = time.perf_counter(), time.process_time()
        try:
            passes[name] = make(model, name, batch, xla)
            passes[name](x)
        except lrp.UnsupportedModelError as error:
            print(f"{net}: {name} skipped: {error.problems[0]} ({len(error.problems)} in all)", flush=True)
            passes.pop(name)
            continue
        first[name] = (time.perf_counter() - start, time.process_time() - start_cpu)
        passes[name](x)  # some allocators and thread pools settle in the second call
    if len(passes) == 1:
        return []
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in passes}
    for _ in range(rounds):
        for name, compute in passes.items():
            times[name].append(clocked(compute, x))
    base = np.array(times[GRADIENT])
    peaks = {name: peak_alone(net, name, batch, xla) for name in passes} if memory else {}
    rows = []
    for name, values in times.items():
        wall, cpu = np.median(np.array(values) / base, axis=0)
        seconds = np.median(np.array(values)[:, 0])
        peak = f"{peaks[name]:.0f} MiB ({peaks[name] / peaks[GRADIENT]:.2f})" if memory else "-"
        rows.append(
            [net, name, f"{seconds * 1e3:.0f} ms", f"{wall:.2f}", f"{cpu:.2f}", f"{first[name][0]:.1f} s",
             f"{first[name][1]:.1f} s", peak]
        )  # fmt: skip
        print("  ".join(rows[-1]), flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description="What relevance costs next to the plain gradient.")
    parser.add_argument("--nets", nargs="+", choices=NETS, default=list(NETS))
    parser.add_argument("--composites", nargs="+", choices=COMPOSITES, default=list(COMPOSITES))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7, help="passes of each, of which the median counts")
    parser.add_argument("--xla", action="store_true", help="compile both sides with XLA")
    parser.add_argument("--no-memory", action="store_true", help="leave out peak memory (a process for each)")
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
    if arguments.peak:
        print_peak(*json.loads(arguments.peak))
        return
    tf.config.experimental.enable_tensor_float_32_execution(False)  # for the gradient too: like beside like
    rows = []
    for net in arguments.nets:
        rows += measure(
            net, arguments.composites, arguments.batch, arguments.rounds, arguments.xla, not arguments.no_memory
        )
    head = ["net", "pass", "time", "wall ratio", "CPU ratio", "first call", "its CPU", "peak memory (ratio)"]
    devices = [device.device_type for device in tf.config.list_physical_devices()]
    print(f"\nbatch {arguments.batch}, {'XLA' if arguments.xla else 'graph'}, devices {devices}\n")
    for row in [head, ["---"] * len(head), *rows]:
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
