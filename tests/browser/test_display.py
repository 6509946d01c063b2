"""How heatmaps are shown: differences, scales, percentile, gamma, colour maps, overlay, zoom, pixel values, film."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from browser_helpers import Open, View, Visit
from numpy.typing import NDArray

import lrp_monitor as lrp

pytestmark = pytest.mark.browser

Table = tuple[Sequence[float], list[list[int]]]
"""Positions from -1 to 1, and the colours there."""

SEISMIC = ([-1, -0.5, 0, 0.5, 1], [[0, 0, 77], [0, 0, 255], [255, 255, 255], [255, 0, 0], [128, 0, 0]])
BWR = ([-1, 0, 1], [[0, 0, 255], [255, 255, 255], [255, 0, 0]])
POSITIVE = ([-1, 0, 0.35, 0.7, 1], [[10, 10, 12], [10, 10, 12], [170, 24, 40], [246, 132, 24], [255, 250, 190]])
RUNS = ("planted", "control")


def coloured(share: NDArray[np.floating], table: Table = SEISMIC) -> NDArray[np.float64]:
    """Colours (h, w, 3) of values in -1 ... 1, clipped beyond."""
    at, anchors = table
    colours = np.array(anchors, np.float64)
    return np.stack([np.interp(share, at, colours[:, c]) for c in range(3)], axis=-1)


def open_at(visit: Open, view: View, logdir: Path, step: int, **choices: str) -> Visit:
    """Opens a view by its URL and waits until it is drawn."""
    parameters = "".join(f"&p.lrp_monitor.{key}={quote(value, safe='')}" for key, value in choices.items())
    tab = visit(view(logdir), fragment=f"lrp_monitor&p.lrp_monitor.step={step}{parameters}")
    tab.wait_for_step(step)
    return tab


def canvas(probe: int, run: str) -> str:
    return f"canvas[data-testid='heatmap-{probe}'][data-run='{run}/lrp']"


def stored(logdir: Path, run: str, step: int, probe: int) -> NDArray[np.float64]:
    return lrp.open_run(logdir / run).heatmaps(step)[probe].astype(np.float64)


def share(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values / np.abs(values).max()


def test_difference_to_a_pinned_step_and_to_another_run(fitted: Path, view: View, visit: Open) -> None:
    first, *_, last = lrp.open_run(fitted / "planted").steps
    tab = open_at(visit, view, fitted, last)
    frame = tab.frame
    frame.press("[data-testid=slider]", "Home")
    tab.wait_for_step(first)
    frame.select_option("[data-testid=minus]", "pin")
    frame.press("[data-testid=slider]", "End")
    tab.wait_for_step(last)
    tab.expect_text("remarks", f"difference to step {first}, each map over its own maximum")
    tab.expect_text("legend", "gained relevance")
    for run in RUNS:
        now, then = (share(stored(fitted, run, step, 3)) for step in (last, first))
        tab.expect_colours(canvas(3, run), coloured(share(now - then)))
    tab.expect(lambda: tab.hash_parameters()["minus"], f"step:{first}")
    frame.select_option("[data-testid=minus]", "run:control/lrp")
    frame.wait_for_selector("text=reference")
    tab.expect_text("remarks", "difference to run control")
    planted, control = (share(stored(fitted, run, last, 3)) for run in RUNS)
    tab.expect_colours(canvas(3, "planted"), coloured(share(planted - control)))
    tab.expect_colours(canvas(3, "control"), coloured(control))
    # On a common scale the difference is one of relevance itself, against the largest map there is.
    frame.select_option("[data-testid=scale]", "all")
    tab.frame.wait_for_function(
        "() => !document.querySelector('[data-testid=remarks]').innerText.includes('own maximum')"
    )
    largest = max(float(lrp.open_run(fitted / run).statistic("absmax")[1].max()) for run in RUNS)
    planted, control = (stored(fitted, run, last, 3) for run in RUNS)
    tab.expect_colours(canvas(3, "planted"), coloured((planted - control) / largest))


def test_one_scale_for_all_probes_steps_and_runs(fitted: Path, view: View, visit: Open) -> None:
    step = lrp.open_run(fitted / "planted").steps[-2]
    tab = open_at(visit, view, fitted, step, scale="all")
    largest = max(float(lrp.open_run(fitted / run).statistic("absmax")[1].max()) for run in RUNS)
    for run in RUNS:
        tab.expect_colours(canvas(1, run), coloured(stored(fitted, run, step, 1) / largest))


def test_percentile_and_gamma(fitted: Path, view: View, visit: Open) -> None:
    step = lrp.open_run(fitted / "planted").steps[-1]
    tab = open_at(visit, view, fitted, step, clip="90", gamma="0.5")
    values = stored(fitted, "planted", step, 0)
    sizes = np.sort(np.abs(values).ravel())
    limit = sizes[int(np.ceil(0.9 * sizes.size)) - 1]
    expected = np.clip(values / limit, -1, 1)
    expected = np.sign(expected) * np.abs(expected) ** 0.5
    # The table has 1,025 values of R: near zero the root is steep, so only stronger pixels are compared closely.
    strong = np.abs(values / limit) > 0.05
    tab.expect_colours(canvas(0, "planted"), np.where(strong[..., None], coloured(expected), np.nan), atol=6)
    assert strong.mean() > 0.3
    tab.expect_text("remarks", "clipped at the 90th percentile")


@pytest.mark.parametrize(("name", "table"), [("bwr", BWR), ("positive", POSITIVE)])
def test_colour_maps(fitted: Path, view: View, visit: Open, name: str, table: Table) -> None:
    step = lrp.open_run(fitted / "planted").steps[-1]
    tab = open_at(visit, view, fitted, step)
    values = share(stored(fitted, "planted", step, 2))
    tab.expect_colours(canvas(2, "planted"), coloured(values))
    tab.frame.select_option("[data-testid=colours]", name)
    tab.expect_colours(canvas(2, "planted"), coloured(values, table))
    if name == "positive":
        tab.expect_text("legend", "negative ones are not shown")
        assert (values < 0).any()
        hidden = values < 0
        tab.expect(lambda: (tab.pixels(canvas(2, "planted"))[hidden][:, :3] == [10, 10, 12]).all(), True)


def test_overlay_shows_the_input_under_relevance_as_strong_as_chosen(fitted: Path, view: View, visit: Open) -> None:
    step = lrp.open_run(fitted / "planted").steps[-1]
    tab = open_at(visit, view, fitted, step, show="overlay", opacity="0.40")
    at = canvas(0, "planted")
    tab.expect(lambda: [float(o) for o in tab.all(at, "getComputedStyle(e).opacity")], [pytest.approx(0.4)])
    strength = 255 * np.abs(share(stored(fitted, "planted", step, 0)))
    tab.expect(lambda: np.abs(tab.pixels(at)[..., 3] - strength).max() <= 1, True)
    image = lrp.open_run(fitted / "planted").probes.images[0, :, :, 0]

    def under() -> NDArray[np.integer]:
        flat = tab.frame.eval_on_selector(
            at,
            """c => { const below = c.previousElementSibling;
                      return [...below.getContext('2d').getImageData(0, 0, below.width, below.height).data]; }""",
        )
        return np.array(flat).reshape(32, 32, 4)[..., 0]

    tab.expect(lambda: np.array_equal(under(), image), True)
    tab.frame.get_by_label("Opacity").fill("90")
    tab.expect(lambda: tab.hash_parameters()["opacity"], "0.90")


def point(tab: Visit, selector: str, row: float, column: float) -> None:
    """Moves the mouse over a place of a map, in its pixels (32 x 32), as the map lies in its cell without zoom."""
    box = tab.box(f".cell:has({selector})")
    tab.page.mouse.move(box["x"] + box["width"] * (column + 0.5) / 32, box["y"] + box["height"] * (row + 0.5) / 32)


def readout(tab: Visit) -> dict[str, float]:
    """The values under the pointer by run, as they are shown now."""
    lines = tab.all("[data-testid=pixel-readout] .line", "[e.dataset.run, e.querySelector('strong').dataset.value]")
    return {run: float(value) for run, value in lines}


def test_the_value_under_the_pointer_in_all_runs_also_when_zoomed(fitted: Path, view: View, visit: Open) -> None:
    step = lrp.open_run(fitted / "planted").steps[-1]
    tab = open_at(visit, view, fitted, step)
    point(tab, canvas(1, "control"), 7, 20)
    tab.expect_text("pixel-readout", "row 7, column 20")
    for run in RUNS:
        value = pytest.approx(stored(fitted, run, step, 1)[7, 20], rel=1e-5, abs=1e-9)
        tab.expect(lambda run=run: readout(tab)[f"{run}/lrp"], value)
    point(tab, canvas(1, "control"), 3, 3)
    tab.frame.wait_for_selector("[data-testid=pixel-readout] >> text=in stamp")
    tab.frame.focus("[data-testid=slider]")
    tab.page.keyboard.press("+")
    tab.page.keyboard.press("+")
    tab.expect(lambda: tab.hash_parameters()["zoom"], "2.25,0.500,0.500")
    scales = ["matrix(2.25"] * (3 * 8)
    tab.expect(lambda: tab.all(".cell .layer", "getComputedStyle(e).transform.split(',')[0]"), scales)
    point(tab, canvas(1, "planted"), 7.5, 23.5)  # a quarter from the edges of the cell: 1/2 - 1/4 / 2.25 of the map
    tab.frame.wait_for_selector("[data-testid=pixel-readout] >> text=row 12, column 19")
    value = pytest.approx(stored(fitted, "planted", step, 1)[12, 19], rel=1e-5, abs=1e-9)
    tab.expect(lambda: readout(tab)["planted/lrp"], value)
    # Drag a whole cell to the right: the window stops at the map's left edge.
    point(tab, canvas(1, "planted"), 15.5, 15.5)
    tab.page.mouse.down()
    tab.page.mouse.move(1270, 450, steps=6)
    tab.page.mouse.up()
    tab.expect(lambda: tab.hash_parameters()["zoom"].startswith("2.25,0.222,"), True)
    tab.expect(lambda: "probe" in tab.hash_parameters(), False)  # a drag is not a click
    tab.page.keyboard.press("0")
    tab.expect(lambda: "zoom" in tab.hash_parameters(), False)


def test_ctrl_and_the_wheel_zoom_where_the_pointer_is(fitted: Path, view: View, visit: Open) -> None:
    step = lrp.open_run(fitted / "planted").steps[-1]
    tab = open_at(visit, view, fitted, step)
    point(tab, canvas(0, "planted"), 4, 5)
    tab.page.keyboard.down("Control")
    tab.page.mouse.wheel(0, -240)
    tab.page.keyboard.up("Control")
    tab.expect(lambda: float(tab.hash_parameters()["zoom"].split(",")[0]), pytest.approx(np.e, abs=0.01))
    times, x, y = (float(part) for part in tab.hash_parameters()["zoom"].split(","))  # settled: by the line before
    for middle, pointed in ((x, 5.5 / 32), (y, 4.5 / 32)):  # what was pointed at stays where it was
        assert middle + (pointed - 0.5) / times == pytest.approx(pointed, abs=0.01)
    tab.page.mouse.wheel(0, 200)  # the wheel alone scrolls
    tab.expect(lambda: tab.hash_parameters()["zoom"].startswith("2.72"), True)


def test_film_shows_each_run_through_training(fitted: Path, view: View, visit: Open) -> None:
    run = lrp.open_run(fitted / "planted")
    steps = run.steps
    tab = visit(view(fitted), fragment="lrp_monitor&p.lrp_monitor.show=film")
    frame = tab.frame
    strip = "[data-testid=film-2][data-run='planted/lrp']"
    shown = min(12, len(steps))
    frame.wait_for_function(
        "([s, n]) => document.querySelectorAll(`${s} canvas[data-step]`).length === n", arg=[strip, shown]
    )
    found = [int(step) for step in tab.all(f"{strip} canvas", "e.dataset.step")]  # settled: all of them are there
    assert found[0] == steps[0]
    assert found[-1] == steps[-1]
    assert found == sorted(set(found))
    assert set(found) <= set(steps)
    if len(steps) > 12:
        tab.expect_text("remarks", f"film: 12 of {len(steps)} logged steps")
    middle = found[len(found) // 2]
    tab.expect_colours(f"{strip} canvas[data-step='{middle}']", coloured(share(stored(fitted, "planted", middle, 2))))
    frame.click(f"{strip} >> role=button[name='Go to step {middle}']")
    tab.expect(lambda: tab.hash_parameters()["step"], str(middle))
    tab.expect(lambda: frame.inner_text(f"{strip} li.now button"), str(middle))
    frame.click(f"{strip} canvas[data-step='{found[1]}']")
    tab.expect(lambda: tab.hash_parameters()["step"], str(found[1]))


def test_masks_are_outlined_on_maps_and_inputs(fitted: Path, view: View, visit: Open) -> None:
    step = lrp.open_run(fitted / "planted").steps[-1]
    tab = open_at(visit, view, fitted, step)
    paths = "[data-testid=probe-0] .outlines .line"
    rows, columns = np.nonzero(lrp.open_run(fitted / "planted").probes.masks["stamp"][0])
    top, left, bottom, right = rows.min(), columns.min(), rows.max() + 1, columns.max() + 1
    box = f"M{left} {top}H{right}M{left} {bottom}H{right}M{left} {top}V{bottom}M{right} {top}V{bottom}"
    tab.expect(lambda: tab.all(paths, "e.getAttribute('d')"), [box] * 3)
    tab.frame.uncheck("[data-testid=outlines]")
    tab.frame.wait_for_selector(paths, state="detached")
