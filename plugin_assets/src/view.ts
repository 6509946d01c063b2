// What the user has chosen to see: kept in the URL, so that a pasted link opens the same view.
import { COLOURS, type ColourName } from "./colormap";

export interface View {
  /** Chosen runs in the order of the run list; null until the user chooses: then the page picks. */
  runs: string[] | null;
  /** The step of the slider, or "last": follow the log as it grows. */
  step: number | "last";
  show: "pair" | "overlay" | "heatmap";
  /** Opacity of the overlay, 0 ... 1. */
  opacity: number;
  colours: ColourName;
  /** Ends of the colour map: each map's own maximum, or the probe's maximum over all steps of its run. */
  scale: "map" | "time";
  outlines: boolean;
  size: "s" | "m" | "l";
  /** Tensor of the histograms and tag of the timeline; null: the page picks. */
  tensor: string | null;
  quantity: string | null;
  /** Timeline's axis: one place per logged step as on the slider, or to scale. */
  axis: "logs" | "steps";
}

export const DEFAULT_VIEW: View = {
  runs: null,
  step: "last",
  show: "pair",
  opacity: 0.8,
  colours: "seismic",
  scale: "map",
  outlines: true,
  size: "m",
  tensor: null,
  quantity: null,
  axis: "logs",
};

const CHOICES = {
  show: ["pair", "overlay", "heatmap"],
  colours: Object.keys(COLOURS),
  scale: ["map", "time"],
  size: ["s", "m", "l"],
  axis: ["logs", "steps"],
} as const;

/** URL parameters of a view; what stands at its default is left out. */
export function toParameters(view: View): Map<string, string> {
  const out = new Map<string, string>();
  // Run names may hold any character: each is escaped before they are joined.
  if (view.runs !== null) out.set("runs", view.runs.map(encodeURIComponent).join(","));
  if (view.step !== "last") out.set("step", String(view.step));
  for (const key of ["show", "colours", "scale", "size", "axis"] as const) {
    if (view[key] !== DEFAULT_VIEW[key]) out.set(key, view[key]);
  }
  if (view.opacity !== DEFAULT_VIEW.opacity) out.set("opacity", view.opacity.toFixed(2));
  if (!view.outlines) out.set("outlines", "0");
  if (view.tensor !== null) out.set("tensor", view.tensor);
  if (view.quantity !== null) out.set("quantity", view.quantity);
  return out;
}

/** The view of URL parameters; whatever makes no sense falls back to its default. */
export function fromParameters(parameters: ReadonlyMap<string, string>): View {
  const view: View = { ...DEFAULT_VIEW };
  const runs = parameters.get("runs");
  if (runs !== undefined) view.runs = runs === "" ? [] : runs.split(",").map(decode);
  const step = parameters.get("step");
  if (step !== undefined && /^\d{1,15}$/.test(step)) view.step = Number(step);
  for (const key of ["show", "colours", "scale", "size", "axis"] as const) {
    const value = parameters.get(key);
    if (value !== undefined && (CHOICES[key] as readonly string[]).includes(value)) {
      (view as unknown as Record<string, string>)[key] = value;
    }
  }
  const opacity = Number(parameters.get("opacity") ?? NaN);
  if (opacity >= 0 && opacity <= 1) view.opacity = opacity;
  if (parameters.get("outlines") === "0") view.outlines = false;
  view.tensor = parameters.get("tensor") ?? null;
  view.quantity = parameters.get("quantity") ?? null;
  return view;
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
