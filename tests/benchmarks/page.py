"""Times the dashboard in headless Chromium: python tests/benchmarks/page.py [--loader python|both] [--folder DIR].

Writes a store of 1,000 steps x 16 probes of 112 x 112 in three runs, one of 64 probes of 224 x 224 (about 0.9 GB), and
one of 1,000 steps of them (2 GB; all kept for another time in DIR), starts TensorBoard, and prints medians beside the
limits: first heatmaps after a click on the tab, a slider move to an unvisited and to a prefetched step, 64 large
probes, memory over 2,000 moves, a live run, 12 of 100 runs of large probes, the network at a glance, the view of
features, and the server's own times. Nothing is asserted: timings belong to a quiet machine, and its load is printed.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Browser, Frame, Page, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "browser"))
from browser_helpers import CHROMIUM_FLAGS, LOADERS, TensorBoard

from lrp_monitor.store.format import Histogram, ProbeInfo, StepRecord
from lrp_monitor.store.reader import open_run
from lrp_monitor.store.writer import RunWriter
from lrp_monitor.training.output.event_file import EventWriter

RUNS = ("a", "b", "c")
MANY_RUNS = 100
MANY_CHOSEN = 12
LAYERS = 16
PARTS = ["server", "first", "moves", "large", "live", "memory", "runs", "network", "features"]
OF_MANY = {"server", "first", "moves", "memory"}
"""Those that share a store of three runs."""
SERVER_REPEATS = 15
SETTLED_MS = 1500
"""Curves and histograms come behind the heatmaps and take room: only then is it known which heatmaps are in view."""

# Painted: the frame in which every heatmap in view has its step has been shown.
HELPERS = """
window.bench = {
  maps: () => {
    const area = document.querySelector('.grid-area')?.getBoundingClientRect();
    const seen = [...document.querySelectorAll('figure.heat')].filter(figure => {
      const box = figure.getBoundingClientRect();
      return box.width > 0 && box.bottom > Math.max(0, area.top) && box.top < Math.min(innerHeight, area.bottom);
    });
    const canvases = seen.flatMap(figure => figure.querySelector('canvas[data-run]') ?? []);
    return canvases.length === seen.length ? canvases : []; // a map in view that is still to come
  },
  ready: step => {
    // At a move the histograms at that step are waited for as well; at first they follow.
    const late = step === null ? 'figure.heat.stale' : '.stale';
    // Where the heatmaps lie is looked up only when they are others: asking makes the browser lay out the page.
    if (!bench.known?.length || !bench.known.every(c => c.isConnected)) bench.known = bench.maps();
    return bench.known.length > 0 && !document.querySelector(late)
      && bench.known.every(c => step === null ? c.dataset.step !== undefined : c.dataset.step === String(step));
  },
  frame: () => new Promise(done => requestAnimationFrame(done)),
  // From within a frame: an urgent task that is asked for before the browser paints is done when it has.
  shown: () => scheduler.postTask(() => undefined, { priority: 'user-blocking' }),
  painted: async (step, limit = 30000) => {
    const start = performance.now();
    if (step === null) bench.known = null;
    // Looked at behind each frame: within one, the page's own drawing may come after this.
    do {
      if (performance.now() - start > limit) throw new Error(`step ${step} is not shown after ${limit} ms`);
      await bench.frame();
      await bench.shown();
    } while (!bench.ready(step));
    return performance.timeOrigin + performance.now();
  },
  slide: place => {
    const slider = document.querySelector('[data-testid=slider]');
    Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set.call(slider, String(place));
    slider.dispatchEvent(new Event('input', { bubbles: true }));
  },
  matrix: () => document.querySelector('[data-testid=matrix] canvas'),
  glance: async rows => {
    while (bench.matrix()?.dataset.painted !== String(rows)) await bench.frame();
    await bench.shown();
    const asked = performance.getEntriesByType('resource').filter(e => /timeline.*norm/.test(e.name));
    return performance.now() - asked.at(-1).responseEnd;
  },
  reorder: async rows => {
    const start = performance.now();
    const order = document.querySelector('[data-testid=ranked]');
    const first = () => document.querySelector('.matrix .names li')?.textContent;
    const before = first();
    order.value = 'change';
    order.dispatchEvent(new Event('change', { bubbles: true }));
    while (first() === before) await bench.frame();
    await bench.shown();
    return performance.now() - start;
  },
  move: async place => {
    const start = performance.timeOrigin + performance.now();
    bench.slide(place);
    return (await bench.painted(place)) - start;
  },
};
performance.setResourceTimingBufferSize(100000);
addEventListener('click', () => { bench.clicked = performance.timeOrigin + performance.now(); }, true);
"""


def probes(count: int, side: int) -> ProbeInfo:
    """Probes of noise with one mask."""
    images = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    mask = np.zeros((count, side, side), bool)
    mask[:, 3 : side // 6, 3 : side // 6] = True
    return ProbeInfo(
        names=[f"probe {i}" for i in range(count)],
        labels=np.arange(count) % 4,
        class_names=["cat", "dog", "bird", "fish"],
        images=images,
        masks={"stamp": mask},
        map_shape=(side, side),
        hash=hashlib.sha256(images.tobytes()).hexdigest(),
        input_shape=(side, side, 3),
    )


class LoggedRun:
    """A run that can go on being logged. ``count`` probes of ``side`` pixels, a histogram per layer and kind."""

    def __init__(self, folder: Path, count: int, side: int, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._count, self._side = count, side
        self._writer = RunWriter(
            folder / "lrp", probes(count, side), meta={"composite": "epsilon_plus", "axis": "batch"}
        )
        self._events = EventWriter(folder / "lrp")
        self._events.start(0, 1.0, {"session": self._writer.session})
        # As noisy as relevance of the epsilon rule: heavy tails under a smooth envelope.
        grid = np.linspace(-1, 1, side)
        centres = self._rng.uniform(-0.5, 0.5, (count, 2, 1))
        envelope = (
            np.exp(-6 * (grid - centres[:, 0]) ** 2)[:, :, None] * np.exp(-6 * (grid - centres[:, 1]) ** 2)[:, None]
        )
        noise = self._rng.standard_normal((5, count, side, side), dtype=np.float32) ** 3
        self._pool = (noise * envelope).astype(np.float32)

    def log(self, step: int) -> None:
        """Appends a step whose maps differ from those of every other step."""
        rng, count = self._rng, self._count
        maps = self._pool[step % 5] + np.float32(0.3) * np.roll(self._pool[(step + 1) % 5], step, axis=2)
        columns = "sum positive negative q50 q90 q99 logit probability conservation drift mask_mass/stamp"
        values = {name: rng.random(count) for name in columns.split()}
        values["absmax"] = np.abs(maps).max((1, 2)).astype(np.float64)
        values["target"] = (np.arange(count) % 4).astype(np.float64)
        values["prediction"] = rng.integers(0, 4, count).astype(np.float64)
        tensors = [f"block{i // 4}/conv{i % 4}/kernel" for i in range(LAYERS)]
        scalars = {"lrp/drift": rng.random(), "lrp/mask_mass/stamp": rng.random(), "gradients/norm": rng.random()}
        scalars |= {f"weights/norm/{name}": rng.random() for name in tensors}
        histograms = [
            Histogram(
                kind,
                name,
                100_000,
                minimum=-1.0,
                maximum=1.0,
                norm=3.0,
                buckets=np.sort(rng.choice(2048, 110, replace=False)).astype(np.uint16),
                counts=rng.integers(1, 10_000, 110),
            )
            for kind in ("weight", "gradient")[: 1 + (step > 0)]
            for name in tensors
        ]
        self._writer.append(
            StepRecord(
                step=step,
                epoch=step // 10,
                batch=10 * step,
                wall_time=float(step),
                heatmaps=maps,
                probes=values,
                scalars={name: float(value) for name, value in scalars.items()},
                histograms=histograms,
                gradient_batch=32 if step else None,
            )
        )

    def close(self) -> None:
        self._writer.close()
        self._events.close()


def make(folder: Path, steps: int, count: int, side: int, runs: tuple[str, ...]) -> Path:
    """The log directory, written unless it is there from before."""
    done = folder / "done"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        start = time.monotonic()
        for seed, name in enumerate(runs):
            run = LoggedRun(folder / name, count, side, seed)
            for step in range(steps):
                run.log(step)
            run.close()
        done.touch()
        seconds = time.monotonic() - start
        print(f"written in {seconds:.0f} s: {steps} steps x {count} probes of {side}^2 x {len(runs)} runs")
    return folder


def report(what: str, values: list[float], limit: str) -> None:
    """One line: median and spread in ms, the limit, the load of the machine."""
    low, high = min(values), max(values)
    print(
        f"{what:<58} {statistics.median(values):8.1f} ms  ({low:.1f} to {high:.1f}, n = {len(values)})  "
        f"limit {limit}  load {os.getloadavg()[0]:.1f}",
        flush=True,
    )


def link(runs: tuple[str, ...], **more: object) -> str:
    """The tab's fragment for these runs."""
    names = ",".join(urllib.parse.quote(f"{name}/lrp", safe="") for name in runs)
    parameters = {"runs": names, **more}
    return "lrp_monitor&" + "&".join(
        f"p.lrp_monitor.{key}={urllib.parse.quote(str(value), safe='')}" for key, value in parameters.items()
    )


def open_page(browser: Browser, url: str, fragment: str, width: int = 1280, height: int = 900) -> tuple[Page, Frame]:
    """A fresh context (nothing cached) at the tab, its heatmaps painted."""
    page = browser.new_context(viewport={"width": width, "height": height}).new_page()
    page.add_init_script(HELPERS)
    page.goto(f"{url}/#{fragment}")
    frame = frame_of(page)
    frame.evaluate("() => bench.painted(null)")
    return page, frame


def frame_of(page: Page) -> Frame:
    """The tab's frame."""
    handle = page.wait_for_selector("iframe[src*='name=lrp_monitor']", state="attached", timeout=60_000)
    assert handle is not None
    frame = handle.content_frame()
    assert frame is not None
    return frame


def first_heatmaps(
    browser: Browser, url: str, repeats: int, parameters: str = "", what: str = "first heatmaps"
) -> None:
    """From the click on the tab, TensorBoard's page being up on another one, to painted heatmaps.

    ``parameters``: of the tab's address, which TensorBoard keeps while another tab is open.
    """
    times = []
    for _ in range(repeats):
        page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
        page.add_init_script(HELPERS)
        page.goto(f"{url}/#timeseries{parameters}")
        tab = page.get_by_role("tab", name="LRP")
        tab.wait_for(timeout=60_000)
        page.wait_for_timeout(1500)
        tab.click()
        painted = frame_of(page).evaluate("() => bench.painted(null)")
        times.append(painted - page.evaluate("() => bench.clicked"))
        page.context.close()
    report(f"{what} after a click on the tab", times, "1500")


def slider_moves(
    browser: Browser, url: str, repeats: int, steps: int, runs: tuple[str, ...] = RUNS, limit: str = "150"
) -> None:
    """Unvisited and prefetched steps in turn, with a rest in which the neighbours are fetched."""
    page, frame = open_page(browser, url, link(runs, step=steps // 2))
    frame.wait_for_timeout(SETTLED_MS * (1 if len(runs) <= len(RUNS) else 3))
    count = frame.evaluate("() => (bench.known = bench.maps()).length")
    places = random.Random(1).sample(range(20, steps - 20, 8), 3 * repeats)
    times: dict[str, list[float]] = {"an unvisited": [], "a prefetched": []}
    used = dict.fromkeys(times, 0.0)
    for place in places:
        for kind, at in zip(times, (place, place + 1), strict=True):
            frame.wait_for_timeout(700)
            before = chromium_seconds(browser)
            frame.wait_for_timeout(100)  # asking for it wakes every process
            times[kind].append(frame.evaluate("place => bench.move(place)", at))
            used[kind] += chromium_seconds(browser) - before
    for kind, most in zip(times, (limit, "32"), strict=True):
        report(f"slider to {kind} step ({count} heatmaps in view)", times[kind], most)
        print(f"  CPU time of all of Chromium's processes for it: {1e3 * used[kind] / len(places):.0f} ms in the mean")
    print_requests(frame)
    page.context.close()


def print_requests(frame: Frame) -> None:
    """How many requests the page has made, of how many bytes, and those made more than once.

    The page keeps as much as its budgets hold: what it has dropped and needs again it asks for again, mostly of the
    browser's own cache, as steps never change. Only what the server was asked for twice is named.
    """
    asked: list[tuple[str, int]] = frame.evaluate(
        "() => performance.getEntriesByType('resource').map(e => [e.name.split('/').pop(), e.transferSize])"
    )
    routes: dict[str, list[int]] = {}
    for address, size in asked:
        routes.setdefault(address.split("?")[0], []).append(size)
    requested = ", ".join(
        f"{route} {len(sizes)} ({sum(sizes) / 1e6:.2f} MB)" for route, sizes in sorted(routes.items())
    )
    # The list of runs is asked for again and again: it may have grown.
    times = Counter(address for address, _ in asked if address != "runs")
    served = Counter(address for address, size in asked if size > 0 and address != "runs")
    again = sorted(address for address, count in served.items() if count > 1)
    dropped = sum(count - 1 for count in times.values())
    print(
        f"  requests: {requested}; wanted again after being dropped: {dropped}; of the server twice: {again or 'none'}"
    )


def many_runs(browser: Browser, folder: Path, flags: tuple[str, ...], repeats: int, steps: int) -> None:
    """A log directory of 100 runs of 64 probes of 224 x 224, 12 of them chosen.

    All have the content of the first, by hard links: one written by itself would take 2 GB.
    """
    hundred = folder / f"hundred-{steps}"
    first = make(folder / f"one-{steps}", steps, 64, 224, ("run",)) / "run"
    names = tuple(f"sweep/run{i:03}" for i in range(MANY_RUNS))
    for name in names:
        if not (hundred / name).exists():
            shutil.copytree(first, hundred / name, copy_function=os.link)
    chosen = names[-MANY_CHOSEN:]
    tensorboard = TensorBoard(hundred, *flags, log=folder / "hundred.txt")
    try:
        wait_for_runs(tensorboard.url, MANY_RUNS)
        parameters = link(chosen).removeprefix("lrp_monitor")
        first_heatmaps(browser, tensorboard.url, repeats, parameters, f"first heatmaps of {MANY_CHOSEN} runs")
        slider_moves(browser, tensorboard.url, repeats, steps, chosen, "250")
    finally:
        tensorboard.stop()


def network(
    browser: Browser, folder: Path, flags: tuple[str, ...], repeats: int, steps: int, layers: int = 100
) -> None:
    """The glance of ``layers`` layers over ``steps`` steps: from its figures being there, and in another order.

    Ordered by value, every layer has its row; in the model's order a tree of so many is folded.
    """
    logs = folder / f"network-{layers}-{steps}"
    if not logs.exists():
        rng = np.random.default_rng(0)
        with RunWriter(logs / "deep" / "lrp", probes(1, 8), meta={"composite": "epsilon_plus"}) as writer:
            events = EventWriter(logs / "deep" / "lrp")
            events.start(0, 1.0, {"session": writer.session})
            events.close()
            norms = np.exp(rng.normal(0, 0.1, (steps, layers)).cumsum(axis=0))
            for step, row in enumerate(norms):
                names = [f"block{i // 8}/conv{i}/kernel" for i in range(layers)]
                scalars = {f"gradients/norm/{name}": float(norm) for name, norm in zip(names, row, strict=True)}
                histograms = [Histogram("weight", name, 9, norm=1.0) for name in names]  # rows are tensors with these
                writer.append(StepRecord(step, step // 10, step, float(step), scalars=scalars, histograms=histograms))
    tensorboard = TensorBoard(logs, *flags, log=folder / "network.txt")
    first, again = [], []
    try:
        wait_for_runs(tensorboard.url, 1)
        for _ in range(repeats):
            page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
            page.add_init_script(HELPERS)
            page.goto(f"{tensorboard.url}/#{link(('deep',), page='network', glance='gradients', ranked='value')}")
            frame = frame_of(page)
            first.append(frame.evaluate("layers => bench.glance(layers)", layers))
            frame.wait_for_timeout(SETTLED_MS)
            again.append(frame.evaluate("layers => bench.reorder(layers)", layers))
            page.context.close()
    finally:
        tensorboard.stop()
    report(f"glance of {layers} x {steps}, from answer to picture", first, "100")
    report(f"glance of {layers} x {steps}, most changed first", again, "100")


def wait_for_runs(url: str, count: int) -> None:
    """Until TensorBoard has loaded so many runs."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with urllib.request.urlopen(f"{url}/data/plugin/lrp_monitor/runs") as answer:
            if len(json.load(answer)["runs"]) == count:
                return
        time.sleep(0.5)
    raise RuntimeError(f"TensorBoard does not list {count} runs")


def large(browser: Browser, url: str, repeats: int, steps: int) -> None:
    """All 64 probes of 224 x 224 in view at steps not visited before."""
    page, frame = open_page(browser, url, link(("a",), step=0, show="heatmap", size="s"), width=1920, height=3000)
    frame.wait_for_timeout(SETTLED_MS)
    count = frame.evaluate("() => (bench.known = bench.maps()).length")
    times = []
    for place in random.Random(2).sample(range(8, steps - 8), 2 * repeats):
        frame.wait_for_timeout(1500)
        times.append(frame.evaluate("place => bench.move(place)", place))
    report(f"{count} heatmaps of 224 x 224 at an unvisited step", times, "400")
    page.context.close()


def memory(executable: str, url: str, moves: int, steps: int) -> None:
    """Heap and buffers of the page, and its process's resident memory, before and after many moves."""
    chosen = random.Random(3)
    with PlainChromium(executable) as chromium:
        chromium.open(f"{url}/#{link(RUNS, step=0)}")
        chromium.wait_for("bench.maps().length > 0")
        states = [(0, *chromium.used())]
        warm = 200  # by then the page keeps as many steps as it ever will
        for until in (warm, warm + moves // 2, warm + moves):
            for _ in range(until - states[-1][0]):
                chromium.evaluate(f"bench.move({chosen.randrange(steps)})")
            states.append((until, *chromium.used()))
    for count, heap, resident in states:
        print(f"memory after {count:5d} slider moves: heap and buffers {heap:6.1f} MB, resident {resident:6.1f} MB")
    (_, heap, resident), (_, heap_after, resident_after) = states[1], states[-1]
    print(
        f"growth over {moves} moves once the page's cache is full (limit 20 %): heap and buffers "
        f"{100 * (heap_after / heap - 1):+.1f} %, resident {100 * (resident_after / resident - 1):+.1f} %"
    )


class PlainChromium:
    """One tab of a Chromium that is driven through its debugging pipe, with nobody listening to its network.

    Playwright has Chromium note every request and answer, in the memory of the page's own process: after some
    thousand moves that is more than the page itself.
    """

    def __init__(self, executable: str) -> None:
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        command = [executable, "--headless", "--remote-debugging-pipe", "--window-size=1280,900", *CHROMIUM_FLAGS]
        command += [f"--user-data-dir={self._folder.name}", "about:blank"]
        pairs = [os.pipe(), os.pipe()]
        reads, writes = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (pairs[0][0], pairs[1][1]))
        actions = [(os.POSIX_SPAWN_DUP2, reads, 3), (os.POSIX_SPAWN_DUP2, writes, 4)]  # Chromium reads from 3
        actions += [(os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)]
        self._process = os.posix_spawn(executable, command, os.environ, file_actions=actions)
        for end in (reads, writes, pairs[0][0], pairs[1][1]):
            os.close(end)
        self._to, self._from = pairs[0][1], pairs[1][0]
        self._rest, self._count, self._session = b"", 0, ""
        targets = self._send("Target.getTargets")["targetInfos"]
        page = next(target for target in targets if target["type"] == "page")
        self._session = self._send("Target.attachToTarget", targetId=page["targetId"], flatten=True)["sessionId"]

    def __enter__(self) -> PlainChromium:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._to)
        os.kill(self._process, signal.SIGTERM)
        os.waitpid(self._process, 0)
        os.close(self._from)
        self._folder.cleanup()

    def _send(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = json.loads(self._message())
            if answer.get("id") == self._count:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                found: dict[str, Any] = answer["result"]
                return found

    def _message(self) -> bytes:
        while b"\0" not in self._rest:
            more = os.read(self._from, 1 << 16)
            if not more:
                raise RuntimeError("Chromium has ended")
            self._rest += more
        message, self._rest = self._rest.split(b"\0", 1)
        return message

    def open(self, address: str) -> None:
        """Opens an address with the helpers in every frame."""
        self._send("Page.enable")
        self._send("Page.addScriptToEvaluateOnNewDocument", source=HELPERS)
        self._send("Page.navigate", url=address)

    def evaluate(self, expression: str) -> Any:
        """The value of an expression, or of its promise, in the tab's frame."""
        frame = "document.querySelector(\"iframe[src*='name=lrp_monitor']\").contentWindow"
        answer = self._send(
            "Runtime.evaluate", expression=f"{frame}.{expression}", awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(str(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def wait_for(self, condition: str, seconds: float = 60) -> None:
        """Until an expression is true in the tab's frame; there may be no frame yet."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                if self.evaluate(condition):
                    return
            except RuntimeError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.2)

    def used(self) -> tuple[float, float]:
        """MB of heap and buffers once garbage is collected, and resident MB of the largest page process."""
        self._send("HeapProfiler.collectGarbage")
        usage = self._send("Runtime.getHeapUsage")
        heap = usage["usedSize"] + usage.get("backingStorageSize", 0) + usage.get("embedderHeapUsedSize", 0)
        session, self._session = self._session, ""
        processes = self._send("SystemInfo.getProcessInfo")["processInfo"]
        self._session = session
        return heap / 1e6, renderer_bytes(processes) / 1e6


def chromium_seconds(browser: Browser) -> float:
    """CPU time that all of Chromium's processes have used: unlike wall time the same on a machine at work."""
    session = browser.new_browser_cdp_session()
    processes = session.send("SystemInfo.getProcessInfo")["processInfo"]
    session.detach()
    return float(sum(process["cpuTime"] for process in processes))


def renderer_bytes(processes: list[dict[str, Any]]) -> int:
    """Resident bytes of the largest of Chromium's renderer processes (Linux)."""
    sizes = [0]
    for process in processes:
        if process["type"] == "renderer":
            fields = Path(f"/proc/{process['id']}/statm").read_text().split()
            sizes.append(int(fields[1]) * os.sysconf("SC_PAGE_SIZE"))
    return max(sizes)


def live(browser: Browser, folder: Path, flags: tuple[str, ...], repeats: int) -> None:
    """From a step being logged to its heatmaps being painted, without a reload of the page."""
    run = LoggedRun(folder / "live", 16, 112, 7)
    for step in range(3):
        run.log(step)
    tensorboard = TensorBoard(folder, *flags, log=folder / "log.txt")
    try:
        page, frame = open_page(browser, tensorboard.url, link(("live",)))
        chosen, times = random.Random(4), []
        for step in range(3, 3 + repeats):
            frame.wait_for_timeout(1000 + 3000 * chosen.random())
            run.log(step)
            logged = 1e3 * time.time()
            times.append(frame.evaluate("step => bench.painted(step)", step) - logged)
        report("a new step of a live run", times, "6000")
        page.context.close()
    finally:
        tensorboard.stop()
        run.close()


def server(url: str, folder: Path, steps: int) -> None:
    """Times of single requests to warm routes, in the order in which the page asks."""
    run = open_run(folder / "a")
    session, digest = run.session, run.probes.hash
    tensor = "block0/conv0/kernel"
    routes: dict[str, dict[str, Any]] = {
        "runs": {},
        "run": {"run": "a/lrp"},
        "run, nothing new": {"run": "a/lrp", "since": steps - 1, "session": session},
        "probes": {"run": "a/lrp", "hash": digest},
        "step": {"run": "a/lrp", "session": session},
        "histogram": {"run": "a/lrp", "session": session, "kind": "weight", "name": tensor},
        "timeline": {"run": "a/lrp", "columns": "absmax"},
        "timeline, all columns": {"run": "a/lrp"},
        "film": {"run": "a/lrp", "session": session, "probe": 3, "steps": ",".join(map(str, range(24)))},
        "clusters": {"run": "a/lrp"},
    }
    for name, parameters in routes.items():
        times, size = [], 0
        for i in range(SERVER_REPEATS):
            step = {"step": 7 * i} if name in ("step", "histogram") else {}
            query = urllib.parse.urlencode(parameters | step)
            start = time.perf_counter()
            with urllib.request.urlopen(f"{url}/data/plugin/lrp_monitor/{name.split(',')[0]}?{query}") as answer:
                size = len(answer.read())
            times.append(1e3 * (time.perf_counter() - start))
        report(f"route {name} ({size / 1e3:.0f} KB)", times[1:], "none")


def main() -> None:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where the stores are written, or were before")
    parser.add_argument("--loader", choices=[*LOADERS, "both"], default="fast")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--moves", type=int, default=2000, help="slider moves of the memory check; 0 leaves it out")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--only", nargs="*", choices=PARTS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        for loader in LOADERS if arguments.loader == "both" else [arguments.loader]:
            measure(arguments, loader, arguments.folder or Path(temporary))


def measure(arguments: argparse.Namespace, loader: str, folder: Path) -> None:
    """Everything, or ``--only`` some of it."""
    chosen = set(arguments.only or PARTS)
    flags, repeats = LOADERS[loader], arguments.repeats
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if executable is None:
        raise SystemExit("no Chromium on the PATH")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_FLAGS)
        print(f"Chromium {browser.version}, {loader} loader, load {os.getloadavg()[0]:.1f}")
        if chosen & OF_MANY:
            three_runs(browser, executable, folder, flags, arguments, chosen)
        if "large" in chosen:
            big = make(folder / "big", 40, 64, 224, ("a",))
            tensorboard = TensorBoard(big, *flags, log=folder / "big.txt")
            try:
                large(browser, tensorboard.url, repeats, 40)
            finally:
                tensorboard.stop()
        if "runs" in chosen:
            many_runs(browser, folder, flags, repeats, arguments.steps)
        if "network" in chosen:
            network(browser, folder, flags, repeats, arguments.steps)
        if "features" in chosen:
            from page_features import features  # which stands on what is defined here

            features(browser, folder, flags, repeats, arguments.steps)
        if "live" in chosen:
            with tempfile.TemporaryDirectory() as temporary:
                live(browser, Path(temporary), flags, repeats)
        browser.close()


def three_runs(
    browser: Browser,
    executable: str,
    folder: Path,
    flags: tuple[str, ...],
    arguments: argparse.Namespace,
    chosen: set[str],
) -> None:
    """The parts of `OF_MANY` that are chosen."""
    many = make(folder / "many", arguments.steps, 16, 112, RUNS)
    tensorboard = TensorBoard(many, *flags, log=folder / "many.txt")
    try:
        if "server" in chosen:
            server(tensorboard.url, many, arguments.steps)
        if "first" in chosen:
            first_heatmaps(browser, tensorboard.url, arguments.repeats)
        if "moves" in chosen:
            slider_moves(browser, tensorboard.url, arguments.repeats, arguments.steps)
        if "memory" in chosen and arguments.moves:
            memory(executable, tensorboard.url, arguments.moves, arguments.steps)
    finally:
        tensorboard.stop()


if __name__ == "__main__":
    main()
