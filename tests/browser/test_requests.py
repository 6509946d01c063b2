"""What the page asks the server for: nothing twice without need, whatever one looks at and comes back to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from browser_helpers import Alone, WrittenRun, serving
from playwright.sync_api import Browser

from lrp_monitor.store.clusters import StepClusters
from lrp_monitor.store.format import LayerFeatures
from lrp_monitor.store.reader import open_run

pytestmark = pytest.mark.browser

STEPS = 31
POLLS = {
    "runs": "the list of runs, every 3 seconds: runs may have come, or have logged more",
    "runs?values=": "the table of runs, when it is opened and every 15 seconds: the last values may be others",
}
"""What is asked for again by design: starts of addresses, with the reason."""


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of 31 steps with watched channels, and one without."""
    folder = tmp_path_factory.mktemp("requests")
    rng = np.random.default_rng(0)
    for name in ("a", "b", "plain"):
        run = WrittenRun(folder / name)
        for step in range(STEPS):
            relevance = rng.random((3, 4)).astype(np.float32)
            probe, channel = np.repeat([0, 1, 2], 2), np.tile([0, 3], 3)
            maps = rng.random((6, 6, 8)).astype(np.float32)
            layer = LayerFeatures("conv", relevance, np.ones(4, bool), probe, channel, maps, {}, None, None)
            scalars = {
                "gradients/norm/dense/kernel": 1.0 + step,
                "weights/norm/dense/kernel": 1.0,
                "gradients/norm": 1.0,
            }
            if name != "plain":
                scalars["lrp/features/conv/unused"] = 0.0
            run.log(step, features=[] if name == "plain" else [layer], scalars=scalars)
        run.close()
    open_run(folder / "a").add_note(3, "seen")
    return folder


class Counted(Alone):
    """A page whose requests are noted: what of the address is behind the plugin's folder."""

    def __init__(self, browser: Browser, url: str, fragment: str) -> None:
        page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
        super().__init__(page, url.rstrip("/"))
        self.asked: list[str] = []
        page.on("request", lambda request: self.asked.append(request.url.split("/lrp_monitor/")[-1]))
        page.on("console", self.on_console)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.goto(f"{url}#lrp_monitor&{fragment}")

    def open(self, page: str, sign: str) -> None:
        """Opens a view, and waits for what it shows."""
        self.frame.click(f"[data-testid=page-{page}]")
        self.frame.wait_for_selector(sign)

    def repeated(self) -> dict[str, int]:
        """What was asked for more than once, apart from POLLS."""
        polled = {"runs"} | {url for url in self.asked if url.startswith("runs?values=")}
        return {url: times for url, times in Counter(self.asked).items() if times > 1 and url not in polled}


@pytest.fixture
def counted(browser: Browser) -> Iterator[Callable[[str, str], Counted]]:
    visits: list[Counted] = []

    def go(url: str, fragment: str) -> Counted:
        visits.append(Counted(browser, url, fragment))
        return visits[-1]

    yield go
    for visit in visits:
        visit.page.context.close()
    assert [visit.errors for visit in visits] == [[] for _ in visits]


def test_nothing_is_asked_for_twice(logs: Path, counted: Callable[[str, str], Counted]) -> None:
    with serving(logs) as url:
        tab = counted(url, "p.lrp_monitor.runs=a%252Flrp,b%252Flrp&p.lrp_monitor.step=0")
        tab.wait_for_step(0)
        for key, steps in (("ArrowRight", range(1, STEPS)), ("ArrowLeft", range(STEPS - 2, -1, -1))):
            for step in steps:
                tab.frame.press("[data-testid=slider]", key)
                if step % 5 == 0:
                    tab.wait_for_step(step)
        for chosen in (2, 3):
            tab.open("features", "[data-testid=lane][data-step='0'] [data-testid=channel-maps]")
            tab.frame.click("[data-testid=channel-3]")
            tab.frame.wait_for_selector("[data-testid=channel-film] canvas")
            tab.frame.click("[data-testid=close-channel]")
            tab.open("network", "[data-testid=matrix] canvas[data-painted]")
            for quantity in ("weights", "unused", "gradients"):
                tab.frame.select_option("[data-testid=glance]", quantity)
                tab.frame.wait_for_selector("[data-testid=matrix] canvas[data-painted]")
            tab.frame.select_option("[data-testid=drawn]", "histograms")
            tab.frame.wait_for_selector(f"[data-testid=multiples][data-loaded='{chosen}']")
            tab.frame.select_option("[data-testid=drawn]", "steps")
            tab.open("runs", "[data-testid=run-table] td")
            tab.open("events", "[data-testid=events][data-waiting='0'] li.mark")
            tab.frame.check("[data-testid=all-runs]")
            tab.frame.wait_for_selector("[data-testid=events][data-waiting='0']")
            tab.open("help", "[data-testid=page-help][aria-current=page]")
            tab.open("maps", "canvas[data-run='a/lrp'][data-step='0']")
            tab.frame.click("[data-testid=open-1]")
            for button in ("probe-next", "probe-previous", "probe-close"):
                tab.frame.wait_for_selector("canvas[data-run='b/lrp'][data-thumb='0']")
                tab.frame.wait_for_selector("[data-testid=over-probability] path.line")
                tab.frame.click(f"[data-testid={button}]")
            for choice in ("none", "all"):
                for name in ("a", "b", "plain"):
                    tab.frame.set_checked(f"[data-testid=runs] label[title='{name}'] input", choice == "all")
            tab.frame.wait_for_selector("canvas[data-run='plain/lrp'][data-step='0']")
            tab.frame.wait_for_function(
                "() => document.querySelectorAll('[data-testid=timeline] path.line').length === 3"
            )
        assert tab.repeated() == {}
        # It was looked at, and asked for: the walk went where it should.
        routes = {asked.split("?")[0] for asked in tab.asked}
        assert {
            "step", "histogram", "histograms", "run", "timeline", "film", "features", "channels", "channel_maps",
            "channel_curves", "channel_film", "notes", "probes",
        } <= routes  # fmt: skip
        # Of runs without notes none are asked for, and without groups of probes no groups.
        assert [asked for asked in tab.asked if asked.startswith("notes")] == ["notes?run=a%2Flrp"]
        assert [asked for asked in tab.asked if asked.startswith("clusters?run=b")] == []
        assert set(POLLS) >= {asked.split("lrp")[0] for asked in tab.asked if asked.startswith("runs")}
        tab.page.context.close()


def test_groups_and_notes_are_asked_for_when_the_list_says_that_they_have_changed(
    tmp_path: Path, counted: Callable[[str, str], Counted]
) -> None:
    for name in ("a", "b"):
        written = WrittenRun(tmp_path / name)
        for step in (0, 3):
            written.log(step)
        written.close()
    run = open_run(tmp_path / "a")
    with serving(tmp_path) as url:
        tab = counted(url, "p.lrp_monitor.runs=a%252Flrp,b%252Flrp&p.lrp_monitor.page=events")

        def of(route: str) -> list[str]:
            return [asked for asked in tab.asked if asked.startswith(f"{route}?")]

        tab.frame.wait_for_selector("[data-testid=no-events]")
        run.write_clusters(StepClusters(3, run.session, np.array([0, 1, 0]), np.array([0.0, 0.3]), {"side": 16}))
        tab.expect(lambda: of("clusters"), ["clusters?run=a%2Flrp"])
        note = run.add_note(3, "seen")
        tab.expect(lambda: tab.all("[data-testid=events] li .text", "e.textContent"), ["seen"])
        run.remove_note(note.name)
        tab.frame.wait_for_selector("[data-testid=no-events]")
        # A run that goes on is asked for what is new alone.
        before = len(tab.asked)
        with_more = WrittenRun(tmp_path / "a")
        with_more.log(5)
        tab.expect(
            lambda: tab.all("[data-testid=events] li .text", "e.textContent"),
            ["logged by a later session from here on"],
        )
        with_more.close()
        timelines = [asked for asked in tab.asked[before:] if asked.startswith("timeline?")]
        assert len(timelines) == 2
        assert all("run=a" in asked and "&since=3&" in asked for asked in timelines)
        assert set(of("notes")) == {"notes?run=a%2Flrp"}
        tab.page.context.close()
