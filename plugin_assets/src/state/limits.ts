// Which relevance gets the full colour.
import type { HeatMap } from "../data/decode";
import { percentile } from "../data/difference";
import type { RunInfo } from "../data/types";
import type { View } from "./view";

type Largest = RunInfo["largest"];

const COLUMNS: Record<View["clip"], string> = { "100": "absmax", "99": "q99", "90": "q90" };

/**
 * Relevance at the ends of the colour map. `all` are the largest values over time of all runs on the page, `own` those
 * of the map's run. Where they are not known the map's own value is taken.
 */
export function colourLimit(
  view: Pick<View, "scale" | "clip">,
  map: HeatMap,
  own: Largest,
  probe: number,
  all: readonly Largest[],
): number {
  const self = percentile(map, Number(view.clip));
  if (view.scale === "map") return self;
  const column = COLUMNS[view.clip];
  // Over time never less than the map's own maximum where nothing is meant to be clipped.
  const known = (values: readonly number[]): number => values.reduce((a, b) => Math.max(a, b), view.clip === "100" ? self : 0) || self;
  if (view.scale === "time") return known([own?.[column]?.[probe] ?? 0]);
  return known(all.flatMap((largest) => largest?.[column] ?? []));
}
