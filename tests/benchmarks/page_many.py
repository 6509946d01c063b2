"""Times the dashboard over many runs: python tests/benchmarks/page_many.py [--steps N] [--folder DIR].

A log directory of 100 runs (links to the files of one, of 64 probes of 224 x 224) in TensorBoard, 12 of them chosen:
first heatmaps, an unvisited and a prefetched step, requests that are asked twice. And the network at a glance, of 100
tensors and 1,000 steps, drawn in another order. Nothing is asserted: timings belong to a quiet machine, and its load is
printed.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import page
from playwright.sync_api import Browser, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1] / "browser"))
from browser_helpers import CHROMIUM_FLAGS, TensorBoard

from lrp_monitor.plugin import server
from lrp_monitor.store.format import Histogram, StepRecord
from lrp_monitor.store.writer import RunWriter

RUNS, CHOSEN = 100, 12


def make(folder: Path, steps: int) -> Path:
    """100 runs whose files are those of one."""
    one = page.make(folder / "one", steps, 64, 224, ("a",))
    logs = folder / "hundred"
    if not logs.exists():
        for number in range(RUNS):
            run = logs / f"net/lr_{number % 3}" / f"seed_{number:03d}"
            shutil.copytree(one / "a", run, copy_function=os.link)
    return logs


def chosen(logs: Path) -> tuple[str, ...]:
    """The runs that are chosen, without the ``lrp`` at their end."""
    return tuple(sorted(str(path.relative_to(logs)) for path in logs.glob("net/*/*")))[:CHOSEN]


def first_heatmaps(browser: Browser, url: str, runs: tuple[str, ...], repeats: int) -> None:
    """From the address to painted heatmaps of all chosen runs, and which requests were asked more than once."""
    times, again = [], Counter[str]()
    for _ in range(repeats):
        tab = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
        asked = Counter[str]()
        tab.on("request", lambda request, asked=asked: asked.update([request.url]))
        tab.add_init_script(page.HELPERS)
        tab.goto(f"{url}/#{page.link(runs)}")
        frame = page.frame_of(tab)
        painted = frame.evaluate("() => bench.painted(null, 120000)")
        times.append(painted - frame.evaluate("() => performance.timeOrigin"))
        tab.wait_for_timeout(2000)
        again.update({at: count for at, count in asked.items() if count > 1 and "/runs" not in at})
        tab.context.close()
    page.report(f"first heatmaps of {len(runs)} runs", times, "1500")
    print(f"  requests asked more than once: {len(again)}")


def moves(browser: Browser, url: str, runs: tuple[str, ...], steps: int, repeats: int) -> None:
    """A slider move to a step not visited before, and to the one behind it."""
    tab, frame = page.open_page(browser, url, page.link(runs, step=steps // 2))
    frame.wait_for_timeout(4000)
    times: dict[str, list[float]] = {"an unvisited": [], "a prefetched": []}
    for place in random.Random(1).sample(range(8, steps - 8, 8), min(repeats, (steps - 16) // 8)):
        for kind, at in zip(times, (place, place + 1), strict=True):
            frame.wait_for_timeout(4000)
            times[kind].append(frame.evaluate("place => bench.move(place)", at))
    for (kind, values), limit in zip(times.items(), ("250", "32"), strict=True):
        page.report(f"slider to {kind} step of {len(runs)} runs", values, limit)
    tab.context.close()


def make_network(folder: Path) -> Path:
    """A run of 100 tensors with their gradients' norms at 1,000 steps, of four small probes."""
    if not folder.exists():
        rng = np.random.default_rng(0)
        names = [f"block{i // 10}/conv{i % 10}/kernel" for i in range(100)]
        with RunWriter(folder / "net" / "lrp", page.probes(4, 24), meta={"axis": "batch"}) as writer:
            for step in range(1000):
                norms = {
                    f"gradients/norm/{name}": float(norm) for name, norm in zip(names, rng.random(100), strict=True)
                }
                histograms = [Histogram("weight", name, 9, norm=1.0) for name in names]
                maps = rng.standard_normal((4, 24, 24)).astype(np.float32)
                probes = {"absmax": np.abs(maps).max((1, 2)).astype(np.float64)}
                writer.append(
                    StepRecord(step, 0, step, 1.0 + step, maps, probes=probes, scalars=norms, histograms=histograms)
                )
    return folder


def glance(browser: Browser, logs: Path, repeats: int) -> None:
    """From the choice of another order of the rows to the frame in which the picture has it."""
    listening = server.serve(str(logs))
    thread = threading.Thread(target=listening.serve_forever)
    thread.start()
    try:
        tab = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
        tab.add_init_script(page.HELPERS)
        tab.goto(server.address(listening) + "#lrp_monitor&p.lrp_monitor.page=network")
        tab.wait_for_selector("canvas[data-painted='100']", timeout=120_000)
        tab.wait_for_timeout(3000)
        times = [
            tab.evaluate(
                """async order => {
                     const select = document.querySelector('[data-testid=ranked]');
                     const start = performance.now();
                     select.value = order;
                     select.dispatchEvent(new Event('change', { bubbles: true }));
                     await bench.frame();
                     await bench.shown();
                     return performance.now() - start;
                   }""",
                order,
            )
            for order in ["change", "value", "model"] * repeats
        ]
        page.report("the network at a glance, 100 x 1,000, in another order", times, "100")
    finally:
        listening.shutdown()
        thread.join()
        listening.server_close()


def main() -> None:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where the stores are written, or were before")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if executable is None:
        raise SystemExit("no Chromium on the PATH")
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        logs = make(folder, arguments.steps)
        tensorboard = TensorBoard(logs, log=folder / "hundred.txt")
        try:
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_FLAGS)
                for runs in (chosen(logs)[:3], chosen(logs)):
                    first_heatmaps(browser, tensorboard.url, runs, arguments.repeats)
                    moves(browser, tensorboard.url, runs, arguments.steps, arguments.repeats)
                glance(browser, make_network(folder / "network"), arguments.repeats)
                browser.close()
        finally:
            tensorboard.stop()


if __name__ == "__main__":
    main()
