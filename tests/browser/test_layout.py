"""Which runs, probes and quantities are on the page and in which order; playing; histograms over time; big screens."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from browser_helpers import Open, View, Visit, WrittenRun
from playwright.sync_api import Route

import lrp_monitor as lrp

pytestmark = pytest.mark.browser

MASS = "lrp/mask_mass/corner"


def wait_for_names(tab: Visit, expected: list[str]) -> None:
    tab.expect(lambda: tab.all("article.probe h3", "e.textContent"), expected)


def written(folder: Path, **options: object) -> None:
    run = WrittenRun(folder, **options)  # type: ignore[arg-type]  # passed on as they are
    for step in (0, 5, 9):
        run.log(step)
    run.close()


def test_runs_of_different_composites_say_which(tmp_path: Path, view: View, visit: Open) -> None:
    long = "<img src=x onerror=alert(1)>" * 100
    written(tmp_path / "one")
    written(tmp_path / "other", composite=long)
    written(tmp_path / "third")  # not chosen at first
    tab = visit(view(tmp_path))
    tab.wait_for_step(9)
    listed = "[data-testid=runs] .composite"
    tab.frame.wait_for_selector(listed)
    tab.expect(lambda: tab.all(listed, "e.textContent"), ["epsilon_plus_flat", long])
    tab.expect(lambda: tab.frame.evaluate("document.documentElement.scrollWidth <= innerWidth"), True)
    tab.expect(lambda: len(set(tab.all(listed, "e.offsetHeight"))), 1)  # a long one is cut to its line
    tab.frame.get_by_role("checkbox", name="third").check()
    tab.frame.get_by_role("checkbox", name="other").uncheck()
    tab.frame.wait_for_selector(listed, state="detached")
    tab.expect(lambda: len(tab.all("[data-testid=runs] input:checked", "1")), 2)


def test_probes_by_class_answer_and_name(fitted: Path, view: View, visit: Open) -> None:
    run = lrp.open_run(fitted / "planted")
    step, given = run.steps[1], run.probes.names
    predictions = {name: lrp.open_run(fitted / name).statistic("prediction")[1][1] for name in ("planted", "control")}
    labels = run.probes.labels
    assert labels is not None
    right = [all(values[i] == labels[i] for values in predictions.values()) for i in range(len(given))]
    assert 0 < sum(right) < len(right)
    tab = visit(view(fitted), fragment=f"lrp_monitor&p.lrp_monitor.step={step}")
    tab.wait_for_step(step)
    wait_for_names(tab, given)
    tab.frame.get_by_role("radio", name="Wrong").check(force=True)
    wait_for_names(tab, [name for name, is_right in zip(given, right, strict=True) if not is_right])
    tab.frame.get_by_role("radio", name="Right").check(force=True)
    wait_for_names(tab, [name for name, is_right in zip(given, right, strict=True) if is_right])
    tab.frame.get_by_role("radio", name="Any").check(force=True)
    first, second = (f"[data-testid=classes] button:nth-of-type({i})" for i in (1, 2))
    tab.frame.click(first)
    wait_for_names(tab, [name for name, label in zip(given, labels, strict=True) if label == 0])
    tab.frame.click(second)
    wait_for_names(tab, [name for name, label in zip(given, labels, strict=True) if label in (0, 1)])
    tab.expect(lambda: tab.frame.get_attribute(second, "aria-pressed"), "true")
    tab.expect(lambda: tab.hash_parameters()["classes"], "0,1")
    tab.frame.fill("[data-testid=search]", "no such probe")
    tab.frame.wait_for_selector("[data-testid=none-left]")
    tab.frame.click("[data-testid=none-left] button")
    wait_for_names(tab, given)


def test_orders_alerts_and_clusters(tmp_path: Path, view: View, visit: Open) -> None:
    columns = {
        "mask_mass/corner": [0.1, 0.6, 0.3],
        "drift": [0.2, 0.1, 0.9],
        "probability": [0.9, 0.5, 0.7],
        "cluster": [1.0, 0.0, 1.0],
    }
    written(tmp_path / "a", alerts={"corner": 0.2}, columns=columns)
    tab = visit(view(tmp_path))
    tab.wait_for_step(9)
    for sort, expected in (
        ("mass:corner", ["second", "third", "first"]),
        ("drift", ["third", "first", "second"]),
        ("probability", ["second", "third", "first"]),
        ("given", ["first", "second", "third"]),
    ):
        tab.frame.select_option("[data-testid=sort]", sort)
        wait_for_names(tab, expected)
    text = "Alert: relevance in corner above 20 %"
    badge = "e.querySelector('[data-testid=alert]')?.ariaLabel ?? null"
    tab.expect(lambda: tab.all("article.probe", badge), [None, text, text])
    # The run's own share, lrp/mask_mass/corner, is .209 at step 9 and .2 at step 0; so is the line on its timeline.
    tab.expect(lambda: tab.all("[data-testid=runs] [data-testid=alert]", "e.ariaLabel"), [text])
    tab.frame.wait_for_selector("[data-testid=limit]", state="attached")
    tab.frame.press("[data-testid=slider]", "Home")
    tab.wait_for_step(0)
    tab.expect(lambda: tab.all("[data-testid=runs] [data-testid=alert]", "e.ariaLabel"), [])
    tab.frame.check("[data-testid=clusters]")
    tab.frame.wait_for_selector("[data-testid=cluster-0]")
    for key, members in ((0, ["second"]), (1, ["first", "third"])):
        tab.expect(lambda key=key: tab.all(f"[data-testid=cluster-{key}] h3", "e.textContent"), members)
    tab.expect(lambda: len(set(tab.all(".cluster", "getComputedStyle(e).borderLeftColor"))), 2)
    tab.expect(tab.hash_parameters, {"step": "0", "clusters": "1"})


def test_probes_keep_their_places_while_the_film_plays(tmp_path: Path, view: View, visit: Open) -> None:
    run = WrittenRun(tmp_path / "a")
    for step in range(40):
        run.log(step, columns={"drift": [step % 3, (step + 1) % 3, (step + 2) % 3]})  # another order at each step
    run.close()
    fragment = "lrp_monitor&p.lrp_monitor.step=0&p.lrp_monitor.speed=16&p.lrp_monitor.sort=drift"
    tab = visit(view(tmp_path), fragment=fragment)
    # The film waits for a step whose heatmaps are still on their way.
    held: list[Route] = []
    tab.page.route(re.compile(r"/step\?.*\bstep=20\b"), lambda route: held.append(route))
    tab.wait_for_step(0)
    wait_for_names(tab, ["third", "second", "first"])
    tab.expect(lambda: tab.frame.input_value("[data-testid=speed]"), "16")
    started = time.monotonic()
    tab.frame.press("[data-testid=timeline]", " ")
    tab.frame.wait_for_selector("[data-testid=play][aria-label=Pause]")
    shows = "step => document.querySelector('[data-testid=step-number]').value === step"
    tab.frame.wait_for_function(shows, arg="20")
    tab.frame.wait_for_timeout(500)
    assert tab.frame.evaluate(shows, "20")  # settled: it stays there
    wait_for_names(tab, ["third", "second", "first"])  # the order of step 0
    for route in held:
        route.continue_()
    tab.wait_for_step(39)
    assert time.monotonic() - started >= 39 / 16
    tab.frame.wait_for_selector("[data-testid=play][aria-label=Play]")
    tab.frame.select_option("[data-testid=sort]", "given")
    tab.frame.select_option("[data-testid=speed]", "2")
    started = time.monotonic()
    tab.frame.click("[data-testid=play]")  # from the start again
    tab.frame.wait_for_function(shows, arg="2")
    assert time.monotonic() - started >= 0.95
    tab.frame.click("[data-testid=play]")
    tab.frame.wait_for_selector("[data-testid=play][aria-label=Play]")
    stopped = tab.frame.input_value("[data-testid=step-number]")  # settled: it no longer plays
    tab.frame.wait_for_timeout(1200)
    assert tab.frame.input_value("[data-testid=step-number]") == stopped  # settled: it stays there


def test_several_timelines_are_scrubbers_of_the_same_step(fitted: Path, view: View, visit: Open) -> None:
    steps = lrp.open_run(fitted / "planted").steps
    tab = visit(view(fitted))
    tab.wait_for_step(steps[-1])
    tab.frame.click("[data-testid=add-timeline]")
    tab.frame.click("[data-testid=add-timeline]")
    tab.frame.wait_for_function("() => document.querySelectorAll('.timeline svg').length === 3")
    tab.expect(lambda: tab.all("[data-testid=add-timeline]", "1"), [])  # three at most
    tab.expect(lambda: len(set(tab.all(".timeline svg", "e.dataset.tag"))), 3)
    box = tab.box("[data-testid=timeline-more] >> nth=-1")
    tab.page.mouse.click(box["x"] + 50, box["y"] + box["height"] / 2)
    tab.wait_for_step(steps[0])
    tab.frame.get_by_label("Close the timeline of").first.click()
    tab.frame.wait_for_function("() => document.querySelectorAll('.timeline svg').length === 2")
    tab.expect(lambda: tab.hash_parameters()["quantities"].count(","), 1)


def test_the_histogram_of_the_log_before_stands_behind(fitted: Path, view: View, visit: Open) -> None:
    steps = lrp.open_run(fitted / "planted").steps
    tab = visit(view(fitted))
    tab.wait_for_step(steps[-1])
    ghost = "[data-testid=ghost-weight]"
    tab.frame.wait_for_function(
        "([s, step]) => [...document.querySelectorAll(s)].every(g => g.dataset.step === step && g.getAttribute('d'))",
        arg=[ghost, str(steps[-2])],
    )
    shape = tab.frame.get_attribute(ghost, "d")  # settled: the ghosts are those of that step
    tab.frame.press("[data-testid=slider]", "ArrowLeft")
    tab.wait_for_step(steps[-2])
    # One step back that outline is the one in front.
    assert shape is not None
    bars = "[data-testid=histogram-weight] path.bars"
    tab.expect(lambda: len(re.findall("V", tab.all(bars, "e.getAttribute('d')")[0])), len(re.findall("V", shape)))
    tab.expect_text("histogram-weight", f"dashed: step {steps[-3]}")
    tab.frame.press("[data-testid=slider]", "Home")
    tab.wait_for_step(steps[0])
    tab.expect(lambda: "dashed" in tab.text("histogram-weight"), False)


def test_histograms_of_all_steps_one_behind_the_other(fitted: Path, view: View, visit: Open) -> None:
    steps = lrp.open_run(fitted / "control").steps
    shown = min(16, len(steps))
    tab = visit(view(fitted))
    tab.wait_for_step(steps[-1])
    tab.frame.check("[data-testid=ridge]")
    tab.frame.wait_for_selector(f"[data-testid=ridge-weight][data-rows='{shown}']")
    tab.frame.wait_for_selector(f"[data-testid=ridge-gradient][data-rows='{shown - 1}']")  # none before training
    found = tab.frame.get_attribute("[data-testid=ridge-weight]", "data-steps")  # settled: all rows are there
    assert found is not None
    listed = [int(step) for step in found.split(",")]
    assert listed[0] == steps[0]
    assert listed[-1] == steps[-1]
    assert set(listed) <= set(steps)
    tab.frame.locator("[data-testid=ridge-weight] .ridge-line text").first.click()
    tab.frame.wait_for_selector(f"canvas[data-run][data-step='{steps[0]}']")
    tab.expect(tab.hash_parameters, {"step": str(steps[0]), "plots": "ridge"})


@pytest.mark.parametrize("size", [(1920, 1080), (3840, 2160)])
def test_on_wide_screens_histograms_stand_beside_the_grid(
    fitted: Path, view: View, visit: Open, size: tuple[int, int]
) -> None:
    tab = visit(view(fitted), viewport={"width": size[0], "height": size[1]})
    tab.wait_for_step(lrp.open_run(fitted / "planted").steps[-1])

    def misplaced() -> list[str]:
        grid, plots, weight, gradient = tab.frame.evaluate(
            """() => ['.main', '.histograms', '[data-testid=histogram-weight]', '[data-testid=histogram-gradient]']
               .map(s => document.querySelector(s).getBoundingClientRect())
               .map(r => [r.left, r.top, r.right, r.bottom])"""
        )
        found = {
            "beside the grid": plots[0] >= grid[2] - 1,
            "one above the other": weight[3] <= gradient[1] + 1,
            "on the screen": gradient[3] <= size[1],
            "large": weight[3] - weight[1] >= 190,
        }
        return [what for what, is_so in found.items() if not is_so]

    tab.expect(misplaced, [])


def test_a_click_opens_a_probe_and_escape_closes_it(fitted: Path, view: View, visit: Open) -> None:
    run = lrp.open_run(fitted / "planted")
    tab = visit(view(fitted))
    tab.wait_for_step(run.steps[-1])
    tab.frame.click("canvas[data-testid='heatmap-1'][data-run='planted/lrp']")
    tab.frame.wait_for_selector("[data-testid=probe-view]")
    tab.expect(lambda: tab.hash_parameters()["probe"], f"1@{run.probes.hash}")
    tab.page.keyboard.press("Escape")
    tab.frame.wait_for_selector("[data-testid=grid]")
    tab.frame.focus("[data-testid=open-4]")
    tab.page.keyboard.press("Enter")
    tab.frame.wait_for_selector("[data-testid=probe-view]")
    tab.expect(lambda: tab.hash_parameters()["probe"], f"4@{run.probes.hash}")
    same = visit(view(fitted), fragment=tab.link())  # settled: the probe is in it
    same.frame.wait_for_selector("[data-testid=probe-view]")
    same.expect_text("probe-view", run.probes.names[4])
