"""What a type checker knows of the public names: mypy reads this file with the package, nothing runs it.

The package resolves its names on first use. A name whose type that hides would be Any, and ``assert_type`` an error.
"""

# mypy: warn-unused-ignores

from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import lrp_monitor as lrp
from lrp_monitor.engine.checking import ModelReport
from lrp_monitor.engine.explainer import Explainer
from lrp_monitor.engine.explanation import Explanation
from lrp_monitor.engine.rules.composites import Composite
from lrp_monitor.engine.rules.rules import Epsilon
from lrp_monitor.engine.targets import Difference
from lrp_monitor.notebook import Run
from lrp_monitor.probes import ProbeSet
from lrp_monitor.regression.comparison import Comparison
from lrp_monitor.regression.snapshot import Snapshot
from lrp_monitor.sanity.check import SanityReport
from lrp_monitor.sanity.occlusion import Occlusion
from lrp_monitor.store.format import ProbeInfo
from lrp_monitor.training.monitor import LRPMonitor


def names(model: object, images: NDArray[np.float32], before: lrp.Snapshot, now: lrp.Snapshot) -> None:
    assert_type(lrp.__version__, str)
    assert_type(lrp.ProbeSet(images, labels=[0, 1]), ProbeSet)
    assert_type(lrp.ProbeSet.from_dataset((images, [0, 1]), kind="image", names=["a", "b"]), ProbeSet)
    assert_type(lrp.ProbeSet(images, target=lrp.targets.Region((0, 1), 2), channel_axis={"a": -1}), ProbeSet)
    assert_type(lrp.LRPMonitor(lrp.ProbeSet(images), "runs/a", every=2), LRPMonitor)
    assert_type(lrp.Explainer(model, "epsilon_plus_flat"), Explainer)
    assert_type(lrp.Explainer(model).explain(images), Explanation)
    assert_type(lrp.Explainer(model).explain(images), lrp.Explanation)
    assert_type(lrp.Explainer(model).inspect(images), lrp.Inspection)
    assert_type(lrp.Explainer(model).inspect(images)["dense"], lrp.LayerRelevance)
    assert_type(lrp.Explainer(model).explain(images).relevance, NDArray[np.float32])
    assert_type(lrp.Explainer(model)(images, 1), NDArray[np.float32])
    assert_type(lrp.relevance(model, images, 1), NDArray[np.float32])
    assert_type(lrp.check(model, images), ModelReport)
    assert_type(lrp.check(model, images), lrp.ModelReport)
    assert_type(lrp.check(model, images).to_dict(), dict[str, Any])
    assert_type(lrp.check(model, images).to_json(), str)
    assert_type(lrp.Composite(dense=lrp.rules.Epsilon(1e-3)), Composite)
    assert_type(lrp.rules.Epsilon(), Epsilon)
    assert_type(lrp.composites.Composite(), lrp.Composite)
    assert_type(lrp.targets.Difference(0, 1), Difference)
    assert_type(before, Snapshot)
    assert_type(lrp.compare(before, now), Comparison)
    assert_type(lrp.compare(before, now), lrp.Comparison)
    assert_type(lrp.sanity_check(model, images), SanityReport)
    assert_type(lrp.sanity_check(model, images), lrp.SanityReport)
    assert_type(lrp.occlude(model, images, mask="left"), Occlusion)
    assert_type(lrp.occlude(model, images, mask="left"), lrp.Occlusion)


def run() -> None:
    opened = lrp.open_run("runs/a")
    assert_type(opened, Run)
    assert_type(opened, lrp.Run)
    assert_type(opened.steps, list[int])
    assert_type(opened.probes, ProbeInfo)
    assert_type(opened.heatmaps(3), NDArray[np.float32])
    assert_type(opened.film("probe 0"), tuple[NDArray[np.int64], NDArray[np.float32]])
    assert_type(opened.scalar("loss"), tuple[NDArray[np.int64], NDArray[np.float64]])


def errors(error: ValueError) -> None:
    if isinstance(error, lrp.UnsupportedModelError):
        assert_type(error, lrp.UnsupportedModelError)
    assert_type(lrp.StoreError("torn"), lrp.StoreError)
    assert_type(lrp.BaselineError("missing", "no baseline"), lrp.BaselineError)


def mistakes(images: NDArray[np.float32]) -> None:
    """Seen by the checker: under an ignore that is reported as unused where the mistake no longer is."""
    lrp.ProbeSet(images, kind="picture")  # type: ignore[arg-type]
    lrp.ProbeSet.from_dataset((images, [0, 1]), lables=[0])  # type: ignore[call-arg]
    lrp.ProbeSet.from_directory("pictures", fit="squeeze")  # type: ignore[arg-type]
    lrp.sanity_check(1, images, how="normall")  # type: ignore[arg-type]
    lrp.LRPMonitors  # type: ignore[attr-defined]  # noqa: B018
    lrp.LRPMonitor(lrp.ProbeSet(images), "runs/a", gradients="on")  # type: ignore[arg-type]
    lrp.relevance(1, images, compsite="epsilon")  # type: ignore[call-overload]
    lrp.relevance(1, images, 0, "epsilon_plus_flt")  # type: ignore[call-overload]
    lrp.check(1, images, batchsize=2)  # type: ignore[call-arg]
    lrp.LRPMonitor(lrp.ProbeSet(images), "runs/a", compsite="epsilon")  # type: ignore[call-arg]
    lrp.compare("a", "b", tier="same_wieghts")  # type: ignore[arg-type]
    lrp.compare("a", "b", cosin=0.9)  # type: ignore[call-arg]
    lrp.open_run(3)  # type: ignore[arg-type]
    lrp.Snapshot.load("a.npz").heatmap  # type: ignore[attr-defined]  # noqa: B018
