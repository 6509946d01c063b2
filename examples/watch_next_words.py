"""Watch a language model learn which word decides the next one: what is heard depends on who, four words before.

python examples/watch_next_words.py runs/next_words && tensorboard --logdir runs/next_words
"""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np
from keras import layers

import lrp_monitor as lrp

SAYS = {"dog": "barks", "cat": "meows", "bird": "sings", "boy": "talks"}
PLACES = ["river", "house", "bridge", "garden"]
WORDS = ["the", "near", "old", *SAYS, *SAYS.values(), *PLACES]
LENGTH = 6


def sentences(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Texts as word ids (n, 6), "the dog near the old house", and at each place the next word, at last "barks"."""
    rng = np.random.default_rng(seed)
    pairs = zip(rng.choice(list(SAYS), n), rng.choice(PLACES, n), strict=True)
    whole = [["the", who, "near", "the", "old", where, SAYS[who]] for who, where in pairs]
    ids = np.array([[WORDS.index(word) for word in one] for one in whole])
    return ids[:, :-1], ids[:, 1:]


class Places(layers.Layer):
    """Adds to every word what its place is."""

    def build(self, shape: tuple[int, ...]) -> None:
        self.table = self.add_weight(shape=shape[1:], initializer="uniform", name="table")

    def call(self, words: keras.KerasTensor) -> keras.KerasTensor:
        return words + self.table


def language_model() -> keras.Model:
    ids = keras.Input((LENGTH,), dtype="int32")
    words = Places()(layers.Embedding(len(WORDS), 16)(ids))
    seen = words + layers.MultiHeadAttention(2, 8)(words, words, use_causal_mask=True)
    model = keras.Model(ids, layers.Dense(len(WORDS))(seen))
    model.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def main(log_dir: Path, epochs: int = 8) -> lrp.Run:
    x, following = sentences(2000, seed=0)
    x_held_out, y_held_out = sentences(8, seed=1)
    # Explained is the word that follows the last one. Of texts that are padded: Position(lengths - 1), and of a
    # network that fills in masked words: Position(ids == mask_id).
    probes = lrp.ProbeSet(
        x_held_out,
        labels=y_held_out,
        class_names=WORDS,
        target=lrp.targets.Position(-1),
        tokens=lambda row: [WORDS[token] for token in row],
        masks={"who": list(SAYS)},
    )
    monitor = lrp.LRPMonitor(probes, log_dir, composite="attn_lrp", verbose=0)
    model = language_model()
    model.fit(x, following, batch_size=64, epochs=epochs, callbacks=[monitor], verbose=0)

    # First the network learns that a verb follows, from the words just before, then from who is meant which one.
    run = lrp.open_run(log_dir)
    for step, right, share in zip(*run.scalar("lrp/accuracy"), run.scalar("lrp/mask_mass/who")[1], strict=True):
        print(f"after {step} epochs {right:.0%} of the next words are right, {share:.0%} of the relevance is on who")
    return run


if __name__ == "__main__":
    main(Path(sys.argv[1]))
