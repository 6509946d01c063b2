// Diverging colour maps centred on zero, and painting of heatmaps into RGBA pixels.
import type { HeatMap, Picture } from "../data/decode";

export type ColourName = "seismic" | "bwr" | "rdbu" | "safe" | "dark" | "positive";

interface Anchor {
  at: number; // -1 ... 1
  rgb: [number, number, number];
}

interface ColourMap {
  title: string;
  /** Texts of the legend for the two ends; null where negative relevance is not shown. */
  negative: string | null;
  positive: string;
  /** Where the colour of an overlay is taken: its strongest hue. */
  hue: number;
  /** Ascending; from -1 to 1. */
  anchors: Anchor[];
}

/** What the colour maps are called and made of. */
export const COLOURS: Record<ColourName, ColourMap> = {
  seismic: {
    title: "Blue – white – red",
    negative: "blue",
    positive: "red",
    hue: 0.5,
    anchors: [
      { at: -1, rgb: [0, 0, 77] },
      { at: -0.5, rgb: [0, 0, 255] },
      { at: 0, rgb: [255, 255, 255] },
      { at: 0.5, rgb: [255, 0, 0] },
      { at: 1, rgb: [128, 0, 0] },
    ],
  },
  bwr: {
    title: "Blue – white – red, plain",
    negative: "blue",
    positive: "red",
    hue: 1,
    anchors: [
      { at: -1, rgb: [0, 0, 255] },
      { at: 0, rgb: [255, 255, 255] },
      { at: 1, rgb: [255, 0, 0] },
    ],
  },
  // ColorBrewer's RdBu in eleven classes, turned so that red is positive.
  rdbu: {
    title: "Blue – white – red, soft (RdBu)",
    negative: "blue",
    positive: "red",
    hue: 0.8,
    anchors: [
      { at: -1, rgb: [5, 48, 97] },
      { at: -0.8, rgb: [33, 102, 172] },
      { at: -0.6, rgb: [67, 147, 195] },
      { at: -0.4, rgb: [146, 197, 222] },
      { at: -0.2, rgb: [209, 229, 240] },
      { at: 0, rgb: [247, 247, 247] },
      { at: 0.2, rgb: [253, 219, 199] },
      { at: 0.4, rgb: [244, 165, 130] },
      { at: 0.6, rgb: [214, 96, 77] },
      { at: 0.8, rgb: [178, 24, 43] },
      { at: 1, rgb: [103, 0, 31] },
    ],
  },
  // Distinct with any of the three kinds of colour blindness (a test simulates them).
  safe: {
    title: "Colour-blind safe: purple – orange",
    negative: "purple",
    positive: "orange",
    hue: 0.5,
    anchors: [
      { at: -1, rgb: [38, 14, 92] },
      { at: -0.5, rgb: [104, 84, 182] },
      { at: 0, rgb: [248, 248, 246] },
      { at: 0.5, rgb: [232, 132, 12] },
      { at: 1, rgb: [120, 48, 4] },
    ],
  },
  dark: {
    title: "Blue – black – red",
    negative: "blue",
    positive: "red",
    hue: 0.5,
    anchors: [
      { at: -1, rgb: [170, 214, 255] },
      { at: -0.5, rgb: [24, 110, 235] },
      { at: 0, rgb: [10, 10, 12] },
      { at: 0.5, rgb: [226, 52, 32] },
      { at: 1, rgb: [255, 214, 150] },
    ],
  },
  positive: {
    title: "Positive only: black – red – yellow",
    negative: null,
    positive: "bright",
    hue: 0.6,
    anchors: [
      { at: -1, rgb: [10, 10, 12] },
      { at: 0, rgb: [10, 10, 12] },
      { at: 0.35, rgb: [170, 24, 40] },
      { at: 0.7, rgb: [246, 132, 24] },
      { at: 1, rgb: [255, 250, 190] },
    ],
  },
};

/** Colour of a value in -1 ... 1 (values outside are clipped), 0 ... 255 per channel. */
export function colourAt(name: ColourName, value: number): [number, number, number] {
  const t = Math.min(1, Math.max(-1, value));
  const { anchors } = COLOURS[name];
  const upper = Math.max(1, anchors.findIndex((anchor) => anchor.at >= t));
  const a = anchors[upper - 1]!;
  const b = anchors[upper]!;
  const f = (t - a.at) / (b.at - a.at);
  return [0, 1, 2].map((c) => Math.round(a.rgb[c]! + f * (b.rgb[c]! - a.rgb[c]!))) as [number, number, number];
}

/** A CSS gradient that shows a colour map from -1 (left; 0 where it shows positive relevance only) to 1. */
export function cssGradient(name: ColourName): string {
  const low = COLOURS[name].negative === null ? 0 : -1;
  const shown = COLOURS[name].anchors.filter(({ at }) => at >= low);
  const stops = shown.map(({ at, rgb }) => `rgb(${rgb.join(",")}) ${(100 * (at - low)) / (1 - low)}%`);
  return `linear-gradient(to right, ${stops.join(", ")})`;
}

const HALF = 512; // a table runs over 2 HALF + 1 values from -1 to 1
const NOT_FINITE = pack(128, 128, 128, 255);
const tables = new Map<string, Uint32Array>();

// RGBA bytes as one little-endian word, which is the byte order of every machine a browser runs on today.
function pack(r: number, g: number, b: number, a: number): number {
  return ((a << 24) | (b << 16) | (g << 8) | r) >>> 0;
}

/** How relevance becomes a colour. `limit` > 0 is the relevance at full colour, `gamma` the exponent of its strength. */
export interface Shade {
  colours: ColourName;
  limit: number;
  gamma: number;
  overlay: boolean;
}

function table(name: ColourName, gamma: number, overlay: boolean): Uint32Array {
  const key = `${name} ${gamma} ${overlay}`;
  let found = tables.get(key);
  if (!found) {
    found = new Uint32Array(2 * HALF + 1);
    for (let i = 0; i < found.length; i++) {
      const raw = (i - HALF) / HALF;
      const t = Math.sign(raw) * Math.abs(raw) ** gamma;
      // Over a picture the colour is the sign and the opacity the strength: a white centre would hide the picture.
      const hidden = COLOURS[name].negative === null && t < 0;
      const [r, g, b] = overlay ? colourAt(name, Math.sign(t) * COLOURS[name].hue) : colourAt(name, t);
      found[i] = pack(r, g, b, overlay ? (hidden ? 0 : Math.round(255 * Math.abs(t))) : 255);
    }
    tables.set(key, found);
  }
  return found;
}

const wordOf = (lut: Uint32Array, t: number): number =>
  t !== t ? NOT_FINITE : lut[HALF + Math.round(HALF * Math.min(1, Math.max(-1, t)))]!;

/** Colours of a heatmap, one RGBA word per pixel. A map of zeros has the centre's colour; not finite pixels are grey. */
export function paintHeatMap(map: HeatMap, { colours, limit, gamma, overlay }: Shade): Uint32Array {
  const lut = table(colours, gamma, overlay);
  const out = new Uint32Array(map.height * map.width);
  if (map.kind === "sqrt8") {
    const ratio = limit > 0 ? map.absmax / limit : 0;
    const words = new Uint32Array(256);
    for (let q = -127; q <= 127; q++) words[q & 255] = wordOf(lut, Math.sign(q) * (q / 127) ** 2 * ratio);
    words[128] = NOT_FINITE; // -128
    for (let i = 0; i < out.length; i++) out[i] = words[map.data[i]! & 255]!;
  } else {
    const factor = limit > 0 ? 1 / limit : 0;
    for (let i = 0; i < out.length; i++) {
      const value = map.data[i]!;
      out[i] = Number.isFinite(value) ? wordOf(lut, value * factor) : NOT_FINITE;
    }
  }
  return out;
}

/** Pixels of a display image; `grey` drops its colours, as the ground of an overlay. */
export function paintPicture(picture: Picture, grey: boolean): Uint32Array {
  const { data, channels } = picture;
  const out = new Uint32Array(picture.height * picture.width);
  for (let i = 0; i < out.length; i++) {
    let r = data[i * channels]!;
    let g = channels >= 3 ? data[i * channels + 1]! : r;
    let b = channels >= 3 ? data[i * channels + 2]! : r;
    if (grey) r = g = b = Math.round(0.299 * r + 0.587 * g + 0.114 * b);
    out[i] = pack(r, g, b, 255);
  }
  return out;
}
