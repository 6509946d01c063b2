"""Private names of Keras and TensorFlow: all there, each as it is used, and used in one module alone."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import lrp_monitor
from lrp_monitor import keras_internals as internals
from lrp_monitor.passes.shadows import shadows

PACKAGE = Path(lrp_monitor.__file__).parent
# Of Python, not of a framework: named tuples, and the stack.
PYTHONS = {"_asdict", "_fields", "_getframe", "_replace"}


class Masked(keras.layers.Layer):
    """A layer with a layer inside, an argument for masks, and a loss at each call."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = keras.layers.Dense(2)

    def call(self, x: Any, mask: Any = None) -> Any:
        self.add_loss(keras.ops.sum(x))
        return self.inner(x)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    model = keras.Sequential([keras.layers.Input((3,)), Masked(), keras.layers.Dropout(0.5)])
    model.compile("sgd", "mse", metrics=["mae"])
    return model


def test_layers(model: keras.Model) -> None:
    masked, dropout = model.layers
    assert {id(layer) for layer in internals.layers_of(model)} >= set(map(id, (model, masked, masked.inner, dropout)))
    level = [layer for layer in internals.layers_of(model, itself=False, nested=False) if layer in model.layers]
    assert level == [masked, dropout]
    assert [internals.takes_training(layer) for layer in (masked, dropout)] == [False, True]
    assert [internals.takes_mask(layer) for layer in (masked, dropout)] == [True, False]
    inputs, dense = keras.Input((2,)), keras.layers.Dense(2)
    dense(inputs)
    assert [tensor is inputs for tensor in internals.symbolic_inputs(dense)] == [True]
    assert internals.symbolic_inputs(keras.layers.Dense(2)) == []
    masked.inner.trainable = False
    assert masked.inner.trainable_variables == []
    assert [v.name for v in internals.variables_made_trainable(masked.inner)] == ["kernel", "bias"]
    masked.inner.trainable = True


def test_what_a_trace_leaves_on_a_layer_goes(model: keras.Model) -> None:
    layer = Masked()
    layer(np.ones((1, 3), "float32"))
    before = len(layer.losses)
    with shadows() as put:
        internals.keep_losses(put, layer)
        layer.call(np.ones((1, 3), "float32"))
        assert len(layer.losses) == before + 1
    assert len(layer.losses) == before
    half = keras.layers.Dense(2, dtype="float16")
    half.build((None, 3))
    with shadows() as put:
        internals.compute_in_float32(put, half)
        assert (half.compute_dtype, half.variable_dtype) == ("float32", "float16")
    assert half.compute_dtype == "float16"


def test_compiled_models(model: keras.Model) -> None:
    x = np.ones((4, 3), "float32")
    internals.build_by_shapes(model, (tf.TensorSpec((None, 3)), tf.TensorSpec((None, 2))))
    assert internals.compiled_loss(model).built
    assert internals.compiled_metrics(model).built
    assert internals.variables_made_trainable(model.optimizer) == model.trainable_variables
    plain = keras.Sequential([keras.layers.Input((3,))])
    plain.compile("sgd", "mse")
    assert float(internals.loss_of_training(plain, x, 0 * x, tf.constant(2 * x))) == 4.0
    first = internals.compiled_loss(plain)
    plain.compile("sgd", "mse")
    assert internals.compiled_loss(plain) is not first
    assert internals.strategy_of(plain) is None
    with tf.distribute.OneDeviceStrategy("/CPU:0").scope():
        inside = keras.Sequential([keras.layers.Input((3,))])
    assert isinstance(internals.strategy_of(inside), tf.distribute.OneDeviceStrategy)


class OwnFunction(keras.Model):
    def make_train_function(self, force: bool = False) -> Any:
        return super().make_train_function(force)


class OwnInnerFunction(keras.Model):
    def _make_function(self, *arguments: Any, **options: Any) -> Any:
        return super()._make_function(*arguments, **options)


def test_makers_of_train_functions(model: keras.Model) -> None:
    found = [internals.makes_own_train_function(one) for one in (model, OwnFunction(), OwnInnerFunction())]
    assert found == [False, True, True]


class Sees(keras.callbacks.Callback):
    found: int | None = None

    def on_train_begin(self, logs: Any = None) -> None:
        self.found = internals.samples_of_fit()


def test_batches_of_a_running_fit() -> None:
    x, y = np.ones((8, 3), "float32"), np.zeros((8, 3), "float32")
    plain = keras.Sequential([keras.layers.Input((3,)), keras.layers.Activation("relu")])
    plain.compile("sgd", "mse")
    data = tf.data.Dataset.from_tensor_slices((x, y))
    assert list(map(id, internals.data_pipeline(kept := data.batch(2)))) == [id(kept), id(data)]
    for size, given in ((4, {"x": x, "y": y, "batch_size": 4}), (2, {"x": data.batch(2).prefetch(1)})):
        sees = Sees()
        plain.fit(**given, callbacks=[sees], verbose=0)
        assert sees.found == size


def test_strategies() -> None:
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    assert internals.in_several_processes(strategy) is False
    assert internals.replicas_of_worker(strategy) == strategy.num_replicas_in_sync


def test_graphs() -> None:
    read, assigned = tf.Variable(1.0), tf.Variable(2.0, dtype=tf.float64)

    @tf.function(autograph=False)
    def inner(x: Any) -> Any:
        assigned.assign_add(tf.cast(x, tf.float64))
        return x * read

    graph = tf.function(lambda x: inner(x) + 1.0, autograph=False).get_concrete_function(tf.TensorSpec(())).graph
    assert any("inner" in name for name in internals.inner_functions(graph))
    assert all(function.graph is not None for function in internals.inner_functions(graph).values())
    types = {id(handle): internals.variable_type(handle) for handle, _ in graph.captures}
    assert types == {id(read.handle): tf.float32, id(assigned.handle): tf.float64}
    assert internals.variable_type(tf.constant(1.0)) is None
    inside = {id(placeholder): id(handle) for handle, placeholder in graph.captures}
    assert [inside[id(one)] for one in internals.read_only_inputs(graph)] == [id(read.handle)]


def test_custom_gradients() -> None:
    x = tf.constant([1.0, 2.0])

    @tf.custom_gradient
    def tripled(x: Any) -> Any:
        return x * 1.0, lambda upstream: 3.0 * upstream

    inner = tf.function(tripled, autograph=False)
    inner.get_concrete_function(x)  # of everybody
    outer = tf.function(lambda x: (y := tripled(x) + inner(x), tf.gradients(y, x)), autograph=False)
    graph = outer.get_concrete_function(x)
    internals.forget_custom_gradients(graph.graph)
    np.testing.assert_array_equal(graph(x)[1], [[6.0, 6.0]])
    with tf.GradientTape() as tape:
        tape.watch(x)
        with internals.unrecorded():
            hidden = inner(x)
        y = inner(x) + hidden
    np.testing.assert_array_equal(tape.gradient(y, x), [3.0, 3.0])
    with tf.GradientTape() as tape:
        tape.watch(x)
        with pytest.raises(LookupError, match="IdentityN"):
            graph(x)


def test_the_process() -> None:
    assert any("CPU" in name and limit > 0 for name, limit in internals.memory_limits().items())
    assert internals.is_deterministic() is False


def test_no_other_module_uses_private_names_of_others() -> None:
    trees = {path: ast.parse(path.read_text("utf-8")) for path in PACKAGE.rglob("*.py")}
    own, used = set(PYTHONS), []
    for tree in trees.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                own.add(node.attr)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                own.add(node.id)
            elif isinstance(node, ast.FunctionDef | ast.ClassDef):
                own.add(node.name)
    hidden = {
        name
        for node in ast.walk(trees[PACKAGE / "keras_internals.py"])
        for name in ([node.attr] if isinstance(node, ast.Attribute) else [getattr(node, "value", None)])
        if isinstance(name, str)
        and name.startswith("_")
        and not name.startswith("__")
        and name.isidentifier()
        and name not in PYTHONS
    }
    for path, tree in trees.items():
        if path.name == "keras_internals.py":
            continue
        for node in ast.walk(tree):
            name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "value", None)
            if isinstance(node, ast.Attribute) and name.startswith("_") and not name.startswith("__"):
                if name not in own or name in hidden:
                    used.append(f"{path.name}:{node.lineno}: {name}")
            elif isinstance(node, ast.Constant) and name in hidden:
                used.append(f"{path.name}:{node.lineno}: {name!r}")
            elif isinstance(node, ast.ImportFrom) and str(node.module).startswith(("tensorflow.python", "keras.src")):
                used.append(f"{path.name}:{node.lineno}: {node.module}")
    assert len(hidden) > 15
    assert not used
