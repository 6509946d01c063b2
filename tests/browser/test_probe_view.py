"""One probe large: all steps in a filmstrip, curves, layers, channels, keys, and files that hold what is shown."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from browser_helpers import Open, View, Viewer, Visit
from PIL import Image

import lrp_monitor as lrp
from lrp_monitor.store.format import ProbeInfo, StepRecord
from lrp_monitor.store.writer import RunWriter
from lrp_monitor.training.output.event_file import EventWriter

pytestmark = pytest.mark.browser

STEPS = [*range(0, 40), 50, 60, 70]
SHAPE, CHANNELS = (6, 8), 3
LAYERS = ["conv/deep", "a, b", "top"]
HASH = "cd" * 32
HOSTILE = '<img src=x onerror="console.error(1)">\u202e "quoted" ' + "long " * 300
Logged = tuple[Path, dict[str, Callable[[int], np.ndarray]]]


def channel_maps(seed: int, step: int) -> np.ndarray:
    """float32 (3, 6, 8, 3): no two steps alike."""
    return np.random.default_rng([seed, step]).normal(0, 1, (3, *SHAPE, CHANNELS)).astype(np.float32)


def write_run(
    log_dir: Path, seed: int, *, old: bool = False, names: tuple[str, ...] = ("first", "second", "third")
) -> None:
    """Logs STEPS; ``old``: without layers, channels and alerts. Maps are not stored at step 12."""
    masks = np.zeros((3, *SHAPE), np.bool_)
    masks[0, :2, :3] = True
    images = np.random.default_rng(5).integers(0, 256, (3, *SHAPE, 3), dtype=np.uint8)
    probes = ProbeInfo(
        names=list(names),
        labels=np.array([0, 1, 1]),
        class_names=["cat", "dog"],
        images=images,
        masks={"corner": masks},
        map_shape=SHAPE,
        hash=HASH,
    )
    meta = {"composite": "epsilon_plus", "axis": "batch"}
    if not old:
        meta |= {"layers": LAYERS, "alerts": {"corner": 0.4}}
    events = EventWriter(log_dir / "lrp")
    with RunWriter(log_dir / "lrp", probes, meta=meta) as writer:
        events.start(0, 1.0, {"session": writer.session})
        for step in STEPS:
            parts = channel_maps(seed, step)
            columns = {
                "absmax": np.abs(parts.sum(-1)).max((1, 2)).astype(np.float64),
                "target": np.array([0.0, 1.0, 1.0]),
                "prediction": np.array([1.0, 1.0, 1.0]) if step < 20 else np.array([0.0, 1.0, 1.0]),
                "probability": np.array([0.25, 0.5, 0.75]) + 0.001 * step,
                "mask_mass/corner": np.array([0.3 + 0.005 * step, np.nan, np.nan]),
            }
            if not old:
                columns |= {f"layer/{name}": np.array([1.0, 0.5, -0.25]) * (i + 1) for i, name in enumerate(LAYERS)}
            stored = step != 12
            writer.append(
                StepRecord(
                    step=step,
                    epoch=0,
                    batch=step,
                    wall_time=float(step),
                    heatmaps=parts.sum(-1) if stored else None,
                    channels=parts if stored and not old else None,
                    probes=columns,
                    scalars={"lrp/drift": 0.1},
                )
            )
            events.write(step, float(step), {"lrp/drift": 0.1}, {})
    events.close()


@pytest.fixture(scope="module")
def logdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("large")
    write_run(folder / "plain", 1)
    write_run(folder / "shortcut", 2)
    write_run(folder / "zz old", 3, old=True)
    return folder


@pytest.fixture(scope="module")
def viewer(view: View, logdir: Path) -> Viewer:
    return view(logdir)


def link(index: int, **more: object) -> str:
    parts = {"probe": f"{index}@{HASH}", **more}
    return "lrp_monitor&" + "&".join(f"p.lrp_monitor.{key}={value}" for key, value in parts.items())


def wait(tab: Visit, step: int) -> None:
    """Until the large view shows ``step``: its film cell is the current one, its big maps are there."""
    tab.frame.wait_for_function(
        """step => document.querySelector('[data-testid=probe-view]')
             && document.querySelector(`[data-testid="film-${step}"]`)?.getAttribute('aria-current') === 'step'
             && document.querySelectorAll('.probe-large canvas[data-run]').length > 0
             && [...document.querySelectorAll('.probe-large canvas[data-run]')]
                  .every(c => c.dataset.step === String(step))""",
        arg=step,
        timeout=20_000,
    )


def seismic(relevance: np.ndarray, limit: float) -> np.ndarray:
    anchors = np.array([[0, 0, 77], [0, 0, 255], [255, 255, 255], [255, 0, 0], [128, 0, 0]], np.float64)
    at = np.clip(relevance / limit, -1, 1)
    return np.stack([np.interp(at, np.linspace(-1, 1, 5), anchors[:, c]) for c in range(3)], axis=-1)


def saved(tab: Visit, kind: str) -> tuple[str, bytes]:
    """(name, content) of the file behind an export button."""
    with tab.page.expect_download(timeout=60_000) as waiting:
        tab.frame.click(f"[data-testid=export-{kind}]")
    return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()


def test_a_click_opens_the_probe_and_escape_goes_back(viewer: Viewer, visit: Open) -> None:
    tab = visit(viewer)
    tab.frame.click("[data-testid=open-1]")
    wait(tab, STEPS[-1])
    tab.expect(lambda: tab.hash_parameters()["probe"], f"1@{HASH}")
    tab.expect(lambda: tab.frame.evaluate("() => document.activeElement.dataset.testid"), "probe-close")
    tab.frame.wait_for_selector("[data-testid=probe-view][aria-label='Probe second']")
    tab.page.keyboard.press("PageDown")
    tab.frame.wait_for_selector("[data-testid=probe-view][aria-label='Probe third']")
    tab.expect(lambda: tab.frame.is_disabled("[data-testid=probe-next]"), True)
    tab.frame.click("[data-testid=probe-previous]")
    tab.frame.wait_for_selector("[data-testid=probe-view][aria-label='Probe second']")
    tab.page.keyboard.press("ArrowLeft")
    wait(tab, STEPS[-2])
    tab.page.keyboard.press("Escape")
    tab.frame.wait_for_selector("[data-testid=grid]")
    tab.page.wait_for_function("() => !location.hash.includes('lrp_monitor.probe')")
    tab.expect(lambda: tab.hash_parameters()["step"], str(STEPS[-2]))
    for opener in ("open-1", "open-2"):  # the keyboard goes on where it was
        tab.frame.wait_for_function("id => document.activeElement.dataset.testid === id", arg=opener)
        tab.page.keyboard.press("Enter")
        tab.frame.wait_for_selector("[data-testid=probe-view]")
        tab.page.keyboard.press("PageDown")
        tab.page.keyboard.press("Escape")
    tab.frame.wait_for_selector("[data-testid=grid]")
    tab.frame.fill("[data-testid=search]", "first")
    tab.frame.wait_for_selector("[data-testid=open-2]", state="detached")
    tab.frame.fill("[data-testid=search]", "")
    tab.frame.wait_for_selector("[data-testid=open-2]")
    tab.expect(lambda: tab.frame.evaluate("() => document.activeElement.dataset.testid"), "search")


def test_the_filmstrip_holds_every_step_and_loads_what_is_in_view(viewer: Viewer, visit: Open, logdir: Path) -> None:
    tab = visit(viewer, fragment=link(0, step=0))
    asked: list[str] = []
    tab.page.on("request", lambda request: asked.append(request.url) if "/film?" in request.url else None)
    wait(tab, 0)
    tab.frame.wait_for_selector(f"[data-testid=film][data-steps='{len(STEPS)}']")
    run = lrp.open_run(logdir / "shortcut")
    for step in (0, 3):
        selector = f"canvas[data-thumb='{step}'][data-run='shortcut/lrp']"
        tab.frame.wait_for_selector(f"{selector}[data-painted='{step}']")
        relevance = run.heatmap(0, step)
        tab.expect_colours(selector, seismic(relevance, np.abs(relevance).max()))
    tab.expect(lambda: tab.all("[data-testid=film-70]", "1"), [])
    assert not any("steps=24" in url or "%2C70" in url for url in asked)
    tab.expect_text("film-12", "not stored")
    tab.frame.eval_on_selector("[data-testid=film]", "box => { box.scrollLeft = box.scrollWidth; }")  # settled: an act
    tab.frame.wait_for_selector("canvas[data-thumb='70'][data-painted='70']")
    tab.frame.click("[data-testid=film-60]")
    wait(tab, 60)
    tab.expect(lambda: tab.hash_parameters()["step"], "60")
    words = "shortcut predicts cat, probability of cat 31 %"
    tab.expect(lambda: [words in label for label in tab.all("[data-testid=film-60]", "e.ariaLabel")], [True])


def test_the_step_that_is_shown_stays_in_view(viewer: Viewer, visit: Open) -> None:
    tab = visit(viewer, fragment=link(0))
    wait(tab, 70)
    for key, step in (("Home", 0), ("End", 70), ("Shift+ArrowLeft", STEPS[-11])):
        tab.page.keyboard.press(key)
        wait(tab, step)
        tab.expect(
            lambda step=step: tab.frame.eval_on_selector(
                f"[data-testid=film-{step}]",
                """cell => { const a = cell.getBoundingClientRect();
                     const b = document.querySelector('[data-testid=film]').getBoundingClientRect();
                     return a.left >= b.left - 1 && a.right <= b.right + 1; }""",
            ),
            True,
        )


def test_layers_stand_in_data_flow_order_with_their_values(viewer: Viewer, visit: Open) -> None:
    tab = visit(viewer, fragment=link(2, step=30, runs="plain%252Flrp"))
    wait(tab, 30)
    tab.frame.wait_for_selector("[data-testid=layers]")
    rows = [["conv/deep", "−0.250"], ["a, b", "−0.500"], ["top", "−0.750"]]
    read = "[e.dataset.layer, e.querySelector('.layer-values').innerText]"
    tab.expect(lambda: tab.all("[data-testid=layers] li", read), rows)


def test_channels_have_the_stored_colours_on_one_scale(viewer: Viewer, visit: Open, logdir: Path) -> None:
    tab = visit(viewer, fragment=link(1, step=5, runs="plain%252Flrp"))
    wait(tab, 5)
    channels = lrp.open_run(logdir / "plain").channels(5)[1]
    largest = np.abs(channels).max()
    for c in range(CHANNELS):
        tab.frame.wait_for_selector(f"[data-testid=channel-{c}][data-painted='5']")
        tab.expect_colours(f"[data-testid=channel-{c}]", seismic(channels[..., c], largest))
    share = np.abs(channels).sum((0, 1)) / np.abs(channels).sum()
    tab.expect(lambda: f"Red {100 * share[0]:.0f} %" in tab.frame.inner_text(".channel-row"), True)


def test_curves_tell_prediction_probability_and_mask(viewer: Viewer, visit: Open) -> None:
    tab = visit(viewer, fragment=link(0, step=30, runs="shortcut%252Flrp"))
    wait(tab, 30)
    tab.frame.wait_for_selector("[data-testid=over-mass]")
    sentences = ("shortcut predicts dog from step 0 to 20", "shortcut predicts cat from step 20 to 70")
    for words in sentences:
        tab.expect(lambda words=words: words in (tab.frame.text_content("[data-testid=over-probability]") or ""), True)
    for at, share in enumerate(("28 %", "45 %")):
        tab.expect(lambda at=at, share=share: share in tab.all(".over-time .readout", "e.innerText")[at], True)
    limit = "Alert above this share of “corner”"
    tab.expect(lambda: limit in (tab.frame.text_content("[data-testid=over-mass]") or ""), True)
    box = tab.box("[data-testid=over-probability]")
    tab.page.mouse.click(box["x"] + box["width"] - 12, box["y"] + 40)
    wait(tab, 70)
    tab.page.keyboard.press("PageDown")
    tab.frame.wait_for_selector("[data-testid=probe-view][aria-label='Probe second']")
    tab.frame.wait_for_selector("[data-testid=over-mass]", state="detached")


def test_a_run_without_layers_and_channels_says_how_to_get_them(viewer: Viewer, visit: Open) -> None:
    tab = visit(viewer, fragment=link(0, runs="zz%2520old%252Flrp"))
    wait(tab, 70)
    tab.frame.wait_for_selector("[data-testid=over-probability] .line")
    tab.expect(lambda: 'relevance_layers="all"' in tab.frame.inner_text(".layers"), True)
    tab.expect(lambda: "channels=True" in tab.frame.inner_text(".channels"), True)


def test_the_png_shows_input_and_heatmaps_of_this_step(viewer: Viewer, visit: Open, logdir: Path) -> None:
    tab = visit(viewer, fragment=link(1, step=7, runs="plain%252Flrp,shortcut%252Flrp"))
    wait(tab, 7)
    name, content = saved(tab, "png")
    assert name == "second-step-7.png"
    picture = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    factor = 40  # 320 pixels for 8
    left = 12
    cells = [np.random.default_rng(5).integers(0, 256, (3, *SHAPE, 3), dtype=np.uint8)[1].astype(float)]
    for run in ("plain", "shortcut"):
        relevance = lrp.open_run(logdir / run).heatmap(1, 7)
        cells.append(seismic(relevance, np.abs(relevance).max()))
    for cell in cells:
        shown = picture[36 + factor // 2 : 36 + 6 * factor : factor, left + factor // 2 : left + 8 * factor : factor]
        np.testing.assert_allclose(shown, cell, atol=2.01)
        left += 8 * factor + 12
    assert picture.shape == (12 + 24 + 240 + 22, left, 3)


def test_the_gif_shows_every_step(viewer: Viewer, visit: Open, logdir: Path) -> None:
    tab = visit(viewer, fragment=link(2, runs="plain%252Flrp", speed="8"))
    wait(tab, 70)
    name, content = saved(tab, "gif")
    assert name == "third.gif"
    run = lrp.open_run(logdir / "plain")
    factor = 24
    with Image.open(io.BytesIO(content)) as film:
        assert (film.format, film.n_frames, film.info["loop"]) == ("GIF", len(STEPS), 0)
        for number, step in enumerate(STEPS):
            film.seek(number)
            assert film.info["duration"] == (1200 if step == 70 else 130)
            if step == 12:
                continue
            picture = np.asarray(film.convert("RGB")).astype(float)
            left = 12 + 8 * factor + 12
            shown = picture[
                36 + factor // 2 : 36 + 6 * factor : factor, left + factor // 2 : left + 8 * factor : factor
            ]
            relevance = run.heatmap(2, step)
            # 256 colours for the whole film
            assert np.abs(shown - seismic(relevance, np.abs(relevance).max())).max() < 26, step
    tab.expect(lambda: tab.text("export-status"), "Saved as GIF.")


def test_the_npz_holds_the_arrays_as_stored(viewer: Viewer, visit: Open, logdir: Path) -> None:
    tab = visit(viewer, fragment=link(0, runs="plain%252Flrp,shortcut%252Flrp"))
    wait(tab, 70)
    tab.frame.wait_for_selector("[data-testid=over-mass]")
    name, content = saved(tab, "npz")
    assert name == "first.npz"
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        assert (arrays["runs"].tolist(), arrays["probe"].tolist()) == (["plain", "shortcut"], ["first"])
        for number, run_name in enumerate(("plain", "shortcut")):
            run = lrp.open_run(logdir / run_name)
            steps, film = run.film(0)
            np.testing.assert_array_equal(arrays[f"{number}/steps"], steps)
            assert arrays[f"{number}/relevance"].dtype == np.float32
            np.testing.assert_allclose(arrays[f"{number}/relevance"], film, rtol=2e-7, atol=0)
            logged, values = run.statistic("probability")
            np.testing.assert_array_equal(arrays[f"{number}/logged_steps"], logged)
            np.testing.assert_array_equal(arrays[f"{number}/probability"], values[:, 0])
            np.testing.assert_array_equal(arrays[f"{number}/layer/a, b"], run.statistic("layer/a, b")[1][:, 0])
        probes = lrp.open_run(logdir / "plain").probes
        np.testing.assert_array_equal(arrays["input"], probes.images[0])
        np.testing.assert_array_equal(arrays["masks"], probes.masks["corner"][:1])
        assert arrays["mask_names"].tolist() == ["corner"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1024, 2560])
def test_texts_can_be_read_and_nothing_sticks_out(viewer: Viewer, visit: Open, scheme: str, width: int) -> None:
    tab = visit(viewer, fragment=link(0, step=9), viewport={"width": width, "height": 900}, color_scheme=scheme)
    wait(tab, 9)
    tab.frame.wait_for_selector("[data-testid=layers]")
    sticks_out = "() => document.documentElement.scrollWidth > window.innerWidth"
    tab.expect(lambda: tab.frame.evaluate(sticks_out), False)
    view = "document.querySelector('[data-testid=probe-view]')"
    tab.expect(lambda: tab.frame.evaluate(f"() => {view}.scrollWidth > {view}.clientWidth"), False)
    poor = """() => {
          const probe = document.createElement('canvas').getContext('2d');
          const rgba = colour => { probe.clearRect(0, 0, 1, 1); probe.fillStyle = colour; probe.fillRect(0, 0, 1, 1);
                                   return [...probe.getImageData(0, 0, 1, 1).data]; };
          const ground = el => { for (let e = el; e; e = e.parentElement) {
            const c = rgba(getComputedStyle(e).backgroundColor); if (c[3] > 250) return c; } return [255, 255, 255]; };
          const lum = c => [0, 1, 2].map(i => c[i] / 255)
            .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
            .reduce((s, v, i) => s + v * [.2126, .7152, .0722][i], 0);
          const out = [];
          for (const el of document.querySelectorAll('.probe-view *')) {
            const own = [...el.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
            if (!own || el.closest('title, svg') || el.disabled || !el.getClientRects().length) continue;
            const [a, b] = [lum(rgba(getComputedStyle(el).color)), lum(ground(el))].sort((x, y) => y - x);
            if ((a + .05) / (b + .05) < 4.5) out.push(el.className + ': ' + el.textContent.slice(0, 30));
          }
          return out;
        }"""
    tab.expect(lambda: tab.frame.evaluate(poor), [])


def test_hostile_names_are_texts(tmp_path: Path, view: View, visit: Open) -> None:
    write_run(tmp_path / "run", 4, names=(HOSTILE, "b", "c"))
    tab = visit(view(tmp_path), fragment=link(0))
    wait(tab, 70)
    tab.expect(lambda: tab.frame.inner_text("[data-testid=probe-view] h2"), HOSTILE.strip())
    tab.expect(lambda: tab.all("img", "e.outerHTML"), [])
    tab.expect(lambda: tab.frame.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth"), True)
    name, content = saved(tab, "png")
    assert name == "img_src_x_onerror_console.error_1_quoted_long_long_long_long_-step-70.png"[: len(name) - 4] + ".png"
    assert Image.open(io.BytesIO(content)).format == "PNG"
