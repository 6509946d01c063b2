"""Real runs for the plugin's tests, and what they ask of a TensorBoard process."""

from __future__ import annotations

import hashlib
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util import tensor_util

from lrp_monitor.store.format import PLUGIN_NAME, Histogram, ProbeInfo, StepRecord
from lrp_monitor.store.writer import RunWriter

PREFIX = "data/plugin/lrp_monitor/"
COUNT, SHAPE = 3, (8, 6)


def make_maps(step: int) -> np.ndarray:
    return np.random.default_rng(step).standard_normal((COUNT, *SHAPE)).astype(np.float32)


def make_channels(step: int) -> np.ndarray:
    """Two channels that sum to the maps."""
    part = np.random.default_rng(500 + step).standard_normal((COUNT, *SHAPE)).astype(np.float32)
    return np.stack([part, make_maps(step) - part], axis=-1)


def make_probes() -> ProbeInfo:
    images = np.random.default_rng(7).integers(0, 256, (COUNT, 8, 6, 3), dtype=np.uint8)
    mask = np.zeros((COUNT, *SHAPE), bool)
    mask[:, 2:4, 1:3] = True
    return ProbeInfo(
        names=["triangle 0", "<b>disk</b>", "square \u202e"],
        labels=np.array([2, 0, 1]),
        class_names=["disk", "square", "triangle"],
        images=images,
        masks={"stamp": mask},
        map_shape=SHAPE,
        hash=hashlib.sha256(images.tobytes()).hexdigest(),
        input_shape=(8, 6, 3),
    )


def make_record(step: int, base: float = 0.0) -> StepRecord:
    histograms = [
        Histogram("weight", "conv2d/kernel", 9, zeros=2, norm=1.5, minimum=-1.0, maximum=2.0,
                  buckets=np.array([508, 1532], np.uint16), counts=np.array([3, 4 + step])),
    ]  # fmt: skip
    if step:
        histograms.append(Histogram("gradient", "conv2d/kernel", 9, note="no gradient"))
    if step == 2:
        histograms.append(Histogram("gradient", "seldom/kernel", 9, note="no gradient"))
    scalars = {"lrp/conservation": base + step}
    if step:
        scalars["gradients/norm"] = float("nan") if step == 1 else 2.0
        scalars["gradients/norm/conv2d/kernel"] = 3.0
    return StepRecord(
        step=step,
        epoch=step,
        batch=100 * step,
        wall_time=1.7e9 + step,
        heatmaps=make_maps(step),
        channels=make_channels(step),
        probes={
            "sum": np.arange(3.0) + base + step,
            "drift": np.array([np.nan, 0.5, np.inf]),
            "layer/a,b": np.arange(1.0, 4.0),
            "layer/top": np.arange(4.0, 7.0),
        },
        scalars=scalars,
        histograms=histograms,
        notes=["logged"] if step == 0 else [],
        gradient_batch=32,
    )


def write_marker(run_dir: Path) -> None:
    """An event file with the one summary by which TensorBoard finds the run: it holds a tensor."""
    run_dir.mkdir(parents=True, exist_ok=True)
    metadata = summary_pb2.SummaryMetadata(data_class=summary_pb2.DATA_CLASS_TENSOR)
    metadata.plugin_data.plugin_name = PLUGIN_NAME
    summary = summary_pb2.Summary()
    tensor = tensor_util.make_tensor_proto(np.array(1.0, np.float32))
    summary.value.add(tag="lrp_monitor/session", tensor=tensor, metadata=metadata)
    with open(run_dir / f"events.out.tfevents.{int(time.time()):010d}.host", "wb") as file:
        writer = RecordWriter(file)
        for event in (
            event_pb2.Event(wall_time=time.time(), file_version="brain.Event:2"),
            event_pb2.Event(wall_time=time.time(), step=0, summary=summary),
        ):
            writer.write(event.SerializeToString())


def write_run(log_dir: Path, steps: Sequence[int], base: float = 0.0, encoding: str = "sqrt8") -> str:
    """Logs a session into ``log_dir/lrp`` and returns its id."""
    meta = {"composite": "epsilon_plus"}
    with RunWriter(log_dir / "lrp", make_probes(), meta=meta, encoding=encoding) as writer:
        for step in steps:
            writer.append(make_record(step, base))
    write_marker(log_dir / "lrp")
    return writer.session


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


class Server:
    """One TensorBoard process of our own."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, route: str, method: str = "GET", **parameters: object) -> Answer:
        return self.at(PREFIX + route, method, **parameters)

    def at(self, path: str, method: str = "GET", **parameters: object) -> Answer:
        query = "?" + urllib.parse.urlencode(parameters) if parameters else ""
        data = b"{}" if method in ("POST", "PUT") else None
        request = urllib.request.Request(self.url + path + query, data=data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=20) as response:
                return Answer(response.status, dict(response.headers), response.read())
        except urllib.error.HTTPError as error:
            return Answer(error.code, dict(error.headers), error.read())

    def wait_for_runs(self, count: int) -> list[dict]:
        """The listed runs, once TensorBoard has loaded that many."""
        end = time.monotonic() + 40
        while time.monotonic() < end:
            runs = self.get("runs").json["runs"]
            if len(runs) >= count:
                return runs
            time.sleep(0.3)
        raise AssertionError(f"TensorBoard shows {len(runs)} runs after 40 s, expected {count}")


Start = Callable[..., Server]
