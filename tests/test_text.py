"""Errors in a line: the cause, not what Keras and TensorFlow say around it; numbers with the digits that matter."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from lrp_monitor.text import describe, first_line, number, percent


class Raising(keras.layers.Layer):
    def __init__(self, act: Callable[[Any], Any]) -> None:
        super().__init__()
        self.act = act

    def call(self, x: Any) -> Any:
        return self.act(x)


def key_error(x: Any) -> Any:
    raise KeyError("no such part")


def several_lines(x: Any) -> Any:
    raise RuntimeError("the first line\n- and the second")


def matmul(x: Any) -> Any:
    return tf.matmul(x, tf.zeros((7, 7)))


def failing_generator() -> Any:
    yield np.zeros((1, 3), np.float32), np.zeros((1, 3), np.float32)
    raise ValueError("row 7 is damaged")


def fit_on_a_failing_data_set() -> None:
    spec = tf.TensorSpec((1, 3))
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)])
    model.compile("sgd", "mse")
    model.fit(tf.data.Dataset.from_generator(failing_generator, output_signature=(spec, spec)), verbose=0)


def embed_in_a_graph() -> None:
    tf.function(keras.Sequential([keras.Input((2,)), keras.layers.Embedding(4, 3)]))(tf.fill((1, 2), 9.0))


X = np.zeros((1, 3), np.float32)
CASES: dict[str, tuple[Callable[[], Any], str, str]] = {
    "a layer's own": (lambda: Raising(key_error)(X), "KeyError in Raising.call(): no such part", "no such part"),
    "several lines": (
        lambda: Raising(several_lines)(X),
        "RuntimeError in Raising.call(): the first line - and the second",
        "RuntimeError in Raising.call(): the first line",
    ),
    "TensorFlow's": (
        lambda: Raising(matmul)(X),
        "InvalidArgumentError in Raising.call(): Matrix size-incompatible: In[0]: [1,3], In[1]: [7,7]",
        "Matrix size-incompatible: In[0]: [1,3], In[1]: [7,7]",
    ),
    "while a graph is made": (
        lambda: tf.function(Raising(several_lines))(tf.zeros((1, 3))),
        "RuntimeError in Raising.call(): the first line - and the second",
        "the first line",
    ),
    "in a graph": (embed_in_a_graph, "InvalidArgumentError: indices[0,0] = 9 is not in [0, 4)", "is not in [0, 4)"),
    "of a data set": (
        fit_on_a_failing_data_set,
        "InvalidArgumentError: ValueError: row 7 is damaged",
        "row 7 is damaged",
    ),
    "of Python": (lambda: {}["x"], "KeyError: x", "KeyError: x"),
    "without words": (lambda: next(iter(())), "StopIteration: no message", "no message"),
}


@pytest.mark.parametrize("name", CASES)
def test_an_error_is_reported_by_its_cause(name: str) -> None:
    work, whole, first = CASES[name]
    with pytest.raises(BaseException) as caught:  # each its own
        work()
    assert describe(caught.value) == whole
    assert first in first_line(caught.value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"), (-0.0, "0"), (1.0, "1.00"), (0.0004123, "0.000412"), (-0.0004, "-0.000400"), (0.95, "0.950"),
        (12.345, "12.3"), (-123.45, "-123"), (1234.5, "1234"), (99_999.0, "99999"), (123_456.0, "1.23e5"),
        (4.123e-5, "4.12e-5"), (-5e-324, "-4.94e-324"), (0.9996, "1.000"), (math.nan, "-"), (math.inf, "inf"),
        (-math.inf, "-inf"), (np.float32(0.25), "0.250"),
    ],
)  # fmt: skip
def test_a_number_has_its_significant_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_more_digits_and_per_cent() -> None:
    assert [number(value, 4) for value in (12.345, 0.00012345)] == ["12.35", "0.0001234"]
    shares = {0.0: "0.0 %", 0.12345: "12.3 %", 0.000412: "0.041 %", 1.0: "100.0 %", -0.5: "-50.0 %", 1e-9: "1.0e-7 %"}
    assert {share: percent(share) for share in shares} == shares
    assert percent(math.nan) == "-"
