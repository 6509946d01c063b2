// What the user has chosen to see: kept in the URL, so that a pasted link opens the same view.
import type { Minus } from "../data/feed";
import { AXES, type AxisName } from "../data/axes";
import { COLOURS, type ColourName } from "../paint/colormap";

/** A probe that is opened large: its place in the probe set that starts with this hash. */
export interface OpenProbe {
  hash: string;
  index: number;
}

/** Linked zoom of all maps: how many times, and the point of the map (0 ... 1) in the middle of each cell. */
export interface Zoom {
  times: number;
  x: number;
  y: number;
}

/** The views of the page's middle, with what they are called. */
const PAGES = { maps: "Heatmaps", features: "Features", network: "Network", runs: "Table of runs", events: "Events", help: "Help" } as const;

export type PageName = keyof typeof PAGES;

export const pagesOf = (): [PageName, string][] => Object.entries(PAGES) as [PageName, string][];

export interface View {
  page: PageName;
  /** Chosen runs in the order of the run list; null until the user chooses: then the page picks. */
  runs: string[] | null;
  /** Of the list of runs, those with this text in their name, or that fit this regular expression written /so/. */
  find: string;
  /** Order of the list of runs. */
  listed: "newest" | "name";
  /** The step of the slider, or "last": follow the log as it grows. */
  step: number | "last";
  show: "pair" | "overlay" | "heatmap" | "film";
  /** Opacity of the overlay, 0 ... 1. */
  opacity: number;
  minus: Minus | null;
  /** How maps are compared with that: subtracted, or both in one place, in turn or side by side at a line. */
  by: "difference" | "blink" | "swipe";
  colours: ColourName;
  /** Full colour stands for a map's own maximum, the probe's over all steps, or that of all probes, steps and runs. */
  scale: "map" | "time" | "all";
  /** Percentile of |R| that gets full colour; 100: the maximum. */
  clip: "100" | "99" | "90";
  /** Exponent of the strength of a colour: below 1 weak relevance shows more. */
  gamma: "1" | "0.7" | "0.5" | "2";
  /** Maps smoothed by a Gaussian of so many pixels; "0": as logged. */
  soft: "0" | "1" | "2" | "4" | "8";
  outlines: boolean;
  size: "s" | "m" | "l";
  zoom: Zoom | null;
  /** Probes shown: those with one of these labels (null: all), right or wrong now, and with this text in their name. */
  classes: number[] | null;
  answers: "all" | "right" | "wrong";
  search: string;
  /** Order of the probes: "given", "drift", "probability" or "mass:<mask>". */
  sort: string;
  /** Whether probes are grouped by their clusters where the log has them. */
  clusters: boolean;
  /** Playing: logged steps per second. */
  speed: "2" | "4" | "8" | "16";
  /** Tensor of the histograms; null: the page picks. */
  tensor: string | null;
  /** What the view of the network shows of each tensor, of which of them, as what, and in which order. */
  glance: string;
  layers: string;
  drawn: "steps" | "histograms";
  ranked: "model" | "change" | "value";
  /** Histograms of the step alone, or of the steps up to it, one behind the other. */
  plots: "step" | "ridge";
  /** Tags of the timelines; null: the page picks one. */
  quantities: string[] | null;
  /** What the timelines' axis counts. */
  axis: AxisName;
  /** Weight of what came before in a smoothed curve; "0": as logged. */
  smooth: "0" | "0.6" | "0.9" | "0.97";
  /** The part of the axis that is seen, in its units; null: all. */
  range: [number, number] | null;
  probe: OpenProbe | null;
  /** Notes of the user's own: "step:text". */
  marks: string[];
  /** Features of tables: by |relevance|, or as given. */
  features: "relevance" | "given";
  /** The slice of volumes that is shown, as a share of their depth. */
  slice: number;
  /** What is chosen in the view of features, as that view writes it. */
  channels: string;
}

export const DEFAULT_VIEW: View = {
  page: "maps",
  runs: null,
  find: "",
  listed: "newest",
  step: "last",
  show: "pair",
  opacity: 0.8,
  minus: null,
  by: "difference",
  colours: "seismic",
  scale: "map",
  clip: "100",
  gamma: "1",
  soft: "0",
  outlines: true,
  size: "m",
  zoom: null,
  classes: null,
  answers: "all",
  search: "",
  sort: "given",
  clusters: false,
  speed: "8",
  tensor: null,
  glance: "gradients",
  layers: "",
  drawn: "steps",
  ranked: "model",
  plots: "step",
  quantities: null,
  axis: "logs",
  smooth: "0",
  range: null,
  probe: null,
  marks: [],
  features: "relevance",
  slice: 0.5,
  channels: "",
};

export const MOST_ZOOM = 16;

/** How a choice is written into the URL; `read` gives undefined for what makes no sense: the default stays. */
interface Codec<Value> {
  write: (value: Value) => string;
  read: (text: string) => Value | undefined;
}

const oneOf = <Value extends string>(values: readonly Value[]): Codec<Value> => ({
  write: (value) => value,
  read: (text) => values.find((value) => value === text),
});
const flag: Codec<boolean> = {
  write: (value) => (value ? "1" : "0"),
  read: (text) => (text === "1" ? true : text === "0" ? false : undefined),
};
const anyText: Codec<string> = { write: (value) => value, read: (text) => text };
/** Names may hold any character: each is escaped before they are joined. */
const list: Codec<string[]> = {
  write: (values) => values.map(encodeURIComponent).join(","),
  read: (text) => (text === "" ? [] : text.split(",").map(decode)),
};
const whole = (text: string): number | undefined => (/^\d{1,15}$/.test(text) ? Number(text) : undefined);
const orNull = <Value>(codec: Codec<Value>): Codec<Value | null> => ({
  write: (value) => (value === null ? "" : codec.write(value)),
  read: codec.read,
});

const CODECS: { [Key in keyof View]: Codec<View[Key]> } = {
  page: oneOf(Object.keys(PAGES) as PageName[]),
  runs: orNull(list),
  find: anyText,
  listed: oneOf(["newest", "name"]),
  step: { write: String, read: whole },
  show: oneOf(["pair", "overlay", "heatmap", "film"]),
  opacity: {
    write: (value) => value.toFixed(2),
    read: (text) => (/^(0|1|0?\.\d+|1\.0+)$/.test(text) ? Number(text) : undefined),
  },
  minus: orNull<Minus>({
    write: (value) => ("step" in value ? `step:${value.step}` : `run:${value.run}`),
    read: (text) => {
      if (text.startsWith("run:") && text.length > 4) return { run: text.slice(4) };
      const step = text.startsWith("step:") ? whole(text.slice(5)) : undefined;
      return step === undefined ? undefined : { step };
    },
  }),
  by: oneOf(["difference", "blink", "swipe"]),
  colours: oneOf(Object.keys(COLOURS) as ColourName[]),
  scale: oneOf(["map", "time", "all"]),
  clip: oneOf(["100", "99", "90"]),
  gamma: oneOf(["1", "0.7", "0.5", "2"]),
  soft: oneOf(["0", "1", "2", "4", "8"]),
  outlines: flag,
  size: oneOf(["s", "m", "l"]),
  zoom: orNull<Zoom>({
    write: ({ times, x, y }) => [times.toFixed(2), x.toFixed(3), y.toFixed(3)].join(","),
    read: (text) => {
      const [times, x, y, more] = text.split(",").map(Number);
      if (times === undefined || x === undefined || y === undefined || more !== undefined) return undefined;
      return times > 1 && times <= MOST_ZOOM && x >= 0 && x <= 1 && y >= 0 && y <= 1 ? { times, x, y } : undefined;
    },
  }),
  classes: orNull<number[]>({
    write: (values) => values.join(","),
    read: (text) => {
      const values = text === "" ? [] : text.split(",").map(whole);
      return values.every((value): value is number => value !== undefined) ? values : undefined;
    },
  }),
  answers: oneOf(["all", "right", "wrong"]),
  search: anyText,
  sort: { write: (value) => value, read: (text) => (/^(given|drift|probability|mass:.+)$/s.test(text) ? text : undefined) },
  clusters: flag,
  speed: oneOf(["2", "4", "8", "16"]),
  tensor: orNull(anyText),
  glance: { write: (value) => value, read: (text) => (/^[a-z_]{1,30}$/.test(text) ? text : undefined) },
  layers: anyText,
  drawn: oneOf(["steps", "histograms"]),
  ranked: oneOf(["model", "change", "value"]),
  plots: oneOf(["step", "ridge"]),
  quantities: orNull(list),
  axis: oneOf(AXES.map(([name]) => name)),
  smooth: oneOf(["0", "0.6", "0.9", "0.97"]),
  range: orNull<[number, number]>({
    write: (ends) => ends.map((end) => String(Number(end.toPrecision(12)))).join(","),
    read: (text) => {
      const [low, high, more] = text.split(",").map(Number);
      return low !== undefined && high !== undefined && more === undefined && high > low && Math.abs(low) + Math.abs(high) < 1e15 ? [low, high] : undefined;
    },
  }),
  marks: list,
  probe: orNull<OpenProbe>({
    write: ({ hash, index }) => `${index}@${hash}`,
    read: (text) => {
      const found = /^(\d{1,9})@([0-9a-f]{8,128})$/.exec(text);
      return found ? { index: Number(found[1]), hash: found[2]! } : undefined;
    },
  }),
  features: oneOf(["relevance", "given"]),
  slice: {
    write: (value) => value.toFixed(4),
    read: (text) => (/^(0|1|0?\.\d+|1\.0+)$/.test(text) ? Number(text) : undefined),
  },
  channels: anyText,
};

/** Whether a view shows something that is put in order only when the slider rests. */
export const waitsForRest = ({ page, sort, answers, clusters, show, plots }: View): boolean =>
  page === "features" || sort !== "given" || answers !== "all" || clusters || show === "film" || plots === "ridge";

const KEYS = Object.keys(DEFAULT_VIEW) as (keyof View)[];

/** URL parameters of a view; what stands at its default is left out. */
export function toParameters(view: View): Map<string, string> {
  const out = new Map<string, string>();
  const put = <Key extends keyof View>(key: Key): void => {
    const text = CODECS[key].write(view[key]);
    if (view[key] !== DEFAULT_VIEW[key] && text !== CODECS[key].write(DEFAULT_VIEW[key])) out.set(key, text);
    else if (Array.isArray(view[key]) && view[key].length === 0 && DEFAULT_VIEW[key] === null) out.set(key, ""); // none is not the same as no choice
  };
  KEYS.forEach(put);
  return out;
}

/** The view of URL parameters; whatever makes no sense falls back to its default. */
export function fromParameters(parameters: ReadonlyMap<string, string>): View {
  const view: View = { ...DEFAULT_VIEW };
  const take = <Key extends keyof View>(key: Key): void => {
    const text = parameters.get(key);
    const value = text === undefined ? undefined : CODECS[key].read(text);
    if (value !== undefined) view[key] = value;
  };
  KEYS.forEach(take);
  return view;
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
