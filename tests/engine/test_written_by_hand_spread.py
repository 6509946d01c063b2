"""Constants, gates and masks that are spread over samples, steps or channels first: as if the product spread them."""

import keras
import numpy as np
import tensorflow as tf
from engine_helpers import close, in_turn, randomised, sweep
from hand_helpers import Own, weight
from keras import layers as kl
from keras import ops

import lrp_monitor as lrp
from lrp_monitor import rules

STEPS = 4

# What spreads w (6,) over n samples, (n, 1, 6), or over their steps, too, (n, steps, 6).
SPREAD = {
    "broadcast": lambda w, n: ops.broadcast_to(w, (n, STEPS, 6)),
    "of one step": lambda w, n: ops.broadcast_to(w[None, None], (n, 1, 6)),
    "tile": lambda w, n: ops.tile(w[None, None], (n, STEPS, 1)),
    "repeat": lambda w, n: ops.repeat(ops.repeat(w[None, None], n, axis=0), STEPS, axis=1),
    "stack": lambda w, n: ops.stack([w[None]] * n),
    "concatenate": lambda w, n: ops.concatenate([w[None, None]] * n, axis=0),
    "times ones": lambda w, n: ops.ones((n, STEPS, 1)) * w,
    "plus zeros": lambda w, n: w + ops.zeros((n, 1, 6)),
    "matmul": lambda w, n: ops.matmul(ops.ones((n, STEPS, 1)), w[None]),
    "einsum": lambda w, n: ops.einsum("nt,c->ntc", ops.ones((n, STEPS)), w),
    "take of one": lambda w, n: ops.take(w[None], ops.zeros((n, STEPS), "int32"), axis=0),
    "take of several": lambda w, n: ops.take(ops.stack([w + 1, w]), ops.ones((n, STEPS), "int32"), axis=0),
    "take of the last": lambda w, n: ops.transpose(
        ops.take(ops.stack([w, w + 1], -1), ops.zeros((n, STEPS), "int32"), axis=-1), (1, 2, 0)
    ),
    "transpose": lambda w, n: ops.transpose(ops.tile(w[:, None, None], (1, STEPS, n)), (2, 1, 0)),
    "flat, then steps": lambda w, n: ops.reshape(ops.tile(w[None, None], (n, STEPS, 1)), (n * STEPS, 6)),
    "mean": lambda w, n: ops.mean(ops.tile(w[None, None, None], (n, 1, 5, 1)), axis=2),
    "where": lambda w, n: ops.where(ops.ones((n, STEPS, 1)) > 0, w, 1.0),
}  # fmt: skip
# What differs by step, made of the same operations.
PLACES = {
    "stack": lambda w, n: ops.stack([w, 2 * w, w, 3 * w])[None],
    "take": lambda w, n: ops.take(ops.stack([w, -w]), [[0, 1, 1, 0]], axis=0),
    "where": lambda w, n: ops.where(np.array([[[True], [False], [True], [True]]]), w, 0.5),
    "pad": lambda w, n: ops.pad(w[None, None], ((0, 0), (0, STEPS - 1), (0, 0))),
    "times": lambda w, n: np.array([[[1.0], [2.0], [-1.0], [1.0]]], np.float32) * w,
}  # fmt: skip
# What spreads g (n, 6) over the steps of (n, steps, 6).
OVER_STEPS = {
    "broadcast": kl.Lambda(lambda g: ops.broadcast_to(g[:, None], (ops.shape(g)[0], STEPS, 6))),
    "tile": lambda g: ops.tile(g[:, None], (1, STEPS, 1)),
    "repeat": lambda g: ops.repeat(g[:, None], STEPS, axis=1),
    "a layer": lambda g: kl.RepeatVector(STEPS)(g),
    "layers": lambda g: kl.Permute((2, 1))(kl.Reshape((6, STEPS))(kl.UpSampling1D(STEPS)(kl.Reshape((6, 1))(g)))),
    "stack": lambda g: ops.stack([g] * STEPS, axis=1),
    "concatenate": lambda g: ops.concatenate([g[:, None]] * STEPS, axis=1),
    "times ones": lambda g: g[:, None] * ops.ones((STEPS, 1)),
    "take": lambda g: ops.take(g[:, None], [0] * STEPS, axis=1),
    "matmul": lambda g: ops.matmul(ops.ones((1, STEPS, 1)), g[:, None]),
    "einsum": lambda g: ops.einsum("nc,t->ntc", g, ops.ones((STEPS,))),
    "transpose": lambda g: ops.transpose(ops.tile(g[:, :, None], (1, 1, STEPS)), (0, 2, 1)),
    "reshape": lambda g: ops.reshape(ops.tile(g, (1, STEPS)), (-1, STEPS, 6)),
    "scaled": lambda g: 2.0 * ops.tile(0.5 * g[:, None], (1, STEPS, 1)),
}  # fmt: skip
# What spreads a mask (n, steps) over 6 channels.
OVER_CHANNELS = {
    "tile": lambda m: ops.tile(m[..., None], (1, 1, 6)),
    "repeat": lambda m: ops.repeat(m[..., None], 6, axis=-1),
    "layers": lambda m: kl.Permute((2, 1))(kl.RepeatVector(6)(m)),
    "stack": lambda m: ops.stack([m] * 6, axis=-1),
    "times ones": lambda m: m[..., None] * ops.ones((6,)),
}
APPLY = {"mul": ops.multiply, "add": ops.add, "sub": lambda h, w: w - h, "div": ops.divide}


# What of w (5, 6), b, g and d (6,), and their samples' own copies, is (x w g / d) + b.
PRODUCTS = {
    "einsum": lambda x, w, b, g, d, n: ops.einsum("bi,bij->bj", x, each(w, n)) * each(g, n) / d + each(b, n),
    "matmul": lambda x, w, b, g, d, n: ops.matmul(x[:, None], each(w, n))[:, 0] / each(d, n) * g + each(b, n),
    "in heads": lambda x, w, b, g, d, n: ops.reshape(
        ops.einsum("bi,bihd->bhd", x, each(ops.reshape(w, (5, 2, 3)), n)) * each(ops.reshape(g / d, (2, 3)), n), (n, 6)
    ) + b,
    "a kernel that is scaled": lambda x, w, b, g, d, n: ops.einsum("bi,bij->bj", x, each(w, n) * g / d) + b,
    "multiplied, then summed": lambda x, w, b, g, d, n: ops.sum(x[..., None] * each(w, n), 1) * each(g, n) / d + b,
    "multiplied twice": lambda x, w, b, g, d, n: ops.sum(x[..., None] * w * g, 1) / d + b,
    "multiplied and divided": lambda x, w, b, g, d, n: ops.sum(x[..., None] * w / each(d, n)[:, None], 1) * g + b,
    "multiplied by all": lambda x, w, b, g, d, n: ops.sum(each(g, n)[:, None] * (each(w, n) * x[..., None]) / d, 1) + b,
    "mean": lambda x, w, b, g, d, n: ops.mean(each(g, n)[:, None] * (x[..., None] * w) * 5.0 / d, 1) + each(b, n),
    "in two parts": lambda x, w, b, g, d, n: (
        ops.sum(x[:, :2, None] * w[:2], 1) + ops.einsum("bi,bij->bj", x[:, 2:], each(w[2:], n)) + each(b * d / g, n)
    ) * g / each(d, n),
}  # fmt: skip


def each(t, n):
    """The same for each of n samples."""
    return ops.tile(t[None], (n, *[1] * len(t.shape)))


def model_of(spellings, apply):
    """An output for each spelling: of one product, what is spread applied to it in a layer, a ReLU."""

    def applied(layer, h, spread):
        made = spread(tf.convert_to_tensor(layer.w), h.shape[0] or 1)
        flat = ops.reshape(h, (-1, 6)) if len(made.shape) == 2 else h
        return ops.reshape(apply(flat, made), (-1, STEPS, 6))

    inputs = keras.Input((STEPS, 3))
    h = kl.Dense(6, use_bias=False)(inputs)
    made = [
        Own(lambda layer: weight(layer, "w", (6,)), lambda layer, h, spread=spread: applied(layer, h, spread))
        for spread in spellings
    ]
    head = kl.Dense(1)
    model = keras.Model(inputs, kl.Concatenate()([head(kl.Flatten()(kl.ReLU()(layer(h)))) for layer in made]))
    randomised(np.random.default_rng(0), model)
    for layer in made[1:]:
        layer.w.assign(made[0].w)
    return model


@sweep("apply", APPLY, kept=lambda i: i < 2)
def test_a_constant_is_what_it_is_before_it_is_spread(apply, rng):
    """Under alpha-beta, by which a bias or a negative scale of its own gives another map than a folded one."""
    spellings = {"as it is": lambda w, n: w, **SPREAD}
    x = np.repeat(rng.normal(size=(1, STEPS, 3)).astype(np.float32), len(spellings), axis=0)
    explainer = lrp.Explainer(
        model_of(spellings.values(), APPLY[apply]), lrp.Composite(dense=rules.AlphaBeta()), batch_size=len(x)
    )
    found = explainer.explain(x, np.arange(len(x))).relevance
    for target, name in enumerate(spellings):
        close(found[target], found[0], 1e-6, name=name)


def test_what_differs_by_step_stays_a_scale_of_its_own(rng):
    """By LRP-0, relevance is the input times the gradient."""
    x = np.repeat(rng.normal(size=(1, STEPS, 3)).astype(np.float32), len(PLACES), axis=0)
    model = model_of(PLACES.values(), ops.multiply)
    expected = x * gradient_of(model, x)
    found = lrp.Explainer(model, "lrp_zero").explain(x, np.arange(len(x))).relevance
    for i, name in enumerate(PLACES):
        close(found[i], expected[i], 1e-5, name=name)


@sweep("rule", [rules.Gamma(), rules.Flat(), rules.WSquare(), rules.ZBox(-3, 3)], kept=lambda i: i != 2)
def test_a_product_with_weights_of_each_sample_and_factors_of_its_outputs(rule, rng):
    """Rules for inputs at a model's input, others behind a layer with GELU; as a Dense layer with these weights."""

    def make(layer):
        for name, shape in {"w": (5, 6), "b": (6,), "g": (6,), "d": (6,)}.items():
            weight(layer, name, shape)

    def applied(layer, x, run):
        return run(x, *map(tf.convert_to_tensor, (layer.w, layer.b, layer.g, layer.d)), x.shape[0] or 1)

    made = [Own(make, lambda layer, x, run=run: applied(layer, x, run)) for run in PRODUCTS.values()]
    inputs = h = keras.Input((5,))
    if not rule.input_only:
        h = kl.Dense(5, activation="gelu")(h)
    head = kl.Dense(1)
    forms = [kl.Dense(6), *made]
    model = keras.Model(inputs, kl.Concatenate()([head(kl.Activation("gelu")(form(h))) for form in forms]))
    randomised(rng, model)
    w, b, g, d = made[0].get_weights()
    forms[0].set_weights([w * g / d, b])
    for layer in made:
        layer.set_weights([w, b, g, d])
    x = np.repeat(rng.normal(size=(1, 5)).astype(np.float32), len(forms), axis=0)
    composite = lrp.Composite(first=rule) if rule.input_only else lrp.Composite(dense=rule)
    found = lrp.Explainer(model, composite).explain(x, np.arange(len(x))).relevance
    for target, name in enumerate(PRODUCTS, 1):
        close(found[target], found[0], 1e-5, name=name)


# Products of x (n, steps, 6) and g (n, 6) with weights in one call, of which one is spread by ``over`` and then added.
ADDED = {
    "and scaled": lambda x, g, over, w, u, b, s: (over(g @ u + b) + x @ w) * s,
    "a scale": lambda x, g, over, w, u, b, s: x @ w - over(g * s) + b,
    "to a scale": lambda x, g, over, w, u, b, s: x * s + over(g @ u) + b,
}


@sweep("added", ADDED, kept=lambda i: i == 0)
def test_a_product_that_is_spread_and_then_added_is_a_part_of_the_sum(added, rng):
    """Under alpha-beta, by which two products that are added are not one."""

    def make(layer):
        for name, shape in {"w": (6, 6), "u": (6, 6), "b": (6,), "s": (6,)}.items():
            weight(layer, name, shape)

    def applied(layer, x, over):
        return ADDED[added](
            x, ops.mean(x, axis=1), over, *map(tf.convert_to_tensor, (layer.w, layer.u, layer.b, layer.s))
        )

    inputs = keras.Input((STEPS, 3))
    h = kl.Dense(6, activation="gelu")(inputs)
    spellings = {"as it is": lambda g: g[:, None], **OVER_STEPS, "plus zeros": lambda g: g[:, None] + np.zeros((4, 1))}
    made = [Own(make, lambda layer, x, over=over: applied(layer, x, over)) for over in spellings.values()]
    model = side_by_side(inputs, [layer(h) for layer in made])
    randomised(rng, model)
    for layer in made[1:]:
        layer.set_weights(made[0].get_weights())
    x = np.repeat(rng.normal(size=(1, STEPS, 3)).astype(np.float32), len(spellings), axis=0)
    explainer = lrp.Explainer(model, lrp.Composite(dense=rules.AlphaBeta()))
    found = explainer.explain(x, np.arange(len(x))).relevance
    for target, name in enumerate(spellings):
        close(found[target], found[0], 1e-5, name=name)


# What of x (n, 6), w (6,), g (4, 6) and u (6, 6), scaled and then spread over steps by another scale.
SCALED_TWICE = {
    "beside a product": lambda x, w, g, u: (x * w)[:, None] * g + (x @ u)[:, None],
    "three times": lambda x, w, g, u: (x * w * g[0])[:, None] * g + (x @ u)[:, None],
    "divided": lambda x, w, g, u: (x * w)[:, None] / g - (x @ u)[:, None],
    "summed": lambda x, w, g, u: ops.sum((x * w)[:, None] * g, 1, keepdims=True) * g,
}


def test_a_scale_that_spreads_what_was_scaled(rng):
    """By LRP-0, relevance is the input times the gradient."""

    def make(layer):
        for name, shape in {"w": (6,), "g": (STEPS, 6), "u": (6, 6)}.items():
            weight(layer, name, shape)

    inputs = keras.Input((6,))
    made = [
        Own(make, lambda layer, x, run=run: run(x, *map(tf.convert_to_tensor, (layer.w, layer.g, layer.u))))
        for run in SCALED_TWICE.values()
    ]
    model = side_by_side(inputs, [layer(kl.Dense(6, activation="relu")(inputs)) for layer in made])
    randomised(rng, model)
    x = np.repeat(rng.normal(size=(1, 6)).astype(np.float32), len(made), axis=0)
    found = lrp.Explainer(model, "lrp_zero").explain(x, np.arange(len(x))).relevance
    gradient = gradient_of(model, x)
    for i, name in enumerate(SCALED_TWICE):
        close(found[i], x[i] * gradient[i], 1e-4, name=name)


def gradient_of(model, x):
    """That of each sample's own output."""
    with tf.GradientTape() as tape:
        variable = tf.Variable(x)
        logits = tf.gather(model(variable), np.arange(len(x)), batch_dims=1)
    return tape.gradient(logits, variable).numpy()


def side_by_side(inputs, products):
    """A model with an output for each of these products (n, steps, 6)."""
    head = kl.Dense(1)
    return keras.Model(inputs, kl.Concatenate()([head(kl.Flatten()(kl.ReLU()(product))) for product in products]))


@sweep("summed composite", [False, True], [lrp.Composite(dense=rules.ZPlus()), "attn_lrp"], kept=in_turn)
def test_a_gate_is_what_it_is_before_it_is_spread(summed, composite, rng):
    """A signal and what is read off all its steps: no sigmoid and no softmax says which of them is the gate."""
    inputs = keras.Input((STEPS, 3))
    h = kl.Dense(6, activation="gelu")(inputs)
    signal, gate = kl.Dense(6)(h), kl.Dense(6)(kl.GlobalAveragePooling1D()(h))

    def product(x, g):
        return ops.sum(x * g, axis=-1, keepdims=True) * ops.ones((6,)) if summed else x * g

    spellings = {"as it is": lambda g: g[:, None], **OVER_STEPS}
    model = side_by_side(inputs, [product(signal, spread(gate)) for spread in spellings.values()])
    randomised(rng, model)
    x = np.repeat(rng.normal(size=(1, STEPS, 3)).astype(np.float32), len(spellings), axis=0)
    found = lrp.Explainer(model, composite).explain(x, np.arange(len(x))).relevance
    for target, name in enumerate(spellings):
        close(found[target], found[0], 1e-5, name=name)


def test_a_mask_is_what_it_is_before_it_is_spread(rng):
    """A mask that is an input takes nothing, and neither do the steps that it leaves out."""
    inputs, mask = keras.Input((STEPS, 3)), keras.Input((STEPS,), dtype="int32")
    h = kl.Dense(6, activation="gelu")(inputs)
    spellings = {"as it is": lambda m: m[..., None], **OVER_CHANNELS}
    model = side_by_side([inputs, mask], [h * spread(ops.cast(mask, "float32")) for spread in spellings.values()])
    randomised(rng, model)
    x = np.repeat(rng.normal(size=(1, STEPS, 3)).astype(np.float32), len(spellings), axis=0)
    m = np.repeat([[1, 0, 1, 1]], len(spellings), axis=0)
    found, of_mask = lrp.Explainer(model, "attn_lrp").explain([x, m], np.arange(len(x))).relevance
    assert not of_mask.any()
    assert not found[:, 1].any()
    for target, name in enumerate(spellings):
        close(found[target], found[0], 1e-6, name=name)
