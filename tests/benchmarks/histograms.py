"""What counting weight histograms costs: ``python tests/benchmarks/histograms.py [vgg16]``. Not a test.

Prints, for a few sets of tensors, the time of the first call, of the later ones, the nanoseconds
for each element, and how much the process' peak memory grew. ``vgg16`` adds all weights of VGG16 (553 MB).
"""

from __future__ import annotations

import resource
import sys
import time

import keras
import numpy as np
import tensorflow as tf

from lrp_monitor.training.tensors.histograms import TensorStatistics
from lrp_monitor.training.tensors.names import tensor_names


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(title: str, tensors: dict[str, object]) -> None:
    elements = sum(int(np.prod(tensor.shape)) for tensor in tensors.values())  # type: ignore[attr-defined]
    statistics = TensorStatistics(tensors)
    before, start = peak_mb(), time.perf_counter()
    statistics()
    first, times = time.perf_counter() - start, []
    for _ in range(5):
        start = time.perf_counter()
        statistics()
        times.append(time.perf_counter() - start)
    print(
        f"{title:14s} {len(tensors):4d} tensors {elements / 1e6:7.2f} M: first {first:5.2f} s,"
        f" then {min(times) * 1e3:8.2f} ms ({min(times) / elements * 1e9:6.2f} ns each),"
        f" peak memory +{peak_mb() - before:5.0f} MB"
    )


def main() -> None:
    rng = np.random.default_rng(0)
    values = [rng.normal(size=shape).astype(np.float32) for shape in [(3, 3, 8, 16), (16,)] * 16]
    measure("small tensors", {f"t{i}": tf.Variable(value) for i, value in enumerate(values)})
    zeros = tf.Variable(tf.zeros([1 << 27]))  # as many as VGG16 has, made without a peak of its own
    measure("one tensor", {"zeros": zeros})
    del zeros
    measure("ResNet50", tensor_names(keras.applications.ResNet50(weights=None)))
    if "vgg16" in sys.argv[1:]:
        measure("VGG16", tensor_names(keras.applications.VGG16(weights=None)))


if __name__ == "__main__":
    main()
