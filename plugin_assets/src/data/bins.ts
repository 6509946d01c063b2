// From the store's buckets (top 11 bits of a float32) to the outline of a histogram on a linear or a log10 axis.
import type { HistogramAnswer } from "./types";

/** Ends of a bucket's values, left < right. */
export function bucketEdges(bucket: number): [number, number] {
  const exponent = (bucket >> 2) & 255;
  const mantissa = bucket & 3;
  const scale = 2 ** (exponent - 127);
  const inner = scale * (1 + mantissa / 4);
  const outer = scale * (1 + (mantissa + 1) / 4);
  return bucket & 1024 ? [-outer, -inner] : [inner, outer];
}

export interface Range {
  low: number;
  high: number;
}

/** The part of the axis a histogram needs, or null where it has no value to show. */
export function extent(histogram: HistogramAnswer, log: boolean): Range | null {
  let low = Infinity;
  let high = -Infinity;
  for (const bucket of histogram.buckets) {
    const [left, right] = log ? magnitude(bucketEdges(bucket)) : bucketEdges(bucket);
    low = Math.min(low, left);
    high = Math.max(high, right);
  }
  if (high < low) return null;
  if (!log) {
    // The last bucket may reach well past the largest value there is.
    low = Math.max(low, histogram.minimum ?? low);
    high = Math.min(high, histogram.maximum ?? high);
    if (high <= low) [low, high] = [low - Math.abs(low) * 0.1 - 1e-12, high + Math.abs(high) * 0.1 + 1e-12];
  }
  return { low, high };
}

const magnitude = ([left, right]: [number, number]): [number, number] => {
  const a = Math.log10(Math.abs(left));
  const b = Math.log10(Math.abs(right));
  return a < b ? [a, b] : [b, a];
};

export const join = (a: Range | null, b: Range | null): Range | null =>
  a && b ? { low: Math.min(a.low, b.low), high: Math.max(a.high, b.high) } : (a ?? b);

/**
 * How many values fall into each of `cells` equal cells of `range`, in axis units (log10 |value| where `log`).
 * A bucket's values count as evenly spread over it, so a bucket wider than a cell shows as a flat step: nothing looks
 * finer than it was counted. The sum over the cells is the number of values (zeros and non-finite ones are apart).
 */
export function fillCells(histogram: HistogramAnswer, range: Range, log: boolean, cells: number): Float64Array {
  const out = new Float64Array(cells);
  const perCell = cells / (range.high - range.low);
  const clip = (position: number): number => Math.min(cells, Math.max(0, position));
  histogram.buckets.forEach((bucket, i) => {
    let [left, right] = log ? magnitude(bucketEdges(bucket)) : bucketEdges(bucket);
    if (!log) {
      left = Math.min(right, Math.max(left, histogram.minimum ?? left));
      right = Math.max(left, Math.min(right, histogram.maximum ?? right));
    }
    const amount = histogram.counts[i] ?? 0;
    const from = clip((left - range.low) * perCell);
    const to = clip((right - range.low) * perCell);
    const first = Math.min(cells - 1, Math.floor(from));
    const last = Math.min(cells - 1, Math.floor(to));
    if (first === last || to - from < 1e-9) {
      out[first]! += amount;
      return;
    }
    for (let cell = first; cell <= last; cell++) {
      out[cell]! += (amount * (Math.min(to, cell + 1) - Math.max(from, cell))) / (to - from);
    }
  });
  return out;
}
