"""Every due step is in the store: once, with its epoch and batch, whatever way the fit takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import monitor_helpers
import numpy as np
import pytest
import tensorflow as tf
from forked import Forked
from monitor_helpers import (
    StopAt,
    batches_of_unknown_length,
    data,
    epochs_of,
    fit,
    make_model,
    make_probes,
    places,
)

from lrp_monitor.store.reader import open_run
from lrp_monitor.training.monitor import LRPMonitor


def monitor(folder: Path, *probes: Any, **options: Any) -> LRPMonitor:
    """A monitor without gradients, whose capture traces every training step twice."""
    return monitor_helpers.monitor(folder, *probes, **{"gradients": "off", **options})


def test_one_fit(tmp_path: Path) -> None:
    fit(make_model(), monitor(tmp_path, gradients="train"))
    assert places(tmp_path) == epochs_of(0, 1, 2, 3)
    run = open_run(tmp_path)
    assert [run.record(step).gradient_batch for step in run.steps] == [None, 5, 10, 15]
    assert run.meta["axis"] == "epoch"


def test_every_n_epochs_first_and_last(tmp_path: Path) -> None:
    watcher = monitor(tmp_path, every=3)
    fit(make_model(), watcher, epochs=7)
    assert places(tmp_path) == epochs_of(0, 3, 6, 7)


def test_two_fits_of_one_monitor(tmp_path: Path) -> None:
    model, watcher = make_model(), monitor(tmp_path, gradients="train")
    fit(model, watcher)
    fit(model, watcher)
    assert places(tmp_path) == epochs_of(0, 1, 2, 3, 4, 5, 6)
    run = open_run(tmp_path)
    assert [run.record(step).gradient_batch for step in run.steps] == [None, 5, 10, 15, 20, 25, 30]
    assert not any(run.record(step).notes for step in run.steps)


def test_two_fits_counted_on_by_keras(tmp_path: Path) -> None:
    model, watcher = make_model(), monitor(tmp_path)
    fit(model, watcher)
    fit(model, watcher, epochs=5, initial_epoch=3)
    assert places(tmp_path) == epochs_of(0, 1, 2, 3, 4, 5)


def test_a_new_monitor_on_the_same_directory_goes_on(tmp_path: Path) -> None:
    model = make_model()
    fit(model, monitor(tmp_path))
    fit(model, monitor(tmp_path), epochs=2)
    assert places(tmp_path) == epochs_of(0, 1, 2, 3, 4, 5)
    fit(model, monitor(tmp_path), epochs=8, initial_epoch=5)
    assert places(tmp_path) == epochs_of(*range(9))


def test_compiling_anew_between_fits_does_not_start_over(tmp_path: Path) -> None:
    model = make_model()
    fit(model, monitor(tmp_path))
    model.layers[0].trainable = False
    model.compile("sgd", "sparse_categorical_crossentropy")
    fit(model, monitor(tmp_path))
    assert places(tmp_path) == epochs_of(*range(7))


def test_what_is_logged_otherwise_than_before_is_noted_and_printed(tmp_path: Path, capsys) -> None:
    model = make_model()
    fit(model, monitor(tmp_path, gradients="train"), epochs=1)
    fit(model, monitor(tmp_path, composite="epsilon", verbose=1), epochs=1)
    printed = capsys.readouterr().out
    assert "begins at epoch 1 (composite changed from epsilon_plus_flat to epsilon; the composite's rules " in printed
    assert open_run(tmp_path).record(2).notes == [
        "composite changed from epsilon_plus_flat to epsilon",
        "the composite's rules changed",
        "gradients changed from train to off",
    ]


def test_initial_epoch_in_an_empty_directory(tmp_path: Path) -> None:
    fit(make_model(), monitor(tmp_path), epochs=5, initial_epoch=3)
    assert places(tmp_path) == epochs_of(3, 4, 5)


def test_a_fit_without_an_epoch_logs_nothing(tmp_path: Path) -> None:
    fit(make_model(), monitor(tmp_path), epochs=0)
    assert open_run(tmp_path).steps == []


RESUMED = """
    import sys
    import keras
    from monitor_helpers import StopAt, fit, make_model, monitor
    from pathlib import Path
    folder, backup = Path({folder!r}), {backup!r}
    callbacks = [monitor(folder), keras.callbacks.BackupAndRestore(backup)]
    if {first}:
        # after the monitor's log of epoch 3, before the backup of it
        callbacks.insert(1, StopAt(2, error=KeyboardInterrupt()))
    try:
        fit(make_model(optimizer="adam"), *callbacks, epochs=5)
    except KeyboardInterrupt:
        sys.exit(3)
"""


@pytest.mark.process
def test_backup_and_restore_in_new_processes(tmp_path: Path, forked: Forked) -> None:
    folder, backup = str(tmp_path / "run"), str(tmp_path / "backup")
    assert forked.run(RESUMED.format(folder=folder, backup=backup, first=True)).returncode == 3
    assert places(tmp_path / "run") == epochs_of(0, 1, 2, 3)
    before = open_run(folder)
    assert forked.run(RESUMED.format(folder=folder, backup=backup, first=False)).returncode == 0
    assert places(tmp_path / "run") == epochs_of(0, 1, 2, 3, 4, 5)
    after = open_run(folder)
    assert [after.record(s).session == before.record(s).session for s in (0, 1, 2, 3)] == [
        True,
        True,
        True,
        False,
    ]

    # the interrupted and resumed run is the uninterrupted one (Adam's moments come back with the weights)
    fit(make_model(optimizer="adam"), monitor(tmp_path / "whole"), epochs=5)
    whole = open_run(tmp_path / "whole")
    for step in (0, 2):
        np.testing.assert_array_equal(after.heatmaps(step), whole.heatmaps(step))


def test_an_exception_leaves_what_was_logged_and_the_next_fit_goes_on(tmp_path: Path) -> None:
    model, watcher = make_model(), monitor(tmp_path)
    with pytest.raises(RuntimeError, match="broken"):
        fit(model, watcher, StopAt(1, batch=2, error=RuntimeError("broken")))
    fit(model, watcher, epochs=1)
    assert places(tmp_path)[:2] == epochs_of(0, 1)
    assert [step for step, _, _ in places(tmp_path)] == [0, 1, 2]


def test_early_stopping_before_and_after_the_monitor(tmp_path: Path) -> None:
    def early() -> keras.callbacks.Callback:
        return keras.callbacks.EarlyStopping("loss", min_delta=100.0, patience=1, restore_best_weights=True)

    for name in ("before", "after"):
        callbacks = [early(), monitor(tmp_path / name, every=10)]
        fit(make_model(), *(callbacks if name == "before" else reversed(callbacks)), epochs=9)
        assert places(tmp_path / name) == epochs_of(0, 2), name
    first, second = (open_run(tmp_path / name).heatmaps(2) for name in ("before", "after"))
    np.testing.assert_array_equal(first, second)


def test_a_stop_inside_an_epoch_is_logged_at_its_batch(tmp_path: Path) -> None:
    fit(make_model(), monitor(tmp_path / "epochs"), StopAt(1, batch=2))
    assert places(tmp_path / "epochs") == [(0, 0, 0), (1, 1, 5), (2, 2, 8)]
    assert "stopped after batch 3 of the 5" in open_run(tmp_path / "epochs").record(2).notes[0]
    fit(make_model(), monitor(tmp_path / "batches", batches=4), StopAt(1, batch=1))
    assert [step for step, _, _ in places(tmp_path / "batches")] == [0, 4, 7]


# ---- batches


def test_batches(tmp_path: Path) -> None:
    model, watcher = make_model(), monitor(tmp_path, batches=4, gradients="train")
    fit(model, watcher)
    expected = [(0, 0, 0), (4, 0, 4), (8, 1, 8), (12, 2, 12), (15, 3, 15)]
    assert places(tmp_path) == expected
    run = open_run(tmp_path)
    assert [run.record(step).gradient_batch for step in run.steps] == [None, 4, 8, 12, 15]
    assert run.meta["axis"] == "batch"
    fit(model, watcher, epochs=1)
    assert places(tmp_path) == [*expected, (16, 3, 16), (20, 4, 20)]


def test_the_first_epoch_in_powers_of_two(tmp_path: Path) -> None:
    model, watcher = make_model(), monitor(tmp_path, first_epoch="log", gradients="train")
    fit(model, watcher)
    assert places(tmp_path) == [
        (0, 0, 0),
        (1, 0, 1),
        (2, 0, 2),
        (4, 0, 4),
        (5, 1, 5),
        (10, 2, 10),
        (15, 3, 15),
    ]
    run = open_run(tmp_path)
    assert [run.record(step).gradient_batch for step in run.steps] == [None, 1, 2, 4, 5, 10, 15]
    fit(model, watcher, epochs=1)
    assert places(tmp_path)[-1] == (20, 4, 20)


def test_a_run_in_batches_is_resumed_at_its_epoch(tmp_path: Path) -> None:
    model = make_model()
    fit(model, monitor(tmp_path, batches=2), epochs=2)
    fit(model, monitor(tmp_path, batches=2), epochs=3, initial_epoch=2)
    assert [step for step, _, _ in places(tmp_path)] == [0, 2, 4, 6, 8, 10, 12, 14, 15]
    assert places(tmp_path)[-1] == (15, 3, 15)


def test_several_steps_per_execution(tmp_path: Path) -> None:
    fit(make_model(steps_per_execution=2), monitor(tmp_path / "epochs"), epochs=2)
    assert places(tmp_path / "epochs") == epochs_of(0, 1, 2)
    watcher = monitor(tmp_path / "batches", batches=3, gradients="train")
    fit(make_model(steps_per_execution=2), watcher, epochs=2)
    # executions end after batches 2, 4, 5 of an epoch: 3 is logged at 4, 6 at 7, 9 at 9
    assert places(tmp_path / "batches") == [(0, 0, 0), (4, 0, 4), (7, 1, 7), (9, 1, 9), (10, 2, 10)]
    run = open_run(tmp_path / "batches")
    assert [run.record(step).gradient_batch for step in run.steps] == [None, 4, 7, 9, 10]


# ---- data of unknown length


def unknown(count: int = 5) -> tf.data.Dataset:
    x, _ = data(1)
    signature = (tf.TensorSpec((None, *x.shape[1:])), tf.TensorSpec((None,), tf.int64))
    return tf.data.Dataset.from_generator(lambda: batches_of_unknown_length(count), output_signature=signature)


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
@pytest.mark.parametrize(
    ("options", "gradient_batches"),
    [
        ({}, [None, 4, 10, 15]),  # batches 1, 2, 4 stand in while the length is not known
        pytest.param({"jit_compile": True}, [None, 4, 10, 15], marks=pytest.mark.slow),
        ({"run_eagerly": True}, [None, 4, 10, 15]),
        ({"steps_per_execution": 2}, [None, 4, 10, 15]),
    ],
)
def test_unknown_length(tmp_path: Path, options: dict, gradient_batches: list) -> None:
    model = make_model(**options)
    model.fit(unknown(), epochs=3, verbose=0, callbacks=[monitor(tmp_path, gradients="train")])
    assert places(tmp_path) == epochs_of(0, 1, 2, 3)
    run = open_run(tmp_path)
    assert [run.record(step).gradient_batch for step in run.steps] == gradient_batches


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_unknown_length_in_batches(tmp_path: Path) -> None:
    for execution in (1, 2):
        model = make_model(steps_per_execution=execution)
        folder = tmp_path / str(execution)
        model.fit(unknown(), epochs=2, verbose=0, callbacks=[monitor(folder, batches=5, every=1)])
        assert [step for step, _, _ in places(folder)] == [0, 5, 10], execution


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_a_python_generator_and_a_stop_in_it(tmp_path: Path) -> None:
    make_model().fit(batches_of_unknown_length(), epochs=1, verbose=0, callbacks=[monitor(tmp_path / "whole")])
    assert places(tmp_path / "whole") == epochs_of(0, 1)
    callbacks = [monitor(tmp_path / "stopped"), StopAt(0, batch=2)]
    make_model().fit(unknown(), epochs=2, verbose=0, callbacks=callbacks)
    assert places(tmp_path / "stopped") == [(0, 0, 0), (1, 1, 3)]


def test_steps_per_epoch_of_endless_data(tmp_path: Path) -> None:
    model = make_model()
    model.fit(unknown().repeat(), steps_per_epoch=7, epochs=2, verbose=0, callbacks=[monitor(tmp_path)])
    assert places(tmp_path) == epochs_of(0, 1, 2, batches=7)


# ---- the explained class


def test_the_predicted_class_is_kept_from_the_first_log_on_also_when_resumed(tmp_path: Path) -> None:
    probes = make_probes(target="predicted")
    model = make_model()
    at_first = model.predict(probes.inputs, verbose=0).argmax(axis=1)
    fit(model, monitor(tmp_path, probes), epochs=4)
    assert not np.array_equal(model.predict(probes.inputs, verbose=0).argmax(axis=1), at_first)
    fit(model, monitor(tmp_path, probes), epochs=1)
    _, targets = open_run(tmp_path).statistic("target")
    np.testing.assert_array_equal(targets, np.broadcast_to(at_first, (6, len(probes))))


def test_models_that_are_not_built_before_fit(tmp_path: Path) -> None:
    def sequential() -> keras.Model:
        keras.utils.set_random_seed(3)
        layers = [keras.layers.Flatten(), keras.layers.Dense(6, "relu"), keras.layers.Dense(3, "softmax")]
        model = keras.Sequential(layers)
        model.compile("sgd", "sparse_categorical_crossentropy")
        return model

    watched, alone = sequential(), sequential()
    fit(watched, monitor(tmp_path))
    fit(alone)
    assert places(tmp_path) == epochs_of(0, 1, 2, 3)
    for mine, theirs in zip(watched.get_weights(), alone.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
