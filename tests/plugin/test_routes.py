"""Every route, asked of real TensorBoard processes with either loader."""

from __future__ import annotations

import json
import struct
import urllib.parse
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from plugin_helpers import (
    COUNT,
    PREFIX,
    SHAPE,
    Server,
    Start,
    make_channels,
    make_maps,
    make_probes,
    make_record,
    write_marker,
    write_run,
)

import lrp_monitor
from lrp_monitor.plugin.app import assets
from lrp_monitor.store.clusters import StepClusters, clusters_name
from lrp_monitor.store.reader import open_run
from lrp_monitor.store.writer import RunWriter


class Site:
    """A log directory with two runs, served."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.planted = write_run(folder / "planted", [0, 1, 2, 5])
        self.control = write_run(folder / "control", [0, 1], encoding="float16")
        write_marker(folder / "broken" / "lrp")
        self.server: Server


@pytest.fixture(scope="module", params=["fast", "python loader, path prefix"])
def site(request: pytest.FixtureRequest, start: Start, tmp_path_factory: pytest.TempPathFactory) -> Site:
    made = Site(tmp_path_factory.mktemp("logs"))
    # Of the two loaders one beside TensorFlow here, the other in tests/browser.
    python = request.param != "fast"
    arguments = ["--load_fast=false", "--path_prefix=/deep/down"] if python else []
    made.server = start(f"--logdir={made.folder}", *arguments, tensorflow=python)
    made.server.wait_for_runs(3)
    return made


def open_envelope(body: bytes) -> tuple[dict, bytes]:
    (length,) = struct.unpack("<I", body[:4])
    return json.loads(body[4 : 4 + length]), body[4 + length :]


def test_the_tab_is_listed_and_active(site: Site) -> None:
    plugin = site.server.at("data/plugins_listing").json["lrp_monitor"]
    assert plugin["enabled"] is True
    assert plugin["tab_name"] == "LRP"
    assert plugin["loading_mechanism"]["type"] == "IFRAME"
    assert plugin["loading_mechanism"]["module_path"].endswith("/data/plugin/lrp_monitor/index.js")


def test_runs(site: Site) -> None:
    answer = site.server.get("runs")
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.json["version"] == lrp_monitor.__version__
    broken, control, planted = answer.json["runs"]
    assert planted == {
        "run": "planted/lrp",
        "name": "planted",
        "session": site.planted,
        "steps": 4,
        "last_step": 5,
        "probes_hash": make_probes().hash,
        "problems": [],
        "annotations": "",
        "first_logged": 1.7e9,
        "last_logged": 1.7e9 + 5,
        "ended": False,
    }
    assert (control["name"], control["session"], control["last_step"]) == ("control", site.control, 1)
    assert (broken["name"], broken["steps"], broken["session"]) == ("broken", 0, None)
    assert "probes.tfrecord is missing" in broken["error"]


def test_runs_with_the_scalars_of_their_last_steps(site: Site) -> None:
    broken, control, planted = site.server.get("runs", values="lrp/*,gradients/norm,nothing").json["runs"]
    assert planted["values"] == {"lrp/conservation": 5.0, "gradients/norm": 2.0}
    assert control["values"] == {"lrp/conservation": 1.0, "gradients/norm": None}
    assert "values" not in broken


def test_a_run_in_brief_is_the_run_without_what_its_headers_hold(site: Site) -> None:
    whole, brief = (site.server.get("run", run="planted/lrp", **more).json for more in ({}, {"brief": "1"}))
    assert brief.pop("brief") is True
    for step in whole["steps"]:
        step.pop("nonfinite", None)
        step |= {"maps": True, "notes": []}
    assert brief.pop("steps") == whole["steps"]
    assert all(tensor in whole["tensors"] for tensor in brief["tensors"])
    assert len(brief.pop("tensors")) > 0
    assert brief == {name: value for name, value in whole.items() if name in brief}
    assert whole.keys() - brief.keys() == {"steps", "tensors", "largest"}
    assert site.server.get("run", run="planted/lrp", brief="2").status == 400


def test_run(site: Site) -> None:
    run = site.server.get("run", run="planted/lrp").json
    assert [step["step"] for step in run["steps"]] == [0, 1, 2, 5]
    assert run["steps"][3] == {
        "step": 5,
        "epoch": 5,
        "batch": 500,
        "wall_time": 1.7e9 + 5,
        "session": site.planted,
        "maps": True,
        "notes": [],
    }
    assert run["steps"][0]["notes"] == ["logged"]
    assert run["probes"] == {
        "names": make_probes().names,
        "labels": [2, 0, 1],
        "class_names": ["disk", "square", "triangle"],
        "map_shape": list(SHAPE),
        "image_shape": [8, 6, 3],
        "inputs": [],
        "masks": ["stamp"],
        "carried": {"stamp": 3},
        "hash": make_probes().hash,
    }
    kinds = [("weight", "conv2d/kernel"), ("gradient", "conv2d/kernel"), ("gradient", "seldom/kernel")]
    assert run["tensors"] == [{"kind": kind, "name": name} for kind, name in kinds]
    assert (run["run"], run["session"], run["meta"], run["problems"]) == (
        "planted/lrp",
        site.planted,
        {"composite": "epsilon_plus"},
        [],
    )
    assert "reset" not in run


def test_only_newer_steps_are_sent_on_request(site: Site) -> None:
    newer = site.server.get("run", run="planted/lrp", since=1).json
    assert [step["step"] for step in newer["steps"]] == [2, 5]
    assert "reset" not in newer
    line = site.server.get("timeline", run="planted/lrp", since=2).json
    assert (line["steps"], line["scalars"]["lrp/conservation"]) == ([5], [5.0])
    assert site.server.get("run", run="planted/lrp", since=5, session=site.planted).json["steps"] == []
    for changed in ({"since": 3}, {"since": 2, "session": "0" * 16}):
        again = site.server.get("run", run="planted/lrp", **changed).json
        assert again["reset"] is True
        assert len(again["steps"]) == 4
        assert site.server.get("timeline", run="planted/lrp", **changed).json["reset"] is True


def test_scalars_of_single_tensors_and_medians_on_request(site: Site) -> None:
    line = site.server.get("timeline", run="planted/lrp", columns="", of_tensors="", medians="layer/*,drift,x").json
    assert sorted(line["scalars"]) == ["gradients/norm", "lrp/conservation"]
    assert line["tags"] == ["gradients/norm", "gradients/norm/conv2d/kernel", "lrp/conservation"]
    assert line["medians"] == {"drift": [0.5] * 4, "layer/a,b": [2.0] * 4, "layer/top": [5.0] * 4}
    one = site.server.get("timeline", run="planted/lrp", columns="", of_tensors="gradients/norm/*").json
    assert one["scalars"]["gradients/norm/conv2d/kernel"] == [None, 3.0, 3.0, 3.0]
    assert "medians" not in one


def test_probes(site: Site) -> None:
    info = make_probes()
    answer = site.server.get("probes", run="planted/lrp", hash=info.hash)
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert "immutable" in answer.headers["Cache-Control"]
    header, body = open_envelope(answer.body)
    assert (header["shape"], header["map_shape"]) == ([3, 8, 6, 3], list(SHAPE))
    offset, length = header["images"]
    images = np.frombuffer(zlib.decompress(body[offset : offset + length]), np.uint8)
    np.testing.assert_array_equal(images.reshape(3, 8, 6, 3), info.images)
    offset, length = header["masks"]["stamp"]
    flags = np.frombuffer(zlib.decompress(body[offset : offset + length]), np.uint8)
    np.testing.assert_array_equal(flags.reshape(3, *SHAPE), info.masks["stamp"])
    header, _ = open_envelope(site.server.get("probes", run="planted/lrp", hash=info.hash, probes="1").body)
    assert header["of"] == [1]
    assert site.server.get("probes", run="planted/lrp", hash="0" * 64).status == 404


@pytest.mark.parametrize("step", [0, 5])
def test_step(site: Site, step: int) -> None:
    answer = site.server.get("step", run="planted/lrp", step=step, session=site.planted)
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "private, max-age=31536000, immutable"
    assert int(answer.headers["Content-Length"]) == len(answer.body)
    header, body = open_envelope(answer.body)
    assert (header["step"], header["session"], header["encoding"]) == (step, site.planted, "sqrt8")
    assert header["probes"] == {
        "sum": [step, step + 1.0, step + 2.0],
        "drift": [None, 0.5, None],
        "layer/a,b": [1.0, 2.0, 3.0],
        "layer/top": [4.0, 5.0, 6.0],
    }
    assert header["gradient_batch"] == 32
    for i in range(COUNT):
        offset, length = header["maps"][i]
        codes = np.frombuffer(zlib.decompress(body[offset : offset + length]), np.int8).astype(float)
        values = np.sign(codes) * (codes / 127) ** 2 * header["scale"][i]
        assert header["scale"][i] == np.abs(make_maps(step)[i]).max()
        assert np.abs(values.reshape(SHAPE) - make_maps(step)[i]).max() < 0.0079 * header["scale"][i]


def test_step_of_some_probes(site: Site) -> None:
    ask = {"run": "planted/lrp", "step": 5, "session": site.planted}
    whole, all_chunks = open_envelope(site.server.get("step", **ask).body)
    answer = site.server.get("step", **ask, probes="2,0")
    header, chunks = open_envelope(answer.body)
    assert answer.headers["Cache-Control"] == "private, max-age=31536000, immutable"
    assert header | {"maps": None} == whole | {"maps": None}  # figures are of all probes
    assert header["maps"][1] is None
    for i in (0, 2):
        (offset, length), (at, same) = header["maps"][i], whole["maps"][i]
        assert chunks[offset : offset + length] == all_chunks[at : at + same]
    assert len(chunks) == whole["maps"][0][1] + whole["maps"][2][1]
    header, chunks = open_envelope(site.server.get("step", **ask, probes="").body)
    assert (header["maps"], chunks) == ([None] * COUNT, b"")


def test_the_largest_values_over_time_are_of_all_steps(start: Start, tmp_path: Path) -> None:
    writer = RunWriter(tmp_path / "run" / "lrp", make_probes(), meta={})
    absmax = np.array([[1.0, np.nan, np.nan], [3.0, 2.0, np.inf], [2.0, 4.0, np.nan]])
    for step, row in enumerate(absmax):
        writer.append(replace(make_record(step), probes={"absmax": row}))
    writer.close()
    write_marker(tmp_path / "run" / "lrp")
    server = start(f"--logdir={tmp_path}")
    server.wait_for_runs(1)
    for asked in ({}, {"since": 1}):
        assert server.get("run", run="run/lrp", **asked).json["largest"] == {"absmax": [3.0, 4.0, 0.0]}


def test_step_of_another_encoding(site: Site) -> None:
    header, body = open_envelope(site.server.get("step", run="control/lrp", step=1, session=site.control).body)
    assert header["encoding"] == "float16"
    offset, length = header["maps"][2]
    values = np.frombuffer(zlib.decompress(body[offset : offset + length]), "<f2").astype(float)
    values *= header["scale"][2]
    np.testing.assert_allclose(values.reshape(SHAPE), make_maps(1)[2], rtol=2.0**-11, atol=1e-7)


def test_film(site: Site) -> None:
    answer = site.server.get("film", run="planted/lrp", probe=2, steps="5,0", session=site.planted, channels=1)
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert "immutable" in answer.headers["Cache-Control"]
    header, body = open_envelope(answer.body)
    assert [(frame["step"], frame["session"]) for frame in header["frames"]] == [(5, site.planted), (0, site.planted)]
    for frame in header["frames"]:
        true = make_channels(frame["step"])[2]
        for channel, (offset, length) in enumerate(frame["channel_maps"]):
            codes = np.frombuffer(zlib.decompress(body[offset : offset + length]), np.int8).astype(float)
            values = np.sign(codes) * (codes / 127) ** 2 * frame["channel_scale"][channel]
            np.testing.assert_allclose(values.reshape(SHAPE), true[..., channel], atol=0.0079 * np.abs(true).max())
        assert len(frame["channel_maps"]) == 2
    one = open_envelope(site.server.get("step", run="planted/lrp", step=5, session=site.planted, channels=1).body)
    assert len(one[0]["channel_maps"]) == COUNT
    assert one[0]["channel_scale"][2] == header["frames"][0]["channel_scale"]


def test_timeline(site: Site) -> None:
    line = site.server.get("timeline", run="planted/lrp").json
    assert line == {
        "steps": [0, 1, 2, 5],
        "session": site.planted,
        "scalars": {
            "gradients/norm": [None, None, 2.0, 2.0],
            "gradients/norm/conv2d/kernel": [None, 3.0, 3.0, 3.0],
            "lrp/conservation": [0.0, 1.0, 2.0, 5.0],
        },
        "tags": ["gradients/norm", "gradients/norm/conv2d/kernel", "lrp/conservation"],
        "columns": ["drift", "layer/a,b", "layer/top", "sum"],
        "probes": {
            "drift": [[None, 0.5, None]] * 4,
            "layer/a,b": [[1.0, 2.0, 3.0]] * 4,
            "layer/top": [[4.0, 5.0, 6.0]] * 4,
            "sum": [[step, step + 1.0, step + 2.0] for step in (0.0, 1.0, 2.0, 5.0)],
        },
    }


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ([("columns", "sum")], ["sum"]),
        ([("columns", "sum,drift")], ["drift", "sum"]),
        ([("columns", "layer/*")], ["layer/a,b", "layer/top"]),
        ([("column", "layer/a,b"), ("column", "sum")], ["layer/a,b", "sum"]),
        ([("columns", "no such column")], []),
        ([("columns", "")], []),
    ],
)
def test_a_timeline_of_the_named_columns_only(site: Site, asked: list[tuple[str, str]], sent: list[str]) -> None:
    whole = site.server.get("timeline", run="planted/lrp").json
    query = urllib.parse.urlencode([("run", "planted/lrp"), *asked])
    line = site.server.at(f"{PREFIX}timeline?{query}").json
    assert line == whole | {"probes": {name: whole["probes"][name] for name in sent}}


def test_a_timeline_of_one_probe(site: Site) -> None:
    line = site.server.get("timeline", run="planted/lrp", columns="sum,drift", probe=1, since=1).json
    assert (line["steps"], line["probes"]) == ([2, 5], {"drift": [[0.5], [0.5]], "sum": [[3.0], [6.0]]})


def test_histogram(site: Site) -> None:
    asked = {"run": "planted/lrp", "session": site.planted, "name": "conv2d/kernel"}
    answer = site.server.get("histogram", step=5, kind="weight", **asked)
    assert "immutable" in answer.headers["Cache-Control"]
    assert answer.json == {
        "size": 9,
        "zeros": 2,
        "denormals": 0,
        "nan": 0,
        "inf": 0,
        "minimum": -1.0,
        "maximum": 2.0,
        "norm": 1.5,
        "note": "",
        "buckets": [508, 1532],
        "counts": [3, 9],
    }
    gradient = site.server.get("histogram", step=5, kind="gradient", **asked).json
    assert (gradient["note"], gradient["minimum"], gradient["buckets"]) == ("no gradient", None, [])
    missing = site.server.get("histogram", step=0, kind="gradient", **asked)
    assert missing.status == 404
    assert "no gradient histogram of 'conv2d/kernel' at step 0" in missing.text


def test_all_histograms_of_a_step_are_those_of_the_tensors_one_by_one(site: Site) -> None:
    asked = {"run": "planted/lrp", "session": site.planted, "step": 2, "kind": "gradient"}
    answer = site.server.get("histograms", **asked)
    assert "immutable" in answer.headers["Cache-Control"]
    found = answer.json["histograms"]
    assert [one.pop("name") for one in found] == ["conv2d/kernel", "seldom/kernel"]
    assert found[1] == site.server.get("histogram", name="seldom/kernel", **asked).json
    weights = site.server.get("histograms", **{**asked, "kind": "weight"}).json["histograms"]
    assert [(one["buckets"], one["counts"]) for one in weights] == [([508, 1532], [3, 6])]
    assert site.server.get("histograms", **{**asked, "kind": "bias"}).status == 400


def test_notes_of_people_appear_and_damaged_ones_are_problems(site: Site) -> None:
    run = open_run(site.folder / "control")
    note = run.add_note(1, " <b>seen</b>\n\u202e ")
    Path(run.path, f"note-{2:019d}-{'ab' * 4}.json").write_text(
        '{"format": 1, "text": "x", "step": -1, "wall_time": 1}'
    )
    expected = {"name": note.name, "step": 1, "text": "<b>seen</b>\n\u202e", "wall_time": note.wall_time}
    assert site.server.get("notes", run="control/lrp").json == {"run": "control/lrp", "notes": [expected]}
    assert [one.name for one in run.notes()] == [note.name]
    assert any("note-000" in problem and "-1 is not a whole number" in problem for problem in run.problems)
    with pytest.raises(KeyError, match="no step 7"):
        run.add_note(7, "x")
    for text in (" \n", "x" * 2001):
        with pytest.raises(ValueError, match="a note has 1 to 2000 letters"):
            run.add_note(1, text)
    with pytest.raises(KeyError, match=r"no note '\.\./x'"):
        run.remove_note("../x")
    for name in (note.name, f"note-{2:019d}-{'ab' * 4}.json"):
        run.remove_note(name)
    assert site.server.get("notes", run="control/lrp").json["notes"] == []


def test_clusters_appear_as_soon_as_they_are_found(site: Site) -> None:
    assert site.server.get("clusters", run="control/lrp").json == {"run": "control/lrp", "clusters": []}
    run = open_run(site.folder / "control")
    run.write_clusters(StepClusters(1, site.control, np.array([0, 1, 0]), np.array([0.0, 0.3]), {"side": 16}))
    expected = {"step": 1, "session": site.control, "count": 2, "labels": [0, 1, 0], "logged": False}
    assert site.server.get("clusters", run="control/lrp").json["clusters"] == [expected]
    (Path(run.path) / clusters_name(1, site.control)).unlink()
    assert site.server.get("clusters", run="control/lrp").json["clusters"] == []


@pytest.mark.parametrize(
    ("route", "parameters", "status", "words"),
    [
        ("run", {}, 400, "the parameter 'run' is missing"),
        ("run", {"run": "planted"}, 404, "no run 'planted'"),
        ("run", {"run": "../../../etc"}, 404, "no run"),
        ("run", {"run": "/etc"}, 404, "no run"),
        ("run", {"run": "planted/lrp/../../planted/lrp"}, 404, "no run"),
        ("run", {"run": "planted/lrp\x00"}, 404, "no run"),
        ("run", {"run": "x" * 5000}, 400, "longer than 4096"),
        ("run", {"run": "broken/lrp"}, 404, "probes.tfrecord is missing"),
        ("run", {"run": "planted/lrp", "since": "-1"}, 400, "since must be a whole number"),
        ("run", {"run": "planted/lrp", "since": "٣"}, 400, "since must be a whole number"),
        ("timeline", {"run": "planted/lrp", "since": "1e3"}, 400, "since must be a whole number"),
        ("timeline", {"run": "planted/lrp", "since": 1, "session": "../x"}, 400, "session must be hexa"),
        ("timeline", {"run": "planted/lrp", "probe": 3}, 404, "no probe 3: there are 3"),
        ("timeline", {"run": "planted/lrp", "probe": "x"}, 400, "probe must be a whole number"),
        ("step", {"run": "planted/lrp", "step": 1}, 400, "the parameter 'session' is missing"),
        ("step", {"run": "planted/lrp", "step": "1/2", "session": "0" * 16}, 400, "step must be a whole"),
        ("step", {"run": "planted/lrp", "step": "9" * 30, "session": "0" * 16}, 400, "step must be a whole"),
        ("step", {"run": "planted/lrp", "step": 1, "session": "0" * 16}, 404, "not of session 0000"),
        ("step", {"run": "planted/lrp", "step": 3, "session": "0" * 16}, 404, "nearest steps are 1, 2, 5"),
        (
            "step",
            {"run": "planted/lrp", "step": 1, "session": "0" * 16, "channels": "yes"},
            400,
            "channels must be 0 or",
        ),
        ("step", {"run": "planted/lrp", "step": 1, "session": "0" * 16, "probes": "3"}, 404, "no probes 3: there are"),
        ("step", {"run": "planted/lrp", "step": 1, "session": "0" * 16, "probes": "1,1"}, 400, "names a place twice"),
        ("step", {"run": "planted/lrp", "step": 1, "session": "0" * 16, "probes": "1,"}, 400, "512 whole numbers"),
        (
            "step",
            {"run": "planted/lrp", "step": 1, "session": "0" * 16, "probes": "1", "channels": 1},
            400,
            "ask for probes or for channels",
        ),
        ("film", {"run": "planted/lrp", "session": "0" * 16, "steps": "1"}, 400, "the parameter 'probe' is missing"),
        (
            "film",
            {"run": "planted/lrp", "session": "0" * 16, "steps": "1,,2", "probe": 0},
            400,
            "steps must be at most",
        ),
        ("film", {"run": "planted/lrp", "session": "0" * 16, "steps": "1," * 600 + "1", "probe": 0}, 400, "512 whole"),
        ("film", {"run": "planted/lrp", "session": "0" * 16, "steps": "1", "probe": 9}, 404, "no probe 9"),
        ("film", {"run": "planted/lrp", "session": "0" * 16, "steps": "1", "probe": 0}, 404, "is not the latest one"),
        ("probes", {"run": "planted/lrp", "hash": make_probes().hash, "probes": "3"}, 404, "no probes 3: there are"),
        ("probes", {"run": "planted/lrp", "hash": "../../x"}, 400, "hash must be hexadecimal"),
        ("probes", {"run": "planted/lrp", "hash": "a" * 200}, 400, "hash must be hexadecimal"),
        (
            "histogram",
            {"run": "planted/lrp", "step": 1, "session": "0" * 16, "kind": "bias", "name": "x"},
            400,
            "kind must be one of weight, gradient",
        ),
        ("../lrp_monitor/..%2f..%2fsetup.cfg", {}, 404, "Not found"),
        ("index.js/../../x", {}, 404, "Not found"),
        ("package.json", {}, 404, "Not found"),
    ],
)
def test_bad_requests_are_answered_in_words(site: Site, route: str, parameters: dict, status: int, words: str) -> None:
    answer = site.server.get(route, **parameters)
    assert (answer.status, words in answer.text) == (status, True), answer.text
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.parametrize("route", ["runs", "step", "index.js"])
def test_nothing_but_reading_is_allowed(site: Site, route: str, method: str) -> None:
    answer = site.server.get(route, method)
    assert answer.status == 405
    assert answer.headers["Allow"] == "GET, HEAD"


def test_head_answers_without_a_body(site: Site) -> None:
    answer = site.server.get("step", "HEAD", run="planted/lrp", step=1, session=site.planted)
    whole = site.server.get("step", run="planted/lrp", step=1, session=site.planted)
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["Content-Length"] == str(len(whole.body))


def test_the_page_is_served_or_says_how_to_build_it(site: Site) -> None:
    bundle = assets() / "index.js"
    answer = site.server.get("index.js")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    if bundle.exists():
        assert answer.headers["Content-Type"] == "text/javascript; charset=utf-8"
        assert answer.body == bundle.read_bytes()
    else:
        assert answer.status == 404
        assert "npm run build" in answer.text


def test_a_running_fit_is_followed_and_a_resumed_one_resets(site: Site) -> None:
    log_dir = site.folder / "live"
    with RunWriter(log_dir / "lrp", make_probes(), meta={}) as writer:
        write_marker(log_dir / "lrp")
        writer.append(make_record(0))
        site.server.wait_for_runs(4)
        assert [s["step"] for s in site.server.get("run", run="live/lrp").json["steps"]] == [0]
        for step in (1, 2, 3):
            writer.append(make_record(step))
            newer = site.server.get("run", run="live/lrp", since=step - 1, session=writer.session).json
            assert [s["step"] for s in newer["steps"]] == [step]
    resumed = write_run(log_dir, [2, 3], base=10.0)
    again = site.server.get("timeline", run="live/lrp", since=3, session=writer.session).json
    assert again["reset"] is True
    assert again["scalars"]["lrp/conservation"] == [0.0, 1.0, 12.0, 13.0]
    runs = {run["name"]: run for run in site.server.get("runs").json["runs"]}
    assert runs["live"]["session"] == resumed
    assert site.server.get("step", run="live/lrp", step=3, session=writer.session).status == 404
    assert site.server.get("step", run="live/lrp", step=3, session=resumed).status == 200
