"""TensorBoard's own event file of a run: scalars, histograms, the marker that the LRP tab finds it by.

Written without tf.summary, which obeys the default writer and the recording condition of whoever else logs in
the same fit, and without TensorBoard's EventFileWriter, whose pure-Python checksum holds the interpreter for
0.2 s a megabyte; framing and checksums are the store's.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import socket
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.plugins.histogram import metadata as histogram_metadata
from tensorboard.plugins.scalar import metadata as scalar_metadata
from tensorboard.util import tensor_util

from lrp_monitor.metrics import LEAST_POSITIVE
from lrp_monitor.store.format import PLUGIN_NAME
from lrp_monitor.store.records import frame
from lrp_monitor.store.storage import open_storage

MARKER_TAG = "lrp_monitor/session"

_FILE = re.compile(r"events\.out\.tfevents\.(\d+)\.")
_NUMBER = itertools.count()

_DESCRIPTIONS = {
    "lrp/conservation": "Sum of relevance over the explained logit; median over the probes where both are finite.",
    "lrp/drift": "Half the L1 distance of normalised heatmaps to the log before (0 same, 1 disjoint); mean over the "
    "probes whose heatmaps are finite.",
    "lrp/probability": "Probability of the explained class; mean over the probes whose logits are finite.",
    "lrp/accuracy": "Share of the probes with a prediction (those whose logits are finite) that it is right for: their "
    "label, or exactly their set of labels.",
    "lrp/label_accuracy": "Share of all labels of a probe, of a set or of the places of a map, that are predicted "
    "right; mean over the probes.",
    "lrp/mean_absolute_error": "Of a regression: |output - label| of the explained unit; mean over the probes.",
    "lrp/nonfinite/logits": "Probes whose logits are not all finite: no class is predicted of them.",
    "lrp/nonfinite/heatmaps": "Probes whose heatmap is not finite.",
    "lrp/nonfinite/loss": "Losses of the epoch, of training and validation, that are not finite.",
    "lrp/mask_mass/": "Positive relevance inside the mask over all positive relevance; mean over the probes that "
    f"lrp/mask_probes counts: those where at least {100 * LEAST_POSITIVE:g} % of all |relevance| is positive.",
    "lrp/mask_probes/": "Probes behind the mean of lrp/mask_mass. The others carry no such mask, or have too little "
    "positive relevance (or one that is not finite) to take a share of.",
    "lrp/mask_absolute/": "|Relevance| inside the mask over all |relevance|; mean over the probes with the mask and "
    "with relevance that is finite and not all zero.",
    "lrp/baseline/cosine": "Cosine of heatmap and baseline (1 equal up to strength); mean over the probes.",
    "lrp/baseline/iou": "The highest tenth of the pixels, intersection over union with the baseline's; mean.",
    "lrp/baseline/js": "Jensen-Shannon divergence of positive relevance to the baseline (0 same, 1 disjoint); mean.",
    "lrp/baseline/relative_l2": "Distance of the normalised heatmap to the baseline over the baseline's norm; mean.",
    "lrp/baseline/logits": "Change of the logits since the baseline over their root mean square; mean.",
    "lrp/baseline/flips": "Share of the probes whose predicted class is not the baseline's; of outputs of maps, whose "
    "predicted map changed at more than a quarter of the places in the region or outside of it.",
    "lrp/baseline/places": "Share of the places of an output of maps whose predicted class is not the baseline's, the "
    "larger one of those in the explained region and outside of it; mean over the probes.",
    "lrp/baseline/mask_rise/": "Mask's share of positive relevance, less that of the baseline; mean over the probes "
    "that have such a share in both.",
    "lrp/baseline/mask_probes/": "Probes behind the mean of lrp/baseline/mask_rise.",
    "weights/norm": "Euclidean norm of the finite values.",
    "weights/update_ratio": "|w after - w before| / |w before|, Euclidean norms, of the training step whose "
    "gradient was captured (of all steps of that execution where steps_per_execution is above 1).",
    "gradients/norm": "Euclidean norm of the gradient of one training batch, before clipping.",
    "gradients/zero_fraction/": "Share of exact zeros in the gradient of one training batch.",
    "probe_gradients/": "Of the loss gradient on the probes, not of training.",
}


class EventWriter:
    """Appends to an event file of its own in a folder.

    Or to several files one after the other where they must not grow much (see `store.objects`). Each call is one write.

    Args:
        folder: the run's directory, made where missing.

    Raises:
        StoreError: (an OSError where the system refused) where the folder cannot be written.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._storage = open_storage(folder)
        self._storage.make()
        # Loaders read a run's event files in the order of their names, one after the other, never back: a
        # file of a clock that was set back must still come after those that are there.
        stamps = [int(match[1]) for name in self._storage.listing() if (match := _FILE.match(name))]
        self._stamp = max(stamps, default=0)
        self._described: set[str] = set()
        self._begin()
        self._file.append(_version())

    def _begin(self) -> None:
        """A file that comes after those before."""
        self._stamp = max(int(time.time()), self._stamp + 1)
        host = re.sub(r"[^A-Za-z0-9._-]", "_", socket.gethostname())
        self.name = f"events.out.tfevents.{self._stamp:010d}.{host}.{os.getpid()}.{next(_NUMBER)}.lrp"
        self._file = self._storage.create(self.name)

    def start(self, step: int, wall_time: float, session: Mapping[str, Any]) -> None:
        """Opens a session at `step`: what earlier sessions wrote from that step on is superseded.

        Args:
            session: what the marker summary carries, as JSON.
        """
        restart = event_pb2.Event(wall_time=wall_time, step=step)
        restart.session_log.status = event_pb2.SessionLog.START
        event = event_pb2.Event(wall_time=wall_time, step=step)
        metadata = summary_pb2.SummaryMetadata(data_class=summary_pb2.DATA_CLASS_TENSOR)
        metadata.plugin_data.plugin_name = PLUGIN_NAME
        # A tensor, not metadata alone: TensorBoard's Python data provider fails on a value without one.
        text = json.dumps(dict(session), sort_keys=True).encode()
        self._add(event, MARKER_TAG, np.array(text, dtype=object), metadata)
        self._append(restart, event)

    def write(
        self,
        step: int,
        wall_time: float,
        scalars: Mapping[str, float],
        histograms: Mapping[str, NDArray[np.float64]],
    ) -> None:
        """One step: {tag: number} and {tag: float64 (k, 3) rows of left edge, right edge, count}."""
        event = event_pb2.Event(wall_time=wall_time, step=step)
        for tag, value in scalars.items():
            metadata = scalar_metadata.create_summary_metadata("", self._description(tag))
            metadata.data_class = summary_pb2.DATA_CLASS_SCALAR
            self._add(event, tag, np.array(value, np.float32), metadata)
        for tag, rows in histograms.items():
            if rows.ndim != 2 or rows.shape[1] != 3:
                raise ValueError(f"histogram {tag!r}: rows of shape {rows.shape}, expected (k, 3)")
            metadata = histogram_metadata.create_summary_metadata("", self._description(tag))
            metadata.data_class = summary_pb2.DATA_CLASS_TENSOR
            self._add(event, tag, rows.astype(np.float64), metadata)
        if len(event.summary.value):
            self._append(event)

    def close(self) -> None:
        """Closes the file; calling it again does nothing."""
        self._file.close()

    def _description(self, tag: str) -> str:
        # TensorBoard keeps the first one of a tag; more would only make the file longer.
        if tag in self._described:
            return ""
        self._described.add(tag)
        found = [text for prefix, text in _DESCRIPTIONS.items() if tag.startswith(prefix)]
        return found[0] if found else ""

    @staticmethod
    def _add(event: event_pb2.Event, tag: str, values: NDArray[Any], metadata: summary_pb2.SummaryMetadata) -> None:
        event.summary.value.add(tag=tag, tensor=tensor_util.make_tensor_proto(values), metadata=metadata)

    def _append(self, *events: event_pb2.Event) -> None:
        data = b"".join(frame([event.SerializeToString()]) for event in events)
        if not self._file.takes(len(data)):
            self._file.close()
            self._begin()
            data = _version() + data
        self._file.append(data)


def _version() -> bytes:
    """What an event file begins with."""
    version = event_pb2.Event(wall_time=time.time(), file_version="brain.Event:2")
    version.source_metadata.writer = "lrp_monitor.training.events"
    return frame([version.SerializeToString()])
