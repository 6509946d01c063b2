"""What tests of whole models share: the composites for images, and the measure of equal maps."""

import numpy as np

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


def close(found, expected, tolerance=1e-5, relative=None):
    """Equal within ``tolerance`` of the largest value, which is not zero, or within ``relative`` of each (the same)."""
    scale = np.abs(expected).max()
    assert scale > 0
    np.testing.assert_allclose(found, expected, rtol=relative or tolerance, atol=tolerance * scale)
