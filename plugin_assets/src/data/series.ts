// Scalars over the logged steps as lines.
import type { Range } from "./bins";
import { isShare, ofTensor } from "./format";
import type { Timeline } from "./types";

const ORDER = [
  /^lrp\/mask_mass\//,
  /^lrp\/drift$/,
  /^lrp\/conservation$/,
  /^lrp\/probability$/,
  /^lrp\/accuracy$/,
  /^lrp\/mask_absolute\//,
  /^lrp\/mask_probes\//,
  /^(probe_)?gradients\/norm$/,
  /^weights\/update_ratio$/,
  /^weights\/norm$/,
];

/** Tags of the timelines, the most informative first, masks in their own order; those of single tensors apart. */
export function quantities(timelines: readonly Timeline[], masks: readonly string[]): { main: string[]; tensors: string[]; all: string[] } {
  const tags = [...new Set(timelines.flatMap((timeline) => [...Object.keys(timeline.scalars), ...(timeline.tags ?? [])]))];
  const rank = (tag: string): number => {
    const place = ORDER.findIndex((pattern) => pattern.test(tag));
    return place < 0 ? ORDER.length : place;
  };
  const maskRank = (tag: string): number => masks.indexOf(tag.replace(/^lrp\/mask_[a-z]+\//, ""));
  const main = tags
    .filter((tag) => !ofTensor(tag))
    .sort((a, b) => rank(a) - rank(b) || maskRank(a) - maskRank(b) || (a < b ? -1 : 1));
  const tensors = tags.filter(ofTensor);
  return { main, tensors, all: [...main, ...tensors] };
}

/** Whether a log axis serves: norms and their ratios, and only where all values are positive and span more than a factor of 30. */
export function useLog(tag: string, series: readonly (readonly (number | null)[])[]): boolean {
  if (isShare(tag) || !/\/(norm|update_ratio)/.test(tag)) return false;
  const values = finite(series);
  return values.length > 0 && Math.min(...values) > 0 && Math.max(...values) / Math.min(...values) > 30;
}

const finite = (series: readonly (readonly (number | null)[])[]): number[] =>
  series.flat().filter((value): value is number => typeof value === "number" && Number.isFinite(value));

/** The y axis: from 0 where values are not negative, a little air above; log10 units on a log axis. */
export function yRange(series: readonly (readonly (number | null)[])[], log: boolean, share: boolean): Range {
  const values = finite(series);
  if (values.length === 0) return { low: 0, high: 1 };
  let low = values.reduce((a, b) => Math.min(a, b));
  let high = values.reduce((a, b) => Math.max(a, b));
  if (log) return { low: Math.log10(low) - 0.1, high: Math.log10(high) + 0.1 };
  if (low >= 0) low = 0;
  if (share) high = high > 0.5 ? Math.max(1, high) : high;
  if (high <= low) high = low + (Math.abs(low) || 1);
  const air = share && high === 1 ? 0 : 0.06 * (high - low);
  return { low: low < 0 ? low - air : low, high: high + air };
}

/** Value `at` an index in axis units; null where there is none to draw. */
export function valueAt(series: readonly (number | null)[], at: number, log: boolean): number | null {
  const value = series[at];
  if (typeof value !== "number" || !Number.isFinite(value)) return null;
  return log ? Math.log10(value) : value;
}

/** SVG path of a series; values that are missing leave a gap, a value alone between gaps a dot. */
export function linePath(
  steps: ArrayLike<number>,
  series: readonly (number | null)[],
  log: boolean,
  toX: (step: number) => number,
  toY: (value: number) => number,
): string {
  let path = "";
  let pen = false;
  series.forEach((_, i) => {
    const value = valueAt(series, i, log);
    const step = steps[i];
    if (value === null || step === undefined) {
      pen = false;
      return;
    }
    const point = `${toX(step).toFixed(1)} ${toY(value).toFixed(1)}`;
    const alone = !pen && valueAt(series, i + 1, log) === null;
    path += alone ? `M${point}h0` : `${pen ? "L" : "M"}${point}`;
    pen = true;
  });
  return path;
}
