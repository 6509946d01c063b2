"""Inputs of every make: a dict of one input, inputs of shape (), texts; rules for the input where there is none."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from engine_helpers import COMPOSITES, close
from keras import layers as kl
from keras import ops

import lrp_monitor as lrp
from lrp_monitor import rules


def name_of(composite):
    return getattr(composite, "name", composite)


@pytest.mark.parametrize("composite", COMPOSITES[:4], ids=name_of)
def test_one_input_given_as_a_dict(composite, rng, randomise):
    inputs = keras.Input((5,), name="values")

    def model(given):
        return keras.Model(given, kl.Dense(2)(kl.Dense(4, activation="relu")(inputs)))

    plain, named = randomise(model(inputs)), model({"values": inputs})
    named.set_weights(plain.get_weights())
    x = rng.uniform(-3, 3, size=(3, 5)).astype(np.float32)
    found = lrp.relevance(named, {"values": x}, 1, composite)
    assert list(found) == ["values"]
    close(found["values"], lrp.relevance(plain, x, 1, composite))


def test_a_call_of_ones_own_that_takes_a_dict_of_one(rng, randomise):
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.one, self.two = kl.Dense(4, activation="relu"), kl.Dense(2)

        def call(self, given):
            return self.two(self.one(given["values"]))

    plain = randomise(keras.Sequential([keras.Input((5,)), kl.Dense(4, activation="relu"), kl.Dense(2)]))
    x = rng.uniform(-3, 3, size=(3, 5)).astype(np.float32)
    named = Net()
    named({"values": x})
    named.set_weights(plain.get_weights())
    found = lrp.relevance(named, {"values": x}, 1, "epsilon_plus_flat")
    close(found["values"], lrp.relevance(plain, x, 1, "epsilon_plus_flat"))


@pytest.mark.parametrize("composite", ["lrp_zero", "epsilon_plus_flat", lrp.composites.deep_taylor(-3, 3)], ids=name_of)
def test_inputs_of_shape_nothing(composite, rng, randomise):
    """Two numbers a sample, each an input of shape (), against one input of two."""
    one, two, both = keras.Input((), name="one"), keras.Input((), name="two"), keras.Input((2,))

    def model(given, joined):
        return keras.Model(given, kl.Dense(2)(kl.Dense(4, activation="relu")(joined)))

    apart = randomise(model({"one": one, "two": two}, ops.stack([one, two], axis=-1)))
    together = model(both, both)
    together.set_weights(apart.get_weights())
    x = rng.uniform(-3, 3, size=(6, 2)).astype(np.float32)
    found = lrp.relevance(apart, {"one": x[:, 0], "two": x[:, 1]}, 1, composite)
    assert found["one"].shape == found["two"].shape == (6,)
    close(np.stack([found["one"], found["two"]], axis=1), lrp.relevance(together, x, 1, composite))


def test_one_input_of_shape_nothing(rng, randomise):
    inputs = keras.Input(())
    model = randomise(keras.Model(inputs, kl.Dense(2, use_bias=False)(kl.Reshape((1,))(inputs))))
    x = rng.normal(size=4).astype(np.float32)
    close(lrp.relevance(model, x, 1, "epsilon_plus_flat"), x * model.get_weights()[0][0, 1])


class Towers(keras.Model):
    """A model of its own class whose inputs are numbers of things, one of each a sample."""

    def __init__(self) -> None:
        super().__init__()
        self.users, self.films, self.head = kl.Embedding(5, 3), kl.Embedding(5, 3), kl.Dense(2, use_bias=False)

    def call(self, inputs):
        user, film = inputs
        return self.head(ops.concatenate([self.users(user), self.films(film)], axis=-1))


def test_inputs_of_shape_nothing_of_a_model_without_a_graph(randomise):
    """It takes (n,) arrays, as recommenders do; prepared by the shapes of its inputs, in the structure it takes."""
    model, given = Towers(), (np.array([1, 2, 4]), np.array([3, 0, 1]))
    model(given)
    randomise(model)
    explainer = lrp.Explainer(model, "lrp_zero")
    explainer.prepare(((), ()), 3)  # for floats: no shape says that it takes integers
    found = explainer(given, 1)
    kernel = model.head.kernel.numpy()[:, 1]
    for relevance, ids, table, part in zip(
        found, given, (model.users, model.films), (kernel[:3], kernel[3:]), strict=True
    ):
        close(relevance, table.embeddings.numpy()[ids] @ part)


# A sample's shape, for which the layer gives what it says, and the layer.
TEXTS = {
    "StringLookup": ((1,), lambda: kl.StringLookup(vocabulary=["a", "b"], output_mode="multi_hot")),
    "TextVectorization": ((), lambda: kl.TextVectorization(vocabulary=["a", "b"], output_mode="multi_hot")),
}


@pytest.mark.parametrize("name", TEXTS)
def test_text_is_refused_with_the_way_out(name, rng, randomise):
    shape, make = TEXTS[name]
    encoding, inputs = make(), keras.Input(shape, dtype="string")
    model = randomise(keras.Model(inputs, kl.Dense(2, use_bias=False)(encoding(inputs))))
    x = np.array(["a", "b"]).reshape(2, *shape)
    with pytest.raises(TypeError, match=r"texts.*explain the model behind the encoding, keras.Model\("):
        lrp.relevance(model, x, 1)
    rest = keras.Model(encoding.output, model.output)
    seen = np.asarray(encoding(tf.constant(x)), np.float32)
    close(lrp.relevance(rest, seen, 1, "lrp_zero"), seen * model.get_weights()[-1][:, 1])


@pytest.mark.parametrize("rule", [rules.Flat(), rules.WSquare(), rules.ZBox(0, 1)], ids=["flat", "w2", "zB"])
@pytest.mark.parametrize("role", ["dense", "conv"])
def test_rules_of_the_first_layer_are_refused_for_every_layer_when_the_composite_is_made(rule, role):
    """They share out to inputs that are 0, whose relevance no layer below could pass on: for the first layer alone."""
    with pytest.raises(ValueError, match=rf"{role}.*first weighted layer.*first=.*until="):
        lrp.Composite(**{role: rule})
