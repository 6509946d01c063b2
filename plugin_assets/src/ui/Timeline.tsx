// One quantity over the logged steps, a line per run; dragging along it moves the step slider.
import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import { niceTicks, decadeTicks, spread } from "../axis";
import { isShare, number, percent, quantityTitle } from "../format";
import type { Model, RunState } from "../model";
import { linePath, quantities, useLog, valueAt, yRange } from "../series";
import { indexAtOrBefore, nearestIndex } from "../steps";
import { runColour } from "./colours";
import { superscript } from "./superscript";
import { useSize } from "./hooks";

const LEFT = 48;
const RIGHT = 12;
const TOP = 10;
const BOTTOM = 22;

export function Timeline({ model }: { model: Model }): JSX.Element {
  const runs = model.selected().filter((run) => run.timeline !== null);
  const tags = useMemo(() => quantities(runs.map((run) => run.timeline!)), [runs.map((run) => run.timeline).length, ...runs.map((run) => run.timeline)]);
  const tag = model.view.quantity !== null && tags.all.includes(model.view.quantity) ? model.view.quantity : (tags.all[0] ?? null);
  return (
    <section class="panel timeline" aria-label="Over training">
      <header>
        <h2>Over training</h2>
        <select
          aria-label="Quantity"
          data-testid="quantity"
          value={tag ?? ""}
          disabled={tag === null}
          onChange={(event) => model.setView({ quantity: event.currentTarget.value })}
        >
          {tags.main.map((name) => (
            <option key={name} value={name}>
              {quantityTitle(name)}
            </option>
          ))}
          {tags.tensors.length > 0 && (
            <optgroup label="Of one tensor">
              {tags.tensors.map((name) => (
                <option key={name} value={name}>
                  {quantityTitle(name)}
                </option>
              ))}
            </optgroup>
          )}
        </select>
        <label class="check small" title="Off: one place per logged step, as on the slider. On: distances as in training.">
          <input
            type="checkbox"
            checked={model.view.axis === "steps"}
            data-testid="axis"
            onChange={(event) => model.setView({ axis: event.currentTarget.checked ? "steps" : "logs" })}
          />
          to scale
        </label>
      </header>
      <Plot model={model} runs={runs} tag={tag} />
      <Readout model={model} runs={runs} tag={tag} />
    </section>
  );
}

interface PlotProps {
  model: Model;
  runs: RunState[];
  tag: string | null;
}

function Plot({ model, runs, tag }: PlotProps): JSX.Element {
  const [ref, width, height] = useSize<SVGSVGElement>();
  const steps = model.steps();
  const current = model.currentStep();
  const first = steps[0] ?? 0;
  const last = steps[steps.length - 1] ?? 1;
  const right = Math.max(LEFT + 1, width - RIGHT);
  const bottom = Math.max(TOP + 1, height - BOTTOM);
  const toX = (step: number): number => {
    const share =
      model.view.axis === "steps" ? (step - first) / Math.max(1, last - first) : steps.indexOf(step) / Math.max(1, steps.length - 1);
    return LEFT + share * (right - LEFT);
  };
  const series = runs.map((run) => (tag === null ? [] : (run.timeline!.scalars[tag] ?? [])));
  const log = tag !== null && useLog(tag, series);
  const range = yRange(series, log, tag !== null && isShare(tag));
  const toY = (value: number): number => bottom - ((value - range.low) / (range.high - range.low)) * (bottom - TOP);
  const scrub = (event: PointerEvent & { currentTarget: SVGSVGElement }): void => {
    if (steps.length === 0) return;
    const share = (event.clientX - event.currentTarget.getBoundingClientRect().left - LEFT) / (right - LEFT);
    const at = Math.min(1, Math.max(0, share));
    const index =
      model.view.axis === "steps" ? nearestIndex(steps, first + at * (last - first)) : Math.round(at * (steps.length - 1));
    model.setView({ step: steps[index]! });
  };
  const yTicks = log ? decadeTicks(range.low, range.high, 4) : niceTicks(range.low, range.high, 4);
  const yText = (value: number): string =>
    log ? `10${superscript(value)}` : tag !== null && isShare(tag) ? percent(value) : number(value);
  const xTicks =
    model.view.axis === "steps" ? niceTicks(first, last, Math.floor(width / 80)) : spread(steps.length, Math.max(2, Math.floor(width / 70))).map((i) => steps[i]!);
  return (
    <svg
      ref={ref}
      class="plot scrub"
      tabIndex={0}
      role="slider"
      aria-label={tag === null ? "Timeline" : `Timeline: ${quantityTitle(tag)}`}
      aria-valuemin={first}
      aria-valuemax={last}
      aria-valuenow={current ?? first}
      data-testid="timeline"
      data-step={current ?? undefined}
      onPointerDown={(event) => {
        event.currentTarget.setPointerCapture(event.pointerId);
        scrub(event);
      }}
      onPointerMove={(event) => {
        if (event.buttons & 1) scrub(event);
      }}
    >
      {width > 0 && (
        <>
          {yTicks.map((value) => (
            <g key={value}>
              <line class="rule" x1={LEFT} x2={right} y1={toY(value)} y2={toY(value)} />
              <text class="tick" x={LEFT - 6} y={toY(value)} dy="0.32em" text-anchor="end">
                {yText(value)}
              </text>
            </g>
          ))}
          {xTicks.map((step) => (
            <text key={step} class="tick" x={model.view.axis === "steps" ? LEFT + ((step - first) / Math.max(1, last - first)) * (right - LEFT) : toX(step)} y={height - 6} text-anchor="middle">
              {step}
            </text>
          ))}
          <line class="axis" x1={LEFT} x2={right} y1={bottom} y2={bottom} />
          {current !== null && steps.length > 0 && <line class="cursor" x1={toX(current)} x2={toX(current)} y1={TOP - 4} y2={bottom + 4} />}
          {runs.map((run, i) => (
            <path
              key={run.listing.run}
              class="line"
              style={{ stroke: runColour(run.order) }}
              d={linePath(run.timeline!.steps, series[i]!, log, toX, toY)}
              data-run={run.listing.run}
            />
          ))}
          {runs.map((run, i) => {
            const at = current === null ? -1 : indexAtOrBefore(run.timeline!.steps, current);
            const value = valueAt(series[i]!, at, log);
            if (value === null) return null;
            return <circle key={run.listing.run} class="point" cx={toX(run.timeline!.steps[at]!)} cy={toY(value)} r="4" style={{ fill: runColour(run.order) }} />;
          })}
        </>
      )}
    </svg>
  );
}

function Readout({ model, runs, tag }: PlotProps): JSX.Element {
  const current = model.currentStep();
  return (
    <ul class="readout" data-testid="timeline-readout">
      {tag === null && runs.length > 0 && <li>This run logged no scalars.</li>}
      {tag !== null &&
        runs.map((run) => {
          const at = current === null ? -1 : indexAtOrBefore(run.timeline!.steps, current);
          const value = run.timeline!.scalars[tag]?.[at] ?? null;
          return (
            <li key={run.listing.run} title={run.listing.name}>
              <span class="dot" style={{ background: runColour(run.order) }} />
              <bdi class="name">{run.listing.name}</bdi>
              <strong>{isShare(tag) ? percent(value) : number(value)}</strong>
            </li>
          );
        })}
    </ul>
  );
}
