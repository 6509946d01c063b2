// Weight and gradient histogram of one tensor at the step of the slider, the chosen runs on one axis.
import type { JSX } from "preact";
import { useRef } from "preact/hooks";
import { decadeTicks, niceTicks } from "../axis";
import { extent, fillCells, join, type Range } from "../bins";
import { count, number } from "../format";
import type { RunState, ShownHistogram } from "../jobs";
import type { Model } from "../model";
import type { HistogramAnswer, TensorKind } from "../types";
import { runColour } from "./colours";
import { useSize } from "./hooks";
import { superscript } from "./superscript";

const SIDE = 10;
const TOP = 8;
const BOTTOM = 22;
/** Cells of the x axis: the fewer the values, the wider, or chance draws the picture. */
const cellsFor = (size: number): number => Math.min(72, Math.max(16, Math.ceil(2 * Math.sqrt(size))));

export function Histograms({ model }: { model: Model }): JSX.Element {
  const tensors = model.tensors();
  const tensor = model.tensor();
  const ofProbes = model.selected().some((run) => run.info?.meta.gradients === "probe");
  return (
    <section class="panel histograms" aria-label="Histograms at this step">
      <header>
        <h2>At this step</h2>
        <select
          aria-label="Tensor"
          data-testid="tensor"
          value={tensor ?? ""}
          disabled={tensor === null}
          onChange={(event) => model.setView({ tensor: event.currentTarget.value })}
        >
          {tensor === null && <option value="">no tensors logged</option>}
          {tensors.map((name) => (
            <option key={name} value={name}>
              {name}
            </option>
          ))}
        </select>
      </header>
      <div class="plots">
        <Histogram model={model} kind="weight" title="Weights" tensor={tensor} />
        <Histogram model={model} kind="gradient" title={ofProbes ? "Gradients of the loss on the probes, log₁₀ |g|" : "Gradients, log₁₀ |g|"} tensor={tensor} />
      </div>
    </section>
  );
}

interface HistogramProps {
  model: Model;
  kind: TensorKind;
  title: string;
  tensor: string | null;
}

function Histogram({ model, kind, title, tensor }: HistogramProps): JSX.Element {
  const [ref, width, height] = useSize<SVGSVGElement>();
  const log = kind === "gradient";
  const runs = model.selected();
  const shown = runs.map((run) => ({ run, histogram: run.histograms[kind] }));
  const range = useStableRange(`${kind} ${tensor} ${runs.map((run) => run.listing.run).join(" ")}`, shown, log);
  const current = model.currentStep();
  const settled = shown.every(({ run, histogram }) => {
    const wanted = model.stepOf(run, current);
    return wanted === null || (histogram?.step === wanted.step && histogram.tensor === tensor);
  });
  const bottom = Math.max(TOP + 1, height - BOTTOM);
  const right = Math.max(SIDE + 1, width - SIDE);
  const toX = (value: number): number =>
    range === null ? SIDE : SIDE + ((value - range.low) / (range.high - range.low)) * (right - SIDE);
  const cells = cellsFor(Math.max(...shown.map(({ histogram }) => histogram?.answer?.size ?? 0), 0));
  const outlines = shown.map(({ run, histogram }) => ({ run, shares: shares(histogram, range, log, cells) }));
  const peak = Math.max(1e-12, ...outlines.map(({ shares: all }) => all.reduce((a, b) => Math.max(a, b), 0)));
  const wordsOnly = shown.every(({ histogram }) => !histogram?.answer || histogram.answer.counts.length === 0);
  const ticks = range === null ? [] : log ? decadeTicks(range.low, range.high, width / 45) : niceTicks(range.low, range.high, width / 45);
  return (
    <figure
      class={settled ? "histogram" : "histogram stale"}
      data-testid={`histogram-${kind}`}
      data-step={settled && current !== null ? current : undefined}
      data-tensor={tensor ?? undefined}
    >
      <h3>{title}</h3>
      <div class="plot-box">
        <svg ref={ref} class="plot" role="img" aria-label={`${title} of ${tensor ?? "no tensor"} at step ${current ?? "–"}`}>
          {width > 0 && (
            <>
              <line class="axis" x1={SIDE} x2={right} y1={bottom} y2={bottom} />
              {ticks.map((value) => (
                <g key={value}>
                  <line class={value === 0 && !log ? "zero" : "rule"} x1={toX(value)} x2={toX(value)} y1={TOP} y2={bottom} />
                  <text class="tick" x={toX(value)} y={height - 6} text-anchor="middle">
                    {log ? `10${superscript(value)}` : number(value)}
                  </text>
                </g>
              ))}
              {outlines.map(({ run, shares: all }) => (
                <path
                  key={run.listing.run}
                  class="bars"
                  style={{ stroke: runColour(run.order), fill: runColour(run.order) }}
                  d={stairs(all, SIDE, right, bottom, TOP, peak)}
                  data-run={run.listing.run}
                />
              ))}
            </>
          )}
        </svg>
        {wordsOnly && <p class="instead">{sameWords(shown.map(({ histogram }) => histogram))}</p>}
      </div>
      <Counts runs={shown} kind={kind} />
    </figure>
  );
}

/** The x axis of what was seen so far of this tensor: it only ever grows, so that moving the slider moves the data. */
function useStableRange(key: string, shown: { histogram: ShownHistogram | undefined }[], log: boolean): Range | null {
  const kept = useRef<{ key: string; range: Range | null }>({ key: "", range: null });
  let range = kept.current.key === key ? kept.current.range : null;
  for (const { histogram } of shown) {
    if (histogram?.answer) range = join(range, extent(histogram.answer, log));
  }
  kept.current = { key, range };
  return range;
}

function shares(histogram: ShownHistogram | undefined, range: Range | null, log: boolean, cells: number): number[] {
  if (!histogram?.answer || range === null) return [];
  const { answer } = histogram;
  const total = Math.max(1, answer.size);
  return Array.from(fillCells(answer, range, log, cells), (amount) => amount / total);
}

/** Closed outline of the cells, the highest reaching `top`. */
function stairs(all: number[], left: number, right: number, bottom: number, top: number, peak: number): string {
  if (all.length === 0) return "";
  const width = (right - left) / all.length;
  let path = `M${left} ${bottom}`;
  all.forEach((share, i) => {
    const y = bottom - (share / peak) * (bottom - top);
    path += `V${y.toFixed(1)}H${(left + (i + 1) * width).toFixed(1)}`;
  });
  return `${path}V${bottom}Z`;
}

function sameWords(histograms: (ShownHistogram | undefined)[]): string {
  const words = new Set(histograms.map((histogram) => (histogram ? emptyWords(histogram) : "")));
  return [...words].filter((text) => text !== "").join(" ");
}

function emptyWords({ answer, missing }: ShownHistogram): string {
  if (missing === "no gradient") return "No gradient reaches this tensor.";
  if (missing !== null) return missing;
  return answer && answer.size > 0 ? "None of its values is finite and other than zero." : "The tensor is empty.";
}

interface CountsProps {
  runs: { run: RunState; histogram: ShownHistogram | undefined }[];
  kind: TensorKind;
}

/** What a histogram cannot show: how many values there are, their norm, and those that have no place on the axis. */
function Counts({ runs, kind }: CountsProps): JSX.Element {
  const denormals = runs.some(({ histogram }) => (histogram?.answer?.denormals ?? 0) > 0);
  return (
    <table class="counts" data-testid={`counts-${kind}`}>
      <thead>
        <tr>
          <th scope="col">
            <span class="hidden">run</span>
          </th>
          <th scope="col">values</th>
          <th scope="col">norm</th>
          <th scope="col">zero</th>
          {denormals && <th scope="col">tiny</th>}
          <th scope="col">NaN</th>
          <th scope="col">infinite</th>
        </tr>
      </thead>
      <tbody>
        {runs.map(({ run, histogram }) => {
          const answer: HistogramAnswer | null = histogram?.answer?.note ? null : (histogram?.answer ?? null);
          const cell = (value: number | undefined): string => (value === undefined ? "–" : count(value));
          return (
            <tr key={run.listing.run} data-run={run.listing.run} data-step={histogram?.step}>
              <th scope="row" title={run.listing.name}>
                <span class="dot" style={{ background: runColour(run.order) }} />
                <span class="hidden">{run.listing.name}</span>
              </th>
              <td data-testid="size">{cell(answer?.size)}</td>
              <td data-testid="norm">{number(answer?.norm)}</td>
              <td data-testid="zeros">{cell(answer?.zeros)}</td>
              {denormals && <td title="Smaller than 1.2e−38: on the way to zero">{cell(answer?.denormals)}</td>}
              <td class={answer?.nan ? "bad" : ""}>{cell(answer?.nan)}</td>
              <td class={answer?.inf ? "bad" : ""}>{cell(answer?.inf)}</td>
            </tr>
          );
        })}
      </tbody>
    </table>
  );
}
