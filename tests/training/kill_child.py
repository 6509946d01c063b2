"""Forks fits out of one process that has imported everything, so that a fit to be killed starts in no time.

Reads jobs as JSON, one a line, from standard input: {"folder", "epochs"}; answers each with the child's process id
and, when it has ended, with its status as `waitpid` gives it. Nothing of TensorFlow runs in this process itself: its
threads would not come along into a fork.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

import keras
import numpy as np

from lrp_monitor.probes import ProbeSet
from lrp_monitor.training.monitor import LRPMonitor

STARTED = b"started\n"


class Tell(keras.callbacks.Callback):
    """Writes a line once training begins, and each step whose log call has returned. Stands behind the monitor."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        self.first = True

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if self.first:
            os.write(self.file, STARTED + (b"0\n" if epoch == 0 else b""))
        self.first = False

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        os.write(self.file, b"%d\n" % (epoch + 1))


class Backup(keras.callbacks.Callback):
    """The whole state of training after each epoch, put in place in one go.

    Keras' BackupAndRestore rewrites its files in place: a kill inside that leaves a backup that it cannot read.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        variables = [*self.model.variables, *self.model.optimizer.variables]
        draft = self.path.with_suffix(".draft.npz")
        np.savez(draft, epoch=epoch + 1, **{f"v{i}": variable.numpy() for i, variable in enumerate(variables)})
        os.replace(draft, self.path)


def restored(model: keras.Model, path: Path) -> int:
    """Gives the model and its optimizer the state of the backup; the epoch to begin with."""
    if not path.exists():
        return 0
    model.optimizer.build(model.trainable_variables)
    with np.load(path) as saved:
        for i, variable in enumerate([*model.variables, *model.optimizer.variables]):
            variable.assign(saved[f"v{i}"])
        return int(saved["epoch"])


def run(folder: Path, epochs: int) -> None:
    """One fit that goes on where the one before was killed."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(32, 4, 4, 1)).astype(np.float32), rng.integers(0, 3, 32)
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((4, 4, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(8, "relu"),
            keras.layers.Dense(3, "softmax"),
        ]
    )
    model.compile(keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy")
    first = restored(model, folder / "backup.npz")
    probes = ProbeSet(x[:4], y[:4], masks={"corner": np.s_[0:2, 0:2]})
    callbacks = [LRPMonitor(probes, folder, verbose=0), Tell(str(folder / "logged")), Backup(folder / "backup.npz")]
    model.fit(x, y, batch_size=16, shuffle=False, verbose=0, epochs=epochs, initial_epoch=first, callbacks=callbacks)


def main() -> None:
    print("ready", flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                run(Path(job["folder"]), job["epochs"])
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        print(pid, flush=True)
        print(os.waitpid(pid, 0)[1], flush=True)


if __name__ == "__main__":
    main()
