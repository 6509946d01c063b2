"""Snapshots of real models: whose classes are explained, what is noted of them, and runs that logged the same."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import lrp_monitor as lrp
from lrp_monitor import BaselineError, Composite, Explainer, ProbeSet, Snapshot, compare, rules

INPUTS = np.random.default_rng(0).random((6, 8, 8, 1)).astype(np.float32)


def network(units=3, activation="softmax", seed=0):
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(units, activation=activation),
        ]
    )


@pytest.fixture(scope="module")
def model():
    return network()


def test_it_holds_what_the_explainer_found(model):
    probes = ProbeSet(INPUTS, labels=[0, 1, 2, 0, 1, 2], masks={"corner": (0, 0, 3, 3)})
    explainer = Explainer(model, "epsilon_plus")
    found, made = explainer.explain(INPUTS, probes.labels), Snapshot.of(model, probes, "epsilon_plus")
    np.testing.assert_array_equal(made.heatmaps, found.relevance[..., 0])
    np.testing.assert_array_equal(made.logits, found.logits)
    np.testing.assert_array_equal(made.logit, found.logits[np.arange(6), probes.labels])
    assert made.predictions.tolist() == model.predict(INPUTS, verbose=0).argmax(axis=1).tolist()
    assert made.targets.tolist() == [0, 1, 2, 0, 1, 2]
    assert made.meta["probes_hash"] == probes.hash
    assert made.meta["parameters"] == model.count_params() == 475
    assert made.meta["versions"]["keras"] == keras.__version__
    again = Snapshot.of(explainer, probes)
    assert compare(made, again, relative_l2=0, logits=0).ok


def test_targets_stay_where_they_are_reported_to(model):
    probes = ProbeSet(INPUTS)
    predicted = Snapshot.of(model, probes)
    assert predicted.targets.tolist() == predicted.predictions.tolist()
    other = (predicted.predictions + 1) % 3
    with pytest.raises(BaselineError, match="another class is explained at 'probe 0', 'probe 1', 'probe 2' and 3 more"):
        compare(predicted, Snapshot.of(model, probes, target=other))
    kept = Snapshot.of(network(seed=4), probes, target=predicted.targets)
    assert kept.targets.tolist() == predicted.predictions.tolist()
    assert kept.predictions.tolist() != predicted.predictions.tolist()


def test_a_single_sigmoid_unit_has_two_classes():
    binary = network(units=1, activation="sigmoid")
    made = Snapshot.of(binary, ProbeSet(INPUTS, labels=[0, 1] * 3))
    assert made.logits.shape == (6, 1)
    np.testing.assert_allclose(made.logit, made.logits[:, 0] * ([-1, 1] * 3))
    assert set(made.predictions.tolist()) <= {0, 1}


def test_weights_and_architecture_are_reported_by_their_hashes_not_by_names(model):
    probes = ProbeSet(INPUTS)
    first = Snapshot.of(model, probes)
    twin = network()
    assert twin.name != model.name
    same = Snapshot.of(twin, probes)
    assert (same.meta["architecture"], same.meta["weights"]) == (first.meta["architecture"], first.meta["weights"])
    other = Snapshot.of(network(seed=1), probes, target=first.targets)
    assert other.meta["architecture"] == first.meta["architecture"]
    assert other.meta["weights"] != first.meta["weights"]
    assert "the weights are not the same" in str(compare(first, other))
    linear = Snapshot.of(network(activation=None), probes, target=first.targets)
    assert linear.meta["weights"] == first.meta["weights"]


def test_a_rule_for_one_layer_is_another_composite(model):
    probes = ProbeSet(INPUTS)
    before = Snapshot.of(model, probes, Composite(conv=rules.ZPlus()))
    for composite in (
        Composite(conv=rules.Gamma(0.25)),
        Composite(conv=rules.ZPlus(), overrides={keras.layers.Dense: rules.ZPlus()}),
        Composite(conv=rules.ZPlus(), attention="cp_lrp"),
    ):
        with pytest.raises(BaselineError, match="another composite: now ") as caught:
            compare(before, Snapshot.of(model, probes, composite))
        assert caught.value.kind == "composite"


def test_a_rule_chosen_by_a_nameless_object_is_the_same_in_the_next_process(model):
    class Chosen:
        def __call__(self, layer):
            return isinstance(layer, keras.layers.Dense)

    probes = ProbeSet(INPUTS)
    first, second = (
        Snapshot.of(model, probes, Composite(conv=rules.ZPlus(), overrides={Chosen(): rules.ZPlus()})) for _ in range(2)
    )
    assert compare(first, second).ok


def test_one_changed_input_changes_one_digest(model):
    probes = ProbeSet(INPUTS)
    inputs = INPUTS.copy()
    inputs[3, 7, 7, 0] = np.nextafter(inputs[3, 7, 7, 0], np.float32(2))
    before, now = Snapshot.of(model, probes).digests, Snapshot.of(model, ProbeSet(inputs)).digests
    assert [a == b for a, b in zip(before, now, strict=True)] == [True, True, True, False, True, True]
    assert Snapshot.of(model, ProbeSet(INPUTS.astype(np.float64))).digests[0] != before[0]


def test_a_logged_run_is_what_its_model_is(tmp_path):
    trained = network()
    trained.compile("adam", "sparse_categorical_crossentropy")
    probes = ProbeSet(INPUTS, labels=[0, 1, 2, 0, 1, 2], masks={"corner": (0, 0, 3, 3)})
    monitor = lrp.LRPMonitor(probes, log_dir=tmp_path, verbose=0)
    trained.fit(INPUTS, probes.labels, epochs=2, batch_size=2, verbose=0, callbacks=[monitor])
    found = compare(tmp_path, Snapshot.of(trained, probes), tier="mixed_precision")
    assert found.ok, str(found)
    assert 0 < found.metrics["relative_l2"].max() < 0.02  # the run's maps are int8
    assert set(found.mask_mass) == {"corner"}
    assert not compare((tmp_path, 0), Snapshot.of(trained, probes)).ok
    with pytest.raises(BaselineError, match="another composite"):
        compare(tmp_path, Snapshot.of(trained, probes, "epsilon"))
    moved = ProbeSet(INPUTS, labels=probes.labels, masks={"corner": (0, 0, 4, 4)})
    with pytest.raises(BaselineError, match="another probe set: its hash is"):
        compare(tmp_path, Snapshot.of(trained, moved))
