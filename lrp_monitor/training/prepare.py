"""Preparation of a fit's log before training: the record builder, the run's metadata, the run logger."""

from __future__ import annotations

from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import lrp_monitor
from lrp_monitor.engine.explainer import Explainer
from lrp_monitor.engine.rules.composites import AUTO
from lrp_monitor.engine.targets import Region, Weighted
from lrp_monitor.probes.info import probe_info
from lrp_monitor.probes.label_sets import loss_of
from lrp_monitor.training.checks import check_classes, explained_output
from lrp_monitor.training.options import Options
from lrp_monitor.training.output.run_logger import RunLogger
from lrp_monitor.training.pass_memory import room_beside_training
from lrp_monitor.training.probes.baseline import BaselineSimilarity
from lrp_monitor.training.probes.explained import ProbeExplainer
from lrp_monitor.training.probes.features import LoggedFeatures
from lrp_monitor.training.probes.layers import LoggedLayers
from lrp_monitor.training.record_builder import RecordBuilder


def make_record_builder(model: keras.Model, options: Options) -> RecordBuilder:
    """The record builder of a fit. Raises what is wrong between model, probes and options, each with its name."""
    probes, trained = options.probes, model
    model = probes.model_behind(model)
    shape, batch_size = explained_output(model, probes, options.output)
    of_maps = len(shape) > 1 and probes.position is None
    if not of_maps and probes.numbers is None:
        check_classes(probes, max(shape[-1], 2), shape[-1])  # one unit with a sigmoid tells two classes apart
    explainer = Explainer(
        model,
        _composite(options),
        output=options.output,
        batch_size=options.batch_size or batch_size,
        on_unknown=options.on_unknown,
        device=options.device,
    )
    explainer.passes.room = room_beside_training(trained, options.device)
    logged_layers = None if options.relevance_layers is None else LoggedLayers(model, options.relevance_layers)
    probe_explainer = ProbeExplainer(explainer, probes, logged_layers, options.channels, options.clusters)
    features = None
    if options.features:
        features = LoggedFeatures(model, explainer, probes, options.features, options.references)
    probe_explainer.features = features
    record_builder = RecordBuilder(
        trained, probes, probe_explainer, options.gradients, options.weights, options.histograms
    )
    probe_explainer.settle_region(shape, of_maps)
    record_builder.targets = probes.targets
    if options.baseline is not None:
        baseline = BaselineSimilarity(options.baseline, explainer, probes)
        probe_explainer.baseline, record_builder.targets = baseline, baseline.targets
        if isinstance(baseline.targets, Region):
            probe_explainer.region = baseline.targets
    # The whole pass once: it compiles, and whatever the model holds that cannot be explained is named now.
    explained = record_builder.explain()
    probe_explainer.settle_labels(loss_of(trained, options.output))
    if features is not None:
        features.prepare(explained.target)
    record_builder.targets = probe_explainer.settle_number(record_builder.targets, of_maps)
    if not of_maps and probes.numbers is None:
        check_classes(probes, explainer.classes, shape[-1])
    return record_builder


def _composite(options: Options) -> Any:
    """The composite that was asked for; of "auto" the baseline's, with which the heatmaps are to be compared."""
    preset = None if options.baseline is None else options.baseline.preset
    return preset if preset is not None and options.composite == AUTO.name else options.composite


def open_run_logger(options: Options, run_dir: str, meta: dict[str, Any], region: Weighted | None) -> RunLogger:
    """The writing side in a run's folder; region: what is explained of maps. Raises what the store raises."""
    return RunLogger(
        run_dir,
        partial(probe_info, options.probes, region),
        meta,
        encoding=options.encoding,
        max_store_mb=options.max_store_mb,
        gradients=options.gradients,
        summaries=options.standard_summaries,
    )


def session_meta(model: keras.Model, options: Options, record_builder: RecordBuilder) -> dict[str, Any]:
    """What is kept with a session: model, composite, options and versions."""
    probe_explainer = record_builder.probe_explainer
    explainer = probe_explainer.explainer
    features = probe_explainer.features
    return {
        "composite": explainer.composite_name,
        "composite_choice": explainer.choice,
        "composite_rules": str(explainer.composite),
        "composite_table": str(explainer),
        "classes": explainer.classes,
        "activation": record_builder.activation,
        "axis": options.schedule.axis,
        "schedule": str(options.schedule),
        "gradients": options.gradients,
        "target": options.probes.target,
        "explains": probe_explainer.explains,
        "alerts": dict(options.alerts),
        "layers": [] if probe_explainer.logged_layers is None else probe_explainer.logged_layers.names,
        "baseline": None if probe_explainer.baseline is None else probe_explainer.baseline.source,
        "model": model.name,
        "parameters": int(model.count_params()),
        "versions": {
            "lrp_monitor": lrp_monitor.__version__,
            "keras": keras.__version__,
            "tensorflow": tf.__version__,
            "numpy": np.__version__,
        },
    } | ({} if features is None else {"features": features.names})
