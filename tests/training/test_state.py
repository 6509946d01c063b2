"""State that moves in inference is as before after whatever looks at a model, and training does not see the monitor."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from stateful_helpers import STATEFUL, Counter, Drift, TensorFlowNoise, stateful_data, stateful_model
from tensorflow.python.eager import context

import lrp_monitor as lrp
from lrp_monitor.passes.state import changes_variables_alone
from lrp_monitor.sanity.check import sanity_check
from lrp_monitor.training.checks import explained_output
from lrp_monitor.training.monitor import LRPMonitor
from lrp_monitor.training.tensors.probe_gradients import ProbeGradients

pytestmark = pytest.mark.filterwarnings("ignore:plain gradient")

MODES = {"graph": {"jit_compile": False}, "xla": {"jit_compile": True}, "eager": {"run_eagerly": True}}


def state_of(model: keras.Model) -> dict[str, Any]:
    """Everything that a pass could move, by name."""
    layers = list(model._flatten_layers())
    shared = keras.src.backend.common.global_state.get_global_attribute("global_seed_generator")
    plain = [v for layer in layers for v in vars(layer).values() if isinstance(v, tf.Variable | tf.random.Generator)]
    return {
        "variables": [v.numpy() for v in model.variables + model.metrics_variables],
        "metrics": [v.numpy() for layer in layers for metric in layer._metrics for v in metric.variables],
        "plain": [(v.state if isinstance(v, tf.random.Generator) else v).numpy() for v in plain],
        "generator": tf.random.get_global_generator().state.numpy(),
        "shared": None if shared is None else shared.state.numpy(),
        "traces": [layer.traces for layer in layers if isinstance(layer, Counter)],
        "losses": [len(layer._losses) for layer in layers],
        "random": random.getstate(),
        "numpy": np.random.get_state()[1].tolist(),
        "operations": context.context()._rng.getstate(),
    }


def explain(model: keras.Model, probes: lrp.ProbeSet) -> None:
    explainer = lrp.Explainer(model, on_unknown="gradient", batch_size=2)
    explainer.explain(probes.inputs, probes.labels)
    explainer.inspect(probes.inputs)
    explainer.logits(probes.inputs)


def explain_by_xla(model: keras.Model, probes: lrp.ProbeSet) -> None:
    lrp.relevance(model, probes.inputs, on_unknown="gradient", jit_compile=True)


def explain_a_prefix(model: keras.Model, probes: lrp.ProbeSet) -> None:
    lrp.relevance(model, probes.inputs, composite=lrp.composites.epsilon_plus_flat(until="conv"),
                  on_unknown="gradient")  # fmt: skip


def check(model: keras.Model, probes: lrp.ProbeSet) -> None:
    lrp.check(model, on_unknown="gradient")
    explained_output(model, probes, None)


def differentiate(model: keras.Model, probes: lrp.ProbeSet) -> None:
    gradients = ProbeGradients(model, probes.inputs, probes.labels)
    gradients()
    gradients()


def compare(model: keras.Model, probes: lrp.ProbeSet) -> None:
    lrp.Snapshot.of(model, probes, on_unknown="gradient")
    sanity_check(model, probes, on_unknown="gradient", draws=1)


def test_a_look_moves_nothing() -> None:
    model = stateful_model(*STATEFUL.values(), Drift, TensorFlowNoise, lambda: TensorFlowNoise(7))
    x, y = stateful_data(4)
    probes = lrp.ProbeSet(x, y)
    lrp.relevance(model, x, y, on_unknown="gradient")  # what a model makes at its first call is there to stay
    before = state_of(model)
    for look in (explain, explain_by_xla, explain_a_prefix, check, differentiate, compare):
        look(model, probes)
        after = state_of(model)
        for name, value in before.items():
            np.testing.assert_equal(after[name], value, err_msg=f"{look.__name__}: {name}")


def test_what_a_pass_reads_is_the_state_of_training() -> None:
    model = stateful_model(Counter)
    x, y = stateful_data(4)
    explainer = lrp.Explainer(model)
    once = explainer.explain(x, y)
    np.testing.assert_array_equal(once.logit, explainer.explain(x, y).logit)
    counter = next(layer for layer in model.layers if isinstance(layer, Counter))
    counter.calls.assign(9.0)
    # The layer's factor was 1 / (1 + .1) in the first call and is 1 / (1 + 1) in the tenth.
    assert not np.allclose(explainer.explain(x, y).logit, once.logit, rtol=0.1)


def test_state_is_put_back_where_a_pass_fails() -> None:
    class Fails(keras.layers.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.calls = tf.Variable(0.0, trainable=False)

        def call(self, x: Any) -> Any:
            with tf.control_dependencies([self.calls.assign_add(1.0)]):
                return x + 0.0 * tf.debugging.check_numerics(1.0 / (self.calls - 1.0), "the pass fails")

    model = stateful_model(Fails)
    x, _ = stateful_data(4)
    with pytest.raises(tf.errors.InvalidArgumentError, match="the pass fails"):
        lrp.relevance(model, x, on_unknown="gradient")
    assert next(layer for layer in model.layers if isinstance(layer, Fails)).calls.numpy() == 0.0


def weights_after(folder: Path | None, gradients: str, inside: tuple[Any, ...], **options: Any) -> list[np.ndarray]:
    model = stateful_model(*inside, **options)
    x, y = stateful_data()
    probes = lrp.ProbeSet(x[:4], y[:4])
    callbacks = []
    if folder is not None:
        callbacks = [LRPMonitor(probes, folder, gradients=gradients, on_unknown="gradient", verbose=0)]
    for _ in range(2):  # a second fit goes on with the random numbers of the first
        model.fit(x, y, epochs=1, batch_size=8, verbose=0, callbacks=callbacks)
    if folder is not None:
        assert lrp.open_run(folder).steps == [0, 1, 2]
    plain = [v for layer in model.layers for v in vars(layer).values() if isinstance(v, tf.Variable)]
    return [v.numpy() for v in [*model.variables, *model.optimizer.variables, *plain]]


# Without gradients a monitor only explains, as it does with them. XLA takes seconds to compile, and a step that the
# monitor does not change is compiled as without it.
IN_TURN = [("graph", "train probe"), ("eager", "train probe")]
WITHOUT = [pytest.param(mode, "off", marks=pytest.mark.slow) for mode in ("graph", "eager")]
# Under XLA TensorFlow's random operations draw other numbers in each process and each fit, with and without a monitor.
BY_XLA = pytest.param("xla", "train", marks=pytest.mark.slow)


def the_same(folder: Path, mode: str, gradients: str, inside: tuple[Any, ...]) -> None:
    alone = weights_after(None, "off", inside, **MODES[mode])
    for kind in gradients.split():
        watched = weights_after(folder / kind, kind, inside, **MODES[mode])
        for mine, theirs in zip(watched, alone, strict=True):
            np.testing.assert_array_equal(mine, theirs, err_msg=kind)


@pytest.mark.parametrize(("mode", "gradients"), [*IN_TURN, *WITHOUT, BY_XLA])
def test_training_of_stateful_layers_is_the_same(tmp_path: Path, mode: str, gradients: str) -> None:
    drawing = () if mode == "xla" else (TensorFlowNoise, lambda: TensorFlowNoise(7))
    the_same(tmp_path, mode, gradients, (*STATEFUL.values(), *drawing))


def of_python(x: Any) -> Any:
    return tf.ensure_shape(tf.numpy_function(lambda values: values, [x], tf.float32), x.shape)


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        (layers.Dropout(0.5, seed=1), True),
        (layers.BatchNormalization(), True),
        (layers.RandomFlip(seed=1), True),
        (layers.Lambda(tf.function(lambda x: tf.cond(tf.reduce_sum(x) > 0, lambda: x, lambda: -x))), True),
        (layers.Lambda(of_python), False),
        (layers.Lambda(lambda x: x + tf.random.normal(tf.shape(x))), False),
        (layers.Lambda(tf.function(of_python)), False),
    ],
)
def test_which_steps_change_variables_alone(inside: layers.Layer, expected: bool) -> None:
    model = keras.Sequential([keras.Input((2, 2, 1)), inside])
    traced = tf.function(lambda x: model(x, training=True)).get_concrete_function(tf.TensorSpec((3, 2, 2, 1)))
    assert changes_variables_alone(traced) is expected


class CountsInPython(layers.Layer):
    """Scales by a number that Python draws in training, from NumPy's global generator."""

    def call(self, x: Any, training: bool = False) -> Any:
        if not training:
            return x
        drawn = tf.numpy_function(lambda: np.float32(np.random.uniform(0.5, 1.5)), [], tf.float32)
        return x * tf.ensure_shape(drawn, ())


@pytest.mark.parametrize("gradients", ["train", "off"])
def test_numbers_drawn_in_python_are_drawn_once_a_step(tmp_path: Path, gradients: str) -> None:
    alone = weights_after(None, "off", (CountsInPython,))
    for mine, theirs in zip(weights_after(tmp_path, gradients, (CountsInPython,)), alone, strict=True):
        np.testing.assert_array_equal(mine, theirs)


class Remembers(layers.Layer):
    """Damps its input by what a list, a dict and a set remember of the calls traced; keeps tensors of a trace."""

    def __init__(self) -> None:
        super().__init__()
        self.seen, self.sizes, self.kinds = [], {}, set()
        self.kept, self.name_of_last = None, ""

    def call(self, x: Any, training: bool = False) -> Any:
        if self.kept is None:
            self.kept = keras.ops.ones_like(x[:1])
        self.seen.append(x)
        self.sizes["calls"] = self.sizes.get("calls", 0) + 1
        self.kinds.add(len(self.seen))
        self.made = x
        self.name_of_last = f"call {len(self.kinds)}"
        return x / (len(self.seen) + self.sizes["calls"] + len(self.kinds) + len(self.name_of_last))


@pytest.mark.parametrize("gradients", ["train", "off"])
def test_what_layers_remember_in_python_is_as_it_was(tmp_path: Path, gradients: str) -> None:
    def trained(callbacks: list[Any]) -> tuple[list[np.ndarray], list[Any]]:
        keras.utils.set_random_seed(3)
        layer = Remembers()
        model = keras.Sequential([keras.Input((4,)), layers.Dense(3), layer, layers.Dense(2)])
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
        layer.kept = None  # what the model's symbolic call kept
        model.fit(x, y, batch_size=4, epochs=2, verbose=0, callbacks=callbacks)
        return model.get_weights(), [len(layer.seen), layer.sizes["calls"], layer.kinds, layer.name_of_last]

    x, y = np.linspace(-1, 1, 32, dtype=np.float32).reshape(8, 4), np.arange(8) % 2
    alone, remembered = trained([])
    monitor = LRPMonitor(lrp.ProbeSet(x[:2], y[:2]), tmp_path, gradients=gradients, on_unknown="gradient", verbose=0)
    weights, with_monitor = trained([monitor])
    assert with_monitor == remembered
    for mine, theirs in zip(weights, alone, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@dataclass
class Tally:
    """An object of a layer's own that counts."""

    calls: int = 0
    sizes: deque[int] = field(default_factory=lambda: deque(maxlen=3))


class WritesWhenTraced(layers.Layer):
    """Damps its input by what it has written into arrays and objects, and drawn, while it was traced."""

    def __init__(self) -> None:
        super().__init__()
        self.traced, self.tally, self.plain, self.first = [np.zeros(2)], Tally(), random.Random(0), True
        self.width: int | None = None

    def call(self, x: Any) -> Any:
        self.traced[0][1] += 1
        self.tally.calls += 1
        self.tally.sizes.append(len(self.tally.sizes))
        if self.width is None:
            self.width = 1 + self.tally.calls
        self.late = self.plain.random()
        scale, self.first = (0.5 if self.first else 1.5), False
        numbers = self.traced[0][1] + self.tally.calls + len(self.tally.sizes) + self.width + self.late
        return x * (scale / numbers)

    def kept(self) -> list[Any]:
        seen = [self.traced[0], self.tally.calls, list(self.tally.sizes), self.first, self.width, self.late]
        return [*seen, self.plain.random()]


class WritesWhenRun(layers.Layer):
    """Damps its input by what it has written into arrays, and drawn, in a function of Python's that its graph calls."""

    def __init__(self) -> None:
        super().__init__()
        self.sums, self.runs, self.random = {"all": np.zeros(3, np.float32)}, 0, np.random.default_rng(0)

    def note(self, x: Any) -> Any:
        self.sums["all"] += np.float32(np.abs(x).mean() + self.random.uniform() + np.random.uniform())
        self.runs += 1
        return np.float32(1 / (1 + 0.01 * self.sums["all"][0] + 0.1 * self.runs))

    def call(self, x: Any) -> Any:
        factor = tf.numpy_function(self.note, [tf.stop_gradient(x)], tf.float32)
        return x * tf.stop_gradient(tf.ensure_shape(factor, ()))

    def kept(self) -> list[Any]:
        return [self.sums["all"], self.runs, self.random.uniform(), np.random.uniform()]


@pytest.mark.parametrize("writes", [WritesWhenTraced, WritesWhenRun])
@pytest.mark.parametrize("gradients", ["train", "probe"])
def test_arrays_that_a_layer_writes_into_are_as_they_were(tmp_path: Path, gradients: Any, writes: Any) -> None:
    def trained(callbacks: list[Any]) -> list[Any]:
        keras.utils.set_random_seed(3)
        layer = writes()
        model = keras.Sequential([keras.Input((4,)), layers.Dense(3), layer, layers.Dense(2)])
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
        layer.width = None  # what the model's symbolic call kept
        model.fit(x, y, batch_size=4, epochs=2, verbose=0, callbacks=callbacks)
        return [*model.get_weights(), *layer.kept()]

    x, y = np.linspace(-1, 1, 32, dtype=np.float32).reshape(8, 4), np.arange(8) % 2
    alone = trained([])
    monitor = LRPMonitor(lrp.ProbeSet(x[:2], y[:2]), tmp_path, gradients=gradients, on_unknown="gradient", verbose=0)
    for mine, theirs in zip(trained([monitor]), alone, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert lrp.open_run(tmp_path).steps == [0, 1, 2]
