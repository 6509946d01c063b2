"""The checks as pictures: curves and maps, by the project's own charts and films."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lrp_monitor.pictures import chart, film
from lrp_monitor.pictures.inputs import DrawnInputs, drawn_inputs
from lrp_monitor.pictures.render import Picture
from lrp_monitor.sanity.faithfulness import Faithfulness
from lrp_monitor.sanity.localisation import Localisation
from lrp_monitor.sanity.occlusion import Occlusion
from lrp_monitor.sanity.randomisation import Randomisation
from lrp_monitor.text import number

if TYPE_CHECKING:
    from lrp_monitor.sanity.check import SanityReport

_SHOWN = 3  # probes whose maps are drawn, out of all


def report(found: SanityReport) -> Picture:
    """Every check that was made, below one another. ValueError where none was."""
    parts: list[Picture] = []
    if found.randomisation is not None:
        parts += [randomised_maps(found), randomisation(found.randomisation)]
    if found.sensitivity is not None:
        parts.append(classes(found))
    if found.faithfulness is not None:
        parts.append(faithfulness(found.faithfulness))
    parts += [localisation(one) for one in found.localisation]
    parts += [occlusion(found, one) for one in found.occlusion]
    return chart.stack(parts)


def randomisation(found: Randomisation) -> Picture:
    """Similarity to the trained model's maps over the layers randomised, mean and spread over draws and probes."""
    ranks, cosines = np.abs(found.spearman), np.abs(found.cosine)
    names = ("trained", *found.layers)
    x = np.arange(len(names))

    def line(name: str, values: NDArray[np.float64]) -> chart.Line:
        with np.errstate(all="ignore"):
            flat = np.moveaxis(values, 1, 0).reshape(len(found.layers), -1)
            middle = [1.0, *(_nan(np.nanmean, row) for row in flat)]
            low = [1.0, *(_nan(np.nanmin, row) for row in flat)]
            high = [1.0, *(_nan(np.nanmax, row) for row in flat)]
        return chart.Line(name, x, middle, low, high)

    limit = chart.Line("limit", [0, len(names) - 1], [found.limit, found.limit])
    return chart.chart(
        [line("|rank correlation|", ranks), line("|cosine|", cosines), limit],
        title="Similarity to the trained model's maps",
        x_label="randomised down to this layer, from the output",
        x_ticks=names,
    )


def randomised_maps(found: SanityReport) -> Picture:
    """The maps of a few probes as layer after layer is randomised (first draw)."""
    one = found.randomisation
    assert one is not None
    shown = film.spread(range(len(one.layers)), 7)
    strips = [
        film.Strip(
            found.names[probe],
            np.stack([found.maps[probe], *one.maps[shown, probe]]),
            picture=found.pictures[probe],
            draw=_drawn(found, probe),
        )
        for probe in _few(len(found.names))
    ]
    labels = ["trained", *(one.layers[place] for place in shown)]
    return film.sheet(strips, labels, title="Heatmaps while weights are randomised from the output down")


def classes(found: SanityReport) -> Picture:
    """The maps of a few probes for their class and for the others."""
    one = found.sensitivity
    assert one is not None
    strips = [
        film.Strip(
            found.names[probe],
            np.stack([found.maps[probe], *one.maps[:, probe]]),
            [_class(found, int(number)) for number in (found.targets[probe], *one.others[probe])],
            found.pictures[probe],
            draw=_drawn(found, probe),
        )
        for probe in _few(len(found.names))
    ]
    labels = ["explained", *(f"other {place + 1}" for place in range(len(one.maps)))]
    return film.sheet(strips, labels, title="Heatmaps for a probe's class and for other classes")


def faithfulness(found: Faithfulness) -> Picture:
    """Perturbation curves, means over the probes; the band of the random order spans its draws."""
    chance = found.random.mean(axis=1)
    aopc = {name: float(values.mean()) for name, values in found.aopc.items()}
    x = 100 * found.covered
    lines = [
        chart.Line(f"most relevant first ({number(aopc['most'], 2)})", x, found.most.mean(axis=0)),
        chart.Line(f"least relevant first ({number(aopc['least'], 2)})", x, found.least.mean(axis=0)),
        chart.Line(
            f"random order ({number(aopc['random'], 2)})",
            x,
            chance.mean(axis=0),
            chance.min(axis=0),
            chance.max(axis=0),
        ),
    ]
    return chart.chart(
        lines,
        title="The explained logit while regions are covered",
        y_label="(in brackets: area over the curve)",
        x_label="regions covered, %",
    )


def localisation(found: Localisation) -> Picture:
    """Mass accuracy of each probe."""
    return chart.bars(
        found.names,
        found.mass,
        found.area,
        title=f"Relevance in {found.mask!r}",
        note="tick: the mask's share of the area",
    )


def occlusion(found: SanityReport, one: Occlusion) -> Picture:
    """Heatmap beside what covering costs, for a few of the probes that carry the mask."""
    strips = []
    for place in one.places[:_SHOWN]:
        probe = found.names.index(place.name)
        with np.errstate(all="ignore"):
            maps = np.stack([found.maps[probe], place.map()])
        captions = ("", f"{number(place.drop, 2)}, else {number(place.largest_elsewhere, 2)}")
        strips.append(film.Strip(place.name, maps, captions, found.pictures[probe], place.mask, _drawn(found, probe)))
    return film.sheet(
        strips, ["relevance", "cost of covering"], title=f"What covering costs the logit; {one.mask!r} is outlined"
    )


def _few(count: int) -> list[int]:
    return film.spread(range(count), _SHOWN)


def _drawn(found: SanityReport, probe: int) -> DrawnInputs | None:
    """What draws a probe as words, bars or curves; None where it is a picture."""
    return None if found.shown is None else drawn_inputs(found.shown, probe)


def _class(found: SanityReport, number: int) -> str:
    names = found.class_names
    return names[number] if names and number < len(names) else f"class {number}"


def _nan(how: object, row: NDArray[np.float64]) -> float:
    """A statistic of the finite values; NaN without any, where NumPy would warn."""
    finite = row[np.isfinite(row)]
    return float(how(finite)) if finite.size and callable(how) else float("nan")
