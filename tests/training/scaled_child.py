"""One worker of a fit, described by its arguments as JSON; prints what it saw as one line that starts with RESULT.

{"folder", "kind": "alone" | "mirrored" | "workers", "task", "ports", "options", "epochs", "slow", "fail"}
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from lrp_monitor.probes import ProbeSet
from lrp_monitor.training.monitor import LRPMonitor

SHAPE, BATCH = (8, 8, 1), 16

given = json.loads(sys.argv[1])


class Model(keras.Sequential):
    """Keras 3.15 cannot fit under MultiWorkerMirroredStrategy by itself (keras-team/keras#20585).

    It takes the mean of a batch over workers to learn its shapes, and that of scalar logs along an axis that they
    do not have. Both are put right here; nothing else is changed.
    """

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        with self.distribute_strategy.scope():
            self._symbolic_build(data_batch=(np.zeros((2, *SHAPE), np.float32), np.zeros(2, np.int64)))

    def train_step(self, data: Any) -> Any:
        return {name: keras.ops.reshape(value, (1,)) for name, value in super().train_step(data).items()}


def strategy_of(kind: str) -> Any:
    if kind == "workers":
        workers = [f"127.0.0.1:{port}" for port in given["ports"]]
        task = {"type": "worker", "index": given["task"]}
        os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": workers}, "task": task})
        return tf.distribute.MultiWorkerMirroredStrategy()
    if kind == "mirrored":
        devices = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], devices)
        return tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"])
    return tf.distribute.get_strategy()


class Slow(keras.callbacks.Callback):
    """A worker that is behind the others, now and then."""

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if batch % 2:
            time.sleep(given["slow"])


def main() -> None:
    strategy = strategy_of(given["kind"])
    keras.utils.set_random_seed(1)
    with strategy.scope():
        hidden = [
            keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Flatten(),
        ]
        model = (Model if given["kind"] == "workers" else keras.Sequential)(
            [keras.Input(SHAPE), *hidden, keras.layers.Dense(3)]
        )
        model.layers[1].trainable = False  # statistics of a replica's own batch are not those of the joined one
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.1), loss, jit_compile=False)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(64, *SHAPE)).astype(np.float32), rng.integers(0, 3, 64)
    probes = ProbeSet(x[:4], y[:4], masks={"left": np.s_[0:8, 0:4]})
    callbacks: list[Any] = []
    if given["options"] is not None:
        if given["fail"] and given["task"] == 0:
            Path(given["folder"]).write_text("a file where the chief's folder should be")
        callbacks.append(LRPMonitor(probes, given["folder"], verbose=1, **given["options"]))
    if given["slow"]:
        callbacks.append(Slow())
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(BATCH)
    messages: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            model.fit(data, epochs=given["epochs"], verbose=0, callbacks=callbacks)
        except (OSError, RuntimeError) as error:
            messages.append(f"{type(error).__name__}: {error}")
    messages += [str(w.message) for w in caught if "LRPMonitor" in str(w.message)]
    weights = [np.asarray(w).ravel().tolist() for w in model.get_weights()]
    print("RESULT" + json.dumps({"weights": weights, "messages": messages, "stopped": model.stop_training}), flush=True)


if __name__ == "__main__":
    main()
