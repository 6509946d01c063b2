import functools

import keras
import numpy as np
import pytest
from engine_helpers import randomised


@pytest.fixture
def rng():
    keras.utils.set_random_seed(0)
    return np.random.default_rng(0)


@pytest.fixture
def randomise(rng):
    """Gives every variable of a model random values: signed biases and gammas, statistics that are not 0 and 1."""
    return functools.partial(randomised, rng)
