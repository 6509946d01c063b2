// One heatmap minus another, and percentiles of a heatmap.
import { mapValues, type HeatMap } from "./decode";

const kept = new WeakMap<HeatMap, { other: HeatMap; shares: boolean; map: HeatMap }>();

/**
 * `map` - `other`, pixel by pixel. With `shares` each is first divided by its own largest |R|, which compares where
 * relevance lies whatever its amount; otherwise the difference is in the units of relevance. A pixel that is not
 * finite in either is not finite. null where the maps have other sizes. The last difference of a map is kept.
 */
export function difference(map: HeatMap, other: HeatMap, shares: boolean): HeatMap | null {
  if (map.height !== other.height || map.width !== other.width) return null;
  const known = kept.get(map);
  if (known && known.other === other && known.shares === shares) return known.map;
  const [a, b] = [mapValues(map), mapValues(other)];
  const [overA, overB] = [map, other].map(({ absmax }) => (shares ? (absmax > 0 ? 1 / absmax : 0) : 1)) as [number, number];
  const data = new Float32Array(a.length);
  let absmax = 0;
  for (let i = 0; i < data.length; i++) {
    const value = a[i]! * overA - b[i]! * overB;
    data[i] = value;
    if (value > absmax && value !== Infinity) absmax = value;
    else if (-value > absmax && value !== -Infinity) absmax = -value;
  }
  const made: HeatMap = { kind: "float", data, absmax, height: map.height, width: map.width };
  kept.set(map, { other, shares, map: made });
  return made;
}

const percentiles = new WeakMap<HeatMap, Map<number, number>>();

/**
 * The `percent`-th percentile of |R| over the finite pixels of a map: the smallest |R| that at least that share of
 * them does not exceed; 100 is the largest. Exact to the map's own encoding.
 */
export function percentile(map: HeatMap, percent: number): number {
  if (percent >= 100) return map.absmax;
  let found = percentiles.get(map);
  if (!found) percentiles.set(map, (found = new Map()));
  let value = found.get(percent);
  if (value === undefined) {
    value = map.kind === "sqrt8" ? ofBytes(map.data, percent) * map.absmax : ofFloats(map.data, percent);
    found.set(percent, value);
  }
  return value;
}

function ofBytes(data: Int8Array, percent: number): number {
  const counts = new Uint32Array(128);
  let finite = 0;
  for (const q of data) {
    if (q === -128) continue;
    counts[Math.abs(q)]!++;
    finite++;
  }
  let below = 0;
  for (let size = 0; size < 128; size++) {
    below += counts[size]!;
    if (finite > 0 && below >= (percent / 100) * finite) return (size / 127) ** 2;
  }
  return 0;
}

function ofFloats(data: Float32Array, percent: number): number {
  const sizes = data.map(Math.abs).filter(Number.isFinite).sort();
  return sizes.length === 0 ? 0 : sizes[Math.max(0, Math.ceil((percent / 100) * sizes.length) - 1)]!;
}

/** The value of one pixel in the units of relevance; NaN where it was not finite. */
export function valueOf(map: HeatMap, pixel: number): number {
  if (map.kind === "float") return map.data[pixel] ?? NaN;
  const q = map.data[pixel] ?? -128;
  return q === -128 ? NaN : Math.sign(q) * (q / 127) ** 2 * map.absmax;
}
