"""Memory: how many probes go through a pass at a time, and what happens where it is not enough."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import lrp_monitor as lrp
from lrp_monitor.keras_internals import samples_of_fit
from lrp_monitor.passes.memory import OutOfMemoryError, Room, free_bytes, is_out_of_memory
from lrp_monitor.training.monitor import LRPMonitor

SHAPE, CLASSES, BATCH = (6, 6, 1), 3, 8

pytestmark = pytest.mark.filterwarnings("ignore:plain gradient")


class Narrow(layers.Layer):
    """Passes on what it is given; in inference memory is not enough for more than ``most`` samples."""

    def __init__(self, most: int, traced: bool = False) -> None:
        super().__init__()
        self.most, self.traced = most, traced

    def call(self, x: Any, training: bool = False) -> Any:
        if training:
            return x
        if self.traced:
            if x.shape[0] is not None and x.shape[0] > self.most:
                raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating a tensor")
            return x

        def allocate(values: np.ndarray) -> np.ndarray:
            if len(values) > self.most:
                raise MemoryError("no room for so many")
            return values

        return x + 0.0 * tf.stop_gradient(tf.ensure_shape(tf.numpy_function(allocate, [x], tf.float32), x.shape))


def make_model(*inside: layers.Layer, **options: Any) -> keras.Model:
    keras.utils.set_random_seed(3)
    inside = (layers.Conv2D(2, 3, activation="relu"), layers.Flatten(), *inside)
    model = keras.Sequential([keras.Input(SHAPE), *inside, layers.Dense(CLASSES, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy", jit_compile=False, **options)
    return model


def data(n: int = 24) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, *SHAPE)).astype(np.float32), rng.integers(0, CLASSES, n)


def fit(model: keras.Model, *callbacks: keras.callbacks.Callback, epochs: int = 6) -> list[np.ndarray]:
    model.fit(*data(), epochs=epochs, batch_size=BATCH, verbose=0, callbacks=list(callbacks))
    return [np.asarray(weight) for weight in model.get_weights()]


def monitor(folder: Path, n: int = 16, **options: Any) -> LRPMonitor:
    x, y = data(n)
    return LRPMonitor(lrp.ProbeSet(x, labels=y), folder, **{"verbose": 0, "on_unknown": "gradient", **options})


@pytest.mark.parametrize("traced", [False, True])
def test_memory_for_four_probes_is_enough_for_all_logs(tmp_path: Path, traced: bool) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        mine = fit(make_model(Narrow(4, traced)), monitor(tmp_path))
    run = lrp.open_run(tmp_path)
    assert run.steps == list(range(7))
    notes = [note for header in run.records() for note in header.notes if note.startswith("memory ran out")]
    assert len(notes) == 1
    assert notes[0].startswith("memory ran out with 16 samples at a time, so that fewer go through from now on")
    assert len([warning for warning in caught if "memory ran out" in str(warning.message)]) == 1
    for one, other in zip(mine, fit(make_model(Narrow(4, traced))), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_maps_do_not_depend_on_the_split() -> None:
    x, y = data(13)
    model = keras.Sequential([*make_model().layers[:-1], layers.BatchNormalization(), *make_model().layers[-1:]])
    model.build((None, *SHAPE))
    model.layers[-2].moving_mean.assign(np.linspace(-1, 1, 32))
    for composite in ("epsilon_plus_flat", "epsilon_alpha2_beta1", "epsilon"):
        whole = lrp.relevance(model, x, y, composite, batch_size=64)
        for size in (1, 4):
            split = lrp.relevance(model, x, y, composite, batch_size=size)
            np.testing.assert_allclose(split, whole, rtol=0, atol=1e-5 * np.abs(whole).max())


def test_relevance_reduced_as_it_comes_gives_the_same_numbers() -> None:
    x, y = data(5)
    explainer = lrp.Explainer(make_model(), batch_size=2)
    whole, reduced = explainer.explain(x, y), explainer.explain(x, y, reduced=lambda relevance: relevance.sum(axis=1))
    np.testing.assert_array_equal(reduced.relevance, whole.relevance.sum(axis=1))
    np.testing.assert_array_equal(reduced.conservation, whole.conservation)
    np.testing.assert_array_equal(reduced.of(slice(1, 3)).conservation, whole.conservation[1:3])
    none = np.arange(5) == 3
    assert np.isnan(reduced.without(none).conservation).tolist() == none.tolist()
    broken = np.where(none[:, None, None, None], np.float32(3e38), x)  # its logit is not finite
    found = explainer.explain(broken, y, reduced=lambda relevance: relevance.sum(axis=1))
    assert np.isnan(found.relevance).all(axis=(1, 2)).tolist() == none.tolist()
    assert np.isnan(found.conservation).tolist() == none.tolist()


class Fails(keras.callbacks.Callback):
    """Leaves a layer no room from the end of one epoch until the end of the next."""

    def __init__(self, layer: Narrow, at: int) -> None:
        super().__init__()
        self.layer, self.at, self.most = layer, at, layer.most

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.layer.most = 0 if epoch == self.at else self.most


def test_a_log_without_room_for_one_probe_is_skipped_and_the_next_one_tried(tmp_path: Path) -> None:
    narrow = Narrow(1)
    with pytest.warns(RuntimeWarning, match="step 3 was not logged: OutOfMemoryError"):
        fit(make_model(narrow), Fails(narrow, 2), monitor(tmp_path, n=2, batch_size=1))
    run = lrp.open_run(tmp_path)
    assert run.steps == [0, 1, 2, 4, 5, 6]
    assert any("step 3 was not logged" in note for note in run.record(4).notes)


def test_before_training_it_is_an_error_that_names_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(OutOfMemoryError, match=r"one sample runs out of memory.*batch_size=.*device=\"CPU:0\""):
        fit(make_model(Narrow(0, traced=True)), monitor(tmp_path, output=None))


class Short(layers.Layer):
    """In training memory is not enough at one call, counted over all."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at, self.calls = at, [0]

    def call(self, x: Any, training: bool = False) -> Any:
        if not training:
            return x

        def allocate(values: np.ndarray) -> np.ndarray:
            self.calls[0] += 1
            if self.calls[0] == self.at:
                raise MemoryError("no room now")
            return values

        return x + 0.0 * tf.stop_gradient(tf.ensure_shape(tf.numpy_function(allocate, [x], tf.float32), x.shape))


def test_a_captured_step_without_memory_is_tried_again_at_the_next_log(tmp_path: Path) -> None:
    # Three steps an epoch, the last of them captured: the sixth call is the second epoch's.
    with pytest.warns(RuntimeWarning, match="gradient before step 2 was not captured: .*no room now"):
        mine = fit(make_model(Short(6), layers.Dropout(0.5, seed=1)), monitor(tmp_path), epochs=4)
    run = lrp.open_run(tmp_path)
    assert [run.record(step).gradient_batch for step in run.steps] == [None, 3, None, 9, 12]
    for one, other in zip(mine, fit(make_model(Short(0), layers.Dropout(0.5, seed=1)), epochs=4), strict=True):
        np.testing.assert_array_equal(one, other)


def test_without_memory_for_the_probes_gradient_the_maps_are_logged(tmp_path: Path) -> None:
    with pytest.warns(RuntimeWarning, match="probes' gradient at step 0 was not captured: memory ran out"):
        fit(make_model(Narrow(4)), monitor(tmp_path, gradients="probe", batch_size=4), epochs=2)
    run = lrp.open_run(tmp_path)
    assert run.steps == [0, 1, 2]
    assert np.isfinite(run.heatmaps(2)).all()
    assert "probe_gradients/norm" not in run.scalars


def wide() -> keras.Model:
    return keras.Sequential(
        [keras.Input((64, 64, 3)), *[layers.Conv2D(64, 3, padding="same", activation="relu") for _ in range(6)],
         layers.GlobalAveragePooling2D(), layers.Dense(3)]
    )  # fmt: skip


def test_what_a_pass_needs_is_reported_by_its_tensors() -> None:
    explainer = lrp.Explainer(wide(), batch_size=4)
    explainer.prepare(n=4)
    assert explainer.passes.last is not None
    chunk, needed = explainer.passes.last
    # Six activations of 64 x 64 x 64 floats are kept for the way back, where two to three more live at a time.
    one = 4 * 64 * 64 * 64 * 4
    assert chunk == 4
    assert 7.5 * one < needed < 9.5 * one


@pytest.mark.parametrize(("room", "expected"), [(Room(32 << 20), 2), (Room(32 << 20, samples=16), 16), (Room(0), 1)])
def test_the_number_of_samples_fits_the_room(room: Room, expected: int) -> None:
    explainer = lrp.Explainer(wide())
    explainer.passes.room = room
    explainer.prepare(n=64)
    assert explainer.passes.last is not None
    assert explainer.passes.last[0] == expected


class Sees(keras.callbacks.Callback):
    found: int | None = None

    def on_train_begin(self, logs: Any = None) -> None:
        self.found = samples_of_fit()


def of_a_generator() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    x, y = data()
    yield from ((x[i : i + 6], y[i : i + 6]) for i in range(0, 24, 6))


def test_the_training_batch_is_known() -> None:
    model, x_and_y = make_model(), tf.data.Dataset.from_tensor_slices(data())
    given = {
        8: {"x": data()[0], "y": data()[1], "batch_size": 8},
        4: {"x": x_and_y.shuffle(24).batch(4).map(lambda x, y: (2.0 * x, y)).prefetch(1)},
        6: {"x": of_a_generator(), "steps_per_epoch": 4},
    }
    for size, arguments in given.items():
        sees = Sees()
        model.fit(**arguments, epochs=1, verbose=0, callbacks=[sees])
        assert sees.found in ((None, size) if size == 6 else (size,))
    assert samples_of_fit() is None


def test_which_errors_are_of_memory() -> None:
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(tf.errors.ResourceExhaustedError(None, None, "failed"))
    assert is_out_of_memory(tf.errors.InternalError(None, None, "CUBLAS_STATUS_ALLOC_FAILED"))
    assert is_out_of_memory(tf.errors.NotFoundError(None, None, "No algorithm worked!"))
    assert not is_out_of_memory(tf.errors.InternalError(None, None, "Blas GEMM launch failed"))
    assert not is_out_of_memory(ValueError("out of memory"))
    assert (free_bytes("CPU:0") or 1 << 40) > 1 << 20


PLACED = """
import sys, numpy as np, keras, tensorflow as tf, lrp_monitor as lrp
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="relu"), keras.layers.Dense(2)])
model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
x, y = np.ones((8, 4), "f"), np.zeros(8, int)
monitor = lrp.LRPMonitor(lrp.ProbeSet(x, labels=y), sys.argv[1], device="CPU:1")
model.fit(x, y, epochs=1, verbose=0, callbacks=[monitor])
explainer = lrp.Explainer(model, device="/device:cpu:1")
np.testing.assert_array_equal(explainer(x), lrp.relevance(model, x))
made = next(iter(explainer.passes.made.values()))
print({tensor.device.rsplit("/", 1)[-1] for tensor in tf.nest.flatten(made(x, np.zeros(8, "int32")))})
try:
    lrp.LRPMonitor(lrp.ProbeSet(x), "nowhere", device="GPU:7")
except ValueError as error:
    print(error)
"""


def test_probes_are_explained_on_the_device_asked_for(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PLACED, str(tmp_path)], capture_output=True, text=True, check=True, timeout=300
    )
    assert "{'device:CPU:1'}" in done.stdout
    assert "device='GPU:7': there is no such device; there are ['CPU:0', 'CPU:1']" in done.stdout
    assert "LRP monitor: 8 probes, all at a time, about 1 kB of memory a pass\n" in done.stdout
    assert lrp.open_run(tmp_path).steps == [0, 1]
