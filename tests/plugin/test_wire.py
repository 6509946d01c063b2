"""The binary answers against what the store holds, decoded here as the page does."""

from __future__ import annotations

import json
import struct
import zlib

import numpy as np
import pytest
from plugin_helpers import COUNT, SHAPE, make_channels, make_maps, make_probes, make_record, write_run

from lrp_monitor.plugin.wire import ProbeAnswers, film_answer, probes_answer, step_answer
from lrp_monitor.store.reader import Run, open_run
from lrp_monitor.store.writer import RunWriter


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Steps 0, 1 and 5 with maps by channel; from a second session step 6, whose maps were not stored."""
    folder = tmp_path_factory.mktemp("wire")
    write_run(folder, [0, 1, 5])
    without = make_record(6)
    without.heatmaps = without.channels = None
    with RunWriter(folder / "lrp", make_probes(), meta={}) as writer:
        writer.append(without)
    return open_run(folder)


def opened(answer: bytes) -> tuple[dict, bytes]:
    (length,) = struct.unpack("<I", answer[:4])
    return json.loads(answer[4 : 4 + length]), answer[4 + length :]


def decoded(body: bytes, place: list[int], scale: float) -> np.ndarray:
    offset, length = place
    codes = np.frombuffer(zlib.decompress(body[offset : offset + length]), np.int8).astype(float)
    return (np.sign(codes) * (codes / 127) ** 2 * scale).reshape(SHAPE)


def test_a_step(run: Run) -> None:
    header, body = opened(step_answer(run, 5, run.sessions[0].id))
    assert {key: header[key] for key in ("step", "epoch", "batch", "session", "encoding", "map_shape")} == {
        "step": 5,
        "epoch": 5,
        "batch": 500,
        "session": run.sessions[0].id,
        "encoding": "sqrt8",
        "map_shape": list(SHAPE),
    }
    assert header["probes"]["drift"] == [None, 0.5, None]
    assert "histograms" not in header
    assert len(body) == sum(length for _, length in header["maps"])
    for probe, place in enumerate(header["maps"]):
        off = decoded(body, place, header["scale"][probe]) - make_maps(5)[probe]
        assert np.abs(off).max() <= 0.0079 * header["scale"][probe]
    with pytest.raises(KeyError, match="not of session 0123"):
        step_answer(run, 5, "0123")


def test_a_step_without_maps(run: Run) -> None:
    header, body = opened(step_answer(run, 6, channels=True))
    assert (header["maps"], header["scale"], header["channel_maps"]) == ([None] * COUNT, [None] * COUNT, [])
    assert body == b""


def test_maps_by_channel_are_carried_on_request(run: Run) -> None:
    plain, more = step_answer(run, 1), step_answer(run, 1, channels=True)
    header, body = opened(plain)
    assert header["channels"] == 2
    assert "channel_maps" not in header
    assert len(body) == max(sum(place) for place in header["maps"])
    header, body = opened(more)
    assert body.startswith(opened(plain)[1])
    assert len(body) == max(sum(place) for parts in header["channel_maps"] for place in parts)
    found = decoded(body, header["channel_maps"][2][1], header["channel_scale"][2][1])
    np.testing.assert_allclose(found, run.channels(1)[2, ..., 1], rtol=1e-6)
    assert np.abs(found - make_channels(1)[2, ..., 1]).max() <= 0.0079 * header["channel_scale"][2][1]


def test_a_film_holds_one_probe_at_the_steps_asked_for(run: Run) -> None:
    header, body = opened(film_answer(run, 1, [5, 0, 6], channels=True))
    assert (header["probe"], header["map_shape"]) == (1, list(SHAPE))
    assert [frame["step"] for frame in header["frames"]] == [5, 0, 6]
    assert header["frames"][0]["session"] == run.sessions[0].id
    assert header["frames"][2] == {
        "step": 6, "session": run.session, "encoding": "sqrt8", "scale": None, "map": None,
        "channel_maps": [], "channel_scale": [],
    }  # fmt: skip
    used = 0
    for frame in header["frames"][:2]:
        maps = [frame["map"], *frame["channel_maps"]]
        scales = [frame["scale"], *frame["channel_scale"]]
        true = [run.heatmap(1, frame["step"]), *np.moveaxis(run.channels(frame["step"])[1], -1, 0)]
        for place, scale, values in zip(maps, scales, true, strict=True):
            np.testing.assert_allclose(decoded(body, place, scale), values, rtol=1e-6)
            used += place[1]
    assert used == len(body)
    plain, _ = opened(film_answer(run, 1, [5]))
    assert "channel_maps" not in plain["frames"][0]
    with pytest.raises(KeyError, match="nearest steps are 0, 1, 5, 6"):
        film_answer(run, 1, [3])


def test_pictures_and_masks(run: Run) -> None:
    header, body = opened(probes_answer(run.probes))
    parts = {"images": header["images"], **header["masks"]}
    found = {name: zlib.decompress(body[offset : offset + length]) for name, (offset, length) in parts.items()}
    assert found == {"images": run.probes.images.tobytes(), "stamp": run.probes.masks["stamp"].tobytes()}
    assert (header["shape"], header["map_shape"]) == ([COUNT, 8, 6, 3], list(SHAPE))


def test_pictures_and_masks_of_some_probes(run: Run) -> None:
    probes = run.probes
    header, body = opened(probes_answer(probes, [2, 0]))
    assert (header["of"], header["shape"]) == ([2, 0], [COUNT, 8, 6, 3])
    parts = {"images": header["images"], **header["masks"]}
    found = {name: zlib.decompress(body[offset : offset + length]) for name, (offset, length) in parts.items()}
    assert found == {"images": probes.images[[2, 0]].tobytes(), "stamp": probes.masks["stamp"][[2, 0]].tobytes()}


def test_the_answer_of_a_whole_set_is_made_once(run: Run) -> None:
    kept = ProbeAnswers()
    first = kept.of(run.probes)
    assert first == probes_answer(run.probes)
    assert kept.of(run.probes) is first
    other = run.probes.of([1])
    assert kept.of(other) == probes_answer(other)
