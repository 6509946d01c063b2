"""Watch a text classifier with attention: which words speak for the class.

python examples/watch_texts.py runs/texts && tensorboard --logdir runs/texts
"""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np
from keras import layers

import lrp_monitor as lrp

WORDS = [
    "", "a", "the", "dog", "cat", "bird", "sees", "hears", "likes", "fears", "river", "house", "red", "blue", "old",
    "young", "never", "always", "not", "very",
]  # fmt: skip
LENGTH = 10


def texts(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sentences of random words, as token ids; class 1 are those in which somebody is afraid."""
    ids = np.random.default_rng(seed).integers(1, len(WORDS), (n, LENGTH))
    return ids, (ids == WORDS.index("fears")).any(axis=1).astype(int)


def main(log_dir: Path, epochs: int = 8) -> lrp.Run:
    x, y = texts(2000, seed=0)
    held_out = texts(200, seed=1)
    ids = keras.Input((LENGTH,), dtype="int32")
    words = layers.Embedding(len(WORDS), 16)(ids)
    seen = words + layers.MultiHeadAttention(2, 8)(words, words)
    model = keras.Model(ids, layers.Dense(2, activation="softmax")(layers.GlobalAveragePooling1D()(seen)))
    model.compile(keras.optimizers.Adam(5e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    probes = lrp.ProbeSet.from_dataset(
        held_out,
        per_class=4,
        class_names=["calm", "afraid"],
        tokens=lambda row: [WORDS[token] for token in row],  # or your tokenizer: ids of a sample -> its words
    )
    monitor = lrp.LRPMonitor(probes, log_dir, composite="attn_lrp", verbose=0)
    model.fit(x, y, batch_size=64, epochs=epochs, callbacks=[monitor], verbose=0)

    run = lrp.open_run(log_dir)
    maps, words_of = run.heatmaps(run.steps[-1]), run.probes.inputs[0].tokens
    for name, heatmap, text in zip(run.probes.names, maps, words_of, strict=True):
        print(f"{name}: {' '.join(text)}; most for its class: {text[int(heatmap.argmax())]}")
    return run


if __name__ == "__main__":
    main(Path(sys.argv[1]))
