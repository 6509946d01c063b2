"""Ask of heatmaps whether they mean anything: sanity checks of a saved model on its probes.

    lrp-monitor demo --log-dir runs/demo
    python examples/check_heatmaps.py runs/demo/planted/model.keras report.png

Do the heatmaps change when the weights become random, and when another class is explained? Does covering what they
point to cost the logit more than covering anything else? How much of them lies in a mask?
"""

from __future__ import annotations

import sys
from pathlib import Path

import keras

import lrp_monitor as lrp
from lrp_monitor.demo.train import probe_set


def main(model: Path, picture: Path) -> lrp.SanityReport:
    # Your own: lrp.ProbeSet(x, labels=y, masks={"stamp": box}), or ProbeSet.load of one that was saved.
    probes = probe_set()
    report = lrp.sanity_check(keras.saving.load_model(model), probes, cover="stamp")
    print(report)
    for place in report.occlusion[0].places:
        print(f"  {place.name}: logit {place.logit:.2f}, {place.drop:.2f} less without the stamp")
    report.write_plot(picture)
    print(f"wrote {picture}")
    return report


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python examples/check_heatmaps.py MODEL.keras PICTURE.png")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
