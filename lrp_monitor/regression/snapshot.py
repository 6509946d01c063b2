"""Snapshot: what a model looked at, at one moment: its heatmaps on a set of probes, with its logits."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lrp_monitor.arguments import Preset, check_keywords, renamed
from lrp_monitor.plain import Result, plain, plain_class
from lrp_monitor.probes import ProbeSet
from lrp_monitor.probes.info import probe_info
from lrp_monitor.probes.label_sets import label_sets, loss_of
from lrp_monitor.probes.labels import explained_units
from lrp_monitor.probes.regions import is_region, position
from lrp_monitor.regression.errors import BaselineError
from lrp_monitor.regression.origin import checked_meta, meta_of, probe_digests, rule_lines
from lrp_monitor.regression.places import Places, parts_of, region_digests
from lrp_monitor.store.finite import class_numbers
from lrp_monitor.store.format import ProbeInfo
from lrp_monitor.store.label_sets import of_columns
from lrp_monitor.store.reader import Run, open_run

if TYPE_CHECKING:
    from lrp_monitor.engine.explainer import Explainer, ExplainerOptions
    from lrp_monitor.engine.rules.composites import Composite
    from lrp_monitor.engine.targets import Weighted


@dataclass(frozen=True)
class Snapshot(Result):
    """Heatmaps and logits of one model on n probes. Arrays have one row per probe."""

    heatmaps: NDArray[np.float32]
    """(n, *map shape): relevance summed over channels."""
    logit: NDArray[np.float32]
    """(n,) the explained logit (class 0 of a single sigmoid unit: its negative)."""
    targets: NDArray[np.int64]
    """(n,) the explained classes or units, of a region the class whose logits are summed; -1 where there was none (the
    predicted one, of logits that are not finite), for other targets, and of a logged run of numbers."""
    predictions: NDArray[np.int64]
    """(n,) the predicted classes, -1 where logits are not finite, and of outputs of maps (see `places`)."""
    names: tuple[str, ...]
    images: NDArray[np.uint8]
    """(n, H, W, 1 or 3): the probes as shown to a person."""
    logits: NDArray[np.float32] | None = None
    """(n, k) before an output softmax or sigmoid, of a region the sum of each class over it; None where only the
    explained one is known (a logged run)."""
    labels: NDArray[np.int64] | None = None
    predicted_sets: NDArray[np.bool_] | None = None
    """(n, k) the predicted labels, of probes whose labels are sets; None for others."""
    masks: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    """{name: (n, *map shape)}: the probe set's own."""
    digests: tuple[str, ...] | None = None
    """One hash per probe of its input (dtype, shape, bytes); None for a logged run, which holds only pictures."""
    explained: tuple[str, ...] | None = None
    """One hash per probe of which outputs are summed with which weights, where no class is explained; None where one
    is, and of a logged run that does not hold them."""
    places: Places | None = None
    """Of an output of maps the region and the classes of all places; None of others."""
    features: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    """{layer: (n, channels)}: relevance by channel at the layers that were asked for."""
    shown: ProbeInfo | None = field(default=None, repr=False, compare=False)
    """The probes with their words, features and curves, by which a page draws maps; None from a baseline's files."""
    meta: Mapping[str, Any] = field(default_factory=dict)
    """What it was made of, as plain JSON values: "source" (a text), "probes_hash", "composite", "composite_rules",
    "composite_options", "class_names", "model", "parameters", "architecture" and "weights" (hashes), "versions", and
    "explains" where that is no class: "number" or "region" (any weighted outputs)."""

    def __len__(self) -> int:
        return len(self.names)

    @property
    def explains(self) -> str:
        """What is explained of each probe: "class", "number" (of a regression) or "region" (any weighted outputs)."""
        return str(self.meta.get("explains") or "class")

    @property
    def predicted(self) -> NDArray[np.bool_]:
        """(n,) whether there is a prediction: none of logits that are not finite."""
        if self.places is None and self.explains == "number":
            return np.isfinite(self.logit)
        if self.places is None:
            return np.asarray(self.predictions >= 0)
        known = self.places.known
        return np.isfinite(self.logit) if known is None else known

    def target_for(self, probes: ProbeSet) -> Any:
        """What `of` is to explain so that it is the same as here: None for probes that name it themselves.

        Else the classes, or the region, that were predicted.
        """
        if probes.targets is not None or probes.region is not None:
            return None
        if self.places is None or self.places.region is None:
            return self.targets if (self.targets >= 0).any() else None
        from lrp_monitor.engine.targets import Region  # Keras' side, for those who explain

        return Region(self.places.region, self.targets)

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
        target: ArrayLike | Weighted | None = None,
        targets: ArrayLike | None = None,
        features: str | Sequence[str] | None = None,
        **options: Unpack[ExplainerOptions],
    ) -> Snapshot:
        """Explain the probes now.

        Of an output of maps the probes' region is explained, or without one what is predicted, see
        `targets.predicted_region`. Raises what `Explainer` raises, and ValueError for classes that the model does not
        have.

        Args:
            model: a built Keras model, or an `Explainer` (compiled once, for many snapshots; `composite` and `options`
                are its own then).
            target: classes, or a `targets.Region`, to explain in place of the probe set's own, such as those of an
                earlier snapshot (`target_for`); by default labels or given targets, else what is predicted.
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
        wanted, region = _target(explainer, probes, target)
        layers = [features] if isinstance(features, str) else list(features or ())
        by_channel: dict[str, NDArray[np.float32]] = {}
        if layers:
            found, of_layers = explainer.channels(probes.inputs, layers, wanted)
            by_channel = {one.layer: one.relevance.astype(np.float32) for one in of_layers}
        else:
            found = explainer.explain(probes.inputs, wanted)
        return cls(
            heatmaps=probes.heatmaps(found.relevance),
            **parts_of(found, probes, region),
            predicted_sets=_predicted_sets(explainer, probes, found, options.get("output")),
            names=tuple(probes.names),
            labels=probes.labels,
            masks=dict(probes.masks),
            images=probes.images,
            digests=probe_digests(probes),
            shown=None if probes.is_picture else probe_info(probes),
            features=by_channel,
            meta=meta_of(explainer, probes) | _explains(explainer, probes, found, region),
        )

    @classmethod
    def of_run(cls, run: Run | str | os.PathLike[str], step: int | None = None) -> Snapshot:
        """What a logged run holds at a step (by default its last).

        Maps are as the run stores them: int8 of the signed square root unless the monitor set another form, about 0.1 %
        from the exact ones. Raises StoreError where there is no run or no map, KeyError for a step it does not have.
        """
        opened = run if isinstance(run, Run) else open_run(run)
        if step is None:
            if not opened.steps:
                raise ValueError(f"{opened.path}: the run has no step yet")
            step = opened.steps[-1]
        statistics = opened.record(step).statistics
        probes, meta = opened.probes, opened.meta
        sets, region, n = probes.label_sets, probes.region, len(probes)
        of_maps = opened.meta.get("explains") == "region" and "prediction" not in statistics
        # A number has no class, and of a region the probes know it.
        targets, predictions = (
            class_numbers(statistics[name]) if name in statistics else np.full(n, -1)
            for name in ("target", "prediction")
        )
        return cls(
            heatmaps=opened.heatmaps(step),
            logit=statistics["logit"].astype(np.float32),
            targets=targets if probes.region_of is None else probes.region_of,
            predictions=predictions,
            explained=None if region is None else region_digests(region, np.asarray(probes.region_of)),
            places=_places_of_run(opened, step) if of_maps else None,
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
                    "composite_rules": rule_lines(str(meta.get("composite_rules", ""))) or None,
                    "model": meta.get("model"),
                    "parameters": meta.get("parameters"),
                    "versions": meta.get("versions", {}),
                    "explains": meta.get("explains"),
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
            **({} if self.places is None else self.places.to_dict()),
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


def _places_of_run(run: Run, step: int) -> Places:
    held = run.record(step).predicted is not None
    return Places(run.probes.region, run.predicted_maps(step) if held else None, run.probes.label_maps)


def _target(explainer: Explainer, probes: ProbeSet, given: Any) -> tuple[Any, Weighted | None]:
    """What to explain, and the same again where it is no class; given: in place of the probes' own."""
    from lrp_monitor.engine.targets import as_region, predicted_region  # Keras' side, for those who explain

    region = probes.region if given is None else given if is_region(given) else None
    named = None if given is not None and is_region(given) else probes.targets if given is None else np.asarray(given)
    if region is None and probes.numbers is None and (named is not None or probes.position is not None):
        return named if probes.position is None else position(probes.position, named), None
    shape = explainer.logits(probes.rows(slice(1))).shape[1:]  # and tells what the model ends in
    if region is None and named is None and len(shape) > 1:
        region = predicted_region(explainer.logits(probes.inputs))
    if region is None:
        units = explained_units(probes, explainer)
        return units if given is None else named, None
    try:
        region = as_region(region, shape, len(probes))
    except ValueError as error:
        if given is None:
            raise
        raise BaselineError("classes", f"the region explained before is not one of this model: {error}") from error
    return region, region


def _explains(explainer: Explainer, probes: ProbeSet, found: Any, region: Weighted | None) -> dict[str, str]:
    """What is explained, for a snapshot's meta, where it is no class."""
    if region is not None:
        return {"explains": "region"}
    one_unit = found.logits.shape[1] == 1 and not explainer.is_binary
    return {"explains": "number"} if probes.numbers is not None or one_unit else {}


def set_lists(sets: NDArray[np.bool_]) -> list[list[int]]:
    """Sets of classes (n, classes) as the numbers of each."""
    return [np.flatnonzero(row).tolist() for row in sets]


def _predicted_sets(explainer: Explainer, probes: ProbeSet, found: Any, output: Any) -> NDArray[np.bool_] | None:
    if probes.label_sets is None:
        return None
    units = 1 if explainer.is_binary else explainer.classes
    loss = loss_of(explainer.model, output)
    return label_sets(probes.label_sets, units, explainer.activation, loss).predicted(found)
