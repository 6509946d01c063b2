"""One unit of two trainings: a channel that leads for a class in both runs, and its own heatmap over the steps.

lrp-monitor demo --log-dir runs/demo
python examples/one_unit_in_two_runs.py runs/demo unit.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import lrp_monitor as lrp
from lrp_monitor.pictures import film, render
from lrp_monitor.store.channels import leading

LAYER, PROBE, MASK = "conv_3", 0, "stamp"


def main(log_dir: Path, picture: Path) -> None:
    runs = {name: lrp.open_run(log_dir / name) for name in ("planted", "control")}
    histories = {name: run.channel_history(LAYER) for name, run in runs.items()}
    of = {name: history.of_class(int(history.classes[PROBE])) for name, history in histories.items()}
    shares = {name: history.shares[:, of[name]] for name, history in histories.items()}

    def maps_of(run: lrp.Run, channel: int) -> dict[int, np.ndarray]:
        found = {}
        for step in run.steps:
            features = run.features(LAYER, step)
            if channel in features.channel[features.probe == PROBE]:
                found[step] = features.map(PROBE, channel)
        return found

    # Both networks began with the same weights, so that a channel's number means the same unit here. Of those that lead
    # in both at the end, the one that was logged longest in both.
    both = set.intersection(*(set(leading(share[-1], 4).tolist()) for share in shares.values()))
    logged = {channel: {name: maps_of(run, channel) for name, run in runs.items()} for channel in sorted(both)}
    common = {channel: sorted(set.intersection(*map(set, found.values()))) for channel, found in logged.items()}
    channel = max(common, key=lambda one: len(common[one]))
    maps = logged[channel]
    steps = film.spread(common[channel], 8)
    strips = []
    for name, run in runs.items():
        at = [run.steps.index(step) for step in steps]
        masses = [run.channel_masses(LAYER, step, MASK)[of[name], channel] for step in steps]
        captions = [f"{s:.0%} of all, {m:.0%} in it" for s, m in zip(shares[name][at, channel], masses, strict=True)]
        probes = run.probes
        strip = film.Strip(
            name, np.stack([maps[name][s] for s in steps]), captions, probes.images[PROBE], probes.masks[MASK][PROBE]
        )
        strips.append(strip)
        print(f"{name}: channel {channel} of {LAYER} at step {steps[-1]}: {captions[-1]} (the {MASK})")
    title = (
        f"Unit {channel} of {LAYER} from the same weights: its share of the class, and of that what is in the {MASK}"
    )
    render.write(picture, render.png(film.sheet(strips, [f"step {step}" for step in steps], title=title)))
    print(f"wrote {picture}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python examples/one_unit_in_two_runs.py LOG_DIR PICTURE.png")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
