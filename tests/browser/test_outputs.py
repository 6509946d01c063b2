"""Runs of one output of several, of a detector's box and of a similarity on the page: what is explained is read off."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from browser_helpers import Open, View
from keras import layers
from test_input_kinds import at, drawn, opened, read_off

import lrp_monitor as lrp

pytestmark = pytest.mark.browser

RNG = np.random.default_rng(0)
N, FEW = 16, 3
X = RNG.normal(size=(N, 6)).astype(np.float32)
KIND, SIZE = np.argmax(X[:, :3], axis=1), X[:, 5]
RUNS = {name: f"{name}/lrp" for name in ("kind", "size", "box", "pair")}
SCORES = keras.losses.BinaryCrossentropy(from_logits=True)


def monitor(folder: Path, inputs: Any, **options: Any) -> lrp.LRPMonitor:
    output = options.pop("output", None)
    probes = lrp.ProbeSet(inputs, **options)
    return lrp.LRPMonitor(probes, folder, output=output, composite="epsilon", encoding="float32", verbose=0)


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run each: the outputs "kind" and "size" of one model, the score of a box, the similarity of two inputs."""
    folder = tmp_path_factory.mktemp("outputs")
    keras.utils.set_random_seed(0)
    given = keras.Input((6,))
    seen = layers.Dense(5, activation="relu")(given)
    both = keras.Model(given, {"kind": layers.Dense(3, name="kind")(seen), "size": layers.Dense(1, name="size")(seen)})
    classes = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    both.compile("adam", {"kind": classes, "size": "mse"})
    watched = [
        monitor(folder / "kind", X[:FEW], labels=KIND[:FEW], output="kind", class_names=["red", "round", "large"]),
        monitor(folder / "size", X[:FEW], labels=SIZE[:FEW], output="size"),
    ]
    both.fit(X, {"kind": KIND, "size": SIZE}, verbose=0, callbacks=watched)

    image = keras.Input((4, 4, 3))
    features = layers.Conv2D(3, 3, strides=2, padding="same", activation="relu")(image)
    scores = layers.Reshape((4, 2), name="scores")(layers.Conv2D(2, 1)(features))
    boxes = layers.Reshape((4, 4), name="boxes")(layers.Conv2D(4, 1)(features))
    detector = keras.Model(image, {"scores": scores, "boxes": boxes})
    detector.compile("adam", {"scores": SCORES, "boxes": "mse"})
    pictures = RNG.random((N, 4, 4, 3)).astype(np.float32)
    box = lrp.targets.Position([1, 3, 0], of=[1, 0, 1])
    wanted = {"scores": RNG.integers(0, 2, (N, 4, 2)), "boxes": RNG.random((N, 4, 4))}
    detector.fit(
        pictures, wanted, verbose=0, callbacks=[monitor(folder / "box", pictures[:FEW], target=box, output="scores")]
    )

    encoder = keras.Sequential([keras.Input((6,)), layers.Dense(4, use_bias=False)])
    left, right = keras.Input((6,), name="left"), keras.Input((6,), name="right")
    siamese = keras.Model({"left": left, "right": right}, layers.Dot(1)([encoder(left), encoder(right)]))
    siamese.compile("adam", "mse")
    pairs = {"left": X, "right": X[::-1].copy()}
    few = {name: values[:FEW] for name, values in pairs.items()}
    siamese.fit(pairs, SIZE, verbose=0, callbacks=[monitor(folder / "pair", few, labels=SIZE[:FEW])])
    return folder


def shown(value: float) -> str:
    """A number as captions have it, its first three digits."""
    return f"{value:.3g}".replace("-", "−")


def test_what_each_output_says_and_a_value_of_each_are_read_off(logged: Path, view: View, visit: Open) -> None:
    tab = opened(visit, view(logged), *RUNS.values(), more="&p.lrp_monitor.step=1")
    runs = {name: lrp.open_run(logged / name) for name in RUNS}
    last = {name: run.record(1).statistics for name, run in runs.items()}

    def captions() -> str:
        return "\n".join(tab.all("[data-testid^=caption-]", "e.innerText"))

    label = ["red", "round", "large"][KIND[0]]
    tab.expect(lambda: [part for part in (f"P({label})", "position\n1", "P(class 1)") if part not in captions()], [])
    for name in ("size", "pair"):
        np.testing.assert_allclose(last[name]["error"], last[name]["output"] - SIZE[:FEW], rtol=1e-5, atol=1e-6)
        tab.expect(lambda name=name: f"predicts\n{shown(last[name]['output'][0])}" in captions(), True)
    assert last["box"]["target"].tolist() == [1, 0, 1]

    def read(name: str, x: float, y: float) -> tuple[str, float]:
        at(tab, x, y, 0, RUNS[name])
        return read_off(tab)

    for name in ("kind", "size", "pair"):
        # The first row is the most relevant feature; of a pair it is one of the left input, below its name.
        tab.expect(lambda name=name: "feature " in read(name, 0.9, 0.1)[0], True)
        words, value = read(name, 0.9, 0.1)
        found = re.search(r"feature (\d+) = ", words)
        assert found, words
        assert words.startswith("left, ") == (name == "pair")
        relevance = runs[name].heatmaps(1)[0].reshape(-1, 6)[0]
        assert int(found[1]) == np.abs(relevance).argmax()
        assert value == pytest.approx(relevance[int(found[1])], rel=1e-4)
    tab.expect(lambda: read("box", 0.9, 0.6)[0], "row 2, column 3")
    assert read("box", 0.9, 0.6)[1] == pytest.approx(runs["box"].heatmaps(1)[0, 2, 3], rel=1e-4)
    tab.page.keyboard.press("Home")
    drawn(tab, 0)
    first = runs["pair"].record(0).statistics["output"][0]
    tab.expect(lambda: f"predicts\n{shown(first)}" in captions(), True)
