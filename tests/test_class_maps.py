"""Labels and predictions of an output of maps as pictures, arrays and lines, out of a logged run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import lrp_monitor as lrp
from lrp_monitor.cli.main import main
from lrp_monitor.pictures import film
from lrp_monitor.pictures.classes import class_colour, paint_classes
from lrp_monitor.pictures.logged import strip_of
from lrp_monitor.store.format import InputInfo, ProbeInfo, StepRecord
from lrp_monitor.store.writer import RunWriter

N, SIDE, STEPS = 2, 4, (0, 1)
LABELS = np.zeros((N, SIDE, SIDE), np.int64)
LABELS[:, :2], LABELS[1, 3] = 1, -1
PREDICTED = np.stack([np.full((N, SIDE, SIDE), step + 1) for step in STEPS])
PREDICTED[1, 0, 0, 0] = 0


def over(label: int, grey: int) -> list[int]:
    """The colour of a class over grey, 150 of 255."""
    return [int(np.floor(grey + 150 / 255 * (channel - grey) + 0.5)) for channel in class_colour(label)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classes") / "a"
    probes = ProbeInfo(
        names=["first", "second"],
        labels=None,
        class_names=["ground", "road", "sky"],
        images=np.full((N, SIDE, SIDE, 1), 90, np.uint8),
        masks={},
        map_shape=(SIDE, SIDE),
        hash="ab" * 32,
        inputs=[InputInfo("inputs", "image", (SIDE, SIDE), (SIDE, SIDE, 1))],
        label_maps=LABELS,
    )
    with RunWriter(folder / "lrp", probes, meta={"explains": "region"}, encoding="float32") as writer:
        for step in STEPS:
            maps = np.ones((N, SIDE, SIDE), np.float32)
            found = {"logit": np.ones(N), "sum": np.ones(N), "absmax": np.ones(N)}
            writer.append(StepRecord(step, step, step, 1.0, maps, found, {}, predicted_maps=PREDICTED[step]))
    return folder


def test_classes_over_a_picture() -> None:
    picture = np.full((2, 2, 3), (10, 200, 30), np.uint8)
    grey = int(np.asarray(Image.fromarray(picture).convert("L"))[0, 0])
    painted = paint_classes(np.array([[[0, 1], [-1, 2]]]), picture, (4, 4))
    assert painted.shape == (1, 4, 4, 3)
    wanted = [[[grey] * 3, over(1, grey)], [over(-1, grey), over(2, grey)]]
    assert painted[0, ::2, ::2].tolist() == wanted
    assert painted[0, 1::2, 1::2].tolist() == wanted
    # a volume is laid out as its pictures are, a row of places is a row
    assert paint_classes(np.ones((1, 4, 3, 3), int), None, (6, 6)).shape == (1, 6, 6, 3)
    assert paint_classes(np.ones((1, 5), int), None, (10, 20))[0, 9, 19].tolist() == over(1, 255)


def test_a_film_has_labels_and_predictions_of_every_step(run: Path) -> None:
    strip = strip_of(lrp.open_run(run), 0, STEPS, "first")
    assert strip.draw is None
    sheet = film.sheet([strip], ["0", "1"])
    side = 112
    for label, count in ((1, 1.5), (2, 1 - 1 / 16)):  # half the labels and all of step 0, and of step 1 all but a place
        assert (sheet == over(label, 90)).all(-1).sum() == pytest.approx(count * side * side)
    frames = film.frames([strip], ["0", "1"])
    assert len({frame.shape for frame in frames}) == 1
    for frame, (road, sky) in zip(frames, ((1.5, 0), (0.5, 15 / 16)), strict=True):
        shares = [(frame == over(label, 90)).all(-1).sum() / side**2 for label in (1, 2)]
        assert shares == pytest.approx([road, sky])
        assert (frame == class_colour(1)).all(-1).sum() >= 90  # the key
    with pytest.raises(ValueError, match="1 predicted maps, but 2 labels"):
        film.sheet([film.Strip("a", strip.maps, predicted=strip.predicted[:1])], ["0", "1"])


def test_files_and_lines_of_a_run(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(run), "-o", str(tmp_path / "a.npz")]) == 0
    with np.load(tmp_path / "a.npz") as arrays:
        np.testing.assert_array_equal(arrays["labels"], LABELS)
        np.testing.assert_array_equal(arrays["predicted"], PREDICTED.swapaxes(0, 1))
    assert main(["export", str(run), "-o", str(tmp_path / "a.png")]) == 0
    assert (np.asarray(Image.open(tmp_path / "a.png")) == over(2, 90)).all(-1).any()
    capsys.readouterr()
    assert main(["show", str(run), "--maps", "--probe", "second"]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert lines[lines.index("predicted") + 1].split() == ["1" * 8, "2" * 8]
    at = lines.index("labels")
    assert lines[at + 1 : at + 5] == ["1" * 8, "1" * 8, "." * 8, "?" * 8]
    assert lines[-1] == "classes   . ground, 1 road, 2 sky"
    assert 'src="data:image/png' in lrp.open_run(run)._repr_html_()
