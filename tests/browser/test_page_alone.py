"""The page without TensorBoard: as a file with its data inside, and from `lrp-monitor view`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser_helpers import CONTROLS, Alone, WrittenRun, serving
from PIL import Image
from playwright.sync_api import Browser
from test_feature_view import colours, write

import lrp_monitor as lrp
from lrp_monitor.store import storage
from lrp_monitor.store.format import ProbeInfo, StepRecord
from lrp_monitor.store.reader import open_run
from lrp_monitor.store.writer import RunWriter

pytestmark = pytest.mark.browser

HOSTILE = ["</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>", "\u202e&quot;'\"\\ 9"]


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs with names that try to be more than text; their figures differ."""
    folder = tmp_path_factory.mktemp("alone")
    for name, mask in (("one", "</title>"), ("<b>two", "</title>")):
        run = WrittenRun(folder / name, names=HOSTILE, class_names=HOSTILE[:2], mask=mask, tensor="</script>kernel")
        for step in (0, 4, 7, 9):
            run.log(step)
        run.close()
    return folder


@pytest.fixture
def opened(browser: Browser) -> Iterator[Any]:
    """Opens an address; afterwards nothing may have gone wrong, and nothing have been asked for from elsewhere."""
    visits: list[Alone] = []

    def go(url: str) -> Alone:
        page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
        visit = Alone(page, "/".join(url.partition("#")[0].split("/")[:3]) if url.startswith("http") else url)
        page.on("console", visit.on_console)
        page.on("pageerror", lambda error: visit.errors.append(str(error)))
        page.on("dialog", lambda dialog: visit.errors.append(f"a dialog: {dialog.message}"))
        page.on("request", lambda request: request.url == url.partition("#")[0] or visit.on_request(request))
        page.goto(url)
        visits.append(visit)
        return visit

    yield go
    for visit in visits:
        visit.page.context.close()
    assert [visit.errors for visit in visits] == [[] for _ in visits]
    assert [visit.outside for visit in visits] == [[] for _ in visits]


def export(*arguments: object) -> str:
    command = [sys.executable, "-m", "lrp_monitor.cli", "export", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_page_that_was_handed_on_needs_nothing_but_itself(logs: Path, tmp_path: Path, opened: Any) -> None:
    file = tmp_path / "run.html"
    printed = export(logs / "one", logs / "<b>two", "-o", file)
    assert "2 runs, 4 steps, 3 probes, with histograms" in printed
    assert f"{file.stat().st_size / 1e6:.1f} MB" in printed
    tab = opened(file.as_uri())
    tab.wait_for_step(9)
    tab.expect(lambda: tab.all("article.probe h3", "e.textContent"), HOSTILE)
    run = lrp.open_run(logs / "one")
    for step in (7, 4):
        tab.frame.press("[data-testid=slider]", "ArrowLeft")
        tab.wait_for_step(step)
    limit = float(abs(run.heatmaps(4)[1]).max())
    title = "article.probe:nth-of-type(2) figure[data-run='one'] dd"
    tab.expect(
        lambda: [float(text[1:]) for text in tab.all(title, "e.textContent") if text[0] == "±"],
        [pytest.approx(limit, rel=0.01)],
    )
    tab.expect(lambda: tab.frame.input_value("[data-testid=tensor]"), "</script>kernel")
    tab.frame.click("[data-testid=open-1]")
    tab.frame.wait_for_selector("[data-testid=probe-view]")
    tab.expect(lambda: len(tab.all(".strip-cell canvas, [data-testid=probe-view] canvas", "1")) > 4, True)
    tab.expect(lambda: tab.hash_parameters()["step"], "4")
    tab.expect(lambda: tab.all("script", "e.type"), ["importmap", "text/plain", "text/plain", "module"])


def test_chosen_steps_and_probes_alone_are_in_the_file(logs: Path, tmp_path: Path, opened: Any) -> None:
    file = tmp_path / "part.html"
    assert "1 run, 2 steps, 1 probe, without histograms" in export(
        logs / "one", "-o", file, "--steps", "4,9", "--probe", "1", "--no-histograms"
    )
    tab = opened(file.as_uri() + "#lrp_monitor&p.lrp_monitor.step=4")
    tab.frame.wait_for_selector("canvas[data-run][data-step='4']")
    tab.expect(lambda: tab.all("article.probe h3", "e.textContent"), HOSTILE[1:2])
    tab.expect(lambda: tab.frame.get_attribute("[data-testid=ticks]", "data-ticks"), "2")
    tab.expect(lambda: tab.all("[data-testid=tensor] option", "e.textContent"), ["no tensors logged"])


def test_heatmaps_by_channel_are_in_the_file(tmp_path: Path, opened: Any) -> None:
    rng = np.random.default_rng(3)
    probes = ProbeInfo(
        names=["first", "second"],
        labels=None,
        class_names=None,
        images=rng.integers(0, 256, (2, 6, 8, 3), dtype=np.uint8),
        masks={},
        map_shape=(6, 8),
        hash="cd" * 32,
        input_shape=(6, 8, 3),
    )
    with RunWriter(tmp_path / "run" / "lrp", probes, meta={}) as writer:
        for step in (0, 1):
            parts = rng.normal(0, 1, (2, 6, 8, 3)).astype(np.float32)
            maps = parts.sum(-1)
            figures = {"absmax": np.abs(maps).max((1, 2)).astype(np.float64)}
            writer.append(StepRecord(step, step, step, 1.0, heatmaps=maps, channels=parts, probes=figures))
    file = tmp_path / "run.html"
    assert "with heatmaps by channel" in export(tmp_path / "run", "-o", file, "--probe", "second")
    logged = open_run(tmp_path / "run").channels(1)[1]
    address = f"{file.as_uri()}#lrp_monitor&p.lrp_monitor.show=heatmap"
    tab = opened(address)
    tab.frame.click("[data-testid=open-0]")
    for channel in (2, 0):
        wanted = colours(logged[..., channel] / np.abs(logged).max())
        tab.frame.wait_for_selector(f"canvas[data-testid=channel-{channel}][data-painted='1']")
        tab.expect_colours(f"canvas[data-testid=channel-{channel}]", wanted)
    tab.frame.press("[data-testid=slider]", "ArrowLeft")
    tab.frame.wait_for_selector("canvas[data-testid=channel-0][data-painted='0']")
    assert "without heatmaps by channel" in export(tmp_path / "run", "-o", file, "--no-channels")
    tab = opened(address)
    tab.frame.click("[data-testid=open-1]")
    tab.expect(lambda: "Not in this file" in tab.frame.inner_text(".channels"), True)


def test_features_are_in_the_file(tmp_path: Path, opened: Any) -> None:
    write(tmp_path / "planted", 1, True)
    file = tmp_path / "run.html"
    chosen = ("--probe", "triangle 6", "--probe", "triangle 7", "--probe", "disk 0", "--steps", "4,32,256")
    assert "with features of 3 layers" in export(tmp_path / "planted", "-o", file, *chosen)
    run = open_run(tmp_path / "planted")
    history = run.channel_history("conv_3")
    of = history.of_class(2)
    address = f"{file.as_uri()}#lrp_monitor&p.lrp_monitor.page=features&p.lrp_monitor.channels=class%3D2"
    tab = opened(address)
    tab.page.set_viewport_size({"width": 1500, "height": 1000})
    rows = "[data-testid=channel]"
    leading = np.argsort(-np.nan_to_num(history.shares[-1, of]), kind="stable")
    tab.expect(lambda: tab.all(rows, "Number(e.dataset.channel)")[:4], leading[:4].tolist())
    # Of the three triangles the two in the file, the one with more relevance first, numbered as there.
    channel, features = int(leading[0]), run.features("conv_3", 256)
    first, second = sorted((6, 7), key=lambda probe: -features.relevance[probe, channel])
    maps = f"{rows}[data-channel='{channel}'] [data-testid=channel-maps]"
    tab.expect(lambda: tab.all(maps, "e.dataset.maps + ' ' + e.dataset.step"), ["2 256"])
    scale = max(np.abs(features.map(probe, channel)).max() for probe in (first, second))
    shown = np.full((66, tab.pixels(maps).shape[1], 3), np.nan)  # settled: the row was waited for
    shown[1:65, 1:65] = colours(features.map(first, channel) / scale).repeat(2, axis=0).repeat(2, axis=1)
    tab.expect_colours(maps, shown)
    tab.frame.press("[data-testid=slider]", "ArrowLeft")
    tab.expect(lambda: tab.all(maps, "e.dataset.step"), ["32"])
    tab.frame.press("[data-testid=slider]", "ArrowRight")
    tab.expect(lambda: tab.all(maps, "e.dataset.step"), ["256"])
    # The film of one probe, put together from the steps: of those with a map.
    tab.frame.click(f"[data-testid=channel-{channel}]")
    logged = {step: run.features("conv_3", step) for step in (4, 32, 256)}
    held = [step for step, one in logged.items() if ((one.probe == first) & (one.channel == channel)).any()]
    film = "[data-testid=channel-film] canvas[data-testid=channel-map]"
    tab.expect(lambda: len(tab.all(film, "1")), len(held))
    limit = max(np.abs(logged[step].map(first, channel)).max() for step in held)
    tab.expect_colours(f"{film}[data-step='256']", colours(features.map(first, channel) / limit))
    # Without them the view says so.
    assert "without features of 3 layers" in export(tmp_path / "planted", "-o", file, "--steps", "4", "--no-features")
    tab = opened(address)
    tab.expect_text("no-features", "This file holds no features")


def test_a_page_above_the_limit_is_refused_with_what_to_leave_out(logs: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lrp_monitor.cli", "export", str(logs / "one"), "-o", str(tmp_path / "x.html")]
    done = subprocess.run([*command, "--max-mb", "0.001"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert all(words in done.stderr for words in ("the limit is 0.001", "--most-steps", "--probe", "--no-histograms"))
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def served(logs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of `lrp-monitor view` on those runs, and on one of many tensors and steps, `net`, logged last."""
    run = WrittenRun(logs / "net", tensor="block1/conv/kernel")
    for step in range(900):
        scalars = {f"gradients/norm/block{i}/conv/kernel": float(10**i) for i in range(12)}
        run.log(step, scalars=scalars | ({"gradients/nonfinite/block3/conv/kernel": 2.0} if step > 600 else {}))
    run.close()
    with serving(logs) as address:
        yield address


def test_the_page_of_view(served: str, opened: Any) -> None:
    tab = opened(served + "#lrp_monitor&p.lrp_monitor.runs=one%252Flrp,%253Cb%253Etwo%252Flrp")
    tab.wait_for_step(9)
    tab.frame.press("[data-testid=slider]", "Home")
    tab.wait_for_step(0)
    tab.expect(lambda: tab.hash_parameters()["step"], "0")
    tab.frame.click("[data-testid=page-runs]")
    names = "[data-testid=run-table] tbody bdi"
    tab.expect(lambda: tab.all(names, "e.textContent"), ["net", "<b>two", "one"])
    tab.frame.get_by_role("button", name="Drift since the log before").click()
    tab.frame.uncheck("[data-testid=run-table] tr[data-run='one/lrp'] input")
    tab.expect(lambda: tab.hash_parameters()["runs"], "%3Cb%3Etwo%2Flrp")
    tab.frame.click("[data-testid=fold-panels]", force=True)
    tab.expect(lambda: tab.frame.is_visible("[data-testid=timeline]"), False)
    tab.frame.click("[data-testid=fold-panels]")
    tab.expect(lambda: tab.frame.is_visible("[data-testid=timeline]"), True)
    height = "e.getBoundingClientRect().height"
    before = tab.all(".timeline .plot", height)[0]  # settled: it is there as before
    for key, grown in (("ArrowUp", 24), ("ArrowDown", 0)):
        tab.frame.press("[data-testid=divider]", key)
        tab.expect(lambda grown=grown: tab.all(".timeline .plot", height)[0] - before, grown)


def test_the_network_at_a_glance(served: str, opened: Any) -> None:
    tab = opened(served + "#lrp_monitor&p.lrp_monitor.page=network&p.lrp_monitor.runs=net%252Flrp")
    tab.frame.wait_for_selector("[data-testid=matrix] canvas[data-painted='1']")  # of tensors with histograms
    tab.expect(lambda: tab.all(".matrix .names .value", "e.textContent"), ["10.0"])
    tab.frame.select_option("[data-testid=glance]", "broken")
    tab.expect_text("no-rows", "Every logged weight and gradient is finite")
    tab.frame.select_option("[data-testid=glance]", "gradients")
    box = tab.box("[data-testid=matrix] canvas[data-painted]")
    tab.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 5)
    tab.expect(lambda: tab.hash_parameters()["step"], lambda step: 440 < int(step) < 460)
    tab.expect(lambda: tab.hash_parameters()["tensor"], "block1/conv/kernel")
    tab.frame.fill("[data-testid=find-layers]", "no such tensor")
    tab.expect_text("no-rows", "No tensor fits")
    tab.frame.fill("[data-testid=find-layers]", "conv")
    tab.frame.select_option("[data-testid=drawn]", "histograms")
    tab.frame.wait_for_selector("[data-testid=multiples][data-loaded='1'] path[d^=M]", state="attached")
    tab.expect(lambda: tab.hash_parameters()["drawn"], "histograms")
    tab.frame.hover("[data-testid=histogram-gradient] svg")
    tab.expect_text("percentiles", "below; median")


def test_the_axis_of_curves_says_what_it_counts(served: str, opened: Any) -> None:
    tab = opened(served + "#lrp_monitor&p.lrp_monitor.runs=net%252Flrp")
    tab.wait_for_step(899)
    tab.frame.wait_for_selector("[data-testid=band]", state="attached")  # 900 logs on fewer pixels
    tab.expect(lambda: tab.all("[data-testid=axis-unit]", "e.textContent"), ["batches"])
    # At the last step the cursor's line is at the end of the axis, where the unit is: they do not touch.
    cursor = "document.querySelector('svg[data-testid=timeline] .cursor')"
    apart = f"{cursor}.getBoundingClientRect().left - e.getBoundingClientRect().right"
    tab.expect(lambda: 2 < tab.all("[data-testid=axis-unit]", apart)[0] < 12, True)
    for axis, words in (("epoch", "epochs"), ("relative", "minutes since the first log"), ("wall", "time, 1 Jan")):
        tab.frame.select_option("[data-testid=axis]", axis)
        tab.expect(lambda: tab.all("[data-testid=axis-unit]", "e.textContent"), [words])
    tab.frame.select_option("[data-testid=axis]", "steps")
    seen = "e.dataset.seen"
    tab.expect(lambda: tab.all("[data-testid=timeline]", seen), ["0,899"])
    tab.frame.click("[data-testid=range-near]")
    tab.expect(lambda: tab.all("[data-testid=timeline]", seen), ["449.5,899"])
    tab.expect(lambda: tab.hash_parameters()["range"], "449.5,899")
    box = tab.box("[data-testid=timeline]")
    tab.page.keyboard.down("Shift")
    tab.page.mouse.move(box["x"] + 80, box["y"] + 40)
    tab.page.mouse.down()
    tab.page.mouse.move(box["x"] + 180, box["y"] + 40)
    tab.page.mouse.up()
    tab.page.keyboard.up("Shift")
    tab.expect(lambda: float(tab.all("[data-testid=timeline]", seen)[0].split(",")[1]), lambda high: high < 800)
    tab.expect(lambda: tab.frame.input_value("[data-testid=step-number]"), "899")
    tab.frame.click("[data-testid=range-all]")
    tab.expect(lambda: tab.all("[data-testid=timeline]", seen), ["0,899"])
    tab.frame.select_option("[data-testid=smooth]", "0.9")
    tab.expect(lambda: tab.hash_parameters()["smooth"], "0.9")


def test_help_and_hints_by_keys(served: str, opened: Any) -> None:
    tab = opened(served + "#lrp_monitor&p.lrp_monitor.soft=2&p.lrp_monitor.runs=one%252Flrp")
    tab.wait_for_step(9)
    tab.expect_text("remarks", "maps smoothed over 2 pixels")
    tab.frame.focus("[data-testid=remarks] button")
    tab.page.keyboard.press("Enter")
    tab.expect_text("remarks", "By a Gaussian")
    tab.page.keyboard.press("Escape")
    tab.expect(lambda: "By a Gaussian" in tab.text("remarks"), False)
    tab.page.keyboard.press("?")
    tab.expect_text("usual", "epsilon_plus_flat", "The maps localise well all the same")
    tab.page.keyboard.press("Escape")
    tab.frame.wait_for_selector("[data-testid=grid]")
    tab.frame.click("[data-testid=reset-view]")
    tab.expect(tab.hash_parameters, {"runs": "one%2Flrp"})


@pytest.mark.parametrize("size", [(320, 640), (640, 450), (800, 600)])
def test_on_small_windows_nothing_leaves_the_page(served: str, opened: Any, size: tuple[int, int]) -> None:
    tab = opened(served + "#lrp_monitor&p.lrp_monitor.runs=one%252Flrp,net%252Flrp")
    tab.page.set_viewport_size({"width": size[0], "height": size[1]})
    tab.frame.wait_for_selector("svg[data-testid=timeline] .axis", state="attached")
    beyond = "e => { const r = e.getBoundingClientRect(); return r.left < 0 || r.right > innerWidth; }"
    outside = f"() => ({CONTROLS})().filter({beyond}).map(e => e.outerHTML.slice(0, 200))"
    tab.expect(lambda: tab.frame.evaluate(outside), [])
    tab.expect(lambda: tab.frame.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), True)
    # The histograms come right behind the maps, which scroll on their own.
    gap = "() => document.querySelector('.histograms').offsetTop - document.querySelector('.main').offsetTop"
    tab.expect(lambda: tab.frame.evaluate(gap) < 1100, True)


def test_what_happened_is_listed_and_leads_to_its_step(served: str, opened: Any, logs: Path) -> None:
    tab = opened(served + "#lrp_monitor&p.lrp_monitor.page=events&p.lrp_monitor.runs=one%252Flrp")
    events = "[data-testid=events] li .text"
    tab.frame.wait_for_selector("[data-testid=no-events]")
    tab.frame.check("[data-testid=all-runs]")
    tab.frame.wait_for_selector("[data-testid=events][data-waiting='0']")
    tab.frame.wait_for_selector("svg[data-testid=timeline] .axis", state="attached")
    tab.frame.fill("[data-testid=step-number]", "4")
    tab.frame.press("[data-testid=step-number]", "Enter")
    tab.frame.wait_for_selector("[data-testid=mark-text][placeholder='A note on step 4']")
    tab.frame.select_option("[data-testid=note-place]", "")
    tab.frame.fill("[data-testid=mark-text]", "</script> here")
    tab.frame.press("[data-testid=mark-text]", "Enter")
    tab.expect(lambda: tab.all(events, "e.textContent"), ["</script> here"])
    tab.expect(lambda: tab.hash_parameters()["marks"], "4%3A%3C%2Fscript%3E%20here")
    tab.frame.press("[data-testid=slider]", "End")
    tab.expect(lambda: tab.frame.input_value("[data-testid=step-number]"), "9")
    tab.frame.click(".events .jump")
    tab.expect(lambda: tab.frame.input_value("[data-testid=step-number]"), "4")
    tab.frame.get_by_label("Remove the note on step 4").click()
    tab.frame.wait_for_selector("[data-testid=no-events]")
    tab.frame.click("[data-testid=note-undo]")
    tab.expect(lambda: tab.all(events, "e.textContent"), ["</script> here"])
    tab.frame.get_by_label("Remove the note on step 4").click()
    tab.frame.wait_for_selector("[data-testid=no-events]")
    run = open_run(logs / "one")
    note = run.add_note(4, "<i>in the folder</i>")
    for page in ("maps", "events"):
        tab.frame.click(f"[data-testid=page-{page}]")
    tab.expect(lambda: tab.all(events, "e.textContent"), ["<i>in the folder</i>"])
    run.remove_note(note.name)


def refuse(path: str, data: bytes) -> None:
    raise PermissionError(13, "Permission denied", path)


def test_a_note_goes_into_the_runs_folder_or_else_into_the_address(
    served: str, opened: Any, logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tab = opened(served + "#lrp_monitor&p.lrp_monitor.page=events&p.lrp_monitor.runs=one%252Flrp&p.lrp_monitor.step=4")
    events, run = "[data-testid=events] li .text", open_run(logs / "one")
    tab.frame.wait_for_selector("[data-testid=events][data-waiting='0']")
    tab.frame.fill("[data-testid=mark-text]", "<b>kept</b>")
    tab.frame.press("[data-testid=mark-text]", "Enter")
    tab.expect_text("note-status", "Kept in the folder of one, at step 4.")
    tab.expect(lambda: tab.all(events, "e.textContent"), ["<b>kept</b>"])
    assert [(note.step, note.text) for note in run.notes()] == [(4, "<b>kept</b>")]
    assert "marks" not in tab.hash_parameters()  # settled: the note has been kept
    # Removed, put back, and removed again: of the run's files that note alone comes and goes.
    logged = {path: path.read_bytes() for path in Path(run.path).iterdir() if not path.name.startswith("note-")}
    tab.frame.get_by_label("Remove the note on step 4").click()
    tab.expect_text("note-removed", "Removed the note on step 4.")
    tab.frame.wait_for_selector("[data-testid=no-events]")
    assert run.notes() == []
    tab.frame.click("[data-testid=note-undo]")
    tab.expect(lambda: tab.all(events, "e.textContent"), ["<b>kept</b>"])
    assert [(note.step, note.text) for note in run.notes()] == [(4, "<b>kept</b>")]
    tab.expect(lambda: tab.all("[data-testid=note-undo]", "1"), [])
    with monkeypatch.context() as patched:
        patched.setattr(storage.os, "unlink", lambda path: refuse(path, b""))
        tab.frame.get_by_label("Remove the note on step 4").click()
        tab.expect_text("note-removed", "was not removed", "cannot be removed")
    tab.expect(lambda: [" 409 " in error for error in tab.errors], [True])
    tab.errors.clear()
    tab.frame.get_by_label("Remove the note on step 4").click()
    tab.frame.wait_for_selector("[data-testid=no-events]")
    assert logged == {path: path.read_bytes() for path in Path(run.path).iterdir()}

    monkeypatch.setattr(storage, "write_whole", refuse)  # the server is a thread of this process
    tab.frame.fill("[data-testid=mark-text]", "second")
    tab.frame.press("[data-testid=mark-text]", "Enter")
    tab.expect_text("note-status", "cannot be written", "it is in the page")
    tab.expect(lambda: tab.hash_parameters()["marks"], "4%3Asecond")
    tab.expect(lambda: tab.all(events, "e.textContent"), ["second"])
    tab.expect(lambda: [" 409 " in error for error in tab.errors], [True])
    tab.errors.clear()


def test_two_runs_are_compared_by_blinking_and_by_swipe(logs: Path, served: str, opened: Any) -> None:
    fragment = "#lrp_monitor&p.lrp_monitor.runs=one%252Flrp,net%252Flrp&p.lrp_monitor.minus=run%3Anet%2Flrp"
    tab = opened(served + fragment + "&p.lrp_monitor.step=9")
    tab.frame.wait_for_selector("canvas[data-run='one/lrp'][data-step='9']")
    tab.frame.get_by_role("radio", name="Swipe").check(force=True)
    tab.expect_text("remarks", "behind the line: run net")
    tab.expect(lambda: tab.hash_parameters()["by"], "swipe")
    # The other run's map, beside its own card's: the same picture.
    own, over = "[data-testid=heatmap-1][data-run='net/lrp']", "[data-testid=compared-1][data-run='one/lrp']"
    tab.expect(lambda: (tab.pixels(own) == tab.pixels(over)).all(), True)
    clip = "getComputedStyle(e).clipPath"
    tab.expect(lambda: tab.all("[data-testid=over-1]", clip), ["inset(0px 0px 0px 50%)"])
    tab.frame.focus("[data-testid=swipe-line]")
    tab.page.keyboard.press("ArrowRight")
    tab.expect(lambda: tab.all("[data-testid=over-1]", clip), ["inset(0px 0px 0px 51%)"])
    tab.frame.get_by_role("radio", name="Blinking").check(force=True)
    tab.expect_text("remarks", "in turn with run net")
    tab.expect(lambda: tab.all("[data-testid=over-1]", "getComputedStyle(e).animationName"), ["blink"])
    tab.frame.get_by_role("radio", name="Difference").check(force=True)
    tab.expect(lambda: tab.all("[data-testid=over-1]", "1"), [])


def test_the_grid_is_saved_as_a_picture(served: str, opened: Any, tmp_path: Path) -> None:
    tab = opened(served + "#lrp_monitor&p.lrp_monitor.runs=one%252Flrp,net%252Flrp&p.lrp_monitor.step=9")
    canvas = "canvas[data-testid='heatmap-1'][data-run='one/lrp']"
    tab.frame.wait_for_selector(f"{canvas}[data-step='9']")
    tab.expect(lambda: (tab.pixels(canvas)[..., 3] == 255).all(), True)
    with tab.page.expect_download() as saved:
        tab.frame.click("[data-testid=grid-png]")
    assert saved.value.suggested_filename == "heatmaps-step-9.png"
    saved.value.save_as(tmp_path / "grid.png")
    picture = np.asarray(Image.open(tmp_path / "grid.png").convert("RGB")).astype(int)
    # Cells of 132 pixels and their gaps of 10: the second probe's map of the first run stands in the second column.
    height = round(132 * 6 / 8)
    top, left = 64 + height + 10, 150 + 142
    colours = tab.pixels(canvas)[..., :3].astype(int)  # settled: the picture was made of it
    rows, columns = np.arange(6) * height // 6 + height // 12, np.arange(8) * 132 // 8 + 8
    assert np.abs(picture[top + rows][:, left + columns] - colours).max() <= 1
