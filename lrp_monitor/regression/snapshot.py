"""Snapshot: what a model looked at, at one moment: its heatmaps on a set of probes, with its logits."""

from __future__ import annotations

import hashlib
import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lrp_monitor.arguments import Preset, check_keywords, renamed
from lrp_monitor.plain import Result, plain, plain_class
from lrp_monitor.probes import ProbeSet
from lrp_monitor.probes.info import probe_info
from lrp_monitor.probes.label_sets import label_sets, loss_of
from lrp_monitor.probes.labels import check_numbers
from lrp_monitor.probes.regions import position
from lrp_monitor.regression.errors import BaselineError
from lrp_monitor.store.finite import class_numbers
from lrp_monitor.store.format import ProbeInfo
from lrp_monitor.store.label_sets import of_columns
from lrp_monitor.store.reader import Run, open_run

if TYPE_CHECKING:
    from lrp_monitor.engine.explainer import Explainer, ExplainerOptions
    from lrp_monitor.engine.rules.composites import Composite


@dataclass(frozen=True)
class Snapshot(Result):
    """Heatmaps and logits of one model on n probes. Arrays have one row per probe."""

    heatmaps: NDArray[np.float32]
    """(n, *map shape): relevance summed over channels."""
    logit: NDArray[np.float32]
    """(n,) the explained logit (class 0 of a single sigmoid unit: its negative)."""
    targets: NDArray[np.int64]
    """(n,) the explained classes, -1 where there was none (the predicted one, of logits that are not finite)."""
    predictions: NDArray[np.int64]
    """(n,) the predicted classes, -1 where logits are not finite."""
    names: tuple[str, ...]
    images: NDArray[np.uint8]
    """(n, H, W, 1 or 3): the probes as shown to a person."""
    logits: NDArray[np.float32] | None = None
    """(n, k) before an output softmax or sigmoid; None where only the explained one is known (a logged run)."""
    labels: NDArray[np.int64] | None = None
    predicted_sets: NDArray[np.bool_] | None = None
    """(n, k) the predicted labels, of probes whose labels are sets; None for others."""
    masks: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    """{name: (n, *map shape)}: the probe set's own."""
    digests: tuple[str, ...] | None = None
    """One hash per probe of its input (dtype, shape, bytes); None for a logged run, which holds only pictures."""
    features: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    """{layer: (n, channels)}: relevance by channel at the layers that were asked for."""
    shown: ProbeInfo | None = field(default=None, repr=False, compare=False)
    """The probes with their words, features and curves, by which a page draws maps; None from a baseline's files."""
    meta: Mapping[str, Any] = field(default_factory=dict)
    """What it was made of, as plain JSON values: "source" (a text), "probes_hash", "composite", "composite_rules",
    "composite_options", "class_names", "model", "parameters", "architecture" and "weights" (hashes), "versions"."""

    def __len__(self) -> int:
        return len(self.names)

    @property
    def preset(self) -> Any:
        """The name of the composite's preset; None where it was none, or one that needs the input's bounds."""
        from lrp_monitor.engine.rules.composites import unbounded_presets

        name = self.meta.get("composite")
        return name if name in unbounded_presets() else None

    def __repr__(self) -> str:
        return (
            f"Snapshot({len(self)} probes, maps {self.heatmaps.shape[1:]}, {self.meta.get('source', 'made by hand')})"
        )

    @classmethod
    def of(
        cls,
        model: Any,
        probes: ProbeSet,
        composite: Preset | Composite = "auto",
        *,
        target: ArrayLike | None = None,
        targets: ArrayLike | None = None,
        features: str | Sequence[str] | None = None,
        **options: Unpack[ExplainerOptions],
    ) -> Snapshot:
        """Explain the probes now.

        Raises what `Explainer` raises, ValueError for classes that the model does not have, and BaselineError for
        probes whose target is a region.

        Args:
            model: a built Keras model, or an `Explainer` (compiled once, for many snapshots; `composite` and `options`
                are its own then).
            target: classes to explain in place of the probe set's own, such as those of an earlier snapshot; by default
                labels or given targets, else the predicted classes.
            targets: its former name.
            features: layers whose relevance by channel is kept besides, by name or path.
            options: those of `Explainer` (batch_size, device, jit_compile, on_unknown, output).
        """
        from lrp_monitor.engine.explainer import Explainer

        check_keywords(cls.of, options, Explainer)
        if targets is not None:
            target = renamed(cls.of, {"targets": targets}, {"targets": "target"}, {"target": target})["target"]
        explainer = (
            model if isinstance(model, Explainer) else Explainer(probes.model_behind(model), composite, **options)
        )
        if probes.region is not None and target is None:
            raise BaselineError("classes", f"probes: {_REGION}")
        if probes.numbers is not None:
            explainer.logits(probes.rows(slice(1)))  # tells what the model ends in
            check_numbers(probes.numbers, 1 if explainer.is_binary else explainer.classes, explainer.activation)
        given = target if target is not None else probes.targets
        wanted: Any = None if given is None else np.asarray(given)
        wanted = wanted if probes.position is None else position(probes.position, wanted)
        layers = [features] if isinstance(features, str) else list(features or ())
        by_channel: dict[str, NDArray[np.float32]] = {}
        if layers:
            found, of_layers = explainer.channels(probes.inputs, layers, wanted)
            by_channel = {one.layer: one.relevance.astype(np.float32) for one in of_layers}
        else:
            found = explainer.explain(probes.inputs, wanted)
        return cls(
            heatmaps=probes.heatmaps(found.relevance),
            logit=found.logit,
            logits=found.logits,
            targets=found.target,
            predictions=found.prediction,
            predicted_sets=_predicted_sets(explainer, probes, found, options.get("output")),
            names=tuple(probes.names),
            labels=probes.labels,
            masks=dict(probes.masks),
            images=probes.images,
            digests=probe_digests(probes),
            shown=None if probes.is_picture else probe_info(probes),
            features=by_channel,
            meta=_meta(explainer, probes),
        )

    @classmethod
    def of_run(cls, run: Run | str | os.PathLike[str], step: int | None = None) -> Snapshot:
        """What a logged run holds at a step (by default its last).

        Maps are as the run stores them: int8 of the signed square root unless the monitor set another form, about 0.1 %
        from the exact ones. Raises StoreError where there is no run or no map, KeyError for a step it does not have,
        BaselineError where a region of maps is explained.
        """
        opened = run if isinstance(run, Run) else open_run(run)
        if step is None:
            if not opened.steps:
                raise ValueError(f"{opened.path}: the run has no step yet")
            step = opened.steps[-1]
        if opened.meta.get("explains") == "region":
            raise BaselineError("classes", f"{opened.path}: {_REGION}")
        statistics = opened.record(step).statistics
        probes, meta = opened.probes, opened.meta
        sets = probes.label_sets
        return cls(
            heatmaps=opened.heatmaps(step),
            logit=statistics["logit"].astype(np.float32),
            targets=class_numbers(statistics["target"]),
            predictions=class_numbers(statistics["prediction"]),
            predicted_sets=None if sets is None else of_columns(statistics, sets.shape[1]),
            shown=probes,
            names=tuple(probes.names),
            labels=probes.labels,
            masks=dict(probes.masks),
            images=probes.images,
            features={layer: opened.features(layer, step).relevance for layer in _watched(opened, step)},
            meta=checked_meta(
                {
                    "source": f"run {opened.path}, step {step}",
                    "probes_hash": probes.hash,
                    "class_names": probes.class_names,
                    "composite": meta.get("composite"),
                    "composite_rules": _rules(str(meta.get("composite_rules", ""))) or None,
                    "model": meta.get("model"),
                    "parameters": meta.get("parameters"),
                    "versions": meta.get("versions", {}),
                }
            ),
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything but maps and pictures as plain data; what is not finite, and a class that is none, is None."""
        return {
            "names": list(self.names),
            "labels": None if self.labels is None else self.labels.tolist(),
            "targets": [plain_class(target) for target in self.targets],
            "predictions": [plain_class(prediction) for prediction in self.predictions],
            **({} if self.predicted_sets is None else {"predicted_labels": set_lists(self.predicted_sets)}),
            "logit": plain(self.logit),
            "logits": None if self.logits is None else plain(self.logits),
            "map_shape": list(self.heatmaps.shape[1:]),
            "masks": sorted(self.masks),
            **(
                {"features": {layer: values.shape[1] for layer, values in self.features.items()}}
                if self.features
                else {}
            ),
            "meta": dict(self.meta),
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as a baseline, `<path>.npz` and `<path>.json`; see `baseline.write_baseline`."""
        from lrp_monitor.regression.baseline import write_baseline  # which knows snapshots: imported when needed

        write_baseline(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Snapshot:
        """Read what `save` wrote; BaselineError says what is wrong. See `baseline.read_baseline`."""
        from lrp_monitor.regression.baseline import read_baseline

        return read_baseline(path)


def _watched(run: Run, step: int) -> list[str]:
    """The layers whose channels a step of a run holds."""
    return list(run.feature_rows(run.record(step)))


_REGION = (
    "a region of the output is explained, not a class of each probe; heatmaps of regions are not compared, since "
    "nothing tells whether the regions are the same"
)
_TEXTS = ("source", "probes_hash", "composite", "model", "architecture", "weights")
_LISTS = ("composite_rules", "class_names", "notes")
_TABLES = ("composite_options", "versions")


def checked_meta(meta: dict[str, Any]) -> dict[str, Any]:
    """``meta`` as read from a file; ValueError where a part of it is of another kind than what `Snapshot` notes."""
    for name, value in meta.items():
        if value is None:
            continue
        parts = [*value, *value.values()] if isinstance(value, dict) else value
        fits = (
            isinstance(value, str)
            if name in _TEXTS
            else isinstance(value, list | tuple) and all(isinstance(part, str) for part in parts)
            if name in _LISTS
            else isinstance(value, dict) and all(isinstance(part, str) for part in parts)
            if name in _TABLES
            else type(value) is int or name != "parameters"
        )
        if not fits:
            raise ValueError(f"{name!r:.60} is not what it should be: {type(value).__name__}")
    return meta


def probe_digests(probes: ProbeSet) -> tuple[str, ...]:
    """A hash of each probe's input: 16 hexadecimal digits of SHA-256 over dtype, shape and bytes.

    With the place of the output that is explained, where the probes name one.
    """
    digests = [hashlib.sha256() for _ in range(len(probes))]
    for part in probes.parts:
        inputs = np.ascontiguousarray(part.values, dtype=part.values.dtype.newbyteorder("<"))
        name = "" if probes.is_single else part.name
        head = f"{name}{inputs.dtype.str}{inputs.shape[1:]}".encode()
        for digest, sample in zip(digests, inputs, strict=True):
            digest.update(head + sample.tobytes())
    for digest, place in zip(digests, () if probes.position is None else probes.position, strict=False):
        digest.update(f"position{place.tolist()}".encode())
    return tuple(digest.hexdigest()[:16] for digest in digests)


def set_lists(sets: NDArray[np.bool_]) -> list[list[int]]:
    """Sets of classes (n, classes) as the numbers of each."""
    return [np.flatnonzero(row).tolist() for row in sets]


def _predicted_sets(explainer: Explainer, probes: ProbeSet, found: Any, output: Any) -> NDArray[np.bool_] | None:
    if probes.label_sets is None:
        return None
    units = 1 if explainer.is_binary else explainer.classes
    loss = loss_of(explainer.model, output)
    return label_sets(probes.label_sets, units, explainer.activation, loss).predicted(found)


def _meta(explainer: Explainer, probes: ProbeSet) -> dict[str, Any]:
    import keras

    import lrp_monitor

    model, composite = explainer.model, explainer.composite
    backend = keras.backend.backend()
    return {
        "source": f"model {model.name!r}",
        "probes_hash": probes.hash,
        "class_names": None if probes.class_names is None else list(probes.class_names),
        "composite": composite.name,
        "composite_rules": _rules(str(composite)),
        "composite_options": {
            option.name: getattr(composite, option.name)
            for option in fields(composite)
            if option.name != "name" and isinstance(getattr(composite, option.name), str)
        },
        "notes": list(explainer.notes),
        "model": model.name,
        "parameters": int(model.count_params()),
        "architecture": _architecture(model),
        "weights": _weights(model),
        "versions": {
            "python": platform.python_version(),
            "lrp_monitor": lrp_monitor.__version__,
            "keras": keras.__version__,
            backend: version(backend),
            "numpy": np.__version__,
        },
    }


def _rules(composite: str) -> list[str]:
    """A composite in lines. An override by a nameless object prints its address, which every process gives anew."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", composite).splitlines()


def _architecture(model: Any) -> str:
    """Hash of the kinds of all layers and the shapes of all weights; names are left out, Keras numbers them."""
    digest = hashlib.sha256()

    def feed(layer: Any) -> None:
        digest.update(f"{type(layer).__name__}(".encode())
        for inner in getattr(layer, "layers", ()):
            feed(inner)
        digest.update(b")")

    feed(model)
    digest.update(str([tuple(weight.shape) for weight in model.weights]).encode())
    return digest.hexdigest()[:16]


def _weights(model: Any) -> str:
    """Hash of all weights' values, in the model's order."""
    digest = hashlib.sha256()
    for value in model.get_weights():
        array = np.ascontiguousarray(value)
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:16]
