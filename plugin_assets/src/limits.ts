// Which relevance gets the full colour.
import type { HeatMap } from "./decode";
import type { Timeline } from "./types";
import type { View } from "./view";

/** Largest |relevance| of a probe over all logged steps; 0 where none is known. */
export function largestOverTime(timeline: Timeline | null, probe: number): number {
  let largest = 0;
  for (const row of timeline?.probes.absmax ?? []) {
    const value = row[probe];
    if (typeof value === "number" && value > largest) largest = value;
  }
  return largest;
}

/** Relevance at the ends of the colour map. Over time it is never less than the map's own maximum, which would clip. */
export function colourLimit(scale: View["scale"], map: HeatMap, timeline: Timeline | null, probe: number): number {
  return scale === "map" ? map.absmax : Math.max(map.absmax, largestOverTime(timeline, probe));
}
