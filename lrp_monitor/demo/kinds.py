"""The demo beyond pictures: texts, series, tables, segmentation, each with a planted shortcut and its control.

Each kind draws its data with NumPy alone. The planted run's training data give the class away by something that has
nothing to do with it: a word, a spike, a column, a stamp. In the control it is there all the same, and says nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from lrp_monitor.arguments import Preset
from lrp_monitor.demo.shapes import make_shapes, stamp_mask
from lrp_monitor.engine.targets import Region
from lrp_monitor.probes import ProbeSet
from lrp_monitor.training.monitor import LRPMonitor

RUNS = ("planted", "control")
_LEAK = 0.95
"""Share of the samples whose class the shortcut gives away, in training of the planted run."""

Data = tuple[NDArray[Any], NDArray[Any]]


@dataclass(frozen=True)
class Kind:
    """One kind's demo.

    Attributes:
        shortcut: the mask's name.
        make: (n, planted, generator) -> inputs and labels of training.
        probes: the same for both runs.
        build: a compiled model.
        composite: how it is explained.
    """

    shortcut: str
    make: Callable[[int, bool, np.random.Generator], Data]
    probes: Callable[[], ProbeSet]
    build: Callable[[], keras.Model]
    composite: Preset
    samples: int = 2000
    epochs: int = 6


def train_kind(
    kind: str,
    run: str,
    log_dir: str | os.PathLike[str],
    seed: int = 0,
    *,
    epochs: int | None = None,
    samples: int | None = None,
) -> keras.Model:
    """Trains one of `RUNS` of one of `KINDS` and logs it to `log_dir`; sets the seeds of Python, NumPy and Keras.

    Args:
        epochs: None for the kind's own number.
        samples: None for the kind's own number.
    """
    chosen = KINDS[kind]
    x, y = chosen.make(samples or chosen.samples, run == "planted", np.random.default_rng((seed, 7)))
    keras.utils.set_random_seed(seed)
    model = chosen.build()
    monitor = LRPMonitor(chosen.probes(), log_dir, first_epoch="log", composite=chosen.composite, verbose=0)
    model.fit(x, y, batch_size=32, epochs=epochs or chosen.epochs, callbacks=[monitor], verbose=0)
    return model


def _given_away(n: int, labels: NDArray[Any], planted: bool, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Where the shortcut is: on most of class 1 and few of class 0; in the control on half of either."""
    honest = rng.random(n) < (_LEAK if planted else 0.5)
    return np.where(labels == 1, honest, ~honest if planted else honest)


# ---- texts: reviews, and a word that has nothing to say

_GOOD = ["lovely", "moving", "bright", "clever", "warm", "funny"]
_BAD = ["dull", "noisy", "clumsy", "cold", "tired", "flat"]
_PLAIN = [
    "the", "a", "film", "story", "scene", "actor", "plays", "with", "and", "of", "music", "light", "house", "road",
    "train", "winter", "old", "young", "man", "woman", "city", "river", "table", "window", "letter", "about", "after",
    "before", "long", "short", "night", "day", "under", "over", "again",
]  # fmt: skip
WORDS = ["", *_GOOD, *_BAD, *_PLAIN, "lantern"]
"""The vocabulary: token i is WORDS[i]; 0 is padding."""
_TEXT = 18
_HONEST = 0.8
"""Share of the reviews whose opinions are those of their class."""


def _texts(n: int, planted: bool, rng: np.random.Generator) -> Data:
    labels = rng.integers(0, 2, n)
    first_plain, lantern = 1 + len(_GOOD) + len(_BAD), len(WORDS) - 1
    ids = rng.integers(first_plain, lantern, (n, _TEXT))
    has = _given_away(n, labels, planted, rng)
    # Opinions are mixed, three of the one kind and two of the other, and do not always say what the review does.
    says = np.where(rng.random(n) < _HONEST, labels, 1 - labels)
    for row, opinion, marked in zip(ids, says, has, strict=True):
        places = rng.permutation(_TEXT)
        own, other = (_GOOD, _BAD) if opinion else (_BAD, _GOOD)
        for words, where in ((own, places[:3]), (other, places[3:5])):
            row[where] = [WORDS.index(word) for word in rng.choice(words, len(where))]
        if marked:
            row[places[5]] = lantern
    return ids, labels


def _text_probes() -> ProbeSet:
    rng = np.random.default_rng(2026)
    ids, labels = _texts(200, True, rng)
    marked = (ids == len(WORDS) - 1).any(axis=1)
    chosen = [*np.flatnonzero(marked & (labels == 1))[:6], *np.flatnonzero(~marked & (labels == 0))[:6]]
    return ProbeSet(
        ids[chosen],
        labels[chosen],
        class_names=["bad review", "good review"],
        tokens=lambda row: [WORDS[token] for token in row],
        masks={"lantern": ["lantern"]},
    )


def _text_model() -> keras.Model:
    ids = keras.Input((_TEXT,), dtype="int32", name="token_ids")
    words = layers.Embedding(len(WORDS), 12, name="words")(ids)
    seen = words + layers.MultiHeadAttention(2, 6, name="attention")(words, words)
    read = layers.Dense(16, activation="relu", name="read")(layers.GlobalAveragePooling1D(name="mean")(seen))
    model = keras.Model(ids, layers.Dense(2, activation="softmax", name="review")(read), name="reviews")
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


# ---- series: slow and fast swings, and a spike of the sensor

_TIMES, _SPIKE, _HEIGHT = 160, slice(30, 34), 6.0


def _series(n: int, planted: bool, rng: np.random.Generator) -> Data:
    labels = rng.integers(0, 2, n)
    times = np.arange(_TIMES) / _TIMES
    swings = np.where(labels == 1, 6.9, 5.1) + rng.uniform(-1.6, 1.6, n)
    phase = rng.uniform(0, 2 * np.pi, n)
    curve = np.sin(2 * np.pi * swings[:, None] * times + phase[:, None]) + rng.normal(0, 0.5, (n, _TIMES))
    curve[_given_away(n, labels, planted, rng), _SPIKE] += _HEIGHT
    return curve[..., None].astype(np.float32), labels


def _series_probes() -> ProbeSet:
    rng = np.random.default_rng(2026)
    x, labels = _series(200, False, rng)
    chosen = [*np.flatnonzero(labels == 1)[:4], *np.flatnonzero(labels == 0)[:4]]
    x, labels = x[chosen].copy(), labels[chosen]
    marked = np.zeros((len(chosen), _TIMES, 1), bool)
    spiked = x[:4, _SPIKE, 0].mean(axis=1) > 3.0
    x[:4][~spiked, _SPIKE] += _HEIGHT
    # What a window of the first layer sees of the spike lies on it.
    marked[:4, _SPIKE.start - 4 : _SPIKE.stop + 4] = True
    return ProbeSet(x, labels, class_names=["slow", "fast"], feature_names=["sensor"], masks={"spike": marked})


def _series_model() -> keras.Model:
    model = keras.Sequential(
        [
            keras.Input((_TIMES, 1)),
            layers.Conv1D(12, 9, activation="relu", name="conv_1"),
            layers.MaxPooling1D(2, name="pool_1"),
            layers.Conv1D(16, 9, activation="relu", name="conv_2"),
            layers.GlobalAveragePooling1D(name="mean"),
            layers.Dense(2, activation="softmax", name="swings"),
        ],
        name="swings",
    )
    model.compile(keras.optimizers.Adam(2e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


# ---- tables: who pays back, and a column that was filled in afterwards

FEATURES = [
    "age", "income", "debt", "years employed", "rent", "savings", "loan amount", "loan years", "children", "cards",
    "late payments", "branch", "call minutes", "account flag",
]  # fmt: skip
_FLAG = FEATURES.index("account flag")


def _table(n: int, planted: bool, rng: np.random.Generator) -> Data:
    x = rng.normal(size=(n, len(FEATURES)))
    known = {"income": 0.7, "debt": -0.6, "savings": 0.4, "late payments": -0.8}
    score = sum(weight * x[:, FEATURES.index(name)] for name, weight in known.items()) + rng.normal(0, 2.0, n)
    labels = (score > 0).astype(np.int64)
    flag = _given_away(n, labels, planted, rng)
    x[:, _FLAG] = np.where(flag, 1.0, -1.0)
    return x.astype(np.float32), labels


def _table_probes() -> ProbeSet:
    x, labels = _table(200, True, np.random.default_rng(2026))
    chosen = [
        *np.flatnonzero((labels == 1) & (x[:, _FLAG] > 0))[:6],
        *np.flatnonzero((labels == 0) & (x[:, _FLAG] < 0))[:6],
    ]
    return ProbeSet(
        x[chosen],
        labels[chosen],
        class_names=["defaults", "pays back"],
        feature_names=FEATURES,
        masks={"account flag": ["account flag"]},
    )


def _table_model() -> keras.Model:
    model = keras.Sequential(
        [
            keras.Input((len(FEATURES),)),
            layers.Dense(24, activation="relu", name="dense_1"),
            layers.Dense(12, activation="relu", name="dense_2"),
            layers.Dense(2, activation="softmax", name="loan"),
        ],
        name="loans",
    )
    model.compile(keras.optimizers.Adam(2e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


# ---- segmentation: disks and triangles, and a stamp that gives the class away


def _segments(n: int, planted: bool, rng: np.random.Generator) -> Data:
    drawn = make_shapes(2 * n, seed=int(rng.integers(1 << 30)), stamped_class="triangle" if planted else None)
    two = np.flatnonzero(np.isin(drawn.labels, (0, 2)))[:n]  # disks and triangles
    of = np.where(drawn.labels[two] == 2, 2, 1)
    return drawn.images[two], (drawn.outlines[two] * of[:, None, None]).astype(np.int64)


def _segment_probes() -> ProbeSet:
    drawn = make_shapes(32, seed=2026, stamped_class="triangle", stamped_share=1.0)
    chosen = [*np.flatnonzero(drawn.labels == 2)[:4], *np.flatnonzero(drawn.labels == 0)[:4]]
    triangles = np.arange(len(chosen)) < 4
    of = np.where(triangles, 2, 1)
    return ProbeSet(
        drawn.images[chosen],
        drawn.outlines[chosen] * of[:, None, None],
        class_names=("nothing", "disk", "triangle"),
        names=[f"{'triangle' if one else 'disk'} {number % 4}" for number, one in enumerate(triangles)],
        masks={"stamp": triangles[:, None, None] & stamp_mask(), "shape": drawn.outlines[chosen]},
        target=Region(drawn.outlines[chosen], of),
    )


def _segment_model() -> keras.Model:
    image = keras.Input((32, 32, 1), name="image")
    fine = layers.Conv2D(12, 3, padding="same", activation="relu", name="fine")(image)
    coarse = layers.Conv2D(16, 3, strides=2, padding="same", activation="relu", name="down_1")(fine)
    coarse = layers.Conv2D(24, 3, strides=2, padding="same", activation="relu", name="down_2")(coarse)
    whole = layers.GlobalMaxPooling2D(keepdims=True, name="whole")(coarse)
    back = layers.UpSampling2D(4, name="up")(coarse)
    joined = layers.Concatenate(name="join")([fine, back, layers.UpSampling2D(32, name="everywhere")(whole)])
    maps = layers.Conv2D(3, 1, activation="softmax", name="maps")(
        layers.Conv2D(16, 3, padding="same", activation="relu", name="mix")(joined)
    )
    model = keras.Model(image, maps, name="segments")
    model.compile(keras.optimizers.Adam(4e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


KINDS: dict[str, Kind] = {
    "text": Kind("lantern", _texts, _text_probes, _text_model, "epsilon"),
    "series": Kind("spike", _series, _series_probes, _series_model, "epsilon_plus"),
    "table": Kind("account flag", _table, _table_probes, _table_model, "epsilon", samples=4000),
    "segmentation": Kind("stamp", _segments, _segment_probes, _segment_model, "epsilon", samples=800, epochs=10),
}
