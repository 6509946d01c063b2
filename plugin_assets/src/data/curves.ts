// Curves over training: what their axis counts, which part of them is seen, and how many values are drawn on few pixels.
import { niceTicks } from "./ticks";
import { roundPlaces } from "./axes";
import type { RunState } from "./run";
import type { AxisName } from "./axes";
import type { StepInfo } from "./types";

/** Batches of an epoch of a run, by its last step with a whole epoch behind it; null before there is one. */
export function batchesPerEpoch(steps: readonly StepInfo[]): number | null {
  for (let i = steps.length - 1; i >= 0; i--) {
    const { epoch, batch } = steps[i]!;
    // A step at the end of an epoch has so many times its batches behind it; others lie between two of those.
    if (epoch > 0 && batch > 0) return batch / Math.max(epoch, 1);
  }
  return null;
}

/** Where each logged step of a run stands on an axis; for "logs" its place among all steps. */
export function xValues(run: RunState, axis: AxisName, indexOf: (step: number) => number): Float64Array {
  const steps = run.info?.steps ?? [];
  const first = steps[0]?.wall_time ?? 0;
  const each = axis === "epoch" ? batchesPerEpoch(steps) : null;
  return Float64Array.from(steps, (info) => {
    if (axis === "logs") return indexOf(info.step);
    if (axis === "steps") return info.step;
    if (axis === "wall") return info.wall_time;
    if (axis === "relative") return info.wall_time - first;
    return each === null ? info.epoch : info.batch / each;
  });
}

/** The steps of the slider within a part of an axis; null: all of them. Positions on other axes are those of the run `lead`. */
export function seenSteps(steps: readonly number[], lead: RunState | null, axis: AxisName, range: readonly [number, number] | null, indexOf: (step: number) => number): readonly number[] {
  if (range === null) return steps;
  const inside = (x: number | undefined): boolean => x !== undefined && x >= range[0] && x <= range[1];
  if (axis === "logs") return steps.filter((_, i) => inside(i));
  if (axis === "steps") return steps.filter(inside);
  if (lead === null) return [];
  const places = xValues(lead, axis, indexOf);
  return (lead.info?.steps ?? []).map(({ step }) => step).filter((_, i) => inside(places[i]));
}

const SECONDS: [number, string][] = [[86400, "days"], [3600, "hours"], [60, "minutes"], [1, "seconds"]];

/** Ticks of an axis from `low` to `high`, and the unit that they count. */
export function xTicks(axis: AxisName, low: number, high: number, steps: readonly number[], width: number, unit: string): { ticks: number[]; text: (x: number) => string; unit: string } {
  if (axis === "logs") {
    const last = Math.min(steps.length - 1, Math.floor(high));
    const first = Math.max(0, Math.ceil(low));
    const text = (x: number): string => String(steps[Math.round(x)] ?? "");
    return { ticks: roundPlaces(steps, first, last, Math.max(2, Math.floor(width / 70))), text, unit };
  }
  const many = Math.max(2, Math.floor(width / (axis === "wall" ? 110 : 80)));
  if (axis === "relative") {
    const [size, name] = SECONDS.find(([each]) => high - low >= 2 * each) ?? [1, "seconds"];
    return { ticks: niceTicks(low / size, high / size, many).map((x) => x * size), text: (x) => plain(x / size), unit: `${name} since the first log` };
  }
  if (axis === "wall") return wallTicks(low, high, many);
  return { ticks: niceTicks(low, high, many), text: plain, unit: axis === "epoch" ? "epochs" : unit };
}

/** Whole days, hours, minutes or seconds of the local time, whose offset from UTC may be half an hour. */
function wallTicks(low: number, high: number, many: number): { ticks: number[]; text: (x: number) => string; unit: string } {
  const span = high - low;
  const size = span > 3 * 86400 ? 86400 : span > 3 * 3600 ? 3600 : span > 180 ? 60 : 1;
  const offset = new Date(1000 * low).getTimezoneOffset() * 60;
  const ticks = niceTicks((low - offset) / size, (high - offset) / size, many).filter(Number.isInteger).map((x) => x * size + offset);
  const form = (options: Intl.DateTimeFormatOptions) => {
    const format = new Intl.DateTimeFormat("en-GB", options);
    return (x: number): string => format.format(new Date(1000 * x)).replace(",", "");
  };
  const date = { day: "numeric", month: "short" } as const;
  const clock = { hour: "2-digit", minute: "2-digit" } as const;
  if (size === 86400) return { ticks, text: form(date), unit: "date" };
  if (span > 86400) return { ticks, text: form({ ...date, ...clock }), unit: "date and time" };
  return { ticks, text: form(size === 1 ? { ...clock, second: "2-digit" } : clock), unit: `time, ${form(date)(low)}` };
}

const plain = (x: number): string => String(Number(x.toPrecision(6)));

/** Exponential moving average, its start corrected; values that are missing are left out of it and stay missing. */
export function smoothed(values: readonly (number | null)[], weight: number): (number | null)[] {
  let sum = 0;
  let all = 0;
  return values.map((value) => {
    if (value === null || !Number.isFinite(value)) return null;
    sum = weight * sum + (1 - weight) * value;
    all = weight * all + (1 - weight);
    return sum / all;
  });
}

export interface Band {
  /** Path around all values. */
  area: string;
  /** Path through the mean of the values that share a pixel. */
  mean: string;
}

/** A curve of more points than pixels: for each pixel the range of its values and their mean. Points in pixels; null: a gap. */
export function band(xs: ArrayLike<number>, ys: ArrayLike<number | null>): Band {
  const upper: string[] = [];
  const lower: string[] = [];
  let mean = "";
  let pen = false;
  let areas = "";
  const close = (): void => {
    if (upper.length > 0) areas += `M${upper.join("L")}L${lower.reverse().join("L")}Z`;
    upper.length = 0;
    lower.length = 0;
    pen = false;
  };
  for (let i = 0; i < xs.length; ) {
    const pixel = Math.round(xs[i]!);
    let [low, high, sum, count] = [Infinity, -Infinity, 0, 0];
    while (i < xs.length && Math.round(xs[i]!) === pixel) {
      const y = ys[i++];
      if (typeof y !== "number") continue;
      low = Math.min(low, y);
      high = Math.max(high, y);
      sum += y;
      count++;
    }
    if (count === 0) {
      close();
      continue;
    }
    upper.push(`${pixel} ${(low - 0.5).toFixed(1)}`);
    lower.push(`${pixel} ${(high + 0.5).toFixed(1)}`);
    mean += `${pen ? "L" : "M"}${pixel} ${(sum / count).toFixed(1)}`;
    pen = true;
  }
  close();
  return { area: areas, mean };
}
