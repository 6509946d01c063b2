"""Colours, PNG, outlines, filmstrips and GIF, down to the pixel."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from lrp_monitor.files import write_whole
from lrp_monitor.pictures import film, render


def opened(data: bytes) -> NDArray[np.uint8]:
    return np.array(Image.open(io.BytesIO(data)))


class TestColours:
    @pytest.mark.parametrize(
        ("name", "lowest", "centre", "highest"),
        [
            ("seismic", (0, 0, 77), (255, 255, 255), (128, 0, 0)),
            ("safe", (38, 14, 92), (248, 248, 246), (120, 48, 4)),
            ("dark", (170, 214, 255), (10, 10, 12), (255, 214, 150)),
        ],
    )
    def test_the_ends_and_the_centre(
        self, name: str, lowest: tuple[int, ...], centre: tuple[int, ...], highest: tuple[int, ...]
    ) -> None:
        assert render.colours([-1.0, 0.0, 1.0], name).tolist() == [list(lowest), list(centre), list(highest)]
        assert render.colours([-7.0, 7.0], name).tolist() == [list(lowest), list(highest)]

    def test_between_the_anchors(self) -> None:
        # a quarter is half way from white to full red; three quarters half way from there to (128, 0, 0)
        assert render.colours([0.25, 0.75]).tolist() == [[255, 128, 128], [192, 0, 0]]
        assert render.colours([-0.25, -0.75]).tolist() == [[128, 128, 255], [0, 0, 166]]

    def test_not_finite_is_grey(self) -> None:
        assert render.colours([np.nan, np.inf, -np.inf]).tolist() == [[128, 128, 128]] * 3

    def test_same_anchors_as_the_dashboard(self) -> None:
        source = (Path(__file__).parents[1] / "plugin_assets" / "src" / "paint" / "colormap.ts").read_text()
        for name, colormap in render.COLOUR_MAPS.items():
            block = re.search(rf"  {name}: {{.*?anchors: \[(.*?)\],\n  }}", source, re.DOTALL)
            assert block is not None, name
            found = re.findall(r"at: (-?[\d.]+), rgb: \[(\d+), (\d+), (\d+)\]", block[1])
            assert [(float(at), (int(r), int(g), int(b))) for at, r, g, b in found] == list(colormap.anchors)

    def test_an_unknown_map_is_named_with_those_there_are(self) -> None:
        with pytest.raises(ValueError, match="'jet'; there are seismic, safe, dark"):
            render.colours([0.0], "jet")


class TestLimits:
    maps = np.array([[[1.0, -4.0]], [[2.0, 0.5]], [[0.0, 0.0]]])

    def test_per_map_shared_and_given(self) -> None:
        assert render.limits(self.maps, "map").tolist() == [4, 2, 0]
        assert render.limits(self.maps, "shared").tolist() == [4, 4, 4]
        assert render.limits(self.maps, 0.5).tolist() == [0.5, 0.5, 0.5]

    def test_a_quantile_leaves_out_what_outshines_the_rest(self) -> None:
        values = np.arange(101.0)[None]
        values[0, 100] = 1e6
        assert render.limits(values, "map", 0.99).tolist() == [99]

    def test_a_sparse_map_is_not_blank(self) -> None:
        sparse = np.zeros((1, 100))
        sparse[0, 7] = -3
        assert render.limits(sparse, "map", 0.9).tolist() == [3]

    def test_not_finite_values_do_not_count(self) -> None:
        assert render.limits([[np.nan, 2.0, np.inf]]).tolist() == [2]

    @pytest.mark.parametrize(("scale", "clip"), [(0.0, 1.0), (np.inf, 1.0), ("each", 1.0), ("map", 0.0), ("map", 1.1)])
    def test_out_of_range(self, scale: render.Scale, clip: float) -> None:
        with pytest.raises(ValueError, match=r"scale must be|clip must be"):
            render.limits(self.maps, scale, clip)


class TestPaint:
    def test_scale_per_map_and_shared(self) -> None:
        maps = np.array([[[4.0, -4.0]], [[2.0, 0.0]]])
        red, half, blue, white = [128, 0, 0], [255, 0, 0], [0, 0, 77], [255, 255, 255]
        assert render.paint(maps).tolist() == [[[red, blue]], [[red, white]]]
        assert render.paint(maps, scale="shared").tolist() == [[[red, blue]], [[half, white]]]
        assert render.paint(maps, scale=8.0)[0, 0].tolist() == [half, [0, 0, 255]]

    def test_a_map_of_zeros_has_the_centres_colour(self) -> None:
        assert (render.paint(np.zeros((1, 3, 3))) == 255).all()
        assert (render.paint(np.zeros((1, 3, 3)), scale="shared", colormap="dark") == [10, 10, 12]).all()

    def test_not_finite_pixels_are_grey_in_any_map(self) -> None:
        maps = np.array([[[np.nan, 1.0]], [[np.inf, 0.0]]])
        painted = render.paint(maps)
        assert painted[0, 0].tolist() == [[128, 128, 128], [128, 0, 0]]
        assert painted[1, 0].tolist() == [[128, 128, 128], [255, 255, 255]]

    def test_one_axis_is_a_row_and_a_volume_a_montage(self) -> None:
        assert render.paint(np.ones((2, 5))).shape == (2, 1, 5, 3)
        volume = np.zeros((1, 3, 2, 2))
        volume[0, 2] = 1  # the third slice is the lower left of a grid of two columns
        painted = render.paint(volume)
        assert painted.shape == (1, 4, 4, 3)
        assert (painted[0, 2:, :2] == [128, 0, 0]).all()
        assert (painted[0, :2] == 255).all()

    def test_laid_over_a_picture(self) -> None:
        maps = np.array([[[1.0, -1.0], [0.25, 0.0]]])
        picture = np.full((1, 2, 2, 1), 100, np.uint8)
        over = render.paint(maps, over=picture)[0]
        assert over[0].tolist() == [[255, 0, 0], [0, 0, 255]]  # the limit: full opacity
        # a quarter of the limit: opacity sqrt(1/4), 128 of 255, over a grey of 100
        assert over[1, 0].tolist() == [178, 50, 50]
        assert over[1, 1].tolist() == [100, 100, 100]  # nothing: the picture itself

    def test_a_picture_of_another_size_is_brought_to_the_maps(self) -> None:
        picture = np.full((1, 8, 12, 3), 77, np.uint8)
        assert (render.paint(np.zeros((2, 4, 4)), over=picture) == 77).all()

    def test_what_does_not_fit_is_named(self) -> None:
        with pytest.raises(ValueError, match=r"maps\[None\]"):
            render.paint(np.zeros(3))
        with pytest.raises(ValueError, match=r"2 or 1, H, W, 1 or 3\), not \(3, 4, 4, 1\)"):
            render.paint(np.zeros((2, 4, 4)), over=np.zeros((3, 4, 4, 1), np.uint8))
        with pytest.raises(ValueError, match="must be uint8, not float64"):
            render.paint(np.zeros((1, 4, 4)), over=np.zeros((1, 4, 4, 1)))


class TestOutline:
    def test_a_line_on_either_side_of_the_edge(self) -> None:
        mask = np.zeros((4, 4), bool)
        mask[1:3, 1:3] = True
        grey = np.full((16, 16, 3), 90, np.uint8)
        drawn = render.outline(grey, mask, 4)[..., 0]
        expected = np.full((16, 16), 90)
        expected[3:13, 3:13] = 0
        expected[4:12, 4:12] = 255
        expected[5:11, 5:11] = 90
        assert drawn.tolist() == expected.tolist()
        assert (grey == 90).all()

    def test_at_the_border_the_inner_line_ends(self) -> None:
        mask = np.zeros((3, 3), bool)
        mask[0, :] = True
        drawn = render.outline(np.full((9, 9, 3), 90, np.uint8), mask, 3)[..., 0]
        assert drawn[:, 4].tolist() == [90, 90, 255, 0, 90, 90, 90, 90, 90]

    def test_blocks_and_sizes(self) -> None:
        picture = np.arange(6, dtype=np.uint8).reshape(1, 2, 3)
        assert render.enlarge(picture, (2, 3))[..., 0].tolist() == [[0, 0, 0, 3, 3, 3]] * 2
        with pytest.raises(ValueError, match=r"\(8, 8\), but the picture \(9, 9\)"):
            render.outline(np.zeros((9, 9, 3), np.uint8), np.ones((4, 4), bool), 2)
        with pytest.raises(ValueError, match="zoom must be at least 1"):
            render.enlarge(picture, 0)


class TestFiles:
    def test_png_is_without_loss(self, tmp_path: Path) -> None:
        picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
        write_whole(tmp_path / "a.png", render.png(picture))
        assert np.array_equal(np.array(Image.open(tmp_path / "a.png")), picture)
        assert [file.name for file in tmp_path.iterdir()] == ["a.png"]
        assert np.array_equal(opened(render.png(picture[..., :1])), picture[..., 0])
        assert np.array_equal(opened(render.png(picture[..., 0])), picture[..., 0])

    def test_what_is_no_picture_is_refused(self) -> None:
        for wrong in (np.zeros((4, 4, 3)), np.zeros((4, 4, 2), np.uint8), np.zeros(4, np.uint8)):
            with pytest.raises(ValueError, match="a picture is uint8"):
                render.png(wrong)

    def test_a_gif_holds_every_frame_its_time_and_its_colours(self) -> None:
        colours = [(128, 0, 0), (255, 255, 255), (255, 255, 255), (0, 0, 77)]
        frames = [np.full((8, 8, 3), colour, np.uint8) for colour in colours]
        image = Image.open(io.BytesIO(render.gif(frames, milliseconds=120, last=900)))
        seen, times = [], []
        for number in range(image.n_frames):  # type: ignore[attr-defined]  # only of animated formats
            image.seek(number)
            seen.append(image.convert("RGB").getpixel((3, 3)))
            times.append(image.info["duration"])
        # two frames that are alike may be kept as one that stays twice as long
        assert sum(times) == 3 * 120 + 900
        assert [c for n, c in enumerate(seen) if n == 0 or seen[n - 1] != c] == [
            colours[0],
            colours[1],
            colours[3],
        ]
        assert image.info["loop"] == 0

    def test_frames_of_unlike_sizes_are_refused(self) -> None:
        for frames in ([], [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5, 3), np.uint8)]):
            with pytest.raises(ValueError, match="all of one size"):
                render.gif(frames)

    def test_a_folder_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(OSError, match="nowhere"):
            write_whole(tmp_path / "nowhere" / "a.png", b"")


RED = [128, 0, 0]


def strip(**options: object) -> film.Strip:
    """Three maps of 28 x 28: ones, ones, minus ones. An enlarged one is 112 pixels wide."""
    maps = np.ones((3, 28, 28), np.float32)
    maps[2] = -1
    return film.Strip(**({"title": "planted", "maps": maps} | options))  # type: ignore[arg-type]  # keywords of a test


def runs(line: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """(start, length) of each stretch of True."""
    edges = np.flatnonzero(np.diff(np.r_[0, line.astype(int), 0]))
    return [(int(a), int(b - a)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


class TestSheet:
    def test_cells_lie_in_columns_and_rows(self) -> None:
        sheet = film.sheet([strip(), strip(title="control")], ["0", "1", "2"])
        red, blue = (sheet == RED).all(-1), (sheet == [0, 0, 77]).all(-1)
        row = np.flatnonzero(red.sum(1) >= 224)[0]
        (first, width), (second, _) = runs(red[row])[:2]
        assert width == 112
        assert second - first == 112 + 6
        (third, width), *_ = runs(blue[row])
        assert (third - second, width) == (118, 112)
        assert [length for _, length in runs(red[:, first + 5])] == [112, 112]
        assert sheet.shape[1] == third + 112 + 14  # the margin
        assert (sheet[0] == 255).all()

    def test_the_probe_stands_before_the_first_column(self) -> None:
        picture = np.full((28, 28, 1), 60, np.uint8)
        sheet = film.sheet([strip(picture=picture)], ["0", "1", "2"])
        row = np.flatnonzero((sheet == RED).all(-1).sum(1) >= 224)[0]
        (start, width), *_ = runs((sheet[row] == 60).all(-1))
        first = runs((sheet[row] == RED).all(-1))[0][0]
        assert width == 112
        assert first - start == 112 + 12

    def test_captions_and_title_take_room_and_leave_ink(self) -> None:
        plain = film.sheet([strip()], ["0", "1", "2"])
        captioned = film.sheet([strip(captions=["a", "b", "c"])], ["0", "1", "2"])
        assert captioned.shape[0] - plain.shape[0] == 16
        titled = film.sheet([strip()], ["0", "1", "2"], title="A title")
        assert titled.shape[0] - plain.shape[0] == 22
        assert (titled[14:30, 14:60] < 128).any()
        assert not (plain[0:13] < 128).any()

    def test_the_legend_is_whole_below_any_number_of_columns(self) -> None:
        wide, narrow = (
            film.sheet([strip(maps=np.ones((count, 28, 28)), title="a long title")], ["0"] * count) for count in (6, 1)
        )
        inks = [(sheet[-30:] != 255).any((0, 2)) for sheet in (wide, narrow)]  # the legend's line alone
        first, last = (np.flatnonzero(ink)[[0, -1]] for ink in inks)
        assert first[1] - first[0] == last[1] - last[0] > 128
        assert not inks[1][-14:].any()  # the margin

    def test_the_mask_is_outlined_on_maps_alone(self) -> None:
        mask = np.zeros((28, 28), bool)
        mask[2:7, 2:7] = True
        picture = np.full((28, 28, 1), 60, np.uint8)
        plain = film.sheet([strip(picture=picture)], ["0", "1", "2"])
        drawn = film.sheet([strip(picture=picture, mask=mask)], ["0", "1", "2"])
        changed = (plain != drawn).any(-1)
        outer, inner = 22**2 - 20**2, 20**2 - 18**2  # 5 pixels enlarged by 4 are 20
        assert changed.sum() == 3 * (outer + inner)
        assert not (drawn[(plain == 60).all(-1)] != 60).any()
        assert np.array_equal(
            film.sheet([strip(mask=np.zeros((28, 28), bool))], ["0", "1", "2"]),
            film.sheet([strip()], ["0", "1", "2"]),
        )

    def test_scales(self) -> None:
        maps = np.ones((2, 28, 28), np.float32)
        maps[1] = 2
        strips = [film.Strip("a", maps), film.Strip("b", 2 * maps)]

        def cells(scale: render.Scale) -> list[int]:
            """How many cells are of the colour of a whole, a half and a quarter of the limit."""
            sheet = film.sheet(strips, ["0", "1"], look=film.Look(scale=scale))
            return [int((sheet == rgb).all(-1).sum()) // 112**2 for rgb in (RED, [255, 0, 0], [255, 128, 128])]

        assert cells("map") == [4, 0, 0]
        assert cells("strip") == [2, 2, 0]
        assert cells("shared") == [1, 2, 1]
        assert cells(8.0) == [0, 1, 2]

    def test_maps_of_zeros_alone(self) -> None:
        blank = film.Strip("a", np.zeros((1, 28, 28), np.float32))
        sheet = film.sheet([blank], ["0"], look=film.Look(scale="shared", colormap="safe"))
        assert ((sheet == [248, 248, 246]).all(-1).sum()) >= 112**2

    def test_one_axis_is_drawn_as_a_bar(self) -> None:
        sheet = film.sheet([film.Strip("signal", np.ones((1, 7), np.float32))], ["0"])
        red = (sheet == RED).all(-1)
        assert [length for _, length in runs(red[np.flatnonzero(red.sum(1) > 100)[0]])] == [7 * 32]
        assert (red.sum(1) >= 7 * 32).sum() == 24

    def test_a_dark_page(self) -> None:
        assert film.sheet([strip()], ["0", "1", "2"], look=film.Look("dark"))[0, 0].tolist() == [24, 26, 29]

    def test_what_does_not_fit_is_named(self) -> None:
        with pytest.raises(ValueError, match="'planted' has 3 maps, but there are 2 labels"):
            film.sheet([strip()], ["0", "1"])
        with pytest.raises(ValueError, match="has 1 captions, but 3 maps"):
            film.sheet([strip(captions=["a"])], ["0", "1", "2"])
        with pytest.raises(ValueError, match="at least one strip"):
            film.sheet([], ["0"])

    def test_a_label_wider_than_its_column_is_shortened(self) -> None:
        sheet = film.sheet([strip()], ["w" * 80, "", ""])
        row = np.flatnonzero((sheet == RED).all(-1).sum(1) >= 224)[0]
        first = runs((sheet[row] == RED).all(-1))[0][0]
        ink = (sheet[14:29] < 128).any(-1).any(0)
        assert ink[first : first + 112].any()
        assert not ink[first + 118 :].any()


class TestFrames:
    def test_one_a_step_all_of_one_size(self) -> None:
        picture = np.full((28, 28, 1), 60, np.uint8)
        frames = film.frames([strip(picture=picture), strip(title="control", picture=picture)], ["0", "1", "2"])
        assert len({frame.shape for frame in frames}) == 1
        row = np.flatnonzero((frames[0] == RED).all(-1).sum(1) >= 224)[0]
        assert [width for _, width in runs((frames[0][row] == RED).all(-1))] == [112, 112]
        assert [width for _, width in runs((frames[0][row] == 60).all(-1))] == [112, 112]
        assert [width for _, width in runs((frames[2][row] == [0, 0, 77]).all(-1))] == [112, 112]
        # the maps of the first two are the same: the label and a bar as wide as the page tell them apart
        wide = frames[0].shape[1] - 2 * 14
        bars = []
        for frame in frames:
            ink = (frame == [32, 33, 36]).all(-1)
            bars.append(max(length for line in ink for _, length in runs(line)))
        assert bars == [round(wide / 3), round(2 * wide / 3), wide]

    def test_as_a_gif(self) -> None:
        frames = film.frames([strip()], ["0", "1", "2"])
        image = Image.open(io.BytesIO(render.gif(frames)))
        assert image.n_frames == 3  # type: ignore[attr-defined]  # only of animated formats
        assert image.size == (frames[0].shape[1], frames[0].shape[0])
