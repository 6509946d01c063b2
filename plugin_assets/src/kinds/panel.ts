// What every kind of input draws on: a panel of some width that knows its height, paints itself, and finds what lies
// under a point. One drawing serves cards, films, thumbnails and files.
import type { HeatMap } from "../data/decode";
import { valueOf } from "../data/difference";
import { colourAt, COLOURS, type ColourName } from "../paint/colormap";
import type { Zoom } from "../state/view";
import type { Source } from "../data/source";

/** How a panel is drawn. `map`: the heatmap of all inputs; null: the inputs alone. */
export interface Look {
  map: HeatMap | null;
  /** Relevance at full colour. */
  limit: number;
  colours: ColourName;
  gamma: number;
  /** Colours of text, of what stands behind, and of the ground. */
  ink: string;
  faint: string;
  ground: string;
  size: "small" | "card" | "large";
  /** Of features: by |relevance|, or as given. */
  order: "relevance" | "given";
  /** Place of the slice of a volume that is shown, 0 ... 1. */
  slice: number;
  zoom: Zoom | null;
  /** Whether masks are marked. */
  outlines: boolean;
}

/** What lies under a point: its place in the heatmap of all inputs, and a description. */
export interface Place {
  index: number;
  description: string;
}

export interface Panel {
  height: number;
  paint: (context: CanvasRenderingContext2D) => void;
  place: (x: number, y: number) => Place | null;
  /** Description of what is drawn, for those who do not see it. */
  description: string;
}

export const FONT = "Roboto, 'Segoe UI', Arial, sans-serif";

export const shareOf = (look: Look, index: number): number => {
  if (look.map === null) return 0;
  const value = valueOf(look.map, index);
  return look.limit > 0 ? value / look.limit : Number.isFinite(value) ? 0 : NaN;
};

/** Whether a value lies in a mask that is marked. */
export const isMarked = (source: Source, look: Look, index: number): boolean =>
  look.outlines && source.marks.some((mask) => mask[index] === 1);

/** Colour of a share of the limit, strong or faint by its size, over whatever lies behind. Grey: not finite. */
export function tint(look: Look, share: number): string {
  if (!Number.isFinite(share)) return "rgb(128 128 128 / 60%)";
  const { negative, hue } = COLOURS[look.colours];
  if (share < 0 && negative === null) return "rgb(0 0 0 / 0%)";
  const strength = Math.min(1, Math.abs(share)) ** look.gamma;
  const [r, g, b] = colourAt(look.colours, Math.sign(share) * hue);
  return `rgb(${r} ${g} ${b} / ${(88 * strength).toFixed(1)}%)`;
}

/** Colour of text over a tint: that of the page where it is faint, black or white by its brightness where it is strong. */
export function inkOn(look: Look, share: number): string {
  if (!Number.isFinite(share) || Math.min(1, Math.abs(share)) ** look.gamma < 0.5) return look.ink;
  const { negative, hue } = COLOURS[look.colours];
  if (share < 0 && negative === null) return look.ink;
  const [r, g, b] = colourAt(look.colours, Math.sign(share) * hue);
  return 0.299 * r + 0.587 * g + 0.114 * b > 150 ? "#000000" : "#ffffff";
}

let measuring: CanvasRenderingContext2D | null = null;

/** Width of a text in a font. */
export function textWidth(text: string, font: string): number {
  measuring ??= document.createElement("canvas").getContext("2d");
  if (!measuring) throw new Error("this browser gives no 2D canvas");
  measuring.font = font;
  return measuring.measureText(text).width;
}

/** A text, its end cut off with dots where it is wider than `room`. */
export function fitted(text: string, room: number, font: string): string {
  let shown = text.slice(0, 200);
  if (textWidth(shown, font) <= room && shown === text) return text;
  while (shown.length > 1 && textWidth(`${shown}…`, font) > room) shown = shown.slice(0, -1);
  return `${shown}…`;
}

/** The places of the most relevant values among some, the largest |relevance| first. */
export function leading(look: Look, start: number, count: number): number[] {
  const sizes = Float64Array.from({ length: count }, (_, i) => Math.abs(shareOf(look, start + i)) || 0);
  return Array.from({ length: count }, (_, i) => i).sort((a, b) => sizes[b]! - sizes[a]! || a - b);
}
