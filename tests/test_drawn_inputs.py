"""Texts, tables, series and several inputs as pictures of a film: what is strong is coloured, all cells of one size."""

from __future__ import annotations

import numpy as np

from lrp_monitor.pictures import film, render
from lrp_monitor.pictures.inputs import WIDTH, drawn_inputs
from lrp_monitor.store.format import InputInfo, ProbeInfo

RED, BLUE = (255, 0, 0), (0, 0, 255)


def probes(*inputs: InputInfo, n: int = 2) -> ProbeInfo:
    size = sum(int(np.prod(one.map_shape)) for one in inputs)
    shape = inputs[0].map_shape if len(inputs) == 1 else (size,)
    names, pictures = [f"p{i}" for i in range(n)], np.zeros((n, 1, 4, 1), np.uint8)
    return ProbeInfo(names, None, None, pictures, {}, tuple(shape), "ab" * 32, inputs=list(inputs))


def table(count: int = 20) -> InputInfo:
    values = np.arange(2.0 * count, dtype=np.float32).reshape(2, count)
    return InputInfo("table", "table", (count,), (count,), [f"f{i}" for i in range(count)], values=values)


def where(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return (picture == colour).all(axis=-1)


def test_the_strongest_features_have_the_longest_bars_on_their_side() -> None:
    draw = drawn_inputs(probes(table()), 0)
    assert draw is not None
    heat = np.zeros(20, np.float32)
    heat[13], heat[4] = 2.0, -1.0
    picture = draw(heat, 2.0, "seismic")
    assert picture.shape == (15 * 15, WIDTH, 3)
    rows = [where(picture[15 * row : 15 * row + 15], colour) for row, colour in ((0, RED), (1, BLUE))]
    (full, half), middle = [np.flatnonzero(one.any(axis=0)) for one in rows], 185
    assert full.min() >= middle
    assert half.max() <= middle
    assert len(full) == 2 * len(half) == 74 or abs(len(full) - 2 * len(half)) <= 2
    assert not where(picture[30:], RED).any()


def test_words_are_coloured_and_long_texts_fold_around_the_relevant_ones() -> None:
    texts = [[f"w{i}" for i in range(400)]] * 2
    draw = drawn_inputs(probes(InputInfo("ids", "tokens", (400,), (400,), tokens=texts)), 1)
    assert draw is not None
    sizes = set()
    for place in (3, 398):
        heat = np.zeros(400, np.float32)
        heat[place] = 1.0
        picture = draw(heat, 1.0, "seismic")
        assert where(picture, RED).sum() > 50  # also of a word far behind
        sizes.add(picture.shape)
    assert sizes == {(9 * 15, WIDTH, 3)}


def test_a_series_has_its_relevance_where_it_is() -> None:
    curve = InputInfo("x", "series", (130, 2), (130, 2), values=np.zeros((2, 130, 2), np.float32))
    draw = drawn_inputs(probes(curve), 0)
    assert draw is not None
    heat = np.zeros((130, 2), np.float32)
    heat[65, 1] = 1.0
    found = np.argwhere(where(draw(heat, 1.0, "seismic"), RED))
    assert set(found[:, 1]) == {130, 131}
    assert found[:, 0].min() >= 46


def test_a_film_of_several_inputs_and_none_of_a_lone_picture() -> None:
    picture = InputInfo("image", "image", (4, 4), (4, 4, 1), pictures=np.zeros((2, 4, 4, 1), np.uint8))
    several = probes(picture, table(5))
    maps = np.random.default_rng(0).normal(size=(3, 21)).astype(np.float32)
    maps[1] = 0
    strip = film.Strip("p0", maps, ["a", "b", "c"], several.images[0], None, drawn_inputs(several, 0))
    assert film.sheet([strip], list("123")).shape[1] > 3 * WIDTH
    assert len({frame.shape for frame in film.frames([strip], list("123"))}) == 1
    assert len(render.png(film.sheet([strip], list("123")))) > 1000
    assert drawn_inputs(probes(picture), 0) is None
    assert drawn_inputs(probes(), 0) is None


def test_some_probes_keep_their_inputs() -> None:
    few = probes(table()).of([1])
    assert few.inputs[0].values is not None
    np.testing.assert_array_equal(few.inputs[0].values, table().values[1:])  # type: ignore[index]  # they are there
