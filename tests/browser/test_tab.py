"""The LRP tab over runs of a real fit: every step reachable, heatmaps and histograms those of the store.

TensorBoard is around it where it takes part in what is tested: its loaders, colours, theme, address, tabs and prefix.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser_helpers import LOADERS, Open, Serve, View, Visit

import lrp_monitor as lrp

pytestmark = pytest.mark.browser


def seismic(relevance: np.ndarray) -> np.ndarray:
    """Colours of a map between its own extremes: dark blue, blue, white, red, dark red at equal distances."""
    anchors = np.array([[0, 0, 77], [0, 0, 255], [255, 255, 255], [255, 0, 0], [128, 0, 0]], np.float64)
    at = relevance / np.abs(relevance).max()
    return np.stack([np.interp(at, np.linspace(-1, 1, 5), anchors[:, c]) for c in range(3)], axis=-1)


def painted(tab: Visit) -> dict[str, str]:
    """A digest of the pixels of every heatmap on the page."""
    places = tab.frame.eval_on_selector_all(
        "canvas[data-run]", "all => all.map(c => [c.dataset.testid, c.dataset.run])"
    )
    return {
        f"{run} {probe}": hashlib.sha256(
            tab.pixels(f"canvas[data-testid='{probe}'][data-run='{run}']").tobytes()
        ).hexdigest()
        for probe, run in places
    }


def number(text: str) -> float:
    """A number as the page writes it."""
    return float(text.replace("\u2212", "-"))


def expect_inner(tab: Visit, selectors: list[str], texts: list[str]) -> None:
    tab.expect(lambda: [tab.frame.inner_text(selector, timeout=1_000) for selector in selectors], texts)


def choose_theme(tab: Visit, name: str) -> None:
    """Sets TensorBoard's theme by its own menu."""
    tab.page.get_by_label("Menu for changing light or dark theme").click()
    tab.page.get_by_role("menuitem", name=re.compile(name)).click()


def test_runs_have_the_colours_that_tensorboard_gives_them(fitted: Path, serve: Serve, visit: Open) -> None:
    tab = visit(serve(fitted))
    tab.wait_for_step(lrp.open_run(fitted / "planted").steps[-1])

    def ours() -> set[tuple[str, str]]:
        colour = "getComputedStyle(e.querySelector('.dot')).backgroundColor"
        found = tab.all("[data-testid=runs] li", f"[e.querySelector('.name').textContent + '/lrp', {colour}]")
        return {(run, colour) for run, colour in found}

    tab.expect(lambda: len({colour for _, colour in ours()}), 2)
    given = ours()  # settled: compared with TensorBoard's own below
    tab.page.get_by_role("tab", name=re.compile("^time series$", re.I)).click()
    tab.page.wait_for_selector(".row-circle span")

    def theirs() -> set[tuple[str, str]]:
        found = tab.page.eval_on_selector_all(
            "tb-data-table-content-row:has(.row-circle)",
            """rows => rows.map(row => [
                 [...row.querySelectorAll('.cell')].map(c => c.textContent.trim()).find(t => t.endsWith('/lrp')),
                 getComputedStyle(row.querySelector('.row-circle span')).backgroundColor]).filter(([name]) => name)""",
        )
        return {(run, colour) for run, colour in found}

    tab.expect(lambda: (bool(found := theirs()), found <= given), (True, True))


# The loader finds the runs, and reads no step of them: the other one shows the last step under a path's prefix, below.
@pytest.mark.parametrize("loader", ["fast", pytest.param("python", marks=pytest.mark.slow)])
def test_the_slider_reaches_every_logged_step(fitted: Path, serve: Serve, visit: Open, loader: str) -> None:
    tab = visit(serve(fitted, *LOADERS[loader]))
    steps = lrp.open_run(fitted / "planted").steps
    assert len(steps) >= 6
    tab.wait_for_step(steps[-1])
    tab.expect(lambda: tab.frame.get_attribute("[data-testid=ticks]", "data-ticks"), str(len(steps)))
    slider = tab.frame.locator("[data-testid=slider]")
    slider.focus()
    slider.press("Home")
    tab.wait_for_step(steps[0])
    tab.expect_text("remarks", "untrained")
    first = painted(tab)  # settled: the step's maps are there
    assert len(first) == 2 * 8
    for step in steps[1:]:
        slider.press("ArrowRight")
        tab.wait_for_step(step)
    last = painted(tab)  # settled: likewise
    assert first.keys() == last.keys()
    assert all(first[place] != last[place] for place in first)
    tab.expect(lambda: "untrained" in tab.text("remarks"), False)


def test_heatmaps_have_the_colours_of_the_stored_relevance(fitted: Path, view: View, visit: Open) -> None:
    tab = visit(view(fitted))
    for name in ("planted", "control"):
        run = lrp.open_run(fitted / name)
        step = run.steps[-1]
        tab.wait_for_step(step)
        maps = run.heatmaps(step)
        for probe in (0, 5):
            canvas = f"canvas[data-testid='heatmap-{probe}'][data-run='{name}/lrp']"
            tab.expect_colours(canvas, seismic(maps[probe]))
            tab.expect(lambda canvas=canvas: (tab.pixels(canvas)[..., 3] == 255).all(), True)


def test_scale_over_time_uses_the_largest_map_of_the_run(fitted: Path, view: View, visit: Open) -> None:
    run = lrp.open_run(fitted / "planted")
    _, absmax = run.statistic("absmax")
    step = run.steps[1]
    tab = visit(view(fitted), fragment=f"lrp_monitor&p.lrp_monitor.step={step}&p.lrp_monitor.scale=time")
    tab.wait_for_step(step)
    canvas = "canvas[data-testid='heatmap-2'][data-run='planted/lrp']"
    expected = run.heatmaps(step)[2] / absmax[:, 2].max()
    grown = np.concatenate([expected.ravel(), [1.0]])  # the extreme that belongs to another step
    colours = seismic(grown)[:-1].reshape(32, 32, 3)
    tab.expect_colours(canvas, colours)
    tab.expect(lambda: tab.frame.is_visible("[data-testid=timeline]"), True)


def test_histograms_are_those_of_the_very_step(fitted: Path, view: View, visit: Open) -> None:
    tab = visit(view(fitted))
    run = lrp.open_run(fitted / "planted")
    tab.wait_for_step(run.steps[-1])
    tab.expect(lambda: tab.frame.input_value("[data-testid=tensor]"), "conv2d/kernel")
    outlines = set()
    for tensor in ("conv2d/kernel", "dense/kernel"):
        tab.frame.select_option("[data-testid=tensor]", tensor)
        for step in (run.steps[1], run.steps[-2], run.steps[-1]):
            tab.frame.fill("[data-testid=step-number]", str(step))
            tab.frame.press("[data-testid=step-number]", "Enter")
            tab.wait_for_step(step)
            for kind in ("weight", "gradient"):
                stored = run.histogram(step, kind, tensor)
                row = f"[data-testid=counts-{kind}] tr[data-run='planted/lrp'][data-step='{step}']"
                cells = [f"{value:,}".replace(",", "\u202f") for value in (stored.size, stored.zeros)]
                expect_inner(tab, [f"{row} [data-testid={cell}]" for cell in ("size", "zeros")], cells)
                norm = pytest.approx(stored.norm, rel=0.05, abs=6e-4)
                tab.expect(lambda row=row: number(tab.frame.inner_text(f"{row} [data-testid=norm]")), norm)
                # Another outline than all before: a picture is drawn with the figures beside it, or after them.
                path = f"[data-testid=histogram-{kind}] path[data-run='planted/lrp']"
                tab.expect(lambda path=path: tab.frame.get_attribute(path, "d") in outlines, False)
                outlines.add(tab.frame.get_attribute(path, "d"))  # settled: a new one
    assert len(outlines) == 12
    tab.frame.fill("[data-testid=step-number]", "0")
    tab.frame.press("[data-testid=step-number]", "Enter")
    tab.wait_for_step(0)
    tab.expect_text("histogram-gradient", "No training step yet.")


def test_captions_tell_what_the_log_says(fitted: Path, view: View, visit: Open) -> None:
    tab = visit(view(fitted))
    run = lrp.open_run(fitted / "planted")
    step = run.steps[-1]
    tab.wait_for_step(step)
    record = run.record(step)
    classes, labels = run.probes.class_names, run.probes.labels
    assert classes is not None
    assert labels is not None
    for probe in range(8):
        figure = f"[data-testid=probe-{probe}] figure[data-run='planted/lrp']"
        predicted = int(record.statistics["prediction"][probe])
        words = [
            classes[predicted],
            "✓" if predicted == labels[probe] else "✗",
            f"P({classes[int(record.statistics['target'][probe])]})",
        ]
        columns = ("probability", "prediction_probability", "mask_mass/stamp")
        values = [100 * record.statistics[column][probe] for column in columns]
        assert np.isfinite(values).all()

        def missing(figure: str = figure, words: list[str] = words, values: list[float] = values) -> list[Any]:
            """What the caption lacks."""
            caption = tab.frame.inner_text(f"{figure} figcaption").replace("\u2212", "-")
            shares = [float(text.split()[-2]) for text in caption.split("\n") if text.endswith(" %")]
            lacking: list[Any] = [word for word in words if word not in caption]
            return lacking + [value for value in values if not any(abs(share - value) <= 0.51 for share in shares)]

        tab.expect(missing, [])


def test_light_and_dark_follow_tensorboard(fitted: Path, serve: Serve, visit: Open) -> None:
    step = lrp.open_run(fitted / "planted").steps[-1]
    tab = visit(serve(fitted), color_scheme="light")
    tab.wait_for_step(step)

    def brightness() -> int:
        colour: str = tab.frame.evaluate("() => getComputedStyle(document.body).backgroundColor")
        return sum(int(c) for c in colour[4:-1].split(","))

    tab.expect(brightness, lambda found: found > 700)
    light, heat = brightness(), painted(tab)  # settled: both were waited for
    choose_theme(tab, "Dark")
    tab.frame.wait_for_selector(":root[data-theme=dark]", state="attached")
    tab.expect(brightness, lambda found: found < 150)
    tab.expect(lambda: painted(tab), heat)  # the theme is no part of the data
    choose_theme(tab, "Light")
    tab.frame.wait_for_selector(":root[data-theme=light]", state="attached")
    tab.expect(brightness, light)
    dark = visit(serve(fitted), color_scheme="dark")  # the browser's own wish, which TensorBoard takes up
    dark.frame.wait_for_selector(":root[data-theme=dark]", state="attached")


def test_a_pasted_link_opens_the_same_view(fitted: Path, serve: Serve, visit: Open) -> None:
    step = lrp.open_run(fitted / "planted").steps[2]
    tab = visit(serve(fitted))
    tab.wait_for_step(lrp.open_run(fitted / "planted").steps[-1])
    frame = tab.frame
    frame.get_by_text("Over input").click()
    frame.select_option("[data-testid=colours]", "safe")
    frame.select_option("[data-testid=scale]", "time")
    frame.select_option("[data-testid=tensor]", "dense/kernel")
    frame.select_option("[data-testid=quantity]", "weights/norm")
    frame.uncheck("[data-testid=outlines]")
    frame.get_by_label("Show only planted").click(force=True)
    frame.fill("[data-testid=step-number]", str(step))
    frame.press("[data-testid=step-number]", "Enter")
    tab.wait_for_step(step)
    wanted = {
        "runs": "planted%2Flrp",
        "step": str(step),
        "show": "overlay",
        "colours": "safe",
        "scale": "time",
        "outlines": "0",
        "tensor": "dense/kernel",
        "quantities": "weights%2Fnorm",
    }
    tab.expect(tab.hash_parameters, wanted)
    same = visit(serve(fitted), fragment=tab.link())  # settled: the address is as wanted
    same.wait_for_step(step)
    tab.expect(lambda: painted(same) == painted(tab), True)
    same.expect(lambda: len(painted(same)), 8)
    for control in ("colours", "scale", "tensor", "quantity", "step-number"):
        box = f"[data-testid={control}]"
        same.expect(lambda box=box: same.frame.input_value(box) == frame.input_value(box), True)
    same.expect(lambda: same.frame.is_checked("[data-testid=outlines]"), False)


def test_the_address_keeps_our_view_while_another_tab_is_in_front(fitted: Path, serve: Serve, visit: Open) -> None:
    steps = lrp.open_run(fitted / "planted").steps
    tab = visit(serve(fitted))
    tab.wait_for_step(steps[-1])
    tab.frame.press("[data-testid=slider]", "Home")
    tab.wait_for_step(steps[0])
    tab.page.get_by_role("tab", name=re.compile("^scalars$", re.I)).click()
    tab.page.wait_for_function("() => location.hash.startsWith('#scalars')")
    tab.expect(lambda: tab.frame.evaluate("() => window.innerHeight"), 0)
    tab.page.get_by_role("tab", name=re.compile("^LRP$")).click()
    tab.page.wait_for_function("() => location.hash.includes('p.lrp_monitor.step=0')")
    tab.wait_for_step(steps[0])
    tab.page.keyboard.press("ArrowRight")  # not to TensorBoard's own tabs
    tab.wait_for_step(steps[1])


def test_the_keyboard_is_enough(fitted: Path, view: View, visit: Open) -> None:
    steps = lrp.open_run(fitted / "planted").steps
    tab = visit(view(fitted))
    tab.wait_for_step(steps[-1])
    tab.frame.focus("[data-testid=tensor]")
    tab.frame.press("[data-testid=timeline]", "Home")
    tab.wait_for_step(steps[0])
    tab.frame.press("[data-testid=timeline]", "ArrowRight")
    tab.wait_for_step(steps[1])
    tab.frame.press("[data-testid=step-number]", "ArrowUp")
    tab.wait_for_step(steps[2])
    tab.frame.press("[data-testid=timeline]", " ")
    tab.wait_for_step(steps[-1])  # played to the end
    tab.frame.wait_for_selector("[data-testid=play][aria-label=Play]")
    tab.frame.focus("[data-testid=runs] input")
    for _ in range(20):
        tab.page.keyboard.press("Tab")
        tab.expect(
            lambda: tab.frame.evaluate(
                """() => { // a control's ring may be drawn around the label that holds it
                     const e = document.activeElement;
                     return [e, e.parentElement].map(x => getComputedStyle(x))
                       .some(s => s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2); }"""
            ),
            True,
        )


def test_dragging_along_the_timeline_moves_the_step(fitted: Path, view: View, visit: Open) -> None:
    steps = lrp.open_run(fitted / "planted").steps
    tab = visit(view(fitted))
    tab.wait_for_step(steps[-1])
    box = tab.box("[data-testid=timeline]")
    y = box["y"] + box["height"] / 2
    tab.page.mouse.move(box["x"] + box["width"] - 20, y)
    tab.page.mouse.down()
    tab.page.mouse.move(box["x"] + box["width"] / 2, y)
    tab.page.mouse.move(box["x"] + 10, y)
    tab.page.mouse.up()
    tab.wait_for_step(steps[0])


# The smallest in TensorBoard, whose bar leaves a tab less room; the page without it has the others to itself.
@pytest.mark.parametrize(
    ("server", "size"), [("serve", (1024, 768)), ("view", (1280, 900)), ("view", (3840, 2160))], ids=str
)
def test_nothing_is_cut_off_and_nothing_jumps(
    fitted: Path, visit: Open, size: tuple[int, int], server: str, request: pytest.FixtureRequest
) -> None:
    tab = visit(request.getfixturevalue(server)(fitted), viewport={"width": size[0], "height": size[1]})
    places = """() => ['slider', 'step-number', 'timeline', 'histogram-weight', 'legend'].map(id => {
        const r = document.querySelector(`[data-testid=${id}]`).getBoundingClientRect();
        return [r.left, r.top, r.right, r.bottom].map(Math.round); })"""
    tab.frame.wait_for_selector("[data-testid=slider]")
    tab.frame.wait_for_selector("[data-testid=runs] li", state="attached")  # how many lines of counts there are
    before = tab.frame.evaluate(places)  # settled: where things stand at first is what is compared
    tab.wait_for_step(lrp.open_run(fitted / "planted").steps[-1])
    after = tab.frame.evaluate(places)  # settled: everything is drawn
    assert np.abs(np.array(before) - np.array(after)).max() <= 1
    width, height = size[0], tab.frame.evaluate("() => innerHeight")  # settled: the window's
    assert all(0 <= left < right <= width and 0 <= top < bottom <= height for left, top, right, bottom in after)
    tab.expect(lambda: tab.frame.evaluate("() => document.documentElement.scrollWidth") <= width, True)


def test_under_a_path_prefix(fitted: Path, serve: Serve, visit: Open) -> None:
    tab = visit(serve(fitted, *LOADERS["python"], "--path_prefix", "/some/where"))
    tab.wait_for_step(lrp.open_run(fitted / "planted").steps[-1])
    # TensorBoard's own page asks for its fonts without the prefix; ours must not.
    own = [error for error in tab.errors if f"{tab.origin}/font-roboto/" not in error]
    assert own == []
    font = "() => document.fonts.ready.then(() => document.fonts.check('13px Roboto'))"
    tab.expect(lambda: tab.frame.evaluate(font), True)
    tab.errors.clear()
