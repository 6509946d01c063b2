// What a cell of the grid shows: a run's heatmap of a probe, or its difference to another, and at which full colour.
import type { Frame, HeatMap } from "./decode";
import { difference } from "./difference";
import type { RunState } from "./jobs";
import { colourLimit } from "./limits";
import type { View } from "./view";

export interface Shown {
  map: HeatMap | null;
  /** Relevance (or its difference) at full colour; 0 without a map. */
  limit: number;
  /** In words, why there is no map; null where there is one or it is still loading. */
  instead: string | null;
  /** Whether `map` is a difference. */
  isDifference: boolean;
}

/** `frame` is what the run shows now, null while nothing is; `runs` are all runs on the page, for the common scale. */
export function shownMap(run: RunState, frame: Frame | null, probe: number, view: View, runs: readonly RunState[]): Shown {
  const raw = frame?.maps[probe] ?? null;
  if (frame === null) return { map: null, limit: 0, instead: null, isDifference: false };
  if (raw === null) return { map: null, limit: 0, instead: "not stored", isDifference: false };
  const limitOf = (map: HeatMap): number =>
    colourLimit(view, map, run.timeline, probe, runs.map((other) => other.timeline));
  const { minus } = view;
  if (minus === null || ("run" in minus && minus.run === run.listing.run)) {
    return { map: raw, limit: limitOf(raw), instead: null, isDifference: false };
  }
  const other = run.against?.maps[probe] ?? null;
  if (other === null) return { map: null, limit: 0, instead: noDifference(run, view, runs), isDifference: true };
  const map = difference(raw, other, view.scale === "map");
  if (map === null) return { map: null, limit: 0, instead: "the maps have other sizes", isDifference: true };
  return { map, limit: limitOf(map), instead: null, isDifference: true };
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

/** What a view's differences are to, in words; null without one. */
export function minusWords({ minus, scale }: View, runs: readonly RunState[]): string | null {
  if (minus === null) return null;
  const name = "run" in minus ? (runs.find((run) => run.listing.run === minus.run)?.listing.name ?? minus.run) : "";
  const to = "run" in minus ? `run ${name}` : `step ${minus.step}`;
  return scale === "map" ? `difference to ${to}, each map over its own maximum` : `difference to ${to}`;
}
