"""axe finds nothing in any view, of colours also dark and in forced ones; every control of each works by keys alone."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from browser_helpers import CONTROLS, Alone, WrittenRun, serving
from playwright.sync_api import Browser

from lrp_monitor.store.format import InputInfo, LayerFeatures, ProbeInfo, StepRecord
from lrp_monitor.store.writer import RunWriter

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
    "ridges": "[data-testid=ridge-weight] path",
    "kinds": "section:nth-of-type(4) figure.heat canvas[data-step='1']",
    "words": "[data-testid=probe-view] canvas[data-step='1']",
}
KINDS = ("words", "series", "table", "volume")
ADDRESS = {
    "film": "&p.lrp_monitor.show=film",
    "probe": f"&p.lrp_monitor.probe=0@{'ab' * 32}",
    "compared": "&p.lrp_monitor.minus=run%3Atwo%2Flrp&p.lrp_monitor.by=swipe",
    "ridges": "&p.lrp_monitor.plots=ridge",
    "words": f"&p.lrp_monitor.probe=1@{'00' * 32}",
}
MEDIA = {
    "light": {"color_scheme": "light", "forced_colors": "none"},
    "dark": {"color_scheme": "dark", "forced_colors": "none"},
    "forced": {"color_scheme": "light", "forced_colors": "active"},
}
OF_COLOURS = ["color-contrast", "link-in-text-block"]
"""Of the rules that axe runs by default, those that a colour scheme decides; of the others one scheme tells it all."""

ROLES = ("slider", "separator", "spinbutton", "tab", "option")
"""What a key must move where it is no control that browsers have themselves."""
HANDLED = """() => [...document.querySelectorAll('*')].filter(e => e.__e && e.checkVisibility()
  && Object.keys(e.__e).some(name => /^on(click|(pointer|mouse)(down|move))/i.test(name)))"""
"""The elements that Preact hands clicks and pointers to."""
FOCUSABLE = "button, input, select, textarea, summary, a[href], label, [tabindex='0']"
OTHERWISE = {
    "[data-testid=matrix]": "the buttons of its rows, and the slider of steps",
    "[data-testid=spark]": "the slider of steps",
    ".plot.scrub": "arrow keys, wherever the focus is in an opened probe",
    ".ridge-line": "arrow keys on the plot it is a part of",
}
"""What only a pointer works, and what does the same by keys."""


def write_kinds(folder: Path) -> None:
    """A run of two probes for each kind of input, with values that are easily distinguished."""
    rng = np.random.default_rng(1)
    shapes = {"words": (5,), "series": (12, 2), "table": (4,), "volume": (3, 4, 4)}
    for number, (name, shape) in enumerate(shapes.items()):
        kind = "tokens" if name == "words" else name
        one = InputInfo("x", kind, shape, shape)
        if kind == "volume":
            one.pictures = None
        else:
            one.values = rng.normal(0, 1, (2, *shape)).astype(np.float32)
        if kind == "tokens":
            one.tokens = [["the", "film", "was", "not", "good"], ["the", "film", "was", "very", "good"]]
        if kind in ("series", "table"):
            one.feature_names = [f"f{i}" for i in range(shape[-1])]
        side = (8, 8, 1) if kind == "volume" else (4, 4, 1)
        info = ProbeInfo(
            names=[f"{name} a", f"{name} b"],
            labels=np.array([0, 1]),
            class_names=["no", "yes"],
            images=rng.integers(0, 256, (2, *side), dtype=np.uint8),
            masks={"part": rng.random((2, *shape)) > 0.6},
            map_shape=shape,
            hash=f"{number:02d}" * 32,
            input_shape=shape,
            inputs=[one],
        )
        with RunWriter(folder / name / "lrp", info, meta={"composite": "epsilon_plus"}) as writer:
            for step in (0, 1):
                maps = rng.normal(0, 1, (2, *shape)).astype(np.float32)
                absmax = np.abs(maps).reshape(2, -1).max(1).astype(np.float64)
                figures = {"absmax": absmax, "target": np.array([0.0, 1.0])}
                writer.append(StepRecord(step, step, step, float(step), heatmaps=maps, probes=figures))


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
    write_kinds(folder)
    with serving(folder) as address:
        yield address


@pytest.mark.parametrize("view", VIEWS)
def test_axe_finds_nothing_and_keys_are_enough(served: str, browser: Browser, view: str) -> None:
    page = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce").new_page()
    shown = view if view in ("network", "features", "runs", "events", "help") else "maps"
    runs = "none%252Flrp" if view == "gone" else RUNS
    if view in ("kinds", "words"):
        runs = ",".join(f"{name}%252Flrp" for name in KINDS)
    page.goto(f"{served}#lrp_monitor&p.lrp_monitor.runs={runs}&p.lrp_monitor.page={shown}{ADDRESS.get(view, '')}")
    tab = Alone(page, served.rstrip("/"))
    tab.frame.wait_for_selector(VIEWS[view])
    if view not in ("gone", "probe", "words"):
        tab.frame.wait_for_selector("svg[data-testid=timeline] .axis", state="attached")
    tab.expect(lambda: tab.all("[aria-busy=true], .stale", "1"), [])
    script = (resources.files("axe_playwright_python") / "axe.min.js").read_text("utf-8")
    tab.frame.evaluate(script)  # settled: no reading
    found = {}
    for scheme, media in MEDIA.items():
        page.emulate_media(**media)  # type: ignore[arg-type]  # the words are the names of the parameters
        theme = "dark" if scheme == "dark" else "light"
        tab.expect(lambda theme=theme: tab.frame.evaluate("() => document.documentElement.dataset.theme"), theme)
        rules = {} if scheme == "light" else {"runOnly": {"type": "rule", "values": OF_COLOURS}}
        chosen = {"resultTypes": ["violations"], **rules}
        results = tab.frame.evaluate("chosen => axe.run(chosen)", chosen)  # settled: all is drawn
        found[scheme] = {
            (rule["id"], rule["help"]): [
                node["html"][:300] + " " + node["failureSummary"][:300] for node in rule["nodes"][:3]
            ]
            for rule in results["violations"]
        }
    unreached = without_keys(tab)
    page.context.close()
    assert found == {scheme: {} for scheme in MEDIA}
    assert unreached == []


def without_keys(tab: Alone) -> list[str]:
    """The controls of a page that keys do not work: not reached by Tab, without use for arrow keys, or for pointers."""
    frame, short = tab.frame, "e.outerHTML.slice(0, 160)"
    frame.evaluate(  # settled: no reading
        """() => { window.reached = new Set(); window.last = null; document.activeElement.blur();
             addEventListener('keydown', event => { last = event; }, true);
             new MutationObserver(all => all.forEach(({ target }) => target.tabIndex === 0 && reached.add(target)))
               .observe(document.body, { subtree: true, attributeFilter: ['tabindex'] }); }"""
    )
    for _ in range(frame.evaluate(f"() => ({CONTROLS})().length") + 12):  # settled: all is drawn
        tab.page.keyboard.press("Tab")
        frame.evaluate("() => reached.add(document.activeElement)")  # settled: keys are done when they return
    frame.evaluate("() => document.activeElement.blur()")  # settled: no reading
    for key in ("Home", "ArrowRight", "ArrowRight", "ArrowRight", "ArrowRight"):  # a list of which Tab reaches one
        tab.page.keyboard.press(key)
        frame.evaluate(
            "() => new Promise(drawn => requestAnimationFrame(() => setTimeout(drawn)))"
        )  # settled: no reading
    left: list[str] = frame.evaluate(  # settled: all keys have been pressed
        f"() => ({CONTROLS})().filter(e => !reached.has(e)).map(e => 'Tab does not reach ' + {short})"
    )
    for role in ROLES:
        for control in frame.query_selector_all(f"[role={role}]:not(input):not(button):not(option)"):  # settled
            if not control.is_visible():
                continue
            used = False
            for key in ("ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight"):
                control.focus()
                tab.page.keyboard.press(key)
                used = used or frame.evaluate("() => last.defaultPrevented")  # settled: the key has been handled
            if not used:
                left.append(f"no arrow key moves {control.evaluate(f'e => {short}')}")
    pointed: list[str] = frame.evaluate(  # settled: nothing is drawn anew
        f"""([focusable, otherwise]) => ({HANDLED})().filter(e => !e.closest(focusable) && !e.closest(otherwise))
              .map(e => 'a pointer alone works ' + {short})""",
        [FOCUSABLE, ", ".join(OTHERWISE)],
    )
    assert frame.evaluate(f"() => ({HANDLED})().length > 0")  # settled: else Preact keeps them elsewhere
    return left + pointed


def test_percentiles_are_read_by_keys(served: str, browser: Browser) -> None:
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.goto(f"{served}#lrp_monitor&p.lrp_monitor.runs=one%252Flrp")
    tab = Alone(page, served.rstrip("/"))
    plot = "[data-testid=histogram-weight] svg"
    tab.frame.wait_for_selector(f"{plot} path.bars", state="attached")
    tab.expect(lambda: tab.all(".stale", "1"), [])
    step = tab.frame.input_value("[data-testid=step-number]")  # settled: keys on the plot leave it
    tab.frame.focus(plot)
    tab.page.keyboard.press("End")
    tab.expect(lambda: tab.all("[data-testid=spoken-weight]", "e.textContent"), ["100 % below"])
    tab.expect_text("percentiles", "100 %", "below; median")
    tab.page.keyboard.press("Home")
    tab.expect(lambda: tab.all("[data-testid=spoken-weight]", "e.textContent"), ["0 % below"])
    low = tab.all(plot, "e.getAttribute('aria-valuetext')")[0]  # settled: it has just been read out
    for _ in range(3):
        tab.page.keyboard.press("ArrowRight")
    tab.expect(lambda: tab.all(plot, "e.getAttribute('aria-valuenow')"), ["6"])
    tab.expect(lambda: tab.all(plot, "e.getAttribute('aria-valuetext')")[0] != low, True)
    tab.page.keyboard.press("Escape")
    tab.expect(lambda: tab.all("[data-testid=percentiles]", "1"), [])
    tab.expect(lambda: tab.frame.input_value("[data-testid=step-number]"), step)
    page.context.close()
