// Shown when no run holds logged heatmaps: how to get some.
import type { JSX } from "preact";
import css from "./empty.css";
import { adopt } from "./sheets";

const SNIPPET = `import lrp_monitor as lrp

probes = lrp.ProbeSet(x_probe, labels=y_probe, class_names=names)  # a few fixed samples
monitor = lrp.LRPMonitor(probes, log_dir="runs/a", every=1)

model.fit(x, y, epochs=20, callbacks=[monitor])`;

export function Empty(): JSX.Element {
  adopt(css);
  return (
    <main class="empty" data-testid="empty">
      <h1>No heatmaps here yet</h1>
      <p>
        This page shows where your model looks while it learns: heatmaps of a few fixed samples at every logged step, with
        the weight and gradient histograms of that very step. Add one callback to your training:
      </p>
      <pre tabIndex={0} aria-label="Code that logs heatmaps">{SNIPPET}</pre>
      <p>
        Then start TensorBoard on the folder above your runs, here <code>tensorboard --logdir runs</code>. This page looks
        for new runs by itself; there is no need to reload it.
      </p>
      <p>
        No model at hand? <code>lrp-monitor demo --log-dir runs</code> trains two small ones, of which one learns a
        shortcut.
      </p>
    </main>
  );
}
