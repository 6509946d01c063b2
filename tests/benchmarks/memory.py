"""Peak memory of a fit with and without a monitor: whole processes, compared by what the system says of each.

    python tests/benchmarks/memory.py [--case conv resnet50] [--probes 8 64 256] [--repeats 3] [--gradients train]

Cases: "conv": six convolutions of 64 filters at 64 x 64, trained in batches of 4; "resnet50": ResNet50 at 224 x 224 in
batches of 8. The median of the repeats; processes with and without take turns. Goal: at most 1.15.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile

CASES = {"conv": (64, 4, 10), "resnet50": (224, 8, 2)}  # side, batch, steps an epoch


def train(case: str, probes: int, gradients: str) -> None:
    """One fit of two epochs in this process; prints its peak in bytes. probes 0: without a monitor."""
    import keras
    import numpy as np

    side, batch, steps = CASES[case]
    keras.utils.set_random_seed(1)
    if case == "conv":
        convolutions = [keras.layers.Conv2D(64, 3, padding="same", activation="relu") for _ in range(6)]
        top = [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(5, activation="softmax")]
        model = keras.Sequential([keras.Input((side, side, 3)), *convolutions, *top])
    else:
        model = keras.applications.ResNet50(weights=None, classes=5)
    model.compile("adam", "sparse_categorical_crossentropy")
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(batch * steps, side, side, 3)).astype(np.float32)
    y = rng.integers(0, 5, len(x))
    callbacks = []
    if probes:
        import lrp_monitor as lrp

        chosen = lrp.ProbeSet(x[np.arange(probes) % len(x)], labels=y[np.arange(probes) % len(x)])
        folder = tempfile.mkdtemp()
        callbacks.append(lrp.LRPMonitor(chosen, folder, gradients=gradients, verbose=int(bool(os.environ.get("SAY")))))
    model.fit(x, y, epochs=2, batch_size=batch, verbose=0, callbacks=callbacks)
    found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # before the run is read
    if probes:
        assert lrp.open_run(folder).steps == [0, 1, 2]
    print(found)


def peak(case: str, probes: int, gradients: str) -> float:
    """Bytes, of a process of its own."""
    command = [sys.executable, __file__, "--one", case, str(probes), gradients]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--probes", nargs="+", type=int, default=[8, 64, 256])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--gradients", choices=("train", "probe", "off"), default="train")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        train(arguments.one[0], int(arguments.one[1]), arguments.one[2])
        return
    for case in arguments.case:
        found: dict[int, list[float]] = {n: [] for n in (0, *arguments.probes)}
        for _ in range(arguments.repeats):
            for n, peaks in found.items():
                peaks.append(peak(case, n, arguments.gradients))
        middle = {n: statistics.median(peaks) for n, peaks in found.items()}
        print(f"{case}: {middle[0] / 1e6:.0f} MB without a monitor")
        for n in arguments.probes:
            spread = f"{min(found[n]) / 1e6:.0f} to {max(found[n]) / 1e6:.0f}"
            print(
                f"  {n} probes: {middle[n] / 1e6:.0f} MB ({spread}), {middle[n] / middle[0]:.3f} times that", flush=True
            )


if __name__ == "__main__":
    main()
