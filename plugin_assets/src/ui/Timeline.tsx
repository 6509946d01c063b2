// One quantity over the logged steps, a line per run; dragging along it moves the step slider.
import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import { niceTicks, decadeTicks, spread } from "../paint/axis";
import { behind, spansOf, spanWords } from "../data/finite";
import { isShare, number, percent, plural, quantityTitle } from "../data/format";
import type { RunState } from "../data/jobs";
import type { Model } from "../state/model";
import { linePath, quantities, useLog, valueAt, yRange } from "../data/series";
import { sharedParts, telling } from "../state/names";
import { alertLimits } from "../state/selection";
import { indexAtOrBefore, nearestIndex } from "../state/steps";
import { Axes, scrubbing } from "./Axes";
import { runColour, runDash } from "./colours";
import { Dot } from "./Dot";
import { superscript } from "./superscript";
import { useSize } from "./hooks";

const LEFT = 48;
const RIGHT = 12;
const TOP = 10;
const BOTTOM = 22;

export function Timelines({ model }: { model: Model }): JSX.Element {
  const runs = model.selected().filter((run) => run.timeline !== null);
  const timelines = runs.map((run) => run.timeline!);
  const tags = useMemo(() => {
    const masks = runs.flatMap((run) => run.info?.probes.masks ?? []);
    return quantities(timelines, masks);
  }, [timelines.length, ...timelines]);
  const chosen = shownQuantities(model.view.quantities, tags.all);
  const choose = (next: string[]): void => model.setView({ quantities: next });
  const free = tags.main.find((tag) => !chosen.includes(tag));
  return (
    <section class="panel timelines" aria-label="Over training" data-count={Math.max(1, chosen.length)}>
      {(chosen.length === 0 ? [null] : chosen).map((tag, place) => (
        <div key={tag ?? ""} class="timeline">
          <header>
            {place === 0 && <h2>Over training</h2>}
            <QuantityMenu tags={tags} tag={tag} choose={(next) => choose(chosen.map((old, i) => (i === place ? next : old)))} />
            {chosen.length > 1 && (
              <button
                type="button"
                class="small"
                aria-label={`Close the timeline of ${quantityTitle(tag ?? "")}`}
                onClick={() => choose(chosen.filter((_, i) => i !== place))}
              >
                ×
              </button>
            )}
            {place === chosen.length - 1 && chosen.length < MOST_TIMELINES && free !== undefined && (
              <button type="button" class="small" title="Add a timeline of another quantity" aria-label="Add a timeline" data-testid="add-timeline" onClick={() => choose([...chosen, free])}>
                +
              </button>
            )}
            {place === 0 && <ToScale model={model} />}
          </header>
          <Plot model={model} runs={runs} tag={tag} first={place === 0} />
          <Readout model={model} runs={runs} tag={tag} first={place === 0} />
        </div>
      ))}
    </section>
  );
}

const MOST_TIMELINES = 3;

/** The chosen quantities that some run has, each once; without any the most telling one. */
export function shownQuantities(chosen: readonly string[] | null, all: readonly string[]): string[] {
  const found = [...new Set(chosen ?? [])].filter((tag) => all.includes(tag)).slice(0, MOST_TIMELINES);
  return found.length > 0 ? found : all.slice(0, 1);
}

interface MenuProps {
  tags: { main: string[]; tensors: string[]; all: string[] };
  tag: string | null;
  choose: (tag: string) => void;
}

function QuantityMenu({ tags, tag, choose }: MenuProps): JSX.Element {
  return (
    <select
      aria-label="Quantity"
      data-testid="quantity"
      value={tag ?? ""}
      disabled={tag === null}
      onChange={(event) => choose(event.currentTarget.value)}
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
  );
}

function ToScale({ model }: { model: Model }): JSX.Element {
  return (
    <label class="check small" title="Off: one place per logged step, as on the slider. On: distances as in training.">
      <input
        type="checkbox"
        checked={model.view.axis === "steps"}
        data-testid="axis"
        onChange={(event) => model.setView({ axis: event.currentTarget.checked ? "steps" : "logs" })}
      />
      to scale
    </label>
  );
}

interface PlotProps {
  model: Model;
  runs: RunState[];
  tag: string | null;
  /** Whether this is the first timeline. */
  first: boolean;
}

function Plot({ model, runs, tag, first: isFirst }: PlotProps): JSX.Element {
  const [ref, width, height] = useSize<SVGSVGElement>();
  const steps = model.steps();
  const current = model.currentStep();
  const toScale = model.view.axis === "steps";
  const first = steps[0] ?? 0;
  const last = steps[steps.length - 1] ?? 1;
  const right = Math.max(LEFT + 1, width - RIGHT);
  const bottom = Math.max(TOP + 1, height - BOTTOM);
  const series = runs.map((run) => (tag === null ? [] : (run.timeline!.scalars[tag] ?? [])));
  const share = tag !== null && isShare(tag);
  // Lines and axes depend on the step only through what was logged, so moving the slider draws the cursor alone.
  const drawn = useMemo(() => {
    const log = tag !== null && useLog(tag, series);
    const range = yRange(series, log, share);
    const toX = (step: number): number => {
      const at = toScale ? (step - first) / Math.max(1, last - first) : model.indexOf(step) / Math.max(1, steps.length - 1);
      return LEFT + at * (right - LEFT);
    };
    const toY = (value: number): number => bottom - ((value - range.low) / (range.high - range.low)) * (bottom - TOP);
    const lines = runs.map((run, i) => linePath(run.timeline!.steps, series[i]!, log, toX, toY));
    const yTicks = log ? decadeTicks(range.low, range.high, 4) : niceTicks(range.low, range.high, 4);
    const xTicks = toScale
      ? niceTicks(first, last, Math.max(2, Math.floor(width / 80)))
      : spread(steps.length, Math.max(2, Math.floor(width / 70))).map((i) => steps[i]!);
    return { log, toX, toY, lines, yTicks, xTicks, range };
  }, [steps, tag, toScale, width, height, series.length, ...series]);
  const broken = runs.flatMap((run) => gaps(run).map((gap) => ({ ...gap, run })));
  const limits = limitLines(runs, tag).filter(({ limit }) => !drawn.log && limit <= drawn.range.high);
  const { log, toX, toY, yTicks, xTicks } = drawn;
  const yText = (value: number): string => (log ? `10${superscript(value)}` : share ? percent(value) : number(value));
  const scrub = scrubbing(LEFT, right, (share) => {
    const index = toScale ? nearestIndex(steps, first + share * (last - first)) : Math.round(share * (steps.length - 1));
    const step = steps[index];
    if (step !== undefined) model.setView({ step });
  });
  return (
    <svg
      ref={ref}
      class="plot scrub"
      tabindex={0} // in SVG the attribute's case counts
      role="slider"
      aria-label={tag === null ? "Timeline" : `Timeline: ${quantityTitle(tag)}`}
      aria-valuemin={first}
      aria-valuemax={last}
      aria-valuenow={current ?? first}
      data-testid={isFirst ? "timeline" : "timeline-more"}
      data-tag={tag ?? undefined}
      data-step={current ?? undefined}
      {...scrub}
    >
      {width > 0 && (
        <>
          <Axes {...{ left: LEFT, right, bottom, foot: height - 6, yTicks, toY, yText, xTicks, toX }} />
          {broken.map(({ run, first, last, title }) => (
            <rect
              key={`${run.listing.run} ${first}`}
              class="not-finite"
              data-testid="not-finite-span"
              x={toX(first) - 2}
              y={TOP}
              width={toX(last) - toX(first) + 4}
              height={bottom - TOP}
              style={{ fill: runColour(run.order), stroke: runColour(run.order) }}
            >
              <title>{`${run.listing.name}: ${title}`}</title>
            </rect>
          ))}
          {limits.map(({ run, limit }) => (
            <line key={run} class="limit" data-testid="limit" x1={LEFT} x2={right} y1={toY(limit)} y2={toY(limit)}>
              <title>{`Alert above ${percent(limit)}`}</title>
            </line>
          ))}
          {current !== null && <line class="cursor" x1={toX(current)} x2={toX(current)} y1={TOP - 4} y2={bottom + 4} />}
          {runs.map((run, i) => (
            <path
              key={run.listing.run}
              class="line"
              style={{ stroke: runColour(run.order), strokeDasharray: runDash(run.pattern) }}
              d={drawn.lines[i]}
              data-run={run.listing.run}
            />
          ))}
          {runs.map((run, i) => {
            const at = indexAtOrBefore(run.timeline!.steps, current);
            const value = valueAt(series[i]!, at, log);
            if (value === null) return null;
            const x = toX(run.timeline!.steps[at]!);
            const fill = runColour(run.order);
            return (
              <circle key={run.listing.run} class="point" cx={x} cy={toY(value)} r="4" style={{ fill }}>
                <title>{[share ? percent(log ? 10 ** value : value) : number(log ? 10 ** value : value), of(run, tag, at)].filter(Boolean).join(", ")}</title>
              </circle>
            );
          })}
        </>
      )}
    </svg>
  );
}

/** The alert limits of a mask's share, where a timeline shows one: each value once. */
function limitLines(runs: RunState[], tag: string | null): { run: string; limit: number }[] {
  const mask = tag?.startsWith(MASS) ? tag.slice(MASS.length) : null;
  const found = new Map<number, string>();
  for (const run of mask === null ? [] : runs) {
    const limit = alertLimits(run.info?.meta).get(mask!);
    if (limit !== undefined && !found.has(limit)) found.set(limit, run.listing.run);
  }
  return [...found].map(([limit, run]) => ({ run, limit }));
}

const MASS = "lrp/mask_mass/";

/** Steps in a row at which anything of a run was not finite, with what it was. */
function gaps(run: RunState): { first: number; last: number; title: string }[] {
  const out = new Map<string, { first: number; last: number; title: string }>();
  for (const span of spansOf(run.info?.steps ?? [])) {
    const key = `${span.first} ${span.last}`;
    const before = out.get(key);
    out.set(key, { first: span.first, last: span.last, title: before ? `${before.title}, ${spanWords(span)}` : spanWords(span) });
  }
  return [...out.values()];
}

/** What a run's value at a step is of: how many probes stand behind a mean, or had no prediction; "" where it is all. */
function of(run: RunState, tag: string | null, at: number): string {
  const scalars = run.timeline!.scalars;
  if (tag === "lrp/accuracy") {
    const none = scalars["lrp/nonfinite/logits"]?.[at];
    return none ? `${plural(none, "probe")} without a prediction` : "";
  }
  if (!tag?.startsWith(MASS)) return "";
  const mask = tag.slice(MASS.length);
  const header = run.frame?.header;
  // Earlier runs did not count: the probes of the step that is shown tell.
  const shown = header && header.step === run.timeline!.steps[at] ? header.probes[`mask_mass/${mask}`] : undefined;
  const count = scalars[`lrp/mask_probes/${mask}`]?.[at] ?? shown?.filter((value) => value !== null).length;
  const told = behind(count, run.info?.probes, mask);
  return told === null ? "" : count === 0 ? `a share on ${told}` : `mean over ${told}`;
}

/** What is said of a value that is not there. */
function missing(run: RunState, tag: string, step: number | undefined): string {
  const info = run.info?.steps.find((one) => one.step === step);
  if (tag.startsWith("lrp/") && info?.nonfinite?.logits) return "not finite";
  return tag.startsWith(MASS) ? "undefined" : "–";
}

function Readout({ model, runs, tag, first }: PlotProps): JSX.Element {
  const current = model.currentStep();
  const shared = sharedParts(runs.map((run) => run.listing.name));
  return (
    <ul class="readout" tabIndex={runs.length > 4 ? 0 : undefined} aria-label="Values at this step" data-testid={first ? "timeline-readout" : undefined}>
      {tag === null && runs.length > 0 && <li>This run logged no scalars.</li>}
      {tag !== null &&
        runs.map((run) => {
          const at = indexAtOrBefore(run.timeline!.steps, current);
          const value = run.timeline!.scalars[tag]?.[at] ?? null;
          return (
            <li key={run.listing.run} title={run.listing.name}>
              <Dot run={run} />
              <bdi class="name">{telling(run.listing.name, shared)}</bdi>
              <strong>{value === null ? missing(run, tag, run.timeline!.steps[at]) : isShare(tag) ? percent(value) : number(value)}</strong>
              {of(run, tag, at) !== "" && <span class="aside" data-testid="behind">{of(run, tag, at)}</span>}
            </li>
          );
        })}
    </ul>
  );
}
