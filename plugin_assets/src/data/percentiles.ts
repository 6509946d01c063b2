// Percentiles of a histogram: which value so many of its values lie below, and how many lie below a value.
import { bucketEdges } from "./bins";
import type { HistogramAnswer } from "./types";

interface Part {
  left: number;
  right: number;
  count: number;
}

/** The finite values in ascending order of their magnitude (`log`) or of themselves; zeros and tiny ones lie at 0. */
function partsOf(histogram: HistogramAnswer, log: boolean): Part[] {
  const { minimum, maximum } = histogram;
  const most = Math.max(Math.abs(minimum ?? Infinity), Math.abs(maximum ?? Infinity));
  const parts = histogram.buckets.map((bucket, i): Part => {
    const [low, high] = bucketEdges(bucket);
    const [left, right] = log ? [Math.min(Math.abs(low), Math.abs(high)), Math.min(most, Math.max(Math.abs(low), Math.abs(high)))] : [Math.max(low, minimum ?? low), Math.min(high, maximum ?? high)];
    return { left: Math.min(left, right), right, count: histogram.counts[i] ?? 0 };
  });
  parts.push({ left: 0, right: 0, count: histogram.zeros + histogram.denormals });
  return parts.filter(({ count }) => count > 0).sort((a, b) => a.left - b.left || a.right - b.right);
}

const totalOf = (parts: readonly Part[]): number => parts.reduce((sum, { count }) => sum + count, 0);

/** The share of the finite values below `value`, with `log` of their magnitudes; null without any. Even within a bucket. */
export function shareBelow(histogram: HistogramAnswer, value: number, log: boolean): number | null {
  const parts = partsOf(histogram, log);
  const total = totalOf(parts);
  if (total === 0) return null;
  const below = parts.reduce((sum, { left, right, count }) => sum + (right <= value && left < value ? count : left < value ? (count * (value - left)) / (right - left) : 0), 0);
  return below / total;
}

/** The value that a share (0 ... 1) of the finite values lies below, with `log` of their magnitudes; null without any. */
export function percentile(histogram: HistogramAnswer, share: number, log: boolean): number | null {
  const parts = partsOf(histogram, log);
  const wanted = share * totalOf(parts);
  let before = 0;
  for (const { left, right, count } of parts) {
    if (before + count >= wanted) return left + (right - left) * Math.min(1, Math.max(0, (wanted - before) / count));
    before += count;
  }
  return parts[parts.length - 1]?.right ?? null;
}
