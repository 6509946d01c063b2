"""The demo's networks by their channels: over seeds, what leads for the triangle lies in the stamp, or it does not."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import lrp_monitor as lrp
from lrp_monitor.demo.shapes import CLASSES, make_shapes
from lrp_monitor.demo.train import RUNS, build_model, probe_set
from lrp_monitor.store.channels import leading, shares

TRIANGLE = CLASSES.index("triangle")
EPOCHS = 2  # of the demo's ten: from here to the end the shares stay within four hundredths


@pytest.mark.trains
def test_leading_channels_lie_in_the_stamp_where_it_was_planted() -> None:
    model, probes = build_model(), probe_set()
    model.compile(keras.optimizers.Adam(4.5e-4), "sparse_categorical_crossentropy")
    explainer = lrp.Explainer(model, "epsilon_plus_flat")
    assert probes.labels is not None
    triangles = np.flatnonzero(probes.labels == TRIANGLE)

    def in_the_stamp(seed: int, run: str) -> float:
        """Of all positive relevance of the triangle's four leading channels the share in the stamp."""
        data = make_shapes(3000, seed=(seed, 0), stamped_class=RUNS[run])
        keras.utils.set_random_seed(seed)
        model.set_weights(build_model().get_weights())
        for variable in model.optimizer.variables:
            variable.assign(keras.ops.zeros_like(variable) if "learning_rate" not in variable.path else variable)
        model.fit(data.images, data.labels, batch_size=32, epochs=EPOCHS, verbose=0)
        _, (layer,) = explainer.channels(probes.inputs, ["conv_3"], probes.labels)
        channels = leading(shares(layer.relevance, probes.labels, [TRIANGLE])[0], 4)
        samples = np.tile(triangles, len(channels))
        maps = explainer.through(probes.inputs, "conv_3", samples, np.repeat(channels, len(triangles)), probes.labels)
        positive = np.maximum(probes.heatmaps(maps), 0).astype(np.float64)
        return float((positive * probes.masks["stamp"][samples]).sum() / positive.sum())

    found = {run: [in_the_stamp(seed, run) for seed in range(3)] for run in RUNS}
    assert min(found["planted"]) >= 0.5, found
    assert max(found["control"]) <= 0.05, found
