// How the curves over training are drawn.
import type { JSX } from "preact";
import { AXES, stepUnit } from "../data/axes";
import type { Model } from "../state/model";
import type { View } from "../state/view";
import { Choice } from "./fields";
import { Fold } from "./Fold";

const SMOOTH: [View["smooth"], string][] = [
  ["0", "as logged"],
  ["0.6", "a little (0.6)"],
  ["0.9", "more (0.9)"],
  ["0.97", "much (0.97)"],
];

export function Curves({ model }: { model: Model }): JSX.Element {
  const { view } = model;
  const mixed = stepUnit(model.selected().filter((run) => run.info !== null)) === "mixed";
  return (
    <Fold title="Curves">
      <Choice name="Axis" testid="axis" value={view.axis} options={AXES} choose={(axis) => model.setView({ axis, range: null })} />
      {mixed && (view.axis === "logs" || view.axis === "steps") && (
        <p class="aside wrap warn" data-testid="mixed-axis">
          Some of these runs count epochs, others batches: “epochs” or a time puts them side by side.
        </p>
      )}
      <Choice name="Smoothed" testid="smooth" value={view.smooth} options={SMOOTH} choose={(smooth) => model.setView({ smooth })} />
      <div class="zoom" role="group" aria-label="Part of the axis that is seen">
        <button type="button" data-testid="range-near" title="Around the step of the slider; or drag along a curve with Shift held down" onClick={() => near(model)}>
          Zoom in
        </button>
        <button type="button" data-testid="range-all" disabled={view.range === null} title="Or a double click on a curve" onClick={() => model.setView({ range: null })}>
          Whole
        </button>
      </div>
    </Fold>
  );
}

/** Half of what is seen, around the step of the slider. */
function near(model: Model): void {
  const plot = document.querySelector<SVGSVGElement>("svg[data-testid=timeline]");
  const pair = (text: string | undefined): number[] => (text ?? "").split(",").map(Number);
  const [low, high] = pair(plot?.dataset.seen);
  const [left, right] = pair(plot?.dataset.area);
  if (!plot || low === undefined || high === undefined || left === undefined || right === undefined) return;
  const cursor = plot.querySelector(".cursor")?.getAttribute("x1");
  const at = cursor ? low + ((Number(cursor) - left) / (right - left)) * (high - low) : (low + high) / 2;
  const quarter = (high - low) / 4;
  const middle = Math.min(high - quarter, Math.max(low + quarter, at));
  model.setView({ range: [middle - quarter, middle + quarter] });
}
