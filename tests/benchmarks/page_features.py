"""Times the view of features in headless Chromium, as a part of page.py: --only features.

Writes a store of 1,000 steps of a layer of 64 channels, 12 probes of two classes, with the maps (32 x 32) of all
channels, and prints how long a move of the slider to an unvisited step takes until 50 rows of 6 maps are painted. The
window is as high as the rows.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import numpy as np
from page import HELPERS, SETTLED_MS, TensorBoard, chromium_seconds, frame_of, probes, report
from playwright.sync_api import Browser

from lrp_monitor.store.format import LayerFeatures, StepRecord
from lrp_monitor.store.writer import RunWriter
from lrp_monitor.training.output.event_file import EventWriter

PROBES, CLASSES, CHANNELS, SIDE, ROWS = 12, 2, 64, 32, 50
MAPS = """
bench.rows = () => [...document.querySelectorAll('canvas[data-testid=channel-maps]')];
bench.maps = () => bench.rows().reduce((count, row) => count + Number(row.dataset.maps), 0);
bench.ready = step => bench.maps() >= 300
  && bench.rows().every(c => c.dataset.maps === '6' && (step === null || c.dataset.step === String(step)));
"""


def make(folder: Path, steps: int) -> Path:
    """The log directory, written unless it is there from before."""
    if (folder / "done").exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    rng = np.random.default_rng(0)
    info = probes(PROBES, SIDE)
    info.labels = labels = np.arange(PROBES) // (PROBES // CLASSES)
    pairs = [(p, c) for p in range(PROBES) for c in range(CHANNELS)]
    probe, channel = np.array(pairs).T
    grid = np.mgrid[:SIDE, :SIDE]
    centres = rng.uniform(4, SIDE - 4, (5, 2, len(pairs), 1, 1))
    # Relevance of a channel lies in few places: most of a map is 0.
    near = [((grid[:, None] - centre) ** 2).sum(axis=0) for centre in centres]
    pool = [np.where(d < 60, np.exp(-d / 14) * rng.normal(0.7, 0.3, d.shape), 0).astype(np.float32) for d in near]
    with RunWriter(folder / "a" / "lrp", info, meta={"composite": "epsilon_plus", "axis": "batch"}) as writer:
        events = EventWriter(folder / "a" / "lrp")
        events.start(0, 1.0, {"session": writer.session})
        events.close()
        for step in range(steps):
            relevance = rng.gamma(0.5, size=(PROBES, CHANNELS)).astype(np.float32)
            maps = np.roll(pool[step % 5], step, axis=2) * relevance[probe, channel][:, None, None]
            masses = {"stamp": rng.random(len(pairs))}
            made = LayerFeatures("conv", relevance, np.ones(CHANNELS, bool), probe, channel, maps, masses)
            heatmaps = rng.normal(size=(PROBES, SIDE, SIDE)).astype(np.float32)
            columns = {"target": labels.astype(np.float64), "absmax": np.abs(heatmaps).max((1, 2)).astype(np.float64)}
            writer.append(StepRecord(step, step, step, float(step), heatmaps=heatmaps, probes=columns, features=[made]))
    (folder / "done").touch()
    return folder


def rows(browser: Browser, url: str, repeats: int, steps: int) -> None:
    """Moves to steps not visited before, each after a rest."""
    page = browser.new_context(viewport={"width": 1500, "height": 76 * ROWS + 450}).new_page()
    page.add_init_script(HELPERS + MAPS)
    page.goto(f"{url}/#lrp_monitor&p.lrp_monitor.page=features&p.lrp_monitor.runs=a%252Flrp&p.lrp_monitor.step=0")
    frame = frame_of(page)
    frame.evaluate("() => bench.painted(null)")
    frame.wait_for_timeout(SETTLED_MS)
    count = frame.evaluate("() => bench.maps()")
    times, used = [], 0.0
    for place in random.Random(1).sample(range(20, steps - 20, 8), repeats):
        frame.wait_for_timeout(800)
        before = chromium_seconds(browser)
        frame.wait_for_timeout(100)  # asking for it wakes every process
        times.append(frame.evaluate("place => bench.move(place)", place))
        used += chromium_seconds(browser) - before
    made = frame.evaluate("() => document.querySelectorAll('[data-testid=channel]').length")
    report(f"features, {made} rows, {count} maps, an unvisited step", times, "150")
    print(f"  CPU time of all of Chromium's processes for it: {1e3 * used / repeats:.0f} ms in the mean")
    page.context.close()


def features(browser: Browser, folder: Path, flags: tuple[str, ...], repeats: int, steps: int) -> None:
    """Writes the store where it is not there, starts TensorBoard, and moves."""
    logs = make(folder / "features", steps)
    tensorboard = TensorBoard(logs, *flags, log=folder / "features.txt")
    try:
        rows(browser, tensorboard.url, repeats, steps)
    finally:
        tensorboard.stop()
