// Columns of one probe over the logged steps: lines for the runs, a band of predicted classes, and the current step.
import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import { niceTicks, spread } from "../data/ticks";
import { number, percent } from "../data/format";
import { answerText, isAnswerRight } from "../data/labels";
import type { RunState } from "../data/run";
import type { Model } from "../state/model";
import { linePath, valueAt, yRange } from "../data/series";
import { indexAtOrBefore } from "../data/steps";
import type { ProbeNames, Timeline } from "../data/types";
import { Axes, scrubbing } from "../ui/Axes";
import { maskStyle } from "../ui/canvases";
import { runColour } from "../ui/colours";
import { useSize } from "../ui/hooks";
import { column, columnsAt } from "./probedata";

const LEFT = 46;
const RIGHT = 10;
const TOP = 8;
const BOTTOM = 20;
const BAND = 15;
/** Room for the lowest tick's text above the bands. */
const BAND_TOP = 9;

export interface Line {
  run: RunState;
  timeline: Timeline;
  column: string;
  /** What is measured, besides the run; "" where there is only one thing. */
  of: string;
  /** Text where there is no value; a dash without it. */
  missing?: string;
  /** Place of the mask, which decides how the line is dashed. */
  order: number;
}

interface OverTimeProps {
  model: Model;
  title: string;
  testid: string;
  lines: readonly Line[];
  share: boolean;
  /** Horizontal lines with what they mean, such as the limit of an alert. */
  limits?: readonly { value: number; text: string }[];
  /** Shows the classes predicted, run by run, below the plot. */
  bands?: { probes: ProbeNames; index: number } | undefined;
}

export function OverTime({ model, title, testid, lines, share, limits = [], bands }: OverTimeProps): JSX.Element {
  const [ref, width, height] = useSize<SVGSVGElement>();
  const steps = model.steps();
  const current = model.currentStep();
  const runs = [...new Set(lines.map((line) => line.run))];
  const bandRoom = bands ? runs.length * (BAND + 3) + BAND_TOP - 4 : 0;
  const right = Math.max(LEFT + 1, width - RIGHT);
  const bottom = Math.max(TOP + 1, height - BOTTOM - bandRoom);
  const series = lines.map((line) => column(line.timeline, line.column));
  const toX = (step: number): number => LEFT + (model.indexOf(step) / Math.max(1, steps.length - 1)) * (right - LEFT);
  // All of this but the current step stays as it is while the slider moves.
  const drawn = useMemo(() => {
    const range = yRange([...series, limits.map((limit) => limit.value)], false, share);
    const toY = (value: number): number => bottom - ((value - range.low) / (range.high - range.low)) * (bottom - TOP);
    return {
      toY,
      paths: lines.map((line, i) => linePath(line.timeline.steps, series[i]!, false, toX, toY)),
      yTicks: niceTicks(range.low, range.high, 3),
      xTicks: spread(steps.length, Math.max(2, Math.floor(width / 70))).map((i) => steps[i]!),
      bands: bands ? runs.map((run) => answersOf(lines.find((line) => line.run === run)!.timeline, bands)) : [],
    };
  }, [steps, width, height, bottom, lines.length, ...lines.map((line) => line.timeline), ...lines.map((line) => line.column)]);
  const scrub = scrubbing(LEFT, right, (share) => {
    const step = steps[Math.round(share * (steps.length - 1))];
    if (step !== undefined) model.setView({ step });
  });
  const text = (value: number | null): string => (share ? percent(value) : number(value));
  return (
    <section class="over-time" aria-label={title}>
      <h3>{title}</h3>
      <svg
        ref={ref}
        class="plot scrub"
        style={{ height: `${112 + bandRoom}px` }}
        role="img"
        aria-label={`${title} over the logged steps`}
        data-testid={testid}
        {...scrub}
      >
        {width > 0 && (
          <>
            <Axes
              {...{ left: LEFT, right, bottom, foot: height - 5, yText: text, toX }}
              {...{ yTicks: drawn.yTicks, toY: drawn.toY, xTicks: drawn.xTicks }}
            />
            {limits.map((limit) => (
              <g key={limit.text}>
                <title>{limit.text}</title>
                <line class="limit" x1={LEFT} x2={right} y1={drawn.toY(limit.value)} y2={drawn.toY(limit.value)} />
              </g>
            ))}
            {lines.map((line, i) => (
              <path
                key={`${line.run.listing.run} ${line.column}`}
                class={`line ${maskStyle(line.order)}`}
                style={{ stroke: runColour(line.run.order) }}
                d={drawn.paths[i]}
              />
            ))}
            {bands &&
              runs.map((run, row) =>
                drawn.bands[row]!.map((part) => {
                  const x = toX(part.from);
                  const span = Math.max(2, toX(part.to) - x);
                  const name = part.value === null ? "none" : part.text;
                  const state = part.value === null ? " none" : part.right === null ? "" : part.right ? " right" : " wrong";
                  const what = part.value === null ? "has no prediction (logits not finite)" : `predicts ${name}`;
                  return (
                    <g key={`${run.listing.run} ${part.from}`} class={`band${state}`}>
                      <title>{`${run.listing.name} ${what} from step ${part.from} to ${part.to}`}</title>
                      <rect x={x} width={span} y={bottom + BAND_TOP + row * (BAND + 3)} height={BAND} />
                      <rect class="band-run" x={LEFT - 8} width="5" y={bottom + BAND_TOP + row * (BAND + 3)} height={BAND} style={{ fill: runColour(run.order) }} />
                      {span > 7 * Math.min(name.length, 12) && (
                        <text x={x + 4} y={bottom + BAND_TOP + row * (BAND + 3) + BAND / 2} dy="0.34em">
                          {name.length > 12 && span < 7 * name.length ? `${name.slice(0, 10)}…` : name.slice(0, 60)}
                        </text>
                      )}
                    </g>
                  );
                }),
              )}
            {current !== null && <line class="cursor" x1={toX(current)} x2={toX(current)} y1={TOP - 4} y2={height - BOTTOM + 4} />}
          </>
        )}
      </svg>
      <ul class="readout">
        {lines.map((line, i) => {
          const at = indexAtOrBefore(line.timeline.steps, current);
          return (
            <li key={`${line.run.listing.run} ${line.column}`}>
              <span class={`dot ${maskStyle(line.order)}`} style={{ background: runColour(line.run.order) }} />
              <bdi class="name">{line.of === "" ? line.run.listing.name : `${line.run.listing.name}, ${line.of}`}</bdi>
              <strong>{line.missing && valueAt(series[i]!, at, false) === null ? line.missing : text(valueAt(series[i]!, at, false))}</strong>
            </li>
          );
        })}
      </ul>
    </section>
  );
}

/** What is answered, over steps in a row of which it is the same. */
function answersOf(timeline: Timeline, { probes, index }: { probes: ProbeNames; index: number }): (Segment & { text: string; right: boolean | null })[] {
  const sets = timeline.probes["predicted_labels/0"] === undefined ? null : (i: number): string => answerText(probes, columnsAt(timeline, timeline.steps[i]!));
  return segments(timeline, sets ?? undefined).map((part) => {
    const of = columnsAt(timeline, part.from);
    return { ...part, text: answerText(probes, of), right: isAnswerRight(probes, index, of) };
  });
}

interface Segment {
  from: number;
  to: number;
  value: number | string | null;
}

/** Steps in a row with the same prediction, or (null) without one; each part reaches to where the next one begins. */
export function segments(timeline: Timeline, textOf?: (i: number) => string): Segment[] {
  const out: Segment[] = [];
  (timeline.probes.prediction ?? []).forEach((row, i) => {
    const step = timeline.steps[i]!;
    const last = out[out.length - 1];
    if (last) last.to = step;
    const predicted = row[0];
    if (predicted === undefined) return; // nothing was logged of it
    const value = textOf && predicted !== null ? textOf(i) : predicted;
    if (!last || last.value !== value) out.push({ from: step, to: step, value });
  });
  return out;
}
