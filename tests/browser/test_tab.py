"""The LRP tab over runs of a real fit: every step reachable, heatmaps and histograms those of the store."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
from browser_helpers import LOADERS, Open, Serve, Visit

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


def choose_theme(tab: Visit, name: str) -> None:
    """Sets TensorBoard's theme by its own menu."""
    tab.page.get_by_label("Menu for changing light or dark theme").click()
    tab.page.get_by_role("menuitem", name=re.compile(name)).click()


@pytest.mark.parametrize("loader", LOADERS)
def test_the_slider_reaches_every_logged_step(fitted: Path, serve: Serve, visit: Open, loader: str) -> None:
    tab = visit(serve(fitted, *LOADERS[loader]))
    steps = lrp.open_run(fitted / "planted").steps
    assert len(steps) >= 6
    tab.wait_for_step(steps[-1])
    assert tab.frame.get_attribute("[data-testid=ticks]", "data-ticks") == str(len(steps))
    slider = tab.frame.locator("[data-testid=slider]")
    slider.focus()
    slider.press("Home")
    tab.wait_for_step(steps[0])
    assert "untrained" in tab.text("remarks")
    first = painted(tab)
    assert len(first) == 2 * 8
    for step in steps[1:]:
        slider.press("ArrowRight")
        tab.wait_for_step(step)
    last = painted(tab)
    assert first.keys() == last.keys()
    assert all(first[place] != last[place] for place in first)
    assert "untrained" not in tab.text("remarks")


def test_heatmaps_have_the_colours_of_the_stored_relevance(fitted: Path, serve: Serve, visit: Open) -> None:
    tab = visit(serve(fitted))
    for name in ("planted", "control"):
        run = lrp.open_run(fitted / name)
        step = run.steps[-1]
        tab.wait_for_step(step)
        maps = run.heatmaps(step)
        for probe in (0, 5):
            canvas = f"canvas[data-testid='heatmap-{probe}'][data-run='{name}/lrp']"
            tab.expect_colours(canvas, seismic(maps[probe]))
            assert (tab.pixels(canvas)[..., 3] == 255).all()


def test_scale_over_time_uses_the_largest_map_of_the_run(fitted: Path, serve: Serve, visit: Open) -> None:
    run = lrp.open_run(fitted / "planted")
    _, absmax = run.statistic("absmax")
    step = run.steps[1]
    tab = visit(serve(fitted), fragment=f"lrp_monitor&p.lrp_monitor.step={step}&p.lrp_monitor.scale=time")
    tab.wait_for_step(step)
    canvas = "canvas[data-testid='heatmap-2'][data-run='planted/lrp']"
    expected = run.heatmaps(step)[2] / absmax[:, 2].max()
    grown = np.concatenate([expected.ravel(), [1.0]])  # the extreme that belongs to another step
    colours = seismic(grown)[:-1].reshape(32, 32, 3)
    tab.expect_colours(canvas, colours)
    assert tab.frame.is_visible("[data-testid=timeline]")


def test_histograms_are_those_of_the_very_step(fitted: Path, serve: Serve, visit: Open) -> None:
    tab = visit(serve(fitted))
    run = lrp.open_run(fitted / "planted")
    tab.wait_for_step(run.steps[-1])
    assert tab.frame.input_value("[data-testid=tensor]") == "conv2d/kernel"
    outlines = set()
    for tensor in ("conv2d/kernel", "dense/kernel"):
        tab.frame.select_option("[data-testid=tensor]", tensor)
        for step in (run.steps[1], run.steps[-2], run.steps[-1]):
            tab.frame.fill("[data-testid=step-number]", str(step))
            tab.frame.press("[data-testid=step-number]", "Enter")
            tab.wait_for_step(step)
            for kind in ("weight", "gradient"):
                stored = run.histogram(step, kind, tensor)
                row = f"[data-testid=counts-{kind}] tr[data-run='planted/lrp']"
                assert tab.frame.get_attribute(row, "data-step") == str(step)
                for cell, value in (("size", stored.size), ("zeros", stored.zeros)):
                    text = tab.frame.inner_text(f"{row} [data-testid={cell}]")
                    assert text == f"{value:,}".replace(",", "\u202f")
                norm = tab.frame.inner_text(f"{row} [data-testid=norm]").replace("\u2212", "-")
                assert float(norm) == pytest.approx(stored.norm, rel=0.05, abs=6e-4)
                path = f"[data-testid=histogram-{kind}] path[data-run='planted/lrp']"
                outlines.add(tab.frame.get_attribute(path, "d"))
    assert len(outlines) == 12
    tab.frame.fill("[data-testid=step-number]", "0")
    tab.frame.press("[data-testid=step-number]", "Enter")
    tab.wait_for_step(0)
    assert "No training step yet." in tab.text("histogram-gradient")


def test_captions_tell_what_the_log_says(fitted: Path, serve: Serve, visit: Open) -> None:
    tab = visit(serve(fitted))
    run = lrp.open_run(fitted / "planted")
    step = run.steps[-1]
    tab.wait_for_step(step)
    record = run.record(step)
    classes, labels = run.probes.class_names, run.probes.labels
    assert classes is not None
    assert labels is not None
    for probe in range(8):
        figure = f"[data-testid=probe-{probe}] figure[data-run='planted/lrp']"
        caption = tab.frame.inner_text(f"{figure} figcaption").replace("\u2212", "-")
        predicted = int(record.statistics["prediction"][probe])
        assert classes[predicted] in caption
        assert ("✓" if predicted == labels[probe] else "✗") in caption
        assert f"P({classes[int(record.statistics['target'][probe])]})" in caption
        shares = {float(text.split()[-2]) for text in caption.split("\n") if text.endswith(" %")}
        for column in ("probability", "prediction_probability", "mask_mass/stamp"):
            value = 100 * record.statistics[column][probe]
            assert np.isfinite(value)
            assert min(abs(share - value) for share in shares) <= 0.51


def test_light_and_dark_follow_tensorboard(fitted: Path, serve: Serve, visit: Open) -> None:
    step = lrp.open_run(fitted / "planted").steps[-1]
    tab = visit(serve(fitted), color_scheme="light")
    tab.wait_for_step(step)
    colour = "() => getComputedStyle(document.body).backgroundColor"
    light, heat = tab.frame.evaluate(colour), painted(tab)
    assert sum(int(c) for c in light[4:-1].split(",")) > 700
    choose_theme(tab, "Dark")
    tab.frame.wait_for_selector(":root[data-theme=dark]", state="attached")
    assert sum(int(c) for c in tab.frame.evaluate(colour)[4:-1].split(",")) < 150
    assert painted(tab) == heat  # the theme is no part of the data
    choose_theme(tab, "Light")
    tab.frame.wait_for_selector(":root[data-theme=light]", state="attached")
    assert tab.frame.evaluate(colour) == light
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
    assert tab.hash_parameters() == {
        "runs": "planted%2Flrp",
        "step": str(step),
        "show": "overlay",
        "colours": "safe",
        "scale": "time",
        "outlines": "0",
        "tensor": "dense/kernel",
        "quantities": "weights%2Fnorm",
    }
    same = visit(serve(fitted), fragment=tab.link())
    same.wait_for_step(step)
    assert painted(same) == painted(tab)
    assert len(painted(same)) == 8
    for control in ("colours", "scale", "tensor", "quantity", "step-number"):
        assert same.frame.input_value(f"[data-testid={control}]") == frame.input_value(f"[data-testid={control}]")
    assert not same.frame.is_checked("[data-testid=outlines]")


def test_the_address_keeps_our_view_while_another_tab_is_in_front(fitted: Path, serve: Serve, visit: Open) -> None:
    steps = lrp.open_run(fitted / "planted").steps
    tab = visit(serve(fitted))
    tab.wait_for_step(steps[-1])
    tab.frame.press("[data-testid=slider]", "Home")
    tab.wait_for_step(steps[0])
    tab.page.get_by_role("tab", name=re.compile("^scalars$", re.I)).click()
    tab.page.wait_for_function("() => location.hash.startsWith('#scalars')")
    assert tab.frame.evaluate("() => window.innerHeight") == 0
    tab.page.get_by_role("tab", name=re.compile("^LRP$")).click()
    tab.page.wait_for_function("() => location.hash.includes('p.lrp_monitor.step=0')")
    tab.wait_for_step(steps[0])


def test_the_keyboard_is_enough(fitted: Path, serve: Serve, visit: Open) -> None:
    steps = lrp.open_run(fitted / "planted").steps
    tab = visit(serve(fitted))
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
    rings = []
    tab.frame.focus("[data-testid=runs] input")
    for _ in range(20):
        tab.page.keyboard.press("Tab")
        rings.append(
            tab.frame.evaluate(
                """() => { // a control's ring may be drawn around the label that holds it
                     const e = document.activeElement;
                     return [e, e.parentElement].map(x => getComputedStyle(x))
                       .some(s => s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2); }"""
            )
        )
    assert rings == [True] * 20


def test_dragging_along_the_timeline_moves_the_step(fitted: Path, serve: Serve, visit: Open) -> None:
    steps = lrp.open_run(fitted / "planted").steps
    tab = visit(serve(fitted))
    tab.wait_for_step(steps[-1])
    box = tab.frame.locator("[data-testid=timeline]").bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 2
    tab.page.mouse.move(box["x"] + box["width"] - 20, y)
    tab.page.mouse.down()
    tab.page.mouse.move(box["x"] + box["width"] / 2, y)
    tab.page.mouse.move(box["x"] + 10, y)
    tab.page.mouse.up()
    tab.wait_for_step(steps[0])


@pytest.mark.parametrize("size", [(1024, 768), (1280, 900), (3840, 2160)])
def test_nothing_is_cut_off_and_nothing_jumps(fitted: Path, serve: Serve, visit: Open, size: tuple[int, int]) -> None:
    tab = visit(serve(fitted), viewport={"width": size[0], "height": size[1]})
    places = """() => ['slider', 'step-number', 'timeline', 'histogram-weight', 'legend'].map(id => {
        const r = document.querySelector(`[data-testid=${id}]`).getBoundingClientRect();
        return [r.left, r.top, r.right, r.bottom].map(Math.round); })"""
    tab.frame.wait_for_selector("[data-testid=slider]")
    before = tab.frame.evaluate(places)
    tab.wait_for_step(lrp.open_run(fitted / "planted").steps[-1])
    after = tab.frame.evaluate(places)
    assert np.abs(np.array(before) - np.array(after)).max() <= 1
    width, height = tab.frame.evaluate("() => [innerWidth, innerHeight]")
    assert all(0 <= left < right <= width and 0 <= top < bottom <= height for left, top, right, bottom in after)
    assert tab.frame.evaluate("() => document.documentElement.scrollWidth") <= width


def test_under_a_path_prefix(fitted: Path, serve: Serve, visit: Open) -> None:
    tab = visit(serve(fitted, "--path_prefix", "/some/where"))
    tab.wait_for_step(lrp.open_run(fitted / "planted").steps[-1])
    # TensorBoard's own page asks for its fonts without the prefix; ours must not.
    own = [error for error in tab.errors if f"{tab.origin}/font-roboto/" not in error]
    assert own == []
    assert tab.frame.evaluate("() => document.fonts.ready.then(() => document.fonts.check('13px Roboto'))")
    tab.errors.clear()
