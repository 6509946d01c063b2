"""What tests of whole models share: the composites for images, sweeps, and the measure of equal maps."""

import itertools
from collections.abc import Callable, Iterable

import numpy as np
import pytest

import lrp_monitor as lrp

COMPOSITES = [
    "lrp_zero",
    "epsilon",
    "epsilon_plus",
    "epsilon_plus_flat",
    "epsilon_alpha2_beta1",
    "epsilon_alpha2_beta1_flat",
    lrp.composites.epsilon_gamma_box(-3, 3),
    lrp.composites.deep_taylor(-3, 3),
]


def sweep(names: str, *axes: Iterable, kept: Callable[..., bool]) -> pytest.MarkDecorator:
    """Parametrises over all combinations of ``axes``; those that are not ``kept``, by their positions, are slow.

    What is kept by default is to hold every value of each axis, and the pairs in which something was wrong once.
    """
    rows = []
    for row in itertools.product(*map(enumerate, axes)):
        marks = [] if kept(*(position for position, _ in row)) else [pytest.mark.slow]
        text = "-".join(getattr(value, "name", None) or str(value) for _, value in row)
        rows.append(pytest.param(*(value for _, value in row), marks=marks, id=text))
    return pytest.mark.parametrize(names.split(), rows)


def in_turn(*positions: int) -> bool:
    """Every other combination: each value of an axis with every other one of the next."""
    return sum(positions) % 2 == 0


def randomised(rng, model, bias=True, scale=0.4):
    """``model`` with random values in every variable, as the fixture ``randomise`` gives them."""
    for variable in model.variables:
        name = variable.name
        if "seed" in name or variable.dtype in ("int32", "int64", "uint32"):
            continue
        if "variance" in name:
            values = rng.uniform(0.5, 2.0, size=variable.shape)
        elif not bias and ("bias" in name or "beta" in name or "mean" in name):
            values = np.zeros(variable.shape)
        elif "gamma" in name:
            values = rng.uniform(0.5, 1.5, size=variable.shape) * rng.choice([-1, 1], size=variable.shape)
        else:
            values = rng.normal(size=variable.shape) * scale
        variable.assign(np.asarray(values, np.float32))
    return model


def close(found, expected, tolerance=1e-5, relative=None, name=""):
    """Equal within ``tolerance`` of the largest value, which is not zero, or within ``relative`` of each (the same).

    ``name`` of what is compared stands in the message.
    """
    scale = np.abs(expected).max()
    assert scale > 0, name
    np.testing.assert_allclose(found, expected, rtol=relative or tolerance, atol=tolerance * scale, err_msg=name)
