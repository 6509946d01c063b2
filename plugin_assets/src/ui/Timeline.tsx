// One quantity over the logged steps, a line per run; dragging along it moves the step slider.
import type { JSX } from "preact";
import { useId, useMemo } from "preact/hooks";
import { niceTicks, decadeTicks } from "../data/ticks";
import { band, smoothed, xTicks, xValues } from "../data/curves";
import { stepUnit } from "../data/axes";
import { behind, spansOf, spanText } from "../data/finite";
import { isShare, number, percent, plural, quantityTitle } from "../data/format";
import type { RunState } from "../data/run";
import type { Model } from "../state/model";
import { linePath, quantities, useLog, valueAt, yRange } from "../data/series";
import { sharedParts, distinctPart } from "../state/names";
import { alertLimits } from "../state/selection";
import { indexAtOrBefore, nearestIndex } from "../data/steps";
import { Axes, scrubbing } from "./Axes";
import { runColour, runDash } from "./colours";
import { Dot } from "./Dot";
import { superscript } from "./superscript";
import { useSize } from "./hooks";

const LEFT = 48;
const RIGHT = 12;
const TOP = 10;
const BOTTOM = 22;
/** Pixels of a letter of the axis' unit, about, and between it and the cursor's line. */
const [UNIT_LETTER, UNIT_GAP] = [6, 6];

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
          </header>
          <Plot model={model} runs={runs} tag={tag} first={place === 0} />
          <Readout model={model} runs={runs} tag={tag} first={place === 0} />
        </div>
      ))}
    </section>
  );
}

const MOST_TIMELINES = 3;

/** The chosen quantities that some run has, each once; without any the most informative one. */
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

interface PlotProps {
  model: Model;
  runs: RunState[];
  tag: string | null;
  /** Whether this is the first timeline. */
  first: boolean;
}

function Plot({ model, runs, tag, first: isFirst }: PlotProps): JSX.Element {
  const [ref, width, height] = useSize<SVGSVGElement>();
  const clip = useId();
  const steps = model.steps();
  const current = model.currentStep();
  const { axis, range: part } = model.view;
  const weight = Number(model.view.smooth);
  const right = Math.max(LEFT + 1, width - RIGHT);
  const bottom = Math.max(TOP + 1, height - BOTTOM);
  const series = runs.map((run) => (tag === null ? [] : (run.timeline!.scalars[tag] ?? [])));
  const share = tag !== null && isShare(tag);
  // Lines and axes depend on the step only through what was logged, so moving the slider draws the cursor alone.
  const drawn = useMemo(() => {
    const log = tag !== null && useLog(tag, series);
    const places = runs.map((run) => xValues(run, axis, (step) => model.indexOf(step)));
    const [low, high] = part ?? ends(places);
    const seen = series.map((values, i) => (part === null ? values : values.filter((_, at) => (places[i]![at] ?? NaN) >= low && (places[i]![at] ?? NaN) <= high)));
    const range = yRange(seen, log, share);
    const toX = (x: number): number => LEFT + ((x - low) / Math.max(1e-9, high - low)) * (right - LEFT);
    const toY = (value: number): number => bottom - ((value - range.low) / (range.high - range.low)) * (bottom - TOP);
    const curves = runs.map((_, i) => curve(places[i]!, series[i]!, weight, log, toX, toY, right - LEFT));
    const yTicks = log ? decadeTicks(range.low, range.high, 4) : niceTicks(range.low, range.high, 4);
    const x = xTicks(axis, low, high, steps, width, stepUnit(runs) === "mixed" ? "steps: epochs and batches mixed" : stepUnit(runs));
    return { log, toX, toY, curves, places, low, high, yTicks, x, range };
  }, [steps, tag, axis, part?.[0], part?.[1], weight, width, height, series.length, ...series, ...runs.map((run) => run.info)]);
  /** Where a run's step stands: that of the last one logged up to it. */
  const xOf = (run: RunState, step: number | null): number | null => {
    if (axis === "logs" || axis === "steps") return step === null ? null : drawn.toX(axis === "logs" ? model.indexOf(step) : step);
    const x = drawn.places[runs.indexOf(run)]?.[indexAtOrBefore(run.steps, step)];
    return x === undefined ? null : drawn.toX(x);
  };
  const broken = runs.flatMap((run) => gaps(run).map((gap) => ({ ...gap, run })));
  const limits = limitLines(runs, tag).filter(({ limit }) => !drawn.log && limit <= drawn.range.high);
  const { log, toX, toY, yTicks, low, high } = drawn;
  const lead = runs[0];
  const yText = (value: number): string => (log ? `10${superscript(value)}` : share ? percent(value) : number(value));
  const scrub = scrubbing(
    LEFT,
    right,
    (share) => {
      const x = low + share * (high - low);
      const places = drawn.places[0];
      const index = axis === "logs" ? Math.round(x) : axis === "steps" ? nearestIndex(steps, x) : model.indexOf(lead?.steps[nearestOf(places ?? [], x)] ?? null);
      const step = steps[Math.min(steps.length - 1, Math.max(0, index))];
      if (step !== undefined) model.setView({ step });
    },
    (from, to) => model.setView({ range: [low + from * (high - low), low + to * (high - low)] }),
  );
  const cursor = lead ? xOf(lead, current) : null;
  const inside = (x: number | null): x is number => x !== null && x >= LEFT - 1 && x <= right + 1;
  // The unit ends left of the cursor's line where that would touch it.
  const unitEnd = inside(cursor) && cursor > right - UNIT_LETTER * drawn.x.unit.length - UNIT_GAP ? cursor - UNIT_GAP : right;
  return (
    <svg
      ref={ref}
      class="plot scrub"
      tabindex={0} // in SVG the attribute's case counts
      role="slider"
      aria-label={tag === null ? "Timeline" : `Timeline: ${quantityTitle(tag)}`}
      aria-valuemin={steps[0] ?? 0}
      aria-valuemax={steps[steps.length - 1] ?? 1}
      aria-valuenow={current ?? 0}
      data-testid={isFirst ? "timeline" : "timeline-more"}
      data-tag={tag ?? undefined}
      data-step={current ?? undefined}
      data-axis={axis}
      data-seen={`${low},${high}`}
      data-area={`${LEFT},${right}`}
      onDblClick={() => model.setView({ range: null })}
      {...scrub}
    >
      {width > 0 && (
        <>
          <Axes {...{ left: LEFT, right, bottom, foot: height - 6, yTicks, toY, yText, xTicks: drawn.x.ticks, toX, xText: drawn.x.text }} />
          <text class="tick axis-unit" x={unitEnd} y={bottom - 4} text-anchor="end" data-testid={isFirst ? "axis-unit" : undefined}>
            {drawn.x.unit}
          </text>
          <rect class="range-mark" y={TOP} height={bottom - TOP} width="0" />
          {broken.map(({ run, first, last, title }) => (
            <rect
              key={`${run.listing.run} ${first}`}
              class="not-finite"
              data-testid="not-finite-span"
              x={clamp((xOf(run, first) ?? LEFT) - 2, LEFT, right)}
              y={TOP}
              width={Math.max(0, clamp((xOf(run, last) ?? LEFT) + 2, LEFT, right) - clamp((xOf(run, first) ?? LEFT) - 2, LEFT, right))}
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
          {inside(cursor) && <line class="cursor" x1={cursor} x2={cursor} y1={TOP - 4} y2={bottom + 4} />}
          <clipPath id={clip}>
            <rect x={LEFT} y="0" width={right - LEFT} height={height} />
          </clipPath>
          <g clip-path={`url(#${clip})`}>
            {runs.map((run, i) => {
              const { area, faint, line } = drawn.curves[i]!;
              const stroke = runColour(run.order);
              return (
                <g key={run.listing.run}>
                  {area && <path class="band" data-testid="band" style={{ fill: stroke }} d={area} />}
                  {faint && <path class="line faint" style={{ stroke }} d={faint} />}
                  <path class="line" style={{ stroke, strokeDasharray: runDash(run.pattern) }} d={line} data-run={run.listing.run} />
                </g>
              );
            })}
          </g>
          {runs.map((run, i) => {
            const at = indexAtOrBefore(run.timeline!.steps, current);
            const value = valueAt(series[i]!, at, log);
            if (value === null) return null;
            const x = xOf(run, run.timeline!.steps[at]!);
            if (!inside(x)) return null;
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

const clamp = (x: number, low: number, high: number): number => Math.min(high, Math.max(low, x));

/** The ends of what any run has on the axis; never the same. */
function ends(places: readonly Float64Array[]): [number, number] {
  let low = Infinity;
  let high = -Infinity;
  for (const xs of places) {
    for (const x of xs) {
      if (x < low) low = x;
      if (x > high) high = x;
    }
  }
  return high > low ? [low, high] : Number.isFinite(low) ? [low, low + 1] : [0, 1];
}

function nearestOf(xs: ArrayLike<number>, wanted: number): number {
  let best = -1;
  for (let i = 0; i < xs.length; i++) if (best < 0 || Math.abs(xs[i]! - wanted) < Math.abs(xs[best]! - wanted)) best = i;
  return best;
}

/** More points on a pixel than this are drawn as a band. */
const CROWDED = 1.5;

/** A run's curve as paths: a line; as logged and faint behind a smoothed one; with a band where points crowd. */
function curve(
  xs: Float64Array,
  values: readonly (number | null)[],
  weight: number,
  log: boolean,
  toX: (x: number) => number,
  toY: (value: number) => number,
  width: number,
): { area: string; faint: string; line: string } {
  const draw = (series: readonly (number | null)[]): { area: string; line: string } => {
    const seen = xs.reduce((n, x) => n + (toX(x) >= LEFT && toX(x) <= LEFT + width ? 1 : 0), 0);
    if (seen <= CROWDED * width) return { area: "", line: linePath(xs, series, log, toX, toY) };
    const ys = Array.from(xs, (_, i) => valueAt(series, i, log)).map((value) => (value === null ? null : toY(value)));
    const { area, mean } = band(xs.map(toX), ys);
    return { area, line: mean };
  };
  const raw = draw(values);
  if (weight === 0) return { ...raw, faint: "" };
  return { area: raw.area, faint: raw.area ? "" : raw.line, line: draw(smoothed(values, weight)).line };
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
    out.set(key, { first: span.first, last: span.last, title: before ? `${before.title}, ${spanText(span)}` : spanText(span) });
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
  // Earlier runs did not count the probes: those of the step that is shown are counted.
  const shown = header && header.step === run.timeline!.steps[at] ? header.probes[`mask_mass/${mask}`] : undefined;
  const count = scalars[`lrp/mask_probes/${mask}`]?.[at] ?? shown?.filter((value) => value !== null).length;
  const probes = behind(count, run.info?.probes, mask);
  return probes === null ? "" : count === 0 ? `a share on ${probes}` : `mean over ${probes}`;
}

/** Text in place of a missing value. */
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
              <bdi class="name">{distinctPart(run.listing.name, shared)}</bdi>
              <strong>{value === null ? missing(run, tag, run.timeline!.steps[at]) : isShare(tag) ? percent(value) : number(value)}</strong>
              {of(run, tag, at) !== "" && <span class="aside" data-testid="behind">{of(run, tag, at)}</span>}
            </li>
          );
        })}
    </ul>
  );
}
