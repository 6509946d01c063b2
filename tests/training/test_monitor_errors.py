"""Every bad input: one clear error, before a single batch is trained, and nothing left behind."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from forked import Forked
from monitor_helpers import CLASSES, SIDE, data, fit, make_model, make_probes, monitor

import lrp_monitor.engine
from lrp_monitor.engine.errors import UnsupportedModelError
from lrp_monitor.engine.explainer import Explainer
from lrp_monitor.probes import ProbeSet
from lrp_monitor.store.format import StoreError
from lrp_monitor.store.reader import open_run
from lrp_monitor.training.monitor import LRPMonitor


class CountBatches(keras.callbacks.Callback):
    def __init__(self) -> None:
        super().__init__()
        self.batches = 0

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.batches += 1


def refused(error: type[Exception], words: str, model: keras.Model, watcher: LRPMonitor, *data: Any) -> None:
    """fit raises `error` before training, and a fit without the monitor still works."""
    count = CountBatches()
    weights = [np.array(w) for w in model.get_weights()]
    run: Callable[..., Any] = (lambda *c: model.fit(*data, verbose=0, callbacks=list(c))) if data else None
    run = run or (lambda *c: fit(model, *c, epochs=1))
    with pytest.raises(error, match=words):
        run(watcher, count)
    assert count.batches == 0
    for before, now in zip(weights, model.get_weights(), strict=bool(weights)):
        np.testing.assert_array_equal(before, now)
    run(count)
    assert count.batches > 0


# ---- arguments


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"every": 0}, "every=0: expected a positive integer"),
        ({"batches": 0}, "batches=0"),
        ({"first_epoch": "all"}, "first_epoch='all'"),
        ({"gradients": "all"}, "gradients='all': expected 'train' or 'probe' or 'off'"),
        ({"encoding": "int4"}, "encoding='int4': expected 'sqrt8'"),
        ({"on_unknown": "ignore"}, "on_unknown='ignore'"),
        ({"max_store_mb": -1}, "max_store_mb=-1"),
        ({"max_store_mb": float("nan")}, "max_store_mb=nan"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"histograms": []}, r"histograms=\[\]"),
        ({"verbose": 2}, "verbose=2"),
        ({"composite": "epsilon_plus_flt"}, "unknown composite 'epsilon_plus_flt'; did you mean 'epsilon_plus_flat'"),
        ({"composite": "deep_taylor"}, r"pass lrp_monitor\.composites\.deep_taylor\(low, high\)"),
        ({"gradients": "trian"}, "expected 'train' or 'probe' or 'off'; did you mean 'train'?"),
    ],
)
def test_arguments_of_wrong_values(tmp_path: Path, options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        LRPMonitor(make_probes(), tmp_path, **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"every": "2"}, "every='2'"),
        ({"batches": True}, "batches=True: expected a positive integer"),
        ({"histograms": [3]}, r"histograms=\[3\]"),
        ({"relevance_layers": 3}, 'relevance_layers=3: expected "all"'),
        ({"verbose": "auto"}, "verbose='auto': expected 0 or 1"),
        ({"output": 1.5}, "output=1.5"),
        ({"max_store_mb": "9"}, "max_store_mb='9'"),
        ({"weights": "off"}, "weights='off': expected True or False"),
        ({"standard_summaries": None}, "standard_summaries=None"),
        ({"channels": np.ones(2)}, "channels=array"),
        ({"clusters": 2}, "clusters=2"),
        ({"alert": 0.5}, "alert=0.5: expected limits by mask"),
        ({"compsite": "epsilon"}, r"LRPMonitor\(\) got an unexpected .* 'compsite'; did you mean 'composite'\?"),
        ({"layers": "dense", "histograms": "conv"}, "got both 'layers' and 'histograms'.*: use histograms="),
    ],
)
def test_arguments_of_wrong_types(tmp_path: Path, options: dict, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        LRPMonitor(make_probes(), tmp_path, **options)
    assert list(tmp_path.iterdir()) == []


def test_former_names_of_arguments(tmp_path: Path) -> None:
    for former, present in (("layers", "histograms"), ("inspect", "relevance_layers")):
        with pytest.warns(DeprecationWarning, match=f"LRPMonitor: {former}= is now {present}=") as caught:
            watcher = LRPMonitor(make_probes(), tmp_path, **{former: "dense"})
        assert getattr(watcher.options, present) == ["dense"]
        assert caught[0].filename == __file__


def test_probes_must_be_a_probe_set(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="probes: expected a ProbeSet, got ndarray"):
        LRPMonitor(data()[0], tmp_path)  # type: ignore[arg-type]  # the mistake under test
    with pytest.raises(TypeError, match="probes: expected a ProbeSet, got list"):
        LRPMonitor([1], tmp_path, baseline=tmp_path / "b", alert={"a": 0.5})  # type: ignore[arg-type]  # likewise
    with pytest.raises(ValueError, match=r"^log_dir is empty"):
        LRPMonitor(make_probes(), "")
    with pytest.raises(TypeError, match=r"^log_dir=None: expected a path"):
        LRPMonitor(make_probes(), None)  # type: ignore[arg-type]  # likewise
    with pytest.raises(TypeError, match="composite must be a preset's name"):
        LRPMonitor(make_probes(), tmp_path, composite=["epsilon"])  # type: ignore[arg-type]  # likewise
    with pytest.raises(ValueError, match=r'gradients="probe" needs .*labels'):
        LRPMonitor(ProbeSet(data()[0][:2]), tmp_path, gradients="probe")


# ---- model and probes


def test_a_model_of_legacy_keras(tmp_path: Path) -> None:
    import tf_keras  # what tf.keras is under TF_USE_LEGACY_KERAS=1

    model = tf_keras.Sequential([tf_keras.layers.Input((6,)), tf_keras.layers.Dense(2, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    x, y = np.ones((8, 6), np.float32), np.arange(8) % 2
    words = r"model 'sequential\w*' is one of legacy Keras \(tf_keras.*needs a model of Keras 3: unset"
    with pytest.raises(TypeError, match=words):
        model.fit(x, y, verbose=0, callbacks=[monitor(tmp_path, ProbeSet(x[:2]))])
    with pytest.raises(TypeError, match=words):
        Explainer(model)
    with pytest.raises(TypeError, match="model must be a Keras model, got Dense"):
        Explainer(keras.layers.Dense(2))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["jax", "torch"])
def test_another_backend_of_keras(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras.backend, "backend", lambda: name)  # the whole of what tells it to the package
    with pytest.raises(ImportError, match=f"needs Keras on TensorFlow, and this process runs it on {name}: unset"):
        importlib.reload(lrp_monitor.engine)


def test_probes_of_another_shape(tmp_path: Path) -> None:
    probes = ProbeSet(np.ones((2, SIDE, SIDE + 1, 1), np.float32))
    words = re.escape("probes: inputs have shape (8, 9, 1) each, but the model takes (8, 8, 1)")
    refused(ValueError, words, make_model(), monitor(tmp_path, probes))
    assert list(tmp_path.iterdir()) == []


def test_probes_of_another_shape_for_a_model_that_is_not_built(tmp_path: Path) -> None:
    class Plain(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.dense = keras.layers.Dense(CLASSES, activation="softmax")

        def call(self, inputs: Any) -> Any:
            return self.dense(keras.ops.reshape(inputs, (-1, SIDE * SIDE)))

    model = Plain()
    model.compile("sgd", "sparse_categorical_crossentropy")
    probes = ProbeSet(np.ones((2, 5, 3, 1), np.float32))
    with pytest.raises(ValueError, match=r"probes: the model cannot be run on inputs of shape \(5, 3, 1\)"):
        fit(model, monitor(tmp_path, probes), epochs=1)


def test_labels_and_targets_outside_the_outputs(tmp_path: Path) -> None:
    images, _ = data(2)
    words = "labels: 'probe 1' has class 7, but the model's outputs are 3 classes, 0 to 2"
    refused(ValueError, words, make_model(), monitor(tmp_path, ProbeSet(images, [0, 7])))
    words = "target: 'probe 0' has class 3, but the model's outputs are 3 classes"
    refused(ValueError, words, make_model(), monitor(tmp_path, ProbeSet(images, target=3)))
    words = "labels: 'probe 0' has class 5"
    refused(ValueError, words, make_model(), monitor(tmp_path, ProbeSet(images, [5, 0], target="predicted")))
    assert list(tmp_path.iterdir()) == []


def test_nan_in_probes_is_refused_by_the_probe_set() -> None:
    with pytest.raises(ValueError, match="inputs: NaN or infinity in probe 0"):
        ProbeSet(np.full((1, 4), np.nan))


def two_outputs() -> keras.Model:
    keras.utils.set_random_seed(1)
    inputs = keras.Input((SIDE, SIDE, 1))
    hidden = keras.layers.Flatten()(inputs)
    kind = keras.layers.Dense(CLASSES, activation="softmax", name="kind")(hidden)
    size = keras.layers.Dense(2, activation="softmax", name="size")(hidden)
    model = keras.Model(inputs, [kind, size])
    model.compile("sgd", ["sparse_categorical_crossentropy"] * 2)
    return model


def test_several_outputs_need_a_choice(tmp_path: Path) -> None:
    x, y = data()
    targets = [y, y % 2]
    words = r"model '\w+' has 2 outputs: choose one with output=: kind, size"
    refused(ValueError, words, two_outputs(), monitor(tmp_path / "a"), x, targets)
    words = r"output='colour': the outputs of model '\w+' are kind, size"
    refused(ValueError, words, two_outputs(), monitor(tmp_path / "a", output="colour"), x, targets)

    model = two_outputs()
    probes = ProbeSet(x[:4], y[:4] % 2)
    model.fit(x, targets, epochs=1, verbose=0, callbacks=[monitor(tmp_path / "size", probes, output="size")])
    run = open_run(tmp_path / "size")
    assert run.meta["classes"] == 2
    shown = model.predict(x[:4], verbose=0)[1][np.arange(4), y[:4] % 2]
    np.testing.assert_allclose(run.record(1).statistics["probability"], shown, rtol=1e-5)
    assert ("weight", "kind/kernel") in run.tensors(1)  # the whole model is watched, one output explained


def test_several_inputs(tmp_path: Path) -> None:
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    model = keras.Model([a, b], keras.layers.Dense(2, "softmax")(keras.layers.Add()([a, b])))
    model.compile("sgd", "sparse_categorical_crossentropy")
    x = np.ones((8, 4), np.float32)
    watcher = monitor(tmp_path, ProbeSet(x[:2]))
    refused(ValueError, r"the model takes 2 inputs \(a, b\)", model, watcher, [x, x], np.zeros(8, int))


def test_an_unsupported_layer_is_named_with_the_way_out(tmp_path: Path) -> None:
    @keras.saving.register_keras_serializable("tests")
    class Oddity(keras.layers.Layer):
        def call(self, inputs: Any) -> Any:
            return keras.ops.cumprod(inputs, axis=1)

    model = keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 1)),
            keras.layers.Flatten(),
            Oddity(name="the_odd_one"),
            keras.layers.Dense(CLASSES, "softmax"),
        ]
    )
    model.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(UnsupportedModelError) as caught:
        fit(model, monitor(tmp_path), epochs=1)
    assert "the_odd_one" in str(caught.value)
    assert "on_unknown" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_layers_that_name_no_tensor(tmp_path: Path) -> None:
    words = "histograms: 'conv3d' matches no tensor; there are conv2d/kernel, conv2d/bias, dense/kernel"
    refused(ValueError, words, make_model(), monitor(tmp_path, histograms="conv3d"))


def test_a_loss_of_unknown_form_with_probe_gradients(tmp_path: Path) -> None:
    def odd_loss(y_true: Any, y_pred: Any) -> Any:
        return keras.losses.sparse_categorical_crossentropy(y_true, y_pred)

    odd_loss.__name__ = "my_loss"
    words = "how the loss 'my_loss' takes labels is not known; use gradients=\"train\""
    refused(ValueError, words, make_model(loss=odd_loss), monitor(tmp_path, gradients="probe"))


@pytest.mark.parametrize("loss", [{"a": "sparse_categorical_crossentropy", "b": "mse"}, "mse"], ids=["each", "one"])
def test_the_losses_of_several_outputs_with_probe_gradients(tmp_path: Path, loss: Any) -> None:
    x, y = data()
    inputs = keras.Input(x.shape[1:])
    flat = keras.layers.Flatten()(inputs)
    model = keras.Model(inputs, {name: keras.layers.Dense(3, name=name)(flat) for name in "ab"})
    model.compile("sgd", loss)
    watching = monitor(tmp_path, gradients="probe", output="a")
    with pytest.raises(ValueError, match="takes labels of all 2 outputs, the probes have those of one; use gradients="):
        model.fit(x, {"a": y, "b": np.zeros((len(x), 3))}, verbose=0, callbacks=[watching])


# ---- directories


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file, no folder")
    refused(OSError, "file/lrp", make_model(), monitor(tmp_path / "file"))


@pytest.mark.process
def test_a_directory_without_the_right_to_write(tmp_path: Path, forked: Forked) -> None:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o555)
    if os.geteuid() != 0:
        refused(
            OSError,
            "closed/run/lrp.* cannot be created: Permission denied",
            make_model(),
            monitor(folder / "run"),
        )
        return
    # Root may write anywhere: the right is refused to another user, for whom the way there is opened.
    for parent in tmp_path.parents[:-2]:
        os.chmod(parent, parent.stat().st_mode | 0o011)
    os.chmod(tmp_path, 0o755)
    code = f"""
        import os, sys
        from monitor_helpers import fit, make_model, monitor
        model = make_model()
        os.setuid(65534)
        try:
            fit(model, monitor({str(folder / "run")!r}), epochs=1)
        except OSError as error:
            message = str(error)
            sys.exit(0 if "closed/run" in message and "Permission denied" in message else message)
        sys.exit("not refused")
    """
    done = forked.run(code)
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_directory_with_another_probe_set(tmp_path: Path) -> None:
    fit(make_model(), monitor(tmp_path, make_probes(6)), epochs=1)
    held = sorted(path.name for path in (tmp_path / "lrp").rglob("*"))
    for other in (make_probes(5), make_probes(4, target="predicted")):
        refused(StoreError, "holds another probe set", make_model(), monitor(tmp_path, other))
    assert sorted(path.name for path in (tmp_path / "lrp").rglob("*")) == held


def test_a_directory_whose_steps_count_something_else(tmp_path: Path) -> None:
    model = make_model()
    fit(model, monitor(tmp_path), epochs=1)
    words = "counts its steps in epochs, this monitor in batches .* use the same schedule, or another log_dir"
    refused(StoreError, words, model, monitor(tmp_path, batches=2))


def test_an_address_that_is_no_local_folder() -> None:
    refused(StoreError, "gs://bucket/run", make_model(), LRPMonitor(make_probes(), "gs://bucket/run", verbose=0))
