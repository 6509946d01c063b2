"""Series, texts, tables, volumes, several inputs on the page: drawn as what they are, read off, of a fit size."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser_helpers import Open, TensorBoard, View, Viewer, Visit
from PIL import Image

import lrp_monitor as lrp
from lrp_monitor.pictures.classes import class_colour
from lrp_monitor.store.format import InputInfo, ProbeInfo, StepRecord
from lrp_monitor.store.writer import RunWriter
from lrp_monitor.training.output.event_file import EventWriter

pytestmark = pytest.mark.browser

RNG = np.random.default_rng(1)
N = 2
STEPS = (0, 1, 4)
FEATURES = [f"column {i}" for i in range(200)]


def series(channels: int) -> InputInfo:
    times = np.arange(200) / 200
    waves = [np.sin(2 * np.pi * (3 + c) * times + p) for p in range(N) for c in range(channels)]
    values = np.array(waves, np.float32).reshape(N, channels, 200).transpose(0, 2, 1)
    return InputInfo(
        "inputs", "series", (200, channels), (200, channels), [f"sensor {c}" for c in range(channels)], values=values
    )


def text(length: int) -> InputInfo:
    words = [
        "the",
        "lantern",
        "burns",
        "over",
        "a",
        "quiet",
        "unforgettable",
        "river",
        ",",
        "and",
        "nobody",
        "sees",
        "it",
    ]
    tokens = [[words[int(i)] for i in RNG.integers(0, len(words), length)] for _ in range(N)]
    return InputInfo("inputs", "tokens", (length,), (length,), tokens=tokens, values=np.zeros((N, length), np.float32))


def three_lines() -> InputInfo:
    """Nine tokens of which the eighth is as long as a line, and so the second one."""
    tokens = [[*"abcdefg", 6 * "unforgettable", "h"]] * N
    return InputInfo("inputs", "tokens", (9,), (9,), tokens=tokens, values=np.zeros((N, 9), np.float32))


def table(count: int) -> InputInfo:
    values = RNG.normal(size=(N, count)).astype(np.float32)
    return InputInfo("inputs", "table", (count,), (count,), FEATURES[:count], values=values)


def write(
    folder: Path,
    inputs: Sequence[InputInfo],
    images: np.ndarray,
    *,
    numbers: bool = False,
    scale: float = 1.0,
    channels: int = 0,
    outputs: Mapping[str, Any] | None = None,
    columns_of: Callable[[int], dict[str, np.ndarray]] | None = None,
) -> None:
    """Logs STEPS of two probes: at place 7 of the first map relevance grows with the step, elsewhere it is small.

    `outputs`: what the probes say of the model's output, in place of the usual; `columns_of`: statistics by the step.
    """
    size = sum(int(np.prod(one.map_shape)) for one in inputs)
    shape = inputs[0].map_shape if len(inputs) == 1 else (size,)
    probes = ProbeInfo(
        names=["first", "second"],
        labels=None if numbers else np.array([0, 1]),
        class_names=None if numbers else ["cat", "dog"],
        images=images,
        masks={},
        map_shape=tuple(shape),
        hash=hashlib.sha256(folder.parent.name.encode()).hexdigest(),
        inputs=list(inputs),
        numbers=np.array([[2.5], [-1.0]]) if numbers else None,
    )
    probes = replace(probes, **(outputs or {}))
    meta = {"composite": "epsilon", "axis": "epoch", "explains": "number" if numbers else "class"}
    events = EventWriter(folder / "lrp")
    with RunWriter(folder / "lrp", probes, meta=meta, encoding="float32") as writer:
        events.start(0, 1.0, {"session": writer.session})
        for step in STEPS:
            maps = np.random.default_rng(step).normal(0, 0.05, (N, size)).astype(np.float32)
            maps[:, 7] = scale * (1 + step)
            maps[:, 3] = -scale
            of = {"output": np.array([2.0, -1.0 + step]), "error": np.array([-0.5, float(step)])}
            classes = {"target": np.arange(2.0), "prediction": np.zeros(2), "probability": np.full(2, 0.75)}
            found = {
                "logit": maps.sum(axis=1).astype(np.float64),
                "conservation": np.ones(2),
                "sum": maps.sum(1).astype(float),
            }
            columns = found | {"absmax": np.abs(maps).max(1).astype(float)} | (of if numbers else classes)
            columns |= columns_of(step) if columns_of else {}
            # All of it in the last channel, of inputs that have that many, else in the first.
            parts = None if channels == 0 else np.zeros((*maps.shape, channels), np.float32)
            if parts is not None:
                at = np.concatenate([np.full(math.prod(i.map_shape), min(i.channels, channels) - 1) for i in inputs])
                parts[:, np.arange(size), at] = maps
            record = StepRecord(step, step, step, 1.0 + step, maps.reshape(N, *shape), columns, {"lrp/drift": 0.1})
            writer.append(replace(record, channels=parts))
    events.close()


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder a kind, two runs where runs are to be compared."""
    folder = tmp_path_factory.mktemp("kinds")
    row = np.zeros((N, 1, 4, 1), np.uint8)
    for channels in (1, 3):
        write(folder / f"series{channels}" / "a", [series(channels)], row)
    write(folder / "text" / "a", [text(512)], row)
    write(folder / "table" / "a", [table(200)], row)
    write(folder / "table" / "b", [table(200)], row, scale=2.0)
    solid = RNG.integers(0, 256, (N, 512, 512, 1), dtype=np.uint8)
    volume = InputInfo("inputs", "volume", (64, 64, 64), (64, 64, 64, 1))
    write(folder / "volume" / "a", [volume], solid)
    pictures = RNG.integers(0, 256, (N, 8, 8, 3), dtype=np.uint8)
    several = [InputInfo("image", "image", (8, 8), (8, 8, 3), pictures=pictures)]
    few = table(5)
    few.name = "person"
    write(folder / "several" / "a", [*several, few], pictures, numbers=True, channels=3)
    segments(folder / "segments" / "a")
    write(folder / "grid" / "a", [InputInfo("inputs", "grid", (2, 3, 8), (2, 3, 8))], pictures)
    write(folder / "words" / "a", [three_lines()], row)
    write(folder / "image" / "a", [InputInfo("inputs", "image", (4, 8), (4, 8, 3))], pictures)
    for run in "ab":
        label_sets(folder / "sets" / run, float(run == "a"))
    position(folder / "place" / "a")
    return folder


def segments(folder: Path) -> None:
    """Two pictures of which each pixel has a label, and is predicted as another class at every step."""
    labels = np.zeros((N, 4, 4), np.int64)
    labels[:, :2], labels[1, 3] = 1, -1
    probes = ProbeInfo(
        names=["first", "second"],
        labels=None,
        class_names=["ground", "road", "sky"],
        images=RNG.integers(0, 256, (N, 4, 4, 3), dtype=np.uint8),
        masks={},
        map_shape=(4, 4),
        hash=hashlib.sha256(b"segments").hexdigest(),
        inputs=[InputInfo("inputs", "image", (4, 4), (4, 4, 3))],
        label_maps=labels,
    )
    meta = {"composite": "epsilon", "axis": "epoch", "explains": "region"}
    events = EventWriter(folder / "lrp")
    with RunWriter(folder / "lrp", probes, meta=meta, encoding="float32") as writer:
        events.start(0, 1.0, {"session": writer.session})
        for step in STEPS:
            found = {"logit": np.ones(N), "conservation": np.ones(N), "sum": np.ones(N), "absmax": np.ones(N)}
            found["label_accuracy"] = np.full(N, 0.75)
            predicted = np.full((N, 4, 4), {0: 0, 1: 1, 4: 2}[step])
            maps = np.full((N, 4, 4), 1 + step, np.float32)
            writer.append(StepRecord(step, step, step, 1.0, maps, found, {"lrp/drift": 0.1}, predicted_maps=predicted))
    events.close()


def label_sets(folder: Path, certain: float) -> None:
    """One sample twice, for its labels cat and bird: both are predicted at the last step alone."""
    sets = np.array([[True, False, True]] * N)

    def columns(step: int) -> dict[str, np.ndarray]:
        predicted = 0b101 if step == 4 else 0b001
        return {
            "target": np.array([0.0, 2.0]),
            "prediction": np.zeros(N),
            "probability": np.array([0.75, 0.25 + 0.125 * step]),
            "right": np.full(N, float(step == 4)),
            "label_accuracy": np.full(N, certain if step == 4 else 2 / 3),
            "predicted_labels/0": np.full(N, float(predicted)),
        }

    names, classes = ["sample 0, cat", "sample 0, bird"], ["cat", "dog", "bird"]
    outputs = {"labels": None, "label_sets": sets, "class_names": classes, "names": names}
    image = np.random.default_rng(2).integers(0, 256, (N, 4, 8, 3), dtype=np.uint8)
    write(folder, [InputInfo("inputs", "image", (4, 8), (4, 8, 3))], image, outputs=outputs, columns_of=columns)


def position(folder: Path) -> None:
    """A text of which the next word is explained, at the last place: "dog" from step 1 on."""
    outputs = {
        "labels": np.array([1, 0]),
        "position": np.array([[-1], [4]]),
        "label_maps": RNG.integers(0, 2, (N, 9)),
    }

    def columns(step: int) -> dict[str, np.ndarray]:
        predicted = np.array([float(step > 0), 1.0])
        return {"target": np.array([1.0, 0.0]), "prediction": predicted, "right": (predicted == [1, 0]).astype(float)}

    write(folder, [three_lines()], np.zeros((N, 1, 4, 1), np.uint8), outputs=outputs, columns_of=columns)


def height(tab: Visit, probe: int = 0) -> float:
    return float(tab.all(f"[data-testid=probe-{probe}]", "e.getBoundingClientRect().height")[0])


def at(tab: Visit, x: float, y: float, probe: int = 0, run: str = "") -> None:
    """Moves the pointer to a place of a cell, in shares of its sides."""
    box = tab.box(f".cell[data-probe='{probe}'][data-run='{run}']")
    tab.page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])


def read_off(tab: Visit) -> tuple[str, float]:
    """What the readout says of the place, and the relevance in the first run."""
    return (
        tab.frame.inner_text("[data-testid=pixel-readout] p", timeout=2000),
        float(tab.all("[data-testid=pixel-readout] strong", "e.dataset.value")[0]),
    )


def opened(visit: Open, server: TensorBoard | Viewer, *runs: str, more: str = "") -> Visit:
    """The tab with these runs alone, at their last step unless `more` of the address says another."""
    chosen = ",".join(run.replace("/", "%252F") for run in runs)
    tab = visit(server, fragment=f"lrp_monitor&p.lrp_monitor.runs={chosen}{more}")
    drawn(tab, int(found[1]) if (found := re.search(r"step=(\d+)", more)) else 4)
    return tab


def drawn(tab: Visit, step: int) -> None:
    """Waits until every heatmap is at `step`."""
    tab.frame.wait_for_function(
        """step => { const all = [...document.querySelectorAll('.cards canvas[data-run]')];
                     return all.length > 0 && all.every(c => c.dataset.step === step); }""",
        arg=str(step),
        timeout=20_000,
    )


@pytest.mark.parametrize(("channels", "at_index"), [(1, (7, 0)), (3, (2, 1))])
def test_a_series_is_a_curve_with_its_relevance_behind(
    logged: Path, view: View, visit: Open, channels: int, at_index: tuple[int, int]
) -> None:
    run = f"series{channels}/a/lrp"
    tab = opened(visit, view(logged), run)
    assert height(tab) <= 320
    time, channel = at_index
    pointed = ((time + 0.5) / 200, (channel + 0.6) / channels, 0, run)
    tab.expect(lambda: (at(tab, *pointed), read_off(tab))[1][1], 5.0)
    assert read_off(tab)[0].startswith(f"time {time}, sensor {channel}: ")
    tab.frame.fill("[data-testid=step-number]", "1")
    tab.frame.press("[data-testid=step-number]", "Enter")
    drawn(tab, 1)
    tab.expect(lambda: (at(tab, *pointed), read_off(tab))[1][1], 2.0)


def test_a_text_is_words_and_folds_to_what_matters(logged: Path, view: View, visit: Open) -> None:
    tab = opened(visit, view(logged), "text/a/lrp")
    tab.expect(lambda: height(tab) <= 400, True)  # of 512 tokens
    label = "e.getAttribute('aria-label')"
    tab.expect(lambda: "text of 512 tokens, most relevant: " in tab.all("[data-testid=heatmap-0]", label)[0], True)
    tab.expect(lambda: (at(tab, 0.02, 0.05, 0, "text/a/lrp"), read_off(tab))[1][0].startswith("token "), True)
    tab.frame.click("[data-testid=open-0]")
    tab.frame.wait_for_selector("[data-testid=probe-view] canvas[data-step='4']")

    def tall() -> float:
        return float(tab.all(".probe-large .kind", "e.getBoundingClientRect().height")[0])

    tab.expect(lambda: 400 < tall() < 900, True)  # all tokens, on one screen
    tab.expect(lambda: height(tab) < tall() + 200, True)


def test_a_table_shows_the_features_that_matter_and_a_way_to_the_rest(logged: Path, view: View, visit: Open) -> None:
    tab = opened(visit, view(logged), "table/a/lrp", "table/b/lrp")
    described = "e.getAttribute('aria-label').includes('row of 200 features, most relevant: column 7 ')"
    tab.expect(lambda: tab.all("[data-testid=heatmap-0]", described), [True, True])
    tab.expect(lambda: (at(tab, 0.9, 0.02, 0, "table/a/lrp"), read_off(tab))[1][0].startswith("column 7 = "), True)
    values = "[e.dataset.run, Number(e.querySelector('strong').dataset.value)]"
    lines = [["table/a/lrp", 5.0], ["table/b/lrp", 10.0]]
    tab.expect(lambda: tab.all("[data-testid=pixel-readout] .line", values), lines)
    tab.frame.check("[data-testid=features-given]")
    tab.expect(lambda: (at(tab, 0.9, 0.02, 0, "table/a/lrp"), read_off(tab))[1][0].startswith("column 3 = "), True)
    tab.frame.click("[data-testid=open-0]")
    tab.frame.wait_for_selector("[data-testid=probe-view] canvas[data-step='4']")
    tab.expect(lambda: tab.all(".probe-large .kind", "e.getBoundingClientRect().height")[0], 200 * 18)


def test_a_volume_is_one_slice_for_all_probes(logged: Path, view: View, visit: Open) -> None:
    run = "volume/a/lrp"
    tab = opened(visit, view(logged), run, more="&p.lrp_monitor.slice=0.0000")
    tab.expect_text("slice-number", "0 of 0")
    # The right half of a cell is the heatmap: its first row, column 7.
    tab.expect(
        lambda: (at(tab, 0.51 + 0.49 * 7.5 / 64, 0.005, 1, run), read_off(tab))[1], ("slice 0, row 0, column 7", 5.0)
    )
    tab.frame.focus("[data-testid=slice]")
    tab.page.keyboard.press("ArrowRight")
    tab.expect_text("slice-number", "1 of 0")
    tab.expect(
        lambda: (at(tab, 0.51 + 0.49 * 7.5 / 64, 0.005, 1, run), read_off(tab))[1][0], "slice 1, row 0, column 7"
    )
    assert abs(read_off(tab)[1]) < 1
    tab.expect(lambda: tab.hash_parameters().get("slice"), "0.0159")


def test_several_inputs_and_a_number_that_is_predicted(logged: Path, view: View, visit: Open) -> None:
    run = "several/a/lrp"
    tab = opened(visit, view(logged), run)
    tab.expect_text("caption-0", "predicts\n2.00", "label\n2.50", "error\n−0.500", "Σ R / prediction")
    tab.expect(lambda: (at(tab, 0.97, 0.1, 0, run), read_off(tab))[1], ("image, row 0, column 7", 5.0))
    tab.expect(lambda: (at(tab, 0.9, 0.98, 0, run), read_off(tab))[1][0].startswith("person, column "), True)
    with tab.page.expect_download() as download:
        tab.frame.click("[data-testid=open-0]")
        tab.frame.wait_for_selector("[data-testid=probe-view] canvas[data-step='4']")
        tab.frame.click("[data-testid=export-png]")
    # By channel the image alone; the shares are of all relevance.
    tab.frame.wait_for_selector("[data-testid=channel-2][data-painted='4']")
    tab.expect(lambda: tab.all("[data-testid^=channel-]", "e.dataset.input"), ["image"] * 3)
    parts = lrp.open_run(logged / "several" / "a").channels(4)[0]
    share = np.abs(parts[:64, 2]).sum() / np.abs(parts).sum()
    expected = f"image\nRed 0 %\nGreen 0 %\nBlue {100 * share:.0f} %"
    tab.expect(lambda: expected in tab.frame.inner_text(".channel-row"), True)
    reds = [f"[data-testid=channel-{channel}]" for channel in (2, 0)]
    tab.expect(lambda: (tab.pixels(reds[0])[0, 7, 0], tab.pixels(reds[1]).min()), (128, 255))
    assert Path(download.value.path()).stat().st_size > 5_000


def test_kinds_in_a_film_and_in_the_dark(logged: Path, view: View, visit: Open) -> None:
    tab = visit(view(logged), fragment="lrp_monitor&p.lrp_monitor.runs=series3%252Fa%252Flrp&p.lrp_monitor.show=film")
    tab.frame.wait_for_selector("[data-testid=film-0-4][data-step='4']")
    tab.expect(lambda: len(np.unique(tab.pixels("[data-testid=film-0-4]").reshape(-1, 4), axis=0)) > 20, True)
    light = tab.pixels("[data-testid=film-0-4]")  # settled: it is drawn
    tab.page.emulate_media(color_scheme="dark")
    tab.expect(lambda: bool(np.array_equal(tab.pixels("[data-testid=film-0-4]"), light)), False)


def test_a_segmentation_has_its_labels_and_what_is_predicted(logged: Path, view: View, visit: Open) -> None:
    tab = opened(visit, view(logged), "segments/a/lrp")
    pixel = "[...e.getContext('2d').getImageData(0, {row}, 1, 1).data]"
    found: list[list[int]] = []

    def colours(test_id: str, row: int) -> list[list[int]]:
        found[:] = tab.all(f"[data-testid={test_id}]", pixel.format(row=row))
        return found

    tab.expect(lambda: [colour[3] > 100 for colour in colours("labels-0", 0)], [True])
    road = found[0]
    tab.expect(lambda: colours("labels-0", 2), [[0, 0, 0, 0]])  # class 0 lets the picture through
    tab.expect(lambda: [max(c[:3]) - min(c[:3]) < 3 for c in colours("labels-1", 3)], [True])  # grey: of no class
    label = "e.getAttribute('aria-label')"
    tab.expect(lambda: tab.all("[data-testid=predicted-0]", label), ["Predicted of first: sky"])
    tab.expect_text("caption-0", "75 %")
    tab.frame.fill("[data-testid=step-number]", "1")
    tab.frame.press("[data-testid=step-number]", "Enter")
    drawn(tab, 1)
    tab.expect(lambda: colours("predicted-0", 3)[0][:3], road[:3])  # road everywhere


def over_grey(label: int, picture: np.ndarray) -> np.ndarray:
    """The colours of a class over a picture in grey."""
    grey = np.floor(picture[..., :3] @ [0.299, 0.587, 0.114] + 0.5)[..., None]
    return grey + 150 / 255 * (np.array(class_colour(label)) - grey)


def test_maps_of_classes_in_a_film_and_in_files(logged: Path, view: View, visit: Open) -> None:
    probes = lrp.open_run(logged / "segments" / "a").probes
    tab = opened(visit, view(logged), "segments/a/lrp", more="&p.lrp_monitor.step=1")
    road = over_grey(1, probes.images[0])
    with tab.page.expect_download() as download:
        tab.frame.click("[data-testid=grid-png]")
    grid = np.asarray(Image.open(download.value.path()).convert("RGB")).astype(float)
    centres = 64 + 33 * np.arange(4) + 16  # cells of 132 pixels: input, labels, heatmap, predicted
    for column, rows in ((1, slice(0, 2)), (3, slice(0, 4))):
        shown = grid[centres[rows]][:, 150 + 142 * column + 33 * np.arange(4) + 16]
        np.testing.assert_allclose(shown, road[rows], atol=2.5)
    tab.frame.get_by_role("radio", name="Film").check(force=True)
    tab.frame.wait_for_selector("[data-testid=film-predicted-0-4][data-step='4']")
    described = "e.getAttribute('aria-label').split(': ')[1]"
    films = "[data-testid^=film-predicted-0]"
    tab.expect(lambda: tab.all(films, described), ["ground", "road", "sky"])
    tab.frame.click("[data-testid=open-0]")
    tab.frame.wait_for_selector("[data-class-thumb='4'][data-painted]")
    files = {}
    for kind in ("png", "gif", "npz"):
        with tab.page.expect_download() as download:
            tab.frame.click(f"[data-testid=export-{kind}]")
        files[kind] = download.value.path()
        tab.expect_text("export-status", f"Saved as {kind.upper()}.")
    with np.load(files["npz"]) as arrays:
        np.testing.assert_array_equal(arrays["labels"], probes.label_maps[0])
        np.testing.assert_array_equal(arrays["predicted"][:, 0, 0], [0, 1, 2])
        assert (arrays["predicted"].shape, arrays["predicted_steps"].tolist()) == ((3, 4, 4), [0, 1, 4])
    png = np.asarray(Image.open(files["png"]).convert("RGB")).astype(float)
    centres = 36 + 80 * np.arange(4) + 40
    for column, rows in ((1, slice(0, 2)), (3, slice(0, 4))):
        shown = png[centres[rows]][:, 12 + 332 * column + 80 * np.arange(4) + 40]
        np.testing.assert_allclose(shown, road[rows], atol=2.5)
    with Image.open(files["gif"]) as film:
        film.seek(2)
        gif = np.asarray(film.convert("RGB")).astype(float)
    shown = gif[36 + 48 * np.arange(4) + 24][:, 12 + 204 * 3 + 48 * np.arange(4) + 24]
    np.testing.assert_allclose(shown, over_grey(2, probes.images[0]), atol=26)  # 256 colours for all steps


EVERY_KIND = {
    "image": (7.5 / 8, 0.5 / 4, "row 0, column 7"),
    "grid": (7.5 / 16, 0.5 / 3, "row 0, column 7"),
    "volume": (0.51 + 0.49 * 7.5 / 64, 0.005, "slice 0, row 0, column 7"),
    "series1": (7.5 / 200, 0.5, "time 7, sensor 0: "),
    "words": (0.1, 0.5, "token 7: "),
    "table": (0.9, 0.02, "column 7 = "),
    "several": (0.97, 0.1, "image, row 0, column 7"),
    "segments": (0.1, 0.1, "row 0, column 0"),
    "sets": (7.5 / 8, 0.5 / 4, "row 0, column 7"),
    "place": (0.1, 0.5, "token 7: "),
}


def test_the_slider_moves_every_kind_and_values_are_read_off(logged: Path, view: View, visit: Open) -> None:
    runs = {kind: f"{kind}/a/lrp" for kind in EVERY_KIND}
    tab = opened(visit, view(logged), *runs.values(), more="&p.lrp_monitor.slice=0.0000")
    for step, value in ((4, 5.0), (1, 2.0)):
        tab.frame.fill("[data-testid=step-number]", str(step))
        tab.frame.press("[data-testid=step-number]", "Enter")
        for kind, (x, y, words) in EVERY_KIND.items():
            read = partial(_read_at, tab, x, y, runs[kind])
            tab.expect(read, partial(_is_read, words, value))


def _read_at(tab: Visit, x: float, y: float, run: str) -> tuple[str, float]:
    at(tab, x, y, 0, run)
    return read_off(tab)


def _is_read(words: str, value: float, found: tuple[str, float]) -> bool:
    return found[0].startswith(words) and found[1] == value


def test_sets_of_labels_with_a_probe_for_each(logged: Path, view: View, visit: Open) -> None:
    tab = opened(visit, view(logged), "sets/a/lrp", "sets/b/lrp")
    for probe, explained in enumerate(("cat", "bird")):
        tab.expect_text(f"probe-{probe}", f"sample 0, {explained}\nlabel cat, bird")
        tab.expect_text(f"caption-{probe}", "right:\ncat, bird", f"P({explained})", "75 %", "labels right\n100 %")
    tab.frame.fill("[data-testid=step-number]", "1")
    tab.frame.press("[data-testid=step-number]", "Enter")
    drawn(tab, 1)
    tab.expect_text("caption-1", "wrong:\ncat\n", "P(bird)\n38 %", "labels right\n67 %")
    tab.frame.click("[data-testid=open-1]")
    tab.frame.wait_for_selector("[data-testid=over-probability] .line")
    expected = "a predicts cat from step 0 to 4"
    tab.expect(lambda: expected in (tab.frame.text_content("[data-testid=over-probability]") or ""), True)
    tab.expect(lambda: "bird" in tab.frame.inner_text(".probe-head"), True)


def test_a_word_at_a_place(logged: Path, view: View, visit: Open) -> None:
    tab = opened(visit, view(logged), "place/a/lrp")
    tab.expect_text("caption-0", "right:\ndog", "P(dog)", "position\nlast")
    tab.expect_text("caption-1", "wrong:\ndog", "P(cat)", "position\n4")
    tab.expect(lambda: tab.all("[data-testid^=labels-]", "1"), [])  # the label of the place is the probe's
    tab.page.keyboard.press("Home")
    drawn(tab, 0)
    tab.expect_text("caption-0", "wrong:\ncat\n")
