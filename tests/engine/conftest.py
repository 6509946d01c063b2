import keras
import numpy as np
import pytest


@pytest.fixture
def rng():
    keras.utils.set_random_seed(0)
    return np.random.default_rng(0)


@pytest.fixture
def randomise(rng):
    """Gives every variable of a model random values: signed biases and gammas, statistics that are not 0 and 1."""

    def apply(model, bias=True, scale=0.4):
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

    return apply
