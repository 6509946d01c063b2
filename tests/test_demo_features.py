"""The demo's networks by their channels: over seeds, what leads for the triangle is the stamp, or it is not."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

import lrp_monitor as lrp
from lrp_monitor.demo.shapes import CLASSES, make_shapes
from lrp_monitor.demo.train import RUNS, build_model, probe_set
from lrp_monitor.metrics import mask_mass
from lrp_monitor.store.channels import leading, shares

TRIANGLE = CLASSES.index("triangle")


def trained(model: keras.Model, seed: int, run: str) -> None:
    """Trains the network anew, on a third of the demo's images for half its epochs."""
    data = make_shapes(1000, seed=(seed, 0), stamped_class=RUNS[run])
    keras.utils.set_random_seed(seed)
    model.set_weights(build_model().get_weights())
    model.compile(keras.optimizers.Adam(4.5e-4), "sparse_categorical_crossentropy")
    model.fit(data.images, data.labels, batch_size=32, epochs=5, verbose=0)


@pytest.mark.trains
def test_leading_channels_lie_in_the_stamp_where_it_was_planted() -> None:
    model, probes = build_model(), probe_set()
    explainer = lrp.Explainer(model, "epsilon_plus_flat")
    assert probes.labels is not None
    stamp = probes.masks["stamp"]
    triangles = np.flatnonzero(probes.labels == TRIANGLE)

    def in_the_stamp(seed: int, run: str) -> NDArray[np.float64]:
        """Of the four leading channels of the triangle the share of their own positive relevance in the stamp."""
        trained(model, seed, run)
        _, (layer,) = explainer.channels(probes.inputs, ["conv_3"], probes.labels)
        channels = leading(shares(layer.relevance, probes.labels, [TRIANGLE])[0], 4)
        samples = np.tile(triangles, len(channels))
        maps = explainer.through(probes.inputs, "conv_3", samples, np.repeat(channels, len(triangles)), probes.labels)
        masses = mask_mass(probes.heatmaps(maps), stamp[samples]).reshape(len(channels), -1)
        return np.asarray(np.nanmean(masses, axis=1))

    for seed in range(3):
        planted, control = in_the_stamp(seed, "planted"), in_the_stamp(seed, "control")
        assert planted.shape == (4,)
        assert planted.min() >= 0.5, (seed, planted)
        assert control.max() < 0.25, (seed, control)
