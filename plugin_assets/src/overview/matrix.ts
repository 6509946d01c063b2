// The network at a glance: one quantity of every tensor or layer over the logged steps, as pixels.
import type { Timeline } from "../data/types";

export type QuantityName = "gradients" | "probe_gradients" | "weights" | "updates" | "ratio" | "zeros" | "broken" | "relevance" | "unused";

interface Quantity {
  title: string;
  /** What its colours mean, in a sentence. */
  means: string;
  /** Colours by the power of ten, or by the share from 0 to 1. */
  log: boolean;
  /** The scalars of single tensors, or the per-probe columns, that it is made of. */
  tags: string[];
  columns: string[];
}

export const QUANTITIES: Record<QuantityName, Quantity> = {
  gradients: { title: "Gradient norm", means: "Euclidean norm of the gradient of one training batch", log: true, tags: ["gradients/norm/*", "gradients/nonfinite/*"], columns: [] },
  probe_gradients: { title: "Gradient norm on the probes", means: "Euclidean norm of the gradient of the loss on the probes", log: true, tags: ["probe_gradients/norm/*", "probe_gradients/nonfinite/*"], columns: [] },
  weights: { title: "Weight norm", means: "Euclidean norm of the weights", log: true, tags: ["weights/norm/*", "weights/nonfinite/*"], columns: [] },
  updates: { title: "Update / weight", means: "Norm of the change that one training step made to the weights, over their norm before it", log: true, tags: ["weights/update_ratio/*", "weights/nonfinite/*"], columns: [] },
  ratio: { title: "Gradient norm / weight norm", means: "How large the gradient is beside the weights that it moves", log: true, tags: ["gradients/norm/*", "weights/norm/*", "gradients/nonfinite/*", "weights/nonfinite/*"], columns: [] },
  zeros: { title: "Share of zero gradients", means: "Values of the gradient that are exactly zero", log: false, tags: ["gradients/zero_fraction/*", "probe_gradients/zero_fraction/*"], columns: [] },
  broken: { title: "Not finite", means: "Number of NaN and infinite values, weights and gradients together", log: true, tags: ["gradients/nonfinite/*", "weights/nonfinite/*", "probe_gradients/nonfinite/*"], columns: [] },
  relevance: { title: "Relevance kept", means: "Relevance at the layer’s output over the explained logit, median over probes", log: true, tags: [], columns: ["layer/*"] },
  unused: { title: "Unused channels", means: "Channels of a watched layer without relevance on any probe, of all of its channels", log: false, tags: [], columns: [] },
};

/** The quantities that are those of layers, not of tensors. */
export const ofLayers = (quantity: QuantityName): boolean => quantity === "relevance" || quantity === "unused";

const UNUSED = /^lrp\/features\/(.+)\/unused$/s;

export interface Row {
  /** Name of the tensor, or of the layer. */
  name: string;
  /** A value a step; NaN where there is none. */
  values: Float64Array;
  /** Steps with values that are not finite. */
  broken: Uint8Array;
}

/** The quantities that a run has logged, by the tags and columns that its timeline names. */
export function available(timeline: Pick<Timeline, "tags"> & { columns?: string[] }): QuantityName[] {
  const there = (pattern: string, names: readonly string[] = []): boolean => names.some((name) => name.startsWith(pattern.slice(0, -1)));
  return (Object.keys(QUANTITIES) as QuantityName[]).filter((name) => {
    const { tags, columns } = QUANTITIES[name];
    if (name === "unused") return timeline.tags?.some((tag) => UNUSED.test(tag)) ?? false;
    if (name === "ratio") return there("gradients/norm/*", timeline.tags) && there("weights/norm/*", timeline.tags);
    if (columns.length > 0) return there(columns[0]!, timeline.columns);
    return there(tags[0]!, timeline.tags) || (name === "broken" && tags.some((tag) => there(tag, timeline.tags)));
  });
}

type Series = readonly (number | null)[];

/** A row of a series, or of one over another; broken where a count in `gone` is above 0. */
function rowOf(name: string, length: number, own: Series | null, other: Series | null, gone: readonly (Series | undefined)[]): Row {
  const values = new Float64Array(length).fill(NaN);
  for (let i = 0; own !== null && i < length; i++) {
    const value = own[i] ?? NaN;
    values[i] = other === null ? value : value / (other[i] ?? NaN);
  }
  const broken = new Uint8Array(length);
  for (const counts of gone) for (let i = 0; counts && i < length; i++) if ((counts[i] ?? 0) > 0) broken[i] = 1;
  return { name, values, broken };
}

/**
 * Rows in the order of `names`, those of tensors that the quantity is not logged of left out. `channels`: how many a
 * watched layer has.
 */
export function rowsOf(timeline: Timeline, quantity: QuantityName, names: readonly string[], channels: ReadonlyMap<string, number> = new Map()): Row[] {
  const { scalars, steps } = timeline;
  const { length } = steps;
  const series = (prefix: string, name: string): Series | undefined => scalars[`${prefix}/${name}`];
  if (quantity === "relevance") {
    const layers = Object.entries(timeline.medians ?? {}).filter(([column]) => column.startsWith("layer/"));
    return layers.map(([column, values]) => rowOf(column.slice(6), length, values.map((value) => value && Math.abs(value)), null, []));
  }
  if (quantity === "unused") {
    return Object.entries(scalars).flatMap(([tag, values]): Row[] => {
      const layer = UNUSED.exec(tag)?.[1];
      const all = layer === undefined ? undefined : channels.get(layer);
      return layer === undefined || all === undefined ? [] : [rowOf(layer, length, values, values.map(() => all), [])];
    });
  }
  return names.flatMap((name): Row[] => {
    const [gradients, probes, weights] = ["gradients", "probe_gradients", "weights"].map((kind) => series(`${kind}/nonfinite`, name));
    if (quantity === "broken") {
      const all = [gradients, probes, weights].filter((one) => one !== undefined);
      return all.length === 0 ? [] : [rowOf(name, length, steps.map((_, i) => all.reduce((sum, one) => sum + (one[i] ?? 0), 0)), null, all)];
    }
    if (quantity === "ratio") {
      const [own, other] = [series("gradients/norm", name), series("weights/norm", name)];
      return own && other ? [rowOf(name, length, own, other, [gradients, weights])] : [];
    }
    if (quantity === "updates") {
      const own = series("weights/update_ratio", name);
      return own ? [rowOf(name, length, own, null, [weights])] : [];
    }
    if (quantity === "zeros") {
      const own = series("gradients/zero_fraction", name) ?? series("probe_gradients/zero_fraction", name);
      return own ? [rowOf(name, length, own, null, [gradients])] : [];
    }
    const own = series(`${quantity}/norm`, name);
    return own ? [rowOf(name, length, own, null, [{ gradients, probe_gradients: probes, weights }[quantity]])] : [];
  });
}

export interface Scale {
  low: number;
  high: number;
}

/** What the ends of the colours stand for: powers of ten, or 0 and 1. */
export function scaleOf(rows: readonly Row[], log: boolean): Scale {
  if (!log) return { low: 0, high: 1 };
  let low = Infinity;
  let high = -Infinity;
  for (const { values } of rows) {
    for (const value of values) {
      if (!(value > 0) || value === Infinity) continue;
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  if (high < low) return { low: 0, high: 1 };
  [low, high] = [Math.log10(low), Math.log10(high)];
  return high - low < 0.5 ? { low: low - 0.25, high: high + 0.25 } : { low, high };
}

/** From dark violet over magenta to light yellow: even in lightness, so that it can be read without hue. */
const STOPS: [number, number, number][] = [[24, 15, 62], [81, 18, 124], [140, 41, 129], [200, 62, 115], [246, 110, 92], [254, 176, 120], [252, 244, 186]];

const packed = (r: number, g: number, b: number, a = 255): number => ((a << 24) | (b << 16) | (g << 8) | r) >>> 0;

const RAMP = Uint32Array.from({ length: 256 }, (_, i) => {
  const place = (i / 255) * (STOPS.length - 1);
  const below = Math.min(STOPS.length - 2, Math.floor(place));
  const [a, b] = [STOPS[below]!, STOPS[below + 1]!];
  const [r, g, blue] = [0, 1, 2].map((c) => Math.round(a[c]! + (place - below) * (b[c]! - a[c]!))) as [number, number, number];
  return packed(r, g, blue);
});
/** Not finite: a green that the ramp does not have. */
const BROKEN = packed(22, 190, 90);
const ZERO = packed(8, 6, 20);

export const rampCss = `linear-gradient(to right, ${STOPS.map((stop) => `rgb(${stop.join(",")})`).join(",")})`;
export const brokenCss = "rgb(22 190 90)";

/** Columns of the picture: a step each, or where there are more than `most`, equal groups of them. */
export const columnsOf = (steps: number, most: number): number => Math.max(1, Math.min(steps, most));

/** Pixels, a row a tensor: of the steps that share a column the largest value, and broken where any is. */
export function paint(rows: readonly Row[], steps: number, columns: number, { low, high }: Scale, log: boolean): Uint32Array {
  const out = new Uint32Array(rows.length * columns);
  const factor = 255 / (high - low);
  rows.forEach(({ values, broken }, row) => {
    for (let column = 0; column < columns; column++) {
      const from = Math.floor((column * steps) / columns);
      const to = Math.max(from + 1, Math.floor(((column + 1) * steps) / columns));
      let value = NaN;
      let gone = false;
      for (let i = from; i < to; i++) {
        if (broken[i]) gone = true;
        const one = values[i]!;
        if (!(one <= value)) value = one === one ? one : value;
      }
      let word = 0;
      if (gone || value === Infinity) word = BROKEN;
      else if (value === value) {
        if (log && value <= 0) word = ZERO;
        else word = RAMP[Math.max(0, Math.min(255, Math.round(((log ? Math.log10(value) : value) - low) * factor)))]!;
      }
      out[row * columns + column] = word;
    }
  });
  return out;
}

/** Rows by name, by how much they changed (the range of their logarithms, or of their shares), or by the value at a step. */
export function rank(rows: readonly Row[], by: "model" | "change" | "value", step: number, log: boolean): Row[] {
  if (by === "model") return [...rows];
  const size = (row: Row): number => {
    if (by === "value") return row.values[step] ?? NaN;
    let low = Infinity;
    let high = -Infinity;
    for (const value of row.values) {
      const one = log ? Math.log10(value) : value;
      if (!Number.isFinite(one)) continue;
      if (one < low) low = one;
      if (one > high) high = one;
    }
    return high - low;
  };
  const sizes = new Map(rows.map((row) => [row, size(row)]));
  return [...rows].sort((a, b) => {
    const [x, y] = [sizes.get(a)!, sizes.get(b)!];
    if (Number.isNaN(x) || Number.isNaN(y)) return Number(Number.isNaN(x)) - Number(Number.isNaN(y));
    return y - x;
  });
}
