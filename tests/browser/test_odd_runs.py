"""The LRP tab over runs that are empty, growing, hostile, full, broken or differ from each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from browser_helpers import Open, Serve, View, WrittenRun

pytestmark = pytest.mark.browser

IMAGE = "<img src=x onerror=\"document.title='broken out'\">"


def test_nothing_logged_shows_how_to_log(tmp_path: Path, view: View, visit: Open) -> None:
    tab = visit(view(tmp_path))
    tab.frame.wait_for_selector("[data-testid=empty]")
    tab.expect_text("empty", "lrp.LRPMonitor(probes, log_dir=", "callbacks=[monitor]")


def test_a_first_run_and_its_new_steps_appear_without_a_reload(tmp_path: Path, serve: Serve, visit: Open) -> None:
    server = serve(tmp_path)
    tab = visit(server)
    tab.frame.wait_for_selector("[data-testid=empty]")
    run = WrittenRun(tmp_path / "live")
    run.log(0)
    tab.wait_for_step(0)
    for step in (5, 9):
        run.log(step)
        tab.wait_for_step(step)
    tab.frame.wait_for_selector("[data-testid=ticks][data-ticks='3']")
    tab.frame.press("[data-testid=slider]", "Home")  # looking back: new steps must not pull the slider along
    tab.wait_for_step(0)
    tab.expect(lambda: tab.frame.is_checked("[data-testid=follow]"), False)
    run.log(12)
    tab.frame.wait_for_selector("[data-testid=ticks][data-ticks='4']")
    tab.wait_for_step(0)
    tab.frame.check("[data-testid=follow]")
    tab.wait_for_step(12)
    run.close()


def test_hostile_names_are_text(tmp_path: Path, serve: Serve, visit: Open) -> None:
    long, turned = "x" * 10_000, "\u202egnp.abc & \"quoted\" 'too' \u05d0\u05d1"
    run = WrittenRun(
        tmp_path / "<b>run &amp; 'x'",
        names=(IMAGE, long, turned),
        class_names=(f"{IMAGE}!", "</script><script>document.title='broken out'</script>"),
        tensor=f"{IMAGE}/kernel",
        mask=f"{IMAGE} mask",
        alerts={f"{IMAGE} mask": 0.1},
        columns={"cluster": [0.0, 0.0, 1.0]},
    )
    run.log(0)
    run.log(3)
    tab = visit(serve(tmp_path))
    tab.wait_for_step(3)
    frame = tab.frame
    injected = "img, script:not([type=module]), b"
    tab.expect(lambda: [frame.inner_text(f"[data-testid=probe-{i}] h3") for i in range(3)], [IMAGE, long, turned])
    tab.expect_text("runs", "<b>run &amp; 'x'")
    tab.expect(lambda: frame.get_attribute("[data-testid=probe-0] .label", "title"), f"Labelled {IMAGE}!")
    tab.expect(lambda: frame.input_value("[data-testid=tensor]"), f"{IMAGE}/kernel")
    tab.expect(lambda: frame.inner_text("[data-testid=counts-weight] [data-testid=size]"), "50")
    tab.expect(lambda: tab.all(injected, "e.outerHTML"), [])
    tab.expect(frame.title, "LRP")
    tab.expect(lambda: frame.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), True)
    tab.expect(lambda: tab.all("[data-testid=probe-1]", "e.getBoundingClientRect().width < 1000"), [True])
    badge = f"Relevance in {IMAGE} mask above 10 %"
    tab.expect(lambda: frame.get_attribute("[data-testid=probe-0] [data-testid=alert]", "title"), badge)
    frame.select_option("[data-testid=sort]", f"mass:{IMAGE} mask")
    frame.check("[data-testid=clusters]")
    frame.check("[data-testid=ridge]")
    frame.get_by_role("radio", name="Film").check(force=True)
    frame.fill("[data-testid=search]", "ONERROR")
    frame.wait_for_selector("article.film canvas[data-step='3']")
    tab.expect(lambda: tab.all("article.film h3", "e.textContent"), [IMAGE])
    frame.hover("article.film .cell canvas")
    frame.wait_for_selector("[data-testid=pixel-readout]")
    tab.expect(lambda: tab.all(injected, "e.outerHTML"), [])
    tab.expect(lambda: "ONERROR" in tab.link(), True)
    same = visit(serve(tmp_path), fragment=tab.link())  # settled: the last choice is in it
    same.frame.wait_for_selector("article.film canvas[data-step='3']")
    same.expect(lambda: same.frame.input_value("[data-testid=sort]"), f"mass:{IMAGE} mask")
    run.close()


def test_values_that_have_no_place_on_an_axis_are_counted(tmp_path: Path, view: View, visit: Open) -> None:
    run = WrittenRun(tmp_path / "a")
    run.log(0)
    values = np.array([0, 0, 0, np.nan, np.inf, -np.inf, 1e-3, -2e-3], np.float32)
    run.log(1, gradient=values)
    tab = visit(view(tmp_path))
    tab.wait_for_step(1)
    cells = ["8", "0.00224", "3", "1", "2"]
    tab.expect(lambda: tab.all("[data-testid=counts-gradient] tbody td", "e.textContent"), cells)
    run.close()


def test_steps_whose_maps_were_not_stored_say_so(tmp_path: Path, view: View, visit: Open) -> None:
    run = WrittenRun(tmp_path / "full", max_store_mb=0.004)
    for step in range(12):
        run.log(step)
    run.close()
    tab = visit(view(tmp_path))
    tab.frame.wait_for_selector("[data-testid=remarks] >> text=heatmaps not stored")
    tab.expect(lambda: tab.frame.inner_text("[data-testid=probe-0] .instead"), "not stored")
    tab.expect_text("caption-2", "81")  # figures go on: 0.8 + 0.001 * 11
    tab.frame.press("[data-testid=slider]", "Home")
    tab.wait_for_step(0)
    tab.expect(lambda: [text for text in tab.all(".instead", "e.textContent") if "stored" in text], [])


def test_runs_with_other_probes_stand_apart(tmp_path: Path, view: View, visit: Open) -> None:
    one, two = WrittenRun(tmp_path / "one"), WrittenRun(tmp_path / "two", hash="cd" * 32)
    for step in (0, 4, 8):
        one.log(step)
    for step in (2, 4):
        two.log(step)
    tab = visit(view(tmp_path))
    tab.wait_for_step(8)
    tab.expect(lambda: tab.all("canvas[data-run]", "e.dataset.run"), ["one/lrp"] * 3)
    tab.frame.get_by_role("checkbox", name="two").check()
    tab.frame.wait_for_selector("canvas[data-run='two/lrp'][data-step='4']")
    tab.expect_text("remarks", "two: shown at step 4")
    tab.frame.wait_for_selector("[data-testid=ticks][data-ticks='4']")  # 0 2 4 8
    tab.expect(lambda: len(tab.all("[data-testid=grid] .group > h2", "1")), 2)
    tab.frame.press("[data-testid=slider]", "Home")
    tab.frame.wait_for_selector("canvas[data-run='one/lrp'][data-step='0']")
    tab.expect_text("remarks", "two: first logged at step 2")
    one.close()
    two.close()


def test_a_server_that_goes_away_is_reported(tmp_path: Path, view: View, visit: Open) -> None:
    run = WrittenRun(tmp_path / "a")
    run.log(0)
    tab = visit(view(tmp_path))
    tab.wait_for_step(0)
    tab.page.route("**/data/plugin/lrp_monitor/runs*", lambda route: route.abort())
    tab.frame.wait_for_selector("[data-testid=banner]", timeout=10_000)
    tab.expect_text("banner", "does not answer")
    tab.expect(lambda: tab.frame.is_visible("canvas[data-run]"), True)  # what is there stays
    tab.page.unroute("**/data/plugin/lrp_monitor/runs*")
    tab.frame.wait_for_selector("[data-testid=banner]", state="detached", timeout=10_000)
    tab.errors.clear()  # the browser itself reports the requests that were cut off
    run.close()


def test_a_page_that_cannot_be_drawn_says_so(tmp_path: Path, view: View, visit: Open) -> None:
    run = WrittenRun(tmp_path / "a")
    run.log(0)
    server = view(tmp_path)
    tab = visit(server)
    tab.wait_for_step(0)
    tab.page.add_init_script("delete window.ResizeObserver")
    tab.page.reload()
    tab.frame.wait_for_selector("[data-testid=failure]")
    tab.expect_text("failure", "stopped with an error", "ResizeObserver")
    tab.errors.clear()
    run.close()
