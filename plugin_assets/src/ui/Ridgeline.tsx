// Histograms of steps spread over training, one behind the other, the earliest at the back; the chosen runs side by side.
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import { seenSteps } from "../data/curves";
import { number, plural, short } from "../data/format";
import { KINDS } from "../data/feed";
import type { RunState } from "../data/run";
import type { HistogramAnswer, TensorKind } from "../data/types";
import { decadeTicks, niceTicks, spread } from "../data/ticks";
import type { Model } from "../state/model";
import { sharedParts, distinctPart } from "../state/names";
import { indexAtOrBefore } from "../data/steps";
import { runColour } from "./colours";
import { useSize } from "./hooks";
import { cellsFor, shares, stairs, useStableRange } from "./outlines";
import { superscript } from "./superscript";

const LEFT = 40;
const RIGHT = 10;
const TOP = 26;
const BOTTOM = 22;
const GAP = 8;
/** Of runs side by side, ticks nearer to an edge would run into the neighbour's. */
const EDGE = 15;
/** Histograms of one kind that are drawn, and loaded, at most; of each run at most and at least. */
const MOST = 64;
const [MOST_ROWS, LEAST_ROWS] = [16, 5];
/** Runs for which there is room side by side. */
const MOST_RUNS = 8;

interface RidgelinesProps {
  model: Model;
  tensor: string | null;
  titleOf: (kind: TensorKind) => string;
}

export function Ridgelines({ model, tensor, titleOf }: RidgelinesProps): JSX.Element {
  const all = model.selected().filter((run) => run.info !== null);
  const runs = all.slice(0, MOST_RUNS);
  const { axis, range } = model.view;
  const seen = seenSteps(model.steps(), runs[0] ?? null, axis, range, (step) => model.indexOf(step));
  const rows = Math.min(MOST_ROWS, Math.max(LEAST_ROWS, Math.floor(MOST / Math.max(1, runs.length))));
  const steps = spread(seen.length, rows).map((i) => seen[i]!);
  const key = steps.join(",");
  useEffect(() => model.showRidge(steps), [key]);
  const part = range === null ? "" : " in the part that the curves show";
  const about = [
    steps.length < seen.length ? `${steps.length} of ${plural(seen.length, "logged step")}${part}, evenly spread` : `every logged step${part}`,
    ...(all.length > runs.length ? [`the first ${runs.length} of ${all.length} runs`] : []),
  ].join("; ");
  return (
    <>
      {KINDS.map((kind) => (
        <Ridgeline key={kind} model={model} runs={runs} steps={steps} kind={kind} title={titleOf(kind)} tensor={tensor} about={about} />
      ))}
    </>
  );
}

interface RidgelineProps {
  model: Model;
  runs: RunState[];
  steps: number[];
  kind: TensorKind;
  title: string;
  tensor: string | null;
  about: string;
}

function Ridgeline({ model, runs, steps, kind, title, tensor, about }: RidgelineProps): JSX.Element {
  const [ref, width, height] = useSize<SVGSVGElement>();
  const log = kind === "gradient";
  const answers = runs.map((run) => steps.map((step) => model.histogramAt(run, step, kind)));
  const range = useStableRange(`ridge ${kind} ${tensor} ${runs.map(({ listing }) => listing.run).join(" ")}`, answers.flat(), log);
  const cells = cellsFor(Math.max(0, ...answers.flat().map((answer) => answer?.size ?? 0)));
  const outlines = answers.map((of) => of.map((answer: HistogramAnswer | null) => shares(answer, range, log, cells)));
  const peak = Math.max(1e-12, ...outlines.flat(2));
  const drawn = steps.filter((_, i) => outlines.some((of) => of[i]!.length > 0));
  const bottom = Math.max(TOP + 1, height - BOTTOM);
  const gap = (bottom - TOP) / Math.max(1, steps.length);
  const at = indexAtOrBefore(steps, model.currentStep());
  const each = Math.max(1, (width - LEFT - RIGHT + GAP) / Math.max(1, runs.length) - GAP);
  const leftOf = (place: number): number => LEFT + place * (each + GAP);
  const toX = (place: number, value: number): number => (range === null ? 0 : leftOf(place) + ((value - range.low) / (range.high - range.low)) * each);
  const ticks = range === null ? [] : log ? decadeTicks(range.low, range.high, each / 45) : niceTicks(range.low, range.high, Math.max(1, each / 45));
  const shared = sharedParts(runs.map(({ listing }) => listing.name));
  const missing = steps.length - drawn.length;
  return (
    <figure class="histogram ridge" data-testid={`ridge-${kind}`} data-rows={drawn.length} data-runs={runs.length} data-steps={drawn.join(",")}>
      <h3>
        {title}
        {runs.length === 1 && <> · <bdi>{runs[0]!.listing.name}</bdi></>}
      </h3>
      <div class="plot-box">
        <svg
          ref={ref}
          class="plot"
          tabindex={0}
          role="slider"
          aria-orientation="vertical"
          aria-valuemin={0}
          aria-valuemax={Math.max(0, steps.length - 1)}
          aria-valuenow={Math.max(0, at)}
          aria-valuetext={`step ${steps[at] ?? "–"}`}
          aria-label={`${title} of ${tensor ?? "no tensor"} over ${drawn.length} steps of ${runs.map(({ listing }) => listing.name).join(", ") || "no run"}`}
          onKeyDown={(event) => {
            const step = steps[at + (event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : NaN)];
            if (step === undefined) return;
            event.preventDefault();
            model.setView({ step });
          }}
        >
          {width > 0 && (
            <>
              {runs.map((run, place) => (
                <g key={run.listing.run} data-run={run.listing.run}>
                  {runs.length > 1 && (
                    <text class="tick" x={leftOf(place)} y={10} style={{ fill: runColour(run.order) }}>
                      {short(distinctPart(run.listing.name, shared), Math.max(3, Math.floor(each / 7)))}
                      <title>{run.listing.name}</title>
                    </text>
                  )}
                  {ticks.filter((value) => runs.length === 1 || (toX(place, value) > leftOf(place) + EDGE && toX(place, value) < leftOf(place) + each - EDGE)).map((value) => (
                    <g key={value}>
                      <line class="rule" x1={toX(place, value)} x2={toX(place, value)} y1={TOP} y2={bottom} />
                      <text class="tick" x={toX(place, value)} y={height - 6} text-anchor="middle">
                        {log ? `10${superscript(value)}` : number(value)}
                      </text>
                    </g>
                  ))}
                </g>
              ))}
              {steps.map((step, i) => {
                const y = TOP + gap * (i + 1);
                return (
                  <g key={step} class={i === at ? "ridge-line now" : "ridge-line"} onClick={() => model.setView({ step })}>
                    {runs.map(
                      (run, place) =>
                        outlines[place]![i]!.length > 0 && (
                          <path
                            key={run.listing.run}
                            style={{ stroke: runColour(run.order) }}
                            d={stairs(outlines[place]![i]!, leftOf(place), leftOf(place) + each, y, y - Math.max(2.2 * gap, TOP - 6), peak)}
                          >
                            <title>{`Step ${step}${runs.length > 1 ? `, ${run.listing.name}` : ""}`}</title>
                          </path>
                        ),
                    )}
                    {(i === 0 || i === steps.length - 1 || i === at || gap > 11) && (
                      <text class="tick" x={LEFT - 6} y={y} text-anchor="end">
                        {step}
                      </text>
                    )}
                  </g>
                );
              })}
              {runs.map((run, place) => (
                <line key={run.listing.run} class="axis" x1={leftOf(place)} x2={leftOf(place) + each} y1={bottom} y2={bottom} />
              ))}
            </>
          )}
        </svg>
        {drawn.length === 0 && <p class="instead">Nothing to show of this tensor.</p>}
      </div>
      <p class="aside wrap">
        {about}
        {missing > 0 && drawn.length > 0 ? `; ${missing} without` : ""}
      </p>
    </figure>
  );
}
