"""Two logged runs side by side, cell by cell: tables, curves, heatmaps. For a notebook, or as a script.

    lrp-monitor demo --log-dir runs/demo
    python examples/runs_in_a_notebook.py runs/demo plots

Editors that know `# %%` run the cells one by one. In a notebook the plots are shown, in a script they are written
to a folder. They are drawn by lrp_monitor itself, so that nothing more need be installed; every number comes as a
NumPy array, for whatever you plot with.
"""

# %% The runs. A run is the folder that the monitor was given as log_dir.
from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

import lrp_monitor as lrp
from lrp_monitor.pictures import chart, film, render

IN_NOTEBOOK = "ipykernel" in sys.modules
LOG_DIR = Path("runs/demo" if IN_NOTEBOOK or len(sys.argv) < 2 else sys.argv[1])
PLOTS = Path("plots" if IN_NOTEBOOK or len(sys.argv) < 3 else sys.argv[2])

runs = {name: lrp.open_run(LOG_DIR / name) for name in ("planted", "control")}
for name, run in runs.items():
    print(f"{name}: {len(run.steps)} steps, {len(run.probes)} probes, masks {', '.join(run.probes.masks)}")


def show(name: str, picture: np.ndarray) -> None:
    """In a notebook shows a picture, else writes it."""
    if IN_NOTEBOOK:
        from IPython.display import display

        display(Image.fromarray(picture))
    else:
        PLOTS.mkdir(parents=True, exist_ok=True)
        render.write(PLOTS / f"{name}.png", render.png(picture))
        print(f"wrote {PLOTS / name}.png")


# %% A row a step: every scalar as a column. With pandas: pandas.DataFrame(run.table()).
table = runs["planted"].table()
print(", ".join(table))
for row in range(0, len(table["step"]), 4):
    shown = {tag: table[f"lrp/{tag}"][row] for tag in ("accuracy", "probability", "mask_mass/stamp")}
    print(f"  step {table['step'][row]:4d}  " + "  ".join(f"{tag} {value:.3f}" for tag, value in shown.items()))

# %% A curve of each run: what share of the relevance is on the stamp?
lines = []
for name, run in runs.items():
    steps, share = run.scalar("mask_mass/stamp")
    # Batches 0, 1, 2, 4, 8 ... are logged: on this axis they are evenly spaced.
    lines.append(chart.Line(name, np.log2(steps + 1), 100 * share))
show("stamp", chart.chart(lines, title="Relevance on the stamp, %", x_label="log2 of batches + 1"))

# %% A row a step and probe: every statistic as a column. Here the mean of each class, by hand.
columns = runs["planted"].table("probe")
names = runs["planted"].probes.class_names or ()
lines = []
for label, name in enumerate(names):
    chosen = columns["label"] == label
    steps = np.unique(columns["step"][chosen])
    means = [columns["probability"][chosen & (columns["step"] == step)].mean() for step in steps]
    lines.append(chart.Line(name, np.log2(steps + 1), means))
show("classes", chart.chart(lines, title="Probability of the right class", x_label="log2 of batches + 1"))

# %% The heatmaps are arrays: (probes, height, width), positive where a pixel speaks for the class.
run, probe = runs["planted"], "triangle 0"
steps, maps = run.film(probe)
stamp = run.probes.masks["stamp"][run.probes.names.index(probe)]
by_hand = np.maximum(maps, 0)[:, stamp].sum(axis=1) / np.maximum(maps, 0).sum(axis=(1, 2)).clip(min=1e-30)
print(f"{probe}: {by_hand[-1]:.1%} of the positive relevance on the stamp at step {steps[-1]}")

# %% As a film: a few steps of both runs below one another.
chosen_steps = film.spread(sorted(set(runs["planted"].steps) & set(runs["control"].steps)), 8)
strips = [
    film.Strip(
        name,
        np.stack([run.heatmap(probe, step) for step in chosen_steps]),
        picture=run.probes.images[run.probes.names.index(probe)],
        mask=stamp,
    )
    for name, run in runs.items()
]
show("film", film.sheet(strips, [f"batch {step}" for step in chosen_steps], title=probe))

# %% Weights and gradients of the same steps: norms of every tensor, histograms in buckets.
run = runs["planted"]
for kind, tensor in run.tensors(run.steps[-1]):
    histogram = run.histogram(run.steps[-1], kind, tensor)
    print(f"  {kind:8} {tensor:16} norm {histogram.norm:.3g}, {histogram.zeros} of {histogram.size} are zero")
