// Heatmaps smoothed for the eye: relevance of strided layers stands on a grid of points that belong together.
import { mapValues, type HeatMap } from "./decode";

const kept = new WeakMap<HeatMap, { sigma: number; map: HeatMap }>();

/** Weights of a Gaussian of `sigma` pixels, for distances 0 ... 3 sigma; their sum over both sides is 1. */
function weightsOf(sigma: number): Float64Array {
  const reach = Math.max(1, Math.ceil(3 * sigma));
  const weights = Float64Array.from({ length: reach + 1 }, (_, i) => Math.exp(-0.5 * (i / sigma) ** 2));
  const sum = 2 * weights.reduce((a, b) => a + b) - weights[0]!;
  return weights.map((weight) => weight / sum);
}

/**
 * A map smoothed by a Gaussian of `sigma` pixels; itself for 0. What would go past an edge is reflected, so that the sum
 * of relevance stays; pixels that are not finite stay so, and give nothing to others. The last one of a map is kept.
 */
export function soften(map: HeatMap, sigma: number): HeatMap {
  if (sigma <= 0) return map;
  const known = kept.get(map);
  if (known?.sigma === sigma) return known.map;
  const { height, width } = map;
  const values = mapValues(map);
  const weights = weightsOf(sigma);
  const finite = Float32Array.from(values, (value) => (Number.isFinite(value) ? value : 0));
  const across = pass(finite, height, width, width, 1, weights);
  const data = pass(across, width, height, 1, width, weights);
  let absmax = 0;
  for (let i = 0; i < data.length; i++) {
    if (!Number.isFinite(values[i]!)) data[i] = NaN;
    else absmax = Math.max(absmax, Math.abs(data[i]!));
  }
  const made: HeatMap = { kind: "float", data, absmax, height, width };
  kept.set(map, { sigma, map: made });
  return made;
}

/** Each of `lines` lines of `length` values, `step` apart, spread by the weights. */
function pass(values: Float32Array, lines: number, length: number, line: number, step: number, weights: Float64Array): Float32Array {
  const out = new Float32Array(values.length);
  const reflect = (i: number): number => {
    while (i < 0 || i >= length) i = i < 0 ? -1 - i : 2 * length - 1 - i;
    return i;
  };
  for (let row = 0; row < lines; row++) {
    const start = row * line;
    for (let i = 0; i < length; i++) {
      let sum = weights[0]! * values[start + i * step]!;
      for (let d = 1; d < weights.length; d++) sum += weights[d]! * (values[start + reflect(i - d) * step]! + values[start + reflect(i + d) * step]!);
      out[start + i * step] = sum;
    }
  }
  return out;
}
