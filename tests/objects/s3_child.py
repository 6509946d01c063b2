"""A fit that logs to the URL it is given, and prints each epoch whose log call has returned."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "training"))

import keras
from monitor_helpers import fit, make_model, monitor


class Tell(keras.callbacks.Callback):
    """Stands behind the monitor."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        print(epoch + 1, flush=True)


if __name__ == "__main__":
    fit(make_model(), monitor(sys.argv[1]), Tell(), epochs=100_000)
