"""axe finds nothing in any view, light, dark and in forced colours."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources

import numpy as np
import pytest
from browser_helpers import Alone, WrittenRun, serving
from playwright.sync_api import Browser

from lrp_monitor.store.format import LayerFeatures

pytestmark = pytest.mark.browser

RUNS = "one%252Flrp,two%252Flrp"
VIEWS = {
    "maps": "canvas[data-run][data-step='9']",
    "film": ".strip canvas[data-step]",
    "probe": "[data-testid=probe-view] canvas[data-step]",
    "network": "[data-testid=matrix] canvas[data-painted]",
    "features": ".lane canvas",
    "runs": "[data-testid=run-table]",
    "events": "[data-testid=events][data-waiting='0'], [data-testid=no-events]",
    "help": "[data-testid=help] [data-testid=usual]",
    "compared": "[data-testid=over-1] canvas[data-step]",
    "gone": "[data-testid=gone]",
}
ADDRESS = {
    "film": "&p.lrp_monitor.show=film",
    "probe": f"&p.lrp_monitor.probe=0@{'ab' * 32}",
    "compared": "&p.lrp_monitor.minus=run%3Atwo%2Flrp&p.lrp_monitor.by=swipe",
}
MEDIA = {
    "light": {"color_scheme": "light", "forced_colors": "none"},
    "dark": {"color_scheme": "dark", "forced_colors": "none"},
    "forced": {"color_scheme": "light", "forced_colors": "active"},
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of `lrp-monitor view` on two runs that have something of everything to show."""
    folder = tmp_path_factory.mktemp("axe")
    rng = np.random.default_rng(0)
    for name in ("one", "two"):
        run = WrittenRun(folder / name, alerts={"corner": 0.2})
        for step in (0, 4, 7, 9):
            relevance = rng.random((3, 4)).astype(np.float32)
            maps = rng.random((6, 6, 8)).astype(np.float32)
            probe, channel = np.repeat([0, 1, 2], 2), np.tile([0, 3], 3)
            layer = LayerFeatures("conv", relevance, np.ones(4, bool), probe, channel, maps, {}, None, None)
            broken = {"gradients/nonfinite/dense/kernel": 2.0} if step == 7 else {}
            run.log(step, features=[layer], scalars={"gradients/norm/dense/kernel": 1.0 + step} | broken)
        run.close()
    with serving(folder) as address:
        yield address


@pytest.mark.parametrize("view", VIEWS)
def test_axe_finds_nothing(served: str, browser: Browser, view: str) -> None:
    page = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce").new_page()
    shown = view if view in ("network", "features", "runs", "events", "help") else "maps"
    runs = "none%252Flrp" if view == "gone" else RUNS
    page.goto(f"{served}#lrp_monitor&p.lrp_monitor.runs={runs}&p.lrp_monitor.page={shown}{ADDRESS.get(view, '')}")
    tab = Alone(page, served.rstrip("/"))
    tab.frame.wait_for_selector(VIEWS[view])
    if view not in ("gone", "probe"):
        tab.frame.wait_for_selector("svg[data-testid=timeline] .axis", state="attached")
    tab.expect(lambda: tab.all("[aria-busy=true], .stale", "1"), [])
    script = (resources.files("axe_playwright_python") / "axe.min.js").read_text("utf-8")
    tab.frame.evaluate(script)  # settled: no reading
    found = {}
    for scheme, media in MEDIA.items():
        page.emulate_media(**media)  # type: ignore[arg-type]  # the words are the names of the parameters
        theme = "dark" if scheme == "dark" else "light"
        tab.expect(lambda theme=theme: tab.frame.evaluate("() => document.documentElement.dataset.theme"), theme)
        results = tab.frame.evaluate("() => axe.run({ resultTypes: ['violations'] })")  # settled: all is drawn
        found[scheme] = {
            (rule["id"], rule["help"]): [
                node["html"][:300] + " " + node["failureSummary"][:300] for node in rule["nodes"][:3]
            ]
            for rule in results["violations"]
        }
    page.context.close()
    assert found == {scheme: {} for scheme in MEDIA}
