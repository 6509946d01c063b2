// Which relevance gets the full colour.
import type { HeatMap } from "./decode";
import type { Timeline } from "./types";
import type { View } from "./view";

const largest = new WeakMap<Timeline, Float64Array>();

/** Largest |relevance| of each probe over all logged steps; 0 where none is known. Kept as long as the timeline is. */
export function largestOverTime(timeline: Timeline): Float64Array {
  let found = largest.get(timeline);
  if (!found) {
    const rows = timeline.probes.absmax ?? [];
    found = new Float64Array(rows.reduce((n, row) => Math.max(n, row.length), 0));
    for (const row of rows) {
      for (let i = 0; i < row.length; i++) {
        const value = row[i];
        if (typeof value === "number" && value > found[i]!) found[i] = value;
      }
    }
    largest.set(timeline, found);
  }
  return found;
}

/** Relevance at the ends of the colour map. Over time it is never less than the map's own maximum, which would clip. */
export function colourLimit(scale: View["scale"], map: HeatMap, timeline: Timeline | null, probe: number): number {
  return scale === "map" ? map.absmax : Math.max(map.absmax, (timeline && largestOverTime(timeline)[probe]) ?? 0);
}
