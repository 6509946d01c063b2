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


def close(found, expected, tolerance=1e-5, relative=None):
    """Equal within ``tolerance`` of the largest value, which is not zero, or within ``relative`` of each (the same)."""
    scale = np.abs(expected).max()
    assert scale > 0
    np.testing.assert_allclose(found, expected, rtol=relative or tolerance, atol=tolerance * scale)
