"""What the tests of networks written by hand share: two forms of one network, composites to compare them under."""

import keras
import numpy as np
from engine_helpers import COMPOSITES, close
from keras import layers as kl

import lrp_monitor as lrp

EVERY = [*COMPOSITES, "attn_lrp", "cp_lrp"]
TWO = [lrp.composites.deep_taylor(-3, 3), "cp_lrp"]
"""Two composites in which most rules differ: z+ and epsilon, gates and attention weights live and constant."""


def name_of(composite):
    return getattr(composite, "name", composite)


class Own(kl.Layer):
    """A layer of one's own: ``make(self)`` gives it parts and weights, ``run(self, x)`` computes."""

    def __init__(self, make, run, **options):
        super().__init__(**options)
        self.run = run
        make(self)

    def build(self, input_shape):
        self.built = True

    def call(self, x):
        return self.run(self, x)


def weight(layer, name, shape, **options):
    """A weight of the layer, reachable under its name."""
    setattr(layer, name, layer.add_weight(shape=shape, name=name, **options))


def net(shape, middle, dtype="float32", before=True, head=2):
    """``middle`` between dense layers: of a model's input behind GELU, and of the logits."""
    inputs = h = keras.Input(shape, dtype=dtype)
    if before:
        h = kl.Dense(shape[-1], activation="gelu", name="before")(h)
    h = middle(h)
    return keras.Model(inputs, kl.Dense(head, name="head")(h if len(h.shape) == 2 else kl.Flatten()(h)))


def share_ends(model, other):
    """Gives ``other`` the weights of the dense layers around what is compared."""
    for name in ("before", "head"):
        if any(layer.name == name for layer in model.layers):
            other.get_layer(name).set_weights(model.get_layer(name).get_weights())


class Reference:
    """A network of Keras' layers and an input: its output, and what explains it by each composite, computed once."""

    def __init__(self, model, x, target=1):
        self.model, self.x, self.target = model, x, target
        self.output = np.asarray(model(x))
        self._known = []

    def explanation(self, composite):
        for asked, explanation in self._known:
            if asked is composite:
                return explanation
        self._known.append((composite, lrp.Explainer(self.model, composite).explain(self.x, self.target)))
        return self._known[-1][1]

    def relevance(self, composite):
        return self.explanation(composite).relevance


def same_as(reference, by_hand, composites, tolerance=1e-4):
    """``by_hand`` computes what the reference computes, and has the same map under each of ``composites``: its maps."""
    x, expected, maps = reference.x, reference.output, []
    np.testing.assert_allclose(np.asarray(by_hand(x)), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    for composite in composites:
        maps.append(lrp.relevance(by_hand, x, reference.target, composite))
        close(maps[-1], reference.relevance(composite), tolerance, name=str(name_of(composite)))
    return maps


def same(by_layers, by_hand, x, composites, target=1, tolerance=1e-4):
    """Both models compute the same, and have the same maps under each of ``composites``."""
    same_as(Reference(by_layers, x, target), by_hand, composites, tolerance)
