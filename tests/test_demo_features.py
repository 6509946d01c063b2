"""The demo's networks by their channels: over seeds, what leads for the triangle lies in the stamp, or it does not."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

import lrp_monitor as lrp
from lrp_monitor.demo.shapes import CLASSES, make_shapes
from lrp_monitor.demo.train import RUNS, build_model, probe_set
from lrp_monitor.store.channels import leading, shares

TRIANGLE = CLASSES.index("triangle")
SEEDS = (0, 1, 2)
EPOCHS = {"planted": 1, "control": 4}
"""Of the demo's ten: from here to the end the shares stay on their side of what is asserted, by a wide margin."""


@pytest.mark.trains
@pytest.mark.slow
def test_leading_channels_lie_in_the_stamp_where_it_was_planted() -> None:
    """By default of one seed alone: that of the whole demo, of which test_demo_training.py asks the same."""
    model, probes = build_model(), probe_set()
    model.compile(keras.optimizers.Adam(4.5e-4), "sparse_categorical_crossentropy")
    explainer = lrp.Explainer(model)  # by "auto", as the demo
    assert probes.labels is not None
    triangles = np.flatnonzero(probes.labels == TRIANGLE)

    def positive_relevance(seed: int, run: str) -> NDArray[np.float64]:
        """That of the triangle's four leading channels: (in the stamp, all) x channels."""
        data = make_shapes(3000, seed=(seed, 0), stamped_class=RUNS[run])
        keras.utils.set_random_seed(seed)
        model.set_weights(build_model().get_weights())
        for variable in model.optimizer.variables:
            variable.assign(keras.ops.zeros_like(variable) if "learning_rate" not in variable.path else variable)
        model.fit(data.images, data.labels, batch_size=32, epochs=EPOCHS[run], verbose=0)
        _, (layer,) = explainer.channels(probes.inputs, ["conv_3"], probes.labels)
        channels = leading(shares(layer.relevance, probes.labels, [TRIANGLE])[0], 4)
        samples, each = np.tile(triangles, len(channels)), np.repeat(channels, len(triangles))
        maps = explainer.through(probes.inputs, "conv_3", samples, each, probes.labels)
        positive = np.maximum(probes.heatmaps(maps), 0).astype(np.float64)
        inside = positive * probes.masks["stamp"][samples]
        return np.array([part.reshape(len(channels), -1).sum(axis=1) for part in (inside, positive)])

    planted, control = (np.array([positive_relevance(seed, run) for seed in SEEDS]) for run in RUNS)
    each = planted[:, 0] / planted[:, 1]
    assert each.shape == (len(SEEDS), 4)
    assert each.min() >= 0.5, each
    jointly = control[:, 0].sum(axis=1) / control[:, 1].sum(axis=1)
    assert jointly.max() <= 0.05, jointly
