"""What stands in front of the first weighted layer: the input rules see through movement, scaling and pooling."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from engine_helpers import close, sweep
from keras import layers as kl
from keras import ops

import lrp_monitor as lrp
from lrp_monitor import rules

INPUT_RULES = {"flat": rules.Flat(), "w2": rules.WSquare(), "zB": rules.ZBox(-3, 3)}


def in_turn_with_rules(forms):
    """By default each form by one of the input rules in turn."""
    return sweep("name rule", forms, INPUT_RULES, kept=lambda form, rule: form % 3 == (rule + 2) % 3)


def dense_map(rule, x, w, r, live=1.0, box=None):
    """The input rule's formula for a dense layer, float64: x (n, i), w (i, j), r (n, j).

    ``live`` (i,) is 0 where padding put a value in, which takes no share: there x, low and high are 0. ``box``: lowest
    and highest values (i,) in place of the rule's.
    """
    live = np.broadcast_to(live, x.shape[1:])
    if isinstance(rule, rules.Flat):
        return r.sum(axis=1, keepdims=True) * live / live.sum()
    w = w * live[:, None]
    if isinstance(rule, rules.WSquare):
        return r @ (w**2 / (w**2).sum(axis=0)).T
    low, high = (np.reshape(bound, (-1, 1)) for bound in box or (rule.low, rule.high))
    share = x[:, :, None] * w - low * np.maximum(w, 0) - high * np.minimum(w, 0)
    return (share / share.sum(axis=1, keepdims=True) * r[:, None, :]).sum(axis=2)


def explained(front, shape, rule, rng, randomise, live=1.0, box=None):
    """The input, its relevance, and the input rule's relevance of what ``front`` makes of it, (n, values)."""
    inputs = keras.Input(shape)
    before = keras.Model(inputs, kl.Flatten()(front(inputs)))
    model = randomise(keras.Model(inputs, kl.Dense(2)(kl.Dense(5, name="first")(before.output))))
    x = rng.uniform(-3, 3, size=(4, *shape)).astype(np.float32)
    explanation = lrp.Explainer(model, lrp.Composite(dense=rules.Epsilon(0), first=rule)).explain(x, 1)
    np.testing.assert_allclose(explanation.logits, model(x).numpy(), rtol=1e-4, atol=1e-4)
    w, b = (v.astype(np.float64) for v in model.get_layer("first").get_weights())
    h = before(x).numpy().astype(np.float64)
    relevance = dense_map(rule, h, w, (h @ w + b) * model.layers[-1].get_weights()[0][:, 1], live, box)
    return x, explanation.relevance, relevance


MOVES = {
    "expand_dims": lambda x: ops.expand_dims(x, 1),
    "slice": lambda x: x[:, 1:, ::2],
    "split": lambda x: ops.split(x, 2, axis=2)[1],
    "split and joined": lambda x: ops.concatenate(ops.split(x, 2, axis=2)[::-1], axis=1),
    "concatenation": lambda x: kl.Concatenate()([x[:, :, :2], x[:, :, 2:]]),
    "einsum of one operand": lambda x: ops.einsum("abc->acb", x),
    "rows chosen by a matrix": lambda x: ops.matmul(np.float32([[0, 0, 1], [1, 0, 0]]), x),
    "columns chosen by einsum": lambda x: ops.einsum("abc,cd->abd", x, np.float32([[0, 1], [0, 0], [1, 0], [0, 0]])),
    "transpose and reshape": lambda x: ops.reshape(ops.transpose(x, (0, 2, 1)), (-1, 2, 6)),
    "stack of parts": lambda x: ops.stack([x[:, :, 3], x[:, :, 0]], axis=1),
    "flip and roll": lambda x: ops.roll(ops.flip(x, axis=1), 1, axis=2),
    "padded": lambda x: ops.pad(x, ((0, 0), (1, 0), (0, 1))),
    "chosen": lambda x: ops.take(x, [2, 0], axis=1),
    "layers": lambda x: kl.Cropping1D((1, 0))(kl.Permute((2, 1))(kl.ZeroPadding1D(1)(x))),
}


@in_turn_with_rules(MOVES)
def test_movement_moves_relevance(name, rule, rng, randomise):
    numbers = np.arange(1, 13, dtype=np.float32).reshape(1, 3, 4)
    origin = keras.ops.convert_to_numpy(MOVES[name](numbers)).reshape(-1).astype(int)  # 0: put in by padding
    x, found, relevance = explained(MOVES[name], (3, 4), INPUT_RULES[rule], rng, randomise, live=origin > 0)
    expected = np.zeros((len(x), 13))
    np.add.at(expected.T, origin, relevance.T)
    close(found.reshape(len(x), -1), expected[:, 1:], 1e-4)


def test_places_that_are_computed_from_the_input(rng, randomise):
    def largest(x):
        return ops.take_along_axis(x, ops.argsort(-x, axis=-1)[..., :2], axis=-1)

    x, found, relevance = explained(largest, (3, 4), INPUT_RULES["w2"], rng, randomise)
    expected = np.zeros(x.shape)
    np.put_along_axis(expected, np.argsort(-x, axis=-1)[..., :2], relevance.reshape(4, 3, 2), axis=-1)
    close(found, expected, 1e-4)
    with pytest.raises(ValueError, match="so zB has no box"):
        explained(largest, (3, 4), INPUT_RULES["zB"], rng, randomise)


def test_places_that_are_an_input(rng, randomise):
    x, places = keras.Input((5,)), keras.Input((3,), dtype="int32")
    taken = ops.take_along_axis(x, places, axis=1)
    model = randomise(keras.Model([x, places], kl.Dense(2, use_bias=False)(taken)))
    values, at = rng.normal(size=(4, 5)).astype(np.float32), np.argsort(rng.normal(size=(4, 5)))[:, :3].astype(np.int32)
    found, of_places = lrp.relevance(model, [values, at], 1, "epsilon_plus_flat")
    expected = np.zeros((4, 5))
    np.put_along_axis(expected, at, model([values, at]).numpy()[:, 1:] / 3, axis=1)
    close(found, expected)
    assert not of_places.any()


@pytest.mark.filterwarnings("ignore:model .*no weighted layer takes the input itself:RuntimeWarning")
@pytest.mark.parametrize("joined", ["beside a signal", "both"])
def test_a_mean_of_another_input_takes_its_share(joined, rng, randomise):
    """It is no part of a normalisation: of a sum with it, each input takes what it contributes; of two means, by Flat,
    each takes half.
    """
    one, two = keras.Input((4,)), keras.Input((6,))
    mean, both = ops.mean(two, axis=-1, keepdims=True), joined == "both"
    total = ops.mean(one, axis=-1, keepdims=True) - mean if both else one + mean
    model = randomise(keras.Model([one, two], kl.Dense(2, use_bias=False)(total)))
    x = [rng.normal(size=(3, size)).astype(np.float32) for size in (4, 6)]
    w = model.get_weights()[0][:, 1]
    by_one, by_two = (w / 4, -w / 6) if both else (w, w.sum() / 6)
    for first in (None, rules.Flat()):
        found = lrp.relevance(model, x, 1, lrp.Composite(dense=rules.Epsilon(0), first=first))
        halves = [model(x).numpy()[:, 1:] * np.ones(size) / (2 * size) for size in (4, 6)]
        expected = halves if both and first is not None else [x[0] * by_one, x[1] * by_two]
        close(found[0], expected[0])
        close(found[1], expected[1])


def test_complex_numbers_of_the_input(rng, randomise):
    """A Fourier transform of the input itself is a linear map, as one of activations is."""
    inputs = keras.Input((8,))
    spectrum = kl.Lambda(lambda x: tf.math.real(tf.signal.fft(tf.cast(x, tf.complex64))), output_shape=(8,))(inputs)
    model = randomise(keras.Model(inputs, kl.Dense(2, use_bias=False)(spectrum)))
    x = rng.normal(size=(3, 8)).astype(np.float32)
    matrix = np.real(np.fft.fft(np.eye(8))) @ model.get_weights()[0].astype(np.float64)
    close(lrp.relevance(model, x, 1, "lrp_zero"), x * matrix[:, 1])


def test_a_function_of_the_input_in_several_operations(rng, randomise):
    """It is preprocessing, as the layer of the same function is."""
    known, by_hand = (
        keras.Sequential([keras.Input((5,)), function, kl.Dense(3)])
        for function in (kl.LeakyReLU(0.1), kl.Lambda(lambda x: ops.maximum(x, 0.1 * x)))
    )
    by_hand.set_weights(randomise(known).get_weights())
    x = rng.normal(size=(4, 5)).astype(np.float32)
    close(lrp.relevance(by_hand, x, 0, "epsilon_plus_flat"), lrp.relevance(known, x, 0, "epsilon_plus_flat"))


def test_an_input_in_double_precision(rng, randomise):
    """R_i = x_i sum_{j >= i} G_j, of sums up to each value."""
    front = kl.Lambda(lambda x: ops.cast(ops.cumsum(ops.cast(x, "float64"), axis=1), "float32"), output_shape=(5,))
    model = randomise(keras.Sequential([keras.Input((5,)), front, kl.Dense(2, use_bias=False)]))
    x = rng.normal(size=(2, 5)).astype(np.float32)
    close(lrp.relevance(model, x, 1, "lrp_zero"), x * np.cumsum(model.get_weights()[0][::-1, 1])[::-1])


OF_ONES = np.float32([[1, 0], [1, 0], [0, 1]])
SUMMING = {
    "a matrix": (OF_ONES, lambda x: tf.matmul(x, OF_ONES)),
    "turned": (OF_ONES, lambda x: tf.matmul(x, OF_ONES.T, transpose_b=True)),
    "a vector, spread": (np.ones((3, 2), np.float32), lambda x: ops.einsum("ni,k->nk", x, np.ones(2, np.float32))),
}


@pytest.mark.parametrize("name", SUMMING)
def test_a_product_with_ones_and_zeros_that_sums_is_no_movement(name, rng, randomise):
    """y_j = sum_i x_i c_ij of ones and zeros c: R_i = x_i sum_j c_ij G_j."""
    matrix, front = SUMMING[name]
    inputs = keras.Input((3,))
    model = randomise(keras.Model(inputs, kl.Dense(2, use_bias=False)(kl.Lambda(front, output_shape=(2,))(inputs))))
    x = rng.normal(size=(2, 3)).astype(np.float32)
    close(lrp.relevance(model, x, 1, "lrp_zero"), x * (matrix @ model.get_weights()[0][:, 1]))


def test_steps_that_are_masked_out_take_nothing(rng, randomise):
    """Flat: all values of the other two steps get the same."""
    inputs = keras.Input((3, 4))
    kept = ops.cast(ops.any(ops.not_equal(inputs, 0.0), axis=-1, keepdims=True), "float32")
    model = randomise(keras.Model(inputs, kl.Dense(2, use_bias=False)(kl.Flatten()(inputs * kept))))
    x = rng.normal(size=(2, 3, 4)).astype(np.float32)
    x[0, 1] = x[1, 2] = 0.0
    expected = (x != 0) * model(x).numpy()[:, :1, None] / 8
    close(lrp.relevance(model, x, 0, lrp.Composite(first=rules.Flat())), expected)


def test_steps_of_the_input_that_are_added_to_it_take_nothing(rng, randomise):
    front = lambda x: x + ops.cast(x > 0, "float32")  # noqa: E731
    _, found, relevance = explained(front, (4,), INPUT_RULES["flat"], rng, randomise)
    close(found, relevance)


def test_one_over_the_input_is_its_reciprocal(rng, randomise):
    """Preprocessing, in either spelling."""
    by_division, known = (
        keras.Sequential([keras.Input((5,)), kl.Lambda(function), kl.Dense(3)])
        for function in (lambda x: 1.0 / x, ops.reciprocal)
    )
    by_division.set_weights(randomise(known).get_weights())
    x = rng.uniform(1, 3, size=(4, 5)).astype(np.float32)
    close(lrp.relevance(by_division, x, 0, "epsilon_plus_flat"), lrp.relevance(known, x, 0, "epsilon_plus_flat"))
    with pytest.raises(ValueError, match="so zB has no box"):
        lrp.relevance(by_division, x, 0, lrp.composites.deep_taylor(-3, 3))


POOLS = {
    "layer": (kl.MaxPooling1D(2), kl.AveragePooling1D(2)),
    "operation": (lambda x: ops.max_pool(x, 2), lambda x: ops.average_pool(x, 2)),
    "reduction": (
        lambda x: ops.max(ops.reshape(x, (-1, 3, 2, 2)), axis=2),
        lambda x: ops.mean(ops.reshape(x, (-1, 3, 2, 2)), axis=2),
    ),
}


JOINED = [("sum", "flat", None), ("sum", "zB", (np.full(3, -6), np.full(3, 6))), ("maximum", "zB", None)]


@pytest.mark.parametrize(("name", "rule", "box"), JOINED)
def test_two_tensors_joined_by_value(name, rule, box, rng, randomise):
    """As one sum or maximum over both of them stacked: parts of it as of a mean, and all to the winner."""
    front = (lambda x: x[:, :3] + x[:, 3:]) if name == "sum" else (lambda x: ops.maximum(x[:, :3], x[:, 3:]))
    x, found, relevance = explained(front, (6,), INPUT_RULES[rule], rng, randomise, box=box)
    share = np.full((4, 2, 3), 0.5) if name == "sum" else np.stack([x[:, :3] > x[:, 3:], x[:, :3] <= x[:, 3:]], axis=1)
    found = found.reshape(4, 2, 3)
    close(found.sum(axis=1), relevance, 1e-4)
    if (name, rule) != ("sum", "zB"):  # of which each part's own distance from the bounds counts
        close(found, share * relevance[:, None], 1e-4)


@in_turn_with_rules(POOLS)
def test_the_winner_of_a_maximum_takes_all(name, rule, rng, randomise):
    x, found, relevance = explained(POOLS[name][0], (6, 2), INPUT_RULES[rule], rng, randomise)
    windows = x.reshape(4, 3, 2, 2)
    winner = windows == windows.max(axis=2, keepdims=True)
    expected = winner * relevance.reshape(4, 3, 1, 2)
    close(found, expected.reshape(x.shape), 1e-4)


@in_turn_with_rules(POOLS)
def test_a_mean_is_a_part_of_the_linear_map_behind_it(name, rule, rng, randomise):
    """Of the relevance of a mean each element takes the same part; under zB its own distance from the bounds counts."""
    _, found, relevance = explained(POOLS[name][1], (6, 2), INPUT_RULES[rule], rng, randomise)
    total = found.reshape(4, 3, 2, 2).sum(axis=2)
    close(total, relevance.reshape(4, 3, 2), 1e-4)
    if rule != "zB":
        close(found, np.repeat(total / 2, 2, axis=1), 1e-4)


@pytest.mark.parametrize("rule", [rules.Flat(), rules.ZBox(0, 255)], ids=["flat", "zB"])
def test_scaling_between_moves_passes_one_to_one(rule, rng, randomise):
    """Grey pictures made three channels by hand: as pictures of three channels that are alike, scaled by a layer."""
    channels = np.float32([1, 2, 3])

    def net(inputs, h):
        return keras.Model(inputs, kl.Dense(2)(kl.Flatten()(kl.Conv2D(3, 2, activation="relu")(h))))

    grey, coloured = keras.Input((4, 5)), keras.Input((4, 5, 3))
    by_hand = randomise(net(grey, ops.repeat(ops.expand_dims(grey, -1) / 127.5 - 1.0, 3, axis=-1) * channels))
    by_layers = net(coloured, kl.Rescaling(1 / 127.5, -1.0)(coloured))
    kernel, *rest = by_hand.get_weights()
    by_layers.set_weights([kernel * channels[:, None], *rest])
    x = rng.uniform(0, 255, size=(3, 4, 5)).astype(np.float32)
    composite = lrp.Composite(first=rule)
    found = lrp.Explainer(by_hand, composite).explain(x, 0)
    np.testing.assert_allclose(found.logits, by_hand(x).numpy(), rtol=1e-4, atol=1e-4)
    expected = lrp.relevance(by_layers, np.repeat(x[..., None], 3, axis=-1), 0, composite)
    close(found.relevance, expected.sum(axis=-1), 1e-4)


def test_tokens_behind_moves(rng, randomise):
    """Two rows of tokens, one of them chosen: the other takes nothing, and each token its vector's relevance."""
    inputs = keras.Input((2, 5), dtype="int32")
    model = randomise(keras.Model(inputs, kl.Dense(2)(kl.Flatten()(kl.Embedding(7, 3)(inputs[:, 1])))))
    x = rng.integers(0, 7, size=(4, 2, 5))
    found = lrp.relevance(model, x, 1, "lrp_zero")
    table, w, _ = model.get_weights()
    expected = (table[x[:, 1]] * w[:, 1].reshape(5, 3)).sum(axis=-1)
    close(found[:, 1], expected)
    assert not found[:, 0].any()


def test_pools_and_moves_inside_models_and_wrappers(rng, randomise):
    """The same front written into an inner model, and with every frame's pooling in a TimeDistributed layer."""
    frames = keras.Input((3, 6, 4, 1))
    pooled = kl.TimeDistributed(kl.MaxPooling2D((2, 1)))(frames)
    by_frames = keras.Model(frames, kl.Dense(2)(kl.Flatten()(kl.TimeDistributed(kl.Conv2D(2, 2))(pooled))))
    volume = kl.MaxPooling3D((1, 2, 1))(frames)
    at_once = randomise(keras.Model(frames, kl.Dense(2)(kl.Flatten()(kl.Conv3D(2, (1, 2, 2))(volume)))))
    by_frames.set_weights([w[0] if w.ndim == 5 else w for w in at_once.get_weights()])
    inner = keras.Sequential([keras.Input((3, 6, 4, 1)), kl.MaxPooling3D((1, 2, 1))])
    nested = keras.Sequential([keras.Input((3, 6, 4, 1)), inner, *at_once.layers[2:]])
    x = rng.normal(size=(2, 3, 6, 4, 1)).astype(np.float32)
    expected = lrp.relevance(at_once, x, 0, "epsilon_plus_flat")
    close(lrp.relevance(nested, x, 0, "epsilon_plus_flat"), expected)
    close(lrp.relevance(by_frames, x, 0, "epsilon_plus_flat"), expected)


@in_turn_with_rules({"sort": 5, "top_k": 3})
def test_what_is_ordered_by_value_keeps_its_relevance(name, rule, rng, randomise):
    """Each value's relevance, wherever the order of values has put it."""
    count = {"sort": 5, "top_k": 3}[name]
    front = ops.sort if name == "sort" else lambda x: ops.top_k(x, count)[0]
    x, found, relevance = explained(front, (5,), INPUT_RULES[rule], rng, randomise)
    expected = np.zeros(x.shape)
    order = x.argsort(axis=1) if name == "sort" else (-x).argsort(axis=1)[:, :count]
    np.put_along_axis(expected, order, relevance, axis=1)
    close(found, expected, 1e-4)


@pytest.mark.parametrize(
    "composite", ["lrp_zero", "epsilon_plus_flat", lrp.composites.deep_taylor(-3, 3)], ids=["lrp-0", "flat", "zB"]
)
def test_values_scattered_to_one_place_are_summed(composite, rng, randomise):
    def net(front):
        inputs = keras.Input((3,))
        return keras.Model(inputs, kl.Dense(2)(kl.Dense(5)(kl.Lambda(front, output_shape=(2,))(inputs))))

    scattered = randomise(net(lambda x: ops.transpose(ops.scatter([[1], [0], [1]], ops.transpose(x), (2, 4)))))
    summed = net(lambda x: ops.stack([x[:, 1], ops.sum(x[:, ::2], axis=1)], axis=1))
    summed.set_weights(scattered.get_weights())
    x = rng.uniform(-3, 3, size=(4, 3)).astype(np.float32)
    close(lrp.relevance(scattered, x, 1, composite), lrp.relevance(summed, x, 1, composite), 1e-4)


BOXES = {  # of inputs between -3 and 1: what is made of them, its bounds by hand, and of which inputs each is made
    "differences": (
        lambda x: ops.sum(ops.reshape(x * np.float32([1, -1, 2, 1]), (-1, 2, 2)), axis=2),
        (-4, -9), (4, 3), [[0, 1], [2, 3]],
    ),
    "a choice by value": (
        lambda x: ops.where(x[:, :2] > -1, x[:, :2], -x[:, 2:]), (-3, -3), (3, 3), [[0, 2], [1, 3]],
    ),
    "cut by a choice": (lambda x: (lambda y: ops.where(y > 0, y, y / 2))(x[:, :2]), (-1.5, -1.5), (1, 1), [[0], [1]]),
    "cut by its size": (lambda x: (lambda y: (y + ops.abs(y)) / 2)(x[:, 2:]), (0, 0), (1, 1), [[2], [3]]),
    "a parabola": (lambda x: ops.square(x[:, :2] * np.float32([1, -2])), (0, 0), (9, 36), [[0], [1]]),
    # x sigmoid(x) is lowest, -.278465, at -1.278465
    "silu": (lambda x: (lambda y: y * ops.sigmoid(y))(x[:, :2]), (-0.278465,) * 2, (0.731059,) * 2, [[0], [1]]),
    # lowest at -.9, and turned at -pi/6 and pi/6: between the places where a function is asked first
    "a size, shifted": (lambda x: ops.abs(x[:, :2] + 0.9), (0, 0), (2.1, 2.1), [[0], [1]]),
    "waves": (lambda x: ops.sin(3.0 * x[:, 2:]), (-1, -1), (1, 1), [[2], [3]]),
    "turned and cut": (lambda x: ops.relu(1.0 - x[:, :2] * np.float32([2, -1])), (0, 0), (7, 2), [[0], [1]]),
}  # fmt: skip


def _columns(x):
    return x[:, :2], x[:, 2:]


SUMMED = {  # what adds inputs between -1 and 2 up, and the matrix that it is
    "a difference": (lambda x: ops.subtract(*_columns(x)), [[1, 0, -1, 0], [0, 1, 0, -1]]),
    "of steps": (lambda x: ops.diff(x, axis=1), [[-1, 1, 0, 0], [0, -1, 1, 0], [0, 0, -1, 1]]),
    "up to each": (lambda x: ops.cumsum(x, axis=1), [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]),
    "scaled": (lambda x: 0.5 * x[:, :2] + 2.0 * x[:, 2:], [[0.5, 0, 2, 0], [0, 0.5, 0, 2]]),
    "moved and scaled": (lambda x: ops.flip(-2 * ops.subtract(*_columns(x)), 1), [[0, -2, 0, 2], [-2, 0, 2, 0]]),
    "by another name": (
        kl.Lambda(lambda x: tf.identity_n([x[:, :2] + 2 * x[:, 2:]])[0]), [[1, 0, 2, 0], [0, 1, 0, 2]],
    ),
    "beside others": (
        lambda x: ops.concatenate([ops.add(*_columns(x)), 3.0 * x[:, 1:3]], axis=1),
        [[1, 0, 1, 0], [0, 1, 0, 1], [0, 3, 0, 0], [0, 0, 3, 0]],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SUMMED)
def test_terms_of_a_sum_have_bounds_of_their_own(name, rng, randomise):
    """zB of h = A x and its terms: R_i = sum_hj (a_hi x_i w_hj - l_hi w+_hj - u_hi w-_hj) / sum_i (...) R_j."""
    front, matrix = SUMMED[name]
    matrix = np.array(matrix, float)
    inputs = keras.Input((4,))
    model = randomise(keras.Model(inputs, kl.Dense(2, name="first")(front(inputs))))
    x = rng.uniform(-1, 2, size=(5, 4)).astype(np.float32)
    w, b = (v.astype(float) for v in model.get_layer("first").get_weights())
    v, r = w[:, 1:], (x @ matrix.T @ w + b)[:, 1:]
    low, high = np.minimum(-matrix, 2 * matrix), np.maximum(-matrix, 2 * matrix)
    share = (matrix * x[:, None] * v - low * np.maximum(v, 0) - high * np.minimum(v, 0)).sum(axis=1)
    expected = share / share.sum(axis=1, keepdims=True) * r
    explainer = lrp.Explainer(model, lrp.Composite(first=rules.ZBox(-1, 2)))
    close(explainer.explain(x, 1).relevance, expected, 1e-4)
    close(lrp.relevance(model, x, 1, "lrp_zero"), x * (v.T @ matrix))


def test_relevance_that_leaves_a_sum_by_its_bounds(rng, randomise):
    """All of it is seen at the layer that adds, and what goes through its channels one by one sums to all."""
    one, two = keras.Input((3,)), keras.Input((3,))
    total = kl.Add(name="sum")([one, kl.Rescaling(3.0)(two)])
    model = randomise(keras.Model([one, two], kl.Dense(2)(kl.Rescaling(2.0)(total))))
    x = [rng.uniform(-1, 2, size=(4, 3)).astype(np.float32) for _ in range(2)]
    explainer = lrp.Explainer(model, lrp.Composite(first=rules.ZBox(-1, 2)))
    inspection = explainer.inspect(x, 1)
    heatmaps = np.stack(inspection.explanation.relevance)
    (layer,) = (layer for layer in inspection.layers if layer.name == "sum")
    close(layer.total, heatmaps.sum(axis=(0, 2)))
    channels = explainer.conditional(x, [{"sum": channel} for channel in range(3)], 1)
    close(np.sum(channels, axis=1), heatmaps)


SUMS = {
    "one by one": lambda a, b, c, d: a + b + c + d,
    "from the last": lambda a, b, c, d: a + (b + (c + d)),
    "in pairs": lambda a, b, c, d: ops.add(a, b) + (c + d),
    "Add": lambda *parts: kl.Add()(parts),
    "add_n": lambda *parts: kl.Lambda(tf.add_n, output_shape=(3,))(list(parts)),
    "mean": lambda *parts: 4 * ops.mean(ops.stack(parts), axis=0),
}


@pytest.mark.parametrize("name", SUMS)
@pytest.mark.parametrize("rule", [rules.Flat(), rules.ZBox(-3, 3)], ids=["flat", "zB"])
def test_each_term_of_a_sum_takes_an_equal_part(rule, name, rng, randomise):
    """R_i of h = a + b + c + d, a quarter to each; of zB's x w - low w+ - high w- the bounds are, and x is its own."""
    parts = [keras.Input((3,)) for _ in range(4)]
    model = randomise(keras.Model(parts, kl.Dense(2, name="first")(SUMS[name](*parts))))
    x = [rng.uniform(-3, 3, size=(5, 3)).astype(np.float32) for _ in parts]
    found = lrp.relevance(model, x, 1, lrp.Composite(first=rule))
    w, b = (v.astype(np.float64) for v in model.get_layer("first").get_weights())
    r = (sum(x).astype(np.float64) @ w + b)[:, 1:]
    for part, relevance in zip(x, found, strict=True):
        if isinstance(rule, rules.Flat):
            expected = np.broadcast_to(r / 12, part.shape)
        else:
            v = w[:, 1]
            share = [y * v + 3 * n * np.maximum(v, 0) - 3 * n * np.minimum(v, 0) for y, n in ((part, 1), (sum(x), 4))]
            expected = share[0] / share[1].sum(axis=1, keepdims=True) * r
        close(relevance, expected, 1e-4)


OF_MEAN_AND_MAXIMUM = {
    "mean first": lambda mean, largest: mean + largest,
    "maximum first": lambda mean, largest: largest + mean,
    "Add": lambda mean, largest: kl.Add()([largest, mean]),
    "subtracted": lambda mean, largest: mean - largest,
    "multiplied": lambda mean, largest: largest * mean,
}


@pytest.mark.parametrize("name", OF_MEAN_AND_MAXIMUM)
def test_what_sums_the_input_up_in_two_ways_takes_equal_parts(name, rng, randomise):
    """Flat gives each of three channels of y a third: half of it to each of four steps, half to the largest."""
    inputs = keras.Input((4, 3))
    y = OF_MEAN_AND_MAXIMUM[name](ops.mean(inputs, axis=1), ops.max(inputs, axis=1))
    model = randomise(keras.Model(inputs, kl.Dense(2)(y)))
    x = rng.normal(size=(5, 4, 3)).astype(np.float32)
    found = lrp.Explainer(model, lrp.Composite(first=rules.Flat())).explain(x, 1)
    share = 1 / 8 + (x == x.max(axis=1, keepdims=True)) / 2
    close(found.relevance, share / 3 * found.logit[:, None, None])


CUTS = {
    "below first": lambda x: ops.minimum(ops.maximum(x, 0.0), 2.0),
    "above first": lambda x: ops.maximum(ops.minimum(x, 2.0), 0.0),
    "twice": lambda x: ops.relu(ops.relu(x)),
    "and bent": lambda x: ops.tanh(ops.relu(x)),
    "in whole numbers": kl.Lambda(lambda x: tf.cast(tf.saturate_cast(64.0 * x, tf.uint8), tf.float32)),
}


@pytest.mark.parametrize("name", CUTS)
def test_what_is_cut_off_takes_its_share_by_a_rule_that_no_values_count_for(name, rng, randomise):
    """R_i = sum_j R_j / 4 for each of 4 inputs, in whatever order they are cut."""
    x, found, relevance = explained(CUTS[name], (4,), rules.Flat(), rng, randomise)
    assert (x < 0).any()
    close(found, relevance)


def test_what_a_function_makes_of_zero_goes_nowhere(rng, randomise):
    """cos(0) = 1, of which 0 has no part: the two others share, R_i = sum_j R_j / 2."""
    inputs = keras.Input((3,))
    model = randomise(keras.Model(inputs, kl.Dense(2)(ops.cos(inputs))))
    x = np.float32([[0, 1, 2]])
    close(lrp.relevance(model, x, 1, lrp.Composite(first=rules.Flat())), model(x)[:, 1:] * np.float32([0, 1, 1]) / 2)


@pytest.mark.parametrize("name", BOXES)
def test_the_box_of_what_stands_in_front(name, rng, randomise):
    """A result may be lowest where one input is highest, whatever the bounds themselves give."""
    front, low, high, made_of = BOXES[name]
    _, found, relevance = explained(front, (4,), rules.ZBox(-3, 1), rng, randomise, box=(low, high))
    close(np.stack([found[:, inputs].sum(axis=1) for inputs in made_of], axis=1), relevance, 1e-4)


def test_bicubic_interpolation_in_front_has_no_box(rng, randomise):
    """It overshoots."""
    with pytest.raises(ValueError, match=r"'up_sampling2d' \(UpSampling2D\) .*no box; use Flat\(\)"):
        explained(
            kl.UpSampling2D(2, interpolation="bicubic", name="up_sampling2d"),
            (2, 2, 1),
            INPUT_RULES["zB"],
            rng,
            randomise,
        )


def test_a_single_sample_that_is_looked_up_in_the_input(rng, randomise):
    """As ``tf.vectorized_map`` does for a batch of one. The gradient of a lookup comes as slices."""

    class Doubled(kl.Layer):
        def call(self, x):
            return tf.vectorized_map(lambda sample: 2.0 * sample, x)

    inputs = keras.Input((4,))
    model = randomise(keras.Model(inputs, kl.Dense(3, use_bias=False)(Doubled()(inputs))))
    x = rng.normal(size=(1, 4)).astype(np.float32)
    found = lrp.relevance(model, x, 1, lrp.Composite(dense=rules.Epsilon(0)))
    close(found, 2 * x * model.layers[-1].kernel.numpy()[:, 1])
