"""What the tiers tell apart, on small models that are trained here: what DESIGN and README claim of them."""

from __future__ import annotations

from collections.abc import Callable

import keras
import ml_dtypes
import numpy as np
import pytest
from regression_helpers import checks_of

from lrp_monitor import BaselineError, Composite, Explainer, ProbeSet, Snapshot, compare, rules
from lrp_monitor.demo.shapes import CLASSES, STAMP_BOX, make_shapes
from lrp_monitor.demo.train import STAMPED_CLASS, build_model

pytestmark = pytest.mark.trains

STAMP = {"stamp": STAMP_BOX}
Train = Callable[..., keras.Model]


@pytest.fixture(scope="module")
def train() -> Train:
    """Trains the demo's network: 6 epochs on 1,500 images of its own; each once for all tests here."""
    trained: dict[tuple[int, str | None], keras.Model] = {}

    def fit(seed: int, stamped_class: str | None = None) -> keras.Model:
        if (seed, stamped_class) not in trained:
            shapes = make_shapes(1500, seed=(seed, 0), stamped_class=stamped_class)
            keras.utils.set_random_seed(seed)
            model = build_model()
            model.compile(keras.optimizers.Adam(2e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
            model.fit(shapes.images, shapes.labels, batch_size=32, epochs=6, verbose=0)
            unseen = make_shapes(400, seed=(seed, 1), stamped_class=stamped_class)
            # A model that has not learned its task would make what follows say nothing.
            assert model.evaluate(unseen.images, unseen.labels, verbose=0)[1] > 0.9
            trained[seed, stamped_class] = model
        return trained[seed, stamped_class]

    return fit


@pytest.fixture(scope="module")
def probes() -> ProbeSet:
    """40 probes, 10 of each class; every triangle carries the stamp."""
    drawn = make_shapes(40, seed=77, stamped_class=STAMPED_CLASS, stamped_share=1.0)
    return ProbeSet(drawn.images, labels=drawn.labels, class_names=CLASSES)


@pytest.fixture(scope="module")
def honest(train: Train, probes: ProbeSet) -> Snapshot:
    return Snapshot.of(train(0), probes)


def with_weights(model: keras.Model, change: Callable[[np.ndarray], np.ndarray]) -> keras.Model:
    other = keras.models.clone_model(model)
    other.set_weights([change(weight) for weight in model.get_weights()])
    return other


@pytest.mark.parametrize(
    "options", [pytest.param({"jit_compile": True}, marks=pytest.mark.slow), {"batch_size": 1}, {"batch_size": 16}]
)
def test_the_same_weights_pass_however_they_are_computed(train, probes, honest, options):
    found = compare(honest, Snapshot.of(train(0), probes, **options), masks=STAMP)
    assert found.ok, str(found)
    # Rounding alone is a thousand times smaller than the tier allows.
    assert found.metrics["relative_l2"].max() < 1e-5
    assert "the weights are the same" in found.notes


def test_the_same_weights_pass_one_by_one(train, probes, honest):
    explainer = Explainer(train(0))
    alone = [explainer.explain(probes.inputs[i : i + 1], int(probes.labels[i])) for i in range(len(probes))]
    maps = np.concatenate([probes.heatmaps(found.relevance) for found in alone])
    np.testing.assert_allclose(maps, honest.heatmaps, rtol=1e-4, atol=1e-5 * np.abs(honest.heatmaps).max())


def test_the_same_weights_pass_from_a_file(train, probes, honest, tmp_path):
    honest.save(tmp_path / "base")
    train(0).save(tmp_path / "model.keras")
    loaded = Snapshot.of(keras.models.load_model(tmp_path / "model.keras"), probes)
    found = compare(tmp_path / "base", loaded, masks=STAMP)
    assert found.ok, str(found)
    assert "the weights are the same" in found.notes


def test_weights_rounded_to_bfloat16_are_mixed_precision_and_not_the_same(train, probes, honest):
    rounded = with_weights(train(0), lambda weight: weight.astype(ml_dtypes.bfloat16).astype(np.float32))
    now = Snapshot.of(rounded, probes)
    same = compare(honest, now, masks=STAMP)
    assert checks_of(same) == {"maps": False, "logits": False, "mask stamp": True}
    mixed = compare(honest, now, tier="mixed_precision", masks=STAMP)
    assert mixed.ok, str(mixed)


def test_weights_rounded_to_four_bits_are_beyond_mixed_precision(train, probes, honest):
    rounded = with_weights(train(0), lambda weight: weight.astype(ml_dtypes.float8_e4m3fn).astype(np.float32))
    assert not compare(honest, Snapshot.of(rounded, probes), tier="mixed_precision").ok


def test_a_little_more_training_is_fine_tuned_and_not_mixed_precision(train, probes, honest):
    tuned = keras.models.clone_model(train(0))
    tuned.set_weights(train(0).get_weights())
    # Far from both limits, of 2 and of 4 maps: over 6 trainings 13 to 23 maps are beyond the one, at most 1 the other.
    tuned.compile(keras.optimizers.Adam(5e-5), "sparse_categorical_crossentropy")
    shapes = make_shapes(600, seed=(5, 0))
    tuned.fit(shapes.images, shapes.labels, batch_size=32, epochs=1, verbose=0)
    now = Snapshot.of(tuned, probes)
    assert not compare(honest, now, tier="mixed_precision", masks=STAMP).ok
    found = compare(honest, now, tier="fine_tuned", masks=STAMP)
    assert found.ok, str(found)


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_an_honest_retraining_with_another_seed_is_retrained_and_not_fine_tuned(train, probes, honest, seed):
    now = Snapshot.of(train(seed), probes)
    assert not compare(honest, now, tier="fine_tuned", masks=STAMP).ok
    found = compare(honest, now, tier="retrained", masks=STAMP)
    assert found.ok, str(found)
    assert abs(found.summary()["mask_mass/stamp"]) < 0.05


def test_the_shortcut_fails_and_the_mask_is_named(train, probes, honest):
    now = Snapshot.of(train(0, STAMPED_CLASS), probes)
    found = compare(honest, now, tier="retrained", masks=STAMP)
    assert checks_of(found)["mask stamp"] is False
    rise = found.summary()["mask_mass/stamp"]
    assert rise > 0.1
    line = next(line for line in str(found).splitlines() if "mask stamp" in line)
    assert line.startswith("  FAIL mask stamp")
    assert "most at 'triangle " in line
    # Every probe carries its right class still: no accuracy tells.
    assert checks_of(found)["classes"] is True


def test_only_the_mask_tells_the_shortcut_where_it_is_one_class_of_many(train, probes, honest):
    # As in a set of many classes: fewer stamped probes than may be beyond the limits of their maps.
    few = np.flatnonzero(probes.labels != CLASSES.index(STAMPED_CLASS)).tolist()
    few += np.flatnonzero(probes.labels == CLASSES.index(STAMPED_CLASS))[:4].tolist()
    subset = probes.select(sorted(few))
    before = Snapshot.of(train(0), subset)
    now = Snapshot.of(train(0, STAMPED_CLASS), subset)
    stamp = np.zeros((len(subset), *subset.map_shape), bool)
    top, left, bottom, right = STAMP_BOX
    stamp[subset.labels == CLASSES.index(STAMPED_CLASS), top:bottom, left:right] = True
    assert compare(before, now, tier="retrained").ok
    found = compare(before, now, tier="retrained", masks={"stamp": stamp})
    assert checks_of(found) == {"maps": True, "classes": True, "mask stamp": False}


def test_a_randomised_head_fails_through_the_logits(train, probes, honest):
    random = keras.models.clone_model(train(0))
    random.set_weights(train(0).get_weights())
    head, rng = random.get_layer("classes"), np.random.default_rng(0)
    head.set_weights([rng.permutation(weight.ravel()).reshape(weight.shape) for weight in head.get_weights()])
    now = Snapshot.of(random, probes)
    same = compare(honest, now, masks=STAMP)
    assert checks_of(same)["logits"] is False
    assert same.metrics["logits"].max() > 0.5
    # The logits alone, and what follows from them in the tier for retraining: the classes.
    maps_free = {"relative_l2": None, "cosine": None, "mask_mass": None}
    assert checks_of(compare(honest, now, **maps_free)) == {"logits": False}
    retrained = compare(honest, now, tier="retrained", iou=None, js=None)
    assert checks_of(retrained) == {"classes": False}


def test_maps_of_z_plus_hardly_see_the_head_and_logits_do(train, probes):
    # z+ in every layer: relevance is spread by what is active, hardly by which class is meant. Only the sign of a map
    # follows its logit.
    composite = Composite(conv=rules.ZPlus(), dense=rules.ZPlus())
    shuffled = keras.models.clone_model(train(0))
    shuffled.set_weights(train(0).get_weights())
    head, rng = shuffled.get_layer("classes"), np.random.default_rng(1)
    head.set_weights([rng.permutation(weight.ravel()).reshape(weight.shape) for weight in head.get_weights()])
    found = compare(
        Snapshot.of(train(0), probes, composite), Snapshot.of(shuffled, probes, composite), tier="mixed_precision"
    )
    assert np.median(np.abs(found.metrics["cosine"])) > 0.9
    assert checks_of(found)["logits"] is False


def test_another_composite_is_an_error_of_its_own(train, probes, honest):
    with pytest.raises(BaselineError, match=r"now composite epsilon_plus; .* in the baseline composite epsilon_gamma;"):
        compare(honest, Snapshot.of(train(0), probes, "epsilon_plus"))


def test_a_changed_probe_is_an_error_of_its_own(train, probes, honest):
    inputs = probes.inputs.copy()
    inputs[7, 0, 0, 0] += 1e-6
    changed = ProbeSet(inputs, labels=probes.labels, class_names=CLASSES)
    with pytest.raises(BaselineError, match=f"the input is not the same at '{probes.names[7]}'"):
        compare(honest, Snapshot.of(train(0), changed))
