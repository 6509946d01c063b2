// What a cell of the grid shows: a run's heatmap of a probe, or its difference to another, and at which full colour.
import type { Frame, HeatMap } from "../data/decode";
import { difference } from "../data/difference";
import { soften } from "../data/soften";
import type { RunState } from "../data/run";
import { isPicture } from "../data/source";
import { colourLimit } from "./limits";
import type { View } from "./view";

export interface Shown {
  map: HeatMap | null;
  /** Relevance (or its difference) at full colour; 0 without a map. */
  limit: number;
  /** Why there is no map; null where there is one or it is still loading. */
  instead: string | null;
  /** Whether `map` is a difference. */
  isDifference: boolean;
  /** What lies over the map to be compared with it, and its relevance at full colour; null unless that is asked for. */
  over: { map: HeatMap; limit: number } | null;
}

/** Whether maps are compared by eye, and not subtracted: of pictures alone, and not in a film. */
export const byEye = (run: RunState, { by, minus, show }: View): boolean =>
  minus !== null && by !== "difference" && show !== "film" && (run.info === null || isPicture(run.info.probes));

/** Pixels that a run's maps are smoothed over; 0 where they are none of pictures. */
export const softness = (run: RunState, { soft }: Pick<View, "soft">): number =>
  run.info !== null && isPicture(run.info.probes) ? Number(soft) : 0;

/** `frame` is what the run shows now, null while nothing is; `runs` are all runs on the page, for the common scale. */
export function shownMap(run: RunState, frame: Frame | null, probe: number, view: View, runs: readonly RunState[]): Shown {
  const sigma = softness(run, view);
  const smooth = <Map extends HeatMap | null | undefined>(map: Map): Map | HeatMap => (map ? soften(map, sigma) : map);
  const raw = smooth(frame?.maps[probe]);
  if (raw === undefined) return { map: null, limit: 0, instead: null, isDifference: false, over: null };
  if (raw === null) return { map: null, limit: 0, instead: "not stored", isDifference: false, over: null };
  const limitOf = (map: HeatMap): number =>
    colourLimit(view, map, run.info?.largest, probe, runs.map((other) => other.info?.largest));
  const { minus } = view;
  if (minus === null || ("run" in minus && minus.run === run.listing.run)) {
    return { map: raw, limit: limitOf(raw), instead: null, isDifference: false, over: null };
  }
  const other = smooth(run.against?.maps[probe]);
  if (run.against && other === undefined) return { map: null, limit: 0, instead: null, isDifference: true, over: null };
  if (!other) return { map: null, limit: 0, instead: noDifference(run, view, runs), isDifference: true, over: null };
  if (byEye(run, view)) {
    return { map: raw, limit: limitOf(raw), instead: null, isDifference: false, over: { map: other, limit: limitOf(other) } };
  }
  const map = difference(raw, other, view.scale === "map");
  if (map === null) return { map: null, limit: 0, instead: "the maps have other sizes", isDifference: true, over: null };
  return { map, limit: limitOf(map), instead: null, isDifference: true, over: null };
}

function noDifference(run: RunState, { minus }: View, runs: readonly RunState[]): string | null {
  if (minus === null) return null;
  if ("step" in minus) {
    if ((run.steps[0] ?? Infinity) > minus.step) return `not logged yet at step ${minus.step}`;
    return run.against ? `not stored at step ${run.against.header.step}` : null;
  }
  const other = runs.find((candidate) => candidate.listing.run === minus.run);
  if (!other) return "the run to compare with is not chosen";
  if (other.info && other.info.probes.hash !== run.info?.probes.hash) return "the run to compare with watches other probes";
  return run.against ? "not stored in the run to compare with" : null;
}

/** The composites of a run and of the one its map is subtracted from, where they are known and not the same; else null. */
export function otherComposite(run: RunState, other: RunState | undefined): [string, string] | null {
  const [own, its] = [run, other].map((one) => one?.info?.meta.composite_rules ?? one?.info?.meta.composite);
  if (typeof own !== "string" || typeof its !== "string" || own === its) return null;
  const name = (one: RunState): string => String(one.info?.meta.composite ?? "unknown");
  return [name(run), name(other!)];
}

/** Text on what maps are compared with by eye; null where they are not. */
export function overText(view: View, runs: readonly RunState[]): string | null {
  const text = runs.some((run) => byEye(run, view)) ? minusText({ ...view, scale: "time" }, runs) : null;
  return text && text.replace("difference to", view.by === "blink" ? "in turn with" : "behind the line:");
}

/** Text on what a view's differences are to; null without one. */
export function minusText({ minus, scale }: View, runs: readonly RunState[]): string | null {
  if (minus === null) return null;
  const other = "run" in minus ? runs.find((run) => run.listing.run === minus.run) : undefined;
  const to = "run" in minus ? `run ${other?.listing.name ?? minus.run}` : `step ${minus.step}`;
  const each = scale === "map" ? ", each map over its own maximum" : "";
  return `difference to ${to}${each}`;
}

/** Text on a difference that is one of rules as well as of models, which cannot be separated; null where it is not. */
export function compositeText({ minus }: View, runs: readonly RunState[]): string | null {
  if (minus === null || "step" in minus) return null;
  const other = runs.find((run) => run.listing.run === minus.run);
  const found = runs.map((run) => otherComposite(run, other)).find((one) => one !== null);
  if (!found) return null;
  const [own, its] = found;
  return own === its ? `other rules: both runs call their composite ${own}` : `other rules: composite ${own} less composite ${its}`;
}
