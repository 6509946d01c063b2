// Histograms of steps spread over training, one behind the other, the earliest at the back.
import type { JSX } from "preact";
import { decadeTicks, niceTicks } from "../paint/axis";
import type { Model } from "../state/model";
import { indexAtOrBefore } from "../state/steps";
import type { TensorKind } from "../data/types";
import { runColour } from "./colours";
import { useSize } from "./hooks";
import { cellsFor, shares, stairs, useStableRange } from "./outlines";
import { superscript } from "./superscript";

const LEFT = 40;
const RIGHT = 10;
const TOP = 26;
const BOTTOM = 22;

interface RidgelineProps {
  model: Model;
  kind: TensorKind;
  title: string;
  tensor: string | null;
}

export function Ridgeline({ model, kind, title, tensor }: RidgelineProps): JSX.Element {
  const [ref, width, height] = useSize<SVGSVGElement>();
  const log = kind === "gradient";
  // Lines of several runs one over the other cannot be read: the first chosen run is shown, and named.
  const run = model.selected()[0];
  const steps = model.ridgeSteps();
  const rows = run === undefined ? [] : steps.map((step) => ({ step, answer: model.histogramAt(run, step, kind) }));
  const range = useStableRange(`ridge ${kind} ${tensor} ${run?.listing.run}`, rows.map(({ answer }) => answer), log);
  const cells = cellsFor(Math.max(0, ...rows.map(({ answer }) => answer?.size ?? 0)));
  const outlines = rows.map(({ step, answer }) => ({ step, shares: shares(answer, range, log, cells) }));
  const peak = Math.max(1e-12, ...outlines.flatMap(({ shares: all }) => all));
  const drawn = outlines.filter(({ shares: all }) => all.length > 0);
  const right = Math.max(LEFT + 1, width - RIGHT);
  const bottom = Math.max(TOP + 1, height - BOTTOM);
  const gap = (bottom - TOP) / Math.max(1, outlines.length);
  const current = model.currentStep();
  const at = indexAtOrBefore(steps, current);
  const toX = (value: number): number => (range === null ? LEFT : LEFT + ((value - range.low) / (range.high - range.low)) * (right - LEFT));
  const ticks = range === null ? [] : log ? decadeTicks(range.low, range.high, width / 45) : niceTicks(range.low, range.high, width / 45);
  const missing = steps.length - drawn.length;
  return (
    <figure class="histogram ridge" data-testid={`ridge-${kind}`} data-rows={drawn.length} data-steps={drawn.map(({ step }) => step).join(",")}>
      <h3>
        {title}
        {run && <> · <bdi>{run.listing.name}</bdi></>}
      </h3>
      <div class="plot-box">
        <svg ref={ref} class="plot" role="img" aria-label={`${title} of ${tensor ?? "no tensor"} over ${drawn.length} steps of ${run?.listing.name ?? "no run"}`}>
          {width > 0 && (
            <>
              {ticks.map((value) => (
                <g key={value}>
                  <line class="rule" x1={toX(value)} x2={toX(value)} y1={TOP} y2={bottom} />
                  <text class="tick" x={toX(value)} y={height - 6} text-anchor="middle">
                    {log ? `10${superscript(value)}` : String(Number(value.toPrecision(3))).replace("-", "−")}
                  </text>
                </g>
              ))}
              {outlines.map(({ step, shares: all }, i) => {
                const y = TOP + gap * (i + 1);
                return (
                  <g key={step} class={i === at ? "ridge-line now" : "ridge-line"} onClick={() => model.setView({ step })}>
                    {all.length > 0 && (
                      <path
                        style={{ stroke: run ? runColour(run.order) : undefined }}
                        d={stairs(all, LEFT, right, y, y - Math.max(2.2 * gap, TOP - 6), peak)}
                      >
                        <title>{`Step ${step}`}</title>
                      </path>
                    )}
                    {(i === 0 || i === outlines.length - 1 || i === at || gap > 11) && (
                      <text class="tick" x={LEFT - 6} y={y} text-anchor="end">
                        {step}
                      </text>
                    )}
                  </g>
                );
              })}
              <line class="axis" x1={LEFT} x2={right} y1={bottom} y2={bottom} />
            </>
          )}
        </svg>
        {drawn.length === 0 && <p class="instead">Nothing to show of this tensor.</p>}
      </div>
      <p class="aside wrap">
        {steps.length < model.steps().length ? `${steps.length} of ${model.steps().length} logged steps, evenly spread` : "every logged step"}
        {missing > 0 && drawn.length > 0 ? `; ${missing} without` : ""}
      </p>
    </figure>
  );
}
