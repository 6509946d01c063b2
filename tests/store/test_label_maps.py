"""Labels that are more than a class a probe, and predicted maps, as the store keeps them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from store_samples import COUNT, make_probes, make_record

from lrp_monitor.plugin import wire
from lrp_monitor.store.format import StoreError
from lrp_monitor.store.probes import pack_probes
from lrp_monitor.store.reader import open_run
from lrp_monitor.store.writer import RunWriter

RNG = np.random.default_rng(2)


def test_labels_and_predicted_maps_are_read_as_they_were_written(tmp_path: Path) -> None:
    probes = replace(
        make_probes(),
        labels=None,
        label_sets=RNG.random((COUNT, 40)) < 0.3,
        label_maps=RNG.integers(-1, 300, (COUNT, 4, 3)),
        position=np.array([[-1], [2], [0]]),
    )
    maps = {step: RNG.integers(-1, most, (COUNT, 4, 3)) for step, most in ((0, 5), (1, 3000), (2, 1 << 20))}
    with RunWriter(tmp_path, probes, meta={}) as writer:
        for step, predicted in maps.items():
            writer.append(make_record(step, predicted_maps=predicted))
        writer.append(make_record(3))
    run = open_run(tmp_path)
    for name in ("label_sets", "label_maps", "position"):
        np.testing.assert_array_equal(getattr(run.probes, name), getattr(probes, name))
    for step, predicted in maps.items():
        np.testing.assert_array_equal(run.predicted_maps(step), predicted)
        np.testing.assert_array_equal(run.heatmaps(step), open_run(tmp_path).heatmaps(step))
    with pytest.raises(StoreError, match=r"step 3 of .* holds no predicted maps"):
        run.predicted_maps(3)
    assert run.verify() == []
    # The chunks that the page is given are those maps.
    header = run.record(1)
    whole = wire.step_answer(run, 1)
    some = wire.part_of_step(run, header, [2, 0])
    for answer, wanted in ((whole, maps[1]), (some, maps[1][[2, 0]])):
        length = int.from_bytes(answer[:4], "little")
        about, chunks = wire.records.parse_json(answer[4 : 4 + length], "answer"), answer[4 + length :]
        found = replace(header.predicted, places=tuple(map(tuple, about["predicted"]["maps"])))
        np.testing.assert_array_equal(found.read(memoryview(chunks), "chunk"), wanted)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"label_sets": np.zeros((2, 4), bool)}, "label_sets must be boolean"),
        ({"label_maps": np.zeros((2, 4), int)}, "label_maps of shape"),
        ({"position": np.zeros(COUNT, int)}, "position must have shape"),
    ],
)
def test_labels_that_do_not_fit_are_refused(change: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        pack_probes(replace(make_probes(), **change))


@pytest.mark.parametrize("maps", [np.zeros((2, 4, 3), int), np.full((COUNT, 2), -2), np.full((COUNT, 2), 1 << 40)])
def test_predicted_maps_that_do_not_fit_are_refused(tmp_path: Path, maps: np.ndarray) -> None:
    with RunWriter(tmp_path, make_probes(), meta={}) as writer, pytest.raises(ValueError, match="predicted_maps"):
        writer.append(make_record(0, predicted_maps=maps))
