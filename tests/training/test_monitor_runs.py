"""One model, one run: what opens a run beside another one, and what goes on in the one that is there."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

import keras
import monitor_helpers
import numpy as np
import pytest
import tensorflow as tf
from forked import Forked
from monitor_helpers import BATCH, StopAt, data, epochs_of, fit, make_model, make_probes, places

from lrp_monitor.store.folders import run_folders
from lrp_monitor.store.format import StoreError
from lrp_monitor.store.reader import open_run
from lrp_monitor.training.monitor import LRPMonitor


def monitor(folder: Path, *probes: Any, **options: Any) -> LRPMonitor:
    """Of what a run holds these tests read its steps: no gradient is captured, whose step would be compiled besides."""
    return monitor_helpers.monitor(folder, *probes, **{"gradients": "off", **options})


def runs(folder: Path) -> dict[str, list[int]]:
    """The steps of each run of a log directory."""
    found = {Path(path).name: open_run(path) for path in run_folders(folder)}
    assert [run.verify() for run in found.values()] == [[]] * len(found)
    return {name: run.steps for name, run in found.items()}


def test_a_run_of_its_own_for_each_fold_and_a_word_on_it(tmp_path: Path) -> None:
    watcher = monitor(tmp_path)
    for seed in range(3):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            fit(make_model(seed), watcher, epochs=2)
        texts = [str(warning.message) for warning in caught if "LRPMonitor" in str(warning.message)]
        assert len(texts) == (seed > 0)
        for text in texts:
            assert f"logged as a run of its own, {tmp_path / f'lrp-{seed + 1}'}" in text
            assert "on_other_model" in text
            assert "{trial}" in text
        assert watcher.run_dir == str(tmp_path / ("lrp" if seed == 0 else f"lrp-{seed + 1}"))
    assert runs(tmp_path) == {"lrp": [0, 1, 2], "lrp-2": [0, 1, 2], "lrp-3": [0, 1, 2]}
    # of the log directory the last one is opened, and each by its folder
    assert open_run(tmp_path).path == open_run(tmp_path / "lrp-3").path
    assert "not the one last logged" in open_run(tmp_path).record(0).notes[0]


@pytest.mark.filterwarnings("ignore:LRPMonitor. the model is not")
def test_one_model_object_set_back_for_each_fold(tmp_path: Path) -> None:
    model, watcher = make_model(), monitor(tmp_path)
    start = model.get_weights()
    for _ in range(3):
        model.set_weights(start)
        fit(model, watcher, epochs=2)
    assert runs(tmp_path) == {"lrp": [0, 1, 2], "lrp-2": [0, 1, 2], "lrp-3": [0, 1, 2]}


@pytest.mark.filterwarnings("ignore:LRPMonitor. the model is not")
def test_one_model_object_drawn_anew_in_place(tmp_path: Path) -> None:
    model, watcher = make_model(), monitor(tmp_path)
    fit(model, watcher, epochs=1)
    model.set_weights(make_model(seed=7).get_weights())
    fit(model, watcher, epochs=1)
    assert runs(tmp_path) == {"lrp": [0, 1], "lrp-2": [0, 1]}


@pytest.mark.filterwarnings("ignore:LRPMonitor. the model is not")
def test_a_script_run_again_loses_nothing(tmp_path: Path) -> None:
    def other() -> keras.Model:
        model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(3, "softmax")])
        model.compile("sgd", "sparse_categorical_crossentropy")
        return model

    fit(make_model(), monitor(tmp_path), epochs=3)
    before = open_run(tmp_path / "lrp").heatmaps(2)
    fit(make_model(), monitor(tmp_path), epochs=2)  # the very same weights, trained anew
    fit(make_model(seed=8), monitor(tmp_path), epochs=1)  # the same layers, fresh weights
    with pytest.warns(RuntimeWarning, match=r"\(that one has \d+ parameters, this one 195\)"):
        fit(other(), monitor(tmp_path), epochs=1)  # other layers
    assert runs(tmp_path) == {"lrp": [0, 1, 2, 3], "lrp-2": [0, 1, 2], "lrp-3": [0, 1], "lrp-4": [0, 1]}
    np.testing.assert_array_equal(open_run(tmp_path / "lrp").heatmaps(2), before)


def test_a_trained_model_is_found_among_several_runs(tmp_path: Path) -> None:
    first, second = make_model(1), make_model(2)
    fit(first, monitor(tmp_path), epochs=2)
    with pytest.warns(RuntimeWarning, match="a run of its own"):
        fit(second, monitor(tmp_path), epochs=1)
    first.save(tmp_path / "first.keras")
    fit(keras.models.load_model(tmp_path / "first.keras"), monitor(tmp_path), epochs=1)
    fit(second, monitor(tmp_path), epochs=1)
    assert runs(tmp_path) == {"lrp": [0, 1, 2, 3], "lrp-2": [0, 1, 2]}


def test_continue_and_raise(tmp_path: Path) -> None:
    fit(make_model(), monitor(tmp_path), epochs=2)
    model = make_model(seed=5)
    weights = model.get_weights()
    with pytest.raises(StoreError, match=r"its weights are others.*on_other_model=\"raise\" refuses it"):
        fit(model, monitor(tmp_path, on_other_model="raise"), epochs=1)
    for mine, before in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(mine, before)
    assert runs(tmp_path) == {"lrp": [0, 1, 2]}
    with pytest.warns(RuntimeWarning, match="its log goes on with this one"):
        fit(model, monitor(tmp_path, on_other_model="continue"), epochs=2)
    assert runs(tmp_path) == {"lrp": [0, 1, 2, 3, 4]}
    notes = " ".join(open_run(tmp_path).record(3).notes)
    assert "the model is not the one last logged" in notes
    assert "not the one logged as step 2" in notes
    with pytest.raises(ValueError, match="on_other_model='beside': expected 'new_run' or 'continue' or 'raise'"):
        monitor(tmp_path, on_other_model="beside")


@pytest.mark.filterwarnings("ignore:LRPMonitor. the model is not")
def test_another_axis_is_no_matter_for_another_model(tmp_path: Path) -> None:
    fit(make_model(), monitor(tmp_path), epochs=1)
    fit(make_model(seed=4), monitor(tmp_path, batches=2), epochs=1)
    assert runs(tmp_path) == {"lrp": [0, 1], "lrp-2": [0, 2, 4, 5]}


# ---- what goes on in one run


def test_unfrozen_layers_and_another_optimizer_go_on(tmp_path: Path) -> None:
    model, watcher = make_model(), monitor(tmp_path)
    model.layers[0].trainable = False
    model.compile("sgd", "sparse_categorical_crossentropy")
    fit(model, watcher, epochs=2)
    model.layers[0].trainable = True
    model.compile("sgd", "sparse_categorical_crossentropy")
    fit(model, watcher, epochs=4, initial_epoch=2)
    assert runs(tmp_path) == {"lrp": [0, 1, 2, 3, 4]}


@pytest.mark.filterwarnings("ignore:LRPMonitor. the model is not")
def test_a_replaced_head_is_another_model(tmp_path: Path) -> None:
    model, watcher = make_model(), monitor(tmp_path)
    fit(model, watcher, epochs=1)
    model.pop()
    model.add(keras.layers.Dense(4, activation="softmax"))
    model.compile("sgd", "sparse_categorical_crossentropy")
    fit(model, watcher, epochs=1)
    assert runs(tmp_path) == {"lrp": [0, 1], "lrp-2": [0, 1]}


def test_an_earlier_state_of_the_same_model_goes_on_after_the_last_and_says_so(tmp_path: Path) -> None:
    model, watcher = make_model(), monitor(tmp_path, every=2)
    fit(model, watcher, StopAt(1), epochs=4)
    kept = model.get_weights()
    fit(model, watcher, epochs=4)
    model.set_weights(kept)
    fit(model, watcher, epochs=2)
    assert runs(tmp_path) == {"lrp": [0, 2, 4, 6, 8]}
    assert "not the one logged as step 6" in " ".join(open_run(tmp_path).record(8).notes)


def test_weights_restored_by_early_stopping_go_on(tmp_path: Path) -> None:
    model, watcher = make_model(), monitor(tmp_path, every=3)
    early = keras.callbacks.EarlyStopping("loss", min_delta=100.0, patience=4, restore_best_weights=True)
    fit(model, watcher, early, epochs=9)
    fit(model, watcher, epochs=3)  # from the state after epoch 1, which was not logged
    assert runs(tmp_path) == {"lrp": [0, 3, 5, 6, 8]}


def test_a_checkpoint_inside_an_epoch_is_resumed_with_its_optimizer(tmp_path: Path) -> None:
    class Backup(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if (self.now, batch) == (2, 2):
                self.model.save(tmp_path / "inside.keras")
                raise KeyboardInterrupt

        def on_epoch_begin(self, epoch, logs=None):
            self.now = epoch

    with pytest.raises(KeyboardInterrupt):
        fit(make_model(), monitor(tmp_path), Backup(), epochs=4)
    fit(keras.models.load_model(tmp_path / "inside.keras"), monitor(tmp_path), epochs=4, initial_epoch=2)
    assert runs(tmp_path) == {"lrp": [0, 1, 2, 3, 4]}
    assert "superseded" in " ".join(open_run(tmp_path).record(2).notes)


@pytest.mark.filterwarnings("ignore:LRPMonitor. the model is not")
def test_weights_without_an_optimizer_supersede_nothing(tmp_path: Path) -> None:
    fit(make_model(), monitor(tmp_path), epochs=4)
    fit(make_model(seed=3), monitor(tmp_path), epochs=3, initial_epoch=2)
    assert runs(tmp_path) == {"lrp": [0, 1, 2, 3, 4], "lrp-2": [2, 3]}


def test_loaded_weights_go_on(tmp_path: Path) -> None:
    model = make_model()
    fit(model, monitor(tmp_path), epochs=2)
    model.save_weights(tmp_path / "last.weights.h5")
    later = make_model(seed=11)
    later.load_weights(tmp_path / "last.weights.h5")
    fit(later, monitor(tmp_path), epochs=1)
    assert runs(tmp_path) == {"lrp": [0, 1, 2, 3]}


def zero_head(seed: int) -> keras.Model:
    keras.utils.set_random_seed(seed)
    layers = [keras.layers.Flatten(), keras.layers.Dense(5, "relu")]
    head = keras.layers.Dense(3, "softmax", kernel_initializer="zeros")
    model = keras.Sequential([keras.Input((8, 8, 1)), *layers, head])
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


@pytest.mark.filterwarnings("ignore:LRPMonitor. the model is not")
def test_models_that_answer_alike_are_reported_apart_by_their_weights(tmp_path: Path) -> None:
    """All logits are zero at first: nothing that the probes show differs."""
    for seed in (1, 1, 2):
        with pytest.raises(KeyboardInterrupt):
            fit(zero_head(seed), monitor(tmp_path), StopAt(0, batch=0, error=KeyboardInterrupt()), epochs=1)
    assert runs(tmp_path) == {"lrp": [0], "lrp-2": [0]}


def test_a_diverged_model_goes_on(tmp_path: Path) -> None:
    model = make_model()
    model.set_weights([np.full_like(weight, np.nan) for weight in model.get_weights()])
    model.save(tmp_path / "diverged.keras")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of weights that are not finite
        fit(model, monitor(tmp_path), epochs=1)
        fit(model, monitor(tmp_path), epochs=1)
    assert list(runs(tmp_path)) == ["lrp"]


@pytest.mark.slow  # what differs from a model of one device: test_monitor_scaled.py
def test_mirrored(tmp_path: Path) -> None:
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        model = make_model()
    watcher = monitor(tmp_path)
    fit(model, watcher, epochs=1)
    fit(model, watcher, epochs=1)
    with strategy.scope():
        other = make_model(seed=6)
    with pytest.warns(RuntimeWarning, match="a run of its own"):
        fit(other, watcher, epochs=1)
    assert runs(tmp_path) == {"lrp": [0, 1, 2], "lrp-2": [0, 1]}


# ---- trials


def test_a_place_for_the_trial_in_the_log_directory(tmp_path: Path) -> None:
    watcher = monitor(tmp_path / "{trial}" / "log")
    models = [make_model(seed) for seed in range(3)]
    for model in (*models[:2], models[1]):
        fit(model, watcher, epochs=1)
    fit(models[2], copy.deepcopy(watcher), epochs=1)
    assert {trial: runs(tmp_path / trial / "log") for trial in "012"} == {
        "0": {"lrp": [0, 1]},
        "1": {"lrp": [0, 1, 2]},
        "2": {"lrp": [0, 1]},
    }


def test_a_function_gives_the_log_directory(tmp_path: Path) -> None:
    fold = "first"
    watcher = LRPMonitor(make_probes(), lambda trial: tmp_path / f"{fold}-{trial}", verbose=0)
    fit(make_model(1), watcher, epochs=1)
    fold = "second"
    fit(make_model(2), watcher, epochs=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first-0", "second-1"]
    assert watcher.run_dir == str(tmp_path / "second-1" / "lrp")
    with pytest.raises(TypeError, match="log_dir"):
        fit(make_model(), LRPMonitor(make_probes(), lambda trial: None, verbose=0), epochs=1)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:LRPMonitor. the model is not")
@pytest.mark.parametrize("trial", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_keras_tuner(tmp_path: Path, trial: bool) -> None:
    """The real package: it copies the callbacks for each trial and each execution of one."""
    keras_tuner = pytest.importorskip("keras_tuner")

    def build(hp: object) -> keras.Model:
        rate = hp.Choice("rate", [0.01, 0.02])  # type: ignore[attr-defined]
        return make_model(seed=1, optimizer=keras.optimizers.Adam(rate))  # each begins with the same weights

    tuner = keras_tuner.GridSearch(
        build, "loss", max_trials=2, executions_per_trial=2 if trial else 1, directory=tmp_path / "tuner"
    )
    x, y = data()
    logs = tmp_path / "logs"
    watcher = monitor(logs / "{trial}" if trial else logs, every=2)
    tuner.search(x, y, epochs=1, batch_size=BATCH, verbose=0, callbacks=[watcher])
    tried = sorted(tuner.oracle.trials)
    if trial:
        assert sorted(path.name for path in logs.iterdir()) == tried
        assert [list(runs(logs / name)) for name in tried] == [["lrp", "lrp-2"]] * 2
    else:
        assert list(runs(logs)) == ["lrp", "lrp-2"]


# ---- loops of short fits


def test_the_schedule_counts_over_a_loop_of_fits(tmp_path: Path) -> None:
    model, watcher = make_model(), monitor(tmp_path, every=4, gradients="train")
    for _ in range(10):
        fit(model, watcher, epochs=1)
    assert places(tmp_path) == epochs_of(0, 4, 8)
    watcher.close()
    assert places(tmp_path) == epochs_of(0, 4, 8, 10)
    run = open_run(tmp_path)
    assert [run.record(step).gradient_batch for step in run.steps] == [None, 20, 40, None]
    assert run.record(8).last_of_fit
    watcher.close()
    fit(model, watcher, epochs=1)
    fit(model, monitor(tmp_path, every=4), epochs=1)  # a monitor a fit counts alike
    assert places(tmp_path) == epochs_of(0, 4, 8, 10, 12)
    # drift is against the log before, not against the state before the fit
    alone = monitor(tmp_path / "alone", every=4)
    fit(make_model(), alone, epochs=8)
    drift = [open_run(folder).scalar("lrp/drift")[1][1] for folder in (tmp_path, tmp_path / "alone")]
    np.testing.assert_allclose(drift[0], drift[1], rtol=1e-6)


def test_batches_count_over_a_loop_of_fits(tmp_path: Path) -> None:
    model = make_model()
    with monitor(tmp_path, batches=12, gradients="train") as watcher:
        for _ in range(5):
            fit(model, watcher, epochs=1)
        assert [step for step, _, _ in places(tmp_path)] == [0, 12, 24]
    assert places(tmp_path)[-1] == (25, 5, 25)
    run = open_run(tmp_path)
    assert [run.record(step).gradient_batch for step in run.steps] == [None, 12, 24, None]


def test_the_first_epoch_is_that_of_the_run(tmp_path: Path) -> None:
    model, watcher = make_model(), monitor(tmp_path, first_epoch="log", batches=10)
    for _ in range(4):
        fit(model, watcher, epochs=1)
    assert [step for step, _, _ in places(tmp_path)] == [0, 1, 2, 4, 5, 10, 20]


def test_a_loop_of_fits_in_which_one_is_stopped_or_fails(tmp_path: Path) -> None:
    model, watcher = make_model(), monitor(tmp_path, every=4)
    fit(model, watcher, epochs=1)
    fit(model, watcher, StopAt(0, batch=1), epochs=1)
    with pytest.raises(KeyboardInterrupt):
        fit(model, watcher, StopAt(0, batch=3, error=KeyboardInterrupt()), epochs=1)
    for _ in range(3):
        fit(model, watcher, epochs=1)
    # two batches of the second, three or four of the third, which does not count as an epoch
    (first, last) = places(tmp_path)
    assert (first, last[:2]) == ((0, 0, 0), (4, 4))
    assert last[2] in (20, 21)


def test_single_fits_end_with_their_last_state(tmp_path: Path) -> None:
    for name, options, epochs, steps in (
        ("long", {"every": 6}, 20, [0, 6, 12, 18, 20]),
        ("short", {"every": 10}, 3, [0, 3]),
        ("one", {"batches": 2}, 1, [0, 2, 4, 5]),
    ):
        fit(make_model(), monitor(tmp_path / name, **options), epochs=epochs)
        assert runs(tmp_path / name) == {"lrp": steps}, name


@pytest.mark.filterwarnings("ignore:LRPMonitor. the model is not")
def test_the_end_of_a_loop_is_logged_before_another_model_begins(tmp_path: Path) -> None:
    watcher = monitor(tmp_path, every=10)
    for seed in (1, 2):
        model = make_model(seed)
        for _ in range(2):
            fit(model, watcher, epochs=1)
    watcher.close()
    assert runs(tmp_path) == {"lrp": [0, 2], "lrp-2": [0, 2]}


@pytest.mark.filterwarnings("ignore:LRPMonitor. the model is not")
def test_an_end_whose_weights_are_gone_is_reported(tmp_path: Path) -> None:
    model, watcher = make_model(), monitor(tmp_path, every=10)
    start = model.get_weights()
    fit(model, watcher, epochs=1)
    model.set_weights(start)
    with pytest.warns(RuntimeWarning, match=r"ended in \(epoch 1\) is not logged: its weights were changed"):
        fit(model, watcher, epochs=1)
    watcher.close()
    assert [steps[-1] for steps in runs(tmp_path).values()] == [0, 1]


@pytest.mark.process
def test_the_end_of_a_loop_is_logged_when_the_process_ends(tmp_path: Path, forked: Forked) -> None:
    code = f"""
        import threading
        from pathlib import Path
        from monitor_helpers import fit, make_model, monitor
        model, watcher = make_model(), monitor(Path({str(tmp_path)!r}), every=10)
        for _ in range(2):
            fit(model, watcher, epochs=1)
        def refuse(thread):  # as Python 3.12 and later do while they end
            raise RuntimeError("can't create new thread at interpreter shutdown")
        if {{refused}}:
            threading.Thread.start = refuse
    """
    for refused in (True, False):
        forked.run(code.format(refused=refused)).check_returncode()
    # the second process trains the same weights from the start: a run of its own
    assert runs(tmp_path) == {"lrp": [0, 2], "lrp-2": [0, 2]}
    assert open_run(tmp_path).record(2).last_of_fit
