"""Where capturing or training fails: the step runs exactly once, everything is restored, and the reason is given."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from gradient_helpers import BATCH, Watch, adam, compiled, data, layers, network


class Suspicious(keras.Sequential):
    """A train step that, as user code may, does not bear an optimizer that was touched."""

    def train_step(self, batch: Any) -> Any:
        if "apply" in vars(self.optimizer):
            raise RuntimeError("somebody changed the optimizer")
        return super().train_step(batch)


@pytest.mark.parametrize("steps", [1, 3])
def test_where_capturing_fails_keras_own_step_runs_exactly_once(steps):
    def trained(kind: type[keras.Sequential], due: tuple[int, ...]) -> tuple[keras.Model, Watch]:
        keras.utils.set_random_seed(11)
        model = kind([keras.Input((8, 8, 3)), layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(5)])
        compiled(model, adam(), steps_per_execution=steps)
        watch = Watch(due)
        x, y = data()
        model.fit(x, y, batch_size=BATCH, epochs=2, verbose=0, callbacks=[watch])
        return model, watch

    plain, _ = trained(keras.Sequential, ())
    model, watch = trained(Suspicious, (0, 3))
    assert watch.taken == []
    # first the step that makes variables, then the failing trace, which is not tried again
    assert len(watch.problems) == 4
    assert "RuntimeError: " in watch.problems[1]
    assert "somebody changed the optimizer" in watch.problems[1]
    assert watch.problems[1:] == [watch.problems[1]] * 3
    assert int(model.optimizer.iterations.numpy()) == 14
    for expected, weight in zip(plain.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(weight, expected, rtol=1e-5, atol=1e-6)
    assert all(watch.restored)


@pytest.mark.parametrize("eager", [False, True], ids=["graph", "eager"])
def test_an_error_of_the_training_itself_is_raised_and_everything_restored(eager):
    class Checked(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            tf.debugging.assert_less(tf.reduce_max(x), 100.0, message="a sample out of range")
            return x

    model = keras.Sequential([keras.Input((8, 8, 3)), Checked(), *network().layers])
    compiled(model, run_eagerly=eager)
    x, y = data()
    x[3 * BATCH] = 1e6
    watch = Watch((3,))
    with pytest.raises(tf.errors.InvalidArgumentError, match="a sample out of range"):
        model.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0, callbacks=[watch])
    assert "apply" not in model.optimizer.__dict__
    assert model.train_function is watch.plain
    assert watch.capture.take() is None
    # Keras' own graph may count the failing step before the check fails; nothing counts it twice
    assert int(model.optimizer.iterations.numpy()) in ((3,) if eager else (3, 4))
    # and it trains on, captured again
    x[3 * BATCH] = 0.0
    watch = Watch((3,))
    model.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0, callbacks=[watch])
    assert len(watch.taken) == 1


def test_an_interrupted_step_restores_everything():
    class Interrupted(keras.Sequential):
        def train_step(self, batch: Any) -> Any:
            if int(self.optimizer.iterations.numpy()) == 2:
                raise KeyboardInterrupt
            return super().train_step(batch)

    model = compiled(Interrupted(network().layers), run_eagerly=True)
    watch = Watch((2,))
    x, y = data()
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, batch_size=BATCH, verbose=0, callbacks=[watch])
    assert "apply" not in model.optimizer.__dict__
    assert model.train_function is watch.plain


def test_failing_names_do_not_stop_the_training():
    def fail(variable: Any) -> str:
        raise KeyError(variable.path)

    model = compiled(network())
    watch = Watch((1,), names=fail)
    x, y = data()
    model.fit(x, y, batch_size=BATCH, verbose=0, callbacks=[watch])
    assert watch.taken == []
    assert len(watch.problems) == 1
    assert "could not be read: KeyError" in watch.problems[0]
    assert model.variables[0].path in watch.problems[0]
    assert watch.updates == [{}]
    assert "could not be measured: KeyError" in watch.capture.update_problem
    assert int(model.optimizer.iterations.numpy()) == 7
