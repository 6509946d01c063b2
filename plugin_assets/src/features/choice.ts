// What is chosen in the view of features: written into one parameter of the address.
import { nearestIndex } from "../data/steps";

/** "share", "emerged", "change" (since the pinned step), or "mass:<mask>". */
export type Order = string;

export interface Choice {
  layer: string | null;
  /** Class whose channels are shown; null: the first one. -1 stands for what is no class. */
  of: number | null;
  order: Order;
  /** Step that others are compared with. */
  pinned: number | null;
  /** Over the input, or beside it. */
  over: boolean;
  /** A channel that is opened large, and the probe whose film it shows. */
  open: { run: string; channel: number; probe: number | null } | null;
}

const NOTHING: Choice = { layer: null, of: null, order: "share", pinned: null, over: false, open: null };

const whole = (text: string | null): number | null => (text !== null && /^-?\d{1,15}$/.test(text) ? Number(text) : null);

/** The choice of a text; what makes no sense is left at its default. */
export function readChoice(text: string): Choice {
  const parameters = new URLSearchParams(text);
  const order = parameters.get("order") ?? NOTHING.order;
  const run = parameters.get("run");
  const channel = whole(parameters.get("channel"));
  return {
    layer: parameters.get("layer"),
    of: whole(parameters.get("class")),
    order: /^(share|emerged|change|mass:.+)$/s.test(order) ? order : NOTHING.order,
    pinned: whole(parameters.get("pinned")),
    over: parameters.get("over") === "1",
    open: run === null || channel === null || channel < 0 ? null : { run, channel, probe: whole(parameters.get("probe")) },
  };
}

/** The text of a choice; empty where all is at its default. */
export function writeChoice(choice: Choice): string {
  const parameters = new URLSearchParams();
  const put = (key: string, value: string | number | null): void => {
    if (value !== null) parameters.set(key, String(value));
  };
  put("layer", choice.layer);
  put("class", choice.of);
  if (choice.order !== NOTHING.order) put("order", choice.order);
  put("pinned", choice.pinned);
  if (choice.over) put("over", 1);
  if (choice.open) {
    put("run", choice.open.run);
    put("channel", choice.open.channel);
    put("probe", choice.open.probe);
  }
  return parameters.toString();
}

/** What the order goes by, for each channel: the largest first; NaN and what is missing last. */
export function ordered(keys: ArrayLike<number>, tie: ArrayLike<number>): number[] {
  const of = (values: ArrayLike<number>, i: number): number => (Number.isNaN(values[i]!) ? -Infinity : values[i]!);
  return Array.from({ length: keys.length }, (_, i) => i).sort((a, b) => of(keys, b) - of(keys, a) || of(tie, b) - of(tie, a) || a - b);
}

/** The steps of a curve that stand under a place of it, 0 to 1: the nearest one. */
export function stepAt(steps: readonly number[], place: number): number | null {
  if (steps.length === 0) return null;
  const at = Math.round(Math.min(1, Math.max(0, place)) * (steps.length - 1));
  return steps[at]!;
}

/** SVG path of a curve in a box, its largest value at the top; flat at the bottom where all are 0. */
export function curvePath(values: readonly (number | null)[], width: number, height: number): string {
  const most = values.reduce<number>((largest, value) => Math.max(largest, value ?? 0), 0);
  const x = (i: number): number => (values.length < 2 ? width / 2 : (i * width) / (values.length - 1));
  return values
    .map((value, i) => `${i ? "L" : "M"}${x(i).toFixed(1)} ${(height - ((value ?? 0) / (most || 1)) * (height - 2) - 1).toFixed(1)}`)
    .join("");
}

/** Where a step stands on a curve, 0 to 1; null where the curve has no steps. */
export function placeOf(steps: readonly number[], step: number | null): number | null {
  if (step === null || steps.length === 0) return null;
  return steps.length < 2 ? 0.5 : nearestIndex(steps, step) / (steps.length - 1);
}
