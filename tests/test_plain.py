"""Results as plain data: each has a dictionary, and text that JSON reads back as that dictionary."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import lrp_monitor as lrp
from lrp_monitor.plain import Result, plain, plain_class, plain_number


def test_numbers() -> None:
    assert plain([[1.5, np.nan], [np.inf, -2.0]]) == [[1.5, None], [None, -2.0]]
    assert plain(np.arange(3)) == [0, 1, 2]
    assert plain(np.float32(0.5)) == 0.5
    assert plain(np.float64("nan")) is None
    assert plain(np.zeros((2, 0))) == [[], []]
    assert [plain_number(value) for value in (np.float32(2), float("-inf"))] == [2.0, None]
    assert [plain_class(number) for number in (np.int64(3), np.int64(-1))] == [3, None]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    """One of every kind that the package gives, of a net on three probes, one of which has no finite logit."""
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).uniform(size=(3, 4, 4, 1)).astype("float32")
    model = keras.Sequential(
        [
            keras.layers.Input((4, 4, 1)),
            keras.layers.Conv2D(2, 3, name="conv"),
            keras.layers.Flatten(),
            keras.layers.Dense(3, name="classes"),
        ]
    )
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    probes = lrp.ProbeSet(x, labels=[0, 1, 2], masks={"top": (0, 0, 2, 4)})
    folder = tmp_path_factory.mktemp("results")
    model.fit(x, probes.labels, verbose=0, callbacks=[lrp.LRPMonitor(probes, folder, verbose=0)])
    explainer = lrp.Explainer(model)
    inspection = explainer.inspect(x, probes.labels)
    snapshot = lrp.Snapshot.of(explainer, probes)
    return {
        "Explanation": explainer.explain(x, probes.labels).without(np.array([False, True, False])),
        "Inspection": inspection,
        "LayerRelevance": inspection["conv"],
        "LayerChannels": explainer.channels(x, ["conv"], probes.labels)[1][0],
        "ModelReport": lrp.check(model, x, probes.labels),
        "Run": lrp.open_run(folder),
        "Snapshot": snapshot,
        "Comparison": lrp.compare(snapshot, lrp.open_run(folder), tier="fine_tuned"),
        "SanityReport": lrp.sanity_check(model, probes, draws=1, steps=2, classes=1),
        "Occlusion": lrp.occlude(model, probes, "top"),
    }


def public_results() -> list[str]:
    public = {name: getattr(lrp, name) for name in lrp.__all__}
    return sorted(name for name, value in public.items() if isinstance(value, type) and issubclass(value, Result))


def test_every_result_is_plain_data_and_text(results: dict[str, Result]) -> None:
    assert sorted(results) == public_results()
    for name, result in results.items():
        assert type(result) is getattr(lrp, name)
        text = result.to_json()
        assert text.endswith("}\n")
        assert json.loads(text, parse_constant=pytest.fail) == result.to_dict(), name


def test_what_they_say(results: dict[str, Any]) -> None:
    found = {name: result.to_dict() for name, result in results.items()}
    samples = found["Explanation"]["samples"]
    assert [sample["target"] for sample in samples] == [0, None, 2]
    assert samples[1]["logit"] is samples[1]["relevance_sum"] is samples[1]["probability"] is None
    explanation = results["Explanation"]
    assert samples[2]["relevance_sum"] == pytest.approx(float(explanation.relevance[2].sum()), rel=1e-6)
    assert samples[0]["logits"] == explanation.logits[0].tolist()
    assert samples[0]["prediction"] == int(explanation.prediction[0])
    layers = found["Inspection"]["layers"]
    assert layers == found["ModelReport"]["layers"]
    assert layers[0] == found["LayerRelevance"]
    assert (layers[0]["name"], layers[0]["shape"]) == ("conv", [2, 2, 2])
    assert found["ModelReport"]["ok"] is found["ModelReport"]["supported"] is True
    assert found["Run"]["scalars"]["weights/norm/classes/kernel"]["steps"] == [0, 1]
    assert found["Snapshot"]["targets"] == found["Run"]["probes"]["labels"] == [0, 1, 2]
    assert found["SanityReport"]["randomisation"]["layers"] == ["classes", "conv"]
    assert list(found["SanityReport"]["localisation"]) == found["Snapshot"]["masks"] == ["top"]
    assert len(found["Occlusion"]["drop"]) == 3
    assert np.shape(found["LayerChannels"]["relevance"]) == np.shape(found["LayerChannels"]["fired"]) == (3, 2)


def test_results_have_no_dictionary_of_their_own_accord() -> None:
    with pytest.raises(NotImplementedError):
        Result().to_json()


def test_former_name_of_the_snapshots_target(results: dict[str, Any], tmp_path: Path) -> None:
    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2)])
    probes = lrp.ProbeSet(np.ones((2, 3), "float32"))
    with pytest.warns(DeprecationWarning, match="Snapshot.of: targets= is now target="):
        found = lrp.Snapshot.of(model, probes, "epsilon", targets=[1, 0])
    assert found.targets.tolist() == lrp.Snapshot.of(model, probes, "epsilon", target=[1, 0]).targets.tolist() == [1, 0]
    with pytest.raises(TypeError, match="got both 'targets' and 'target'"):
        lrp.Snapshot.of(model, probes, target=[1, 0], targets=[1, 0])
