"""Several inputs, texts, series and tables in a run's store: read as written, refused by older readers, bounded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from store_samples import make_probes, make_record

from lrp_monitor.store import records
from lrp_monitor.store.format import InputInfo, ProbeInfo, StoreError
from lrp_monitor.store.reader import open_run
from lrp_monitor.store.writer import RunWriter

RNG = np.random.default_rng(0)


def several() -> ProbeInfo:
    probes = make_probes(shape=(37,))
    picture = InputInfo("image", "image", (6, 5), (6, 5, 3), pictures=probes.images)
    texts = [["the", "red", "fox"], ["a", "fox", ""], ["…", "\u2009", "é"]]
    ids = InputInfo("ids", "tokens", (3,), (3,), tokens=texts, values=np.arange(9, dtype=np.float32).reshape(3, 3))
    table = InputInfo("table", "table", (4,), (4,), list("abcd"), values=RNG.random((3, 4)).astype(np.float32))
    return replace(probes, inputs=[picture, ids, table])


def test_inputs_are_read_as_they_were_written(tmp_path: Path) -> None:
    probes = replace(several(), labels=None, numbers=np.array([[0.1], [np.pi], [-3e300]]))
    with RunWriter(tmp_path, probes, meta={}, encoding="float32") as writer:
        writer.append(make_record(0, heatmaps=np.arange(111, dtype=np.float32).reshape(3, 37)))
    run = open_run(tmp_path)
    assert run.probes.numbers is not None
    np.testing.assert_array_equal(run.probes.numbers, probes.numbers)
    for read, given in zip(run.probes.inputs, probes.inputs, strict=True):
        for name, value in vars(given).items():
            np.testing.assert_array_equal(getattr(read, name), value)
    parts = run.probes.split(run.heatmaps(0))
    assert {name: part.shape for name, part in parts.items()} == {"image": (3, 6, 5), "ids": (3, 3), "table": (3, 4)}
    np.testing.assert_array_equal(parts["ids"], [[30, 31, 32], [67, 68, 69], [104, 105, 106]])


def test_a_reader_of_the_first_format_says_what_it_cannot_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    RunWriter(tmp_path / "one", make_probes(), meta={}).close()
    RunWriter(tmp_path / "several", several(), meta={}).close()
    monkeypatch.setattr(records, "VERSION_OF_SEVERAL", 1)  # as a reader of that time knows it
    open_run(tmp_path / "one")
    with pytest.raises(StoreError, match=r"probes\.tfrecord: written in format 2.*a newer one"):
        open_run(tmp_path / "several")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda inputs: inputs[:2], r"33 values of heatmaps together, the heatmaps have shape \(37,\)"),
        (lambda inputs: inputs[:1], r"maps of shape \(6, 5\), the heatmaps have \(37,\)"),
        (lambda inputs: [replace(inputs[0], kind="smell"), *inputs[1:]], "'image': kind must be one of"),
        (lambda inputs: [inputs[0], replace(inputs[1], name="image"), inputs[2]], "inputs of one name"),
        (lambda inputs: [inputs[0], replace(inputs[1], tokens=[["a"]]), inputs[2]], "3 texts for each of 3 probes"),
        (lambda inputs: [*inputs[:2], replace(inputs[2], values=np.zeros((2, 4), np.float32))], "float32 of 3 probes"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(tmp_path: Path, change, words: str) -> None:
    probes = several()
    with pytest.raises(ValueError, match=words):
        RunWriter(tmp_path, replace(probes, inputs=change(probes.inputs)), meta={})
