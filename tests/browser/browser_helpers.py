"""A real TensorBoard on a free port, a page in headless Chromium that notes what must not happen, and logged runs."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Browser, ConsoleMessage, Frame, Page, Playwright, Request
from playwright.sync_api import Error as PlaywrightError
from tensorboard_process import TensorBoard as TensorBoard

from lrp_monitor.plugin import server
from lrp_monitor.store.format import Histogram, LayerFeatures, ProbeInfo, StepRecord
from lrp_monitor.store.writer import RunWriter
from lrp_monitor.training.output.event_file import EventWriter

CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
LOADERS = {"fast": (), "python": ("--load_fast=false",)}


def absent(what: str) -> NoReturn:
    """Skips with a reason where a program that pip cannot install is absent; under CI, which installs it, fails."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


def launched(playwright: Playwright) -> Browser:
    """A Chromium, by its headless shell where there is one.

    That is the same engine without a window's own user interface, which no test sees and which takes more than a second
    of CPU for every page that is opened.
    """
    names = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
    if (path := next(filter(None, map(shutil.which, names)), None)) is None:
        absent(f"no Chromium on the PATH: the tests that click through the dashboard need one (Debian: {names[0]})")
    return playwright.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS)


@dataclass
class Visit:
    """One opened LRP tab. `errors` and `outside` must be empty at the end: the fixture looks."""

    page: Page
    origin: str
    errors: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)

    @property
    def frame(self) -> Frame:
        """The plugin's frame, once TensorBoard has made it."""
        handle = self.page.wait_for_selector("iframe[src*='name=lrp_monitor']", state="attached", timeout=30_000)
        assert handle is not None
        frame = handle.content_frame()
        assert frame is not None
        return frame

    def on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(f"{message.text} ({message.location.get('url', '')})")

    def on_request(self, request: Request) -> None:
        if not request.url.startswith((self.origin + "/", "data:", "blob:" + self.origin + "/")):
            self.outside.append(request.url)

    def wait_for_step(self, step: int) -> None:
        """Waits until the number box, every heatmap and both histograms are at `step`."""
        self.frame.wait_for_function(
            """step => {
              const all = [...document.querySelectorAll('canvas[data-run]')];
              const box = document.querySelector('[data-testid=step-number]');
              const plots = ['weight', 'gradient'].map(kind =>
                document.querySelector(`[data-testid=histogram-${kind}]`)?.dataset.step);
              return box?.value === step && all.length > 0 && all.every(c => c.dataset.step === step)
                && plots.every(p => p === step) && !document.querySelector('.stale');
            }""",
            arg=str(step),
            timeout=20_000,
        )
        # Figures may be drawn a frame after the heatmaps they stand by.
        self.frame.evaluate(
            "() => new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(() => drawn())))"
        )

    def pixels(self, selector: str) -> NDArray[np.uint8]:
        """A canvas as painted, uint8 (height, width, 4), in the map's own pixels."""
        height, width, flat = self.frame.eval_on_selector(
            selector,
            """c => [c.height, c.width,
                     [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]]""",
        )
        return np.array(flat, np.uint8).reshape(height, width, 4)

    def expect_colours(self, selector: str, colours: NDArray[np.float64], *, atol: float = 2.01) -> None:
        """Asserts what a canvas shows, float64 (height, width, 3); colours that are NaN are not compared.

        Two levels may differ: the page's table of colours has 1,025 entries, those in between are rounded. A canvas is
        painted again when what its scale needs has arrived, so this looks until it is right or 10 s have passed.
        """
        deadline = time.monotonic() + 10
        while True:
            painted = self.pixels(selector)[..., :3]
            assert painted.shape == colours.shape
            shown = np.where(np.isnan(colours), np.nan, painted)
            if np.allclose(shown, colours, rtol=0, atol=atol, equal_nan=True) or time.monotonic() > deadline:
                break
            self.page.wait_for_timeout(50)
        np.testing.assert_allclose(shown, colours, rtol=0, atol=atol)

    def expect(self, read: Callable[[], Any], wanted: Any) -> None:
        """Asserts that `read()` is `wanted`, or makes `wanted(...)` true, looking again until 20 s have passed.

        What an action leads to is drawn some frames later, on a busy machine many: nothing is read once. A read that
        fails, for want of an element or a key, is repeated like one that is not as wanted yet.
        """
        deadline = time.monotonic() + 20
        while True:
            late = time.monotonic() > deadline
            try:
                found = read()
                if wanted(found) if callable(wanted) else found == wanted:
                    return
            except (PlaywrightError, LookupError):
                if late:
                    raise
            else:
                if late:
                    break
            self.page.wait_for_timeout(50)
        assert not callable(wanted), f"not as wanted after 20 s: {found!r}"
        assert found == wanted

    def expect_text(self, testid: str, *parts: str) -> None:
        """Asserts that an element's text holds each of `parts`, as `expect` does."""
        self.expect(lambda: [part for part in parts if part not in self.text(testid)], [])

    def box(self, selector: str) -> dict[str, float]:
        """Where the first element that a selector finds lies, in view, once it lies still and all is drawn."""
        found: list[dict[str, float] | None] = []

        def is_still() -> bool:
            handle = self.frame.wait_for_selector(selector, timeout=1_000)
            assert handle is not None
            handle.scroll_into_view_if_needed(timeout=1_000)
            found.append(handle.bounding_box())
            busy = self.all("[aria-busy=true], .stale", "1")
            return not busy and len(found) > 1 and found[-1] is not None and found[-1] == found[-2]

        self.expect(is_still, True)
        last = found[-1]
        assert last is not None
        return last

    def text(self, testid: str) -> str:
        """The text of an element as it is now."""
        return self.frame.inner_text(f"[data-testid='{testid}']", timeout=1_000)

    def all(self, selector: str, of: str) -> list[Any]:
        """`of`, a property of an element `e` in JavaScript ("e.dataset.run"), of each that a selector finds now."""
        found: list[Any] = self.frame.eval_on_selector_all(selector, f"all => all.map(e => {of})")
        return found

    def hash_parameters(self) -> dict[str, str]:
        """Our parameters in the address bar, decoded once, without their prefix."""
        self._wait_for_address()
        found = self.page.evaluate(
            """() => Object.fromEntries(location.hash.slice(1).split('&').filter(p => p.includes('='))
                 .map(p => p.split('=').map(decodeURIComponent)))"""
        )
        prefix = "p.lrp_monitor."
        return {key.removeprefix(prefix): value for key, value in found.items() if key.startswith(prefix)}

    def link(self) -> str:
        """What follows the # in the address bar: as `fragment` it opens the same view in another tab."""
        self._wait_for_address()
        found: str = self.page.evaluate("() => location.hash.slice(1)")
        return found

    def _wait_for_address(self) -> None:
        """Waits for the last write: the page writes at most every quarter of a second, by a timer of its frame.

        A longer timer in that frame runs after it however busy the machine is; a pause of the test's own need not.
        """
        self.frame.evaluate("() => new Promise(passed => setTimeout(passed, 400))")


class Alone(Visit):
    """A page that is no frame of TensorBoard."""

    @property
    def frame(self) -> Any:
        """The page itself."""
        return self.page.main_frame


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The address of `lrp-monitor view` on a log directory, served by a thread of this process until the block ends."""
    listening = server.serve(str(folder))
    thread = threading.Thread(target=listening.serve_forever)
    thread.start()
    try:
        yield server.address(listening)
    finally:
        listening.shutdown()
        thread.join()
        listening.server_close()


@dataclass(frozen=True)
class Viewer:
    """`lrp-monitor view` at an address: the same page in a tenth of the time that TensorBoard's takes around it."""

    url: str


def open_tab(browser: Browser, server: TensorBoard | Viewer, *, fragment: str = "lrp_monitor", **context: Any) -> Visit:
    """Opens TensorBoard at the LRP tab, or the page alone, noting console errors and requests to elsewhere."""
    context.setdefault("viewport", {"width": 1280, "height": 900})
    page = browser.new_context(**context).new_page()
    url, alone = server.url.rstrip("/"), isinstance(server, Viewer)
    visit = (Alone if alone else Visit)(page, "/".join(url.split("/")[:3]))
    fragment = fragment.removeprefix("lrp_monitor").removeprefix("&") if alone else fragment
    page.on("console", visit.on_console)
    page.on("pageerror", lambda error: visit.errors.append(str(error)))
    page.on("request", visit.on_request)
    page.goto(f"{url}/#{fragment}")
    return visit


def histogram(kind: Any, name: str, values: NDArray[np.float32]) -> Histogram:
    """Counts of float32 values, by the store's definition of its buckets, in plain NumPy."""
    flat = np.asarray(values, np.float32).ravel()
    finite = np.isfinite(flat)
    counted = finite & (np.abs(flat) >= np.finfo(np.float32).tiny)
    buckets, counts = np.unique(flat[counted].view(np.uint32) >> 21, return_counts=True)
    return Histogram(
        kind,
        name,
        flat.size,
        zeros=int(np.sum(flat == 0)),
        nan=int(np.isnan(flat).sum()),
        inf=int(np.isinf(flat).sum()),
        minimum=float(flat[finite].min()),
        maximum=float(flat[finite].max()),
        norm=float(np.linalg.norm(flat[finite].astype(np.float64))),
        buckets=buckets.astype(np.uint16),
        counts=counts.astype(np.int64),
    )


CONTROLS = """() => [...document.querySelectorAll('button, input, select, summary, [tabindex="0"]')]
  .filter(e => !e.disabled && e.checkVisibility() && !(e.type === 'radio' && !e.checked))"""
"""Lists the controls that are on a page: JavaScript."""

Serve = Callable[..., TensorBoard]
"""The fixtures `servers` and `serve`: TensorBoard on a log directory, with flags."""
View = Callable[[Path], Viewer]
"""The fixture `view`: the page without TensorBoard on a log directory."""
Open = Callable[..., Visit]
"""The fixture `visit`: opens an LRP tab of a TensorBoard, or the page of a `Viewer`."""


class WrittenRun:
    """A run written record by record, for what a training run cannot be made to show on demand.

    Three probes of 6 x 8 pixels, mask "corner" on the first, steps with noise that differs at every step. `columns`
    are further per-probe figures, or others in place of the usual ones, the same at every step.
    """

    def __init__(
        self,
        log_dir: Path,
        *,
        names: Sequence[str] = ("first", "second", "third"),
        class_names: Sequence[str] = ("cat", "dog"),
        tensor: str = "dense/kernel",
        mask: str = "corner",
        hash: str = "ab" * 32,
        composite: str = "epsilon_plus_flat",
        max_store_mb: float | None = None,
        alerts: dict[str, float] | None = None,
        columns: dict[str, Sequence[float]] | None = None,
    ) -> None:
        self._names, self._tensor, self._mask = list(names), tensor, mask
        self._columns = columns or {}
        masks = np.zeros((3, 6, 8), np.bool_)
        masks[0, :2, :3] = True
        rng = np.random.default_rng(5)
        info = ProbeInfo(
            names=self._names,
            labels=np.array([0, 1, 1]),
            class_names=list(class_names),
            images=rng.integers(0, 256, (3, 6, 8, 3), dtype=np.uint8),
            masks={mask: masks},
            map_shape=(6, 8),
            hash=hash,
            input_shape=(6, 8, 3),
            statistics={"min": [0.0] * 3, "max": [1.0] * 3, "mean": [0.5] * 3, "std": [0.3] * 3},
        )
        meta: dict[str, Any] = {"composite": composite, "model": "tiny", "parameters": 12, "axis": "batch"}
        if alerts is not None:
            meta["alerts"] = alerts
        self._writer = RunWriter(log_dir / "lrp", info, meta=meta, max_store_mb=max_store_mb)
        self._events = EventWriter(log_dir / "lrp")
        self._events.start(0, 1.0, {"session": self._writer.session})

    def log(
        self,
        step: int,
        *,
        gradient: NDArray[np.float32] | None = None,
        columns: dict[str, Sequence[float]] | None = None,
        scalars: dict[str, float] | None = None,
        features: Sequence[LayerFeatures] = (),
    ) -> NDArray[np.float32]:
        """Logs one step, with figures of its own in `columns`, `scalars`; returns its heatmaps, float32 (3, 6, 8)."""
        rng = np.random.default_rng(100 + step)
        maps = rng.normal(0, 1 + step, (3, 6, 8)).astype(np.float32)
        column = np.linspace(0.2, 0.8, 3) + 0.001 * step
        probes = {
            "absmax": np.abs(maps).max(axis=(1, 2)).astype(np.float64),
            "target": np.array([0.0, 1.0, 1.0]),
            "prediction": np.array([0.0, 0.0, 1.0]),
            "probability": column,
            "conservation": column,
            f"mask_mass/{self._mask}": np.array([column[0], np.nan, np.nan]),
        }
        probes |= {name: np.asarray(values, np.float64) for name, values in (self._columns | (columns or {})).items()}
        weights = rng.normal(0, 0.1, 50).astype(np.float32)
        histograms = [histogram("weight", self._tensor, weights)]
        if step > 0:
            values = rng.normal(0, 1e-3, 50).astype(np.float32) if gradient is None else gradient
            histograms.append(histogram("gradient", self._tensor, values))
        self._writer.append(
            StepRecord(
                step=step,
                epoch=step // 10,
                batch=step,
                wall_time=float(step),
                heatmaps=maps,
                probes=probes,
                scalars={"lrp/drift": 0.01 * step, f"lrp/mask_mass/{self._mask}": float(column[0])} | (scalars or {}),
                histograms=histograms,
                gradient_batch=32 if step > 0 else None,
                features=list(features),
            )
        )
        self._writer.flush()
        self._events.write(step, float(step), {"lrp/drift": 0.01 * step}, {})
        return maps

    def close(self) -> None:
        self._writer.close()
        self._events.close()
