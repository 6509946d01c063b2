// Weight and gradient histogram of one tensor at the step of the slider, the chosen runs on one axis.
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { decadeTicks, niceTicks } from "../data/ticks";
import { count, number } from "../data/format";
import type { RunState, ShownHistogram } from "../data/run";
import type { Model } from "../state/model";
import type { HistogramAnswer, TensorKind } from "../data/types";
import { KINDS, MANY_RUNS } from "../data/feed";
import { runColour, runDash } from "./colours";
import { Dot } from "./Dot";
import { useSize } from "./hooks";
import { cellsFor, shares, stairs, useStableRange } from "./outlines";
import { Percentiles, percentileText, pointedText, spokenText, type Pointed } from "./Percentiles";
import { Ridgelines } from "./Ridgeline";
import { superscript } from "./superscript";

const SIDE = 10;
const TOP = 8;
const BOTTOM = 22;

export function Histograms({ model }: { model: Model }): JSX.Element {
  const tensors = model.tensors();
  const tensor = model.tensor();
  const ofProbes = model.selected().some((run) => run.info?.meta.gradients === "probe");
  const titleOf = (kind: TensorKind): string => (kind === "weight" ? "Weights" : ofProbes ? "Gradients of the loss on the probes, log₁₀ |g|" : "Gradients, log₁₀ |g|");
  return (
    <section class="panel histograms" aria-label="Histograms at this step">
      <header>
        <h2>{model.view.plots === "ridge" ? "Over training" : "At this step"}</h2>
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
        <label class="check small" title="Histograms of steps spread over training, one behind the other">
          <input
            type="checkbox"
            checked={model.view.plots === "ridge"}
            data-testid="ridge"
            onChange={(event) => model.setView({ plots: event.currentTarget.checked ? "ridge" : "step" })}
          />
          all steps
        </label>
      </header>
      <div class="plots">
        {model.view.plots === "ridge" ? (
          <Ridgelines model={model} tensor={tensor} titleOf={titleOf} />
        ) : (
          KINDS.map((kind) => <Histogram key={kind} model={model} kind={kind} title={titleOf(kind)} tensor={tensor} />)
        )}
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
  const [pointed, setPointed] = useState<Pointed | null>(null);
  const log = kind === "gradient";
  const runs = model.selected();
  const many = runs.length > MANY_RUNS;
  const shown = runs.map((run) => ({ run, histogram: run.histograms[kind] }));
  const range = useStableRange(`${kind} ${tensor} ${runs.map((run) => run.listing.run).join(" ")}`, shown.flatMap(({ histogram }) => [histogram?.answer, histogram?.ghost?.answer]), log);
  const current = model.currentStep();
  const settled = shown.every(({ run, histogram }) => {
    const wanted = model.stepOf(run, current);
    return tensor === null || wanted === null || (histogram?.step === wanted.step && histogram.tensor === tensor);
  });
  const answers = shown.map(({ run, histogram }) => ({ run, answer: histogram?.answer ?? null }));
  const bottom = Math.max(TOP + 1, height - BOTTOM);
  const right = Math.max(SIDE + 1, width - SIDE);
  const toX = (value: number): number =>
    range === null ? SIDE : SIDE + ((value - range.low) / (range.high - range.low)) * (right - SIDE);
  const cells = cellsFor(Math.max(...shown.map(({ histogram }) => histogram?.answer?.size ?? 0), 0));
  const outlines = shown.map(({ run, histogram }) => ({ run, shares: shares(histogram?.answer, range, log, cells) }));
  // The previous log's outlines, drawn behind: what this step has changed.
  const ghosts = shown.map(({ run, histogram }) => ({
    run,
    step: histogram?.ghost?.step,
    shares: shares(histogram?.ghost?.answer, range, log, cells),
  }));
  const peak = Math.max(1e-12, ...[...outlines, ...ghosts].map(({ shares: all }) => all.reduce((a, b) => Math.max(a, b), 0)));
  const ghostStep = ghosts.find(({ shares: all }) => all.length > 0)?.step;
  const isTextOnly = shown.every(({ histogram }) => !histogram?.answer || histogram.answer.counts.length === 0);
  const ticks = range === null ? [] : log ? decadeTicks(range.low, range.high, width / 45) : niceTicks(range.low, range.high, width / 45);
  return (
    <figure
      class={settled ? "histogram" : "histogram stale"}
      data-testid={`histogram-${kind}`}
      data-step={settled && current !== null ? current : undefined}
      data-tensor={tensor ?? undefined}
    >
      <h3>
        {title}
        {ghostStep !== undefined && <span class="aside"> · dashed: step {ghostStep}</span>}
      </h3>
      <div class="plot-box">
        <svg
          ref={ref}
          class="plot"
          tabindex={0}
          role="slider"
          aria-valuemin={0}
          aria-valuemax={100}
          aria-valuenow={Math.round(100 * (pointed && range ? (pointed.value - range.low) / (range.high - range.low) : 0))}
          aria-valuetext={pointed ? pointedText(pointed, log) : "Arrow keys read the values"}
          aria-label={`${title} of ${tensor ?? "no tensor"} at step ${current ?? "–"}. ${percentileText(shown[0]?.histogram?.answer, log)}`}
          onPointerMove={(event) => {
            const box = event.currentTarget.getBoundingClientRect();
            const share = (event.clientX - box.left - SIDE) / (right - SIDE);
            setPointed(range === null || share < 0 || share > 1 ? null : { value: range.low + share * (range.high - range.low), x: event.clientX, y: event.clientY });
          }}
          onPointerLeave={() => setPointed(null)}
          onBlur={() => setPointed(null)}
          onKeyDown={(event) => {
            if (range === null || isTextOnly || event.ctrlKey || event.altKey || event.metaKey) return;
            const share = movedBy(event, pointed ? (pointed.value - range.low) / (range.high - range.low) : null);
            if (share === undefined) return;
            event.preventDefault();
            event.stopPropagation(); // elsewhere on the page these keys move the step
            const box = event.currentTarget.getBoundingClientRect();
            setPointed(share === null ? null : { value: range.low + share * (range.high - range.low), x: box.left + SIDE + share * (right - SIDE), y: box.top, spoken: true });
          }}
        >
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
              {ghosts.map(({ run, step, shares: all }) => (
                <path
                  key={`ghost ${run.listing.run}`}
                  class="ghost"
                  style={{ stroke: runColour(run.order) }}
                  d={stairs(all, SIDE, right, bottom, TOP, peak)}
                  data-testid={`ghost-${kind}`}
                  data-step={step}
                >
                  <title>{`Step ${step ?? ""}, logged before`}</title>
                </path>
              ))}
              {outlines.map(({ run, shares: all }) => (
                <path
                  key={run.listing.run}
                  class="bars"
                  style={{ stroke: runColour(run.order), fill: many ? "none" : runColour(run.order), strokeDasharray: runDash(run.pattern) }}
                  d={stairs(all, SIDE, right, bottom, TOP, peak)}
                  data-run={run.listing.run}
                />
              ))}
            </>
          )}
        </svg>
        {pointed && !isTextOnly && <Percentiles pointed={pointed} log={log} runs={answers} />}
        <p class="hidden" role="status" data-testid={`spoken-${kind}`}>
          {pointed?.spoken && spokenText(pointed, log, answers)}
        </p>
        {isTextOnly && <p class="instead">{sameText(shown.map(({ histogram }) => histogram))}</p>}
      </div>
      <div class="counts-box" tabIndex={shown.length > 3 ? 0 : undefined} role="group" aria-label="Counts">
        <Counts runs={shown} kind={kind} />
      </div>
    </figure>
  );
}

/** Where a key moves the place on the axis, 0 ... 1, from the middle at first; null: away, undefined: it is none of these. */
function movedBy({ key, shiftKey }: KeyboardEvent, share: number | null): number | null | undefined {
  if (key === "Escape") return share === null ? undefined : null;
  if (key === "Home") return 0;
  if (key === "End") return 1;
  const sign = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[key];
  if (sign === undefined) return undefined;
  return share === null ? 0.5 : Math.min(1, Math.max(0, share + sign * (shiftKey ? 0.1 : 0.02)));
}

function sameText(histograms: (ShownHistogram | undefined)[]): string {
  const texts = new Set(histograms.map((histogram) => (histogram ? emptyText(histogram) : "")));
  return [...texts].filter((text) => text !== "").join(" ");
}

function emptyText({ answer, missing }: ShownHistogram): string {
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
                <Dot run={run} />
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
