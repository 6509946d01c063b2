"""Models with several inputs: relevance of the same structure, against float64 NumPy; wrong structures are named."""

import functools

import engine_helpers
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as kl
from keras import ops

import lrp_monitor as lrp
from lrp_monitor import rules

N = 5


def two_branches(randomise, as_dict=False):
    """relu(Dense(image flattened)) joined with relu(Dense(2 x - 1 of the numbers)), then Dense: two outputs."""
    image, numbers = keras.Input((2, 3), name="image"), keras.Input((4,), name="numbers")
    a = kl.Dense(5, activation="relu", name="from_image")(kl.Flatten()(image))
    b = kl.Dense(3, activation="relu", name="from_numbers")(kl.Rescaling(2.0, -1.0)(numbers))
    joined = kl.Concatenate()([a, b])
    outputs = {"animal": kl.Dense(4, name="animal")(joined), "colour": kl.Dense(2, name="colour")(joined)}
    takes = {"image": image, "numbers": numbers} if as_dict else [image, numbers]
    return randomise(keras.Model(takes, outputs, name="pair"))


def data(rng):
    return rng.normal(size=(N, 2, 3)).astype(np.float32), rng.normal(size=(N, 4)).astype(np.float32)


def expected(net, image, numbers, head, target):
    """LRP-0; the rescaled numbers get their relevance one to one."""

    def weights(name):
        return (w.astype(np.float64) for w in net.get_layer(name).get_weights())

    (wa, ba), (wb, bb), (w, b) = weights("from_image"), weights("from_numbers"), weights(head)
    flat, seen = image.reshape(N, -1).astype(np.float64), 2.0 * numbers.astype(np.float64) - 1.0
    za, zb = flat @ wa + ba, seen @ wb + bb
    logits = np.concatenate([np.maximum(za, 0), np.maximum(zb, 0)], axis=1) @ w + b
    g = w[:, target]
    of_image = flat * (((za > 0) * g[:5]) @ wa.T)
    of_numbers = seen * (((zb > 0) * g[5:]) @ wb.T)
    return of_image.reshape(image.shape), of_numbers, logits


close = functools.partial(engine_helpers.close, relative=1e-4)


@pytest.mark.parametrize("as_dict", [False, True])
@pytest.mark.parametrize(("output", "head", "target"), [("animal", "animal", 3), (1, "colour", 0)])
def test_list_tuple_and_dict_of_inputs(as_dict, output, head, target, rng, randomise):
    net = two_branches(randomise, as_dict)
    image, numbers = data(rng)
    wanted = expected(net, image, numbers, head, target)
    explainer = lrp.Explainer(net, "lrp_zero", output=output)
    for given in ([image, numbers], (image, numbers), {"image": image, "numbers": numbers},
                  {"numbers": numbers, "image": image}):  # fmt: skip
        found = explainer.explain(given, target)
        assert type(found.relevance) is type(given)
        if isinstance(given, dict):
            assert list(found.relevance) == list(given)
            parts = found.relevance["image"], found.relevance["numbers"]
        else:
            parts = found.relevance
        for part, want in zip(parts, wanted[:2], strict=True):
            assert part.dtype == np.float32
            close(part, want)
        close(found.logits, wanted[2])
        total = sum(part.reshape(N, -1).sum(axis=1, dtype=np.float64) for part in wanted[:2])
        close(found.conservation, total / wanted[2][:, target])


def test_chunks_of_several_inputs(rng, randomise):
    net = two_branches(randomise)
    image, numbers = data(rng)
    whole = lrp.Explainer(net, "epsilon_plus", output=0)([image, numbers], 1)
    parts = lrp.Explainer(net, "epsilon_plus", output=0, batch_size=2)([image, numbers], 1)
    for a, b in zip(whole, parts, strict=True):
        close(b, a)


def test_each_input_has_its_first_layer(rng, randomise):
    """An input-layer rule applies to the first weighted layer behind each input; flat by hand."""
    net = two_branches(randomise)
    image, numbers = data(rng)
    zero = rules.Epsilon(0)
    found = lrp.Explainer(
        net, lrp.Composite(conv=zero, dense=zero, first=rules.Flat()), output="colour"
    ).explain([image, numbers], 1)  # fmt: skip
    (wa, ba), (wb, bb), (w, _) = (
        [v.astype(np.float64) for v in net.get_layer(name).get_weights()]
        for name in ("from_image", "from_numbers", "colour")
    )
    a = np.maximum(image.reshape(N, -1) @ wa + ba, 0) * w[:5, 1]
    b = np.maximum((2.0 * numbers - 1.0) @ wb + bb, 0) * w[5:, 1]
    close(found.relevance[0], np.tile(a.sum(axis=1)[:, None, None] / 6, (1, 2, 3)))
    close(found.relevance[1], np.tile(b.sum(axis=1)[:, None] / 4, (1, 4)))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.first, self.second = kl.Dense(3, use_bias=False), kl.Dense(3, use_bias=False)

    def call(self, inputs):
        return self.first(inputs["a"]) + self.second(inputs["b"])


def test_subclassed_model_with_a_dict(rng, randomise):
    net = Subclassed()
    a, b = (rng.normal(size=(N, 4)).astype(np.float32) for _ in range(2))
    net({"a": a, "b": b})
    randomise(net)
    explainer = lrp.Explainer(net, "lrp_zero")
    explainer.prepare({"b": (4,), "a": (4,)}, N)
    made = set(explainer.passes.made)
    found = explainer({"b": b, "a": a}, 2)
    assert set(explainer.passes.made) == made
    close(found["a"], a * net.first.kernel.numpy()[:, 2])
    close(found["b"], b * net.second.kernel.numpy()[:, 2])


def test_a_model_without_a_graph_is_prepared_for_a_list_of_inputs(rng):
    class Listed(Subclassed):
        def call(self, inputs):
            return self.first(inputs[0]) + self.second(inputs[1])

    net, given = Listed(), [rng.normal(size=(N, size)).astype(np.float32) for size in (4, 2)]
    net(given)
    explainer = lrp.Explainer(net, "lrp_zero")
    explainer.prepare([(4,), (2,)], N)
    made = set(explainer.passes.made)
    explainer(given)
    assert set(explainer.passes.made) == made
    with pytest.raises(ValueError, match=r"have shape \(1, 3\), but model 'plain' takes \(n, 4\)"):
        lrp.Explainer(keras.Sequential([keras.Input((4,)), kl.Dense(2)], name="plain")).prepare((3,))


def test_input_that_does_not_reach_the_output_gets_zero(rng, randomise):
    one, other = keras.Input((3,)), keras.Input((2,))
    net = randomise(keras.Model([one, other], [kl.Dense(2)(one), kl.Dense(2)(other)]))
    a, b = rng.normal(size=(N, 3)), rng.normal(size=(N, 2))
    found = lrp.relevance(net, [a, b], 0, "lrp_zero", output=0)
    assert np.abs(found[0]).max() > 0
    np.testing.assert_array_equal(found[1], np.zeros((N, 2)))


def test_wrong_structures(rng, randomise):
    net = two_branches(randomise)
    image, numbers = data(rng)
    explainer = lrp.Explainer(net, "epsilon", output=0)
    cases = [
        (image, ValueError, r"has several inputs, \['image', 'numbers'\]: pass a list of 2 arrays or a dict"),
        ([image], ValueError, "got 1 of them"),
        ({"image": image}, ValueError, r"inputs are named \['image'\], but model 'pair' takes"),
        ([image, numbers[:, :3]], ValueError, r"input 'numbers' has shape \(5, 3\), but model 'pair' takes \(n, 4\)"),
        ([image, numbers[:2]], ValueError, "different numbers of samples: 'image': 5, 'numbers': 2"),
        ([image, np.full((5, 4), np.nan)], ValueError, "input 'numbers' holds NaN or infinity in sample 0"),
        ([image, np.full((5, 4), "a")], TypeError, "'numbers' must be numbers"),
        ([image[:0], numbers[:0]], ValueError, "at least one sample"),
    ]
    for given, error, words in cases:
        with pytest.raises(error, match=words):
            explainer(given, 0)


def test_a_keyword_that_nothing_takes_is_the_callers_error():
    model = keras.Sequential([keras.Input((3,)), kl.Dense(2)])
    x = np.ones((1, 3), np.float32)
    probes = lrp.ProbeSet(x)
    for call, words in (
        (
            lambda: lrp.relevance(model, x, compsite="epsilon"),
            r"^relevance\(\) .*'compsite'; did you mean 'composite'",
        ),
        (lambda: lrp.relevance(model, x, batchsize=2), r"'batchsize'; did you mean 'batch_size'"),
        (lambda: lrp.check(model, x, on_unkown="raise"), r"^check\(\) got .*did you mean 'on_unknown'"),
        (lambda: lrp.sanity_check(model, probes, check=["mask"]), r"^sanity_check\(\) got .*did you mean 'checks'"),
        (lambda: lrp.occlude(model, probes, "m", fil=0), r"^occlude\(\) got .*'fil'; did you mean 'fill'"),
        (lambda: lrp.Snapshot.of(model, probes, targt=[0]), r"^Snapshot\.of\(\) got .*did you mean 'target'"),
        (lambda: lrp.relevance(model, x, colour=1), r"'colour'$"),
    ):
        with pytest.raises(TypeError, match=words):
            call()


class LooksUp(keras.Model):
    """Without a graph, so that it declares no type of its input."""

    def __init__(self, look_up=None):
        super().__init__()
        self.look_up, self.head = look_up, kl.Dense(2, use_bias=False)
        self.table = self.add_weight(shape=(9, 3), initializer="random_normal")

    def call(self, x):
        return self.head(ops.mean(self.look_up(self.table, x), axis=1))


@pytest.mark.parametrize(
    "look_up",
    [tf.gather, lambda table, x: ops.take(table, x, axis=0), lambda table, x: ops.one_hot(x, 9) @ table],
    ids=["gather", "take", "one_hot"],
)
def test_integers_are_handed_on_as_integers(look_up, rng):
    """As `fit` does where a model declares no type: R of a token is what its vector has of the logit."""
    model, ids = LooksUp(look_up), rng.integers(0, 9, size=(N, 4))
    model(ids)
    explainer = lrp.Explainer(model, "lrp_zero")
    vectors = model.table.numpy()[ids] / 4
    close(explainer(ids, 1), vectors @ model.head.kernel.numpy()[:, 1])
    close(explainer.logits(ids), model.predict(ids, verbose=0))


def test_pixels_that_are_integers_keep_their_relevance(rng):
    """What `convert_image_dtype` scales integers by, floats it leaves as they are: the map is that of 255ths."""

    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.head = kl.Dense(2, use_bias=False)

        def call(self, x):
            return self.head(ops.reshape(tf.image.convert_image_dtype(x, tf.float32), (-1, 12)))

    model, x = Net(), rng.integers(0, 256, size=(N, 2, 2, 3)).astype(np.uint8)
    model(x)
    found = lrp.Explainer(model, "lrp_zero").explain(x, 1)
    close(found.logit, model.predict(x, verbose=0)[:, 1])
    close(found.relevance, x / 255 * model.head.kernel.numpy()[:, 1].reshape(2, 2, 3))


def test_integers_go_as_floats_where_no_operation_takes_them(rng):
    """A convolution of integers is none of TensorFlow's: pixels that a data set makes floats come as them."""

    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.conv, self.head = kl.Conv2D(2, 2), kl.Dense(2)

        def call(self, x):
            return self.head(kl.Flatten()(self.conv(x)))

    model, x = Net(), rng.integers(0, 256, size=(N, 3, 3, 1)).astype(np.uint8)
    model(x.astype(np.float32))
    explainer = lrp.Explainer(model, "epsilon_plus_flat")
    close(explainer(x, 1), explainer(x.astype(np.float32), 1))


def test_integers_that_fit_no_operation_have_the_error_of_integers():
    model = LooksUp(tf.gather)
    model(np.zeros((N, 4), np.int32))
    model.look_up = lambda table, x: tf.gather(table, x) @ x
    with pytest.raises(TypeError, match="has type int32"):
        lrp.Explainer(model, "lrp_zero")(np.zeros((N, 4), np.int32), 1)


@pytest.mark.parametrize("declared", [True, False])
def test_numbers_that_float32_does_not_tell_apart_are_refused(declared):
    x = np.array([[1 << 24, (1 << 24) + 1]])
    hashed = kl.Hashing(9)
    inputs = keras.Input((2,), dtype="int64")
    model = keras.Model(inputs, kl.Dense(2)(kl.Flatten()(kl.Embedding(9, 3)(hashed(inputs)))))
    if not declared:
        model = LooksUp(lambda table, x: ops.take(table, x % 9, axis=0))
        model(x)
    with pytest.raises(ValueError, match=r"16,777,217.*float32.*behind (the|its) encoding"):
        lrp.Explainer(model, "lrp_zero")(x, 1)


PLACES = {
    "two lengths": (lambda n, a, t: ops.clip(n - a - ops.arange(4), 0, 8), {"n": 1 / 2, "a": 1 / 2}),
    "what is left of a length": (lambda n, a, t: n - ops.minimum(ops.arange(4), n), {"n": 1}),
    "of floats": (
        lambda n, a, t: ops.cast(ops.cast(n, "float32") - ops.cast(a, "float32"), "int32") + ops.arange(4) * 0,
        {"n": 1 / 2, "a": 1 / 2},
    ),
    "times apart, the last one 0": (
        lambda n, a, t: ops.cast(ops.sqrt(ops.cast(t[:, -1:] - t, "float32")), "int32"), {"t": 1},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PLACES)
def test_places_that_are_computed_of_inputs(name, rng):
    """A vector's relevance goes in equal parts to the numbers that were added, also where the place is 0."""
    place, shares = PLACES[name]
    given = {"n": np.array([[4], [3]]), "a": np.array([[1], [2]]), "t": np.array([[3, 9, 20, 20], [0, 5, 8, 30]])}
    inputs = {key: keras.Input(x.shape[1:], dtype="int32", name=key) for key, x in given.items()}
    table = kl.Embedding(9, 3, embeddings_initializer="random_normal")
    y = kl.Dense(2, use_bias=False)(kl.Flatten()(table(place(*inputs.values()))))
    found = lrp.Explainer(keras.Model(inputs, y), "lrp_zero").explain(given, 1)
    for key, relevance in found.relevance.items():
        if key in shares:
            close(relevance.sum(axis=1), shares[key] * found.logit)
        else:
            assert not relevance.any()


INTEGERS = {
    "sum of two": lambda x: x[:, 1:] + x[:, :-1],
    "difference": lambda x: x[:, 1:] - x[:, :-1],
    "sum over an axis": lambda x: ops.sum(x, axis=-1),
    "running sum": lambda x: ops.cumsum(x, axis=1),
}


@pytest.mark.parametrize("name", INTEGERS)
def test_sums_of_integers_are_those_of_floats(name, rng, randomise):
    """Integers have no gradient, and what was added of them lost its relevance."""
    x, made = rng.integers(0, 60, size=(N, 4, 3)), []
    for dtype in ("int32", "float32"):
        inputs = keras.Input((4, 3), dtype=dtype)
        y = kl.Flatten()(ops.cast(INTEGERS[name](inputs), "float32"))
        made.append(keras.Model(inputs, kl.Dense(2, use_bias=False)(y)))
    randomise(made[0])
    made[1].set_weights(made[0].get_weights())
    integers, floats = (lrp.relevance(model, x, 1, "lrp_zero") for model in made)
    close(integers, floats)


@pytest.mark.parametrize(
    "joined",
    [lambda a, b: ops.cast(a * b, "float32"), lambda a, b: 1 - ops.cast(a - b, "float32")],
    ids=["product", "difference"],
)
def test_masks_that_are_joined_as_integers_take_nothing(joined, rng, randomise):
    inputs = {"x": keras.Input((4, 3)), "a": keras.Input((4,), dtype="int32"), "b": keras.Input((4,), dtype="int32")}
    h = kl.Dense(3, use_bias=False)(inputs["x"])
    y = h * joined(inputs["a"], inputs["b"])[..., None]
    model = randomise(keras.Model(inputs, kl.Dense(2, use_bias=False)(kl.Flatten()(y))))
    masks = np.array([[1, 1, 1, 0]] * N), np.array([[1, 1, 0, 0]] * N)
    given = {"x": rng.normal(size=(N, 4, 3)).astype(np.float32), "a": masks[0], "b": masks[1]}
    found = lrp.Explainer(model, "attn_lrp").explain(given, 1)
    assert not found.relevance["a"].any()
    assert not found.relevance["b"].any()
    close(found.relevance["x"].sum(axis=(1, 2)), found.logit)


def test_what_is_wrong_with_the_model_is_said_where_integers_do_not_fit_it(rng):
    """Not that a convolution takes no integers, for which it gets floats."""

    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.conv, self.head = kl.Conv2D(2, 2), kl.Dense(2)

        def call(self, x):
            return self.head(ops.mean(ops.prod(self.conv(x)[:, None], axis=1), axis=(1, 2)))

    model, x = Net(), rng.integers(0, 256, size=(N, 3, 3, 1)).astype(np.uint8)
    model(x.astype(np.float32))
    with pytest.raises(lrp.UnsupportedModelError, match="Prod"):
        lrp.relevance(model, x, 1)
