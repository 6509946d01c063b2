// Which relevance gets the full colour.
import type { HeatMap } from "./decode";
import { percentile } from "./difference";
import type { Timeline } from "./types";
import type { View } from "../state/view";

const COLUMNS: Record<View["clip"], string> = { "100": "absmax", "99": "q99", "90": "q90" };

/** The per-probe column over time that a view's colours need; null where each map stands for itself. */
export const limitColumn = (view: Pick<View, "scale" | "clip">): string | null =>
  view.scale === "map" ? null : COLUMNS[view.clip];

const largest = new WeakMap<Timeline, Map<string, Float64Array>>();

/** Largest value of a column of each probe over all logged steps; 0 where none is known. Kept as long as the timeline. */
export function largestOverTime(timeline: Timeline, column: string): Float64Array {
  let columns = largest.get(timeline);
  if (!columns) largest.set(timeline, (columns = new Map()));
  let found = columns.get(column);
  if (!found) {
    const rows = timeline.probes[column] ?? [];
    found = new Float64Array(rows.reduce((n, row) => Math.max(n, row.length), 0));
    for (const row of rows) {
      for (let i = 0; i < row.length; i++) {
        const value = row[i];
        if (typeof value === "number" && value > found[i]!) found[i] = value;
      }
    }
    columns.set(column, found);
  }
  return found;
}

/**
 * Relevance at the ends of the colour map. `timelines` are those of all runs on the page, `own` the map's run's. As
 * long as a timeline has not arrived, the map's own value stands in.
 */
export function colourLimit(
  view: Pick<View, "scale" | "clip">,
  map: HeatMap,
  own: Timeline | null,
  probe: number,
  timelines: readonly (Timeline | null)[],
): number {
  const self = percentile(map, Number(view.clip));
  const column = limitColumn(view);
  if (column === null) return self;
  // Over time never less than the map's own maximum where nothing is meant to be clipped.
  const known = (values: readonly number[]): number => Math.max(view.clip === "100" ? self : 0, ...values) || self;
  if (view.scale === "time") return known(own ? [largestOverTime(own, column)[probe] ?? 0] : []);
  return known(timelines.map((timeline) => (timeline ? largestOverTime(timeline, column).reduce((a, b) => Math.max(a, b), 0) : 0)));
}
