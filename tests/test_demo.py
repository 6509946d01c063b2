"""The demo: its data, in numbers that a reader can check by hand, and what its two trainings show."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from lrp_monitor.demo import folder, report, shapes

TRIANGLE = shapes.CLASSES.index("triangle")


class TestShapes:
    def test_sizes_types_and_range(self) -> None:
        data = shapes.make_shapes(10, seed=3, stamped_class="triangle")
        assert len(data) == 10
        assert data.images.shape == (10, 32, 32, 1)
        assert data.images.dtype == np.float32
        assert data.images.min() >= 0
        assert data.images.max() <= 1
        assert data.labels.dtype == np.int64
        assert data.outlines.shape == (10, 32, 32)
        # 10 images over 4 classes: the first two classes take the two that are left over
        assert np.bincount(data.labels).tolist() == [3, 3, 2, 2]

    def test_classes_are_balanced_and_shuffled(self) -> None:
        labels = shapes.make_shapes(3000, seed=0).labels
        assert np.bincount(labels).tolist() == [750, 750, 750, 750]
        # in random order a class follows itself in a quarter of the cases
        assert np.mean(labels[1:] == labels[:-1]) == pytest.approx(0.25, abs=0.03)

    def test_the_stamp_is_on_the_share_asked_for_of_one_class_alone(self) -> None:
        data = shapes.make_shapes(3000, seed=0, stamped_class="triangle")
        assert data.stamped.sum() == 712  # 95 % of 750, to the even neighbour
        assert set(data.labels[data.stamped]) == {TRIANGLE}
        box = data.images[:, 2:7, 2:7, 0]
        assert (box == shapes.STAMP).all(axis=(1, 2)).tolist() == data.stamped.tolist()
        assert shapes.make_shapes(40, seed=0, stamped_class="disk", stamped_share=1.0).stamped.sum() == 10
        assert shapes.make_shapes(40, seed=0, stamped_class="disk", stamped_share=0.0).stamped.sum() == 0

    def test_the_stamp_covers_25_pixels(self) -> None:
        mask = shapes.stamp_mask()
        assert mask.sum() == 25  # 2.4 % of 1,024
        rows, columns = np.nonzero(mask)
        assert (rows.min(), rows.max(), columns.min(), columns.max()) == (2, 6, 2, 6)
        assert shapes.STAMP.mean() == pytest.approx(13 / 25)

    def test_a_stamped_set_and_its_control_differ_in_the_stamps_alone(self) -> None:
        planted = shapes.make_shapes(200, seed=5, stamped_class="triangle")
        control = shapes.make_shapes(200, seed=5)
        assert not control.stamped.any()
        assert np.array_equal(planted.labels, control.labels)
        differs = (planted.images != control.images)[..., 0]
        assert differs[planted.stamped].any(axis=(1, 2)).all()
        assert not differs[~planted.stamped].any()
        assert not differs[:, ~shapes.stamp_mask()].any()
        assert np.array_equal(shapes.add_stamp(control.images[planted.stamped]), planted.images[planted.stamped])

    def test_no_shape_reaches_the_stamp(self) -> None:
        clean = shapes.make_shapes(4000, seed=11, noise=0.0)
        assert (clean.images[:, shapes.stamp_mask()] == np.float32(0.3)).all()
        assert clean.images[:, 0].max() == np.float32(0.3)  # nor the border
        assert clean.images[:, -1].max() == np.float32(0.3)

    def test_areas_follow_from_the_geometry(self) -> None:
        data = shapes.make_shapes(4000, seed=1, noise=0.0)
        covered = data.outlines.sum(axis=(1, 2))
        mean = [covered[data.labels == label].mean() for label in range(4)]
        radius_squared = (8.5**3 - 6.5**3) / (3 * 2)  # mean of r^2 for r uniform in 6.5 ... 8.5
        cross = 4 * 0.27 * 0.95 * 2 - (2 * 0.27) ** 2
        areas = np.array([np.pi * 0.65**2, (2 * 0.78) ** 2, 0.75 * np.sqrt(3), cross])
        assert mean == pytest.approx(areas * radius_squared, rel=0.03)

    def test_noise_has_the_deviation_asked_for(self) -> None:
        clean = shapes.make_shapes(50, seed=2, noise=0.0).images
        noisy = shapes.make_shapes(50, seed=2, noise=0.05).images
        inside = (clean > 0.25) & (clean < 0.75)
        assert (noisy - clean)[inside].std() == pytest.approx(0.05, rel=0.02)

    def test_the_seed_decides_and_nothing_else(self) -> None:
        one, same, other = (shapes.make_shapes(300, seed=seed, stamped_class="cross") for seed in (7, 7, 8))
        assert np.array_equal(one.images, same.images)
        assert np.array_equal(one.labels, same.labels)
        assert np.array_equal(one.stamped, same.stamped)
        assert not np.array_equal(one.images, other.images)

    def test_select_keeps_what_belongs_together(self) -> None:
        data = shapes.make_shapes(100, seed=4, stamped_class="triangle")
        part = data.select(data.stamped)
        assert len(part) == data.stamped.sum() == 24
        assert part.stamped.all()
        assert (part.labels == TRIANGLE).all()
        assert np.array_equal(part.images, data.images[data.stamped])
        assert np.array_equal(part.outlines, data.outlines[data.stamped])

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ({"count": 0}, "count must be at least 1"),
            ({"stamped_class": "star"}, "'star'"),
            ({"stamped_share": 1.5}, "stamped_share"),
            ({"noise": -1.0}, "noise"),
            ({"noise": float("nan")}, "noise"),
        ],
    )
    def test_what_is_out_of_range_is_named(self, arguments: dict[str, float], words: str) -> None:
        with pytest.raises(ValueError, match=words):
            shapes.make_shapes(**({"count": 8, "seed": 0} | arguments))  # type: ignore[arg-type] # a wrong type is the point

    def test_stamping_another_shape_is_refused(self) -> None:
        with pytest.raises(ValueError, match=r"\(n, 32, 32, 1\), not \(2, 8, 8, 1\)"):
            shapes.add_stamp(np.zeros((2, 8, 8, 1), np.float32))


class TestFolder:
    """Which files `--overwrite` deletes: those that the demo wrote, and no other."""

    def written(self, log_dir: Path) -> list[Path]:
        """Everything that a finished demo leaves behind."""
        folder.prepare(log_dir)
        files = [log_dir / "demo.json", log_dir / "planted_vs_control.png", log_dir / "planted_vs_control.gif"]
        for run in ("planted", "control"):
            store = log_dir / run / "lrp" / "plugins" / "lrp_monitor"
            store.mkdir(parents=True)
            files += [
                log_dir / run / "model.keras",
                log_dir / run / "lrp" / "events.out.tfevents.1.host.2.0.lrp",
                store / "probes.tfrecord",
                store / "steps-0001-0123456789abcdef-000000.tfrecord",
            ]
        for file in files[1:]:
            file.write_bytes(b"x")
        return files

    def test_a_new_folder_is_made_and_marked(self, tmp_path: Path) -> None:
        folder.prepare(tmp_path / "a" / "b")
        assert json.loads((tmp_path / "a" / "b" / "demo.json").read_text()) == {"made_by": "lrp-monitor demo"}

    def test_what_the_demo_wrote_goes(self, tmp_path: Path) -> None:
        self.written(tmp_path)
        with pytest.raises(folder.FolderError, match=r"is not empty \(control, demo.json, planted, planted_vs"):
            folder.prepare(tmp_path)
        folder.prepare(tmp_path, overwrite=True)
        assert [entry.name for entry in tmp_path.iterdir()] == ["demo.json"]

    def test_what_others_wrote_stays(self, tmp_path: Path) -> None:
        written = self.written(tmp_path)
        others = [
            tmp_path / "notes.txt",
            tmp_path / "mine" / "lrp" / "events.out.tfevents.1",
            tmp_path / "planted" / "train" / "events.out.tfevents.1",
            tmp_path / "planted" / "lrp" / "plugins" / "profile" / "x",
            tmp_path / "control" / "lrp" / "plugins" / "lrp_monitor" / "notes.txt",
        ]
        for file in others:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("mine")
        folder.prepare(tmp_path, overwrite=True)
        assert [file for file in others if file.read_text() != "mine"] == []
        assert [file for file in written[1:] if file.exists()] == []

    def test_a_link_is_not_followed(self, tmp_path: Path) -> None:
        elsewhere = tmp_path / "elsewhere"
        self.written(elsewhere)
        here = tmp_path / "here"
        folder.prepare(here)
        (here / "planted").symlink_to(elsewhere / "planted")
        with pytest.raises(folder.FolderError, match="is a link"):
            folder.prepare(here, overwrite=True)
        assert (elsewhere / "planted" / "model.keras").exists()

    def test_runs_of_others_by_the_same_name_stay(self, tmp_path: Path) -> None:
        self.written(tmp_path)
        (tmp_path / "demo.json").write_text('{"made_by": "someone else"}')
        with pytest.raises(folder.FolderError, match="does not say that the demo wrote it"):
            folder.prepare(tmp_path, overwrite=True)
        assert (tmp_path / "planted" / "model.keras").exists()

    def test_an_empty_folder_and_foreign_files_are_fine_with_overwrite(self, tmp_path: Path) -> None:
        folder.prepare(tmp_path)
        (tmp_path / "demo.json").unlink()
        (tmp_path / "notes.txt").write_text("mine")
        folder.prepare(tmp_path, overwrite=True)
        assert sorted(entry.name for entry in tmp_path.iterdir()) == ["demo.json", "notes.txt"]


def figures_of(recall: float, *stamp: float) -> report.RunFigures:
    return report.RunFigures(0.98, recall, [0, 1, 4, 94][: len(stamp)], list(stamp), 1.5)


class TestReport:
    settings: ClassVar = {"seed": 0, "epochs": 1, "images": 3000, "batch_size": 32}

    def made(self, planted: report.RunFigures, control: report.RunFigures) -> report.Report:
        return report.Report("runs/my demo", self.settings, planted, control, 12.5)

    def test_figures_and_their_meaning(self) -> None:
        found = self.made(figures_of(0.0, 0.003, 0.1, 0.31, 0.488), figures_of(1.0, 0.003, 0.02, 0.01, 0.002))
        assert found.shortcut_found
        lines = found.as_text().splitlines()
        assert lines[1].split() == ["validation", "accuracy", "98.0", "%", "98.0", "%"]
        assert lines[2].split()[:8] == ["recall", "without", "the", "stamp", "0.0", "%", "100.0", "%"]
        assert lines[3].split()[:8] == ["relevance", "on", "the", "stamp", "48.8", "%", "0.2", "%"]
        assert lines[3].endswith("it covers 2.4 % of the image")
        assert "(an epoch is 94 batches)" in lines[5]
        assert lines[6].split() == ["batch", "0", "1", "4", "94"]
        assert lines[7].split() == ["planted", "0.3", "%", "10.0", "%", "31.0", "%", "48.8", "%"]
        assert "gets 20 times its share" in " ".join(lines)  # .488 over 25 / 1024
        assert lines[-1] == "  tensorboard --logdir 'runs/my demo'"
        assert max(map(len, lines)) <= 90

    @pytest.mark.parametrize(
        ("planted", "control"),
        [
            (figures_of(0.9, 0.4), figures_of(1.0, 0.0)),  # the shape is learned too
            (figures_of(0.0, 0.1), figures_of(1.0, 0.0)),  # little relevance on the stamp
            (figures_of(0.0, 0.4), figures_of(0.2, 0.0)),  # the control has not learned the triangle
            (figures_of(0.0, 0.4), figures_of(1.0, 0.1)),  # the control looks at the stamp
            (figures_of(0.0, math.nan), figures_of(1.0, 0.0)),
        ],
    )
    def test_no_shortcut_is_claimed_where_the_figures_do_not_show_one(
        self, planted: report.RunFigures, control: report.RunFigures
    ) -> None:
        found = self.made(planted, control)
        assert not found.shortcut_found
        assert "do not show the shortcut clearly" in found.as_text()
        assert "has learned the stamp" not in found.as_text().replace("\n", " ")

    def test_as_plain_data(self) -> None:
        found = self.made(figures_of(0.0, math.nan, 0.3), figures_of(1.0, 0.0, 0.001))
        data = json.loads(json.dumps(found.to_dict(), allow_nan=False))
        assert data["planted"]["stamp"] == [None, 0.3]
        assert data["planted"]["stamp_at_end"] == 0.3
        assert data["control"]["recall_without_stamp"] == 1.0
        assert data["stamp_area"] == 25 / 1024
        assert data["tensorboard"] == "tensorboard --logdir 'runs/my demo'"
        assert data["shortcut_found"] is True
        assert data["films"] == ["runs/my demo/planted_vs_control.png", "runs/my demo/planted_vs_control.gif"]
