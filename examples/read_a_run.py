"""Read a logged run: steps, heatmaps, statistics and histograms as NumPy arrays, and a picture of them.

lrp-monitor demo --log-dir runs/demo
python examples/read_a_run.py runs/demo/planted planted.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import lrp_monitor as lrp
from lrp_monitor.pictures import film, render


def main(log_dir: Path, picture: Path) -> None:
    run = lrp.open_run(log_dir)
    print(f"{len(run.steps)} steps, {len(run.probes)} probes, {run.meta['composite']}")

    # A scalar is one number a step, a statistic one a step and probe.
    steps, accuracy = run.scalar("lrp/accuracy")
    _, stamp = run.statistic("mask_mass/stamp")
    for step, right, share in zip(steps, accuracy, stamp, strict=True):
        known = share[np.isfinite(share)]  # undefined where a map has too little positive relevance
        mean = f"{known.mean():6.1%} of the relevance on the stamp" if len(known) else "no share on the stamp"
        print(f"  step {step:4d}: {right:4.0%} right, {mean} ({len(known)} of {len(share)} probes)")

    # Heatmaps are float32 (probes, height, width): positive where a pixel speaks for the class.
    maps, mask = run.heatmaps(run.steps[-1]), run.probes.masks["stamp"]
    positive = np.maximum(maps, 0)
    marked = mask.any(axis=(1, 2))
    by_hand = (positive * mask).sum(axis=(1, 2))[marked] / positive.sum(axis=(1, 2))[marked]
    print(f"by hand from the last maps: {by_hand.mean():.1%}")

    # The weights and the gradient of the same step, in buckets of a quarter of a power of two.
    for kind, name in run.tensors(run.steps[-1]):
        histogram = run.histogram(run.steps[-1], kind, name)
        print(f"  {kind:8} {name:16} norm {histogram.norm:.3g}, {histogram.zeros} of {histogram.size} are zero")

    chosen = film.spread(run.steps, 8)
    strips = [
        film.Strip(
            run.probes.names[number],
            np.stack([run.heatmap(number, step) for step in chosen]),
            picture=run.probes.images[number],
            mask=mask[number],
        )
        for number in range(0, len(run.probes), 4)
    ]
    render.write(picture, render.png(film.sheet(strips, [f"step {step}" for step in chosen])))
    print(f"wrote {picture}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python examples/read_a_run.py LOG_DIR PICTURE.png")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
